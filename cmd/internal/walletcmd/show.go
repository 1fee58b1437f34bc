package walletcmd

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"time"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// pick is how the user names a payment: by its id, by a line of a disbursement, or by transaction and output.
type pick struct {
	payment, disbursement, line, tx *string
	leg, output                     *int
}

func addPick(cmd *cobra.Command) pick {
	return pick{
		payment:      cmd.Flags().String("payment-id", "", "your id of the payment"),
		disbursement: cmd.Flags().String("disbursement", "", "id of a disbursement, with --line"),
		line:         cmd.Flags().String("line", "", "line id in the disbursement"),
		tx:           cmd.Flags().String("tx", "", "transaction, as the history lists it; with --leg and --output"),
		leg:          cmd.Flags().Int("leg", 0, "leg of --tx"),
		output:       cmd.Flags().Int("output", -1, "output of --tx (default: the first that pays somebody)"),
	}
}

// find gives the settled transaction, leg and output that the flags name.
func (p pick) find(w *Wallet) (tx entry.ID, leg, output int, at wallets.Settled, err error) {
	s, o := w.State(), w.Outbox()
	switch {
	case *p.payment != "" && *p.disbursement == "" && *p.tx == "":
		order, ok := o.Order(*p.payment)
		if !ok {
			return tx, 0, 0, at, wallets.Refuse(wallets.NotFound, "no payment with id %q", *p.payment)
		}
		pay := s.PaymentOf(o, order)
		if pay.Stage != wallets.Done {
			return tx, 0, 0, at, wallets.Refuse(wallets.NotFound, "payment %q has not settled", *p.payment)
		}
		return firstPayee(pay.Attempt, pay.Settled)
	case *p.disbursement != "" && *p.line != "" && *p.payment == "" && *p.tx == "":
		d, ok := o.Disbursement(*p.disbursement)
		if !ok {
			return tx, 0, 0, at, wallets.Refuse(wallets.NotFound, "no disbursement with id %q", *p.disbursement)
		}
		for _, l := range w.Lines(d) {
			if l.Line != *p.line {
				continue
			}
			if l.Status != string(wallets.Done) {
				return tx, 0, 0, at, wallets.Refuse(wallets.NotFound, "line %q has not settled", *p.line)
			}
			tx, err = entry.ParseID(l.TxID)
			at, _ = s.SettledAt(tx)
			return tx, 0, l.Output, at, err
		}
		return tx, 0, 0, at, wallets.Refuse(wallets.NotFound, "disbursement %q has no line %q", *p.disbursement, *p.line)
	case *p.tx != "" && *p.payment == "" && *p.disbursement == "":
		if tx, err = entry.ParseID(*p.tx); err != nil {
			return tx, 0, 0, at, cli.Usagef("--tx: want 64 hexadecimal digits")
		}
		at, ok := s.SettledAt(tx)
		if !ok {
			return tx, 0, 0, at, wallets.Refuse(wallets.NotFound, "transaction %s is not of this wallet, or has not settled", tx)
		}
		if *p.output >= 0 {
			return tx, *p.leg, *p.output, at, nil
		}
		if a, ok := o.Attempt(tx); ok && a.Pays {
			return firstPayee(a, at)
		}
		for _, n := range s.Notes() {
			if n.Entry == at.Entry {
				return tx, n.Leg, n.Output, at, nil
			}
		}
		return tx, *p.leg, 0, at, nil
	}
	return tx, 0, 0, at, cli.Usagef("name the payment: --payment-id, or --disbursement with --line, or --tx")
}

func firstPayee(a *wallets.Attempt, at wallets.Settled) (entry.ID, int, int, wallets.Settled, error) {
	for _, sent := range a.Outputs {
		if sent.Purpose == wallets.ToPayee {
			return a.TxID, sent.Leg, sent.Output, at, nil
		}
	}
	return a.TxID, 0, 0, at, nil
}

// receipt fetches a receipt and checks it against genesis before it is given to anybody.
func (w *Wallet) receipt(cmd *cobra.Command, at wallets.Settled) ([]byte, *wallets.Proven, error) {
	raw, err := w.Client.Receipt(cmd.Context(), at.Entry, 30*time.Second)
	if err != nil {
		return nil, nil, err
	}
	proven, err := wallets.VerifyReceipt(w.Genesis, raw)
	if err != nil {
		return nil, nil, cli.Exit(cli.Unverified, fmt.Errorf("the ledger's receipt of entry %d: %w", at.Entry, err))
	}
	if proven.Index != at.Entry {
		return nil, nil, cli.Unverifiedf("the ledger gave the receipt of entry %d for entry %d", proven.Index, at.Entry)
	}
	return raw, proven, nil
}

func receiptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt",
		Short: "Write the receipt of a payment",
		Long: `Write the receipt of a payment: the entry, and the proof that it is in the log under a checkpoint cosigned by the witnesses' quorum. It is
checked before it is written. It can be checked offline, years later: comity verify receipt. It shows no amount and no party.`,
		Example: "  comity wallet receipt --wallet ministry --ledger http://127.0.0.1:7001 --payment-id invoice-7 --out invoice-7.receipt",
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	p := addPick(cmd)
	out := cmd.Flags().String("out", "", "file to write (required)")
	asJSON := cli.JSON(cmd)
	_ = cmd.MarkFlagRequired("out")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := f.look(cmd, false)
		if err != nil {
			return err
		}
		defer w.Close()
		tx, _, _, at, err := p.find(w)
		if err != nil {
			return err
		}
		raw, proven, err := w.receipt(cmd, at)
		if err != nil {
			return err
		}
		if proven.ID != tx {
			return cli.Unverifiedf("entry %d is not transaction %s", at.Entry, tx)
		}
		if err := cli.WriteNewFile(*out, raw, false); err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"file": *out, "entry": at.Entry, "tx": tx.String(), "checkpoint_size": proven.Checkpoint.Size,
			"cosignatures": len(proven.Checkpoint.Cosignatures)}, func(o io.Writer) {
			fmt.Fprintf(o, "entry %d under a checkpoint of %d entries with %d cosignatures: %s\n", at.Entry, proven.Checkpoint.Size, len(proven.Checkpoint.Cosignatures), *out)
		})
	}
	return cmd
}

func discloseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disclose",
		Short: "Write the proof that one payment was made, for one party",
		Long: `Write a disclosure: what opens one payment (amount, currency, programme, payee) and the receipt of its entry. Whoever reads it can check it
offline (comity verify disclosure) and learns that payment and nothing else. With --recipient the file is encrypted, so that one party
reads it; that party decrypts it with its own age identity.`,
		Example: `  comity wallet disclose --wallet ministry --ledger http://127.0.0.1:7001 --payment-id invoice-7 --recipient age1... --out invoice-7.disclosure.age`,
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	p := addPick(cmd)
	out := cmd.Flags().String("out", "", "file to write (required)")
	recipient := cmd.Flags().String("recipient", "", "age recipient (age1...) who alone can read the file")
	asJSON := cli.JSON(cmd)
	_ = cmd.MarkFlagRequired("out")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := f.look(cmd, false)
		if err != nil {
			return err
		}
		defer w.Close()
		tx, leg, output, at, err := p.find(w)
		if err != nil {
			return err
		}
		raw, _, err := w.receipt(cmd, at)
		if err != nil {
			return err
		}
		d, err := w.State().Disclose(w.Outbox(), tx, leg, output, raw)
		if err != nil {
			return err
		}
		if _, err := d.Verify(w.Genesis); err != nil {
			return cli.Exit(cli.Unverified, err)
		}
		b, err := d.Marshal()
		if err != nil {
			return err
		}
		if *recipient != "" {
			if b, err = encryptTo(*recipient, b); err != nil {
				return err
			}
		}
		if err := cli.WriteNewFile(*out, b, true); err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"file": *out, "entry": at.Entry, "tx": tx.String(), "leg": leg, "output": output, "asset": w.code(d.Note.Asset),
			"amount": cli.MinorUnits(d.Note.Value), "commitment": d.Note.Commitment().String(), "encrypted": *recipient != ""}, func(o io.Writer) {
			fmt.Fprintf(o, "%s, entry %d, output %d: %s\n", w.money(d.Note.Value, d.Note.Asset), at.Entry, output, *out)
		})
	}
	return cmd
}

func encryptTo(recipient string, plain []byte) ([]byte, error) {
	recipients, err := age.ParseRecipients(strings.NewReader(recipient))
	if err != nil {
		return nil, cli.Usagef("--recipient: %w", err)
	}
	var out bytes.Buffer
	enc, err := age.Encrypt(&out, recipients...)
	if err == nil {
		_, err = enc.Write(plain)
	}
	if err == nil {
		err = enc.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt the disclosure: %w", err)
	}
	return out.Bytes(), nil
}

func exportCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "export",
		Short: "Write the history for other programs, or the wallet's view key",
		Long: `Write the whole history as CSV or JSON. Amounts are in minor units.

With --view it writes the wallet's full view key instead: whoever holds it sees everything that this wallet received and spent, for ever,
and can spend nothing. Give it to your own auditor alone; no command of Comity sends it anywhere.`,
		Example: `  comity wallet export --wallet ministry --ledger http://127.0.0.1:7001 --format csv --out history.csv
  comity wallet export --wallet ministry --view --out ministry.view`,
		Args: cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	offline := cmd.Flags().Bool("offline", false, "do not read the ledger first")
	format := cmd.Flags().String("format", "csv", `"csv" or "json"`)
	view := cmd.Flags().Bool("view", false, "write the full view key instead of the history")
	out := cmd.Flags().String("out", "", "file to write (default: standard output for a history; needed with --view)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *format != "csv" && *format != "json" {
			return cli.Usagef(`--format %q: want "csv" or "json"`, *format)
		}
		if *view && *out == "" {
			return cli.Usagef("--view needs --out: a view key does not belong on a screen")
		}
		w, err := f.look(cmd, *offline || *view)
		if err != nil {
			return err
		}
		defer w.Close()
		if *view {
			text := w.Keys.FullView().Export(w.Genesis.Prefix)
			return cli.WriteNewFile(*out, []byte(text+"\n"), true)
		}
		var b bytes.Buffer
		rows := w.rows(true, true)
		if *format == "csv" {
			err = writeRows(&b, rows)
		} else {
			enc := json.NewEncoder(&b)
			enc.SetIndent("", "  ")
			err = enc.Encode(map[string]any{"history": rows, "balances": w.balances()})
		}
		if err != nil {
			return fmt.Errorf("write the history: %w", err)
		}
		if *out == "" {
			_, err = cmd.OutOrStdout().Write(b.Bytes())
			return err
		}
		return cli.WriteNewFile(*out, b.Bytes(), true)
	}
	return cmd
}
