package settlement_test

import (
	"bytes"
	"crypto/ed25519"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// escrow is an attested hold with the secrets of everybody in it.
type escrow struct {
	*ledgertest.Bed
	id           entry.HoldID
	tx           *ledgertest.Tx
	rule         *entry.Attested
	payer, payee ed25519.PrivateKey
	attestors    []ed25519.PrivateKey
}

const escrowMillis = 100_000

// newEscrow places a hold that 2 of 3 attestors of a delivery decide; change
// alters its condition first.
func newEscrow(t testing.TB, b *ledgertest.Bed, change func(*entry.Attested)) *escrow {
	t.Helper()
	e := &escrow{Bed: b, rule: &entry.Attested{Until: b.Now + escrowMillis, Statement: entry.StatementDelivery, Threshold: 2}}
	e.payer, e.rule.Payer = b.Key()
	e.payee, e.rule.Payee = b.Key()
	for range 3 {
		key, public := b.Key()
		e.attestors, e.rule.Attestors = append(e.attestors, key), append(e.rule.Attestors, public)
	}
	if change != nil {
		change(e.rule)
	}
	e.tx = b.Prove(b.Holding(0, e.rule))
	e.id = e.tx.HoldID(0)
	if r := b.Submit(e.tx)[0]; r.Status != settlement.Accepted {
		t.Fatalf("the hold was %s: %v", r.Status, r.Refusal)
	}
	return e
}

// windowed adds a challenge window of 10 s, after which all three are needed.
func windowed(rule *entry.Attested) { rule.WindowMillis, rule.Contested = 10_000, 3 }

var waybill, invoice = entry.Digest([]byte("waybill")), entry.Digest([]byte("invoice"))

func (e *escrow) attests(attestor int) *entry.Attest { return e.says(entry.Attests, attestor, waybill) }

func (e *escrow) says(action entry.AttestAction, attestor int, document [32]byte) *entry.Attest {
	return e.Attest(e.id, action, attestor, e.attestors[attestor], e.rule.Statement, document)
}

func (e *escrow) post() *entry.Resolve {
	r := e.Resolution(e.id, entry.Posted, entry.ReasonAttested)
	r.Commitment = e.tx.Legs[0].Commitments[0]
	return r
}

func (e *escrow) expire() *entry.Resolve {
	r := e.Resolution(e.id, entry.Voided, entry.ReasonExpired)
	r.Commitment = e.tx.Legs[0].ReturnCommitment
	return r
}

// placedIn lists the commitments that a block placed.
func placedIn(block *settlement.Block) []zk.Commitment {
	var out []zk.Commitment
	for _, p := range block.Commitments {
		out = append(out, p.Commitment)
	}
	return out
}

func last(b *ledgertest.Bed) *settlement.Block { return b.Blocks[len(b.Blocks)-1] }

// replayed requires that every block's state survives a snapshot, and gives
// nothing else away.
func snapshotHolds(t testing.TB, b *ledgertest.Bed) {
	t.Helper()
	s, err := settlement.Unmarshal(b.Genesis, b.State.Marshal(), last(b))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(s.Marshal(), b.State.Marshal()) {
		t.Error("a snapshot read back is another state")
	}
}

func TestHeldOutputIsPlacedWhenItIsResolvedAndNotBefore(t *testing.T) {
	for _, posted := range []bool{true, false} {
		e := newEscrow(t, ledgertest.NewBed(1), nil)
		leg := &e.tx.Legs[0]
		if got := placedIn(last(e.Bed)); len(got) != 1 || got[0] != leg.Commitments[1] {
			t.Fatalf("the hold placed %v, want its change alone", got)
		}
		if h, open := e.State.Hold(e.id); !open || h.Commitment != leg.Commitments[0] || h.Return != leg.ReturnCommitment || e.State.Entry().Holds != 1 {
			t.Fatalf("open %v: %+v", open, h)
		}
		snapshotHolds(t, e.Bed)
		want := leg.Commitments[0]
		if posted {
			wantAccepted(t, e.Submit(e.attests(0), e.attests(2), e.post())...)
		} else {
			want = leg.ReturnCommitment
			e.Now += escrowMillis
			wantAccepted(t, e.Submit(e.expire())...)
		}
		block := last(e.Bed)
		if got := block.Commitments; len(got) != 1 || got[0].Commitment != want || got[0].EntryIndex != block.Size()-2 {
			t.Errorf("the resolution placed %+v, want %s", got, want)
		}
		if _, open := e.State.Hold(e.id); open || e.State.Entry().Holds != 0 {
			t.Error("the resolved hold is still open")
		}
		snapshotHolds(t, e.Bed)
	}
}

// pair is two ledgers that recognise each other.
type pair struct{ A, B *ledgertest.Bed }

func newPair(t testing.TB) *pair {
	t.Helper()
	p := &pair{ledgertest.NewBed(1), ledgertest.NewBed(2)}
	p.accept(t, p.A, p.A.Recognise(p.B, 100_000, 100, 1000))
	p.accept(t, p.B, p.B.Recognise(p.A, 100_000, 100, 1000))
	p.meet(t)
	return p
}

// accept submits entries one by one, each in a block of its own.
func (p *pair) accept(t testing.TB, b *ledgertest.Bed, what ...any) {
	t.Helper()
	for _, e := range what {
		p.tick()
		if r := b.Submit(e)[0]; r.Status != settlement.Accepted {
			t.Fatalf("%s: %v", r.Status, r.Refusal)
		}
	}
}

func (p *pair) tick() { p.A.Now += 10; p.B.Now += 10 }

// meet lets each ledger observe the other.
func (p *pair) meet(t testing.TB) {
	t.Helper()
	p.accept(t, p.A, p.A.Observe(p.B))
	p.accept(t, p.B, p.B.Observe(p.A))
}

// crossing is a payment from A to B: the payer's hold on A follows the
// provider's on B.
type crossing struct {
	*pair
	onA, onB *ledgertest.Tx
	a, b     entry.HoldID
	here     *entry.DecidedHere
	there    *entry.DecidedThere
}

// plan builds both transactions; nothing is logged yet.
func (p *pair) plan(class uint64) *crossing {
	c := &crossing{pair: p}
	c.onA = p.A.Holding(class, &entry.DecidedThere{})
	c.here = &entry.DecidedHere{Until: p.B.Now + 50_000, Followers: []entry.Follower{{Ledger: p.A.Hash, Commitment: c.onA.Legs[0].Commitments[0]}}}
	c.onB = p.B.Prove(p.B.Holding(class, c.here))
	c.b = c.onB.HoldID(0)
	c.there = &entry.DecidedThere{Ledger: p.B.Hash, Hold: c.b, Until: c.here.Until}
	c.onA.Legs[0].Condition = c.there.Condition()
	return c
}

// lockB logs the decider's hold and lets A observe it.
func (c *crossing) lockB(t testing.TB) {
	t.Helper()
	c.accept(t, c.B, c.onB)
	c.accept(t, c.A, c.A.Observe(c.B))
}

// proveA finishes the follower's transaction.
func (c *crossing) proveA() *ledgertest.Tx {
	c.onA.Legs[0].Peer = c.B.Proof(c.b.Tx)
	c.A.Prove(c.onA)
	c.a = c.onA.HoldID(0)
	return c.onA
}

// lockA logs the follower's hold and lets B observe it.
func (c *crossing) lockA(t testing.TB) {
	t.Helper()
	c.accept(t, c.A, c.proveA())
	c.accept(t, c.B, c.B.Observe(c.A))
}

// decide is the decision to post, proven.
func (c *crossing) decide() *entry.Resolve {
	r := c.B.Resolution(c.b, entry.Posted, entry.ReasonPeers)
	r.Named = []entry.Named{{Ledger: c.A.Hash, Hold: c.a}}
	r.Peers = []entry.PeerProof{*c.A.Proof(c.a.Tx)}
	return r
}

// follow resolves the follower by the decision with that id.
func (c *crossing) follow(outcome entry.Outcome, decision entry.ID) *entry.Resolve {
	r := c.A.Resolution(c.a, outcome, entry.ReasonPeers)
	r.Peers = []entry.PeerProof{*c.B.Proof(decision)}
	return r
}

func (p *pair) inFlight() (a, b uint64) {
	return p.A.State.Corridors(p.A.Now)[0].InFlight, p.B.State.Corridors(p.B.Now)[0].InFlight
}

func TestCrossBorderPaymentHappensOnBothLedgersOrOnNeither(t *testing.T) {
	for _, outcome := range []entry.Outcome{entry.Posted, entry.Voided} {
		c := newPair(t).plan(1000)
		c.lockB(t)
		c.lockA(t)
		if a, b := c.inFlight(); a != 1000 || b != 1000 {
			t.Fatalf("%d and %d in flight", a, b)
		}
		snapshotHolds(t, c.A)
		snapshotHolds(t, c.B)
		decision := c.decide()
		if outcome == entry.Voided {
			decision = c.B.Resolution(c.b, entry.Voided, entry.ReasonExpired)
			c.A.Now, c.B.Now = c.here.Until, c.here.Until
			decision.ExpiryMillis = c.B.Now + 1000
		}
		c.accept(t, c.B, decision)
		c.accept(t, c.A, c.A.Observe(c.B))
		c.accept(t, c.A, c.follow(outcome, entry.IDOf(decision)))
		want := []zk.Commitment{c.onA.Legs[0].Commitments[0]}
		if outcome == entry.Voided {
			want[0] = c.onA.Legs[0].ReturnCommitment
		}
		if got := placedIn(last(c.A)); len(got) != 1 || got[0] != want[0] {
			t.Errorf("%s: A placed %v, want %v", outcome, got, want)
		}
		if a, b := c.inFlight(); a != 0 || b != 0 {
			t.Errorf("%s: %d and %d still in flight", outcome, a, b)
		}
		snapshotHolds(t, c.A)
	}
}
