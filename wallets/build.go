package wallets

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/tree"
)

// Prover checks and proves legs. zk/prover is the real one; tests use an oracle.
type Prover interface {
	// Check evaluates every statement natively and names the first that fails.
	Check(zk.LegWitness) error
	// Prove makes the proof. It may be called from several goroutines.
	Prove(context.Context, zk.LegWitness) (zk.Proof, error)
}

// Builder makes transactions of one wallet. NowMillis is the wall clock, Rand the randomness; nothing else comes from outside.
type Builder struct {
	State     *State
	Keys      keys.Wallet
	Rand      io.Reader
	NowMillis uint64
	// TTLMillis is how long a transaction may wait to settle; 0 means ten minutes, or half of what genesis allows if that is less,
	// which leaves room for clocks that differ.
	TTLMillis uint64

	forged bool
}

const defaultTTLMillis = 10 * 60 * 1000

// Unchecked returns a builder that lies about the registry: it claims an active leaf without limit and with every right. It is what a
// patched wallet would do at best, for tests and the demo to show that the ledger refuses it (proof_invalid). No command reaches it.
func Unchecked(b Builder) *Builder {
	b.forged = true
	return &b
}

// Rights is what the builder goes by: the registry's word, or anything at all when forged.
func (b *Builder) rights() Rights {
	r := b.State.Rights()
	if b.forged {
		r.Registered, r.Frozen, r.Limit = true, false, ^zk.Amount(0)
		r.List = forgedRights()
	}
	return r
}

func forgedRights() []zk.Right { return []zk.Right{{Wildcard: true, MaySet: true, MayRelease: true}} }

// Payee is who a planned output pays.
type Payee struct {
	To   keys.Address
	Memo string
	Line int // of a disbursement, from 1; 0 for none
}

// Recipe is what a leg needs, beyond its bytes, to be proven again against newer roots. It holds secrets of the leg (E opens it as
// oversight would) and lives encrypted in the journal.
type Recipe struct {
	Circuit   zk.CircuitID   `json:"circuit"`
	Asset     zk.AssetID     `json:"asset"`
	From      zk.ProgrammeID `json:"from"`
	Set       zk.ProgrammeID `json:"set,omitempty"`
	Tree      uint16         `json:"tree"`
	Inputs    []RecipeInput  `json:"inputs"`
	Outputs   []zk.Note      `json:"outputs"`
	E         []byte         `json:"e"`
	Signature []byte         `json:"signature"`
}

// RecipeInput is one input; a dummy has value 0.
type RecipeInput struct {
	Note  zk.Note `json:"note"`
	Index uint32  `json:"index"`
}

// Draft is a transaction that has been built and signed and is not proven yet.
type Draft struct {
	Tx       *entry.Transaction
	Segments [][]byte
	Inputs   []zk.Nullifier // of real notes
	Outputs  []Sent
	Recipes  []Recipe
	asset    zk.AssetID
	builder  *Builder
}

// ID is the transaction's id; proofs do not change it.
func (d *Draft) ID() entry.ID { return d.Tx.ID() }

// Prove checks every leg by name and proves it. progress, if not nil, is told how many legs are done.
func (d *Draft) Prove(ctx context.Context, prover Prover, progress func(done, total int)) error {
	return d.builder.prove(ctx, prover, d.Tx, d.Recipes, progress)
}

// Attempt makes the journal record of a proven draft.
func (d *Draft) Attempt(order string, pays bool) *Attempt {
	return &Attempt{Order: order, Pays: pays, TxID: d.ID(), Entry: d.Tx.Encode(), Segments: d.Segments, ExpiryMillis: d.Tx.ExpiryMillis,
		Asset: d.asset, Inputs: d.Inputs, Outputs: d.Outputs, Recipes: d.Recipes}
}

// Reprove proves an attempt against the newest roots that the wallet has read. Its id, signature and everything else that takes effect stay
// as they are. An attempt that is encrypted to the oversight key of an earlier epoch is refused as oversight_epoch_stale: no proof helps
// it, it must be built again.
func (b *Builder) Reprove(ctx context.Context, prover Prover, a *Attempt) (*Reproof, error) {
	tx, err := entry.DecodeTransaction(a.Entry)
	if err != nil {
		return nil, fmt.Errorf("decode the transaction to prove again: %w", err)
	}
	if len(a.Recipes) != len(tx.Legs) {
		return nil, errors.New("wallets: the journal does not hold what a new proof needs")
	}
	for i := range tx.Legs {
		if at := tx.Legs[i].OversightEpoch; at != b.State.epoch {
			return nil, entry.Refuse(entry.OversightEpochStale, "leg %d is of epoch %d, the ledger is at %d", i, at, b.State.epoch)
		}
	}
	if err := b.prove(ctx, prover, tx, a.Recipes, nil); err != nil {
		return nil, err
	}
	if tx.ID() != a.TxID {
		panic("wallets: a new proof changed a transaction's id")
	}
	return &Reproof{TxID: a.TxID, Entry: tx.Encode()}, nil
}

// prove anchors every leg at the last block read, and proves it.
func (b *Builder) prove(ctx context.Context, prover Prover, tx *entry.Transaction, recipes []Recipe, progress func(done, total int)) error {
	if b.State.blocks == 0 {
		return Refuse(BehindLedger, "read the ledger first")
	}
	ctxField := tx.Ctx()
	for i := range tx.Legs {
		tx.Legs[i].Anchor = b.State.blocks - 1
		tx.Legs[i].Tree = recipes[i].Tree
		w, err := b.witness(&tx.Legs[i], &recipes[i], ctxField)
		if err != nil {
			return err
		}
		if err := prover.Check(w); err != nil {
			return fmt.Errorf("check leg %d: %w", i, err)
		}
		if tx.Legs[i].Proof, err = prover.Prove(ctx, w); err != nil {
			return fmt.Errorf("prove leg %d: %w", i, err)
		}
		if progress != nil {
			progress(i+1, len(tx.Legs))
		}
	}
	return nil
}

// plannedTx is what a transaction is built from.
type plannedTx struct {
	kind     entry.Kind
	sequence uint64
	legs     []plannedLeg
	tag      *Tag
}

type plannedLeg struct {
	leg
	asset            zk.AssetID
	payees           []Payee // by output.line of ToPayee outputs
	issued, redeemed zk.Amount
}

// build makes and signs a transaction.
func (b *Builder) build(p plannedTx) (*Draft, error) {
	s := b.State
	if s.blocks == 0 {
		return nil, Refuse(BehindLedger, "read the ledger first")
	}
	d := &Draft{builder: b, asset: p.legs[0].asset, Tx: &entry.Transaction{Type: p.kind,
		Header: entry.Header{Ledger: s.hash, ExpiryMillis: b.ExpiryMillis(), Sequence: p.sequence}}}
	for i := range p.legs {
		if err := b.buildLeg(d, i, &p.legs[i], p.tag); err != nil {
			return nil, err
		}
	}
	return d, b.sign(d)
}

// TimeMillis is the ledger's time as far as is known, or the caller's clock if that is later.
func (b *Builder) TimeMillis() uint64 { return max(b.State.timeMillis, b.NowMillis) }

// ExpiryMillis is the ledger time before which an entry made now has to settle.
func (b *Builder) ExpiryMillis() uint64 {
	ttl, most := b.TTLMillis, b.State.genesis.MaxExpiryMillis
	if ttl == 0 {
		ttl = min(defaultTTLMillis, most/2)
	}
	return b.TimeMillis() + max(1, min(ttl, most))
}

// sign checks a transaction and signs all that takes effect in it.
func (b *Builder) sign(d *Draft) error {
	if err := d.Tx.Validate(); err != nil {
		return fmt.Errorf("build transaction: %w", err)
	}
	ctx := d.Tx.Ctx().Element()
	for i := range d.Recipes {
		sig := zk.Sign(b.Keys.Spending(), ctx, b.Rand).Bytes()
		d.Recipes[i].Signature = sig[:]
	}
	return nil
}

// buildLeg appends one leg with its ciphertexts, segment and recipe.
func (b *Builder) buildLeg(d *Draft, number int, p *plannedLeg, tag *Tag) error {
	s := b.State
	shape := p.circuit.Shape()
	self := b.Keys.Owner()
	r := Recipe{Circuit: p.circuit, Asset: p.asset, From: p.from, Tree: s.notes.number}
	for _, c := range p.inputs {
		n := &s.own[c.ref]
		r.Tree = n.Position.Tree
		r.Inputs = append(r.Inputs, RecipeInput{Note: n.Note, Index: n.Position.Index})
		d.Inputs = append(d.Inputs, n.Nullifier)
	}
	for len(r.Inputs) < shape.Inputs {
		rho, err := zk.NewRho(b.Rand)
		if err != nil {
			return fmt.Errorf("draw a dummy input: %w", err)
		}
		r.Inputs = append(r.Inputs, RecipeInput{Note: zk.Note{Asset: p.asset, Programme: p.from, Owner: self, Rho: rho}})
	}
	l := entry.Leg{Circuit: p.circuit, CircuitVersion: zk.CircuitVersion, OversightEpoch: s.epoch, Tree: r.Tree, Issued: p.issued, Redeemed: p.redeemed}
	if p.issued != 0 || p.redeemed != 0 {
		l.Asset, l.Programme = p.asset, p.from
	}
	l.Nullifiers = b.nullifiers(&r)
	// Outputs, padded with zero notes to the wallet itself, which look like any other.
	address := b.Keys.Address(s.genesis.Prefix, s.hash)
	sealed := make([]keys.SealOutput, 0, shape.Outputs)
	class := uint8(0)
	for i := range shape.Outputs {
		o := output{purpose: ToChange, programme: p.from}
		if i < len(p.outputs) {
			o = p.outputs[i]
		}
		sent := Sent{Leg: number, Output: i, Purpose: o.purpose}
		to, memo := address, []byte(nil)
		if o.purpose == ToPayee {
			payee := p.payees[o.line]
			to, memo = payee.To, []byte(payee.Memo)
			sent.To, sent.Memo, sent.Line = payee.To.String(), payee.Memo, payee.Line
		} else if tag != nil {
			memo = tag.memo()
		}
		if o.programme != p.from && o.programme != 0 {
			r.Set = o.programme
		}
		sent.Note = zk.Note{Value: o.value, Asset: p.asset, Programme: o.programme, Owner: to.Owner}
		d.Outputs = append(d.Outputs, sent)
		sealed = append(sealed, keys.SealOutput{To: to.ViewKey, Note: sent.Note, Memo: memo})
		for int(class) < len(keys.MemoSizes) && len(memo) > keys.MemoSizes[class] {
			class++
		}
	}
	if int(class) == len(keys.MemoSizes) {
		return Refuse(ReferenceInvalid, "a reference is at most %d bytes", MaxReference)
	}
	if err := b.encrypt(&l, &r, sealed, d.Outputs[len(d.Outputs)-shape.Outputs:]); err != nil {
		return err
	}
	if shape.Held {
		back, err := b.returnNote(&l, &r)
		if err != nil {
			return err
		}
		o := keys.SealOutput{To: address.ViewKey, Note: back}
		if tag != nil {
			o.Memo = tag.memo()
		}
		sealed = append(sealed, o)
	}
	segment, err := keys.SealSegment(b.Rand, class, sealed)
	if err != nil {
		return fmt.Errorf("seal the payees' ciphertexts: %w", err)
	}
	l.SegmentHash = entry.SegmentHash(segment)
	d.Tx.Legs = append(d.Tx.Legs, l)
	d.Segments = append(d.Segments, segment)
	d.Recipes = append(d.Recipes, r)
	return nil
}

// nullifiers are those of a recipe's inputs, dummies included.
func (b *Builder) nullifiers(r *Recipe) (out []zk.Nullifier) {
	for _, in := range r.Inputs {
		out = append(out, b.Keys.Nullify(in.Note.Commitment(), zk.Position{Tree: r.Tree, Index: in.Index}))
	}
	return out
}

// encrypt draws e and computes everything that follows from it: the notes' rho, commitments, and the oversight ciphertexts (zk/SPEC,
// statements 6 and 7).
func (b *Builder) encrypt(l *entry.Leg, r *Recipe, sealed []keys.SealOutput, sent []Sent) error {
	plaintexts := make([][]byte, len(sealed))
	r.Outputs = make([]zk.Note, len(sealed))
	for i, o := range sealed {
		p := binary.BigEndian.AppendUint64(nil, uint64(o.Note.Value))
		p = binary.BigEndian.AppendUint32(p, uint32(o.Note.Asset))
		p = binary.BigEndian.AppendUint64(p, uint64(o.Note.Programme))
		plaintexts[i] = append(p, o.Note.Owner[:]...)
		r.Outputs[i] = o.Note
	}
	e, err := keys.HedgedE(b.Keys.Hedge(), l.Nullifiers, plaintexts, b.Rand)
	if err != nil {
		return fmt.Errorf("draw the leg's secret: %w", err)
	}
	secret := e.Bytes()
	r.E = secret[:]
	if err := b.seal(l, r); err != nil {
		return err
	}
	for i := range sealed {
		sealed[i].Note, sent[i].Note = r.Outputs[i], r.Outputs[i]
	}
	return nil
}

// seal computes everything in a leg that follows from its inputs, its outputs, e and the oversight key. The same recipe gives the same leg.
func (b *Builder) seal(l *entry.Leg, r *Recipe) error {
	e, err := zk.ParseScalar(r.E)
	if err != nil {
		return fmt.Errorf("read the leg's secret: %w", err)
	}
	reader, _, err := b.reader(r.From)
	if err != nil {
		return err
	}
	slots := make([]uint32, len(r.Inputs))
	for i, in := range r.Inputs {
		slots[i] = zk.InputWitness{Note: in.Note, Index: in.Index}.Slot()
	}
	public := zk.LegPublic{Circuit: l.Circuit, OversightKey: b.State.ovk, Nullifiers: l.Nullifiers}
	if err := keys.SealLeg(&public, e, reader, b.Keys.Owner(), slots, r.Outputs); err != nil {
		return fmt.Errorf("encrypt to oversight: %w", err)
	}
	l.Epk, l.Wrap, l.Sender, l.Commitments, l.Cipher = public.Epk, public.Wrap, public.Sender, public.Commitments, public.Cipher
	l.SubtreeRoot, l.ReturnCommitment = public.SubtreeRoot, public.ReturnCommitment
	return nil
}

// returnNote opens the note by which a sealed hold leg comes back when it is voided.
func (b *Builder) returnNote(l *entry.Leg, r *Recipe) (zk.Note, error) {
	e, err := zk.ParseScalar(r.E)
	if err != nil {
		return zk.Note{}, fmt.Errorf("read the leg's secret: %w", err)
	}
	k, err := keys.OversightKey(e, b.State.ovk, l.Nullifiers[0])
	if err != nil {
		return zk.Note{}, fmt.Errorf("open the return note: %w", err)
	}
	public := l.Public(zk.Root{}, zk.Root{}, zk.Root{}, b.State.ovk, zk.Field{})
	opened, err := keys.OpenLeg(k, &public)
	if err != nil {
		return zk.Note{}, fmt.Errorf("open the return note: %w", err)
	}
	return *opened.Return, nil
}

// subtreeRoot is what a disbursement of these outputs must show.
func subtreeRoot(commitments []zk.Commitment, level int) zk.Root {
	leaves := make([]tree.Leaf, len(commitments))
	for i, cm := range commitments {
		leaves[i] = cm.Element()
	}
	return zk.RootFromElement(tree.SubtreeRoot(leaves, level))
}

// reader gives the reader of a programme: the oversight key itself for money without one.
func (b *Builder) reader(p zk.ProgrammeID) (zk.Point, zk.Path, error) {
	if p == 0 {
		return b.State.ovk, zk.EmptyPath(zk.ReaderDepth), nil
	}
	key, path, ok := b.State.readers.reader(p)
	if !ok {
		return zk.Point{}, zk.Path{}, Refuse(UnknownProgramme, "programme %d was not opened on this ledger", p)
	}
	return key, path, nil
}

// witness opens a leg for the prover, under the roots of the last block read.
func (b *Builder) witness(l *entry.Leg, r *Recipe, ctx zk.Field) (w zk.LegWitness, err error) {
	s := b.State
	e, err := zk.ParseScalar(r.E)
	if err != nil {
		return w, fmt.Errorf("read the leg's secret: %w", err)
	}
	sig, err := zk.ParseSignature(r.Signature)
	if err != nil {
		return w, fmt.Errorf("read the leg's signature: %w", err)
	}
	rights := b.rights()
	root, ok := zk.Root{}, false
	if root, ok = s.notes.rootOf(r.Tree); !ok {
		return w, fmt.Errorf("note tree %d is not known", r.Tree)
	}
	rightsRoot, err := zk.RightsRoot(rights.List)
	if err != nil {
		return w, fmt.Errorf("compute the rights root: %w", err)
	}
	path, ok := s.registry.path(s.view.Owner())
	registryRoot := s.registry.tree.Root()
	status := zk.Active
	if rights.Frozen {
		status = zk.Frozen
	}
	if !ok {
		if !b.forged {
			return w, Refuse(OwnerUnknown, "this wallet is not registered yet")
		}
		path = zk.EmptyPath(zk.RegistryDepth)
	}
	if b.forged {
		claimed := zk.RegistryLeaf{Owner: s.view.Owner(), Status: status, Limit: rights.Limit, Rights: rightsRoot}
		registryRoot = zk.RootFromElement(path.Root(claimed.Hash()))
	}
	reader, readerPath, err := b.reader(r.From)
	if err != nil {
		return w, err
	}
	w = zk.LegWitness{
		Public:         l.Public(root, registryRoot, s.readers.tree.Root(), s.ovk, ctx),
		Asset:          r.Asset,
		InputProgramme: r.From,
		SetProgramme:   r.Set,
		Outputs:        r.Outputs,
		AK:             b.Keys.AK(),
		NK:             b.Keys.NK(),
		Signature:      sig,
		E:              e,
		Registry:       zk.RegistryWitness{Status: status, Limit: rights.Limit, Rights: rightsRoot, Path: path},
		Right:          zk.RightWitness{Path: zk.EmptyPath(zk.RightsDepth)},
		Reader:         zk.ReaderWitness{Key: reader, Path: readerPath},
	}
	for _, in := range r.Inputs {
		input := zk.InputWitness{Note: in.Note, Index: in.Index, Path: zk.EmptyPath(zk.NoteDepth)}
		if in.Note.Value > 0 {
			if input.Path, err = s.notes.path(zk.Position{Tree: r.Tree, Index: in.Index}); err != nil {
				return w, err
			}
		}
		w.Inputs = append(w.Inputs, input)
	}
	w.Right, err = useRight(rights, r)
	return w, err
}

// useRight opens the right that the leg needs, if any.
func useRight(rights Rights, r *Recipe) (zk.RightWitness, error) {
	none := zk.RightWitness{Path: zk.EmptyPath(zk.RightsDepth)}
	index, needed, ok := 0, false, false
	for _, o := range r.Outputs {
		switch {
		case o.Programme == r.From:
			continue
		case o.Programme == 0:
			needed = true
			if index, ok = rights.right(r.From, func(x zk.Right) bool { return x.MayRelease }); !ok {
				return none, Refuse(ReleaseNotAllowed, "money of programme %d may not be released here", r.From)
			}
		default:
			needed = true
			if index, ok = rights.right(o.Programme, func(x zk.Right) bool { return x.MaySet }); !ok {
				return none, Refuse(SetNotAllowed, "money may not be earmarked for programme %d here", o.Programme)
			}
		}
	}
	if !needed {
		return none, nil
	}
	path, err := zk.RightsPath(rights.List, index)
	if err != nil {
		return none, fmt.Errorf("open the right: %w", err)
	}
	return zk.RightWitness{Right: rights.List[index], Path: path}, nil
}
