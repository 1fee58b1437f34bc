package pgstore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comity-ledger/comity/settlement"
)

// CreateUnfinished (replay.UnfinishedOpener) is Create for a store that is filled from a backup or from another store. Until finish has written the one row of the
// table ledger, which names it, nobody can open it (ErrStoreHalfCreated), and Discard removes it.
func (o *Opener) CreateUnfinished(ctx context.Context, genesis *settlement.Block) (settlement.Store, func(context.Context) error, error) {
	s, err := o.create(ctx, genesis, false)
	if err != nil {
		return nil, nil, err
	}
	return s, func(ctx context.Context) error { return named("finish ledger in "+o.where, s.finish(ctx, genesis)) }, nil
}

// finish makes an unfinished store a ledger. It may be called again after an error.
func (s *Store) finish(ctx context.Context, genesis *settlement.Block) error {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	ledger := genesis.GenesisHash()
	_, err = s.change(ctx, transaction{claim: func(b *pgx.Batch) { b.Queue(s.sql.AddLedger, ledger[:]) }})
	var pg *pgconn.PgError
	if errors.As(err, &pg) && pg.Code == "23505" {
		return nil // an answer was lost, and the row is there
	}
	return s.why(ctx, err)
}

// Discard removes what a creation, a copy or a restore that was cut short has left. A ledger is never removed (ErrStoreExists), nor is a
// table that is not of this layout; nothing there is no error. Whoever still fills the store fails.
func (o *Opener) Discard(ctx context.Context) error {
	what := "remove an unfinished ledger in " + o.where
	conn, err := o.connect(ctx)
	if err != nil {
		return named(what, err)
	}
	defer closeConn(conn)
	state, err := o.look(ctx, conn)
	switch {
	case err != nil:
		return named(what, err)
	case state == schemaEmpty:
		return nil
	case state == schemaLedger:
		return named(what, settlement.ErrStoreExists)
	}
	names, err := o.tables(ctx, conn)
	if err != nil {
		return named(what, err)
	}
	for _, name := range names {
		if !slices.Contains(ours(), name) {
			return named(what, fmt.Errorf("table %s is no ledger's: remove it, or use another schema: %w", name, settlement.ErrStoreHalfCreated))
		}
	}
	_, err = conn.Exec(ctx, o.sql.Discard)
	return named(what, err)
}

// ours are the tables that Discard removes.
func ours() []string {
	_, list, _ := strings.Cut(source.Discard, "IF EXISTS ")
	return strings.Split(strings.ReplaceAll(list, "@.", ""), ", ")
}
