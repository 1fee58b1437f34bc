package pebblestore

import (
	"context"
	"fmt"

	"github.com/cockroachdb/pebble/v2"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Acquire counts the fencing epoch up.
func (s *Store) Acquire(ctx context.Context) (settlement.Head, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return settlement.Head{}, err
	}
	defer done()
	s.writing.Lock()
	defer s.writing.Unlock()
	head, err := s.readHead()
	if err != nil {
		return settlement.Head{}, err
	}
	head.Epoch++
	if err := s.write(func() error { return s.db.Set(keyHead, head.encode(), pebble.Sync) }); err != nil {
		return settlement.Head{}, named("acquire", err)
	}
	s.publish(head, s.visible.Load().edge)
	return head.Head, nil
}

// Append is one batch and one fsync.
func (s *Store) Append(ctx context.Context, expected settlement.Head, block *settlement.Block) (settlement.Outcome, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return settlement.Unknown, err
	}
	defer done()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.broken.Load(); err != nil { // broken while waiting
		return settlement.Unknown, *err
	}
	what := fmt.Sprintf("append block %d", block.Height)
	current, err := s.readHead()
	if err != nil {
		return settlement.Unknown, err
	}
	if current.Head != expected {
		return settlement.Fenced, nil
	}
	if block.Height != expected.Height+1 || block.FirstIndex != expected.Size {
		return settlement.Unknown, fmt.Errorf("%s: at index %d it does not follow block %d with log size %d", what, block.FirstIndex, expected.Height, expected.Size)
	}
	err = s.write(func() error {
		batch := s.db.NewBatchWithSize(estimate(block))
		defer batch.Close()
		head, next, err := s.fill(batch, current, block)
		if err != nil {
			return err
		}
		if err := batch.Set(keyHead, head.encode(), nil); err != nil {
			return err
		}
		if err := batch.Commit(pebble.Sync); err != nil {
			return err
		}
		s.publish(head, next)
		return nil
	})
	if err != nil {
		return settlement.Unknown, named(what, err)
	}
	return settlement.Committed, nil
}

// fill puts a block's rows into a batch, all but the head, and returns the head
// and the tile edge that the batch leads to.
func (s *Store) fill(batch *pebble.Batch, head headRow, b *settlement.Block) (headRow, *edge, error) {
	// Entries, in chunks by log index.
	index := b.FirstIndex
	rest := b.Entries
	for _, n := range chunkLengths(b.Entries, len(b.Entries)) {
		if err := setChunk(batch, key8(famEntries, index), b.Height, rest[:n]); err != nil {
			return head, nil, err
		}
		index, rest = index+uint64(n), rest[n:]
	}
	// Segments, in groups by block.
	groups := chunkLengths(b.Segments, groupSegments)
	rest = b.Segments
	for g, n := range groups {
		if err := setChunk(batch, segmentKey(b.Height, uint32(g)), b.Height, rest[:n]); err != nil {
			return head, nil, err
		}
		rest = rest[n:]
	}
	if err := batch.Set(key8(famHeader, b.Height), encodeHeader(b, len(groups)), nil); err != nil {
		return head, nil, err
	}
	if err := batch.Set(key8(famAnchor, b.Height), encodeAnchor(b.Anchor), nil); err != nil {
		return head, nil, err
	}
	for _, q := range b.Sequences {
		if err := batch.Set(key8(famSequences, q.Sequence), encodeHit(q.EntryIndex, b.Height), nil); err != nil {
			return head, nil, err
		}
	}
	// Nullifiers. A partition ends at a block's border, so one that is full is
	// never written again.
	if head.InPart >= s.cfg.PartitionSize {
		head.Partition, head.InPart = head.Partition+1, 0
	}
	for i := range b.Nullifiers {
		n := &b.Nullifiers[i]
		key := nullifierKey(head.Partition, &n.Nullifier)
		if err := batch.Set(key[:], encodeHit(n.EntryIndex, b.Height), nil); err != nil {
			return head, nil, err
		}
		// Before the commit: if it fails, a fingerprint too many costs one
		// look-up; one too few would answer absent for a spent note.
		s.set.Add((*[32]byte)(&n.Nullifier))
	}
	head.InPart += uint64(len(b.Nullifiers))
	head.Spent += uint64(len(b.Nullifiers))

	before := &edge{}
	if v := s.visible.Load(); v != nil {
		before = v.edge
	}
	next, tiles := before.grow(b.LeafHashes())
	for _, t := range tiles {
		if err := batch.Set(tileKey(t.level, t.index), joinHashes(t.hashes), nil); err != nil {
			return head, nil, err
		}
	}
	head.Head = b.Head(head.Epoch)
	return head, next, nil
}

// setChunk writes the items straight into the batch, without a copy between.
func setChunk(batch *pebble.Batch, key []byte, height uint64, items [][]byte) error {
	size := chunkSize(height, items)
	op := batch.SetDeferred(len(key), size)
	copy(op.Key, key)
	appendChunk(op.Value[:0], height, items)
	return op.Finish()
}

// estimate is about how large a block's batch becomes, in bytes.
func estimate(b *settlement.Block) int {
	n := 4096 + 60*len(b.Nullifiers) + 12*len(b.Commitments)
	for _, e := range b.Entries {
		n += len(e) + 34
	}
	for _, s := range b.Segments {
		n += len(s) + 2
	}
	return n
}

func leafHash(leaf []byte) [32]byte { return proof.LeafHash(leaf) }

// SaveCheckpoint keeps the newest.
func (s *Store) SaveCheckpoint(ctx context.Context, size uint64, checkpoint []byte) error {
	done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.saving.Lock()
	defer s.saving.Unlock()
	return s.saveNewest("save checkpoint", keyCheckpoint, size, checkpoint)
}

// SaveSnapshot keeps the newest.
func (s *Store) SaveSnapshot(ctx context.Context, height uint64, state []byte) error {
	done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	s.saving.Lock()
	defer s.saving.Unlock()
	return s.saveNewest("save snapshot", keySnapshot, height, state)
}

// saveNewest replaces a row that begins with a number, unless its number is
// greater.
func (s *Store) saveNewest(what string, key []byte, number uint64, value []byte) error {
	if err := s.broken.Load(); err != nil {
		return *err
	}
	old, _, err := s.newest(what, key)
	if err == nil && old > number {
		return nil
	}
	if err != nil && !isNotFound(err) {
		return err
	}
	row := append(key8(0, number)[1:], value...)
	return named(what, s.write(func() error { return s.db.Set(key, row, pebble.Sync) }))
}

func (s *Store) newest(what string, key []byte) (uint64, []byte, error) {
	row, err := s.get(key)
	if err != nil {
		return 0, nil, named(what, err)
	}
	r := rowReader{b: row}
	number := r.u64()
	if r.bad {
		return 0, nil, corrupt(what, errRow)
	}
	return number, r.b, nil
}
