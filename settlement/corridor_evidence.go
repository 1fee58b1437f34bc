package settlement

import (
	"crypto/ed25519"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// admitEvidence judges evidence by the corridors as they are (L9.8).
func (c *corridors) admitEvidence(e *entry.Evidence) error {
	_, err := c.judgeEvidence(e)
	return err
}

// evidence judges evidence and applies it: a fork or two decisions freeze the
// corridor, a late decision is booked as a claim. Call it on a clone.
func (c *corridors) evidence(e *entry.Evidence) error {
	late, err := c.judgeEvidence(e)
	if err != nil {
		return err
	}
	row := c.change(e.Peer)
	switch e.Type {
	case entry.EvidenceFork:
		row.frozen = frozenByFork
	case entry.EvidenceDecisions:
		row.frozen = frozenByDecisions
	case entry.EvidenceLate:
		row.overridden = slices.Clone(row.overridden)
		row.overridden[late].late = true
	}
	return nil
}

// judgeEvidence gives the overridden hold that a late decision is about.
func (c *corridors) judgeEvidence(e *entry.Evidence) (late int, err error) {
	row, err := c.row(e.Peer)
	if err != nil {
		return 0, err
	}
	if e.Type != entry.EvidenceLate && row.frozen != notFrozen {
		return 0, entry.Refuse(entry.CorridorFrozen, "the corridor to %s is frozen already (%s)", row.terms.Name, row.frozen)
	}
	switch e.Type {
	case entry.EvidenceFork:
		return 0, row.judgeFork(e.Data)
	case entry.EvidenceDecisions:
		return 0, row.judgeDecisions(e.Data)
	case entry.EvidenceLate:
		return c.judgeLate(row, e)
	}
	return 0, entry.Refuse(entry.EvidenceInvalid, "evidence of type %d", e.Type)
}

// publics are the keys of the chain: any of them binds the peer.
func (row *corridor) publics() []ed25519.PublicKey {
	out := make([]ed25519.PublicKey, len(row.keys))
	for i, key := range row.keys {
		out[i] = key.Public()
	}
	return out
}

func (row *corridor) judgeFork(data []byte) error {
	fork, err := proof.ParseEvidence(data)
	if err == nil {
		err = fork.Verify(row.terms.Origin, row.publics()...)
	}
	if err != nil {
		return entry.Refuse(entry.EvidenceInvalid, "%v", err)
	}
	return nil
}

func (row *corridor) judgeDecisions(data []byte) error {
	_, _, err := JudgeDecisions(data, row.terms.Origin, row.peer, row.publics()...)
	return err
}

// JudgeDecisions accepts the text of proof.Decisions (rule 3.4) when one of the
// log's keys signed for both entries and they are decisions of that ledger that
// exclude each other. It needs nothing but what the ledger's genesis states, so
// that anybody can judge the evidence offline. It gives the two receipts.
func JudgeDecisions(data []byte, origin string, ledger entry.GenesisHash, keys ...ed25519.PublicKey) (first, second *proof.Receipt, err error) {
	refuse := func(format string, args ...any) (*proof.Receipt, *proof.Receipt, error) {
		return nil, nil, entry.Refuse(entry.EvidenceInvalid, format, args...)
	}
	pair, err := proof.ParseDecisions(data)
	if err == nil {
		err = pair.Verify(origin, keys...)
	}
	if err != nil {
		return refuse("%v", err)
	}
	if first, second, err = pair.Receipts(); err != nil {
		return refuse("%v", err)
	}
	var said [2]decision
	for i, r := range []*proof.Receipt{first, second} {
		leaf, err := entry.Decode(r.Entry)
		if err != nil {
			return refuse("entry %d: %v", r.Index, err)
		}
		var decides bool
		if said[i], decides = decisionOf(leaf); !decides || leaf.Head().Ledger != ledger {
			return refuse("entry %d is no decision of ledger %s", r.Index, ledger)
		}
	}
	if !said[0].contradicts(said[1]) {
		return refuse("hold %s %s and hold %s %s do not contradict each other", said[0].hold, said[0].outcome, said[1].hold, said[1].outcome)
	}
	return first, second, nil
}

// decision is what a resolution or an override says.
type decision struct {
	hold    entry.HoldID
	outcome entry.Outcome
	named   []entry.Named
}

func decisionOf(e entry.Entry) (decision, bool) {
	switch e := e.(type) {
	case *entry.Resolve:
		return decision{e.Hold, e.Outcome, e.Named}, true
	case *entry.Override:
		return decision{e.Hold, e.Outcome, nil}, true
	}
	return decision{}, false
}

// contradicts holds for two decisions of one hold that cannot both be followed.
func (d decision) contradicts(other decision) bool {
	if d.hold != other.hold {
		return false
	}
	return d.outcome != other.outcome || d.outcome == entry.Posted && !slices.Equal(d.named, other.named)
}

// follow is the outcome that a decision means for a hold of a ledger that
// follows it: posted names that very hold, and a ledger's name beside another
// hold voids this one. A posting that names no hold of the ledger says nothing.
func (d decision) follow(ledger entry.GenesisHash, hold entry.HoldID) (entry.Outcome, bool) {
	if d.outcome == entry.Voided {
		return entry.Voided, true
	}
	for _, n := range d.named {
		switch {
		case n.Ledger == ledger && n.Hold == hold:
			return entry.Posted, true
		case n.Ledger == ledger:
			return entry.Voided, true
		}
	}
	return 0, false
}

// overrode remembers that an override decided a hold here in place of the
// decider on the peer, for the case that its decision surfaces after all. A
// hold that this ledger decides itself has no other decision to wait for.
func (c *corridors) overrode(peer entry.GenesisHash, hold, decider entry.HoldID, outcome entry.Outcome, class uint64) {
	if decider == hold || decider == (entry.HoldID{}) {
		return
	}
	row := c.change(peer)
	row.overridden = append(slices.Clip(slices.Clone(row.overridden)), overridden{hold: hold, decider: decider, outcome: outcome, class: class})
}

// judgeLate finds the overridden hold whose decider decided otherwise, each
// once.
func (c *corridors) judgeLate(row *corridor, e *entry.Evidence) (int, error) {
	p, err := entry.ParsePeerProof(e.Data)
	if err != nil {
		return 0, entry.Refuse(entry.EvidenceInvalid, "%v", err)
	}
	leaf, err := c.prove(e.Peer, p)
	if err != nil {
		return 0, err
	}
	said, decides := decisionOf(leaf)
	if !decides {
		return 0, entry.Refuse(entry.EvidenceInvalid, "entry %d of %s is no decision", p.Index, row.terms.Name)
	}
	booked := false
	for i, o := range row.overridden {
		if o.decider != said.hold {
			continue
		}
		if outcome, says := said.follow(e.Ledger, o.hold); !says || outcome == o.outcome {
			continue
		}
		if !o.late {
			return i, nil
		}
		booked = true
	}
	if booked {
		return 0, entry.Refuse(entry.EvidenceInvalid, "the claim of the decision of hold %s is booked already", said.hold)
	}
	return 0, entry.Refuse(entry.EvidenceInvalid, "the decision of hold %s contradicts no override", said.hold)
}
