package node

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// Genesis is the ledger's genesis.
func (n *Node) Genesis() *entry.Genesis { return n.genesis }

// Status is where the ledger stands and what the node has done since it started.
type Status struct {
	State     *entry.State // of the last durable block
	Size      uint64       // log entries, all durable
	FinalSize uint64       // log entries under the newest cosigned checkpoint
	Waiting   uint64       // entries inside the node that are not durable yet
	Witnesses []journal.WitnessStatus
	Uptime    time.Duration

	Proofs, Batches, Blocks, Accepted, Refused uint64
	// Wall time inside each stage since the start. Admitting adds up over the callers, waits for a processor included; Proving is the time of batches, which use
	// several cores; Sequencing hashes trees and the log; Storing is mostly the wait for the disk; Cosigning that for witnesses.
	Admitting, Proving, Sequencing, Storing, Cosigning time.Duration
}

// Status tells how the node is doing.
func (n *Node) Status() Status {
	state := n.state.Load()
	return Status{
		State: state.Entry(), Size: state.LogSize(), FinalSize: n.final.Load(), Waiting: uint64(max(0, n.waiting.Load())), Witnesses: n.journal.Witnesses(),
		Uptime: n.cfg.Now().Sub(n.began), Proofs: n.stages.proofs.Load(), Batches: n.stages.batches.Load(), Blocks: n.stages.blocks.Load(),
		Accepted: n.stages.accepted.Load(), Refused: n.stages.refused.Load(), Admitting: time.Duration(n.stages.admitting.Load()), Proving: time.Duration(n.stages.proving.Load()),
		Sequencing: time.Duration(n.stages.sequencing.Load()), Storing: time.Duration(n.stages.storing.Load()), Cosigning: time.Duration(n.stages.cosigned.Load()),
	}
}

// WaitBlock returns once the block at a height is durable.
func (n *Node) WaitBlock(ctx context.Context, height uint64) error {
	return n.await(ctx, n.durable, func() bool { return n.state.Load().Height() >= height })
}

func (n *Node) await(ctx context.Context, b *bell, holds func() bool) error {
	for {
		rung := b.wait() // before the check, so that no ring is missed
		if holds() {
			return nil
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return ctx.Err()
		case <-n.ctx.Done():
			return ErrStopped
		}
	}
}

// Block returns a durable block, or settlement.ErrNotFound.
func (n *Node) Block(ctx context.Context, height uint64) (*settlement.Block, error) {
	if height > n.state.Load().Height() {
		return nil, settlement.ErrNotFound
	}
	return n.cfg.Store.Block(ctx, height)
}

// Entry returns the leaf at a log index and the height of its block.
func (n *Node) Entry(ctx context.Context, index uint64) ([]byte, uint64, error) {
	return n.cfg.Store.Entry(ctx, index)
}

// Tile returns the hashes of a tile of the log as far as it is filled.
func (n *Node) Tile(ctx context.Context, level uint8, index uint64) ([]byte, error) {
	return n.cfg.Store.Tile(ctx, level, index)
}

// Spent looks nullifiers up among durable entries.
func (n *Node) Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	return n.cfg.Store.Spent(ctx, nullifiers)
}

// Checkpoint is the newest cosigned checkpoint and its size, 0 and nothing before the first.
func (n *Node) Checkpoint(ctx context.Context) (uint64, []byte, error) {
	if c := n.journal.Latest(); c != nil {
		return c.Size, c.Checkpoint, nil
	}
	size, raw, err := n.cfg.Store.Checkpoint(ctx)
	if errors.Is(err, settlement.ErrNotFound) {
		return 0, nil, nil
	}
	return size, raw, err
}

// WaitCheckpoint returns the newest cosigned checkpoint over at least size leaves whose cosigners are enough, and its size, once there is
// one; nil lets any quorum do.
func (n *Node) WaitCheckpoint(ctx context.Context, size uint64, enough func(cosigners []string) bool) (uint64, []byte, error) {
	c, err := n.journal.Wait(ctx, size, enough)
	if errors.Is(err, journal.ErrClosed) {
		return 0, nil, ErrStopped
	}
	if err != nil {
		return 0, nil, err
	}
	return c.Size, c.Checkpoint, nil
}

// Inclusion returns the path from the leaf at index to the root of the log's first size leaves. A size past the last durable block is
// settlement.ErrNotFound.
func (n *Node) Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error) {
	if size > n.state.Load().LogSize() {
		return nil, settlement.ErrNotFound
	}
	return plain(proof.ProveInclusion(size, index, journal.HashReader(ctx, n.cfg.Store)))
}

// Consistency returns the proof that the log's first newer leaves begin with its first older ones. A size past the last durable block is
// settlement.ErrNotFound.
func (n *Node) Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error) {
	if newer > n.state.Load().LogSize() {
		return nil, settlement.ErrNotFound
	}
	return plain(proof.ProveConsistency(older, newer, journal.HashReader(ctx, n.cfg.Store)))
}

// plain takes the name off hashes.
func plain(path []proof.Hash, err error) ([][32]byte, error) {
	if err != nil {
		return nil, err
	}
	out := make([][32]byte, len(path))
	for i, h := range path {
		out[i] = h
	}
	return out, nil
}

// Holds returns all open holds, ascending by id. There may be a million: a caller from outside reads them in pages (HoldsAfter).
func (n *Node) Holds() []settlement.Hold { return n.state.Load().Holds() }

// HoldsAfter returns at most limit open holds with ids past `after`, whether there are more, and the height of the block after which that is so.
func (n *Node) HoldsAfter(after entry.HoldID, limit int) (holds []settlement.Hold, more bool, height uint64) {
	state := n.state.Load()
	holds, more = state.HoldsAfter(after, limit)
	return holds, more, state.Height()
}

// Hold looks an open hold up. One that was decided is found by its key (Spent).
func (n *Node) Hold(id entry.HoldID) (settlement.Hold, bool) { return n.state.Load().Hold(id) }

// Corridors returns what the ledger keeps about its peers, as it stands now.
func (n *Node) Corridors() []settlement.Corridor {
	state := n.state.Load()
	return state.Corridors(state.LedgerTime(n.wall()))
}

// LatestCheckpoint is the last durable head, signed by the log alone.
func (n *Node) LatestCheckpoint(context.Context) ([]byte, error) {
	state := n.state.Load()
	return n.cfg.Signer.Sign(proof.Head{Size: state.LogSize(), Root: state.LogRoot()}), nil
}

// Receipt waits until a cosigned checkpoint covers the entry at index, and returns its receipt. An index beyond the log is
// settlement.ErrNotFound.
func (n *Node) Receipt(ctx context.Context, index uint64) ([]byte, error) {
	ctx, end := n.span(ctx, "ledger.receipt", attribute.Int64("entry.index", int64(index)))
	defer end()
	leaf, _, err := n.cfg.Store.Entry(ctx, index)
	if err != nil {
		return nil, err
	}
	if err := n.await(ctx, n.finality, func() bool { return n.final.Load() > index }); err != nil {
		return nil, err
	}
	size, raw, err := n.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	path, err := proof.ProveInclusion(size, index, journal.HashReader(ctx, n.cfg.Store))
	if err != nil {
		return nil, fmt.Errorf("prove inclusion of entry %d: %w", index, err)
	}
	return (&proof.Receipt{Index: index, Entry: leaf, Path: path, Checkpoint: raw}).Marshal(), nil
}

// IndexOf finds the entry with an id: at once among the last 65,536 and where the id alone gives the key that the entry used up (attest,
// amend, observe, evidence), by reading the log backwards otherwise, one such search at a time. A transaction is found faster by one of its
// nullifiers, a resolve or override entry by the key of its hold (Spent).
func (n *Node) IndexOf(ctx context.Context, id entry.ID) (uint64, error) {
	if index, ok := n.recent.find(id); ok {
		return index, nil
	}
	hits, err := n.cfg.Store.Spent(ctx, []zk.Nullifier{entry.OnceKey(id)})
	if err != nil {
		return 0, err
	}
	if hits[0].Found {
		return hits[0].EntryIndex, nil
	}
	n.recent.searching.Lock()
	defer n.recent.searching.Unlock()
	for height := n.state.Load().Height() + 1; height > 0; height-- {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		block, err := n.cfg.Store.Block(ctx, height-1)
		if err != nil {
			return 0, err
		}
		for i, leaf := range block.Entries {
			if e, err := entry.Decode(leaf); err == nil && e.Head() != nil && entry.IDOf(e) == id {
				return block.FirstIndex + uint64(i), nil
			}
		}
	}
	return 0, settlement.ErrNotFound
}

// recentIDs remembers where the last entries are, for receipts by id.
type recentIDs struct {
	mu    sync.Mutex // guards what follows
	at    map[entry.ID]uint64
	order []entry.ID
	next  int

	searching sync.Mutex // held by the one search through the log
}

const recentKept = 1 << 16

func (r *recentIDs) add(id entry.ID, index uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.at == nil {
		r.at = make(map[entry.ID]uint64)
	}
	if _, known := r.at[id]; known {
		return
	}
	r.at[id] = index
	if len(r.order) < recentKept {
		r.order = append(r.order, id)
		return
	}
	delete(r.at, r.order[r.next])
	r.order[r.next] = id
	r.next = (r.next + 1) % recentKept
}

func (r *recentIDs) find(id entry.ID) (uint64, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	index, ok := r.at[id]
	return index, ok
}

// anchorCache keeps the anchors of the last blocks, which nearly every leg is proven against.
type anchorCache struct {
	store settlement.Store
	mu    sync.RWMutex // guards last
	last  [1024]settlement.Anchor
	held  [1024]bool
}

func (c *anchorCache) add(a settlement.Anchor) {
	c.mu.Lock()
	defer c.mu.Unlock()
	slot := a.Height % uint64(len(c.last))
	c.last[slot], c.held[slot] = a, true
}

// reader looks anchors up for one admission.
func (c *anchorCache) reader(ctx context.Context) *anchorReader {
	return &anchorReader{cache: c, ctx: ctx}
}

// anchorReader keeps apart what does not exist and what could not be read: the first is the client's fault, the second ours.
type anchorReader struct {
	cache *anchorCache
	ctx   context.Context
	err   error
}

func (r *anchorReader) at(height uint64) (settlement.Anchor, bool) {
	c := r.cache
	slot := height % uint64(len(c.last))
	c.mu.RLock()
	a, held := c.last[slot], c.held[slot]
	c.mu.RUnlock()
	if held && a.Height == height {
		return a, true
	}
	a, err := c.store.Anchor(r.ctx, height)
	if err != nil && !errors.Is(err, settlement.ErrNotFound) {
		r.err = err
	}
	return a, err == nil
}

// bell wakes everybody who waits.
type bell struct {
	mu sync.Mutex // guards c
	c  chan struct{}
}

func newBell() *bell { return &bell{c: make(chan struct{})} }

// wait returns a channel that the next ring closes.
func (b *bell) wait() <-chan struct{} {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.c
}

func (b *bell) ring() {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.c)
	b.c = make(chan struct{})
}
