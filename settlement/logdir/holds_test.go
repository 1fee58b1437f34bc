package logdir

import (
	"bytes"
	"context"
	"iter"
	"path/filepath"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/replay"
)

// TestFolderHoldsWhatBridgesLog: entries without legs among such with legs, hold legs with their segments, and the whole replays.
func TestFolderHoldsWhatBridgesLog(t *testing.T) {
	b, peer := ledgertest.NewBed(1), ledgertest.NewBed(2)
	accept := func(what ...any) {
		t.Helper()
		for _, r := range b.Submit(what...) {
			if r.Status != settlement.Accepted {
				t.Fatal(r.Refusal)
			}
		}
	}
	rule := &entry.Attested{Until: b.Now + 50_000, Statement: entry.StatementDelivery, Threshold: 1}
	key, attestor := b.Key()
	rule.Attestors = []entry.SignerKey{attestor}
	tx := b.Prove(b.Holding(0, rule, rule))
	accept(b.Recognise(peer, 1000, 100), tx, b.Transfer())
	accept(b.Observe(peer), b.Attest(tx.HoldID(0), entry.Attests, 0, key, entry.StatementDelivery, entry.Digest([]byte("waybill"))), b.Document(entry.Anchors, entry.Digest([]byte("waybill")), [32]byte{}))
	b.Now += 50_000
	accept(b.Resolution(tx.HoldID(1), entry.Voided, entry.ReasonExpired), b.FreezeCorridor(peer, true))
	dir := filepath.Join(t.TempDir(), "log")
	blocks := iter.Seq2[*settlement.Block, error](func(yield func(*settlement.Block, error) bool) {
		for _, block := range b.Blocks {
			if !yield(block, nil) {
				return
			}
		}
	})
	if err := Create(context.Background(), dir, b.Checkpoint(), blocks, true, nil); err != nil {
		t.Fatal(err)
	}
	l, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	var r *replay.Replayer
	for block, err := range l.Blocks() {
		if err != nil {
			t.Fatal(err)
		}
		if want := b.Blocks[block.Height]; len(block.Segments) != len(want.Segments) || len(want.Segments) > 0 && !bytes.Equal(block.Segments[0], want.Segments[0]) {
			t.Fatalf("block %d has %d segments, want %d", block.Height, len(block.Segments), len(want.Segments))
		}
		if r == nil {
			r, err = replay.New(block, replay.Config{Verifier: b.Verifier, Genesis: b.Hash})
		} else {
			err = r.Apply(block)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if !bytes.Equal(r.State().Marshal(), b.State.Marshal()) {
		t.Fatal("the folder replays to another state")
	}
}
