package witnesscmd

import (
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

const (
	keyFile    = "witness.key"
	keyPurpose = "comity-witness-key-v1"
	maxKeyFile = 1 << 10
)

// newKey makes an Ed25519 key and writes it to a file that must not exist: purpose, name and seed on one line. It is not encrypted,
// because a witness starts without a person; the file's mode guards it.
func newKey(path, name string) (ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if _, err := proof.NewCosigner(name, private); err != nil || len(name) > entry.MaxOrigin {
		return nil, cli.Usagef("--name %q: 1 to %d printable ASCII characters without space and plus", name, entry.MaxOrigin)
	}
	if err := cli.WriteNewFile(path, fmt.Appendf(nil, "%s %s %x\n", keyPurpose, name, private.Seed()), true); err != nil {
		return nil, err
	}
	return public, nil
}

// readKey reads what newKey wrote. A key file that others may read is refused.
func readKey(path string) (name string, key ed25519.PrivateKey, err error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil, cli.Usagef("%s does not exist: make it with `comity witness keygen`", path)
	}
	if err != nil {
		return "", nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", nil, fmt.Errorf("open key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return "", nil, cli.RefusedAs("key_file_open", fmt.Errorf("%s has mode %04o: others may read it; set 0600", path, info.Mode().Perm()))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return "", nil, fmt.Errorf("read key file: %w", err)
	}
	fields := strings.Split(strings.TrimSuffix(string(b), "\n"), " ")
	if len(fields) != 3 || fields[0] != keyPurpose {
		return "", nil, cli.Usagef("%s is no witness key file", path)
	}
	seed, err := hex.DecodeString(fields[2])
	if err != nil || len(seed) != ed25519.SeedSize {
		return "", nil, cli.Usagef("%s is no witness key file", path)
	}
	return fields[1], ed25519.NewKeyFromSeed(seed), nil
}
