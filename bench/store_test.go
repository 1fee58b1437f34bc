package main

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/storetest"
)

// appendBlocks makes a store on disk and returns an op that makes one block of n payments durable. The op returns what the append
// took, without the making of the block.
func appendBlocks(tb testing.TB, n int) (op func() (wall, cpu time.Duration)) {
	tb.Helper()
	opener, err := pebblestore.New(pebblestore.Config{Dir: tb.TempDir() + "/ledger"})
	if err != nil {
		tb.Fatal(err)
	}
	chain := storetest.NewChain(1)
	ctx := context.Background()
	store, err := opener.Create(ctx, chain.Genesis())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = store.Close() })
	head, err := store.Acquire(ctx)
	if err != nil {
		tb.Fatal(err)
	}
	return func() (time.Duration, time.Duration) {
		block := chain.Next(storetest.Payments(n))
		start, cpu := time.Now(), machine.CPU()
		outcome, err := store.Append(ctx, head, block)
		wall := time.Since(start)
		if outcome != settlement.Committed {
			tb.Fatalf("append: %v, %v", outcome, err)
		}
		head = block.Head(head.Epoch)
		return wall, machine.CPU() - cpu
	}
}

// BenchmarkStoreAppend: how many two-in-two-out payments a second does the store make durable, in blocks of each size?
func BenchmarkStoreAppend(b *testing.B) {
	for _, n := range []int{256, 4096} {
		b.Run(fmt.Sprintf("block=%d", n), func(b *testing.B) {
			op := appendBlocks(b, n)
			var wall, cpu time.Duration
			for b.Loop() {
				w, c := op()
				wall, cpu = wall+w, cpu+c
			}
			total := float64(b.N * n)
			b.ReportMetric(total/wall.Seconds(), "payments/s")
			b.ReportMetric(cpu.Seconds()*1e6/total, "cpu-us/payment")
		})
	}
}

func TestStoreBenchmarksRun(t *testing.T) { appendBlocks(t, 8)() }
