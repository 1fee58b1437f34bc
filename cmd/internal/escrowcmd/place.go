package escrowcmd

import (
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
)

// conditionFlags say what an escrow waits for.
type conditionFlags struct {
	statement, until, payer, payee *string
	attestors                      *[]string
	threshold, contested           *uint8
	window                         *time.Duration
	document                       documentFlags
}

func addConditionFlags(cmd *cobra.Command) conditionFlags {
	f := conditionFlags{
		statement: cmd.Flags().String("statement", "", `what must be stated: "delivery", "inspection", "milestone", "end-use" or "demand" (required)`),
		until:     cmd.Flags().String("until", "", "when the money goes back: a time such as 2026-12-01T12:00:00Z or a duration such as 72h (required)"),
		attestors: cmd.Flags().StringArray("attestor", nil, "public key of an attestor, or a file that holds it; repeat for each (required)"),
		threshold: cmd.Flags().Uint8("threshold", 0, "how many attestors must agree (default: all)"),
		window:    cmd.Flags().Duration("window", 0, "how long the payer may challenge after they agree, such as 48h (default: not at all)"),
		contested: cmd.Flags().Uint8("contested", 0, "how many attestors must agree after a challenge (default with --window: all)"),
		payer:     cmd.Flags().String("payer-key", "", "public key that may challenge, and amends with the payee's (default: nobody)"),
		payee:     cmd.Flags().String("payee-key", "", "public key that may release, and amends with the payer's (default: nobody)"),
		document:  addDocumentFlags(cmd, "the document that must be named (default: the attestors agree on one)"),
	}
	for _, name := range []string{"statement", "until", "attestor"} {
		_ = cmd.MarkFlagRequired(name)
	}
	return f
}

func (f conditionFlags) read(now time.Time) (*entry.Attested, error) {
	a := &entry.Attested{Threshold: *f.threshold, Contested: *f.contested, WindowMillis: uint64(max(0, f.window.Milliseconds()))}
	var err error
	if a.Statement, err = parseStatement(*f.statement); err != nil {
		return nil, err
	}
	if a.Until, err = cli.Deadline(*f.until, now); err != nil {
		return nil, fmt.Errorf("--until: %w", err)
	}
	if a.Document, err = f.document.read(); err != nil {
		return nil, err
	}
	for _, text := range *f.attestors {
		key, err := parseKey(text)
		if err != nil {
			return nil, fmt.Errorf("--attestor: %w", err)
		}
		a.Attestors = append(a.Attestors, key)
	}
	for _, k := range []struct {
		text string
		key  *entry.SignerKey
	}{{*f.payer, &a.Payer}, {*f.payee, &a.Payee}} {
		if k.text != "" {
			if *k.key, err = parseKey(k.text); err != nil {
				return nil, err
			}
		}
	}
	if a.Threshold == 0 {
		a.Threshold = uint8(min(len(a.Attestors), entry.MaxAttestors))
	}
	if a.WindowMillis != 0 && a.Contested == 0 {
		a.Contested = uint8(min(len(a.Attestors), entry.MaxAttestors))
	}
	_, err = wallets.AttestedCondition(*a)
	return a, err
}

func placeCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "place",
		Short: "Put money into escrow for an address",
		Long: `Put money into escrow for an address, and print the hold's id, by which everybody names it.

The ledger shows the conditions (who attests what, until when) to everyone, and the amount and the parties to nobody. --payment-id makes
the command safe to repeat: the same id places one escrow, however often the command runs and wherever it was interrupted.

With --payer-key and --payee-key, keys made with comity escrow keygen, the parties can challenge, release and amend. They are not the
wallets' keys: they move no money by themselves. Make new ones for each escrow, or everybody sees that two escrows have a party in common.`,
		Example: `  comity escrow place --wallet ministry --to aur1... --amount 25000.00 --statement delivery --attestor inspector.pub --attestor customs.pub \
    --threshold 2 --document contract.pdf --until 720h --window 48h --payer-key ministry.pub --payee-key supplier.pub --payment-id contract-9`,
		Args: cobra.NoArgs,
	}
	w := walletcmd.AddFlags(cmd, true)
	to := cmd.Flags().String("to", "", "address of the payee (required)")
	amount := cmd.Flags().String("amount", "", "amount in the currency's own units, such as 12.50 (required)")
	asset := cmd.Flags().String("asset", "", "currency code, such as AUR (default: the ledger's only currency)")
	programme := cmd.Flags().String("programme", "", "programme that the money carries (default: none)")
	reference := cmd.Flags().String("reference", "", "text that only the payee can read")
	id := cmd.Flags().String("payment-id", "", "your id for this escrow (default: a new one)")
	conditions := addConditionFlags(cmd)
	wait := cmd.Flags().String("wait", "settled", `return when the hold is "settled" (durable at the ledger) or "final" (cosigned by the witnesses)`)
	asJSON := cli.JSON(cmd)
	_ = cmd.MarkFlagRequired("to")
	_ = cmd.MarkFlagRequired("amount")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if *wait != "settled" && *wait != "final" {
			return cli.Usagef(`--wait %q: want "settled" or "final"`, *wait)
		}
		condition, err := conditions.read(time.Now())
		if err != nil {
			return err
		}
		wallet, err := w.Open(cmd)
		if err != nil {
			return err
		}
		defer wallet.Close()
		order, err := orderOf(wallet, *id, *to, *amount, *asset, *programme, *reference)
		if err != nil {
			return err
		}
		if *id == "" {
			fmt.Fprintf(cmd.ErrOrStderr(), "payment id %s\n", order.ID)
		}
		bar := cli.NewProgress(cmd, "Placing", -1)
		defer bar.Done()
		final := time.Duration(0)
		if *wait == "final" {
			final = finalWait
		}
		held, err := wallet.Hold(cmd.Context(), order, func(*wallets.HoldDraft) (entry.Condition, uint64, error) {
			return condition.Condition(), entry.LocalSizeClass, nil
		}, nil, final, eventOf(bar))
		if err != nil {
			return err
		}
		bar.Done()
		placed, ok := wallet.State().HoldOf(held.Hold)
		if !ok {
			return cli.Unverifiedf("the ledger shows no hold %s", held.Hold)
		}
		status := "settled"
		if held.Final || placed.Entry < wallet.State().FinalSize() {
			status = "final"
		}
		return cli.Print(cmd, *asJSON, map[string]any{"hold": placed.ID.String(), "payment_id": order.ID, "status": status, "again": held.Again, "entry": placed.Entry,
			"asset": assetCode(wallet.Genesis, order.Asset), "amount": cli.MinorUnits(order.Amount), "until": cli.Stamp(placed.Until), "commitment": placed.Commitment.String()},
			func(out io.Writer) {
				fmt.Fprintf(out, "%s\n", placed.ID)
				fmt.Fprintf(cmd.ErrOrStderr(), "%s in escrow until %s, entry %d, %s\n", cli.MoneyOf(wallet.Genesis, order.Amount, order.Asset), cli.Stamp(placed.Until), placed.Entry, status)
			})
	}
	return cmd
}

// finalWait is how long --wait final waits for witnesses.
const finalWait = 60 * time.Second

func eventOf(bar *cli.Progress) func(session.Event) {
	words := map[string]string{"prove": "Proving", "send": "Sending", "wait": "Waiting"}
	return func(e session.Event) {
		bar.Describe(words[e.Doing])
		bar.Set(e.Done, e.Total)
	}
}

// orderOf reads the fields of a payment into escrow.
func orderOf(w *walletcmd.Wallet, id, to, amount, asset, programme, reference string) (*wallets.Order, error) {
	row, err := cli.AssetOf(w.Genesis, asset)
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

func assetCode(g *entry.Genesis, id zk.AssetID) string {
	row, _ := g.Asset(id)
	return row.Code
}
