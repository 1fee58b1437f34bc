package settlement

import (
	"fmt"
	"math"
	"sync"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

func field(n int) zk.Field {
	var wide [64]byte
	copy(wide[40:], fmt.Sprintf("%024d", n))
	return zk.FieldFromWide(wide)
}

func legWith(circuit zk.CircuitID, n int) *entry.Leg {
	leg := &entry.Leg{Circuit: circuit}
	for i := range circuit.Shape().Outputs {
		leg.Commitments = append(leg.Commitments, zk.Commitment(field(1000*n+i)))
	}
	if level := circuit.Shape().SubtreeLevel; level > 0 {
		leg.SubtreeRoot = zk.RootFromElement(tree.SubtreeRoot(each(leg.Commitments, zk.Commitment.Element), level))
	}
	return leg
}

// TestOutputsArePlacedByTheRule compares L4.13 with a tree in which every leaf,
// empty ones included, is appended alone.
func TestOutputsArePlacedByTheRule(t *testing.T) {
	start := newNoteTree()
	start, _, err := start.place([]output{outputOf(legWith(zk.Transfer, 1), 1, planted.Set{}), outputOf(legWith(zk.Transfer, 2), 2, planted.Set{})}, nil)
	if err != nil || start.size() != 4 {
		t.Fatalf("size %d: %v", start.size(), err)
	}
	legs := []output{outputOf(legWith(zk.Transfer, 3), 10, planted.Set{}), outputOf(legWith(zk.Disburse16, 4), 11, planted.Set{}), outputOf(legWith(zk.Disburse64, 5), 12, planted.Set{}), outputOf(legWith(zk.Consolidate, 6), 12, planted.Set{}),
		outputOf(legWith(zk.Disburse16, 7), 13, planted.Set{}), outputOf(legWith(zk.Disburse64, 8), 14, planted.Set{})}
	got, placed, err := start.place(legs, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := map[int]uint32{2: 81, 5: 162, 1: 243, 4: 270, 0: 297, 3: 299} // by leg
	leaves := make(map[uint32]zk.Commitment)
	n := 0
	for i, out := range legs {
		for j, cm := range out.commitments {
			want := PlacedCommitment{cm, zk.Position{Index: first[i] + uint32(j)}, out.entryIndex}
			if placed[n] != want {
				t.Fatalf("leg %d output %d: %+v, want %+v", i, j, placed[n], want)
			}
			leaves[want.Position.Index] = cm
			n++
		}
	}
	if n != len(placed) || got.size() != 301 {
		t.Fatalf("%d placed, size %d", len(placed), got.size())
	}
	plain := start.frontier.Clone()
	for i := plain.Size(); i < got.size(); i++ {
		if err := plain.Append(leaves[i].Element()); err != nil {
			t.Fatal(err)
		}
	}
	if plain.Root() != got.root {
		t.Error("attached subtrees give another root than single leaves")
	}
	if start.size() != 4 || start.frontier.Size() != 4 {
		t.Error("placing changed the tree that it began with")
	}
}

func TestParallelHashingGivesTheSameTree(t *testing.T) {
	parallel := func(n int, task func(int)) {
		var wg sync.WaitGroup
		for i := range n {
			wg.Go(func() { task(i) })
		}
		wg.Wait()
	}
	for _, legs := range []int{1, 121, 122, 243, 300, 700} {
		var outs []output
		for i := range legs {
			outs = append(outs, outputOf(legWith(zk.Transfer, i), uint64(i), planted.Set{}))
		}
		serial, a, err1 := newNoteTree().place(outs, nil)
		wide, b, err2 := newNoteTree().place(outs, parallel)
		if err1 != nil || err2 != nil || serial.root != wide.root || len(a) != len(b) {
			t.Fatalf("%d legs: roots %s and %s (%v, %v)", legs, serial.root, wide.root, err1, err2)
		}
		// The second block begins in the middle of a chunk.
		serial, _, err1 = serial.place(outs, nil)
		wide, _, err2 = wide.place(outs, parallel)
		if err1 != nil || err2 != nil || serial.root != wide.root {
			t.Fatalf("%d legs, second block: roots differ (%v, %v)", legs, err1, err2)
		}
	}
}

// nearlyFull is a tree with `left` leaves to go.
func nearlyFull(t *testing.T, number uint16, left uint64) noteTree {
	t.Helper()
	n := newNoteTree()
	n.number, n.sealed = number, make([]zk.Root, number)
	want := uint64(treeCapacity) - left
	for level := zk.NoteDepth - 1; level >= 0; level-- {
		for uint64(n.frontier.Size())+pow3(level) <= want {
			if err := n.frontier.AppendSubtree(field(level).Element(), level); err != nil {
				t.Fatal(err)
			}
		}
	}
	n.root = n.frontier.Root()
	return n
}

func TestBlockThatDoesNotFitSealsTheTree(t *testing.T) {
	for _, c := range []struct {
		left   uint64
		number uint16 // of the tree that the outputs end up in
		first  uint32
	}{{5, 4, 0}, {6, 3, treeCapacity - 6}, {7, 3, treeCapacity - 7}} {
		n := nearlyFull(t, 3, c.left)
		outs := []output{outputOf(legWith(zk.Transfer, 1), 1, planted.Set{}), outputOf(legWith(zk.Transfer, 2), 2, planted.Set{}), outputOf(legWith(zk.Transfer, 3), 3, planted.Set{})}
		next, placed, err := n.place(outs, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i, p := range placed {
			if want := (zk.Position{Tree: c.number, Index: c.first + uint32(i)}); p.Position != want {
				t.Errorf("%d left: output %d at %v, want %v", c.left, i, p.Position, want)
			}
		}
		if next.number != c.number || len(next.sealed) != int(c.number) {
			t.Errorf("%d left: tree %d with %d sealed", c.left, next.number, len(next.sealed))
		}
		if c.number == 4 && next.sealed[3] != n.root {
			t.Error("the sealed tree's last root is not the one that the state entry held")
		}
	}
}

func TestLastTreeIsFull(t *testing.T) {
	var d demand
	d.add(outputOf(legWith(zk.Transfer, 1), 0, planted.Set{}))
	if err := nearlyFull(t, math.MaxUint16, 2).check(d); err != nil {
		t.Errorf("two outputs refused with two leaves left: %v", err)
	}
	if err := nearlyFull(t, math.MaxUint16, 1).check(d); entry.CodeOf(err) != entry.TreeFull {
		t.Errorf("two outputs with one leaf left in the last tree: %v", err)
	}
	if err := nearlyFull(t, 7, 1).check(d); err != nil {
		t.Errorf("two outputs with one leaf left in an earlier tree: %v", err)
	}
}

func TestFullBlockIsRefusedUntilLater(t *testing.T) {
	d := demand{singles: maxBlockLeaves - 1}
	d.add(outputOf(legWith(zk.Transfer, 1), 0, planted.Set{}))
	if err := newNoteTree().check(d); entry.CodeOf(err) != entry.TryLater {
		t.Errorf("a block over its size: %v", err)
	}
}

func TestBlockTakesNoMoreThanItsLeaves(t *testing.T) {
	s := &State{rules: &rulebook{}, notes: newNoteTree(), registry: newRegistry(), programmes: newProgrammes(), oversightEpoch: 1}
	s.registryRoot, s.readersRoot = s.registry.root(), s.programmes.root()
	tx := &entry.Transaction{Type: entry.KindTransfer}
	c := &Candidate{Submission: &Submission{Entry: tx}}
	for range 4 {
		tx.Legs = append(tx.Legs, entry.Leg{Circuit: zk.Disburse64, OversightEpoch: 1})
		c.bases = append(c.bases, base{s.registryRoot, s.readersRoot})
	}
	d := newDraft(s, 0, NewSettled())
	for n := 1; ; n++ {
		if err := d.transact(c, tx); err != nil {
			if n != maxBlockLeaves/(4*81)+1 || entry.CodeOf(err) != entry.TryLater {
				t.Errorf("transaction %d: %v", n, err)
			}
			return
		}
	}
}

func TestRegistryFull(t *testing.T) {
	r := newRegistry()
	known := zk.Owner(field(1))
	r.index[known] = 0
	r.leaves = make([]zk.RegistryLeaf, registryCapacity-1)
	register := func(owners ...zk.Owner) error {
		e := &entry.Register{}
		for _, own := range owners {
			e.Owners = append(e.Owners, entry.Registration{Owner: own})
		}
		return r.checkRegister(e)
	}
	if err := register(known, zk.Owner(field(2))); err != nil {
		t.Errorf("the last leaf is refused: %v", err)
	}
	if err := register(zk.Owner(field(2)), zk.Owner(field(3))); entry.CodeOf(err) != entry.RegistryFull {
		t.Errorf("one owner too many: %v", err)
	}
	r.leaves = append(r.leaves, zk.RegistryLeaf{})
	if err := register(known); err != nil {
		t.Errorf("a full registry refuses an owner that it holds: %v", err)
	}
	if uint64(registryCapacity) != pow3(zk.RegistryDepth) || uint64(readersCapacity) != pow3(zk.ReaderDepth) || uint64(treeCapacity) != pow3(zk.NoteDepth) {
		t.Error("capacities are not those of the trees")
	}
}

func TestProgrammesFull(t *testing.T) {
	p := newProgrammes()
	p.rows = make([]Programme, readersCapacity)
	p.index[5] = 0
	if err := p.check(&entry.Programme{Programme: 5}); err != nil {
		t.Errorf("a known programme: %v", err)
	}
	if err := p.check(&entry.Programme{Programme: 6}); entry.CodeOf(err) != entry.ProgrammesFull {
		t.Errorf("one programme too many: %v", err)
	}
}

// BenchmarkPlace asks what a leaf costs in a block of 4,096 transfers: the
// ledger's hot path. Run with: go test ./settlement -bench Place -run none
func BenchmarkPlace(b *testing.B) {
	var outs []output
	for i := range 4096 {
		outs = append(outs, outputOf(legWith(zk.Transfer, i), uint64(i), planted.Set{}))
	}
	n := newNoteTree()
	b.ResetTimer()
	for b.Loop() {
		if _, _, err := n.place(outs, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/8192, "ns/leaf")
}

// BenchmarkPlaceDisbursements is the same for 4,096 disbursements to 64.
func BenchmarkPlaceDisbursements(b *testing.B) {
	var outs []output
	leg := legWith(zk.Disburse64, 1)
	for i := range 4096 {
		outs = append(outs, outputOf(leg, uint64(i), planted.Set{}))
	}
	n := newNoteTree()
	b.ResetTimer()
	for b.Loop() {
		if _, _, err := n.place(outs, nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/disbursement")
}

func TestClosedWindowsAreDroppedAtTheirEnd(t *testing.T) {
	a, b := zk.Root(field(1)), zk.Root(field(2))
	older := []window{{a, 10}}
	for time, want := range map[uint64]int{9: 1, 10: 0, 11: 0} {
		if got := supersede(older, b, b, time, 5); len(got) != want || serves(a, b, older, time) != (want == 1) {
			t.Errorf("at %d: %d windows, the root serves: %v", time, len(got), serves(a, b, older, time))
		}
	}
	if got := supersede(nil, a, b, math.MaxUint64-1, 5); len(got) != 1 || got[0].until != math.MaxUint64 {
		t.Errorf("a window at the end of time: %+v", got)
	}
}
