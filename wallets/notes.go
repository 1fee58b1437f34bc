package wallets

import (
	"fmt"
	"math"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// noteTrees are the ledger's note trees with the paths of the wallet's unspent notes. Only the tree being filled changes; of a sealed one
// its root and, if the wallet has notes there, their paths stay.
type noteTrees struct {
	number uint16
	open   *tree.Marked
	roots  []zk.Root // of sealed trees, by number
	sealed map[uint16]*tree.Marked
}

func newNoteTrees() noteTrees {
	return noteTrees{open: tree.NewMarked(), sealed: map[uint16]*tree.Marked{}}
}

func (t *noteTrees) size() uint32 { return t.open.Size() }

func (t *noteTrees) root() zk.Root { return t.open.Root() }

// rootOf is the root of a tree: of the open one as it stands, of a sealed one its last.
func (t *noteTrees) rootOf(number uint16) (zk.Root, bool) {
	switch {
	case number == t.number:
		return t.open.Root(), true
	case int(number) < len(t.roots):
		return t.roots[number], true
	}
	return zk.Root{}, false
}

func (t *noteTrees) tree(number uint16) *tree.Marked {
	if number == t.number {
		return t.open
	}
	return t.sealed[number]
}

// path leads from an unspent note of the wallet to the root of its tree.
func (t *noteTrees) path(at zk.Position) (zk.Path, error) {
	m := t.tree(at.Tree)
	if m == nil {
		return zk.Path{}, fmt.Errorf("no path is kept in note tree %d", at.Tree)
	}
	_, p, err := m.Path(at.Index)
	if err != nil {
		return zk.Path{}, fmt.Errorf("path of note %d in tree %d: %w", at.Index, at.Tree, err)
	}
	return p, nil
}

// forget drops the path of a spent note.
func (t *noteTrees) forget(at zk.Position) {
	m := t.tree(at.Tree)
	if m == nil {
		return
	}
	m.Forget(at.Index)
	if at.Tree != t.number && len(m.Marks()) == 0 {
		delete(t.sealed, at.Tree)
	}
}

// treeCapacity is the number of leaves of a note tree.
const treeCapacity = uint64(zk.NoteCapacity)

// placing is what goes into the note tree together: the outputs of a leg, or the one commitment that a resolution places.
type placing struct {
	level  int             // of the aligned subtree; 0 for single leaves
	root   zk.Root         // of the subtree, as its proof ties it to the outputs
	leaves []zk.Commitment // outputs first, first+1, ...
	first  int             // 1 for a hold, whose output 0 waits
	mine   []int           // indices into what was received
}

// placings lists what a block places, in the order of entries and legs, and which of it the wallet received.
func placings(body []entry.Entry, got []received) (out []placing) {
	next := 0
	add := func(p placing, i, l int) {
		for next < len(got) && got[next].entry == i && got[next].leg == l {
			p.mine = append(p.mine, next)
			next++
		}
		out = append(out, p)
	}
	for i, e := range body {
		switch e := e.(type) {
		case *entry.Transaction:
			for l := range e.Legs {
				leg := &e.Legs[l]
				shape := leg.Circuit.Shape()
				p := placing{level: shape.SubtreeLevel, root: leg.SubtreeRoot, leaves: leg.Commitments}
				if shape.Held {
					p.leaves, p.first = leg.Commitments[1:], 1
				}
				add(p, i, l)
			}
		case *entry.Resolve:
			add(placing{leaves: []zk.Commitment{e.Commitment}}, i, 0)
		case *entry.Override:
			add(placing{leaves: []zk.Commitment{e.Commitment}}, i, 0)
		}
	}
	return out
}

// place puts the outputs of a block where the ledger puts them (settlement/SPEC L4.13): aligned subtrees first, the largest first, each
// size beginning at a multiple of itself, then single outputs, all in the order of entries and legs. The output of a hold that waits is not
// among them; what a resolution places is a single output. A block that does not fit what is left of a tree seals it. It returns the
// positions of got, in that order.
func (t *noteTrees) place(b *Block, body []entry.Entry, got []received) ([]zk.Position, error) {
	all := placings(body, got)
	at := make([]zk.Position, len(got))
	if len(all) == 0 {
		return at, nil
	}
	var subtrees [zk.NoteDepth]uint64
	singles := uint64(0)
	for _, p := range all {
		if p.level > 0 {
			subtrees[p.level]++
		} else {
			singles += uint64(len(p.leaves))
		}
	}
	if demand(uint64(t.open.Size()), subtrees[:], singles) > treeCapacity {
		if err := t.seal(); err != nil {
			return nil, err
		}
	}
	add := func(p placing) error {
		base := t.open.Size()
		for _, g := range p.mine {
			if got[g].note.Value == 0 {
				continue // nothing to spend, no path to keep
			}
			at[g] = zk.Position{Tree: t.number, Index: base + uint32(got[g].output-p.first)}
			if err := t.open.Mark(at[g].Index); err != nil {
				return err
			}
		}
		if p.level == 0 {
			for _, cm := range p.leaves {
				if err := t.open.Append(cm.Element()); err != nil {
					return err
				}
			}
			return nil
		}
		if !anyValue(got, p.mine) {
			return t.open.AppendSubtree(p.root.Element(), p.level) // the leg's proof ties this root to its outputs
		}
		if subtreeRoot(p.leaves, p.level) != p.root {
			return Refuse(LedgerLied, "block %d settles a disbursement whose subtree root is not that of its outputs", b.Height)
		}
		leaves := make([]tree.Leaf, len(p.leaves))
		for i, cm := range p.leaves {
			leaves[i] = cm.Element()
		}
		return t.open.AppendLeaves(leaves, p.level)
	}
	for level := len(subtrees) - 1; level >= 0; level-- {
		if level > 0 {
			if subtrees[level] == 0 {
				continue
			}
			if err := t.open.Align(level); err != nil {
				return nil, fmt.Errorf("place the outputs of block %d: %w", b.Height, err)
			}
		}
		for _, p := range all {
			if p.level != level {
				continue
			}
			if err := add(p); err != nil {
				return nil, fmt.Errorf("place the outputs of block %d: %w", b.Height, err)
			}
		}
	}
	return at, nil
}

func anyValue(got []received, mine []int) bool {
	for _, g := range mine {
		if got[g].note.Value > 0 {
			return true
		}
	}
	return false
}

// demand is the size of a tree of size leaves after a block's outputs.
func demand(size uint64, subtrees []uint64, singles uint64) uint64 {
	for level := len(subtrees) - 1; level > 0; level-- {
		if subtrees[level] > 0 {
			width := uint64(1)
			for range level {
				width *= 3
			}
			size = (size+width-1)/width*width + subtrees[level]*width
		}
	}
	return size + singles
}

func (t *noteTrees) seal() error {
	if t.number == math.MaxUint16 {
		return Refuse(LedgerLied, "the last note tree is full and the ledger goes on")
	}
	t.roots = append(t.roots, t.open.Root())
	if len(t.open.Marks()) > 0 {
		t.sealed[t.number] = t.open
	}
	t.number++
	t.open = tree.NewMarked()
	return nil
}

type notesJSON struct {
	Number uint16            `json:"number"`
	Open   []byte            `json:"open"`
	Roots  []zk.Root         `json:"roots,omitempty"`
	Sealed map[uint16][]byte `json:"sealed,omitempty"`
}

func (t *noteTrees) encode() notesJSON {
	j := notesJSON{Number: t.number, Open: t.open.Marshal(), Roots: t.roots, Sealed: map[uint16][]byte{}}
	for n, m := range t.sealed {
		j.Sealed[n] = m.Marshal()
	}
	return j
}

func decodeNotes(j notesJSON) (t noteTrees, err error) {
	t = noteTrees{number: j.Number, roots: j.Roots, sealed: map[uint16]*tree.Marked{}}
	if len(t.roots) != int(t.number) {
		return t, fmt.Errorf("decode wallet state: %d roots of sealed trees, want %d", len(t.roots), t.number)
	}
	if t.open, err = tree.UnmarshalMarked(j.Open); err != nil {
		return t, fmt.Errorf("decode wallet state: %w", err)
	}
	for n, b := range j.Sealed {
		if t.sealed[n], err = tree.UnmarshalMarked(b); err != nil {
			return t, fmt.Errorf("decode wallet state: sealed tree %d: %w", n, err)
		}
	}
	return t, nil
}
