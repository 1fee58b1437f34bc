package escrowcmd

import (
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// listRow is an escrow as the ledger shows it to everybody; the fields from Role on are known to a wallet of one of its parties.
type listRow struct {
	Hold       string   `json:"hold"`
	Status     string   `json:"status"` // "waiting", "ready", "challenged", "expired", "posted" or "voided"
	Statement  string   `json:"statement"`
	Document   string   `json:"document,omitempty"`
	Attested   int      `json:"attested"`
	Threshold  int      `json:"threshold"`
	Attestors  []string `json:"attestors"`
	Ready      string   `json:"ready,omitempty"`
	Until      string   `json:"until"`
	Challenged bool     `json:"challenged"`
	Role       string   `json:"role,omitempty"` // "payer" or "payee"
	Asset      string   `json:"asset,omitempty"`
	Amount     string   `json:"amount,omitempty"` // minor units
	Reference  string   `json:"reference,omitempty"`
	money      string
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list",
		Short: "List escrows and what they wait for",
		Long: `List the ledger's open escrows: what each waits for, who has attested and when it expires. Amounts and parties are hidden.

With --wallet it lists the escrows of that wallet instead, those that were decided too, with their amounts.`,
		Example: `  comity escrow list --ledger http://127.0.0.1:7001
  comity escrow list --ledger http://127.0.0.1:7001 --wallet ministry`,
		Args: cobra.NoArgs,
	}
	f := walletcmd.AddFlags(cmd, true)
	hash := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		address := cmd.Flags().Lookup("ledger").Value.String()
		r, err := ledgerFlags{&address, hash}.dial(cmd.Context())
		if err != nil {
			return err
		}
		rows, err := openRows(cmd, r)
		if err != nil {
			return err
		}
		mine := cmd.Flags().Changed("wallet")
		if mine {
			w, err := f.Open(cmd)
			if err != nil {
				return err
			}
			defer w.Close()
			if err := w.Sync(cmd.Context(), nil); err != nil {
				return err
			}
			if rows, err = ownRows(w, rows); err != nil {
				return err
			}
		}
		return cli.Print(cmd, *asJSON, map[string]any{"escrows": rows}, func(out io.Writer) {
			if len(rows) == 0 {
				fmt.Fprintln(out, "none")
				return
			}
			t := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
			if mine {
				fmt.Fprintln(t, "HOLD\tSTATUS\tROLE\tAMOUNT\tSTATEMENT\tATTESTED\tUNTIL\tREFERENCE")
			} else {
				fmt.Fprintln(t, "HOLD\tSTATUS\tSTATEMENT\tATTESTED\tREADY\tUNTIL")
			}
			for _, row := range rows {
				count := fmt.Sprintf("%d of %d", row.Attested, row.Threshold)
				if mine {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", row.Hold, row.Status, row.Role, row.money, row.Statement, count, row.Until, row.Reference)
				} else {
					fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\n", row.Hold, row.Status, row.Statement, count, row.Ready, row.Until)
				}
			}
			t.Flush()
		})
	}
	return cmd
}

// openRows lists the open escrows of the ledger.
func openRows(cmd *cobra.Command, r *remote) ([]listRow, error) {
	holds, err := r.Holds(cmd.Context())
	if err != nil {
		return nil, err
	}
	rows := []listRow{}
	now := uint64(time.Now().UnixMilli())
	for i := range holds {
		h := &holds[i]
		decoded, err := h.Condition.Decode()
		if err != nil {
			return nil, cli.Exit(cli.Unverified, fmt.Errorf("the ledger's conditions of hold %s: %w", h.ID, err))
		}
		a, ok := decoded.(*entry.Attested)
		if !ok {
			continue
		}
		row := conditionRow(h.ID, a)
		row.Attested, row.Threshold, row.Challenged, row.Until, row.Ready = len(h.Attested), needed(h, a), h.Challenged, cli.Stamp(h.Until), cli.Stamp(h.ReadyAt)
		if h.Document != ([32]byte{}) {
			row.Document = fmt.Sprintf("%x", h.Document)
		}
		switch {
		case now >= h.Until:
			row.Status = "expired"
		case h.ReadyAt != 0 && now >= h.ReadyAt:
			row.Status = "ready"
		case h.Challenged:
			row.Status = "challenged"
		}
		rows = append(rows, row)
	}
	return rows, nil
}

func conditionRow(id entry.HoldID, a *entry.Attested) listRow {
	row := listRow{Hold: id.String(), Status: "waiting", Statement: a.Statement.String(), Threshold: int(a.Threshold)}
	if a.Document != ([32]byte{}) {
		row.Document = fmt.Sprintf("%x", a.Document)
	}
	for _, k := range a.Attestors {
		row.Attestors = append(row.Attestors, k.String())
	}
	return row
}

// ownRows lists the wallet's escrows; what the ledger knows of the open ones is added.
func ownRows(w *walletcmd.Wallet, open []listRow) ([]listRow, error) {
	known := map[string]listRow{}
	for _, row := range open {
		known[row.Hold] = row
	}
	rows := []listRow{}
	for _, h := range w.State().Holds() {
		decoded, err := h.Condition.Decode()
		if err != nil {
			return nil, err
		}
		a, ok := decoded.(*entry.Attested)
		if !ok {
			continue
		}
		row, ok := known[h.ID.String()]
		if !ok {
			row = conditionRow(h.ID, a)
		}
		if h.Outcome != 0 {
			row.Status = h.Outcome.String()
		}
		row.Until, row.Role = cli.Stamp(h.Until), "payee"
		if h.Mine {
			row.Role = "payer"
		}
		row.Asset, row.Amount, row.Reference = assetCode(w.Genesis, h.Asset()), cli.MinorUnits(h.Amount()), clean(h.Reference)
		row.money = cli.MoneyOf(w.Genesis, h.Amount(), h.Asset())
		if row.Reference == "" && h.Mine {
			row.Reference = orderReference(w.Outbox(), h.ID)
		}
		rows = append(rows, row)
	}
	return rows, nil
}

// orderReference is the payment id under which the wallet placed a hold.
func orderReference(o *wallets.Outbox, id entry.HoldID) string {
	if a, ok := o.Attempt(id.Tx); ok {
		return a.Order
	}
	return ""
}

// clean makes text that somebody else sent safe to print.
func clean(text string) string {
	out := []rune(text)
	for i, c := range out {
		if c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0 {
			out[i] = '?'
		}
	}
	return string(out)
}
