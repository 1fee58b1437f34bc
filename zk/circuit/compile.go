package circuit

import (
	"errors"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"

	"github.com/comity-ledger/comity/zk"
)

// ErrUnknownCircuit is returned for an id that names no circuit.
var ErrUnknownCircuit = errors.New("unknown circuit")

func shapeOf(id zk.CircuitID) (shape, error) {
	s := id.Shape()
	if s.Inputs == 0 {
		return shape{}, fmt.Errorf("%w: %v", ErrUnknownCircuit, id)
	}
	return shape{
		inputs: s.Inputs, outputs: s.Outputs, subtree: s.SubtreeLevel, held: s.Held,
		notes: zk.NoteDepth, registry: zk.RegistryDepth, readers: zk.ReaderDepth, rights: zk.RightsDepth,
		challenge: challengeBits,
	}, nil
}

// New returns the circuit of an id, without values: what to compile. It panics
// on an unknown id; zk.CircuitID.Known tells.
func New(id zk.CircuitID) frontend.Circuit {
	s, err := shapeOf(id)
	if err != nil {
		panic(err)
	}
	return empty(s)
}

// Compile returns the constraint system of a circuit, an R1CS over the scalar
// field of BLS12-381. The result is the same on every run: its bytes may be
// hashed. It takes about half a second for the largest circuit.
func Compile(id zk.CircuitID) (constraint.ConstraintSystem, error) {
	s, err := shapeOf(id)
	if err != nil {
		return nil, err
	}
	return compile(empty(s))
}

// compile switches off gnark's compression of long linear combinations: sums
// over all outputs are long, and each compression would cost a constraint.
func compile(l *Leg, opts ...frontend.CompileOption) (constraint.ConstraintSystem, error) {
	opts = append(opts, frontend.WithCompressThreshold(0))
	return frontend.Compile(ecc.BLS12_381.ScalarField(), r1cs.NewBuilder, l, opts...)
}

// empty returns a circuit of the given sizes with every slice in place.
func empty(s shape) *Leg {
	l := &Leg{size: s}
	l.Public = make([]frontend.Variable, s.publics())
	l.Inputs = make([]Input, s.inputs)
	for i := range l.Inputs {
		l.Inputs[i].Path = make([]Level, s.notes)
	}
	l.Outputs = make([]Output, s.outputs)
	l.Registration = make([]Level, s.registry)
	l.Right = make([]Level, s.rights)
	l.Reading = make([]Level, s.readers)
	if s.held {
		l.Held = make([]Held, 1)
	}
	return l
}
