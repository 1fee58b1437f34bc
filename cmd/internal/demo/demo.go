// Package demo is the command "comity demo": one national ledger from issue to audit on this machine, with nothing made up. It starts a
// ledger and a validating witness as processes of their own, drives the treasury's, the banks' and a beneficiary's wallets, kills the
// ledger in the middle of a disbursement, lets oversight read what its keys allow, and says of every step whether it held.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup"
)

// Command is "comity demo".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run one national ledger on this machine, from issue to audit",
		Long: `Run the ledger of Aurelia on this machine and tell its story: issue under two signatures, pay between banks, disburse to 220 beneficiaries,
spend an earmark, refuse what must be refused, kill the ledger in the middle and resume, audit with view keys alone.

The first run makes the proving keys, which takes a few minutes on two cores; later runs take less than one. The ledger then stays up until
Ctrl-C; with --once the command ends after the story, with exit code 0 only if every step held. Everything is kept in a new folder.`,
		Example: "  comity demo\n  comity demo --once --json",
		Args:    cobra.NoArgs,
	}
	once := cmd.Flags().Bool("once", false, "end after the story")
	dir := cmd.Flags().String("dir", "", "folder to create and keep (default: a temporary one, removed with --once)")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd, *dir, *once, *asJSON) }
	return cmd
}

func run(cmd *cobra.Command, dir string, once, asJSON bool) (err error) {
	out := cmd.OutOrStdout()
	if asJSON {
		out = io.Discard
	}
	temporary := dir == ""
	if temporary {
		if dir, err = os.MkdirTemp("", "comity-demo-"); err != nil {
			return fmt.Errorf("make a folder: %w", err)
		}
	} else if err := os.Mkdir(dir, 0o700); err != nil {
		return cli.Usagef("the demo wants a folder of its own: %w", err)
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return fmt.Errorf("make a folder: %w", err)
	}
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	s := &story{ctx: cmd.Context(), dir: dir, self: self, out: out, began: time.Now(), world: world{wallets: map[string]*actor{}}}
	told := s.tell(cmd)
	if asJSON {
		if err := cli.Print(cmd, true, s.summary(), nil); err != nil {
			told = errors.Join(told, err)
		}
	}
	if told == nil && !once && cmd.Context().Err() == nil {
		fmt.Fprintf(out, "\nThe ledger stays up at %s, its data in %s. Ctrl-C ends it.\n", s.ledgerURL, dir)
		<-cmd.Context().Done()
	}
	s.close()
	if temporary && once && told == nil {
		if err := os.RemoveAll(dir); err != nil {
			return fmt.Errorf("remove the demo's folder: %w", err)
		}
	} else if told != nil {
		fmt.Fprintf(cmd.ErrOrStderr(), "comity: the demo's folder is kept: %s\n", dir)
	}
	return told
}

// Step is one line of the story.
type Step struct {
	Title   string  `json:"title"`
	Words   string  `json:"words"`
	Seconds float64 `json:"seconds"`
	Held    bool    `json:"held"`
}

// Refused is one refusal that the story shows.
type Refused struct {
	What string `json:"what"`
	By   string `json:"by"` // ledger or wallet
	Code string `json:"code"`
}

// story is the state of one telling.
type story struct {
	ctx       context.Context
	dir, self string
	out       io.Writer
	began     time.Time

	steps        []Step
	refusals     []Refused
	failed       bool
	transactions int
	payments     int
	chapterNo    int

	ledger, witness *process
	ledgerPort      int
	witnessPort     int
	ledgerURL       string

	world
}

// chapter prints a heading.
func (s *story) chapter(title string) {
	s.chapterNo++
	fmt.Fprintf(s.out, "\n%d. %s\n", s.chapterNo, title)
}

// step runs one step and tells how it went. The returned words say in plain language what happened. After a failed step the story ends.
func (s *story) step(title string, do func() (string, error)) error {
	start := time.Now()
	words, err := do()
	took := time.Since(start)
	held := err == nil
	if !held {
		words = err.Error()
		s.failed = true
	}
	s.steps = append(s.steps, Step{Title: title, Words: words, Seconds: took.Round(time.Millisecond).Seconds(), Held: held})
	mark := "ok  "
	if !held {
		mark = "FAIL"
	}
	fmt.Fprintf(s.out, "   %s %6.2f s  %s\n", mark, took.Seconds(), title)
	for line := range strings.SplitSeq(strings.TrimRight(words, "\n"), "\n") {
		if line != "" {
			fmt.Fprintf(s.out, "                 %s\n", line)
		}
	}
	if !held {
		return fmt.Errorf("%s: %w", title, err)
	}
	return nil
}

// refused checks that something was refused under one of the names.
func (s *story) refused(what, by string, err error, names ...string) (string, error) {
	if err == nil {
		return "", fmt.Errorf("%s was not refused", what)
	}
	_, name := cli.CodeOf(err)
	for _, n := range names {
		if n == name {
			s.refusals = append(s.refusals, Refused{What: what, By: by, Code: name})
			return fmt.Sprintf("refused by the %s: %s", by, firstLine(err)), nil
		}
	}
	return "", fmt.Errorf("%s was refused as %q, want %s: %w", what, name, strings.Join(names, " or "), err)
}

// firstLine is what fits a terminal of an error.
func firstLine(err error) string {
	const most = 110
	line, _, _ := strings.Cut(err.Error(), "\n")
	if runes := []rune(line); len(runes) > most {
		line = string(runes[:most-1]) + "…"
	}
	return line
}

// Summary is what --json prints.
type Summary struct {
	Held         bool      `json:"held"`
	Seconds      float64   `json:"seconds"`
	Steps        []Step    `json:"steps"`
	Transactions int       `json:"transactions"`
	Payments     int       `json:"payments"`
	Refusals     []Refused `json:"refusals"`
	Supply       any       `json:"supply"`
	Totals       any       `json:"totals"`
	Checkpoint   any       `json:"checkpoint"`
}

func (s *story) summary() Summary {
	return Summary{Held: !s.failed, Seconds: time.Since(s.began).Round(time.Millisecond).Seconds(), Steps: s.steps, Transactions: s.transactions, Payments: s.payments,
		Refusals: s.refusals, Supply: s.supply, Totals: s.totals, Checkpoint: s.checkpoint}
}

// tell is the story, in order.
func (s *story) tell(cmd *cobra.Command) error {
	for _, chapter := range []func() error{
		func() error { return s.keys(cmd) },
		s.found,
		s.register,
		s.issue,
		s.pay,
		s.disburse,
		s.spendEarmark,
		s.refuseAtLedger,
		s.refuseAtWallet,
		s.audit,
		s.verifyOffline,
		s.finish,
	} {
		if err := chapter(); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "\nEvery step held: %d transactions, %d payments, %d refusals, %.1f s.\n", s.transactions, s.payments, len(s.refusals), time.Since(s.began).Seconds())
	return nil
}

// keys makes or finds the development proving keys.
func (s *story) keys(cmd *cobra.Command) error {
	s.chapter("Proving keys")
	return s.step("development proving keys", func() (string, error) {
		bar := cli.NewProgress(cmd, "proving keys", 1)
		defer bar.Done()
		prefix := ""
		cache, err := setup.Open(setup.Config{
			Progress: func(stage string, done, total int) {
				bar.Describe(prefix + stage)
				if total > 0 {
					bar.Set(done, total)
				}
			},
			Warn: func(err error) { fmt.Fprintf(cmd.ErrOrStderr(), "comity: %v\n", err) },
		})
		if err != nil {
			return "", err
		}
		made := 0
		for i, id := range zk.Circuits() {
			prefix = fmt.Sprintf("%d/%d %v: ", i+1, len(zk.Circuits()), id)
			if cache.Has(id) {
				continue
			}
			if bar == nil {
				fmt.Fprintf(s.out, "   making the key of circuit %v\n", id)
			}
			if _, err := cache.Keys(s.ctx, id); err != nil {
				return "", err
			}
			made++
		}
		if made == 0 {
			return fmt.Sprintf("%d circuits, all found on this machine", len(zk.Circuits())), nil
		}
		return fmt.Sprintf("%d circuits, %d made and kept for the next run; anybody can forge proofs under development keys", len(zk.Circuits()), made), nil
	})
}
