package telemetry

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"runtime/pprof"
	"slices"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/propagation"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/wallets/client"
)

var (
	costEntries = flag.Int("cost", 0, "transfers in a round of TestWhatTelemetryCosts; 0 runs a tiny one that proves nothing")
	costRounds  = flag.Int("cost-rounds", 6, "pairs of rounds")
)

// cost is what a round took.
type cost struct{ wall, cpu time.Duration }

// TestWhatTelemetryCosts sends the same payments, with proofs to verify, durable blocks and a witness, over the network to ledgers that differ
// in nothing but telemetry: off, and on with everything (metrics scraped every five seconds, traces, metrics and the log sent to a collector, one
// call in a hundred traced). Both write their log as text at the level info. Rounds alternate, in the order off on on off, so that what else the machine does meets both. It fails past 3 %:
//
//	go test ./cmd/internal/telemetry -run TestWhatTelemetryCosts -v -cost 6000 -timeout 30m
func TestWhatTelemetryCosts(t *testing.T) {
	entries, rounds := *costEntries, *costRounds
	if entries == 0 {
		entries, rounds = 8, 1
	}
	set, err := dataset.Make(t.Context(), dataset.Spec{SimulatedTransfers: entries, Seed: [32]byte{9}, NowMillis: uint64(time.Now().UnixMilli())}, nil)
	if err != nil {
		t.Fatal(err)
	}
	costRound(t, set, false) // the first round of a process is slower: keys are loaded, memory is taken
	var wall, cpu []float64
	var off, on []cost
	for i := range rounds {
		a, b := i%2 == 1, i%2 == 0
		first, second := costRound(t, set, a), costRound(t, set, b)
		if a {
			first, second = second, first
		}
		off, on = append(off, first), append(on, second)
		wall = append(wall, second.wall.Seconds()/first.wall.Seconds())
		cpu = append(cpu, second.cpu.Seconds()/first.cpu.Seconds())
		t.Logf("pair %d: off %v wall %v cpu, on %v wall %v cpu", i+1, ms(first.wall), ms(first.cpu), ms(second.wall), ms(second.cpu))
	}
	rate := func(c []cost) float64 {
		var all []float64
		for _, r := range c {
			all = append(all, float64(entries)/r.wall.Seconds())
		}
		return median(all)
	}
	t.Logf("%d pairs of %d transfers on %d processors (%s): off %.0f/s, on %.0f/s (medians)", rounds, entries, runtime.NumCPU(), runtime.GOARCH, rate(off), rate(on))
	spread := slices.Sorted(slices.Values(cpu))
	t.Logf("on / off, median of pairs: wall %.4f, processor time %.4f (half of the pairs from %.4f to %.4f)", median(wall), median(cpu), spread[len(spread)/4], spread[len(spread)*3/4])
	if *costEntries > 0 && median(cpu) > 1.03 {
		t.Errorf("telemetry costs %.1f %% of processor time, and may cost 3 %%", 100*(median(cpu)-1))
	}
}

func ms(d time.Duration) time.Duration { return d.Round(time.Millisecond) }

func median(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	if len(v)%2 == 1 {
		return v[len(v)/2]
	}
	return (v[len(v)/2-1] + v[len(v)/2]) / 2
}

// costRound starts a ledger, sends all items, and gives what that took until the last answer.
func costRound(t *testing.T, set *dataset.Set, on bool) cost {
	t.Helper()
	// In a profile of the test the rounds are told apart by this label.
	pprof.SetGoroutineLabels(pprof.WithLabels(t.Context(), pprof.Labels("telemetry", fmt.Sprint(on))))
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	if on {
		collector := httptest.NewServer(&collectorDouble{calls: map[string]int{}})
		defer collector.Close()
		tel, err := Options{metricsListen: "127.0.0.1:0", otlp: collector.URL, sample: 0.01}.Start(t.Context(), Config{Service: "test", Ledger: "load.example/log", Stderr: io.Discard})
		if err != nil {
			t.Fatal(err)
		}
		log = tel.Log
		defer func() {
			tel.Shutdown(context.Background())
			otel.SetMeterProvider(metricnoop.NewMeterProvider())
			otel.SetTracerProvider(tracenoop.NewTracerProvider())
			otel.SetTextMapPropagator(propagation.NewCompositeTextMapPropagator())
		}()
		scraping, stop := context.WithCancel(t.Context())
		var scraped sync.WaitGroup
		scraped.Go(func() {
			for tick := time.NewTicker(5 * time.Second); ; {
				select {
				case <-tick.C:
				case <-scraping.Done():
					tick.Stop()
					return
				}
				if answer, err := http.Get(tel.URL + "/metrics"); err == nil {
					_, _ = io.Copy(io.Discard, answer.Body)
					answer.Body.Close()
				}
			}
		})
		defer scraped.Wait()
		defer stop()
	}
	// Batches of one size: by themselves they follow what else the machine does, and a proof in a small batch costs more than all of telemetry.
	l := newLiveWith(t, set, node.Limits{Batch: 128}, log)
	defer l.stop()
	const workers, batch = 32, 32
	calls := slices.Collect(slices.Chunk(set.Items, batch))
	work := make(chan []dataset.Item, len(calls))
	for _, c := range calls {
		work <- c
	}
	close(work)
	runtime.GC()
	start, cpu := time.Now(), machine.CPU()
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			c, err := client.New(l.url)
			if err != nil {
				t.Error(err)
				return
			}
			for items := range work {
				var send []client.BatchItem
				for _, item := range items {
					send = append(send, client.BatchItem{Entry: item.Entry, Segments: item.Segments})
				}
				ctx, span := otel.Tracer("driver").Start(t.Context(), "send")
				results, err := c.SubmitBatch(ctx, send)
				span.End()
				for _, r := range results {
					err = joined(err, r.Err)
				}
				if err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wait.Wait()
	return cost{time.Since(start), machine.CPU() - cpu}
}

func joined(a, b error) error {
	switch {
	case a == nil:
		return b
	case b == nil:
		return a
	}
	return fmt.Errorf("%w; %w", a, b)
}
