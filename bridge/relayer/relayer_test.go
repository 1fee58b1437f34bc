package relayer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
)

// during runs a relayer while do happens, and waits for its end.
func during(t *testing.T, c *carrier, do func()) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	ready, ended := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx, func() { close(ready) })
	}()
	<-ready
	do()
	stop()
	<-ended
}

func TestPaymentsAreCarriedInBatches(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newWorld(t, "aurelia", "borealis", "cordelia")
		a, b := all[0], all[1]
		c := newCarrier(all, 10*time.Millisecond)
		const count = 700 // more than one call has
		during(t, c, func() {
			for i := range 3 {
				onA, onB := place(a, b, count*i, count)
				time.Sleep(3 * time.Second)
				if b.posted(onB) != count || a.posted(onA) != count {
					t.Fatalf("%d and %d of %d posted; %v", b.posted(onB), a.posted(onA), count, c.problems())
				}
			}
		})
		if a.calls > 12 || b.calls > 12 || a.refused+b.refused > 0 {
			t.Errorf("%d and %d calls, %d and %d refused", a.calls, b.calls, a.refused, b.refused)
		}
		if c.evidence() != 0 || c.Plans() == 0 {
			t.Errorf("%v after %d plans", c.done(), c.Plans())
		}
	})
}

// Observations keep their pace though every block would allow one.
func TestObservationsKeepTheirPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newWorld(t, "aurelia", "borealis")
		c := newCarrier(all, 500*time.Millisecond)
		var onA []entry.HoldID
		during(t, c, func() {
			time.Sleep(time.Second)
			for i := range 400 { // 2 s
				ids, _ := place(all[0], all[1], i, 1)
				onA = append(onA, ids...)
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(3 * time.Second)
		})
		if all[0].posted(onA) != 400 {
			t.Errorf("%d posted", all[0].posted(onA))
		}
		if n := c.done()["aurelia: observe"] + c.done()["borealis: observe"]; n > 24 {
			t.Errorf("%d observations in six seconds", n)
		}
	})
}

func TestWhatWasGoneComesBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newWorld(t, "aurelia", "borealis")
		a, b := all[0], all[1]
		c := newCarrier(all, 0)
		set := func(l *ledger, f func()) { l.mu.Lock(); f(); l.mu.Unlock() }
		set(b, func() { b.down = true }) // from the beginning
		during(t, c, func() {
			onA, onB := place(a, b, 0, 3)
			time.Sleep(2 * time.Second)
			if len(c.problems()) == 0 {
				t.Error("nobody was told")
			}
			set(b, func() { b.down = false })
			time.Sleep(3 * time.Second)
			if b.posted(onB) != 3 || a.posted(onA) != 3 {
				t.Errorf("%d and %d posted: %v", b.posted(onB), a.posted(onA), c.problems())
			}
			set(a, func() { a.down = true }) // in the middle
			time.Sleep(time.Second)
			onA, onB = place(a, b, 3, 2)
			time.Sleep(time.Second)
			set(a, func() { a.down, a.held = false, true }) // without witnesses
			a.log()
			time.Sleep(time.Second)
			set(a, func() { a.held = false })
			a.log()
			time.Sleep(3 * time.Second)
			if b.posted(onB) != 2 || a.posted(onA) != 2 {
				t.Errorf("%d and %d posted: %v", b.posted(onB), a.posted(onA), c.problems())
			}
			// A node that is behind, as one that was restored or one of several: no contradiction.
			set(b, func() { b.behind = 2 })
			time.Sleep(2 * time.Second)
			set(b, func() { b.behind = 0 })
			onA, onB = place(a, b, 5, 2)
			time.Sleep(3 * time.Second)
			if b.posted(onB) != 2 || a.posted(onA) != 2 || c.evidence() != 0 {
				t.Errorf("%d and %d posted, %v: %v", b.posted(onB), a.posted(onA), c.done(), c.problems())
			}
		})
	})
}

// A checkpoint that lacks the witness of a corridor's own nation is fetched with it.
func TestACorridorGetsTheCheckpointThatItAccepts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newWorld(t, "aurelia", "borealis")
		for _, l := range all {
			l.away = true
		}
		during(t, newCarrier(all, 0), func() {
			onA, onB := place(all[0], all[1], 0, 2)
			time.Sleep(3 * time.Second)
			if all[1].posted(onB) != 2 || all[0].posted(onA) != 2 || all[0].refused+all[1].refused > 0 {
				t.Errorf("%d and %d posted, %d refused", all[1].posted(onB), all[0].posted(onA), all[0].refused+all[1].refused)
			}
		})
	})
}

// A ledger that rewrites its history is accused on every other, whether the relayer saw it happen or only what the others had observed.
func TestAForkedLedgerIsAccused(t *testing.T) {
	for name, late := range map[string]bool{"seen by the relayer": false, "told by the ledgers": true} {
		synctest.Test(t, func(t *testing.T) {
			all := newWorld(t, "aurelia", "borealis", "cordelia")
			forking := all[2]
			c := newCarrier(all, 0)
			place(all[0], forking, 0, 1)
			during(t, c, func() {
				time.Sleep(5 * time.Second)
				if c.evidence() != 0 || len(c.problems()) != 0 {
					t.Fatalf("%s: %v, %v", name, c.done(), c.problems())
				}
				if !late {
					forking.rewrite(2)
					time.Sleep(10 * time.Second)
				}
			})
			if late {
				forking.rewrite(2)
				c = newCarrier(all, 0)
				during(t, c, func() { time.Sleep(10 * time.Second) })
			}
			if !all[0].frozen[forking.hash] || !all[1].frozen[forking.hash] || c.evidence() != 2 {
				t.Errorf("%s: frozen %t %t, %v; %v", name, all[0].frozen[forking.hash], all[1].frozen[forking.hash], c.done(), c.problems())
			}
			// The others' business goes on.
			during(t, c, func() {
				onA, onB := place(all[0], all[1], 100, 2)
				time.Sleep(5 * time.Second)
				if all[1].posted(onB) != 2 || all[0].posted(onA) != 2 {
					t.Errorf("%s: %d and %d posted after the fork: %v", name, all[1].posted(onB), all[0].posted(onA), c.problems())
				}
			})
		})
	}
}

// A node that shows blocks which nobody signed is no fork of its log: it is told to people, and not followed for ever.
func TestANodeThatLiesIsNotAccused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newWorld(t, "aurelia", "borealis", "cordelia")
		liar := all[2]
		c := newCarrier(all, 0)
		during(t, c, func() {
			time.Sleep(2 * time.Second)
			liar.mu.Lock()
			b := &liar.blocks[len(liar.blocks)-1]
			b.Entries = append(b.Entries[:len(b.Entries):len(b.Entries)], b.Entries[0]) // one leaf too many
			liar.blocks = append(liar.blocks, Block{Height: uint64(len(liar.blocks)), FirstIndex: uint64(len(liar.leaves)), Entries: [][]byte{b.Entries[0]}})
			liar.mu.Unlock()
			time.Sleep(time.Second)
			liar.log()
			time.Sleep(10 * time.Second)
			onA, onB := place(all[0], all[1], 0, 2)
			time.Sleep(5 * time.Second)
			if all[1].posted(onB) != 2 || all[0].posted(onA) != 2 {
				t.Errorf("%d and %d posted beside a liar: %v", all[1].posted(onB), all[0].posted(onA), c.problems())
			}
		})
		if c.evidence() != 0 || len(c.problems()) == 0 {
			t.Errorf("%v, %v", c.done(), c.problems())
		}
	})
}

func TestOnceCatchesUpAndLeaves(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := newWorld(t, "aurelia", "borealis")
		a, b := all[0], all[1]
		onA, onB := place(a, b, 0, 5)
		c := newCarrier(all, 0)
		c.cfg.Fresh = false
		if c.Once(t.Context()) || b.posted(onB) != 5 || a.posted(onA) != 5 {
			t.Fatalf("%d and %d posted: %v", b.posted(onB), a.posted(onA), c.problems())
		}
		if c.Once(t.Context()) {
			t.Error("there was nothing left")
		}
		a.held = true // what A logs now never becomes final
		onA, onB = place(a, b, 5, 1)
		if !c.Once(t.Context()) || b.posted(onB) != 0 {
			t.Error("a payment without a final hold was settled")
		}
		a.held = false
		a.log()
		if c.Once(t.Context()) || b.posted(onB) != 1 || a.posted(onA) != 1 {
			t.Errorf("%d and %d posted: %v", b.posted(onB), a.posted(onA), c.problems())
		}
	})
}
