package ledgercmd

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/zk"
)

func TestMain(m *testing.M) {
	keyfile.WorkFactor = 8
	if version := os.Getenv(envVersion); version != "" {
		os.Exit(program(version))
	}
	os.Exit(pgtest.Main(m))
}

// run executes `comity ledger ...` in this process.
func run(t *testing.T, args ...string) (out, errOut string, code cli.Code) {
	t.Helper()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command("test"))
	var stdout, stderr bytes.Buffer
	code = cli.Code(cli.Run(t.Context(), root, append([]string{"ledger"}, args...), &stdout, &stderr))
	return stdout.String(), stderr.String(), code
}

func must(t *testing.T, args ...string) string {
	t.Helper()
	out, errOut, code := run(t, args...)
	if code != cli.OK {
		t.Fatalf("comity ledger %s: exit %d: %s", strings.Join(args, " "), code, errOut)
	}
	return out
}

// refused runs a command that must end with this exit code and name its reason.
func refused(t *testing.T, want cli.Code, name string, args ...string) {
	t.Helper()
	_, errOut, code := run(t, args...)
	if code != want || !strings.Contains(errOut, name) {
		t.Errorf("comity ledger %s: exit %d, %q; want exit %d and %q", strings.Join(args, " "), code, errOut, want, name)
	}
}

const passphrase = "correct horse battery staple"

// place is a folder with a passphrase file, keys and a configuration.
type place struct {
	dir       string
	oversight zk.Scalar
	public    string // oversight key
	signers   [2]string
}

func newPlace(t *testing.T) *place {
	t.Helper()
	p := &place{dir: t.TempDir()}
	write(t, p.path("passphrase"), passphrase+"\n")
	t.Setenv(cli.PassphraseEnv, p.path("passphrase"))
	var err error
	if p.oversight, err = zk.NewScalar(rand.Reader); err != nil {
		t.Fatal(err)
	}
	raw := p.oversight.Base().Bytes()
	p.public = hex.EncodeToString(raw[:])
	for i, name := range []string{"minister", "governor"} {
		p.signers[i] = strings.TrimSpace(must(t, "signer-keygen", "--out", p.path(name+".key")))
	}
	return p
}

func (p *place) path(name string) string { return filepath.Join(p.dir, name) }

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

const witnessKey = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a" // RFC 8032, test 1

func (p *place) begin(t *testing.T, data string, extra ...string) string {
	t.Helper()
	out := must(t, append([]string{"init", "--data", p.path(data), "--config", "../../../deploy/aurelia/ledger.json", "--signer", p.signers[0], "--signer", p.signers[1],
		"--witness", "w1=" + witnessKey, "--oversight-key", p.public, "--json"}, extra...)...)
	var answer struct{ Draft string }
	if err := json.Unmarshal([]byte(out), &answer); err != nil || len(answer.Draft) != 64 {
		t.Fatalf("%v in %s", err, out)
	}
	return answer.Draft
}

func (p *place) possession(t *testing.T, draft string) string {
	t.Helper()
	id, err := entry.ParseID(draft)
	if err != nil {
		t.Fatal(err)
	}
	sig := entry.ProvePossession(p.oversight, entry.OversightPossession(entry.GenesisHash(id), entry.GenesisOversightEpoch), rand.Reader).Bytes()
	return hex.EncodeToString(sig[:])
}

func TestLedgerIsCreatedInTwoSteps(t *testing.T) {
	p := newPlace(t)
	draft := p.begin(t, "aurelia")
	// Between the steps the folder is named for what it is, and is not begun over.
	refused(t, cli.Refused, "half_created", "replay", "--data", p.path("aurelia"))
	refused(t, cli.Refused, "half_created", "init", "--data", p.path("aurelia"), "--config", "../../../deploy/aurelia/ledger.json", "--oversight-key", p.public)
	// A proof for something else is refused and leaves the draft as it was.
	other := p.possession(t, strings.Repeat("ab", 32))
	refused(t, cli.Refused, "oversight_key_invalid", "init", "--data", p.path("aurelia"), "--possession", other)
	refused(t, cli.Usage, "hexadecimal", "init", "--data", p.path("aurelia"), "--possession", "zz")

	write(t, p.path("proof"), p.possession(t, draft)+"\n")
	var created struct{ Genesis, Network string }
	if err := json.Unmarshal([]byte(must(t, "init", "--data", p.path("aurelia"), "--possession", p.path("proof"), "--json")), &created); err != nil || created.Network != "development" {
		t.Fatalf("%v %+v", err, created)
	}
	out := must(t, "replay", "--data", p.path("aurelia"), "--json")
	if !strings.Contains(out, created.Genesis) || !strings.Contains(out, `"height": 0`) {
		t.Fatal(out)
	}
	refused(t, cli.Refused, "already_exists", "init", "--data", p.path("aurelia"), "--possession", p.path("proof"))
	refused(t, cli.Refused, "no_ledger", "replay", "--data", p.path("nowhere"))
	if info, err := os.Stat(p.path("aurelia/log.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("log key: %v, %v", info, err)
	}
}

func TestCrashBetweenStoreAndGenesisCanBeRepeated(t *testing.T) {
	p := newPlace(t)
	proof := p.possession(t, p.begin(t, "aurelia"))
	draft, err := os.ReadFile(p.path("aurelia/draft.json"))
	if err != nil {
		t.Fatal(err)
	}
	must(t, "init", "--data", p.path("aurelia"), "--possession", proof)
	// As if the process had died after the store was made and before genesis.json was written.
	if err := os.Remove(p.path("aurelia/genesis.json")); err != nil {
		t.Fatal(err)
	}
	write(t, p.path("aurelia/draft.json"), string(draft))
	refused(t, cli.Refused, "half_created", "replay", "--data", p.path("aurelia"))
	must(t, "init", "--data", p.path("aurelia"), "--possession", proof)
	must(t, "replay", "--data", p.path("aurelia"))
}

func TestStoreOfAnotherLedgerIsRefused(t *testing.T) {
	p := newPlace(t)
	for _, name := range []string{"one", "two"} {
		must(t, "init", "--data", p.path(name), "--possession", p.possession(t, p.begin(t, name)))
	}
	genesis, err := os.ReadFile(p.path("two/genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.path("one/genesis.json"), string(genesis))
	refused(t, cli.Refused, "other_ledger", "replay", "--data", p.path("one"))
}

func TestBadConfigurationsAreRefusedBeforeAnythingIsMade(t *testing.T) {
	p := newPlace(t)
	good, err := os.ReadFile("../../../deploy/aurelia/ledger.json")
	if err != nil {
		t.Fatal(err)
	}
	for name, tc := range map[string]struct {
		from, to string
		want     string
		args     []string
		code     cli.Code
	}{
		"unknown key":    {`"prefix"`, `"prefx"`, "prefx", nil, cli.Usage},
		"syntax":         {`"decimals": 2}`, `"decimals": 2`, "line", nil, cli.Usage},
		"network":        {`"development"`, `"test"`, "network", nil, cli.Usage},
		"production":     {`"development"`, `"production"`, "development_key", nil, cli.Refused},
		"quorum":         {`"quorum": 1`, `"quorum": 2`, "quorum", nil, cli.Usage},
		"faulty":         {`"faulty": 0`, `"faulty": 1`, "2k-n", nil, cli.Usage},
		"decimals":       {`"decimals": 2`, `"decimals": 19`, "decimals", nil, cli.Usage},
		"threshold":      {`"threshold": 2`, `"threshold": 3`, "signers", nil, cli.Usage},
		"bad signer":     {"", "", "hexadecimal", []string{"--signer", "zz"}, cli.Usage},
		"same signer":    {"", "", "twice", []string{"--signer", "=0"}, cli.Usage},
		"witness format": {"", "", "NAME=KEY", []string{"--witness", "w2"}, cli.Usage},
		"witness kind":   {"", "", "kind", []string{"--witness", "w2=" + witnessKey + ",sleepy"}, cli.Usage},
		"witness twice":  {`"quorum": 1`, `"quorum": 2`, "no name twice", []string{"--witness", "w1=" + witnessKey}, cli.Usage},
	} {
		t.Run(name, func(t *testing.T) {
			config := p.path("config.json")
			write(t, config, strings.Replace(string(good), tc.from, tc.to, 1))
			args := []string{"init", "--data", p.path("bad"), "--config", config, "--signer", p.signers[0], "--signer", p.signers[1], "--witness", "w1=" + witnessKey, "--oversight-key", p.public}
			for _, a := range tc.args {
				args = append(args, strings.Replace(a, "=0", p.signers[0], 1))
			}
			refused(t, tc.code, tc.want, args...)
			if exists(p.path("bad")) {
				t.Error("a folder was made")
			}
		})
	}
	refused(t, cli.Usage, "--config", "init", "--data", p.path("bad"))
	refused(t, cli.Refused, "no_draft", "init", "--data", p.path("bad"), "--possession", strings.Repeat("00", 96))
	if err := os.Mkdir(p.path("full"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, p.path("full/file"), "x")
	refused(t, cli.Refused, "folder_not_empty", "init", "--data", p.path("full"), "--config", "../../../deploy/aurelia/ledger.json", "--signer", p.signers[0], "--signer", p.signers[1],
		"--witness", "w1="+witnessKey, "--oversight-key", p.public)
}

func TestExampleConfigurationsMakeLedgers(t *testing.T) {
	p := newPlace(t)
	p.begin(t, "aurelia")
	const second = "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c" // RFC 8032, test 2
	write(t, p.path("ours.line"), "w1="+witnessKey+"\n")
	write(t, p.path("theirs.line"), "w2="+second+",consistency\n")
	for _, name := range []string{"borealis", "cordelia"} {
		must(t, "init", "--data", p.path(name), "--config", "../../../deploy/"+name+"/ledger.json", "--signer", p.signers[0], "--signer", p.signers[1],
			"--witness", "w1="+witnessKey, "--witness", p.path("theirs.line"), "--oversight-key", p.public)
	}
	// The same with flags: a witness of each of two nations, and neither can cheat alone.
	both := []string{"--config", "../../../deploy/aurelia/ledger.json", "--signer", p.signers[0], "--signer", p.signers[1], "--witness", p.path("ours.line"),
		"--witness", p.path("theirs.line"), "--oversight-key", p.public}
	refused(t, cli.Usage, "2k-n", append([]string{"init", "--data", p.path("weak")}, both...)...)
	refused(t, cli.Usage, "2k-n", append([]string{"init", "--data", p.path("weak"), "--quorum", "2", "--faulty", "2"}, both...)...)
	refused(t, cli.Usage, "NAME=KEY", append([]string{"init", "--data", p.path("weak"), "--witness", p.path("passphrase")}, both...)...)
	must(t, append([]string{"init", "--data", p.path("joined"), "--quorum", "2", "--faulty", "1"}, both...)...)
	text, err := os.ReadFile(p.path("joined/draft.json"))
	if err != nil {
		t.Fatal(err)
	}
	var draft draftFile
	if err := json.Unmarshal(text, &draft); err != nil || draft.Config.Witnesses.Quorum != 2 || draft.Config.Witnesses.Faulty != 1 || len(draft.Config.Witnesses.Members) != 2 {
		t.Errorf("%v, %s", err, text)
	}
}

func TestDocumentTypesAreTheOnesOfEntries(t *testing.T) {
	for i, word := range documentTypes {
		got, err := documentType(word)
		if err != nil || got != entry.Statement(i+1) || strings.HasPrefix(got.String(), "statement ") {
			t.Errorf("%s: %s, %v", word, got, err)
		}
	}
	for _, bad := range []string{"", "poem", "Delivery"} {
		if _, err := documentType(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
}

func TestKeyFilesOpenOnlyForTheirPurpose(t *testing.T) {
	p := newPlace(t)
	secret := []byte("correct horse battery staple")
	key, public, err := keyfile.Read(p.path("minister.key"), PurposeSigner, secret)
	if err != nil {
		t.Fatal(err)
	}
	if !public.Public().Equal(key.Public()) || public.String() != p.signers[0] {
		t.Fatalf("key %s, want %s", public, p.signers[0])
	}
	if _, _, err := keyfile.Read(p.path("minister.key"), purposeLog, secret); err == nil || !strings.Contains(err.Error(), "another kind") {
		t.Errorf("a signer's key as a log key: %v", err)
	}
	_, _, err = keyfile.Read(p.path("minister.key"), PurposeSigner, []byte("wrong"))
	if code, name := cli.CodeOf(err); code != cli.Refused || name != "passphrase_wrong" {
		t.Errorf("wrong passphrase: %d %q %v", code, name, err)
	}
	data, err := os.ReadFile(p.path("minister.key"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(data, []byte(hex.EncodeToString(key.Seed()))) {
		t.Error("the key file holds its secret in the clear")
	}
	for name, bad := range map[string][]byte{"empty": nil, "cut": data[:len(data)/2], "text": []byte("hello")} {
		write(t, p.path("bad.key"), string(bad))
		if _, _, err := keyfile.Read(p.path("bad.key"), PurposeSigner, secret); err == nil {
			t.Errorf("%s key file was opened", name)
		}
	}
	refused(t, cli.Usage, "exists already", "signer-keygen", "--out", p.path("minister.key"))
}

func TestProposalIsSignedByReadingIt(t *testing.T) {
	p := newPlace(t)
	must(t, "init", "--data", p.path("aurelia"), "--possession", p.possession(t, p.begin(t, "aurelia")))
	text, err := os.ReadFile(p.path("aurelia/genesis.json"))
	if err != nil {
		t.Fatal(err)
	}
	g, err := entry.ParseGenesisJSON(text)
	if err != nil {
		t.Fatal(err)
	}
	e := &entry.Freeze{Header: entry.Header{Ledger: g.Hash(), ExpiryMillis: 1 << 50, Sequence: 1}, Owner: zk.Owner{31: 9}, Frozen: true}
	proposal, err := entry.NewProposal(g, entry.Encode(e), nil)
	if err != nil {
		t.Fatal(err)
	}
	file, err := proposal.JSON()
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.path("freeze.json"), string(file))
	genesis := []string{"--genesis-file", p.path("aurelia/genesis.json"), "--yes"}
	out := must(t, append([]string{"sign", p.path("freeze.json"), "--key", p.path("minister.key")}, genesis...)...)
	if !strings.Contains(out, "Freeze owner") || !strings.Contains(out, "1 signature(s), 1 missing") {
		t.Fatal(out)
	}
	must(t, append([]string{"sign", p.path("freeze.json"), "--key", p.path("minister.key")}, genesis...)...) // again: no change
	out = must(t, append([]string{"sign", p.path("freeze.json"), "--key", p.path("governor.key"), "--json"}, genesis...)...)
	if !strings.Contains(out, `"missing": 0`) {
		t.Fatal(out)
	}
	must(t, "signer-keygen", "--out", p.path("stranger.key"))
	refused(t, cli.Refused, "signer_unknown", append([]string{"sign", p.path("freeze.json"), "--key", p.path("stranger.key")}, genesis...)...)
	refused(t, cli.Refused, "other_ledger", append([]string{"sign", p.path("freeze.json"), "--key", p.path("minister.key"), "--genesis", strings.Repeat("00", 32)}, genesis...)...)
	refused(t, cli.Usage, "--yes", "sign", p.path("freeze.json"), "--key", p.path("minister.key"), genesis[0], genesis[1])
	// Somebody changes what the signer reads.
	signed, err := os.ReadFile(p.path("freeze.json"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, p.path("freeze.json"), strings.Replace(string(signed), "Freeze owner", "Thaw owner", 1))
	refused(t, cli.Refused, "proposal_invalid", append([]string{"sign", p.path("freeze.json"), "--key", p.path("minister.key")}, genesis...)...)
}

func TestRightsAreReadStrictly(t *testing.T) {
	for text, want := range map[string]rightRow{
		"7:set": {"7", true, false}, "7:release": {"7", false, true}, "*:set,release": {"*", true, true},
	} {
		if got, err := parseRight(text); err != nil || got != want {
			t.Errorf("%s: %+v, %v", text, got, err)
		}
	}
	for _, bad := range []string{"", "7", "7:", "7:spend", "7:set,", "set"} {
		if _, err := parseRight(bad); err == nil {
			t.Errorf("%q was accepted", bad)
		}
	}
	for _, bad := range []string{"", "0", "-1", "1.5", "18446744073709551616", "x"} {
		if _, err := programmeID(bad); err == nil {
			t.Errorf("programme %q was accepted", bad)
		}
	}
}

func TestAddressesAwayFromThisMachineAreRefused(t *testing.T) {
	refused(t, cli.Refused, "not_loopback", "status", "--ledger", "http://192.0.2.1:7001")
	refused(t, cli.Usage, "http://127.0.0.1", "status", "--ledger", "127.0.0.1:7001")
	refused(t, cli.Unavailable, "genesis", "status", "--ledger", "http://127.0.0.1:1")
	refused(t, cli.Usage, "--log or --ledger", "verify")
	refused(t, cli.Usage, "", "verify", "--log", t.TempDir())
}
