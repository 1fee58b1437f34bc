// Package demo is the command "comity demo": three allied ledgers on this machine, with nothing made up. It starts ledgers, witnesses,
// providers and relayers as processes of their own, drives the wallets of treasuries, banks and a family, kills what can be killed at the
// worst moment, pays across borders, lets oversight read what its keys allow, and says of every step whether it held.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/cmd/internal/oversightcmd"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup"
)

// Command is "comity demo".
func Command() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "demo",
		Short: "Run three allied ledgers on this machine, from issue to audit",
		Long: `Run the ledger of Aurelia on this machine and tell its story: issue under two signatures, pay between banks, disburse to 220 beneficiaries,
spend an earmark, refuse what must be refused, kill the ledger in the middle and resume, audit with view keys alone. Then Borealis and
Cordelia join: payments cross borders, providers vanish, a relayer is killed half-way, escrow waits for attestors, a ledger is caught with
two histories, and the audit offices reconcile.

The first run makes the proving keys, which takes a few minutes on two cores; later runs take about one and a half. The ledgers then stay up
until Ctrl-C; with --once the command ends after the story, with exit code 0 only if every step held. Either way nothing is left behind: no
process, and no folder unless --dir names one.`,
		Example: "  comity demo\n  comity demo --once --json\n  comity demo --once --dir ./demo",
		Args:    cobra.NoArgs,
	}
	once := cmd.Flags().Bool("once", false, "end after the story")
	dir := cmd.Flags().String("dir", "", "folder to create and keep (default: a temporary one, removed at the end)")
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
	// Keys of a demo are thrown away with its folder.
	keyfile.WorkFactor, oversightcmd.WorkFactor = workFactor, workFactor
	s := &story{ctx: cmd.Context(), dir: dir, self: self, out: out, began: time.Now(), providers: map[string]*provider{}, crossings: []payment{},
		world: world{wallets: map[string]*actor{}}}
	s.aurelia, s.borealis, s.cordelia = newNations(s)
	if f, ok := out.(*os.File); ok {
		s.live = term.IsTerminal(int(f.Fd()))
	}
	told := s.tell(cmd)
	if asJSON {
		if err := cli.Print(cmd, true, s.summary(), nil); err != nil {
			told = errors.Join(told, err)
		}
	}
	interrupted := cmd.Context().Err() != nil
	if told == nil && !once && !interrupted {
		fmt.Fprintf(out, "\nThe ledgers stay up until Ctrl-C:\n")
		for _, n := range s.nations() {
			fmt.Fprintf(out, "  %-9s %s\n", n.land, n.url())
		}
		fmt.Fprintf(out, "Their data is in %s\n", dir)
		<-cmd.Context().Done()
	}
	s.close()
	if told != nil && !interrupted {
		fmt.Fprint(cmd.ErrOrStderr(), s.tails())
	}
	if temporary {
		if err := os.RemoveAll(dir); err != nil {
			told = errors.Join(told, fmt.Errorf("remove the demo's folder: %w", err))
		}
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
	By   string `json:"by"` // who refused: "ledger", "wallet", "payer's wallet", "provider" or "command"
	Code string `json:"code"`
}

// story is the state of one telling.
type story struct {
	ctx       context.Context
	dir, self string
	out       io.Writer
	live      bool // out is a terminal
	began     time.Time

	steps        []Step
	refusals     []Refused
	failed       bool
	transactions int
	payments     int
	chapterNo    int

	mu        sync.Mutex // guards the two that follow
	providers map[string]*provider
	crossings []payment
	relayer   *process
	tap       *tap // between the first relayer and Borealis
	unrelayed vanished
	ledgers   []Ledger
	children  children
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
	if s.live {
		fmt.Fprintf(s.out, "%-*s%s", indent, "   ...", wrap(title, columns-indent)[0])
	}
	words, err := do()
	if s.live {
		fmt.Fprint(s.out, "\r\033[K")
	}
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
	for i, line := range wrap(title, columns-indent) {
		if i == 0 {
			fmt.Fprintf(s.out, "   %s %6.2f s  %s\n", mark, took.Seconds(), line)
			continue
		}
		fmt.Fprintf(s.out, "%*s%s\n", indent, "", line)
	}
	for _, line := range wrap(words, columns-indent) {
		fmt.Fprintf(s.out, "%*s%s\n", indent, "", line)
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
	const most = 170
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
	Transactions int       `json:"transactions"` // of all ledgers, as their audit offices count them
	Payments     int       `json:"payments"`     // likewise
	Crossings    []payment `json:"crossings"`    // payments between ledgers
	Refusals     []Refused `json:"refusals"`
	Totals       any       `json:"totals"` // of Aurelia's programmes
	Ledgers      []Ledger  `json:"ledgers"`
}

func (s *story) summary() Summary {
	return Summary{Held: !s.failed, Seconds: time.Since(s.began).Round(time.Millisecond).Seconds(), Steps: s.steps, Transactions: s.transactions, Payments: s.payments,
		Crossings: s.crossings, Refusals: s.refusals, Totals: s.totals, Ledgers: s.ledgers}
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
		s.join,
		s.payAcross,
		s.relayerKilled,
		s.parties,
		s.escrow,
		s.fork,
		s.returned,
		s.vehicle,
		s.offices,
		s.finish,
	} {
		if err := chapter(); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "\nEvery step held: %d transactions with %d payments on three ledgers,\n%d payments tried across borders, %d refusals by name, %.1f s.\n", s.transactions, s.payments,
		len(s.crossings), len(s.refusals), time.Since(s.began).Seconds())
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
