package bridge

import (
	"bytes"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// PaymentStage is where a payment stands at its payer.
type PaymentStage string

// The stages. Up to PayCovered nothing of the payer's is locked, and it may give up.
const (
	PayOrdered  PaymentStage = "ordered"
	PayChosen   PaymentStage = "chosen"
	PayReserved PaymentStage = "reserved" // the payer's output is known
	PayCovered  PaymentStage = "covered"  // the deciding hold is logged and checked
	PayPlacing  PaymentStage = "placing"  // the payer's hold may be logged
	PayPlaced   PaymentStage = "placed"   // it is
	PayPosted   PaymentStage = "posted"
	PayVoided   PaymentStage = "voided"
	PayGivenUp  PaymentStage = "given_up"
)

// Payment is the state machine of a payer. Like a Desk it is a value without locks, whose methods give journal records: make each durable,
// give it to Add, then act. What Next says depends on the records and the clock alone.
type Payment struct {
	Order    Order
	Stage    PaymentStage
	Requests []*Request     // one per hop, from the payer's ledger
	Quotes   []*Quote       // chosen
	Opening  *zk.Note       // of the payer's output
	Promised []*Reservation // of the providers before the last
	Cover    *Placement     // of the last provider
	Until    uint64         // expiry of the deciding hold
	Followed []*Placement   // of the providers before the last
	Expiry   uint64         // of the transaction that places the payer's hold
	Hold     entry.HoldID   // the payer's, from PayPlaced
	GaveUp   Code           // PayGivenUp
}

// StartPayment gives the first record of a payment.
func StartPayment(o Order) ([]byte, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return encode(paymentRecord{Ordered: &o}), nil
}

// Done tells that nothing more happens.
func (p *Payment) Done() bool {
	return p.Stage == PayPosted || p.Stage == PayVoided || p.Stage == PayGivenUp
}

// promises is how many reservations are still missing.
func (p *Payment) promises() int { return p.Order.hops() - 1 - len(p.Promised) }

// last is the quote of the provider that decides.
func (p *Payment) last() *Quote { return p.Quotes[len(p.Quotes)-1] }

// Step says what a payer does next.
type Step string

// The steps. All but StepPlace and StepAwait may be left undone at any time without a loss.
const (
	StepQuote    Step = "quote"    // ask providers, show the best to the payer, Choose
	StepReserve  Step = "reserve"  // have the wallet reserve the payer's output, then Reserved
	StepPromise  Step = "promise"  // send Message to the provider of the hop, then Promise with its reservation
	StepAccept   Step = "accept"   // send Message to the last provider, read its hold in the log, then Covered
	StepProceed  Step = "proceed"  // send Message to the provider of the hop, then Follow with its placement
	StepPlace    Step = "place"    // BeginPlacing; then have the wallet place, then Placed
	StepFindHold Step = "findhold" // the transaction has expired: Placed if the log holds it, NotPlaced once it is certain that it does not
	StepAwait    Step = "await"    // relay, and read the log for the outcome, then Settled
	StepGiveUp   Step = "give_up"  // GiveUp with Code, and free what the wallet reserved
	StepDone     Step = "done"
)

// Todo is a step with what it needs.
type Todo struct {
	Step     Step
	Hop      int             // whose provider is asked
	Provider entry.SignerKey // of that hop
	Message  []byte          // an acceptance or a proceed message; the same bytes each time
	Placing  *Placing        // the payer's hold; without a condition in StepReserve
	Expiry   uint64          // StepPlace: of the transaction, in ledger time
	Code     Code            // StepGiveUp
}

// Next says what to do. Messages are sent again until they are answered or the payment is given up: each has one meaning.
func (p *Payment) Next(c Clock) Todo {
	giveUp := func(code Code) Todo { return Todo{Step: StepGiveUp, Code: code} }
	late := c.Now >= p.Order.DeadlineMillis
	switch p.Stage {
	case PayOrdered:
		if late {
			return giveUp(DeadlinePassed)
		}
		return Todo{Step: StepQuote}
	case PayChosen:
		switch {
		case late:
			return giveUp(DeadlinePassed)
		case c.Now >= p.expiry():
			return giveUp(QuoteExpired)
		}
		return Todo{Step: StepReserve, Placing: p.placing(entry.Condition{}), Provider: p.Quotes[0].Provider}
	case PayReserved:
		// A quote may have been accepted though the answer was lost: the message is repeated until the hold would be over.
		hop := len(p.Promised)
		switch q := p.Quotes[hop]; {
		case late:
			return giveUp(DeadlinePassed)
		case c.Now >= q.ExpiryMillis+q.HoldMillis:
			return giveUp(QuoteExpired)
		case p.promises() > 0:
			return Todo{Step: StepPromise, Hop: hop, Provider: q.Provider, Message: p.acceptance(hop).Marshal()}
		default:
			return Todo{Step: StepAccept, Hop: hop, Provider: q.Provider, Message: p.acceptance(hop).Marshal()}
		}
	case PayCovered:
		if err := p.mayPlace(c); err != nil {
			return giveUp(CodeOf(err))
		}
		if hop := len(p.Followed); hop < p.Order.hops()-1 {
			m := &Proceed{Quote: p.Quotes[hop].ID(), Hold: p.Cover.Hold}
			m.Sign(p.Order.key())
			return Todo{Step: StepProceed, Hop: hop, Provider: p.Quotes[hop].Provider, Message: m.Marshal()}
		}
		return Todo{Step: StepPlace, Placing: p.following(), Expiry: p.placingExpiry(), Provider: p.Quotes[0].Provider}
	case PayPlacing:
		if c.Now >= p.Expiry {
			return Todo{Step: StepFindHold, Placing: p.following(), Expiry: p.Expiry}
		}
		return Todo{Step: StepPlace, Placing: p.following(), Expiry: p.Expiry, Provider: p.Quotes[0].Provider}
	case PayPlaced:
		return Todo{Step: StepAwait}
	}
	return Todo{Step: StepDone, Code: p.GaveUp}
}

// expiry is when the first of the chosen quotes expires.
func (p *Payment) expiry() uint64 {
	first := p.Quotes[0].ExpiryMillis
	for _, q := range p.Quotes[1:] {
		first = min(first, q.ExpiryMillis)
	}
	return first
}

// placingExpiry bounds the transaction that places the payer's hold: it settles before the deadline and before the deciding hold expires, or never.
func (p *Payment) placingExpiry() uint64 { return min(p.Until, p.Order.DeadlineMillis) }

// placing is the payer's hold with a condition.
func (p *Payment) placing(c entry.Condition) *Placing {
	r, q := p.Requests[0], p.Quotes[0]
	return &Placing{Ledger: r.From, Money: r.pays(q), Payee: q.Receive, Condition: c, SizeClass: q.FromClass, Until: p.Until}
}

func (p *Payment) following() *Placing {
	return p.placing((&entry.DecidedThere{Ledger: p.Cover.Ledger, Hold: p.Cover.Hold, Until: p.Until}).Condition())
}

// mayPlace is the last look before anything of the payer's is locked (B5.3).
func (p *Payment) mayPlace(c Clock) error {
	if c.Now >= p.Order.DeadlineMillis {
		return Refuse(DeadlinePassed, "at %d", p.Order.DeadlineMillis)
	}
	return (&Deciding{Until: p.Until}).checkUntil(c, p.Order.margin(), ^uint64(0))
}

// opening is that of the hold which pays the provider of the hop.
func (p *Payment) opening(hop int) *zk.Note {
	if hop == 0 {
		return p.Opening
	}
	return &p.Promised[hop-1].Opening
}

// acceptance is the message to the provider of the hop. It is the same each time: Ed25519 is deterministic.
func (p *Payment) acceptance(hop int) *Acceptance {
	a := &Acceptance{Request: *p.Requests[hop], Quote: *p.Quotes[hop]}
	for h := range hop + 1 {
		n := p.opening(h)
		f := Follower{Ledger: p.Requests[h].From, Commitment: n.Commitment()}
		if h == hop {
			f.Opening = n
		} else if hop < p.Order.hops()-1 {
			continue
		}
		a.Followers = append(a.Followers, f)
	}
	slices.SortFunc(a.Followers, func(x, y Follower) int { return bytes.Compare(x.Ledger[:], y.Ledger[:]) })
	a.Sign(p.Order.key())
	return a
}
