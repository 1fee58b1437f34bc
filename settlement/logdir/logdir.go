// Package logdir keeps a ledger's log as a folder of plain files, for audit, archive and transport: what `comity ledger export`
// writes and what `comity ledger verify` and `comity oversight` read.
//
// The folder is a C2SP tlog-tiles log (https://c2sp.org/tlog-tiles) with two additions, so any client of such logs can read it and
// any web server can serve it:
//
//	checkpoint                   a signed note: size, root, the log's signature and the witnesses' cosignatures
//	tile/{L}/{N}[.p/{W}]         hashes, 32 bytes each
//	tile/entries/{N}[.p/{W}]     256 entries, each behind its length (2 bytes, big-endian)
//	segments/{N}[.p/{W}]         the payee ciphertexts of the entries of bundle N, in order of entries and legs, each behind
//	                             its length (4 bytes, big-endian). May be absent: entries hold only their hashes.
//	log.json                     {"format": "comity-log/v1", "genesis": hash, "size": n, "height": h, "segments": true}
//
// Blocks are not stored: block 0 is the genesis and a state entry, and every later block ends with its state entry.
// The folder ends exactly at the checkpoint, which ends a block. log.json is a convenience for people and is checked against
// the rest; nothing is believed because it stands there.
//
// The package reads and writes files. It checks that the entries hash to the checkpoint's root; whose signatures a checkpoint needs
// is for settlement/proof, and whether the entries are right is for settlement/replay.
package logdir

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/comity-ledger/comity/settlement/proof"
)

// Format is the value of "format" in log.json.
const Format = "comity-log/v1"

const (
	tileWidth = proof.TileWidth

	metaFile       = "log.json"
	checkpointFile = "checkpoint"
)

var (
	// ErrDamaged: a file is missing or truncated, or the entries do not hash to the checkpoint's root.
	ErrDamaged = errors.New("log folder is damaged")
	// ErrFormat: the folder is none of this format, or of a newer one.
	ErrFormat = errors.New("not a log folder of format " + Format)
	// ErrExists: Create found something at the path.
	ErrExists = errors.New("the folder exists already")
	// ErrNoSegments: the folder was exported without ciphertext segments.
	ErrNoSegments = errors.New("log folder holds no segments")
)

// meta is log.json.
type meta struct {
	Format   string `json:"format"`
	Genesis  string `json:"genesis"`
	Size     uint64 `json:"size"`
	Height   uint64 `json:"height"`
	Segments bool   `json:"segments"`
}

func bundlePath(n uint64, width int) string {
	return proof.Tile{Entries: true, Index: n, Width: width}.Path()
}

func hashPath(level int, n uint64, width int) string {
	return proof.Tile{Level: uint8(level), Index: n, Width: width}.Path()
}

// segmentsPath spells the number as a bundle's path does.
func segmentsPath(n uint64, width int) string {
	return "segments/" + strings.TrimPrefix(bundlePath(n, width), "tile/entries/")
}

func local(dir, slashed string) string { return filepath.Join(dir, filepath.FromSlash(slashed)) }

// head reads size and root from a checkpoint without judging its signatures. A log has a genesis and a state entry at least.
func head(note []byte) (proof.Head, error) {
	end := bytes.LastIndex(note, []byte("\n\n"))
	if end < 0 {
		return proof.Head{}, fmt.Errorf("%w: the checkpoint has no signatures", ErrDamaged)
	}
	checkpoint, err := proof.ParseCheckpoint(string(note[:end+1]))
	if err != nil || checkpoint.Size < 2 {
		return proof.Head{}, fmt.Errorf("%w: checkpoint", ErrDamaged)
	}
	return checkpoint.Head, nil
}

// splitSegments reads all segments of a bundle; how many belong to which entry follows from the entries.
func splitSegments(b []byte) ([][]byte, error) {
	var out [][]byte
	for len(b) > 0 {
		if len(b) < 4 {
			return nil, fmt.Errorf("%w: segments end early", ErrDamaged)
		}
		size := uint64(binary.BigEndian.Uint32(b))
		if uint64(len(b)-4) < size {
			return nil, fmt.Errorf("%w: segments end early", ErrDamaged)
		}
		out = append(out, b[4:4+size:4+size])
		b = b[4+size:]
	}
	return out, nil
}
