package node

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
)

// unheard is a store whose answers about the lease are lost while off is set. What it was asked is done.
type unheard struct {
	*shared
	off atomic.Bool
}

var errUnheard = errors.New("no answer")

func (u *unheard) Lease(ctx context.Context) (settlement.Lease, error) {
	if u.off.Load() {
		return settlement.Lease{}, errUnheard
	}
	return u.shared.Lease(ctx)
}

func (u *unheard) ChangeLease(ctx context.Context, serial uint64, to settlement.Lease) (bool, error) {
	if u.off.Load() {
		u.mu.Lock()
		u.lease.Serial++ // the row lives on, so that nobody else takes it
		u.mu.Unlock()
		return false, errUnheard
	}
	return u.shared.ChangeLease(ctx, serial, to)
}

// until submits an entry that is refused until it is for the reason wanted.
func (p *pair) until(t *testing.T, tx *ledgertest.Tx, want entry.Code) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if _, err = at(p.leader, "bank/a", tx); entry.CodeOf(err) == want {
			return
		}
	}
	t.Fatalf("%v, want %s", err, want)
}

// TestALeaderThatIsNotSureRefusesNothing: a leader that has heard nothing of its lease for most of its length may have been replaced. It still
// writes, because the store would fence it, and it names no reason that rests on its state alone (L12.9).
func TestALeaderThatIsNotSureRefusesNothing(t *testing.T) {
	var lost *unheard
	p := newPair(t, func(leader, follower *MemberConfig) {
		lost = &unheard{shared: leader.Node.Store.(*shared)}
		leader.Node.Store, leader.Lease = lost, time.Second
	})
	false1 := p.broken()
	p.until(t, false1, entry.ProofInvalid)
	lost.off.Store(true)
	p.until(t, false1, entry.TryLater)
	accepted(t, p.leader, "bank/a", p.transfer())
	if !p.leader.Role().Leads {
		t.Fatal("the leader gave up")
	}
	lost.off.Store(false)
	p.until(t, false1, entry.ProofInvalid)
}

// TestALeaderShowsWhatItAnswersFor: one that was replaced and has not heard of it finds a payment in the store that it has not applied. It
// answers once it has.
func TestALeaderShowsWhatItAnswersFor(t *testing.T) {
	var lost *unheard
	p := newPair(t, func(leader, follower *MemberConfig) {
		lost = &unheard{shared: leader.Node.Store.(*shared)}
		leader.Node.Store, leader.Lease = lost, 2*time.Second
	})
	lost.off.Store(true)
	lost.mu.Lock()
	lost.lease = settlement.Lease{Serial: lost.lease.Serial + 1}
	lost.mu.Unlock()
	for end := time.Now().Add(time.Minute); !p.follower.Role().Leads; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("nobody took the lease")
		}
	}
	if !p.leader.Role().Leads {
		t.Fatal("the leader knows already")
	}
	tx := p.transfer()
	accepted(t, p.follower, "bank/a", tx)
	go func() {
		time.Sleep(50 * time.Millisecond)
		lost.off.Store(false)
	}()
	r, err := at(p.leader, "bank/a", tx)
	if err != nil || r.Status != settlement.SettledBefore {
		t.Fatalf("%+v, %v", r, err)
	}
	if _, err := p.leader.Block(t.Context(), r.Height); err != nil || p.leader.node.Load().state.Load().Height() < r.Height {
		t.Fatalf("block %d is answered for at height %d: %v", r.Height, p.leader.node.Load().state.Load().Height(), err)
	}
}

// tardy is a store that does something before it gives an epoch.
type tardy struct {
	*shared
	first func()
}

func (s *tardy) Acquire(ctx context.Context) (settlement.Head, error) {
	if s.first != nil {
		s.first()
		s.first = nil
	}
	return s.shared.Acquire(ctx)
}

// TestAnEpochThatComesAfterTheLeaseLeadsNobody: a node that stood still between taking the lease and acquiring the epoch leads only if nobody
// has taken the lease since.
func TestAnEpochThatComesAfterTheLeaseLeadsNobody(t *testing.T) {
	const lease = 800 * time.Millisecond
	for name, taken := range map[string]bool{"taken": true, "not taken": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			store, err := r.disk.Open(t.Context(), r.Hash)
			must(t, err)
			both := &shared{Store: store}
			other := settlement.Lease{Holder: "three/x", URL: "http://three", Millis: 60_000, Epoch: 1}
			s := &tardy{shared: both, first: func() {
				if taken {
					both.mu.Lock()
					other.Serial = both.lease.Serial + 1
					both.lease = other
					both.mu.Unlock()
				}
				time.Sleep(lease * 4 / 5)
			}}
			m, err := Join(t.Context(), MemberConfig{Name: "one", URL: "http://one", Lease: lease,
				Node: Config{Store: s, Verifier: r.verify, Signer: r.signer, Witnesses: r.endpoints(), Limits: r.limits}})
			must(t, err)
			for end := time.Now().Add(time.Minute); !taken && !m.Role().Leads; time.Sleep(5 * time.Millisecond) {
				if time.Now().After(end) {
					t.Fatal("nobody leads")
				}
			}
			if role := m.Role(); role.Leads == taken {
				t.Errorf("%+v", role)
			}
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
			defer cancel()
			must(t, errors.Join(m.Stop(ctx), store.Close()))
		})
	}
}
