package logdir

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"iter"
	mathrand "math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

func testGenesis(t testing.TB) *entry.Genesis {
	t.Helper()
	rand := mathrand.NewChaCha8([32]byte{7})
	key := func() entry.SignerKey {
		seed := make([]byte, 32)
		_, _ = rand.Read(seed)
		k, err := entry.SignerKeyOf(ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey))
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	secret, err := zk.NewScalar(rand)
	if err != nil {
		t.Fatal(err)
	}
	g := &entry.Genesis{
		Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example", CreatedMillis: 1, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}},
		Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{key()}}, LogKey: key(),
		Witnesses:            entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w1", Key: key(), Kind: entry.ValidatingWitness}}},
		RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000, OversightKey: secret.Base(),
		Circuits: []entry.Circuit{{ID: zk.Transfer, Version: entry.CircuitVersion, Fingerprint: [32]byte{1}}},
	}
	g.OversightPossession = entry.ProvePossession(secret, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), rand)
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	return g
}

// testLog makes blocks whose entries decode, with transactions of one and two legs and their segments. Its proofs prove nothing:
// this package does not look at them.
func testLog(t testing.TB, blocks int) ([]*settlement.Block, []byte) {
	t.Helper()
	g := testGenesis(t)
	counter := uint64(0)
	field := func() (f zk.Field) {
		counter++
		binary.BigEndian.PutUint64(f[24:], counter)
		return f
	}
	var out []*settlement.Block
	hash := &hasher{}
	index := uint64(0)
	for height := range uint64(blocks) {
		b := &settlement.Block{Height: height, Time: 1000 + height, FirstIndex: index}
		if height == 0 {
			b.Entries = append(b.Entries, entry.Encode(g))
		}
		for n := range height % 7 {
			tx := &entry.Transaction{Type: entry.KindTransfer, Header: entry.Header{Ledger: g.Hash(), ExpiryMillis: 99}}
			for range 1 + n%2 {
				segment := bytes.Repeat([]byte{byte(height)}, int(n)*100)
				b.Segments = append(b.Segments, segment)
				tx.Legs = append(tx.Legs, entry.Leg{
					Circuit: zk.Transfer, CircuitVersion: entry.CircuitVersion, OversightEpoch: 1, Sender: []zk.Field{field(), field()},
					Nullifiers:  []zk.Nullifier{zk.Nullifier(field()), zk.Nullifier(field())},
					Commitments: []zk.Commitment{zk.Commitment(field()), zk.Commitment(field())},
					Cipher:      [][2]zk.Field{{field(), field()}, {field(), field()}}, SegmentHash: sha256.Sum256(segment),
				})
			}
			b.Entries = append(b.Entries, entry.Encode(tx))
		}
		b.Entries = append(b.Entries, entry.Encode(&entry.State{Height: height, TimeMillis: b.Time, Supply: []entry.Supply{{Asset: 1}}}))
		for _, leaf := range b.Entries {
			hash.push(0, proof.LeafHash(leaf))
		}
		index += uint64(len(b.Entries))
		out = append(out, b)
	}
	return out, checkpointOf(index, root(hash.levels))
}

func checkpointOf(size uint64, root proof.Hash) []byte {
	return fmt.Appendf(nil, "ledger.aurelia.example\n%d\n%s\n\n\u2014 ledger.aurelia.example AAAA\n", size, base64.StdEncoding.EncodeToString(root[:]))
}

func seq(blocks []*settlement.Block) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func collect(l *Log) (out []*settlement.Block, err error) {
	for b, err := range l.Blocks() {
		if err != nil {
			return out, err
		}
		out = append(out, b)
	}
	return out, nil
}

func TestExportedLogReadsBackAsItWas(t *testing.T) {
	for _, n := range []int{1, 2, 5, 80, 400} {
		for _, segments := range []bool{true, false} {
			blocks, checkpoint := testLog(t, n)
			dir := filepath.Join(t.TempDir(), "log")
			if err := Create(t.Context(), dir, checkpoint, seq(blocks), segments, nil); err != nil {
				t.Fatalf("%d blocks: %v", n, err)
			}
			log, err := Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			if log.Size() != blocks[n-1].Size() || log.HasSegments() != segments || !bytes.Equal(log.GenesisBytes(), blocks[0].Entries[0]) ||
				log.Genesis().Name != "Aurelia" || !bytes.Equal(log.Checkpoint(), checkpoint) {
				t.Fatalf("%d blocks: %+v", n, log)
			}
			got, err := collect(log)
			if err != nil {
				t.Fatal(err)
			}
			want := blocks
			if !segments {
				want = nil
				for _, b := range blocks {
					c := *b
					c.Segments = nil
					want = append(want, &c)
				}
			}
			if len(got) != len(want) {
				t.Fatalf("%d blocks of %d", len(got), len(want))
			}
			for i := range want {
				if !reflect.DeepEqual(want[i], got[i]) {
					t.Fatalf("block %d of %d differs: %+v", i, n, got[i])
				}
			}
		}
	}
}

// TestTilesAreWhatTheGoChecksumDatabaseExpects compares the folder's root and tiles with golang.org/x/mod/sumdb/tlog, whose
// code shares nothing with the writer.
func TestTilesAreWhatTheGoChecksumDatabaseExpects(t *testing.T) {
	blocks, checkpoint := testLog(t, 400)
	dir := filepath.Join(t.TempDir(), "log")
	if err := Create(t.Context(), dir, checkpoint, seq(blocks), true, nil); err != nil {
		t.Fatal(err)
	}
	var stored []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = stored[x]
		}
		return out, nil
	})
	size := int64(0)
	for _, b := range blocks {
		for _, leaf := range b.Entries {
			hashes, err := tlog.StoredHashes(size, leaf, reader)
			if err != nil {
				t.Fatal(err)
			}
			stored = append(stored, hashes...)
			size++
		}
	}
	want, err := tlog.TreeHash(size, reader)
	if err != nil {
		t.Fatal(err)
	}
	tree, err := head(checkpoint)
	if err != nil || tlog.Hash(tree.Root) != want || tree.Size != uint64(size) {
		t.Fatalf("root %v, want %v (%v)", tree.Root, want, err)
	}
	tiles := tlog.NewTiles(8, 0, size)
	if len(tiles) < 5 {
		t.Fatalf("%d tiles: the log is too small for this test", len(tiles))
	}
	for _, tile := range tiles {
		want, err := tlog.ReadTileData(tile, reader)
		if err != nil {
			t.Fatal(err)
		}
		path := hashPath(tile.L, uint64(tile.N), tile.W)
		got, err := os.ReadFile(local(dir, path))
		if tile.W < tileWidth && os.IsNotExist(err) {
			continue // NewTiles lists every partial tile on the way, the folder holds the last
		}
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s differs: %v", path, err)
		}
	}
}

func TestExportStopsAtTheCheckpoint(t *testing.T) {
	blocks, _ := testLog(t, 20)
	_, checkpoint := testLog(t, 12)
	dir := filepath.Join(t.TempDir(), "log")
	if err := Create(t.Context(), dir, checkpoint, seq(blocks), true, nil); err != nil {
		t.Fatal(err)
	}
	log, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := collect(log); err != nil || len(got) != 12 {
		t.Fatalf("%d blocks, %v", len(got), err)
	}
}

func TestBadExportsLeaveNothingBehind(t *testing.T) {
	blocks, checkpoint := testLog(t, 12)
	other, _ := testLog(t, 12)
	other[3].Entries = other[4].Entries
	for name, tc := range map[string]struct {
		checkpoint []byte
		blocks     []*settlement.Block
	}{
		"too few blocks":            {checkpoint, blocks[:11]},
		"checkpoint inside a block": {checkpointOf(blocks[11].FirstIndex+1, proof.Hash{}), blocks},
		"other entries":             {checkpoint, other},
		"other root":                {checkpointOf(blocks[11].Size(), proof.Hash{1}), blocks},
		"a block missing":           {checkpoint, append(append([]*settlement.Block(nil), blocks[:5]...), blocks[6:]...)},
		"no checkpoint":             {[]byte("hello"), blocks},
		"empty checkpoint":          {checkpointOf(0, proof.Hash{}), blocks},
	} {
		dir := filepath.Join(t.TempDir(), "log")
		if err := Create(t.Context(), dir, tc.checkpoint, seq(tc.blocks), true, nil); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: a folder was left", name)
		}
	}
	broken := func(yield func(*settlement.Block, error) bool) { yield(nil, errors.New("disk")) }
	dir := filepath.Join(t.TempDir(), "log")
	if err := Create(t.Context(), dir, checkpoint, broken, true, nil); err == nil || !strings.Contains(err.Error(), "disk") {
		t.Error(err)
	}
	// The unfinished folder of a failed export is in nobody's way.
	if err := Create(t.Context(), dir, checkpoint, seq(blocks), true, nil); err != nil {
		t.Error(err)
	}
	if err := Create(t.Context(), dir, checkpoint, seq(blocks), true, nil); !errors.Is(err, ErrExists) {
		t.Errorf("overwritten: %v", err)
	}
}

// TestEveryDamagedFileIsNoticed changes a byte in every file, cuts every file, and removes every file of a small export.
// Hash tiles are for other clients: this reader computes them, so damage there does not concern it.
func TestEveryDamagedFileIsNoticed(t *testing.T) {
	blocks, checkpoint := testLog(t, 100)
	whole := filepath.Join(t.TempDir(), "log")
	if err := Create(t.Context(), whole, checkpoint, seq(blocks), true, nil); err != nil {
		t.Fatal(err)
	}
	read := func(dir string) error {
		log, err := Open(dir)
		if err != nil {
			return err
		}
		got, err := collect(log)
		if err != nil {
			return err
		}
		// Segments are covered by the hashes in the entries, which a reader of segments checks.
		for _, b := range got {
			next := 0
			for _, leaf := range b.Entries {
				n, err := legsOf(leaf)
				if err != nil {
					return err
				}
				if n == 0 {
					continue
				}
				tx, err := entry.DecodeTransaction(leaf)
				if err != nil {
					return err
				}
				if err := tx.CheckSegments(b.Segments[next : next+n]); err != nil {
					return err
				}
				next += n
			}
		}
		return nil
	}
	if err := read(whole); err != nil {
		t.Fatal(err)
	}
	checked := 0
	err := filepath.WalkDir(whole, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(whole, path)
		if strings.HasPrefix(rel, filepath.Join("tile", "0")) || strings.HasPrefix(rel, filepath.Join("tile", "1")) {
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		defer os.WriteFile(path, data, 0o644)
		for _, at := range []int{0, 1, len(data) / 2, len(data) - 1} {
			if rel == checkpointFile && at == len(data)-1 || rel == metaFile && at >= len(data)-2 {
				continue // a byte of the signature or of white space: not this package's to judge
			}
			bad := bytes.Clone(data)
			bad[at] ^= 0x01
			if err := os.WriteFile(path, bad, 0o644); err != nil {
				return err
			}
			if err := read(whole); err == nil && (rel != checkpointFile || at > len("ledger.aurelia.example")) {
				t.Errorf("%s: byte %d of %d changed, not noticed", rel, at, len(data))
			}
			checked++
		}
		if err := os.WriteFile(path, data[:len(data)/2], 0o644); err != nil {
			return err
		}
		if err := read(whole); err == nil {
			t.Errorf("%s: cut, not noticed", rel)
		}
		if err := os.Remove(path); err != nil {
			return err
		}
		if err := read(whole); err == nil {
			t.Errorf("%s: removed, not noticed", rel)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if checked < 12 {
		t.Fatalf("only %d changes were tried", checked)
	}
}

func FuzzSegments(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0})
	f.Add([]byte{0, 0, 0, 2, 1, 2})
	f.Add([]byte{0xff, 0xff})
	f.Add(checkpointOf(5, proof.Hash{1}))
	f.Fuzz(func(t *testing.T, b []byte) {
		if segments, err := splitSegments(b); err == nil {
			var again []byte
			for _, s := range segments {
				again = append(binary.BigEndian.AppendUint32(again, uint32(len(s))), s...)
			}
			if !bytes.Equal(again, b) {
				t.Fatal("segments")
			}
		}
		_, _ = head(b)
	})
}
