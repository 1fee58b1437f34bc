package node

import (
	"context"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Role is what a node of a ledger does.
type Role struct {
	// Name is the node's own.
	Name string
	// Leads: the node sequences.
	Leads bool
	// Leader names the node that holds the lease, empty when none does; URL is where it answers, and Epoch its fencing epoch.
	Leader, URL string
	Epoch       uint64
}

// Role tells what the node does at this moment, and who sequences as far as it knows.
func (m *Member) Role() Role {
	n := m.node.Load()
	r := Role{Name: m.cfg.Name, Leads: n.seq != nil}
	if lease := m.seen(); lease.Holder != "" {
		r.Leader, r.URL, r.Epoch = lease.Node(), lease.URL, lease.Epoch
	}
	if r.Leads { // the lease says so a moment later
		r.Epoch = n.seq.Epoch()
	}
	return r
}

// What is read is answered by the node of the current role. Counters of Status begin with it.

// Genesis is as Node.Genesis.
func (m *Member) Genesis() *entry.Genesis { return m.node.Load().Genesis() }

// Status is as Node.Status.
func (m *Member) Status() Status { return m.node.Load().Status() }

// WaitBlock is as Node.WaitBlock.
func (m *Member) WaitBlock(ctx context.Context, height uint64) error {
	return m.through(ctx, func(n *Node) error { return n.WaitBlock(ctx, height) })
}

// Block is as Node.Block.
func (m *Member) Block(ctx context.Context, height uint64) (*settlement.Block, error) {
	return m.node.Load().Block(ctx, height)
}

// Entry is as Node.Entry.
func (m *Member) Entry(ctx context.Context, index uint64) ([]byte, uint64, error) {
	return m.node.Load().Entry(ctx, index)
}

// Tile is as Node.Tile.
func (m *Member) Tile(ctx context.Context, level uint8, index uint64) ([]byte, error) {
	return m.node.Load().Tile(ctx, level, index)
}

// Spent is as Node.Spent. It asks the store, so that it sees what any node has settled.
func (m *Member) Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	return m.node.Load().Spent(ctx, nullifiers)
}

// Checkpoint is as Node.Checkpoint.
func (m *Member) Checkpoint(ctx context.Context) (uint64, []byte, error) {
	return m.node.Load().Checkpoint(ctx)
}

// WaitCheckpoint is as Node.WaitCheckpoint. A node that follows sees the checkpoints that are saved, at most twenty a second.
func (m *Member) WaitCheckpoint(ctx context.Context, size uint64, enough func(cosigners []string) bool) (got uint64, note []byte, err error) {
	err = m.through(ctx, func(n *Node) (err error) {
		got, note, err = n.WaitCheckpoint(ctx, size, enough)
		return err
	})
	return got, note, err
}

// Inclusion is as Node.Inclusion.
func (m *Member) Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error) {
	return m.node.Load().Inclusion(ctx, index, size)
}

// Consistency is as Node.Consistency.
func (m *Member) Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error) {
	return m.node.Load().Consistency(ctx, older, newer)
}

// Holds is as Node.Holds.
func (m *Member) Holds() []settlement.Hold { return m.node.Load().Holds() }

// HoldsAfter is as Node.HoldsAfter.
func (m *Member) HoldsAfter(after entry.HoldID, limit int) ([]settlement.Hold, bool, uint64) {
	return m.node.Load().HoldsAfter(after, limit)
}

// Hold is as Node.Hold.
func (m *Member) Hold(id entry.HoldID) (settlement.Hold, bool) { return m.node.Load().Hold(id) }

// Corridors is as Node.Corridors.
func (m *Member) Corridors() []settlement.Corridor { return m.node.Load().Corridors() }

// LatestCheckpoint is as Node.LatestCheckpoint. Every node signs the heads of the one log that the store keeps.
func (m *Member) LatestCheckpoint(ctx context.Context) ([]byte, error) {
	return m.node.Load().LatestCheckpoint(ctx)
}

// Receipt is as Node.Receipt.
func (m *Member) Receipt(ctx context.Context, index uint64) (receipt []byte, err error) {
	err = m.through(ctx, func(n *Node) (err error) {
		receipt, err = n.Receipt(ctx, index)
		return err
	})
	return receipt, err
}

// IndexOf is as Node.IndexOf.
func (m *Member) IndexOf(ctx context.Context, id entry.ID) (uint64, error) {
	return m.node.Load().IndexOf(ctx, id)
}
