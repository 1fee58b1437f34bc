package circuit

import (
	"math/big"
	"math/rand"
	randv2 "math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
	"github.com/consensys/gnark/constraint"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/test"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
)

// A falsehood is a false witness that one assertion alone refuses.
type falsehood struct {
	assertion string
	claim     string // the test's name: what would be possible without the assertion
	leg       circuittest.Options
	// lie turns the assigned true leg (or the honest assignment of a leg whose
	// options are already false) into the false one. Afterwards every public
	// input is computed again from the rest, unless keep is set.
	lie  func(f *forger)
	keep bool
}

// forger is what a falsehood works on: an assigned circuit, and the secrets of
// its owner, for the falsehoods that an owner could tell.
type forger struct {
	*testing.T
	*Leg
	honest *circuittest.Leg
	rng    *rand.Rand
}

// value reads an assigned variable.
func value(v frontend.Variable) fr.Element { return engineValue(v) }

func plus(v frontend.Variable, n int64) fr.Element {
	a, b := value(v), element(n)
	a.Add(&a, &b)
	return a
}

// total reads the number that bits spell.
func total(bits []frontend.Variable) fr.Element {
	var sum fr.Element
	for i := len(bits) - 1; i >= 0; i-- {
		b := value(bits[i])
		sum.Double(&sum)
		sum.Add(&sum, &b)
	}
	return sum
}

// cheat spells any field element: all of it in the lowest "bit".
func cheat(bits []frontend.Variable, x fr.Element) {
	for i := range bits {
		bits[i] = 0
	}
	bits[0] = x
}

func pow2(n uint) fr.Element {
	var e fr.Element
	e.SetBigInt(power(n))
	return e
}

func sub(a, b fr.Element) fr.Element { a.Sub(&a, &b); return a }
func sum(a, b fr.Element) fr.Element { a.Add(&a, &b); return a }
func mul(a, b fr.Element) fr.Element { a.Mul(&a, &b); return a }
func div(a, b fr.Element) fr.Element { a.Div(&a, &b); return a }

// headroom sets the headroom that the leg's values now leave.
func (f *forger) headroom() {
	room := sub(value(f.Limit), value(f.Public[inRedeemed]))
	for i, o := range f.Outputs {
		v := total(o.Value[:])
		if !(f.size.held && i == 0) {
			v = mul(v, sub(element(1), value(o.Kept)))
		}
		room = sub(room, v)
	}
	if n := bigOf(room); n.IsUint64() {
		spell(f.Headroom[:], n.Uint64())
	} else {
		cheat(f.Headroom[:], room)
	}
}

// children returns the three children of a level of an honest path whose child
// on the path is node.
func children(l Level, node fr.Element) (three [3]fr.Element, digit int) {
	a, b := value(l.Siblings[0]), value(l.Siblings[1])
	middle, right := value(l.Middle), value(l.Right)
	switch {
	case right.IsOne():
		return [3]fr.Element{a, b, node}, 2
	case middle.IsOne():
		return [3]fr.Element{a, node, b}, 1
	}
	return [3]fr.Element{node, a, b}, 0
}

// stealMiddle makes a path lead from a leaf outside the tree to the tree's root,
// by a middle flag that is neither 0 nor 1 and a right flag of 0: then the right
// child is the second sibling, left and middle add up to leaf and first sibling,
// and the flag solves for the left one.
func stealMiddle(path []Level, honest, foreign fr.Element) {
	l := &path[0]
	node, _ := children(*l, honest)
	s0 := sub(sum(node[0], node[1]), foreign)
	l.Siblings[0], l.Siblings[1] = s0, node[2]
	l.Right, l.Middle = 0, div(sub(node[0], foreign), sub(s0, foreign))
}

// stealRight does the same by the right flag x, with a middle flag of 0. The
// three equations
//
//	left = leaf + x (s0 - leaf), right = s1 + x (leaf - s1), s0 + s1 + leaf = left + middle + right
//
// are one of degree two in x; where it has no root, the next level up has one
// with even chance.
func stealRight(t *testing.T, path []Level, honest, foreign fr.Element) {
	for i := range path {
		l := &path[i]
		node, digit := children(*l, honest)
		rest := sub(sum(sum(node[0], node[1]), node[2]), foreign) // s0 + s1
		a := sub(rest, sum(foreign, foreign))
		b := sum(sub(sub(sum(foreign, foreign), rest), node[0]), node[2])
		c := sub(node[0], foreign)
		discriminant := sub(mul(b, b), mul(element(4), mul(a, c)))
		var root fr.Element
		if root.Sqrt(&discriminant) != nil {
			x := div(sub(root, b), sum(a, a))
			l.Middle, l.Right = 0, x
			l.Siblings[0] = sum(foreign, div(sub(node[0], foreign), x))
			l.Siblings[1] = div(sub(node[2], mul(x, foreign)), sub(element(1), x))
			return
		}
		honest = zk.Hash3(node[0], node[1], node[2])
		node[digit] = foreign
		foreign = zk.Hash3(node[0], node[1], node[2])
	}
	t.Fatal("no level with a root; take another seed")
}

// atDigit finds a level of an honest path with the given digit, and its children.
func atDigit(t *testing.T, path []Level, node fr.Element, want int) (*Level, [3]fr.Element) {
	for i := range path {
		three, digit := children(path[i], node)
		if digit == want {
			return &path[i], three
		}
		node = zk.Hash3(three[0], three[1], three[2])
	}
	t.Fatalf("the path has no digit %d; take another seed", want)
	return nil, [3]fr.Element{}
}

// sign makes the signature that the response bits and the key now give, for an
// owner who tells the lie: digest and response for the nonce k and a challenge
// taken out of the digest by of.
func (f *forger) sign(nonce twistededwards.PointAffine, k *big.Int, of func(digest *big.Int) *big.Int) {
	f.Nonce = Point{nonce.X, nonce.Y}
	ax, ay := f.honest.Witness.AK.XY()
	digest := bigOf(zk.Hash("sig", nonce.X, nonce.Y, ax, ay, value(f.Public[inCtx])))
	full := of(digest)
	for i := range f.Challenge {
		f.Challenge[i] = full.Bit(i)
	}
	c := new(big.Int).And(full, new(big.Int).Sub(power(challengeBits), big.NewInt(1)))
	ask := f.honest.Ask.Bytes()
	s := c.Mul(c, new(big.Int).SetBytes(ask[:]))
	s.Add(s, k).Mod(s, zk.ScalarOrder())
	spellDigits(f.Response[:], [32]byte(s.FillBytes(make([]byte, 32))), fixedWindow)
}

func itself(digest *big.Int) *big.Int { return digest }

func (f *forger) nonce() (*big.Int, twistededwards.PointAffine) {
	k := new(big.Int).Mod(bigOf(randomElement(f.rng)), zk.ScalarOrder())
	var p twistededwards.PointAffine
	p.ScalarMultiplicationBase(k)
	return k, p
}

func (f *forger) leafOf(p Point, programme fr.Element) fr.Element {
	return zk.Hash("reader", programme, value(p.X), value(p.Y))
}

func (f *forger) cm(i int) fr.Element { return f.honest.Witness.Inputs[i].Note.Commitment().Element() }

// noEarmark rewrites the leg's hidden parts for programme 0.
func (f *forger) noEarmark() {
	f.Reader = Point{f.Public[inOversightX], f.Public[inOversightY]}
	f.ProgrammeInverse = 0
	f.Alternative = f.Programme
	f.Entry, f.MaySet, f.MayRelease = 0, 1, 1
}

// inflate replaces an input by a note of the owner that does not exist, worth
// more, and gives the difference to the change output. It returns the
// commitment of the new note.
func (f *forger) inflate(input int, more uint64) (foreign fr.Element) {
	w := &f.honest.Witness
	note := w.Inputs[input].Note
	note.Value += zk.Amount(more)
	spell(f.Inputs[input].Value[:], uint64(note.Value))
	f.Inputs[input].ValueInverse = inverse(uint64(note.Value))
	last := len(f.Outputs) - 1
	spell(f.Outputs[last].Value[:], uint64(w.Outputs[last].Value)+more)
	return note.Commitment().Element()
}

// dropInput turns an input into a dummy and takes its value from the change.
func (f *forger) dropInput(i int) {
	w := &f.honest.Witness
	spell(f.Inputs[i].Value[:], 0)
	f.Inputs[i].ValueInverse = 0
	last := len(f.Outputs) - 1
	spell(f.Outputs[last].Value[:], uint64(w.Outputs[last].Value-w.Inputs[i].Note.Value))
	f.headroom()
}

// raiseLimit claims the largest limit, and returns the leaf that the registry
// holds and the one that it would have to.
func (f *forger) raiseLimit() (honest, foreign fr.Element) {
	w := &f.honest.Witness
	leaf := zk.RegistryLeaf{Owner: zk.OwnerOf(w.AK, w.NK), Status: zk.Active, Limit: w.Registry.Limit, Rights: w.Registry.Rights}
	honest = leaf.Hash()
	leaf.Limit = ^zk.Amount(0)
	f.Limit = uint64(leaf.Limit)
	f.headroom()
	return honest, leaf.Hash()
}

// ownReader puts a key of the payer's in the reader's place, and returns the
// leaf that the readers' tree holds and the one that it would have to.
func (f *forger) ownReader() (honest, foreign fr.Element) {
	p := total(f.Programme[:])
	honest = f.leafOf(f.Reader, p)
	_, key := f.nonce()
	f.Reader = Point{key.X, key.Y}
	return honest, f.leafOf(f.Reader, p)
}

func change(i int) func(f *forger) {
	return func(f *forger) { f.Public[i] = plus(f.Public[i], 1) }
}

var (
	transferShape, _ = shapeOf(zk.Transfer)
	holdShape, _     = shapeOf(zk.Hold)
	disburseShape, _ = shapeOf(zk.Disburse16)
)

var (
	plain      = circuittest.Options{Circuit: zk.Transfer}
	earmarked  = circuittest.Options{Circuit: zk.Transfer, Programme: 7}
	releasing  = circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true}
	wild       = []zk.Right{{Wildcard: true, MaySet: true, MayRelease: true}}
	issuing    = circuittest.Options{Circuit: zk.Transfer, Issued: 1000, Dummies: 2, Programme: 7}
	otherRight = circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true, Rights: []zk.Right{{Programme: 8, MayRelease: true}}}
	held       = circuittest.Options{Circuit: zk.Hold, SizeClass: 1 << 50}
)

var falsehoods = []falsehood{
	// Statement 1.
	{"S1.valueBits", "borrowing from the asset to mint 2^64", plain, func(f *forger) {
		// packed = value + 2^64 asset + ... stays the same: the note is real.
		in := &f.Inputs[0]
		v := sum(total(in.Value[:]), pow2(64))
		cheat(in.Value[:], v)
		in.ValueInverse = div(element(1), v)
		spell(f.Asset[:], uint64(f.honest.Witness.Asset)-1)
		// The second input becomes a dummy; its note is of the other asset.
		f.Inputs[1].Value, f.Inputs[1].ValueInverse = [valueBits]frontend.Variable{}, 0
		spell(f.Inputs[1].Value[:], 0)
		small := uint64(f.honest.Witness.Inputs[0].Note.Value)
		spell(f.Outputs[0].Value[:], ^uint64(0))
		spell(f.Outputs[1].Value[:], small+1)
		f.Outputs[0].Kept = 1
		f.headroom()
	}, false},
	{"S1.membership", "a note outside the tree", plain, func(f *forger) { f.inflate(0, 1000) }, false},
	{"S1.middleBit", "a third nullifier for two equal notes by a digit -1+2", plain, func(f *forger) {
		// Left and right of the lowest level hold the same commitment.
		node, l := f.cm(0), &f.Inputs[0].Path[0]
		stranger := element(5)
		f.Public[inNoteRoot] = rootOf(zk.Hash3(node, stranger, node), f.Inputs[0].Path[1:])
		l.Siblings[0], l.Siblings[1] = stranger, node
		l.Middle, l.Right = element(-1), 1
		f.dropInput(1)
	}, false},
	{"S1.rightBit", "a second nullifier for one note by a digit 1-2", plain, func(f *forger) {
		l, node := atDigit(f.T, f.Inputs[0].Path, f.cm(0), 0)
		// right = 2 s1 - node, middle = s0 - s1 + node
		s1 := div(sum(node[2], node[0]), element(2))
		l.Siblings[0], l.Siblings[1] = sub(sum(node[1], s1), node[0]), s1
		l.Middle, l.Right = 1, element(-1)
	}, false},
	{"S1.digitSum", "a second nullifier for one note by a digit 3", plain, func(f *forger) {
		l, node := atDigit(f.T, f.Inputs[0].Path, f.cm(0), 2)
		// left = 2 s0 - node, middle = s1 - s0 + node
		s0 := div(sum(node[0], node[2]), element(2))
		l.Siblings[0], l.Siblings[1] = s0, sub(sum(node[1], s0), node[2])
		l.Middle = 1
	}, false},
	{"S1.nullifier", "a nullifier of nobody's note", plain, change(transferShape.nullifier(1)), true},
	{"S1.spends", "a spent note shown to oversight as a dummy", plain, func(f *forger) { f.Inputs[1].ValueInverse = 0 }, false},

	// Statement 2.
	{"S2.responseBits", "a signature without the key by fractional digits", plain, func(f *forger) {
		// Any nonce; the last window supplies whatever point is missing.
		nonce, windows := f.Nonce, scalarBits/fixedWindow
		for i := range f.Response {
			f.Response[i] = 1
		}
		r := twistededwards.PointAffine{X: value(nonce.X), Y: value(nonce.Y)}
		var before twistededwards.PointAffine
		before.X.SetZero()
		before.Y.SetOne()
		for _, table := range baseTable(fixedWindow, windows)[:windows-1] {
			last := table[len(table)-1]
			var p twistededwards.PointAffine
			p.X.SetBigInt(last.x)
			p.Y.SetBigInt(last.y)
			before.Add(&before, &p)
		}
		// missing = R + c AK - before
		var c big.Int
		for i := challengeBits - 1; i >= 0; i-- {
			b := value(f.Challenge[i])
			c.Lsh(&c, 1)
			if b.IsOne() {
				c.SetBit(&c, 0, 1)
			}
		}
		ak := twistededwards.PointAffine{X: value(f.Key.X), Y: value(f.Key.Y)}
		ak.ScalarMultiplication(&ak, &c)
		before.Neg(&before)
		r.Add(&r, &ak)
		r.Add(&r, &before)
		table := baseTable(fixedWindow, windows)[windows-1]
		var x0, y0, x1, y1 fr.Element
		x0.SetBigInt(table[0].x)
		y0.SetBigInt(table[0].y)
		x1.SetBigInt(table[1].x)
		y1.SetBigInt(table[1].y)
		w := f.Response[(windows-1)*fixedWindow:]
		b0 := div(sub(r.Y, y0), sub(y1, y0))
		x := sum(x0, mul(b0, sub(x1, x0)))
		w[0], w[1], w[2] = b0, 0, 0
		w[3] = div(sum(div(r.X, x), element(1)), element(2))
	}, true},
	{"S2.challengeSum", "a signature without the key by a challenge of zero", plain, func(f *forger) {
		k, p := f.nonce()
		f.Nonce = Point{p.X, p.Y}
		for i := range f.Challenge {
			f.Challenge[i] = 0
		}
		spellDigits(f.Response[:], [32]byte(k.FillBytes(make([]byte, 32))), fixedWindow)
	}, true},
	{"S2.challengeBits", "a signature without the key by a fractional challenge", plain, func(f *forger) {
		k, p := f.nonce()
		f.sign(p, k, itself) // for the digest
		digest := total(f.Challenge[:])
		for i := range f.Challenge {
			f.Challenge[i] = 0
		}
		f.Challenge[fieldBits-1] = div(digest, pow2(fieldBits-1))
		spellDigits(f.Response[:], [32]byte(k.FillBytes(make([]byte, 32))), fixedWindow)
	}, true},
	{"S2.challengeCanonical", "a second challenge for one digest", plain, func(f *forger) {
		for {
			k, p := f.nonce()
			alias := false
			f.sign(p, k, func(digest *big.Int) *big.Int {
				wrapped := new(big.Int).Add(digest, fr.Modulus())
				alias = wrapped.BitLen() <= fieldBits
				return wrapped
			})
			if alias {
				return
			}
		}
	}, true},
	{"S2.signatureX", "another x of the nonce", plain, func(f *forger) {
		k, p := f.nonce()
		one := fr.One()
		p.X.Add(&p.X, &one)
		f.sign(p, k, itself)
	}, true},
	{"S2.signatureY", "another y of the nonce", plain, func(f *forger) {
		k, p := f.nonce()
		one := fr.One()
		p.Y.Add(&p.Y, &one)
		f.sign(p, k, itself)
	}, true},

	// Statement 3.
	{"S3.registered", "a limit that the registry does not hold", circuittest.Options{Circuit: zk.Transfer, Limit: 1}, func(f *forger) {
		f.Limit = ^uint64(0)
		f.headroom()
	}, false},
	{"S3.registered", "a frozen owner", circuittest.Options{Circuit: zk.Transfer, Status: zk.Frozen}, nil, false},
	{"S3.middleBit", "a limit from outside the registry by a fractional middle flag", circuittest.Options{Circuit: zk.Transfer, Limit: 1}, func(f *forger) {
		honest, foreign := f.raiseLimit()
		stealMiddle(f.Registration, honest, foreign)
	}, false},
	{"S3.rightBit", "a limit from outside the registry by a fractional right flag", circuittest.Options{Circuit: zk.Transfer, Limit: 1}, func(f *forger) {
		honest, foreign := f.raiseLimit()
		stealRight(f.T, f.Registration, honest, foreign)
	}, false},
	{"S3.headroomBits", "over the limit by a negative headroom", circuittest.Options{Circuit: zk.Transfer, Limit: 1}, (*forger).headroom, false},
	{"S3.limit", "over the limit", circuittest.Options{Circuit: zk.Transfer, Limit: 1}, nil, false},
	{"S3.limit", "a hold to oneself over the limit", circuittest.Options{Circuit: zk.Hold, Limit: 1}, func(f *forger) {
		f.Outputs[0].Kept = 1
	}, false},
	{"S3.keptBit", "a payment that counts against the limit in reverse", circuittest.Options{Circuit: zk.Transfer, Limit: 1}, func(f *forger) {
		o := &f.Outputs[0]
		o.Kept = 2
		offset := value(o.Offset)
		o.Offset = *offset.Neg(&offset)
		f.headroom()
	}, false},

	// Statement 4.
	{"S4.assetBits", "an earmark moved into the asset", circuittest.Options{Circuit: zk.Transfer, Programme: 1}, func(f *forger) {
		// 2^64 (asset + 2^32) + 2^96 (p - 1): the same packed word.
		cheat(f.Asset[:], sum(total(f.Asset[:]), pow2(32)))
		spell(f.Programme[:], 0)
		f.noEarmark()
	}, false},
	{"S4.valueBits", "a negative output", plain, func(f *forger) {
		a, b := total(f.Outputs[0].Value[:]), total(f.Outputs[1].Value[:])
		cheat(f.Outputs[1].Value[:], element(-5))
		f.Outputs[1].Kept = 1
		spell(f.Outputs[0].Value[:], bigOf(sum(sum(a, b), element(5))).Uint64())
		f.headroom()
	}, false},
	{"S4.balance", "an output out of nothing", plain, func(f *forger) {
		f.inflate(0, 0)
		spell(f.Outputs[1].Value[:], uint64(f.honest.Witness.Outputs[1].Value)+1)
	}, false},
	{"S4.oneDirection", "issued and redeemed in one leg", issuing, func(f *forger) {
		f.Public[inIssued] = plus(f.Public[inIssued], 5)
		f.Public[inRedeemed] = plus(f.Public[inRedeemed], 5)
		amount := sum(value(f.Public[inIssued]), value(f.Public[inRedeemed]))
		f.AmountInverse = div(element(1), amount)
		f.headroom()
	}, false},
	{"S4.shownAsset", "issuing another asset than shown", issuing, change(inAsset), false},
	{"S4.shownProgramme", "issuing for another programme than shown", issuing, change(inProgramme), false},
	{"S4.hiddenAsset", "an asset shown by a leg that issues nothing", plain, change(inAsset), false},
	{"S4.hiddenProgramme", "a programme shown by a leg that issues nothing", plain, change(inProgramme), false},

	// Statement 5.
	{"S5.programmeBits", "a programme beyond 64 bits", circuittest.Options{Circuit: zk.Transfer, Programme: 7, Dummies: 2, Release: true, Rights: wild}, func(f *forger) {
		// It breaks the note's tag, under a readers' tree that holds such a
		// programme. No honest ledger's does: this assertion is the second lock.
		p := sum(pow2(64), element(7))
		cheat(f.Programme[:], p)
		f.ProgrammeInverse = div(element(1), p)
		f.Public[inReadersRoot] = rootOf(f.leafOf(f.Reader, p), f.Reading)
	}, false},
	{"S5.alternativeBits", "a wildcard that forges the packed value", circuittest.Options{Circuit: zk.Transfer, Set: 9, Rights: wild}, func(f *forger) {
		// value + 2^96 alternative = 10^18 + value, and no programme.
		cheat(f.Alternative[:], div(element(1e18), pow2(96)))
	}, false},
	{"S5.crossesBit", "a programme between two", releasing, func(f *forger) { f.Outputs[0].Crosses = 2 }, false},
	{"S5.oneEarmark", "one programme turned into another", circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true, Rights: wild}, func(f *forger) {
		spell(f.Alternative[:], 9)
	}, false},
	{"S5.entry", "a right for another programme", otherRight, nil, false},
	{"S5.maySetBit", "a right to set read as one to release", circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true,
		Rights: []zk.Right{{Programme: 7, MaySet: true}}}, func(f *forger) {
		f.MaySet, f.MayRelease = element(-1), 1 // -1 + 2*1 = 1
	}, false},
	{"S5.mayReleaseBit", "a right to release read as one to set", circuittest.Options{Circuit: zk.Transfer, Set: 7,
		Rights: []zk.Right{{Programme: 7, MayRelease: true}}}, func(f *forger) {
		f.MaySet, f.MayRelease = 1, div(element(1), element(2)) // 1 + 2/2 = 2
	}, false},
	{"S5.mayRelease", "release without the right", circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true,
		Rights: []zk.Right{{Programme: 7, MaySet: true}}}, nil, false},
	{"S5.maySet", "set without the right", circuittest.Options{Circuit: zk.Transfer, Set: 7,
		Rights: []zk.Right{{Programme: 7, MayRelease: true}}}, nil, false},
	{"S5.right", "a right that the owner was never given", circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true,
		Rights: []zk.Right{}}, func(f *forger) {
		f.Entry, f.MaySet, f.MayRelease = 7, 0, 1
	}, false},
	{"S5.middleBit", "a right from outside the tree by a fractional middle flag", otherRight, func(f *forger) {
		f.Entry = 7
		stealMiddle(f.Right, zk.Right{Programme: 8, MayRelease: true}.Leaf(), zk.Right{Programme: 7, MayRelease: true}.Leaf())
	}, false},
	{"S5.rightBit", "a right from outside the tree by a fractional right flag", otherRight, func(f *forger) {
		f.Entry = 7
		stealRight(f.T, f.Right, zk.Right{Programme: 8, MayRelease: true}.Leaf(), zk.Right{Programme: 7, MayRelease: true}.Leaf())
	}, false},

	// Statement 6.
	{"S6.secretBits", "a key that oversight cannot derive", plain, func(f *forger) { f.Secret[0] = 2 }, false},
	{"S6.epkX", "a wrong x of epk", plain, change(inEpkX), true},
	{"S6.epkY", "a wrong y of epk", plain, change(inEpkY), true},
	{"S6.commitment", "a commitment to something else", plain, change(transferShape.commitment(1)), true},
	{"S6.cipher0", "a ciphertext of another value", plain, change(transferShape.cipher(1)), true},
	{"S6.cipher1", "a ciphertext of another owner", plain, change(transferShape.cipher(1) + 1), true},
	{"S6.sender0", "a ciphertext of another sender", plain, change(inSender), true},
	{"S6.sender1", "a ciphertext of other inputs", plain, change(inSender + 1), true},
	{"S6.sender2", "a ciphertext of another eighth input", circuittest.Options{Circuit: zk.Consolidate}, change(inSender + 2), true},

	// Statement 7.
	{"S7.reader", "a reader of the payer's own making", earmarked, func(f *forger) { f.ownReader() }, false},
	{"S7.middleBit", "a reader from outside the tree by a fractional middle flag", earmarked, func(f *forger) {
		honest, foreign := f.ownReader()
		stealMiddle(f.Reading, honest, foreign)
	}, false},
	{"S7.rightBit", "a reader from outside the tree by a fractional right flag", earmarked, func(f *forger) {
		honest, foreign := f.ownReader()
		stealRight(f.T, f.Reading, honest, foreign)
	}, false},
	{"S7.fallbackX", "unmarked money wrapped to a mirrored key", plain, func(f *forger) {
		x := value(f.Reader.X)
		f.Reader.X = *x.Neg(&x)
	}, false},
	{"S7.fallbackY", "unmarked money wrapped to the key's other mirror", plain, func(f *forger) {
		y := value(f.Reader.Y)
		f.Reader.Y = *y.Neg(&y)
	}, false},
	{"S7.wrap", "a key wrapped wrongly", plain, change(inWrap), true},

	// Statements 8 and 9.
	{"S8.return", "a return to somebody else", held, change(holdShape.returned()), true},
	{"S8.gapBits", "more than the size class by a negative gap", circuittest.Options{Circuit: zk.Hold, SizeClass: 1}, func(f *forger) {
		cheat(f.Held[0].SizeGap[:], sub(element(1), total(f.Outputs[0].Value[:])))
	}, false},
	{"S8.sizeClass", "more than the size class", circuittest.Options{Circuit: zk.Hold, SizeClass: 1}, nil, false},
	{"S9.subtreeRoot", "another subtree than the outputs'", circuittest.Options{Circuit: zk.Disburse16}, change(disburseShape.subtreeRoot()), true},
}

// rootOf hashes a leaf up an assigned path.
func rootOf(leaf fr.Element, path []Level) fr.Element {
	for _, l := range path {
		three, _ := children(l, leaf)
		leaf = zk.Hash3(three[0], three[1], three[2])
	}
	return leaf
}

func trueLeg(t testing.TB, o circuittest.Options, seed byte) *circuittest.Leg {
	t.Helper()
	leg, err := circuittest.Build(randv2.NewChaCha8([32]byte{seed}), o)
	if err != nil {
		t.Fatal(err)
	}
	return leg
}

func assigned(t testing.TB, leg *circuittest.Leg) *Leg {
	t.Helper()
	c, err := Assign(&leg.Witness)
	if err != nil {
		t.Fatal(err)
	}
	return c.(*Leg)
}

// fullSystem compiles each circuit once for all tests.
var fullSystem = func() func(t testing.TB, id zk.CircuitID) constraint.ConstraintSystem {
	var mu sync.Mutex
	systems := map[zk.CircuitID]constraint.ConstraintSystem{}
	return func(t testing.TB, id zk.CircuitID) constraint.ConstraintSystem {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if systems[id] == nil {
			cs, err := Compile(id)
			if err != nil {
				t.Fatal(err)
			}
			systems[id] = cs
		}
		return systems[id]
	}
}()

// compute sets every proven public input to what the rest of the leg gives, by
// running the circuit without assertions on gnark's test engine.
func compute(t testing.TB, l *Leg) {
	t.Helper()
	for range 2 { // the keystream depends on the first nullifier
		clone := empty(l.size)
		clone.hooks = &hooks{mute: true, repair: func(i int, v frontend.Variable) { l.Public[i] = engineValue(v) }}
		if err := test.IsSolved(clone, l, ecc.BLS12_381.ScalarField()); err != nil {
			t.Fatalf("compute public inputs: %v", err)
		}
	}
}

func TestEveryAssertionIsNeeded(t *testing.T) {
	for _, f := range falsehoods {
		t.Run(f.claim, func(t *testing.T) {
			honest := trueLeg(t, f.leg, 1)
			l := assigned(t, honest)
			if f.lie != nil {
				f.lie(&forger{T: t, Leg: l, honest: honest, rng: rand.New(rand.NewSource(1))})
			}
			if !f.keep {
				compute(t, l)
			}
			without := empty(l.size)
			without.hooks = &hooks{omit: f.assertion}
			cs, err := compile(without, frontend.IgnoreUnconstrainedInputs())
			if err != nil {
				t.Fatal(err)
			}
			if err := solve(cs, l); err != nil {
				t.Fatalf("without %s the false witness should solve: %v", f.assertion, err)
			}
			if solve(fullSystem(t, f.leg.Circuit), l) == nil {
				t.Fatalf("with %s the false witness is accepted", f.assertion)
			}
		})
	}
}

// The group law holds on the curve alone: off it, "c*AK" is some function of c,
// and what is signed is nobody's choice. With the challenge cut to 8 bits, so
// that guessing it takes 256 tries, a key off the curve signs without a secret.
func TestKeyOffTheCurveIsRefused(t *testing.T) {
	const short = 8
	honest := trueLeg(t, circuittest.Options{Circuit: zk.Transfer, Dummies: 2}, 1)
	l := assigned(t, honest)
	l.size.challenge = short

	key := Point{element(5), element(7)}
	own := zk.Hash("own", element(5), element(7), value(l.NullifierKey))
	l.Key = key
	leaf := zk.Hash("reg", own, element(1), value(l.Limit), value(l.Rights))
	l.Public[inRegistryRoot] = rootOf(leaf, l.Registration)
	computed := func(c *checks, in []frontend.Variable) []frontend.Variable {
		start := c.negate(c.mulShort(in[:short], key))
		p := c.mulFixed(in[short:], fixedWindow, &start)
		return []frontend.Variable{p.X, p.Y}
	}
	rng := rand.New(rand.NewSource(2))
	for try := 0; ; try++ {
		if try == 10_000 {
			t.Fatal("no luck in 10,000 tries")
		}
		in := make([]fr.Element, short+scalarBits)
		for i := range in {
			in[i] = element(rng.Int63() & 1)
		}
		r := evaluate(t, computed, "", in)
		digest := bigOf(zk.Hash("sig", r[0], r[1], element(5), element(7), value(l.Public[inCtx])))
		lucky := true
		for i := range short {
			lucky = lucky && element(int64(digest.Bit(i))) == in[i]
		}
		if !lucky {
			continue
		}
		l.Nonce = Point{r[0], r[1]}
		for i := range l.Challenge {
			l.Challenge[i] = digest.Bit(i)
		}
		for i := range l.Response {
			l.Response[i] = in[short+i]
		}
		break
	}
	compute(t, l)

	without := empty(l.size)
	without.hooks = &hooks{omit: "S2.keyOnCurve"}
	cs, err := compile(without)
	if err != nil {
		t.Fatal(err)
	}
	if err := solve(cs, l); err != nil {
		t.Fatalf("without S2.keyOnCurve the false witness should solve: %v", err)
	}
	if cs, err = compile(empty(l.size)); err != nil {
		t.Fatal(err)
	}
	if solve(cs, l) == nil {
		t.Fatal("a key off the curve is accepted")
	}
}

// assertionsOf lists the assertions of a circuit by name, sorted, each once.
func assertionsOf(t testing.TB, id zk.CircuitID) []string {
	t.Helper()
	seen := map[string]bool{}
	l := New(id).(*Leg)
	l.hooks = &hooks{observe: func(name string) { seen[name] = true }}
	if _, err := compile(l); err != nil {
		t.Fatal(err)
	}
	var names []string
	for name := range seen {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func testName(claim string) string { return strings.ReplaceAll(claim, " ", "_") }
