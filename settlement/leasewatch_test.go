package settlement_test

import (
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
)

const leaseLength = 3 * time.Second

func held(serial uint64, holder string) settlement.Lease {
	return settlement.Lease{Serial: serial, Holder: holder, Millis: 3000}
}

// TestFollowerTakesTheLease holds L12.1: free, run out by its own clock and a
// part by chance more, or its own.
func TestFollowerTakesTheLease(t *testing.T) {
	for _, c := range []struct {
		name  string
		look  func(w *settlement.LeaseWatch)
		at    time.Duration
		takes bool
	}{
		{"never looked", func(*settlement.LeaseWatch) {}, time.Hour, false},
		{"nobody's yet", func(w *settlement.LeaseWatch) { w.Saw(settlement.Lease{}, 0, 0) }, 0, true},
		{"given up", func(w *settlement.LeaseWatch) { w.Saw(held(9, ""), 0, 0) }, 0, true},
		{"fresh", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0) }, leaseLength, false},
		{"run out", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0) }, leaseLength + 1, true},
		{"seen again unchanged", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0); w.Saw(held(9, "b/1"), leaseLength, 0) }, leaseLength + 1, true},
		{"renewed", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0); w.Saw(held(10, "b/1"), 1, 0) }, leaseLength + 1, false},
		{"run out, but put off by chance", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0); w.Saw(held(10, "c/1"), 0, time.Second) }, leaseLength + time.Second, false},
		{"run out and chance is over", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0); w.Saw(held(10, "c/1"), 0, time.Second) }, leaseLength + time.Second + 1, true},
		{"run out, but the last look failed", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0); w.Missed() }, leaseLength + 1, false},
		{"run out, but it rests", func(w *settlement.LeaseWatch) { w.Saw(held(9, "b/1"), 0, 0); w.Rest(leaseLength + 2) }, leaseLength + 1, false},
		{"its own", func(w *settlement.LeaseWatch) { w.Saw(held(9, "a/2"), 0, 0) }, 0, true},
		{"of its former life, at the first look", func(w *settlement.LeaseWatch) { w.Saw(held(9, "a/1"), 0, 0) }, 0, true},
		{"of its former life, later", func(w *settlement.LeaseWatch) { w.Saw(held(8, "b/1"), 0, 0); w.MayTake(0); w.Saw(held(9, "a/1"), 0, 0) }, 0, false},
		{"of a node whose name begins as its own", func(w *settlement.LeaseWatch) { w.Saw(held(9, "a/b/1"), 0, 0) }, 0, false},
	} {
		w := settlement.NewLeaseWatch("a", "2", leaseLength)
		c.look(w)
		if got := w.MayTake(c.at); got != c.takes {
			t.Errorf("%s: takes it %v, want %v", c.name, got, c.takes)
		}
	}
}

// TestLeaderRenewsFromWhatItWrote holds that a renewal never starts from a
// serial of another's.
func TestLeaderRenewsFromWhatItWrote(t *testing.T) {
	w := settlement.NewLeaseWatch("a", "1", leaseLength)
	w.Saw(held(4, ""), 0, 0)
	w.Wrote(4, held(0, w.Me()), 0, 0, 0)
	w.Lead()
	if !w.MustRenew(0) || w.Serial() != 5 {
		t.Fatalf("a new leader renews at once: %v, from %d", w.MustRenew(0), w.Serial())
	}
	w.Wrote(5, held(0, w.Me()), 0, 0, 0)
	if w.MustRenew(leaseLength/4-1) || !w.MustRenew(leaseLength/4) {
		t.Error("it renews four times per length")
	}
	w.Unanswered(leaseLength)
	if w.MustRenew(leaseLength) || !w.MustRenew(leaseLength+leaseLength/16) {
		t.Error("after no answer it tries again soon, not at once")
	}
	if w.Reread(held(7, w.Me()), leaseLength, 0) || w.Serial() != 7 {
		t.Errorf("its own unheard change is its lease: serial %d", w.Serial())
	}
	w.Saw(held(8, "b/1"), leaseLength, 0)
	if w.Serial() != 7 {
		t.Errorf("a lease of another's was taken for its own: serial %d", w.Serial())
	}
	if !w.Reread(held(8, "b/1"), leaseLength, 0) || w.Serial() != 7 {
		t.Errorf("the lease is another's: serial %d", w.Serial())
	}
}

// TestLeaderIsSureForAWhile holds L12.9: from when the change was sent, not from
// when its answer came.
func TestLeaderIsSureForAWhile(t *testing.T) {
	w := settlement.NewLeaseWatch("a", "1", leaseLength)
	w.Saw(held(4, ""), 0, 0)
	if w.Sure(0) {
		t.Error("sure of a lease that it does not hold")
	}
	w.Wrote(4, held(0, w.Me()), time.Second, 2*time.Second, 0)
	if end := time.Second + leaseLength*3/4; !w.Sure(end-1) || w.Sure(end) {
		t.Error("it is sure for three quarters of the length")
	}
	if w.Saw(held(6, "b/1"), 2*time.Second, 0); w.Sure(2 * time.Second) {
		t.Error("sure of a lease in other hands")
	}
}

// TestLeasePassesOn: to another holder, not with a renewal.
func TestLeasePassesOn(t *testing.T) {
	w := settlement.NewLeaseWatch("a", "1", leaseLength)
	if w.Saw(held(1, "b/1"), 0, 0) || w.Saw(held(2, "b/1"), 0, 0) || !w.Saw(held(3, "c/1"), 0, 0) || !w.Saw(held(4, ""), 0, 0) {
		t.Error("a lease passes on exactly when its holder is another")
	}
	if !w.Stale(0) || settlement.NewLeaseWatch("a", "1", leaseLength).Stale(0) != true {
		t.Error("nobody leads with an empty lease, or none seen")
	}
	if w.Saw(held(5, "c/1"), 0, 0); w.Stale(leaseLength) || !w.Stale(leaseLength+1) {
		t.Error("a lease is stale after its length")
	}
}
