package storetest

import (
	"errors"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"syscall"
	"testing"

	"github.com/comity-ledger/comity/settlement"
)

// crashes is how many losses of power one run tries. COMITY_CRASHES overrides
// it for long runs.
func crashes(t *testing.T) int {
	n := 240
	if testing.Short() {
		n = 60
	}
	if v := os.Getenv("COMITY_CRASHES"); v != "" {
		var err error
		if n, err = strconv.Atoi(v); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

// lost is a medium as it was left, and what had been acknowledged by then.
type lost struct {
	medium       Medium
	acknowledged int64 // -1: not even block 0
	attempted    int64
	keep         int
}

// testCrash cuts the power at writes picked at random, with none, half and all
// of what was not synced kept. Each copy must open to every block that was
// acknowledged before the cut, whole, and at most the one that was under way
// besides, and then go on.
func testCrash(t *testing.T, factory Factory) {
	if _, ok := factory(t).(Crasher); !ok {
		t.Skip("the medium cannot lose power")
	}
	// In rounds, so that few copies are held at once, and a failing seed is
	// short.
	const perRound = 60
	left := crashes(t)
	for seed := uint64(11); left > 0; seed++ {
		crashRound(t, factory(t).(Crasher), seed, min(left, perRound))
		left -= perRound
	}
}

func crashRound(t *testing.T, m Crasher, seed uint64, want int) {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 0))
	var mu sync.Mutex // guards everything up to found
	acknowledged, attempted := int64(-1), int64(-1)
	var found []lost
	m.OnWrite(func() {
		mu.Lock()
		defer mu.Unlock()
		rate := 4
		if acknowledged < 0 {
			rate = 2 // the creation is short
		}
		if r.IntN(rate) != 0 || len(found) >= want {
			return
		}
		keep := []int{0, 50, 100}[len(found)%3]
		found = append(found, lost{m.Crash(keep, r.Uint64()), acknowledged, attempted, keep})
	})
	set := func(a, b int64) {
		mu.Lock()
		acknowledged, attempted = a, b
		mu.Unlock()
	}
	enough := func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(found) >= want
	}

	c := NewChain(seed)
	set(-1, 0)
	s, head := create(t, m, c)
	set(0, 0)
	for i := int64(1); !enough(); i++ {
		if i > int64(20*want+100) {
			t.Fatalf("%d blocks gave no %d crashes", i, want)
		}
		b := c.Random()
		set(i-1, i)
		head = commit(t, s, head, b)
		set(i, i)
		if i%10 == 0 {
			if err := s.SaveSnapshot(t.Context(), uint64(i), make([]byte, 3000)); err != nil {
				t.Fatal(err)
			}
		}
	}
	m.OnWrite(func() {})
	shut(t, s)

	for i, l := range found {
		recovered(t, c, l, seed, i)
	}
	t.Logf("seed %d: %d crash copies over %d blocks", seed, len(found), len(c.Blocks))
}

// recovered opens what a crash left.
func recovered(t *testing.T, c *Chain, l lost, seed uint64, number int) {
	t.Helper()
	s, err := l.medium.Open(t.Context(), c.Genesis().GenesisHash())
	if l.acknowledged < 0 && (errors.Is(err, settlement.ErrStoreNotFound) || errors.Is(err, settlement.ErrStoreHalfCreated)) {
		return // nobody was told that the ledger exists
	}
	if err != nil {
		t.Fatalf("seed %d, crash %d (%d %% kept, %d acknowledged): %v", seed, number, l.keep, l.acknowledged, err)
	}
	head, err := s.Head(t.Context())
	if err != nil || int64(head.Height) < l.acknowledged || int64(head.Height) > l.attempted {
		t.Fatalf("seed %d, crash %d (%d %% kept): head %d, %d acknowledged, %d attempted, %v", seed, number, l.keep, head.Height, l.acknowledged, l.attempted, err)
	}
	if head != c.Blocks[head.Height].Head(head.Epoch) {
		t.Fatalf("seed %d, crash %d: head %+v is not that of its block", seed, number, head)
	}
	short := *c
	short.Blocks = c.Blocks[:min(len(c.Blocks), int(head.Height)+3)]
	// Every block of some copies, the last ones of all.
	from := uint64(0)
	if number%16 != 0 && head.Height > 30 {
		from = head.Height - 30
	}
	short.checkFrom(t, s, from, head.Height)
	if next := head.Height + 1; next < uint64(len(c.Blocks)) {
		commit(t, s, acquire(t, s), c.Blocks[next])
	}
	shut(t, s)
}

// testFaults lets writes and fsyncs fail. The outcome must be unknown, the
// handle must not pretend to know better, and what a new handle finds must
// hold every acknowledged block and either all or nothing of the last.
func testFaults(t *testing.T, factory Factory) {
	if _, ok := factory(t).(Faulter); !ok {
		t.Skip("the medium cannot be made to fail")
	}
	for name, fault := range map[string]Fault{"fsync fails": FaultSync, "disk full": FaultFull, "write fails": FaultWrite} {
		t.Run(name, func(t *testing.T) {
			m := factory(t).(Faulter)
			c := NewChain(12)
			s, head := create(t, m, c)
			for range 10 {
				head = commit(t, s, head, c.Random())
			}
			m.Inject(fault)
			b := c.Next(Payments(50))
			outcome, err := s.Append(t.Context(), head, b)
			if outcome != settlement.Unknown || err == nil {
				t.Fatalf("append: %v, %v", outcome, err)
			}
			if full := errors.Is(err, settlement.ErrStoreFull); full != (fault == FaultFull) {
				t.Fatalf("append: %v", err)
			}
			if fault != FaultFull && !errors.Is(err, syscall.EIO) {
				t.Fatalf("append does not say why: %v", err)
			}
			after, err := s.Head(t.Context())
			if err == nil && after != head && after != b.Head(head.Epoch) {
				t.Fatalf("head after the failure: %+v", after)
			}
			m.Inject(FaultNone)
			if err != nil {
				// It does not know: neither may it write.
				if outcome, _ := s.Append(t.Context(), head, b); outcome == settlement.Committed {
					t.Fatal("a broken handle committed")
				}
			}
			_ = s.Close()
			s = open(t, m, c)
			found, err := s.Head(t.Context())
			if err != nil || found.Height != head.Height && found.Height != b.Height {
				t.Fatalf("head after opening again: %+v, %v", found, err)
			}
			c.check(t, s, found.Height)
			head = acquire(t, s)
			if head.Height < b.Height {
				head = commit(t, s, head, b)
			}
			head = commit(t, s, head, c.Random())
			c.check(t, s, head.Height)
			shut(t, s)
		})
	}
}
