package main

import (
	"fmt"
	"io"
	"maps"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/bench/rig"
)

// part is one measured part of a run.
type part struct {
	Name    string
	Outcome *rig.Outcome
	Node    counters
	Rate    float64 // offered, transactions a second; 0 when as many as are answered
}

// report is everything a run found.
type report struct {
	Options options
	Command string
	Parts   []part
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "# Load on one ledger, %s\n\n", time.Now().UTC().Format("2006-01-02"))
	fmt.Fprintf(w, "Question: how many payments a second become durable on one machine, with real proofs and everything on, and what does one cost?\n\n")
	fmt.Fprintf(w, "- machine: %s\n- command: `%s`\n", machine.Describe(), strings.TrimSpace(r.Command))
	fmt.Fprintf(w, "- node: its own process, Pebble on disk with a sync for every block, Connect RPC over loopback in the clear, no telemetry, one consistency witness (`go run ./bench` has everything on)\n")
	fmt.Fprintf(w, "- driver: %d calls in flight; it and the witness share the machine with the node, their processor time is stated apart\n", r.Options.workers)
	fmt.Fprintf(w, "- honest payments have real notes and proofs that took a second each; simulated ones have random fields and a proof from the development trapdoor: the node does the same work for both\n")
	for i := range r.Parts {
		r.Parts[i].print(w)
	}
}

func (p *part) print(w io.Writer) {
	o, n := p.Outcome, &p.Node
	seconds := o.Elapsed.Seconds()
	fmt.Fprintf(w, "\n## %s\n\n| | |\n|---|---|\n", p.Name)
	row := func(name, format string, args ...any) {
		fmt.Fprintf(w, "| %s | %s |\n", name, fmt.Sprintf(format, args...))
	}
	row("transactions durable", "%d in %.2f s: **%.0f/s**", o.Accepted(), seconds, float64(o.Accepted())/seconds)
	row("payments durable", "%d: **%.0f/s**", o.Payments(), float64(o.Payments())/seconds)
	three := func(list []time.Duration) string {
		return fmt.Sprintf("p50 %v, p95 %v, p99 %v", ms(rig.Percentile(list, 50)), ms(rig.Percentile(list, 95)), ms(rig.Percentile(list, 99)))
	}
	if p.Rate > 0 {
		row("offered", "%.0f transactions/s", p.Rate)
	}
	row("latency to durable", "%s", three(o.Durable))
	row("latency to final", "%s", three(o.Final))
	if total := sent(o); total > 0 {
		row("wire", "%d bytes for each entry", o.WireBytes/total)
	}
	if pays := o.Payments(); pays > 0 {
		per := func(d time.Duration) string {
			return fmt.Sprintf("%.1f us", float64(d.Nanoseconds())/1000/float64(pays))
		}
		row("node's processor time for each payment", "%s", per(n.CPU))
		var profiled time.Duration
		for _, d := range n.Kinds {
			profiled += d
		}
		for _, kind := range rig.Kinds {
			if profiled > 0 {
				row("- "+kind, "%s, %.0f%%", per(n.Kinds[kind]), 100*float64(n.Kinds[kind])/float64(profiled))
			}
		}
		if n.CPU > 0 {
			row("so many that the node could do alone on this machine (arithmetic)", "%.0f payments/s",
				float64(runtime.NumCPU())*float64(pays)/n.CPU.Seconds())
		}
		row("driver's and witness's processor time for each payment", "%s", per(o.DriverCPU))
	}
	if n.Batches > 0 {
		row("proofs in a batch", "%.0f on average", float64(n.Proofs)/float64(n.Batches))
	}
	if n.Blocks > 0 {
		row("transactions in a block", "%.0f on average", float64(n.Accepted)/float64(n.Blocks))
	}
	row("wall time in stages", "proving %v, sequencing %v, storing %v, cosigning %v", ms(n.Proving), ms(n.Sequencing), ms(n.Storing), ms(n.Cosigning))
	row("answered try_later", "%d", o.Again)
	row("memory, disk", "%d MB at most, %d MB", n.PeakRSS>>20, n.DiskBytes>>20)
	fmt.Fprintf(w, "\n| class | sent | accepted | settled before | refused |\n|---|---|---|---|---|\n")
	for _, class := range slices.Sorted(maps.Keys(o.Classes)) {
		t := o.Classes[class]
		var refused []string
		for _, code := range slices.Sorted(maps.Keys(t.Refused)) {
			refused = append(refused, fmt.Sprintf("%d %s", t.Refused[code], code))
		}
		if len(refused) == 0 {
			refused = []string{"0"}
		}
		fmt.Fprintf(w, "| %s | %d | %d | %d | %s |\n", class, t.Sent, t.Accepted, t.Before, strings.Join(refused, ", "))
	}
}

func sent(o *rig.Outcome) (n int) {
	for _, t := range o.Classes {
		n += t.Sent
	}
	return n
}

func ms(d time.Duration) time.Duration { return d.Round(100 * time.Microsecond) }
