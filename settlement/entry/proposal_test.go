package entry

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
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

// overrideProposal is signed by one of the policy, two of the peer's treasury and oversight.
func overrideProposal(t testing.TB, g *Genesis) *Proposal {
	t.Helper()
	o := *entriesFixture(t)["override bare"].(*Override)
	o.Peer, o.Signatures = peerGenesis(t).Hash(), nil
	p, err := NewProposal(g, Encode(&o), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"peer signer 2", "peer signer 0"} {
		if err := p.SignTreasury(peerGenesis(t), edKey(name)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.SignOversight(scalar(t, "oversight"), &seeded{name: "n4"}); err != nil {
		t.Fatal(err)
	}
	if err := p.Sign(edKey("signer 1")); err != nil {
		t.Fatal(err)
	}
	return p
}

func peerGenesis(t testing.TB) *Genesis {
	t.Helper()
	g := genesisFixture(t)
	g.Name, g.Origin, g.LogKey, g.Policy = "Kingdom of Borealis", termsFixture().Origin, termsFixture().LogKey, termsFixture().Treasury
	return g
}

func TestOverrideIsCollectedFromThreeBodies(t *testing.T) {
	g, peer := genesisFixture(t), peerGenesis(t)
	o := *entriesFixture(t)["override bare"].(*Override)
	o.Peer, o.Signatures = peer.Hash(), nil
	p, err := NewProposal(g, Encode(&o), nil)
	if err != nil {
		t.Fatal(err)
	}
	reread := func() {
		t.Helper()
		file, err := p.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if p, err = ParseProposal(g, file); err != nil {
			t.Fatal(err)
		}
	}
	missing := func(want int) {
		t.Helper()
		if n, err := p.TreasuryMissing(&peer.Policy); n != want || err != nil {
			t.Errorf("%d of the treasury are missing, want %d (%v)", n, want, err)
		}
	}
	reread()
	missing(2)
	for _, name := range []string{"signer 0", "signer 2"} {
		_, err := p.Assemble()
		wantCode(t, err, SignaturesMissing)
		if err := p.Sign(edKey(name)); err != nil {
			t.Fatal(err)
		}
		reread()
	}
	_, err = p.Assemble() // the policy suffices, nobody of the peer has signed
	wantCode(t, err, SignaturesMissing)
	wantCode(t, p.SignTreasury(g, edKey("signer 0")), WrongLedger)
	wantCode(t, p.SignTreasury(peer, edKey("signer 0")), SignerUnknown)
	for i, name := range []string{"peer signer 2", "peer signer 0", "peer signer 0"} {
		if err := p.SignTreasury(peer, edKey(name)); err != nil {
			t.Fatal(err)
		}
		reread()
		missing(max(0, 1-i))
	}
	_, err = p.Assemble() // and oversight has not
	wantCode(t, err, OverrideInvalid)
	if _, signed := p.OversightKey(); signed {
		t.Error("oversight has signed")
	}
	if err := p.SignOversight(scalar(t, "oversight"), &seeded{name: "n5"}); err != nil {
		t.Fatal(err)
	}
	reread()
	if err := p.SignOversight(scalar(t, "oversight"), &seeded{name: "n6"}); err != nil { // signing twice is no harm
		t.Fatal(err)
	}
	reread()
	key := scalar(t, "oversight").Base()
	if k, signed := p.OversightKey(); !signed || k != key {
		t.Error("oversight's key is not in the file")
	}
	leaf, err := p.Assemble()
	if err != nil {
		t.Fatal(err)
	}
	e, err := Decode(leaf)
	if err != nil {
		t.Fatal(err)
	}
	got := e.(*Override)
	if err := got.VerifyTreasury(&peer.Policy); err != nil {
		t.Error(err)
	}
	if err := got.VerifyOversight(key); err != nil {
		t.Error(err)
	}
	if err := g.Policy.Verify(IDOf(got), got.Signatures); err != nil {
		t.Error(err)
	}
	if IDOf(got) != IDOf(&o) {
		t.Error("signing gave the override another id")
	}
	// Whose keys the treasury's are is not written in an entry, so a proposal is not continued from a full one.
	_, err = NewProposal(g, leaf, nil)
	wantCode(t, err, ProposalInvalid)
	// A treasury that is not the peer's is told apart.
	other := peer.Policy
	other.Signers = []SignerKey{edPublic("peer signer 0"), edPublic("peer signer 1"), edPublic("a stranger")}
	if _, err := p.TreasuryMissing(&other); CodeOf(err) != SignerUnknown {
		t.Errorf("%v", err)
	}
}

func TestOverrideFileThatLiesIsRefused(t *testing.T) {
	g := genesisFixture(t)
	p := overrideProposal(t, g)
	file, err := p.JSON()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ParseProposal(g, file); err != nil {
		t.Fatal(err)
	}
	sigs := p.TreasurySignatures()
	enc := base64.StdEncoding.EncodeToString
	key := scalar(t, "oversight").Base().Bytes()
	other := scalar(t, "another").Base().Bytes()
	bare := *p.entry.(*Override)
	elsewhere := bare
	elsewhere.Hold.Leg = 1
	for _, c := range []struct {
		name, old, new string
		want           Code
	}{
		{"another outcome in the words", "POSTED: the payee is paid, and the payer does not get the money back", "VOIDED: the payer gets the money back, and the payee is not paid", ProposalInvalid},
		{"a milder word", "IT CANNOT BE UNDONE", "It can be undone", ProposalInvalid},
		{"another hold under the same words", enc(Encode(&bare)), enc(Encode(&elsewhere)), ProposalInvalid},
		{"a treasury signature of another", enc(sigs[0].Signature[:]), enc(sigs[1].Signature[:]), SignatureInvalid},
		{"a treasury signature that is cut", enc(sigs[0].Signature[:]), enc(sigs[0].Signature[:63]), ProposalInvalid},
		{"a key that did not sign", edPublic("peer signer 0").String(), edPublic("peer signer 1").String(), SignatureInvalid},
		{"a key under which anybody signs", edPublic("peer signer 0").String(), SignerKey{0: 1}.String(), ProposalInvalid},
		{"one signer twice", `"signer": 2`, `"signer": 0`, SignerRepeated},
		{"a signer out of range", `"signer": 2`, `"signer": 16`, ProposalInvalid},
		{"another oversight key", hex.EncodeToString(key[:]), hex.EncodeToString(other[:]), OverrideInvalid},
		{"an oversight key off the curve", hex.EncodeToString(key[:]), strings.Repeat("11", 64), ProposalInvalid},
		{"an unknown key", `"treasury":`, `"comment": "", "treasury":`, ProposalInvalid},
		{"no place for the others", `"override":`, `"overrides":`, ProposalInvalid},
	} {
		bad := strings.Replace(string(file), c.old, c.new, 1)
		if bad == string(file) {
			t.Fatalf("%s: nothing was replaced", c.name)
		}
		if _, err := ParseProposal(g, []byte(bad)); CodeOf(err) != c.want {
			t.Errorf("%s: %v, want %s", c.name, err, c.want)
		}
	}
	// An override must have the place, every other kind must not.
	at := strings.Index(string(file), ",\n  \"override\"")
	_, err = ParseProposal(g, []byte(string(file[:at])+"\n}\n"))
	wantCode(t, err, ProposalInvalid)
	freeze := *entriesFixture(t)["corridor freeze"].(*Corridor)
	freeze.Signatures = nil
	q, err := NewProposal(g, Encode(&freeze), nil)
	if err != nil {
		t.Fatal(err)
	}
	plain, err := q.JSON()
	if err != nil {
		t.Fatal(err)
	}
	with := strings.TrimSuffix(string(plain), "\n}\n") + ",\n  \"override\": {\"treasury\": [], \"oversight\": null}\n}\n"
	_, err = ParseProposal(g, []byte(with))
	wantCode(t, err, ProposalInvalid)
	wantCode(t, q.SignTreasury(peerGenesis(t), edKey("peer signer 0")), ProposalInvalid)
	wantCode(t, q.AddTreasury(&peerGenesis(t).Policy, sigs[0]), ProposalInvalid)
	wantCode(t, q.SignOversight(scalar(t, "oversight"), &seeded{name: "n7"}), ProposalInvalid)
	_, err = q.TreasuryMissing(&peerGenesis(t).Policy)
	wantCode(t, err, ProposalInvalid)
	// What is not signed is not taken over.
	stranger := sigs[0]
	stranger.Signer = 3
	wantCode(t, p.AddTreasury(&peerGenesis(t).Policy, stranger), SignerUnknown)
	broken := sigs[0]
	broken.Signature[5]++
	wantCode(t, p.AddTreasury(&peerGenesis(t).Policy, broken), SignatureInvalid)
	wantCode(t, p.AddTreasury(&peerGenesis(t).Policy, sigs[0]), SignerRepeated)
	wantCode(t, p.AddOversight(scalar(t, "oversight").Base(), zk.Signature{}), OverrideInvalid)
	voided := entriesFixture(t)["override"].(*Override) // oversight signed that one, not this
	wantCode(t, p.AddOversight(scalar(t, "oversight").Base(), voided.Oversight), OverrideInvalid)
}

func TestDocumentsAndCorridorsAreProposed(t *testing.T) {
	g := genesisFixture(t)
	for _, name := range []string{"anchor", "supersede", "revoke", "corridor", "corridor freeze", "corridor thaw"} {
		want := entriesFixture(t)[name]
		bare, err := Decode(Encode(want))
		if err != nil {
			t.Fatal(err)
		}
		bare.Head().Signatures = nil
		p, err := NewProposal(g, Encode(bare), nil)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, s := range []string{"signer 1", "signer 0"} {
			if err := p.Sign(edKey(s)); err != nil {
				t.Fatal(err)
			}
		}
		file, err := p.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if p, err = ParseProposal(g, file); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, err := p.Assemble(); err != nil || !bytes.Equal(got, Encode(want)) {
			t.Errorf("%s: assembled %x, %v", name, got, err)
		}
	}
	for _, name := range []string{"attest", "amend", "resolve expired", "observe", "evidence"} {
		_, err := NewProposal(g, Encode(entriesFixture(t)[name]), nil)
		wantCode(t, err, ProposalInvalid)
	}
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
		"anchor":    {`Anchor document "contract 2026/7", contract`, hex.EncodeToString(paper[:])},
		"supersede": {"in place of another, which is void", "in place of SHA-256 " + hex.EncodeToString(paper[:])},
		"revoke":    {`Revoke document "withdrawn", other document`, "cannot be anchored again", hex.EncodeToString(paper[:])},
		"corridor": {"Open the corridor to ledger " + peerLedger.String(), `peer "Kingdom of Borealis", log ledger.borealis.example/log`, "log key " + edPublic("peer log").String(),
			"when 2 of 2 witnesses cosigned, at least one of ours among them; at most 1 may collude", "could cosign two histories: 2",
			"witness aurelia.borealis.example, key " + edPublic("our witness").String() + ", OURS", "witness borealis.example, key " + edPublic("their witness").String() + ", not ours",
			"at most 5000000 minor units of any currency", "size classes, minor units: 1000, 100000, 1000000", "600000 ms after the last observation", "override with 2 of these 3 signers",
			"signer 2, key " + edPublic("peer signer 2").String()},
		"corridor freeze": {"Freeze the corridor to ledger " + peerLedger.String(), "no new payment crosses"},
		"corridor thaw":   {"Thaw the corridor to ledger " + peerLedger.String(), "evidence against that ledger stays booked"},
		"override": {"OVERRIDE: DECIDE A PAYMENT BY HAND, IN PLACE OF LEDGER " + peerLedger.String(), "hold " + holdID.String(), "VOIDED: the payer gets the money back",
			"IT CANNOT BE UNDONE", "a claim between the two treasuries", "this ledger's oversight office"},
		"override bare":      {"POSTED: the payee is paid, and the payer does not get the money back", zk.Commitment(field("payee's")).String()},
		"attest":             {"Attest a delivery verification for hold " + holdID.String(), "attestor 1", hex.EncodeToString(paper[:])},
		"withdraw":           {"Withdraw the delivery verification that attestor 0 logged"},
		"challenge":          {"Challenge hold " + holdID.String()},
		"amend":              {"Change the expiry of hold " + holdID.String(), "2030-03-17T17:46:40.000Z"},
		"resolve decider":    {"is posted (peers): the payee is paid", "with hold " + holdID.String() + " of ledger " + GenesisHash{1}.String()},
		"resolve released":   {"is voided (released): the payer has its money back"},
		"hold attested":      {"held until 2 of 3 attestors log a delivery verification of the document with SHA-256 " + hex.EncodeToString(paper[:]), "may challenge within 3600000 ms", "then 3 attestors", "give it up with key " + edPublic("payee").String(), "returned to the payer from 2027-01-15T08:00:00.000Z"},
		"hold guarantee":     {"log a demand of a document that the attestors agree on"},
		"hold decided here":  {"held until 2 other ledger(s) log their holds; size class 1000 minor units", "ledger " + GenesisHash{2}.String() + ", commitment " + zk.Commitment(field("cm V")).String()},
		"hold decided there": {"held until ledger " + peerLedger.String() + " decides hold " + holdID.String()},
		"observe rotated":    {"had 1000 log entries", "handed over to " + edPublic("peer log 2").String()},
		"evidence":           {"Show misbehaviour of ledger " + peerLedger.String() + ": fork"},
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
