package zk

import (
	"encoding/binary"
	"errors"
	"io"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

// Depths of the trees, all ternary with 3^depth leaves, and the capacity of a note tree.
const (
	NoteDepth     = 20
	RegistryDepth = 11
	ReaderDepth   = 6
	RightsDepth   = 2

	// NoteCapacity is the number of leaves of one note tree, 3^20. It fits 32 bits.
	NoteCapacity = 3486784401
)

// Note is an unspent output.
type Note struct {
	Value     Amount
	Asset     AssetID
	Programme ProgrammeID
	Owner     Owner
	Rho       Rho
}

// Packed is value + 2^64*asset + 2^96*programme + 2^160, the first input of the commitment. Bit 160 is the note's domain
// tag (Z2.1).
func (n Note) Packed() fr.Element { return Pack(n.Value, n.Asset, n.Programme) }

// Pack is the packed word of a note's public part (Z2.1).
func Pack(v Amount, a AssetID, p ProgrammeID) fr.Element {
	var b [32]byte
	b[11] = 1 // bit 160
	binary.BigEndian.PutUint64(b[12:], uint64(p))
	binary.BigEndian.PutUint32(b[20:], uint32(a))
	binary.BigEndian.PutUint64(b[24:], uint64(v))
	var e fr.Element
	e.SetBytes(b[:])
	return e
}

// Commitment is C(packed, own, rho) (Z2.2).
func (n Note) Commitment() Commitment {
	return CommitmentFromElement(Hash3(n.Packed(), n.Owner.Element(), n.Rho.Element()))
}

// ErrPacked refuses a word that packs no note: the tag at bit 160 is missing or a higher bit is set.
var ErrPacked = errors.New("not a packed note")

// UnpackNote splits a packed word and refuses one that Pack did not make.
func UnpackNote(packed fr.Element) (Amount, AssetID, ProgrammeID, error) {
	b := packed.Bytes()
	if [12]byte(b[:12]) != [12]byte{11: 1} {
		return 0, 0, 0, ErrPacked
	}
	return Amount(binary.BigEndian.Uint64(b[24:])), AssetID(binary.BigEndian.Uint32(b[20:])),
		ProgrammeID(binary.BigEndian.Uint64(b[12:])), nil
}

// Position is where a note lies: the number of its tree and the leaf in it, below NoteCapacity.
type Position struct {
	Tree  uint16
	Index uint32
}

// Element is index + 2^32*tree + 2^48. Bit 48 is the nullifier's domain tag (Z2.4).
func (p Position) Element() fr.Element {
	return fr.NewElement(1<<48 | uint64(p.Tree)<<32 | uint64(p.Index))
}

// NullifierKey makes the nullifiers of a wallet's notes: a secret field element. Whoever has it sees which notes of the wallet
// are spent and cannot spend them. The zero value is no key.
type NullifierKey struct {
	_ [0]func() // not comparable with ==
	k *fr.Element
}

// NullifierKeyFromElement takes the element as the key.
func NullifierKeyFromElement(e fr.Element) NullifierKey { return NullifierKey{k: &e} }

// ParseNullifierKey decodes 32 canonical bytes.
func ParseNullifierKey(b []byte) (NullifierKey, error) {
	e, err := ParseElement(b)
	if err != nil {
		return NullifierKey{}, err
	}
	return NullifierKeyFromElement(e), nil
}

// Element exposes the secret, for the prover and the key file.
func (k NullifierKey) Element() fr.Element {
	if k.k == nil {
		panic("zk: empty nullifier key")
	}
	return *k.k
}

// IsZero reports whether there is no key.
func (k NullifierKey) IsZero() bool { return k.k == nil }

// Bytes exposes the secret as 32 canonical bytes, for the key file.
func (k NullifierKey) Bytes() [32]byte { e := k.Element(); return e.Bytes() }

// String hides the secret.
func (k NullifierKey) String() string { return "[secret]" }

// GoString hides the secret.
func (k NullifierKey) GoString() string { return "[secret]" }

// MarshalText hides the secret: JSON of a struct that holds one must not leak it.
func (k NullifierKey) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }

// Nullify is C(nk, cm, position + tag): the nullifier of the note at that position (Z2.3). Equal notes at two positions have
// two nullifiers, and one note has one.
func (k NullifierKey) Nullify(cm Commitment, at Position) Nullifier {
	return NullifierFromElement(Hash3(k.Element(), cm.Element(), at.Element()))
}

// OwnerOf is P("own", AK.x, AK.y, nk) (Z2.5).
func OwnerOf(ak Point, nk NullifierKey) Owner {
	x, y := ak.XY()
	return OwnerFromElement(Hash("own", x, y, nk.Element()))
}

// NewRho draws the randomness of a note that no leg of this wallet creates, as tests and simulations need it. Notes that a leg
// creates take theirs from the oversight keystream.
func NewRho(rand io.Reader) (Rho, error) {
	var wide [64]byte
	if _, err := io.ReadFull(rand, wide[:]); err != nil {
		return Rho{}, err
	}
	return Rho(FieldFromWide(wide)), nil
}
