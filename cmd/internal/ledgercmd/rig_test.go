package ledgercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http/httptest"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets/client"
)

// envVersion makes this test binary the program comity of that version.
const envVersion = "COMITY_TEST_VERSION"

// program is the process of `comity ...`.
func program(version string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command(version))
	return int(cli.Run(ctx, root, os.Args[1:], os.Stdout, os.Stderr))
}

// process is a `comity ledger run` of its own.
type process struct {
	cmd  *exec.Cmd
	url  string
	gone chan struct{}
	mu   sync.Mutex
	log  bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.Write(b)
}

func (p *process) text() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// launch starts a program with these arguments, which must be those of a ledger that writes a ready file, and waits until it is ready.
func launch(t *testing.T, version string, args ...string) *process {
	t.Helper()
	ready := t.TempDir() + "/ready"
	p := start(t, version, append([]string{"run", "--ready-file", ready}, args...)...)
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if url, err := os.ReadFile(ready); err == nil {
			p.url = strings.TrimSpace(string(url))
			return p
		}
		select {
		case <-p.gone:
			t.Fatalf("comity ledger run: %s", p.text())
		default:
		}
	}
	t.Fatalf("comity ledger run is not ready: %s", p.text())
	return nil
}

// start starts `comity ledger ...` in a process of its own.
func start(t *testing.T, version string, args ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{cmd: exec.Command(self, append([]string{"ledger"}, args...)...), gone: make(chan struct{})}
	p.cmd.Env = append(os.Environ(), envVersion+"="+version)
	p.cmd.Stderr = p
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = p.cmd.Wait()
		close(p.gone)
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill()
		<-p.gone
	})
	return p
}

// stop ends it in order.
func (p *process) stop(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.gone:
	case <-time.After(60 * time.Second):
		t.Fatalf("the node does not end: %s", p.text())
	}
	if code := p.cmd.ProcessState.ExitCode(); code != 0 {
		t.Errorf("a node that was told to stop ended with %d: %s", code, p.text())
	}
}

// port is an address of this machine that is free.
func port(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// loaded is a ledger whose payments were made beforehand.
type loaded struct {
	set     *dataset.Set
	genesis *entry.Genesis
	secrets *dataset.Secrets
	first   *settlement.Block
	witness string // URL
}

// newLoaded makes a ledger with this many transfers to settle, and its witness. Their proofs are simulated under the development keys: a
// node checks them as it checks any.
func newLoaded(t testing.TB, transfers int) *loaded {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	l := &loaded{}
	var err error
	l.set, err = dataset.Make(t.Context(), dataset.Spec{SimulatedTransfers: transfers, Seed: [32]byte{11}, NowMillis: uint64(time.Now().UnixMilli())}, nil)
	must(err)
	l.genesis, err = entry.DecodeGenesis(l.set.Genesis)
	must(err)
	l.secrets, err = dataset.SecretsOf(l.set.Seed)
	must(err)
	_, l.first, err = settlement.Begin(l.genesis)
	must(err)
	cosigner, err := proof.NewCosigner(dataset.WitnessName, l.secrets.Witness)
	must(err)
	medium, err := journal.OpenFolder(t.TempDir())
	must(err)
	w, err := journal.NewWitness(journal.WitnessConfig{Cosigner: cosigner, Medium: medium, Logs: []journal.Log{{Origin: l.genesis.Origin, Key: l.genesis.LogKey.Public()}}})
	must(err)
	server := httptest.NewServer(w.Handler())
	t.Cleanup(func() {
		server.Close()
		must(medium.Close())
	})
	l.witness = server.URL
	return l
}

// folder makes a data folder of the ledger, all but the log.
func (l *loaded) folder(t testing.TB, p *place, name string) string {
	t.Helper()
	dir := p.path(name)
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		t.Fatal(err)
	}
	recipient.SetWorkFactor(8)
	var key bytes.Buffer
	armored := armor.NewWriter(&key)
	w, err := age.Encrypt(armored, recipient)
	if err == nil {
		_, err = fmt.Fprintf(w, "%s %x\n", purposeLog, l.secrets.Log.Seed())
	}
	if err == nil {
		err = w.Close()
	}
	if err == nil {
		err = armored.Close()
	}
	if err == nil {
		err = os.Mkdir(dir, 0o700)
	}
	if err == nil {
		err = cli.WriteNewFile(folder(dir).logKey(), key.Bytes(), true)
	}
	if err == nil {
		err = writeGenesis(folder(dir), l.genesis)
	}
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// create makes the store of the ledger.
func (l *loaded) create(t testing.TB, opener settlement.Opener) {
	t.Helper()
	store, err := opener.Create(t.Context(), l.first)
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
}

// begin submits what comes before all payments, and anchors them there.
func (l *loaded) begin(t testing.TB, url string) {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	height := uint64(0)
	for _, item := range l.set.Prefix {
		got, err := c.Submit(t.Context(), item.Entry, item.Segments)
		if err != nil {
			t.Fatal(err)
		}
		height = got.Height
	}
	for i := range l.set.Items {
		if err := l.set.Items[i].AnchorAt(height); err != nil {
			t.Fatal(err)
		}
	}
}

// id of a payment.
func id(t testing.TB, item *dataset.Item) entry.ID {
	t.Helper()
	tx, err := entry.DecodeTransaction(item.Entry)
	if err != nil {
		t.Fatal(err)
	}
	return tx.ID()
}

// where lists all payments of a running ledger's log, with their index. One that stands there twice is an error.
func where(t testing.TB, url string) map[entry.ID]uint64 {
	t.Helper()
	r, err := Dial(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	out := map[entry.ID]uint64{}
	for block, err := range r.blocks(t.Context(), false) {
		if err != nil {
			t.Fatal(err)
		}
		for i, leaf := range block.Entries {
			if tx, err := entry.DecodeTransaction(leaf); err == nil {
				if first, twice := out[tx.ID()]; twice {
					t.Errorf("payment %s stands at %d and at %d", tx.ID(), first, block.FirstIndex+uint64(i))
				}
				out[tx.ID()] = block.FirstIndex + uint64(i)
			}
		}
	}
	return out
}

// final waits until witnesses cosigned all that a ledger holds.
func final(t testing.TB, url string) {
	t.Helper()
	c, err := client.New(url)
	if err != nil {
		t.Fatal(err)
	}
	_, size, err := c.Head(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(60 * time.Second); ; {
		ctx, cancel := context.WithTimeout(t.Context(), 15*time.Second)
		_, _, err := c.WaitCheckpoint(ctx, size, 10*time.Second)
		cancel()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("nothing over %d entries is final: %v", size, err)
		}
	}
}

// verified is the answer of `ledger verify`, which replays all rules.
func verified(t *testing.T, args ...string) (v verdict) {
	t.Helper()
	if err := json.Unmarshal([]byte(must(t, append([]string{"verify", "--json"}, args...)...)), &v); err != nil {
		t.Fatal(err)
	}
	return v
}
