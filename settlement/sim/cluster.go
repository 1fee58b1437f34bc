package sim

import (
	"bytes"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
)

// Time of a ledger of several nodes, in milliseconds of true time.
const (
	leaseMillis = 3000
	slotMillis  = leaseMillis / 12 // how often a node looks at the lease
	// A leader must be there this long after the last fault: two leases, of which
	// the second covers a renewal that was the last thing a lost leader did, a
	// rest, chance, clocks that go wrong, and the take-over itself.
	leaderWithin = 2*leaseMillis + leaseMillis/2
)

// cluster is a ledger that several nodes run, over one store, with a lease
// (SPEC chapter 12). Each node decides by settlement.LeaseWatch on a clock of
// its own. A node that stands still does so in the middle of a call: the rest
// of the world goes on inside that call.
type cluster struct {
	w         *world
	rand      *ledgertest.Rand
	disk      *memDisk
	raw       settlement.Leaser
	members   []*member
	witnesses []*witness

	now    uint64 // true time since the start, in milliseconds
	faults bool
	depth  int      // how many nodes stand still
	late   []func() // requests that were given up and have not arrived
	wire   []parcel // between nodes, and to nodes that stand still

	calmAt uint64              // when the faults ended; 0 while they last
	epoch  uint64              // greatest one acquired
	tokens map[uint64]string   // start of a node whose blocks carry an epoch
	walls  []uint64            // by height: the clock that the block's node had
	heads  []settlement.Head   // by height, without epoch
	roots  map[uint64][32]byte // by size of the log, as anybody signed it
	anchor []settlement.Anchor // by height
	states map[uint64][]byte   // by height, as replay gives it, of some heights
}

// parcel is something for a node to take in, if it still is the start of the
// node that it was sent to.
type parcel struct {
	to   *member
	life int
	do   func()
}

func newCluster(w *world, nodes int) *cluster {
	c := &cluster{w: w, rand: ledgertest.NewRand(w.report.Seed, "cluster"), disk: w.disk.(*memDisk),
		tokens: make(map[uint64]string), roots: make(map[uint64][32]byte), states: make(map[uint64][]byte)}
	for i := range nodes {
		c.members = append(c.members, &member{c: c, name: fmt.Sprint("node", i), rate: 0.97 + 0.06*c.rand.Float64(), offset: int64(c.rand.IntN(3000)) - 1500})
	}
	for i := range 3 {
		c.witnesses = append(c.witnesses, &witness{name: fmt.Sprint("witness", i)})
	}
	return c
}

func (c *cluster) note(fault string) { c.w.report.Other[fault]++ }

func (c *cluster) start() error {
	raw, err := c.disk.Open(ctx, c.w.ledger.Hash)
	if err != nil {
		return err
	}
	c.raw = raw.(settlement.Leaser)
	c.walls = append(c.walls, 0)
	if err := c.observed(); err != nil {
		return err
	}
	c.slots(2, false)
	return c.w.failure
}

func (c *cluster) store() settlement.Store { return c.raw }

func (c *cluster) wallAt(height uint64) uint64 { return c.walls[height] }

// falsely: an answer may be on its way while the log goes on, and try_later
// says that nothing is known. But nobody refuses what stood in the log when it
// was looked up.
func (c *cluster) falsely(r settlement.Result, judged, height uint64) bool {
	return !later(r) && height <= judged
}

func (c *cluster) arm() { c.faults = c.w.tick > 2 }

// rest ends all faults. Requests that are under way arrive.
func (c *cluster) rest() {
	c.faults = false
	if c.calmAt != 0 {
		return
	}
	c.calmAt = c.now
	for _, m := range c.members {
		m.back = min(m.back, c.now)
		m.cutStore, m.cutClients, m.cutPeers, m.cutWitnesses = 0, 0, 0, 0
	}
}

func (c *cluster) founding() { c.slots(2, false) }

func (c *cluster) advance(calm bool) {
	if calm {
		c.slots(4, false)
		return
	}
	c.troubles()
	c.slots(2+c.rand.IntN(7), false)
}

// troubles are faults that are of no call: partitions, kills, and operators
// that replace a node.
func (c *cluster) troubles() {
	m := c.members[c.rand.IntN(len(c.members))]
	until := c.now + uint64(c.rand.IntN(3*leaseMillis))
	switch c.rand.IntN(24) {
	case 0:
		c.note("cut off from the store")
		m.cutStore = until
	case 1:
		c.note("cut off from clients")
		m.cutClients = until
	case 2:
		c.note("cut off from other nodes")
		m.cutPeers = until
	case 3:
		c.note("cut off from witnesses")
		m.cutWitnesses = until
	case 4:
		c.note("cut off from all")
		m.cutStore, m.cutClients, m.cutPeers, m.cutWitnesses = until, until, until, until
	case 5:
		c.note("killed")
		m.run(m.die)
	case 6:
		if leader := c.leader(); leader != nil {
			c.note("killed")
			leader.run(leader.die)
		}
	case 7:
		if leader := c.leader(); leader != nil {
			leader.run(leader.leave)
		}
	case 8:
		if leader := c.leader(); leader != nil {
			leader.run(func() { c.stand(leader) })
		}
	}
}

// stand lets a node stand still where it is, and the world go on.
func (c *cluster) stand(m *member) {
	if c.depth >= 2 || c.w.failure != nil {
		return
	}
	c.note("stands still")
	slots := 1 + c.rand.IntN(6)
	if c.rand.Chance(0.6) {
		c.w.report.Lease["stood still for longer than the lease"]++
		slots = 14 + c.rand.IntN(24)
	}
	c.depth++
	c.slots(slots, true)
	c.depth--
	if c.rand.Chance(0.1) {
		c.note("killed while it stood still")
		m.die()
	}
}

// slots lets time pass. Inside a call of a node that stands still, clients go
// on as well.
func (c *cluster) slots(n int, inside bool) {
	w := c.w
	for i := 0; i < n && w.failure == nil; i++ {
		c.now += slotMillis
		if inside {
			w.wall += slotMillis
		}
		if !c.faults || c.rand.Chance(0.15) {
			late := c.late
			c.late = nil
			for _, do := range late {
				do()
			}
		}
		if inside && i%4 == 3 {
			w.tick++
			w.clients(false)
			w.deliver(false)
		}
		for _, at := range c.rand.Perm(len(c.members)) {
			m := c.members[at]
			if !m.up && c.now >= m.back {
				m.begin()
			}
			m.run(m.tick)
		}
		c.carry()
		for _, m := range c.members {
			if m.seq != nil && (!c.faults || c.rand.Chance(0.6)) {
				m.run(m.step)
			}
		}
		c.carry()
		c.check()
	}
}

// carry delivers what is for nodes. What is for one that stands still waits.
func (c *cluster) carry() {
	for tries := 0; tries < 4 && len(c.wire) > 0; tries++ {
		wire := c.wire
		c.wire = nil
		for _, p := range wire {
			switch {
			case !p.to.up || p.to.life != p.life || c.w.failure != nil:
			case p.to.busy:
				c.wire = append(c.wire, p)
			default:
				p.to.run(p.do)
			}
		}
	}
}

func (c *cluster) post(to *member, do func()) {
	c.wire = append(c.wire, parcel{to, to.life, do})
}

// receive: a client sends to any node.
func (c *cluster) receive(m *message) {
	to := c.members[c.rand.IntN(len(c.members))]
	if !to.up || c.now < to.cutClients {
		return // lost: the client sends again
	}
	c.post(to, func() { to.receive(m) })
	c.carry()
}

// alone holds that nodes which are sure of the lease are one at most, however
// their clocks go.
func (c *cluster) alone(m *member) {
	for _, other := range c.members {
		if other != m && other.up && other.seq != nil && other.watch.Sure(other.clock()) {
			c.w.fail(wrong("%s goes on to lead while %s is sure of its lease", m.name, other.name))
		}
	}
}

// leader is the node that sequences by the newest epoch.
func (c *cluster) leader() *member {
	for _, m := range c.members {
		if m.up && m.seq != nil && m.seq.Epoch() == c.epoch {
			return m
		}
	}
	return nil
}

// acquired holds that epochs only grow.
func (c *cluster) acquired(epoch uint64) {
	if epoch <= c.epoch {
		c.w.fail(wrong("epoch %d was acquired after %d", epoch, c.epoch))
	}
	c.epoch = epoch
}

// appended is a block that became durable: by the newest epoch alone, and all
// blocks of one epoch by one start of a node.
func (c *cluster) appended(m *member, life int, epoch, wall uint64) {
	start := fmt.Sprintf("%s/%d", m.name, life)
	owner, known := c.tokens[epoch]
	switch {
	case epoch != c.epoch:
		c.w.fail(wrong("%s appended by epoch %d, the newest is %d", start, epoch, c.epoch))
	case known && owner != start:
		c.w.fail(wrong("%s and %s both appended by epoch %d", owner, start, epoch))
	}
	c.tokens[epoch] = start
	c.walls = append(c.walls, wall)
	if err := c.observed(); err != nil {
		c.w.fail(err)
	}
}

// observed shows the model what is durable, and keeps the heads.
func (c *cluster) observed() error {
	if err := c.w.observe(); err != nil {
		return err
	}
	for h := uint64(len(c.heads)); h < uint64(len(c.disk.blocks)); h++ {
		b := c.disk.blocks[h]
		c.heads, c.anchor = append(c.heads, b.Head(0)), append(c.anchor, b.Anchor)
		c.sign("the store", b.Size(), b.Root)
	}
	if c.w.audit != nil && c.rand.Chance(0.3) {
		state := c.w.audit.State()
		c.states[state.Height()] = state.Marshal()
	}
	return nil
}

// sign holds that there is one root per size, over all nodes and witnesses, and
// that it is one that the store holds.
func (c *cluster) sign(who string, size uint64, root [32]byte) {
	last := c.disk.blocks[len(c.disk.blocks)-1]
	known, there := c.roots[size]
	switch {
	case !there && size > last.Size():
		c.w.fail(wrong("%s: a root for %d entries, the store has %d", who, size, last.Size()))
	case there && known != root:
		c.w.fail(wrong("%s: a second root for %d entries", who, size))
	}
	c.roots[size] = root
}

// check compares every node with what the store holds, whatever it is doing.
func (c *cluster) check() {
	if c.w.failure != nil {
		return
	}
	for _, m := range c.members {
		if err := c.checkNode(m); m.up && err != nil {
			c.w.fail(err)
		}
	}
	if c.calmAt != 0 && c.now > c.calmAt+leaderWithin && c.leader() == nil {
		c.w.fail(wrong("%d ms after the last fault nobody leads", c.now-c.calmAt))
	}
	if head, err := c.raw.Head(ctx); err != nil || head.Epoch < c.epoch {
		c.w.fail(wrong("the store's epoch is %d after %d (%v)", head.Epoch, c.epoch, err))
	}
}

// checkNode: a node never answers from a state that the store does not have.
func (c *cluster) checkNode(m *member) error {
	if !m.up {
		return nil
	}
	s := m.state
	if s.Height() >= uint64(len(c.heads)) {
		return wrong("%s is at block %d, the store at %d", m.name, s.Height(), len(c.heads)-1)
	}
	if want := c.heads[s.Height()]; s.Head(0) != want || s.Anchor() != c.anchor[s.Height()] {
		return wrong("%s has another state at block %d than the store", m.name, s.Height())
	}
	if want, kept := c.states[s.Height()]; kept && c.rand.Chance(0.05) && !bytes.Equal(want, s.Marshal()) {
		return wrong("%s has another state at block %d than replay gives", m.name, s.Height())
	}
	return nil
}

// finish ends the faults and lets all nodes come to the end of the log. A leader whose last block
// arrived after it had given it up finds out with the next that it writes.
func (c *cluster) finish() (*settlement.State, error) {
	c.rest()
	for _, m := range c.members {
		m.due = true
	}
	for range 12 {
		c.slots(4, false)
	}
	for _, m := range c.members {
		if c.w.failure == nil && (!m.up || m.state.Height() != c.w.model.height) {
			return nil, wrong("%s is at block %d at the end, the log at %d", m.name, m.state.Height(), c.w.model.height)
		}
	}
	if c.w.failure != nil {
		return nil, c.w.failure
	}
	if c.w.audit != nil && !bytes.Equal(c.w.audit.State().Marshal(), c.members[0].state.Marshal()) {
		return nil, wrong("replay gives another state than the nodes have")
	}
	return c.members[0].state, nil
}
