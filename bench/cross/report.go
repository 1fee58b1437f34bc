package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"time"
)

// report is everything a run found.
type report struct {
	Machine, Command string
	Ledgers, Flying  int
	Parts            []*part
}

// spread is of a latency.
type spread struct{ P50, P95, P99, Max millis }

// millis prints and marshals as milliseconds.
type millis time.Duration

// String gives milliseconds with one decimal.
func (m millis) String() string {
	return fmt.Sprintf("%.1f ms", float64(time.Duration(m).Microseconds())/1000)
}

// MarshalJSON gives a number of milliseconds.
func (m millis) MarshalJSON() ([]byte, error) {
	return strconv.AppendFloat(nil, float64(time.Duration(m).Microseconds())/1000, 'f', -1, 64), nil
}

// part is one measured part of a run.
type part struct {
	Name      string
	Offered   float64 // payments a second; 0 in a closed loop
	Load      string  // load average of the machine when it began
	Machine   shares
	Began     int
	Honest    int
	Counted   int // final in the window
	Window    millis
	Rate      float64 // final on both sides, a second
	Behind    millis  // how late an open loop began its last payment
	Again     int
	Refused   map[string]int
	Total     spread // from when a payment was due until both sides are final
	Stages    []stage
	Processes []process
}

// stage is the time from one step of a payment to the next.
type stage struct {
	Name string
	spread
}

// process is what a process used and did.
type process struct {
	Name    string
	CPU     millis
	Each    millis // processor time for each payment
	RSS     int64  // bytes at most
	Node    *stages
	Relayer *relayed
}

func spreadOf(list []time.Duration) spread {
	if len(list) == 0 {
		return spread{}
	}
	slices.Sort(list)
	at := func(p float64) millis { return millis(list[min(len(list)-1, int(p/100*float64(len(list))))]) }
	return spread{at(50), at(95), at(99), millis(list[len(list)-1])}
}

func newPart(name string, rate float64, r *result, busy string) *part {
	p := &part{Name: name, Offered: rate, Load: busy, Began: len(r.payments), Counted: r.counted, Window: millis(r.window), Behind: millis(r.behind),
		Again: r.again, Refused: r.refused, Rate: float64(r.counted) / r.window.Seconds()}
	var total []time.Duration
	times := make([][]time.Duration, steps)
	for _, x := range r.payments {
		if x.Honest {
			p.Honest++
		}
		total = append(total, latest(x).Sub(x.since))
		before := x.since
		for i, t := range x.at {
			if step(i) == decisionSeen { // A may observe the decision before we hear that it is final
				before = x.at[decided]
			}
			times[i] = append(times[i], max(0, t.Sub(before)))
			before = t
		}
	}
	p.Total = spreadOf(total)
	for i, list := range times {
		name := stepNames[i]
		if step(i) == decisionSeen {
			name += " (since the decision was durable)"
		}
		p.Stages = append(p.Stages, stage{name, spreadOf(list)})
	}
	return p
}

func (p *part) add(c config, n counters) {
	p.Processes = append(p.Processes, process{Name: c.Name, CPU: millis(n.CPU), RSS: n.PeakRSS, Node: n.Node, Relayer: n.Relayer})
}

// finish says what each payment cost, and who had the machine meanwhile.
func (p *part) finish(before, after ticks) {
	var ours time.Duration
	for i := range p.Processes {
		c := &p.Processes[i]
		c.Each = c.CPU / millis(max(1, p.Began))
		ours += time.Duration(c.CPU)
	}
	if elapsed := after.at.Sub(before.at); elapsed > 0 {
		part := func(d time.Duration) float64 { return math.Round(100*d.Seconds()/elapsed.Seconds()) / 100 }
		p.Machine = shares{part(ours), part(max(0, after.busy-before.busy-ours)), part(after.stolen - before.stolen), part(after.idle - before.idle)}
	}
}

// each is the processor time of a payment over all processes.
func (p *part) each() (sum millis) {
	for i := range p.Processes {
		sum += p.Processes[i].Each
	}
	return sum
}

// shares says how many processors did what, on average.
type shares struct{ Ours, Others, Stolen, Idle float64 }

// ticks is what the machine's processors have done since it started.
type ticks struct {
	at                 time.Time
	busy, stolen, idle time.Duration
}

// machineTicks reads them; zeros where the system does not tell.
func machineTicks() ticks {
	t := ticks{at: time.Now()}
	b, err := os.ReadFile("/proc/stat")
	if err != nil {
		return t
	}
	line, _, _ := strings.Cut(string(b), "\n")
	for i, text := range strings.Fields(line) {
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil {
			continue
		}
		d := time.Duration(n) * userTick
		switch i { // "cpu", user, nice, system, idle, iowait, irq, softirq, steal, guests
		case 1, 2, 3, 6, 7:
			t.busy += d
		case 4, 5:
			t.idle += d
		case 8:
			t.stolen += d
		}
	}
	return t
}

func (r *report) print(w io.Writer) {
	fmt.Fprintf(w, "# Payments across %d ledgers, %s\n\n", r.Ledgers, time.Now().UTC().Format("2006-01-02"))
	fmt.Fprintf(w, "Question: how many payments a second cross a border, how long until both sides are final, and where does the time go?\n\n")
	fmt.Fprintf(w, "- machine: %s\n- command: `%s`\n", r.Machine, r.Command)
	fmt.Fprintf(w, `- %d nodes, two validating witnesses for each and one relayer, every one a process of its own: Pebble on disk with a sync for every block,
  witnesses that replay every proof and sync before they cosign, Connect RPC and HTTP over loopback; a checkpoint is final with both witnesses
- the driver is all payers and providers: each payment begins with a signed quote that is checked; it follows all logs and checks every
  checkpoint's signatures and roots
- proofs were made beforehand. Honest ones are of real notes and took a second each, the others are simulated from the development trapdoor;
  ledgers and witnesses verify all of them, each proof three times in all
- a payment has four entries that are its own: the provider's hold on B, the payer's on A, the decision on B, the posting on A
`, r.Ledgers)
	fmt.Fprintf(w, "\n| | offered | payments | both sides final | due to both final p50 | p95 | p99 | max | load average before |\n|---|---|---|---|---|---|---|---|---|\n")
	for _, p := range r.Parts {
		fmt.Fprintf(w, "| %s | %s | %d, %d honest | **%.0f/s** | %v | %v | **%v** | %v | %s |\n", p.Name, p.offer(r.Flying), p.Began, p.Honest, p.Rate, p.Total.P50, p.Total.P95,
			p.Total.P99, p.Total.Max, p.Load)
	}
	fmt.Fprintf(w, "\n| | processor time for each payment | processors used by us | by other jobs | taken by the host | idle | so many that these processors could do alone (arithmetic) |\n|---|---|---|---|---|---|---|\n")
	for _, p := range r.Parts {
		fmt.Fprintf(w, "| %s | %v | %.2f | %.2f | %.2f | %.2f | %.0f/s |\n", p.Name, p.each(), p.Machine.Ours, p.Machine.Others, p.Machine.Stolen, p.Machine.Idle,
			float64(runtime.NumCPU())/max(1e-6, time.Duration(p.each()).Seconds()))
	}
	for _, p := range r.Parts {
		p.print(w)
	}
}

func (p *part) offer(flying int) string {
	if p.Offered == 0 {
		return fmt.Sprintf("%d on their way", flying)
	}
	return fmt.Sprintf("%.0f/s", p.Offered)
}

func (p *part) print(w io.Writer) {
	fmt.Fprintf(w, "\n## %s%s\n\n%d payments became final in the %.1f s that count. Holds answered try_later: %d.", strings.ToUpper(p.Name[:1]), p.Name[1:], p.Counted,
		time.Duration(p.Window).Seconds(), p.Again)
	if p.Offered > 0 {
		fmt.Fprintf(w, " The last payment began %v late.", p.Behind)
	}
	fmt.Fprintf(w, "\n\n| from the step before to | p50 | p95 | p99 |\n|---|---|---|---|\n")
	for _, s := range p.Stages {
		fmt.Fprintf(w, "| %s | %v | %v | %v |\n", s.Name, s.P50, s.P95, s.P99)
	}
	fmt.Fprintf(w, "\n| process | processor time for each payment | of one processor | memory | did |\n|---|---|---|---|---|\n")
	var nodes, witnesses millis
	elapsed := time.Duration(p.Window)
	for i := range p.Processes {
		if n := p.Processes[i].Node; n != nil {
			elapsed = n.Elapsed
		}
	}
	for _, c := range p.Processes {
		switch {
		case c.Node != nil:
			nodes += c.Each
		case strings.HasPrefix(c.Name, roleWitness):
			witnesses += c.Each
		}
		fmt.Fprintf(w, "| %s | %v | %.0f%% | %d MB | %s |\n", c.Name, c.Each, 100*time.Duration(c.CPU).Seconds()/elapsed.Seconds(), c.RSS>>20, c.did())
	}
	fmt.Fprintf(w, "| nodes, witnesses, all | %v, %v, %v | | | |\n", nodes, witnesses, p.each())
}

// did says in a few words what a process did.
func (c *process) did() string {
	if n := c.Node; n != nil {
		per := func(d time.Duration) millis { return millis(d / time.Duration(max(1, n.Blocks))) }
		return fmt.Sprintf("%d blocks with %d entries (%.1f each), %.1f proofs a batch; for each block proving %v, sequencing %v, storing %v, cosigning %v", n.Blocks, n.Accepted,
			float64(n.Accepted)/float64(max(1, n.Blocks)), float64(n.Proofs)/float64(max(1, n.Batches)), per(n.Proving), per(n.Sequencing), per(n.Storing), per(n.Cosigning))
	}
	if n := c.Relayer; n != nil && n.Batches > 0 {
		text := fmt.Sprintf("%d plans, %d observations and %d resolutions in %d calls", n.Plans, n.Observes, n.Resolves, n.Batches)
		for code, count := range n.Refused {
			text += fmt.Sprintf(", %d %s", count, code)
		}
		return text
	}
	return ""
}

// load1 is the load average of the last minute.
func load1() string {
	b, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		return "unknown"
	}
	first, _, _ := strings.Cut(string(b), " ")
	return first
}
