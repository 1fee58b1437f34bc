package corridorcmd

import (
	"bytes"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// evidenceOf tells from the bytes of a file what it is evidence of. A late decision is a peer proof, which has no first line.
func evidenceOf(b []byte, late bool) (entry.EvidenceType, error) {
	fork, decisions := bytes.HasPrefix(b, []byte("comity/fork-evidence/")), bytes.HasPrefix(b, []byte("comity/decision-evidence/"))
	switch {
	case late && (fork || decisions):
		return 0, cli.Usagef("the file is evidence of its own kind: leave --late out")
	case late:
		if _, err := entry.ParsePeerProof(b); err != nil {
			return 0, entry.Refuse(entry.EvidenceInvalid, "the file holds no peer proof: %v", err)
		}
		return entry.EvidenceLate, nil
	case fork:
		return entry.EvidenceFork, nil
	case decisions:
		return entry.EvidenceDecisions, nil
	}
	return 0, entry.Refuse(entry.EvidenceInvalid, "the file is no evidence of a fork or of two decisions")
}

func accuseCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "accuse FILE",
		Short: "Show a ledger that its peer misbehaved",
		Long: `Submit evidence against a peer: that it signed two histories, or two decisions for one hold. Anybody may: it needs no signature, and the ledger checks it. If it
holds, the corridor is frozen at once. With --late the file is the proof of a decision that contradicts an override, which is booked as a claim.

comity verify evidence checks the same file offline.`,
		Example: "  comity corridor accuse fork-1.txt --ledger http://127.0.0.1:7001 --peer 5b0e...",
		Args:    cobra.ExactArgs(1),
	}
	address := ledgercmd.LedgerFlag(cmd)
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	peer := cmd.Flags().String("peer", "", "the peer's genesis hash (required)")
	_ = cmd.MarkFlagRequired("peer")
	late := cmd.Flags().Bool("late", false, "the file is a peer proof of a late decision")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		want, err := ledgercmd.ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		hash, err := peerHash(*peer)
		if err != nil {
			return err
		}
		if hash == nil {
			return cli.Usagef("--peer: want 64 lower-case hexadecimal digits")
		}
		b, err := readFile(args[0])
		if err != nil {
			return err
		}
		e := &entry.Evidence{Peer: *hash, Data: b}
		if e.Type, err = evidenceOf(b, *late); err != nil {
			return err
		}
		r, err := ledgercmd.Dial(cmd.Context(), *address, want)
		if err != nil {
			return err
		}
		_, state, err := r.Status(cmd.Context())
		if err != nil {
			return err
		}
		// Ledger time is the last block's or the clock's, whichever is later.
		now := max(state.TimeMillis, uint64(time.Now().UnixMilli()))
		e.Header = entry.Header{Ledger: r.Genesis.Hash(), ExpiryMillis: now + min(r.Genesis.MaxExpiryMillis, uint64(10*time.Minute/time.Millisecond))}
		if err := e.Validate(); err != nil {
			return err
		}
		answer, err := r.Submit(cmd.Context(), &ledgerv1.SubmitRequest{Entry: entry.Encode(e)})
		if err != nil {
			return cli.Answer("submit the evidence", err)
		}
		return cli.Print(cmd, *asJSON, map[string]any{"id": entry.IDOf(e).String(), "type": e.Type.String(), "entry_index": answer.GetEntryIndex(), "height": answer.GetHeight()}, func(w io.Writer) {
			fmt.Fprintf(w, "Accepted: %s, entry %d in block %d\n", e.Type, answer.GetEntryIndex(), answer.GetHeight())
		})
	}
	return cmd
}
