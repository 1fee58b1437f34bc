package circuit

import (
	"math/big"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/test"
)

// evaluate runs a gadget on gnark's test engine and returns what it computes,
// also for inputs that no native twin accepts.
func evaluate(t testing.TB, f gadgetFunc, omit string, in []fr.Element) []fr.Element {
	t.Helper()
	var out []fr.Element
	circuit := &gadget{In: make([]frontend.Variable, len(in)), omit: omit}
	var record gadgetFunc = func(c *checks, in []frontend.Variable) []frontend.Variable {
		for _, v := range f(c, in) {
			out = append(out, engineValue(v))
		}
		return nil
	}
	circuit.f = &record
	if err := test.IsSolved(circuit, &gadget{In: variables(in)}, ecc.BLS12_381.ScalarField()); err != nil {
		t.Fatalf("evaluate: %v", err)
	}
	return out
}

// engineValue reads a variable of gnark's test engine, where all are numbers.
func engineValue(v frontend.Variable) fr.Element {
	var e fr.Element
	switch v := v.(type) {
	case *big.Int:
		e.SetBigInt(v)
	case big.Int:
		e.SetBigInt(&v)
	default:
		if _, err := e.SetInterface(v); err != nil {
			panic(err)
		}
	}
	return e
}
