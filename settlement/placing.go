package settlement

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
)

// readConditions reads what the hold legs of a transaction wait for, parallel
// to its legs, and judges what needs no state (L8.1).
func readConditions(tx *entry.Transaction) ([]any, error) {
	var rules []any
	for i := range tx.Legs {
		leg := &tx.Legs[i]
		if !leg.Circuit.Shape().Held {
			continue
		}
		if leg.Issued != 0 || leg.Redeemed != 0 {
			return nil, entry.Refuse(entry.KindMismatch, "leg %d: a hold neither issues nor redeems", i)
		}
		rule, err := leg.Condition.Decode()
		if err != nil {
			return nil, err
		}
		if rules == nil {
			rules = make([]any, len(tx.Legs))
		}
		rules[i] = rule
	}
	return rules, nil
}

// mayHold judges at a ledger time a hold that a leg would place beside `open`
// others: what it waits for, its size class and its corridors (L8.1 to L8.4).
func (s *State) mayHold(h *hold, peer *entry.PeerProof, open int, now uint64) error {
	if open >= maxHolds {
		return entry.Refuse(entry.HoldsFull, "%d holds are open", open)
	}
	switch rule := h.rule.(type) {
	case *entry.Attested:
		return ahead(rule.Until, now)
	case *entry.DecidedHere:
		if err := ahead(rule.Until, now); err != nil {
			return err
		}
		// A hold of one minor unit can stand in a corridor's largest class: what
		// anybody can put in flight must come down again soon.
		if rule.Until > add(now, s.rules.genesis.MaxExpiryMillis) {
			return entry.Refuse(entry.ExpiryTooFar, "the hold would expire at %d, ledger time %d, at most %d ms ahead", rule.Until, now, s.rules.genesis.MaxExpiryMillis)
		}
		for i := range rule.Followers {
			if rule.Followers[i].Ledger == s.rules.hash {
				return entry.Refuse(entry.ConditionInvalid, "a hold that decides for this ledger itself")
			}
			if err := s.corridors.mayPlace(rule.Followers[i].Ledger, h.class, now); err != nil {
				return err
			}
		}
		return nil
	case *entry.DecidedThere:
		if rule.Ledger == s.rules.hash {
			return entry.Refuse(entry.ConditionInvalid, "a hold that this ledger itself decides")
		}
		if err := s.corridors.mayPlace(rule.Ledger, h.class, now); err != nil {
			return err
		}
		return s.checkDecider(h, rule, peer, now)
	}
	return entry.Refuse(entry.ConditionUnknown, "condition type %d", h.coded.Type)
}

func ahead(until, now uint64) error {
	if now >= until {
		return entry.Refuse(entry.HoldExpired, "the hold would expire at %d, ledger time %d", until, now)
	}
	return nil
}

// checkDecider requires proof that the ledger which decides holds what the
// follower's condition names (L8.3): logged, deciding for exactly this
// commitment on this ledger, and not expired by either clock.
func (s *State) checkDecider(h *hold, rule *entry.DecidedThere, peer *entry.PeerProof, now uint64) error {
	leg, condition, err := s.peerHold(rule.Ledger, rule.Hold, peer)
	if err != nil {
		return err
	}
	decider, ok := condition.(*entry.DecidedHere)
	if !ok {
		return entry.Refuse(entry.PeerMismatch, "hold %s waits for a condition of type %d and decides for nobody", rule.Hold, leg.Condition.Type)
	}
	if decider.Until != rule.Until {
		return entry.Refuse(entry.PeerMismatch, "hold %s expires at %d, the condition says %d", rule.Hold, decider.Until, rule.Until)
	}
	listed := false
	for _, f := range decider.Followers {
		listed = listed || f.Ledger == s.rules.hash && (f.Commitment == h.payee || s.rules.bugs.Has(planted.PeerCommitmentNotCompared))
	}
	if !listed {
		return entry.Refuse(entry.PeerMismatch, "hold %s does not list commitment %s on this ledger", rule.Hold, h.payee)
	}
	if seen := s.corridors.peerTime(rule.Ledger); seen >= rule.Until {
		return entry.Refuse(entry.HoldExpired, "hold %s expired at %d, its ledger's time was %d", rule.Hold, rule.Until, seen)
	}
	return ahead(rule.Until, now)
}

// peerHold finds in the leaf that a proof shows the hold leg of that id, with
// its condition.
func (s *State) peerHold(ledger entry.GenesisHash, id entry.HoldID, proof *entry.PeerProof) (*entry.Leg, any, error) {
	if proof == nil {
		return nil, nil, entry.Refuse(entry.PeerProofInvalid, "no proof of hold %s", id)
	}
	leaf, err := s.corridors.prove(ledger, proof)
	if err != nil {
		return nil, nil, err
	}
	tx, ok := leaf.(*entry.Transaction)
	if !ok || tx.ID() != id.Tx || int(id.Leg) >= len(tx.Legs) || !tx.Legs[id.Leg].Circuit.Shape().Held {
		return nil, nil, entry.Refuse(entry.PeerMismatch, "entry %d of ledger %s does not place hold %s", proof.Index, ledger, id)
	}
	leg := &tx.Legs[id.Leg]
	condition, err := leg.Condition.Decode()
	if err != nil {
		return nil, nil, entry.Refuse(entry.PeerMismatch, "hold %s: %v", id, err)
	}
	return leg, condition, nil
}
