package verifier

import (
	"errors"
	"fmt"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fp"

	"github.com/comity-ledger/comity/zk"
)

// Why a proof is refused. The ledger answers proof_invalid to a client for each of them.
var (
	// ErrEncoding: a coordinate is not below the field's modulus (which also covers every flag bit), or a point is not on
	// its curve or is the point at infinity. Z8.1.
	ErrEncoding = errors.New("proof encoding is not canonical")
	// ErrSubgroup: a point lies on its curve outside the subgroup of prime order. Z8.2.
	ErrSubgroup = errors.New("proof point is outside the prime-order subgroup")
	// ErrPairing: the proof is well-formed and does not prove this statement. Z8.3.
	ErrPairing = errors.New("proof does not verify")
	// ErrShape: the public part does not have the shape of its circuit. Z8.4.
	ErrShape = zk.ErrShape
	// ErrUnknownCircuit: there is no verifying key for this circuit. Z8.4.
	ErrUnknownCircuit = errors.New("no verifying key for this circuit")
	// ErrRandomness: the source of randomness failed, so nothing could be decided. The proof may be valid: try again.
	ErrRandomness = errors.New("no randomness for batch verification")
)

const fpBytes = fp.Bytes // 48

// Points is a decoded proof: A and C in G1, B in G2. The points are on their curves and not infinity; whether they are in the
// prime-order subgroups is checked during verification.
type Points struct {
	A, C curve.G1Affine
	B    curve.G2Affine
}

// Encode writes a proof as A || B || C, uncompressed, 384 bytes: each coordinate 48 bytes big-endian, X before Y, and of a
// coordinate of G2 the imaginary part first (the order of the ZCash and IETF encodings, without their flag bits).
func (p *Points) Encode() zk.Proof {
	var out zk.Proof
	putG1(out[0:96], &p.A)
	putG2(out[96:288], &p.B)
	putG1(out[288:384], &p.C)
	return out
}

// Decode reads the points of a proof. Every proof has exactly one encoding: anything else is ErrEncoding.
func (p *Points) Decode(proof *zk.Proof) error {
	if err := getG1(&p.A, proof[0:96]); err != nil {
		return fmt.Errorf("point A: %w", err)
	}
	if err := getG2(&p.B, proof[96:288]); err != nil {
		return fmt.Errorf("point B: %w", err)
	}
	if err := getG1(&p.C, proof[288:384]); err != nil {
		return fmt.Errorf("point C: %w", err)
	}
	return nil
}

// inSubgroups checks each of the three points by itself, exactly: -x²φ(P) = P in G1 and ψ(P) = xP in G2.
func (p *Points) inSubgroups() bool {
	return p.A.IsInSubGroup() && p.C.IsInSubGroup() && p.B.IsInSubGroup()
}

func putFp(dst []byte, x *fp.Element) {
	b := x.Bytes()
	copy(dst, b[:])
}

func putG1(dst []byte, p *curve.G1Affine) {
	putFp(dst[:fpBytes], &p.X)
	putFp(dst[fpBytes:], &p.Y)
}

func putG2(dst []byte, p *curve.G2Affine) {
	putFp(dst[0:], &p.X.A1)
	putFp(dst[fpBytes:], &p.X.A0)
	putFp(dst[2*fpBytes:], &p.Y.A1)
	putFp(dst[3*fpBytes:], &p.Y.A0)
}

func getFp(x *fp.Element, src []byte) error {
	// SetBytesCanonical refuses values from the modulus on. The modulus has 381 bits, so a set flag bit is refused as well.
	if x.SetBytesCanonical(src[:fpBytes]) != nil {
		return fmt.Errorf("coordinate is not below the modulus: %w", ErrEncoding)
	}
	return nil
}

func getG1(p *curve.G1Affine, src []byte) error {
	if err := getFp(&p.X, src); err != nil {
		return err
	}
	if err := getFp(&p.Y, src[fpBytes:]); err != nil {
		return err
	}
	// IsOnCurve is true for infinity.
	if p.IsInfinity() || !p.IsOnCurve() {
		return fmt.Errorf("point is infinity or not on the curve: %w", ErrEncoding)
	}
	return nil
}

func getG2(p *curve.G2Affine, src []byte) error {
	for i, x := range []*fp.Element{&p.X.A1, &p.X.A0, &p.Y.A1, &p.Y.A0} {
		if err := getFp(x, src[i*fpBytes:]); err != nil {
			return err
		}
	}
	if p.IsInfinity() || !p.IsOnCurve() {
		return fmt.Errorf("point is infinity or not on the curve: %w", ErrEncoding)
	}
	return nil
}
