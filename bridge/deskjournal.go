package bridge

import (
	"bytes"
	"encoding/json"
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// deskRecord is one record of a desk's journal: exactly one field is set.
type deskRecord struct {
	Accepted  *acceptedRecord  `json:"accepted,omitempty"`
	Reserved  *reservedRecord  `json:"reserved,omitempty"`
	Proceeded *proceededRecord `json:"proceeded,omitempty"`
	Placed    *placedRecord    `json:"placed,omitempty"`
	Decided   *decidedRecord   `json:"decided,omitempty"`
	Failed    *failedRecord    `json:"failed,omitempty"`
	Carried   *carriedRecord   `json:"carried,omitempty"`
}

type acceptedRecord struct {
	Acceptance []byte `json:"acceptance"`
	AtMillis   uint64 `json:"at"`
	Until      uint64 `json:"until"`
}

type reservedRecord struct {
	Quote   ID      `json:"quote"`
	Opening zk.Note `json:"opening"`
}

type proceededRecord struct {
	Quote ID           `json:"quote"`
	Hold  entry.HoldID `json:"hold"`
	Until uint64       `json:"until"`
}

type placedRecord struct {
	Quote   ID           `json:"quote"`
	Hold    entry.HoldID `json:"hold"`
	Opening zk.Note      `json:"opening"`
}

type decidedRecord struct {
	Quote   ID            `json:"quote"`
	Outcome entry.Outcome `json:"outcome"`
}

type failedRecord struct {
	Quote ID   `json:"quote"`
	Code  Code `json:"code"`
}

// carriedRecord keeps the sums of deals that a compaction left out.
type carriedRecord struct {
	Ledger   []byte     `json:"ledger"`
	Asset    zk.AssetID `json:"asset"`
	Paid     zk.Amount  `json:"paid"`
	Received zk.Amount  `json:"received"`
}

func encode(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("bridge: a journal record that does not encode: %v", err)) // only our own types
	}
	return b
}

// decode reads a record strictly: one JSON value, known fields.
func decode(b []byte, v any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return Refuse(JournalInvalid, "%v", err)
	}
	if d.More() {
		return Refuse(JournalInvalid, "more than one value in a record")
	}
	return nil
}

// Add folds one record in. It refuses journal_invalid for a record that does not follow from those before it.
func (d *Desk) Add(record []byte) error {
	var r deskRecord
	if err := decode(record, &r); err != nil {
		return err
	}
	switch {
	case r.Accepted != nil:
		return d.addAccepted(r.Accepted)
	case r.Reserved != nil:
		return d.step(r.Reserved.Quote, func(deal *Deal) bool {
			ok := deal.Stage == StageAccepted && !deal.Last()
			deal.Stage, deal.Opening = StageReserved, &r.Reserved.Opening
			return ok
		})
	case r.Proceeded != nil:
		return d.step(r.Proceeded.Quote, func(deal *Deal) bool {
			ok := deal.Stage == StageReserved
			deal.Stage, deal.Decider, deal.Until = StagePlacing, r.Proceeded.Hold, r.Proceeded.Until
			return ok
		})
	case r.Placed != nil:
		return d.step(r.Placed.Quote, func(deal *Deal) bool {
			ok := deal.Stage == StagePlacing || deal.Stage == StageAccepted && deal.Last()
			deal.Stage, deal.Hold, deal.Opening = StagePlaced, r.Placed.Hold, &r.Placed.Opening
			if deal.Last() {
				deal.Decider = deal.Hold
			}
			if ok {
				d.restock(deal.Acceptance.Request.payeeAccount(), deal.Acceptance.Quote.PayeeAmount, false)
			}
			return ok
		})
	case r.Decided != nil:
		return d.step(r.Decided.Quote, func(deal *Deal) bool { return d.decide(deal, r.Decided.Outcome) })
	case r.Failed != nil:
		return d.step(r.Failed.Quote, func(deal *Deal) bool {
			ok := deal.Stage < StagePlaced
			deal.Stage, deal.Failed = StageFailed, r.Failed.Code
			return ok
		})
	case r.Carried != nil && len(r.Carried.Ledger) == 32:
		t := d.total(Account{entry.GenesisHash(r.Carried.Ledger), r.Carried.Asset})
		t.paid, t.received = sum(t.paid, r.Carried.Paid), sum(t.received, r.Carried.Received)
		return nil
	}
	return Refuse(JournalInvalid, "a record of an unknown kind: it was written by a newer program")
}

func (d *Desk) addAccepted(r *acceptedRecord) error {
	a, err := ParseAcceptance(r.Acceptance)
	if err != nil {
		return Refuse(JournalInvalid, "%v", err)
	}
	id := a.Quote.ID()
	if d.deals[id] != nil || a.Quote.Provider != d.provider {
		return Refuse(JournalInvalid, "quote %s was accepted before, or is another provider's", id)
	}
	d.deals[id] = &Deal{ID: id, Acceptance: a, AtMillis: r.AtMillis, Until: r.Until, Stage: StageAccepted, number: len(d.sequence)}
	d.live[id] = true
	d.payers[a.Request.Payer] = id
	d.sequence = append(d.sequence, id)
	delete(d.open, a.Request.Payer)
	return nil
}

// step applies a change to a copy of the deal, so that a refused record changes nothing.
func (d *Desk) step(id ID, change func(*Deal) bool) error {
	deal := d.deals[id]
	if deal == nil {
		return Refuse(JournalInvalid, "a record of quote %s, which was not accepted", id)
	}
	next := deal.clone()
	if !change(next) {
		return Refuse(JournalInvalid, "quote %s: from %s to %s", id, deal.Stage, next.Stage)
	}
	d.deals[id] = next
	if next.Stage.Done() {
		delete(d.live, id)
	}
	return nil
}

func (d *Desk) decide(deal *Deal, outcome entry.Outcome) bool {
	if deal.Stage != StagePlaced || outcome != entry.Posted && outcome != entry.Voided {
		return false
	}
	r, q := &deal.Acceptance.Request, &deal.Acceptance.Quote
	if outcome == entry.Voided {
		deal.Stage = StageVoided
		d.restock(r.payeeAccount(), q.PayeeAmount, true)
		return true
	}
	deal.Stage = StagePosted
	d.restock(r.payerAccount(), q.PayerAmount, true)
	out, in := d.total(r.payeeAccount()), d.total(r.payerAccount())
	out.paid, in.received = sum(out.paid, q.PayeeAmount), sum(in.received, q.PayerAmount)
	return true
}

// Compact gives the records of a journal that means the same, without the deals that ended and whose quotes expired before a time. Their payer
// keys are forgotten with them: such a quote is refused as expired.
func (d *Desk) Compact(beforeMillis uint64) [][]byte {
	var out [][]byte
	totals := map[Account]total{}
	for a, t := range d.totals {
		totals[a] = *t
	}
	var kept [][]byte
	for _, id := range d.sequence {
		deal := d.deals[id]
		r, q := &deal.Acceptance.Request, &deal.Acceptance.Quote
		if deal.Stage.Done() && q.ExpiryMillis < beforeMillis && deal.Until < beforeMillis {
			continue
		}
		if deal.Stage == StagePosted { // its own records count it again
			t := totals[r.payeeAccount()]
			t.paid -= min(t.paid, q.PayeeAmount)
			totals[r.payeeAccount()] = t
			t = totals[r.payerAccount()]
			t.received -= min(t.received, q.PayerAmount)
			totals[r.payerAccount()] = t
		}
		kept = append(kept, deal.records()...)
	}
	for _, a := range sortedAccounts(totals) {
		if t := totals[a]; t != (total{}) {
			out = append(out, encode(deskRecord{Carried: &carriedRecord{a.Ledger[:], a.Asset, t.paid, t.received}}))
		}
	}
	return append(out, kept...)
}

// records gives the records that lead to where the deal stands.
func (d *Deal) records() [][]byte {
	out := [][]byte{encode(deskRecord{Accepted: &acceptedRecord{d.Acceptance.Marshal(), d.AtMillis, d.Until}})}
	if !d.Last() && d.Opening != nil {
		out = append(out, encode(deskRecord{Reserved: &reservedRecord{d.ID, *d.Opening}}))
		if d.Decider != (entry.HoldID{}) {
			out = append(out, encode(deskRecord{Proceeded: &proceededRecord{d.ID, d.Decider, d.Until}}))
		}
	}
	if d.Hold != (entry.HoldID{}) {
		out = append(out, encode(deskRecord{Placed: &placedRecord{d.ID, d.Hold, *d.Opening}}))
	}
	switch d.Stage {
	case StagePosted:
		out = append(out, encode(deskRecord{Decided: &decidedRecord{d.ID, entry.Posted}}))
	case StageVoided:
		out = append(out, encode(deskRecord{Decided: &decidedRecord{d.ID, entry.Voided}}))
	case StageFailed:
		out = append(out, encode(deskRecord{Failed: &failedRecord{d.ID, d.Failed}}))
	}
	return out
}
