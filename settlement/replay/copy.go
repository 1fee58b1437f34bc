package replay

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"iter"

	"github.com/comity-ledger/comity/settlement"
)

// ErrDiffers: a copy is not what was copied.
var ErrDiffers = errors.New("replay: the copy differs")

// errTargetLost: somebody else writes to the target of a copy.
var errTargetLost = errors.New("somebody else writes to the target")

// UnfinishedOpener is an Opener of stores that have no place of their own to be filled at, as a database has none. An unfinished store
// cannot be opened, and is named ErrStoreHalfCreated, until finish was called.
type UnfinishedOpener interface {
	settlement.Opener
	CreateUnfinished(ctx context.Context, genesis *settlement.Block) (store settlement.Store, finish func(context.Context) error, err error)
}

// CreateUnfinished creates a store to be filled. For an Opener that knows no unfinished stores finish does nothing, and the caller fills it at
// a place from which it is moved when it is whole.
func CreateUnfinished(ctx context.Context, opener settlement.Opener, genesis *settlement.Block) (settlement.Store, func(context.Context) error, error) {
	if o, ok := opener.(UnfinishedOpener); ok {
		return o.CreateUnfinished(ctx, genesis)
	}
	store, err := opener.Create(ctx, genesis)
	return store, func(context.Context) error { return nil }, err
}

// Copy writes everything that a store keeps above block 0, which the target was
// created with. Nobody may write to either of them meanwhile: the caller has
// acquired the source.
func Copy(ctx context.Context, src, dst settlement.Store, progress Progress) error {
	at, err := dst.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("copy: take the target over: %w", err)
	}
	for block, err := range src.Blocks(ctx, 1) {
		if err != nil {
			return fmt.Errorf("copy: %w", err)
		}
		if outcome, err := dst.Append(ctx, at, block); outcome != settlement.Committed {
			if err == nil {
				err = errTargetLost
			}
			return fmt.Errorf("copy: write block %d: %s: %w", block.Height, outcome, err)
		}
		at = block.Head(at.Epoch)
		if progress != nil {
			progress(block.Height, block.Size())
		}
	}
	for _, k := range kept {
		number, value, err := k.load(ctx, src)
		if errors.Is(err, settlement.ErrNotFound) {
			continue
		}
		if err == nil {
			err = k.save(ctx, dst, number, value)
		}
		if err != nil {
			return fmt.Errorf("copy: %s: %w", k.name, err)
		}
	}
	return nil
}

// kept is what a store keeps besides blocks.
var kept = []struct {
	name string
	load func(context.Context, settlement.Store) (uint64, []byte, error)
	save func(context.Context, settlement.Store, uint64, []byte) error
}{
	{"checkpoint",
		func(ctx context.Context, s settlement.Store) (uint64, []byte, error) { return s.Checkpoint(ctx) },
		func(ctx context.Context, s settlement.Store, n uint64, b []byte) error {
			return s.SaveCheckpoint(ctx, n, b)
		}},
	{"snapshot",
		func(ctx context.Context, s settlement.Store) (uint64, []byte, error) { return s.Snapshot(ctx) },
		func(ctx context.Context, s settlement.Store, n uint64, b []byte) error {
			return s.SaveSnapshot(ctx, n, b)
		}},
}

// Same rebuilds the state from a copy alone and compares it with the source,
// which must still stand at the head it had when it was acquired; and every
// segment and kept value besides, which the log does not cover. Proofs are taken
// on trust: equal roots mean that they are those which the source's node
// checked. A difference is ErrDiffers.
func Same(ctx context.Context, src, dst settlement.Store, head settlement.Head, progress Progress) error {
	want, err := Restore(ctx, src, nil, nil)
	if err != nil {
		return fmt.Errorf("compare: the source: %w", err)
	}
	got, err := All(ctx, beside(ctx, src, dst), Config{Genesis: want.GenesisHash()}, progress)
	var broken *Error
	if errors.As(err, &broken) {
		return fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	if err != nil {
		return fmt.Errorf("compare: %w", err)
	}
	if got.Head(head.Epoch) != head || !bytes.Equal(got.Marshal(), want.Marshal()) {
		return fmt.Errorf("%w: it rebuilds to height %d and root %x, the source to height %d and root %x", ErrDiffers, got.Height(), got.LogRoot(), head.Height, head.Root)
	}
	for _, s := range []settlement.Store{src, dst} {
		now, err := s.Head(ctx)
		if err != nil {
			return fmt.Errorf("compare: %w", err)
		}
		if s == dst {
			now.Epoch = head.Epoch // each store counts its own
		}
		if now != head {
			return fmt.Errorf("%w: a store has moved to height %d, epoch %d meanwhile", ErrDiffers, now.Height, now.Epoch)
		}
	}
	for _, k := range kept {
		n1, b1, err1 := k.load(ctx, src)
		n2, b2, err2 := k.load(ctx, dst)
		none1, none2 := errors.Is(err1, settlement.ErrNotFound), errors.Is(err2, settlement.ErrNotFound)
		switch {
		case err1 != nil && !none1:
			return fmt.Errorf("compare: %s: %w", k.name, err1)
		case err2 != nil && !none2:
			return fmt.Errorf("compare: %s: %w", k.name, err2)
		case none1 != none2 || n1 != n2 || !bytes.Equal(b1, b2):
			return fmt.Errorf("%w: its %s", ErrDiffers, k.name)
		}
	}
	return nil
}

// beside yields the blocks of the copy, each compared with the source's.
func beside(ctx context.Context, src, dst settlement.Store) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for block, err := range dst.Blocks(ctx, 0) {
			if err == nil {
				err = sameBlock(ctx, src, block)
			}
			if !yield(block, err) || err != nil {
				return
			}
		}
	}
}

func sameBlock(ctx context.Context, src settlement.Store, block *settlement.Block) error {
	of, err := src.Block(ctx, block.Height)
	if err != nil {
		return err
	}
	if err := of.Equal(block); err != nil {
		return fmt.Errorf("%w: %w", ErrDiffers, err)
	}
	if len(of.Segments) != len(block.Segments) {
		return fmt.Errorf("%w: block %d has %d segments, want %d", ErrDiffers, block.Height, len(block.Segments), len(of.Segments))
	}
	for i := range of.Segments {
		if !bytes.Equal(of.Segments[i], block.Segments[i]) {
			return fmt.Errorf("%w: segment %d of block %d", ErrDiffers, i, block.Height)
		}
	}
	return nil
}
