package rig

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// floodPause is how long a flooding caller waits after a call that was put off as a whole: it does not heed hints.
const floodPause = 20 * time.Millisecond

// Flood sends items over and over, workers calls of batch entries at a time, until end is called. end says how many entries were told to try later.
func (d *Driver) Flood(ctx context.Context, items []dataset.Item, workers, batch int) (end func() (later int)) {
	ctx, stop := context.WithCancel(ctx)
	var next atomic.Int64
	var wait sync.WaitGroup
	var putOff atomic.Int64
	for range workers {
		wait.Go(func() {
			for ctx.Err() == nil {
				req := &ledgerv1.SubmitBatchRequest{}
				for range batch {
					item := &items[int(next.Add(1)-1)%len(items)]
					req.Entries = append(req.Entries, &ledgerv1.SubmitRequest{Entry: item.Entry, Segments: item.Segments})
				}
				answers, err := send(ctx, d.clients[0], req)
				if err != nil {
					continue // the flood ends, or the node does: then its honest callers say so
				}
				later := 0
				for _, a := range answers {
					if entry.Code(a.GetRefused().GetCode()) == entry.TryLater {
						later++
					}
				}
				putOff.Add(int64(later))
				if later == batch {
					time.Sleep(floodPause)
				}
			}
		})
	}
	return func() int {
		stop()
		wait.Wait()
		return int(putOff.Load())
	}
}
