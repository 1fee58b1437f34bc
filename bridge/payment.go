package bridge

import (
	"bytes"
	"cmp"
	"crypto/ed25519"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Stop is one currency on the way of a payment.
type Stop struct {
	Ledger    entry.GenesisHash
	Asset     zk.AssetID
	Programme zk.ProgrammeID
	Decimals  uint8
}

// stopJSON is a Stop in the journal.
type stopJSON struct {
	Ledger    ID             `json:"ledger"`
	Asset     zk.AssetID     `json:"asset"`
	Programme zk.ProgrammeID `json:"programme,omitempty"`
	Decimals  uint8          `json:"decimals"`
}

// MarshalJSON writes the ledger as hexadecimal.
func (s Stop) MarshalJSON() ([]byte, error) {
	return json.Marshal(stopJSON{ID(s.Ledger), s.Asset, s.Programme, s.Decimals})
}

// UnmarshalJSON reads what MarshalJSON wrote.
func (s *Stop) UnmarshalJSON(b []byte) error {
	var j stopJSON
	err := decode(b, &j)
	*s = Stop{entry.GenesisHash(j.Ledger), j.Asset, j.Programme, j.Decimals}
	return err
}

// Order is what a payer wants. Its id is the caller's, and names the wallet's order too; its fields never change.
type Order struct {
	ID             string    `json:"id"`
	Route          []Stop    `json:"route"` // from the payer's currency to the payee's; the last ledger decides
	Fixed          Fixed     `json:"fixed"`
	Amount         zk.Amount `json:"amount"` // of the fixed side
	Limit          zk.Amount `json:"limit"`  // payee fixed: most that the payer pays; payer fixed: least that the payee gets
	Payee          Address   `json:"payee"`
	DeadlineMillis uint64    `json:"deadline"`         // nothing is placed from then on
	MarginMillis   uint64    `json:"margin,omitempty"` // B5.3; 0 for DefaultMarginMillis
	Seed           []byte    `json:"seed"`             // 32 bytes: of the one-use key
}

// Validate checks the order alone.
func (o *Order) Validate() error {
	switch {
	case o.ID == "" || len(o.ID) > 128 || !printable(o.ID):
		return Refuse(Malformed, "a payment id is 1 to 128 bytes of printable text without spaces at its ends")
	case len(o.Route) < 2 || len(o.Route) > MaxHops+1:
		return Refuse(Malformed, "a route of %d stops, want 2 to %d", len(o.Route), MaxHops+1)
	case o.Fixed != FixedPayee && o.Fixed != FixedPayer:
		return Refuse(Malformed, "fixed side %d", o.Fixed)
	case o.Amount == 0 || o.Limit == 0:
		return Refuse(AmountZero, "amount %d, limit %d", o.Amount, o.Limit)
	case o.DeadlineMillis == 0:
		return Refuse(Malformed, "no deadline")
	case len(o.Seed) != ed25519.SeedSize:
		return Refuse(Malformed, "a seed of %d bytes", len(o.Seed))
	}
	for i, s := range o.Route {
		if s.Asset == 0 || s.Decimals > entry.MaxDecimals {
			return Refuse(UnknownAsset, "stop %d: asset %d with %d decimals", i, s.Asset, s.Decimals)
		}
		for _, before := range o.Route[:i] {
			if before.Ledger == s.Ledger {
				return Refuse(Malformed, "the route passes ledger %s twice", s.Ledger)
			}
		}
	}
	return o.Payee.Check()
}

func (o *Order) hops() int { return len(o.Route) - 1 }

func (o *Order) key() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(o.Seed) }

func (o *Order) margin() uint64 {
	if o.MarginMillis == 0 {
		return DefaultMarginMillis
	}
	return o.MarginMillis
}

// Request makes the request of one hop, counted from the payer's ledger. amount is that of the fixed side. payee is the order's for the last
// hop; before it, where the next provider is paid: payee fixed, from its quote (hops are asked last to first); payer fixed, from its offer.
func (o *Order) Request(hop int, amount zk.Amount, payee Address) *Request {
	from, to := o.Route[hop], o.Route[hop+1]
	key, err := entry.SignerKeyOf(o.key().Public().(ed25519.PublicKey))
	if err != nil {
		panic(err) // an Ed25519 key has one length
	}
	return &Request{From: from.Ledger, To: to.Ledger, Decider: o.Route[o.hops()].Ledger, FromAsset: from.Asset, ToAsset: to.Asset,
		FromProgramme: from.Programme, ToProgramme: to.Programme, Fixed: o.Fixed, Amount: amount, Payer: key, Payee: payee}
}

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

type paymentRecord struct {
	Ordered  *Order        `json:"ordered,omitempty"`
	Chosen   *chosenRecord `json:"chosen,omitempty"`
	Opening  *zk.Note      `json:"opening,omitempty"`
	Promised []byte        `json:"promised,omitempty"`
	Covered  []byte        `json:"covered,omitempty"`
	Followed []byte        `json:"followed,omitempty"`
	Placing  uint64        `json:"placing,omitempty"` // expiry of the transaction
	Placed   *entry.HoldID `json:"placed,omitempty"`
	Settled  entry.Outcome `json:"settled,omitempty"`
	GaveUp   Code          `json:"gave_up,omitempty"`
}

type chosenRecord struct {
	Requests [][]byte `json:"requests"`
	Quotes   [][]byte `json:"quotes"`
}

// StartPayment gives the first record of a payment.
func StartPayment(o Order) ([]byte, error) {
	if err := o.Validate(); err != nil {
		return nil, err
	}
	return encode(paymentRecord{Ordered: &o}), nil
}

// ReplayPayment makes a payment from its records.
func ReplayPayment(records [][]byte) (*Payment, error) {
	p := &Payment{}
	for i, r := range records {
		if err := p.Add(r); err != nil {
			return nil, fmt.Errorf("journal record %d: %w", i, err)
		}
	}
	if p.Stage == "" {
		return nil, Refuse(JournalInvalid, "no payment")
	}
	return p, nil
}

// Add folds one record in. It refuses journal_invalid for a record that does not follow from those before it.
func (p *Payment) Add(record []byte) error {
	var r paymentRecord
	if err := decode(record, &r); err != nil {
		return err
	}
	wrong := Refuse(JournalInvalid, "a record that does not follow on %q", p.Stage)
	switch {
	case r.Ordered != nil:
		if err := r.Ordered.Validate(); err != nil || p.Stage != "" {
			return Refuse(JournalInvalid, "%q: %v", p.Stage, err)
		}
		p.Order, p.Stage = *r.Ordered, PayOrdered
	case p.Stage == "":
		return wrong
	case r.Chosen != nil:
		n := p.Order.hops()
		if p.Stage != PayOrdered || len(r.Chosen.Requests) != n || len(r.Chosen.Quotes) != n {
			return wrong
		}
		requests, quotes := make([]*Request, n), make([]*Quote, n)
		for i := range n {
			var err error
			if requests[i], err = ParseRequest(r.Chosen.Requests[i]); err != nil {
				return Refuse(JournalInvalid, "%v", err)
			}
			if quotes[i], err = ParseQuote(r.Chosen.Quotes[i]); err != nil {
				return Refuse(JournalInvalid, "%v", err)
			}
		}
		if err := p.checkChain(requests, quotes); err != nil {
			return Refuse(JournalInvalid, "%v", err)
		}
		p.Requests, p.Quotes, p.Stage = requests, quotes, PayChosen
	case r.Opening != nil:
		if p.Stage != PayChosen {
			return wrong
		}
		p.Opening, p.Stage = r.Opening, PayReserved
	case r.Promised != nil:
		m, err := ParseReservation(r.Promised)
		if err != nil || p.Stage != PayReserved || p.promises() == 0 {
			return wrong
		}
		p.Promised = append(p.Promised, m)
	case r.Covered != nil:
		m, err := ParsePlacement(r.Covered)
		if err != nil || p.Stage != PayReserved || p.promises() != 0 {
			return wrong
		}
		p.Cover, p.Until, p.Stage = m, m.Until, PayCovered
	case r.Followed != nil:
		m, err := ParsePlacement(r.Followed)
		if err != nil || p.Stage != PayCovered || len(p.Followed) == p.Order.hops()-1 {
			return wrong
		}
		p.Followed = append(p.Followed, m)
	case r.Placing != 0:
		if p.Stage != PayCovered || len(p.Followed) < p.Order.hops()-1 {
			return wrong
		}
		p.Expiry, p.Stage = r.Placing, PayPlacing
	case r.Placed != nil:
		if p.Stage != PayPlacing {
			return wrong
		}
		p.Hold, p.Stage = *r.Placed, PayPlaced
	case r.Settled == entry.Posted && p.Stage == PayPlaced:
		p.Stage = PayPosted
	case r.Settled == entry.Voided && p.Stage == PayPlaced:
		p.Stage = PayVoided
	case r.GaveUp != "":
		if p.Stage == PayPlaced || p.Done() {
			return wrong
		}
		p.GaveUp, p.Stage = r.GaveUp, PayGivenUp
	default:
		return wrong
	}
	return nil
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
