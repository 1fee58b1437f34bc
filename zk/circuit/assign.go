package circuit

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark/frontend"

	"github.com/comity-ledger/comity/zk"
)

// ErrWitness is returned by Assign for a witness that does not even have the
// form of one: wrong sizes, non-canonical bytes, keys that are missing.
var ErrWitness = errors.New("malformed witness")

// Assign returns the circuit filled with the witness, ready for
// frontend.NewWitness. It checks form and no statement: a witness that breaks
// one is assigned, and no solver finds a solution for it. (The named refusals
// are zk/prover.Check's.)
//
// Form is checked here because frontend.NewWitness reduces whatever it is given
// modulo r in silence: x and x+r would be one public input.
func Assign(w *zk.LegWitness) (frontend.Circuit, error) {
	s, err := shapeOf(w.Public.Circuit)
	if err != nil {
		return nil, err
	}
	l, err := assign(s, w)
	if err != nil {
		return nil, fmt.Errorf("assign %v: %w", w.Public.Circuit, err)
	}
	return l, nil
}

func malformed(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrWitness, fmt.Sprintf(format, args...))
}

func assign(s shape, w *zk.LegWitness) (*Leg, error) {
	if err := checkForm(s, w); err != nil {
		return nil, err
	}
	l := empty(s)
	publics := w.Public.AppendInputs(nil)
	for i := range publics {
		l.Public[i] = publics[i]
	}
	spell(l.Asset[:], uint64(w.Asset))
	p := w.InputProgramme
	spell(l.Programme[:], uint64(p))

	own := zk.OwnerOf(w.AK, w.NK)
	for i, in := range w.Inputs {
		t := &l.Inputs[i]
		spell(t.Value[:], uint64(in.Note.Value))
		t.ValueInverse = inverse(uint64(in.Note.Value))
		t.Rho = in.Note.Rho.Element()
		setPath(t.Path, in.Path)
	}

	// The alternative programme: what any output carries in place of p.
	alternative, crosses := p, false
	for _, note := range w.Outputs {
		if note.Programme != p {
			alternative, crosses = 0, true
			if p == 0 {
				alternative = w.SetProgramme
			}
		}
	}
	spell(l.Alternative[:], uint64(alternative))
	left := new(big.Int).SetUint64(uint64(w.Public.Redeemed))
	for i, note := range w.Outputs {
		t := &l.Outputs[i]
		spell(t.Value[:], uint64(note.Value))
		t.Crosses = bit(note.Programme != p)
		t.Kept, t.Offset = bit(note.Owner == own), fr.Element{}
		if note.Owner != own {
			offset, payer := note.Owner.Element(), own.Element()
			offset.Sub(&offset, &payer)
			t.Offset = offset
		}
		if note.Owner != own || (s.held && i == 0) {
			left.Add(left, new(big.Int).SetUint64(uint64(note.Value)))
		}
	}

	l.NullifierKey = w.NK.Element()
	l.Key = point(w.AK)
	l.Nonce = point(w.Signature.R)
	spellDigits(l.Response[:], w.Signature.S, fixedWindow)
	digest := digestOf(w)
	for i := range l.Challenge {
		l.Challenge[i] = digest.Bit(i)
	}
	spellDigits(l.Secret[:], w.E.Bytes(), variableWindow)

	l.Limit = uint64(w.Registry.Limit)
	l.Rights = w.Registry.Rights.Element()
	setPath(l.Registration, w.Registry.Path)
	// Beyond the limit there is no headroom to spell; the low bits of the
	// difference do not solve.
	headroom := left.Sub(new(big.Int).SetUint64(uint64(w.Registry.Limit)), left)
	spell(l.Headroom[:], new(big.Int).And(headroom, new(big.Int).SetUint64(^uint64(0))).Uint64())

	amount := new(fr.Element).SetUint64(uint64(w.Public.Issued))
	redeemed := new(fr.Element).SetUint64(uint64(w.Public.Redeemed))
	amount.Add(amount, redeemed)
	l.AmountInverse = *amount.Inverse(amount)

	if crosses {
		l.Entry = w.Right.Right.Subject()
		l.MaySet, l.MayRelease = bit(w.Right.Right.MaySet), bit(w.Right.Right.MayRelease)
	} else {
		// No entry is opened: its place holds what the unconditional parts of
		// statement 5 ask for, and membership is off.
		unused := new(fr.Element).SetUint64(uint64(p))
		l.Entry = *unused.Double(unused)
		l.MaySet, l.MayRelease = 1, 1
	}
	setPath(l.Right, w.Right.Path)

	l.Reader = point(w.Reader.Key)
	setPath(l.Reading, w.Reader.Path)
	l.ProgrammeInverse = inverse(uint64(p))

	if s.held {
		spell(l.Held[0].SizeGap[:], w.Public.SizeClass-uint64(w.Outputs[0].Value))
	}
	return l, nil
}

// checkForm refuses every witness that the rest of assign could not read, and
// every encoding that is not the canonical one.
func checkForm(s shape, w *zk.LegWitness) error {
	pub := &w.Public
	if len(pub.Sender) != s.senders() || len(pub.Nullifiers) != s.inputs || len(pub.Commitments) != s.outputs || len(pub.Cipher) != s.outputs {
		return malformed("public part has %d sender fields, %d nullifiers, %d commitments, %d ciphertexts",
			len(pub.Sender), len(pub.Nullifiers), len(pub.Commitments), len(pub.Cipher))
	}
	if len(w.Inputs) != s.inputs || len(w.Outputs) != s.outputs {
		return malformed("%d inputs and %d outputs in place of %d and %d", len(w.Inputs), len(w.Outputs), s.inputs, s.outputs)
	}

	canonical := func(what string, b [32]byte) error {
		if _, err := zk.ParseElement(b[:]); err != nil {
			return malformed("%s: %v", what, err)
		}
		return nil
	}
	type field struct {
		what  string
		bytes [32]byte
	}
	fields := []field{
		{"note root", pub.NoteRoot}, {"registry root", pub.RegistryRoot}, {"readers root", pub.ReadersRoot},
		{"ctx", pub.Ctx}, {"epk", pub.Epk[0]}, {"epk", pub.Epk[1]}, {"wrap", pub.Wrap},
		{"subtree root", pub.SubtreeRoot}, {"return commitment", pub.ReturnCommitment}, {"rights root", w.Registry.Rights},
	}
	for _, x := range pub.Sender {
		fields = append(fields, field{"sender", x})
	}
	for _, x := range pub.Nullifiers {
		fields = append(fields, field{"nullifier", x})
	}
	for _, x := range pub.Commitments {
		fields = append(fields, field{"commitment", x})
	}
	for _, x := range pub.Cipher {
		fields = append(fields, field{"ciphertext", x[0]}, field{"ciphertext", x[1]})
	}
	for _, x := range w.Inputs {
		fields = append(fields, field{"input rho", x.Note.Rho})
	}
	for _, x := range w.Outputs {
		fields = append(fields, field{"output owner", x.Owner})
	}
	for _, f := range fields {
		if err := canonical(f.what, f.bytes); err != nil {
			return err
		}
	}

	if pub.OversightKey.IsZero() || w.AK.IsZero() || w.Signature.R.IsZero() || w.Reader.Key.IsZero() {
		return malformed("a key or the signature's nonce is missing")
	}
	if w.NK.IsZero() || w.E.IsZero() {
		return malformed("the nullifier key or e is missing")
	}
	if new(big.Int).SetBytes(w.Signature.S[:]).Cmp(zk.ScalarOrder()) >= 0 {
		return malformed("the signature's response is not below the group order")
	}
	for i, in := range w.Inputs {
		if err := checkPath("input", in.Path, s.notes); err != nil {
			return err
		}
		if in.Path.Index() != in.Index {
			return malformed("input %d lies at %d, its path at %d", i, in.Index, in.Path.Index())
		}
	}
	if err := checkPath("registry", w.Registry.Path, s.registry); err != nil {
		return err
	}
	if err := checkPath("right", w.Right.Path, s.rights); err != nil {
		return err
	}
	return checkPath("reader", w.Reader.Path, s.readers)
}

func checkPath(what string, p zk.Path, depth int) error {
	if len(p.Digits) != depth || len(p.Siblings) != depth {
		return malformed("%s path of %d digits and %d siblings in place of %d", what, len(p.Digits), len(p.Siblings), depth)
	}
	for _, d := range p.Digits {
		if d > 2 {
			return malformed("%s path with digit %d", what, d)
		}
	}
	return nil
}

func setPath(dst []Level, p zk.Path) {
	for i := range dst {
		dst[i] = Level{
			Middle:   bit(p.Digits[i] == 1),
			Right:    bit(p.Digits[i] == 2),
			Siblings: [2]frontend.Variable{p.Siblings[i][0], p.Siblings[i][1]},
		}
	}
}

// digestOf is the full digest whose low bits are the Schnorr challenge.
func digestOf(w *zk.LegWitness) *big.Int {
	rx, ry := w.Signature.R.XY()
	ax, ay := w.AK.XY()
	return bigOf(zk.Hash("sig", rx, ry, ax, ay, w.Public.Ctx.Element()))
}

func point(p zk.Point) Point {
	x, y := p.XY()
	return Point{x, y}
}

func bit(set bool) frontend.Variable {
	if set {
		return 1
	}
	return 0
}

// inverse is 1/n, and 0 for 0.
func inverse(n uint64) frontend.Variable {
	e := new(fr.Element).SetUint64(n)
	return *e.Inverse(e)
}

func spell(bits []frontend.Variable, n uint64) {
	for i := range bits {
		bits[i] = n >> i & 1
	}
}

func spellDigits(dst []frontend.Variable, scalar [32]byte, window int) {
	for i, b := range recode(new(big.Int).SetBytes(scalar[:]), window, len(dst)) {
		dst[i] = b
	}
}
