package cross

import (
	"testing"

	"github.com/comity-ledger/comity/settlement/sim"
)

// TestPlantedBugsAreCaught tests the tests: every bug of the table, built into
// the ledgers, must make some seed fail, and by a broken invariant.
func TestPlantedBugsAreCaught(t *testing.T) {
	const most = 120
	for _, bug := range Bugs {
		t.Run(bug.Name, func(t *testing.T) {
			t.Parallel()
			for seed := uint64(1); seed <= most; seed++ {
				_, err := Run(Options{Seed: seed, Bug: bug, Planner: newPlanner})
				if err == nil {
					continue
				}
				if !sim.IsViolation(err) {
					t.Fatalf("the simulation itself failed: %v", err)
				}
				t.Logf("%s: %v", bug.Name, err)
				return
			}
			t.Fatalf("not caught by %d seeds", most)
		})
	}
}
