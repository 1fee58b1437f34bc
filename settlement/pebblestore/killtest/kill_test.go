package killtest

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/replay"
)

var (
	every = flag.Bool("kill.every", false, "kill at every call, not at a sample")
	seed  = flag.Uint64("kill.seed", 1, "which calls the sample holds")
)

// calls are those by which bytes and names reach the disk.
const calls = "write,pwrite64,writev,pwritev,pwritev2,fsync,fdatasync,sync_file_range,rename,renameat,renameat2,unlink,unlinkat,ftruncate,fallocate"

const (
	envDir   = "COMITY_KILL_DIR"
	envEarly = "COMITY_KILL_EARLY" // the planted bug: acknowledge before the block is synced
	blocks   = 12
)

// script makes the same blocks in every process.
func script() *ledgertest.Bed {
	bed := ledgertest.NewBed(7)
	for range blocks {
		bed.Now += 100
		bed.Submit(bed.Transfer(), bed.Transfer(), bed.Transfer())
	}
	return bed
}

func open(dir string) (*pebblestore.Opener, error) {
	return pebblestore.New(pebblestore.Config{Dir: dir, MemTableBytes: 256 << 10, CacheBytes: 1 << 20})
}

func TestMain(m *testing.M) {
	if dir := os.Getenv(envDir); dir != "" {
		if err := write(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(3)
		}
		os.Exit(0)
	}
	flag.Parse()
	os.Exit(m.Run())
}

// write is the process that is killed: it says which block is durable, each
// before it begins the next.
func write(dir string) error {
	ctx := context.Background()
	bed := script()
	opener, err := open(dir)
	if err != nil {
		return err
	}
	store, err := opener.Create(ctx, bed.Blocks[0])
	if err != nil {
		return err
	}
	say := func(height int) error {
		_, err := fmt.Printf("durable %d\n", height)
		return err
	}
	if err := say(0); err != nil {
		return err
	}
	head, err := store.Acquire(ctx)
	if err != nil {
		return err
	}
	early := os.Getenv(envEarly) != ""
	for i, b := range bed.Blocks[1:] {
		if early {
			if err := say(i + 1); err != nil {
				return err
			}
		}
		outcome, err := store.Append(ctx, head, b)
		if outcome != settlement.Committed {
			return fmt.Errorf("append block %d: %s: %w", i+1, outcome, err)
		}
		head = b.Head(head.Epoch)
		if !early {
			if err := say(i + 1); err != nil {
				return err
			}
		}
	}
	return store.Close()
}

// run traces one process with something injected, and returns the last block
// that it said is durable, -1 before the first, and what strace saw.
func run(t *testing.T, dir, inject string, early bool) (last int, trace []byte, err error) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	seen := filepath.Join(t.TempDir(), "trace")
	args := []string{"-f", "-qq", "-o", seen, "-e", "trace=" + calls, "-e", "signal=none"}
	if inject != "" {
		args = append(args, "-e", "inject="+inject)
	}
	cmd := exec.Command("strace", append(args, self)...)
	cmd.Env = append(os.Environ(), envDir+"="+dir, "GOMAXPROCS=1")
	if early {
		cmd.Env = append(cmd.Env, envEarly+"=1")
	}
	var out bytes.Buffer
	cmd.Stdout = &out
	err = cmd.Run()
	last = -1
	for lines := bufio.NewScanner(&out); lines.Scan(); {
		if n, bad := strconv.Atoi(strings.TrimPrefix(lines.Text(), "durable ")); bad == nil {
			last = n
		}
	}
	trace, _ = os.ReadFile(seen)
	return last, trace, err
}

// traced skips where nothing can be traced; in CI that is a failure.
func traced(t *testing.T) {
	t.Helper()
	_, err := exec.LookPath("strace")
	if err == nil {
		err = exec.Command("strace", "-qq", "-o", os.DevNull, "-e", "inject=getpid:error=EPERM:when=1", "true").Run()
	}
	switch {
	case err != nil && os.Getenv("COMITY_CI") == "1":
		t.Fatalf("strace does not work here: %v", err)
	case err != nil:
		t.Skipf("strace does not work here: %v", err)
	}
}

// reopened holds what a restart finds: everything that was said to be durable,
// one block more at most, and a log that replays.
func reopened(dir string, last int) error {
	ctx := context.Background()
	bed := script()
	opener, err := open(dir)
	if err != nil {
		return err
	}
	store, err := opener.Open(ctx, bed.Hash)
	if last < 0 && (errors.Is(err, settlement.ErrStoreNotFound) || errors.Is(err, settlement.ErrStoreHalfCreated)) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("open after block %d: %w", last, err)
	}
	defer store.Close()
	head, err := store.Head(ctx)
	if err != nil {
		return err
	}
	if h := int(head.Height); h < last || h > last+1 {
		return fmt.Errorf("the store is at block %d, block %d was acknowledged", h, last)
	}
	state, err := replay.All(ctx, store.Blocks(ctx, 0), replay.Config{Verifier: bed.Verifier, Genesis: entry.GenesisHash(bed.Hash)}, nil)
	if err != nil {
		return fmt.Errorf("replay: %w", err)
	}
	if want := bed.Blocks[head.Height].Head(head.Epoch); state.Head(head.Epoch) != want {
		return fmt.Errorf("replay gives root %x, the script has %x", state.LogRoot(), want.Root)
	}
	return nil
}

// most is how often the busiest thread of an undisturbed run made each call:
// strace counts calls by thread.
func most(t *testing.T) map[string]int {
	t.Helper()
	last, trace, err := run(t, filepath.Join(t.TempDir(), "ledger"), "", false)
	if err != nil || last != blocks {
		t.Fatalf("an undisturbed run ended at block %d: %v", last, err)
	}
	count, top := map[string]int{}, map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(trace)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 2 || strings.HasPrefix(f[1], "<...") {
			continue
		}
		call, _, ok := strings.Cut(f[1], "(")
		if !ok {
			continue
		}
		count[f[0]+call]++
		top[call] = max(top[call], count[f[0]+call])
	}
	return top
}

// points are the kills and faults of this run: all, or a sample.
func points(top map[string]int, how string, only func(call string) bool, sample int) []string {
	var all []string
	for _, call := range strings.Split(calls, ",") {
		for n := 1; n <= top[call] && only(call); n++ {
			all = append(all, fmt.Sprintf("%s:%s:when=%d", call, how, n))
		}
	}
	if *every || len(all) <= sample {
		return all
	}
	r := rand.New(rand.NewPCG(*seed, uint64(len(how))))
	r.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	return all[:sample]
}

func whichever(string) bool { return true }
func syncs(c string) bool   { return c == "fsync" || c == "fdatasync" }
func writes(c string) bool  { return strings.Contains(c, "write") }

// TestKilledAtEveryWrite kills the process as it enters a call: with -kill.every
// each of them, or as many as a test may take.
func TestKilledAtEveryWrite(t *testing.T) {
	traced(t)
	top := most(t)
	t.Logf("calls of the busiest thread: %v", top)
	for _, p := range points(top, "signal=SIGKILL", whichever, 12) {
		dir := filepath.Join(t.TempDir(), "ledger")
		last, _, _ := run(t, dir, p, false)
		t.Logf("%s: block %d was acknowledged", p, last)
		if err := reopened(dir, last); err != nil {
			t.Errorf("killed at %s: %v", p, err)
		}
	}
}

// TestFailedWrites gives errors instead: whatever the process says after one
// must be true.
func TestFailedWrites(t *testing.T) {
	traced(t)
	top := most(t)
	all := append(points(top, "error=EIO", syncs, 4), points(top, "error=ENOSPC", writes, 4)...)
	for _, p := range all {
		dir := filepath.Join(t.TempDir(), "ledger")
		last, _, _ := run(t, dir, p, false)
		t.Logf("%s: block %d was acknowledged", p, last)
		if err := reopened(dir, last); err != nil {
			t.Errorf("%s: %v", p, err)
		}
	}
}

// TestAcknowledgingEarlyIsCaught tests the test: a process that says durable
// before it is must be caught. A kill takes a process and no page cache: what a
// loss of power takes is for the crash copies of settlement/storetest.
func TestAcknowledgingEarlyIsCaught(t *testing.T) {
	traced(t)
	top := most(t)
	for _, p := range points(top, "signal=SIGKILL", whichever, 40) {
		dir := filepath.Join(t.TempDir(), "ledger")
		last, _, _ := run(t, dir, p, true)
		if err := reopened(dir, last); err != nil {
			t.Logf("killed at %s: %v", p, err)
			return
		}
	}
	t.Fatal("a process that acknowledges before the sync was not caught")
}
