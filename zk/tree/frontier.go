// Package tree keeps the ternary trees of a ledger: the append-only note tree and the sparse trees of the registry and the readers
// (zk/SPEC.md chapter 4). It is pure; nothing here does I/O. A node is C(left, middle, right), an empty leaf is 0.
package tree

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Leaf is a leaf or node of a tree, a field element.
type Leaf = fr.Element

// Errors of note trees.
var (
	ErrFull      = errors.New("tree: note tree is full")
	ErrUnaligned = errors.New("tree: subtree does not begin at a multiple of its size")
	ErrMarked    = errors.New("tree: a marked leaf lies in a subtree given by its root alone")
	ErrMalformed = errors.New("tree: malformed encoding")
	ErrIndex     = errors.New("tree: index outside the tree")
)

// empties[l] is the root of a subtree of level l that holds nothing.
var empties = func() (e [zk.NoteDepth + 1]Leaf) {
	for l := range zk.NoteDepth {
		e[l+1] = zk.Hash3(e[l], e[l], e[l])
	}
	return e
}()

var pow3 = func() (p [zk.NoteDepth + 1]uint64) {
	p[0] = 1
	for l := range zk.NoteDepth {
		p[l+1] = 3 * p[l]
	}
	return p
}()

// Frontier is a note tree of depth zk.NoteDepth that can only be appended to. It holds the at most two complete children left of
// the edge at each level, 1.3 KB in all. Not safe for concurrent use; Clone is cheap.
type Frontier struct {
	size uint64
	left [zk.NoteDepth][2]Leaf // left[l][:digit l of size] are complete nodes of level l
	top  Leaf                  // the root once the tree is full
}

// NewFrontier returns an empty tree.
func NewFrontier() *Frontier { return new(Frontier) }

// Clone returns an independent copy.
func (f *Frontier) Clone() *Frontier { c := *f; return &c }

// Size is the number of leaves, padding included.
func (f *Frontier) Size() uint32 { return uint32(f.size) }

// Full reports whether no leaf can be appended any more.
func (f *Frontier) Full() bool { return f.size == pow3[zk.NoteDepth] }

// Append adds one leaf: half a hash on average. ErrFull when there is no room.
func (f *Frontier) Append(leaf Leaf) error { return f.push(leaf, 0, nil) }

// AppendSubtree adds 3^level leaves of which only the root is given. The size must be a multiple of 3^level (ErrUnaligned).
func (f *Frontier) AppendSubtree(root Leaf, level int) error { return f.push(root, level, nil) }

// Align skips to the next multiple of 3^level with empty leaves. ErrFull when that lies beyond the end.
func (f *Frontier) Align(level int) error { return f.align(level, nil) }

func (f *Frontier) align(level int, seen func(int, uint64, *Leaf)) error {
	if level < 0 || level >= zk.NoteDepth {
		return fmt.Errorf("%w: level %d", ErrIndex, level)
	}
	for l := 0; l < level; {
		if f.digit(l) == 0 {
			l++
			continue
		}
		if err := f.push(empties[l], l, seen); err != nil {
			return err
		}
	}
	return nil
}

func (f *Frontier) digit(l int) int { return int(f.size / pow3[l] % 3) }

// push appends a complete node of a level and carries upwards. seen is told every node that became complete: its level, its number
// within the level and its value.
func (f *Frontier) push(node Leaf, level int, seen func(int, uint64, *Leaf)) error {
	if level < 0 || level >= zk.NoteDepth {
		return fmt.Errorf("%w: level %d", ErrIndex, level)
	}
	if f.size%pow3[level] != 0 {
		return fmt.Errorf("%w: size %d, level %d", ErrUnaligned, f.size, level)
	}
	if f.size+pow3[level] > pow3[zk.NoteDepth] {
		return ErrFull
	}
	for l := level; ; l++ {
		if seen != nil {
			seen(l, f.size/pow3[l], &node)
		}
		if l == zk.NoteDepth {
			f.top = node
			break
		}
		d := f.digit(l)
		if d < 2 {
			f.left[l][d] = node
			break
		}
		node = zk.Hash3(f.left[l][0], f.left[l][1], node)
	}
	f.size += pow3[level]
	return nil
}

// edge is the value of the node of a level that the edge of the tree runs through, with everything beyond the edge empty.
func (f *Frontier) edge(level int) Leaf {
	if f.size%pow3[level] == 0 {
		return empties[level]
	}
	var node Leaf
	started := false
	for l := range level {
		d := f.digit(l)
		if !started && d == 0 {
			continue
		}
		if !started {
			node, started = empties[l], true
		}
		node = f.parent(l, d, node)
	}
	return node
}

func (f *Frontier) parent(l, d int, node Leaf) Leaf {
	switch d {
	case 0:
		return zk.Hash3(node, empties[l], empties[l])
	case 1:
		return zk.Hash3(f.left[l][0], node, empties[l])
	}
	return zk.Hash3(f.left[l][0], f.left[l][1], node)
}

// Root returns the root with everything not yet appended empty: up to 20 hashes.
func (f *Frontier) Root() zk.Root {
	if f.Full() {
		return zk.RootFromElement(f.top)
	}
	return zk.RootFromElement(f.edge(zk.NoteDepth))
}

// SubtreeRoot hashes leaves, padded with empty ones to 3^level, to the root of a subtree of that level. It panics when there are
// more leaves than that.
func SubtreeRoot(leaves []Leaf, level int) Leaf {
	if uint64(len(leaves)) > pow3[level] {
		panic("tree: more leaves than the subtree has")
	}
	nodes := append(make([]Leaf, 0, len(leaves)+2), leaves...)
	for l := range level {
		n := 0
		for i := 0; i < len(nodes); i += 3 {
			b, c := empties[l], empties[l]
			if i+1 < len(nodes) {
				b = nodes[i+1]
			}
			if i+2 < len(nodes) {
				c = nodes[i+2]
			}
			nodes[n] = zk.Hash3(nodes[i], b, c)
			n++
		}
		nodes = nodes[:n]
	}
	if len(nodes) == 0 {
		return empties[level]
	}
	return nodes[0]
}

const frontierVersion = 1

// Marshal encodes the frontier: version, size, then the complete nodes in use from the leaves up. One encoding per tree.
func (f *Frontier) Marshal() []byte {
	out := binary.BigEndian.AppendUint64([]byte{frontierVersion}, f.size)
	if f.Full() {
		b := f.top.Bytes()
		return append(out, b[:]...)
	}
	for l := range zk.NoteDepth {
		for d := range f.digit(l) {
			b := f.left[l][d].Bytes()
			out = append(out, b[:]...)
		}
	}
	return out
}

// UnmarshalFrontier reads what Marshal wrote. ErrMalformed for anything else, non-canonical field elements and trailing bytes
// included.
func UnmarshalFrontier(b []byte) (*Frontier, error) {
	f, rest, err := readFrontier(b)
	if err != nil {
		return nil, err
	}
	if len(rest) != 0 {
		return nil, fmt.Errorf("%w: %d trailing bytes", ErrMalformed, len(rest))
	}
	return f, nil
}

func readFrontier(b []byte) (*Frontier, []byte, error) {
	if len(b) < 9 || b[0] != frontierVersion {
		return nil, nil, fmt.Errorf("%w: header", ErrMalformed)
	}
	f := &Frontier{size: binary.BigEndian.Uint64(b[1:9])}
	b = b[9:]
	if f.size > pow3[zk.NoteDepth] {
		return nil, nil, fmt.Errorf("%w: size %d", ErrMalformed, f.size)
	}
	if f.Full() {
		return f, b, readLeaf(&f.top, &b)
	}
	for l := range zk.NoteDepth {
		for d := range f.digit(l) {
			if err := readLeaf(&f.left[l][d], &b); err != nil {
				return nil, nil, err
			}
		}
	}
	return f, b, nil
}

func readLeaf(dst *Leaf, b *[]byte) error {
	if len(*b) < fr.Bytes {
		return fmt.Errorf("%w: truncated", ErrMalformed)
	}
	if err := dst.SetBytesCanonical((*b)[:fr.Bytes]); err != nil {
		return fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	*b = (*b)[fr.Bytes:]
	return nil
}
