package oversight

import (
	"fmt"
	"math"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// noteTrees places outputs as the ledger does (settlement/SPEC L4.13), keeps the open tree's root, and finds the leg that made the note at a
// position. The outputs of a leg lie side by side, so one row per leg is enough, and one more for the output of a hold that a resolution places.
type noteTrees struct {
	number   uint16
	frontier *tree.Frontier
	rows     [][]placedLeg // by tree number, ascending by base
}

type placedLeg struct {
	base    uint32
	outputs uint16
	first   uint8  // number of the output that lies at base
	leg     int32  // index into Audit.legs
	height  uint64 // of the block that placed them
}

func newNoteTrees() noteTrees {
	return noteTrees{frontier: tree.NewFrontier(), rows: make([][]placedLeg, 1)}
}

// find names the leg and output that made the note at a position, and the height of the block that placed it there.
func (t *noteTrees) find(at zk.Position) (leg, output int, height uint64, ok bool) {
	if int(at.Tree) >= len(t.rows) {
		return 0, 0, 0, false
	}
	rows := t.rows[at.Tree]
	i, exact := slices.BinarySearchFunc(rows, at.Index, func(r placedLeg, index uint32) int {
		switch {
		case r.base < index:
			return -1
		case r.base > index:
			return 1
		}
		return 0
	})
	if !exact {
		i--
	}
	if i < 0 || at.Index-rows[i].base >= uint32(rows[i].outputs) {
		return 0, 0, 0, false
	}
	return int(rows[i].leg), int(rows[i].first) + int(at.Index-rows[i].base), rows[i].height, true
}

// placing is what a block puts into the tree together: the outputs of a leg, or the one commitment that a resolution places.
type placing struct {
	level  int // of the aligned subtree; 0 for single leaves
	root   zk.Root
	leaves []zk.Commitment
	first  int // number of the first leaf among the outputs of its leg
	leg    int // index into Audit.legs; -1 for a commitment that is nobody's
	hold   int // index into Audit.holds of a resolution; -1 for a leg
}

// placingOf is what a leg places: of a hold the change alone.
func placingOf(leg *entry.Leg, index int) placing {
	shape := leg.Circuit.Shape()
	p := placing{level: shape.SubtreeLevel, root: leg.SubtreeRoot, leaves: leg.Commitments, leg: index, hold: -1}
	if shape.Held {
		p.leaves, p.first = leg.Commitments[1:], 1
	}
	return p
}

// place puts the outputs of one block into the tree: aligned subtrees first, the largest first, then single outputs, all in the order of
// entries and legs. A block that does not fit what is left of a tree seals it. It returns the base position of each.
func (t *noteTrees) place(legs []placing, height uint64) ([]zk.Position, error) {
	at := make([]zk.Position, len(legs))
	if len(legs) == 0 {
		return at, nil
	}
	if demand(uint64(t.frontier.Size()), legs) > zk.NoteCapacity {
		if t.number == math.MaxUint16 {
			return nil, fmt.Errorf("the last note tree is full and the ledger goes on")
		}
		t.number++
		t.frontier = tree.NewFrontier()
		t.rows = append(t.rows, nil)
	}
	for level := zk.NoteDepth - 1; level >= 0; level-- {
		if level > 0 {
			if !slices.ContainsFunc(legs, func(l placing) bool { return l.level == level }) {
				continue
			}
			if err := t.frontier.Align(level); err != nil {
				return nil, err
			}
		}
		for i, l := range legs {
			if l.level != level {
				continue
			}
			at[i] = zk.Position{Tree: t.number, Index: t.frontier.Size()}
			if l.leg >= 0 {
				t.rows[t.number] = append(t.rows[t.number], placedLeg{base: at[i].Index, outputs: uint16(len(l.leaves)), first: uint8(l.first), leg: int32(l.leg), height: height})
			}
			if err := t.attach(l); err != nil {
				return nil, err
			}
		}
	}
	return at, nil
}

func (t *noteTrees) attach(p placing) error {
	if p.level > 0 {
		return t.frontier.AppendSubtree(p.root.Element(), p.level) // opening the leg recomputes it
	}
	for _, cm := range p.leaves {
		if err := t.frontier.Append(cm.Element()); err != nil {
			return err
		}
	}
	return nil
}

// demand is the size of a tree of size leaves after the outputs of a block.
func demand(size uint64, legs []placing) uint64 {
	var subtrees [zk.NoteDepth]uint64
	singles := uint64(0)
	for _, l := range legs {
		if l.level > 0 {
			subtrees[l.level]++
		} else {
			singles += uint64(len(l.leaves))
		}
	}
	for level := zk.NoteDepth - 1; level > 0; level-- {
		if subtrees[level] == 0 {
			continue
		}
		width := uint64(1)
		for range level {
			width *= 3
		}
		size = (size+width-1)/width*width + subtrees[level]*width
	}
	return size + singles
}
