package zk

import (
	"encoding/hex"
	"errors"
	"fmt"
)

// ProofSize is the length of a proof: A in G1 (96 bytes), B in G2 (192), C in G1 (96), uncompressed.
const ProofSize = 384

// Proof is a Groth16 proof over BLS12-381: A || B || C, big-endian canonical coordinates, no flag bits, no point at infinity. Only
// zk/verifier looks inside.
type Proof [ProofSize]byte

// ErrProofSize refuses bytes that cannot be a proof.
var ErrProofSize = errors.New("a proof has 384 bytes")

// ParseProof checks the length; the points are checked where the proof is verified.
func ParseProof(b []byte) (Proof, error) {
	if len(b) != ProofSize {
		return Proof{}, fmt.Errorf("%w, not %d", ErrProofSize, len(b))
	}
	return Proof(b), nil
}

// String is the start of the proof in hex, enough to tell two apart.
func (p Proof) String() string { return hex.EncodeToString(p[:8]) + "..." }
