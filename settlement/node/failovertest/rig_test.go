package failovertest

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/pgstore"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/zk"
)

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a ledger in a database, a witness, and its nodes.
type rig struct {
	t       *testing.T
	url     string
	witness string
	base    int64
	store   settlement.Leaser // the test's own handle

	mu  sync.Mutex // guards bed
	bed *ledgertest.Bed

	nodes map[string]*process
}

// process is one node. Its address outlives it.
type process struct {
	name, address string
	cmd           *exec.Cmd
	gone          chan struct{}
	client        *client.Client
}

type shelf struct{ m sync.Map }

func (s *shelf) Load(origin string) ([]byte, error) {
	v, _ := s.m.Load(origin)
	b, _ := v.([]byte)
	return b, nil
}

func (s *shelf) Save(origin string, state []byte) error {
	s.m.Store(origin, append([]byte(nil), state...))
	return nil
}

func newRig(t *testing.T, names ...string) *rig {
	t.Helper()
	return newRigOn(t, pgtest.Shared(t), names...)
}

func newRigOn(t *testing.T, server *pgtest.Server, names ...string) *rig {
	t.Helper()
	r := &rig{t: t, url: server.URL(server.Database(t)), base: time.Now().UnixMilli(), bed: ledgertest.NewBed(seed), nodes: map[string]*process{}}
	opener, err := pgstore.New(pgstore.Config{URL: r.url})
	must(t, err)
	store, err := opener.Create(t.Context(), r.bed.Blocks[0])
	must(t, err)
	r.store = store.(settlement.Leaser)
	t.Cleanup(func() { _ = store.Close() })
	g := r.bed.Genesis
	cosigner, err := proof.NewCosigner(g.Witnesses.Members[0].Name, r.bed.WitnessKey)
	must(t, err)
	w, err := journal.NewWitness(journal.WitnessConfig{Cosigner: cosigner, Medium: &shelf{}, Logs: []journal.Log{{Origin: g.Origin, Key: g.LogKey.Public()}},
		Now: func() time.Time { return time.UnixMilli(ledgertest.Start) }})
	must(t, err)
	witness := httptest.NewServer(w.Handler())
	t.Cleanup(witness.Close)
	r.witness = witness.URL
	for _, name := range names {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		must(t, err)
		p := &process{name: name, address: listener.Addr().String()}
		must(t, listener.Close())
		p.client = client.NewWith(&http.Client{Timeout: 8 * time.Second}, "http://"+p.address)
		r.nodes[name] = p
		r.start(p)
	}
	return r
}

// start begins a node's process and waits until it answers.
func (r *rig) start(p *process) {
	r.t.Helper()
	self, err := os.Executable()
	must(r.t, err)
	p.cmd = exec.Command(self, "-test.run=^$")
	p.cmd.Env = append(os.Environ(), envName+"="+p.name, envStore+"="+r.url, envWitness+"="+r.witness, envListen+"="+p.address, fmt.Sprintf("%s=%d", envBase, r.base))
	log := &lines{t: r.t, name: p.name}
	p.cmd.Stdout, p.cmd.Stderr = log, log
	must(r.t, p.cmd.Start())
	p.gone = make(chan struct{})
	cmd, gone := p.cmd, p.gone
	go func() {
		_ = cmd.Wait()
		close(gone)
	}()
	r.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGCONT)
		_ = cmd.Process.Kill()
		<-gone
	})
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(r.t.Context(), time.Second)
		_, _, err := p.client.Head(ctx)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("node %s does not answer: %v", p.name, err)
		}
	}
}

// lines gives what a process writes to the test's log.
type lines struct {
	t    *testing.T
	name string
}

func (l *lines) Write(p []byte) (int, error) {
	if testing.Verbose() || strings.Contains(string(p), "panic") {
		fmt.Fprintf(os.Stderr, "%s: %s", l.name, p)
	}
	return len(p), nil
}

// signal sends a signal; kill waits for the end.
func (p *process) signal(t *testing.T, s syscall.Signal) {
	t.Helper()
	must(t, p.cmd.Process.Signal(s))
	if s == syscall.SIGKILL || s == syscall.SIGTERM {
		select {
		case <-p.gone:
		case <-time.After(30 * time.Second):
			t.Fatalf("node %s does not end", p.name)
		}
	}
}

// leader is the node that holds the lease with an epoch, once there is one.
func (r *rig) leader() *process {
	r.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		l, err := r.store.Lease(r.t.Context())
		must(r.t, err)
		if name, _, ok := strings.Cut(l.Holder, "/"); ok && l.Epoch > 0 {
			return r.nodes[name]
		}
	}
	r.t.Fatal("nobody took the lease")
	return nil
}

// others are all nodes but one.
func (r *rig) others(not *process) (out []*process) {
	for _, p := range r.nodes {
		if p != not {
			out = append(out, p)
		}
	}
	return out
}

// transfer makes a transfer with a proof, spending a note of its own or, where given, that of another.
func (r *rig) transfer(of *ledgertest.Tx) *ledgertest.Tx {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.bed.Now = uint64(clock(r.base)().UnixMilli())
	if of == nil {
		return r.bed.Transfer()
	}
	tx := r.bed.Tx(entry.KindTransfer, zk.Transfer)
	tx.Legs[0].Nullifiers[0] = of.Legs[0].Nullifiers[0]
	return r.bed.Prove(tx)
}

// ack is an answer that a client got.
type ack struct {
	id    entry.ID
	index uint64
	began time.Time // when the attempt that was answered began
	at    time.Time
}

// load sends transfers until it is told to end.
type load struct {
	r    *rig
	stop chan struct{}
	wait sync.WaitGroup

	mu     sync.Mutex // guards what follows
	acks   []ack
	wrong  []error
	longer time.Duration // the longest that one entry took

	later atomic.Int64 // answers that said to try again, or none at all
}

func (r *rig) load(clients int) *load {
	l := &load{r: r, stop: make(chan struct{})}
	var names []string
	for name := range r.nodes {
		names = append(names, name)
	}
	for i := range clients {
		l.wait.Go(func() { l.client(names, i%len(names)) })
	}
	return l
}

// client asks its own node first, and the others where that one does not settle.
func (l *load) client(names []string, home int) {
	for {
		select {
		case <-l.stop:
			return
		default:
		}
		tx, first, at := l.r.transfer(nil), time.Now(), home
		for {
			began := time.Now()
			got, err := l.r.submit(l.r.nodes[names[at]], tx)
			if err == nil {
				l.mu.Lock()
				l.acks = append(l.acks, ack{tx.ID(), got, began, time.Now()})
				l.longer = max(l.longer, time.Since(first))
				l.mu.Unlock()
				break
			}
			if code := entry.CodeOf(err); code != "" && code != entry.TryLater {
				l.mu.Lock()
				l.wrong = append(l.wrong, err)
				l.mu.Unlock()
				return
			}
			l.later.Add(1)
			if entry.CodeOf(err) == "" {
				at = (at + 1) % len(names) // no answer: ask another
			}
			time.Sleep(25 * time.Millisecond)
		}
	}
}

func (r *rig) submit(p *process, tx *ledgertest.Tx) (uint64, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 8*time.Second)
	defer cancel()
	got, err := p.client.Submit(ctx, tx.Encode(), tx.Segments)
	return got.EntryIndex, err
}

// since waits for the first acknowledgement of an attempt that began after a moment.
func (l *load) since(t *testing.T, moment time.Time) time.Duration {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); time.Sleep(5 * time.Millisecond) {
		l.mu.Lock()
		for i := len(l.acks) - 1; i >= 0 && l.acks[i].at.After(moment); i-- {
			if first := l.acks[i]; first.began.After(moment) {
				took := first.at.Sub(moment)
				for _, a := range l.acks[:i] {
					if a.began.After(moment) {
						took = min(took, a.at.Sub(moment))
					}
				}
				l.mu.Unlock()
				return took
			}
		}
		l.mu.Unlock()
	}
	t.Fatal("nothing is acknowledged any more")
	return 0
}

// end stops the load and holds all that was promised against the log.
func (l *load) end(t *testing.T) {
	t.Helper()
	close(l.stop)
	l.wait.Wait()
	for _, err := range l.wrong {
		t.Errorf("an honest payment was refused for good: %v", err)
	}
	at := l.r.audit(t)
	for _, a := range l.acks {
		if index, there := at[a.id]; !there || index != a.index {
			t.Errorf("entry %s was acknowledged at %d; the log has it: %v, at %d", a.id, a.index, there, index)
		}
	}
	t.Logf("%d payments acknowledged, %d answers to try later, the slowest payment took %v", len(l.acks), l.later.Load(), l.longer.Round(time.Millisecond))
	if len(l.acks) == 0 {
		t.Error("nothing was acknowledged at all")
	}
}

// audit replays the log with all proofs, which refuses a note that is spent twice, and returns where every transfer is.
func (r *rig) audit(t *testing.T) map[entry.ID]uint64 {
	t.Helper()
	at := map[entry.ID]uint64{}
	var last *settlement.Block
	blocks := func(yield func(*settlement.Block, error) bool) {
		for b, err := range r.store.Blocks(context.Background(), 0) {
			if err == nil {
				last = b
				for i, leaf := range b.Entries {
					e, err := entry.Decode(leaf)
					must(t, err)
					if tx, ok := e.(*entry.Transaction); ok {
						if first, twice := at[tx.ID()]; twice {
							t.Errorf("entry %s stands at %d and at %d", tx.ID(), first, b.FirstIndex+uint64(i))
						}
						at[tx.ID()] = b.FirstIndex + uint64(i)
					}
				}
			}
			if !yield(b, err) {
				return
			}
		}
	}
	state, err := replay.All(context.Background(), blocks, replay.Config{Verifier: verifier(), Genesis: r.bed.Hash}, nil)
	must(t, err)
	if state.LogRoot() != last.Root {
		t.Error("the replayed log has another root")
	}
	return at
}

// final waits until a node shows that everything is final, which holds only while its witness accepts the one log.
func (r *rig) final(t *testing.T, p *process) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	_, size, err := p.client.Head(ctx)
	must(t, err)
	if _, _, err := p.client.WaitCheckpoint(ctx, size, 15*time.Second); err != nil {
		t.Errorf("node %s: nothing over %d entries is final: %v", p.name, size, err)
	}
}

// spent asks a node over JSON which entry spent a nullifier.
func (r *rig) spent(ctx context.Context, p *process, n zk.Nullifier) (string, error) {
	body := fmt.Sprintf(`{"nullifiers":[%q]}`, base64.StdEncoding.EncodeToString(n[:]))
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+p.address+"/comity.ledger.v1.LedgerService/LookupNullifier", strings.NewReader(body))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = errors.New(string(text))
	}
	return string(text), err
}
