package corridorcmd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

func run(t *testing.T, args ...string) (out, errOut string, code cli.Code) {
	t.Helper()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command())
	var stdout, stderr bytes.Buffer
	code = cli.Code(cli.Run(t.Context(), root, append([]string{"corridor"}, args...), &stdout, &stderr))
	return stdout.String(), stderr.String(), code
}

// ends runs a command that must end with this code and say this.
func ends(t *testing.T, want cli.Code, text string, args ...string) string {
	t.Helper()
	out, errOut, code := run(t, args...)
	if code != want || !strings.Contains(out+errOut, text) {
		t.Errorf("comity corridor %s: exit %d, %q, %q; want exit %d and %q", strings.Join(args, " "), code, out, errOut, want, text)
	}
	return out
}

func key(name string) entry.SignerKey {
	seed := sha256.Sum256([]byte(name))
	return entry.SignerKey(ed25519.NewKeyFromSeed(seed[:]).Public().(ed25519.PublicKey))
}

// peerFile writes the genesis of Borealis with these witnesses, all validating but those whose name begins with "c".
func peerFile(t *testing.T, quorum, faulty uint8, witnesses ...string) (string, *entry.Genesis) {
	t.Helper()
	oversight, err := zk.NewScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	g := &entry.Genesis{Name: "Kingdom of Borealis", Prefix: "bor", Origin: "borealis.example", CreatedMillis: 1, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "BOR"}}, Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{key("signer")}}, LogKey: key("log"),
		Witnesses:            entry.WitnessPolicy{Quorum: quorum, Faulty: faulty},
		RegistryWindowMillis: 1000, MaxExpiryMillis: 1000, OversightKey: oversight.Base(), Circuits: []entry.Circuit{{ID: zk.Transfer, Version: 1, Fingerprint: [32]byte{1}}}}
	for _, name := range witnesses {
		kind := entry.ValidatingWitness
		if name[0] == 'c' {
			kind = entry.ConsistencyWitness
		}
		g.Witnesses.Members = append(g.Witnesses.Members, entry.Witness{Name: name, Key: key(name), Kind: kind})
	}
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), rand.Reader)
	text, err := g.JSON()
	if err != nil {
		t.Fatal(err)
	}
	return write(t, "genesis.json", string(text)), g
}

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestTermsComeFromThePeersGenesis(t *testing.T) {
	genesis, g := peerFile(t, 2, 1, "ours.example", "theirs.example")
	out := filepath.Join(t.TempDir(), "borealis.json")
	common := []string{"terms", "--peer-genesis", genesis, "--cap", "5000", "--classes", "10,100, 1000", "--stale", "90s"}
	with := func(more ...string) []string { return append(slices.Clone(common), more...) }
	hash := g.Hash()
	ends(t, cli.OK, hash.String(), with("--own-witness", "ours.example", "--out", out, "--peer", hash.String())...)
	text, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	peer, terms, err := entry.ParseCorridorJSON(text)
	if err != nil || peer != g.Hash() || terms.Cap != 5000 || !slices.Equal(terms.SizeClasses, []uint64{10, 100, 1000}) || terms.StaleMillis != 90000 ||
		terms.Quorum != 2 || terms.Faulty != 1 || !terms.Witnesses[0].Own || terms.Witnesses[1].Own || terms.Origin != g.Origin {
		t.Errorf("%+v, %v", terms, err)
	}
	ends(t, cli.Usage, "exists already", with("--own-witness", "ours.example", "--out", out)...)
	other := filepath.Join(t.TempDir(), "other.json")
	ends(t, cli.Refused, "other_ledger", with("--own-witness", "ours.example", "--out", other, "--peer", strings.Repeat("0", 64))...)
	ends(t, cli.Usage, "--peer", with("--own-witness", "ours.example", "--out", other, "--peer", "x")...)
	ends(t, cli.Refused, "corridor_invalid", with("--own-witness", "nobody.example", "--out", other)...)
	ends(t, cli.Refused, "corridor_invalid", with("--own-witness", "ours.example", "--quorum", "1", "--out", other)...)
	ends(t, cli.Refused, "corridor_invalid", with("--own-witness", "ours.example", "--faulty", "2", "--out", other)...)
	ends(t, cli.Refused, "corridor_invalid", with("--own-witness", "ours.example", "--cap", "9", "--out", other)...)
	ends(t, cli.Refused, "corridor_invalid", with("--own-witness", "ours.example", "--stale", "1ms", "--out", other)...)
	ends(t, cli.Usage, "minor units", with("--own-witness", "ours.example", "--cap", "1.5", "--out", other)...)
	ends(t, cli.Usage, "minor units", with("--own-witness", "ours.example", "--classes", "10,,20", "--out", other)...)
	ends(t, cli.Usage, "--stale", with("--own-witness", "ours.example", "--stale", "-1s", "--out", other)...)
	ends(t, cli.Usage, "required flag", with("--out", other)...)
	if _, err := os.Stat(other); err == nil {
		t.Error("a file was written for terms that are refused")
	}
}

func TestProposalsAreCheckedBeforeTheLedgerIsAsked(t *testing.T) {
	genesis, _ := peerFile(t, 2, 1, "ours.example", "theirs.example")
	example := "../../../deploy/aurelia/corridor-borealis.json"
	nobody := []string{"--ledger", "http://127.0.0.1:1", "--out", filepath.Join(t.TempDir(), "proposal.json")}
	with := func(args ...string) []string { return append(args, nobody...) }
	ends(t, cli.Unavailable, "genesis", with("add", "--file", example)...)
	ends(t, cli.Unavailable, "genesis", with("add", "--peer-genesis", genesis, "--own-witness", "ours.example", "--cap", "10", "--classes", "10")...)
	ends(t, cli.Usage, "--file or --peer-genesis", with("add")...)
	ends(t, cli.Usage, "--file or --peer-genesis", with("add", "--file", example, "--peer-genesis", genesis)...)
	ends(t, cli.Usage, "--cap says what", with("add", "--file", example, "--cap", "1")...)
	ends(t, cli.Refused, "other_ledger", with("add", "--file", example, "--peer", strings.Repeat("0", 64))...)
	ends(t, cli.Refused, "no witness of the peer's log", with("add", "--peer-genesis", genesis, "--cap", "10", "--classes", "10")...)
	ends(t, cli.Usage, "--peer", with("freeze", "--peer", "x")...)
	ends(t, cli.Usage, "--peer", with("thaw", "--peer", "")...)
	ends(t, cli.Usage, "required flag", with("thaw")...)
	ends(t, cli.Unavailable, "genesis", with("freeze", "--peer", strings.Repeat("0", 64))...)
	ends(t, cli.Refused, "not_loopback", "list", "--ledger", "http://192.0.2.1:7001")
	ends(t, cli.Usage, "sub-command")
}

func TestLintFindsTheSmallestColludingSet(t *testing.T) {
	example, err := os.ReadFile("../../../deploy/aurelia/corridor-borealis.json")
	if err != nil {
		t.Fatal(err)
	}
	lint := func(path string, more ...string) (f findings, errOut string, code cli.Code) {
		t.Helper()
		out, errOut, code := run(t, append([]string{"lint", path, "--json"}, more...)...)
		if out != "" {
			if err := json.Unmarshal([]byte(out), &f); err != nil {
				t.Fatalf("%v in %s", err, out)
			}
		}
		return f, errOut, code
	}
	f, _, code := lint("../../../deploy/aurelia/corridor-borealis.json")
	if code != cli.OK || f.Colluding != 2 || !slices.Equal(f.Operators, []string{"us", "witness.borealis.example"}) || len(f.Warnings) != 0 {
		t.Errorf("the example: exit %d, %+v", code, f)
	}
	// One operator behind both names.
	f, _, code = lint("../../../deploy/aurelia/corridor-borealis.json", "--operator", "witness.borealis.example=us")
	if code != cli.OK || !slices.Equal(f.Operators, []string{"us"}) || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "us alone") {
		t.Errorf("one operator: exit %d, %+v", code, f)
	}
	for _, bad := range []string{"witness.borealis.example", "witness.borealis.example=", "stranger=x"} {
		if _, errOut, code := lint("../../../deploy/aurelia/corridor-borealis.json", "--operator", bad); code != cli.Usage {
			t.Errorf("--operator %s: exit %d, %s", bad, code, errOut)
		}
	}
	for name, c := range map[string]struct {
		old, new  string
		code      cli.Code
		colluding int
		says      string
	}{
		"a quorum that the log splits": {`"quorum": 2`, `"quorum": 1`, cli.Refused, 0, "corridor_invalid"},
		"too many faulty":              {`"faulty": 1`, `"faulty": 2`, cli.Refused, 2, "does not resist 2 faulty"},
		"no faulty":                    {`"faulty": 1`, `"faulty": 0`, cli.OK, 2, "no faulty witness is allowed for"},
		"a quorum of nobody":           {`"quorum": 2`, `"quorum": 0`, cli.Refused, 0, "a quorum of"},
		"a quorum of too many":         {`"quorum": 2`, `"quorum": 3`, cli.Refused, 4, "a quorum of"},
		"another rule":                 {`"cap": "500000000"`, `"cap": "1"`, cli.Refused, 2, "lets no hold through"},
		"none of ours":                 {`"own": true`, `"own": false`, cli.Refused, 2, "no witness is ours"},
	} {
		text := strings.Replace(string(example), c.old, c.new, 1)
		if text == string(example) {
			t.Fatalf("%s: nothing was replaced", name)
		}
		f, errOut, code := lint(write(t, "corridor.json", text))
		if code != c.code || f.Colluding != c.colluding || !strings.Contains(errOut+strings.Join(f.Warnings, "\n"), c.says) {
			t.Errorf("%s: exit %d, %+v, %s", name, code, f, errOut)
		}
	}
	ends(t, cli.Refused, "corridor_invalid", "lint", write(t, "corridor.json", strings.Replace(string(example), `"cap"`, `"cup"`, 1)))
	ends(t, cli.Refused, "two histories by itself", "lint", write(t, "corridor.json", strings.Replace(string(example), `"quorum": 2`, `"quorum": 1`, 1)))
	ends(t, cli.Usage, "no such file", "lint", filepath.Join(t.TempDir(), "nowhere.json"))
	// Three witnesses of theirs and one of ours, three must sign: they can do without us.
	own := strings.Replace(string(example), `"members": [`, `"members": [{"name": "b.example", "key": "`+key("b").String()+`", "own": false}, {"name": "c.example", "key": "`+key("c").String()+`", "own": false},`, 1)
	own = strings.Replace(own, `"quorum": 2`, `"quorum": 3`, 1)
	f, _, code = lint(write(t, "corridor.json", own))
	if code != cli.OK || f.Colluding != 2 || len(f.Warnings) != 1 || !strings.Contains(f.Warnings[0], "without a witness of ours") {
		t.Errorf("exit %d, %+v", code, f)
	}
	// A genesis is judged in the same way, in both of its forms.
	path, g := peerFile(t, 3, 1, "a.example", "b.example", "c.example", "d.example")
	for _, file := range []string{path, write(t, "genesis.bin", string(entry.Encode(g)))} {
		if f, errOut, code := lint(file); code != cli.OK || f.Colluding != 2 || f.Witnesses != 4 {
			t.Errorf("a genesis: exit %d, %+v, %s", code, f, errOut)
		}
	}
}

func TestEvidenceIsToldApartBeforeTheLedgerIsAsked(t *testing.T) {
	peer := []string{"--ledger", "http://127.0.0.1:1", "--peer", strings.Repeat("0", 63) + "1"}
	accuse := func(want cli.Code, says, text string, more ...string) {
		t.Helper()
		ends(t, want, says, append(append([]string{"accuse", write(t, "evidence", text)}, peer...), more...)...)
	}
	late := (&entry.PeerProof{Size: 9, Index: 1, Leaf: []byte("leaf")}).Marshal()
	accuse(cli.Unavailable, "genesis", "comity/fork-evidence/v1\n")
	accuse(cli.Unavailable, "genesis", "comity/decision-evidence/v1\n")
	accuse(cli.Unavailable, "genesis", string(late), "--late")
	accuse(cli.Refused, "evidence_invalid", string(late))
	accuse(cli.Refused, "evidence_invalid", "hello", "--late")
	accuse(cli.Refused, "evidence_invalid", "")
	accuse(cli.Usage, "--late", "comity/fork-evidence/v1\n", "--late")
	accuse(cli.Usage, "--genesis", "comity/fork-evidence/v1\n", "--genesis", "x")
	ends(t, cli.Usage, "--peer", "accuse", write(t, "evidence", "x"), "--ledger", "http://127.0.0.1:1", "--peer", "")
}

func TestListedCorridorShowsItsTerms(t *testing.T) {
	text, err := os.ReadFile("../../../deploy/aurelia/corridor-borealis.json")
	if err != nil {
		t.Fatal(err)
	}
	peer, terms, err := entry.ParseCorridorJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	c := &ledgerv1.Corridor{Peer: peer[:], Name: "x", State: ledgerv1.CorridorState_CORRIDOR_STATE_STALE, Why: "never observed", InFlight: 100000, Claims: 10000000, Terms: terms.Append(nil)}
	r, err := rowOf(c)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.print(&out)
	for _, want := range []string{terms.Name + ": stale (never observed)", peer.String(), "100000 of 500000000 minor units, size classes 100000 10000000 500000000", "stale after 10m0s",
		"2 of 2, 1 may be faulty: witness.borealis.example witness.aurelia.example (ours)", "CLAIMS      10000000"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("%q is missing in\n%s", want, out.String())
		}
	}
	if strings.Contains(out.String(), "observed  ") {
		t.Errorf("shows an observation that was never made:\n%s", out.String())
	}
	for name, change := range map[string]func(*ledgerv1.Corridor){
		"terms that are cut": func(c *ledgerv1.Corridor) { c.Terms = c.Terms[:20] }, "something after the terms": func(c *ledgerv1.Corridor) { c.Terms = append(c.Terms, 0) },
		"a peer that is cut": func(c *ledgerv1.Corridor) { c.Peer = c.Peer[:31] },
	} {
		bad := &ledgerv1.Corridor{Peer: slices.Clone(peer[:]), Terms: terms.Append(nil)}
		change(bad)
		if _, err := rowOf(bad); err == nil {
			t.Errorf("%s was accepted", name)
		} else if code, _ := cli.CodeOf(err); code != cli.Unverified {
			t.Errorf("%s: exit %d", name, code)
		}
	}
}
