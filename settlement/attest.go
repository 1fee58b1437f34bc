package settlement

import (
	"bytes"
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
)

// readyAt is the ledger time from which an attested hold may be posted, 0 while
// attestations are missing (L8.6, L8.7).
func (h *hold) readyAt() uint64 {
	rule, attested := h.rule.(*entry.Attested)
	switch {
	case !attested || h.agreed == ([32]byte{}):
		return 0
	case h.challenged:
		return h.agreedAt
	}
	return add(h.agreedAt, rule.WindowMillis)
}

// needed is how many attestors must agree.
func (h *hold) needed() int {
	rule := h.rule.(*entry.Attested)
	if h.challenged {
		return int(rule.Contested)
	}
	return int(rule.Threshold)
}

// standing counts the attestors who stand for a document.
func (h *hold) standing(document [32]byte) int {
	n := 0
	for i := range h.attested {
		if h.attested[i].document == document {
			n++
		}
	}
	return n
}

// leading gives the document that most attestors stand for, at least so many;
// zero if there is none. Of two with as many it is the lower one.
func (h *hold) leading(least int) (document [32]byte) {
	most := least - 1
	for i := range h.attested {
		d := h.attested[i].document
		if n := h.standing(d); n > most || n == most && n >= least && bytes.Compare(d[:], document[:]) < 0 {
			document, most = d, n
		}
	}
	return document
}

// recount finds out whether enough attestors agree at a ledger time. As long as
// enough stand for the document agreed on, its window runs on; the window of
// another one begins anew.
func (h *hold) recount(now uint64) {
	if h.agreed != ([32]byte{}) && h.standing(h.agreed) >= h.needed() {
		return
	}
	h.agreed, h.agreedAt = h.leading(h.needed()), 0
	if h.agreed != ([32]byte{}) {
		h.agreedAt = now
	}
}

// attest judges an attest entry about an open hold at a ledger time (L8.6 to
// L8.8) and gives the hold after it. The hold given is not changed.
func (h *hold) attest(e *entry.Attest, id entry.ID, now uint64, bugs planted.Set) (*hold, error) {
	rule, attested := h.rule.(*entry.Attested)
	if e.Action == entry.Challenges {
		if !attested {
			return nil, entry.Refuse(entry.ChallengeInvalid, "hold %s has no attestors", h.id)
		}
		return h.challenge(rule, e, id, now)
	}
	if !attested || int(e.Attestor) >= len(rule.Attestors) {
		return nil, entry.Refuse(entry.AttestorUnknown, "hold %s has no attestor %d", h.id, e.Attestor)
	}
	if now >= h.until {
		return nil, entry.Refuse(entry.HoldExpired, "hold %s expired at %d, ledger time %d", h.id, h.until, now)
	}
	if e.Statement != rule.Statement || rule.Document != ([32]byte{}) && e.Document != rule.Document {
		return nil, entry.Refuse(entry.AttestationInvalid, "a %s of document %x, hold %s waits for a %s of %x", e.Statement, e.Document, h.id, rule.Statement, rule.Document)
	}
	if !ed25519.Verify(rule.Attestors[e.Attestor].Public(), entry.AttestMessage(id), e.Signature[:]) {
		return nil, entry.Refuse(entry.AttestationInvalid, "the signature of attestor %d does not verify", e.Attestor)
	}
	at := 0
	for at < len(h.attested) && h.attested[at].attestor < e.Attestor {
		at++
	}
	stands := at < len(h.attested) && h.attested[at].attestor == e.Attestor
	next := *h
	next.attested = append(make([]attestation, 0, len(h.attested)+1), h.attested[:at]...)
	switch {
	case e.Action == entry.Attests && stands && !bugs.Has(planted.AttestationCountedTwice):
		return nil, entry.Refuse(entry.AttestationRepeated, "attestor %d stands for document %x", e.Attestor, h.attested[at].document)
	case e.Action == entry.Attests:
		next.attested = append(next.attested, attestation{e.Attestor, e.Document})
	case !stands:
		return nil, entry.Refuse(entry.AttestationRepeated, "attestor %d has no attestation to withdraw", e.Attestor)
	case h.attested[at].document != e.Document:
		return nil, entry.Refuse(entry.AttestationInvalid, "attestor %d does not stand for document %x", e.Attestor, e.Document)
	default:
		at++
	}
	next.attested = append(next.attested, h.attested[at:]...)
	next.recount(now)
	return &next, nil
}

// challenge lets the payer ask, once and while the window is open, for the
// larger number of attestors (L8.7).
func (h *hold) challenge(rule *entry.Attested, e *entry.Attest, id entry.ID, now uint64) (*hold, error) {
	switch {
	case now >= h.until:
		return nil, entry.Refuse(entry.HoldExpired, "hold %s expired at %d, ledger time %d", h.id, h.until, now)
	case rule.WindowMillis == 0 || rule.Payer == (entry.SignerKey{}):
		return nil, entry.Refuse(entry.ChallengeInvalid, "hold %s has no challenge window", h.id)
	case h.challenged:
		return nil, entry.Refuse(entry.ChallengeInvalid, "hold %s was challenged before", h.id)
	case h.agreed == ([32]byte{}):
		return nil, entry.Refuse(entry.ChallengeInvalid, "the challenge window of hold %s has not begun", h.id)
	case now >= h.readyAt():
		return nil, entry.Refuse(entry.ChallengeInvalid, "the challenge window of hold %s ended at %d, ledger time %d", h.id, h.readyAt(), now)
	case !ed25519.Verify(rule.Payer.Public(), entry.AttestMessage(id), e.Signature[:]):
		return nil, entry.Refuse(entry.ChallengeInvalid, "the payer's signature does not verify")
	}
	next := *h
	next.challenged, next.agreed = true, [32]byte{}
	next.recount(now)
	return &next, nil
}

// amend judges an entry that moves an attested hold's expiry (L8.9) and gives
// the hold after it.
func (h *hold) amend(e *entry.Amend, id entry.ID, now uint64) (*hold, error) {
	rule, attested := h.rule.(*entry.Attested)
	switch {
	case !attested || rule.Payer == (entry.SignerKey{}) || rule.Payee == (entry.SignerKey{}):
		return nil, entry.Refuse(entry.AttestorUnknown, "hold %s does not name both a payer's and a payee's key", h.id)
	case now >= h.until:
		return nil, entry.Refuse(entry.HoldExpired, "hold %s expired at %d, ledger time %d", h.id, h.until, now)
	case now >= e.Until:
		return nil, entry.Refuse(entry.HoldExpired, "new expiry %d, ledger time %d", e.Until, now)
	}
	msg := entry.AmendMessage(id)
	if !ed25519.Verify(rule.Payer.Public(), msg, e.Payer[:]) || !ed25519.Verify(rule.Payee.Public(), msg, e.Payee[:]) {
		return nil, entry.Refuse(entry.AttestationInvalid, "payer and payee of hold %s must both sign", h.id)
	}
	next := *h
	next.until = e.Until
	return &next, nil
}
