package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
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

func TestANamedKeyKeepsItsName(t *testing.T) {
	WorkFactor = 10
	const purpose = Purpose("comity-test-key-v1")
	seed := make([]byte, ed25519.SeedSize)
	for i := range seed {
		seed[i] = byte(i)
	}
	private := ed25519.NewKeyFromSeed(seed)
	file, err := Seal(purpose, "witness.example", private, []byte("correct horse"))
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(file, seed) || strings.Contains(strings.ToLower(string(file)), hex.EncodeToString(seed)) || bytes.Contains(file, []byte("witness.example")) {
		t.Error("the file is not encrypted")
	}
	path := filepath.Join(t.TempDir(), "named.key")
	if err := os.WriteFile(path, file, 0o600); err != nil {
		t.Fatal(err)
	}
	if name, again, err := ReadNamed(path, purpose, []byte("correct horse")); err != nil || name != "witness.example" || !private.Equal(again) {
		t.Errorf("%q, %v", name, err)
	}
	if _, _, err := ReadNamed(path, purpose, []byte("wrong")); err == nil {
		t.Error("a wrong passphrase opens it")
	}
	if _, _, err := Read(path, purpose, []byte("correct horse")); err == nil {
		t.Error("a key with a name is taken for one without")
	}
}
