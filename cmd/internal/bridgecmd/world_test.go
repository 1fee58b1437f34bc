package bridgecmd

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/escrowcmd"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/cmd/internal/ledgercmd"
	"github.com/comity-ledger/comity/cmd/internal/oversightcmd"
	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/cmd/internal/witnesscmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk"
)

// asComity makes this test binary a comity process, so that tests can run and kill real ones.
const asComity = "COMITY_TEST_RUN"

func root() *cobra.Command {
	cmd := &cobra.Command{Use: "comity"}
	cmd.AddCommand(Command(), ledgercmd.Command("test"), walletcmd.Command(), escrowcmd.Command(), oversightcmd.Command(), witnesscmd.Command())
	for _, group := range cmd.Commands() {
		tlsfiles.Flags(group)
	}
	telemetry.Commands(cmd, "test")
	return cmd
}

func TestMain(m *testing.M) {
	if args := os.Getenv(asComity); args != "" {
		keyfile.WorkFactor, oversightcmd.WorkFactor = 10, 10 // a key file opens in milliseconds
		os.Args = append(os.Args[:1], strings.Split(args, "\n")...)
		os.Exit(cli.Main(root()))
	}
	os.Exit(m.Run())
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

const passphrase = "a passphrase for a test"

// world is two or more nations in processes of their own.
type world struct {
	t       testing.TB
	dir     string
	env     []string
	nations map[string]*nation
	prover  wallets.Prover // of this process, for issuing

	mu        sync.Mutex // guards processes
	processes map[string]*process
}

// nation is a ledger with a validating witness.
type nation struct {
	*world
	name, code        string
	asset             entry.Asset
	port, witnessPort int
	genesis           *entry.Genesis
	client            *client.Client
	signer            ed25519.PrivateKey
}

// process is a running command of this binary.
type process struct {
	cmd  *exec.Cmd
	done chan struct{}
	out  string // file of its output
}

func newWorld(t testing.TB) *world {
	t.Helper()
	w := &world{t: t, dir: t.TempDir(), nations: map[string]*nation{}, processes: map[string]*process{}}
	w.write("passphrase", passphrase+"\n")
	w.env = append(os.Environ(), cli.PassphraseEnv+"="+w.path("passphrase"), "COMITY_LEDGER=", "COMITY_WALLET=")
	t.Cleanup(func() {
		for _, p := range w.processes {
			p.kill()
		}
		if t.Failed() {
			for name, p := range w.processes {
				if b, err := os.ReadFile(p.out); err == nil {
					lines := strings.Split(strings.TrimSpace(string(b)), "\n")
					t.Logf("%s, its last lines:\n%s", name, strings.Join(lines[max(0, len(lines)-12):], "\n"))
				}
			}
		}
	})
	return w
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

func (w *world) write(name, text string) string {
	w.t.Helper()
	if err := os.WriteFile(w.path(name), []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return w.path(name)
}

func (w *world) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, os.Args[0])
	cmd.Env = append(append([]string(nil), w.env...), asComity+"="+strings.Join(args, "\n"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	return cmd
}

// run runs a command to its end and gives its exit code and output.
func (w *world) run(args ...string) (code int, out, errOut string) {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	cmd := w.command(ctx, args...)
	var o, e bytes.Buffer
	cmd.Stdout, cmd.Stderr = &o, &e
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		code = exit.ExitCode()
	case err != nil:
		code = -1
		e.WriteString(err.Error())
	}
	return code, o.String(), e.String()
}

// ok runs a command that must succeed and decodes its JSON into result, unless that is nil.
func (w *world) ok(result any, args ...string) {
	w.t.Helper()
	if result != nil {
		args = append(args, "--json")
	}
	code, out, errOut := w.run(args...)
	if code != 0 {
		w.t.Fatalf("comity %s: exit %d: %s", strings.Join(args, " "), code, errOut)
	}
	if result != nil {
		if err := json.Unmarshal([]byte(out), result); err != nil {
			w.t.Fatalf("comity %s: %v in %s", args[0], err, out)
		}
	}
}

// start starts a long-running command and waits until it writes its ready file, whose content it returns.
func (w *world) start(name string, args ...string) string {
	w.t.Helper()
	ready := w.path(name + ".ready")
	_ = os.Remove(ready)
	p := &process{done: make(chan struct{}), out: w.path(name + ".log")}
	log, err := os.OpenFile(p.out, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		w.t.Fatal(err)
	}
	p.cmd = w.command(context.Background(), append(args, "--ready-file", ready)...)
	p.cmd.Stdout, p.cmd.Stderr = log, log
	err = p.cmd.Start()
	log.Close()
	if err != nil {
		w.t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.done)
	}()
	w.mu.Lock()
	w.processes[name] = p
	w.mu.Unlock()
	for deadline := time.Now().Add(90 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if b, err := os.ReadFile(ready); err == nil {
			return strings.TrimSpace(string(b))
		}
		select {
		case <-p.done:
			b, _ := os.ReadFile(p.out)
			w.t.Fatalf("%s ended before it was ready: %s", name, b)
		default:
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s is not ready", name)
		}
	}
}

// kill is SIGKILL.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	<-p.done
}

// stop asks for an orderly end and gives the exit code.
func (p *process) stop() int {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	<-p.done
	return p.cmd.ProcessState.ExitCode()
}

func (w *world) process(name string) *process {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.processes[name]
}

func freePort() int {
	l := must(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}

func testKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func publicKey(key ed25519.PrivateKey) entry.SignerKey {
	return must(entry.SignerKeyOf(key.Public().(ed25519.PublicKey)))
}

// found makes a nation's genesis and starts its ledger and its witness.
func (w *world) found(name, code string, decimals uint8) *nation {
	w.t.Helper()
	n := &nation{world: w, name: name, code: code, asset: entry.Asset{ID: 1, Code: code, Decimals: decimals}, port: freePort(), witnessPort: freePort(), signer: testKey("signer of " + name)}
	config := must(json.Marshal(map[string]any{"name": name, "prefix": strings.ToLower(code), "origin": "ledger." + name + ".example", "network": "development",
		"assets": []map[string]any{{"id": 1, "code": code, "decimals": decimals}}, "policy": map[string]any{"threshold": 1},
		"witnesses": map[string]any{"quorum": 1, "faulty": 0}, "registry_window_millis": 60000, "max_expiry_millis": 120000}))
	w.write(name+".json", string(config))
	var witness struct{ Name, Key string }
	w.ok(&witness, "witness", "keygen", "--data", w.path(name+"-witness"), "--name", "witness."+name+".example")
	var office struct{ Public string }
	w.ok(&office, "oversight", "keygen", "--out", w.path(name+"-oversight.key"))
	var draft struct{ Draft string }
	key := publicKey(n.signer)
	w.ok(&draft, "ledger", "init", "--data", w.path(name), "--config", w.path(name+".json"), "--signer", hex.EncodeToString(key[:]),
		"--witness", witness.Name+"="+witness.Key, "--oversight-key", office.Public)
	var possession struct{ Possession string }
	w.ok(&possession, "oversight", "possession", "--key", w.path(name+"-oversight.key"), "--genesis", draft.Draft, "--epoch", "1")
	w.ok(nil, "ledger", "init", "--data", w.path(name), "--possession", possession.Possession)
	n.startLedger()
	n.startWitness()
	n.client = must(client.New(n.url()))
	n.genesis, _, _ = must3(n.client.Genesis(context.Background()))
	w.nations[name] = n
	return n
}

func must3[A, B any](a A, b B, err error) (A, B, error) {
	if err != nil {
		panic(err)
	}
	return a, b, nil
}

func (n *nation) url() string { return fmt.Sprintf("http://127.0.0.1:%d", n.port) }

func (n *nation) startLedger() {
	n.start(n.name+"-ledger", "ledger", "run", "--data", n.path(n.name), "--listen", fmt.Sprintf("127.0.0.1:%d", n.port),
		"--witness", fmt.Sprintf("witness.%s.example=http://127.0.0.1:%d", n.name, n.witnessPort), "--workers", "1")
}

func (n *nation) startWitness() {
	n.start(n.name+"-witness", "witness", "run", "--data", n.path(n.name+"-witness"), "--listen", fmt.Sprintf("127.0.0.1:%d", n.witnessPort),
		"--genesis", n.path(n.name+"/genesis.json"), "--ledger", n.url(), "--workers", "1")
}

// sign signs a privileged entry and submits it.
func (n *nation) sign(e entry.Entry, segments [][]byte) {
	n.t.Helper()
	p, err := entry.NewProposal(n.genesis, entry.Encode(e), segments)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := p.Sign(n.signer); err != nil {
		n.t.Fatal(err)
	}
	if _, err := n.client.Submit(context.Background(), must(p.Assemble()), segments); err != nil {
		n.t.Fatalf("%s: %v", e.Kind(), err)
	}
}

// header is that of the next privileged entry.
func (n *nation) header() entry.Header {
	s, _, err := (&ledger{Client: n.client, name: n.name, genesis: n.genesis, hash: n.genesis.Hash()}).state(context.Background())
	if err != nil {
		n.t.Fatal(err)
	}
	return entry.Header{Ledger: n.genesis.Hash(), Sequence: s.NextSequence, ExpiryMillis: uint64(time.Now().UnixMilli()) + 60_000}
}

// corridor opens a corridor towards a peer, whose one witness counts as this nation's own.
func (n *nation) corridor(peer *nation) {
	n.t.Helper()
	g := peer.genesis
	n.sign(&entry.Corridor{Header: n.header(), Peer: g.Hash(), Action: entry.CorridorSets, Terms: &entry.CorridorTerms{
		Name: peer.name, Origin: g.Origin, LogKey: g.LogKey, Quorum: 1, Witnesses: []entry.CorridorWitness{{Name: g.Witnesses.Members[0].Name, Key: g.Witnesses.Members[0].Key, Own: true}},
		Treasury: g.Policy, Cap: 1 << 50, SizeClasses: []uint64{10_000, 1_000_000, 100_000_000}, StaleMillis: 600_000,
	}}, nil)
}

// wallet makes a wallet, registers it and issues money to it, as often as amounts are given. It returns the address.
func (n *nation) wallet(name string, amounts ...zk.Amount) string {
	n.t.Helper()
	ctx := context.Background()
	address, err := walletcmd.Create(n.path(name), n.genesis, entry.Encode(n.genesis), []byte(passphrase), keystore.Options{ScryptLogN: 10})
	if err != nil {
		n.t.Fatal(err)
	}
	n.sign(&entry.Register{Header: n.header(), Owners: []entry.Registration{{Owner: address.Owner, Limit: 1 << 50}}}, nil)
	if len(amounts) == 0 {
		return address.String()
	}
	w, err := walletcmd.OpenWallet(ctx, n.path(name), n.url(), []byte(passphrase))
	if err != nil {
		n.t.Fatal(err)
	}
	defer w.Close()
	if n.prover == nil {
		n.prover = w.Prover
	}
	for _, amount := range amounts {
		if err := w.Sync(ctx, nil); err != nil {
			n.t.Fatal(err)
		}
		d, err := w.Builder().BuildIssue(n.asset.ID, 0, amount, 0)
		if err != nil {
			n.t.Fatal(err)
		}
		if err := d.Prove(ctx, n.prover, nil); err != nil {
			n.t.Fatal(err)
		}
		n.sign(d.Tx, d.Segments)
	}
	return address.String()
}

// balance is what a wallet owns, and what it has in open holds, read in this process. The wallet must not be open elsewhere.
func (n *nation) balance(name string) (owned, held zk.Amount, holds []wallets.Hold) {
	n.t.Helper()
	w, err := walletcmd.OpenWallet(context.Background(), n.path(name), n.url(), []byte(passphrase))
	if err != nil {
		n.t.Fatal(err)
	}
	defer w.Close()
	if err := w.Sync(context.Background(), nil); err != nil {
		n.t.Fatal(err)
	}
	all, _ := w.State().Balances(w.Outbox())
	for _, b := range all {
		owned += b.Amount
	}
	out, _ := w.State().Held()
	for _, b := range out {
		held += b.Amount
	}
	return owned, held, w.State().Holds()
}
