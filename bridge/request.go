package bridge

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// MaxHops is the most hops of a payment: a decision has at most that many followers.
const MaxHops = entry.MaxFollowers

// Fixed says which of the two amounts the payer fixes.
type Fixed uint8

// The sides.
const (
	FixedPayee Fixed = 1 // the payee gets exactly the amount
	FixedPayer Fixed = 2 // the payer pays exactly the amount
)

// String gives the side's name.
func (f Fixed) String() string {
	switch f {
	case FixedPayee:
		return "payee"
	case FixedPayer:
		return "payer"
	}
	return "unknown"
}

// ID names a message: SHA-256 under a tag of its kind, without its signature (B1.3).
type ID [32]byte

// String gives lower-case hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// MarshalText gives String.
func (id ID) MarshalText() ([]byte, error) { return []byte(id.String()), nil }

// UnmarshalText reads what String wrote.
func (id *ID) UnmarshalText(b []byte) (err error) {
	*id, err = ParseID(string(b))
	return err
}

// ParseID reads 64 lower-case hexadecimal digits.
func ParseID(s string) (ID, error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(ID{}) || hex.EncodeToString(b) != s {
		return ID{}, Refuse(Malformed, "id: want 64 lower-case hexadecimal digits")
	}
	return ID(b), nil
}

func hashID(tag string, b []byte) ID { return sha256.Sum256(append([]byte(tag), b...)) }

// Request asks a provider for one hop: money on From for money on To.
type Request struct {
	From, To                   entry.GenesisHash
	Decider                    entry.GenesisHash // the ledger that decides the payment: To, or the last ledger of a chain
	FromAsset, ToAsset         zk.AssetID
	FromProgramme, ToProgramme zk.ProgrammeID
	Fixed                      Fixed
	Amount                     zk.Amount       // of the fixed side, minor units
	Payer                      entry.SignerKey // one-use Ed25519 key of the payer
	Payee                      Address         // on To; in a chain, the next provider
}

// Marshal gives the request's bytes.
func (q *Request) Marshal() []byte {
	b := append(make([]byte, 0, 256), Version, byte(KindRequest))
	b = append(append(append(b, q.From[:]...), q.To[:]...), q.Decider[:]...)
	b = put32(put32(b, uint32(q.FromAsset)), uint32(q.ToAsset))
	b = put64(put64(b, uint64(q.FromProgramme)), uint64(q.ToProgramme))
	b = put64(append(b, byte(q.Fixed)), uint64(q.Amount))
	return putAddress(append(b, q.Payer[:]...), q.Payee)
}

// ParseRequest reads what Marshal wrote, and only that.
func ParseRequest(b []byte) (*Request, error) {
	r := open(b, KindRequest)
	q := r.request()
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := q.Validate(); err != nil {
		return nil, err
	}
	return q, nil
}

func (r *reader) request() *Request {
	return &Request{From: r.bytes32(), To: r.bytes32(), Decider: r.bytes32(), FromAsset: zk.AssetID(r.u32()), ToAsset: zk.AssetID(r.u32()),
		FromProgramme: zk.ProgrammeID(r.u64()), ToProgramme: zk.ProgrammeID(r.u64()), Fixed: Fixed(r.u8()), Amount: zk.Amount(r.u64()),
		Payer: r.key(), Payee: r.address()}
}

// Validate checks what the request alone can tell.
func (q *Request) Validate() error {
	switch {
	case q.From == q.To:
		return Refuse(Malformed, "both ledgers of a hop are %s", q.From)
	case q.Decider == q.From:
		return Refuse(Malformed, "the ledger on which the payer pays cannot decide")
	case q.FromAsset == 0 || q.ToAsset == 0:
		return Refuse(UnknownAsset, "asset 0 is none")
	case q.Fixed != FixedPayee && q.Fixed != FixedPayer:
		return Refuse(Malformed, "fixed side %d", q.Fixed)
	case q.Amount == 0:
		return Refuse(AmountZero, "the amount is zero")
	}
	if err := checkKey(q.Payer); err != nil {
		return err
	}
	return q.Payee.Check()
}

// ID is SHA-256("comity/bridge-request/v1" || bytes).
func (q *Request) ID() ID { return hashID("comity/bridge-request/v1", q.Marshal()) }
