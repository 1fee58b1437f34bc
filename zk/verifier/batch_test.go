package verifier

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"
	"syscall"
	"testing"
	"time"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fp"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

func TestBatchOfValidProofsIsAccepted(t *testing.T) {
	one, two := newToy(t, 1, 24, 1), newToy(t, 2, 5, 2)
	for _, n := range []int{0, 1, 2, 3, 15, 16, 17, 63, 64, 130} {
		claims := append(one.claims(n-n/3), two.claims(n/3)...)
		for _, workers := range []int{1, 2, 5} {
			for i, err := range verifyClaims(claims, rand.Reader, workers) {
				if err != nil {
					t.Errorf("n=%d workers=%d: proof %d: %v", n, workers, i, err)
				}
			}
		}
	}
}

// faults are all the ways in which this file spoils a proof, with the name under which it is refused.
var faults = []struct {
	name  string
	want  error
	spoil func(t testing.TB, c *claim)
}{
	{"a public input changed", ErrPairing, func(t testing.TB, c *claim) {
		c.inputs = append([]fr.Element(nil), c.inputs...)
		one := fr.One()
		c.inputs[len(c.inputs)-1].Add(&c.inputs[len(c.inputs)-1], &one)
	}},
	{"an input that is zero changed", ErrPairing, func(t testing.TB, c *claim) {
		c.inputs = append([]fr.Element(nil), c.inputs...)
		for j := range c.inputs {
			if c.inputs[j].IsZero() {
				c.inputs[j].SetOne()
				return
			}
		}
		c.inputs[0].SetZero()
	}},
	{"two inputs swapped", ErrPairing, func(t testing.TB, c *claim) {
		c.inputs = append([]fr.Element(nil), c.inputs...)
		for j := 1; j < len(c.inputs); j++ {
			if !c.inputs[j].Equal(&c.inputs[0]) {
				c.inputs[0], c.inputs[j] = c.inputs[j], c.inputs[0]
				return
			}
		}
	}},
	{"A negated", ErrPairing, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.A.Neg(&p.A) }) }},
	{"B negated", ErrPairing, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.B.Neg(&p.B) }) }},
	{"A and C swapped", ErrPairing, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.A, p.C = p.C, p.A }) }},
	{"C doubled", ErrPairing, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.C.Double(&p.C) }) }},
	{"C outside the subgroup", ErrSubgroup, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { q := torsionG1(3); p.C.Add(&p.C, &q) })
	}},
	{"A outside the subgroup by order 3", ErrSubgroup, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { q := torsionG1(3); p.A.Add(&p.A, &q) })
	}},
	{"A outside the subgroup by order 11", ErrSubgroup, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { q := torsionG1(11); p.A.Add(&p.A, &q) })
	}},
	{"A outside the subgroup by a large order", ErrSubgroup, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { q := torsionG1(52437899); p.A.Add(&p.A, &q) })
	}},
	{"A of order 3", ErrSubgroup, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.A = torsionG1(3) }) }},
	{"B outside the subgroup by order 13", ErrSubgroup, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { q := torsionG2(13); p.B.Add(&p.B, &q) })
	}},
	{"B of order 23", ErrSubgroup, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.B = torsionG2(23) }) }},
	{"A off the curve", ErrEncoding, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { one := fp.One(); p.A.X.Add(&p.A.X, &one) })
	}},
	{"B off the curve", ErrEncoding, func(t testing.TB, c *claim) {
		mutate(t, c, func(p *Points) { one := fp.One(); p.B.Y.A0.Add(&p.B.Y.A0, &one) })
	}},
	{"A infinity", ErrEncoding, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.A = curve.G1Affine{} }) }},
	{"B infinity", ErrEncoding, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.B = curve.G2Affine{} }) }},
	{"C infinity", ErrEncoding, func(t testing.TB, c *claim) { mutate(t, c, func(p *Points) { p.C = curve.G1Affine{} }) }},
	{"all bytes zero", ErrEncoding, func(t testing.TB, c *claim) { c.proof = new(zk.Proof) }},
	{"a coordinate plus the modulus", ErrEncoding, func(t testing.TB, c *claim) {
		// Of eight coordinates some are small enough for x + p to fit in 48 bytes: all do, because p has 381 bits.
		proof := *c.proof
		x := new(big.Int).SetBytes(proof[:48])
		x.Add(x, fp.Modulus()).FillBytes(proof[:48])
		c.proof = &proof
	}},
	{"the compression flag", ErrEncoding, flag(0x80)},
	{"the infinity flag", ErrEncoding, flag(0x40)},
	{"the sign flag", ErrEncoding, flag(0x20)},
}

func flag(bit byte) func(testing.TB, *claim) {
	return func(_ testing.TB, c *claim) {
		proof := *c.proof
		proof[0] |= bit
		c.proof = &proof
	}
}

// cofactorG1 and cofactorG2 are the numbers of points of the two curves divided by r (IETF pairing-friendly curves draft).
var (
	cofactorG1 = hexInt("396c8c005555e1568c00aaab0000aaab")
	cofactorG2 = hexInt("5d543a95414e7f1091d50792876a202cd91de4547085abaa68a205b2e5a7ddfa628f1cb4d9e82ef21537e293a6691ae1616ec6e786f0c70cf1c38e31c7238e5")
)

func hexInt(s string) *big.Int {
	n, ok := new(big.Int).SetString(s, 16)
	if !ok {
		panic(s)
	}
	return n
}

// torsionG1 returns a point of the given prime order on the curve of G1.
func torsionG1(order int64) curve.G1Affine {
	k := new(big.Int).Mul(cofactorG1, fr.Modulus())
	for k.Bit(0) == 0 || new(big.Int).Mod(k, big.NewInt(order)).Sign() == 0 {
		k.Div(k, big.NewInt(order))
	}
	var x fp.Element
	for i := uint64(1); ; i++ {
		x.SetUint64(i)
		p := curve.G1Affine{X: x}
		p.Y.Square(&x).Mul(&p.Y, &x)
		var four fp.Element
		four.SetUint64(4)
		p.Y.Add(&p.Y, &four)
		if p.Y.Legendre() != 1 {
			continue
		}
		p.Y.Sqrt(&p.Y)
		q := slowG1(p, k)
		// The part of order 121 may need one more factor.
		for !q.IsInfinity() {
			next := slowG1(q, big.NewInt(order))
			if next.IsInfinity() {
				return q
			}
			q = next
		}
	}
}

func torsionG2(order int64) curve.G2Affine {
	k := new(big.Int).Mul(cofactorG2, fr.Modulus())
	for new(big.Int).Mod(k, big.NewInt(order)).Sign() == 0 {
		k.Div(k, big.NewInt(order))
	}
	for i := uint64(1); ; i++ {
		var x, y, b curve.E2
		x.A0.SetUint64(i)
		b.A0.SetUint64(4)
		b.A1.SetUint64(4)
		y.Square(&x).Mul(&y, &x).Add(&y, &b)
		if y.Legendre() != 1 {
			continue
		}
		p := curve.G2Affine{X: x}
		p.Y.Sqrt(&y)
		q := slowG2(p, k)
		for !q.IsInfinity() {
			next := slowG2(q, big.NewInt(order))
			if next.IsInfinity() {
				return q
			}
			q = next
		}
	}
}

// slowG1 multiplies by double and add: gnark-crypto's multiplication reduces the scalar modulo r, which is wrong for points
// outside the subgroup.
func slowG1(p curve.G1Affine, k *big.Int) curve.G1Affine {
	var out curve.G1Affine
	for i := k.BitLen() - 1; i >= 0; i-- {
		out.Double(&out)
		if k.Bit(i) == 1 {
			out.Add(&out, &p)
		}
	}
	return out
}

func slowG2(p curve.G2Affine, k *big.Int) curve.G2Affine {
	var out curve.G2Affine
	for i := k.BitLen() - 1; i >= 0; i-- {
		out.Double(&out)
		if k.Bit(i) == 1 {
			out.Add(&out, &p)
		}
	}
	return out
}

func TestEveryFaultIsRefusedByNameAloneAndInABatch(t *testing.T) {
	y := newToy(t, 1, 24, 3)
	good := y.claims(70)
	for _, fault := range faults {
		t.Run(fault.name, func(t *testing.T) {
			bad := good[40]
			fault.spoil(t, &bad)
			if err := verifyOne(&bad, new(sums)); !errors.Is(err, fault.want) {
				t.Errorf("alone: %v, want %v", err, fault.want)
			}
			for _, n := range []int{2, 20, 70} { // exact, exact subgroup tests, batched subgroup tests
				claims := append([]claim(nil), good[:n]...)
				claims[n/2] = bad
				for i, err := range verifyClaims(claims, rand.Reader, 2) {
					switch {
					case i == n/2 && !errors.Is(err, fault.want):
						t.Errorf("n=%d: %v, want %v", n, err, fault.want)
					case i != n/2 && err != nil:
						t.Errorf("n=%d: honest proof %d refused: %v", n, i, err)
					}
				}
			}
		})
	}
}

func TestOneBadProofAmong1024IsFoundAndAloneRefused(t *testing.T) {
	y := newToy(t, 1, 8, 4)
	claims := y.claims(1024)
	for _, at := range []int{0, 511, 1023} {
		batch := append([]claim(nil), claims...)
		faults[0].spoil(t, &batch[at])
		for i, err := range verifyClaims(batch, rand.Reader, 2) {
			if i == at && !errors.Is(err, ErrPairing) {
				t.Errorf("bad proof at %d: %v", at, err)
			}
			if i != at && err != nil {
				t.Errorf("bad proof at %d: honest proof %d refused: %v", at, i, err)
			}
		}
	}
}

func TestBatchAndSingleAgreeOnRandomMixtures(t *testing.T) {
	one, two := newToy(t, 1, 24, 5), newToy(t, 2, 3, 6)
	good := append(one.claims(60), two.claims(40)...)
	r := one.r
	for round := range 6 {
		claims := append([]claim(nil), good...)
		r.Shuffle(len(claims), func(i, j int) { claims[i], claims[j] = claims[j], claims[i] })
		want := make([]error, len(claims))
		for i := range claims {
			if r.IntN(6) < round {
				f := faults[r.IntN(len(faults))]
				f.spoil(t, &claims[i])
				want[i] = f.want
			}
		}
		for i, err := range verifyClaims(claims, rand.Reader, 2) {
			single := verifyOne(&claims[i], new(sums))
			if !errors.Is(err, want[i]) || !errors.Is(single, want[i]) {
				t.Errorf("round %d proof %d: batch %v, single %v, want %v", round, i, err, single, want[i])
			}
		}
	}
}

func TestSameProofTwiceInABatchIsAccepted(t *testing.T) {
	// Equal points meet in the bucket sums: additions have to be complete.
	y := newToy(t, 1, 4, 7)
	one := y.claims(1)[0]
	claims := make([]claim, 80)
	for i := range claims {
		claims[i] = one
	}
	for i, err := range verifyClaims(claims, rand.Reader, 2) {
		if err != nil {
			t.Fatalf("copy %d: %v", i, err)
		}
	}
}

func TestRerandomisedProofIsAccepted(t *testing.T) {
	// (A, B, C) -> (A/s, sB + s t delta, C + t A) proves the same statement with other bytes. It is not a fault: transaction ids
	// leave proofs out.
	y := newToy(t, 1, 4, 8)
	claims := y.claims(3)
	first := *claims[1].proof
	mutate(t, &claims[1], func(p *Points) {
		s, u := randomFr(y.r), randomFr(y.r)
		var inv, su fr.Element
		inv.Inverse(&s)
		su.Mul(&s, &u)
		su.Mul(&su, &y.delta)
		shift := mulG2(su)
		var ta curve.G1Affine
		ta.ScalarMultiplication(&p.A, bigInt(&u))
		p.C.Add(&p.C, &ta)
		p.A.ScalarMultiplication(&p.A, bigInt(&inv))
		p.B.ScalarMultiplication(&p.B, bigInt(&s))
		p.B.Add(&p.B, &shift)
	})
	if *claims[1].proof == first {
		t.Fatal("the proof did not change")
	}
	if err := verifyOne(&claims[1], new(sums)); err != nil {
		t.Error(err)
	}
	for _, err := range verifyClaims(claims, rand.Reader, 1) {
		if err != nil {
			t.Error(err)
		}
	}
}

// TestPredictableCoefficientsLetFalseProofsCancel shows why the coefficients come from the system: whoever knows them makes
// two false proofs whose errors cancel.
func TestPredictableCoefficientsLetFalseProofsCancel(t *testing.T) {
	y := newToy(t, 1, 4, 9)
	claims := y.claims(4)
	known := bytes.Repeat([]byte{0x5a, 1, 2, 3, 0xc4, 5, 6}, 4096)
	c := &coins{r: bytes.NewReader(known)}
	var z [4]fr.Element
	for i := range z {
		z[i] = weight{c.uint64(), c.uint64()}.element()
	}
	// Add E to the C of proof 1 and -(z1/z2) E to that of proof 2.
	e := randomFr(y.r)
	mutate(t, &claims[1], func(p *Points) { q := mulG1(e); p.C.Add(&p.C, &q) })
	mutate(t, &claims[2], func(p *Points) {
		var k fr.Element
		k.Inverse(&z[2])
		k.Mul(&k, &z[1])
		k.Mul(&k, &e)
		k.Neg(&k)
		q := mulG1(k)
		p.C.Add(&p.C, &q)
	})
	for i, err := range verifyClaims(claims, bytes.NewReader(known), 1) {
		if err != nil {
			t.Fatalf("the attack itself is wrong: proof %d refused under known coefficients: %v", i, err)
		}
	}
	for i, err := range verifyClaims(claims, rand.Reader, 1) {
		if bad := i == 1 || i == 2; bad != errors.Is(err, ErrPairing) {
			t.Errorf("proof %d under the system's coefficients: %v", i, err)
		}
	}
}

func TestSmallTorsionDoesNotSlipThroughTheBatchedSubgroupTest(t *testing.T) {
	// With one trial a point of order 3 passes one time in three, and two of them with opposite signs cancel in many more.
	y := newToy(t, 1, 2, 10)
	claims := y.claims(minTrialBatch)
	q3, q11 := torsionG1(3), torsionG1(11)
	for i, q := range []curve.G1Affine{q3, q3, q3, q11, q11} {
		mutate(t, &claims[i], func(p *Points) { p.A.Add(&p.A, &q) })
	}
	q3.Neg(&q3)
	mutate(t, &claims[5], func(p *Points) { p.C.Add(&p.C, &q3) })
	for range 5 {
		for i, err := range verifyClaims(claims, rand.Reader, 2) {
			if bad := i <= 5; bad != errors.Is(err, ErrSubgroup) {
				t.Errorf("proof %d: %v", i, err)
			}
		}
	}
}

func TestOneTrialLetsAPointOfOrderThreePassAThirdOfTheTime(t *testing.T) {
	// The bound of 1/3 a trial is tight, which is why there are 84.
	q := torsionG1(3)
	c := &coins{r: rand.Reader}
	passed := 0
	const n = 2000
	for range n {
		if new(sums).trialG1([]curve.G1Affine{q}, []uint8{c.vector()}) {
			passed++
		}
	}
	// Four trials in a group: (1/3)^4 = 1/81, so about 25 of 2,000.
	if passed < 5 || passed > 60 {
		t.Errorf("%d of %d groups of four trials passed, expected about %d", passed, n, n/81)
	}
}

type failingReader struct{}

func (failingReader) Read([]byte) (int, error) { return 0, io.ErrUnexpectedEOF }

func TestWithoutRandomnessNothingIsAccepted(t *testing.T) {
	claims := newToy(t, 1, 2, 11).claims(3)
	for _, r := range []io.Reader{failingReader{}, bytes.NewReader(make([]byte, 100))} {
		for i, err := range verifyClaims(claims, r, 1) {
			if !errors.Is(err, ErrRandomness) {
				t.Errorf("proof %d: %v", i, err)
			}
		}
	}
}

func TestCofactorsHaveTheFactorsTheArgumentUses(t *testing.T) {
	product := big.NewInt(3)
	for _, p := range []int64{11, 10177, 859267, 52437899} {
		product.Mul(product, big.NewInt(p)).Mul(product, big.NewInt(p))
	}
	if product.Cmp(cofactorG1) != 0 {
		t.Errorf("cofactor of G1 is %v, not %v", cofactorG1, product)
	}
}

func TestEndomorphismMultipliesByLambda(t *testing.T) {
	p := mulG1(mustFr("123456789"))
	var want, got curve.G1Affine
	want.ScalarMultiplication(&p, bigInt(&lambda))
	endomorphism(&got, &p)
	if !got.Equal(&want) {
		t.Error("root and lambda do not belong together")
	}
}

func TestWeightsAreDistinct(t *testing.T) {
	// a + lambda*b = a' + lambda*b' mod r with 64-bit parts needs (a-a') + lambda*(b-b') = k*r. lambda < 2^127 and the parts are
	// below 2^64, so the left side is below 2^192 < r in absolute value: k = 0, and lambda > 2^64 leaves only b = b', a = a'.
	bound := new(big.Int).Lsh(bigInt(&lambda), 65)
	if bound.Cmp(fr.Modulus()) >= 0 {
		t.Error("a + lambda*b may wrap around the modulus")
	}
	if bigInt(&lambda).BitLen() <= 64 {
		t.Error("lambda is too small to keep a and b apart")
	}
}

func TestScalingAndCombiningAgreeWithScalarMultiplication(t *testing.T) {
	y := newToy(t, 1, 2, 12)
	n := 37
	points, z := make([]curve.G1Affine, n), make([]weight, n)
	for i := range points {
		points[i] = mulG1(randomFr(y.r))
		z[i] = weight{y.r.Uint64(), y.r.Uint64()}
	}
	z[0], z[1], z[2], z[3] = weight{}, weight{1, 0}, weight{0, 1}, weight{^uint64(0), ^uint64(0)}
	points[5] = curve.G1Affine{}
	points[7] = points[6]
	s := new(sums)
	got := make([]curve.G1Affine, n)
	s.scale(got, points, z)
	var total curve.G1Affine
	for i := range points {
		e := z[i].element()
		var want curve.G1Affine
		want.ScalarMultiplication(&points[i], bigInt(&e))
		if !want.Equal(&got[i]) {
			t.Errorf("point %d: wrong multiple", i)
		}
		total.Add(&total, &want)
		var sum curve.G1Affine
		j := s.combine(points[:i+1], z[:i+1])
		sum.FromJacobian(&j)
		if !sum.Equal(&total) {
			t.Errorf("first %d points: wrong sum", i+1)
		}
	}
}

func TestPublicSumAgreesWithScalarMultiplication(t *testing.T) {
	y := newToy(t, 1, 6, 13)
	minusOne := fr.One()
	minusOne.Neg(&minusOne)
	for _, scalars := range [][]fr.Element{
		make([]fr.Element, 7),
		{minusOne, minusOne, minusOne, minusOne, minusOne, minusOne, minusOne},
		{fr.One(), mustFr("128"), mustFr("129"), mustFr("255"), mustFr("256"), randomFr(y.r), randomFr(y.r)},
	} {
		var want curve.G1Affine
		for j := range scalars {
			var p curve.G1Affine
			p.ScalarMultiplication(&y.key.key.K[j], bigInt(&scalars[j]))
			want.Add(&want, &p)
		}
		if got := y.key.publicSum(new(sums), scalars); !got.Equal(&want) {
			t.Errorf("%v: wrong sum", scalars)
		}
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkBatch asks what one proof costs in a batch, in processor time, with 24 public inputs (a transfer) and with 206.
func BenchmarkBatch(b *testing.B) {
	for _, inputs := range []int{24, 206} {
		y := newToy(b, 1, inputs, 14)
		all := y.claims(1024)
		for _, n := range []int{1, 16, 64, 256, 1024} {
			b.Run(fmt.Sprintf("inputs=%d/n=%d", inputs, n), func(b *testing.B) {
				runtime.GC()
				start := cpu()
				for b.Loop() {
					for _, err := range verifyClaims(all[:n], rand.Reader, runtime.GOMAXPROCS(0)) {
						if err != nil {
							b.Fatal(err)
						}
					}
				}
				b.ReportMetric(float64((cpu()-start).Microseconds())/1000/float64(b.N)/float64(n), "cpu-ms/proof")
			})
		}
	}
}

// BenchmarkIsolate asks what bad proofs add: one among n, an eighth, and all.
func BenchmarkIsolate(b *testing.B) {
	y := newToy(b, 1, 24, 15)
	all := y.claims(256)
	for _, bad := range []int{1, 32, 256} {
		b.Run(fmt.Sprintf("bad=%d/n=256", bad), func(b *testing.B) {
			claims := append([]claim(nil), all...)
			for i := range bad {
				faults[0].spoil(b, &claims[i*256/bad])
			}
			start := cpu()
			for b.Loop() {
				verifyClaims(claims, rand.Reader, runtime.GOMAXPROCS(0))
			}
			b.ReportMetric(float64((cpu()-start).Microseconds())/1000/float64(b.N)/256, "cpu-ms/proof")
		})
	}
}

func BenchmarkParts(b *testing.B) {
	y := newToy(b, 1, 24, 16)
	claims := y.claims(256)
	points, z := make([]curve.G1Affine, 256), make([]weight, 256)
	for i := range claims {
		var p Points
		if err := p.Decode(claims[i].proof); err != nil {
			b.Fatal(err)
		}
		points[i], z[i] = p.A, weight{y.r.Uint64(), y.r.Uint64()}
	}
	report := func(b *testing.B, n int) {
		b.ReportMetric(float64(b.Elapsed().Microseconds())/float64(b.N)/float64(n), "us/proof")
	}
	s, out := new(sums), make([]curve.G1Affine, 256)
	b.Run("decode", func(b *testing.B) {
		var p Points
		for b.Loop() {
			for i := range claims {
				_ = p.Decode(claims[i].proof)
			}
		}
		report(b, 256)
	})
	b.Run("scale128", func(b *testing.B) {
		for b.Loop() {
			s.scale(out[:128], points[:128], z[:128])
		}
		report(b, 128)
	})
	b.Run("combine", func(b *testing.B) {
		for b.Loop() {
			s.combine(points, z)
		}
		report(b, 256)
	})
	b.Run("trials", func(b *testing.B) {
		two := append(append([]curve.G1Affine(nil), points...), points...)
		c := &coins{r: rand.Reader}
		v := make([]uint8, 512)
		for i := range v {
			v[i] = c.vector()
		}
		for b.Loop() {
			for range trialGroups {
				s.trialG1(two, v)
			}
		}
		report(b, 256)
	})
	b.Run("publicSum", func(b *testing.B) {
		in := make([]fr.Element, 25)
		for i := range in {
			in[i] = randomFr(y.r)
		}
		for b.Loop() {
			y.key.publicSum(s, in)
		}
	})
	b.Run("millerFixed", func(b *testing.B) {
		for b.Loop() {
			_, _ = millerFixed(points[:3], []*lines{&y.key.beta, &y.key.gamma, &y.key.delta})
		}
	})
}
