package settlement_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// world is a decider B and the ledgers that follow it, all with corridors to B.
type world struct {
	B         *ledgertest.Bed
	followers []*ledgertest.Bed // ascending by genesis hash
}

const (
	corridorCap  = 3000
	crossMillis  = 50_000
	smallClass   = 100
	largeClass   = 1000
	unknownClass = 500
)

func newWorld(t testing.TB, followers int) *world {
	t.Helper()
	w := &world{B: ledgertest.NewBed(100)}
	for i := range followers {
		w.followers = append(w.followers, ledgertest.NewBed(uint64(i+1)))
	}
	slices.SortFunc(w.followers, func(a, b *ledgertest.Bed) int { return bytes.Compare(a.Hash[:], b.Hash[:]) })
	for _, f := range w.followers {
		w.accept(t, f, f.Recognise(w.B, corridorCap, smallClass, largeClass))
		w.accept(t, w.B, w.B.Recognise(f, corridorCap, smallClass, largeClass))
		w.observe(t, f, w.B)
		w.observe(t, w.B, f)
	}
	return w
}

// A is the first follower.
func (w *world) A() *ledgertest.Bed { return w.followers[0] }

// accept submits entries one by one, each in a block of its own.
func (w *world) accept(t testing.TB, b *ledgertest.Bed, what ...any) {
	t.Helper()
	for _, e := range what {
		w.advance(10)
		if r := b.Submit(e)[0]; r.Status != settlement.Accepted {
			t.Fatalf("%s: %v", r.Status, r.Refusal)
		}
	}
}

// advance moves the clocks of all ledgers.
func (w *world) advance(millis uint64) {
	w.B.Now += millis
	for _, f := range w.followers {
		f.Now += millis
	}
}

func (w *world) observe(t testing.TB, by, of *ledgertest.Bed) {
	t.Helper()
	w.accept(t, by, by.Observe(of))
}

// crossing is one payment: a decider's hold on B and a hold on every follower.
type crossing struct {
	*world
	here  *entry.DecidedHere
	onB   *ledgertest.Tx
	b     entry.HoldID
	there *entry.DecidedThere
	on    []*ledgertest.Tx // by follower
	ids   []entry.HoldID
	proof func() *entry.PeerProof // in place of the right one
}

// plan builds the decider's transaction and begins the followers'.
func (w *world) plan(class uint64) *crossing {
	c := &crossing{world: w, here: &entry.DecidedHere{Until: w.B.Now + crossMillis}}
	for _, f := range w.followers {
		tx := f.Holding(class, &entry.DecidedThere{})
		c.on = append(c.on, tx)
		c.here.Followers = append(c.here.Followers, entry.Follower{Ledger: f.Hash, Commitment: tx.Legs[0].Commitments[0]})
	}
	c.rebuild(class)
	return c
}

// rebuild makes the decider's transaction from what c.here says.
func (c *crossing) rebuild(class uint64) {
	c.onB = c.B.Prove(c.B.Holding(class, c.here))
	c.b = c.onB.HoldID(0)
	c.there = &entry.DecidedThere{Ledger: c.B.Hash, Hold: c.b, Until: c.here.Until}
	for _, tx := range c.on {
		tx.Legs[0].Condition = c.there.Condition()
	}
	c.ids = make([]entry.HoldID, len(c.on))
}

// lockB logs the decider's hold and lets the followers observe it.
func (c *crossing) lockB(t testing.TB) *crossing {
	t.Helper()
	c.accept(t, c.B, c.onB)
	for _, f := range c.followers {
		c.observe(t, f, c.B)
	}
	return c
}

// ready finishes a follower's transaction.
func (c *crossing) ready(i int) *ledgertest.Tx {
	f, tx := c.followers[i], c.on[i]
	tx.Legs[0].Peer = c.B.Proof(c.b.Tx)
	tx.Legs[0].Anchor = f.State.Height()
	tx.ExpiryMillis = f.Now + 60_000
	f.Prove(tx)
	c.ids[i] = tx.HoldID(0)
	return tx
}

// lock logs all holds and lets B observe the followers'.
func (c *crossing) lock(t testing.TB) *crossing {
	t.Helper()
	c.lockB(t)
	for i, f := range c.followers {
		c.accept(t, f, c.ready(i))
	}
	for _, f := range c.followers {
		c.observe(t, c.B, f)
	}
	return c
}

// decision is the decision to post, proven.
func (c *crossing) decision() *entry.Resolve {
	r := c.B.Resolution(c.b, entry.Posted, entry.ReasonPeers)
	for i, f := range c.followers {
		r.Named = append(r.Named, entry.Named{Ledger: f.Hash, Hold: c.ids[i]})
		r.Peers = append(r.Peers, *f.Proof(c.ids[i].Tx))
	}
	return r
}

// void is the decision that the hold expired.
func (c *crossing) void() *entry.Resolve {
	return c.B.Resolution(c.b, entry.Voided, entry.ReasonExpired)
}

// follow resolves follower i by the decision with that id, as B's log shows it.
func (c *crossing) follow(i int, outcome entry.Outcome, decision entry.ID) *entry.Resolve {
	r := c.followers[i].Resolution(c.ids[i], outcome, entry.ReasonPeers)
	r.Peers = []entry.PeerProof{*c.B.Proof(decision)}
	return r
}

// decided logs a decision on B and lets the followers observe it.
func (c *crossing) decided(t testing.TB, decision entry.Entry) entry.ID {
	t.Helper()
	c.accept(t, c.B, decision)
	for _, f := range c.followers {
		c.observe(t, f, c.B)
	}
	return entry.IDOf(decision)
}

func inFlight(t testing.TB, b, peer *ledgertest.Bed) uint64 {
	t.Helper()
	for _, c := range b.State.Corridors(b.Now) {
		if c.Peer == peer.Hash {
			return c.InFlight
		}
	}
	t.Fatal("no corridor")
	return 0
}

func TestCrossBorderPaymentHappensOnEveryLedgerOrOnNone(t *testing.T) {
	for _, followers := range []int{1, 3} {
		for _, outcome := range []entry.Outcome{entry.Posted, entry.Voided} {
			c := newWorld(t, followers).plan(largeClass).lock(t)
			for _, f := range c.followers {
				if a, b := inFlight(t, f, c.B), inFlight(t, c.B, f); a != largeClass || b != largeClass {
					t.Fatalf("%d and %d in flight", a, b)
				}
			}
			decision := c.decision()
			if outcome == entry.Voided {
				c.advance(c.here.Until - c.B.Now)
				decision = c.void()
			}
			id := c.decided(t, decision)
			want := c.onB.Legs[0].Commitments[0]
			if outcome == entry.Voided {
				want = c.onB.Legs[0].ReturnCommitment
			}
			if got := placedIn(c.B.Blocks[c.B.State.Height()]); len(got) != 1 || got[0] != want {
				t.Errorf("%s: B placed %v, want %s", outcome, got, want)
			}
			for i, f := range c.followers {
				c.accept(t, f, c.follow(i, outcome, id))
				if want = c.on[i].Legs[0].Commitments[0]; outcome == entry.Voided {
					want = c.on[i].Legs[0].ReturnCommitment
				}
				if got := placedIn(last(f)); len(got) != 1 || got[0] != want {
					t.Errorf("%s: follower %d placed %v, want %s", outcome, i, got, want)
				}
				if a, b := inFlight(t, f, c.B), inFlight(t, c.B, f); a != 0 || b != 0 {
					t.Errorf("%s: %d and %d still in flight", outcome, a, b)
				}
			}
		}
	}
}

func TestDeciderWhoseConditionOrCorridorIsWrongIsRefused(t *testing.T) {
	w := newWorld(t, 1)
	stranger := ledgertest.NewBed(9)
	for name, c := range map[string]struct {
		class  uint64
		change func(*entry.DecidedHere)
		code   entry.Code
	}{
		"follows itself":          {largeClass, func(d *entry.DecidedHere) { d.Followers[0].Ledger = w.B.Hash }, entry.ConditionInvalid},
		"unknown follower":        {largeClass, func(d *entry.DecidedHere) { d.Followers[0].Ledger = stranger.Hash }, entry.CorridorUnknown},
		"expired":                 {largeClass, func(d *entry.DecidedHere) { d.Until = w.B.Now }, entry.HoldExpired},
		"longest expiry, and one": {largeClass, func(d *entry.DecidedHere) { d.Until = w.B.Now + ledgertest.MaxExpiryMillis + 1 }, entry.ExpiryTooFar},
		"unknown class":           {unknownClass, func(*entry.DecidedHere) {}, entry.SizeClassUnknown},
		"class of a local":        {entry.LocalSizeClass, func(*entry.DecidedHere) {}, entry.ConditionInvalid},
		"one of two unkown":       {largeClass, func(d *entry.DecidedHere) { d.Followers = both(d.Followers[0].Ledger, stranger.Hash) }, entry.CorridorUnknown},
	} {
		p := w.plan(c.class)
		c.change(p.here)
		p.rebuild(c.class)
		wantCode(t, w.B.Submit(p.onB)[0], c.code)
		if t.Failed() {
			t.Fatal(name)
		}
	}
	if n := inFlight(t, w.B, w.A()); n != 0 || w.B.State.OpenHolds() != 0 {
		t.Errorf("refused holds left %d in flight and %d open", n, w.B.State.OpenHolds())
	}
	w.advance(600_001) // the stale time of corridors made here
	wantCode(t, w.B.Submit(w.plan(largeClass).onB)[0], entry.CorridorStale)
	w.A().Settle() // an idle ledger with a corridor logs state entries, or it would be stale for ever
	w.observe(t, w.B, w.A())
	w.accept(t, w.B, w.plan(largeClass).onB)
	w.accept(t, w.B, w.B.FreezeCorridor(w.A(), true))
	wantCode(t, w.B.Submit(w.plan(largeClass).onB)[0], entry.CorridorFrozen)
	w.accept(t, w.B, w.B.FreezeCorridor(w.A(), false))
	w.accept(t, w.B, w.plan(largeClass).onB)
}

// both are two followers in order.
func both(a, b entry.GenesisHash) []entry.Follower {
	if bytes.Compare(a[:], b[:]) > 0 {
		a, b = b, a
	}
	return []entry.Follower{{Ledger: a}, {Ledger: b}}
}

func TestHoldsOfOtherLedgersHaveNoAttestors(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lock(t)
	key, _ := c.B.Key()
	for b, id := range map[*ledgertest.Bed]entry.HoldID{c.B: c.b, c.A(): c.ids[0]} {
		for _, x := range []struct {
			what entry.Entry
			code entry.Code
		}{
			{b.Attest(id, entry.Attests, 0, key, entry.StatementDelivery, waybill), entry.AttestorUnknown},
			{b.Challenge(id, key), entry.ChallengeInvalid},
			{b.Amend(id, b.Now+1000, key, key), entry.AttestorUnknown},
			{b.Release(id, key), entry.OutcomeInvalid},
		} {
			wantCode(t, b.Submit(x.what)[0], x.code)
		}
	}
}

func TestCapHoldsWhateverRacesForIt(t *testing.T) {
	w := newWorld(t, 1)
	var all []any
	var plans []*crossing
	for range 5 { // room for three
		plans = append(plans, w.plan(largeClass))
		all = append(all, plans[len(plans)-1].onB)
	}
	var early []*settlement.Candidate
	for _, one := range all {
		c, err := w.B.Admit(one)
		if err != nil {
			t.Fatal(err)
		}
		early = append(early, c)
	}
	r := w.B.Settle(early...)
	wantAccepted(t, r[:3]...)
	wantCode(t, r[3], entry.CorridorCap)
	wantCode(t, r[4], entry.CorridorCap)
	wantCode(t, w.B.Submit(all[4])[0], entry.CorridorCap)
	small := w.plan(smallClass)
	wantCode(t, w.B.Submit(small.onB)[0], entry.CorridorCap)
	w.advance(crossMillis)
	void := plans[0].void()
	wantAccepted(t, w.B.Submit(void)...)
	if n := inFlight(t, w.B, w.A()); n != 2*largeClass {
		t.Errorf("%d in flight after one of three was voided", n)
	}
	// Three legs of one transaction pass the cap together: none is placed.
	d := &entry.DecidedHere{Until: w.B.Now + crossMillis, Followers: plans[0].here.Followers}
	three := w.B.Prove(w.B.Holding(largeClass, d, d, d))
	before := w.B.State.OpenHolds()
	wantCode(t, w.B.Submit(three)[0], entry.CorridorCap)
	if n := inFlight(t, w.B, w.A()); n != 2*largeClass || w.B.State.OpenHolds() != before {
		t.Errorf("a refused transaction left %d in flight, %d open", n, w.B.State.OpenHolds())
	}
	ten := &entry.DecidedHere{Until: d.Until, Followers: d.Followers}
	fits := w.B.Prove(w.B.Holding(smallClass, ten, ten, ten, ten))
	wantAccepted(t, w.B.Submit(fits)...)
	if n := inFlight(t, w.B, w.A()); n != 2*largeClass+4*smallClass {
		t.Errorf("%d in flight", n)
	}
}

func TestFollowerNeedsProofOfADeciderThatListsIt(t *testing.T) {
	w := newWorld(t, 2)
	A := w.A()
	for name, c := range map[string]struct {
		change func(t *testing.T, c *crossing) // before the follower's transaction is proven
		code   entry.Code
	}{
		"decided by this ledger itself": {func(_ *testing.T, c *crossing) { c.there.Ledger = A.Hash }, entry.ConditionInvalid},
		"unknown decider":               {func(_ *testing.T, c *crossing) { c.there.Ledger[0] ^= 1 }, entry.CorridorUnknown},
		"other expiry":                  {func(_ *testing.T, c *crossing) { c.there.Until++ }, entry.PeerMismatch},
		"other leg":                     {func(_ *testing.T, c *crossing) { c.there.Hold.Leg = 1 }, entry.PeerMismatch},
		"other transaction":             {func(_ *testing.T, c *crossing) { c.there.Hold.Tx[0] ^= 1 }, entry.PeerMismatch},
		"other commitment": {func(_ *testing.T, c *crossing) {
			c.on[0].Legs[0].Commitments[0] = zk.Commitment(A.Rand.Field())
		}, entry.PeerMismatch},
		"commitment of the other follower": {func(_ *testing.T, c *crossing) {
			c.on[0].Legs[0].Commitments[0] = c.here.Followers[1].Commitment
		}, entry.PeerMismatch},
		"unknown class": {func(_ *testing.T, c *crossing) { c.on[0].Legs[0].SizeClass = unknownClass }, entry.SizeClassUnknown},
		"a leaf that is no hold": {func(t *testing.T, c *crossing) {
			plain := c.B.Transfer()
			c.accept(t, c.B, plain)
			c.observe(t, A, c.B)
			c.there.Hold = plain.HoldID(0)
			c.proof = func() *entry.PeerProof { return c.B.Proof(plain.ID()) }
		}, entry.PeerMismatch},
		"a hold that decides for nobody": {func(t *testing.T, c *crossing) {
			local := newEscrow(t, c.B, nil)
			c.observe(t, A, c.B)
			c.there.Hold = local.id
			c.proof = func() *entry.PeerProof { return c.B.Proof(local.id.Tx) }
		}, entry.PeerMismatch},
		"size that was not observed": {func(t *testing.T, c *crossing) {
			c.accept(t, c.B, c.B.Transfer())
		}, entry.PeerSizeUnknown},
		"wrong index": {func(_ *testing.T, c *crossing) {
			c.proof = func() *entry.PeerProof { p := c.B.Proof(c.b.Tx); p.Index++; return p }
		}, entry.PeerProofInvalid},
		"changed leaf": {func(_ *testing.T, c *crossing) {
			c.proof = func() *entry.PeerProof {
				p := c.B.Proof(c.b.Tx)
				p.Leaf = append([]byte(nil), p.Leaf...)
				p.Leaf[100] ^= 1
				return p
			}
		}, entry.PeerProofInvalid},
		"own hold reflected": {func(t *testing.T, c *crossing) {
			own := newEscrow(t, A, nil)
			c.there.Hold = own.id
			c.proof = func() *entry.PeerProof { p := A.Proof(own.id.Tx); p.Size = c.B.State.LogSize(); return p }
		}, entry.PeerProofInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			p := w.plan(smallClass).lockB(t)
			c.change(t, p)
			p.on[0].Legs[0].Condition = p.there.Condition()
			tx := p.ready(0)
			if p.proof != nil {
				tx.Legs[0].Peer = p.proof()
			}
			wantCode(t, A.Submit(tx)[0], c.code)
			if n := inFlight(t, A, w.B); n != 0 {
				t.Errorf("%d in flight", n)
			}
		})
	}
	p := w.plan(smallClass).lockB(t)
	w.accept(t, A, p.ready(0))
}

func TestFollowerOfAnExpiredDeciderIsRefusedByEitherClock(t *testing.T) {
	w := newWorld(t, 1)
	A := w.A()
	p := w.plan(smallClass).lockB(t)
	A.Now = p.here.Until - 1
	wantAccepted(t, A.Submit(p.ready(0))...)
	p = w.plan(smallClass).lockB(t)
	A.Now = p.here.Until
	wantCode(t, A.Submit(p.ready(0))[0], entry.HoldExpired)

	w = newWorld(t, 1)
	A = w.A()
	p = w.plan(smallClass).lockB(t)
	w.B.Now = p.here.Until // B's clock is ahead, and A has seen it
	w.B.Settle()
	w.observe(t, A, w.B)
	wantCode(t, A.Submit(p.ready(0))[0], entry.HoldExpired)
}

func TestProofUnderASizeObservedInTheSameBlockServes(t *testing.T) {
	w := newWorld(t, 1)
	A := w.A()
	p := w.plan(smallClass)
	w.accept(t, w.B, p.onB)
	observe, tx := A.Observe(w.B), p.ready(0)
	wantCode(t, A.Submit(tx)[0], entry.PeerSizeUnknown)
	wantAccepted(t, A.Submit(observe, tx)...)
	replays(t, A)
}

// TestEarlierEntryOfTheBlockCures: admission refuses nothing that an entry of
// the same block makes right.
func TestEarlierEntryOfTheBlockCures(t *testing.T) {
	w := newWorld(t, 1)
	A, B := w.A(), w.B
	t.Run("stale", func(t *testing.T) {
		w.advance(600_001)
		A.Settle()
		observe, next := B.Observe(A), w.plan(smallClass).onB
		wantAccepted(t, B.Submit(observe, next)...)
	})
	t.Run("frozen", func(t *testing.T) {
		w.accept(t, B, B.FreezeCorridor(A, true))
		thaw, next := B.FreezeCorridor(A, false), w.plan(smallClass).onB
		wantAccepted(t, B.Submit(thaw, next)...)
	})
	t.Run("unknown", func(t *testing.T) {
		peer := ledgertest.NewBed(9)
		open, observe := B.Recognise(peer, corridorCap, smallClass), B.Observe(peer)
		d := &entry.DecidedHere{Until: B.Now + 1000, Followers: []entry.Follower{{Ledger: peer.Hash}}}
		wantAccepted(t, B.Submit(open, observe, B.Prove(B.Holding(smallClass, d)))...)
	})
	replays(t, B)
}

func TestSnapshotWhoseHoldsDifferFromItsCorridorsIsRefused(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lock(t)
	snapshot := c.B.State.Marshal()
	at := bytes.Index(snapshot, c.onB.Legs[0].ReturnCommitment[:])
	class := binary.BigEndian.Uint64(snapshot[at+32:])
	if at < 0 || class != largeClass {
		t.Fatalf("class %d at %d", class, at)
	}
	binary.BigEndian.PutUint64(snapshot[at+32:], smallClass)
	if _, err := settlement.Unmarshal(c.B.Genesis, snapshot, last(c.B)); !errors.Is(err, settlement.ErrSnapshot) {
		t.Errorf("a hold of another class: %v", err)
	}
}

func TestDecisionThatItsFollowersDoNotBearOutIsRefused(t *testing.T) {
	c := newWorld(t, 2).plan(largeClass).lock(t)
	A, V := c.followers[0], c.followers[1]
	// Another hold on A that follows B, but not this hold of it; and a local one.
	other := &crossing{world: c.world, here: &entry.DecidedHere{Until: c.here.Until}}
	twin := A.Holding(smallClass, &entry.DecidedThere{})
	twin.Legs[0].Commitments[0] = c.here.Followers[0].Commitment
	other.here.Followers = []entry.Follower{{Ledger: A.Hash, Commitment: twin.Legs[0].Commitments[0]}}
	other.on = []*ledgertest.Tx{twin}
	other.rebuild(smallClass)
	other.lockB(t)
	c.accept(t, A, other.ready(0))
	local := newEscrow(t, A, nil)
	plain := A.Transfer()
	c.accept(t, A, plain)
	c.observe(t, c.B, A)
	c.observe(t, c.B, V)
	for name, x := range map[string]struct {
		change func(*entry.Resolve)
		code   entry.Code
	}{
		"names one of two": {func(e *entry.Resolve) { e.Named, e.Peers = e.Named[:1], e.Peers[:1] }, entry.OutcomeInvalid},
		"names nobody":     {func(e *entry.Resolve) { e.Named, e.Peers = nil, e.Peers[:1] }, entry.OutcomeInvalid},
		"names another ledger": {func(e *entry.Resolve) {
			e.Named[0].Ledger = entry.GenesisHash{}
		}, entry.OutcomeInvalid},
		"void by proof": {func(e *entry.Resolve) {
			e.Outcome, e.Commitment, e.Named, e.Peers = entry.Voided, c.onB.Legs[0].ReturnCommitment, nil, e.Peers[:1]
		}, entry.OutcomeInvalid},
		"proofs swapped": {func(e *entry.Resolve) { e.Peers[0], e.Peers[1] = e.Peers[1], e.Peers[0] }, entry.PeerSizeUnknown},
		"proof of another hold": {func(e *entry.Resolve) {
			e.Peers[0] = *A.Proof(other.ids[0].Tx)
		}, entry.PeerMismatch},
		"names a hold that waits for another": {func(e *entry.Resolve) {
			e.Named[0].Hold, e.Peers[0] = other.ids[0], *A.Proof(other.ids[0].Tx)
		}, entry.PeerMismatch},
		"names a local hold": {func(e *entry.Resolve) {
			e.Named[0].Hold, e.Peers[0] = local.id, *A.Proof(local.id.Tx)
		}, entry.PeerMismatch},
		"names a leg that is no hold": {func(e *entry.Resolve) {
			e.Named[0].Hold, e.Peers[0] = plain.HoldID(0), *A.Proof(plain.ID())
		}, entry.PeerMismatch},
		"names a leg that is not there": {func(e *entry.Resolve) { e.Named[0].Hold.Leg = 3 }, entry.PeerMismatch},
		"reason expired":                {func(e *entry.Resolve) { *e = *c.void() }, entry.HoldNotExpired},
		"reason attested": {func(e *entry.Resolve) {
			e.Reason, e.Named, e.Peers = entry.ReasonAttested, nil, nil
		}, entry.OutcomeInvalid},
		"own follower reflected": {func(e *entry.Resolve) {
			e.Peers[1].Leaf = c.onB.Encode()
		}, entry.PeerProofInvalid},
	} {
		t.Run(name, func(t *testing.T) {
			d := c.decision()
			x.change(d)
			wantCode(t, c.B.Submit(d)[0], x.code)
		})
	}
	if V.State.OpenHolds() != 1 || c.B.State.OpenHolds() != 2 {
		t.Fatalf("%d and %d open holds", V.State.OpenHolds(), c.B.State.OpenHolds())
	}
	d := c.decision()
	wantAccepted(t, c.B.Submit(d)...)
}

// TestLyingFollowersLedgerMakesNobodyPay: A's operator and witness log whatever
// they like; B pays only for the hold that its condition names.
func TestLyingFollowersLedgerMakesNobodyPay(t *testing.T) {
	stranger := ledgertest.NewBed(9)
	for name, change := range map[string]func(*crossing, *entry.Leg){
		"other commitment": func(c *crossing, leg *entry.Leg) { leg.Commitments[0] = zk.Commitment(c.B.Rand.Field()) },
		"decided by another ledger": func(c *crossing, leg *entry.Leg) {
			leg.Condition = (&entry.DecidedThere{Ledger: stranger.Hash, Hold: c.b, Until: c.here.Until}).Condition()
		},
		"decided by another hold": func(c *crossing, leg *entry.Leg) {
			other := c.b
			other.Leg = 1
			leg.Condition = (&entry.DecidedThere{Ledger: c.B.Hash, Hold: other, Until: c.here.Until}).Condition()
		},
		"decided until later": func(c *crossing, leg *entry.Leg) {
			leg.Condition = (&entry.DecidedThere{Ledger: c.B.Hash, Hold: c.b, Until: c.here.Until + 1}).Condition()
		},
		"decided by itself": func(c *crossing, leg *entry.Leg) {
			leg.Condition = c.here.Condition()
			leg.Peer = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			c := newWorld(t, 1).plan(largeClass).lockB(t)
			tx := c.ready(0)
			change(c, &tx.Legs[0])
			c.ids[0] = tx.HoldID(0)
			liar := c.A().Lie(tx.Transaction)
			c.observe(t, c.B, liar)
			d := c.B.Resolution(c.b, entry.Posted, entry.ReasonPeers)
			d.Named = []entry.Named{{Ledger: liar.Hash, Hold: c.ids[0]}}
			d.Peers = []entry.PeerProof{*liar.Proof(c.ids[0].Tx)}
			wantCode(t, c.B.Submit(d)[0], entry.PeerMismatch)
		})
	}
}

// TestLyingDecidersLedgerCannotSayWhatItsRulesDoNotKnow: whatever B logs, a
// follower understands only decisions that its hold waits for.
func TestLyingDecidersLedgerCannotSayWhatItsRulesDoNotKnow(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lock(t)
	A := c.A()
	posted := func(named ...entry.Named) *entry.Resolve {
		d := c.decision()
		d.Named, d.Peers = named, d.Peers[:1]
		return d
	}
	wrong := posted()
	override := &entry.Override{Header: c.B.Next(), Peer: A.Hash, Hold: c.b, Outcome: entry.Posted, Commitment: c.onB.Legs[0].Commitments[0]}
	other := c.decision()
	other.Hold.Leg = 1
	elsewhere := posted(entry.Named{Ledger: c.B.Hash, Hold: c.ids[0]})
	voidsOther := &entry.Override{Header: c.B.Next(), Peer: A.Hash, Hold: other.Hold, Outcome: entry.Voided, Commitment: c.onB.Legs[0].ReturnCommitment}
	lies := []entry.Entry{wrong, override, other, elsewhere, voidsOther}
	liar := c.B.Lie(lies...)
	c.observe(t, A, liar)
	for i, lie := range lies {
		for _, outcome := range []entry.Outcome{entry.Posted, entry.Voided} {
			r := A.Resolution(c.ids[0], outcome, entry.ReasonPeers)
			r.Peers = []entry.PeerProof{*liar.Proof(entry.IDOf(lie))}
			wantCode(t, A.Submit(r)[0], entry.PeerMismatch)
			if t.Failed() {
				t.Fatalf("lie %d, %s", i, outcome)
			}
		}
	}
}

func TestDeciderPostsOnlyBeforeItsExpiry(t *testing.T) {
	for ahead, code := range map[int64]entry.Code{1: "", 0: entry.HoldExpired, -1: entry.HoldExpired} {
		c := newWorld(t, 1).plan(smallClass).lock(t)
		c.B.Now = uint64(int64(c.here.Until) - ahead)
		decision, void := c.decision(), c.void()
		if code == "" {
			wantCode(t, c.B.Submit(void)[0], entry.HoldNotExpired)
			wantAccepted(t, c.B.Submit(decision)...)
			continue
		}
		wantCode(t, c.B.Submit(decision)[0], code)
		wantAccepted(t, c.B.Submit(void)...)
	}
}

func TestPostAndVoidRaceInOneBlock(t *testing.T) {
	for name, order := range map[string][]int{"post first": {0, 1}, "void first": {1, 0}} {
		for _, expired := range []bool{false, true} {
			c := newWorld(t, 1).plan(smallClass).lock(t)
			both := []entry.Entry{c.decision(), c.void()}
			admit := func(e entry.Entry) *settlement.Candidate {
				sub, err := settlement.DecodeLogged(entry.Encode(e))
				if err != nil {
					t.Fatal(err)
				}
				candidate, err := c.B.State.Admit(sub, c.B.Now, c.B.Anchor)
				if err != nil {
					t.Fatal(err)
				}
				settlement.Prove(c.B.Verifier, []*settlement.Candidate{candidate})
				return candidate
			}
			candidates := []*settlement.Candidate{admit(both[order[0]]), admit(both[order[1]])}
			right := 0
			if expired {
				c.B.Now, right = c.here.Until, 1
			}
			for i, r := range c.B.Settle(candidates...) {
				switch {
				case order[i] == right:
					wantAccepted(t, r)
				case i == 0 && expired:
					wantCode(t, r, entry.HoldExpired)
				case i == 0:
					wantCode(t, r, entry.HoldNotExpired)
				default:
					wantCode(t, r, entry.HoldResolved)
				}
			}
			if n := len(last(c.B).Commitments); n != 1 || t.Failed() {
				t.Fatalf("%s, expired %v: %d outputs placed", name, expired, n)
			}
		}
	}
}

func TestFollowerObeysTheDecisionAndNothingElse(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lock(t)
	A := c.A()
	clock := c.followers[0].Resolution(c.ids[0], entry.Voided, entry.ReasonExpired)
	clock.ExpiryMillis = c.here.Until + 100_000
	wantCode(t, A.Submit(clock)[0], entry.OutcomeInvalid)
	unrelated := c.B.Transfer()
	c.accept(t, c.B, unrelated)
	c.observe(t, A, c.B)
	wantCode(t, A.Submit(c.follow(0, entry.Posted, unrelated.ID()))[0], entry.PeerMismatch)
	wantCode(t, A.Submit(c.follow(0, entry.Posted, c.b.Tx))[0], entry.PeerMismatch)
	wantCode(t, A.Submit(c.follow(0, entry.Voided, c.b.Tx))[0], entry.PeerMismatch)

	// The decision on another hold of B says nothing about this one.
	other := c.plan(smallClass).lock(t)
	id := c.decided(t, other.decision())
	wantCode(t, A.Submit(c.follow(0, entry.Posted, id))[0], entry.PeerMismatch)
	wantCode(t, A.Submit(c.follow(0, entry.Voided, id))[0], entry.PeerMismatch)

	c.advance(c.here.Until - A.Now)
	wantCode(t, A.Submit(clock)[0], entry.OutcomeInvalid) // not even now
	void := c.decided(t, c.void())
	wantCode(t, A.Submit(c.follow(0, entry.Posted, void))[0], entry.PeerMismatch)
	named := c.follow(0, entry.Voided, void)
	named.Outcome, named.Commitment, named.Named = entry.Posted, c.on[0].Legs[0].Commitments[0], []entry.Named{{Ledger: c.B.Hash, Hold: c.b}}
	wantCode(t, A.Submit(named)[0], entry.OutcomeInvalid)
	stale := c.follow(0, entry.Voided, void)
	stale.Peers[0].Size++
	wantCode(t, A.Submit(stale)[0], entry.PeerSizeUnknown)
	wantAccepted(t, A.Submit(c.follow(0, entry.Voided, void))...)
	wantCode(t, A.Submit(clock)[0], entry.HoldResolved)
}

// TestDecisionThatNamesAnotherHoldVoids: two holds on A follow one hold of B
// and pay the same commitment; B names one of them.
func TestDecisionThatNamesAnotherHoldVoids(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lockB(t)
	A := c.A()
	twin := A.Holding(largeClass, c.there)
	twin.Legs[0].Commitments[0] = c.here.Followers[0].Commitment
	twin.Legs[0].Peer = c.B.Proof(c.b.Tx)
	first := c.ready(0)
	c.accept(t, A, first, A.Prove(twin))
	c.observe(t, c.B, A)
	id := c.decided(t, c.decision())
	loser := &crossing{world: c.world, on: []*ledgertest.Tx{twin}, ids: []entry.HoldID{twin.HoldID(0)}}
	wantCode(t, A.Submit(loser.follow(0, entry.Posted, id))[0], entry.PeerMismatch)
	wantCode(t, A.Submit(c.follow(0, entry.Voided, id))[0], entry.PeerMismatch)
	r := A.Submit(loser.follow(0, entry.Voided, id), c.follow(0, entry.Posted, id))
	wantAccepted(t, r...)
	if got := placedIn(last(A)); len(got) != 2 || got[0] != twin.Legs[0].ReturnCommitment || got[1] != first.Legs[0].Commitments[0] {
		t.Errorf("placed %v", got)
	}
}

func TestFrozenCorridor(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lock(t)
	A, B := c.A(), c.B
	decision := c.decision()
	c.accept(t, B, B.FreezeCorridor(A, true))
	wantCode(t, B.Submit(decision)[0], entry.CorridorFrozen) // a frozen decider never posts
	next := c.plan(smallClass)
	wantCode(t, B.Submit(next.onB)[0], entry.CorridorFrozen)
	wantCode(t, B.Submit(c.void())[0], entry.HoldNotExpired)
	c.advance(c.here.Until - B.Now)
	id := c.decided(t, c.void()) // but voids at its expiry
	c.accept(t, A, A.FreezeCorridor(B, true))
	wantCode(t, A.Submit(c.follow(0, entry.Voided, id))[0], entry.CorridorFrozen) // a frozen follower waits
	local := newEscrow(t, A, nil)
	wantAccepted(t, A.Submit(local.attests(0), local.attests(1), local.post())...) // what crosses no border does not
	c.accept(t, A, A.FreezeCorridor(B, false))
	wantAccepted(t, A.Submit(c.follow(0, entry.Voided, id))...)

	// Frozen, decided and thawed within one block.
	c = newWorld(t, 1).plan(largeClass).lock(t)
	A, B = c.A(), c.B
	freeze := B.FreezeCorridor(A, true)
	thaw := &entry.Corridor{Header: B.Next(), Peer: A.Hash, Action: entry.CorridorThaws}
	thaw.Sequence++
	late := c.decision()
	late.ExpiryMillis++
	r := B.Submit(freeze, c.decision(), B.Signed(thaw), late)
	wantAccepted(t, r[0], r[2], r[3])
	wantCode(t, r[1], entry.CorridorFrozen)
	replays(t, B)
}

// TestFreezeWithHoldsInEveryState: A freezes its corridor to B when its payer's
// hold is not there yet, is there, is decided. B's own corridor is not frozen.
func TestFreezeWithHoldsInEveryState(t *testing.T) {
	for _, outcome := range []entry.Outcome{entry.Posted, entry.Voided} {
		w := newWorld(t, 1)
		A, B := w.A(), w.B
		planned, decided := w.plan(smallClass), w.plan(largeClass)
		planned.lockB(t)
		decided.lock(t)
		locked := w.plan(smallClass).lock(t)
		decide := func(c *crossing) entry.ID {
			if outcome == entry.Posted {
				if A.State.LogSize() > B.State.Corridors(B.Now)[0].Size {
					w.observe(t, B, A)
				}
				return c.decided(t, c.decision())
			}
			w.advance(max(c.here.Until, B.Now) - B.Now)
			return c.decided(t, c.void())
		}
		early := decide(decided)
		planned.ready(0)
		w.accept(t, A, A.FreezeCorridor(B, true))
		want := entry.CorridorFrozen
		wantCode(t, A.Submit(planned.on[0])[0], want)                     // no new hold
		wantCode(t, A.Submit(decided.follow(0, outcome, early))[0], want) // no resolution by B's word
		late := decide(locked)                                            // B goes on, and A observes it
		wantCode(t, A.Submit(locked.follow(0, outcome, late))[0], want)
		if n := inFlight(t, A, B); n != smallClass+largeClass {
			t.Errorf("%d in flight while frozen", n)
		}
		w.advance(max(planned.here.Until, B.Now) - B.Now)
		w.accept(t, B, planned.void()) // the decider that nobody followed
		w.accept(t, A, A.FreezeCorridor(B, false), A.Observe(B))
		wantAccepted(t, A.Submit(decided.follow(0, outcome, early), locked.follow(0, outcome, late))...)
		for b, peer := range map[*ledgertest.Bed]*ledgertest.Bed{A: B, B: A} {
			if n := inFlight(t, b, peer); n != 0 || b.State.OpenHolds() != 0 {
				t.Errorf("%s: %d in flight, %d open in the end", outcome, n, b.State.OpenHolds())
			}
			replays(t, b)
		}
	}
}

func TestStaleCorridorStillResolves(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass)
	c.here.Until = c.B.Now + ledgertest.MaxExpiryMillis
	c.rebuild(largeClass)
	c.lock(t)
	c.advance(700_000)
	if got := c.B.State.Corridors(c.B.Now)[0].State; got != settlement.CorridorStale {
		t.Fatalf("the corridor is %s", got)
	}
	wantAccepted(t, c.B.Submit(c.decision())...)
}

func TestOverride(t *testing.T) {
	t.Run("decides a follower", func(t *testing.T) {
		for _, outcome := range []entry.Outcome{entry.Posted, entry.Voided} {
			c := newWorld(t, 1).plan(largeClass).lock(t)
			A := c.A()
			wantCode(t, A.Submit(A.Override(c.B, c.ids[0], outcome))[0], entry.OverrideInvalid) // not frozen
			c.accept(t, A, A.FreezeCorridor(c.B, true))
			unknown := c.ids[0]
			unknown.Leg++
			local := newEscrow(t, A, nil)
			stranger := ledgertest.NewBed(9)
			for name, x := range map[string]struct {
				change func(*entry.Override)
				resign bool
				code   entry.Code
			}{
				"no such hold":      {func(e *entry.Override) { e.Hold = unknown }, true, entry.HoldUnknown},
				"a local hold":      {func(e *entry.Override) { e.Hold = local.id }, true, entry.OverrideInvalid},
				"unknown peer":      {func(e *entry.Override) { e.Peer = stranger.Hash }, true, entry.CorridorUnknown},
				"other commitment":  {func(e *entry.Override) { e.Commitment = zk.Commitment(A.Rand.Field()) }, true, entry.OutcomeInvalid},
				"other outcome":     {func(e *entry.Override) { e.Outcome = entry.Posted + entry.Voided - e.Outcome }, true, entry.OutcomeInvalid},
				"treasury missing":  {func(e *entry.Override) { e.Treasury = e.Treasury[:1] }, false, entry.OverrideInvalid},
				"treasury forged":   {func(e *entry.Override) { e.Treasury[0].Signature[3] ^= 1 }, false, entry.OverrideInvalid},
				"oversight missing": {func(e *entry.Override) { e.Oversight = zk.Signature{} }, false, entry.OverrideInvalid},
				"own policy missing": {func(e *entry.Override) {
					e.Signatures = e.Signatures[:1]
				}, false, entry.SignaturesMissing},
				"own treasury in place of the peer's": {func(e *entry.Override) {
					A.SignOverride(A, e)
				}, false, entry.OverrideInvalid},
			} {
				e := A.Override(c.B, c.ids[0], outcome)
				x.change(e)
				if x.resign {
					A.SignOverride(c.B, e)
				}
				wantCode(t, A.Submit(e)[0], x.code)
				if t.Failed() {
					t.Fatal(name)
				}
			}
			old := A.OversightKey
			c.accept(t, A, A.Rotate(2))
			fresh := A.OversightKey
			A.OversightKey = old
			wantCode(t, A.Submit(A.Override(c.B, c.ids[0], outcome))[0], entry.OverrideInvalid)
			A.OversightKey = fresh
			override := A.Override(c.B, c.ids[0], outcome)
			c.accept(t, A, override)
			want := c.on[0].Legs[0].Commitments[0]
			if outcome == entry.Voided {
				want = c.on[0].Legs[0].ReturnCommitment
			}
			if got := placedIn(last(A)); len(got) != 1 || got[0] != want || inFlight(t, A, c.B) != 0 {
				t.Errorf("placed %v, want %s; %d in flight", got, want, inFlight(t, A, c.B))
			}
			again := A.Override(c.B, c.ids[0], outcome)
			again.Commitment = override.Commitment
			A.SignOverride(c.B, again)
			wantCode(t, A.Submit(again)[0], entry.HoldResolved)
			if r := A.Submit(override)[0]; r.Status != settlement.SettledBefore {
				t.Errorf("a repeated override: %+v", r)
			}

			// B decides after all, the other way: a claim.
			c.advance(c.here.Until - c.B.Now)
			id := c.decided(t, c.void())
			evidence := &entry.Evidence{Header: A.Plain(), Peer: c.B.Hash, Type: entry.EvidenceLate, Data: c.B.Proof(id).Marshal()}
			r := A.Submit(evidence)[0]
			claims := A.State.Corridors(A.Now)[0].Claims
			if outcome == entry.Posted {
				wantAccepted(t, r)
				if claims != largeClass {
					t.Errorf("%d claimed, want %d", claims, largeClass)
				}
			} else {
				wantCode(t, r, entry.EvidenceInvalid)
			}
			snapshotHolds(t, A)
			replays(t, A)
		}
	})
	t.Run("only voids a decider, and followers obey", func(t *testing.T) {
		c := newWorld(t, 2).plan(largeClass).lock(t)
		A, V := c.followers[0], c.followers[1]
		c.accept(t, c.B, c.B.FreezeCorridor(A, true))
		wantCode(t, c.B.Submit(c.B.Override(A, c.b, entry.Posted))[0], entry.OverrideInvalid)
		wantCode(t, c.B.Submit(c.B.Override(V, c.b, entry.Voided))[0], entry.OverrideInvalid) // that corridor is not frozen
		override := c.B.Override(A, c.b, entry.Voided)
		c.accept(t, c.B, override)
		if n := inFlight(t, c.B, A) + inFlight(t, c.B, V); n != 0 {
			t.Errorf("%d in flight", n)
		}
		c.observe(t, V, c.B)
		wantCode(t, V.Submit(c.follow(1, entry.Posted, entry.IDOf(override)))[0], entry.PeerMismatch)
		wantAccepted(t, V.Submit(c.follow(1, entry.Voided, entry.IDOf(override)))...)
		replays(t, c.B)
	})
}

// TestEvidenceFreezesWhatFollowsItInItsBlock: a fork that the peer's log key
// signed.
func TestEvidenceFreezesWhatFollowsItInItsBlock(t *testing.T) {
	c := newWorld(t, 1).plan(largeClass).lock(t)
	A, B := c.A(), c.B
	evidence := &entry.Evidence{Header: B.Plain(), Peer: A.Hash, Type: entry.EvidenceFork, Data: forkOf(t, A)}
	next := c.plan(smallClass)
	r := B.Submit(evidence, c.decision(), next.onB)
	wantAccepted(t, r[0])
	wantCode(t, r[1], entry.CorridorFrozen)
	wantCode(t, r[2], entry.CorridorFrozen)
	if r := B.Submit(evidence)[0]; r.Status != settlement.SettledBefore {
		t.Errorf("repeated evidence: %+v", r)
	}
	bad := *evidence
	bad.Data = append([]byte(nil), bad.Data...)
	bad.Data[len(bad.Data)-10] ^= 1
	wantCode(t, A.Submit(&entry.Evidence{Header: A.Plain(), Peer: B.Hash, Type: entry.EvidenceFork, Data: bad.Data})[0], entry.EvidenceInvalid)
	replays(t, B)
}

// forkOf is evidence that a ledger signed two roots for one size.
func forkOf(t testing.TB, b *ledgertest.Bed) []byte {
	t.Helper()
	signer, err := proof.NewLogSigner(b.Genesis.Origin, b.LogKey)
	if err != nil {
		t.Fatal(err)
	}
	head := proof.Head{Size: b.State.LogSize(), Root: b.State.LogRoot()}
	other := head
	other.Root[0] ^= 1
	e, err := proof.NewEvidence(b.Genesis.Origin, signer.Public(), signer.Sign(head), signer.Sign(other), b)
	if err != nil {
		t.Fatal(err)
	}
	return e.Marshal()
}

// replays requires that the log alone gives the same state bit for bit, and
// that the snapshot after every block leads there as well.
func replays(t testing.TB, b *ledgertest.Bed) {
	t.Helper()
	r, err := replay.New(bare(b.Blocks[0]), replay.Config{Verifier: b.Verifier})
	if err != nil {
		t.Fatal(err)
	}
	snapshots := [][]byte{r.State().Marshal()}
	for _, block := range b.Blocks[1:] {
		if err := r.Apply(bare(block)); err != nil {
			t.Fatal(err)
		}
		snapshots = append(snapshots, r.State().Marshal())
	}
	for height, snapshot := range snapshots {
		state, err := settlement.Unmarshal(b.Genesis, snapshot, b.Blocks[height])
		if err != nil {
			t.Fatal(err)
		}
		index := replay.NewMemory()
		for _, block := range b.Blocks[:height+1] {
			if err := index.Add(block); err != nil {
				t.Fatal(err)
			}
		}
		r := replay.From(state, replay.Config{Verifier: b.Verifier, Index: index})
		for _, block := range b.Blocks[height+1:] {
			if err := r.Apply(bare(block)); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(r.State().Marshal(), b.State.Marshal()) {
			t.Errorf("replay from the snapshot of block %d gives another state", height)
		}
	}
}

// bare is what the log itself holds of a block.
func bare(b *settlement.Block) *settlement.Block {
	return &settlement.Block{Height: b.Height, FirstIndex: b.FirstIndex, Entries: b.Entries}
}
