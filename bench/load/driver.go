package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
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

// driver sends items to a ledger over its RPC: workers goroutines, each with one call of up to batch entries in flight. Without a
// rate they send as fast as they are answered (a closed loop, which finds the peak); with one, entries fall due at that rate
// whatever the ledger does (an open loop), and latencies count from when an entry was due. An entry answered "try_later" is sent
// again after a pause, as a wallet would.
type driver struct {
	client         ledgerv1connect.LedgerServiceClient
	workers, batch int
	rate           float64 // entries a second, 0 for a closed loop
}

func newDriver(url string, workers, batch int) *driver {
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
		MaxIdleConnsPerHost: workers, MaxConnsPerHost: workers, DisableCompression: true,
	}
	return &driver{
		client:  ledgerv1connect.NewLedgerServiceClient(&http.Client{Transport: transport}, url, connect.WithAcceptCompression("gzip", nil, nil)),
		workers: workers, batch: batch,
	}
}

// tally is what became of the items of one class.
type tally struct {
	Sent, Accepted, Before int
	Refused                map[entry.Code]int
}

// outcome is what a run of the driver found.
type outcome struct {
	Elapsed   time.Duration
	DriverCPU time.Duration
	Classes   map[dataset.Class]*tally
	Again     int             // answers "try_later"
	Latencies []time.Duration // of every entry that was accepted, from its first sending to the answer, ascending
	Finality  []time.Duration // the same, to a checkpoint that the quorum cosigned
	WireBytes int

	settled []settled // accepted and not final yet, in no order
}

// settled is an accepted entry that waits for its checkpoint.
type settled struct {
	index uint64
	since time.Time
}

// payments is the number of real payees paid.
func (o *outcome) payments() (n int) {
	for class, t := range o.Classes {
		n += t.Accepted * class.Payments()
	}
	return n
}

func (o *outcome) accepted() (n int) {
	for _, t := range o.Classes {
		n += t.Accepted
	}
	return n
}

// percentile takes an ascending list and returns its p-th percentile, 0 without any.
func percentile(ascending []time.Duration, p float64) time.Duration {
	if len(ascending) == 0 {
		return 0
	}
	return ascending[min(len(ascending)-1, int(p/100*float64(len(ascending))))]
}

// pending is an item on its way.
type pending struct {
	item  *dataset.Item
	since time.Time
}

// run sends all items and returns when each has a final answer.
func (d *driver) run(ctx context.Context, items []dataset.Item) (*outcome, error) {
	o := &outcome{Classes: map[dataset.Class]*tally{}}
	var mu sync.Mutex // guards o, queue and failed
	queue := make([]pending, len(items))
	for i := range items {
		queue[i].item = &items[i]
		o.WireBytes += items[i].Wire()
	}
	var failed error
	start, cpu := time.Now(), machine.CPU()
	if d.rate > 0 {
		for i := range queue {
			queue[i].since = start.Add(time.Duration(float64(i) / d.rate * float64(time.Second)))
		}
	}
	// take returns what is due, and how long to wait when nothing is.
	take := func() (work []pending, wait time.Duration) {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil || len(queue) == 0 {
			return nil, 0
		}
		now, n := time.Now(), min(d.batch, len(queue))
		if d.rate > 0 {
			for n > 0 && queue[n-1].since.After(now) {
				n--
			}
			if n == 0 {
				return nil, queue[0].since.Sub(now)
			}
		}
		work, queue = queue[:n:n], queue[n:]
		return work, 0
	}
	watching, watched := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(watched)
		d.watch(ctx, &mu, o, watching)
	}()
	var wg sync.WaitGroup
	for range d.workers {
		wg.Go(func() {
			for {
				work, wait := take()
				if wait > 0 {
					time.Sleep(wait)
					continue
				}
				for len(work) > 0 {
					now := time.Now()
					for i := range work {
						if work[i].since.IsZero() {
							work[i].since = now
						}
					}
					answers, err := d.send(ctx, work)
					done := time.Now()
					mu.Lock()
					if err != nil {
						failed = errors.Join(failed, err)
						mu.Unlock()
						return
					}
					work = o.add(work, answers, done)
					mu.Unlock()
					if len(work) > 0 {
						time.Sleep(5 * time.Millisecond)
					}
				}
				mu.Lock()
				over := len(queue) == 0 || failed != nil
				mu.Unlock()
				if over {
					return
				}
			}
		})
	}
	wg.Wait()
	o.Elapsed, o.DriverCPU = time.Since(start), machine.CPU()-cpu
	close(watching)
	<-watched
	slices.Sort(o.Latencies)
	slices.Sort(o.Finality)
	return o, failed
}

// watch follows the ledger's cosigned checkpoints and books when accepted entries become final, until all are, or until five seconds
// after done is closed.
func (d *driver) watch(ctx context.Context, mu *sync.Mutex, o *outcome, done <-chan struct{}) {
	var deadline time.Time
	for {
		select {
		case <-done:
			if deadline.IsZero() {
				deadline = time.Now().Add(5 * time.Second)
			}
		default:
		}
		status, err := d.client.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
		now := time.Now()
		mu.Lock()
		if err == nil {
			o.settled = slices.DeleteFunc(o.settled, func(s settled) bool {
				if s.index >= status.GetFinalSize() {
					return false
				}
				o.Finality = append(o.Finality, now.Sub(s.since))
				return true
			})
		}
		over := !deadline.IsZero() && (len(o.settled) == 0 || now.After(deadline))
		mu.Unlock()
		if over || ctx.Err() != nil {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
}

func (d *driver) send(ctx context.Context, work []pending) ([]*ledgerv1.SubmitResult, error) {
	req := &ledgerv1.SubmitBatchRequest{}
	for _, p := range work {
		req.Entries = append(req.Entries, &ledgerv1.SubmitRequest{Entry: p.item.Entry, Segments: p.item.Segments})
	}
	resp, err := d.client.SubmitBatch(ctx, req)
	if err != nil {
		var refused *connect.Error
		if errors.As(err, &refused) && (refused.Code() == connect.CodeUnavailable || refused.Code() == connect.CodeResourceExhausted) {
			// The whole call was put off.
			later := &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Refused{Refused: &ledgerv1.ErrorDetail{Code: string(entry.TryLater)}}}
			return slices.Repeat([]*ledgerv1.SubmitResult{later}, len(work)), nil
		}
		return nil, fmt.Errorf("submit: %w", err)
	}
	if len(resp.GetResults()) != len(work) {
		return nil, fmt.Errorf("submit: %d results for %d entries", len(resp.GetResults()), len(work))
	}
	return resp.GetResults(), nil
}

// add books the answers and returns the items to send again.
func (o *outcome) add(work []pending, answers []*ledgerv1.SubmitResult, now time.Time) (again []pending) {
	for i, p := range work {
		t := o.Classes[p.item.Class]
		if t == nil {
			t = &tally{Refused: map[entry.Code]int{}}
			o.Classes[p.item.Class] = t
		}
		if a := answers[i].GetAccepted(); a != nil {
			t.Sent++
			if a.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE {
				t.Before++
				continue
			}
			t.Accepted++
			o.Latencies = append(o.Latencies, now.Sub(p.since))
			o.settled = append(o.settled, settled{a.GetEntryIndex(), p.since})
			continue
		}
		code := entry.Code(answers[i].GetRefused().GetCode())
		if code == entry.TryLater {
			o.Again++
			again = append(again, p)
			continue
		}
		t.Sent++
		t.Refused[code]++
	}
	return again
}
