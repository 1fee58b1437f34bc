package main

import (
	"context"
	"crypto/rand"
	"testing"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// walletScan scans a block of n transfers to strangers with a wallet's view key.
func walletScan(tb testing.TB, n int) (op func()) {
	tb.Helper()
	set, err := dataset.Make(context.Background(), dataset.Spec{SimulatedTransfers: n, Seed: [32]byte{3}, NowMillis: 1_790_000_000_000}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	block := &wallets.Block{Height: 9}
	for _, item := range set.Items {
		block.Entries, block.Segments = append(block.Entries, item.Entry), append(block.Segments, item.Segments...)
	}
	seed, err := keys.NewSeed(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	ask, err := zk.NewScalar(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	w, err := keys.Derive(seed, ask, [32]byte{1})
	if err != nil {
		tb.Fatal(err)
	}
	view := w.IncomingView()
	return func() {
		if got := wallets.Scan(view, block).Transactions(); got != n {
			tb.Fatalf("scanned %d of %d", got, n)
		}
	}
}

// oversightScan opens a leg with the oversight key.
func oversightScan(tb testing.TB, id zk.CircuitID) (op func()) {
	tb.Helper()
	l := leg(tb, id)
	return func() {
		if _, err := keys.OpenAsOversight(l.Oversight, &l.Witness.Public); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkWalletScan: what does a wallet pay to look through somebody else's transfer?
func BenchmarkWalletScan(b *testing.B) { measure(b, 1024, "tx", walletScan(b, 1024)) }

// BenchmarkOversightScan: what does an auditor pay to open a transfer, and a payment of a disbursement?
func BenchmarkOversightScan(b *testing.B) {
	b.Run("transfer", func(b *testing.B) { measure(b, 1, "payment", oversightScan(b, zk.Transfer)) })
	b.Run("disburse64", func(b *testing.B) { measure(b, zk.LargeDisburse, "payment", oversightScan(b, zk.Disburse64)) })
}

func TestScanBenchmarksRun(t *testing.T) {
	walletScan(t, 2)()
	oversightScan(t, zk.Transfer)()
}
