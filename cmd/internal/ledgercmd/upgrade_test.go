package ledgercmd

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pgstore"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/wallets/client"
)

// patience is how often a client asks again for one payment, 50 ms apart, while nodes are replaced. deploy/several-nodes.md promises that a
// ledger stands still for no longer than a lease and a half; the rest is for a busy machine.
const patience = 400

// traffic submits payments to whichever node answers, until it is told to end.
type traffic struct {
	l     *loaded
	nodes []*client.Client
	next  atomic.Int64
	stop  chan struct{}
	wait  sync.WaitGroup
	mu    sync.Mutex         // guards what follows
	acks  map[int]uint64     // payment: index that it was acknowledged at
	again int                // payments sent once more after all of them were through
	told  map[entry.Code]int // try_later; "" stands for a broken connection
	most  int                // answers of those kinds that one payment got at most
	wrong []error
}

func (l *loaded) traffic(t *testing.T, clients int, urls ...string) *traffic {
	x := &traffic{l: l, stop: make(chan struct{}), acks: map[int]uint64{}, told: map[entry.Code]int{}}
	for _, url := range urls {
		c, err := client.New(url)
		if err != nil {
			t.Fatal(err)
		}
		x.nodes = append(x.nodes, c)
	}
	for i := range clients {
		x.wait.Go(func() {
			at := i % len(urls)
			for {
				select {
				case <-x.stop:
					return
				default:
				}
				if at = x.pay(t, int(x.next.Add(1)-1), at); at < 0 {
					return
				}
				time.Sleep(20 * time.Millisecond)
			}
		})
	}
	return x
}

// pay sends one payment until it is settled, and gives the node to go on with.
func (x *traffic) pay(t *testing.T, n, at int) int {
	i := n % len(x.l.set.Items)
	item := &x.l.set.Items[i]
	for tries := 0; ; tries++ {
		got, err := x.nodes[at].Submit(t.Context(), item.Entry, item.Segments)
		code := entry.CodeOf(err)
		x.mu.Lock()
		x.most = max(x.most, tries)
		switch first, known := x.acks[i]; {
		case err == nil && known && first != got.EntryIndex:
			x.wrong = append(x.wrong, errors.New("a payment that had settled was settled again"))
		case err == nil:
			if x.acks[i] = got.EntryIndex; known {
				x.again++
			}
		case code == entry.TryLater || code == "" && connect.CodeOf(err) == connect.CodeUnavailable:
			x.told[code]++
		default:
			x.wrong = append(x.wrong, err)
		}
		over := len(x.wrong) > 0 || tries > patience
		x.mu.Unlock()
		switch {
		case err == nil:
			return at
		case over:
			return -1
		}
		at = (at + 1) % len(x.nodes)
		time.Sleep(50 * time.Millisecond)
	}
}

// flows waits until more payments were acknowledged.
func (x *traffic) flows(t *testing.T, more int) {
	t.Helper()
	count := func() int {
		x.mu.Lock()
		defer x.mu.Unlock()
		return len(x.acks) + x.again
	}
	want := count() + more
	for deadline := time.Now().Add(60 * time.Second); count() < want; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("no payment is acknowledged any more: %v", x.wrong)
		}
	}
}

// TestRollingUpgradeOfTwoNodesUnderLoad does what deploy/several-nodes.md tells an operator to: the follower first, the leader last.
func TestRollingUpgradeOfTwoNodesUnderLoad(t *testing.T) {
	l, p, server := newLoaded(t, 150), newPlace(t), pgtest.Shared(t)
	address := server.URL(server.Database(t))
	write(t, p.path("address"), address+"\n")
	opener, err := pgstore.New(pgstore.Config{URL: address})
	if err != nil {
		t.Fatal(err)
	}
	l.create(t, opener)
	folders := map[string]string{}
	listens := map[string]string{}
	run := func(name, version string) *process {
		t.Helper()
		if folders[name] == "" {
			folders[name], listens[name] = l.folder(t, p, name), port(t)
		}
		return launch(t, version, "--data", folders[name], "--store", "@"+p.path("address"), "--listen", listens[name], "--node-name", name, "--lease", "2s",
			"--passphrase-file", p.path("passphrase"), "--witness", l.genesis.Witnesses.Members[0].Name+"="+l.witness)
	}
	a, b := run("node-a", "1.0.0"), run("node-b", "1.0.0")
	l.begin(t, a.url)
	began := nodeStatus(t, a.url)
	if began.Node.Role != "leader" || began.Version != "1.0.0" {
		t.Fatalf("%+v, %+v", began, began.Node)
	}
	x := l.traffic(t, 4, a.url, b.url)
	x.flows(t, 20)

	// The follower: the lease stays where it is.
	b.stop(t)
	x.flows(t, 20)
	b = run("node-b", "1.1.0")
	x.flows(t, 20)
	if one, two := nodeStatus(t, a.url), nodeStatus(t, b.url); one.Version != "1.0.0" || two.Version != "1.1.0" || one.Node.Role != "leader" || two.Node.Role != "follower" ||
		one.Node.LeaseEpoch != began.Node.LeaseEpoch {
		t.Errorf("with one of them upgraded: %+v and %+v", one.Node, two.Node)
	} else if len(one.Witnesses) != 1 || len(two.Witnesses) != 0 {
		t.Errorf("the leader speaks of %d witnesses, the follower of %d", len(one.Witnesses), len(two.Witnesses))
	}
	// The leader: it hands the lease over, once.
	a.stop(t)
	x.flows(t, 20)
	if s := nodeStatus(t, b.url); s.Node.Role != "leader" || s.Node.LeaseEpoch != began.Node.LeaseEpoch+1 {
		t.Errorf("after the leader was stopped: %+v", s.Node)
	}
	a = run("node-a", "1.1.0")
	x.flows(t, 20)
	close(x.stop)
	x.wait.Wait()
	for _, err := range x.wrong {
		t.Errorf("a client was told %v", err)
	}
	total := 0
	for code, n := range x.told {
		t.Logf("%d answers %q", n, code)
		total += n
	}
	t.Logf("%d payments, %d of them sent again afterwards, at most %d answers to try again for one", len(x.acks), x.again, x.most)
	if x.most > patience || total > 3*4*patience {
		t.Errorf("%d answers to try again, %d of them for one payment", total, x.most)
	}
	for name, url := range map[string]string{"node-a": a.url, "node-b": b.url} {
		if s := nodeStatus(t, url); s.Version != "1.1.0" || s.Node.Leader != "node-b" || s.Node.LeaseEpoch != began.Node.LeaseEpoch+1 {
			t.Errorf("%s at the end: version %s, %+v", name, s.Version, s.Node)
		}
		final(t, url)
		log := where(t, url)
		for i, index := range x.acks {
			if got, there := log[id(t, &l.set.Items[i])]; !there || got != index {
				t.Errorf("%s: payment %d was acknowledged at %d; the log has it: %v, at %d", name, i, index, there, got)
			}
		}
	}
	if v := verified(t, "--ledger", a.url, "--genesis", l.genesis.Hash().String()); v.Proofs < uint64(len(x.acks)) {
		t.Errorf("%d proofs hold, %d payments were acknowledged", v.Proofs, len(x.acks))
	}
}
