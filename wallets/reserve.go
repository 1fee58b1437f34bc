package wallets

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// HoldDraft is a payment into a hold whose notes are chosen and whose commitments are fixed, while its condition is still open. It is a
// journal record: what was promised to others survives a kill. It holds secrets of the leg.
type HoldDraft struct{ r holdRecord }

type holdRecord struct {
	Order       string          `json:"order"`
	Epoch       uint32          `json:"epoch"` // oversight epoch; another key gives other commitments
	Recipe      Recipe          `json:"recipe"`
	Segment     []byte          `json:"segment"`
	Inputs      []zk.Nullifier  `json:"inputs"` // of real notes
	Outputs     []Sent          `json:"outputs"`
	Commitments []zk.Commitment `json:"commitments"`
	Return      zk.Commitment   `json:"return"`
}

// Unreserved is the journal record that frees the notes of a reserved hold.
type Unreserved struct {
	Order string `json:"order"`
}

var errHoldDraft = errors.New("decode a reserved hold: it is not whole")

// MarshalJSON writes the journal record.
func (h *HoldDraft) MarshalJSON() ([]byte, error) { return json.Marshal(h.r) }

// UnmarshalJSON reads the journal record.
func (h *HoldDraft) UnmarshalJSON(b []byte) error {
	var r holdRecord
	if err := json.Unmarshal(b, &r); err != nil {
		return fmt.Errorf("decode a reserved hold: %w", err)
	}
	shape := zk.Hold.Shape()
	if r.Recipe.Circuit != zk.Hold || len(r.Recipe.Inputs) != shape.Inputs || len(r.Recipe.Outputs) != shape.Outputs || len(r.Outputs) != shape.Outputs ||
		len(r.Commitments) != shape.Outputs || len(r.Inputs) == 0 || len(r.Inputs) > shape.Inputs {
		return errHoldDraft
	}
	h.r = r
	return nil
}

// Order is the id of the order that the hold pays.
func (h *HoldDraft) Order() string { return h.r.Order }

// Opening opens the commitment of the payee's output: whoever has it sees amount, currency, programme and payee.
func (h *HoldDraft) Opening() zk.Note { return h.r.Outputs[0].Note }

// Commitment is that of the payee's output.
func (h *HoldDraft) Commitment() zk.Commitment { return h.r.Commitments[0] }

// ReturnCommitment is that of the note by which the money comes back.
func (h *HoldDraft) ReturnCommitment() zk.Commitment { return h.r.Return }

// Epoch is the oversight epoch under which the hold can be placed.
func (h *HoldDraft) Epoch() uint32 { return h.r.Epoch }

// Reservation finds the reserved hold of an order.
func (o *Outbox) Reservation(order string) (*HoldDraft, bool) {
	h, ok := o.reserved[order]
	return h, ok
}

// Reservations lists the reserved holds by the id of their order.
func (o *Outbox) Reservations() (out []*HoldDraft) {
	for _, id := range slices.Sorted(maps.Keys(o.reserved)) {
		out = append(out, o.reserved[id])
	}
	return out
}

// ReserveHold chooses at most two notes of one programme for a payment into a hold, and fixes its commitments. It gives back what is
// reserved for the order already. Where more notes are needed, merge holds transactions that must settle first, and h is nil. Nothing is
// journalled: the caller records h before it shows a commitment to anybody.
func (b *Builder) ReserveHold(o *Outbox, order *Order) (h *HoldDraft, merge []*Draft, err error) {
	if h, ok := o.reserved[order.ID]; ok {
		return h, nil, nil
	}
	if p := b.State.PaymentOf(o, order); p.Stage == Pending { // freed while its transaction may settle: nothing but the same draft (W3.3)
		h, err := draftOf(p.Attempt)
		return h, nil, err
	}
	if err := b.State.unpaid(order.ID); err != nil {
		return nil, nil, err
	}
	round, done, err := b.purse(o, order.Asset).hold(order.Amount, order.Programme)
	if err != nil {
		return nil, nil, err
	}
	to, err := ParseAddress(order.To, b.State.genesis.Prefix, LedgerPrefix(b.State.hash))
	if err != nil {
		return nil, nil, err
	}
	if done {
		h, err = b.reserve(order.ID, plannedLeg{leg: round[0], asset: order.Asset, payees: []Payee{{To: to, Memo: order.Reference}}})
		return h, nil, err
	}
	for _, l := range round {
		d, err := b.build(plannedTx{kind: entry.KindTransfer, legs: []plannedLeg{{leg: l, asset: order.Asset}}})
		if err != nil {
			return nil, nil, err
		}
		merge = append(merge, d)
	}
	return nil, merge, nil
}

// draftOf is the draft that an attempt was built from.
func draftOf(a *Attempt) (*HoldDraft, error) {
	tx, err := entry.DecodeTransaction(a.Entry)
	if err != nil {
		return nil, fmt.Errorf("decode the transaction of a hold: %w", err)
	}
	leg := &tx.Legs[0]
	if leg.Circuit != zk.Hold || len(a.Recipes) != 1 || len(a.Segments) != 1 {
		return nil, Refuse(HoldDraftInvalid, "transaction %s is none of a reserved hold", a.TxID)
	}
	r := a.Recipes[0]
	r.Signature = nil
	return &HoldDraft{holdRecord{Order: a.Order, Epoch: leg.OversightEpoch, Recipe: r, Segment: a.Segments[0], Inputs: a.Inputs, Outputs: a.Outputs,
		Commitments: leg.Commitments, Return: leg.ReturnCommitment}}, nil
}

// Refresh gives h itself while it can be placed, and what ReserveAgain makes of it after a change of the oversight key.
func (b *Builder) Refresh(h *HoldDraft) (*HoldDraft, error) {
	if err := b.unspent(h.r.Inputs); err != nil {
		return h, err
	}
	if h.r.Epoch == b.State.epoch {
		return h, nil
	}
	return b.ReserveAgain(h)
}

// ReserveAgain reserves the same notes for the same payment under the present oversight key, which gives other commitments. A transaction
// built from either shares every input with one from the other, so at most one of them settles.
func (b *Builder) ReserveAgain(h *HoldDraft) (*HoldDraft, error) {
	l, err := b.replan(0, &h.r.Recipe, h.r.Outputs)
	if err != nil {
		return nil, err
	}
	if err := b.unspent(h.r.Inputs); err != nil {
		return nil, err
	}
	return b.reserve(h.r.Order, l)
}

// reserve draws e and seals the leg.
func (b *Builder) reserve(order string, l plannedLeg) (*HoldDraft, error) {
	if b.State.blocks == 0 {
		return nil, Refuse(BehindLedger, "read the ledger first")
	}
	tag := TagOf(order)
	d := &Draft{Tx: new(entry.Transaction)}
	if err := b.buildLeg(d, 0, &l, &tag); err != nil {
		return nil, err
	}
	leg := &d.Tx.Legs[0]
	return &HoldDraft{holdRecord{Order: order, Epoch: leg.OversightEpoch, Recipe: d.Recipes[0], Segment: d.Segments[0], Inputs: d.Inputs, Outputs: d.Outputs,
		Commitments: leg.Commitments, Return: leg.ReturnCommitment}}, nil
}

// unspent refuses notes that are spent by now.
func (b *Builder) unspent(inputs []zk.Nullifier) error {
	for _, nf := range inputs {
		if by, spent := b.State.Spender(nf); spent {
			return Refuse(HoldDraftStale, "transaction %s spent a note of it", by)
		}
	}
	return nil
}

// BuildHold makes and signs the transaction of a reserved hold. The condition is free, everything else is as it was reserved: the same
// draft gives the same commitments and ciphertexts under any condition, and nothing else under the same e (W6.4). expiryMillis 0 stands for
// the builder's usual expiry.
func (b *Builder) BuildHold(h *HoldDraft, c entry.Condition, sizeClass uint64, expiryMillis uint64) (*Draft, error) {
	s := b.State
	if s.blocks == 0 {
		return nil, Refuse(BehindLedger, "read the ledger first")
	}
	if h.r.Epoch != s.epoch {
		return nil, Refuse(HoldDraftStale, "it was reserved under oversight epoch %d, the ledger is at %d", h.r.Epoch, s.epoch)
	}
	if err := b.unspent(h.r.Inputs); err != nil {
		return nil, err
	}
	if _, err := c.Decode(); err != nil {
		return nil, err
	}
	if (c.Type == entry.ConditionAttested) != (sizeClass == entry.LocalSizeClass) {
		return nil, entry.Refuse(entry.ConditionInvalid, "size class %d with condition type %d", sizeClass, c.Type)
	}
	if v := h.Opening().Value; uint64(v) > sizeClass {
		return nil, Refuse(SizeClassTooSmall, "%d minor units in size class %d", v, sizeClass)
	}
	r := h.r.Recipe
	r.Outputs = slices.Clone(r.Outputs) // sealing sets their rho
	l := entry.Leg{Circuit: zk.Hold, CircuitVersion: zk.CircuitVersion, OversightEpoch: h.r.Epoch, Tree: r.Tree, Nullifiers: b.nullifiers(&r),
		SizeClass: sizeClass, Condition: c, SegmentHash: entry.SegmentHash(h.r.Segment)}
	if err := b.seal(&l, &r); err != nil {
		return nil, err
	}
	if err := h.same(&l, &r); err != nil {
		return nil, err
	}
	if expiryMillis == 0 {
		expiryMillis = b.ExpiryMillis()
	}
	d := &Draft{builder: b, asset: r.Asset, Segments: [][]byte{h.r.Segment}, Inputs: h.r.Inputs, Outputs: h.r.Outputs, Recipes: []Recipe{r},
		Tx: &entry.Transaction{Type: entry.KindTransfer, Header: entry.Header{Ledger: s.hash, ExpiryMillis: expiryMillis}, Legs: []entry.Leg{l}}}
	return d, b.sign(d)
}

// same refuses a draft that would seal other plaintexts under its e than it did when it was reserved.
func (h *HoldDraft) same(l *entry.Leg, r *Recipe) error {
	if !slices.Equal(l.Commitments, h.r.Commitments) || l.ReturnCommitment != h.r.Return {
		return Refuse(HoldDraftInvalid, "payment %q", h.r.Order)
	}
	for i := range h.r.Outputs {
		if h.r.Outputs[i].Note != r.Outputs[i] {
			return Refuse(HoldDraftInvalid, "payment %q: output %d", h.r.Order, i)
		}
	}
	for _, nf := range h.r.Inputs {
		if !slices.Contains(l.Nullifiers, nf) {
			return Refuse(HoldDraftInvalid, "payment %q: its notes", h.r.Order)
		}
	}
	return nil
}

// holdAgain builds a hold anew with the same leg and a new expiry.
func (b *Builder) holdAgain(a *Attempt) (*Draft, error) {
	tx, err := entry.DecodeTransaction(a.Entry)
	if err != nil {
		return nil, fmt.Errorf("decode the hold to build again: %w", err)
	}
	if at := tx.Legs[0].OversightEpoch; at != b.State.epoch {
		return nil, entry.Refuse(entry.OversightEpochStale, "the hold is of epoch %d, the ledger is at %d", at, b.State.epoch)
	}
	tx.ExpiryMillis = b.ExpiryMillis()
	d := &Draft{builder: b, asset: a.Asset, Segments: a.Segments, Inputs: a.Inputs, Outputs: a.Outputs, Recipes: slices.Clone(a.Recipes), Tx: tx}
	return d, b.sign(d)
}
