package rig

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pgstore"
)

// passphrase guards the log key of a load ledger, which guards nothing.
const passphrase = "bench"

// Founded is a ledger that nobody runs yet, with the prefix of its data set in its store.
type Founded struct {
	Set   *dataset.Set
	Dir   string // the data folder, as comity ledger init leaves one
	Store string // the database that holds the log, "" for the data folder
	// State is that of the last block.
	State *settlement.State
}

// Found makes a ledger's data folder and store. dir must not exist.
func Found(ctx context.Context, set *dataset.Set, dir, store string) (*Founded, error) {
	f := &Founded{Set: set, Dir: dir, Store: store}
	if err := f.writeFiles(); err != nil {
		return nil, fmt.Errorf("make a data folder: %w", err)
	}
	blocks, state, err := set.Blocks(ctx)
	if err != nil {
		return nil, err
	}
	f.State = state
	opener, err := f.opener()
	if err != nil {
		return nil, err
	}
	s, err := opener.Create(ctx, blocks[0])
	if err != nil {
		return nil, err
	}
	return f, errors.Join(Append(ctx, s, blocks[1:]), s.Close())
}

// Append writes blocks to a store that nobody else writes to.
func Append(ctx context.Context, s settlement.Store, blocks []*settlement.Block) error {
	head, err := s.Acquire(ctx)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		if outcome, err := s.Append(ctx, head, b); outcome != settlement.Committed {
			return fmt.Errorf("append block %d: %v: %w", b.Height, outcome, err)
		}
		head = b.Head(head.Epoch)
	}
	return nil
}

func (f *Founded) opener() (settlement.Opener, error) {
	if f.Store != "" {
		return pgstore.New(pgstore.Config{URL: f.Store})
	}
	return pebblestore.New(pebblestore.Config{Dir: filepath.Join(f.Dir, "store")})
}

// Open opens the store, while nobody runs the ledger.
func (f *Founded) Open(ctx context.Context) (settlement.Store, error) {
	opener, err := f.opener()
	if err != nil {
		return nil, err
	}
	return opener.Open(ctx, f.State.Genesis().Hash())
}

// writeFiles writes genesis, log key and passphrase.
func (f *Founded) writeFiles() error {
	g, err := entry.DecodeGenesis(f.Set.Genesis)
	if err != nil {
		return err
	}
	secrets, err := dataset.SecretsOf(f.Set.Seed)
	if err != nil {
		return err
	}
	text, err := g.JSON()
	if err != nil {
		return err
	}
	recipient, err := age.NewScryptRecipient(passphrase)
	if err != nil {
		return err
	}
	recipient.SetWorkFactor(10) // a millisecond, in place of the second that an operator's takes
	var key bytes.Buffer
	armored := armor.NewWriter(&key)
	w, err := age.Encrypt(armored, recipient)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, "comity-log-key-v1 %x\n", secrets.Log.Seed())
	if err := errors.Join(err, w.Close(), armored.Close(), os.Mkdir(f.Dir, 0o700)); err != nil {
		return err
	}
	return errors.Join(
		os.WriteFile(filepath.Join(f.Dir, "genesis.json"), text, 0o600),
		os.WriteFile(filepath.Join(f.Dir, "genesis.bin"), f.Set.Genesis, 0o600),
		os.WriteFile(filepath.Join(f.Dir, "log.key"), key.Bytes(), 0o600),
		os.WriteFile(filepath.Join(f.Dir, "passphrase"), []byte(passphrase+"\n"), 0o600))
}

// DiskBytes is the size of a folder's files.
func DiskBytes(dir string) (total int64) {
	_ = filepath.Walk(dir, func(_ string, info os.FileInfo, err error) error {
		if err == nil && info.Mode().IsRegular() {
			total += info.Size()
		}
		return nil // a file that went away meanwhile counts nothing
	})
	return total
}
