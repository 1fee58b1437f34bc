package circuittest

import (
	"errors"
	"io"
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

func source(seed byte) io.Reader { return rand.NewChaCha8([32]byte{seed}) }

func TestSameSeedSameLeg(t *testing.T) {
	for _, id := range zk.Circuits() {
		o := Options{Circuit: id, Programme: 7}
		inputs := func(seed byte) []fr.Element {
			leg, err := Build(source(seed), o)
			if err != nil {
				t.Fatal(err)
			}
			if err := leg.Witness.Public.CheckShape(); err != nil {
				t.Fatal(err)
			}
			return leg.Witness.Public.AppendInputs(nil)
		}
		first := inputs(1)
		if len(first) != zk.NumInputs(id) {
			t.Errorf("%v has %d public inputs, want %d", id, len(first), zk.NumInputs(id))
		}
		if !reflect.DeepEqual(first, inputs(1)) {
			t.Errorf("%v: one seed, two legs", id)
		}
		if reflect.DeepEqual(first, inputs(2)) {
			t.Errorf("%v: two seeds, one leg", id)
		}
	}
}

// The holders of the oversight key and of the reader's key find the same
// keystream key, and in the ciphertexts what the leg says.
func TestOversightAndReaderOpenTheLeg(t *testing.T) {
	for _, id := range zk.Circuits() {
		leg, err := Build(source(3), Options{Circuit: id, Programme: 7, Release: true})
		if err != nil {
			t.Fatal(err)
		}
		w, pub := &leg.Witness, &leg.Witness.Public
		ex, ey := pub.Epk[0].Element(), pub.Epk[1].Element()
		sx, sy, err := leg.Oversight.MulXY(ex, ey)
		if err != nil {
			t.Fatal(err)
		}
		k := zk.Hash("kdf", sx, sy, ex, ey, pub.Nullifiers[0].Element())
		tx, ty, err := leg.Reader.MulXY(ex, ey)
		if err != nil {
			t.Fatal(err)
		}
		unwrapped, pad := pub.Wrap.Element(), zk.Hash("wrap", tx, ty)
		unwrapped.Sub(&unwrapped, &pad)
		if unwrapped != k {
			t.Errorf("%v: reader and oversight find different keys", id)
		}
		var in, out zk.Amount
		for i, note := range w.Outputs {
			lane := zk.Lanes(k, uint64(i))
			packed, owner := pub.Cipher[i][0].Element(), pub.Cipher[i][1].Element()
			packed.Sub(&packed, &lane[0])
			owner.Sub(&owner, &lane[1])
			value, asset, programme, err := zk.UnpackNote(packed)
			if err != nil {
				t.Fatal(err)
			}
			got := zk.Note{Value: value, Asset: asset, Programme: programme, Owner: zk.OwnerFromElement(owner), Rho: zk.RhoFromElement(lane[2])}
			if got != note || got.Commitment() != pub.Commitments[i] {
				t.Errorf("%v: output %d opens as %+v", id, i, got)
			}
			out += value
		}
		var slots []uint32
		for i, n := range w.Inputs {
			in += n.Note.Value
			slots = append(slots, n.Slot())
			if root := n.Path.Root(n.Note.Commitment().Element()); root != pub.NoteRoot.Element() {
				t.Errorf("%v: input %d is not in the tree", id, i)
			}
		}
		if in != out {
			t.Errorf("%v: %d in, %d out", id, in, out)
		}
		lane := zk.Lanes(k, 1000)
		var packed []fr.Element
		for i, f := range pub.Sender {
			e := f.Element()
			e.Sub(&e, &lane[i])
			if i == 0 && zk.OwnerFromElement(e) != zk.OwnerOf(w.AK, w.NK) {
				t.Errorf("%v: another sender", id)
			}
			packed = append(packed, e)
		}
		got, err := zk.UnpackSlots(packed[1:], len(w.Inputs))
		if err != nil || !reflect.DeepEqual(got, slots) {
			t.Errorf("%v: input slots %v, %v, want %v", id, got, err, slots)
		}
		if !zk.VerifySignature(w.AK, pub.Ctx.Element(), w.Signature) {
			t.Errorf("%v: signature is refused", id)
		}
	}
}

func TestContradictoryOptionsAreRefused(t *testing.T) {
	for _, o := range []Options{
		{},
		{Circuit: zk.Transfer, Release: true},
		{Circuit: zk.Transfer, Programme: 1, Set: 2},
		{Circuit: zk.Transfer, Dummies: 3},
		{Circuit: zk.Transfer, Dummies: -1},
		{Circuit: zk.Transfer, Dummies: 2, Redeemed: 1},
		{Circuit: zk.Transfer, Redeemed: 1 << 60},
		{Circuit: zk.Transfer, Dummies: 1, Issued: 1 << 60},
		{Circuit: zk.Transfer, Programme: 1, Release: true, Rights: []zk.Right{{Programme: 2}}, RightIndex: 9},
	} {
		if _, err := Build(source(4), o); !errors.Is(err, ErrOptions) {
			t.Errorf("%+v: %v", o, err)
		}
	}
}

func TestShortRandomnessIsAnError(t *testing.T) {
	if _, err := Build(io.LimitReader(source(5), 300), Options{Circuit: zk.Transfer}); err == nil {
		t.Error("a leg out of 300 bytes")
	}
}
