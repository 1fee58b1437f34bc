package oversightcmd

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

// kept is the file in which what was read of one ledger with one set of keys is kept, encrypted and authenticated under a key that only those keys
// give: AES-256-GCM under HKDF-SHA256 of the secrets with a salt of its own, so that no nonce is used twice. Header, genesis and keys are
// authenticated with it.
type kept struct {
	path    string
	bound   []byte // what the file is bound to
	secrets []zk.Scalar
}

const (
	keptHeader = "comity/oversight-state-file/v1\n"
	keptSalt   = 32
)

// keep names the file of a ledger and a set of keys in a folder. Without keys there is nothing to encrypt under.
func keep(folder string, genesis entry.GenesisHash, secrets []zk.Scalar) (*kept, error) {
	if err := os.MkdirAll(folder, 0o700); err != nil {
		return nil, cli.Usagef("--state: %w", err)
	}
	id := oversight.KeysID(secrets)
	return &kept{path: filepath.Join(folder, fmt.Sprintf("%x-%x.state", genesis[:8], id[:8])), bound: slices.Concat([]byte(keptHeader), genesis[:], id[:]), secrets: secrets}, nil
}

// seal gives the cipher under a salt.
func (k *kept) seal(salt []byte) (cipher.AEAD, error) {
	var all [][]byte
	for _, x := range k.secrets {
		b := x.Bytes()
		all = append(all, b[:])
	}
	slices.SortFunc(all, bytes.Compare)
	key, err := hkdf.Key(sha256.New, bytes.Join(slices.CompactFunc(all, bytes.Equal), nil), salt, string(k.bound), 32)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", k.path, err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key of %s: %w", k.path, err)
	}
	return cipher.NewGCM(block)
}

// read gives what was kept, or nil.
func (k *kept) read() (*oversight.Saved, error) {
	data, err := os.ReadFile(k.path)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, cli.Usagef("--state: %w", err)
	}
	invalid := func(format string, args ...any) error {
		return cli.Exit(cli.Unverified, wallets.Refuse(oversight.StateInvalid, "%s: %s. Delete it to read the log from its beginning", k.path, fmt.Sprintf(format, args...)))
	}
	rest, ok := bytes.CutPrefix(data, []byte(keptHeader))
	if !ok || len(rest) < keptSalt {
		return nil, invalid("it is no file of this kind")
	}
	aead, err := k.seal(rest[:keptSalt])
	if err != nil {
		return nil, err
	}
	clear, err := aead.Open(nil, make([]byte, aead.NonceSize()), rest[keptSalt:], k.bound)
	if err != nil {
		return nil, invalid("it was changed, or is of other keys or of another ledger")
	}
	s, err := oversight.ParseSaved(clear)
	if err != nil {
		return nil, invalid("%v", err)
	}
	return s, nil
}

// write replaces what was kept.
func (k *kept) write(state []byte) error {
	salt := make([]byte, keptSalt)
	_, _ = rand.Read(salt) // never fails
	aead, err := k.seal(salt)
	if err != nil {
		return err
	}
	return cli.ReplaceFile(k.path, aead.Seal(append([]byte(keptHeader), salt...), make([]byte, aead.NonceSize()), state, k.bound), 0o600)
}
