package oversight_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"iter"
	"math/rand/v2"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

const (
	aur zk.AssetID     = 1
	aux zk.AssetID     = 2
	aid zk.ProgrammeID = 7
	exr zk.ProgrammeID = 9

	dayMillis = 86_400_000
)

// world is a ledger's real core without proofs: every proof is believed, so that a test can settle what a broken circuit would let through. An
// independent model of what was paid is kept beside it.
type world struct {
	t       testing.TB
	rand    *rand.ChaCha8
	genesis *entry.Genesis
	signers []ed25519.PrivateKey
	log     *proof.LogSigner
	witness *proof.Cosigner
	state   *settlement.State
	settled *settlement.Settled
	blocks  []*settlement.Block
	now     uint64
	epochs  map[uint32]zk.Scalar
	readers map[zk.ProgrammeID]zk.Scalar
	at      map[zk.Commitment]zk.Position
	pending []*settlement.Candidate
	last    *entry.Transaction // that do submitted
}

type trusting struct{}

func (trusting) VerifyBatch(jobs []settlement.Job) []error { return make([]error, len(jobs)) }

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func newWorld(t testing.TB, seed string) *world {
	w := &world{t: t, rand: rand.NewChaCha8(sha256.Sum256([]byte(seed))), epochs: map[uint32]zk.Scalar{}, readers: map[zk.ProgrammeID]zk.Scalar{},
		at: map[zk.Commitment]zk.Position{}, settled: settlement.NewSettled(), now: 1_767_225_600_000}
	g := &entry.Genesis{Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: w.now, Network: entry.Development,
		Assets:               []entry.Asset{{ID: aur, Code: "AUR", Decimals: 2}, {ID: aux, Code: "AUX"}},
		RegistryWindowMillis: 60_000, MaxExpiryMillis: 3_600_000}
	key := func() (ed25519.PrivateKey, entry.SignerKey) {
		var seed [32]byte
		_, _ = w.rand.Read(seed[:])
		k := ed25519.NewKeyFromSeed(seed[:])
		return k, must(entry.SignerKeyOf(k.Public().(ed25519.PublicKey)))
	}
	for range 3 {
		k, public := key()
		w.signers, g.Policy.Signers = append(w.signers, k), append(g.Policy.Signers, public)
	}
	g.Policy.Threshold = 2
	logKey, public := key()
	g.LogKey = public
	witnessKey, public := key()
	g.Witnesses = entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w1.example", Key: public, Kind: entry.ValidatingWitness}}}
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Hold, zk.Disburse16, zk.Disburse64, zk.Consolidate} {
		g.Circuits = append(g.Circuits, entry.Circuit{ID: id, Version: zk.CircuitVersion, Fingerprint: sha256.Sum256([]byte{byte(id)})})
	}
	w.epochs[1] = w.scalar()
	g.OversightKey = w.epochs[1].Base()
	g.OversightPossession = entry.ProvePossession(w.epochs[1], entry.OversightPossession(g.DraftHash(), 1), w.rand)
	w.genesis, w.log, w.witness = g, must(proof.NewLogSigner(g.Origin, logKey)), must(proof.NewCosigner("w1.example", witnessKey))
	state, block, err := settlement.Begin(g)
	if err != nil {
		t.Fatal(err)
	}
	w.state, w.blocks = state, []*settlement.Block{block}
	return w
}

func (w *world) scalar() zk.Scalar { return must(zk.NewScalar(w.rand)) }

func (w *world) field() zk.Field {
	var wide [64]byte
	_, _ = w.rand.Read(wide[:])
	return zk.FieldFromWide(wide)
}

func (w *world) owner() zk.Owner { return zk.Owner(w.field()) }

func (w *world) header() entry.Header {
	return entry.Header{Ledger: w.genesis.Hash(), ExpiryMillis: w.now + 60_000}
}

func (w *world) anchor(height uint64) (settlement.Anchor, bool) {
	if height >= uint64(len(w.blocks)) {
		return settlement.Anchor{}, false
	}
	return w.blocks[height].Anchor, true
}

// settle closes a block with what was submitted.
func (w *world) settle() {
	w.t.Helper()
	w.now += 1000
	p, err := w.state.Sequence(w.pending, w.now, w.settled, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	for _, r := range p.Results {
		if r.Status != settlement.Accepted {
			w.t.Fatalf("not accepted: %v", r.Refusal)
		}
	}
	w.pending = nil
	w.state, w.blocks = p.Next(), append(w.blocks, p.Block)
	for _, c := range p.Block.Commitments {
		w.at[c.Commitment] = c.Position
	}
}

func (w *world) submit(e entry.Entry, segments ...[]byte) {
	w.t.Helper()
	sub, err := settlement.Decode(entry.Encode(e), segments)
	if err != nil {
		w.t.Fatal(err)
	}
	c, err := w.state.Admit(sub, w.now, w.anchor)
	if err == nil {
		err = settlement.Prove(trusting{}, []*settlement.Candidate{c})[0]
	}
	if err != nil {
		w.t.Fatal(err)
	}
	w.pending = append(w.pending, c)
}

// admin signs an entry and settles it in a block of its own.
func (w *world) admin(e entry.Entry) {
	w.t.Helper()
	head := e.Head()
	head.Sequence = w.state.NextSequence()
	w.sign(e)
	w.submit(e)
	w.settle()
}

func (w *world) sign(e entry.Entry) {
	id := entry.IDOf(e)
	for _, k := range w.signers[:2] {
		e.Head().Signatures = append(e.Head().Signatures, must(w.genesis.Policy.SignAuthorisation(k, id)))
	}
}

func (w *world) programme(id zk.ProgrammeID, name string) {
	w.readers[id] = w.scalar()
	w.admin(&entry.Programme{Header: w.header(), Programme: id, Name: name, Status: entry.StatusOpen, Reader: w.readers[id].Base(),
		Possession: entry.ProvePossession(w.readers[id], entry.ReaderPossession(w.genesis.Hash(), id), w.rand)})
}

func (w *world) rotate() {
	epoch, _ := w.state.Oversight()
	epoch++
	w.epochs[epoch] = w.scalar()
	w.admin(&entry.Oversight{Header: w.header(), Epoch: epoch, Key: w.epochs[epoch].Base(),
		Possession: entry.ProvePossession(w.epochs[epoch], entry.OversightPossession(w.genesis.Hash(), epoch), w.rand)})
}

// move is a transaction of one leg.
type move struct {
	circuit          zk.CircuitID
	sender           zk.Owner
	asset            zk.AssetID
	programme        zk.ProgrammeID // of the inputs
	inputs           []zk.Note
	outputs          []zk.Note // value, owner and programme; the rest is filled in
	issued, redeemed zk.Amount
	slots            []uint32        // instead of the inputs' own
	condition        entry.Condition // of a hold
	sizeClass        uint64
	tamper           func(*entry.Leg)
}

// do submits a move and returns its outputs. settle closes the block.
func (w *world) do(m move) []zk.Note {
	w.t.Helper()
	shape := m.circuit.Shape()
	epoch, ovk := w.state.Oversight()
	public := zk.LegPublic{Circuit: m.circuit, OversightKey: ovk}
	for range shape.Inputs {
		public.Nullifiers = append(public.Nullifiers, zk.Nullifier(w.field()))
	}
	slots := make([]uint32, shape.Inputs)
	for i, n := range m.inputs {
		slots[i] = w.at[n.Commitment()].Index + 1
	}
	if m.slots != nil {
		copy(slots, m.slots)
	}
	outputs := append([]zk.Note(nil), m.outputs...)
	for len(outputs) < shape.Outputs {
		outputs = append(outputs, zk.Note{Owner: m.sender, Programme: m.programme})
	}
	for i := range outputs {
		outputs[i].Asset = m.asset
	}
	reader := ovk
	if m.programme != 0 {
		reader = w.readers[m.programme].Base()
	}
	if err := keys.SealLeg(&public, w.scalar(), reader, m.sender, slots, outputs); err != nil {
		w.t.Fatal(err)
	}
	segment := []byte("segment")
	leg := entry.Leg{Circuit: m.circuit, CircuitVersion: zk.CircuitVersion, OversightEpoch: epoch, Issued: m.issued, Redeemed: m.redeemed, Epk: public.Epk,
		Wrap: public.Wrap, Sender: public.Sender, Nullifiers: public.Nullifiers, Commitments: public.Commitments, Cipher: public.Cipher,
		SubtreeRoot: public.SubtreeRoot, ReturnCommitment: public.ReturnCommitment, SizeClass: m.sizeClass, Condition: m.condition, SegmentHash: entry.SegmentHash(segment), Anchor: w.state.Height()}
	kind := entry.KindTransfer
	if m.issued != 0 || m.redeemed != 0 {
		leg.Asset, leg.Programme = m.asset, m.programme
		kind = entry.KindIssue
		if m.redeemed != 0 {
			kind = entry.KindRedeem
		}
	}
	if m.tamper != nil {
		m.tamper(&leg)
	}
	tx := &entry.Transaction{Type: kind, Header: w.header(), Legs: []entry.Leg{leg}}
	w.last = tx
	if kind != entry.KindTransfer {
		tx.Sequence = w.state.NextSequence()
		w.sign(tx)
	}
	w.submit(tx, segment)
	return outputs
}

// now1 is do and settle.
func (w *world) now1(m move) []zk.Note {
	w.t.Helper()
	out := w.do(m)
	w.settle()
	return out
}

func (w *world) issue(to zk.Owner, asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount) zk.Note {
	w.t.Helper()
	return w.now1(move{circuit: zk.Transfer, sender: to, asset: asset, programme: programme, issued: amount,
		outputs: []zk.Note{{Value: amount, Owner: to, Programme: programme}}})[0]
}

// pay gives amount of one note to another owner and the rest back.
func (w *world) pay(from zk.Note, to zk.Owner, amount zk.Amount) (paid, change zk.Note) {
	w.t.Helper()
	out := w.now1(move{circuit: zk.Transfer, sender: from.Owner, asset: from.Asset, programme: from.Programme, inputs: []zk.Note{from},
		outputs: []zk.Note{{Value: amount, Owner: to, Programme: from.Programme}, {Value: from.Value - amount, Owner: from.Owner, Programme: from.Programme}}})
	return out[0], out[1]
}

func (w *world) sequence() iter.Seq2[*wallets.Block, error] { return stream(w.blocks) }

func stream(blocks []*settlement.Block) iter.Seq2[*wallets.Block, error] {
	return func(yield func(*wallets.Block, error) bool) {
		for _, b := range blocks {
			if !yield(&wallets.Block{Height: b.Height, TimeMillis: b.Time, FirstIndex: b.FirstIndex, Entries: b.Entries, Segments: b.Segments}, nil) {
				return
			}
		}
	}
}

// final is the checkpoint at the end of a block, cosigned and checked.
func (w *world) final(b *settlement.Block) *proof.Final {
	head := proof.Head{Size: b.Size(), Root: b.Root}
	policy := must(wallets.PolicyOf(w.genesis))
	signed := w.log.Sign(head)
	line := must(w.witness.Sign(proof.Checkpoint{Origin: w.genesis.Origin, Head: head}, w.now/1000))
	signed, _, err := policy.AddCosignatures(signed, line)
	if err != nil {
		w.t.Fatal(err)
	}
	return must(policy.Check(signed, w.now/1000+1))
}

func (w *world) head() *settlement.Block { return w.blocks[len(w.blocks)-1] }

func (w *world) oversight() []zk.Scalar {
	var out []zk.Scalar
	for e := uint32(1); e <= uint32(len(w.epochs)); e++ {
		out = append(out, w.epochs[e])
	}
	return out
}

func (w *world) scan(secrets ...zk.Scalar) (*oversight.Audit, error) {
	return oversight.Scan(context.Background(), w.sequence(), oversight.Config{Genesis: w.genesis.Hash(), Secrets: secrets, Checkpoint: w.final(w.head()), Workers: 2})
}

func (w *world) audit(secrets ...zk.Scalar) *oversight.Audit {
	w.t.Helper()
	a, err := w.scan(secrets...)
	if err != nil {
		w.t.Fatal(err)
	}
	return a
}

func problems(ms []oversight.Mismatch) string {
	var out []oversight.Problem
	for _, m := range ms {
		out = append(out, m.Problem)
	}
	return fmt.Sprint(out)
}
