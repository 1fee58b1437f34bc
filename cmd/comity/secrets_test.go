package main

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/wallets/keystore"
)

// transcript is everything that commands print, to either stream.
type transcript struct {
	mu  sync.Mutex // guards the buffer
	all bytes.Buffer
}

// Write implements io.Writer.
func (s *transcript) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.Write(p)
}

func (s *transcript) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.all.String()
}

// TestNothingSecretIsSaid founds a ledger with everybody's keys, serves it over TLS with metrics and debug logs, provokes refusals, and then looks for
// every secret in everything that was printed, logged, measured or answered: passphrases, seeds and private keys, as they are, in hexadecimal and
// in base64.
func TestNothingSecretIsSaid(t *testing.T) {
	old := keyfile.WorkFactor
	keyfile.WorkFactor = 10
	t.Cleanup(func() { keyfile.WorkFactor = old })
	t.Chdir(t.TempDir())
	const passphrase, wrong = "correct horse battery staple", "wrong donkey battery staple"
	for name, text := range map[string]string{"passphrase": passphrase, "wrong": wrong} {
		if err := os.WriteFile(name, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	t.Setenv(cli.PassphraseEnv, "passphrase")
	said := new(transcript)
	run := func(want int, args ...string) map[string]any {
		t.Helper()
		var out bytes.Buffer
		if code := cli.Run(t.Context(), root(), args, io.MultiWriter(&out, said), said); code != want {
			t.Fatalf("%s: exit %d, want %d: %s", strings.Join(args, " "), code, want, said.text()[max(0, len(said.text())-600):])
		}
		fields := map[string]any{"": strings.TrimSpace(out.String())}
		_ = json.Unmarshal(out.Bytes(), &fields)
		return fields
	}
	deploy := filepath.Join(testDir, "../../deploy/aurelia/ledger.json")
	signer := func(name string) string {
		path := name + ".pub"
		if err := os.WriteFile(path, []byte(run(0, "ledger", "signer-keygen", "--out", name+".key", "--json")["public_key"].(string)), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	minister, governor := signer("minister"), signer("governor")
	witness := run(0, "witness", "keygen", "--data", "witness", "--name", "witness.example")[""].(string)
	oversight := run(0, "oversight", "keygen", "--out", "auditor.key", "--json")["public"].(string)
	draft := run(0, "ledger", "init", "--data", "aurelia", "--config", deploy, "--signer", minister, "--signer", governor, "--witness", witness,
		"--oversight-key", oversight, "--json")["draft"].(string)
	possession := run(0, "oversight", "possession", "--key", "auditor.key", "--genesis", draft, "--epoch", "1", "--json")["possession"].(string)
	run(0, "ledger", "init", "--data", "aurelia", "--possession", possession, "--json")
	run(0, "ledger", "pki", "init", "--dir", "pki", "--genesis", "aurelia/genesis.json", "--json")
	for _, r := range [][]string{{"operator", "node", "--ip", "127.0.0.1"}, {"bank", "first"}, {"public", "reader"}} {
		run(0, append([]string{"ledger", "pki", "issue", "--dir", "pki", "--json", "--role", r[0], "--name", r[1]}, r[2:]...)...)
	}
	run(0, "ledger", "pki", "renew", "--dir", "pki", "--role", "bank", "--name", "first")
	run(0, "ledger", "pki", "list", "--dir", "pki")

	tls := func(holder string) []string {
		dir := filepath.Join("pki/issued", holder)
		return []string{"--tls-cert", filepath.Join(dir, "cert.pem"), "--tls-key", filepath.Join(dir, "key.pem"), "--tls-ca", "pki/authority.pem"}
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	metrics := free.Addr().String()
	free.Close()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, root(), append([]string{"ledger", "run", "--data", "aurelia", "--listen", "127.0.0.1:0", "--ready-file", "ledger.url", "--log-level", "debug",
			"--metrics-listen", metrics, "--tls-client-ca", "pki/authority.pem"}, tls("operator-node")...), said, said)
	}()
	var url string
	for deadline := time.Now().Add(2 * time.Minute); url == ""; time.Sleep(20 * time.Millisecond) {
		text, _ := os.ReadFile("ledger.url")
		if url = strings.TrimSpace(string(text)); url == "" && time.Now().After(deadline) {
			t.Fatal(said.text())
		}
	}
	run(0, append([]string{"ledger", "status", "--ledger", url, "--json"}, tls("bank-first")...)...)
	run(0, append([]string{"wallet", "create", "--wallet", "treasury", "--ledger", url, "--json"}, tls("bank-first")...)...)
	run(0, append([]string{"wallet", "balance", "--wallet", "treasury", "--ledger", url, "--json"}, tls("bank-first")...)...)
	run(3, append([]string{"ledger", "status", "--ledger", url, "--json"}, tls("public-reader")...)...)
	run(3, "ledger", "status", "--ledger", url, "--tls-ca", "pki/authority.pem")
	run(3, append([]string{"wallet", "balance", "--wallet", "treasury", "--ledger", url, "--passphrase-file", "wrong"}, tls("bank-first")...)...)
	run(3, "ledger", "pki", "issue", "--dir", "pki", "--role", "bank", "--name", "second", "--passphrase-file", "wrong", "--json")
	run(3, "ledger", "status", "--ledger", url, "--tls-ca", "pki/authority.pem", "--tls-cert", "pki/issued/bank-first/cert.pem", "--tls-key", "pki/issued/public-reader/key.pem")
	run(3, "ledger", "status", "--ledger", url, "--tls-ca", "pki/issued/bank-first/key.pem")
	run(3, "ledger", "sign", "pki/issued/bank-first/key.pem", "--key", "minister.key", "--genesis-file", "aurelia/genesis.json", "--yes")
	resp, err := http.Get("http://" + metrics + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.Copy(said, resp.Body)
	resp.Body.Close()
	stop()
	if code := <-ended; code != 0 {
		t.Fatalf("ledger run: exit %d: %s", code, said.text())
	}

	secrets := map[string][]byte{"passphrase": []byte(passphrase), "wrong passphrase": []byte(wrong)}
	hexSecret := regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		switch {
		case err != nil:
			return err
		case bytes.HasPrefix(text, []byte(armor.Header)):
			identity, err := age.NewScryptIdentity(passphrase)
			if err != nil {
				return err
			}
			r, err := age.Decrypt(armor.NewReader(bytes.NewReader(text)), identity)
			if err != nil {
				return fmt.Errorf("%s: %w", path, err)
			}
			if text, err = io.ReadAll(r); err != nil {
				return err
			}
		case filepath.Base(path) == "key.pem":
			block, _ := pem.Decode(text)
			secrets[path] = block.Bytes[len(block.Bytes)-32:] // the seed ends an Ed25519 key in PKCS #8
			return nil
		default:
			return nil
		}
		found := hexSecret.FindAllString(string(text), -1)
		if len(found) == 0 {
			return fmt.Errorf("%s holds no secret", path)
		}
		for i, f := range found {
			secret, err := hex.DecodeString(f)
			if err != nil {
				return err
			}
			secrets[fmt.Sprint(path, " ", i)] = secret
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	w, err := keystore.Open("treasury", []byte(passphrase))
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	s := w.Secrets()
	secrets["wallet seed"], secrets["wallet spending key"] = s.Seed[:], s.Spending[:]
	if len(secrets) < 11 { // two passphrases; minister, governor, auditor, log, witness, authority; three certificates; a wallet
		t.Fatalf("only %d secrets are known", len(secrets))
	}
	text := said.text()
	for _, want := range []string{"passphrase_wrong", "wrong_passphrase", "certificate_required", "role_not_allowed", "tls_files_invalid", "comity_log_entries"} {
		if !strings.Contains(text, want) {
			t.Errorf("the run did not come to %s", want)
		}
	}
	lower := strings.ToLower(text)
	for name, secret := range secrets {
		for form, shape := range map[string]string{
			"as it is": string(secret), "in base64": strings.TrimRight(base64.StdEncoding.EncodeToString(secret), "="),
			"in URL base64": strings.TrimRight(base64.RawURLEncoding.EncodeToString(secret), "="),
		} {
			if strings.Contains(text, shape) {
				t.Errorf("%s is said %s", name, form)
			}
		}
		if strings.Contains(lower, hex.EncodeToString(secret)) {
			t.Errorf("%s is said in hexadecimal", name)
		}
	}
	if strings.Contains(text, "PRIVATE KEY-----") {
		t.Error("a private key is said as PEM")
	}
}

// testDir is the package's folder: tests may change theirs.
var testDir = func() string {
	dir, err := os.Getwd()
	if err != nil {
		panic(err)
	}
	return dir
}()
