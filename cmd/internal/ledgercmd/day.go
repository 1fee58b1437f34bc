package ledgercmd

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
)

func dayCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "day",
		Short: "Open, cut off and close business days",
		Long: `A business day is a statement of the treasury about the log, signed like every act of it: it is opened, cut off, and closed over the trial balance
that the cut-off fixed. Entries up to the block before the cut-off belong to the day, later ones to the next. No payment waits for a day: the ledger
settles at all hours, with or without one.

Each command writes a proposal, to be signed (comity ledger sign) and submitted (comity ledger submit).`,
	}
	cmd.AddCommand(dayStatus(), dayPropose(entry.DayOpens), dayPropose(entry.DayCutOff), dayClose())
	return cmd
}

func dayPropose(action entry.CloseAction) *cobra.Command {
	cmd := &cobra.Command{
		Use:     "open",
		Short:   "Propose to open a business day",
		Example: "  comity ledger day open --ledger http://127.0.0.1:7001 --date 2026-02-02 --out open.json",
		Args:    cobra.NoArgs,
	}
	if action == entry.DayCutOff {
		cmd.Use, cmd.Short = "cut-off", "Propose to cut the business day off: later entries belong to the next"
		cmd.Example = "  comity ledger day cut-off --ledger http://127.0.0.1:7001 --date 2026-02-02 --out cut-off.json"
	}
	p := AddProposalFlags(cmd)
	date := cmd.Flags().String("date", "", "the business date, as yyyy-mm-dd (required)")
	_ = cmd.MarkFlagRequired("date")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		d, err := entry.ParseBusinessDate(*date)
		if err != nil {
			return cli.Exit(cli.Usage, err)
		}
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		return p.Write(cmd, r.Genesis, &entry.Close{Header: header, Date: d, Action: action}, nil)
	}
	return cmd
}

func dayClose() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "close",
		Short: "Propose to close the business day over the trial balance at its cut-off",
		Long: `Propose to close the business day that was cut off. The command reads the whole log, adds it up where the day was cut off, and names log size, root and
trial balance in the proposal; the ledger refuses any other as trial_balance_differs. A signer who keeps a copy of the log compares with
comity ledger balance --log COPY --cut-off before signing.`,
		Example: "  comity ledger day close --ledger http://127.0.0.1:7001 --out close.json",
		Args:    cobra.NoArgs,
	}
	p := AddProposalFlags(cmd)
	date := cmd.Flags().String("date", "", "the business date, as yyyy-mm-dd (default: the day that was cut off)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, _, header, err := p.Prepare(cmd)
		if err != nil {
			return err
		}
		own := r.Genesis.Hash()
		b, err := booksOf(cmd, *p.ledger, &own)
		if err != nil {
			return err
		}
		switch b.day.Action {
		case entry.DayCutOff:
		case entry.DayOpens:
			return entry.Refuse(entry.DayNotCutOff, "business day %s", b.day.Date)
		default:
			return entry.Refuse(entry.DayNotOpen, "no business day is open")
		}
		e := &entry.Close{Header: header, Date: b.day.Date, Action: entry.DayCloses, Size: b.cut.Size, Root: b.cut.Root, Balance: b.cut.Hash()}
		if *date != "" {
			if e.Date, err = entry.ParseBusinessDate(*date); err != nil {
				return cli.Exit(cli.Usage, err)
			}
			if e.Date != b.day.Date {
				return entry.Refuse(entry.DayDateInvalid, "business day %s, the open one is %s", e.Date, b.day.Date)
			}
		}
		return p.Write(cmd, r.Genesis, e, nil)
	}
	return cmd
}

func dayStatus() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show how the business day stands, from the log",
		Example: "  comity ledger day status --ledger http://127.0.0.1:7001",
		Args:    cobra.NoArgs,
	}
	address := LedgerFlag(cmd)
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		b, err := booksOf(cmd, *address, want)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"genesis": b.genesis.Hash().String(), "day": dayOf(b.day)}, func(w io.Writer) {
			fmt.Fprintf(w, "%q, genesis %s\n", b.genesis.Name, b.genesis.Hash())
			printDay(w, b.day)
			if b.day.Action == entry.DayCutOff {
				fmt.Fprintln(w, "Next: comity ledger day close")
			}
		})
	}
	return cmd
}

func booksOf(cmd *cobra.Command, address string, want *entry.GenesisHash) (*books, error) {
	l, err := openLog(cmd, address, "", want)
	if err != nil {
		return nil, err
	}
	return l.books(cmd, 0)
}
