package pgstore

import (
	"sync"
	"sync/atomic"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/storetest"
)

// TestALeaseIsChangedByOneAtATime: of many that change the same serial one does,
// the first change included, and the row says what it wrote.
func TestALeaseIsChangedByOneAtATime(t *testing.T) {
	server := pgtest.Shared(t)
	opener, err := New(Config{URL: server.URL(server.Database(t))})
	if err != nil {
		t.Fatal(err)
	}
	store, err := opener.Create(t.Context(), storetest.NewChain(1).Genesis())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	leaser := store.(settlement.Leaser)
	if l, err := leaser.Lease(t.Context()); err != nil || l != (settlement.Lease{}) {
		t.Fatalf("before the first: %+v, %v", l, err)
	}
	for serial := range uint64(4) {
		var won atomic.Uint64
		var wait sync.WaitGroup
		for i := range uint64(8) {
			wait.Go(func() {
				changed, err := leaser.ChangeLease(t.Context(), serial, settlement.Lease{Holder: "n", URL: "u", Millis: 3000, Epoch: i + 1})
				if err != nil {
					t.Error(err)
				}
				if changed && !won.CompareAndSwap(0, i+1) {
					t.Errorf("two changed serial %d", serial)
				}
			})
		}
		wait.Wait()
		want := settlement.Lease{Serial: serial + 1, Holder: "n", URL: "u", Millis: 3000, Epoch: won.Load()}
		if l, err := leaser.Lease(t.Context()); err != nil || l != want {
			t.Fatalf("serial %d: %+v, want %+v, %v", serial, l, want, err)
		}
	}
	if changed, err := leaser.ChangeLease(t.Context(), 9, settlement.Lease{}); err != nil || changed {
		t.Fatalf("a serial that never was: %v, %v", changed, err)
	}
}
