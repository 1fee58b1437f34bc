// Package dataset makes the entries that a load test sends: a ledger with money in it, and payments against it whose proofs were
// made once and are kept in a file.
//
// Two kinds of payments are in a data set, and reports tell them apart. Honest ones are whole: real notes of a real wallet, ciphertexts
// that open, a proof that took a second. Simulated ones have random fields in the shape of a leg and a proof made from the development
// trapdoor (zk/setup/simulator); the ledger cannot tell them from honest ones and does exactly the same work for them.
//
// A data set holds its genesis, the entries that put the money there (the prefix), and the anchor of all proofs. It serves any
// number of runs, each on a new ledger with that genesis, for a year after it was made.
package dataset

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/prover"
	"github.com/comity-ledger/comity/zk/setup/simulator"
	"github.com/comity-ledger/comity/zk/tree"
)

// Class says what an item is.
type Class uint8

// The classes of items.
const (
	Prefix            Class = iota // registers the wallet or issues money to it
	HonestTransfer                 // 2 inputs, 2 outputs, proven
	HonestDisburse                 // 64 payees, proven
	SimulatedTransfer              // 2 inputs, 2 outputs, simulated
	SimulatedDisburse              // 64 payees, simulated
	DoubleSpend                    // a simulated transfer that spends what another one spends
	InvalidProof                   // a simulated transfer with a proof for something else
)

// String names the class.
func (c Class) String() string {
	names := []string{"prefix", "honest transfer", "honest disbursement", "simulated transfer", "simulated disbursement", "double spend", "invalid proof"}
	if int(c) < len(names) {
		return names[c]
	}
	return fmt.Sprintf("class(%d)", uint8(c))
}

// Payments is the number of real payees that an item pays.
func (c Class) Payments() int {
	switch c {
	case HonestTransfer, SimulatedTransfer:
		return 1
	case HonestDisburse, SimulatedDisburse:
		return zk.LargeDisburse
	}
	return 0
}

// Item is one entry and the segments that travel beside it.
type Item struct {
	Class    Class
	Entry    []byte
	Segments [][]byte
}

// Wire is the number of bytes that the item puts on the wire, without the framing of the protocol.
func (i *Item) Wire() int {
	n := len(i.Entry)
	for _, s := range i.Segments {
		n += len(s)
	}
	return n
}

// Set is a data set.
type Set struct {
	Version int
	Seed    [32]byte // of the ledger's secrets
	Genesis []byte
	Prefix  []Item
	// The roots after the prefix: what all proofs are anchored at.
	NoteRoot, RegistryRoot, ReadersRoot zk.Root
	Items                               []Item
}

const version = 1

// Spec says how many of what to make.
type Spec struct {
	HonestTransfers, HonestDisburses       int
	SimulatedTransfers, SimulatedDisburses int
	Seed                                   [32]byte
	NowMillis                              uint64
}

// ErrVersion refuses a file of another version of this program.
var ErrVersion = errors.New("data set was made by another version")

// Make makes a data set. progress may be nil.
func Make(ctx context.Context, spec Spec, progress func(stage string, done, total int)) (*Set, error) {
	if progress == nil {
		progress = func(string, int, int) {}
	}
	m, err := newMaker(spec, progress)
	if err != nil {
		return nil, err
	}
	if err := m.prefix(ctx); err != nil {
		return nil, err
	}
	if err := m.honest(ctx); err != nil {
		return nil, err
	}
	if err := m.simulated(ctx); err != nil {
		return nil, err
	}
	return m.set, nil
}

type maker struct {
	spec      Spec
	progress  func(stage string, done, total int)
	set       *Set
	secrets   *Secrets
	genesis   *entry.Genesis
	wallet    keys.Wallet
	chain     *chain
	simulator *simulator.Simulator
	rand      io.Reader
	notes     []placed
	tree      *tree.Marked
	registry  zk.Path
}

// placed is a note of the wallet in the tree.
type placed struct {
	note  zk.Note
	index uint32
}

func newMaker(spec Spec, progress func(string, int, int)) (*maker, error) {
	m := &maker{spec: spec, progress: progress, set: &Set{Version: version, Seed: spec.Seed}, rand: rand.Reader, tree: tree.NewMarked()}
	var err error
	if m.secrets, err = SecretsOf(spec.Seed); err != nil {
		return nil, err
	}
	if m.genesis, err = m.secrets.genesis(spec.NowMillis); err != nil {
		return nil, fmt.Errorf("found the ledger: %w", err)
	}
	m.set.Genesis = entry.Encode(m.genesis)
	if m.wallet, err = keys.Derive(m.secrets.seed, m.secrets.ask, m.genesis.Hash()); err != nil {
		return nil, err
	}
	if m.chain, err = newChain(m.genesis); err != nil {
		return nil, err
	}
	progress("preparing to simulate", 0, 0)
	m.simulator, err = simulator.New(zk.Transfer, zk.Disburse64)
	return m, err
}

func (m *maker) header() entry.Header {
	return entry.Header{Ledger: m.genesis.Hash(), ExpiryMillis: m.spec.NowMillis + lifetimeMillis}
}

// prefix registers the wallet and issues as many notes to it as honest payments will spend.
func (m *maker) prefix(ctx context.Context) error {
	register := &entry.Register{Header: m.header(), Owners: []entry.Registration{{Owner: m.wallet.Owner(), Limit: ^zk.Amount(0)}}}
	register.Sequence = 1
	if err := m.secrets.sign(m.genesis, register); err != nil {
		return err
	}
	if err := m.append(ctx, Item{Class: Prefix, Entry: entry.Encode(register)}); err != nil {
		return err
	}
	sequence := uint64(1)
	for need := 2*m.spec.HonestTransfers + m.spec.HonestDisburses; len(m.notes) < need; {
		legs := min(entry.MaxLegs, (need-len(m.notes)+zk.LargeDisburse-1)/zk.LargeDisburse)
		sequence++
		if err := m.issue(ctx, sequence, legs); err != nil {
			return err
		}
		m.progress("issuing notes", len(m.notes), need)
	}
	state := m.chain.state
	anchor := state.Anchor()
	m.set.NoteRoot, m.set.RegistryRoot, m.set.ReadersRoot = anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot
	if m.tree.Size() > 0 && m.tree.Root() != m.set.NoteRoot {
		return errors.New("our note tree differs from the ledger's")
	}
	registered, ok := state.Registered(m.wallet.Owner())
	if !ok {
		return errors.New("our wallet is not registered")
	}
	var err error
	m.registry, err = state.RegistryPath(registered.Index)
	return err
}

func (m *maker) append(ctx context.Context, item Item) error {
	if _, err := m.chain.mustSettle(ctx, item); err != nil {
		return err
	}
	m.set.Prefix = append(m.set.Prefix, item)
	return nil
}

// issue makes 64 notes of our own in each leg. These notes are real; their proofs are simulated.
func (m *maker) issue(ctx context.Context, sequence uint64, legs int) error {
	tx := &entry.Transaction{Type: entry.KindIssue, Header: m.header()}
	tx.Sequence = sequence
	item := Item{Class: Prefix}
	var made []zk.Note
	for range legs {
		w := m.witness(zk.Disburse64, nil)
		const each = 1_000_000
		w.Public.Issued, w.Public.Asset = each*zk.LargeDisburse, asset
		for range zk.LargeDisburse {
			w.Outputs = append(w.Outputs, zk.Note{Value: each, Asset: asset, Owner: m.wallet.Owner()})
		}
		leg, segment, err := m.seal(w, m.wallet.ViewKey())
		if err != nil {
			return err
		}
		tx.Legs, item.Segments = append(tx.Legs, leg), append(item.Segments, segment)
		made = append(made, w.Outputs...)
	}
	if err := m.simulate(tx); err != nil {
		return err
	}
	if err := m.secrets.sign(m.genesis, tx); err != nil {
		return err
	}
	item.Entry = tx.Encode()
	block, err := m.chain.mustSettle(ctx, item)
	if err != nil {
		return err
	}
	m.set.Prefix = append(m.set.Prefix, item)
	return m.place(block.Commitments[0].Position.Index, made)
}

// place follows the ledger's tree: the subtrees of one block, aligned, one after another.
func (m *maker) place(first uint32, made []zk.Note) error {
	const level = 4
	if err := m.tree.Align(level); err != nil {
		return err
	}
	if m.tree.Size() != first {
		return fmt.Errorf("the ledger placed the notes at %d, we at %d", first, m.tree.Size())
	}
	for len(made) > 0 {
		var leaves []tree.Leaf
		for i, note := range made[:zk.LargeDisburse] {
			index := m.tree.Size() + uint32(i)
			if err := m.tree.Mark(index); err != nil {
				return err
			}
			m.notes = append(m.notes, placed{note, index})
			leaves = append(leaves, note.Commitment().Element())
		}
		if err := m.tree.AppendLeaves(leaves, level); err != nil {
			return err
		}
		made = made[zk.LargeDisburse:]
	}
	return nil
}

// witness begins a leg that spends these notes, and dummies for the inputs that are left over.
func (m *maker) witness(id zk.CircuitID, spend []placed) *zk.LegWitness {
	anchor := m.chain.state.Anchor()
	w := &zk.LegWitness{
		Public: zk.LegPublic{
			Circuit: id, NoteRoot: anchor.NoteRoot, Tree: anchor.Tree, RegistryRoot: anchor.RegistryRoot, ReadersRoot: anchor.ReadersRoot,
			OversightKey: m.genesis.OversightKey,
		},
		Asset: asset, AK: m.wallet.AK(), NK: m.wallet.NK(),
		Registry: zk.RegistryWitness{Status: zk.Active, Limit: ^zk.Amount(0), Path: m.registry},
		Right:    zk.RightWitness{Path: zk.EmptyPath(zk.RightsDepth)},
		Reader:   zk.ReaderWitness{Key: m.genesis.OversightKey, Path: zk.EmptyPath(zk.ReaderDepth)},
	}
	for i := range id.Shape().Inputs {
		in := zk.InputWitness{Note: zk.Note{Asset: asset, Owner: m.wallet.Owner()}, Path: zk.EmptyPath(zk.NoteDepth)}
		if i < len(spend) {
			in.Note, in.Index = spend[i].note, spend[i].index
			// The leaf is ours: the error would be a fault of this program, and the proof would fail.
			if _, path, err := m.tree.Path(in.Index); err == nil {
				in.Path = path
			}
		} else if rho, err := zk.NewRho(m.rand); err == nil {
			in.Note.Rho = rho
		}
		nf := m.wallet.Nullify(in.Note.Commitment(), zk.Position{Tree: w.Public.Tree, Index: in.Index})
		w.Inputs, w.Public.Nullifiers = append(w.Inputs, in), append(w.Public.Nullifiers, nf)
	}
	return w
}

// seal computes the ciphertexts of a leg and its segment, all to one payee, and returns the leg without its proof.
func (m *maker) seal(w *zk.LegWitness, to keys.ViewKey) (entry.Leg, []byte, error) {
	var err error
	if w.E, err = keys.HedgedE(m.wallet.Hedge(), w.Public.Nullifiers, nil, m.rand); err != nil {
		return entry.Leg{}, nil, err
	}
	var slots []uint32
	for _, in := range w.Inputs {
		slots = append(slots, in.Slot())
	}
	if err := keys.SealLeg(&w.Public, w.E, w.Reader.Key, m.wallet.Owner(), slots, w.Outputs); err != nil {
		return entry.Leg{}, nil, err
	}
	var outs []keys.SealOutput
	for _, note := range w.Outputs {
		outs = append(outs, keys.SealOutput{To: to, Note: note})
	}
	segment, err := keys.SealSegment(m.rand, 0, outs)
	if err != nil {
		return entry.Leg{}, nil, err
	}
	p := &w.Public
	return entry.Leg{
		Circuit: p.Circuit, CircuitVersion: zk.CircuitVersion, OversightEpoch: entry.GenesisOversightEpoch, Asset: p.Asset, Programme: p.Programme,
		Issued: p.Issued, Redeemed: p.Redeemed, Epk: p.Epk, Wrap: p.Wrap, Sender: p.Sender, Nullifiers: p.Nullifiers,
		Commitments: p.Commitments, Cipher: p.Cipher, SubtreeRoot: p.SubtreeRoot, SegmentHash: entry.SegmentHash(segment),
		Anchor: m.chain.state.Height(), Tree: p.Tree,
	}, segment, nil
}

// simulate puts simulated proofs into a transaction.
func (m *maker) simulate(txs ...*entry.Transaction) error {
	anchor := m.chain.state.Anchor()
	var publics []*zk.LegPublic
	for _, tx := range txs {
		ctx := tx.Ctx()
		for i := range tx.Legs {
			p := tx.Legs[i].Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, m.genesis.OversightKey, ctx)
			publics = append(publics, &p)
		}
	}
	proofs, err := m.simulator.SimulateAll(publics, m.rand)
	if err != nil {
		return err
	}
	for _, tx := range txs {
		for i := range tx.Legs {
			tx.Legs[i].Proof, proofs = proofs[0], proofs[1:]
		}
	}
	return nil
}

// honest proves payments out of the notes issued.
func (m *maker) honest(ctx context.Context) error {
	total := m.spec.HonestTransfers + m.spec.HonestDisburses
	if total == 0 {
		return nil
	}
	p, err := prover.New(prover.Config{})
	if err != nil {
		return err
	}
	payeeSeed, err := keys.NewSeed(m.rand)
	if err != nil {
		return err
	}
	ask, err := zk.NewScalar(m.rand)
	if err != nil {
		return err
	}
	payee, err := keys.Derive(payeeSeed, ask, m.genesis.Hash())
	if err != nil {
		return err
	}
	for i := range total {
		m.progress("proving honest payments", i, total)
		class, id, inputs := HonestTransfer, zk.Transfer, 2
		if i >= m.spec.HonestTransfers {
			class, id, inputs = HonestDisburse, zk.Disburse64, 1
		}
		spend := m.notes[:inputs]
		m.notes = m.notes[inputs:]
		item, err := m.pay(ctx, p, id, spend, payee)
		if err != nil {
			return err
		}
		item.Class = class
		m.set.Items = append(m.set.Items, item)
	}
	return nil
}

func (m *maker) pay(ctx context.Context, p *prover.Prover, id zk.CircuitID, spend []placed, payee keys.Wallet) (Item, error) {
	w := m.witness(id, spend)
	left := zk.Amount(0)
	for _, s := range spend {
		left += s.note.Value
	}
	outputs := id.Shape().Outputs
	for i := range outputs {
		note := zk.Note{Value: left / zk.Amount(outputs-i), Asset: asset, Owner: payee.Owner()}
		if outputs == 2 && i == 1 {
			note.Owner = m.wallet.Owner() // change
		}
		left -= note.Value
		w.Outputs = append(w.Outputs, note)
	}
	leg, segment, err := m.seal(w, payee.ViewKey())
	if err != nil {
		return Item{}, err
	}
	tx := &entry.Transaction{Type: entry.KindTransfer, Header: m.header(), Legs: []entry.Leg{leg}}
	w.Public.Ctx = tx.Ctx()
	w.Signature = zk.Sign(m.wallet.Spending(), w.Public.Ctx.Element(), m.rand)
	// Rights without entries have this root.
	if w.Registry.Rights, err = zk.RightsRoot(nil); err != nil {
		return Item{}, err
	}
	if tx.Legs[0].Proof, err = p.Prove(ctx, *w); err != nil {
		return Item{}, fmt.Errorf("prove a payment: %w", err)
	}
	return Item{Entry: tx.Encode(), Segments: [][]byte{segment}}, nil
}

// simulated makes payments of random fields.
func (m *maker) simulated(ctx context.Context) error {
	total := m.spec.SimulatedTransfers + m.spec.SimulatedDisburses
	const piece = 1024
	for done := 0; done < total; {
		if err := ctx.Err(); err != nil {
			return err
		}
		m.progress("simulating payments", done, total)
		var txs []*entry.Transaction
		first := len(m.set.Items)
		for ; len(txs) < piece && done < total; done++ {
			class, id := SimulatedTransfer, zk.Transfer
			if done >= m.spec.SimulatedTransfers {
				class, id = SimulatedDisburse, zk.Disburse64
			}
			tx, segment, err := m.random(id)
			if err != nil {
				return err
			}
			txs = append(txs, tx)
			m.set.Items = append(m.set.Items, Item{Class: class, Segments: [][]byte{segment}})
		}
		if err := m.simulate(txs...); err != nil {
			return err
		}
		for i, tx := range txs {
			m.set.Items[first+i].Entry = tx.Encode()
		}
	}
	return nil
}

// random is a transaction of one leg of random fields, without its proof.
func (m *maker) random(id zk.CircuitID) (*entry.Transaction, []byte, error) {
	shape := id.Shape()
	segment := make([]byte, keys.SegmentSize(0, shape.Outputs))
	fields := make([]byte, 64*(3+shape.SenderFields()+shape.Inputs+3*shape.Outputs+1))
	if _, err := io.ReadFull(m.rand, fields); err != nil {
		return nil, nil, err
	}
	if _, err := io.ReadFull(m.rand, segment); err != nil {
		return nil, nil, err
	}
	segment[0] = 0 // the class of memos
	field := func() zk.Field {
		f := zk.FieldFromWide([64]byte(fields[:64]))
		fields = fields[64:]
		return f
	}
	leg := entry.Leg{
		Circuit: id, CircuitVersion: zk.CircuitVersion, OversightEpoch: entry.GenesisOversightEpoch, Epk: [2]zk.Field{field(), field()}, Wrap: field(),
		SegmentHash: entry.SegmentHash(segment), Anchor: m.chain.state.Height(), Tree: m.chain.state.Anchor().Tree,
	}
	for range shape.SenderFields() {
		leg.Sender = append(leg.Sender, field())
	}
	for range shape.Inputs {
		leg.Nullifiers = append(leg.Nullifiers, zk.Nullifier(field()))
	}
	for range shape.Outputs {
		leg.Commitments = append(leg.Commitments, zk.Commitment(field()))
		leg.Cipher = append(leg.Cipher, [2]zk.Field{field(), field()})
	}
	if shape.SubtreeLevel > 0 {
		leg.SubtreeRoot = zk.Root(field())
	}
	return &entry.Transaction{Type: entry.KindTransfer, Header: m.header(), Legs: []entry.Leg{leg}}, segment, nil
}

// Save keeps a data set in a file.
func (s *Set) Save(path string) error { return Keep(path, s) }

// Load reads a data set, and checks that its ledger is one that this binary can run.
func Load(path string) (*Set, error) {
	s := new(Set)
	if err := Recall(path, s); err != nil {
		return nil, err
	}
	if s.Version != version {
		return nil, ErrVersion
	}
	g, err := entry.DecodeGenesis(s.Genesis)
	if err != nil {
		return nil, fmt.Errorf("genesis of the data set: %w", err)
	}
	secrets, err := SecretsOf(s.Seed)
	if err != nil {
		return nil, err
	}
	now, err := secrets.genesis(g.CreatedMillis)
	if err != nil {
		return nil, err
	}
	if now.Hash() != g.Hash() {
		return nil, fmt.Errorf("the circuits have changed since: %w", ErrVersion)
	}
	return s, nil
}

// AnchorAt anchors every leg at another height, whose roots must be the data set's: a ledger that runs by the clock may have logged
// state entries between those of the prefix. Neither the id nor the proof depends on the height.
func (i *Item) AnchorAt(height uint64) error {
	tx, err := entry.DecodeTransaction(i.Entry)
	if err != nil {
		return err
	}
	for k := range tx.Legs {
		tx.Legs[k].Anchor = height
	}
	i.Entry = tx.Encode()
	return nil
}
