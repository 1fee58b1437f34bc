package journal

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/comity-ledger/comity/settlement/proof"
)

var (
	errNoCosignature = errors.New("the answer holds no cosignature of this witness that verifies")
	errAhead         = errors.New("it holds a larger tree")
	errOtherHistory  = errors.New("it holds another history")
)

// maxConflicts bounds how often one call corrects the size a witness is believed to hold: others may submit at the same time.
const maxConflicts = 3

// cosignature asks one witness to cosign a head, in a checkpoint that the log signed, and gives the signature lines of its answer. The verdict
// says how final an error is.
func (j *Journal) cosignature(w *remote, head proof.Head, checkpoint []byte) (lines []byte, v verdict, err error) {
	ctx, cancel := context.WithTimeout(j.ctx, j.config.Timeout)
	defer cancel()
	for range maxConflicts {
		j.mu.Lock()
		old := w.size
		j.mu.Unlock()
		if old > head.Size {
			old = 0 // what it said last may have been wrong; ask again
		}
		path, err := proof.ProveConsistency(old, head.Size, HashReader(ctx, j.config.Tiles))
		if err != nil {
			return nil, 0, fmt.Errorf("prove consistency: %w", err)
		}
		status, body, err := j.post(ctx, w.URL, (&request{old, path, checkpoint}).marshal())
		switch {
		case err != nil:
			return nil, 0, err
		case status == http.StatusOK:
			return body, cosigned, nil
		case status == http.StatusConflict:
			size, err := conflictSize(body)
			if err != nil {
				return nil, 0, err
			}
			if size == old && old == head.Size {
				return nil, forked, fmt.Errorf("%w of these %d leaves", errOtherHistory, size)
			}
			j.mu.Lock()
			w.size = size
			j.mu.Unlock()
			if size > head.Size {
				return nil, ahead, fmt.Errorf("%w: %d leaves", errAhead, size)
			}
		case status == http.StatusUnprocessableEntity && old > 0:
			return nil, forked, fmt.Errorf("%w from %d leaves on: %s", errOtherHistory, old, oneLine(body))
		default:
			return nil, 0, fmt.Errorf("HTTP status %d: %s", status, oneLine(body))
		}
	}
	return nil, 0, errors.New("its size changed with every request")
}

func (j *Journal) post(ctx context.Context, url string, body []byte) (int, []byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(url, "/")+"/add-checkpoint", bytes.NewReader(body))
	if err != nil {
		return 0, nil, err
	}
	req.Header.Set("Content-Type", "text/plain; charset=utf-8")
	resp, err := j.config.HTTP.Do(req)
	if err != nil {
		return 0, nil, err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, proof.MaxCheckpoint+1))
	if err != nil {
		return 0, nil, fmt.Errorf("read the answer: %w", err)
	}
	if len(answer) > proof.MaxCheckpoint {
		return 0, nil, fmt.Errorf("an answer of more than %d bytes", proof.MaxCheckpoint)
	}
	return resp.StatusCode, answer, nil
}

// conflictSize reads the body of a 409: the size in decimal and a line end.
func conflictSize(body []byte) (uint64, error) {
	text, ok := strings.CutSuffix(string(body), "\n")
	size, err := strconv.ParseUint(text, 10, 63)
	if !ok || err != nil || strconv.FormatUint(size, 10) != text {
		return 0, errors.New("a conflict that does not name a size")
	}
	return size, nil
}

// oneLine makes an answer fit for a log line: its first line, printable, at most 200 bytes.
func oneLine(b []byte) string {
	line, _, _ := strings.Cut(string(b[:min(len(b), 200)]), "\n")
	return strconv.QuoteToASCII(line)
}
