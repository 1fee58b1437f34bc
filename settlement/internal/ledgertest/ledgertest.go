// Package ledgertest makes ledgers, entries and stand-ins for proofs for the
// tests of the packages below settlement. Everything follows from a seed.
package ledgertest

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"math/rand/v2"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Start is when ledgers made here begin, in milliseconds since the Unix epoch.
const Start = 1_767_225_600_000

// Registry window and greatest expiry of ledgers made here.
const (
	WindowMillis    = 20_000
	MaxExpiryMillis = 3_600_000
)

// Rand is a seeded source of everything that a test draws.
type Rand struct {
	*rand.Rand
	bytes *rand.ChaCha8
}

// NewRand seeds one; streams tell sources of one seed apart.
func NewRand(seed uint64, stream string) *Rand {
	key := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(stream+"/"), seed))
	src := rand.NewChaCha8(key)
	return &Rand{Rand: rand.New(src), bytes: src}
}

// Read fills p; it never fails.
func (r *Rand) Read(p []byte) (int, error) { return r.bytes.Read(p) }

// Field draws a field element.
func (r *Rand) Field() zk.Field {
	var wide [64]byte
	_, _ = r.Read(wide[:])
	return zk.FieldFromWide(wide)
}

// Bytes draws n bytes.
func (r *Rand) Bytes(n int) []byte {
	b := make([]byte, n)
	_, _ = r.Read(b)
	return b
}

// Chance is true with probability p.
func (r *Rand) Chance(p float64) bool { return r.Float64() < p }

// Ledger is a genesis with the secrets that a test needs.
type Ledger struct {
	Genesis *entry.Genesis
	Hash    entry.GenesisHash
	Signers []ed25519.PrivateKey
	// LogKey signs checkpoints, WitnessKey cosigns them.
	LogKey, WitnessKey ed25519.PrivateKey
	// OversightKey is the secret of the current oversight epoch, as far as the
	// entry that began it came from here.
	OversightKey zk.Scalar
	rand         *Rand
}

// Asset ids of ledgers made here.
const (
	AUR zk.AssetID = 1
	AUX zk.AssetID = 2
)

// NewLedger makes a genesis with three signers, two of them needed. Equal
// seeds give equal ledgers.
func NewLedger(seed uint64) *Ledger {
	r := NewRand(seed, "ledger")
	key := func() ed25519.PrivateKey { return ed25519.NewKeyFromSeed(r.Bytes(ed25519.SeedSize)) }
	l := &Ledger{rand: r, LogKey: key(), WitnessKey: key()}
	g := &entry.Genesis{
		Name: "Republic of Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: Start, Network: entry.Development,
		Assets:               []entry.Asset{{ID: AUR, Code: "AUR", Decimals: 2}, {ID: AUX, Code: "AUX", Decimals: 0}},
		RegistryWindowMillis: WindowMillis, MaxExpiryMillis: MaxExpiryMillis,
		LogKey:    public(l.LogKey),
		Witnesses: entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w1.example", Key: public(l.WitnessKey), Kind: entry.ValidatingWitness}}},
	}
	g.Policy.Threshold = 2
	for range 3 {
		k := key()
		l.Signers = append(l.Signers, k)
		g.Policy.Signers = append(g.Policy.Signers, public(k))
	}
	for _, id := range zk.Circuits() {
		g.Circuits = append(g.Circuits, entry.Circuit{ID: id, Version: zk.CircuitVersion, Fingerprint: sha256.Sum256([]byte{byte(id)})})
	}
	oversight := l.scalar()
	l.OversightKey = oversight
	g.OversightKey = oversight.Base()
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), r)
	l.Genesis, l.Hash = g, g.Hash()
	return l
}

func public(k ed25519.PrivateKey) entry.SignerKey {
	p, err := entry.SignerKeyOf(k.Public().(ed25519.PublicKey))
	must(err)
	return p
}

func (l *Ledger) scalar() zk.Scalar {
	s, err := zk.NewScalar(l.rand)
	must(err)
	return s
}

// Header begins an entry of this ledger.
func (l *Ledger) Header(expiry, sequence uint64) entry.Header {
	return entry.Header{Ledger: l.Hash, ExpiryMillis: expiry, Sequence: sequence}
}

// Sign replaces an entry's policy signatures by those of the signers named by
// index, in ascending order.
func (l *Ledger) Sign(e entry.Entry, signers ...int) {
	head := e.Head()
	head.Signatures = nil
	id := entry.IDOf(e)
	for _, i := range signers {
		s, err := l.Genesis.Policy.SignAuthorisation(l.Signers[i], id)
		must(err)
		head.Signatures = append(head.Signatures, s)
	}
}

// Programme makes an entry that opens or closes a programme, with a new reader
// key, not signed yet.
func (l *Ledger) Programme(h entry.Header, id zk.ProgrammeID, status entry.ProgrammeStatus) *entry.Programme {
	reader := l.scalar()
	return &entry.Programme{Header: h, Programme: id, Name: "Field hospitals", Status: status, Reader: reader.Base(),
		Possession: entry.ProvePossession(reader, entry.ReaderPossession(h.Ledger, id), l.rand)}
}

// Oversight makes an entry that begins an oversight epoch with a new key, not
// signed yet.
func (l *Ledger) Oversight(h entry.Header, epoch uint32) *entry.Oversight {
	key := l.scalar()
	l.OversightKey = key
	return &entry.Oversight{Header: h, Epoch: epoch, Key: key.Base(),
		Possession: entry.ProvePossession(key, entry.OversightPossession(h.Ledger, epoch), l.rand)}
}

// Leg makes a leg of random fields in the shape of its circuit, and its
// segment. Nothing in it is proven.
func Leg(r *Rand, circuit zk.CircuitID, epoch uint32) (entry.Leg, []byte) {
	shape := circuit.Shape()
	leg := entry.Leg{Circuit: circuit, CircuitVersion: zk.CircuitVersion, OversightEpoch: epoch,
		Epk: [2]zk.Field{r.Field(), r.Field()}, Wrap: r.Field()}
	for range shape.SenderFields() {
		leg.Sender = append(leg.Sender, r.Field())
	}
	for range shape.Inputs {
		leg.Nullifiers = append(leg.Nullifiers, zk.Nullifier(r.Field()))
	}
	for range shape.Outputs {
		leg.Commitments = append(leg.Commitments, zk.Commitment(r.Field()))
		leg.Cipher = append(leg.Cipher, [2]zk.Field{r.Field(), r.Field()})
	}
	if shape.SubtreeLevel > 0 {
		leg.SubtreeRoot = zk.Root(r.Field())
	}
	if shape.Held {
		leg.ReturnCommitment = zk.Commitment(r.Field())
		leg.SizeClass = zk.LocalHold
	}
	segment := r.Bytes(24)
	leg.SegmentHash = entry.SegmentHash(segment)
	return leg, segment
}

// Stamp stands in for a proof: a nonce, which a re-randomised proof changes,
// and a keyed hash of the nonce and of every public input.
func Stamp(key [32]byte, nonce [16]byte, public *zk.LegPublic) (p zk.Proof) {
	copy(p[:], nonce[:])
	mac := hmac.New(sha256.New, key[:])
	mac.Write(nonce[:])
	for _, e := range public.AppendInputs(nil) {
		b := e.Bytes()
		mac.Write(b[:])
	}
	mac.Write([]byte{byte(public.Circuit)})
	mac.Sum(p[16:16])
	return p
}

// StampVerifier accepts proofs that Stamp made with its key.
type StampVerifier struct {
	Key   [32]byte
	Count int // proofs checked so far
}

// ErrStamp is the reason for which a StampVerifier does not accept.
var ErrStamp = errors.New("ledgertest: no such stamp")

// VerifyBatch implements settlement.Verifier.
func (v *StampVerifier) VerifyBatch(jobs []settlement.Job) []error {
	out := make([]error, len(jobs))
	for i, job := range jobs {
		v.Count++
		if *job.Proof != Stamp(v.Key, [16]byte(job.Proof[:16]), job.Public) {
			out[i] = ErrStamp
		}
	}
	return out
}

func must(err error) {
	if err != nil {
		panic(err)
	}
}

// Without takes a circuit off the ledger's list, before it begins.
func (l *Ledger) Without(id zk.CircuitID) {
	var kept []entry.Circuit
	for _, c := range l.Genesis.Circuits {
		if c.ID != id {
			kept = append(kept, c)
		}
	}
	l.Genesis.Circuits = kept
	oversight := l.scalar()
	l.OversightKey = oversight
	l.Genesis.OversightKey = oversight.Base()
	l.Genesis.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(l.Genesis.DraftHash(), entry.GenesisOversightEpoch), l.rand)
	l.Hash = l.Genesis.Hash()
}
