// Package qap turns a compiled circuit and a trapdoor into Groth16 keys.
//
// It owns the arithmetic of the set-up; where trapdoors come from, where keys are kept and which are recorded is zk/setup's.
package qap

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"math/bits"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr/fft"
	groth16 "github.com/consensys/gnark/backend/groth16/bls12-381"
	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bls12-381"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/internal/affine"
	"github.com/comity-ledger/comity/zk/setup/internal/trapdoor"
	"github.com/comity-ledger/comity/zk/verifier"
)

// ErrCommitment refuses a circuit that uses gnark's commitments: they change the verification equation, and the batch verifier
// does not know them.
var ErrCommitment = errors.New("circuit uses a commitment")

// Program is the quadratic arithmetic program of a circuit, evaluated at the trapdoor. The set-up is that of Groth16 (ePrint
// 2016/260, section 3.2) with the smallest subgroup of 2^k-th roots of unity that has room for every constraint as domain.
//
// With u_i, v_i, w_i the polynomials of wire i, t(X) = X^N - 1 the vanishing polynomial, and wires 0..l public, the keys hold
//
//	A  = u_i(tau) G1                 B = v_i(tau) G1 and G2
//	Kv = (beta u_i + alpha v_i + w_i)(tau) / gamma G1,  i <= l
//	Kp = (beta u_i + alpha v_i + w_i)(tau) / delta G1,  i > l
//	Z  = tau^j t(tau) / delta G1,    j < N-1
type Program struct {
	// Swap says which constraints had their factors exchanged; the prover exchanges the values of the same ones.
	Swap []bool

	td     *trapdoor.Trapdoor
	domain *fft.Domain
	public int          // number of public wires, the constant one included
	u, v   []fr.Element // per wire
	k      []fr.Element // per wire, divided by gamma or delta
}

// New evaluates the polynomials of every wire at the trapdoor. swap says for each constraint whether its factors change places
// (Orient); nil leaves all as they are, which is what gnark's own prover takes for granted.
func New(r *cs.R1CS, td *trapdoor.Trapdoor, swap []bool) (*Program, error) {
	if info, ok := r.CommitmentInfo.(constraint.Groth16Commitments); !ok || len(info) > 0 {
		return nil, ErrCommitment
	}
	p := &Program{Swap: swap, td: td, domain: fft.NewDomain(uint64(r.GetNbConstraints())), public: r.GetNbPublicVariables()}
	if uint64(r.GetNbConstraints()) > p.domain.Cardinality {
		return nil, fmt.Errorf("%d constraints do not fit a domain of %d", r.GetNbConstraints(), p.domain.Cardinality)
	}
	var w []fr.Element
	var err error
	if p.u, p.v, w, err = evaluate(r, p.domain, &td.Tau, swap); err != nil {
		return nil, err
	}
	var gammaInv, deltaInv fr.Element
	gammaInv.Inverse(&td.Gamma)
	deltaInv.Inverse(&td.Delta)
	p.k = make([]fr.Element, len(p.u))
	for i := range p.k {
		k, divisor := &p.k[i], &deltaInv
		if i < p.public {
			divisor = &gammaInv
		}
		var t fr.Element
		k.Mul(&td.Beta, &p.u[i])
		t.Mul(&td.Alpha, &p.v[i])
		k.Add(k, &t).Add(k, &w[i]).Mul(k, divisor)
	}
	return p, nil
}

// VerifyingKey makes the verifying key alone: a few milliseconds.
func (p *Program) VerifyingKey(id zk.CircuitID, version uint8) (*verifier.VerifyingKey, error) {
	k := verifier.Key{Circuit: id, Version: version, K: make([]curve.G1Affine, p.public)}
	for i := range k.K {
		k.K[i].ScalarMultiplicationBase(bigInt(&p.k[i]))
	}
	k.Alpha.ScalarMultiplicationBase(bigInt(&p.td.Alpha))
	k.Beta.ScalarMultiplicationBase(bigInt(&p.td.Beta))
	k.Gamma.ScalarMultiplicationBase(bigInt(&p.td.Gamma))
	k.Delta.ScalarMultiplicationBase(bigInt(&p.td.Delta))
	vk, err := verifier.New(k)
	if err != nil {
		return nil, fmt.Errorf("check the verifying key: %w", err)
	}
	return vk, nil
}

func bigInt(x *fr.Element) *big.Int { return x.BigInt(new(big.Int)) }

// ProvingKey makes the proving key in gnark's layout: A and B leave out wires whose polynomial is zero, and Z is in bit-reversed
// order. B in G1 is left out unless whole is set: gnark's prover needs it and ours does not, which saves a quarter of the time
// and of the file.
func (p *Program) ProvingKey(whole bool, report func(stage string, done, total int)) *groth16.ProvingKey {
	pk := &groth16.ProvingKey{Domain: *p.domain}
	u, infA := dropZeros(p.u)
	v, infB := dropZeros(p.v)
	pk.InfinityA, pk.NbInfinityA = infA, uint64(len(p.u)-len(u))
	pk.InfinityB, pk.NbInfinityB = infB, uint64(len(p.v)-len(v))
	z, private := p.vanishing(), p.k[p.public:]

	_, _, g1, g2 := curve.Generators()
	done, total := 0, len(u)+len(v)+len(private)+len(z)
	if whole {
		total += len(v)
	}
	report("computing the proving key", 0, total)
	t1 := affine.NewTableG1(&g1)
	mul := func(s []fr.Element) []curve.G1Affine {
		out := make([]curve.G1Affine, len(s))
		const piece = 1 << 13 // between two reports
		for lo := 0; lo < len(s); lo += piece {
			hi := min(lo+piece, len(s))
			t1.Mul(out[lo:hi], s[lo:hi])
			done += hi - lo
			report("computing the proving key", done, total)
		}
		return out
	}
	pk.G1.A, pk.G1.K, pk.G1.Z = mul(u), mul(private), mul(z)
	if whole {
		pk.G1.B = mul(v)
	}
	pk.G1.Alpha.ScalarMultiplicationBase(bigInt(&p.td.Alpha))
	pk.G1.Beta.ScalarMultiplicationBase(bigInt(&p.td.Beta))
	pk.G1.Delta.ScalarMultiplicationBase(bigInt(&p.td.Delta))
	pk.G2.B = make([]curve.G2Affine, len(v))
	affine.NewTableG2(&g2).Mul(pk.G2.B, v)
	report("computing the proving key", done+len(v), total)
	pk.G2.Beta.ScalarMultiplicationBase(bigInt(&p.td.Beta))
	pk.G2.Delta.ScalarMultiplicationBase(bigInt(&p.td.Delta))
	return pk
}

// vanishing returns tau^j t(tau) / delta in bit-reversed order of j, without the last: the quotient has degree at most N-2, and
// the index whose bits are all one is its own reverse.
func (p *Program) vanishing() []fr.Element {
	size := int(p.domain.Cardinality)
	one := fr.One()
	var z, deltaInv fr.Element
	deltaInv.Inverse(&p.td.Delta)
	z.Exp(p.td.Tau, big.NewInt(int64(size)))
	z.Sub(&z, &one).Mul(&z, &deltaInv)
	out := make([]fr.Element, size)
	shift := 64 - bits.TrailingZeros(uint(size))
	for j := range out {
		out[bits.Reverse64(uint64(j))>>shift] = z
		z.Mul(&z, &p.td.Tau)
	}
	return out[:size-1]
}

func dropZeros(s []fr.Element) (kept []fr.Element, zero []bool) {
	zero = make([]bool, len(s))
	for i := range s {
		if s[i].IsZero() {
			zero[i] = true
		} else {
			kept = append(kept, s[i])
		}
	}
	return kept, zero
}

// evaluate returns u_i(tau), v_i(tau) and w_i(tau) for every wire i: the sum over the constraints j of the wire's coefficient in the
// left factor, the right factor (as swap leaves them) and the product of constraint j, times the Lagrange polynomial L_j(tau) = omega^j (tau^N - 1) / (N (tau - omega^j)).
func evaluate(r *cs.R1CS, domain *fft.Domain, tau *fr.Element, swap []bool) (u, v, w []fr.Element, err error) {
	n := r.GetNbConstraints()
	wires := r.GetNbPublicVariables() + r.GetNbSecretVariables() + r.GetNbInternalVariables()
	u, v, w = make([]fr.Element, wires), make([]fr.Element, wires), make([]fr.Element, wires)

	lagrange := make([]fr.Element, n)
	omega := make([]fr.Element, n)
	power := fr.One()
	for j := range lagrange {
		omega[j] = power
		lagrange[j].Sub(tau, &power)
		power.Mul(&power, &domain.Generator)
	}
	lagrange = fr.BatchInvert(lagrange)
	one := fr.One()
	var scale fr.Element
	scale.Exp(*tau, new(big.Int).SetUint64(domain.Cardinality))
	if scale.Equal(&one) {
		return nil, nil, nil, errors.New("tau lies in the evaluation domain")
	}
	scale.Sub(&scale, &one).Mul(&scale, &domain.CardinalityInv)
	for j := range lagrange {
		lagrange[j].Mul(&lagrange[j], &omega[j]).Mul(&lagrange[j], &scale)
	}

	add := func(dst []fr.Element, terms constraint.LinearExpression, l *fr.Element) {
		for _, t := range terms {
			var x fr.Element
			x.Mul(&r.Coefficients[t.CoeffID()], l)
			dst[t.WireID()].Add(&dst[t.WireID()], &x)
		}
	}
	j := 0
	it := r.GetR1CIterator()
	for c := it.Next(); c != nil; c = it.Next() {
		if j == n {
			return nil, nil, nil, errors.New("constraint system has more constraints than it says")
		}
		left, right := c.L, c.R
		if swap != nil && swap[j] {
			left, right = right, left
		}
		add(u, left, &lagrange[j])
		add(v, right, &lagrange[j])
		add(w, c.O, &lagrange[j])
		j++
	}
	if j != n {
		return nil, nil, nil, errors.New("constraint system has fewer constraints than it says")
	}
	return u, v, w, nil
}

// Digest identifies the constraints of a circuit and nothing else: not the names of variables, not how a witness is found, not
// the version of gnark. It is the SHA-256 of "comity/circuit/v1", the numbers of public, secret and internal wires and of
// constraints, then for each constraint its three linear expressions, each as its length and its (wire, coefficient) pairs.
// Integers are u32 big-endian, coefficients 32 bytes big-endian.
func Digest(r *cs.R1CS) [32]byte {
	h := sha256.New()
	h.Write([]byte("comity/circuit/v1"))
	buf := make([]byte, 0, 1<<16)
	for _, n := range []int{r.GetNbPublicVariables(), r.GetNbSecretVariables(), r.GetNbInternalVariables(), r.GetNbConstraints()} {
		buf = binary.BigEndian.AppendUint32(buf, uint32(n))
	}
	coefficients := make([][32]byte, len(r.Coefficients))
	for i := range coefficients {
		coefficients[i] = r.Coefficients[i].Bytes()
	}
	it := r.GetR1CIterator()
	for c := it.Next(); c != nil; c = it.Next() {
		for _, e := range []constraint.LinearExpression{c.L, c.R, c.O} {
			buf = binary.BigEndian.AppendUint32(buf, uint32(len(e)))
			for _, t := range e {
				buf = binary.BigEndian.AppendUint32(buf, uint32(t.WireID()))
				buf = append(buf, coefficients[t.CoeffID()][:]...)
			}
		}
		if len(buf) > 1<<15 {
			h.Write(buf)
			buf = buf[:0]
		}
	}
	h.Write(buf)
	return [32]byte(h.Sum(nil))
}

// Development returns the program of a compiled circuit under the development trapdoor, and that trapdoor.
func Development(r *cs.R1CS, id zk.CircuitID) (*Program, *trapdoor.Trapdoor, error) {
	td := trapdoor.Derive(trapdoor.DevelopmentSeed, id, zk.CircuitVersion, Digest(r))
	p, err := New(r, &td, Orient(r))
	if err != nil {
		return nil, nil, fmt.Errorf("set up %v: %w", id, err)
	}
	return p, &td, nil
}

// PublicWeights returns (beta u_i + alpha v_i + w_i)(tau) / gamma for the public wires: the discrete logarithms of the verifying
// key's K, which only a simulator has a use for.
func (p *Program) PublicWeights() []fr.Element { return p.k[:p.public] }
