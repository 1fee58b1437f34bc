package proof

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/tlog"
)

// TileWidth is the number of hashes in a full tile, and of entries in a full bundle.
const TileWidth = 1 << tileHeight

const tileHeight = 8

// ErrTile: no such tile or bundle, or its bytes are wrong.
var ErrTile = errors.New("tile_invalid")

// A Tile names a tile of hashes or, with Entries set, a bundle of entries (C2SP tlog-tiles).
type Tile struct {
	Entries bool
	Level   uint8 // 0 for leaves; 0 for bundles
	Index   uint64
	Width   int // 1 to TileWidth; less than TileWidth for a partial tile
}

// Path gives the tile's URL path without a leading slash: tile/<L>/<N>[.p/<W>] or tile/entries/<N>[.p/<W>].
func (t Tile) Path() string {
	level := "entries"
	if !t.Entries {
		level = strconv.Itoa(int(t.Level))
	}
	n := t.Index
	path := fmt.Sprintf("%03d", n%1000)
	for n >= 1000 {
		n /= 1000
		path = fmt.Sprintf("x%03d/%s", n%1000, path)
	}
	if t.Width < TileWidth {
		path += ".p/" + strconv.Itoa(t.Width)
	}
	return "tile/" + level + "/" + path
}

// ParseTilePath reads a path that Path gives, and only such.
func ParseTilePath(path string) (Tile, error) {
	bad := fmt.Errorf("%w: path %q", ErrTile, path)
	if len(path) > 128 {
		return Tile{}, fmt.Errorf("%w: path of %d bytes", ErrTile, len(path))
	}
	rest, ok := strings.CutPrefix(path, "tile/")
	level, rest, ok2 := strings.Cut(rest, "/")
	if !ok || !ok2 {
		return Tile{}, bad
	}
	t := Tile{Entries: level == "entries", Width: TileWidth}
	if !t.Entries {
		l, err := strconv.ParseUint(level, 10, 8)
		if err != nil || l > 63 {
			return Tile{}, bad
		}
		t.Level = uint8(l)
	}
	rest, width, partial := strings.Cut(rest, ".p/")
	if partial {
		w, err := strconv.ParseUint(width, 10, 16)
		if err != nil || w < 1 || w >= TileWidth {
			return Tile{}, bad
		}
		t.Width = int(w)
	}
	for part := range strings.SplitSeq(rest, "/") {
		n, err := strconv.ParseUint(strings.TrimPrefix(part, "x"), 10, 16)
		if err != nil || n > 999 || t.Index > (math.MaxInt64-n)/1000 {
			return Tile{}, bad
		}
		t.Index = t.Index*1000 + n
	}
	if t.Path() != path {
		return Tile{}, bad
	}
	return t, nil
}

// within refuses a tile that a tree of that size does not have yet: publishing one would show hashes no checkpoint covers.
func (t Tile) within(size uint64) error {
	level := uint(t.Level) * tileHeight
	if t.Width < 1 || t.Width > TileWidth || level > 56 {
		return fmt.Errorf("%w: %s", ErrTile, t.Path())
	}
	if have := size >> level; t.Index >= have>>tileHeight+1 || t.Index*TileWidth+uint64(t.Width) > have {
		return fmt.Errorf("%w: %s is not in a tree of %d leaves", ErrTile, t.Path(), size)
	}
	return nil
}

// ReadTile gives a tile's bytes, the hashes one after another, for a tree of that size.
func ReadTile(t Tile, size uint64, r HashReader) ([]byte, error) {
	if t.Entries {
		return nil, fmt.Errorf("%w: %s holds entries, not hashes", ErrTile, t.Path())
	}
	if err := t.within(size); err != nil {
		return nil, err
	}
	b, err := tlog.ReadTileData(tlog.Tile{H: tileHeight, L: int(t.Level), N: int64(t.Index), W: t.Width}, r)
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", t.Path(), err)
	}
	return b, nil
}

// BundleRange gives the first index and the number of the entries of a bundle in a tree of that size.
func BundleRange(t Tile, size uint64) (first uint64, n int, err error) {
	if !t.Entries {
		return 0, 0, fmt.Errorf("%w: %s holds hashes, not entries", ErrTile, t.Path())
	}
	if err := t.within(size); err != nil {
		return 0, 0, err
	}
	return t.Index * TileWidth, t.Width, nil
}

// AppendBundle appends an entry to a bundle: u16 length, bytes.
func AppendBundle(dst, entry []byte) ([]byte, error) {
	if len(entry) > math.MaxUint16 {
		return nil, fmt.Errorf("%w: an entry of %d bytes in a bundle", ErrTile, len(entry))
	}
	return append(binary.BigEndian.AppendUint16(dst, uint16(len(entry))), entry...), nil
}

// ParseBundle splits a bundle of n entries. The entries share the bundle's memory.
func ParseBundle(b []byte, n int) ([][]byte, error) {
	if n < 1 || n > TileWidth {
		return nil, fmt.Errorf("%w: a bundle of %d entries", ErrTile, n)
	}
	entries := make([][]byte, 0, n)
	for range n {
		if len(b) < 2 || len(b)-2 < int(binary.BigEndian.Uint16(b)) {
			return nil, fmt.Errorf("%w: a truncated bundle", ErrTile)
		}
		end := 2 + int(binary.BigEndian.Uint16(b))
		entries = append(entries, b[2:end:end])
		b = b[end:]
	}
	if len(b) != 0 {
		return nil, fmt.Errorf("%w: %d bytes after a bundle", ErrTile, len(b))
	}
	return entries, nil
}
