package rig

import (
	"container/heap"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"slices"
	"sync"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Driver sends items to a ledger over its RPC, in calls spread over its callers.
type Driver struct {
	clients []ledgerv1connect.LedgerServiceClient
	watcher ledgerv1connect.LedgerServiceClient // follows what is final
}

// NewDriver drives a ledger on loopback as one caller, in the clear.
func NewDriver(url string, workers int) *Driver {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: workers, DisableCompression: true,
	}
	c := ledgerv1connect.NewLedgerServiceClient(&http.Client{Transport: transport}, url, connect.WithAcceptCompression("gzip", nil, nil))
	return &Driver{[]ledgerv1connect.LedgerServiceClient{c}, c}
}

// Status asks where the ledger stands.
func (d *Driver) Status(ctx context.Context) (*ledgerv1.GetStatusResponse, error) {
	s, err := d.watcher.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
	if err != nil {
		return nil, fmt.Errorf("status: %w", err)
	}
	return s, nil
}

// Plan says how items are sent.
type Plan struct {
	// Workers is how many calls may be under way, and Batch how many entries are in a call at most.
	Workers, Batch int
	// Rate is how many entries fall due in a second, whatever the ledger does (an open loop): latencies count from when an entry was due. 0 sends as
	// fast as calls are answered (a closed loop, which finds the peak).
	Rate float64
}

// tick is the least time between two calls of an open loop that are not full.
const tick = 2 * time.Millisecond

// Tally is what became of the items of one class.
type Tally struct {
	Sent, Accepted, Before int
	Refused                map[entry.Code]int
}

// Settled is an accepted item and where the log holds it.
type Settled struct {
	Item  *dataset.Item
	Index uint64

	due, sent time.Time
}

// Outcome is what a run found. Lists of times are ascending.
type Outcome struct {
	Elapsed   time.Duration // until the last answer
	DriverCPU time.Duration // of this process: driver, witness and collector
	Classes   map[dataset.Class]*Tally
	Again     int             // answers "try_later"
	Hints     []time.Duration // of those answers that gave one
	Settled   []Settled
	WireBytes int // of all items, once

	Durable       []time.Duration // of every accepted entry, from when it was due (or first sent) to the answer
	DurableFromGo []time.Duration // from the sending that was accepted
	Final         []time.Duration // as Durable, to a checkpoint that the quorum cosigned
	FinalFromGo   []time.Duration

	waiting []Settled // not final yet
}

// Payments is the number of real payees paid.
func (o *Outcome) Payments() (n int) {
	for class, t := range o.Classes {
		n += t.Accepted * class.Payments()
	}
	return n
}

// Accepted is the number of entries that became durable.
func (o *Outcome) Accepted() (n int) {
	for _, t := range o.Classes {
		n += t.Accepted
	}
	return n
}

// Refused is the number of entries refused by a name.
func (o *Outcome) Refused(code entry.Code) (n int) {
	for _, t := range o.Classes {
		n += t.Refused[code]
	}
	return n
}

// Percentile takes an ascending list and returns its p-th percentile, 0 without any.
func Percentile(ascending []time.Duration, p float64) time.Duration {
	if len(ascending) == 0 {
		return 0
	}
	return ascending[min(len(ascending)-1, int(p/100*float64(len(ascending))))]
}

// pending is an item on its way.
type pending struct {
	item *dataset.Item
	due  time.Time // zero in a closed loop until it is first sent
	sent time.Time // the last time
	next time.Time // when to send it again
}

// later are items that were put off, the next one due first.
type later []*pending

func (l later) Len() int           { return len(l) }
func (l later) Less(i, j int) bool { return l[i].next.Before(l[j].next) }
func (l later) Swap(i, j int)      { l[i], l[j] = l[j], l[i] }

// Push implements heap.Interface.
func (l *later) Push(x any) { *l = append(*l, x.(*pending)) }

// Pop implements heap.Interface.
func (l *later) Pop() any {
	last := len(*l) - 1
	p := (*l)[last]
	*l = (*l)[:last]
	return p
}

// run is one run of a driver.
type run struct {
	*Driver
	plan  Plan
	rung  chan struct{}
	o     *Outcome
	calls chan []*pending

	mu     sync.Mutex // guards o and what follows
	queue  []*pending
	again  later
	flying int
	failed error
}

// Run sends items and returns when each has its answer.
func (d *Driver) Run(ctx context.Context, items []dataset.Item, plan Plan) (*Outcome, error) {
	r := &run{Driver: d, plan: plan, rung: make(chan struct{}, 1), o: &Outcome{Classes: map[dataset.Class]*Tally{}}, calls: make(chan []*pending)}
	start, cpu := time.Now(), machine.CPU()
	all := make([]pending, len(items))
	r.queue = make([]*pending, len(items))
	for i := range items {
		all[i].item = &items[i]
		if plan.Rate > 0 {
			all[i].due = start.Add(time.Duration(float64(i) / plan.Rate * float64(time.Second)))
		}
		r.queue[i] = &all[i]
		r.o.WireBytes += items[i].Wire()
	}
	watching, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		r.watch(ctx, watching)
	}()
	var wait sync.WaitGroup
	for i := range plan.Workers {
		client := d.clients[i%len(d.clients)]
		wait.Go(func() {
			for work := range r.calls {
				r.call(ctx, client, work)
			}
		})
	}
	r.dispatch(ctx)
	close(r.calls)
	wait.Wait()
	r.o.Elapsed, r.o.DriverCPU = time.Since(start), machine.CPU()-cpu
	close(watching)
	<-watched
	for _, list := range [][]time.Duration{r.o.Durable, r.o.DurableFromGo, r.o.Final, r.o.FinalFromGo, r.o.Hints} {
		slices.Sort(list)
	}
	return r.o, errors.Join(r.failed, ctx.Err())
}

// dispatch gives what is due to the workers until everything has its answer.
func (r *run) dispatch(ctx context.Context) {
	var last time.Time
	for {
		work, wait, over := r.take(time.Now())
		if over || ctx.Err() != nil {
			return
		}
		if len(work) == 0 {
			pause := time.NewTimer(max(wait, tick/4))
			select {
			case <-pause.C:
			case <-r.rung:
			case <-ctx.Done():
			}
			pause.Stop()
			continue
		}
		r.calls <- work // workers always come back: a call ends with ctx
		if rest := tick - time.Since(last); r.plan.Rate > 0 && len(work) < r.plan.Batch && rest > 0 {
			time.Sleep(rest)
		}
		last = time.Now()
	}
}

// take returns what is due, or how long to wait.
func (r *run) take(now time.Time) (work []*pending, wait time.Duration, over bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.failed != nil || len(r.queue)+len(r.again)+r.flying == 0 {
		return nil, 0, true
	}
	wait = time.Second
	for len(work) < r.plan.Batch && len(r.again) > 0 {
		if until := r.again[0].next.Sub(now); until > 0 {
			wait = min(wait, until)
			break
		}
		work = append(work, heap.Pop(&r.again).(*pending))
	}
	for len(work) < r.plan.Batch && len(r.queue) > 0 {
		if until := r.queue[0].due.Sub(now); until > 0 {
			wait = min(wait, until)
			break
		}
		work, r.queue = append(work, r.queue[0]), r.queue[1:]
	}
	r.flying += len(work)
	return work, wait, false
}

// call sends entries in one call and books the answers.
func (r *run) call(ctx context.Context, client ledgerv1connect.LedgerServiceClient, work []*pending) {
	req := &ledgerv1.SubmitBatchRequest{}
	sent := time.Now()
	for _, p := range work {
		p.sent = sent
		if p.due.IsZero() {
			p.due = sent
		}
		req.Entries = append(req.Entries, &ledgerv1.SubmitRequest{Entry: p.item.Entry, Segments: p.item.Segments})
	}
	answers, err := send(ctx, client, req)
	now := time.Now()
	r.mu.Lock()
	r.flying -= len(work)
	if err != nil {
		r.failed = errors.Join(r.failed, err)
	} else {
		for i, p := range work {
			r.book(p, answers[i], now)
		}
	}
	r.mu.Unlock()
	select {
	case r.rung <- struct{}{}:
	default:
	}
}

func send(ctx context.Context, client ledgerv1connect.LedgerServiceClient, req *ledgerv1.SubmitBatchRequest) ([]*ledgerv1.SubmitResult, error) {
	resp, err := client.SubmitBatch(ctx, req)
	if err != nil {
		var refused *connect.Error
		if errors.As(err, &refused) && (refused.Code() == connect.CodeUnavailable || refused.Code() == connect.CodeResourceExhausted) {
			// The whole call was put off.
			later := &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Refused{Refused: &ledgerv1.ErrorDetail{Code: string(entry.TryLater), Detail: refused.Message()}}}
			return slices.Repeat([]*ledgerv1.SubmitResult{later}, len(req.Entries)), nil
		}
		return nil, fmt.Errorf("submit: %w", err)
	}
	if len(resp.GetResults()) != len(req.Entries) {
		return nil, fmt.Errorf("submit: %d results for %d entries", len(resp.GetResults()), len(req.Entries))
	}
	return resp.GetResults(), nil
}

// pause is how long a caller waits that is told to try later without a hint.
const pause = 20 * time.Millisecond

var hinted = regexp.MustCompile(`try again in ([0-9a-zµ.]+)`)

// book enters an answer. It is called with mu held.
func (r *run) book(p *pending, answer *ledgerv1.SubmitResult, now time.Time) {
	o := r.o
	code := entry.Code(answer.GetRefused().GetCode())
	if answer.GetAccepted() == nil && code == entry.TryLater {
		o.Again++
		p.next = now.Add(pause)
		if m := hinted.FindStringSubmatch(answer.GetRefused().GetDetail()); m != nil {
			if hint, err := time.ParseDuration(m[1]); err == nil {
				o.Hints = append(o.Hints, hint)
				p.next = now.Add(hint)
			}
		}
		heap.Push(&r.again, p)
		return
	}
	t := o.Classes[p.item.Class]
	if t == nil {
		t = &Tally{Refused: map[entry.Code]int{}}
		o.Classes[p.item.Class] = t
	}
	t.Sent++
	switch a := answer.GetAccepted(); {
	case a == nil:
		t.Refused[code]++
	case a.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE:
		t.Before++
	default:
		t.Accepted++
		o.Durable, o.DurableFromGo = append(o.Durable, now.Sub(p.due)), append(o.DurableFromGo, now.Sub(p.sent))
		s := Settled{p.item, a.GetEntryIndex(), p.due, p.sent}
		o.Settled, o.waiting = append(o.Settled, s), append(o.waiting, s)
	}
}

// watchEvery is how often what is final is looked at: as much is added to the times until final, at most.
const watchEvery = 5 * time.Millisecond

// watch follows the ledger's cosigned checkpoints and books when accepted entries become final, until all are, or until five seconds
// after done is closed.
func (r *run) watch(ctx context.Context, done <-chan struct{}) {
	var deadline time.Time
	for {
		select {
		case <-done:
			if deadline.IsZero() {
				deadline = time.Now().Add(5 * time.Second)
			}
		default:
		}
		status, err := r.watcher.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
		now := time.Now()
		r.mu.Lock()
		if err == nil {
			r.o.waiting = slices.DeleteFunc(r.o.waiting, func(s Settled) bool {
				if s.Index >= status.GetFinalSize() {
					return false
				}
				r.o.Final, r.o.FinalFromGo = append(r.o.Final, now.Sub(s.due)), append(r.o.FinalFromGo, now.Sub(s.sent))
				return true
			})
		}
		over := !deadline.IsZero() && (len(r.o.waiting) == 0 || now.After(deadline))
		r.mu.Unlock()
		if over || ctx.Err() != nil {
			return
		}
		time.Sleep(watchEvery)
	}
}
