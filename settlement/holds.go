package settlement

import (
	"bytes"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// maxHolds bounds the holds that are open at once (L8.1).
const maxHolds = 1 << 20

// hold is an output that waits (L8.1). It never changes once made: what an
// entry changes is a copy.
type hold struct {
	id       entry.HoldID
	index    uint64 // log index of the entry that placed it
	placedAt uint64 // ledger time, milliseconds
	payee    zk.Commitment
	back     zk.Commitment // the return commitment
	class    uint64
	coded    entry.Condition
	rule     any    // coded, read: *entry.Attested, *entry.DecidedHere or *entry.DecidedThere
	until    uint64 // ledger time from which it is expired, as amended; 0 of one that is decided elsewhere

	// Of an attested hold.
	attested   []attestation // ascending by attestor
	agreed     [32]byte      // the document that enough attestors stand for; zero while none is
	agreedAt   uint64        // ledger time since which they do, without a break
	challenged bool
}

// attestation is what one attestor stands for.
type attestation struct {
	attestor uint8
	document [32]byte
}

// newHold makes the hold that a leg places.
func newHold(tx entry.ID, i int, leg *entry.Leg, rule any, index, now uint64) *hold {
	h := &hold{
		id: entry.HoldID{Tx: tx, Leg: uint8(i)}, index: index, placedAt: now,
		payee: leg.Commitments[0], back: leg.ReturnCommitment, class: leg.SizeClass,
		coded: leg.Condition, rule: rule,
	}
	switch rule := rule.(type) {
	case *entry.Attested:
		h.until = rule.Until
	case *entry.DecidedHere:
		h.until = rule.Until
	}
	return h
}

// peers lists the ledgers in whose corridors the hold is in flight (L8.4).
func (h *hold) peers() []entry.GenesisHash {
	switch rule := h.rule.(type) {
	case *entry.DecidedHere:
		peers := make([]entry.GenesisHash, len(rule.Followers))
		for i := range rule.Followers {
			peers[i] = rule.Followers[i].Ledger
		}
		return peers
	case *entry.DecidedThere:
		return []entry.GenesisHash{rule.Ledger}
	}
	return nil
}

// commitment is the output that an outcome places.
func (h *hold) commitment(outcome entry.Outcome) zk.Commitment {
	if outcome == entry.Posted {
		return h.payee
	}
	return h.back
}

// holdSet is the set of open holds: a trie over the nibbles of the transaction
// id, whose versions share what they have in common, so that a block costs what
// it changes and not what is open. The zero value is empty.
type holdSet struct {
	root  *holdNode
	times holdTimes // when they expire
}

// holdBucket is how many holds a leaf of the trie takes before it splits. It is
// more than the legs of one transaction, so 64 nibbles always suffice.
const holdBucket = 8

// holdNode is a node of the trie: a leaf with rows, or an inner one with kids.
type holdNode struct {
	count  int
	latest uint64  // greatest expiry below
	rows   []*hold // ascending by id
	kids   *[16]*holdNode
}

func nibble(tx *entry.ID, depth int) byte {
	return tx[depth/2] >> (4 * (1 - depth%2)) & 15
}

func compareHolds(a, b entry.HoldID) int {
	if c := bytes.Compare(a.Tx[:], b.Tx[:]); c != 0 {
		return c
	}
	return int(a.Leg) - int(b.Leg)
}

func (s holdSet) len() int {
	if s.root == nil {
		return 0
	}
	return s.root.count
}

// latest is the greatest expiry of an open hold, 0 without one.
func (s holdSet) latest() uint64 {
	if s.root == nil {
		return 0
	}
	return s.root.latest
}

func (s holdSet) get(id entry.HoldID) (*hold, bool) {
	n := s.root
	for depth := 0; n != nil && n.kids != nil; depth++ {
		n = n.kids[nibble(&id.Tx, depth)]
	}
	if n != nil {
		for _, h := range n.rows {
			if h.id == id {
				return h, true
			}
		}
	}
	return nil, false
}

// put gives the set with a hold added, or in place of the one with its id.
func (s holdSet) put(h *hold) holdSet {
	times := s.times
	old, open := s.get(h.id)
	if open && old.until != h.until {
		times = times.add(old.until, -1)
	}
	if !open || old.until != h.until {
		times = times.add(h.until, 1)
	}
	return holdSet{s.root.put(h, 0), times}
}

// drop gives the set without a hold.
func (s holdSet) drop(id entry.HoldID) holdSet {
	h, open := s.get(id)
	if !open {
		return s
	}
	return holdSet{s.root.drop(id, 0), s.times.add(h.until, -1)}
}

// each calls f with every hold, ascending by id.
func (s holdSet) each(f func(*hold)) { s.root.each(f) }

func (n *holdNode) put(h *hold, depth int) *holdNode {
	switch {
	case n == nil:
		return leafOf([]*hold{h})
	case n.kids != nil:
		kids := *n.kids
		at := nibble(&h.id.Tx, depth)
		kids[at] = kids[at].put(h, depth+1)
		return innerOf(&kids)
	}
	rows := make([]*hold, 0, len(n.rows)+1)
	at := 0
	for at < len(n.rows) && compareHolds(n.rows[at].id, h.id) < 0 {
		at++
	}
	rows = append(append(rows, n.rows[:at]...), h)
	if at < len(n.rows) && n.rows[at].id == h.id {
		at++
	}
	rows = append(rows, n.rows[at:]...)
	if len(rows) <= holdBucket {
		return leafOf(rows)
	}
	var kids [16]*holdNode
	for _, row := range rows {
		at := nibble(&row.id.Tx, depth)
		kids[at] = kids[at].put(row, depth+1)
	}
	return innerOf(&kids)
}

func (n *holdNode) drop(id entry.HoldID, depth int) *holdNode {
	if n == nil {
		return nil
	}
	if n.kids != nil {
		kids := *n.kids
		at := nibble(&id.Tx, depth)
		kids[at] = kids[at].drop(id, depth+1)
		inner := innerOf(&kids)
		if inner.count > holdBucket {
			return inner
		}
		rows := make([]*hold, 0, inner.count)
		inner.each(func(h *hold) { rows = append(rows, h) })
		return leafOf(rows)
	}
	rows := make([]*hold, 0, len(n.rows))
	for _, h := range n.rows {
		if h.id != id {
			rows = append(rows, h)
		}
	}
	return leafOf(rows)
}

func (n *holdNode) each(f func(*hold)) {
	if n == nil {
		return
	}
	for _, h := range n.rows {
		f(h)
	}
	if n.kids != nil {
		for _, kid := range n.kids {
			kid.each(f)
		}
	}
}

func leafOf(rows []*hold) *holdNode {
	if len(rows) == 0 {
		return nil
	}
	n := &holdNode{count: len(rows), rows: rows}
	for _, h := range rows {
		n.latest = max(n.latest, h.until)
	}
	return n
}

func innerOf(kids *[16]*holdNode) *holdNode {
	n := &holdNode{kids: kids}
	for _, kid := range kids {
		if kid != nil {
			n.count += kid.count
			n.latest = max(n.latest, kid.latest)
		}
	}
	return n
}

// Hold is an open hold as it stands at the last block.
type Hold struct {
	ID         entry.HoldID
	Entry      uint64 // log index of the entry that placed it
	PlacedAt   uint64 // ledger time, milliseconds
	Commitment zk.Commitment
	Return     zk.Commitment
	SizeClass  uint64
	Condition  entry.Condition
	Until      uint64   // expiry in ledger time, as amended; 0 of a hold that follows another ledger
	Attested   []int    // attestors who stand for Document, ascending
	Document   [32]byte // the document that most attestors stand for
	ReadyAt    uint64   // ledger time from which it may be posted; 0 while attestations are missing
	Challenged bool
}

func (h *hold) view() Hold {
	v := Hold{ID: h.id, Entry: h.index, PlacedAt: h.placedAt, Commitment: h.payee, Return: h.back, SizeClass: h.class,
		Condition: h.coded, Until: h.until, ReadyAt: h.readyAt(), Challenged: h.challenged}
	v.Document = h.agreed
	if v.Document == ([32]byte{}) {
		v.Document = h.leading(1)
	}
	for _, a := range h.attested {
		if a.document == v.Document {
			v.Attested = append(v.Attested, int(a.attestor))
		}
	}
	return v
}

// Holds returns all open holds, ascending by id.
func (s *State) Holds() []Hold {
	out := make([]Hold, 0, s.holds.len())
	s.holds.each(func(h *hold) { out = append(out, h.view()) })
	return out
}

// Hold looks an open hold up. One that was posted or voided is open no more:
// the log holds its resolution.
func (s *State) Hold(id entry.HoldID) (Hold, bool) {
	h, open := s.holds.get(id)
	if !open {
		return Hold{}, false
	}
	return h.view(), true
}

// OpenHolds is the number of open holds.
func (s *State) OpenHolds() int { return s.holds.len() }

// Corridors returns all corridors at a ledger time in milliseconds.
func (s *State) Corridors(now uint64) []Corridor { return s.corridors.status(now) }
