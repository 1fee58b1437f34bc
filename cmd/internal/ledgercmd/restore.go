package ledgercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/backup"
	"github.com/comity-ledger/comity/settlement/pgstore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

// startOver removes an unfinished ledger from a database. A data folder is begun anew in any case.
func startOver(cmd *cobra.Command, opener settlement.Opener) error {
	if o, ok := opener.(*pgstore.Opener); ok {
		return named(o.Discard(cmd.Context()))
	}
	return nil
}

// restore makes a data folder and fills its store. In a data folder the genesis comes last, without which it is no ledger's; a database has
// its own mark, so there the folder comes first.
func restore(cmd *cobra.Command, b *backup.Backup, final *proof.Final, f folder, opener settlement.Opener, secret []byte, over bool) (*settlement.State, error) {
	if err := os.RemoveAll(string(f)); err != nil {
		return nil, fmt.Errorf("remove an unfinished restore: %w", err)
	}
	if err := os.MkdirAll(string(f), 0o700); err != nil {
		return nil, fmt.Errorf("create data folder: %w", err)
	}
	if secret != nil {
		if err := cli.WriteNewFile(f.logKey(), secret, true); err != nil {
			return nil, err
		}
	}
	_, database := opener.(*pgstore.Opener)
	if database {
		if err := writeGenesis(f, b.Genesis); err != nil {
			return nil, err
		}
	}
	if over {
		if err := startOver(cmd, opener); err != nil {
			return nil, err
		}
	}
	state, err := replayBackup(cmd, b, func(ctx context.Context, verifier settlement.Verifier, progress replay.Progress) (*settlement.State, error) {
		store, state, err := b.Restore(ctx, final.Head, verifier, opener, progress)
		if err != nil {
			return nil, err
		}
		return state, store.Close()
	})
	if err == nil && !database {
		err = writeGenesis(f, b.Genesis)
	}
	return state, err
}

// alreadyThere finds out that a restore into a database was cut short at its very end, when all but the folder's name was there: then the
// folder is whole, and the database holds this very ledger to the last entry of the backup. Otherwise the state is nil.
func alreadyThere(cmd *cobra.Command, b *backup.Backup, f folder, opener settlement.Opener) (*settlement.State, error) {
	if _, database := opener.(*pgstore.Opener); !database || !exists(f.genesis()) {
		return nil, nil
	}
	g, err := f.readGenesis()
	if err != nil || g.Hash() != b.Genesis.Hash() {
		return nil, nil
	}
	store, err := opener.Open(cmd.Context(), g.Hash())
	if errors.Is(err, settlement.ErrStoreNotFound) || errors.Is(err, settlement.ErrStoreHalfCreated) {
		return nil, nil
	}
	if err != nil {
		return nil, named(err)
	}
	defer store.Close()
	head, err := store.Head(cmd.Context())
	if err != nil {
		return nil, named(err)
	}
	if fmt.Sprintf("%x", head.Root) != b.Manifest.Root || head.Size != b.Manifest.Size {
		return nil, nil
	}
	return replay.Restore(cmd.Context(), store, nil, nil)
}

func restoreCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "restore",
		Short: "Make a ledger of a backup again",
		Long: `Make a new data folder from a backup (comity ledger backup). Every file is compared with the manifest, every proof, signature, nullifier and
root is rechecked by replaying all rules, and the log must hash to the checkpoint that the witnesses cosigned. Nothing is overwritten: the folder appears
under its name when it is whole; until then it is called DATA.partial, and a restore begins it anew. With --store the log goes into a PostgreSQL database,
which must hold no ledger. A restore that is cut short there leaves what every command refuses as half_created; --start-over removes it and begins anew.
It never removes a ledger.

A backup is as old as it is. If payments were settled after it was made, the restored ledger is behind its witnesses, and comity ledger run refuses
it as log_behind_witnesses: find a newer copy. Never make the witnesses forget instead: that is how two histories begin.`,
		Example: "  comity ledger restore --from aurelia-2026-01-31 --data aurelia --genesis 4f0c...",
		Args:    cobra.NoArgs,
	}
	from := cmd.Flags().String("from", "", "the backup (required)")
	data := cmd.Flags().String("data", "", "the data folder to create (required)")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("data")
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the backup must have")
	key := cmd.Flags().String("log-key", "", "file of the key that signs checkpoints, for a backup without it")
	var where storeFlags
	where.add(cmd)
	over := cmd.Flags().Bool("start-over", false, "remove from --store what a restore or copy that was cut short has left there")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		if exists(*data) {
			return cli.RefusedAs("already_exists", fmt.Errorf("%s exists: nothing is overwritten", *data))
		}
		b, final, err := openBackup(cmd, *from, want)
		if err != nil {
			return err
		}
		secret := b.Key
		if *key != "" {
			if secret, err = readFile(*key); err != nil {
				return err
			}
		}
		// Built beside its place, which it takes when it is whole.
		f := folder(filepath.Clean(*data) + ".partial")
		opener, err := where.opener(cmd, f, nil)
		if err != nil {
			return err
		}
		state, err := alreadyThere(cmd, b, f, opener)
		if err == nil && state == nil {
			state, err = restore(cmd, b, final, f, opener, secret, *over)
		}
		if err == nil {
			err = put(string(f), filepath.Clean(*data))
		}
		if err != nil {
			return errors.Join(err, os.RemoveAll(string(f)))
		}
		return cli.Print(cmd, *asJSON, map[string]any{"data": *data, "genesis": b.Manifest.Genesis, "height": state.Height(), "entries": state.LogSize(),
			"root": b.Manifest.Root, "final_entries": final.Size, "log_key": secret != nil}, func(w io.Writer) {
			fmt.Fprintf(w, "%q, genesis %s, is in %s: %d entries, height %d, every proof checked\n", b.Manifest.Name, b.Manifest.Genesis, *data, state.LogSize(), state.Height())
			if secret == nil {
				fmt.Fprintf(w, "Put the key that signs checkpoints at %s before you run it.\n", folder(*data).logKey())
			}
			fmt.Fprintln(w, "The witnesses refuse it if they have seen more than it holds.")
		})
	}
	return cmd
}
