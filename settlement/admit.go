package settlement

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/zk"
)

// Submission is a decoded entry of a client, not judged yet.
type Submission struct {
	// Leaf holds the bytes as they came, which become the leaf of the log.
	Leaf []byte
	// Entry is what they say.
	Entry entry.Entry
	// ID is the hash of the effecting data.
	ID entry.ID
	// Segments are the payee ciphertexts, one per leg.
	Segments [][]byte

	ctx     zk.Field       // digest that every leg's proof is bound to
	fromLog bool           // segments are elsewhere; their hashes are in the log
	keys    []zk.Nullifier // once-only keys that it uses up (1.14)
	needs   []zk.Nullifier // keys that must have been used up before it
}

// Decode reads what a client sent. It refuses bytes that are no entry, and
// entries that only the ledger itself writes.
func Decode(leaf []byte, segments [][]byte) (*Submission, error) {
	sub, err := decode(leaf)
	if err != nil {
		return nil, err
	}
	sub.Segments = segments
	return sub, nil
}

// DecodeLogged reads an entry from the log, where segments are not at hand. A
// candidate made from it must not be committed by a node.
func DecodeLogged(leaf []byte) (*Submission, error) {
	sub, err := decode(leaf)
	if err != nil {
		return nil, err
	}
	sub.fromLog = true
	return sub, nil
}

func decode(leaf []byte) (*Submission, error) {
	e, err := entry.Decode(leaf)
	if err != nil {
		return nil, err
	}
	if e.Head() == nil {
		return nil, entry.Refuse(entry.UnknownKind, "a %s entry is written by the ledger alone", e.Kind())
	}
	sub := &Submission{Leaf: leaf, Entry: e, keys: entry.Keys(e), needs: entry.Needs(e)}
	if tx, ok := e.(*entry.Transaction); ok {
		sub.ID, sub.ctx = tx.Digests()
	} else {
		sub.ID = entry.IDOf(e)
	}
	return sub, nil
}

// Legs returns the legs of a transaction, nil for other kinds.
func (sub *Submission) Legs() []entry.Leg {
	if tx, ok := sub.Entry.(*entry.Transaction); ok {
		return tx.Legs
	}
	return nil
}

// AnchorHeights lists the blocks whose anchors Admit will ask for.
func (sub *Submission) AnchorHeights() []uint64 {
	legs := sub.Legs()
	heights := make([]uint64, 0, len(legs))
	for i := range legs {
		heights = append(heights, legs[i].Anchor)
	}
	return heights
}

// Anchors finds the anchor of a block at or below the state's height; false
// means that there is no such block.
type Anchors func(height uint64) (Anchor, bool)

// Candidate is a submission that one State admitted. It still has to be
// proven (Prove) and sequenced, where everything that can change in the
// meantime is judged again.
type Candidate struct {
	*Submission
	// Jobs are the proofs to check, one per leg.
	Jobs []Job

	bases      []base    // per leg
	conditions []any     // per leg, read; nil without a hold
	rights     []zk.Root // of a register entry, per owner
	proven     bool
}

// base is what a leg's proof stands on and may lose.
type base struct{ registryRoot, readersRoot zk.Root }

// Admit judges a submission against the state at a ledger time (milliseconds,
// from LedgerTime): everything but its proofs and what only an order of
// entries decides. A refusal is not yet an answer: Resolve may find that the
// same entry settled before.
func (s *State) Admit(sub *Submission, now uint64, anchors Anchors) (*Candidate, error) {
	head := sub.Entry.Head()
	if head.Ledger != s.rules.hash {
		return nil, entry.Refuse(entry.WrongLedger, "genesis %s, this ledger's is %s", head.Ledger, s.rules.hash)
	}
	if err := s.rules.checkExpiry(head, now); err != nil {
		return nil, err
	}
	// Signatures come before the body: hashing the rights of 256 owners costs
	// a hundred times what telling a stranger off does.
	if sub.Entry.Kind().Privileged() && !s.rules.bugs.Has(planted.SignaturesUnchecked) {
		if err := s.rules.genesis.Policy.Verify(sub.ID, head.Signatures); err != nil { // L4.8
			return nil, err
		}
	}
	c := &Candidate{Submission: sub}
	if err := s.admitBody(c, now, anchors); err != nil {
		return nil, err
	}
	return c, nil
}

// checkExpiry holds L4.6: an entry settles strictly before its expiry, which
// lies at most maxExpiry ahead.
func (r *rulebook) checkExpiry(head *entry.Header, now uint64) error {
	expired := now >= head.ExpiryMillis
	if r.bugs.Has(planted.ExpiryOffByOne) {
		expired = now > head.ExpiryMillis
	}
	switch {
	case expired:
		return entry.Refuse(entry.Expired, "expiry %d, ledger time %d", head.ExpiryMillis, now)
	case head.ExpiryMillis > add(now, r.genesis.MaxExpiryMillis):
		return entry.Refuse(entry.ExpiryTooFar, "expiry %d, ledger time %d, at most %d ms ahead", head.ExpiryMillis, now, r.genesis.MaxExpiryMillis)
	}
	return nil
}

func (s *State) admitBody(c *Candidate, now uint64, anchors Anchors) (err error) {
	switch e := c.Entry.(type) {
	case *entry.Transaction:
		return s.admitTransaction(c, e, now, anchors)
	case *entry.Register:
		if c.rights, err = rightsRoots(e); err != nil {
			return err
		}
		return s.registry.checkRegister(e)
	case *entry.Freeze, *entry.Programme, *entry.Oversight, *entry.Document, *entry.Corridor, *entry.Override, *entry.Close:
		// Proofs of possession are part of decoding; the rest depends on the
		// order of entries.
		return nil
	case *entry.Resolve, *entry.Attest, *entry.Amend, *entry.Observe, *entry.Evidence:
		return s.foresee(c, now)
	}
	return entry.Refuse(entry.UnknownKind, "%s", c.Entry.Kind())
}

func (s *State) admitTransaction(c *Candidate, tx *entry.Transaction, now uint64, anchors Anchors) error {
	if !c.fromLog {
		if err := tx.CheckSegments(c.Segments); err != nil {
			return err
		}
	}
	var err error
	if c.conditions, err = readConditions(tx); err != nil {
		return err
	}
	c.bases = make([]base, len(tx.Legs))
	c.Jobs = make([]Job, len(tx.Legs))
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		if version, known := s.rules.circuits[leg.Circuit]; !known || version != leg.CircuitVersion {
			return entry.Refuse(entry.UnknownCircuit, "leg %d: circuit %s version %d", i, leg.Circuit, leg.CircuitVersion)
		}
		if err := s.checkShown(leg); err != nil {
			return err
		}
		anchor, known := anchors(leg.Anchor)
		if !known || leg.Anchor > s.height {
			return entry.Refuse(entry.AnchorUnknown, "leg %d: block %d, the last is %d", i, leg.Anchor, s.height)
		}
		noteRoot := anchor.NoteRoot
		switch {
		case leg.Tree > anchor.Tree:
			return entry.Refuse(entry.AnchorUnknown, "leg %d: tree %d, block %d ends in tree %d", i, leg.Tree, leg.Anchor, anchor.Tree)
		case leg.Tree < anchor.Tree:
			noteRoot = s.notes.sealed[leg.Tree]
		}
		c.bases[i] = base{anchor.RegistryRoot, anchor.ReadersRoot}
		if err := s.checkBase(c.bases[i], now); err != nil {
			return err
		}
		if err := checkEpoch(leg, s.oversightEpoch); err != nil {
			return err
		}
		public := leg.Public(noteRoot, anchor.RegistryRoot, anchor.ReadersRoot, s.oversightKey, c.ctx)
		c.Jobs[i] = Job{Circuit: leg.Circuit, Public: &public, Proof: &leg.Proof}
	}
	return s.foresee(c, now)
}

// foresee refuses at admission what concerns holds and corridors and anybody
// may send, so that a stranger costs neither a proof nor the sequencer's time.
// The block alone decides (L4.15): what an earlier entry of the same block may
// cure is not refused here, and nothing is in replay, where admission comes
// after entries that were not there when the live ledger admitted.
func (s *State) foresee(c *Candidate, now uint64) error {
	if c.fromLog {
		return nil
	}
	err := s.stands(c, now)
	switch entry.CodeOf(err) {
	case entry.HoldUnknown, entry.HoldNotReady, entry.CorridorUnknown, entry.CorridorStale, entry.CorridorFrozen, entry.PeerSizeUnknown:
		return nil
	}
	return err
}

// stands judges an entry by the state as it is.
func (s *State) stands(c *Candidate, now uint64) error {
	switch e := c.Entry.(type) {
	case *entry.Transaction:
		for i, condition := range c.conditions {
			if condition == nil {
				continue
			}
			h := newHold(c.ID, i, &e.Legs[i], condition, 0, now)
			if err := s.mayHold(h, e.Legs[i].Peer, s.holds.len(), now); err != nil {
				return err
			}
		}
	case *entry.Observe:
		_, err := s.corridors.admitObserve(e)
		return err
	case *entry.Evidence:
		return s.corridors.admitEvidence(e)
	case *entry.Resolve:
		h, err := s.openHold(e.Hold)
		if err != nil {
			return err
		}
		return s.checkResolve(h, e, c.ID, now)
	case *entry.Attest:
		h, err := s.openHold(e.Hold)
		if err == nil {
			_, err = h.attest(e, c.ID, now, s.rules.bugs)
		}
		return err
	case *entry.Amend:
		h, err := s.openHold(e.Hold)
		if err == nil {
			_, err = h.amend(e, c.ID, now)
		}
		return err
	}
	return nil
}

// checkBase holds L4.7: the registry and readers' roots that a leg is proven
// under are the current ones, or their windows are open.
func (s *State) checkBase(b base, time uint64) error {
	if s.rules.bugs.Has(planted.StaleRootForever) {
		return nil
	}
	if !serves(b.registryRoot, s.registryRoot, s.registryWindows, time) {
		return entry.Refuse(entry.RegistryRootStale, "registry root %s", b.registryRoot)
	}
	if !serves(b.readersRoot, s.readersRoot, s.readerWindows, time) {
		return entry.Refuse(entry.RegistryRootStale, "readers' root %s", b.readersRoot)
	}
	return nil
}

// checkEpoch holds L4.11: a leg is encrypted to the oversight key of the
// current epoch. A wallet that meets a rotation builds again, from the same
// inputs.
func checkEpoch(leg *entry.Leg, current uint32) error {
	if leg.OversightEpoch != current {
		return entry.Refuse(entry.OversightEpochStale, "epoch %d, the current one is %d", leg.OversightEpoch, current)
	}
	return nil
}

// checkShown judges the asset and the programme of a leg that issues or
// redeems; entry.Validate made sure that other legs show none.
func (s *State) checkShown(leg *entry.Leg) error {
	if leg.Issued == 0 && leg.Redeemed == 0 {
		return nil
	}
	if supplyAt(s.supply, leg.Asset) < 0 {
		return entry.Refuse(entry.UnknownAsset, "asset %d", leg.Asset)
	}
	return s.programmes.checkShown(leg)
}

// Prove checks the proofs of candidates in one batch. The answer is parallel:
// nil, or a refusal by the name proof_invalid. Sequence panics on a candidate
// that was never proven.
func Prove(verifier Verifier, candidates []*Candidate) []error {
	var jobs []Job
	for _, c := range candidates {
		jobs = append(jobs, c.Jobs...)
	}
	answers := make([]error, len(candidates))
	var failed []error
	if len(jobs) > 0 {
		failed = verifier.VerifyBatch(jobs)
	}
	if len(failed) != len(jobs) {
		panic("settlement: a verifier must answer every job")
	}
	at := 0
	for i, c := range candidates {
		c.proven = true
		for leg := range c.Jobs {
			if err := failed[at+leg]; err != nil && answers[i] == nil {
				c.proven = false
				answers[i] = entry.Refuse(entry.ProofInvalid, "leg %d: %v", leg, err)
			}
		}
		at += len(c.Jobs)
	}
	return answers
}
