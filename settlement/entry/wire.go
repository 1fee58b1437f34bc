package entry

import (
	"encoding/binary"
	"unicode"
	"unicode/utf8"

	"github.com/comity-ledger/comity/zk"
)

// reader takes fixed-width big-endian values off a byte slice. The first failure sticks; every later read gives zero values, so a
// decoder reads straight through and looks at err once. It never allocates more than the bytes it was given justify.
type reader struct {
	b   []byte
	err error
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
		r.b = nil
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		r.fail(errTruncated)
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

// has tells whether n more bytes are there, before anything of that size is allocated.
func (r *reader) has(n int) bool {
	if r.err == nil && n > len(r.b) {
		r.fail(errTruncated)
	}
	return r.err == nil
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

// bytes32 reads 32 bytes that may have any value, such as a hash.
func (r *reader) bytes32() (out [32]byte) {
	copy(out[:], r.take(32))
	return out
}

// field reads one canonical field element. Values of r or more are refused here, once for every typed value made from it.
func (r *reader) field() (out zk.Field) {
	b := r.take(32)
	if b == nil {
		return out
	}
	out, err := zk.ParseField(b)
	if err != nil {
		r.fail(errFieldRange)
	}
	return out
}

func (r *reader) point() (p zk.Point) {
	b := r.take(64)
	if b == nil {
		return p
	}
	p, err := zk.ParsePoint(b)
	if err != nil {
		r.fail(Refuse(NonCanonical, "key: %v", err))
	}
	return p
}

func (r *reader) schnorr() (s zk.Signature) {
	b := r.take(signatureSize)
	if b == nil {
		return s
	}
	s, err := zk.ParseSignature(b)
	if err != nil {
		r.fail(Refuse(NonCanonical, "proof of possession: %v", err))
	}
	return s
}

// text reads a text of 1 to max bytes with a one-byte length.
func (r *reader) text(what string, max int) string {
	n := int(r.u8())
	b := r.take(n)
	if r.err != nil {
		return ""
	}
	if n > max || !printable(string(b)) {
		r.fail(Refuse(Malformed, "%s: 1 to %d bytes of printable text, no space at either end", what, max))
		return ""
	}
	return string(b)
}

// end refuses trailing bytes.
func (r *reader) end() error {
	if r.err == nil && len(r.b) != 0 {
		r.fail(Refuse(Malformed, "%d bytes after the end", len(r.b)))
	}
	return r.err
}

var (
	errTruncated  error = &Refusal{Code: Malformed, Detail: "truncated"}
	errFieldRange error = &Refusal{Code: NonCanonical, Detail: "a field element is not below the modulus"}
)

// printable holds for text that shows as itself: no control or formatting characters that could make a signer read one thing and
// sign another, no space at either end, not empty.
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

// plainASCII holds for names that stand in signed notes and addresses: printable ASCII without space and plus.
func plainASCII(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] <= ' ' || s[i] > '~' || s[i] == '+' {
			return false
		}
	}
	return s != ""
}

func put16(dst []byte, v uint16) []byte { return binary.BigEndian.AppendUint16(dst, v) }
func put32(dst []byte, v uint32) []byte { return binary.BigEndian.AppendUint32(dst, v) }
func put64(dst []byte, v uint64) []byte { return binary.BigEndian.AppendUint64(dst, v) }

func putText(dst []byte, s string) []byte {
	return append(append(dst, uint8(len(s))), s...)
}

func putPoint(dst []byte, p zk.Point) []byte {
	b := p.Bytes()
	return append(dst, b[:]...)
}

func putSchnorr(dst []byte, s zk.Signature) []byte {
	r := s.R.Bytes()
	return append(append(dst, r[:]...), s.S[:]...)
}
