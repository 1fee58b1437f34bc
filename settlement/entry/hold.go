package entry

import "github.com/comity-ledger/comity/zk"

// Outcome is what became of a hold.
type Outcome uint8

// A hold is posted or voided, once.
const (
	Posted Outcome = 1 // the payee's commitment is placed
	Voided Outcome = 2 // the return commitment is placed
)

// String gives the word of the SPEC.
func (o Outcome) String() string {
	switch o {
	case Posted:
		return "posted"
	case Voided:
		return "voided"
	}
	return "open"
}

// Reason says why a hold is resolved; its witness data must show it.
type Reason uint8

// The reasons of a resolution.
const (
	ReasonAttested Reason = 1 // enough attestations are logged
	ReasonPeers    Reason = 2 // entries of other ledgers show it
	ReasonExpired  Reason = 3 // ledger time has reached the hold's expiry
	ReasonReleased Reason = 4 // the payee's key gives it up
)

// String gives the word of the SPEC.
func (r Reason) String() string {
	switch r {
	case ReasonAttested:
		return "attested"
	case ReasonPeers:
		return "peers"
	case ReasonExpired:
		return "expired"
	case ReasonReleased:
		return "released"
	}
	return "unknown"
}

// Named is a hold of another ledger that a decision names.
type Named struct {
	Ledger GenesisHash
	Hold   HoldID
}

// Resolve posts or voids a hold. Anybody may send it.
type Resolve struct {
	Header
	Hold       HoldID
	Outcome    Outcome
	Reason     Reason
	Commitment zk.Commitment // the one that is placed: the payee's or the return commitment of the hold
	Named      []Named       // a decider posting: its followers' holds, ascending by ledger

	Release [64]byte    // ReasonReleased: the payee key's signature of ReleaseMessage
	Peers   []PeerProof // ReasonPeers: one per follower in the order of Named, or the decider's decision
}

// Kind returns KindResolve.
func (*Resolve) Kind() Kind { return KindResolve }

// ReleaseMessage is what the payee's key signs to give a hold up.
func ReleaseMessage(id ID) []byte { return append([]byte("comity/release/v1"), id[:]...) }

// AppendEffecting appends E.
func (e *Resolve) AppendEffecting(dst []byte) []byte {
	dst = putHold(e.appendHeader(dst, KindResolve), e.Hold)
	dst = append(append(dst, byte(e.Outcome), byte(e.Reason)), e.Commitment[:]...)
	dst = append(dst, uint8(len(e.Named)))
	for _, n := range e.Named {
		dst = putHold(append(dst, n.Ledger[:]...), n.Hold)
	}
	return dst
}

// AppendWitness appends W: the release or the peer proofs.
func (e *Resolve) AppendWitness(dst []byte) []byte {
	switch e.Reason {
	case ReasonReleased:
		dst = append(dst, e.Release[:]...)
	case ReasonPeers:
		dst = append(dst, uint8(len(e.Peers)))
		for i := range e.Peers {
			dst = e.Peers[i].append(dst)
		}
	}
	return appendSignatures(dst, e.Signatures)
}

func (e *Resolve) readBody(r *reader) {
	e.Hold = r.hold()
	e.Outcome, e.Reason = Outcome(r.u8()), Reason(r.u8())
	e.Commitment = zk.Commitment(r.field())
	if n := int(r.u8()); n > MaxFollowers {
		r.fail(Refuse(Malformed, "%d followers, at most %d", n, MaxFollowers))
	} else if n > 0 && r.has(n*(32+33)) {
		e.Named = make([]Named, n)
		for i := range e.Named {
			e.Named[i] = Named{r.bytes32(), r.hold()}
		}
	}
	switch e.Reason {
	case ReasonReleased:
		copy(e.Release[:], r.take(64))
	case ReasonPeers:
		n := int(r.u8())
		if n < 1 || n > MaxFollowers {
			r.fail(Refuse(Malformed, "%d peer proofs, want 1 to %d", n, MaxFollowers))
			return
		}
		for range n {
			if r.err != nil {
				return
			}
			e.Peers = append(e.Peers, *r.peerProof())
		}
	}
}

// Validate checks that outcome, reason and witness data fit one another.
func (e *Resolve) Validate() error {
	if err := e.validatePlain(); err != nil {
		return err
	}
	ok := false
	switch e.Reason {
	case ReasonAttested:
		ok = e.Outcome == Posted
	case ReasonPeers:
		ok = e.Outcome == Posted || e.Outcome == Voided
	case ReasonExpired, ReasonReleased:
		ok = e.Outcome == Voided
	}
	if !ok {
		return Refuse(OutcomeInvalid, "outcome %d for reason %d", e.Outcome, e.Reason)
	}
	if e.Reason == ReasonPeers {
		if len(e.Peers) < 1 || len(e.Peers) > MaxFollowers || len(e.Named) > 0 && (e.Outcome != Posted || len(e.Named) != len(e.Peers)) ||
			len(e.Named) == 0 && len(e.Peers) != 1 {
			return Refuse(Malformed, "%d peer proofs for %d named holds, %s", len(e.Peers), len(e.Named), e.Outcome)
		}
		for i := range e.Peers {
			if err := e.Peers[i].check(); err != nil {
				return err
			}
		}
	} else if len(e.Named) != 0 || len(e.Peers) != 0 {
		return Refuse(Malformed, "a resolution by reason %s names holds of other ledgers", e.Reason)
	}
	if e.Reason != ReasonReleased && e.Release != ([64]byte{}) {
		return Refuse(Malformed, "a release in a resolution by reason %s", e.Reason)
	}
	for i := 1; i < len(e.Named); i++ {
		if string(e.Named[i-1].Ledger[:]) >= string(e.Named[i].Ledger[:]) {
			return Refuse(NonCanonical, "named holds are not ascending by ledger")
		}
	}
	return fits(e)
}

// AttestAction is what an attest entry does.
type AttestAction uint8

// The actions of an attest entry.
const (
	Attests    AttestAction = 1
	Withdraws  AttestAction = 2 // an attestor takes its attestation back
	Challenges AttestAction = 3 // the payer's key asks for more attestors
)

// String gives the verb.
func (a AttestAction) String() string {
	switch a {
	case Attests:
		return "attests"
	case Withdraws:
		return "withdraws"
	case Challenges:
		return "challenges"
	}
	return "unknown"
}

// PayerAttestor stands in place of an attestor's index in a challenge.
const PayerAttestor = 255

// Attest states something about a hold.
type Attest struct {
	Header
	Hold      HoldID
	Action    AttestAction
	Attestor  uint8     // index among the condition's attestors; PayerAttestor in a challenge
	Statement Statement // 0 in a challenge
	Document  [32]byte  // SHA-256 of the document; zero in a challenge

	Signature [64]byte // Ed25519 of AttestMessage by the attestor's or the payer's key
}

// Kind returns KindAttest.
func (*Attest) Kind() Kind { return KindAttest }

// AttestMessage is what an attestor, or a challenging payer, signs. The id covers genesis hash, hold, action, statement and document.
func AttestMessage(id ID) []byte { return append([]byte("comity/attest/v1"), id[:]...) }

// AppendEffecting appends E.
func (e *Attest) AppendEffecting(dst []byte) []byte {
	dst = putHold(e.appendHeader(dst, KindAttest), e.Hold)
	return append(append(dst, byte(e.Action), e.Attestor, byte(e.Statement)), e.Document[:]...)
}

// AppendWitness appends W: the signature.
func (e *Attest) AppendWitness(dst []byte) []byte {
	return appendSignatures(append(dst, e.Signature[:]...), e.Signatures)
}

func (e *Attest) readBody(r *reader) {
	e.Hold = r.hold()
	e.Action, e.Attestor, e.Statement = AttestAction(r.u8()), r.u8(), Statement(r.u8())
	e.Document = r.bytes32()
	copy(e.Signature[:], r.take(64))
}

// Validate checks that the fields fit the action.
func (e *Attest) Validate() error {
	if err := e.validatePlain(); err != nil {
		return err
	}
	switch e.Action {
	case Attests, Withdraws:
		if e.Attestor >= MaxAttestors || !e.Statement.attestable() || e.Document == ([32]byte{}) {
			return Refuse(Malformed, "attestor %d, statement %d, document %x", e.Attestor, e.Statement, e.Document)
		}
	case Challenges:
		if e.Attestor != PayerAttestor || e.Statement != 0 || e.Document != ([32]byte{}) {
			return Refuse(Malformed, "a challenge names an attestor, a statement or a document")
		}
	default:
		return Refuse(Malformed, "action %d", e.Action)
	}
	return nil
}

// Amend moves the expiry of an attested hold. Payer and payee both sign.
type Amend struct {
	Header
	Hold  HoldID
	Until uint64 // the new expiry, ledger time in milliseconds

	Payer, Payee [64]byte // Ed25519 of AmendMessage
}

// Kind returns KindAmend.
func (*Amend) Kind() Kind { return KindAmend }

// AmendMessage is what both keys of a hold sign.
func AmendMessage(id ID) []byte { return append([]byte("comity/amend/v1"), id[:]...) }

// AppendEffecting appends E.
func (e *Amend) AppendEffecting(dst []byte) []byte {
	return put64(putHold(e.appendHeader(dst, KindAmend), e.Hold), e.Until)
}

// AppendWitness appends W: both signatures.
func (e *Amend) AppendWitness(dst []byte) []byte {
	return appendSignatures(append(append(dst, e.Payer[:]...), e.Payee[:]...), e.Signatures)
}

func (e *Amend) readBody(r *reader) {
	e.Hold, e.Until = r.hold(), r.u64()
	copy(e.Payer[:], r.take(64))
	copy(e.Payee[:], r.take(64))
}

// Validate checks the header.
func (e *Amend) Validate() error { return e.validatePlain() }

// validatePlain checks the header of an entry that needs no policy signatures.
func (h *Header) validatePlain() error {
	if h.Sequence != 0 || len(h.Signatures) != 0 {
		return Refuse(KindMismatch, "this kind carries neither a policy sequence number nor policy signatures")
	}
	return nil
}

// fits refuses an entry that no bundle of the log can hold.
func fits(e Entry) error {
	if n := len(Encode(e)); n > MaxEntry {
		return Refuse(Oversize, "an entry of %d bytes, the limit is %d", n, MaxEntry)
	}
	return nil
}
