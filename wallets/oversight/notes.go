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
// position. The outputs of a leg lie side by side, so one row per leg is enough.
type noteTrees struct {
	number   uint16
	frontier *tree.Frontier
	rows     [][]placedLeg // by tree number, ascending by base
}

type placedLeg struct {
	base    uint32
	outputs uint16
	leg     int32 // index into Audit.legs
}

func newNoteTrees() noteTrees {
	return noteTrees{frontier: tree.NewFrontier(), rows: make([][]placedLeg, 1)}
}

// find names the leg and output that made the note at a position.
func (t *noteTrees) find(at zk.Position) (leg, output int, ok bool) {
	if int(at.Tree) >= len(t.rows) {
		return 0, 0, false
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
		return 0, 0, false
	}
	return int(rows[i].leg), int(at.Index - rows[i].base), true
}

// newLeg is a leg of the block that is being placed.
type newLeg struct {
	leg   *entry.Leg
	index int // into Audit.legs
}

// place puts the outputs of one block into the tree: aligned subtrees first, the largest first, then single outputs, all in the order of
// entries and legs. A block that does not fit what is left of a tree seals it. It returns the base position of each leg.
func (t *noteTrees) place(legs []newLeg) ([]zk.Position, error) {
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
			if !slices.ContainsFunc(legs, func(l newLeg) bool { return l.leg.Circuit.Shape().SubtreeLevel == level }) {
				continue
			}
			if err := t.frontier.Align(level); err != nil {
				return nil, err
			}
		}
		for i, l := range legs {
			if l.leg.Circuit.Shape().SubtreeLevel != level {
				continue
			}
			at[i] = zk.Position{Tree: t.number, Index: t.frontier.Size()}
			t.rows[t.number] = append(t.rows[t.number], placedLeg{base: at[i].Index, outputs: uint16(len(l.leg.Commitments)), leg: int32(l.index)})
			if err := t.attach(l.leg, level); err != nil {
				return nil, err
			}
		}
	}
	return at, nil
}

func (t *noteTrees) attach(leg *entry.Leg, level int) error {
	if level > 0 {
		return t.frontier.AppendSubtree(leg.SubtreeRoot.Element(), level) // opening the leg recomputes it
	}
	for _, cm := range leg.Commitments {
		if err := t.frontier.Append(cm.Element()); err != nil {
			return err
		}
	}
	return nil
}

// demand is the size of a tree of size leaves after the outputs of a block.
func demand(size uint64, legs []newLeg) uint64 {
	var subtrees [zk.NoteDepth]uint64
	singles := uint64(0)
	for _, l := range legs {
		if level := l.leg.Circuit.Shape().SubtreeLevel; level > 0 {
			subtrees[level]++
		} else {
			singles += uint64(len(l.leg.Commitments))
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
