package node

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/replay"
)

// MemberConfig says how a node takes part in a ledger that several nodes share.
type MemberConfig struct {
	// Node is what every node works with. Its Store must be a settlement.Leaser.
	Node Config
	// Name tells the nodes of a ledger apart.
	Name string
	// URL is where other nodes forward what they are asked to settle.
	URL string
	// Lease is how long the node that sequences may be silent before another takes over. Default 3 s.
	Lease time.Duration
	// Forward hands entries to the node at a URL and returns its answers, in the order of the entries. An error means that nothing is known
	// of any of them. Without it a node that follows answers try_later.
	Forward func(ctx context.Context, url string, entries []Forwarded) ([]Answer, error)
	// Forwarded tells whether a call comes from another node, and so must not be forwarded again. nil: none does.
	Forwarded func(ctx context.Context) bool
	// VerifyEverything makes the node believe no voucher and give none: each proof is checked by the node that sequences.
	VerifyEverything bool
}

// Errors of members.
var (
	// ErrNoLease: the store is not one that several nodes share.
	ErrNoLease = errors.New("node: the store keeps no lease")
	// errLost: another node holds the lease.
	errLost = errors.New("node: another node holds the lease")
)

// Member is one of several nodes of a ledger. While it holds the lease it sequences; otherwise it follows the blocks of the node that does,
// answers everything that is read, and forwards what is submitted. It changes between the two without a restart: each role is a Node of its
// own, and a caller that waits for something goes on waiting with the next.
//
// The lease decides only who tries. A node that believes in a lease it has lost is fenced by the store at its next block.
type Member struct {
	cfg   MemberConfig
	store settlement.Leaser
	log   *slog.Logger

	node    atomic.Pointer[Node]
	changed *bell // rings when node has changed

	mu    sync.Mutex             // guards what follows; run alone changes it
	watch *settlement.LeaseWatch // by the clock since start
	term  context.Context        // ends when the lease passes to another holder
	pass  context.CancelFunc

	start time.Time
	blind bool // the last look at the lease failed; used by run alone

	ctx    context.Context // ends when the member stops
	cancel context.CancelCauseFunc
	once   sync.Once
	ended  chan struct{} // closed when run and the last node have ended
	stop   chan context.Context
}

// Join rebuilds the state from the store and takes part. It takes the lease if that is free, or was held by a node of the same name, and
// follows otherwise. ctx bounds the start alone.
func Join(ctx context.Context, cfg MemberConfig) (*Member, error) {
	cfg.Node = cfg.Node.withDefaults()
	if cfg.Lease == 0 {
		cfg.Lease = 3 * time.Second
	}
	store, ok := cfg.Node.Store.(settlement.Leaser)
	if !ok {
		return nil, ErrNoLease
	}
	state, err := replay.Restore(ctx, store, parallel, cfg.Node.Progress)
	if err != nil {
		return nil, err
	}
	m := &Member{cfg: cfg, store: store, log: cfg.Node.Log.With("node", cfg.Name), changed: newBell(), start: time.Now(),
		watch: settlement.NewLeaseWatch(cfg.Name, rand.Text(), cfg.Lease), ended: make(chan struct{}), stop: make(chan context.Context, 1)}
	m.cfg.Node.Log = m.log
	m.cfg.Node.peers = &peers{}
	if cfg.Forward != nil {
		m.cfg.Node.peers.forward = m.forward
	}
	if !cfg.VerifyEverything {
		if m.cfg.Node.peers.vouchers, err = newVouchers(state.Genesis(), cfg.Node.Signer); err != nil {
			return nil, err
		}
	}
	m.ctx, m.cancel = context.WithCancelCause(context.Background())
	m.term, m.pass = context.WithCancel(m.ctx)
	n, err := begin(ctx, m.cfg.Node, state, nil)
	if err != nil {
		return nil, err
	}
	m.node.Store(n)
	m.look(ctx)
	m.follow(ctx)
	if err := m.Err(); err != nil {
		<-m.node.Load().ended
		return nil, err
	}
	go m.run()
	return m, nil
}

// tick is how often a member looks at the lease.
func (m *Member) tick() time.Duration { return min(m.cfg.Lease/12, 100*time.Millisecond) }

// bounded is the context of one look at the lease or change of it.
func (m *Member) bounded() (context.Context, func()) {
	return context.WithTimeout(m.ctx, m.cfg.Lease/2)
}

func (m *Member) run() {
	defer close(m.ended)
	tick := time.NewTicker(m.tick())
	defer tick.Stop()
	for m.ctx.Err() == nil {
		n := m.node.Load()
		select {
		case <-n.ended:
		case <-tick.C:
		case ctx := <-m.stop:
			m.leave(ctx)
			return
		}
		ctx, done := m.bounded()
		if n.seq != nil {
			m.lead(ctx)
		} else {
			m.look(ctx)
			m.follow(m.ctx)
		}
		done()
	}
}

// clock is what the lease is watched by: it never goes back, and says nothing to other nodes.
func (m *Member) clock() time.Duration { return time.Since(m.start) }

// note changes what this node makes of the lease.
func (m *Member) note(change func(w *settlement.LeaseWatch, now, late time.Duration)) {
	m.mu.Lock()
	before, known := m.watch.View()
	change(m.watch, m.clock(), mathrand.N(m.cfg.Lease/8))
	lease, _ := m.watch.View()
	passed := known && before.Holder != lease.Holder
	if passed {
		m.pass()
		m.term, m.pass = context.WithCancel(m.ctx)
	}
	m.mu.Unlock()
	if passed {
		m.log.Info("the lease has passed on", "holder", lease.Holder, "url", lease.URL, "epoch", lease.Epoch)
	}
}

// ask gives an answer of what this node makes of the lease.
func ask[T any](m *Member, question func(w *settlement.LeaseWatch, now time.Duration) T) T {
	m.mu.Lock()
	defer m.mu.Unlock()
	return question(m.watch, m.clock())
}

// seen is the lease as this node saw it last, none before it saw one.
func (m *Member) seen() settlement.Lease {
	return ask(m, func(w *settlement.LeaseWatch, _ time.Duration) settlement.Lease {
		lease, _ := w.View()
		return lease
	})
}

func (m *Member) stale() bool {
	return ask(m, func(w *settlement.LeaseWatch, now time.Duration) bool { return w.Stale(now) })
}

// sure: no other node can lead yet (L12.9).
func (m *Member) sure() bool {
	return ask(m, func(w *settlement.LeaseWatch, now time.Duration) bool { return w.Sure(now) })
}

// rest puts the next attempt to take the lease off.
func (m *Member) rest(d time.Duration) {
	m.note(func(w *settlement.LeaseWatch, now, _ time.Duration) { w.Rest(now + d) })
}

// look reads the lease.
func (m *Member) look(ctx context.Context) {
	lease, err := m.store.Lease(ctx)
	m.note(func(w *settlement.LeaseWatch, now, late time.Duration) {
		if err != nil {
			w.Missed()
		} else {
			w.Saw(lease, now, late)
		}
	})
	if err != nil && !m.blind && m.ctx.Err() == nil {
		m.log.Warn("the lease cannot be read", "error", err)
	}
	m.blind = err != nil
}

// write changes the lease from a serial.
func (m *Member) write(ctx context.Context, serial uint64, holder string, epoch uint64) (bool, error) {
	lease := settlement.Lease{Holder: holder, URL: m.cfg.URL, Millis: uint64(m.cfg.Lease.Milliseconds()), Epoch: epoch}
	sent := m.clock()
	changed, err := m.store.ChangeLease(ctx, serial, lease)
	if err == nil && changed {
		m.note(func(w *settlement.LeaseWatch, now, late time.Duration) { w.Wrote(serial, lease, sent, now, late) })
	}
	return changed, err
}

// renew writes the lease as this node last wrote it, with an epoch.
func (m *Member) renew(ctx context.Context, epoch uint64) (bool, error) {
	serial := ask(m, func(w *settlement.LeaseWatch, _ time.Duration) uint64 { return w.Serial() })
	return m.write(ctx, serial, m.watch.Me(), epoch)
}

// lead renews the lease of a node that sequences, and makes it follow when it must not go on.
func (m *Member) lead(ctx context.Context) {
	n := m.node.Load()
	if n.ctx.Err() != nil {
		m.demote(n)
		return
	}
	if !ask(m, func(w *settlement.LeaseWatch, now time.Duration) bool { return w.MustRenew(now) }) {
		return
	}
	changed, err := m.renew(ctx, n.seq.Epoch())
	if err == nil && changed {
		return
	}
	// Either the lease is another's, or an earlier change of ours was not answered.
	lease, read := m.store.Lease(ctx)
	if err := errors.Join(err, read); err != nil && (read != nil || lease.Holder == m.watch.Me()) {
		if m.ctx.Err() == nil && n.ctx.Err() == nil {
			m.log.Warn("the lease was not renewed", "error", err)
		}
		m.note(func(w *settlement.LeaseWatch, now, _ time.Duration) { w.Unanswered(now) })
		return
	}
	lost := false
	m.note(func(w *settlement.LeaseWatch, now, late time.Duration) { lost = w.Reread(lease, now, late) })
	if lost {
		n.fail(fmt.Errorf("%w: %s", errLost, lease.Holder))
		m.demote(n)
	}
}

// demote turns a node that has ended into one that follows. What it has taken in and not answered ends as unknown, which a caller is told
// as try_later.
func (m *Member) demote(n *Node) {
	<-n.ended
	cause := errors.Join(context.Cause(n.ctx), n.journal.Close())
	if m.hopeless(cause, n.seq) {
		m.fail(cause)
		return
	}
	m.log.Warn("the node follows now", "epoch", n.seq.Epoch(), "error", cause)
	m.rest(m.cfg.Lease/8 + mathrand.N(m.cfg.Lease/8))
	m.enter(m.ctx, n.state.Load(), nil, n.began)
}

// hopeless tells whether no role is left for this node after an error of its time as the ledger's writer.
func (m *Member) hopeless(cause error, seq *settlement.Sequencer) bool {
	switch {
	case errors.Is(cause, settlement.ErrStoreCorrupt), errors.Is(cause, settlement.ErrStoreClosed):
		return true
	case fatalToLog(cause):
		// Witnesses hold more than a node that was fenced and does not know it. From one that was not fenced, it is the end.
		ctx, done := m.bounded()
		defer done()
		head, err := m.store.Head(ctx)
		return err == nil && (seq == nil || head.Epoch == seq.Epoch())
	}
	return false
}

// enter begins a role. On an error the member ends.
func (m *Member) enter(ctx context.Context, state *settlement.State, seq *settlement.Sequencer, began time.Time) {
	for {
		n, err := begin(ctx, m.cfg.Node, state, seq)
		if err == nil {
			n.began = began
			n.measures.carry(m.node.Load().measures)
			m.node.Store(n)
			m.changed.ring()
			return
		}
		if m.hopeless(err, seq) || ctx.Err() != nil {
			m.fail(err)
			return
		}
		if seq != nil {
			m.log.Warn("the node does not sequence", "error", err)
			seq = nil // follow, and try later
			m.rest(m.cfg.Lease / 4)
			continue
		}
		m.log.Warn("the node cannot follow", "error", err)
		select { // a store that does not answer
		case <-time.After(m.tick()):
		case <-ctx.Done():
		}
	}
}

// follow lets a node that follows take the lease when that is free or has run out.
func (m *Member) follow(ctx context.Context) {
	n := m.node.Load()
	if cause := n.Err(); cause != nil {
		m.fail(cause)
		return
	}
	if !ask(m, func(w *settlement.LeaseWatch, now time.Duration) bool { return w.MayTake(now) }) {
		return
	}
	brief, done := context.WithTimeout(ctx, m.cfg.Lease/2)
	defer done()
	changed, err := m.write(brief, m.seen().Serial, m.watch.Me(), 0)
	if err != nil || !changed {
		if err != nil {
			m.log.Warn("the lease was not taken", "error", err)
		}
		m.look(brief)
		return
	}
	m.promote(ctx, n)
}

// promote makes the holder of the lease the ledger's one writer: by the next fencing epoch, on a state that is the store's.
func (m *Member) promote(ctx context.Context, n *Node) {
	start := time.Now()
	n.cancel(ErrStopped)
	<-n.ended
	closed := n.journal.Close()
	bounded, done := context.WithTimeout(ctx, m.cfg.Lease)
	defer done()
	seq, err := m.acquire(bounded, n)
	if err == nil && !m.sure() {
		// It took long, or the process stood still: only a lease that nobody has taken since is a leader's.
		if changed, failed := m.renew(bounded, seq.Epoch()); failed != nil || !changed {
			err = errors.Join(errLost, failed)
		}
	}
	if err = errors.Join(err, closed); err != nil {
		if errors.Is(err, settlement.ErrStoreCorrupt) {
			m.fail(err)
			return
		}
		m.log.Warn("the ledger was not taken over", "error", err)
		m.rest(m.cfg.Lease / 4)
		m.enter(ctx, n.state.Load(), nil, n.began)
		return
	}
	m.enter(ctx, n.state.Load(), seq, n.began)
	if m.node.Load().seq != nil && m.Err() == nil {
		m.log.Info("the node sequences now", "epoch", seq.Epoch(), "height", n.state.Load().Height(), "took", time.Since(start).Round(time.Millisecond))
		m.note(func(w *settlement.LeaseWatch, _, _ time.Duration) { w.Lead() }) // write the epoch into the lease at once
	}
}

func (m *Member) acquire(ctx context.Context, n *Node) (*settlement.Sequencer, error) {
	for {
		// Most of the way before the other is fenced; the rest afterwards, when nothing is added any more.
		if _, err := n.catchUp(ctx); err != nil {
			return nil, err
		}
		seq, err := settlement.NewSequencer(ctx, m.store, n.state.Load())
		if err == nil || !errors.Is(err, settlement.ErrStateBehind) {
			return seq, err
		}
	}
}

func (m *Member) fail(err error) {
	m.log.Error("the node stops", "error", err)
	m.cancel(err)
}

// Stop takes nothing in any more, finishes what is inside, gives the lease up so that another node goes on at once, and ends. It returns why
// the node ended, if that was not Stop.
func (m *Member) Stop(ctx context.Context) error {
	m.once.Do(func() { m.stop <- ctx })
	<-m.ended
	m.node.Load().cancel(ErrStopped) // where run ended by itself
	<-m.node.Load().ended
	err := m.node.Load().journal.Close()
	if cause := context.Cause(m.ctx); !errors.Is(cause, ErrStopped) {
		return errors.Join(cause, err)
	}
	return err
}

// leave ends the member's node and gives the lease up.
func (m *Member) leave(ctx context.Context) {
	n := m.node.Load()
	if err := n.Stop(ctx); err != nil {
		m.log.Warn("the node did not end in order", "error", err)
	}
	if n.seq != nil {
		brief, done := context.WithTimeout(context.WithoutCancel(ctx), m.cfg.Lease/2)
		if changed, err := m.write(brief, ask(m, func(w *settlement.LeaseWatch, _ time.Duration) uint64 { return w.Serial() }), "", n.seq.Epoch()); err != nil || !changed {
			m.log.Warn("the lease was not given up; another node waits until it runs out", "error", err)
		}
		done()
	}
	m.cancel(ErrStopped)
}

// Done is closed when the member has ended, by Stop or because it must not go on; Err then says why.
func (m *Member) Done() <-chan struct{} { return m.ended }

// Err says why the member ended: nil while it runs, ErrStopped after Stop.
func (m *Member) Err() error { return context.Cause(m.ctx) }

// Submit settles one entry as Node.Submit does, on whichever node sequences. An entry of which nothing is known is refused as try_later:
// sending it again is always safe.
func (m *Member) Submit(ctx context.Context, leaf []byte, segments [][]byte) (settlement.Result, error) {
	n := m.node.Load()
	if n.seq == nil {
		if m.cfg.Forward == nil || m.cfg.Forwarded != nil && m.cfg.Forwarded(ctx) {
			return settlement.Result{}, entry.Refuse(entry.TryLater, "this node does not sequence")
		}
		if _, _, known := m.leader(); !known {
			return settlement.Result{}, errNoLeader
		}
	}
	result, err := n.Submit(ctx, leaf, segments)
	switch {
	case err != nil && entry.CodeOf(err) == "" && n.ctx.Err() != nil && ctx.Err() == nil:
		return settlement.Result{}, entry.Refuse(entry.TryLater, "the node has ended what it did for the ledger; nothing is known of the entry")
	case err != nil && n.seq != nil && entry.CodeOf(err) != entry.TryLater && (!m.sure() || entry.CodeOf(err) == entry.AnchorUnknown && m.behind(ctx, n)):
		// No block of its own stands for a refusal: the ledger may have left the state behind that it rests on (L12.9).
		return settlement.Result{}, entry.Refuse(entry.TryLater, "the node may have lost its lease")
	case err != nil:
		return result, err
	}
	// An answer may be followed at once by a read from this node, and a leader that was fenced has not applied what it finds in the store.
	if err := m.WaitBlock(ctx, result.Height); err != nil && !errors.Is(err, ErrStopped) {
		return settlement.Result{}, err
	}
	return result, nil
}

// behind tells whether the store may hold blocks that the node has not applied.
func (m *Member) behind(ctx context.Context, n *Node) bool {
	head, err := m.store.Head(ctx)
	return err != nil || head.Height > n.state.Load().Height()
}

var errNoLeader = entry.Refuse(entry.TryLater, "no node sequences now")

// leader is the lease of another node that is not stale, with a context that ends when it passes on.
func (m *Member) leader() (lease settlement.Lease, term context.Context, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lease, _ = m.watch.View()
	return lease, m.term, lease.Holder != m.watch.Me() && !m.watch.Stale(m.clock())
}

// forward hands entries to the node that holds the lease, and waits for the answers no longer than that node holds it: whoever lost the lease
// may be a process that stands still.
func (m *Member) forward(ctx context.Context, entries []Forwarded) ([]Answer, error) {
	lease, term, known := m.leader()
	if !known {
		return nil, errNoLeader
	}
	call, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(term, cancel)()
	return m.cfg.Forward(call, lease.URL, entries)
}

// Ready names why the node should be sent no entries now: as Node.Ready and, in a node that follows or has no role at the moment, CheckLeader.
func (m *Member) Ready(ctx context.Context) []string {
	n := m.node.Load()
	if m.between(n) {
		if _, err := m.store.Head(ctx); err != nil {
			return []string{CheckStore, CheckLeader}
		}
		return []string{CheckLeader}
	}
	failed := n.Ready(ctx)
	if n.seq == nil && m.stale() {
		failed = append(failed, CheckLeader)
	}
	return failed
}

// Live names the stages that have stopped moving. A node that lost its role and waits for the store to take up another is alive: a restart
// would help nobody.
func (m *Member) Live() []string {
	if cause := m.Err(); cause != nil && !errors.Is(cause, ErrStopped) {
		return []string{CheckEnded}
	}
	n := m.node.Load()
	if m.between(n) {
		return nil
	}
	return n.Live()
}

// between: what this node did for the ledger has ended, and the member goes on.
func (m *Member) between(n *Node) bool { return n.Err() != nil && m.ctx.Err() == nil }

// through waits with the node of the current role and, when that ends, with the next.
func (m *Member) through(ctx context.Context, do func(n *Node) error) error {
	for {
		rung := m.changed.wait()
		n := m.node.Load()
		if err := do(n); !errors.Is(err, ErrStopped) && !errors.Is(err, journal.ErrClosed) {
			return err
		}
		if m.node.Load() != n {
			continue
		}
		select {
		case <-rung:
		case <-ctx.Done():
			return ctx.Err()
		case <-m.ctx.Done():
			return ErrStopped
		}
	}
}
