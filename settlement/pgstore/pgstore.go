// Package pgstore keeps a ledger in PostgreSQL, or in a distributed database
// that speaks its protocol (CockroachDB, YugabyteDB). Several nodes share one
// database: one of them appends, all of them read. SPEC.md has the layout, the
// rules that every SQL text keeps to, and what an operator sets.
//
// One block is one transaction, which begins with the compare-and-set on the
// row of the head. Nothing in safety depends on a clock, an advisory lock or a
// memory of this process: the row decides. A block's rows never change once
// they are there, so that reads of several rows need no transaction.
//
// An answer that is lost at COMMIT is Unknown. The transaction behind it, if it
// still runs, holds the lock on the head's row; so after an Unknown outcome
// Head reads with a lock, and thereby waits until the server has made up its
// mind.
package pgstore

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/nullset"
)

const (
	// DefaultPartitionSize is the number of nullifiers after which a new part of
	// the index begins.
	DefaultPartitionSize = 1 << 24
	// DefaultMaxConns is how many connections one handle has at most.
	DefaultMaxConns = 8
	// DefaultMaxBlockBytes bounds a block's transaction.
	DefaultMaxBlockBytes = 64 << 20
)

// Config says where a ledger is kept. Only URL has no default.
type Config struct {
	// URL is postgres://USER@HOST:PORT/DATABASE with the parameters of libpq.
	// search_path names the ledger's schema (DefaultSchema). Passwords are taken
	// from it, from PGPASSWORD or from a password file.
	URL string
	// AllowUnsafe opens a store on a server whose settings may lose what it
	// acknowledged.
	AllowUnsafe bool
	// PartitionSize is the number of nullifiers per part of their index, looked
	// at when a block is appended; it may change between runs.
	PartitionSize uint64
	// MaxConns bounds the connections; pool_max_conns in the URL does so too.
	MaxConns int32
	// MaxBlockBytes bounds entries and segments of one block; larger ones are
	// not appended.
	MaxBlockBytes int
	// StatementTimeout and LockTimeout are the server's, per statement. Default
	// 15 s and 5 s.
	StatementTimeout, LockTimeout time.Duration
	// IdleTimeout ends a session that stands idle in a transaction, so that a
	// node whose machine is gone holds no lock for longer. Default 3 s.
	IdleTimeout time.Duration
	// CallTimeout bounds one call of the store, on this side. Default 30 s.
	CallTimeout time.Duration
	// Patience is how long a read goes on trying when connections fail. Default
	// 2 s.
	Patience time.Duration
	// Progress is called now and then while Open reads all nullifiers back, and
	// once when it is done. It must return soon.
	Progress func(done, total uint64)
	// Log receives the server's notices. Default: nothing.
	Log *slog.Logger
	// Dial makes connections; tests put faults there.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Rand is where the key of the fingerprints comes from. Default:
	// crypto/rand.
	Rand io.Reader
}

// Opener creates and opens the store in one schema.
type Opener struct {
	cfg        Config
	pool       *pgxpool.Config
	schema     string
	where      string // for messages; it holds no password
	sql        *texts
	migrations []migration
}

var _ settlement.Opener = (*Opener)(nil)

// New checks a configuration. It connects to nothing.
func New(cfg Config) (*Opener, error) {
	def := func(d *time.Duration, value time.Duration) {
		if *d == 0 {
			*d = value
		}
	}
	def(&cfg.StatementTimeout, 15*time.Second)
	def(&cfg.LockTimeout, 5*time.Second)
	def(&cfg.IdleTimeout, 3*time.Second)
	def(&cfg.CallTimeout, 30*time.Second)
	def(&cfg.Patience, 2*time.Second)
	if cfg.PartitionSize == 0 {
		cfg.PartitionSize = DefaultPartitionSize
	}
	if cfg.MaxBlockBytes == 0 {
		cfg.MaxBlockBytes = DefaultMaxBlockBytes
	}
	if cfg.Progress == nil {
		cfg.Progress = func(uint64, uint64) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	pool, schema, where, err := poolConfig(cfg)
	if err != nil {
		return nil, err
	}
	return &Opener{cfg: cfg, pool: pool, schema: schema, where: where, sql: source.in(schema), migrations: migrations}, nil
}

// Where names schema, database and server, for messages. It holds no password.
func (o *Opener) Where() string { return o.where }

type schema int

const (
	schemaEmpty      schema = iota
	schemaLedger            // a layout, block 0 in it, and the ledger named
	schemaHalf              // some tables, but no block 0: a creation cut short
	schemaUnfinished        // block 0, and perhaps more, but no name: a copy or restore that goes on or was cut short
)

// half is what an unfinished ledger is called.
func (s schema) half() error {
	if s == schemaUnfinished {
		return fmt.Errorf("a copy or restore into it goes on, or was cut short: %w", settlement.ErrStoreHalfCreated)
	}
	return settlement.ErrStoreHalfCreated
}

// connect makes one connection for finding out and for changes of the layout.
func (o *Opener) connect(ctx context.Context) (*pgx.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, o.cfg.CallTimeout)
	defer cancel()
	conn, err := pgx.ConnectConfig(ctx, o.pool.ConnConfig.Copy())
	if err != nil {
		return nil, err
	}
	if err := o.cfg.checkServer(ctx, conn); err != nil {
		closeConn(conn)
		return nil, err
	}
	return conn, nil
}

func closeConn(conn *pgx.Conn) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = conn.Close(ctx)
}

// look tells what is in the schema.
func (o *Opener) look(ctx context.Context, conn *pgx.Conn) (schema, error) {
	names, err := o.tables(ctx, conn)
	if err != nil || len(names) == 0 {
		return schemaEmpty, err
	}
	for _, name := range []string{"layout", "head", "ledger"} {
		if !slices.Contains(names, name) {
			return schemaHalf, nil
		}
	}
	var h headRow
	switch err := conn.QueryRow(ctx, o.sql.Head).Scan(h.scan()...); {
	case errors.Is(err, pgx.ErrNoRows):
		return schemaHalf, nil
	case err != nil:
		return schemaHalf, err
	}
	var ledger []byte
	switch err := conn.QueryRow(ctx, o.sql.Ledger).Scan(&ledger); {
	case errors.Is(err, pgx.ErrNoRows):
		return schemaUnfinished, nil
	case err != nil:
		return schemaHalf, err
	}
	return schemaLedger, nil
}

// tables lists what is in the schema.
func (o *Opener) tables(ctx context.Context, conn *pgx.Conn) ([]string, error) {
	rows, err := conn.Query(ctx, o.sql.Tables, o.schema)
	if err != nil {
		return nil, err
	}
	return pgx.CollectRows(rows, pgx.RowTo[string])
}

// Create makes the schema and its tables and writes block 0.
func (o *Opener) Create(ctx context.Context, genesis *settlement.Block) (settlement.Store, error) {
	s, err := o.create(ctx, genesis, true)
	if err != nil {
		return nil, err
	}
	return s, nil
}

// create makes a ledger that is whole, or one that still has to be finished.
func (o *Opener) create(ctx context.Context, genesis *settlement.Block, whole bool) (*Store, error) {
	if genesis.Height != 0 || genesis.FirstIndex != 0 || len(genesis.Entries) == 0 {
		return nil, fmt.Errorf("pgstore: block %d at index %d with %d entries founds no ledger", genesis.Height, genesis.FirstIndex, len(genesis.Entries))
	}
	what := "create ledger in " + o.where
	conn, err := o.connect(ctx)
	if err != nil {
		return nil, named(what, err)
	}
	defer closeConn(conn)
	state, err := o.look(ctx, conn)
	switch {
	case err != nil:
		return nil, named(what, err)
	case state == schemaLedger:
		return nil, named(what, settlement.ErrStoreExists)
	case state != schemaEmpty:
		return nil, named(what, state.half())
	}
	if err := o.makeSchema(ctx, conn); err != nil {
		if beside(err) {
			err = fmt.Errorf("%w: it is being created: %w", settlement.ErrStoreInUse, err)
		}
		return nil, named(what, err)
	}
	s, err := o.start(ctx)
	if err != nil {
		return nil, named(what, err)
	}
	if err := s.found(ctx, genesis, whole); err != nil {
		return nil, errors.Join(named(what, err), s.Close())
	}
	return s, nil
}

func (o *Opener) makeSchema(ctx context.Context, conn *pgx.Conn) error {
	// An operator may have made the schema for a user who may make none.
	var schemas int
	if err := conn.QueryRow(ctx, o.sql.SchemaExists, o.schema).Scan(&schemas); err != nil {
		return err
	}
	if schemas == 0 {
		if _, err := conn.Exec(ctx, o.sql.CreateSchema); err != nil {
			return err
		}
	}
	if _, err := conn.Exec(ctx, o.sql.CreateLayout); err != nil {
		return err
	}
	return o.migrate(ctx, conn, 0)
}

// Open opens what Create made, and reads back every nullifier for the set of
// fingerprints.
func (o *Opener) Open(ctx context.Context, genesis entry.GenesisHash) (settlement.Store, error) {
	what := "open ledger in " + o.where
	if err := o.check(ctx, genesis); err != nil {
		return nil, named(what, err)
	}
	s, err := o.start(ctx)
	if err != nil {
		return nil, named(what, err)
	}
	// The first look at the head waits for whoever may still be committing for a
	// process that is gone.
	s.doubt.Store(true)
	if _, err := s.Head(ctx); err != nil {
		return nil, errors.Join(named(what, err), s.Close())
	}
	if err := s.warm(ctx); err != nil {
		return nil, errors.Join(named(what, err), s.Close())
	}
	return s, nil
}

func (o *Opener) check(ctx context.Context, genesis entry.GenesisHash) error {
	found, err := o.ledger(ctx)
	if err != nil {
		return err
	}
	if found != genesis {
		return fmt.Errorf("holds %s, asked for %s: %w", found, genesis, settlement.ErrOtherLedger)
	}
	return nil
}

// Genesis tells which ledger is kept here, for a copy that is told the address
// alone.
func (o *Opener) Genesis(ctx context.Context) (entry.GenesisHash, error) {
	found, err := o.ledger(ctx)
	return found, named("look at "+o.where, err)
}

// ledger finds out that there is a whole ledger of this layout, and which.
func (o *Opener) ledger(ctx context.Context) (found entry.GenesisHash, err error) {
	conn, err := o.connect(ctx)
	if err != nil {
		return found, err
	}
	defer closeConn(conn)
	state, err := o.look(ctx, conn)
	switch {
	case err != nil:
		return found, err
	case state == schemaEmpty:
		return found, settlement.ErrStoreNotFound
	case state != schemaLedger:
		return found, state.half()
	}
	version, err := o.version(ctx, conn)
	if err != nil {
		return found, err
	}
	if version < int32(len(o.migrations)) {
		return found, fmt.Errorf("layout %d, this program wants %d: %w", version, len(o.migrations), ErrOlderVersion)
	}
	var ledger []byte
	if err := missing("read genesis hash", conn.QueryRow(ctx, o.sql.Ledger).Scan(&ledger)); err != nil {
		return found, err
	}
	return found, digest(&found, ledger)
}

func (o *Opener) start(ctx context.Context) (*Store, error) {
	set, err := nullset.New(o.cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("draw key of fingerprints: %w", err)
	}
	config := o.pool.Copy()
	lines := &lines{dial: config.ConnConfig.DialFunc, open: make(map[net.Conn]struct{})}
	config.ConnConfig.DialFunc = lines.connect
	pool, err := pgxpool.NewWithConfig(context.WithoutCancel(ctx), config)
	if err != nil {
		return nil, err
	}
	s := &Store{cfg: o.cfg, pool: pool, lines: lines, sql: o.sql, set: set}
	s.life, s.end = context.WithCancel(context.WithoutCancel(ctx))
	return s, nil
}

// Store is a handle on a ledger. Several may be open at once, in one process or
// many.
type Store struct {
	cfg   Config
	pool  *pgxpool.Pool
	lines *lines
	sql   *texts

	life context.Context // ends with Close
	end  context.CancelFunc

	// writing serialises appends of this handle.
	writing sync.Mutex
	// doubt: a COMMIT of this handle's may still be under way.
	doubt atomic.Bool
	// edge is that of the newest log this handle has seen.
	edge atomic.Pointer[edge]

	set *nullset.Set
	// seen is how far the set has followed the log.
	seen     atomic.Pointer[mark]
	catching sync.Mutex // whoever moves seen
}

// mark is a place in the log that a handle has been at.
type mark struct {
	height uint64
	root   [32]byte
}

var _ settlement.Store = (*Store)(nil)

// enter begins a call; the returned function ends it.
func (s *Store) enter(ctx context.Context) (context.Context, func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, nil, err
	}
	if s.life.Err() != nil {
		return nil, nil, settlement.ErrStoreClosed
	}
	ctx, cancel := context.WithTimeout(ctx, s.cfg.CallTimeout)
	stop := context.AfterFunc(s.life, cancel)
	return ctx, func() { stop(); cancel() }, nil
}

// Close ends running calls and gives the connections back. A server that does
// not answer is not waited for.
func (s *Store) Close() error {
	s.end()
	closed := make(chan struct{})
	go func() {
		s.pool.Close()
		close(closed)
	}()
	select {
	case <-closed:
	case <-time.After(time.Second):
		s.lines.cut()
		<-closed
	}
	return nil
}

// lines are the network connections of a handle.
type lines struct {
	dial func(ctx context.Context, network, address string) (net.Conn, error)

	mu   sync.Mutex
	shut bool                  // guarded by mu
	open map[net.Conn]struct{} // guarded by mu
}

func (l *lines) connect(ctx context.Context, network, address string) (net.Conn, error) {
	c, err := l.dial(ctx, network, address)
	if err != nil {
		return nil, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.shut {
		return nil, errors.Join(settlement.ErrStoreClosed, c.Close())
	}
	line := &line{c, l}
	l.open[line] = struct{}{}
	return line, nil
}

// cut ends all of them, and lets none be made.
func (l *lines) cut() {
	l.mu.Lock()
	l.shut = true
	open := slices.Collect(maps.Keys(l.open))
	l.mu.Unlock()
	for _, c := range open {
		_ = c.Close()
	}
}

type line struct {
	net.Conn
	of *lines
}

func (c *line) Close() error {
	c.of.mu.Lock()
	delete(c.of.open, c)
	c.of.mu.Unlock()
	return c.Conn.Close()
}
