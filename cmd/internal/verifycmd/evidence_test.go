package verifycmd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

func run(t *testing.T, args ...string) (out, errOut string, code cli.Code) {
	t.Helper()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command())
	var stdout, stderr bytes.Buffer
	code = cli.Code(cli.Run(t.Context(), root, append([]string{"verify"}, args...), &stdout, &stderr))
	return stdout.String(), stderr.String(), code
}

func key(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func publicKey(name string) entry.SignerKey {
	return entry.SignerKey(key(name).Public().(ed25519.PublicKey))
}

// log is a log in memory.
type log struct {
	hashes []proof.Hash
	leaves [][]byte
}

func (l *log) ReadHashes(indexes []int64) ([]proof.Hash, error) {
	var out []proof.Hash
	for _, i := range indexes {
		out = append(out, l.hashes[i])
	}
	return out, nil
}

func logOf(t *testing.T, leaves ...[]byte) *log {
	t.Helper()
	l := &log{leaves: leaves}
	for i, leaf := range leaves {
		h, err := tlog.StoredHashes(int64(i), leaf, l)
		if err != nil {
			t.Fatal(err)
		}
		l.hashes = append(l.hashes, h...)
	}
	return l
}

const origin = "borealis.example"

// checkpoint is signed by the log's key of that name.
func (l *log) checkpoint(t *testing.T, name string) []byte {
	t.Helper()
	root, err := proof.RootAt(uint64(len(l.leaves)), l)
	if err != nil {
		t.Fatal(err)
	}
	s, err := proof.NewLogSigner(origin, key(name))
	if err != nil {
		t.Fatal(err)
	}
	return s.Sign(proof.Head{Size: uint64(len(l.leaves)), Root: root})
}

func (l *log) receipt(t *testing.T, index int, name string) []byte {
	t.Helper()
	path, err := proof.ProveInclusion(uint64(len(l.leaves)), uint64(index), l)
	if err != nil {
		t.Fatal(err)
	}
	r := &proof.Receipt{Index: uint64(index), Entry: l.leaves[index], Path: path, Checkpoint: l.checkpoint(t, name)}
	return r.Marshal()
}

func write(t *testing.T, b []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func genesis(t *testing.T) *entry.Genesis {
	t.Helper()
	oversight, err := zk.NewScalar(bytes.NewReader(bytes.Repeat([]byte{7}, 1024)))
	if err != nil {
		t.Fatal(err)
	}
	g := &entry.Genesis{Name: "Kingdom of Borealis", Prefix: "bor", Origin: origin, CreatedMillis: 1, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "BOR"}}, Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{publicKey("signer")}}, LogKey: publicKey("log"),
		Witnesses:            entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w.example", Key: publicKey("w"), Kind: entry.ValidatingWitness}}},
		RegistryWindowMillis: 1000, MaxExpiryMillis: 1000, OversightKey: oversight.Base(), Circuits: []entry.Circuit{{ID: zk.Transfer, Version: 1, Fingerprint: [32]byte{1}}}}
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), bytes.NewReader(bytes.Repeat([]byte{9}, 1024)))
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	return g
}

func TestEvidenceHoldsOfflineWithThePolicyAlone(t *testing.T) {
	g := genesis(t)
	byGenesis := []string{"--genesis-file", write(t, entry.Encode(g)), "--genesis", g.Hash().String()}
	policy, _, code := run(t, append([]string{"policy"}, byGenesis...)...)
	if code != cli.OK || !strings.HasPrefix(policy, "log "+origin+"+") || !strings.Contains(policy, "quorum witnesses") {
		t.Fatalf("exit %d, %s", code, policy)
	}
	byPolicy := []string{"--policy", write(t, []byte(policy))}

	hold := entry.HoldID{Tx: entry.ID{3}, Leg: 1}
	h := entry.Header{Ledger: g.Hash(), ExpiryMillis: 100}
	voided := entry.Encode(&entry.Resolve{Header: h, Hold: hold, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: zk.Commitment{31: 1}})
	posted := entry.Encode(&entry.Resolve{Header: h, Hold: hold, Outcome: entry.Posted, Reason: entry.ReasonAttested, Commitment: zk.Commitment{31: 2}})
	again := entry.Encode(&entry.Resolve{Header: entry.Header{Ledger: g.Hash(), ExpiryMillis: 200}, Hold: hold, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: zk.Commitment{31: 1}})
	other := entry.Encode(&entry.Resolve{Header: h, Hold: entry.HoldID{Tx: entry.ID{4}}, Outcome: entry.Posted, Reason: entry.ReasonAttested, Commitment: zk.Commitment{31: 2}})
	abroad := entry.Encode(&entry.Resolve{Header: entry.Header{Ledger: entry.GenesisHash{9}, ExpiryMillis: 100}, Hold: hold, Outcome: entry.Posted, Reason: entry.ReasonAttested, Commitment: zk.Commitment{31: 2}})
	text := []byte("no entry at all")
	first := entry.Encode(g)

	l := logOf(t, first, voided, text, posted, again, other, abroad)
	fork := logOf(t, first, posted, text)
	pair := func(a, b []byte) []byte { return (&proof.Decisions{First: a, Second: b}).Marshal() }
	split, err := proof.NewEvidence(origin, publicKey("log").Public(), fork.checkpoint(t, "log"), l.checkpoint(t, "log"), l)
	if err != nil {
		t.Fatal(err)
	}
	rotated := (&proof.Decisions{First: l.receipt(t, 1, "log"), Second: l.receipt(t, 3, "log 2")}).Marshal()
	newKey := []string{"--log-key", publicKey("log 2").String()}
	for _, c := range []struct {
		name string
		file []byte
		more []string
		want cli.Code
		says string
	}{
		{"a fork", split.Marshal(), nil, cli.OK, `"type": "fork"`},
		{"two decisions of one log", pair(l.receipt(t, 1, "log"), l.receipt(t, 3, "log")), nil, cli.OK, `"type": "decisions"`},
		{"two decisions of two histories", pair(l.receipt(t, 1, "log"), fork.receipt(t, 1, "log")), nil, cli.OK, `"outcome": "posted"`},
		{"two decisions under two keys", rotated, newKey, cli.OK, `"type": "decisions"`},
		{"two decisions under a key that is not named", rotated, nil, cli.Unverified, "log_signature_invalid"},
		{"two times the same decision", pair(l.receipt(t, 1, "log"), l.receipt(t, 4, "log")), nil, cli.Unverified, "do not contradict"},
		{"decisions of two holds", pair(l.receipt(t, 1, "log"), l.receipt(t, 5, "log")), nil, cli.Unverified, "do not contradict"},
		{"a decision of another ledger", pair(l.receipt(t, 1, "log"), l.receipt(t, 6, "log")), nil, cli.Unverified, "no decision of ledger"},
		{"one entry twice", pair(l.receipt(t, 1, "log"), l.receipt(t, 1, "log")), nil, cli.Unverified, "one entry"},
		{"an entry that decides nothing", pair(l.receipt(t, 1, "log"), l.receipt(t, 0, "log")), nil, cli.Unverified, "no decision"},
		{"a leaf that is no entry", pair(l.receipt(t, 2, "log"), l.receipt(t, 1, "log")), nil, cli.Unverified, "evidence_invalid"},
		{"signed by a thief", pair(l.receipt(t, 1, "thief"), l.receipt(t, 3, "thief")), nil, cli.Unverified, "log_signature_invalid"},
		{"a fork that is none", (&proof.Evidence{Older: fork.checkpoint(t, "log"), Newer: fork.checkpoint(t, "log"), Root: split.Root}).Marshal(), nil, cli.Unverified, "fork_not_shown"},
		{"a fork that is cut", split.Marshal()[:40], nil, cli.Unverified, "evidence_malformed"},
		{"decisions that are cut", rotated[:60], newKey, cli.Unverified, "evidence_invalid"},
		{"something else", []byte("hello\n"), nil, cli.Unverified, "is no evidence"},
		{"nothing", nil, nil, cli.Unverified, "is no evidence"},
	} {
		for _, by := range [][]string{byGenesis, byPolicy} {
			args := append(append([]string{"evidence", write(t, c.file), "--json"}, by...), c.more...)
			out, errOut, code := run(t, args...)
			if code != c.want || !strings.Contains(out+errOut, c.says) {
				t.Errorf("%s, %s: exit %d, %s%s; want exit %d and %q", c.name, by[0], code, out, errOut, c.want, c.says)
			}
			if code == cli.OK && !json.Valid([]byte(out)) {
				t.Errorf("%s: no JSON: %s", c.name, out)
			}
		}
	}
	// Two receipts are put together as evidence only when they are.
	made := filepath.Join(t.TempDir(), "decisions.txt")
	put := func(a, b []byte) cli.Code {
		_, _, code := run(t, append([]string{"decisions", write(t, a), write(t, b), "--out", made}, byGenesis...)...)
		return code
	}
	if code := put(l.receipt(t, 1, "log"), l.receipt(t, 4, "log")); code != cli.Unverified {
		t.Errorf("two times the same decision: exit %d", code)
	}
	if code := put(l.receipt(t, 1, "log"), []byte("no receipt")); code != cli.Unverified {
		t.Errorf("no receipt: exit %d", code)
	}
	if code := put(l.receipt(t, 3, "log"), l.receipt(t, 1, "log")); code != cli.OK {
		t.Errorf("two decisions: exit %d", code)
	}
	if _, errOut, code := run(t, append([]string{"evidence", made}, byPolicy...)...); code != cli.OK {
		t.Errorf("what was put together: exit %d, %s", code, errOut)
	}
	if code := put(l.receipt(t, 3, "log"), l.receipt(t, 1, "log")); code != cli.Usage {
		t.Errorf("the file was overwritten: exit %d", code)
	}
	out, _, _ := run(t, append([]string{"evidence", write(t, split.Marshal())}, byPolicy...)...)
	if !strings.Contains(out, "signed two histories") || !strings.Contains(out, fmt.Sprintf("3 entries, root %s", hex.EncodeToString(root(t, fork)))) {
		t.Error(out)
	}
}

func root(t *testing.T, l *log) []byte {
	t.Helper()
	h, err := proof.RootAt(uint64(len(l.leaves)), l)
	if err != nil {
		t.Fatal(err)
	}
	return h[:]
}

func TestEvidenceNeedsOneNamedLog(t *testing.T) {
	g := genesis(t)
	file, evidence := write(t, entry.Encode(g)), write(t, []byte("x"))
	vkey := proof.LogVKey(origin, publicKey("log").Public())
	for name, c := range map[string]struct {
		args []string
		want cli.Code
	}{
		"nothing":                {nil, cli.Usage},
		"both":                   {[]string{"--genesis-file", file, "--policy", write(t, []byte("log "+vkey+"\n"))}, cli.Usage},
		"a hash and a policy":    {[]string{"--genesis", g.Hash().String(), "--policy", write(t, []byte("log "+vkey+"\n"))}, cli.Usage},
		"another hash":           {[]string{"--genesis-file", file, "--genesis", strings.Repeat("0", 64)}, cli.Unverified},
		"an empty policy":        {[]string{"--policy", write(t, nil)}, cli.Usage},
		"two logs":               {[]string{"--policy", write(t, []byte("log "+vkey+"\nlog "+vkey+"\n"))}, cli.Usage},
		"a log with a URL":       {[]string{"--policy", write(t, []byte("log "+vkey+" http://127.0.0.1:1\n"))}, cli.Usage},
		"a log with a bad key":   {[]string{"--policy", write(t, []byte("log "+vkey+"x\n"))}, cli.Usage},
		"a later key of letters": {[]string{"--genesis-file", file, "--log-key", "zz"}, cli.Usage},
	} {
		if out, errOut, code := run(t, append([]string{"evidence", evidence}, c.args...)...); code != c.want {
			t.Errorf("%s: exit %d, want %d: %s%s", name, code, c.want, out, errOut)
		}
	}
}
