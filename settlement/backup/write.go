package backup

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// chunk is how long a blocks file grows before the next begins, in bytes.
const chunk = 64 << 20

// Source is what a backup is made from.
type Source struct {
	Genesis *entry.Genesis
	// Checkpoint is a cosigned checkpoint, checked by the caller, and Head what it says.
	Checkpoint []byte
	Head       proof.Head
	// Blocks yields the blocks from height 0 on, at least up to the checkpoint.
	Blocks iter.Seq2[*settlement.Block, error]
	// Key is the file of the encrypted log key, nil to leave it out.
	Key []byte
	// Now is the time for the manifest.
	Now time.Time
	// Progress, if not nil, is called with entries written.
	Progress func(entries uint64)

	chunk int // for tests; 0 stands for chunk
}

// Create writes a backup into a new folder, which appears under its name only when it is whole: until then it is called dir + ".partial",
// which a later Create replaces. The entries must hash to the checkpoint's root where it ends.
func Create(ctx context.Context, dir string, from Source) (*Manifest, error) {
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrExists)
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return nil, fmt.Errorf("remove an unfinished backup: %w", err)
	}
	if err := os.MkdirAll(partial, 0o700); err != nil {
		return nil, fmt.Errorf("create backup: %w", err)
	}
	if from.chunk == 0 {
		from.chunk = chunk
	}
	w := &writer{dir: partial, m: Manifest{Format: Format, Genesis: from.Genesis.Hash().String(), Name: from.Genesis.Name,
		Made: from.Now.UTC().Format(time.RFC3339), CheckpointSize: from.Head.Size}}
	if err := w.put(genesisFile, entry.Encode(from.Genesis)); err != nil {
		return nil, err
	}
	if err := w.put(checkpointFile, from.Checkpoint); err != nil {
		return nil, err
	}
	if err := w.blocks(ctx, &from); err != nil {
		return nil, err
	}
	if from.Key != nil {
		if err := w.put(keyFile, from.Key); err != nil {
			return nil, err
		}
	}
	text, err := w.m.encode()
	if err != nil {
		return nil, err
	}
	if err := w.m.check(); err != nil {
		return nil, err
	}
	if err := w.put(manifestFile, text); err != nil {
		return nil, err
	}
	if err := syncDir(partial); err != nil {
		return nil, err
	}
	if err := os.Rename(partial, dir); err != nil {
		return nil, fmt.Errorf("finish backup: %w", err)
	}
	return &w.m, syncDir(filepath.Dir(dir))
}

type writer struct {
	dir string
	m   Manifest
}

func (w *writer) blocks(ctx context.Context, from *Source) error {
	var log proof.Range
	var pending []byte
	chunks := 0
	next, covered := uint64(0), false
	flush := func() error {
		err := w.put(blocksFile(chunks), pending)
		chunks, pending = chunks+1, pending[:0]
		return err
	}
	for block, err := range from.Blocks {
		if err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if block.Height != next || block.FirstIndex != log.Size || len(block.Entries) == 0 {
			return fmt.Errorf("block %d at entry %d where block %d at entry %d belongs: %w", block.Height, block.FirstIndex, next, log.Size, settlement.ErrStoreCorrupt)
		}
		next++
		log = log.With(block.Entries...)
		if log.Size == from.Head.Size {
			if log.Root() != from.Head.Root {
				return fmt.Errorf("the entries do not hash to the root that the witnesses cosigned: %w", settlement.ErrStoreCorrupt)
			}
			covered = true
		}
		state, err := entry.DecodeState(block.Entries[len(block.Entries)-1])
		if err != nil {
			return fmt.Errorf("block %d: %w", block.Height, err)
		}
		w.m.Height, w.m.Size, w.m.TimeMillis = block.Height, log.Size, state.TimeMillis
		root := log.Root()
		w.m.Root = hex.EncodeToString(root[:])
		if pending = appendBlock(pending, block); len(pending) >= from.chunk {
			if err := flush(); err != nil {
				return err
			}
		}
		if from.Progress != nil {
			from.Progress(log.Size)
		}
	}
	if !covered {
		return fmt.Errorf("no block ends at entry %d, where the cosigned checkpoint ends: %w", from.Head.Size, settlement.ErrStoreCorrupt)
	}
	if len(pending) > 0 || chunks == 0 {
		return flush()
	}
	return nil
}

// put writes a file, durably, and enters it into the manifest, unless it is the manifest.
func (w *writer) put(name string, data []byte) error {
	f, err := os.OpenFile(filepath.Join(w.dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("write backup: %w", err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write backup: %s: %w", name, err)
	}
	if name == manifestFile {
		return nil
	}
	sum := sha256.Sum256(data)
	w.m.Files = append(w.m.Files, File{name, uint64(len(data)), hex.EncodeToString(sum[:])})
	return nil
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}
