package witnesscmd

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// asWitness makes this test binary a witness process, so that a test can kill one.
const asWitness = "COMITY_TEST_RUN_WITNESS"

func TestMain(m *testing.M) {
	keyfile.WorkFactor = 8 // a key file opens in milliseconds
	if args := os.Getenv(asWitness); args != "" {
		var out, errOut buffer
		code := command(context.Background(), &out, &errOut, strings.Split(args, "\n")...)
		fmt.Fprint(os.Stderr, errOut.String())
		os.Exit(int(code))
	}
	os.Exit(m.Run())
}

// process starts a witness in a process of its own and waits until it answers.
func (n *nation) process(t *testing.T, name string) (url string, kill func()) {
	t.Helper()
	ready := n.path(name + ".url")
	if err := os.Remove(ready); err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Stderr = os.Stderr
	cmd.Env = append(os.Environ(), asWitness+"="+strings.Join([]string{"run", "--data", n.path(name), "--listen", "127.0.0.1:0",
		"--genesis", n.path("genesis.json"), "--ready-file", ready}, "\n"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() {
		_ = cmd.Process.Kill() // SIGKILL: no handler, no flush
		_ = cmd.Wait()
	}
	for range 600 {
		if b, err := os.ReadFile(ready); err == nil {
			return strings.TrimSpace(string(b)), kill
		}
		time.Sleep(20 * time.Millisecond)
	}
	kill()
	t.Fatal("never ready")
	return "", nil
}

// alone is the ledger under a policy of this one witness, so that each of its cosignatures is seen.
func (n *nation) alone(t *testing.T, name, url string) *journal.Journal {
	t.Helper()
	signer, err := proof.NewLogSigner(n.genesis.Origin, edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	c := proof.Config{Origin: n.genesis.Origin, LogKey: edPublic("log"), Quorum: 1}
	for _, m := range n.genesis.Witnesses.Members {
		if m.Name == name {
			c.Witnesses = []proof.Witness{{Name: name, Key: m.Key}}
		}
	}
	policy, err := proof.NewPolicy(c)
	if err != nil {
		t.Fatal(err)
	}
	j, err := journal.New(journal.Config{Signer: signer, Policy: policy, Witnesses: []journal.Endpoint{{Name: name, URL: url}}, Tiles: n})
	if err != nil {
		t.Fatal(err)
	}
	return j
}

// A witness that is killed at any moment, again and again, still holds everything it ever cosigned.
func TestKilledWitnessHoldsEverythingItCosigned(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	if text := os.Getenv("COMITY_SEED"); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	n := newNation(t)
	cosigned := proof.Head{}
	for life := range 12 {
		url, kill := n.process(t, watcher)
		j := n.alone(t, watcher, url)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() { // the ledger goes on while the witness dies
			defer close(done)
			for ctx.Err() == nil && n.head().Size < 256 {
				head := n.idle(t)
				one, stop := context.WithTimeout(ctx, time.Second)
				if _, err := j.Cosign(one, head); err == nil {
					cosigned = head
				}
				stop()
			}
		}()
		time.Sleep(time.Duration(rng.IntN(int(60 * time.Millisecond))))
		kill()
		cancel()
		<-done
		if err := j.Close(); err != nil {
			t.Error(err)
		}
		// What the next start finds is at least what was cosigned, and the honest log goes on from it.
		again := n.run(t, watcher)
		var held uint64
		if _, text, ok := strings.Cut(again.errOut.String(), "holds "); !ok {
			t.Fatalf("life %d: %s", life, again.errOut.String())
		} else if _, err := fmt.Sscan(text, &held); err != nil {
			t.Fatal(err)
		}
		if held < cosigned.Size || held > n.head().Size {
			t.Errorf("life %d: cosigned %d leaves, holds %d of %d", life, cosigned.Size, held, n.head().Size)
		}
		if code := again.stop(); code != cli.OK {
			t.Errorf("life %d: exit %d: %s", life, code, again.errOut.String())
		}
	}
	if cosigned.Size == 0 {
		t.Error("nothing was cosigned in any life: the test shows nothing")
	}
	t.Logf("cosigned %d of %d leaves over twelve kills", cosigned.Size, n.head().Size)
}
