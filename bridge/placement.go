package bridge

import (
	"crypto/ed25519"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Reservation answers the acceptance of a provider before the last: the opening of the hold that it will place on the quote's To.
type Reservation struct {
	Quote   ID
	Opening zk.Note // pays the next provider

	Signature [ed25519.SignatureSize]byte // by the provider
}

func (m *Reservation) body() []byte {
	return putNote(append([]byte{Version, byte(KindReservation)}, m.Quote[:]...), m.Opening)
}

// Marshal gives the reservation's bytes.
func (m *Reservation) Marshal() []byte { return append(m.body(), m.Signature[:]...) }

// ID is SHA-256("comity/bridge-reservation/v1" || bytes without the signature).
func (m *Reservation) ID() ID { return hashID("comity/bridge-reservation/v1", m.body()) }

// Sign signs the id with the provider's key.
func (m *Reservation) Sign(key ed25519.PrivateKey) {
	m.Signature = signID("comity/bridge-reservation-sign/v1", m.ID(), key)
}

// Verify checks the signature of the provider that made the quote.
func (m *Reservation) Verify(provider entry.SignerKey) error {
	return verifyID("comity/bridge-reservation-sign/v1", m.ID(), provider, m.Signature, "the reservation")
}

// ParseReservation reads what Marshal wrote, and only that. Whose signature it carries is for Verify.
func ParseReservation(b []byte) (*Reservation, error) {
	r := open(b, KindReservation)
	m := &Reservation{Quote: r.bytes32(), Opening: r.note(), Signature: r.signature()}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

// Placement says where a provider placed its hold and opens the payee's output. The payer checks both against the ledger's log.
type Placement struct {
	Quote   ID
	Ledger  entry.GenesisHash
	Hold    entry.HoldID
	Opening zk.Note
	Until   uint64 // expiry of the deciding hold, in the decider's ledger time

	Signature [ed25519.SignatureSize]byte // by the provider
}

func (m *Placement) body() []byte {
	b := append(append([]byte{Version, byte(KindPlacement)}, m.Quote[:]...), m.Ledger[:]...)
	return put64(putNote(putHold(b, m.Hold), m.Opening), m.Until)
}

// Marshal gives the placement's bytes.
func (m *Placement) Marshal() []byte { return append(m.body(), m.Signature[:]...) }

// ID is SHA-256("comity/bridge-placement/v1" || bytes without the signature).
func (m *Placement) ID() ID { return hashID("comity/bridge-placement/v1", m.body()) }

// Sign signs the id with the provider's key.
func (m *Placement) Sign(key ed25519.PrivateKey) {
	m.Signature = signID("comity/bridge-placement-sign/v1", m.ID(), key)
}

// Verify checks the signature of the provider that made the quote.
func (m *Placement) Verify(provider entry.SignerKey) error {
	return verifyID("comity/bridge-placement-sign/v1", m.ID(), provider, m.Signature, "the placement")
}

// ParsePlacement reads what Marshal wrote, and only that. Whose signature it carries is for Verify.
func ParsePlacement(b []byte) (*Placement, error) {
	r := open(b, KindPlacement)
	m := &Placement{Quote: r.bytes32(), Ledger: r.bytes32(), Hold: r.hold(), Opening: r.note(), Until: r.u64(), Signature: r.signature()}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

// Proceed tells a provider before the last where the deciding hold is logged. The provider reads it there.
type Proceed struct {
	Quote ID
	Hold  entry.HoldID // on the request's Decider

	Signature [ed25519.SignatureSize]byte // by the payer's one-use key
}

func (m *Proceed) body() []byte {
	return putHold(append([]byte{Version, byte(KindProceed)}, m.Quote[:]...), m.Hold)
}

// Marshal gives the message's bytes.
func (m *Proceed) Marshal() []byte { return append(m.body(), m.Signature[:]...) }

// ID is SHA-256("comity/bridge-proceed/v1" || bytes without the signature).
func (m *Proceed) ID() ID { return hashID("comity/bridge-proceed/v1", m.body()) }

// Sign signs the id with the payer's one-use key.
func (m *Proceed) Sign(key ed25519.PrivateKey) {
	m.Signature = signID("comity/bridge-proceed-sign/v1", m.ID(), key)
}

// Verify checks the signature of the payer's key of the request.
func (m *Proceed) Verify(payer entry.SignerKey) error {
	return verifyID("comity/bridge-proceed-sign/v1", m.ID(), payer, m.Signature, "the message")
}

// ParseProceed reads what Marshal wrote, and only that. Whose signature it carries is for Verify.
func ParseProceed(b []byte) (*Proceed, error) {
	r := open(b, KindProceed)
	m := &Proceed{Quote: r.bytes32(), Hold: r.hold(), Signature: r.signature()}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}

// Stage is where a deal stands at its provider.
type Stage uint8

// The stages of a deal.
const (
	StageAccepted Stage = 1 // the quote is used; the hold is not placed yet
	StageReserved Stage = 2 // a provider before the last gave its opening and waits for the deciding hold
	StagePlacing  Stage = 3 // a provider before the last knows the deciding hold; its own is not placed yet
	StagePlaced   Stage = 4 // the provider's hold is logged
	StagePosted   Stage = 5
	StageVoided   Stage = 6
	StageFailed   Stage = 7 // the hold was never placed and never will be
)

var stageNames = [...]string{1: "accepted", "reserved", "placing", "placed", "posted", "voided", "failed"}

// String gives the stage's name.
func (s Stage) String() string {
	if s >= StageAccepted && int(s) < len(stageNames) {
		return stageNames[s]
	}
	return "unknown"
}

// Done tells that nothing more happens.
func (s Stage) Done() bool { return s >= StagePosted }

// Status is what a provider says of a deal. It proves nothing: the logs decide.
type Status struct {
	Quote ID
	Stage Stage
	Hold  entry.HoldID // zero until it is placed
}

// Marshal gives the status's bytes.
func (m *Status) Marshal() []byte {
	return putHold(append(append([]byte{Version, byte(KindStatus)}, m.Quote[:]...), byte(m.Stage)), m.Hold)
}

// ParseStatus reads what Marshal wrote, and only that.
func ParseStatus(b []byte) (*Status, error) {
	r := open(b, KindStatus)
	m := &Status{Quote: r.bytes32(), Stage: Stage(r.u8()), Hold: r.hold()}
	if r.err == nil && (m.Stage < StageAccepted || m.Stage > StageFailed) {
		r.fail(Refuse(Malformed, "stage %d", m.Stage))
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	return m, nil
}
