package verifier

import (
	"crypto/rand"
	"errors"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark/backend/groth16"
	gnark "github.com/consensys/gnark/backend/groth16/bls12-381"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"

	"github.com/comity-ledger/comity/zk"
)

// cube is x³ + x + 5 = y with a second public input that is bound by one constraint.
type cube struct {
	Y, Z frontend.Variable `gnark:",public"`
	X    frontend.Variable
}

func (c *cube) Define(api frontend.API) error {
	api.AssertIsEqual(c.Y, api.Add(api.Mul(c.X, c.X, c.X), c.X, 5))
	api.Mul(c.Z, c.Z)
	return nil
}

// TestVerdictsAgreeWithGnark proves with gnark under a key of gnark's own set-up and compares every verdict with gnark's
// verifier, over honest proofs and every fault of batch_test.go.
func TestVerdictsAgreeWithGnark(t *testing.T) {
	logger.Disable()
	ccs, err := frontend.Compile(ecc.BLS12_381.ScalarField(), r1cs.NewBuilder, new(cube))
	if err != nil {
		t.Fatal(err)
	}
	pk, vk, err := groth16.Setup(ccs)
	if err != nil {
		t.Fatal(err)
	}
	gvk := vk.(*gnark.VerifyingKey)
	key, err := New(Key{Circuit: 1, Version: 1, Alpha: gvk.G1.Alpha, Beta: gvk.G2.Beta, Gamma: gvk.G2.Gamma, Delta: gvk.G2.Delta, K: gvk.G1.K})
	if err != nil {
		t.Fatal(err)
	}
	var claims []claim
	for x := range 4 {
		w, err := frontend.NewWitness(&cube{X: x, Y: x*x*x + x + 5, Z: x}, ecc.BLS12_381.ScalarField())
		if err != nil {
			t.Fatal(err)
		}
		proof, err := groth16.Prove(ccs, pk, w)
		if err != nil {
			t.Fatal(err)
		}
		g := proof.(*gnark.Proof)
		p := Points{A: g.Ar, B: g.Bs, C: g.Krs}
		enc := p.Encode()
		public, err := w.Public()
		if err != nil {
			t.Fatal(err)
		}
		claims = append(claims, claim{key: key, inputs: public.Vector().(fr.Vector), proof: &enc})
	}
	theirs := func(c *claim) error {
		var p Points
		if err := p.Decode(c.proof); err != nil {
			return err // gnark's own decoder takes other encodings, so the codec is not compared
		}
		return gnark.Verify(&gnark.Proof{Ar: p.A, Bs: p.B, Krs: p.C}, gvk, c.inputs)
	}
	compare := func(name string, c claim) {
		t.Helper()
		batch := []claim{claims[0], claims[1], c, claims[3]}
		want := theirs(&c)
		if err := verifyOne(&c, new(sums)); (err == nil) != (want == nil) {
			t.Errorf("%s: single says %v, gnark says %v", name, err, want)
		}
		if err := verifyClaims(batch, rand.Reader, 1)[2]; (err == nil) != (want == nil) {
			t.Errorf("%s: batch says %v, gnark says %v", name, err, want)
		}
	}
	compare("honest", claims[2])
	for _, fault := range faults {
		bad := claims[2]
		fault.spoil(t, &bad)
		compare(fault.name, bad)
	}
	for i := range claims {
		other := claims[2]
		other.inputs = claims[i].inputs
		compare("the inputs of another proof", other)
	}
}

// unused declares a public input that no constraint touches.
type unused struct {
	Y, Z frontend.Variable `gnark:",public"`
	X    frontend.Variable
}

func (c *unused) Define(api frontend.API) error {
	api.AssertIsEqual(c.Y, api.Mul(c.X, c.X))
	return nil
}

func TestKeyOfACircuitThatForgetsAPublicInputIsRefused(t *testing.T) {
	logger.Disable()
	ccs, err := frontend.Compile(ecc.BLS12_381.ScalarField(), r1cs.NewBuilder, new(unused))
	if err != nil {
		t.Fatal(err)
	}
	_, vk, err := groth16.Setup(ccs)
	if err != nil {
		t.Fatal(err)
	}
	g := vk.(*gnark.VerifyingKey)
	_, err = New(Key{Circuit: zk.Transfer, Version: 1, Alpha: g.G1.Alpha, Beta: g.G2.Beta, Gamma: g.G2.Gamma, Delta: g.G2.Delta, K: g.G1.K})
	if !errors.Is(err, ErrKeyUnbound) {
		t.Errorf("a key under which any value of Z verifies: %v", err)
	}
}
