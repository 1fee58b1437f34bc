package bridge

import (
	"cmp"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Deal is a quote that was accepted.
type Deal struct {
	ID         ID // of the quote
	Acceptance *Acceptance
	AtMillis   uint64 // when it was accepted
	Until      uint64 // expiry of the deciding hold; for a provider before the last, the time to which it waits for one
	Stage      Stage
	Decider    entry.HoldID // known from StagePlacing, or StagePlaced for the last provider
	Hold       entry.HoldID // the provider's own, from StagePlaced
	Opening    *zk.Note     // of the provider's hold, once reserved
	Failed     Code         // StageFailed

	number int // of deals, in the order in which they were accepted
}

// Last tells whether the provider's hold is the deciding one.
func (d *Deal) Last() bool { return d.Acceptance.Request.Decider == d.Acceptance.Request.To }

// Accept takes the acceptance of the last provider of a payment: the record is durable before the deciding hold is placed. The same acceptance
// again gives no record and the same hold; another one for a used quote is refused. A deal that failed is refused with its reason.
func (d *Desk) Accept(a *Acceptance, c Clock) (record []byte, p *Placing, err error) {
	record, deal, err := d.take(a, c, true)
	if err != nil {
		return nil, nil, err
	}
	return record, deal.deciding(), nil
}

// Reserve takes the acceptance of a provider before the last: the record is durable before the wallet reserves. Deal.Opening is set once Reserved
// was added. What is returned lacks the condition, which only the deciding hold gives.
func (d *Desk) Reserve(a *Acceptance, c Clock) (record []byte, p *Placing, err error) {
	record, deal, err := d.take(a, c, false)
	if err != nil {
		return nil, nil, err
	}
	return record, deal.placing(entry.Condition{}), nil
}

func (d *Desk) take(a *Acceptance, c Clock, last bool) ([]byte, *Deal, error) {
	if err := a.Validate(); err != nil {
		return nil, nil, err
	}
	if (a.Request.Decider == a.Request.To) != last {
		return nil, nil, Refuse(StepInvalid, "the deciding ledger is %s", a.Request.Decider)
	}
	if a.Quote.Provider != d.provider {
		return nil, nil, Refuse(QuoteMismatch, "the quote is of provider %s", a.Quote.Provider)
	}
	id := a.Quote.ID()
	if deal := d.deals[id]; deal != nil {
		if deal.Acceptance.ID() != a.ID() {
			return nil, nil, Refuse(QuoteUsed, "quote %s", id)
		}
		if deal.Stage == StageFailed {
			return nil, nil, Refuse(deal.Failed, "quote %s was accepted, and its hold was not placed", id)
		}
		return nil, deal, nil
	}
	if c.Now >= a.Quote.ExpiryMillis {
		return nil, nil, Refuse(QuoteExpired, "at %d", a.Quote.ExpiryMillis)
	}
	if _, used := d.payers[a.Request.Payer]; used {
		return nil, nil, Refuse(QuoteOpen, "the payer key has used a quote")
	}
	peers := []entry.GenesisHash{a.Request.Decider} // of the corridors that count the provider's hold
	if last {
		peers = nil
		for _, f := range a.Followers {
			peers = append(peers, f.Ledger)
		}
	}
	for _, peer := range peers {
		if !slices.Contains(d.classes[Corridor{a.Request.To, peer}], a.Quote.ToClass) {
			return nil, nil, Refuse(SizeClassMissing, "class %d on %s towards %s", a.Quote.ToClass, a.Request.To, peer)
		}
	}
	d.expire(c.Now)
	o, held := d.open[a.Request.Payer]
	delete(d.open, a.Request.Payer) // its own promise does not count against it
	err := d.affords(a.Request.payeeAccount(), a.Quote.PayeeAmount)
	if held {
		d.open[a.Request.Payer] = o
	}
	if err != nil {
		return nil, nil, err
	}
	rec := &acceptedRecord{Acceptance: a.Marshal(), AtMillis: c.Now, Until: c.latest() + a.Quote.HoldMillis}
	return encode(deskRecord{Accepted: rec}), &Deal{ID: id, Acceptance: a, AtMillis: rec.AtMillis, Until: rec.Until, Stage: StageAccepted}, nil
}

// placing is the provider's hold with a condition.
func (d *Deal) placing(c entry.Condition) *Placing {
	r, q := &d.Acceptance.Request, &d.Acceptance.Quote
	return &Placing{Ledger: r.To, Money: r.gets(q), Payee: r.Payee, Condition: c, SizeClass: q.ToClass, Until: d.Until}
}

func (d *Deal) deciding() *Placing {
	return d.placing((&entry.DecidedHere{Until: d.Until, Followers: d.Acceptance.conditions()}).Condition())
}

func (d *Deal) following() *Placing {
	return d.placing((&entry.DecidedThere{Ledger: d.Acceptance.Request.Decider, Hold: d.Decider, Until: d.Until}).Condition())
}

// Reserved takes the opening of the output that the wallet reserved for a provider before the last.
func (d *Desk) Reserved(id ID, opening zk.Note) ([]byte, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	if deal.Last() {
		return nil, Refuse(StepInvalid, "the last provider reserves nothing")
	}
	if err := deal.checkOpening(opening); err != nil {
		return nil, err
	}
	if deal.Opening != nil {
		return nil, nil
	}
	if deal.Stage != StageAccepted {
		return nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
	}
	return encode(deskRecord{Reserved: &reservedRecord{id, opening}}), nil
}

// checkOpening holds what the wallet made against what was agreed, and against what was told to the payer.
func (d *Deal) checkOpening(n zk.Note) error {
	if d.Opening != nil && *d.Opening != n {
		return Refuse(OpeningMismatch, "another opening than was reserved")
	}
	r := &d.Acceptance.Request
	return checkNote(n, r.gets(&d.Acceptance.Quote), r.Payee.Owner)
}

// Reservation is the signed answer to Reserve.
func (d *Desk) Reservation(id ID) (*Reservation, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	if deal.Last() || deal.Opening == nil {
		return nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
	}
	m := &Reservation{Quote: id, Opening: *deal.Opening}
	m.Sign(d.config.Key)
	return m, nil
}

// Proceed tells a provider before the last which hold decides. deciding is what the provider itself read of that hold in the decider's log,
// under a cosigned checkpoint. The provider is safe when the hold waits for its own two commitments: it then pays only when it is paid (B5.2).
func (d *Desk) Proceed(m *Proceed, deciding *Deciding, c Clock) (record []byte, p *Placing, err error) {
	deal, err := d.deal(m.Quote)
	if err != nil {
		return nil, nil, err
	}
	if err := m.Verify(deal.Acceptance.Request.Payer); err != nil {
		return nil, nil, err
	}
	switch deal.Stage {
	case StageReserved:
	case StageFailed:
		return nil, nil, Refuse(deal.Failed, "quote %s was accepted, and its hold was not placed", deal.ID)
	default:
		if deal.Last() || deal.Stage < StagePlacing {
			return nil, nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
		}
		if deal.Decider != m.Hold {
			return nil, nil, Refuse(QuoteUsed, "the deal follows hold %s", deal.Decider)
		}
		return nil, deal.following(), nil
	}
	r := &deal.Acceptance.Request
	if deciding.Ledger != r.Decider || deciding.Hold != m.Hold {
		return nil, nil, Refuse(ConditionMismatch, "hold %s of %s", deciding.Hold, deciding.Ledger)
	}
	if !deciding.lists(entry.Follower{Ledger: r.From, Commitment: deal.Acceptance.own().Commitment}) ||
		!deciding.lists(entry.Follower{Ledger: r.To, Commitment: deal.Opening.Commitment()}) {
		return nil, nil, Refuse(ConditionMismatch, "the deciding hold does not wait for both of the provider's commitments")
	}
	if err := deciding.checkUntil(c, d.config.MarginMillis, deal.Acceptance.Quote.HoldMillis+d.config.MarginMillis); err != nil {
		return nil, nil, err
	}
	next := *deal
	next.Decider, next.Until = m.Hold, deciding.Until
	return encode(deskRecord{Proceeded: &proceededRecord{deal.ID, m.Hold, deciding.Until}}), next.following(), nil
}

// Placed records that the provider's hold is in a cosigned checkpoint of its ledger, and what opens it.
func (d *Desk) Placed(id ID, hold entry.HoldID, opening zk.Note) ([]byte, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	if deal.Stage >= StagePlaced && deal.Stage != StageFailed {
		if deal.Hold != hold {
			return nil, Refuse(StepInvalid, "hold %s was placed", deal.Hold)
		}
		return nil, nil
	}
	if want := map[bool]Stage{true: StageAccepted, false: StagePlacing}[deal.Last()]; deal.Stage != want {
		return nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
	}
	if err := deal.checkOpening(opening); err != nil {
		return nil, err
	}
	return encode(deskRecord{Placed: &placedRecord{id, hold, opening}}), nil
}

// Placement is the signed answer to Accept or Proceed, once the hold is placed.
func (d *Desk) Placement(id ID) (*Placement, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	if deal.Stage < StagePlaced || deal.Stage == StageFailed {
		return nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
	}
	m := &Placement{Quote: id, Ledger: deal.Acceptance.Request.To, Hold: deal.Hold, Opening: *deal.Opening, Until: deal.Until}
	m.Sign(d.config.Key)
	return m, nil
}

// Decided records what became of the provider's hold. That its ledger's log says so is for the caller to have read.
func (d *Desk) Decided(id ID, outcome entry.Outcome) ([]byte, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	stage := StagePosted
	switch outcome {
	case entry.Posted:
	case entry.Voided:
		stage = StageVoided
	default:
		return nil, Refuse(StepInvalid, "outcome %d", outcome)
	}
	switch deal.Stage {
	case stage:
		return nil, nil
	case StagePlaced:
		return encode(deskRecord{Decided: &decidedRecord{id, outcome}}), nil
	}
	return nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
}

// Fail gives a deal up whose hold is not placed. The caller knows that no transaction that places it can settle any more: none was built, or it
// has expired under a cosigned checkpoint. The quote stays used.
func (d *Desk) Fail(id ID, why Code) ([]byte, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	if deal.Stage == StageFailed {
		return nil, nil
	}
	if deal.Stage >= StagePlaced {
		return nil, Refuse(StepInvalid, "the deal is %s", deal.Stage)
	}
	return encode(deskRecord{Failed: &failedRecord{id, why}}), nil
}

// Unfinished lists the deals for which something must still be done or awaited, oldest first: what a provider resumes with.
func (d *Desk) Unfinished() []*Deal {
	var out []*Deal
	for id := range d.live {
		out = append(out, d.deals[id].clone())
	}
	slices.SortFunc(out, func(a, b *Deal) int { return cmp.Compare(a.number, b.number) })
	return out
}

// Overdue lists the deals whose hold is not placed though its time has come: they are to be failed, once it is certain that nothing settles.
func (d *Desk) Overdue(c Clock) []ID {
	var out []ID
	for _, deal := range d.Unfinished() {
		if deal.Stage < StagePlaced && c.latest() >= deal.Until {
			out = append(out, deal.ID)
		}
	}
	return out
}

// Work is what remains to be placed for a deal, or nil: for a provider that resumes.
func (d *Deal) Work() *Placing {
	switch {
	case d.Stage == StageAccepted && d.Last():
		return d.deciding()
	case d.Stage == StageAccepted:
		return d.placing(entry.Condition{})
	case d.Stage == StagePlacing:
		return d.following()
	}
	return nil
}

// Deal finds a deal by its quote.
func (d *Desk) Deal(id ID) (*Deal, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	return deal.clone(), nil
}

func (d *Deal) clone() *Deal { c := *d; return &c }

func (d *Desk) deal(id ID) (*Deal, error) {
	if deal := d.deals[id]; deal != nil {
		return deal, nil
	}
	return nil, Refuse(QuoteUnknown, "%s", id)
}

// Status is what the desk says of a deal.
func (d *Desk) Status(id ID) (*Status, error) {
	deal, err := d.deal(id)
	if err != nil {
		return nil, err
	}
	return &Status{Quote: id, Stage: deal.Stage, Hold: deal.Hold}, nil
}
