package settlement

import (
	"context"
	"strings"
)

// Lease is what a shared store says about which of its nodes sequences. It is
// advice, so that nodes do not fence each other all the time. Safety never rests
// on it: that is the compare-and-set of every Append on epoch and head.
type Lease struct {
	// Serial counts the changes of the lease, renewals among them; 0 before the
	// first. Whoever watches it needs no clock in common with the holder.
	Serial uint64
	// Holder names the start of a node that sequences, as node/start; empty when
	// nobody does.
	Holder string
	// URL is where the holder takes what other nodes forward.
	URL string
	// Millis is for how long, in milliseconds, a lease counts that nobody changes.
	Millis uint64
	// Epoch is the fencing epoch of the holder, 0 until it has taken one.
	Epoch uint64
}

// Node is the holder without its start.
func (l Lease) Node() string {
	if i := strings.LastIndexByte(l.Holder, '/'); i >= 0 {
		return l.Holder[:i]
	}
	return l.Holder
}

// Leaser is a Store that several nodes share.
type Leaser interface {
	Store
	// Lease reads the lease, the zero one before the first change.
	Lease(ctx context.Context) (Lease, error)
	// ChangeLease replaces the lease if its serial is still the one given, and
	// tells whether it did: a compare-and-set. The new serial is one more, and
	// to.Serial is not looked at. After an error the change may or may not have
	// happened; reading the lease tells.
	ChangeLease(ctx context.Context, serial uint64, to Lease) (bool, error)
}
