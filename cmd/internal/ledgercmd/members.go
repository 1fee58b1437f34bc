package ledgercmd

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/settlement/rpc"
	"github.com/comity-ledger/comity/zk"
)

// memberFlags are for one of several nodes of a ledger.
type memberFlags struct {
	name, advertise string
	lease           time.Duration
	recheck         bool
	verify          bool
}

// Bounds of --lease: shorter ones pass on whenever a machine is busy, longer ones keep a ledger standing still.
const (
	minLease = 500 * time.Millisecond
	maxLease = time.Minute
)

func (m *memberFlags) add(cmd *cobra.Command) {
	f := cmd.Flags()
	f.StringVar(&m.name, "node-name", "", "name of this node among those of the ledger; makes it one of several nodes that share --store")
	f.StringVar(&m.advertise, "advertise", "", "where the other nodes reach this one (default: the address that it listens on)")
	f.DurationVar(&m.lease, "lease", 3*time.Second, "how long the node that writes may be silent before another takes over")
	f.BoolVar(&m.recheck, "recheck", false, "check the proofs of blocks that other nodes wrote, beside everything else")
	f.BoolVar(&m.verify, "verify-everything", false, "check every proof on the node that writes: leave none to the node that was asked, and believe none that another has checked")
}

func (m *memberFlags) on() bool { return m.name != "" }

func (m *memberFlags) check(cmd *cobra.Command) error {
	if !m.on() {
		for _, flag := range []string{"advertise", "lease", "recheck", "verify-everything"} {
			if cmd.Flags().Changed(flag) {
				return cli.Usagef("--%s is for one of several nodes: give --node-name", flag)
			}
		}
		return nil
	}
	if err := doors.CheckName(m.name); err != nil {
		return cli.Usagef("--node-name: %w", err)
	}
	if m.lease < minLease || m.lease > maxLease {
		return cli.Usagef("--lease %v: want %v to %v", m.lease, minLease, maxLease)
	}
	if m.advertise != "" {
		url, err := cli.LedgerURL(m.advertise)
		if err != nil {
			return err
		}
		m.advertise = url
	}
	return nil
}

// running is what serves a ledger: its one node, or one of several.
type running interface {
	telemetry.Checks
	Submit(ctx context.Context, leaf []byte, segments [][]byte) (settlement.Result, error)
	Status() node.Status
	Stop(ctx context.Context) error
	Done() <-chan struct{}

	// What is read is as rpc.Ledger has it.
	Genesis() *entry.Genesis
	WaitBlock(ctx context.Context, height uint64) error
	Block(ctx context.Context, height uint64) (*settlement.Block, error)
	Receipt(ctx context.Context, index uint64) ([]byte, error)
	IndexOf(ctx context.Context, id entry.ID) (uint64, error)
	Checkpoint(ctx context.Context) (uint64, []byte, error)
	WaitCheckpoint(ctx context.Context, size uint64, enough func(cosigners []string) bool) (uint64, []byte, error)
	LatestCheckpoint(ctx context.Context) ([]byte, error)
	Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error)
	Entry(ctx context.Context, index uint64) ([]byte, uint64, error)
	Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error)
	Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error)
	Hold(id entry.HoldID) (settlement.Hold, bool)
	HoldsAfter(after entry.HoldID, limit int) ([]settlement.Hold, bool, uint64)
	Corridors() []settlement.Corridor
	Tile(ctx context.Context, level uint8, index uint64) ([]byte, error)
}

// start runs the ledger's one node or, with --node-name, joins the others. url is where this node answers.
func (m *memberFlags) start(ctx context.Context, cfg node.Config, url string, certificates *doors.Client) (running, error) {
	if !m.on() {
		return node.Start(ctx, cfg)
	}
	if m.advertise != "" {
		url = m.advertise
	}
	if m.recheck {
		cfg.Recheck = cfg.Verifier
	}
	caller := &http.Client{Transport: doors.Transport(certificates), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	forward := rpc.Forward(caller, m.name)
	member, err := node.Join(ctx, node.MemberConfig{
		Node: cfg, Name: m.name, URL: url, Lease: m.lease, VerifyEverything: m.verify, Forwarded: rpc.Forwarded,
		Forward: func(ctx context.Context, url string, entries []node.Forwarded) ([]node.Answer, error) {
			if _, _, err := doors.HTTP(url, certificates); err != nil { // the address comes out of the database
				return nil, err
			}
			return forwardBy(ctx, forward, url, entries)
		},
	})
	if errors.Is(err, node.ErrNoLease) {
		return nil, cli.Usagef("--node-name: several nodes share a PostgreSQL database: give --store")
	}
	if err != nil {
		return nil, err
	}
	return member, nil
}

// forwardBy hands entries of a node to another over the network edge.
func forwardBy(ctx context.Context, forward func(context.Context, string, []rpc.Sent) ([]rpc.Judged, error), url string, entries []node.Forwarded) ([]node.Answer, error) {
	sent := make([]rpc.Sent, len(entries))
	for i, e := range entries {
		sent[i] = rpc.Sent{Entry: e.Leaf, Segments: e.Segments, Lane: e.Lane, Voucher: e.Voucher, TraceParent: e.TraceParent}
	}
	got, err := forward(ctx, url, sent)
	answers := make([]node.Answer, len(got))
	for i, j := range got {
		status := settlement.Accepted
		if j.Before {
			status = settlement.SettledBefore
		}
		answers[i] = node.Answer{Result: settlement.Result{Status: status, ID: j.ID, EntryIndex: j.EntryIndex, Height: j.Height}, Err: j.Err}
	}
	return answers, err
}

// roleOf tells what one of several nodes does; nil for the one node of a ledger.
func roleOf(r running) *rpc.NodeStatus {
	m, ok := r.(*node.Member)
	if !ok {
		return nil
	}
	role := m.Role()
	return &rpc.NodeStatus{Name: role.Name, Leads: role.Leads, Leader: role.Leader, LeaderURL: role.URL, LeaseEpoch: role.Epoch}
}
