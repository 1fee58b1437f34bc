package main

import (
	mrand "math/rand/v2"
	"testing"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

func leaves(n int) []tree.Leaf {
	r := mrand.NewChaCha8([32]byte{9})
	out := make([]tree.Leaf, n)
	for i := range out {
		var wide [64]byte
		_, _ = r.Read(wide[:])
		out[i] = zk.Field(zk.FieldFromWide(wide)).Element()
	}
	return out
}

// appendLeaves appends n leaves and asks for the root once, as a block does.
func appendLeaves(tb testing.TB, n int) (op func()) {
	all, f := leaves(n), tree.NewFrontier()
	return func() {
		for _, l := range all {
			if err := f.Append(l); err != nil {
				tb.Fatal(err)
			}
		}
		_ = f.Root()
	}
}

// appendSubtrees attaches n proven subtrees of 81 leaves and asks for the root once.
func appendSubtrees(tb testing.TB, n int) (op func()) {
	all, f := leaves(n), tree.NewFrontier()
	return func() {
		for _, l := range all {
			if err := f.AppendSubtree(l, 4); err != nil {
				tb.Fatal(err)
			}
		}
		_ = f.Root()
	}
}

// BenchmarkTreeAppend: what does a ledger pay for a note in its tree, alone and as one of 64 in a proven subtree?
func BenchmarkTreeAppend(b *testing.B) {
	b.Run("leaf", func(b *testing.B) { measure(b, 8192, "note", appendLeaves(b, 8192)) })
	b.Run("subtree", func(b *testing.B) {
		measure(b, 128*zk.LargeDisburse, "note", appendSubtrees(b, 128))
	})
}

func TestTreeBenchmarksRun(t *testing.T) {
	appendLeaves(t, 10)()
	appendSubtrees(t, 3)()
}
