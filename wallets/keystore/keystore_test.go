package keystore

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

var (
	testHash    = [32]byte{1, 2, 3}
	testSecrets = Secrets{Seed: [32]byte{4}, Spending: [32]byte{5}}
	testPass    = []byte("correct horse")
	cheap       = Options{ScryptLogN: 8}
)

func newFolder(t *testing.T) (string, *Folder) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "wallet")
	f, err := Create(dir, []byte("genesis"), testHash, "aur1address", testSecrets, testPass, cheap)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	return dir, f
}

func TestFolderGivesBackWhatItWasGiven(t *testing.T) {
	dir, f := newFolder(t)
	if err := f.SaveState([]byte("state")); err != nil {
		t.Fatal(err)
	}
	for _, r := range []string{"one", "two"} {
		if err := f.Append([]byte(r)); err != nil {
			t.Fatal(err)
		}
	}
	f.Close()
	g, err := Open(dir, testPass)
	if err != nil {
		t.Fatal(err)
	}
	defer g.Close()
	state, err := g.LoadState()
	if err != nil || string(state) != "state" || g.Secrets() != testSecrets || string(g.Genesis()) != "genesis" {
		t.Fatalf("%q %v", state, err)
	}
	if len(g.Records()) != 2 || string(g.Records()[1]) != "two" {
		t.Fatalf("%q", g.Records())
	}
	if err := g.Rewrite([][]byte{[]byte("three")}); err != nil {
		t.Fatal(err)
	}
	if err := g.Append([]byte("four")); err != nil {
		t.Fatal(err)
	}
	g.Close()
	h, err := Open(dir, testPass)
	if err != nil || len(h.Records()) != 2 || string(h.Records()[0]) != "three" {
		t.Fatalf("%v", err)
	}
	h.Close()
}

func TestEveryFileIsPrivateAndNothingSecretIsReadable(t *testing.T) {
	dir, f := newFolder(t)
	f.SaveState([]byte("a very visible balance"))
	f.Append([]byte("a very visible payment"))
	entries, _ := os.ReadDir(dir)
	for _, e := range entries {
		info, _ := e.Info()
		if info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v", e.Name(), info.Mode())
		}
		b, _ := os.ReadFile(filepath.Join(dir, e.Name()))
		if bytes.Contains(b, []byte("visible")) || bytes.Contains(b, testSecrets.Seed[:]) {
			t.Errorf("%s shows its content", e.Name())
		}
	}
	for _, text := range []string{fmt.Sprint(testSecrets), fmt.Sprintf("%v %+v %#v", testSecrets, testSecrets, testSecrets)} {
		if strings.Contains(text, "4, 0") || !strings.Contains(text, "[secret]") {
			t.Errorf("secrets print as %s", text)
		}
	}
}

func TestFolderIsRefusedByName(t *testing.T) {
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, dir string, f *Folder)
		pass  string
		want  error
	}{
		"wrong passphrase": {func(*testing.T, string, *Folder) {}, "wrong horse", ErrPassphrase},
		"empty passphrase": {func(*testing.T, string, *Folder) {}, "", ErrPassphrase},
		"absent":           {func(t *testing.T, dir string, _ *Folder) { os.RemoveAll(dir) }, "", ErrNotFound},
		"half created":     {func(t *testing.T, dir string, _ *Folder) { os.Remove(filepath.Join(dir, headerName)) }, "", ErrHalfCreated},
		"newer version": {func(t *testing.T, dir string, _ *Folder) {
			edit(t, dir, headerName, func(b []byte) []byte { return bytes.Replace(b, []byte(`"version": 1`), []byte(`"version": 2`), 1) })
		}, "", ErrNewer},
		"other ledger": {func(t *testing.T, dir string, f *Folder) {
			edit(t, dir, headerName, func(b []byte) []byte { return bytes.Replace(b, []byte("010203"), []byte("090203"), 1) })
		}, "correct horse", ErrOtherLedger},
		"header no JSON": {func(t *testing.T, dir string, _ *Folder) {
			edit(t, dir, headerName, func([]byte) []byte { return []byte("x") })
		}, "", ErrCorrupt},
		"key file cut": {func(t *testing.T, dir string, _ *Folder) {
			edit(t, dir, keyName, func(b []byte) []byte { return b[:len(b)-1] })
		}, "correct horse", ErrCorrupt},
		"key file header": {func(t *testing.T, dir string, _ *Folder) {
			edit(t, dir, keyName, func(b []byte) []byte { return b[1:] })
		}, "correct horse", ErrCorrupt},
		"journal bit": {func(t *testing.T, dir string, f *Folder) {
			f.Append([]byte("one"))
			edit(t, dir, journalName, func(b []byte) []byte { b[len(b)-1] ^= 1; return b })
		}, "correct horse", ErrCorrupt},
		"journal length": {func(t *testing.T, dir string, f *Folder) {
			f.Append([]byte("one"))
			f.Append([]byte("two"))
			edit(t, dir, journalName, func(b []byte) []byte { b[journalHead+2] ^= 1; return b })
		}, "correct horse", ErrCorrupt},
		"journal record dropped": {func(t *testing.T, dir string, f *Folder) {
			f.Append([]byte("one"))
			f.Append([]byte("two"))
			edit(t, dir, journalName, func(b []byte) []byte {
				n := (len(b) - journalHead) / 2
				return append(b[:journalHead:journalHead], b[journalHead+n:]...)
			})
		}, "correct horse", ErrCorrupt},
	} {
		t.Run(name, func(t *testing.T) {
			dir, f := newFolder(t)
			tc.spoil(t, dir, f)
			f.Close()
			g, err := Open(dir, []byte(tc.pass))
			if err == nil {
				g.Close()
			}
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
		})
	}
}

func edit(t *testing.T, dir, name string, change func([]byte) []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, change(b), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFolderInUseIsRefused(t *testing.T) {
	dir, _ := newFolder(t)
	if _, err := Open(dir, testPass); !errors.Is(err, ErrInUse) {
		t.Fatalf("got %v", err)
	}
	if _, err := Create(dir, nil, testHash, "", testSecrets, testPass, cheap); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v", err)
	}
}

func TestCreateNeverTouchesAFolderWithOtherFiles(t *testing.T) {
	dir := t.TempDir()
	os.WriteFile(filepath.Join(dir, "letter"), nil, 0o600)
	if _, err := Create(dir, nil, testHash, "", testSecrets, testPass, cheap); !errors.Is(err, ErrExists) {
		t.Fatalf("got %v", err)
	}
}

var errKilled = errors.New("killed")

// TestKillAtEveryStepOfCreateLeavesNothingOrAWallet stops before every change of the disk.
func TestKillAtEveryStepOfCreateLeavesNothingOrAWallet(t *testing.T) {
	for n := 0; ; n++ {
		dir := filepath.Join(t.TempDir(), "wallet")
		left := n
		f, err := create(dir, []byte("genesis"), testHash, "a", testSecrets, testPass, cheap, func(string) error {
			if left == 0 {
				return errKilled
			}
			left--
			return nil
		})
		if err == nil {
			f.Close()
			if n < 15 {
				t.Fatalf("only %d steps", n)
			}
			return
		}
		g, err := Open(dir, testPass)
		switch {
		case err == nil:
			g.Close()
		case errors.Is(err, ErrHalfCreated):
			if _, err := Create(dir, nil, testHash, "", testSecrets, testPass, cheap); !errors.Is(err, ErrHalfCreated) {
				t.Fatalf("step %d: created over a half-created folder: %v", n, err)
			}
		default:
			t.Fatalf("step %d: %v", n, err)
		}
	}
}

// TestKillAtEveryStepKeepsWhatWasAcknowledged stops appends, state changes and rewrites before every change of the disk.
func TestKillAtEveryStepKeepsWhatWasAcknowledged(t *testing.T) {
	for n := 0; ; n++ {
		dir, f := newFolder(t)
		left := n
		f.step = func(string) error {
			if left == 0 {
				return errKilled
			}
			left--
			return nil
		}
		acked, rewritten := 0, false
		var err error
		for acked < 3 && err == nil {
			if err = f.Append(fmt.Appendf(nil, "%d", acked)); err == nil {
				acked++
			}
		}
		if err == nil {
			err = f.SaveState([]byte("state"))
		}
		if err == nil {
			err = f.Rewrite([][]byte{[]byte("0"), []byte("1"), []byte("2")})
			rewritten = err == nil
		}
		if err == nil {
			if err = f.Append([]byte("3")); err == nil {
				acked++
			}
		}
		f.Close()
		g, openErr := Open(dir, testPass)
		if openErr != nil {
			t.Fatalf("step %d: %v", n, openErr)
		}
		if got := len(g.Records()); got < acked || got > acked+1 {
			t.Fatalf("step %d: %d records, %d acknowledged (rewritten %v)", n, got, acked, rewritten)
		}
		for i, r := range g.Records() {
			if string(r) != fmt.Sprint(i) {
				t.Fatalf("step %d: record %d is %q", n, i, r)
			}
		}
		g.Close()
		if err == nil {
			return
		}
	}
}

func TestTornEndOfTheJournalIsDropped(t *testing.T) {
	dir, f := newFolder(t)
	f.Append([]byte("first"))
	kept := f.JournalSize()
	f.Append([]byte("second"))
	f.Close()
	whole, err := os.ReadFile(filepath.Join(dir, journalName))
	if err != nil {
		t.Fatal(err)
	}
	check := func(content []byte, want int) {
		t.Helper()
		os.WriteFile(filepath.Join(dir, journalName), content, 0o600)
		g, err := Open(dir, testPass)
		if err != nil {
			t.Fatal(err)
		}
		defer g.Close()
		if len(g.Records()) != want {
			t.Fatalf("%d records, want %d", len(g.Records()), want)
		}
		if err := g.Append([]byte("third")); err != nil {
			t.Fatal(err)
		}
	}
	for cut := kept; cut < int64(len(whole)); cut += 7 {
		check(bytes.Clone(whole[:cut]), 1)
	}
	zeros := append(bytes.Clone(whole[:kept]), make([]byte, 100)...)
	check(zeros, 1)
	check(bytes.Clone(whole), 2)
}

func TestDamagedStateCountsAsAbsent(t *testing.T) {
	dir, f := newFolder(t)
	f.SaveState([]byte("state"))
	edit(t, dir, stateName, func(b []byte) []byte { b[40] ^= 1; return b })
	if got, err := f.LoadState(); got != nil || err != nil {
		t.Fatalf("%q %v", got, err)
	}
}

func FuzzKeyFile(f *testing.F) {
	sealed, err := SealKeys(testSecrets, testHash, testPass, 8)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:len(sealed)/2])
	f.Add([]byte("age-encryption.org/v1\n-> scrypt AAAA 40\n"))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		s, hash, err := openKeys(b, testPass, 8)
		if err == nil && (s != testSecrets || hash != testHash) {
			t.Fatal("opened something else")
		}
		if err != nil && (s != Secrets{}) {
			t.Fatal("secrets beside an error")
		}
	})
}

func FuzzJournal(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "wallet")
	folder, err := Create(dir, nil, testHash, "", testSecrets, testPass, cheap)
	if err != nil {
		f.Fatal(err)
	}
	folder.Append([]byte("one"))
	folder.Append([]byte("two"))
	whole, _ := os.ReadFile(filepath.Join(dir, journalName))
	f.Add(whole)
	f.Add(whole[:journalHead+3])
	f.Add([]byte(journalMagic))
	f.Fuzz(func(t *testing.T, b []byte) {
		os.WriteFile(filepath.Join(dir, journalName), b, 0o600)
		j, err := folder.openJournal()
		if err != nil {
			return
		}
		defer j.file.Close()
		for i, r := range j.records {
			if string(r) != []string{"one", "two"}[i] {
				t.Fatalf("record %d is %q", i, r)
			}
		}
	})
}
