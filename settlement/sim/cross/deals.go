package cross

import (
	"bytes"
	"crypto/ed25519"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// conduct is how the people of a payment behave.
type conduct int

const (
	honest         conduct = iota
	noProvider             // the provider disappears before it places anything
	wrongProvider          // the provider's hold waits for another commitment
	noPayer                // the payer disappears
	doublePayer            // the payer places two holds for one
	wrongPayer             // the payer's hold pays half, under the same name
	noMiddle               // the middle provider of a chain disappears
	conductsOfFive         // how many there are without the chain's
)

// deal is one cross-ledger payment: a decider's hold by the provider, and the
// followers' by the payer and, in a chain, by a middle provider.
type deal struct {
	conduct conduct
	decider *placing
	follow  []*placing // the payer's first
	until   uint64
	dead    bool // the decider's hold was never placed and can no longer be
}

// margin is how long before the decider's expiry a payer still places.
const margin = 3_000

func (w *world) beginDeal() {
	n := 1
	small := zk.Amount(100 + w.rand.IntN(9_000))
	if w.rand.Chance(0.06) { // so much at once that the cap is met
		n, small = 4, zk.Amount(11_000+w.rand.IntN(9_000))
		w.report.Other["burst"]++
	}
	a, b := w.pair()
	for range n {
		w.deals = append(w.deals, w.newDeal(a, b, small)...)
	}
}

// newDeal reserves the notes of a payment from a to b, now and then by way of
// the third ledger. None is made when somebody lacks the notes.
func (w *world) newDeal(a, b *ledger, amount zk.Amount) []*deal {
	d := &deal{until: max(b.wall, b.book.time) + 8_000 + uint64(w.rand.IntN(40_000))}
	if w.rand.Chance(0.35) {
		d.conduct = conduct(1 + w.rand.IntN(int(noMiddle)))
	}
	d.decider = w.reserve(b.wallets[w.rand.IntN(3)], b.wallets[3+w.rand.IntN(3)], amount-zk.Amount(w.rand.IntN(50)))
	d.follow = append(d.follow, w.reserve(a.wallets[3+w.rand.IntN(3)], a.wallets[w.rand.IntN(3)], amount))
	if len(w.ledgers) == 3 && w.rand.Chance(0.5) {
		i := slices.IndexFunc(w.ledgers, func(l *ledger) bool { return l != a && l != b })
		v := w.ledgers[i]
		d.follow = append(d.follow, w.reserve(v.wallets[w.rand.IntN(3)], v.wallets[w.rand.IntN(3)], amount-zk.Amount(w.rand.IntN(20))))
		w.report.Other["chain"]++
	}
	if d.decider == nil || slices.Contains(d.follow, nil) {
		return nil
	}
	here := &entry.DecidedHere{Until: d.until}
	for _, f := range d.follow {
		here.Followers = append(here.Followers, entry.Follower{Ledger: f.l.hash, Commitment: f.leg.Commitments[0]})
	}
	if d.conduct == wrongProvider {
		here.Followers[0].Commitment = zk.Commitment(w.rand.Field())
	}
	slices.SortFunc(here.Followers, func(x, y entry.Follower) int { return bytes.Compare(x.Ledger[:], y.Ledger[:]) })
	d.decider.build(here.Condition(), classOf(d.decider.held.Value))
	there := &entry.DecidedThere{Ledger: b.hash, Hold: d.decider.id, Until: d.until}
	for _, f := range d.follow {
		f.build(there.Condition(), classOf(f.held.Value))
	}
	payer := a.wallets[3+w.rand.IntN(3)]
	switch d.conduct {
	case doublePayer, wrongPayer:
		second := w.reserve(payer, w.notes[d.follow[0].leg.Commitments[0]].wallet, d.follow[0].held.Value)
		if second == nil {
			break
		}
		if d.conduct == doublePayer {
			second.leg.Commitments[0] = d.follow[0].leg.Commitments[0] // equal notes
		} else {
			half := w.output(w.notes[d.follow[0].leg.Commitments[0]].wallet, d.follow[0].held.Value/2)
			d.follow[0].id = entry.HoldID{} // its own is never sent
			second.leg.Commitments[0] = half.Commitment()
			second.leg.Commitments[1] = w.output(payer, w.spends[second.leg.Nullifiers[0]]-half.Value).Commitment()
			second.leg.ReturnCommitment = w.output(payer, half.Value).Commitment()
			second.held = half
		}
		second.build(there.Condition(), classOf(second.held.Value))
		d.follow = append(d.follow, second)
	}
	if d.conduct != honest {
		w.report.Other[[...]string{"", "provider disappears", "provider places another hold", "payer disappears", "payer places two holds",
			"payer's hold pays half", "middle provider disappears"}[d.conduct]]++
	}
	return []*deal{d}
}

func (d *deal) over() bool {
	if h := d.decider.state(); h != nil {
		return h.outcome != 0
	}
	return d.dead
}

// act lets everybody do what is next for them. What they know they read in
// the logs, so a crash of theirs changes nothing.
func (w *world) act() {
	for _, d := range w.deals {
		if !d.over() && (w.calm || w.rand.Chance(0.5)) {
			w.actOn(d)
		}
	}
	for _, x := range w.escrows {
		if !x.over() && (w.calm || w.rand.Chance(0.5)) {
			w.actOnEscrow(x)
		}
	}
}

func (w *world) actOn(d *deal) {
	b := d.decider.l
	decider := d.decider.state()
	if decider == nil {
		switch {
		case b.book.time >= d.until:
			d.dead = true
		case d.conduct != noProvider:
			d.decider.send(w, nil)
		}
		return
	}
	for i, f := range d.follow {
		honestMiss := d.conduct == wrongProvider && i == 0 || d.conduct == noPayer && i == 0 || d.conduct == noMiddle && i == 1 ||
			d.conduct == wrongPayer && i == 0
		seen := f.l.book.sizeSeen(b.hash)
		if f.state() != nil || honestMiss || decider.index >= seen || b.book.time+margin >= d.until || w.cut(f.l, b) {
			continue
		}
		f.send(w, b.peerProof(decider.index, seen))
	}
}

// escrow is a hold that attestors decide.
type escrow struct {
	hold         *placing
	cond         *entry.Attested
	attestors    []ed25519.PrivateKey
	payer, payee ed25519.PrivateKey
	document     [32]byte
	dead         bool
}

func (w *world) beginEscrow() {
	l, _ := w.pair()
	x := &escrow{hold: w.reserve(l.wallets[3+w.rand.IntN(3)], l.wallets[w.rand.IntN(3)], zk.Amount(100+w.rand.IntN(5_000)))}
	if x.hold == nil {
		return
	}
	key := func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(w.rand.Bytes(ed25519.SeedSize)) }
	public := func(k ed25519.PrivateKey) entry.SignerKey { return entry.SignerKey(k.Public().(ed25519.PublicKey)) }
	x.payer, x.payee = key(), key()
	copy(x.document[:], w.rand.Bytes(32))
	x.cond = &entry.Attested{Until: max(l.wall, l.book.time) + 5_000 + uint64(w.rand.IntN(40_000)), Payer: public(x.payer), Payee: public(x.payee),
		Statement: entry.StatementDelivery, Threshold: 2}
	for range 3 {
		k := key()
		x.attestors, x.cond.Attestors = append(x.attestors, k), append(x.cond.Attestors, public(k))
	}
	if w.rand.Chance(0.5) {
		x.cond.Contested, x.cond.WindowMillis = 3, uint64(1_000+w.rand.IntN(6_000))
	}
	if w.rand.Chance(0.5) {
		x.cond.Document = x.document
	}
	x.hold.build(x.cond.Condition(), entry.LocalSizeClass)
	w.escrows = append(w.escrows, x)
}

func (x *escrow) over() bool {
	if h := x.hold.state(); h != nil {
		return h.outcome != 0
	}
	return x.dead
}

func (w *world) actOnEscrow(x *escrow) {
	l, h := x.hold.l, x.hold.state()
	if h == nil {
		if x.dead = l.book.time >= x.cond.Until; !x.dead {
			x.hold.send(w, nil)
		}
		return
	}
	state := func(action entry.AttestAction, by int) {
		e := &entry.Attest{Header: l.header(), Hold: h.id, Action: action, Attestor: uint8(by), Statement: x.cond.Statement, Document: x.document}
		k := x.payer
		if action == entry.Challenges {
			e.Attestor, e.Statement, e.Document = entry.PayerAttestor, 0, [32]byte{}
		} else {
			k = x.attestors[by]
		}
		if w.rand.Chance(0.04) {
			k = x.attestors[(by+1)%3] // somebody else's signature
			w.report.Other["forged statement"]++
		}
		e.Signature = sign(k, entry.AttestMessage(entry.IDOf(e)))
		w.submit(l, e)
	}
	switch w.rand.IntN(12) {
	case 0, 1, 2, 3:
		state(entry.Attests, w.rand.IntN(3))
	case 4:
		if !w.calm {
			state(entry.Withdraws, w.rand.IntN(3))
		}
	case 5:
		state(entry.Challenges, 0)
	case 6:
		if w.rand.Chance(0.2) {
			e := &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: entry.Voided, Reason: entry.ReasonReleased, Commitment: h.leg.ReturnCommitment}
			e.Release = sign(x.payee, entry.ReleaseMessage(entry.IDOf(e)))
			w.submit(l, e)
		}
	case 7:
		if w.rand.Chance(0.3) {
			e := &entry.Amend{Header: l.header(), Hold: h.id, Until: h.until + uint64(w.rand.IntN(5_000))}
			id := entry.IDOf(e)
			e.Payer, e.Payee = sign(x.payer, entry.AmendMessage(id)), sign(x.payee, entry.AmendMessage(id))
			if w.rand.Chance(0.2) {
				e.Payee = e.Payer // one of the two did not agree
				w.report.Other["amended alone"]++
			}
			w.submit(l, e)
		}
	default: // due or not: the ledger must know
		outcome, reason, cm := entry.Posted, entry.ReasonAttested, h.leg.Commitments[0]
		if w.rand.Chance(0.5) {
			outcome, reason, cm = entry.Voided, entry.ReasonExpired, h.leg.ReturnCommitment
		}
		w.submit(l, &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: outcome, Reason: reason, Commitment: cm})
	}
}
