package wallets

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"os"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// stream is a deterministic source of randomness.
type stream struct {
	name string
	n    uint64
	left []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.left) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.name), s.n))
			s.n++
			s.left = h[:]
		}
		p[i], s.left = s.left[0], s.left[1:]
	}
	return len(p), nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func testGenesis() *entry.Genesis {
	key := func(name string) entry.SignerKey {
		h := sha256.Sum256([]byte(name))
		return must(entry.SignerKeyOf(ed25519.NewKeyFromSeed(h[:]).Public().(ed25519.PublicKey)))
	}
	oversight := must(zk.NewScalar(&stream{name: "oversight"}))
	g := &entry.Genesis{Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: 1767225600000, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}, Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{key("s")}}, LogKey: key("log"),
		Witnesses:            entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w1.example", Key: key("w1"), Kind: entry.ValidatingWitness}}},
		RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000, OversightKey: oversight.Base(),
		Circuits: []entry.Circuit{{ID: zk.Transfer, Version: 1, Fingerprint: [32]byte{1}}}}
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), &stream{name: "n"})
	return g
}

func testKeys(g *entry.Genesis, name string) keys.Wallet {
	return must(keys.Derive(must(keys.NewSeed(&stream{name: name})), must(zk.NewScalar(&stream{name: "ask " + name})), g.Hash()))
}

func FuzzParseDisbursement(f *testing.F) {
	g := testGenesis()
	book := Book{Genesis: g, Ledger: LedgerPrefix(g.Hash()), Rights: Rights{Registered: true, Limit: 10_000, Opened: map[zk.ProgrammeID]bool{7: true}}}
	good := testKeys(g, "payee").Address("aur", g.Hash()).String()
	f.Add([]byte("line_id,address,amount,programme,reference\n1," + good + ",1.00,,x\n2," + good + ",99.99,7,\n"))
	f.Add([]byte("\xef\xbb\xbf1," + good + ",1,,\"a \"\"quoted\"\" one\"\r\n"))
	f.Add([]byte("1," + good + ",-1,,\n"))
	f.Add([]byte("a,b,c\n\"x"))
	f.Add([]byte(strings.Repeat(",", 100)))
	f.Fuzz(func(t *testing.T, file []byte) {
		d, err := ParseDisbursement(file, g.Assets[0], book)
		if err != nil {
			var bad *FileError
			if !errors.As(err, &bad) || len(bad.Lines) == 0 || CodeOf(err) != BadFile {
				t.Fatalf("%v", err)
			}
			return
		}
		var sum zk.Amount
		ids := map[string]bool{}
		for _, l := range d.Lines {
			if l.Amount == 0 || l.Amount > 10_000 || l.ID == "" || ids[l.ID] || l.To.Prefix != "aur" || l.Programme != 0 && l.Programme != 7 {
				t.Fatalf("%+v", l)
			}
			ids[l.ID] = true
			sum += l.Amount
		}
		if sum != d.Total {
			t.Fatal("total")
		}
		paid := map[int]bool{}
		for _, group := range d.Groups(10_000) {
			var s zk.Amount
			for _, i := range group.Lines {
				if paid[i] || d.Lines[i].Programme != group.Programme {
					t.Fatal("a line in two groups, or in a wrong one")
				}
				paid[i] = true
				s += d.Lines[i].Amount
			}
			if s != group.Sum || s > 10_000 || len(group.Lines) > zk.LargeDisburse {
				t.Fatalf("%+v", group)
			}
		}
		if len(paid) != len(d.Lines) {
			t.Fatal("a line in no group")
		}
	})
}

func FuzzParseDisclosure(f *testing.F) {
	g := testGenesis()
	d := &Disclosure{Ledger: g.Hash(), Output: 1, Note: zk.Note{Value: 5, Asset: 1, Owner: testKeys(g, "p").Owner()}, Reference: "x", Receipt: []byte("c2sp.org/tlog-proof@v1\n")}
	f.Add(must(d.Marshal()))
	f.Add([]byte(`{"format":"comity/disclosure/v1"}`))
	f.Add([]byte(`{"format":"comity/disclosure/v1","leg":-1} {}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDisclosure(b)
		if err != nil {
			return
		}
		again, err := ParseDisclosure(must(d.Marshal()))
		if err != nil || again.Note != d.Note || again.Ledger != d.Ledger || !bytes.Equal(again.Receipt, d.Receipt) {
			t.Fatalf("%v", err)
		}
		if _, err := d.Verify(g); err == nil {
			t.Fatal("a disclosure without a receipt verifies")
		}
	})
}

func FuzzParseRegisterRequest(f *testing.F) {
	g := testGenesis()
	k := testKeys(g, "bank")
	good := must(RequestRegistration(k, g, &stream{name: "n"}).Marshal(g))
	f.Add(good)
	f.Add(bytes.Replace(good, []byte("aur1"), []byte("bor1"), 1))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseRegisterRequest(b, g)
		if err == nil && !zk.VerifySignature(r.Key, ownerPossession(g.Hash(), r.Address.Owner).Element(), r.Possession) {
			t.Fatal("accepted without possession")
		}
	})
}

func TestRegisterRequestIsCheckedByTheRegistrar(t *testing.T) {
	g := testGenesis()
	k, other := testKeys(g, "bank"), testKeys(g, "other")
	good := must(RequestRegistration(k, g, &stream{name: "n"}).Marshal(g))
	if r, err := ParseRegisterRequest(good, g); err != nil || r.Address.Owner != k.Owner() {
		t.Fatal(err)
	}
	stolen := RequestRegistration(other, g, &stream{name: "n"})
	stolen.Address = k.Address(g.Prefix, g.Hash())
	sister := testGenesis()
	sister.Name = "Borealis"
	sister.OversightPossession = entry.ProvePossession(must(zk.NewScalar(&stream{name: "oversight"})), entry.OversightPossession(sister.DraftHash(), entry.GenesisOversightEpoch), &stream{name: "n"})
	for name, tc := range map[string]struct {
		b    []byte
		want Code
	}{
		"another's address":   {must(stolen.Marshal(g)), RequestInvalid},
		"of another ledger":   {must(RequestRegistration(testKeys(sister, "bank"), sister, &stream{name: "n"}).Marshal(sister)), OtherLedger},
		"trailing":            {append(bytes.Clone(good), '{'), RequestInvalid},
		"unknown field":       {bytes.Replace(good, []byte(`"key"`), []byte(`"more": 1, "key"`), 1), RequestInvalid},
		"address mistyped":    {bytes.Replace(good, []byte("aur1"), []byte("aur1q"), 1), AddressInvalid},
		"signature truncated": {bytes.Replace(good, []byte(`"possession": "`), []byte(`"possession": "00`), 1), RequestInvalid},
	} {
		if _, err := ParseRegisterRequest(tc.b, g); CodeOf(err) != tc.want {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzJournalRecord(f *testing.F) {
	f.Add(must(Encode(&Order{ID: "x", To: "aur1", Asset: 1, Amount: 5})))
	f.Add(must(Encode(&Attempt{Order: "x", Pays: true, Outputs: []Sent{{Purpose: ToPayee}}})))
	f.Add(must(Encode(&DisbursementOrder{ID: "d", Groups: []Group{{Lines: []int{0}}}})))
	f.Add([]byte(`{"refused":{"code":"x"}}`))
	f.Add(must(Encode(&Unreserved{Order: "x"})))
	f.Add([]byte(`{"reserved":{"order":"x","recipe":{"circuit":2,"inputs":[{},{}],"outputs":[{},{}]},"inputs":[],"outputs":[{},{}],"commitments":[]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		o := must(NewOutbox(nil))
		if err := o.Add(b); err != nil {
			return
		}
		for _, h := range o.Reservations() {
			if h.Opening() != h.r.Outputs[0].Note || len(h.r.Commitments) != 2 {
				t.Fatal("a reserved hold that is not whole")
			}
		}
		for _, order := range o.Orders() {
			if order == nil {
				t.Fatal("an order that is none")
			}
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	g := testGenesis()
	view := testKeys(g, "bank").FullView()
	empty := must(NewState(g, view).Encode())
	f.Add(empty)
	f.Add(bytes.Replace(empty, []byte(`"number":0`), []byte(`"number":1`), 1))
	f.Add(bytes.Replace(empty, []byte(`"own":`), []byte(`"holds":1,"held":[{"mine":true,"return":{"value":5}}],"own":`), 1))
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		s, err := DecodeState(b, g, view)
		if err != nil {
			return
		}
		if again, err := DecodeState(must(s.Encode()), g, view); err != nil || again.LogSize() != s.LogSize() {
			t.Fatalf("%v", err)
		}
	})
}

func TestASelfMemoIsToldFromAReference(t *testing.T) {
	tag := TagOf("invoice-7")
	if got, ok := tagOf(tag.memo()); !ok || got != tag {
		t.Fatal("lost")
	}
	for _, memo := range []string{"", "a reference", "\x01short"} {
		if _, ok := tagOf([]byte(memo)); ok {
			t.Errorf("%q is taken for a tag", memo)
		}
	}
	if CheckReference(string(tag.memo())) == nil {
		t.Error("a tag passes as a reference")
	}
}

// TestRefusalsStandInTheSpec holds the table of SPEC.md and Codes together.
func TestRefusalsStandInTheSpec(t *testing.T) {
	spec := string(must(os.ReadFile("SPEC.md")))
	seen := map[Code]bool{}
	for _, m := range Codes() {
		if seen[m.Code] {
			t.Errorf("%s is listed twice", m.Code)
		}
		seen[m.Code] = true
		if !strings.Contains(spec, "| `"+string(m.Code)+"` | "+m.Text+" |") {
			t.Errorf("SPEC.md lacks: | `%s` | %s |", m.Code, m.Text)
		}
	}
	if n := strings.Count(spec, "\n| `"); n != len(seen) {
		t.Errorf("SPEC.md lists %d refusals, the code has %d", n, len(seen))
	}
}
