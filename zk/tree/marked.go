package tree

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/comity-ledger/comity/zk"
)

// Marked is a Frontier that keeps the paths of some leaves, the wallet's own notes, while others are appended. A leaf is marked
// before it is appended. Not safe for concurrent use.
type Marked struct {
	f     Frontier
	marks map[uint64]*mark
	// waiting finds, for a node that becomes complete, the marks that have a sibling under the same parent: key(level, parent).
	waiting map[[2]uint64][]*mark
}

type mark struct {
	index    uint64
	leaf     Leaf
	siblings [zk.NoteDepth][3]Leaf
	known    [zk.NoteDepth][3]bool // complete nodes only
}

// NewMarked returns an empty tree without marks.
func NewMarked() *Marked {
	return &Marked{marks: map[uint64]*mark{}, waiting: map[[2]uint64][]*mark{}}
}

// Clone returns an independent copy.
func (m *Marked) Clone() *Marked {
	c := NewMarked()
	c.f = m.f
	for i, k := range m.marks {
		copied := *k
		c.marks[i] = &copied
		c.wait(&copied)
	}
	return c
}

// Size is the number of leaves, padding included.
func (m *Marked) Size() uint32 { return m.f.Size() }

// Full reports whether no leaf can be appended any more.
func (m *Marked) Full() bool { return m.f.Full() }

// Root returns the root of the tree as it stands.
func (m *Marked) Root() zk.Root { return m.f.Root() }

// Marks lists the marked leaves in ascending order.
func (m *Marked) Marks() []uint32 {
	out := make([]uint32, 0, len(m.marks))
	for _, i := range slices.Sorted(maps.Keys(m.marks)) {
		out = append(out, uint32(i))
	}
	return out
}

// Mark asks for the path of the leaf that will stand at index. It must not have been appended yet (ErrIndex).
func (m *Marked) Mark(index uint32) error {
	i := uint64(index)
	if i < m.f.size || i >= pow3[zk.NoteDepth] {
		return fmt.Errorf("%w: leaf %d of a tree of %d cannot be marked", ErrIndex, i, m.f.size)
	}
	if m.marks[i] != nil {
		return nil
	}
	k := &mark{index: i}
	for l := range zk.NoteDepth {
		if m.f.size/pow3[l+1] != i/pow3[l+1] {
			continue
		}
		for d := range m.f.digit(l) {
			k.siblings[l][d], k.known[l][d] = m.f.left[l][d], true
		}
	}
	m.marks[i] = k
	m.wait(k)
	return nil
}

func (m *Marked) wait(k *mark) {
	for l := range zk.NoteDepth {
		at := [2]uint64{uint64(l), k.index / pow3[l+1]}
		m.waiting[at] = append(m.waiting[at], k)
	}
}

// Forget drops a mark. A leaf that is not marked is no error.
func (m *Marked) Forget(index uint32) {
	k := m.marks[uint64(index)]
	if k == nil {
		return
	}
	delete(m.marks, k.index)
	for l := range zk.NoteDepth {
		at := [2]uint64{uint64(l), k.index / pow3[l+1]}
		rest := slices.DeleteFunc(m.waiting[at], func(o *mark) bool { return o == k })
		if len(rest) == 0 {
			delete(m.waiting, at)
		} else {
			m.waiting[at] = rest
		}
	}
}

func (m *Marked) seen(level int, number uint64, node *Leaf) {
	if level == 0 {
		if k := m.marks[number]; k != nil {
			k.leaf = *node
		}
	}
	if level == zk.NoteDepth {
		return
	}
	for _, k := range m.waiting[[2]uint64{uint64(level), number / 3}] {
		k.siblings[level][number%3], k.known[level][number%3] = *node, true
	}
}

// Append adds one leaf.
func (m *Marked) Append(leaf Leaf) error { return m.f.push(leaf, 0, m.seen) }

// Align skips to the next multiple of 3^level with empty leaves.
func (m *Marked) Align(level int) error { return m.f.align(level, m.seen) }

// AppendSubtree adds 3^level leaves by their root alone. ErrMarked when a marked leaf is among them: then the leaves are needed.
func (m *Marked) AppendSubtree(root Leaf, level int) error {
	if level >= 0 && level < zk.NoteDepth {
		for i := range m.marks {
			if i >= m.f.size && i < m.f.size+pow3[level] {
				return fmt.Errorf("%w: leaf %d", ErrMarked, i)
			}
		}
	}
	return m.f.push(root, level, m.seen)
}

// AppendLeaves adds an aligned subtree of 3^level leaves, of which the first are given and the others are empty.
func (m *Marked) AppendLeaves(leaves []Leaf, level int) error {
	if level < 0 || level >= zk.NoteDepth || uint64(len(leaves)) > pow3[level] {
		return fmt.Errorf("%w: %d leaves at level %d", ErrIndex, len(leaves), level)
	}
	if m.f.size%pow3[level] != 0 {
		return fmt.Errorf("%w: size %d, level %d", ErrUnaligned, m.f.size, level)
	}
	if m.f.size+pow3[level] > pow3[zk.NoteDepth] {
		return ErrFull
	}
	for _, leaf := range leaves {
		if err := m.Append(leaf); err != nil {
			return err
		}
	}
	if len(leaves) == 0 {
		return m.f.push(empties[level], level, m.seen)
	}
	return m.Align(level)
}

// Path returns the leaf at a marked index and its path to Root as the tree stands now.
func (m *Marked) Path(index uint32) (Leaf, zk.Path, error) {
	k := m.marks[uint64(index)]
	if k == nil || k.index >= m.f.size {
		return Leaf{}, zk.Path{}, fmt.Errorf("%w: leaf %d is not marked", ErrIndex, index)
	}
	p := zk.EmptyPath(zk.NoteDepth)
	for l := range zk.NoteDepth {
		own := k.index / pow3[l] % 3
		p.Digits[l] = uint8(own)
		n := 0
		for d := range uint64(3) {
			if d == own {
				continue
			}
			switch number := k.index/pow3[l+1]*3 + d; {
			case k.known[l][d]:
				p.Siblings[l][n] = k.siblings[l][d]
			case number == m.f.size/pow3[l]:
				p.Siblings[l][n] = m.f.edge(l)
			default:
				p.Siblings[l][n] = empties[l]
			}
			n++
		}
	}
	return k.leaf, p, nil
}

const markedVersion = 2

// Marshal encodes the tree and its marks, in ascending order: one encoding per tree.
func (m *Marked) Marshal() []byte {
	out := append([]byte{markedVersion}, m.f.Marshal()...)
	out = binary.BigEndian.AppendUint32(out, uint32(len(m.marks)))
	for _, i := range slices.Sorted(maps.Keys(m.marks)) {
		k := m.marks[i]
		out = binary.BigEndian.AppendUint64(out, i)
		b := k.leaf.Bytes()
		out = append(out, b[:]...)
		for l := range zk.NoteDepth {
			var known byte
			for d := range 3 {
				if k.known[l][d] {
					known |= 1 << d
				}
			}
			out = append(out, known)
			for d := range 3 {
				if k.known[l][d] {
					b := k.siblings[l][d].Bytes()
					out = append(out, b[:]...)
				}
			}
		}
	}
	return out
}

// UnmarshalMarked reads what Marshal wrote. ErrMalformed for anything else.
func UnmarshalMarked(b []byte) (*Marked, error) {
	if len(b) < 1 || b[0] != markedVersion {
		return nil, fmt.Errorf("%w: header", ErrMalformed)
	}
	f, b, err := readFrontier(b[1:])
	if err != nil {
		return nil, err
	}
	m := NewMarked()
	m.f = *f
	if len(b) < 4 {
		return nil, fmt.Errorf("%w: truncated", ErrMalformed)
	}
	n := binary.BigEndian.Uint32(b)
	b = b[4:]
	last := int64(-1)
	for range n {
		if len(b) < 8 {
			return nil, fmt.Errorf("%w: truncated", ErrMalformed)
		}
		k := &mark{index: binary.BigEndian.Uint64(b)}
		b = b[8:]
		if k.index >= pow3[zk.NoteDepth] || int64(k.index) <= last {
			return nil, fmt.Errorf("%w: mark %d", ErrMalformed, k.index)
		}
		last = int64(k.index)
		if err := readLeaf(&k.leaf, &b); err != nil {
			return nil, err
		}
		for l := range zk.NoteDepth {
			if len(b) < 1 || b[0] > 7 {
				return nil, fmt.Errorf("%w: siblings", ErrMalformed)
			}
			known := b[0]
			b = b[1:]
			for d := range 3 {
				if known&(1<<d) == 0 {
					continue
				}
				if err := readLeaf(&k.siblings[l][d], &b); err != nil {
					return nil, err
				}
				k.known[l][d] = true
			}
		}
		m.marks[k.index] = k
		m.wait(k)
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d trailing bytes", ErrMalformed, len(b))
	}
	return m, nil
}
