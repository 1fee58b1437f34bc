package ledgercmd

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/keyfile"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

func initCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "init",
		Short: "Create a ledger's data folder",
		Long: `Create a ledger in two steps, because two parties take part.

The first step reads the configuration, makes the key that signs checkpoints, and prints the draft hash of the genesis. The oversight
body proves with it that it holds the oversight key. The second step takes that proof, writes the genesis and creates the
store. From then on nothing in the genesis can change: its hash names the ledger.

Signers, witnesses and the oversight key may stand in the configuration or be given as flags; a key is hexadecimal or a file that
holds it. The data folder is never overwritten.

A ledger that other nations are to believe lets their witnesses sign too: with a witness of each of two nations, --quorum 2 --faulty 1 makes nothing
final without both, and neither of them alone can help to show two histories.

The log is kept in the data folder, or in a PostgreSQL database given to the second step with --store. The folder then holds genesis and key only.`,
		Example: `  comity ledger init --data aurelia --config deploy/aurelia/ledger.json --signer minister.pub --signer governor.pub \
      --witness witness.example=witness.pub --oversight-key auditor.pub
  comity ledger init --data aurelia --config deploy/aurelia/ledger.json --signer minister.pub --signer governor.pub \
      --witness ours.line --witness from-borealis.line --quorum 2 --faulty 1 --oversight-key auditor.pub
  comity oversight possession --key auditor.key --genesis DRAFT --epoch 1    # the oversight body, with the draft hash
  comity ledger init --data aurelia --possession possession.hex`,
		Args: cobra.NoArgs,
	}
	data := cmd.Flags().String("data", "", "the data folder (required)")
	_ = cmd.MarkFlagRequired("data")
	configPath := cmd.Flags().String("config", "", "the configuration, for the first step")
	signers := cmd.Flags().StringArray("signer", nil, "a policy signer's public key; repeat for each")
	witnesses := cmd.Flags().StringArray("witness", nil, "a witness as NAME=KEY, or NAME=KEY,consistency, or a file that holds such a line; repeat for each")
	quorum := cmd.Flags().Uint8("quorum", 0, "how many witnesses make a checkpoint final (default: as configured)")
	faulty := cmd.Flags().Uint8("faulty", 0, "how many witnesses may collude (default: as configured)")
	oversight := cmd.Flags().String("oversight-key", "", "the oversight body's public key")
	possession := cmd.Flags().String("possession", "", "the oversight body's proof of possession, for the second step")
	var store storeFlags
	store.add(cmd)
	passphrase := cli.PassphraseFlag(cmd)
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		f := folder(*data)
		if exists(f.genesis()) {
			return cli.RefusedAs("already_exists", fmt.Errorf("%s holds a ledger", f))
		}
		if *possession != "" && *configPath == "" {
			return finishInit(cmd, f, store, *possession, *asJSON)
		}
		if *configPath == "" {
			return cli.Usagef("give --config for the first step, or --possession for the second")
		}
		config, err := ReadConfig(*configPath)
		if err != nil {
			return err
		}
		for _, s := range *signers {
			if err := config.addSigner(s); err != nil {
				return err
			}
		}
		for _, w := range *witnesses {
			if err := config.addWitness(w); err != nil {
				return err
			}
		}
		if cmd.Flags().Changed("quorum") {
			config.Witnesses.Quorum = *quorum
		}
		if cmd.Flags().Changed("faulty") {
			config.Witnesses.Faulty = *faulty
		}
		if *oversight != "" {
			key, err := keyOrFile(*oversight, 64)
			if err != nil {
				return err
			}
			config.OversightKey = hex.EncodeToString(key)
		}
		return beginInit(cmd, f, config, passphrase, *asJSON)
	}
	return cmd
}

// genesisOf makes the genesis of a draft, without the proof of possession.
func genesisOf(d *draftFile) (*entry.Genesis, error) {
	logKey, err := signerKey(d.LogKey)
	if err != nil {
		return nil, cli.Usagef("log key: %w", err)
	}
	network := entry.Development
	if d.Config.Network == entry.Production.String() {
		network = entry.Production
	}
	listed, err := circuits.Listed(network)
	if err != nil {
		return nil, err
	}
	return d.Config.draft(logKey, listed, d.CreatedMillis)
}

func beginInit(cmd *cobra.Command, f folder, config *Config, passphrase cli.Passphrase, asJSON bool) error {
	if exists(f.draft()) {
		return cli.RefusedAs("half_created", fmt.Errorf("%s waits for the proof of possession: give --possession alone, or remove the folder to begin again", f))
	}
	entries, err := os.ReadDir(string(f))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read data folder: %w", err)
	}
	if len(entries) != 0 {
		return cli.RefusedAs("folder_not_empty", fmt.Errorf("%s is not empty: a data folder is used for nothing else", f))
	}
	// Judge the configuration before a key is made: a draft with a stand-in key and no proof fails in nothing but the proof.
	d := &draftFile{Config: config, LogKey: hex.EncodeToString(make([]byte, 31)) + "02", CreatedMillis: uint64(time.Now().UnixMilli())}
	g, err := genesisOf(d)
	if err != nil {
		return err
	}
	if err := g.Validate(); err != nil && entry.CodeOf(err) != entry.OversightKeyInvalid {
		return cli.Exit(cli.Usage, err)
	}
	secret, err := passphrase.Read(cmd, "Passphrase for the key that signs checkpoints", true)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return fmt.Errorf("create data folder: %w", err)
	}
	public, err := keyfile.New(f.logKey(), purposeLog, secret)
	if err != nil {
		return err
	}
	d.LogKey = public.String()
	if g, err = genesisOf(d); err != nil {
		return err
	}
	text, err := json.MarshalIndent(d, "", "  ")
	if err != nil {
		return err
	}
	if err := cli.WriteNewFile(f.draft(), append(text, '\n'), false); err != nil {
		return err
	}
	draft := g.DraftHash()
	return cli.Print(cmd, asJSON, map[string]any{"draft": draft.String(), "oversight_epoch": entry.GenesisOversightEpoch, "data": string(f)}, func(w io.Writer) {
		fmt.Fprintf(w, "Draft of %q, network %s\n", g.Name, g.Network)
		fmt.Fprintf(w, "Draft hash %s\n", draft)
		fmt.Fprintf(w, "Next: the oversight body proves that it holds its key,\n")
		fmt.Fprintf(w, "  comity oversight possession --key KEY --genesis %s --epoch %d\nand then\n", draft, entry.GenesisOversightEpoch)
		fmt.Fprintf(w, "  comity ledger init --data %s --possession PROOF\n", f)
	})
}

func finishInit(cmd *cobra.Command, f folder, store storeFlags, possession string, asJSON bool) error {
	if !exists(f.draft()) {
		return cli.RefusedAs("no_draft", fmt.Errorf("%s holds no draft: begin with --config", f))
	}
	d, err := f.readDraft()
	if err != nil {
		return err
	}
	g, err := genesisOf(d)
	if err != nil {
		return err
	}
	raw, err := keyOrFile(possession, 96)
	if err != nil {
		return err
	}
	if g.OversightPossession, err = zk.ParseSignature(raw); err != nil {
		return cli.Usagef("proof of possession: %w", err)
	}
	if err := g.Validate(); err != nil {
		return err
	}
	opener, err := store.opener(cmd, f, nil)
	if err != nil {
		return err
	}
	if err := createStore(cmd.Context(), f, g, opener); err != nil {
		return err
	}
	if err := os.Remove(f.draft()); err != nil {
		return fmt.Errorf("remove the draft: %w", err)
	}
	return printGenesis(cmd, g, asJSON)
}

// createStore makes the store of a new ledger and then writes genesis.json. A crash in between leaves a store without genesis.json:
// the step can be repeated, and finds the store of this very ledger.
func createStore(ctx context.Context, f folder, g *entry.Genesis, opener settlement.Opener) error {
	_, block, err := settlement.Begin(g)
	if err != nil {
		return fmt.Errorf("begin ledger: %w", err)
	}
	store, err := opener.Create(ctx, block)
	if errors.Is(err, settlement.ErrStoreExists) {
		store, err = opener.Open(ctx, g.Hash())
	}
	if err != nil {
		return named(fmt.Errorf("create store: %w", err))
	}
	if err := store.Close(); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return writeGenesis(f, g)
}

// writeGenesis writes both forms of the genesis, genesis.json last.
func writeGenesis(f folder, g *entry.Genesis) error {
	text, err := g.JSON()
	if err != nil {
		return err
	}
	if err := cli.ReplaceFile(f.binary(), entry.Encode(g), 0o644); err != nil {
		return err
	}
	return cli.WriteNewFile(f.genesis(), text, false)
}

func printGenesis(cmd *cobra.Command, g *entry.Genesis, asJSON bool) error {
	return cli.Print(cmd, asJSON, map[string]any{"genesis": g.Hash().String(), "name": g.Name, "network": g.Network.String(), "prefix": g.Prefix, "origin": g.Origin}, func(w io.Writer) {
		fmt.Fprintf(w, "Ledger %q, network %s\nGenesis hash %s\n", g.Name, g.Network, g.Hash())
	})
}
