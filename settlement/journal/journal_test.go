package journal

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-ledger/comity/settlement/proof"
)

var names = []string{"w1.example", "w2.example", "w3.example"}

// rig is a ledger with three witnesses, two of which make a quorum.
type rig struct {
	*Journal
	log     *memory
	net     *network
	shelves map[string]*shelf
}

func newRig(t testing.TB) *rig {
	t.Helper()
	r := &rig{log: &memory{}, net: &network{}, shelves: map[string]*shelf{}}
	c := Config{Signer: signer(t), Policy: policy(t, 2, names...), Tiles: r.log, HTTP: &http.Client{Transport: r.net},
		Now: func() time.Time { return time.Unix(1800000000, 0) }}
	for _, name := range names {
		r.shelves[name] = &shelf{}
		r.net.set(name, witness(t, name, r.shelves[name]).Handler())
		c.Witnesses = append(c.Witnesses, Endpoint{name, "http://" + name})
	}
	j, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.Journal = j
	return r
}

func (r *rig) close(t testing.TB) {
	t.Helper()
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

func (r *rig) at(t testing.TB, size uint64) proof.Head { return r.log.grow(t, size, "", size) }

func TestCheckpointIsFinalWithAQuorum(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		for _, size := range []uint64{1, 2, 300, 301, 70000} {
			head := r.at(t, size)
			c, err := r.Cosign(t.Context(), head)
			if err != nil {
				t.Fatal(err)
			}
			if f, err := r.config.Policy.Check(c.Checkpoint, 1800000000); err != nil || f.Head != head || len(f.Cosignatures) < 2 {
				t.Errorf("%d leaves: %+v, %v", size, f, err)
			}
		}
		synctest.Wait() // the slowest witness has answered too
		latest := r.Latest()
		if latest == nil || latest.Size != 70000 || len(latest.Final.Cosignatures) != 3 {
			t.Errorf("latest %+v", latest)
		}
		for _, s := range r.Witnesses() {
			if s.Size != 70000 || s.LastError != "" {
				t.Errorf("%+v", s)
			}
		}
	})
}

func TestMinorityOfWitnessesDownChangesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.net.set("w2.example", nil)
		if _, err := r.Cosign(t.Context(), r.at(t, 5)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Cosign(t.Context(), r.at(t, 9)); err != nil {
			t.Fatal(err)
		}
		if s := r.Witnesses()[1]; s.LastError == "" || s.Size != 0 {
			t.Errorf("%+v", s)
		}
		r.net.set("w2.example", witness(t, "w2.example", r.shelves["w2.example"]).Handler())
		time.Sleep(2 * maxPause)
		synctest.Wait()
		if s := r.Witnesses()[1]; s.LastError != "" || s.Size != 9 {
			t.Errorf("the witness that came back: %+v", s)
		}
		if n := len(r.Latest().Final.Cosignatures); n != 3 {
			t.Errorf("%d cosignatures after it came back", n)
		}
	})
}

func TestMajorityDownMeansNoQuorumUntilTheyReturn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.net.set("w2.example", nil)
		r.net.set("w3.example", nil)
		head := r.at(t, 5)
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		_, err := r.Cosign(ctx, head)
		if !errors.Is(err, proof.ErrQuorum) || !strings.Contains(err.Error(), "1 of 2") || !strings.Contains(err.Error(), "w3.example: ") {
			t.Errorf("without a majority: %v", err)
		}
		if r.Latest() != nil {
			t.Error("a checkpoint without a quorum is final")
		}
		r.net.set("w3.example", witness(t, "w3.example", r.shelves["w3.example"]).Handler())
		c, err := r.Cosign(t.Context(), head) // continues: w1 need not be asked again
		if err != nil || len(c.Final.Cosignatures) != 2 {
			t.Errorf("after the return: %v", err)
		}
	})
}

func TestHangingWitnessDelaysNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.net.set("w1.example", http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) { <-req.Context().Done() }))
		began := time.Now()
		for _, size := range []uint64{3, 4, 5} {
			if _, err := r.Cosign(t.Context(), r.at(t, size)); err != nil {
				t.Fatal(err)
			}
		}
		if d := time.Since(began); d > 0 {
			t.Errorf("took %v", d)
		}
	})
}

func TestWitnessAnswersThatAreNoneAreNamed(t *testing.T) {
	_, head := honest(t, 5)
	other, err := proof.NewCosigner("w1.example", edKey("thief"))
	if err != nil {
		t.Fatal(err)
	}
	forged, err := other.Sign(proof.Checkpoint{Origin: origin, Head: head}, 1800000000)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		status int
		body   string
		want   string
	}{
		"a cosignature by another key": {200, string(forged), "no cosignature of this witness"},
		"nothing":                      {200, "", "no cosignature of this witness"},
		"garbage":                      {200, "<html>", "no cosignature of this witness"},
		"endless":                      {200, strings.Repeat("x", proof.MaxCheckpoint+1), "more than"},
		"forbidden":                    {403, "log_signature_invalid: no", "403"},
		"unknown origin":               {404, "", "404"},
		"a redirect":                   {302, "", "302"},
		"a conflict without a size":    {409, "many\n", "does not name a size"},
		"a conflict without an end":    {409, "7", "does not name a size"},
		"control characters":           {500, "\x1b[2Jx", `\x1b[2Jx`},
		"a size that always changes":   {409, "", "changed with every request"},
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t)
			defer r.close(t)
			var n atomic.Int64
			r.net.set("w1.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				if c.status == 302 {
					w.Header().Set("Location", "http://w2.example/")
				}
				w.WriteHeader(c.status)
				body := c.body
				if c.status == 409 && body == "" {
					body = []string{"1\n", "2\n", "3\n"}[n.Add(1)%3]
				}
				_, _ = io.WriteString(w, body)
			}))
			r.net.set("w2.example", nil)
			r.net.set("w3.example", nil)
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			if _, err := r.Cosign(ctx, r.at(t, 5)); !errors.Is(err, proof.ErrQuorum) {
				t.Errorf("%s: %v", name, err)
			}
			if got := r.Witnesses()[0].LastError; !strings.Contains(got, c.want) {
				t.Errorf("%s: %q, want %q", name, got, c.want)
			}
		})
	}
}

// A ledger restored from a backup that is older than what the witnesses hold must be told, and must not go on.
func TestRestoreFromAnOldBackupIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		if _, err := r.Cosign(t.Context(), r.at(t, 9)); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		r.close(t)
		old := &rig{log: &memory{}, net: r.net}
		c := r.config
		c.Tiles = old.log
		j, err := New(c)
		if err != nil {
			t.Fatal(err)
		}
		old.Journal = j
		defer old.close(t)
		if _, err := old.Cosign(t.Context(), old.at(t, 6)); !errors.Is(err, ErrBehindWitnesses) {
			t.Errorf("three leaves behind: %v", err)
		}
		// Writing other entries over the lost ones is a fork.
		if _, err := old.Cosign(t.Context(), old.log.grow(t, 12, " again", 6)); !errors.Is(err, ErrForked) {
			t.Errorf("with another future: %v", err)
		}
		same := &rig{log: &memory{}}
		c.Tiles = same.log
		if same.Journal, err = New(c); err != nil {
			t.Fatal(err)
		}
		defer same.close(t)
		if _, err := same.Cosign(t.Context(), same.log.grow(t, 9, " again", 6)); !errors.Is(err, ErrForked) {
			t.Errorf("with other entries of the same number: %v", err)
		}
	})
}

// A signature is verified once: where it comes in. That is an answer of a witness, a checkpoint of another node, and one kept before a start.
func TestCosignatureThatDoesNotHoldIsRefusedWhereverItComesIn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		head := r.at(t, 5)
		if _, err := r.Cosign(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		good := r.Latest()
		lines := bytes.SplitAfter(bytes.TrimPrefix(good.Checkpoint, r.config.Signer.Sign(head)), []byte("\n"))
		if len(lines) != len(names)+1 { // the last is empty
			t.Fatalf("%d cosignatures", len(lines)-1)
		}
		answer := func(lines ...[]byte) http.Handler {
			return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(bytes.Join(lines, nil)) })
		}
		// A witness that answers with its cosignature of the head before, and one that answers with another's.
		next := r.at(t, 6)
		r.net.set("w1.example", answer(lines...))
		r.net.set("w2.example", nil)
		r.net.set("w3.example", witness(t, "w3.example", r.shelves["w3.example"]).Handler())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := r.Cosign(ctx, next); !errors.Is(err, proof.ErrQuorum) || !strings.Contains(err.Error(), "1 of 2") {
			t.Errorf("cosignatures of another head: %v", err)
		}
		if got := r.Witnesses()[0].LastError; !strings.Contains(got, "no cosignature of this witness") {
			t.Errorf("its answer: %q", got)
		}
		// A checkpoint of another node, and one kept before a start.
		bad := bytes.Clone(good.Checkpoint)
		bad[len(bad)-40] ^= 'A' ^ 'B'
		if err := r.Adopt(bad); !errors.Is(err, proof.ErrCosignature) {
			t.Errorf("adopted: %v", err)
		}
		if got := r.Latest(); got.Size != 5 || !bytes.Equal(got.Checkpoint, good.Checkpoint) {
			t.Errorf("latest %+v", got)
		}
		r.close(t)
		for name, saved := range map[string][]byte{"with a bad cosignature": bad, "good": good.Checkpoint} {
			c := r.config
			c.Saved, c.Signed = saved, head
			j, err := New(c)
			if err != nil {
				t.Fatal(err)
			}
			if have := j.Latest() != nil; have != (name == "good") {
				t.Errorf("kept before the start, %s: known %t", name, have)
			}
			if err := j.Close(); err != nil {
				t.Error(err)
			}
		}
	})
}

// One witness alone cannot stop a ledger by claiming a larger tree.
func TestOneLyingWitnessDoesNotStopTheLedger(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		r.net.set("w1.example", http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(409)
			_, _ = io.WriteString(w, "1000000\n")
		}))
		if _, err := r.Cosign(t.Context(), r.at(t, 5)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := r.Witnesses()[0]; s.Size != 1000000 || s.LastError == "" {
			t.Errorf("%+v", s)
		}
		r.net.set("w1.example", witness(t, "w1.example", r.shelves["w1.example"]).Handler())
		if _, err := r.Cosign(t.Context(), r.at(t, 6)); err != nil {
			t.Error(err)
		}
		synctest.Wait()
		if s := r.Witnesses()[0]; s.Size != 6 || s.LastError != "" {
			t.Errorf("after it told the truth: %+v", s)
		}
	})
}

// A round that had become hopeless is taken up again: who cosigned is not asked once more, who refused is.
func TestHopelessRoundGoesOnWhenWitnessesComeToTheirSenses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		defer r.close(t)
		for _, name := range names[1:] {
			r.net.set(name, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(409)
				_, _ = io.WriteString(w, "1000000\n")
			}))
		}
		head := r.at(t, 5)
		if _, err := r.Cosign(t.Context(), head); !errors.Is(err, ErrBehindWitnesses) {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, name := range names[1:] {
			r.net.set(name, witness(t, name, r.shelves[name]).Handler())
		}
		calls := r.net.calls.Load()
		if _, err := r.Cosign(t.Context(), head); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		for _, s := range r.Witnesses() {
			if s.Size != 5 || s.LastError != "" {
				t.Errorf("%+v", s)
			}
		}
		if n := r.net.calls.Load() - calls; n > 4 { // two each: the size first
			t.Errorf("%d requests", n)
		}
	})
}

func TestJournalNeverGoesBackOrSignsTwoRoots(t *testing.T) {
	r := newRig(t)
	defer r.close(t)
	head := r.at(t, 9)
	a, err := r.Sign(head)
	if err != nil {
		t.Fatal(err)
	}
	b, err := r.Sign(head)
	if err != nil || !bytes.Equal(a, b) {
		t.Errorf("signing again: %v", err)
	}
	if _, err := r.Sign(proof.Head{Size: 8}); !errors.Is(err, ErrWentBack) {
		t.Errorf("going back: %v", err)
	}
	if _, err := r.Sign(proof.Head{Size: 9}); !errors.Is(err, ErrForked) {
		t.Errorf("a second root: %v", err)
	}
	if _, err := r.Cosign(t.Context(), proof.Head{Size: 8}); !errors.Is(err, ErrWentBack) {
		t.Errorf("cosigning what is gone: %v", err)
	}
	c := r.config
	c.Signed = head
	j, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	defer j.Close()
	if _, err := j.Sign(proof.Head{Size: 8}); !errors.Is(err, ErrWentBack) {
		t.Errorf("going back after a restart: %v", err)
	}
}

func TestJournalIsBuiltOnlyFromPartsThatFit(t *testing.T) {
	m, _ := honest(t, 1)
	good := Config{Signer: signer(t), Policy: policy(t, 2, names...), Tiles: m}
	thief, err := proof.NewLogSigner(origin, edKey("thief"))
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*Config){
		"no signer":            func(c *Config) { c.Signer = nil },
		"no policy":            func(c *Config) { c.Policy = nil },
		"no tiles":             func(c *Config) { c.Tiles = nil },
		"another log's signer": func(c *Config) { c.Signer = thief },
		"an unknown witness":   func(c *Config) { c.Witnesses = []Endpoint{{"w9.example", "http://w9"}} },
		"a witness twice":      func(c *Config) { c.Witnesses = []Endpoint{{"w1.example", "http://a"}, {"w1.example", "http://b"}} },
	} {
		c := good
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
	j, err := New(good)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := j.Cosign(t.Context(), m.grow(t, 1, "", 1)); !errors.Is(err, proof.ErrQuorum) {
		t.Errorf("without addresses: %v", err)
	}
	if err := j.Close(); err != nil {
		t.Error(err)
	}
}

func TestClosingEndsACosigningThatWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		for _, name := range names {
			r.net.set(name, nil)
		}
		head := r.at(t, 5)
		done := make(chan error)
		go func() {
			_, err := r.Cosign(context.Background(), head)
			done <- err
		}()
		synctest.Wait()
		r.close(t)
		if err := <-done; !errors.Is(err, ErrClosed) {
			t.Errorf("%v", err)
		}
	})
}

func TestEveryErrorHasItsNameInTheSpec(t *testing.T) {
	spec, err := os.ReadFile(filepath.Join("..", "SPEC.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range []error{ErrBehindWitnesses, ErrForked, ErrWentBack, ErrLogInvalid, ErrNotReplayed, ErrStateDamaged, ErrFolderInUse, errRequest} {
		if !bytes.Contains(spec, []byte(e.Error())) {
			t.Errorf("SPEC.md does not name %v", e)
		}
	}
}

// How long is the way from a block to its final checkpoint, with three witnesses that store on this disk? The network is left out.
func BenchmarkCosign(b *testing.B) {
	m := &memory{}
	net := &network{}
	c := Config{Signer: signer(b), Policy: policy(b, 2, names...), Tiles: m, HTTP: &http.Client{Transport: net}, Now: func() time.Time { return time.Unix(1800000000, 0) }}
	for _, name := range names {
		f, err := OpenFolder(b.TempDir())
		if err != nil {
			b.Fatal(err)
		}
		defer f.Close()
		net.set(name, witness(b, name, f).Handler())
		c.Witnesses = append(c.Witnesses, Endpoint{name, "http://" + name})
	}
	j, err := New(c)
	if err != nil {
		b.Fatal(err)
	}
	defer j.Close()
	size := uint64(100000)
	m.grow(b, size, "", size)
	for b.Loop() {
		size += 100
		if _, err := j.Cosign(b.Context(), m.grow(b, size, "", size)); err != nil {
			b.Fatal(err)
		}
	}
}

func TestHashReaderReadsEveryHashFromTiles(t *testing.T) {
	m, _ := honest(t, 1)
	m.grow(t, 70000, "", 70000)
	r := HashReader(t.Context(), m)
	for i := int64(0); i < int64(len(m.hashes)); i += 97 {
		got, err := r.ReadHashes([]int64{i})
		if err != nil || got[0] != m.hashes[i] {
			t.Fatalf("hash %d: %v", i, err)
		}
	}
	if _, err := r.ReadHashes([]int64{int64(len(m.hashes)) + 100000}); err == nil {
		t.Error("read a hash that is not there")
	}
}
