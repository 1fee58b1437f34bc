package settlement

import (
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
)

// openHold finds the hold that an entry is about. One that was resolved is
// refused before, by its key (L4.14).
func (s *State) openHold(id entry.HoldID) (*hold, error) {
	h, open := s.holds.get(id)
	if !open {
		return nil, entry.Refuse(entry.HoldUnknown, "hold %s", id)
	}
	return h, nil
}

// checkResolve judges at a ledger time whether a resolution holds of an open
// hold (L8.5).
func (s *State) checkResolve(h *hold, e *entry.Resolve, id entry.ID, now uint64) error {
	if e.Commitment != h.commitment(e.Outcome) {
		return entry.Refuse(entry.OutcomeInvalid, "hold %s %s places %s, not %s", h.id, e.Outcome, h.commitment(e.Outcome), e.Commitment)
	}
	switch rule := h.rule.(type) {
	case *entry.Attested:
		switch e.Reason {
		case entry.ReasonAttested:
			return s.checkAttested(h, now)
		case entry.ReasonReleased:
			return checkRelease(h, rule, e, id)
		case entry.ReasonExpired:
			return s.checkExpired(h, now)
		}
	case *entry.DecidedHere:
		switch e.Reason {
		case entry.ReasonPeers:
			return s.checkFollowers(h, rule, e, now)
		case entry.ReasonExpired:
			return s.checkExpired(h, now)
		}
	case *entry.DecidedThere:
		switch {
		case e.Reason == entry.ReasonPeers:
			return s.checkDecision(h, rule, e)
		case e.Reason == entry.ReasonExpired && now >= rule.Until && s.rules.bugs.Has(planted.FollowerVoidsByClock):
			return nil
		}
	}
	return entry.Refuse(entry.OutcomeInvalid, "hold %s of condition type %d is not %s by reason %s", h.id, h.coded.Type, e.Outcome, e.Reason)
}

// beforeExpiry holds that nothing is posted at or after a hold's expiry (L8.5).
func (s *State) beforeExpiry(h *hold, now uint64) error {
	if now >= h.until && !s.rules.bugs.Has(planted.PostAfterExpiry) {
		return entry.Refuse(entry.HoldExpired, "hold %s expired at %d, ledger time %d", h.id, h.until, now)
	}
	return nil
}

func (s *State) checkExpired(h *hold, now uint64) error {
	if now < h.until && !s.rules.bugs.Has(planted.VoidBeforeExpiry) {
		return entry.Refuse(entry.HoldNotExpired, "hold %s expires at %d, ledger time %d", h.id, h.until, now)
	}
	return nil
}

func (s *State) checkAttested(h *hold, now uint64) error {
	if err := s.beforeExpiry(h, now); err != nil {
		return err
	}
	switch ready := h.readyAt(); {
	case ready == 0:
		return entry.Refuse(entry.HoldNotReady, "hold %s: %d attestors agree, %d are needed", h.id, h.standing(h.leading(1)), h.needed())
	case now < ready:
		return entry.Refuse(entry.HoldNotReady, "hold %s: the challenge window ends at %d, ledger time %d", h.id, ready, now)
	}
	return nil
}

func checkRelease(h *hold, rule *entry.Attested, e *entry.Resolve, id entry.ID) error {
	if rule.Payee == (entry.SignerKey{}) {
		return entry.Refuse(entry.AttestorUnknown, "hold %s names no key that may release it", h.id)
	}
	if !ed25519.Verify(rule.Payee.Public(), entry.ReleaseMessage(id), e.Release[:]) {
		return entry.Refuse(entry.AttestationInvalid, "the payee of hold %s did not sign", h.id)
	}
	return nil
}

// checkFollowers judges a decision to post (L8.10): every follower's ledger
// logged the hold that the decision names, paying the commitment that the
// condition names and waiting for this hold of this ledger.
func (s *State) checkFollowers(h *hold, rule *entry.DecidedHere, e *entry.Resolve, now uint64) error {
	if e.Outcome != entry.Posted {
		return entry.Refuse(entry.OutcomeInvalid, "hold %s is voided by its expiry and nothing else", h.id)
	}
	if err := s.beforeExpiry(h, now); err != nil {
		return err
	}
	if len(e.Named) != len(rule.Followers) || len(e.Peers) != len(rule.Followers) {
		return entry.Refuse(entry.OutcomeInvalid, "hold %s has %d followers, the decision names %d with %d proofs", h.id, len(rule.Followers), len(e.Named), len(e.Peers))
	}
	for i := range rule.Followers {
		follower, named := &rule.Followers[i], e.Named[i]
		if named.Ledger != follower.Ledger {
			return entry.Refuse(entry.OutcomeInvalid, "follower %d of hold %s is on ledger %s, the decision names %s", i, h.id, follower.Ledger, named.Ledger)
		}
		if s.corridors.frozen(follower.Ledger) && !s.rules.bugs.Has(planted.PostsWhileFrozen) {
			return entry.Refuse(entry.CorridorFrozen, "ledger %s", follower.Ledger)
		}
		leg, condition, err := s.peerHold(follower.Ledger, named.Hold, &e.Peers[i])
		if err != nil {
			return err
		}
		if leg.Commitments[0] != follower.Commitment && !s.rules.bugs.Has(planted.PeerCommitmentNotCompared) {
			return entry.Refuse(entry.PeerMismatch, "hold %s pays commitment %s, want %s", named.Hold, leg.Commitments[0], follower.Commitment)
		}
		there, ok := condition.(*entry.DecidedThere)
		if !ok || there.Ledger != s.rules.hash || there.Hold != h.id || there.Until != rule.Until {
			return entry.Refuse(entry.PeerMismatch, "hold %s does not wait for hold %s of this ledger", named.Hold, h.id)
		}
	}
	return nil
}

// checkDecision judges a resolution that follows another ledger's decision
// (L8.11): posted if it posted naming this hold, voided if it voided or named
// another hold of this ledger.
func (s *State) checkDecision(h *hold, rule *entry.DecidedThere, e *entry.Resolve) error {
	if len(e.Peers) != 1 || len(e.Named) != 0 {
		return entry.Refuse(entry.OutcomeInvalid, "hold %s follows one decision and names nothing", h.id)
	}
	if s.corridors.frozen(rule.Ledger) {
		return entry.Refuse(entry.CorridorFrozen, "ledger %s", rule.Ledger)
	}
	leaf, err := s.corridors.prove(rule.Ledger, &e.Peers[0])
	if err != nil {
		return err
	}
	outcome, err := s.decided(h, rule, leaf)
	if err != nil {
		return err
	}
	if outcome != e.Outcome {
		return entry.Refuse(entry.PeerMismatch, "by the decision of ledger %s hold %s is %s, not %s", rule.Ledger, h.id, outcome, e.Outcome)
	}
	return nil
}

// decided reads a decider's leaf: what it makes of a hold that follows it.
func (s *State) decided(h *hold, rule *entry.DecidedThere, leaf entry.Entry) (entry.Outcome, error) {
	switch decision := leaf.(type) {
	case *entry.Resolve:
		if decision.Hold != rule.Hold {
			break
		}
		if decision.Outcome == entry.Voided {
			return entry.Voided, nil
		}
		for _, named := range decision.Named {
			if named.Ledger != s.rules.hash {
				continue
			}
			if named.Hold == h.id || s.rules.bugs.Has(planted.NamingNotCompared) {
				return entry.Posted, nil
			}
			return entry.Voided, nil
		}
		return 0, entry.Refuse(entry.PeerMismatch, "the decision on hold %s names no hold of this ledger", rule.Hold)
	case *entry.Override:
		if decision.Hold == rule.Hold && decision.Outcome == entry.Voided {
			return entry.Voided, nil
		}
	}
	return 0, entry.Refuse(entry.PeerMismatch, "a %s entry that does not decide hold %s", leaf.Kind(), rule.Hold)
}

// checkOverride judges an override (L8.12): a frozen corridor, the peer's
// treasury, this ledger's oversight, and an outcome that leaves the decider
// the only one who may pay out its own hold.
func (s *State) checkOverride(h *hold, e *entry.Override) error {
	if !s.corridors.known(e.Peer) {
		return entry.Refuse(entry.CorridorUnknown, "ledger %s", e.Peer)
	}
	if !s.corridors.frozen(e.Peer) {
		return entry.Refuse(entry.OverrideInvalid, "the corridor to ledger %s is not frozen", e.Peer)
	}
	concerned := false
	for _, peer := range h.peers() {
		concerned = concerned || peer == e.Peer
	}
	if !concerned {
		return entry.Refuse(entry.OverrideInvalid, "hold %s is not in flight with ledger %s", h.id, e.Peer)
	}
	if _, here := h.rule.(*entry.DecidedHere); here && e.Outcome != entry.Voided {
		return entry.Refuse(entry.OverrideInvalid, "hold %s decides for others: an override only voids it", h.id)
	}
	if e.Commitment != h.commitment(e.Outcome) {
		return entry.Refuse(entry.OutcomeInvalid, "hold %s %s places %s, not %s", h.id, e.Outcome, h.commitment(e.Outcome), e.Commitment)
	}
	treasury, err := s.corridors.treasury(e.Peer)
	if err != nil {
		return err
	}
	if err := e.VerifyTreasury(treasury); err != nil {
		return entry.Refuse(entry.OverrideInvalid, "the treasury of ledger %s: %v", e.Peer, err)
	}
	return e.VerifyOversight(s.oversightKey)
}
