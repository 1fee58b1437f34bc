package bridge

import (
	"crypto/ed25519"
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

const (
	// Version is the first byte of every message.
	Version = 1
	// MaxMessage is the longest message in bytes.
	MaxMessage = 4096
	// MaxName is the longest name of a provider in bytes.
	MaxName = 64
)

// Kind is the second byte of a message (B1.1).
type Kind uint8

// The kinds of message.
const (
	KindRequest     Kind = 1
	KindQuote       Kind = 2
	KindAcceptance  Kind = 3
	KindReservation Kind = 4
	KindPlacement   Kind = 5
	KindProceed     Kind = 6
	KindStatus      Kind = 7
)

// reader takes fixed-width big-endian values off a message. The first failure sticks; later reads give zero values.
type reader struct {
	b   []byte
	err error
}

// open checks length, version and kind of a message.
func open(b []byte, k Kind) *reader {
	r := &reader{b: b}
	switch {
	case len(b) > MaxMessage:
		r.fail(Refuse(Oversize, "a message of %d bytes, the limit is %d", len(b), MaxMessage))
	case len(b) < 2:
		r.fail(Refuse(Malformed, "truncated"))
	case b[0] != Version:
		r.fail(Refuse(UnsupportedVersion, "version %d, this program speaks %d", b[0], Version))
	case Kind(b[1]) != k:
		r.fail(Refuse(UnknownKind, "a message of kind %d where kind %d belongs", b[1], k))
	default:
		r.b = b[2:]
	}
	return r
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err, r.b = err, nil
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(Refuse(Malformed, "truncated"))
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) bytes32() (out [32]byte) {
	copy(out[:], r.take(32))
	return out
}

func (r *reader) field() zk.Field {
	b := r.take(32)
	if b == nil {
		return zk.Field{}
	}
	f, err := zk.ParseField(b)
	if err != nil {
		r.fail(Refuse(NonCanonical, "a field element is not below the modulus"))
	}
	return f
}

func (r *reader) signature() (out [ed25519.SignatureSize]byte) {
	copy(out[:], r.take(len(out)))
	return out
}

// key reads an Ed25519 public key. One of small order, under which anybody signs, or in a second form of the same point is refused.
func (r *reader) key() entry.SignerKey {
	k := entry.SignerKey(r.bytes32())
	if r.err != nil {
		return k
	}
	if err := checkKey(k); err != nil {
		r.fail(err)
	}
	return k
}

// checkKey lets the policy's own check judge a key, so that the project has one list of bad ones.
func checkKey(k entry.SignerKey) error {
	if err := (&entry.Policy{Threshold: 1, Signers: []entry.SignerKey{k}}).Validate(); err != nil {
		return Refuse(NonCanonical, "%v", err)
	}
	return nil
}

func (r *reader) text(what string, max int) string {
	b := r.take(int(r.u8()))
	if r.err == nil && (len(b) > max || !printable(string(b))) {
		r.fail(Refuse(Malformed, "%s: 1 to %d bytes of printable text, no space at either end", what, max))
	}
	return string(b)
}

func (r *reader) hold() entry.HoldID {
	h := entry.HoldID{Tx: r.bytes32(), Leg: r.u8()}
	if h.Leg >= entry.MaxLegs {
		r.fail(Refuse(Malformed, "leg %d of a hold", h.Leg))
	}
	return h
}

func (r *reader) address() Address {
	a := Address{Owner: zk.Owner(r.field()), ViewKey: keys.ViewKey(r.bytes32())}
	if r.err == nil {
		if err := a.Check(); err != nil {
			r.fail(err)
		}
	}
	return a
}

func (r *reader) note() zk.Note {
	return zk.Note{Value: zk.Amount(r.u64()), Asset: zk.AssetID(r.u32()), Programme: zk.ProgrammeID(r.u64()), Owner: zk.Owner(r.field()), Rho: zk.Rho(r.field())}
}

// end refuses trailing bytes.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(Refuse(Malformed, "%d bytes after the end", len(r.b)))
	}
	return r.err
}

// printable holds for text that shows as itself, without space at either end.
func printable(s string) bool {
	if s == "" || !utf8.ValidString(s) || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	for _, c := range s {
		if !unicode.IsPrint(c) {
			return false
		}
	}
	return true
}

func put16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func put32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
func put64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

func putText(dst []byte, s string) []byte { return append(append(dst, uint8(len(s))), s...) }

func putHold(dst []byte, h entry.HoldID) []byte { return append(append(dst, h.Tx[:]...), h.Leg) }

func putAddress(dst []byte, a Address) []byte {
	return append(append(dst, a.Owner[:]...), a.ViewKey[:]...)
}

func putNote(dst []byte, n zk.Note) []byte {
	dst = put64(put32(put64(dst, uint64(n.Value)), uint32(n.Asset)), uint64(n.Programme))
	return append(append(dst, n.Owner[:]...), n.Rho[:]...)
}
