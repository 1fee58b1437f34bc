package ledgercmd

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// statusJSON is the answer of `ledger status --json`. Amounts are strings of minor units.
type statusJSON struct {
	Genesis        string         `json:"genesis"`
	Name           string         `json:"name"`
	Network        string         `json:"network"`
	Height         uint64         `json:"height"`
	Size           uint64         `json:"size"`
	FinalSize      uint64         `json:"final_size"`
	Time           string         `json:"time"`
	NextSequence   uint64         `json:"next_sequence"`
	Registered     uint32         `json:"registered"`
	OversightEpoch uint32         `json:"oversight_epoch"`
	Nullifiers     uint64         `json:"nullifiers"`
	Pending        uint64         `json:"pending"`
	OpenHolds      uint64         `json:"open_holds"`
	Corridors      []corridorJSON `json:"corridors"`
	Supply         []supplyJSON   `json:"supply"`
	Witnesses      []witnessJSON  `json:"witnesses"`
	Version        string         `json:"version"`
	UptimeSeconds  uint64         `json:"uptime_seconds"`
	Node           *nodeJSON      `json:"node,omitempty"`
}

// nodeJSON is what one of several nodes says of them.
type nodeJSON struct {
	Name       string `json:"name"`
	Role       string `json:"role"` // leader or follower
	Leader     string `json:"leader"`
	LeaderURL  string `json:"leader_url"`
	LeaseEpoch uint64 `json:"lease_epoch"`
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

// corridorJSON is how a corridor is doing; comity corridor list tells the rest.
type corridorJSON struct {
	Peer     string `json:"peer"`
	Name     string `json:"name"`
	State    string `json:"state"`
	InFlight string `json:"in_flight"`
	Cap      string `json:"cap"`
}

// CorridorState gives the word for a corridor's state.
func CorridorState(s ledgerv1.CorridorState) string {
	switch s {
	case ledgerv1.CorridorState_CORRIDOR_STATE_ACTIVE:
		return "active"
	case ledgerv1.CorridorState_CORRIDOR_STATE_STALE:
		return "stale"
	case ledgerv1.CorridorState_CORRIDOR_STATE_FROZEN:
		return "frozen"
	}
	return "unknown"
}

func statusCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "status",
		Short:   "Show where a running ledger stands",
		Long:    "Show where a running ledger stands. This is the node's own word; comity ledger verify checks instead of asking.",
		Example: "  comity ledger status --ledger http://127.0.0.1:7001 --json",
		Args:    cobra.NoArgs,
	}
	address := LedgerFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		r, err := Dial(cmd.Context(), *address, nil)
		if err != nil {
			return err
		}
		answer, state, err := r.Status(cmd.Context())
		if err != nil {
			return err
		}
		g := r.Genesis
		out := statusJSON{
			Genesis: g.Hash().String(), Name: g.Name, Network: g.Network.String(),
			Height: state.Height, Size: answer.GetSize(), FinalSize: answer.GetFinalSize(), Time: formatMillis(state.TimeMillis),
			NextSequence: state.NextSequence, Registered: state.RegistryLeaves, OversightEpoch: state.OversightEpoch, Nullifiers: state.Nullifiers,
			Pending: answer.GetPending(), OpenHolds: answer.GetOpenHolds(), Corridors: []corridorJSON{}, Supply: supplyOf(g, state), Witnesses: []witnessJSON{}, Version: answer.GetVersion(), UptimeSeconds: answer.GetUptimeSeconds(),
		}
		if n := answer.GetNode(); n != nil {
			out.Node = &nodeJSON{n.GetName(), "follower", n.GetLeader(), n.GetLeaderUrl(), n.GetLeaseEpoch()}
			if n.GetRole() == ledgerv1.NodeRole_NODE_ROLE_LEADER {
				out.Node.Role = "leader"
			}
		}
		for _, w := range answer.GetWitnesses() {
			out.Witnesses = append(out.Witnesses, witnessJSON{w.GetName(), w.GetSize(), w.GetLastError()})
		}
		for _, c := range answer.GetCorridors() {
			out.Corridors = append(out.Corridors, corridorJSON{hex.EncodeToString(c.GetPeer()), c.GetName(), CorridorState(c.GetState()),
				cli.MinorUnits(c.GetInFlight()), cli.MinorUnits(c.GetCap())})
		}
		return cli.Print(cmd, *asJSON, out, func(w io.Writer) {
			fmt.Fprintf(w, "%s (%s network), genesis %s\n", g.Name, g.Network, g.Hash())
			fmt.Fprintf(w, "height %d at %s, %d entries, %d of them final, %d pending\n", out.Height, out.Time, out.Size, out.FinalSize, out.Pending)
			switch n := out.Node; {
			case n == nil:
			case n.Leader == "":
				fmt.Fprintf(w, "node %s is a %s, nobody holds the lease\n", n.Name, n.Role)
			default:
				fmt.Fprintf(w, "node %s is a %s, the lease is with %s at %s, epoch %d\n", n.Name, n.Role, n.Leader, n.LeaderURL, n.LeaseEpoch)
			}
			fmt.Fprintf(w, "%d owners registered, oversight epoch %d, next policy sequence %d\n", out.Registered, out.OversightEpoch, out.NextSequence)
			printSupply(w, g, state)
			if out.OpenHolds > 0 {
				fmt.Fprintf(w, "%d open holds\n", out.OpenHolds)
			}
			for _, c := range out.Corridors {
				fmt.Fprintf(w, "corridor to %s: %s, %s of %s minor units in flight\n", c.Name, c.State, c.InFlight, c.Cap)
			}
			if n := out.Node; n != nil && n.Role == "follower" {
				fmt.Fprintf(w, "of witnesses only the leader knows\n")
			}
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

// LedgerFlag adds --ledger, which a command must be given.
func LedgerFlag(cmd *cobra.Command) *string {
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
