package storetest

import (
	"math/rand/v2"
	"sync"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// testShared passes a ledger between handles. What one wrote the others must
// see at once, above all nullifiers, whose absence a handle may answer from
// memory (L6.5); and a handle that was taken over from must write nothing.
func testShared(t *testing.T, factory Factory) {
	m := factory(t)
	if _, ok := m.(Shared); !ok {
		t.Skip("the store admits one handle")
	}
	c := NewChain(13)
	s, head := create(t, m, c)
	handles := []settlement.Store{s, open(t, m, c), open(t, m, c)}
	r := rand.New(rand.NewPCG(13, 0))
	owner := 0
	for round := range 60 {
		if next := r.IntN(len(handles)); next != owner {
			before := head
			head = acquire(t, handles[next])
			if head.Epoch != before.Epoch+1 {
				t.Fatalf("epoch %d after %d", head.Epoch, before.Epoch)
			}
			late := *c.Blocks[len(c.Blocks)-1]
			late.Height, late.FirstIndex, late.Root = head.Height+1, head.Size, [32]byte{byte(round)}
			if outcome, err := handles[owner].Append(t.Context(), before, &late); outcome != settlement.Fenced || err != nil {
				t.Fatalf("round %d: append by the handle that was taken over from: %v, %v", round, outcome, err)
			}
			owner = next
		}
		b := c.Next(Shape{Entries: 1 + r.IntN(8), EntryBytes: 200, Nullifiers: r.IntN(3), Keys: r.IntN(2), Outputs: 1, Segment: 30})
		for i, h := range handles {
			if hits, err := h.Spent(t.Context(), ask(b)); err != nil || anyFound(hits) {
				t.Fatalf("round %d, handle %d: nullifiers of a block to come: %+v, %v", round, i, hits, err)
			}
		}
		head = commit(t, handles[owner], head, b)
		for i, h := range handles {
			wantHead(t, h, head)
			c.checkHits(t, h, b, true)
			if round%20 == i {
				c.check(t, h, head.Height)
			}
		}
	}
	for _, h := range handles {
		c.check(t, h, head.Height)
		shut(t, h)
	}
}

func ask(b *settlement.Block) []zk.Nullifier {
	out := make([]zk.Nullifier, len(b.Nullifiers))
	for i := range b.Nullifiers {
		out[i] = b.Nullifiers[i].Nullifier
	}
	return out
}

func anyFound(hits []settlement.Hit) bool {
	for _, h := range hits {
		if h.Found {
			return true
		}
	}
	return false
}

// testRace lets handles that hold the same epoch append the same block, and
// acquire, all at once: exactly one append is committed, and no epoch is given
// twice.
func testRace(t *testing.T, factory Factory) {
	m := factory(t)
	if _, ok := m.(Shared); !ok {
		t.Skip("the store admits one handle")
	}
	c := NewChain(14)
	s, head := create(t, m, c)
	handles := []settlement.Store{s, open(t, m, c), open(t, m, c), open(t, m, c)}
	for round := range 15 {
		b := c.Random()
		outcomes, errs := make([]settlement.Outcome, len(handles)), make([]error, len(handles))
		var wg sync.WaitGroup
		for i, h := range handles {
			wg.Go(func() { outcomes[i], errs[i] = h.Append(t.Context(), head, b) })
		}
		wg.Wait()
		won := 0
		for i := range outcomes {
			switch {
			case outcomes[i] == settlement.Committed && errs[i] == nil:
				won++
			case outcomes[i] != settlement.Fenced || errs[i] != nil:
				t.Fatalf("round %d, handle %d: %v, %v", round, i, outcomes[i], errs[i])
			}
		}
		if won != 1 {
			t.Fatalf("round %d: %d handles committed block %d", round, won, b.Height)
		}
		head = b.Head(head.Epoch)
		heads := make([]settlement.Head, len(handles))
		for i, h := range handles {
			wg.Go(func() { heads[i], errs[i] = h.Acquire(t.Context()) })
		}
		wg.Wait()
		seen := map[uint64]bool{}
		for i := range heads {
			if errs[i] != nil || seen[heads[i].Epoch] {
				t.Fatalf("round %d: epoch %d twice, or %v", round, heads[i].Epoch, errs[i])
			}
			seen[heads[i].Epoch] = true
			head.Epoch = max(head.Epoch, heads[i].Epoch)
		}
	}
	for _, h := range handles {
		c.check(t, h, head.Height)
		shut(t, h)
	}
}
