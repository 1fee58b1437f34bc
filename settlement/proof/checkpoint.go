package proof

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// MaxCheckpoint is the most bytes of a checkpoint with its signatures that is looked at.
const MaxCheckpoint = 1 << 16

// A Checkpoint is the text a log signs: C2SP tlog-checkpoint without extension lines, which no monitor could audit.
type Checkpoint struct {
	Origin string
	Head
}

// ErrCheckpoint: the bytes are no checkpoint in its one form.
var ErrCheckpoint = errors.New("checkpoint_malformed")

// String gives the note text: origin, size and base64 root, a line each.
func (c Checkpoint) String() string {
	return fmt.Sprintf("%s\n%d\n%s\n", c.Origin, c.Size, base64.StdEncoding.EncodeToString(c.Root[:]))
}

// ParseCheckpoint reads a note text. Whatever it takes, String gives back byte for byte.
func ParseCheckpoint(text string) (Checkpoint, error) {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) != 4 || lines[3] != "" || !validName(strings.TrimSuffix(lines[0], "\n")) {
		return Checkpoint{}, fmt.Errorf("%w: want an origin of printable ASCII without space and plus, size and root, a line each", ErrCheckpoint)
	}
	size, err := strconv.ParseUint(strings.TrimSuffix(lines[1], "\n"), 10, 64)
	if err != nil || size > math.MaxInt64 {
		return Checkpoint{}, fmt.Errorf("%w: size", ErrCheckpoint)
	}
	root, err := base64.StdEncoding.DecodeString(strings.TrimSuffix(lines[2], "\n"))
	if err != nil || len(root) != len(Hash{}) {
		return Checkpoint{}, fmt.Errorf("%w: root", ErrCheckpoint)
	}
	c := Checkpoint{strings.TrimSuffix(lines[0], "\n"), Head{size, Hash(root)}}
	if c.String() != text {
		return Checkpoint{}, fmt.Errorf("%w: size or root is not in its one form", ErrCheckpoint)
	}
	return c, nil
}

// Algorithm bytes of C2SP signed-note keys.
const (
	algEd25519     = 0x01
	algCosignature = 0x04
)

// KeyID is the first four bytes of SHA-256(name || "\n" || alg || public key), C2SP signed-note.
func keyID(name string, alg byte, pub ed25519.PublicKey) uint32 {
	h := sha256.Sum256(append(append([]byte(name), '\n', alg), pub...))
	return binary.BigEndian.Uint32(h[:])
}

func vkey(name string, alg byte, pub ed25519.PublicKey) string {
	return fmt.Sprintf("%s+%08x+%s", name, keyID(name, alg, pub), base64.StdEncoding.EncodeToString(append([]byte{alg}, pub...)))
}

// LogVKey is the verifier key of a log's plain Ed25519 signature, as C2SP tools take it.
func LogVKey(origin string, pub ed25519.PublicKey) string { return vkey(origin, algEd25519, pub) }

// ParseLogVKey reads what LogVKey wrote, and only that.
func ParseLogVKey(text string) (origin string, pub ed25519.PublicKey, err error) {
	i := strings.LastIndexByte(text, '+') // base64 may hold a plus: try each
	for ; i > 0; i = strings.LastIndexByte(text[:i], '+') {
		raw, err := base64.StdEncoding.DecodeString(text[i+1:])
		if err != nil || len(raw) != 1+ed25519.PublicKeySize || raw[0] != algEd25519 {
			continue
		}
		origin, _, ok := strings.Cut(text[:i], "+")
		if ok && validName(origin) && LogVKey(origin, raw[1:]) == text {
			return origin, raw[1:], nil
		}
	}
	return "", nil, fmt.Errorf("%w: %q is no verifier key of a log: want ORIGIN+ID+KEY", ErrPolicy, text)
}

// WitnessVKey is the verifier key of a witness's cosignatures, as C2SP tools take it.
func WitnessVKey(name string, pub ed25519.PublicKey) string { return vkey(name, algCosignature, pub) }

// A LogSigner signs checkpoints for one origin with a log's key.
type LogSigner struct {
	origin string
	key    ed25519.PrivateKey
}

// NewLogSigner takes the log's key. The key name of its signatures is the origin.
func NewLogSigner(origin string, key ed25519.PrivateKey) (*LogSigner, error) {
	if len(key) != ed25519.PrivateKeySize || !validName(origin) {
		return nil, errors.New("log signer: want an origin without space and plus, and an Ed25519 private key")
	}
	return &LogSigner{origin, key}, nil
}

// String keeps the key out of logs.
func (s *LogSigner) String() string { return "[log signer of " + s.origin + "]" }

// Origin is the first line of every checkpoint this signer signs.
func (s *LogSigner) Origin() string { return s.origin }

// Public is the log's public key.
func (s *LogSigner) Public() ed25519.PublicKey { return s.key.Public().(ed25519.PublicKey) }

// Sign makes the signed checkpoint of a tree. Ed25519 is deterministic: the same tree gives the same bytes.
func (s *LogSigner) Sign(tree Head) []byte {
	text := Checkpoint{s.origin, tree}.String()
	return appendSignature([]byte(text+"\n"), s.origin, keyID(s.origin, algEd25519, s.Public()), ed25519.Sign(s.key, []byte(text)))
}

// appendSignature appends a signature line of a signed note.
func appendSignature(dst []byte, name string, id uint32, sig []byte) []byte {
	raw := append(binary.BigEndian.AppendUint32(nil, id), sig...)
	dst = append(append(dst, "— "...), name...)
	dst = append(append(dst, ' '), base64.StdEncoding.EncodeToString(raw)...)
	return append(dst, '\n')
}

// validName holds for what may name a key in a signed note. It is stricter than the format: printable ASCII.
func validName(name string) bool {
	for i := range len(name) {
		if name[i] <= ' ' || name[i] > '~' || name[i] == '+' {
			return false
		}
	}
	return name != ""
}

// noteText splits the text from the signatures of a signed note without judging either.
func noteText(signed []byte) (string, []byte, error) {
	if len(signed) > MaxCheckpoint {
		return "", nil, fmt.Errorf("%w: %d bytes, the limit is %d", ErrCheckpoint, len(signed), MaxCheckpoint)
	}
	i := bytes.LastIndex(signed, []byte("\n\n"))
	if i < 0 {
		return "", nil, fmt.Errorf("%w: no empty line before the signatures", ErrCheckpoint)
	}
	return string(signed[:i+1]), signed[i+2:], nil
}

// verifier is a note.Verifier for one Ed25519 key, plain or cosigning.
type verifier struct {
	name string
	alg  byte
	id   uint32
	key  ed25519.PublicKey
}

func newVerifier(name string, alg byte, key ed25519.PublicKey) *verifier {
	return &verifier{name, alg, keyID(name, alg, key), key}
}

func (v *verifier) Name() string    { return v.name }
func (v *verifier) KeyHash() uint32 { return v.id }

func (v *verifier) Verify(msg, sig []byte) bool {
	if v.alg == algCosignature {
		return verifyCosignature(v.key, msg, sig)
	}
	return len(sig) == ed25519.SignatureSize && ed25519.Verify(v.key, msg, sig)
}

var _ note.Verifier = (*verifier)(nil)

// OpenLog checks a log's own signature on a checkpoint and ignores every other signature: what a witness or a follower does
// before any quorum is there.
func OpenLog(origin string, key ed25519.PublicKey, signed []byte) (Checkpoint, error) {
	c, _, err := open(origin, signed, newVerifier(origin, algEd25519, key), nil)
	return c, err
}

// open parses a signed checkpoint, checks the log's signature and gives the verified signatures of the other verifiers.
func open(origin string, signed []byte, log *verifier, others []note.Verifier) (Checkpoint, []note.Signature, error) {
	text, _, err := noteText(signed)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	c, err := ParseCheckpoint(text)
	if err != nil {
		return Checkpoint{}, nil, err
	}
	if c.Origin != origin {
		return Checkpoint{}, nil, fmt.Errorf("%w: %q, want %q", ErrOrigin, c.Origin, origin)
	}
	n, err := note.Open(signed, note.VerifierList(append([]note.Verifier{log}, others...)...))
	var bad *note.InvalidSignatureError
	var none *note.UnverifiedNoteError
	switch {
	case errors.As(err, &bad) && bad.Name == log.name && bad.Hash == log.id, errors.As(err, &none):
		return Checkpoint{}, nil, ErrLogSignature
	case errors.As(err, &bad):
		return Checkpoint{}, nil, fmt.Errorf("%w: of %s", ErrCosignature, bad.Name)
	case err != nil:
		return Checkpoint{}, nil, fmt.Errorf("%w: %v", ErrCheckpoint, err)
	}
	signedByLog := false
	var sigs []note.Signature
	for _, s := range n.Sigs {
		if s.Name == log.name && s.Hash == log.id {
			signedByLog = true
		} else {
			sigs = append(sigs, s)
		}
	}
	if !signedByLog {
		return Checkpoint{}, nil, ErrLogSignature
	}
	return c, sigs, nil
}
