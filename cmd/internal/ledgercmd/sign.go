package ledgercmd

import (
	"bytes"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// genesisFlags say where a command gets the ledger's genesis from: a file, for a signer whose machine meets no network, or a
// running ledger.
type genesisFlags struct{ file, ledger, hash *string }

func addGenesisFlags(cmd *cobra.Command) genesisFlags {
	return genesisFlags{
		file:   cmd.Flags().String("genesis-file", "", "the ledger's genesis, as JSON or in its binary form"),
		ledger: cmd.Flags().String("ledger", "", "address of the running ledger, in place of --genesis-file"),
		hash:   cmd.Flags().String("genesis", "", "genesis hash that the ledger must have"),
	}
}

func (f genesisFlags) read(cmd *cobra.Command) (*entry.Genesis, error) {
	want, err := ExpectFlag(*f.hash)
	if err != nil {
		return nil, err
	}
	switch {
	case *f.file != "" && *f.ledger == "":
		g, err := cli.ReadGenesis(*f.file)
		if err != nil {
			return nil, err
		}
		if want != nil && g.Hash() != *want {
			return nil, cli.RefusedAs("other_ledger", fmt.Errorf("%s is of ledger %s, not %s", *f.file, g.Hash(), want))
		}
		return g, nil
	case *f.file == "" && *f.ledger != "":
		r, err := Dial(cmd.Context(), *f.ledger, want)
		if err != nil {
			return nil, err
		}
		return r.Genesis, nil
	}
	return nil, cli.Usagef("give --genesis-file or --ledger")
}

// ReadProposal reads a proposal for the ledger of that genesis and refuses one that says something else than it does.
func ReadProposal(g *entry.Genesis, path string) (*entry.Proposal, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	p, err := entry.ParseProposal(g, data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return p, nil
}

func signCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "sign FILE",
		Short: "Read a proposal and sign it",
		Long: `Print what a proposal does, computed from its bytes, ask for confirmation, and add the signer's signature to the file. A file whose description is
not what its bytes do is refused. Signing twice changes nothing.`,
		Example: "  comity ledger sign register.json --key minister.key --genesis-file aurelia/genesis.json",
		Args:    cobra.ExactArgs(1),
	}
	keyPath := cmd.Flags().String("key", "", "the signer's key file (required)")
	_ = cmd.MarkFlagRequired("key")
	yes := cmd.Flags().Bool("yes", false, "sign without asking")
	from := addGenesisFlags(cmd)
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		g, err := from.read(cmd)
		if err != nil {
			return err
		}
		p, err := ReadProposal(g, args[0])
		if err != nil {
			return err
		}
		if !*asJSON {
			for _, line := range p.Describe() {
				fmt.Fprintln(cmd.OutOrStdout(), line)
			}
		}
		if err := cli.Confirm(cmd, "Sign this?", *yes); err != nil {
			return err
		}
		secret, err := passphrase.Read(cmd, "Passphrase of "+*keyPath, false)
		if err != nil {
			return err
		}
		key, _, err := keyfile.Read(*keyPath, PurposeSigner, secret)
		if err != nil {
			return err
		}
		if err := p.Sign(key); err != nil {
			return err
		}
		text, err := p.JSON()
		if err != nil {
			return err
		}
		before, err := readFile(args[0])
		if err != nil {
			return err
		}
		if !bytes.Equal(text, before) {
			if err := cli.ReplaceFile(args[0], text, 0o644); err != nil {
				return err
			}
		}
		if *asJSON {
			return PrintProposal(cmd, true, args[0], p)
		}
		fmt.Fprintf(cmd.OutOrStdout(), "Signed: %d signature(s), %d missing\n", len(p.Signatures()), p.Missing())
		return nil
	}
	return cmd
}

func submitCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "submit FILE",
		Short: "Submit a proposal that enough signers have signed",
		Long: `Submit a signed proposal to the ledger. Submitting again is safe: the ledger answers with the first acceptance. The file holds the exact
bytes, so after a lost answer submit the same file again.

The proof of an issue or a redemption grows stale when the registry changes. With --wallet, the wallet that made the proposal, it is made anew;
the signatures stay good.`,
		Example: "  comity ledger submit register.json --ledger http://127.0.0.1:7001",
		Args:    cobra.ExactArgs(1),
	}
	address := LedgerFlag(cmd)
	hash := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	wallet := cmd.Flags().String("wallet", "", "the wallet that made the proposal, to prove again if need be")
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		want, err := ExpectFlag(*hash)
		if err != nil {
			return err
		}
		r, err := Dial(cmd.Context(), *address, want)
		if err != nil {
			return err
		}
		p, err := ReadProposal(r.Genesis, args[0])
		if err != nil {
			return err
		}
		leaf, err := p.Assemble()
		if err != nil {
			return err
		}
		answer, err := r.Submit(cmd.Context(), &ledgerv1.SubmitRequest{Entry: leaf, Segments: p.Segments()})
		if _, name := cli.CodeOf(err); *wallet != "" && (name == string(entry.RegistryRootStale) || name == string(entry.AnchorUnknown)) {
			secret, err := passphrase.Read(cmd, "Passphrase of "+*wallet, false)
			if err != nil {
				return err
			}
			if p, err = proveAgain(cmd, r.Genesis, p, *wallet, *address, secret); err != nil {
				return err
			}
			if leaf, err = p.Assemble(); err != nil {
				return err
			}
			text, err := p.JSON()
			if err != nil {
				return err
			}
			if err := cli.ReplaceFile(args[0], text, 0o644); err != nil {
				return err
			}
			answer, err = r.Submit(cmd.Context(), &ledgerv1.SubmitRequest{Entry: leaf, Segments: p.Segments()})
			if err != nil {
				return cli.Answer("submit", err)
			}
		} else if err != nil {
			return cli.Answer("submit", err)
		}
		before := answer.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE
		return cli.Print(cmd, *asJSON, map[string]any{
			"id": p.ID().String(), "entry_index": answer.GetEntryIndex(), "height": answer.GetHeight(), "settled_before": before,
		}, func(w io.Writer) {
			word := "Accepted"
			if before {
				word = "Settled before"
			}
			fmt.Fprintf(w, "%s: entry %d in block %d\n", word, answer.GetEntryIndex(), answer.GetHeight())
		})
	}
	return cmd
}
