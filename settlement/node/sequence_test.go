package node

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// appendFate is what becomes of an append.
type appendFate int

const (
	written        appendFate = iota
	writtenUnknown            // it is, and the answer is lost
	notWritten                // a full disk: nothing is
	inDoubt                   // the answer is lost, and so is every later one of the store
	overtaken                 // another sequencer was faster
)

var errNoAnswer = errors.New("the answer was lost")

// gated is a store whose appends wait for a test to say what becomes of them.
type gated struct {
	settlement.Store
	appends chan *appending
	gone    atomic.Bool // the store answers no more
}

// appending is an append that waits.
type appending struct {
	block *settlement.Block
	fate  chan appendFate
}

func newGated() *gated { return &gated{appends: make(chan *appending)} }

func (g *gated) over(s settlement.Store) settlement.Store {
	g.Store = s
	return g
}

func (g *gated) Append(ctx context.Context, expected settlement.Head, b *settlement.Block) (settlement.Outcome, error) {
	a := &appending{b, make(chan appendFate, 1)}
	var fate appendFate
	select {
	case g.appends <- a:
	case <-ctx.Done():
		return settlement.Unknown, ctx.Err()
	}
	select {
	case fate = <-a.fate:
	case <-ctx.Done():
		return settlement.Unknown, ctx.Err()
	}
	switch fate {
	case notWritten:
		return settlement.Unknown, settlement.ErrStoreFull
	case inDoubt:
		g.gone.Store(true)
		return settlement.Unknown, errNoAnswer
	case overtaken:
		if _, err := g.Acquire(ctx); err != nil {
			return settlement.Unknown, err
		}
	}
	outcome, err := g.Store.Append(ctx, expected, b)
	if fate == writtenUnknown && outcome == settlement.Committed {
		return settlement.Unknown, errNoAnswer
	}
	return outcome, err
}

func (g *gated) Head(ctx context.Context) (settlement.Head, error) {
	if g.gone.Load() {
		return settlement.Head{}, errNoAnswer
	}
	return g.Store.Head(ctx)
}

// pipe is a node on a gated store.
type pipe struct {
	*rig
	*testing.T
	gate *gated
	n    *running
	seq  uint64 // the last policy sequence number given out
}

func newPipe(t *testing.T, change func(*Limits)) *pipe {
	t.Helper()
	p := &pipe{rig: newRig(t), T: t, gate: newGated()}
	p.wrap = p.gate.over
	p.limits.Idle = time.Hour // no blocks but those of the test
	if change != nil {
		change(&p.limits)
	}
	p.n = p.start(t, p.disk)
	return p
}

// told is what a submission was answered; nothing while it waits.
type told struct {
	result settlement.Result
	err    error
	done   chan struct{}
}

// submit sends an entry.
func (p *pipe) submit(what any) *told {
	p.Helper()
	a := &told{done: make(chan struct{})}
	var leaf []byte
	var segments [][]byte
	switch e := what.(type) {
	case *ledgertest.Tx:
		leaf, segments = e.Encode(), e.Segments
	case entry.Entry:
		leaf = entry.Encode(e)
	}
	go func() {
		defer close(a.done)
		a.result, a.err = p.n.Submit(context.Background(), leaf, segments)
	}()
	return a
}

// proposed waits until what was submitted is in a proposal on top of the block that is being written.
func (p *pipe) proposed(before int64) {
	p.Helper()
	p.until("the next block is proposed", func() bool { return p.n.stages.sequencing.Load() > before })
}

func (p *pipe) until(what string, holds func() bool) {
	p.Helper()
	for range 30_000 {
		if holds() {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
	p.Fatalf("not in a minute: %s", what)
}

// next is the append that begins now.
func (p *pipe) next() *appending {
	p.Helper()
	select {
	case a := <-p.gate.appends:
		return a
	case <-time.After(time.Minute):
		p.Fatal("no append begins")
		return nil
	}
}

// ahead submits an entry while a block is being written, and waits until it is proposed on top of it.
func (p *pipe) ahead(what any) *told {
	p.Helper()
	before := p.n.stages.sequencing.Load()
	a := p.submit(what)
	p.proposed(before)
	return a
}

func (p *pipe) waits(answers ...*told) {
	p.Helper()
	for i, a := range answers {
		select {
		case <-a.done:
			p.Fatalf("submission %d was answered %+v, %v", i, a.result, a.err)
		default:
		}
	}
}

// answered waits for an answer and checks it: a status, or the code of a refusal.
func (p *pipe) answered(a *told, want any, height uint64) {
	p.Helper()
	select {
	case <-a.done:
	case <-time.After(time.Minute):
		p.Fatal("no answer")
	}
	switch want := want.(type) {
	case settlement.Status:
		if a.err != nil || a.result.Status != want || a.result.Height != height {
			p.Fatalf("answered %+v, %v; want %v at block %d", a.result, a.err, want, height)
		}
	case entry.Code:
		if entry.CodeOf(a.err) != want {
			p.Fatalf("answered %+v, %v; want %s", a.result, a.err, want)
		}
	case error:
		if !errors.Is(a.err, want) {
			p.Fatalf("answered %+v, %v; want %v", a.result, a.err, want)
		}
	}
}

// register is an entry of the treasury with the next sequence number.
func (p *pipe) register() entry.Entry {
	p.seq++
	e := &entry.Register{Header: p.Ledger.Header(p.Now+60_000, p.seq), Owners: []entry.Registration{{Owner: p.Owner(), Limit: 10}}}
	return p.Signed(e)
}

func (p *pipe) document(action entry.DocumentAction, digest, former byte) entry.Entry {
	p.seq++
	e := &entry.Document{Header: p.Ledger.Header(p.Now+60_000, p.seq), Action: action, Type: entry.StatementEndUse, Digest: [32]byte{digest}, Label: "Certificate"}
	if former != 0 {
		e.Former = [32]byte{former}
	}
	return p.Signed(e)
}

func (p *pipe) height() uint64 { return p.n.Status().State.Height }

func TestNextBlockIsProposedWhileOneIsWrittenAndToldToNobodyBefore(t *testing.T) {
	p := newPipe(t, nil)
	tx := p.transfer()
	first := p.submit(tx)
	a := p.next()
	rival := p.ahead(p.rival(tx))
	// What comes after the proposal waits for the one after.
	repeat, second := p.submit(tx), p.submit(p.transfer())
	p.until("all are sequenced or queued", func() bool { return p.n.stages.queued.Load() == 2 })
	p.waits(first, rival, repeat, second)
	if p.height() != 0 {
		t.Fatalf("block %d is published before it is durable", p.height())
	}
	a.fate <- written
	p.answered(first, settlement.Accepted, 1)
	p.answered(rival, entry.NullifierSpent, 0) // nothing in it was accepted: it is answered without a block
	a = p.next()
	if a.block.Height != 2 || len(a.block.Entries) != 2 {
		t.Fatalf("block %d with %d entries", a.block.Height, len(a.block.Entries))
	}
	p.waits(repeat, second)
	third := p.ahead(p.transfer())
	a.fate <- written
	p.answered(repeat, settlement.SettledBefore, 1)
	p.answered(second, settlement.Accepted, 2)
	if repeat.result.EntryIndex != first.result.EntryIndex {
		t.Fatalf("the repeat stands at %d, the first at %d", repeat.result.EntryIndex, first.result.EntryIndex)
	}
	a = p.next()
	p.waits(third)
	a.fate <- writtenUnknown // read back
	p.answered(third, settlement.Accepted, 3)
	s := p.n.Status()
	if s.Blocks != 3 || s.Accepted != 3 || s.Refused != 1 || s.State.Height != 3 || s.Waiting != 0 {
		t.Fatalf("%+v", s)
	}
	must(t, p.n.stop(t))
}

// fails makes an append fail without writing so often that its block is written the last time that is tried, or not at all. It returns the append
// that comes then.
func (p *pipe) fails(a *appending, times int) *appending {
	p.Helper()
	height, entries := a.block.Height, len(a.block.Entries)
	for i := range times {
		a.fate <- notWritten
		if i+1 == attempts {
			return nil
		}
		if a = p.next(); a.block.Height != height || len(a.block.Entries) != entries {
			p.Fatalf("try %d writes block %d with %d entries", i+2, a.block.Height, len(a.block.Entries))
		}
	}
	return a
}

func TestWhatStoodOnABlockThatWasWrittenLateIsAnsweredAfterIt(t *testing.T) {
	p := newPipe(t, nil)
	tx := p.transfer()
	first := p.submit(tx)
	a := p.next()
	rival := p.ahead(p.rival(tx))
	a = p.fails(a, attempts-1)
	p.waits(first, rival)
	a.fate <- written
	p.answered(first, settlement.Accepted, 1)
	p.answered(rival, entry.NullifierSpent, 0)
	// Sequence numbers and documents stand on one another likewise.
	first = p.submit(p.register())
	a = p.next()
	second := p.ahead(p.document(entry.Anchors, 1, 0))
	a = p.fails(a, 1)
	p.waits(first, second)
	a.fate <- written
	p.answered(first, settlement.Accepted, 2)
	a = p.next()
	third := p.ahead(p.document(entry.Supersedes, 2, 1))
	a = p.fails(a, 1)
	p.waits(second, third)
	a.fate <- written
	p.answered(second, settlement.Accepted, 3)
	p.next().fate <- written
	p.answered(third, settlement.Accepted, 4)
	must(t, p.n.stop(t))
}

func TestWhatStoodOnABlockThatWasNeverWrittenIsJudgedWithoutIt(t *testing.T) {
	p := newPipe(t, nil)
	tx := p.transfer()
	rivalTx := p.rival(tx)
	first := p.submit(tx)
	a := p.next()
	rival := p.ahead(rivalTx)
	p.fails(a, attempts)
	p.answered(first, entry.TryLater, 0)
	a = p.next() // a double spend it would have been
	p.waits(rival)
	late := p.ahead(tx)
	a.fate <- written
	p.answered(rival, settlement.Accepted, 1)
	p.answered(late, entry.NullifierSpent, 0)
	// The second number without the first.
	first = p.submit(p.register())
	a = p.next()
	second := p.ahead(p.register())
	p.fails(a, attempts)
	p.answered(first, entry.TryLater, 0)
	p.answered(second, entry.SequenceGap, 0)
	// A repeat of what was not written is no repeat.
	tx = p.transfer()
	first = p.submit(tx)
	a = p.next()
	repeat := p.ahead(tx)
	p.fails(a, attempts)
	p.answered(first, entry.TryLater, 0)
	p.next().fate <- written
	p.answered(repeat, settlement.Accepted, 2)
	must(t, p.n.stop(t))
}

func TestNodeThatMustNotGoOnAnswersNobody(t *testing.T) {
	for name, c := range map[string]struct {
		fate appendFate
		err  error
	}{
		"fenced":   {overtaken, settlement.ErrFenced},
		"in doubt": {inDoubt, settlement.ErrInDoubt},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPipe(t, nil)
			tx := p.transfer()
			first := p.submit(tx)
			a := p.next()
			second, third := p.ahead(p.rival(tx)), p.submit(p.transfer())
			p.until("one is queued", func() bool { return p.n.stages.queued.Load() == 1 })
			a.fate <- c.fate
			for _, answer := range []*told{first, second, third} {
				p.answered(answer, ErrStopped, 0)
			}
			<-p.n.Done()
			if !errors.Is(p.n.Err(), c.err) {
				t.Fatalf("the node ended with %v", p.n.Err())
			}
			if p.height() != 0 || p.n.Status().Accepted != 0 {
				t.Fatalf("published %+v", p.n.Status())
			}
			p.gate.gone.Store(false)
			if err := p.n.stop(t); !errors.Is(err, c.err) {
				t.Fatalf("stop: %v", err)
			}
		})
	}
}

func TestNodeThatIsStoppedAmidAWriteAnswersNobody(t *testing.T) {
	p := newPipe(t, nil)
	first := p.submit(p.transfer())
	p.next()
	second := p.ahead(p.transfer())
	ended, cancel := context.WithCancel(context.Background())
	cancel()
	if err := p.n.Stop(ended); !errors.Is(err, context.Canceled) { // both were dropped
		t.Fatal(err)
	}
	p.answered(first, ErrStopped, 0)
	p.answered(second, ErrStopped, 0)
	must(t, p.n.store.Close())
	if p.height() != 0 {
		t.Fatalf("block %d", p.height())
	}
}

func TestStopWaitsForWhatIsOnTop(t *testing.T) {
	p := newPipe(t, nil)
	first := p.submit(p.transfer())
	a := p.next()
	second := p.ahead(p.transfer())
	stopped := make(chan error, 1)
	go func() { stopped <- p.n.stop(t) }()
	a.fate <- written
	p.next().fate <- written
	p.answered(first, settlement.Accepted, 1)
	p.answered(second, settlement.Accepted, 2)
	must(t, <-stopped)
}

func TestSnapshotIsOfTheBlockThatIsDurableAndNotOfTheNext(t *testing.T) {
	p := newPipe(t, func(l *Limits) { l.Snapshot = 1 })
	first := p.submit(p.transfer())
	a := p.next()
	for height := uint64(1); height <= 3; height++ {
		next := p.ahead(p.transfer())
		a.fate <- written
		p.answered(first, settlement.Accepted, height)
		at, raw, err := p.n.store.Snapshot(t.Context())
		if err != nil || at != height {
			t.Fatalf("snapshot of block %d, %v; block %d is durable", at, err, height)
		}
		block, err := p.n.store.Block(t.Context(), height)
		must(t, err)
		if s, err := settlement.Unmarshal(p.Genesis, raw, block); err != nil || s.Height() != height {
			t.Fatalf("the snapshot reads as another state: %v", err)
		}
		first, a = next, p.next()
	}
	a.fate <- written
	p.answered(first, settlement.Accepted, 4)
	must(t, p.n.stop(t))
}

func TestStateEntryAloneWaitsForTheBlockThatIsWritten(t *testing.T) {
	p := newPipe(t, func(l *Limits) { l.Idle = time.Millisecond })
	first := p.submit(p.transfer())
	a := p.next()
	for len(a.block.Entries) == 1 { // on a busy machine a tick comes before the transfer is proven
		a.fate <- written
		a = p.next()
	}
	height := a.block.Height
	p.clock.Add(1000) // an idle ledger would log that
	time.Sleep(20 * time.Millisecond)
	a.fate <- written
	p.answered(first, settlement.Accepted, height)
	a = nil
	p.until("the idle ledger logs the time", func() bool {
		p.clock.Add(1000)
		select {
		case a = <-p.gate.appends:
			return true
		default:
			return false
		}
	})
	if a.block.Height != height+1 || len(a.block.Entries) != 1 {
		t.Fatalf("block %d with %d entries", a.block.Height, len(a.block.Entries))
	}
	second := p.ahead(p.transfer()) // on top of a state entry
	a.fate <- written
	if a = p.next(); len(a.block.Entries) != 2 {
		t.Fatalf("block %d with %d entries", a.block.Height, len(a.block.Entries))
	}
	a.fate <- written
	p.answered(second, settlement.Accepted, height+2)
	must(t, p.n.stop(t))
}

// TestAnswersAreTrueWhateverBecomesOfAppends submits transfers, repeats, rivals and issues from many goroutines to a store whose appends fail as a
// seed says. Afterwards the log is read: every entry that was accepted stands where its answer said, of rivals one, of what was told to come back
// none, and the counts are those of the log.
func TestAnswersAreTrueWhateverBecomesOfAppends(t *testing.T) {
	for seed := range uint64(3) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			p := newPipe(t, func(l *Limits) { l.Gather, l.BlockBytes, l.Idle = time.Millisecond, 8000, 3*time.Millisecond })
			ended, closed := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(closed)
				random := rand.New(rand.NewPCG(seed, 9))
				for {
					select {
					case a := <-p.gate.appends:
						a.fate <- []appendFate{written, written, written, writtenUnknown, notWritten}[random.IntN(5)]
					case <-ended:
						return
					}
				}
			}()
			const groups = 40
			answers := make([][]*told, groups)
			works := make([][]*ledgertest.Tx, groups)
			var clients sync.WaitGroup
			for g := range groups {
				tx := p.transfer()
				other := p.rival(tx)
				works[g] = []*ledgertest.Tx{tx, other, tx, p.transfer(), other}
				answers[g] = make([]*told, len(works[g]))
				clients.Go(func() {
					var wait sync.WaitGroup
					for i, tx := range works[g] {
						wait.Go(func() {
							a := &told{}
							a.result, a.err = send(p.n, tx)
							answers[g][i] = a
						})
					}
					wait.Wait()
				})
			}
			clients.Wait()
			p.clock.Add(10)
			at := map[entry.ID]uint64{}
			spent := map[zk.Nullifier]bool{}
			entries := uint64(0)
			height := p.height()
			for h := range height + 1 {
				b, err := p.n.Block(t.Context(), h)
				must(t, err)
				for _, n := range b.Nullifiers {
					if spent[n.Nullifier] {
						t.Fatalf("nullifier %s twice", n.Nullifier)
					}
					spent[n.Nullifier] = true
				}
				for i, leaf := range b.Entries {
					e, err := entry.Decode(leaf)
					must(t, err)
					if e.Kind() == entry.KindTransfer {
						at[entry.IDOf(e)] = b.FirstIndex + uint64(i)
						entries++
					}
				}
			}
			again := map[entry.ID]bool{} // told to come back, every time
			for g, group := range answers {
				for i, a := range group {
					id := works[g][i].ID()
					index, stands := at[id]
					switch {
					case a.err == nil && (!stands || index != a.result.EntryIndex):
						t.Fatalf("%v at %d, the log has it at %d (%t)", a.result.Status, a.result.EntryIndex, index, stands)
					case a.err == nil:
					case entry.CodeOf(a.err) == entry.NullifierSpent && stands:
						t.Fatal("an entry of the log was called a double spend")
					case entry.CodeOf(a.err) == entry.NullifierSpent:
					case entry.CodeOf(a.err) == entry.TryLater:
						again[id] = true
					default:
						t.Fatal(a.err)
					}
				}
			}
			for g, group := range answers {
				for i, a := range group {
					if a.err == nil {
						delete(again, works[g][i].ID())
					}
				}
			}
			for id := range again {
				if _, stands := at[id]; stands {
					t.Fatalf("%s was only ever told to come back and stands in the log", id)
				}
			}
			s := p.n.Status()
			if s.Accepted != entries || s.State.Height < height || s.Blocks != s.State.Height {
				t.Fatalf("%d accepted of %d in the log; %d blocks at height %d", s.Accepted, entries, s.Blocks, s.State.Height)
			}
			must(t, p.n.stop(t))
			close(ended)
			<-closed
		})
	}
}

// TestBlocksArePublishedInOrder reads every block as soon as it is published, under load.
func TestBlocksArePublishedInOrder(t *testing.T) {
	p := newPipe(t, func(l *Limits) { l.Gather = time.Millisecond })
	ended := make(chan struct{})
	var gate sync.WaitGroup
	gate.Go(func() {
		for {
			select {
			case a := <-p.gate.appends:
				a.fate <- written
			case <-ended:
				return
			}
		}
	})
	var heights []uint64
	var reader sync.WaitGroup
	reader.Go(func() {
		for last := uint64(0); last < 20; {
			if p.n.WaitBlock(context.Background(), last+1) != nil {
				return
			}
			state := p.n.state.Load()
			head, err := p.gate.Head(context.Background())
			if err != nil || head.Height < state.Height() {
				t.Errorf("block %d is published, the store is at %d, %v", state.Height(), head.Height, err)
				return
			}
			last = state.Height()
			heights = append(heights, last)
		}
	})
	for range 20 {
		var clients sync.WaitGroup
		for range 4 {
			tx := p.transfer()
			clients.Go(func() {
				res, err := send(p.n, tx)
				if err != nil || p.n.state.Load().Height() < res.Height {
					t.Errorf("answered %+v, %v before its block is published", res, err)
				}
			})
		}
		clients.Wait()
	}
	reader.Wait()
	if !slices.IsSorted(heights) {
		t.Errorf("published %v", heights)
	}
	must(t, p.n.stop(t))
	close(ended)
	gate.Wait()
}
