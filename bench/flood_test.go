package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk/setup"
)

// What does a flood of invalid proofs cost an honest caller? A node with real proofs and a durable store settles transfers of one caller, kept at 256 in
// flight: alone, and while another caller keeps as many submissions in flight as it can, nine in ten of them with false proofs. For comparison both
// then come without names, and so share a lane, as every caller did before there were lanes.
//
//	go test ./bench -run '^$' -bench Flood -benchtime 1x

// floodResult is the throughput of the honest caller, in transfers a second.
type floodResult struct{ Alone, Flooded, Shared float64 }

func runFlood(tb testing.TB, each int, compare bool) floodResult {
	tb.Helper()
	ctx := tb.Context()
	set, err := dataset.Make(ctx, dataset.Spec{SimulatedTransfers: 4 * each, Seed: [32]byte{4}, NowMillis: uint64(time.Now().UnixMilli())}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	false9, err := set.Spoil(0, 90)
	if err != nil {
		tb.Fatal(err)
	}
	n := floodNode(tb, set)
	for _, item := range set.Prefix {
		if _, err := n.Submit(ctx, item.Entry, item.Segments); err != nil {
			tb.Fatalf("prefix: %v", err)
		}
	}
	var pool []dataset.Item
	for _, item := range set.Items {
		if item.Class == dataset.SimulatedTransfer {
			pool = append(pool, item)
		}
	}
	part := func(i int) []dataset.Item { return pool[i*each : (i+1)*each] }
	alone := settleAll(tb, n, "bank/first", part(0))
	flood := func(name string) func() {
		ctx, stop := context.WithCancel(ctx)
		var wait sync.WaitGroup
		var next atomic.Int64
		for range 512 {
			wait.Go(func() {
				for ctx.Err() == nil {
					// One in ten is valid, and settles once: the flood's own payments are those of part 3.
					i := int(next.Add(1))
					item := false9[i%len(false9)]
					if i%10 == 0 {
						item = part(3)[i/10%each]
					}
					_, err := n.Submit(node.WithCaller(ctx, name), item.Entry, item.Segments)
					if entry.CodeOf(err) == entry.TryLater {
						select {
						case <-time.After(20 * time.Millisecond):
						case <-ctx.Done():
						}
					}
				}
			})
		}
		return func() { stop(); wait.Wait() }
	}
	stop := flood("bank/evil")
	flooded := settleAll(tb, n, "bank/first", part(1))
	stop()
	if !compare {
		return floodResult{Alone: alone, Flooded: flooded}
	}
	stop = flood("")
	shared := settleAll(tb, n, "", part(2))
	stop()
	return floodResult{alone, flooded, shared}
}

// settleAll settles items with 256 in flight and gives the rate.
func settleAll(tb testing.TB, n *node.Node, caller string, items []dataset.Item) float64 {
	tb.Helper()
	ctx := node.WithCaller(tb.Context(), caller)
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	start := time.Now()
	for range 256 {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < len(items); i = int(next.Add(1)) - 1 {
				_, err := n.Submit(ctx, items[i].Entry, items[i].Segments)
				for entry.CodeOf(err) == entry.TryLater {
					time.Sleep(5 * time.Millisecond)
					_, err = n.Submit(ctx, items[i].Entry, items[i].Segments)
				}
				if err != nil {
					err = fmt.Errorf("item %d: %w", i, err)
					failed.CompareAndSwap(nil, &err)
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		tb.Fatal(*err)
	}
	return float64(len(items)) / time.Since(start).Seconds()
}

func floodNode(tb testing.TB, set *dataset.Set) *node.Node {
	tb.Helper()
	genesis, err := entry.DecodeGenesis(set.Genesis)
	if err != nil {
		tb.Fatal(err)
	}
	secrets, err := dataset.SecretsOf(set.Seed)
	if err != nil {
		tb.Fatal(err)
	}
	_, block, err := settlement.Begin(genesis)
	if err != nil {
		tb.Fatal(err)
	}
	opener, err := pebblestore.New(pebblestore.Config{Dir: tb.TempDir()})
	if err != nil {
		tb.Fatal(err)
	}
	store, err := opener.Create(tb.Context(), block)
	if err != nil {
		tb.Fatal(err)
	}
	verifiers, err := setup.Verifier(0)
	if err != nil {
		tb.Fatal(err)
	}
	signer, err := proof.NewLogSigner(genesis.Origin, secrets.Log)
	if err != nil {
		tb.Fatal(err)
	}
	n, err := node.Start(tb.Context(), node.Config{Store: store, Verifier: dataset.Verifier{Set: verifiers}, Signer: signer})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := n.Stop(context.Background()); err != nil {
			tb.Error(err)
		}
		if err := store.Close(); err != nil {
			tb.Error(err)
		}
	})
	return n
}

// TestHonestPaymentsSettleInAFlood is the benchmark at a small size: every honest payment settles, which runFlood requires. How fast is for a quiet
// machine to say, and the exact claim is settlement/node's, in reckoned time.
func TestHonestPaymentsSettleInAFlood(t *testing.T) {
	if testing.Short() {
		t.Skip("makes proofs")
	}
	r := runFlood(t, 60, false)
	t.Logf("alone %.0f/s; with a flood %.0f/s (%.2f)", r.Alone, r.Flooded, r.Flooded/r.Alone)
	if r.Alone <= 0 || r.Flooded <= 0 {
		t.Errorf("%+v", r)
	}
}

func BenchmarkFlood(b *testing.B) {
	for range b.N {
		r := runFlood(b, 3000, true)
		b.ReportMetric(r.Alone, "alone/s")
		b.ReportMetric(r.Flooded, "flooded/s")
		b.ReportMetric(r.Flooded/r.Alone, "ratio")
		b.ReportMetric(r.Shared/r.Alone, "ratio-one-lane")
	}
}
