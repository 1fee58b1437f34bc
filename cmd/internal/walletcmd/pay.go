package walletcmd

import (
	"encoding/csv"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
)

// finalWait is how long --wait final waits for witnesses.
const finalWait = 60 * time.Second

func waitFlag(cmd *cobra.Command) *string {
	return cmd.Flags().String("wait", "settled", `return when the payment is "settled" (durable at the ledger) or "final" (cosigned by the witnesses)`)
}

func parseWait(text string) (time.Duration, error) {
	switch text {
	case "settled":
		return 0, nil
	case "final":
		return finalWait, nil
	}
	return 0, cli.Usagef(`--wait %q: want "settled" or "final"`, text)
}

func payCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "pay",
		Short: "Pay an address",
		Long: `Pay an address. The wallet chooses notes, merges them first if it must, proves, keeps the exact bytes, and sends them.

--payment-id makes the command safe to repeat: the same id pays once, however often the command runs and wherever it was interrupted, and
an id with other fields is refused. Without it a fresh id is printed.

--programme is the programme that the payee's money carries. Earmarked money pays its own programme; where the registry lets this wallet
release or set a programme, that money is used when other money does not suffice.`,
		Example: `  comity wallet pay --wallet ministry --ledger http://127.0.0.1:7001 --to aur1... --amount 12.50 --asset AUR --payment-id invoice-7 --wait final`,
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, true)
	to := cmd.Flags().String("to", "", "address of the payee (required)")
	amount := cmd.Flags().String("amount", "", "amount in the currency's own units, such as 12.50 (required)")
	asset := cmd.Flags().String("asset", "", "currency code, such as AUR (default: the ledger's only currency)")
	programme := cmd.Flags().String("programme", "", "programme that the payee's money carries (default: none)")
	reference := cmd.Flags().String("reference", "", "text that only the payee can read")
	id := cmd.Flags().String("payment-id", "", "your id for this payment (default: a new one)")
	wait := waitFlag(cmd)
	asJSON := cli.JSON(cmd)
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.MarkFlagRequired("amount")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		waiting, err := parseWait(*wait)
		if err != nil {
			return err
		}
		w, err := f.Open(cmd)
		if err != nil {
			return err
		}
		defer w.Close()
		order, err := w.order(*id, *to, *amount, *asset, *programme, *reference)
		if err != nil {
			return err
		}
		if *id == "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "payment id %s\n", order.ID)
		}
		if err := syncWith(cmd, w); err != nil {
			return err
		}
		bar := cli.NewProgress(cmd, "Paying", -1)
		defer bar.Done()
		result, err := w.Pay(cmd.Context(), order, waiting, eventOf(bar))
		if a := result.Payment.Attempt; a != nil {
			telemetry.Note(cmd.Context(), "entry.id", a.TxID.String())
		}
		if err != nil && result.Payment.Attempt == nil {
			return err
		}
		bar.Done()
		return errors.Join(w.printPaid(cmd, *asJSON, result), err)
	}
	return cmd
}

// order reads the fields of a payment.
func (w *Wallet) order(id, to, amount, asset, programme, reference string) (*wallets.Order, error) {
	row, err := w.asset(asset)
	if err != nil {
		return nil, err
	}
	value, err := wallets.ParseAmount(amount, row)
	if err != nil {
		return nil, err
	}
	p, err := wallets.ParseProgramme(programme)
	if err != nil {
		return nil, err
	}
	address, err := wallets.ParseAddress(to, w.Genesis.Prefix, wallets.LedgerPrefix(w.Genesis.Hash()))
	if err != nil {
		return nil, err
	}
	if err := wallets.CheckReference(reference); err != nil {
		return nil, err
	}
	if id == "" {
		id = uuid.NewString()
	}
	return &wallets.Order{ID: id, To: address.String(), Asset: row.ID, Amount: value, Programme: p, Reference: reference,
		CreatedMillis: uint64(time.Now().UnixMilli())}, wallets.CheckPaymentID(id)
}

func eventOf(bar *cli.Progress) func(session.Event) {
	words := map[string]string{"prove": "Proving", "send": "Sending", "wait": "Waiting"}
	return func(e session.Event) {
		bar.Describe(words[e.Doing])
		bar.Set(e.Done, e.Total)
	}
}

func (w *Wallet) printPaid(cmd *cobra.Command, asJSON bool, r session.Result) error {
	status := "settled"
	if r.Final || r.Payment.Settled.Entry < w.State().FinalSize() {
		status = "final"
	}
	output, commitment := 0, ""
	for _, sent := range r.Payment.Attempt.Outputs {
		if sent.Purpose == wallets.ToPayee {
			output, commitment = sent.Output, sent.Note.Commitment().String()
			break
		}
	}
	o := r.Payment.Order
	return cli.Print(cmd, asJSON, map[string]any{"payment_id": o.ID, "status": status, "again": r.Again, "entry": r.Payment.Settled.Entry, "height": r.Payment.Settled.Height,
		"tx": r.Payment.Attempt.TxID.String(), "leg": 0, "output": output, "commitment": commitment, "asset": w.code(o.Asset), "amount": cli.MinorUnits(o.Amount)}, func(out io.Writer) {
		word := "paid"
		if r.Again {
			word = "was paid before:"
		}
		fmt.Fprintf(out, "%s %s, entry %d, %s\n", word, w.money(o.Amount, o.Asset), r.Payment.Settled.Entry, status)
	})
}

func disburseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "disburse FILE",
		Short: "Pay every line of a file",
		Long: `Pay every line of a CSV file with the columns line_id,address,amount,programme,reference.

The whole file is checked before anything is paid; if a line is bad, nothing is paid and every bad line is listed. Up to 63 payees share one
proof. The command may be interrupted at any point and repeated: a line is paid once. --id names the disbursement; without it the content
of the file does, so that the same file is paid once. To pay the same file again, give it a new --id.

The result file has a line for each line: line id, status, entry, transaction, output, commitment.`,
		Example: `  comity wallet disburse salaries.csv --wallet ministry --ledger http://127.0.0.1:7001 --asset AUR --dry-run
  comity wallet disburse salaries.csv --wallet ministry --ledger http://127.0.0.1:7001 --asset AUR --result salaries.result.csv`,
		Args: cobra.ExactArgs(1),
	}
	f := AddFlags(cmd, true)
	asset := cmd.Flags().String("asset", "", "currency code of all amounts (default: the ledger's only currency)")
	id := cmd.Flags().String("id", "", "your id for this disbursement (default: the hash of the file)")
	result := cmd.Flags().String("result", "", "result file to write (default: FILE with .result.csv)")
	dry := cmd.Flags().Bool("dry-run", false, "check the file and print what it would take, pay nothing")
	wait := waitFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		waiting, err := parseWait(*wait)
		if err != nil {
			return err
		}
		file, err := readFile(args[0])
		if err != nil {
			return err
		}
		w, err := f.look(cmd, false)
		if err != nil {
			return err
		}
		defer w.Close()
		row, err := w.asset(*asset)
		if err != nil {
			return err
		}
		d, err := wallets.ParseDisbursement(file, row, wallets.Book{Genesis: w.Genesis, Ledger: wallets.LedgerPrefix(w.Genesis.Hash()), Rights: w.State().Rights()})
		if err != nil {
			return badFile(cmd, *asJSON, err)
		}
		if *id == "" {
			*id = d.Name()
		}
		if *dry {
			return w.dryRun(cmd, *asJSON, *id, d)
		}
		if *result == "" {
			*result = args[0] + ".result.csv"
		}
		return w.disburse(cmd, *asJSON, *id, d, *result, waiting)
	}
	return cmd
}

const maxFile = 256 << 20

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, cli.Usagef("read %s: %w", path, err)
	}
	if info.Size() > maxFile {
		return nil, cli.Usagef("%s is longer than %d bytes", path, maxFile)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, cli.Usagef("read %s: %w", path, err)
	}
	return b, nil
}

// badFile lists the bad lines; with --json on standard output, as one object.
func badFile(cmd *cobra.Command, asJSON bool, err error) error {
	var bad *wallets.FileError
	if asJSON && errors.As(err, &bad) {
		if perr := cli.Print(cmd, true, map[string]any{"paid": 0, "bad_lines": bad.Lines}, nil); perr != nil {
			return perr
		}
	}
	return err
}

// Seconds one proof took on two busy cores, by circuit; an estimate for people.
var proofTime = map[zk.CircuitID]time.Duration{zk.Transfer: 1200 * time.Millisecond, zk.Consolidate: 3 * time.Second, zk.Disburse16: 1500 * time.Millisecond, zk.Disburse64: 3 * time.Second}

func (w *Wallet) dryRun(cmd *cobra.Command, asJSON bool, id string, d *wallets.Disbursement) error {
	order, begun := w.Outbox().Disbursement(id)
	if !begun {
		order = d.Begin(id, w.State().Rights().Limit, 0)
	}
	plan, err := w.Builder().PlanDisbursement(w.Outbox(), order)
	if err != nil {
		return err
	}
	took := session.Estimate(plan, proofTime, time.Second)
	settled := 0
	for _, l := range w.Lines(order) {
		if l.Status == string(wallets.Done) {
			settled++
		}
	}
	return cli.Print(cmd, asJSON, map[string]any{"id": id, "lines": len(d.Lines), "settled_before": settled, "total": cli.MinorUnits(d.Total), "asset": d.Asset.Code,
		"groups": len(order.Groups), "rounds": plan.Rounds, "proofs": plan.Proofs, "circuits": plan.Circuits, "estimated_seconds": int(took.Seconds())}, func(out io.Writer) {
		fmt.Fprintf(out, "%d lines, %s in total, %d settled before\n", len(d.Lines), w.money(d.Total, d.Asset.ID), settled)
		fmt.Fprintf(out, "%d groups, %d proofs in %d rounds, about %s\n", len(order.Groups), plan.Proofs, plan.Rounds, took.Round(time.Second))
		for _, c := range zk.Circuits() {
			if n := plan.Circuits[c.String()]; n > 0 {
				fmt.Fprintf(out, "  %d %s\n", n, c)
			}
		}
		fmt.Fprintln(out, "dry run: nothing was paid")
	})
}

func (w *Wallet) disburse(cmd *cobra.Command, asJSON bool, id string, d *wallets.Disbursement, result string, waiting time.Duration) error {
	order, begun, err := w.BeginDisbursement(id, d)
	if err != nil {
		return err
	}
	if begun {
		fmt.Fprintf(cmd.ErrOrStderr(), "disbursement %s was begun before: going on\n", id)
	}
	bar := cli.NewProgress(cmd, "Disbursing", len(order.Groups))
	payErr := w.Disburse(cmd.Context(), order, eventOf(bar), func(settled, groups int) {
		bar.Describe(fmt.Sprintf("%d of %d groups settled", settled, groups))
	})
	bar.Done()
	if payErr == nil && waiting > 0 {
		last := uint64(0)
		for _, l := range w.Lines(order) {
			last = max(last, l.Entry)
		}
		payErr = w.WaitFinal(cmd.Context(), last, waiting)
	}
	// The result file is written also after an error: it says what was paid.
	lines := w.Lines(order)
	if err := writeResult(result, lines); err != nil {
		return errors.Join(payErr, err)
	}
	counts := map[string]int{}
	for _, l := range lines {
		counts[l.Status]++
	}
	if err := cli.Print(cmd, asJSON, map[string]any{"id": id, "lines": len(lines), "settled": counts["settled"], "pending": counts["pending"], "open": counts["open"],
		"total": cli.MinorUnits(order.Total), "asset": d.Asset.Code, "result": result}, func(out io.Writer) {
		fmt.Fprintf(out, "%d of %d lines settled, %d pending, %d open; %s in total; %s\n", counts["settled"], len(lines), counts["pending"], counts["open"],
			w.money(order.Total, d.Asset.ID), result)
	}); err != nil {
		return errors.Join(payErr, err)
	}
	return payErr
}

// writeResult replaces the result file: a reader sees the old or the new one, whole.
func writeResult(path string, lines []session.LineResult) error {
	file, err := os.CreateTemp(filepath.Dir(path), ".result-*")
	if err != nil {
		return fmt.Errorf("write the result file: %w", err)
	}
	defer os.Remove(file.Name())
	c := csv.NewWriter(file)
	_ = c.Write([]string{"line_id", "status", "entry", "tx", "output", "commitment"})
	for _, l := range lines {
		record := []string{l.Line, l.Status, "", "", "", ""}
		if l.TxID != "" {
			record[3], record[4], record[5] = l.TxID, strconv.Itoa(l.Output), l.Commitment
		}
		if l.Status == string(wallets.Done) {
			record[2] = strconv.FormatUint(l.Entry, 10)
		}
		_ = c.Write(record)
	}
	c.Flush()
	err = c.Error()
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write the result file: %w", err)
	}
	return nil
}
