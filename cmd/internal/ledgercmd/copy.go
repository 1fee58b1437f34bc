package ledgercmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pgstore"
	"github.com/comity-ledger/comity/settlement/replay"
)

func copyCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "copy",
		Short: "Move a ledger's log to another store, and check the copy",
		Long: `Copy a ledger's log, with everything that its store keeps, from one store to another: from a data folder to a PostgreSQL database, back,
or between two of a kind. A store is a data folder, an address postgres://USER@HOST/DATABASE?search_path=SCHEMA, or @FILE that holds an address.

The ledger must stand still. The copy takes it over first, so that a node that still runs on the source can write nothing more. Then it
copies block by block, reads the whole copy again, rebuilds the state from it and compares roots and state with the source.

A target that holds anything is refused. A copy that is cut short leaves DATA/store.partial in a data folder, which the next copy begins anew, and in a
database what every command refuses as half_created; --start-over removes that, and never a ledger. The source stays as it is, and must not be run again once the copy runs: the witnesses would refuse
whichever of the two is behind. A data folder's key that signs checkpoints is not copied; it stays with the operator.`,
		Example: `  comity ledger copy --from aurelia --to 'postgres://comity@db.example/ledgers?search_path=aurelia&sslmode=verify-full'
  comity ledger run --data aurelia --store @aurelia.address
  comity ledger copy --from @aurelia.address --to aurelia-2`,
		Args: cobra.NoArgs,
	}
	from := cmd.Flags().String("from", "", "the store to copy: a data folder, an address, or @FILE (required)")
	to := cmd.Flags().String("to", "", "the store to make: a data folder, an address, or @FILE (required)")
	_ = cmd.MarkFlagRequired("from")
	_ = cmd.MarkFlagRequired("to")
	unsafe := cmd.Flags().Bool("store-unsafe", false, "use a database whose settings may lose what it acknowledged")
	over := cmd.Flags().Bool("start-over", false, "remove from the target database what a copy or restore that was cut short has left there")
	asJSON := cli.JSON(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		return copyLedger(cmd, *from, *to, *unsafe, *over, *asJSON)
	}
	return cmd
}

// endpoint is one end of a copy.
type endpoint struct {
	settlement.Opener
	folder folder          // empty for a database
	where  string          // for messages; it holds no password
	pg     *pgstore.Opener // nil for a folder
}

func endpointOf(cmd *cobra.Command, argument string, unsafe bool) (*endpoint, error) {
	if !strings.HasPrefix(argument, "@") && !strings.Contains(argument, "://") {
		f := folder(argument)
		opener, err := f.opener(nil)
		return &endpoint{Opener: opener, folder: f, where: argument}, err
	}
	address, err := storeAddress(argument, false)
	if err != nil {
		return nil, err
	}
	opener, err := storeFlags{unsafe: unsafe}.database(cmd, address, nil)
	if err != nil {
		return nil, err
	}
	return &endpoint{Opener: opener, where: opener.Where(), pg: opener}, nil
}

// genesis tells which ledger an endpoint holds.
func (e *endpoint) genesis(ctx context.Context) (entry.GenesisHash, error) {
	if e.pg != nil {
		hash, err := e.pg.Genesis(ctx)
		return hash, named(err)
	}
	g, err := e.folder.readGenesis()
	if err != nil {
		return entry.GenesisHash{}, err
	}
	return g.Hash(), nil
}

// admits refuses a target folder that holds anything but the genesis and key of the same ledger.
func (e *endpoint) admits(ledger entry.GenesisHash) error {
	if e.pg != nil {
		return nil // Create refuses
	}
	if exists(e.folder.genesis()) {
		g, err := e.folder.readGenesis()
		if err != nil {
			return err
		}
		if g.Hash() != ledger {
			return cli.RefusedAs("other_ledger", fmt.Errorf("%s belongs to ledger %s", e.folder, g.Hash()))
		}
		if exists(e.folder.store()) {
			return cli.RefusedAs("already_exists", fmt.Errorf("%s holds a store", e.folder))
		}
		return nil
	}
	entries, err := os.ReadDir(string(e.folder))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("read data folder: %w", err)
	}
	if len(entries) != 0 && (len(entries) > 1 || entries[0].Name() != filepath.Base(e.folder.partial())) {
		return cli.RefusedAs("folder_not_empty", fmt.Errorf("%s is not empty: a data folder is used for nothing else", e.folder))
	}
	return nil
}

func copyLedger(cmd *cobra.Command, from, to string, unsafe, over, asJSON bool) (err error) {
	ctx := cmd.Context()
	source, err := endpointOf(cmd, from, unsafe)
	if err != nil {
		return err
	}
	target, err := endpointOf(cmd, to, unsafe)
	if err != nil {
		return err
	}
	ledger, err := source.genesis(ctx)
	if err != nil {
		return err
	}
	if err := target.admits(ledger); err != nil {
		return err
	}
	src, err := source.Open(ctx, ledger)
	if err != nil {
		return named(fmt.Errorf("open the source: %w", err))
	}
	defer func() { err = errors.Join(err, src.Close()) }()
	first, err := src.Block(ctx, 0)
	if err != nil {
		return named(err)
	}
	if first.GenesisHash() != ledger {
		return named(fmt.Errorf("block 0 of the source founds ledger %s: %w", first.GenesisHash(), settlement.ErrStoreCorrupt))
	}
	g, err := entry.DecodeGenesis(first.Entries[0])
	if err != nil {
		return fmt.Errorf("genesis of the source: %w", err)
	}
	if target.folder != "" { // filled beside its place, which it takes when it is whole
		if err := os.RemoveAll(target.folder.partial()); err != nil {
			return fmt.Errorf("remove an unfinished copy: %w", err)
		}
		if target.Opener, err = pebblestore.New(pebblestore.Config{Dir: target.folder.partial()}); err != nil {
			return err
		}
	}
	if over {
		if err := startOver(cmd, target.Opener); err != nil {
			return err
		}
	}
	dst, finish, err := replay.CreateUnfinished(ctx, target.Opener, first)
	if err != nil {
		return named(fmt.Errorf("create the target: %w", err))
	}
	closed := false
	defer func() {
		if !closed {
			err = errors.Join(err, dst.Close())
		}
	}()
	// From here on nobody else adds to the source.
	head, err := src.Acquire(ctx)
	if err != nil {
		return named(fmt.Errorf("take the source over: %w", err))
	}
	bar := cli.NewProgress(cmd, "copy", int(head.Size))
	progress := func(_, entries uint64) { bar.Set(int(entries), int(head.Size)) }
	if err = replay.Copy(ctx, src, dst, progress); err == nil {
		bar.Describe("check the copy")
		err = replay.Same(ctx, src, dst, head, progress)
	}
	if err == nil {
		err = finish(ctx)
	}
	bar.Done()
	if errors.Is(err, replay.ErrDiffers) {
		return cli.Exit(cli.Unverified, err)
	}
	if err != nil {
		return named(err)
	}
	closed = true
	if err := dst.Close(); err != nil {
		return named(err)
	}
	if target.folder != "" {
		if err := put(target.folder.partial(), target.folder.store()); err != nil {
			return err
		}
	}
	if target.folder != "" && !exists(target.folder.genesis()) {
		if err := writeGenesis(target.folder, g); err != nil {
			return err
		}
	}
	return cli.Print(cmd, asJSON, map[string]any{"genesis": ledger.String(), "height": head.Height, "entries": head.Size, "root": fmt.Sprintf("%x", head.Root),
		"from": source.where, "to": target.where}, func(w io.Writer) {
		fmt.Fprintf(w, "Ledger %s: %d entries, height %d, copied from %s to %s and checked\n", ledger, head.Size, head.Height, source.where, target.where)
		fmt.Fprintf(w, "Run only one of the two from now on.\n")
		if target.folder != "" && !exists(target.folder.logKey()) {
			fmt.Fprintf(w, "Put the key that signs checkpoints at %s before you run it.\n", target.folder.logKey())
		}
	})
}
