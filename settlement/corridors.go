package settlement

import (
	"bytes"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/proof"
)

const (
	// maxCorridors is the most peers of one ledger (L9.1).
	maxCorridors = 64
	// maxSeen is how many observed sizes of a peer serve for proofs (L9.5).
	maxSeen = 256
	// maxChain is the most log keys that follow one another by rotation until
	// the treasury sets the key anew (L9.3).
	maxChain = 17
)

// corridors are what this ledger keeps about its peers. Shared between states
// like the registry: whoever changes something works on a clone.
type corridors struct {
	rows   []*corridor // ascending by peer; a row never changes once it is here
	bugs   planted.Set
	cached atomic.Pointer[[32]byte] // hash of the canonical bytes
}

// corridor is one peer. The slices are never written to, only replaced.
type corridor struct {
	peer  entry.GenesisHash
	terms *entry.CorridorTerms
	// version counts the entries that changed what an observation is judged
	// by: terms, log key, last size.
	version    uint64
	keys       []entry.SignerKey // the chain: as set by the treasury, then rotated; the last one signs
	seen       []proof.Head      // ascending; the last is the last observed
	peerTime   uint64            // the peer's ledger time in its last observed state entry
	observedAt uint64            // own ledger time of that observation
	inFlight   uint64            // sum of size classes of open holds
	frozen     freeze
	overridden []overridden
}

// freeze says whether a corridor is frozen, and by what.
type freeze uint8

const (
	notFrozen         freeze = 0
	frozenByTreasury  freeze = 1
	frozenByFork      freeze = 2
	frozenByDecisions freeze = 3
)

// String is the Why of a frozen corridor.
func (f freeze) String() string {
	switch f {
	case frozenByTreasury:
		return "treasury"
	case frozenByFork:
		return "evidence: " + entry.EvidenceFork.String()
	case frozenByDecisions:
		return "evidence: " + entry.EvidenceDecisions.String()
	}
	return ""
}

// overridden is a hold here that an override decided in place of the peer.
type overridden struct {
	hold    entry.HoldID // here
	decider entry.HoldID // on the peer
	outcome entry.Outcome
	class   uint64
	late    bool // the peer's decision surfaced and contradicts: a claim
}

func newCorridors() *corridors { return &corridors{} }

func (c *corridors) clone() *corridors {
	out := &corridors{rows: slices.Clone(c.rows), bugs: c.bugs}
	out.cached.Store(c.cached.Load())
	return out
}

// planted gives a clone with bugs built in, for the tests that test the tests.
func (c *corridors) planted(bugs planted.Set) *corridors {
	out := c.clone()
	out.bugs = bugs
	return out
}

func (c *corridors) find(peer entry.GenesisHash) (int, bool) {
	return slices.BinarySearchFunc(c.rows, peer, func(row *corridor, peer entry.GenesisHash) int {
		return bytes.Compare(row.peer[:], peer[:])
	})
}

// row finds a corridor or refuses its absence.
func (c *corridors) row(peer entry.GenesisHash) (*corridor, error) {
	at, known := c.find(peer)
	if !known {
		return nil, entry.Refuse(entry.CorridorUnknown, "no corridor to ledger %s", peer)
	}
	return c.rows[at], nil
}

// change gives a copy of a known row, which takes the place of the shared one.
func (c *corridors) change(peer entry.GenesisHash) *corridor {
	at, known := c.find(peer)
	if !known {
		panic(fmt.Sprintf("settlement: a change to the unknown corridor %s", peer))
	}
	row := *c.rows[at]
	c.rows[at] = &row
	c.cached.Store(nil)
	return &row
}

func (row *corridor) key() entry.SignerKey { return row.keys[len(row.keys)-1] }

// rotation is the number of the last rotation of the chain.
func (row *corridor) rotation() uint32 { return uint32(len(row.keys) - 1) }

// last is the last observed head, size 0 before the first.
func (row *corridor) last() proof.Head {
	if len(row.seen) == 0 {
		return proof.Head{}
	}
	return row.seen[len(row.seen)-1]
}

// seenAt finds the root that was observed for a size.
func (row *corridor) seenAt(size uint64) (proof.Head, bool) {
	at, found := slices.BinarySearchFunc(row.seen, size, func(h proof.Head, size uint64) int {
		switch {
		case h.Size < size:
			return -1
		case h.Size > size:
			return 1
		}
		return 0
	})
	if !found {
		return proof.Head{}, false
	}
	return row.seen[at], true
}

// check refuses a corridor entry that breaks a rule or changes nothing (L9.1,
// L9.2).
func (c *corridors) check(e *entry.Corridor, own entry.GenesisHash) error {
	row, unknown := c.row(e.Peer)
	switch e.Action {
	case entry.CorridorSets:
		switch {
		case e.Peer == own:
			return entry.Refuse(entry.CorridorInvalid, "a ledger has no corridor to itself")
		case e.Terms == nil:
			return entry.Refuse(entry.CorridorInvalid, "a corridor without terms")
		case unknown != nil && len(c.rows) >= maxCorridors:
			return entry.Refuse(entry.CorridorInvalid, "%d corridors, no room for another", len(c.rows))
		}
		return e.Terms.Validate()
	case entry.CorridorFreezes:
		if unknown != nil {
			return unknown
		}
		if row.frozen != notFrozen {
			return entry.Refuse(entry.CorridorInvalid, "the corridor to %s is frozen already (%s)", row.terms.Name, row.frozen)
		}
		return nil
	case entry.CorridorThaws:
		if unknown != nil {
			return unknown
		}
		if row.frozen == notFrozen {
			return entry.Refuse(entry.CorridorInvalid, "the corridor to %s is not frozen", row.terms.Name)
		}
		return nil
	}
	return entry.Refuse(entry.CorridorInvalid, "action %d", e.Action)
}

// set applies an entry that check let pass. Setting again keeps everything but
// the terms: what was observed, what is in flight, claims, and that the
// corridor is frozen (L9.2).
func (c *corridors) set(e *entry.Corridor) {
	at, known := c.find(e.Peer)
	if !known {
		c.rows = slices.Insert(c.rows, at, &corridor{peer: e.Peer, terms: e.Terms, version: 1, keys: []entry.SignerKey{e.Terms.LogKey}})
		c.cached.Store(nil)
		return
	}
	row := c.change(e.Peer)
	switch e.Action {
	case entry.CorridorFreezes:
		row.frozen = frozenByTreasury
	case entry.CorridorThaws:
		row.frozen = notFrozen
	case entry.CorridorSets:
		if e.Terms.LogKey != row.key() || e.Terms.Origin != row.terms.Origin {
			row.keys = []entry.SignerKey{e.Terms.LogKey}
		}
		row.terms = e.Terms
		row.version++
	}
}

// mayPlace judges whether a hold of a size class may be placed that waits for
// this peer, or that this peer waits for (L9.6).
func (c *corridors) mayPlace(peer entry.GenesisHash, class, now uint64) error {
	row, err := c.row(peer)
	switch {
	case err != nil:
		return err
	case row.frozen != notFrozen:
		return entry.Refuse(entry.CorridorFrozen, "the corridor to %s is frozen (%s)", row.terms.Name, row.frozen)
	case row.stale(now):
		return entry.Refuse(entry.CorridorStale, "nothing of %s was observed for %d ms", row.terms.Name, row.terms.StaleMillis)
	case !slices.Contains(row.terms.SizeClasses, class):
		return entry.Refuse(entry.SizeClassUnknown, "size class %d, the corridor to %s has %v", class, row.terms.Name, row.terms.SizeClasses)
	}
	if sum := row.inFlight + class; sum < class || sum > row.terms.Cap {
		return entry.Refuse(entry.CorridorCap, "%d in flight to %s, a hold of class %d passes the cap of %d", row.inFlight, row.terms.Name, class, row.terms.Cap)
	}
	return nil
}

// stale holds when nothing was ever observed, or nothing for more than
// StaleMillis of own ledger time.
func (row *corridor) stale(now uint64) bool {
	return len(row.seen) == 0 || now > row.observedAt && now-row.observedAt > row.terms.StaleMillis
}

// place counts a hold that mayPlace let pass.
func (c *corridors) place(peer entry.GenesisHash, class uint64) {
	row := c.change(peer)
	if row.inFlight+class < class {
		panic(fmt.Sprintf("settlement: %d in flight and class %d to %s overflow", row.inFlight, class, peer))
	}
	row.inFlight += class
}

// release takes a resolved hold off again.
func (c *corridors) release(peer entry.GenesisHash, class uint64) {
	row := c.change(peer)
	if class > row.inFlight {
		panic(fmt.Sprintf("settlement: class %d released of %d in flight to %s", class, row.inFlight, peer))
	}
	row.inFlight -= class
}

func (c *corridors) known(peer entry.GenesisHash) bool {
	_, known := c.find(peer)
	return known
}

// frozen tells whether the corridor is there and frozen.
func (c *corridors) frozen(peer entry.GenesisHash) bool {
	row, err := c.row(peer)
	return err == nil && row.frozen != notFrozen
}

// peerTime is the peer's last observed ledger time in milliseconds, 0 before
// the first observation.
func (c *corridors) peerTime(peer entry.GenesisHash) uint64 {
	row, err := c.row(peer)
	if err != nil {
		return 0
	}
	return row.peerTime
}

// treasury is the peer's policy, for overrides.
func (c *corridors) treasury(peer entry.GenesisHash) (*entry.Policy, error) {
	row, err := c.row(peer)
	if err != nil {
		return nil, err
	}
	return &row.terms.Treasury, nil
}

// The states of a corridor.
const (
	CorridorActive = "active"
	CorridorStale  = "stale"
	CorridorFrozen = "frozen"
)

// Corridor is what this ledger knows of a peer as of the last block.
type Corridor struct {
	Peer   entry.GenesisHash
	Name   string
	Origin string
	State  string // CorridorActive, CorridorStale or CorridorFrozen
	Why    string // "treasury", "evidence: ..." or "never observed"; empty otherwise
	// LogKey signs the peer's checkpoints now, after Rotations rotations.
	LogKey    entry.SignerKey
	Rotations uint32
	// Size and Root were observed last, at own ledger time ObservedAt; the
	// peer's ledger time was PeerTime. Milliseconds; all 0 before the first.
	Size       uint64
	Root       [32]byte
	PeerTime   uint64
	ObservedAt uint64
	// InFlight is the sum of the size classes of open holds, at most Cap when
	// the last one was placed. Minor units.
	InFlight    uint64
	Cap         uint64
	SizeClasses []uint64
	// Claims is the sum of the size classes of overridden holds that the peer
	// turned out to have decided otherwise. Minor units.
	Claims uint64
	// Terms are as set; callers must not change them.
	Terms *entry.CorridorTerms
}

// status lists the corridors ascending by peer, as they stand at an own ledger
// time.
func (c *corridors) status(now uint64) []Corridor {
	out := make([]Corridor, 0, len(c.rows))
	for _, row := range c.rows {
		head := row.last()
		view := Corridor{
			Peer: row.peer, Name: row.terms.Name, Origin: row.terms.Origin, State: CorridorActive,
			LogKey: row.key(), Rotations: row.rotation(),
			Size: head.Size, Root: head.Root, PeerTime: row.peerTime, ObservedAt: row.observedAt,
			InFlight: row.inFlight, Cap: row.terms.Cap, SizeClasses: slices.Clone(row.terms.SizeClasses),
			Claims: row.claims(), Terms: row.terms,
		}
		switch {
		case row.frozen != notFrozen:
			view.State, view.Why = CorridorFrozen, row.frozen.String()
		case len(row.seen) == 0:
			view.State, view.Why = CorridorStale, "never observed"
		case row.stale(now):
			view.State = CorridorStale
		}
		out = append(out, view)
	}
	return out
}

func (row *corridor) claims() (sum uint64) {
	for _, o := range row.overridden {
		if o.late {
			sum = add(sum, o.class)
		}
	}
	return sum
}
