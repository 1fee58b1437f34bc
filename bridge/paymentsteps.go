package bridge

import (
	"cmp"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Choose takes one quote per hop, from the payer's ledger to the payee's (B3.2). It refuses price_too_high for what the order does not allow.
func (p *Payment) Choose(requests []*Request, quotes []*Quote, c Clock) ([]byte, error) {
	if p.Stage != PayOrdered {
		return nil, Refuse(StepInvalid, "the payment is %s", p.Stage)
	}
	if c.Now >= p.Order.DeadlineMillis {
		return nil, Refuse(DeadlinePassed, "at %d", p.Order.DeadlineMillis)
	}
	if err := p.checkChain(requests, quotes); err != nil {
		return nil, err
	}
	rec := &chosenRecord{}
	for i := range quotes {
		if c.Now >= quotes[i].ExpiryMillis {
			return nil, Refuse(QuoteExpired, "hop %d, at %d", i, quotes[i].ExpiryMillis)
		}
		rec.Requests, rec.Quotes = append(rec.Requests, requests[i].Marshal()), append(rec.Quotes, quotes[i].Marshal())
	}
	return encode(paymentRecord{Chosen: rec}), nil
}

func (p *Payment) checkChain(requests []*Request, quotes []*Quote) error {
	o, n := &p.Order, p.Order.hops()
	if len(requests) != n || len(quotes) != n {
		return Refuse(ChainMismatch, "%d requests and %d quotes for %d hops", len(requests), len(quotes), n)
	}
	for i := range n {
		amount, payee := o.Amount, o.Payee
		if o.Fixed == FixedPayee && i < n-1 {
			amount = quotes[i+1].PayerAmount
		}
		if o.Fixed == FixedPayer && i > 0 {
			amount = quotes[i-1].PayeeAmount
		}
		if i < n-1 {
			payee = quotes[i+1].Receive
		}
		if *requests[i] != *o.Request(i, amount, payee) {
			return Refuse(ChainMismatch, "the request of hop %d is not what the order and the other quotes ask for", i)
		}
		if err := quotes[i].Validate(); err != nil {
			return err
		}
		if err := quotes[i].Check(requests[i], o.Route[i].Decimals, o.Route[i+1].Decimals); err != nil {
			return err
		}
		if quotes[i].HoldMillis < quotes[n-1].HoldMillis {
			return Refuse(ChainMismatch, "the provider of hop %d waits %d ms, the deciding one may take %d", i, quotes[i].HoldMillis, quotes[n-1].HoldMillis)
		}
	}
	if pays := quotes[0].PayerAmount; o.Fixed == FixedPayee && pays > o.Limit {
		return Refuse(PriceTooHigh, "it costs %d, approved were %d", pays, o.Limit)
	}
	if gets := quotes[n-1].PayeeAmount; o.Fixed == FixedPayer && gets < o.Limit {
		return Refuse(PriceTooHigh, "the payee gets %d, approved were %d", gets, o.Limit)
	}
	return nil
}

// Reserved takes the opening of the output that the payer's wallet reserved: the commitment that everybody else names from now on.
func (p *Payment) Reserved(opening zk.Note) ([]byte, error) {
	if p.Opening != nil && *p.Opening == opening {
		return nil, nil
	}
	if p.Stage != PayChosen {
		return nil, Refuse(StepInvalid, "the payment is %s", p.Stage)
	}
	if err := checkNote(opening, p.Requests[0].pays(p.Quotes[0]), p.Quotes[0].Receive.Owner); err != nil {
		return nil, err
	}
	return encode(paymentRecord{Opening: &opening}), nil
}

// Promise takes the reservation of the provider that StepPromise asked.
func (p *Payment) Promise(m *Reservation) ([]byte, error) {
	if p.Stage != PayReserved || p.promises() == 0 {
		return nil, Refuse(StepInvalid, "the payment is %s and lacks no reservation", p.Stage)
	}
	hop := len(p.Promised)
	r, q := p.Requests[hop], p.Quotes[hop]
	if m.Quote != q.ID() {
		return nil, Refuse(QuoteMismatch, "the reservation is for quote %s", m.Quote)
	}
	if err := m.Verify(q.Provider); err != nil {
		return nil, err
	}
	if err := checkNote(m.Opening, r.gets(q), r.Payee.Owner); err != nil {
		return nil, err
	}
	return encode(paymentRecord{Promised: m.Marshal()}), nil
}

// Covered takes the placement of the last provider. deciding is what the payer read of the hold in the decider's log, under a cosigned
// checkpoint. From here on the payer's hold posts only if the payee is paid (B5.1).
func (p *Payment) Covered(m *Placement, deciding *Deciding, c Clock) ([]byte, error) {
	if p.Cover != nil && p.Cover.Hold == m.Hold {
		return nil, nil
	}
	if p.Stage != PayReserved || p.promises() != 0 {
		return nil, Refuse(StepInvalid, "the payment is %s", p.Stage)
	}
	hop := p.Order.hops() - 1
	r, q := p.Requests[hop], p.last()
	if m.Quote != q.ID() {
		return nil, Refuse(QuoteMismatch, "the placement is for quote %s", m.Quote)
	}
	if err := m.Verify(q.Provider); err != nil {
		return nil, err
	}
	if m.Ledger != r.Decider || deciding.Ledger != r.Decider || deciding.Hold != m.Hold {
		return nil, Refuse(ConditionMismatch, "hold %s of ledger %s", deciding.Hold, deciding.Ledger)
	}
	if err := CheckOpening(m.Opening, deciding.Commitment, r.gets(q), r.Payee.Owner); err != nil {
		return nil, err
	}
	if !slices.Equal(deciding.Followers, p.acceptance(hop).conditions()) {
		return nil, Refuse(ConditionMismatch, "the deciding hold waits for other commitments than those of this payment")
	}
	if deciding.Until != m.Until {
		return nil, Refuse(ConditionMismatch, "the deciding hold expires at %d, the provider says %d", deciding.Until, m.Until)
	}
	if err := deciding.checkUntil(c, p.Order.margin(), q.HoldMillis+p.Order.margin()); err != nil {
		return nil, err
	}
	return encode(paymentRecord{Covered: m.Marshal()}), nil
}

// Follow takes the placement of the provider that StepProceed asked. The payer's safety does not rest on it: without that hold the deciding one
// is voided, and so is the payer's.
func (p *Payment) Follow(m *Placement) ([]byte, error) {
	hop := len(p.Followed)
	if p.Stage != PayCovered || hop >= p.Order.hops()-1 {
		return nil, Refuse(StepInvalid, "the payment is %s and lacks no hold", p.Stage)
	}
	if m.Quote != p.Quotes[hop].ID() {
		return nil, Refuse(QuoteMismatch, "the placement is for quote %s", m.Quote)
	}
	if err := m.Verify(p.Quotes[hop].Provider); err != nil {
		return nil, err
	}
	if m.Ledger != p.Requests[hop].To || m.Until != p.Until {
		return nil, Refuse(ConditionMismatch, "a hold on ledger %s until %d", m.Ledger, m.Until)
	}
	if m.Opening != p.Promised[hop].Opening {
		return nil, Refuse(OpeningMismatch, "another opening than was reserved")
	}
	return encode(paymentRecord{Followed: m.Marshal()}), nil
}

// BeginPlacing gives the record that must be durable before the wallet builds the payer's hold: from then on the payment cannot be given up,
// because the hold may be logged.
func (p *Payment) BeginPlacing(c Clock) ([]byte, error) {
	if p.Stage == PayPlacing {
		return nil, nil
	}
	if p.Stage != PayCovered || len(p.Followed) < p.Order.hops()-1 {
		return nil, Refuse(StepInvalid, "the payment is %s", p.Stage)
	}
	if err := p.mayPlace(c); err != nil {
		return nil, err
	}
	return encode(paymentRecord{Placing: p.placingExpiry()}), nil
}

// Placed records that the payer's hold is in a cosigned checkpoint of its ledger.
func (p *Payment) Placed(hold entry.HoldID) ([]byte, error) {
	if p.Hold != (entry.HoldID{}) && p.Hold == hold {
		return nil, nil
	}
	if p.Stage != PayPlacing {
		return nil, Refuse(StepInvalid, "the payment is %s", p.Stage)
	}
	return encode(paymentRecord{Placed: &hold}), nil
}

// NotPlaced gives a payment up whose hold was never logged. The caller knows that it cannot be logged any more: no transaction was built and none
// will be, or it has expired under a cosigned checkpoint.
func (p *Payment) NotPlaced(why Code) ([]byte, error) {
	if p.Stage != PayPlacing {
		return nil, Refuse(StepInvalid, "the payment is %s", p.Stage)
	}
	return encode(paymentRecord{GaveUp: cmp.Or(why, DeadlinePassed)}), nil
}

// Settled records what became of the payer's hold, as its ledger's log says.
func (p *Payment) Settled(o entry.Outcome) ([]byte, error) {
	switch {
	case p.Stage == PayPosted && o == entry.Posted, p.Stage == PayVoided && o == entry.Voided:
		return nil, nil
	case p.Stage != PayPlaced || o != entry.Posted && o != entry.Voided:
		return nil, Refuse(StepInvalid, "outcome %d of a payment that is %s", o, p.Stage)
	}
	return encode(paymentRecord{Settled: o}), nil
}

// GiveUp ends a payment of which nothing is locked. After BeginPlacing it is refused.
func (p *Payment) GiveUp(why Code) ([]byte, error) {
	switch p.Stage {
	case PayGivenUp:
		return nil, nil
	case PayOrdered, PayChosen, PayReserved, PayCovered:
		return encode(paymentRecord{GaveUp: cmp.Or(why, Cancelled)}), nil
	}
	return nil, Refuse(StepInvalid, "the payment is %s: its hold may be logged", p.Stage)
}
