package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// line is the connection of one node to the store that all share. Every call
// may be cut off, lost on the way there or back, or come late; and before and
// after every call the node may stand still for longer than its lease, or die.
type line struct {
	settlement.Leaser
	m *member
}

// Errors of a line. What they are wrapped in is for the store's caller to judge.
var (
	errCut  = errors.New("sim: no connection to the store")
	errLost = errors.New("sim: connection lost")
)

// How often a call goes wrong, by how much of a node's life it is.
const (
	rarely = 0.004 // looks at the lease and the head, several in a second
	often  = 0.09  // changes
)

// through passes one call on. late says that a request which was given up may
// still arrive.
func through[T any](l *line, rate float64, late bool, do func() (T, error)) (T, error) {
	var none T
	m, c := l.m, l.m.c
	if c.now < m.cutStore {
		return none, errCut
	}
	if !c.faults || !c.rand.Chance(rate) {
		return do()
	}
	switch c.rand.IntN(10) {
	case 0:
		c.note("dies before a call of the store")
		m.die()
	case 1:
		v, err := do()
		if err == nil {
			c.note("dies after a call of the store")
			m.die()
		}
		return v, err
	case 2, 3, 4:
		c.stand(m)
		return do()
	case 5:
		v, err := do()
		c.stand(m)
		return v, err
	case 6:
		c.note("request lost")
	case 7:
		c.note("answer lost")
		_, _ = do()
	case 8:
		if !late {
			return do()
		}
		c.note("request given up that arrives late")
		c.late = append(c.late, func() { _, _ = do() })
	case 9:
		c.note("cut off from the store")
		m.cutStore = c.now + uint64(c.rand.IntN(2*leaseMillis))
	}
	return none, errLost
}

// Head implements settlement.Store.
func (l *line) Head(ctx context.Context) (settlement.Head, error) {
	return through(l, rarely, false, func() (settlement.Head, error) { return l.Leaser.Head(ctx) })
}

// Acquire implements settlement.Store.
func (l *line) Acquire(ctx context.Context) (settlement.Head, error) {
	return through(l, often, true, func() (settlement.Head, error) {
		bug := &l.m.c.w.bug
		if bug.leaseIsToken {
			return l.Leaser.Head(ctx)
		}
		head, err := l.Leaser.Acquire(ctx)
		if err == nil {
			l.m.c.acquired(head.Epoch)
		}
		if bug.noCatchUp {
			head = l.m.state.Head(head.Epoch)
		}
		return head, err
	})
}

// Append implements settlement.Store.
func (l *line) Append(ctx context.Context, expected settlement.Head, block *settlement.Block) (settlement.Outcome, error) {
	m, c, life, wall := l.m, l.m.c, l.m.life, l.m.asked
	return through(l, often, true, func() (settlement.Outcome, error) {
		if c.w.bug.leaseIsToken || c.w.bug.renewBlindly {
			if now, err := l.Leaser.Head(ctx); err == nil {
				expected.Epoch = now.Epoch
			}
		}
		outcome, err := l.Leaser.Append(ctx, expected, block)
		switch outcome {
		case settlement.Committed:
			c.appended(m, life, expected.Epoch, wall)
		case settlement.Fenced:
			c.w.report.Lease["fenced append"]++
		}
		return outcome, err
	})
}

// Block implements settlement.Store. Now and then a follower reads something
// else than what was written.
func (l *line) Block(ctx context.Context, height uint64) (*settlement.Block, error) {
	return through(l, rarely, false, func() (*settlement.Block, error) {
		b, err := l.Leaser.Block(ctx, height)
		if err == nil && l.m.c.faults && len(b.Entries) > 1 && l.m.c.rand.Chance(0.01) {
			l.m.c.note("block spoilt on the way")
			b = spoil(b, l.m.c.rand.IntN(3))
		}
		return b, err
	})
}

// spoil takes an entry out, doubles one, or moves the ledger's time.
func spoil(b *settlement.Block, how int) *settlement.Block {
	s := *b
	last := len(b.Entries) - 1
	switch how {
	case 0:
		s.Entries = append(append([][]byte(nil), b.Entries[:last-1]...), b.Entries[last])
	case 1:
		s.Entries = append(append([][]byte(nil), b.Entries[:last]...), b.Entries[last-1], b.Entries[last])
	case 2:
		s.Entries = append([][]byte(nil), b.Entries...)
		leaf := append([]byte(nil), b.Entries[last]...)
		leaf[len(leaf)-1] ^= 1
		s.Entries[last] = leaf
	}
	return &s
}

// Spent implements settlement.Store.
func (l *line) Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	return through(l, rarely, false, func() ([]settlement.Hit, error) {
		hits, err := l.Leaser.Spent(ctx, nullifiers)
		for i := range hits {
			hits[i] = l.known(hits[i])
		}
		return hits, err
	})
}

// Sequence implements settlement.Store.
func (l *line) Sequence(ctx context.Context, sequence uint64) (settlement.Hit, error) {
	return through(l, rarely, false, func() (settlement.Hit, error) {
		hit, err := l.Leaser.Sequence(ctx, sequence)
		return l.known(hit), err
	})
}

// known plants the bug that a leader remembers its own term only.
func (l *line) known(hit settlement.Hit) settlement.Hit {
	if l.m.c.w.bug.retryIsNew && hit.Height <= l.m.term {
		return settlement.Hit{}
	}
	return hit
}

// Entry implements settlement.Store.
func (l *line) Entry(ctx context.Context, index uint64) ([]byte, uint64, error) {
	type found struct {
		leaf   []byte
		height uint64
	}
	f, err := through(l, rarely, false, func() (found, error) {
		leaf, height, err := l.Leaser.Entry(ctx, index)
		return found{leaf, height}, err
	})
	return f.leaf, f.height, err
}

// Anchor implements settlement.Store.
func (l *line) Anchor(ctx context.Context, height uint64) (settlement.Anchor, error) {
	return through(l, rarely, false, func() (settlement.Anchor, error) { return l.Leaser.Anchor(ctx, height) })
}

// SaveCheckpoint implements settlement.Store.
func (l *line) SaveCheckpoint(ctx context.Context, size uint64, checkpoint []byte) error {
	_, err := through(l, often, true, func() (struct{}, error) {
		return struct{}{}, l.Leaser.SaveCheckpoint(ctx, size, checkpoint)
	})
	return err
}

// Checkpoint implements settlement.Store.
func (l *line) Checkpoint(ctx context.Context) (uint64, []byte, error) {
	type kept struct {
		size uint64
		note []byte
	}
	k, err := through(l, rarely, false, func() (kept, error) {
		size, note, err := l.Leaser.Checkpoint(ctx)
		return kept{size, note}, err
	})
	return k.size, k.note, err
}

// Lease implements settlement.Leaser.
func (l *line) Lease(ctx context.Context) (settlement.Lease, error) {
	return through(l, rarely, false, func() (settlement.Lease, error) { return l.Leaser.Lease(ctx) })
}

// ChangeLease implements settlement.Leaser.
func (l *line) ChangeLease(ctx context.Context, serial uint64, to settlement.Lease) (bool, error) {
	return through(l, often, true, func() (bool, error) {
		if l.m.c.w.bug.renewBlindly && l.m.seq != nil {
			if now, err := l.Leaser.Lease(ctx); err == nil {
				serial = now.Serial
			}
		}
		return l.Leaser.ChangeLease(ctx, serial, to)
	})
}

// witness is one that cosigns heads, and would show a log that forked.
type witness struct {
	name string
	size uint64
	root [32]byte
}

var (
	errAhead = errors.New("sim: a witness holds more")
	errFork  = errors.New("sim: a witness holds another history")
)

// ask is one request to cosign. A root that the log never had, where every
// witness holds less, is for the model to see.
func (v *witness) ask(c *cluster, size uint64, root [32]byte) error {
	switch {
	case size < v.size:
		return fmt.Errorf("%s at %d, asked for %d: %w", v.name, v.size, size, errAhead)
	case size == v.size && root != v.root:
		return errFork
	}
	c.sign("a head for "+v.name, size, root)
	v.size, v.root = size, root
	return nil
}
