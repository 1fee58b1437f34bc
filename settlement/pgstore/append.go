package pgstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// ErrSpentTwice: a block spends a nullifier that the database holds already.
// The rules refuse that long before, so either they or the database are wrong.
var ErrSpentTwice = errors.New("pgstore: a nullifier is spent already")

// Acquire counts the fencing epoch up. It waits for a transaction that holds
// the head, so that the head which it returns is the last that any older epoch
// leads to.
func (s *Store) Acquire(ctx context.Context) (settlement.Head, error) {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return settlement.Head{}, err
	}
	defer done()
	var h headRow
	_, err = s.change(ctx, transaction{claim: func(b *pgx.Batch) {
		b.Queue(s.sql.Acquire).QueryRow(func(row pgx.Row) error { return row.Scan(h.scan()...) })
	}})
	if err != nil {
		return settlement.Head{}, named("acquire", s.why(ctx, err))
	}
	return h.head()
}

// Append is one transaction in three round trips: the compare-and-set, the
// rows, COMMIT.
func (s *Store) Append(ctx context.Context, expected settlement.Head, block *settlement.Block) (settlement.Outcome, error) {
	what := fmt.Sprintf("append block %d", block.Height)
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return settlement.Unknown, err
	}
	defer done()
	s.writing.Lock()
	defer s.writing.Unlock()
	if err := s.bounded(block); err != nil {
		return settlement.Unknown, named(what, err)
	}
	// The set must know every nullifier below the block, or it could not vouch
	// that none is spent again.
	if err := s.follow(ctx, expected.Height); err != nil {
		return settlement.Unknown, named(what, s.why(ctx, err))
	}
	rows := s.prepare(block)
	var next *edge
	doubt, err := s.change(ctx, transaction{
		claim: func(b *pgx.Batch) {
			b.Queue(s.sql.Claim, int64(expected.Epoch), int64(expected.Height), int64(expected.Size), expected.Root[:],
				int64(block.Height), int64(block.Size()), block.Root[:], int64(len(block.Nullifiers)), int64(s.cfg.PartitionSize)).
				QueryRow(func(row pgx.Row) error {
					err := row.Scan(&rows.part)
					if errors.Is(err, pgx.ErrNoRows) {
						return errFenced
					}
					return err
				})
		},
		rest: func(ctx context.Context, tx pgx.Tx, b *pgx.Batch) error {
			if block.Height != expected.Height+1 || block.FirstIndex != expected.Size {
				return fmt.Errorf("at index %d it does not follow block %d with log size %d", block.FirstIndex, expected.Height, expected.Size)
			}
			if err := s.fresh(ctx, tx, block, rows.part, expected.Height); err != nil {
				return err
			}
			before := s.edge.Load()
			if before == nil || before.size != expected.Size || before.root != expected.Root {
				if before, err = s.edgeOf(ctx, tx, expected.Size, expected.Root); err != nil {
					return err
				}
			}
			next = s.fill(b, rows, before)
			return nil
		},
	})
	switch {
	case err == nil:
	case errors.Is(err, errFenced) && !doubt:
		return settlement.Fenced, nil
	default:
		if doubt {
			s.doubt.Store(true)
		}
		return settlement.Unknown, named(what, twice(s.why(ctx, err)))
	}
	s.edge.Store(next)
	s.remember(block)
	return settlement.Committed, nil
}

// bounded refuses what no row can hold, and transactions of any size.
func (s *Store) bounded(b *settlement.Block) error {
	size := 0
	for _, e := range b.Entries {
		size += len(e)
	}
	for _, segment := range b.Segments {
		size += len(segment)
	}
	if size > s.cfg.MaxBlockBytes {
		return fmt.Errorf("%d bytes are more than the %d that a transaction may hold", size, s.cfg.MaxBlockBytes)
	}
	if len(b.Nullifiers) > maxNullifiers {
		return fmt.Errorf("%d nullifiers are more than the %d that a row may hold", len(b.Nullifiers), maxNullifiers)
	}
	if b.Height > math.MaxInt64 || b.FirstIndex > math.MaxInt64-uint64(len(b.Entries)) || b.Time > math.MaxInt64 {
		return errors.New("a number is too large for its column")
	}
	return nil
}

// twice names a violated unique index of nullifiers or sequence numbers.
func twice(err error) error {
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return fmt.Errorf("%w: %w: %w", ErrSpentTwice, settlement.ErrStoreCorrupt, err)
	}
	return err
}

// fresh looks for nullifiers of a block that are spent already. In the part
// that it writes the index itself refuses them; of older parts the set says
// which have to be looked up: none, on an honest ledger.
func (s *Store) fresh(ctx context.Context, tx pgx.Tx, b *settlement.Block, part int32, below uint64) error {
	if m := s.seen.Load(); len(b.Nullifiers) > 0 && part > 0 && (m == nil || m.height < below) {
		return fmt.Errorf("the nullifiers up to block %d are not known here", below)
	}
	var ask []zk.Nullifier
	for i := range b.Nullifiers {
		if s.set.MayContain((*[32]byte)(&b.Nullifiers[i].Nullifier)) {
			ask = append(ask, b.Nullifiers[i].Nullifier)
		}
	}
	hits, err := s.lookUp(ctx, tx, ask, part)
	if err != nil {
		return err
	}
	for i, hit := range hits {
		if hit.Found {
			return fmt.Errorf("%w: %w: %x by entry %d", ErrSpentTwice, settlement.ErrStoreCorrupt, ask[i], hit.EntryIndex)
		}
	}
	return nil
}

// prepared is a block in the form of rows, as far as it does not depend on what
// is in the database.
type prepared struct {
	*settlement.Block
	leaves     [][32]byte
	bundles    [][]byte
	firsts     []int64
	groups     [][]byte
	nullifiers [][]byte
	spenders   []int64
	part       int32 // of nullifiers; the compare-and-set answers it
}

func (s *Store) prepare(b *settlement.Block) *prepared {
	p := &prepared{Block: b, leaves: b.LeafHashes()}
	var counts []int
	p.bundles, counts = bundles(b.Entries, math.MaxInt, bundleBytes)
	at := int64(b.FirstIndex)
	for _, n := range counts {
		p.firsts = append(p.firsts, at)
		at += int64(n)
	}
	p.groups, _ = bundles(b.Segments, groupSegments, groupBytes)
	// In the order of the index: neighbours go into one page.
	order := make([]int, len(b.Nullifiers))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int { return bytes.Compare(b.Nullifiers[i].Nullifier[:], b.Nullifiers[j].Nullifier[:]) })
	for _, i := range order {
		p.nullifiers, p.spenders = append(p.nullifiers, b.Nullifiers[i].Nullifier[:]), append(p.spenders, int64(b.Nullifiers[i].EntryIndex))
	}
	return p
}

// nullifiersPerStatement bounds a message to the server, like bundleBytes.
const nullifiersPerStatement = 4096

// fill queues a block's rows, all but the head, and returns the edge of the
// log's tiles after it.
func (s *Store) fill(b *pgx.Batch, p *prepared, before *edge) *edge {
	height := int64(p.Height)
	next, tiles := before.grow(p.leaves, p.Root)
	a := &p.Anchor
	b.Queue(s.sql.AddBlock, height, int64(p.Time), int64(p.FirstIndex), int32(len(p.Entries)), int32(len(p.Segments)), p.Root[:],
		int32(a.Tree), int64(a.TreeSize), a.NoteRoot[:], a.RegistryRoot[:], a.ReadersRoot[:],
		packSequences(p.Block), packNullifiers(p.Block), next.tail(p.leaves))
	for i, row := range p.bundles {
		b.Queue(s.sql.AddEntries, p.firsts[i], height, row)
	}
	for i, row := range p.groups {
		b.Queue(s.sql.AddSegments, height, int32(i), row)
	}
	packed := packCommitments(p.Block)
	for part := int32(0); len(packed) > 0; part++ {
		n := min(len(packed), commitmentsPerRow*commitmentLen)
		b.Queue(s.sql.AddCommitments, height, part, packed[:n:n])
		packed = packed[n:]
	}
	for from := 0; from < len(p.nullifiers); from += nullifiersPerStatement {
		to := min(from+nullifiersPerStatement, len(p.nullifiers))
		b.Queue(s.sql.AddNullifiers, p.part, height, p.nullifiers[from:to], p.spenders[from:to])
	}
	if n := len(p.Sequences); n > 0 {
		numbers, users := make([]int64, n), make([]int64, n)
		for i, q := range p.Sequences {
			numbers[i], users[i] = int64(q.Sequence), int64(q.EntryIndex)
		}
		b.Queue(s.sql.AddSequences, height, numbers, users)
	}
	for from := 0; from < len(tiles); from += tileWidth {
		some := tiles[from:min(from+tileWidth, len(tiles))]
		levels, indexes, roots, hashes := make([]int32, len(some)), make([]int64, len(some)), make([][]byte, len(some)), make([][]byte, len(some))
		for i := range some {
			levels[i], indexes[i], roots[i], hashes[i] = some[i].level, some[i].index, some[i].root[:], some[i].hashes
		}
		b.Queue(s.sql.AddTiles, levels, indexes, roots, hashes)
	}
	return next
}

// found writes block 0 and the rows that there is one of; the one that names the ledger only if it is whole.
func (s *Store) found(ctx context.Context, genesis *settlement.Block, whole bool) error {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if err := s.bounded(genesis); err != nil {
		return err
	}
	rows := s.prepare(genesis)
	ledger := genesis.GenesisHash()
	var next *edge
	_, err = s.change(ctx, transaction{
		claim: func(b *pgx.Batch) {
			if whole {
				b.Queue(s.sql.AddLedger, ledger[:])
			}
			b.Queue(s.sql.AddHead, int64(genesis.Size()), genesis.Root[:], int64(len(genesis.Nullifiers)))
		},
		rest: func(_ context.Context, _ pgx.Tx, b *pgx.Batch) error {
			next = s.fill(b, rows, &edge{})
			return nil
		},
	})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return fmt.Errorf("%w: %w", settlement.ErrStoreExists, err)
	}
	if err != nil {
		return s.why(ctx, err)
	}
	s.edge.Store(next)
	s.remember(genesis)
	return nil
}

const (
	kindCheckpoint = "checkpoint"
	kindSnapshot   = "snapshot"
	// pieceBytes is the most that one row of a checkpoint or snapshot holds.
	pieceBytes = 1 << 20
)

// SaveCheckpoint keeps the newest.
func (s *Store) SaveCheckpoint(ctx context.Context, size uint64, checkpoint []byte) error {
	return s.saveNewest(ctx, kindCheckpoint, size, checkpoint)
}

// SaveSnapshot keeps the newest.
func (s *Store) SaveSnapshot(ctx context.Context, height uint64, state []byte) error {
	return s.saveNewest(ctx, kindSnapshot, height, state)
}

// saveNewest replaces what is kept of a kind, unless its number is greater.
func (s *Store) saveNewest(ctx context.Context, kind string, number uint64, value []byte) error {
	what := "save " + kind
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	if number > math.MaxInt64 {
		return fmt.Errorf("%s: number %d is too large for its column", what, number)
	}
	var newer bool
	_, err = s.change(ctx, transaction{
		unique: true, // two nodes save their first at once
		claim: func(b *pgx.Batch) {
			newer = false
			b.Queue(s.sql.NewestNumber, kind).QueryRow(func(row pgx.Row) error {
				var kept int64
				err := row.Scan(&kept)
				if errors.Is(err, pgx.ErrNoRows) {
					return nil
				}
				newer = kept > int64(number)
				return err
			})
		},
		rest: func(_ context.Context, _ pgx.Tx, b *pgx.Batch) error {
			if newer {
				return nil
			}
			b.Queue(s.sql.DropNewest, kind)
			left := value
			for part := int32(0); part == 0 || len(left) > 0; part++ {
				n := min(len(left), pieceBytes)
				b.Queue(s.sql.AddNewest, kind, part, int64(number), append([]byte{}, left[:n]...))
				left = left[n:]
			}
			return nil
		},
	})
	return named(what, s.why(ctx, err))
}
