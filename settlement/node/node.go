package node

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

// Config says what a node works with.
type Config struct {
	// Store holds the ledger. The node does not close it.
	Store settlement.Store
	// Verifier checks proofs.
	Verifier settlement.Verifier
	// Signer signs checkpoints; its key is the log key of genesis.
	Signer *proof.LogSigner
	// Witnesses says where the witnesses of genesis answer.
	Witnesses []journal.Endpoint
	// HTTP reaches witnesses; nil means the default transport.
	HTTP *http.Client
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
	// Log receives what an operator should know; nil discards it.
	Log *slog.Logger
	// Progress is told how far the start has replayed; may be nil.
	Progress replay.Progress
	// Recheck checks the proofs of blocks that another node wrote; nil takes them on trust, because that node checked them. Everything else
	// in such blocks is always checked again.
	Recheck settlement.Verifier
	// Limits bounds queues and batches.
	Limits Limits

	peers *peers // nil where one node alone runs the ledger
}

// Limits bound what the node holds and how it batches. A zero field means its default.
//
// An entry inside the node holds its bytes, and about 2 KiB and as much again as its bytes for what was read from them. So all entries inside
// hold at most 2 KiB times Waiting and twice WaitingBytes, by default some 530 MiB, whatever callers do. What the node remembers of entries that
// it has answered is bounded by number: 65,536 ids, 1,024 anchors, 4,096 callers, 1,024 traces. Whoever waits for a block or a checkpoint costs
// its own call and nothing here.
type Limits struct {
	// Waiting is how many entries may be inside the node and not durable yet; past it, try_later. Default 8192.
	Waiting int
	// WaitingBytes is how many bytes those entries and their segments may have; past it, try_later. Default 256 MiB.
	WaitingBytes int64
	// PerCaller is how many of those entries may be of one caller with a name (WithCaller); past it, try_later. Default half of Waiting.
	PerCaller int
	// Batch is how many proofs are checked at once. Larger batches cost less per proof and wait longer. Default 512.
	Batch int
	// BlockBytes is how many bytes of entries and segments go into one block, one entry more at most. Default 16 MiB.
	BlockBytes int
	// Gather is how long entries may gather at part load before their proofs are checked, counted from the beginning of the batch before.
	// Nothing waits on an idle ledger, nor where 128 entries do, nor for more than four times as long as the slowest stage took of late. Blocks
	// of entries that come without a batch of proofs gather half as long. Default 50 ms.
	Gather time.Duration
	// NotFinal is how many log entries may be durable without a quorum of witnesses behind them; past it, try_later. Default 1,000,000.
	NotFinal uint64
	// Idle is how often an idle ledger looks whether it must log a state entry. After 16 such times without a client it logs more rarely,
	// in the end every 64th. Default 1 s.
	Idle time.Duration
	// Snapshot is how many blocks pass between snapshots of the state. Default 4096.
	Snapshot uint64
	// WitnessTimeout bounds one request to one witness. Default 10 s.
	WitnessTimeout time.Duration
	// StartWait is how long the start waits for witnesses that may know more of the log than the store does. Default 1 s.
	StartWait time.Duration
	// Poll is how often a node that follows looks for new blocks. Default 50 ms.
	Poll time.Duration
}

func (l Limits) withDefaults() Limits {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&l.Waiting, 8192)
	set(&l.PerCaller, max(1, l.Waiting/2))
	set(&l.Batch, 512)
	set(&l.BlockBytes, 16<<20)
	if l.WaitingBytes == 0 {
		l.WaitingBytes = 256 << 20
	}
	if l.Gather == 0 {
		l.Gather = 50 * time.Millisecond
	}
	if l.NotFinal == 0 {
		l.NotFinal = 1_000_000
	}
	if l.Idle == 0 {
		l.Idle = time.Second
	}
	if l.Snapshot == 0 {
		l.Snapshot = 4096
	}
	if l.StartWait == 0 {
		l.StartWait = time.Second
	}
	if l.Poll == 0 {
		l.Poll = 50 * time.Millisecond
	}
	return l
}

// ErrStopped: the node is stopping or has stopped; nothing is known of the entry.
var ErrStopped = errors.New("node: stopped")

// Node runs one ledger. Make it with Start; all methods are safe for concurrent use.
type Node struct {
	cfg     Config
	genesis *entry.Genesis
	seq     *settlement.Sequencer // used by the goroutines of sequence alone; nil in a node that follows
	journal *journal.Journal
	began   time.Time

	state   atomic.Pointer[settlement.State] // of the last durable block
	waiting atomic.Int64                     // entries taken in and not answered
	bytes   atomic.Int64                     // what they hold
	expiry  atomic.Uint64                    // greatest expiry seen in a submission, for MayExpire
	final   atomic.Uint64                    // size of the newest cosigned checkpoint
	stages  stages
	pulses  pulses
	spread  spread
	hurried chan struct{} // holds one: look for new blocks now

	measures *measures

	lanes    *lanes // before verification
	proven   chan *task
	durable  *bell // rings after every block
	finality *bell // rings after every cosigned checkpoint
	anchors  anchorCache
	recent   recentIDs
	adopted  time.Time // when the store's checkpoint was last looked at; used by the following goroutine alone

	ctx    context.Context // ends when the node stops
	cancel context.CancelCauseFunc
	wait   sync.WaitGroup
	down   chan struct{} // closed by Stop: take nothing in any more
	once   sync.Once
	ended  chan struct{} // closed when every goroutine has ended
}

// task is a submission on its way through the node.
type task struct {
	candidate *settlement.Candidate
	bytes     int       // of the entry and its segments
	began     time.Time // when it was taken in
	admitted  time.Time
	journey   *journey // nil unless its call is traced
	lane      *lane
	prepaid   time.Duration // charged to its lane before it was verified
	ready     bool          // not to be verified here (L12.8)
	answer    chan outcome  // holds one
}

type outcome struct {
	result settlement.Result
	err    error
}

// Start opens a ledger for business: it rebuilds the state from the store, takes the ledger over by the next fencing epoch, refuses to go on
// from a log that its witnesses hold more of (journal.ErrBehindWitnesses) or other than (journal.ErrForked), and starts the stages. ctx
// bounds the start alone.
func Start(ctx context.Context, cfg Config) (*Node, error) {
	cfg = cfg.withDefaults()
	state, seq, err := takeOver(ctx, cfg)
	if err != nil {
		return nil, err
	}
	return begin(ctx, cfg, state, seq)
}

func (cfg Config) withDefaults() Config {
	cfg.Limits = cfg.Limits.withDefaults()
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	return cfg
}

// begin starts the stages on a state: those of the ledger's one writer or, without a sequencer, those of a node that follows.
func begin(ctx context.Context, cfg Config, state *settlement.State, seq *settlement.Sequencer) (_ *Node, err error) {
	n := &Node{
		cfg: cfg, genesis: state.Genesis(), seq: seq, began: cfg.Now(),
		lanes: newLanes(cfg.Limits.Waiting, cfg.Limits.PerCaller, time.Now), proven: make(chan *task, cfg.Limits.Waiting),
		durable: newBell(), finality: newBell(), down: make(chan struct{}), ended: make(chan struct{}),
		hurried: make(chan struct{}, 1),
	}
	var epoch uint64
	if seq != nil {
		seq.Parallel = parallel
		epoch = seq.Epoch()
	}
	if n.measures, err = newMeasures(meter(), state, epoch); err != nil {
		return nil, err
	}
	n.state.Store(state)
	n.anchors.store = cfg.Store
	n.ctx, n.cancel = context.WithCancelCause(context.Background())
	if err := n.openJournal(ctx); err != nil {
		n.cancel(err)
		return nil, err
	}
	forget, err := n.observe(meter())
	if err != nil {
		n.cancel(err)
		return nil, errors.Join(err, n.journal.Close())
	}
	forgetSpread, err := n.observeSpread(meter())
	if err != nil {
		n.cancel(err)
		return nil, errors.Join(err, forget(), n.journal.Close())
	}
	if seq != nil {
		n.wait.Go(n.prove)
		n.wait.Go(n.sequence)
		n.wait.Go(n.cosign)
		n.wait.Go(n.keep)
	} else {
		n.wait.Go(n.follow)
		if cfg.peers != nil && cfg.peers.forward != nil {
			n.wait.Go(n.prove)
			n.wait.Go(n.relay)
		}
	}
	go func() {
		n.wait.Wait()
		if err := errors.Join(forget(), forgetSpread()); err != nil {
			n.cfg.Log.Warn("telemetry was not unregistered", "error", err)
		}
		close(n.ended)
	}()
	return n, nil
}

// takeOver rebuilds the state and becomes the ledger's one writer. Where nodes share a store, another may write between the two: after the
// new epoch is taken it cannot any more, so the second attempt succeeds unless a third node races.
func takeOver(ctx context.Context, cfg Config) (*settlement.State, *settlement.Sequencer, error) {
	for attempt := 0; ; attempt++ {
		state, err := replay.Restore(ctx, cfg.Store, parallel, cfg.Progress)
		if err != nil {
			return nil, nil, err
		}
		seq, err := settlement.NewSequencer(ctx, cfg.Store, state)
		if err == nil {
			return state, seq, nil
		}
		if !errors.Is(err, settlement.ErrStateBehind) || attempt >= 4 {
			return nil, nil, err
		}
	}
}

func (n *Node) openJournal(ctx context.Context) error {
	policy, err := journal.PolicyOf(n.genesis)
	if err != nil {
		return fmt.Errorf("witness policy of genesis: %w", err)
	}
	var signed proof.Head
	size, raw, err := n.cfg.Store.Checkpoint(ctx)
	switch {
	case err == nil:
		c, err := proof.OpenLog(n.genesis.Origin, n.genesis.LogKey.Public(), raw)
		if err != nil {
			return fmt.Errorf("checkpoint of the store: %w", err)
		}
		signed = c.Head
		n.final.Store(size)
	case !errors.Is(err, settlement.ErrNotFound):
		return fmt.Errorf("read the store's checkpoint: %w", err)
	}
	n.journal, err = journal.New(journal.Config{
		Signer: n.cfg.Signer, Policy: policy, Witnesses: n.cfg.Witnesses, Tiles: n.cfg.Store, Signed: signed, Saved: raw, HTTP: n.cfg.HTTP, Now: n.cfg.Now,
		Timeout: n.cfg.Limits.WitnessTimeout,
	})
	if err != nil {
		return err
	}
	if n.seq == nil {
		return nil // it asks for no cosignature, and takes checkpoints over from the store
	}
	if err := n.extends(ctx, signed); err != nil {
		return errors.Join(err, n.journal.Close())
	}
	// A store that was restored from an old backup must not write one block: whoever answers in time is heard.
	brief, stop := context.WithTimeout(ctx, n.cfg.Limits.StartWait)
	defer stop()
	if err := n.cosignOnce(brief); fatalToLog(err) {
		return errors.Join(err, n.journal.Close())
	}
	return nil
}

// extends requires that the log has grown from a head that was signed before, by this node or by another: nobody may sign a second root
// for a size.
func (n *Node) extends(ctx context.Context, signed proof.Head) error {
	state := n.state.Load()
	if signed.Size == 0 || signed.Size > state.LogSize() {
		return nil // nothing to compare, or the journal refuses to go back
	}
	path, err := proof.ProveConsistency(signed.Size, state.LogSize(), journal.HashReader(ctx, n.cfg.Store))
	if err != nil {
		return fmt.Errorf("prove that the log has grown from the store's checkpoint: %w", err)
	}
	if err := proof.VerifyConsistency(signed, proof.Head{Size: state.LogSize(), Root: state.LogRoot()}, path); err != nil {
		return fmt.Errorf("%w: the log of %d entries has not grown from the %d of the store's checkpoint: %w", journal.ErrForked, state.LogSize(), signed.Size, err)
	}
	return nil
}

// fatalToLog tells errors of the journal after which no block may be written.
func fatalToLog(err error) bool {
	return errors.Is(err, journal.ErrBehindWitnesses) || errors.Is(err, journal.ErrForked) || errors.Is(err, journal.ErrWentBack)
}

// parallel hashes subtrees on every core.
func parallel(n int, do func(int)) {
	workers := min(n, runtime.GOMAXPROCS(0))
	if workers < 2 {
		for i := range n {
			do(i)
		}
		return
	}
	var next atomic.Int64
	var wait sync.WaitGroup
	for range workers {
		wait.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				do(i)
			}
		})
	}
	wait.Wait()
}

// Stop takes nothing in any more, finishes what is inside, and ends. When ctx ends first, what is not durable yet is dropped unanswered; a
// client sends it again, and Stop says how many there were. It returns why the node ended, if that was not Stop.
func (n *Node) Stop(ctx context.Context) error {
	n.once.Do(func() { close(n.down) })
	n.lanes.finish()
	for n.waiting.Load() > 0 && n.ctx.Err() == nil && ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-n.ctx.Done():
		case <-time.After(5 * time.Millisecond):
		}
	}
	var dropped error
	if left := n.waiting.Load(); left > 0 && n.ctx.Err() == nil {
		dropped = fmt.Errorf("node: %d entries were dropped unanswered: %w", left, ctx.Err())
	}
	if n.ctx.Err() == nil && n.seq != nil {
		n.saveSnapshot(ctx)
	}
	n.cancel(ErrStopped)
	<-n.ended
	err := errors.Join(dropped, n.journal.Close())
	if cause := context.Cause(n.ctx); !errors.Is(cause, ErrStopped) {
		return errors.Join(cause, err)
	}
	if n.seq == nil {
		return err
	}
	// One small write, also when the time to stop in order is over: the next start then need not ask the witnesses for what they have given.
	brief, done := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
	defer done()
	if _, kept := n.keepOnce(brief, nil); kept != nil {
		err = errors.Join(err, fmt.Errorf("keep the checkpoint: %w", kept))
	}
	return err
}

// Done is closed when the node has ended, by Stop or because it must not go on; Err then says why.
func (n *Node) Done() <-chan struct{} { return n.ended }

// Err says why the node ended: nil while it runs, ErrStopped after Stop.
func (n *Node) Err() error { return context.Cause(n.ctx) }

// fail ends the node: it must not go on.
func (n *Node) fail(err error) {
	n.cfg.Log.Error("the node stops", "error", err)
	n.cancel(err)
}

func (n *Node) wall() uint64 { return uint64(n.cfg.Now().UnixMilli()) }

// Submit settles one entry. It returns once the entry is durable (Accepted), with the place where the log held it before (SettledBefore), or
// with an *entry.Refusal as error. When ctx ends first nothing is known of the entry, and it may still settle.
func (n *Node) Submit(ctx context.Context, leaf []byte, segments [][]byte) (settlement.Result, error) {
	size := len(leaf)
	for _, segment := range segments {
		size += len(segment)
	}
	waiting, bytes := n.waiting.Add(1), n.bytes.Add(int64(size))
	ctx, j := n.begin(ctx)
	if waiting == 1 {
		n.pulses.asked.Store(ticks())
	}
	if waiting > int64(n.cfg.Limits.Waiting) || bytes > n.cfg.Limits.WaitingBytes {
		n.leave(size)
		err := entry.Refuse(entry.TryLater, "%d entries of %d bytes are waiting; try again in %v", waiting-1, bytes-int64(size), n.hint())
		n.dismissed(j, leaf, settlement.Result{}, err)
		return settlement.Result{}, err
	}
	lane, err := n.lanes.enter(callerOf(ctx), n.hint)
	if err != nil {
		n.leave(size)
		n.dismissed(j, leaf, settlement.Result{}, err)
		return settlement.Result{}, err
	}
	start := time.Now()
	t, result, err := n.admit(ctx, leaf, segments)
	end := time.Now()
	n.stages.admitting.Add(int64(end.Sub(start)))
	n.measures.stage(j, "ledger.admit", start, end, trace.SpanContext{})
	if t == nil {
		n.lanes.leave(lane)
		n.leave(size)
		n.dismissed(j, leaf, result, err)
		return result, err
	}
	t.bytes, t.began, t.admitted, t.journey, t.lane = size, start, end, j, lane
	n.pass(t)
	// From here on the stages own the task and count it out.
	select {
	case o := <-t.answer:
		return o.result, o.err
	case <-ctx.Done():
		return settlement.Result{}, ctx.Err()
	case <-n.ended:
		select {
		case o := <-t.answer:
			return o.result, o.err
		default:
			return settlement.Result{}, ErrStopped
		}
	}
}

// leave counts an entry out.
func (n *Node) leave(size int) {
	n.bytes.Add(-int64(size))
	n.waiting.Add(-1)
}

// hint is when a client that is told to try later should: about when half of what waits now is done, at the rate of proofs so far.
func (n *Node) hint() time.Duration {
	proofs := n.stages.proofs.Load()
	if proofs == 0 {
		return 200 * time.Millisecond
	}
	each := time.Duration(uint64(n.stages.proving.Load()) / proofs)
	return min(max(each*time.Duration(n.cfg.Limits.Waiting/2), 50*time.Millisecond), 5*time.Second).Round(10 * time.Millisecond)
}

// admit does everything that needs neither proofs nor order, in the caller's goroutine. Without a task the submission is answered.
func (n *Node) admit(ctx context.Context, leaf []byte, segments [][]byte) (*task, settlement.Result, error) {
	select {
	case <-n.down:
		return nil, settlement.Result{}, entry.Refuse(entry.TryLater, "the node is stopping")
	case <-n.ctx.Done():
		return nil, settlement.Result{}, entry.Refuse(entry.TryLater, "the node is stopping")
	default:
	}
	if state, final := n.state.Load(), n.final.Load(); state.LogSize() > final+n.cfg.Limits.NotFinal {
		return nil, settlement.Result{}, entry.Refuse(entry.TryLater, "%d entries wait for a quorum of witnesses", state.LogSize()-final)
	}
	sub, err := settlement.Decode(leaf, segments)
	if err != nil {
		return nil, settlement.Result{}, err
	}
	if n.seq == nil && n.cfg.peers.vouchers == nil {
		return left(sub), settlement.Result{}, nil
	}
	state := n.reach(ctx, sub)
	now := state.LedgerTime(n.wall())
	anchors := n.anchors.reader(ctx)
	candidate, err := state.Admit(sub, now, anchors.at)
	if anchors.err != nil {
		return nil, settlement.Result{}, fmt.Errorf("read an anchor: %w", anchors.err)
	}
	if err != nil && n.leaves(err) {
		return left(sub), settlement.Result{}, nil
	}
	if err != nil {
		result, err := n.resolve(ctx, sub, err)
		return nil, result, err
	}
	raise(&n.expiry, sub.Entry.Head().ExpiryMillis)
	if n.believe(ctx, candidate) {
		return &task{candidate: candidate, ready: true, answer: make(chan outcome, 1)}, settlement.Result{}, nil // its block looks it up
	}
	// What is settled already is answered before anybody pays for its proof: a repeat, or another spend of a spent note. Absent
	// nullifiers cost a look into memory each.
	asked := time.Now()
	settled, err := settlement.LookUp(ctx, n.cfg.Store, []*settlement.Submission{sub})
	n.measures.lookingUp.Add(int64(time.Since(asked)))
	if err != nil {
		return nil, settlement.Result{}, fmt.Errorf("look an entry up: %w", err)
	}
	if r, known := settlement.Known(sub, settled); known {
		return nil, r, r.Refusal
	}
	return &task{candidate: candidate, answer: make(chan outcome, 1)}, settlement.Result{}, nil
}

// raise makes v at least x.
func raise(v *atomic.Uint64, x uint64) {
	for old := v.Load(); x > old && !v.CompareAndSwap(old, x); old = v.Load() {
	}
}

// resolve answers a refused submission: an entry that the log holds already is answered with its first place, whatever else is wrong
// with its repeat.
func (n *Node) resolve(ctx context.Context, sub *settlement.Submission, refusal error) (settlement.Result, error) {
	settled, err := settlement.LookUp(ctx, n.cfg.Store, []*settlement.Submission{sub})
	if err != nil {
		return settlement.Result{}, fmt.Errorf("look a refused entry up: %w", err)
	}
	r := settlement.Resolve(sub, refusal, settled)
	return r, r.Refusal
}

// reply answers a task and counts it out.
func (n *Node) reply(t *task, r settlement.Result, err error) {
	n.pulses.answered.Store(ticks())
	n.told(t, r, err)
	t.answer <- outcome{r, err}
	n.lanes.leave(t.lane)
	n.leave(t.bytes)
}
