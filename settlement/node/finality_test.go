package node

import (
	"context"
	"crypto/ed25519"
	"fmt"
	"net"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// replayer is a validating witness's, without the cost of proofs.
type replayer struct{ *replay.Replayer }

// Apply takes block 0 as known.
func (r replayer) Apply(block *settlement.Block) error {
	if block.Height == 0 {
		return nil
	}
	return r.Replayer.Apply(block)
}

func (r replayer) Head() proof.Head {
	return proof.Head{Size: r.State().LogSize(), Root: r.State().LogRoot()}
}

// Question: how long is it from the answer that an entry is durable until two witnesses' cosignatures make it final, on a real disk and
// over loopback, at a given rate? Both witnesses replay the log and sync their state before they cosign; proofs cost nothing here.
// go test -run '^$' -bench Finality -benchtime 500x ./settlement/node
func BenchmarkFinality(b *testing.B) {
	for _, rate := range []int{20, 200, 1000} {
		b.Run(fmt.Sprintf("%d-per-second", rate), func(b *testing.B) { finality(b, rate) })
	}
}

func finality(b *testing.B, rate int) {
	r := newRigWith(b, 2, 2)
	opener, err := pebblestore.New(pebblestore.Config{Dir: b.TempDir() + "/ledger"})
	must(b, err)
	store, err := opener.Create(b.Context(), r.Blocks[0])
	must(b, err)
	var endpoints []journal.Endpoint
	var validators []*journal.Validator
	for _, w := range r.Genesis.Witnesses.Members {
		folder, err := journal.OpenFolder(b.TempDir())
		must(b, err)
		defer folder.Close()
		play, err := replay.New(r.Blocks[0], replay.Config{Verifier: instant{}, Genesis: r.Hash})
		must(b, err)
		v := journal.NewValidator(replayer{play})
		validators = append(validators, v)
		seed := make([]byte, ed25519.SeedSize)
		copy(seed, "witness "+w.Name)
		cosigner, err := proof.NewCosigner(w.Name, ed25519.NewKeyFromSeed(seed))
		must(b, err)
		handler, err := journal.NewWitness(journal.WitnessConfig{Cosigner: cosigner, Medium: folder, Now: func() time.Time { return time.UnixMilli(int64(r.clock.Load())) },
			Logs: []journal.Log{{Origin: r.Genesis.Origin, Key: r.signer.Public(), Validator: v}}})
		must(b, err)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(b, err)
		server := &http.Server{Handler: handler.Handler()}
		go func() { _ = server.Serve(listener) }()
		defer server.Close()
		endpoints = append(endpoints, journal.Endpoint{Name: w.Name, URL: "http://" + listener.Addr().String()})
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	n, err := Start(b.Context(), Config{Store: store, Verifier: instant{}, Signer: r.signer, HTTP: &http.Client{Transport: transport}, Witnesses: endpoints,
		Limits: Limits{StartWait: time.Millisecond}, Now: func() time.Time { return time.UnixMilli(int64(r.clock.Load())) }})
	must(b, err)
	ctx, stop := context.WithCancel(b.Context())
	var follow sync.WaitGroup
	for _, v := range validators {
		follow.Go(func() {
			err := v.Follow(ctx, func(yield func(*settlement.Block, error) bool) {
				for height := uint64(0); n.WaitBlock(ctx, height) == nil; height++ {
					block, err := n.Block(ctx, height)
					if !yield(block, err) {
						return
					}
				}
			})
			if err != nil && ctx.Err() == nil {
				b.Error(err)
			}
		})
	}
	items := make([][]byte, b.N)
	segments := make([][][]byte, b.N)
	for i := range items {
		tx := r.Tx(entry.KindTransfer, zk.Transfer)
		items[i], segments[i] = tx.Encode(), tx.Segments
	}
	took := make([]time.Duration, b.N)
	b.ResetTimer()
	tick := time.NewTicker(time.Second / time.Duration(rate))
	defer tick.Stop()
	var clients sync.WaitGroup
	for i := range items {
		<-tick.C
		clients.Go(func() {
			res, err := n.Submit(ctx, items[i], segments[i])
			if err != nil {
				b.Error(err)
				return
			}
			durable := time.Now()
			if _, _, err := n.WaitCheckpoint(ctx, res.EntryIndex+1, nil); err != nil {
				b.Error(err)
			}
			took[i] = time.Since(durable)
		})
	}
	clients.Wait()
	b.StopTimer()
	slices.Sort(took)
	at := func(p float64) float64 { return float64(took[int(p*float64(len(took)-1))].Microseconds()) / 1000 }
	b.ReportMetric(at(0.5), "ms-p50")
	b.ReportMetric(at(0.99), "ms-p99")
	s := n.Status()
	b.ReportMetric(float64(b.N)/float64(max(s.Blocks, 1)), "entries/block")
	stop()
	follow.Wait()
	must(b, n.Stop(context.Background()))
	must(b, store.Close())
}
