package setupcmd

import (
	"bytes"
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup"
)

func comity(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	var out, errs bytes.Buffer
	code = cli.Run(context.Background(), Command(), args, &out, &errs)
	return code, out.String(), errs.String()
}

func TestSetUpMakesAKeyOnce(t *testing.T) {
	dir := t.TempDir()
	t.Setenv(setup.DirEnv, dir)
	for _, found := range []bool{false, true} {
		code, out, errs := comity(t, "--circuit", "transfer", "--json")
		if code != 0 {
			t.Fatal(errs)
		}
		var got struct {
			Folder string
			Keys   []made
		}
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		if got.Folder != dir || len(got.Keys) != 1 || got.Keys[0].Circuit != "transfer" || got.Keys[0].Found != found {
			t.Errorf("%+v", got)
		}
	}
	// A damaged file is named and made again.
	files, err := filepath.Glob(filepath.Join(dir, "transfer-*.keys"))
	if err != nil || len(files) != 1 {
		t.Fatalf("%v %v", files, err)
	}
	if err := os.Truncate(files[0], 1000); err != nil {
		t.Fatal(err)
	}
	code, _, errs := comity(t, "--circuit", "transfer")
	if code != 0 || !strings.Contains(errs, "key file is damaged") {
		t.Errorf("exit %d, %q", code, errs)
	}
}

func TestListPrintsEveryFingerprint(t *testing.T) {
	t.Setenv(setup.DirEnv, t.TempDir())
	keys, err := setup.VerifyingKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{{"list"}, {"list", "--json"}} {
		code, out, errs := comity(t, args...)
		if code != 0 {
			t.Fatal(errs)
		}
		for _, k := range keys {
			if !strings.Contains(out, k.Fingerprint().String()) {
				t.Errorf("%v does not name %v", args, k.Circuit())
			}
		}
	}
}

func TestUnknownCircuitIsAUsageError(t *testing.T) {
	code, _, errs := comity(t, "--circuit", "transfre")
	if code != int(cli.Usage) || !strings.Contains(errs, zk.Transfer.String()) {
		t.Errorf("exit %d, %q", code, errs)
	}
}
