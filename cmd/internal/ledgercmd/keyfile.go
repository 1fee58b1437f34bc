package ledgercmd

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
)

// What a key file of a ledger is for. A log key is never a signer's: validateKeys of genesis wants them apart.
const (
	PurposeSigner keyfile.Purpose = "comity-signer-key-v1"
	purposeLog    keyfile.Purpose = "comity-log-key-v1"
)

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
		key, err := keyfile.New(*out, PurposeSigner, secret)
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]string{"public_key": key.String(), "file": *out}, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n", key)
		})
	}
	return cmd
}
