package keystore

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"filippo.io/age"
)

// maxKeyFile bounds a key file in bytes: an age header with one scrypt stanza and a short body.
const maxKeyFile = 4096

// maxScryptLogN is the costliest passphrase that is tried when opening: a hostile file may not ask for hours or all memory.
const maxScryptLogN = 20

// Secrets are what a wallet must keep: everything else derives from them.
type Secrets struct {
	Seed     [32]byte // viewing and nullifier keys derive from it
	Spending [32]byte // the spending key ask
}

// String hides the secrets.
func (Secrets) String() string { return "[secret]" }

// GoString hides the secrets.
func (Secrets) GoString() string { return "[secret]" }

// LogValue hides the secrets.
func (Secrets) LogValue() slog.Value { return slog.StringValue("[secret]") }

// keyBody is the plaintext of a key file.
type keyBody struct {
	Format   string `json:"format"`
	Version  int    `json:"version"`
	Genesis  string `json:"genesis"`
	Seed     string `json:"seed"`
	Spending string `json:"spending"`
}

const keyFormat = "comity wallet key"

// SealKeys encrypts the keys to a passphrase. logN is the scrypt work factor, 0 for the default of 18.
func SealKeys(s Secrets, genesis [32]byte, passphrase []byte, logN int) ([]byte, error) {
	recipient, err := age.NewScryptRecipient(string(passphrase))
	if err != nil {
		return nil, fmt.Errorf("use passphrase: %w", err)
	}
	if logN != 0 {
		if logN < 8 || logN > maxScryptLogN {
			return nil, fmt.Errorf("scrypt work factor 2^%d is outside 2^8 to 2^%d", logN, maxScryptLogN)
		}
		recipient.SetWorkFactor(logN)
	}
	body, err := json.Marshal(keyBody{Format: keyFormat, Version: Version, Genesis: hex.EncodeToString(genesis[:]),
		Seed: hex.EncodeToString(s.Seed[:]), Spending: hex.EncodeToString(s.Spending[:])})
	if err != nil {
		return nil, fmt.Errorf("encode keys: %w", err)
	}
	var out bytes.Buffer
	w, err := age.Encrypt(&out, recipient)
	if err == nil {
		_, err = w.Write(body)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		return nil, fmt.Errorf("encrypt keys: %w", err)
	}
	return out.Bytes(), nil
}

// OpenKeys decrypts a key file. It fails with ErrPassphrase, ErrNewer or ErrCorrupt.
func OpenKeys(sealed, passphrase []byte) (Secrets, [32]byte, error) {
	return openKeys(sealed, passphrase, maxScryptLogN)
}

func openKeys(sealed, passphrase []byte, maxLogN int) (s Secrets, genesis [32]byte, err error) {
	if len(sealed) > maxKeyFile {
		return s, genesis, ErrCorrupt.with("a key file of %d bytes", len(sealed))
	}
	identity, err := age.NewScryptIdentity(string(passphrase))
	if err != nil {
		return s, genesis, ErrPassphrase.with("an empty passphrase")
	}
	identity.SetMaxWorkFactor(maxLogN)
	r, err := age.Decrypt(bytes.NewReader(sealed), identity)
	if err != nil {
		if errors.Is(err, age.ErrIncorrectIdentity) {
			return s, genesis, ErrPassphrase.with("the passphrase does not open the key file")
		}
		var none *age.NoIdentityMatchError
		if errors.As(err, &none) {
			return s, genesis, ErrPassphrase.with("the passphrase does not open the key file")
		}
		return s, genesis, ErrCorrupt.with("key file: %v", err)
	}
	body, err := io.ReadAll(io.LimitReader(r, maxKeyFile))
	if err != nil {
		return s, genesis, ErrCorrupt.with("key file: %v", err)
	}
	var k keyBody
	d := json.NewDecoder(bytes.NewReader(body))
	if err := d.Decode(&k); err != nil || k.Format != keyFormat || k.Version < 1 {
		return s, genesis, ErrCorrupt.with("the key file holds no wallet key")
	}
	if k.Version > Version {
		return s, genesis, ErrNewer.with("the key file has version %d, this program reads up to %d", k.Version, Version)
	}
	for _, part := range []struct {
		to   *[32]byte
		from string
	}{{&genesis, k.Genesis}, {&s.Seed, k.Seed}, {&s.Spending, k.Spending}} {
		b, err := hex.DecodeString(part.from)
		if err != nil || len(b) != 32 {
			return Secrets{}, [32]byte{}, ErrCorrupt.with("the key file holds no wallet key")
		}
		copy(part.to[:], b)
	}
	return s, genesis, nil
}
