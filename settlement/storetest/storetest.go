// Package storetest is the conformance suite of settlement.Store. Every store
// runs it from its own tests, with a Factory that makes empty media. What a
// medium cannot do (power loss, failing writes) is skipped by name.
package storetest

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// Medium is an empty place for one store. Create and Open may be called any
// number of times.
type Medium interface {
	settlement.Opener
}

// Factory makes an empty medium for one test. Partitions of nullifiers, where
// the store has them, should hold about 64, so that the suite rolls many.
type Factory func(t *testing.T) Medium

// A Crasher can lose power.
type Crasher interface {
	Medium
	// OnWrite makes the medium call f just before every write, fsync, creation
	// or renaming that a store does, from whatever goroutine does it.
	OnWrite(f func())
	// Crash gives a copy of the medium as a loss of power now would leave it,
	// with each unsynced part kept with a probability of keep percent.
	Crash(keep int, seed uint64) Medium
}

// Fault is what goes wrong with a medium.
type Fault int

const (
	// FaultNone ends a fault.
	FaultNone Fault = iota
	// FaultSync makes every fsync fail as a broken disk does (EIO).
	FaultSync
	// FaultFull makes every write fail as a full disk does (ENOSPC).
	FaultFull
	// FaultWrite makes every write fail (EIO).
	FaultWrite
)

// A Faulter can be made to fail.
type Faulter interface {
	Medium
	Inject(Fault)
}

// An Exclusive medium admits one handle at a time.
type Exclusive interface {
	Medium
	Exclusive()
}

// A Shared medium admits several handles at once, as the nodes on one database
// have them.
type Shared interface {
	Medium
	Shared()
}

// A Spoiler can put a medium into the states that only other programs or
// crashes leave.
type Spoiler interface {
	Medium
	// MakeNewer marks the closed store as written by a newer program.
	MakeNewer(t *testing.T)
	// MakeHalf leaves what a creation that was cut short leaves.
	MakeHalf(t *testing.T)
}

// Run runs the suite.
func Run(t *testing.T, factory Factory) {
	for _, c := range []struct {
		name string
		test func(*testing.T, Factory)
	}{
		{"CreatedLedgerIsOpenedAgain", testCreate},
		{"OtherLedgerIsRefused", testOtherLedger},
		{"SecondHandleIsRefused", testExclusive},
		{"SeveralHandlesSeeOneLedger", testShared},
		{"OneOfSeveralHandlesWins", testRace},
		{"NewerAndHalfCreatedStoresAreNamed", testSpoiled},
		{"ClosedStoreAnswersClosed", testClosed},
		{"AppendedBlocksAreReadBack", testReadBack},
		{"LargeBlockIsReadBack", testLarge},
		{"UnexpectedHeadIsFencedAndWritesNothing", testCompareAndSet},
		{"OlderEpochIsFenced", testFencing},
		{"IterationStartsWhereAskedAndEndsAtTheHead", testIteration},
		{"NewestCheckpointAndSnapshotAreKept", testNewest},
		{"ReadersSeeWholeBlocksOnly", testReaders},
		{"EndedContextIsAnswered", testContext},
		{"AcknowledgedBlocksSurviveLossOfPower", testCrash},
		{"FailedWritesAreUnknownAndLoseNothing", testFaults},
	} {
		t.Run(c.name, func(t *testing.T) { c.test(t, factory) })
	}
}

func isNotFound(err error) bool { return errors.Is(err, settlement.ErrNotFound) }

// create makes a medium with a store of block 0 and takes the first epoch.
func create(t *testing.T, m Medium, c *Chain) (settlement.Store, settlement.Head) {
	t.Helper()
	s, err := m.Create(t.Context(), c.Genesis())
	if err != nil {
		t.Fatalf("create: %v", err)
	}
	return s, acquire(t, s)
}

func open(t *testing.T, m Medium, c *Chain) settlement.Store {
	t.Helper()
	s, err := m.Open(t.Context(), c.Genesis().GenesisHash())
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	return s
}

func acquire(t *testing.T, s settlement.Store) settlement.Head {
	t.Helper()
	head, err := s.Acquire(t.Context())
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return head
}

func shut(t *testing.T, s settlement.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Fatalf("close: %v", err)
	}
}

// commit appends a block that must be committed, and returns the new head.
func commit(t *testing.T, s settlement.Store, head settlement.Head, b *settlement.Block) settlement.Head {
	t.Helper()
	outcome, err := s.Append(t.Context(), head, b)
	if outcome != settlement.Committed || err != nil {
		t.Fatalf("append block %d: %v, %v", b.Height, outcome, err)
	}
	return b.Head(head.Epoch)
}

func wantHead(t *testing.T, s settlement.Store, want settlement.Head) {
	t.Helper()
	if got, err := s.Head(t.Context()); err != nil || got != want {
		t.Fatalf("head %+v, %v, want %+v", got, err, want)
	}
}

func testCreate(t *testing.T, factory Factory) {
	c, m := NewChain(1), factory(t)
	if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreNotFound) {
		t.Fatalf("open before create: %v", err)
	}
	s, err := m.Create(t.Context(), c.Genesis())
	if err != nil {
		t.Fatal(err)
	}
	wantHead(t, s, c.Genesis().Head(0))
	c.check(t, s, 0)
	shut(t, s)
	if s, err := m.Create(t.Context(), c.Genesis()); !errors.Is(err, settlement.ErrStoreExists) {
		t.Fatalf("create again: %v, %v", s, err)
	}
	for epoch := range uint64(3) {
		s = open(t, m, c)
		wantHead(t, s, c.Genesis().Head(epoch))
		if head := acquire(t, s); head != c.Genesis().Head(epoch+1) {
			t.Fatalf("acquired %+v", head)
		}
		c.check(t, s, 0)
		shut(t, s)
	}
}

func testOtherLedger(t *testing.T, factory Factory) {
	c, other, m := NewChain(1), NewChain(2), factory(t)
	s, _ := create(t, m, c)
	shut(t, s)
	if _, err := m.Open(t.Context(), other.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrOtherLedger) {
		t.Fatalf("open as another ledger: %v", err)
	}
	shut(t, open(t, m, c)) // the refusal let go of the medium
}

func testExclusive(t *testing.T, factory Factory) {
	c, m := NewChain(1), factory(t)
	if _, ok := m.(Exclusive); !ok {
		t.Skip("the store admits several handles")
	}
	s, _ := create(t, m, c)
	if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreInUse) {
		t.Fatalf("second open: %v", err)
	}
	if _, err := m.Create(t.Context(), c.Genesis()); !errors.Is(err, settlement.ErrStoreInUse) {
		t.Fatalf("create beside an open handle: %v", err)
	}
	c.check(t, s, 0)
	shut(t, s)
	shut(t, open(t, m, c))
}

func testSpoiled(t *testing.T, factory Factory) {
	c, m := NewChain(1), factory(t)
	spoiler, ok := m.(Spoiler)
	if !ok {
		t.Skip("the medium cannot be spoiled")
	}
	s, _ := create(t, m, c)
	shut(t, s)
	spoiler.MakeNewer(t)
	if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrNewerVersion) {
		t.Fatalf("open a newer store: %v", err)
	}
	half := factory(t)
	half.(Spoiler).MakeHalf(t)
	if _, err := half.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreHalfCreated) {
		t.Fatalf("open a half-created store: %v", err)
	}
	if _, err := half.Create(t.Context(), c.Genesis()); !errors.Is(err, settlement.ErrStoreHalfCreated) {
		t.Fatalf("create over a half-created store: %v", err)
	}
}

func testClosed(t *testing.T, factory Factory) {
	c := NewChain(1)
	s, head := create(t, factory(t), c)
	shut(t, s)
	shut(t, s) // twice is harmless
	ctx := t.Context()
	_, headErr := s.Head(ctx)
	_, acquireErr := s.Acquire(ctx)
	outcome, appendErr := s.Append(ctx, head, c.Random())
	_, blockErr := s.Block(ctx, 0)
	_, _, entryErr := s.Entry(ctx, 0)
	_, spentErr := s.Spent(ctx, []zk.Nullifier{{}})
	_, sequenceErr := s.Sequence(ctx, 1)
	_, anchorErr := s.Anchor(ctx, 0)
	_, tileErr := s.Tile(ctx, 0, 0)
	saveErr := s.SaveCheckpoint(ctx, 1, nil)
	_, _, checkpointErr := s.Checkpoint(ctx)
	snapErr := s.SaveSnapshot(ctx, 1, nil)
	_, _, snapshotErr := s.Snapshot(ctx)
	var iterErr error
	for _, err := range s.Blocks(ctx, 0) {
		iterErr = err
	}
	if outcome != settlement.Unknown {
		t.Fatalf("append to a closed store: %v", outcome)
	}
	for i, err := range []error{headErr, acquireErr, appendErr, blockErr, entryErr, spentErr, sequenceErr, anchorErr, tileErr, saveErr, checkpointErr, snapErr, snapshotErr, iterErr} {
		if !errors.Is(err, settlement.ErrStoreClosed) {
			t.Errorf("call %d on a closed store: %v", i, err)
		}
	}
}

func testReadBack(t *testing.T, factory Factory) {
	c, m := NewChain(3), factory(t)
	s, head := create(t, m, c)
	for i := range 150 {
		head = commit(t, s, head, c.Random())
		wantHead(t, s, head)
		if i%50 == 0 {
			c.Random() // one ahead of the store: must not be found
			c.check(t, s, head.Height)
			head = commit(t, s, head, c.Blocks[head.Height+1])
		}
	}
	c.check(t, s, head.Height)
	shut(t, s)
	s = open(t, m, c)
	wantHead(t, s, head)
	c.check(t, s, head.Height)
	// A store that was opened goes on as one that was created.
	head = acquire(t, s)
	for range 20 {
		head = commit(t, s, head, c.Random())
	}
	c.check(t, s, head.Height)
	shut(t, s)
}

func testLarge(t *testing.T, factory Factory) {
	c, m := NewChain(4), factory(t)
	s, head := create(t, m, c)
	head = commit(t, s, head, c.Next(Payments(5000)))
	head = commit(t, s, head, c.Next(Shape{Entries: 20, EntryBytes: 1<<16 - 1 - 32*10, Nullifiers: 2, Outputs: 8, Segment: 1 << 16}))
	head = commit(t, s, head, c.Next(Shape{}))
	c.check(t, s, head.Height)
	shut(t, s)
	s = open(t, m, c)
	c.check(t, s, head.Height)
	shut(t, s)
}

func testCompareAndSet(t *testing.T, factory Factory) {
	c := NewChain(5)
	s, head := create(t, factory(t), c)
	head = commit(t, s, head, c.Random())
	next := c.Random()
	for name, change := range map[string]func(*settlement.Head){
		"epoch above": func(h *settlement.Head) { h.Epoch++ },
		"epoch below": func(h *settlement.Head) { h.Epoch-- },
		"height":      func(h *settlement.Head) { h.Height-- },
		"size":        func(h *settlement.Head) { h.Size++ },
		"root":        func(h *settlement.Head) { h.Root[7] ^= 1 },
	} {
		wrong := head
		change(&wrong)
		if outcome, err := s.Append(t.Context(), wrong, next); outcome != settlement.Fenced || err != nil {
			t.Fatalf("%s: %v, %v", name, outcome, err)
		}
		wantHead(t, s, head)
	}
	c.check(t, s, head.Height)
	head = commit(t, s, head, next)
	// The same append again has lost its race against itself.
	if outcome, _ := s.Append(t.Context(), c.Blocks[1].Head(head.Epoch), next); outcome != settlement.Fenced {
		t.Fatalf("append repeated: %v", outcome)
	}
	c.check(t, s, head.Height)
	shut(t, s)
}

func testFencing(t *testing.T, factory Factory) {
	c := NewChain(6)
	s, old := create(t, factory(t), c)
	current := acquire(t, s)
	if current.Epoch <= old.Epoch {
		t.Fatalf("epoch %d after %d", current.Epoch, old.Epoch)
	}
	b := c.Random()
	if outcome, err := s.Append(t.Context(), old, b); outcome != settlement.Fenced || err != nil {
		t.Fatalf("append with an old epoch: %v, %v", outcome, err)
	}
	current = commit(t, s, current, b)
	c.check(t, s, current.Height)
	shut(t, s)
}

func testIteration(t *testing.T, factory Factory) {
	c := NewChain(7)
	s, head := create(t, factory(t), c)
	for range 30 {
		head = commit(t, s, head, c.Random())
	}
	next := uint64(13)
	for b, err := range s.Blocks(t.Context(), 13) {
		if err != nil {
			t.Fatal(err)
		}
		c.same(t, b, next)
		if next == 15 {
			// Blocks that arrive meanwhile may be left out, but nothing else is.
			head = commit(t, s, head, c.Random())
		}
		next++
	}
	if next != head.Height && next != head.Height+1 {
		t.Fatalf("iteration ended before block %d, head %d", next, head.Height)
	}
	for range s.Blocks(t.Context(), 0) {
		break
	}
	for b, err := range s.Blocks(t.Context(), head.Height+1) {
		t.Fatalf("block above the head: %v, %v", b, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	seen, failed := 0, error(nil)
	for _, err := range s.Blocks(ctx, 0) {
		if seen++; seen == 5 {
			cancel()
		}
		failed = err
	}
	if seen > 7 || !errors.Is(failed, context.Canceled) {
		t.Fatalf("iteration with an ended context: %d blocks, %v", seen, failed)
	}
	shut(t, s)
}

func testNewest(t *testing.T, factory Factory) {
	c, m := NewChain(8), factory(t)
	s, _ := create(t, m, c)
	for _, kind := range []struct {
		name string
		save func(settlement.Store, uint64, []byte) error
		load func(settlement.Store) (uint64, []byte, error)
	}{
		{"checkpoint",
			func(s settlement.Store, n uint64, b []byte) error { return s.SaveCheckpoint(t.Context(), n, b) },
			func(s settlement.Store) (uint64, []byte, error) { return s.Checkpoint(t.Context()) }},
		{"snapshot",
			func(s settlement.Store, n uint64, b []byte) error { return s.SaveSnapshot(t.Context(), n, b) },
			func(s settlement.Store) (uint64, []byte, error) { return s.Snapshot(t.Context()) }},
	} {
		if _, _, err := kind.load(s); !isNotFound(err) {
			t.Fatalf("%s before the first: %v", kind.name, err)
		}
		for _, step := range []struct {
			number, want uint64
			bytes, keeps string
		}{{5, 5, "five", "five"}, {4, 5, "four", "five"}, {5, 5, "five again", "five again"}, {1 << 40, 1 << 40, "", ""}, {7, 1 << 40, "seven", ""}} {
			if err := kind.save(s, step.number, []byte(step.bytes)); err != nil {
				t.Fatalf("save %s %d: %v", kind.name, step.number, err)
			}
			if n, b, err := kind.load(s); err != nil || n != step.want || string(b) != step.keeps {
				t.Fatalf("%s after %d: %d %q, %v", kind.name, step.number, n, b, err)
			}
		}
	}
	shut(t, s)
	s = open(t, m, c)
	if n, _, err := s.Checkpoint(t.Context()); n != 1<<40 || err != nil {
		t.Fatalf("checkpoint after opening again: %d, %v", n, err)
	}
	shut(t, s)
}

// testReaders reads whatever the head says is there, while blocks arrive.
func testReaders(t *testing.T, factory Factory) {
	c := NewChain(9)
	s, head := create(t, factory(t), c)
	const blocks = 60
	for range blocks {
		c.Next(Shape{Entries: 15, EntryBytes: 300, Nullifiers: 2, Outputs: 2, Segment: 40})
	}
	var acknowledged, attempted atomic.Uint64
	done := make(chan struct{})
	var failure atomic.Pointer[string]
	fail := func(format string, args ...any) {
		text := fmt.Sprintf(format, args...)
		failure.CompareAndSwap(nil, &text)
	}
	var wg sync.WaitGroup
	for reader := range 3 {
		wg.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				low := acknowledged.Load()
				h, err := s.Head(t.Context())
				if err != nil || h.Height < low || h.Height > attempted.Load() {
					fail("head %d with %d acknowledged, %v", h.Height, low, err)
					return
				}
				want := c.Blocks[h.Height]
				got, err := s.Block(t.Context(), h.Height)
				if err != nil || want.Equal(got) != nil {
					fail("block %d of the head: %v", h.Height, err)
					return
				}
				if _, at, err := s.Entry(t.Context(), h.Size-1); err != nil || at != h.Height {
					fail("last entry %d: in block %d, %v", h.Size-1, at, err)
					return
				}
				if hit, err := s.Spent(t.Context(), []zk.Nullifier{lastNullifier(c, h.Height)}); h.Height > 0 && (err != nil || !hit[0].Found) {
					fail("reader %d: nullifier of block %d: %v, %v", reader, h.Height, hit, err)
					return
				}
				if tile, err := s.Tile(t.Context(), 0, (h.Size-1)/256); err != nil || uint64(len(tile)/32) < (h.Size-1)%256+1 {
					fail("tile of the last of %d entries: %d hashes, %v", h.Size, len(tile)/32, err)
					return
				}
			}
		})
	}
	for i := uint64(1); i <= blocks; i++ {
		attempted.Store(i)
		head = commit(t, s, head, c.Blocks[i])
		acknowledged.Store(i)
	}
	close(done)
	wg.Wait()
	if text := failure.Load(); text != nil {
		t.Fatal(*text)
	}
	shut(t, s)
}

func lastNullifier(c *Chain, height uint64) zk.Nullifier {
	b := c.Blocks[height]
	if len(b.Nullifiers) == 0 {
		return zk.Nullifier{}
	}
	return b.Nullifiers[len(b.Nullifiers)-1].Nullifier
}

func testContext(t *testing.T, factory Factory) {
	c := NewChain(10)
	s, head := create(t, factory(t), c)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if outcome, err := s.Append(ctx, head, c.Random()); outcome != settlement.Unknown || !errors.Is(err, context.Canceled) {
		t.Fatalf("append with an ended context: %v, %v", outcome, err)
	}
	if _, err := s.Block(ctx, 0); !errors.Is(err, context.Canceled) {
		t.Fatalf("read with an ended context: %v", err)
	}
	commit(t, s, head, c.Blocks[1]) // it broke nothing
	shut(t, s)
}
