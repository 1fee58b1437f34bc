package setup

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup/internal/qap"
	"github.com/comity-ledger/comity/zk/setup/internal/trapdoor"
	"github.com/comity-ledger/comity/zk/verifier"
)

var update = flag.Bool("update", false, "record the keys of the circuits as they are now")

const recordFile = "testdata/fingerprints.json"

// TestRecordedKeysAreThoseOfTheCircuits compiles every circuit and derives its verifying key again. It fails when a circuit, a
// constant or the version of gnark changed a key and nobody recorded it. Keys of released circuits never change: a changed
// circuit takes a new version.
func TestRecordedKeysAreThoseOfTheCircuits(t *testing.T) {
	recorded, err := loadRecords()
	if err != nil {
		t.Fatal(err)
	}
	now := records{Seed: trapdoor.DevelopmentSeed, Retired: slices.Clone(recorded.Retired)}
	if now.Retired == nil {
		now.Retired = []Hex{}
	}
	for _, id := range zk.Circuits() {
		r, err := Compile(id)
		if err != nil {
			t.Fatal(err)
		}
		record, vk, _, err := describe(id, r)
		if err != nil {
			t.Fatal(err)
		}
		now.Circuits = append(now.Circuits, record)
		if vk.Inputs() != zk.NumInputs(id) {
			t.Errorf("%v has %d public inputs, zk says %d", id, vk.Inputs(), zk.NumInputs(id))
		}
		path := filepath.Join("vk", id.String()+".vk")
		if *update {
			if err := os.WriteFile(path, vk.Encode(), 0o644); err != nil {
				t.Fatal(err)
			}
			t.Logf("%v: %d constraints, fingerprint %v", id, record.Constraints, vk.Fingerprint())
			continue
		}
		old, err := RecordOf(id)
		if err != nil {
			t.Error(err)
			continue
		}
		if old != record {
			t.Errorf("%v changed:\n recorded %+v\n now      %+v", id, old, record)
		}
		b, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(b, vk.Encode()) {
			t.Errorf("%s is not the key of the circuit (%v)", path, err)
		}
	}
	if *update {
		b, err := json.MarshalIndent(now, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(recordFile, append(b, '\n'), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if recorded.Seed != trapdoor.DevelopmentSeed {
		t.Errorf("recorded under the seed %q", recorded.Seed)
	}
}

func TestCompilingTwiceGivesTheSameBytes(t *testing.T) {
	// The names of cached files depend on it.
	a, err := Compile(zk.Transfer)
	if err != nil {
		t.Fatal(err)
	}
	b, err := Compile(zk.Transfer)
	if err != nil {
		t.Fatal(err)
	}
	_, da, err := systemDigest(a)
	if err != nil {
		t.Fatal(err)
	}
	_, db, err := systemDigest(b)
	if err != nil {
		t.Fatal(err)
	}
	if da != db || qap.Digest(a) != qap.Digest(b) {
		t.Error("digests differ")
	}
}

func TestRecordedVerifyingKeysLoadAndMakeAVerifier(t *testing.T) {
	keys, err := VerifyingKeys()
	if err != nil {
		t.Fatal(err)
	}
	seen := map[verifier.Fingerprint]bool{}
	for i, k := range keys {
		if k.Circuit() != zk.Circuits()[i] || k.Version() != zk.CircuitVersion {
			t.Errorf("key %d is for %v version %d", i, k.Circuit(), k.Version())
		}
		seen[k.Fingerprint()] = true
	}
	if len(seen) != len(zk.Circuits()) {
		t.Errorf("%d different keys for %d circuits", len(seen), len(zk.Circuits()))
	}
	if _, err := Verifier(0); err != nil {
		t.Error(err)
	}
}

func TestDevelopmentKeysAreRecognised(t *testing.T) {
	keys, err := VerifyingKeys()
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range keys {
		if !IsDevelopment(k.Fingerprint()) {
			t.Errorf("%v: not recognised", k.Circuit())
		}
		f := k.Fingerprint()
		f[31] ^= 1
		if IsDevelopment(f) {
			t.Errorf("%v: another key is taken for a development key", k.Circuit())
		}
	}
}

func TestUnknownCircuitHasNoRecord(t *testing.T) {
	if _, err := RecordOf(99); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
	if _, err := VerifyingKey(99); !errors.Is(err, ErrRecord) {
		t.Error(err)
	}
}

func BenchmarkLoadVerifyingKeys(b *testing.B) {
	for b.Loop() {
		if _, err := VerifyingKeys(); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkCompile(b *testing.B) {
	for _, id := range zk.Circuits() {
		b.Run(id.String(), func(b *testing.B) {
			for b.Loop() {
				if _, err := Compile(id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkReadKeys asks how long a prover waits for its key when the cache is warm, and how that splits.
func BenchmarkReadKeys(b *testing.B) {
	c, err := Open(Config{})
	if err != nil {
		b.Fatal(err)
	}
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		b.Run(id.String(), func(b *testing.B) {
			if _, err := c.Keys(b.Context(), id); err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				if _, err := c.Keys(b.Context(), id); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
