package pebblestore

import (
	"encoding/binary"
	"errors"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// layoutVersion names the meaning of every row below. A program that reads
// another one refuses (settlement.ErrNewerVersion).
const layoutVersion = 1

// The rows. The first byte of a key is its family; numbers are big-endian, so
// that every family but nullifiers grows at its end and is never rewritten by
// compaction, only moved.
//
//	m <name>                        meta: version, genesis, head
//	a <height>                      anchor
//	b <height>                      block header: everything but entries and segments
//	c                               newest cosigned checkpoint
//	e <first log index>             a chunk of consecutive entries of one block
//	n <partition u32> <nullifier>   uvarint entry index, uvarint height
//	p                               newest snapshot of the state
//	q <sequence>                    uvarint entry index, uvarint height
//	s <height> <group u32>          a group of ciphertext segments of one block
//	t <level> <tile index>          a full tile of the log, 256 hashes
const (
	famMeta       = 'm'
	famAnchor     = 'a'
	famHeader     = 'b'
	famCheckpoint = 'c'
	famEntries    = 'e'
	famNullifiers = 'n'
	famSnapshot   = 'p'
	famSequences  = 'q'
	famSegments   = 's'
	famTiles      = 't'
)

var (
	keyVersion    = []byte("mversion")
	keyGenesis    = []byte("mgenesis")
	keyHead       = []byte("mhead")
	keyCheckpoint = []byte{famCheckpoint}
	keySnapshot   = []byte{famSnapshot}
)

const (
	// chunkBytes is how much one row of entries or segments holds before the
	// next begins. A reader of one entry reads one chunk.
	chunkBytes = 64 << 10
	// groupSegments is the most segments in one row.
	groupSegments = 256
)

func key8(family byte, n uint64) []byte {
	return binary.BigEndian.AppendUint64(append(make([]byte, 0, 13), family), n)
}

func nullifierKey(partition uint32, n *zk.Nullifier) [37]byte {
	var k [37]byte
	k[0] = famNullifiers
	binary.BigEndian.PutUint32(k[1:], partition)
	copy(k[5:], n[:])
	return k
}

func segmentKey(height uint64, group uint32) []byte {
	return binary.BigEndian.AppendUint32(key8(famSegments, height), group)
}

func tileKey(level uint8, index uint64) []byte {
	return binary.BigEndian.AppendUint64([]byte{famTiles, level}, index)
}

// headRow is the one row that every append and every acquisition rewrites: the
// compare-and-set goes against it.
type headRow struct {
	settlement.Head
	Partition uint32 // of nullifiers, the one that takes new ones
	InPart    uint64 // nullifiers in it
	Spent     uint64 // nullifiers in all partitions
}

func (h headRow) encode() []byte {
	b := make([]byte, 0, 76)
	b = binary.BigEndian.AppendUint64(b, h.Epoch)
	b = binary.BigEndian.AppendUint64(b, h.Height)
	b = binary.BigEndian.AppendUint64(b, h.Size)
	b = append(b, h.Root[:]...)
	b = binary.BigEndian.AppendUint32(b, h.Partition)
	b = binary.BigEndian.AppendUint64(b, h.InPart)
	return binary.BigEndian.AppendUint64(b, h.Spent)
}

func decodeHead(b []byte) (h headRow, err error) {
	r := rowReader{b: b}
	h.Epoch, h.Height, h.Size = r.u64(), r.u64(), r.u64()
	copy(h.Root[:], r.take(32))
	h.Partition, h.InPart, h.Spent = r.u32(), r.u64(), r.u64()
	return h, r.end("head")
}

func encodeAnchor(a settlement.Anchor) []byte {
	b := make([]byte, 0, 110)
	b = binary.BigEndian.AppendUint64(b, a.Time)
	b = binary.BigEndian.AppendUint16(b, a.Tree)
	b = binary.BigEndian.AppendUint32(b, a.TreeSize)
	b = append(b, a.NoteRoot[:]...)
	b = append(b, a.RegistryRoot[:]...)
	return append(b, a.ReadersRoot[:]...)
}

func decodeAnchor(height uint64, b []byte) (a settlement.Anchor, err error) {
	r := rowReader{b: b}
	a.Height, a.Time = height, r.u64()
	a.Tree, a.TreeSize = r.u16(), r.u32()
	copy(a.NoteRoot[:], r.take(32))
	copy(a.RegistryRoot[:], r.take(32))
	copy(a.ReadersRoot[:], r.take(32))
	return a, r.end("anchor")
}

func encodeHit(entryIndex, height uint64) []byte {
	return binary.AppendUvarint(binary.AppendUvarint(make([]byte, 0, 10), entryIndex), height)
}

func decodeHit(b []byte) (settlement.Hit, error) {
	r := rowReader{b: b}
	h := settlement.Hit{Found: true, EntryIndex: r.uvarint(), Height: r.uvarint()}
	return h, r.end("look-up")
}

// rowReader reads a row; the first misfit makes every later read give zeros and
// end report it.
type rowReader struct {
	b   []byte
	bad bool
}

var errRow = errors.New("row does not decode")

func (r *rowReader) take(n int) []byte {
	if n < 0 || n > len(r.b) {
		r.bad, r.b = true, nil
		return nil
	}
	out := r.b[:n:n]
	r.b = r.b[n:]
	return out
}

func (r *rowReader) u16() uint16 {
	if b := r.take(2); b != nil {
		return binary.BigEndian.Uint16(b)
	}
	return 0
}

func (r *rowReader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *rowReader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *rowReader) uvarint() uint64 {
	v, n := binary.Uvarint(r.b)
	if n <= 0 {
		r.bad, r.b = true, nil
		return 0
	}
	r.b = r.b[n:]
	return v
}

// count reads the length of a list whose elements take at least one byte each,
// so that a corrupt row cannot ask for more memory than it has bytes.
func (r *rowReader) count() int {
	n := r.uvarint()
	if n > uint64(len(r.b)) {
		r.bad, r.b = true, nil
		return 0
	}
	return int(n)
}

func (r *rowReader) end(what string) error {
	if r.bad || len(r.b) != 0 {
		return corrupt(what, errRow)
	}
	return nil
}
