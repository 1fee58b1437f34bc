package settlement

import (
	"math/bits"

	"github.com/comity-ledger/comity/settlement/proof"
)

// logRange is the right edge of the RFC 6962 log: the roots of its perfect
// subtrees, left to right (a compact range). Appending a leaf and taking the
// root need nothing else. It never changes once made.
type logRange struct {
	size  uint64
	nodes [][32]byte
}

// with returns the range with more leaves appended.
func (l logRange) with(leaves ...[]byte) logRange {
	nodes := append(make([][32]byte, 0, len(l.nodes)+bits.Len(uint(len(leaves)))+1), l.nodes...)
	for _, leaf := range leaves {
		h := proof.LeafHash(leaf)
		// Every trailing one bit of the size is a perfect subtree that the new
		// leaf completes into one twice as large.
		for s := l.size; s&1 == 1; s >>= 1 {
			last := len(nodes) - 1
			h = proof.NodeHash(nodes[last], h)
			nodes = nodes[:last]
		}
		nodes = append(nodes, h)
		l.size++
	}
	l.nodes = nodes
	return l
}

// root folds the subtrees from the right (RFC 6962 section 2.1).
func (l logRange) root() [32]byte {
	if len(l.nodes) == 0 {
		return proof.EmptyRoot()
	}
	h := l.nodes[len(l.nodes)-1]
	for i := len(l.nodes) - 2; i >= 0; i-- {
		h = proof.NodeHash(l.nodes[i], h)
	}
	return h
}
