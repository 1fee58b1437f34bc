package ledgercmd

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
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
)

// A key file is an armored age file under a passphrase. Inside is one line: what the key is for, and its seed in hexadecimal.
// The purpose keeps a log key from being used as a signer's: validateKeys of genesis wants them apart.
const (
	purposeSigner = "comity-signer-key-v1"
	purposeLog    = "comity-log-key-v1"

	maxKeyFile = 16 << 10
)

// scryptLogN is the work factor of the passphrase: 2^18 takes about a second. Tests lower it.
var scryptLogN = 18

// newKeyFile makes an Ed25519 key and writes it to path, which must not exist.
func newKeyFile(path, purpose string, passphrase []byte) (ed25519.PublicKey, error) {
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make a key: %w", err)
	}
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	recipient.SetWorkFactor(scryptLogN)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	if _, err := fmt.Fprintf(w, "%s %x\n", purpose, private.Seed()); err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		return nil, fmt.Errorf("encrypt key file: %w", err)
	}
	return public, cli.WriteNewFile(path, file.Bytes(), true)
}

// readKeyFile opens a key file. A wrong passphrase and a wrong purpose are usage errors.
func readKeyFile(path, purpose string, passphrase []byte) (ed25519.PrivateKey, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, fmt.Errorf("open key file: %w", err))
	}
	defer f.Close()
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("open key file %s: %w", path, err)
	}
	identity.SetMaxWorkFactor(20) // a hostile file may not ask for hours
	r, err := age.Decrypt(armor.NewReader(io.LimitReader(f, maxKeyFile)), identity)
	if errors.Is(err, age.ErrIncorrectIdentity) {
		return nil, cli.RefusedAs("passphrase_wrong", fmt.Errorf("the passphrase does not open key file %s", path))
	}
	if err != nil {
		return nil, cli.Usagef("key file %s: %w", path, err)
	}
	text, err := io.ReadAll(io.LimitReader(r, maxKeyFile))
	if err != nil {
		return nil, cli.Usagef("key file %s: %w", path, err)
	}
	kind, seed, _ := strings.Cut(strings.TrimSuffix(string(text), "\n"), " ")
	if kind != purpose {
		return nil, cli.Usagef("key file %s holds another kind of key than %s", path, purpose)
	}
	raw, err := hex.DecodeString(seed)
	if err != nil || len(raw) != ed25519.SeedSize {
		return nil, cli.Usagef("key file %s is damaged", path)
	}
	return ed25519.NewKeyFromSeed(raw), nil
}

func signerKeygen() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "signer-keygen",
		Short: "Make a policy signer's key file",
		Long: `Make the Ed25519 key of one policy signer, encrypted under a passphrase, and print its public half, which goes into the ledger's
genesis. Each signer makes its own key on its own machine.`,
		Example: "  comity ledger signer-keygen --out minister.key",
		Args:    cobra.NoArgs,
	}
	out := cmd.Flags().String("out", "", "the key file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		secret, err := passphrase.Read(cmd, "Passphrase for the new key file", true)
		if err != nil {
			return err
		}
		public, err := newKeyFile(*out, purposeSigner, secret)
		if err != nil {
			return err
		}
		key, err := entry.SignerKeyOf(public)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]string{"public_key": key.String(), "file": *out}, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n", key)
		})
	}
	return cmd
}
