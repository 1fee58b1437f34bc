package entry

import (
	"crypto/sha512"

	"github.com/comity-ledger/comity/zk"
)

const (
	// MaxRotations is the most log keys that one observe entry moves through.
	MaxRotations = 8
	// MaxEvidence is the longest evidence in bytes.
	MaxEvidence = 60 << 10
)

// Rotation hands a log over to a new key. The old key and the new one both sign.
type Rotation struct {
	Number uint32 // 1 for the first after the corridor's log key
	Key    SignerKey
	By     [64]byte // Ed25519 of RotationMessage by the key before
	Accept [64]byte // by the new key
}

// RotationMessage is what both keys of a rotation sign: "comity/log-key/v1" || u8 length || origin || number || new key.
func RotationMessage(origin string, number uint32, key SignerKey) []byte {
	return append(put32(putText([]byte("comity/log-key/v1"), origin), number), key[:]...)
}

// Observe records a checkpoint of a peer's log. Anybody may send it.
type Observe struct {
	Header
	Peer      GenesisHash
	Size      uint64
	Root      [32]byte
	Rotations []Rotation

	Checkpoint  []byte     // signed by the log and its witnesses
	Consistency [][32]byte // RFC 6962, from the size that the corridor observed last
	State       []byte     // the peer's state entry at index Size-1
	StatePath   [][32]byte // its inclusion proof
}

// Kind returns KindObserve.
func (*Observe) Kind() Kind { return KindObserve }

// AppendEffecting appends E.
func (e *Observe) AppendEffecting(dst []byte) []byte {
	dst = append(e.appendHeader(dst, KindObserve), e.Peer[:]...)
	dst = append(put64(dst, e.Size), e.Root[:]...)
	dst = append(dst, uint8(len(e.Rotations)))
	for i := range e.Rotations {
		n := &e.Rotations[i]
		dst = append(append(append(put32(dst, n.Number), n.Key[:]...), n.By[:]...), n.Accept[:]...)
	}
	return dst
}

// AppendWitness appends W.
func (e *Observe) AppendWitness(dst []byte) []byte {
	dst = putPath(putBlob(dst, e.Checkpoint), e.Consistency)
	return appendSignatures(putPath(putBlob(dst, e.State), e.StatePath), e.Signatures)
}

func (e *Observe) readBody(r *reader) {
	e.Peer, e.Size, e.Root = r.bytes32(), r.u64(), r.bytes32()
	n := int(r.u8())
	if n > MaxRotations {
		r.fail(Refuse(Malformed, "%d rotations, at most %d", n, MaxRotations))
	}
	if n > 0 && r.has(n*(4+32+64+64)) {
		e.Rotations = make([]Rotation, n)
		for i := range e.Rotations {
			e.Rotations[i] = Rotation{Number: r.u32(), Key: r.bytes32()}
			copy(e.Rotations[i].By[:], r.take(64))
			copy(e.Rotations[i].Accept[:], r.take(64))
		}
	}
	e.Checkpoint, e.Consistency = r.blob(), r.path()
	e.State, e.StatePath = r.blob(), r.path()
}

// Validate checks counts and sizes. What the signatures say is for the ledger, which knows the corridor.
func (e *Observe) Validate() error {
	if err := e.validatePlain(); err != nil {
		return err
	}
	if e.Size == 0 || e.Size > 1<<63-1 || len(e.Rotations) > MaxRotations || len(e.Consistency) > maxPath || len(e.StatePath) > maxPath ||
		len(e.Checkpoint) == 0 || len(e.State) == 0 {
		return Refuse(Malformed, "an observation of %d leaves, checkpoint of %d bytes, state entry of %d", e.Size, len(e.Checkpoint), len(e.State))
	}
	if len(e.Checkpoint) > 1<<14 || len(e.State) > 1<<14 {
		return Refuse(Oversize, "a checkpoint of %d bytes, a state entry of %d, at most %d each", len(e.Checkpoint), len(e.State), 1<<14)
	}
	return fits(e)
}

// EvidenceType says what evidence shows.
type EvidenceType uint8

// The types of evidence.
const (
	EvidenceFork      EvidenceType = 1 // the log signed two histories
	EvidenceDecisions EvidenceType = 2 // the log holds two decisions for one hold
	EvidenceLate      EvidenceType = 3 // a decision that contradicts an override
)

// String gives the words of the SPEC.
func (t EvidenceType) String() string {
	switch t {
	case EvidenceFork:
		return "fork"
	case EvidenceDecisions:
		return "two decisions"
	case EvidenceLate:
		return "late decision"
	}
	return "unknown"
}

// Evidence shows a peer's misbehaviour. Anybody may send it; it freezes the corridor, or books a claim.
type Evidence struct {
	Header
	Peer GenesisHash
	Type EvidenceType
	Data []byte // text of proof.Evidence or proof.Decisions, or bytes of a PeerProof
}

// Kind returns KindEvidence.
func (*Evidence) Kind() Kind { return KindEvidence }

// AppendEffecting appends E.
func (e *Evidence) AppendEffecting(dst []byte) []byte {
	dst = append(append(e.appendHeader(dst, KindEvidence), e.Peer[:]...), byte(e.Type))
	return putBlob(dst, e.Data)
}

func (e *Evidence) readBody(r *reader) {
	e.Peer, e.Type, e.Data = r.bytes32(), EvidenceType(r.u8()), r.blob()
}

// Validate checks type and size.
func (e *Evidence) Validate() error {
	if err := e.validatePlain(); err != nil {
		return err
	}
	if e.Type < EvidenceFork || e.Type > EvidenceLate || len(e.Data) == 0 {
		return Refuse(Malformed, "evidence of type %d, %d bytes", e.Type, len(e.Data))
	}
	if len(e.Data) > MaxEvidence {
		return Refuse(Oversize, "evidence of %d bytes, the limit is %d", len(e.Data), MaxEvidence)
	}
	return nil
}

// Override decides a hold whose decider is dead for ever. Both treasuries and this ledger's oversight sign.
type Override struct {
	Header
	Peer       GenesisHash
	Hold       HoldID
	Outcome    Outcome
	Commitment zk.Commitment // the one that is placed

	Treasury  []PolicySignature // of the peer's policy, over OverrideMessage
	Oversight zk.Signature      // by the current oversight key, over OverrideField; zero while it is missing
}

// Kind returns KindOverride.
func (*Override) Kind() Kind { return KindOverride }

// OverrideMessage is what the peer's policy signers sign.
func OverrideMessage(id ID) []byte { return append([]byte("comity/override/v1"), id[:]...) }

// OverrideField is what the oversight key signs: SHA-512("comity/override-oversight/v1" || id) mod r.
func OverrideField(id ID) zk.Field {
	return zk.FieldFromWide(sha512.Sum512(append([]byte("comity/override-oversight/v1"), id[:]...)))
}

// AppendEffecting appends E.
func (e *Override) AppendEffecting(dst []byte) []byte {
	dst = putHold(append(e.appendHeader(dst, KindOverride), e.Peer[:]...), e.Hold)
	return append(append(dst, byte(e.Outcome)), e.Commitment[:]...)
}

// AppendWitness appends W: the peer's signatures, oversight's, and the policy's own.
func (e *Override) AppendWitness(dst []byte) []byte {
	dst = appendSignatures(dst, e.Treasury)
	signed := e.Oversight != (zk.Signature{})
	if dst = append(dst, bit(signed)); signed {
		dst = putSchnorr(dst, e.Oversight)
	}
	return appendSignatures(dst, e.Signatures)
}

func (e *Override) readBody(r *reader) {
	e.Peer, e.Hold, e.Outcome = r.bytes32(), r.hold(), Outcome(r.u8())
	e.Commitment = zk.Commitment(r.field())
	e.Treasury = readSignatures(r)
	switch signed := r.u8(); {
	case signed > 1:
		r.fail(Refuse(Malformed, "flag %d before oversight's signature", signed))
	case signed == 1:
		e.Oversight = r.schnorr()
	}
}

// Validate checks header and outcome. Whether the signatures suffice is for the ledger to say.
func (e *Override) Validate() error {
	if err := e.validateHeader(); err != nil {
		return err
	}
	if e.Outcome != Posted && e.Outcome != Voided {
		return Refuse(OutcomeInvalid, "outcome %d", e.Outcome)
	}
	return checkSignatureOrder(e.Treasury)
}

// VerifyTreasury checks the peer's signatures, as Policy.Verify does for the ledger's own.
func (e *Override) VerifyTreasury(p *Policy) error {
	return p.verify(OverrideMessage(IDOf(e)), e.Treasury)
}

// VerifyOversight checks oversight's signature.
func (e *Override) VerifyOversight(key zk.Point) error {
	if e.Oversight == (zk.Signature{}) || !zk.VerifySignature(key, OverrideField(IDOf(e)).Element(), e.Oversight) {
		return Refuse(OverrideInvalid, "the oversight key did not sign")
	}
	return nil
}
