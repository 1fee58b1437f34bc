package pgstore

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"

	"github.com/comity-ledger/comity/settlement/proof"
)

const tileWidth = proof.TileWidth

// edge is the right edge of the log's tiles: on every level the hashes that do
// not fill a tile yet. The database has it too, in the tails of blocks and the
// roots of tiles; a handle keeps that of the last block it saw. A published
// edge never changes: grow makes the next one.
type edge struct {
	size   uint64
	root   [32]byte // of the log at size: which log this is the edge of
	levels [8][][32]byte
}

// fullTile is to be written.
type fullTile struct {
	level  int32
	index  int64
	root   [32]byte // of its subtree, a hash of the level above
	hashes []byte
}

// grow returns the edge with leaves appended, and the tiles that became full.
func (e *edge) grow(leaves [][32]byte, root [32]byte) (*edge, []fullTile) {
	next := &edge{size: e.size + uint64(len(leaves)), root: root}
	var full []fullTile
	added := leaves // on the level at hand
	for l := range e.levels {
		hashes := make([][32]byte, 0, len(e.levels[l])+len(added))
		hashes = append(append(hashes, e.levels[l]...), added...)
		first := e.size >> (8 * (l + 1)) // tile that the level's edge is in
		added = nil
		for len(hashes) >= tileWidth {
			root := subtreeRoot(hashes[:tileWidth])
			full = append(full, fullTile{level: int32(l), index: int64(first), root: root, hashes: join(hashes[:tileWidth])})
			added = append(added, root)
			hashes = hashes[tileWidth:]
			first++
		}
		next.levels[l] = hashes
	}
	return next, full
}

// tail is the part of leaves that stands behind the last full tile.
func (e *edge) tail(leaves [][32]byte) []byte {
	return join(leaves[len(leaves)-min(len(leaves), len(e.levels[0])):])
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

func join(hashes [][32]byte) []byte {
	out := make([]byte, 0, 32*len(hashes))
	for i := range hashes {
		out = append(out, hashes[i][:]...)
	}
	return out
}

// querier is a pool or a transaction.
type querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
}

// edgeOf reads the edge of the log at a size, the size of some block's end. What
// it reads never changes once the block is there.
func (s *Store) edgeOf(ctx context.Context, q querier, size uint64, root [32]byte) (*edge, error) {
	what := fmt.Sprintf("read tiles of a log of %d entries", size)
	e := &edge{size: size, root: root}
	begin := size &^ (tileWidth - 1)
	if begin < size {
		rows, err := q.Query(ctx, s.sql.Tails, int64(begin), int64(size))
		if err != nil {
			return nil, err
		}
		defer rows.Close()
		at := begin
		for rows.Next() {
			var first, entries int64
			var tail []byte
			if err := rows.Scan(&first, &entries, &tail); err != nil {
				return nil, err
			}
			end := uint64(first + entries)
			if end <= begin || end > size {
				continue
			}
			from := max(uint64(first), begin)
			if from != at || uint64(len(tail)) != 32*(end-from) {
				return nil, corrupt(what, errRow)
			}
			for ; at < end; at++ {
				e.levels[0] = append(e.levels[0], [32]byte(tail[32*(at-from):]))
			}
		}
		if err := rows.Err(); err != nil {
			return nil, err
		}
		if at != size {
			return nil, corrupt(what, errRow)
		}
	}
	for l := 1; l < len(e.levels); l++ {
		have := size >> (8 * l)
		begin := have &^ (tileWidth - 1)
		if begin == have {
			continue
		}
		rows, err := q.Query(ctx, s.sql.TileRoots, int32(l-1), int64(begin), int64(have))
		if err != nil {
			return nil, err
		}
		e.levels[l], err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (h [32]byte, err error) {
			var column []byte
			if err := row.Scan(&column); err != nil {
				return h, err
			}
			return h, digest(&h, column)
		})
		if err != nil {
			return nil, err
		}
		if uint64(len(e.levels[l])) != have-begin {
			return nil, corrupt(what, errRow)
		}
	}
	return e, nil
}
