package pebblestore

import (
	"github.com/comity-ledger/comity/settlement/proof"
)

const tileWidth = 256

// edge is the right edge of the log's tiles: on every level the hashes that do
// not fill a tile yet. It lives in memory alone and is rebuilt from the last
// entries and tiles at open, so that no hash is written twice. A published
// edge never changes; grow makes the next one.
type edge struct {
	size   uint64
	levels [8][][32]byte // at most 255 hashes each
}

// tile is a full one, to be written.
type tile struct {
	level  uint8
	index  uint64
	hashes [][32]byte
}

// grow returns the edge with leaves appended, and the tiles that became full.
func (e *edge) grow(leaves [][32]byte) (*edge, []tile) {
	next := &edge{size: e.size}
	for l := range e.levels {
		// Room for a tile, so that the append below never moves it; levels that
		// stay empty cost nothing.
		if l == 0 || len(e.levels[l]) > 0 {
			next.levels[l] = append(make([][32]byte, 0, tileWidth), e.levels[l]...)
		}
	}
	var full []tile
	for _, leaf := range leaves {
		next.size++
		h := leaf
		for l := range next.levels {
			next.levels[l] = append(next.levels[l], h)
			if len(next.levels[l]) < tileWidth {
				break
			}
			hashes := next.levels[l]
			full = append(full, tile{level: uint8(l), index: next.size>>(8*(l+1)) - 1, hashes: hashes})
			next.levels[l] = make([][32]byte, 0, tileWidth)
			h = subtreeRoot(hashes)
		}
	}
	return next, full
}

// partial returns the hashes of a tile that is not full, or nil.
func (e *edge) partial(level uint8, index uint64) [][32]byte {
	if int(level) >= len(e.levels) || e.size>>(8*(uint(level)+1)) != index {
		return nil
	}
	return e.levels[level]
}

// full tells whether a tile is full at the edge's size.
func (e *edge) full(level uint8, index uint64) bool {
	return int(level) < len(e.levels) && index < e.size>>(8*(uint(level)+1))
}

// subtreeRoot is the RFC 6962 root of 256 nodes, a perfect subtree.
func subtreeRoot(hashes [][32]byte) [32]byte {
	var level [tileWidth][32]byte
	copy(level[:], hashes)
	for n := tileWidth; n > 1; n /= 2 {
		for i := range n / 2 {
			level[i] = proof.NodeHash(level[2*i], level[2*i+1])
		}
	}
	return level[0]
}

func joinHashes(hashes [][32]byte) []byte {
	out := make([]byte, 0, 32*len(hashes))
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}
