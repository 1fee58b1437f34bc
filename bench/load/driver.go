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

	"github.com/comity-ledger/comity/bench"
	"github.com/comity-ledger/comity/bench/dataset"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// driver sends items to a ledger over its RPC: workers goroutines, each with one call of up to batch entries in flight (a closed
// loop). An entry answered "try_later" is sent again after a pause, as a wallet would.
type driver struct {
	client         ledgerv1connect.LedgerServiceClient
	workers, batch int
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
	WireBytes int
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

// latency returns the p-th percentile, 0 without any.
func (o *outcome) latency(p float64) time.Duration {
	if len(o.Latencies) == 0 {
		return 0
	}
	return o.Latencies[min(len(o.Latencies)-1, int(p/100*float64(len(o.Latencies))))]
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
	take := func() []pending {
		mu.Lock()
		defer mu.Unlock()
		if failed != nil {
			return nil
		}
		n := min(d.batch, len(queue))
		out := queue[:n:n]
		queue = queue[n:]
		return out
	}
	start, cpu := time.Now(), bench.CPU()
	var wg sync.WaitGroup
	for range d.workers {
		wg.Go(func() {
			for {
				work := take()
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
	o.Elapsed, o.DriverCPU = time.Since(start), bench.CPU()-cpu
	slices.Sort(o.Latencies)
	return o, failed
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
