package keys

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
)

// HoldRole says for which side of a hold a key signs.
type HoldRole string

// The sides of a hold.
const (
	HoldPayer HoldRole = "payer" // challenges, and amends with the payee
	HoldPayee HoldRole = "payee" // releases, and amends with the payer
)

// HoldKey is the Ed25519 key by which the wallet signs for one hold (Z3.2). label is the payment's id; a key is used for one label, so that
// nobody can tell from public conditions that two holds are of one wallet.
func (w Wallet) HoldKey(role HoldRole, label string) (ed25519.PrivateKey, error) {
	if w.s == nil {
		return nil, errors.New("derive a hold key: no keys")
	}
	seed, err := hkdf.Key(sha256.New, w.s.hold[:], []byte("comity/hold-key/v1"), string(role)+"\x00"+label, ed25519.SeedSize)
	if err != nil {
		return nil, fmt.Errorf("derive a hold key: %w", err)
	}
	return ed25519.NewKeyFromSeed(seed), nil
}
