package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement/entry"
)

// dataItem is what a driver sends.
type dataItem = dataset.Item

// flood measures what one caller settles alone, while another keeps 512 submissions in flight of which nine in ten have false proofs, when that
// begins and when it has gone on for a while, and alone again, on one ledger with everything on.
func (b *bench) flood(ctx context.Context) (err error) {
	p := b.report.section("A flood of invalid proofs", "What is left of an honest caller's throughput while another caller floods the node, nine in ten of its proofs false?")
	names := []string{"alone", "as the flood begins", "as it goes on", "alone again"}
	n := min(b.scaleOf.flood, len(b.transfers)/(len(names)+1))
	part := func(i int) []dataItem { return b.transfers[i*n : (i+1)*n] }
	invalid, err := b.data.Spoil(0, 4096)
	if err != nil {
		return err
	}
	var evil []dataItem
	for i, item := range invalid {
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
	var said string
	var end func() (map[entry.Code]int, int)
	for i, name := range names {
		switch i {
		case 1:
			end = other.Flood(ctx, evil, 16, 32)
		case 2:
			time.Sleep(b.step / 2) // by then its first large batch is behind it
		case 3:
			refused, sent := end()
			if refused[entry.ProofInvalid] == 0 {
				return errors.New("the flood had no proof refused")
			}
			said = fmt.Sprintf("The flood sent %s entries: %s were refused as proof_invalid, %s were told to try later.", count(sent), count(refused[entry.ProofInvalid]), count(refused[entry.TryLater]))
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
	before := (rates[0] + rates[3]) / 2
	left := min(rates[1], rates[2])
	p.say("%s It keeps 512 submissions in flight and does not wait as long as it is told. It has a certificate of its own: what its proofs cost is charged to it.", said)
	b.report.goal("a flood of invalid proofs leaves at least half of honest throughput", ratio(left/before)+" ("+figure(left)+" of "+figure(before)+"/s)", left >= before/2)
	return nil
}
