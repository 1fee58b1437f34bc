package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

// nodeBatch is how many proofs the node checks at once at most, by default.
const nodeBatch = 512

// staged is a kind of payment, and what the stages before have made of it.
type staged struct {
	name     string
	circuit  zk.CircuitID
	payments int
	items    []dataset.Item
	size     int // entries in a block
	jobs     []verifier.Job
	blocks   []*settlement.Block
	begin    []*settlement.Block
	heads    []proof.Head
}

// prepared are the kinds of payments, decoded and admitted once.
func (b *bench) prepared(ctx context.Context) ([]*staged, error) {
	kinds := []*staged{
		{name: "2x2 transfers", circuit: zk.Transfer, payments: 1, items: b.transfers, size: nodeBatch},
		{name: "1x64 disbursements", circuit: zk.Disburse64, payments: zk.LargeDisburse, items: b.disburses, size: nodeBatch / 2},
	}
	for _, k := range kinds {
		k.items = k.items[:min(len(k.items), 16*nodeBatch)]
		begin, state, err := b.data.Blocks(ctx)
		if err != nil {
			return nil, err
		}
		k.begin = begin
		for _, item := range k.items[:min(len(k.items), 4*nodeBatch)] {
			c, err := admit(state, begin, item)
			if err != nil {
				return nil, err
			}
			for _, j := range c.Jobs {
				k.jobs = append(k.jobs, verifier.Job(j))
			}
		}
	}
	return kinds, nil
}

func admit(state *settlement.State, blocks []*settlement.Block, item dataset.Item) (*settlement.Candidate, error) {
	sub, err := settlement.Decode(item.Entry, item.Segments)
	if err != nil {
		return nil, err
	}
	return state.Admit(sub, state.Time(), func(height uint64) (settlement.Anchor, bool) {
		if height >= uint64(len(blocks)) {
			return settlement.Anchor{}, false
		}
		return blocks[height].Anchor, true
	})
}

// spell is what something took: how much of it, in what time.
type spell struct {
	n         int
	wall, cpu time.Duration
}

func (s spell) rate() float64       { return float64(s.n) / s.wall.Seconds() }
func (s spell) each() time.Duration { return s.cpu / time.Duration(max(1, s.n)) }

// repeat does something for a while; do returns how many it did.
func repeat(for_ time.Duration, do func() (int, error)) (s spell, err error) {
	start, cpu := time.Now(), machine.CPU()
	for s.wall < for_ {
		n, err := do()
		if err != nil {
			return s, err
		}
		s.n, s.wall, s.cpu = s.n+n, time.Since(start), machine.CPU()-cpu
	}
	return s, nil
}

// verification checks proofs of a kind in batches as large as the node's, on every processor, and does nothing else: what the cryptography alone
// reaches.
func (b *bench) verification(id zk.CircuitID) (rate float64, each time.Duration, err error) {
	if b.proofs == nil {
		kinds, err := b.prepared(context.Background())
		if err != nil {
			return 0, 0, err
		}
		b.proofs = map[zk.CircuitID][]verifier.Job{}
		for _, k := range kinds {
			b.proofs[k.circuit] = k.jobs
		}
		if b.verifier, err = setup.Verifier(0); err != nil {
			return 0, 0, err
		}
	}
	jobs := b.proofs[id]
	size := min(nodeBatch, len(jobs))
	at := 0
	s, err := repeat(b.stage, func() (int, error) {
		if at+size > len(jobs) {
			at = 0
		}
		batch := jobs[at : at+size]
		at += size
		return size, errors.Join(b.verifier.VerifyBatch(batch, nil)...)
	})
	return s.rate(), s.each(), err
}

// everywhere does something for every index on every processor.
func everywhere(n int, do func(i int) error) error {
	var next atomic.Int64
	var failed atomic.Pointer[error]
	var wait sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if err := do(i); err != nil {
					failed.CompareAndSwap(nil, &err)
					return
				}
			}
		})
	}
	wait.Wait()
	if err := failed.Load(); err != nil {
		return *err
	}
	return nil
}

func parallel(n int, do func(int)) {
	_ = everywhere(n, func(i int) error { do(i); return nil }) // none fails
}

// ceiling measures each stage alone.
func (b *bench) ceiling(ctx context.Context) error {
	p := b.report.section("The ceiling", "What does each stage of the node reach alone, with the machine to itself?")
	kinds, err := b.prepared(ctx)
	if err != nil {
		return err
	}
	t := p.table("Stages alone; those on every processor say so", "stage", "of", "entries/s", "payments/s", "processor time for a payment")
	row := func(stage string, k *staged, s spell) {
		b.tell("  %s, %s: %.0f/s", stage, k.name, s.rate())
		t.row(stage, k.name, figure(s.rate()), figure(s.rate()*float64(k.payments)), micros(s.each()/time.Duration(k.payments)))
	}
	for _, k := range kinds {
		rate, each, err := b.verification(k.circuit)
		if err != nil {
			return err
		}
		b.tell("  verification, %s: %.0f/s", k.name, rate)
		t.row("verification, every processor, batches of "+count(min(nodeBatch, len(k.jobs))), k.name, figure(rate), figure(rate*float64(k.payments)), micros(each/time.Duration(k.payments)))
		if err := b.encoding(ctx, k, row); err != nil {
			return err
		}
		if err := b.sequencing(ctx, k, row); err != nil {
			return err
		}
		s, err := b.appending(ctx, k, filepath.Join(b.work, "alone-"+k.circuit.String()), "")
		if err != nil {
			return err
		}
		row("append to Pebble, a sync for each block of "+count(k.size), k, s)
		if b.postgres {
			s, err := b.appendingPostgres(ctx, k)
			switch {
			case errors.Is(err, errNoPostgres):
				b.report.lacks("PostgreSQL was not measured alone: %v.", err)
			case err != nil:
				return err
			default:
				row("append to PostgreSQL, likewise (the server's processor time is not in it)", k, s)
			}
		}
		if err := b.receiving(ctx, k, row); err != nil {
			return err
		}
	}
	took, err := b.cosigning(ctx, kinds[0])
	if err != nil {
		return err
	}
	p.say("A round of cosigning, with a witness on loopback that proves consistency and syncs: %s at the median of %d.", millis(rig.Percentile(took, 50)), len(took))
	p.say("Receiving is over the network, into a node that drops what it decoded; the rate is that of driver and server on the same processors, the processor time the server's alone.")
	return nil
}

// encoding measures decoding, encoding and admission, without proofs.
func (b *bench) encoding(ctx context.Context, k *staged, row func(string, *staged, spell)) error {
	begin, state, err := b.data.Blocks(ctx)
	if err != nil {
		return err
	}
	s, err := repeat(b.stage, func() (int, error) {
		return len(k.items), everywhere(len(k.items), func(i int) error {
			_, err := admit(state, begin, k.items[i])
			return err
		})
	})
	if err != nil {
		return err
	}
	row("decoding and admission, every processor", k, s)
	decoded := make([]*entry.Transaction, min(len(k.items), 1024))
	for i := range decoded {
		if decoded[i], err = entry.DecodeTransaction(k.items[i].Entry); err != nil {
			return err
		}
	}
	s, err = repeat(b.stage/4, func() (int, error) {
		return len(decoded), everywhere(len(decoded), func(i int) error {
			if len(decoded[i].Encode()) != len(k.items[i].Entry) {
				return errors.New("an entry encodes to another length")
			}
			return nil
		})
	})
	if err != nil {
		return err
	}
	row("encoding, every processor", k, s)
	return nil
}

// sequencing puts admitted payments into blocks, with the hashing of note tree and log, and takes their proofs on trust. The blocks are kept for the
// stages behind.
func (b *bench) sequencing(ctx context.Context, k *staged, row func(string, *staged, spell)) error {
	begin, state, err := b.data.Blocks(ctx)
	if err != nil {
		return err
	}
	anchored := state
	var total spell
	for from := 0; from+k.size <= len(k.items) || from == 0; from += k.size {
		var candidates []*settlement.Candidate
		for _, item := range k.items[from:min(from+k.size, len(k.items))] {
			c, err := admit(anchored, begin, item)
			if err != nil {
				return err
			}
			candidates = append(candidates, c)
		}
		settlement.Prove(replay.Trusting{}, candidates)
		start, cpu := time.Now(), machine.CPU()
		proposal, err := state.Sequence(candidates, state.Time(), settlement.NewSettled(), parallel)
		if err != nil {
			return err
		}
		total.wall, total.cpu, total.n = total.wall+time.Since(start), total.cpu+machine.CPU()-cpu, total.n+len(candidates)
		if proposal.Accepted != len(candidates) {
			return fmt.Errorf("sequencing: %d of %d accepted", proposal.Accepted, len(candidates))
		}
		state = proposal.Next()
		k.blocks, k.heads = append(k.blocks, proposal.Block), append(k.heads, proof.Head{Size: state.LogSize(), Root: state.LogRoot()})
	}
	row("sequencing: note tree, log, rules", k, total)
	return nil
}

// appending writes the blocks to a new store.
func (b *bench) appending(ctx context.Context, k *staged, dir, postgres string) (s spell, err error) {
	f, err := rig.Found(ctx, b.data, dir, postgres)
	if err != nil {
		return s, err
	}
	store, err := f.Open(ctx)
	if err != nil {
		return s, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	start, cpu := time.Now(), machine.CPU()
	if err := rig.Append(ctx, store, k.blocks); err != nil {
		return s, err
	}
	s.wall, s.cpu = time.Since(start), machine.CPU()-cpu
	for _, block := range k.blocks {
		s.n += len(block.Entries) - 1 // without the state entry
	}
	return s, nil
}

// cosigning has the heads cosigned one after the other.
func (b *bench) cosigning(ctx context.Context, k *staged) (took []time.Duration, err error) {
	f, err := rig.Found(ctx, b.data, filepath.Join(b.work, "cosigning"), "")
	if err != nil {
		return nil, err
	}
	store, err := f.Open(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	if err := rig.Append(ctx, store, k.blocks); err != nil {
		return nil, err
	}
	url, stop, err := rig.Witness(b.data, filepath.Join(f.Dir, "witness"))
	if err != nil {
		return nil, err
	}
	defer stop()
	genesis := f.State.Genesis()
	secrets, err := dataset.SecretsOf(b.data.Seed)
	if err != nil {
		return nil, err
	}
	signer, err := proof.NewLogSigner(genesis.Origin, secrets.Log)
	if err != nil {
		return nil, err
	}
	policy, err := journal.PolicyOf(genesis)
	if err != nil {
		return nil, err
	}
	j, err := journal.New(journal.Config{Signer: signer, Policy: policy, Witnesses: []journal.Endpoint{{Name: dataset.WitnessName, URL: url}}, Tiles: store})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, j.Close()) }()
	for _, head := range k.heads {
		start := time.Now()
		if _, err := j.Cosign(ctx, head); err != nil {
			return nil, err
		}
		took = append(took, time.Since(start))
	}
	return ascending(took), nil
}
