package oversight_test

import (
	"context"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/tree"
)

// forge writes blocks behind a world's as a ledger that judges nothing would. Its state entries are right.
type forge struct {
	*world
	blocks   []*wallets.Block
	frontier *tree.Frontier
	last     *entry.State
	size     uint64
}

func newForge(w *world) *forge {
	f := &forge{world: w, frontier: tree.NewFrontier()}
	var placed []zk.Commitment
	for _, b := range w.blocks {
		f.blocks = append(f.blocks, &wallets.Block{Height: b.Height, TimeMillis: b.Time, FirstIndex: b.FirstIndex, Entries: b.Entries, Segments: b.Segments})
		for _, c := range b.Commitments {
			placed = append(placed, c.Commitment)
		}
	}
	slices.SortFunc(placed, func(a, b zk.Commitment) int { return int(w.at[a].Index) - int(w.at[b].Index) })
	for _, cm := range placed {
		must(0, f.frontier.Append(cm.Element()))
	}
	head := w.head()
	f.last, f.size = must(entry.DecodeState(head.Entries[len(head.Entries)-1])), head.Size()
	if f.frontier.Root() != f.last.NoteRoot {
		w.t.Fatal("the forge begins with another note root than the ledger's")
	}
	return f
}

// block writes a block of entries.
func (f *forge) block(entries ...entry.Entry) {
	f.now += 1000
	b := &wallets.Block{Height: f.last.Height + 1, TimeMillis: f.now, FirstIndex: f.size}
	st := *f.last
	st.Height, st.TimeMillis = b.Height, f.now
	place := func(cms ...zk.Commitment) {
		for _, cm := range cms {
			f.at[cm] = zk.Position{Index: f.frontier.Size()}
			must(0, f.frontier.Append(cm.Element()))
		}
	}
	for _, e := range entries {
		if e.Kind().Privileged() {
			e.Head().Sequence = st.NextSequence
			f.sign(e)
			st.NextSequence++
		}
		b.Entries = append(b.Entries, entry.Encode(e))
		st.Nullifiers += uint64(len(entry.Keys(e)))
		switch e := e.(type) {
		case *entry.Transaction:
			for i := range e.Legs {
				place(e.Legs[i].Commitments[1:]...) // holds alone
				st.Holds++
			}
		case *entry.Resolve:
			place(e.Commitment)
			st.Holds--
		case *entry.Override:
			place(e.Commitment)
			st.Holds--
		}
	}
	st.TreeSize, st.NoteRoot = f.frontier.Size(), f.frontier.Root()
	b.Entries = append(b.Entries, entry.Encode(&st))
	f.blocks, f.last, f.size = append(f.blocks, b), &st, f.size+uint64(len(b.Entries))
}

// hold writes a hold that crosses a border.
func (f *forge) hold(from zk.Note, to zk.Owner, amount zk.Amount, c entry.Condition) (entry.HoldID, entry.Leg, zk.Note) {
	epoch, ovk := f.state.Oversight()
	public := zk.LegPublic{Circuit: zk.Hold, OversightKey: ovk, Nullifiers: []zk.Nullifier{zk.Nullifier(f.field()), zk.Nullifier(f.field())}}
	outputs := []zk.Note{{Value: amount, Asset: from.Asset, Owner: to}, {Value: from.Value - amount, Asset: from.Asset, Owner: from.Owner}}
	must(0, keys.SealLeg(&public, f.scalar(), ovk, from.Owner, []uint32{f.at[from.Commitment()].Index + 1, 0}, outputs))
	leg := entry.Leg{Circuit: zk.Hold, CircuitVersion: zk.CircuitVersion, OversightEpoch: epoch, Epk: public.Epk, Wrap: public.Wrap, Sender: public.Sender,
		Nullifiers: public.Nullifiers, Commitments: public.Commitments, Cipher: public.Cipher, ReturnCommitment: public.ReturnCommitment, SizeClass: 1000, Condition: c,
		Anchor: f.last.Height}
	if c.Type == entry.ConditionDecidedThere {
		leg.Peer = &entry.PeerProof{Size: 9, Leaf: []byte("the decider's hold")}
	}
	tx := &entry.Transaction{Type: entry.KindTransfer, Header: f.header(), Legs: []entry.Leg{leg}}
	f.block(tx)
	return entry.HoldID{Tx: tx.ID()}, leg, outputs[1]
}

func (f *forge) audit() *oversight.Audit {
	f.t.Helper()
	return must(oversight.Scan(context.Background(), func(yield func(*wallets.Block, error) bool) {
		for _, b := range f.blocks {
			if !yield(b, nil) {
				return
			}
		}
	}, oversight.Config{Genesis: f.genesis.Hash(), Secrets: f.oversight(), Workers: 1}))
}

func TestWhatAResolutionMayNotDoIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*forge, *heldStory)
		want oversight.Problem
	}{
		"nothing": {func(f *forge, s *heldStory) {
			f.block(wallets.Expire(f.header(), s.pending.id, s.pending.leg.ReturnCommitment))
		}, ""},
		"a hold that nobody placed": {func(f *forge, s *heldStory) {
			f.block(wallets.Expire(f.header(), entry.HoldID{Tx: entry.ID{1}}, s.pending.leg.ReturnCommitment))
		}, oversight.HoldUnknown},
		"an amendment of nothing": {func(f *forge, s *heldStory) { f.block(wallets.Amend(f.header(), entry.HoldID{Tx: entry.ID{1}}, 5)) }, oversight.HoldUnknown},
		"a hold that was voided": {func(f *forge, s *heldStory) {
			f.block(wallets.PostAttested(f.header(), s.voided.id, s.voided.leg.Commitments[0]))
		}, oversight.HoldResolvedTwice},
		"posted to the payer": {func(f *forge, s *heldStory) {
			f.block(wallets.PostAttested(f.header(), s.pending.id, s.pending.leg.ReturnCommitment))
		}, oversight.ResolutionDiffers},
		"voided to the payee": {func(f *forge, s *heldStory) {
			f.block(wallets.Expire(f.header(), s.pending.id, s.pending.leg.Commitments[0]))
		}, oversight.ResolutionDiffers},
		"an override without oversight": {func(f *forge, s *heldStory) {
			f.block(&entry.Override{Header: f.header(), Peer: entry.GenesisHash{1}, Hold: s.pending.id, Outcome: entry.Voided, Commitment: s.pending.leg.ReturnCommitment})
		}, oversight.SignatureInvalid},
		"an override": {func(f *forge, s *heldStory) {
			e := &entry.Override{Header: f.header(), Peer: entry.GenesisHash{1}, Hold: s.pending.id, Outcome: entry.Voided, Commitment: s.pending.leg.ReturnCommitment}
			e.Sequence = f.last.NextSequence
			e.Oversight = zk.Sign(f.epochs[1], entry.OverrideField(entry.IDOf(e)).Element(), f.rand)
			f.block(e)
		}, ""},
		"another number of holds": {func(f *forge, s *heldStory) {
			f.last.Holds++
			f.block()
		}, oversight.StateDiffers},
		"a key that is not counted": {func(f *forge, s *heldStory) {
			f.last.Nullifiers--
			f.block(wallets.Amend(f.header(), s.pending.id, 5))
		}, oversight.StateDiffers},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHeldStory(t)
			f := newForge(s.world)
			tc.do(f, s)
			a := f.audit()
			found := slices.ContainsFunc(a.Mismatches, func(m oversight.Mismatch) bool { return m.Problem == tc.want })
			if found != (tc.want != "") || tc.want == "" && len(a.Mismatches) > 0 {
				t.Fatalf("%v", a.Mismatches)
			}
			if supply := must(a.Supply()); tc.want == "" && (len(supply.Mismatches) != 0 || supply.Assets[0].Holds != 0 || supply.Assets[0].Unspent.String() != "1000") {
				t.Fatalf("%+v", supply)
			}
		})
	}
}
