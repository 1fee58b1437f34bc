// Package circuittest builds legs that are true: keys, a registry, readers,
// notes in a tree, oversight ciphertexts and a signature, all from a seeded
// source of randomness. Tests of provers and verifiers and the load generator
// use it; no command of a ledger or a wallet imports it.
//
// It is written against package zk alone, with its own little trees and its own
// order of steps, so that circuits, wallet and ledger have a third opinion to
// agree with.
package circuittest

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Options say what the leg is like. The zero value of each field is usable;
// only Circuit must be given.
type Options struct {
	Circuit zk.CircuitID
	// Asset of every note; 0 stands for 978.
	Asset zk.AssetID
	// Programme of every input, 0 for none.
	Programme zk.ProgrammeID
	// Release lets output 0 drop the programme.
	Release bool
	// Set, where Programme is 0, is the programme that output 0 takes on.
	Set zk.ProgrammeID
	// Rights of the payer, and which of them the leg opens. With nil, a leg
	// that crosses programmes holds exactly the right it needs.
	Rights     []zk.Right
	RightIndex int
	// Issued and Redeemed are the public amounts of such a leg.
	Issued, Redeemed zk.Amount
	// Dummies is the number of inputs, the last ones, that spend nothing. With
	// all of them dummies, the leg moves only what it issues.
	Dummies int
	// Limit of the payer's registry leaf, 0 for the largest.
	Limit zk.Amount
	// Status of the payer's registry leaf, 0 for active.
	Status zk.Status
	// SizeClass of a hold, 0 for zk.LocalHold.
	SizeClass uint64
	// Tree is the number of the note tree.
	Tree uint16
}

// Leg is a true leg with the secrets that other sides of it would hold.
type Leg struct {
	Witness   zk.LegWitness
	Ask       zk.Scalar // signs for the payer
	Oversight zk.Scalar // opens every leg
	Reader    zk.Scalar // opens legs of the programme; the zero Scalar where the programme is 0
}

// Sign sets ctx and signs it, as a wallet does when the rest of the leg is
// fixed.
func (l *Leg) Sign(ctx zk.Field, rand io.Reader) {
	l.Witness.Public.Ctx = ctx
	l.Witness.Signature = zk.Sign(l.Ask, ctx.Element(), rand)
}

// ErrOptions refuses options that contradict each other.
var ErrOptions = errors.New("contradictory options")

// Build makes a leg. The same options and the same bytes of rand give the same
// leg. It fails on contradictory options and where rand fails; rights, limit
// and status may well be too small for the leg: then it is a false leg, with
// everything else true.
func Build(rand io.Reader, o Options) (*Leg, error) {
	b := builder{rand: rand}
	leg, err := b.build(o)
	if b.err != nil {
		return nil, fmt.Errorf("build a leg: %w", b.err)
	}
	return leg, err
}

// builder draws randomness and keeps the first error of it.
type builder struct {
	rand io.Reader
	err  error
}

func (b *builder) bytes(dst []byte) {
	if b.err == nil {
		_, b.err = io.ReadFull(b.rand, dst)
	}
}

func (b *builder) below(n uint64) uint64 {
	var x [8]byte
	b.bytes(x[:])
	return binary.BigEndian.Uint64(x[:]) % n
}

func (b *builder) field() zk.Field {
	var wide [64]byte
	b.bytes(wide[:])
	return zk.FieldFromWide(wide)
}

func (b *builder) scalar() zk.Scalar {
	var wide [64]byte
	b.bytes(wide[:])
	return zk.ScalarFromWide(wide)
}

func (b *builder) build(o Options) (*Leg, error) {
	shape := o.Circuit.Shape()
	switch {
	case shape.Inputs == 0:
		return nil, fmt.Errorf("%w: unknown %v", ErrOptions, o.Circuit)
	case o.Release && o.Programme == 0, o.Set != 0 && o.Programme != 0:
		return nil, fmt.Errorf("%w: release needs a programme, set needs none", ErrOptions)
	case o.Dummies < 0 || o.Dummies > shape.Inputs:
		return nil, fmt.Errorf("%w: %d dummies of %d inputs", ErrOptions, o.Dummies, shape.Inputs)
	case o.Dummies == shape.Inputs && o.Redeemed > o.Issued:
		return nil, fmt.Errorf("%w: nothing to redeem", ErrOptions)
	case o.Redeemed >= 1<<60, o.Dummies < shape.Inputs && o.Issued >= 1<<60:
		return nil, fmt.Errorf("%w: amounts beyond 2^60 leave no room for the inputs'", ErrOptions)
	case o.RightIndex < 0 || o.RightIndex >= zk.MaxRights:
		return nil, fmt.Errorf("%w: right number %d", ErrOptions, o.RightIndex)
	}
	if o.Asset == 0 {
		o.Asset = 978
	}
	if o.Limit == 0 {
		o.Limit = ^zk.Amount(0)
	}
	if o.Status == 0 {
		o.Status = zk.Active
	}
	if o.SizeClass == 0 {
		o.SizeClass = zk.LocalHold
	}

	leg := &Leg{Ask: b.scalar(), Oversight: b.scalar()}
	w := &leg.Witness
	w.Asset, w.InputProgramme, w.SetProgramme = o.Asset, o.Programme, o.Set
	w.AK = leg.Ask.Base()
	w.NK = zk.NullifierKeyFromElement(b.field().Element())
	w.E = b.scalar()
	own := zk.OwnerOf(w.AK, w.NK)
	pub := &w.Public
	pub.Circuit, pub.Tree = o.Circuit, o.Tree
	pub.Issued, pub.Redeemed, pub.SizeClass = o.Issued, o.Redeemed, 0
	if o.Issued != 0 || o.Redeemed != 0 {
		pub.Asset, pub.Programme = o.Asset, o.Programme
	}

	// Inputs, in a note tree with strangers beside them.
	notes := newGrove(zk.NoteDepth)
	total := uint64(o.Issued)
	for i := range shape.Inputs {
		note := zk.Note{Asset: o.Asset, Programme: o.Programme, Owner: own, Rho: zk.Rho(b.field())}
		in := zk.InputWitness{Note: note, Path: zk.EmptyPath(zk.NoteDepth)}
		if i < shape.Inputs-o.Dummies {
			in.Note.Value = o.Redeemed + zk.Amount(1+b.below(1e12))
			total += uint64(in.Note.Value)
			in.Index = uint32(b.below(zk.NoteCapacity/27))*27 + uint32(i)
			notes.set(in.Index, in.Note.Commitment().Element())
			notes.set(in.Index-in.Index%3+(in.Index+1)%3, b.field().Element())
		}
		w.Inputs = append(w.Inputs, in)
	}
	for i := range w.Inputs {
		in := &w.Inputs[i]
		if in.Note.Value != 0 {
			in.Path = notes.path(in.Index)
		}
		nf := w.NK.Nullify(in.Note.Commitment(), zk.Position{Tree: o.Tree, Index: in.Index})
		pub.Nullifiers = append(pub.Nullifiers, nf)
	}
	pub.NoteRoot = zk.RootFromElement(notes.root())
	total -= uint64(o.Redeemed)

	// The registry, the readers, the rights.
	rights := o.Rights
	if rights == nil && o.Release {
		rights = []zk.Right{{Programme: o.Programme, MayRelease: true}}
	}
	if rights == nil && o.Set != 0 {
		rights = []zk.Right{{Programme: o.Set, MaySet: true}}
	}
	rightsRoot, err := zk.RightsRoot(rights)
	if err != nil {
		return nil, err
	}
	w.Registry = zk.RegistryWitness{Status: o.Status, Limit: o.Limit, Rights: rightsRoot}
	leaf := zk.RegistryLeaf{Owner: own, Status: o.Status, Limit: o.Limit, Rights: rightsRoot}.Hash()
	pub.RegistryRoot, w.Registry.Path = b.plant(zk.RegistryDepth, leaf)
	w.Right.Path = zk.EmptyPath(zk.RightsDepth)
	if (o.Release || o.Set != 0) && o.RightIndex < len(rights) {
		w.Right.Right = rights[o.RightIndex]
		if w.Right.Path, err = zk.RightsPath(rights, o.RightIndex); err != nil {
			return nil, err
		}
	}
	pub.OversightKey = leg.Oversight.Base()
	w.Reader = zk.ReaderWitness{Key: pub.OversightKey, Path: zk.EmptyPath(zk.ReaderDepth)}
	var readersPath zk.Path
	if o.Programme != 0 {
		leg.Reader = b.scalar()
		w.Reader.Key = leg.Reader.Base()
		pub.ReadersRoot, readersPath = b.plant(zk.ReaderDepth, zk.ReaderLeaf(o.Programme, w.Reader.Key))
		w.Reader.Path = readersPath
	} else {
		pub.ReadersRoot, _ = b.plant(zk.ReaderDepth, b.field().Element())
	}

	// Outputs: payees first, the payer's change last. A keystream per leg.
	nf0 := pub.Nullifiers[0].Element()
	epk := w.E.Base()
	ex, ey := epk.XY()
	sx, sy := w.E.Mul(pub.OversightKey).XY()
	k := zk.Hash("kdf", sx, sy, ex, ey, nf0)
	pub.Epk = epk.Fields()
	tx, ty := w.E.Mul(w.Reader.Key).XY()
	wrap := zk.Hash("wrap", tx, ty)
	wrap.Add(&wrap, &k)
	pub.Wrap = zk.FieldFromElement(wrap)
	left := total
	for i := range shape.Outputs {
		note := zk.Note{Asset: o.Asset, Programme: o.Programme, Owner: zk.Owner(b.field())}
		note.Value = zk.Amount(b.below(left/uint64(shape.Outputs) + 1))
		if i == shape.Outputs-1 {
			note.Value, note.Owner = zk.Amount(left), own
		}
		left -= uint64(note.Value)
		switch {
		case i == 0 && o.Release:
			note.Programme = 0
		case i == 0 && o.Set != 0:
			note.Programme = o.Set
		}
		lane := zk.Lanes(k, uint64(i))
		note.Rho = zk.Rho(zk.FieldFromElement(lane[2]))
		w.Outputs = append(w.Outputs, note)
		pub.Commitments = append(pub.Commitments, note.Commitment())
		pub.Cipher = append(pub.Cipher, [2]zk.Field{
			masked(note.Packed(), lane[0]), masked(note.Owner.Element(), lane[1]),
		})
	}
	var slots []uint32
	for _, in := range w.Inputs {
		slots = append(slots, in.Slot())
	}
	lane := zk.Lanes(k, 1000)
	pub.Sender = []zk.Field{masked(own.Element(), lane[0])}
	for i, packed := range zk.PackSlots(slots) {
		pub.Sender = append(pub.Sender, masked(packed, lane[1+i]))
	}

	if shape.Held {
		pub.SizeClass = o.SizeClass
		back := w.Outputs[0]
		back.Owner, back.Rho = own, zk.Rho(zk.FieldFromElement(zk.Lanes(k, 1001)[2]))
		pub.ReturnCommitment = back.Commitment()
	}
	if shape.SubtreeLevel > 0 {
		subtree := newGrove(shape.SubtreeLevel)
		for i, cm := range pub.Commitments {
			subtree.set(uint32(i), cm.Element())
		}
		pub.SubtreeRoot = zk.RootFromElement(subtree.root())
	}
	leg.Sign(b.field(), b.rand)
	return leg, b.err
}

func masked(x, lane fr.Element) zk.Field {
	x.Add(&x, &lane)
	return zk.FieldFromElement(x)
}

// plant puts a leaf into a tree with two strangers and returns root and path.
func (b *builder) plant(depth int, leaf fr.Element) (zk.Root, zk.Path) {
	size := uint64(1)
	for range depth {
		size *= 3
	}
	g := newGrove(depth)
	at := uint32(b.below(size))
	g.set(uint32(b.below(size)), b.field().Element())
	g.set(at-at%3+(at+1)%3, b.field().Element())
	g.set(at, leaf)
	return zk.RootFromElement(g.root()), g.path(at)
}

// grove is a sparse ternary tree: the nodes that differ from an empty tree's,
// by level and index.
type grove struct {
	empty []fr.Element
	nodes []map[uint32]fr.Element
}

func newGrove(depth int) *grove {
	g := &grove{empty: make([]fr.Element, depth+1), nodes: make([]map[uint32]fr.Element, depth+1)}
	for l := range g.nodes {
		g.nodes[l] = map[uint32]fr.Element{}
		if l > 0 {
			g.empty[l] = zk.Hash3(g.empty[l-1], g.empty[l-1], g.empty[l-1])
		}
	}
	return g
}

func (g *grove) at(level int, index uint32) fr.Element {
	if x, ok := g.nodes[level][index]; ok {
		return x
	}
	return g.empty[level]
}

func (g *grove) set(index uint32, leaf fr.Element) {
	g.nodes[0][index] = leaf
	for l := 1; l < len(g.nodes); l++ {
		index /= 3
		g.nodes[l][index] = zk.Hash3(g.at(l-1, 3*index), g.at(l-1, 3*index+1), g.at(l-1, 3*index+2))
	}
}

func (g *grove) root() fr.Element { return g.at(len(g.nodes)-1, 0) }

func (g *grove) path(index uint32) zk.Path {
	p := zk.EmptyPath(len(g.nodes) - 1)
	for l := range p.Digits {
		digit, first := index%3, index-index%3
		p.Digits[l] = uint8(digit)
		n := 0
		for j := range uint32(3) {
			if j != digit {
				p.Siblings[l][n] = g.at(l, first+j)
				n++
			}
		}
		index /= 3
	}
	return p
}
