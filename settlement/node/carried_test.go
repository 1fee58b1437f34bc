package node

import (
	"slices"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
)

// TestANodeThatFollowsForgetsWhatBecameFinal: it learns of finality from the store and not from a round of its own, and must not wake anybody for
// blocks that became final long ago.
func TestANodeThatFollowsForgetsWhatBecameFinal(t *testing.T) {
	m := &measures{}
	age := func(all bool) (waits time.Duration) {
		m.tell(nil, func(string, uint64) {}, func(string, uint64) {}, func(d time.Duration) { waits = d }, all)
		return waits
	}
	age(false)
	m.oldest = m.oldest.Add(-time.Hour)
	if waits := age(false); waits < time.Hour {
		t.Fatalf("nothing was final for an hour, and it says %v", waits)
	}
	m.adopted(false) // more is final, not all
	if waits := age(false); waits > 30*time.Minute {
		t.Errorf("more is final, and it says %v", waits)
	}
	m.oldest = m.oldest.Add(-time.Hour)
	m.adopted(true)
	if waits := age(true); waits != 0 {
		t.Errorf("all is final, and it says %v", waits)
	}
	if waits := age(false); waits > 30*time.Minute {
		t.Errorf("a block is new, and it says %v", waits)
	}
}

// TestWhatWasCountedSurvivesARole: a node that was fenced follows from then on, and its alert needs the count.
func TestWhatWasCountedSurvivesARole(t *testing.T) {
	state, _, err := settlement.Begin(ledgertest.NewLedger(3).Genesis)
	must(t, err)
	last, err := newMeasures(meter(), state, 1)
	must(t, err)
	last.appends["fenced"], last.rounds[true], last.entries[fate{"transfer", "accepted", ""}] = 1, 7, 9
	next, err := newMeasures(meter(), state, 0)
	must(t, err)
	next.appends["committed"], next.entries[fate{"transfer", "accepted", ""}] = 3, 1
	next.carry(last)
	appends, rounds, accepted := map[string]uint64{}, map[string]uint64{}, uint64(0)
	next.tell(func(_ fate, v uint64) { accepted += v }, func(o string, v uint64) { appends[o] = v }, func(r string, v uint64) { rounds[r] = v }, func(time.Duration) {}, true)
	if appends["fenced"] != 1 || appends["committed"] != 3 || rounds["quorum"] != 7 || accepted != 10 {
		t.Errorf("%v, %v, %d accepted", appends, rounds, accepted)
	}
}

// TestANodeBetweenRolesIsAliveAndNotReady: whoever restarts it would only make the ledger wait longer.
func TestANodeBetweenRolesIsAliveAndNotReady(t *testing.T) {
	p := newPair(t, nil)
	n := p.leader.node.Load()
	n.fail(settlement.ErrFenced)
	seen := false
	for p.leader.node.Load() == n {
		if failed := p.leader.Live(); len(failed) > 0 {
			t.Fatalf("live: %v", failed)
		}
		failed := p.leader.Ready(t.Context())
		if slices.Contains(failed, CheckStopping) {
			t.Fatalf("ready: %v", failed)
		}
		seen = seen || slices.Equal(failed, []string{CheckLeader})
		time.Sleep(time.Millisecond)
	}
	t.Logf("seen between two roles: %v", seen)
	if failed := p.leader.Live(); len(failed) > 0 {
		t.Errorf("live in the next role: %v", failed)
	}
}
