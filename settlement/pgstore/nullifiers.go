package pgstore

import (
	"context"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// ErrWentBack: the log in the database is not the one that this handle saw
// before. A server that lost acknowledged blocks has been put in place of the
// one that had them. The handle answers nothing from then on but what a start
// afresh would show to be wrong.
var ErrWentBack = errors.New("pgstore: the database lost blocks that it had acknowledged")

// follow brings the set of fingerprints up to the block at height, or to the
// newest one if that is lower, from the blocks that other handles appended.
func (s *Store) follow(ctx context.Context, height uint64) error {
	if m := s.seen.Load(); m != nil && m.height >= height {
		return nil
	}
	s.catching.Lock()
	defer s.catching.Unlock()
	for {
		m := s.seen.Load()
		if m != nil && m.height >= height {
			return nil
		}
		next, err := s.followSome(ctx, m, height)
		if err != nil {
			return err
		}
		if m != nil && next.height == m.height {
			return nil // there are no more
		}
		s.seen.Store(next)
	}
}

// followSome reads one batch of blocks behind m, and m's own, whose root must
// still be the one that was seen.
func (s *Store) followSome(ctx context.Context, m *mark, height uint64) (*mark, error) {
	from := uint64(0)
	if m != nil {
		from = m.height
	}
	rows, err := s.pool.Query(ctx, s.sql.SpentSince, int64(from), int64(height))
	if err != nil {
		return nil, err
	}
	defer rows.Close()
	last, checked := m, m == nil
	for at := from; rows.Next(); at++ {
		var number int64
		var root, spent []byte
		if err := rows.Scan(&number, &root, &spent); err != nil {
			return nil, err
		}
		if uint64(number) != at || len(root) != 32 || len(spent)%nullifierLen != 0 {
			return nil, corrupt(fmt.Sprintf("read nullifiers of block %d", at), errRow)
		}
		if m != nil && at == m.height {
			if [32]byte(root) != m.root {
				return nil, fmt.Errorf("block %d is another than before: %w", at, ErrWentBack)
			}
			checked = true
			continue
		}
		for ; len(spent) > 0; spent = spent[nullifierLen:] {
			s.set.Add((*[32]byte)(spent))
		}
		last = &mark{height: at, root: [32]byte(root)}
	}
	if err := rows.Err(); err != nil {
		return nil, err
	}
	if !checked {
		return nil, fmt.Errorf("block %d is gone: %w", from, ErrWentBack)
	}
	if last == nil {
		return nil, corrupt("read nullifiers", errors.New("block 0 is missing"))
	}
	return last, nil
}

// remember adds the nullifiers of a block that this handle made durable.
func (s *Store) remember(b *settlement.Block) {
	s.catching.Lock()
	defer s.catching.Unlock()
	m := s.seen.Load()
	if m == nil && b.Height > 0 || m != nil && m.height+1 != b.Height {
		return // a reader has been faster, or is behind and will come by here
	}
	for i := range b.Nullifiers {
		s.set.Add((*[32]byte)(&b.Nullifiers[i].Nullifier))
	}
	s.seen.Store(&mark{height: b.Height, root: b.Root})
}

// warm reads every nullifier back into the set.
func (s *Store) warm(ctx context.Context) error {
	h, err := s.headRow(ctx, false)
	if err != nil {
		return err
	}
	s.set.Reserve(int64(h.spent))
	for height := uint64(0); ; {
		if err := ctx.Err(); err != nil {
			return err
		}
		call, done, err := s.enter(ctx)
		if err != nil {
			return err
		}
		err = s.patiently(call, func(ctx context.Context) error { return s.follow(ctx, min(height+255, h.height)) })
		done()
		if err != nil {
			return err
		}
		height = s.seen.Load().height + 1
		s.cfg.Progress(min(uint64(s.set.Len()), h.spent), h.spent)
		if height > h.height {
			break
		}
	}
	// Equal fingerprints are counted once: fewer by a few is chance.
	if n := uint64(s.set.Len()); n+16 < h.spent {
		return fmt.Errorf("found %d nullifiers, the head counts %d: %w", n, h.spent, settlement.ErrStoreCorrupt)
	}
	return nil
}

// Spent brings the set up to the head that the server has at this moment, and
// then asks the set. Only what may be there is looked up.
func (s *Store) Spent(ctx context.Context, nullifiers []zk.Nullifier) (hits []settlement.Hit, err error) {
	err = s.read(ctx, "look up nullifiers", func(ctx context.Context) error {
		m := s.seen.Load() // before the head: appends of this handle move both
		h, err := s.headRow(ctx, false)
		if err != nil {
			return err
		}
		if m != nil && m.height > h.height {
			return fmt.Errorf("head at block %d, before at %d: %w", h.height, m.height, ErrWentBack)
		}
		if err := s.follow(ctx, h.height); err != nil {
			return err
		}
		hits = make([]settlement.Hit, len(nullifiers))
		var ask []zk.Nullifier
		var places []int
		for i := range nullifiers {
			if s.set.MayContain((*[32]byte)(&nullifiers[i])) {
				ask, places = append(ask, nullifiers[i]), append(places, i)
			}
		}
		found, err := s.lookUp(ctx, s.pool, ask, h.part)
		if err != nil {
			return err
		}
		for i, hit := range found {
			hits[places[i]] = hit
		}
		return nil
	})
	return hits, err
}

// lookUp asks the index, the newest part first.
func (s *Store) lookUp(ctx context.Context, q querier, nullifiers []zk.Nullifier, part int32) ([]settlement.Hit, error) {
	hits := make([]settlement.Hit, len(nullifiers))
	open := make(map[zk.Nullifier][]int, len(nullifiers))
	for i, n := range nullifiers {
		open[n] = append(open[n], i)
	}
	for ; part >= 0 && len(open) > 0; part-- {
		keys := make([][]byte, 0, len(open))
		for n := range open {
			keys = append(keys, n[:])
		}
		for from := 0; from < len(keys); from += nullifiersPerStatement {
			rows, err := q.Query(ctx, s.sql.SpentIn, part, keys[from:min(from+nullifiersPerStatement, len(keys))])
			if err != nil {
				return nil, err
			}
			for rows.Next() {
				var key []byte
				var index, height int64
				if err := rows.Scan(&key, &index, &height); err != nil {
					rows.Close()
					return nil, err
				}
				n := zk.Nullifier(key)
				for _, i := range open[n] {
					hits[i] = settlement.Hit{Found: true, EntryIndex: uint64(index), Height: uint64(height)}
				}
				delete(open, n)
			}
			if err := rows.Err(); err != nil {
				return nil, err
			}
		}
	}
	return hits, nil
}
