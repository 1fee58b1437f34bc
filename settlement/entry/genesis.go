package entry

import (
	"crypto/sha256"
	"strings"

	"github.com/comity-ledger/comity/zk"
)

const (
	// MaxAssets is the most assets a ledger has.
	MaxAssets = 64
	// MaxWitnesses is the most witnesses a policy names.
	MaxWitnesses = 32
	// MaxDecimals is the most decimals an asset has: 64-bit amounts have 20 digits.
	MaxDecimals = 18
	// MaxOrigin is the longest checkpoint origin or witness name in bytes.
	MaxOrigin = 128
	// MaxPrefix is the longest address prefix.
	MaxPrefix = 16

	maxWindowMillis  = 24 * 3600 * 1000
	maxExpiryMillis  = 366 * 24 * 3600 * 1000
	maxCreatedMillis = 253402300799999 // the last millisecond of the year 9999
)

// Network says what the ledger's money is worth. A production network refuses development keys by fingerprint.
type Network uint8

// The networks.
const (
	Production  Network = 1
	Development Network = 2
)

// WitnessKind says what a witness checks before it cosigns.
type WitnessKind uint8

// The kinds of witness.
const (
	ConsistencyWitness WitnessKind = 1 // append-only growth
	ValidatingWitness  WitnessKind = 2 // and every proof, nullifier and root
)

// Genesis is the first entry of a ledger. Its hash is the ledger's name in everything that is signed.
type Genesis struct {
	Name                 string // shown to people
	Prefix               string // of addresses (bech32 human-readable part)
	Origin               string // of checkpoints
	CreatedMillis        uint64 // ledger time begins here
	Network              Network
	Assets               []Asset // ascending by id
	Policy               Policy
	LogKey               SignerKey // signs checkpoints
	Witnesses            WitnessPolicy
	RegistryWindowMillis uint64 // how long an older registry root still serves
	MaxExpiryMillis      uint64 // how far ahead of ledger time an expiry may lie
	OversightKey         zk.Point
	OversightPossession  zk.Signature // over OversightPossession(DraftHash, GenesisOversightEpoch)
	Circuits             []Circuit    // ascending by id
}

// Asset is one row of the asset table.
type Asset struct {
	ID       zk.AssetID // not 0
	Code     string     // 3 to 8 upper-case letters and digits, a letter first
	Decimals uint8      // minor units per unit: 10^Decimals
}

// WitnessPolicy says which cosignatures make a checkpoint final.
type WitnessPolicy struct {
	Quorum  uint8 // k: this many distinct witnesses
	Faulty  uint8 // f: this many of them may collude; 2k-n > f or refused
	Members []Witness
}

// Witness is one member of a witness policy.
type Witness struct {
	Name string // key name of its cosignatures (C2SP signed-note)
	Key  SignerKey
	Kind WitnessKind
}

// Circuit accepts one circuit by the fingerprint of its verifying key.
type Circuit struct {
	ID          zk.CircuitID
	Version     uint8
	Fingerprint [32]byte
}

// Kind returns KindGenesis.
func (*Genesis) Kind() Kind { return KindGenesis }

// Head returns nil: genesis is the root of authority, nobody's entry.
func (*Genesis) Head() *Header { return nil }

// AppendWitness appends nothing.
func (*Genesis) AppendWitness(dst []byte) []byte { return dst }

// AppendEffecting appends the entry's bytes.
func (g *Genesis) AppendEffecting(dst []byte) []byte {
	dst = append(dst, Version, byte(KindGenesis))
	dst = putText(putText(putText(dst, g.Name), g.Prefix), g.Origin)
	dst = append(put64(dst, g.CreatedMillis), uint8(g.Network))
	dst = append(dst, uint8(len(g.Assets)))
	for _, a := range g.Assets {
		dst = append(putText(put32(dst, uint32(a.ID)), a.Code), a.Decimals)
	}
	dst = g.Policy.append(dst)
	dst = append(dst, g.LogKey[:]...)
	dst = append(dst, g.Witnesses.Quorum, g.Witnesses.Faulty, uint8(len(g.Witnesses.Members)))
	for _, w := range g.Witnesses.Members {
		dst = append(append(putText(dst, w.Name), w.Key[:]...), uint8(w.Kind))
	}
	dst = put64(put64(dst, g.RegistryWindowMillis), g.MaxExpiryMillis)
	dst = putSchnorr(putPoint(dst, g.OversightKey), g.OversightPossession)
	return g.appendCircuits(dst)
}

func (g *Genesis) appendCircuits(dst []byte) []byte {
	dst = append(dst, uint8(len(g.Circuits)))
	for _, c := range g.Circuits {
		dst = append(append(dst, byte(c.ID), c.Version), c.Fingerprint[:]...)
	}
	return dst
}

// Hash is the ledger's name: SHA-256("comity/genesis/v1" || bytes).
func (g *Genesis) Hash() GenesisHash {
	return GenesisHash(sha256.Sum256(g.AppendEffecting([]byte("comity/genesis/v1"))))
}

// DraftHash stands for the ledger in the proof of possession of the first oversight key, which cannot cover a hash that covers it:
// SHA-256("comity/genesis-draft/v1" || bytes without the 96 bytes of that proof).
func (g *Genesis) DraftHash() GenesisHash {
	b := g.AppendEffecting([]byte("comity/genesis-draft/v1"))
	tail := len(g.appendCircuits(nil))
	cut := len(b) - tail
	return GenesisHash(sha256.Sum256(append(b[:cut-signatureSize], b[cut:]...)))
}

// CircuitsHash is the circuitsHash of state entries: SHA-256("comity/circuits/v1" || n || (id, version, fingerprint)...).
func (g *Genesis) CircuitsHash() [32]byte {
	return sha256.Sum256(g.appendCircuits([]byte("comity/circuits/v1")))
}

// Asset finds a row of the asset table.
func (g *Genesis) Asset(id zk.AssetID) (Asset, bool) {
	for _, a := range g.Assets {
		if a.ID == id {
			return a, true
		}
	}
	return Asset{}, false
}

// AssetByCode finds a row of the asset table by its code.
func (g *Genesis) AssetByCode(code string) (Asset, bool) {
	for _, a := range g.Assets {
		if a.Code == code {
			return a, true
		}
	}
	return Asset{}, false
}

// Circuit finds the accepted version of a circuit.
func (g *Genesis) Circuit(id zk.CircuitID) (Circuit, bool) {
	for _, c := range g.Circuits {
		if c.ID == id {
			return c, true
		}
	}
	return Circuit{}, false
}

// DecodeGenesis reads a genesis entry and validates it.
func DecodeGenesis(b []byte) (*Genesis, error) {
	if err := wantKind(b, KindGenesis); err != nil {
		return nil, err
	}
	r := reader{b: b[2:]}
	g := &Genesis{}
	g.Name = r.text("ledger name", MaxName)
	g.Prefix = r.text("address prefix", MaxPrefix)
	g.Origin = r.text("origin", MaxOrigin)
	g.CreatedMillis = r.u64()
	g.Network = Network(r.u8())
	for range r.u8() {
		g.Assets = append(g.Assets, Asset{ID: zk.AssetID(r.u32()), Code: r.text("asset code", 8), Decimals: r.u8()})
	}
	g.Policy.Threshold = r.u8()
	for range r.u8() {
		g.Policy.Signers = append(g.Policy.Signers, SignerKey(r.bytes32()))
	}
	g.LogKey = SignerKey(r.bytes32())
	g.Witnesses.Quorum = r.u8()
	g.Witnesses.Faulty = r.u8()
	for range r.u8() {
		g.Witnesses.Members = append(g.Witnesses.Members, Witness{r.text("witness name", MaxOrigin), SignerKey(r.bytes32()), WitnessKind(r.u8())})
	}
	g.RegistryWindowMillis = r.u64()
	g.MaxExpiryMillis = r.u64()
	g.OversightKey = r.point()
	g.OversightPossession = r.schnorr()
	for range r.u8() {
		g.Circuits = append(g.Circuits, Circuit{zk.CircuitID(r.u8()), r.u8(), r.bytes32()})
	}
	if err := r.end(); err != nil {
		return nil, err
	}
	if err := g.Validate(); err != nil {
		return nil, err
	}
	return g, nil
}

// Validate is the one place that says which ledgers may exist (SPEC 1.6).
func (g *Genesis) Validate() error {
	for _, check := range []func() error{g.validateNames, g.validateAssets, g.Policy.Validate, g.Witnesses.Validate, g.validateKeys, g.validateCircuits} {
		if err := check(); err != nil {
			return err
		}
	}
	// Last, because it hashes everything else.
	if !CheckPossession(g.OversightKey, OversightPossession(g.DraftHash(), GenesisOversightEpoch), g.OversightPossession) {
		return Refuse(OversightKeyInvalid, "the proof of possession of the first oversight key does not verify")
	}
	return nil
}

func (g *Genesis) validateNames() error {
	switch {
	case len(g.Name) > MaxName || !printable(g.Name):
		return Refuse(GenesisInvalid, "ledger name: 1 to %d bytes of printable text", MaxName)
	case !validPrefix(g.Prefix):
		return Refuse(GenesisInvalid, "address prefix %q: 1 to %d lower-case letters and digits, a letter first, ending in neither fvk nor ivk", g.Prefix, MaxPrefix)
	case len(g.Origin) > MaxOrigin || !plainASCII(g.Origin):
		return Refuse(GenesisInvalid, "origin: 1 to %d printable ASCII characters without space and plus", MaxOrigin)
	case g.CreatedMillis == 0 || g.CreatedMillis > maxCreatedMillis:
		return Refuse(GenesisInvalid, "created at %d ms", g.CreatedMillis)
	case g.Network != Production && g.Network != Development:
		return Refuse(GenesisInvalid, "network %d, want 1 (production) or 2 (development)", g.Network)
	case g.RegistryWindowMillis == 0 || g.RegistryWindowMillis > maxWindowMillis:
		return Refuse(GenesisInvalid, "registry window of %d ms, want 1 to %d", g.RegistryWindowMillis, maxWindowMillis)
	case g.MaxExpiryMillis < 1000 || g.MaxExpiryMillis > maxExpiryMillis:
		return Refuse(GenesisInvalid, "expiry at most %d ms ahead, want 1000 to %d", g.MaxExpiryMillis, uint64(maxExpiryMillis))
	}
	return nil
}

// validPrefix keeps addresses and view keys of all ledgers apart: a view key's prefix is the ledger's followed by fvk or ivk.
func validPrefix(s string) bool {
	if s == "" || len(s) > MaxPrefix || s[0] < 'a' || s[0] > 'z' || strings.HasSuffix(s, "fvk") || strings.HasSuffix(s, "ivk") {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'a' || s[i] > 'z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

func (g *Genesis) validateAssets() error {
	if len(g.Assets) < 1 || len(g.Assets) > MaxAssets {
		return Refuse(GenesisInvalid, "%d assets, want 1 to %d", len(g.Assets), MaxAssets)
	}
	codes := make(map[string]bool, len(g.Assets))
	for i, a := range g.Assets {
		if a.ID == 0 || i > 0 && a.ID <= g.Assets[i-1].ID {
			return Refuse(GenesisInvalid, "asset ids ascend from 1")
		}
		if !validCode(a.Code) || codes[a.Code] {
			return Refuse(GenesisInvalid, "asset code %q: 3 to 8 upper-case letters and digits, a letter first, no code twice", a.Code)
		}
		codes[a.Code] = true
		if a.Decimals > MaxDecimals {
			return Refuse(GenesisInvalid, "asset %s has %d decimals, at most %d", a.Code, a.Decimals, MaxDecimals)
		}
	}
	return nil
}

func validCode(s string) bool {
	if len(s) < 3 || len(s) > 8 || s[0] < 'A' || s[0] > 'Z' {
		return false
	}
	for i := range len(s) {
		if (s[i] < 'A' || s[i] > 'Z') && (s[i] < '0' || s[i] > '9') {
			return false
		}
	}
	return true
}

// Validate checks that any two quorums share more than f members (2k-n > f), so that f colluding witnesses cannot cosign two
// histories, and that nobody is listed twice.
func (w *WitnessPolicy) Validate() error {
	n, k, f := len(w.Members), int(w.Quorum), int(w.Faulty)
	if k < 1 || k > n || n > MaxWitnesses {
		return Refuse(GenesisInvalid, "a quorum of %d of %d witnesses, want 1 <= k <= n <= %d", k, n, MaxWitnesses)
	}
	if 2*k-n <= f {
		return Refuse(GenesisInvalid, "a quorum of %d of %d does not resist %d faulty witnesses: 2k-n must exceed f", k, n, f)
	}
	names := make(map[string]bool, n)
	keys := make(map[SignerKey]bool, n)
	for _, m := range w.Members {
		if len(m.Name) > MaxOrigin || !plainASCII(m.Name) || names[m.Name] {
			return Refuse(GenesisInvalid, "witness name %q: printable ASCII without space and plus, no name twice", m.Name)
		}
		if m.Kind != ConsistencyWitness && m.Kind != ValidatingWitness {
			return Refuse(GenesisInvalid, "witness %s is of kind %d", m.Name, m.Kind)
		}
		if err := m.Key.check(); err != nil {
			return err
		}
		if keys[m.Key] {
			return Refuse(GenesisInvalid, "witness %s has the key of another", m.Name)
		}
		names[m.Name], keys[m.Key] = true, true
	}
	return nil
}

// validateKeys keeps the roles apart: one key must not act as log, witness and signer.
func (g *Genesis) validateKeys() error {
	if err := g.LogKey.check(); err != nil {
		return err
	}
	seen := map[SignerKey]bool{g.LogKey: true}
	for _, m := range g.Witnesses.Members {
		if seen[m.Key] || m.Name == g.Origin {
			return Refuse(GenesisInvalid, "witness %s shares a key or its name with the log", m.Name)
		}
		seen[m.Key] = true
	}
	for _, k := range g.Policy.Signers {
		if seen[k] {
			return Refuse(GenesisInvalid, "policy key %s also is a log or witness key", k)
		}
	}
	return nil
}

func (g *Genesis) validateCircuits() error {
	if len(g.Circuits) < 1 {
		return Refuse(GenesisInvalid, "no circuit is accepted")
	}
	for i, c := range g.Circuits {
		if _, known := layoutOf(c.ID); !known || c.Version != CircuitVersion {
			return Refuse(GenesisInvalid, "circuit %d version %d is not known here", c.ID, c.Version)
		}
		if i > 0 && c.ID <= g.Circuits[i-1].ID {
			return Refuse(GenesisInvalid, "circuits ascend by id")
		}
		if c.Fingerprint == ([32]byte{}) {
			return Refuse(GenesisInvalid, "circuit %s has no fingerprint", c.ID)
		}
	}
	return nil
}
