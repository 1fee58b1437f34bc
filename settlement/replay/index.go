package replay

import (
	"context"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// Index remembers what a replay has passed: which once-only keys, nullifiers
// above all, are used up, and the anchors of blocks.
type Index interface {
	// Add takes in a block that was rechecked.
	Add(block *settlement.Block) error
	// Spent looks nullifiers up; the answer is parallel. Heights need not be
	// filled in.
	Spent(nullifiers []zk.Nullifier) ([]settlement.Hit, error)
	// Anchor returns the roots after a block, or settlement.ErrNotFound.
	Anchor(height uint64) (settlement.Anchor, error)
}

// Memory is an Index in memory: about 60 bytes a nullifier and 130 a block.
type Memory struct {
	spent   map[zk.Nullifier]uint64
	anchors []settlement.Anchor
}

// NewMemory makes an empty one.
func NewMemory() *Memory { return &Memory{spent: make(map[zk.Nullifier]uint64)} }

// Add takes in a block.
func (m *Memory) Add(block *settlement.Block) error {
	for _, n := range block.Nullifiers {
		m.spent[n.Nullifier] = n.EntryIndex
	}
	m.anchors = append(m.anchors, block.Anchor)
	return nil
}

// Spent looks nullifiers up.
func (m *Memory) Spent(nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	hits := make([]settlement.Hit, len(nullifiers))
	for i, nf := range nullifiers {
		hits[i].EntryIndex, hits[i].Found = m.spent[nf]
	}
	return hits, nil
}

// Anchor looks a block up.
func (m *Memory) Anchor(height uint64) (settlement.Anchor, error) {
	if height >= uint64(len(m.anchors)) {
		return settlement.Anchor{}, settlement.ErrNotFound
	}
	return m.anchors[height], nil
}

// Stored is an Index over a store that holds the log already: a node's start
// keeps nothing in memory. It trusts the store's own rows, so it is for
// catching up and not for an audit.
type Stored struct {
	ctx   context.Context
	store settlement.Store
}

// NewStored makes one; ctx bounds every look-up.
func NewStored(ctx context.Context, store settlement.Store) *Stored { return &Stored{ctx, store} }

// Add does nothing: the store holds the block.
func (s *Stored) Add(*settlement.Block) error { return nil }

// Spent asks the store.
func (s *Stored) Spent(nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	return s.store.Spent(s.ctx, nullifiers)
}

// Anchor asks the store.
func (s *Stored) Anchor(height uint64) (settlement.Anchor, error) {
	return s.store.Anchor(s.ctx, height)
}
