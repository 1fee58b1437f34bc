package pebblestore

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"go.uber.org/goleak"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/storetest"
	"github.com/comity-ledger/comity/zk"
)

func TestMain(m *testing.M) {
	// The test of the lock between processes runs this program again.
	if dir := os.Getenv("COMITY_TEST_OPEN"); dir != "" {
		opener, _ := New(Config{Dir: dir})
		_, err := opener.Open(context.Background(), storetest.NewChain(1).Genesis().GenesisHash())
		fmt.Println(errors.Is(err, settlement.ErrStoreInUse), err)
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

func create(t testing.TB, o settlement.Opener, c *storetest.Chain) (settlement.Store, settlement.Head) {
	t.Helper()
	s, err := o.Create(t.Context(), c.Genesis())
	if err != nil {
		t.Fatal(err)
	}
	head, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return s, head
}

func appendBlock(t testing.TB, s settlement.Store, head settlement.Head, b *settlement.Block) settlement.Head {
	t.Helper()
	if outcome, err := s.Append(t.Context(), head, b); outcome != settlement.Committed || err != nil {
		t.Fatalf("append block %d: %v, %v", b.Height, outcome, err)
	}
	return b.Head(head.Epoch)
}

func TestConfigIsChecked(t *testing.T) {
	for _, cfg := range []Config{{}, {Dir: "x", MemTableBytes: 1}, {Dir: "x", MemTableBytes: 2 << 30}} {
		if _, err := New(cfg); err == nil {
			t.Errorf("%+v accepted", cfg)
		}
	}
}

func TestOneFsyncPerBlock(t *testing.T) {
	var syncs atomic.Int64
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			syncs.Add(1)
		}
		return nil
	}))
	// Small blocks, so that no memtable fills: a flush has fsyncs of its own.
	opener, err := New(Config{Dir: "ledger", FS: fs})
	if err != nil {
		t.Fatal(err)
	}
	c := storetest.NewChain(1)
	s, head := create(t, opener, c)
	defer s.Close()
	before := syncs.Load()
	for range 50 {
		head = appendBlock(t, s, head, c.Next(storetest.Payments(1)))
	}
	if n := syncs.Load() - before; n != 50 {
		t.Fatalf("%d fsyncs for 50 blocks", n)
	}
}

func TestNullifiersOfEveryPartitionAreFoundAfterReopening(t *testing.T) {
	mem := vfs.NewMem()
	var done, total uint64
	open := func(partition uint64) *Opener {
		o, err := New(Config{Dir: "ledger", FS: mem, PartitionSize: partition, Progress: func(d, n uint64) { done, total = d, n }})
		if err != nil {
			t.Fatal(err)
		}
		return o
	}
	c := storetest.NewChain(1)
	s, head := create(t, open(100), c)
	for range 30 {
		head = appendBlock(t, s, head, c.Next(storetest.Payments(20)))
	}
	if p := s.(*Store).visible.Load().head.Partition; p != 9 {
		t.Fatalf("30 blocks of 40 nullifiers, rolled at 100, end in partition %d", p)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s, err := open(1000).Open(t.Context(), c.Genesis().GenesisHash()) // another size may be used later
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if done != 1200 || total != 1200 {
		t.Fatalf("progress ended at %d of %d", done, total)
	}
	for _, b := range c.Blocks[1:] {
		hits, err := s.Spent(t.Context(), []zk.Nullifier{b.Nullifiers[0].Nullifier, {1}, b.Nullifiers[39].Nullifier})
		if err != nil || !hits[0].Found || hits[1].Found || !hits[2].Found || hits[2].Height != b.Height {
			t.Fatalf("block %d: %+v, %v", b.Height, hits, err)
		}
	}
}

// TestTornTailOfTheLogLosesOnlyWhatWasNotAcknowledged cuts the write-ahead log
// at every length that a crash in the middle of the last append can leave, and
// also leaves garbage behind the cut.
func TestTornTailOfTheLogLosesOnlyWhatWasNotAcknowledged(t *testing.T) {
	dir := t.TempDir()
	c := storetest.NewChain(5)
	path := filepath.Join(dir, "ledger")
	opener, err := New(Config{Dir: path})
	if err != nil {
		t.Fatal(err)
	}
	s, head := create(t, opener, c)
	for range 3 {
		head = appendBlock(t, s, head, c.Random())
	}
	synced := walSize(t, path)
	image := filepath.Join(dir, "image")
	head = appendBlock(t, s, head, c.Next(storetest.Shape{Entries: 2, EntryBytes: 200, Nullifiers: 1, Outputs: 1, Segment: 50}))
	// The folder as it is on disk now, taken under the open store.
	if err := os.CopyFS(image, os.DirFS(path)); err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	whole := walSize(t, image)
	r := rand.New(rand.NewPCG(1, 1))
	for cut := synced; cut <= whole; cut += 1 + r.Int64N(60) {
		copyDir := filepath.Join(dir, fmt.Sprint("cut", cut))
		if err := os.CopyFS(copyDir, os.DirFS(image)); err != nil {
			t.Fatal(err)
		}
		if err := os.Truncate(walFile(t, copyDir), cut); err != nil {
			t.Fatal(err)
		}
		opener, err := New(Config{Dir: copyDir})
		if err != nil {
			t.Fatal(err)
		}
		s, err := opener.Open(t.Context(), c.Genesis().GenesisHash())
		if err != nil {
			t.Fatalf("log cut at %d of %d: %v", cut, whole, err)
		}
		got, err := s.Head(t.Context())
		if err != nil || got.Height != 3 && got != head || cut == whole && got != head {
			t.Fatalf("log cut at %d of %d: head %+v, %v", cut, whole, got, err)
		}
		if got.Height == 3 {
			if hits, err := s.Spent(t.Context(), []zk.Nullifier{c.Blocks[4].Nullifiers[0].Nullifier}); err != nil || hits[0].Found {
				t.Fatalf("log cut at %d: a part of the torn block is there: %+v, %v", cut, hits, err)
			}
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func walFile(t *testing.T, dir string) string {
	t.Helper()
	logs, err := filepath.Glob(filepath.Join(dir, "*.log"))
	if err != nil || len(logs) == 0 {
		t.Fatalf("write-ahead logs in %s: %v, %v", dir, logs, err)
	}
	return logs[len(logs)-1]
}

// walSize is the length of the log up to its last byte that is not zero: the
// engine allocates ahead.
func walSize(t *testing.T, dir string) int64 {
	t.Helper()
	b, err := os.ReadFile(walFile(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	return int64(len(strings.TrimRight(string(b), "\x00")))
}

func TestAnotherProcessIsRefused(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "ledger")
	opener, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	s, _ := create(t, opener, storetest.NewChain(1))
	defer s.Close()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), "COMITY_TEST_OPEN="+dir)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.HasPrefix(string(out), "true ") {
		t.Fatalf("open from another process: %s, %v", out, err)
	}
	// The same folder by another name, in this process.
	link := filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	byLink, err := New(Config{Dir: link})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := byLink.Open(t.Context(), storetest.NewChain(1).Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreInUse) {
		t.Fatalf("open through a link: %v", err)
	}
}

func TestForeignFilesAreNotOverwritten(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "diary.txt"), []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	opener, err := New(Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := opener.Create(t.Context(), storetest.NewChain(1).Genesis()); !errors.Is(err, settlement.ErrStoreHalfCreated) {
		t.Fatalf("create among foreign files: %v", err)
	}
}

// FuzzRows feeds the decoders of rows what a broken disk could.
func FuzzRows(f *testing.F) {
	c := storetest.NewChain(1)
	b := c.Next(storetest.Payments(3))
	f.Add(encodeHeader(b, 1))
	f.Add(appendChunk(nil, 7, b.Entries))
	f.Add(encodeAnchor(b.Anchor))
	f.Add(headRow{Head: b.Head(3)}.encode())
	f.Add(encodeHit(5, 6))
	f.Fuzz(func(t *testing.T, row []byte) {
		if h, err := decodeHeader(1, row); err == nil {
			h.block.Entries = b.Entries
			_ = h.resolve()
		}
		if height, items, err := decodeChunk(row); err == nil {
			if got := appendChunk(nil, height, items); len(got) > len(row) || chunkSize(height, items) != len(got) {
				t.Fatalf("a chunk of %d bytes from a row of %d", len(got), len(row))
			}
		}
		_, _ = decodeAnchor(1, row)
		_, _ = decodeHead(row)
		_, _ = decodeHit(row)
	})
}

// Question: how many durable two-in-two-out transfers does the store alone
// take, in blocks of 16, 512 and 4,096, on a real disk?
// go test -run '^$' -bench Append ./settlement/pebblestore
func BenchmarkAppend(b *testing.B) {
	for _, size := range []int{16, 512, 4096} {
		b.Run(fmt.Sprint(size), func(b *testing.B) {
			opener, err := New(Config{Dir: filepath.Join(b.TempDir(), "ledger")})
			if err != nil {
				b.Fatal(err)
			}
			c := storetest.NewChain(1)
			s, head := create(b, opener, c)
			defer s.Close()
			bytes := 0
			for b.Loop() {
				b.StopTimer()
				next := c.Next(storetest.Payments(size))
				bytes = estimate(next)
				b.StartTimer()
				head = appendBlock(b, s, head, next)
			}
			b.SetBytes(int64(bytes))
			b.ReportMetric(float64(size)*float64(b.N)/b.Elapsed().Seconds(), "transfers/s")
		})
	}
}

// Question: what does Spent cost per nullifier when all are absent, as for
// honest traffic, and when all are present?
func BenchmarkSpent(b *testing.B) {
	opener, err := New(Config{Dir: filepath.Join(b.TempDir(), "ledger"), PartitionSize: 50_000})
	if err != nil {
		b.Fatal(err)
	}
	c := storetest.NewChain(1)
	s, head := create(b, opener, c)
	defer s.Close()
	var present []zk.Nullifier
	for range 50 {
		next := c.Next(storetest.Shape{Entries: 1000, Nullifiers: 2, EntryBytes: 100})
		head = appendBlock(b, s, head, next)
		for _, n := range next.Nullifiers[:20] {
			present = append(present, n.Nullifier)
		}
	}
	absent := make([]zk.Nullifier, 1000)
	for i := range absent {
		absent[i] = zk.Nullifier{1, byte(i), byte(i >> 8)}
	}
	for name, list := range map[string][]zk.Nullifier{"absent": absent, "present": present} {
		b.Run(name, func(b *testing.B) {
			for b.Loop() {
				if _, err := s.Spent(b.Context(), list); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(len(list)), "ns/nullifier")
		})
	}
}

// Question: how long does opening take for each nullifier that the set of
// fingerprints has to read back?
func BenchmarkOpen(b *testing.B) {
	const blocks, perBlock = 100, 4000
	opener, err := New(Config{Dir: filepath.Join(b.TempDir(), "ledger")})
	if err != nil {
		b.Fatal(err)
	}
	c := storetest.NewChain(1)
	s, head := create(b, opener, c)
	for range blocks {
		head = appendBlock(b, s, head, c.Next(storetest.Shape{Entries: perBlock / 2, Nullifiers: 2, EntryBytes: 100}))
	}
	if err := s.Close(); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		s, err := opener.Open(b.Context(), c.Genesis().GenesisHash())
		if err != nil {
			b.Fatal(err)
		}
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(blocks*perBlock), "ns/nullifier")
}
