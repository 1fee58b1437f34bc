package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"connectrpc.com/connect"
	"github.com/spf13/cobra"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

type refusal struct{ code string }

func (r refusal) Error() string       { return r.code + ": detail" }
func (r refusal) RefusalCode() string { return r.code }

func wire(code connect.Code, name string) error {
	err := connect.NewError(code, errors.New(name))
	detail, _ := connect.NewErrorDetail(&ledgerv1.ErrorDetail{Code: name})
	err.AddDetail(detail)
	return err
}

func tree(run func(cmd *cobra.Command) error) *cobra.Command {
	root := &cobra.Command{Use: "comity"}
	group := &cobra.Command{Use: "group"}
	leaf := &cobra.Command{Use: "leaf", Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error { return run(cmd) }}
	JSON(leaf)
	group.AddCommand(leaf)
	root.AddCommand(group)
	return root
}

func TestErrorsMapToExitCodes(t *testing.T) {
	wrap := func(err error) error { return fmt.Errorf("submit: %w", err) }
	for name, tc := range map[string]struct {
		args []string
		err  error
		want Code
	}{
		"success":             {args: []string{"group", "leaf"}, want: OK},
		"plain error":         {args: []string{"group", "leaf"}, err: errors.New("x"), want: Failure},
		"refusal":             {args: []string{"group", "leaf"}, err: wrap(refusal{"nullifier_spent"}), want: Refused},
		"ledger's refusal":    {args: []string{"group", "leaf"}, err: wrap(entry.Refuse(entry.Expired, "x")), want: Refused},
		"over the wire":       {args: []string{"group", "leaf"}, err: wrap(wire(connect.CodeUnknown, "proof_invalid")), want: Refused},
		"later over the wire": {args: []string{"group", "leaf"}, err: wrap(wire(connect.CodeUnknown, "try_later")), want: Unavailable},
		"try later":           {args: []string{"group", "leaf"}, err: wrap(refusal{"try_later"}), want: Unavailable},
		"unreachable":         {args: []string{"group", "leaf"}, err: wrap(connect.NewError(connect.CodeUnavailable, errors.New("x"))), want: Unavailable},
		"connection reset":    {args: []string{"group", "leaf"}, err: wrap(connect.NewError(connect.CodeCanceled, errors.New("reset by peer"))), want: Unavailable},
		"stream cut off":      {args: []string{"group", "leaf"}, err: wrap(connect.NewError(connect.CodeInternal, errors.New("unexpected EOF"))), want: Unavailable},
		"wrong path":          {args: []string{"group", "leaf"}, err: wrap(connect.NewError(connect.CodeUnimplemented, errors.New("404"))), want: Failure},
		"deadline":            {args: []string{"group", "leaf"}, err: wrap(context.DeadlineExceeded), want: Unavailable},
		"check failed":        {args: []string{"group", "leaf"}, err: wrap(Unverifiedf("receipt")), want: Unverified},
		"outer code wins":     {args: []string{"group", "leaf"}, err: Exit(Unverified, refusal{"x"}), want: Unverified},
		"unknown flag":        {args: []string{"group", "leaf", "--nope"}, want: Usage},
		"unknown command":     {args: []string{"nope"}, want: Usage},
		"unknown sub-command": {args: []string{"group", "nope"}, want: Usage},
		"group alone":         {args: []string{"group"}, want: Usage},
		"too many arguments":  {args: []string{"group", "leaf", "extra"}, want: Usage},
		"help":                {args: []string{"group", "leaf", "--help"}, want: OK},
	} {
		t.Run(name, func(t *testing.T) {
			var out, errOut bytes.Buffer
			got := Run(t.Context(), tree(func(*cobra.Command) error { return tc.err }), tc.args, &out, &errOut)
			if Code(got) != tc.want {
				t.Fatalf("exit %d, want %d; stderr %q", got, tc.want, errOut.String())
			}
			if (got == 0) != (errOut.Len() == 0) {
				t.Fatalf("exit %d with stderr %q", got, errOut.String())
			}
		})
	}
}

func TestErrorInJSONNamesTheRefusal(t *testing.T) {
	var out, errOut bytes.Buffer
	Run(t.Context(), tree(func(*cobra.Command) error { return RefusedAs("over_limit", errors.New("too much")) }),
		[]string{"group", "leaf", "--json"}, &out, &errOut)
	var got struct {
		Error struct {
			Exit         int
			Code, Detail string
		}
	}
	if err := json.Unmarshal(errOut.Bytes(), &got); err != nil {
		t.Fatalf("%v in %q", err, errOut.String())
	}
	if got.Error.Exit != 3 || got.Error.Code != "over_limit" || !strings.Contains(got.Error.Detail, "too much") {
		t.Fatalf("got %+v", got)
	}
}

func TestMoneyIsPrintedWithItsDecimals(t *testing.T) {
	for _, tc := range []struct {
		minor    uint64
		decimals int
		want     string
	}{
		{0, 2, "0.00 AUR"}, {5, 2, "0.05 AUR"}, {123, 2, "1.23 AUR"}, {1234560, 2, "12,345.60 AUR"},
		{999, 0, "999 AUR"}, {1000, 0, "1,000 AUR"}, {1, 3, "0.001 AUR"}, {math.MaxUint64, 2, "184,467,440,737,095,516.15 AUR"},
	} {
		if got := Money(tc.minor, tc.decimals, "AUR"); got != tc.want {
			t.Errorf("Money(%d, %d) = %q, want %q", tc.minor, tc.decimals, got, tc.want)
		}
	}
}

func TestOnlyLoopbackAddressesAreAccepted(t *testing.T) {
	for _, good := range []string{"http://127.0.0.1:7001", "http://localhost:7001/", "http://[::1]:7001", "http://127.3.2.1:1", "https://127.0.0.1:1", "https://ledger.example"} {
		if _, err := LedgerURL(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{"", "127.0.0.1:7001", "https://u@127.0.0.1:1", "http://10.0.0.1:1", "http://example.org", "http://u:p@127.0.0.1",
		"http://0.0.0.0:1", "http://127.0.0.1:1/?x=1", "http://localhost.example.org:1", "ftp://127.0.0.1"} {
		if got, err := LedgerURL(bad); err == nil {
			t.Errorf("%s was accepted as %s", bad, got)
		}
	}
	if code, name := CodeOf(second(LedgerURL("http://10.0.0.1:1"))); code != Refused || name != "not_loopback" {
		t.Errorf("got %d %q", code, name)
	}
}

func second(_ string, err error) error { return err }

func TestPassphraseComesFromAFileOnly(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	cmd := &cobra.Command{}
	p := PassphraseFlag(cmd)
	_ = cmd.Flags().Set("passphrase-file", write("good", "correct horse\r\nsecond line\n"))
	if got, err := p.Read(cmd, "Passphrase", true); err != nil || string(got) != "correct horse" {
		t.Fatalf("%q, %v", got, err)
	}
	_ = cmd.Flags().Set("passphrase-file", "")
	t.Setenv(PassphraseEnv, write("env", "from the environment"))
	if got, err := p.Read(cmd, "Passphrase", false); err != nil || string(got) != "from the environment" {
		t.Fatalf("%q, %v", got, err)
	}
	for _, bad := range []string{write("empty", "\nx"), write("long", strings.Repeat("x", maxPassphrase+1)), filepath.Join(dir, "absent")} {
		t.Setenv(PassphraseEnv, bad)
		if _, err := p.Read(cmd, "Passphrase", false); err == nil {
			t.Errorf("%s was accepted", bad)
		} else if code, _ := CodeOf(err); code != Usage {
			t.Errorf("%s: exit code %d", bad, code)
		}
	}
}

func TestConfirmNeedsAYes(t *testing.T) {
	for answer, want := range map[string]bool{"y\n": true, "YES\n": true, "\n": false, "n\n": false, "": false, "yep\n": false} {
		cmd := &cobra.Command{}
		cmd.SetIn(strings.NewReader(answer))
		cmd.SetErr(new(bytes.Buffer))
		if got := Confirm(cmd, "Sign?", false) == nil; got != want {
			t.Errorf("%q: confirmed %v", answer, got)
		}
	}
	if err := Confirm(&cobra.Command{}, "Sign?", true); err != nil {
		t.Error(err)
	}
}

func TestNewFileNeverOverwrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := WriteNewFile(path, []byte("one"), true); err != nil {
		t.Fatal(err)
	}
	if info, _ := os.Stat(path); info.Mode().Perm() != 0o600 {
		t.Fatalf("mode %v", info.Mode())
	}
	if err := WriteNewFile(path, []byte("two"), true); err == nil {
		t.Fatal("overwritten")
	}
	if err := ReplaceFile(path, []byte("three"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, _ := os.ReadFile(path); string(got) != "three" {
		t.Fatalf("%q", got)
	}
}
