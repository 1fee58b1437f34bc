package oversight_test

import (
	"crypto/ed25519"
	"fmt"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// escrow is a hold on the ledger with what its parties know.
type escrow struct {
	id     entry.HoldID
	leg    entry.Leg
	held   zk.Note // the payee's
	change zk.Note
	back   zk.Note // the payer's, when voided
	terms  entry.Attested
}

func (w *world) edKey(name string) (ed25519.PrivateKey, entry.SignerKey) {
	seed := entry.Digest([]byte(name))
	k := ed25519.NewKeyFromSeed(seed[:])
	return k, must(entry.SignerKeyOf(k.Public().(ed25519.PublicKey)))
}

// hold pays amount of a note into a local hold and settles it.
func (w *world) hold(from zk.Note, to zk.Owner, amount zk.Amount) escrow {
	w.t.Helper()
	_, inspector := w.edKey("inspector")
	_, payee := w.edKey("payee")
	e := escrow{terms: entry.Attested{Until: w.now + 3*dayMillis, Payee: payee, Statement: entry.StatementDelivery, Threshold: 1, Attestors: []entry.SignerKey{inspector}}}
	out := w.now1(move{circuit: zk.Hold, sender: from.Owner, asset: from.Asset, programme: from.Programme, inputs: []zk.Note{from}, sizeClass: entry.LocalSizeClass,
		condition: e.terms.Condition(),
		outputs:   []zk.Note{{Value: amount, Owner: to, Programme: from.Programme}, {Value: from.Value - amount, Owner: from.Owner, Programme: from.Programme}}})
	e.id, e.leg, e.held, e.change = entry.HoldID{Tx: w.last.ID()}, w.last.Legs[0], out[0], out[1]
	public := e.leg.Public(zk.Root{}, zk.Root{}, zk.Root{}, zk.Point{}, zk.Field{})
	e.back = *must(keys.OpenAsOversight(w.epochs[e.leg.OversightEpoch], &public)).Return
	return e
}

// post attests and posts; it gives the id of the resolution.
func (w *world) post(e escrow) entry.ID {
	w.t.Helper()
	inspector, _ := w.edKey("inspector")
	w.submit(must(wallets.Attest(w.header(), e.id, &e.terms, entry.Digest([]byte("report")), inspector)))
	w.settle()
	r := wallets.PostAttested(w.header(), e.id, e.leg.Commitments[0])
	w.submit(r)
	w.settle()
	return entry.IDOf(r)
}

func (w *world) release(e escrow) entry.ID {
	w.t.Helper()
	payee, _ := w.edKey("payee")
	r := must(wallets.Release(w.header(), e.id, &e.terms, e.leg.ReturnCommitment, payee))
	w.submit(r)
	w.settle()
	return entry.IDOf(r)
}

// heldStory has three holds of one programme: pending, posted and then spent, voided and then spent.
type heldStory struct {
	*world
	donor, supplier, last    zk.Owner
	issued                   zk.Note
	pending, posted, voided  escrow
	postedBy, voidedBy       entry.ID
	spentPosted, spentReturn zk.Note
}

func newHeldStory(t testing.TB) *heldStory {
	s := &heldStory{world: newWorld(t, "held")}
	s.donor, s.supplier, s.last = s.owner(), s.owner(), s.owner()
	s.programme(aid, "Field hospitals")
	s.issued = s.issue(s.donor, aur, aid, 1000)
	s.pending = s.hold(s.issued, s.supplier, 100)
	s.posted = s.hold(s.pending.change, s.supplier, 200)
	s.voided = s.hold(s.posted.change, s.supplier, 300)
	s.now += dayMillis
	s.postedBy = s.post(s.posted)
	s.voidedBy = s.release(s.voided)
	s.spentPosted, _ = s.pay(s.posted.held, s.last, 150)
	s.spentReturn, _ = s.pay(s.voided.back, s.last, 250)
	return s
}

func TestSupplyCountsWhatWaits(t *testing.T) {
	s := newHeldStory(t)
	a := s.audit(s.oversight()...)
	supply := must(a.Supply())
	if len(supply.Mismatches) != 0 {
		t.Fatal(supply.Mismatches)
	}
	if got := supply.Assets[0]; got.Unspent.String() != "900" || got.Held.String() != "100" || got.Holds != 1 {
		t.Fatalf("%+v", got)
	}
}

func TestAPostedPaymentCountsOnceAndOnItsDay(t *testing.T) {
	s := newHeldStory(t)
	a := s.audit(s.oversight()...)
	rows := a.Report(oversight.ByProgramme).Rows
	// Paid: the posted 200, then 150 of it and 250 of what came back.
	if len(rows) != 1 || rows[0].Paid.String() != "600" || rows[0].Payments != 3 || rows[0].Received.String() != "600" || rows[0].Held.String() != "100" || rows[0].Holds != 1 {
		t.Fatalf("%+v", rows)
	}
	days := a.Report(oversight.ByDay).Rows
	if len(days) != 2 || days[0].Paid.String() != "0" || days[0].Held.String() != "100" || days[1].Paid.String() != "600" || days[1].Held.String() != "0" {
		t.Fatalf("%+v", days)
	}
	for _, row := range a.Report(oversight.ByWallet).Rows {
		if row.Key == s.supplier.String() && (row.Received.String() != "200" || row.Receipts != 1 || row.Paid.String() != "150") {
			t.Fatalf("%+v", row)
		}
	}
	if r := a.Report(oversight.ByAsset); r.Payments != 3 {
		t.Fatalf("%d payments", r.Payments)
	}
	// The programme's reader sees the same.
	if rows := s.audit(s.readers[aid]).Report(oversight.ByProgramme).Rows; len(rows) != 1 || rows[0].Paid.String() != "600" || rows[0].Held.String() != "100" {
		t.Fatalf("%+v", rows)
	}
}

func TestAHoldIsShownWithWhatResolvedIt(t *testing.T) {
	s := newHeldStory(t)
	a := s.audit(s.oversight()...)
	holds := a.Holds()
	if len(holds) != 3 {
		t.Fatalf("%d holds", len(holds))
	}
	for i, want := range []struct {
		e      escrow
		state  oversight.State
		by     string
		reason string
		amount string
	}{{s.pending, oversight.Pending, "", "", "100"}, {s.posted, oversight.Posted, s.postedBy.String(), "attested", "200"},
		{s.voided, oversight.Voided, s.voidedBy.String(), "released", "300"}} {
		h := holds[i]
		if h.Hold != want.e.id.String() || h.State != want.state || h.ResolvedID != want.by || h.Reason != want.reason || h.Amount != want.amount || !h.Readable ||
			h.Condition != "attested" || h.SizeClass != "" || h.Sender != s.donor.String() || h.Payee != s.supplier.String() || h.UntilMillis != want.e.terms.Until {
			t.Errorf("%+v", h)
		}
		open := must(a.OpenID(want.e.id.Tx)).Legs[0]
		if open.Hold == nil || open.Hold.Hold != h.Hold || len(open.Outputs) != 3 || open.Outputs[0].State != want.state || open.Outputs[1].State != "" ||
			!open.Outputs[2].Return || open.Outputs[2].Amount != want.amount || open.Outputs[2].Owner != s.donor.String() || open.Outputs[2].Change {
			t.Errorf("%+v", open)
		}
		if h.ResolvedID == "" {
			continue
		}
		by := must(a.OpenEntry(h.ResolvedEntry))
		if by.Kind != "resolve" || by.ID != h.ResolvedID || by.Entry != h.ResolvedEntry || by.Legs[0].Hold.Hold != h.Hold {
			t.Errorf("%+v", by)
		}
	}
	// Places: of the posted hold that of the payee's note, of the voided one that of the return note.
	posted, voided := must(a.OpenID(s.posted.id.Tx)).Legs[0].Outputs, must(a.OpenID(s.voided.id.Tx)).Legs[0].Outputs
	if at := s.at[s.posted.held.Commitment()]; posted[0].Index != at.Index || posted[0].Tree != at.Tree {
		t.Errorf("%+v, lies at %v", posted[0], at)
	}
	if at := s.at[s.voided.back.Commitment()]; voided[2].Index != at.Index || s.at[s.posted.change.Commitment()].Index != posted[1].Index {
		t.Errorf("%+v, lies at %v", voided[2], at)
	}
	// Without a key the hold is there, and nothing that it holds.
	if h := s.audit().Holds()[1]; h.Readable || h.Amount != "" || h.State != oversight.Posted || h.Commitment != s.posted.held.Commitment().String() {
		t.Errorf("%+v", h)
	}
}

func TestATraceGoesThroughAHold(t *testing.T) {
	s := newHeldStory(t)
	a := s.audit(s.oversight()...)
	for name, x := range map[string]struct {
		to     zk.Note
		from   escrow
		state  oversight.State
		amount string
		back   bool
	}{"posted": {s.spentPosted, s.posted, oversight.Posted, "200", false}, "returned": {s.spentReturn, s.voided, oversight.Voided, "300", true}} {
		trace := must(a.TraceCommitment(x.to.Commitment()))
		if !trace.Complete || len(trace.Issues) != 1 {
			t.Errorf("%s: %+v", name, trace)
		}
		i := slices.IndexFunc(trace.Chain, func(s oversight.Step) bool { return s.Hold == x.from.id.String() })
		if i != 1 {
			t.Errorf("%s: the hold is step %d", name, i)
			continue
		}
		if step := trace.Chain[i]; step.State != x.state || step.Return != x.back || step.Amount != x.amount || step.Resolved == 0 {
			t.Errorf("%s: %+v", name, step)
		}
	}
	// What waits, and what was given back, was received by nobody.
	trace := must(a.TraceTo(s.supplier, nil))
	for _, step := range trace.Chain {
		if step.Depth == 0 && step.Amount != "200" {
			t.Errorf("%+v", step)
		}
	}
}

func TestWhatABrokenLedgerDoesWithHoldsIsReported(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*heldStory)
		want oversight.Problem
	}{
		"a posted note is spent under an anchor before its posting": {func(s *heldStory) {
			e := s.hold(s.voided.change, s.supplier, 7)
			before := s.state.Height()
			s.post(e)
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{e.held},
				outputs: []zk.Note{{Value: 7, Owner: s.supplier, Programme: aid}}, tamper: func(l *entry.Leg) { l.Anchor = before }})
		}, oversight.InputUnknown},
		"a returned note is spent twice": {func(s *heldStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.donor, asset: aur, programme: aid, inputs: []zk.Note{s.voided.back},
				outputs: []zk.Note{{Value: 300, Owner: s.donor, Programme: aid}}})
		}, oversight.InputSpentTwice},
		"a hold makes money": {func(s *heldStory) {
			s.now1(move{circuit: zk.Hold, sender: s.donor, asset: aur, programme: aid, sizeClass: entry.LocalSizeClass, condition: s.pending.terms.Condition(),
				outputs: []zk.Note{{Value: 5, Owner: s.supplier, Programme: aid}}})
		}, oversight.Unbalanced},
		"a hold that gives back to somebody else": {func(s *heldStory) {
			s.now1(move{circuit: zk.Hold, sender: s.donor, asset: aur, programme: aid, sizeClass: entry.LocalSizeClass, condition: s.pending.terms.Condition(),
				inputs: []zk.Note{s.voided.change}, outputs: []zk.Note{{Value: 5, Owner: s.supplier, Programme: aid}, {Value: s.voided.change.Value - 5, Owner: s.donor, Programme: aid}},
				tamper: func(l *entry.Leg) { l.ReturnCommitment[31] ^= 1 }})
		}, oversight.ReturnDiffers},
	} {
		t.Run(name, func(t *testing.T) {
			s := newHeldStory(t)
			tc.do(s)
			supply := must(s.audit(s.oversight()...).Supply())
			if !slices.ContainsFunc(supply.Mismatches, func(m oversight.Mismatch) bool { return m.Problem == tc.want }) {
				t.Fatalf("%v", supply.Mismatches)
			}
		})
	}
}

func TestReadersOfAWalletAndOfOversightAgreeOnHolds(t *testing.T) {
	s := newHeldStory(t)
	a := s.audit(s.oversight()...)
	var open uint32
	for _, h := range a.Holds() {
		if h.State == oversight.Pending {
			open++
		}
	}
	last := must(entry.DecodeState(s.head().Entries[len(s.head().Entries)-1]))
	if open != last.Holds {
		t.Fatalf("%d open, the ledger says %d", open, last.Holds)
	}
	if len(a.Mismatches) != 0 {
		t.Fatal(fmt.Sprint(a.Mismatches))
	}
}
