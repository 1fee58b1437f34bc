package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"runtime/pprof"
	"syscall"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
	"github.com/comity-ledger/comity/zk/setup"
)

// counters is what the node's process says about itself between "start" and "stop".
type counters struct {
	CPU        time.Duration            // user and system
	Kinds      map[string]time.Duration // CPU by kind, from a profile of the same span
	Proofs     uint64
	Batches    uint64
	Blocks     uint64
	Accepted   uint64
	Refused    uint64
	Proving    time.Duration // wall time inside the stage
	Sequencing time.Duration
	Storing    time.Duration
	Cosigning  time.Duration
	DiskBytes  int64 // size of the data folder at the end
	PeakRSS    int64 // bytes, since the process started
}

// nodeConfig is what the driver tells the node's process.
type nodeConfig struct {
	Data    string
	Genesis []byte
	Seed    [32]byte
	Witness string // URL
	Batch   int
	Procs   int
}

// runNode is the node's process: a store on disk, the node, and its RPC on a loopback port. It reads its configuration and then
// commands from stdin, a line of JSON each, and answers on stdout.
func runNode(stdin io.Reader, stdout io.Writer) error {
	ctx := context.Background()
	in := json.NewDecoder(bufio.NewReader(stdin))
	out := json.NewEncoder(stdout)
	var cfg nodeConfig
	if err := in.Decode(&cfg); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	if cfg.Procs > 0 {
		runtime.GOMAXPROCS(cfg.Procs)
	}
	debug.SetGCPercent(200) // a settlement node has memory to spare: half the collections
	n, store, err := openNode(ctx, &cfg)
	if err != nil {
		return err
	}
	defer store.Close()
	server, err := rpc.New(rpc.Config{Ledger: edge{n}, Version: "load"})
	if err != nil {
		return err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	serving, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- server.Serve(serving, listener) }()
	if err := out.Encode("http://" + listener.Addr().String()); err != nil {
		return err
	}
	err = obey(in, out, n, cfg.Data)
	stop()
	return errors.Join(err, <-served, n.Stop(ctx))
}

func openNode(ctx context.Context, cfg *nodeConfig) (*node.Node, settlement.Store, error) {
	genesis, err := entry.DecodeGenesis(cfg.Genesis)
	if err != nil {
		return nil, nil, err
	}
	secrets, err := dataset.SecretsOf(cfg.Seed)
	if err != nil {
		return nil, nil, err
	}
	_, block, err := settlement.Begin(genesis)
	if err != nil {
		return nil, nil, err
	}
	opener, err := pebblestore.New(pebblestore.Config{Dir: cfg.Data})
	if err != nil {
		return nil, nil, err
	}
	store, err := opener.Create(ctx, block)
	if err != nil {
		return nil, nil, err
	}
	set, err := setup.Verifier(0)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	signer, err := proof.NewLogSigner(genesis.Origin, secrets.Log)
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	n, err := node.Start(ctx, node.Config{
		Store: store, Verifier: dataset.Verifier{Set: set}, Signer: signer,
		Witnesses: []journal.Endpoint{{Name: dataset.WitnessName, URL: cfg.Witness}},
		Log:       slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn})),
		Limits:    node.Limits{Batch: cfg.Batch},
	})
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return n, store, nil
}

// obey answers "start" and "stop" until stdin ends.
func obey(in *json.Decoder, out *json.Encoder, n *node.Node, data string) error {
	var before node.Status
	var cpu time.Duration
	var profiled bytes.Buffer
	for {
		var command string
		if err := in.Decode(&command); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		switch command {
		case "start":
			profiled.Reset()
			before, cpu = n.Status(), machine.CPU()
			if err := pprof.StartCPUProfile(&profiled); err != nil {
				return err
			}
			if err := out.Encode("started"); err != nil {
				return err
			}
		case "stop":
			pprof.StopCPUProfile()
			now := n.Status()
			kinds, err := rig.Split(&profiled)
			if err != nil {
				return err
			}
			c := counters{
				CPU: machine.CPU() - cpu, Kinds: kinds, Proofs: now.Proofs - before.Proofs, Batches: now.Batches - before.Batches,
				Blocks: now.Blocks - before.Blocks, Accepted: now.Accepted - before.Accepted, Refused: now.Refused - before.Refused,
				Proving: now.Proving - before.Proving, Sequencing: now.Sequencing - before.Sequencing,
				Storing: now.Storing - before.Storing, Cosigning: now.Cosigning - before.Cosigning,
				DiskBytes: sizeOf(data), PeakRSS: peakRSS(),
			}
			if err := out.Encode(c); err != nil {
				return err
			}
		default:
			return fmt.Errorf("unknown command %q", command)
		}
	}
}

func sizeOf(dir string) (total int64) {
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil // a file that went away meanwhile counts nothing
	})
	return total
}

func peakRSS() int64 {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return u.Maxrss * 1024
}

// edge gives the node the form that the RPC asks for.
type edge struct{ *node.Node }

// Submit settles one entry.
func (e edge) Submit(ctx context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	r, err := e.Node.Submit(ctx, leaf, segments)
	if err != nil {
		return rpc.Accepted{}, err
	}
	return rpc.Accepted{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height, Before: r.Status == settlement.SettledBefore}, nil
}

// Status is where the ledger stands.
func (e edge) Status(context.Context) (rpc.Status, error) {
	s := e.Node.Status()
	return rpc.Status{State: s.State, Size: s.Size, FinalSize: s.FinalSize, Pending: s.Waiting, UptimeSeconds: uint64(s.Uptime.Seconds())}, nil
}
