package keys

import (
	"crypto/ecdh"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"slices"

	"github.com/comity-ledger/comity/zk"
)

// ViewKey is an X25519 public key: what a payment is encrypted to.
type ViewKey [32]byte

// Why a text is not an address or a view key.
var (
	ErrAddressKind    = errors.New("not an address of a kind that this program knows")
	ErrAddressLength  = errors.New("address has the wrong length")
	ErrAddressOwner   = errors.New("address names no owner")
	ErrAddressViewKey = errors.New("address holds no usable view key")
	ErrViewText       = errors.New("not a view key")
)

// The first byte of a payload tells what the text is. No two kinds can be taken for each other.
const (
	kindAddress  = 0x01
	kindIncoming = 0x11
	kindFull     = 0x12
)

// Address is where a wallet is paid on one ledger (Z3.3). Prefix is the ledger's human-readable part and Ledger the first eight bytes of
// its genesis hash; the caller compares both with its own ledger.
type Address struct {
	Prefix  string
	Ledger  [8]byte
	Owner   zk.Owner
	ViewKey ViewKey
}

// String is the bech32m text.
func (a Address) String() string {
	payload := append([]byte{kindAddress}, a.Ledger[:]...)
	payload = append(payload, a.Owner[:]...)
	return encodeBech32m(a.Prefix, append(payload, a.ViewKey[:]...))
}

// ParseAddress reads an address. It refuses by name: ErrBech32m, ErrAddressKind, ErrAddressLength, ErrAddressOwner for a field element
// that is not canonical, ErrAddressViewKey for a point that is not canonical or of small order, to which anybody could decrypt.
func ParseAddress(text string) (Address, error) {
	hrp, b, err := decodeBech32m(text)
	if err != nil {
		return Address{}, err
	}
	if len(b) == 0 || b[0] != kindAddress {
		return Address{}, ErrAddressKind
	}
	if len(b) != 73 {
		return Address{}, ErrAddressLength
	}
	a := Address{Prefix: hrp, Ledger: [8]byte(b[1:9]), ViewKey: ViewKey(b[41:])}
	if a.Owner, err = zk.ParseOwner(b[9:41]); err != nil {
		return Address{}, fmt.Errorf("%w: %w", ErrAddressOwner, err)
	}
	if !a.ViewKey.usable() {
		return Address{}, ErrAddressViewKey
	}
	return a, nil
}

// MarshalText is String.
func (a Address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText is ParseAddress.
func (a *Address) UnmarshalText(text []byte) error {
	parsed, err := ParseAddress(string(text))
	if err == nil {
		*a = parsed
	}
	return err
}

// probe is a fixed X25519 key with which usable tells small orders.
var probe = func() *ecdh.PrivateKey {
	k, err := ecdh.X25519().NewPrivateKey(slices.Repeat([]byte{0x42}, 32))
	if err != nil {
		panic(err)
	}
	return k
}()

// usable reports whether the key is the canonical encoding of a u-coordinate whose order is not small.
func (v ViewKey) usable() bool {
	// Little endian, below 2^255 - 19: otherwise another text would name the same key.
	hi := binary.LittleEndian.Uint64(v[24:])
	if hi > 1<<63-1 {
		return false
	}
	if hi == 1<<63-1 && binary.LittleEndian.Uint64(v[16:24]) == ^uint64(0) && binary.LittleEndian.Uint64(v[8:16]) == ^uint64(0) &&
		binary.LittleEndian.Uint64(v[:8]) >= ^uint64(0)-18 {
		return false
	}
	pub, err := ecdh.X25519().NewPublicKey(v[:])
	if err != nil {
		return false
	}
	_, err = probe.ECDH(pub) // fails when the shared secret is zero, which is when the order is small
	return err == nil
}

// IncomingView sees what a wallet receives: own and vk. It is a secret.
type IncomingView struct {
	ledger [8]byte
	own    zk.Owner
	key    *ecdh.PrivateKey
}

// Owner is the wallet's.
func (v IncomingView) Owner() zk.Owner { return v.own }

// Ledger is the first eight bytes of the genesis hash of the wallet's ledger.
func (v IncomingView) Ledger() [8]byte { return v.ledger }

// ViewKey is the public half.
func (v IncomingView) ViewKey() ViewKey { return ViewKey(v.key.PublicKey().Bytes()) }

// IsZero reports whether there is no key.
func (v IncomingView) IsZero() bool { return v.key == nil }

// Export writes the key as bech32m text with the human-readable part prefix + "ivk". The text is a secret.
func (v IncomingView) Export(prefix string) string {
	return encodeBech32m(prefix+"ivk", v.payload(kindIncoming))
}

func (v IncomingView) payload(kind byte) []byte {
	b := append([]byte{kind}, v.ledger[:]...)
	b = append(b, v.own[:]...)
	return append(b, v.key.Bytes()...)
}

// FullView sees what a wallet receives and spends: own, nk and vk. It is a secret.
type FullView struct {
	incoming IncomingView
	nk       zk.NullifierKey
}

// Owner is the wallet's.
func (v FullView) Owner() zk.Owner { return v.incoming.own }

// Ledger is the first eight bytes of the genesis hash of the wallet's ledger.
func (v FullView) Ledger() [8]byte { return v.incoming.ledger }

// Incoming is the lesser key.
func (v FullView) Incoming() IncomingView { return v.incoming }

// NK exposes the nullifier key.
func (v FullView) NK() zk.NullifierKey { return v.nk }

// IsZero reports whether there is no key.
func (v FullView) IsZero() bool { return v.incoming.IsZero() }

// Nullify is the nullifier of a note of the wallet.
func (v FullView) Nullify(cm zk.Commitment, at zk.Position) zk.Nullifier { return v.nk.Nullify(cm, at) }

// Export writes the key as bech32m text with the human-readable part prefix + "fvk". The text is a secret.
func (v FullView) Export(prefix string) string {
	nk := v.nk.Bytes()
	return encodeBech32m(prefix+"fvk", append(v.incoming.payload(kindFull), nk[:]...))
}

// ParseIncomingView reads what Export wrote, and returns the ledger's prefix with it. ErrViewText for anything else.
func ParseIncomingView(text string) (IncomingView, string, error) {
	v, rest, prefix, err := parseView(text, kindIncoming, "ivk")
	if err == nil && len(rest) != 0 {
		err = fmt.Errorf("%w: too long", ErrViewText)
	}
	if err != nil {
		return IncomingView{}, "", err
	}
	return v, prefix, nil
}

// ParseFullView reads what Export wrote, and returns the ledger's prefix with it. ErrViewText for anything else.
func ParseFullView(text string) (FullView, string, error) {
	v, rest, prefix, err := parseView(text, kindFull, "fvk")
	if err != nil {
		return FullView{}, "", err
	}
	nk, err := zk.ParseNullifierKey(rest)
	if err != nil {
		return FullView{}, "", fmt.Errorf("%w: %w", ErrViewText, err)
	}
	return FullView{incoming: v, nk: nk}, prefix, nil
}

func parseView(text string, kind byte, suffix string) (v IncomingView, rest []byte, prefix string, err error) {
	hrp, b, err := decodeBech32m(text)
	if err != nil {
		return v, nil, "", fmt.Errorf("%w: %w", ErrViewText, err)
	}
	if len(hrp) <= len(suffix) || hrp[len(hrp)-len(suffix):] != suffix || len(b) < 73 || b[0] != kind {
		return v, nil, "", fmt.Errorf("%w of this kind", ErrViewText)
	}
	v.ledger = [8]byte(b[1:9])
	if v.own, err = zk.ParseOwner(b[9:41]); err != nil {
		return v, nil, "", fmt.Errorf("%w: %w", ErrViewText, err)
	}
	if v.key, err = ecdh.X25519().NewPrivateKey(b[41:73]); err != nil {
		return v, nil, "", fmt.Errorf("%w: %w", ErrViewText, err)
	}
	return v, b[73:], hrp[:len(hrp)-len(suffix)], nil
}

// String hides the secret.
func (IncomingView) String() string { return secretText }

// GoString hides the secret.
func (IncomingView) GoString() string { return secretText }

// LogValue hides the secret.
func (IncomingView) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalText hides the secret.
func (IncomingView) MarshalText() ([]byte, error) { return []byte(secretText), nil }

// String hides the secret.
func (FullView) String() string { return secretText }

// GoString hides the secret.
func (FullView) GoString() string { return secretText }

// LogValue hides the secret.
func (FullView) LogValue() slog.Value { return slog.StringValue(secretText) }

// MarshalText hides the secret.
func (FullView) MarshalText() ([]byte, error) { return []byte(secretText), nil }
