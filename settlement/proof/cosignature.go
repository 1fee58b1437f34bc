package proof

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// A Cosigner makes cosignature/v1 signatures (C2SP tlog-cosignature): "as of this time this is the largest tree of that log I saw,
// and it grew from all I saw before".
type Cosigner struct {
	name string
	key  ed25519.PrivateKey
}

// NewCosigner takes a witness's name and key. One key must not serve two names: the signed message does not hold the name.
func NewCosigner(name string, key ed25519.PrivateKey) (*Cosigner, error) {
	if len(key) != ed25519.PrivateKeySize || !validName(name) {
		return nil, errors.New("cosigner: want a name without space and plus, and an Ed25519 private key")
	}
	return &Cosigner{name, key}, nil
}

// String keeps the key out of logs.
func (c *Cosigner) String() string { return "[cosigner " + c.name + "]" }

// Name is the key name of the cosignatures.
func (c *Cosigner) Name() string { return c.name }

// Public is the witness's public key.
func (c *Cosigner) Public() ed25519.PublicKey { return c.key.Public().(ed25519.PublicKey) }

// Sign gives the signature line for a checkpoint at a time in seconds since the Unix epoch. Whether the log signed the checkpoint
// and whether it is consistent is for the caller to have checked.
func (c *Cosigner) Sign(checkpoint Checkpoint, unixSeconds uint64) ([]byte, error) {
	if unixSeconds > math.MaxInt64 {
		return nil, fmt.Errorf("cosign: time %d", unixSeconds)
	}
	sig := binary.BigEndian.AppendUint64(nil, unixSeconds)
	sig = append(sig, ed25519.Sign(c.key, cosignedMessage([]byte(checkpoint.String()), unixSeconds))...)
	return appendSignature(nil, c.name, keyID(c.name, algCosignature, c.Public()), sig), nil
}

// cosignedMessage is what a cosignature covers.
func cosignedMessage(text []byte, unixSeconds uint64) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", unixSeconds), text...)
}

func verifyCosignature(key ed25519.PublicKey, text, sig []byte) bool {
	if len(sig) != 8+ed25519.SignatureSize {
		return false
	}
	t := binary.BigEndian.Uint64(sig)
	return t <= math.MaxInt64 && ed25519.Verify(key, cosignedMessage(text, t), sig[8:])
}

// cosignedAt reads the time of a cosignature that was verified.
func cosignedAt(s note.Signature) (uint64, error) {
	raw, err := base64.StdEncoding.DecodeString(s.Base64)
	if err != nil || len(raw) != 4+8+ed25519.SignatureSize {
		return 0, ErrCosignature
	}
	return binary.BigEndian.Uint64(raw[4:]), nil
}

// AddCosignatures appends, to a checkpoint signed by the log, those signature lines that a witness of the policy made for it, and tells which
// witnesses are new. Whoever adds more than once to one checkpoint uses a Tally.
func (p *Policy) AddCosignatures(signed []byte, lines []byte) ([]byte, []string, error) {
	t, err := p.Tally(signed)
	if err != nil {
		return signed, nil, err
	}
	added, err := t.Add(lines)
	return t.Signed(), added, err
}

// parseSignatureLine reads a signature line in its one form: "— name base64" and a line end.
func parseSignatureLine(line string) (name string, raw []byte, ok bool) {
	rest, ok := strings.CutPrefix(line, "— ")
	if !ok {
		return "", nil, false
	}
	name, b64, ok := strings.Cut(strings.TrimSuffix(rest, "\n"), " ")
	if !ok || !validName(name) {
		return "", nil, false
	}
	raw, err := base64.StdEncoding.DecodeString(b64)
	if err != nil || len(raw) < 5 || string(appendSignature(nil, name, binary.BigEndian.Uint32(raw), raw[4:])) != line {
		return "", nil, false
	}
	return name, raw, true
}
