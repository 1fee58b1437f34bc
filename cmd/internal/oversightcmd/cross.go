package oversightcmd

import (
	"fmt"
	"io"
	"os"
	"strconv"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/wallets/oversight"
)

func crossCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cross",
		Short: "List the legs of payments that cross a border",
		Long: `List this ledger's legs of payments that cross a border, each with the id of its hold and of the hold that decides it. The keys open this
ledger's legs alone: what the payment was on the other ledger is for the other nation's office.

--out writes the list to a file, which another office reconciles with its own. --public leaves amounts, currencies, programmes and owners
out: what is left is what both logs show to everybody, and is all that comity oversight reconcile needs.`,
		Example: `  comity oversight cross --ledger http://127.0.0.1:7001 --genesis HASH --key auditor.key
  comity oversight cross --log log --key auditor.key --public --out aurelia.legs`,
		Args: cobra.NoArgs,
	}
	public := cmd.Flags().Bool("public", false, "leave out what only the keys show")
	out := cmd.Flags().String("out", "", "the file to write for another office")
	src := addSource(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := src.audit(cmd)
		if err != nil {
			return err
		}
		x := a.CrossLegs()
		if *public {
			x = x.Public()
		}
		if *out != "" {
			text, err := x.Marshal()
			if err != nil {
				return err
			}
			// What the keys opened is for the office alone.
			if err := cli.WriteNewFile(*out, text, !*public); err != nil {
				return err
			}
		}
		if err := cli.Print(cmd, *src.asJSON, x, func(w io.Writer) { writeLegs(w, x) }); err != nil {
			return err
		}
		return found(a.Mismatches)
	}
	return cmd
}

func writeLegs(w io.Writer, x *oversight.CrossLegs) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "hold\trole\tstate\tamount\tdecided by")
	for i := range x.Legs {
		l := &x.Legs[i]
		amount := "at most " + l.SizeClass + " minor units"
		if l.Amount != "" {
			amount = l.Amount
			if n, err := strconv.ParseUint(l.Amount, 10, 64); err == nil {
				amount = cli.Money(n, l.Decimals, l.Asset)
			}
		}
		decider := "itself"
		if l.Role == oversight.Follower {
			decider = fmt.Sprintf("%s of ledger %.8s", l.Decider.Hold, l.Decider.Ledger)
		}
		if l.Override {
			decider += ", overridden"
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\n", l.Hold, l.Role, l.State, amount, decider)
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\n%s: entries 0 to %d, log root %s\n", x.Ledger, x.Size-1, x.Root)
	notFinal(w, x.Size, x.FinalSize)
}

// maxLegs bounds a file of another office in bytes.
const maxLegs = 256 << 20

func readLegs(path string) (*oversight.CrossLegs, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxLegs+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	x, err := oversight.ParseCrossLegs(b)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return x, nil
}

func reconcileCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "reconcile OURS THEIRS",
		Short: "Compare two offices' legs of the payments between their ledgers",
		Long: `Compare two files of comity oversight cross by the ids of holds, without keys and without a ledger: every leg that names a hold of the other ledger
must stand there, with the outcome that follows from the decision.

Both files are believed to be what their logs show: make your own copy of both where you can, since logs are public. A difference ends the
command with exit code 5. A leg that still waits for a relayer is one: still_pending.`,
		Example: "  comity oversight reconcile aurelia.legs borealis.legs",
		Args:    cobra.ExactArgs(2),
	}
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		ours, err := readLegs(args[0])
		if err != nil {
			return err
		}
		theirs, err := readLegs(args[1])
		if err != nil {
			return err
		}
		if ours.Genesis == theirs.Genesis {
			return cli.Usagef("both files are of ledger %s", ours.Genesis)
		}
		matched, differences := shared(ours, theirs)+shared(theirs, ours), ours.Reconcile(theirs)
		if err := cli.Print(cmd, *asJSON, map[string]any{"ledgers": []string{ours.Genesis, theirs.Genesis}, "matched": matched, "differences": differences}, func(w io.Writer) {
			fmt.Fprintf(w, "%s, %d entries: %d legs\n%s, %d entries: %d legs\n", ours.Ledger, ours.Size, len(ours.Legs), theirs.Ledger, theirs.Size, len(theirs.Legs))
			fmt.Fprintf(w, "%d legs follow a hold of the other, %d differences\n", matched, len(differences))
			for _, d := range differences {
				fmt.Fprintln(w, d)
			}
		}); err != nil {
			return err
		}
		if len(differences) > 0 {
			return &cli.Error{Code: cli.Unverified, Name: string(differences[0].Discord), Err: fmt.Errorf("%d differences; the first: %s", len(differences), differences[0])}
		}
		return nil
	}
	return cmd
}

// shared counts the legs of one office that follow a hold which the other lists.
func shared(x, there *oversight.CrossLegs) (n int) {
	listed := map[string]bool{}
	for i := range there.Legs {
		listed[there.Legs[i].Hold] = there.Legs[i].Role == oversight.Decider
	}
	for i := range x.Legs {
		if l := &x.Legs[i]; l.Role == oversight.Follower && l.Decider.Ledger == there.Genesis && listed[l.Decider.Hold] {
			n++
		}
	}
	return n
}
