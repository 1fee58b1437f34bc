package wallets

import (
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// AttestedCondition encodes an attested condition and refuses, by name, one that no ledger takes.
func AttestedCondition(a entry.Attested) (entry.Condition, error) {
	c := a.Condition()
	_, err := c.Decode()
	return c, err
}

// Guarantee is the condition of a demand guarantee: the beneficiary calls it by attesting its demand, gives it up by a release, and both
// amend its expiry. A zero applicant amends nothing.
func Guarantee(untilMillis uint64, applicant, beneficiary entry.SignerKey) entry.Attested {
	return entry.Attested{Until: untilMillis, Payer: applicant, Payee: beneficiary, Statement: entry.StatementDemand, Threshold: 1,
		Attestors: []entry.SignerKey{beneficiary}}
}

// publicOf is the key as conditions name it.
func publicOf(key ed25519.PrivateKey) (entry.SignerKey, error) {
	if len(key) != ed25519.PrivateKeySize {
		return entry.SignerKey{}, Refuse(HoldKeyUnknown, "not an Ed25519 key")
	}
	return entry.SignerKeyOf(key.Public().(ed25519.PublicKey))
}

// Attest makes an attestor's entry: that what the hold waits for has happened, as the document says. document may be zero where the
// condition fixes one.
func Attest(head entry.Header, hold entry.HoldID, a *entry.Attested, document [32]byte, key ed25519.PrivateKey) (*entry.Attest, error) {
	return attest(head, hold, a, entry.Attests, document, key)
}

// Withdraw makes an attestor's entry that takes its attestation back.
func Withdraw(head entry.Header, hold entry.HoldID, a *entry.Attested, document [32]byte, key ed25519.PrivateKey) (*entry.Attest, error) {
	return attest(head, hold, a, entry.Withdraws, document, key)
}

func attest(head entry.Header, hold entry.HoldID, a *entry.Attested, action entry.AttestAction, document [32]byte, key ed25519.PrivateKey) (*entry.Attest, error) {
	public, err := publicOf(key)
	if err != nil {
		return nil, err
	}
	index := -1
	for i, k := range a.Attestors {
		if k == public {
			index = i
		}
	}
	if index < 0 {
		return nil, entry.Refuse(entry.AttestorUnknown, "key %s is none of the hold's attestors", public)
	}
	if document == ([32]byte{}) {
		document = a.Document
	}
	switch {
	case document == ([32]byte{}):
		return nil, entry.Refuse(entry.AttestationInvalid, "the condition fixes no document: name one")
	case a.Document != ([32]byte{}) && document != a.Document:
		return nil, entry.Refuse(entry.AttestationInvalid, "the condition asks for document %x", a.Document)
	}
	e := &entry.Attest{Header: head, Hold: hold, Action: action, Attestor: uint8(index), Statement: a.Statement, Document: document}
	copy(e.Signature[:], ed25519.Sign(key, entry.AttestMessage(entry.IDOf(e))))
	return e, e.Validate()
}

// Challenge makes the payer's entry that asks for more attestors.
func Challenge(head entry.Header, hold entry.HoldID, a *entry.Attested, payer ed25519.PrivateKey) (*entry.Attest, error) {
	if a.WindowMillis == 0 {
		return nil, entry.Refuse(entry.ChallengeInvalid, "the condition has no challenge window")
	}
	if err := isKey(payer, a.Payer, "payer"); err != nil {
		return nil, err
	}
	e := &entry.Attest{Header: head, Hold: hold, Action: entry.Challenges, Attestor: entry.PayerAttestor}
	copy(e.Signature[:], ed25519.Sign(payer, entry.AttestMessage(entry.IDOf(e))))
	return e, e.Validate()
}

func isKey(key ed25519.PrivateKey, want entry.SignerKey, side string) error {
	public, err := publicOf(key)
	if err != nil {
		return err
	}
	if want == (entry.SignerKey{}) || public != want {
		return Refuse(HoldKeyUnknown, "the hold's %s has another key than %s", side, public)
	}
	return nil
}

// Amend makes the entry that moves the expiry of an attested hold. Payer and payee sign it with SignAmend.
func Amend(head entry.Header, hold entry.HoldID, untilMillis uint64) *entry.Amend {
	return &entry.Amend{Header: head, Hold: hold, Until: untilMillis}
}

// SignAmend adds the signature of whichever side the key is. missing tells that the other side's is not there yet.
func SignAmend(e *entry.Amend, a *entry.Attested, key ed25519.PrivateKey) (missing bool, err error) {
	message := entry.AmendMessage(entry.IDOf(e))
	switch {
	case isKey(key, a.Payer, "payer") == nil:
		copy(e.Payer[:], ed25519.Sign(key, message))
	case isKey(key, a.Payee, "payee") == nil:
		copy(e.Payee[:], ed25519.Sign(key, message))
	default:
		return true, Refuse(HoldKeyUnknown, "the key is neither the payer's nor the payee's")
	}
	return e.Payer == [64]byte{} || e.Payee == [64]byte{}, nil
}

// Release makes the entry by which the payee gives a hold up. back is the hold's return commitment.
func Release(head entry.Header, hold entry.HoldID, a *entry.Attested, back zk.Commitment, payee ed25519.PrivateKey) (*entry.Resolve, error) {
	if err := isKey(payee, a.Payee, "payee"); err != nil {
		return nil, err
	}
	e := &entry.Resolve{Header: head, Hold: hold, Outcome: entry.Voided, Reason: entry.ReasonReleased, Commitment: back}
	copy(e.Release[:], ed25519.Sign(payee, entry.ReleaseMessage(entry.IDOf(e))))
	return e, e.Validate()
}

// Expire makes the entry by which anybody voids a hold whose time is over. back is the hold's return commitment.
func Expire(head entry.Header, hold entry.HoldID, back zk.Commitment) *entry.Resolve {
	return &entry.Resolve{Header: head, Hold: hold, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: back}
}

// PostAttested makes the entry by which anybody posts a hold that enough attestors agree on. pays is the payee's commitment.
func PostAttested(head entry.Header, hold entry.HoldID, pays zk.Commitment) *entry.Resolve {
	return &entry.Resolve{Header: head, Hold: hold, Outcome: entry.Posted, Reason: entry.ReasonAttested, Commitment: pays}
}
