package setup

import (
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"sync"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/verifier"
)

//go:embed vk testdata/fingerprints.json
var files embed.FS

// ErrRecord says that the recorded keys inside this binary contradict each other: it was built from a damaged tree.
var ErrRecord = errors.New("recorded keys are inconsistent")

// Hex is 32 bytes that are written in hex.
type Hex [32]byte

// MarshalText returns the bytes in hex.
func (h Hex) MarshalText() ([]byte, error) { return []byte(hex.EncodeToString(h[:])), nil }

// UnmarshalText reads exactly 64 hex digits.
func (h *Hex) UnmarshalText(b []byte) error {
	raw, err := hex.DecodeString(string(b))
	if err != nil || len(raw) != len(h) {
		return fmt.Errorf("%q is not 32 bytes in hex", b)
	}
	copy(h[:], raw)
	return nil
}

// Record is what is recorded about the development keys of one circuit.
type Record struct {
	Circuit     string `json:"circuit"`
	ID          uint8  `json:"id"`
	Version     uint8  `json:"version"`
	Constraints int    `json:"constraints"`
	Inputs      int    `json:"inputs"`
	Digest      Hex    `json:"digest"`      // of the constraints, see qap.Digest
	System      Hex    `json:"system"`      // SHA-256 of gnark's encoding of the compiled circuit
	Fingerprint Hex    `json:"fingerprint"` // of the verifying key
}

// records is the file testdata/fingerprints.json.
type records struct {
	Seed     string   `json:"seed"`
	Circuits []Record `json:"circuits"`
	// Retired are the fingerprints of development keys of earlier releases. Their trapdoors are public for ever.
	Retired []Hex `json:"retired"`
}

var loadRecords = sync.OnceValues(func() (*records, error) {
	b, err := files.ReadFile("testdata/fingerprints.json")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	var r records
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	return &r, nil
})

// Records returns what is recorded about every circuit, in the order of their ids.
func Records() ([]Record, error) {
	r, err := loadRecords()
	if err != nil {
		return nil, err
	}
	return append([]Record(nil), r.Circuits...), nil
}

// RecordOf returns what is recorded about one circuit.
func RecordOf(id zk.CircuitID) (Record, error) {
	r, err := loadRecords()
	if err != nil {
		return Record{}, err
	}
	for _, c := range r.Circuits {
		if c.ID == uint8(id) {
			return c, nil
		}
	}
	return Record{}, fmt.Errorf("%w: no record of circuit %v", ErrRecord, id)
}

// IsDevelopment reports whether a verifying key is a development key, of this release or an earlier one. A node refuses it
// outside a development network.
func IsDevelopment(fingerprint [32]byte) bool {
	r, err := loadRecords()
	if err != nil {
		return true // a binary that cannot tell must not let it pass
	}
	for _, c := range r.Circuits {
		if [32]byte(c.Fingerprint) == fingerprint {
			return true
		}
	}
	for _, f := range r.Retired {
		if [32]byte(f) == fingerprint {
			return true
		}
	}
	return false
}

// VerifyingKey returns the recorded development key of a circuit: 2 to 20 ms, no circuit is compiled.
func VerifyingKey(id zk.CircuitID) (*verifier.VerifyingKey, error) {
	record, err := RecordOf(id)
	if err != nil {
		return nil, err
	}
	b, err := fs.ReadFile(files, "vk/"+id.String()+".vk")
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrRecord, err)
	}
	if sha256.Sum256(b) != [32]byte(record.Fingerprint) {
		return nil, fmt.Errorf("%w: fingerprint of %v", ErrRecord, id)
	}
	k, err := verifier.ParseKey(b)
	if err != nil {
		return nil, fmt.Errorf("%w: %v: %w", ErrRecord, id, err)
	}
	if k.Circuit() != id {
		return nil, fmt.Errorf("%w: the key of %v is for %v", ErrRecord, id, k.Circuit())
	}
	return k, nil
}

// VerifyingKeys returns the recorded development keys of all circuits.
func VerifyingKeys() ([]*verifier.VerifyingKey, error) {
	var out []*verifier.VerifyingKey
	for _, id := range zk.Circuits() {
		k, err := VerifyingKey(id)
		if err != nil {
			return nil, err
		}
		out = append(out, k)
	}
	return out, nil
}

// Verifier returns a verifier with the recorded development keys of all circuits and this many workers, 0 for GOMAXPROCS.
func Verifier(workers int) (*verifier.Set, error) {
	keys, err := VerifyingKeys()
	if err != nil {
		return nil, err
	}
	return verifier.NewSet(verifier.Config{Keys: keys, Workers: workers})
}
