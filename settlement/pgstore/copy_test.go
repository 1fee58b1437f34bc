package pgstore

import (
	"bytes"
	"errors"
	"path/filepath"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// history is a ledger with privileged entries, transfers and an open hold.
func history(t *testing.T) *ledgertest.Bed {
	b := ledgertest.NewBed(5)
	step := func(e ...any) {
		t.Helper()
		b.Now += 100
		for _, r := range b.Submit(e...) {
			if r.Status != settlement.Accepted {
				t.Fatal(r.Refusal)
			}
		}
	}
	own := b.Owner()
	step(b.Register(5, own))
	step(b.OpenProgramme(7, entry.StatusOpen))
	step(b.Issue(ledgertest.AUR, 7, 1000))
	step(b.Transfer(), b.Prove(b.Tx(entry.KindTransfer, zk.Disburse64)))
	step(b.Freeze(own, true))
	step(b.Redeem(ledgertest.AUR, 7, 10))
	_, payee := b.Key()
	_, attestor := b.Key()
	step(b.Prove(b.Holding(0, &entry.Attested{Until: b.Now + 100_000, Payee: payee, Statement: entry.StatementDelivery, Threshold: 1, Attestors: []entry.SignerKey{attestor}})))
	for range 130 { // over a full tile
		step(b.Transfer())
	}
	return b
}

// move copies a ledger as the command does, and returns what the target holds.
func move(t *testing.T, src settlement.Store, target settlement.Opener) settlement.Store {
	t.Helper()
	first, err := src.Block(t.Context(), 0)
	if err != nil {
		t.Fatal(err)
	}
	dst, err := target.Create(t.Context(), first)
	if err != nil {
		t.Fatal(err)
	}
	head, err := src.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := replay.Copy(t.Context(), src, dst, nil); err != nil {
		t.Fatal(err)
	}
	if err := replay.Same(t.Context(), src, dst, head, nil); err != nil {
		t.Fatal(err)
	}
	return dst
}

func pebble(t *testing.T) settlement.Opener {
	t.Helper()
	o, err := pebblestore.New(pebblestore.Config{Dir: filepath.Join(t.TempDir(), "ledger")})
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// TestLedgerMovesBetweenStoresByteForByte moves a ledger from Pebble to
// PostgreSQL and back, and compares everything that both ends hold.
func TestLedgerMovesBetweenStoresByteForByte(t *testing.T) {
	bed := history(t)
	origin, err := pebble(t).Create(t.Context(), bed.Blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	defer origin.Close()
	head, err := origin.Acquire(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range bed.Blocks[1:] {
		head = appendBlock(t, origin, head, b)
	}
	snapshot := bed.State.Marshal()
	if err := errors.Join(origin.SaveSnapshot(t.Context(), bed.State.Height(), snapshot), origin.SaveCheckpoint(t.Context(), head.Size, []byte("a note"))); err != nil {
		t.Fatal(err)
	}
	between := move(t, origin, newMedium(t, pgtest.Shared(t)))
	defer between.Close()
	end := move(t, between, pebble(t))
	defer end.Close()

	for i, want := range bed.Blocks {
		got, err := end.Block(t.Context(), uint64(i))
		if err != nil {
			t.Fatal(err)
		}
		if err := want.Equal(got); err != nil {
			t.Fatal(err)
		}
		if len(got.Segments) != len(want.Segments) {
			t.Fatalf("block %d: %d segments, want %d", i, len(got.Segments), len(want.Segments))
		}
		for j := range want.Segments {
			if !bytes.Equal(got.Segments[j], want.Segments[j]) {
				t.Fatalf("segment %d of block %d differs", j, i)
			}
		}
	}
	for level := range uint8(2) {
		want, err1 := origin.Tile(t.Context(), level, 0)
		got, err2 := end.Tile(t.Context(), level, 0)
		mid, err3 := between.Tile(t.Context(), level, 0)
		if err := errors.Join(err1, err2, err3); err != nil || !bytes.Equal(got, want) || !bytes.Equal(mid, want) {
			t.Fatalf("tile of level %d differs: %v", level, err)
		}
	}
	if n, b, err := end.Snapshot(t.Context()); err != nil || n != bed.State.Height() || !bytes.Equal(b, snapshot) {
		t.Fatalf("snapshot %d: %v", n, err)
	}
	if n, b, err := end.Checkpoint(t.Context()); err != nil || n != head.Size || string(b) != "a note" {
		t.Fatalf("checkpoint %d %q: %v", n, b, err)
	}
	state, err := replay.Restore(t.Context(), end, nil, nil)
	if err != nil || !bytes.Equal(state.Marshal(), snapshot) {
		t.Fatalf("state after two moves: %v", err)
	}
	if _, err := newMedium(t, pgtest.Shared(t)).Create(t.Context(), bed.Blocks[1]); err == nil {
		t.Fatal("block 1 founded a ledger")
	}
}

// TestDamagedCopyIsNoticed changes one thing of a copy at a time.
func TestDamagedCopyIsNoticed(t *testing.T) {
	bed := history(t)
	for name, damage := range map[string]string{
		"a segment":                 `UPDATE @.segments SET bundle = set_byte(bundle, 20, get_byte(bundle, 20) # 1) WHERE height = 4`,
		"an entry":                  `UPDATE @.entries SET bundle = set_byte(bundle, 90, get_byte(bundle, 90) # 1) WHERE height = 4`,
		"a packed nullifier":        `UPDATE @.blocks SET nullifiers = set_byte(nullifiers, 3, get_byte(nullifiers, 3) # 1) WHERE height = 4`,
		"where a commitment stands": `UPDATE @.commitments SET packed = set_byte(packed, 36, get_byte(packed, 36) # 1) WHERE height = 4`,
		"a root":                    `UPDATE @.blocks SET note_root = set_byte(note_root, 3, get_byte(note_root, 3) # 1) WHERE height = 4`,
		"the checkpoint":            `UPDATE @.newest SET bytes = '\x00' WHERE kind = 'checkpoint'`,
		"the head":                  `UPDATE @.head SET root = set_byte(root, 3, get_byte(root, 3) # 1) WHERE id = 1`,
		"a missing row":             `DELETE FROM @.entries WHERE height = 4`,
	} {
		t.Run(name, func(t *testing.T) {
			src, err := pebble(t).Create(t.Context(), bed.Blocks[0])
			if err != nil {
				t.Fatal(err)
			}
			defer src.Close()
			head, err := src.Acquire(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			for _, b := range bed.Blocks[1:12] {
				head = appendBlock(t, src, head, b)
			}
			if err := src.SaveCheckpoint(t.Context(), 3, []byte("a note")); err != nil {
				t.Fatal(err)
			}
			m := newMedium(t, pgtest.Shared(t))
			dst := move(t, src, m)
			defer dst.Close()
			if head, err = src.Acquire(t.Context()); err != nil {
				t.Fatal(err)
			}
			m.exec(t, damage)
			if err := replay.Same(t.Context(), src, dst, head, nil); !errors.Is(err, replay.ErrDiffers) && !errors.Is(err, settlement.ErrStoreCorrupt) {
				t.Fatalf("not noticed: %v", err)
			}
		})
	}
}
