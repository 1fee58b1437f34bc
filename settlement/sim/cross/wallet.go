package cross

import (
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// wallet is an actor with notes on one ledger.
type wallet struct {
	l     *ledger
	name  string
	own   zk.Owner
	nk    zk.NullifierKey
	notes []input // free ones, in the order in which they came
}

type input struct {
	note zk.Note
	at   zk.Position
}

func (w *world) newWallet(l *ledger, name string) *wallet {
	return &wallet{l: l, name: name, own: zk.Owner(w.rand.Field()), nk: zk.NullifierKeyFromElement(w.rand.Field().Element())}
}

func (x *wallet) gain(note zk.Note, at zk.Position) {
	if note.Value > 0 {
		x.notes = append(x.notes, input{note, at})
	}
}

// take picks and reserves a note that covers an amount.
func (x *wallet) take(amount zk.Amount) (input, bool) {
	for i, in := range x.notes {
		if in.note.Value >= amount {
			x.notes = append(x.notes[:i:i], x.notes[i+1:]...)
			return in, true
		}
	}
	return input{}, false
}

// output draws a note and remembers who can spend it.
func (w *world) output(to *wallet, value zk.Amount) zk.Note {
	n := zk.Note{Value: value, Asset: ledgertest.AUR, Owner: to.own, Rho: zk.Rho(w.rand.Field())}
	w.notes[n.Commitment()] = &owned{n, to}
	return n
}

// spend gives the nullifiers of a note and of a dummy.
func (w *world) spend(x *wallet, in input) [2]zk.Nullifier {
	dummy := zk.Note{Asset: ledgertest.AUR, Owner: x.own, Rho: zk.Rho(w.rand.Field())}
	out := [2]zk.Nullifier{x.nk.Nullify(in.note.Commitment(), in.at), x.nk.Nullify(dummy.Commitment(), zk.Position{})}
	w.spends[out[0]] = in.note.Value
	return out
}

// issue makes money for a wallet: four legs, eight notes.
func (w *world) issue(l *ledger, x *wallet) sending {
	tx := &entry.Transaction{Type: entry.KindIssue, Header: l.secrets.Header(l.wall+60_000, l.book.seq)}
	var segments [][]byte
	for range entry.MaxLegs {
		leg, segment := ledgertest.Leg(w.rand, zk.Transfer, entry.GenesisOversightEpoch)
		leg.Asset = ledgertest.AUR
		for i := range leg.Commitments {
			n := w.output(x, zk.Amount(20_000+w.rand.IntN(80_000)))
			leg.Commitments[i] = n.Commitment()
			leg.Issued += n.Value
		}
		tx.Legs, segments = append(tx.Legs, leg), append(segments, segment)
	}
	l.secrets.Sign(tx, 0, 1)
	w.stamp(l, tx)
	return sending{tx.Encode(), segments}
}

// stamp proves every leg under the newest durable block.
func (w *world) stamp(l *ledger, tx *entry.Transaction) {
	height := l.book.blocks - 1
	anchor, ok := l.anchors(height)
	if !ok {
		return
	}
	digest := tx.Ctx()
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		leg.Anchor = height
		public := leg.Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, l.secrets.Genesis.OversightKey, digest)
		leg.Proof = ledgertest.Stamp(l.verifier.Key, [16]byte(w.rand.Bytes(16)), &public)
	}
}

// placing is a hold on its way into a ledger: notes fixed first, the condition
// later, as in the protocol.
type placing struct {
	l       *ledger
	leg     entry.Leg
	segment []byte
	held    zk.Note
	tx      *entry.Transaction // nil until the condition is known
	id      entry.HoldID
}

// reserve fixes inputs and outputs of a hold.
func (w *world) reserve(from, to *wallet, amount zk.Amount) *placing {
	in, ok := from.take(amount)
	if !ok {
		return nil
	}
	p := &placing{l: from.l}
	p.leg, p.segment = ledgertest.Leg(w.rand, zk.Hold, entry.GenesisOversightEpoch)
	nfs := w.spend(from, in)
	copy(p.leg.Nullifiers, nfs[:])
	p.held = w.output(to, amount)
	p.leg.Commitments[0] = p.held.Commitment()
	p.leg.Commitments[1] = w.output(from, in.note.Value-amount).Commitment()
	p.leg.ReturnCommitment = w.output(from, amount).Commitment()
	return p
}

// build makes the transaction once the condition is known.
func (p *placing) build(c entry.Condition, class uint64) {
	p.leg.Condition, p.leg.SizeClass = c, class
	p.tx = &entry.Transaction{Type: entry.KindTransfer, Header: p.l.header(), Legs: []entry.Leg{p.leg}}
	p.id = entry.HoldID{Tx: p.tx.ID()}
}

// send submits the transaction, with a peer proof when there is one.
func (p *placing) send(w *world, peer *entry.PeerProof) {
	p.tx.Legs[0].Peer = peer
	w.stamp(p.l, p.tx)
	w.send(&message{to: p.l}, sending{p.tx.Encode(), [][]byte{p.segment}})
}

// state is what the ledger's log says of the hold; nil while it is not there.
func (p *placing) state() *hold {
	if p == nil || p.tx == nil {
		return nil
	}
	return p.l.book.holds[p.id]
}

// classOf is the smallest size class that covers an amount.
func classOf(amount zk.Amount) uint64 {
	for _, c := range classes {
		if uint64(amount) <= c {
			return c
		}
	}
	panic("cross: no size class")
}

func sign(k ed25519.PrivateKey, msg []byte) [64]byte { return [64]byte(ed25519.Sign(k, msg)) }
