// Command cross asks what payments across ledgers cost: it starts two or three real nodes with stores on disk, two validating witnesses for
// each and a relayer, every one in a process of its own and all talking over loopback, and sends payments whose proofs were made beforehand.
//
//	go run ./bench/cross
//	go run ./bench/cross -ledgers 2 -rate 25 -duration 30s
//	go run ./bench/cross -out bench/results/cross.md -json cross.json
//
// It finds the peak in a closed loop, offers nine tenths of that in an open loop, then half of it (or -rate), and in the end 50 payments a
// second, the floor. Latencies of an open loop count from when a payment was due until both sides are final. A few proofs are honest and the
// others are simulated from the development trapdoor, which costs ledgers and witnesses exactly the same: they verify every one.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/comity-ledger/comity/bench/machine"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// options are the flags.
type options struct {
	ledgers, payments, honest, flying int
	rate                              float64
	duration, warm, pace              time.Duration
	set, data, out, json, profile     string
	comity                            string
	steady, quiet                     bool
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == childFlag {
		if err := runChild(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "cross:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := measure(ctx, parse(), os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "cross:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	flag.IntVar(&o.ledgers, "ledgers", 3, "ledgers, 2 or 3; payments go evenly between all of them")
	flag.IntVar(&o.payments, "payments", 20000, "payments with simulated proofs in the data set")
	flag.IntVar(&o.honest, "honest", 30, "payments with honest proofs in the data set, two proofs each")
	flag.IntVar(&o.flying, "flying", 600, "payments on their way at any time in the closed loop")
	flag.Float64Var(&o.rate, "rate", 0, "payments a second offered for the latencies (default: half of the peak)")
	flag.BoolVar(&o.steady, "steady", false, "measure at -rate alone, without looking for the peak")
	flag.DurationVar(&o.duration, "duration", 20*time.Second, "how long each part lasts, warm-up included")
	flag.DurationVar(&o.warm, "warm-up", 3*time.Second, "what is not counted at the beginning of each part")
	flag.StringVar(&o.set, "set", filepath.Join(cache, "comity", "cross.set"), "file of the data set; made when missing or outgrown")
	flag.StringVar(&o.data, "data", "", "folder for the ledgers (default: a new one beside the data set, removed afterwards)")
	flag.StringVar(&o.out, "out", "", "write the report to this Markdown file as well")
	flag.StringVar(&o.json, "json", "", "write the figures to this file as JSON; - for stdout instead of the report")
	flag.StringVar(&o.profile, "profile", "", "write a processor profile of every process but the driver, for each part, to this folder")
	flag.DurationVar(&o.pace, "pace", 20*time.Millisecond, "shortest time between two observations of a peer on a ledger; the default is that of comity bridge relay")
	flag.StringVar(&o.comity, "comity", "", "relay with this program's `bridge relay` instead of our own relayer")
	flag.BoolVar(&o.quiet, "quiet", false, "no progress")
	flag.Parse()
	return o
}

func (o *options) tell(format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// obtain loads the data set, or makes a new one when there is none that is large enough.
func obtain(ctx context.Context, o *options) (*set, error) {
	s, err := load(o.set)
	if err == nil {
		honest := 0
		for i := range s.Payments {
			if s.Payments[i].Honest {
				honest++
			}
		}
		if s.Ledgers == o.ledgers && honest >= o.honest && len(s.Payments)-honest >= o.payments {
			return s, nil
		}
		o.tell("the data set is of another size: making a new one")
	} else if !errors.Is(err, os.ErrNotExist) {
		o.tell("%v: making a new one", err)
	}
	if s, err = makeSet(ctx, spec{o.ledgers, o.honest, o.payments, uint64(time.Now().UnixMilli())}, o.tell); err != nil {
		return nil, fmt.Errorf("make the data set: %w", err)
	}
	return s, s.save(o.set)
}

// world is all processes but the driver.
type world struct {
	nodes, witnesses []*child
	relayer          *child
}

// all lists the processes in the order in which they are to end.
func (w *world) all() []*child {
	out := append([]*child(nil), w.nodes...)
	if w.relayer != nil {
		out = append([]*child{w.relayer}, out...)
	}
	return append(out, w.witnesses...)
}

func (w *world) stop() (err error) {
	for _, c := range w.all() {
		err = errors.Join(err, c.stop())
	}
	return err
}

func (w *world) ask(command string) (out []counters, err error) {
	for _, c := range w.all() {
		answer, err := c.ask(command)
		if err != nil {
			return nil, err
		}
		out = append(out, answer)
	}
	return out, nil
}

// startWorld starts witnesses, nodes, and what the two need of each other. The relayer comes once the ledgers have their prefix.
func startWorld(ctx context.Context, o *options, s *set, nations []*nation) (w *world, err error) {
	w = &world{}
	defer func() {
		if err != nil {
			err = errors.Join(err, w.stop())
		}
	}()
	base := config{Seed: s.Seed, Created: s.Created, Ledgers: s.Ledgers, Profile: o.profile}
	for i, n := range nations {
		c := base
		c.Ledger = i
		var urls []string
		for k := range n.witnesses {
			c.Role, c.Witness, c.Name = roleWitness, k, fmt.Sprintf("witness%d-%s", k+1, n.name)
			c.Data = filepath.Join(o.data, c.Name)
			p, err := startChild(ctx, c)
			if err != nil {
				return w, err
			}
			w.witnesses, urls = append(w.witnesses, p), append(urls, p.url)
		}
		c.Role, c.Name, c.URLs, c.Data = roleNode, "node-"+n.name, urls, filepath.Join(o.data, n.name)
		p, err := startChild(ctx, c)
		if err != nil {
			return w, err
		}
		w.nodes = append(w.nodes, p)
		for _, witness := range w.witnesses[len(w.witnesses)-len(n.witnesses):] {
			if _, err := witness.ask("follow " + p.url); err != nil {
				return w, err
			}
		}
	}
	return w, nil
}

// found logs the prefix of every ledger and gives the heights at which all proofs are anchored.
func found(ctx context.Context, s *set, w *world) (heights []uint64, err error) {
	for i, n := range w.nodes {
		client := dial(n.url)
		for _, one := range s.Prefix[i] {
			status, err := client.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
			if err != nil {
				return nil, err
			}
			// A ledger that runs by the clock may have logged state entries between those of the prefix.
			if tx, err := entry.DecodeTransaction(one.Entry); err == nil {
				for k := range tx.Legs {
					tx.Legs[k].Anchor = status.GetHeight()
				}
				one.Entry = tx.Encode()
			}
			if _, err := client.Submit(ctx, &ledgerv1.SubmitRequest{Entry: one.Entry, Segments: one.Segments}); err != nil {
				return nil, fmt.Errorf("an entry of the prefix of %s: %w", n.Name, err)
			}
		}
		status, err := client.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
		if err != nil {
			return nil, err
		}
		state, err := entry.DecodeState(status.GetState())
		if err != nil {
			return nil, err
		}
		if state.NoteRoot != s.NoteRoot[i] {
			return nil, fmt.Errorf("the note tree of %s is not the data set's after the prefix", n.Name)
		}
		heights = append(heights, state.Height)
	}
	return heights, nil
}

// measure does everything.
func measure(ctx context.Context, o options, stdout io.Writer) (err error) {
	s, err := obtain(ctx, &o)
	if err != nil {
		return err
	}
	nations, err := nationsOf(s.Seed, s.Ledgers, s.Created)
	if err != nil {
		return err
	}
	if o.data == "" {
		if o.data, err = os.MkdirTemp(filepath.Dir(o.set), "cross-ledgers-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.data)
	}
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o700); err != nil {
			return err
		}
	}
	w, err := startWorld(ctx, &o, s, nations)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.stop()) }()
	heights, err := found(ctx, s, w)
	if err != nil {
		return err
	}
	var urls []string
	for _, n := range w.nodes {
		urls = append(urls, n.url)
	}
	if o.comity != "" {
		w.relayer, err = startShipped(ctx, &o, nations, urls)
	} else {
		w.relayer, err = startChild(ctx, config{Role: roleRelayer, Name: "relayer", Seed: s.Seed, Created: s.Created, Ledgers: s.Ledgers, URLs: urls, Profile: o.profile, Pace: o.pace})
	}
	if err != nil {
		return err
	}
	d, err := newDriver(ctx, nations, urls)
	if err != nil {
		return err
	}
	for i, h := range heights {
		d.sides[i].height = h
	}
	r := &report{Command: strings.TrimSpace("go run ./bench/cross " + strings.Join(os.Args[1:], " ")), Ledgers: o.ledgers, Flying: o.flying}
	err = d.ready()
	if err == nil {
		err = drive(&o, s, w, d, r)
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	if err := d.close(); err != nil {
		return err
	}
	r.Machine = machine.Describe()
	return r.write(&o, stdout)
}

// drive measures the parts.
func drive(o *options, s *set, w *world, d *driver, r *report) error {
	left := s.Payments
	// Honest payments come evenly among the others.
	rand.New(rand.NewPCG(1, 2)).Shuffle(len(left), func(i, j int) { left[i], left[j] = left[j], left[i] })
	// one measures a part with at most a share of the payments that are left.
	one := func(name string, rate, share float64) (*part, error) {
		o.tell("%s", name)
		if _, err := w.ask("start"); err != nil {
			return nil, err
		}
		cpu, busy, ticks := machine.CPU(), load1(), machineTicks()
		got, used, err := d.run(left[:int(share*float64(len(left)))], rate, o.flying, o.duration, o.warm)
		if err != nil {
			return nil, err
		}
		cpu = machine.CPU() - cpu
		now := machineTicks()
		counters, err := w.ask("stop")
		if err != nil {
			return nil, err
		}
		left = left[used:]
		p := newPart(name, rate, got, busy)
		for i, c := range w.all() {
			p.add(c.config, counters[i])
		}
		p.Processes = append(p.Processes, process{Name: "driver (payers, providers)", CPU: millis(cpu), RSS: peakRSS(os.Getpid())})
		p.finish(ticks, now)
		o.tell("  %.0f payments/s, to both final p50 %v p99 %v", p.Rate, p.Total.P50, p.Total.P99)
		r.Parts = append(r.Parts, p)
		return p, nil
	}
	if o.steady {
		if o.rate <= 0 {
			return errors.New("-steady wants a -rate")
		}
		_, err := one("open loop at "+strconv.FormatFloat(o.rate, 'g', -1, 64)+" payments/s", o.rate, 1)
		return err
	}
	peak, err := one("peak, closed loop", 0, 0.5)
	if err != nil {
		return err
	}
	if peak.Counted < o.flying {
		// Less than one round of the loop says nothing about its rate, and the other parts are shares of it.
		return fmt.Errorf("%d payments became final in the part for the peak with %d on their way: give a longer -duration or fewer -flying", peak.Counted, o.flying)
	}
	if _, err = one("open loop at nine tenths of the peak", 0.9*peak.Rate, 0.6); err != nil {
		return err
	}
	rate, name := o.rate, "open loop at "+strconv.FormatFloat(o.rate, 'g', -1, 64)+" payments/s"
	if rate == 0 {
		rate, name = peak.Rate/2, "open loop at half of the peak"
	}
	if _, err = one(name, rate, 0.5); err != nil {
		return err
	}
	_, err = one("open loop at the floor of the issue", floor, 1)
	return err
}

// floor is what the bridge must do at least, in payments a second.
const floor = 50

// write prints the report where the flags say.
func (r *report) write(o *options, stdout io.Writer) error {
	figures, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	figures = append(figures, '\n')
	if o.json == "-" {
		if _, err := stdout.Write(figures); err != nil {
			return err
		}
	} else {
		if o.json != "" {
			if err := os.WriteFile(o.json, figures, 0o644); err != nil {
				return err
			}
		}
		r.print(stdout)
	}
	if o.out == "" {
		return nil
	}
	// What people wrote about the figures stays.
	var text bytes.Buffer
	r.print(&text)
	if before, err := os.ReadFile(o.out); err == nil {
		if at := bytes.Index(before, []byte(notes)); at >= 0 {
			text.Write(before[at:])
		}
	} else if !errors.Is(err, os.ErrNotExist) {
		return err
	}
	return os.WriteFile(o.out, text.Bytes(), 0o644)
}

// notes begins what people add to a report.
const notes = "\n## Notes\n"
