package pgstore

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/storetest"
)

func TestAddressIsChecked(t *testing.T) {
	t.Setenv("PGSSLMODE", "")
	for address, want := range map[string]error{
		"":                            ErrURL,
		"aurelia":                     ErrURL,
		"mysql://localhost/x":         ErrURL,
		"postgres://localhost:port/x": ErrURL,
		"postgres://localhost/x?search_path=Aurelia":              ErrURL,
		"postgres://localhost/x?search_path=a,b":                  ErrURL,
		"postgres://localhost/x?search_path=pg_catalog":           ErrURL,
		"postgres://localhost/x?search_path=a%22;drop":            ErrURL,
		"postgres://db.example/x":                                 ErrPlaintext,
		"postgres://db.example/x?sslmode=prefer":                  ErrPlaintext,
		"postgres://db.example/x?sslmode=allow":                   ErrPlaintext,
		"postgres://127.0.0.1,10.1.2.3/x":                         ErrPlaintext,
		"postgres://10.1.2.3/x":                                   ErrPlaintext,
		"postgres://10.1.2.3/x?sslmode=disable":                   nil,
		"postgres://db.example/x?sslmode=require":                 nil,
		"postgres://db.example,db2.example/x?sslmode=verify-full": nil,
		"postgres://localhost/x":                                  nil,
		"postgresql://127.0.0.1:5433/x?search_path=aurelia":       nil,
		"postgres://[::1]/x":                                      nil,
		"postgres:///x?host=/run/postgresql":                      nil,
	} {
		o, err := New(Config{URL: address})
		if !errors.Is(err, want) || (want == nil) != (err == nil) {
			t.Errorf("%s: %v, want %v", address, err, want)
		}
		if err == nil && o.Where() == "" {
			t.Errorf("%s has no name", address)
		}
	}
	o, err := New(Config{URL: "postgres://localhost/x?search_path=aurelia&pool_max_conns=3&application_name=node-1"})
	if err != nil || o.schema != "aurelia" || o.pool.MaxConns != 3 || o.pool.ConnConfig.RuntimeParams["application_name"] != "node-1" {
		t.Fatalf("%+v, %v", o, err)
	}
	params := o.pool.ConnConfig.RuntimeParams
	if params["statement_timeout"] != "15000" || params["lock_timeout"] != "5000" || params["idle_in_transaction_session_timeout"] != "3000" || params["search_path"] != "" {
		t.Fatalf("%v", params)
	}
	if o, err = New(Config{URL: "postgres://localhost/x"}); err != nil || o.schema != DefaultSchema || o.pool.MaxConns != DefaultMaxConns {
		t.Fatalf("%+v, %v", o, err)
	}
}

func TestPasswordsAreSeenInAddresses(t *testing.T) {
	for address, want := range map[string]bool{
		"postgres://u:secret@h/x": true, "postgres://u@h/x?password=secret": true, "postgres://u@h/x?sslpassword=secret": true,
		"postgres://u@h/x": false, "postgres://h/x": false, "postgres://u:se%zzcret@h/x": true,
	} {
		if HasPassword(address) != want {
			t.Errorf("%s: %v", address, !want)
		}
	}
}

// TestPasswordIsInNoErrorAndNoLog looks at everything that a store says about
// an address with a password.
func TestPasswordIsInNoErrorAndNoLog(t *testing.T) {
	server := pgtest.Shared(t)
	var log bytes.Buffer
	logger := slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	said := func(address string) string {
		o, err := New(Config{URL: address, Log: logger, Patience: time.Millisecond})
		if err != nil {
			return err.Error()
		}
		_, err = o.Create(t.Context(), storetest.NewChain(1).Genesis())
		if err == nil {
			t.Fatalf("created at %s", address)
		}
		return err.Error() + o.Where()
	}
	const secret = "sesame-4711"
	for _, address := range []string{
		strings.Replace(server.TCP(testDatabase, server.Address()), pgtest.Password, secret, 1), // wrong password
		"postgres://u:" + secret + "@127.0.0.1:1/x",                                             // nobody there
		"postgres://u:" + secret + "@127.0.0.1:port/x",
		"postgres://u:" + secret + "%zz@127.0.0.1/x",
		"postgres://u:" + secret + "@h/x?search_path=A",
		"postgres://u:" + secret + "@db.example/x",
		"postgres://u:" + secret + "@127.0.0.1/x?sslmode=" + secret,
	} {
		if text := said(address) + log.String(); strings.Contains(text, secret) {
			t.Errorf("%s: %s", address, text)
		}
	}
}

// TestLayoutVersionsAreRefusedAndMigrated plays a program with a second
// migration.
func TestLayoutVersionsAreRefusedAndMigrated(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t))
	c := storetest.NewChain(1)
	s, head := create(t, m, c)
	head = appendBlock(t, s, head, c.Next(storetest.Payments(2)))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	next := newAt(t, m, func(*Config) {})
	next.migrations = append(next.migrations[:1:1], newMigration(2, "ALTER TABLE @.ledger ADD COLUMN IF NOT EXISTS note text;\n"))
	if _, err := next.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, ErrOlderVersion) {
		t.Fatalf("older layout: %v", err)
	}
	// Cut short between its statement and its row, and run again.
	m.exec(t, "ALTER TABLE @.ledger ADD COLUMN note text")
	for range 2 {
		if err := next.Migrate(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	s2, err := next.Open(t.Context(), c.Genesis().GenesisHash())
	if err != nil {
		t.Fatal(err)
	}
	c.Check(t, s2, head.Height)
	if err := s2.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrNewerVersion) {
		t.Fatalf("newer layout: %v", err)
	}
	if err := m.Migrate(t.Context()); !errors.Is(err, settlement.ErrNewerVersion) {
		t.Fatalf("migrate a newer layout: %v", err)
	}
	// A migration that was changed after it was applied.
	next.migrations[0].checksum[0] ^= 1
	if _, err := next.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreCorrupt) {
		t.Fatalf("changed migration: %v", err)
	}
	if err := newMedium(t, pgtest.Shared(t)).Migrate(t.Context()); !errors.Is(err, settlement.ErrStoreNotFound) {
		t.Fatalf("migrate nothing: %v", err)
	}
}

// TestSchemaOfAnotherProgramIsNotTouched: tables that are not ours are a ledger
// half created at best.
func TestSchemaOfAnotherProgramIsNotTouched(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t))
	m.exec(t, "CREATE SCHEMA @")
	c := storetest.NewChain(1)
	m.exec(t, "CREATE TABLE @.diary (words text)")
	if _, err := m.Create(t.Context(), c.Genesis()); !errors.Is(err, settlement.ErrStoreHalfCreated) {
		t.Fatalf("create among foreign tables: %v", err)
	}
	m.exec(t, "DROP TABLE @.diary")
	s, err := m.Create(t.Context(), c.Genesis()) // a schema that the operator made
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}

// TestTwoCreators: of two at once, one makes the ledger, and the other is told
// why not.
func TestTwoCreators(t *testing.T) {
	for range 4 {
		m := newMedium(t, pgtest.Shared(t))
		c := storetest.NewChain(1)
		results := make(chan error, 2)
		for range 2 {
			go func() {
				s, err := m.Create(context.Background(), c.Genesis())
				if err == nil {
					err = s.Close()
				}
				results <- err
			}()
		}
		won := 0
		for range 2 {
			err := <-results
			switch {
			case err == nil:
				won++
			case !errors.Is(err, settlement.ErrStoreInUse) && !errors.Is(err, settlement.ErrStoreExists) && !errors.Is(err, settlement.ErrStoreHalfCreated):
				t.Fatalf("the loser: %v", err)
			}
		}
		if won > 1 {
			t.Fatal("both created it")
		}
	}
}

// TestLimitsOfABlock: what no transaction may hold is not appended.
func TestLimitsOfABlock(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t), func(c *Config) { c.MaxBlockBytes = 5000 })
	c := storetest.NewChain(1)
	s, head := create(t, m, c)
	defer s.Close()
	if outcome, err := s.Append(t.Context(), head, c.Next(storetest.Payments(10))); outcome != settlement.Unknown || err == nil {
		t.Fatalf("a block above the limit: %v, %v", outcome, err)
	}
	wrong := *c.Blocks[1]
	wrong.Entries, wrong.Segments, wrong.Nullifiers, wrong.FirstIndex = wrong.Entries[:1], nil, nil, 77
	if outcome, err := s.Append(t.Context(), head, &wrong); outcome != settlement.Unknown || err == nil {
		t.Fatalf("a block that does not follow: %v, %v", outcome, err)
	}
	if got, err := s.Head(t.Context()); err != nil || got != head {
		t.Fatalf("head %+v, %v", got, err)
	}
}

// TestServerThatDoesNotAnswer: a call ends after its time-out.
func TestServerThatDoesNotAnswer(t *testing.T) {
	server := pgtest.Shared(t)
	m := newMedium(t, server)
	c := storetest.NewChain(1)
	var mute mutable
	opener := newAt(t, m, func(c *Config) { c.CallTimeout = 300 * time.Millisecond; c.Dial = mute.dial })
	s, head := create(t, opener, c)
	defer s.Close()
	mute.set(true)
	began := time.Now()
	outcome, err := s.Append(t.Context(), head, c.Next(storetest.Payments(1)))
	if outcome != settlement.Unknown || !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("append: %v, %v", outcome, err)
	}
	if _, err := s.Head(t.Context()); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("head: %v", err)
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Fatalf("it took %v", took)
	}
	mute.set(false)
	appendBlock(t, s, head, c.Blocks[1])
}
