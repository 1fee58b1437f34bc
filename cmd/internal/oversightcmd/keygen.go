package oversightcmd

import (
	"crypto/rand"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// purposeFlags say what a proof of possession is for.
type purposeFlags struct {
	genesis          *string
	epoch, programme *uint64
}

func addPurpose(cmd *cobra.Command) purposeFlags {
	return purposeFlags{
		genesis:   cmd.Flags().String("genesis", "", "genesis hash of the ledger; for its first epoch the draft hash that 'comity ledger init' prints"),
		epoch:     cmd.Flags().Uint64("epoch", entry.GenesisOversightEpoch, "oversight epoch that the key is for"),
		programme: cmd.Flags().Uint64("programme", 0, "programme whose reader the key is for, instead of an epoch"),
	}
}

// message is what the possession signs.
func (p purposeFlags) message(cmd *cobra.Command) (zk.Field, error) {
	ledger, err := parseGenesis(*p.genesis)
	if err != nil {
		return zk.Field{}, err
	}
	byEpoch, byProgramme := cmd.Flags().Changed("epoch"), cmd.Flags().Changed("programme")
	switch {
	case byEpoch && byProgramme:
		return zk.Field{}, cli.Usagef("give --epoch or --programme, not both")
	case byProgramme && *p.programme == 0:
		return zk.Field{}, cli.Usagef("--programme: programme 0 is money without a programme, which oversight reads")
	case byProgramme:
		return entry.ReaderPossession(ledger, zk.ProgrammeID(*p.programme)), nil
	case *p.epoch == 0 || *p.epoch > 1<<32-1:
		return zk.Field{}, cli.Usagef("--epoch: want 1 to %d", uint32(1<<32-1))
	}
	return entry.OversightPossession(ledger, uint32(*p.epoch)), nil
}

func parseGenesis(text string) (entry.GenesisHash, error) {
	id, err := entry.ParseID(text)
	if err != nil {
		return entry.GenesisHash{}, cli.Usagef("--genesis: want 64 lower-case hexadecimal digits")
	}
	return entry.GenesisHash(id), nil
}

func signatureHex(s zk.Signature) string {
	r := s.R.Bytes()
	return fmt.Sprintf("%x%x", r[:], s.S[:])
}

func keygenCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "keygen",
		Short: "Make the key of an oversight body or of a programme's reader",
		Long: `Make a view key, encrypted under a passphrase, and print its public half, which goes into the ledger's genesis, an oversight entry or a
programme entry. With --genesis the proof of possession is printed too, which that entry needs; 'comity oversight possession' makes it later.

Whoever has the key file and its passphrase can read the payments. Nobody can make a lost key again: keep a copy.`,
		Example: `  comity oversight keygen --out auditor.key --passphrase-file pass
  comity oversight keygen --out donor.key --programme 7 --genesis HASH --passphrase-file pass`,
		Args: cobra.NoArgs,
	}
	out := cmd.Flags().String("out", "", "the key file to write (required)")
	_ = cmd.MarkFlagRequired("out")
	purpose := addPurpose(cmd)
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		var msg zk.Field
		prove := *purpose.genesis != ""
		if prove {
			var err error
			if msg, err = purpose.message(cmd); err != nil {
				return err
			}
		} else if cmd.Flags().Changed("programme") || cmd.Flags().Changed("epoch") {
			return cli.Usagef("--programme and --epoch say what the proof of possession is for: give --genesis as well")
		}
		words, err := passphrase.Read(cmd, "Passphrase for the new key file", true)
		if err != nil {
			return err
		}
		secret, err := zk.NewScalar(rand.Reader)
		if err != nil {
			return fmt.Errorf("make a key: %w", err)
		}
		if err := writeKeyFile(*out, secret, words); err != nil {
			return err
		}
		result := struct {
			Public     string `json:"public"`
			Possession string `json:"possession"`
			File       string `json:"file"`
		}{Public: secret.Base().String(), File: *out}
		if prove {
			result.Possession = signatureHex(entry.ProvePossession(secret, msg, rand.Reader))
		}
		return cli.Print(cmd, *asJSON, result, func(w io.Writer) {
			fmt.Fprintln(w, result.Public)
			if prove {
				fmt.Fprintln(w, result.Possession)
			}
		})
	}
	return cmd
}

func possessionCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "possession",
		Short: "Prove that you hold a key, before a ledger registers it",
		Long: `Sign, with an oversight or reader key, that you hold it. A ledger registers no key without this proof: payments would be encrypted to nobody, or to
a key made from another's. The proof is good for one ledger and one epoch or programme only.

The key of the first epoch is part of the ledger's genesis: give the draft hash that 'comity ledger init' prints.`,
		Example: `  comity oversight possession --key auditor.key --genesis DRAFT-HASH --epoch 1 --passphrase-file pass
  comity oversight possession --key donor.key --genesis HASH --programme 7 --passphrase-file pass`,
		Args: cobra.NoArgs,
	}
	key := cmd.Flags().String("key", "", "key file (required)")
	_ = cmd.MarkFlagRequired("key")
	purpose := addPurpose(cmd)
	_ = cmd.MarkFlagRequired("genesis")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flags().Changed("epoch") && !cmd.Flags().Changed("programme") {
			return cli.Usagef("give --epoch or --programme")
		}
		msg, err := purpose.message(cmd)
		if err != nil {
			return err
		}
		words, err := passphrase.Read(cmd, "Passphrase of "+*key, false)
		if err != nil {
			return err
		}
		secret, err := readKeyFile(*key, words)
		if err != nil {
			return err
		}
		proof := signatureHex(entry.ProvePossession(secret, msg, rand.Reader))
		return cli.Print(cmd, *asJSON, map[string]string{"possession": proof}, func(w io.Writer) { fmt.Fprintln(w, proof) })
	}
	return cmd
}
