package pgstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/comity-ledger/comity/settlement"
)

// ErrOlderVersion: the layout in the database is older than the program's. The
// operator brings it up with Migrate, once no older program runs any more.
var ErrOlderVersion = errors.New("pgstore: store has an older layout version")

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration brings the layout from version-1 to version. Migrations only go
// forward, and one that was ever released never changes: its checksum stands
// in the database.
type migration struct {
	version    int32
	statements []string
	checksum   [32]byte
}

var migrations = readMigrations()

func readMigrations() []migration {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		panic(err) // the pattern is fixed
	}
	slices.Sort(names)
	var all []migration
	for i, name := range names {
		text, err := migrationFiles.ReadFile(name)
		if err != nil || !strings.HasPrefix(name, fmt.Sprintf("migrations/%04d_", i+1)) {
			panic(fmt.Sprintf("migration %s at place %d: %v", name, i+1, err))
		}
		all = append(all, newMigration(int32(i+1), string(text)))
	}
	return all
}

func newMigration(version int32, text string) migration {
	m := migration{version: version, checksum: sha256.Sum256([]byte(text))}
	for statement := range strings.SplitSeq(text, ";\n") {
		if statement = strings.TrimSpace(statement); statement != "" {
			m.statements = append(m.statements, statement)
		}
	}
	return m
}

// migrate applies what is missing after the version that is there. Every
// statement stands alone: no distributed database promises that several changes
// of tables happen together. A migration that was cut short is told by its
// missing row, and must be written so that it can be run again; only the first
// one need not be, because a ledger without it is half created.
func (o *Opener) migrate(ctx context.Context, conn *pgx.Conn, from int32) error {
	for _, m := range o.migrations {
		if m.version <= from {
			continue
		}
		for _, statement := range m.statements {
			if _, err := conn.Exec(ctx, qualify(statement, o.schema)); err != nil {
				return fmt.Errorf("migration %d: %w", m.version, err)
			}
		}
		if _, err := conn.Exec(ctx, o.sql.AddLayout, m.version, m.checksum[:]); err != nil {
			return fmt.Errorf("migration %d: %w", m.version, err)
		}
	}
	return nil
}

// version reads the layout version, 0 if not even the first migration ended,
// and compares the checksums of what was applied.
func (o *Opener) version(ctx context.Context, conn *pgx.Conn) (int32, error) {
	rows, err := conn.Query(ctx, o.sql.Layout)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	last := int32(0)
	for rows.Next() {
		var version int32
		var checksum []byte
		if err := rows.Scan(&version, &checksum); err != nil {
			return 0, err
		}
		if version > int32(len(o.migrations)) {
			return 0, fmt.Errorf("layout %d, this program reads up to %d: %w", version, len(o.migrations), settlement.ErrNewerVersion)
		}
		if version != last+1 || !bytes.Equal(checksum, o.migrations[version-1].checksum[:]) {
			return 0, corrupt(fmt.Sprintf("migration %d", version), errors.New("it is not the one of this program"))
		}
		last = version
	}
	return last, rows.Err()
}

// Migrate brings an older layout up to this program's. Programs that know only
// the older one refuse the ledger from then on.
func (o *Opener) Migrate(ctx context.Context) error {
	what := "migrate " + o.where
	conn, err := o.connect(ctx)
	if err != nil {
		return named(what, err)
	}
	defer closeConn(conn)
	if state, err := o.look(ctx, conn); err != nil || state != schemaLedger {
		if err == nil {
			err = settlement.ErrStoreNotFound
			if state != schemaEmpty {
				err = state.half()
			}
		}
		return named(what, err)
	}
	version, err := o.version(ctx, conn)
	if err != nil {
		return named(what, err)
	}
	return named(what, o.migrate(ctx, conn, version))
}

// beside tells whether another creation is under way: it made first what this
// one was about to make.
func beside(err error) bool {
	var pg *pgconn.PgError
	if !errors.As(err, &pg) {
		return false
	}
	switch pg.Code {
	case "42P07", "42P06": // duplicate table, schema
		return true
	case "23505": // the same, found by the catalogue's own index
		return strings.HasPrefix(pg.TableName, "pg_") || strings.HasPrefix(pg.ConstraintName, "pg_")
	}
	return false
}
