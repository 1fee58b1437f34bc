package proof

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Decisions shows anybody who knows a log's key that one log holds two different entries, each under a checkpoint that the log signed:
// the form in which two decisions for one hold travel. It needs no quorum and no clock: the log's own signature is what it misused.
// What the two entries say, and whether they exclude each other, is for whoever knows entries to judge.
type Decisions struct {
	First, Second []byte // receipts as [Receipt.Marshal] writes them, at most MaxReceipt bytes each
}

var (
	// ErrDecisions: the bytes are no pair of receipts in its one form.
	ErrDecisions = errors.New("decisions_malformed")
	// ErrNoDecisions: it is not shown that the log holds both entries, or they are one entry.
	ErrNoDecisions = errors.New("decisions_not_shown")
)

// MaxDecisions is the most bytes of decision evidence that is looked at.
const MaxDecisions = 2*MaxReceipt + 64

const decisionsHeader = "comity/decision-evidence/v1\n"

// NewDecisions puts two receipts together and checks them as Verify does. Their order does not matter: the one with the smaller bytes
// comes first, so that two people who found the same pair write the same evidence.
func NewDecisions(origin string, a, b []byte, keys ...ed25519.PublicKey) (*Decisions, error) {
	if bytes.Compare(a, b) > 0 {
		a, b = b, a
	}
	d := &Decisions{First: bytes.Clone(a), Second: bytes.Clone(b)}
	if err := d.Verify(origin, keys...); err != nil {
		return nil, err
	}
	return d, nil
}

// Receipts parses both receipts and judges neither.
func (d *Decisions) Receipts() (first, second *Receipt, err error) {
	if first, err = ParseReceipt(d.First); err != nil {
		return nil, nil, fmt.Errorf("first receipt: %w", err)
	}
	if second, err = ParseReceipt(d.Second); err != nil {
		return nil, nil, fmt.Errorf("second receipt: %w", err)
	}
	return first, second, nil
}

// Verify checks that one of the keys signed the checkpoint of each receipt for that origin, that each entry is in the tree of its
// checkpoint, and that the two entries differ. Most logs have one key; a log whose key was rotated has one more each time.
func (d *Decisions) Verify(origin string, keys ...ed25519.PublicKey) error {
	first, second, err := d.Receipts()
	if err != nil {
		return fmt.Errorf("%w: %w", ErrNoDecisions, err)
	}
	if err := logged(origin, keys, first); err != nil {
		return fmt.Errorf("%w: first receipt: %w", ErrNoDecisions, err)
	}
	if err := logged(origin, keys, second); err != nil {
		return fmt.Errorf("%w: second receipt: %w", ErrNoDecisions, err)
	}
	if bytes.Equal(first.Entry, second.Entry) {
		return fmt.Errorf("%w: both receipts are of one entry", ErrNoDecisions)
	}
	return nil
}

// logged checks a receipt against the log's own signature, without a quorum.
func logged(origin string, keys []ed25519.PublicKey, r *Receipt) error {
	c, err := openUnder(origin, keys, r.Checkpoint)
	if err != nil {
		return err
	}
	return VerifyInclusion(c.Head, r.Index, LeafHash(r.Entry), r.Path)
}

// Marshal gives the pair as text: header, length of the first receipt in bytes, an empty line, and the two receipts.
func (d *Decisions) Marshal() []byte {
	b := fmt.Appendf([]byte(decisionsHeader), "first %d\n\n", len(d.First))
	return append(append(b, d.First...), d.Second...)
}

// ParseDecisions reads what Marshal wrote of two receipts, and only that. It does not judge it: Verify does.
func ParseDecisions(b []byte) (*Decisions, error) {
	if len(b) > MaxDecisions {
		return nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrDecisions, len(b), MaxDecisions)
	}
	rest, ok := strings.CutPrefix(string(b), decisionsHeader)
	if !ok {
		return nil, fmt.Errorf("%w: the first line is not comity/decision-evidence/v1", ErrDecisions)
	}
	line, rest, _ := strings.Cut(rest, "\n")
	text, ok := strings.CutPrefix(line, "first ")
	n, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil {
		return nil, fmt.Errorf("%w: length of the first receipt", ErrDecisions)
	}
	rest, ok = strings.CutPrefix(rest, "\n")
	if !ok || n > uint64(len(rest)) {
		return nil, fmt.Errorf("%w: length of the first receipt", ErrDecisions)
	}
	d := &Decisions{First: []byte(rest[:n]), Second: []byte(rest[n:])}
	if _, _, err := d.Receipts(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrDecisions, err)
	}
	if !bytes.Equal(d.Marshal(), b) {
		return nil, fmt.Errorf("%w: not in its one form", ErrDecisions)
	}
	return d, nil
}
