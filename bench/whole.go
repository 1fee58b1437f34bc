package main

import (
	"context"
	"errors"
	"fmt"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// mixed picks the items of two classes and mixes them, the same way every time.
func mixed(set *dataset.Set, honest, simulated dataset.Class) (items []dataset.Item) {
	for _, item := range set.Items {
		if item.Class == honest || item.Class == simulated {
			items = append(items, item)
		}
	}
	mrand.New(mrand.NewPCG(1, 2)).Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	return items
}

// everything is how an operator's ledger runs: over mutual TLS, with telemetry.
func (b *bench) everything() rig.Options {
	return rig.Options{Program: b.comity, TLS: true, Telemetry: true}
}

// found makes a new ledger in a folder of its own.
func (b *bench) found(ctx context.Context, store string) (*rig.Founded, error) {
	b.founded++
	return rig.Found(ctx, b.data, filepath.Join(b.work, fmt.Sprintf("ledger-%d", b.founded)), store)
}

// peak is a closed loop with a thousand entries in flight.
func peak(batch int) rig.Plan { return rig.Plan{Workers: 32, Batch: batch} }

// measured is what a span of load on a ledger took.
type measured struct {
	*rig.Outcome
	CPU    time.Duration // of the node
	Peak   int64         // memory of the node at most, bytes
	Proofs float64       // in a batch, on average; 0 without telemetry
	Block  float64       // entries in a block, on average
	Stages map[string]time.Duration
}

// rate is durable entries a second.
func (m *measured) rate() float64 { return float64(m.Accepted()) / m.Elapsed.Seconds() }

// each is the node's processor time for each payment.
func (m *measured) each() time.Duration { return m.CPU / time.Duration(max(1, m.Payments())) }

// drive sends items and measures the node meanwhile.
func (b *bench) drive(ctx context.Context, l *rig.Ledger, d *rig.Driver, items []dataset.Item, plan rig.Plan) (*measured, error) {
	if err := rig.ForgetPeak(l.Pid); err != nil {
		return nil, fmt.Errorf("begin to measure memory: %w", err)
	}
	said, err := l.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	before, err := l.Look()
	if err != nil {
		return nil, err
	}
	m := &measured{Stages: map[string]time.Duration{}}
	if m.Outcome, err = d.Run(ctx, items, plan); err != nil {
		return nil, err
	}
	after, err := l.Look()
	if err != nil {
		return nil, err
	}
	now, err := l.Metrics(ctx)
	if err != nil {
		return nil, err
	}
	since := func(name, label string) float64 { return now.Sum(name, label) - said.Sum(name, label) }
	m.CPU, m.Peak = after.CPU-before.CPU, after.Peak
	if batches := since("comity_verification_batches_total", ""); batches > 0 {
		m.Proofs = since("comity_verification_proofs_total", "") / batches
	}
	if blocks := since("comity_node_blocks_total", ""); blocks > 0 {
		m.Block = float64(m.Accepted()) / blocks
	}
	for _, stage := range []string{"look_up", "prove", "sequence", "store", "cosign"} {
		m.Stages[stage] = time.Duration(since("comity_stage_time_seconds_total", `stage="`+stage+`"`) * float64(time.Second))
	}
	return m, nil
}

// once sends items to a new ledger, and then ends and removes it.
func (b *bench) once(ctx context.Context, o rig.Options, store string, items []dataset.Item, plan rig.Plan) (m *measured, err error) {
	f, err := b.found(ctx, store)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(f.Dir)) }()
	l, err := f.Start(ctx, o)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, l.Stop()) }()
	if m, err = b.drive(ctx, l, l.Driver(0, 8), items, plan); err != nil {
		return nil, err
	}
	if m.Accepted() != len(items) {
		return nil, fmt.Errorf("%d of %d entries were accepted: %v", m.Accepted(), len(items), m.Classes)
	}
	return m, nil
}

// readBack compares what a driver was told with what the log of a stopped ledger holds on disk: every accepted entry is at its place, and nowhere
// else, and nobody else's is there.
func readBack(ctx context.Context, f *rig.Founded, told []rig.Settled) (err error) {
	store, err := f.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	at := map[entry.ID]uint64{}
	for block, err := range store.Blocks(ctx, f.State.Height()+1) {
		if err != nil {
			return err
		}
		if err := index(at, block); err != nil {
			return err
		}
	}
	for _, s := range told {
		e, err := entry.Decode(s.Item.Entry)
		if err != nil {
			return err
		}
		where, found := at[entry.IDOf(e)]
		switch {
		case !found:
			return fmt.Errorf("lost: an entry that was accepted at %d is not in the log", s.Index)
		case where != s.Index:
			return fmt.Errorf("an entry that was accepted at %d is in the log at %d", s.Index, where)
		}
	}
	if len(at) != len(told) {
		return fmt.Errorf("the log has %d entries of clients, %d were accepted", len(at), len(told))
	}
	return nil
}

// index adds the transactions of a block to what is known, and refuses one that is there twice.
func index(at map[entry.ID]uint64, block *settlement.Block) error {
	for i, leaf := range block.Entries {
		e, err := entry.Decode(leaf)
		if err != nil {
			return err
		}
		if _, ours := e.(*entry.Transaction); !ours {
			continue
		}
		id := entry.IDOf(e)
		if first, twice := at[id]; twice {
			return fmt.Errorf("entry %s is in the log at %d and %d", id, first, block.FirstIndex+uint64(i))
		}
		at[id] = block.FirstIndex + uint64(i)
	}
	return nil
}
