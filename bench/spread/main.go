// Command spread asks what it saves the node that writes when another node of its ledger checks the proofs of what comes in there.
//
//	go run ./bench/spread                              about three minutes; needs the programs of PostgreSQL
//	go run ./bench/spread -report bench/results/spread.md
//
// Two nodes of one ledger run as processes of the program comity on a PostgreSQL server of their own, each with GOMAXPROCS=1. The same kind of load
// comes in at the leader, at the follower, at both, and at a follower that leaves verification to the leader; turn and turn about, so that what else
// the machine does falls on all alike. What is stated is processor time of each node for a transfer, and ratios within the run: how fast the whole is
// on a machine that nodes, database and driver share says little.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
)

// options are the flags.
type options struct {
	set, report              string
	transfers, rounds        int
	workers, batch           int
	program, folder, command string
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	o := options{}
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	flag.StringVar(&o.set, "set", filepath.Join(cache, "comity", "load.set"), "file of the data set; made when missing or outgrown")
	flag.StringVar(&o.report, "report", "", "write the report to this Markdown file as well")
	flag.IntVar(&o.transfers, "transfers", 1000, "transfers of one turn")
	flag.IntVar(&o.rounds, "rounds", 3, "turns of each way in")
	flag.IntVar(&o.workers, "workers", 8, "calls in flight")
	flag.IntVar(&o.batch, "batch", 32, "transfers in a call")
	flag.Parse()
	o.command = fmt.Sprintf("go run ./bench/spread -transfers %d -rounds %d -workers %d -batch %d", o.transfers, o.rounds, o.workers, o.batch)
	// A server for tests wants a test to belong to. testing.Benchmark gives one to a program; it runs what takes more than a second once.
	begun := false
	testing.Benchmark(func(b *testing.B) {
		if !begun {
			begun = true
			err = run(ctx, o, pgtest.Start(b).URL)
		}
	})
	if !begun {
		err = errors.New("no PostgreSQL server could be started here")
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "spread:", err)
		os.Exit(1)
	}
}

// way is how the load comes in.
type way struct {
	name             string
	leader, follower bool // the nodes that it is sent to
	everything       bool // --verify-everything
	spent            spent
}

// spent is what the turns of a way took.
type spent struct {
	transfers        int
	leader, follower time.Duration // processor time
	elapsed          time.Duration
	again            int // answers to try later
}

func run(ctx context.Context, o options, database func(name string) string) (err error) {
	tell := func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	ways := []*way{
		{name: "at the leader", leader: true},
		{name: "at the follower", follower: true},
		{name: "at both, half each", leader: true, follower: true},
		{name: "at the follower, with --verify-everything", follower: true, everything: true},
	}
	set, err := dataset.Obtain(ctx, o.set, dataset.Spec{HonestTransfers: 1, SimulatedTransfers: o.transfers * o.rounds * len(ways)}, tell)
	if err != nil {
		return err
	}
	if o.folder, err = os.MkdirTemp("", "comity-spread-"); err != nil {
		return err
	}
	defer os.RemoveAll(o.folder)
	o.program = filepath.Join(o.folder, "comity")
	if out, err := exec.CommandContext(ctx, "go", "build", "-o", o.program, "./cmd/comity").CombinedOutput(); err != nil {
		return fmt.Errorf("build comity: %w: %s", err, out)
	}
	founded, err := rig.Found(ctx, set, filepath.Join(o.folder, "data"), database("postgres"))
	if err != nil {
		return err
	}
	witness, stop, err := rig.Witness(set, filepath.Join(o.folder, "witness"))
	if err != nil {
		return err
	}
	defer stop()
	items := simulated(set)
	for _, everything := range []bool{false, true} {
		err := o.with(ctx, founded, witness, everything, func(p *pair) error {
			for range o.rounds {
				for _, w := range ways {
					if w.everything != everything {
						continue
					}
					tell("%d transfers %s", o.transfers, w.name)
					if err := p.turn(ctx, &o, w, items[:o.transfers]); err != nil {
						return err
					}
					items = items[o.transfers:]
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	text := report(o, ways)
	fmt.Print(text)
	if o.report != "" {
		return os.WriteFile(o.report, []byte(text), 0o644)
	}
	return nil
}

func simulated(set *dataset.Set) (out []dataset.Item) {
	for _, item := range set.Items {
		if item.Class == dataset.SimulatedTransfer {
			out = append(out, item)
		}
	}
	return out
}

func report(o options, ways []*way) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# Verification spread over two nodes\n\n%s\n\n`%s`\n\n", machine.Describe(), o.command)
	fmt.Fprintf(&b, "2x2 transfers with real proofs, %d in each of %d turns of each way in, %d calls of %d at once, in the clear on loopback; two nodes with GOMAXPROCS=1\n"+
		"on one PostgreSQL server. Nodes, database, witness and driver share the machine.\n\n", o.transfers, o.rounds, o.workers, o.batch)
	b.WriteString("| the load comes in | leader, µs a transfer | of the first row | follower, µs a transfer | transfers/s of the whole |\n|---|---:|---:|---:|---:|\n")
	each := func(d time.Duration, n int) float64 { return float64(d.Microseconds()) / float64(max(1, n)) }
	first := each(ways[0].spent.leader, ways[0].spent.transfers)
	for _, w := range ways {
		s := w.spent
		fmt.Fprintf(&b, "| %s | %.0f | %.2f | %.0f | %.0f |\n", w.name, each(s.leader, s.transfers), each(s.leader, s.transfers)/first, each(s.follower, s.transfers),
			float64(s.transfers)/s.elapsed.Seconds())
	}
	vouched, left := ways[1].spent, ways[3].spent
	fmt.Fprintf(&b, "\nProcessor time is of the whole process, everything included. A follower also applies every block, whoever took the transfers in: the first row shows what that costs it.\n"+
		"Where the follower vouches, the leader spends %.2f of what it spends on the same load when the follower only forwards (last row).\n",
		each(vouched.leader, vouched.transfers)/each(left.leader, left.transfers))
	return b.String()
}
