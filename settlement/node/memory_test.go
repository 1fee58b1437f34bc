package node

import (
	"runtime"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// TestWhatAWaitingEntryHoldsIsBoundedByItsBytes holds what the comment of Limits says. Heaps differ a little from run to run: the bound is twice
// what is measured.
func TestWhatAWaitingEntryHoldsIsBoundedByItsBytes(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	heap := func() int {
		runtime.GC()
		runtime.GC()
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	for _, c := range []zk.CircuitID{zk.Transfer, zk.Consolidate, zk.Disburse16, zk.Disburse64} {
		const entries = 400
		type wire struct {
			leaf     []byte
			segments [][]byte
		}
		var sent []wire
		bytes := 0
		for range entries {
			tx := r.Prove(r.Tx(entry.KindTransfer, c))
			w := wire{tx.Encode(), tx.Segments}
			bytes += len(w.leaf)
			for _, s := range w.segments {
				bytes += len(s)
			}
			sent = append(sent, w)
		}
		tasks := make([]*task, entries)
		before := heap()
		for i, w := range sent {
			var err error
			if tasks[i], _, err = n.admit(t.Context(), w.leaf, w.segments); err != nil || tasks[i] == nil {
				t.Fatalf("%s: %v", c, err)
			}
		}
		grown := heap() - before // without the bytes themselves, which sent holds
		runtime.KeepAlive(tasks)
		runtime.KeepAlive(sent)
		each, size := grown/entries, bytes/entries
		t.Logf("%s: %d bytes, and %d more for what was read from them", c, size, each)
		if each > 4<<10+2*size {
			t.Errorf("%s: %d bytes beside an entry of %d", c, each, size)
		}
	}
	must(t, n.stop(t))
}
