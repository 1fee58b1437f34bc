package tree

import (
	"encoding/binary"
	"fmt"
	"maps"
	"slices"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Marked is a note tree that keeps, besides the frontier, what the paths of marked leaves need: a wallet marks the leaves that are
// its notes. A leaf is marked before it is appended. Memory grows with the marked leaves alone: shared ancestors are kept once.
type Marked struct {
	frontier Frontier
	marks    map[uint32]struct{}
	// families holds for every ancestor of a marked leaf that is not to come its children, as far as they are complete.
	families map[family]*[3]fr.Element
	// members counts the marked leaves, appended ones alone, under each family, so that Forget knows what to drop.
	members map[family]int
	partial *[depth + 1]fr.Element // of the frontier as it is; nil when not computed
}

// family names the parent of three nodes of a level.
type family struct {
	level  uint8
	parent uint32
}

func familyOf(level int, index uint32) family {
	return family{uint8(level), index / pow3[level+1]}
}

// NewMarked returns an empty tree without marks.
func NewMarked() *Marked {
	return &Marked{marks: map[uint32]struct{}{}, families: map[family]*[3]fr.Element{}, members: map[family]int{}}
}

// Clone copies the tree.
func (m *Marked) Clone() *Marked {
	c := &Marked{frontier: m.frontier, marks: maps.Clone(m.marks), members: maps.Clone(m.members), families: make(map[family]*[3]fr.Element, len(m.families))}
	for k, v := range m.families {
		children := *v
		c.families[k] = &children
	}
	return c
}

// Size is the number of leaves.
func (m *Marked) Size() uint32 { return m.frontier.size }

// Full reports whether every leaf is taken.
func (m *Marked) Full() bool { return m.frontier.Full() }

// Root is that of the tree as it is.
func (m *Marked) Root() zk.Root {
	if m.Full() {
		return m.frontier.Root()
	}
	return zk.RootFromElement(m.partials()[depth])
}

// Frontier copies the frontier.
func (m *Marked) Frontier() *Frontier { return m.frontier.Clone() }

// Mark asks for the path of a leaf that is still to be appended: for one that was, and is not marked, it returns ErrIndex.
func (m *Marked) Mark(index uint32) error {
	if _, ok := m.marks[index]; ok {
		return nil
	}
	if index >= zk.NoteCapacity || index < m.frontier.size {
		return fmt.Errorf("%w: leaf %d of a tree of %d cannot be marked", ErrIndex, index, m.frontier.size)
	}
	m.marks[index] = struct{}{}
	return nil
}

// Marks lists the marked leaves in order, those to come included.
func (m *Marked) Marks() []uint32 { return slices.Sorted(maps.Keys(m.marks)) }

// Append adds a leaf.
func (m *Marked) Append(leaf Leaf) error {
	if m.Full() {
		return ErrFull
	}
	m.enter(m.frontier.size)
	return m.add(leaf, 0)
}

// AppendSubtree adds a whole subtree by its root. One of its leaves being marked is ErrMarked: use AppendLeaves.
func (m *Marked) AppendSubtree(root Leaf, level int) error {
	if level >= 0 && level < depth && m.marksBelow(level) {
		return ErrMarked
	}
	return m.add(root, level)
}

// AppendLeaves adds a subtree by its leaves, the missing ones empty.
func (m *Marked) AppendLeaves(leaves []Leaf, level int) error {
	switch {
	case level < 0 || level >= depth || uint64(len(leaves)) > uint64(pow3[level]):
		return fmt.Errorf("%w: %d leaves at level %d", ErrIndex, len(leaves), level)
	case m.Full():
		return ErrFull
	case m.frontier.size%pow3[level] != 0:
		return fmt.Errorf("%w: size %d, level %d", ErrUnaligned, m.frontier.size, level)
	}
	if !m.marksBelow(level) {
		return m.add(SubtreeRoot(leaves, level), level)
	}
	end := m.frontier.size + pow3[level]
	for _, leaf := range leaves {
		if err := m.Append(leaf); err != nil {
			return err
		}
	}
	for m.frontier.size != end { // marks on padding need every leaf; nobody has one there
		if err := m.Append(fr.Element{}); err != nil {
			return err
		}
	}
	return nil
}

// Align skips to the next multiple of 3^level with empty leaves. A marked one among them keeps its mark.
func (m *Marked) Align(level int) error {
	if level < 0 || level >= depth {
		return fmt.Errorf("%w: %d", ErrIndex, level)
	}
	if m.marked(uint64(m.frontier.size), (uint64(m.frontier.size)+uint64(pow3[level])-1)/uint64(pow3[level])*uint64(pow3[level])) {
		for m.frontier.size%pow3[level] != 0 {
			if err := m.Append(fr.Element{}); err != nil {
				return err
			}
		}
		return nil
	}
	m.partial = nil
	return m.frontier.align(level, m.completed)
}

// marksBelow reports whether a leaf of the subtree that would be appended next is marked.
func (m *Marked) marksBelow(level int) bool {
	return m.marked(uint64(m.frontier.size), uint64(m.frontier.size)+uint64(pow3[level]))
}

// marked reports whether a leaf from one index up to another is marked.
func (m *Marked) marked(from, to uint64) bool {
	if to-from < uint64(len(m.marks)) {
		for i := from; i < to; i++ {
			if _, ok := m.marks[uint32(i)]; ok {
				return true
			}
		}
		return false
	}
	for i := range m.marks {
		if uint64(i) >= from && uint64(i) < to {
			return true
		}
	}
	return false
}

// enter starts the families of a marked leaf that is about to be appended: what is complete to its left is in the frontier now.
func (m *Marked) enter(index uint32) {
	if _, ok := m.marks[index]; !ok {
		return
	}
	for l := range depth {
		k := familyOf(l, index)
		m.members[k]++
		if m.families[k] == nil {
			children := &[3]fr.Element{}
			copy(children[:], m.frontier.nodes[l][:m.frontier.digit(l)])
			m.families[k] = children
		}
	}
}

func (m *Marked) add(node fr.Element, level int) error {
	m.partial = nil
	return m.frontier.add(node, level, m.completed)
}

// completed files a complete node where a path may need it.
func (m *Marked) completed(level int, index uint32, node fr.Element) {
	if level == depth {
		return
	}
	if children := m.families[family{uint8(level), index / 3}]; children != nil {
		children[index%3] = node
	}
}

func (m *Marked) partials() *[depth + 1]fr.Element {
	if m.partial == nil {
		m.partial = m.frontier.partials()
	}
	return m.partial
}

// Path returns a marked leaf and its path to Root as it is now. ErrIndex for one that is not marked or still to come.
func (m *Marked) Path(index uint32) (Leaf, Path, error) {
	if _, ok := m.marks[index]; !ok || index >= m.frontier.size {
		return Leaf{}, Path{}, fmt.Errorf("%w: leaf %d is not marked", ErrIndex, index)
	}
	p := Path{Digits: make([]uint8, depth), Siblings: make([][2]fr.Element, depth)}
	for l := range depth {
		children := m.families[familyOf(l, index)]
		own := index / pow3[l]
		p.Digits[l] = uint8(own % 3)
		k := 0
		for d := range uint32(3) {
			if d == own%3 {
				continue
			}
			p.Siblings[l][k] = m.node(l, own-own%3+d, children, d)
			k++
		}
	}
	return m.families[familyOf(0, index)][index%3], p, nil
}

// node is a node of a family: complete and kept, the one that grows, or empty.
func (m *Marked) node(level int, index uint32, children *[3]fr.Element, d uint32) fr.Element {
	switch done := m.frontier.size / pow3[level]; {
	case index < done:
		return children[d]
	case index == done && m.frontier.size%pow3[level] != 0:
		return m.partials()[level]
	}
	return empties[level]
}

// Forget drops a mark and what only its path needed.
func (m *Marked) Forget(index uint32) {
	if _, ok := m.marks[index]; !ok {
		return
	}
	delete(m.marks, index)
	if index >= m.frontier.size {
		return
	}
	for l := range depth {
		k := familyOf(l, index)
		if m.members[k]--; m.members[k] == 0 {
			delete(m.members, k)
			delete(m.families, k)
		}
	}
}

const markedVersion = 1

// Marshal encodes the tree: version 1, the frontier with its length, the marks in order, and the complete children of every family, by
// level and parent (Z4.6).
func (m *Marked) Marshal() []byte {
	f := m.frontier.Marshal()
	out := binary.BigEndian.AppendUint32([]byte{markedVersion}, uint32(len(f)))
	out = append(out, f...)
	marks := m.Marks()
	out = binary.BigEndian.AppendUint32(out, uint32(len(marks)))
	for _, i := range marks {
		out = binary.BigEndian.AppendUint32(out, i)
	}
	for _, k := range sortedFamilies(m.families) {
		for d := range m.complete(k) {
			b := m.families[k][d].Bytes()
			out = append(out, b[:]...)
		}
	}
	return out
}

// complete is the number of complete children of a family.
func (m *Marked) complete(k family) uint32 {
	done := m.frontier.size / pow3[k.level]
	return min(3, done-3*k.parent)
}

func sortedFamilies(families map[family]*[3]fr.Element) []family {
	return slices.SortedFunc(maps.Keys(families), func(a, b family) int {
		if a.level != b.level {
			return int(a.level) - int(b.level)
		}
		if a.parent < b.parent {
			return -1
		}
		return 1
	})
}

// UnmarshalMarked decodes what Marshal wrote and nothing else. It does not hash: whoever changes the file of a wallet makes paths that
// no proof accepts, so the file's own seal is what protects it.
func UnmarshalMarked(b []byte) (*Marked, error) {
	if len(b) < 5 || b[0] != markedVersion {
		return nil, fmt.Errorf("%w: header", ErrMalformed)
	}
	n := uint64(binary.BigEndian.Uint32(b[1:]))
	b = b[5:]
	if n+4 > uint64(len(b)) {
		return nil, fmt.Errorf("%w: too short", ErrMalformed)
	}
	f, err := UnmarshalFrontier(b[:n])
	if err != nil {
		return nil, err
	}
	m := NewMarked()
	m.frontier = *f
	count := uint64(binary.BigEndian.Uint32(b[n:]))
	b = b[n+4:]
	if 4*count > uint64(len(b)) {
		return nil, fmt.Errorf("%w: too short", ErrMalformed)
	}
	last := int64(-1)
	for range count {
		i := binary.BigEndian.Uint32(b)
		b = b[4:]
		if int64(i) <= last || i >= zk.NoteCapacity {
			return nil, fmt.Errorf("%w: marks out of order", ErrMalformed)
		}
		last = int64(i)
		m.marks[i] = struct{}{}
		if i >= f.size {
			continue
		}
		for l := range depth {
			k := familyOf(l, i)
			if m.families[k] == nil {
				m.families[k] = &[3]fr.Element{}
			}
			m.members[k]++
		}
	}
	r := elements{rest: b}
	for _, k := range sortedFamilies(m.families) {
		for d := range m.complete(k) {
			m.families[k][d] = r.next()
		}
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}
