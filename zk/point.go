package zk

import (
	"crypto/subtle"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	te "github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
)

// Why bytes or coordinates are not a public key.
var (
	ErrPointNotOnCurve = errors.New("point is not on the curve")
	ErrPointSmallOrder = errors.New("point is outside the prime-order subgroup")
	ErrPointIdentity   = errors.New("point is the identity")
)

// Point is a point of Jubjub that is on the curve, in the subgroup of prime order and not the identity: there is no way to
// make another (Z1.8). Only the zero value, which IsZero reports, is not a point. Points compare with ==.
type Point struct{ x, y fr.Element }

var curve = te.GetEdwardsCurve()

// ScalarOrder returns the order l of the subgroup.
func ScalarOrder() *big.Int { return new(big.Int).Set(&curve.Order) }

// ParsePoint decodes 64 bytes X || Y, both canonical. It does every check itself: gnark-crypto's own SetBytes takes encodings
// that are not canonical and points off the curve (Z1.8).
func ParsePoint(b []byte) (Point, error) {
	if len(b) != 64 {
		return Point{}, fmt.Errorf("point: %w: %d bytes", ErrNonCanonical, len(b))
	}
	x, err := ParseElement(b[:32])
	if err != nil {
		return Point{}, fmt.Errorf("point: x: %w", err)
	}
	y, err := ParseElement(b[32:])
	if err != nil {
		return Point{}, fmt.Errorf("point: y: %w", err)
	}
	return PointFromXY(x, y)
}

// PointFromXY checks the coordinates as ParsePoint does.
func PointFromXY(x, y fr.Element) (Point, error) {
	p := te.PointAffine{X: x, Y: y}
	switch {
	case !p.IsOnCurve():
		return Point{}, ErrPointNotOnCurve
	case p.IsZero():
		return Point{}, ErrPointIdentity
	case !inSubgroup(&p):
		return Point{}, ErrPointSmallOrder
	}
	return Point{x, y}, nil
}

// inSubgroup is l*P = O by plain multiplication. Keys are parsed seldom, so the textbook test is worth its 100 us more than the
// library's pairing-based one, which rests on a paper of this year.
func inSubgroup(p *te.PointAffine) bool {
	var q te.PointAffine
	q.ScalarMultiplication(p, &curve.Order)
	return q.IsZero()
}

// Bytes is X || Y, canonical.
func (p Point) Bytes() (b [64]byte) {
	x, y := p.x.Bytes(), p.y.Bytes()
	copy(b[:32], x[:])
	copy(b[32:], y[:])
	return b
}

// XY returns the affine coordinates.
func (p Point) XY() (x, y fr.Element) { return p.x, p.y }

// Fields returns the affine coordinates as public field elements.
func (p Point) Fields() [2]Field { return [2]Field{p.x.Bytes(), p.y.Bytes()} }

// Equal reports whether both are the same point.
func (p Point) Equal(q Point) bool { return p == q }

// IsZero reports whether p is the zero value of the type, which is no point.
func (p Point) IsZero() bool { return p == Point{} }

// String is the hex of the encoding.
func (p Point) String() string { b := p.Bytes(); return fmt.Sprintf("%x", b[:]) }

// Scalar is a secret of Jubjub, an integer from 1 to l-1. The zero value is no scalar. Multiplication is not constant in time:
// it runs where the key lives, and a ledger never holds one.
type Scalar struct {
	_ [0]func() // not comparable with ==
	b *[32]byte // big endian; behind a pointer so that printing an enclosing struct shows an address
}

// ErrScalar refuses bytes that are not 32, zero, or at least the order of the subgroup.
var ErrScalar = errors.New("not a scalar between 1 and the order of the curve's subgroup")

// ParseScalar decodes 32 big-endian bytes from 1 to l-1.
func ParseScalar(b []byte) (Scalar, error) {
	if len(b) != 32 {
		return Scalar{}, ErrScalar
	}
	n := new(big.Int).SetBytes(b)
	if n.Sign() == 0 || n.Cmp(&curve.Order) >= 0 {
		return Scalar{}, ErrScalar
	}
	return scalarOf(n), nil
}

func scalarOf(n *big.Int) Scalar {
	s := Scalar{b: new([32]byte)}
	n.FillBytes(s.b[:])
	return s
}

// ScalarFromWide reduces 64 bytes, read as a big-endian integer, to a scalar. The bias is below 2^-250. Zero, which nobody will
// ever see, becomes one.
func ScalarFromWide(b [64]byte) Scalar {
	n := new(big.Int).SetBytes(b[:])
	n.Mod(n, &curve.Order)
	if n.Sign() == 0 {
		n.SetUint64(1)
	}
	return scalarOf(n)
}

// NewScalar draws a scalar.
func NewScalar(rand io.Reader) (Scalar, error) {
	var wide [64]byte
	if _, err := io.ReadFull(rand, wide[:]); err != nil {
		return Scalar{}, fmt.Errorf("draw a scalar: %w", err)
	}
	return ScalarFromWide(wide), nil
}

func (s Scalar) int() *big.Int {
	if s.b == nil {
		panic("zk: empty scalar")
	}
	return new(big.Int).SetBytes(s.b[:])
}

// IsZero reports whether s is the zero value of the type, which is no scalar.
func (s Scalar) IsZero() bool { return s.b == nil }

// Bytes exposes the secret, 32 bytes big endian.
func (s Scalar) Bytes() [32]byte {
	if s.b == nil {
		panic("zk: empty scalar")
	}
	return *s.b
}

// Base is s*G, with G the base point of gnark-crypto v0.22.
func (s Scalar) Base() Point {
	var p te.PointAffine
	p.ScalarMultiplicationBase(s.int())
	return Point{p.X, p.Y}
}

// Mul is s*P.
func (s Scalar) Mul(p Point) Point {
	if p.IsZero() {
		panic("zk: multiplication of an empty point")
	}
	q := te.PointAffine{X: p.x, Y: p.y}
	q.ScalarMultiplication(&q, s.int())
	return Point{q.X, q.Y}
}

// MulXY is s*(x, y) for coordinates that a circuit has proven to be a multiple of G, where the identity is possible. It refuses
// what is not on the curve (Z6.5).
func (s Scalar) MulXY(x, y fr.Element) (fr.Element, fr.Element, error) {
	p := te.PointAffine{X: x, Y: y}
	if !p.IsOnCurve() {
		return fr.Element{}, fr.Element{}, ErrPointNotOnCurve
	}
	p.ScalarMultiplication(&p, s.int())
	return p.X, p.Y, nil
}

// Equal compares in constant time.
func (s Scalar) Equal(t Scalar) bool {
	a, b := s.Bytes(), t.Bytes()
	return subtle.ConstantTimeCompare(a[:], b[:]) == 1
}

// String hides the secret.
func (s Scalar) String() string { return "[secret]" }

// GoString hides the secret.
func (s Scalar) GoString() string { return "[secret]" }

// MarshalText hides the secret: JSON of a struct that holds one must not leak it.
func (s Scalar) MarshalText() ([]byte, error) { return []byte("[secret]"), nil }
