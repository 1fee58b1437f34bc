package bridge

import (
	"cmp"
	"crypto/ed25519"
	"fmt"
	"io"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// DeskConfig is what a provider's desk is made of.
type DeskConfig struct {
	Name         string
	Key          ed25519.PrivateKey            // signs quotes, reservations and placements
	Receive      map[entry.GenesisHash]Address // the provider's own wallets
	Carry        []Carry                       // earmarked money that it may carry; unrestricted money it always carries
	Exposure     map[Account]zk.Amount         // most that may be quoted, promised and placed without a decision; an account that is missing pays nothing
	MaxQuotes    int                           // open quotes at once
	MarginMillis uint64                        // B5.3; 0 for DefaultMarginMillis
}

// String keeps the key out of logs.
func (c DeskConfig) String() string { return "[desk of " + c.Name + "]" }

// GoString keeps the key out of logs.
func (c DeskConfig) GoString() string { return c.String() }

// Carry is a pair of programmes between which a provider carries earmarked money.
type Carry struct {
	From, To                   entry.GenesisHash
	FromProgramme, ToProgramme zk.ProgrammeID
}

// Corridor names what ledger On keeps about ledger Peer.
type Corridor struct{ On, Peer entry.GenesisHash }

// A Desk decides for one provider: which quotes it gives, which it must honour, and what it owns and owes. It is a value without locks: one
// caller at a time. What a method decides comes out as a journal record; the caller makes it durable, gives it to Add and only then acts. A
// desk made from the same records is the same desk, but for open quotes, stock, rates and corridors, which are told anew.
type Desk struct {
	config   DeskConfig
	provider entry.SignerKey
	rates    *Rates
	classes  map[Corridor][]uint64
	stock    map[Account]zk.Amount
	open     map[entry.SignerKey]openQuote
	deals    map[ID]*Deal
	payers   map[entry.SignerKey]ID // of accepted quotes
	sequence []ID                   // of deals, oldest first
	live     map[ID]bool            // deals that are not done
	totals   map[Account]*total
}

type openQuote struct {
	quote *Quote
	id    ID
	pays  Account
}

type total struct{ paid, received zk.Amount }

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

// account is what the provider pays from.
func (q *Request) payeeAccount() Account { return Account{q.To, q.ToAsset} }

func (q *Request) payerAccount() Account { return Account{q.From, q.FromAsset} }

// NewDesk checks the configuration and replays the records of a journal.
func NewDesk(c DeskConfig, records [][]byte) (*Desk, error) {
	if len(c.Name) > MaxName || !printable(c.Name) || len(c.Key) != ed25519.PrivateKeySize || c.MaxQuotes < 1 || len(c.Receive) < 2 {
		return nil, fmt.Errorf("desk: want a printable name, an Ed25519 key, wallets on two ledgers and room for a quote")
	}
	if c.MarginMillis == 0 {
		c.MarginMillis = DefaultMarginMillis
	}
	for _, a := range c.Receive {
		if err := a.Check(); err != nil {
			return nil, err
		}
	}
	provider, err := entry.SignerKeyOf(c.Key.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, err
	}
	d := &Desk{config: c, provider: provider, classes: map[Corridor][]uint64{}, stock: map[Account]zk.Amount{}, open: map[entry.SignerKey]openQuote{},
		deals: map[ID]*Deal{}, payers: map[entry.SignerKey]ID{}, live: map[ID]bool{}, totals: map[Account]*total{}}
	for i, r := range records {
		if err := d.Add(r); err != nil {
			return nil, fmt.Errorf("journal record %d: %w", i, err)
		}
	}
	return d, nil
}

// Provider is the key that signs the desk's quotes.
func (d *Desk) Provider() entry.SignerKey { return d.provider }

// SetRates replaces the rates. Open quotes stay what they are.
func (d *Desk) SetRates(r *Rates) { d.rates = r }

// SetCorridor tells the size classes, ascending, of a corridor through which holds may be placed now; none when it is stale, frozen or gone.
func (d *Desk) SetCorridor(c Corridor, classes []uint64) {
	d.classes[c] = slices.Clone(classes)
}

// SetStock tells what the provider's wallet owns of an asset: unspent notes, in flight or not, without what its open holds keep.
func (d *Desk) SetStock(a Account, amount zk.Amount) { d.stock[a] = amount }

// Quote answers a request. A request that has an open quote gets the same quote again. Quotes are not journalled: one that is accepted
// carries all that the desk must know of it. rand gives the nonce.
func (d *Desk) Quote(req *Request, nowMillis uint64, rand io.Reader) (*Quote, error) {
	if err := req.Validate(); err != nil {
		return nil, err
	}
	d.expire(nowMillis)
	if o, ok := d.open[req.Payer]; ok {
		if o.quote.Request == req.ID() {
			return o.quote, nil
		}
		return nil, Refuse(QuoteOpen, "the payer key has an open quote until %d", o.quote.ExpiryMillis)
	}
	if _, used := d.payers[req.Payer]; used {
		return nil, Refuse(QuoteOpen, "the payer key has used a quote")
	}
	receive, err := d.serves(req)
	if err != nil {
		return nil, err
	}
	rate, err := d.rates.Find(Pair{req.payerAccount(), req.payeeAccount()})
	if err != nil {
		return nil, err
	}
	payer, payee, err := rate.Minor.Amounts(req.Fixed, req.Amount)
	if err != nil {
		return nil, err
	}
	if payee < rate.Minimum {
		return nil, Refuse(AmountBelow, "%d, the minimum is %d", payee, rate.Minimum)
	}
	if payee > rate.Maximum {
		return nil, Refuse(AmountAbove, "%d, the maximum is %d", payee, rate.Maximum)
	}
	q := &Quote{Request: req.ID(), Name: d.config.Name, Provider: d.provider, PayerAmount: payer, PayeeAmount: payee, Mid: rate.Mid,
		SpreadBasisPoints: rate.SpreadBasisPoints, Receive: receive, ExpiryMillis: nowMillis + rate.QuoteMillis, HoldMillis: rate.HoldMillis}
	if q.FromClass, err = d.class(Corridor{req.From, req.Decider}, payer); err != nil {
		return nil, err
	}
	peer := req.Decider // of the corridor that the provider's hold goes through
	if req.Decider == req.To {
		peer = req.From
	}
	if q.ToClass, err = d.class(Corridor{req.To, peer}, payee); err != nil {
		return nil, err
	}
	if len(d.open) >= d.config.MaxQuotes {
		return nil, Refuse(QuotesFull, "%d open quotes", len(d.open))
	}
	if err := d.affords(req.payeeAccount(), payee); err != nil {
		return nil, err
	}
	if _, err := io.ReadFull(rand, q.Nonce[:]); err != nil {
		return nil, fmt.Errorf("draw a nonce: %w", err)
	}
	q.Sign(d.config.Key)
	d.open[req.Payer] = openQuote{q, q.ID(), req.payeeAccount()}
	return q, nil
}

// serves gives the provider's address where it would be paid, if it serves both ledgers and carries the money's earmark.
func (d *Desk) serves(req *Request) (Address, error) {
	receive, ok := d.config.Receive[req.From]
	if _, pays := d.config.Receive[req.To]; !ok || !pays {
		return Address{}, Refuse(LedgerUnknown, "no wallet on %s or %s", req.From, req.To)
	}
	if (req.FromProgramme != 0 || req.ToProgramme != 0) && !slices.Contains(d.config.Carry, Carry{req.From, req.To, req.FromProgramme, req.ToProgramme}) {
		return Address{}, Refuse(UnknownProgramme, "from programme %d to %d", req.FromProgramme, req.ToProgramme)
	}
	return receive, nil
}

func (d *Desk) class(c Corridor, amount zk.Amount) (uint64, error) {
	if len(d.classes[c]) == 0 {
		return 0, Refuse(LedgerUnknown, "no usable corridor on %s to %s", c.On, c.Peer)
	}
	return ClassFor(d.classes[c], amount)
}

// affords checks inventory and exposure for one more promise on the account. It forgets no quote that is still open.
func (d *Desk) affords(a Account, amount zk.Amount) error {
	p := d.position(a)
	bound := sum(p.Quoted, p.Promised)
	if bound > p.Stock || amount > p.Stock-bound {
		return Refuse(InventoryShort, "asset %d of %s", a.Asset, a.Ledger)
	}
	if bound = sum(bound, p.Waiting); bound > p.Limit || amount > p.Limit-bound {
		return Refuse(ExposureLimit, "asset %d of %s", a.Asset, a.Ledger)
	}
	return nil
}

// expire forgets quotes that nobody accepted in time.
func (d *Desk) expire(nowMillis uint64) {
	for k, o := range d.open {
		if nowMillis >= o.quote.ExpiryMillis {
			delete(d.open, k)
		}
	}
}

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
