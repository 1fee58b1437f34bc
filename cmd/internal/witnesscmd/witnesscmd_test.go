package witnesscmd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// passphrase opens the keys of a test's witnesses.
const passphrase = "correct horse battery staple"

// buffer is a bytes.Buffer that a running command and a test share.
type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// command executes `comity witness ...` in this process.
func command(ctx context.Context, stdout, stderr *buffer, args ...string) cli.Code {
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command())
	return cli.Code(cli.Run(ctx, root, append([]string{"witness"}, args...), stdout, stderr))
}

func edKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func edPublic(name string) (k entry.SignerKey) {
	copy(k[:], edKey(name).Public().(ed25519.PublicKey))
	return k
}

// nation is a ledger with one witness of each kind, and its log so far.
type nation struct {
	dir     string
	genesis *entry.Genesis
	state   *settlement.State
	blocks  []*settlement.Block
	mu      sync.Mutex
	changed chan struct{}
}

const (
	watcher = "watcher.example"
	judge   = "judge.example"
)

func newNation(t *testing.T) *nation {
	t.Helper()
	n := &nation{dir: t.TempDir(), changed: make(chan struct{})}
	n.write(t, "passphrase", []byte(passphrase+"\n"))
	t.Setenv(cli.PassphraseEnv, n.path("passphrase"))
	listed, err := circuits.Listed(entry.Development)
	if err != nil {
		t.Fatal(err)
	}
	var wide [64]byte
	wide[5] = 7
	oversight := zk.ScalarFromWide(wide)
	g := &entry.Genesis{
		Name: "Republic of Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: 1767225600000, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}, Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{edPublic("signer")}},
		LogKey: edPublic("log"), RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000, OversightKey: oversight.Base(), Circuits: listed,
		Witnesses: entry.WitnessPolicy{Quorum: 2, Members: []entry.Witness{
			{Name: watcher, Key: n.keygen(t, watcher), Kind: entry.ConsistencyWitness},
			{Name: judge, Key: n.keygen(t, judge), Kind: entry.ValidatingWitness},
		}},
	}
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), strings.NewReader(strings.Repeat("r", 64)))
	text, err := g.JSON()
	if err != nil {
		t.Fatal(err)
	}
	n.write(t, "genesis.json", text)
	n.write(t, "genesis.bin", entry.Encode(g))
	state, block, err := settlement.Begin(g)
	if err != nil {
		t.Fatal(err)
	}
	n.genesis, n.state, n.blocks = g, state, []*settlement.Block{block}
	return n
}

func (n *nation) path(name string) string { return filepath.Join(n.dir, name) }

func (n *nation) write(t *testing.T, name string, b []byte) {
	t.Helper()
	if err := os.WriteFile(n.path(name), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (n *nation) keygen(t *testing.T, name string) (k entry.SignerKey) {
	t.Helper()
	var out, errOut buffer
	if code := command(t.Context(), &out, &errOut, "keygen", "--data", n.path(name), "--name", name, "--json"); code != cli.OK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	var answer struct{ Name, Key, VKey string }
	if err := json.Unmarshal([]byte(out.String()), &answer); err != nil || answer.Name != name {
		t.Fatalf("%v in %s", err, out.String())
	}
	b, err := hex.DecodeString(answer.Key)
	if err != nil || len(b) != len(k) || answer.VKey != proof.WitnessVKey(name, b) {
		t.Fatalf("%s", out.String())
	}
	copy(k[:], b)
	return k
}

// idle adds a block that holds a state entry alone.
func (n *nation) idle(t *testing.T) proof.Head {
	t.Helper()
	p, err := n.state.Sequence(nil, n.state.Time()+1000, settlement.NewSettled(), nil)
	if err != nil {
		t.Fatal(err)
	}
	n.state = p.Next()
	n.append(p.Block)
	return n.head()
}

func (n *nation) append(b *settlement.Block) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.blocks = append(n.blocks, b)
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *nation) head() proof.Head {
	return proof.Head{Size: n.state.LogSize(), Root: n.state.LogRoot()}
}

// Tile serves the log's hashes; a test's log fits into one tile.
func (n *nation) Tile(_ context.Context, level uint8, index uint64) ([]byte, error) {
	if level != 0 || index != 0 {
		return nil, errors.New("no tile")
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	var out []byte
	for _, b := range n.blocks {
		for _, h := range b.LeafHashes() {
			out = append(out, h[:]...)
		}
	}
	return out, nil
}

// stream is the part of the ledger's API that a validating witness reads.
type stream struct {
	ledgerv1connect.UnimplementedLedgerServiceHandler
	*nation
}

func (s stream) StreamBlocks(ctx context.Context, req *ledgerv1.StreamBlocksRequest, out *connect.ServerStream[ledgerv1.StreamBlocksResponse]) error {
	for h := req.GetFromHeight(); ; {
		s.mu.Lock()
		blocks, changed := s.blocks, s.changed
		s.mu.Unlock()
		for ; h < uint64(len(blocks)); h++ {
			b := blocks[h]
			if err := out.Send(&ledgerv1.StreamBlocksResponse{Block: &ledgerv1.Block{Height: b.Height, FirstIndex: b.FirstIndex, Entries: b.Entries}}); err != nil {
				return err
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *nation) serve(t *testing.T) string {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(ledgerv1connect.NewLedgerServiceHandler(stream{nation: n}))
	server := httptest.NewServer(mux)
	t.Cleanup(server.CloseClientConnections)
	t.Cleanup(server.Close)
	t.Cleanup(server.CloseClientConnections)
	return server.URL
}

// running is a witness process.
type running struct {
	url    string
	errOut *buffer
	stop   func() cli.Code
}

func (n *nation) run(t *testing.T, name string, extra ...string) *running {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	r := &running{errOut: &buffer{}}
	ready := n.path(name + ".url")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	done := make(chan cli.Code, 1)
	go func() {
		done <- command(ctx, &buffer{}, r.errOut, append([]string{"run", "--data", n.path(name), "--listen", "127.0.0.1:0", "--genesis", n.path("genesis.json"), "--ready-file", ready}, extra...)...)
	}()
	var once sync.Once
	var code cli.Code
	r.stop = func() cli.Code {
		once.Do(func() { cancel(); code = <-done })
		return code
	}
	t.Cleanup(func() { r.stop() })
	for range 600 {
		if b, err := os.ReadFile(ready); err == nil {
			r.url = strings.TrimSpace(string(b))
			return r
		}
		select {
		case code := <-done:
			done <- code
			t.Fatalf("exit %d: %s", code, r.errOut.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("never ready: %s", r.errOut.String())
	return nil
}

func (n *nation) journal(t *testing.T, endpoints ...journal.Endpoint) *journal.Journal {
	t.Helper()
	signer, err := proof.NewLogSigner(n.genesis.Origin, edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	policy, err := journal.PolicyOf(n.genesis)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.New(journal.Config{Signer: signer, Policy: policy, Witnesses: endpoints, Tiles: n})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestLedgerIsFinalWithBothWitnessesAndAcrossTheirRestart(t *testing.T) {
	n := newNation(t)
	w, v := n.run(t, watcher), n.run(t, judge, "--ledger", n.serve(t))
	for _, r := range []*running{w, v} {
		if !strings.Contains(r.errOut.String(), "ready "+r.url) {
			t.Errorf("no ready line in %q", r.errOut.String())
		}
	}
	j := n.journal(t, journal.Endpoint{Name: watcher, URL: w.url}, journal.Endpoint{Name: judge, URL: v.url})
	for range 3 {
		head := n.idle(t)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		c, err := j.Cosign(ctx, head)
		cancel()
		if err != nil {
			t.Fatal(err)
		}
		if len(c.Final.Cosignatures) != 2 || c.Final.Validating() != 1 {
			t.Errorf("%+v", c.Final)
		}
	}
	if code := w.stop(); code != cli.OK {
		t.Errorf("stopped with exit %d: %s", code, w.errOut.String())
	}
	again := n.run(t, watcher)
	if !strings.Contains(again.errOut.String(), "holds 5 leaves") {
		t.Errorf("after a restart: %q", again.errOut.String())
	}
	j = n.journal(t, journal.Endpoint{Name: watcher, URL: again.url}, journal.Endpoint{Name: judge, URL: v.url})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := j.Cosign(ctx, n.idle(t)); err != nil {
		t.Error(err)
	}
}

func TestValidatingWitnessDoesNotCosignABlockThatBreaksARule(t *testing.T) {
	n := newNation(t)
	v := n.run(t, judge, "--ledger", n.serve(t))
	good := n.idle(t)
	// The operator's next block claims ten million issued, and its log is consistent.
	p, err := n.state.Sequence(nil, n.state.Time()+1000, settlement.NewSettled(), nil)
	if err != nil {
		t.Fatal(err)
	}
	state, err := entry.DecodeState(p.Block.Entries[0])
	if err != nil {
		t.Fatal(err)
	}
	state.Supply[0].Issued = 10_000_000_00
	forged := *p.Block
	forged.Entries = [][]byte{entry.Encode(state)}
	n.append(&forged)
	bad := proof.Head{Size: good.Size + 1}
	if bad.Root, err = proof.RootAt(bad.Size, journal.HashReader(t.Context(), n)); err != nil {
		t.Fatal(err)
	}
	j := n.journal(t, journal.Endpoint{Name: judge, URL: v.url})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
	defer cancel()
	if _, err := j.Cosign(ctx, bad); err == nil {
		t.Fatal("cosigned")
	}
	for range 100 {
		if strings.Contains(j.Witnesses()[0].LastError, "log_invalid") && strings.Contains(v.errOut.String(), "nothing more is cosigned") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("%+v, %s", j.Witnesses(), v.errOut.String())
}

// oracle counts the proofs it is asked about and refuses all.
type oracle struct{ asked int }

func (o *oracle) VerifyBatch(jobs []settlement.Job) []error {
	o.asked += len(jobs)
	out := make([]error, len(jobs))
	for i := range out {
		out[i] = errors.New("refused")
	}
	return out
}

// What a witness checked before it cosigned is not proven again at the next start; everything after it is.
func TestRestartTrustsTheProofsThatWereCheckedBefore(t *testing.T) {
	n := newNation(t)
	n.idle(t)
	checked := n.idle(t)
	n.idle(t)
	o := &oracle{}
	p := &player{genesis: n.genesis, verifier: o, checked: checked}
	for i, b := range n.blocks {
		if err := p.Apply(b); err != nil {
			t.Fatal(err)
		}
		wantTrust := i < 3
		if got := p.VerifyBatch(make([]settlement.Job, 1))[0] == nil; got != wantTrust {
			t.Errorf("block %d: trusted %v", i, got)
		}
	}
	if o.asked != 1 || p.Head() != n.head() {
		t.Errorf("asked about %d proofs", o.asked)
	}
	for name, head := range map[string]proof.Head{"another root": {Size: checked.Size, Root: proof.Hash{1}}, "the inside of a block": {Size: 1, Root: proof.Hash{1}}} {
		p := &player{genesis: n.genesis, verifier: o, checked: head}
		var err error
		for _, b := range n.blocks {
			if err = p.Apply(b); err != nil {
				break
			}
		}
		if !errors.Is(err, journal.ErrLogInvalid) {
			t.Errorf("a start after cosigning %s: %v", name, err)
		}
	}
}

func TestValidatingWitnessGoesOnAfterARestartAndNotWithAnotherHistory(t *testing.T) {
	n := newNation(t)
	v := n.run(t, judge, "--ledger", n.serve(t))
	j := n.alone(t, judge, v.url)
	for range 3 {
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		if _, err := j.Cosign(ctx, n.idle(t)); err != nil {
			t.Fatal(err)
		}
		cancel()
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	v.stop()
	v = n.run(t, judge, "--ledger", n.serve(t))
	j = n.alone(t, judge, v.url)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if _, err := j.Cosign(ctx, n.idle(t)); err != nil {
		t.Error(err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
	v.stop()
	// The operator rewrites everything after genesis; every block holds by itself.
	state, block, err := settlement.Begin(n.genesis)
	if err != nil {
		t.Fatal(err)
	}
	n.state, n.blocks = state, []*settlement.Block{block}
	for range 9 {
		p, err := n.state.Sequence(nil, n.state.Time()+2000, settlement.NewSettled(), nil)
		if err != nil {
			t.Fatal(err)
		}
		n.state = p.Next()
		n.append(p.Block)
	}
	v = n.run(t, judge, "--ledger", n.serve(t))
	for range 200 {
		if strings.Contains(v.errOut.String(), "cosigned another history") {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("took up another history: %s", v.errOut.String())
}

func TestForkIsKeptAsEvidenceInTheFolder(t *testing.T) {
	n := newNation(t)
	w := n.run(t, watcher)
	signer, err := proof.NewLogSigner(n.genesis.Origin, edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	status := func(old uint64, root proof.Hash) int {
		body := "old 0\n\n"
		if old != 0 {
			body = "old 2\n\n"
		}
		resp, err := http.Post(w.url+"/add-checkpoint", "text/plain", strings.NewReader(body+string(signer.Sign(proof.Head{Size: 2, Root: root}))))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		return resp.StatusCode
	}
	if got := status(0, proof.Hash{1}); got != 200 {
		t.Fatal(got)
	}
	for range 2 {
		if got := status(2, proof.Hash{2}); got != 409 {
			t.Error(got)
		}
	}
	files, err := filepath.Glob(n.path(watcher) + "/evidence/fork-*.txt")
	if err != nil || len(files) != 1 {
		t.Fatalf("%v, %v", files, err)
	}
	b, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	e, err := proof.ParseEvidence(b)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(n.genesis.Origin, signer.Public()); err != nil {
		t.Error(err)
	}
}

func TestWrongUseIsRefusedByName(t *testing.T) {
	n := newNation(t)
	stranger := "stranger.example"
	n.keygen(t, stranger)
	impostor := n.path("impostor")
	if _, err := os.Stat(impostor); err == nil {
		t.Fatal("there already")
	}
	if err := os.MkdirAll(impostor, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := newKey(filepath.Join(impostor, keyFile), watcher, []byte(passphrase)); err != nil {
		t.Fatal(err)
	}
	n.write(t, "other passphrase", []byte("wrong donkey\n"))
	open := n.path("open")
	if err := os.MkdirAll(open, 0o700); err != nil {
		t.Fatal(err)
	}
	key, err := os.ReadFile(filepath.Join(n.path(watcher), keyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(open, keyFile), key, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(filepath.Join(open, keyFile), 0o644); err != nil {
		t.Fatal(err)
	}
	n.write(t, "bad.json", []byte(`{"name": "x"}`))
	damaged := n.path("damaged")
	f, err := journal.OpenFolder(filepath.Join(damaged, "state"))
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(filepath.Join(damaged, keyFile), key, 0o600), f.Save(n.genesis.Origin, []byte("torn")), f.Close()); err != nil {
		t.Fatal(err)
	}
	busy := n.run(t, watcher)
	defer busy.stop()
	base := func(data, listen, genesis string, extra ...string) []string {
		return append([]string{"run", "--data", data, "--listen", listen, "--genesis", n.path(genesis)}, extra...)
	}
	for _, c := range []struct {
		name string
		args []string
		code cli.Code
		text string
	}{
		{"an open address", base(n.path(judge), "0.0.0.0:0", "genesis.json", "--ledger", "http://127.0.0.1:1"), cli.Refused, "not_loopback"},
		{"a ledger elsewhere", base(n.path(judge), "127.0.0.1:0", "genesis.json", "--ledger", "http://192.0.2.1:7400"), cli.Refused, "not_loopback"},
		{"no port", base(n.path(judge), "127.0.0.1", "genesis.json", "--ledger", "http://127.0.0.1:1"), cli.Usage, "127.0.0.1:PORT"},
		{"no genesis", base(n.path(watcher), "127.0.0.1:0", "none.json"), cli.Usage, "genesis"},
		{"a bad genesis", base(n.path(watcher), "127.0.0.1:0", "bad.json"), cli.Refused, "genesis_invalid"},
		{"no key", base(n.path("nobody"), "127.0.0.1:0", "genesis.json"), cli.Usage, "keygen"},
		{"a key that others may read", base(open, "127.0.0.1:0", "genesis.json"), cli.Refused, "key_file_open"},
		{"a wrong passphrase", base(n.path(watcher), "127.0.0.1:0", "genesis.json", "--passphrase-file", n.path("other passphrase")), cli.Refused, "passphrase_wrong"},
		{"no passphrase", base(n.path(watcher), "127.0.0.1:0", "genesis.json", "--passphrase-file", n.path("none")), cli.Usage, "passphrase"},
		{"encrypting a key twice", []string{"encrypt-key", "--data", n.path(watcher)}, cli.Refused, "key_file_encrypted"},
		{"encrypting nothing", []string{"encrypt-key", "--data", n.path("nobody")}, cli.Usage, "keygen"},
		{"a witness that is not in genesis", base(n.path(stranger), "127.0.0.1:0", "genesis.json"), cli.Refused, "witness_unknown"},
		{"another key under its name", base(impostor, "127.0.0.1:0", "genesis.json"), cli.Refused, "witness_key_mismatch"},
		{"a validating witness without a ledger", base(n.path(judge), "127.0.0.1:0", "genesis.bin"), cli.Usage, "--ledger"},
		{"a consistency witness with a ledger", base(n.path(watcher), "127.0.0.1:0", "genesis.bin", "--ledger", "http://127.0.0.1:1"), cli.Usage, "--ledger"},
		{"a folder in use", base(n.path(watcher), "127.0.0.1:0", "genesis.bin"), cli.Refused, "witness_folder_in_use"},
		{"a damaged state", base(damaged, "127.0.0.1:0", "genesis.json"), cli.Refused, "witness_state_damaged"},
		{"a key over another", []string{"keygen", "--data", n.path(watcher), "--name", watcher}, cli.Usage, "exists"},
		{"a name with a space", []string{"keygen", "--data", n.path("new"), "--name", "a b"}, cli.Usage, "without space"},
		{"flags missing", []string{"run"}, cli.Usage, "data"},
		{"an argument too many", []string{"keygen", "x"}, cli.Usage, "x"},
	} {
		var out, errOut buffer
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		code := command(ctx, &out, &errOut, c.args...)
		cancel()
		if code != c.code || !strings.Contains(errOut.String(), c.text) {
			t.Errorf("%s: exit %d %q, want exit %d and %q", c.name, code, errOut.String(), c.code, c.text)
		}
	}
	info, err := os.Stat(filepath.Join(n.path(watcher), keyFile))
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("key file mode %v, %v", info.Mode(), err)
	}
}

// A key file of an earlier version is not encrypted: a witness refuses it, encrypt-key puts the same key under a passphrase, and the witness runs.
func TestAPlainKeyFileIsRefusedUntilItIsEncrypted(t *testing.T) {
	n := newNation(t)
	path := filepath.Join(n.path(watcher), keyFile)
	name, key, err := keyfile.ReadNamed(path, purpose, []byte(passphrase))
	if err != nil || name != watcher {
		t.Fatal(name, err)
	}
	old := fmt.Appendf(nil, "%s %s %x\n", purpose, name, key.Seed())
	n.write(t, filepath.Join(watcher, keyFile), old)
	var out, errOut buffer
	if code := command(t.Context(), &out, &errOut, "run", "--data", n.path(watcher), "--listen", "127.0.0.1:0", "--genesis", n.path("genesis.json")); code != cli.Refused ||
		!strings.Contains(errOut.String(), "key_file_plain") || !strings.Contains(errOut.String(), "encrypt-key") || strings.Contains(errOut.String(), hex.EncodeToString(key.Seed())) {
		t.Errorf("exit %d: %s", code, errOut.String())
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, old) {
		t.Errorf("a refusal changed the file: %v", err)
	}
	for name, text := range map[string]string{"no seed": string(purpose) + " " + watcher + "\n", "half a seed": fmt.Sprintf("%s %s %x\n", purpose, watcher, key.Seed()[:16])} {
		dir := n.path("damaged-" + strings.Fields(name)[0])
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, keyFile), []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		if code := command(t.Context(), &out, &errOut, "encrypt-key", "--data", dir); code != cli.Usage {
			t.Errorf("%s: exit %d", name, code)
		}
	}
	var printed buffer
	if code := command(t.Context(), &printed, &errOut, "encrypt-key", "--data", n.path(watcher)); code != cli.OK {
		t.Fatalf("exit %d: %s", code, errOut.String())
	}
	if want := fmt.Sprintf("%s=%x\n", watcher, []byte(key.Public().(ed25519.PublicKey))); printed.String() != want {
		t.Errorf("it prints %q, want %q", printed.String(), want)
	}
	b, err := os.ReadFile(path)
	info, statErr := os.Stat(path)
	if err := errors.Join(err, statErr); err != nil || info.Mode().Perm() != 0o600 || bytes.Contains(b, []byte(hex.EncodeToString(key.Seed()))) || !bytes.HasPrefix(b, []byte("-----BEGIN AGE")) {
		t.Errorf("%v, mode %v: %s", err, info.Mode(), b)
	}
	if code := n.run(t, watcher).stop(); code != cli.OK {
		t.Errorf("the witness does not run with it: exit %d", code)
	}
}
