package wallets

import (
	"encoding/json"
	"reflect"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// held is a ledger with a payer of 1,000, a payee who may spend, and one open hold of 300.
func held(t *testing.T) (s *scribe, payer, payee keys.Wallet, d *Draft, id entry.HoldID) {
	s = newScribe(t)
	payer, payee = s.wallet("payer"), s.wallet("payee")
	s.register(payer, 10_000)
	s.register(payee, 10_000)
	s.issue(payer, 1000)
	d = s.hold(payer, s.order("x", payee, 300))
	s.close()
	return s, payer, payee, d, entry.HoldID{Tx: d.ID()}
}

// spend pays amount from one wallet to another, every statement checked natively: the wallet's path and nullifier are right.
func (s *scribe) spend(from, to keys.Wallet, amount zk.Amount) {
	s.t.Helper()
	o := s.order("spend", to, amount)
	o.Held = false
	drafts, pays, err := s.builder(from, "spend").Next(must(NewOutbox(nil)), o)
	if err != nil || !pays {
		s.t.Fatalf("%v %t", err, pays)
	}
	s.settle(drafts[0])
	s.close()
	s.read(from)
}

func TestAPostedHoldIsThePayeesMoney(t *testing.T) {
	s, payer, payee, d, id := held(t)
	mine, theirs := s.read(payer), s.read(payee)
	if balance(mine) != 700 || balance(theirs) != 0 || mine.OpenHolds() != 1 {
		t.Fatalf("payer %d, payee %d, %d holds", balance(mine), balance(theirs), mine.OpenHolds())
	}
	h, ok := theirs.HoldOf(id)
	if !ok || h.Mine || !h.Payee || h.Amount() != 300 || h.Reference != "for x" || h.Commitment != d.Tx.Legs[0].Commitments[0] || h.Until == 0 || h.Outcome != 0 {
		t.Fatalf("%+v", h)
	}
	if h, _ := mine.HoldOf(id); !h.Mine || h.Payee || h.Amount() != 300 || h.Return.Owner != payer.Owner() || h.ReturnCommitment != h.Return.Commitment() {
		t.Fatalf("%+v", h)
	}
	if out, in := mine.Held(); len(out) != 1 || out[0].Amount != 300 || in != nil {
		t.Fatalf("%v %v", out, in)
	}
	if out, in := theirs.Held(); out != nil || len(in) != 1 || in[0].Amount != 300 {
		t.Fatalf("%v %v", out, in)
	}
	e := s.resolve(id, entry.Posted, h.Commitment)
	s.close()
	mine, theirs = s.read(payer), s.read(payee)
	if balance(mine) != 700 || balance(theirs) != 300 || mine.OpenHolds() != 0 {
		t.Fatalf("payer %d, payee %d", balance(mine), balance(theirs))
	}
	wantDirections(t, mine, Issued, HeldOut, PostedOut)
	wantDirections(t, theirs, HeldIn, PostedIn)
	if h, _ := theirs.HoldOf(id); h.Outcome != entry.Posted || h.ResolvedBy != entry.IDOf(e) {
		t.Fatalf("%+v", h)
	}
	if at, ok := theirs.SettledAt(entry.IDOf(e)); !ok || at.Height != uint64(len(s.blocks)-1) {
		t.Fatal("the resolution is not known as settled")
	}
	s.spend(payee, payer, 300)
	if balance(s.read(payee)) != 0 || balance(s.read(payer)) != 1000 {
		t.Fatal("the posted note was not spent")
	}
}

func TestAVoidedHoldIsThePayersMoneyAgain(t *testing.T) {
	s, payer, payee, d, id := held(t)
	s.resolve(id, entry.Voided, d.Tx.Legs[0].ReturnCommitment)
	s.close()
	if balance(s.read(payer)) != 1000 || balance(s.read(payee)) != 0 {
		t.Fatalf("payer %d, payee %d", balance(s.read(payer)), balance(s.read(payee)))
	}
	wantDirections(t, s.read(payer), Issued, HeldOut, Returned)
	wantDirections(t, s.read(payee), HeldIn, Lapsed)
	// From the seed alone: the return note is found by the third ciphertext of the segment.
	restored := s.restore(payer)
	if balance(restored) != 1000 {
		t.Fatalf("restored %d", balance(restored))
	}
	if tx, tagged := restored.TagSettled(TagOf("x")); !tagged || tx != id.Tx {
		t.Fatal("a restored wallet does not know that the payment id was used")
	}
	s.spend(payer, payee, 1000)
}

func TestAHoldToOneself(t *testing.T) {
	for _, outcome := range []entry.Outcome{entry.Posted, entry.Voided} {
		s := newScribe(t)
		k := s.wallet("k")
		s.register(k, 1000)
		s.issue(k, 500)
		d := s.hold(k, s.order("x", k, 500))
		s.close()
		leg := &d.Tx.Legs[0]
		cm, last := leg.Commitments[0], PostedIn
		if outcome == entry.Voided {
			cm, last = leg.ReturnCommitment, Returned
		}
		s.resolve(entry.HoldID{Tx: d.ID()}, outcome, cm)
		s.close()
		wantDirections(t, s.read(k), Issued, HeldOut, last)
		if balance(s.read(k)) != 500 {
			t.Fatalf("%d", balance(s.read(k)))
		}
		s.spend(k, k, 500)
	}
}

// Every kind of placing in one block, with a hold that is resolved in the block that logs it.
func TestABlockOfEverythingIsPlacedInOrder(t *testing.T) {
	s := newScribe(t)
	a, b, c := s.wallet("a"), s.wallet("b"), s.wallet("c")
	for _, k := range []keys.Wallet{a, b, c} {
		s.register(k, 10_000)
		s.issue(k, 1000)
	}
	first := s.hold(a, s.order("first", b, 10))
	s.close()
	s.read(a)
	// b: a disbursement of three lines; a: a second hold, posted at once; the first hold voided between them; c: a payment.
	second := s.hold(a, s.order("second", c, 20))
	s.resolve(entry.HoldID{Tx: first.ID()}, entry.Voided, first.Tx.Legs[0].ReturnCommitment)
	bb := s.builder(b, "disburse")
	wide := must(bb.build(plannedTx{kind: entry.KindTransfer, legs: []plannedLeg{{asset: 1, payees: []Payee{{To: a.Address("aur", s.genesis.Hash())}},
		leg: leg{circuit: zk.Disburse16, group: -1, inputs: []coin{{ref: 0, value: 1000}}, outputs: []output{{purpose: ToPayee, value: 400}, {purpose: ToChange, value: 600}}}}}}))
	s.settle(wide)
	s.add(&entry.Document{Action: entry.Anchors, Type: entry.DocumentContract, Digest: entry.Digest([]byte("contract")), Label: "contract 7"})
	s.resolve(entry.HoldID{Tx: second.ID()}, entry.Posted, second.Tx.Legs[0].Commitments[0])
	drafts, _, err := s.builder(c, "c").Next(must(NewOutbox(nil)), s.order("y", a, 5))
	if err != nil {
		t.Fatal(err)
	}
	s.settle(drafts[0])
	s.add(&entry.Evidence{Peer: entry.GenesisHash{1}, Type: entry.EvidenceFork, Data: []byte("x")})
	s.add(&entry.Document{Action: entry.Supersedes, Type: entry.DocumentContract, Digest: entry.Digest([]byte("contract 2")), Former: entry.Digest([]byte("contract")), Label: "contract 8"})
	s.close()
	for _, w := range []struct {
		k    keys.Wallet
		want zk.Amount
	}{{a, 1000 - 20 + 400 + 5}, {b, 600}, {c, 1000 + 20 - 5}} {
		if got := balance(s.read(w.k)); got != w.want {
			t.Errorf("holds %d, want %d", got, w.want)
		}
		if got := balance(s.restore(w.k)); got != w.want {
			t.Errorf("restored %d, want %d", got, w.want)
		}
	}
	for _, k := range []keys.Wallet{a, b, c} {
		for i, n := range s.read(k).Notes() {
			if n.Spent {
				continue
			}
			path := must(s.read(k).notes.path(n.Position))
			if zk.RootFromElement(path.Root(n.Commitment.Element())) != s.frontier.Root() {
				t.Errorf("note %d does not lie at %v", i, n.Position)
			}
		}
	}
}

func TestAStateWithOpenHoldsIsReadOn(t *testing.T) {
	s, payer, payee, d, id := held(t)
	for _, k := range []keys.Wallet{payer, payee} {
		st := must(DecodeState(must(s.read(k).Encode()), s.genesis, k.FullView()))
		if !reflect.DeepEqual(st.Holds(), s.read(k).Holds()) || st.OpenHolds() != 1 {
			t.Fatalf("%+v", st.Holds())
		}
		s.wallets[k.Owner().String()] = st
	}
	until := s.now + 5_000_000
	s.add(&entry.Amend{Hold: id, Until: until})
	s.close()
	if h, _ := s.read(payee).HoldOf(id); h.Until != until {
		t.Fatalf("until %d", h.Until)
	}
	s.resolve(id, entry.Voided, d.Tx.Legs[0].ReturnCommitment)
	s.close()
	s.spend(payer, payee, 1000)
	s.read(payee)
}

func TestALieAboutAHoldIsNamed(t *testing.T) {
	for name, lie := range map[string]func(*scribe, *Draft, entry.HoldID){
		"posted to another commitment": func(s *scribe, d *Draft, id entry.HoldID) {
			s.resolve(id, entry.Posted, d.Tx.Legs[0].ReturnCommitment)
			s.close()
		},
		"voided to the payee": func(s *scribe, d *Draft, id entry.HoldID) {
			s.resolve(id, entry.Voided, d.Tx.Legs[0].Commitments[0])
			s.close()
		},
		"an override to another commitment": func(s *scribe, d *Draft, id entry.HoldID) {
			s.add(&entry.Override{Hold: id, Outcome: entry.Posted, Commitment: d.Tx.Legs[0].Commitments[1]})
			s.close()
		},
		"resolved twice": func(s *scribe, d *Draft, id entry.HoldID) {
			s.hold(s.wallet("payer"), s.order("y", s.wallet("payee"), 5))
			s.close()
			s.resolve(id, entry.Posted, d.Tx.Legs[0].Commitments[0])
			s.resolve(id, entry.Posted, d.Tx.Legs[0].Commitments[0])
			s.close()
		},
		"more resolutions than holds": func(s *scribe, _ *Draft, _ entry.HoldID) {
			s.resolve(entry.HoldID{Tx: entry.ID{1}}, entry.Posted, zk.Commitment{})
			s.resolve(entry.HoldID{Tx: entry.ID{2}}, entry.Posted, zk.Commitment{})
			s.holds = 2
			s.close(func(e *entry.State) { e.Holds = ^uint32(0) }) // what a counter without this check would come to
		},
		"another number of open holds": func(s *scribe, _ *Draft, _ entry.HoldID) { s.close(func(e *entry.State) { e.Holds = 0 }) },
		"a key that is not counted": func(s *scribe, _ *Draft, id entry.HoldID) {
			s.add(&entry.Amend{Hold: id, Until: 1})
			s.close(func(e *entry.State) { e.Nullifiers-- })
		},
		"the held output placed at once": func(s *scribe, _ *Draft, _ entry.HoldID) {
			d := s.hold(s.wallet("payer"), s.order("y", s.wallet("payee"), 5))
			before := s.frontier.Clone()
			s.close()
			for _, cm := range d.Tx.Legs[0].Commitments {
				must(0, before.Append(cm.Element()))
			}
			s.blocks, s.size = s.blocks[:len(s.blocks)-1], s.size-2
			s.holds--
			s.keys -= 2
			s.add(d.Tx, d.Segments...)
			s.close(func(e *entry.State) { e.NoteRoot, e.TreeSize = before.Root(), before.Size() })
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, payer, _, d, id := held(t)
			s.read(payer)
			lie(s, d, id)
			if _, err := s.try(payer); CodeOf(err) != LedgerLied {
				t.Fatalf("%v", err)
			}
		})
	}
}

func TestOneDraftGivesOneLegUnderAnyCondition(t *testing.T) {
	s := newScribe(t)
	k := s.wallet("k")
	s.register(k, 1000)
	s.issue(k, 500)
	b := s.builder(k, "hold")
	o := s.order("x", s.wallet("payee"), 300)
	h, _, err := b.ReserveHold(must(NewOutbox(nil)), o)
	if err != nil {
		t.Fatal(err)
	}
	if n := h.Opening(); n.Commitment() != h.Commitment() || n.Value != 300 || n.Owner != s.wallet("payee").Owner() {
		t.Fatalf("%+v", n)
	}
	local := must(b.BuildHold(h, s.attested("a"), entry.LocalSizeClass, 0))
	// From the journal, after a kill, for another ledger's decision.
	box := must(NewOutbox([][]byte{must(Encode(o)), must(Encode(h))}))
	again, ok := box.Reservation("x")
	if !ok {
		t.Fatal("lost")
	}
	there := (&entry.DecidedThere{Ledger: entry.GenesisHash{9}, Hold: entry.HoldID{Tx: entry.ID{3}}, Until: s.now + 9000}).Condition()
	cross := must(s.builder(k, "other").BuildHold(again, there, 1000, s.now+777))
	x, y := local.Tx.Legs[0], cross.Tx.Legs[0]
	if !slices.Equal(x.Commitments, y.Commitments) || !slices.Equal(x.Cipher, y.Cipher) || !slices.Equal(x.Sender, y.Sender) || x.Epk != y.Epk || x.Wrap != y.Wrap ||
		!slices.Equal(x.Nullifiers, y.Nullifiers) || x.ReturnCommitment != y.ReturnCommitment || x.SegmentHash != y.SegmentHash {
		t.Fatal("the leg changed with its condition")
	}
	if local.ID() == cross.ID() || cross.Tx.ExpiryMillis != s.now+777 || y.SizeClass != 1000 || x.Commitments[0] != h.Commitment() || x.ReturnCommitment != h.ReturnCommitment() {
		t.Fatalf("%+v", cross.Tx.Header)
	}
	for _, d := range []*Draft{local, cross} { // both are true statements
		if err := d.Prove(t.Context(), native{}, nil); err != nil {
			t.Fatal(err)
		}
	}
}

func TestABadHoldIsRefusedByName(t *testing.T) {
	s := newScribe(t)
	k := s.wallet("k")
	s.register(k, 1000)
	s.issue(k, 500, 2000)
	b := s.builder(k, "hold")
	empty := must(NewOutbox(nil))
	h, _, err := b.ReserveHold(empty, s.order("x", s.wallet("payee"), 300))
	if err != nil {
		t.Fatal(err)
	}
	there := (&entry.DecidedThere{Until: s.now + 9000}).Condition()
	change := func(f func(*holdRecord)) *HoldDraft {
		c := new(HoldDraft)
		must(0, json.Unmarshal(must(json.Marshal(h)), c))
		f(&c.r)
		return c
	}
	for name, tc := range map[string]struct {
		h     *HoldDraft
		c     entry.Condition
		class uint64
		want  string
	}{
		"a condition that does not decode":   {h, entry.Condition{Type: 9}, 1000, string(entry.ConditionUnknown)},
		"a local condition with a class":     {h, s.attested("a"), 1000, string(entry.ConditionInvalid)},
		"a cross-border one without":         {h, there, entry.LocalSizeClass, string(entry.ConditionInvalid)},
		"a class below the amount":           {h, there, 299, string(SizeClassTooSmall)},
		"another amount":                     {change(func(r *holdRecord) { r.Recipe.Outputs[0].Value++ }), there, 1000, string(HoldDraftInvalid)},
		"another payee":                      {change(func(r *holdRecord) { r.Recipe.Outputs[0].Owner = k.Owner() }), there, 1000, string(HoldDraftInvalid)},
		"another amount in what is shown":    {change(func(r *holdRecord) { r.Outputs[0].Note.Value++ }), there, 1000, string(HoldDraftInvalid)},
		"other commitments":                  {change(func(r *holdRecord) { r.Commitments[0], r.Commitments[1] = r.Commitments[1], r.Commitments[0] }), there, 1000, string(HoldDraftInvalid)},
		"another note":                       {change(func(r *holdRecord) { r.Recipe.Inputs[0].Index++ }), there, 1000, string(HoldDraftInvalid)},
		"another secret":                     {change(func(r *holdRecord) { r.Recipe.E[31] ^= 1 }), there, 1000, string(HoldDraftInvalid)},
		"reserved under another epoch's key": {change(func(r *holdRecord) { r.Epoch++ }), there, 1000, string(HoldDraftStale)},
	} {
		_, err := b.BuildHold(tc.h, tc.c, tc.class, 0)
		if string(CodeOf(err)) != tc.want && string(entry.CodeOf(err)) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := s.builder(s.wallet("payee"), "p").BuildHold(h, there, 1000, 0); CodeOf(err) != HoldDraftInvalid {
		t.Errorf("another wallet's draft: %v", err)
	}
	if _, _, err := b.ReserveHold(empty, s.order("y", s.wallet("payee"), 1001)); CodeOf(err) != OverLimit {
		t.Errorf("over the limit: %v", err)
	}
	if err := new(HoldDraft).UnmarshalJSON([]byte(`{"recipe":{"circuit":1}}`)); err == nil {
		t.Error("a record that is no hold was read")
	}
	// Once its note is spent elsewhere, it cannot be placed and cannot be reserved again from the same notes.
	s.settle(must(b.BuildHold(h, s.attested("a"), entry.LocalSizeClass, 0)))
	s.close()
	b = s.builder(k, "later")
	if _, err := b.BuildHold(h, s.attested("b"), entry.LocalSizeClass, 0); CodeOf(err) != HoldDraftStale {
		t.Errorf("spent: %v", err)
	}
	if _, err := b.ReserveAgain(h); CodeOf(err) != HoldDraftStale {
		t.Errorf("spent: %v", err)
	}
	if _, _, err := b.ReserveHold(empty, s.order("x", s.wallet("payee"), 300)); CodeOf(err) != PaymentIDSettled {
		t.Errorf("a payment id twice: %v", err)
	}
}

func TestAReservationBindsItsNotes(t *testing.T) {
	s := newScribe(t)
	k := s.wallet("k")
	s.register(k, 1000)
	s.issue(k, 300, 400)
	b := s.builder(k, "hold")
	box := must(NewOutbox(nil))
	o := s.order("x", s.wallet("payee"), 350)
	h, _, err := b.ReserveHold(box, o)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []any{o, h} {
		must(0, box.Add(must(Encode(r))))
	}
	all, free := b.State.Balances(box)
	if all[0].Amount != 700 || free[0].Amount != 300 {
		t.Fatalf("%v %v", all, free)
	}
	other := s.order("y", s.wallet("payee"), 301)
	other.Held = false
	if _, _, err := b.Next(box, other); CodeOf(err) != FundsInFlight {
		t.Fatalf("%v", err)
	}
	if again, _, err := b.ReserveHold(box, o); err != nil || again.Commitment() != h.Commitment() {
		t.Fatalf("reserved anew: %v", err)
	}
	// A compacted journal keeps the promise.
	box = must(NewOutbox(must(box.Compact(b.State))))
	if again, ok := box.Reservation("x"); !ok || again.Commitment() != h.Commitment() {
		t.Fatal("lost by compaction")
	}
	must(0, box.Add(must(Encode(&Unreserved{Order: "x"}))))
	if _, _, err := b.Next(box, other); err != nil {
		t.Fatal(err)
	}
	if len(box.Reservations()) != 0 {
		t.Fatal("still reserved")
	}
}

func TestManyNotesAreMergedForAHold(t *testing.T) {
	s := newScribe(t)
	k := s.wallet("k")
	s.register(k, 1000)
	s.issue(k, 10, 11, 12, 13)
	box := must(NewOutbox(nil))
	o := s.order("x", s.wallet("payee"), 45)
	for round := range 3 {
		b := s.builder(k, "merge"+string(rune(round)))
		h, merge, err := b.ReserveHold(box, o)
		if err != nil {
			t.Fatal(err)
		}
		if h != nil {
			if round == 0 || len(h.r.Inputs) > 2 {
				t.Fatalf("%d inputs in round %d", len(h.r.Inputs), round)
			}
			s.settle(must(b.BuildHold(h, s.attested("a"), entry.LocalSizeClass, 0)))
			s.close()
			if got := balance(s.read(k)); got != 1 {
				t.Fatalf("left %d", got)
			}
			return
		}
		for _, d := range merge {
			s.settle(d)
		}
		s.close()
	}
	t.Fatal("does not end")
}
