// Package keys derives a wallet's keys, writes and reads addresses and view keys, and encrypts notes: to the payee (X25519, not proven) and
// to oversight and programme readers (the native twin of what the circuit proves). Chapters 3, 5 and 6 of zk/SPEC.md hold the rules.
//
// The package is pure: randomness is an argument, and no key leaves it but through a function that says so. Types that hold a secret
// print as [secret].
package keys

import (
	"crypto/ecdh"
	"crypto/hkdf"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

const secretText = "[secret]"

// Seed is the secret from which every key of a wallet derives but the one that spends.
type Seed struct {
	_ [0]func()
	b *[32]byte // behind a pointer, so that printing an enclosing struct shows an address
}

// NewSeed draws a seed.
func NewSeed(rand io.Reader) (Seed, error) {
	s := Seed{b: new([32]byte)}
	if _, err := io.ReadFull(rand, s.b[:]); err != nil {
		return Seed{}, fmt.Errorf("draw a seed: %w", err)
	}
	return s, nil
}

// SeedFromBytes takes 32 secret bytes as the seed.
func SeedFromBytes(b [32]byte) Seed { return Seed{b: &b} }

// Bytes exposes the secret, for the key file.
func (s Seed) Bytes() [32]byte { return *s.b }

// String hides the secret.
func (Seed) String() string { return secretText }

// GoString hides the secret.
func (Seed) GoString() string { return secretText }

// LogValue hides the secret.
func (Seed) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalText hides the secret.
func (Seed) MarshalText() ([]byte, error) { return []byte(secretText), nil }

// derive is HKDF-SHA256 with the purpose and the ledger in the info (Z3.2): one seed on two ledgers shares no key.
func (s Seed) derive(purpose string, genesis [32]byte, size int) ([]byte, error) {
	if s.b == nil {
		return nil, errors.New("derive keys: empty seed")
	}
	k, err := hkdf.Key(sha256.New, s.b[:], []byte("comity/keys/v1"), purpose+"\x00"+string(genesis[:]), size)
	if err != nil {
		return nil, fmt.Errorf("derive %s: %w", purpose, err)
	}
	return k, nil
}

// Wallet is the set of keys of one wallet on one ledger. It may lack the spending key: then it sees and cannot spend. Copies share the
// secrets.
type Wallet struct{ s *walletSecrets }

type walletSecrets struct {
	ledger [32]byte
	ask    zk.Scalar // zero in a wallet that only watches
	ak     zk.Point
	nk     zk.NullifierKey
	view   *ecdh.PrivateKey
	hedge  [32]byte
	hold   [32]byte // signs for holds, see HoldKey
	own    zk.Owner
}

// Derive computes the keys of a wallet on the ledger with that genesis hash. ask is drawn apart from the seed (Z3.1), so that it may one day be a
// group's key that no one holds.
func Derive(seed Seed, ask zk.Scalar, genesis [32]byte) (Wallet, error) {
	if ask.IsZero() {
		return Wallet{}, errors.New("derive keys: no spending key")
	}
	w, err := DeriveWatching(seed, ask.Base(), genesis)
	if err != nil {
		return Wallet{}, err
	}
	w.s.ask = ask
	return w, nil
}

// DeriveWatching computes the keys of a wallet without its spending key, of which only the public half is known.
func DeriveWatching(seed Seed, ak zk.Point, genesis [32]byte) (Wallet, error) {
	if ak.IsZero() {
		return Wallet{}, errors.New("derive keys: no public spending key")
	}
	nk, err := seed.derive("nk", genesis, 64)
	if err != nil {
		return Wallet{}, err
	}
	vk, err := seed.derive("vk", genesis, 32)
	if err != nil {
		return Wallet{}, err
	}
	hedge, err := seed.derive("hedge", genesis, 32)
	if err != nil {
		return Wallet{}, err
	}
	hold, err := seed.derive("hold", genesis, 32)
	if err != nil {
		return Wallet{}, err
	}
	s := &walletSecrets{ledger: genesis, ak: ak, hedge: [32]byte(hedge), hold: [32]byte(hold)}
	var e fr.Element
	e.SetBytes(nk)
	s.nk = zk.NullifierKeyFromElement(e)
	if s.view, err = ecdh.X25519().NewPrivateKey(vk); err != nil {
		return Wallet{}, fmt.Errorf("derive vk: %w", err)
	}
	s.own = zk.OwnerOf(ak, s.nk)
	return Wallet{s}, nil
}

// IsZero reports whether the wallet has no keys at all.
func (w Wallet) IsZero() bool { return w.s == nil }

// CanSpend reports whether the spending key is here.
func (w Wallet) CanSpend() bool { return !w.s.ask.IsZero() }

// Spending exposes the spending key, to sign with. It is the zero Scalar in a wallet that only watches.
func (w Wallet) Spending() zk.Scalar { return w.s.ask }

// AK is the public half of the spending key.
func (w Wallet) AK() zk.Point { return w.s.ak }

// NK exposes the nullifier key, for the prover.
func (w Wallet) NK() zk.NullifierKey { return w.s.nk }

// Hedge exposes the secret that HedgedE mixes in.
func (w Wallet) Hedge() [32]byte { return w.s.hedge }

// Owner is what notes to this wallet name.
func (w Wallet) Owner() zk.Owner { return w.s.own }

// ViewKey is the public key that payments to this wallet are encrypted to.
func (w Wallet) ViewKey() ViewKey { return ViewKey(w.s.view.PublicKey().Bytes()) }

// Ledger is the genesis hash of the wallet's ledger.
func (w Wallet) Ledger() [32]byte { return w.s.ledger }

// Nullify is the nullifier of a note of this wallet.
func (w Wallet) Nullify(cm zk.Commitment, at zk.Position) zk.Nullifier { return w.s.nk.Nullify(cm, at) }

// Address is where this wallet is paid. prefix is the ledger's human-readable part; genesis must be the wallet's own ledger.
func (w Wallet) Address(prefix string, genesis [32]byte) Address {
	return Address{Prefix: prefix, Ledger: [8]byte(genesis[:8]), Owner: w.s.own, ViewKey: w.ViewKey()}
}

// FullView is the key that sees all this wallet receives and spends.
func (w Wallet) FullView() FullView {
	return FullView{incoming: w.IncomingView(), nk: w.s.nk}
}

// IncomingView is the key that sees what this wallet receives.
func (w Wallet) IncomingView() IncomingView {
	return IncomingView{ledger: [8]byte(w.s.ledger[:8]), own: w.s.own, key: w.s.view}
}

// String hides the secrets.
func (Wallet) String() string { return secretText }

// GoString hides the secrets.
func (Wallet) GoString() string { return secretText }

// LogValue hides the secrets.
func (Wallet) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalText hides the secrets.
func (Wallet) MarshalText() ([]byte, error) { return []byte(secretText), nil }
