package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// stages adds up what the pipeline did, for Status.
type stages struct {
	proofs, batches                        atomic.Uint64
	blocks, accepted, refused              atomic.Uint64
	admitting                              atomic.Int64 // nanoseconds inside the stage, as all of these
	proving, sequencing, storing, cosigned atomic.Int64
}

// prove checks proofs in batches. Batches adapt by themselves: while one is checked, the next gathers in the queue, so that a busy node
// checks many at once and an idle one answers at once.
func (n *Node) prove() {
	for {
		batch, legs := n.gather()
		if batch == nil {
			return
		}
		n.pulses.prove.begin()
		start := time.Now()
		candidates := make([]*settlement.Candidate, len(batch))
		for i, t := range batch {
			candidates[i] = t.candidate
		}
		refusals := settlement.Prove(n.cfg.Verifier, candidates)
		took := time.Since(start)
		n.lanes.charge(batch, refusals, took)
		n.stages.proving.Add(int64(took))
		n.stages.proofs.Add(uint64(legs))
		n.stages.batches.Add(1)
		n.measures.proved(batch, refusals, legs, start)
		for i, t := range batch {
			if refusals[i] == nil {
				n.proven <- t // never blocks: it has room for every waiting entry
				continue
			}
			n.stages.refused.Add(1)
			result, err := n.resolve(n.ctx, t.candidate.Submission, refusals[i])
			n.reply(t, result, err)
		}
		n.pulses.prove.end()
	}
}

// gather takes what waits for proving, up to a batch of proofs; nil when the node ends.
func (n *Node) gather() (batch []*task, legs int) {
	for {
		var wait time.Duration
		if batch, legs, wait = n.lanes.take(n.cfg.Limits.Batch); batch != nil && n.ctx.Err() == nil {
			return batch, legs
		}
		rest := time.NewTimer(wait)
		select {
		case <-n.lanes.bell:
		case <-rest.C:
		case <-n.ctx.Done():
		}
		rest.Stop()
		if n.ctx.Err() != nil {
			return nil, 0
		}
	}
}

// sequence is the one writer of the ledger.
func (n *Node) sequence() {
	idle := time.NewTicker(n.cfg.Limits.Idle)
	defer idle.Stop()
	busy := n.cfg.Now() // when a client's entry was last at hand
	written := busy     // when the last block was
	var due expiries
	for {
		var batch []*task
		select {
		case t := <-n.proven:
			batch = append(batch, t)
			busy = n.cfg.Now()
		case <-idle.C:
			// The longer the ledger is idle, the rarer its state entries: at first one a tick, after a while one in 64. But that a hold has
			// expired is logged at the next tick: somebody waits to void it.
			state := n.seq.State()
			if now := n.cfg.Now(); now.Sub(written) < min(now.Sub(busy)/16, 64*n.cfg.Limits.Idle) && !due.passed(state, n.wall()) {
				continue
			}
			if !state.MayExpire(state.LedgerTime(n.wall()), n.expiry.Load()) {
				continue
			}
		case <-n.ctx.Done():
			return
		}
		for size := 0; len(batch) > 0 && size < n.cfg.Limits.BlockBytes; {
			size += batch[len(batch)-1].bytes
			select {
			case t := <-n.proven:
				batch = append(batch, t)
				continue
			default:
			}
			break
		}
		if err := n.step(batch); err != nil {
			n.fail(err)
			return
		}
		written = n.cfg.Now()
	}
}

// expiries remembers when the next open hold expires.
type expiries struct {
	height uint64 // of the state looked at; 0 before the first
	next   uint64 // its answer
}

// passed tells whether a hold that is open in the state has expired by the wall clock, in milliseconds, and the log does not say so yet.
func (e *expiries) passed(state *settlement.State, wall uint64) bool {
	if e.height == 0 || e.height != state.Height() {
		e.height, e.next = state.Height(), state.NextHoldExpiry()
	}
	return e.next != 0 && state.LedgerTime(wall) >= e.next
}

// step writes one block of what waits, or a state entry alone when nothing does. An error means that the node must not go on; the tasks
// are then left unanswered, because nothing is known of them.
func (n *Node) step(batch []*task) error {
	candidates := make([]*settlement.Candidate, len(batch))
	for i, t := range batch {
		candidates[i] = t.candidate
	}
	defer n.pulses.sequence.end()
	for attempt := 0; ; attempt++ {
		n.pulses.sequence.begin()
		start := time.Now()
		p, err := n.seq.Propose(n.ctx, candidates, n.wall())
		sequenced := time.Now()
		n.stages.sequencing.Add(int64(sequenced.Sub(start)))
		if err == nil && (p.Accepted > 0 || len(batch) == 0) {
			err = n.seq.Commit(n.ctx, p)
			took := time.Since(sequenced)
			n.stages.storing.Add(int64(took))
			n.measures.appended(took, err)
			if err == nil {
				n.committed(p)
				n.measures.wrote(batch, p, start, sequenced)
			}
		}
		switch {
		case err == nil:
			n.answer(batch, p.Results)
			return nil
		case n.ctx.Err() != nil:
			return context.Cause(n.ctx)
		case errors.Is(err, settlement.ErrFenced), errors.Is(err, settlement.ErrInDoubt), errors.Is(err, settlement.ErrStoreCorrupt), errors.Is(err, settlement.ErrStoreClosed):
			return fmt.Errorf("write block %d: %w", n.seq.State().Height()+1, err)
		case attempt >= 2:
			// Nothing was written and the ledger stands where it stood: a full disk, for one. What waits is told to come back.
			n.cfg.Log.Error("a block could not be written", "height", n.seq.State().Height()+1, "error", err)
			for _, t := range batch {
				n.reply(t, settlement.Result{}, entry.Refuse(entry.TryLater, "the ledger's store takes no block now"))
			}
			return nil
		}
		select {
		case <-time.After(50 * time.Millisecond << attempt):
		case <-n.ctx.Done():
			return context.Cause(n.ctx)
		}
	}
}

// committed publishes a durable block, before anybody is answered: an answer may be followed at once by a read.
func (n *Node) committed(p *settlement.Proposal) {
	state := n.seq.State()
	n.anchors.add(p.Block.Anchor)
	n.state.Store(state)
	n.stages.blocks.Add(1)
	n.stages.accepted.Add(uint64(p.Accepted))
	n.durable.ring()
	if p.Block.Height%n.cfg.Limits.Snapshot == 0 {
		n.saveSnapshot(n.ctx)
	}
}

func (n *Node) answer(batch []*task, results []settlement.Result) {
	for i, t := range batch {
		if results[i].Status == settlement.Refused {
			n.stages.refused.Add(1)
		} else {
			n.recent.add(results[i].ID, results[i].EntryIndex)
		}
		n.reply(t, results[i], results[i].Refusal)
	}
}

// saveSnapshot keeps the state, so that the next start need not replay everything. It is a cache: failing costs time alone.
func (n *Node) saveSnapshot(ctx context.Context) {
	state := n.state.Load()
	if err := n.cfg.Store.SaveSnapshot(ctx, state.Height(), state.Marshal()); err != nil {
		n.cfg.Log.Warn("the state was not saved; the next start replays more", "height", state.Height(), "error", err)
	}
}

// cosign has the newest head cosigned, one round after the other. Heads that pass while a round runs are covered by the next.
func (n *Node) cosign() {
	for {
		rung := n.durable.wait()
		if n.state.Load().LogSize() > n.final.Load() {
			ctx, stop := context.WithTimeout(n.ctx, 30*time.Second)
			err := n.cosignOnce(ctx)
			stop()
			switch {
			case n.ctx.Err() != nil:
				return
			case fatalToLog(err):
				n.fail(fmt.Errorf("the witnesses refuse this log: %w", err))
				return
			case err != nil:
				n.cfg.Log.Warn("no quorum of witnesses", "size", n.state.Load().LogSize(), "final", n.final.Load(), "error", err)
				select {
				case <-time.After(200 * time.Millisecond):
				case <-n.ctx.Done():
					return
				}
			}
			if n.state.Load().LogSize() > n.final.Load() {
				continue
			}
		}
		select {
		case <-rung:
		case <-n.ctx.Done():
			return
		}
	}
}

// cosignOnce asks for cosignatures over the last durable block. With a quorum the entries are final: the checkpoint need not be on the
// disk for that (keep), because after a crash the witnesses cosign the same head again.
func (n *Node) cosignOnce(ctx context.Context) error {
	n.pulses.cosign.begin()
	defer n.pulses.cosign.end()
	start := time.Now()
	state := n.state.Load()
	c, err := n.journal.Cosign(ctx, proof.Head{Size: state.LogSize(), Root: state.LogRoot()})
	if err != nil {
		n.measures.cosigned(start, 0, false)
		return err
	}
	n.stages.cosigned.Add(int64(time.Since(start)))
	raise(&n.final, c.Size)
	n.measures.cosigned(start, c.Size, n.state.Load().LogSize() <= c.Size)
	n.finality.ring()
	return nil
}

// keepPause is the least time between two saves of a checkpoint: under load each costs a sync of the disk that blocks wait for.
const keepPause = 50 * time.Millisecond

// keep saves the newest cosigned checkpoint, and saves it again when slower witnesses have added to it.
func (n *Node) keep() {
	var kept []byte
	for {
		moved := n.journal.Moved()
		var err error
		if kept, err = n.keepOnce(n.ctx, kept); err != nil && n.ctx.Err() == nil {
			n.cfg.Log.Warn("the checkpoint was not saved; the next start asks the witnesses again", "error", err)
		}
		select {
		case <-moved:
		case <-n.ctx.Done():
			return
		}
		select {
		case <-time.After(keepPause):
		case <-n.ctx.Done():
			return
		}
	}
}

// keepOnce saves the newest cosigned checkpoint unless it is the one given, and returns what the store holds.
func (n *Node) keepOnce(ctx context.Context, kept []byte) ([]byte, error) {
	n.pulses.keep.begin()
	defer n.pulses.keep.end()
	c := n.journal.Latest()
	if c == nil || bytes.Equal(c.Checkpoint, kept) {
		return kept, nil
	}
	if err := n.cfg.Store.SaveCheckpoint(ctx, c.Size, c.Checkpoint); err != nil {
		return kept, err
	}
	return c.Checkpoint, nil
}
