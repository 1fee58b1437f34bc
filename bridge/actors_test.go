package bridge

import (
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// provider is a desk at its edge: journal, wallet, ledgers.
type provider struct {
	name    string
	world   *world
	wallet  *toyWallet
	records [][]byte
	desk    *Desk
	dead    bool
	killed  bool // and not restarted yet
}

func newProvider(w *world, name string) *provider {
	p := &provider{name: name, world: w, wallet: newWallet(w, name)}
	p.restart()
	return p
}

// restart is a kill: what is not in the journal or the wallet is gone.
func (p *provider) restart() {
	c := DeskConfig{Name: p.name, Key: signer(p.name), Receive: map[entry.GenesisHash]Address{}, Exposure: map[Account]zk.Amount{}, MaxQuotes: 1000, MarginMillis: 1000}
	rates := ""
	var ledgers []Ledger
	for _, a := range p.world.ledgers {
		ledgers = append(ledgers, a.Ledger)
		c.Receive[a.Hash] = addressOf(p.name, a.Hash)
		c.Exposure[Account{a.Hash, 1}] = 1 << 40
		for _, b := range p.world.ledgers {
			if a != b {
				rates += fmt.Sprintf("%s/ONE,%s/ONE,3,2,25,0.01,1000000.00,60,30\n", a.Name, b.Name)
			}
		}
	}
	p.desk = must(NewDesk(c, p.records))
	p.desk.SetRates(must(ParseRates([]byte(rates), ledgers)))
	p.look()
}

func (p *provider) look() {
	for _, a := range p.world.ledgers {
		p.desk.SetStock(Account{a.Hash, 1}, zk.Amount(a.owns(p.name)))
		for _, b := range p.world.ledgers {
			if a != b && !a.frozen[b.Hash] {
				p.desk.SetCorridor(Corridor{a.Hash, b.Hash}, []uint64{1000, 1 << 40})
			}
		}
	}
}

func (p *provider) add(record []byte, err error) error {
	if err == nil && record != nil {
		if err = p.world.journal(&p.records, record); err == nil {
			err = p.desk.Add(record)
		} else {
			p.killed = true
		}
	}
	return err
}

func (p *provider) clock(decider entry.GenesisHash) Clock {
	return Clock{Now: p.world.now, Decider: p.world.ledger(decider).time}
}

var errDead = errors.New("no answer")

func (p *provider) quote(b []byte) ([]byte, error) {
	if p.dead || p.killed {
		return nil, errDead
	}
	req, err := ParseRequest(b)
	if err != nil {
		return nil, err
	}
	p.look()
	q, err := p.desk.Quote(req, p.world.now, p.world.rand)
	if err != nil {
		return nil, err
	}
	return q.Marshal(), nil
}

// handle answers an acceptance or a proceed message.
func (p *provider) handle(b []byte) ([]byte, error) {
	if p.dead || p.killed {
		return nil, errDead
	}
	p.look()
	var id ID
	if Kind(b[1]) == KindAcceptance {
		a, err := ParseAcceptance(b)
		if err != nil {
			return nil, err
		}
		id = a.Quote.ID()
		if a.Request.Decider != a.Request.To {
			rec, _, err := p.desk.Reserve(a, p.clock(a.Request.Decider))
			if err := p.add(rec, err); err != nil {
				return nil, err
			}
			if err := p.work(); err != nil {
				return nil, err
			}
			m, err := p.desk.Reservation(id)
			if err != nil {
				return nil, err
			}
			return m.Marshal(), nil
		}
		rec, _, err := p.desk.Accept(a, p.clock(a.Request.Decider))
		if err := p.add(rec, err); err != nil {
			return nil, err
		}
	} else {
		m, err := ParseProceed(b)
		if err != nil {
			return nil, err
		}
		id = m.Quote
		deal, err := p.desk.Deal(id)
		if err != nil {
			return nil, err
		}
		decider := deal.Acceptance.Request.Decider
		d, err := p.world.deciding(decider, m.Hold)
		if err != nil {
			return nil, err
		}
		rec, _, err := p.desk.Proceed(m, d, p.clock(decider))
		if err := p.add(rec, err); err != nil {
			return nil, err
		}
	}
	if err := p.work(); err != nil {
		return nil, err
	}
	m, err := p.desk.Placement(id)
	if err != nil {
		return nil, err
	}
	return m.Marshal(), nil
}

// work does what is unfinished: the one path of a first run and of a resumed one.
func (p *provider) work() error {
	for _, deal := range p.desk.Unfinished() {
		order := deal.ID.String()
		r := &deal.Acceptance.Request
		switch w := deal.Work(); {
		case w == nil:
			if deal.Stage == StagePlaced {
				if h := p.world.ledger(r.To).holds[deal.Hold]; h.outcome != 0 {
					if err := p.add(p.desk.Decided(deal.ID, h.outcome)); err != nil {
						return err
					}
				}
			}
		case w.Condition.Type == 0:
			if err := p.add(p.desk.Reserved(deal.ID, p.wallet.reserve(order, w))); err != nil {
				return err
			}
		default:
			id, err := p.wallet.place(order, w, w.Until)
			if err != nil {
				continue // tried again until it is overdue
			}
			if err := p.add(p.desk.Placed(deal.ID, id, p.wallet.notes[order])); err != nil {
				return err
			}
		}
	}
	for _, deal := range p.desk.Unfinished() {
		r := &deal.Acceptance.Request
		l := p.world.ledger(r.To) // a transaction that expires at Until is dead once its own ledger's time has passed it
		if deal.Stage < StagePlaced && l.time >= deal.Until && p.world.now >= deal.Until {
			if err := p.add(p.desk.Fail(deal.ID, DeadlinePassed)); err != nil {
				return err
			}
		}
	}
	return nil
}

// payer is a payment at its edge.
type payer struct {
	name      string
	world     *world
	wallet    *toyWallet
	providers []*provider
	records   [][]byte
	pay       *Payment
	dead      bool
}

func newPayer(w *world, name string, fixed Fixed, amount zk.Amount, providers []*provider, route ...*toyLedger) *payer {
	seed := sha256.Sum256([]byte("seed " + name))
	o := Order{ID: name, Fixed: fixed, Amount: amount, Limit: 1 << 40, Payee: addressOf("payee", route[len(route)-1].Hash), DeadlineMillis: w.now + 45_000,
		MarginMillis: 1000, Seed: seed[:]}
	if fixed == FixedPayer {
		o.Limit = 1
	}
	for _, l := range route {
		o.Route = append(o.Route, Stop{l.Hash, 1, 0, 2})
	}
	p := &payer{name: name, world: w, wallet: newWallet(w, name), providers: providers}
	p.records = [][]byte{must(StartPayment(o))}
	p.restart()
	return p
}

func (p *payer) restart() { p.pay = must(ReplayPayment(p.records)) }

func (p *payer) add(record []byte, err error) error {
	if err == nil && record != nil {
		if err = p.world.journal(&p.records, record); err == nil {
			err = p.pay.Add(record)
		}
	}
	return err
}

func (p *payer) clock() Clock {
	r := p.pay.Order.Route
	return Clock{Now: p.world.now, Decider: p.world.ledger(r[len(r)-1].Ledger).time}
}

func (p *payer) provider(key entry.SignerKey) *provider {
	for _, x := range p.providers {
		if x.desk.Provider() == key {
			return x
		}
	}
	return nil
}

// ask gets the best quote of the providers for one hop. Every provider but those that serve a neighbouring hop is asked.
func (p *payer) ask(hop int, amount zk.Amount, to Address, among []*provider) (*Request, *Quote, error) {
	req := p.pay.Order.Request(hop, amount, to)
	var quotes []*Quote
	for _, x := range among {
		if b, err := x.quote(req.Marshal()); err == nil {
			if q, err := ParseQuote(b); err == nil {
				quotes = append(quotes, q)
			}
		}
	}
	i, err := Best(req, 2, 2, p.world.now, quotes)
	if err != nil {
		return nil, nil, err
	}
	return req, quotes[i], nil
}

// choose asks hop by hop; the provider of a hop is one of those whose number is the hop's, modulo the hops.
func (p *payer) choose() error {
	o := &p.pay.Order
	n := o.hops()
	requests, quotes := make([]*Request, n), make([]*Quote, n)
	amount := o.Amount
	for i := range n {
		hop := i
		if o.Fixed == FixedPayee {
			hop = n - 1 - i
		}
		var among []*provider
		for j, x := range p.providers {
			if j%n == hop {
				among = append(among, x)
			}
		}
		to := o.Payee
		switch {
		case hop < n-1 && o.Fixed == FixedPayee:
			to = quotes[hop+1].Receive
		case hop < n-1: // the offer of the next provider: here there is one per hop
			to = addressOf(p.providers[hop+1].name, o.Route[hop+1].Ledger)
		}
		var err error
		if requests[hop], quotes[hop], err = p.ask(hop, amount, to, among); err != nil {
			return err
		}
		amount = quotes[hop].PayerAmount
		if o.Fixed == FixedPayer {
			amount = quotes[hop].PayeeAmount
		}
	}
	return p.add(p.pay.Choose(requests, quotes, p.clock()))
}

// step does what Next says, once. lost says that the answer to a message does not arrive.
func (p *payer) step(lost bool) error {
	todo := p.pay.Next(p.clock())
	send := func() ([]byte, error) {
		b, err := p.provider(todo.Provider).handle(todo.Message)
		if lost && err == nil {
			return nil, errDead
		}
		return b, err
	}
	// A provider's refusal by name ends the payment; silence does not.
	refused := func(err error) error {
		if code := CodeOf(err); code != "" && code != StepInvalid {
			return p.add(p.pay.GiveUp(code))
		}
		return nil
	}
	switch todo.Step {
	case StepQuote:
		if err := p.choose(); errors.Is(err, errKilled) {
			return err
		} else if err != nil {
			return p.add(p.pay.GiveUp(NoQuote))
		}
	case StepReserve:
		return p.add(p.pay.Reserved(p.wallet.reserve(p.name, todo.Placing)))
	case StepPromise:
		b, err := send()
		if err != nil {
			return refused(err)
		}
		return p.add(p.pay.Promise(must(ParseReservation(b))))
	case StepAccept:
		b, err := send()
		if err != nil {
			return refused(err)
		}
		m := must(ParsePlacement(b))
		d, err := p.world.deciding(m.Ledger, m.Hold)
		if err != nil {
			return err
		}
		if err := p.add(p.pay.Covered(m, d, p.clock())); errors.Is(err, errKilled) {
			return err
		} else if err != nil {
			return refused(err)
		}
	case StepProceed:
		b, err := send()
		if err != nil {
			return refused(err)
		}
		return p.add(p.pay.Follow(must(ParsePlacement(b))))
	case StepPlace:
		if err := p.add(p.pay.BeginPlacing(p.clock())); err != nil {
			return err
		}
		if id, err := p.wallet.place(p.name, todo.Placing, todo.Expiry); err == nil && !lost {
			return p.add(p.pay.Placed(id))
		}
	case StepFindHold:
		l := p.world.ledger(todo.Placing.Ledger)
		if tx := p.wallet.txs[p.name]; tx != nil {
			if id := (entry.HoldID{Tx: tx.ID()}); l.holds[id] != nil {
				return p.add(p.pay.Placed(id))
			}
		}
		if l.time >= todo.Expiry {
			return p.add(p.pay.NotPlaced(DeadlinePassed))
		}
	case StepAwait:
		if h := p.world.ledger(p.pay.Order.Route[0].Ledger).holds[p.pay.Hold]; h.outcome != 0 {
			return p.add(p.pay.Settled(h.outcome))
		}
	case StepGiveUp:
		return p.add(p.pay.GiveUp(todo.Code))
	}
	return nil
}
