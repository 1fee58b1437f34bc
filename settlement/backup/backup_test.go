package backup

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

// world is a ledger with money, freezes and a business day in it.
func world(t *testing.T) *ledgertest.Bed {
	t.Helper()
	b := ledgertest.NewBed(1)
	own := b.Owner()
	for _, e := range []func() any{
		func() any { return b.Register(5, own) },
		func() any { return b.Issue(ledgertest.AUR, 0, 1000) },
		func() any { return b.Transfer() },
		func() any { return b.Signed(&entry.Close{Header: b.Next(), Date: 20260202, Action: entry.DayOpens}) },
		func() any { return b.Transfer() },
		func() any { return b.Freeze(own, true) },
	} {
		b.Now += 7
		if r := b.Submit(e())[0]; r.Status != settlement.Accepted {
			t.Fatal(r.Refusal)
		}
	}
	return b
}

func blocksOf(b *ledgertest.Bed) func(func(*settlement.Block, error) bool) {
	return func(yield func(*settlement.Block, error) bool) {
		for _, block := range b.Blocks {
			if !yield(block, nil) {
				return
			}
		}
	}
}

// final is what the witnesses have cosigned: the log up to the block before the last two.
func final(b *ledgertest.Bed) proof.Head {
	block := b.Blocks[len(b.Blocks)-3]
	return proof.Head{Size: block.Size(), Root: block.Root}
}

var made = time.Date(2026, 2, 2, 3, 4, 5, 0, time.UTC)

func source(b *ledgertest.Bed) Source {
	return Source{Genesis: b.Genesis, Checkpoint: []byte("a signed note"), Head: final(b), Blocks: blocksOf(b), Key: []byte("encrypted"), Now: made, chunk: 2000}
}

func create(t *testing.T, b *ledgertest.Bed) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "backup")
	m, err := Create(t.Context(), dir, source(b))
	if err != nil {
		t.Fatal(err)
	}
	if len(m.Files) < 6 || m.Size != b.State.LogSize() || m.Height != b.State.Height() {
		t.Fatalf("%+v", m)
	}
	return dir
}

func opener(t *testing.T, dir string) settlement.Opener {
	t.Helper()
	o, err := pebblestore.New(pebblestore.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

func TestBackupRestoresTheSameLedger(t *testing.T) {
	b := world(t)
	dir := create(t, b)
	back, err := Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(back.Key) != "encrypted" || string(back.Checkpoint) != "a signed note" || back.Genesis.Hash() != b.Hash {
		t.Errorf("%+v", back.Manifest)
	}
	state, err := back.Verify(t.Context(), final(b), b.Verifier, nil)
	if err != nil || !bytes.Equal(state.Marshal(), b.State.Marshal()) {
		t.Fatalf("verified as another state: %v", err)
	}
	place := filepath.Join(t.TempDir(), "store")
	store, state, err := back.Restore(t.Context(), final(b), b.Verifier, opener(t, place), nil)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(state.Marshal(), b.State.Marshal()) {
		t.Error("restored another state")
	}
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	if store, err = opener(t, place).Open(t.Context(), b.Hash); err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	for _, want := range b.Blocks {
		got, err := store.Block(t.Context(), want.Height)
		if err != nil || want.Equal(got) != nil || len(got.Segments) != len(want.Segments) {
			t.Fatalf("block %d: %v, %v", want.Height, err, want.Equal(got))
		}
		for i := range want.Segments {
			if !bytes.Equal(got.Segments[i], want.Segments[i]) {
				t.Errorf("block %d: segment %d differs", want.Height, i)
			}
		}
	}
	size, note, err := store.Checkpoint(t.Context())
	if err != nil || size != final(b).Size || string(note) != "a signed note" {
		t.Errorf("checkpoint %d %q, %v", size, note, err)
	}
	again, err := replay.Restore(t.Context(), store, nil, func(height, _ uint64) { t.Errorf("the snapshot was not used: block %d", height) })
	if err != nil || !bytes.Equal(again.Marshal(), b.State.Marshal()) {
		t.Errorf("a node starts from another state: %v", err)
	}
	if _, _, err := back.Restore(t.Context(), final(b), b.Verifier, opener(t, place), nil); !errors.Is(err, settlement.ErrStoreInUse) && !errors.Is(err, settlement.ErrStoreExists) {
		t.Errorf("restored over a ledger: %v", err)
	}
}

func TestBackupNeverOverwrites(t *testing.T) {
	b := world(t)
	dir := create(t, b)
	if _, err := Create(t.Context(), dir, source(b)); !errors.Is(err, ErrExists) {
		t.Errorf("%v", err)
	}
	// One that was cut short is no backup, and is replaced.
	short := filepath.Join(t.TempDir(), "short")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Create(ctx, short, source(b)); !errors.Is(err, context.Canceled) {
		t.Fatalf("%v", err)
	}
	if _, err := Open(short, nil); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	if _, err := Open(short+".partial", nil); !errors.Is(err, ErrNone) {
		t.Errorf("%v", err)
	}
	if _, err := Create(t.Context(), short, source(b)); err != nil {
		t.Error(err)
	}
}

// Every file may be gone, short, long or changed in any one byte: it is named, before anything is read from it.
func TestDamageIsNamed(t *testing.T) {
	b := world(t)
	dir := create(t, b)
	files, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		path := filepath.Join(dir, f.Name())
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		try := func(name string, bad []byte, want ...error) {
			t.Helper()
			if bad == nil {
				err = os.Remove(path)
			} else {
				err = os.WriteFile(path, bad, 0o600)
			}
			if err != nil {
				t.Fatal(err)
			}
			_, err := Open(dir, nil)
			found := false
			for _, w := range want {
				found = found || errors.Is(err, w)
			}
			if !found || bad != nil && !strings.Contains(err.Error(), f.Name()) && !errors.Is(err, ErrNone) {
				t.Errorf("%s, %s: %v", f.Name(), name, err)
			}
			if err := os.WriteFile(path, good, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if f.Name() == manifestFile {
			try("gone", nil, ErrNone)
			try("cut", good[:len(good)/2], ErrDamaged)
			try("other format", bytes.Replace(good, []byte(Format), []byte("comity-backup/v2"), 1), ErrNone)
			try("unknown key", bytes.Replace(good, []byte(`"name"`), []byte(`"nmae"`), 1), ErrDamaged)
			try("a space more", append(bytes.Clone(good), ' '), ErrDamaged)
			try("a file outside", bytes.Replace(good, []byte("blocks-000000"), []byte("../../../etc/"), 1), ErrDamaged)
			continue
		}
		try("gone", nil, ErrTruncated)
		try("empty", []byte{}, ErrTruncated)
		try("one byte short", good[:len(good)-1], ErrTruncated)
		try("one byte long", append(bytes.Clone(good), 0), ErrDamaged)
		for _, at := range []int{0, len(good) / 2, len(good) - 1} {
			bad := bytes.Clone(good)
			bad[at] ^= 1
			try("a bit", bad, ErrDamaged)
		}
	}
	if _, err := Open(dir, nil); err != nil {
		t.Fatal(err)
	}
}

// lie makes a backup whose hashes fit what somebody put into it.
func lie(t *testing.T, b *ledgertest.Bed, change func(*Source)) (*Backup, error) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "lie")
	from := source(b)
	change(&from)
	if _, err := Create(t.Context(), dir, from); err != nil {
		return nil, err
	}
	return Open(dir, nil)
}

func TestForgedBackupsDoNotVerify(t *testing.T) {
	b := world(t)
	edit := func(change func(*settlement.Block)) func(*Source) {
		return func(s *Source) {
			s.Blocks = func(yield func(*settlement.Block, error) bool) {
				for _, block := range b.Blocks {
					mine := *block
					mine.Entries, mine.Segments = append([][]byte(nil), block.Entries...), append([][]byte(nil), block.Segments...)
					change(&mine)
					if !yield(&mine, nil) {
						return
					}
				}
			}
		}
	}
	last := uint64(len(b.Blocks) - 1)
	for name, c := range map[string]struct {
		change func(*Source)
		check  func(error) bool
	}{
		"a changed entry past the checkpoint": {edit(func(x *settlement.Block) {
			if x.Height == last-1 {
				x.Entries[0] = append([]byte(nil), x.Entries[0]...)
				x.Entries[0][len(x.Entries[0])-2] ^= 1 // a proof
			}
		}), func(err error) bool {
			var broken *replay.Error
			return errors.As(err, &broken) && broken.Height == last-1
		}},
		"a segment": {edit(func(x *settlement.Block) {
			if x.Height == last-1 {
				x.Segments[0] = []byte("nothing")
			}
		}), func(err error) bool { return errors.Is(err, ErrDamaged) && strings.Contains(err.Error(), "entry ") }},
		"a segment too many": {edit(func(x *settlement.Block) {
			if x.Height == 1 {
				x.Segments = append(x.Segments, []byte("nothing"))
			}
		}), func(err error) bool { return errors.Is(err, ErrDamaged) && strings.Contains(err.Error(), "block 1") }},
	} {
		back, err := lie(t, b, c.change)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if _, err := back.Verify(t.Context(), final(b), b.Verifier, nil); !c.check(err) {
			t.Errorf("%s: verified with %v", name, err)
		}
		place := filepath.Join(t.TempDir(), "store")
		if _, _, err := back.Restore(t.Context(), final(b), b.Verifier, opener(t, place), nil); !c.check(err) {
			t.Errorf("%s: restored with %v", name, err)
		}
	}
	// What does not reach or fit the checkpoint is no backup in the first place.
	for name, change := range map[string]func(*Source){
		"an end before the checkpoint": edit(func(*settlement.Block) {}),
		"another root":                 func(s *Source) { s.Head.Root[0] ^= 1 },
		"a hole":                       edit(func(x *settlement.Block) { x.Height += x.Height / 3 }),
	} {
		if _, err := lie(t, b, func(s *Source) {
			change(s)
			if strings.HasPrefix(name, "an end") {
				s.Head.Size += 100
			}
		}); !errors.Is(err, settlement.ErrStoreCorrupt) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A checkpoint of another log, and a manifest that claims another head.
	back, err := Open(create(t, b), nil)
	if err != nil {
		t.Fatal(err)
	}
	wrong := final(b)
	wrong.Root[0] ^= 1
	if _, err := back.Verify(t.Context(), wrong, b.Verifier, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("another root: %v", err)
	}
	wrong = final(b)
	wrong.Size++
	if _, err := back.Verify(t.Context(), wrong, b.Verifier, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("a size within a block: %v", err)
	}
	root, err := hex.DecodeString(back.Manifest.Root)
	if err != nil {
		t.Fatal(err)
	}
	root[0] ^= 1
	back.Manifest.Root = hex.EncodeToString(root)
	if _, err := back.Verify(t.Context(), final(b), b.Verifier, nil); !errors.Is(err, ErrDamaged) {
		t.Errorf("another root in the manifest: %v", err)
	}
}

// Whatever a blocks file holds, reading it ends and takes no more memory than the file.
func FuzzBlocks(f *testing.F) {
	b := ledgertest.NewBed(1)
	f.Add(appendBlock(nil, b.Blocks[0]))
	f.Add([]byte{})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r := newReader(bytes.NewReader(raw), uint64(len(raw)))
		var again []byte
		for r.left > 0 {
			block, err := r.block()
			if err != nil {
				return
			}
			again = appendBlock(again, block)
		}
		if !bytes.Equal(again, raw) {
			t.Fatalf("%x encodes as %x", raw, again)
		}
	})
}
