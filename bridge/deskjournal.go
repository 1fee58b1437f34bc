package bridge

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

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

// restock keeps the stock right until the wallet tells it anew. A stock that was never told stays unknown.
func (d *Desk) restock(a Account, amount zk.Amount, in bool) {
	have, known := d.stock[a]
	switch {
	case !known:
	case in:
		d.stock[a] = sum(have, amount)
	default:
		d.stock[a] = have - min(have, amount)
	}
}

func (d *Desk) total(a Account) *total {
	t := d.totals[a]
	if t == nil {
		t = &total{}
		d.totals[a] = t
	}
	return t
}

// sum adds and stays at the top instead of wrapping around: reports, not money, end there.
func sum(a, b zk.Amount) zk.Amount {
	if s, ok := a.Plus(b); ok {
		return s
	}
	return ^zk.Amount(0)
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

// Position is what a provider owns and owes of one asset, in minor units.
type Position struct {
	Account
	Known    bool      // the wallet has told its stock
	Stock    zk.Amount // owned, without what open holds keep
	Quoted   zk.Amount // in open quotes
	Promised zk.Amount // accepted, and not placed yet
	Waiting  zk.Amount // in the provider's holds without a decision
	Incoming zk.Amount // comes in when those holds of other accounts post that are placed
	Paid     zk.Amount // to payees, ever
	Received zk.Amount // from payers, ever
	Limit    zk.Amount // of Quoted, Promised and Waiting together
}

func (d *Desk) position(a Account) Position {
	p := Position{Account: a, Limit: d.config.Exposure[a]}
	p.Stock, p.Known = d.stock[a]
	if t := d.totals[a]; t != nil {
		p.Paid, p.Received = t.paid, t.received
	}
	for _, o := range d.open {
		if o.pays == a {
			p.Quoted = sum(p.Quoted, o.quote.PayeeAmount)
		}
	}
	for id := range d.live {
		deal := d.deals[id]
		r, q := &deal.Acceptance.Request, &deal.Acceptance.Quote
		switch {
		case deal.Stage < StagePlaced && r.payeeAccount() == a:
			p.Promised = sum(p.Promised, q.PayeeAmount)
		case deal.Stage == StagePlaced && r.payeeAccount() == a:
			p.Waiting = sum(p.Waiting, q.PayeeAmount)
		case deal.Stage == StagePlaced && r.payerAccount() == a:
			p.Incoming = sum(p.Incoming, q.PayerAmount)
		}
	}
	return p
}

// Inventory reports every account that the desk knows, ascending.
func (d *Desk) Inventory(nowMillis uint64) []Position {
	d.expire(nowMillis)
	accounts := map[Account]total{}
	for a := range d.stock {
		accounts[a] = total{}
	}
	for a := range d.config.Exposure {
		accounts[a] = total{}
	}
	for a := range d.totals {
		accounts[a] = total{}
	}
	for id := range d.live {
		deal := d.deals[id]
		accounts[deal.Acceptance.Request.payeeAccount()] = total{}
		accounts[deal.Acceptance.Request.payerAccount()] = total{}
	}
	var out []Position
	for _, a := range sortedAccounts(accounts) {
		out = append(out, d.position(a))
	}
	return out
}

func sortedAccounts(m map[Account]total) []Account {
	out := make([]Account, 0, len(m))
	for a := range m {
		out = append(out, a)
	}
	slices.SortFunc(out, func(a, b Account) int {
		return cmp.Or(bytes.Compare(a.Ledger[:], b.Ledger[:]), cmp.Compare(a.Asset, b.Asset))
	})
	return out
}

// Offer is one direction that the desk serves now.
type Offer struct {
	Rate
	Receive Address // where the provider is paid
}

// Offers lists what the desk would quote, in the order of the rates file. It binds nobody.
func (d *Desk) Offers() []Offer {
	var out []Offer
	for _, r := range d.rates.List() {
		receive, ok := d.config.Receive[r.From.Ledger]
		if _, pays := d.config.Receive[r.To.Ledger]; ok && pays {
			out = append(out, Offer{r, receive})
		}
	}
	return out
}
