package oversightcmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

func traceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "trace",
		Short: "Follow money back to its issue",
		Long: `Follow what a wallet received, or one output, back through every payment behind it to the entries that issued the money.

Each line is an output; the lines below it, indented, are the notes that its leg spent. The inputs of a leg are listed once. A branch that the keys
do not open is shown as unreadable, and the trace as incomplete. Openings are not logged in this release.`,
		Example: `  comity oversight trace --to ADDRESS --ledger http://127.0.0.1:7001 --key auditor.key --passphrase-file pass
  comity oversight trace --commitment HEX --log log --key donor.key --passphrase-file pass`,
		Args: cobra.NoArgs,
	}
	to := cmd.Flags().String("to", "", "address or owner whose receipts are followed")
	programme := cmd.Flags().Uint64("programme", 0, "only money of this programme, with --to; 0 for money without one")
	commitment := cmd.Flags().String("commitment", "", "output to follow, hexadecimal, instead of --to")
	src := addSource(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (*to == "") == (*commitment == "") {
			return cli.Usagef("give --to or --commitment")
		}
		var cm zk.Commitment
		if *commitment != "" {
			if cmd.Flags().Changed("programme") {
				return cli.Usagef("--programme goes with --to")
			}
			if err := cm.UnmarshalText([]byte(*commitment)); err != nil {
				return cli.Usagef("--commitment: %w", err)
			}
		}
		a, err := src.audit(cmd)
		if err != nil {
			return err
		}
		var t *oversight.Trace
		if *to == "" {
			t, err = a.TraceCommitment(cm)
		} else {
			var owner zk.Owner
			if owner, err = parseOwner(*to, a.Genesis); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			var only *zk.ProgrammeID
			if cmd.Flags().Changed("programme") {
				p := zk.ProgrammeID(*programme)
				only = &p
			}
			t, err = a.TraceTo(owner, only)
		}
		if err != nil {
			return err
		}
		if err := cli.Print(cmd, *src.asJSON, t, func(w io.Writer) { printTrace(w, t) }); err != nil {
			return err
		}
		return found(a.Mismatches)
	}
	return cmd
}

// maxIndent bounds the indentation: a chain of change is as long as a wallet's history.
const maxIndent = 24

func printTrace(w io.Writer, t *oversight.Trace) {
	for _, s := range t.Chain {
		indent := strings.Repeat("  ", min(s.Depth, maxIndent))
		if s.Depth > maxIndent {
			indent += fmt.Sprintf("[%d] ", s.Depth)
		}
		if !s.Readable {
			fmt.Fprintf(w, "%s%s  entry %d  not readable with these keys, commitment %s\n", indent, s.Day, s.Entry, s.Commitment)
			continue
		}
		fmt.Fprintf(w, "%s%s  %s  to %s", indent, s.Day, money(s.Amount, s.Decimals, s.Asset), short(s.Owner))
		if s.Programme != "0" {
			fmt.Fprintf(w, "  programme %s", s.Programme)
		}
		switch {
		case s.Issued != "":
			fmt.Fprintf(w, "  ISSUED %s", money(s.Issued, s.Decimals, s.Asset))
		case s.Owner == s.Sender:
			fmt.Fprint(w, "  change")
		default:
			fmt.Fprintf(w, "  from %s", short(s.Sender))
		}
		fmt.Fprintf(w, "  entry %d", s.Entry)
		if s.Above {
			fmt.Fprint(w, "  (see above)")
		}
		if s.Missing > 0 {
			fmt.Fprintf(w, "  SPENDS %d NOTES THAT LIE NOWHERE", s.Missing)
		}
		fmt.Fprintln(w)
	}
	fmt.Fprintf(w, "\n%s: entries %d to %d, log root %s\n", t.Ledger, t.From, t.Size-1, t.Root)
	notFinal(w, t.Size, t.FinalSize)
	if t.Complete {
		fmt.Fprintf(w, "complete: all of it was issued, by %d entries\n", len(t.Issues))
	} else {
		fmt.Fprintf(w, "INCOMPLETE: %d issuing entries were reached, some branches end before one\n", len(t.Issues))
	}
}

// short is the beginning of an owner, enough to tell people apart in a tree; JSON has all of it.
func short(owner string) string { return owner[:min(len(owner), 16)] }

// money prints minor units, which come as decimal text.
func money(minor string, decimals int, code string) string {
	var v uint64
	if _, err := fmt.Sscan(minor, &v); err != nil {
		return minor + " " + code
	}
	return cli.Money(v, decimals, code)
}

func supplyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "supply",
		Short: "Count the money, without trusting any proof",
		Long: `Check the money supply of the whole ledger without believing a single zero-knowledge proof: every commitment is recomputed; in every leg the notes
spent, each looked up where it lies, and what is issued equal the outputs and what is redeemed; no note is spent twice; earmarks are kept; and per
currency issued minus redeemed is what lies unspent, and what the ledger's state entries say.

It needs the oversight keys of all epochs: give --key several times. Money made by a broken circuit is named by its entry, with exit code 5.
Openings are not logged in this release.`,
		Example: "  comity oversight supply --log log --key epoch1.key --key epoch2.key --passphrase-file pass",
		Args:    cobra.NoArgs,
	}
	src := addSource(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		a, err := src.audit(cmd)
		if err != nil {
			return err
		}
		s, err := a.Supply()
		if err != nil {
			return err
		}
		if err := cli.Print(cmd, *src.asJSON, s, func(w io.Writer) { printSupply(w, s) }); err != nil {
			return err
		}
		return found(s.Mismatches)
	}
	return cmd
}

func printSupply(w io.Writer, s *oversight.Supply) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "asset\tissued\tredeemed\tunspent\tnotes")
	for _, x := range s.Assets {
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%d\n", x.Asset, x.Issued.Format(x.Decimals), x.Redeemed.Format(x.Decimals), x.Unspent.Format(x.Decimals), x.Notes)
	}
	_ = t.Flush()
	fmt.Fprintf(w, "\n%s: entries %d to %d, log root %s\n", s.Ledger, s.From, s.Size-1, s.Root)
	notFinal(w, s.Size, s.FinalSize)
	fmt.Fprintf(w, "%d legs, %d notes spent, %d outputs recomputed\n", s.Legs, s.Inputs, s.Outputs)
	for _, m := range s.Mismatches {
		fmt.Fprintf(w, "MISMATCH %s\n", m)
	}
	if len(s.Mismatches) == 0 {
		fmt.Fprintln(w, "holds: no money was made or lost")
	}
}

func openCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "open",
		Short: "Show one transaction whole",
		Long: `Open all legs of one transaction: who sent it, which notes it spent and what it paid to whom. What the keys do not open is shown as unreadable.
Openings are not logged in this release.`,
		Example: "  comity oversight open --entry 4711 --ledger http://127.0.0.1:7001 --key auditor.key --passphrase-file pass",
		Args:    cobra.NoArgs,
	}
	index := cmd.Flags().Uint64("entry", 0, "index of the entry in the log")
	idText := cmd.Flags().String("id", "", "id of the transaction, hexadecimal, instead of --entry")
	src := addSource(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if cmd.Flags().Changed("entry") == (*idText != "") {
			return cli.Usagef("give --entry or --id")
		}
		var id entry.ID
		if *idText != "" {
			var err error
			if id, err = entry.ParseID(*idText); err != nil {
				return cli.Usagef("--id: want 64 lower-case hexadecimal digits")
			}
		}
		a, err := src.audit(cmd)
		if err != nil {
			return err
		}
		var e *oversight.OpenedEntry
		if *idText != "" {
			e, err = a.OpenID(id)
		} else {
			e, err = a.OpenEntry(*index)
		}
		if err != nil {
			return err
		}
		if err := cli.Print(cmd, *src.asJSON, e, func(w io.Writer) { printEntry(w, e) }); err != nil {
			return err
		}
		return found(e.Mismatches)
	}
	return cmd
}

func printEntry(w io.Writer, e *oversight.OpenedEntry) {
	final := "final"
	if !e.Final {
		final = "NOT FINAL"
	}
	fmt.Fprintf(w, "entry %d  %s %s\nblock %d  %s  %s\n", e.Entry, e.Kind, e.ID, e.Height, time.UnixMilli(int64(e.TimeMillis)).UTC().Format(time.RFC3339), final)
	for i, l := range e.Legs {
		fmt.Fprintf(w, "\nleg %d  %s, epoch %d, opened: %s\n", i, l.Circuit, l.Epoch, l.Access)
		if l.Issued != "0" || l.Redeemed != "0" {
			fmt.Fprintf(w, "  issues %s, redeems %s minor units\n", l.Issued, l.Redeemed)
		}
		if l.Sender != "" {
			fmt.Fprintf(w, "  sender  %s\n", l.Sender)
		}
		for _, n := range l.Inputs {
			fmt.Fprintf(w, "  spends  %s\n", noteLine(n))
		}
		for _, n := range l.Outputs {
			if n.Readable && n.Amount == "0" {
				continue // padding
			}
			verb := "pays  "
			if n.Change {
				verb = "change"
			}
			fmt.Fprintf(w, "  %s  %s\n", verb, noteLine(n))
		}
	}
	for _, m := range e.Mismatches {
		fmt.Fprintf(w, "MISMATCH %s\n", m)
	}
}

func noteLine(n oversight.OpenedNote) string {
	if !n.Readable {
		return fmt.Sprintf("not readable, tree %d index %d", n.Tree, n.Index)
	}
	s := fmt.Sprintf("%s  owner %s", money(n.Amount, n.Decimals, n.Asset), n.Owner)
	if n.Programme != "0" {
		s += "  programme " + n.Programme
	}
	return fmt.Sprintf("%s  (entry %d, leg %d, output %d)", s, n.Entry, n.Leg, n.Output)
}
