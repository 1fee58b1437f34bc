package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/replay"
)

// hurry is the least time between two looks for new blocks that somebody asked for.
const hurry = 3 * time.Millisecond

// follow keeps a node that does not sequence as close behind the store as the poll is often: blocks first, then the checkpoint that makes
// them final. A store that does not answer is asked again; one that holds what the rules do not give ends the node.
func (n *Node) follow() {
	tick := time.NewTicker(n.cfg.Limits.Poll)
	defer tick.Stop()
	silent := false
	for {
		err := n.followOnce(n.ctx)
		switch {
		case n.ctx.Err() != nil:
			return
		case errors.Is(err, settlement.ErrStoreCorrupt), errors.Is(err, settlement.ErrStoreClosed):
			n.fail(err)
			return
		case err != nil && !silent:
			n.cfg.Log.Warn("the store cannot be followed now", "height", n.state.Load().Height(), "error", err)
		}
		silent = err != nil
		select {
		case <-tick.C:
		case <-n.hurried:
			time.Sleep(hurry) // whoever asks often asks once
		case <-n.ctx.Done():
			return
		}
	}
}

func (n *Node) followOnce(ctx context.Context) error {
	n.pulses.follow.begin()
	defer n.pulses.follow.end()
	head, err := n.catchUp(ctx)
	if err != nil {
		return err
	}
	n.measures.epoch.Store(head.Epoch)
	if n.final.Load() == n.state.Load().LogSize() && n.cfg.Now().Sub(n.adopted) < time.Second {
		return nil // more cosignatures over the same head can wait
	}
	n.adopted = n.cfg.Now()
	size, raw, err := n.cfg.Store.Checkpoint(ctx)
	switch {
	case errors.Is(err, settlement.ErrNotFound), err == nil && size > n.state.Load().LogSize(): // its blocks came after the look at the head
		return nil
	case err != nil:
		return err
	}
	if c := n.journal.Latest(); c != nil && bytes.Equal(c.Checkpoint, raw) {
		return nil
	}
	if err := n.journal.Adopt(raw); err != nil {
		return fmt.Errorf("checkpoint over %d entries: %w", size, err)
	}
	raise(&n.final, size)
	n.measures.adopted(n.final.Load() == n.state.Load().LogSize())
	n.finality.ring()
	return nil
}

// catchUp applies the blocks that the store has and the state has not, rechecking each against the rules, its proofs by cfg.Recheck. It
// returns the head that it reached.
func (n *Node) catchUp(ctx context.Context) (settlement.Head, error) {
	head, err := n.cfg.Store.Head(ctx)
	if err != nil {
		return head, err
	}
	state := n.state.Load()
	if head.Height < state.Height() || head.Height == state.Height() && head != state.Head(head.Epoch) {
		return head, fmt.Errorf("the store is at block %d with another log than block %d that was seen there: %w", head.Height, state.Height(), settlement.ErrStoreCorrupt)
	}
	if head.Height == state.Height() {
		return head, nil
	}
	r := replay.From(state, replay.Config{Index: replay.NewStored(ctx, n.cfg.Store), Parallel: parallel, Verifier: n.cfg.Recheck})
	for height := state.Height() + 1; height <= head.Height; height++ {
		block, err := n.cfg.Store.Block(ctx, height)
		if err != nil {
			return head, err
		}
		if err := r.Apply(block); err != nil {
			var broken *replay.Error
			if errors.As(err, &broken) {
				err = fmt.Errorf("follow block %d: %w: %w", height, settlement.ErrStoreCorrupt, err)
			}
			return head, err
		}
		n.anchors.add(block.Anchor)
		n.state.Store(r.State())
		n.durable.ring()
	}
	return head, nil
}
