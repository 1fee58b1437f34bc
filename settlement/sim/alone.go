package sim

import (
	"bytes"

	"github.com/comity-ledger/comity/settlement"
)

// alone is a ledger of one node, which starts again when it dies.
type alone struct {
	w    *world
	node *node
}

func (a *alone) receive(m *message)      { a.node.receive(m) }
func (a *alone) founding()               { a.node.step(false) }
func (a *alone) store() settlement.Store { return a.node.raw }
func (a *alone) wallAt(uint64) uint64    { return a.w.wall }
func (a *alone) rest()                   { a.node.store.armed = nil }

// finish: the node has stepped as often as it had to.
func (a *alone) finish() (*settlement.State, error) { return a.node.seq.State(), nil }

// falsely: what one node answers, it answers at once.
func (a *alone) falsely(settlement.Result, uint64, uint64) bool { return true }

// arm chooses what the store does wrong at the next step.
func (a *alone) arm() {
	a.node.store.armed = nil
	if a.w.tick > 4 && a.w.rand.Chance(0.3) {
		f := Fault(a.w.rand.IntN(int(numFaults)))
		a.node.store.armed = &f
	}
}

// advance is one step of the node, and its restart when it dies.
func (a *alone) advance(calm bool) {
	w, n := a.w, a.node
	if !calm && len(n.waiting) > 0 && w.rand.Chance(0.15) {
		return // candidates wait, and the world goes on
	}
	n.store.armed = n.store.armed.clone()
	head := n.seq.State()
	force := head.MayExpire(w.wall, 0) && w.rand.Chance(0.3)
	if !n.step(force) {
		a.crash()
	} else if w.rand.Chance(0.1) && w.failure == nil {
		s := n.seq.State()
		w.fail(n.raw.SaveSnapshot(ctx, s.Height(), s.Marshal()))
	}
	if w.failure == nil && w.rand.Chance(0.02) {
		w.report.Other["kill between steps"]++
		a.crash()
	}
}

// crash loses the node's memory, and what the disk had not made durable.
func (a *alone) crash() {
	w := a.w
	w.report.Restarts++
	w.disk.Crash()
	_ = a.node.raw.Close() // a dead handle; what it says no longer matters
	w.fail(a.start())
}

// follow observes the log and compares the node's state with the auditor's.
func (a *alone) follow() error {
	w := a.w
	if err := w.observe(); err != nil {
		return err
	}
	if w.audit != nil && !bytes.Equal(w.audit.State().Marshal(), a.node.seq.State().Marshal()) {
		return wrong("replay up to block %d gives another state than the node has", w.model.height)
	}
	return nil
}

func (f *Fault) clone() *Fault {
	if f == nil {
		return nil
	}
	c := *f
	return &c
}
