package failovertest

import (
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
)

// limit is how long a ledger may stand still when its sequencing node is killed.
const limit = 5 * time.Second

// TestTheLedgerSurvivesKilledLeaders: whoever sequences is killed, again and again, under load; the other goes on.
func TestTheLedgerSurvivesKilledLeaders(t *testing.T) {
	r := newRig(t, "one", "two")
	l := r.load(8)
	for round := range 3 {
		l.since(t, time.Now())
		victim := r.leader()
		killed := time.Now()
		victim.signal(t, syscall.SIGKILL)
		took := l.since(t, killed)
		t.Logf("round %d: %s was killed, acknowledged again after %v", round, victim.name, took.Round(time.Millisecond))
		if took > limit {
			t.Errorf("the ledger stood still for %v", took)
		}
		r.start(victim)
	}
	l.end(t)
	for _, p := range r.nodes {
		r.final(t, p)
	}
}

// TestALeaderBelievesTheNodesOfItsLedger: to this leader every proof is false, so what settles was checked by the other node alone.
func TestALeaderBelievesTheNodesOfItsLedger(t *testing.T) {
	t.Setenv(envBlind, "one")
	r := newRig(t, "one", "two")
	leader := r.leader()
	if leader.name != "one" {
		t.Fatalf("%s leads", leader.name)
	}
	settled := map[entry.ID]bool{}
	for range 20 {
		good, bad := r.transfer(nil), r.transfer(nil)
		if _, err := r.submit(r.nodes["two"], good); err != nil {
			t.Fatalf("checked by the node that follows: %v", err)
		}
		settled[good.ID()] = true
		if _, err := r.submit(leader, bad); entry.CodeOf(err) != entry.ProofInvalid {
			t.Fatalf("checked by the leader: %v", err)
		}
		bad.Legs[0].Proof[40] ^= 1
		if _, err := r.submit(r.nodes["two"], bad); entry.CodeOf(err) != entry.ProofInvalid {
			t.Fatalf("a false proof at the node that follows: %v", err)
		}
	}
	at := r.audit(t)
	for id := range at {
		if !settled[id] {
			t.Errorf("the log has %s", id)
		}
	}
	if len(at) != len(settled) {
		t.Errorf("%d transfers in the log, %d were acknowledged", len(at), len(settled))
	}
}

// TestAPausedLeaderCannotCommit: a node that stands still long enough to lose the lease comes back believing in it.
func TestAPausedLeaderCannotCommit(t *testing.T) {
	r := newRig(t, "one", "two")
	l := r.load(6)
	l.since(t, time.Now())
	for range 2 {
		paused := r.leader()
		before, err := r.store.Head(t.Context())
		must(t, err)
		stopped := time.Now()
		paused.signal(t, syscall.SIGSTOP)
		took := l.since(t, stopped)
		t.Logf("%s was paused, acknowledged again after %v", paused.name, took.Round(time.Millisecond))
		after, err := r.store.Head(t.Context())
		must(t, err)
		if after.Epoch <= before.Epoch {
			t.Fatalf("epoch %d after %d: nobody took over", after.Epoch, before.Epoch)
		}
		paused.signal(t, syscall.SIGCONT)
		// It answers again, as a node that follows, in the same process.
		tx := r.transfer(nil)
		for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
			if _, err := r.submit(paused, tx); err == nil {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("the node that was paused settles nothing: %v", err)
			}
		}
		now, err := r.store.Head(t.Context())
		must(t, err)
		if now.Epoch != after.Epoch {
			t.Errorf("epoch %d after %d: the paused node took the ledger back", now.Epoch, after.Epoch)
		}
	}
	l.end(t)
}

// TestOneOf64SpendersWinsAcrossAFailover: half of them ask each node, and the leader is killed among them.
func TestOneOf64SpendersWinsAcrossAFailover(t *testing.T) {
	r := newRig(t, "one", "two")
	for round := range 3 {
		leader := r.leader()
		both := append(r.others(leader), leader)
		rivals := []*ledgertest.Tx{r.transfer(nil)}
		for len(rivals) < 64 {
			rivals = append(rivals, r.transfer(rivals[0]))
		}
		var mu sync.Mutex
		won := map[entry.ID]bool{}
		var wait sync.WaitGroup
		for i, tx := range rivals {
			wait.Go(func() {
				time.Sleep(time.Duration(i) * 2 * time.Millisecond)
				for try := i; ; try++ {
					_, err := r.submit(both[try%2], tx)
					switch code := entry.CodeOf(err); {
					case err == nil:
						mu.Lock()
						won[tx.ID()] = true
						mu.Unlock()
						return
					case code == entry.NullifierSpent:
						return
					case code != "" && code != entry.TryLater:
						t.Errorf("a spender was told %v", err)
						return
					}
					time.Sleep(20 * time.Millisecond)
				}
			})
		}
		time.Sleep(time.Duration(20+30*round) * time.Millisecond)
		leader.signal(t, syscall.SIGKILL)
		wait.Wait()
		if len(won) != 1 {
			t.Errorf("round %d: %d spenders won", round, len(won))
		}
		r.start(leader)
	}
	if at := r.audit(t); len(at) != 3 {
		t.Errorf("%d transfers in the log", len(at))
	}
}

// TestTheDatabaseIsKilledUnderTwoNodes: every process of the server is killed in the middle of blocks. Both nodes live on, in whatever role.
func TestTheDatabaseIsKilledUnderTwoNodes(t *testing.T) {
	server := pgtest.Start(t)
	r := newRigOn(t, server, "one", "two")
	l := r.load(6)
	l.since(t, time.Now())
	server.Kill(t)
	time.Sleep(300 * time.Millisecond)
	server.Restart(t)
	up := time.Now()
	took := l.since(t, up)
	t.Logf("the database was killed, acknowledged again %v after it was up", took.Round(time.Millisecond))
	if took > 2*limit {
		t.Errorf("the ledger stood still for %v", took)
	}
	for _, p := range r.nodes {
		select {
		case <-p.gone:
			t.Errorf("node %s has ended", p.name)
		default:
		}
	}
	l.end(t)
}

// TestRollingUpgradeUnderLoad: both nodes are replaced in order, twice, and no client is refused for good.
func TestRollingUpgradeUnderLoad(t *testing.T) {
	r := newRig(t, "one", "two")
	l := r.load(8)
	for range 2 {
		for _, name := range []string{"one", "two"} {
			l.since(t, time.Now())
			p := r.nodes[name]
			led := r.leader() == p
			began := time.Now()
			p.signal(t, syscall.SIGTERM)
			took := l.since(t, began)
			t.Logf("%s was replaced (it led: %v), acknowledged again after %v", name, led, took.Round(time.Millisecond))
			if took > limit {
				t.Errorf("a hand-over in order took %v", took)
			}
			r.start(p)
		}
	}
	l.end(t)
}
