package tree

import (
	"fmt"
	"maps"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Sparse is a tree of a fixed depth whose leaves change: the registry and the readers' tree. It keeps the nodes that are not empty.
// Reading does not write, so that readers may share it.
type Sparse struct {
	depth int
	nodes []map[uint32]fr.Element // by level, leaves first
}

// NewSparse returns an empty tree with 3^levels leaves, levels from 1 to zk.NoteDepth.
func NewSparse(levels int) *Sparse {
	if levels < 1 || levels > depth {
		panic("tree: depth out of range")
	}
	s := &Sparse{depth: levels, nodes: make([]map[uint32]fr.Element, levels+1)}
	for l := range s.nodes {
		s.nodes[l] = map[uint32]fr.Element{}
	}
	return s
}

// Clone copies the tree.
func (s *Sparse) Clone() *Sparse {
	c := &Sparse{depth: s.depth, nodes: make([]map[uint32]fr.Element, len(s.nodes))}
	for l := range s.nodes {
		c.nodes[l] = maps.Clone(s.nodes[l])
	}
	return c
}

// Capacity is the number of leaves, 3^depth.
func (s *Sparse) Capacity() uint32 { return pow3[s.depth] }

// Len is the number of leaves that are not empty.
func (s *Sparse) Len() int { return len(s.nodes[0]) }

func (s *Sparse) node(level int, index uint32) fr.Element {
	if e, ok := s.nodes[level][index]; ok {
		return e
	}
	return empties[level]
}

func (s *Sparse) put(level int, index uint32, e fr.Element) {
	if e == empties[level] {
		delete(s.nodes[level], index)
		return
	}
	s.nodes[level][index] = e
}

// Leaf returns a leaf, zero where nothing was set.
func (s *Sparse) Leaf(index uint32) Leaf { return s.node(0, index) }

// Set changes a leaf; the zero leaf empties it. It costs one hash per level. ErrIndex outside the tree.
func (s *Sparse) Set(index uint32, leaf Leaf) error {
	if index >= s.Capacity() {
		return fmt.Errorf("%w: leaf %d of a tree with %d", ErrIndex, index, s.Capacity())
	}
	s.put(0, index, leaf)
	for l := range s.depth {
		index /= 3
		s.put(l+1, index, zk.Hash3(s.node(l, 3*index), s.node(l, 3*index+1), s.node(l, 3*index+2)))
	}
	return nil
}

// Root is the root of the tree.
func (s *Sparse) Root() zk.Root { return zk.RootFromElement(s.node(s.depth, 0)) }

// Path leads from a leaf, empty or not, to the root.
func (s *Sparse) Path(index uint32) (Path, error) {
	if index >= s.Capacity() {
		return Path{}, fmt.Errorf("%w: %d", ErrIndex, index)
	}
	p := Path{Digits: make([]uint8, s.depth), Siblings: make([][2]fr.Element, s.depth)}
	for l := range s.depth {
		own := index % 3
		p.Digits[l] = uint8(own)
		k := 0
		for d := range uint32(3) {
			if d != own {
				p.Siblings[l][k] = s.node(l, index-own+d)
				k++
			}
		}
		index /= 3
	}
	return p, nil
}
