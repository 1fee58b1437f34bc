package telemetry

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
	"github.com/comity-ledger/comity/zk/setup"
)

// live is a whole ledger in this process: a node with a store on disk and real verification, its RPC on loopback, and a witness. Proofs are
// simulated, which costs the node the same.
type live struct {
	t       testing.TB
	set     *dataset.Set
	node    *node.Node
	store   settlement.Store
	url     string
	witness *gateKeeper
	log     *slog.Logger
	start   func() // the node and its RPC
	end     func() // likewise
	stop    func() // everything
	stopped bool
}

// restart ends the node and starts it again on the same store, so that it measures with what is installed now.
func (l *live) restart() {
	l.t.Helper()
	l.end()
	l.start()
}

// gateKeeper is a witness that can be silenced.
type gateKeeper struct {
	mu     sync.Mutex // guards silent
	silent bool
	next   http.Handler
}

func (g *gateKeeper) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	g.mu.Lock()
	silent := g.silent
	g.mu.Unlock()
	if silent {
		http.Error(w, "silent", http.StatusServiceUnavailable)
		return
	}
	g.next.ServeHTTP(w, r)
}

func (g *gateKeeper) silence(is bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.silent = is
}

var makeSet = sync.OnceValues(func() (*dataset.Set, error) {
	return dataset.Make(context.Background(), dataset.Spec{SimulatedTransfers: 12, SimulatedDisburses: 1, Seed: [32]byte{7}, NowMillis: uint64(time.Now().UnixMilli())}, nil)
})

func newLive(t testing.TB, set *dataset.Set, limits node.Limits) *live {
	t.Helper()
	return newLiveWith(t, set, limits, nil)
}

// newLiveWith is newLive for a node that has a log.
func newLiveWith(t testing.TB, set *dataset.Set, limits node.Limits, log *slog.Logger) *live {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	genesis, err := entry.DecodeGenesis(set.Genesis)
	must(err)
	secrets, err := dataset.SecretsOf(set.Seed)
	must(err)
	_, block, err := settlement.Begin(genesis)
	must(err)
	opener, err := pebblestore.New(pebblestore.Config{Dir: t.TempDir()})
	must(err)
	l := &live{t: t, set: set, log: log}
	l.store, err = opener.Create(t.Context(), block)
	must(err)
	cosigner, err := proof.NewCosigner(dataset.WitnessName, secrets.Witness)
	must(err)
	folder, err := journal.OpenFolder(t.TempDir())
	must(err)
	w, err := journal.NewWitness(journal.WitnessConfig{Cosigner: cosigner, Medium: folder, Logs: []journal.Log{{Origin: genesis.Origin, Key: genesis.LogKey.Public()}}})
	must(err)
	l.witness = &gateKeeper{next: w.Handler()}
	witness := httptest.NewServer(l.witness)
	verifier, err := setup.Verifier(0)
	must(err)
	signer, err := proof.NewLogSigner(genesis.Origin, secrets.Log)
	must(err)
	l.start = func() {
		t.Helper()
		l.node, err = node.Start(t.Context(), node.Config{Store: l.store, Verifier: dataset.Verifier{Set: verifier}, Signer: signer,
			Witnesses: []journal.Endpoint{{Name: dataset.WitnessName, URL: witness.URL}}, Limits: limits, Log: l.log})
		must(err)
		server, err := rpc.New(rpc.Config{Ledger: edge{l.node}, Version: "test"})
		must(err)
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(err)
		l.url = "http://" + listener.Addr().String()
		serving, end := context.WithCancel(context.Background())
		served := make(chan error, 1)
		go func() { served <- server.Serve(serving, listener) }()
		l.end = func() {
			end()
			if err := <-served; err != nil {
				t.Error(err)
			}
			if err := l.node.Stop(context.Background()); err != nil {
				t.Error(err)
			}
		}
	}
	l.start()
	l.stop = func() {
		if l.stopped {
			return
		}
		l.stopped = true
		l.end()
		witness.Close()
		if err := l.store.Close(); err != nil {
			t.Error(err)
		}
		if err := folder.Close(); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(l.stop)
	for i := range set.Prefix {
		l.submit(&set.Prefix[i])
	}
	for i := range set.Items {
		must(set.Items[i].AnchorAt(l.node.Status().State.Height))
	}
	return l
}

// submit settles an item that must be accepted.
func (l *live) submit(item *dataset.Item) {
	l.t.Helper()
	if r, err := l.node.Submit(l.t.Context(), item.Entry, item.Segments); err != nil || r.Status != settlement.Accepted {
		l.t.Fatalf("%+v, %v", r, err)
	}
}

// edge gives the node the form that the RPC asks for.
type edge struct{ *node.Node }

// Submit settles one entry.
func (e edge) Submit(ctx context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	r, err := e.Node.Submit(ctx, leaf, segments)
	if err != nil {
		return rpc.Accepted{}, err
	}
	return rpc.Accepted{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height, Before: r.Status == settlement.SettledBefore}, nil
}

// Status is where the ledger stands.
func (e edge) Status(context.Context) (rpc.Status, error) {
	s := e.Node.Status()
	return rpc.Status{State: s.State, Size: s.Size, FinalSize: s.FinalSize, Pending: s.Waiting, UptimeSeconds: uint64(s.Uptime.Seconds())}, nil
}

// until waits for something that becomes true by itself.
func (l *live) until(what string, is func() bool) {
	l.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			l.t.Fatalf("it never came to be: %s", what)
		}
	}
}
