package settlement

import "time"

// LeaseWatch is what one node makes of the lease: when to take it, when to
// renew it, and when its own role is over (L12.1 to L12.3). It does nothing
// itself, draws nothing by chance and asks no clock: times are readings of any
// clock of the node's own that never goes back, and are compared with nothing
// but each other. The nodes (node.Member) and the simulation of several
// nodes (settlement/sim) decide by it. Not safe for concurrent use.
type LeaseWatch struct {
	name, me string
	length   time.Duration

	seen  Lease
	known bool
	since time.Duration // when the serial was first seen
	late  time.Duration // how much longer than its length a lease is left alone

	serial uint64        // of the lease as this node last wrote it
	wrote  time.Duration // and when
	asked  time.Duration // when that change was sent
	soon   bool          // renew at the next look, whenever it was written
	rest   time.Duration // no attempt to take it before
	joined bool          // the first look is over
	blind  bool          // the last look failed
}

// NewLeaseWatch is that of one start of a node: name tells the nodes of a ledger
// apart, start the starts of a node, and length is what it writes into the lease.
func NewLeaseWatch(name, start string, length time.Duration) *LeaseWatch {
	return &LeaseWatch{name: name, me: name + "/" + start, length: length}
}

// Me is the holder that this start of the node writes.
func (w *LeaseWatch) Me() string { return w.me }

// View is the lease as last seen; false before the first look that succeeded.
func (w *LeaseWatch) View() (Lease, bool) { return w.seen, w.known }

// Saw takes in a lease that was read or written. late is by how much an attempt
// on the next holder's lease is put off, drawn by chance so that not all nodes
// try at once. It tells whether the lease has passed to another holder.
func (w *LeaseWatch) Saw(lease Lease, now, late time.Duration) (passed bool) {
	w.blind = false
	if w.known && w.seen == lease {
		return false
	}
	passed = w.known && w.seen.Holder != lease.Holder
	w.seen, w.known, w.since = lease, true, now
	if passed {
		w.late = late
	}
	return passed
}

// Missed takes in that the lease could not be read: nothing is taken from a row
// that may have moved on.
func (w *LeaseWatch) Missed() { w.blind = true }

// Stale tells whether nobody leads as far as the node knows: no holder, or a
// lease that nobody has changed for its length.
func (w *LeaseWatch) Stale(now time.Duration) bool { return w.stale(now, 0) }

func (w *LeaseWatch) stale(now, late time.Duration) bool {
	return !w.known || w.seen.Holder == "" || now-w.since > time.Duration(w.seen.Millis)*time.Millisecond+late
}

// MayTake tells a node that follows whether to try for the lease: it is free,
// has run out, is its own, or at the first look is of its former life. The
// attempt is a ChangeLease from View's serial.
func (w *LeaseWatch) MayTake(now time.Duration) bool {
	mine := w.known && (w.seen.Holder == w.me || !w.joined && w.seen.Node() == w.name)
	w.joined = true
	return w.known && !w.blind && now >= w.rest && (mine || w.stale(now, w.late))
}

// Rest puts the next attempt off.
func (w *LeaseWatch) Rest(until time.Duration) { w.rest = until }

// Lead begins the time of a node that holds the lease and its epoch: the epoch
// goes into the lease at the next look.
func (w *LeaseWatch) Lead() { w.soon = true }

// MustRenew tells a node that leads whether it is time to, by a ChangeLease from
// Serial: four times per length.
func (w *LeaseWatch) MustRenew(now time.Duration) bool { return w.soon || now-w.wrote >= w.length/4 }

// Serial is that of the lease as this node last wrote it. A renewal starts from
// it and from no later one: a lease that somebody else wrote is lost.
func (w *LeaseWatch) Serial() uint64 { return w.serial }

// Wrote takes in a ChangeLease of this node that was sent at a time, from a
// serial, and succeeded.
func (w *LeaseWatch) Wrote(serial uint64, lease Lease, sent, now, late time.Duration) (passed bool) {
	lease.Serial = serial + 1
	w.serial, w.asked, w.wrote, w.soon = lease.Serial, sent, now, false
	return w.Saw(lease, now, late)
}

// Sure tells whether no other node can lead yet: the newest change that did was
// sent less than three quarters of the length ago, which leaves a quarter for
// clocks that go at different speeds. Nothing durable rests on it. A node that is
// not sure judges by a state that the ledger may have left behind, so it answers
// no refusal that no block of its own stands for (L12.9).
func (w *LeaseWatch) Sure(now time.Duration) bool {
	return w.known && w.seen.Holder == w.me && now-w.asked < w.length*3/4
}

// Unanswered takes in that a renewal, or the look after it, was not answered:
// the node tries again soon and goes on leading until it is fenced or sees the
// lease in other hands.
func (w *LeaseWatch) Unanswered(now time.Duration) { w.wrote, w.soon = now-w.length*3/16, false }

// Reread takes in the lease as read after a renewal that did not succeed, and
// tells whether the node has lost it. If not, an earlier change of its own had
// succeeded unheard.
func (w *LeaseWatch) Reread(lease Lease, now, late time.Duration) (lost bool) {
	w.Saw(lease, now, late)
	if lease.Holder != w.me {
		return true
	}
	w.serial = lease.Serial
	return false
}
