package ledgercmd

import (
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// statusJSON is the answer of `ledger status --json`. Amounts are strings of minor units.
type statusJSON struct {
	Genesis        string        `json:"genesis"`
	Name           string        `json:"name"`
	Network        string        `json:"network"`
	Height         uint64        `json:"height"`
	Size           uint64        `json:"size"`
	FinalSize      uint64        `json:"final_size"`
	Time           string        `json:"time"`
	NextSequence   uint64        `json:"next_sequence"`
	Registered     uint32        `json:"registered"`
	OversightEpoch uint32        `json:"oversight_epoch"`
	Nullifiers     uint64        `json:"nullifiers"`
	Pending        uint64        `json:"pending"`
	Supply         []supplyJSON  `json:"supply"`
	Witnesses      []witnessJSON `json:"witnesses"`
	Version        string        `json:"version"`
	UptimeSeconds  uint64        `json:"uptime_seconds"`
}

type supplyJSON struct {
	Asset       string `json:"asset"`
	Issued      string `json:"issued"`
	Redeemed    string `json:"redeemed"`
	Outstanding string `json:"outstanding"`
}

type witnessJSON struct {
	Name      string `json:"name"`
	Size      uint64 `json:"size"`
	LastError string `json:"last_error,omitempty"`
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show where a running ledger stands",
		Long:    "Show where a running ledger stands. This is the node's own word; comity ledger verify checks instead of asking.",
		Example: "  comity ledger status --ledger http://127.0.0.1:7001 --json",
		Args:    cobra.NoArgs,
	}
	address := ledgerFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := dial(cmd.Context(), *address, nil)
		if err != nil {
			return err
		}
		answer, state, err := r.status(cmd.Context())
		if err != nil {
			return err
		}
		g := r.genesis
		out := statusJSON{
			Genesis: g.Hash().String(), Name: g.Name, Network: g.Network.String(),
			Height: state.Height, Size: answer.GetSize(), FinalSize: answer.GetFinalSize(), Time: formatMillis(state.TimeMillis),
			NextSequence: state.NextSequence, Registered: state.RegistryLeaves, OversightEpoch: state.OversightEpoch, Nullifiers: state.Nullifiers,
			Pending: answer.GetPending(), Supply: supplyOf(g, state), Witnesses: []witnessJSON{}, Version: answer.GetVersion(), UptimeSeconds: answer.GetUptimeSeconds(),
		}
		for _, w := range answer.GetWitnesses() {
			out.Witnesses = append(out.Witnesses, witnessJSON{w.GetName(), w.GetSize(), w.GetLastError()})
		}
		return cli.Print(cmd, *asJSON, out, func(w io.Writer) {
			fmt.Fprintf(w, "%s (%s network), genesis %s\n", g.Name, g.Network, g.Hash())
			fmt.Fprintf(w, "height %d at %s, %d entries, %d of them final, %d pending\n", out.Height, out.Time, out.Size, out.FinalSize, out.Pending)
			fmt.Fprintf(w, "%d owners registered, oversight epoch %d, next policy sequence %d\n", out.Registered, out.OversightEpoch, out.NextSequence)
			printSupply(w, g, state)
			for _, x := range out.Witnesses {
				state := "ok"
				if x.LastError != "" {
					state = x.LastError
				}
				fmt.Fprintf(w, "witness %s: cosigned %d entries, %s\n", x.Name, x.Size, state)
			}
		})
	}
	return cmd
}

func ledgerFlag(cmd *cobra.Command) *string {
	address := cmd.Flags().String("ledger", "", "address of the ledger, such as http://127.0.0.1:7001 (required)")
	_ = cmd.MarkFlagRequired("ledger")
	return address
}

func supplyRow(s *entry.State, id zk.AssetID) entry.Supply {
	for _, row := range s.Supply {
		if row.Asset == id {
			return row
		}
	}
	return entry.Supply{Asset: id}
}

func supplyOf(g *entry.Genesis, s *entry.State) []supplyJSON {
	out := make([]supplyJSON, 0, len(g.Assets))
	for _, a := range g.Assets {
		row := supplyRow(s, a.ID)
		out = append(out, supplyJSON{a.Code, cli.MinorUnits(row.Issued), cli.MinorUnits(row.Redeemed), cli.MinorUnits(row.Issued - row.Redeemed)})
	}
	return out
}

func printSupply(w io.Writer, g *entry.Genesis, s *entry.State) {
	for _, a := range g.Assets {
		row := supplyRow(s, a.ID)
		d := int(a.Decimals)
		fmt.Fprintf(w, "issued %s, redeemed %s, outstanding %s\n", cli.Money(row.Issued, d, a.Code), cli.Money(row.Redeemed, d, a.Code), cli.Money(row.Issued-row.Redeemed, d, a.Code))
	}
}

func formatMillis(ms uint64) string {
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.000Z")
}
