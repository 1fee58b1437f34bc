package proof

import (
	"bytes"
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Evidence shows anybody who knows a log's key that the log forked: it signed Older, and signed Newer, whose first leaves are not
// those of Older. It is portable: nothing but the log's key is needed to check it, and nobody but the log could have made it.
type Evidence struct {
	Older, Newer []byte // checkpoints as signed; Older has at most as many leaves
	Root         Hash   // the root that Newer gives to the size of Older
	Path         []Hash // consistency of (size of Older, Root) with Newer; empty for equal sizes
}

var (
	// ErrNoFork: the two checkpoints do not contradict each other, or it is not shown that they do.
	ErrNoFork = errors.New("fork_not_shown")
	// ErrEvidence: the bytes are no evidence in its one form.
	ErrEvidence = errors.New("evidence_malformed")
)

// NewEvidence looks for a contradiction between two checkpoints of one log. For equal sizes reader may be nil. For different sizes
// it must hold the hashes of the larger tree, which need not be trusted: they are checked against its root.
func NewEvidence(origin string, key ed25519.PublicKey, a, b []byte, reader HashReader) (*Evidence, error) {
	ca, err := OpenLog(origin, key, a)
	if err != nil {
		return nil, err
	}
	cb, err := OpenLog(origin, key, b)
	if err != nil {
		return nil, err
	}
	if ca.Size > cb.Size {
		a, b, ca, cb = b, a, cb, ca
	}
	e := &Evidence{Older: bytes.Clone(a), Newer: bytes.Clone(b), Root: cb.Root}
	if ca.Size < cb.Size && ca.Size > 0 {
		if reader == nil {
			return nil, fmt.Errorf("%w: sizes %d and %d, and no hashes to compare them with", ErrNoFork, ca.Size, cb.Size)
		}
		if e.Root, err = RootAt(ca.Size, reader); err != nil {
			return nil, err
		}
		if e.Path, err = ProveConsistency(ca.Size, cb.Size, reader); err != nil {
			return nil, err
		}
	}
	if err := e.Verify(origin, key); err != nil {
		return nil, err
	}
	return e, nil
}

// Verify checks that one of the log's keys signed each checkpoint and that they cannot be one history. Most logs have one key; a log
// whose key was rotated has one more each time.
func (e *Evidence) Verify(origin string, keys ...ed25519.PublicKey) error {
	older, err := openUnder(origin, keys, e.Older)
	if err != nil {
		return fmt.Errorf("older checkpoint: %w", err)
	}
	newer, err := openUnder(origin, keys, e.Newer)
	if err != nil {
		return fmt.Errorf("newer checkpoint: %w", err)
	}
	if older.Size == 0 && older.Root != EmptyRoot() && older.Size <= newer.Size {
		return nil // no tree without leaves has another root
	}
	if older.Size == 0 || older.Root == e.Root {
		return fmt.Errorf("%w: both give %d leaves the root %v", ErrNoFork, older.Size, older.Root)
	}
	if err := VerifyConsistency(Head{older.Size, e.Root}, newer.Head, e.Path); err != nil {
		return fmt.Errorf("%w: %v", ErrNoFork, err)
	}
	return nil
}

// openUnder is OpenLog for a log that had several keys.
func openUnder(origin string, keys []ed25519.PublicKey, signed []byte) (c Checkpoint, err error) {
	err = ErrLogSignature // no key at all
	for _, key := range keys {
		if len(key) != ed25519.PublicKeySize {
			return Checkpoint{}, ErrLogSignature
		}
		if c, err = OpenLog(origin, key, signed); err == nil || !errors.Is(err, ErrLogSignature) {
			return c, err
		}
	}
	return Checkpoint{}, err
}

const evidenceHeader = "comity/fork-evidence/v1\n"

// Marshal gives the evidence as text: header, length of the older checkpoint in bytes, root, path, an empty line, and the two checkpoints.
func (e *Evidence) Marshal() []byte {
	b := fmt.Appendf([]byte(evidenceHeader), "older %d\nroot %s\n", len(e.Older), base64.StdEncoding.EncodeToString(e.Root[:]))
	for _, h := range e.Path {
		b = append(base64.StdEncoding.AppendEncode(b, h[:]), '\n')
	}
	return append(append(append(b, '\n'), e.Older...), e.Newer...)
}

// ParseEvidence reads what Marshal wrote, and only that. It does not judge it: Verify does.
func ParseEvidence(b []byte) (*Evidence, error) {
	if len(b) > 3*MaxCheckpoint {
		return nil, fmt.Errorf("%w: %d bytes", ErrEvidence, len(b))
	}
	rest, ok := strings.CutPrefix(string(b), evidenceHeader)
	if !ok {
		return nil, fmt.Errorf("%w: the first line is not comity/fork-evidence/v1", ErrEvidence)
	}
	e := &Evidence{}
	line, rest, _ := strings.Cut(rest, "\n")
	text, ok := strings.CutPrefix(line, "older ")
	older, err := strconv.ParseUint(text, 10, 32)
	if !ok || err != nil {
		return nil, fmt.Errorf("%w: length of the older checkpoint", ErrEvidence)
	}
	line, rest, _ = strings.Cut(rest, "\n")
	text, ok = strings.CutPrefix(line, "root ")
	root, err := base64.StdEncoding.DecodeString(text)
	if !ok || err != nil || len(root) != len(Hash{}) {
		return nil, fmt.Errorf("%w: root", ErrEvidence)
	}
	e.Root = Hash(root)
	for {
		line, rest, ok = strings.Cut(rest, "\n")
		if !ok || len(e.Path) > maxPath {
			return nil, fmt.Errorf("%w: no empty line after the path", ErrEvidence)
		}
		if line == "" {
			break
		}
		h, err := base64.StdEncoding.DecodeString(line)
		if err != nil || len(h) != len(Hash{}) {
			return nil, fmt.Errorf("%w: a hash of the path", ErrEvidence)
		}
		e.Path = append(e.Path, Hash(h))
	}
	if older > uint64(len(rest)) {
		return nil, fmt.Errorf("%w: length of the older checkpoint", ErrEvidence)
	}
	e.Older, e.Newer = []byte(rest[:older]), []byte(rest[older:])
	if string(e.Marshal()) != string(b) {
		return nil, fmt.Errorf("%w: not in its one form", ErrEvidence)
	}
	return e, nil
}
