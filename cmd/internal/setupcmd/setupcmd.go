// Package setupcmd is the command group "comity setup": it makes the proving keys before a wallet needs them, and prints the
// verifying keys by their fingerprints.
package setupcmd

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup"
)

// Command returns the group.
func Command() *cobra.Command {
	var names []string
	cmd := &cobra.Command{
		Use:   "setup",
		Short: "Make the proving keys of this machine",
		Long: `Make the proving keys of this machine.

A wallet makes a missing key when it first needs it; this makes them all beforehand. They are development keys: every machine
derives the same ones from a public string, anyone can forge proofs under them, and a ledger outside a development network
refuses them. They are kept in $` + setup.DirEnv + `, or in comity/keys in the user's cache folder, and hold no secret of yours.`,
		Example: `  comity setup
  comity setup --circuit transfer --circuit disburse64
  comity setup list --json`,
		Args: cobra.NoArgs,
	}
	cmd.Flags().StringSliceVar(&names, "circuit", nil, "only this circuit (repeatable): "+strings.Join(circuitNames(), ", "))
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error { return run(cmd, names, *asJSON) }
	cmd.AddCommand(list())
	return cmd
}

func circuitNames() []string {
	var out []string
	for _, id := range zk.Circuits() {
		out = append(out, id.String())
	}
	return out
}

// made is what the JSON form says about one key.
type made struct {
	Circuit string  `json:"circuit"`
	Found   bool    `json:"found"` // it was there already
	Seconds float64 `json:"seconds"`
}

func run(cmd *cobra.Command, names []string, asJSON bool) error {
	ids := zk.Circuits()
	if len(names) > 0 {
		ids = nil
		for _, name := range names {
			i := slices.Index(circuitNames(), name)
			if i < 0 {
				return cli.Usagef("unknown circuit %q: want %s", name, strings.Join(circuitNames(), ", "))
			}
			ids = append(ids, zk.Circuits()[i])
		}
	}
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
		return err
	}
	var results []made
	for i, id := range ids {
		prefix = fmt.Sprintf("%d/%d %v: ", i+1, len(ids), id)
		found, start := cache.Has(id), time.Now()
		if _, err := cache.Keys(cmd.Context(), id); err != nil {
			return err
		}
		results = append(results, made{id.String(), found, time.Since(start).Seconds()})
	}
	bar.Done()
	return cli.Print(cmd, asJSON, map[string]any{"folder": cache.Dir(), "keys": results}, func(w io.Writer) {
		for _, r := range results {
			what := "made"
			if r.Found {
				what = "was there"
			}
			fmt.Fprintf(w, "%-12s %s, %.1f s\n", r.Circuit, what, r.Seconds)
		}
		fmt.Fprintf(w, "kept in %s\n", cache.Dir())
	})
}

// listed is one row of `comity setup list`.
type listed struct {
	setup.Record
	File string `json:"file"` // "" when the proving key is not on this machine
}

func list() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Print the verifying keys of this binary and where the proving keys are",
		Long: `Print the verifying keys of this binary and where the proving keys are.

The fingerprint is the SHA-256 of the verifying key; a ledger's genesis names its keys by it.`,
		Example: `  comity setup list
  comity setup list --json`,
		Args: cobra.NoArgs,
	}
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		records, err := setup.Records()
		if err != nil {
			return err
		}
		cache, err := setup.Open(setup.Config{})
		if err != nil {
			return err
		}
		var rows []listed
		for _, r := range records {
			row := listed{Record: r}
			if file := cache.File(zk.CircuitID(r.ID)); file != "" {
				if _, err := os.Stat(file); err == nil {
					row.File = file
				}
			}
			rows = append(rows, row)
		}
		return cli.Print(cmd, *asJSON, map[string]any{"development": true, "circuits": rows}, func(w io.Writer) {
			t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
			fmt.Fprintln(t, "circuit\tversion\tconstraints\tinputs\tproving key\tfingerprint")
			for _, r := range rows {
				here := "not made"
				if r.File != "" {
					here = "here"
				}
				fmt.Fprintf(t, "%s\t%d\t%d\t%d\t%s\t%x\n", r.Circuit, r.Version, r.Constraints, r.Inputs, here, r.Fingerprint)
			}
			_ = t.Flush()
			fmt.Fprintln(w, "development keys: for development networks only")
		})
	}
	return cmd
}
