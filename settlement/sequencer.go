package settlement

import (
	"context"
	"errors"
	"fmt"
)

// Errors that end a Sequencer. After any of them nothing may be answered to
// the clients of the running step, and the sequencer is made anew.
var (
	// ErrFenced: another sequencer has taken the ledger over.
	ErrFenced = errors.New("settlement: fenced by another sequencer")
	// ErrInDoubt: an append ended as Unknown and reading back failed too.
	// Opening the store again decides.
	ErrInDoubt = errors.New("settlement: the fate of a block is unknown")
	// ErrStateBehind: the state given is not that of the store's head.
	ErrStateBehind = errors.New("settlement: state and store differ")
)

// Sequencer is the one writer of a ledger: it owns the current state and does
// the deterministic step that node and simulation share. One goroutine uses it
// at a time, except that ProposeAfter may run while Commit does.
type Sequencer struct {
	store Store
	state *State
	epoch uint64
	// Parallel hashes note subtrees; nil hashes in turn. Set it before the
	// first Step.
	Parallel Parallel
}

// NewSequencer takes the ledger over: it acquires the next fencing epoch, so
// that a sequencer before it can write no more, and then requires that the
// store's head is the state's. ErrStateBehind asks the caller to bring the
// state up to the head (replay.Restore) and to try again.
func NewSequencer(ctx context.Context, store Store, state *State) (*Sequencer, error) {
	head, err := store.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("acquire the ledger: %w", err)
	}
	if want := state.Head(head.Epoch); head != want {
		return nil, fmt.Errorf("store at height %d, state at %d: %w", head.Height, want.Height, ErrStateBehind)
	}
	return &Sequencer{store: store, state: state, epoch: head.Epoch}, nil
}

// State is that of the last durable block.
func (q *Sequencer) State() *State { return q.state }

// Epoch is the fencing epoch that the sequencer holds.
func (q *Sequencer) Epoch() uint64 { return q.epoch }

// Propose looks the candidates up and sequences them at the ledger time for a
// wall clock in milliseconds. It writes nothing.
func (q *Sequencer) Propose(ctx context.Context, candidates []*Candidate, wall uint64) (*Proposal, error) {
	return q.propose(ctx, q.state, candidates, wall)
}

// ProposeAfter sequences candidates on top of a proposal that is not committed
// yet, so that hashing the next block overlaps with writing this one. It may
// run while Commit(pending) runs: what the store does not say yet of the keys
// that pending uses, or says already, pending says too. Its results may be
// given to nobody before pending is committed, not even refusals. If it is not
// in the end, what follows from it must be dropped, results and all (L6.7).
func (q *Sequencer) ProposeAfter(ctx context.Context, pending *Proposal, candidates []*Candidate, wall uint64) (*Proposal, error) {
	return q.propose(ctx, pending.next, candidates, wall, pending.Block)
}

func (q *Sequencer) propose(ctx context.Context, state *State, candidates []*Candidate, wall uint64, pending ...*Block) (*Proposal, error) {
	submissions := make([]*Submission, len(candidates))
	for i, c := range candidates {
		submissions[i] = c.Submission
	}
	settled, err := LookUp(ctx, q.store, submissions, pending...)
	if err != nil {
		return nil, err
	}
	return state.Sequence(candidates, state.LedgerTime(wall), settled, q.Parallel)
}

// Commit makes a proposal durable and advances the state. The proposal must
// have been made on the current state (ErrStateBehind). On a nil error, and
// only then, the proposal's results may be answered. An Unknown outcome is
// read back here (L6.4). An error that is neither ErrFenced nor ErrInDoubt
// means that nothing was written and the same step may be tried again.
func (q *Sequencer) Commit(ctx context.Context, p *Proposal) error {
	if p.from != q.state {
		return fmt.Errorf("append block %d to block %d: %w", p.Block.Height, q.state.height, ErrStateBehind)
	}
	expected := q.state.Head(q.epoch)
	outcome, err := q.store.Append(ctx, expected, p.Block)
	if outcome == Unknown {
		head, readErr := q.store.Head(ctx)
		switch {
		case readErr != nil:
			return fmt.Errorf("append block %d: %w: %w: read back: %w", p.Block.Height, ErrInDoubt, orUnknown(err), readErr)
		case head == p.Block.Head(q.epoch):
			outcome = Committed
		case head == expected:
			return fmt.Errorf("append block %d: %w", p.Block.Height, orUnknown(err))
		default:
			outcome = Fenced
		}
	}
	if outcome != Committed {
		return fmt.Errorf("append block %d: %w", p.Block.Height, ErrFenced)
	}
	q.state = p.next
	return nil
}

func orUnknown(err error) error {
	if err == nil {
		return errors.New("the store gave no reason")
	}
	return err
}

// Step proposes and commits one block. With no candidate accepted it writes
// nothing and still gives the results, unless force asks for a block that
// holds a state entry alone. The block returned is nil when none was written.
func (q *Sequencer) Step(ctx context.Context, candidates []*Candidate, wall uint64, force bool) ([]Result, *Block, error) {
	p, err := q.Propose(ctx, candidates, wall)
	if err != nil {
		return nil, nil, err
	}
	if p.Accepted == 0 && !force {
		return p.Results, nil, nil
	}
	if err := q.Commit(ctx, p); err != nil {
		return nil, nil, err
	}
	return p.Results, p.Block, nil
}
