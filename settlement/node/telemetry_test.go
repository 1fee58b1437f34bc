package node

import (
	"slices"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// The gauge that wakes an operator is 0 as long as the state is right, and tells by how much when it is not.
func TestTheSupplyIsCountedASecondTime(t *testing.T) {
	r := newRig(t)
	r.limits.Idle = time.Hour // no block but those of this test
	n := r.start(t, r.disk)
	asset := r.Genesis.Assets[0].ID
	g := &gauges{}
	_, err := n.observe(g)
	must(t, err)
	off := func() int64 {
		o := collected{got: map[string]int64{}}
		must(t, g.callback(t.Context(), o))
		v, told := o.got["comity.supply.mismatch "+r.Genesis.Assets[0].Code]
		if !told {
			t.Fatal("no mismatch is told, not even 0")
		}
		return v
	}
	issue := func(sequence uint64, amount zk.Amount) {
		t.Helper()
		tx := r.Tx(entry.KindIssue, zk.Transfer)
		tx.Sequence = sequence
		tx.Legs[0].Asset, tx.Legs[0].Issued = asset, amount
		r.Prove(tx)
		if got, err := n.Submit(t.Context(), tx.Encode(), tx.Segments); err != nil || got.Status != settlement.Accepted {
			t.Fatalf("issue: %+v, %v", got, err)
		}
	}
	issue(1, 500)
	if v := off(); v != 0 {
		t.Errorf("after an issue the mismatch is %d", v)
	}
	row := n.state.Load().Supply()
	if len(row) == 0 || row[0].Issued != 500 {
		t.Fatalf("the supply is %+v", row)
	}
	n.measures.supply[asset] = moved{issued: 30} // as if the state had gained 470 from nowhere; no block is under way
	issue(2, 100)
	if v := off(); v != 470 {
		t.Errorf("the mismatch is %d, want 470", v)
	}
	must(t, n.stop(t))
}

func TestAStageThatStandsStillIsNotLive(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	if failed := n.Live(); len(failed) > 0 {
		t.Fatalf("a healthy node fails %v", failed)
	}
	// A node that writes does not follow, so that nothing else touches this stage's pulse.
	n.pulses.follow.since.Store(ticks() - int64(stuckAfter) - 1)
	if failed := n.Live(); !slices.Contains(failed, CheckFollow) {
		t.Errorf("live: %v", failed)
	}
	n.pulses.follow.end()
	if failed := n.Live(); len(failed) > 0 {
		t.Errorf("it moves again: %v", failed)
	}
	// A wall clock that somebody set back: ledger time stands still.
	state := n.state.Load()
	r.clock.Store(state.Time() - clockBehind - 1)
	if failed := n.Ready(t.Context()); !slices.Equal(failed, []string{CheckClock}) {
		t.Errorf("ready: %v", failed)
	}
	r.clock.Store(state.Time())
	// Entries wait and nothing is answered.
	n.waiting.Add(1)
	long := ticks() - int64(unanswered) - 1
	n.pulses.asked.Store(long)
	n.pulses.answered.Store(long)
	if failed := n.Ready(t.Context()); !slices.Equal(failed, []string{CheckBlocks}) {
		t.Errorf("ready: %v", failed)
	}
	n.pulses.answered.Store(ticks())
	if failed := n.Ready(t.Context()); len(failed) > 0 {
		t.Errorf("something was answered: %v", failed)
	}
	n.waiting.Add(-1)
	must(t, n.stop(t))
}
