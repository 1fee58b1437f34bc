package bridge

import (
	"bytes"
	"reflect"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
)

// pair places a deciding hold on the last ledger and its followers on the others, as far as asked, by hand.
type pair struct {
	w        *world
	decider  *toyLedger
	wallet   *toyWallet
	deciding *Placing
	follow   []*Placing
	id       entry.HoldID
	ids      []entry.HoldID
}

// newPair makes a deciding hold of 500 on the last ledger of the names, for a follower of 100 on each other one. Nothing but the deciding hold is
// placed.
func newPair(names ...string) *pair {
	p := &pair{w: newWorld(names...)}
	n := len(p.w.ledgers) - 1
	p.decider = p.w.ledgers[n]
	p.wallet = newWallet(p.w, "owner")
	here := &entry.DecidedHere{Until: p.w.now + 60_000}
	for _, l := range p.w.ledgers[:n] {
		l.give("owner", 1000)
		f := &Placing{Ledger: l.Hash, Money: Money{100, 1, 0}, Payee: addressOf("provider", l.Hash), SizeClass: 1000, Until: here.Until}
		p.follow = append(p.follow, f)
		cm := p.wallet.reserve(l.Name, f).Commitment()
		here.Followers = append(here.Followers, entry.Follower{Ledger: l.Hash, Commitment: cm})
	}
	slices.SortFunc(here.Followers, func(a, b entry.Follower) int { return bytes.Compare(a.Ledger[:], b.Ledger[:]) })
	p.decider.give("owner", 1000)
	p.deciding = &Placing{Ledger: p.decider.Hash, Money: Money{500, 1, 0}, Payee: addressOf("payee", p.decider.Hash), SizeClass: 1000, Condition: here.Condition()}
	p.id = must(p.wallet.place("deciding", p.deciding, 1<<50))
	for _, f := range p.follow {
		f.Condition = (&entry.DecidedThere{Ledger: p.decider.Hash, Hold: p.id, Until: here.Until}).Condition()
	}
	return p
}

// place places follower i; its ledger must have observed the deciding hold.
func (p *pair) place(t testing.TB, i int) {
	t.Helper()
	id, err := p.wallet.place(p.w.ledgers[i].Name, p.follow[i], 1<<50)
	if err != nil {
		t.Fatal(err)
	}
	p.ids = append(p.ids, id)
}

func (p *pair) outcomes() (out []entry.Outcome) {
	out = append(out, p.decider.holds[p.id].outcome)
	for i, l := range p.w.ledgers[:len(p.follow)] {
		if i < len(p.ids) {
			out = append(out, l.holds[p.ids[i]].outcome)
		}
	}
	return out
}

func TestARelayPlansAPayment(t *testing.T) {
	p := newPair("aurelia", "cordelia", "borealis")
	r := newRelayer(p.w)
	plan := func() Plan { r.read(); return r.relay.Plan(Options{}) }
	on := func(pl Plan) (out []Corridor) {
		for _, o := range pl.Observes {
			out = append(out, Corridor{o.On, o.Peer})
		}
		return out
	}
	sorted := func(c ...Corridor) []Corridor {
		slices.SortFunc(c, func(a, b Corridor) int {
			return bytes.Compare(a.On[:], b.On[:])*2 + bytes.Compare(a.Peer[:], b.Peer[:])
		})
		return c
	}
	a, v, b := p.w.ledgers[0], p.w.ledgers[1], p.decider

	// The followers' ledgers must see the deciding hold before anything can be placed there.
	first := plan()
	if want := sorted(Corridor{a.Hash, b.Hash}, Corridor{v.Hash, b.Hash}); !reflect.DeepEqual(on(first), want) || len(first.Resolves) != 0 {
		t.Fatalf("%+v", first)
	}
	if first.Observes[0].AtLeast != b.holds[p.id].index+1 || first.Observes[0].Last != 0 {
		t.Fatalf("%+v", first.Observes[0])
	}
	if _, err := r.act(-1); err != nil {
		t.Fatal(err)
	}
	if pl := plan(); len(pl.Observes)+len(pl.Resolves) != 0 {
		t.Fatalf("nothing is to be done until the followers are placed: %+v", pl)
	}

	// One follower: the decider must see it, and waits for the other.
	p.place(t, 0)
	if pl := plan(); !reflect.DeepEqual(on(pl), []Corridor{{b.Hash, a.Hash}}) || len(pl.Resolves) != 0 {
		t.Fatalf("%+v", pl)
	}
	if _, err := r.act(-1); err != nil {
		t.Fatal(err)
	}
	p.place(t, 1)
	if pl := plan(); !reflect.DeepEqual(on(pl), []Corridor{{b.Hash, v.Hash}}) || len(pl.Resolves) != 0 {
		t.Fatalf("%+v", pl)
	}
	if _, err := r.act(-1); err != nil {
		t.Fatal(err)
	}

	// Both: the decision, which names them in order.
	pl := plan()
	if len(pl.Observes) != 0 || len(pl.Resolves) != 1 {
		t.Fatalf("%+v", pl)
	}
	d := pl.Resolves[0]
	if d.On != b.Hash || d.Hold != p.id || d.Outcome != entry.Posted || d.Reason != entry.ReasonPeers || len(d.Named) != 2 || len(d.Peers) != 2 ||
		bytes.Compare(d.Named[0].Ledger[:], d.Named[1].Ledger[:]) >= 0 || d.Commitment != b.holds[p.id].leg.Commitments[0] {
		t.Fatalf("%+v", d)
	}
	if _, err := r.act(-1); err != nil {
		t.Fatal(err)
	}
	if pl := plan(); !reflect.DeepEqual(on(pl), sorted(Corridor{a.Hash, b.Hash}, Corridor{v.Hash, b.Hash})) || len(pl.Resolves) != 0 {
		t.Fatalf("%+v", pl)
	}
	if _, err := r.act(-1); err != nil {
		t.Fatal(err)
	}
	if pl := plan(); len(pl.Observes) != 0 || len(pl.Resolves) != 2 {
		t.Fatalf("%+v", pl)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{entry.Posted, entry.Posted, entry.Posted}) {
		t.Fatal(got)
	}
	if pl := plan(); len(pl.Observes)+len(pl.Resolves) != 0 {
		t.Fatalf("%+v", pl)
	}
}

func TestAnExpiredPaymentIsVoidedEverywhere(t *testing.T) {
	p := newPair("aurelia", "cordelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.place(t, 0) // and never the other one
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.w.now += 59_999
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{0, 0}) {
		t.Fatalf("voided before the expiry: %v", got)
	}
	p.w.now++
	if pl := r.relay.Plan(Options{}); len(pl.Resolves) != 0 {
		t.Fatalf("the log does not show the expiry yet: %+v", pl)
	}
	if err := r.run(); err != nil { // the relayer's clock does
		t.Fatal(err)
	}
	if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{entry.Voided, entry.Voided}) {
		t.Fatal(got)
	}
}

func TestARelayerWithAFastClockIsOnlyRefused(t *testing.T) {
	p := newPair("aurelia", "borealis")
	r := newRelayer(p.w)
	r.read()
	pl := r.relay.Plan(Options{NowMillis: 1 << 50})
	if len(pl.Resolves) != 1 {
		t.Fatalf("%+v", pl)
	}
	if err := p.decider.submit(pl.Resolves[0].Entry(1<<50, nil)); entry.CodeOf(err) != entry.HoldNotExpired {
		t.Fatal(err)
	}
}

// TestWipedAtEveryStepARelayEndsTheSame compares a relay that lives with one that is made anew before every single action, and with two that race.
func TestWipedAtEveryStepARelayEndsTheSame(t *testing.T) {
	for _, expire := range []bool{false, true} {
		var logs [][][]byte
		for _, wipe := range []bool{false, true} {
			p := newPair("aurelia", "cordelia", "borealis")
			p.w.rand = &stream{name: "same"}
			r := newRelayer(p.w)
			drive := func() {
				for {
					if wipe {
						r = newRelayer(p.w)
					}
					r.read()
					n, err := r.act(1)
					if err != nil {
						t.Fatal(err)
					}
					if n == 0 {
						return
					}
				}
			}
			drive()
			p.place(t, 0)
			drive()
			if expire {
				p.w.now += 60_000
			} else {
				p.place(t, 1)
			}
			drive()
			want := entry.Posted
			if expire {
				want = entry.Voided
			}
			for _, o := range p.outcomes() {
				if o != want {
					t.Fatalf("wiped %t: %v", wipe, p.outcomes())
				}
			}
			var log [][]byte
			for _, l := range p.w.ledgers {
				log = append(log, []byte{byte(len(l.leaves))})
			}
			logs = append(logs, log)
		}
		if !reflect.DeepEqual(logs[0], logs[1]) {
			t.Fatalf("the wiped relay needed other entries: %v", logs)
		}
	}
}

func TestTwoRelayersRaceHarmlessly(t *testing.T) {
	p := newPair("aurelia", "borealis")
	one, two := newRelayer(p.w), newRelayer(p.w)
	step := func() {
		one.read()
		two.read()
		for _, r := range []*relayer{one, two} { // both act on the same view
			if _, err := r.act(-1); err != nil {
				t.Fatal(err)
			}
		}
	}
	step()
	p.place(t, 0)
	for range 4 {
		step()
	}
	if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{entry.Posted, entry.Posted}) {
		t.Fatal(got)
	}
	resolves := 0
	for _, leaf := range p.decider.leaves {
		if k, err := entry.KindOf(leaf); err == nil && k == entry.KindResolve {
			resolves++
		}
	}
	if resolves != 1 {
		t.Fatalf("%d decisions", resolves)
	}
}

func TestOnlyTheNamedHoldIsPosted(t *testing.T) {
	p := newPair("aurelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.place(t, 0)
	// A second hold with the same commitment, placed by mistake: the decision names the first, so this one comes back.
	p.wallet.txs = map[string]*entry.Transaction{}
	p.place(t, 0)
	if p.ids[0] == p.ids[1] {
		t.Fatal("one hold")
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	l := p.w.ledgers[0]
	if l.holds[p.ids[0]].outcome != entry.Posted || l.holds[p.ids[1]].outcome != entry.Voided {
		t.Fatalf("%v %v", l.holds[p.ids[0]].outcome, l.holds[p.ids[1]].outcome)
	}
}

func TestAFrozenCorridorWaits(t *testing.T) {
	a := "aurelia"
	for name, tc := range map[string]struct {
		freeze func(p *pair) (on, peer *toyLedger)
		expire bool
		frozen []entry.Outcome // while the corridor is frozen
		thawed []entry.Outcome // once it is thawed
	}{
		"decider never posts":     {func(p *pair) (*toyLedger, *toyLedger) { return p.decider, p.w.ledgers[0] }, false, []entry.Outcome{0, 0}, []entry.Outcome{1, 1}},
		"decider voids at expiry": {func(p *pair) (*toyLedger, *toyLedger) { return p.decider, p.w.ledgers[0] }, true, []entry.Outcome{2, 2}, []entry.Outcome{2, 2}},
		"follower waits":          {func(p *pair) (*toyLedger, *toyLedger) { return p.w.ledgers[0], p.decider }, false, []entry.Outcome{1, 0}, []entry.Outcome{1, 1}},
		"follower waits, voided":  {func(p *pair) (*toyLedger, *toyLedger) { return p.w.ledgers[0], p.decider }, true, []entry.Outcome{2, 0}, []entry.Outcome{2, 2}},
	} {
		p := newPair(a, "borealis")
		r := newRelayer(p.w)
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
		p.place(t, 0)
		on, peer := tc.freeze(p)
		if err := on.submit(corridorEntry(on.Hash, peer, 9, entry.CorridorFreezes)); err != nil {
			t.Fatal(err)
		}
		if tc.expire {
			p.w.now += 60_000
		}
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
		if got := p.outcomes(); !reflect.DeepEqual(got, tc.frozen) {
			t.Errorf("%s: frozen %v", name, got)
		}
		if err := on.submit(corridorEntry(on.Hash, peer, 10, entry.CorridorThaws)); err != nil {
			t.Fatal(err)
		}
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
		if got := p.outcomes(); !reflect.DeepEqual(got, tc.thawed) {
			t.Errorf("%s: thawed %v", name, got)
		}
	}
}

func TestEvidenceFreezesThePlan(t *testing.T) {
	p := newPair("aurelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.place(t, 0)
	a := p.w.ledgers[0]
	r.read()
	for typ, want := range map[entry.EvidenceType]int{entry.EvidenceLate: 1, entry.EvidenceFork: 0} {
		again := newRelayer(p.w)
		again.read()
		e := &entry.Evidence{Header: entry.Header{Ledger: p.decider.Hash, ExpiryMillis: 1 << 50}, Peer: a.Hash, Type: typ, Data: []byte{1}}
		if err := again.relay.Show(p.decider.Hash, 1<<40, entry.Encode(e)); err != nil {
			t.Fatal(err)
		}
		if pl := again.relay.Plan(Options{}); len(pl.Observes) != want {
			t.Errorf("%s: %+v", typ, pl)
		}
	}
}

func TestAnOverrideDecides(t *testing.T) {
	p := newPair("aurelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.place(t, 0)
	void := &entry.Override{Header: entry.Header{Ledger: p.decider.Hash, ExpiryMillis: 1 << 50, Sequence: 5}, Peer: p.w.ledgers[0].Hash, Hold: p.id,
		Outcome: entry.Voided, Commitment: p.decider.holds[p.id].leg.ReturnCommitment}
	if err := p.decider.submit(void); err != nil {
		t.Fatal(err)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{entry.Voided, entry.Voided}) {
		t.Fatal(got)
	}

	// A follower that was overridden is not counted as paid: the decider waits for its expiry.
	p = newPair("aurelia", "borealis")
	r = newRelayer(p.w)
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	p.place(t, 0)
	void.Ledger, void.Peer, void.Hold = p.w.ledgers[0].Hash, p.decider.Hash, p.ids[0]
	if err := p.w.ledgers[0].submit(void); err != nil {
		t.Fatal(err)
	}
	if err := r.run(); err != nil {
		t.Fatal(err)
	}
	if got := p.outcomes(); !reflect.DeepEqual(got, []entry.Outcome{0, entry.Voided}) {
		t.Fatal(got)
	}
}

func TestARelayReadsLogsInOrder(t *testing.T) {
	p := newPair("aurelia", "borealis")
	r := NewRelay(map[entry.GenesisHash]uint64{p.decider.Hash: 2})
	l := p.decider
	for name, tc := range map[string]struct {
		ledger entry.GenesisHash
		index  uint64
		leaf   []byte
		want   string
	}{
		"a gap":                 {l.Hash, 3, l.leaves[3], string(EntryGap)},
		"an entry before":       {l.Hash, 1, l.leaves[1], string(EntryGap)},
		"an unknown ledger":     {cordelia.Hash, 0, l.leaves[0], string(LedgerUnknown)},
		"garbage":               {l.Hash, 2, []byte{1, 99}, string(entry.UnknownKind)},
		"another ledger's leaf": {l.Hash, 2, p.w.ledgers[0].leaves[1], string(BundleOther)},
	} {
		err := r.Add(tc.ledger, tc.index, tc.leaf)
		if got := string(CodeOf(err)) + string(entry.CodeOf(err)); got != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
	for n := uint64(2); n < l.size(); n++ {
		if err := r.Add(l.Hash, n, l.leaves[n]); err != nil {
			t.Fatal(err)
		}
	}
	if r.Next(l.Hash) != l.size() || r.Next(cordelia.Hash) != 0 {
		t.Fatal("next")
	}
	if pl := r.Plan(Options{}); len(pl.Observes)+len(pl.Resolves) != 0 {
		t.Fatalf("a relay of one ledger plans %+v", pl)
	}
}

func TestCorridorsAreKeptFresh(t *testing.T) {
	w := newWorld("aurelia", "borealis")
	r := newRelayer(w)
	r.read()
	if pl := r.relay.Plan(Options{}); len(pl.Observes) != 0 {
		t.Fatalf("%+v", pl)
	}
	fresh := func() int { r.read(); return len(r.relay.Plan(Options{Fresh: true, NowMillis: w.now}).Observes) }
	if fresh() != 2 {
		t.Fatal("corridors that never observed are stale")
	}
	for i, l := range w.ledgers {
		if err := l.submit(l.observation(w.ledgers[1-i])); err != nil {
			t.Fatal(err)
		}
	}
	if n := fresh(); n != 0 {
		t.Fatal(n)
	}
	w.now += 29_999
	if n := fresh(); n != 0 {
		t.Fatal(n)
	}
	w.now++
	// Aurelia's observation was logged first; Borealis's log has grown since, by its own observation.
	if n := fresh(); n == 0 {
		t.Fatal("half of the time has gone")
	}
}

func TestARelayForgetsWhatIsOver(t *testing.T) {
	w, p, providers := stage("payer", FixedPayee, 20_000, "aurelia", "cordelia", "borealis")
	r := newRelayer(w)
	play(t, w, p, providers, r)
	held := func() (n int) {
		for _, l := range r.relay.logs {
			n += len(l.holds) + len(l.decisions) + len(l.following)
		}
		return n
	}
	if held() == 0 {
		t.Fatal("nothing was kept")
	}
	if r.relay.Plan(Options{}); held() == 0 {
		t.Fatal("forgotten before the expiry: a follower may still be placed")
	}
	w.now += 120_000
	for _, l := range w.ledgers {
		l.tick()
	}
	r.read()
	if r.relay.Plan(Options{}); held() != 0 {
		t.Fatalf("%d things are kept for ever", held())
	}
}

func TestALateDecisionBecomesAClaim(t *testing.T) {
	for name, tc := range map[string]struct {
		override, late entry.Outcome
		claim          bool
	}{
		"voided, then posted": {entry.Voided, entry.Posted, true},
		"posted, then voided": {entry.Posted, entry.Voided, true},
		"voided, then voided": {entry.Voided, entry.Voided, false},
		"posted, then posted": {entry.Posted, entry.Posted, false},
	} {
		p := newPair("aurelia", "borealis")
		r := newRelayer(p.w)
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
		p.place(t, 0)
		r.read()
		if n, err := r.act(1); n != 1 || err != nil { // the decider sees the follower
			t.Fatal(n, err)
		}
		a, hold := p.w.ledgers[0], p.ids[0]
		r.read()
		decision := r.relay.Plan(Options{}).Resolves[0]
		// The follower's treasuries lose patience, and the decision comes after all.
		if err := a.submit(corridorEntry(a.Hash, p.decider, 9, entry.CorridorFreezes)); err != nil {
			t.Fatal(err)
		}
		over := &entry.Override{Header: entry.Header{Ledger: a.Hash, ExpiryMillis: 1 << 50, Sequence: 10}, Peer: p.decider.Hash, Hold: hold, Outcome: tc.override,
			Commitment: a.holds[hold].leg.ReturnCommitment}
		if err := a.submit(over); err != nil {
			t.Fatal(err)
		}
		if tc.late == entry.Posted {
			if err := p.decider.submit(decision.Entry(1<<50, []entry.PeerProof{a.prove(decision.Peers[0].Index, decision.Peers[0].Size)})); err != nil {
				t.Fatal(err)
			}
		} else {
			p.w.now += 60_000
			p.decider.tick()
			void := Resolve{On: p.decider.Hash, Hold: p.id, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: p.decider.holds[p.id].leg.ReturnCommitment}
			if err := p.decider.submit(void.Entry(1<<50, nil)); err != nil {
				t.Fatal(err)
			}
		}
		r = newRelayer(p.w) // it remembers nothing
		r.read()
		plan := r.relay.Plan(Options{})
		if !tc.claim {
			if len(plan.Observes)+len(plan.Resolves)+len(plan.Claims) != 0 {
				t.Errorf("%s: %+v", name, plan)
			}
			continue
		}
		if len(plan.Observes) != 1 || len(plan.Claims) != 0 {
			t.Fatalf("%s: %+v", name, plan)
		}
		if n, err := r.act(1); n != 1 || err != nil {
			t.Fatal(n, err)
		}
		r.read()
		if plan = r.relay.Plan(Options{}); len(plan.Claims) != 1 || len(plan.Observes) != 0 {
			t.Fatalf("%s: %+v", name, plan)
		}
		c := plan.Claims[0]
		proof := p.decider.prove(c.Leaf.Index, c.Leaf.Size)
		if _, err := a.peerLeaf(c.Leaf.Ledger, &proof); err != nil {
			t.Fatal(err)
		}
		if err := a.submit(c.Entry(1<<50, &proof)); err != nil {
			t.Fatal(err)
		}
		r.read()
		if plan = r.relay.Plan(Options{}); len(plan.Observes)+len(plan.Resolves)+len(plan.Claims) != 0 {
			t.Errorf("%s: booked, and still %+v", name, plan)
		}
	}
}

// Whatever a log holds, a relay refuses it by name or plans with it.
func FuzzRelayLeaf(f *testing.F) {
	p := newPair("aurelia", "borealis")
	r := newRelayer(p.w)
	if err := r.run(); err != nil {
		f.Fatal(err)
	}
	p.place(f, 0)
	for _, l := range p.w.ledgers {
		for _, leaf := range l.leaves {
			f.Add(leaf)
		}
	}
	f.Fuzz(func(t *testing.T, leaf []byte) {
		r := newRelayer(p.w)
		r.read()
		for _, l := range p.w.ledgers {
			if err := r.relay.Add(l.Hash, l.size(), leaf); err != nil && CodeOf(err) == "" && entry.CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
		}
		one, two := r.relay.Plan(Options{NowMillis: 1, Fresh: true}), r.relay.Plan(Options{NowMillis: 1, Fresh: true})
		if !reflect.DeepEqual(one, two) {
			t.Fatal("the same logs give two plans")
		}
	})
}
