package entry

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"reflect"
	"strings"
	"time"

	"github.com/comity-ledger/comity/zk"
)

// The JSON form of genesis is for people: operators write and review it, and [Genesis.Hash] is always of the binary form. Keys are
// lower-case hexadecimal, times RFC 3339 in UTC with milliseconds.
type genesisJSON struct {
	Name      string        `json:"name"`
	Prefix    string        `json:"prefix"`
	Origin    string        `json:"origin"`
	Created   string        `json:"created"`
	Network   string        `json:"network"`
	Assets    []assetJSON   `json:"assets"`
	Policy    policyJSON    `json:"policy"`
	LogKey    string        `json:"log_key"`
	Witnesses witnessesJSON `json:"witnesses"`
	Window    uint64        `json:"registry_window_millis"`
	MaxExpiry uint64        `json:"max_expiry_millis"`
	Oversight oversightJSON `json:"oversight"`
	Circuits  []circuitJSON `json:"circuits"`
}

type assetJSON struct {
	ID       uint32 `json:"id"`
	Code     string `json:"code"`
	Decimals uint8  `json:"decimals"`
}

type policyJSON struct {
	Threshold uint8    `json:"threshold"`
	Signers   []string `json:"signers"`
}

type witnessesJSON struct {
	Quorum  uint8         `json:"quorum"`
	Faulty  uint8         `json:"faulty"`
	Members []witnessJSON `json:"members"`
}

type witnessJSON struct {
	Name string `json:"name"`
	Key  string `json:"key"`
	Kind string `json:"kind"`
}

type oversightJSON struct {
	Key        string `json:"key"`
	Possession string `json:"possession"`
}

type circuitJSON struct {
	Circuit     string `json:"circuit"`
	Version     uint8  `json:"version"`
	Fingerprint string `json:"fingerprint"`
}

const timeLayout = "2006-01-02T15:04:05.000Z"

var (
	networkNames     = map[Network]string{Production: "production", Development: "development"}
	witnessKindNames = map[WitnessKind]string{ConsistencyWitness: "consistency", ValidatingWitness: "validating"}
)

// String gives the network's name in the JSON form.
func (n Network) String() string { return networkNames[n] }

// String gives the witness kind's name in the JSON form.
func (k WitnessKind) String() string { return witnessKindNames[k] }

// ParseWitnessKind reads what String wrote.
func ParseWitnessKind(s string) (WitnessKind, error) {
	for k, name := range witnessKindNames {
		if name == s {
			return k, nil
		}
	}
	return 0, Refuse(Malformed, "witness kind %q, want consistency or validating", s)
}

// JSON gives the form for people, indented, ending in a newline.
func (g *Genesis) JSON() ([]byte, error) {
	if err := g.Validate(); err != nil {
		return nil, err
	}
	out, err := json.MarshalIndent(g.json(), "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write genesis: %w", err)
	}
	return append(out, '\n'), nil
}

func (g *Genesis) json() *genesisJSON {
	j := &genesisJSON{
		Name: g.Name, Prefix: g.Prefix, Origin: g.Origin,
		Created: formatMillis(g.CreatedMillis), Network: g.Network.String(),
		Policy: policyJSON{Threshold: g.Policy.Threshold}, LogKey: g.LogKey.String(),
		Witnesses: witnessesJSON{Quorum: g.Witnesses.Quorum, Faulty: g.Witnesses.Faulty},
		Window:    g.RegistryWindowMillis, MaxExpiry: g.MaxExpiryMillis,
		Oversight: oversightJSON{hex.EncodeToString(putPoint(nil, g.OversightKey)), hex.EncodeToString(putSchnorr(nil, g.OversightPossession))},
	}
	for _, a := range g.Assets {
		j.Assets = append(j.Assets, assetJSON{uint32(a.ID), a.Code, a.Decimals})
	}
	for _, k := range g.Policy.Signers {
		j.Policy.Signers = append(j.Policy.Signers, k.String())
	}
	for _, w := range g.Witnesses.Members {
		j.Witnesses.Members = append(j.Witnesses.Members, witnessJSON{w.Name, w.Key.String(), w.Kind.String()})
	}
	for _, c := range g.Circuits {
		j.Circuits = append(j.Circuits, circuitJSON{c.ID.String(), c.Version, hex.EncodeToString(c.Fingerprint[:])})
	}
	return j
}

// ParseGenesisJSON reads the form for people. Unknown, missing, repeated or misspelt keys are errors, and so is every value that
// is not written as [Genesis.JSON] writes it; only white space is free.
func ParseGenesisJSON(b []byte) (*Genesis, error) {
	var j genesisJSON
	if err := strictJSON(b, &j); err != nil {
		return nil, Refuse(GenesisInvalid, "%v", err)
	}
	g := &Genesis{
		Name: j.Name, Prefix: j.Prefix, Origin: j.Origin, RegistryWindowMillis: j.Window, MaxExpiryMillis: j.MaxExpiry,
		Policy:    Policy{Threshold: j.Policy.Threshold},
		Witnesses: WitnessPolicy{Quorum: j.Witnesses.Quorum, Faulty: j.Witnesses.Faulty},
	}
	t, err := time.Parse(timeLayout, j.Created)
	if err != nil || t.UnixMilli() <= 0 {
		return nil, Refuse(GenesisInvalid, "created %q, want a time such as 2026-01-31T12:00:00.000Z", j.Created)
	}
	g.CreatedMillis = uint64(t.UnixMilli())
	for n, name := range networkNames {
		if name == j.Network {
			g.Network = n
		}
	}
	for _, a := range j.Assets {
		g.Assets = append(g.Assets, Asset{zk.AssetID(a.ID), a.Code, a.Decimals})
	}
	for _, s := range j.Policy.Signers {
		k, err := parseHex[SignerKey]("policy key", s)
		if err != nil {
			return nil, err
		}
		g.Policy.Signers = append(g.Policy.Signers, k)
	}
	if g.LogKey, err = parseHex[SignerKey]("log key", j.LogKey); err != nil {
		return nil, err
	}
	for _, w := range j.Witnesses.Members {
		k, err := parseHex[SignerKey]("witness key", w.Key)
		if err != nil {
			return nil, err
		}
		kind, err := ParseWitnessKind(w.Kind)
		if err != nil {
			return nil, Refuse(GenesisInvalid, "witness %s: %v", w.Name, err)
		}
		g.Witnesses.Members = append(g.Witnesses.Members, Witness{w.Name, k, kind})
	}
	key, err := parseHex[[64]byte]("oversight key", j.Oversight.Key)
	if err != nil {
		return nil, err
	}
	if g.OversightKey, err = zk.ParsePoint(key[:]); err != nil {
		return nil, Refuse(GenesisInvalid, "oversight key: %v", err)
	}
	sig, err := parseHex[[signatureSize]byte]("proof of possession", j.Oversight.Possession)
	if err != nil {
		return nil, err
	}
	if g.OversightPossession, err = zk.ParseSignature(sig[:]); err != nil {
		return nil, Refuse(GenesisInvalid, "proof of possession: %v", err)
	}
	for _, c := range j.Circuits {
		id, ok := circuitByName(c.Circuit)
		if !ok {
			return nil, Refuse(GenesisInvalid, "circuit %q is not known here", c.Circuit)
		}
		fp, err := parseHex[[32]byte]("fingerprint", c.Fingerprint)
		if err != nil {
			return nil, err
		}
		g.Circuits = append(g.Circuits, Circuit{id, c.Version, fp})
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	return g, nil
}

func circuitByName(name string) (zk.CircuitID, bool) {
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Hold, zk.Disburse16, zk.Disburse64, zk.Consolidate} {
		if id.String() == name {
			return id, true
		}
	}
	return 0, false
}

func formatMillis(ms uint64) string {
	if ms > maxCreatedMillis {
		return fmt.Sprintf("%d ms", ms)
	}
	return time.UnixMilli(int64(ms)).UTC().Format(timeLayout)
}

func parseHex[T interface {
	~[32]byte | ~[64]byte | ~[signatureSize]byte
}](what, s string) (out T, err error) {
	v := reflect.ValueOf(&out).Elem()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != v.Len() || hex.EncodeToString(b) != s {
		return out, Refuse(GenesisInvalid, "%s: want %d lower-case hexadecimal digits", what, 2*v.Len())
	}
	reflect.Copy(v, reflect.ValueOf(b))
	return out, nil
}

// strictJSON fills in a pointer to a struct from JSON that says exactly what the struct would say. encoding/json alone takes keys
// in any letter case, the last of two equal keys, and silence for a missing one.
func strictJSON(b []byte, into any) error {
	d := json.NewDecoder(bytes.NewReader(b))
	if err := repeatedKey(d); err != nil {
		return err
	}
	if _, err := d.Token(); err != io.EOF {
		return fmt.Errorf("bytes after the end of the JSON value")
	}
	d = json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(into); err != nil {
		return err
	}
	again, err := json.Marshal(into)
	if err != nil {
		return err
	}
	have, want := generic(b), generic(again)
	if where := difference("", have, want); where != "" {
		return fmt.Errorf("%s is missing, misspelt or not written in its one form", where)
	}
	return nil
}

func generic(b []byte) (v any) {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	if d.Decode(&v) != nil {
		return nil
	}
	return v
}

// difference names the first place where two JSON values differ.
func difference(at string, a, b any) string {
	am, aok := a.(map[string]any)
	bm, bok := b.(map[string]any)
	if !aok || !bok {
		if reflect.DeepEqual(a, b) {
			return ""
		}
		return "key " + strings.TrimPrefix(at, ".")
	}
	for k, v := range bm {
		if _, ok := am[k]; !ok {
			return "key " + strings.TrimPrefix(at+"."+k, ".")
		}
		if where := difference(at+"."+k, am[k], v); where != "" {
			return where
		}
	}
	if len(am) != len(bm) {
		return "a key of " + strings.TrimPrefix(at, ".")
	}
	return ""
}

// repeatedKey reads one JSON value and refuses an object that names a key twice.
func repeatedKey(d *json.Decoder) error {
	t, err := d.Token()
	if err != nil {
		return err
	}
	delim, ok := t.(json.Delim)
	if !ok {
		return nil
	}
	seen := map[string]bool{}
	for d.More() {
		if delim == '{' {
			t, err := d.Token()
			if err != nil {
				return err
			}
			key, _ := t.(string)
			if seen[key] {
				return fmt.Errorf("key %q appears twice", key)
			}
			seen[key] = true
		}
		if err := repeatedKey(d); err != nil {
			return err
		}
	}
	_, err = d.Token() // the closing delimiter
	return err
}
