// Package tree holds the ternary hash trees of a ledger: the append-only note tree as a node keeps it (Frontier) and as a wallet
// keeps it (Marked), and the small trees whose leaves change (Sparse).
//
// A node is zk.Hash3 of its three children, an empty leaf is zero, and every depth is fixed: rules Z4.1 to Z4.6 in zk/SPEC.md. The
// package is pure and its types are not safe for concurrent writing; readers may share them.
package tree

import (
	"errors"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Leaf is a leaf or node: a field element. The alias lets packages hold trees without importing field arithmetic.
type Leaf = fr.Element

// Path is zk.Path.
type Path = zk.Path

// Why a tree refuses what it is asked for.
var (
	ErrFull      = errors.New("tree is full")
	ErrUnaligned = errors.New("subtree does not begin at a multiple of its size")
	ErrIndex     = errors.New("no such leaf or level")
	ErrMarked    = errors.New("a subtree with a marked leaf needs all its leaves")
	ErrMalformed = errors.New("not the canonical encoding of a tree")
)

const depth = zk.NoteDepth

// empties[l] is the root of an empty subtree of level l; pow3[l] = 3^l is the number of its leaves.
var (
	empties [depth + 1]fr.Element
	pow3    [depth + 1]uint32
)

func init() {
	pow3[0] = 1
	for l := range depth {
		pow3[l+1] = 3 * pow3[l]
		empties[l+1] = zk.Hash3(empties[l], empties[l], empties[l])
	}
}

// Empty is the root of an empty subtree with 3^level leaves, level at most zk.NoteDepth (Z4.2).
func Empty(level int) Leaf { return empties[level] }

// SubtreeRoot hashes up to 3^level leaves, padded with empty ones (Z4.3). It allocates one slice a third as long as the leaves.
// More leaves than fit panic. Callers hash large runs of leaves in parallel by calling it for parts.
func SubtreeRoot(leaves []Leaf, level int) Leaf {
	if level < 0 || level > depth || uint64(len(leaves)) > uint64(pow3[level]) {
		panic("tree: more leaves than the subtree holds")
	}
	if len(leaves) == 0 {
		return empties[level]
	}
	if level == 0 {
		return leaves[0]
	}
	row := make([]fr.Element, (len(leaves)+2)/3)
	rise(row, leaves, 0)
	for l := 1; l < level; l++ {
		n := (len(row) + 2) / 3
		rise(row[:n], row, l)
		row = row[:n]
	}
	return row[0]
}

// rise hashes the nodes of a level into their parents. up may be the start of nodes: parent i is written after its children were
// read.
func rise(up, nodes []fr.Element, level int) {
	for i := range up {
		c := [3]fr.Element{empties[level], empties[level], empties[level]}
		copy(c[:], nodes[3*i:min(3*i+3, len(nodes))])
		up[i] = zk.Hash3(c[0], c[1], c[2])
	}
}
