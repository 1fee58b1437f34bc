package verifier

import (
	"math/big"
	"math/bits"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fp"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk/internal/affine"
)

// sums is the scratch of one worker for sums of points.
type sums struct {
	summer affine.Summer
	bucket []int32
	negate []bool
	out    []curve.G1Affine
	table  [16][]curve.G1Affine
	add    []curve.G1Affine
}

func grow[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}

// weigh returns the sum of (i+1) * buckets[i], by running sums.
func weigh(buckets []curve.G1Affine) curve.G1Jac {
	var running, total curve.G1Jac
	running.X.SetOne()
	running.Y.SetOne()
	total = running
	for i := len(buckets) - 1; i >= 0; i-- {
		if !buckets[i].IsInfinity() {
			running.AddMixed(&buckets[i])
		}
		if !running.Z.IsZero() {
			total.AddAssign(&running)
		}
	}
	return total
}

// weight is a randomiser z = a + lambda*b with 64-bit a and b. lambda = x²-1 has 127 bits and the lattice of (a, b) with
// a + lambda*b = 0 mod r has no non-zero vector that short, so the 2^128 pairs give 2^128 different z (Z8.11).
type weight struct{ a, b uint64 }

// lambda is the eigenvalue of the endomorphism phi(x, y) = (root*x, y) on the prime-order subgroup of G1: x²-1 for the seed x
// of BLS12-381. The pair (root, lambda) is gnark-crypto's; a test checks that they belong together.
const (
	lambdaDecimal = "228988810152649578064853576960394133503"
	rootDecimal   = "4002409555221667392624310435006688643935503118305586438271171395842971157480381377015405980053539358417135540939436"
)

var (
	lambda = mustFr(lambdaDecimal)
	root   = mustFp(rootDecimal)
)

func mustFr(s string) fr.Element {
	var x fr.Element
	if _, err := x.SetString(s); err != nil {
		panic(err)
	}
	return x
}

func mustFp(s string) fp.Element {
	var x fp.Element
	if _, err := x.SetString(s); err != nil {
		panic(err)
	}
	return x
}

// element returns a + lambda*b as a scalar.
func (z weight) element() fr.Element {
	var a, b fr.Element
	a.SetUint64(z.a)
	b.SetUint64(z.b)
	b.Mul(&b, &lambda)
	return *a.Add(&a, &b)
}

// endomorphism sets dst = phi(src); both may be the same point.
func endomorphism(dst, src *curve.G1Affine) {
	dst.X.Mul(&src.X, &root)
	dst.Y = src.Y
}

// scale sets dst[i] = z[i] * points[i]. All points advance together through 32 windows of two bits of a and two bits of b,
// so that every affine addition shares its inversion. On a point outside the prime-order subgroup it computes
// a*P + b*phi(P), which is a homomorphism as well.
func (s *sums) scale(dst, points []curve.G1Affine, z []weight) {
	n := len(points)
	for i := range s.table {
		s.table[i] = grow(s.table[i], n)
	}
	s.add = grow(s.add, n)
	t := &s.table // t[i+4j] = i*P + j*phi(P)
	for k := range n {
		t[0][k] = curve.G1Affine{}
	}
	copy(t[1], points)
	affine.AddG1(t[2], t[1], t[1])
	affine.AddG1(t[3], t[2], t[1])
	for i := 1; i < 4; i++ {
		for k := range n {
			endomorphism(&t[4*i][k], &t[i][k])
		}
	}
	for i := 1; i < 4; i++ {
		for j := 1; j < 4; j++ {
			affine.AddG1(t[i+4*j], t[i], t[4*j])
		}
	}
	for k := range n {
		dst[k] = curve.G1Affine{}
	}
	for shift := 62; shift >= 0; shift -= 2 {
		if shift != 62 {
			affine.AddG1(dst, dst, dst)
			affine.AddG1(dst, dst, dst)
		}
		for k := range n {
			s.add[k] = t[z[k].a>>shift&3+z[k].b>>shift&3<<2][k]
		}
		affine.AddG1(dst, dst, s.add)
	}
}

// combine returns the sum of z[i] * points[i]: two sums with 64-bit scalars, the second under the endomorphism.
func (s *sums) combine(points []curve.G1Affine, z []weight) curve.G1Jac {
	a := s.combine64(points, z, func(z weight) uint64 { return z.a })
	return joinHalves(a, s.combine64(points, z, func(z weight) uint64 { return z.b }))
}

// joinHalves returns a + phi(b).
func joinHalves(a, b curve.G1Jac) curve.G1Jac {
	b.X.Mul(&b.X, &root)
	return *a.AddAssign(&b)
}

func bigInt(x *fr.Element) *big.Int { return x.BigInt(new(big.Int)) }

// combine64 is a bucket sum (Pippenger) with signed digits.
func (s *sums) combine64(points []curve.G1Affine, z []weight, part func(weight) uint64) curve.G1Jac {
	n := len(points)
	// Adding to buckets costs n a window, weighing them about 4 times their number: c balances the two.
	c := max(2, min(10, bits.Len(uint(n))-2))
	windows := (64 + c) / c // one bit more than 64 for the last carry
	half := uint64(1) << (c - 1)
	s.bucket, s.negate, s.out = grow(s.bucket, n), grow(s.negate, n), grow(s.out, int(half))
	carry := make([]uint8, n)
	parts := make([]curve.G1Jac, windows)
	for w := range windows {
		for i := range n {
			d := uint64(0)
			if w*c < 64 {
				d = part(z[i]) >> (w * c) & (1<<c - 1)
			}
			d += uint64(carry[i])
			carry[i] = 0
			s.negate[i] = false
			if d > half {
				d = 1<<c - d
				s.negate[i] = true
				carry[i] = 1
			}
			s.bucket[i] = int32(d) - 1
		}
		s.summer.Sum(s.out, points, s.bucket, s.negate)
		parts[w] = weigh(s.out)
	}
	total := parts[windows-1]
	for w := windows - 2; w >= 0; w-- {
		for range c {
			total.DoubleAssign()
		}
		total.AddAssign(&parts[w])
	}
	return total
}
