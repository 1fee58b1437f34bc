package node

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// The ledger has one writer, of two goroutines: one proposes blocks, the other makes them durable, publishes them and answers. While a block is
// being written the next is proposed on top of it, one at most. Nothing of that one is told to anybody before the block under it is durable: if
// that was not written, what was proposed on top is dropped, results and all, and its entries are proposed again.

// draft is a block on its way: proposed, not durable.
type draft struct {
	batch            []*task
	proposal         *settlement.Proposal
	at               time.Time // it was proposed, by the node's clock
	start, sequenced time.Time // it was proposed
	writing          time.Time // its writing began
	attempt          int       // writes of the batch that failed before
}

// empty: the draft holds a state entry alone although entries were in its batch. It is not written; its results are true once what it stands on
// is durable.
func (d *draft) empty() bool { return d.proposal.Accepted == 0 && len(d.batch) > 0 }

// sequencing is the goroutine that proposes.
type sequencing struct {
	*Node
	pace  pace
	write chan<- *draft // to the goroutine that writes, which has one at a time
	wrote <-chan error  // its answers

	queue   []*task // proven, in no draft
	size    int     // bytes of those
	writing *draft  // nil when nothing is being written; the sequencer's state is read only then
	next    *draft  // proposed on top of writing
	held    bool    // the queue could not be proposed on top of writing; it is proposed when that is decided

	begun   time.Time     // when the last draft of entries was proposed
	each    time.Duration // what proposing took for an entry, last
	busy    time.Time     // when a client's entry was last at hand, by the node's clock as the next
	written time.Time     // when the last block was proposed
}

func (n *Node) sequence() {
	write, wrote := make(chan *draft, 1), make(chan error, 1)
	var writer sync.WaitGroup
	writer.Go(func() {
		for d := range write {
			wrote <- n.writeBlock(d)
		}
	})
	defer writer.Wait()
	defer close(write)
	now := n.cfg.Now()
	s := &sequencing{Node: n, pace: blockPace(n.cfg.Limits), write: write, wrote: wrote, busy: now, written: now}
	if err := s.run(); err != nil && n.ctx.Err() == nil {
		n.fail(err)
	}
}

// run proposes until the node ends. An error means that it must not go on; what is inside is then left unanswered, because nothing is known of it.
func (s *sequencing) run() error {
	idle := time.NewTicker(s.cfg.Limits.Idle)
	defer idle.Stop()
	var timer *time.Timer
	for {
		wait, err := s.advance()
		if err != nil {
			return err
		}
		var due <-chan time.Time
		if wait > 0 {
			timer = time.NewTimer(wait)
			due = timer.C
		}
		select {
		case t := <-s.proven:
			s.receive(t)
		case err := <-s.wrote:
			if err := s.decided(err); err != nil {
				return err
			}
		case <-due:
		case <-idle.C:
			if s.expiring() {
				if err := s.begin(nil, 0); err != nil {
					return err
				}
			}
		case <-s.ctx.Done():
			return context.Cause(s.ctx)
		}
		if wait > 0 {
			timer.Stop()
		}
	}
}

// receive takes a proven entry, and what came with it.
func (s *sequencing) receive(t *task) {
	s.busy = s.cfg.Now()
	s.stages.pushing.Lock() // a batch of proofs comes as a whole
	defer s.stages.pushing.Unlock()
	for {
		s.queue = append(s.queue, t)
		s.size += t.bytes
		select {
		case t = <-s.proven:
		default:
			s.stages.queued.Store(int64(len(s.queue)))
			return
		}
	}
}

// advance proposes what waits, as far as it may be proposed now. Where it should wait longer it gives how long; 0 where something else must happen
// first.
func (s *sequencing) advance() (time.Duration, error) {
	for len(s.queue) > 0 && s.next == nil && !s.held {
		if wait := s.wait(time.Now()); wait > 0 {
			return wait, nil
		}
		batch := s.cut()
		if s.writing == nil {
			if err := s.begin(batch, 0); err != nil {
				return 0, err
			}
			continue
		}
		d, err := s.propose(s.writing.proposal, batch)
		if err != nil {
			// The same again, once it is known what it stands on: then the error says what to do.
			s.held = true
			s.putBack(batch)
			return 0, nil
		}
		s.next = d
	}
	return 0, nil
}

// wait gives how long what waits should still gather.
func (s *sequencing) wait(now time.Time) time.Duration {
	if s.size >= s.cfg.Limits.BlockBytes {
		return 0
	}
	wait := s.pace.wait(now, s.begun, s.stages.latest.slowest(), len(s.queue))
	if s.writing != nil {
		write := time.Duration(s.stages.latest.storing.Load())
		wait = max(wait, early(write, s.each*time.Duration(len(s.queue)))-now.Sub(s.writing.sequenced))
	}
	return wait
}

// cut takes the entries of the next block off the queue.
func (s *sequencing) cut() []*task {
	n := 0
	for size := 0; n < len(s.queue) && size < s.cfg.Limits.BlockBytes; n++ {
		size += s.queue[n].bytes
		s.size -= s.queue[n].bytes
	}
	batch := slices.Clone(s.queue[:n])
	s.queue = slices.Delete(s.queue, 0, n)
	s.stages.queued.Store(int64(len(s.queue)))
	return batch
}

// putBack returns entries to the front of the queue.
func (s *sequencing) putBack(batch []*task) {
	for _, t := range batch {
		s.size += t.bytes
	}
	s.queue = slices.Insert(s.queue, 0, batch...)
	s.stages.queued.Store(int64(len(s.queue)))
}

// propose makes a draft on top of a proposal that is being written, or of the last durable block where there is none.
func (s *sequencing) propose(under *settlement.Proposal, batch []*task) (*draft, error) {
	s.pulses.sequence.begin()
	defer s.pulses.sequence.end()
	candidates := make([]*settlement.Candidate, len(batch))
	for i, t := range batch {
		candidates[i] = t.candidate
	}
	d := &draft{batch: batch, at: s.cfg.Now(), start: time.Now()}
	var err error
	if under == nil {
		d.proposal, err = s.seq.Propose(s.ctx, candidates, s.wall())
	} else {
		d.proposal, err = s.seq.ProposeAfter(s.ctx, under, candidates, s.wall())
	}
	d.sequenced = time.Now()
	took := d.sequenced.Sub(d.start)
	s.stages.sequencing.Add(int64(took))
	if len(batch) > 0 {
		s.begun = d.start
		s.each = took / time.Duration(len(batch))
		s.stages.latest.sequencing.Store(int64(took))
	}
	return d, err
}

// begin proposes a batch on the last durable block and hands it over, or a state entry alone without a batch. Nothing may be being written.
func (s *sequencing) begin(batch []*task, attempt int) error {
	d, err := s.propose(nil, batch)
	d.attempt = attempt
	switch {
	case err != nil:
		return s.failed(d, err)
	case d.empty():
		s.answer(d.batch, d.proposal.Results)
	default:
		s.handOver(d)
	}
	return nil
}

func (s *sequencing) handOver(d *draft) {
	s.writing = d
	s.write <- d
}

// decided goes on when it is known what became of the block that was being written. If it is durable, it is published and answered already.
func (s *sequencing) decided(err error) error {
	d, next := s.writing, s.next
	s.writing, s.next, s.held = nil, nil, false
	if err != nil {
		if next != nil {
			s.putBack(next.batch) // what it was judged on is not the ledger's
		}
		return s.failed(d, err)
	}
	s.written = d.at
	switch {
	case next == nil:
	case next.empty():
		s.answer(next.batch, next.proposal.Results)
	default:
		s.handOver(next)
	}
	return nil
}

// attempts is how often a batch is written before its entries are told to come back.
const attempts = 3

// failed decides about a batch that could not be proposed or written, while nothing else is being written. An error means that the node must
// not go on.
func (s *sequencing) failed(d *draft, err error) error {
	height := s.seq.State().Height() + 1
	switch {
	case s.ctx.Err() != nil:
		return context.Cause(s.ctx)
	case errors.Is(err, settlement.ErrFenced), errors.Is(err, settlement.ErrInDoubt), errors.Is(err, settlement.ErrStoreCorrupt), errors.Is(err, settlement.ErrStoreClosed):
		return fmt.Errorf("write block %d: %w", height, err)
	case d.attempt+1 >= attempts:
		// Nothing was written and the ledger stands where it stood: a full disk, for one. What waits is told to come back.
		s.cfg.Log.Error("a block could not be written", "height", height, "error", err)
		for _, t := range d.batch {
			s.reply(t, settlement.Result{}, entry.Refuse(entry.TryLater, "the ledger's store takes no block now"))
		}
		return nil
	}
	s.pulses.sequence.begin()
	defer s.pulses.sequence.end()
	select {
	case <-time.After(50 * time.Millisecond << d.attempt):
	case <-s.ctx.Done():
		return context.Cause(s.ctx)
	}
	return s.begin(d.batch, d.attempt+1)
}

// expiring tells whether an idle ledger must log a state entry now.
func (s *sequencing) expiring() bool {
	if s.writing != nil || len(s.queue) > 0 {
		return false // a block is on its way
	}
	// The longer the ledger is idle, the rarer its state entries: at first one a tick, after a while one in 64. But that a hold has expired
	// is logged at the next tick: somebody waits to void it.
	state := s.seq.State()
	now, ledgerTime := s.cfg.Now(), state.LedgerTime(s.wall())
	due := state.NextHoldExpiry()
	if now.Sub(s.written) < min(now.Sub(s.busy)/16, 64*s.cfg.Limits.Idle) && (due == 0 || ledgerTime < due) {
		return false
	}
	return state.MayExpire(ledgerTime, s.expiry.Load())
}

// writeBlock makes a draft durable and, if it is, publishes it and then answers its entries.
func (n *Node) writeBlock(d *draft) error {
	n.pulses.write.begin()
	defer n.pulses.write.end()
	d.writing = time.Now()
	err := n.seq.Commit(n.ctx, d.proposal)
	took := time.Since(d.writing)
	n.stages.storing.Add(int64(took))
	n.measures.appended(took, err)
	if err != nil {
		return err
	}
	if len(d.batch) > 0 {
		n.stages.latest.storing.Store(int64(took))
	}
	n.committed(d.proposal)
	n.measures.wrote(d)
	n.answer(d.batch, d.proposal.Results)
	return nil
}

// committed publishes a durable block, before anybody is answered: an answer may be followed at once by a read.
func (n *Node) committed(p *settlement.Proposal) {
	n.anchors.add(p.Block.Anchor)
	n.state.Store(p.Next())
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
