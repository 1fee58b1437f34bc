package settlement_test

import (
	"context"
	"fmt"
	"reflect"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// indexed is a store in memory that can be asked for everything that a look-up asks for.
type indexed struct {
	settlement.Store
	head       settlement.Head
	leaves     [][]byte
	heights    []uint64
	nullifiers map[zk.Nullifier]uint64
	sequences  map[uint64]uint64
}

func newIndexed(blocks []*settlement.Block) *indexed {
	s := &indexed{nullifiers: map[zk.Nullifier]uint64{}, sequences: map[uint64]uint64{}}
	for _, b := range blocks {
		s.add(b)
	}
	return s
}

func (s *indexed) add(b *settlement.Block) {
	s.head = b.Head(s.head.Epoch)
	for _, leaf := range b.Entries {
		s.leaves, s.heights = append(s.leaves, leaf), append(s.heights, b.Height)
	}
	for _, n := range b.Nullifiers {
		s.nullifiers[n.Nullifier] = n.EntryIndex
	}
	for _, u := range b.Sequences {
		s.sequences[u.Sequence] = u.EntryIndex
	}
}

func (s *indexed) Acquire(context.Context) (settlement.Head, error) {
	s.head.Epoch++
	return s.head, nil
}

func (s *indexed) Append(_ context.Context, expected settlement.Head, b *settlement.Block) (settlement.Outcome, error) {
	if expected != s.head {
		return settlement.Fenced, nil
	}
	s.add(b)
	return settlement.Committed, nil
}

func (s *indexed) Spent(_ context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	hits := make([]settlement.Hit, len(nullifiers))
	for i, n := range nullifiers {
		if at, found := s.nullifiers[n]; found {
			hits[i] = settlement.Hit{Found: true, EntryIndex: at, Height: s.heights[at]}
		}
	}
	return hits, nil
}

func (s *indexed) Sequence(_ context.Context, sequence uint64) (settlement.Hit, error) {
	if at, found := s.sequences[sequence]; found {
		return settlement.Hit{Found: true, EntryIndex: at, Height: s.heights[at]}, nil
	}
	return settlement.Hit{}, nil
}

func (s *indexed) Entry(_ context.Context, index uint64) ([]byte, uint64, error) {
	return s.leaves[index], s.heights[index], nil
}

// TestWhatIsProposedAheadIsWhatIsProposedAfterwards puts every kind of look-up across a block that is being written: a repeat, what another entry
// has used, what an entry needs, sequence numbers, and the state. What is proposed on top of the block must be, result for result and byte for
// byte, what is proposed once it is durable, and likewise when it becomes durable in the middle.
func TestWhatIsProposedAheadIsWhatIsProposedAfterwards(t *testing.T) {
	digest := func(i byte) [32]byte { return [32]byte{i} }
	var none [32]byte
	// at gives a privileged entry another place in the sequence.
	at := func(b *ledgertest.Bed, e entry.Entry, ahead uint64) entry.Entry {
		e.Head().Sequence = b.State.NextSequence() + ahead
		return b.Signed(e)
	}
	document := func(b *ledgertest.Bed, action entry.DocumentAction, digest, former [32]byte, ahead uint64) entry.Entry {
		return at(b, &entry.Document{Header: b.Next(), Action: action, Type: entry.StatementEndUse, Digest: digest, Former: former, Label: "End-use certificate"}, ahead)
	}
	const accepted, before = entry.Code("accepted"), entry.Code("settled before")
	type step struct {
		what any
		want entry.Code
	}
	for name, make := range map[string]func(t *testing.T) (b *ledgertest.Bed, first []any, then []step){
		"transfers": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			b := ledgertest.NewBed(1)
			tx, other := b.Transfer(), b.Transfer()
			rival := b.Tx(entry.KindTransfer, zk.Transfer)
			rival.Legs[0].Nullifiers[1] = tx.Legs[0].Nullifiers[0]
			settled := b.Transfer()
			b.Submit(settled)
			return b, []any{b.Transfer(), tx, other}, []step{{tx, before}, {b.Prove(rival), entry.NullifierSpent}, {b.Transfer(), accepted}, {other, before}, {settled, before}}
		},
		"policy sequence": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			b := ledgertest.NewBed(1)
			b.Submit(b.Register(10, b.Owner()))
			first, rival := b.Register(10, b.Owner()), b.Register(20, b.Owner())
			return b, []any{first}, []step{{first, before}, {rival, entry.SequenceStale}, {at(b, b.Register(5, b.Owner()), 2), entry.SequenceGap},
				{at(b, b.Register(5, b.Owner()), 1), accepted}, {at(b, b.Register(6, b.Owner()), 2), accepted}}
		},
		"documents": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			b := ledgertest.NewBed(1)
			b.Submit(b.Document(entry.Anchors, digest(1), none))
			anchor, revoke := document(b, entry.Anchors, digest(2), none, 0), document(b, entry.Revokes, digest(1), none, 1)
			return b, []any{anchor, revoke}, []step{{revoke, before}, {document(b, entry.Anchors, digest(2), none, 2), entry.DocumentKnown},
				{document(b, entry.Supersedes, digest(3), digest(1), 2), entry.DocumentEnded}, {document(b, entry.Revokes, digest(9), none, 2), entry.DocumentUnknown},
				{document(b, entry.Supersedes, digest(4), digest(2), 2), accepted}, {document(b, entry.Revokes, digest(4), none, 3), accepted}}
		},
		"holds": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			e := newEscrow(t, ledgertest.NewBed(1), nil)
			wantAccepted(t, e.Submit(e.attests(0), e.attests(2))...)
			post, attest := e.post(), e.says(entry.Attests, 1, invoice)
			return e.Bed, []any{attest, post}, []step{{post, before}, {attest, before}, {e.Release(e.id, e.payee), entry.HoldResolved},
				{e.Amend(e.id, e.Now+2*escrowMillis, e.payer, e.payee), entry.HoldUnknown}, {e.attests(1), entry.HoldUnknown}}
		},
		"a hold that is placed": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			e := &escrow{Bed: ledgertest.NewBed(1)}
			e.build(nil)
			return e.Bed, []any{e.tx}, []step{{e.tx, before}}
		},
		"state": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			b := ledgertest.NewBed(1)
			return b, []any{b.Rotate(2), b.Issue(ledgertest.AUR, 0, 500)}, []step{{b.Transfer(), entry.OversightEpochStale}}
		},
		"nothing in it": func(t *testing.T) (*ledgertest.Bed, []any, []step) {
			b := ledgertest.NewBed(1)
			return b, nil, []step{{b.Transfer(), accepted}}
		},
	} {
		t.Run(name, func(t *testing.T) {
			b, first, then := make(t)
			store := newIndexed(b.Blocks)
			q, err := settlement.NewSequencer(t.Context(), store, b.State)
			if err != nil {
				t.Fatal(err)
			}
			admit := func(what any) *settlement.Candidate {
				t.Helper()
				c, err := b.Admit(what)
				if err != nil {
					t.Fatalf("%T: %v", what, err)
				}
				return c
			}
			var under, top []*settlement.Candidate
			for _, what := range first {
				under = append(under, admit(what))
			}
			for _, s := range then {
				top = append(top, admit(s.what))
			}
			pending, err := q.Propose(t.Context(), under, b.Now)
			if err != nil {
				t.Fatal(err)
			}
			ahead := func() *settlement.Proposal {
				t.Helper()
				p, err := q.ProposeAfter(t.Context(), pending, top, b.Now+7)
				if err != nil {
					t.Fatal(err)
				}
				return p
			}
			before := ahead()
			for i, r := range before.Results {
				got := entry.CodeOf(r.Refusal)
				if r.Status != settlement.Refused {
					got = entry.Code(r.Status.String())
				}
				if got != then[i].want {
					t.Errorf("%d: %s (%v), want %s", i, got, r.Refusal, then[i].want)
				}
			}
			if err := q.Commit(t.Context(), pending); err != nil {
				t.Fatal(err)
			}
			during := ahead()
			after, err := q.Propose(t.Context(), top, b.Now+7)
			if err != nil {
				t.Fatal(err)
			}
			for what, p := range map[string]*settlement.Proposal{"before": before, "during": during} {
				if fmt.Sprint(p.Results) != fmt.Sprint(after.Results) || p.Accepted != after.Accepted {
					t.Errorf("%s the commit: %v\nafterwards: %v", what, p.Results, after.Results)
				}
				if !reflect.DeepEqual(p.Block, after.Block) {
					t.Errorf("%s the commit another block is proposed than afterwards", what)
				}
			}
			if err := q.Commit(t.Context(), before); err != nil {
				t.Errorf("what was proposed ahead: %v", err)
			}
		})
	}
}
