package circuit

import (
	"bytes"
	"math/big"
	"math/rand"
	randv2 "math/rand/v2"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
	"github.com/consensys/gnark/frontend"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
)

// Every public input of every circuit is bound: with an earmarked leg of real
// notes, no input may change, also not one that looks unused (ctx, or asset
// and programme that are 0).
func TestAChangedPublicInputIsRefused(t *testing.T) {
	for _, id := range zk.Circuits() {
		t.Run(id.String(), func(t *testing.T) {
			l := assigned(t, trueLeg(t, circuittest.Options{Circuit: id, Programme: 7, SizeClass: 1 << 60}, 3))
			cs := fullSystem(t, id)
			w, err := frontend.NewWitness(l, ecc.BLS12_381.ScalarField())
			if err != nil {
				t.Fatal(err)
			}
			vector := w.Vector().(fr.Vector) // shared: a change here is a change of w
			if err := cs.IsSolved(w); err != nil {
				t.Fatal(err)
			}
			one := fr.One()
			for i := range l.Public {
				honest := vector[i]
				vector[i].Add(&vector[i], &one)
				if cs.IsSolved(w) == nil {
					t.Errorf("public input %d may change", i)
				}
				vector[i] = honest
			}
		})
	}
}

// Nothing secret is free either: with every part of the statement in use, no
// secret input that is not a bit may change alone.
func TestAChangedSecretInputIsRefused(t *testing.T) {
	l := assigned(t, trueLeg(t, circuittest.Options{Circuit: zk.Hold, Programme: 7, Release: true, Issued: 5}, 3))
	cs := fullSystem(t, zk.Hold)
	w, err := frontend.NewWitness(l, ecc.BLS12_381.ScalarField())
	if err != nil {
		t.Fatal(err)
	}
	if err := cs.IsSolved(w); err != nil {
		t.Fatal(err)
	}
	vector := w.Vector().(fr.Vector)
	one, tried := fr.One(), 0
	for i := len(l.Public); i < len(vector); i++ {
		honest := vector[i]
		if honest.IsZero() || honest.IsOne() {
			continue
		}
		tried++
		vector[i].Add(&vector[i], &one)
		if cs.IsSolved(w) == nil {
			t.Errorf("secret input %d may change", i-len(l.Public))
		}
		vector[i] = honest
	}
	if tried < 50 {
		t.Errorf("only %d inputs tried", tried)
	}
	t.Logf("%d inputs tried", tried)
}

// The same leg with a public input that the leg does not speak about: what the
// circuit leaves to the ledger, so that nobody takes it for proven.
func TestWhatDummiesAndUnmarkedMoneyDoNotBind(t *testing.T) {
	unbound := func(o circuittest.Options, index int) {
		t.Helper()
		l := assigned(t, trueLeg(t, o, 3))
		l.Public[index] = plus(l.Public[index], 1)
		if err := solve(fullSystem(t, o.Circuit), l); err != nil {
			t.Errorf("public input %d is bound after all: %v", index, err)
		}
	}
	unbound(circuittest.Options{Circuit: zk.Transfer, Dummies: 2, Issued: 5}, inNoteRoot)
	unbound(circuittest.Options{Circuit: zk.Transfer}, inReadersRoot)
}

func TestValuesOutsideTheirRangeAreRefused(t *testing.T) {
	minusOne := element(-1)
	wrapped := new(fr.Element).SetBigInt(new(big.Int).Sub(fr.Modulus(), power(63)))
	bads := map[string]fr.Element{"2^64": pow2(64), "r-1": minusOne, "r-2^63": *wrapped}
	places := map[string]func(l *Leg) []frontend.Variable{
		"input value":    func(l *Leg) []frontend.Variable { return l.Inputs[1].Value[:] },
		"dummy value":    func(l *Leg) []frontend.Variable { return l.Inputs[0].Value[:] },
		"held value":     func(l *Leg) []frontend.Variable { return l.Outputs[0].Value[:] },
		"output value":   func(l *Leg) []frontend.Variable { return l.Outputs[1].Value[:] },
		"asset":          func(l *Leg) []frontend.Variable { return l.Asset[:] },
		"programme":      func(l *Leg) []frontend.Variable { return l.Programme[:] },
		"alternative":    func(l *Leg) []frontend.Variable { return l.Alternative[:] },
		"headroom":       func(l *Leg) []frontend.Variable { return l.Headroom[:] },
		"size class gap": func(l *Leg) []frontend.Variable { return l.Held[0].SizeGap[:] },
	}
	honest := trueLeg(t, circuittest.Options{Circuit: zk.Hold, SizeClass: 1 << 50}, 4)
	cs := fullSystem(t, zk.Hold)
	for place, of := range places {
		for name, bad := range bads {
			l := assigned(t, honest)
			cheat(of(l), bad)
			compute(t, l)
			if solve(cs, l) == nil {
				t.Errorf("%s %s is accepted", place, name)
			}
		}
	}
}

// Two notes alike in everything lie at two positions and have two nullifiers
// ("faerie gold" does not turn to leaves). One note taken twice has one, and a
// leg that spends it twice solves: the ledger compares nullifiers as bytes,
// inside a leg too (DESIGN, statement 1).
func TestEqualNotesHaveTheirOwnNullifiers(t *testing.T) {
	// A note tree of two equal notes beside each other.
	leg := trueLeg(t, circuittest.Options{Circuit: zk.Transfer}, 5)
	w := &leg.Witness
	a := w.Inputs[0]
	a.Path, a.Index = zk.EmptyPath(zk.NoteDepth), 0
	b := a
	b.Path = zk.EmptyPath(zk.NoteDepth)
	b.Path.Digits[0], b.Index = 1, 1
	cm := a.Note.Commitment().Element()
	a.Path.Siblings[0][0], b.Path.Siblings[0][0] = cm, cm
	w.Public.NoteRoot = zk.RootFromElement(a.Path.Root(cm))
	old := w.Inputs[1].Note.Value
	last := len(w.Outputs) - 1
	w.Outputs[last].Value = w.Outputs[last].Value - old + a.Note.Value

	for name, inputs := range map[string][]zk.InputWitness{"two equal notes": {a, b}, "one note twice": {a, a}} {
		w.Inputs = inputs
		l := assigned(t, leg)
		compute(t, l)
		if err := solve(fullSystem(t, zk.Transfer), l); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		first, second := value(l.Public[transferShape.nullifier(0)]), value(l.Public[transferShape.nullifier(1)])
		if equal := first == second; equal != (name == "one note twice") {
			t.Errorf("%s: nullifiers equal: %v", name, equal)
		}
	}
}

// Two outputs alike in value, programme and owner have nothing alike in public:
// each has its own lanes, and so its own rho.
func TestOutputsToOneOwnerShareNoKeystream(t *testing.T) {
	leg := trueLeg(t, circuittest.Options{Circuit: zk.Transfer, Dummies: 2, Issued: 2000}, 5)
	l := assigned(t, leg)
	for i := range l.Outputs {
		spell(l.Outputs[i].Value[:], 1000)
		l.Outputs[i].Kept = 1
	}
	spell(l.Headroom[:], uint64(leg.Witness.Registry.Limit))
	compute(t, l)
	if err := solve(fullSystem(t, zk.Transfer), l); err != nil {
		t.Fatal(err)
	}
	s := transferShape
	for _, pair := range [][2]int{
		{s.commitment(0), s.commitment(1)}, {s.cipher(0), s.cipher(1)}, {s.cipher(0) + 1, s.cipher(1) + 1},
	} {
		if value(l.Public[pair[0]]) == value(l.Public[pair[1]]) {
			t.Errorf("public inputs %d and %d are equal", pair[0], pair[1])
		}
	}
}

// A key of small order makes the shared point one of eight, and the keystream
// anybody's. The circuit does not look: the formulas are complete, the leg
// solves. So the ledger must never let such a key in, and zk.ParsePoint, the one
// way to a zk.Point, does not.
func TestSmallOrderKeysAreLeftToTheLedger(t *testing.T) {
	rng := rand.New(rand.NewSource(8))
	small := torsion(t, rng)
	mixed := randomPoint(rng)
	mixed.Add(&mixed, &small)
	for name, p := range map[string]twistededwards.PointAffine{"order 8": small, "order 8l": mixed} {
		for _, o := range []circuittest.Options{{Circuit: zk.Transfer}, {Circuit: zk.Transfer, Programme: 7}} {
			l := assigned(t, trueLeg(t, o, 6))
			l.Reader = Point{p.X, p.Y}
			if o.Programme == 0 {
				l.Public[inOversightX], l.Public[inOversightY] = p.X, p.Y
			} else {
				l.Public[inReadersRoot] = rootOf(zk.Hash("reader", element(7), p.X, p.Y), l.Reading)
			}
			compute(t, l)
			if err := solve(fullSystem(t, zk.Transfer), l); err != nil {
				t.Errorf("%s, programme %d: %v", name, o.Programme, err)
			}
		}
		if _, err := zk.PointFromXY(p.X, p.Y); err == nil {
			t.Errorf("%s: taken for a key", name)
		}
	}
}

// gnark's NewWitness would reduce x+r to x without a word.
func TestAssignRefusesWhatIsNotCanonical(t *testing.T) {
	alias := func(b *[32]byte) {
		n := new(big.Int).SetBytes(b[:])
		n.Add(n, fr.Modulus())
		if n.BitLen() > 256 {
			t.Fatal("no alias below 2^256")
		}
		n.FillBytes(b[:])
	}
	cases := map[string]func(w *zk.LegWitness){
		"note root":             func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.NoteRoot)) },
		"registry root":         func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.RegistryRoot)) },
		"readers root":          func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.ReadersRoot)) },
		"ctx":                   func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Ctx)) },
		"epk x":                 func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Epk[0])) },
		"epk y":                 func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Epk[1])) },
		"wrap":                  func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Wrap)) },
		"sender":                func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Sender[1])) },
		"nullifier":             func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Nullifiers[1])) },
		"commitment":            func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Commitments[1])) },
		"ciphertext 0":          func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Cipher[1][0])) },
		"ciphertext 1":          func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.Cipher[1][1])) },
		"return commitment":     func(w *zk.LegWitness) { alias((*[32]byte)(&w.Public.ReturnCommitment)) },
		"rights root":           func(w *zk.LegWitness) { alias((*[32]byte)(&w.Registry.Rights)) },
		"rho":                   func(w *zk.LegWitness) { alias((*[32]byte)(&w.Inputs[0].Note.Rho)) },
		"owner":                 func(w *zk.LegWitness) { alias((*[32]byte)(&w.Outputs[0].Owner)) },
		"response":              func(w *zk.LegWitness) { w.Signature.S = [32]byte(zk.ScalarOrder().FillBytes(make([]byte, 32))) },
		"no oversight key":      func(w *zk.LegWitness) { w.Public.OversightKey = zk.Point{} },
		"no reader key":         func(w *zk.LegWitness) { w.Reader.Key = zk.Point{} },
		"no signing key":        func(w *zk.LegWitness) { w.AK = zk.Point{} },
		"no nonce":              func(w *zk.LegWitness) { w.Signature.R = zk.Point{} },
		"no nullifier key":      func(w *zk.LegWitness) { w.NK = zk.NullifierKey{} },
		"no e":                  func(w *zk.LegWitness) { w.E = zk.Scalar{} },
		"a digit 3":             func(w *zk.LegWitness) { w.Registry.Path.Digits[4] = 3 },
		"an index elsewhere":    func(w *zk.LegWitness) { w.Inputs[0].Index++ },
		"a short note path":     func(w *zk.LegWitness) { w.Inputs[0].Path.Digits = w.Inputs[0].Path.Digits[1:] },
		"a short rights path":   func(w *zk.LegWitness) { w.Right.Path.Siblings = nil },
		"a long readers' path":  func(w *zk.LegWitness) { w.Reader.Path = zk.EmptyPath(zk.ReaderDepth + 1) },
		"too few inputs":        func(w *zk.LegWitness) { w.Inputs = w.Inputs[1:] },
		"too many outputs":      func(w *zk.LegWitness) { w.Outputs = append(w.Outputs, w.Outputs[0]) },
		"too few nullifiers":    func(w *zk.LegWitness) { w.Public.Nullifiers = w.Public.Nullifiers[1:] },
		"too many sender parts": func(w *zk.LegWitness) { w.Public.Sender = append(w.Public.Sender, zk.Field{}) },
		"unknown circuit":       func(w *zk.LegWitness) { w.Public.Circuit = 77 },
	}
	for name, spoil := range cases {
		leg := trueLeg(t, circuittest.Options{Circuit: zk.Hold, Programme: 7}, 2)
		spoil(&leg.Witness)
		if _, err := Assign(&leg.Witness); err == nil {
			t.Errorf("%s: assigned", name)
		}
	}
}

// A false statement in good form is assigned, for the solver to refuse.
func TestFalseStatementsAreAssignedAndDoNotSolve(t *testing.T) {
	cases := map[string]circuittest.Options{
		"frozen":          {Circuit: zk.Transfer, Status: zk.Frozen},
		"over the limit":  {Circuit: zk.Transfer, Limit: 1},
		"over size class": {Circuit: zk.Hold, SizeClass: 1},
		"no right":        {Circuit: zk.Transfer, Programme: 7, Release: true, Rights: []zk.Right{}},
		"other right":     {Circuit: zk.Transfer, Set: 7, Rights: []zk.Right{{Programme: 7, MayRelease: true}}},
		"both directions": {Circuit: zk.Transfer, Issued: 5, Redeemed: 5},
	}
	for name, o := range cases {
		l := assigned(t, trueLeg(t, o, 9))
		if solve(fullSystem(t, o.Circuit), l) == nil {
			t.Errorf("%s: solves", name)
		}
	}
}

func TestCompilationIsRepeatable(t *testing.T) {
	var first, second bytes.Buffer
	if _, err := fullSystem(t, zk.Transfer).WriteTo(&first); err != nil {
		t.Fatal(err)
	}
	again, err := Compile(zk.Transfer)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := again.WriteTo(&second); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first.Bytes(), second.Bytes()) {
		t.Error("two compilations differ")
	}
}

func TestUnknownCircuitsAreRefused(t *testing.T) {
	if _, err := Compile(0); err == nil {
		t.Error("circuit 0 compiles")
	}
	defer func() {
		if recover() == nil {
			t.Error("New(6) returns")
		}
	}()
	New(6)
}

// Twins with package zk itself: hash, lanes and signature.
func TestHashesAreThoseOfZK(t *testing.T) {
	rng := rand.New(rand.NewSource(10))
	for n := 1; n <= 6; n++ {
		cs := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
			return []frontend.Variable{c.hash("kdf", in...)}
		}, "", n, 1)
		in := make([]fr.Element, n)
		for i := range in {
			in[i] = randomElement(rng)
		}
		twin(t, cs, in, []fr.Element{zk.Hash("kdf", in...)})
	}
	for _, index := range []int{0, 63, senderLane, returnLane} {
		cs := compileGadget(t, func(c *checks, in []frontend.Variable) []frontend.Variable {
			out := c.lanes(in[0], index)
			return out[:]
		}, "", 1, 3)
		k := randomElement(rng)
		lanes := zk.Lanes(k, uint64(index))
		twin(t, cs, []fr.Element{k}, lanes[:])
	}
}

func TestSignaturesAreThoseOfZK(t *testing.T) {
	f := func(c *checks, in []frontend.Variable) []frontend.Variable {
		c.verify(Point{in[0], in[1]}, Point{in[2], in[3]}, in[5:5+scalarBits], in[5+scalarBits:], in[4], challengeBits)
		return nil
	}
	cs := compileGadget(t, f, "", 5+scalarBits+fieldBits, 0)
	t.Logf("a signature costs %d constraints", cs.GetNbConstraints())
	source := randv2.NewChaCha8([32]byte{11})
	for try := range 6 {
		ask, err := zk.NewScalar(source)
		if err != nil {
			t.Fatal(err)
		}
		message := element(int64(try))
		sig := zk.Sign(ask, message, source)
		key := ask.Base()
		spoiled := []func(){
			func() {}, func() { message = element(99) }, func() { sig.S[31] ^= 1 }, func() { sig.R = key }, func() { key = sig.R },
		}
		if try < len(spoiled) {
			spoiled[try]()
		}
		kx, ky := key.XY()
		rx, ry := sig.R.XY()
		digest := bigOf(zk.Hash("sig", rx, ry, kx, ky, message))
		in := []fr.Element{kx, ky, rx, ry, message}
		in = append(in, elements(recode(new(big.Int).SetBytes(sig.S[:]), fixedWindow, scalarBits))...)
		for i := range fieldBits {
			in = append(in, element(int64(digest.Bit(i))))
		}
		native, circuit := zk.VerifySignature(key, message, sig), solveGadget(cs, in, nil) == nil
		if native != circuit || native != (try == 0 || try == 5) {
			t.Errorf("signature %d: native %v, circuit %v", try, native, circuit)
		}
	}
}
