package bridge

import (
	"cmp"
	"crypto/ed25519"
	"maps"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// A Relay plans what a relayer does: it reads the entries of the logs in order and says which observations and resolutions would be accepted
// next. It holds no secret and nothing that the logs do not give again, so a relayer that loses it starts over, and two of them do no harm: what
// one was quicker with is refused to the other by name (B6.1). It trusts the entries that it is given; were they false, its proposals would be
// refused by the ledgers.
type Relay struct {
	logs  map[entry.GenesisHash]*relayLog
	forks map[entry.GenesisHash]*proof.Evidence // of logs that said two things
}

type relayLog struct {
	next      uint64 // index of the entry to be read next
	time      uint64 // ledger time of the last state entry
	holds     map[entry.HoldID]*relayHold
	decisions map[entry.HoldID]*relayDecision             // of deciding holds
	following map[entry.Named]map[entry.HoldID]*relayHold // by what decides them
	corridors map[entry.GenesisHash]*relayCorridor
	overrides map[entry.HoldID]*relayOverride // of holds that follow, for which no claim is booked
	seen      []*relayCorridor                // observed since the last state entry
	swept     uint64                          // ledger time of the last sweep
}

type relayHold struct {
	id      entry.HoldID
	index   uint64 // of the leaf that placed it
	leaf    []byte
	payee   zk.Commitment
	back    zk.Commitment
	here    *entry.DecidedHere
	there   *entry.DecidedThere
	settled bool
}

type relayDecision struct {
	index   uint64 // of the leaf that decides
	leaf    []byte
	outcome entry.Outcome
	named   []entry.Named
	hold    *relayHold
}

type relayOverride struct {
	hold    *relayHold
	outcome entry.Outcome
}

type relayCorridor struct {
	known      bool
	frozen     bool
	size       uint64      // last observed
	seen       []statement // the last observations, oldest first
	observedAt uint64      // own ledger time
	stale      uint64      // terms, milliseconds
	terms      *entry.CorridorTerms
	keys       []ed25519.PublicKey // the peer's log keys: that of the terms, and those it was rotated to
	accused    bool                // evidence was logged since the terms named this key
}

// statement is a head of a peer's log as a ledger observed it.
type statement struct {
	proof.Head
	signed []byte
	looked bool // compared with the log itself
}

// NewRelay makes a relay for some ledgers. from gives the first entry that will be read of each: 0, or a point before which no hold of another
// ledger's business is open.
func NewRelay(from map[entry.GenesisHash]uint64) *Relay {
	r := &Relay{logs: map[entry.GenesisHash]*relayLog{}, forks: map[entry.GenesisHash]*proof.Evidence{}}
	for l, next := range from {
		r.logs[l] = &relayLog{next: next, holds: map[entry.HoldID]*relayHold{}, decisions: map[entry.HoldID]*relayDecision{},
			following: map[entry.Named]map[entry.HoldID]*relayHold{}, corridors: map[entry.GenesisHash]*relayCorridor{}, overrides: map[entry.HoldID]*relayOverride{}}
	}
	return r
}

// Next is the index of the entry of a ledger that Add takes next.
func (r *Relay) Next(ledger entry.GenesisHash) uint64 {
	if l := r.logs[ledger]; l != nil {
		return l.next
	}
	return 0
}

// Add reads the next entry of a ledger's log. It refuses entry_gap for any other index, and what entry.Decode refuses.
func (r *Relay) Add(ledger entry.GenesisHash, index uint64, leaf []byte) error {
	l := r.logs[ledger]
	if l == nil {
		return Refuse(LedgerUnknown, "%s", ledger)
	}
	if index != l.next {
		return Refuse(EntryGap, "entry %d of %s, the next is %d", index, ledger, l.next)
	}
	if err := r.Show(ledger, index, leaf); err != nil {
		return err
	}
	l.next++
	return nil
}

// Show reads an entry out of order, whose inclusion was proven: what a bundle holds. Entries of one ledger are shown in ascending order.
func (r *Relay) Show(ledger entry.GenesisHash, index uint64, leaf []byte) error {
	l := r.logs[ledger]
	if l == nil {
		return Refuse(LedgerUnknown, "%s", ledger)
	}
	e, err := entry.Decode(leaf)
	if err != nil {
		return err
	}
	if h := e.Head(); h != nil && h.Ledger != ledger {
		return Refuse(BundleOther, "entry %d is of ledger %s", index, h.Ledger)
	}
	switch e := e.(type) {
	case *entry.State:
		l.time = max(l.time, e.TimeMillis)
		for _, c := range l.seen { // observed in the block that this entry ends
			c.observedAt = l.time
		}
		l.seen = nil
	case *entry.Transaction:
		l.place(e, index, leaf)
	case *entry.Resolve:
		l.settle(e.Hold, index, leaf, e.Outcome, e.Named)
	case *entry.Override:
		if h := l.holds[e.Hold]; h != nil && h.there != nil {
			l.overrides[e.Hold] = &relayOverride{h, e.Outcome}
		}
		l.settle(e.Hold, index, leaf, e.Outcome, nil)
	case *entry.Corridor:
		c := l.corridor(e.Peer)
		switch e.Action {
		case entry.CorridorSets:
			c.set(e.Terms)
		case entry.CorridorFreezes:
			c.frozen = true
		case entry.CorridorThaws:
			c.frozen = false
		}
	case *entry.Evidence:
		if e.Type != entry.EvidenceLate {
			c := l.corridor(e.Peer)
			c.frozen, c.accused = true, true
		} else if p, err := entry.ParsePeerProof(e.Data); err == nil {
			l.claimed(e.Peer, p.Leaf)
		}
	case *entry.Observe:
		if c := l.corridor(e.Peer); e.Size > c.size {
			c.observed(e)
			l.seen = append(l.seen, c)
			r.compare(ledger, e.Peer)
		}
	}
	return nil
}

func (l *relayLog) corridor(peer entry.GenesisHash) *relayCorridor {
	c := l.corridors[peer]
	if c == nil {
		c = &relayCorridor{}
		l.corridors[peer] = c
	}
	return c
}

// ringSize is how many observations a ledger keeps of a peer.
const ringSize = 256

func (c *relayCorridor) observed(e *entry.Observe) {
	for i := range e.Rotations {
		c.keys = append(c.keys, e.Rotations[i].Key.Public())
	}
	c.size = e.Size
	if c.seen = append(c.seen, statement{Head: proof.Head{Size: e.Size, Root: e.Root}, signed: e.Checkpoint}); len(c.seen) > ringSize {
		c.seen = slices.Clone(c.seen[1:])
	}
}

// saw tells whether one of the last observations had a size.
func (c *relayCorridor) saw(size uint64) bool { return c.at(size) != nil }

func (c *relayCorridor) at(size uint64) *statement {
	i, found := slices.BinarySearchFunc(c.seen, size, func(s statement, size uint64) int { return cmp.Compare(s.Size, size) })
	if !found {
		return nil
	}
	return &c.seen[i]
}

// set takes new terms. Another origin or key begins the chain of keys anew (settlement L9.3).
func (c *relayCorridor) set(t *entry.CorridorTerms) {
	if n := len(c.keys); n == 0 || c.terms == nil || c.terms.Origin != t.Origin || !t.LogKey.Public().Equal(c.keys[n-1]) {
		c.keys, c.accused = []ed25519.PublicKey{t.LogKey.Public()}, false
	}
	c.known, c.stale, c.terms = true, t.StaleMillis, t
}

func (l *relayLog) place(tx *entry.Transaction, index uint64, leaf []byte) {
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		if leg.Circuit != zk.Hold || leg.Condition.Type == entry.ConditionAttested {
			continue
		}
		c, err := leg.Condition.Decode()
		if err != nil {
			continue // an entry that decodes has conditions that do
		}
		h := &relayHold{id: entry.HoldID{Tx: tx.ID(), Leg: uint8(i)}, index: index, leaf: leaf, payee: leg.Commitments[0], back: leg.ReturnCommitment}
		if l.holds[h.id] != nil || l.decisions[h.id] != nil {
			continue // shown twice
		}
		switch c := c.(type) {
		case *entry.DecidedHere:
			h.here = c
		case *entry.DecidedThere:
			h.there = c
			by := entry.Named{Ledger: c.Ledger, Hold: c.Hold}
			if l.following[by] == nil {
				l.following[by] = map[entry.HoldID]*relayHold{}
			}
			l.following[by][h.id] = h
		}
		l.holds[h.id] = h
	}
}

func (l *relayLog) settle(id entry.HoldID, index uint64, leaf []byte, outcome entry.Outcome, named []entry.Named) {
	h := l.holds[id]
	if h == nil {
		return // an attested hold, or one from before the first entry that was read
	}
	delete(l.holds, id)
	h.settled = true
	if h.here != nil {
		l.decisions[id] = &relayDecision{index, leaf, outcome, named, h}
	}
}

// claimed forgets the overrides for which a late decision was booked.
func (l *relayLog) claimed(peer entry.GenesisHash, leaf []byte) {
	e, err := entry.Decode(leaf)
	if err != nil {
		return
	}
	var decided entry.HoldID
	switch e := e.(type) {
	case *entry.Resolve:
		decided = e.Hold
	case *entry.Override:
		decided = e.Hold
	}
	maps.DeleteFunc(l.overrides, func(_ entry.HoldID, o *relayOverride) bool {
		return o.hold.there.Ledger == peer && o.hold.there.Hold == decided
	})
}

// sweepMillis is how much ledger time passes between two sweeps.
const sweepMillis = 60_000

// sweep forgets decisions that nobody can need any more: every ledger that may follow has passed the hold's expiry, so that it accepts no new
// follower, and none that follows is open. Without it a relay would grow with every payment.
func (r *Relay) sweep(name entry.GenesisHash, l *relayLog) {
	if l.time < l.swept+sweepMillis {
		return
	}
	l.swept = l.time
	for id, d := range l.decisions {
		by := entry.Named{Ledger: name, Hold: id}
		if slices.ContainsFunc(d.hold.here.Followers, func(f entry.Follower) bool {
			other := r.logs[f.Ledger]
			if other == nil {
				return false
			}
			for _, h := range other.following[by] {
				if o := other.overrides[h.id]; !h.settled || o != nil && d.says(f.Ledger, h.id) != o.outcome {
					return true
				}
			}
			return other.time < d.hold.here.Until
		}) {
			continue
		}
		delete(l.decisions, id)
		for _, f := range d.hold.here.Followers {
			if other := r.logs[f.Ledger]; other != nil {
				for id := range other.following[by] {
					delete(other.overrides, id)
				}
				delete(other.following, by)
			}
		}
	}
}
