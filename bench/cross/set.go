package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"slices"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/prover"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/setup/simulator"
)

// set is a data set: payments across ledgers whose proofs were made beforehand. It serves any number of runs, each on new ledgers with the
// same genesis entries, for 300 days after it was made.
//
// Honest payments are whole: real notes of real wallets, ciphertexts that open, a proof that took a second for each hold. Simulated ones
// have random fields in the shape of a hold and a proof made from the development trapdoor. Ledgers and witnesses cannot tell them apart
// and do exactly the same work for both. What ties the holds of a payment to each other is real in both: commitments, ids, conditions.
type set struct {
	Version  int
	Seed     [32]byte
	Created  uint64 // milliseconds
	Ledgers  int
	Prefix   [][]item // per ledger
	NoteRoot []zk.Root
	Payments []premade
}

const version = 1

// premade is one payment: the payer pays on ledger From, the provider on ledger To, which decides.
type premade struct {
	From, To int
	Honest   bool
	Decider  item
	Follower item // with an empty peer proof and no anchor: both are witness data that a payer adds when it sends
}

// errVersion refuses a file of another version of this program.
var errVersion = dataset.ErrVersion

// spec says how many of what to make.
type spec struct {
	ledgers, honest, simulated int
	nowMillis                  uint64
}

type maker struct {
	spec
	nations   []*nation
	prefixes  []*prefix
	simulator *simulator.Simulator
	prover    *prover.Prover
	tell      func(format string, args ...any)
}

// makeSet makes a data set.
func makeSet(ctx context.Context, s spec, tell func(format string, args ...any)) (*set, error) {
	out := &set{Version: version, Created: s.nowMillis, Ledgers: s.ledgers}
	if _, err := io.ReadFull(rand.Reader, out.Seed[:]); err != nil {
		return nil, err
	}
	m := &maker{spec: s, tell: tell}
	var err error
	if m.nations, err = nationsOf(out.Seed, s.ledgers, s.nowMillis); err != nil {
		return nil, err
	}
	tell("preparing to simulate")
	if m.simulator, err = simulator.New(zk.Hold, zk.Disburse64); err != nil {
		return nil, err
	}
	verifiers, err := setup.Verifier(0)
	if err != nil {
		return nil, err
	}
	honest := make([]int, s.ledgers) // notes that each ledger's wallet spends
	for i := range s.honest {
		from, to := route(i, s.ledgers)
		honest[from]++
		honest[to]++
	}
	for i, n := range m.nations {
		p := &prefix{nation: n, verifier: proofs{verifiers}, created: s.nowMillis}
		if err := p.make(ctx, m, i, honest[i]); err != nil {
			return nil, err
		}
		m.prefixes = append(m.prefixes, p)
		out.Prefix, out.NoteRoot = append(out.Prefix, p.items), append(out.NoteRoot, p.state.Anchor().NoteRoot)
	}
	if s.honest > 0 {
		if m.prover, err = prover.New(prover.Config{}); err != nil {
			return nil, err
		}
	}
	for i := range s.honest {
		if i%10 == 0 {
			tell("proving honest payments %d/%d", i, s.honest)
		}
		p, err := m.honestly(ctx, i)
		if err != nil {
			return nil, fmt.Errorf("an honest payment: %w", err)
		}
		out.Payments = append(out.Payments, *p)
	}
	const piece = 512
	for done := 0; done < s.simulated; done += piece {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		tell("simulating payments %d/%d", done, s.simulated)
		some, err := m.simulated(done, min(piece, s.simulated-done))
		if err != nil {
			return nil, err
		}
		out.Payments = append(out.Payments, some...)
	}
	return out, nil
}

// route spreads payments evenly over all ordered pairs of ledgers.
func route(i, ledgers int) (from, to int) {
	from = i % ledgers
	return from, (from + 1 + i/ledgers%(ledgers-1)) % ledgers
}

// join ties the two legs of a payment together: the deciding hold names the follower's commitment, the follower names the deciding hold.
func (m *maker) join(from, to *prefix, decider, follower *entry.Leg) (onTo, onFrom *entry.Transaction) {
	until := m.nowMillis + lifetimeMillis
	here := &entry.DecidedHere{Until: until, Followers: []entry.Follower{{Ledger: from.hash, Commitment: follower.Commitments[0]}}}
	decider.Condition = here.Condition()
	onTo = &entry.Transaction{Type: entry.KindTransfer, Header: to.header(), Legs: []entry.Leg{*decider}}
	there := &entry.DecidedThere{Ledger: to.hash, Hold: entry.HoldID{Tx: onTo.ID()}, Until: until}
	follower.Condition, follower.Peer = there.Condition(), &entry.PeerProof{Size: 1, Leaf: []byte{0}}
	onFrom = &entry.Transaction{Type: entry.KindTransfer, Header: from.header(), Legs: []entry.Leg{*follower}}
	return onTo, onFrom
}

// honestly proves the two holds of a payment out of notes of the prefix.
func (m *maker) honestly(ctx context.Context, i int) (*premade, error) {
	out := &premade{Honest: true}
	out.From, out.To = route(i, m.ledgers)
	var legs [2]entry.Leg
	var witnesses [2]*zk.LegWitness
	for k, at := range []int{out.To, out.From} {
		p := m.prefixes[at]
		spend := p.notes[0]
		p.notes = p.notes[1:]
		w := p.witness(m, zk.Hold, []placed{spend})
		w.Public.SizeClass = class
		held := spend.note.Value / 4
		w.Outputs = []zk.Note{{Value: held, Asset: asset, Owner: p.wallet.Owner()}, {Value: spend.note.Value - held, Asset: asset, Owner: p.wallet.Owner()}}
		leg, segment, err := p.seal(m, w)
		if err != nil {
			return nil, err
		}
		legs[k], witnesses[k] = leg, w
		if k == 0 {
			out.Decider.Segments = [][]byte{segment}
		} else {
			out.Follower.Segments = [][]byte{segment}
		}
	}
	onTo, onFrom := m.join(m.prefixes[out.From], m.prefixes[out.To], &legs[0], &legs[1])
	for k, tx := range []*entry.Transaction{onTo, onFrom} {
		p, w := m.prefixes[[]int{out.To, out.From}[k]], witnesses[k]
		var err error
		w.Public.Ctx = tx.Ctx()
		w.Signature = zk.Sign(p.wallet.Spending(), w.Public.Ctx.Element(), rand.Reader)
		if w.Registry.Rights, err = zk.RightsRoot(nil); err != nil { // of a wallet without rights
			return nil, err
		}
		if tx.Legs[0].Proof, err = m.prover.Prove(ctx, *w); err != nil {
			return nil, err
		}
	}
	out.Decider.Entry, out.Follower.Entry = onTo.Encode(), onFrom.Encode()
	return out, nil
}

// simulated makes payments of random fields.
func (m *maker) simulated(first, count int) ([]premade, error) {
	out := make([]premade, count)
	txs := make([][]*entry.Transaction, m.ledgers)
	var pairs [][2]*entry.Transaction
	for i := range out {
		p := &out[i]
		p.From, p.To = route(first+i, m.ledgers)
		decider, segment, err := m.random(m.prefixes[p.To])
		if err != nil {
			return nil, err
		}
		p.Decider.Segments = [][]byte{segment}
		follower, segment, err := m.random(m.prefixes[p.From])
		if err != nil {
			return nil, err
		}
		p.Follower.Segments = [][]byte{segment}
		onTo, onFrom := m.join(m.prefixes[p.From], m.prefixes[p.To], &decider, &follower)
		txs[p.To], txs[p.From] = append(txs[p.To], onTo), append(txs[p.From], onFrom)
		pairs = append(pairs, [2]*entry.Transaction{onTo, onFrom})
	}
	for i, list := range txs {
		if err := m.simulate(m.prefixes[i], list...); err != nil {
			return nil, err
		}
	}
	for i, pair := range pairs {
		out[i].Decider.Entry, out[i].Follower.Entry = pair[0].Encode(), pair[1].Encode()
	}
	return out, nil
}

// segmentOutputs are sealed in the segment of a hold: the payee's, the change, and what comes back.
const segmentOutputs = 3

// random is a hold leg of random fields, without its condition and proof.
func (m *maker) random(p *prefix) (entry.Leg, []byte, error) {
	shape := zk.Hold.Shape()
	segment := make([]byte, keys.SegmentSize(0, segmentOutputs))
	fields := make([]byte, 64*(4+shape.SenderFields()+shape.Inputs+3*shape.Outputs))
	if _, err := io.ReadFull(rand.Reader, fields); err != nil {
		return entry.Leg{}, nil, err
	}
	if _, err := io.ReadFull(rand.Reader, segment); err != nil {
		return entry.Leg{}, nil, err
	}
	segment[0] = 0 // the class of memos
	field := func() zk.Field {
		f := zk.FieldFromWide([64]byte(fields[:64]))
		fields = fields[64:]
		return f
	}
	leg := entry.Leg{Circuit: zk.Hold, CircuitVersion: zk.CircuitVersion, OversightEpoch: entry.GenesisOversightEpoch, Epk: [2]zk.Field{field(), field()}, Wrap: field(),
		SegmentHash: entry.SegmentHash(segment), ReturnCommitment: zk.Commitment(field()), SizeClass: class, Tree: p.state.Anchor().Tree}
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
	return leg, segment, nil
}

// simulate puts simulated proofs into transactions of one ledger.
func (m *maker) simulate(p *prefix, txs ...*entry.Transaction) error {
	anchor := p.state.Anchor()
	var publics []*zk.LegPublic
	for _, tx := range txs {
		ctx := tx.Ctx()
		for i := range tx.Legs {
			public := tx.Legs[i].Public(anchor.NoteRoot, anchor.RegistryRoot, anchor.ReadersRoot, p.genesis.OversightKey, ctx)
			publics = append(publics, &public)
		}
	}
	made, err := m.simulator.SimulateAll(publics, rand.Reader)
	if err != nil {
		return err
	}
	for _, tx := range txs {
		for i := range tx.Legs {
			tx.Legs[i].Proof, made = made[0], made[1:]
		}
	}
	return nil
}

// witness begins a leg that spends these notes, and dummies for the inputs that are left over.
func (p *prefix) witness(m *maker, id zk.CircuitID, spend []placed) *zk.LegWitness {
	anchor := p.state.Anchor()
	w := &zk.LegWitness{
		Public: zk.LegPublic{Circuit: id, NoteRoot: anchor.NoteRoot, Tree: anchor.Tree, RegistryRoot: anchor.RegistryRoot, ReadersRoot: anchor.ReadersRoot,
			OversightKey: p.genesis.OversightKey},
		Asset: asset, AK: p.wallet.AK(), NK: p.wallet.NK(),
		Registry: zk.RegistryWitness{Status: zk.Active, Limit: ^zk.Amount(0), Path: p.registry},
		Right:    zk.RightWitness{Path: zk.EmptyPath(zk.RightsDepth)},
		Reader:   zk.ReaderWitness{Key: p.genesis.OversightKey, Path: zk.EmptyPath(zk.ReaderDepth)},
	}
	for i := range id.Shape().Inputs {
		in := zk.InputWitness{Note: zk.Note{Asset: asset, Owner: p.wallet.Owner()}, Path: zk.EmptyPath(zk.NoteDepth)}
		if i < len(spend) {
			in.Note, in.Index = spend[i].note, spend[i].index
			// The leaf is ours: the error would be a fault of this program, and the proof would fail.
			if _, path, err := p.tree.Path(in.Index); err == nil {
				in.Path = path
			}
		} else if rho, err := zk.NewRho(rand.Reader); err == nil {
			in.Note.Rho = rho
		}
		nf := p.wallet.Nullify(in.Note.Commitment(), zk.Position{Tree: w.Public.Tree, Index: in.Index})
		w.Inputs, w.Public.Nullifiers = append(w.Inputs, in), append(w.Public.Nullifiers, nf)
	}
	return w
}

// seal computes the ciphertexts of a leg and its segment, all to the nation's wallet, and returns the leg without its proof.
func (p *prefix) seal(m *maker, w *zk.LegWitness) (entry.Leg, []byte, error) {
	var err error
	if w.E, err = keys.HedgedE(p.wallet.Hedge(), w.Public.Nullifiers, nil, rand.Reader); err != nil {
		return entry.Leg{}, nil, err
	}
	var slots []uint32
	for _, in := range w.Inputs {
		slots = append(slots, in.Slot())
	}
	if err := keys.SealLeg(&w.Public, w.E, w.Reader.Key, p.wallet.Owner(), slots, w.Outputs); err != nil {
		return entry.Leg{}, nil, err
	}
	notes := slices.Clone(w.Outputs)
	if w.Public.Circuit.Shape().Held {
		k, err := keys.OversightKey(w.E, w.Public.OversightKey, w.Public.Nullifiers[0])
		if err != nil {
			return entry.Leg{}, nil, err
		}
		opened, err := keys.OpenLeg(k, &w.Public)
		if err != nil {
			return entry.Leg{}, nil, err
		}
		notes = append(notes, *opened.Return)
	}
	var outs []keys.SealOutput
	for _, note := range notes {
		outs = append(outs, keys.SealOutput{To: p.wallet.ViewKey(), Note: note})
	}
	segment, err := keys.SealSegment(rand.Reader, 0, outs)
	if err != nil {
		return entry.Leg{}, nil, err
	}
	u := &w.Public
	return entry.Leg{
		Circuit: u.Circuit, CircuitVersion: zk.CircuitVersion, OversightEpoch: entry.GenesisOversightEpoch, Asset: u.Asset, Programme: u.Programme,
		Issued: u.Issued, Redeemed: u.Redeemed, Epk: u.Epk, Wrap: u.Wrap, Sender: u.Sender, Nullifiers: u.Nullifiers, Commitments: u.Commitments,
		Cipher: u.Cipher, SubtreeRoot: u.SubtreeRoot, ReturnCommitment: u.ReturnCommitment, SizeClass: u.SizeClass, SegmentHash: entry.SegmentHash(segment),
		Anchor: p.state.Height(), Tree: u.Tree,
	}, segment, nil
}

// save keeps a data set in a file.
func (s *set) save(path string) error { return dataset.Keep(path, s) }

// load reads a data set. What it was made for must be what this binary founds from the same seed, or the circuits have changed since.
func load(path string) (*set, error) {
	s := new(set)
	if err := dataset.Recall(path, s); err != nil {
		return nil, err
	}
	if s.Version != version || len(s.Prefix) != s.Ledgers || len(s.NoteRoot) != s.Ledgers {
		return nil, errVersion
	}
	nations, err := nationsOf(s.Seed, s.Ledgers, s.Created)
	if err != nil {
		return nil, err
	}
	for i, n := range nations {
		first, err := entry.Decode(s.Prefix[i][0].Entry)
		if err != nil || first.Head() == nil || first.Head().Ledger != n.hash {
			return nil, fmt.Errorf("the circuits or the genesis have changed since: %w", errVersion)
		}
	}
	return s, nil
}
