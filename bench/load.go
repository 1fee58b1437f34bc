package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/zk"
)

// variant is a way to run a ledger.
type variant struct {
	name           string
	tls, telemetry bool
}

var variants = []variant{{"in the clear, no telemetry", false, false}, {"mutual TLS", true, false}, {"telemetry", false, true}, {"everything on", true, true}}

// load finds the peak of the whole with everything on, next to what verification alone reaches in the seconds before, and what TLS and telemetry
// cost: variants take turns, forwards and backwards, each on a new ledger.
func (b *bench) load(ctx context.Context) error {
	p := b.report.section("The whole", "How many payments a second become durable with everything on, how close is that to what verification alone reaches, and what do TLS and telemetry cost?")
	transfers := b.transfers[:b.scaleOf.transfers]
	got := make([][]*measured, len(variants))
	var alone, ratios []float64
	for round := range b.rounds {
		order := []int{0, 1, 2, 3}
		if round%2 == 1 {
			slices.Reverse(order)
		}
		for _, i := range order {
			v := variants[i]
			var rate float64
			if v.tls && v.telemetry {
				var err error
				if rate, _, err = b.verification(zk.Transfer); err != nil {
					return err
				}
			}
			m, err := b.once(ctx, rig.Options{Program: b.comity, TLS: v.tls, Telemetry: v.telemetry}, "", transfers, peak(32))
			if err != nil {
				return fmt.Errorf("%s: %w", v.name, err)
			}
			b.tell("  %s: %.0f transfers/s, %v of the node for each", v.name, m.rate(), micros(m.each()))
			got[i] = append(got[i], m)
			if rate > 0 {
				alone, ratios = append(alone, rate), append(ratios, m.rate()/rate)
			}
		}
	}
	t := p.table("2x2 transfers, "+count(len(transfers))+" in a round, median of the rounds", "", "durable/s", "node's processor time each", "to the first row: rate", "processor time", "least to most", "node's memory")
	for i, v := range variants {
		rate := medianOf(got[i], (*measured).rate)
		each := medianOf(got[i], func(m *measured) float64 { return m.each().Seconds() })
		var rates, times []float64
		for r := range got[i] {
			rates = append(rates, got[i][r].rate()/got[0][r].rate())
			times = append(times, got[i][r].each().Seconds()/got[0][r].each().Seconds())
		}
		t.row(v.name, figure(rate), micros(seconds(each)), ratio(median(rates)), ratio(median(times)), ratio(slices.Min(times))+" to "+ratio(slices.Max(times)), mega(most(got[i])))
		b.report.memory("the whole, "+v.name, most(got[i]), 0)
	}
	b.telemetryGoal(got)
	whole := got[len(variants)-1]
	last := whole[len(whole)-1]
	b.report.goal("3,000 transfers/s, everything on", figure(medianOf(whole, (*measured).rate))+"/s", medianOf(whole, (*measured).rate) >= 3000)
	b.report.goal("transfers within 25 % of verification alone", ratio(median(ratios))+" of "+figure(median(alone))+"/s", median(ratios) >= 0.75)
	p.say("Everything on: %.0f proofs in a batch and %.0f transfers in a block on average; the driver, the witness and the collector, which share the processors, used %v for each transfer. "+
		"By arithmetic (processors divided by the node's processor time) the node alone would do %s transfers/s. Verification alone reached %s/s in the seconds before each of these rounds.",
		last.Proofs, last.Block, micros(last.DriverCPU/time.Duration(last.Accepted())), figure(nodeAlone(last)), figure(median(alone)))

	disburses := b.disburses[:min(len(b.disburses), b.scaleOf.disburses)]
	var paid []*measured
	alone, ratios = nil, nil
	for range b.rounds {
		rate, _, err := b.verification(zk.Disburse64)
		if err != nil {
			return err
		}
		m, err := b.once(ctx, b.everything(), "", disburses, peak(16))
		if err != nil {
			return fmt.Errorf("disbursements: %w", err)
		}
		b.tell("  disbursements, everything on: %.0f/s, %.0f payments/s", m.rate(), m.rate()*zk.LargeDisburse)
		paid, alone, ratios = append(paid, m), append(alone, rate), append(ratios, m.rate()/rate)
	}
	rate := medianOf(paid, (*measured).rate)
	last = paid[len(paid)-1]
	t = p.table("1x64 disbursements, "+count(len(disburses))+" in a round, everything on, median of the rounds", "durable/s", "payments/s", "node's processor time for a payment", "driver's and witness's", "proofs in a batch", "node's memory")
	t.row(figure(rate), figure(rate*zk.LargeDisburse), micros(last.each()), micros(last.DriverCPU/time.Duration(last.Payments())), figure(last.Proofs), mega(most(paid)))
	b.report.memory("the whole, disbursements", most(paid), 0)
	b.report.goal("100,000 payments/s as 1x64 disbursements, everything on", figure(rate*zk.LargeDisburse)+"/s", rate*zk.LargeDisburse >= 100_000)
	b.report.goal("disbursements within 25 % of verification alone", ratio(median(ratios))+" of "+figure(median(alone))+"/s", median(ratios) >= 0.75)
	p.say("By arithmetic the node alone would do %s payments/s; verification alone reached %s.", figure(nodeAlone(last)), figure(median(alone)*zk.LargeDisburse))
	return b.where(ctx, p, transfers, disburses)
}

// telemetryGoal compares rounds with telemetry and without it, in pairs: in the clear, and over TLS.
func (b *bench) telemetryGoal(got [][]*measured) {
	var times []float64
	for r := range got[0] {
		times = append(times, got[2][r].each().Seconds()/got[0][r].each().Seconds(), got[3][r].each().Seconds()/got[1][r].each().Seconds())
	}
	b.report.goal("telemetry costs less than 3 % of processor time", fmt.Sprintf("%.1f %%, the median of %d pairs of rounds from %.1f to %.1f %%", 100*(median(times)-1), len(times), 100*(slices.Min(times)-1), 100*(slices.Max(times)-1)), median(times) < 1.03)
}

// nodeAlone is how many payments a second the node could do if nothing else used the processors: arithmetic.
func nodeAlone(m *measured) float64 { return float64(processors()) / m.each().Seconds() }

// where profiles one more round of each kind, and says what the node's processor time was used for.
func (b *bench) where(ctx context.Context, p *part, transfers, disburses []dataset.Item) error {
	t := p.table("Where the node's processor time goes, everything on, from a profile of one more round", append([]string{""}, rig.Kinds...)...)
	for _, kind := range []struct {
		name  string
		items []dataset.Item
		batch int
	}{{"transfers", transfers, 32}, {"disbursements", disburses, 16}} {
		o := b.everything()
		o.Profile = filepath.Join(b.work, kind.name+".cpu")
		if _, err := b.once(ctx, o, "", kind.items, peak(kind.batch)); err != nil {
			return fmt.Errorf("profile %s: %w", kind.name, err)
		}
		f, err := os.Open(o.Profile)
		if err != nil {
			return err
		}
		kinds, err := rig.Split(f)
		_ = f.Close()
		if err != nil {
			return err
		}
		var total time.Duration
		for _, d := range kinds {
			total += d
		}
		row := []string{kind.name}
		for _, k := range rig.Kinds {
			row = append(row, fmt.Sprintf("%.1f %%", 100*float64(kinds[k])/float64(max(1, total))))
		}
		t.row(row...)
		if kind.name == "transfers" {
			b.report.note("In the profile of the whole %.1f %% of the node's processor time is inside telemetry and %.1f %% inside TLS. Pairs of rounds scatter by some hundredths: the profile is the sharper measure.",
				100*float64(kinds["telemetry"])/float64(max(1, total)), 100*float64(kinds["encryption"])/float64(max(1, total)))
		}
	}
	return nil
}
