package prover

import (
	"math/big"
	"math/bits"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Lanes of the oversight keystream that belong to no output.
const (
	senderLane = 1000
	returnLane = 1001
)

// Check decides every statement that the leg's proof would prove, without the proof system, and names the first that fails as
// a *Refusal. A leg that passes can be proven.
func Check(witness zk.LegWitness) error {
	w := &witness
	if err := checkForm(w); err != nil {
		return err
	}
	c := &check{w: w, pub: &w.Public, shape: w.Public.Circuit.Shape(), own: zk.OwnerOf(w.AK, w.NK)}
	for _, statement := range []func() error{
		c.inputs, c.signature, c.outputs, c.registry, c.balance, c.earmark, c.oversight, c.reader, c.hold, c.subtree,
	} {
		if err := statement(); err != nil {
			return err
		}
	}
	return nil
}

type check struct {
	w     *zk.LegWitness
	pub   *zk.LegPublic
	shape zk.Shape
	own   zk.Owner
	left  uint128    // what leaves the owner, redeemed value included
	key   fr.Element // of the oversight keystream, once oversight has computed it
}

// uint128 adds amounts without overflow.
type uint128 struct{ hi, lo uint64 }

func (u *uint128) add(v zk.Amount) {
	lo, carry := bits.Add64(u.lo, uint64(v), 0)
	u.lo, u.hi = lo, u.hi+carry
}

func checkForm(w *zk.LegWitness) error {
	if err := w.Public.CheckShape(); err != nil {
		return refuse(WitnessMalformed, "%v", err)
	}
	s := w.Public.Circuit.Shape()
	if len(w.Inputs) != s.Inputs || len(w.Outputs) != s.Outputs {
		return refuse(WitnessMalformed, "%d inputs and %d outputs for a %v", len(w.Inputs), len(w.Outputs), w.Public.Circuit)
	}
	if w.AK.IsZero() || w.NK.IsZero() || w.E.IsZero() || w.Signature.R.IsZero() || w.Reader.Key.IsZero() || w.Public.OversightKey.IsZero() {
		return refuse(WitnessMalformed, "a key or the signature is missing")
	}
	if new(big.Int).SetBytes(w.Signature.S[:]).Cmp(zk.ScalarOrder()) >= 0 {
		return refuse(WitnessMalformed, "the signature's response is not below the group order")
	}
	p := &w.Public
	fields := [][32]byte{p.NoteRoot, p.RegistryRoot, p.ReadersRoot, p.Ctx, p.Epk[0], p.Epk[1], p.Wrap, p.SubtreeRoot, p.ReturnCommitment, w.Registry.Rights}
	for _, x := range p.Sender {
		fields = append(fields, x)
	}
	for _, x := range p.Nullifiers {
		fields = append(fields, x)
	}
	for _, x := range p.Commitments {
		fields = append(fields, x)
	}
	for _, x := range p.Cipher {
		fields = append(fields, x[0], x[1])
	}
	for i := range w.Inputs {
		fields = append(fields, w.Inputs[i].Note.Rho, w.Inputs[i].Note.Owner)
	}
	for i := range w.Outputs {
		fields = append(fields, w.Outputs[i].Rho, w.Outputs[i].Owner)
	}
	for _, f := range fields {
		if _, err := zk.ParseElement(f[:]); err != nil {
			return refuse(WitnessMalformed, "a field element is not canonical")
		}
	}
	for i := range w.Inputs {
		if !goodPath(w.Inputs[i].Path, zk.NoteDepth) || w.Inputs[i].Path.Index() != w.Inputs[i].Index {
			return refuse(WitnessMalformed, "the path of input %d has the wrong depth or index", i)
		}
	}
	if !goodPath(w.Registry.Path, zk.RegistryDepth) || !goodPath(w.Right.Path, zk.RightsDepth) || !goodPath(w.Reader.Path, zk.ReaderDepth) {
		return refuse(WitnessMalformed, "the path of the registry leaf, the right or the reader has the wrong depth")
	}
	return nil
}

func goodPath(p zk.Path, depth int) bool {
	if len(p.Digits) != depth || len(p.Siblings) != depth {
		return false
	}
	for _, d := range p.Digits {
		if d > 2 {
			return false
		}
	}
	return true
}

// inputs is statement 1.
func (c *check) inputs() error {
	for i := range c.w.Inputs {
		in := &c.w.Inputs[i]
		if in.Note.Owner != c.own || in.Note.Asset != c.w.Asset || in.Note.Programme != c.w.InputProgramme {
			return refuse(InputForeign, "input %d has another owner, asset or programme than the leg", i)
		}
		cm := in.Note.Commitment()
		if in.Note.Value != 0 && zk.RootFromElement(in.Path.Root(cm.Element())) != c.pub.NoteRoot {
			return refuse(MembershipInvalid, "input %d is not in the note tree", i)
		}
		nf := c.w.NK.Nullify(cm, zk.Position{Tree: c.pub.Tree, Index: in.Index})
		if nf != c.pub.Nullifiers[i] {
			return refuse(NullifierMismatch, "nullifier %d is not that of its input", i)
		}
		// The circuit leaves this to the ledger, which compares nullifiers anyway: a leg that repeats one can be proven and is
		// refused there.
		for j := range i {
			if c.pub.Nullifiers[j] == nf {
				return refuse(NullifierRepeated, "inputs %d and %d are one note", j, i)
			}
		}
	}
	return nil
}

// signature is statement 2.
func (c *check) signature() error {
	if !zk.VerifySignature(c.w.AK, c.pub.Ctx.Element(), c.w.Signature) {
		return refuse(SignatureInvalid, "the owner's signature does not cover this transaction")
	}
	return nil
}

// outputs checks what every later statement leans on, and adds up what leaves the owner. A held output leaves it whoever owns it.
func (c *check) outputs() error {
	for i := range c.w.Outputs {
		o := &c.w.Outputs[i]
		if o.Asset != c.w.Asset {
			return refuse(OutputForeign, "output %d has another asset than the leg", i)
		}
		if o.Owner != c.own || c.shape.Held && i == 0 {
			c.left.add(o.Value)
		}
	}
	c.left.add(c.pub.Redeemed)
	return nil
}

// registry is statement 3.
func (c *check) registry() error {
	r := &c.w.Registry
	root := func(status zk.Status) zk.Root {
		leaf := zk.RegistryLeaf{Owner: c.own, Status: status, Limit: r.Limit, Rights: r.Rights}
		return zk.RootFromElement(r.Path.Root(leaf.Hash()))
	}
	if root(zk.Active) != c.pub.RegistryRoot {
		if root(zk.Frozen) == c.pub.RegistryRoot || r.Status != zk.Active && root(r.Status) == c.pub.RegistryRoot {
			return refuse(OwnerFrozen, "the wallet is frozen")
		}
		return refuse(OwnerNotRegistered, "the wallet is not in the registry as it says")
	}
	if c.left.hi != 0 || c.left.lo > uint64(r.Limit) {
		return refuse(OverLimit, "more leaves the wallet than its limit allows in one leg")
	}
	return nil
}

// balance is statement 4.
func (c *check) balance() error {
	var in, out uint128
	for i := range c.w.Inputs {
		in.add(c.w.Inputs[i].Note.Value)
	}
	in.add(c.pub.Issued)
	for i := range c.w.Outputs {
		out.add(c.w.Outputs[i].Value)
	}
	out.add(c.pub.Redeemed)
	if in != out {
		return refuse(Unbalanced, "inputs and issue differ from outputs and redemption")
	}
	if c.pub.Issued != 0 && c.pub.Redeemed != 0 {
		return refuse(IssueAndRedeem, "a leg either issues or redeems")
	}
	asset, programme := zk.AssetID(0), zk.ProgrammeID(0)
	if c.pub.Issued != 0 || c.pub.Redeemed != 0 {
		asset, programme = c.w.Asset, c.w.InputProgramme
	}
	if c.pub.Asset != asset {
		return refuse(AssetMismatch, "the public asset is not what this leg has to show")
	}
	if c.pub.Programme != programme {
		return refuse(ProgrammeMismatch, "the public programme is not what this leg has to show")
	}
	return nil
}

// earmark is statement 5.
func (c *check) earmark() error {
	p := c.w.InputProgramme
	crosses := false
	for i := range c.w.Outputs {
		switch q := c.w.Outputs[i].Programme; {
		case q == p:
		case q == 0, p == 0 && q == c.w.SetProgramme:
			crosses = true
		default:
			return refuse(ProgrammeMismatch, "output %d carries a programme that this leg neither keeps nor sets", i)
		}
	}
	if !crosses {
		return nil
	}
	code, verb, named := ReleaseNotAllowed, "release", p
	if p == 0 {
		code, verb, named = SetNotAllowed, "set", c.w.SetProgramme
	}
	right := c.w.Right.Right
	if !right.Wildcard && right.Programme != named {
		return refuse(code, "the right opened is for another programme")
	}
	if p != 0 && !right.MayRelease || p == 0 && !right.MaySet {
		return refuse(code, "the wallet's right does not allow it to %s this programme", verb)
	}
	if zk.RootFromElement(c.w.Right.Path.Root(right.Leaf())) != c.w.Registry.Rights {
		return refuse(code, "the wallet has no such right to %s a programme", verb)
	}
	return nil
}

// oversight is statement 6.
func (c *check) oversight() error {
	epk := c.w.E.Base()
	if epk.Fields() != c.pub.Epk {
		return refuse(KeyMismatch, "the ephemeral key is not that of the leg's secret")
	}
	sx, sy := c.w.E.Mul(c.pub.OversightKey).XY()
	ex, ey := epk.XY()
	c.key = zk.Hash("kdf", sx, sy, ex, ey, c.pub.Nullifiers[0].Element())
	for i := range c.w.Outputs {
		o := c.w.Outputs[i]
		lane := zk.Lanes(c.key, uint64(i))
		if o.Rho != zk.Rho(zk.FieldFromElement(lane[2])) || o.Commitment() != c.pub.Commitments[i] {
			return refuse(CommitmentMismatch, "commitment %d is not that of its output", i)
		}
		if masked(o.Packed(), lane[0]) != c.pub.Cipher[i][0] || masked(o.Owner.Element(), lane[1]) != c.pub.Cipher[i][1] {
			return refuse(CipherMismatch, "oversight could not read output %d", i)
		}
	}
	lane := zk.Lanes(c.key, senderLane)
	slots := make([]uint32, len(c.w.Inputs))
	for i := range slots {
		slots[i] = c.w.Inputs[i].Slot()
	}
	want := []zk.Field{masked(c.own.Element(), lane[0])}
	for i, packed := range zk.PackSlots(slots) {
		want = append(want, masked(packed, lane[1+i]))
	}
	for i := range want {
		if want[i] != c.pub.Sender[i] {
			return refuse(CipherMismatch, "oversight could not read the sender")
		}
	}
	return nil
}

func masked(x, lane fr.Element) zk.Field {
	x.Add(&x, &lane)
	return zk.FieldFromElement(x)
}

// reader is statement 7.
func (c *check) reader() error {
	r := &c.w.Reader
	if c.w.InputProgramme == 0 {
		if !r.Key.Equal(c.pub.OversightKey) {
			return refuse(ReaderMismatch, "money without a programme is read by oversight")
		}
	} else if zk.RootFromElement(r.Path.Root(zk.ReaderLeaf(c.w.InputProgramme, r.Key))) != c.pub.ReadersRoot {
		return refuse(ReaderMismatch, "this key is not the reader of the programme")
	}
	x, y := c.w.E.Mul(r.Key).XY()
	if masked(c.key, zk.Hash("wrap", x, y)) != c.pub.Wrap {
		return refuse(WrapMismatch, "the reader could not open the leg")
	}
	return nil
}

// hold is statement 8.
func (c *check) hold() error {
	if !c.shape.Held {
		return nil
	}
	back := c.w.Outputs[0]
	back.Owner, back.Rho = c.own, zk.Rho(zk.FieldFromElement(zk.Lanes(c.key, returnLane)[2]))
	if back.Commitment() != c.pub.ReturnCommitment {
		return refuse(ReturnMismatch, "the return commitment is not that of the held output")
	}
	if uint64(back.Value) > c.pub.SizeClass {
		return refuse(SizeClassExceeded, "the held amount is above its size class")
	}
	return nil
}

// subtree is statement 9.
func (c *check) subtree() error {
	if c.shape.SubtreeLevel == 0 {
		return nil
	}
	var level []fr.Element
	for _, cm := range c.pub.Commitments {
		level = append(level, cm.Element())
	}
	var empty fr.Element
	for range c.shape.SubtreeLevel {
		at := func(i int) fr.Element {
			if i < len(level) {
				return level[i]
			}
			return empty
		}
		next := make([]fr.Element, (len(level)+2)/3)
		for i := range next {
			next[i] = zk.Hash3(at(3*i), at(3*i+1), at(3*i+2))
		}
		level, empty = next, zk.Hash3(empty, empty, empty)
	}
	if zk.RootFromElement(level[0]) != c.pub.SubtreeRoot {
		return refuse(SubtreeMismatch, "the subtree root is not that of the outputs")
	}
	return nil
}
