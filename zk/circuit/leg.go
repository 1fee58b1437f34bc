package circuit

import (
	"math/big"

	"github.com/consensys/gnark/frontend"
)

// Bits of the packed parts of a note (zk/SPEC.md, "Note").
const (
	valueBits     = 64
	assetBits     = 32
	programmeBits = 64
)

// Indices of the keystream lanes that belong to no output.
const (
	senderLane = 1000
	returnLane = 1001
)

// slotsPerLane 32-bit input slots fit one field element.
const slotsPerLane = 7

// Leg is the statement of one leg. All five circuits are this one with other
// sizes. Every field below Public is secret; there is no hint anywhere, so
// each wire is either an input or the only solution of its constraint.
type Leg struct {
	// Public holds the inputs in the order of zk.LegPublic.AppendInputs.
	Public []frontend.Variable `gnark:",public"`

	Asset       [assetBits]frontend.Variable     // bits
	Programme   [programmeBits]frontend.Variable // p, bits: carried by every input
	Alternative [programmeBits]frontend.Variable // what outputs may carry in place of p, bits; p where unused
	Inputs      []Input
	Outputs     []Output

	NullifierKey frontend.Variable
	Key          Point                         // AK
	Nonce        Point                         // R of the signature
	Response     [scalarBits]frontend.Variable // s, signed digits of four bits
	Challenge    [fieldBits]frontend.Variable  // bits of the signature's digest
	Secret       [scalarBits]frontend.Variable // e, signed digits of three bits

	Limit        frontend.Variable
	Rights       frontend.Variable // root of the owner's rights
	Registration []Level
	Headroom     [valueBits]frontend.Variable // limit less what leaves the owner, bits

	AmountInverse frontend.Variable // of issued+redeemed, or anything where that is 0

	Entry      frontend.Variable // programme of the rights entry used, 2^64 for the wildcard
	MaySet     frontend.Variable
	MayRelease frontend.Variable
	Right      []Level

	Reader           Point // RK
	Reading          []Level
	ProgrammeInverse frontend.Variable // of p, or anything where p is 0

	Held []Held // one in a hold, none elsewhere

	size   shape       `gnark:"-"`
	*hooks `gnark:"-"` // nil but in tests
}

// Input is a note to spend, or a dummy: value 0 under any path.
type Input struct {
	Value        [valueBits]frontend.Variable // bits
	ValueInverse frontend.Variable            // of the value, or anything where it is 0
	Rho          frontend.Variable
	Path         []Level
}

// Output is a note to create. Its rho comes out of the keystream.
type Output struct {
	Value   [valueBits]frontend.Variable // bits
	Crosses frontend.Variable            // 1: carries the alternative instead of p
	Kept    frontend.Variable            // 1: belongs to the payer itself
	// Offset is the owner less the payer's own where Kept is 0, and means
	// nothing where it is 1.
	Offset frontend.Variable
}

// Held is what a hold proves besides: its size class.
type Held struct {
	SizeGap [valueBits]frontend.Variable // size class less value of output 0, bits
}

// shape fixes the sizes of a circuit. Tests use smaller ones.
type shape struct {
	inputs, outputs int
	subtree         int // level of the published subtree of outputs, 0 for none
	held            bool
	notes, registry int // depths
	readers, rights int
	challenge       int // bits of the Schnorr challenge
}

func (s shape) senders() int {
	if s.inputs > slotsPerLane {
		return 3
	}
	return 2
}

// Positions of the public inputs; nullifiers and what follows depend on the shape.
const (
	inNoteRoot = iota
	inTree
	inRegistryRoot
	inReadersRoot
	inOversightX
	inOversightY
	inCtx
	inAsset
	inProgramme
	inIssued
	inRedeemed
	inEpkX
	inEpkY
	inWrap
	inSender
)

func (s shape) nullifier(i int) int  { return inSender + s.senders() + i }
func (s shape) commitment(i int) int { return s.nullifier(s.inputs) + i }
func (s shape) cipher(i int) int     { return s.commitment(s.outputs) + 2*i }
func (s shape) subtreeRoot() int     { return s.cipher(s.outputs) }
func (s shape) returned() int        { return s.cipher(s.outputs) }
func (s shape) sizeClass() int       { return s.returned() + 1 }
func (s shape) publics() int {
	n := s.cipher(s.outputs)
	if s.subtree > 0 {
		n++
	}
	if s.held {
		n += 2
	}
	return n
}

func power(n uint) *big.Int { return new(big.Int).Lsh(big.NewInt(1), n) }

// Define writes the statements of zk/SPEC.md chapter 7, in the order of their
// numbers.
func (l *Leg) Define(api frontend.API) error {
	c := &checks{API: api}
	if l.hooks != nil {
		c.hooks = *l.hooks
	}
	in := func(i int) frontend.Variable { return l.Public[i] }
	s := l.size

	// The packed parts shared by all notes of the leg, range-checked once.
	asset := c.number("S4.assetBits", l.Asset[:])
	p := c.number("S5.programmeBits", l.Programme[:])
	alternative := c.number("S5.alternativeBits", l.Alternative[:])
	pack := func(value, programme frontend.Variable) frontend.Variable {
		return c.Add(value, c.Mul(asset, power(64)), c.Mul(programme, power(96)), power(160))
	}
	// own = P("own", AK, nk) binds the key that signs to the one that
	// nullifies; S2 proves that AK is on the curve.
	own := c.hash("own", l.Key.X, l.Key.Y, l.NullifierKey)

	// 1. Inputs: members of the note tree unless worth 0, one nullifier each.
	inputValues := make([]frontend.Variable, s.inputs)
	slots := make([]frontend.Variable, s.inputs)
	for i, note := range l.Inputs {
		inputValues[i] = c.number("S1.valueBits", note.Value[:])
		cm := c.compress(pack(inputValues[i], p), own, note.Rho)
		root := c.climb("S1", cm, note.Path)
		c.zero("S1.membership", inputValues[i], c.Sub(root, in(inNoteRoot)))
		index := c.index("S1", note.Path)
		position := c.Add(c.Mul(in(inTree), power(32)), index, power(48))
		c.public("S1.nullifier", l.Public, s.nullifier(i), c.compress(l.NullifierKey, cm, position))
		// What oversight is told of the input: 0 of a dummy, index+1 of a note.
		spends := c.Mul(inputValues[i], note.ValueInverse)
		c.zero("S1.spends", inputValues[i], c.Sub(1, spends))
		slots[i] = c.Mul(spends, c.Add(index, 1))
	}

	// 2. The owner signed ctx.
	c.onCurve("S2.keyOnCurve", l.Key)
	c.verify(l.Key, l.Nonce, l.Response[:], l.Challenge[:], in(inCtx), s.challenge)

	// Outputs, before the statements over them: values, programmes, owners.
	values := make([]frontend.Variable, s.outputs)
	packed := make([]frontend.Variable, s.outputs)
	owners := make([]frontend.Variable, s.outputs)
	left := make([]frontend.Variable, s.outputs) // what each output takes from the owner
	for i, o := range l.Outputs {
		values[i] = c.number("S4.valueBits", o.Value[:])
		// 5. Each output carries p or the alternative.
		c.booleans("S5.crossesBit", o.Crosses)
		packed[i] = pack(values[i], c.Add(p, c.Mul(o.Crosses, c.Sub(alternative, p))))
		// 3. Kept outputs belong to own; all others count against the limit,
		// and so does a held one, whoever owns it.
		c.booleans("S3.keptBit", o.Kept)
		gone := c.Sub(1, o.Kept)
		owners[i] = c.Add(own, c.Mul(gone, o.Offset))
		left[i] = values[i]
		if !(s.held && i == 0) {
			left[i] = c.Mul(gone, values[i])
		}
	}

	// 3. Registered, active, within the limit.
	leaf := c.hash("reg", own, 1, l.Limit, l.Rights)
	c.equal("S3.registered", c.climb("S3", leaf, l.Registration), in(inRegistryRoot))
	headroom := c.number("S3.headroomBits", l.Headroom[:])
	c.equal("S3.limit", l.Limit, c.Add(c.sum(left...), in(inRedeemed), headroom))

	// 4. Balance, and what a leg that issues or redeems must show.
	amount := c.Add(in(inIssued), in(inRedeemed))
	c.equal("S4.balance",
		c.Add(c.sum(inputValues...), in(inIssued)),
		c.Add(c.sum(values...), in(inRedeemed)))
	c.zero("S4.oneDirection", in(inIssued), in(inRedeemed))
	c.zero("S4.shownAsset", amount, c.Sub(in(inAsset), asset))
	c.zero("S4.shownProgramme", amount, c.Sub(in(inProgramme), p))
	nothing := c.Sub(1, c.Mul(amount, l.AmountInverse)) // 1 where amount is 0; the prover's choice elsewhere
	c.zero("S4.hiddenAsset", nothing, in(inAsset))
	c.zero("S4.hiddenProgramme", nothing, in(inProgramme))

	// 5. The alternative is p itself, or 0 in place of p under a release
	// right, or any p' in place of 0 under a set right.
	crossing := c.Sub(alternative, p)
	c.zero("S5.oneEarmark", crossing, c.Mul(alternative, p))
	earmark := c.Add(alternative, p) // where they differ, one is 0
	c.zero("S5.entry", c.Sub(l.Entry, earmark), c.Sub(l.Entry, power(programmeBits)))
	c.booleans("S5.maySetBit", l.MaySet)
	c.booleans("S5.mayReleaseBit", l.MayRelease)
	c.zero("S5.mayRelease", p, c.Sub(1, l.MayRelease))
	c.zero("S5.maySet", alternative, c.Sub(1, l.MaySet))
	right := c.hash("right", l.Entry, c.Add(l.MaySet, c.Mul(l.MayRelease, 2)))
	c.zero("S5.right", crossing, c.Sub(c.climb("S5", right, l.Right), l.Rights))

	// 6. Oversight can open every output, and knows the sender. The oversight
	// key is on the curve because the ledger checks it; epk and S are then too.
	c.booleans("S6.secretBits", l.Secret[:]...)
	epk := c.mulFixed(l.Secret[:], variableWindow, nil)
	c.public("S6.epkX", l.Public, inEpkX, epk.X)
	c.public("S6.epkY", l.Public, inEpkY, epk.Y)
	shared := c.mulVariable(l.Secret[:], Point{in(inOversightX), in(inOversightY)})
	k := c.hash("kdf", shared.X, shared.Y, epk.X, epk.Y, in(s.nullifier(0)))
	commitments := make([]frontend.Variable, s.outputs)
	for i := range l.Outputs {
		lane := c.lanes(k, i)
		commitments[i] = c.compress(packed[i], owners[i], lane[2])
		c.public("S6.commitment", l.Public, s.commitment(i), commitments[i])
		c.public("S6.cipher0", l.Public, s.cipher(i), c.Add(packed[i], lane[0]))
		c.public("S6.cipher1", l.Public, s.cipher(i)+1, c.Add(owners[i], lane[1]))
	}
	lane := c.lanes(k, senderLane)
	c.public("S6.sender0", l.Public, inSender, c.Add(own, lane[0]))
	c.public("S6.sender1", l.Public, inSender+1, c.Add(c.packSlots(slots[:min(s.inputs, slotsPerLane)]), lane[1]))
	if s.inputs > slotsPerLane {
		c.public("S6.sender2", l.Public, inSender+2, c.Add(c.packSlots(slots[slotsPerLane:]), lane[2]))
	}

	// 7. So can the reader of p, or oversight again where p is 0. Reader keys
	// are on the curve because the ledger checks them before they get a leaf.
	reader := c.hash("reader", p, l.Reader.X, l.Reader.Y)
	c.zero("S7.reader", p, c.Sub(c.climb("S7", reader, l.Reading), in(inReadersRoot)))
	unmarked := c.Sub(1, c.Mul(p, l.ProgrammeInverse)) // 1 where p is 0; the prover's choice elsewhere
	c.zero("S7.fallbackX", unmarked, c.Sub(l.Reader.X, in(inOversightX)))
	c.zero("S7.fallbackY", unmarked, c.Sub(l.Reader.Y, in(inOversightY)))
	wrapping := c.mulVariable(l.Secret[:], l.Reader)
	c.public("S7.wrap", l.Public, inWrap, c.Add(k, c.hash("wrap", wrapping.X, wrapping.Y)))

	// 8. A hold commits to its return and shows a size class.
	if s.held {
		back := c.lanes(k, returnLane)
		c.public("S8.return", l.Public, s.returned(), c.compress(packed[0], own, back[2]))
		gap := c.number("S8.gapBits", l.Held[0].SizeGap[:])
		c.equal("S8.sizeClass", in(s.sizeClass()), c.Add(values[0], gap))
	}

	// 9. A disbursement shows the root of its outputs' subtree.
	if s.subtree > 0 {
		c.public("S9.subtreeRoot", l.Public, s.subtreeRoot(), c.subtreeRoot(commitments, s.subtree))
	}
	return nil
}

// packSlots packs input slots, 32 bits each, the first lowest.
func (c *checks) packSlots(slots []frontend.Variable) frontend.Variable {
	terms := make([]frontend.Variable, len(slots))
	for i, slot := range slots {
		terms[i] = c.Mul(slot, power(uint(32*i)))
	}
	return c.sum(terms...)
}
