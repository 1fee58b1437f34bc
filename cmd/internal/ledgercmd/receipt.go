package ledgercmd

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

func receiptCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "receipt",
		Short: "Fetch the receipt of any entry",
		Long: `Fetch the receipt of an entry: the entry itself, where it is, and a checkpoint that the quorum of witnesses cosigned. It waits for the
checkpoint. The receipt is checked before it is written, and can be checked offline by anybody with the ledger's genesis.`,
		Example: "  comity ledger receipt --ledger http://127.0.0.1:7001 --id 9a0c... --out contract.receipt",
		Args:    cobra.NoArgs,
	}
	address := LedgerFlag(cmd)
	hash := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	id := cmd.Flags().String("id", "", "the entry's id, as comity ledger submit --json prints it")
	index := cmd.Flags().Uint64("entry", 0, "the entry's index in the log, in place of --id")
	wait := cmd.Flags().Duration("wait", 30*time.Second, "how long to wait until it is final, at most 30s")
	out := cmd.Flags().String("out", "", "the receipt file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if (*id == "") != cmd.Flags().Changed("entry") {
			return cli.Usagef("give --id or --entry")
		}
		want, err := ExpectFlag(*hash)
		if err != nil {
			return err
		}
		request := &ledgerv1.GetReceiptRequest{WaitMillis: uint32(max(1, min(wait.Milliseconds(), 30000)))}
		if *id == "" {
			request.Entry = &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: *index}
		} else {
			parsed, err := entry.ParseID(*id)
			if err != nil {
				return cli.Usagef("--id: want 64 lower-case hexadecimal digits")
			}
			request.Entry = &ledgerv1.GetReceiptRequest_Id{Id: parsed[:]}
		}
		r, err := Dial(cmd.Context(), *address, want)
		if err != nil {
			return err
		}
		answer, err := r.GetReceipt(cmd.Context(), request)
		if err != nil {
			return cli.Answer("ask for the receipt", err)
		}
		p, err := wallets.VerifyReceipt(r.Genesis, answer.GetReceipt())
		if err != nil {
			return cli.Exit(cli.Unverified, fmt.Errorf("the ledger's receipt does not hold: %w", err))
		}
		if *id != "" && p.ID.String() != *id || *id == "" && p.Index != *index {
			return cli.Unverifiedf("the ledger sends the receipt of entry %d, id %s", p.Index, p.ID)
		}
		if err := cli.WriteNewFile(*out, answer.GetReceipt(), false); err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"file": *out, "id": p.ID.String(), "entry": p.Index, "kind": p.Entry.Kind().String(), "checkpoint_size": p.Checkpoint.Size}, func(w io.Writer) {
			fmt.Fprintf(w, "Receipt of entry %d, %s %s: %s\n", p.Index, p.Entry.Kind(), p.ID, *out)
		})
	}
	return cmd
}
