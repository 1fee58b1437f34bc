package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"comity": func() {
		keyfile.WorkFactor = 12 // a key file takes milliseconds to open in tests, and a second in life
		os.Exit(cli.Main(root()))
	}})
}

// TestScripts plays the stories of testdata/script: the commands a person types, with the real binary, real proofs and several
// processes that meet on loopback.
func TestScripts(t *testing.T) {
	// Proving keys are shared by all runs; each story has a home of its own for everything else.
	keys := os.Getenv("COMITY_KEYS")
	if keys == "" {
		cache, err := os.UserCacheDir()
		if err != nil {
			t.Fatal(err)
		}
		keys = filepath.Join(cache, "comity", "keys")
	}
	deploy, err := filepath.Abs("../../deploy")
	if err != nil {
		t.Fatal(err)
	}
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script",
		Setup: func(env *testscript.Env) error {
			passphrase := filepath.Join(env.WorkDir, "passphrase")
			if err := os.WriteFile(passphrase, []byte("correct horse battery staple\n"), 0o600); err != nil {
				return err
			}
			env.Setenv("COMITY_KEYS", keys)
			env.Setenv("DEPLOY", deploy)
			env.Setenv(cli.PassphraseEnv, passphrase)
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){
			"code": code, "waitfile": waitFile, "setfile": setFile, "setjson": setJSON, "edit": edit, "expand": expand, "hostport": hostPort,
			"damage": damage, "waitfinal": waitFinal,
		},
		RequireUniqueNames: true,
	})
}

// code N PROGRAM ARGS... runs a program that must end with exit code N.
func code(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N program args...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("run %s: %v", args[1], err)
	}
	if fmt.Sprint(got) != args[0] {
		ts.Fatalf("%s ended with exit code %d, want %s", strings.Join(args[1:], " "), got, args[0])
	}
}

// waitfile FILE waits up to 60 seconds for a file to appear.
func waitFile(ts *testscript.TestScript, _ bool, args []string) {
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, err := os.Stat(ts.MkAbs(args[0])); err == nil {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%s did not appear", args[0])
		}
	}
}

// setfile NAME FILE sets a variable to a file's content without white space around it.
func setFile(ts *testscript.TestScript, _ bool, args []string) {
	ts.Setenv(args[0], strings.TrimSpace(ts.ReadFile(args[1])))
}

// setjson NAME PATH sets a variable to a value of the JSON object that the last command printed; PATH is keys joined by dots.
func setJSON(ts *testscript.TestScript, _ bool, args []string) {
	d := json.NewDecoder(strings.NewReader(ts.ReadFile("stdout")))
	d.UseNumber()
	var value any
	if err := d.Decode(&value); err != nil {
		ts.Fatalf("the last command printed no JSON: %v", err)
	}
	for _, key := range strings.Split(args[1], ".") {
		switch v := value.(type) {
		case map[string]any:
			value = v[key]
		case []any:
			var i int
			if _, err := fmt.Sscan(key, &i); err != nil || i < 0 || i >= len(v) {
				ts.Fatalf("no element %s", key)
			}
			value = v[i]
		}
		if value == nil {
			ts.Fatalf("the JSON has no %s", args[1])
		}
	}
	ts.Setenv(args[0], fmt.Sprint(value))
}

// edit FILE OLD NEW replaces every OLD in a file, which must hold it.
func edit(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	if !bytes.Contains(data, []byte(args[1])) {
		ts.Fatalf("%s does not hold %q", args[0], args[1])
	}
	ts.Check(os.WriteFile(path, bytes.ReplaceAll(data, []byte(args[1]), []byte(args[2])), 0o644))
}

// expand FILE replaces $NAME by variables in a file.
func expand(ts *testscript.TestScript, _ bool, args []string) {
	path := ts.MkAbs(args[0])
	data, err := os.ReadFile(path)
	ts.Check(err)
	ts.Check(os.WriteFile(path, []byte(os.Expand(string(data), ts.Getenv)), 0o644))
}

// hostport NAME URL sets a variable to the host and port of a URL.
func hostPort(ts *testscript.TestScript, _ bool, args []string) {
	u, err := url.Parse(args[1])
	ts.Check(err)
	ts.Setenv(args[0], u.Host)
}

// damage FOLDER changes one byte of the last file in a folder, at any depth.
func damage(ts *testscript.TestScript, _ bool, args []string) {
	last := ""
	ts.Check(filepath.WalkDir(ts.MkAbs(args[0]), func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			last = path
		}
		return err
	}))
	data, err := os.ReadFile(last)
	ts.Check(err)
	data[len(data)-1] ^= 1
	ts.Check(os.WriteFile(last, data, 0o644))
}

// waitfinal waits until everything that the ledger at $COMITY_LEDGER holds now is final.
func waitFinal(ts *testscript.TestScript, _ bool, _ []string) {
	want := uint64(0)
	for deadline := time.Now().Add(60 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		ts.Check(ts.Exec("comity", "ledger", "status", "--ledger", ts.Getenv("COMITY_LEDGER"), "--json"))
		var status struct {
			Size  uint64
			Final uint64 `json:"final_size"`
		}
		ts.Check(json.Unmarshal([]byte(ts.ReadFile("stdout")), &status))
		if want == 0 {
			want = status.Size
		}
		if status.Final >= want {
			return
		}
		if time.Now().After(deadline) {
			ts.Fatalf("%d of %d entries are final", status.Final, want)
		}
	}
}
