package pgstore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/storetest"
)

// whole checks that the database holds the rows of the blocks up to a height
// and no others, by counting them.
func whole(t testing.TB, m *medium, c *storetest.Chain, upTo uint64) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), m.server.URL(m.database))
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	var nullifiers, sequences int
	for _, b := range c.Blocks[:upTo+1] {
		nullifiers, sequences = nullifiers+len(b.Nullifiers), sequences+len(b.Sequences)
	}
	for text, want := range map[string]int{
		`SELECT count(*) FROM @.nullifiers`:                      nullifiers,
		`SELECT count(*) FROM @.sequences`:                       sequences,
		`SELECT count(*) FROM @.blocks`:                          int(upTo) + 1,
		`SELECT count(DISTINCT height) FROM @.entries`:           int(upTo) + 1,
		`SELECT coalesce(max(height), 0) FROM @.segments`:        -1,
		`SELECT spent FROM @.head`:                               nullifiers,
		`SELECT coalesce(max(first_index), 0) FROM @.entries`:    -2,
		`SELECT coalesce(max(entry_index), 0) FROM @.nullifiers`: -2,
	} {
		var got int
		if err := conn.QueryRow(t.Context(), qualify(text, m.schema)).Scan(&got); err != nil {
			t.Fatal(err)
		}
		switch {
		case want == -1 && got > int(upTo), want == -2 && got >= int(c.Blocks[upTo].Size()), want >= 0 && got != want:
			t.Fatalf("%s: %d, want %d, up to block %d", text, got, want, upTo)
		}
	}
}

// measure appends until statements are prepared and the set is warm, and gives
// the bytes that one append more sends and receives.
func measure(t *testing.T, s *Store, p *proxy, c *storetest.Chain, head settlement.Head, shape storetest.Shape) (_ settlement.Head, up, down int) {
	t.Helper()
	for range 3 {
		p.set(plan{-1, -1, 0})
		head = appendBlock(t, s, head, c.Next(shape))
	}
	up, down = p.counts()
	return head, up, down
}

// TestConnectionCutAtEveryStageOfAnAppend cuts the connection at bytes on both
// ways, from the first of BEGIN to the answer to COMMIT. The append must be
// Unknown (or committed, where the cut came too late); what Head then says must
// be the truth and stay so; and the ledger must go on.
func TestConnectionCutAtEveryStageOfAnAppend(t *testing.T) {
	server := pgtest.Shared(t)
	p := newProxy(t, server.Address())
	m := newMedium(t, server)
	opener, err := New(Config{URL: server.TCP(testDatabase, p.address()) + "&search_path=" + m.schema, PartitionSize: 64})
	if err != nil {
		t.Fatal(err)
	}
	c := storetest.NewChain(21)
	s, head := create(t, opener, c)
	defer func() { s.Close() }()
	shape := storetest.Shape{Entries: 5, EntryBytes: 400, Nullifiers: 2, Outputs: 2, Segment: 100}
	head, up, down := measure(t, s, p, c, head, shape)
	var plans []plan
	for i := range 12 {
		plans = append(plans, plan{up * i / 12, -1, 0}, plan{-1, down * i / 12, 0})
	}
	for _, back := range []int{1, 2, 5, 8, 12} { // inside COMMIT and its answer
		plans = append(plans, plan{up - back, -1, 0}, plan{-1, down - back, 0})
	}
	committed, absent := 0, 0
	for i, at := range plans {
		if i > 0 { // a new connection, warm again
			head, _, _ = measure(t, s, p, c, head, shape)
		}
		b := c.Next(shape)
		p.set(at)
		outcome, err := s.Append(t.Context(), head, b)
		p.set(plan{-1, -1, 0})
		switch {
		case outcome == settlement.Fenced:
			t.Fatalf("cut %d (%+v): fenced, %v", i, at, err)
		case outcome == settlement.Unknown && err == nil:
			t.Fatalf("cut %d (%+v): unknown without a reason", i, at)
		}
		found, err := s.Head(t.Context())
		if err != nil {
			t.Fatalf("cut %d (%+v): read back: %v", i, at, err)
		}
		switch found {
		case b.Head(head.Epoch):
			committed++
		case head:
			if outcome == settlement.Committed {
				t.Fatalf("cut %d (%+v): acknowledged and lost", i, at)
			}
			absent++
			if i%4 == 0 {
				time.Sleep(20 * time.Millisecond) // what still runs would show now
			}
			if again, err := s.Head(t.Context()); err != nil || again != head {
				t.Fatalf("cut %d (%+v): the head has moved after it was read back: %+v, %v", i, at, again, err)
			}
			appendBlock(t, s, head, b)
		default:
			t.Fatalf("cut %d (%+v): head %+v", i, at, found)
		}
		head = b.Head(head.Epoch)
	}
	if committed == 0 || absent == 0 {
		t.Fatalf("%d cuts left a committed block and %d none: the cuts do not cover an append", committed, absent)
	}
	t.Logf("%d cuts: %d after the commit, %d before", len(plans), committed, absent)
	c.Check(t, s, head.Height)
	whole(t, m, c, head.Height)
}

// TestCommitThatArrivesLateIsWaitedFor holds the packet with COMMIT back while
// the client is cut off. The head as any reader sees it is the old one; but the
// handle that is in doubt must wait, because a COMMIT may still come.
func TestCommitThatArrivesLateIsWaitedFor(t *testing.T) {
	server := pgtest.Shared(t)
	p := newProxy(t, server.Address())
	m := newMedium(t, server)
	opener, err := New(Config{URL: server.TCP(testDatabase, p.address()) + "&search_path=" + m.schema})
	if err != nil {
		t.Fatal(err)
	}
	c := storetest.NewChain(22)
	s, head := create(t, opener, c)
	defer s.Close()
	for _, reader := range []string{"the same handle", "a handle opened afresh"} {
		var up int
		head, up, _ = measure(t, s, p, c, head, storetest.Payments(3))
		b := c.Next(storetest.Payments(3))
		// COMMIT is the last message: one type byte, four of length, "commit", a
		// zero. The type byte goes through, the rest comes late.
		p.set(plan{up - len("commit") - 5, -1, 700 * time.Millisecond})
		outcome, err := s.Append(t.Context(), head, b)
		if outcome != settlement.Unknown || err == nil {
			t.Fatalf("append: %v, %v", outcome, err)
		}
		if plain, err := s.headRow(t.Context(), false); err != nil || plain.height != head.Height {
			t.Fatalf("the commit was not late: %+v, %v", plain, err)
		}
		from := s
		if reader != "the same handle" {
			from = reopen(t, m, c)
			defer from.Close()
		}
		if got, err := from.Head(t.Context()); err != nil || got != b.Head(head.Epoch) {
			t.Fatalf("%s: head %+v, %v, and the block was committed after that", reader, got, err)
		}
		head = b.Head(head.Epoch)
	}
	c.Check(t, s, head.Height)
}

// TestTakeoverWaitsForTheOldSequencersCommit: the epoch that Acquire gives comes
// after every block of older ones.
func TestTakeoverWaitsForTheOldSequencersCommit(t *testing.T) {
	server := pgtest.Shared(t)
	p := newProxy(t, server.Address())
	m := newMedium(t, server)
	opener, err := New(Config{URL: server.TCP(testDatabase, p.address()) + "&search_path=" + m.schema})
	if err != nil {
		t.Fatal(err)
	}
	c := storetest.NewChain(23)
	old, head := create(t, opener, c)
	defer old.Close()
	head, up, _ := measure(t, old, p, c, head, storetest.Payments(3))
	next := reopen(t, m, c)
	defer next.Close()
	b := c.Next(storetest.Payments(3))
	p.set(plan{up - len("commit") - 5, -1, 500 * time.Millisecond})
	if outcome, _ := old.Append(t.Context(), head, b); outcome != settlement.Unknown {
		t.Fatal(outcome)
	}
	got, err := next.Acquire(t.Context())
	if err != nil || got != b.Head(head.Epoch+1) {
		t.Fatalf("acquired %+v, %v, want block %d", got, err, b.Height)
	}
	if hits, err := next.Spent(t.Context(), nullifiersOf(b)); err != nil || !hits[0].Found {
		t.Fatalf("a nullifier of the last block is unknown to the next owner: %+v, %v", hits, err)
	}
	if outcome, err := old.Append(t.Context(), b.Head(head.Epoch), c.Next(storetest.Payments(1))); outcome != settlement.Fenced || err != nil {
		t.Fatalf("append by the old sequencer: %v, %v", outcome, err)
	}
}

// TestSilentSequencerHoldsTheHeadForSecondsOnly: a node that vanished in the
// middle of a transaction, with its connection open, is thrown out by the
// server.
func TestSilentSequencerHoldsTheHeadForSecondsOnly(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t), func(c *Config) { c.IdleTimeout = time.Second })
	c := storetest.NewChain(24)
	s, head := create(t, m, c)
	defer s.Close()
	conn, err := s.pool.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Release()
	tx, err := conn.Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tx.Exec(t.Context(), s.sql.HeadLocked); err != nil {
		t.Fatal(err)
	}
	next := reopen(t, newAt(t, m, func(c *Config) { c.IdleTimeout = time.Second }), c)
	defer next.Close()
	began := time.Now()
	if got, err := next.Acquire(t.Context()); err != nil || got.Epoch != head.Epoch+1 {
		t.Fatalf("%+v, %v", got, err)
	}
	if took := time.Since(began); took > 4*time.Second {
		t.Fatalf("the takeover took %v", took)
	}
}

// newAt is another opener on a medium's schema.
func newAt(t testing.TB, m *medium, change func(*Config)) *Opener {
	t.Helper()
	cfg := m.cfg
	change(&cfg)
	o, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// writer appends blocks and resolves doubt by reading the head, as a sequencer
// does, until told to stop. It knows which blocks were acknowledged.
type writer struct {
	c            *storetest.Chain
	head         settlement.Head
	acknowledged uint64
	doubts       int
	again        int
}

// run appends until stop is closed. The store must ride out every fault.
func (w *writer) run(ctx context.Context, s settlement.Store, shape storetest.Shape, stop <-chan struct{}) error {
	var b *settlement.Block
	for {
		select {
		case <-stop:
			return nil
		default:
		}
		if b == nil {
			b = w.c.Next(shape)
		}
		outcome, err := s.Append(ctx, w.head, b)
		if outcome == settlement.Unknown {
			w.doubts++
			reason := err
			head, err := s.Head(ctx)
			for tries := 0; err != nil && tries < 60; tries++ {
				time.Sleep(100 * time.Millisecond)
				head, err = s.Head(ctx)
			}
			switch {
			case err != nil:
				return fmt.Errorf("no head for 6 s: %w", err)
			case head == b.Head(w.head.Epoch):
				outcome = settlement.Committed
			case head == w.head:
				w.again++
				continue
			default:
				return fmt.Errorf("after %w: head %+v, expected %+v", reason, head, w.head)
			}
		}
		if outcome != settlement.Committed {
			return fmt.Errorf("append block %d: %s", b.Height, outcome)
		}
		w.head, w.acknowledged, b = b.Head(w.head.Epoch), b.Height, nil
	}
}

// TestServerKilledWhileCommitting kills the server again and again under a
// stream of blocks: whole, or one session of it, which makes it throw out the
// others. No acknowledged block is lost and none is there in part.
func TestServerKilledWhileCommitting(t *testing.T) {
	kills := 6
	if testing.Short() {
		kills = 3
	}
	server := pgtest.Start(t)
	m := newMedium(t, server, func(c *Config) { c.Patience = 5 * time.Second; c.URL += "&application_name=writer" })
	c := storetest.NewChain(25)
	s, head := create(t, m, c)
	defer s.Close()
	w := &writer{c: c, head: head}
	stop := make(chan struct{})
	var failed error
	var wg sync.WaitGroup
	wg.Go(func() { failed = w.run(t.Context(), s, storetest.Payments(40), stop) })
	r := rand.New(rand.NewPCG(25, 0))
	for i := range kills {
		time.Sleep(time.Duration(50+r.IntN(200)) * time.Millisecond)
		switch i % 4 {
		case 3:
			server.KillSession(t, "writer")
			time.Sleep(300 * time.Millisecond)
		case 2:
			server.Stop(t)
			server.Restart(t)
		default:
			server.Kill(t)
			server.Restart(t)
		}
	}
	time.Sleep(200 * time.Millisecond)
	close(stop)
	wg.Wait()
	if failed != nil {
		t.Fatal(failed)
	}
	if w.doubts == 0 {
		t.Fatal("no kill hit an append")
	}
	t.Logf("%d kills over %d blocks: %d appends in doubt, %d of them not written", kills, w.acknowledged, w.doubts, w.again)
	after := reopen(t, m, c)
	defer after.Close()
	got, err := after.Head(t.Context())
	if err != nil || got.Height < w.acknowledged || got.Height > w.acknowledged+1 {
		t.Fatalf("head %+v after %d acknowledged blocks, %v", got, w.acknowledged, err)
	}
	c.Check(t, after, got.Height)
	whole(t, m, c, got.Height)
}

// TestStoppedServerIsNamedAndReturns: while the server is away calls fail by
// name; afterwards the same handle works on.
func TestStoppedServerIsNamedAndReturns(t *testing.T) {
	server := pgtest.Start(t)
	m := newMedium(t, server, func(c *Config) { c.Patience = 50 * time.Millisecond })
	c := storetest.NewChain(26)
	s, head := create(t, m, c)
	defer s.Close()
	head = appendBlock(t, s, head, c.Next(storetest.Payments(3)))
	server.Stop(t)
	b := c.Next(storetest.Payments(3))
	if outcome, err := s.Append(t.Context(), head, b); outcome != settlement.Unknown || !errors.Is(err, ErrUnreachable) {
		t.Fatalf("append without a server: %v, %v", outcome, err)
	}
	if _, err := s.Head(t.Context()); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("head without a server: %v", err)
	}
	if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, ErrUnreachable) {
		t.Fatalf("open without a server: %v", err)
	}
	server.Restart(t)
	var got settlement.Head
	var err error
	for range 20 { // the pool still holds connections that are gone
		if got, err = s.Head(t.Context()); err == nil {
			break
		}
	}
	if err != nil || got != head {
		t.Fatalf("head after the restart: %+v, %v", got, err)
	}
	head = appendBlock(t, s, head, b)
	c.Check(t, s, head.Height)
}

// TestFullDiskIsNamedAndLosesNothing fills the file system that the tables are
// on, a tmpfs of a few megabytes, and then makes it larger.
func TestFullDiskIsNamedAndLosesNothing(t *testing.T) {
	dir, err := os.MkdirTemp("", "comity-full-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if os.Geteuid() != 0 {
		t.Skip("a file system of a chosen size takes root")
	}
	if out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size=24m,mode=0777", "tmpfs", dir).CombinedOutput(); err != nil {
		t.Skipf("no tmpfs can be mounted here: %s", out)
	}
	t.Cleanup(func() { _ = exec.Command("umount", dir).Run() })
	server := pgtest.Start(t)
	space := dir + "/space"
	if err := os.Mkdir(space, 0o700); err != nil {
		t.Fatal(err)
	}
	server.Own(t, space)
	server.Exec(t, "postgres", "CREATE TABLESPACE tiny LOCATION '"+space+"'")
	server.Exec(t, "postgres", "CREATE DATABASE tiny TABLESPACE tiny")
	m := newMedium(t, server)
	m.database = "tiny"
	m.Opener = newAt(t, m, func(c *Config) { c.URL = server.URL("tiny") })
	c := storetest.NewChain(27)
	s, head := create(t, m, c)
	var b *settlement.Block
	for {
		b = c.Next(storetest.Payments(500))
		outcome, err := s.Append(t.Context(), head, b)
		if outcome == settlement.Committed {
			head = b.Head(head.Epoch)
			if b.Height > 100 {
				t.Fatal("the disk does not fill")
			}
			continue
		}
		if outcome != settlement.Unknown || !errors.Is(err, settlement.ErrStoreFull) {
			t.Fatalf("append on a full disk: %v, %v", outcome, err)
		}
		break
	}
	if got, err := s.Head(t.Context()); err != nil || got != head {
		t.Fatalf("head on a full disk: %+v, %v, want block %d", got, err, head.Height)
	}
	c.Check(t, s, head.Height)
	if out, err := exec.Command("mount", "-o", "remount,size=120m", dir).CombinedOutput(); err != nil {
		t.Fatalf("remount: %s", out)
	}
	head = appendBlock(t, s, head, b) // the very block that did not fit
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = reopen(t, m, c)
	c.Check(t, s, head.Height)
	whole(t, m, c, head.Height)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	server.Stop(t)
}

// TestServerThatMayForgetIsRefused, setting by setting.
func TestServerThatMayForgetIsRefused(t *testing.T) {
	c := storetest.NewChain(28)
	for _, setting := range []string{"fsync=off", "full_page_writes=off", "synchronous_commit=off", "synchronous_commit=local"} {
		t.Run(setting, func(t *testing.T) {
			m := newMedium(t, pgtest.Start(t, setting))
			name, _, _ := strings.Cut(setting, "=")
			if _, err := m.Create(t.Context(), c.Genesis()); !errors.Is(err, ErrNotDurable) || !strings.Contains(err.Error(), name) {
				t.Fatalf("created: %v", err)
			}
			if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, ErrNotDurable) {
				t.Fatalf("opened: %v", err)
			}
			s, err := newAt(t, m, func(c *Config) { c.AllowUnsafe = true }).Create(t.Context(), c.Genesis())
			if err != nil {
				t.Fatalf("asked for: %v", err)
			}
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
		})
	}
	// A setting may be changed for one user while the store is open: connections
	// made after that are refused.
	server := pgtest.Start(t)
	m := newMedium(t, server)
	s, head := create(t, m, c)
	defer s.Close()
	server.Exec(t, testDatabase, "ALTER ROLE "+pgtest.User+" SET synchronous_commit = off")
	s.pool.Reset()
	if outcome, err := s.Append(t.Context(), head, c.Next(storetest.Payments(1))); outcome != settlement.Unknown || !errors.Is(err, ErrNotDurable) {
		t.Fatalf("append: %v, %v", outcome, err)
	}
}

// TestSpentNullifierIsRefusedByTheDatabase: in its own part by the index, in
// older ones by a look-up.
func TestSpentNullifierIsRefusedByTheDatabase(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t), func(c *Config) { c.PartitionSize = 20 })
	c := storetest.NewChain(29)
	s, head := create(t, m, c)
	defer s.Close()
	shape := storetest.Shape{Entries: 4, EntryBytes: 200, Nullifiers: 2}
	for range 6 {
		head = appendBlock(t, s, head, c.Next(shape))
	}
	good := c.Next(shape)
	spend := func(name string, n settlement.SpentNullifier) {
		t.Helper()
		bad := *good
		bad.Nullifiers = append([]settlement.SpentNullifier{}, good.Nullifiers...)
		bad.Nullifiers[3].Nullifier = n.Nullifier
		outcome, err := s.Append(t.Context(), head, &bad)
		if outcome != settlement.Unknown || !errors.Is(err, ErrSpentTwice) || !errors.Is(err, settlement.ErrStoreCorrupt) {
			t.Fatalf("%s: %v, %v", name, outcome, err)
		}
		if got, err := s.Head(t.Context()); err != nil || got != head {
			t.Fatalf("%s: head %+v, %v", name, got, err)
		}
	}
	spend("in the oldest part", c.Blocks[1].Nullifiers[0])
	spend("in the newest part", c.Blocks[6].Nullifiers[0])
	spend("in the block itself", good.Nullifiers[0])
	// The index alone, for a handle whose set knows nothing.
	s.set = emptySet(t)
	spend("in the block itself, without the set", good.Nullifiers[0])
	appendBlock(t, s, head, good)
}

// TestServerThatWentBackIsNoticed puts an older state of the database under an
// open handle, as a failover to a standby that was behind does.
func TestServerThatWentBackIsNoticed(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t))
	c := storetest.NewChain(30)
	s, head := create(t, m, c)
	defer s.Close()
	shape := storetest.Shape{Entries: 4, EntryBytes: 200, Nullifiers: 2}
	for range 5 {
		head = appendBlock(t, s, head, c.Next(shape))
	}
	third := c.Blocks[3]
	m.exec(t, fmt.Sprintf(`UPDATE @.head SET height = 3, log_size = %d, root = '\x%x', part = 0, in_part = 24, spent = 24`, third.Size(), third.Root))
	for _, table := range []string{"blocks", "nullifiers", "entries", "segments", "commitments", "sequences"} {
		m.exec(t, `DELETE FROM @.`+table+` WHERE height > 3`)
	}
	if _, err := s.Spent(t.Context(), nullifiersOf(c.Blocks[1])); !errors.Is(err, ErrWentBack) {
		t.Fatalf("look-up: %v", err)
	}
	if outcome, err := s.Append(t.Context(), head, c.Next(shape)); outcome != settlement.Fenced || err != nil {
		t.Fatalf("append: %v, %v", outcome, err)
	}
	// Another node writes other blocks over what was lost.
	other := reopen(t, m, c)
	defer other.Close()
	now, err := other.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		b := *c.Blocks[4+i]
		b.Root[0] ^= 1
		b.Nullifiers = nil
		if i == 2 {
			b.Nullifiers = c.Blocks[6].Nullifiers
		}
		now = appendBlock(t, other, now, &b)
	}
	if hits, err := s.Spent(t.Context(), nullifiersOf(c.Blocks[6])); !errors.Is(err, ErrWentBack) {
		t.Fatalf("look-up in a log that took another way: %+v, %v", hits, err)
	}
}
