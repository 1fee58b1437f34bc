package node

import (
	"context"
	"errors"
	"sync"
	"time"

	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Forwarded is an entry on its way to the node that sequences.
type Forwarded struct {
	Leaf     []byte
	Segments [][]byte
	// Lane is the caller who sent it here, as WithCaller has it.
	Lane string
	// Voucher says that this node has checked its proofs; empty where it has not.
	Voucher []byte
	// TraceParent is its trace in the form of W3C; empty where it is not traced.
	TraceParent string
}

// Answer is what the node that sequences says of an entry: a result, or an *entry.Refusal as Err. Any other Err means that nothing is known.
type Answer struct {
	Result settlement.Result
	Err    error
}

const (
	// gathering is how long an entry waits for others to share its call. Under load most come together, out of one batch of proofs.
	gathering = 2 * time.Millisecond
	// relayEntries and relayBytes bound what goes into one call.
	relayEntries = 512
	relayBytes   = 8 << 20
	// relayCalls and lanesCalls are how many calls may be under way, of what is vouched for and of what is not, each caller by itself. A call
	// ends with its slowest entry: behind a caller who rests, no other waits.
	relayCalls = 8
	lanesCalls = 2
	// relayTimeout is more than a node that sequences takes for a call: it bounds calls by itself.
	relayTimeout = 90 * time.Second
)

// outbox is what waits to be forwarded: all that is vouched for, or what is not of one caller.
type outbox struct {
	vouched bool
	lane    string
}

type outward struct {
	tasks []*task
	since time.Time // when the first of them came
	calls int       // under way
}

// relay forwards what is proven here, or is not this node's to judge, until the node ends.
func (n *Node) relay() {
	var calls sync.WaitGroup
	defer calls.Wait()
	boxes := map[outbox]*outward{}
	ended := make(chan outbox)
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	take := func(t *task) {
		box := outbox{vouched: true}
		if t.ready {
			box = outbox{lane: t.lane.caller}
		}
		b := boxes[box]
		if b == nil {
			b = &outward{}
			boxes[box] = b
		}
		if len(b.tasks) == 0 {
			b.since = time.Now()
		}
		b.tasks = append(b.tasks, t)
	}
	for {
		select {
		case t := <-n.proven:
			take(t)
		case box := <-ended:
			boxes[box].calls--
		case <-timer.C:
		case <-n.ctx.Done():
			return
		}
		for more := true; more; {
			select {
			case t := <-n.proven:
				take(t)
			default:
				more = false
			}
		}
		next := time.Hour
		for box, b := range boxes {
			for b.calls < box.limit() && len(b.tasks) > 0 {
				if wait := gathering - time.Since(b.since); wait > 0 && len(b.tasks) < relayEntries {
					next = min(next, wait)
					break
				}
				batch := b.cut()
				b.calls++
				calls.Go(func() {
					n.relayed(batch, box.vouched)
					select {
					case ended <- box:
					case <-n.ctx.Done():
					}
				})
			}
			if b.calls == 0 && len(b.tasks) == 0 {
				delete(boxes, box)
			}
		}
		timer.Reset(next)
	}
}

func (o outbox) limit() int {
	if o.vouched {
		return relayCalls
	}
	return lanesCalls
}

// cut takes the next call's entries.
func (b *outward) cut() (batch []*task) {
	size := 0
	for len(batch) < len(b.tasks) && len(batch) < relayEntries && size < relayBytes {
		size += b.tasks[len(batch)].bytes
		batch = append(batch, b.tasks[len(batch)])
	}
	b.tasks = append([]*task(nil), b.tasks[len(batch):]...)
	return batch
}

// relayed forwards a batch and answers its tasks.
func (n *Node) relayed(batch []*task, vouched bool) {
	entries := make([]Forwarded, len(batch))
	proofs := 0
	for i, t := range batch {
		sub := t.candidate.Submission
		entries[i] = Forwarded{Leaf: sub.Leaf, Segments: sub.Segments, Lane: t.lane.caller, TraceParent: t.journey.parent()}
		if vouched && n.cfg.peers.vouchers != nil {
			entries[i].Voucher = n.cfg.peers.vouchers.Vouch(t.candidate)
			proofs += t.legs()
		}
	}
	n.spread.calls.Add(1)
	n.spread.vouched.Add(uint64(proofs))
	if vouched {
		n.spread.relayed.Add(uint64(len(batch)))
	} else {
		n.spread.left.Add(uint64(len(batch)))
	}
	start := time.Now()
	ctx, done := context.WithTimeout(n.ctx, relayTimeout)
	defer done()
	answers, err := n.cfg.peers.forward(ctx, entries)
	if err == nil && len(answers) != len(batch) {
		err = errors.New("node: another number of answers than of entries")
	}
	if err != nil {
		n.cfg.Log.Debug("entries were not forwarded", "entries", len(batch), "error", err)
	}
	end := time.Now()
	for i, t := range batch {
		a := Answer{Err: err}
		if err == nil {
			a = answers[i]
		}
		if a.Err != nil && entry.CodeOf(a.Err) == "" {
			a.Err = entry.Refuse(entry.TryLater, "the node that sequences did not answer; nothing is known of the entry")
		}
		n.measures.stage(t.journey, "ledger.forward", start, end, trace.SpanContext{})
		n.answered(t, a)
	}
	n.hurry() // whoever asked is answered once the block is applied here
}

// answered answers a task that the node that sequences has judged, and counts it out. In comity.entries that node counts it.
func (n *Node) answered(t *task, a Answer) {
	n.pulses.answered.Store(ticks())
	if t.journey != nil {
		sub := t.candidate.Submission
		t.journey.end(sub.Entry.Kind().String(), a.Result, a.Err, sub)
	}
	t.answer <- outcome{a.Result, a.Err}
	n.lanes.leave(t.lane)
	n.leave(t.bytes)
}

// hurry makes a node that follows look for new blocks now.
func (n *Node) hurry() {
	select {
	case n.hurried <- struct{}{}:
	default:
	}
}

// parent is the journey for the next process; empty without one.
func (j *journey) parent() string {
	if j == nil {
		return ""
	}
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(j.ctx, carrier)
	return carrier.Get("traceparent")
}
