package zk

import "github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

// Path leads from a leaf of a ternary tree to its root. Digits[l] is the child number (0, 1, 2) at level l, counted from the
// leaf; Siblings[l] are the other two children from left to right.
type Path struct {
	Digits   []uint8
	Siblings [][2]fr.Element
}

// Root hashes upwards from the leaf. A path with digits above 2 or of uneven length panics: paths are made by zk/tree.
func (p Path) Root(leaf fr.Element) fr.Element {
	if len(p.Digits) != len(p.Siblings) {
		panic("zk: path with uneven digits and siblings")
	}
	for l, d := range p.Digits {
		s := &p.Siblings[l]
		switch d {
		case 0:
			leaf = Hash3(leaf, s[0], s[1])
		case 1:
			leaf = Hash3(s[0], leaf, s[1])
		case 2:
			leaf = Hash3(s[0], s[1], leaf)
		default:
			panic("zk: path digit above 2")
		}
	}
	return leaf
}

// Index is the number of the leaf that the digits spell.
func (p Path) Index() uint32 {
	var n uint32
	for l := len(p.Digits) - 1; l >= 0; l-- {
		n = 3*n + uint32(p.Digits[l])
	}
	return n
}

// EmptyPath is the path of leaf 0 in a tree whose every node is zero: what a dummy input or an unused right carries, with
// membership switched off.
func EmptyPath(depth int) Path {
	return Path{Digits: make([]uint8, depth), Siblings: make([][2]fr.Element, depth)}
}
