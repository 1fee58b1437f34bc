package prover

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	cs "github.com/consensys/gnark/constraint/bls12-381"
	"github.com/consensys/gnark/frontend"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
	"github.com/comity-ledger/comity/zk/setup"
)

func build(t testing.TB, seed byte, o circuittest.Options) *circuittest.Leg {
	t.Helper()
	leg, err := circuittest.Build(rand.NewChaCha8([32]byte{seed}), o)
	if err != nil {
		t.Fatal(err)
	}
	return leg
}

var (
	systemsMu sync.Mutex
	systems   = map[zk.CircuitID]*cs.R1CS{}
)

func system(t testing.TB, id zk.CircuitID) *cs.R1CS {
	t.Helper()
	systemsMu.Lock()
	defer systemsMu.Unlock()
	if systems[id] == nil {
		r, err := setup.Compile(id)
		if err != nil {
			t.Fatal(err)
		}
		systems[id] = r
	}
	return systems[id]
}

// solves asks the circuit, without a proof.
func solves(t testing.TB, w *zk.LegWitness) error {
	t.Helper()
	a, err := circuit.Assign(w)
	if err != nil {
		return err
	}
	full, err := frontend.NewWitness(a, ecc.BLS12_381.ScalarField())
	if err != nil {
		return err
	}
	return system(t, w.Public.Circuit).IsSolved(full)
}

// variants are true legs of every kind.
var variants = map[string]circuittest.Options{
	"transfer":                  {Circuit: zk.Transfer},
	"transfer of a programme":   {Circuit: zk.Transfer, Programme: 7},
	"transfer with a dummy":     {Circuit: zk.Transfer, Dummies: 1, Tree: 3},
	"transfer that releases":    {Circuit: zk.Transfer, Programme: 7, Release: true},
	"transfer that sets":        {Circuit: zk.Transfer, Set: 9},
	"transfer under a wildcard": {Circuit: zk.Transfer, Set: 9, Rights: []zk.Right{{Programme: 4}, {Wildcard: true, MaySet: true, MayRelease: true}}, RightIndex: 1},
	"issue":                     {Circuit: zk.Transfer, Issued: 1_000_000, Dummies: 2},
	"issue into a programme":    {Circuit: zk.Transfer, Programme: 12, Issued: 1_000_000, Dummies: 2},
	"redeem":                    {Circuit: zk.Transfer, Redeemed: 500},
	"local hold":                {Circuit: zk.Hold},
	"cross-border hold":         {Circuit: zk.Hold, SizeClass: 1 << 50, Programme: 3},
	"disbursement to 16":        {Circuit: zk.Disburse16, Programme: 1 << 63},
	"consolidation":             {Circuit: zk.Consolidate, Dummies: 3},
}

func TestTrueLegsPassTheCheckAndTheCircuit(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			w := &build(t, 1, o).Witness
			if err := Check(*w); err != nil {
				t.Errorf("check: %v", err)
			}
			if err := solves(t, w); err != nil {
				t.Errorf("circuit: %v", err)
			}
		})
	}
}

// TestFalseLegsAreRefusedByName builds legs that break one statement and are right in everything else: what a patched wallet would
// try. Check names the statement; the circuit refuses without a name.
func TestFalseLegsAreRefusedByName(t *testing.T) {
	for _, c := range []struct {
		name string
		code Code
		o    circuittest.Options
	}{
		{"over the limit", OverLimit, circuittest.Options{Circuit: zk.Disburse16, Limit: 5}},
		{"redeems over the limit", OverLimit, circuittest.Options{Circuit: zk.Transfer, Redeemed: 1 << 20, Limit: 1 << 19}},
		{"holds over the limit", OverLimit, circuittest.Options{Circuit: zk.Hold, Limit: 1}},
		{"frozen", OwnerFrozen, circuittest.Options{Circuit: zk.Transfer, Status: zk.Frozen}},
		{"of an unknown status", OwnerFrozen, circuittest.Options{Circuit: zk.Transfer, Status: 3}},
		{"releases without a right", ReleaseNotAllowed, circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true, Rights: []zk.Right{}}},
		{"releases under the right to set", ReleaseNotAllowed, circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true, Rights: []zk.Right{{Programme: 7, MaySet: true}}}},
		{"releases under the right for another", ReleaseNotAllowed, circuittest.Options{Circuit: zk.Transfer, Programme: 7, Release: true, Rights: []zk.Right{{Programme: 8, MayRelease: true}}}},
		{"sets without a right", SetNotAllowed, circuittest.Options{Circuit: zk.Transfer, Set: 9, Rights: []zk.Right{}}},
		{"sets under the right to release", SetNotAllowed, circuittest.Options{Circuit: zk.Transfer, Set: 9, Rights: []zk.Right{{Programme: 9, MayRelease: true}}}},
		{"sets under a wildcard that may not", SetNotAllowed, circuittest.Options{Circuit: zk.Transfer, Set: 9, Rights: []zk.Right{{Wildcard: true, MayRelease: true}}}},
		{"issues and redeems", IssueAndRedeem, circuittest.Options{Circuit: zk.Transfer, Issued: 10, Redeemed: 10}},
		{"exceeds its size class", SizeClassExceeded, circuittest.Options{Circuit: zk.Hold, SizeClass: 1}},
	} {
		t.Run(c.name, func(t *testing.T) {
			w := &build(t, 2, c.o).Witness
			if err := Check(*w); !errors.Is(err, &Refusal{Code: c.code}) {
				t.Errorf("check: %v, want %v", err, c.code)
			}
			if err := solves(t, w); err == nil {
				t.Error("the circuit accepts it")
			}
		})
	}
}

func bump(f [32]byte) [32]byte {
	var e, one fr.Element
	e.SetBytes(f[:])
	one.SetOne()
	e.Add(&e, &one)
	return e.Bytes()
}

// change is one way to spoil a true leg. stricter marks what the circuit does not look at and Check refuses all the same.
type change struct {
	name     string
	code     Code
	stricter bool
	spoil    func(l *circuittest.Leg)
}

func changes() []change {
	other, err := zk.NewScalar(rand.NewChaCha8([32]byte{99}))
	if err != nil {
		panic(err)
	}
	var list []change
	add := func(name string, code Code, spoil func(w *zk.LegWitness)) {
		list = append(list, change{name: name, code: code, spoil: func(l *circuittest.Leg) { spoil(&l.Witness) }})
	}
	stricter := func(name string, code Code, spoil func(w *zk.LegWitness)) {
		add(name, code, spoil)
		list[len(list)-1].stricter = true
	}
	add("note root", MembershipInvalid, func(w *zk.LegWitness) { w.Public.NoteRoot = bump(w.Public.NoteRoot) })
	add("sibling of an input", MembershipInvalid, func(w *zk.LegWitness) { w.Inputs[0].Path.Siblings[3][1].SetUint64(5) })
	add("digit of an input", MembershipInvalid, func(w *zk.LegWitness) {
		in := &w.Inputs[0]
		in.Path.Digits[2] = (in.Path.Digits[2] + 1) % 3
		in.Index = in.Path.Index()
	})
	add("value of an input", MembershipInvalid, func(w *zk.LegWitness) { w.Inputs[0].Note.Value++ })
	add("rho of an input", MembershipInvalid, func(w *zk.LegWitness) { w.Inputs[0].Note.Rho = bump(w.Inputs[0].Note.Rho) })
	stricter("owner of an input", InputForeign, func(w *zk.LegWitness) { w.Inputs[0].Note.Owner = bump(w.Inputs[0].Note.Owner) })
	stricter("asset of an input", InputForeign, func(w *zk.LegWitness) { w.Inputs[0].Note.Asset++ })
	stricter("programme of an input", InputForeign, func(w *zk.LegWitness) { w.Inputs[0].Note.Programme++ })
	add("tree number", NullifierMismatch, func(w *zk.LegWitness) { w.Public.Tree++ })
	add("nullifier", NullifierMismatch, func(w *zk.LegWitness) { w.Public.Nullifiers[0] = bump(w.Public.Nullifiers[0]) })
	add("ctx", SignatureInvalid, func(w *zk.LegWitness) { w.Public.Ctx = bump(w.Public.Ctx) })
	add("signature's response", SignatureInvalid, func(w *zk.LegWitness) { w.Signature.S[31] ^= 1 })
	add("signature's nonce", SignatureInvalid, func(w *zk.LegWitness) { w.Signature.R = other.Base() })
	list = append(list, change{name: "signer", code: SignatureInvalid, spoil: func(l *circuittest.Leg) {
		l.Witness.Signature = zk.Sign(other, l.Witness.Public.Ctx.Element(), nil)
	}})
	add("signing key", InputForeign, func(w *zk.LegWitness) { w.AK = other.Base() })
	add("nullifier key", InputForeign, func(w *zk.LegWitness) {
		w.NK = zk.NullifierKeyFromElement(fr.NewElement(77))
	})
	add("registry root", OwnerNotRegistered, func(w *zk.LegWitness) { w.Public.RegistryRoot = bump(w.Public.RegistryRoot) })
	add("limit", OwnerNotRegistered, func(w *zk.LegWitness) { w.Registry.Limit-- })
	add("rights root", OwnerNotRegistered, func(w *zk.LegWitness) { w.Registry.Rights = bump(w.Registry.Rights) })
	add("registry path", OwnerNotRegistered, func(w *zk.LegWitness) { w.Registry.Path.Siblings[0][0].SetUint64(1) })
	stricter("output's asset", OutputForeign, func(w *zk.LegWitness) { w.Outputs[0].Asset++ })
	add("value of an output", Unbalanced, func(w *zk.LegWitness) { w.Outputs[len(w.Outputs)-1].Value++ })
	add("issued amount", Unbalanced, func(w *zk.LegWitness) { w.Public.Issued++ })
	add("redeemed amount", "", func(w *zk.LegWitness) { w.Public.Redeemed++ }) // over_limit or unbalanced
	add("public asset", AssetMismatch, func(w *zk.LegWitness) { w.Public.Asset++ })
	add("public programme", ProgrammeMismatch, func(w *zk.LegWitness) { w.Public.Programme++ })
	add("oversight key", "", func(w *zk.LegWitness) { w.Public.OversightKey = other.Base() })
	add("epk x", KeyMismatch, func(w *zk.LegWitness) { w.Public.Epk[0] = bump(w.Public.Epk[0]) })
	add("epk y", KeyMismatch, func(w *zk.LegWitness) { w.Public.Epk[1] = bump(w.Public.Epk[1]) })
	add("e", KeyMismatch, func(w *zk.LegWitness) { w.E = other })
	stricter("rho of an output", CommitmentMismatch, func(w *zk.LegWitness) { w.Outputs[0].Rho = bump(w.Outputs[0].Rho) })
	add("commitment", CommitmentMismatch, func(w *zk.LegWitness) { w.Public.Commitments[1] = bump(w.Public.Commitments[1]) })
	add("owner of an output", "", func(w *zk.LegWitness) { w.Outputs[0].Owner = bump(w.Outputs[0].Owner) })
	add("cipher 0", CipherMismatch, func(w *zk.LegWitness) { w.Public.Cipher[0][0] = bump(w.Public.Cipher[0][0]) })
	add("cipher 1", CipherMismatch, func(w *zk.LegWitness) { w.Public.Cipher[1][1] = bump(w.Public.Cipher[1][1]) })
	add("ciphers swapped", CipherMismatch, func(w *zk.LegWitness) {
		w.Public.Cipher[0], w.Public.Cipher[1] = w.Public.Cipher[1], w.Public.Cipher[0]
	})
	add("sender's own", CipherMismatch, func(w *zk.LegWitness) { w.Public.Sender[0] = bump(w.Public.Sender[0]) })
	add("sender's inputs", CipherMismatch, func(w *zk.LegWitness) {
		w.Public.Sender[len(w.Public.Sender)-1] = bump(w.Public.Sender[len(w.Public.Sender)-1])
	})
	add("reader", ReaderMismatch, func(w *zk.LegWitness) { w.Reader.Key = other.Base() })
	add("wrapped key", WrapMismatch, func(w *zk.LegWitness) { w.Public.Wrap = bump(w.Public.Wrap) })
	return list
}

// conditional are changes that only some legs notice.
func conditional(l *circuittest.Leg) []change {
	w := &l.Witness
	var list []change
	add := func(name string, code Code, spoil func(w *zk.LegWitness)) {
		list = append(list, change{name: name, code: code, spoil: func(l *circuittest.Leg) { spoil(&l.Witness) }})
	}
	// Where nothing is set, Assign has only one programme to give the circuit and never looks at the output's.
	list = append(list, change{
		name: "programme of an output", stricter: w.InputProgramme == 0 && w.SetProgramme == 0,
		spoil: func(l *circuittest.Leg) { l.Witness.Outputs[1].Programme += 1000 },
	})
	if w.InputProgramme != 0 {
		add("readers root", ReaderMismatch, func(w *zk.LegWitness) { w.Public.ReadersRoot = bump(w.Public.ReadersRoot) })
		add("reader's path", ReaderMismatch, func(w *zk.LegWitness) { w.Reader.Path.Siblings[5][0].SetUint64(9) })
	}
	if w.Public.Circuit == zk.Hold {
		add("return commitment", ReturnMismatch, func(w *zk.LegWitness) { w.Public.ReturnCommitment = bump(w.Public.ReturnCommitment) })
		add("size class", SizeClassExceeded, func(w *zk.LegWitness) { w.Public.SizeClass = uint64(w.Outputs[0].Value) - 1 })
	}
	if w.Public.Circuit.Shape().SubtreeLevel > 0 {
		add("subtree root", SubtreeMismatch, func(w *zk.LegWitness) { w.Public.SubtreeRoot = bump(w.Public.SubtreeRoot) })
	}
	if w.Outputs[0].Programme != w.Outputs[1].Programme {
		code := ReleaseNotAllowed
		if w.InputProgramme == 0 {
			code = SetNotAllowed
		}
		add("path of the right", code, func(w *zk.LegWitness) { w.Right.Path.Siblings[1][0].SetUint64(8) })
		add("flags of the right", code, func(w *zk.LegWitness) { w.Right.Right.MaySet, w.Right.Right.MayRelease = false, false })
	}
	return list
}

func TestCheckAndCircuitAreTwins(t *testing.T) {
	for name, o := range variants {
		t.Run(name, func(t *testing.T) {
			for _, c := range append(changes(), conditional(build(t, 3, o))...) {
				leg := build(t, 3, o)
				if leg.Witness.Inputs[0].Note.Value == 0 && c.code == MembershipInvalid {
					continue // a dummy has no membership
				}
				c.spoil(leg)
				err := Check(leg.Witness)
				var refusal *Refusal
				if !errors.As(err, &refusal) {
					t.Errorf("%s: check says %v", c.name, err)
					continue
				}
				if c.code != "" && refusal.Code != c.code {
					t.Errorf("%s: %v, want %v", c.name, err, c.code)
				}
				if c.stricter {
					continue
				}
				if solves(t, &leg.Witness) == nil {
					t.Errorf("%s: the circuit accepts what the check refuses (%v)", c.name, err)
				}
			}
		})
	}
}

func TestCheckRefusesMalformedWitnesses(t *testing.T) {
	for name, spoil := range map[string]func(w *zk.LegWitness){
		"one input missing":        func(w *zk.LegWitness) { w.Inputs = w.Inputs[:1] },
		"one output missing":       func(w *zk.LegWitness) { w.Outputs = w.Outputs[:1] },
		"one nullifier missing":    func(w *zk.LegWitness) { w.Public.Nullifiers = w.Public.Nullifiers[:1] },
		"one commitment more":      func(w *zk.LegWitness) { w.Public.Commitments = append(w.Public.Commitments, zk.Commitment{}) },
		"unknown circuit":          func(w *zk.LegWitness) { w.Public.Circuit = 77 },
		"no signing key":           func(w *zk.LegWitness) { w.AK = zk.Point{} },
		"no nullifier key":         func(w *zk.LegWitness) { w.NK = zk.NullifierKey{} },
		"no e":                     func(w *zk.LegWitness) { w.E = zk.Scalar{} },
		"no reader":                func(w *zk.LegWitness) { w.Reader.Key = zk.Point{} },
		"no signature":             func(w *zk.LegWitness) { w.Signature = zk.Signature{} },
		"response above the order": func(w *zk.LegWitness) { w.Signature.S[0] = 0xff },
		"no oversight key":         func(w *zk.LegWitness) { w.Public.OversightKey = zk.Point{} },
		"ctx above the modulus":    func(w *zk.LegWitness) { w.Public.Ctx[0] = 0xff },
		"short path":               func(w *zk.LegWitness) { w.Inputs[0].Path = zk.EmptyPath(3) },
		"digit 3":                  func(w *zk.LegWitness) { w.Inputs[0].Path.Digits[0] = 3 },
		"index beside the path":    func(w *zk.LegWitness) { w.Inputs[0].Index++ },
		"short registry path":      func(w *zk.LegWitness) { w.Registry.Path = zk.EmptyPath(3) },
	} {
		w := &build(t, 4, circuittest.Options{Circuit: zk.Transfer}).Witness
		spoil(w)
		if err := Check(*w); !errors.Is(err, &Refusal{Code: WitnessMalformed}) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := circuit.Assign(w); err == nil {
			t.Errorf("%s: the circuit takes it", name)
		}
	}
}

func TestTheSameNoteTwiceIsRefused(t *testing.T) {
	w := &build(t, 5, circuittest.Options{Circuit: zk.Transfer}).Witness
	w.Inputs[1] = w.Inputs[0]
	w.Public.Nullifiers[1] = w.Public.Nullifiers[0]
	if err := Check(*w); !errors.Is(err, &Refusal{Code: NullifierRepeated}) {
		t.Error(err)
	}
}

func TestAmountsThatWrapAround64BitsAreUnbalanced(t *testing.T) {
	w := &build(t, 6, circuittest.Options{Circuit: zk.Transfer, Issued: 100, Dummies: 2}).Witness
	// 2^64 more on the output side, spread over two outputs, is zero in 64-bit arithmetic.
	w.Outputs[0].Value = 1 << 63
	w.Outputs[1].Value = 1<<63 + 100
	w.Registry.Limit = ^zk.Amount(0)
	err := (&check{w: w, pub: &w.Public, shape: zk.Transfer.Shape()}).balance()
	if !errors.Is(err, &Refusal{Code: Unbalanced}) {
		t.Error(err)
	}
}

func TestRefusalsHideSecrets(t *testing.T) {
	leg := build(t, 7, circuittest.Options{Circuit: zk.Disburse16, Limit: 5})
	err := Check(leg.Witness)
	if err == nil {
		t.Fatal("accepted")
	}
	for _, o := range leg.Witness.Outputs {
		if o.Value > 9 && strings.Contains(err.Error(), fmt.Sprint(uint64(o.Value))) {
			t.Errorf("%q names an amount", err)
		}
	}
}
