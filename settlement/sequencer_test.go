package settlement_test

import (
	"context"
	"errors"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// emptyStore holds nothing. Methods that no test calls panic.
type emptyStore struct{ settlement.Store }

func (emptyStore) Spent(_ context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	return make([]settlement.Hit, len(nullifiers)), nil
}

func (emptyStore) Sequence(context.Context, uint64) (settlement.Hit, error) {
	return settlement.Hit{}, nil
}

// scripted is a store whose next append goes as a test wants.
type scripted struct {
	emptyStore
	head    settlement.Head
	outcome settlement.Outcome
	err     error
	written bool // whether the append took effect
	headErr error
}

func (s *scripted) Head(context.Context) (settlement.Head, error) { return s.head, s.headErr }

func (s *scripted) Acquire(context.Context) (settlement.Head, error) {
	s.head.Epoch++
	return s.head, nil
}

func (s *scripted) Append(_ context.Context, expected settlement.Head, b *settlement.Block) (settlement.Outcome, error) {
	if expected != s.head {
		return settlement.Fenced, nil
	}
	if s.written {
		s.head = b.Head(s.head.Epoch)
	}
	return s.outcome, s.err
}

func TestSequencerAnswersOnlyWhatIsDurable(t *testing.T) {
	lost := errors.New("connection lost")
	for name, c := range map[string]struct {
		store   scripted
		rival   bool // another sequencer acquires first
		want    error
		settled bool
	}{
		"committed":               {store: scripted{outcome: settlement.Committed, written: true}, settled: true},
		"unknown and written":     {store: scripted{outcome: settlement.Unknown, err: lost, written: true}, settled: true},
		"unknown and not written": {store: scripted{outcome: settlement.Unknown, err: lost}, want: lost},
		"unknown without reason":  {store: scripted{outcome: settlement.Unknown}, want: errAny},
		"unknown and unreadable":  {store: scripted{outcome: settlement.Unknown, err: lost, written: true, headErr: lost}, want: settlement.ErrInDoubt},
		"fenced":                  {store: scripted{outcome: settlement.Committed, written: true}, rival: true, want: settlement.ErrFenced},
	} {
		t.Run(name, func(t *testing.T) {
			b := ledgertest.NewBed(1)
			store := c.store
			store.head = b.Blocks[0].Head(4)
			q, err := settlement.NewSequencer(t.Context(), &store, b.State)
			if err != nil || q.Epoch() != 5 {
				t.Fatalf("epoch %d: %v", q.Epoch(), err)
			}
			candidate, err := b.Admit(b.Transfer())
			if err != nil {
				t.Fatal(err)
			}
			if c.rival {
				if _, err := store.Acquire(t.Context()); err != nil {
					t.Fatal(err)
				}
			}
			results, block, err := q.Step(t.Context(), []*settlement.Candidate{candidate}, b.Now, false)
			if c.settled {
				if err != nil || block == nil || results[0].Status != settlement.Accepted || q.State().Height() != 1 {
					t.Errorf("results %v, height %d: %v", results, q.State().Height(), err)
				}
				return
			}
			if err == nil || c.want != errAny && !errors.Is(err, c.want) {
				t.Errorf("error %v, want %v", err, c.want)
			}
			if results != nil || block != nil || q.State().Height() != 0 {
				t.Errorf("answered %v at height %d without a durable block", results, q.State().Height())
			}
		})
	}
}

var errAny = errors.New("any error")

func TestSequencerRefusesAStateThatIsNotTheStores(t *testing.T) {
	b := ledgertest.NewBed(1)
	behind := b.State
	b.Submit(b.Transfer())
	store := &scripted{head: b.Blocks[1].Head(0)}
	if _, err := settlement.NewSequencer(t.Context(), store, behind); !errors.Is(err, settlement.ErrStateBehind) {
		t.Errorf("took over with an old state: %v", err)
	}
}

func TestNothingIsWrittenWhenNothingIsAccepted(t *testing.T) {
	b := ledgertest.NewBed(1)
	store := &scripted{head: b.Blocks[0].Head(0), outcome: settlement.Committed, written: true}
	q, err := settlement.NewSequencer(t.Context(), store, b.State)
	if err != nil {
		t.Fatal(err)
	}
	candidate, err := b.Admit(b.Redeem(ledgertest.AUR, 0, 5))
	if err != nil {
		t.Fatal(err)
	}
	results, block, err := q.Step(t.Context(), []*settlement.Candidate{candidate}, b.Now, false)
	if err != nil || block != nil || store.head.Height != 0 || entry.CodeOf(results[0].Refusal) != entry.SupplyNegative {
		t.Errorf("results %v, block %v, height %d: %v", results, block, store.head.Height, err)
	}
	if _, block, err = q.Step(t.Context(), nil, b.Now, true); err != nil || block == nil || len(block.Entries) != 1 {
		t.Errorf("no state entry on demand: %v", err)
	}
}

func TestProposalIsCommittedOnlyOnTheStateThatItWasMadeOn(t *testing.T) {
	b := ledgertest.NewBed(1)
	store := &scripted{head: b.Blocks[0].Head(0), outcome: settlement.Committed, written: true}
	q, err := settlement.NewSequencer(t.Context(), store, b.State)
	if err != nil {
		t.Fatal(err)
	}
	propose := func(after *settlement.Proposal) *settlement.Proposal {
		c, err := b.Admit(b.Transfer())
		if err != nil {
			t.Fatal(err)
		}
		var p *settlement.Proposal
		if after == nil {
			p, err = q.Propose(t.Context(), []*settlement.Candidate{c}, b.Now)
		} else {
			p, err = q.ProposeAfter(t.Context(), after, []*settlement.Candidate{c}, b.Now)
		}
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	dropped, first := propose(nil), propose(nil)
	orphan, second := propose(dropped), propose(first)
	if err := q.Commit(t.Context(), second); !errors.Is(err, settlement.ErrStateBehind) {
		t.Errorf("the second block was committed before the first: %v", err)
	}
	if err := q.Commit(t.Context(), first); err != nil {
		t.Fatal(err)
	}
	for _, p := range []*settlement.Proposal{first, dropped, orphan} {
		if err := q.Commit(t.Context(), p); !errors.Is(err, settlement.ErrStateBehind) {
			t.Errorf("block %d on another state was committed: %v", p.Block.Height, err)
		}
	}
	if err := q.Commit(t.Context(), second); err != nil || store.head.Height != 2 {
		t.Errorf("the block that follows: height %d, %v", store.head.Height, err)
	}
}

func TestCopyBeforeWhatMakesItsTwinAcceptableIsARepeat(t *testing.T) {
	b := ledgertest.NewBed(1)
	first := b.Register(10, b.Owner())
	second := &entry.Register{Header: b.Ledger.Header(b.Now+60_000, b.State.NextSequence()+1), Owners: []entry.Registration{{Owner: b.Owner(), Limit: 5}}}
	b.Sign(second, 0, 1)
	var candidates []*settlement.Candidate
	for _, e := range []entry.Entry{second, first, second} {
		c, err := b.Admit(e)
		if err != nil {
			t.Fatal(err)
		}
		candidates = append(candidates, c)
	}
	results := b.Settle(candidates...)
	if results[1].Status != settlement.Accepted || results[2].Status != settlement.Accepted {
		t.Fatalf("%+v", results)
	}
	if results[0].Status != settlement.SettledBefore || results[0].EntryIndex != results[2].EntryIndex {
		t.Fatalf("the copy ahead of its turn was answered %v (%v), its twin stands at %d", results[0].Status, results[0].Refusal, results[2].EntryIndex)
	}
}
