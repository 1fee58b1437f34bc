package journal

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/comity-ledger/comity/settlement/proof"
)

func TestWitnessAnswersAsTheSpecificationSays(t *testing.T) {
	m, _ := honest(t, 20)
	fork := &memory{}
	fork.grow(t, 20, " forked", 3)
	shelf := &shelf{}
	w := witness(t, "w1.example", shelf)
	h := w.Handler()
	thief, err := proof.NewLogSigner(origin, edKey("thief"))
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := proof.NewLogSigner("ledger.borealis.example/log", edKey("log"))
	if err != nil {
		t.Fatal(err)
	}
	head := m.grow(t, 20, "", 20)
	plain := func(b []byte) []byte { return slices.Concat([]byte("old 0\n\n"), b) }
	for _, c := range []struct {
		name   string
		body   []byte
		status int
		size   string // of a 409
	}{
		{"no checkpoint at all", nil, 400, ""},
		{"no old line", signer(t).Sign(head), 400, ""},
		{"an old size with a leading zero", bytes.Replace(ask(t, m, 0, 5), []byte("old 0"), []byte("old 00"), 1), 400, ""},
		{"a negative old size", bytes.Replace(ask(t, m, 0, 5), []byte("old 0"), []byte("old -1"), 1), 400, ""},
		{"an old size past the checkpoint", bytes.Replace(ask(t, m, 0, 5), []byte("old 0"), []byte("old 6"), 1), 400, ""},
		{"a hash that is not base64", bytes.Replace(ask(t, m, 0, 5), []byte("old 0\n"), []byte("old 0\nxx\n"), 1), 400, ""},
		{"64 proof lines", bytes.Replace(ask(t, m, 0, 5), []byte("old 0\n"), []byte("old 0\n"+strings.Repeat(proof.Hash{}.String()+"\n", 64)), 1), 400, ""},
		{"an extension line", plain(bytes.Replace(signer(t).Sign(head), []byte("\n\n"), []byte("\nextension\n\n"), 1)), 400, ""},
		{"an unknown origin", plain(stranger.Sign(head)), 404, ""},
		{"another key", plain(thief.Sign(head)), 403, ""},
		{"a proof where none belongs", bytes.Replace(ask(t, m, 0, 5), []byte("old 0\n"), []byte("old 0\n"+proof.Hash{}.String()+"\n"), 1), 422, ""},
		{"an old size this witness never held", ask(t, m, 3, 5), 409, "0\n"},
		{"the first checkpoint", ask(t, m, 0, 5), 200, ""},
		{"the first checkpoint again, from nothing", ask(t, m, 0, 5), 409, "5\n"},
		{"the first checkpoint again, from itself", ask(t, m, 5, 5), 200, ""},
		{"a larger one", ask(t, m, 5, 12), 200, ""},
		{"a rollback", ask(t, m, 5, 7), 409, "12\n"},
		{"a rollback with the old size of today", bytes.Replace(ask(t, m, 5, 7), []byte("old 5"), []byte("old 12"), 1), 400, ""},
		{"a second root for one size", ask(t, fork, 12, 12), 409, "12\n"},
		{"a fork that claims to be consistent", ask(t, fork, 12, 15), 422, ""},
		{"a larger one without its proof", slices.Concat([]byte("old 12\n\n"), signer(t).Sign(head)), 422, ""},
		{"the honest log goes on", ask(t, m, 12, 20), 200, ""},
		{"too many bytes", make([]byte, maxRequest+1), 413, ""},
	} {
		before, _ := w.Head(origin)
		status, kind, body := post(h, c.body)
		if status != c.status || c.size != "" && (string(body) != c.size || kind != "text/x.tlog.size") {
			t.Errorf("%s: %d %s %q, want %d %q", c.name, status, kind, body, c.status, c.size)
		}
		after, _ := w.Head(origin)
		if status != 200 && before != after {
			t.Errorf("%s: the state moved from %d to %d leaves", c.name, before.Size, after.Size)
		}
	}
	if got, _ := w.Head(origin); got != head {
		t.Errorf("holds %d leaves", got.Size)
	}
	if status, _, _ := post(h, bytes.Replace(ask(t, m, 12, 20), []byte("old 12"), []byte("old 20"), 1)); status != 422 {
		t.Errorf("a proof for a tree that did not grow: %d", status)
	}
}

func TestCosignatureCountsUnderAPolicy(t *testing.T) {
	m, head := honest(t, 9)
	w := witness(t, "w1.example", &shelf{})
	status, _, line := post(w.Handler(), ask(t, m, 0, 9))
	if status != 200 {
		t.Fatal(status)
	}
	signed, added, err := policy(t, 1, "w1.example").AddCosignatures(signer(t).Sign(head), line)
	if err != nil || len(added) != 1 {
		t.Fatalf("%v, %v", added, err)
	}
	f, err := policy(t, 1, "w1.example").Check(signed, 1800000000)
	if err != nil || f.Cosignatures[0].UnixSeconds != 1800000000 {
		t.Errorf("%+v, %v", f, err)
	}
}

func TestTwoRootsForOneSizeLeaveEvidence(t *testing.T) {
	m, _ := honest(t, 9)
	fork := &memory{}
	fork.grow(t, 9, " forked", 3)
	w := witness(t, "w1.example", &shelf{})
	var got *proof.Evidence
	w.config.OnFork = func(_ string, e *proof.Evidence) { got = e }
	post(w.Handler(), ask(t, m, 0, 9))
	if status, _, body := post(w.Handler(), ask(t, fork, 9, 9)); status != 409 || string(body) != "9\n" {
		t.Errorf("%d %q", status, body)
	}
	if got == nil {
		t.Fatal("no evidence")
	}
	if err := got.Verify(origin, edKey("log").Public().(ed25519.PublicKey)); err != nil {
		t.Error(err)
	}
}

// The race of the specification: a request for N that was checked before a request for N+K was stored must not roll the state back.
func TestConcurrentRequestsNeverRollBack(t *testing.T) {
	m, _ := honest(t, 200)
	shelf := &shelf{}
	w := witness(t, "w1.example", shelf)
	h := w.Handler()
	var wg sync.WaitGroup
	var mu sync.Mutex
	best := uint64(0)
	for g := range 8 {
		wg.Add(1)
		go func() {
			defer wg.Done()
			old := uint64(0)
			for size := uint64(1 + g); size <= 200; size += 7 {
				for range 20 {
					if old > size {
						break
					}
					status, _, body := post(h, ask(t, m, old, size))
					if status == 200 {
						mu.Lock()
						best = max(best, size)
						mu.Unlock()
						if held, _ := w.Head(origin); held.Size < size {
							t.Errorf("cosigned %d, holds %d", size, held.Size)
						}
						old = size
						break
					}
					if status != 409 {
						t.Errorf("status %d", status)
						return
					}
					fmt.Sscan(string(body), &old)
				}
			}
		}()
	}
	wg.Wait()
	held, _ := w.Head(origin)
	if held.Size != best {
		t.Errorf("holds %d leaves, cosigned %d", held.Size, best)
	}
	again := witness(t, "w1.example", shelf)
	if stored, _ := again.Head(origin); stored != held {
		t.Errorf("stored %d leaves, holds %d", stored.Size, held.Size)
	}
}

func TestNothingIsCosignedThatIsNotStored(t *testing.T) {
	m, _ := honest(t, 9)
	for _, wrote := range []bool{false, true} {
		shelf := &shelf{}
		w := witness(t, "w1.example", shelf)
		post(w.Handler(), ask(t, m, 0, 4))
		shelf.fail, shelf.wrote = errors.New("no space left"), wrote
		if status, _, body := post(w.Handler(), ask(t, m, 4, 9)); status != 500 || bytes.Contains(body, []byte("—")) {
			t.Errorf("failed save answered %d %q", status, body)
		}
		// The next request must agree with what is on the medium, whichever of the two it is, and store it again before it answers.
		old := uint64(4)
		if wrote {
			old = 9
		}
		saves := shelf.saves
		if status, _, body := post(w.Handler(), ask(t, m, old, 9)); status != 200 {
			t.Errorf("wrote=%v: after the failure %d %q", wrote, status, body)
		}
		if shelf.saves != saves+1 {
			t.Errorf("wrote=%v: answered without storing", wrote)
		}
	}
}

// A kill after the state is durable and before the answer is out: the ledger asks again with the size it believes in, is told the
// new one, and gets the same cosignature.
func TestKillBetweenStoringAndAnsweringLosesNothing(t *testing.T) {
	m, _ := honest(t, 9)
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	w := witness(t, "w1.example", f)
	_, _, lost := post(w.Handler(), ask(t, m, 0, 9)) // the answer that never arrives
	f.unlock()                                       // what the kernel does for a killed process
	f, err = OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w = witness(t, "w1.example", f)
	if status, _, body := post(w.Handler(), ask(t, m, 0, 9)); status != 409 || string(body) != "9\n" {
		t.Errorf("%d %q", status, body)
	}
	if status, _, line := post(w.Handler(), ask(t, m, 9, 9)); status != 200 || !bytes.Equal(line, lost) {
		t.Errorf("%d %q, lost %q", status, line, lost)
	}
}

func TestKillAtEveryStepOfSavingKeepsTheOldOrTheNewState(t *testing.T) {
	m, _ := honest(t, 9)
	killed := errors.New("killed")
	for _, step := range []string{"create", "write", "sync", "rename", "sync folder"} {
		dir := t.TempDir()
		f, err := OpenFolder(dir)
		if err != nil {
			t.Fatal(err)
		}
		w := witness(t, "w1.example", f)
		if status, _, _ := post(w.Handler(), ask(t, m, 0, 4)); status != 200 {
			t.Fatal(status)
		}
		f.step = func(name string) error {
			if name == step {
				return killed
			}
			return nil
		}
		if status, _, _ := post(w.Handler(), ask(t, m, 4, 9)); status != 500 {
			t.Errorf("%s: answered %d", step, status)
		}
		if step == "write" || step == "sync" { // and the temporary file is torn
			tmp := f.path(origin) + ".tmp"
			if err := os.WriteFile(tmp, []byte(stateHeader+"torn"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		f.unlock()
		f, err = OpenFolder(dir)
		if err != nil {
			t.Fatalf("%s: %v", step, err)
		}
		w = witness(t, "w1.example", f)
		want := uint64(4)
		if step == "sync folder" {
			want = 9
		}
		if held, _ := w.Head(origin); held.Size != want {
			t.Errorf("%s: holds %d leaves, want %d", step, held.Size, want)
		}
		if status, _, _ := post(w.Handler(), ask(t, m, want, 9)); status != 200 {
			t.Errorf("%s: went on with %d", step, status)
		}
		if left, _ := filepath.Glob(filepath.Join(dir, "*.tmp")); len(left) != 0 {
			t.Errorf("%s: left %v", step, left)
		}
		if err := f.Close(); err != nil {
			t.Error(err)
		}
	}
}

func TestDamagedStateIsRefusedAndNotForgotten(t *testing.T) {
	m, _ := honest(t, 9)
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	post(witness(t, "w1.example", f).Handler(), ask(t, m, 0, 9))
	path := f.path(origin)
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	other := slices.Clone(whole)
	other[len(other)-20] ^= 1
	thief, err := proof.NewLogSigner(origin, edKey("thief"))
	if err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string][]byte{
		"empty":                 {},
		"cut":                   whole[:len(whole)/2],
		"cut in the header":     whole[:10],
		"one bit":               other,
		"bytes after the end":   append(slices.Clone(whole), 'x'),
		"signed by another key": encodeState(thief.Sign(proof.Head{Size: 1})),
		"long":                  make([]byte, maxState+1),
	} {
		if err := os.WriteFile(path, bad, 0o600); err != nil {
			t.Fatal(err)
		}
		c, err := proof.NewCosigner("w1.example", edKey("w1.example"))
		if err != nil {
			t.Fatal(err)
		}
		_, err = NewWitness(WitnessConfig{Cosigner: c, Medium: f, Logs: []Log{{Origin: origin, Key: edKey("log").Public().(ed25519.PublicKey)}}})
		if !errors.Is(err, ErrStateDamaged) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTwoProcessesCannotShareAFolder(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := OpenFolder(dir); !errors.Is(err, ErrFolderInUse) {
		t.Errorf("opened twice: %v", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	f, err = OpenFolder(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// checker is a Checker whose answer a test decides.
type checker func(context.Context, proof.Head) error

func (c checker) Reach(ctx context.Context, head proof.Head) error { return c(ctx, head) }

func TestValidatingWitnessCosignsOnlyWhatWasReplayed(t *testing.T) {
	m, _ := honest(t, 9)
	for _, c := range []struct {
		err    error
		status int
	}{{nil, 200}, {fmt.Errorf("%w: entry 7", ErrLogInvalid), 422}, {ErrNotReplayed, 503}, {errors.New("disk"), 503}} {
		w := witness(t, "w1.example", &shelf{})
		w.logs[origin].Validator = checker(func(context.Context, proof.Head) error { return c.err })
		status, _, body := post(w.Handler(), ask(t, m, 0, 9))
		if status != c.status {
			t.Errorf("%v: %d %q", c.err, status, body)
		}
		if held, _ := w.Head(origin); (held.Size == 9) != (c.err == nil) {
			t.Errorf("%v: holds %d leaves", c.err, held.Size)
		}
	}
}

func TestRequestsInHandAreBounded(t *testing.T) {
	m, _ := honest(t, 9)
	w := witness(t, "w1.example", &shelf{})
	release := make(chan struct{})
	entered := make(chan struct{}, maxInHand)
	w.logs[origin].Validator = checker(func(context.Context, proof.Head) error {
		entered <- struct{}{}
		<-release
		return nil
	})
	body := ask(t, m, 0, 9)
	var wg sync.WaitGroup
	for range maxInHand {
		wg.Add(1)
		go func() {
			defer wg.Done()
			post(w.Handler(), body)
		}()
	}
	for range maxInHand {
		<-entered
	}
	if status, _, _ := post(w.Handler(), body); status != http.StatusServiceUnavailable {
		t.Errorf("one request too many: %d", status)
	}
	close(release)
	wg.Wait()
}

func TestWitnessIsBuiltOnlyFromWholeParts(t *testing.T) {
	c, err := proof.NewCosigner("w1.example", edKey("w1.example"))
	if err != nil {
		t.Fatal(err)
	}
	key := edKey("log").Public().(ed25519.PublicKey)
	for name, config := range map[string]WitnessConfig{
		"no log":        {Cosigner: c, Medium: &shelf{}},
		"no key":        {Cosigner: c, Medium: &shelf{}, Logs: []Log{{Origin: origin}}},
		"one log twice": {Cosigner: c, Medium: &shelf{}, Logs: []Log{{Origin: origin, Key: key}, {Origin: origin, Key: key}}},
		"no medium":     {Cosigner: c, Logs: []Log{{Origin: origin, Key: key}}},
	} {
		if _, err := NewWitness(config); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	if w := witness(t, "w1.example", &shelf{}); w.config.Now().IsZero() {
		t.Error("no clock")
	}
	if _, ok := witness(t, "w1.example", &shelf{}).Head("elsewhere"); ok {
		t.Error("knows another log")
	}
}

// The example request of the C2SP tlog-witness page must be readable as it stands there.
func TestRequestOfTheSpecificationReads(t *testing.T) {
	text := `old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

— example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
— example.com/behind-the-sofa opLqBQsREYCgu6xQkYQwJr9fo45a62DN9EdmHXnZdXNqlcVGlCum2Wks+49/V6267UEjw6QUXTS5Rovnzv++qbSzm9Q=
`
	r, err := parseRequest([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	if r.old != 20852014 || len(r.path) != 4 || string(r.marshal()) != text || !strings.HasPrefix(string(r.checkpoint), "example.com/behind-the-sofa\n20852163\n") {
		t.Errorf("%+v", r)
	}
}

func FuzzParseRequest(f *testing.F) {
	m, _ := honest(f, 9)
	f.Add(ask(f, m, 4, 9))
	f.Add([]byte("old 0\n\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if r, err := parseRequest(b); err == nil && !bytes.Equal(r.marshal(), b) {
			t.Fatalf("%q writes as %q", b, r.marshal())
		}
	})
}

func FuzzDecodeState(f *testing.F) {
	_, head := honest(f, 9)
	f.Add(encodeState(signer(f).Sign(head)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if c, err := decodeState(b); err == nil && !bytes.Equal(encodeState(c), b) {
			t.Fatalf("%q", b)
		}
	})
}
