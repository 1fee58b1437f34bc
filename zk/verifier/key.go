package verifier

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/internal/affine"
)

// Why a verifying key is refused (Z8.5 to Z8.9).
var (
	ErrKeyEncoding = errors.New("verifying key encoding is not canonical")
	ErrKeySubgroup = errors.New("verifying key point is outside the prime-order subgroup")
	// ErrKeyTrivial: delta equals gamma, or alpha, beta or delta is a value that no contribution has changed. Anyone can
	// forge proofs under such a key.
	ErrKeyTrivial = errors.New("verifying key allows forgery")
	// ErrKeyUnbound: a public input has no weight in the key, so that any value of it would verify.
	ErrKeyUnbound = errors.New("verifying key leaves a public input unbound")
	// ErrKeyInputs: the number of public inputs is not the circuit's.
	ErrKeyInputs = errors.New("verifying key has the wrong number of public inputs")
)

// keyMagic begins every encoded verifying key; the last byte is the version of the encoding.
const keyMagic = "comity-vk\x01"

// maxKeyInputs bounds what a decoder allocates: the largest circuit has about 210 public inputs.
const maxKeyInputs = 1024

// Fingerprint is the SHA-256 of a verifying key's encoding. The genesis entry names keys by it.
type Fingerprint [32]byte

// String returns the fingerprint in hex.
func (f Fingerprint) String() string { return hex.EncodeToString(f[:]) }

// Key is a verifying key as plain points, in the notation of the Groth16 paper (ePrint 2016/260): K[0] belongs to the constant
// one, K[j] to the j-th public input.
type Key struct {
	Circuit            zk.CircuitID
	Version            uint8
	Alpha              curve.G1Affine
	Beta, Gamma, Delta curve.G2Affine
	K                  []curve.G1Affine
}

// VerifyingKey is a checked Key with what verification needs precomputed. It is immutable and safe for concurrent use.
type VerifyingKey struct {
	key         Key
	fingerprint Fingerprint
	alphaBeta   curve.GT // e(alpha, beta), final exponentiation included
	negAlpha    curve.G1Affine
	// Lines of the Miller loops with these fixed second arguments. gnark-crypto's MillerLoopFixedQ overwrites the lines it
	// is given, so every call works on a copy.
	beta, gamma, delta lines
	shifted            []curve.G1Affine // K shifted by every window, see publicSum
}

type lines = [2][len(curve.LoopCounter) - 1]curve.LineEvaluationAff

// Encode returns the canonical encoding: magic, circuit, circuit version, number of public inputs (u16), then alpha, beta,
// gamma, delta and K, all points uncompressed as in a proof.
func (k *Key) Encode() []byte {
	out := make([]byte, 0, len(keyMagic)+4+96+3*192+96*len(k.K))
	out = append(out, keyMagic...)
	out = append(out, byte(k.Circuit), k.Version)
	out = binary.BigEndian.AppendUint16(out, uint16(len(k.K)-1))
	var g1 [96]byte
	var g2 [192]byte
	putG1(g1[:], &k.Alpha)
	out = append(out, g1[:]...)
	for _, p := range []*curve.G2Affine{&k.Beta, &k.Gamma, &k.Delta} {
		putG2(g2[:], p)
		out = append(out, g2[:]...)
	}
	for i := range k.K {
		putG1(g1[:], &k.K[i])
		out = append(out, g1[:]...)
	}
	return out
}

// ParseKey decodes a verifying key and checks it as New does. Trailing bytes are refused.
func ParseKey(b []byte) (*VerifyingKey, error) {
	head := len(keyMagic) + 4
	if len(b) < head || string(b[:len(keyMagic)]) != keyMagic {
		return nil, fmt.Errorf("not a verifying key: %w", ErrKeyEncoding)
	}
	k := Key{Circuit: zk.CircuitID(b[len(keyMagic)]), Version: b[len(keyMagic)+1]}
	n := int(binary.BigEndian.Uint16(b[len(keyMagic)+2:]))
	b = b[head:]
	if n > maxKeyInputs || len(b) != 96+3*192+96*(n+1) {
		return nil, fmt.Errorf("length does not fit %d public inputs: %w", n, ErrKeyEncoding)
	}
	if err := getG1(&k.Alpha, b); err != nil {
		return nil, keyError("alpha", err)
	}
	b = b[96:]
	for i, p := range []*curve.G2Affine{&k.Beta, &k.Gamma, &k.Delta} {
		if err := getG2(p, b); err != nil {
			return nil, keyError([]string{"beta", "gamma", "delta"}[i], err)
		}
		b = b[192:]
	}
	k.K = make([]curve.G1Affine, n+1)
	for i := range k.K {
		// An input without weight has the point at infinity here: say so instead of "not canonical".
		if isZero(b[:96]) {
			return nil, fmt.Errorf("point K[%d]: %w", i, ErrKeyUnbound)
		}
		if err := getG1(&k.K[i], b); err != nil {
			return nil, keyError(fmt.Sprintf("K[%d]", i), err)
		}
		b = b[96:]
	}
	return New(k)
}

func keyError(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, ErrKeyEncoding, err)
}

func isZero(b []byte) bool {
	for _, x := range b {
		if x != 0 {
			return false
		}
	}
	return true
}

// New checks a key and precomputes what verification needs (about 20 ms for the largest circuit).
//
// gamma equal to the generator is accepted: a ceremony leaves it so, because nothing secret hides behind gamma as long as
// delta is independent of it. delta equal to gamma (the famous snarkjs default of an unfinished phase 2) or to the generator
// means that nobody contributed to delta, and proofs can be forged.
func New(k Key) (*VerifyingKey, error) {
	if len(k.K) == 0 || len(k.K)-1 > maxKeyInputs {
		return nil, ErrKeyInputs
	}
	if err := checkKey(&k); err != nil {
		return nil, err
	}
	k.K = append([]curve.G1Affine(nil), k.K...)
	v := &VerifyingKey{key: k, fingerprint: sha256.Sum256(k.Encode())}
	var err error
	if v.alphaBeta, err = curve.Pair([]curve.G1Affine{k.Alpha}, []curve.G2Affine{k.Beta}); err != nil {
		return nil, fmt.Errorf("pair alpha and beta: %w", err)
	}
	v.negAlpha.Neg(&k.Alpha)
	v.beta, v.gamma, v.delta = curve.PrecomputeLines(k.Beta), curve.PrecomputeLines(k.Gamma), curve.PrecomputeLines(k.Delta)
	v.shifted = shift(k.K)
	return v, nil
}

func checkKey(k *Key) error {
	for i := range k.K {
		if k.K[i].IsInfinity() {
			return fmt.Errorf("point K[%d]: %w", i, ErrKeyUnbound)
		}
		if !k.K[i].IsInSubGroup() { // checks the curve equation as well
			return fmt.Errorf("point K[%d]: %w", i, ErrKeySubgroup)
		}
	}
	_, _, g1, g2 := curve.Generators()
	negate := func(p curve.G2Affine) curve.G2Affine { p.Neg(&p); return p }
	either := func(p, q *curve.G2Affine) bool { n := negate(*q); return p.Equal(q) || p.Equal(&n) }
	if k.Alpha.IsInfinity() || k.Alpha.Equal(&g1) {
		return fmt.Errorf("alpha is infinity or the generator: %w", ErrKeyTrivial)
	}
	if !k.Alpha.IsInSubGroup() {
		return fmt.Errorf("alpha: %w", ErrKeySubgroup)
	}
	for _, p := range []struct {
		name  string
		point *curve.G2Affine
	}{{"beta", &k.Beta}, {"gamma", &k.Gamma}, {"delta", &k.Delta}} {
		if p.point.IsInfinity() {
			return fmt.Errorf("%s is infinity: %w", p.name, ErrKeyTrivial)
		}
		if !p.point.IsInSubGroup() {
			return fmt.Errorf("%s: %w", p.name, ErrKeySubgroup)
		}
	}
	switch {
	case either(&k.Gamma, &k.Delta):
		return fmt.Errorf("delta equals gamma: %w", ErrKeyTrivial)
	case either(&k.Delta, &g2):
		return fmt.Errorf("delta is the generator: %w", ErrKeyTrivial)
	case either(&k.Beta, &g2):
		return fmt.Errorf("beta is the generator: %w", ErrKeyTrivial)
	case either(&k.Beta, &k.Delta), either(&k.Beta, &k.Gamma):
		return fmt.Errorf("beta equals gamma or delta: %w", ErrKeyTrivial)
	}
	return nil
}

// Circuit returns the circuit this key belongs to.
func (v *VerifyingKey) Circuit() zk.CircuitID { return v.key.Circuit }

// Version returns the version of the circuit.
func (v *VerifyingKey) Version() uint8 { return v.key.Version }

// Inputs returns the number of public inputs.
func (v *VerifyingKey) Inputs() int { return len(v.key.K) - 1 }

// Fingerprint returns the SHA-256 of the key's encoding.
func (v *VerifyingKey) Fingerprint() Fingerprint { return v.fingerprint }

// Encode returns the key's canonical encoding, which ParseKey reads.
func (v *VerifyingKey) Encode() []byte { return v.key.Encode() }

// Points returns a copy of the key's points.
func (v *VerifyingKey) Points() Key {
	k := v.key
	k.K = append([]curve.G1Affine(nil), k.K...)
	return k
}

// The sum of the public inputs weighted by K is the one multi-scalar multiplication whose points are known beforehand.
// shifted holds 2^(8w) K[j] for all 32 windows w, so that one set of 128 buckets serves all windows of all inputs: 25 inputs
// cost 0.4 ms and 203 cost 2 ms, against 1.1 and 5 ms of gnark-crypto's general one.
const (
	pubBits    = 8
	pubWindows = 32
	pubBuckets = 1 << (pubBits - 1)
)

func shift(k []curve.G1Affine) []curve.G1Affine {
	n := len(k)
	out := make([]curve.G1Affine, pubWindows*n)
	copy(out, k)
	for w := 1; w < pubWindows; w++ {
		row := out[w*n : (w+1)*n]
		copy(row, out[(w-1)*n:])
		for range pubBits {
			affine.AddG1(row, row, row)
		}
	}
	return out
}

// publicSum returns the sum of scalars[j] * K[j]; scalars has one entry more than there are public inputs.
func (v *VerifyingKey) publicSum(s *sums, scalars []fr.Element) curve.G1Affine {
	n := len(v.key.K)
	s.bucket, s.negate = s.bucket[:0], s.negate[:0]
	for range pubWindows * n {
		s.bucket, s.negate = append(s.bucket, -1), append(s.negate, false)
	}
	for j := range scalars {
		if scalars[j].IsZero() {
			continue
		}
		b := scalars[j].Bytes()
		carry := 0
		for w := range pubWindows {
			// Signed digits in -127..128; the top byte of a scalar is at most 0x73, so the last carry is absorbed.
			d := int(b[31-w]) + carry
			carry = 0
			if d > pubBuckets {
				d -= 1 << pubBits
				carry = 1
			}
			i := w*n + j
			switch {
			case d > 0:
				s.bucket[i] = int32(d - 1)
			case d < 0:
				s.bucket[i], s.negate[i] = int32(-d-1), true
			}
		}
	}
	s.out = grow(s.out, pubBuckets)
	s.summer.Sum(s.out, v.shifted, s.bucket, s.negate)
	total := weigh(s.out)
	var p curve.G1Affine
	p.FromJacobian(&total)
	return p
}
