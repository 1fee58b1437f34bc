package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/replay"
)

// node is one process that runs the ledger: memory that a crash wipes.
type node struct {
	w       *world
	a       *alone
	raw     settlement.Store // what the disk gave
	store   *faulty
	seq     *settlement.Sequencer
	waiting []admitted
	refused map[entry.ID]settlement.Result // planted: poisonedIDs
}

// admitted is a candidate with the message it came in.
type admitted struct {
	candidate *settlement.Candidate
	from      *message
}

var ctx = context.Background()

// start opens the store, rebuilds the state from it and takes the ledger over,
// as a node does after every crash.
func (a *alone) start() error {
	w := a.w
	raw, err := w.disk.Open(ctx, w.ledger.Hash)
	if err != nil {
		return fmt.Errorf("open the store: %w", err)
	}
	n := &node{w: w, a: a, raw: raw, refused: make(map[entry.ID]settlement.Result)}
	n.store = &faulty{Store: raw, fired: func(f Fault) { w.report.Faults[f]++ }}
	n.store.rival = func() { w.rival(n) }
	if d, ok := w.disk.(*memDisk); ok {
		n.store.tear = func(b *settlement.Block) { d.tear(b, w.rand.IntN(len(b.Entries)+1)) }
	}
	a.node = n
	if err := w.observe(); err != nil {
		return err
	}
	if err := n.takeOver(); err != nil {
		return err
	}
	return a.follow()
}

func (n *node) takeOver() error {
	state, err := replay.Restore(ctx, n.raw, nil, nil)
	if err != nil {
		return wrong("a node cannot start on what its store holds: %v", err)
	}
	n.seq, err = settlement.NewSequencer(ctx, n.store, n.w.plant(state))
	return err
}

// plant builds the seed's bug into a state. Without one it is the state.
func (w *world) plant(s *settlement.State) *settlement.State { return s.Planted(w.bug.rules) }

// rival takes the ledger over from the running node, as a second node does that
// believes the first one dead, and settles what clients have sent to both.
func (w *world) rival(n *node) {
	state, err := replay.Restore(ctx, n.raw, nil, nil)
	if err != nil {
		w.fail(wrong("a second node cannot start: %v", err))
		return
	}
	seq, err := settlement.NewSequencer(ctx, n.raw, w.plant(state))
	if err != nil {
		w.fail(wrong("a second node cannot take over: %v", err))
		return
	}
	batch := n.waiting
	if w.rand.Chance(0.5) {
		batch = nil
	}
	candidates := make([]*settlement.Candidate, len(batch))
	for i, a := range batch {
		candidates[i] = a.candidate
	}
	results, _, err := seq.Step(ctx, candidates, w.wall, true)
	if err == nil {
		err = w.observe()
	}
	if err != nil {
		w.fail(err)
		return
	}
	n.answer(batch, results)
}

func (n *node) anchors(height uint64) (settlement.Anchor, bool) {
	a, err := n.raw.Anchor(ctx, height)
	return a, err == nil
}

// receive does what happens to a submission before sequencing.
func (n *node) receive(m *message) {
	sub, err := settlement.Decode(m.leaf, m.segments)
	if err != nil {
		n.w.answer(m, settlement.Result{Status: settlement.Refused, Refusal: err})
		return
	}
	if old, known := n.refused[sub.ID]; known && n.w.bug.poisonedIDs {
		n.w.answer(m, old)
		return
	}
	state := n.seq.State()
	candidate, err := state.Admit(sub, state.LedgerTime(n.w.wall), n.anchors)
	if err == nil {
		err = settlement.Prove(&n.w.oracle.verifier, []*settlement.Candidate{candidate})[0]
		if n.w.bug.rules.Has(planted.ProofUnchecked) {
			err = nil
		}
	}
	if err != nil {
		n.refuse(m, sub, err)
		return
	}
	n.waiting = append(n.waiting, admitted{candidate, m})
}

// refuse answers a refusal, unless the same entry settled before.
func (n *node) refuse(m *message, sub *settlement.Submission, refusal error) {
	result := settlement.Result{Status: settlement.Refused, ID: sub.ID, Refusal: refusal}
	if !n.w.bug.refuseBeforeKnown {
		settled, err := settlement.LookUp(ctx, n.store, []*settlement.Submission{sub})
		if err != nil {
			return // no answer: the client asks again
		}
		result = settlement.Resolve(sub, refusal, settled)
	}
	if result.Status == settlement.Refused {
		n.refused[sub.ID] = result
	}
	n.w.answer(m, result)
}

// step writes one block of what waits. It reports whether the node lives on.
func (n *node) step(force bool) (alive bool) {
	batch := n.waiting
	candidates := make([]*settlement.Candidate, len(batch))
	for i, a := range batch {
		candidates[i] = a.candidate
	}
	if len(candidates) > 1 && !n.w.bug.driver() && n.w.rand.Chance(0.3) {
		return n.pipeline(batch, candidates)
	}
	results, err := n.write(candidates, batch, force)
	switch {
	case err == nil:
		n.waiting = nil
		if n.w.bug.unknownIsSuccess {
			n.w.fail(n.w.observe())
		} else {
			n.w.fail(n.a.follow())
		}
		if !n.w.bug.answerBeforeWrite {
			n.answer(batch, results)
		}
		return true
	case errors.Is(err, errCrash):
		return false
	case errors.Is(err, settlement.ErrFenced), errors.Is(err, settlement.ErrInDoubt):
		return false
	}
	return true // nothing was written; the batch waits for the next step
}

// pipeline makes a second block before the first one is written, as a node does
// that hashes while it waits for the disk. What follows from a block that was
// not written is dropped; its candidates wait for the next step.
func (n *node) pipeline(batch []admitted, candidates []*settlement.Candidate) (alive bool) {
	cut := 1 + n.w.rand.IntN(len(batch)-1)
	first, err := n.seq.Propose(ctx, candidates[:cut], n.w.wall)
	if err != nil {
		return true
	}
	second, err := n.seq.ProposeAfter(ctx, first, candidates[cut:], n.w.wall)
	if err != nil {
		return true
	}
	for i, p := range []*settlement.Proposal{first, second} {
		err := n.seq.Commit(ctx, p)
		switch {
		case errors.Is(err, errCrash), errors.Is(err, settlement.ErrFenced), errors.Is(err, settlement.ErrInDoubt):
			return false
		case err != nil:
			return true
		}
		part := batch[:cut]
		if i == 1 {
			part = batch[cut:]
		}
		n.waiting = n.waiting[len(part):]
		n.w.fail(n.a.follow())
		n.answer(part, p.Results)
	}
	return true
}

func (n *node) answer(batch []admitted, results []settlement.Result) {
	for i, a := range batch {
		n.w.answer(a.from, results[i])
	}
}

// write is Sequencer.Step, with the driver's planted bugs around it.
func (n *node) write(candidates []*settlement.Candidate, batch []admitted, force bool) ([]settlement.Result, error) {
	wall := n.w.wall
	bug := &n.w.bug
	if !bug.driver() {
		results, _, err := n.seq.Step(ctx, candidates, wall, force)
		return results, err
	}
	proposal, err := n.propose(candidates, wall)
	if err != nil {
		return nil, err
	}
	if bug.answerBeforeWrite {
		n.w.unchecked = true
		n.answer(batch, proposal.Results)
		n.w.unchecked = false
	}
	if proposal.Accepted == 0 && !force {
		return proposal.Results, nil
	}
	err = n.seq.Commit(ctx, proposal)
	if err != nil && !errors.Is(err, errCrash) && !errors.Is(err, settlement.ErrFenced) {
		switch {
		case bug.unknownIsSuccess:
			return proposal.Results, nil
		case bug.unknownIsFailure:
			for i := range proposal.Results {
				proposal.Results[i] = settlement.Result{Status: settlement.Refused, ID: candidates[i].ID,
					Refusal: entry.Refuse(entry.TryLater, "the block was not written")}
			}
			n.w.fail(n.w.observe())
			n.answer(batch, proposal.Results)
			return nil, settlement.ErrInDoubt
		}
	}
	return proposal.Results, err
}

func (n *node) propose(candidates []*settlement.Candidate, wall uint64) (*settlement.Proposal, error) {
	state := n.seq.State()
	time := state.LedgerTime(wall)
	if n.w.bug.rules.Has(planted.TimeGoesBack) {
		time = wall
	}
	if n.w.bug.lookUpAfterWrite {
		return state.Sequence(candidates, time, settlement.NewSettled(), nil)
	}
	subs := make([]*settlement.Submission, len(candidates))
	for i, c := range candidates {
		subs[i] = c.Submission
	}
	settled, err := settlement.LookUp(ctx, n.store, subs)
	if err != nil {
		return nil, err
	}
	return state.Sequence(candidates, time, settled, nil)
}
