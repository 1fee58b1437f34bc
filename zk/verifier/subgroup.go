package verifier

import (
	"io"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
)

// Batched test that many points of E(Fp) lie in G1.
//
// One random linear combination is not enough: the cofactor of G1 is 3 * 11² * 10177² * 859267² * 52437899², so a point of
// order 3 vanishes from a random combination with probability 1/3, whatever the size of the coefficients. Instead `trials`
// independent combinations with coefficients in {-1, 0, 1} are each tested exactly. If some point has a component T outside
// G1, then, all other coefficients fixed, its own coefficient takes three values with three different effects, because the
// cofactor is odd and so T has order at least 3. Each trial therefore passes with probability at most 1/3, and all of them
// with at most 3^-84 < 2^-133 (Z8.13).
//
// Four trials share their additions: the 81 vectors of four coefficients are 40 buckets up to sign (and the zero vector), each
// point is added to one of them, and the four sums are read off the buckets.
const (
	perGroup      = 4
	trialGroups   = 21
	trials        = perGroup * trialGroups // 84
	vectors       = 81                     // 3^perGroup
	zeroVector    = 40
	buckets       = 40
	minTrialBatch = 64 // below this many proofs the exact test of every point is cheaper
)

// coins reads randomness in large pieces.
type coins struct {
	r    io.Reader
	buf  []byte
	next int
	err  error
}

func (c *coins) byte() byte {
	if c.next == len(c.buf) {
		if c.buf == nil {
			c.buf = make([]byte, 8192)
		}
		c.next = 0
		if c.err == nil {
			_, c.err = io.ReadFull(c.r, c.buf)
		}
		if c.err != nil {
			return 0
		}
	}
	b := c.buf[c.next]
	c.next++
	return b
}

func (c *coins) uint64() uint64 {
	var v uint64
	for range 8 {
		v = v<<8 | uint64(c.byte())
	}
	return v
}

// vector returns a uniform number below 81.
func (c *coins) vector() uint8 {
	for {
		// 243 = 3 * 81: larger bytes are drawn again, so that every vector is equally likely.
		if b := c.byte(); b < 3*vectors || c.err != nil {
			return b % vectors
		}
	}
}

// trialG1 runs one group of four trials: vector[i] holds the four coefficients of points[i]. It reports whether all four sums
// lie in G1. Points at infinity do not matter.
func (s *sums) trialG1(points []curve.G1Affine, vector []uint8) bool {
	n := len(points)
	s.bucket, s.negate, s.out = grow(s.bucket, n), grow(s.negate, n), grow(s.out, buckets)
	for i, v := range vector {
		// v and 80-v are opposite vectors, because a digit d of v stands for the coefficient d-1.
		switch {
		case v == zeroVector:
			s.bucket[i] = -1
		case v < zeroVector:
			s.bucket[i], s.negate[i] = int32(v), false
		default:
			s.bucket[i], s.negate[i] = int32(vectors-1-int(v)), true
		}
	}
	s.summer.Sum(s.out, points, s.bucket, s.negate)
	for digit, unit := 0, 1; digit < perGroup; digit, unit = digit+1, unit*3 {
		var sum curve.G1Jac
		sum.X.SetOne()
		sum.Y.SetOne()
		for v := range s.out {
			if s.out[v].IsInfinity() {
				continue
			}
			switch v / unit % 3 {
			case 0:
				neg := s.out[v]
				neg.Y.Neg(&neg.Y)
				sum.AddMixed(&neg)
			case 2:
				sum.AddMixed(&s.out[v])
			}
		}
		if !sum.Z.IsZero() && !sum.IsInSubGroup() {
			return false
		}
	}
	return true
}
