// Package backup keeps a whole ledger as a folder of plain files: what `comity ledger backup` writes and `comity ledger restore` reads.
//
//	manifest.json    written last: where the log ends, and size and SHA-256 of every other file
//	genesis.bin      the genesis entry
//	checkpoint       the newest checkpoint that the witnesses cosigned; it may end before the log does
//	blocks-NNNNNN    blocks in order with entries and ciphertext segments, a new file every 64 MiB
//	log.key          the key that signs checkpoints, encrypted as it was; only if it was asked for
//
// A record of a blocks file is: height u64, ledger time u64, first index u64, u32 count of entries, each behind its length u32, u32 count
// of segments, each behind its length u32; integers are big-endian.
//
// The folder holds the log and nothing that follows from it, so it restores into any store, and a restore recomputes everything else.
// It is read from a ledger that runs, whose log only grows: the blocks up to any height are a consistent ledger.
//
// Hashes find damage. Whoever can write to the folder can change them too; what they cannot change is the witnesses' checkpoint.
package backup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Format is the value of "format" in the manifest.
const Format = "comity-backup/v1"

const (
	manifestFile   = "manifest.json"
	genesisFile    = "genesis.bin"
	checkpointFile = "checkpoint"
	keyFile        = "log.key"

	maxManifest = 16 << 20
	maxSmall    = 1 << 20 // bytes of every file but blocks
)

var (
	// ErrNone: the folder holds no backup of this format; one that was cut short has no manifest.
	ErrNone = errors.New("no backup of format " + Format)
	// ErrExists: Create found something at the path.
	ErrExists = errors.New("the folder exists already")
	// ErrTruncated: a file of the backup is missing, or shorter than it was.
	ErrTruncated = errors.New("backup is truncated")
	// ErrDamaged: a file of the backup is not what it was, or the files do not fit together.
	ErrDamaged = errors.New("backup is damaged")
)

// Manifest says what a backup holds.
type Manifest struct {
	Format  string `json:"format"`
	Genesis string `json:"genesis"`
	Name    string `json:"name"`
	Made    string `json:"made"` // by the clock of whoever made it
	// Where the log ends.
	Height     uint64 `json:"height"`
	Size       uint64 `json:"size"`
	Root       string `json:"root"`
	TimeMillis uint64 `json:"time_millis"`
	// CheckpointSize is how much of it the witnesses cosigned.
	CheckpointSize uint64 `json:"checkpoint_size"`
	Files          []File `json:"files"`
}

// File is one file of a backup.
type File struct {
	Name   string `json:"name"`
	Bytes  uint64 `json:"bytes"`
	SHA256 string `json:"sha256"`
}

func blocksFile(n int) string { return fmt.Sprintf("blocks-%06d", n) }

// check holds the manifest to its one shape. What it says is compared with the files by Open and with the log by whoever replays it.
func (m *Manifest) check() error {
	bad := func(what string) error { return fmt.Errorf("%w: %s: %s", ErrDamaged, manifestFile, what) }
	if _, err := entry.ParseID(m.Genesis); err != nil {
		return bad("genesis hash")
	}
	if _, err := entry.ParseID(m.Root); err != nil {
		return bad("root")
	}
	if _, err := time.Parse(time.RFC3339, m.Made); err != nil {
		return bad("time")
	}
	if m.Size < 2 || m.CheckpointSize < 2 || m.CheckpointSize > m.Size || m.Height >= m.Size {
		return bad("sizes")
	}
	want := []string{genesisFile, checkpointFile}
	rest := len(m.Files) - len(want)
	if rest > 0 && m.Files[len(m.Files)-1].Name == keyFile {
		rest--
	}
	if rest < 1 {
		return bad("list of files")
	}
	for n := range rest {
		want = append(want, blocksFile(n))
	}
	if len(want) < len(m.Files) {
		want = append(want, keyFile)
	}
	for i, f := range m.Files {
		if _, err := entry.ParseID(f.SHA256); f.Name != want[i] || err != nil || !strings.HasPrefix(f.Name, "blocks-") && f.Bytes > maxSmall {
			return bad("file " + f.Name)
		}
	}
	return nil
}

// Backup is an opened backup whose files are what its manifest says.
type Backup struct {
	dir        string
	Manifest   Manifest
	Genesis    *entry.Genesis
	Checkpoint []byte
	Key        []byte // the encrypted log key; nil without one
}

// Open reads a manifest and compares every file with it: presence, size and SHA-256. progress, if not nil, is called with bytes.
func Open(dir string, progress func(done, total uint64)) (*Backup, error) {
	text, err := small(filepath.Join(dir, manifestFile), maxManifest)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w: it has no manifest", dir, ErrNone)
	}
	if err != nil {
		return nil, err
	}
	b := &Backup{dir: dir}
	d := json.NewDecoder(bytes.NewReader(text))
	d.DisallowUnknownFields()
	if err := d.Decode(&b.Manifest); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrDamaged, manifestFile, err)
	}
	if b.Manifest.Format != Format {
		return nil, fmt.Errorf("%s: %w: it says %q", dir, ErrNone, b.Manifest.Format)
	}
	// One encoding: a manifest that was edited by hand is not taken for what was written.
	if again, err := b.Manifest.encode(); err != nil || !bytes.Equal(again, text) {
		return nil, fmt.Errorf("%w: %s: not as it was written", ErrDamaged, manifestFile)
	}
	if err := b.Manifest.check(); err != nil {
		return nil, err
	}
	var total, done uint64
	for _, f := range b.Manifest.Files {
		total += f.Bytes
	}
	for _, f := range b.Manifest.Files {
		if err := f.compare(dir); err != nil {
			return nil, err
		}
		if done += f.Bytes; progress != nil {
			progress(done, total)
		}
	}
	raw, err := small(filepath.Join(dir, genesisFile), maxSmall)
	if err != nil {
		return nil, err
	}
	if b.Genesis, err = entry.DecodeGenesis(raw); err != nil {
		return nil, fmt.Errorf("%w: %s: %v", ErrDamaged, genesisFile, err)
	}
	if b.Genesis.Hash().String() != b.Manifest.Genesis {
		return nil, fmt.Errorf("%w: %s is of ledger %s, the manifest says %s", ErrDamaged, genesisFile, b.Genesis.Hash(), b.Manifest.Genesis)
	}
	if b.Checkpoint, err = small(filepath.Join(dir, checkpointFile), maxSmall); err != nil {
		return nil, err
	}
	if b.Manifest.Files[len(b.Manifest.Files)-1].Name == keyFile {
		if b.Key, err = small(filepath.Join(dir, keyFile), maxSmall); err != nil {
			return nil, err
		}
	}
	return b, nil
}

func (m *Manifest) encode() ([]byte, error) {
	text, err := json.MarshalIndent(m, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write manifest: %w", err)
	}
	return append(text, '\n'), nil
}

func (f *File) compare(dir string) error {
	file, err := os.Open(filepath.Join(dir, f.Name))
	if errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%w: %s is missing", ErrTruncated, f.Name)
	}
	if err != nil {
		return fmt.Errorf("open backup: %w", err)
	}
	defer file.Close()
	h := sha256.New()
	n, err := io.Copy(h, file)
	switch {
	case err != nil:
		return fmt.Errorf("read backup: %s: %w", f.Name, err)
	case uint64(n) < f.Bytes:
		return fmt.Errorf("%w: %s has %d bytes of %d", ErrTruncated, f.Name, n, f.Bytes)
	case hex.EncodeToString(h.Sum(nil)) != f.SHA256:
		return fmt.Errorf("%w: %s is not what its SHA-256 in the manifest says", ErrDamaged, f.Name)
	}
	return nil
}

// Blocks yields the blocks as the log and the ciphertexts give them; what follows from them is for replay to compute. It checks that
// they follow each other and end where the manifest says. A failing read is yielded last.
func (b *Backup) Blocks() func(yield func(*settlement.Block, error) bool) {
	return func(yield func(*settlement.Block, error) bool) {
		height, size := uint64(0), uint64(0)
		for n := 0; ; n++ {
			i := n + 2
			if i >= len(b.Manifest.Files) || b.Manifest.Files[i].Name == keyFile {
				break
			}
			f := b.Manifest.Files[i]
			file, err := os.Open(filepath.Join(b.dir, f.Name))
			if err != nil {
				yield(nil, fmt.Errorf("%w: %s: %v", ErrTruncated, f.Name, err))
				return
			}
			r := newReader(file, f.Bytes)
			for r.left > 0 {
				block, err := r.block()
				if err == nil && (block.Height != height || block.FirstIndex != size) {
					err = fmt.Errorf("block %d at entry %d where block %d at entry %d belongs", block.Height, block.FirstIndex, height, size)
				}
				if err != nil {
					_ = file.Close()
					yield(nil, fmt.Errorf("%w: %s: %v", ErrDamaged, f.Name, err))
					return
				}
				height, size = height+1, block.Size()
				if !yield(block, nil) {
					_ = file.Close()
					return
				}
			}
			_ = file.Close() // it was only read
		}
		if height != b.Manifest.Height+1 || size != b.Manifest.Size {
			yield(nil, fmt.Errorf("%w: the blocks end at height %d with %d entries, the manifest says %d with %d", ErrDamaged, int64(height)-1, size, b.Manifest.Height, b.Manifest.Size))
		}
	}
}

func small(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open backup: %w", err)
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, fmt.Errorf("read backup: %w", err)
	}
	if int64(len(b)) > most {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrDamaged, filepath.Base(path), most)
	}
	return b, nil
}

// appendBlock gives the record of a block.
func appendBlock(dst []byte, b *settlement.Block) []byte {
	for _, v := range []uint64{b.Height, b.Time, b.FirstIndex} {
		dst = binary.BigEndian.AppendUint64(dst, v)
	}
	for _, list := range [2][][]byte{b.Entries, b.Segments} {
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(list)))
		for _, x := range list {
			dst = append(binary.BigEndian.AppendUint32(dst, uint32(len(x))), x...)
		}
	}
	return dst
}
