package main

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
	"github.com/comity-ledger/comity/zk/tree"
	"github.com/comity-ledger/comity/zk/verifier"
)

const (
	asset zk.AssetID = 1 // of every ledger: its own currency

	// lifetimeMillis is how long premade entries and their holds last; genesis allows 366 days, and clocks differ.
	lifetimeMillis  = 300 * 24 * 3600 * 1000
	maxExpiryMillis = 366 * 24 * 3600 * 1000

	// class is the one size class of every corridor, in minor units, and limit what may be in flight.
	class = 1_000_000
	limit = 1 << 50
	// noteValue is what a note of the prefix is worth.
	noteValue zk.Amount = 500_000

	quorum, faulty = 2, 1 // of two witnesses
)

var (
	names = []string{"aurelia", "borealis", "cordelia"}
	codes = []string{"AUR", "BOR", "COR"}
)

// nation is a ledger's secrets: all of them follow from the seed of the data set, and none guards anything.
type nation struct {
	name      string
	log       ed25519.PrivateKey
	signers   []ed25519.PrivateKey
	witnesses []witnessKey
	oversight zk.Scalar
	wallet    keys.Wallet // of the nation's payers, payees and providers alike
	genesis   *entry.Genesis
	hash      entry.GenesisHash
}

// witnessKey is one of the two validating witnesses of a ledger. With three ledgers each of the other nations runs one; with two, the
// ledger's own nation and the other.
type witnessKey struct {
	name   string
	key    ed25519.PrivateKey
	public entry.SignerKey
	runner int // nation
}

func stream(seed [32]byte, name string) io.Reader {
	copy(seed[16:], name)
	return rand.NewChaCha8(seed)
}

// nationsOf derives all nations of a data set.
func nationsOf(seed [32]byte, count int, nowMillis uint64) ([]*nation, error) {
	if count < 2 || count > len(names) {
		return nil, fmt.Errorf("%d ledgers, want 2 to %d", count, len(names))
	}
	vks, err := setup.VerifyingKeys()
	if err != nil {
		return nil, err
	}
	var out []*nation
	for i := range count {
		n := &nation{name: names[i]}
		r := stream(seed, n.name)
		key := func() (ed25519.PrivateKey, entry.SignerKey) {
			var b [ed25519.SeedSize]byte
			_, _ = io.ReadFull(r, b[:]) // a ChaCha8 stream does not fail
			k := ed25519.NewKeyFromSeed(b[:])
			return k, entry.SignerKey(k.Public().(ed25519.PublicKey))
		}
		g := &entry.Genesis{
			Name: n.name, Prefix: n.name[:3], Origin: n.name + ".example/log", CreatedMillis: nowMillis, Network: entry.Development,
			Assets: []entry.Asset{{ID: asset, Code: codes[i], Decimals: 2}}, RegistryWindowMillis: 60_000, MaxExpiryMillis: maxExpiryMillis,
			Witnesses: entry.WitnessPolicy{Quorum: quorum, Faulty: faulty},
		}
		n.log, g.LogKey = key()
		for range 2 {
			k, public := key()
			n.signers, g.Policy.Signers = append(n.signers, k), append(g.Policy.Signers, public)
		}
		g.Policy.Threshold = 2
		for step := range 2 {
			w := witnessKey{runner: (i + count - 2 + step) % count}
			w.name = names[w.runner] + ".example/witness-of-" + n.name
			w.key, w.public = key()
			n.witnesses = append(n.witnesses, w)
			g.Witnesses.Members = append(g.Witnesses.Members, entry.Witness{Name: w.name, Key: w.public, Kind: entry.ValidatingWitness})
		}
		if n.oversight, err = zk.NewScalar(r); err != nil {
			return nil, err
		}
		g.OversightKey = n.oversight.Base()
		for _, k := range vks {
			g.Circuits = append(g.Circuits, entry.Circuit{ID: k.Circuit(), Version: k.Version(), Fingerprint: k.Fingerprint()})
		}
		g.OversightPossession = entry.ProvePossession(n.oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), stream(seed, "possession"))
		if err := g.Validate(); err != nil {
			return nil, fmt.Errorf("found %s: %w", n.name, err)
		}
		n.genesis, n.hash = g, g.Hash()
		walletSeed, err := keys.NewSeed(r)
		if err != nil {
			return nil, err
		}
		ask, err := zk.NewScalar(r)
		if err != nil {
			return nil, err
		}
		if n.wallet, err = keys.Derive(walletSeed, ask, n.hash); err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// terms are what the ledger of nation `on` believes this one by.
func (n *nation) terms(on int) *entry.CorridorTerms {
	t := &entry.CorridorTerms{Name: n.name, Origin: n.genesis.Origin, LogKey: n.genesis.LogKey, Quorum: quorum, Faulty: faulty, Treasury: n.genesis.Policy,
		Cap: limit, SizeClasses: []uint64{class}, StaleMillis: 600_000}
	for _, w := range n.witnesses {
		t.Witnesses = append(t.Witnesses, entry.CorridorWitness{Name: w.name, Key: w.public, Own: w.runner == on})
	}
	return t
}

// proofs adapts the recorded verifying keys to what settlement asks for.
type proofs struct{ set *verifier.Set }

// VerifyBatch checks the proofs with the system's randomness.
func (p proofs) VerifyBatch(jobs []settlement.Job) []error {
	batch := make([]verifier.Job, len(jobs))
	for i, j := range jobs {
		batch[i] = verifier.Job(j)
	}
	return p.set.VerifyBatch(batch, nil)
}

// prefix makes a ledger in memory that holds what its payments need: a registered wallet, as many notes as honest holds will spend, and
// corridors to the other ledgers.
type prefix struct {
	*nation
	items    []item
	state    *settlement.State
	anchors  []settlement.Anchor
	verifier settlement.Verifier
	sequence uint64
	created  uint64 // milliseconds
	notes    []placed
	tree     *tree.Marked
	registry zk.Path
}

// placed is a note of the wallet in the tree.
type placed struct {
	note  zk.Note
	index uint32
}

// item is one entry and the segments that travel beside it.
type item struct {
	Entry    []byte
	Segments [][]byte
}

func (p *prefix) header() entry.Header {
	return entry.Header{Ledger: p.hash, ExpiryMillis: p.created + lifetimeMillis}
}

// authorised gives an entry the next sequence number and the treasury's signatures, and settles it.
func (p *prefix) authorised(ctx context.Context, e entry.Entry, segments [][]byte) (*settlement.Block, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, k := range p.signers {
		sig, err := p.genesis.Policy.SignAuthorisation(k, entry.IDOf(e))
		if err != nil {
			return nil, fmt.Errorf("authorise: %w", err)
		}
		e.Head().Signatures = append(e.Head().Signatures, sig)
	}
	one := item{Entry: entry.Encode(e), Segments: segments}
	sub, err := settlement.Decode(one.Entry, one.Segments)
	if err != nil {
		return nil, err
	}
	candidate, err := p.state.Admit(sub, p.state.Time(), func(height uint64) (settlement.Anchor, bool) {
		if height >= uint64(len(p.anchors)) {
			return settlement.Anchor{}, false
		}
		return p.anchors[height], true
	})
	if err != nil {
		return nil, err
	}
	candidates := []*settlement.Candidate{candidate}
	if err := errors.Join(settlement.Prove(p.verifier, candidates)...); err != nil {
		return nil, err
	}
	proposal, err := p.state.Sequence(candidates, p.state.Time(), settlement.NewSettled(), nil)
	if err != nil {
		return nil, err
	}
	if err := proposal.Results[0].Refusal; err != nil {
		return nil, err
	}
	p.state = proposal.Next()
	p.anchors, p.items = append(p.anchors, proposal.Block.Anchor), append(p.items, one)
	return proposal.Block, nil
}

func (p *prefix) next() entry.Header {
	p.sequence++
	h := p.header()
	h.Sequence = p.sequence
	return h
}

// make settles the prefix with room for so many honest holds.
func (p *prefix) make(ctx context.Context, m *maker, self, honest int) error {
	state, block, err := settlement.Begin(p.genesis)
	if err != nil {
		return err
	}
	p.state, p.anchors, p.tree = state, []settlement.Anchor{block.Anchor}, tree.NewMarked()
	register := &entry.Register{Header: p.next(), Owners: []entry.Registration{{Owner: p.wallet.Owner(), Limit: ^zk.Amount(0)}}}
	if _, err := p.authorised(ctx, register, nil); err != nil {
		return fmt.Errorf("%s registers: %w", p.name, err)
	}
	for len(p.notes) < honest {
		if err := p.issue(ctx, m, min(entry.MaxLegs, (honest-len(p.notes)+zk.LargeDisburse-1)/zk.LargeDisburse)); err != nil {
			return fmt.Errorf("%s issues: %w", p.name, err)
		}
	}
	for i, peer := range m.nations {
		if i == self {
			continue
		}
		set := &entry.Corridor{Header: p.next(), Peer: peer.hash, Action: entry.CorridorSets, Terms: peer.terms(self)}
		if _, err := p.authorised(ctx, set, nil); err != nil {
			return fmt.Errorf("%s opens a corridor to %s: %w", p.name, peer.name, err)
		}
	}
	if p.tree.Size() > 0 && p.tree.Root() != p.state.Anchor().NoteRoot {
		return errors.New("our note tree differs from the ledger's")
	}
	registered, ok := p.state.Registered(p.wallet.Owner())
	if !ok {
		return errors.New("our wallet is not registered")
	}
	p.registry, err = p.state.RegistryPath(registered.Index)
	return err
}

// issue makes 64 notes of our own in each leg. These notes are real; their proofs are simulated.
func (p *prefix) issue(ctx context.Context, m *maker, legs int) error {
	tx := &entry.Transaction{Type: entry.KindIssue, Header: p.next()}
	var segments [][]byte
	var made []zk.Note
	for range legs {
		w := p.witness(m, zk.Disburse64, nil)
		w.Public.Issued, w.Public.Asset = noteValue*zk.LargeDisburse, asset
		for range zk.LargeDisburse {
			w.Outputs = append(w.Outputs, zk.Note{Value: noteValue, Asset: asset, Owner: p.wallet.Owner()})
		}
		leg, segment, err := p.seal(m, w)
		if err != nil {
			return err
		}
		tx.Legs, segments = append(tx.Legs, leg), append(segments, segment)
		made = append(made, w.Outputs...)
	}
	if err := m.simulate(p, tx); err != nil {
		return err
	}
	block, err := p.authorised(ctx, tx, segments)
	if err != nil {
		return err
	}
	const level = 4 // of the subtree that a disbursement makes
	if err := p.tree.Align(level); err != nil {
		return err
	}
	if first := block.Commitments[0].Position.Index; p.tree.Size() != first {
		return fmt.Errorf("the ledger placed the notes at %d, we at %d", first, p.tree.Size())
	}
	for len(made) > 0 {
		var leaves []tree.Leaf
		for i, note := range made[:zk.LargeDisburse] {
			index := p.tree.Size() + uint32(i)
			if err := p.tree.Mark(index); err != nil {
				return err
			}
			p.notes, leaves = append(p.notes, placed{note, index}), append(leaves, note.Commitment().Element())
		}
		if err := p.tree.AppendLeaves(leaves, level); err != nil {
			return err
		}
		made = made[zk.LargeDisburse:]
	}
	return nil
}
