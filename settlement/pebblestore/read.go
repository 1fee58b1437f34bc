package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"strings"

	"github.com/cockroachdb/pebble/v2"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

func isNotFound(err error) bool {
	return errors.Is(err, settlement.ErrNotFound) || errors.Is(err, pebble.ErrNotFound)
}

func isUnknownFormat(err error) bool {
	return strings.Contains(err.Error(), "written in unknown format major version")
}

// Head reads the row. It waits for a running append, whose block is in the
// engine before it is durable.
func (s *Store) Head(ctx context.Context) (settlement.Head, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return settlement.Head{}, err
	}
	defer done()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.broken.Load(); err != nil {
		return settlement.Head{}, *err
	}
	head, err := s.readHead()
	return head.Head, err
}

// Block reads header, entries and segments.
func (s *Store) Block(ctx context.Context, height uint64) (*settlement.Block, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	what := fmt.Sprintf("read block %d", height)
	if height > s.visible.Load().head.Height {
		return nil, named(what, settlement.ErrNotFound)
	}
	row, err := s.get(key8(famHeader, height))
	if err != nil {
		return nil, missing(what, err)
	}
	h, err := decodeHeader(height, row)
	if err != nil {
		return nil, err
	}
	b := h.block
	row, err = s.get(key8(famAnchor, height))
	if err != nil {
		return nil, missing(what, err)
	}
	if b.Anchor, err = decodeAnchor(height, row); err != nil {
		return nil, err
	}
	for len(b.Entries) < h.entries {
		row, err := s.get(key8(famEntries, b.FirstIndex+uint64(len(b.Entries))))
		if err != nil {
			return nil, missing(what, err)
		}
		of, items, err := decodeChunk(row)
		if err != nil || of != height || len(items) == 0 {
			return nil, corrupt(what, errRow)
		}
		b.Entries = append(b.Entries, items...)
	}
	for g := range h.segmentGroups {
		row, err := s.get(segmentKey(height, uint32(g)))
		if err != nil {
			return nil, missing(what, err)
		}
		_, items, err := decodeChunk(row)
		if err != nil {
			return nil, corrupt(what, errRow)
		}
		b.Segments = append(b.Segments, items...)
	}
	if len(b.Entries) != h.entries || len(b.Segments) != h.segments {
		return nil, corrupt(what, errRow)
	}
	return b, h.resolve()
}

// missing is for a row that must be there.
func missing(what string, err error) error {
	if isNotFound(err) {
		return corrupt(what, err)
	}
	return named(what, err)
}

// Blocks reads one block after the other.
func (s *Store) Blocks(ctx context.Context, from uint64) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		head, err := s.Head(ctx)
		if err != nil {
			yield(nil, err)
			return
		}
		for height := from; height <= head.Height; height++ {
			b, err := s.Block(ctx, height)
			if !yield(b, err) || err != nil {
				return
			}
		}
	}
}

// chunkAt returns the chunk that holds the entry at index, and its first index.
func (s *Store) chunkAt(index uint64) (first, height uint64, items [][]byte, err error) {
	what := fmt.Sprintf("read entry %d", index)
	it, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{famEntries}, UpperBound: []byte{famEntries + 1}})
	if err != nil {
		return 0, 0, nil, named(what, err)
	}
	defer it.Close()
	if !it.SeekLT(key8(famEntries, index+1)) {
		return 0, 0, nil, missing(what, errors.Join(it.Error(), settlement.ErrNotFound))
	}
	key := rowReader{b: it.Key()[1:]}
	first = key.u64()
	value, err := it.ValueAndErr()
	if err != nil {
		return 0, 0, nil, named(what, err)
	}
	height, items, err = decodeChunk(append([]byte(nil), value...))
	if err != nil || first > index || index-first >= uint64(len(items)) {
		return 0, 0, nil, corrupt(what, errRow)
	}
	return first, height, items, nil
}

// Entry reads one chunk.
func (s *Store) Entry(ctx context.Context, index uint64) ([]byte, uint64, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer done()
	if index >= s.visible.Load().head.Size {
		return nil, 0, named(fmt.Sprintf("read entry %d", index), settlement.ErrNotFound)
	}
	first, height, items, err := s.chunkAt(index)
	if err != nil {
		return nil, 0, err
	}
	return items[index-first], height, nil
}

// Spent asks the set first; only what may be there is looked up, in the newest
// partition first.
func (s *Store) Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	head := s.visible.Load().head
	hits := make([]settlement.Hit, len(nullifiers))
	for i := range nullifiers {
		if !s.set.MayContain((*[32]byte)(&nullifiers[i])) {
			continue
		}
		for p := int64(head.Partition); p >= 0 && !hits[i].Found; p-- {
			key := nullifierKey(uint32(p), &nullifiers[i])
			if hits[i], err = s.lookup("look up nullifier", key[:], head.Height); err != nil {
				return nil, err
			}
		}
	}
	return hits, nil
}

// Sequence reads one row.
func (s *Store) Sequence(ctx context.Context, sequence uint64) (settlement.Hit, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return settlement.Hit{}, err
	}
	defer done()
	return s.lookup("look up sequence number", key8(famSequences, sequence), s.visible.Load().head.Height)
}

// lookup reads a hit, and takes one above the visible height for none.
func (s *Store) lookup(what string, key []byte, upTo uint64) (settlement.Hit, error) {
	row, err := s.get(key)
	if errors.Is(err, pebble.ErrNotFound) {
		return settlement.Hit{}, nil
	}
	if err != nil {
		return settlement.Hit{}, named(what, err)
	}
	hit, err := decodeHit(row)
	if err != nil || hit.Height > upTo {
		return settlement.Hit{}, err
	}
	return hit, nil
}

// Anchor reads one row.
func (s *Store) Anchor(ctx context.Context, height uint64) (settlement.Anchor, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return settlement.Anchor{}, err
	}
	defer done()
	what := fmt.Sprintf("read anchor %d", height)
	if height > s.visible.Load().head.Height {
		return settlement.Anchor{}, named(what, settlement.ErrNotFound)
	}
	row, err := s.get(key8(famAnchor, height))
	if err != nil {
		return settlement.Anchor{}, missing(what, err)
	}
	return decodeAnchor(height, row)
}

// Tile reads one row, or answers from the edge.
func (s *Store) Tile(ctx context.Context, level uint8, index uint64) ([]byte, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	what := fmt.Sprintf("read tile %d of level %d", index, level)
	e := s.visible.Load().edge
	if e.full(level, index) {
		row, err := s.get(tileKey(level, index))
		if err != nil {
			return nil, missing(what, err)
		}
		return row, nil
	}
	if hashes := e.partial(level, index); len(hashes) > 0 {
		return joinHashes(hashes), nil
	}
	return nil, named(what, settlement.ErrNotFound)
}

// Checkpoint reads one row.
func (s *Store) Checkpoint(ctx context.Context) (uint64, []byte, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer done()
	return s.newest("read checkpoint", keyCheckpoint)
}

// Snapshot reads one row.
func (s *Store) Snapshot(ctx context.Context) (uint64, []byte, error) {
	done, err := s.enter(ctx)
	if err != nil {
		return 0, nil, err
	}
	defer done()
	return s.newest("read snapshot", keySnapshot)
}
