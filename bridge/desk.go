package bridge

import (
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
