package journal

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Tiles reads the hashes of a log. A settlement.Store has it: the tile at (level, index) as far as it is filled, a multiple of 32
// bytes. It may hold more than any checkpoint signed so far covers.
type Tiles interface {
	Tile(ctx context.Context, level uint8, index uint64) ([]byte, error)
}

// HashReader reads single hashes out of tiles, for proofs. It keeps the tiles it read, so make one for each proof. It is not safe
// for concurrent use.
func HashReader(ctx context.Context, tiles Tiles) proof.HashReader {
	kept := map[tlog.Tile][]byte{}
	return tlog.HashReaderFunc(func(indexes []int64) ([]proof.Hash, error) {
		out := make([]proof.Hash, len(indexes))
		for i, index := range indexes {
			t := tlog.TileForIndex(8, index)
			key := tlog.Tile{L: t.L, N: t.N}
			data, ok := kept[key]
			if !ok {
				var err error
				if data, err = tiles.Tile(ctx, uint8(t.L), uint64(t.N)); err != nil {
					return nil, fmt.Errorf("tile %d of level %d: %w", t.N, t.L, err)
				}
				kept[key] = data
			}
			if len(data) < t.W*tlog.HashSize {
				return nil, fmt.Errorf("tile %d of level %d holds %d bytes, want %d hashes", t.N, t.L, len(data), t.W)
			}
			var err error
			if out[i], err = tlog.HashFromTile(t, data[:t.W*tlog.HashSize], index); err != nil {
				return nil, err
			}
		}
		return out, nil
	})
}

// PolicyOf is the witness policy that genesis states.
func PolicyOf(g *entry.Genesis) (*proof.Policy, error) {
	c := proof.Config{Origin: g.Origin, LogKey: g.LogKey, Quorum: int(g.Witnesses.Quorum), Faulty: int(g.Witnesses.Faulty)}
	for _, w := range g.Witnesses.Members {
		c.Witnesses = append(c.Witnesses, proof.Witness{Name: w.Name, Key: w.Key, Validating: w.Kind == entry.ValidatingWitness})
	}
	return proof.NewPolicy(c)
}

// Errors of the journal. The texts are stable names.
var (
	// ErrBehindWitnesses: more witnesses than may be faulty hold a larger tree than this ledger: it was restored from a backup that
	// is too old, and must not go on.
	ErrBehindWitnesses = errors.New("log_behind_witnesses")
	// ErrForked: witnesses hold another history of this log.
	ErrForked = errors.New("log_forked")
	// ErrWentBack: the journal was asked to sign less than it signed before.
	ErrWentBack = errors.New("log_went_back")
	// ErrClosed: the journal was closed.
	ErrClosed = errors.New("journal_closed")
)
