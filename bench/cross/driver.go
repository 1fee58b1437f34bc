package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"
	"time"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// step is what happens to a payment, in this order. B decides and pays the payee, A follows and is paid by the payer.
type step int

const (
	quoted       step = iota // the payer has checked a signed quote
	heldB                    // the provider's hold is durable on B
	heldFinalB               // and under a cosigned checkpoint
	seenA                    // A has observed it
	heldA                    // the payer's hold is durable on A
	heldFinalA               //
	seenB                    // B has observed it
	decided                  // the decision is durable on B
	decidedFinal             // and under a cosigned checkpoint: the payee has the money
	decisionSeen             // A has observed the decision
	posted                   // the follower is durable on A
	postedFinal              // and under a cosigned checkpoint: both sides final
	steps
)

var stepNames = [steps]string{"quote given and checked", "B: provider's hold durable", "B: hold final", "A: has observed B", "A: payer's hold durable", "A: hold final", "B: has observed A",
	"B: decision durable", "B: decision final", "A: has observed the decision", "A: follower posted", "A: posting final"}

// payment is one on its way.
type payment struct {
	*premade
	holdB, holdA entry.HoldID
	follower     *entry.Transaction
	since        time.Time // when it was due
	at           [steps]time.Time
}

// waiter wants to know when a size has passed an index.
type waiter struct {
	index uint64
	then  func(size uint64, now time.Time)
}

// side is one ledger as the payers and providers see it.
type side struct {
	*mirror
	nation   *nation
	height   uint64 // anchors of the proofs
	queue    chan submission
	seen     map[entry.GenesisHash]uint64 // last size of each peer that this ledger has observed
	finals   []waiter
	observes map[entry.GenesisHash][]waiter
}

// submission is a hold on its way to a ledger.
type submission struct {
	item
	answered func(index uint64, now time.Time)
	refused  func(code entry.Code, detail string)
}

// driver is all payers and providers. It follows the logs like a wallet, and times what becomes of every payment.
type driver struct {
	sides  []*side
	byHash map[entry.GenesisHash]*side
	desk   *desk
	ctx    context.Context
	stop   context.CancelCauseFunc
	wait   sync.WaitGroup

	mu      sync.Mutex // guards what follows, the mirrors and the sides but for their queues
	holds   map[entry.HoldID]func(index uint64, outcome entry.Outcome, now time.Time)
	phase   *phase
	again   int // holds that were answered try_later
	refused map[string]int
}

// phase is a part of a run, in a closed loop or at a rate.
type phase struct {
	start    time.Time
	flying   int
	began    int
	done     []*payment // in the order in which they became final
	finished chan *payment
}

// maxCall is how many entries one call has.
const maxCall = 512

// callers is how many calls with holds may be on their way to one ledger; each takes what waits.
const callers = 4

func newDriver(ctx context.Context, nations []*nation, urls []string) (*driver, error) {
	d := &driver{byHash: map[entry.GenesisHash]*side{}, holds: map[entry.HoldID]func(uint64, entry.Outcome, time.Time){}, refused: map[string]int{}}
	d.ctx, d.stop = context.WithCancelCause(ctx)
	for i, n := range nations {
		m, err := newMirror(n, urls[i])
		if err != nil {
			return nil, err
		}
		s := &side{mirror: m, nation: n, queue: make(chan submission, 1<<16), seen: map[entry.GenesisHash]uint64{}, observes: map[entry.GenesisHash][]waiter{}}
		d.sides, d.byHash[n.hash] = append(d.sides, s), s
	}
	var err error
	if d.desk, err = newDesk(nations); err != nil {
		return nil, err
	}
	for _, s := range d.sides {
		s.follow(d.ctx, &d.wait, &d.mu, func(_ *mirror, b *ledgerv1.Block) { d.moved(s, b) }, d.stop)
		for range callers {
			d.wait.Go(func() { d.submit(s) })
		}
	}
	return d, nil
}

func (d *driver) close() error {
	err := context.Cause(d.ctx)
	d.stop(nil)
	d.wait.Wait()
	return err
}

// ready waits until every ledger has observed every other: before, a corridor is stale.
func (d *driver) ready() error {
	patience := time.NewTimer(30 * time.Second)
	defer patience.Stop()
	for {
		d.mu.Lock()
		open := 0
		for _, s := range d.sides {
			open += len(s.seen)
		}
		d.mu.Unlock()
		if open == len(d.sides)*(len(d.sides)-1) {
			return nil
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-patience.C:
			return fmt.Errorf("%d corridors were observed in 30 s, want %d", open, len(d.sides)*(len(d.sides)-1))
		case <-d.ctx.Done():
			return context.Cause(d.ctx)
		}
	}
}

// moved reads a block, or hears that the final head of a ledger moved. Called with mu held.
func (d *driver) moved(s *side, b *ledgerv1.Block) {
	now := time.Now()
	if b == nil {
		pass(s.finals, s.final.Size, func(later []waiter) { s.finals = later }, now)
		return
	}
	for i, leaf := range b.GetEntries() {
		kind, err := entry.KindOf(leaf)
		if err != nil {
			d.stop(err)
			return
		}
		if kind != entry.KindObserve && kind != entry.KindResolve {
			continue
		}
		e, err := entry.Decode(leaf)
		if err != nil {
			d.stop(err)
			return
		}
		switch e := e.(type) {
		case *entry.Observe:
			s.seen[e.Peer] = e.Size
			pass(s.observes[e.Peer], e.Size, func(later []waiter) { s.observes[e.Peer] = later }, now)
		case *entry.Resolve:
			if then := d.holds[e.Hold]; then != nil {
				delete(d.holds, e.Hold)
				then(b.GetFirstIndex()+uint64(i), e.Outcome, now)
			}
		}
	}
}

// pass takes the waiters whose index lies below size out of a list and calls them. A waiter may add others, to this list as well.
func pass(list []waiter, size uint64, keep func([]waiter), now time.Time) {
	var due, later []waiter
	for _, w := range list {
		if w.index < size {
			due = append(due, w)
		} else {
			later = append(later, w)
		}
	}
	keep(later)
	for _, w := range due {
		w.then(size, now)
	}
}

// whenFinal calls then once a cosigned checkpoint covers an entry. Called with mu held.
func (s *side) whenFinal(index uint64, then func(size uint64, now time.Time)) {
	if s.final.Size > index {
		then(s.final.Size, time.Now())
		return
	}
	s.finals = append(s.finals, waiter{index, then})
}

// whenSeen calls then once this ledger has observed a peer's entry. Called with mu held.
func (s *side) whenSeen(peer *side, index uint64, then func(size uint64, now time.Time)) {
	if size := s.seen[peer.hash]; size > index {
		then(size, time.Now())
		return
	}
	s.observes[peer.hash] = append(s.observes[peer.hash], waiter{index, then})
}

// submit sends what waits for a ledger, up to maxCall holds at once, until the driver ends.
func (d *driver) submit(s *side) {
	for {
		var batch []submission
		select {
		case one := <-s.queue:
			batch = append(batch, one)
		case <-d.ctx.Done():
			return
		}
	more:
		for len(batch) < maxCall {
			select {
			case one := <-s.queue:
				batch = append(batch, one)
			default:
				break more
			}
		}
		request := &ledgerv1.SubmitBatchRequest{}
		for _, one := range batch {
			request.Entries = append(request.Entries, &ledgerv1.SubmitRequest{Entry: one.Entry, Segments: one.Segments})
		}
		answer, err := s.client.SubmitBatch(d.ctx, request)
		now := time.Now()
		if err == nil && len(answer.GetResults()) != len(batch) {
			err = fmt.Errorf("%d results for %d entries", len(answer.GetResults()), len(batch))
		}
		if err != nil {
			d.stop(fmt.Errorf("submit to %s: %w", s.nation.name, err))
			return
		}
		d.mu.Lock()
		for i, one := range batch {
			r := answer.GetResults()[i]
			switch code := entry.Code(r.GetRefused().GetCode()); {
			case r.GetAccepted() != nil:
				one.answered(r.GetAccepted().GetEntryIndex(), now)
			case code == entry.TryLater:
				d.again++
				time.AfterFunc(10*time.Millisecond, func() { s.queue <- one })
			default:
				d.refused[string(code)]++
				one.refused(code, r.GetRefused().GetDetail())
			}
		}
		d.mu.Unlock()
	}
}

// begin starts a payment that was due at since: it gets a quote, and the provider places its hold. Called without mu.
func (d *driver) begin(p *premade, since time.Time) error {
	x := &payment{premade: p, since: since}
	if err := d.desk.quote(p.From, p.To); err != nil {
		return err
	}
	x.at[quoted] = time.Now()
	decider, err := entry.DecodeTransaction(p.Decider.Entry)
	if err != nil {
		return err
	}
	if x.follower, err = entry.DecodeTransaction(p.Follower.Entry); err != nil {
		return err
	}
	a, b := d.sides[p.From], d.sides[p.To]
	x.holdB, x.holdA = entry.HoldID{Tx: decider.ID()}, entry.HoldID{Tx: x.follower.ID()}
	decider.Legs[0].Anchor = b.height
	leaf := decider.Encode()
	d.mu.Lock()
	d.phase.flying++
	d.phase.began++
	d.holds[x.holdB] = func(index uint64, outcome entry.Outcome, now time.Time) { d.decided(x, index, outcome, now) }
	d.holds[x.holdA] = func(index uint64, outcome entry.Outcome, now time.Time) { d.followed(x, index, outcome, now) }
	d.mu.Unlock()
	b.queue <- submission{item{leaf, p.Decider.Segments}, func(index uint64, now time.Time) {
		x.at[heldB] = now
		b.whenFinal(index, func(_ uint64, now time.Time) {
			x.at[heldFinalB] = now
			a.whenSeen(b, index, func(size uint64, now time.Time) {
				x.at[seenA] = now
				b.whenFinal(size-1, func(uint64, time.Time) { d.pay(x, index, size) }) // A may hear of a block of B before we do
			})
		})
	}, d.refuses(x, "provider's hold")}
	return nil
}

// pay places the payer's hold with the proof of the provider's. Called with mu held.
func (d *driver) pay(x *payment, index, size uint64) {
	a, b := d.sides[x.From], d.sides[x.To]
	leg := &x.follower.Legs[0]
	var err error
	if leg.Peer, err = b.prove(index, size); err != nil {
		d.stop(err)
		return
	}
	leg.Anchor = a.height
	a.queue <- submission{item{x.follower.Encode(), x.Follower.Segments}, func(index uint64, now time.Time) {
		x.at[heldA] = now
		a.whenFinal(index, func(_ uint64, now time.Time) { x.at[heldFinalA] = now })
		b.whenSeen(a, index, func(_ uint64, now time.Time) { x.at[seenB] = now })
	}, d.refuses(x, "payer's hold")}
}

// decided hears of the decision. Called with mu held.
func (d *driver) decided(x *payment, index uint64, outcome entry.Outcome, now time.Time) {
	a, b := d.sides[x.From], d.sides[x.To]
	if outcome != entry.Posted {
		d.stop(fmt.Errorf("a payment was %s", outcome))
		return
	}
	x.at[decided] = now
	b.whenFinal(index, func(_ uint64, now time.Time) {
		x.at[decidedFinal] = now
		d.over(x)
	})
	a.whenSeen(b, index, func(_ uint64, now time.Time) { x.at[decisionSeen] = now })
}

// followed hears that the follower was decided. Called with mu held.
func (d *driver) followed(x *payment, index uint64, outcome entry.Outcome, now time.Time) {
	if outcome != entry.Posted {
		d.stop(fmt.Errorf("the follower of a payment was %s", outcome))
		return
	}
	x.at[posted] = now
	d.sides[x.From].whenFinal(index, func(_ uint64, now time.Time) {
		x.at[postedFinal] = now
		d.over(x)
	})
}

// over books a payment of which both sides are final. Called with mu held.
func (d *driver) over(x *payment) {
	if x.at[postedFinal].IsZero() || x.at[decidedFinal].IsZero() {
		return
	}
	d.phase.flying--
	d.phase.done = append(d.phase.done, x)
	d.phase.finished <- x
}

func (d *driver) refuses(x *payment, what string) func(entry.Code, string) {
	return func(code entry.Code, detail string) {
		d.stop(fmt.Errorf("the %s of a payment from %s to %s was refused: %s: %s", what, d.sides[x.From].nation.name, d.sides[x.To].nation.name, code, detail))
	}
}

// result is what a phase found.
type result struct {
	payments []*payment    // that began and ended in the phase, in the order of their ends
	window   time.Duration // of the middle, which is counted
	counted  int           // payments that became final in the window
	behind   time.Duration // an open loop: how late the last payment began
	again    int
	refused  map[string]int
}

// run makes payments for a time: a rate of 0 keeps so many on their way at any time (a closed loop, which finds the peak); with one, payments
// fall due at that rate whatever becomes of those before (an open loop), and latencies count from when one was due. It counts what becomes
// final after a warm-up and before the last payment begins, and waits for all.
func (d *driver) run(list []premade, rate float64, flying int, duration, warm time.Duration) (*result, int, error) {
	p := &phase{start: time.Now(), finished: make(chan *payment, 1<<17)}
	d.mu.Lock()
	d.phase = p
	again := d.again
	d.mu.Unlock()
	var out result
	used, over := 0, 0
	end := p.start.Add(duration)
	for ; used < len(list); used++ {
		var due time.Time
		if rate > 0 {
			due = p.start.Add(time.Duration(float64(used) / rate * float64(time.Second)))
			if due.After(end) {
				break
			}
			if wait := time.Until(due); wait > 0 {
				select {
				case <-time.After(wait):
				case <-d.ctx.Done():
				}
			}
			out.behind = max(0, time.Since(due))
		} else {
			for used-over >= flying {
				select {
				case <-p.finished:
					over++
				case <-d.ctx.Done():
					return nil, used, context.Cause(d.ctx)
				}
			}
			if due = time.Now(); due.After(end) {
				break
			}
		}
		if d.ctx.Err() != nil {
			return nil, used, context.Cause(d.ctx)
		}
		if err := d.begin(&list[used], due); err != nil {
			return nil, used, err
		}
	}
	last := time.Now()
	patience := time.NewTimer(time.Minute)
	defer patience.Stop()
	for ; over < used; over++ {
		select {
		case <-p.finished:
		case <-patience.C:
			return nil, used, fmt.Errorf("%d of %d payments are not final a minute after the last began: %s", used-over, used, d.where())
		case <-d.ctx.Done():
			return nil, used, context.Cause(d.ctx)
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	out.payments, out.again, out.refused = p.done, d.again-again, maps.Clone(d.refused)
	from := p.start.Add(warm)
	out.window = last.Sub(from)
	for _, x := range p.done {
		if t := latest(x); t.After(from) && !t.After(last) {
			out.counted++
		}
	}
	if out.window <= 0 {
		return nil, used, errors.New("the payments were used up before the warm-up was over: make more")
	}
	return &out, used, nil
}

// latest is when both sides of a payment were final.
func latest(x *payment) time.Time {
	if x.at[decidedFinal].After(x.at[postedFinal]) {
		return x.at[decidedFinal]
	}
	return x.at[postedFinal]
}

// where says what the driver waits for, for an error.
func (d *driver) where() string {
	d.mu.Lock()
	defer d.mu.Unlock()
	text := fmt.Sprintf("%d holds open", len(d.holds))
	for _, s := range d.sides {
		text += fmt.Sprintf("; %s: %d entries, %d final, %d wait for that", s.nation.name, len(s.leaves), s.final.Size, len(s.finals))
		for peer, list := range s.observes {
			text += fmt.Sprintf(", %d for %s (seen %d)", len(list), d.byHash[peer].nation.name, s.seen[peer])
		}
	}
	return text
}
