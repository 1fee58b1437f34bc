package oversightcmd

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/zk"
)

// A key file is an armored age file under a passphrase. Inside is one line: the purpose and the secret scalar in hexadecimal. It does not say
// whether the key is of an epoch or of a programme: the ledger does, which holds the public half.
const (
	purpose = "comity-oversight-key-v1"

	maxKeyFile = 16 << 10
)

// WorkFactor is that of the passphrase, as a power of two: 18 takes about a second. Tests and the demo lower it.
var WorkFactor = 18

var errKeyText = errors.New("not an oversight key in its one form")

// keyText is the line inside a key file.
func keyText(secret zk.Scalar) []byte {
	b := secret.Bytes()
	return fmt.Appendf(nil, "%s %x\n", purpose, b[:])
}

// parseKeyText reads what keyText wrote, and nothing else.
func parseKeyText(text []byte) (zk.Scalar, error) {
	body, ok := bytes.CutPrefix(text, []byte(purpose+" "))
	if !ok {
		return zk.Scalar{}, fmt.Errorf("%w: another kind of key", errKeyText)
	}
	if len(body) != 65 || body[64] != '\n' {
		return zk.Scalar{}, errKeyText
	}
	raw, err := hex.DecodeString(string(body[:64]))
	if err != nil {
		return zk.Scalar{}, errKeyText
	}
	secret, err := zk.ParseScalar(raw)
	if err != nil || !bytes.Equal(keyText(secret), text) {
		return zk.Scalar{}, errKeyText
	}
	return secret, nil
}

// writeKeyFile encrypts a secret into a new file, which only its owner may read.
func writeKeyFile(path string, secret zk.Scalar, passphrase []byte) error {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return fmt.Errorf("encrypt key file: %w", err)
	}
	recipient.SetWorkFactor(WorkFactor)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return fmt.Errorf("encrypt key file: %w", err)
	}
	if _, err := w.Write(keyText(secret)); err != nil {
		return fmt.Errorf("encrypt key file: %w", err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return fmt.Errorf("encrypt key file: %w", err)
	}
	return cli.WriteNewFile(path, file.Bytes(), true)
}

// readKeyFile opens a key file.
func readKeyFile(path string, passphrase []byte) (zk.Scalar, error) {
	f, err := os.Open(path)
	if err != nil {
		return zk.Scalar{}, cli.Usagef("open key file: %w", err)
	}
	defer f.Close()
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return zk.Scalar{}, fmt.Errorf("open key file %s: %w", path, err)
	}
	identity.SetMaxWorkFactor(20) // a hostile file may not ask for hours
	r, err := age.Decrypt(armor.NewReader(io.LimitReader(f, maxKeyFile)), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return zk.Scalar{}, cli.RefusedAs("passphrase_wrong", fmt.Errorf("the passphrase does not open key file %s", path))
	}
	if err != nil {
		return zk.Scalar{}, cli.Usagef("key file %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxKeyFile))
	if err != nil {
		return zk.Scalar{}, cli.Usagef("key file %s: %w", path, err)
	}
	secret, err := parseKeyText(text)
	if err != nil {
		return zk.Scalar{}, cli.Usagef("key file %s: %w", path, err)
	}
	return secret, nil
}

// ReadKeyFile opens a key file for a command of another group.
func ReadKeyFile(path string, passphrase []byte) (zk.Scalar, error) {
	return readKeyFile(path, passphrase)
}
