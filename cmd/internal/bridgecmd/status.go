package bridgecmd

import (
	"context"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
)

// look brings a payment up to what the payer's log shows. It begins nothing: no quote is accepted and no money is locked by it.
func (x *payer) look(ctx context.Context) error {
	for {
		c := bridge.Clock{Now: uint64(time.Now().UnixMilli())}
		todo := x.pay.Next(c)
		switch todo.Step {
		case bridge.StepAwait, bridge.StepFindHold, bridge.StepGiveUp:
		default:
			return nil
		}
		before := x.pay.Stage
		if err := x.step(ctx, todo, c); err != nil {
			return err
		}
		if x.pay.Stage == before {
			return nil
		}
	}
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "status [PAYMENT-ID]",
		Short: "Tell what became of payments to other ledgers",
		Long: `Tell what became of a payment to another ledger, as this wallet's own ledger shows it; --all lists every payment of the wallet. A payment that
was interrupted before its money was locked goes on when comity bridge pay is repeated with the same id; this command begins nothing.

Exit codes for one payment: 0 settled, 3 returned or given up (payment_returned, or the reason), 4 not decided yet (payment_pending).`,
		Example: `  comity bridge status invoice-12 --wallet ministry --ledger http://127.0.0.1:7001
  comity bridge status --all --wallet ministry --ledger http://127.0.0.1:7001`,
		Args: cobra.MaximumNArgs(1),
	}
	wallet := cmd.Flags().String("wallet", "", "the payer's wallet folder (default: $"+walletEnv+")")
	ledgerURL := cmd.Flags().String("ledger", "", "address of the payer's ledger (default: $"+ledgerEnv+")")
	all := cmd.Flags().Bool("all", false, "list every payment")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *all == (len(args) == 1) {
			return cli.Usagef("give a payment id or --all")
		}
		dir, err := given(*wallet, walletEnv, "wallet")
		if err != nil {
			return err
		}
		address, err := given(*ledgerURL, ledgerEnv, "ledger")
		if err != nil {
			return err
		}
		own, err := dial(cmd.Context(), address)
		if err != nil {
			return err
		}
		w, book, err := openWallet(cmd, dir, plainURL(address), passphrase)
		if err != nil {
			return err
		}
		defer w.Close()
		defer book.Close()
		ids := book.order
		if !*all {
			ids = args
		}
		rows := []status{}
		for _, id := range ids {
			pay, err := book.find(id)
			if err != nil {
				return err
			}
			if pay == nil {
				return cli.RefusedAs("not_found", fmt.Errorf("this wallet has no payment %q to another ledger", id))
			}
			x := &payer{route: &route{ledgers: []*ledger{own}}, wallet: w, book: book, pay: pay, context: book.context[id], tell: func(string) {}, clients: map[entry.SignerKey]*rpc.Client{}}
			if !pay.Done() {
				if err := x.look(cmd.Context()); err != nil {
					return err
				}
			}
			rows = append(rows, statusOf(pay, x.context))
		}
		if !*all {
			if err := cli.Print(cmd, *asJSON, rows[0], rows[0].print); err != nil {
				return err
			}
			return rows[0].outcome(false)
		}
		return cli.Print(cmd, *asJSON, map[string]any{"payments": rows}, func(out io.Writer) {
			t := tabwriter.NewWriter(out, 2, 8, 2, ' ', 0)
			fmt.Fprintln(t, "PAYMENT ID\tSTATUS\tPAYS\tGETS\tORDERED\tPROVIDER\tDETAIL")
			for _, s := range rows {
				detail := s.Reason
				if s.Status == "pending" {
					detail = s.Stage
				}
				provider := ""
				if len(s.Provider) > 0 {
					provider = s.Provider[0]
				}
				fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", s.ID, s.Status, s.money[0], s.money[1], s.Created, provider, detail)
			}
			t.Flush()
		})
	}
	return cmd
}
