package keys

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
)

// Legs that the circuits accept, built by code that shares nothing with this package, are the other half of the twins: this package opens
// them with both keys, and seals the same leg to the same bytes.
func TestTrueLegsOpenAndSealAlike(t *testing.T) {
	for _, circuit := range zk.Circuits() {
		for seed, o := range []circuittest.Options{
			{Circuit: circuit, Tree: 5},
			{Circuit: circuit, Programme: 7},
			{Circuit: circuit, Programme: 7, Release: true},
			{Circuit: circuit, Set: 9},
			{Circuit: circuit, Dummies: circuit.Shape().Inputs, Issued: 1 << 40, Programme: 7},
		} {
			built, err := circuittest.Build(rand.NewChaCha8([32]byte{byte(seed), byte(circuit)}), o)
			if err != nil {
				t.Fatal(err)
			}
			w := &built.Witness
			own := zk.OwnerOf(w.AK, w.NK)
			var slots []uint32
			var spent []zk.Position
			for _, in := range w.Inputs {
				slots = append(slots, in.Slot())
				if in.Note.Value > 0 {
					spent = append(spent, zk.Position{Tree: o.Tree, Index: in.Index})
				}
			}
			opened, err := OpenAsOversight(built.Oversight, &w.Public)
			if err != nil {
				t.Fatalf("%v, case %d: %v", circuit, seed, err)
			}
			if opened.Sender != own || !reflect.DeepEqual(opened.Outputs, w.Outputs) || !reflect.DeepEqual(opened.Slots, slots) || !reflect.DeepEqual(opened.Spent, spent) {
				t.Fatalf("%v, case %d: opened %+v", circuit, seed, opened)
			}
			// Z6.4: where there is no programme, the oversight key is the reader.
			reader := built.Oversight
			if o.Programme != 0 {
				reader = built.Reader
			}
			again, err := OpenAsReader(reader, &w.Public)
			if err != nil || !reflect.DeepEqual(again, opened) {
				t.Fatalf("%v, case %d: the reader sees something else: %v", circuit, seed, err)
			}
			if o.Programme == 0 {
				stranger := scalar(t)
				if _, err := OpenAsReader(stranger, &w.Public); err == nil {
					t.Fatalf("%v, case %d: a stranger reads money without a programme", circuit, seed)
				}
			} else if _, err := OpenAsReader(built.Oversight, &w.Public); err == nil {
				t.Fatalf("%v, case %d: w is not wrapped to the reader", circuit, seed)
			}
			sealed := w.Public
			outputs := make([]zk.Note, len(w.Outputs))
			for i, n := range w.Outputs {
				n.Rho = zk.Rho{}
				outputs[i] = n
			}
			if err := SealLeg(&sealed, w.E, reader.Base(), own, slots, outputs); err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(sealed, w.Public) || !reflect.DeepEqual(outputs, w.Outputs) {
				t.Fatalf("%v, case %d: sealed to other bytes", circuit, seed)
			}
		}
	}
}

func TestSealingTheWrongShapeIsRefused(t *testing.T) {
	ovk := scalar(t)
	nfs := []zk.Nullifier{{31: 1}, {31: 2}}
	for name, l := range map[string]*zk.LegPublic{
		"no circuit":    {OversightKey: ovk.Base(), Nullifiers: nfs},
		"nullifiers":    {Circuit: zk.Transfer, OversightKey: ovk.Base(), Nullifiers: nfs[:1]},
		"no key":        {Circuit: zk.Transfer, Nullifiers: nfs},
		"other outputs": {Circuit: zk.Disburse16, OversightKey: ovk.Base(), Nullifiers: nfs[:1]},
	} {
		if err := SealLeg(l, scalar(t), ovk.Base(), zk.Owner{}, make([]uint32, len(l.Nullifiers)), make([]zk.Note, 2)); err == nil {
			t.Errorf("%s passed", name)
		}
	}
	l := &zk.LegPublic{Circuit: zk.Transfer, OversightKey: ovk.Base(), Nullifiers: nfs}
	if err := SealLeg(l, scalar(t), zk.Point{}, zk.Owner{}, []uint32{0, 0}, make([]zk.Note, 2)); err == nil {
		t.Error("no reader passed")
	}
	for name, err := range map[string]error{"oversight": second(OpenAsOversight(ovk, &zk.LegPublic{})), "reader": second(OpenAsReader(ovk, &zk.LegPublic{}))} {
		if err == nil {
			t.Errorf("%s opened a leg without a circuit", name)
		}
	}
}
