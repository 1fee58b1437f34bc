package backup

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// reader takes records off a blocks file of a known length; nothing is allocated for what the rest of the file cannot hold.
type reader struct {
	src  *bufio.Reader
	left uint64
	err  error
}

func newReader(src io.Reader, size uint64) *reader {
	return &reader{src: bufio.NewReaderSize(src, 1<<20), left: size}
}

var errEnds = errors.New("a record ends early")

func (r *reader) bytes(n uint64) []byte {
	if r.err == nil && n > r.left {
		r.err = errEnds
	}
	if r.err != nil {
		return nil
	}
	out := make([]byte, n)
	if _, err := io.ReadFull(r.src, out); err != nil {
		r.err = errEnds
		return nil
	}
	r.left -= n
	return out
}

func (r *reader) u64() uint64 {
	if b := r.bytes(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.bytes(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) list(most uint32) [][]byte {
	n := r.u32()
	if r.err == nil && uint64(n)*4 > r.left {
		r.err = errEnds
	}
	if r.err != nil || n == 0 {
		return nil
	}
	out := make([][]byte, 0, n)
	for range n {
		size := r.u32()
		if r.err == nil && size > most {
			r.err = errors.New("an entry or a segment is longer than the limit")
		}
		if r.err != nil {
			return nil
		}
		out = append(out, r.bytes(uint64(size)))
	}
	return out
}

func (r *reader) block() (*settlement.Block, error) {
	b := &settlement.Block{Height: r.u64(), Time: r.u64(), FirstIndex: r.u64()}
	b.Entries, b.Segments = r.list(entry.MaxEntry), r.list(entry.MaxSegment)
	if r.err == nil && len(b.Entries) == 0 {
		r.err = errors.New("a block without entries")
	}
	if r.err != nil {
		return nil, r.err
	}
	return b, nil
}
