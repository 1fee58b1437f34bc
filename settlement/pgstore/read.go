package pgstore

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"math"

	"github.com/jackc/pgx/v5"

	"github.com/comity-ledger/comity/settlement"
)

// headRow is the one row that appends and acquisitions change.
type headRow struct {
	rawEpoch, rawHeight, rawSize, rawSpent int64
	rawRoot                                []byte
	part                                   int32

	height, size, spent uint64
}

func (h *headRow) scan() []any {
	return []any{&h.rawEpoch, &h.rawHeight, &h.rawSize, &h.rawRoot, &h.part, &h.rawSpent}
}

func (h *headRow) head() (settlement.Head, error) {
	out := settlement.Head{Epoch: uint64(h.rawEpoch), Height: uint64(h.rawHeight), Size: uint64(h.rawSize)}
	if err := digest(&out.Root, h.rawRoot); err != nil {
		return settlement.Head{}, corrupt("read head", err)
	}
	return out, nil
}

// headRow reads the row; with lock set, it waits for whoever is changing it.
func (s *Store) headRow(ctx context.Context, lock bool) (*headRow, error) {
	text := s.sql.Head
	if lock {
		text = s.sql.HeadLocked
	}
	h := &headRow{}
	if err := s.pool.QueryRow(ctx, text).Scan(h.scan()...); err != nil {
		if errors.Is(err, pgx.ErrNoRows) {
			err = corrupt("read head", err)
		}
		return nil, err
	}
	h.height, h.size, h.spent = uint64(h.rawHeight), uint64(h.rawSize), uint64(h.rawSpent)
	return h, nil
}

// Head reads the row. While it is not known whether a block of this handle's
// was committed, it waits for the transaction to end.
func (s *Store) Head(ctx context.Context) (out settlement.Head, err error) {
	err = s.read(ctx, "read head", func(ctx context.Context) error {
		doubt := s.doubt.Load()
		h, err := s.headRow(ctx, doubt)
		if err != nil {
			return err
		}
		if doubt {
			s.doubt.Store(false)
		}
		out, err = h.head()
		return err
	})
	return out, err
}

// missing is for a row that must be there.
func missing(what string, err error) error {
	if errors.Is(err, pgx.ErrNoRows) {
		return corrupt(what, errors.New("a row is missing"))
	}
	return err
}

// Block reads header, entries and segments in one round trip.
func (s *Store) Block(ctx context.Context, height uint64) (b *settlement.Block, err error) {
	what := fmt.Sprintf("read block %d", height)
	if height > math.MaxInt64 {
		return nil, named(what, settlement.ErrNotFound)
	}
	err = s.read(ctx, what, func(ctx context.Context) error {
		b = &settlement.Block{Height: height}
		var sequences, nullifiers, commitments []byte
		var entries, segments int32
		batch := &pgx.Batch{}
		batch.Queue(s.sql.Block, int64(height)).QueryRow(func(row pgx.Row) error {
			var time, first, treeSize int64
			var tree int32
			var root, note, registry, readers []byte
			if err := row.Scan(&time, &first, &entries, &segments, &root, &tree, &treeSize, &note, &registry, &readers, &sequences, &nullifiers); err != nil {
				return err
			}
			b.Time, b.FirstIndex = uint64(time), uint64(first)
			return errors.Join(digest(&b.Root, root), anchorOf(&b.Anchor, height, time, tree, treeSize, note, registry, readers))
		})
		bundles := func(into *[][]byte) func(pgx.Rows) error {
			return func(rows pgx.Rows) error {
				defer rows.Close()
				for rows.Next() {
					var row []byte
					if err := rows.Scan(&row); err != nil {
						return err
					}
					var err error
					if *into, err = unbundle(*into, row); err != nil {
						return err
					}
				}
				return rows.Err()
			}
		}
		batch.Queue(s.sql.BlockEntries, int64(height)).Query(bundles(&b.Entries))
		batch.Queue(s.sql.BlockSegments, int64(height)).Query(bundles(&b.Segments))
		batch.Queue(s.sql.BlockCommitments, int64(height)).Query(func(rows pgx.Rows) error {
			defer rows.Close()
			for rows.Next() {
				var packed []byte
				if err := rows.Scan(&packed); err != nil {
					return err
				}
				commitments = append(commitments, packed...)
			}
			return rows.Err()
		})
		if err := s.pool.SendBatch(ctx, batch).Close(); err != nil {
			return err
		}
		if err := unpackLists(b, sequences, nullifiers, commitments); err != nil {
			return err
		}
		if len(b.Entries) != int(entries) || len(b.Segments) != int(segments) {
			return corrupt(what, errors.New("a row is missing"))
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return b, nil
}

func anchorOf(a *settlement.Anchor, height uint64, time int64, tree int32, treeSize int64, note, registry, readers []byte) error {
	if tree < 0 || tree > math.MaxUint16 || treeSize < 0 || treeSize > math.MaxUint32 {
		return errRow
	}
	*a = settlement.Anchor{Height: height, Time: uint64(time), Tree: uint16(tree), TreeSize: uint32(treeSize)}
	return errors.Join(digest(&a.NoteRoot, note), digest(&a.RegistryRoot, registry), digest(&a.ReadersRoot, readers))
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

// Entry reads one bundle.
func (s *Store) Entry(ctx context.Context, index uint64) (leaf []byte, height uint64, err error) {
	what := fmt.Sprintf("read entry %d", index)
	if index > math.MaxInt64 {
		return nil, 0, named(what, settlement.ErrNotFound)
	}
	err = s.read(ctx, what, func(ctx context.Context) error {
		var first, of int64
		var row []byte
		if err := s.pool.QueryRow(ctx, s.sql.Entry, int64(index)).Scan(&first, &of, &row); err != nil {
			return missing(what, err)
		}
		items, err := unbundle(nil, row)
		if err != nil {
			return err
		}
		if at := index - uint64(first); at < uint64(len(items)) {
			leaf, height = items[at], uint64(of)
			return nil
		}
		h, err := s.headRow(ctx, false)
		if err != nil {
			return err
		}
		if index < h.size {
			// It may have arrived since.
			return s.entryAgain(ctx, what, index, &leaf, &height)
		}
		return settlement.ErrNotFound
	})
	return leaf, height, err
}

// entryAgain looks once more for an entry that the head covers by now.
func (s *Store) entryAgain(ctx context.Context, what string, index uint64, leaf *[]byte, height *uint64) error {
	var first, of int64
	var row []byte
	if err := s.pool.QueryRow(ctx, s.sql.Entry, int64(index)).Scan(&first, &of, &row); err != nil {
		return missing(what, err)
	}
	items, err := unbundle(nil, row)
	if err != nil || index-uint64(first) >= uint64(len(items)) {
		return corrupt(what, errors.New("a row is missing"))
	}
	*leaf, *height = items[index-uint64(first)], uint64(of)
	return nil
}

// Sequence reads one row.
func (s *Store) Sequence(ctx context.Context, sequence uint64) (hit settlement.Hit, err error) {
	err = s.read(ctx, "look up sequence number", func(ctx context.Context) error {
		var index, height int64
		err := s.pool.QueryRow(ctx, s.sql.Sequence, int64(sequence)).Scan(&index, &height)
		if errors.Is(err, pgx.ErrNoRows) {
			hit = settlement.Hit{}
			return nil
		}
		hit = settlement.Hit{Found: true, EntryIndex: uint64(index), Height: uint64(height)}
		return err
	})
	if err != nil {
		return settlement.Hit{}, err
	}
	return hit, nil
}

// Anchor reads one row.
func (s *Store) Anchor(ctx context.Context, height uint64) (a settlement.Anchor, err error) {
	what := fmt.Sprintf("read anchor %d", height)
	if height > math.MaxInt64 {
		return a, named(what, settlement.ErrNotFound)
	}
	err = s.read(ctx, what, func(ctx context.Context) error {
		var time, treeSize int64
		var tree int32
		var note, registry, readers []byte
		if err := s.pool.QueryRow(ctx, s.sql.Anchor, int64(height)).Scan(&time, &tree, &treeSize, &note, &registry, &readers); err != nil {
			return err
		}
		return anchorOf(&a, height, time, tree, treeSize, note, registry, readers)
	})
	if err != nil {
		return settlement.Anchor{}, err
	}
	return a, nil
}

// Tile reads one row, or puts a tile that is not full together.
func (s *Store) Tile(ctx context.Context, level uint8, index uint64) (tile []byte, err error) {
	what := fmt.Sprintf("read tile %d of level %d", index, level)
	err = s.read(ctx, what, func(ctx context.Context) error {
		h, err := s.headRow(ctx, false)
		if err != nil {
			return err
		}
		var root [32]byte
		if err := digest(&root, h.rawRoot); err != nil {
			return err
		}
		if int(level) >= len(edge{}.levels) {
			return settlement.ErrNotFound
		}
		full := h.size >> (8 * (uint(level) + 1))
		switch {
		case index < full:
			if err := s.pool.QueryRow(ctx, s.sql.Tile, int32(level), int64(index)).Scan(&tile); err != nil {
				return missing(what, err)
			}
			if len(tile) != 32*tileWidth {
				return errRow
			}
			return nil
		case index > full:
			return settlement.ErrNotFound
		}
		e := s.edge.Load()
		if e == nil || e.size != h.size || e.root != root {
			if e, err = s.edgeOf(ctx, s.pool, h.size, root); err != nil {
				return err
			}
			s.edge.Store(e)
		}
		if len(e.levels[level]) == 0 {
			return settlement.ErrNotFound
		}
		tile = join(e.levels[level])
		return nil
	})
	if err != nil {
		return nil, err
	}
	return tile, nil
}

// Checkpoint reads one value.
func (s *Store) Checkpoint(ctx context.Context) (uint64, []byte, error) {
	return s.newest(ctx, kindCheckpoint)
}

// Snapshot reads one value.
func (s *Store) Snapshot(ctx context.Context) (uint64, []byte, error) {
	return s.newest(ctx, kindSnapshot)
}

func (s *Store) newest(ctx context.Context, kind string) (number uint64, value []byte, err error) {
	err = s.read(ctx, "read "+kind, func(ctx context.Context) error {
		rows, err := s.pool.Query(ctx, s.sql.Newest, kind)
		if err != nil {
			return err
		}
		defer rows.Close()
		found := false
		value = nil
		for rows.Next() {
			var n int64
			var piece []byte
			if err := rows.Scan(&n, &piece); err != nil {
				return err
			}
			if found && uint64(n) != number {
				return errRow
			}
			found, number, value = true, uint64(n), append(value, piece...)
		}
		if err := rows.Err(); err != nil {
			return err
		}
		if !found {
			return settlement.ErrNotFound
		}
		return nil
	})
	if err != nil {
		return 0, nil, err
	}
	return number, value, nil
}
