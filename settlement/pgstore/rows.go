package pgstore

import (
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// Lists that belong to a block stand packed in its row (commitments in rows of
// their own), in elements of fixed
// length; numbers are big-endian and entry indexes count from the block's
// first.
//
//	sequences    sequence u64, entry u32
//	nullifiers   32 bytes, entry u32
//	commitments  32 bytes, tree u16, position u32, entry u32
//	tail         leaf hashes behind the last tile that is full after the block
//
// A bundle of entries or segments is a list of u32 length and bytes.
const (
	sequenceLen   = 8 + 4
	nullifierLen  = 32 + 4
	commitmentLen = 32 + 2 + 4 + 4
)

const (
	// bundleBytes is how much one row of entries holds before the next begins.
	// A reader of one entry reads one row.
	bundleBytes = 64 << 10
	// groupSegments and groupBytes bound a row of segments: about 256 outputs.
	groupSegments = 256
	groupBytes    = 32 << 10
	// commitmentsPerRow and maxNullifiers keep rows of lists below 4 MB.
	commitmentsPerRow = 1 << 14
	maxNullifiers     = 100_000
)

var errRow = errors.New("row does not decode")

func corrupt(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, settlement.ErrStoreCorrupt, err)
}

func packSequences(b *settlement.Block) []byte {
	out := make([]byte, 0, sequenceLen*len(b.Sequences))
	for _, q := range b.Sequences {
		out = binary.BigEndian.AppendUint64(out, q.Sequence)
		out = binary.BigEndian.AppendUint32(out, uint32(q.EntryIndex-b.FirstIndex))
	}
	return out
}

func packNullifiers(b *settlement.Block) []byte {
	out := make([]byte, 0, nullifierLen*len(b.Nullifiers))
	for i := range b.Nullifiers {
		n := &b.Nullifiers[i]
		out = append(out, n.Nullifier[:]...)
		out = binary.BigEndian.AppendUint32(out, uint32(n.EntryIndex-b.FirstIndex))
	}
	return out
}

func packCommitments(b *settlement.Block) []byte {
	out := make([]byte, 0, commitmentLen*len(b.Commitments))
	for i := range b.Commitments {
		c := &b.Commitments[i]
		out = append(out, c.Commitment[:]...)
		out = binary.BigEndian.AppendUint16(out, c.Position.Tree)
		out = binary.BigEndian.AppendUint32(out, c.Position.Index)
		out = binary.BigEndian.AppendUint32(out, uint32(c.EntryIndex-b.FirstIndex))
	}
	return out
}

// unpackLists fills a block's lists in. Its first index is known by then.
func unpackLists(b *settlement.Block, sequences, nullifiers, commitments []byte) error {
	if len(sequences)%sequenceLen != 0 || len(nullifiers)%nullifierLen != 0 || len(commitments)%commitmentLen != 0 {
		return errRow
	}
	if n := len(sequences) / sequenceLen; n > 0 {
		b.Sequences = make([]settlement.UsedSequence, n)
		for i := range b.Sequences {
			row := sequences[i*sequenceLen:]
			b.Sequences[i] = settlement.UsedSequence{Sequence: binary.BigEndian.Uint64(row), EntryIndex: b.FirstIndex + uint64(binary.BigEndian.Uint32(row[8:]))}
		}
	}
	if n := len(nullifiers) / nullifierLen; n > 0 {
		b.Nullifiers = make([]settlement.SpentNullifier, n)
		for i := range b.Nullifiers {
			row := nullifiers[i*nullifierLen:]
			b.Nullifiers[i] = settlement.SpentNullifier{Nullifier: zk.Nullifier(row[:32]), EntryIndex: b.FirstIndex + uint64(binary.BigEndian.Uint32(row[32:]))}
		}
	}
	if n := len(commitments) / commitmentLen; n > 0 {
		b.Commitments = make([]settlement.PlacedCommitment, n)
		for i := range b.Commitments {
			row := commitments[i*commitmentLen:]
			b.Commitments[i] = settlement.PlacedCommitment{
				Commitment: zk.Commitment(row[:32]),
				Position:   zk.Position{Tree: binary.BigEndian.Uint16(row[32:]), Index: binary.BigEndian.Uint32(row[34:])},
				EntryIndex: b.FirstIndex + uint64(binary.BigEndian.Uint32(row[38:])),
			}
		}
	}
	return nil
}

// bundles groups items into rows of at most most items and target bytes, but at
// least one item each. counts says how many are in each.
func bundles(items [][]byte, most, target int) (rows [][]byte, counts []int) {
	for start := 0; start < len(items); {
		size, end := 4+len(items[start]), start+1
		for end < len(items) && end-start < most && size+4+len(items[end]) <= target {
			size += 4 + len(items[end])
			end++
		}
		row := make([]byte, 0, size)
		for _, item := range items[start:end] {
			row = binary.BigEndian.AppendUint32(row, uint32(len(item)))
			row = append(row, item...)
		}
		rows, counts = append(rows, row), append(counts, end-start)
		start = end
	}
	return rows, counts
}

// unbundle appends the items of a row, which share its memory.
func unbundle(items [][]byte, row []byte) ([][]byte, error) {
	for len(row) > 0 {
		if len(row) < 4 {
			return nil, errRow
		}
		n := binary.BigEndian.Uint32(row)
		row = row[4:]
		if uint64(n) > uint64(len(row)) {
			return nil, errRow
		}
		items = append(items, row[:n:n])
		row = row[n:]
	}
	return items, nil
}

// digest reads a column of 32 bytes.
func digest[T ~[32]byte](dst *T, column []byte) error {
	if len(column) != 32 {
		return errRow
	}
	*dst = T(column)
	return nil
}
