package circuit

import (
	"math/big"

	"github.com/consensys/gnark/frontend"
)

// checks is the only way a circuit of this package asserts anything. Every
// assertion has a name, listed with its rule and its test in chapter 7 of
// zk/SPEC.md; a test compiles the circuit without one named assertion at a
// time and shows the false witness that this lets through.
//
// Wires that are merely computed (products, quotients with a divisor that
// cannot be zero) are not assertions: they have exactly one value.
type checks struct {
	frontend.API
	hooks
}

// hooks let tests look at the assertions of a circuit and leave one out.
type hooks struct {
	omit string // the name of the one assertion left out
	mute bool   // leave all of them out
	// observe, when set, is told the name of every assertion, omitted or not.
	observe func(name string)
	// repair, when set, is given the value that a public input should have had
	// in place of an assertion that it has it. Only tests set it, on gnark's
	// test engine, to build false witnesses that are false in one place alone.
	repair func(index int, value frontend.Variable)
}

func (c *checks) skip(name string) bool {
	if c.observe != nil {
		c.observe(name)
	}
	return c.mute || name == c.omit
}

// equal asserts x = y.
func (c *checks) equal(name string, x, y frontend.Variable) {
	if c.skip(name) {
		return
	}
	c.AssertIsEqual(x, y)
}

// zero asserts x*y = 0.
func (c *checks) zero(name string, x, y frontend.Variable) {
	if c.skip(name) {
		return
	}
	c.AssertIsEqual(c.Mul(x, y), 0)
}

// booleans asserts that every bit is 0 or 1.
func (c *checks) booleans(name string, bits ...frontend.Variable) {
	if c.skip(name) {
		return
	}
	for _, b := range bits {
		c.AssertIsBoolean(b)
	}
}

// public asserts that the public input at index has the computed value.
func (c *checks) public(name string, inputs []frontend.Variable, index int, value frontend.Variable) {
	if c.repair != nil {
		c.repair(index, value)
		return
	}
	c.equal(name, inputs[index], value)
}

// sum returns the sum of any number of terms, at no constraint.
func (c *checks) sum(terms ...frontend.Variable) frontend.Variable {
	switch len(terms) {
	case 0:
		return 0
	case 1:
		return terms[0]
	}
	return c.Add(terms[0], terms[1], terms[2:]...)
}

// weigh returns the integer whose little-endian bits are given, at no
// constraint. It is below 2^len(bits) only where the bits are proven boolean.
func (c *checks) weigh(bits []frontend.Variable) frontend.Variable {
	terms := make([]frontend.Variable, len(bits))
	for i, b := range bits {
		terms[i] = c.Mul(b, new(big.Int).Lsh(big.NewInt(1), uint(i)))
	}
	return c.sum(terms...)
}

// number proves the bits boolean and returns the integer they spell: a range
// check without lookups, commitments or hints, one constraint per bit.
func (c *checks) number(name string, bits []frontend.Variable) frontend.Variable {
	c.booleans(name, bits...)
	return c.weigh(bits)
}
