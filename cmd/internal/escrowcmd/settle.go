package escrowcmd

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
)

func settleCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "settle [HOLD]",
		Short: "Submit what is due: pay the payee, or send the money back",
		Long: `Submit what is due for an escrow: the money goes to the payee when enough attestors agree and the challenge window is over, and back to the
payer after the expiry. Anybody may do it, without any key; the ledger checks that it is due. --all does it for every escrow of the ledger.

An escrow of which nothing is due yet is refused: hold_not_ready.`,
		Example: `  comity escrow settle 4f1c.../0
  comity escrow settle --all`,
		Args: cobra.MaximumNArgs(1),
	}
	ledger := addLedgerFlags(cmd)
	all := cmd.Flags().Bool("all", false, "settle every escrow that is due")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if *all == (len(args) == 1) {
			return cli.Usagef("give a HOLD or --all")
		}
		r, err := ledger.dial(cmd.Context())
		if err != nil {
			return err
		}
		if *all {
			return settleAll(cmd, r, *asJSON)
		}
		h, a, err := r.attested(cmd.Context(), args[0])
		var late *resolved
		if errors.As(err, &late) {
			return printResolved(cmd, *asJSON, late.hold, late.Outcome, late.Entry, true)
		}
		if err != nil {
			return err
		}
		e, err := r.due(h, a, uint64(time.Now().UnixMilli()))
		if err != nil {
			return err
		}
		index, err := r.send(cmd.Context(), e)
		if err != nil {
			return err
		}
		return printResolved(cmd, *asJSON, h.ID, e.Outcome, index, false)
	}
	return cmd
}

// due makes the resolution that the hold calls for at a time, or says what is missing.
func (r *remote) due(h *client.Hold, a *entry.Attested, nowMillis uint64) (*entry.Resolve, error) {
	switch {
	case nowMillis >= h.Until:
		return wallets.Expire(r.header(), h.ID, h.Return), nil
	case h.ReadyAt == 0:
		return nil, entry.Refuse(entry.HoldNotReady, "%d of %d attestors agree; it expires at %s", len(h.Attested), needed(h, a), cli.Stamp(h.Until))
	case nowMillis < h.ReadyAt:
		return nil, entry.Refuse(entry.HoldNotReady, "the payer may challenge until %s", cli.Stamp(h.ReadyAt))
	}
	return wallets.PostAttested(r.header(), h.ID, h.Commitment), nil
}

type settledRow struct {
	Hold    string `json:"hold"`
	Outcome string `json:"outcome,omitempty"`
	Entry   uint64 `json:"entry,omitempty"`
	Error   string `json:"error,omitempty"`
}

func settleAll(cmd *cobra.Command, r *remote, asJSON bool) error {
	holds, err := r.Holds(cmd.Context())
	if err != nil {
		return err
	}
	rows := []settledRow{}
	var failed error
	waiting := 0
	for i := range holds {
		h := &holds[i]
		decoded, err := h.Condition.Decode()
		if err != nil {
			return cli.Exit(cli.Unverified, fmt.Errorf("the ledger's conditions of hold %s: %w", h.ID, err))
		}
		a, ok := decoded.(*entry.Attested)
		if !ok {
			continue
		}
		e, err := r.due(h, a, uint64(time.Now().UnixMilli()))
		if err != nil {
			waiting++
			continue
		}
		index, err := r.send(cmd.Context(), e)
		switch code := entry.CodeOf(err); {
		case err == nil:
			rows = append(rows, settledRow{Hold: h.ID.String(), Outcome: e.Outcome.String(), Entry: index})
		case code == entry.HoldResolved, code == entry.NullifierSpent: // somebody else was faster
		default:
			rows = append(rows, settledRow{Hold: h.ID.String(), Error: err.Error()})
			failed = errors.Join(failed, fmt.Errorf("hold %s: %w", h.ID, err))
		}
	}
	if err := cli.Print(cmd, asJSON, map[string]any{"settled": rows, "waiting": waiting}, func(out io.Writer) {
		for _, row := range rows {
			if row.Error == "" {
				fmt.Fprintf(out, "%s %s, entry %d\n", row.Hold, row.Outcome, row.Entry)
			}
		}
		fmt.Fprintf(out, "%d escrows wait\n", waiting)
	}); err != nil {
		return err
	}
	return failed
}

func printResolved(cmd *cobra.Command, asJSON bool, id entry.HoldID, outcome entry.Outcome, index uint64, again bool) error {
	return cli.Print(cmd, asJSON, map[string]any{"hold": id.String(), "outcome": outcome.String(), "entry": index, "again": again}, func(out io.Writer) {
		word, where := "is", "went to the payee"
		if again {
			word = "was"
		}
		if outcome == entry.Voided {
			where = "went back to the payer"
		}
		fmt.Fprintf(out, "hold %s %s %s: the money %s, entry %d\n", id, word, outcome, where, index)
	})
}
