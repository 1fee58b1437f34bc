package bridgecmd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// account is a ledger of a provider, with its wallet there; a ledger that is only read has none.
type account struct {
	*ledger
	peers  map[entry.GenesisHash]bool // of every corridor that was ever seen here; guarded by the provider's mu
	mu     sync.Mutex                 // guards wallet, which serves one caller at a time
	wallet *walletcmd.Wallet
}

// order is the wallet's order for the provider's hold of a deal. Its id is the quote's, so that a wallet asked twice places once.
func (a *account) order(id bridge.ID, p *bridge.Placing) *wallets.Order {
	return &wallets.Order{ID: id.String(), To: p.Payee.Text(a.genesis.Prefix, a.hash), Asset: p.Money.Asset, Amount: p.Money.Amount,
		Programme: p.Money.Programme, CreatedMillis: uint64(time.Now().UnixMilli())}
}

// provider runs a desk: it carries out what the desk decides, on wallets and ledgers. Every record of the desk is durable before anything
// follows from it, and every hold is an order of a wallet under the quote's id; so a provider that is killed at any moment goes on where it
// was and pays nothing twice.
type provider struct {
	accounts []*account
	byHash   map[entry.GenesisHash]*account
	name     string
	log      *slog.Logger
	run      context.Context // of work that outlives the call which began it

	mu   sync.Mutex // guards what follows
	desk *bridge.Desk
	book *book
	jobs map[bridge.ID]*job
	rest map[bridge.ID]resting
	wait sync.WaitGroup // for jobs

	callers callers
}

// resting is a hold that could not be placed. One that was refused is tried again later and later, because every try may cost a proof.
type resting struct {
	until time.Time
	pause time.Duration
	err   error
}

const (
	restFirst = time.Second
	restMost  = 30 * time.Second
)

// job places or reserves one hold. Calls that need its result wait for it; it goes on without them.
type job struct {
	done chan struct{}
	err  error
}

// maxJobs bounds the holds that are in the making at once.
const maxJobs = 256

// finality is how long a provider waits for witnesses before it asks again.
const finality = 30 * time.Second

// deskKey is the provider's signing key: the seed of its book.
func deskKey(b *book) ed25519.PrivateKey {
	seed := b.Secrets().Seed
	return ed25519.NewKeyFromSeed(seed[:])
}

// add makes a record of the desk durable and folds it in. The caller holds mu.
func (p *provider) add(record []byte, err error) error {
	if err != nil || record == nil {
		return err
	}
	if err := p.book.Append(record); err != nil {
		return fmt.Errorf("write the provider's journal: %w", err)
	}
	return p.desk.Add(record)
}

// clock tells the time here and at a deciding ledger.
func (p *provider) clock(ctx context.Context, decider entry.GenesisHash) (bridge.Clock, error) {
	c := bridge.Clock{Now: uint64(time.Now().UnixMilli())}
	a := p.byHash[decider]
	if a == nil {
		return c, bridge.Refuse(bridge.LedgerUnknown, "this provider does not read ledger %s", decider)
	}
	s, _, err := a.state(ctx)
	if err != nil {
		return c, later(err)
	}
	c.Decider = s.TimeMillis
	return c, nil
}

// later makes a ledger that cannot be reached a reason to try again, and keeps every named refusal.
func later(err error) error {
	if err == nil || rpc.CodeOf(err) != "" || errors.Is(err, context.Canceled) {
		return err
	}
	return &rpc.Refusal{Code: rpc.TryLater, Detail: "the provider cannot reach a ledger now"}
}

// Offers implements rpc.Provider.
func (p *provider) Offers(context.Context) (rpc.Offers, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	o := rpc.Offers{Provider: p.desk.Provider(), Name: p.name}
	for _, r := range p.desk.Offers() {
		o.Pairs = append(o.Pairs, rpc.Pair{FromLedger: r.From.Ledger, FromAsset: r.From.Asset, ToLedger: r.To.Ledger, ToAsset: r.To.Asset,
			Mid: r.Mid, SpreadBasisPoints: r.SpreadBasisPoints, Least: r.Minimum, Most: r.Maximum, Receive: r.Receive})
	}
	return o, nil
}

// Quote implements rpc.Provider.
func (p *provider) Quote(_ context.Context, b []byte) ([]byte, error) {
	req, err := bridge.ParseRequest(b)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	q, err := p.desk.Quote(req, uint64(time.Now().UnixMilli()), rand.Reader)
	if err != nil {
		return nil, err
	}
	p.log.Info("quoted", "quote", q.ID(), "from", p.nameOf(req.From), "to", p.nameOf(req.To))
	return q.Marshal(), nil
}

func (p *provider) nameOf(hash entry.GenesisHash) string {
	if a := p.byHash[hash]; a != nil {
		return a.name
	}
	return hash.String()
}

// Accept implements rpc.Provider.
func (p *provider) Accept(ctx context.Context, b []byte) ([]byte, error) {
	a, err := bridge.ParseAcceptance(b)
	if err != nil {
		return nil, err
	}
	c, err := p.clock(ctx, a.Request.Decider)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	record, _, err := p.desk.Accept(a, c)
	if record != nil && len(p.jobs) >= maxJobs {
		err = &rpc.Refusal{Code: rpc.TryLater, Detail: "too many holds are in the making"}
	}
	err = p.add(record, err)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	if record != nil {
		p.log.InfoContext(ctx, "accepted", "quote", a.Quote.ID(), "on", p.nameOf(a.Request.To))
	}
	return p.placement(ctx, a.Quote.ID())
}

// Reserve implements rpc.Provider.
func (p *provider) Reserve(ctx context.Context, b []byte) ([]byte, error) {
	a, err := bridge.ParseAcceptance(b)
	if err != nil {
		return nil, err
	}
	c, err := p.clock(ctx, a.Request.Decider)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	record, _, err := p.desk.Reserve(a, c)
	err = p.add(record, err)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	id := a.Quote.ID()
	if err := p.work(ctx, id); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m, err := p.desk.Reservation(id)
	if err != nil {
		return nil, err
	}
	return m.Marshal(), nil
}

// Proceed implements rpc.Provider.
func (p *provider) Proceed(ctx context.Context, b []byte) ([]byte, error) {
	m, err := bridge.ParseProceed(b)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	deal, err := p.desk.Deal(m.Quote)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	decider := deal.Acceptance.Request.Decider
	c, err := p.clock(ctx, decider)
	if err != nil {
		return nil, err
	}
	var deciding *bridge.Deciding
	if deal.Stage == bridge.StageReserved { // a repeat needs no second look: the hold may be decided by now
		if deciding, _, err = p.byHash[decider].deciding(ctx, m.Hold, finality); err != nil {
			return nil, later(err)
		}
	} else {
		deciding = &bridge.Deciding{}
	}
	p.mu.Lock()
	record, _, err := p.desk.Proceed(m, deciding, c)
	err = p.add(record, err)
	p.mu.Unlock()
	if err != nil {
		return nil, err
	}
	return p.placement(ctx, m.Quote)
}

// Payment implements rpc.Provider.
func (p *provider) Payment(_ context.Context, quote [32]byte) ([]byte, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	s, err := p.desk.Status(quote)
	if err != nil {
		return nil, err
	}
	return s.Marshal(), nil
}

// placement works until the hold of a deal is placed and answers with where it is.
func (p *provider) placement(ctx context.Context, id bridge.ID) ([]byte, error) {
	if err := p.work(ctx, id); err != nil {
		return nil, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	m, err := p.desk.Placement(id)
	if err != nil {
		return nil, err
	}
	return m.Marshal(), nil
}

// work carries out what a deal calls for, once at a time, and waits for it as long as the call lasts.
func (p *provider) work(ctx context.Context, id bridge.ID) error {
	p.callers.asks(ctx, id)
	j, err := p.start(id)
	if j == nil || err != nil {
		return err
	}
	select {
	case <-j.done:
		return later(j.err)
	case <-ctx.Done():
		return ctx.Err()
	}
}

// start begins the work of a deal, or joins it; nil means that there is none.
func (p *provider) start(id bridge.ID) (*job, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	deal, err := p.desk.Deal(id)
	if err != nil {
		return nil, err
	}
	if j := p.jobs[id]; j != nil {
		return j, nil
	}
	w := deal.Work()
	if w == nil {
		return nil, nil
	}
	if r, resting := p.rest[id]; resting && time.Now().Before(r.until) {
		return nil, later(r.err)
	}
	if p.run.Err() != nil {
		return nil, &rpc.Refusal{Code: rpc.TryLater, Detail: "the provider is stopping"}
	}
	j := &job{done: make(chan struct{})}
	p.jobs[id] = j
	p.wait.Go(func() {
		j.err = p.callers.work(p.run, deal, func(ctx context.Context) error {
			if deal.Stage == bridge.StageAccepted && !deal.Last() {
				return p.reserve(ctx, deal, w)
			}
			return p.place(ctx, deal, w)
		})
		if j.err != nil {
			p.log.Warn("a hold is not placed yet", "quote", id, "on", p.nameOf(w.Ledger), "error", j.err)
		}
		p.mu.Lock()
		delete(p.jobs, id)
		if j.err == nil {
			delete(p.rest, id)
		} else {
			pause := restFirst
			if !transient(j.err) {
				pause = min(max(restFirst, 2*p.rest[id].pause), restMost)
			}
			p.rest[id] = resting{time.Now().Add(pause), pause, j.err}
		}
		p.mu.Unlock()
		close(j.done)
	})
	return j, nil
}

// reserve has the wallet fix the output of a hold that will follow.
func (p *provider) reserve(ctx context.Context, deal *bridge.Deal, w *bridge.Placing) error {
	a := p.byHash[w.Ledger]
	a.mu.Lock()
	draft, err := a.wallet.Reserve(ctx, a.order(deal.ID, w), nil)
	a.mu.Unlock()
	if err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.add(p.desk.Reserved(deal.ID, draft.Opening()))
}

// place has the wallet place the provider's hold, waits until it is final and tells the desk.
func (p *provider) place(ctx context.Context, deal *bridge.Deal, w *bridge.Placing) error {
	a := p.byHash[w.Ledger]
	attach := func(tx *entry.Transaction) error {
		decider := p.byHash[deal.Acceptance.Request.Decider]
		index, err := decider.placedAt(ctx, deal.Decider)
		if err != nil {
			return err
		}
		tx.Legs[0].Peer, err = a.prove(ctx, decider.ledger, index)
		return err
	}
	a.mu.Lock()
	held, err := a.wallet.HoldBefore(ctx, a.order(deal.ID, w), func(h *wallets.HoldDraft) (entry.Condition, uint64, error) {
		if deal.Opening != nil && h.Opening() != *deal.Opening {
			return entry.Condition{}, 0, bridge.Refuse(bridge.OpeningMismatch, "the ledger's oversight key changed after the reservation")
		}
		return w.Condition, w.SizeClass, nil
	}, attach, w.Until, 0, nil)
	var opening zk.Note
	if err == nil {
		opening, err = payeeNote(held.Payment.Attempt)
	}
	if err == nil {
		err = p.bookDecisions(a) // the wallet has just read its ledger, and holds that follow one another leave no time to read it again
	}
	a.mu.Unlock()
	if err != nil {
		return err
	}
	if _, err := a.final(ctx, held.Payment.Settled.Entry, finality); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.add(p.desk.Placed(deal.ID, held.Hold, opening)); err != nil {
		return err
	}
	p.log.InfoContext(ctx, "placed", "quote", deal.ID, "on", a.name, "hold", held.Hold)
	return nil
}

// payeeNote is the opening of the output that a hold pays.
func payeeNote(a *wallets.Attempt) (zk.Note, error) {
	for _, sent := range a.Outputs {
		if sent.Purpose == wallets.ToPayee {
			return sent.Note, nil
		}
	}
	return zk.Note{}, errors.New("a hold without a payee")
}

// resume begins the work that a kill, a refusal or a ledger out of reach left undone, books what was decided, and gives up what is overdue.
func (p *provider) resume(ctx context.Context) {
	// The ledgers are read first: a desk that does not know its stock quotes nothing, and a hold in the making keeps the wallet busy.
	for _, a := range p.accounts {
		if a.wallet == nil {
			continue
		}
		if err := p.follow(ctx, a); err != nil && ctx.Err() == nil {
			p.log.Warn("a ledger cannot be read", "ledger", a.name, "error", err)
		}
	}
	p.mu.Lock()
	deals := p.desk.Unfinished()
	p.mu.Unlock()
	for _, deal := range deals {
		if deal.Stage != bridge.StagePlaced && deal.Work() != nil {
			_, _ = p.start(deal.ID) // a job that fails says so itself
		}
	}
}

// follow reads a wallet's ledger: what the wallet owns, and what became of the provider's holds there.
func (p *provider) follow(ctx context.Context, a *account) error {
	if !a.mu.TryLock() { // a hold is in the making, which reads the ledger as well
		return nil
	}
	defer a.mu.Unlock()
	if err := a.wallet.Sync(ctx, nil); err != nil {
		return err
	}
	return p.bookDecisions(a)
}

// bookDecisions tells the desk what a wallet has read. The caller holds the account's mu.
func (p *provider) bookDecisions(a *account) error {
	s, o := a.wallet.State(), a.wallet.Outbox()
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, deal := range p.desk.Unfinished() {
		r := &deal.Acceptance.Request
		if r.To != a.hash {
			continue
		}
		if deal.Stage == bridge.StagePlaced {
			if h, ok := s.HoldOf(deal.Hold); ok && h.Outcome != 0 {
				if err := p.add(p.desk.Decided(deal.ID, h.Outcome)); err != nil {
					return err
				}
				p.log.Info(h.Outcome.String(), "quote", deal.ID, "on", a.name, "hold", deal.Hold)
			}
			continue
		}
		// The ledger takes no hold whose time has passed, so an order without a transaction that may still settle never settles.
		if now := max(uint64(time.Now().UnixMilli()), s.TimeMillis()); now < deal.Until || p.jobs[deal.ID] != nil {
			continue
		}
		if order, known := o.Order(deal.ID.String()); known && s.PaymentOf(o, order).Stage != wallets.Dead {
			continue
		}
		if err := p.add(p.desk.Fail(deal.ID, bridge.DeadlinePassed)); err != nil {
			return err
		}
		delete(p.rest, deal.ID)
		p.log.Info("given up", "quote", deal.ID, "on", a.name)
	}
	for _, h := range o.Reservations() { // a kill may have come between giving up and freeing the notes
		if id, err := bridge.ParseID(h.Order()); err == nil {
			if deal, err := p.desk.Deal(id); err == nil && deal.Stage == bridge.StageFailed {
				if err := a.wallet.Unreserve(h.Order()); err != nil {
					return err
				}
			}
		}
	}
	all, _ := s.Balances(o)
	for _, asset := range a.genesis.Assets {
		var stock zk.Amount
		for _, b := range all {
			if b.Asset == asset.ID && b.Programme == 0 {
				stock = b.Amount
			}
		}
		p.desk.SetStock(bridge.Account{Ledger: a.hash, Asset: asset.ID}, stock)
	}
	return nil
}

// corridors tells the desk through which corridors holds may be placed, and shows a ledger its peer before the corridor grows stale: a
// provider lives on open corridors.
func (p *provider) corridors(ctx context.Context) {
	for _, a := range p.accounts {
		open, err := a.Corridors(ctx)
		if err != nil {
			if ctx.Err() == nil {
				p.log.Warn("the corridors cannot be read", "ledger", a.name, "error", err)
			}
			open = nil
		}
		usable := map[entry.GenesisHash][]uint64{}
		for _, c := range open {
			if c.State == "active" {
				usable[c.Peer] = c.Terms.SizeClasses
			}
			peer := p.byHash[c.Peer]
			due := c.ObservedAt + c.Terms.StaleMillis/2
			if peer == nil || c.State == "frozen" || uint64(time.Now().UnixMilli()) < due {
				continue
			}
			brief, cancel := context.WithTimeout(ctx, 10*time.Second)
			if _, err := a.observe(brief, peer.ledger, c.Size+1); err == nil {
				usable[c.Peer] = c.Terms.SizeClasses
			} else if ctx.Err() == nil {
				p.log.Warn("a corridor grows stale", "ledger", a.name, "peer", peer.name, "error", err)
			}
			cancel()
		}
		p.mu.Lock()
		for _, c := range open {
			a.peers[c.Peer] = true // also one that this provider has no address of: its holds may follow the same decision
		}
		for peer := range a.peers {
			p.desk.SetCorridor(bridge.Corridor{On: a.hash, Peer: peer}, usable[peer])
		}
		p.mu.Unlock()
	}
}

// position is a row of the inventory report.
type position struct {
	Ledger   string `json:"ledger"`
	Asset    string `json:"asset"`
	Decimals uint8  `json:"decimals"`
	Known    bool   `json:"known"`
	Stock    string `json:"stock"` // minor units, as every amount here
	Quoted   string `json:"quoted"`
	Promised string `json:"promised"`
	Waiting  string `json:"waiting"`
	Incoming string `json:"incoming"`
	Paid     string `json:"paid"`
	Received string `json:"received"`
	Limit    string `json:"limit"`
}

// inventory reports what the provider owns and owes.
func (p *provider) inventory() []position {
	p.mu.Lock()
	defer p.mu.Unlock()
	rows := []position{}
	for _, x := range p.desk.Inventory(uint64(time.Now().UnixMilli())) {
		row := position{Ledger: p.nameOf(x.Ledger), Known: x.Known, Stock: cli.MinorUnits(x.Stock), Quoted: cli.MinorUnits(x.Quoted), Promised: cli.MinorUnits(x.Promised),
			Waiting: cli.MinorUnits(x.Waiting), Incoming: cli.MinorUnits(x.Incoming), Paid: cli.MinorUnits(x.Paid), Received: cli.MinorUnits(x.Received),
			Limit: cli.MinorUnits(x.Limit)}
		if a := p.byHash[x.Ledger]; a != nil {
			if asset, ok := a.genesis.Asset(x.Asset); ok {
				row.Asset, row.Decimals = asset.Code, asset.Decimals
			}
		}
		rows = append(rows, row)
	}
	return rows
}

// unfinished counts the deals that go on.
func (p *provider) unfinished() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.desk.Unfinished())
}
