package main

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pebblestore"
)

// comity runs a command of the binary and returns what it printed as JSON, or nothing.
func comity(t *testing.T, dir string, args ...string) (text string, value map[string]string) {
	t.Helper()
	cmd := exec.Command("comity", args...)
	cmd.Dir = dir
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("comity %s: %v\n%s", strings.Join(args, " "), err, &stderr)
	}
	var all map[string]any
	value = map[string]string{}
	if json.Unmarshal(stdout.Bytes(), &all) == nil {
		for k, v := range all {
			if s, ok := v.(string); ok {
				value[k] = s
			}
		}
	}
	return strings.TrimSpace(stdout.String()), value
}

// SIGTERM while 200 submissions are in flight: each is settled, refused by name or told to try later, the process ends by itself and says that
// all went well, and what was acknowledged is in the log.
func TestSigtermUnderLoadLosesNothing(t *testing.T) {
	const callers = 200
	dir := t.TempDir()
	secret := []byte("correct horse battery staple")
	t.Setenv(cli.PassphraseEnv, filepath.Join(dir, "passphrase"))
	for name, text := range map[string]string{"passphrase": string(secret) + "\n", "config.json": `{
  "name": "Republic of Aurelia", "prefix": "aur", "origin": "settlement.treasury.aurelia.example", "network": "development",
  "assets": [{"id": 1, "code": "AUR", "decimals": 2}], "policy": {"threshold": 1}, "witnesses": {"quorum": 1, "faulty": 0},
  "registry_window_millis": 60000, "max_expiry_millis": 3600000
}`} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	signer, _ := comity(t, dir, "ledger", "signer-keygen", "--out", "minister.key")
	witness, _ := comity(t, dir, "witness", "keygen", "--data", "witness", "--name", "witness.example")
	_, oversight := comity(t, dir, "oversight", "keygen", "--out", "auditor.key", "--json")
	_, draft := comity(t, dir, "ledger", "init", "--data", "aurelia", "--config", "config.json", "--signer", signer, "--witness", witness, "--oversight-key", oversight["public"], "--json")
	_, proof := comity(t, dir, "oversight", "possession", "--key", "auditor.key", "--genesis", draft["draft"], "--epoch", "1", "--json")
	comity(t, dir, "ledger", "init", "--data", "aurelia", "--possession", proof["possession"])
	g, err := cli.ReadGenesis(filepath.Join(dir, "aurelia", "genesis.bin"))
	if err != nil {
		t.Fatal(err)
	}
	key, _, err := keyfile.Read(filepath.Join(dir, "minister.key"), ledgercmd.PurposeSigner, secret)
	if err != nil {
		t.Fatal(err)
	}

	// No witness runs: the ledger settles, and nothing is final.
	var log bytes.Buffer
	ledger := exec.Command("comity", "ledger", "run", "--data", "aurelia", "--listen", "127.0.0.1:0", "--ready-file", "url")
	ledger.Dir, ledger.Stderr = dir, &log
	if err := ledger.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- ledger.Wait() }()
	t.Cleanup(func() { _ = ledger.Process.Kill() }) // of a test that failed; it is gone otherwise
	url := ""
	for deadline := time.Now().Add(2 * time.Minute); url == ""; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(filepath.Join(dir, "url")); err == nil {
			url = strings.TrimSpace(string(b))
		} else if time.Now().After(deadline) {
			t.Fatal("the ledger was not ready in two minutes")
		}
	}
	// One HTTP/2 connection: its end tells which calls were taken in and which were not.
	protocols := new(http.Protocols)
	protocols.SetUnencryptedHTTP2(true)
	client := ledgerv1connect.NewLedgerServiceClient(&http.Client{Transport: &http.Transport{Protocols: protocols}}, url, connect.WithGRPC())

	var next, inFlight, peak, tryLater, away atomic.Int64
	var mu sync.Mutex
	acknowledged := map[uint64]entry.ID{} // by log index; guarded by mu
	unanswered := map[string]int{}        // guarded by mu
	var stopping atomic.Bool
	enough := make(chan struct{})
	expiry := uint64(time.Now().Add(30 * time.Minute).UnixMilli())
	submit := func(sequence uint64) (entry.ID, []byte) {
		e := &entry.Document{Header: entry.Header{Ledger: g.Hash(), ExpiryMillis: expiry, Sequence: sequence}, Action: entry.Anchors, Type: entry.DocumentOther,
			Digest: sha256.Sum256(binary.BigEndian.AppendUint64(nil, sequence)), Label: "Under load"}
		id := entry.IDOf(e)
		s, err := g.Policy.SignAuthorisation(key, id)
		if err != nil {
			panic(err) // the key is the policy's
		}
		e.Signatures = []entry.PolicySignature{s}
		return id, entry.Encode(e)
	}
	var callersDone sync.WaitGroup
	for range callers {
		callersDone.Go(func() {
			for !stopping.Load() {
				id, leaf := submit(uint64(next.Add(1)))
				for again := true; again; {
					for now := inFlight.Add(1); ; {
						if p := peak.Load(); now <= p || peak.CompareAndSwap(p, now) {
							break
						}
					}
					answer, err := client.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: leaf})
					inFlight.Add(-1)
					_, name := cli.CodeOf(err)
					switch {
					case err == nil:
						mu.Lock()
						acknowledged[answer.GetEntryIndex()] = id
						if len(acknowledged) == 40 {
							close(enough)
						}
						mu.Unlock()
						again = false
					case name == string(entry.SequenceGap): // an answer: its turn has not come
						again = !stopping.Load()
					case name == string(entry.TryLater):
						tryLater.Add(1)
						again = !stopping.Load()
					case errorIsDial(err): // never sent: the ledger has closed its door
						away.Add(1)
						again = false
					default:
						mu.Lock()
						unanswered[err.Error()]++
						mu.Unlock()
						again = false
					}
				}
			}
		})
	}
	select {
	case <-enough:
	case err := <-ended:
		t.Fatalf("the ledger ended: %v\n%s", err, &log)
	case <-time.After(3 * time.Minute):
		t.Fatalf("40 submissions were not settled in three minutes; peak %d, unanswered %v", peak.Load(), unanswered)
	}
	if err := ledger.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("the ledger ended with %v\n%s", err, &log)
		}
	case <-time.After(time.Minute):
		t.Fatal("the ledger did not end in a minute")
	}
	took := time.Since(began)
	stopping.Store(true)
	callersDone.Wait()
	if len(unanswered) > 0 {
		t.Errorf("neither settled nor refused by name: %v", unanswered)
	}
	if peak.Load() < callers*9/10 {
		t.Errorf("at most %d of %d were in flight", peak.Load(), callers)
	}
	opener, err := pebblestore.New(pebblestore.Config{Dir: filepath.Join(dir, "aurelia", "store")})
	if err != nil {
		t.Fatal(err)
	}
	store, err := opener.Open(t.Context(), g.Hash())
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for index, id := range acknowledged {
		leaf, _, err := store.Entry(t.Context(), index)
		if err != nil {
			t.Fatalf("entry %d was acknowledged: %v", index, err)
		}
		if e, err := entry.Decode(leaf); err != nil || entry.IDOf(e) != id {
			t.Errorf("entry %d is not the one that was acknowledged", index)
		}
	}
	t.Logf("%d in flight at most, %d acknowledged, %d told to try later, %d came to a closed door; it ended in %v", peak.Load(), len(acknowledged), tryLater.Load(), away.Load(), took)
}

// errorIsDial tells whether a call failed because nobody listened: nothing of it was sent.
func errorIsDial(err error) bool {
	return err != nil && strings.Contains(err.Error(), "connect: connection refused")
}
