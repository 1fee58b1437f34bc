package rpc

import (
	"errors"
	"log/slog"
	"net/http"
	"strings"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/proof"
)

const (
	hashSize = 32
	maxLevel = 7 // 256^8 leaves are more than a log can have
)

// tiles serves the log as the static files of C2SP tlog-tiles, so that a client written by somebody else can follow it:
//
//	/checkpoint             the newest cosigned checkpoint, or the log's own while there is none
//	/tile/{L}/{N}[.p/{W}]   hashes, 32 bytes each
//	/tile/entries/{N}[.p/{W}]   leaves, each behind its length in two bytes
//
// Source: https://c2sp.org/tlog-tiles.
type tiles struct {
	ledger Ledger
	log    *slog.Logger
}

func (t *tiles) register(mux *http.ServeMux) {
	mux.HandleFunc("GET /checkpoint", t.checkpoint)
	mux.HandleFunc("GET /tile/", t.tile)
}

func (t *tiles) checkpoint(w http.ResponseWriter, r *http.Request) {
	size, note, err := t.ledger.Checkpoint(r.Context())
	if err == nil && size == 0 {
		note, err = t.ledger.LatestCheckpoint(r.Context())
	}
	if err != nil {
		t.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, _ = w.Write(note)
}

func (t *tiles) tile(w http.ResponseWriter, r *http.Request) {
	tile, err := proof.ParseTilePath(strings.TrimPrefix(r.URL.Path, "/"))
	if err != nil || tile.Level > maxLevel {
		http.NotFound(w, r)
		return
	}
	var body []byte
	if tile.Entries {
		body, err = t.bundle(r, tile)
	} else {
		body, err = t.hashes(r, tile)
	}
	if err != nil {
		t.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", "application/octet-stream")
	w.Header().Set("Cache-Control", "public, max-age=604800, immutable") // a tile of one width never changes
	_, _ = w.Write(body)
}

func (t *tiles) hashes(r *http.Request, tile proof.Tile) ([]byte, error) {
	all, err := t.ledger.Tile(r.Context(), tile.Level, tile.Index)
	if err != nil {
		return nil, err
	}
	if len(all) < tile.Width*hashSize {
		return nil, settlement.ErrNotFound
	}
	return all[:tile.Width*hashSize], nil
}

func (t *tiles) bundle(r *http.Request, tile proof.Tile) ([]byte, error) {
	var out []byte
	first := tile.Index * proof.TileWidth
	// The last leaf first: a bundle that is not full yet is refused before its leaves are read.
	if _, _, err := t.ledger.Entry(r.Context(), first+uint64(tile.Width)-1); err != nil {
		return nil, err
	}
	for i := range uint64(tile.Width) {
		leaf, _, err := t.ledger.Entry(r.Context(), first+i)
		if err != nil {
			return nil, err
		}
		if out, err = proof.AppendBundle(out, leaf); err != nil {
			return nil, err
		}
	}
	return out, nil
}

func (t *tiles) fail(w http.ResponseWriter, r *http.Request, err error) {
	if errors.Is(err, settlement.ErrNotFound) {
		http.NotFound(w, r)
		return
	}
	t.log.ErrorContext(r.Context(), "serve tile", "path", r.URL.Path, "error", err)
	http.Error(w, "internal error", http.StatusInternalServerError)
}
