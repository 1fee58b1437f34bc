package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/comity-ledger/comity/bench/plot"
	"github.com/comity-ledger/comity/bench/rig"
)

// shares of the peak that are offered; the plot leaves out what lies far past it.
var shares = []float64{0.10, 0.25, 0.50, 0.65, 0.80, 0.90, 0.95, 1.10, 2.00}

// finalWithin is how long a payment may take to become final at 80 % of the peak, 99 times in 100.
const finalWithin = 500 * time.Millisecond

// nodeWaiting is how many entries may be inside the node: the default of node.Limits.
const nodeWaiting = 8192

// latency offers transfers at shares of the peak, whatever the ledger does, each on a new ledger, and reads every log back.
func (b *bench) latency(ctx context.Context) error {
	p := b.report.section("Latency against throughput", "How long until a transfer is durable, and until it is final, at each share of the peak? What happens past capacity?")
	best, err := b.once(ctx, b.everything(), "", b.transfers[:b.scaleOf.transfers], peak(32))
	if err != nil {
		return err
	}
	top := best.rate()
	b.tell("  peak %.0f/s", top)
	p.say("The peak of this section, in a closed loop with 1,024 transfers in flight: %s/s. Then an open loop: transfers fall due at a steady rate, and times count from when a transfer was due, so that a wait before it "+
		"could be sent counts too. What is told to try later is sent again when its hint says. Times until final include up to 5 ms until it is noticed.", figure(top))
	t := p.table("Everything on, "+b.step.String()+" of each", "offered", "", "durable/s", "durable p50", "p95", "p99", "final p50", "p95", "**final p99**", "node's processor time each", "proofs in a batch", "told to try later", "memory")
	var finals, durables, halves []plot.Point
	var past []string
	for _, share := range b.scaleOf.shares {
		rate := share * top
		items := b.transfers[:min(len(b.transfers), max(20, int(rate*b.step.Seconds())))]
		m, told, err := b.offer(ctx, items, rate)
		if err != nil {
			return fmt.Errorf("at %.0f %% of the peak: %w", 100*share, err)
		}
		at := func(list []time.Duration, q float64) string { return millis(rig.Percentile(list, q)) }
		t.row(fmt.Sprintf("%.0f %%", 100*share), figure(rate)+"/s", figure(m.rate()), at(m.Durable, 50), at(m.Durable, 95), at(m.Durable, 99), at(m.Final, 50), at(m.Final, 95), "**"+at(m.Final, 99)+"**",
			micros(m.each()), figure(m.Proofs), count(m.Again), mega(m.Peak))
		b.tell("  %.0f %%: %.0f/s, final p50 %v p99 %v", 100*share, m.rate(), at(m.Final, 50), at(m.Final, 99))
		if share <= 1.10 {
			finals = append(finals, plot.Point{X: m.rate(), Y: ms(rig.Percentile(m.Final, 99))})
			halves = append(halves, plot.Point{X: m.rate(), Y: ms(rig.Percentile(m.Final, 50))})
			durables = append(durables, plot.Point{X: m.rate(), Y: ms(rig.Percentile(m.Durable, 99))})
		}
		if share == 0.80 {
			p99 := rig.Percentile(m.Final, 99)
			b.report.goal("final p99 under 500 ms at 80 % of the peak", millis(p99)+" at "+figure(rate)+"/s", p99 < finalWithin && len(m.Final) == len(items))
			b.report.memory("at 80 % of the peak", m.Peak, 0)
		}
		if share > 1 {
			past = append(past, b.past(share, m, told))
		}
	}
	for _, text := range past {
		p.say("%s", text)
	}
	return b.report.plot(p, "latency.svg", &plot.Chart{
		Title: "Latency against throughput, 2x2 transfers", Subtitle: "open loop; everything on: durable, real proofs, mutual TLS, telemetry, a witness",
		X: plot.Axis{Label: "transfers durable a second"}, Y: plot.Axis{Label: "milliseconds from when it was due", Log: true},
		Series: []plot.Series{{Name: "final, p99", Points: finals}, {Name: "durable, p99", Points: durables}, {Name: "final, p50", Points: halves, Dashed: true}},
		Marks:  []plot.Mark{{At: ms(finalWithin), Label: "goal for final, p99, at 80 % of the peak"}, {At: top, Label: "peak", Across: true}},
	})
}

func ms(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

// offer sends items at a rate to a new ledger, and compares what was accepted with the log that is on disk afterwards.
func (b *bench) offer(ctx context.Context, items []dataItem, rate float64) (m *measured, told int, err error) {
	f, err := b.found(ctx, "")
	if err != nil {
		return nil, 0, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(f.Dir)) }()
	l, err := f.Start(ctx, b.everything())
	if err != nil {
		return nil, 0, err
	}
	// So many calls that the node's own bound is met before the driver's: 16,384 transfers.
	m, err = b.drive(ctx, l, l.Driver(0, 8), items, rig.Plan{Workers: 512, Batch: 32, Rate: rate})
	if err = errors.Join(err, l.Stop()); err != nil {
		return nil, 0, err
	}
	if err := readBack(ctx, f, m.Settled); err != nil {
		return nil, 0, err
	}
	return m, len(m.Settled), nil
}

// past says what became of an overload.
func (b *bench) past(share float64, m *measured, told int) string {
	bound := seconds(2 * nodeWaiting / m.rate())
	p99 := rig.Percentile(m.FinalFromGo, 99)
	offered := m.Accepted()
	hint := "none was told to try later"
	if len(m.Hints) > 0 {
		hint = fmt.Sprintf("%s answers said try later, with hints from %s to %s", count(m.Again), millis(m.Hints[0]), millis(m.Hints[len(m.Hints)-1]))
	}
	text := fmt.Sprintf("At %.0f %% of the peak: %s; in the end every one of the %s transfers offered was accepted. From the sending that was accepted it took %s until durable and %s until final (p99). "+
		"What may wait inside the node (%s entries) takes %s at this rate: twice that is the bound. The log on disk holds each accepted transfer once, at the place that its answer named, and no other.",
		100*share, hint, count(told), millis(rig.Percentile(m.DurableFromGo, 99)), millis(p99), count(nodeWaiting), millis(bound/2))
	b.report.goal(fmt.Sprintf("at %.0f %% of the peak nothing is lost, and what is accepted is final within a bound", 100*share),
		fmt.Sprintf("%s of %s in the log once; p99 %s of %s", count(told), count(offered), millis(p99), millis(bound)), told == offered && p99 <= bound && len(m.Final) == told)
	if share == 2 {
		b.report.goal("past capacity the node answers try later with a hint", hint, len(m.Hints) > 0 || b.quick)
		b.report.memory("at twice the peak", m.Peak, 0)
	}
	return text
}
