package entry

import (
	"crypto/sha256"
	"encoding/hex"
	"strconv"
)

// Version is the first byte of every entry.
const Version = 1

const (
	// MaxEntry is the longest entry in bytes: what the two-byte length of a C2SP tlog-tiles entry bundle can say.
	MaxEntry = 1<<16 - 1
	// MaxSegment is the longest payee ciphertext segment of one leg in bytes.
	MaxSegment = 1 << 16
	// MaxLegs is the most legs a transaction has.
	MaxLegs = 4
)

const signatureSize = 96 // Schnorr on Jubjub: R.x, R.y, s

// Kind is the second byte of an entry.
type Kind uint8

// The kinds of entry.
const (
	KindGenesis   Kind = 1
	KindState     Kind = 2
	KindTransfer  Kind = 3
	KindIssue     Kind = 4
	KindRedeem    Kind = 5
	KindRegister  Kind = 6
	KindFreeze    Kind = 7
	KindProgramme Kind = 8
	KindOversight Kind = 9
	KindResolve   Kind = 10
	KindAttest    Kind = 11
	KindAmend     Kind = 12
	KindDocument  Kind = 13
	KindCorridor  Kind = 14
	KindObserve   Kind = 15
	KindEvidence  Kind = 16
	KindOverride  Kind = 17
	KindClose     Kind = 18
)

var kindNames = [...]string{KindGenesis: "genesis", KindState: "state", KindTransfer: "transfer", KindIssue: "issue", KindRedeem: "redeem",
	KindRegister: "register", KindFreeze: "freeze", KindProgramme: "programme", KindOversight: "oversight",
	KindResolve: "resolve", KindAttest: "attest", KindAmend: "amend", KindDocument: "document", KindCorridor: "corridor", KindObserve: "observe",
	KindEvidence: "evidence", KindOverride: "override", KindClose: "close"}

// String gives the kind's name in the SPEC.
func (k Kind) String() string {
	if k >= KindGenesis && int(k) < len(kindNames) {
		return kindNames[k]
	}
	return "kind " + strconv.Itoa(int(k))
}

// Privileged tells whether the kind needs the policy's signatures.
func (k Kind) Privileged() bool {
	return k >= KindIssue && k <= KindOversight || k == KindDocument || k == KindCorridor || k == KindOverride || k == KindClose
}

// ID names an entry: SHA-256("comity/txid/v1" || E). Proofs, anchors and signatures are not part of it.
type ID [32]byte

// String gives lower-case hexadecimal.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// ParseID reads what String wrote.
func ParseID(s string) (ID, error) {
	var id ID
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) || hex.EncodeToString(b) != s {
		return ID{}, Refuse(Malformed, "entry id: want 64 lower-case hexadecimal digits")
	}
	copy(id[:], b)
	return id, nil
}

// GenesisHash names a ledger: SHA-256("comity/genesis/v1" || genesis entry).
type GenesisHash [32]byte

// String gives lower-case hexadecimal.
func (h GenesisHash) String() string { return hex.EncodeToString(h[:]) }

// An Entry is one leaf of the log: a *Genesis, *State, *Transaction, *Register, *Freeze, *Programme, *Oversight, *Resolve,
// *Attest, *Amend, *Document, *Corridor, *Observe, *Evidence, *Override or *Close.
type Entry interface {
	// Kind is the entry's second byte.
	Kind() Kind
	// AppendEffecting appends E.
	AppendEffecting(dst []byte) []byte
	// AppendWitness appends W, which is empty for genesis and state.
	AppendWitness(dst []byte) []byte
	// Head is what clients' entries have in common, or nil for genesis and state. It is shared, not copied.
	Head() *Header
	// Validate checks every rule that needs the entry alone. Decoding implies it.
	Validate() error
}

// Header is what every entry of a client has in common.
type Header struct {
	Ledger       GenesisHash
	ExpiryMillis uint64 // ledger time, milliseconds since the Unix epoch; settled only strictly before it
	Sequence     uint64 // policy sequence number; 0 for a kind that is not privileged
	Signatures   []PolicySignature
}

// Head returns h itself; whatever embeds a Header has it as part of [Entry].
func (h *Header) Head() *Header { return h }

func (h *Header) appendHeader(dst []byte, k Kind) []byte {
	dst = append(dst, Version, byte(k))
	dst = append(dst, h.Ledger[:]...)
	dst = put64(dst, h.ExpiryMillis)
	return put64(dst, h.Sequence)
}

func (h *Header) readHeader(r *reader) {
	h.Ledger = GenesisHash(r.bytes32())
	h.ExpiryMillis = r.u64()
	h.Sequence = r.u64()
}

// Encode gives the entry's bytes E || W, the leaf of the log.
func Encode(e Entry) []byte {
	n := 256
	if tx, ok := e.(*Transaction); ok {
		n = tx.Size()
	}
	return e.AppendWitness(e.AppendEffecting(make([]byte, 0, n)))
}

// IDOf computes the id of any entry.
func IDOf(e Entry) ID {
	if tx, ok := e.(*Transaction); ok {
		return tx.ID()
	}
	buf := make([]byte, 0, 512)
	buf = append(buf, txidTag...)
	return ID(sha256.Sum256(e.AppendEffecting(buf)))
}

const (
	txidTag = "comity/txid/v1"
	ctxTag  = "comity/ctx/v1"
)

// Decode reads the bytes of any entry and refuses, by name, everything that is not the one encoding of a valid one.
func Decode(b []byte) (Entry, error) {
	k, err := KindOf(b)
	if err != nil {
		return nil, err
	}
	switch k {
	case KindGenesis:
		return nilOnError(DecodeGenesis(b))
	case KindState:
		return nilOnError(DecodeState(b))
	case KindTransfer, KindIssue, KindRedeem:
		return nilOnError(DecodeTransaction(b))
	case KindRegister:
		return decodeAdmin(b, &Register{})
	case KindFreeze:
		return decodeAdmin(b, &Freeze{})
	case KindProgramme:
		return decodeAdmin(b, &Programme{})
	case KindOversight:
		return decodeAdmin(b, &Oversight{})
	case KindResolve:
		return decodeAdmin(b, &Resolve{})
	case KindAttest:
		return decodeAdmin(b, &Attest{})
	case KindAmend:
		return decodeAdmin(b, &Amend{})
	case KindDocument:
		return decodeAdmin(b, &Document{})
	case KindCorridor:
		return decodeAdmin(b, &Corridor{})
	case KindObserve:
		return decodeAdmin(b, &Observe{})
	case KindEvidence:
		return decodeAdmin(b, &Evidence{})
	case KindOverride:
		return decodeAdmin(b, &Override{})
	default:
		return decodeAdmin(b, &Close{})
	}
}

// KindOf reads version and kind, and checks the size, of an entry that is not decoded yet.
func KindOf(b []byte) (Kind, error) {
	if len(b) > MaxEntry {
		return 0, Refuse(Oversize, "an entry of %d bytes, the limit is %d", len(b), MaxEntry)
	}
	if len(b) < 2 {
		return 0, errTruncated
	}
	if b[0] != Version {
		return 0, Refuse(UnsupportedVersion, "version %d, this ledger speaks %d", b[0], Version)
	}
	k := Kind(b[1])
	if k < KindGenesis || k > KindClose {
		return 0, Refuse(UnknownKind, "kind %d", b[1])
	}
	return k, nil
}

// nilOnError keeps a typed nil pointer out of the Entry interface.
func nilOnError[T Entry](e T, err error) (Entry, error) {
	if err != nil {
		return nil, err
	}
	return e, nil
}
