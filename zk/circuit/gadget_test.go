package circuit

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand"
	"os"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr/poseidon2"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
	"github.com/consensys/gnark/constraint"
	cs_bls12381 "github.com/consensys/gnark/constraint/bls12-381"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"
	"github.com/consensys/gnark/logger"
	"github.com/rs/zerolog"

	"github.com/comity-ledger/comity/zk"
)

func TestMain(m *testing.M) {
	logger.Set(zerolog.Nop())
	os.Exit(m.Run())
}

// gadget turns a function over variables into a circuit: In -> Out.
type gadget struct {
	In  []frontend.Variable
	Out []frontend.Variable `gnark:",public"`
	f   *gadgetFunc         `gnark:"-"` // by pointer: the test engine compares clones
	// omit is the assertion left out.
	omit string `gnark:"-"`
}

func (g *gadget) Define(api frontend.API) error {
	out := (*g.f)(&checks{API: api, hooks: hooks{omit: g.omit}}, g.In)
	if len(out) != len(g.Out) {
		return errors.New("gadget: wrong number of outputs")
	}
	for i := range out {
		api.AssertIsEqual(out[i], g.Out[i])
	}
	return nil
}

type gadgetFunc = func(c *checks, in []frontend.Variable) []frontend.Variable

func compileCircuit(t testing.TB, c frontend.Circuit, opts ...frontend.CompileOption) constraint.ConstraintSystem {
	t.Helper()
	opts = append(opts, frontend.WithCompressThreshold(0))
	cs, err := frontend.Compile(ecc.BLS12_381.ScalarField(), r1cs.NewBuilder, c, opts...)
	if err != nil {
		t.Fatal(err)
	}
	return cs
}

func compileGadget(t testing.TB, f gadgetFunc, omit string, in, out int) constraint.ConstraintSystem {
	t.Helper()
	return compileCircuit(t, &gadget{In: make([]frontend.Variable, in), Out: make([]frontend.Variable, out), f: &f, omit: omit},
		frontend.IgnoreUnconstrainedInputs())
}

func solve(cs constraint.ConstraintSystem, assignment frontend.Circuit) error {
	w, err := frontend.NewWitness(assignment, ecc.BLS12_381.ScalarField())
	if err != nil {
		return fmt.Errorf("build witness: %w", err)
	}
	return cs.IsSolved(w)
}

func variables(xs []fr.Element) []frontend.Variable {
	out := make([]frontend.Variable, len(xs))
	for i := range xs {
		out[i] = xs[i]
	}
	return out
}

func solveGadget(cs constraint.ConstraintSystem, in, out []fr.Element) error {
	return solve(cs, &gadget{In: variables(in), Out: variables(out)})
}

// twin checks that the gadget has exactly the native output, and no other.
func twin(t *testing.T, cs constraint.ConstraintSystem, in, want []fr.Element) {
	t.Helper()
	if err := solveGadget(cs, in, want); err != nil {
		t.Fatalf("gadget differs from its native twin: %v", err)
	}
	for i := range want {
		wrong := append([]fr.Element(nil), want...)
		one := fr.One()
		wrong[i].Add(&wrong[i], &one)
		if solveGadget(cs, in, wrong) == nil {
			t.Fatalf("gadget accepts a wrong output %d", i)
		}
	}
}

func randomElement(rng *rand.Rand) fr.Element {
	var b [64]byte
	rng.Read(b[:])
	var e fr.Element
	e.SetBytes(b[:])
	return e
}

func element(n int64) fr.Element { var e fr.Element; e.SetInt64(n); return e }

func elements(ns []uint8) []fr.Element {
	out := make([]fr.Element, len(ns))
	for i, n := range ns {
		out[i].SetUint64(uint64(n))
	}
	return out
}

var nativePermutation = poseidon2.NewPermutation(zk.HashWidth, zk.HashFullRounds, zk.HashPartialRounds)

func nativeCompress(x, y, z fr.Element) fr.Element {
	s := []fr.Element{x, y, z}
	if err := nativePermutation.Permutation(s); err != nil {
		panic(err)
	}
	s[0].Add(&s[0], &x)
	return s[0]
}

func TestPermutationIsTheNativeOne(t *testing.T) {
	cs := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		out := c.permute([3]frontend.Variable{in[0], in[1], in[2]})
		return out[:]
	}, "", 3, 3)
	if n := cs.GetNbConstraints() - 3; n != 240 {
		t.Errorf("a permutation costs %d constraints, want 240", n)
	}
	rng := rand.New(rand.NewSource(1))
	minusOne := element(-1)
	for _, in := range [][]fr.Element{
		{{}, {}, {}},
		{minusOne, minusOne, minusOne},
		{randomElement(rng), randomElement(rng), randomElement(rng)},
	} {
		want := append([]fr.Element(nil), in...)
		if err := nativePermutation.Permutation(want); err != nil {
			t.Fatal(err)
		}
		twin(t, cs, in, want)
	}
}

// The published vector of zk/SPEC.md: the permutation of (0, 1, 2).
func TestSubtreeRootIsTheNativeOne(t *testing.T) {
	rng := rand.New(rand.NewSource(2))
	for _, n := range []int{1, 2, 3, 4, 9} {
		const level = 2
		cs := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
			return []frontend.Variable{c.subtreeRoot(in, level)}
		}, "", n, 1)
		leaves := make([]fr.Element, 9)
		for i := range n {
			leaves[i] = randomElement(rng)
		}
		nodes := leaves
		for len(nodes) > 1 {
			var up []fr.Element
			for i := 0; i < len(nodes); i += 3 {
				up = append(up, nativeCompress(nodes[i], nodes[i+1], nodes[i+2]))
			}
			nodes = up
		}
		twin(t, cs, leaves[:n], nodes)
	}
}

func TestClimbFindsEveryChild(t *testing.T) {
	cs := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		path := []Level{{Middle: in[1], Right: in[2], Siblings: [2]frontend.Variable{in[3], in[4]}}}
		return []frontend.Variable{c.climb("S1", in[0], path), c.index("S1", path)}
	}, "", 5, 2)
	rng := rand.New(rand.NewSource(3))
	for digit := range 3 {
		node := []fr.Element{randomElement(rng), randomElement(rng), randomElement(rng)}
		siblings := append(append([]fr.Element(nil), node[:digit]...), node[digit+1:]...)
		flag := [3][2]int64{{0, 0}, {1, 0}, {0, 1}}[digit]
		in := []fr.Element{node[digit], element(flag[0]), element(flag[1]), siblings[0], siblings[1]}
		twin(t, cs, in, []fr.Element{nativeCompress(node[0], node[1], node[2]), element(int64(digit))})
	}
}

func xy(p twistededwards.PointAffine) []fr.Element { return []fr.Element{p.X, p.Y} }

// torsion returns a generator of the 8-torsion of Jubjub.
func torsion(t testing.TB, rng *rand.Rand) twistededwards.PointAffine {
	t.Helper()
	params := twistededwards.GetEdwardsCurve()
	for {
		x := randomElement(rng)
		var p twistededwards.PointAffine
		// y^2 = (1 + x^2) / (1 - d x^2)
		var xx, num, den, one fr.Element
		one.SetOne()
		xx.Square(&x)
		num.Add(&one, &xx)
		den.Mul(&params.D, &xx)
		den.Sub(&one, &den)
		num.Div(&num, &den)
		if num.Legendre() != 1 {
			continue
		}
		p.X = x
		p.Y.Sqrt(&num)
		p.ScalarMultiplication(&p, &params.Order)
		q := p
		q.Double(&q)
		q.Double(&q)
		if !q.IsZero() {
			return p
		}
	}
}

func randomPoint(rng *rand.Rand) twistededwards.PointAffine {
	params := twistededwards.GetEdwardsCurve()
	e := randomElement(rng)
	var p twistededwards.PointAffine
	p.ScalarMultiplication(&params.Base, e.BigInt(new(big.Int)))
	return p
}

func TestJubjubIsComplete(t *testing.T) {
	params := twistededwards.GetEdwardsCurve()
	minusOne := element(-1)
	if params.A != minusOne || minusOne.Legendre() != 1 {
		t.Error("a is not -1, or not a square")
	}
	if params.D.Legendre() != -1 {
		t.Error("d is a square: the addition law is not complete")
	}
}

func TestAdditionAndDoublingAreComplete(t *testing.T) {
	add := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		p := c.add(Point{in[0], in[1]}, Point{in[2], in[3]})
		return []frontend.Variable{p.X, p.Y}
	}, "", 4, 2)
	double := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		p := c.double(Point{in[0], in[1]})
		return []frontend.Variable{p.X, p.Y}
	}, "", 2, 2)
	if a, d := add.GetNbConstraints()-2, double.GetNbConstraints()-2; a != 6 || d != 4 {
		t.Errorf("addition costs %d, doubling %d constraints, want 6 and 4", a, d)
	}
	rng := rand.New(rand.NewSource(4))
	var identity twistededwards.PointAffine
	identity.Y.SetOne()
	small := torsion(t, rng)
	points := []twistededwards.PointAffine{identity, randomPoint(rng), randomPoint(rng)}
	for range 8 {
		var p twistededwards.PointAffine
		p.Add(&points[len(points)-1], &small)
		points = append(points, p)
	}
	acc := small
	for range 7 {
		points = append(points, acc)
		acc.Add(&acc, &small)
	}
	for i, p := range points {
		var sum twistededwards.PointAffine
		sum.Add(&p, &p)
		twin(t, double, xy(p), xy(sum))
		for _, q := range []twistededwards.PointAffine{p, *new(twistededwards.PointAffine).Neg(&p), points[(i*5+1)%len(points)], points[(i*3+2)%len(points)]} {
			sum.Add(&p, &q)
			twin(t, add, append(xy(p), xy(q)...), xy(sum))
		}
	}
}

func edgeScalars(rng *rand.Rand) []*big.Int {
	params := twistededwards.GetEdwardsCurve()
	l := &params.Order
	e := randomElement(rng)
	return []*big.Int{
		big.NewInt(0), big.NewInt(1), big.NewInt(2), new(big.Int).Sub(l, big.NewInt(1)), new(big.Int).Sub(l, big.NewInt(2)),
		new(big.Int).Rsh(l, 1), new(big.Int).Mod(e.BigInt(new(big.Int)), l),
	}
}

func TestRecodingSpellsTheScalar(t *testing.T) {
	params := twistededwards.GetEdwardsCurve()
	l := &params.Order
	for _, window := range []int{variableWindow, fixedWindow} {
		for _, e := range edgeScalars(rand.New(rand.NewSource(5))) {
			digits := recode(e, window, scalarBits)
			if len(digits) != scalarBits {
				t.Fatalf("%d bits", len(digits))
			}
			sum := new(big.Int)
			for j := len(digits)/window - 1; j >= 0; j-- {
				size := int64(0)
				for i := window - 2; i >= 0; i-- {
					size = 2*size + int64(digits[j*window+i])
				}
				digit := 2*size + 1
				if digits[j*window+window-1] == 0 {
					digit = -digit
				}
				sum.Lsh(sum, uint(window)).Add(sum, big.NewInt(digit))
			}
			if sum.Mod(sum, l).Cmp(e) != 0 {
				t.Errorf("window %d: %v spelled as %v", window, e, sum)
			}
		}
	}
}

func TestScalarMultiplicationsAreTheNativeOnes(t *testing.T) {
	fixed := map[int]constraint.ConstraintSystem{}
	for _, window := range []int{variableWindow, fixedWindow} {
		fixed[window] = compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
			p := c.mulFixed(in, window, nil)
			return []frontend.Variable{p.X, p.Y}
		}, "", scalarBits, 2)
	}
	variable := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		p := c.mulVariable(in[2:], Point{in[0], in[1]})
		return []frontend.Variable{p.X, p.Y}
	}, "", 2+scalarBits, 2)
	short := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		p := c.mulShort(in[2:], Point{in[0], in[1]})
		return []frontend.Variable{p.X, p.Y}
	}, "", 2+challengeBits, 2)
	t.Logf("constraints: fixed base %d (windows of 3) and %d (of 4), variable base %d, 128-bit variable base %d",
		fixed[3].GetNbConstraints()-2, fixed[4].GetNbConstraints()-2, variable.GetNbConstraints()-2, short.GetNbConstraints()-2)

	params := twistededwards.GetEdwardsCurve()
	rng := rand.New(rand.NewSource(6))
	for i, e := range edgeScalars(rng) {
		var p twistededwards.PointAffine
		p.ScalarMultiplication(&params.Base, e)
		for _, window := range []int{variableWindow, fixedWindow} {
			twin(t, fixed[window], elements(recode(e, window, scalarBits)), xy(p))
		}
		base := randomPoint(rng)
		if i == 0 {
			base = params.Base
		}
		p.ScalarMultiplication(&base, e)
		twin(t, variable, append(xy(base), elements(recode(e, variableWindow, scalarBits))...), xy(p))
	}
	full := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), challengeBits), big.NewInt(1))
	random := randomElement(rng)
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(1), big.NewInt(2), full, new(big.Int).And(bigOf(random), full)} {
		for _, base := range []twistededwards.PointAffine{params.Base, randomPoint(rng), torsion(t, rng)} {
			var p twistededwards.PointAffine
			nativeMul(&p, base, n)
			in := xy(base)
			for i := range challengeBits {
				in = append(in, element(int64(n.Bit(i))))
			}
			twin(t, short, in, xy(p))
		}
	}
}

// nativeMul is plain double-and-add, right for every point of the curve.
func nativeMul(out *twistededwards.PointAffine, p twistededwards.PointAffine, n *big.Int) {
	out.X.SetZero()
	out.Y.SetOne()
	for i := n.BitLen() - 1; i >= 0; i-- {
		out.Double(out)
		if n.Bit(i) == 1 {
			out.Add(out, &p)
		}
	}
}

// Up to gnark v0.15 the scalar multiplication of its twisted Edwards package
// took the product from a hint, and a prover that answered the hint itself
// proved false R = [s]P. Ours has no hint to answer: every wire is an input or
// the one solution of its constraint.
func TestScalarMultiplicationHasNoHintToOverride(t *testing.T) {
	cs := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
		c.booleans("bits", in[2:]...)
		p := c.mulVariable(in[2:], Point{in[0], in[1]})
		q := c.mulFixed(in[2:], fixedWindow, &p)
		r := c.mulShort(in[2:130], q)
		return []frontend.Variable{r.X, r.Y}
	}, "", 2+scalarBits, 2)
	assertNoHints(t, cs)
}

// assertNoHints checks the three places where a compiled system could take a
// value from outside its constraints: hints, commitments, other instructions.
func assertNoHints(t *testing.T, cs constraint.ConstraintSystem) {
	t.Helper()
	system := cs.(*cs_bls12381.R1CS)
	if n := len(system.MHintsDependencies); n != 0 {
		t.Errorf("%d hints: %v", n, system.MHintsDependencies)
	}
	if n := len(cs.GetCommitments().CommitmentIndexes()); n != 0 {
		t.Errorf("%d gnark commitments", n)
	}
	if instructions, constraints := cs.GetNbInstructions(), cs.GetNbConstraints(); instructions != constraints {
		t.Errorf("%d instructions, but %d constraints: something is solved outside the constraints", instructions, constraints)
	}
}

// A hint of bits does not exist either: bits are inputs. What an overridden
// hint could have supplied is tried as an input: bits that are not bits.
func TestFalseScalarBitsAreRefused(t *testing.T) {
	f := func(c *checks, in []frontend.Variable) []frontend.Variable {
		c.booleans("bits", in...)
		p := c.mulFixed(in, fixedWindow, nil)
		return []frontend.Variable{p.X, p.Y}
	}
	in := elements(recode(big.NewInt(5), fixedWindow, scalarBits))
	in[0] = element(2)
	out := evaluate(t, f, "bits", in)
	if err := solveGadget(compileGadget(t, f, "bits", scalarBits, 2), in, out); err != nil {
		t.Fatalf("without the assertion the false witness should solve: %v", err)
	}
	if solveGadget(compileGadget(t, f, "", scalarBits, 2), in, out) == nil {
		t.Fatal("a window with digit 2 in place of a bit was accepted")
	}
}

func TestCanonicalBitsHaveOneForm(t *testing.T) {
	f := func(c *checks, in []frontend.Variable) []frontend.Variable {
		c.canonical("S2.challenge", in[0], in[1:])
		return nil
	}
	full := compileGadget(t, f, "", 1+fieldBits, 0)
	without := compileGadget(t, f, "S2.challengeCanonical", 1+fieldBits, 0)
	spell := func(n *big.Int) []fr.Element {
		bits := make([]fr.Element, fieldBits)
		for i := range bits {
			bits[i] = element(int64(n.Bit(i)))
		}
		return bits
	}
	rng := rand.New(rand.NewSource(7))
	random := randomElement(rng)
	r := fr.Modulus()
	top := new(big.Int).Lsh(new(big.Int).Rsh(r, 128), 128)
	for _, n := range []*big.Int{big.NewInt(0), big.NewInt(1), bigOf(random), new(big.Int).Sub(top, big.NewInt(1))} {
		var x fr.Element
		x.SetBigInt(n)
		if err := solveGadget(full, append([]fr.Element{x}, spell(n)...), nil); err != nil {
			t.Errorf("%x is refused: %v", n, err)
		}
		alias := new(big.Int).Add(n, r)
		if alias.BitLen() > fieldBits {
			continue
		}
		if err := solveGadget(without, append([]fr.Element{x}, spell(alias)...), nil); err != nil {
			t.Errorf("without the assertion the alias of %x should solve: %v", n, err)
		}
		if solveGadget(full, append([]fr.Element{x}, spell(alias)...), nil) == nil {
			t.Errorf("%x has a second form, %x", n, alias)
		}
	}
	for _, n := range []*big.Int{top, new(big.Int).Sub(r, big.NewInt(1)), r} {
		var x fr.Element
		x.SetBigInt(n)
		if solveGadget(full, append([]fr.Element{x}, spell(n)...), nil) == nil {
			t.Errorf("%x is accepted", n)
		}
	}
}
