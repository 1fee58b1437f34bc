package ledgercmd

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Config is what an operator decides about a new ledger: everything in genesis but the keys that init makes or fetches (log key,
// circuits) and the time. deploy/aurelia/ledger.json is an example.
type Config struct {
	Name      string        `json:"name"`
	Prefix    string        `json:"prefix"`
	Origin    string        `json:"origin"`
	Network   string        `json:"network"` // "production" or "development"
	Assets    []AssetConfig `json:"assets"`
	Policy    PolicyConfig  `json:"policy"`
	Witnesses WitnessConfig `json:"witnesses"`
	// RegistryWindowMillis is how long a payment proven under an older registry stays valid.
	RegistryWindowMillis uint64 `json:"registry_window_millis"`
	// MaxExpiryMillis is how far ahead an entry's expiry may lie.
	MaxExpiryMillis uint64 `json:"max_expiry_millis"`
	// OversightKey is the public oversight key of the first epoch, 64 bytes in hexadecimal; --oversight-key sets it.
	OversightKey string `json:"oversight_key,omitempty"`
}

// AssetConfig is one currency.
type AssetConfig struct {
	ID       uint32 `json:"id"`
	Code     string `json:"code"`
	Decimals uint8  `json:"decimals"`
}

// PolicyConfig says who signs privileged entries; --signer adds to the list.
type PolicyConfig struct {
	Threshold uint8    `json:"threshold"`
	Signers   []string `json:"signers,omitempty"`
}

// WitnessConfig says whose cosignatures make a checkpoint final; --witness adds to the list.
type WitnessConfig struct {
	Quorum  uint8          `json:"quorum"`
	Faulty  uint8          `json:"faulty"`
	Members []MemberConfig `json:"members,omitempty"`
}

// MemberConfig is one witness.
type MemberConfig struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	Kind string `json:"kind"` // "validating" or "consistency"
}

// maxConfig bounds a configuration or proposal file.
const maxConfig = 8 << 20

// readFile reads a file that a user named; a missing or overlong file is a usage error.
func readFile(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cli.Exit(cli.Usage, err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	if len(data) > maxConfig {
		return nil, cli.Usagef("%s is longer than %d bytes", path, maxConfig)
	}
	return data, nil
}

// ReadConfig reads a configuration file. Unknown keys are errors, so that a misspelt limit does not silently mean none.
func ReadConfig(path string) (*Config, error) {
	data, err := readFile(path)
	if err != nil {
		return nil, err
	}
	d := json.NewDecoder(bytes.NewReader(data))
	d.DisallowUnknownFields()
	c := &Config{}
	if err := d.Decode(c); err != nil {
		return nil, cli.Usagef("%s: %w", path, describeJSON(data, d, err))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, cli.Usagef("%s: something follows the configuration", path)
	}
	return c, nil
}

// describeJSON adds the line of a JSON error.
func describeJSON(data []byte, d *json.Decoder, err error) error {
	offset := d.InputOffset()
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		offset = syntax.Offset
	case errors.As(err, &kind):
		offset = kind.Offset
	}
	offset = min(offset, int64(len(data)))
	return fmt.Errorf("line %d: %w", 1+bytes.Count(data[:offset], []byte("\n")), err)
}

// addSigner takes a public key in hexadecimal, or a file that holds one.
func (c *Config) addSigner(text string) error {
	key, err := keyOrFile(text, 32)
	if err != nil {
		return err
	}
	c.Policy.Signers = append(c.Policy.Signers, hex.EncodeToString(key))
	return nil
}

// addWitness takes NAME=KEY or NAME=KEY,consistency, or the file that holds such a line, as comity witness keygen prints it.
func (c *Config) addWitness(text string) error {
	name, rest, ok := strings.Cut(text, "=")
	if !ok {
		if line, err := readFile(text); err == nil {
			name, rest, ok = strings.Cut(strings.TrimSpace(string(line)), "=")
		}
	}
	if !ok {
		return cli.Usagef("witness %q: want NAME=KEY or NAME=KEY,consistency, or a file that holds such a line", text)
	}
	keyText, kind, _ := strings.Cut(rest, ",")
	if kind == "" {
		kind = entry.ValidatingWitness.String()
	}
	key, err := keyOrFile(keyText, 32)
	if err != nil {
		return err
	}
	c.Witnesses.Members = append(c.Witnesses.Members, MemberConfig{Name: name, Key: hex.EncodeToString(key), Kind: kind})
	return nil
}

// keyOrFile reads a key of size bytes in hexadecimal, or the file of that name that holds one.
func keyOrFile(text string, size int) ([]byte, error) {
	if key, err := hex.DecodeString(text); err == nil && len(key) == size {
		return key, nil
	}
	data, err := readFile(text)
	if err != nil {
		return nil, cli.Usagef("%q is neither a key of %d hexadecimal digits nor a file that can be read", text, 2*size)
	}
	key, err := hex.DecodeString(strings.TrimSpace(string(data)))
	if err != nil || len(key) != size {
		return nil, cli.Usagef("%s does not hold a key of %d hexadecimal digits", text, 2*size)
	}
	return key, nil
}

// draft makes the genesis that the configuration describes, all but the oversight key's proof of possession, which needs the rest.
func (c *Config) draft(logKey entry.SignerKey, circuits []entry.Circuit, createdMillis uint64) (*entry.Genesis, error) {
	g := &entry.Genesis{
		Name: c.Name, Prefix: c.Prefix, Origin: c.Origin, CreatedMillis: createdMillis,
		Policy: entry.Policy{Threshold: c.Policy.Threshold}, LogKey: logKey,
		Witnesses:            entry.WitnessPolicy{Quorum: c.Witnesses.Quorum, Faulty: c.Witnesses.Faulty},
		RegistryWindowMillis: c.RegistryWindowMillis, MaxExpiryMillis: c.MaxExpiryMillis, Circuits: circuits,
	}
	switch c.Network {
	case entry.Production.String():
		g.Network = entry.Production
	case entry.Development.String():
		g.Network = entry.Development
	default:
		return nil, cli.Usagef("network %q: want production or development", c.Network)
	}
	for _, a := range c.Assets {
		g.Assets = append(g.Assets, entry.Asset{ID: zk.AssetID(a.ID), Code: a.Code, Decimals: a.Decimals})
	}
	for _, text := range c.Policy.Signers {
		key, err := signerKey(text)
		if err != nil {
			return nil, cli.Usagef("policy signer: %w", err)
		}
		g.Policy.Signers = append(g.Policy.Signers, key)
	}
	for _, m := range c.Witnesses.Members {
		key, err := signerKey(m.Key)
		if err != nil {
			return nil, cli.Usagef("witness %s: %w", m.Name, err)
		}
		kind, err := entry.ParseWitnessKind(m.Kind)
		if err != nil {
			return nil, cli.Usagef("witness %s: %w", m.Name, err)
		}
		g.Witnesses.Members = append(g.Witnesses.Members, entry.Witness{Name: m.Name, Key: key, Kind: kind})
	}
	if c.OversightKey == "" {
		return nil, cli.Usagef("the configuration names no oversight key: give --oversight-key")
	}
	raw, err := hex.DecodeString(c.OversightKey)
	if err != nil {
		return nil, cli.Usagef("oversight key: want 128 hexadecimal digits")
	}
	if g.OversightKey, err = zk.ParsePoint(raw); err != nil {
		return nil, cli.Usagef("oversight key: %w", err)
	}
	return g, nil
}

func signerKey(text string) (entry.SignerKey, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return entry.SignerKey{}, errors.New("want 64 hexadecimal digits")
	}
	return entry.SignerKeyOf(raw)
}
