package settlement

import (
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/zk"
)

// Status says what became of a candidate.
type Status int

const (
	// Refused: nothing happened, for the reason named.
	Refused Status = iota
	// Accepted: the entry is in the block. True once the block is durable.
	Accepted
	// SettledBefore: the same entry is in the log already, or earlier in this
	// block; a repeat changes nothing.
	SettledBefore
)

// String names the status.
func (s Status) String() string {
	switch s {
	case Accepted:
		return "accepted"
	case SettledBefore:
		return "settled before"
	default:
		return "refused"
	}
}

// Result is the answer to one candidate. It may be given to the client only
// after the block of its proposal is durable, since even a refusal or a
// repeat may rest on an entry of the same block.
type Result struct {
	Status     Status
	ID         entry.ID
	EntryIndex uint64 // Accepted and SettledBefore
	Height     uint64 // likewise
	Refusal    error  // Refused: an *entry.Refusal
}

// Proposal is a block that is not durable yet.
type Proposal struct {
	Block *Block
	// Results are parallel to the candidates.
	Results []Result
	// Accepted counts the accepted ones; with none the block holds a state
	// entry alone, and only an idle ledger that MayExpire wants it.
	Accepted int

	from, next *State
}

// Next is the state after the block. It takes the place of the old one when,
// and only when, the block is durable.
func (p *Proposal) Next() *State { return p.next }

// Sequence judges candidates in their order at a ledger time (milliseconds,
// from LedgerTime) and makes the next block. It judges again what can have
// changed since admission: expiry, registry window, freeze, oversight epoch,
// programmes, supply, sequence numbers, holds and corridors. Equal arguments give equal bytes. The
// candidates may come from admission by any earlier state of this ledger. The
// error is one of the ledger's own making, never a candidate's.
func (s *State) Sequence(candidates []*Candidate, time uint64, settled *Settled, parallel Parallel) (*Proposal, error) {
	if time < s.time && !s.rules.bugs.Has(planted.TimeGoesBack) {
		return nil, fmt.Errorf("settlement: ledger time %d lies before %d (L4.2)", time, s.time)
	}
	d := newDraft(s, time, settled)
	results := make([]Result, len(candidates))
	accepted := 0
	for i, c := range candidates {
		results[i] = d.judge(c)
		if results[i].Status == Accepted {
			accepted++
		}
	}
	// A copy that came before what made its twin acceptable (an observation, a
	// thaw) was refused: it is a repeat all the same (L4.14), or its client would
	// hear that what stands in the log was refused.
	for i := range results {
		if results[i].Status != Refused {
			continue
		}
		if prior, _ := d.before(candidates[i].Submission); prior != nil {
			results[i] = Result{Status: SettledBefore, ID: prior.ID, EntryIndex: prior.EntryIndex, Height: prior.Height}
		}
	}
	next, block, err := d.finish(parallel)
	if err != nil {
		return nil, err
	}
	return &Proposal{Block: block, Results: results, Accepted: accepted, from: s, next: next}, nil
}

// draft is a block being made: copies of what entries may change, never the
// state's own.
type draft struct {
	from    *State
	next    State
	settled *Settled
	here    *Settled // what this block uses up
	block   Block
	outputs []output
	demand  demand
	frozen  bool // a freeze is in this block
}

func newDraft(s *State, time uint64, settled *Settled) *draft {
	d := &draft{from: s, next: *s, settled: settled, here: NewSettled()}
	d.next.time = time
	d.next.height = s.height + 1
	d.block = Block{Height: d.next.height, Time: time, FirstIndex: s.log.Size}
	return d
}

// judge accepts a candidate into the draft or changes nothing. The order of
// the checks is part of the rules (L4.15): a repeat is answered first.
func (d *draft) judge(c *Candidate) Result {
	if !c.proven && !d.next.rules.bugs.Has(planted.ProofUnchecked) {
		panic("settlement: a candidate was sequenced before its proofs were checked")
	}
	prior, err := d.before(c.Submission)
	if prior != nil {
		return Result{Status: SettledBefore, ID: c.ID, EntryIndex: prior.EntryIndex, Height: prior.Height}
	}
	if err == nil {
		err = d.accept(c)
	}
	if err != nil {
		return Result{Status: Refused, ID: c.ID, Refusal: err}
	}
	return Result{Status: Accepted, ID: c.ID, EntryIndex: d.block.Size() - 1, Height: d.block.Height}
}

func (d *draft) before(sub *Submission) (*Prior, error) {
	bugs := d.next.rules.bugs
	here := d.here
	if bugs.Has(planted.RepeatInBlock) {
		here = NewSettled()
	}
	prior, err := before(sub, d.settled, here)
	switch {
	case bugs.Has(planted.NoDedupe):
		return nil, nil
	case bugs.Has(planted.SequenceNotIncreasing) && entry.CodeOf(err) == entry.SequenceStale:
		return nil, nil
	case bugs.Has(planted.HoldPostedTwice) && entry.CodeOf(err) == entry.HoldResolved:
		return nil, nil
	}
	return prior, err
}

// accept checks a new candidate against the draft and applies it.
func (d *draft) accept(c *Candidate) error {
	head := c.Entry.Head()
	if !d.next.rules.bugs.Has(planted.ExpiryAtAdmissionOnly) {
		if err := d.next.rules.checkExpiry(head, d.next.time); err != nil {
			return err
		}
	}
	if c.Entry.Kind().Privileged() {
		if err := d.checkSequence(head.Sequence); err != nil {
			return err
		}
	}
	for _, need := range c.needs {
		if !d.settled.has(need) && !d.here.has(need) {
			return entry.Refuse(entry.DocumentUnknown, "the document was never anchored")
		}
	}
	if err := d.apply(c); err != nil {
		return err
	}
	index := d.block.Size()
	d.next.nulls += uint64(len(c.keys))
	for _, key := range c.keys {
		d.here.AddNullifier(key, Prior{ID: c.ID, EntryIndex: index, Height: d.block.Height})
		d.block.Nullifiers = append(d.block.Nullifiers, SpentNullifier{key, index})
	}
	d.block.Entries = append(d.block.Entries, c.Leaf)
	d.next.entries[c.Entry.Kind()]++
	d.block.Segments = append(d.block.Segments, c.Segments...)
	if c.Entry.Kind().Privileged() {
		d.here.AddSequence(head.Sequence, Prior{ID: c.ID, EntryIndex: index, Height: d.block.Height})
		d.block.Sequences = append(d.block.Sequences, UsedSequence{head.Sequence, index})
		d.next.nextSequence = head.Sequence + 1
	}
	return nil
}

// checkSequence holds L4.8: privileged entries carry consecutive numbers.
func (d *draft) checkSequence(sequence uint64) error {
	switch {
	case sequence < d.next.nextSequence:
		if d.next.rules.bugs.Has(planted.SequenceNotIncreasing) {
			return nil
		}
		return entry.Refuse(entry.SequenceStale, "policy sequence %d, the next is %d", sequence, d.next.nextSequence)
	case sequence > d.next.nextSequence:
		return entry.Refuse(entry.SequenceGap, "policy sequence %d, the next is %d", sequence, d.next.nextSequence)
	}
	return nil
}

// apply checks what is left and, if all holds, changes the draft.
func (d *draft) apply(c *Candidate) error {
	switch e := c.Entry.(type) {
	case *entry.Transaction:
		return d.transact(c, e)
	case *entry.Register:
		if err := d.next.registry.checkRegister(e); err != nil {
			return err
		}
		d.ownRegistry().register(e, c.rights)
	case *entry.Freeze:
		if err := d.next.registry.checkFreeze(e); err != nil {
			return err
		}
		d.ownRegistry().freeze(e)
		d.frozen = d.frozen || e.Frozen
	case *entry.Programme:
		if err := d.next.programmes.check(e); err != nil {
			return err
		}
		if d.next.programmes == d.from.programmes {
			d.next.programmes = d.from.programmes.clone()
		}
		d.next.programmes.set(e)
	case *entry.Oversight:
		if e.Epoch != d.next.oversightEpoch+1 {
			return entry.Refuse(entry.OversightEpochStale, "epoch %d, the next is %d", e.Epoch, d.next.oversightEpoch+1)
		}
		d.next.oversightEpoch, d.next.oversightKey = e.Epoch, e.Key
	case *entry.Document:
		// Its keys say all that there is to say.
	case *entry.Corridor:
		if err := d.next.corridors.check(e, d.next.rules.hash); err != nil {
			return err
		}
		d.ownCorridors().set(e)
	case *entry.Observe:
		seen, err := d.next.corridors.admitObserve(e)
		if err != nil {
			return err
		}
		return d.ownCorridors().observe(e, seen, d.next.time)
	case *entry.Evidence:
		if err := d.next.corridors.admitEvidence(e); err != nil {
			return err
		}
		return d.ownCorridors().evidence(e)
	case *entry.Resolve, *entry.Attest, *entry.Amend, *entry.Override:
		return d.decide(c)
	case *entry.Close:
		return d.closeDay(e)
	default:
		return entry.Refuse(entry.UnknownKind, "%s", c.Entry.Kind())
	}
	return nil
}

// ownRegistry gives the draft's own registry, cloned at the first change.
func (d *draft) ownRegistry() *registry {
	if d.next.registry == d.from.registry {
		d.next.registry = d.from.registry.clone()
	}
	return d.next.registry
}

// ownCorridors gives the draft's own corridors, cloned at the first change.
func (d *draft) ownCorridors() *corridors {
	if d.next.corridors == d.from.corridors {
		d.next.corridors = d.from.corridors.clone()
	}
	return d.next.corridors
}

// inFlight counts a hold in the corridors that it crosses, or takes it out
// again (L8.4).
func (d *draft) inFlight(h *hold, placed bool) {
	for _, peer := range h.peers() {
		if placed {
			d.ownCorridors().place(peer, h.class)
		} else {
			d.ownCorridors().release(peer, h.class)
		}
	}
}

// placeHolds judges the hold legs of a transaction, each seeing those before
// it, and opens them all or none.
func (d *draft) placeHolds(c *Candidate, tx *entry.Transaction, index uint64) error {
	before := d.next.holds
	for i, condition := range c.conditions {
		if condition == nil {
			continue
		}
		h := newHold(c.ID, i, &tx.Legs[i], condition, index, d.next.time)
		err := d.next.mayHold(h, tx.Legs[i].Peer, d.next.holds.len(), d.next.time)
		if entry.CodeOf(err) == entry.CorridorCap && d.next.rules.bugs.Has(planted.CapAtAdmissionOnly) {
			err = nil
		}
		if err != nil {
			for j := range i {
				if placed, open := d.next.holds.get(entry.HoldID{Tx: c.ID, Leg: uint8(j)}); open {
					d.inFlight(placed, false)
				}
			}
			d.next.holds = before
			return err
		}
		d.inFlight(h, true)
		d.next.holds = d.next.holds.put(h)
	}
	return nil
}

// decide applies what is said about an open hold.
func (d *draft) decide(c *Candidate) error {
	switch e := c.Entry.(type) {
	case *entry.Resolve:
		h, err := d.next.openHold(e.Hold)
		if err != nil {
			return err
		}
		if err := d.next.checkResolve(h, e, c.ID, d.next.time); err != nil {
			return err
		}
		return d.resolve(h, e.Outcome)
	case *entry.Override:
		h, err := d.next.openHold(e.Hold)
		if err != nil {
			return err
		}
		if err := d.next.checkOverride(h, e); err != nil {
			return err
		}
		if err := d.resolve(h, e.Outcome); err != nil {
			return err
		}
		if rule, follows := h.rule.(*entry.DecidedThere); follows {
			d.ownCorridors().overrode(e.Peer, h.id, rule.Hold, e.Outcome, h.class)
		}
	case *entry.Attest:
		h, err := d.next.openHold(e.Hold)
		if err != nil {
			return err
		}
		next, err := h.attest(e, c.ID, d.next.time, d.next.rules.bugs)
		if err != nil {
			return err
		}
		d.next.holds = d.next.holds.put(next)
	case *entry.Amend:
		h, err := d.next.openHold(e.Hold)
		if err != nil {
			return err
		}
		next, err := h.amend(e, c.ID, d.next.time)
		if err != nil {
			return err
		}
		d.next.holds = d.next.holds.put(next)
	}
	return nil
}

// resolve closes a hold: one commitment is placed, as a single leaf (L4.13).
func (d *draft) resolve(h *hold, outcome entry.Outcome) error {
	out := output{commitments: []zk.Commitment{h.commitment(outcome)}, entryIndex: d.block.Size()}
	wanted := d.demand
	wanted.add(out)
	if err := d.next.notes.check(wanted); err != nil {
		return err
	}
	d.demand = wanted
	d.outputs = append(d.outputs, out)
	bugs := d.next.rules.bugs
	if !bugs.Has(planted.HoldPostedTwice) {
		d.next.holds = d.next.holds.drop(h.id)
	}
	if !bugs.Has(planted.InFlightNotReleased) && !bugs.Has(planted.HoldPostedTwice) {
		d.inFlight(h, false)
	}
	return nil
}

func (d *draft) transact(c *Candidate, tx *entry.Transaction) error {
	index, wanted := d.block.Size(), d.demand
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		if err := d.checkBase(c.bases[i]); err != nil {
			return err
		}
		if err := checkEpoch(leg, d.next.oversightEpoch); err != nil {
			return err
		}
		if err := d.next.checkShown(leg); err != nil {
			return err
		}
		wanted.add(outputOf(leg, index, d.next.rules.bugs))
	}
	if err := d.next.notes.check(wanted); err != nil {
		return err
	}
	supply, err := move(d.next.supply, tx, d.next.rules.bugs)
	if err != nil {
		return err
	}
	if err := d.placeHolds(c, tx, index); err != nil {
		return err
	}
	// Nothing is refused from here on.
	d.demand, d.next.supply = wanted, supply
	for i := range tx.Legs {
		d.outputs = append(d.outputs, outputOf(&tx.Legs[i], index, d.next.rules.bugs))
	}
	return nil
}

// checkBase judges a leg's roots again. A freeze earlier in the block has
// ended the windows of all roots before it, that of the last block included.
func (d *draft) checkBase(b base) error {
	if d.frozen && !d.next.rules.bugs.Has(planted.FreezeKeepsWindow) {
		return entry.Refuse(entry.RegistryRootStale, "a freeze earlier in this block ended registry root %s", b.registryRoot)
	}
	return d.from.checkBase(b, d.next.time)
}

// finish places the outputs, moves the windows and writes the state entry.
func (d *draft) finish(parallel Parallel) (*State, *Block, error) {
	from, next, block := d.from, &d.next, &d.block
	var err error
	next.notes, block.Commitments, err = from.notes.place(d.outputs, parallel)
	if err != nil {
		return nil, nil, fmt.Errorf("settlement: place the outputs of block %d: %w", block.Height, err)
	}
	if next.registry != from.registry {
		next.registryRoot = next.registry.root()
	}
	if next.programmes != from.programmes {
		next.readersRoot = next.programmes.root()
	}
	if next.corridors != from.corridors {
		next.corridorsHash = next.corridors.hash()
	}
	length := next.rules.genesis.RegistryWindowMillis
	next.registryWindows = supersede(from.registryWindows, from.registryRoot, next.registryRoot, next.time, length)
	next.readerWindows = supersede(from.readerWindows, from.readersRoot, next.readersRoot, next.time, length)
	if d.frozen && !next.rules.bugs.Has(planted.FreezeKeepsWindow) {
		next.registryWindows = nil
	}
	if len(block.Entries) > 0 {
		next.lastActivity = next.time
	}
	block.Anchor = next.Anchor()
	block.Entries = append(block.Entries, entry.Encode(next.Entry()))
	next.entries[entry.KindState]++
	next.log = from.log.With(block.Entries...)
	block.Root = next.log.Root()
	// Copies: a pointer into the draft would keep it alive, with the state
	// before it, and that one's draft, back to the node's start.
	after, made := *next, *block
	return &after, &made, nil
}
