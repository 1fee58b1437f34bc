package main

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

// witnessed is a ledger in memory as a validating witness gets it, and what it has to find.
type witnessed struct {
	genesis  entry.GenesisHash
	set      *verifier.Set
	begin    []*settlement.Block // genesis and the prefix
	blocks   []*settlement.Block // the payments
	jobs     [][]verifier.Job    // the proofs of each of blocks
	heads    []proof.Head        // after each of blocks
	entries  int                 // payments' entries, without the ledger's own
	payments int
}

// chainOf begins a ledger with the prefix of a data set and puts items into blocks of size. Proofs are taken on trust here, so that a
// bad one gets into the log as only a ledger that breaks its rules would put it there.
func chainOf(tb testing.TB, set *dataset.Set, items []dataset.Item, size int) *witnessed {
	tb.Helper()
	g, err := entry.DecodeGenesis(set.Genesis)
	if err != nil {
		tb.Fatal(err)
	}
	state, begin, err := settlement.Begin(g)
	if err != nil {
		tb.Fatal(err)
	}
	w := &witnessed{genesis: g.Hash(), begin: []*settlement.Block{begin}}
	if w.set, err = setup.Verifier(0); err != nil {
		tb.Fatal(err)
	}
	anchors := []settlement.Anchor{begin.Anchor}
	settle := func(items []dataset.Item) (*settlement.Block, []verifier.Job) {
		var candidates []*settlement.Candidate
		var jobs []verifier.Job
		for _, item := range items {
			sub, err := settlement.Decode(item.Entry, item.Segments)
			if err != nil {
				tb.Fatal(err)
			}
			c, err := state.Admit(sub, state.Time(), func(height uint64) (settlement.Anchor, bool) {
				if height >= uint64(len(anchors)) {
					return settlement.Anchor{}, false
				}
				return anchors[height], true
			})
			if err != nil {
				tb.Fatal(err)
			}
			for _, j := range c.Jobs {
				jobs = append(jobs, verifier.Job(j))
			}
			candidates = append(candidates, c)
		}
		settlement.Prove(replay.Trusting{}, candidates)
		// The index of what is spent stays empty: the data set spends nothing twice.
		p, err := state.Sequence(candidates, state.Time(), settlement.NewSettled(), nil)
		if err != nil {
			tb.Fatal(err)
		}
		if p.Accepted != len(items) {
			tb.Fatalf("%d of %d entries accepted: %v", p.Accepted, len(items), p.Results)
		}
		state = p.Next()
		anchors = append(anchors, p.Block.Anchor)
		// What comes over the wire: everything else the witness computes.
		return &settlement.Block{Height: p.Block.Height, FirstIndex: p.Block.FirstIndex, Entries: p.Block.Entries}, jobs
	}
	for i := range set.Prefix {
		block, _ := settle(set.Prefix[i : i+1])
		w.begin = append(w.begin, block)
	}
	for _, item := range items {
		w.entries, w.payments = w.entries+1, w.payments+item.Class.Payments()
	}
	for len(items) > 0 {
		n := min(size, len(items))
		block, jobs := settle(items[:n])
		w.blocks, w.jobs = append(w.blocks, block), append(w.jobs, jobs)
		w.heads = append(w.heads, proof.Head{Size: state.LogSize(), Root: state.LogRoot()})
		items = items[n:]
	}
	return w
}

func stream(blocks []*settlement.Block) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}
}

// start makes a validating witness that has replayed the prefix.
func (w *witnessed) start(tb testing.TB) *journal.Validator {
	tb.Helper()
	v := journal.NewValidator(replay.NewWitness(replay.Config{Verifier: dataset.Verifier{Set: w.set}, Genesis: w.genesis}))
	if err := v.Follow(context.Background(), stream(w.begin)); err != nil {
		tb.Fatal(err)
	}
	return v
}

// spent is what an op took.
type spent struct{ wall, cpu time.Duration }

func (s *spent) time(op func()) {
	start, cpu := time.Now(), machine.CPU()
	op()
	s.wall, s.cpu = s.wall+time.Since(start), s.cpu+machine.CPU()-cpu
}

// replay replays the payments, block by block as they would come, and requires the head that the ledger has.
func (w *witnessed) replay(tb testing.TB, s *spent) {
	tb.Helper()
	v := w.start(tb)
	var err error
	s.time(func() { err = v.Follow(context.Background(), stream(w.blocks)) })
	if err != nil {
		tb.Fatal(err)
	}
	if head := w.heads[len(w.heads)-1]; v.Head() != head {
		tb.Fatalf("replayed to %v, the ledger is at %v", v.Head(), head)
	}
}

// verify checks the same proofs in the same batches, and does nothing else.
func (w *witnessed) verify(tb testing.TB, s *spent) {
	tb.Helper()
	var err error
	s.time(func() {
		for _, jobs := range w.jobs {
			err = errors.Join(err, errors.Join(w.set.VerifyBatch(jobs, nil)...))
		}
	})
	if err != nil {
		tb.Fatal(err)
	}
}

func witnessSet(tb testing.TB, transfers, disburses int) *dataset.Set {
	tb.Helper()
	set, err := dataset.Make(context.Background(), dataset.Spec{
		SimulatedTransfers: transfers, SimulatedDisburses: disburses, Seed: [32]byte{3}, NowMillis: 1_790_000_000_000,
	}, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// BenchmarkValidatingWitness: how many entries a second does a validating witness recheck, alone on the machine, and how much more
// does an entry cost than its proof? The blocks are in memory: no network and no disk. The ratios are to
// the same proofs checked in the same batches with nothing else done, measured in turn.
func BenchmarkValidatingWitness(b *testing.B) {
	const size, blocks = 256, 4
	for _, kind := range []struct {
		name                 string
		transfers, disburses int
	}{{"transfer2x2", size * blocks, 0}, {"disburse1x64", 0, size * blocks}} {
		b.Run(fmt.Sprintf("%s/block=%d", kind.name, size), func(b *testing.B) {
			set := witnessSet(b, kind.transfers, kind.disburses)
			w := chainOf(b, set, set.Items, size)
			var whole, proofs spent
			for b.Loop() {
				w.replay(b, &whole)
				w.verify(b, &proofs)
			}
			entries := float64(b.N * w.entries)
			b.ReportMetric(0, "ns/op") // both, and the start: says nothing
			b.ReportMetric(entries/whole.wall.Seconds(), "entries/s")
			b.ReportMetric(float64(b.N*w.payments)/whole.wall.Seconds(), "payments/s")
			b.ReportMetric(whole.cpu.Seconds()*1000/entries, "cpu-ms/entry")
			b.ReportMetric(proofs.cpu.Seconds()*1000/entries, "proof-cpu-ms/entry")
			b.ReportMetric(whole.cpu.Seconds()/proofs.cpu.Seconds(), "cpu-ratio")
			b.ReportMetric(whole.wall.Seconds()/proofs.wall.Seconds(), "wall-ratio")
		})
	}
}

func TestWitnessBenchmarkRuns(t *testing.T) {
	set := witnessSet(t, 5, 2)
	w := chainOf(t, set, set.Items, 3)
	if len(w.blocks) != 3 || w.entries != 7 || w.payments != 5+2*64 {
		t.Fatalf("%d blocks, %d entries, %d payments", len(w.blocks), w.entries, w.payments)
	}
	var s spent
	w.replay(t, &s)
	w.verify(t, &s)
}

// TestWitnessRefusesASpoiledProof: what the benchmark times does check proofs.
func TestWitnessRefusesASpoiledProof(t *testing.T) {
	set := witnessSet(t, 6, 0)
	bad, err := set.Spoil(0, 1)
	if err != nil {
		t.Fatal(err)
	}
	const size, at = 3, 4 // the second of the second block
	items := append(append(append([]dataset.Item{}, set.Items[:at]...), bad...), set.Items[at:]...)
	w := chainOf(t, set, items, size)
	v := w.start(t)
	err = v.Follow(context.Background(), stream(w.blocks))
	var wrong *replay.Error
	if !errors.Is(err, journal.ErrLogInvalid) || !errors.As(err, &wrong) {
		t.Fatalf("a spoiled proof gave %v", err)
	}
	block := w.blocks[at/size]
	if wrong.Height != block.Height || wrong.Index != block.FirstIndex+at%size || entry.CodeOf(wrong) != entry.ProofInvalid {
		t.Errorf("refused %v, want proof_invalid at entry %d of block %d", wrong, block.FirstIndex+at%size, block.Height)
	}
	if v.Head() != w.heads[0] {
		t.Errorf("stopped at %v, want the block before, %v", v.Head(), w.heads[0])
	}
	if err := v.Reach(context.Background(), w.heads[0]); err != nil {
		t.Errorf("the good block before: %v", err)
	}
	if err := v.Reach(context.Background(), w.heads[1]); !errors.Is(err, journal.ErrLogInvalid) {
		t.Errorf("a checkpoint over the spoiled block: %v", err)
	}
}
