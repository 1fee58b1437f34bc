package circuit

import (
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
	"github.com/consensys/gnark/frontend"
)

// Point is a point of Jubjub, -x^2 + y^2 = 1 + d x^2 y^2, in affine coordinates.
//
// All formulas below are complete: -1 is a square and d is not, so that no
// divisor is zero for any two points of the curve, torsion included (Bernstein,
// Birkner, Joye, Lange, Peters: Twisted Edwards Curves, 2008, section 6). They
// say nothing about pairs off the curve: each caller states why its points are
// on it. No function here uses a hint: each wire is an input or the one
// solution of its constraint.
type Point struct{ X, Y frontend.Variable }

// Windows of the scalar multiplications, in bits.
const (
	variableWindow = 3 // 84 windows of digits 1, 3, 5, 7, with sign
	fixedWindow    = 4 // 63 windows of digits 1, 3, ... 15, with sign
	scalarBits     = 252
)

var jubjub = sync.OnceValue(func() twistededwards.CurveParams { return twistededwards.GetEdwardsCurve() })

func curveD() *big.Int { d := jubjub().D; return bigOf(d) }

// onCurve asserts that p satisfies the curve equation: 4 constraints.
func (c *checks) onCurve(name string, p Point) {
	if c.skip(name) {
		return
	}
	xx, yy := c.Mul(p.X, p.X), c.Mul(p.Y, p.Y)
	c.AssertIsEqual(c.Sub(yy, xx), c.Add(1, c.Mul(xx, yy, curveD())))
}

// add returns p+q: 6 constraints. Both points must be on the curve.
func (c *checks) add(p, q Point) Point {
	// x3 = (x1 y2 + y1 x2) / (1 + d x1 x2 y1 y2)
	// y3 = (y1 y2 + x1 x2) / (1 - d x1 x2 y1 y2)
	v0, v1 := c.Mul(p.X, q.Y), c.Mul(p.Y, q.X)
	u := c.Mul(c.Add(p.X, p.Y), c.Add(q.X, q.Y)) // y1 y2 + x1 x2 + v0 + v1
	t := c.Mul(c.Mul(v0, curveD()), v1)
	return Point{
		X: c.DivUnchecked(c.Add(v0, v1), c.Add(1, t)),
		Y: c.DivUnchecked(c.Sub(u, v0, v1), c.Sub(1, t)),
	}
}

// double returns 2p: 4 constraints. The point must be on the curve.
//
// With a = y+x and b = y-x, m = ab = y^2-x^2 = 1 + d x^2 y^2 is not zero, nor
// are a and b, nor 2-m = 1 - d x^2 y^2. Then, with g = a/b and h = 1/g,
//
//	2xy / (y^2-x^2)           = (g-h)/2
//	(y^2+x^2) / (2-y^2+x^2)   = m(g+h)/2 / (2-m) = (g+h)/(2-m) - (g+h)/2.
func (c *checks) double(p Point) Point {
	a, b := c.Add(p.Y, p.X), c.Sub(p.Y, p.X)
	m := c.Mul(a, b)
	g := c.DivUnchecked(a, b)
	h := c.Inverse(g)
	sum := c.Add(g, h)
	z := c.DivUnchecked(sum, c.Sub(2, m))
	return Point{
		X: c.Mul(c.Sub(g, h), half()),
		Y: c.Sub(z, c.Mul(sum, half())),
	}
}

var half = sync.OnceValue(func() *big.Int {
	return new(big.Int).ModInverse(big.NewInt(2), fr.Modulus())
})

func (c *checks) negate(p Point) Point { return Point{c.Neg(p.X), p.Y} }

// signed returns p where the bit is 1 and -p where it is 0: 1 constraint.
func (c *checks) signed(bit frontend.Variable, p Point) Point {
	return Point{c.Mul(c.Sub(c.Mul(bit, 2), 1), p.X), p.Y}
}

// A scalar is spelled in signed odd digits: window j holds, in its last bit, a
// sign (1 is plus) and, in the bits before it, little-endian, the index i of
// the digit 2i+1. Window j weighs 2^(j*window). Every scalar mod l has such a
// spelling of 252 bits (see recode), no digit is zero, and any 252 bits spell
// some scalar, so nothing but "each is a bit" has to be proven of them.

// mulVariable returns [e]p for a scalar in windows of three bits: 2,104
// constraints. The point must be on the curve.
func (c *checks) mulVariable(digits []frontend.Variable, p Point) Point {
	twice := c.double(p)
	table := [4]Point{p}
	for i := 1; i < 4; i++ {
		table[i] = c.add(table[i-1], twice)
	}
	windows := len(digits) / variableWindow
	at := func(j int) Point {
		w := digits[j*variableWindow:]
		return c.signed(w[2], Point{
			X: c.pick(w[0], w[1], table[0].X, table[1].X, table[2].X, table[3].X),
			Y: c.pick(w[0], w[1], table[0].Y, table[1].Y, table[2].Y, table[3].Y),
		})
	}
	acc := at(windows - 1)
	for j := windows - 2; j >= 0; j-- {
		acc = c.double(c.double(c.double(acc)))
		acc = c.add(acc, at(j))
	}
	return acc
}

// pick returns the entry number b0 + 2 b1: 3 constraints.
func (c *checks) pick(b0, b1, t0, t1, t2, t3 frontend.Variable) frontend.Variable {
	// t0 + b0 (t1-t0 + b1 (t3-t2-t1+t0)) + b1 (t2-t0)
	cross := c.Mul(b1, c.Sub(c.Add(t3, t0), t1, t2))
	return c.Add(t0,
		c.Mul(b0, c.Add(c.Sub(t1, t0), cross)),
		c.Mul(b1, c.Sub(t2, t0)))
}

// mulFixed returns start + [s]G for a scalar spelled in windows of the given
// size (3 or 4 bits): 8 constraints a window of three, 10 a window of four.
// A nil start stands for the identity and saves one addition.
func (c *checks) mulFixed(digits []frontend.Variable, window int, start *Point) Point {
	acc := start
	for j, table := range baseTable(window, len(digits)/window) {
		w := digits[j*window : (j+1)*window]
		q := c.signed(w[window-1], c.pickConstant(w[:window-1], table))
		if acc == nil {
			acc = &q
			continue
		}
		sum := c.add(*acc, q)
		acc = &sum
	}
	return *acc
}

// pickConstant returns the entry of a constant table that two or three bits
// name: 1 constraint for four entries (the coordinates are linear in b0, b1 and
// b0 b1), 3 for eight.
func (c *checks) pickConstant(bits []frontend.Variable, table []affine) Point {
	b0, b1 := bits[0], bits[1]
	b01 := c.Mul(b0, b1)
	linear := func(t []*big.Int) frontend.Variable {
		d1 := new(big.Int).Sub(t[1], t[0])
		d2 := new(big.Int).Sub(t[2], t[0])
		d3 := new(big.Int).Sub(t[3], t[2])
		d3.Sub(d3, d1)
		return c.Add(t[0], c.Mul(b0, d1), c.Mul(b1, d2), c.Mul(b01, d3))
	}
	coordinate := func(of func(affine) *big.Int) frontend.Variable {
		t := make([]*big.Int, len(table))
		for i := range table {
			t[i] = of(table[i])
		}
		low := linear(t[:4])
		if len(t) == 4 {
			return low
		}
		rise := make([]*big.Int, 4)
		for i := range rise {
			rise[i] = new(big.Int).Sub(t[4+i], t[i])
		}
		return c.Add(low, c.Mul(bits[2], linear(rise)))
	}
	return Point{
		X: coordinate(func(a affine) *big.Int { return a.x }),
		Y: coordinate(func(a affine) *big.Int { return a.y }),
	}
}

// mulShort returns [n]p for n spelled by plain little-endian bits, an even
// number of them: 9 constraints a bit. The point must be on the curve.
//
// The bits above the lowest, with a 1 on top, are the signed digits of n|1:
// sum of (2 b[i+1] - 1) 2^i for i < len, b[len] = 1, is n + 1 - b[0].
func (c *checks) mulShort(bits []frontend.Variable, p Point) Point {
	triple := c.add(c.double(p), p)
	at := func(j int) Point { // digit (2hi-1)*2 + (2lo-1): sign hi, size 3 where hi = lo
		lo := bits[2*j+1]
		if 2*j+2 == len(bits) { // hi = 1
			return Point{
				X: c.Add(p.X, c.Mul(lo, c.Sub(triple.X, p.X))),
				Y: c.Add(p.Y, c.Mul(lo, c.Sub(triple.Y, p.Y))),
			}
		}
		hi := bits[2*j+2]
		same := c.Add(c.Sub(1, lo, hi), c.Mul(lo, hi, 2))
		return c.signed(hi, Point{
			X: c.Add(p.X, c.Mul(same, c.Sub(triple.X, p.X))),
			Y: c.Add(p.Y, c.Mul(same, c.Sub(triple.Y, p.Y))),
		})
	}
	acc := at(len(bits)/2 - 1)
	for j := len(bits)/2 - 2; j >= 0; j-- {
		acc = c.add(c.double(c.double(acc)), at(j))
	}
	// An even n: take p away again; an odd one: add the identity.
	even := c.Sub(1, bits[0])
	return c.add(acc, Point{
		X: c.Neg(c.Mul(even, p.X)),
		Y: c.Add(1, c.Mul(even, c.Sub(p.Y, 1))),
	})
}

type affine struct{ x, y *big.Int }

var (
	tablesMu sync.Mutex
	tables   = map[[2]int][][]affine{} // guarded by tablesMu
)

// baseTable returns, for window j, the multiples (2i+1) 2^(j*window) of the
// base point G of gnark-crypto's Jubjub.
func baseTable(window, windows int) [][]affine {
	tablesMu.Lock()
	defer tablesMu.Unlock()
	id := [2]int{window, windows}
	if t, ok := tables[id]; ok {
		return t
	}
	base := jubjub().Base
	out := make([][]affine, windows)
	for j := range out {
		var twice, p twistededwards.PointAffine
		twice.Double(&base)
		p.Set(&base)
		for range 1 << (window - 1) {
			out[j] = append(out[j], affine{bigOf(p.X), bigOf(p.Y)})
			p.Add(&p, &twice)
		}
		for range window {
			base.Double(&base)
		}
	}
	tables[id] = out
	return out
}

// recode spells a scalar below the group order l in signed odd digits: bits bits, windows
// of the given size. Of e and e-l, exactly one is odd; that one is spelled.
func recode(e *big.Int, window, bits int) []uint8 {
	n := new(big.Int).Set(e)
	if n.Bit(0) == 0 {
		order := jubjub().Order
		n.Sub(n, &order)
	}
	out := make([]uint8, 0, bits)
	modulus, shift := int64(1)<<(window+1), int64(1)<<window
	for len(out) < bits {
		digit := new(big.Int).Mod(n, big.NewInt(modulus)).Int64() - shift
		if len(out) == bits-window {
			digit = n.Int64() // the last digit is all that is left
		}
		n.Sub(n, big.NewInt(digit)).Rsh(n, uint(window))
		sign, size := uint8(1), digit
		if digit < 0 {
			sign, size = 0, -digit
		}
		for i := range window - 1 {
			out = append(out, uint8((size-1)/2>>i)&1)
		}
		out = append(out, sign)
	}
	return out
}
