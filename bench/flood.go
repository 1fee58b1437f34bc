package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
)

// dataItem is what a driver sends.
type dataItem = dataset.Item

// flood measures what one caller settles alone, while another keeps 512 submissions in flight, of which nine in ten have false proofs, when that
// begins and when it has gone on for a while, and alone again, on one ledger with everything on.
func (b *bench) flood(ctx context.Context) (err error) {
	p := b.report.section("A flood of invalid proofs", "What is left of an honest caller's throughput while another caller floods the node, nine in ten of its proofs false?")
	names := []string{"alone", "as the flood begins", "as it goes on", "alone again"}
	n := min(b.scaleOf.flood, len(b.transfers)/(len(names)+1))
	part := func(i int) []dataItem { return b.transfers[i*n : (i+1)*n] }
	spoiled, err := b.data.Spoil(0, 4096)
	if err != nil {
		return err
	}
	var evil []dataItem
	for i, item := range spoiled {
		if i%9 == 0 { // one in ten is valid, and settles once
			evil = append(evil, part(len(names))[i/9%n])
		}
		evil = append(evil, item)
	}
	f, err := b.found(ctx, "")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(f.Dir)) }()
	o := b.everything()
	o.Callers = 9
	l, err := f.Start(ctx, o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, l.Stop()) }()
	honest, other := l.Driver(0, 1), l.Driver(8, 1)
	t := p.table("One ledger, everything on; the honest caller keeps 1,024 transfers in flight, "+count(n)+" in each part", "", "honest transfers/s", "durable p50", "p99", "node's memory")
	var rates []float64
	var end func() (later int)
	var later int
	for i, name := range names {
		switch i {
		case 1:
			end = other.Flood(ctx, evil, b.flooders, 32)
		case 2:
			time.Sleep(b.step / 2) // by then its first large batch is behind it
		case 3:
			later = end()
		}
		m, err := b.drive(ctx, l, honest, part(i), peak(32))
		if err == nil && m.Accepted() != n {
			err = fmt.Errorf("%d of %d honest transfers were accepted: %v", m.Accepted(), n, m.Classes)
		}
		if err != nil {
			if i == 1 || i == 2 {
				end()
			}
			return fmt.Errorf("%s: %w", name, err)
		}
		t.row(name, figure(m.rate()), millis(rig.Percentile(m.Durable, 50)), millis(rig.Percentile(m.Durable, 99)), mega(m.Peak))
		b.tell("  %s: %.0f/s", name, m.rate())
		rates = append(rates, m.rate())
		b.report.memory("flood, "+name, m.Peak, 0)
	}
	drained, err := drain(ctx, honest)
	if err != nil {
		return err
	}
	metrics, err := l.Metrics(ctx)
	if err != nil {
		return err
	}
	invalid, valid := metrics.Sum("comity_verification_proofs_total", `result="invalid"`), metrics.Sum("comity_verification_proofs_total", `result="valid"`)
	if invalid == 0 {
		return errors.New("the flood had no proof refused")
	}
	before := (rates[0] + rates[3]) / 2
	left := min(rates[1], rates[2])
	p.say("The flood keeps %s submissions in flight and waits 20 ms when all of a call are put off, whatever it is told. It has a certificate of its own, and what its proofs cost is charged to it: of its "+
		"entries %s were refused as proof_invalid, %s more were told to try later; %s proofs of either caller were valid. What it had inside the node was judged %v after the last honest transfer.",
		count(32*b.flooders), figure(invalid), count(later), figure(valid), drained.Round(100*time.Millisecond))
	b.report.goal("a flood of invalid proofs leaves at least half of honest throughput", ratio(left/before)+" ("+figure(left)+" of "+figure(before)+"/s)", left >= before/2)
	return nil
}

// drainLimit bounds drain: a caller with false proofs rests between small batches.
const drainLimit = 3 * time.Minute

// drain waits until nothing is inside the node, so that it can end in order.
func drain(ctx context.Context, d *rig.Driver) (time.Duration, error) {
	for start := time.Now(); ; time.Sleep(20 * time.Millisecond) {
		status, err := d.Status(ctx)
		if err != nil {
			return 0, err
		}
		switch took := time.Since(start); {
		case status.GetPending() == 0:
			return took, nil
		case took > drainLimit:
			return took, fmt.Errorf("%d entries are still inside the node %v after the flood", status.GetPending(), took)
		}
	}
}
