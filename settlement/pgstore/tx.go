package pgstore

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comity-ledger/comity/settlement"
)

// maxAttempts bounds how often a transaction is run when the server asks for it
// (40001, 40P01).
const maxAttempts = 12

// ErrUnreachable: no connection, or the server is on its way down or up. A
// later try may succeed.
var ErrUnreachable = errors.New("pgstore: the server cannot be reached")

// errFenced: the compare-and-set found another head.
var errFenced = errors.New("pgstore: another head")

// transaction is one change of the database. It may run several times.
type transaction struct {
	// claim queues what runs in the round trip of BEGIN.
	claim func(b *pgx.Batch)
	// rest runs next, and may be nil. It queues the last statements, which it
	// does not send.
	rest func(ctx context.Context, tx pgx.Tx, b *pgx.Batch) error
	// unique: a unique violation is a race, and worth another run.
	unique bool
}

// change runs a transaction until it commits, fails, or has been asked back too
// often. doubt says that a COMMIT was sent whose fate is not known.
func (s *Store) change(ctx context.Context, t transaction) (doubt bool, err error) {
	for attempt := 1; ; attempt++ {
		unsure, err := s.attempt(ctx, t)
		doubt = doubt || unsure
		if err == nil {
			return false, nil
		}
		if attempt == maxAttempts || !again(err, t.unique) {
			return doubt, err
		}
		pause := time.Duration(attempt) * (2*time.Millisecond + rand.N(8*time.Millisecond))
		select {
		case <-ctx.Done():
			return doubt, errors.Join(ctx.Err(), err)
		case <-time.After(pause):
		}
	}
}

// attempt runs a transaction once. COMMIT is sent only after the server has
// answered everything before it: a transaction whose COMMIT was sent holds the
// lock on the rows that it changed, so that a locking read of them waits for
// its end, and one whose COMMIT was not sent never commits.
func (s *Store) attempt(ctx context.Context, t transaction) (doubt bool, err error) {
	conn, err := s.pool.Acquire(ctx)
	if err != nil {
		return false, err
	}
	defer conn.Release()
	b := &pgx.Batch{}
	b.BeginTx(pgx.TxOptions{IsoLevel: pgx.Serializable})
	t.claim(b)
	results := conn.SendBatch(ctx, b)
	tx := results.Tx()
	defer func() {
		if err != nil {
			undo, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
			_ = tx.Rollback(undo) // or the connection is gone, and the server does it
			cancel()
		}
	}()
	if err := results.Close(); err != nil {
		return false, err
	}
	last := &pgx.Batch{}
	if t.rest != nil {
		if err := t.rest(ctx, tx, last); err != nil {
			return false, err
		}
	}
	last.Queue(s.sql.NoTimeout)
	if err := tx.SendBatch(ctx, last).Close(); err != nil {
		return false, err
	}
	if err := tx.Commit(ctx); err != nil {
		return true, fmt.Errorf("commit: %w", err)
	}
	return false, nil
}

// again tells whether the server asks to run the whole transaction once more.
// The two codes say that it was rolled back; 40003 says that it is not known,
// and is not among them.
func again(err error, unique bool) bool {
	var pg *pgconn.PgError
	return errors.As(err, &pg) && (pg.Code == "40001" || pg.Code == "40P01" || unique && pg.Code == "23505")
}

// lost tells whether a connection failed, or the server is on its way down or
// up: then the same read on another connection may succeed.
func lost(err error) bool {
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "57P01", "57P02", "57P03", "40001", "40P01":
			return true
		}
		return pg.Code[:min(2, len(pg.Code))] == "08"
	}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, ErrNotDurable) {
		return false
	}
	var connect *pgconn.ConnectError
	var network net.Error
	return errors.As(err, &connect) || errors.As(err, &network) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) ||
		errors.Is(err, net.ErrClosed) || pgconn.SafeToRetry(err)
}

// read runs a read-only function, again when the connection was lost, for as
// long as cfg.Patience.
func (s *Store) read(ctx context.Context, what string, f func(ctx context.Context) error) error {
	ctx, done, err := s.enter(ctx)
	if err != nil {
		return err
	}
	defer done()
	return named(what, s.patiently(ctx, f))
}

func (s *Store) patiently(ctx context.Context, f func(ctx context.Context) error) error {
	began := time.Now()
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 250*time.Millisecond) {
		err := f(ctx)
		if err == nil || !lost(err) || time.Since(began)+pause > s.cfg.Patience {
			return s.why(ctx, err)
		}
		select {
		case <-ctx.Done():
			return s.why(ctx, err)
		case <-time.After(pause):
		}
	}
}

// why puts the reason first where a call ended because its caller or the store
// ended it: the library names the connection's troubles only.
func (s *Store) why(ctx context.Context, err error) error {
	switch {
	case err == nil:
		return nil
	case s.life.Err() != nil:
		return fmt.Errorf("%w: %w", settlement.ErrStoreClosed, err)
	case ctx.Err() != nil && !errors.Is(err, ctx.Err()):
		return fmt.Errorf("%w: %w", ctx.Err(), err)
	}
	return err
}

// named gives an error of the database its name from the Store interface.
func named(what string, err error) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, pgx.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, settlement.ErrNotFound)
	}
	var pg *pgconn.PgError
	if errors.As(err, &pg) {
		switch pg.Code {
		case "53100":
			return fmt.Errorf("%s: %w: %w", what, settlement.ErrStoreFull, err)
		case "XX001", "XX002":
			return fmt.Errorf("%s: %w: %w", what, settlement.ErrStoreCorrupt, err)
		}
	}
	if lost(err) {
		return fmt.Errorf("%s: %w: %w", what, ErrUnreachable, err)
	}
	if errors.Is(err, errRow) && !errors.Is(err, settlement.ErrStoreCorrupt) {
		return corrupt(what, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}
