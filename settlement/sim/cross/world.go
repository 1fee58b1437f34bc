package cross

import (
	"bytes"
	"crypto/sha256"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/settlement/sim"
	"github.com/comity-ledger/comity/zk"
)

// Options says which world to run.
type Options struct {
	Seed uint64
	// Payments is how many cross-ledger payments and escrows begin; 0 stands
	// for 20.
	Payments int
	// Bug is built in; the zero Bug is none.
	Bug Bug
	// Planner makes one of the relayers of worlds with an even seed; nil for
	// none.
	Planner func(ledgers []entry.GenesisHash) Planner
}

// Report says what a seed held.
type Report struct {
	Seed     uint64
	Ledgers  int
	Payments int // cross-ledger payments and escrows begun, all ended
	Entries  int
	Blocks   int
	Restarts int
	Outcomes map[string]int // of holds
	Answers  map[string]int // by status or refusal code
	Faults   [sim.Faults]int
	Other    map[string]int // of the network, clocks, people and liars
	Final    [32]byte       // SHA-256 of all last states
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

// message is a submission on its way to a ledger.
type message struct {
	to       *ledger
	leaf     []byte
	segments [][]byte
	due      int
	allow    func(word string, r settlement.Result) error // judges the answer, if not nil
}

// owned is a note with the wallet that can spend it.
type owned struct {
	note   zk.Note
	wallet *wallet
}

type world struct {
	options Options
	planner Planner
	rand    *ledgertest.Rand
	bug     Bug
	report  Report
	ledgers []*ledger
	byHash  map[entry.GenesisHash]*ledger
	notes   map[zk.Commitment]*owned
	spends  map[zk.Nullifier]zk.Amount // minor units of the note that a nullifier spends
	network []*message
	sent    []*message // for replays
	deals   []*deal
	escrows []*escrow
	parted  map[[2]*ledger]int // no relayer reaches both until this tick
	tick    int
	calm    bool
	failure error
}

// Terms of every corridor here.
var classes = []uint64{1_000, 10_000, 100_000}

const (
	corridorCap = 320_000
	staleMillis = 40_000
)

// Run runs one seed to its end. The error says what was violated, or what the
// simulation itself could not do.
func Run(o Options) (*Report, error) {
	if o.Payments == 0 {
		o.Payments = 20
	}
	w := &world{options: o, rand: ledgertest.NewRand(o.Seed, "cross"), bug: o.Bug, byHash: make(map[entry.GenesisHash]*ledger), notes: make(map[zk.Commitment]*owned),
		spends: make(map[zk.Nullifier]zk.Amount), parted: make(map[[2]*ledger]int)}
	w.report = Report{Seed: o.Seed, Answers: make(map[string]int), Other: make(map[string]int), Outcomes: make(map[string]int)}
	names := []string{"aurelia", "borealis"}
	if w.rand.Chance(0.4) {
		names = append(names, "cordelia")
	}
	w.report.Ledgers = len(names)
	for i, name := range names {
		l, err := w.newLedger(name, o.Seed*8+uint64(i))
		if err != nil {
			return &w.report, err
		}
		w.ledgers, w.byHash[l.hash] = append(w.ledgers, l), l
	}
	w.play(o.Payments)
	h := sha256.New()
	for _, l := range w.ledgers {
		w.finish(l)
		_, _ = h.Write(l.seq.State().Marshal())
	}
	h.Sum(w.report.Final[:0])
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
	calmTicks := 0
	for w.tick = 1; w.failure == nil && calmTicks < 160; w.tick++ {
		if w.calm = len(w.deals)+len(w.escrows) >= payments && w.tick > 30; w.calm {
			if calmTicks++; w.allEnded() && len(w.network) == 0 {
				break
			}
			w.calmDown()
		} else {
			w.people()
			w.faults()
		}
		w.moveClocks()
		w.act()
		w.relay()
		if !w.calm {
			w.lie()
		}
		w.deliver()
		for _, l := range w.ledgers {
			if w.failure != nil {
				return
			}
			if w.calm || w.rand.Chance(0.85) { // a node may be slow
				l.advance()
			}
		}
	}
	w.report.Payments = len(w.deals) + len(w.escrows)
	if w.failure == nil && !w.allEnded() {
		w.fail(sim.Violation("not everything ended after %d ticks: %s", w.tick, w.stillOpen()))
	}
}

// found opens corridors and issues money, with no faults yet.
func (w *world) found() {
	w.calm = true
	for _, l := range w.ledgers {
		for i := range 6 {
			l.wallets = append(l.wallets, w.newWallet(l, fmt.Sprintf("%s wallet %d", l.name, i)))
		}
		for _, x := range l.wallets {
			for range 2 {
				w.send(&message{to: l, leaf: nil}, w.issue(l, x))
				w.now(l)
			}
		}
		for _, peer := range w.ledgers {
			if peer != l {
				w.privileged(l, &entry.Corridor{Peer: peer.hash, Action: entry.CorridorSets, Terms: w.terms(l, peer)})
				w.now(l)
			}
		}
	}
	w.calm = false
}

// now lets one ledger take what was sent to it, in calm.
func (w *world) now(l *ledger) {
	l.wall += 50
	w.deliver()
	if w.failure == nil {
		l.advance()
	}
}

// terms are what l believes peer by: two of its three witnesses, one of them
// l's own.
func (w *world) terms(l, peer *ledger) *entry.CorridorTerms {
	g := peer.secrets.Genesis
	t := &entry.CorridorTerms{Name: peer.name, Origin: g.Origin, LogKey: g.LogKey, Quorum: 2, Treasury: g.Policy, Cap: corridorCap,
		SizeClasses: classes, StaleMillis: staleMillis}
	for i, m := range g.Witnesses.Members {
		t.Witnesses = append(t.Witnesses, entry.CorridorWitness{Name: m.Name, Key: m.Key, Own: i == 0})
	}
	return t
}

// privileged signs an entry with the policy and sends it. One that is overtaken
// by another is refused and forgotten.
func (w *world) privileged(l *ledger, e entry.Entry) {
	h := e.Head()
	*h = l.secrets.Header(max(l.wall, l.book.time)+60_000, l.book.seq)
	l.secrets.Sign(e, 0, 1)
	w.submit(l, e)
}

func (w *world) submit(l *ledger, e entry.Entry) {
	w.send(&message{to: l}, sending{leaf: entry.Encode(e)})
}

type sending struct {
	leaf     []byte
	segments [][]byte
}

// send puts a message on the network, which does with it as it likes.
func (w *world) send(m *message, s sending) {
	m.leaf, m.segments, m.due = s.leaf, s.segments, w.tick
	w.sent = append(w.sent, m)
	if !w.calm {
		switch {
		case w.rand.Chance(0.06):
			w.report.Other["lost message"]++
			return
		case w.rand.Chance(0.1):
			w.report.Other["delayed message"]++
			m.due += 1 + w.rand.IntN(8)
		}
		if w.rand.Chance(0.08) {
			w.report.Other["duplicate message"]++
			twin := *m
			twin.due += w.rand.IntN(6)
			w.network = append(w.network, &twin)
		}
	}
	w.network = append(w.network, m)
}

func (w *world) deliver() {
	var now, later []*message
	for _, m := range w.network {
		if m.due <= w.tick || w.calm {
			now = append(now, m)
		} else {
			later = append(later, m)
		}
	}
	w.network = later
	w.rand.Shuffle(len(now), func(i, j int) { now[i], now[j] = now[j], now[i] })
	for _, m := range now {
		if w.failure != nil {
			return
		}
		if !w.calm && w.tick < m.to.censors {
			if kind, err := entry.KindOf(m.leaf); err == nil && kind == entry.KindResolve {
				w.report.Other["censored decision"]++
				continue
			}
		}
		m.to.receive(m)
	}
}

// moveClocks lets time pass everywhere. In calm the clocks agree at last:
// witnesses' times would be from the future for ever otherwise.
func (w *world) moveClocks() {
	newest := uint64(0)
	for _, l := range w.ledgers {
		newest = max(newest, l.wall, l.book.time)
	}
	for _, l := range w.ledgers {
		if w.calm {
			l.wall = newest + 2_500
		} else {
			w.moveClock(l)
		}
	}
}

// moveClock lets a ledger's clock tick, jump ahead, fall back or stand.
func (w *world) moveClock(l *ledger) {
	switch {
	case w.rand.Chance(0.015):
		w.report.Other["clock forward"]++
		l.wall += uint64(w.rand.IntN(30_000))
	case w.rand.Chance(0.03):
		w.report.Other["clock back"]++
		l.wall = max(l.wall-uint64(w.rand.IntN(20_000)), ledgertest.Start)
	case w.rand.Chance(0.1):
	default:
		l.wall += uint64(w.rand.IntN(2_500))
	}
}

// faults arms stores and cuts connections.
func (w *world) faults() {
	for _, l := range w.ledgers {
		l.store.Disarm()
		if w.tick > 2 && w.rand.Chance(0.12) {
			l.store.Arm(sim.Fault(w.rand.IntN(int(sim.Faults))))
		}
		if w.tick >= l.blind && w.rand.Chance(0.03) {
			w.report.Other["witnesses away"]++
			l.blind = w.tick + 1 + w.rand.IntN(10)
		}
		if w.tick >= l.censors && w.rand.Chance(0.02) { // its operator lets nothing be decided for a while
			l.censors = w.tick + 1 + w.rand.IntN(15)
		}
		for _, peer := range w.ledgers {
			if l.hash.String() < peer.hash.String() && w.rand.Chance(0.03) {
				w.report.Other["partition"]++
				w.parted[[2]*ledger{l, peer}] = w.tick + 1 + w.rand.IntN(12)
			}
		}
	}
}

func (w *world) cut(a, b *ledger) bool {
	if a.hash.String() > b.hash.String() {
		a, b = b, a
	}
	return !w.calm && w.tick < w.parted[[2]*ledger{a, b}]
}

// people begin payments and escrows, and treasuries do what they do.
func (w *world) people() {
	if w.rand.Chance(0.75) {
		if w.rand.Chance(0.25) {
			w.beginEscrow()
		} else {
			w.beginDeal()
		}
	}
	l, peer := w.pair()
	switch {
	case w.rand.Chance(0.02):
		w.report.Other["freeze"]++
		w.privileged(l, &entry.Corridor{Peer: peer.hash, Action: entry.CorridorFreezes})
		if w.rand.Chance(0.3) { // another officer, with the same sequence number
			w.privileged(l, &entry.Corridor{Peer: peer.hash, Action: entry.CorridorThaws})
		}
	case l.book.frozen[peer.hash] && w.rand.Chance(0.15):
		w.report.Other["unsigned thaw"]++
		e := &entry.Corridor{Header: l.secrets.Header(max(l.wall, l.book.time)+60_000, l.book.seq), Peer: peer.hash, Action: entry.CorridorThaws}
		l.secrets.Sign(e, w.rand.IntN(3))
		if w.rand.Chance(0.5) { // somebody else's signature in place of the second
			e.Signatures = append(e.Signatures, entry.PolicySignature{Signer: e.Signatures[0].Signer + 1, Signature: e.Signatures[0].Signature})
		}
		w.submit(l, e)
	case l.book.frozen[peer.hash] && w.rand.Chance(0.2):
		w.privileged(l, &entry.Corridor{Peer: peer.hash, Action: entry.CorridorThaws})
	case l.book.frozen[peer.hash] && w.rand.Chance(0.1):
		w.overrideSome(l, peer)
	}
}

// calmDown ends the faults: stores obey, and what was frozen is thawed.
func (w *world) calmDown() {
	for _, l := range w.ledgers {
		l.store.Disarm()
		l.blind = 0
		for _, peer := range w.ledgers {
			if l.book.frozen[peer.hash] {
				w.privileged(l, &entry.Corridor{Peer: peer.hash, Action: entry.CorridorThaws})
				break // the next sequence number is known when this one is in the log
			}
		}
	}
}

// pair draws two ledgers that differ.
func (w *world) pair() (*ledger, *ledger) {
	i := w.rand.IntN(len(w.ledgers))
	j := (i + 1 + w.rand.IntN(len(w.ledgers)-1)) % len(w.ledgers)
	return w.ledgers[i], w.ledgers[j]
}

// overrideSome voids a decider's open hold by the word of both treasuries and
// oversight; its followers learn it from the log.
func (w *world) overrideSome(l, peer *ledger) {
	for _, h := range l.book.sorted() {
		c, ok := h.cond.(*entry.DecidedHere)
		if !ok || h.outcome != 0 || len(c.Followers) != 1 || c.Followers[0].Ledger != peer.hash {
			continue
		}
		w.report.Other["override"]++
		e := &entry.Override{Header: l.secrets.Header(max(l.wall, l.book.time)+60_000, l.book.seq), Peer: peer.hash, Hold: h.id, Outcome: entry.Voided,
			Commitment: h.leg.ReturnCommitment}
		id := entry.IDOf(e)
		for i := range 2 {
			e.Treasury = append(e.Treasury, entry.PolicySignature{Signer: uint8(i), Signature: sign(peer.secrets.Signers[i], entry.OverrideMessage(id))})
		}
		if e.Oversight = zk.Sign(l.oversight, entry.OverrideField(id).Element(), w.rand); w.rand.Chance(0.3) {
			w.report.Other["override without oversight"]++
			e.Oversight = zk.Sign(peer.oversight, entry.OverrideField(id).Element(), w.rand)
		}
		l.secrets.Sign(e, 0, 1)
		w.submit(l, e)
		return
	}
}

func (w *world) allEnded() bool {
	for _, l := range w.ledgers {
		if l.book.openHolds > 0 {
			return false
		}
	}
	for _, d := range w.deals {
		if !d.over() {
			return false
		}
	}
	return true
}

func (w *world) stillOpen() string {
	out := ""
	for _, l := range w.ledgers {
		for _, h := range l.book.sorted() {
			if h.outcome == 0 {
				out += fmt.Sprintf("%s hold %s type %d; ", l.name, h.id, h.leg.Condition.Type)
			}
		}
	}
	for i, d := range w.deals {
		if !d.over() {
			out += fmt.Sprintf("deal %d; ", i)
		}
	}
	return out
}

// finish checks one ledger after the last tick: everything decided, both or
// neither, and, for some seeds, a replay from nothing.
func (w *world) finish(l *ledger) {
	if w.failure != nil {
		return
	}
	for _, h := range l.book.sorted() {
		c, ok := h.cond.(*entry.DecidedThere)
		if !ok {
			continue
		}
		decider := w.byHash[c.Ledger].book.holds[c.Hold]
		posted := false
		for _, n := range decider.named {
			posted = posted || decider.outcome == entry.Posted && n.Ledger == l.hash && n.Hold == h.id
		}
		if posted != (h.outcome == entry.Posted) {
			w.fail(sim.Violation("%s: hold %s was %s and its decider's was %s", l.name, h.id, h.outcome, decider.outcome))
		}
	}
	if w.report.Seed%4 != 0 || w.bug.Rules != (planted.Set{}) {
		return
	}
	state, err := replay.All(ctx, l.raw.Blocks(ctx, 0), replay.Config{Verifier: l.verifier, Genesis: l.hash}, nil)
	if err != nil {
		w.fail(sim.Violation("replay of %s from nothing: %v", l.name, err))
	} else if !bytes.Equal(state.Marshal(), l.seq.State().Marshal()) {
		w.fail(sim.Violation("replay of %s from nothing gives another state", l.name))
	}
}
