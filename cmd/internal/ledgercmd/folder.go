package ledgercmd

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pgstore"
)

// folder is a ledger's data folder:
//
//	draft.json     while init waits for the oversight body's proof of possession
//	genesis.json   the ledger; written last, so a folder without it is not finished
//	genesis.bin    the same as the exact bytes of the genesis entry, to hand to wallets and auditors
//	log.key        the key that signs checkpoints, encrypted
//	store/         the log and everything that follows from it, unless a database holds it
//	store.partial/ a copy that goes on or was cut short
type folder string

func (f folder) draft() string   { return filepath.Join(string(f), "draft.json") }
func (f folder) genesis() string { return filepath.Join(string(f), "genesis.json") }
func (f folder) binary() string  { return filepath.Join(string(f), "genesis.bin") }
func (f folder) logKey() string  { return filepath.Join(string(f), "log.key") }
func (f folder) store() string   { return filepath.Join(string(f), "store") }

func (f folder) partial() string { return filepath.Join(string(f), "store.partial") }

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// draftFile is what init keeps between its two steps.
type draftFile struct {
	Config        *Config `json:"config"`
	LogKey        string  `json:"log_key"`
	CreatedMillis uint64  `json:"created_millis"`
}

func (f folder) readDraft() (*draftFile, error) {
	data, err := readFile(f.draft())
	if err != nil {
		return nil, err
	}
	d := &draftFile{}
	if err := json.Unmarshal(data, d); err != nil || d.Config == nil {
		return nil, cli.Usagef("%s is damaged: remove the folder and begin again", f.draft())
	}
	return d, nil
}

// readGenesis reads the genesis of a finished folder.
func (f folder) readGenesis() (*entry.Genesis, error) {
	data, err := os.ReadFile(f.genesis())
	switch {
	case err == nil:
	case !errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("read genesis: %w", err)
	case exists(f.draft()):
		return nil, cli.RefusedAs("half_created", fmt.Errorf("%s waits for the proof of possession: finish it with comity ledger init --possession", f))
	case exists(string(f)):
		return nil, cli.RefusedAs("half_created", fmt.Errorf("%s holds no genesis: it is no ledger's data folder, or init was cut short", f))
	default:
		return nil, cli.RefusedAs("no_ledger", fmt.Errorf("%s does not exist: create a ledger with comity ledger init", f))
	}
	g, err := entry.ParseGenesisJSON(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.genesis(), err)
	}
	return g, nil
}

func (f folder) opener(progress func(done, total uint64)) (settlement.Opener, error) {
	return pebblestore.New(pebblestore.Config{Dir: f.store(), Progress: progress})
}

// put moves a folder that is whole to its place, durably.
func put(from, to string) error {
	if err := os.Rename(from, to); err != nil {
		return fmt.Errorf("put %s in its place: %w", to, err)
	}
	d, err := os.Open(filepath.Dir(to))
	if err != nil {
		return fmt.Errorf("put %s in its place: %w", to, err)
	}
	return errors.Join(d.Sync(), d.Close())
}

// storeRefusals names what can be wrong with a store, for exit codes and scripts.
var storeRefusals = []struct {
	err  error
	name string
}{
	{settlement.ErrStoreInUse, "data_folder_in_use"},
	{settlement.ErrStoreExists, "already_exists"},
	{settlement.ErrStoreHalfCreated, "half_created"},
	{settlement.ErrStoreNotFound, "no_ledger"},
	{settlement.ErrOtherLedger, "other_ledger"},
	{settlement.ErrNewerVersion, "newer_version"},
	{settlement.ErrStoreCorrupt, "store_corrupt"},
	{settlement.ErrStoreFull, "disk_full"},
	{pgstore.ErrOlderVersion, "older_version"},
	{pgstore.ErrNotDurable, "store_not_durable"},
	{pgstore.ErrPlaintext, "store_unencrypted"},
	{pgstore.ErrWentBack, "store_went_back"},
}

// named gives a store's error its name.
func named(err error) error {
	for _, r := range storeRefusals {
		if errors.Is(err, r.err) {
			return cli.RefusedAs(r.name, err)
		}
	}
	if errors.Is(err, pgstore.ErrUnreachable) {
		return cli.Exit(cli.Unavailable, err)
	}
	return err
}
