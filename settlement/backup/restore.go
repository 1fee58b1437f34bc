package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// Verify replays a backup with every proof checked and compares its log with head, which a checkpoint that the caller judged says, and
// with the manifest. The error is ErrDamaged, or a *replay.Error that names the first entry that does not hold.
func (b *Backup) Verify(ctx context.Context, head proof.Head, verifier settlement.Verifier, progress replay.Progress) (*settlement.State, error) {
	return b.replay(ctx, head, replay.Config{Verifier: verifier}, progress, nil)
}

// Restore is Verify, and writes every block into a new store on the way, which it returns open. The store's first fencing epoch is taken.
// After an error the new store is worth nothing: whoever made the place for it removes it. In a database, where it has its place from the
// beginning, it is unfinished until it is whole (replay.UnfinishedOpener).
func (b *Backup) Restore(ctx context.Context, head proof.Head, verifier settlement.Verifier, opener settlement.Opener, progress replay.Progress) (_ settlement.Store, _ *settlement.State, err error) {
	t := &target{ctx: ctx, opener: opener}
	defer func() {
		if err != nil && t.store != nil {
			err = errors.Join(err, t.store.Close())
		}
	}()
	state, err := b.replay(ctx, head, replay.Config{Verifier: verifier, Index: t}, progress, t)
	if err != nil {
		return nil, nil, err
	}
	switch got, err := t.store.Head(ctx); {
	case err != nil:
		return nil, nil, fmt.Errorf("restore: %w", err)
	case got != state.Head(got.Epoch):
		return nil, nil, fmt.Errorf("restore: the new store ends at height %d with %d entries: %w", got.Height, got.Size, settlement.ErrStoreCorrupt)
	}
	if err := t.store.SaveCheckpoint(ctx, head.Size, b.Checkpoint); err != nil {
		return nil, nil, fmt.Errorf("restore: checkpoint: %w", err)
	}
	if err := t.store.SaveSnapshot(ctx, state.Height(), state.Marshal()); err != nil {
		return nil, nil, fmt.Errorf("restore: snapshot: %w", err)
	}
	if err := t.finish(ctx); err != nil {
		return nil, nil, fmt.Errorf("restore: %w", err)
	}
	return t.store, state, nil
}

func (b *Backup) replay(ctx context.Context, head proof.Head, config replay.Config, progress replay.Progress, t *target) (*settlement.State, error) {
	config.Genesis = b.Genesis.Hash()
	var log proof.Range
	covered := false
	blocks := func(yield func(*settlement.Block, error) bool) {
		for block, err := range b.Blocks() {
			if err == nil {
				err = checkSegments(block)
			}
			if err == nil && block.Height == 0 && !bytes.Equal(block.Entries[0], entry.Encode(b.Genesis)) {
				err = fmt.Errorf("%w: block 0 founds another ledger", ErrDamaged)
			}
			if err != nil {
				yield(nil, err)
				return
			}
			if log = log.With(block.Entries...); log.Size == head.Size {
				if log.Root() != head.Root {
					yield(nil, fmt.Errorf("%w: the entries do not hash to the root that the witnesses cosigned", ErrDamaged))
					return
				}
				covered = true
			}
			if t != nil {
				t.segments = block.Segments
			}
			if !yield(&settlement.Block{Height: block.Height, Time: block.Time, FirstIndex: block.FirstIndex, Entries: block.Entries}, nil) {
				return
			}
		}
	}
	state, err := replay.All(ctx, blocks, config, progress)
	if err != nil {
		return nil, err
	}
	root := state.LogRoot()
	switch m := &b.Manifest; {
	case !covered:
		return nil, fmt.Errorf("%w: no block ends at entry %d, where the cosigned checkpoint ends", ErrDamaged, head.Size)
	case hex.EncodeToString(root[:]) != m.Root || state.Time() != m.TimeMillis || m.CheckpointSize != head.Size || m.Name != b.Genesis.Name:
		return nil, fmt.Errorf("%w: the log rebuilds to root %x at ledger time %d, the manifest says %s at %d", ErrDamaged, root, state.Time(), m.Root, m.TimeMillis)
	}
	return state, nil
}

// checkSegments compares the ciphertexts of a block with the hashes in its entries.
func checkSegments(b *settlement.Block) error {
	next := 0
	for i, leaf := range b.Entries {
		kind, err := entry.KindOf(leaf)
		if err != nil || kind != entry.KindTransfer && kind != entry.KindIssue && kind != entry.KindRedeem {
			continue // replay names what is no entry
		}
		tx, err := entry.DecodeTransaction(leaf)
		if err != nil {
			continue
		}
		if next+len(tx.Legs) > len(b.Segments) {
			return fmt.Errorf("%w: entry %d: its segments are missing", ErrDamaged, b.FirstIndex+uint64(i))
		}
		if err := tx.CheckSegments(b.Segments[next : next+len(tx.Legs)]); err != nil {
			return fmt.Errorf("%w: entry %d: %v", ErrDamaged, b.FirstIndex+uint64(i), err)
		}
		next += len(tx.Legs)
	}
	if next != len(b.Segments) {
		return fmt.Errorf("%w: block %d has %d segments, its legs are %d", ErrDamaged, b.Height, len(b.Segments), next)
	}
	return nil
}

// target is a replay's index that writes what was rechecked into a new store and looks up what is there.
type target struct {
	ctx      context.Context
	opener   settlement.Opener
	store    settlement.Store
	finish   func(context.Context) error
	stored   *replay.Stored
	head     settlement.Head
	segments [][]byte // of the block that comes next
}

// Add writes a block.
func (t *target) Add(block *settlement.Block) (err error) {
	if block.Height == 0 {
		if t.store, t.finish, err = replay.CreateUnfinished(t.ctx, t.opener, block); err != nil {
			return fmt.Errorf("create store: %w", err)
		}
		t.stored = replay.NewStored(t.ctx, t.store)
		t.head, err = t.store.Acquire(t.ctx)
		return err
	}
	whole := *block
	whole.Segments = t.segments
	outcome, err := t.store.Append(t.ctx, t.head, &whole)
	if err != nil || outcome != settlement.Committed {
		return fmt.Errorf("write block %d: %s: %w", block.Height, outcome, errors.Join(err, t.ctx.Err()))
	}
	t.head = whole.Head(t.head.Epoch)
	return nil
}

// Spent looks once-only keys up.
func (t *target) Spent(nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	return t.stored.Spent(nullifiers)
}

// Anchor looks a block up.
func (t *target) Anchor(height uint64) (settlement.Anchor, error) { return t.stored.Anchor(height) }
