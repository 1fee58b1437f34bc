package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"path/filepath"
	"testing"

	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
)

// errNoPostgres: no server can be run here.
var errNoPostgres = errors.New("no PostgreSQL here")

// harness lets a throw-away server of the tests be started by a program.
type harness struct {
	testing.TB
	ends []func()
}

// gaveUp is what a harness panics with where a test would end.
type gaveUp struct{ err error }

func (h *harness) Helper() {}

// Cleanup keeps what end does.
func (h *harness) Cleanup(do func()) { h.ends = append(h.ends, do) }

// Skip and Fatal end the use of the server.
func (h *harness) Skip(args ...any) {
	panic(gaveUp{fmt.Errorf("%w: %s", errNoPostgres, fmt.Sprint(args...))})
}
func (h *harness) Fatal(args ...any) { panic(gaveUp{errors.New(fmt.Sprint(args...))}) }

// Fatalf is likewise.
func (h *harness) Fatalf(format string, args ...any) { panic(gaveUp{fmt.Errorf(format, args...)}) }

// end stops the server.
func (h *harness) end() {
	for i := len(h.ends) - 1; i >= 0; i-- {
		h.ends[i]()
	}
}

// try runs what a test would.
func (h *harness) try(do func()) (err error) {
	defer func() {
		if r := recover(); r != nil {
			g, ok := r.(gaveUp)
			if !ok {
				panic(r)
			}
			err = g.err
		}
	}()
	do()
	return nil
}

// database is a new database on a server of its own, durable by its defaults. A machine without the server's programs, or on which root cannot give
// them to another user, has none: errNoPostgres.
type database struct {
	harness harness
	server  *pgtest.Server
}

func startPostgres() (*database, error) {
	d := &database{}
	if err := d.harness.try(func() { d.server = pgtest.Start(&d.harness) }); err != nil {
		d.harness.end()
		return nil, fmt.Errorf("%w: %w", errNoPostgres, err)
	}
	return d, nil
}

// new makes a database and gives its URL, over the server's socket.
func (d *database) new() (url string, err error) {
	err = d.harness.try(func() { url = d.server.URL(d.server.Database(&d.harness)) })
	return url, err
}

// diskBytes is the size of the server's files, its log of changes apart.
func (d *database) diskBytes(address string) (int64, error) {
	u, err := url.Parse(address)
	if err != nil {
		return 0, err
	}
	return rig.DiskBytes(filepath.Join(u.Query().Get("host"), "data", "base")), nil
}

// appendingPostgres is appending to a new server.
func (b *bench) appendingPostgres(ctx context.Context, k *staged) (s spell, err error) {
	d, err := startPostgres()
	if err != nil {
		return s, err
	}
	defer d.harness.end()
	url, err := d.new()
	if err != nil {
		return s, err
	}
	return b.appending(ctx, k, filepath.Join(b.work, "alone-postgres-"+k.circuit.String()), url)
}
