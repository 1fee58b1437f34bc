package verifier

import (
	"math/rand/v2"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/internal/affine"
)

// toy is a verifying key whose trapdoor the test knows, so that it can make any number of valid proofs for any inputs at the
// cost of three scalar multiplications.
type toy struct {
	key                       *VerifyingKey
	alpha, beta, gamma, delta fr.Element
	k                         []fr.Element
	r                         *rand.Rand
}

func randomFr(r *rand.Rand) fr.Element {
	var b [64]byte
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	var x fr.Element
	x.SetBytes(b[:])
	return x
}

func mulG1(s fr.Element) curve.G1Affine {
	var p curve.G1Affine
	p.ScalarMultiplicationBase(bigInt(&s))
	return p
}

func mulG2(s fr.Element) curve.G2Affine {
	var p curve.G2Affine
	p.ScalarMultiplicationBase(bigInt(&s))
	return p
}

func newToy(t testing.TB, id zk.CircuitID, inputs int, seed uint64) *toy {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 7))
	y := &toy{alpha: randomFr(r), beta: randomFr(r), gamma: randomFr(r), delta: randomFr(r), r: r}
	for range inputs + 1 {
		y.k = append(y.k, randomFr(r))
	}
	key, err := New(y.points(id))
	if err != nil {
		t.Fatal(err)
	}
	y.key = key
	return y
}

func (y *toy) points(id zk.CircuitID) Key {
	key := Key{Circuit: id, Version: 1, Alpha: mulG1(y.alpha), Beta: mulG2(y.beta), Gamma: mulG2(y.gamma), Delta: mulG2(y.delta)}
	for _, k := range y.k {
		key.K = append(key.K, mulG1(k))
	}
	return key
}

// claims returns n valid claims. Some inputs are zero, as in real legs.
func (y *toy) claims(n int) []claim {
	_, _, g, h := curve.Generators()
	as, bs, cs := make([]fr.Element, n), make([]fr.Element, n), make([]fr.Element, n)
	out := make([]claim, n)
	var deltaInv fr.Element
	deltaInv.Inverse(&y.delta)
	for i := range out {
		out[i] = claim{key: y.key, proof: new(zk.Proof), inputs: make([]fr.Element, len(y.k)-1)}
		sum := y.k[0]
		for j := range out[i].inputs {
			if y.r.IntN(5) > 0 {
				out[i].inputs[j] = randomFr(y.r)
			}
			var t fr.Element
			t.Mul(&out[i].inputs[j], &y.k[j+1])
			sum.Add(&sum, &t)
		}
		as[i], bs[i] = randomFr(y.r), randomFr(y.r)
		var t fr.Element
		cs[i].Mul(&as[i], &bs[i])
		t.Mul(&y.alpha, &y.beta)
		cs[i].Sub(&cs[i], &t)
		t.Mul(&y.gamma, &sum)
		cs[i].Sub(&cs[i], &t)
		cs[i].Mul(&cs[i], &deltaInv)
	}
	ap, bp, cp := make([]curve.G1Affine, n), make([]curve.G2Affine, n), make([]curve.G1Affine, n)
	t1, t2 := affine.NewTableG1(&g), affine.NewTableG2(&h)
	t1.Mul(ap, as)
	t2.Mul(bp, bs)
	t1.Mul(cp, cs)
	for i := range out {
		p := Points{A: ap[i], B: bp[i], C: cp[i]}
		*out[i].proof = p.Encode()
	}
	return out
}

// mutate decodes a proof, changes it and encodes it again.
func mutate(t testing.TB, c *claim, f func(*Points)) {
	t.Helper()
	var p Points
	if err := p.Decode(c.proof); err != nil {
		t.Fatal(err)
	}
	f(&p)
	proof := p.Encode()
	c.proof = &proof
}
