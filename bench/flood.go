package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement/entry"
)

// dataItem is what a driver sends.
type dataItem = dataset.Item

// flood measures what one caller settles alone, while another keeps 512 submissions in flight of which nine in ten have false proofs, and alone
// again, on one ledger with everything on.
func (b *bench) flood(ctx context.Context) (err error) {
	p := b.report.section("A flood of invalid proofs", "What is left of an honest caller's throughput while another caller floods the node, nine in ten of its proofs false?")
	n := b.scaleOf.flood
	part := func(i int) []dataItem { return b.transfers[i*n : (i+1)*n] }
	false9, err := b.data.Spoil(0, 4096)
	if err != nil {
		return err
	}
	evil := make([]dataItem, 0, 40960/9)
	for i, item := range false9 {
		if i%9 == 0 { // one in ten is valid, and settles once
			evil = append(evil, part(3)[i/9%n])
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
	t := p.table("One ledger, everything on; the honest caller keeps 1,024 transfers in flight, "+count(n)+" in each part", "", "honest transfers/s", "node's processor time each", "node's memory")
	var rates []float64
	var said string
	for i, name := range []string{"alone", "with the flood", "alone again"} {
		end := func() (map[entry.Code]int, int) { return nil, 0 }
		if i == 1 {
			end = other.Flood(ctx, evil, 16, 32)
		}
		m, err := b.drive(ctx, l, honest, part(i), peak(32))
		refused, sent := end()
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if m.Accepted() != n {
			return fmt.Errorf("%s: %d of %d honest transfers were accepted: %v", name, m.Accepted(), n, m.Classes)
		}
		t.row(name, figure(m.rate()), micros(m.each()), mega(m.Peak))
		b.tell("  %s: %.0f/s", name, m.rate())
		rates = append(rates, m.rate())
		b.report.memory("flood, "+name, m.Peak)
		if i == 1 {
			said = fmt.Sprintf("The flood sent %s entries meanwhile: %s were refused as proof_invalid, %s were told to try later.", count(sent), count(refused[entry.ProofInvalid]), count(refused[entry.TryLater]))
			if refused[entry.ProofInvalid] == 0 {
				return errors.New("the flood had no proof refused")
			}
		}
	}
	left := rates[1] / ((rates[0] + rates[2]) / 2)
	p.say("%s It keeps 512 submissions in flight, does not wait as it is told, and has a certificate of its own: what is verified for it is charged to it.", said)
	b.report.goal("a flood of invalid proofs leaves at least half of honest throughput", ratio(left)+" ("+figure(rates[1])+" of "+figure((rates[0]+rates[2])/2)+"/s)", left >= 0.5)
	return nil
}
