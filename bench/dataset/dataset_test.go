package dataset

import (
	"context"
	"path/filepath"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
)

const now = 1_790_000_000_000

// TestEveryItemOfADataSetSettlesOnItsLedger makes a small data set and puts all of it into a ledger in memory, with real verification.
func TestEveryItemOfADataSetSettlesOnItsLedger(t *testing.T) {
	made, err := Make(context.Background(), Spec{
		HonestTransfers: 2, HonestDisburses: 1, SimulatedTransfers: 20, SimulatedDisburses: 3, Seed: [32]byte{1}, NowMillis: now,
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "set")
	if err := made.Save(path); err != nil {
		t.Fatal(err)
	}
	set, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	genesis, err := entry.DecodeGenesis(set.Genesis)
	if err != nil {
		t.Fatal(err)
	}
	c, err := newChain(genesis)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range set.Prefix {
		if _, err := c.mustSettle(context.Background(), item); err != nil {
			t.Fatal(err)
		}
	}
	if c.state.Anchor().NoteRoot != set.NoteRoot {
		t.Error("another note root after the prefix")
	}
	count := map[Class]int{}
	for _, item := range set.Items {
		count[item.Class]++
	}
	if count[HonestTransfer] != 2 || count[HonestDisburse] != 1 || count[SimulatedTransfer] != 20 || count[SimulatedDisburse] != 3 {
		t.Errorf("%v", count)
	}
	answers, _, err := c.settle(set.Items...)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range answers {
		if err != nil {
			t.Errorf("item %d (%v): %v", i, set.Items[i].Class, err)
		}
	}
	// Those made to be refused are, for the right reason.
	spoiled, err := set.Spoil(5, 5)
	if err != nil {
		t.Fatal(err)
	}
	answers, _, err = c.settle(spoiled...)
	if err != nil {
		t.Fatal(err)
	}
	for i, err := range answers {
		want := entry.NullifierSpent
		if spoiled[i].Class == InvalidProof {
			want = entry.ProofInvalid
		}
		if entry.CodeOf(err) != want {
			t.Errorf("%v: %v", spoiled[i].Class, err)
		}
	}
}

func TestWireSizesKeepTheirBounds(t *testing.T) {
	set, err := Make(context.Background(), Spec{SimulatedTransfers: 1, SimulatedDisburses: 1, Seed: [32]byte{2}, NowMillis: now}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, item := range set.Items {
		limit := 1500
		if item.Class == SimulatedDisburse {
			limit = 300 * item.Class.Payments()
		}
		if item.Wire() > limit {
			t.Errorf("%v takes %d bytes, at most %d", item.Class, item.Wire(), limit)
		}
		t.Logf("%v: %d bytes", item.Class, item.Wire())
	}
}
