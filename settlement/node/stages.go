package node

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/proof"
)

// stages adds up what the pipeline did, for Status.
type stages struct {
	proofs, batches                        atomic.Uint64
	blocks, accepted, refused              atomic.Uint64
	admitting                              atomic.Int64 // nanoseconds inside the stage, as all of these
	proving, sequencing, storing, cosigned atomic.Int64

	latest  latest
	pushing sync.Mutex   // held while a batch goes from proving to sequencing, so that it is taken as a whole
	queued  atomic.Int64 // proven entries that the sequencing goroutine has taken and not proposed
}

// prove checks proofs in batches. While one is checked the next gathers in the queue; how long it gathers at part load is the rule of pace.
func (n *Node) prove() {
	n.lanes.adapt(proofPace(n.cfg.Limits), n.stages.latest.slowest)
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
		n.stages.latest.proving.Store(int64(took))
		n.measures.proved(batch, refusals, legs, start)
		n.stages.pushing.Lock()
		for i, t := range batch {
			if refusals[i] == nil {
				n.proven <- t // never blocks: it has room for every waiting entry
			}
		}
		n.stages.pushing.Unlock()
		for i, t := range batch {
			if refusals[i] != nil {
				n.stages.refused.Add(1)
				result, err := n.resolve(n.ctx, t.candidate.Submission, refusals[i])
				n.reply(t, result, err)
			}
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
	took := int64(time.Since(start))
	n.stages.cosigned.Add(took)
	n.stages.latest.cosigning.Store(took)
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
