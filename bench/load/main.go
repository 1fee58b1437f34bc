// Command load asks what a whole ledger does: it starts a real node in a process of its own, with a store on disk, its RPC on loopback
// and a witness, and sends it payments with real proofs until all are durable.
//
//	go run ./bench/load
//	go run ./bench/load -transfers 50000 -disbursements 3000 -report bench/results/load.md
//	go run ./bench/load -transfers 20000 -disbursements 0 -rate 1500
//
// The proofs are made once and kept (-set). A few hundred are honest; the others are simulated from the development trapdoor, which
// costs the node exactly the same. The report says which is which, and splits the node's processor time by what it was spent on.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement/entry"
)

// options are the flags.
type options struct {
	set, data, report                        string
	honest, honestDisburse                   int
	transfers, disbursements                 int
	doubles, invalid, rate                   float64
	workers, batch, disburseBatch, nodeBatch int
	procs                                    int
	quiet                                    bool
}

// childFlag makes the process a node instead of a driver.
const childFlag = "-node"

func main() {
	if len(os.Args) > 1 && os.Args[1] == childFlag {
		if err := runNode(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "load: node:", err)
			os.Exit(1)
		}
		return
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, parse()); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func parse() options {
	var o options
	cache, err := os.UserCacheDir()
	if err != nil {
		cache = os.TempDir()
	}
	flag.StringVar(&o.set, "set", filepath.Join(cache, "comity", "load.set"), "file of the data set; made when missing or outgrown")
	flag.StringVar(&o.data, "data", "", "folder for the ledger (default: a new one beside the data set, removed afterwards)")
	flag.StringVar(&o.report, "report", "", "write the report to this Markdown file as well")
	flag.IntVar(&o.honest, "honest", 200, "honestly proven transfers in the data set")
	flag.IntVar(&o.honestDisburse, "honest-disbursements", 20, "honestly proven disbursements in the data set")
	flag.IntVar(&o.transfers, "transfers", 20000, "simulated 2x2 transfers to send; 0 leaves that part out")
	flag.IntVar(&o.disbursements, "disbursements", 5000, "simulated 1x64 disbursements to send; 0 leaves that part out")
	flag.Float64Var(&o.doubles, "doubles", 0, "double spends for each transfer")
	flag.Float64Var(&o.invalid, "invalid", 0, "invalid proofs for each transfer")
	flag.Float64Var(&o.rate, "rate", 0, "offer this many transactions a second, for the latency below the peak (default: as many as are answered)")
	flag.IntVar(&o.workers, "workers", 32, "calls in flight")
	flag.IntVar(&o.batch, "batch", 32, "transfers in a call")
	flag.IntVar(&o.disburseBatch, "disbursement-batch", 16, "disbursements in a call")
	flag.IntVar(&o.nodeBatch, "node-batch", 0, "proofs that the node checks at once (default: the node's own)")
	flag.IntVar(&o.procs, "procs", 0, "GOMAXPROCS of the node (default: all processors)")
	flag.BoolVar(&o.quiet, "quiet", false, "no progress")
	flag.Parse()
	return o
}

func run(ctx context.Context, o options) error {
	set, err := obtain(ctx, &o)
	if err != nil {
		return err
	}
	if o.data == "" {
		if o.data, err = os.MkdirTemp(filepath.Dir(o.set), "load-ledger-"); err != nil {
			return err
		}
		defer os.RemoveAll(o.data)
	}
	witness, stopWitness, err := rig.Witness(set, filepath.Join(o.data, "witness"))
	if err != nil {
		return fmt.Errorf("start the witness: %w", err)
	}
	defer stopWitness()
	n, err := startNode(ctx, &o, set, witness)
	if err != nil {
		return err
	}
	r := &report{Options: o, Command: "go run ./bench/load " + strings.Join(os.Args[1:], " ")}
	if err := drive(ctx, &o, set, n, r); err != nil {
		return errors.Join(err, n.stop())
	}
	if err := n.stop(); err != nil {
		return err
	}
	r.print(os.Stdout)
	if o.report != "" {
		f, err := os.Create(o.report)
		if err != nil {
			return err
		}
		r.print(f)
		return f.Close()
	}
	return nil
}

func (o *options) tell(format string, args ...any) {
	if !o.quiet {
		fmt.Fprintf(os.Stderr, format+"\n", args...)
	}
}

// obtain loads the data set, or makes a new one when there is none that is large enough.
func obtain(ctx context.Context, o *options) (*dataset.Set, error) {
	return dataset.Obtain(ctx, o.set, dataset.Spec{
		HonestTransfers: o.honest, HonestDisburses: o.honestDisburse, SimulatedTransfers: o.transfers, SimulatedDisburses: o.disbursements,
	}, o.tell)
}

// child is the node's process.
type child struct {
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	url string
}

func startNode(ctx context.Context, o *options, set *dataset.Set, witness string) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	c := &child{cmd: exec.CommandContext(ctx, self, childFlag)}
	c.cmd.Stderr = os.Stderr
	if c.in, err = c.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := c.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := c.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the node: %w", err)
	}
	c.out = json.NewDecoder(stdout)
	cfg := nodeConfig{
		Data: filepath.Join(o.data, "ledger"), Genesis: set.Genesis, Seed: set.Seed, Witness: witness, Batch: o.nodeBatch, Procs: o.procs,
	}
	if err := json.NewEncoder(c.in).Encode(cfg); err != nil {
		return nil, errors.Join(fmt.Errorf("configure the node: %w", err), c.stop())
	}
	if err := c.out.Decode(&c.url); err != nil {
		return nil, errors.Join(fmt.Errorf("the node did not start: %w", err), c.stop())
	}
	return c, nil
}

func (c *child) ask(command string, answer any) error {
	if err := json.NewEncoder(c.in).Encode(command); err != nil {
		return fmt.Errorf("tell the node to %s: %w", command, err)
	}
	if err := c.out.Decode(answer); err != nil {
		return fmt.Errorf("the node's answer to %s: %w", command, err)
	}
	return nil
}

func (c *child) stop() error {
	_ = c.in.Close()
	if err := c.cmd.Wait(); err != nil {
		return fmt.Errorf("the node: %w", err)
	}
	return nil
}

// drive puts the money there and then sends the payments, transfers and disbursements apart.
func drive(ctx context.Context, o *options, set *dataset.Set, n *child, r *report) error {
	first := rig.NewDriver(n.url, 1)
	o.tell("issuing")
	for _, item := range set.Prefix {
		done, err := first.Run(ctx, []dataset.Item{item}, rig.Plan{Workers: 1, Batch: 1})
		if err != nil {
			return err
		}
		if done.Accepted() != 1 {
			return fmt.Errorf("an entry of the prefix was refused: %v", done.Classes[item.Class].Refused)
		}
	}
	status, err := first.Status(ctx)
	if err != nil {
		return err
	}
	state, err := entry.Decode(status.GetState())
	if err != nil {
		return fmt.Errorf("state entry: %w", err)
	}
	if s, ok := state.(*entry.State); !ok || s.NoteRoot != set.NoteRoot {
		return errors.New("the ledger's note tree is not the data set's after the prefix")
	}
	part := func(name string, batch int, honest, simulated dataset.Class, limit int, spoil bool) error {
		items := pick(set, honest, simulated, limit)
		if len(items) == 0 || limit == 0 {
			return nil
		}
		if spoil {
			spoiled, err := set.Spoil(int(o.doubles*float64(len(items))), int(o.invalid*float64(len(items))))
			if err != nil {
				return err
			}
			items = append(items, spoiled...)
		}
		for i := range items {
			if err := items[i].AnchorAt(status.GetHeight()); err != nil {
				return err
			}
		}
		shuffle(items)
		o.tell("sending %s: %d entries", name, len(items))
		var started string
		if err := n.ask("start", &started); err != nil {
			return err
		}
		done, err := rig.NewDriver(n.url, o.workers).Run(ctx, items, rig.Plan{Workers: o.workers, Batch: batch, Rate: o.rate})
		if err != nil {
			return err
		}
		p := part{Name: name, Outcome: done, Rate: o.rate}
		if err := n.ask("stop", &p.Node); err != nil {
			return err
		}
		r.Parts = append(r.Parts, p)
		return nil
	}
	if err := part("2x2 transfers", o.batch, dataset.HonestTransfer, dataset.SimulatedTransfer, o.transfers, true); err != nil {
		return err
	}
	return part("1x64 disbursements", o.disburseBatch, dataset.HonestDisburse, dataset.SimulatedDisburse, o.disbursements, false)
}

// pick returns all honest items and up to limit simulated ones.
func pick(set *dataset.Set, honest, simulated dataset.Class, limit int) (items []dataset.Item) {
	for _, item := range set.Items {
		switch {
		case item.Class == honest:
			items = append(items, item)
		case item.Class == simulated && limit > 0:
			limit--
			items = append(items, item)
		}
	}
	return slices.Clone(items)
}

// shuffle mixes the classes, the same way every time.
func shuffle(items []dataset.Item) {
	mrand.New(mrand.NewPCG(1, 2)).Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
}
