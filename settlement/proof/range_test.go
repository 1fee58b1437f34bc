package proof

import (
	"testing"

	"golang.org/x/mod/sumdb/tlog"
)

// TestRangeGivesTheRootAtEverySize compares with the Go project's implementation, which keeps all hashes.
func TestRangeGivesTheRootAtEverySize(t *testing.T) {
	var r Range
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, at := range indexes {
			out[i] = stored[at]
		}
		return out, nil
	})
	if r.Root() != EmptyRoot() {
		t.Error("root of nothing")
	}
	for size := range int64(200) {
		entry := []byte{byte(size), 7}
		hashes, err := tlog.StoredHashes(size, entry, reader)
		if err != nil {
			t.Fatal(err)
		}
		stored = append(stored, hashes...)
		want, err := tlog.TreeHash(size+1, reader)
		if err != nil {
			t.Fatal(err)
		}
		before := r.Root()
		next := r.With(entry)
		if r.Root() != before {
			t.Fatalf("With changed its range at size %d", size)
		}
		r.Append(LeafHash(entry))
		if r.Root() != want || next.Root() != want || r.Size != uint64(size)+1 {
			t.Fatalf("wrong root at size %d", size+1)
		}
	}
}
