package entry

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"strconv"
	"strings"

	"github.com/comity-ledger/comity/zk"
)

// Types of condition that a hold can wait for.
const (
	ConditionAttested     uint8 = 1 // m of n attestors of this ledger decide
	ConditionDecidedHere  uint8 = 2 // this ledger decides for holds of other ledgers
	ConditionDecidedThere uint8 = 3 // another ledger decides; this hold follows
)

const (
	// MaxAttestors is the most attestors that a condition names.
	MaxAttestors = 16
	// MaxFollowers is the most ledgers that follow one decision.
	MaxFollowers = 4
	// MaxWindowMillis bounds a challenge window: 366 days.
	MaxWindowMillis = 366 * 24 * 60 * 60 * 1000
)

// HoldID names a hold: the leg of the transaction that placed it.
type HoldID struct {
	Tx  ID
	Leg uint8
}

// String gives "<64 hexadecimal digits>/<leg>".
func (h HoldID) String() string { return h.Tx.String() + "/" + strconv.Itoa(int(h.Leg)) }

// MarshalText gives String.
func (h HoldID) MarshalText() ([]byte, error) { return []byte(h.String()), nil }

// UnmarshalText reads what String wrote.
func (h *HoldID) UnmarshalText(b []byte) (err error) {
	*h, err = ParseHoldID(string(b))
	return err
}

// ParseHoldID reads what String wrote.
func ParseHoldID(s string) (HoldID, error) {
	id, leg, ok := strings.Cut(s, "/")
	tx, err := ParseID(id)
	if err != nil {
		return HoldID{}, err
	}
	if !ok || len(leg) != 1 || leg[0] < '0' || leg[0] >= '0'+MaxLegs {
		return HoldID{}, Refuse(Malformed, "hold id: want an entry id, a slash and the number of the leg")
	}
	return HoldID{tx, leg[0] - '0'}, nil
}

// Key is the once-only key that a resolution uses up, as a spent note uses up its nullifier: SHA-512("comity/hold/v1" || id || leg) mod r.
func (h HoldID) Key() zk.Nullifier { return onceKey("comity/hold/v1", h.Tx[:], []byte{h.Leg}) }

func onceKey(tag string, parts ...[]byte) zk.Nullifier {
	b := []byte(tag)
	for _, p := range parts {
		b = append(b, p...)
	}
	return zk.Nullifier(zk.FieldFromWide(sha512.Sum512(b)))
}

// OnceKey keeps an entry that spends nothing from settling twice.
func OnceKey(id ID) zk.Nullifier { return onceKey("comity/once/v1", id[:]) }

func putHold(dst []byte, h HoldID) []byte { return append(append(dst, h.Tx[:]...), h.Leg) }

func (r *reader) hold() HoldID {
	h := HoldID{Tx: ID(r.bytes32()), Leg: r.u8()}
	if h.Leg >= MaxLegs {
		r.fail(Refuse(Malformed, "leg %d of a hold", h.Leg))
	}
	return h
}

// Statement is what an attestor states, or what a document is.
type Statement uint8

// The statements that conditions ask for, and two more types of document.
const (
	StatementDelivery   Statement = 1 // delivery verification
	StatementInspection Statement = 2 // inspection report
	StatementMilestone  Statement = 3
	StatementEndUse     Statement = 4 // end-use certificate
	StatementDemand     Statement = 5 // call of a guarantee
	DocumentContract    Statement = 6
	DocumentOther       Statement = 7
)

var statementNames = [...]string{1: "delivery verification", "inspection report", "milestone", "end-use certificate", "demand", "contract", "other document"}

// String gives the field's term.
func (s Statement) String() string {
	if s >= 1 && int(s) < len(statementNames) {
		return statementNames[s]
	}
	return "statement " + strconv.Itoa(int(s))
}

// attestable tells whether a condition may ask for the statement.
func (s Statement) attestable() bool { return s >= StatementDelivery && s <= StatementDemand }

// Attested is the condition of a hold that attestors decide.
type Attested struct {
	Until        uint64    // ledger time, milliseconds: posted only before, voided by anybody from then on
	Payer        SignerKey // may challenge, and amends with the payee; zero: nobody
	Payee        SignerKey // may release, and amends with the payer; zero: nobody
	Statement    Statement // what is attested
	Document     [32]byte  // SHA-256 of the document that must be named; zero: the attestors agree on one
	Threshold    uint8     // m
	Contested    uint8     // attestors needed after a challenge, m or more; 0 without a window
	WindowMillis uint64    // challenge window from the moment m agree; 0 for none
	Attestors    []SignerKey
}

// Follower is one hold on another ledger that follows this ledger's decision.
type Follower struct {
	Ledger     GenesisHash
	Commitment zk.Commitment // of the payee's output there
}

// DecidedHere is the condition of a hold whose ledger decides for others.
type DecidedHere struct {
	Until     uint64     // ledger time, milliseconds: voided by anybody from then on
	Followers []Follower // ascending by ledger, none twice
}

// DecidedThere is the condition of a hold that follows another ledger's decision. It has no time of its own.
type DecidedThere struct {
	Ledger GenesisHash // the decider
	Hold   HoldID      // the hold there
	Until  uint64      // its expiry, in the decider's ledger time
}

// Condition encodes the condition.
func (a *Attested) Condition() Condition {
	b := put64(nil, a.Until)
	b = append(append(b, a.Payer[:]...), a.Payee[:]...)
	b = append(append(b, byte(a.Statement)), a.Document[:]...)
	b = put64(append(b, a.Threshold, a.Contested), a.WindowMillis)
	b = append(b, uint8(len(a.Attestors)))
	for _, k := range a.Attestors {
		b = append(b, k[:]...)
	}
	return Condition{ConditionAttested, b}
}

// Condition encodes the condition.
func (d *DecidedHere) Condition() Condition {
	b := append(put64(nil, d.Until), uint8(len(d.Followers)))
	for _, f := range d.Followers {
		b = append(append(b, f.Ledger[:]...), f.Commitment[:]...)
	}
	return Condition{ConditionDecidedHere, b}
}

// Condition encodes the condition.
func (d *DecidedThere) Condition() Condition {
	return Condition{ConditionDecidedThere, put64(putHold(append([]byte(nil), d.Ledger[:]...), d.Hold), d.Until)}
}

// Decode reads the condition: *Attested, *DecidedHere or *DecidedThere. It refuses condition_unknown for another type and
// condition_invalid for bytes that break a rule of SPEC 1.10.
func (c Condition) Decode() (any, error) {
	r := &reader{b: c.Bytes}
	var out any
	var err error
	switch c.Type {
	case ConditionAttested:
		a := &Attested{Until: r.u64(), Payer: r.bytes32(), Payee: r.bytes32(), Statement: Statement(r.u8()), Document: r.bytes32(),
			Threshold: r.u8(), Contested: r.u8(), WindowMillis: r.u64()}
		if n := int(r.u8()); n >= 1 && n <= MaxAttestors && r.has(32*n) {
			a.Attestors = make([]SignerKey, n)
			for i := range a.Attestors {
				a.Attestors[i] = r.bytes32()
			}
		}
		out, err = a, a.validate()
	case ConditionDecidedHere:
		d := &DecidedHere{Until: r.u64()}
		if n := int(r.u8()); n >= 1 && n <= MaxFollowers && r.has(64*n) {
			d.Followers = make([]Follower, n)
			for i := range d.Followers {
				d.Followers[i] = Follower{r.bytes32(), zk.Commitment(r.field())}
			}
		}
		out, err = d, d.validate()
	case ConditionDecidedThere:
		out = &DecidedThere{Ledger: r.bytes32(), Hold: r.hold(), Until: r.u64()}
	default:
		return nil, Refuse(ConditionUnknown, "condition type %d", c.Type)
	}
	if e := r.end(); e != nil {
		err = e
	}
	if err != nil {
		return nil, Refuse(ConditionInvalid, "%v", err)
	}
	return out, nil
}

func (a *Attested) validate() error {
	keys := make([]SignerKey, 0, len(a.Attestors)+2)
	for _, k := range []SignerKey{a.Payer, a.Payee} {
		if k != (SignerKey{}) {
			keys = append(keys, k)
		}
	}
	first := len(keys) // of the attestors; the payee's key, if there is one, stands just before
	keys = append(keys, a.Attestors...)
	for i, k := range keys {
		if err := k.check(); err != nil {
			return err
		}
		for j, other := range keys[:i] {
			// The beneficiary of a guarantee demands payment: its key may be payee and attestor, once each.
			if other == k && (a.Payee == (SignerKey{}) || j != first-1 || i < first) {
				return Refuse(Malformed, "key %s stands twice", k)
			}
		}
	}
	n := len(a.Attestors)
	switch {
	case n < 1 || int(a.Threshold) < 1 || int(a.Threshold) > n:
		return Refuse(Malformed, "%d of %d attestors, want 1 <= m <= n <= %d", a.Threshold, n, MaxAttestors)
	case !a.Statement.attestable():
		return Refuse(Malformed, "statement %d", a.Statement)
	case a.WindowMillis > MaxWindowMillis:
		return Refuse(Malformed, "a challenge window of %d ms", a.WindowMillis)
	case (a.WindowMillis == 0) != (a.Contested == 0), a.Contested != 0 && (a.Contested < a.Threshold || int(a.Contested) > n):
		return Refuse(Malformed, "%d attestors after a challenge of %d of %d, window %d ms", a.Contested, a.Threshold, n, a.WindowMillis)
	case a.WindowMillis != 0 && a.Payer == (SignerKey{}):
		return Refuse(Malformed, "a challenge window and nobody who may challenge")
	}
	return nil
}

func (d *DecidedHere) validate() error {
	if len(d.Followers) < 1 || len(d.Followers) > MaxFollowers {
		return Refuse(Malformed, "%d followers, want 1 to %d", len(d.Followers), MaxFollowers)
	}
	for i := 1; i < len(d.Followers); i++ {
		if string(d.Followers[i-1].Ledger[:]) >= string(d.Followers[i].Ledger[:]) {
			return Refuse(NonCanonical, "followers are not ascending by ledger")
		}
	}
	return nil
}

// PeerProof shows that another ledger's log holds a leaf, under a size that this ledger observed. It is witness data.
type PeerProof struct {
	Size  uint64     // leaves of the tree that the path leads to
	Index uint64     // of the leaf
	Path  [][32]byte // RFC 6962 inclusion proof, at most 63 hashes
	Leaf  []byte     // the peer's entry
}

const maxPath = 63

func (p *PeerProof) size() int { return 8 + 8 + 1 + 32*len(p.Path) + 2 + len(p.Leaf) }

func (p *PeerProof) append(dst []byte) []byte {
	dst = putPath(put64(put64(dst, p.Size), p.Index), p.Path)
	return append(put16(dst, uint16(len(p.Leaf))), p.Leaf...)
}

func (p *PeerProof) check() error {
	if len(p.Path) > maxPath || len(p.Leaf) < 1 || len(p.Leaf) > MaxEntry {
		return Refuse(Malformed, "a peer proof with %d hashes and a leaf of %d bytes", len(p.Path), len(p.Leaf))
	}
	return nil
}

// Marshal gives the proof's bytes.
func (p *PeerProof) Marshal() []byte { return p.append(make([]byte, 0, p.size())) }

// ParsePeerProof reads what Marshal wrote, and only that.
func ParsePeerProof(b []byte) (*PeerProof, error) {
	r := &reader{b: b}
	p := r.peerProof()
	if err := r.end(); err != nil {
		return nil, err
	}
	return p, nil
}

func (r *reader) peerProof() *PeerProof {
	p := &PeerProof{Size: r.u64(), Index: r.u64(), Path: r.path()}
	p.Leaf = r.blob()
	if r.err == nil && len(p.Leaf) == 0 {
		r.fail(Refuse(Malformed, "a peer proof without a leaf"))
	}
	return p
}

func putPath(dst []byte, path [][32]byte) []byte {
	dst = append(dst, uint8(len(path)))
	for i := range path {
		dst = append(dst, path[i][:]...)
	}
	return dst
}

func (r *reader) path() [][32]byte {
	n := int(r.u8())
	if n > maxPath {
		r.fail(Refuse(Malformed, "a path of %d hashes, at most %d", n, maxPath))
	}
	if n == 0 || !r.has(32*n) {
		return nil
	}
	path := make([][32]byte, n)
	for i := range path {
		path[i] = r.bytes32()
	}
	return path
}

// blob reads bytes behind their length as u16, copied.
func (r *reader) blob() []byte {
	if b := r.take(int(r.u16())); len(b) > 0 {
		return append([]byte(nil), b...)
	}
	return nil
}

func putBlob(dst, b []byte) []byte { return append(put16(dst, uint16(len(b))), b...) }

// Digest is the SHA-256 of a document, as conditions, attestations and document entries name it.
func Digest(document []byte) [32]byte { return sha256.Sum256(document) }

// ParseDigest reads 64 lower-case hexadecimal digits.
func ParseDigest(s string) (d [32]byte, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(d) || hex.EncodeToString(b) != s {
		return d, Refuse(Malformed, "digest: want 64 lower-case hexadecimal digits")
	}
	return [32]byte(b), nil
}
