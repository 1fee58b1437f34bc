package logdir

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"os"
	"path/filepath"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Create writes the log up to checkpoint into a new folder. blocks yields the blocks from height 0 on; the ones past the checkpoint
// are not written. With segments false the ciphertexts are left out. The folder appears under its name only when it is whole and
// its entries hash to the checkpoint's root: until then it is called dir + ".partial", which a later Create replaces.
// progress, if not nil, is called after each block with the entries written and to be written.
func Create(ctx context.Context, dir string, checkpoint []byte, blocks iter.Seq2[*settlement.Block, error], segments bool, progress func(done, total int)) error {
	tree, err := head(checkpoint)
	if err != nil {
		return err
	}
	if _, err := os.Lstat(dir); !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("%s: %w", dir, ErrExists)
	}
	partial := dir + ".partial"
	if err := os.RemoveAll(partial); err != nil {
		return fmt.Errorf("remove an unfinished export: %w", err)
	}
	if err := os.MkdirAll(partial, 0o755); err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	w := &writer{dir: partial, segments: segments}
	meta := meta{Format: Format, Size: tree.Size, Segments: segments}
	for block, err := range blocks {
		if err != nil {
			return fmt.Errorf("read block: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		if w.size == tree.Size {
			break
		}
		if block.FirstIndex != w.size || w.size+uint64(len(block.Entries)) > tree.Size {
			return fmt.Errorf("%w: block %d does not fit between entry %d and the checkpoint at %d", ErrDamaged, block.Height, w.size, tree.Size)
		}
		if block.Height == 0 {
			genesis, err := entry.DecodeGenesis(block.Entries[0])
			if err != nil {
				return fmt.Errorf("genesis: %w", err)
			}
			meta.Genesis = genesis.Hash().String()
		}
		if err := w.block(block); err != nil {
			return err
		}
		meta.Height = block.Height
		if progress != nil {
			progress(int(w.size), int(tree.Size))
		}
	}
	if w.size != tree.Size {
		return fmt.Errorf("%w: %d entries, the checkpoint has %d", ErrDamaged, w.size, tree.Size)
	}
	root, err := w.finish()
	if err != nil {
		return err
	}
	if root != tree.Root {
		return fmt.Errorf("%w: the entries do not hash to the checkpoint's root", ErrDamaged)
	}
	if err := w.put(checkpointFile, checkpoint); err != nil {
		return err
	}
	text, err := json.MarshalIndent(meta, "", "  ")
	if err != nil {
		return err
	}
	if err := w.put(metaFile, append(text, '\n')); err != nil {
		return err
	}
	if err := os.Rename(partial, dir); err != nil {
		return fmt.Errorf("finish export: %w", err)
	}
	return nil
}

// writer appends leaves and writes each tile once, when it is full or at the end.
type writer struct {
	dir      string
	segments bool
	size     uint64
	levels   [][]proof.Hash // the unfinished tile of each level
	filled   []uint64       // how many tiles of each level are full
	bundle   []byte
	cipher   []byte
}

func (w *writer) block(b *settlement.Block) error {
	next := 0
	for _, leaf := range b.Entries {
		var err error
		if w.bundle, err = proof.AppendBundle(w.bundle, leaf); err != nil {
			return fmt.Errorf("entry %d: %w", w.size, err)
		}
		if w.segments {
			legs, err := legsOf(leaf)
			if err != nil {
				return fmt.Errorf("entry %d: %w", w.size, err)
			}
			if next+legs > len(b.Segments) {
				return fmt.Errorf("%w: block %d has %d segments, its legs are more", ErrDamaged, b.Height, len(b.Segments))
			}
			for _, s := range b.Segments[next : next+legs] {
				w.cipher = binary.BigEndian.AppendUint32(w.cipher, uint32(len(s)))
				w.cipher = append(w.cipher, s...)
			}
			next += legs
		}
		w.size++
		if w.size%tileWidth == 0 {
			if err := w.flushBundle(tileWidth); err != nil {
				return err
			}
		}
		if err := w.push(0, proof.LeafHash(leaf)); err != nil {
			return err
		}
	}
	if w.segments && next != len(b.Segments) {
		return fmt.Errorf("%w: block %d has %d segments, its legs are %d", ErrDamaged, b.Height, len(b.Segments), next)
	}
	return nil
}

// legsOf returns how many segments go with an entry.
func legsOf(leaf []byte) (int, error) {
	kind, err := entry.KindOf(leaf)
	if err != nil {
		return 0, err
	}
	switch kind {
	case entry.KindTransfer, entry.KindIssue, entry.KindRedeem:
		tx, err := entry.DecodeTransaction(leaf)
		if err != nil {
			return 0, err
		}
		return len(tx.Legs), nil
	}
	return 0, nil
}

func (w *writer) push(level int, h proof.Hash) error {
	if level == len(w.levels) {
		w.levels = append(w.levels, nil)
		w.filled = append(w.filled, 0)
	}
	w.levels[level] = append(w.levels[level], h)
	if len(w.levels[level]) < tileWidth {
		return nil
	}
	tile := w.levels[level]
	if err := w.put(hashPath(level, w.filled[level], tileWidth), flatten(tile)); err != nil {
		return err
	}
	w.filled[level]++
	w.levels[level] = nil
	return w.push(level+1, subtree(tile))
}

func (w *writer) flushBundle(width int) error {
	n := (w.size - 1) / tileWidth
	if err := w.put(bundlePath(n, width), w.bundle); err != nil {
		return err
	}
	if w.segments {
		if err := w.put(segmentsPath(n, width), w.cipher); err != nil {
			return err
		}
	}
	w.bundle, w.cipher = nil, nil
	return nil
}

// finish writes the tiles that are not full and returns the root.
func (w *writer) finish() (proof.Hash, error) {
	if rest := int(w.size % tileWidth); rest != 0 {
		if err := w.flushBundle(rest); err != nil {
			return proof.Hash{}, err
		}
	}
	for level, tile := range w.levels {
		if len(tile) == 0 {
			continue
		}
		if err := w.put(hashPath(level, w.filled[level], len(tile)), flatten(tile)); err != nil {
			return proof.Hash{}, err
		}
	}
	return root(w.levels), nil
}

func (w *writer) put(slashed string, data []byte) error {
	path := local(w.dir, slashed)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return fmt.Errorf("create folder: %w", err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return fmt.Errorf("write %s: %w", slashed, err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", slashed, err)
	}
	return nil
}

func flatten(hashes []proof.Hash) []byte {
	out := make([]byte, 0, len(hashes)*len(proof.Hash{}))
	for _, h := range hashes {
		out = append(out, h[:]...)
	}
	return out
}

// subtree hashes the 256 hashes of a full tile to the one above them.
func subtree(hashes []proof.Hash) proof.Hash {
	level := append([]proof.Hash(nil), hashes...)
	for len(level) > 1 {
		for i := range len(level) / 2 {
			level[i] = proof.NodeHash(level[2*i], level[2*i+1])
		}
		level = level[:len(level)/2]
	}
	return level[0]
}

// root folds the unfinished tiles into the root of RFC 6962: the largest full subtrees from right to left.
func root(levels [][]proof.Hash) proof.Hash {
	var acc *proof.Hash
	for _, tile := range levels {
		// Within a tile of w < 256 hashes the full subtrees are those of the bits of w, the largest first.
		start := len(tile)
		for bit := 1; bit < tileWidth; bit <<= 1 {
			if len(tile)&bit == 0 {
				continue
			}
			start -= bit
			h := subtree(tile[start : start+bit])
			if acc != nil {
				h = proof.NodeHash(h, *acc)
			}
			acc = &h
		}
	}
	if acc == nil {
		return proof.Hash{}
	}
	return *acc
}
