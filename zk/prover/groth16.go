package prover

import (
	"errors"
	"fmt"
	"io"
	"math/big"
	"runtime"

	"github.com/consensys/gnark-crypto/ecc"
	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr/fft"
	"github.com/consensys/gnark/backend/witness"
	cs "github.com/consensys/gnark/constraint/bls12-381"

	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

// prove makes a Groth16 proof (ePrint 2016/260) in two steps. The first is the proof with both blinding factors zero,
//
//	A = alpha + sum w_i A_i    B = beta + sum w_i B_i    C = sum over private wires of w_i K_i + sum h_j Z_j,
//
// which says nothing false and hides nothing. The second re-randomises it with fresh non-zero rho and t:
//
//	A' = A / rho    B' = rho (B + t delta)    C' = C + t A.
//
// A' and B' are then uniform and independent and C' is the one point that completes them: the distribution of an ordinary proof,
// up to 2^-253 (ePrint 2020/811, theorem 3). An ordinary prover instead adds up B in G1 as well, a sixth of its work.
func prove(k *setup.ProvingKey, full witness.Witness, rand io.Reader) (*verifier.Points, error) {
	solved, err := k.System.Solve(full)
	if err != nil {
		return nil, err
	}
	s, ok := solved.(*cs.R1CSSolution)
	if !ok {
		return nil, fmt.Errorf("solution is a %T", solved)
	}
	pk := k.Key
	for j, swap := range k.Swap {
		if swap {
			s.A[j], s.B[j] = s.B[j], s.A[j]
		}
	}
	h := quotient(s.A, s.B, s.C, &pk.Domain)[:len(pk.G1.Z)]
	wires := []fr.Element(s.W)
	private := wires[len(wires)-len(pk.G1.K):]
	config := ecc.MultiExpConfig{NbTasks: runtime.GOMAXPROCS(0)}

	var a, c, t1 curve.G1Jac
	var b, t2 curve.G2Jac
	if _, err := a.MultiExp(pk.G1.A, without(wires, pk.InfinityA, len(pk.G1.A)), config); err != nil {
		return nil, fmt.Errorf("sum of A: %w", err)
	}
	a.AddMixed(&pk.G1.Alpha)
	if _, err := b.MultiExp(pk.G2.B, without(wires, pk.InfinityB, len(pk.G2.B)), config); err != nil {
		return nil, fmt.Errorf("sum of B: %w", err)
	}
	b.AddMixed(&pk.G2.Beta)
	if _, err := c.MultiExp(k.KZ, append(private[:len(private):len(private)], h...), config); err != nil {
		return nil, fmt.Errorf("sum of K and Z: %w", err)
	}

	rho, err := nonZero(rand)
	if err != nil {
		return nil, err
	}
	t, err := nonZero(rand)
	if err != nil {
		return nil, err
	}
	var inverse fr.Element
	inverse.Inverse(&rho)
	c.AddAssign(t1.ScalarMultiplication(&a, bigInt(&t)))
	a.ScalarMultiplication(&a, bigInt(&inverse))
	t2.FromAffine(&pk.G2.Delta)
	b.AddAssign(t2.ScalarMultiplication(&t2, bigInt(&t)))
	b.ScalarMultiplication(&b, bigInt(&rho))

	var p verifier.Points
	p.A.FromJacobian(&a)
	p.B.FromJacobian(&b)
	p.C.FromJacobian(&c)
	return &p, nil
}

func bigInt(x *fr.Element) *big.Int { return x.BigInt(new(big.Int)) }

// nonZero draws a scalar that is uniform up to 2^-257 and not zero.
func nonZero(rand io.Reader) (fr.Element, error) {
	for range 3 {
		var b [64]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return fr.Element{}, fmt.Errorf("draw blinding factors: %w", err)
		}
		var e fr.Element
		if e.SetBytes(b[:]); !e.IsZero() {
			return e, nil
		}
	}
	return fr.Element{}, errors.New("the source of randomness gives zeros only")
}

// without leaves out the wires that are marked.
func without(wires []fr.Element, marked []bool, n int) []fr.Element {
	out := make([]fr.Element, 0, n)
	for i := range wires {
		if !marked[i] {
			out = append(out, wires[i])
		}
	}
	return out
}

// quotient returns the coefficients of (ab - c) / (X^N - 1), in bit-reversed order like the proving key's Z, from the values of a,
// b and c on the domain. On the coset of the multiplicative generator g the divisor is the constant g^N - 1.
func quotient(a, b, c []fr.Element, domain *fft.Domain) []fr.Element {
	var divisor fr.Element
	one := fr.One()
	divisor.Exp(domain.FrMultiplicativeGen, new(big.Int).SetUint64(domain.Cardinality))
	divisor.Sub(&divisor, &one).Inverse(&divisor)
	onCoset := func(v []fr.Element) []fr.Element {
		v = append(v, make([]fr.Element, int(domain.Cardinality)-len(v))...)
		domain.FFTInverse(v, fft.DIF)
		domain.FFT(v, fft.DIT, fft.OnCoset())
		return v
	}
	a, b, c = onCoset(a), onCoset(b), onCoset(c)
	for i := range a {
		a[i].Mul(&a[i], &b[i]).Sub(&a[i], &c[i]).Mul(&a[i], &divisor)
	}
	domain.FFTInverse(a, fft.DIF, fft.OnCoset())
	return a
}
