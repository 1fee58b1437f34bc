package sim

import (
	"testing"
)

// TestPlantedBugsAreCaught tests the tests: every bug of the table, built into
// the ledger, must make some seed fail, and by a broken invariant.
func TestPlantedBugsAreCaught(t *testing.T) {
	const most = 150
	for _, bug := range Bugs {
		t.Run(bug.Name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= most; seed++ {
				nodes := 1
				if bug.several {
					nodes = 2 + int(seed%3)
				}
				_, err := Run(Options{Seed: seed, Nodes: nodes, Bug: bug})
				if err == nil {
					continue
				}
				if !IsViolation(err) {
					t.Fatalf("the simulation itself failed: %v", err)
				}
				t.Logf("%s: %v", bug.Name, err)
				return
			}
			t.Fatalf("not caught by %d seeds", most)
		})
	}
}
