// Command bench measures what a ledger does on this machine, prints all of it, and records it with plots.
//
//	go run ./bench                                  everything, about 12 minutes; writes bench/results/speed.md and its plots
//	go run ./bench -quick                           everything at small sizes, about two minutes; prints alone
//	go run ./bench -only latency,flood -out DIR     some of it, to another folder
//	go run ./bench -readme README.md                everything, and the table of goals into a document
//
// What runs is the program comity, built from this tree, in a process of its own: on disk, over mutual TLS, with telemetry on and a witness that
// cosigns. Every goal is a ratio or a figure of one run. Benchmarks of the parts are in the test files: each also runs once, with a small
// size, as a test, so that none rots. The folder load sends payments to one ledger, cross across several.
//
// The packages below this folder may forge proofs with zk/setup/simulator, which nothing else outside tests may.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/bench/plot"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/verifier"
)

// options are the flags.
type options struct {
	quick             bool
	only              string
	set, out, readme  string
	work, comity      string
	postgres, quietly bool
}

// sections in the order of a run.
var sections = []struct {
	name, what string
	run        func(*bench, context.Context) error
}{
	{"ceiling", "each stage alone: proofs, hashing, admission, network, stores, witness", (*bench).ceiling},
	{"load", "the whole at its peak; what TLS and telemetry cost", (*bench).load},
	{"latency", "latency against throughput, and past capacity", (*bench).latency},
	{"flood", "honest throughput while another caller floods with invalid proofs", (*bench).flood},
	{"sizes", "the same load on ledgers with 1, 10 and 50 million nullifiers", (*bench).sizes},
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == dropFlag {
		if err := runDrop(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: drop:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o, err := parse(os.Args[1:])
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err == nil {
		scale := full
		if o.quick {
			scale = quick
		}
		err = run(ctx, o, scale, os.Args[1:], os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func parse(args []string) (options, error) {
	var o options
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	f := flag.NewFlagSet("bench", flag.ContinueOnError)
	f.BoolVar(&o.quick, "quick", false, "small sizes: that everything runs, in about two minutes; the figures say little")
	f.StringVar(&o.only, "only", "", "sections to run, separated by commas (default: all)")
	f.StringVar(&o.set, "set", "", "file of the data set; made when missing or outgrown (default: "+filepath.Join("comity", "load.set")+" in the user's cache)")
	f.StringVar(&o.out, "out", "", "folder for speed.md and its plots (default: bench/results, with -quick none)")
	f.StringVar(&o.readme, "readme", "", "put the table of goals between the marks in this file too, after a run of all sections")
	f.StringVar(&o.work, "work", "", "folder for ledgers, on the disk that is to be measured; 8 GB (default: beside the data set)")
	f.StringVar(&o.comity, "comity", "", "the comity program to measure (default: built from this tree)")
	f.BoolVar(&o.postgres, "postgres", true, "measure PostgreSQL too, where its programs are")
	f.BoolVar(&o.quietly, "quiet", false, "no progress")
	f.Usage = func() {
		fmt.Fprintf(f.Output(), "go run ./bench [flags]\n\nIt measures the speed of a ledger and prints a report. Sections:\n\n")
		for _, s := range sections {
			fmt.Fprintf(f.Output(), "  %-8s %s\n", s.name, s.what)
		}
		fmt.Fprintf(f.Output(), "\nFlags:\n\n")
		f.PrintDefaults()
	}
	if err := f.Parse(args); err != nil {
		return o, err
	}
	for name := range strings.SplitSeq(o.only, ",") {
		if o.only != "" && !slices.ContainsFunc(sections[:], func(s struct {
			name, what string
			run        func(*bench, context.Context) error
		}) bool {
			return s.name == name
		}) {
			return o, fmt.Errorf("-only: there is no section %q", name)
		}
	}
	if o.set == "" {
		o.set = filepath.Join(cache, "comity", "load.set")
		if o.quick {
			o.set = filepath.Join(cache, "comity", "quick.set")
		}
	}
	if o.work == "" {
		o.work = filepath.Dir(o.set)
	}
	if o.out == "" && !o.quick {
		o.out = filepath.Join("bench", "results")
	}
	return o, nil
}

// scaleOf is how much of everything a run does.
type scaleOf struct {
	spec dataset.Spec

	stage      time.Duration // each stage alone
	rounds     int           // of every comparison
	transfers  int           // in a round of the whole at its peak
	disburses  int
	step       time.Duration // of latency against throughput
	shares     []float64     // of the peak, that are offered
	flood      int           // honest transfers in each part
	flooders   int           // calls of 32 that the flood keeps under way
	nullifiers []int         // sizes of a ledger
	inPostgres []int
	old        int // spent notes that are spent again in each round on a ledger of a size
	round      int // transfers in that round
}

var full = scaleOf{
	spec:  dataset.Spec{HonestTransfers: 100, HonestDisburses: 10, SimulatedTransfers: 64000, SimulatedDisburses: 15000},
	stage: 3 * time.Second, rounds: 5, transfers: 20000, disburses: 15000, step: 10 * time.Second, shares: shares, flood: 12800, flooders: 16,
	nullifiers: []int{1_000_000, 10_000_000, 50_000_000}, inPostgres: []int{1_000_000, 10_000_000}, old: 1000, round: 20000,
}

var quick = scaleOf{
	spec:  dataset.Spec{HonestTransfers: 2, HonestDisburses: 1, SimulatedTransfers: 2400, SimulatedDisburses: 400},
	stage: 300 * time.Millisecond, rounds: 1, transfers: 1500, disburses: 400, step: 400 * time.Millisecond, shares: shares, flood: 400, flooders: 16,
	nullifiers: []int{20_000, 100_000}, inPostgres: []int{10_000}, old: 40, round: 700,
}

// bench is a run.
type bench struct {
	options
	scaleOf
	data      *dataset.Set
	transfers []dataset.Item // honest ones among the simulated, mixed
	disburses []dataset.Item
	founded   int // ledgers made so far
	verifier  *verifier.Set
	proofs    map[zk.CircuitID][]verifier.Job // for verification alone; both nil before the first
	report    *report

	costs, rates []plot.Series // of ledgers of different sizes, by kind of store
}

func run(ctx context.Context, o options, scale scaleOf, args []string, stdout io.Writer) (err error) {
	b := &bench{options: o, scaleOf: scale}
	b.report = newReport(machine.Describe(), strings.TrimSpace("go run ./bench "+strings.Join(args, " ")), o.quick)
	if b.data, err = dataset.Obtain(ctx, o.set, b.spec, b.tell); err != nil {
		return err
	}
	// The driver holds the data set and shares the machine with the node: it collects its garbage rarely.
	debug.SetGCPercent(400)
	b.transfers = mixed(b.data, dataset.HonestTransfer, dataset.SimulatedTransfer)
	b.disburses = mixed(b.data, dataset.HonestDisburse, dataset.SimulatedDisburse)
	if b.work, err = os.MkdirTemp(o.work, "bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(b.work)) }()
	if b.comity == "" {
		b.tell("building comity")
		b.comity = filepath.Join(b.work, "comity")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", b.comity, "./cmd/comity").CombinedOutput(); err != nil {
			return fmt.Errorf("build comity: %w: %s", err, out)
		}
	} else if b.comity, err = filepath.Abs(b.comity); err != nil {
		return err
	}
	for _, s := range sections {
		if o.only != "" && !slices.Contains(strings.Split(o.only, ","), s.name) {
			continue
		}
		b.tell("%s: %s", s.name, s.what)
		began := time.Now()
		failed := s.run(b, ctx)
		if ctx.Err() != nil {
			return ctx.Err()
		}
		if failed != nil {
			b.tell("%s failed: %v", s.name, failed)
			b.report.failed(s.name, failed)
			err = errors.Join(err, fmt.Errorf("%s: %w", s.name, failed))
		}
		b.report.took(s.name, time.Since(began))
		if o.out != "" { // what was measured so far is kept, whatever happens next
			if werr := b.report.write(o.out); werr != nil {
				return errors.Join(err, werr)
			}
		}
	}
	b.report.memoryGoal()
	if o.out != "" {
		err = errors.Join(err, b.report.write(o.out))
	}
	if o.readme != "" && o.only == "" && err == nil {
		err = b.report.quote(o.readme)
	}
	b.report.print(stdout)
	return err
}

func (b *bench) tell(format string, args ...any) {
	if !b.quietly {
		fmt.Fprintf(os.Stderr, "%s "+format+"\n", append([]any{time.Now().Format("15:04:05")}, args...)...)
	}
}
