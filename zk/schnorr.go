package zk

import (
	"crypto/sha512"
	"errors"
	"fmt"
	"io"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	te "github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
)

// Signature is a Schnorr signature over Jubjub with a Poseidon2 challenge, cheap to verify in a circuit (Z2.6). S is a
// big-endian integer below l. On the wire it is R.x || R.y || S, 96 bytes.
type Signature struct {
	R Point
	S [32]byte
}

// SignatureSize is the length of an encoded signature.
const SignatureSize = 96

// ErrSignature refuses bytes that encode no signature.
var ErrSignature = errors.New("not a signature")

// ParseSignature decodes 96 bytes: R like any point, S canonical below l, so that nobody can make a second encoding of a
// signature.
func ParseSignature(b []byte) (Signature, error) {
	if len(b) != SignatureSize {
		return Signature{}, fmt.Errorf("%w: %d bytes", ErrSignature, len(b))
	}
	r, err := ParsePoint(b[:64])
	if err != nil {
		return Signature{}, fmt.Errorf("%w: %w", ErrSignature, err)
	}
	if new(big.Int).SetBytes(b[64:]).Cmp(&curve.Order) >= 0 {
		return Signature{}, fmt.Errorf("%w: s is not below the order", ErrSignature)
	}
	return Signature{R: r, S: [32]byte(b[64:])}, nil
}

// Bytes is R.x || R.y || S.
func (s Signature) Bytes() (b [SignatureSize]byte) {
	r := s.R.Bytes()
	copy(b[:64], r[:])
	copy(b[64:], s.S[:])
	return b
}

// Challenge is the low 128 bits of P("sig", R.x, R.y, AK.x, AK.y, msg), big endian (Z2.6). 128 bits are enough for a Schnorr
// signature and halve the circuit's multiplication by AK.
func Challenge(r, ak Point, msg fr.Element) [16]byte {
	e := Hash("sig", r.x, r.y, ak.x, ak.y, msg)
	h := e.Bytes()
	return [16]byte(h[16:])
}

// Sign signs msg with ask. The nonce hashes the key, the message and what rand gives: it is unpredictable without the key even
// when rand is broken, and a fault attack meets a fresh nonce when it is not. rand may be nil.
func Sign(ask Scalar, msg fr.Element, rand io.Reader) Signature {
	var fresh [32]byte
	if rand != nil {
		_, _ = io.ReadFull(rand, fresh[:]) // whatever came is hashed in; the nonce does not depend on it for safety
	}
	ak := ask.Base()
	secret, pub, m := ask.Bytes(), ak.Bytes(), msg.Bytes()
	h := sha512.New()
	h.Write([]byte("comity/schnorr-nonce/v1"))
	h.Write(secret[:])
	h.Write(pub[:])
	h.Write(m[:])
	h.Write(fresh[:])
	k := ScalarFromWide([64]byte(h.Sum(nil)))
	r := k.Base()
	c := Challenge(r, ak, msg)
	s := new(big.Int).SetBytes(c[:])
	s.Mul(s, ask.int()).Add(s, k.int()).Mod(s, &curve.Order)
	sig := Signature{R: r}
	s.FillBytes(sig.S[:])
	return sig
}

// VerifySignature checks s*G = R + c*AK (Z2.6).
func VerifySignature(ak Point, msg fr.Element, sig Signature) bool {
	s := new(big.Int).SetBytes(sig.S[:])
	if ak.IsZero() || sig.R.IsZero() || s.Cmp(&curve.Order) >= 0 {
		return false
	}
	c := Challenge(sig.R, ak, msg)
	var left, right te.PointAffine
	left.ScalarMultiplicationBase(s)
	right.ScalarMultiplication(&te.PointAffine{X: ak.x, Y: ak.y}, new(big.Int).SetBytes(c[:]))
	right.Add(&right, &te.PointAffine{X: sig.R.x, Y: sig.R.y})
	return left.Equal(&right)
}
