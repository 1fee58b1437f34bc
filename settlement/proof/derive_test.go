package proof

import (
	"bytes"
	"crypto/ed25519"
	"testing"
)

func TestSecretIsOfOneKeyPurposeAndContext(t *testing.T) {
	signer := func(seed byte) *LogSigner {
		s, err := NewLogSigner("ledger.example/log", ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, ed25519.SeedSize)))
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	of := func(s *LogSigner, purpose string, context [32]byte) [32]byte {
		secret, err := s.Secret(purpose, context)
		if err != nil {
			t.Fatal(err)
		}
		return secret
	}
	first := of(signer(1), "test v1", [32]byte{1})
	if of(signer(1), "test v1", [32]byte{1}) != first {
		t.Error("two nodes with one key derive different secrets")
	}
	if of(signer(2), "test v1", [32]byte{1}) == first || of(signer(1), "test v2", [32]byte{1}) == first || of(signer(1), "test v1", [32]byte{2}) == first {
		t.Error("another key, purpose or context gives the same secret")
	}
	// Nothing that the log publishes gives it away: what it rests on is no text of a checkpoint.
	if _, err := ParseCheckpoint("comity log secret v1 test v1\x00"); err == nil {
		t.Error("what the secret rests on is a checkpoint")
	}
}
