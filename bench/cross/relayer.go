package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/comity-ledger/comity/bridge"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// relayed is what a relayer did.
type relayed struct {
	Plans, Observes, Resolves, Batches int
	Refused                            map[string]int
}

// relayer carries proofs between the ledgers as bridge.Relay plans it. It follows every log, plans whenever a block or a checkpoint came, and
// sends what it may do on one ledger in one call: at most one observation of each peer's newest checkpoint, and every resolution that the
// last observations allow. It proves from its own copy of the logs.
type relayer struct {
	mirrors []*mirror
	byHash  map[entry.GenesisHash]*mirror
	stop    context.CancelCauseFunc
	ctx     context.Context
	wait    sync.WaitGroup
	wake    chan struct{}

	mu        sync.Mutex // guards what follows, and the mirrors
	relay     *bridge.Relay
	observed  map[bridge.Corridor]uint64 // size that was sent and not refused
	resolving map[entry.HoldID]bool      // sent and not refused
	done      relayed
	before    relayed
}

func newRelayer(c *config, nations []*nation) (*relayer, error) {
	r := &relayer{byHash: map[entry.GenesisHash]*mirror{}, wake: make(chan struct{}, 1), observed: map[bridge.Corridor]uint64{}, resolving: map[entry.HoldID]bool{},
		done: relayed{Refused: map[string]int{}}}
	from := map[entry.GenesisHash]uint64{}
	for i, n := range nations {
		m, err := newMirror(n, c.URLs[i])
		if err != nil {
			return nil, err
		}
		r.mirrors, r.byHash[n.hash], from[n.hash] = append(r.mirrors, m), m, 0
	}
	r.relay = bridge.NewRelay(from)
	r.ctx, r.stop = context.WithCancelCause(context.Background())
	for _, m := range r.mirrors {
		m.follow(r.ctx, &r.wait, &r.mu, r.moved, r.stop)
	}
	r.wait.Go(r.run)
	return r, nil
}

// moved reads a block into the plan. Called with mu held.
func (r *relayer) moved(m *mirror, b *ledgerv1.Block) {
	for i, leaf := range b.GetEntries() {
		if err := r.relay.Add(m.hash, b.GetFirstIndex()+uint64(i), leaf); err != nil {
			r.stop(err)
			return
		}
	}
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// entryLife is how long what the relayer sends stays valid.
const entryLife = 10 * time.Minute

// maxCall is how many entries one call has.
const maxCall = 512

// run plans and sends until the relayer ends.
func (r *relayer) run() {
	for {
		select {
		case <-r.wake:
		case <-r.ctx.Done():
			if err := context.Cause(r.ctx); !errors.Is(err, context.Canceled) {
				logger().Error("the relayer stops", "error", err)
			}
			return
		}
		r.mu.Lock()
		calls, err := r.plan()
		r.mu.Unlock()
		if err != nil {
			r.stop(err)
			continue
		}
		for on, c := range calls {
			r.wait.Go(func() { r.send(r.byHash[on], c) })
		}
	}
}

// call is what is sent to one ledger at once: refused says what to forget of an entry that was not accepted.
type call struct {
	request *ledgerv1.SubmitBatchRequest
	forget  []func()
	observe int
}

func (c *call) add(e entry.Entry, forget func()) {
	c.request.Entries, c.forget = append(c.request.Entries, &ledgerv1.SubmitRequest{Entry: entry.Encode(e)}), append(c.forget, forget)
}

// plan makes the calls that are due and are not on their way. Called with mu held.
func (r *relayer) plan() (map[entry.GenesisHash]*call, error) {
	now := time.Now()
	plan := r.relay.Plan(bridge.Options{NowMillis: uint64(now.UnixMilli()), Fresh: true})
	expiry := uint64(now.Add(entryLife).UnixMilli())
	r.done.Plans++
	calls := map[entry.GenesisHash]*call{}
	to := func(on entry.GenesisHash) *call {
		if calls[on] == nil {
			calls[on] = &call{request: &ledgerv1.SubmitBatchRequest{}}
		}
		return calls[on]
	}
	for _, o := range plan.Observes {
		peer, c := r.byHash[o.Peer], bridge.Corridor{On: o.On, Peer: o.Peer}
		if peer.final.Size < o.AtLeast || r.observed[c] > o.Last {
			continue // not final yet, or on its way
		}
		e, err := peer.observation(entry.Header{Ledger: o.On, ExpiryMillis: expiry}, o.Last)
		if err != nil {
			return nil, fmt.Errorf("show %s to %s: %w", o.Peer, o.On, err)
		}
		r.observed[c] = e.Size
		to(o.On).observe++
		to(o.On).add(e, func() { delete(r.observed, c) })
	}
	still := make(map[entry.HoldID]bool, len(plan.Resolves))
	for i := range plan.Resolves {
		a := &plan.Resolves[i]
		if still[a.Hold] = true; r.resolving[a.Hold] || len(to(a.On).forget) >= maxCall {
			still[a.Hold] = r.resolving[a.Hold]
			continue
		}
		if slices.ContainsFunc(a.Peers, func(p bridge.PeerLeaf) bool { return p.Size > uint64(len(r.byHash[p.Ledger].leaves)) }) {
			delete(still, a.Hold) // another relayer showed what has not come to us yet
			continue
		}
		var peers []entry.PeerProof
		for _, leaf := range a.Peers {
			p, err := r.byHash[leaf.Ledger].prove(leaf.Index, leaf.Size)
			if err != nil {
				return nil, fmt.Errorf("prove entry %d of %s: %w", leaf.Index, leaf.Ledger, err)
			}
			peers = append(peers, *p)
		}
		to(a.On).add(a.Entry(expiry, peers), func() { delete(r.resolving, a.Hold) })
	}
	r.resolving = still
	maps.DeleteFunc(calls, func(_ entry.GenesisHash, c *call) bool { return len(c.forget) == 0 })
	return calls, nil
}

// send sends a call; what was not accepted is planned again.
func (r *relayer) send(on *mirror, c *call) {
	answer, err := on.client.SubmitBatch(r.ctx, c.request)
	if r.ctx.Err() != nil {
		return
	}
	again := false
	r.mu.Lock()
	defer r.mu.Unlock()
	r.done.Batches++
	r.done.Observes += c.observe
	r.done.Resolves += len(c.forget) - c.observe
	for i, forget := range c.forget {
		switch {
		case err != nil:
			forget()
			again = true
		case answer.GetResults()[i].GetRefused() != nil:
			forget()
			again = true
			r.done.Refused[answer.GetResults()[i].GetRefused().GetCode()]++
		}
	}
	if err != nil {
		r.done.Refused["call failed"]++
		logger().Warn("a call of the relayer failed", "error", err)
	}
	if again {
		time.AfterFunc(10*time.Millisecond, func() {
			select {
			case r.wake <- struct{}{}:
			default:
			}
		})
	}
}

func (r *relayer) url() string { return "" }

func (r *relayer) tell(command string) error { return fmt.Errorf("unknown command %q", command) }

func (r *relayer) measure(c *counters, begin bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if begin {
		r.before = r.done
		r.before.Refused = maps.Clone(r.done.Refused)
	}
	b := &r.before
	c.Relayer = &relayed{r.done.Plans - b.Plans, r.done.Observes - b.Observes, r.done.Resolves - b.Resolves, r.done.Batches - b.Batches, map[string]int{}}
	for code, n := range r.done.Refused {
		if n -= b.Refused[code]; n > 0 {
			c.Relayer.Refused[code] = n
		}
	}
}

func (r *relayer) close() error {
	r.stop(nil)
	r.wait.Wait()
	return nil
}
