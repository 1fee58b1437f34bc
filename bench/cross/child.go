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
	"net/http"
	"os"
	"os/exec"
	"runtime/debug"
	"runtime/pprof"
	"strings"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
	"github.com/comity-ledger/comity/zk/setup"
)

// childFlag makes the process one of the parties instead of the driver.
const childFlag = "-child"

// Roles of processes.
const (
	roleNode    = "node"
	roleWitness = "witness"
	roleRelayer = "relayer"
)

// config is what the driver tells a process, as its first line of stdin. A process answers with its URL when it is ready.
type config struct {
	Role    string
	Name    string // for people, and of its profile
	Seed    [32]byte
	Created uint64
	Ledgers int
	Ledger  int    // node and witness
	Witness int    // witness: which of its ledger's
	Data    string // node and witness: folder
	URLs    []string
	Profile string        // folder for profiles, or nothing
	Pace    time.Duration // relayer: between two observations of a peer on a ledger
}

// counters is what a process says about itself between "start" and "stop".
type counters struct {
	CPU     time.Duration // user and system
	PeakRSS int64         // bytes, since the process started
	Node    *stages       // of a node
	Relayer *relayed      // of the relayer
}

// stages is what a node did, and its wall time inside each stage.
type stages struct {
	Proofs, Batches, Blocks, Accepted, Refused                  uint64
	Admitting, Proving, Sequencing, Storing, Cosigning, Elapsed time.Duration
}

// party is what runs in a process.
type party interface {
	url() string
	// tell takes a command that is not about measuring.
	tell(command string) error
	measure(c *counters, begin bool)
	close() error
}

// runChild is a process: it reads its configuration and then commands from stdin, a JSON string each, and answers on stdout.
func runChild(stdin io.Reader, stdout io.Writer) error {
	in, out := json.NewDecoder(bufio.NewReader(stdin)), json.NewEncoder(stdout)
	var c config
	if err := in.Decode(&c); err != nil {
		return fmt.Errorf("read the configuration: %w", err)
	}
	debug.SetGCPercent(200) // servers have memory to spare: half the collections
	nations, err := nationsOf(c.Seed, c.Ledgers, c.Created)
	if err != nil {
		return err
	}
	var p party
	switch c.Role {
	case roleNode:
		p, err = newNode(&c, nations[c.Ledger])
	case roleWitness:
		p, err = newWitness(&c, nations[c.Ledger])
	case roleRelayer:
		p, err = newRelayer(&c, nations)
	default:
		err = fmt.Errorf("unknown role %q", c.Role)
	}
	if err != nil {
		return fmt.Errorf("%s: %w", c.Name, err)
	}
	if err := out.Encode(p.url()); err != nil {
		return errors.Join(err, p.close())
	}
	return errors.Join(obey(in, out, &c, p), p.close())
}

func obey(in *json.Decoder, out *json.Encoder, c *config, p party) error {
	var cpu time.Duration
	part := 0
	var profiled bytes.Buffer
	for {
		var command string
		if err := in.Decode(&command); errors.Is(err, io.EOF) {
			return nil
		} else if err != nil {
			return err
		}
		var answer counters
		switch command {
		case "start":
			p.measure(&answer, true)
			cpu = machine.CPU()
			if c.Profile != "" {
				profiled.Reset()
				if err := pprof.StartCPUProfile(&profiled); err != nil {
					return err
				}
			}
		case "stop":
			part++
			if c.Profile != "" {
				pprof.StopCPUProfile()
				if err := os.WriteFile(fmt.Sprintf("%s/%s-%d.prof", c.Profile, c.Name, part), profiled.Bytes(), 0o600); err != nil {
					return err
				}
			}
			answer.CPU, answer.PeakRSS = machine.CPU()-cpu, peakRSS(os.Getpid())
			p.measure(&answer, false)
		default:
			if err := p.tell(command); err != nil {
				return err
			}
		}
		if err := out.Encode(answer); err != nil {
			return err
		}
	}
}

// peakRSS is the most memory that a process ever held, in bytes. What getrusage says of that goes back to the process that started it.
func peakRSS(pid int) int64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	for line := range strings.Lines(string(b)) {
		var kilobytes int64
		if n, err := fmt.Sscanf(line, "VmHWM: %d kB", &kilobytes); err == nil && n == 1 {
			return kilobytes << 10
		}
	}
	return 0
}

func logger() *slog.Logger {
	return slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelWarn}))
}

// ledgerNode is a node with its store and its RPC on a loopback port.
type ledgerNode struct {
	node   *node.Node
	store  settlement.Store
	listen net.Listener
	stop   context.CancelFunc
	served chan error
	before node.Status
	since  time.Time
}

func newNode(c *config, n *nation) (*ledgerNode, error) {
	ctx := context.Background()
	_, block, err := settlement.Begin(n.genesis)
	if err != nil {
		return nil, err
	}
	opener, err := pebblestore.New(pebblestore.Config{Dir: c.Data})
	if err != nil {
		return nil, err
	}
	l := &ledgerNode{served: make(chan error, 1)}
	if l.store, err = opener.Create(ctx, block); err != nil {
		return nil, err
	}
	fail := func(err error) (*ledgerNode, error) { return nil, errors.Join(err, l.store.Close()) }
	set, err := setup.Verifier(0)
	if err != nil {
		return fail(err)
	}
	signer, err := proof.NewLogSigner(n.genesis.Origin, n.log)
	if err != nil {
		return fail(err)
	}
	var witnesses []journal.Endpoint
	for i, w := range n.witnesses {
		witnesses = append(witnesses, journal.Endpoint{Name: w.name, URL: c.URLs[i]})
	}
	l.node, err = node.Start(ctx, node.Config{Store: l.store, Verifier: proofs{set}, Signer: signer, Witnesses: witnesses, Log: logger(),
		Limits: node.Limits{StartWait: time.Millisecond}}) // the witnesses do not know where to read yet
	if err != nil {
		return fail(err)
	}
	fail = func(err error) (*ledgerNode, error) {
		return nil, errors.Join(err, l.node.Stop(ctx), l.store.Close())
	}
	server, err := rpc.New(rpc.Config{Ledger: edge{l.node}, Version: "cross", Log: logger()})
	if err != nil {
		return fail(err)
	}
	if l.listen, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		return fail(err)
	}
	ctx, l.stop = context.WithCancel(ctx)
	go func() { l.served <- server.Serve(ctx, l.listen) }()
	return l, nil
}

func (l *ledgerNode) url() string { return "http://" + l.listen.Addr().String() }

func (l *ledgerNode) tell(command string) error { return fmt.Errorf("unknown command %q", command) }

func (l *ledgerNode) measure(c *counters, begin bool) {
	now := l.node.Status()
	if begin {
		l.before, l.since = now, time.Now()
	}
	b := &l.before
	c.Node = &stages{Proofs: now.Proofs - b.Proofs, Batches: now.Batches - b.Batches, Blocks: now.Blocks - b.Blocks, Accepted: now.Accepted - b.Accepted,
		Refused: now.Refused - b.Refused, Admitting: now.Admitting - b.Admitting, Proving: now.Proving - b.Proving, Sequencing: now.Sequencing - b.Sequencing,
		Storing: now.Storing - b.Storing, Cosigning: now.Cosigning - b.Cosigning, Elapsed: time.Since(l.since)}
}

func (l *ledgerNode) close() error {
	l.stop()
	err := errors.Join(<-l.served, l.node.Stop(context.Background()))
	return errors.Join(err, l.store.Close())
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

// dial makes a client for a ledger on loopback with room for many calls at once.
func dial(url string) ledgerv1connect.LedgerServiceClient {
	transport := &http.Transport{DialContext: (&net.Dialer{Timeout: 5 * time.Second}).DialContext, MaxIdleConnsPerHost: 64, DisableCompression: true}
	return ledgerv1connect.NewLedgerServiceClient(&http.Client{Transport: transport}, url, connect.WithAcceptCompression("gzip", nil, nil),
		connect.WithReadMaxBytes(256<<20))
}

// child is a process as the driver sees it.
type child struct {
	config
	cmd *exec.Cmd
	in  io.WriteCloser
	out *json.Decoder
	url string

	shipped bool          // another program than this one
	before  time.Duration // of a shipped one: its processor time at the last "start"
}

func startChild(ctx context.Context, c config) (*child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	p := &child{config: c, cmd: exec.CommandContext(ctx, self, childFlag)}
	p.cmd.Stderr = os.Stderr
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", c.Name, err)
	}
	p.out = json.NewDecoder(stdout)
	if err := json.NewEncoder(p.in).Encode(c); err != nil {
		return nil, errors.Join(fmt.Errorf("configure %s: %w", c.Name, err), p.stop())
	}
	if err := p.out.Decode(&p.url); err != nil {
		return nil, errors.Join(fmt.Errorf("%s did not start: %w", c.Name, err), p.stop())
	}
	return p, nil
}

func (p *child) ask(command string) (counters, error) {
	if p.shipped {
		return p.measureShipped(command)
	}
	var answer counters
	if err := json.NewEncoder(p.in).Encode(command); err != nil {
		return answer, fmt.Errorf("tell %s to %s: %w", p.Name, command, err)
	}
	if err := p.out.Decode(&answer); err != nil {
		return answer, fmt.Errorf("the answer of %s to %s: %w", p.Name, strings.Fields(command)[0], err)
	}
	return answer, nil
}

func (p *child) stop() error {
	if p.shipped {
		return p.stopShipped()
	}
	_ = p.in.Close()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.Name, err)
	}
	return nil
}
