package pebblestore

import (
	"bytes"
	"encoding/binary"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// encodeHeader writes everything of a block but its entries and segments. The
// nullifiers and commitments stand in the entries already: the header says
// where, and spells out only what it does not find there.
func encodeHeader(b *settlement.Block, segmentGroups int) []byte {
	out := make([]byte, 0, 128+6*(len(b.Nullifiers)+len(b.Commitments)))
	out = binary.BigEndian.AppendUint64(out, b.Time)
	out = binary.BigEndian.AppendUint64(out, b.FirstIndex)
	out = append(out, b.Root[:]...)
	out = binary.AppendUvarint(out, uint64(len(b.Entries)))
	out = binary.AppendUvarint(out, uint64(len(b.Segments)))
	out = binary.AppendUvarint(out, uint64(segmentGroups))
	out = binary.AppendUvarint(out, uint64(len(b.Sequences)))
	for _, s := range b.Sequences {
		out = binary.AppendUvarint(out, s.Sequence)
		out = binary.AppendUvarint(out, s.EntryIndex-b.FirstIndex)
	}
	out = binary.AppendUvarint(out, uint64(len(b.Nullifiers)))
	find := finder{block: b}
	for i := range b.Nullifiers {
		out = find.appendRef(out, b.Nullifiers[i].EntryIndex, b.Nullifiers[i].Nullifier[:])
	}
	out = binary.AppendUvarint(out, uint64(len(b.Commitments)))
	find = finder{block: b}
	for i := range b.Commitments {
		c := &b.Commitments[i]
		out = find.appendRef(out, c.EntryIndex, c.Commitment[:])
		out = binary.AppendUvarint(out, uint64(c.Position.Tree))
		out = binary.AppendUvarint(out, uint64(c.Position.Index))
	}
	return out
}

// header is what encodeHeader wrote. Its block still lacks entries and
// segments, and with them the bytes that refs point to.
type header struct {
	block         *settlement.Block
	entries       int
	segments      int
	segmentGroups int
	nullifiers    []ref
	commitments   []ref
}

func decodeHeader(height uint64, row []byte) (*header, error) {
	r := rowReader{b: row}
	b := &settlement.Block{Height: height}
	h := &header{block: b}
	b.Time, b.FirstIndex = r.u64(), r.u64()
	copy(b.Root[:], r.take(32))
	// Counts of things in other rows: bounded where those are read.
	h.entries, h.segments, h.segmentGroups = int(r.uvarint()), int(r.uvarint()), int(r.uvarint())
	if n := r.count(); n > 0 {
		b.Sequences = make([]settlement.UsedSequence, n)
		for i := range b.Sequences {
			b.Sequences[i] = settlement.UsedSequence{Sequence: r.uvarint(), EntryIndex: b.FirstIndex + r.uvarint()}
		}
	}
	if n := r.count(); n > 0 {
		h.nullifiers = make([]ref, n)
		for i := range h.nullifiers {
			h.nullifiers[i] = r.ref()
		}
	}
	if n := r.count(); n > 0 {
		h.commitments = make([]ref, n)
		b.Commitments = make([]settlement.PlacedCommitment, n)
		for i := range h.commitments {
			h.commitments[i] = r.ref()
			tree, index := r.uvarint(), r.uvarint()
			if tree > 1<<16-1 || index > 1<<32-1 {
				r.bad = true
			}
			b.Commitments[i].Position = zk.Position{Tree: uint16(tree), Index: uint32(index)}
		}
	}
	return h, r.end(fmt.Sprintf("header of block %d", height))
}

// resolve fills in what the refs point to, once the entries are there.
func (h *header) resolve() error {
	b := h.block
	if len(h.nullifiers) > 0 {
		b.Nullifiers = make([]settlement.SpentNullifier, len(h.nullifiers))
	}
	for i, r := range h.nullifiers {
		value, err := r.bytes(b)
		if err != nil {
			return err
		}
		b.Nullifiers[i] = settlement.SpentNullifier{Nullifier: zk.Nullifier(value), EntryIndex: b.FirstIndex + r.entry}
	}
	for i, r := range h.commitments {
		value, err := r.bytes(b)
		if err != nil {
			return err
		}
		b.Commitments[i].Commitment, b.Commitments[i].EntryIndex = zk.Commitment(value), b.FirstIndex+r.entry
	}
	return nil
}

// ref is 32 bytes by their place: entry is relative to the block's first,
// offset counts in that entry. A ref with a literal holds the bytes itself.
type ref struct {
	entry, offset uint64
	literal       []byte
}

func (r *rowReader) ref() ref {
	out := ref{entry: r.uvarint()}
	if place := r.uvarint(); place > 0 {
		out.offset = place - 1
		return out
	}
	out.literal = bytes.Clone(r.take(32))
	return out
}

func (r ref) bytes(b *settlement.Block) ([32]byte, error) {
	if r.literal != nil {
		return [32]byte(r.literal), nil
	}
	if r.entry >= uint64(len(b.Entries)) || r.offset > uint64(len(b.Entries[r.entry])) || uint64(len(b.Entries[r.entry]))-r.offset < 32 {
		return [32]byte{}, corrupt(fmt.Sprintf("header of block %d", b.Height), errRow)
	}
	return [32]byte(b.Entries[r.entry][r.offset:]), nil
}

// finder makes refs. Values of one entry are looked for in their order, each
// behind the one before, so that the search is one pass over the entry.
type finder struct {
	block *settlement.Block
	entry uint64
	from  int
}

func (f *finder) appendRef(out []byte, entryIndex uint64, value []byte) []byte {
	entry := entryIndex - f.block.FirstIndex
	out = binary.AppendUvarint(out, entry)
	if entry != f.entry {
		f.entry, f.from = entry, 0
	}
	if entry < uint64(len(f.block.Entries)) {
		leaf := f.block.Entries[entry]
		if at := bytes.Index(leaf[f.from:], value); at >= 0 {
			at += f.from
			f.from = at + len(value)
			return binary.AppendUvarint(out, uint64(at)+1)
		}
	}
	return append(binary.AppendUvarint(out, 0), value...)
}

// chunkLengths groups items into rows: as many as fit target bytes and most
// items, but at least one.
func chunkLengths(items [][]byte, most int) []int {
	var lengths []int
	for start := 0; start < len(items); {
		size, end := len(items[start]), start+1
		for end < len(items) && end-start < most && size+len(items[end]) <= chunkBytes {
			size += len(items[end])
			end++
		}
		lengths = append(lengths, end-start)
		start = end
	}
	return lengths
}

// chunkSize is the exact length of the row that appendChunk writes.
func chunkSize(height uint64, items [][]byte) int {
	n := uvarintLen(height) + uvarintLen(uint64(len(items)))
	for _, item := range items {
		n += uvarintLen(uint64(len(item))) + len(item)
	}
	return n
}

// appendChunk writes height, count, the lengths and then the bytes of items.
func appendChunk(dst []byte, height uint64, items [][]byte) []byte {
	dst = binary.AppendUvarint(dst, height)
	dst = binary.AppendUvarint(dst, uint64(len(items)))
	for _, item := range items {
		dst = binary.AppendUvarint(dst, uint64(len(item)))
	}
	for _, item := range items {
		dst = append(dst, item...)
	}
	return dst
}

// decodeChunk returns items that share the row's memory.
func decodeChunk(row []byte) (height uint64, items [][]byte, err error) {
	r := rowReader{b: row}
	height = r.uvarint()
	lengths := make([]int, r.count())
	for i := range lengths {
		lengths[i] = r.count()
	}
	items = make([][]byte, len(lengths))
	for i, n := range lengths {
		items[i] = r.take(n)
	}
	return height, items, r.end("chunk")
}

func uvarintLen(v uint64) int {
	n := 1
	for v >= 0x80 {
		v >>= 7
		n++
	}
	return n
}
