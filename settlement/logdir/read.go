package logdir

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"os"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// maxMeta bounds log.json and checkpoint.
const maxMeta = 1 << 20

// Log is an open log folder.
type Log struct {
	dir        string
	tree       proof.Head
	checkpoint []byte
	segments   bool
	genesis    *entry.Genesis
	genesisRaw []byte
}

// Open opens a log folder and reads its genesis. It does not read the rest: Blocks does, and checks it.
func Open(dir string) (*Log, error) {
	text, err := readLimited(local(dir, metaFile), maxMeta)
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", dir, ErrFormat)
	}
	if err != nil {
		return nil, err
	}
	var m meta
	if err := json.Unmarshal(text, &m); err != nil || m.Format != Format {
		return nil, fmt.Errorf("%s: %w", dir, ErrFormat)
	}
	l := &Log{dir: dir, segments: m.Segments}
	if l.checkpoint, err = readLimited(local(dir, checkpointFile), maxMeta); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if l.tree, err = head(l.checkpoint); err != nil {
		return nil, err
	}
	if l.tree.Size != m.Size {
		return nil, fmt.Errorf("%w: log.json says %d entries, the checkpoint %d", ErrDamaged, m.Size, l.tree.Size)
	}
	first, err := l.bundle(0)
	if err != nil {
		return nil, err
	}
	if l.genesis, err = entry.DecodeGenesis(first[0]); err != nil {
		return nil, fmt.Errorf("%w: genesis: %w", ErrDamaged, err)
	}
	l.genesisRaw = first[0]
	if l.genesis.Hash().String() != m.Genesis {
		return nil, fmt.Errorf("%w: log.json names another genesis", ErrDamaged)
	}
	return l, nil
}

// Genesis returns the ledger's genesis. Compare its hash with the ledger you expect: a folder can hold any ledger.
func (l *Log) Genesis() *entry.Genesis { return l.genesis }

// GenesisBytes returns leaf 0.
func (l *Log) GenesisBytes() []byte { return l.genesisRaw }

// Checkpoint returns the signed note; check it against a witness policy (settlement/proof).
func (l *Log) Checkpoint() []byte { return l.checkpoint }

// Size returns the number of entries.
func (l *Log) Size() uint64 { return l.tree.Size }

// HasSegments reports whether the folder holds the payee ciphertexts.
func (l *Log) HasSegments() bool { return l.segments }

// Blocks yields every block from height 0: height, time, first index, entries, and segments if the folder has them; the other
// fields are effects, which replay recomputes. After the last block the hash of all entries is compared with the
// checkpoint's root; a difference is yielded as the last element, so a reader that stops early has not checked it.
func (l *Log) Blocks() iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		w := &hasher{}
		block := &settlement.Block{}
		for n := uint64(0); n*tileWidth < l.Size(); n++ {
			entries, err := l.bundle(n)
			if err != nil {
				yield(nil, err)
				return
			}
			segments, err := l.bundleSegments(n, entries)
			if err != nil {
				yield(nil, err)
				return
			}
			for i, leaf := range entries {
				w.push(0, proof.LeafHash(leaf))
				block.Entries = append(block.Entries, leaf)
				block.Segments = append(block.Segments, segments[i]...)
				kind, err := entry.KindOf(leaf)
				if err != nil {
					yield(nil, fmt.Errorf("%w: entry %d: %w", ErrDamaged, n*tileWidth+uint64(i), err))
					return
				}
				if kind != entry.KindState {
					continue
				}
				state, err := entry.DecodeState(leaf)
				if err != nil {
					yield(nil, fmt.Errorf("%w: entry %d: %w", ErrDamaged, n*tileWidth+uint64(i), err))
					return
				}
				if state.Height != block.Height {
					yield(nil, fmt.Errorf("%w: block %d calls itself %d", ErrDamaged, block.Height, state.Height))
					return
				}
				block.Time = state.TimeMillis
				if !yield(block, nil) {
					return
				}
				block = &settlement.Block{Height: block.Height + 1, FirstIndex: n*tileWidth + uint64(i) + 1}
			}
		}
		switch {
		case root(w.levels) != l.tree.Root:
			yield(nil, fmt.Errorf("%w: the entries do not hash to the checkpoint's root", ErrDamaged))
		case len(block.Entries) > 0:
			yield(nil, fmt.Errorf("%w: the checkpoint does not end a block", ErrDamaged))
		}
	}
}

// hasher is the writer's tree without its files.
type hasher struct{ levels [][]proof.Hash }

func (w *hasher) push(level int, h proof.Hash) {
	if level == len(w.levels) {
		w.levels = append(w.levels, nil)
	}
	w.levels[level] = append(w.levels[level], h)
	if len(w.levels[level]) == tileWidth {
		full := w.levels[level]
		w.levels[level] = nil
		w.push(level+1, subtree(full))
	}
}

func (l *Log) width(n uint64) int { return int(min(l.Size()-n*tileWidth, tileWidth)) }

func (l *Log) bundle(n uint64) ([][]byte, error) {
	width := l.width(n)
	data, err := readLimited(local(l.dir, bundlePath(n, width)), tileWidth*(2+entry.MaxEntry))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	entries, err := proof.ParseBundle(data, width)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	return entries, nil
}

// bundleSegments returns the segments of each entry of a bundle, and checks that there are as many as legs.
func (l *Log) bundleSegments(n uint64, entries [][]byte) ([][][]byte, error) {
	out := make([][][]byte, len(entries))
	if !l.segments {
		return out, nil
	}
	data, err := readLimited(local(l.dir, segmentsPath(n, len(entries))), tileWidth*entry.MaxLegs*(4+entry.MaxSegment))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	all, err := splitSegments(data)
	if err != nil {
		return nil, err
	}
	for i, leaf := range entries {
		legs, err := legsOf(leaf)
		if err != nil {
			return nil, fmt.Errorf("%w: entry %d: %w", ErrDamaged, n*tileWidth+uint64(i), err)
		}
		if legs > len(all) {
			return nil, fmt.Errorf("%w: segments of bundle %d end early", ErrDamaged, n)
		}
		out[i], all = all[:legs], all[legs:]
	}
	if len(all) != 0 {
		return nil, fmt.Errorf("%w: bundle %d has segments that belong to no leg", ErrDamaged, n)
	}
	return out, nil
}

func readLimited(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("%s is longer than %d bytes", path, limit)
	}
	return data, nil
}
