package pgstore

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
)

// Refusals of a configuration or a server.
var (
	// ErrNotDurable: the server may forget what it acknowledged (fsync,
	// full_page_writes or synchronous_commit is off or weakened).
	ErrNotDurable = errors.New("pgstore: the server does not keep what it acknowledges")
	// ErrPlaintext: the server is on another machine, and nothing says whether
	// the connection has to be encrypted.
	ErrPlaintext = errors.New("pgstore: an unencrypted connection to another machine must be asked for")
	// ErrURL: the address cannot be used.
	ErrURL = errors.New("pgstore: store address is not usable")
)

// DefaultSchema holds the tables of a ledger whose address names no other.
const DefaultSchema = "comity"

var schemaName = regexp.MustCompile(`^[a-z_][a-z0-9_]{0,62}$`)

// IsURL tells an address of a PostgreSQL store from the name of a folder.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "postgres://") || strings.HasPrefix(text, "postgresql://")
}

// HasPassword tells whether an address carries a password, which then must not
// stand where other people read it.
func HasPassword(text string) bool {
	u, err := url.Parse(text)
	if err != nil {
		return strings.Contains(text, "@") || strings.Contains(text, "password")
	}
	_, set := u.User.Password()
	return set || u.Query().Has("password") || u.Query().Has("sslpassword")
}

// poolConfig reads an address and adds the limits of Config.
func poolConfig(cfg Config) (pool *pgxpool.Config, schema, where string, err error) {
	if !IsURL(cfg.URL) {
		return nil, "", "", fmt.Errorf("%w: want postgres://HOST:PORT/DATABASE?search_path=SCHEMA", ErrURL)
	}
	pool, err = pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		// The library's own words may repeat parts of the address.
		return nil, "", "", fmt.Errorf("%w: it does not parse as a PostgreSQL address", ErrURL)
	}
	c := pool.ConnConfig
	schema = DefaultSchema
	if s, ok := c.RuntimeParams["search_path"]; ok {
		schema = s
		delete(c.RuntimeParams, "search_path")
	}
	if !schemaName.MatchString(schema) || strings.HasPrefix(schema, "pg_") {
		return nil, "", "", fmt.Errorf("%w: schema %q: want small letters, digits and underscores", ErrURL, schema)
	}
	if err := encrypted(cfg.URL, c); err != nil {
		return nil, "", "", err
	}
	set := func(name, value string) {
		if _, ok := c.RuntimeParams[name]; !ok {
			c.RuntimeParams[name] = value
		}
	}
	set("application_name", "comity")
	millis := func(d time.Duration) string { return strconv.FormatInt(d.Milliseconds(), 10) }
	c.RuntimeParams["statement_timeout"] = millis(cfg.StatementTimeout)
	c.RuntimeParams["lock_timeout"] = millis(cfg.LockTimeout)
	c.RuntimeParams["idle_in_transaction_session_timeout"] = millis(cfg.IdleTimeout)
	if c.ConnectTimeout == 0 {
		c.ConnectTimeout = 5 * time.Second
	}
	if c.ValidateConnect == nil {
		// Of several hosts, the one that takes writes.
		c.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if cfg.Dial != nil {
		c.DialFunc = cfg.Dial
	}
	if cfg.MaxConns > 0 {
		pool.MaxConns = cfg.MaxConns
	} else if !strings.Contains(cfg.URL, "pool_max_conns") {
		pool.MaxConns = DefaultMaxConns
	}
	pool.PingTimeout = 2 * time.Second
	pool.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error { return cfg.checkServer(ctx, conn) }
	c.OnNotice = func(_ *pgconn.PgConn, n *pgconn.Notice) {
		cfg.Log.Warn("postgres: "+n.Message, "severity", n.Severity, "code", n.Code)
	}
	where = fmt.Sprintf("schema %s of database %s at %s", schema, c.Database, net.JoinHostPort(c.Host, strconv.Itoa(int(c.Port))))
	return pool, schema, where, nil
}

// encrypted refuses what the library would do by default: to fall back to an
// unencrypted connection with a server on another machine.
func encrypted(address string, c *pgx.ConnConfig) error {
	mode := os.Getenv("PGSSLMODE")
	if u, err := url.Parse(address); err == nil && u.Query().Has("sslmode") {
		mode = u.Query().Get("sslmode")
	}
	if mode == "disable" {
		return nil // asked for
	}
	check := func(host string, plain bool) error {
		if !plain || strings.HasPrefix(host, "/") || strings.HasPrefix(host, "@") || host == "localhost" {
			return nil
		}
		if ip := net.ParseIP(host); ip != nil && ip.IsLoopback() {
			return nil
		}
		return fmt.Errorf("%w: %s: give sslmode=verify-full and sslrootcert, or sslmode=disable", ErrPlaintext, host)
	}
	if err := check(c.Host, c.TLSConfig == nil); err != nil {
		return err
	}
	for _, f := range c.Fallbacks {
		if err := check(f.Host, f.TLSConfig == nil); err != nil {
			return err
		}
	}
	return nil
}

// checkServer looks at the settings that durability rests on, on every new
// connection, because an operator may change them at any time.
func (cfg *Config) checkServer(ctx context.Context, conn *pgx.Conn) error {
	var version, commit, fsync, pages string
	if err := conn.QueryRow(ctx, source.Server).Scan(&version, &commit, &fsync, &pages); err != nil {
		return fmt.Errorf("read the server's settings: %w", err)
	}
	if cfg.AllowUnsafe {
		return nil
	}
	if commit != "on" && commit != "remote_apply" {
		return fmt.Errorf("%w: synchronous_commit is %q", ErrNotDurable, commit)
	}
	if strings.Contains(version, "CockroachDB") || strings.Contains(version, "-YB-") {
		return nil // they have a log of their own, without these settings
	}
	if fsync != "on" || pages != "on" {
		return fmt.Errorf("%w: fsync is %q, full_page_writes is %q", ErrNotDurable, fsync, pages)
	}
	return nil
}
