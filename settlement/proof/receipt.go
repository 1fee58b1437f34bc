package proof

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"
)

// A Receipt shows that an entry is in the log: the entry, where it is, the path to a root, and the checkpoint with that root. It can
// be checked offline and years later with the policy alone. Its form is C2SP tlog-proof, with the entry as the extra line.
type Receipt struct {
	Index      uint64
	Entry      []byte // leaf bytes
	Path       []Hash
	Checkpoint []byte // signed by the log and by witnesses
}

// ErrReceipt: the bytes are no receipt in its one form.
var ErrReceipt = errors.New("receipt_malformed")

// MaxReceipt is the most bytes of a receipt that is looked at: an entry of 65,535 bytes in base64, a path and a checkpoint.
const MaxReceipt = 1 << 18

const (
	receiptHeader = "c2sp.org/tlog-proof@v1\n"
	maxPath       = 63 // sizes are below 2^63
)

// Marshal gives the receipt as text.
func (r *Receipt) Marshal() []byte {
	b := []byte(receiptHeader + "extra ")
	b = base64.StdEncoding.AppendEncode(b, r.Entry)
	b = fmt.Appendf(b, "\nindex %d\n", r.Index)
	for _, h := range r.Path {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), r.Checkpoint...)
}

// ParseReceipt reads what Marshal wrote, and only that. The checkpoint inside is not judged.
func ParseReceipt(b []byte) (*Receipt, error) {
	if len(b) > MaxReceipt {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrReceipt, len(b), MaxReceipt)
	}
	rest, ok := strings.CutPrefix(string(b), receiptHeader)
	if !ok {
		return nil, fmt.Errorf("%w: the first line is not c2sp.org/tlog-proof@v1", ErrReceipt)
	}
	r := &Receipt{}
	var err error
	line, rest, _ := strings.Cut(rest, "\n")
	extra, ok := strings.CutPrefix(line, "extra ")
	if r.Entry, err = base64.StdEncoding.DecodeString(extra); !ok || err != nil || len(r.Entry) == 0 {
		return nil, fmt.Errorf("%w: no entry in the extra line", ErrReceipt)
	}
	line, rest, _ = strings.Cut(rest, "\n")
	index, ok := strings.CutPrefix(line, "index ")
	if r.Index, err = strconv.ParseUint(index, 10, 64); !ok || err != nil || r.Index > math.MaxInt64 {
		return nil, fmt.Errorf("%w: no index", ErrReceipt)
	}
	for {
		line, rest, ok = strings.Cut(rest, "\n")
		if !ok || len(r.Path) > maxPath {
			return nil, fmt.Errorf("%w: no empty line after the path", ErrReceipt)
		}
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != len(Hash{}) {
			return nil, fmt.Errorf("%w: a hash of the path", ErrReceipt)
		}
		r.Path = append(r.Path, Hash(h))
	}
	r.Checkpoint = []byte(rest)
	if string(r.Marshal()) != string(b) {
		return nil, fmt.Errorf("%w: not in its one form", ErrReceipt)
	}
	return r, nil
}

// VerifyReceipt checks the checkpoint against the policy and the entry against the checkpoint. It returns the checkpoint; what the
// entry says is for the caller to decode from r.Entry, which is then known to be the leaf with that index.
func VerifyReceipt(p *Policy, r *Receipt, nowUnixSeconds uint64) (*Final, error) {
	f, err := p.Check(r.Checkpoint, nowUnixSeconds)
	if err != nil {
		return nil, err
	}
	if err := VerifyInclusion(f.Head, r.Index, LeafHash(r.Entry), r.Path); err != nil {
		return nil, err
	}
	return f, nil
}
