package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comity-ledger/comity/settlement"
)

var _ settlement.Leaser = (*Store)(nil)

// Lease reads one row.
func (s *Store) Lease(ctx context.Context) (lease settlement.Lease, err error) {
	err = s.read(ctx, "read lease", func(ctx context.Context) error {
		var serial, millis, epoch int64
		lease = settlement.Lease{}
		err := s.pool.QueryRow(ctx, s.sql.Lease).Scan(&serial, &lease.Holder, &lease.URL, &millis, &epoch)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil // nobody has held it yet
		}
		lease.Serial, lease.Millis, lease.Epoch = uint64(serial), uint64(millis), uint64(epoch)
		return err
	})
	return lease, err
}

// ChangeLease changes one row, or makes it.
func (s *Store) ChangeLease(ctx context.Context, serial uint64, to settlement.Lease) (bool, error) {
	what := "change lease"
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return false, err
	}
	defer done()
	if serial >= math.MaxInt64 || to.Millis > math.MaxInt64 || to.Epoch > math.MaxInt64 {
		return false, fmt.Errorf("%s: a number is too large for its column", what)
	}
	var changed bool
	_, err = s.change(ctx, transaction{claim: func(b *pgx.Batch) {
		changed = true
		if serial == 0 {
			b.Queue(s.sql.AddLease, to.Holder, to.URL, int64(to.Millis), int64(to.Epoch))
			return
		}
		b.Queue(s.sql.ChangeLease, int64(serial), to.Holder, to.URL, int64(to.Millis), int64(to.Epoch)).QueryRow(func(row pgx.Row) error {
			var now int64
			err := row.Scan(&now)
			if errors.Is(err, pgx.ErrNoRows) {
				changed = false
				return nil
			}
			return err
		})
	}})
	var pg *pgconn.PgError
	if serial == 0 && errors.As(err, &pg) && pg.Code == "23505" {
		return false, nil
	}
	if err != nil {
		return false, named(what, s.why(ctx, err))
	}
	return changed, nil
}
