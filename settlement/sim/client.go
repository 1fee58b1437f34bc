package sim

import (
	"errors"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

type progress int

const (
	open    progress = iota
	done             // heard that it settled
	dropped          // given up, and known never to settle as asked
)

// intent is something that a client wants settled, once, under one reference.
// It is sent again, byte for byte, until an answer comes; what is rebuilt after
// a refusal spends the same inputs, so that it can never settle twice.
type intent struct {
	ref      int
	what     string
	payment  bool
	admin    bool
	calm     bool
	state    progress
	plans    []plan
	build    func(sequence, expiry uint64) (entry.Entry, error) // without plans
	kind     entry.Kind
	entry    entry.Entry
	opens    []*opening
	segments [][]byte
	leaf     []byte
	ids      []entry.ID
	reprove  bool
	nextTick int
	last     string

	settledBy entry.ID // as the log shows
}

type legBytes struct {
	leg     entry.Leg
	segment []byte
}

func (in *intent) payerName() string {
	if len(in.plans) > 0 {
		return in.plans[0].payer.name
	}
	return "treasury"
}

// begin takes up an intent.
func (w *world) begin(in *intent) {
	in.ref = len(w.intents)
	w.intents = append(w.intents, in)
}

// expiry chooses one, now and then at the very edge of what can settle.
func (w *world) expiry(calm bool) uint64 {
	now := max(w.wall, w.model.time)
	switch {
	case calm:
		return now + ledgertest.MaxExpiryMillis/2
	case w.rand.Chance(0.12):
		w.report.Other["expiry at the edge"]++
		return now + uint64(w.rand.IntN(3)) // at, one after, two after
	case w.rand.Chance(0.1):
		return now + ledgertest.MaxExpiryMillis
	}
	return now + 1000 + uint64(w.rand.IntN(600_000))
}

// make builds the intent's bytes anew.
func (in *intent) make(w *world) error {
	sequence := uint64(0)
	if in.admin {
		sequence = w.model.sequence
	}
	expiry := w.expiry(in.calm)
	if in.build != nil {
		e, err := in.build(sequence, expiry)
		if err != nil {
			return err
		}
		w.ledger.Sign(e, w.signers()...)
		in.entry, in.leaf = e, entry.Encode(e)
		in.own(w, entry.IDOf(e))
		return nil
	}
	tx := &entry.Transaction{Type: in.kind, Header: w.ledger.Header(expiry, sequence)}
	in.opens, in.segments = nil, nil
	for _, p := range in.plans {
		o := w.realise(p)
		b := w.legOf(p, o)
		tx.Legs, in.opens, in.segments = append(tx.Legs, b.leg), append(in.opens, o), append(in.segments, b.segment)
	}
	if in.admin {
		w.ledger.Sign(tx, w.signers()...)
	}
	anchor := w.newestAnchor()
	if !in.calm {
		anchor = w.someAnchor(in.opens)
	}
	if err := w.proveAll(tx, in.opens, anchor); err != nil {
		return err
	}
	in.entry, in.leaf, in.reprove = tx, tx.Encode(), false
	in.own(w, tx.ID())
	return nil
}

func (in *intent) own(w *world, id entry.ID) {
	in.ids = append(in.ids, id)
	w.owner[id] = in
}

// signers chooses two or three of the policy's signers, ascending.
func (w *world) signers() []int {
	switch w.rand.IntN(4) {
	case 0:
		return []int{0, 1}
	case 1:
		return []int{0, 2}
	case 2:
		return []int{1, 2}
	}
	return []int{0, 1, 2}
}

// proveAll asks the oracle for the proof of every leg under one anchor.
func (w *world) proveAll(tx *entry.Transaction, opens []*opening, height uint64) error {
	digest := tx.Ctx()
	anchor := w.model.anchors[height]
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		leg.Anchor, leg.Tree = height, 0
		public := leg.Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, w.model.ovk, digest)
		proof, err := w.oracle.prove(&public, opens[i])
		if err != nil {
			return err
		}
		leg.Proof = proof
	}
	return nil
}

// clients lets every open intent do what its client does now.
func (w *world) clients(calm bool) {
	for _, in := range w.intents {
		if in.state != open || in.nextTick > w.tick || w.failure != nil {
			continue
		}
		var err error
		switch {
		case in.leaf == nil:
			err = in.make(w)
		case in.reprove:
			tx := in.entry.(*entry.Transaction)
			if err = w.proveAll(tx, in.opens, w.newestAnchor()); err == nil {
				in.leaf, in.reprove = tx.Encode(), false
			}
		}
		if err != nil {
			in.last = err.Error()
			in.nextTick = w.tick + 1
			if !errors.Is(err, errFrozen) && !errors.Is(err, errUnregistered) {
				w.fail(wrong("payment %d cannot be proven: %v", in.ref, err))
			}
			continue
		}
		w.send(&message{leaf: in.leaf, segments: in.segments, from: in}, calm)
		in.nextTick = w.tick + 2 + w.rand.IntN(3)
	}
}

// hear takes an answer in.
func (in *intent) hear(w *world, r settlement.Result) {
	if in.state != open {
		return
	}
	in.nextTick = w.tick + 1
	if r.Status != settlement.Refused {
		in.last, in.state = r.Status.String(), done
		return
	}
	code := entry.CodeOf(r.Refusal)
	in.last = string(code)
	rebuild := func() { in.leaf, in.entry, in.reprove = nil, nil, false }
	if r.ID != (entry.ID{}) && len(in.ids) > 0 && r.ID != in.ids[len(in.ids)-1] {
		return // about bytes that are not the newest
	}
	switch code {
	case entry.RegistryRootStale:
		in.reprove = true
	case entry.Expired, entry.OversightEpochStale:
		rebuild()
	case entry.ExpiryTooFar, entry.TryLater:
		// The same bytes again, a little later.
	case entry.SequenceStale, entry.SequenceGap:
		if in.settledBy == (entry.ID{}) {
			rebuild()
		}
	case entry.NullifierSpent:
		switch {
		case in.settledBy != (entry.ID{}):
			in.state = done
		default:
			in.state = dropped
			w.report.Other["contested note"]++
		}
	case entry.ProgrammeClosed, entry.UnknownProgramme, entry.OwnerUnknown, entry.OwnerFrozenAlready, entry.OwnerActiveAlready:
		if !in.admin {
			w.fail(wrong("payment %d was refused: %v", in.ref, r.Refusal))
		}
		in.state = dropped
	default:
		w.fail(wrong("an honest %s (%d) was refused: %v", in.what, in.ref, r.Refusal))
	}
}

// paying begins a payment of a random wallet that has something free.
func (w *world) paying() bool {
	for range 8 {
		x := w.wallets[w.rand.IntN(len(w.wallets))]
		if plans := w.plansFor(x); plans != nil {
			w.begin(&intent{what: plans[0].circuit.String(), payment: true, kind: entry.KindTransfer, plans: plans})
			return true
		}
	}
	return false
}

// issuing brings new money into the hands of random wallets.
func (w *world) issuing(asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount, to *wallet) *intent {
	treasury := w.wallets[0]
	return &intent{what: "issue", admin: true, kind: entry.KindIssue,
		plans: []plan{{payer: treasury, circuit: zk.Transfer, asset: asset, programme: programme, issued: amount, pay: []share{{to.own, amount}}}}}
}
