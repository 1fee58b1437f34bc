package journal

import (
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/comity-ledger/comity/settlement/proof"
)

const (
	maxProofLines = 63      // C2SP tlog-witness
	maxRequest    = 1 << 17 // bytes: 63 hashes and a checkpoint with its signatures
	sizeType      = "text/x.tlog.size"
)

var errRequest = errors.New("request_malformed")

// request is the body of POST /add-checkpoint (C2SP tlog-witness): the size the witness is believed to hold, a consistency proof
// from there, and the signed checkpoint.
type request struct {
	old        uint64
	path       []proof.Hash
	checkpoint []byte
}

func (r *request) marshal() []byte {
	b := fmt.Appendf(nil, "old %d\n", r.old)
	for _, h := range r.path {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(b, '\n'), r.checkpoint...)
}

// parseRequest reads what marshal writes, and only that.
func parseRequest(b []byte) (*request, error) {
	line, rest, _ := strings.Cut(string(b), "\n")
	text, ok := strings.CutPrefix(line, "old ")
	old, err := strconv.ParseUint(text, 10, 63)
	if !ok || err != nil || strconv.FormatUint(old, 10) != text {
		return nil, fmt.Errorf("%w: want the line \"old SIZE\"", errRequest)
	}
	r := &request{old: old}
	for {
		if line, rest, ok = strings.Cut(rest, "\n"); !ok {
			return nil, fmt.Errorf("%w: no empty line after the proof", errRequest)
		}
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != len(proof.Hash{}) || base64.StdEncoding.EncodeToString(h) != line || len(r.path) == maxProofLines {
			return nil, fmt.Errorf("%w: want at most %d hashes in base64, a line each", errRequest, maxProofLines)
		}
		r.path = append(r.path, proof.Hash(h))
	}
	r.checkpoint = []byte(rest)
	return r, nil
}
