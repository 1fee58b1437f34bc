package walletcmd

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/tlsfiles"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/client"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// keysOf derives the wallet's keys from what the key file holds.
func keysOf(s keystore.Secrets, hash entry.GenesisHash) (keys.Wallet, error) {
	spending, err := zk.ParseScalar(s.Spending[:])
	if err != nil {
		return keys.Wallet{}, fmt.Errorf("read the spending key: %w", err)
	}
	return keys.Derive(keys.SeedFromBytes(s.Seed), spending, hash)
}

// newSecrets draws a seed and a spending key.
func newSecrets() (s keystore.Secrets, err error) {
	if _, err := rand.Read(s.Seed[:]); err != nil {
		return s, fmt.Errorf("draw a seed: %w", err)
	}
	spending, err := zk.NewScalar(rand.Reader)
	if err != nil {
		return s, err
	}
	s.Spending = spending.Bytes()
	return s, nil
}

// genesisOf gets the genesis entry from a file or from the ledger, and compares it with the hash that the user was given.
func genesisOf(ctx context.Context, file, ledger, hash string) (*entry.Genesis, []byte, error) {
	var g *entry.Genesis
	var raw []byte
	var err error
	if file != "" {
		if g, err = cli.ReadGenesis(file); err != nil {
			return nil, nil, err
		}
		raw = entry.Encode(g)
	} else {
		if ledger, err = given(ledger, ledgerEnv, "ledger"); err != nil {
			return nil, nil, err
		}
		if ledger, err = cli.LedgerURL(ledger); err != nil {
			return nil, nil, err
		}
		c, err := client.NewTLS(ledger, tlsfiles.From(ctx))
		if err != nil {
			return nil, nil, err
		}
		if g, raw, err = c.Genesis(ctx); err != nil {
			return nil, nil, err
		}
	}
	if hash != "" && g.Hash().String() != hash {
		return nil, nil, wallets.Refuse(wallets.OtherLedger, "the genesis hash is %s, --genesis says %s", g.Hash(), hash)
	}
	return g, raw, nil
}

// Create makes a wallet folder for a ledger and returns its address. It is what the command does after reading its flags.
func Create(dir string, g *entry.Genesis, raw, passphrase []byte, o keystore.Options) (keys.Address, error) {
	secrets, err := newSecrets()
	if err != nil {
		return keys.Address{}, err
	}
	k, err := keysOf(secrets, g.Hash())
	if err != nil {
		return keys.Address{}, err
	}
	address := k.Address(g.Prefix, g.Hash())
	folder, err := keystore.Create(dir, raw, g.Hash(), address.String(), secrets, passphrase, o)
	if err != nil {
		return keys.Address{}, err
	}
	return address, folder.Close()
}

func createCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Make a wallet for a ledger",
		Long: `Make a wallet folder with new keys for one ledger, named by its genesis.

Give --genesis with the hash that the ledger's operator published: otherwise the wallet belongs to whatever ledger answers. The passphrase
encrypts the keys; nobody can recover them without it. Back the folder up: without it the money is lost.`,
		Example: `  comity wallet create --wallet ministry --ledger http://127.0.0.1:7001 --genesis 4f1c... --passphrase-file pass.txt`,
		Args:    cobra.NoArgs,
	}
	wallet := walletFlag(cmd)
	ledger := cmd.Flags().String("ledger", "", "address of the ledger, to fetch its genesis (default: $"+ledgerEnv+")")
	file := cmd.Flags().String("genesis-file", "", "file with the ledger's genesis entry, instead of fetching it")
	hash := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have, hexadecimal")
	pass := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := given(*wallet, walletEnv, "wallet")
		if err != nil {
			return err
		}
		g, raw, err := genesisOf(cmd.Context(), *file, *ledger, *hash)
		if err != nil {
			return err
		}
		passphrase, err := pass.Read(cmd, "New passphrase", true)
		if err != nil {
			return err
		}
		address, err := Create(dir, g, raw, passphrase, keystore.Options{})
		if err != nil {
			return err
		}
		return cli.Print(cmd, *asJSON, map[string]any{"wallet": dir, "address": address.String(), "ledger": g.Hash().String(), "name": g.Name}, func(w io.Writer) {
			fmt.Fprintf(w, "%s\n", address)
			if *hash == "" {
				fmt.Fprintf(cmd.ErrOrStderr(), "ledger %q, genesis %s: compare this hash with the one its operator published\n", g.Name, g.Hash())
			}
		})
	}
	return cmd
}

func addressCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "address",
		Short:   "Print the wallet's address",
		Long:    "Print the address that others pay to. It is public and needs no passphrase.",
		Example: "  comity wallet address --wallet ministry",
		Args:    cobra.NoArgs,
	}
	wallet := walletFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		dir, err := given(*wallet, walletEnv, "wallet")
		if err != nil {
			return err
		}
		h, err := keystore.ReadHeader(dir)
		if err != nil {
			return err
		}
		a, err := keys.ParseAddress(h.Address)
		if err != nil {
			return fmt.Errorf("read the wallet's address: %w", err)
		}
		return cli.Print(cmd, *asJSON, map[string]any{"address": h.Address, "owner": a.Owner.String(), "ledger": h.Genesis}, func(w io.Writer) {
			fmt.Fprintln(w, h.Address)
		})
	}
	return cmd
}

func registerRequestCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "register-request",
		Short: "Write the file that asks the registrar to register this wallet",
		Long: `Write the file that asks the ledger's registrar to register this wallet: its address, its public key and a signature that proves
possession of the spending key. It holds no secret. A wallet can be paid before it is registered; it can spend only afterwards.`,
		Example: "  comity wallet register-request --wallet ministry --out ministry.register.json",
		Args:    cobra.NoArgs,
	}
	f := AddFlags(cmd, false)
	out := cmd.Flags().String("out", "", "file to write (default: standard output)")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		w, err := f.Open(cmd)
		if err != nil {
			return err
		}
		defer w.Close()
		b, err := wallets.RequestRegistration(w.Keys, w.Genesis, rand.Reader).Marshal(w.Genesis)
		if err != nil {
			return err
		}
		if *out == "" {
			_, err = cmd.OutOrStdout().Write(b)
			return err
		}
		return cli.WriteNewFile(*out, b, false)
	}
	return cmd
}
