package sim

import (
	"errors"
	"strings"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/replay"
)

// member is one of several nodes: the order of work of node.Member, with one
// goroutine and a clock of its own.
type member struct {
	c      *cluster
	name   string
	rate   float64 // of its clock, against true time
	offset int64   // of its wall clock, in milliseconds
	life   int     // starts so far
	up     bool
	busy   bool   // it is in the middle of something; its work is one thread
	due    bool   // it writes a block at its next step, with nothing in it if need be
	back   uint64 // when it starts again, of those that are down

	cutStore, cutClients, cutPeers, cutWitnesses uint64 // until when

	line      *line
	watch     *settlement.LeaseWatch
	state     *settlement.State
	seq       *settlement.Sequencer // nil in a node that follows
	term      uint64                // height at which it began to lead
	asked     uint64                // its wall clock as it made the last block
	waiting   []admitted
	forwarded []*call
	relays    []relay
}

// call is an entry that a node has forwarded and not answered.
type call struct {
	m    *message
	done bool
}

// relay is an answer that waits for its block.
type relay struct {
	m      *message
	result settlement.Result
}

// died ends a node in the middle of whatever it does.
type died struct{ m *member }

func (m *member) die() { panic(died{m}) }

// run lets the node do something, unless it is down or stands still.
func (m *member) run(do func()) {
	if !m.up || m.busy || m.c.w.failure != nil {
		return
	}
	m.busy = true
	defer func() {
		m.busy = false
		if r := recover(); r != nil {
			if d, ok := r.(died); !ok || d.m != m {
				panic(r)
			}
			m.down()
		}
	}()
	do()
}

// down loses all that the node had in memory.
func (m *member) down() {
	m.c.w.report.Restarts++
	m.up, m.seq, m.waiting, m.forwarded, m.relays = false, nil, nil, nil, nil
	m.back = m.c.now
	if m.c.faults {
		m.back += uint64(m.c.rand.IntN(2 * leaseMillis))
	}
}

// begin starts the node: on the state that the store gives, as a follower.
func (m *member) begin() {
	m.life++
	m.up = true
	m.line = &line{m.c.raw, m}
	m.seq, m.term = nil, 0
	m.watch = settlement.NewLeaseWatch(m.name, strings.Repeat("i", m.life), leaseMillis*time.Millisecond)
	state, err := replay.Restore(ctx, m.c.raw, nil, nil)
	if err != nil {
		m.c.w.fail(wrong("%s cannot start on what the store holds: %v", m.name, err))
		return
	}
	m.state = state
}

// clock is the node's own, which knows nothing of any other.
func (m *member) clock() time.Duration {
	return time.Duration(float64(m.c.now)*m.rate) * time.Millisecond
}

func (m *member) wall() uint64 { return uint64(int64(m.c.w.wall) + m.offset) }

// chance draws how late the next attempt on a lease is.
func (m *member) chance() time.Duration {
	return time.Duration(m.c.rand.IntN(leaseMillis/8)) * time.Millisecond
}

// tick is one look at the lease and at the log.
func (m *member) tick() {
	if m.seq != nil {
		m.lead()
		m.passOn()
		return
	}
	m.look()
	if m.catchUp() == nil {
		m.adopt()
	}
	m.passOn()
	if m.watch.MayTake(m.clock()) && !m.c.w.bug.leaseForEver || m.freeLease() {
		m.take()
	}
}

// freeLease plants the bug that only an empty lease is taken.
func (m *member) freeLease() bool {
	lease, known := m.watch.View()
	return m.c.w.bug.leaseForEver && known && (lease.Holder == "" || lease.Holder == m.watch.Me())
}

func (m *member) look() {
	lease, err := m.line.Lease(ctx)
	if err != nil {
		m.watch.Missed()
		return
	}
	m.passed(m.watch.Saw(lease, m.clock(), m.chance()))
}

// passed: whoever lost the lease may be a process that stands still, and
// answers nothing.
func (m *member) passed(on bool) {
	if !on {
		return
	}
	calls := m.forwarded
	m.forwarded = nil
	for _, f := range calls {
		if !f.done {
			f.done = true
			m.tell(f.m, tryLater("the lease has passed on"), 0)
		}
	}
}

func tryLater(why string) settlement.Result {
	return settlement.Result{Status: settlement.Refused, Refusal: entry.Refuse(entry.TryLater, "%s", why)}
}

func later(r settlement.Result) bool {
	return r.Status == settlement.Refused && entry.CodeOf(r.Refusal) == entry.TryLater
}

// write changes the lease.
func (m *member) write(serial uint64, holder string, epoch uint64) (bool, error) {
	lease := settlement.Lease{Holder: holder, URL: m.name, Millis: leaseMillis, Epoch: epoch}
	sent := m.clock()
	changed, err := m.line.ChangeLease(ctx, serial, lease)
	if err == nil && changed {
		m.passed(m.watch.Wrote(serial, lease, sent, m.clock(), m.chance()))
	}
	return changed, err
}

// lead renews the lease, and follows when it is lost.
func (m *member) lead() {
	if !m.watch.MustRenew(m.clock()) {
		return
	}
	changed, err := m.write(m.watch.Serial(), m.watch.Me(), m.seq.Epoch())
	if err == nil && changed {
		return
	}
	lease, read := m.line.Lease(ctx)
	if read != nil || err != nil && lease.Holder == m.watch.Me() {
		m.c.w.report.Lease["renewal not answered"]++
		m.watch.Unanswered(m.clock())
		return
	}
	if m.watch.Reread(lease, m.clock(), m.chance()) {
		m.c.w.report.Lease["lease seen in other hands"]++
		m.demote()
	}
}

// demote: what was taken in and not answered is told that nothing is known.
func (m *member) demote() {
	m.c.w.report.Lease["leader follows"]++
	m.seq = nil
	batch := m.waiting
	m.waiting = nil
	m.watch.Rest(m.clock() + leaseMillis/8*time.Millisecond + m.chance())
	for _, a := range batch {
		m.answer(a.from, tryLater("the node sequences no more"), 0)
	}
}

// catchUp applies what the store has and the node has not.
func (m *member) catchUp() error {
	head, err := m.line.Head(ctx)
	if err != nil {
		return err
	}
	if head.Height < m.state.Height() || head.Height == m.state.Height() && head != m.state.Head(head.Epoch) {
		m.c.w.fail(wrong("%s sees block %d of another log than block %d that it saw", m.name, head.Height, m.state.Height()))
		return err
	}
	if head.Height == m.state.Height() {
		return nil
	}
	r := replay.From(m.state, replay.Config{Index: replay.NewStored(ctx, m.line)})
	for height := m.state.Height() + 1; height <= head.Height; height++ {
		b, err := m.line.Block(ctx, height)
		if err != nil {
			return err
		}
		if m.c.w.bug.followUnchecked {
			if m.state = unchecked(m.state, b, m.line); m.state.Height() == height {
				r = replay.From(m.state, replay.Config{Index: replay.NewStored(ctx, m.line)})
				continue
			}
		}
		if err := r.Apply(b); err != nil {
			var broken *replay.Error
			if errors.As(err, &broken) {
				m.c.w.report.Lease["spoilt block refused"]++
				m.die() // a store that is corrupt ends the process
			}
			return err
		}
		m.state = r.State()
		m.c.w.report.Lease["block followed"]++
	}
	return nil
}

// unchecked applies a block as a follower without checks would: whatever in it
// can be applied.
func unchecked(s *settlement.State, b *settlement.Block, store settlement.Store) *settlement.State {
	last := len(b.Entries) - 1
	claimed, err := entry.DecodeState(b.Entries[last])
	if err != nil || claimed.TimeMillis < s.Time() {
		return s
	}
	var candidates []*settlement.Candidate
	for _, leaf := range b.Entries[:last] {
		sub, err := settlement.DecodeLogged(leaf)
		if err != nil {
			continue
		}
		c, err := s.Admit(sub, claimed.TimeMillis, func(height uint64) (settlement.Anchor, bool) {
			a, err := store.Anchor(ctx, height)
			return a, err == nil
		})
		if err == nil && settlement.Prove(replay.Trusting{}, []*settlement.Candidate{c})[0] == nil {
			candidates = append(candidates, c)
		}
	}
	p, err := s.Sequence(candidates, claimed.TimeMillis, settlement.NewSettled(), nil)
	if err != nil {
		return s
	}
	return p.Next()
}

// adopt takes a final checkpoint over from the store, after checking it.
func (m *member) adopt() {
	size, note, err := m.line.Checkpoint(ctx)
	if err == nil && size <= m.state.LogSize() {
		m.c.sign(m.name+" adopts a checkpoint", size, [32]byte(note))
	}
}

// take tries for the lease and, with it, for the ledger.
func (m *member) take() {
	view, _ := m.watch.View()
	changed, err := m.write(view.Serial, m.watch.Me(), 0)
	if err != nil || !changed {
		m.look()
		return
	}
	m.c.w.report.Lease["lease taken"]++
	seq, err := m.acquire()
	if err != nil {
		m.c.w.report.Lease["ledger not taken over"]++
		m.watch.Rest(m.clock() + leaseMillis/4*time.Millisecond)
		return
	}
	// Whoever stood still between the two has an epoch that fences the next
	// leader, and no lease: it writes nothing.
	if !m.watch.Sure(m.clock()) && !m.c.w.bug.leadUnsure {
		m.c.w.report.Lease["epoch acquired too late"]++
		m.watch.Rest(m.clock() + leaseMillis/4*time.Millisecond)
		return
	}
	m.c.alone(m)
	if m.opens(seq) {
		m.c.w.report.Lease["take-over"]++
		m.seq, m.term = seq, m.state.Height()
		m.watch.Lead()
	} else {
		m.watch.Rest(m.clock() + leaseMillis/4*time.Millisecond)
	}
}

func (m *member) acquire() (*settlement.Sequencer, error) {
	for {
		if !m.c.w.bug.noCatchUp {
			if err := m.catchUp(); err != nil {
				return nil, err
			}
		}
		seq, err := settlement.NewSequencer(ctx, m.line, m.c.w.plant(m.state))
		if err == nil || !errors.Is(err, settlement.ErrStateBehind) {
			return seq, err
		}
		m.c.w.report.Lease["caught up again after the epoch"]++
	}
}

// opens asks, before a leader's first block, whether its log has grown from
// what was signed (L12.5).
func (m *member) opens(seq *settlement.Sequencer) bool {
	size, note, err := m.line.Checkpoint(ctx)
	switch {
	case errors.Is(err, settlement.ErrNotFound):
	case err != nil:
		return false
	case size > m.state.LogSize() || size == m.state.LogSize() && [32]byte(note) != m.state.LogRoot():
		m.hopeless(seq)
		return false
	}
	if err := m.askWitnesses(); err != nil {
		m.hopeless(seq)
		return false
	}
	return true
}

// askWitnesses has the node's head cosigned. The error is one after which no
// block may be written.
func (m *member) askWitnesses() error {
	size, root := m.state.LogSize(), m.state.LogRoot()
	m.c.sign(m.name+" signs", size, root)
	cosigned := 0
	var bad error
	for _, v := range m.c.witnesses {
		if m.c.now < m.cutWitnesses {
			continue
		}
		if m.c.faults && m.c.rand.Chance(0.02) {
			m.c.stand(m)
		}
		if m.c.faults && m.c.rand.Chance(0.05) {
			m.c.note("witness does not answer")
			continue
		}
		if err := v.ask(m.c, size, root); err != nil {
			bad = err
		} else {
			cosigned++
		}
	}
	if cosigned < 2 {
		return bad
	}
	m.c.w.report.Lease["checkpoint"]++
	_ = m.line.SaveCheckpoint(ctx, size, root[:])
	return nil
}

// hopeless ends the process of a node whose witnesses hold more or other than
// it, unless the store shows that it was fenced. In this world all logs are
// sound: no node may end that way.
func (m *member) hopeless(seq *settlement.Sequencer) {
	head, err := m.line.Head(ctx)
	if err == nil && head.Epoch == seq.Epoch() {
		m.c.w.fail(wrong("%s takes a sound log for one that went back", m.name))
	}
	m.c.w.report.Lease["witnesses told a fenced leader"]++
}

// receive takes an entry in, from a client or from another node.
func (m *member) receive(from *message) {
	if m.seq == nil {
		m.forward(from)
		return
	}
	sub, err := settlement.Decode(from.leaf, from.segments)
	if err != nil {
		m.answer(from, settlement.Result{Status: settlement.Refused, Refusal: err}, 0)
		return
	}
	state := m.seq.State()
	var failed error
	passed := false
	candidate, err := state.Admit(sub, state.LedgerTime(m.wall()), func(height uint64) (settlement.Anchor, bool) {
		a, err := m.line.Anchor(ctx, height)
		if err != nil && !errors.Is(err, settlement.ErrNotFound) {
			failed = err
		}
		passed = passed || err == nil && height > state.Height()
		return a, err == nil
	})
	if failed != nil {
		return // no answer: the client asks again
	}
	if passed && !m.c.w.bug.refuseUnsure {
		// The store has a block that this leader has not, its own perhaps, written
		// after it had been given up: it will be fenced.
		m.c.w.report.Lease["block of the store that the leader has not"]++
		m.answer(from, tryLater("the node is behind the store"), 0)
		return
	}
	if err == nil {
		err = settlement.Prove(&m.c.w.oracle.verifier, []*settlement.Candidate{candidate})[0]
	}
	if err == nil {
		m.waiting = append(m.waiting, admitted{candidate, from})
		return
	}
	judged := m.c.w.model.height
	settled, look := settlement.LookUp(ctx, m.line, []*settlement.Submission{sub})
	if look != nil {
		return
	}
	m.refuse(from, settlement.Resolve(sub, err, settled), judged)
}

// refuse answers what no block of the node's own stands for: only while it is
// sure that it leads (L12.9).
func (m *member) refuse(to *message, r settlement.Result, judged uint64) {
	if r.Status == settlement.Refused && !m.watch.Sure(m.clock()) && !m.c.w.bug.refuseUnsure {
		m.c.w.report.Lease["refusal withheld"]++
		r = tryLater("the node may have lost its lease")
	}
	m.answer(to, r, judged)
}

// forward hands an entry to the node that leads as far as this one knows.
func (m *member) forward(from *message) {
	if m.c.w.bug.staleRefusals && m.judgeMyself(from) {
		return
	}
	lease, known := m.watch.View()
	if from.via != nil || !known || lease.Holder == m.watch.Me() || m.watch.Stale(m.clock()) {
		m.answer(from, tryLater("this node does not sequence"), 0)
		return
	}
	for _, to := range m.c.members {
		if to.name != lease.URL {
			continue
		}
		if !to.up || m.c.now < max(m.cutPeers, to.cutPeers) {
			m.answer(from, tryLater("the node that sequences did not answer"), 0)
			return
		}
		m.c.w.report.Lease["forwarded entry"]++
		f := &call{m: from}
		m.forwarded = append(m.forwarded, f)
		on := *from
		life := m.life
		on.via = func(r settlement.Result, judged uint64) {
			if m.life != life || m.c.now < max(m.cutPeers, to.cutPeers) || m.c.faults && m.c.rand.Chance(0.03) {
				return // lost on the way back
			}
			m.c.post(m, func() { m.hearBack(f, r, judged) })
		}
		m.c.post(to, func() { to.receive(&on) })
	}
}

// judgeMyself plants the bug that a follower refuses from what it knows.
func (m *member) judgeMyself(from *message) bool {
	sub, err := settlement.Decode(from.leaf, from.segments)
	if err != nil {
		return false
	}
	_, err = m.state.Admit(sub, m.state.LedgerTime(m.wall()), func(height uint64) (settlement.Anchor, bool) {
		a, err := m.line.Anchor(ctx, height)
		return a, err == nil && height <= m.state.Height()
	})
	if err == nil {
		return false
	}
	m.answer(from, settlement.Result{Status: settlement.Refused, ID: sub.ID, Refusal: err}, m.c.w.model.height)
	return true
}

// hearBack is the leader's answer to what was forwarded. One that says that it
// settled waits for the block.
func (m *member) hearBack(f *call, r settlement.Result, judged uint64) {
	if f.done {
		return
	}
	f.done = true
	if m.c.w.bug.toldIsSettled && later(r) {
		r = settlement.Result{Status: settlement.Accepted, ID: r.ID}
	}
	if r.Status == settlement.Refused {
		m.tell(f.m, r, judged)
		return
	}
	m.relays = append(m.relays, relay{f.m, r})
	m.passOn()
}

// passOn answers what the node has the blocks of by now.
func (m *member) passOn() {
	relays := m.relays
	m.relays = nil
	for _, r := range relays {
		if m.state.Height() < r.result.Height && !m.c.w.bug.relayEarly {
			m.relays = append(m.relays, r)
			continue
		}
		m.c.w.report.Lease["answer passed on"]++
		m.tell(r.m, r.result, 0)
	}
}

// answer is for a client, or for the node that forwarded. A leader that was
// fenced and does not know it finds in the store what it has no block of: that
// answer waits until it follows.
func (m *member) answer(to *message, r settlement.Result, judged uint64) {
	switch {
	case to.via != nil:
		to.via(r, judged)
	case r.Status != settlement.Refused && r.Height > m.state.Height() && !m.c.w.unchecked && !m.c.w.bug.relayEarly:
		m.c.w.report.Lease["answer of a leader waits for a block"]++
		m.relays = append(m.relays, relay{to, r})
	default:
		m.tell(to, r, judged)
	}
}

// tell answers a client of this node, which may read from it next.
func (m *member) tell(to *message, r settlement.Result, judged uint64) {
	if m.c.now < m.cutClients {
		return
	}
	if r.Status != settlement.Refused && !m.c.w.unchecked && r.Height > m.state.Height() {
		m.c.w.fail(wrong("%s answers for block %d and has block %d", m.name, r.Height, m.state.Height()))
	}
	m.c.w.answerJudged(to, r, judged)
}

// step writes one block of what waits, or two, the second made before the first
// is written.
func (m *member) step() {
	batch := m.waiting
	parts := [][]admitted{batch}
	if len(batch) > 1 && m.c.rand.Chance(0.3) && !m.c.w.bug.answerFirst {
		cut := 1 + m.c.rand.IntN(len(batch)-1)
		parts = [][]admitted{batch[:cut], batch[cut:]}
	}
	m.asked = m.wall()
	judged := m.c.w.model.height
	var made []*settlement.Proposal
	for _, part := range parts {
		candidates := make([]*settlement.Candidate, len(part))
		for i, a := range part {
			candidates[i] = a.candidate
		}
		var p *settlement.Proposal
		var err error
		if len(made) == 0 {
			p, err = m.seq.Propose(ctx, candidates, m.asked)
		} else {
			p, err = m.seq.ProposeAfter(ctx, made[0], candidates, m.asked)
		}
		if err != nil {
			return // the batch waits for the next step
		}
		made = append(made, p)
	}
	idle := m.due || m.seq.State().MayExpire(m.asked, 0) && m.c.rand.Chance(0.1)
	m.due = false
	for i, p := range made {
		if m.c.w.bug.answerFirst {
			m.c.w.unchecked = true
			m.answerAll(parts[i], p.Results, 0)
			m.c.w.unchecked = false
		}
		// A second proposal follows from the first: it cannot do without its block.
		wrote := p.Accepted > 0 || len(made) > 1 || len(batch) == 0 && idle
		if wrote {
			err := m.seq.Commit(ctx, p)
			switch {
			case err == nil:
				m.state = m.seq.State()
			case errors.Is(err, settlement.ErrFenced), errors.Is(err, settlement.ErrInDoubt):
				if m.c.w.bug.fencedIsAccepted {
					m.waiting = nil
					m.answerAll(parts[i], p.Results, 0)
				}
				m.demote()
				return
			default:
				return // nothing was written
			}
		}
		m.waiting = m.waiting[len(parts[i]):]
		if m.c.w.bug.answerFirst {
			continue
		}
		for j, a := range parts[i] {
			if wrote {
				m.answer(a.from, p.Results[j], p.Block.Height)
			} else {
				m.refuse(a.from, p.Results[j], judged)
			}
		}
	}
	if len(batch) > 0 && m.c.rand.Chance(0.4) {
		if err := m.askWitnesses(); err != nil {
			seq := m.seq
			m.hopeless(seq)
			m.demote()
		}
	}
	if m.seq != nil && m.c.rand.Chance(0.02) {
		_ = m.c.raw.SaveSnapshot(ctx, m.state.Height(), m.state.Marshal())
	}
}

func (m *member) answerAll(batch []admitted, results []settlement.Result, judged uint64) {
	for i, a := range batch {
		m.answer(a.from, results[i], judged)
	}
}

// leave is a leader that is stopped in order: it settles what is inside, gives
// the lease up and ends.
func (m *member) leave() {
	m.step()
	if m.seq == nil || len(m.waiting) > 0 {
		return
	}
	epoch := m.seq.Epoch()
	m.seq = nil
	if changed, err := m.write(m.watch.Serial(), "", epoch); err == nil && changed {
		m.c.w.report.Lease["handed over"]++
	}
	m.die()
}
