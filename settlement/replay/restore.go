package replay

import (
	"context"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
)

// Restore brings a state up to a store's head when a node starts: from the
// newest snapshot if it holds, from genesis otherwise, and then block by block
// with proofs on trust, because the node checked them before it wrote them.
// Every block must still follow from the rules, or the store is corrupt.
func Restore(ctx context.Context, store settlement.Store, parallel settlement.Parallel, progress Progress) (*settlement.State, error) {
	genesis, err := store.Block(ctx, 0)
	if err != nil {
		return nil, fmt.Errorf("restore: genesis block: %w", err)
	}
	config := Config{Index: NewStored(ctx, store), Parallel: parallel}
	r, err := New(genesis, config)
	if err != nil {
		return nil, corrupt(err)
	}
	if state, err := fromSnapshot(ctx, store, r.state); err != nil {
		return nil, err
	} else if state != nil {
		r = From(state, config)
	}
	for block, err := range store.Blocks(ctx, r.state.Height()+1) {
		if err != nil {
			return nil, fmt.Errorf("restore: %w", err)
		}
		if err := r.Apply(block); err != nil {
			return nil, corrupt(err)
		}
		if progress != nil {
			progress(block.Height, block.Size())
		}
	}
	return r.state, nil
}

// fromSnapshot returns nil without an error when there is no snapshot that
// holds: a snapshot is a cache.
func fromSnapshot(ctx context.Context, store settlement.Store, begin *settlement.State) (*settlement.State, error) {
	height, snapshot, err := store.Snapshot(ctx)
	if errors.Is(err, settlement.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("restore: snapshot: %w", err)
	}
	block, err := store.Block(ctx, height)
	if errors.Is(err, settlement.ErrNotFound) {
		return nil, nil // ahead of a store that was restored from a backup
	}
	if err != nil {
		return nil, fmt.Errorf("restore: block %d of the snapshot: %w", height, err)
	}
	state, err := settlement.Unmarshal(begin.Genesis(), snapshot, block)
	if errors.Is(err, settlement.ErrSnapshot) {
		return nil, nil
	}
	return state, err
}

func corrupt(err error) error {
	var broken *Error
	if errors.As(err, &broken) {
		return fmt.Errorf("restore: %w: %w", settlement.ErrStoreCorrupt, err)
	}
	return err
}
