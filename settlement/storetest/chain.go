package storetest

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// Chain makes blocks that a store can hold, without any rule of the ledger: the
// bytes are random, the structure and the log's hashes are right. The hashes
// come from golang.org/x/mod/sumdb/tlog, not from the code that stores use.
type Chain struct {
	// Blocks made so far, from block 0 on.
	Blocks []*settlement.Block

	r      *rand.Rand
	hashes []tlog.Hash // stored hashes, in tlog's order
	seq    uint64
}

// Shape says how large a block is.
type Shape struct {
	Entries    int // besides the state entry
	EntryBytes int // of each; at least 100
	Nullifiers int // per entry
	Keys       int // per entry: once-only keys that do not stand in its bytes
	Outputs    int // per entry
	Segment    int // bytes of each entry's segment
}

// Payments is the shape of a block of two-in-two-out transfers, sized as the
// real ones are.
func Payments(n int) Shape {
	return Shape{Entries: n, EntryBytes: 1150, Nullifiers: 2, Outputs: 2, Segment: 190}
}

// NewChain makes a chain of one block, a genesis that no decoder reads.
func NewChain(seed uint64) *Chain {
	c := &Chain{r: rand.New(rand.NewPCG(seed, 1))}
	c.Next(Shape{Entries: 1, EntryBytes: 300})
	return c
}

// Genesis is block 0.
func (c *Chain) Genesis() *settlement.Block { return c.Blocks[0] }

// Random makes the next block with a shape drawn at random.
func (c *Chain) Random() *settlement.Block {
	s := Shape{Entries: c.r.IntN(12), EntryBytes: 100 + c.r.IntN(2000), Nullifiers: c.r.IntN(3), Keys: c.r.IntN(2), Outputs: c.r.IntN(4), Segment: c.r.IntN(300)}
	return c.Next(s)
}

// Next makes the next block.
func (c *Chain) Next(s Shape) *settlement.Block {
	b := &settlement.Block{Height: uint64(len(c.Blocks))}
	if len(c.Blocks) > 0 {
		last := c.Blocks[len(c.Blocks)-1]
		b.FirstIndex, b.Time = last.Size(), last.Time+uint64(c.r.IntN(50))
	}
	for i := range s.Entries {
		index := b.FirstIndex + uint64(i)
		leaf := c.bytes(max(s.EntryBytes, 100) + 32*(s.Nullifiers+s.Outputs))
		at := 50
		for range s.Nullifiers {
			var n zk.Nullifier
			copy(n[:], leaf[at:])
			b.Nullifiers = append(b.Nullifiers, settlement.SpentNullifier{Nullifier: n, EntryIndex: index})
			at += 32
		}
		for range s.Keys {
			b.Nullifiers = append(b.Nullifiers, settlement.SpentNullifier{Nullifier: zk.Nullifier(c.bytes(32)), EntryIndex: index})
		}
		for o := range s.Outputs {
			var cm zk.Commitment
			copy(cm[:], leaf[at:])
			if o == 2 {
				// Not every commitment has to stand in the bytes as it is.
				cm = zk.Commitment(c.bytes(32))
			}
			b.Commitments = append(b.Commitments, settlement.PlacedCommitment{
				Commitment: cm, EntryIndex: index,
				Position: zk.Position{Tree: uint16(index % 3), Index: c.r.Uint32()},
			})
			at += 32
		}
		if s.Nullifiers == 0 && b.Height > 0 {
			c.seq++
			b.Sequences = append(b.Sequences, settlement.UsedSequence{Sequence: c.seq, EntryIndex: index})
		} else if s.Segment > 0 {
			b.Segments = append(b.Segments, c.bytes(s.Segment))
		}
		b.Entries = append(b.Entries, leaf)
	}
	b.Entries = append(b.Entries, c.bytes(250)) // the state entry
	b.Anchor = settlement.Anchor{
		Height: b.Height, Time: b.Time, Tree: uint16(b.Height % 5), TreeSize: c.r.Uint32(),
		NoteRoot: zk.Root(c.bytes(32)), RegistryRoot: zk.Root(c.bytes(32)), ReadersRoot: zk.Root(c.bytes(32)),
	}
	b.Root = c.log(b)
	c.Blocks = append(c.Blocks, b)
	return b
}

// log appends a block's entries to the reference log and returns its root.
func (c *Chain) log(b *settlement.Block) [32]byte {
	for i, leaf := range b.Entries {
		stored, err := tlog.StoredHashes(int64(b.FirstIndex)+int64(i), leaf, c)
		if err != nil {
			panic(err)
		}
		c.hashes = append(c.hashes, stored...)
	}
	root, err := tlog.TreeHash(int64(b.Size()), c)
	if err != nil {
		panic(err)
	}
	return root
}

// ReadHashes implements tlog.HashReader.
func (c *Chain) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		if x >= int64(len(c.hashes)) {
			return nil, fmt.Errorf("hash %d of %d", x, len(c.hashes))
		}
		out[i] = c.hashes[x]
	}
	return out, nil
}

// bytes draws n bytes.
func (c *Chain) bytes(n int) []byte {
	out := make([]byte, n+7)
	for i := 0; i < n; i += 8 {
		binary.LittleEndian.PutUint64(out[i:], c.r.Uint64())
	}
	return out[:n:n]
}

// Check compares a store with the chain's blocks up to a height, row by row.
func (c *Chain) Check(t testing.TB, s settlement.Store, upTo uint64) {
	t.Helper()
	c.check(t, s, upTo)
}

// check compares a store with the chain's first blocks, row by row.
func (c *Chain) check(t testing.TB, s settlement.Store, upTo uint64) {
	t.Helper()
	c.checkFrom(t, s, 0, upTo)
}

// checkFrom leaves out blocks below from, but for the tiles.
func (c *Chain) checkFrom(t testing.TB, s settlement.Store, from, upTo uint64) {
	t.Helper()
	ctx := t.Context()
	size := c.Blocks[upTo].Size()
	height := from
	for got, err := range s.Blocks(ctx, from) {
		if err != nil {
			t.Fatalf("block %d: %v", height, err)
		}
		c.same(t, got, height)
		height++
	}
	if height != upTo+1 {
		t.Fatalf("the store iterates %d blocks, want %d", height, upTo+1)
	}
	for _, b := range c.Blocks[from : upTo+1] {
		anchor, err := s.Anchor(ctx, b.Height)
		if err != nil || anchor != b.Anchor {
			t.Fatalf("anchor %d: %+v, %v", b.Height, anchor, err)
		}
		c.checkHits(t, s, b, true)
		// First, last and one entry between.
		for _, i := range []int{0, len(b.Entries) / 2, len(b.Entries) - 1} {
			leaf, at, err := s.Entry(ctx, b.FirstIndex+uint64(i))
			if err != nil || at != b.Height || string(leaf) != string(b.Entries[i]) {
				t.Fatalf("entry %d of block %d: %d bytes in block %d, %v", i, b.Height, len(leaf), at, err)
			}
		}
	}
	for _, b := range c.Blocks[upTo+1:] {
		c.checkHits(t, s, b, false)
		if _, err := s.Block(ctx, b.Height); !isNotFound(err) {
			t.Fatalf("block %d above the head: %v", b.Height, err)
		}
		if _, err := s.Anchor(ctx, b.Height); !isNotFound(err) {
			t.Fatalf("anchor %d above the head: %v", b.Height, err)
		}
	}
	if _, _, err := s.Entry(ctx, size); !isNotFound(err) {
		t.Fatalf("entry %d behind the last: %v", size, err)
	}
	c.checkTiles(t, s, size)
}

func (c *Chain) checkHits(t testing.TB, s settlement.Store, b *settlement.Block, want bool) {
	t.Helper()
	asked := make([]zk.Nullifier, len(b.Nullifiers))
	for i, n := range b.Nullifiers {
		asked[i] = n.Nullifier
	}
	hits, err := s.Spent(t.Context(), asked)
	if err != nil || len(hits) != len(asked) {
		t.Fatalf("look up %d nullifiers of block %d: %d answers, %v", len(asked), b.Height, len(hits), err)
	}
	for i, hit := range hits {
		if hit != wantHit(want, b.Nullifiers[i].EntryIndex, b.Height) {
			t.Fatalf("nullifier %d of block %d: %+v", i, b.Height, hit)
		}
	}
	for _, q := range b.Sequences {
		hit, err := s.Sequence(t.Context(), q.Sequence)
		if err != nil || hit != wantHit(want, q.EntryIndex, b.Height) {
			t.Fatalf("sequence %d of block %d: %+v, %v", q.Sequence, b.Height, hit, err)
		}
	}
}

func wantHit(found bool, index, height uint64) settlement.Hit {
	if !found {
		return settlement.Hit{}
	}
	return settlement.Hit{Found: true, EntryIndex: index, Height: height}
}

// checkTiles compares every tile of the log at a size with the reference.
func (c *Chain) checkTiles(t testing.TB, s settlement.Store, size uint64) {
	t.Helper()
	for level := range 3 {
		for index := uint64(0); ; index++ {
			width := min(int64(size>>(8*level))-int64(index)*256, 256)
			got, err := s.Tile(t.Context(), uint8(level), index)
			if width <= 0 {
				if !isNotFound(err) {
					t.Fatalf("empty tile %d of level %d: %d bytes, %v", index, level, len(got), err)
				}
				break
			}
			want, wantErr := tlog.ReadTileData(tlog.Tile{H: 8, L: level, N: int64(index), W: int(width)}, c)
			if wantErr != nil {
				t.Fatal(wantErr)
			}
			if err != nil || string(got) != string(want) {
				t.Fatalf("tile %d of level %d at size %d: %d bytes, want %d, %v", index, level, size, len(got), len(want), err)
			}
		}
	}
}

func (c *Chain) same(t testing.TB, got *settlement.Block, height uint64) {
	t.Helper()
	want := c.Blocks[height]
	if err := want.Equal(got); err != nil {
		t.Fatal(err)
	}
	if len(got.Segments) != len(want.Segments) {
		t.Fatalf("block %d has %d segments, want %d", height, len(got.Segments), len(want.Segments))
	}
	for i := range want.Segments {
		if string(got.Segments[i]) != string(want.Segments[i]) {
			t.Fatalf("segment %d of block %d differs", i, height)
		}
	}
}
