package affine

import (
	"math/big"
	"math/rand/v2"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
)

func scalars(r *rand.Rand, n int) []fr.Element {
	out := make([]fr.Element, n)
	for i := range out {
		out[i].SetUint64(r.Uint64())
		var hi fr.Element
		hi.SetUint64(r.Uint64())
		hi.Square(&hi).Square(&hi)
		out[i].Mul(&out[i], &hi)
	}
	return out
}

func TestEverySpecialCaseOfAnAdditionGivesTheRightSum(t *testing.T) {
	_, _, g, h := curve.Generators()
	var g2, negG, inf curve.G1Affine
	g2.Double(&g)
	negG.Neg(&g)
	var h2, negH, infH curve.G2Affine
	h2.Double(&h)
	negH.Neg(&h)
	a := []curve.G1Affine{g, g, g, g, inf, inf, g2}
	b := []curve.G1Affine{g2, g, negG, inf, g, inf, g}
	a2 := []curve.G2Affine{h, h, h, h, infH, infH, h2}
	b2 := []curve.G2Affine{h2, h, negH, infH, h, infH, h}
	dst, dst2 := make([]curve.G1Affine, len(a)), make([]curve.G2Affine, len(a))
	AddG1(dst, a, b)
	AddG2(dst2, a2, b2)
	for i := range a {
		var want curve.G1Affine
		want.Add(&a[i], &b[i])
		if !want.Equal(&dst[i]) {
			t.Errorf("G1 case %d: wrong sum", i)
		}
		var want2 curve.G2Affine
		want2.Add(&a2[i], &b2[i])
		if !want2.Equal(&dst2[i]) {
			t.Errorf("G2 case %d: wrong sum", i)
		}
	}
}

func TestFixedBaseTablesAgreeWithScalarMultiplication(t *testing.T) {
	_, _, g, h := curve.Generators()
	r := rand.New(rand.NewPCG(1, 2))
	ss := scalars(r, 40)
	ss[0].SetZero()
	ss[1].SetOne()
	ss[2].SetOne()
	ss[2].Neg(&ss[2]) // r-1
	ss[3].SetUint64(1 << 11)
	got, got2 := make([]curve.G1Affine, len(ss)), make([]curve.G2Affine, len(ss))
	NewTableG1(&g).Mul(got, ss)
	NewTableG2(&h).Mul(got2, ss)
	for i := range ss {
		var k big.Int
		ss[i].BigInt(&k)
		var want curve.G1Affine
		want.ScalarMultiplication(&g, &k)
		var want2 curve.G2Affine
		want2.ScalarMultiplication(&h, &k)
		if !want.Equal(&got[i]) || !want2.Equal(&got2[i]) {
			t.Fatalf("scalar %d: wrong product", i)
		}
	}
}

func TestBucketSumsAgreeWithAddingOneByOne(t *testing.T) {
	_, _, g, _ := curve.Generators()
	r := rand.New(rand.NewPCG(3, 4))
	for _, n := range []int{0, 1, 2, 3, 64, 1300} {
		points := make([]curve.G1Affine, n)
		NewTableG1(&g).Mul(points, scalars(r, n))
		if n > 10 {
			points[3] = points[2] // equal points in one bucket, perhaps
			points[5] = curve.G1Affine{}
		}
		const buckets = 7
		bucket, negate := make([]int32, n), make([]bool, n)
		var want [buckets]curve.G1Affine
		for i := range bucket {
			bucket[i] = int32(r.IntN(buckets)) - 1
			if i == 3 {
				bucket[i] = bucket[2]
			}
			negate[i] = r.IntN(2) == 0
			if bucket[i] < 0 {
				continue
			}
			p := points[i]
			if negate[i] {
				p.Neg(&p)
			}
			want[bucket[i]].Add(&want[bucket[i]], &p)
		}
		var s Summer
		got := make([]curve.G1Affine, buckets)
		for round := range 2 { // the second use finds the buffers of the first
			s.Sum(got, points, bucket, negate)
			for b := range got {
				if !got[b].Equal(&want[b]) {
					t.Fatalf("n=%d round %d bucket %d: wrong sum", n, round, b)
				}
			}
		}
	}
}

func BenchmarkAddG1(b *testing.B) {
	_, _, g, _ := curve.Generators()
	p, q := make([]curve.G1Affine, 512), make([]curve.G1Affine, 512)
	r := rand.New(rand.NewPCG(3, 4))
	NewTableG1(&g).Mul(p, scalars(r, 512))
	NewTableG1(&g).Mul(q, scalars(r, 512))
	for b.Loop() {
		AddG1(p, p, q)
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/512, "ns/add")
}

func BenchmarkFixedBase(b *testing.B) {
	_, _, g, h := curve.Generators()
	r := rand.New(rand.NewPCG(3, 4))
	ss := scalars(r, 4096)
	b.Run("G1", func(b *testing.B) {
		t, dst := NewTableG1(&g), make([]curve.G1Affine, len(ss))
		for b.Loop() {
			t.Mul(dst, ss)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/4096, "us/point")
	})
	b.Run("G2", func(b *testing.B) {
		t, dst := NewTableG2(&h), make([]curve.G2Affine, len(ss))
		for b.Loop() {
			t.Mul(dst, ss)
		}
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/4096, "us/point")
	})
}
