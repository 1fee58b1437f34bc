package ledgercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/backup"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

func backupCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup",
		Short: "Back a ledger up while it runs, or check a backup",
		Long: `Write a ledger into a new folder: the whole log to its newest block, the payee ciphertexts, the genesis, the newest cosigned checkpoint, and a
manifest with the SHA-256 of every file. The log only grows, so a ledger that runs is backed up without a pause (--ledger); one that
stands still is read from its data folder or database (--data, --store). comity ledger restore makes a ledger of it again, in any store.

--log-key puts the key that signs checkpoints in as well, encrypted as it is. Keep its passphrase elsewhere.

--verify checks a backup alone and writes nothing: every file against the manifest, the log against the witnesses' checkpoint, and every
proof, signature, nullifier and root by replaying all rules. Give --genesis, or the check is about some ledger and not about yours. Exit code 5 means
backup_truncated, backup_damaged, or an entry that does not hold.`,
		Example: `  comity ledger backup --ledger http://127.0.0.1:7001 --log-key aurelia/log.key --out aurelia-2026-01-31
  comity ledger backup --data aurelia --out aurelia-2026-01-31
  comity ledger backup --verify aurelia-2026-01-31 --genesis 4f0c...`,
		Args: cobra.NoArgs,
	}
	address := cmd.Flags().String("ledger", "", "address of the running ledger")
	data := cmd.Flags().String("data", "", "the data folder of a ledger that does not run, in place of --ledger")
	var where storeFlags
	where.add(cmd)
	out := cmd.Flags().String("out", "", "the folder to create")
	key := cmd.Flags().String("log-key", "", "file of the key that signs checkpoints, to put into the backup")
	verify := cmd.Flags().String("verify", "", "the backup to check, in place of making one")
	genesis := cmd.Flags().String("genesis", "", "genesis hash that the ledger must have")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		want, err := ExpectFlag(*genesis)
		if err != nil {
			return err
		}
		if *verify != "" {
			if *address != "" || *data != "" || *out != "" || *key != "" {
				return cli.Usagef("--verify only reads: give --genesis beside it and nothing else")
			}
			return verifyBackup(cmd, *verify, want, *asJSON)
		}
		if (*address == "") == (*data == "") || *out == "" {
			return cli.Usagef("give --ledger or --data, and --out")
		}
		from := backup.Source{Now: time.Now()}
		if *key != "" {
			if from.Key, err = readFile(*key); err != nil {
				return err
			}
		}
		ctx := cmd.Context()
		if *address != "" {
			r, err := Dial(ctx, *address, want)
			if err != nil {
				return err
			}
			note, final, err := r.checkpoint(ctx)
			if err != nil {
				return err
			}
			from.Genesis, from.Checkpoint, from.Head, from.Blocks = r.Genesis, note, final.Head, r.blocks(ctx, true)
			return writeBackup(cmd, *out, from, *asJSON)
		}
		f := folder(*data)
		if from.Genesis, err = f.readGenesis(); err != nil {
			return err
		}
		if want != nil && from.Genesis.Hash() != *want {
			return cli.RefusedAs("other_ledger", fmt.Errorf("%s holds ledger %s, not %s", f, from.Genesis.Hash(), want))
		}
		opener, err := where.opener(cmd, f, nil)
		if err != nil {
			return err
		}
		store, err := opener.Open(ctx, from.Genesis.Hash())
		if errors.Is(err, settlement.ErrStoreInUse) {
			return cli.RefusedAs("data_folder_in_use", fmt.Errorf("%s: the ledger runs: back it up with --ledger", f))
		}
		if err != nil {
			return named(fmt.Errorf("open store: %w", err))
		}
		defer store.Close()
		_, note, err := store.Checkpoint(ctx)
		if errors.Is(err, settlement.ErrNotFound) {
			return entry.Refuse(entry.TryLater, "no checkpoint is cosigned by the quorum of witnesses yet: run the ledger first")
		}
		if err != nil {
			return named(err)
		}
		final, err := checkCheckpoint(from.Genesis, note)
		if err != nil {
			return err
		}
		from.Checkpoint, from.Head, from.Blocks = note, final.Head, store.Blocks(ctx, 0)
		return writeBackup(cmd, *out, from, *asJSON)
	}
	return cmd
}

func writeBackup(cmd *cobra.Command, out string, from backup.Source, asJSON bool) error {
	bar := cli.NewProgress(cmd, "back up", int(from.Head.Size))
	from.Progress = func(entries uint64) { bar.Set(int(min(entries, from.Head.Size)), int(from.Head.Size)) }
	m, err := backup.Create(cmd.Context(), out, from)
	bar.Done()
	if errors.Is(err, backup.ErrExists) {
		return cli.Exit(cli.Usage, err)
	}
	if err != nil {
		return named(err)
	}
	return printBackup(cmd, asJSON, out, m, from.Key != nil, func(w io.Writer) {
		fmt.Fprintf(w, "%d entries of %q, height %d, in %s; the witnesses cosigned %d of them\n", m.Size, m.Name, m.Height, out, m.CheckpointSize)
		fmt.Fprintf(w, "genesis %s\nroot %s\n", m.Genesis, m.Root)
	})
}

func printBackup(cmd *cobra.Command, asJSON bool, dir string, m *backup.Manifest, key bool, text func(io.Writer)) error {
	return cli.Print(cmd, asJSON, map[string]any{"folder": dir, "genesis": m.Genesis, "height": m.Height, "entries": m.Size, "root": m.Root, "final_entries": m.CheckpointSize,
		"made": m.Made, "files": len(m.Files), "log_key": key}, text)
}

// openBackup opens a backup and judges its checkpoint by the witness policy of its genesis.
func openBackup(cmd *cobra.Command, dir string, want *entry.GenesisHash) (*backup.Backup, *proof.Final, error) {
	bar := cli.NewProgress(cmd, "read", -1)
	b, err := backup.Open(dir, func(done, total uint64) { bar.Set(int(done), int(total)) })
	bar.Done()
	if err != nil {
		return nil, nil, namedBackup(err)
	}
	if want != nil && b.Genesis.Hash() != *want {
		return nil, nil, &cli.Error{Code: cli.Unverified, Name: "other_ledger", Err: fmt.Errorf("%s is a backup of ledger %s, not %s", dir, b.Genesis.Hash(), want)}
	}
	final, err := checkCheckpoint(b.Genesis, b.Checkpoint)
	return b, final, err
}

// namedBackup gives what is wrong with a backup its name and exit code.
func namedBackup(err error) error {
	var broken *replay.Error
	switch {
	case errors.Is(err, backup.ErrNone), errors.Is(err, os.ErrNotExist):
		return &cli.Error{Code: cli.Usage, Name: "no_backup", Err: err}
	case errors.Is(err, backup.ErrTruncated):
		return &cli.Error{Code: cli.Unverified, Name: "backup_truncated", Err: err}
	case errors.Is(err, backup.ErrDamaged):
		return &cli.Error{Code: cli.Unverified, Name: "backup_damaged", Err: err}
	case errors.As(err, &broken):
		return cli.Exit(cli.Unverified, err)
	}
	return named(err)
}

func verifyBackup(cmd *cobra.Command, dir string, want *entry.GenesisHash, asJSON bool) error {
	b, final, err := openBackup(cmd, dir, want)
	if err != nil {
		return err
	}
	_, err = replayBackup(cmd, b, func(ctx context.Context, verifier settlement.Verifier, progress replay.Progress) (*settlement.State, error) {
		return b.Verify(ctx, final.Head, verifier, progress)
	})
	if err != nil {
		return err
	}
	m := &b.Manifest
	return printBackup(cmd, asJSON, dir, m, b.Key != nil, func(w io.Writer) {
		fmt.Fprintf(w, "Holds: backup of %q, genesis %s, made %s\n", m.Name, m.Genesis, m.Made)
		fmt.Fprintf(w, "%d entries, height %d, root %s; the witnesses cosigned %d of them\n", m.Size, m.Height, m.Root, m.CheckpointSize)
		if want == nil {
			fmt.Fprintln(w, "No --genesis was given: compare the genesis hash with the one you were told.")
		}
	})
}

// replayBackup runs a check of all rules over a backup with the proofs of this binary's circuits.
func replayBackup(cmd *cobra.Command, b *backup.Backup, check func(context.Context, settlement.Verifier, replay.Progress) (*settlement.State, error)) (*settlement.State, error) {
	verifier, err := circuits.Verifier(b.Genesis, 0)
	if err != nil {
		return nil, err
	}
	bar := cli.NewProgress(cmd, "replay", int(b.Manifest.Size))
	state, err := check(cmd.Context(), verifier, func(_, entries uint64) { bar.Set(int(entries), int(b.Manifest.Size)) })
	bar.Done()
	return state, namedBackup(err)
}
