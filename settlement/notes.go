package settlement

import (
	"math"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// noteTree is the open note tree and the last roots of the sealed ones. It
// never changes once made: placing a block's outputs gives the next one.
type noteTree struct {
	number   uint16
	frontier *tree.Frontier
	root     zk.Root
	sealed   []zk.Root // by tree number; one per tree before the open one
}

const (
	treeCapacity = zk.NoteCapacity
	// maxBlockLeaves bounds the leaves that one block may take, alignment
	// included, so that every block fits an empty tree many times over.
	maxBlockLeaves = 1 << 20
	// chunkLevel is the height of the subtrees in which single outputs are
	// hashed, 243 leaves: large enough to be worth a task of its own.
	chunkLevel = 5
)

func newNoteTree() noteTree {
	f := tree.NewFrontier()
	return noteTree{frontier: f, root: f.Root()}
}

func (t noteTree) size() uint32 { return uint32(t.frontier.Size()) }

// demand counts the leaves that the outputs of a block need.
type demand struct {
	subtrees [zk.NoteDepth]int // by level
	singles  int
}

func (d *demand) add(out output) {
	if out.level > 0 {
		d.subtrees[out.level]++
	} else {
		d.singles += len(out.commitments)
	}
}

// end gives the size of a tree of `size` leaves after the outputs (L4.13):
// subtrees first, the largest first, each at the next multiple of its size;
// then single outputs.
func (d *demand) end(size uint64) uint64 {
	for level := len(d.subtrees) - 1; level > 0; level-- {
		if d.subtrees[level] > 0 {
			width := pow3(level)
			size = (size+width-1)/width*width + uint64(d.subtrees[level])*width
		}
	}
	return size + uint64(d.singles)
}

// check refuses outputs that a block starting after this tree cannot take.
func (t noteTree) check(d demand) error {
	switch {
	case d.end(0) > maxBlockLeaves:
		return entry.Refuse(entry.TryLater, "the block is full")
	case d.end(uint64(t.size())) > treeCapacity && t.number == math.MaxUint16:
		return entry.Refuse(entry.TreeFull, "the last note tree is full")
	}
	return nil
}

// Parallel runs task(0) to task(n-1), in any order and any number at once, and
// returns when all are done. nil stands for one after the other.
type Parallel func(n int, task func(i int))

func (p Parallel) run(n int, task func(i int)) {
	if p != nil {
		p(n, task)
		return
	}
	for i := range n {
		task(i)
	}
}

// output is what one leg or one resolution adds to the note tree.
type output struct {
	commitments []zk.Commitment
	level       int     // height of the subtree that the commitments fill; 0 for single leaves
	root        zk.Root // of that subtree
	entryIndex  uint64
}

// outputOf is what a leg adds when it is logged: its held output waits (L8.2).
func outputOf(leg *entry.Leg, entryIndex uint64, bugs planted.Set) output {
	shape := leg.Circuit.Shape()
	out := output{leg.Commitments, shape.SubtreeLevel, leg.SubtreeRoot, entryIndex}
	if shape.Held && !bugs.Has(planted.HoldPlacedEarly) {
		out.commitments = leg.Commitments[1:]
	}
	return out
}

// place puts the outputs of a block, which check let pass, into the tree
// (L4.13) and returns the next tree and every commitment with its position, in
// the order of entries, legs and outputs; a resolution stands for its own entry. A block's outputs share one tree: if
// they do not fit what is left of it, it is sealed as it stands, with a last
// root that the previous state entry holds, and they begin the next one.
func (t noteTree) place(outputs []output, parallel Parallel) (noteTree, []PlacedCommitment, error) {
	var d demand
	total := 0
	for _, out := range outputs {
		d.add(out)
		total += len(out.commitments)
	}
	if total == 0 {
		return t, nil, nil
	}
	if d.end(uint64(t.size())) > treeCapacity {
		sealed := append(append(make([]zk.Root, 0, len(t.sealed)+1), t.sealed...), t.root)
		t = noteTree{number: t.number + 1, frontier: tree.NewFrontier(), sealed: sealed}
	}
	t.frontier = t.frontier.Clone()
	placed := make([]PlacedCommitment, 0, total)
	first := make([]int, len(outputs)) // of each leg in placed
	for i, out := range outputs {
		first[i] = len(placed)
		for _, cm := range out.commitments {
			placed = append(placed, PlacedCommitment{Commitment: cm, EntryIndex: out.entryIndex})
		}
	}
	settle := func(at int, index uint64) {
		placed[at].Position = zk.Position{Tree: t.number, Index: uint32(index)}
	}
	for level := len(d.subtrees) - 1; level > 0; level-- {
		if d.subtrees[level] == 0 {
			continue
		}
		if err := t.frontier.Align(level); err != nil {
			return t, nil, err
		}
		for i, out := range outputs {
			if out.level != level {
				continue
			}
			base := uint64(t.frontier.Size())
			for j := range out.commitments {
				settle(first[i]+j, base+uint64(j))
			}
			// The circuit proved that this root belongs to these commitments:
			// attaching it costs one node where hashing would cost up to 40.
			if err := t.frontier.AppendSubtree(out.root.Element(), level); err != nil {
				return t, nil, err
			}
		}
	}
	singles := make([]zk.Commitment, 0, d.singles)
	base := uint64(t.frontier.Size())
	for i, out := range outputs {
		if out.level != 0 {
			continue
		}
		for j, cm := range out.commitments {
			settle(first[i]+j, base+uint64(len(singles)))
			singles = append(singles, cm)
		}
	}
	if err := appendSingles(t.frontier, singles, parallel); err != nil {
		return t, nil, err
	}
	t.root = t.frontier.Root()
	return t, placed, nil
}

// appendSingles appends leaves one by one up to a chunk boundary, whole chunks
// as subtrees that are hashed in parallel, and the rest one by one. The tree is
// the same as with every leaf appended alone.
func appendSingles(f *tree.Frontier, leaves []zk.Commitment, parallel Parallel) error {
	width := int(pow3(chunkLevel))
	lead := int((uint64(width) - uint64(f.Size())%uint64(width)) % uint64(width))
	if parallel == nil || len(leaves) < lead+2*width {
		return appendAll(f, leaves)
	}
	if err := appendAll(f, leaves[:lead]); err != nil {
		return err
	}
	leaves = leaves[lead:]
	roots := make([]zk.Root, len(leaves)/width)
	parallel.run(len(roots), func(i int) {
		chunk := each(leaves[i*width:(i+1)*width], zk.Commitment.Element)
		roots[i] = zk.RootFromElement(tree.SubtreeRoot(chunk, chunkLevel))
	})
	for _, root := range roots {
		if err := f.AppendSubtree(root.Element(), chunkLevel); err != nil {
			return err
		}
	}
	return appendAll(f, leaves[len(roots)*width:])
}

func appendAll(f *tree.Frontier, leaves []zk.Commitment) error {
	for _, cm := range leaves {
		if err := f.Append(cm.Element()); err != nil {
			return err
		}
	}
	return nil
}

// each maps a slice. It lets this package handle field elements without naming
// their type, which belongs to zk.
func each[T, E any](in []T, f func(T) E) []E {
	out := make([]E, len(in))
	for i := range in {
		out[i] = f(in[i])
	}
	return out
}

func pow3(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 3
	}
	return p
}
