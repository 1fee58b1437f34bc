// Package affine adds many points of BLS12-381 at once, in affine coordinates.
//
// One affine addition needs a field inversion, which costs 80 multiplications; but n of them share one inversion
// (Montgomery's trick), and then an addition costs about 6 multiplications where a mixed Jacobian one costs 11. The batch
// verifier and the set-up spend much of their time in such sums, so both use this package.
//
// The additions are complete: equal points, opposite points and the point at infinity, which is (0, 0) as in gnark-crypto,
// all give the right sum. That matters here because whoever sends proofs chooses the points. Nothing in this package runs
// in constant time: it is for public points and public scalars only, and for the set-up, whose trapdoor is public.
package affine

import (
	"sync"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fp"
)

// What one addition of a batch turned out to be.
const (
	plain    = iota // the two x coordinates differ
	doubling        // the two points are equal
	copyA           // the second point is infinity
	copyB           // the first point is infinity
	vanish          // the points are opposite, or both infinity
)

// block is the number of additions that share one inversion. 2.6 us for the inversion over 512 additions is 2% of them,
// and the working set of a block (150 kB) stays in the second-level cache.
const block = 512

type scratchG1 struct {
	den  [block]fp.Element
	acc  [block]fp.Element
	kind [block]uint8
}

var poolG1 = sync.Pool{New: func() any { return new(scratchG1) }}

// AddG1 sets dst[i] = a[i] + b[i]. The slices have one length; dst may be a or b itself.
func AddG1(dst, a, b []curve.G1Affine) {
	s := poolG1.Get().(*scratchG1)
	for len(dst) > 0 {
		n := min(block, len(dst))
		s.add(dst[:n], a[:n], b[:n])
		dst, a, b = dst[n:], a[n:], b[n:]
	}
	poolG1.Put(s)
}

// addIndexedG1 sets dst[di[k]] = src[ai[k]] + src[bi[k]]; dst and src do not overlap.
func addIndexedG1(dst, src []curve.G1Affine, di, ai, bi []int32) {
	s := poolG1.Get().(*scratchG1)
	for len(di) > 0 {
		n := min(block, len(di))
		s.addIndexed(dst, src, di[:n], ai[:n], bi[:n])
		di, ai, bi = di[n:], ai[n:], bi[n:]
	}
	poolG1.Put(s)
}

// classify decides what a+b is and returns the denominator of its slope, 1 when there is none.
func classifyG1(a, b *curve.G1Affine, den *fp.Element) uint8 {
	if b.IsInfinity() {
		den.SetOne()
		if a.IsInfinity() {
			return vanish
		}
		return copyA
	}
	if a.IsInfinity() {
		den.SetOne()
		return copyB
	}
	den.Sub(&b.X, &a.X)
	if !den.IsZero() {
		return plain
	}
	if a.Y.Equal(&b.Y) {
		// The group has odd order times odd cofactor, so Y is never zero here.
		den.Double(&a.Y)
		return doubling
	}
	den.SetOne()
	return vanish
}

func finishG1(dst, a, b *curve.G1Affine, inv *fp.Element, kind uint8) {
	var lambda, x, y fp.Element
	switch kind {
	case plain:
		lambda.Sub(&b.Y, &a.Y)
		lambda.Mul(&lambda, inv)
	case doubling:
		x.Square(&a.X)
		lambda.Double(&x).Add(&lambda, &x).Mul(&lambda, inv)
	case copyA:
		*dst = *a
		return
	case copyB:
		*dst = *b
		return
	default:
		*dst = curve.G1Affine{}
		return
	}
	x.Square(&lambda).Sub(&x, &a.X).Sub(&x, &b.X)
	y.Sub(&a.X, &x).Mul(&y, &lambda).Sub(&y, &a.Y)
	dst.X, dst.Y = x, y
}

func (s *scratchG1) add(dst, a, b []curve.G1Affine) {
	n := len(dst)
	acc := fp.One()
	for i := range n {
		s.kind[i] = classifyG1(&a[i], &b[i], &s.den[i])
		s.acc[i] = acc
		acc.Mul(&acc, &s.den[i])
	}
	acc.Inverse(&acc)
	var inv fp.Element
	for i := n - 1; i >= 0; i-- {
		inv.Mul(&acc, &s.acc[i])
		acc.Mul(&acc, &s.den[i])
		finishG1(&dst[i], &a[i], &b[i], &inv, s.kind[i])
	}
}

func (s *scratchG1) addIndexed(dst, src []curve.G1Affine, di, ai, bi []int32) {
	n := len(di)
	acc := fp.One()
	for i := range n {
		s.kind[i] = classifyG1(&src[ai[i]], &src[bi[i]], &s.den[i])
		s.acc[i] = acc
		acc.Mul(&acc, &s.den[i])
	}
	acc.Inverse(&acc)
	var inv fp.Element
	for i := n - 1; i >= 0; i-- {
		inv.Mul(&acc, &s.acc[i])
		acc.Mul(&acc, &s.den[i])
		finishG1(&dst[di[i]], &src[ai[i]], &src[bi[i]], &inv, s.kind[i])
	}
}

// NormaliseG1 converts Jacobian points to affine ones with one inversion for all.
func NormaliseG1(dst []curve.G1Affine, src []curve.G1Jac) {
	acc := fp.One()
	for i := range src {
		dst[i] = curve.G1Affine{}
		if src[i].Z.IsZero() {
			continue
		}
		dst[i].X = acc
		acc.Mul(&acc, &src[i].Z)
	}
	acc.Inverse(&acc)
	var inv, sq fp.Element
	for i := len(src) - 1; i >= 0; i-- {
		if src[i].Z.IsZero() {
			continue
		}
		inv.Mul(&dst[i].X, &acc)
		acc.Mul(&acc, &src[i].Z)
		sq.Square(&inv)
		dst[i].X.Mul(&src[i].X, &sq)
		dst[i].Y.Mul(&src[i].Y, &sq)
		dst[i].Y.Mul(&dst[i].Y, &inv)
	}
}

// Summer sums the points of many buckets at once by adding them in pairs, round after round, all pairs of a round sharing
// their inversions. It keeps its buffers between uses; it is not safe for concurrent use.
type Summer struct {
	ping, pong []curve.G1Affine
	start      []int32 // start[b]..start[b+1] is bucket b in ping
	di, ai, bi []int32
}

// Sum adds points[i] to bucket[i] of nBuckets, negated where negate[i], and skips the points whose bucket is negative.
// out receives the nBuckets sums; an empty bucket is infinity. The points themselves are not changed.
func (s *Summer) Sum(out []curve.G1Affine, points []curve.G1Affine, bucket []int32, negate []bool) {
	n := len(out)
	s.start = resize(s.start, n+1)
	clear(s.start)
	total := 0
	for _, b := range bucket {
		if b >= 0 {
			s.start[b+1]++
			total++
		}
	}
	for b := range n {
		s.start[b+1] += s.start[b]
	}
	s.ping, s.pong = resize(s.ping, total), resize(s.pong, total)
	// Place the points of a bucket side by side; start[b] moves to the bucket's end and is put back below.
	for i, b := range bucket {
		if b < 0 {
			continue
		}
		p := &s.ping[s.start[b]]
		*p = points[i]
		if negate != nil && negate[i] {
			p.Y.Neg(&p.Y)
		}
		s.start[b]++
	}
	copy(s.start[1:], s.start[:n])
	s.start[0] = 0

	for {
		s.di, s.ai, s.bi = s.di[:0], s.ai[:0], s.bi[:0]
		next := int32(0)
		for b := range n {
			lo, hi := s.start[b], s.start[b+1]
			s.start[b] = next
			for ; lo+1 < hi; lo += 2 {
				s.di, s.ai, s.bi = append(s.di, next), append(s.ai, lo), append(s.bi, lo+1)
				next++
			}
			if lo < hi {
				s.pong[next] = s.ping[lo]
				next++
			}
		}
		s.start[n] = next
		if len(s.di) == 0 {
			break
		}
		addIndexedG1(s.pong, s.ping, s.di, s.ai, s.bi)
		s.ping, s.pong = s.pong, s.ping
	}
	for b := range n {
		if s.start[b] == s.start[b+1] {
			out[b] = curve.G1Affine{}
		} else {
			// The last round copied every bucket's one point to pong.
			out[b] = s.pong[s.start[b]]
		}
	}
}

func resize[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
