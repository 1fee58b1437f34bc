package bridge

import (
	"bytes"
	"cmp"
	"slices"

	"github.com/comity-ledger/comity/zk"
)

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
