package tree

import (
	"fmt"
	"maps"

	"github.com/comity-ledger/comity/zk"
)

// Sparse is a tree of fixed depth whose leaves are set by index: the registry and the readers' tree. It keeps every node that is
// not empty. Not safe for concurrent use.
type Sparse struct {
	levels []map[uint64]Leaf // levels[0] are the leaves, levels[depth] holds the root
}

// NewSparse returns an empty tree of 3^depth leaves; depth is 1 to zk.NoteDepth.
func NewSparse(depth int) *Sparse {
	if depth < 1 || depth > zk.NoteDepth {
		panic("tree: depth out of range")
	}
	s := &Sparse{levels: make([]map[uint64]Leaf, depth+1)}
	for l := range s.levels {
		s.levels[l] = map[uint64]Leaf{}
	}
	return s
}

// Clone returns an independent copy.
func (s *Sparse) Clone() *Sparse {
	c := &Sparse{levels: make([]map[uint64]Leaf, len(s.levels))}
	for l := range s.levels {
		c.levels[l] = maps.Clone(s.levels[l])
	}
	return c
}

// Len is the number of leaves that are not empty.
func (s *Sparse) Len() int { return len(s.levels[0]) }

// Capacity is the number of leaves that fit.
func (s *Sparse) Capacity() uint64 { return pow3[len(s.levels)-1] }

func (s *Sparse) node(l int, i uint64) Leaf {
	if n, ok := s.levels[l][i]; ok {
		return n
	}
	return empties[l]
}

// Set writes a leaf: depth hashes. ErrIndex outside the tree.
func (s *Sparse) Set(index uint64, leaf Leaf) error {
	if index >= s.Capacity() {
		return fmt.Errorf("%w: %d", ErrIndex, index)
	}
	for l := range s.levels {
		if leaf == empties[l] {
			delete(s.levels[l], index)
		} else {
			s.levels[l][index] = leaf
		}
		if l+1 == len(s.levels) {
			break
		}
		index /= 3
		leaf = zk.Hash3(s.node(l, 3*index), s.node(l, 3*index+1), s.node(l, 3*index+2))
	}
	return nil
}

// Path returns the path of a leaf, set or empty. ErrIndex outside the tree.
func (s *Sparse) Path(index uint64) (zk.Path, error) {
	if index >= s.Capacity() {
		return zk.Path{}, fmt.Errorf("%w: %d", ErrIndex, index)
	}
	depth := len(s.levels) - 1
	p := zk.EmptyPath(depth)
	for l := range depth {
		p.Digits[l] = uint8(index % 3)
		n := 0
		for j := range uint64(3) {
			if j != index%3 {
				p.Siblings[l][n] = s.node(l, index/3*3+j)
				n++
			}
		}
		index /= 3
	}
	return p, nil
}

// Root returns the root.
func (s *Sparse) Root() zk.Root {
	return zk.RootFromElement(s.node(len(s.levels)-1, 0))
}
