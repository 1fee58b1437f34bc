package sim

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// Options says which world to run.
type Options struct {
	Seed uint64
	// Payments is how many payments clients begin; 0 stands for 24.
	Payments int
	// Disk makes the medium; nil stands for the model store.
	Disk func() Disk
	// Nodes is how many nodes run the ledger, over one model store, under a
	// lease; 0 and 1 stand for one node, without a lease.
	Nodes int
	// Bug is built in; the zero Bug is none.
	Bug Bug
}

// Report says what a seed held.
type Report struct {
	Seed     uint64
	Payments int // settled
	Entries  int
	Blocks   int
	Restarts int
	Answers  map[string]int // by status or refusal code
	Faults   [numFaults]int // of the store
	Other    map[string]int // of the network, the clock and people
	Nodes    int            // that ran the ledger
	Lease    map[string]int // what several nodes did
	Final    [32]byte       // SHA-256 of the ledger's last state
}

// FaultCount is how many faults the seed held, of every sort.
func (r *Report) FaultCount() int {
	n := 0
	for _, f := range r.Faults {
		n += f
	}
	for _, f := range r.Other {
		n += f
	}
	return n
}

// message is a submission on its way to the node.
type message struct {
	leaf     []byte
	segments [][]byte
	due      int
	from     *intent            // who waits for the answer; nil for an attacker
	allow    func(string) error // judges the answer, if not nil
	// via passes the answer back to the node that forwarded the message, with the
	// height at which it was judged; nil from a client.
	via func(r settlement.Result, judged uint64)
}

type world struct {
	rand   *ledgertest.Rand
	ledger *ledgertest.Ledger
	bug    Bug
	disk   Disk
	host   host
	model  *model
	oracle *oracle
	audit  *replay.Replayer // nil with a bug in the rules
	report Report

	wall uint64 // milliseconds
	tick int

	wallets  []*wallet
	intents  []*intent
	network  []*message
	history  []*message // everything ever sent, for replays
	owner    map[entry.ID]*intent
	accepted map[entry.ID]bool

	unchecked bool // answers come before the block can be seen (a planted bug)
	promised  map[entry.ID]uint64
	failure   error
}

// host is what runs the ledger of a world: one node, or several.
type host interface {
	// start brings it up, on a store that holds block 0.
	start() error
	// receive takes a client's message in.
	receive(m *message)
	// founding is one step while the world is being set up, without faults.
	founding()
	// arm chooses faults, advance lets it work, rest ends all faults.
	arm()
	advance(calm bool)
	rest()
	// store is what the model reads the log by; wallAt is the clock of the node
	// that made a block, in milliseconds.
	store() settlement.Store
	wallAt(height uint64) uint64
	// finish ends it and returns the state of its newest block.
	finish() (*settlement.State, error)
	// known tells whether a refusal that was judged when the log stood at a
	// height is false, given where the log holds the entry.
	falsely(r settlement.Result, judged, height uint64) bool
}

// Run runs one seed to its end. The error says what was violated, or what the
// simulation itself could not do.
func Run(o Options) (*Report, error) {
	if o.Payments == 0 {
		o.Payments = 24
	}
	w := &world{
		rand: ledgertest.NewRand(o.Seed, "world"), ledger: ledgertest.NewLedger(o.Seed), bug: o.Bug, wall: ledgertest.Start,
		owner: make(map[entry.ID]*intent), accepted: make(map[entry.ID]bool), promised: make(map[entry.ID]uint64),
	}
	w.report = Report{Seed: o.Seed, Nodes: max(1, o.Nodes), Answers: make(map[string]int), Other: make(map[string]int), Lease: make(map[string]int)}
	if o.Disk != nil {
		w.disk = o.Disk()
	} else {
		w.disk = &memDisk{lazySync: o.Bug.lazySync, noFencing: o.Bug.noFencing, tornTail: o.Bug.tornTail,
			ignoreEpoch: o.Bug.epochIgnored, ignoreHead: o.Bug.noCatchUp}
	}
	if o.Nodes > 1 {
		w.host = newCluster(w, o.Nodes)
	} else {
		w.host = &alone{w: w}
	}
	w.model = newModel(w.ledger.Genesis)
	w.oracle = &oracle{model: w.model, rand: ledgertest.NewRand(o.Seed, "oracle")}
	copy(w.oracle.verifier.Key[:], w.oracle.rand.Bytes(32))
	w.model.stampKey = w.oracle.verifier.Key
	_, genesis, err := settlement.Begin(w.ledger.Genesis)
	if err != nil {
		return &w.report, err
	}
	store, err := w.disk.Create(ctx, genesis)
	if err != nil {
		return &w.report, err
	}
	if err := store.Close(); err != nil {
		return &w.report, err
	}
	// A bug in the rules must be caught by the model alone: a replay that knows
	// the rules without it would see it too easily.
	if o.Bug.rules == (planted.Set{}) {
		if w.audit, err = replay.New(genesis, replay.Config{Verifier: &w.oracle.verifier}); err != nil {
			return &w.report, err
		}
	}
	if err := w.host.start(); err != nil {
		return &w.report, err
	}
	w.play(o.Payments)
	if err := w.host.store().Close(); err != nil && w.failure == nil {
		w.failure = fmt.Errorf("close the store: %w", err)
	}
	return &w.report, w.failure
}

// fail keeps the first failure, which ends the world.
func (w *world) fail(err error) {
	if w.failure == nil && err != nil {
		w.failure = fmt.Errorf("seed %d, tick %d: %w", w.report.Seed, w.tick, err)
	}
}

// play runs the world: a founding, a stretch with faults, and a stretch
// without, in which everything begun must end.
func (w *world) play(payments int) {
	w.found()
	for w.tick = 1; w.failure == nil && w.tick < 400; w.tick++ {
		begun := w.paymentsBegun()
		calm := begun >= payments
		if calm && w.settledAll() && len(w.network) == 0 {
			break
		}
		if !calm {
			w.moveClock()
			w.people()
			w.attack()
			w.host.arm()
		} else {
			w.wall += 1000
			w.calmDown()
		}
		w.clients(calm)
		w.deliver(calm)
		if !calm && w.rand.Chance(0.25) {
			w.wall += uint64(w.rand.IntN(3000)) // time passes between admission and sequencing
		}
		w.host.advance(calm)
	}
	if w.failure == nil && !w.settledAll() {
		w.fail(wrong("payments are still open after %d ticks: %s", w.tick, w.openIntents()))
	}
	w.finish()
}

// observe shows the model and the auditor every block that has become durable,
// and checks that none that they saw is gone.
func (w *world) observe() error {
	var blocks []*settlement.Block
	from := uint64(len(w.model.anchors))
	for b, err := range w.host.store().Blocks(ctx, 0) {
		if err != nil {
			return err
		}
		blocks = append(blocks, b)
	}
	if err := w.model.sameLog(blocks); err != nil {
		return err
	}
	if from > uint64(len(blocks)) {
		return wrong("block %d is gone", from-1)
	}
	for _, b := range blocks[from:] {
		if err := w.model.follow(b, w.host.wallAt(b.Height)); err != nil {
			return err
		}
		w.report.Blocks++
		if b.Height > 0 && w.audit != nil {
			if err := w.audit.Apply(b); err != nil {
				return wrong("replay: %v", err)
			}
		}
		if err := w.settle(b); err != nil {
			return err
		}
	}
	return nil
}

// settle lets wallets see a durable block.
func (w *world) settle(b *settlement.Block) error {
	n := 0
	for i, leaf := range b.Entries {
		e, err := entry.Decode(leaf)
		if err != nil || e.Head() == nil {
			continue
		}
		w.report.Entries++
		id := entry.IDOf(e)
		if in := w.owner[id]; in != nil {
			if in.settledBy != (entry.ID{}) && in.settledBy != id {
				return wrong("payment %d settled twice, as %s and %s", in.ref, in.settledBy, id)
			}
			in.settledBy = id
		}
		switch e := e.(type) {
		case *entry.Transaction:
			w.report.Payments++
			for j := range e.Legs {
				open := w.model.openings[statement{e.Ctx(), e.Legs[j].Nullifiers[0]}]
				for _, in := range open.inputs {
					delete(open.payer.notes, in.at)
				}
				for _, note := range open.outputs {
					at := b.Commitments[n].Position
					n++
					if to := w.walletOf(note.Owner); to != nil && note.Value > 0 {
						to.notes[at] = note
					}
				}
			}
		case *entry.Freeze:
			if to := w.walletOf(e.Owner); to != nil {
				to.frozen = e.Frozen
			}
		}
		if at := b.FirstIndex + uint64(i); w.promised[id] != 0 && w.promised[id] != at {
			return wrong("%s was acknowledged at %d and stands at %d", id, w.promised[id], at)
		}
	}
	return nil
}

// answer is what the node says to a client. It must be true at once.
func (w *world) answer(m *message, r settlement.Result) { w.answerJudged(m, r, w.model.height) }

// answerJudged is answer for what was judged when the log stood at a height,
// and is heard later.
func (w *world) answerJudged(m *message, r settlement.Result, judged uint64) {
	word := r.Status.String()
	if r.Status == settlement.Refused {
		word = string(entry.CodeOf(r.Refusal))
	}
	w.report.Answers[word]++
	first, there := w.model.ids[r.ID]
	switch {
	case w.unchecked:
		if r.Status != settlement.Refused {
			w.promised[r.ID] = r.EntryIndex
		}
	case r.Status == settlement.Refused && there && w.host.falsely(r, judged, first.height):
		w.fail(wrong("%s was refused (%s) and stands in the log at %d", r.ID, word, first.index))
	case r.Status != settlement.Refused && (!there || first.index != r.EntryIndex || first.height != r.Height):
		w.fail(wrong("%s was answered %q at entry %d, the log has it at %d (%v)", r.ID, word, r.EntryIndex, first.index, there))
	case r.Status == settlement.Accepted && w.accepted[r.ID]:
		w.fail(wrong("%s was accepted twice", r.ID))
	case r.Status == settlement.Refused && word == "":
		w.fail(wrong("a refusal without a name: %v", r.Refusal))
	}
	if r.Status == settlement.Accepted {
		w.accepted[r.ID] = true
	}
	if m.allow != nil {
		if err := m.allow(word); err != nil {
			w.fail(err)
		}
	}
	if m.from == nil {
		return
	}
	if !m.from.calm && w.rand.Chance(0.12) {
		w.report.Other["lost answer"]++
		return
	}
	m.from.hear(w, r)
}

// finish checks, after the last tick, that all that was promised is there and,
// for one seed in four, that a replay from nothing gives the same state.
func (w *world) finish() {
	if w.failure != nil {
		return
	}
	for id := range w.accepted {
		if _, there := w.model.ids[id]; !there {
			w.fail(wrong("%s was acknowledged and is not in the log", id))
		}
	}
	for id := range w.promised {
		if _, there := w.model.ids[id]; !there {
			w.fail(wrong("%s was acknowledged and is not in the log", id))
		}
	}
	state, err := w.host.finish()
	if err != nil {
		w.fail(err)
		return
	}
	last := state.Marshal()
	w.report.Final = sha256.Sum256(last)
	if w.report.Seed%4 != 0 {
		return // the auditor has replayed every block already
	}
	state, err = replay.All(ctx, w.host.store().Blocks(ctx, 0), replay.Config{Verifier: &w.oracle.verifier, Genesis: w.ledger.Hash}, nil)
	if err != nil {
		w.fail(wrong("replay from nothing: %v", err))
	} else if !bytes.Equal(state.Marshal(), last) {
		w.fail(wrong("replay from nothing gives another state"))
	}
}

// deliver hands the node what is due, in any order. What was lost on the way
// stays lost; some arrives twice.
func (w *world) deliver(calm bool) {
	var now, later []*message
	for _, m := range w.network {
		if m.due <= w.tick {
			now = append(now, m)
		} else {
			later = append(later, m)
		}
	}
	w.network = later
	if !calm {
		w.rand.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
	}
	for _, m := range now {
		if w.failure != nil {
			return
		}
		w.host.receive(m)
	}
}

// send puts a message on the network, which does with it as it likes.
func (w *world) send(m *message, calm bool) {
	w.history = append(w.history, m)
	m.due = w.tick
	if calm {
		w.network = append(w.network, m)
		return
	}
	switch {
	case w.rand.Chance(0.06):
		w.report.Other["lost message"]++
		return
	case w.rand.Chance(0.1):
		w.report.Other["delayed message"]++
		m.due += 1 + w.rand.IntN(8)
	}
	w.network = append(w.network, m)
	if w.rand.Chance(0.08) {
		w.report.Other["duplicate message"]++
		twin := *m
		twin.due += w.rand.IntN(6)
		w.network = append(w.network, &twin)
	}
}

// moveClock lets time pass, jump ahead or fall back.
func (w *world) moveClock() {
	switch {
	case w.rand.Chance(0.02):
		w.report.Other["clock forward"]++
		w.wall += uint64(w.rand.IntN(3 * ledgertest.WindowMillis))
	case w.rand.Chance(0.005):
		w.report.Other["clock far forward"]++
		w.wall += ledgertest.MaxExpiryMillis
	case w.rand.Chance(0.04):
		w.report.Other["clock back"]++
		w.wall -= uint64(w.rand.IntN(30_000))
		w.wall = max(w.wall, ledgertest.Start)
	default:
		w.wall += uint64(w.rand.IntN(4000))
	}
}

// calmDown ends the faults: nothing is armed and nobody is frozen for ever.
func (w *world) calmDown() {
	w.host.rest()
	for _, in := range w.intents {
		in.calm = true
	}
	if w.adminBusy() {
		return
	}
	for _, to := range w.wallets {
		if to.frozen {
			w.begin(w.freezing(to, false))
			return
		}
	}
}

func (w *world) walletOf(own zk.Owner) *wallet {
	for _, x := range w.wallets {
		if x.own == own {
			return x
		}
	}
	return nil
}

func (w *world) settledAll() bool {
	return !slices.ContainsFunc(w.intents, func(in *intent) bool { return in.state == open })
}

func (w *world) openIntents() string {
	out := ""
	for _, in := range w.intents {
		if in.state == open {
			out += fmt.Sprintf("%d %s (%s, last %v); ", in.ref, in.what, in.payerName(), in.last)
		}
	}
	return out
}

func (w *world) paymentsBegun() int {
	n := 0
	for _, in := range w.intents {
		if in.payment {
			n++
		}
	}
	return n
}

// IsViolation tells a broken invariant from a failure of the simulation.
func IsViolation(err error) bool {
	var v *violation
	return errors.As(err, &v)
}
