package entry

import (
	"bytes"
	"encoding/base64"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

func TestProposalTravelsFromSignerToSigner(t *testing.T) {
	g := genesisFixture(t)
	want := issueFixture(t, g) // signed by 0 and 2
	bare := *want
	bare.Signatures = nil
	p, err := NewProposal(g, bare.Encode(), [][]byte{[]byte("leg 0")})
	if err != nil {
		t.Fatal(err)
	}
	for i, name := range []string{"signer 2", "signer 0"} { // in any order
		if _, err := p.Assemble(); CodeOf(err) != SignaturesMissing || p.Missing() != 2-i {
			t.Errorf("%d signatures: %v, %d missing", i, err, p.Missing())
		}
		if err := p.Sign(edKey(name)); err != nil {
			t.Fatal(err)
		}
		if err := p.Sign(edKey(name)); err != nil {
			t.Errorf("signing twice: %v", err)
		}
		file, err := p.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if p, err = ParseProposal(g, file); err != nil {
			t.Fatal(err)
		}
	}
	got, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want.Encode()) || p.Missing() != 0 || p.ID() != want.ID() {
		t.Error("the assembled entry is not the one that was proposed")
	}
	again, err := NewProposal(g, got, p.Segments())
	if err != nil || len(again.Signatures()) != 2 {
		t.Errorf("continued from an entry: %v", err)
	}
	if err := p.Sign(edKey("stranger")); CodeOf(err) != SignerUnknown {
		t.Errorf("a stranger signed: %v", err)
	}
}

func TestProposalFileThatLiesIsRefused(t *testing.T) {
	g := genesisFixture(t)
	bare := *issueFixture(t, g)
	bare.Signatures = nil
	p, err := NewProposal(g, bare.Encode(), [][]byte{[]byte("leg 0")})
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Sign(edKey("signer 1")); err != nil {
		t.Fatal(err)
	}
	file, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	other := bare
	other.Legs = slices.Clone(bare.Legs)
	other.Legs[0].Issued = 999999999
	enc := base64.StdEncoding.EncodeToString
	for _, c := range []struct {
		name, old, new string
		want           Code
	}{
		{"another entry under the same words", enc(bare.Encode()), enc(other.Encode()), ProposalInvalid},
		{"a smaller amount in the words", "1234.56", "12.34", ProposalInvalid},
		{"another id", p.ID().String(), ID{}.String(), ProposalInvalid},
		{"another segment", enc([]byte("leg 0")), enc([]byte("leg 1")), SegmentMismatch},
		{"another signer's number", `"signer": 1`, `"signer": 2`, SignatureInvalid},
		{"a signer's number out of range", `"signer": 1`, `"signer": 3`, SignerUnknown},
		{"another signer's key", edPublic("signer 1").String(), edPublic("signer 2").String(), ProposalInvalid},
		{"an unknown key", `"id":`, `"comment": "", "id":`, ProposalInvalid},
		{"a key twice", `"id":`, `"id": "", "id":`, ProposalInvalid},
		{"another format", proposalFormat, "comity/proposal/v2", ProposalInvalid},
		{"base64 with a line end", enc(bare.Encode())[:4], enc(bare.Encode())[:4] + `\n`, ProposalInvalid},
	} {
		bad := strings.Replace(string(file), c.old, c.new, 1)
		if bad == string(file) {
			t.Fatalf("%s: nothing was replaced", c.name)
		}
		if _, err := ParseProposal(g, []byte(bad)); CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	signed := issueFixture(t, g)
	bad := strings.Replace(string(file), enc(bare.Encode()), enc(signed.Encode()), 1)
	_, err = ParseProposal(g, []byte(bad))
	wantCode(t, err, ProposalInvalid)
}

func TestProposalIsForAPrivilegedEntryOfThisLedger(t *testing.T) {
	g := genesisFixture(t)
	_, err := NewProposal(g, transferFixture(g, zk.Transfer).Encode(), nil)
	wantCode(t, err, ProposalInvalid)
	f := &Freeze{Header{Ledger: GenesisHash{1}, Sequence: 1}, zk.Owner{}, true}
	_, err = NewProposal(g, Encode(f), nil)
	wantCode(t, err, WrongLedger)
	f.Ledger = g.Hash()
	_, err = NewProposal(g, Encode(f), [][]byte{{1}})
	wantCode(t, err, SegmentMismatch)
	if _, err = NewProposal(g, Encode(f), nil); err != nil {
		t.Error(err)
	}
}

func TestDescriptionSaysWhatIsSigned(t *testing.T) {
	g := genesisFixture(t)
	all := entriesFixture(t)
	for name, wants := range map[string][]string{
		"issue":     {"Issue 1234.56 AUR into programme 77", `Ledger "Republic of Aurelia", network development`, "sequence number 1", "Void from 2026-01-01T00:01:00.000Z"},
		"redeem":    {"Redeem 18446744073709551615 AUX from no programme"},
		"register":  {"Register 2 owner(s)", "at most 1000000 minor units per leg, no right", "may set programme 77, may set and release programme 78, may release every programme"},
		"freeze":    {"Freeze owner " + zk.Owner(field("owner 1")).String()},
		"unfreeze":  {"Release owner " + zk.Owner(field("owner 1")).String()},
		"programme": {`Programme 77 "Field hospitals 2026", open`, "can read every leg"},
		"oversight": {"Begin oversight epoch 2", "can read every payment"},
		"transfer":  {"hidden amount"},
	} {
		text := strings.Join(Describe(all[name], g), "\n")
		for _, want := range append(wants, IDOf(all[name]).String()) {
			if !strings.Contains(text, want) {
				t.Errorf("%s: %q is missing in\n%s", name, want, text)
			}
		}
	}
	other := *issueFixture(t, g)
	other.Ledger[0]++
	other.Legs[0].Asset = 9
	text := strings.Join(Describe(&other, g), "\n")
	if !strings.Contains(text, "ANOTHER LEDGER") || !strings.Contains(text, "unknown asset 9") {
		t.Error(text)
	}
}
