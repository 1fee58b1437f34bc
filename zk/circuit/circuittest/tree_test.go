package circuittest

import (
	"math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

func TestTreesAreThoseOfTheLedger(t *testing.T) {
	for _, depth := range []int{zk.RightsDepth, zk.ReaderDepth, zk.RegistryDepth} {
		g, s := newGrove(depth), tree.NewSparse(depth)
		rng := rand.New(rand.NewPCG(1, uint64(depth)))
		for range 20 {
			at := rng.Uint32N(s.Capacity())
			leaf := fr.NewElement(rng.Uint64())
			g.set(at, leaf)
			if err := s.Set(at, leaf); err != nil {
				t.Fatal(err)
			}
			p := g.path(at)
			if s.Root() != zk.RootFromElement(g.root()) || p.Root(leaf) != g.root() || p.Index() != at {
				t.Fatalf("depth %d: trees differ", depth)
			}
		}
	}
}

// A disbursement's commitments become one aligned subtree of the note tree, by
// the root that its proof shows: the tree is then that of the single leaves.
func TestDisbursementsAttachAsOneSubtree(t *testing.T) {
	for _, id := range []zk.CircuitID{zk.Disburse16, zk.Disburse64} {
		leg, err := Build(source(6), Options{Circuit: id})
		if err != nil {
			t.Fatal(err)
		}
		pub, level := &leg.Witness.Public, id.Shape().SubtreeLevel
		attached, single := tree.NewFrontier(), tree.NewFrontier()
		first := fr.NewElement(77)
		for _, f := range []*tree.Frontier{attached, single} {
			if err := f.Append(first); err != nil {
				t.Fatal(err)
			}
			if err := f.Align(level); err != nil {
				t.Fatal(err)
			}
		}
		if err := attached.AppendSubtree(pub.SubtreeRoot.Element(), level); err != nil {
			t.Fatal(err)
		}
		for _, cm := range pub.Commitments {
			if err := single.Append(cm.Element()); err != nil {
				t.Fatal(err)
			}
		}
		if attached.Root() != single.Root() {
			t.Errorf("%v: the tree with the subtree differs from the tree with its leaves", id)
		}
	}
}
