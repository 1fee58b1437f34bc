package session_test

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

const day = 24 * 60 * 60 * 1000

// terms is a delivery-versus-payment escrow: one attestor, the payer and the payee by their one-use keys.
func (w *world) terms(id string, until uint64) entry.Attested {
	public := func(k keys.Wallet, role keys.HoldRole) entry.SignerKey {
		key := must(k.HoldKey(role, id))
		return must(entry.SignerKeyOf(key.Public().(ed25519.PublicKey)))
	}
	return entry.Attested{Until: until, Payer: public(w.ministry, keys.HoldPayer), Payee: public(w.supplier, keys.HoldPayee), Statement: entry.StatementDelivery,
		Threshold: 1, Attestors: []entry.SignerKey{signer("inspector")}}
}

func (w *world) condition(a entry.Attested) session.Condition {
	return func(*wallets.HoldDraft) (entry.Condition, uint64, error) {
		c, err := wallets.AttestedCondition(a)
		return c, entry.LocalSizeClass, err
	}
}

func (w *world) head() entry.Header {
	return entry.Header{Ledger: w.genesis.Hash(), ExpiryMillis: w.now + 600_000}
}

func submit(t *testing.T, s *session.Session, e entry.Entry) session.Accepted {
	t.Helper()
	at, err := s.SubmitEntry(t.Context(), entry.Encode(e))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// openHold places a hold of amount and gives its record in the wallet of the supplier.
func openHold(t *testing.T, w *world, s *session.Session, id string, amount zk.Amount, a entry.Attested) (session.Held, wallets.Hold) {
	t.Helper()
	h, err := s.Hold(t.Context(), w.order(id, amount), w.condition(a), nil, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	theirs := w.open(w.supplier, newDisk(), "theirs")
	if err := theirs.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	row, ok := theirs.State().HoldOf(h.Hold)
	if !ok {
		t.Fatal("the payee does not see the hold")
	}
	return h, row
}

func TestAnEscrowIsPostedWhenTheInspectorAttests(t *testing.T) {
	w := newWorld(t, 1000)
	s := w.open(w.ministry, w.disk, "a")
	a := w.terms("order 9", w.now+day)
	h, row := openHold(t, w, s, "order 9", 300, a)
	if row.Amount() != 300 || !row.Payee || row.Until != a.Until || h.Again || h.Payment.Settled.Entry != row.Entry {
		t.Fatalf("%+v", row)
	}
	w.want(w.ministry, 0, 700)
	w.want(w.supplier, 0, 0)
	if again, err := s.Hold(t.Context(), w.order("order 9", 300), w.condition(a), nil, time.Minute, nil); err != nil || !again.Again || again.Hold != h.Hold || !again.Final {
		t.Fatalf("%+v %v", again, err)
	}
	report := entry.Digest([]byte("delivered"))
	post := wallets.PostAttested(w.head(), h.Hold, row.Commitment)
	if _, err := s.SubmitEntry(t.Context(), entry.Encode(post)); entry.CodeOf(err) != entry.HoldNotReady {
		t.Fatalf("posted before it was attested: %v", err)
	}
	submit(t, s, must(wallets.Attest(w.head(), h.Hold, &a, report, edKey("inspector"))))
	at := submit(t, s, post)
	if again := submit(t, s, post); again.EntryIndex != at.EntryIndex || !again.Before {
		t.Fatalf("%+v, %+v", at, again)
	}
	w.want(w.ministry, 0, 700)
	w.want(w.supplier, 0, 300)
	// The payee spends what was posted, and shows that it was paid; so does the payer.
	w.register(w.supplier, unlimited)
	theirs := w.open(w.supplier, newDisk(), "b")
	back := w.order("back", 300)
	back.To = w.to(w.ministry)
	pay(t, theirs, back)
	w.want(w.ministry, 0, 1000)
	if err := s.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	receipt := must(w.Receipt(t.Context(), at.EntryIndex, 0))
	for name, x := range map[string]*session.Session{"payer": s, "payee": theirs} {
		d, err := x.State().Disclose(x.Outbox(), entry.IDOf(post), 0, 0, receipt)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		p, err := must(wallets.ParseDisclosure(must(d.Marshal()))).Verify(w.genesis)
		if err != nil || p.Note.Value != 300 || p.Note.Owner != w.supplier.Owner() {
			t.Fatalf("%s: %+v %v", name, p, err)
		}
	}
	// The receipt of the hold itself shows no payment.
	placed := must(w.Receipt(t.Context(), row.Entry, 0))
	d := must(s.State().Disclose(s.Outbox(), h.Hold.Tx, 0, 0, placed))
	if _, err := d.Verify(w.genesis); wallets.CodeOf(err) != wallets.DisclosureInvalid {
		t.Fatalf("a hold passes as a payment: %v", err)
	}
	if _, err := must(s.State().Disclose(s.Outbox(), h.Hold.Tx, 0, 1, placed)).Verify(w.genesis); err != nil {
		t.Fatalf("the change: %v", err)
	}
}

func TestAnEscrowThatExpiresComesBack(t *testing.T) {
	w := newWorld(t, 1000)
	s := w.open(w.ministry, w.disk, "a")
	a := w.terms("x", w.now+50_000)
	h, row := openHold(t, w, s, "x", 1000, a)
	expire := wallets.Expire(w.head(), h.Hold, row.ReturnCommitment)
	if _, err := s.SubmitEntry(t.Context(), entry.Encode(expire)); entry.CodeOf(err) != entry.HoldNotExpired {
		t.Fatalf("%v", err)
	}
	amend := wallets.Amend(w.head(), h.Hold, a.Until+40_000)
	for _, k := range []struct {
		w    keys.Wallet
		role keys.HoldRole
	}{{w.ministry, keys.HoldPayer}, {w.supplier, keys.HoldPayee}} {
		if _, err := wallets.SignAmend(amend, &a, must(k.w.HoldKey(k.role, "x"))); err != nil {
			t.Fatal(err)
		}
	}
	submit(t, s, amend)
	w.idle(60_000)
	if _, err := s.SubmitEntry(t.Context(), entry.Encode(expire)); entry.CodeOf(err) != entry.HoldNotExpired {
		t.Fatalf("expired although amended: %v", err)
	}
	w.idle(60_000)
	submit(t, s, expire)
	w.want(w.ministry, 0, 1000) // by a reader that has nothing but the keys
	if err := s.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if row, _ := s.State().HoldOf(h.Hold); row.Outcome != entry.Voided || row.Until != amend.Until {
		t.Fatalf("%+v", row)
	}
	pay(t, s, w.order("y", 1000))
	w.want(w.supplier, 0, 1000)
}

func TestAReleasedHoldComesBackAtOnce(t *testing.T) {
	w := newWorld(t, 1000)
	s := w.open(w.ministry, w.disk, "a")
	a := w.terms("x", w.now+day)
	h, row := openHold(t, w, s, "x", 400, a)
	submit(t, s, must(wallets.Release(w.head(), h.Hold, &a, row.ReturnCommitment, must(w.supplier.HoldKey(keys.HoldPayee, "x")))))
	w.want(w.ministry, 0, 1000)
	w.want(w.supplier, 0, 0)
}

func TestKillAtEveryStepOfAHoldPlacesItOnce(t *testing.T) {
	for n := 0; ; n++ {
		// Nine notes: the hold needs merges first.
		w := newWorld(t, 10, 10, 10, 10, 10, 10, 10, 10, 10)
		a := w.terms("x", w.now+day)
		w.disk.countdown = n
		_, err := w.open(w.ministry, w.disk, "a").Hold(t.Context(), w.order("x", 85), w.condition(a), nil, 0, nil)
		killed := errors.Is(err, errKilled)
		if err != nil && !killed {
			t.Fatalf("step %d: %v", n, err)
		}
		w.disk.dead, w.disk.countdown = false, -1
		s := w.open(w.ministry, w.disk, fmt.Sprint("b", n))
		promised, reserved := s.Outbox().Reservation("x")
		h, err := s.Hold(t.Context(), w.order("x", 85), w.condition(a), nil, 0, nil)
		if err != nil {
			t.Fatalf("step %d, again: %v", n, err)
		}
		if err := s.Sync(t.Context(), nil); err != nil {
			t.Fatal(err)
		}
		holds := s.State().Holds()
		if len(holds) != 1 || holds[0].ID != h.Hold || s.State().OpenHolds() != 1 || holds[0].Amount() != 85 {
			t.Fatalf("step %d: %+v", n, holds)
		}
		if reserved && holds[0].Commitment != promised.Commitment() {
			t.Fatalf("step %d: another commitment than the one in the journal", n)
		}
		w.want(w.ministry, 0, 5)
		if !killed {
			if n < 10 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
	}
}

func TestAReservedHoldWaitsForItsCondition(t *testing.T) {
	w := newWorld(t, 1000)
	s := w.open(w.ministry, w.disk, "a")
	draft, err := s.Reserve(t.Context(), w.order("x", 300), nil)
	if err != nil {
		t.Fatal(err)
	}
	if again := must(w.open(w.ministry, w.disk, "b").Reserve(t.Context(), w.order("x", 300), nil)); again.Commitment() != draft.Commitment() {
		t.Fatal("reserved twice")
	}
	late := errors.New("the provider has not answered")
	if _, err := s.Hold(t.Context(), w.order("x", 300), func(*wallets.HoldDraft) (entry.Condition, uint64, error) { return entry.Condition{}, 0, late }, nil, 0, nil); !errors.Is(err, late) {
		t.Fatalf("%v", err)
	}
	// Its note pays nothing else, until it is free again.
	if _, err := s.Pay(t.Context(), w.order("y", 1), 0, nil); wallets.CodeOf(err) != wallets.FundsInFlight {
		t.Fatalf("%v", err)
	}
	// A payment of the same id is another payment.
	if _, err := s.Pay(t.Context(), w.order("x", 300), 0, nil); wallets.CodeOf(err) != wallets.PaymentIDConflict {
		t.Fatalf("%v", err)
	}
	s = w.open(w.ministry, w.disk, "c")
	var shown zk.Note
	h, err := s.Hold(t.Context(), w.order("x", 300), func(d *wallets.HoldDraft) (entry.Condition, uint64, error) {
		shown = d.Opening()
		return w.condition(w.terms("x", w.now+day))(d)
	}, nil, 0, nil)
	if err != nil || shown.Commitment() != draft.Commitment() {
		t.Fatalf("%v", err)
	}
	if row, _ := s.State().HoldOf(h.Hold); row.Commitment != draft.Commitment() {
		t.Fatal("another commitment was placed")
	}
	if sent, ok := s.Outbox().Held(h.Hold); !ok || sent.Note != draft.Opening() || sent.To != w.to(w.supplier) {
		t.Fatalf("%+v", sent)
	}
	if placed, err := s.Reserve(t.Context(), w.order("x", 300), nil); err != nil || placed.Commitment() != draft.Commitment() {
		t.Fatalf("a placed draft is gone: %v", err)
	}
	if err := s.Unreserve("x"); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Reserve(t.Context(), w.order("x", 300), nil); wallets.CodeOf(err) != wallets.NotFound {
		t.Fatalf("%v", err)
	}
	if _, ok := s.Outbox().Held(entry.HoldID{Tx: h.Hold.Tx, Leg: 1}); ok {
		t.Fatal("a hold in a leg that does not exist")
	}
	pay(t, s, w.order("y", 1))
	draft = must(s.Reserve(t.Context(), w.order("z", 5), nil))
	if err := s.Unreserve("z"); err != nil {
		t.Fatal(err)
	}
	if again := must(s.Reserve(t.Context(), w.order("z", 5), nil)); again.Commitment() == draft.Commitment() {
		t.Fatal("a freed draft came back")
	}
}

// rotate gives the ledger a new oversight key.
func (w *world) rotate(epoch uint32) {
	w.t.Helper()
	key := scalar(fmt.Sprint("oversight ", epoch))
	w.admin(&entry.Oversight{Epoch: epoch, Key: key.Base(), Possession: entry.ProvePossession(key, entry.OversightPossession(w.genesis.Hash(), epoch), &stream{name: "n"})})
}

func TestARotationAsksForTheConditionAgain(t *testing.T) {
	w := newWorld(t, 1000, 1000)
	s := w.open(w.ministry, w.disk, "a")
	first := true
	w.reject = func([]byte) error {
		if first {
			first = false
			w.rotate(2)
		}
		return nil
	}
	var seen []zk.Commitment
	condition := func(d *wallets.HoldDraft) (entry.Condition, uint64, error) {
		seen = append(seen, d.Commitment())
		return w.condition(w.terms("x", w.now+day))(d)
	}
	h, err := s.Hold(t.Context(), w.order("x", 300), condition, nil, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	row, _ := s.State().HoldOf(h.Hold)
	if len(seen) != 2 || seen[0] == seen[1] || row.Commitment != seen[1] {
		t.Fatalf("%d drafts", len(seen))
	}
	attempts := s.Outbox().Attempts("x")
	if len(attempts) != 2 || attempts[0].Inputs[0] != attempts[1].Inputs[0] {
		t.Fatal("the second hold shares no input with the first")
	}
	w.want(w.ministry, 0, 1700)
	// Whoever promised the first commitment says no, and nothing is placed.
	draft := must(s.Reserve(t.Context(), w.order("y", 10), nil))
	w.rotate(3)
	broken := errors.New("the decider names another commitment")
	_, err = s.Hold(t.Context(), w.order("y", 10), func(d *wallets.HoldDraft) (entry.Condition, uint64, error) {
		if d.Commitment() == draft.Commitment() {
			t.Error("a draft under the old key")
		}
		return entry.Condition{}, 0, broken
	}, nil, 0, nil)
	if !errors.Is(err, broken) {
		t.Fatalf("%v", err)
	}
	w.want(w.ministry, 0, 1700)
}

func TestAnExpiredHoldKeepsItsCommitments(t *testing.T) {
	w := newWorld(t, 1000)
	s := w.open(w.ministry, w.disk, "a")
	first := true
	w.reject = func([]byte) error {
		if first {
			first = false
			w.idle(1_000_000)
		}
		return nil
	}
	calls := 0
	h, err := s.Hold(t.Context(), w.order("x", 300), func(d *wallets.HoldDraft) (entry.Condition, uint64, error) {
		calls++
		return w.condition(w.terms("x", w.now+10*day))(d)
	}, nil, 0, nil)
	if err != nil {
		t.Fatal(err)
	}
	draft, _ := s.Outbox().Reservation("x")
	if row, _ := s.State().HoldOf(h.Hold); row.Commitment != draft.Commitment() || len(s.Outbox().Attempts("x")) != 2 {
		t.Fatalf("%d attempts", len(s.Outbox().Attempts("x")))
	}
}

// A hold that must be placed before a time is placed by a transaction that expires then, or never; and later under the same id, when it may.
func TestAHoldIsPlacedBeforeATimeOrNever(t *testing.T) {
	w := newWorld(t, 1000, 1000)
	s := w.open(w.ministry, w.disk, "a")
	condition := w.condition(w.terms("x", w.now+10*day))
	place := func(id string, before uint64) (session.Held, error) {
		return s.HoldBefore(t.Context(), w.order(id, 300), condition, nil, before, 0, nil)
	}
	before := w.now + 5_000
	if h, err := place("in time", before); err != nil || s.Outbox().Attempts("in time")[0].ExpiryMillis != before || h.Hold.Tx != s.Outbox().Attempts("in time")[0].TxID {
		t.Fatal(h, err)
	}
	if _, err := place("far", w.now+90*day); err != nil { // a bound beyond what the ledger allows is none
		t.Fatal(err)
	}
	usual, h := w.order("usual", 100), s.Outbox().Attempts("far")[0]
	if _, err := s.Hold(t.Context(), usual, condition, nil, 0, nil); err != nil || s.Outbox().Attempts("usual")[0].ExpiryMillis < h.ExpiryMillis {
		t.Fatal(err)
	}
	// The transaction expires on its way: no other is made.
	before = w.now + 5_000
	w.reject = func([]byte) error {
		w.reject = nil
		w.idle(5_000)
		return nil
	}
	for range 3 {
		if _, err := place("late", before); entry.CodeOf(err) != entry.Expired {
			t.Fatal(err)
		}
	}
	if n := len(s.Outbox().Attempts("late")); n != 1 {
		t.Errorf("%d attempts", n)
	}
	order, _ := s.Outbox().Order("late")
	if p := s.State().PaymentOf(s.Outbox(), order); p.Stage != wallets.Dead {
		t.Errorf("the payment is %s", p.Stage)
	}
	if _, reserved := s.Outbox().Reservation("late"); !reserved {
		t.Error("the reservation is gone: it is for the caller to give it up")
	}
	if _, err := place("late", before+60_000); err != nil {
		t.Fatal(err)
	}
	// Too late from the beginning: nothing is built.
	if _, err := place("never", w.now); entry.CodeOf(err) != entry.Expired || len(s.Outbox().Attempts("never")) != 0 {
		t.Errorf("%v, %d attempts", err, len(s.Outbox().Attempts("never")))
	}
	if err := s.Unreserve("never"); err != nil {
		t.Fatal(err)
	}
}

func TestAPeerProofIsAttachedAndRefreshed(t *testing.T) {
	w := newWorld(t, 1000, 50)
	s := w.open(w.ministry, w.disk, "a")
	there := &entry.DecidedThere{Ledger: entry.GenesisHash{9}, Hold: entry.HoldID{Tx: entry.ID{8}}, Until: w.now + day}
	condition := func(*wallets.HoldDraft) (entry.Condition, uint64, error) { return there.Condition(), 500, nil }
	proofs := uint64(0)
	attach := func(tx *entry.Transaction) error {
		proofs++
		tx.Legs[0].Peer = &entry.PeerProof{Size: 10 * proofs, Index: 3, Leaf: []byte("the hold there")}
		return nil
	}
	var sent []*entry.Transaction
	w.reject = func(e []byte) error {
		sent = append(sent, must(entry.DecodeTransaction(e)))
		if len(sent) == 1 {
			return entry.Refuse(entry.PeerSizeUnknown, "not observed")
		}
		return entry.Refuse(entry.CorridorFrozen, "evidence")
	}
	if _, err := s.Hold(t.Context(), w.order("x", 300), condition, nil, 0, nil); err == nil || len(sent) != 0 {
		t.Fatalf("sent without a peer proof: %v", err)
	}
	if _, err := s.Hold(t.Context(), w.order("x", 300), condition, func(tx *entry.Transaction) error { tx.ExpiryMillis++; return attach(tx) }, 0, nil); err == nil || len(sent) != 0 {
		t.Fatalf("a transaction that was changed went out: %v", err)
	}
	proofs = 0
	_, err := s.Hold(t.Context(), w.order("x", 300), condition, attach, 0, nil)
	if entry.CodeOf(err) != entry.CorridorFrozen || len(sent) != 2 {
		t.Fatalf("%d sent, %v", len(sent), err)
	}
	if sent[0].ID() != sent[1].ID() || sent[0].Legs[0].Peer.Size != 10 || sent[1].Legs[0].Peer.Size != 20 {
		t.Fatalf("%+v, %+v", sent[0].Legs[0].Peer, sent[1].Legs[0].Peer)
	}
	// The refused hold stands in nobody's way.
	if err := s.Resume(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	// Freed, it is reserved again from the same notes alone, because its transaction may still settle.
	if err := s.Unreserve("x"); err != nil {
		t.Fatal(err)
	}
	if again := must(s.Reserve(t.Context(), w.order("x", 300), nil)); again.Commitment() != sent[0].Legs[0].Commitments[0] {
		t.Fatal("reserved from other notes")
	}
	// With the same notes under another condition it is placed after all: that of this ledger.
	w.reject = nil
	if _, err := s.Hold(t.Context(), w.order("x", 300), w.condition(w.terms("x", w.now+day)), nil, 0, nil); err != nil {
		t.Fatal(err)
	}
	attempts := s.Outbox().Attempts("x")
	if attempts[0].Inputs[0] != attempts[len(attempts)-1].Inputs[0] {
		t.Fatal("another note")
	}
	w.want(w.ministry, 0, 750)
}

func TestMoneyIsNotSentAsAnEntry(t *testing.T) {
	w := newWorld(t, 1000)
	s := w.open(w.ministry, w.disk, "a")
	pay(t, s, w.order("x", 5))
	if _, err := s.SubmitEntry(t.Context(), s.Outbox().Attempts("x")[0].Entry); entry.CodeOf(err) != entry.KindMismatch {
		t.Fatalf("%v", err)
	}
	if _, err := s.SubmitEntry(t.Context(), []byte{1, 99}); entry.CodeOf(err) != entry.UnknownKind {
		t.Fatalf("%v", err)
	}
	failures := 2
	w.after = func() error {
		if failures--; failures >= 0 {
			return errors.New("connection reset")
		}
		return nil
	}
	a := w.terms("h", w.now+day)
	h, row := openHold(t, w, s, "h", 10, a)
	failures = 2
	if at := submit(t, s, must(wallets.Release(w.head(), h.Hold, &a, row.ReturnCommitment, must(w.supplier.HoldKey(keys.HoldPayee, "h"))))); !at.Before {
		t.Fatal("an answer that was lost is not found again")
	}
	order := w.order("z", 5)
	order.Held = true
	if _, err := s.Pay(t.Context(), order, 0, nil); err == nil {
		t.Fatal("a hold was paid as a payment")
	}
}
