package walletcmd

import (
	"encoding/csv"
	"fmt"
	"io"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

func syncCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sync",
		Short: "Read the ledger up to its head",
		Long: `Read the ledger up to its head. Every block is checked against its own state entry and every checkpoint against the witnesses' quorum.
Transactions that were built before an interruption are sent again, with the same bytes.`,
		Example: "  comity wallet sync --wallet ministry --ledger http://127.0.0.1:7001",
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	again := cmd.Flags().Bool("from-start", false, "forget what was read and read everything again; payments and the last checkpoint stay known")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := f.Open(cmd)
		if err != nil {
			return err
		}
		defer w.Close()
		began, from := time.Now(), w.State().NextHeight()
		if *again {
			bar := cli.NewProgress(cmd, "Reading the ledger", -1)
			from = 0
			err = w.Rescan(cmd.Context(), progressOf(bar))
			bar.Done()
		} else {
			err = syncWith(cmd, w)
		}
		if err != nil {
			return err
		}
		if err := w.Resume(cmd.Context(), nil); err != nil {
			return err
		}
		s := w.State()
		return cli.Print(cmd, *asJSON, map[string]any{"blocks": s.NextHeight(), "read": s.NextHeight() - from, "entries": s.LogSize(), "final_entries": s.FinalSize(),
			"ledger_time": stamp(s.TimeMillis()), "pending": len(s.Unsettled(w.Outbox()))}, func(out io.Writer) {
			fmt.Fprintf(out, "%d blocks read in %s; %d entries, %d of them final; ledger time %s\n", s.NextHeight()-from, time.Since(began).Round(time.Millisecond),
				s.LogSize(), s.FinalSize(), stamp(s.TimeMillis()))
		})
	}
	return cmd
}

func stamp(millis uint64) string {
	if millis == 0 {
		return "-"
	}
	return time.UnixMilli(int64(millis)).UTC().Format("2006-01-02T15:04:05.000Z")
}

type balanceRow struct {
	Asset     string `json:"asset"`
	Programme string `json:"programme"`
	Name      string `json:"programme_name,omitempty"`
	Amount    string `json:"amount"` // minor units
	Free      string `json:"free"`   // minor units not bound in pending transactions
	Notes     int    `json:"notes"`
	text      string
	freeText  string
}

func balanceCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "balance",
		Short:   "Print what the wallet holds, by currency and programme",
		Long:    "Print what the wallet holds. With --ledger the ledger is read first; without, the balance is as of the last reading.",
		Example: "  comity wallet balance --wallet ministry --ledger http://127.0.0.1:7001",
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	offline := cmd.Flags().Bool("offline", false, "do not read the ledger first")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := f.look(cmd, *offline)
		if err != nil {
			return err
		}
		defer w.Close()
		rows := w.balances()
		r := w.State().Rights()
		return cli.Print(cmd, *asJSON, map[string]any{"balances": rows, "registered": r.Registered, "frozen": r.Frozen, "limit_per_leg": cli.MinorUnits(r.Limit),
			"ledger_time": stamp(w.State().TimeMillis()), "blocks": w.State().NextHeight()}, func(out io.Writer) {
			if len(rows) == 0 {
				fmt.Fprintln(out, "nothing")
			}
			t := tabwriter.NewWriter(out, 2, 8, 2, ' ', tabwriter.AlignRight)
			for _, b := range rows {
				programme := "unrestricted"
				if b.Programme != "0" {
					programme = "programme " + b.Programme + " " + b.Name
				}
				fmt.Fprintf(t, "%s\t  free %s\t  %d notes\t  %s\t\n", b.text, b.freeText, b.Notes, programme)
			}
			t.Flush()
			switch {
			case !r.Registered:
				fmt.Fprintln(out, "not registered: this wallet can be paid and cannot spend yet")
			case r.Frozen:
				fmt.Fprintln(out, "frozen: this wallet cannot spend")
			}
		})
	}
	return cmd
}

// look opens the wallet and reads the ledger first unless offline.
func (f *Flags) look(cmd *cobra.Command, offline bool) (*Wallet, error) {
	if offline {
		f.ledger = nil
		return f.Open(cmd)
	}
	w, err := f.Open(cmd)
	if err != nil {
		return nil, err
	}
	if err := syncWith(cmd, w); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

func (w *Wallet) balances() []balanceRow {
	all, free := w.State().Balances(w.Outbox())
	names := map[zk.ProgrammeID]string{}
	for _, p := range w.State().Programmes() {
		names[p.ID] = p.Name
	}
	rows := []balanceRow{}
	for _, b := range all {
		var f zk.Amount
		for _, x := range free {
			if x.Asset == b.Asset && x.Programme == b.Programme {
				f = x.Amount
			}
		}
		rows = append(rows, balanceRow{Asset: w.code(b.Asset), Programme: strconv.FormatUint(uint64(b.Programme), 10), Name: names[b.Programme],
			Amount: cli.MinorUnits(b.Amount), Free: cli.MinorUnits(f), Notes: b.Notes, text: w.money(b.Amount, b.Asset), freeText: w.money(f, b.Asset)})
	}
	return rows
}

// row is one line of the history.
type row struct {
	Time         string `json:"time"`
	Direction    string `json:"direction"`
	Asset        string `json:"asset"`
	Amount       string `json:"amount"` // minor units
	Programme    string `json:"programme"`
	Counterparty string `json:"counterparty,omitempty"`
	Reference    string `json:"reference,omitempty"`
	PaymentID    string `json:"payment_id,omitempty"`
	Line         string `json:"line,omitempty"` // of a disbursement
	Status       string `json:"status"`         // "final", "settled", "pending", "refused: CODE", "expired", "open"
	Entry        string `json:"entry,omitempty"`
	TxID         string `json:"tx"`
	Leg          int    `json:"leg"`
	Output       int    `json:"output"`
	money        string
}

func (w *Wallet) row(direction wallets.Direction, m wallets.Settled, tx string, asset zk.AssetID, amount zk.Amount, programme zk.ProgrammeID) row {
	r := row{Time: stamp(m.TimeMillis), Direction: string(direction), Asset: w.code(asset), Amount: cli.MinorUnits(amount), TxID: tx,
		Programme: strconv.FormatUint(uint64(programme), 10), Status: "settled", Entry: strconv.FormatUint(m.Entry, 10), money: w.money(amount, asset)}
	if m.Entry < w.State().FinalSize() {
		r.Status = "final"
	}
	return r
}

// rows merges the log's view with what the wallet remembers of its own payments. pending adds what has not settled.
func (w *Wallet) rows(internal, pending bool) []row {
	s, o := w.State(), w.Outbox()
	out := []row{}
	for _, m := range s.History() {
		if m.Direction == wallets.Internal && !internal {
			// A payment to oneself is still a payment.
			if a, ok := o.Attempt(m.TxID); !ok || !a.Pays {
				continue
			}
		}
		a, ok := o.Attempt(m.TxID)
		if !ok || !a.Pays || m.Direction == wallets.In {
			r := w.row(m.Direction, m.Settled, m.TxID.String(), m.Asset, m.Amount, m.Programme)
			r.Reference, r.Leg, r.Output = clean(m.Reference), m.Leg, m.Output
			out = append(out, r)
			continue
		}
		for _, sent := range a.Outputs {
			if sent.Purpose == wallets.ToPayee {
				out = append(out, w.sentRow(a, sent, m.Settled))
			}
		}
	}
	if !pending {
		return out
	}
	for _, order := range o.Orders() {
		p := s.PaymentOf(o, order)
		if p.Stage == wallets.Done {
			continue
		}
		if p.Attempt == nil {
			if order.Disbursement == "" {
				out = append(out, w.openRow(p))
			}
			continue
		}
		for _, sent := range p.Attempt.Outputs {
			if sent.Purpose == wallets.ToPayee {
				r := w.sentRow(p.Attempt, sent, wallets.Settled{})
				r.Status, r.Entry, r.Time = string(p.Stage), "", "-"
				if p.Refusal != nil {
					r.Status = "refused: " + p.Refusal.Code
				}
				out = append(out, r)
			}
		}
	}
	return out
}

// openRow is a payment of which no transaction may settle: it was ordered and never sent, or what was sent died.
func (w *Wallet) openRow(p wallets.Payment) row {
	o := p.Order
	r := row{Time: "-", Direction: string(wallets.Out), Asset: w.code(o.Asset), Amount: cli.MinorUnits(o.Amount), Programme: strconv.FormatUint(uint64(o.Programme), 10),
		Counterparty: o.To, Reference: o.Reference, PaymentID: o.ID, Status: "open", money: w.money(o.Amount, o.Asset)}
	switch {
	case p.Refusal != nil:
		r.Status = "refused: " + p.Refusal.Code
	case p.Expired:
		r.Status = "expired"
	}
	return r
}

func (w *Wallet) sentRow(a *wallets.Attempt, sent wallets.Sent, m wallets.Settled) row {
	r := w.row(wallets.Out, m, a.TxID.String(), sent.Note.Asset, sent.Note.Value, sent.Note.Programme)
	r.Counterparty, r.Reference, r.PaymentID, r.Leg, r.Output = sent.To, sent.Memo, a.Order, sent.Leg, sent.Output
	if order, ok := w.Outbox().Order(a.Order); ok && order.Disbursement != "" {
		r.PaymentID = order.Disbursement
		if d, ok := w.Outbox().Disbursement(order.Disbursement); ok && sent.Line > 0 && sent.Line <= len(d.Lines) {
			r.Line = d.Lines[sent.Line-1].ID
		}
	}
	return r
}

// clean makes text that somebody else sent safe to print.
func clean(text string) string {
	return strings.Map(func(c rune) rune {
		if strconv.IsPrint(c) {
			return c
		}
		return '?'
	}, text)
}

func historyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "history",
		Short: "List what was received and paid",
		Long: `List what was received and paid, oldest first. "final" means covered by a checkpoint that the witnesses' quorum cosigned and this wallet
compared with everything it read.`,
		Example: "  comity wallet history --wallet ministry --ledger http://127.0.0.1:7001",
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	offline := cmd.Flags().Bool("offline", false, "do not read the ledger first")
	internal := cmd.Flags().Bool("internal", false, "also list transactions that only rearrange the wallet's own notes")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := f.look(cmd, *offline)
		if err != nil {
			return err
		}
		defer w.Close()
		rows := w.rows(*internal, true)
		return cli.Print(cmd, *asJSON, map[string]any{"history": rows}, func(out io.Writer) {
			t := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(t, "TIME\tDIRECTION\tAMOUNT\tPROGRAMME\tSTATUS\tENTRY\tREFERENCE\tPAYMENT ID\tCOUNTERPARTY")
			for _, r := range rows {
				id := r.PaymentID
				if r.Line != "" {
					id += " line " + r.Line
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", r.Time, r.Direction, r.money, r.Programme, r.Status, r.Entry, r.Reference, id, short(r.Counterparty))
			}
			t.Flush()
		})
	}
	return cmd
}

func short(address string) string {
	if len(address) <= 24 {
		return address
	}
	return address[:16] + "..." + address[len(address)-6:]
}

// writeRows writes the history as CSV for other programs.
func writeRows(w io.Writer, rows []row) error {
	c := csv.NewWriter(w)
	_ = c.Write([]string{"time", "direction", "asset", "amount_minor_units", "programme", "status", "entry", "tx", "leg", "output", "payment_id", "line", "counterparty", "reference"})
	for _, r := range rows {
		_ = c.Write([]string{r.Time, r.Direction, r.Asset, r.Amount, r.Programme, r.Status, r.Entry, r.TxID, strconv.Itoa(r.Leg), strconv.Itoa(r.Output), r.PaymentID, r.Line,
			r.Counterparty, guard(r.Reference)})
	}
	c.Flush()
	return c.Error()
}

// guard keeps a spreadsheet from taking a reference that somebody else wrote for a formula.
func guard(text string) string {
	if text != "" && strings.ContainsRune("=+-@\t", rune(text[0])) {
		return "'" + text
	}
	return text
}
