package sim

import (
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// never refuses some answers to an attacker's message.
func never(what string, words ...string) func(string) error {
	return func(word string) error {
		if slices.Contains(words, word) {
			return wrong("%s was answered %q", what, word)
		}
		return nil
	}
}

// attack sends, now and then, what nobody should.
func (w *world) attack() {
	if !w.rand.Chance(0.5) {
		return
	}
	attacks := []struct {
		name string
		do   func() bool
	}{
		{"replay", w.replayOld}, {"replay", w.replayOld},
		{"re-randomised proof", w.rerandomised},
		{"tampered proof", w.tampered},
		{"another ledger's entry", w.otherLedger},
		{"moved leg", w.movedLeg},
		{"bad signatures", w.badSignatures}, {"bad signatures", w.badSignatures},
		{"used sequence", w.usedSequence},
		{"spenders of one note", w.spenders},
		{"old anchor", w.oldAnchor}, {"old anchor", w.oldAnchor}, {"old anchor", w.oldAnchor},
		{"forged redemption", w.overRedeem},
		{"garbage", w.garbage},
		{"note twice in one entry", w.repeated},
	}
	if a := attacks[w.rand.IntN(len(attacks))]; a.do() {
		w.report.Other[a.name]++
	}
}

func (w *world) past() *message {
	if len(w.history) == 0 {
		return nil
	}
	m := *w.history[w.rand.IntN(len(w.history))]
	m.from, m.allow = nil, nil
	return &m
}

func (w *world) pastTransaction() (*message, *entry.Transaction) {
	for range 6 {
		m := w.past()
		if m == nil {
			return nil, nil
		}
		if tx, err := entry.DecodeTransaction(m.leaf); err == nil {
			return m, tx
		}
	}
	return nil, nil
}

func (w *world) inject(m *message) bool {
	m.due = w.tick
	w.network = append(w.network, m)
	return true
}

// replayOld sends bytes of the past. Whatever settled must be answered as such.
func (w *world) replayOld() bool {
	m := w.past()
	if m == nil {
		return false
	}
	if e, err := entry.Decode(m.leaf); err == nil {
		if _, there := w.model.ids[entry.IDOf(e)]; there {
			m.allow = func(word string) error {
				if word != "settled before" && (w.report.Nodes == 1 || word != string(entry.TryLater)) {
					return wrong("a replay of a settled entry was answered %q", word)
				}
				return nil
			}
		}
	}
	return w.inject(m)
}

// rerandomised changes the bytes of a valid proof, not its truth: the id stays.
func (w *world) rerandomised() bool {
	m, tx := w.pastTransaction()
	if tx == nil {
		return false
	}
	id := tx.ID()
	anchor := w.model.anchors[tx.Legs[0].Anchor]
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		public := leg.Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, w.model.ovk, tx.Ctx())
		proof, err := w.oracle.rerandomise(&public, leg.Proof)
		if err != nil {
			return false // proven under another oversight key
		}
		leg.Proof = proof
	}
	if tx.ID() != id {
		w.fail(wrong("another proof changed the id of %s", id))
	}
	m.leaf = tx.Encode()
	if _, there := w.model.ids[id]; there {
		m.allow = never("a settled payment with a new proof", "accepted", string(entry.NullifierSpent))
	}
	return w.inject(m)
}

func (w *world) tampered() bool {
	m, tx := w.pastTransaction()
	if tx == nil {
		return false
	}
	tx.Legs[w.rand.IntN(len(tx.Legs))].Proof[20+w.rand.IntN(20)] ^= 1 << w.rand.IntN(8)
	m.leaf = tx.Encode()
	m.allow = never("a tampered proof", "accepted")
	return w.inject(m)
}

func (w *world) otherLedger() bool {
	m, tx := w.pastTransaction()
	if tx == nil {
		return false
	}
	tx.Ledger[w.rand.IntN(32)] ^= 1
	m.leaf = tx.Encode()
	m.allow = never("an entry of another ledger", "accepted", "settled before")
	return w.inject(m)
}

// movedLeg puts a proven leg into a transaction of its own making.
func (w *world) movedLeg() bool {
	m, tx := w.pastTransaction()
	if tx == nil {
		return false
	}
	tx.ExpiryMillis++
	m.leaf = tx.Encode()
	m.allow = never("a leg moved to another transaction", "accepted")
	return w.inject(m)
}

// badSignatures tries to freeze a wallet without the right to.
func (w *world) badSignatures() bool {
	x := w.wallets[w.rand.IntN(len(w.wallets))]
	e := &entry.Freeze{Header: w.ledger.Header(w.expiry(true), w.model.sequence), Owner: x.own, Frozen: !x.frozen}
	w.ledger.Sign(e, 0, 2)
	switch w.rand.IntN(4) {
	case 0:
		e.Signatures = e.Signatures[:1]
	case 1:
		e.Signatures[1].Signature[w.rand.IntN(64)] ^= 4
	case 2:
		e.Signatures[1].Signer = 9
	case 3:
		other := &entry.Freeze{Header: e.Header, Owner: e.Owner, Frozen: !e.Frozen}
		other.ExpiryMillis++ // signatures of another entry
		w.ledger.Sign(other, 0, 2)
		e.Signatures = other.Signatures
	}
	return w.inject(&message{leaf: entry.Encode(e), allow: never("a badly signed freeze", "accepted")})
}

// usedSequence signs well under a number that was used before.
func (w *world) usedSequence() bool {
	x := w.wallets[w.rand.IntN(len(w.wallets))]
	e := &entry.Freeze{Header: w.ledger.Header(w.expiry(true), 1+w.rand.Uint64N(w.model.sequence-1)), Owner: x.own, Frozen: !x.frozen}
	w.ledger.Sign(e, 0, 1)
	return w.inject(&message{leaf: entry.Encode(e), allow: never("a used policy sequence number", "accepted", "settled before")})
}

// spenders lets up to 64 clients spend one note at once.
func (w *world) spenders() bool {
	x := w.wallets[w.rand.IntN(len(w.wallets))]
	in := w.pick(x, 1)
	if in == nil || x.frozen {
		return false
	}
	for range 2 + w.rand.IntN(63) {
		p := plan{payer: x, circuit: zk.Transfer, asset: in[0].note.Asset, programme: in[0].note.Programme, inputs: in, pay: w.splits(in[0].note.Value, 1)}
		m, ok := w.build(p, w.newestAnchor())
		if !ok {
			return false
		}
		m.due = w.tick + w.rand.IntN(3)
		w.network = append(w.network, m)
		w.history = append(w.history, m)
	}
	return true
}

// build makes a payment that no client stands behind.
func (w *world) build(p plan, anchor uint64) (*message, bool) {
	o := w.realise(p)
	b := w.legOf(p, o)
	tx := &entry.Transaction{Type: entry.KindTransfer, Header: w.ledger.Header(w.expiry(false), 0), Legs: []entry.Leg{b.leg}}
	if w.proveAll(tx, []*opening{o}, anchor) != nil {
		return nil, false
	}
	return &message{leaf: tx.Encode(), segments: [][]byte{b.segment}}, true
}

// oldAnchor proves a payment under the oldest roots that it can, which is what
// a frozen wallet does. The statement is true there; whether it may still be
// used is for the ledger to say and for the model to judge.
func (w *world) oldAnchor() bool {
	x := w.wallets[w.rand.IntN(len(w.wallets))]
	for _, other := range w.wallets {
		if other.frozen && len(other.free()) > 0 {
			x = other
		}
	}
	free := x.free()
	if len(free) == 0 {
		return false
	}
	in := free[:1]
	p := plan{payer: x, circuit: zk.Transfer, asset: in[0].note.Asset, programme: in[0].note.Programme, inputs: in, pay: w.splits(in[0].note.Value, 1)}
	for height := uint64(0); height <= w.newestAnchor(); height++ {
		anchor := w.model.anchors[height]
		if anchor.TreeSize <= in[0].at.Index || w.rand.Chance(0.3) {
			continue
		}
		if m, ok := w.build(p, height); ok {
			x.reserved[in[0].at] = true
			w.history = append(w.history, m)
			return w.inject(m)
		}
	}
	return false
}

// overRedeem is what a broken circuit would allow: redeeming more than there
// is. The signatures are good; the pool's counter must hold.
func (w *world) overRedeem() bool {
	x := w.wallets[0]
	asset := zk.AssetID(1 + w.rand.IntN(2))
	p := plan{payer: x, circuit: zk.Transfer, asset: asset, redeemed: zk.Amount(w.model.issued[asset].lo) + 1 + zk.Amount(w.rand.IntN(1000))}
	o := w.realise(plan{payer: x, circuit: zk.Transfer, asset: asset})
	b := w.legOf(p, o)
	tx := &entry.Transaction{Type: entry.KindRedeem, Header: w.ledger.Header(w.expiry(true), w.model.sequence), Legs: []entry.Leg{b.leg}}
	w.ledger.Sign(tx, 0, 1)
	leg := &tx.Legs[0]
	leg.Anchor = w.newestAnchor()
	anchor := w.model.anchors[leg.Anchor]
	public := leg.Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, w.model.ovk, tx.Ctx())
	leg.Proof = w.oracle.forge(&public, o)
	return w.inject(&message{leaf: tx.Encode(), segments: [][]byte{b.segment}, allow: never("a redemption of more than there is", "accepted")})
}

func (w *world) garbage() bool {
	m := w.past()
	if m == nil {
		return false
	}
	leaf := append([]byte(nil), m.leaf...)
	switch w.rand.IntN(3) {
	case 0:
		leaf = leaf[:w.rand.IntN(len(leaf))]
	case 1:
		leaf = append(leaf, 0)
	case 2:
		leaf = w.rand.Bytes(w.rand.IntN(600))
	}
	m.leaf = leaf
	m.allow = never("garbage", "accepted", "settled before")
	return w.inject(m)
}

// repeated spends one note in both inputs of a leg.
func (w *world) repeated() bool {
	m, tx := w.pastTransaction()
	if tx == nil || len(tx.Legs[0].Nullifiers) < 2 {
		return false
	}
	tx.Legs[0].Nullifiers[1] = tx.Legs[0].Nullifiers[0]
	m.leaf = tx.Encode()
	m.allow = never("one nullifier twice", "accepted", "settled before")
	return w.inject(m)
}
