package dataset

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

// asset is the only currency of a load ledger.
const asset zk.AssetID = 1

// Legs of a data set stay valid for this long after it was made: genesis allows 366 days, and the clocks of two machines differ.
const lifetimeMillis = 360 * 24 * 3600 * 1000

// Secrets are everything that a load ledger needs to be run: all of it follows from the seed of the data set, and none of it guards
// anything.
type Secrets struct {
	Log       ed25519.PrivateKey
	Witness   ed25519.PrivateKey
	Signers   []ed25519.PrivateKey
	oversight zk.Scalar
	seed      keys.Seed
	ask       zk.Scalar
}

// WitnessName is the name of the one witness in the policy of a load ledger.
const WitnessName = "load.example/witness"

func stream(seed [32]byte, name string) io.Reader {
	copy(seed[16:], name)
	return rand.NewChaCha8(seed)
}

// SecretsOf derives the secrets of the ledger of a data set.
func SecretsOf(seed [32]byte) (*Secrets, error) {
	r := stream(seed, "secrets")
	key := func() ed25519.PrivateKey {
		var b [ed25519.SeedSize]byte
		_, _ = io.ReadFull(r, b[:]) // a ChaCha8 stream does not fail
		return ed25519.NewKeyFromSeed(b[:])
	}
	s := &Secrets{Log: key(), Witness: key(), Signers: []ed25519.PrivateKey{key(), key()}}
	var err error
	if s.oversight, err = zk.NewScalar(r); err != nil {
		return nil, err
	}
	if s.ask, err = zk.NewScalar(r); err != nil {
		return nil, err
	}
	if s.seed, err = keys.NewSeed(r); err != nil {
		return nil, err
	}
	return s, nil
}

// genesis founds the ledger of a data set: a development ledger with the recorded development keys.
func (s *Secrets) genesis(nowMillis uint64) (*entry.Genesis, error) {
	g := &entry.Genesis{
		Name: "Load", Prefix: "load", Origin: "load.example/log", CreatedMillis: nowMillis, Network: entry.Development,
		Assets:               []entry.Asset{{ID: asset, Code: "LOD", Decimals: 2}},
		RegistryWindowMillis: 60_000, MaxExpiryMillis: 366 * 24 * 3600 * 1000,
		OversightKey: s.oversight.Base(),
	}
	public := func(k ed25519.PrivateKey) (entry.SignerKey, error) {
		return entry.SignerKeyOf(k.Public().(ed25519.PublicKey))
	}
	var err error
	if g.LogKey, err = public(s.Log); err != nil {
		return nil, err
	}
	witness, err := public(s.Witness)
	if err != nil {
		return nil, err
	}
	g.Witnesses = entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: WitnessName, Key: witness, Kind: entry.ConsistencyWitness}}}
	g.Policy.Threshold = uint8(len(s.Signers))
	for _, k := range s.Signers {
		signer, err := public(k)
		if err != nil {
			return nil, err
		}
		g.Policy.Signers = append(g.Policy.Signers, signer)
	}
	vks, err := setup.VerifyingKeys()
	if err != nil {
		return nil, err
	}
	for _, k := range vks {
		g.Circuits = append(g.Circuits, entry.Circuit{ID: k.Circuit(), Version: k.Version(), Fingerprint: k.Fingerprint()})
	}
	g.OversightPossession = entry.ProvePossession(s.oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), stream([32]byte{1}, "possession"))
	return g, g.Validate()
}

// sign replaces the policy signatures of an entry.
func (s *Secrets) sign(g *entry.Genesis, e entry.Entry) error {
	head := e.Head()
	head.Signatures = nil
	for _, k := range s.Signers {
		sig, err := g.Policy.SignAuthorisation(k, entry.IDOf(e))
		if err != nil {
			return fmt.Errorf("authorise: %w", err)
		}
		head.Signatures = append(head.Signatures, sig)
	}
	return nil
}

// Verifier adapts the recorded verifying keys to what settlement asks for.
type Verifier struct{ Set *verifier.Set }

// VerifyBatch checks the proofs with the system's randomness.
func (v Verifier) VerifyBatch(jobs []settlement.Job) []error {
	converted := make([]verifier.Job, len(jobs))
	for i, j := range jobs {
		converted[i] = verifier.Job{Circuit: j.Circuit, Public: j.Public, Proof: j.Proof}
	}
	return v.Set.VerifyBatch(converted, nil)
}

// chain is a ledger in memory, for making the prefix and for checking a data set: every entry gets a block of its own.
type chain struct {
	state    *settlement.State
	blocks   []*settlement.Block
	verifier settlement.Verifier
	settled  *settlement.Settled
}

func newChain(g *entry.Genesis) (*chain, error) {
	state, block, err := settlement.Begin(g)
	if err != nil {
		return nil, err
	}
	set, err := setup.Verifier(0)
	if err != nil {
		return nil, err
	}
	return &chain{state: state, blocks: []*settlement.Block{block}, verifier: Verifier{set}, settled: settlement.NewSettled()}, nil
}

func (c *chain) anchor(height uint64) (settlement.Anchor, bool) {
	if height >= uint64(len(c.blocks)) {
		return settlement.Anchor{}, false
	}
	return c.blocks[height].Anchor, true
}

// settle puts items into one block and returns what became of each.
func (c *chain) settle(items ...Item) ([]error, *settlement.Block, error) {
	answers := make([]error, len(items))
	var candidates []*settlement.Candidate
	var at []int
	for i, item := range items {
		sub, err := settlement.Decode(item.Entry, item.Segments)
		if err == nil {
			var candidate *settlement.Candidate
			if candidate, err = c.state.Admit(sub, c.state.Time(), c.anchor); err == nil {
				candidates, at = append(candidates, candidate), append(at, i)
			}
		}
		answers[i] = err
	}
	var proven []*settlement.Candidate
	var provenAt []int
	for k, err := range settlement.Prove(c.verifier, candidates) {
		if answers[at[k]] = err; err == nil {
			proven, provenAt = append(proven, candidates[k]), append(provenAt, at[k])
		}
	}
	p, err := c.state.Sequence(proven, c.state.Time(), c.settled, nil)
	if err != nil {
		return nil, nil, err
	}
	for k, r := range p.Results {
		answers[provenAt[k]] = r.Refusal
	}
	c.state = p.Next()
	c.blocks = append(c.blocks, p.Block)
	for _, n := range p.Block.Nullifiers {
		c.settled.AddNullifier(n.Nullifier, settlement.Prior{EntryIndex: n.EntryIndex, Height: p.Block.Height})
	}
	for _, u := range p.Block.Sequences {
		c.settled.AddSequence(u.Sequence, settlement.Prior{EntryIndex: u.EntryIndex, Height: p.Block.Height})
	}
	return answers, p.Block, nil
}

// mustSettle is settle for entries of the prefix, none of which may be refused.
func (c *chain) mustSettle(ctx context.Context, item Item) (*settlement.Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	answers, block, err := c.settle(item)
	if err := errors.Join(append(answers, err)...); err != nil {
		return nil, fmt.Errorf("settle an entry of the prefix: %w", err)
	}
	return block, nil
}

// Blocks returns the ledger of a data set as far as its prefix goes, each entry in a block of its own, and the state after it. Every item can be
// settled on it as it is: it is anchored at the last of these blocks. Proofs of the prefix are checked.
func (s *Set) Blocks(ctx context.Context) ([]*settlement.Block, *settlement.State, error) {
	g, err := entry.DecodeGenesis(s.Genesis)
	if err != nil {
		return nil, nil, err
	}
	c, err := newChain(g)
	if err != nil {
		return nil, nil, err
	}
	for _, item := range s.Prefix {
		if _, err := c.mustSettle(ctx, item); err != nil {
			return nil, nil, err
		}
	}
	if c.state.Anchor().NoteRoot != s.NoteRoot {
		return nil, nil, errors.New("the note tree after the prefix is not the data set's")
	}
	return c.blocks, c.state, nil
}
