// Package relayer carries proofs between ledgers as bridge.Relay plans it. It follows every log, plans whenever a block or a checkpoint came, and
// sends what may be done on one ledger in one call: an observation of each peer, every resolution that the last observations allow, and evidence.
// It proves from its own copy of the hashes (bridge.Mirror). How a ledger is reached is for the caller to say.
//
// A relayer holds no key and keeps nothing on disk: it may be killed at any moment, run several times at once, and begin anew.
package relayer

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Ledger is how one ledger is reached. Its methods may be called at the same time.
type Ledger interface {
	// Blocks gives the blocks from a height on, up to the head; with follow also those that come later, until ctx ends or the line breaks.
	Blocks(ctx context.Context, from uint64, follow bool) iter.Seq2[Block, error]
	// Checkpoint gives the newest cosigned checkpoint over at least size entries, waiting up to wait for one (try_later when there is none in
	// time). With terms it is one that a corridor with these terms accepts.
	Checkpoint(ctx context.Context, size uint64, wait time.Duration, terms *entry.CorridorTerms) ([]byte, error)
	// Entry, Inclusion and Consistency are asked for what lies before the window of a mirror.
	Entry(ctx context.Context, index uint64) ([]byte, error)
	Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error)
	Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error)
	// Submit sends entries in one call, at most MaxCall; each is judged on its own. The results stand in their order.
	Submit(ctx context.Context, entries []entry.Entry) ([]Result, error)
}

// Block is a block without its ciphertexts.
type Block struct {
	Height, FirstIndex uint64
	Entries            [][]byte
}

// Result is what became of an entry: its index, or a refusal.
type Result struct {
	Index uint64
	Err   error
}

// Member is one of the ledgers between which a relayer carries.
type Member struct {
	Name    string // for people
	Genesis *entry.Genesis
	Ledger  Ledger
}

// Config is what a relayer needs.
type Config struct {
	Members []Member
	// Fresh also keeps corridors from becoming stale.
	Fresh bool
	// Pace is the shortest time between two observations of one peer on one ledger. Each costs the ledger a handful of signatures, and a block
	// that its witnesses cosign; a payment waits half of it on average, three times.
	Pace time.Duration
	// Did is told what was done. Failed is told of everything that fails or, with a nil error, works (again); what names the thing tried. Both may
	// be called from several goroutines at once.
	Did    func(Did)
	Failed func(what string, on *Member, err error)
}

// Did is one thing that a relayer brought to a ledger.
type Did struct {
	On    *Member
	Entry entry.Entry // observe, resolve or evidence
	Index uint64      // in On's log
}

// MaxCall is how many entries one call has at most.
const MaxCall = 512

const (
	// wait is how long a call waits for a checkpoint.
	wait = 20 * time.Second
	// rest is how long a relayer rests after something failed, and when nothing happens: then it looks at its clock.
	rest = time.Second
	// soon is how long it rests after a refusal that passes by itself.
	soon = 100 * time.Millisecond
	// flight is how long something that was accepted may take to be seen in the log before it is sent again.
	flight = 30 * time.Second
)

// follower is one ledger as it is followed.
type follower struct {
	*Member
	hash   entry.GenesisHash
	mirror *bridge.Mirror
	height uint64 // of the block to be read next
}

// Relayer is a relayer at work.
type Relayer struct {
	cfg  Config
	wake chan struct{}

	mu     sync.Mutex // guards what follows
	relay  *bridge.Relay
	all    []*follower
	byHash map[entry.GenesisHash]*follower
	tasks  map[task]*attempt
	shown  map[bridge.Corridor]*fetched
	paced  map[bridge.Corridor]time.Time         // when a peer was observed last
	said   map[entry.GenesisHash][][]byte        // checkpoints that ledgers signed, from before they were read anew
	forks  map[entry.GenesisHash]*proof.Evidence // found by this relayer itself
	odd    map[entry.GenesisHash]int             // how often a ledger contradicted itself
	plans  int
	did    int // entries that were accepted
}

// New makes a relayer that has read nothing.
func New(cfg Config) *Relayer {
	r := &Relayer{cfg: cfg, wake: make(chan struct{}, 1), said: map[entry.GenesisHash][][]byte{}, forks: map[entry.GenesisHash]*proof.Evidence{},
		odd: map[entry.GenesisHash]int{}}
	r.reset()
	return r
}

// reset forgets everything but what the ledgers signed. Called with mu held, or before anybody else has r.
func (r *Relayer) reset() {
	for _, f := range r.all {
		if _, signed := f.mirror.Final(); signed != nil {
			r.keep(f.hash, signed)
		}
	}
	from := map[entry.GenesisHash]uint64{}
	r.all, r.byHash, r.tasks = nil, map[entry.GenesisHash]*follower{}, map[task]*attempt{}
	r.shown, r.paced = map[bridge.Corridor]*fetched{}, map[bridge.Corridor]time.Time{}
	for i := range r.cfg.Members {
		m := &r.cfg.Members[i]
		f := &follower{Member: m, hash: m.Genesis.Hash()}
		f.mirror = bridge.NewMirror(f.hash, m.Genesis.Origin, m.Genesis.LogKey.Public())
		r.all, r.byHash[f.hash], from[f.hash] = append(r.all, f), f, 0
	}
	r.relay = bridge.NewRelay(from)
	for of, e := range r.forks {
		r.relay.Forked(of, e)
	}
}

// maxSaid is how many checkpoints of a ledger are remembered from before it was read anew.
const maxSaid = 16

// keep remembers a checkpoint, to be compared with what the ledger shows later.
func (r *Relayer) keep(of entry.GenesisHash, signed []byte) {
	if list := append(r.said[of], signed); len(list) <= maxSaid {
		r.said[of] = list
	} else {
		r.said[of] = append(list[:1:1], list[2:]...) // the first one stays
	}
}

// Plans is how often the relayer planned.
func (r *Relayer) Plans() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.plans
}

// contradiction: a ledger's blocks and its checkpoints do not fit, or its blocks have a gap.
type contradiction struct {
	of     *follower
	signed []byte // the checkpoint, if it is one
	err    error
}

func (e *contradiction) Error() string { return fmt.Sprintf("%s: %v", e.of.Name, e.err) }
func (e *contradiction) Unwrap() error { return e.err }

// contradicted begins anew after a contradiction: perhaps the ledger has another history to show, and then that is a fork. A ledger that goes on
// contradicting itself is not followed any more; what is known of it is carried still.
func (r *Relayer) contradicted(odd *contradiction) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if odd.signed != nil {
		r.keep(odd.of.hash, odd.signed)
	}
	if r.odd[odd.of.hash]++; r.odd[odd.of.hash] == 1 {
		r.reset()
	}
}

// followed tells whether a ledger is followed.
func (r *Relayer) followed(f *follower) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.odd[f.hash] < 2
}

// take reads a block.
func (r *Relayer) take(f *follower, b Block) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if b.Height != f.height || b.FirstIndex != f.mirror.Size() {
		return &contradiction{f, nil, fmt.Errorf("block %d begins at entry %d, want block %d at entry %d", b.Height, b.FirstIndex, f.height, f.mirror.Size())}
	}
	for i, leaf := range b.Entries {
		if err := r.relay.Add(f.hash, b.FirstIndex+uint64(i), leaf); err != nil {
			return &contradiction{f, nil, err}
		}
		f.mirror.Add(leaf)
	}
	f.height++
	moved, err := f.mirror.Settle()
	return r.moved(f, nil, moved, err)
}

// checkpoint reads a checkpoint.
func (r *Relayer) checkpoint(f *follower, signed []byte) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	moved, err := f.mirror.Take(signed)
	return r.moved(f, signed, moved, err)
}

// moved compares what a ledger shows now with what it signed before and what the others observed of it. Called with mu held.
func (r *Relayer) moved(f *follower, signed []byte, moved bool, err error) error {
	if bridge.CodeOf(err) == bridge.LogMismatch {
		if signed != nil {
			if fork, ferr := f.mirror.Fork(signed); ferr == nil {
				r.forked(f, fork)
			}
		}
		return &contradiction{f, signed, err}
	}
	if err != nil || !moved {
		return err
	}
	head, _ := f.mirror.Final()
	r.said[f.hash] = slices.DeleteFunc(r.said[f.hash], func(old []byte) bool {
		if sizeOf(old) > head.Size {
			return false
		}
		if fork, err := f.mirror.Fork(old); err == nil {
			r.forked(f, fork)
		}
		return true
	})
	return r.relay.Look(f.mirror)
}

// forked remembers a fork. Called with mu held.
func (r *Relayer) forked(f *follower, e *proof.Evidence) {
	if e != nil && r.forks[f.hash] == nil {
		r.forks[f.hash] = e
		r.relay.Forked(f.hash, e)
	}
}

// nudge wakes the planner.
func (r *Relayer) nudge() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// Run relays until ctx ends. ready is called once every log was read to its head, or could not be reached.
func (r *Relayer) Run(ctx context.Context, ready func()) {
	var once sync.Once
	for ctx.Err() == nil {
		var odd *contradiction
		if err := r.run(ctx, func() { once.Do(ready) }); errors.As(err, &odd) {
			r.cfg.Failed("read", odd.of.Member, odd.err)
			r.contradicted(odd)
		}
	}
}

// run relays until ctx ends or a ledger contradicts itself.
func (r *Relayer) run(parent context.Context, ready func()) error {
	ctx, stop := context.WithCancelCause(parent)
	defer stop(nil)
	var work sync.WaitGroup
	defer work.Wait()
	var reading sync.WaitGroup
	var followed []*follower
	for _, f := range r.all {
		if r.followed(f) {
			followed = append(followed, f)
		}
	}
	for _, f := range followed {
		reading.Go(func() { r.catchUp(ctx, f, stop) })
	}
	reading.Wait()
	if ctx.Err() == nil {
		ready()
	}
	for _, f := range followed {
		work.Go(func() { r.follow(ctx, f, stop) })
		work.Go(func() { r.checkpoints(ctx, f, stop) })
	}
	for {
		r.mu.Lock()
		calls, again := r.plan(ctx, &work)
		r.mu.Unlock()
		for f, c := range calls {
			work.Go(func() { r.send(ctx, f, c) })
		}
		t := time.NewTimer(again)
		select {
		case <-r.wake:
		case <-t.C:
		case <-ctx.Done():
			t.Stop()
			stop(nil) // unless it has a cause
			return context.Cause(ctx)
		}
		t.Stop()
	}
}

// catchUp reads a log up to its head, once.
func (r *Relayer) catchUp(ctx context.Context, f *follower, stop context.CancelCauseFunc) {
	for b, err := range f.Ledger.Blocks(ctx, f.height, false) {
		if err == nil {
			err = r.take(f, b)
		}
		if err != nil {
			r.failed(ctx, f, "read", err, stop)
			return
		}
	}
}

// failed stops everything for a contradiction, and tells of everything else.
func (r *Relayer) failed(ctx context.Context, f *follower, what string, err error, stop context.CancelCauseFunc) {
	var odd *contradiction
	if errors.As(err, &odd) {
		stop(err)
	} else if ctx.Err() == nil {
		r.cfg.Failed(what, f.Member, err)
	}
}

// follow reads blocks as they come.
func (r *Relayer) follow(ctx context.Context, f *follower, stop context.CancelCauseFunc) {
	for ctx.Err() == nil {
		var err error
		for b, broken := range f.Ledger.Blocks(ctx, f.height, true) {
			if err = broken; err == nil {
				err = r.take(f, b)
			}
			if err != nil {
				break
			}
			r.cfg.Failed("read", f.Member, nil)
			r.nudge()
		}
		r.failed(ctx, f, "read", err, stop)
		if pause(ctx, rest) != nil {
			return
		}
	}
}

// checkpoints reads checkpoints as they come.
func (r *Relayer) checkpoints(ctx context.Context, f *follower, stop context.CancelCauseFunc) {
	for size := uint64(0); ctx.Err() == nil; {
		signed, err := f.Ledger.Checkpoint(ctx, size+1, wait, nil)
		if entry.CodeOf(err) == entry.TryLater { // nothing new meanwhile
			if pause(ctx, soon) != nil {
				return
			}
			continue
		}
		if err == nil {
			err = r.checkpoint(f, signed)
			if err == nil && sizeOf(signed) <= size {
				err = fmt.Errorf("%s gave a checkpoint of %d entries for one of more than %d", f.Name, sizeOf(signed), size)
			}
			size = max(size, sizeOf(signed))
			r.nudge()
		}
		r.failed(ctx, f, "checkpoint", err, stop)
		if err != nil && pause(ctx, rest) != nil {
			return
		}
	}
}

// patience is how long Once waits while nothing moves: for checkpoints, mostly.
const patience = 10 * time.Second

// Once relays until nothing is left to do. left tells that something is, in spite of all patience.
func (r *Relayer) Once(ctx context.Context) (left bool) {
	for last, quiet := 0, time.Now(); time.Since(quiet) < patience; {
		var odd *contradiction
		stop := func(err error) { errors.As(err, &odd) }
		for _, f := range r.all {
			if odd == nil && r.followed(f) {
				r.catchUp(ctx, f, stop)
				r.newest(ctx, f, stop)
			}
		}
		if odd != nil {
			r.cfg.Failed("read", odd.of.Member, odd.err)
			r.contradicted(odd)
			continue
		}
		var work sync.WaitGroup
		r.mu.Lock()
		calls, _ := r.plan(ctx, &work)
		idle := len(r.tasks) == 0
		r.mu.Unlock()
		for f, c := range calls {
			work.Go(func() { r.send(ctx, f, c) })
		}
		work.Wait()
		if idle {
			return false
		}
		r.mu.Lock()
		if r.did > last {
			last, quiet = r.did, time.Now()
		}
		r.mu.Unlock()
		if pause(ctx, soon) != nil {
			return true
		}
	}
	return true
}

// newest reads the newest checkpoint.
func (r *Relayer) newest(ctx context.Context, f *follower, stop context.CancelCauseFunc) {
	signed, err := f.Ledger.Checkpoint(ctx, 1, soon, nil)
	if entry.CodeOf(err) == entry.TryLater {
		return
	}
	if err == nil {
		err = r.checkpoint(f, signed)
	}
	r.failed(ctx, f, "checkpoint", err, stop)
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
