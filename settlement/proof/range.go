package proof

import "math/bits"

// A Range is the right edge of a log: the roots of its perfect subtrees from left to right (a compact range of RFC 6962). Appending a leaf
// and taking the root need nothing else, so whoever follows a log knows its root at every size it passes.
type Range struct {
	Size  uint64 // leaves
	Nodes []Hash // one for each bit that is set in Size
}

// Append adds a leaf by its hash. Every trailing one bit of the size is a perfect subtree that the leaf completes into one twice as large.
func (r *Range) Append(leaf Hash) {
	for s := r.Size; s&1 == 1; s >>= 1 {
		last := len(r.Nodes) - 1
		leaf = NodeHash(r.Nodes[last], leaf)
		r.Nodes = r.Nodes[:last]
	}
	r.Nodes = append(r.Nodes, leaf)
	r.Size++
}

// With returns a range of its own with more entries appended; r does not change.
func (r Range) With(entries ...[]byte) Range {
	r.Nodes = append(make([]Hash, 0, len(r.Nodes)+bits.Len(uint(len(entries)))+1), r.Nodes...)
	for _, e := range entries {
		r.Append(LeafHash(e))
	}
	return r
}

// Root folds the subtrees from the right (RFC 6962 section 2.1).
func (r *Range) Root() Hash {
	if len(r.Nodes) == 0 {
		return EmptyRoot()
	}
	h := r.Nodes[len(r.Nodes)-1]
	for i := len(r.Nodes) - 2; i >= 0; i-- {
		h = NodeHash(r.Nodes[i], h)
	}
	return h
}
