package witnesscmd

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

const (
	keyFile                    = "witness.key"
	purpose    keyfile.Purpose = "comity-witness-key-v1"
	maxKeyFile                 = 16 << 10
)

// newKey makes an Ed25519 key and writes it, with the witness's name, to a file that must not exist.
func newKey(path, name string, passphrase []byte) (ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	if err := checkName(name, private); err != nil {
		return nil, err
	}
	file, err := keyfile.Seal(purpose, name, private, passphrase)
	if err != nil {
		return nil, err
	}
	return public, cli.WriteNewFile(path, file, true)
}

func checkName(name string, key ed25519.PrivateKey) error {
	if _, err := proof.NewCosigner(name, key); err != nil || len(name) > entry.MaxOrigin {
		return cli.Usagef("--name %q: 1 to %d printable ASCII characters without space and plus", name, entry.MaxOrigin)
	}
	return nil
}

// keyText reads a key file as it stands on disk. One that others may read is refused.
func keyText(path string) ([]byte, error) {
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, cli.Usagef("%s does not exist: make it with `comity witness keygen`", path)
	}
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("open key file: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, cli.RefusedAs("key_file_open", fmt.Errorf("%s has mode %04o: others may read it; set 0600", path, info.Mode().Perm()))
	}
	b, err := io.ReadAll(io.LimitReader(f, maxKeyFile))
	if err != nil {
		return nil, fmt.Errorf("read key file: %w", err)
	}
	return b, nil
}

// plain says whether a key file is of the time when a witness's key was not encrypted: purpose, name and seed on one line.
func plain(text []byte) bool { return bytes.HasPrefix(text, []byte(purpose+" ")) }

// readKey opens a witness's key file. One that is not encrypted is refused, and never converted by the way: the owner has to know.
func readKey(path string, passphrase func() ([]byte, error)) (name string, key ed25519.PrivateKey, err error) {
	text, err := keyText(path)
	if err != nil {
		return "", nil, err
	}
	if plain(text) {
		return "", nil, cli.RefusedAs("key_file_plain", fmt.Errorf("%s is not encrypted: `comity witness encrypt-key --data %s` encrypts it", path, filepath.Dir(path)))
	}
	secret, err := passphrase()
	if err != nil {
		return "", nil, err
	}
	name, key, err = keyfile.ReadNamed(path, purpose, secret)
	if err == nil {
		err = checkName(name, key)
	}
	if err != nil {
		return "", nil, err
	}
	return name, key, nil
}

// parsePlain reads the one line of a key file that is not encrypted.
func parsePlain(path string, text []byte) (name string, key ed25519.PrivateKey, err error) {
	fields := strings.Split(strings.TrimSuffix(string(text), "\n"), " ")
	if len(fields) != 3 || fields[0] != string(purpose) {
		return "", nil, cli.Usagef("%s is no witness key file", path)
	}
	seed, err := hex.DecodeString(fields[2])
	if err != nil || len(seed) != ed25519.SeedSize {
		return "", nil, cli.Usagef("%s is no witness key file", path)
	}
	key = ed25519.NewKeyFromSeed(seed)
	return fields[1], key, checkName(fields[1], key)
}

func encryptKeyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "encrypt-key --data DIR",
		Short: "Encrypt a witness's key file that is not",
		Long: `Put the key in DIR/witness.key, written by an earlier version without encryption, under a passphrase. The key stays the same, so the ledger's
genesis does too. The file is replaced at once and as a whole. Copies of the old file, in backups and on the disk below, still hold
the key: destroy them.`,
		Example: "  comity witness encrypt-key --data ./w1",
		Args:    cobra.NoArgs,
	}
	data := cmd.Flags().String("data", "", "folder of the witness")
	required(cmd, "data")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		path := filepath.Join(*data, keyFile)
		text, err := keyText(path)
		if err != nil {
			return err
		}
		if !plain(text) {
			return cli.RefusedAs("key_file_encrypted", fmt.Errorf("%s is no plain key file: nothing was changed", path))
		}
		name, key, err := parsePlain(path, text)
		if err != nil {
			return err
		}
		secret, err := passphrase.Read(cmd, "Passphrase for the key file", true)
		if err != nil {
			return err
		}
		file, err := keyfile.Seal(purpose, name, key, secret)
		if err != nil {
			return err
		}
		if err := cli.ReplaceFile(path, file, 0o600); err != nil {
			return err
		}
		return printKey(cmd, *asJSON, name, key.Public().(ed25519.PublicKey))
	}
	return cmd
}

// printKey prints the public half as the ledger's configuration takes it.
func printKey(cmd *cobra.Command, asJSON bool, name string, public ed25519.PublicKey) error {
	out := struct {
		Name string `json:"name"`
		Key  string `json:"key"`
		VKey string `json:"vkey"`
	}{name, fmt.Sprintf("%x", []byte(public)), proof.WitnessVKey(name, public)}
	return cli.Print(cmd, asJSON, out, func(w io.Writer) { fmt.Fprintf(w, "%s=%s\n", out.Name, out.Key) })
}
