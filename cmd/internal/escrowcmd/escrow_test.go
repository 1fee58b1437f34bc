package escrowcmd

import (
	"bytes"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
)

func run(t *testing.T, args ...string) (code cli.Code, out, errOut string) {
	t.Helper()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command())
	var o, e bytes.Buffer
	code = cli.Code(cli.Run(t.Context(), root, append([]string{"escrow"}, args...), &o, &e))
	return code, o.String(), e.String()
}

// keys makes n party keys and gives their public halves.
func partyKeys(t *testing.T, n int) (public []string) {
	t.Helper()
	keyfile.WorkFactor = 10
	dir := t.TempDir()
	pass := filepath.Join(dir, "pass")
	if err := os.WriteFile(pass, []byte("correct horse\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv(cli.PassphraseEnv, pass)
	for i := range n {
		code, out, errOut := run(t, "keygen", "--out", filepath.Join(dir, "key"+string(rune('a'+i))))
		if code != cli.OK {
			t.Fatal(errOut)
		}
		public = append(public, strings.TrimSpace(out))
	}
	return public
}

func TestKeygenPrintsThePublicHalf(t *testing.T) {
	for _, k := range partyKeys(t, 2) {
		if raw, err := hex.DecodeString(k); err != nil || len(raw) != 32 {
			t.Errorf("%q is no public key", k)
		}
	}
}

// conditionsOf reads the flags of place as the command does.
func conditionsOf(t *testing.T, args ...string) (*entry.Attested, error) {
	t.Helper()
	cmd := &cobra.Command{}
	f := addConditionFlags(cmd)
	if err := cmd.ParseFlags(args); err != nil {
		t.Fatal(err)
	}
	return f.read(time.UnixMilli(1_000_000))
}

func TestConditionsAreReadFromFlags(t *testing.T) {
	k := partyKeys(t, 4)
	document := filepath.Join(t.TempDir(), "contract.pdf")
	if err := os.WriteFile(document, []byte("we deliver"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := conditionsOf(t, "--statement", "delivery", "--until", "1h", "--attestor", k[0], "--attestor", k[1], "--document", document,
		"--window", "10m", "--payer-key", k[2], "--payee-key", k[3])
	if err != nil {
		t.Fatal(err)
	}
	if a.Threshold != 2 || a.Contested != 2 || a.WindowMillis != 600_000 || a.Until != 4_600_000 || a.Document != entry.Digest([]byte("we deliver")) ||
		a.Payer.String() != k[2] || a.Payee.String() != k[3] || a.Attestors[1].String() != k[1] || a.Statement != entry.StatementDelivery {
		t.Errorf("got %+v", a)
	}
	// A guarantee: the beneficiary demands, and may release.
	if _, err := conditionsOf(t, "--statement", "demand", "--until", "1h", "--attestor", k[0], "--payee-key", k[0], "--payer-key", k[1]); err != nil {
		t.Error(err)
	}
	for name, args := range map[string][]string{
		"statement":              {"--statement", "wish", "--until", "1h", "--attestor", k[0]},
		"until":                  {"--statement", "delivery", "--until", "soon", "--attestor", k[0]},
		"attestor":               {"--statement", "delivery", "--until", "1h", "--attestor", "nonsense"},
		"threshold":              {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--threshold", "2"},
		"attestor twice":         {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--attestor", k[0]},
		"window without payer":   {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--window", "1h"},
		"contested, no window":   {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--contested", "1"},
		"file and digest":        {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--document", document, "--digest", strings.Repeat("0", 64)},
		"digest":                 {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--digest", "xyz"},
		"payer is payee":         {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--payer-key", k[1], "--payee-key", k[1]},
		"document does not open": {"--statement", "delivery", "--until", "1h", "--attestor", k[0], "--document", filepath.Join(t.TempDir(), "none")},
	} {
		if a, err := conditionsOf(t, args...); err == nil {
			t.Errorf("%s: accepted as %+v", name, a)
		} else if code, _ := cli.CodeOf(err); code != cli.Usage && code != cli.Refused {
			t.Errorf("%s: exit code %d for %v", name, code, err)
		}
	}
}

func TestWhatIsDueFollowsTheClock(t *testing.T) {
	r := &remote{genesis: &entry.Genesis{MaxExpiryMillis: 1000}}
	a := &entry.Attested{Threshold: 1}
	ready := &client.Hold{ReadyAt: 500, Until: 900, Attested: []int{0}}
	for at, want := range map[uint64]entry.Outcome{499: 0, 500: entry.Posted, 899: entry.Posted, 900: entry.Voided} {
		e, err := r.due(ready, a, at)
		switch {
		case want == 0:
			if entry.CodeOf(err) != entry.HoldNotReady {
				t.Errorf("at %d: %v", at, err)
			}
		case err != nil || e.Outcome != want:
			t.Errorf("at %d: %+v, %v", at, e, err)
		}
	}
	if _, err := r.due(&client.Hold{Until: 900}, a, 600); entry.CodeOf(err) != entry.HoldNotReady {
		t.Errorf("nobody attested: %v", err)
	}
	if e, err := r.due(&client.Hold{Until: 900}, a, 900); err != nil || e.Reason != entry.ReasonExpired {
		t.Errorf("nobody attested in time: %+v, %v", e, err)
	}
}

func TestWrongUseIsToldApart(t *testing.T) {
	for _, args := range [][]string{
		{}, {"nonsense"}, {"settle"}, {"settle", "x", "--all"}, {"attest"}, {"attest", "x"}, {"amend", "--key", "k"}, {"amend", "x", "--file", "f", "--key", "k"},
		{"place"}, {"list"}, {"settle", "--all"}, {"attest", "x", "--key", "k", "--statement", "wish"},
	} {
		if code, _, errOut := run(t, args...); code != cli.Usage {
			t.Errorf("%v: exit %d: %s", args, code, errOut)
		}
	}
	if code, _, errOut := run(t, "settle", "--all", "--ledger", "http://10.0.0.1:1"); code != cli.Refused || !strings.Contains(errOut, "not_loopback") {
		t.Errorf("another machine: exit %d: %s", code, errOut)
	}
}
