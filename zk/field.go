package zk

import (
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// ErrNonCanonical refuses bytes that are not the one encoding of a field element: not 32 bytes, or an integer of at least the
// field's order r. Without it x, x+r and x+2r would be three nullifiers of one note (Z1.7).
var ErrNonCanonical = errors.New("not the canonical 32-byte encoding of a field element")

// The typed public field elements. Each holds the canonical 32-byte big-endian encoding, is comparable and may key a map.
// Bytes from outside come in through the Parse functions alone; Element panics on bytes that went around them, because a
// silent reduction would turn a forgotten check into a double spend.
type (
	// Commitment is the hash of a note that a ledger stores.
	Commitment [32]byte
	// Nullifier is what a ledger stores when a note is spent.
	Nullifier [32]byte
	// Root is the root of a note tree, of a registry, readers' or rights tree.
	Root [32]byte
	// Owner is the hash of a wallet's public key and its nullifier key: whom a note belongs to.
	Owner [32]byte
	// Rho is the randomness of a note.
	Rho [32]byte
	// Field is any other public field element.
	Field [32]byte
)

func parse32(b []byte) (out [32]byte, err error) {
	if len(b) != 32 {
		return out, fmt.Errorf("%w: %d bytes", ErrNonCanonical, len(b))
	}
	var e fr.Element
	if err := e.SetBytesCanonical(b); err != nil {
		return out, ErrNonCanonical
	}
	copy(out[:], b)
	return out, nil
}

func element32(b *[32]byte) fr.Element {
	var e fr.Element
	if err := e.SetBytesCanonical(b[:]); err != nil {
		panic("zk: a field element was built from unchecked bytes")
	}
	return e
}

// ParseElement decodes a canonical field element (Z1.7).
func ParseElement(b []byte) (fr.Element, error) {
	var e fr.Element
	if len(b) != 32 {
		return e, fmt.Errorf("%w: %d bytes", ErrNonCanonical, len(b))
	}
	if err := e.SetBytesCanonical(b); err != nil {
		return fr.Element{}, ErrNonCanonical
	}
	return e, nil
}

// ParseCommitment decodes 32 canonical bytes.
func ParseCommitment(b []byte) (Commitment, error) { x, err := parse32(b); return Commitment(x), err }

// ParseNullifier decodes 32 canonical bytes.
func ParseNullifier(b []byte) (Nullifier, error) { x, err := parse32(b); return Nullifier(x), err }

// ParseRoot decodes 32 canonical bytes.
func ParseRoot(b []byte) (Root, error) { x, err := parse32(b); return Root(x), err }

// ParseOwner decodes 32 canonical bytes.
func ParseOwner(b []byte) (Owner, error) { x, err := parse32(b); return Owner(x), err }

// ParseRho decodes 32 canonical bytes.
func ParseRho(b []byte) (Rho, error) { x, err := parse32(b); return Rho(x), err }

// ParseField decodes 32 canonical bytes.
func ParseField(b []byte) (Field, error) { x, err := parse32(b); return Field(x), err }

// CommitmentFromElement encodes a field element.
func CommitmentFromElement(e fr.Element) Commitment { return e.Bytes() }

// NullifierFromElement encodes a field element.
func NullifierFromElement(e fr.Element) Nullifier { return e.Bytes() }

// RootFromElement encodes a field element.
func RootFromElement(e fr.Element) Root { return e.Bytes() }

// OwnerFromElement encodes a field element.
func OwnerFromElement(e fr.Element) Owner { return e.Bytes() }

// RhoFromElement encodes a field element.
func RhoFromElement(e fr.Element) Rho { return e.Bytes() }

// FieldFromElement encodes a field element.
func FieldFromElement(e fr.Element) Field { return e.Bytes() }

// FieldFromWide reduces 64 bytes, read as a big-endian integer, into the field: what ctx is made with from a SHA-512.
func FieldFromWide(b [64]byte) Field {
	var e fr.Element
	e.SetBytes(b[:])
	return e.Bytes()
}

// Element returns the field element. It panics on bytes that no Parse function has seen.
func (c Commitment) Element() fr.Element { return element32((*[32]byte)(&c)) }

// Element returns the field element. It panics on bytes that no Parse function has seen.
func (n Nullifier) Element() fr.Element { return element32((*[32]byte)(&n)) }

// Element returns the field element. It panics on bytes that no Parse function has seen.
func (r Root) Element() fr.Element { return element32((*[32]byte)(&r)) }

// Element returns the field element. It panics on bytes that no Parse function has seen.
func (o Owner) Element() fr.Element { return element32((*[32]byte)(&o)) }

// Element returns the field element. It panics on bytes that no Parse function has seen.
func (r Rho) Element() fr.Element { return element32((*[32]byte)(&r)) }

// Element returns the field element. It panics on bytes that no Parse function has seen.
func (f Field) Element() fr.Element { return element32((*[32]byte)(&f)) }

// String is the lower-case hex of the encoding.
func (c Commitment) String() string { return hex.EncodeToString(c[:]) }

// String is the lower-case hex of the encoding.
func (n Nullifier) String() string { return hex.EncodeToString(n[:]) }

// String is the lower-case hex of the encoding.
func (r Root) String() string { return hex.EncodeToString(r[:]) }

// String is the lower-case hex of the encoding.
func (o Owner) String() string { return hex.EncodeToString(o[:]) }

// String is the lower-case hex of the encoding.
func (r Rho) String() string { return hex.EncodeToString(r[:]) }

// String is the lower-case hex of the encoding.
func (f Field) String() string { return hex.EncodeToString(f[:]) }

// MarshalText is the lower-case hex of the encoding.
func (c Commitment) MarshalText() ([]byte, error) { return []byte(c.String()), nil }

// MarshalText is the lower-case hex of the encoding.
func (n Nullifier) MarshalText() ([]byte, error) { return []byte(n.String()), nil }

// MarshalText is the lower-case hex of the encoding.
func (r Root) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText is the lower-case hex of the encoding.
func (o Owner) MarshalText() ([]byte, error) { return []byte(o.String()), nil }

// MarshalText is the lower-case hex of the encoding.
func (r Rho) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// MarshalText is the lower-case hex of the encoding.
func (f Field) MarshalText() ([]byte, error) { return []byte(f.String()), nil }

func unmarshalText(dst *[32]byte, text []byte) error {
	b, err := hex.DecodeString(string(text))
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNonCanonical, err)
	}
	x, err := parse32(b)
	if err == nil {
		*dst = x
	}
	return err
}

// UnmarshalText parses the hex form and refuses what is not canonical.
func (c *Commitment) UnmarshalText(text []byte) error { return unmarshalText((*[32]byte)(c), text) }

// UnmarshalText parses the hex form and refuses what is not canonical.
func (n *Nullifier) UnmarshalText(text []byte) error { return unmarshalText((*[32]byte)(n), text) }

// UnmarshalText parses the hex form and refuses what is not canonical.
func (r *Root) UnmarshalText(text []byte) error { return unmarshalText((*[32]byte)(r), text) }

// UnmarshalText parses the hex form and refuses what is not canonical.
func (o *Owner) UnmarshalText(text []byte) error { return unmarshalText((*[32]byte)(o), text) }

// UnmarshalText parses the hex form and refuses what is not canonical.
func (r *Rho) UnmarshalText(text []byte) error { return unmarshalText((*[32]byte)(r), text) }

// UnmarshalText parses the hex form and refuses what is not canonical.
func (f *Field) UnmarshalText(text []byte) error { return unmarshalText((*[32]byte)(f), text) }
