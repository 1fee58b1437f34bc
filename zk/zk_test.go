package zk

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr/poseidon2"
	te "github.com/consensys/gnark-crypto/ecc/bls12-381/twistededwards"
	"golang.org/x/crypto/sha3"
	"pgregory.net/rapid"
)

// reference is Poseidon2 with math/big and nothing else, written from the paper: the independent side of Z1.1 to Z1.3.
type reference struct {
	r       *big.Int
	full    [8][3]*big.Int
	partial [56]*big.Int
}

func newReference() *reference {
	r, _ := new(big.Int).SetString("73eda753299d7d483339d80809a1d80553bda402fffe5bfeffffffff00000001", 16)
	p := &reference{r: r}
	state := keccak([]byte("Poseidon2-BLS12_381[t=3,rF=8,rP=56,d=5]"))
	next := func() *big.Int {
		state = keccak(state)
		return new(big.Int).Mod(new(big.Int).SetBytes(state), r)
	}
	for i := range 4 {
		p.full[i] = [3]*big.Int{next(), next(), next()}
	}
	for i := range p.partial {
		p.partial[i] = next()
	}
	for i := 4; i < 8; i++ {
		p.full[i] = [3]*big.Int{next(), next(), next()}
	}
	return p
}

func keccak(b []byte) []byte {
	h := sha3.NewLegacyKeccak256()
	h.Write(b)
	return h.Sum(nil)
}

func (p *reference) permute(in [3]*big.Int) [3]*big.Int {
	mul := func(m [3][3]int64, v [3]*big.Int) (out [3]*big.Int) {
		for i := range out {
			out[i] = new(big.Int)
			for j := range v {
				out[i].Add(out[i], new(big.Int).Mul(big.NewInt(m[i][j]), v[j]))
			}
			out[i].Mod(out[i], p.r)
		}
		return out
	}
	ext := [3][3]int64{{2, 1, 1}, {1, 2, 1}, {1, 1, 2}}
	inn := [3][3]int64{{2, 1, 1}, {1, 2, 1}, {1, 1, 3}}
	pow5 := func(x *big.Int) *big.Int { return new(big.Int).Exp(x, big.NewInt(5), p.r) }
	v := mul(ext, in)
	round := func(k [3]*big.Int) {
		for j := range v {
			v[j] = pow5(new(big.Int).Add(v[j], k[j]))
		}
		v = mul(ext, v)
	}
	for i := range 4 {
		round(p.full[i])
	}
	for _, k := range p.partial {
		v[0] = pow5(new(big.Int).Add(v[0], k))
		v = mul(inn, v)
	}
	for i := 4; i < 8; i++ {
		round(p.full[i])
	}
	return v
}

func toBig(e fr.Element) *big.Int { return e.BigInt(new(big.Int)) }

func randomElement(t testing.TB) fr.Element {
	var e fr.Element
	if _, err := e.SetRandom(); err != nil {
		t.Fatal(err)
	}
	return e
}

// drawElement draws field elements with the edges over-represented.
func drawElement(t *rapid.T, label string) fr.Element {
	var e fr.Element
	switch rapid.IntRange(0, 4).Draw(t, label+" kind") {
	case 0:
	case 1:
		e.SetInt64(-1)
	case 2:
		e.SetUint64(rapid.Uint64().Draw(t, label))
	default:
		e.SetBytes(rapid.SliceOfN(rapid.Byte(), 32, 32).Draw(t, label))
	}
	return e
}

// Z1.1, Z1.2, Z1.3
func TestHashEqualsAnIndependentImplementation(t *testing.T) {
	ref := newReference()
	rapid.Check(t, func(t *rapid.T) {
		x, y, z := drawElement(t, "x"), drawElement(t, "y"), drawElement(t, "z")
		want := ref.permute([3]*big.Int{toBig(x), toBig(y), toBig(z)})
		sum := new(big.Int).Add(want[0], toBig(x))
		if got := toBig(Hash3(x, y, z)); got.Cmp(sum.Mod(sum, ref.r)) != 0 {
			t.Fatalf("C = %v, reference %v", got, sum)
		}
	})
}

func TestPermutationEqualsGnarkCryptos(t *testing.T) {
	lib := poseidon2.NewPermutation(HashWidth, HashFullRounds, HashPartialRounds)
	for range 200 {
		v := [3]fr.Element{randomElement(t), randomElement(t), randomElement(t)}
		w := v
		permute(&v)
		if err := lib.Permutation(w[:]); err != nil || v != w {
			t.Fatalf("permutations differ: %v", err)
		}
	}
}

// Z1.4, Z1.5, Z1.6
func TestTagChainAndLanes(t *testing.T) {
	tag := TagElement("own", 3)
	b := tag.Bytes()
	if want := "0000000000000001" + "6f776e" + strings.Repeat("00", 21); fmt.Sprintf("%x", b[:31]) != strings.TrimPrefix(want, "00")[:62] || b[31] != 3 {
		t.Fatalf("tag is %x", b)
	}
	x := []fr.Element{randomElement(t), randomElement(t), randomElement(t)}
	if got, want := Hash("own", x...), Hash3(Hash3(tag, x[0], x[1]), x[2], fr.Element{}); got != want {
		t.Fatal("P does not chain C")
	}
	if Hash("own", x[0]) == Hash("own", x[0], fr.Element{}) {
		t.Fatal("the count is not in the tag")
	}
	if Hash("own", x[0], x[1]) == Hash("reg", x[0], x[1]) {
		t.Fatal("the name is not in the tag")
	}
	ref := newReference()
	k, idx, tagLane := randomElement(t), uint64(1000), TagElement("lane", 2)
	in := [3]*big.Int{toBig(k), new(big.Int).SetUint64(idx), toBig(tagLane)}
	out := ref.permute(in)
	for j, lane := range Lanes(k, idx) {
		want := new(big.Int).Add(out[j], in[j])
		if toBig(lane).Cmp(want.Mod(want, ref.r)) != 0 {
			t.Fatalf("lane %d differs", j)
		}
	}
	for _, bad := range []func(){func() { TagElement("", 1) }, func() { TagElement(strings.Repeat("x", 25), 1) }, func() { TagElement("x", 0) }, func() { TagElement("x", 256) }} {
		if !panics(bad) {
			t.Fatal("a bad tag passed")
		}
	}
}

func panics(f func()) (did bool) {
	defer func() { did = recover() != nil }()
	f()
	return false
}

func TestHashingDoesNotAllocate(t *testing.T) {
	x := randomElement(t)
	if n := testing.AllocsPerRun(100, func() { x = Hash3(x, x, x) }); n != 0 {
		t.Errorf("Hash3 allocates %v times", n)
	}
	if n := testing.AllocsPerRun(100, func() { x = Lanes(x, 7)[2] }); n != 0 {
		t.Errorf("Lanes allocates %v times", n)
	}
	note := Note{Value: 5, Asset: 1, Programme: 2}
	if n := testing.AllocsPerRun(100, func() { note.Rho = Rho(note.Commitment()) }); n != 0 {
		t.Errorf("Commitment allocates %v times", n)
	}
}

func order() *big.Int { return fr.Modulus() }

// Z1.7
func TestFieldBytesHaveOneEncoding(t *testing.T) {
	parse := map[string]func([]byte) error{
		"commitment": func(b []byte) error { _, err := ParseCommitment(b); return err },
		"nullifier":  func(b []byte) error { _, err := ParseNullifier(b); return err },
		"root":       func(b []byte) error { _, err := ParseRoot(b); return err },
		"owner":      func(b []byte) error { _, err := ParseOwner(b); return err },
		"rho":        func(b []byte) error { _, err := ParseRho(b); return err },
		"field":      func(b []byte) error { _, err := ParseField(b); return err },
		"element":    func(b []byte) error { _, err := ParseElement(b); return err },
		"key":        func(b []byte) error { _, err := ParseNullifierKey(b); return err },
	}
	x := toBig(randomElement(t))
	aliases := []*big.Int{order(), new(big.Int).Add(order(), big.NewInt(5)), new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), 256), big.NewInt(1))}
	if twice := new(big.Int).Add(big.NewInt(5), new(big.Int).Lsh(order(), 1)); twice.BitLen() <= 256 {
		aliases = append(aliases, twice)
	}
	for name, p := range parse {
		if err := p(x.FillBytes(make([]byte, 32))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if err := p(new(big.Int).Sub(order(), big.NewInt(1)).FillBytes(make([]byte, 32))); err != nil {
			t.Errorf("%s: r-1 refused: %v", name, err)
		}
		for _, a := range aliases {
			if err := p(a.FillBytes(make([]byte, 32))); !errors.Is(err, ErrNonCanonical) {
				t.Errorf("%s: %x passed: %v", name, a, err)
			}
		}
		for _, n := range []int{0, 31, 33} {
			if err := p(make([]byte, n)); !errors.Is(err, ErrNonCanonical) {
				t.Errorf("%s: %d bytes passed", name, n)
			}
		}
	}
	var unchecked Nullifier
	copy(unchecked[:], bytes.Repeat([]byte{0xff}, 32))
	if !panics(func() { unchecked.Element() }) {
		t.Error("an unchecked nullifier was reduced silently")
	}
}

func TestFieldTextRoundTrips(t *testing.T) {
	in := map[string]Commitment{"a": CommitmentFromElement(randomElement(t))}
	b, err := json.Marshal(in)
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]Commitment
	if err := json.Unmarshal(b, &out); err != nil || out["a"] != in["a"] {
		t.Fatalf("%v %v", err, out)
	}
	var n Nullifier
	if err := n.UnmarshalText([]byte(strings.Repeat("f", 64))); !errors.Is(err, ErrNonCanonical) {
		t.Fatalf("hex above the order passed: %v", err)
	}
	if err := n.UnmarshalText([]byte("zz")); !errors.Is(err, ErrNonCanonical) {
		t.Fatalf("no hex passed: %v", err)
	}
}

// Z2.1, Z2.2
func TestPackedNoteRoundTrips(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		v, a, p := Amount(rapid.Uint64().Draw(t, "v")), AssetID(rapid.Uint32().Draw(t, "a")), ProgrammeID(rapid.Uint64().Draw(t, "p"))
		packed := Pack(v, a, p)
		want := new(big.Int).SetUint64(uint64(v))
		want.Add(want, new(big.Int).Lsh(new(big.Int).SetUint64(uint64(a)), 64))
		want.Add(want, new(big.Int).Lsh(new(big.Int).SetUint64(uint64(p)), 96))
		want.SetBit(want, 160, 1)
		if toBig(packed).Cmp(want) != 0 {
			t.Fatalf("packed %x, want %x", toBig(packed), want)
		}
		v2, a2, p2, err := UnpackNote(packed)
		if err != nil || v != v2 || a != a2 || p != p2 {
			t.Fatal(v2, a2, p2, err)
		}
	})
	one := fr.One()
	for name, e := range map[string]fr.Element{"no tag": one, "zero": {}, "high": bit(161), "tag and high": sum(Pack(1, 1, 1), bit(200)), "carry": sum(Pack(1, 1, ^ProgrammeID(0)), bit(96))} {
		if _, _, _, err := UnpackNote(e); !errors.Is(err, ErrPacked) {
			t.Errorf("%s passed", name)
		}
	}
}

func bit(n uint) fr.Element {
	var e fr.Element
	e.SetBigInt(new(big.Int).Lsh(big.NewInt(1), n))
	return e
}

func sum(a, b fr.Element) fr.Element { a.Add(&a, &b); return a }

// Z2.3, Z2.4: equal notes at two places have two nullifiers; two keys never share one.
func TestNullifierDependsOnKeyNoteAndPlace(t *testing.T) {
	cm := CommitmentFromElement(randomElement(t))
	nk := NullifierKeyFromElement(randomElement(t))
	seen := map[Nullifier]string{}
	add := func(what string, n Nullifier) {
		if was, ok := seen[n]; ok {
			t.Errorf("%s and %s share a nullifier", was, what)
		}
		seen[n] = what
	}
	add("base", nk.Nullify(cm, Position{1, 2}))
	add("index", nk.Nullify(cm, Position{1, 3}))
	add("tree", nk.Nullify(cm, Position{2, 2}))
	add("key", NullifierKeyFromElement(randomElement(t)).Nullify(cm, Position{1, 2}))
	add("note", nk.Nullify(CommitmentFromElement(randomElement(t)), Position{1, 2}))
	if got := toBig(Position{0xffff, NoteCapacity - 1}.Element()); got.Cmp(new(big.Int).SetUint64(1<<48|0xffff<<32|NoteCapacity-1)) != 0 {
		t.Errorf("position is %x", got)
	}
}

// Z1.8: gnark-crypto's decoder takes what this one refuses.
func TestOnlySubgroupPointsParse(t *testing.T) {
	s, _ := NewScalar(rand.Reader)
	p := s.Base()
	enc := p.Bytes()
	if q, err := ParsePoint(enc[:]); err != nil || q != p || !q.Equal(p) {
		t.Fatal(q, err)
	}
	put := func(x, y *big.Int) []byte {
		return append(x.FillBytes(make([]byte, 32)), y.FillBytes(make([]byte, 32))...)
	}
	px, py := p.XY()
	x, y := toBig(px), toBig(py)
	minus1 := new(big.Int).Sub(order(), big.NewInt(1))
	torsion := torsionPoints(t)
	cases := map[string]struct {
		b    []byte
		want error
	}{
		"short":           {enc[:63], ErrNonCanonical},
		"long":            {append(enc[:], 0), ErrNonCanonical},
		"identity":        {put(big.NewInt(0), big.NewInt(1)), ErrPointIdentity},
		"zero":            {make([]byte, 64), ErrPointNotOnCurve},
		"order 2":         {put(big.NewInt(0), minus1), ErrPointSmallOrder},
		"x + r":           {put(new(big.Int).Add(x, order()), y), ErrNonCanonical},
		"y + r":           {put(x, new(big.Int).Add(y, order())), ErrNonCanonical},
		"off the curve":   {put(x, new(big.Int).Xor(y, big.NewInt(1))), ErrPointNotOnCurve},
		"swapped":         {put(y, x), ErrPointNotOnCurve},
		"identity plus r": {put(order(), big.NewInt(1)), ErrNonCanonical},
	}
	for i, q := range torsion {
		cases[fmt.Sprintf("torsion %d", i)] = struct {
			b    []byte
			want error
		}{put(toBig(q.X), toBig(q.Y)), ErrPointSmallOrder}
		var mixed te.PointAffine
		mixed.Add(&q, &te.PointAffine{X: px, Y: py})
		cases[fmt.Sprintf("key plus torsion %d", i)] = struct {
			b    []byte
			want error
		}{put(toBig(mixed.X), toBig(mixed.Y)), ErrPointSmallOrder}
	}
	for name, c := range cases {
		if q, err := ParsePoint(c.b); !errors.Is(err, c.want) || !q.IsZero() {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// torsionPoints are the seven points of order 2, 4 and 8.
func torsionPoints(t testing.TB) (out []te.PointAffine) {
	for y := uint64(2); len(out) == 0; y++ {
		var p te.PointAffine
		var one, num, den fr.Element
		one.SetOne()
		p.Y.SetUint64(y)
		num.Square(&p.Y)
		den.Mul(&num, &curve.D)
		num.Sub(&one, &num)
		den.Sub(&curve.A, &den)
		p.X.Div(&num, &den)
		if p.X.Sqrt(&p.X) == nil {
			continue
		}
		p.ScalarMultiplication(&p, &curve.Order)
		var four te.PointAffine
		four.ScalarMultiplication(&p, big.NewInt(4))
		if four.IsZero() {
			continue
		}
		q := p
		for !q.IsZero() {
			out = append(out, q)
			q.Add(&q, &p)
		}
	}
	if len(out) != 7 {
		t.Fatalf("%d torsion points", len(out))
	}
	return out
}

func TestScalarsAreCanonical(t *testing.T) {
	s, err := NewScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	b := s.Bytes()
	if u, err := ParseScalar(b[:]); err != nil || !u.Equal(s) {
		t.Fatal(err)
	}
	l := ScalarOrder()
	for name, bad := range map[string][]byte{"zero": make([]byte, 32), "order": l.FillBytes(make([]byte, 32)), "above": bytes.Repeat([]byte{0xff}, 32), "short": b[:31], "empty": nil} {
		if u, err := ParseScalar(bad); !errors.Is(err, ErrScalar) || !u.IsZero() {
			t.Errorf("%s passed", name)
		}
	}
	var wide [64]byte
	l.FillBytes(wide[:])
	if one := ScalarFromWide(wide).Bytes(); one != [32]byte{31: 1} {
		t.Error("a zero scalar came out of the reduction")
	}
	if _, err := NewScalar(bytes.NewReader(make([]byte, 10))); err == nil {
		t.Error("too little randomness passed")
	}
	var x, y fr.Element
	if y.SetOne(); true {
		if gx, gy, err := s.MulXY(x, y); err != nil || !gx.IsZero() || !gy.IsOne() {
			t.Error("a multiple of the identity is the identity")
		}
	}
	if _, _, err := s.MulXY(y, y); !errors.Is(err, ErrPointNotOnCurve) {
		t.Error("off the curve passed")
	}
	other, _ := NewScalar(rand.Reader)
	if s.Mul(other.Base()) != other.Mul(s.Base()) {
		t.Error("no common secret")
	}
}

func TestSecretsAreSilent(t *testing.T) {
	s, _ := NewScalar(rand.Reader)
	nk := NullifierKeyFromElement(randomElement(t))
	w := struct {
		hidden Scalar
		inner  struct{ nk NullifierKey }
		Open   Scalar
	}{s, struct{ nk NullifierKey }{nk}, s}
	js, err := json.Marshal(w)
	if err != nil {
		t.Fatal(err)
	}
	sb, kb := s.Bytes(), nk.Bytes()
	for _, text := range []string{fmt.Sprint(s), fmt.Sprintf("%v %+v %#v %s %x", s, s, s, s, s), fmt.Sprintf("%v %+v %#v", w, w, w), fmt.Sprint(nk), fmt.Sprintf("%#v", nk), string(js)} {
		for _, secret := range [][]byte{sb[:], kb[:]} {
			if strings.Contains(text, fmt.Sprintf("%x", secret)) || strings.Contains(text, strings.Trim(fmt.Sprint(secret), "[]")) {
				t.Errorf("a secret shows in %q", text)
			}
		}
	}
}

// Z2.6
func TestSchnorr(t *testing.T) {
	ask, _ := NewScalar(rand.Reader)
	ak, msg := ask.Base(), randomElement(t)
	sig := Sign(ask, msg, rand.Reader)
	if !VerifySignature(ak, msg, sig) {
		t.Fatal("own signature refused")
	}
	if !VerifySignature(ak, msg, Sign(ask, msg, nil)) {
		t.Fatal("signature without randomness refused")
	}
	if first, second := Sign(ask, msg, nil), Sign(ask, msg, nil); first != second {
		t.Fatal("without randomness the nonce must depend on key and message alone")
	}
	if Sign(ask, msg, nil).R == Sign(ask, randomElement(t), nil).R || Sign(ask, msg, rand.Reader).R == sig.R {
		t.Fatal("nonce repeats")
	}
	b := sig.Bytes()
	if got, err := ParseSignature(b[:]); err != nil || got != sig {
		t.Fatal(err)
	}
	other, _ := NewScalar(rand.Reader)
	bumped := sig
	bumped.S[31] ^= 1
	high := sig
	new(big.Int).Add(new(big.Int).SetBytes(sig.S[:]), ScalarOrder()).FillBytes(high.S[:])
	for name, ok := range map[string]bool{
		"message": VerifySignature(ak, randomElement(t), sig), "key": VerifySignature(other.Base(), msg, sig), "s": VerifySignature(ak, msg, bumped),
		"R": VerifySignature(ak, msg, Signature{other.Base(), sig.S}), "s + l": VerifySignature(ak, msg, high), "empty": VerifySignature(Point{}, msg, Signature{}),
	} {
		if ok {
			t.Errorf("changed %s verifies", name)
		}
	}
	hb := high.Bytes()
	for name, bad := range map[string][]byte{"s + l": hb[:], "short": b[:95], "long": append(b[:], 0), "zero": make([]byte, 96)} {
		if _, err := ParseSignature(bad); !errors.Is(err, ErrSignature) {
			t.Errorf("%s parses: %v", name, err)
		}
	}
}

// Z2.7, Z2.8, Z2.9
func TestRightsTree(t *testing.T) {
	rights := []Right{{Programme: 7, MaySet: true}, {Wildcard: true, MayRelease: true}, {Programme: 9, MaySet: true, MayRelease: true}, {Programme: 10}}
	root, err := RightsRoot(rights)
	if err != nil {
		t.Fatal(err)
	}
	leaves, _ := RightsLeaves(rights)
	for i := range MaxRights {
		p, err := RightsPath(rights, i)
		if err != nil || RootFromElement(p.Root(leaves[i])) != root || p.Index() != uint32(i) {
			t.Errorf("path of leaf %d: %v", i, err)
		}
	}
	if _, err := RightsPath(rights, 9); err == nil {
		t.Error("leaf 9")
	}
	for want, bad := range map[error][]Right{
		ErrRightsTooMany:   make([]Right, 10),
		ErrRightsDuplicate: {{Programme: 7}, {Programme: 7, MaySet: true}},
		ErrRightsWildcard:  {{Programme: 7, Wildcard: true}},
		ErrRightsProgramme: {{MaySet: true}},
	} {
		if _, err := RightsRoot(bad); !errors.Is(err, want) {
			t.Errorf("want %v, got %v", want, err)
		}
	}
	if _, err := RightsRoot([]Right{{Wildcard: true}, {Wildcard: true, MaySet: true}}); !errors.Is(err, ErrRightsDuplicate) {
		t.Errorf("two wildcards: %v", err)
	}
	empty, _ := RightsRoot(nil)
	if empty != RootFromElement(EmptyPath(RightsDepth).Root(fr.Element{})) {
		// an empty tree's path has hashed siblings, so this differs from EmptyPath
		if p, _ := RightsPath(nil, 4); RootFromElement(p.Root(fr.Element{})) != empty {
			t.Error("empty rights tree")
		}
	}
	l := RegistryLeaf{Status: Active, Limit: 10, Rights: root}
	m := l
	m.Status = Frozen
	if l.Hash() == m.Hash() || fmt.Sprint(Active, Frozen, Status(7)) != "active frozen status(7)" {
		t.Error("status")
	}
}

func TestAmounts(t *testing.T) {
	for _, c := range []struct {
		text     string
		decimals int
		want     Amount
		err      error
	}{
		{"0", 2, 0, nil}, {"0.00", 2, 0, nil}, {"1", 2, 100, nil}, {"1.5", 2, 150, nil}, {"1250.00", 2, 125000, nil}, {"7", 0, 7, nil}, {"1.234", 3, 1234, nil},
		{"18446744073709551615", 0, ^Amount(0), nil}, {"184467440737095516.15", 2, ^Amount(0), nil}, {"0.0000000000000000001", 19, 1, nil},
		{"18446744073709551616", 0, 0, ErrAmountRange}, {"184467440737095516.16", 2, 0, ErrAmountRange}, {strings.Repeat("9", 500), 2, 0, ErrAmountRange},
		{"1.234", 2, 0, ErrAmountDecimals}, {"1.0", 0, 0, ErrAmountDecimals}, {"1", 20, 0, ErrAmountDecimals}, {"1", -1, 0, ErrAmountDecimals},
		{"", 2, 0, ErrAmountSyntax}, {".5", 2, 0, ErrAmountSyntax}, {"5.", 2, 0, ErrAmountSyntax}, {"-1", 2, 0, ErrAmountSyntax}, {"+1", 2, 0, ErrAmountSyntax},
		{"1,000", 2, 0, ErrAmountSyntax}, {" 1", 2, 0, ErrAmountSyntax}, {"1 ", 2, 0, ErrAmountSyntax}, {"1e3", 2, 0, ErrAmountSyntax}, {"0x10", 2, 0, ErrAmountSyntax},
		{"1.2.3", 2, 0, ErrAmountSyntax}, {"01", 2, 0, ErrAmountSyntax}, {"٣", 2, 0, ErrAmountSyntax}, {"1_0", 2, 0, ErrAmountSyntax},
	} {
		got, err := ParseAmount(c.text, c.decimals)
		if got != c.want || !errors.Is(err, c.err) {
			t.Errorf("ParseAmount(%.30q, %d) = %d, %v; want %d, %v", c.text, c.decimals, got, err, c.want, c.err)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		a, d := Amount(rapid.Uint64().Draw(t, "a")), rapid.IntRange(0, MaxDecimals).Draw(t, "d")
		if b, err := ParseAmount(a.Format(d), d); err != nil || a != b {
			t.Fatalf("%d with %d decimals is %q and back %d, %v", a, d, a.Format(d), b, err)
		}
	})
	if _, ok := (^Amount(0)).Plus(1); ok {
		t.Error("overflow passed")
	}
	if s, ok := Amount(2).Plus(3); !ok || s != 5 {
		t.Error("sum")
	}
}

func testLeg(t testing.TB, c CircuitID) LegPublic {
	s := c.Shape()
	key, _ := NewScalar(rand.Reader)
	l := LegPublic{Circuit: c, OversightKey: key.Base(), Sender: make([]Field, s.SenderFields()), Nullifiers: make([]Nullifier, s.Inputs),
		Commitments: make([]Commitment, s.Outputs), Cipher: make([][2]Field, s.Outputs)}
	return l
}

func TestEveryFieldTypePrintsAndParsesItself(t *testing.T) {
	e := randomElement(t)
	want := FieldFromElement(e).String()
	all := []interface {
		fmt.Stringer
		MarshalText() ([]byte, error)
	}{CommitmentFromElement(e), NullifierFromElement(e), RootFromElement(e), OwnerFromElement(e), RhoFromElement(e), FieldFromElement(e)}
	for _, x := range all {
		if b, err := x.MarshalText(); err != nil || string(b) != want || x.String() != want {
			t.Errorf("%T prints %s", x, x)
		}
	}
	var c Commitment
	var n Nullifier
	var r Root
	var o Owner
	var rho Rho
	var f Field
	for _, x := range []interface{ UnmarshalText([]byte) error }{&c, &n, &r, &o, &rho, &f} {
		if err := x.UnmarshalText([]byte(want)); err != nil {
			t.Errorf("%T: %v", x, err)
		}
		if err := x.UnmarshalText([]byte(strings.Repeat("f", 64))); !errors.Is(err, ErrNonCanonical) {
			t.Errorf("%T takes what is above the order: %v", x, err)
		}
	}
	if c.Element() != e || n.Element() != e || r.Element() != e || o.Element() != e || rho.Element() != e || f.Element() != e {
		t.Error("another element came back")
	}
	var wide [64]byte
	wide[31] = 1 // 2^256
	two := new(big.Int).Mod(new(big.Int).Lsh(big.NewInt(1), 256), order())
	if x := FieldFromWide(wide); toBig(x.Element()).Cmp(two) != 0 {
		t.Error("wide reduction")
	}
	if _, err := NewRho(bytes.NewReader(nil)); err == nil {
		t.Error("no randomness passed")
	}
	if a, err := NewRho(rand.Reader); err != nil || a == (Rho{}) {
		t.Error("rho")
	}
}

// Z2.9, and that a path with the wrong digits is a bug of ours.
func TestReaderLeafAndBrokenPaths(t *testing.T) {
	s, _ := NewScalar(rand.Reader)
	if ReaderLeaf(1, s.Base()) == ReaderLeaf(2, s.Base()) {
		t.Error("the programme is not in the leaf")
	}
	if f := s.Base().Fields(); f[0].String()+f[1].String() != s.Base().String() {
		t.Error("coordinates")
	}
	uneven := EmptyPath(2)
	uneven.Siblings = uneven.Siblings[:1]
	high := EmptyPath(2)
	high.Digits[1] = 3
	for name, f := range map[string]func(){
		"uneven path": func() { uneven.Root(fr.Element{}) }, "digit 3": func() { high.Root(fr.Element{}) }, "empty scalar": func() { Scalar{}.Base() }, "empty scalar's bytes": func() { Scalar{}.Bytes() },
		"empty point": func() { s.Mul(Point{}) }, "empty key": func() { NullifierKey{}.Element() },
	} {
		if !panics(f) {
			t.Errorf("%s did not panic", name)
		}
	}
	if !(NullifierKey{}).IsZero() || NullifierKeyFromElement(fr.Element{}).IsZero() {
		t.Error("IsZero")
	}
}

// Z2.10
func TestPublicInputsOfEveryCircuit(t *testing.T) {
	for c, want := range map[CircuitID]int{Transfer: 24, Hold: 26, Disburse16: 66, Consolidate: 31, Disburse64: 18 + 3*LargeDisburse} {
		l := testLeg(t, c)
		if err := l.CheckShape(); err != nil {
			t.Errorf("%v: %v", c, err)
		}
		if got := len(l.AppendInputs(nil)); got != NumInputs(c) || got != want {
			t.Errorf("%v has %d inputs, NumInputs says %d, want %d", c, got, NumInputs(c), want)
		}
		short := l
		short.Cipher = short.Cipher[1:]
		if err := short.CheckShape(); !errors.Is(err, ErrShape) {
			t.Errorf("%v: a missing ciphertext passed", c)
		}
	}
	if NumInputs(0) != 0 || NumInputs(6) != 0 || CircuitID(6).Known() {
		t.Error("an unknown circuit is known")
	}
	if err := (&LegPublic{}).CheckShape(); !errors.Is(err, ErrShape) {
		t.Error("no circuit passed")
	}
	// Every field of a leg moves some input: nothing public is left out of the proof.
	l := testLeg(t, Hold)
	base := l.AppendInputs(nil)
	one := Field{31: 1}
	other, _ := NewScalar(rand.Reader)
	for name, change := range map[string]func(l *LegPublic){
		"NoteRoot": func(l *LegPublic) { l.NoteRoot = Root(one) }, "Tree": func(l *LegPublic) { l.Tree = 1 }, "RegistryRoot": func(l *LegPublic) { l.RegistryRoot = Root(one) },
		"ReadersRoot": func(l *LegPublic) { l.ReadersRoot = Root(one) }, "OversightKey": func(l *LegPublic) { l.OversightKey = other.Base() }, "Ctx": func(l *LegPublic) { l.Ctx = one },
		"Asset": func(l *LegPublic) { l.Asset = 1 }, "Programme": func(l *LegPublic) { l.Programme = 1 }, "Issued": func(l *LegPublic) { l.Issued = 1 }, "Redeemed": func(l *LegPublic) { l.Redeemed = 1 },
		"Epk": func(l *LegPublic) { l.Epk[1] = one }, "Wrap": func(l *LegPublic) { l.Wrap = one }, "Sender": func(l *LegPublic) { l.Sender = []Field{{}, one} },
		"Nullifiers": func(l *LegPublic) { l.Nullifiers = []Nullifier{{}, Nullifier(one)} }, "Commitments": func(l *LegPublic) { l.Commitments = []Commitment{{}, Commitment(one)} },
		"Cipher": func(l *LegPublic) { l.Cipher = [][2]Field{{}, {one, one}} }, "ReturnCommitment": func(l *LegPublic) { l.ReturnCommitment = Commitment(one) }, "SizeClass": func(l *LegPublic) { l.SizeClass = 1 },
	} {
		m := l
		change(&m)
		if fmt.Sprint(m.AppendInputs(nil)) == fmt.Sprint(base) {
			t.Errorf("%s is no public input", name)
		}
	}
}

// Z2.11
func TestInputSlotsRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slots := rapid.SliceOfN(rapid.Uint32Range(0, NoteCapacity), 1, 8).Draw(t, "slots")
		packed := PackSlots(slots)
		got, err := UnpackSlots(packed, len(slots))
		if err != nil || fmt.Sprint(got) != fmt.Sprint(slots) {
			t.Fatal(got, err)
		}
	})
	high := PackSlots([]uint32{1, NoteCapacity + 1})
	for name, bad := range map[string]func() error{
		"index above the tree": func() error { _, err := UnpackSlots(high, 2); return err },
		"bits above":           func() error { _, err := UnpackSlots(PackSlots([]uint32{1, 2, 3}), 2); return err },
		"field missing":        func() error { _, err := UnpackSlots(PackSlots([]uint32{1}), 8); return err },
		"none":                 func() error { _, err := UnpackSlots(nil, 0); return err },
		"tag":                  func() error { _, err := UnpackSlots([]fr.Element{bit(224)}, 7); return err },
	} {
		if err := bad(); !errors.Is(err, ErrSlots) {
			t.Errorf("%s passed: %v", name, err)
		}
	}
	if (InputWitness{Index: 9}).Slot() != 0 || (InputWitness{Note: Note{Value: 1}, Index: 9}).Slot() != 10 {
		t.Error("slot")
	}
}

func TestProofHasOneLength(t *testing.T) {
	if _, err := ParseProof(make([]byte, 384)); err != nil {
		t.Error(err)
	}
	for _, n := range []int{0, 192, 383, 385} {
		if _, err := ParseProof(make([]byte, n)); !errors.Is(err, ErrProofSize) {
			t.Errorf("%d bytes passed", n)
		}
	}
}

// vectors are recorded once and never change: a difference means that ledgers in the field no longer understand this program.
type vectors struct {
	Tag     map[string]string `json:"tag_name_count"`
	Hash3   []map[string]string
	Hash    []map[string]any
	Lanes   map[string]any
	Note    map[string]string
	Schnorr map[string]string
}

func deterministicElement(label string) fr.Element {
	a, b := sha256.Sum256([]byte(label+"/a")), sha256.Sum256([]byte(label+"/b"))
	var e fr.Element
	e.SetBytes(append(a[:], b[:]...))
	return e
}

func computeVectors() vectors {
	hexOf := func(e fr.Element) string { return FieldFromElement(e).String() }
	var v vectors
	v.Tag = map[string]string{"own/3": hexOf(TagElement("own", 3)), "lane/2": hexOf(TagElement("lane", 2))}
	for _, in := range [][3]fr.Element{{}, {fr.NewElement(1), fr.NewElement(2), fr.NewElement(3)}, {deterministicElement("x"), deterministicElement("y"), deterministicElement("z")}} {
		v.Hash3 = append(v.Hash3, map[string]string{"x": hexOf(in[0]), "y": hexOf(in[1]), "z": hexOf(in[2]), "c": hexOf(Hash3(in[0], in[1], in[2]))})
	}
	for n := 1; n <= 5; n++ {
		var xs []fr.Element
		var text []string
		for i := range n {
			xs = append(xs, deterministicElement(fmt.Sprint(i)))
			text = append(text, hexOf(xs[i]))
		}
		v.Hash = append(v.Hash, map[string]any{"name": "kdf", "xs": text, "p": hexOf(Hash("kdf", xs...))})
	}
	l := Lanes(deterministicElement("k"), 1001)
	v.Lanes = map[string]any{"key": hexOf(deterministicElement("k")), "index": 1001, "lanes": []string{hexOf(l[0]), hexOf(l[1]), hexOf(l[2])}}
	var wide [64]byte
	copy(wide[:], "comity recorded vector: the signing key of nobody at all, 64 by.")
	ask := ScalarFromWide(wide)
	nk := NullifierKeyFromElement(deterministicElement("nk"))
	n := Note{Value: 125000, Asset: 978, Programme: 0xfedcba9876543210, Owner: OwnerOf(ask.Base(), nk), Rho: RhoFromElement(deterministicElement("rho"))}
	b, kb := ask.Bytes(), nk.Bytes()
	v.Note = map[string]string{"ask": fmt.Sprintf("%x", b), "ak": ask.Base().String(), "nk": fmt.Sprintf("%x", kb), "owner": n.Owner.String(), "value": "125000", "asset": "978",
		"programme": "18364758544493064720", "rho": n.Rho.String(), "packed": hexOf(n.Packed()), "commitment": n.Commitment().String(), "tree": "3", "index": "1234567",
		"nullifier": nk.Nullify(n.Commitment(), Position{3, 1234567}).String()}
	sig := Sign(ask, deterministicElement("msg"), nil)
	sb := sig.Bytes()
	v.Schnorr = map[string]string{"msg": hexOf(deterministicElement("msg")), "signature_without_fresh_randomness": fmt.Sprintf("%x", sb)}
	return v
}

func TestRecordedVectors(t *testing.T) {
	const file = "testdata/zk.json"
	got, err := json.MarshalIndent(computeVectors(), "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	got = append(got, '\n')
	if os.Getenv("COMITY_RECORD") != "" {
		if err := os.WriteFile(file, got, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Fatalf("recorded vectors changed; now:\n%s", got)
	}
}

func FuzzParsePoint(f *testing.F) {
	g := curve.Base
	gx, gy := g.X.Bytes(), g.Y.Bytes()
	f.Add(append(gx[:], gy[:]...))
	f.Add(make([]byte, 64))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePoint(b)
		if err != nil {
			return
		}
		if enc := p.Bytes(); !bytes.Equal(enc[:], b) {
			t.Fatal("a second encoding")
		}
	})
}

func FuzzParseScalar(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add(ScalarOrder().Bytes())
	f.Add([]byte{31: 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseScalar(b)
		if err != nil {
			return
		}
		if enc := s.Bytes(); !bytes.Equal(enc[:], b) {
			t.Fatal("a second encoding")
		}
	})
}

func FuzzParseSignature(f *testing.F) {
	var wide [64]byte
	wide[0] = 9
	sig := Sign(ScalarFromWide(wide), fr.NewElement(5), nil).Bytes()
	f.Add(sig[:])
	f.Add(make([]byte, 96))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := ParseSignature(b)
		if err != nil {
			return
		}
		if enc := s.Bytes(); !bytes.Equal(enc[:], b) {
			t.Fatal("a second encoding")
		}
	})
}

func FuzzParseField(f *testing.F) {
	f.Add(make([]byte, 32))
	f.Add(order().Bytes())
	f.Add(bytes.Repeat([]byte{0xff}, 32))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := ParseField(b)
		if err != nil {
			return
		}
		if e := x.Element(); !bytes.Equal(x[:], b) || FieldFromElement(e) != x {
			t.Fatal("a second encoding")
		}
		_, _, _, _ = UnpackNote(x.Element())
		_, _ = UnpackSlots([]fr.Element{x.Element()}, 2)
	})
}

func FuzzParseAmount(f *testing.F) {
	f.Add("1250.00", 2)
	f.Add("18446744073709551616", 0)
	f.Fuzz(func(t *testing.T, text string, decimals int) {
		a, err := ParseAmount(text, decimals)
		if err != nil {
			return
		}
		if b, err := ParseAmount(a.Format(decimals), decimals); err != nil || a != b {
			t.Fatalf("%q is %d and back %d, %v", text, a, b, err)
		}
	})
}

func BenchmarkHash3(b *testing.B) {
	x := randomElement(b)
	b.ReportAllocs()
	for b.Loop() {
		x = Hash3(x, x, x)
	}
}

func BenchmarkVerifySignature(b *testing.B) {
	ask, _ := NewScalar(rand.Reader)
	msg := randomElement(b)
	sig, ak := Sign(ask, msg, nil), ask.Base()
	for b.Loop() {
		VerifySignature(ak, msg, sig)
	}
}
