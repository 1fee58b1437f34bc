package qap

import (
	"testing"

	cs "github.com/consensys/gnark/constraint/bls12-381"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit"
)

func compiled(t testing.TB, id zk.CircuitID) *cs.R1CS {
	t.Helper()
	r, err := circuit.Compile(id)
	if err != nil {
		t.Fatal(err)
	}
	return r.(*cs.R1CS)
}

func TestOrientationLeavesFewerWiresInG2(t *testing.T) {
	for _, id := range zk.Circuits() {
		r := compiled(t, id)
		swap := Orient(r)
		before, after := map[uint32]bool{}, map[uint32]bool{}
		i := 0
		it := r.GetR1CIterator()
		for c := it.Next(); c != nil; c = it.Next() {
			for _, w := range wiresOf(c.R) {
				before[w] = true
			}
			right := c.R
			if swap[i] {
				right = c.L
			}
			for _, w := range wiresOf(right) {
				after[w] = true
			}
			i++
		}
		t.Logf("%v: %d wires of %d instead of %d", id, len(after), r.GetNbInternalVariables()+r.GetNbSecretVariables()+r.GetNbPublicVariables(), len(before))
		if len(after) > len(before) {
			t.Errorf("%v: orientation makes it worse", id)
		}
	}
}
