package pgstore

import (
	"crypto/rand"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"go.uber.org/goleak"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/nullset"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/storetest"
	"github.com/comity-ledger/comity/zk"
)

func TestMain(m *testing.M) {
	code := pgtest.Main(m)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Fprintln(os.Stderr, err)
			code = 1
		}
	}
	os.Exit(code)
}

// medium is an empty schema of the shared server.
type medium struct {
	*Opener
	server   *pgtest.Server
	database string
}

var schemas atomic.Int64

const testDatabase = "postgres"

// place gives the address of a schema of its own.
func place(server *pgtest.Server) string {
	return server.URL(testDatabase) + fmt.Sprintf("&search_path=s%d", schemas.Add(1))
}

func newMedium(t testing.TB, server *pgtest.Server, change ...func(*Config)) *medium {
	t.Helper()
	cfg := Config{URL: place(server), PartitionSize: 64}
	for _, f := range change {
		f(&cfg)
	}
	opener, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &medium{Opener: opener, server: server, database: testDatabase}
}

func (m *medium) exec(t testing.TB, text string) {
	t.Helper()
	m.server.Exec(t, m.database, qualify(text, m.schema))
}

// MakeNewer marks the store as one of a later layout.
func (m *medium) MakeNewer(t *testing.T) {
	m.exec(t, `INSERT INTO @.layout (version, checksum) VALUES (1000000, '\x00')`)
}

// MakeHalf leaves the tables without a ledger in them.
func (m *medium) MakeHalf(t *testing.T) {
	t.Helper()
	conn, err := m.connect(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer closeConn(conn)
	if err := m.makeSchema(t.Context(), conn); err != nil {
		t.Fatal(err)
	}
}

// Shared marks that several handles are admitted at once.
func (m *medium) Shared() {}

func create(t testing.TB, o settlement.Opener, c *storetest.Chain) (*Store, settlement.Head) {
	t.Helper()
	s, err := o.Create(t.Context(), c.Genesis())
	if err != nil {
		t.Fatal(err)
	}
	head, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Store), head
}

func reopen(t testing.TB, o settlement.Opener, c *storetest.Chain) *Store {
	t.Helper()
	s, err := o.Open(t.Context(), c.Genesis().GenesisHash())
	if err != nil {
		t.Fatal(err)
	}
	return s.(*Store)
}

func appendBlock(t testing.TB, s settlement.Store, head settlement.Head, b *settlement.Block) settlement.Head {
	t.Helper()
	if outcome, err := s.Append(t.Context(), head, b); outcome != settlement.Committed || err != nil {
		t.Fatalf("append block %d: %v, %v", b.Height, outcome, err)
	}
	return b.Head(head.Epoch)
}

// TestConformanceElsewhere runs the suite on a database that COMITY_TEST_STORE
// names, in schemas c1, c2 and so on, which must not exist.
func TestConformanceElsewhere(t *testing.T) {
	address := os.Getenv("COMITY_TEST_STORE")
	if address == "" {
		t.Skip("COMITY_TEST_STORE names no database")
	}
	join := "?"
	if strings.Contains(address, "?") {
		join = "&"
	}
	storetest.Run(t, func(t *testing.T) storetest.Medium {
		opener, err := New(Config{URL: address + join + fmt.Sprintf("search_path=c%d", schemas.Add(1)), PartitionSize: 64})
		if err != nil {
			t.Fatal(err)
		}
		return elsewhere{opener}
	})
}

type elsewhere struct{ *Opener }

func (elsewhere) Shared() {}

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Medium { return newMedium(t, pgtest.Shared(t)) })
}

// Question: how many durable two-in-two-out transfers does the store take, in
// blocks of 16, 512 and 4,096? Beside it: BenchmarkAppend of pebblestore.
// go test -run '^$' -bench Append ./settlement/pgstore ./settlement/pebblestore
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{16, 512, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			m := newMedium(b, pgtest.Shared(b), func(c *Config) { c.PartitionSize = 0 })
			c := storetest.NewChain(1)
			s, head := create(b, m, c)
			defer s.Close()
			bytes := 0
			for b.Loop() {
				b.StopTimer()
				next := c.Next(storetest.Payments(size))
				bytes = 0
				for _, e := range next.Entries {
					bytes += len(e)
				}
				b.StartTimer()
				head = appendBlock(b, s, head, next)
			}
			b.SetBytes(int64(bytes))
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
		})
	}
}

func nullifiersOf(b *settlement.Block) []zk.Nullifier {
	out := make([]zk.Nullifier, len(b.Nullifiers))
	for i := range b.Nullifiers {
		out[i] = b.Nullifiers[i].Nullifier
	}
	return out
}

func emptySet(t testing.TB) *nullset.Set {
	t.Helper()
	set, err := nullset.New(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return set
}
