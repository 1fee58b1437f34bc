package pgstore

import (
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/storetest"
)

// TestServerThatAsksForARetryGetsOne: another transaction changes the row of the head without moving it, while an append waits for it. The server
// answers 40001, as distributed databases often do, and the block is written all the same, once (G2, P14).
func TestServerThatAsksForARetryGetsOne(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t))
	c := storetest.NewChain(32)
	s, head := create(t, m, c)
	defer s.Close()
	other, err := m.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(other)
	watch, err := m.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(watch)
	for range 3 {
		tx, err := other.Begin(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if _, err := tx.Exec(t.Context(), qualify("UPDATE @.head SET epoch = epoch WHERE id = 1", m.schema)); err != nil {
			t.Fatal(err)
		}
		type answer struct {
			outcome settlement.Outcome
			err     error
		}
		answered := make(chan answer, 1)
		block := c.Next(storetest.Payments(3))
		go func() {
			outcome, err := s.Append(t.Context(), head, block)
			answered <- answer{outcome, err}
		}()
		// Until the append stands behind the other transaction.
		for deadline := time.Now().Add(4 * time.Second); ; time.Sleep(5 * time.Millisecond) {
			var waiting int
			if err := watch.QueryRow(t.Context(), "SELECT count(*) FROM pg_locks WHERE NOT granted AND $1 = ANY (pg_blocking_pids(pid))", int32(other.PgConn().PID())).Scan(&waiting); err != nil {
				t.Fatal(err)
			}
			if waiting > 0 {
				break
			}
			if time.Now().After(deadline) {
				t.Fatal("the append does not wait")
			}
		}
		if err := tx.Commit(t.Context()); err != nil {
			t.Fatal(err)
		}
		if a := <-answered; a.outcome != settlement.Committed || a.err != nil {
			t.Fatalf("append: %v, %v", a.outcome, a.err)
		}
		head = block.Head(head.Epoch)
		if got, err := s.Head(t.Context()); err != nil || got != head {
			t.Fatalf("head %+v, %v; want %+v", got, err, head)
		}
	}
	c.Check(t, s, head.Height)
}
