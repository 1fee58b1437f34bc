package entry

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"flag"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

func TestEveryEntryReadsBackAsWritten(t *testing.T) {
	for name, e := range entriesFixture(t) {
		b := Encode(e)
		back, err := Decode(b)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !reflect.DeepEqual(back, e) {
			t.Errorf("%s: read back as %+v", name, back)
		}
		if again := Encode(back); !bytes.Equal(again, b) {
			t.Errorf("%s: encodes to other bytes the second time", name)
		}
		if IDOf(back) != IDOf(e) || sha256.Sum256(e.AppendEffecting([]byte("comity/txid/v1"))) != IDOf(e) {
			t.Errorf("%s: id is not the hash of its effecting data", name)
		}
		if tx, ok := e.(*Transaction); ok && len(b) != tx.Size() {
			t.Errorf("%s: size %d, said %d", name, len(b), tx.Size())
		}
	}
}

func TestEveryTruncationAndTrailingByteIsRefused(t *testing.T) {
	for name, e := range entriesFixture(t) {
		b := Encode(e)
		step := 1 + len(b)/997
		for n := 0; n < len(b); n += step {
			if _, err := Decode(b[:n]); CodeOf(err) != Malformed {
				t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(b), err)
				break
			}
		}
		_, err := Decode(append(slices.Clone(b), 0))
		wantCode(t, err, Malformed)
	}
}

func TestUnknownVersionAndKindAreRefused(t *testing.T) {
	g := genesisFixture(t)
	b := transferFixture(g, zk.Transfer).Encode()
	for _, c := range []struct {
		at   int
		to   byte
		want Code
	}{{0, 0, UnsupportedVersion}, {0, 2, UnsupportedVersion}, {1, 0, UnknownKind}, {1, 19, UnknownKind}, {1, 255, UnknownKind}} {
		bad := slices.Clone(b)
		bad[c.at] = c.to
		_, err := Decode(bad)
		wantCode(t, err, c.want)
	}
	_, err := Decode(make([]byte, MaxEntry+1))
	wantCode(t, err, Oversize)
	_, err = DecodeState(b)
	wantCode(t, err, UnknownKind)
	_, err = DecodeGenesis(b)
	wantCode(t, err, UnknownKind)
	_, err = DecodeTransaction(Encode(g))
	wantCode(t, err, UnknownKind)
}

// x and x+r are one field element; only the smaller encoding may enter, or one nullifier would have two names.
func TestFieldElementsAliasedByTheModulusAreRefused(t *testing.T) {
	g := genesisFixture(t)
	tx := transferFixture(g, zk.Transfer, zk.Disburse16)
	at := func(set func(*Leg, zk.Field)) []byte {
		legs := slices.Clone(tx.Legs)
		cp := *tx
		cp.Legs = legs
		leg := legFixture("leg 0", zk.Transfer)
		var small, alias zk.Field
		small[31] = 5
		new(big.Int).Add(new(big.Int).SetBytes(small[:]), fieldModulus).FillBytes(alias[:])
		set(&leg, alias)
		legs[0] = leg
		return cp.Encode()
	}
	for name, set := range map[string]func(*Leg, zk.Field){
		"epk":        func(l *Leg, f zk.Field) { l.Epk[1] = f },
		"wrap":       func(l *Leg, f zk.Field) { l.Wrap = f },
		"sender":     func(l *Leg, f zk.Field) { l.Sender[1] = f },
		"nullifier":  func(l *Leg, f zk.Field) { l.Nullifiers[0] = zk.Nullifier(f) },
		"commitment": func(l *Leg, f zk.Field) { l.Commitments[1] = zk.Commitment(f) },
		"cipher":     func(l *Leg, f zk.Field) { l.Cipher[1][1] = f },
	} {
		if _, err := Decode(at(set)); CodeOf(err) != NonCanonical {
			t.Errorf("%s of x+r: %v", name, err)
		}
	}
	var r zk.Field
	fieldModulus.FillBytes(r[:])
	f := &Freeze{Header{Ledger: g.Hash(), Sequence: 1}, zk.Owner(r), true}
	_, err := Decode(Encode(f))
	wantCode(t, err, NonCanonical)
	s := &State{NoteRoot: zk.Root(r)}
	_, err = Decode(Encode(s))
	wantCode(t, err, NonCanonical)
}

func TestTransactionRulesAreRefusedByName(t *testing.T) {
	g := genesisFixture(t)
	for _, c := range []struct {
		name   string
		change func(*Transaction)
		want   Code
	}{
		{"no legs", func(tx *Transaction) { tx.Legs = nil }, Malformed},
		{"five legs", func(tx *Transaction) {
			tx.Legs = nil
			for _, n := range []string{"a", "b", "c", "d", "e"} {
				tx.Legs = append(tx.Legs, legFixture(n, zk.Transfer))
			}
		}, Malformed},
		{"a transfer with a sequence number", func(tx *Transaction) { tx.Sequence = 1 }, KindMismatch},
		{"a transfer with a signature", func(tx *Transaction) { tx.Signatures = make([]PolicySignature, 1) }, KindMismatch},
		{"a transfer that issues", func(tx *Transaction) { tx.Legs[0].Issued, tx.Legs[0].Asset = 1, 1 }, KindMismatch},
		{"a transfer that shows an asset", func(tx *Transaction) { tx.Legs[0].Asset = 1 }, KindMismatch},
		{"a transfer that shows a programme", func(tx *Transaction) { tx.Legs[0].Programme = 1 }, KindMismatch},
		{"an issue of nothing", func(tx *Transaction) { tx.Type, tx.Sequence = KindIssue, 1 }, AmountZero},
		{"a redemption of nothing", func(tx *Transaction) { tx.Type, tx.Sequence = KindRedeem, 1 }, AmountZero},
		{"an issue without a sequence number", func(tx *Transaction) { tx.Type = KindIssue; tx.Legs[0].Issued = 1 }, SequenceStale},
		{"an issue that redeems", func(tx *Transaction) {
			tx.Type, tx.Sequence = KindIssue, 1
			tx.Legs[0].Asset, tx.Legs[0].Redeemed = 1, 1
		}, KindMismatch},
		{"a leg that issues and redeems", func(tx *Transaction) {
			tx.Type, tx.Sequence = KindIssue, 1
			tx.Legs[0].Asset, tx.Legs[0].Issued, tx.Legs[0].Redeemed = 1, 1, 1
		}, IssueAndRedeem},
		{"an issue of the hidden asset", func(tx *Transaction) {
			tx.Type, tx.Sequence = KindIssue, 1
			tx.Legs[0].Issued = 1
		}, UnknownAsset},
		{"one nullifier twice in a leg", func(tx *Transaction) { tx.Legs[0].Nullifiers[1] = tx.Legs[0].Nullifiers[0] }, NullifierRepeated},
		{"one nullifier in two legs", func(tx *Transaction) {
			tx.Legs = append(tx.Legs, legFixture("other", zk.Consolidate))
			tx.Legs[1].Nullifiers[7] = tx.Legs[0].Nullifiers[1]
		}, NullifierRepeated},
		{"another circuit version", func(tx *Transaction) { tx.Legs[0].CircuitVersion = 2 }, UnknownCircuit},
	} {
		tx := transferFixture(g, zk.Transfer)
		c.change(tx)
		_, err := Decode(tx.Encode())
		if CodeOf(err) != c.want {
			t.Errorf("%s: decoding gave %v, want %s", c.name, err, c.want)
		}
		if err := tx.Validate(); CodeOf(err) != c.want {
			t.Errorf("%s: validating gave %v, want %s", c.name, err, c.want)
		}
	}
	b := transferFixture(g, zk.Transfer).Encode()
	for _, id := range []byte{0, 6, 255} {
		b[51] = id // the first leg's circuit
		_, err := Decode(b)
		wantCode(t, err, UnknownCircuit)
	}
}

func TestLegOfAnotherShapeIsNotValid(t *testing.T) {
	g := genesisFixture(t)
	for name, change := range map[string]func(*Leg){
		"a nullifier too many":             func(l *Leg) { l.Nullifiers = append(l.Nullifiers, zk.Nullifier{1}) },
		"a commitment too few":             func(l *Leg) { l.Commitments = l.Commitments[:1] },
		"a ciphertext too few":             func(l *Leg) { l.Cipher = l.Cipher[:1] },
		"three sender fields":              func(l *Leg) { l.Sender = append(l.Sender, zk.Field{}) },
		"a subtree root in a transfer":     func(l *Leg) { l.SubtreeRoot[31] = 1 },
		"a return note in a transfer":      func(l *Leg) { l.ReturnCommitment[31] = 1 },
		"a condition without a held note":  func(l *Leg) { l.Condition.Type = 1 },
		"a size class without a held note": func(l *Leg) { l.SizeClass = 1 },
	} {
		tx := transferFixture(g, zk.Transfer)
		change(&tx.Legs[0])
		if err := tx.Validate(); CodeOf(err) != Malformed {
			t.Errorf("%s: %v", name, err)
		}
	}
	tx := transferFixture(g, zk.Hold)
	tx.Legs[0].Condition.Bytes = make([]byte, MaxCondition+1)
	wantCode(t, tx.Validate(), Oversize)
	_, err := Decode(tx.Encode())
	wantCode(t, err, Oversize)
}

// The id covers what happens and not why it may: a new proof, anchor or signature leaves it, any other byte changes it.
func TestIDCoversEffectingDataAndNothingElse(t *testing.T) {
	g := genesisFixture(t)
	tx := issueFixture(t, g)
	id, ctx := tx.Digests()
	b := tx.Encode()
	e := tx.EffectingSize()
	if !bytes.Equal(b[:e], tx.AppendEffecting(nil)) {
		t.Fatal("effecting data is not the prefix of the entry")
	}
	tx.Legs[0].Proof[3]++
	tx.Legs[0].Anchor++
	tx.Legs[0].Tree++
	tx.Signatures = nil
	if id2, ctx2 := tx.Digests(); id2 != id || ctx2 != ctx {
		t.Error("witness data changed id or ctx")
	}
	if tx.ID() != id || tx.Ctx() != ctx {
		t.Error("ID and Ctx differ from Digests")
	}
	wide := sha512.Sum512(append([]byte("comity/ctx/v1"), b[:e]...))
	want := new(big.Int).Mod(new(big.Int).SetBytes(wide[:]), fieldModulus)
	if new(big.Int).SetBytes(ctx[:]).Cmp(want) != 0 {
		t.Error("ctx is not SHA-512 mod r")
	}
	for i := range e {
		bad := slices.Clone(b)
		bad[i] ^= 1
		if ID(sha256.Sum256(append([]byte("comity/txid/v1"), bad[:e]...))) == id {
			t.Fatalf("byte %d is not covered", i)
		}
	}
}

func TestTransactionOfAnotherLedgerHasAnotherID(t *testing.T) {
	g := genesisFixture(t)
	tx := transferFixture(g, zk.Transfer)
	id, ctx := tx.Digests()
	tx.Ledger[0]++
	if id2, ctx2 := tx.Digests(); id2 == id || ctx2 == ctx {
		t.Error("one id or ctx on two ledgers")
	}
}

func TestPublicInputsCarryTheLegAndItsAnchor(t *testing.T) {
	g := genesisFixture(t)
	tx := transferFixture(g, zk.Hold)
	leg := &tx.Legs[0]
	p := leg.Public(zk.Root{1}, zk.Root{2}, zk.Root{3}, g.OversightKey, tx.Ctx())
	want := zk.LegPublic{Circuit: zk.Hold, NoteRoot: zk.Root{1}, Tree: 3, RegistryRoot: zk.Root{2}, ReadersRoot: zk.Root{3}, OversightKey: g.OversightKey,
		Ctx: tx.Ctx(), Epk: leg.Epk, Wrap: leg.Wrap, Sender: leg.Sender, Nullifiers: leg.Nullifiers, Commitments: leg.Commitments, Cipher: leg.Cipher,
		ReturnCommitment: leg.ReturnCommitment, SizeClass: leg.SizeClass}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got %+v", p)
	}
}

func TestSegmentsMustBeTheOnesNamed(t *testing.T) {
	g := genesisFixture(t)
	tx := transferFixture(g, zk.Transfer, zk.Transfer)
	segments := [][]byte{[]byte("leg 0"), []byte("leg 1")}
	if err := tx.CheckSegments(segments); err != nil {
		t.Error(err)
	}
	wantCode(t, tx.CheckSegments(segments[:1]), SegmentMismatch)
	wantCode(t, tx.CheckSegments(nil), SegmentMismatch)
	wantCode(t, tx.CheckSegments([][]byte{segments[1], segments[0]}), SegmentMismatch)
	wantCode(t, tx.CheckSegments([][]byte{segments[0], make([]byte, MaxSegment+1)}), Oversize)
}

func TestAdminRulesAreRefusedByName(t *testing.T) {
	all := entriesFixture(t)
	for _, c := range []struct {
		name, of string
		change   func(Entry)
		want     Code
	}{
		{"no owner", "register", func(e Entry) { e.(*Register).Owners = nil }, Malformed},
		{"257 owners", "register", func(e Entry) { e.(*Register).Owners = make([]Registration, 257) }, Malformed},
		{"an owner twice", "register", func(e Entry) { r := e.(*Register); r.Owners[1].Owner = r.Owners[0].Owner }, OwnerRepeated},
		{"ten rights", "register", func(e Entry) { e.(*Register).Owners[0].Rights = make([]zk.Right, 10) }, Malformed},
		{"a right that grants nothing", "register", func(e Entry) { e.(*Register).Owners[0].Rights = []zk.Right{{Programme: 1}} }, RightsInvalid},
		{"a right for programme 0", "register", func(e Entry) { e.(*Register).Owners[0].Rights = []zk.Right{{MaySet: true}} }, RightsInvalid},
		{"a wildcard with a programme", "register", func(e Entry) {
			e.(*Register).Owners[0].Rights = []zk.Right{{Programme: 1, Wildcard: true, MaySet: true}}
		}, RightsInvalid},
		{"two wildcards", "register", func(e Entry) {
			e.(*Register).Owners[0].Rights = []zk.Right{{Wildcard: true, MaySet: true}, {Wildcard: true, MayRelease: true}}
		}, RightsInvalid},
		{"sequence 0", "freeze", func(e Entry) { e.Head().Sequence = 0 }, SequenceStale},
		{"signatures out of order", "freeze", func(e Entry) { slices.Reverse(e.Head().Signatures) }, NonCanonical},
		{"a signer twice", "freeze", func(e Entry) { e.Head().Signatures[1].Signer = e.Head().Signatures[0].Signer }, SignerRepeated},
		{"17 signatures", "freeze", func(e Entry) { e.Head().Signatures = make([]PolicySignature, 17) }, Malformed},
		{"programme 0", "programme", func(e Entry) { e.(*Programme).Programme = 0 }, Malformed},
		{"programme status 3", "programme", func(e Entry) { e.(*Programme).Status = 3 }, Malformed},
		{"a name of nothing", "programme", func(e Entry) { e.(*Programme).Name = "" }, Malformed},
		{"a name with a line end", "programme", func(e Entry) { e.(*Programme).Name = "a\nb" }, Malformed},
		{"a name that runs right to left", "programme", func(e Entry) { e.(*Programme).Name = "a\u202eb" }, Malformed},
		{"a name that is not UTF-8", "programme", func(e Entry) { e.(*Programme).Name = "a\xff" }, Malformed},
		{"a name that is too long", "programme", func(e Entry) { e.(*Programme).Name = strings.Repeat("n", MaxName+1) }, Malformed},
		{"possession for another programme", "programme", func(e Entry) { e.(*Programme).Programme++ }, ReaderKeyInvalid},
		{"possession for another ledger", "programme", func(e Entry) { e.Head().Ledger[0]++ }, ReaderKeyInvalid},
		{"another's reader key", "programme", func(e Entry) { e.(*Programme).Reader = scalar(t, "thief").Base() }, ReaderKeyInvalid},
		{"possession for another epoch", "oversight", func(e Entry) { e.(*Oversight).Epoch++ }, OversightKeyInvalid},
		{"the epoch of genesis", "oversight", func(e Entry) { e.(*Oversight).Epoch = GenesisOversightEpoch }, OversightEpochStale},
		{"a supply table out of order", "state", func(e Entry) { slices.Reverse(e.(*State).Supply) }, NonCanonical},
		{"more redeemed than issued", "state", func(e Entry) { e.(*State).Supply[0].Redeemed = 6 }, SupplyNegative},
	} {
		e, err := Decode(Encode(all[c.of]))
		if err != nil {
			t.Fatal(err)
		}
		c.change(e)
		if err := e.Validate(); CodeOf(err) != c.want && !strings.HasPrefix(c.name, "ten") {
			t.Errorf("%s: validating gave %v, want %s", c.name, err, c.want)
		}
		if _, err := Decode(Encode(e)); CodeOf(err) != c.want {
			t.Errorf("%s: decoding gave %v, want %s", c.name, err, c.want)
		}
	}
	b := Encode(all["freeze"])
	b[2+32+8+8+32] = 2
	_, err := Decode(b)
	wantCode(t, err, Malformed)
	b = Encode(all["register"])
	b[2+32+8+8+2+(32+8+1)+(32+8+1)+8] = 8 // flags of the second owner's first right
	_, err = Decode(b)
	wantCode(t, err, Malformed)
}

func TestViewKeysOffTheCurveAreRefused(t *testing.T) {
	all := entriesFixture(t)
	for name, at := range map[string]int{"programme": 2 + 32 + 8 + 8 + 8 + 1 + len("Field hospitals 2026") + 1, "oversight": 2 + 32 + 8 + 8 + 4} {
		b := Encode(all[name])
		clear(b[at : at+64])
		_, err := Decode(b)
		wantCode(t, err, NonCanonical)
	}
}

func TestPolicySignatures(t *testing.T) {
	g := genesisFixture(t)
	id := ID{1, 2, 3}
	sign := func(name string) PolicySignature {
		s, err := g.Policy.SignAuthorisation(edKey(name), id)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s0, s1, s2 := sign("signer 0"), sign("signer 1"), sign("signer 2")
	bad := s1
	bad.Signature[9] ^= 1
	stranger := s1
	stranger.Signer = 3
	borrowed := s0
	borrowed.Signer = 1
	for _, c := range []struct {
		name string
		sigs []PolicySignature
		want Code
	}{
		{"two of three", []PolicySignature{s0, s2}, ""},
		{"three of three", []PolicySignature{s0, s1, s2}, ""},
		{"none", nil, SignaturesMissing},
		{"one", []PolicySignature{s1}, SignaturesMissing},
		{"one signer twice", []PolicySignature{s1, s1}, SignerRepeated},
		{"a signer that is none", []PolicySignature{s0, stranger}, SignerUnknown},
		{"a broken signature", []PolicySignature{s0, bad}, SignatureInvalid},
		{"a broken signature beside enough good ones", []PolicySignature{s0, bad, s2}, SignatureInvalid},
		{"one person under two numbers", []PolicySignature{s0, borrowed}, SignatureInvalid},
	} {
		if err := g.Policy.Verify(id, c.sigs); CodeOf(err) != c.want || (c.want == "") != (err == nil) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	wantCode(t, g.Policy.Verify(ID{1, 2, 4}, []PolicySignature{s0, s2}), SignatureInvalid)
	_, err := g.Policy.SignAuthorisation(edKey("stranger"), id)
	wantCode(t, err, SignerUnknown)
}

func TestRefusalsMatchTheSpec(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join("..", "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	rows := map[Code]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| (.+) \\|$").FindAllStringSubmatch(string(spec), -1) {
		rows[Code(m[1])] = m[2]
	}
	form := regexp.MustCompile("^[a-z]+(_[a-z]+)*$")
	seen := map[Code]bool{}
	for _, m := range Codes() {
		if seen[m.Code] || !form.MatchString(string(m.Code)) || m.Text == "" {
			t.Errorf("code %q is listed twice or ill-formed", m.Code)
		}
		seen[m.Code] = true
		if rows[m.Code] != m.Text {
			t.Errorf("%s: SPEC.md says %q, the code says %q", m.Code, rows[m.Code], m.Text)
		}
	}
}

// Other packages make refusals of their own; each has its line in the SPEC too. Read from the files, so that none is forgotten.
func TestEveryCodeOfTheProjectIsInTheSpec(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join("..", "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	constant := regexp.MustCompile(`entry\.Code\s*=\s*"([a-z_]+)"`)
	found := 0
	err = filepath.WalkDir(filepath.Join("..", ".."), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range constant.FindAllSubmatch(b, -1) {
			found++
			if !bytes.Contains(spec, []byte("| `"+string(m[1])+"` | ")) {
				t.Errorf("%s: code %s has no line in SPEC.md", path, m[1])
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if found == 0 {
		t.Error("found no code at all: the test looks in the wrong place")
	}
}

func TestDecodedTransactionSharesNoMemoryWithItsBytes(t *testing.T) {
	for name, e := range entriesFixture(t) {
		b := Encode(e)
		back, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] ^= 0xff
		}
		if !reflect.DeepEqual(back, e) {
			t.Errorf("%s changed with the bytes it was read from", name)
		}
	}
}

var update = flag.Bool("update", false, "rewrite the golden vectors")

// The golden vectors are what other implementations and old files are held against. A change of one is a change of the format.
func TestGoldenVectors(t *testing.T) {
	type vector struct{ Entry, ID, Ctx string }
	got := map[string]vector{}
	for name, e := range entriesFixture(t) {
		v := vector{Entry: hex.EncodeToString(Encode(e)), ID: IDOf(e).String()}
		if tx, ok := e.(*Transaction); ok {
			ctx := tx.Ctx()
			v.Ctx = hex.EncodeToString(ctx[:])
		}
		got[name] = v
	}
	path := filepath.Join("testdata", "vectors.json")
	if *update {
		b, err := json.MarshalIndent(got, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var want map[string]vector
	if err := json.Unmarshal(b, &want); err != nil {
		t.Fatal(err)
	}
	for name, w := range want {
		if got[name] != w {
			t.Errorf("%s differs from its golden vector", name)
		}
		raw, err := hex.DecodeString(w.Entry)
		if err != nil {
			t.Fatal(err)
		}
		e, err := Decode(raw)
		if err != nil {
			t.Errorf("%s: %v", name, err)
		} else if IDOf(e).String() != w.ID {
			t.Errorf("%s: id %s, want %s", name, IDOf(e), w.ID)
		}
	}
	if len(want) != len(got) {
		t.Errorf("%d vectors for %d entries", len(want), len(got))
	}
}
