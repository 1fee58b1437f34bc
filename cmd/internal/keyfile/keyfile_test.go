package keyfile

import (
	"crypto/ed25519"
	"os"
	"path/filepath"
	"testing"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

func TestKeyFileOpensForItsPurposeAndPassphraseAlone(t *testing.T) {
	WorkFactor = 10
	path := filepath.Join(t.TempDir(), "party.key")
	public, err := New(path, Party, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	private, again, err := Read(path, Party, []byte("correct horse"))
	if err != nil || again != public || !public.Public().Equal(private.Public().(ed25519.PublicKey)) {
		t.Fatalf("%v: %s, want %s", err, again, public)
	}
	_, _, err = Read(path, Party, []byte("wrong"))
	if code, name := cli.CodeOf(err); code != cli.Refused || name != "passphrase_wrong" {
		t.Errorf("a wrong passphrase: %v", err)
	}
	_, _, err = Read(path, "comity-other-key-v1", []byte("correct horse"))
	if code, _ := cli.CodeOf(err); code != cli.Usage {
		t.Errorf("another purpose: %v", err)
	}
	if _, err := New(path, Party, []byte("correct horse")); err == nil {
		t.Error("a key was overwritten")
	}
	if err := os.WriteFile(path, []byte("nonsense"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, _, err = Read(path, Party, []byte("correct horse"))
	if code, _ := cli.CodeOf(err); code != cli.Usage {
		t.Errorf("a damaged file: %v", err)
	}
}
