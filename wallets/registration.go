package wallets

import (
	"bytes"
	"crypto/sha512"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// RegisterRequest is what a wallet gives to the registrar: its address, its public key, and a signature by which it shows that it holds
// the spending key. It holds no secret.
type RegisterRequest struct {
	Address    keys.Address
	Key        zk.Point
	Possession zk.Signature
}

const registerFormat = "comity/register-request/v1"

type registerJSON struct {
	Format     string   `json:"format"`
	Genesis    string   `json:"ledger"`
	Address    string   `json:"address"`
	Owner      zk.Owner `json:"owner"`
	Key        string   `json:"key"`
	Possession string   `json:"possession"`
}

// ownerPossession is what the signature covers: ledger and owner, under a name that nothing else is signed under.
func ownerPossession(ledger entry.GenesisHash, own zk.Owner) zk.Field {
	b := append([]byte("comity/possession/v1"), ledger[:]...)
	b = append(b, "owner"...)
	return zk.FieldFromWide(sha512.Sum512(append(b, own[:]...)))
}

// RequestRegistration makes the request of a wallet.
func RequestRegistration(k keys.Wallet, g *entry.Genesis, rand io.Reader) *RegisterRequest {
	hash := g.Hash()
	return &RegisterRequest{Address: k.Address(g.Prefix, hash), Key: k.AK(),
		Possession: zk.Sign(k.Spending(), ownerPossession(hash, k.Owner()).Element(), rand)}
}

// Marshal gives the request as indented JSON, ending in a newline.
func (r *RegisterRequest) Marshal(g *entry.Genesis) ([]byte, error) {
	key, sig := r.Key.Bytes(), r.Possession.Bytes()
	b, err := json.MarshalIndent(registerJSON{Format: registerFormat, Genesis: g.Hash().String(), Address: r.Address.String(), Owner: r.Address.Owner,
		Key: hex.EncodeToString(key[:]), Possession: hex.EncodeToString(sig[:])}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode the request: %w", err)
	}
	return append(b, '\n'), nil
}

// maxRegisterRequest bounds a request in bytes.
const maxRegisterRequest = 4096

// ParseRegisterRequest reads a request for the ledger g and checks it: that it is for this ledger, that the owner is the address's, and
// that the signature verifies. The key cannot be checked against the owner, which also hashes the nullifier key: a wrong pair harms
// only whoever asks.
func ParseRegisterRequest(b []byte, g *entry.Genesis) (*RegisterRequest, error) {
	bad := func(format string, args ...any) error { return Refuse(RequestInvalid, format, args...) }
	if len(b) > maxRegisterRequest {
		return nil, bad("%d bytes", len(b))
	}
	var j registerJSON
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&j); err != nil {
		return nil, bad("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, bad("something follows the request")
	}
	hash := g.Hash()
	if j.Format != registerFormat {
		return nil, bad("format %q, want %q", j.Format, registerFormat)
	}
	if j.Genesis != hash.String() {
		return nil, Refuse(OtherLedger, "the request is for ledger %q, this is %s", j.Genesis, hash)
	}
	r := new(RegisterRequest)
	var err error
	if r.Address, err = ParseAddress(j.Address, g.Prefix, LedgerPrefix(hash)); err != nil {
		return nil, err
	}
	if r.Address.Owner != j.Owner {
		return nil, bad("the owner is not the address's")
	}
	key, err := hex.DecodeString(j.Key)
	if err == nil {
		r.Key, err = zk.ParsePoint(key)
	}
	if err != nil {
		return nil, bad("key: %v", err)
	}
	sig, err := hex.DecodeString(j.Possession)
	if err == nil {
		r.Possession, err = zk.ParseSignature(sig)
	}
	if err != nil {
		return nil, bad("possession: %v", err)
	}
	if !zk.VerifySignature(r.Key, ownerPossession(hash, r.Address.Owner).Element(), r.Possession) {
		return nil, bad("the proof of possession does not verify")
	}
	return r, nil
}
