package keys

import (
	"crypto/hmac"
	"crypto/sha512"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/tree"
)

// Keystream indices of a leg besides those of its outputs, which are their numbers (Z6.3).
const (
	// SenderIndex: lane 0 hides the payer's owner, lanes 1 and 2 its input slots.
	SenderIndex = 1000
	// ReturnIndex: lane 2 is the rho of a hold's return note.
	ReturnIndex = 1001
)

var errNoKey = errors.New("oversight key: no key")

// HedgedE derives the secret e of a leg from a wallet secret, the nullifiers, the output plaintexts and fresh randomness (Z6.1). A repeated e
// under other plaintexts would show the difference of two amounts; here that takes both a broken random source and the same
// plaintexts, which is the same leg.
func HedgedE(hedge [32]byte, nullifiers []zk.Nullifier, plaintexts [][]byte, rand io.Reader) (zk.Scalar, error) {
	var fresh [32]byte
	if _, err := io.ReadFull(rand, fresh[:]); err != nil {
		return zk.Scalar{}, fmt.Errorf("draw randomness: %w", err)
	}
	h := hmac.New(sha512.New, hedge[:])
	h.Write([]byte("comity/leg-secret/v1"))
	h.Write(fresh[:])
	count := func(n int) { h.Write(binary.BigEndian.AppendUint32(nil, uint32(n))) }
	count(len(nullifiers))
	for _, n := range nullifiers {
		h.Write(n[:])
	}
	count(len(plaintexts))
	for _, p := range plaintexts {
		count(len(p))
		h.Write(p)
	}
	return zk.ScalarFromWide([64]byte(h.Sum(nil))), nil
}

// OversightKey is the payer's side of the leg's keystream key, k = P("kdf", S.x, S.y, epk.x, epk.y, nf0) with S = e*OVK (Z6.2).
func OversightKey(e zk.Scalar, ovk zk.Point, nf0 zk.Nullifier) (fr.Element, error) {
	if e.IsZero() || ovk.IsZero() {
		return fr.Element{}, errNoKey
	}
	sx, sy := e.Mul(ovk).XY()
	ex, ey := e.Base().XY()
	return zk.Hash("kdf", sx, sy, ex, ey, nf0.Element()), nil
}

// OversightKeyFromSecret is the auditor's side: S = ovk secret * epk. epk may be the identity, which a payer can choose to its own harm
// alone; the payment must open all the same (Z6.5).
func OversightKeyFromSecret(secret zk.Scalar, epk [2]zk.Field, nf0 zk.Nullifier) (fr.Element, error) {
	if secret.IsZero() {
		return fr.Element{}, errNoKey
	}
	ex, ey := epk[0].Element(), epk[1].Element()
	sx, sy, err := secret.MulXY(ex, ey)
	if err != nil {
		return fr.Element{}, fmt.Errorf("oversight key: epk: %w", err)
	}
	return zk.Hash("kdf", sx, sy, ex, ey, nf0.Element()), nil
}

// WrapKey is the payer's side of the mask that hides k from all but the programme's reader: P("wrap", T.x, T.y), T = e*RK (Z6.4). The
// leg shows w = k + mask.
func WrapKey(e zk.Scalar, reader zk.Point) (fr.Element, error) {
	if e.IsZero() || reader.IsZero() {
		return fr.Element{}, errNoKey
	}
	tx, ty := e.Mul(reader).XY()
	return zk.Hash("wrap", tx, ty), nil
}

// UnwrapKey is the reader's side: k = w - P("wrap", rk*epk). Any secret gives some key: only OpenLeg tells whether it is the leg's.
func UnwrapKey(secret zk.Scalar, epk [2]zk.Field, w zk.Field) (fr.Element, error) {
	if secret.IsZero() {
		return fr.Element{}, errNoKey
	}
	tx, ty, err := secret.MulXY(epk[0].Element(), epk[1].Element())
	if err != nil {
		return fr.Element{}, fmt.Errorf("unwrap key: epk: %w", err)
	}
	mask, k := zk.Hash("wrap", tx, ty), w.Element()
	k.Sub(&k, &mask)
	return k, nil
}

// SealLeg computes everything in a leg that follows from e: epk, w, the ciphertexts of outputs and sender, the commitments, and the
// subtree root or the return commitment if the circuit has one. It needs leg.Circuit, leg.Nullifiers and leg.OversightKey, and sets
// the rho of each output. reader is leg.OversightKey where the inputs carry no programme.
func SealLeg(leg *zk.LegPublic, e zk.Scalar, reader zk.Point, sender zk.Owner, slots []uint32, outputs []zk.Note) error {
	shape := leg.Circuit.Shape()
	if shape.Inputs == 0 || len(leg.Nullifiers) != shape.Inputs || len(slots) != shape.Inputs || len(outputs) != shape.Outputs {
		return fmt.Errorf("seal leg: %w", zk.ErrShape)
	}
	k, err := OversightKey(e, leg.OversightKey, leg.Nullifiers[0])
	if err != nil {
		return fmt.Errorf("seal leg: %w", err)
	}
	w, err := WrapKey(e, reader)
	if err != nil {
		return fmt.Errorf("seal leg: %w", err)
	}
	leg.Epk = e.Base().Fields()
	leg.Wrap = mask(w, k)
	leg.Commitments = make([]zk.Commitment, len(outputs))
	leg.Cipher = make([][2]zk.Field, len(outputs))
	for i := range outputs {
		lanes := zk.Lanes(k, uint64(i))
		outputs[i].Rho = zk.RhoFromElement(lanes[2])
		leg.Commitments[i] = outputs[i].Commitment()
		leg.Cipher[i] = [2]zk.Field{mask(outputs[i].Packed(), lanes[0]), mask(outputs[i].Owner.Element(), lanes[1])}
	}
	lanes := zk.Lanes(k, SenderIndex)
	leg.Sender = []zk.Field{mask(sender.Element(), lanes[0])}
	for i, packed := range zk.PackSlots(slots) {
		leg.Sender = append(leg.Sender, mask(packed, lanes[1+i]))
	}
	if shape.SubtreeLevel > 0 {
		leg.SubtreeRoot = subtreeRoot(leg.Commitments, shape.SubtreeLevel)
	}
	if shape.Held {
		leg.ReturnCommitment = returnNote(k, outputs[0], sender).Commitment()
	}
	return nil
}

func mask(x, lane fr.Element) zk.Field {
	x.Add(&x, &lane)
	return zk.FieldFromElement(x)
}

func unmask(f zk.Field, lane fr.Element) fr.Element {
	x := f.Element()
	x.Sub(&x, &lane)
	return x
}

func subtreeRoot(commitments []zk.Commitment, level int) zk.Root {
	leaves := make([]tree.Leaf, len(commitments))
	for i, cm := range commitments {
		leaves[i] = cm.Element()
	}
	return zk.RootFromElement(tree.SubtreeRoot(leaves, level))
}

// returnNote is the note by which a voided hold goes back.
func returnNote(k fr.Element, held zk.Note, payer zk.Owner) zk.Note {
	held.Owner, held.Rho = payer, zk.RhoFromElement(zk.Lanes(k, ReturnIndex)[2])
	return held
}

// OpenedLeg is what oversight, or a programme's reader, sees of a leg. Every commitment in it was recomputed.
type OpenedLeg struct {
	Sender  zk.Owner
	Slots   []uint32      // of the inputs: 0 for a dummy, index + 1 in the leg's tree for a spent note
	Spent   []zk.Position // of the notes spent, dummies left out
	Outputs []zk.Note     // in order, padding included
	Return  *zk.Note      // of a hold
}

// What of a leg does not open. Under a true proof none of them happens with the oversight key; a reader's key opens nothing of legs that
// are not its own.
var (
	ErrCipher     = errors.New("output ciphertext does not open")
	ErrCommitment = errors.New("commitment is not that of the opened note")
	ErrSender     = errors.New("sender ciphertext does not open")
	ErrSubtree    = errors.New("subtree root is not that of the commitments")
	ErrReturn     = errors.New("return commitment is not that of the held note")
)

// OpenLeg opens a leg with its keystream key and recomputes every commitment (Z6.6). It fails on the first thing that does not fit and
// then returns nothing.
func OpenLeg(k fr.Element, leg *zk.LegPublic) (*OpenedLeg, error) {
	if err := leg.CheckShape(); err != nil {
		return nil, err
	}
	shape := leg.Circuit.Shape()
	o := &OpenedLeg{Outputs: make([]zk.Note, shape.Outputs)}
	for i := range o.Outputs {
		lanes := zk.Lanes(k, uint64(i))
		v, a, p, err := zk.UnpackNote(unmask(leg.Cipher[i][0], lanes[0]))
		if err != nil {
			return nil, fmt.Errorf("output %d: %w: %w", i, ErrCipher, err)
		}
		o.Outputs[i] = zk.Note{Value: v, Asset: a, Programme: p, Owner: zk.OwnerFromElement(unmask(leg.Cipher[i][1], lanes[1])),
			Rho: zk.RhoFromElement(lanes[2])}
		if o.Outputs[i].Commitment() != leg.Commitments[i] {
			return nil, fmt.Errorf("output %d: %w", i, ErrCommitment)
		}
	}
	lanes := zk.Lanes(k, SenderIndex)
	o.Sender = zk.OwnerFromElement(unmask(leg.Sender[0], lanes[0]))
	packed := make([]fr.Element, len(leg.Sender)-1)
	for i := range packed {
		packed[i] = unmask(leg.Sender[1+i], lanes[1+i])
	}
	var err error
	if o.Slots, err = zk.UnpackSlots(packed, shape.Inputs); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSender, err)
	}
	for _, s := range o.Slots {
		if s > 0 {
			o.Spent = append(o.Spent, zk.Position{Tree: leg.Tree, Index: s - 1})
		}
	}
	if shape.SubtreeLevel > 0 && subtreeRoot(leg.Commitments, shape.SubtreeLevel) != leg.SubtreeRoot {
		return nil, ErrSubtree
	}
	if shape.Held {
		back := returnNote(k, o.Outputs[0], o.Sender)
		if back.Commitment() != leg.ReturnCommitment {
			return nil, ErrReturn
		}
		o.Return = &back
	}
	return o, nil
}

// OpenAsOversight opens a leg with the secret of its epoch's oversight key.
func OpenAsOversight(secret zk.Scalar, leg *zk.LegPublic) (*OpenedLeg, error) {
	if err := leg.CheckShape(); err != nil {
		return nil, err
	}
	k, err := OversightKeyFromSecret(secret, leg.Epk, leg.Nullifiers[0])
	if err != nil {
		return nil, err
	}
	return OpenLeg(k, leg)
}

// OpenAsReader opens a leg with a programme reader's secret. An error means, for a true proof, that the leg's inputs carry another
// programme or none.
func OpenAsReader(secret zk.Scalar, leg *zk.LegPublic) (*OpenedLeg, error) {
	if err := leg.CheckShape(); err != nil {
		return nil, err
	}
	k, err := UnwrapKey(secret, leg.Epk, leg.Wrap)
	if err != nil {
		return nil, err
	}
	return OpenLeg(k, leg)
}
