package relayer

import (
	"context"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// task is one thing to be done on a ledger. Equal tasks of two plans are one.
type task struct {
	on, peer entry.GenesisHash // peer of an observation or of evidence
	hold     entry.HoldID      // of a resolution
	leaf     uint64            // of a claim: the decision, and 1
	fork     bool              // evidence of a fork
}

// attempt says when a task may be tried again.
type attempt struct {
	size  uint64 // an observation: leaves that were shown
	after time.Time
}

// item is an entry to be sent. make asks the ledgers' nodes where the mirrors do not reach.
type item struct {
	task task
	make func(context.Context) (entry.Entry, error)
}

// fetched is a checkpoint of a peer for one corridor, whose terms the peer's newest one does not meet.
type fetched struct {
	signed  []byte
	size    uint64
	loading bool
}

// plan makes the calls that are due and says when to look again at the latest. What has to be fetched first is fetched meanwhile. Called with mu held.
func (r *Relayer) plan(ctx context.Context, work *sync.WaitGroup) (calls map[*follower][]item, again time.Duration) {
	now := time.Now()
	again = rest
	plan := r.relay.Plan(bridge.Options{NowMillis: uint64(now.UnixMilli()), Fresh: r.cfg.Fresh})
	r.plans++
	calls = map[*follower][]item{}
	still := make(map[task]*attempt, len(plan.Resolves)+len(plan.Observes))
	// due tells whether a task is to be tried now, and keeps what is known of it.
	due := func(t task) *attempt {
		a := r.tasks[t]
		if a == nil {
			a = &attempt{}
		}
		still[t] = a
		if wait := a.after.Sub(now); wait > 0 {
			again = min(again, wait)
			return nil
		}
		return a
	}
	add := func(a *attempt, i item) {
		if on := r.byHash[i.task.on]; len(calls[on]) < MaxCall {
			calls[on] = append(calls[on], i)
			a.after = now.Add(flight)
		}
	}
	for _, x := range plan.Accusations {
		t := task{on: x.On, peer: x.Peer, fork: true}
		if a := due(t); a != nil {
			add(a, item{t, func(context.Context) (entry.Entry, error) { return x.Entry(r.byHash[x.On].expiry()), nil }})
		}
	}
	for _, o := range plan.Observes {
		t := task{on: o.On, peer: o.Peer}
		c := bridge.Corridor{On: o.On, Peer: o.Peer}
		if a := r.tasks[t]; a != nil && a.size > 0 && o.Last >= a.size { // what was sent is in the log
			a.size, a.after = 0, r.paced[c].Add(r.cfg.Pace)
		} else if a == nil {
			r.tasks[t] = &attempt{after: r.paced[c].Add(r.cfg.Pace)}
		}
		if a := due(t); a != nil {
			r.observe(ctx, work, o, a, func(signed []byte, size uint64) {
				add(a, item{t, func(ctx context.Context) (entry.Entry, error) { return r.observation(ctx, o, signed) }})
				a.size, r.paced[c] = size, now
			})
		}
	}
	for i := range plan.Resolves {
		x := &plan.Resolves[i]
		t := task{on: x.On, hold: x.Hold}
		if slices.ContainsFunc(x.Peers, func(p bridge.PeerLeaf) bool { return p.Size > r.byHash[p.Ledger].mirror.Size() }) {
			still[t] = &attempt{} // another relayer showed what has not come to us yet
			continue
		}
		if a := due(t); a != nil {
			add(a, item{t, func(ctx context.Context) (entry.Entry, error) {
				peers := make([]entry.PeerProof, len(x.Peers))
				for i, leaf := range x.Peers {
					var err error
					if peers[i], err = r.prove(ctx, leaf); err != nil {
						return nil, err
					}
				}
				return x.Entry(r.byHash[x.On].expiry(), peers), nil
			}})
		}
	}
	for _, x := range plan.Claims {
		t := task{on: x.On, peer: x.Leaf.Ledger, leaf: x.Leaf.Index + 1}
		if a := due(t); a != nil {
			add(a, item{t, func(ctx context.Context) (entry.Entry, error) {
				p, err := r.prove(ctx, x.Leaf)
				if err != nil {
					return nil, err
				}
				return x.Entry(r.byHash[x.On].expiry(), &p), nil
			}})
		}
	}
	r.tasks = still
	return calls, again
}

// expiry is that of an entry that anybody may send: it lives half as long as the ledger allows, ten minutes at most.
func (f *follower) expiry() uint64 {
	life := min(uint64(10*time.Minute/time.Millisecond), f.Genesis.MaxExpiryMillis/2)
	return uint64(time.Now().UnixMilli()) + max(1, life)
}

// observe finds the checkpoint for an observation and hands it to show: the peer's newest one, or one that the corridor's terms accept, which is
// fetched first. Called with mu held.
func (r *Relayer) observe(ctx context.Context, work *sync.WaitGroup, o bridge.Observe, a *attempt, show func(signed []byte, size uint64)) {
	peer, c := r.byHash[o.Peer], bridge.Corridor{On: o.On, Peer: o.Peer}
	terms := r.relay.Terms(o.On, o.Peer)
	head, signed := peer.mirror.Final()
	if head.Size < o.AtLeast {
		return // not final yet: its checkpoint wakes us
	}
	if cosigned(signed, terms) {
		show(signed, head.Size)
		return
	}
	got := r.shown[c]
	if got == nil {
		got = &fetched{}
		r.shown[c] = got
	}
	if got.size >= o.AtLeast && got.size <= peer.mirror.Size() {
		show(got.signed, got.size)
		return
	}
	if got.loading {
		return
	}
	got.loading = true
	work.Go(func() {
		signed, err := peer.Ledger.Checkpoint(ctx, max(o.AtLeast, o.Last+1), wait, terms)
		if err == nil {
			err = r.checkpoint(peer, signed)
		}
		r.cfg.Failed("checkpoint for "+r.byHash[o.On].Name, peer.Member, err)
		r.mu.Lock()
		got.loading = false
		if err == nil {
			got.signed, got.size = signed, sizeOf(signed)
		}
		switch {
		case err != nil:
			a.after = time.Now().Add(rest)
		case got.size < o.AtLeast || got.size > peer.mirror.Size():
			a.after = time.Now().Add(soon) // the blocks under it are not here yet
		}
		r.mu.Unlock()
		r.nudge()
	})
}

// cosigned tells whether a checkpoint bears the names that terms ask for: a quorum, and one witness of the corridor's own nation. The ledger checks
// the signatures.
func cosigned(signed []byte, terms *entry.CorridorTerms) bool {
	if terms == nil {
		return false
	}
	n, own := 0, false
	for _, w := range terms.Witnesses {
		if strings.Contains(string(signed), "\n\u2014 "+w.Name+" ") {
			n++
			own = own || w.Own
		}
	}
	return own && n >= int(terms.Quorum)
}

// sizeOf reads the size out of a checkpoint.
func sizeOf(signed []byte) uint64 {
	text, _, ok := strings.Cut(string(signed), "\n\n")
	if !ok {
		return 0
	}
	c, err := proof.ParseCheckpoint(text + "\n")
	if err != nil {
		return 0
	}
	return c.Size
}

// observation makes the entry. What lies before the window of the mirror comes from the peer's node.
func (r *Relayer) observation(ctx context.Context, o bridge.Observe, signed []byte) (entry.Entry, error) {
	h, peer := entry.Header{Ledger: o.On, ExpiryMillis: r.byHash[o.On].expiry()}, r.byHash[o.Peer]
	r.mu.Lock()
	e, err := peer.mirror.Observation(h, signed, o.Last)
	r.mu.Unlock()
	if bridge.CodeOf(err) != bridge.BeforeWindow {
		return e, err
	}
	text, _, _ := strings.Cut(string(signed), "\n\n")
	c, err := proof.ParseCheckpoint(text + "\n")
	if err != nil {
		return nil, err
	}
	e = &entry.Observe{Header: h, Peer: o.Peer, Size: c.Size, Root: c.Root, Checkpoint: signed}
	if o.Last > 0 {
		if e.Consistency, err = peer.Ledger.Consistency(ctx, o.Last, c.Size); err != nil {
			return nil, err
		}
	}
	if e.State, err = peer.Ledger.Entry(ctx, c.Size-1); err != nil {
		return nil, err
	}
	if e.StatePath, err = peer.Ledger.Inclusion(ctx, c.Size-1, c.Size); err != nil {
		return nil, err
	}
	return e, nil
}

// prove shows a leaf, from the mirror or else from its ledger's node.
func (r *Relayer) prove(ctx context.Context, leaf bridge.PeerLeaf) (entry.PeerProof, error) {
	peer := r.byHash[leaf.Ledger]
	r.mu.Lock()
	p, err := peer.mirror.Prove(leaf)
	r.mu.Unlock()
	if bridge.CodeOf(err) == bridge.BeforeWindow {
		p = entry.PeerProof{Size: leaf.Size, Index: leaf.Index, Leaf: leaf.Leaf}
		p.Path, err = peer.Ledger.Inclusion(ctx, leaf.Index, leaf.Size)
	}
	return p, err
}

// send makes the entries of a call and sends them. What was refused is tried again later: at once where it passes by itself, not before the log
// shows it where another relayer was faster.
func (r *Relayer) send(ctx context.Context, on *follower, items []item) {
	var entries []entry.Entry
	var sent []task
	for _, i := range items {
		e, err := i.make(ctx)
		r.cfg.Failed("prove "+i.task.String(), on.Member, err)
		if err != nil {
			r.later(i.task, rest)
			continue
		}
		entries, sent = append(entries, e), append(sent, i.task)
	}
	if len(entries) == 0 {
		return
	}
	results, err := on.Ledger.Submit(ctx, entries)
	if ctx.Err() != nil {
		return
	}
	r.cfg.Failed("send", on.Member, err)
	for i, t := range sent {
		if err != nil {
			r.later(t, soon)
			continue
		}
		switch refused := results[i].Err; entry.CodeOf(refused) {
		case "":
			if refused != nil {
				r.later(t, rest)
			} else {
				r.mu.Lock()
				r.did++
				r.mu.Unlock()
				r.cfg.Did(Did{on.Member, entries[i], results[i].Index})
			}
			r.cfg.Failed(t.String(), on.Member, refused)
		case entry.HoldResolved, entry.NullifierSpent, entry.HoldUnknown, entry.PeerCheckpointOld, entry.CorridorFrozen: // another relayer was faster: the log will show it
			r.later(t, rest)
		case entry.TryLater, entry.PeerSizeUnknown, entry.HoldNotExpired, entry.Expired:
			r.later(t, soon)
		default:
			r.cfg.Failed(t.String(), on.Member, refused)
			r.later(t, rest)
		}
	}
	r.nudge()
}

// later lets a task be tried again after a while.
func (r *Relayer) later(t task, d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a := r.tasks[t]; a != nil {
		a.size, a.after = 0, time.Now().Add(d)
	}
}

// String names a task for people.
func (t task) String() string {
	switch {
	case t.fork:
		return "show the fork of " + t.peer.String()
	case t.leaf > 0:
		return "show a late decision of " + t.peer.String()
	case t.hold != (entry.HoldID{}):
		return "resolve " + t.hold.String()
	}
	return "observe " + t.peer.String()
}
