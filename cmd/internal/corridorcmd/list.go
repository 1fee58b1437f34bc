package corridorcmd

import (
	"encoding/hex"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// row is one corridor of `corridor list --json`. Minor units are decimal texts.
type row struct {
	Peer        string        `json:"peer"`
	Name        string        `json:"name"`
	Origin      string        `json:"origin"`
	State       string        `json:"state"` // "active", "stale" or "frozen"
	Why         string        `json:"why"`
	Size        uint64        `json:"size"` // leaves of the peer's log that were observed last
	PeerTime    string        `json:"peer_time"`
	Observed    string        `json:"observed"`
	InFlight    string        `json:"in_flight"`
	Cap         string        `json:"cap"`
	SizeClasses []string      `json:"size_classes"`
	StaleMillis uint64        `json:"stale_millis"`
	Claims      string        `json:"claims"`
	Quorum      uint8         `json:"quorum"`
	Faulty      uint8         `json:"faulty"`
	Witnesses   []witnessJSON `json:"witnesses"`
}

type witnessJSON struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	Own  bool   `json:"own"`
}

func rowOf(c *ledgerv1.Corridor) (row, error) {
	terms, rest, err := entry.ParseCorridorTerms(c.GetTerms())
	if err != nil {
		return row{}, cli.Exit(cli.Unverified, fmt.Errorf("the ledger sends terms that are none: %w", err))
	}
	if len(rest) != 0 || len(c.GetPeer()) != len(entry.GenesisHash{}) {
		return row{}, cli.Unverifiedf("the ledger sends %d bytes after the terms of peer %x", len(rest), c.GetPeer())
	}
	out := row{Peer: hex.EncodeToString(c.GetPeer()), Name: terms.Name, Origin: terms.Origin, State: ledgercmd.CorridorState(c.GetState()), Why: c.GetWhy(),
		Size: c.GetSize(), PeerTime: formatMillis(c.GetPeerMillis()), Observed: formatMillis(c.GetObservedMillis()), InFlight: cli.MinorUnits(c.GetInFlight()),
		Cap: cli.MinorUnits(terms.Cap), StaleMillis: terms.StaleMillis, Claims: cli.MinorUnits(c.GetClaims()), Quorum: terms.Quorum, Faulty: terms.Faulty}
	for _, class := range terms.SizeClasses {
		out.SizeClasses = append(out.SizeClasses, cli.MinorUnits(class))
	}
	for _, w := range terms.Witnesses {
		out.Witnesses = append(out.Witnesses, witnessJSON{w.Name, w.Key.String(), w.Own})
	}
	return out, nil
}

// formatMillis gives "" for never.
func formatMillis(ms uint64) string {
	if ms == 0 {
		return ""
	}
	return time.UnixMilli(int64(ms)).UTC().Format("2006-01-02T15:04:05.000Z")
}

func (r *row) print(w io.Writer) {
	state := r.State
	if r.Why != "" {
		state += " (" + r.Why + ")"
	}
	fmt.Fprintf(w, "%s: %s\n", r.Name, state)
	fmt.Fprintf(w, "  genesis     %s\n  log         %s\n", r.Peer, r.Origin)
	if r.Observed != "" {
		fmt.Fprintf(w, "  observed    %d entries of %s, at %s\n", r.Size, r.PeerTime, r.Observed)
	}
	fmt.Fprintf(w, "  in flight   %s of %s minor units, size classes", r.InFlight, r.Cap)
	for _, c := range r.SizeClasses {
		fmt.Fprintf(w, " %s", c)
	}
	fmt.Fprintf(w, "\n  stale after %v\n", time.Duration(r.StaleMillis)*time.Millisecond)
	fmt.Fprintf(w, "  witnesses   %d of %d, %d may be faulty:", r.Quorum, len(r.Witnesses), r.Faulty)
	for _, x := range r.Witnesses {
		fmt.Fprintf(w, " %s", x.Name)
		if x.Own {
			fmt.Fprint(w, " (ours)")
		}
	}
	fmt.Fprintln(w)
	if r.Claims != "0" {
		fmt.Fprintf(w, "  CLAIMS      %s minor units of size classes: decisions of the peer that contradict an override\n", r.Claims)
	}
}

func listCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "list",
		Short:   "Show the corridors of a running ledger",
		Long:    "Show what a running ledger keeps about each of its peers. This is the node's own word; whoever replays the log computes the same.",
		Example: "  comity corridor list --ledger http://127.0.0.1:7001 --json",
		Args:    cobra.NoArgs,
	}
	address := ledgercmd.LedgerFlag(cmd)
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := ledgercmd.ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		r, err := ledgercmd.Dial(cmd.Context(), *address, want)
		if err != nil {
			return err
		}
		answer, err := r.ListCorridors(cmd.Context(), &ledgerv1.ListCorridorsRequest{})
		if err != nil {
			return cli.Answer("ask for the corridors", err)
		}
		rows := []row{}
		for _, c := range answer.GetCorridors() {
			x, err := rowOf(c)
			if err != nil {
				return err
			}
			rows = append(rows, x)
		}
		return cli.Print(cmd, *asJSON, map[string]any{"ledger": r.Genesis.Hash().String(), "corridors": rows}, func(w io.Writer) {
			if len(rows) == 0 {
				fmt.Fprintln(w, "no corridor")
			}
			for i := range rows {
				rows[i].print(w)
			}
		})
	}
	return cmd
}
