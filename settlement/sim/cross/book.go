package cross

import (
	"crypto/ed25519"
	"slices"
	"strings"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/sim"
	"github.com/comity-ledger/comity/zk"
)

// book is what the model knows of one ledger, from its log alone.
type book struct {
	l      *ledger
	blocks uint64
	time   uint64 // ledger time of the last block
	root   [32]byte
	size   uint64
	ids    map[entry.ID]uint64
	seq    uint64 // next policy sequence number

	holds     map[entry.HoldID]*hold
	openHolds int
	placed    map[zk.Commitment]bool
	spent     map[zk.Nullifier]bool
	next      uint32                       // position that the next output takes
	issued    zk.Amount                    // minor units ever issued
	unspent   zk.Amount                    // of placed notes
	observed  map[entry.GenesisHash][]seen // in the order of the log
	inFlight  map[entry.GenesisHash]uint64
	frozen    map[entry.GenesisHash]bool
	terms     map[entry.GenesisHash]*entry.CorridorTerms
}

type seen struct{ size, at uint64 }

// hold is a hold of the log.
type hold struct {
	id        entry.HoldID
	index     uint64
	leg       *entry.Leg
	value     zk.Amount
	cond      any
	until     uint64
	outcome   entry.Outcome
	decidedAt uint64 // index of the entry that resolved it
	named     []entry.Named

	attested   map[uint8][32]byte
	challenged bool
	since      uint64 // ledger time from which enough attestors agreed; 0: they do not
}

func newBook(l *ledger) *book {
	return &book{l: l, ids: make(map[entry.ID]uint64), seq: 1, holds: make(map[entry.HoldID]*hold), placed: make(map[zk.Commitment]bool),
		spent: make(map[zk.Nullifier]bool), observed: make(map[entry.GenesisHash][]seen), inFlight: make(map[entry.GenesisHash]uint64),
		frozen: make(map[entry.GenesisHash]bool), terms: make(map[entry.GenesisHash]*entry.CorridorTerms)}
}

// follow takes in the next durable block and checks it against the invariants.
func (b *book) follow(block *settlement.Block) error {
	wrong := func(format string, args ...any) error {
		return sim.Violation(b.l.name+": "+format, args...)
	}
	if block.Time < b.time {
		return wrong("ledger time went from %d to %d", b.time, block.Time)
	}
	b.time = block.Time
	var outputs []zk.Commitment
	for i, leaf := range block.Entries {
		e, err := entry.Decode(leaf)
		if err != nil {
			return wrong("entry %d does not decode: %v", block.FirstIndex+uint64(i), err)
		}
		if e.Head() == nil {
			continue
		}
		b.l.w.report.Entries++
		id, index := entry.IDOf(e), block.FirstIndex+uint64(i)
		if at, there := b.ids[id]; there {
			return wrong("%s stands at %d and at %d", id, at, index)
		}
		b.ids[id] = index
		if e.Kind().Privileged() {
			if e.Head().Sequence != b.seq {
				return wrong("policy sequence %d, want %d", e.Head().Sequence, b.seq)
			}
			b.seq++
			if !b.signed(e.Head().Signatures, entry.AuthorisationMessage(id), &b.l.secrets.Genesis.Policy) {
				return wrong("entry %d lacks the policy's signatures", index)
			}
		}
		if b.time >= e.Head().ExpiryMillis {
			return wrong("entry %d settled at %d, its expiry is %d", index, b.time, e.Head().ExpiryMillis)
		}
		var placed []zk.Commitment
		switch e := e.(type) {
		case *entry.Transaction:
			placed, err = b.transact(e, id, index)
		case *entry.Resolve:
			placed, err = b.resolve(e, index)
		case *entry.Override:
			placed, err = b.override(e, index)
		case *entry.Attest:
			err = b.attest(e)
		case *entry.Amend:
			err = b.amend(e)
		case *entry.Corridor:
			switch e.Action {
			case entry.CorridorSets:
				b.terms[e.Peer] = e.Terms
			default:
				b.frozen[e.Peer] = e.Action == entry.CorridorFreezes
			}
		case *entry.Observe:
			err = b.observe(e)
		case *entry.Evidence:
			if e.Type != entry.EvidenceLate {
				b.frozen[e.Peer] = true
			}
		}
		if err != nil {
			return err
		}
		outputs = append(outputs, placed...)
	}
	if len(outputs) != len(block.Commitments) {
		return wrong("block %d placed %d commitments, its entries give %d", block.Height, len(block.Commitments), len(outputs))
	}
	for i, cm := range outputs {
		if got := block.Commitments[i]; got.Commitment != cm || got.Position.Index != b.next {
			return wrong("block %d placed %s at %d, its entries give %s at %d", block.Height, got.Commitment, got.Position.Index, cm, b.next)
		}
		if b.placed[cm] {
			return wrong("commitment %s was placed twice", cm)
		}
		b.placed[cm] = true
		owned := b.l.w.notes[cm]
		if owned == nil {
			return wrong("nobody knows commitment %s", cm)
		}
		b.unspent += owned.note.Value
		owned.wallet.gain(owned.note, zk.Position{Index: b.next})
		b.next++
	}
	var held zk.Amount
	for _, h := range b.holds {
		if h.outcome == 0 {
			held += h.value
		}
	}
	if b.unspent+held != b.issued {
		return wrong("block %d: %d in notes and %d in holds, %d was issued", block.Height, b.unspent, held, b.issued)
	}
	b.blocks, b.root, b.size = block.Height+1, block.Root, block.Size()
	return nil
}

func (b *book) transact(tx *entry.Transaction, id entry.ID, index uint64) (placed []zk.Commitment, err error) {
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		for _, nf := range leg.Nullifiers {
			if b.spent[nf] {
				return nil, sim.Violation("%s: nullifier %s was spent twice", b.l.name, nf)
			}
			b.spent[nf] = true
			b.unspent -= b.l.w.spends[nf]
		}
		b.issued += leg.Issued
		if !leg.Circuit.Shape().Held {
			placed = append(placed, leg.Commitments...)
			continue
		}
		placed = append(placed, leg.Commitments[1])
		if err := b.hold(leg, entry.HoldID{Tx: id, Leg: uint8(i)}, index); err != nil {
			return nil, err
		}
	}
	return placed, nil
}

// hold books a new one and judges whether it may stand.
func (b *book) hold(leg *entry.Leg, id entry.HoldID, index uint64) error {
	cond, err := leg.Condition.Decode()
	if err != nil {
		return sim.Violation("%s: hold %s: %v", b.l.name, id, err)
	}
	h := &hold{id: id, index: index, leg: leg, cond: cond, attested: make(map[uint8][32]byte), value: b.l.w.notes[leg.Commitments[0]].note.Value}
	if ret := b.l.w.notes[leg.ReturnCommitment]; ret == nil || ret.note.Value != h.value {
		return sim.Violation("%s: hold %s returns something else", b.l.name, id)
	}
	var peers []entry.GenesisHash
	switch c := cond.(type) {
	case *entry.Attested:
		h.until = c.Until
	case *entry.DecidedHere:
		h.until = c.Until
		for _, f := range c.Followers {
			peers = append(peers, f.Ledger)
		}
	case *entry.DecidedThere:
		peers = append(peers, c.Ledger)
		decider := b.l.w.byHash[c.Ledger].book.holds[c.Hold]
		if decider == nil {
			return sim.Violation("%s: hold %s follows a hold that %s does not have", b.l.name, id, b.l.w.byHash[c.Ledger].name)
		}
		here, ok := decider.cond.(*entry.DecidedHere)
		if !ok || !slices.Contains(here.Followers, entry.Follower{Ledger: b.l.hash, Commitment: leg.Commitments[0]}) || here.Until != c.Until {
			return sim.Violation("%s: hold %s follows a hold that does not ask for it", b.l.name, id)
		}
	}
	if h.until != 0 && h.until <= b.time {
		return sim.Violation("%s: hold %s was placed at %d, after its expiry %d", b.l.name, id, b.time, h.until)
	}
	for _, p := range peers {
		b.inFlight[p] += leg.SizeClass
		t := b.terms[p]
		switch {
		case t == nil || b.frozen[p]:
			return sim.Violation("%s: hold %s was placed in a corridor that is closed", b.l.name, id)
		case b.inFlight[p] > t.Cap:
			return sim.Violation("%s: %d in flight, the cap is %d", b.l.name, b.inFlight[p], t.Cap)
		case !slices.Contains(t.SizeClasses, leg.SizeClass) || uint64(h.value) > leg.SizeClass:
			return sim.Violation("%s: hold %s of %d in size class %d", b.l.name, id, h.value, leg.SizeClass)
		case len(b.observed[p]) == 0 || b.time-b.observed[p][len(b.observed[p])-1].at > t.StaleMillis:
			return sim.Violation("%s: hold %s was placed in a stale corridor", b.l.name, id)
		}
	}
	b.holds[id] = h
	b.openHolds++
	return nil
}

func (b *book) close(id entry.HoldID, outcome entry.Outcome, cm zk.Commitment, index uint64) (*hold, error) {
	h := b.holds[id]
	if h == nil || h.outcome != 0 {
		return nil, sim.Violation("%s: entry %d resolves hold %s, which is not open", b.l.name, index, id)
	}
	want := h.leg.Commitments[0]
	if outcome == entry.Voided {
		want = h.leg.ReturnCommitment
	}
	if cm != want {
		return nil, sim.Violation("%s: entry %d: hold %s was %s and placed another commitment", b.l.name, index, id, outcome)
	}
	h.outcome, h.decidedAt = outcome, index
	b.openHolds--
	switch c := h.cond.(type) {
	case *entry.DecidedHere:
		for _, f := range c.Followers {
			b.inFlight[f.Ledger] -= h.leg.SizeClass
		}
	case *entry.DecidedThere:
		b.inFlight[c.Ledger] -= h.leg.SizeClass
	}
	b.l.w.report.Outcomes[outcome.String()]++
	return h, nil
}

// resolve judges a resolution with what all logs say.
func (b *book) resolve(e *entry.Resolve, index uint64) ([]zk.Commitment, error) {
	h, err := b.close(e.Hold, e.Outcome, e.Commitment, index)
	if err != nil {
		return nil, err
	}
	wrong := func(format string, args ...any) error {
		return sim.Violation(b.l.name+": hold "+e.Hold.String()+": "+format, args...)
	}
	if e.Outcome == entry.Posted && h.until != 0 && b.time >= h.until {
		return nil, wrong("posted at %d, its expiry is %d", b.time, h.until)
	}
	if e.Reason == entry.ReasonExpired && (h.until == 0 || b.time < h.until) {
		return nil, wrong("voided as expired at %d, its expiry is %d", b.time, h.until)
	}
	switch c := h.cond.(type) {
	case *entry.Attested:
		if e.Outcome == entry.Posted {
			need, window := int(c.Threshold), c.WindowMillis
			if h.challenged {
				need, window = int(c.Contested), 0
			}
			if n := h.agreeing(); n < need || b.time < h.since+window {
				return nil, wrong("posted with %d of %d attestations, agreed since %d, at %d", n, need, h.since, b.time)
			}
		}
	case *entry.DecidedHere:
		h.named = e.Named
		if e.Outcome == entry.Posted {
			if len(e.Named) != len(c.Followers) {
				return nil, wrong("posted with %d of %d followers", len(e.Named), len(c.Followers))
			}
			for i, f := range c.Followers {
				if b.frozen[f.Ledger] {
					return nil, wrong("posted in a frozen corridor")
				}
				peer := b.l.w.byHash[f.Ledger].book.holds[e.Named[i].Hold]
				if e.Named[i].Ledger != f.Ledger || peer == nil || peer.leg.Commitments[0] != f.Commitment {
					return nil, wrong("posted without the hold that it waits for")
				}
				there, ok := peer.cond.(*entry.DecidedThere)
				if !ok || there.Ledger != b.l.hash || there.Hold != e.Hold {
					return nil, wrong("posted for a hold that waits for something else")
				}
			}
		}
	case *entry.DecidedThere:
		if err := b.follows(h, c, e.Outcome); err != nil {
			return nil, err
		}
	}
	return []zk.Commitment{e.Commitment}, nil
}

// follows holds both-or-neither: a follower ends as its decider did.
func (b *book) follows(h *hold, c *entry.DecidedThere, outcome entry.Outcome) error {
	decider := b.l.w.byHash[c.Ledger].book.holds[c.Hold]
	want := entry.Voided
	if decider.outcome == entry.Posted && slices.Contains(decider.named, entry.Named{Ledger: b.l.hash, Hold: h.id}) {
		want = entry.Posted
	}
	if decider.outcome == 0 || outcome != want {
		return sim.Violation("%s: hold %s was %s, its decider is %s", b.l.name, h.id, outcome, decider.outcome)
	}
	return nil
}

// signed counts good signatures of distinct signers.
func (b *book) signed(sigs []entry.PolicySignature, msg []byte, policy *entry.Policy) bool {
	good := make(map[uint8]bool)
	for _, s := range sigs {
		good[s.Signer] = int(s.Signer) < len(policy.Signers) && ed25519.Verify(policy.Signers[s.Signer].Public(), msg, s.Signature[:])
		if !good[s.Signer] {
			return false
		}
	}
	return len(good) >= int(policy.Threshold)
}

func (b *book) override(e *entry.Override, index uint64) ([]zk.Commitment, error) {
	id := entry.IDOf(e)
	if !b.signed(e.Treasury, entry.OverrideMessage(id), &b.l.w.byHash[e.Peer].secrets.Genesis.Policy) ||
		!zk.VerifySignature(b.l.oversight.Base(), entry.OverrideField(id).Element(), e.Oversight) {
		return nil, sim.Violation("%s: hold %s was overridden without the peer's treasury or oversight", b.l.name, e.Hold)
	}
	h, err := b.close(e.Hold, e.Outcome, e.Commitment, index)
	if err != nil {
		return nil, err
	}
	if !b.frozen[e.Peer] {
		return nil, sim.Violation("%s: hold %s was overridden in a corridor that is not frozen", b.l.name, e.Hold)
	}
	if _, here := h.cond.(*entry.DecidedHere); here && e.Outcome != entry.Voided {
		return nil, sim.Violation("%s: an override posted hold %s, which decides", b.l.name, e.Hold)
	}
	return []zk.Commitment{e.Commitment}, nil
}

// agreeing counts the attestors behind the document that most of them name.
func (h *hold) agreeing() (most int) {
	count := make(map[[32]byte]int)
	for _, doc := range h.attested {
		count[doc]++
		most = max(most, count[doc])
	}
	return most
}

func (b *book) attest(e *entry.Attest) error {
	h := b.holds[e.Hold]
	if h == nil || h.outcome != 0 {
		return sim.Violation("%s: a statement about hold %s, which is not open", b.l.name, e.Hold)
	}
	c, ok := h.cond.(*entry.Attested)
	if !ok || e.Action == entry.Attests && b.time >= h.until {
		return sim.Violation("%s: hold %s cannot be attested at %d", b.l.name, e.Hold, b.time)
	}
	switch e.Action {
	case entry.Attests:
		if _, twice := h.attested[e.Attestor]; twice {
			return sim.Violation("%s: attestor %d of hold %s counted twice", b.l.name, e.Attestor, e.Hold)
		}
		h.attested[e.Attestor] = e.Document
	case entry.Withdraws:
		delete(h.attested, e.Attestor)
	case entry.Challenges:
		h.challenged = true
	}
	need := int(c.Threshold)
	if h.challenged {
		need = int(c.Contested)
	}
	switch enough := h.agreeing() >= need; {
	case !enough:
		h.since = 0
	case h.since == 0:
		h.since = b.time
	}
	return nil
}

func (b *book) amend(e *entry.Amend) error {
	h := b.holds[e.Hold]
	if h == nil || h.outcome != 0 || b.time >= h.until || e.Until <= b.time {
		return sim.Violation("%s: hold %s was amended and cannot be", b.l.name, e.Hold)
	}
	h.until = e.Until
	return nil
}

func (b *book) observe(e *entry.Observe) error {
	peer := b.l.w.byHash[e.Peer]
	rows := b.observed[e.Peer]
	if len(rows) > 0 && e.Size <= rows[len(rows)-1].size {
		return sim.Violation("%s observed %d leaves of %s after %d", b.l.name, e.Size, peer.name, rows[len(rows)-1].size)
	}
	root, err := proof.RootAt(e.Size, peer.reader())
	if err != nil || root != proof.Hash(e.Root) {
		return sim.Violation("%s observed a root of %s that its log never had: %v", b.l.name, peer.name, err)
	}
	// Two of three witnesses, the first of which is this nation's (world.terms).
	cosigned := 0
	for _, witness := range peer.witnesses {
		if strings.Contains(string(e.Checkpoint), "— "+witness.Name()+" ") {
			cosigned++
		}
	}
	if cosigned < 2 || !strings.Contains(string(e.Checkpoint), "— "+peer.witnesses[0].Name()+" ") {
		return sim.Violation("%s observed a head of %s that its own witness, or a quorum, did not cosign", b.l.name, peer.name)
	}
	b.observed[e.Peer] = append(rows, seen{e.Size, b.time})
	return nil
}

// sizeSeen is the newest size of a peer that this ledger observed, 0 for none.
func (b *book) sizeSeen(peer entry.GenesisHash) uint64 {
	if rows := b.observed[peer]; len(rows) > 0 {
		return rows[len(rows)-1].size
	}
	return 0
}
