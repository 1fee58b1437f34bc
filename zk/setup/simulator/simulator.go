// Package simulator makes proofs of anything under the development keys, from their public trapdoor.
//
// A Groth16 proof is zero-knowledge because such a simulator exists: A = aG, B = bG and C chosen to make the equation hold have
// the distribution of honest proofs. Load tests use it, where making a hundred thousand honest proofs would take a day. That
// the proofs prove nothing is the point: only bench and tests may import this package, and a test holds that.
package simulator

import (
	"errors"
	"fmt"
	"io"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/internal/affine"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/setup/internal/qap"
	"github.com/comity-ledger/comity/zk/setup/internal/trapdoor"
	"github.com/comity-ledger/comity/zk/verifier"
)

// Simulator makes proofs for some circuits. It is safe for concurrent use.
type Simulator struct {
	circuits map[zk.CircuitID]*secrets
	g1       *affine.TableG1
	g2       *affine.TableG2
}

type secrets struct {
	td       *trapdoor.Trapdoor
	k        []fr.Element // discrete logarithms of the verifying key's K
	deltaInv fr.Element
}

// ErrUnknownCircuit refuses a leg of a circuit that the simulator was not made for.
var ErrUnknownCircuit = errors.New("simulator has no trapdoor for this circuit")

// New compiles the circuits (under a second each) and derives their trapdoors. Without arguments it takes all.
func New(ids ...zk.CircuitID) (*Simulator, error) {
	if len(ids) == 0 {
		ids = zk.Circuits()
	}
	_, _, g1, g2 := curve.Generators()
	s := &Simulator{circuits: map[zk.CircuitID]*secrets{}, g1: affine.NewTableG1(&g1), g2: affine.NewTableG2(&g2)}
	for _, id := range ids {
		r, err := setup.Compile(id)
		if err != nil {
			return nil, err
		}
		record, err := setup.RecordOf(id)
		if err != nil {
			return nil, err
		}
		if qap.Digest(r) != [32]byte(record.Digest) {
			return nil, fmt.Errorf("%v: %w", id, setup.ErrChanged)
		}
		p, td, err := qap.Development(r, id)
		if err != nil {
			return nil, err
		}
		c := &secrets{td: td, k: p.PublicWeights()}
		c.deltaInv.Inverse(&td.Delta)
		s.circuits[id] = c
	}
	return s, nil
}

// Simulate makes a proof for one leg, true or not: 0.6 ms.
func (s *Simulator) Simulate(public *zk.LegPublic, rand io.Reader) (zk.Proof, error) {
	proofs, err := s.SimulateAll([]*zk.LegPublic{public}, rand)
	if err != nil {
		return zk.Proof{}, err
	}
	return proofs[0], nil
}

// SimulateAll makes a proof for each leg, on all processors: about 40 us of processor time for each of a thousand.
func (s *Simulator) SimulateAll(publics []*zk.LegPublic, rand io.Reader) ([]zk.Proof, error) {
	n := len(publics)
	as, bs, cs := make([]fr.Element, n), make([]fr.Element, n), make([]fr.Element, n)
	var inputs []fr.Element
	for i, p := range publics {
		c := s.circuits[p.Circuit]
		if c == nil {
			return nil, fmt.Errorf("%v: %w", p.Circuit, ErrUnknownCircuit)
		}
		if err := p.CheckShape(); err != nil {
			return nil, err
		}
		inputs = p.AppendInputs(inputs[:0])
		sum, t := c.k[0], fr.Element{}
		for j := range inputs {
			t.Mul(&inputs[j], &c.k[j+1])
			sum.Add(&sum, &t)
		}
		var err error
		if as[i], err = draw(rand); err != nil {
			return nil, err
		}
		if bs[i], err = draw(rand); err != nil {
			return nil, err
		}
		// c = (ab - alpha beta - gamma sum) / delta
		cs[i].Mul(&as[i], &bs[i])
		t.Mul(&c.td.Alpha, &c.td.Beta)
		cs[i].Sub(&cs[i], &t)
		t.Mul(&c.td.Gamma, &sum)
		cs[i].Sub(&cs[i], &t).Mul(&cs[i], &c.deltaInv)
	}
	a, b, c := make([]curve.G1Affine, n), make([]curve.G2Affine, n), make([]curve.G1Affine, n)
	s.g1.Mul(a, as)
	s.g2.Mul(b, bs)
	s.g1.Mul(c, cs)
	out := make([]zk.Proof, n)
	for i := range out {
		p := verifier.Points{A: a[i], B: b[i], C: c[i]}
		out[i] = p.Encode()
	}
	return out, nil
}

func draw(rand io.Reader) (fr.Element, error) {
	var b [64]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return fr.Element{}, fmt.Errorf("draw randomness: %w", err)
	}
	var e fr.Element
	e.SetBytes(b[:])
	if e.IsZero() {
		return fr.Element{}, errors.New("randomness is zero")
	}
	return e, nil
}
