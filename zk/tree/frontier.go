package tree

import (
	"encoding/binary"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Frontier is the append-only note tree, reduced to what appending and the root need: at every level the complete nodes to the
// left of the next leaf under the same parent, at most two. The zero value is an empty tree. It is a plain value: Clone copies it.
type Frontier struct {
	size  uint32
	nodes [depth][2]fr.Element // nodes[l][:digit(l)] are valid, the others zero
	last  fr.Element           // the root when full
}

// NewFrontier returns an empty tree.
func NewFrontier() *Frontier { return &Frontier{} }

// Clone copies the tree.
func (f *Frontier) Clone() *Frontier {
	c := *f
	return &c
}

// Size is the number of leaves, skipped ones included: the index of the next leaf.
func (f *Frontier) Size() uint32 { return f.size }

// Full reports whether every leaf is taken.
func (f *Frontier) Full() bool { return f.size == zk.NoteCapacity }

func (f *Frontier) digit(level int) uint32 { return f.size / pow3[level] % 3 }

// Append adds a leaf, or returns ErrFull.
func (f *Frontier) Append(leaf Leaf) error { return f.add(leaf, 0, nil) }

// AppendSubtree adds 3^level leaves at once by the root of their subtree. The tree must be aligned to that level.
func (f *Frontier) AppendSubtree(root Leaf, level int) error { return f.add(root, level, nil) }

// add attaches a node of a level and reports every node that it completes, itself first, to completed.
func (f *Frontier) add(node fr.Element, level int, completed func(level int, index uint32, node fr.Element)) error {
	switch {
	case level < 0 || level >= depth:
		return fmt.Errorf("%w: %d", ErrIndex, level)
	case f.Full():
		return ErrFull
	case f.size%pow3[level] != 0:
		return fmt.Errorf("%w: size %d, level %d", ErrUnaligned, f.size, level)
	}
	next := f.size + pow3[level]
	for l := level; ; l++ {
		if completed != nil {
			completed(l, next/pow3[l]-1, node)
		}
		if l == depth {
			f.last = node
			break
		}
		d := f.digit(l)
		if d < 2 {
			f.nodes[l][d] = node
			break
		}
		node = zk.Hash3(f.nodes[l][0], f.nodes[l][1], node)
		f.nodes[l] = [2]fr.Element{}
	}
	f.size = next
	return nil
}

// Align skips empty leaves up to the next multiple of 3^level. It cannot fail for lack of room: the capacity is a multiple too.
func (f *Frontier) Align(level int) error { return f.align(level, nil) }

func (f *Frontier) align(level int, completed func(int, uint32, fr.Element)) error {
	if level < 0 || level >= depth {
		return fmt.Errorf("%w: %d", ErrIndex, level)
	}
	for l := 0; l < level; l++ {
		for f.digit(l) != 0 {
			if err := f.add(empties[l], l, completed); err != nil {
				return err
			}
		}
	}
	return nil
}

// Root is the root with every leaf that is not there yet empty. It costs up to 20 hashes; an empty or full tree costs none.
func (f *Frontier) Root() zk.Root {
	if f.Full() {
		return zk.RootFromElement(f.last)
	}
	return zk.RootFromElement(f.partials()[depth])
}

// partials gives at every level the node that the next leaf lies under, with all leaves to come empty.
func (f *Frontier) partials() *[depth + 1]fr.Element {
	var p [depth + 1]fr.Element
	bare := true // nothing below this node yet
	for l := range depth {
		d := f.digit(l)
		if bare = bare && d == 0; bare {
			p[l+1] = empties[l+1]
			continue
		}
		c := [3]fr.Element{empties[l], empties[l], empties[l]}
		copy(c[:], f.nodes[l][:d])
		c[d] = p[l]
		p[l+1] = zk.Hash3(c[0], c[1], c[2])
	}
	return &p
}

const frontierVersion = 1

// Marshal encodes the tree: version 1, size (4 bytes big endian), then from the leaves upwards the complete nodes, or the root
// alone when full (Z4.6).
func (f *Frontier) Marshal() []byte {
	out := binary.BigEndian.AppendUint32([]byte{frontierVersion}, f.size)
	if f.Full() {
		b := f.last.Bytes()
		return append(out, b[:]...)
	}
	for l := range depth {
		for i := range f.digit(l) {
			b := f.nodes[l][i].Bytes()
			out = append(out, b[:]...)
		}
	}
	return out
}

// UnmarshalFrontier decodes what Marshal wrote and nothing else: ErrMalformed for a wrong length, version or element.
func UnmarshalFrontier(b []byte) (*Frontier, error) {
	if len(b) < 5 || b[0] != frontierVersion {
		return nil, fmt.Errorf("%w: frontier header", ErrMalformed)
	}
	f := &Frontier{size: binary.BigEndian.Uint32(b[1:])}
	if f.size > zk.NoteCapacity {
		return nil, fmt.Errorf("%w: %d leaves", ErrMalformed, f.size)
	}
	r := elements{rest: b[5:]}
	if f.Full() {
		f.last = r.next()
	} else {
		for l := range depth {
			for i := range f.digit(l) {
				f.nodes[l][i] = r.next()
			}
		}
	}
	return f, r.end()
}

// elements reads canonical field elements and remembers the first failure.
type elements struct {
	rest []byte
	err  error
}

func (r *elements) next() (e fr.Element) {
	if r.err != nil {
		return e
	}
	if len(r.rest) < 32 {
		r.err = fmt.Errorf("%w: too short", ErrMalformed)
		return e
	}
	if e, r.err = zk.ParseElement(r.rest[:32]); r.err != nil {
		r.err = fmt.Errorf("%w: %w", ErrMalformed, r.err)
	}
	r.rest = r.rest[32:]
	return e
}

func (r *elements) end() error {
	if r.err == nil && len(r.rest) > 0 {
		r.err = fmt.Errorf("%w: %d bytes too many", ErrMalformed, len(r.rest))
	}
	return r.err
}
