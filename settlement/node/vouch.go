package node

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Where several nodes run a ledger, each checks the proofs of what it is asked to settle (L12.8). A node that follows is the same pipeline with
// another end: admit, prove, and then relay instead of sequence. What it cannot judge, because it depends on a state that may be behind or on a
// clock, it leaves to the node that sequences.

// peers is what a node has of the others of its ledger.
type peers struct {
	// vouchers is nil where this node gives none and believes none.
	vouchers *settlement.Vouchers
	// forward hands entries to the node that sequences. The answers stand in the order of the entries; an error means that nothing is known
	// of any of them. nil: this node forwards nothing.
	forward func(ctx context.Context, entries []Forwarded) ([]Answer, error)
}

// newVouchers derives the secret of the nodes of a ledger from the log key that all of them hold.
func newVouchers(genesis *entry.Genesis, signer *proof.LogSigner) (*settlement.Vouchers, error) {
	secret, err := signer.Secret("comity vouchers v1", genesis.Hash())
	if err != nil {
		return nil, fmt.Errorf("derive the secret of vouchers: %w", err)
	}
	return settlement.NewVouchers(genesis, secret), nil
}

type voucherKey struct{}

// WithVoucher gives a submission under ctx the voucher that came with it from another node of the ledger. One that does not hold is as good as
// none.
func WithVoucher(ctx context.Context, voucher []byte) context.Context {
	if len(voucher) == 0 {
		return ctx
	}
	return context.WithValue(ctx, voucherKey{}, voucher)
}

// spread counts how verification is shared among nodes.
type spread struct {
	vouched           atomic.Uint64 // proofs checked here and vouched for
	believed, refused atomic.Uint64 // proofs taken on another node's voucher; and vouchers that did not hold
	relayed, left     atomic.Uint64 // entries forwarded: with a voucher, and without
	calls             atomic.Uint64 // in so many calls
}

// believe tells whether another node of the ledger has checked the proofs of a candidate, which is marked as proven then.
func (n *Node) believe(ctx context.Context, c *settlement.Candidate) bool {
	voucher, _ := ctx.Value(voucherKey{}).([]byte)
	switch {
	case n.seq == nil || n.cfg.peers == nil || n.cfg.peers.vouchers == nil || len(voucher) == 0:
		return false
	case !n.cfg.peers.vouchers.Believe(c, voucher):
		n.spread.refused.Add(1)
		return false
	}
	n.spread.believed.Add(uint64(len(c.Jobs)))
	return true
}

// settledByBytes are the refusals of admission that rest on the entry's bytes and genesis alone. A node that follows answers these by itself;
// every other may be the fault of its own state or clock, and is for the node that sequences to say.
var settledByBytes = map[entry.Code]bool{
	entry.WrongLedger: true, entry.UnknownCircuit: true, entry.SegmentMismatch: true, entry.Oversize: true,
	entry.SignerUnknown: true, entry.SignerRepeated: true, entry.SignatureInvalid: true, entry.SignaturesMissing: true,
}

// leaves reports whether the node leaves an entry that it refused at admission to the node that sequences.
func (n *Node) leaves(refusal error) bool {
	return n.seq == nil && !settledByBytes[entry.CodeOf(refusal)]
}

// left is the task of an entry that the node that sequences judges.
func left(sub *settlement.Submission) *task {
	return &task{candidate: &settlement.Candidate{Submission: sub}, ready: true, answer: make(chan outcome, 1)}
}

// behind is how long an entry waits for a node that follows to apply the block that the entry stands on, before it is left to the node that
// sequences; and lag how many blocks away that may be.
const (
	behind = 250 * time.Millisecond
	lag    = 64
)

// reach gives the state to admit a submission by. In a node that follows, that is one which has the submission's anchors, if they come soon.
func (n *Node) reach(ctx context.Context, sub *settlement.Submission) *settlement.State {
	state := n.state.Load()
	if n.seq != nil {
		return state
	}
	var newest uint64
	for _, height := range sub.AnchorHeights() {
		newest = max(newest, height)
	}
	if newest <= state.Height() || newest > state.Height()+lag {
		return state
	}
	brief, done := context.WithTimeout(ctx, behind)
	defer done()
	n.hurry()
	_ = n.WaitBlock(brief, newest) // admission says what is missing
	return n.state.Load()
}

// pass gives an admitted entry to its next stage.
func (n *Node) pass(t *task) {
	if t.ready {
		n.proven <- t // never blocks: it has room for every waiting entry
		return
	}
	n.lanes.put(t)
}

// observeSpread offers the counters to a meter, as Node.observe does.
func (n *Node) observeSpread(meter metric.Meter) (func() error, error) {
	proofs, err1 := meter.Int64ObservableCounter("comity.voucher.proofs", metric.WithUnit("{proof}"),
		metric.WithDescription("proofs vouched for among the nodes of the ledger: given by this node, or believed from another"))
	refused, err2 := meter.Int64ObservableCounter("comity.voucher.refused", metric.WithUnit("{entry}"),
		metric.WithDescription("vouchers that do not hold; the proofs were checked here"))
	entries, err3 := meter.Int64ObservableCounter("comity.forward.entries", metric.WithUnit("{entry}"),
		metric.WithDescription("entries handed to the node that sequences, with a voucher or without"))
	calls, err4 := meter.Int64ObservableCounter("comity.forward.calls", metric.WithUnit("{call}"), metric.WithDescription("calls in which they were"))
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		return nil, fmt.Errorf("make instruments: %w", err)
	}
	label := func(name, value string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String(name, value)))
	}
	s := &n.spread
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(proofs, capped(s.vouched.Load()), label("result", "given"))
		o.ObserveInt64(proofs, capped(s.believed.Load()), label("result", "believed"))
		o.ObserveInt64(refused, capped(s.refused.Load()))
		o.ObserveInt64(entries, capped(s.relayed.Load()), label("voucher", "given"))
		o.ObserveInt64(entries, capped(s.left.Load()), label("voucher", "none"))
		o.ObserveInt64(calls, capped(s.calls.Load()))
		return nil
	}, proofs, refused, entries, calls)
	if err != nil {
		return nil, fmt.Errorf("register instruments: %w", err)
	}
	return registration.Unregister, nil
}
