package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"sync"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/proof"
)

var (
	// ErrLogInvalid: the log holds an entry that the ledger's rules do not allow, or ends elsewhere than the checkpoint says.
	ErrLogInvalid = errors.New("log_invalid")
	// ErrNotReplayed: the checkpoint's blocks have not been replayed yet; ask again.
	ErrNotReplayed = errors.New("not_replayed_yet")
)

// Replayer rechecks a ledger's blocks from block 0 on. Apply takes the next block, checks every proof, nullifier, signature and
// root in it, and fails without moving when one does not hold. An error that wraps ErrLogInvalid speaks against the log; any other
// is a failure of this machine. Head is the log after the last block applied. Neither is called from two goroutines at once.
type Replayer interface {
	Apply(block *settlement.Block) error
	Head() proof.Head
}

// keptRoots is how many block ends a validator remembers: hours of them, for checkpoints that come late.
const keptRoots = 1 << 16

// A Validator replays a ledger ahead of the checkpoints it is asked about. It is safe for concurrent use, Follow apart.
type Validator struct {
	replayer Replayer // used by Follow alone

	mu    sync.Mutex // guards what follows
	head  proof.Head
	next  uint64 // height of the next block
	roots map[uint64]proof.Hash
	order []uint64      // sizes in roots, oldest first
	bad   error         // the log does not hold: nothing more is replayed
	moved chan struct{} // closed and replaced when head or bad changes
}

// NewValidator begins before block 0.
func NewValidator(r Replayer) *Validator {
	v := &Validator{replayer: r, roots: map[uint64]proof.Hash{}, moved: make(chan struct{})}
	v.head = proof.Head{Root: proof.EmptyRoot()}
	v.roots[0] = v.head.Root
	return v
}

// Next is the height of the block that Follow wants first.
func (v *Validator) Next() uint64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.next
}

// Head is the log as far as it was replayed.
func (v *Validator) Head() proof.Head {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.head
}

// Follow replays blocks from height Next on until the sequence ends, fails, or holds a block that is not allowed; the last is
// remembered for ever, and the error wraps ErrLogInvalid. Call it again after any other error. One call at a time.
func (v *Validator) Follow(ctx context.Context, blocks iter.Seq2[*settlement.Block, error]) error {
	v.mu.Lock()
	bad := v.bad
	v.mu.Unlock()
	if bad != nil {
		return bad
	}
	for block, err := range blocks {
		if err != nil {
			return fmt.Errorf("read block %d: %w", v.Next(), err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := v.replayer.Apply(block); err != nil {
			if errors.Is(err, ErrLogInvalid) {
				v.mu.Lock()
				v.bad = err
				v.signal()
				v.mu.Unlock()
			}
			return fmt.Errorf("replay block %d: %w", v.Next(), err)
		}
		v.advance(v.replayer.Head())
	}
	return nil
}

func (v *Validator) advance(head proof.Head) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.head = head
	v.next++
	v.roots[head.Size] = head.Root
	v.order = append(v.order, head.Size)
	if len(v.order) > keptRoots {
		delete(v.roots, v.order[0])
		v.order = v.order[1:]
	}
	v.signal()
}

// signal wakes whoever waits in Reach. Called with mu held.
func (v *Validator) signal() {
	close(v.moved)
	v.moved = make(chan struct{})
}

// Reach waits until the log was replayed up to the head's size and compares the root. It returns an error that wraps ErrLogInvalid
// when the ledger's blocks give another root, do not end there, or do not hold, and ErrNotReplayed when ctx ends first.
func (v *Validator) Reach(ctx context.Context, head proof.Head) error {
	for {
		v.mu.Lock()
		root, known := v.roots[head.Size]
		size, bad, moved := v.head.Size, v.bad, v.moved
		v.mu.Unlock()
		switch {
		case known && root == head.Root:
			return nil
		case known:
			return fmt.Errorf("%w: %d leaves replay to another root", ErrLogInvalid, head.Size)
		case bad != nil:
			return bad
		case size >= head.Size:
			return fmt.Errorf("%w: no block ends at %d leaves", ErrLogInvalid, head.Size)
		}
		select {
		case <-moved:
		case <-ctx.Done():
			return fmt.Errorf("%w: replayed %d of %d leaves", ErrNotReplayed, size, head.Size)
		}
	}
}
