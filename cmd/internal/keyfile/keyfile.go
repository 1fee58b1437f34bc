// Package keyfile keeps one Ed25519 key in one file under a passphrase. The file says what the key is for, so that a key made for one
// purpose is not used for another, and under which name it signs, if under any.
package keyfile

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Purpose is the first word inside a key file.
type Purpose string

// Party is the purpose of the keys of attestors, payers and payees of an escrow.
const Party Purpose = "comity-party-key-v1"

const maxFile = 16 << 10

// WorkFactor is that of scrypt, as a power of two: 18 takes about a second. Tests lower it.
var WorkFactor = 18

// New makes a key and writes it to path, which must not exist.
func New(path string, purpose Purpose, passphrase []byte) (entry.SignerKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return entry.SignerKey{}, fmt.Errorf("make a key: %w", err)
	}
	key, err := entry.SignerKeyOf(public)
	if err != nil {
		return entry.SignerKey{}, err
	}
	file, err := Seal(purpose, "", private, passphrase)
	if err != nil {
		return entry.SignerKey{}, err
	}
	return key, cli.WriteNewFile(path, file, true)
}

// Seal is the content of a key file. A name, which has no white space, stands beside the key of somebody who signs under it; "" is none.
func Seal(purpose Purpose, name string, private ed25519.PrivateKey, passphrase []byte) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	recipient.SetWorkFactor(WorkFactor)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	if name != "" {
		name += " "
	}
	_, err = fmt.Fprintf(w, "%s %s%x\n", purpose, name, private.Seed())
	if err := errors.Join(err, w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	return file.Bytes(), nil
}

// Read opens a key file. A wrong passphrase is refused as passphrase_wrong; a key for another purpose is a usage error.
func Read(path string, purpose Purpose, passphrase []byte) (ed25519.PrivateKey, entry.SignerKey, error) {
	name, private, err := ReadNamed(path, purpose, passphrase)
	if err == nil && name != "" {
		err = cli.Usagef("key file %s is damaged", path)
	}
	if err != nil {
		return nil, entry.SignerKey{}, err
	}
	key, err := entry.SignerKeyOf(private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, entry.SignerKey{}, err
	}
	return private, key, nil
}

// ReadNamed is Read for a key beside which a name stands, "" for none.
func ReadNamed(path string, purpose Purpose, passphrase []byte) (name string, private ed25519.PrivateKey, err error) {
	fail := func(err error) (string, ed25519.PrivateKey, error) { return "", nil, err }
	f, err := os.Open(path)
	if err != nil {
		return fail(cli.Exit(cli.Usage, fmt.Errorf("open key file: %w", err)))
	}
	defer f.Close()
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return fail(fmt.Errorf("open key file %s: %w", path, err))
	}
	identity.SetMaxWorkFactor(20) // a hostile file may not ask for hours
	r, err := age.Decrypt(armor.NewReader(io.LimitReader(f, maxFile)), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return fail(cli.RefusedAs("passphrase_wrong", fmt.Errorf("the passphrase does not open key file %s", path)))
	}
	if err != nil {
		return fail(cli.Usagef("key file %s: %w", path, err))
	}
	text, err := io.ReadAll(io.LimitReader(r, maxFile))
	if err != nil {
		return fail(cli.Usagef("key file %s: %w", path, err))
	}
	kind, rest, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	if kind != string(purpose) {
		return fail(cli.Usagef("key file %s holds another kind of key than %s", path, purpose))
	}
	seed := rest
	if before, after, named := strings.Cut(rest, " "); named {
		name, seed = before, after
	}
	raw, err := hex.DecodeString(seed)
	if err != nil || len(raw) != ed25519.SeedSize {
		return fail(cli.Usagef("key file %s is damaged", path))
	}
	return name, ed25519.NewKeyFromSeed(raw), nil
}
