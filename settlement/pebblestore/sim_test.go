package pebblestore_test

import (
	"flag"
	"math/rand/v2"
	"testing"

	"github.com/comity-ledger/comity/settlement/pebblestore/pebbletest"
	"github.com/comity-ledger/comity/settlement/sim"
)

var simSeeds = flag.Int("sim.seeds", 12, "how many seeds of the simulation run on this store")

// simDisk loses power as the simulation wants: each unsynced part of the
// folder is kept with a probability that differs from crash to crash.
type simDisk struct {
	*pebbletest.Disk
	rng *rand.Rand
}

func (d *simDisk) Crash() {
	d.Disk = d.Lose([]int{0, 50, 100}[d.rng.IntN(3)], d.rng.Uint64())
}

// TestSimulatedLedgersLiveOnThisStore runs the simulation of settlement/sim,
// with its independent model, over this store and its crashes.
func TestSimulatedLedgersLiveOnThisStore(t *testing.T) {
	for seed := range uint64(*simSeeds) {
		report, err := sim.Run(sim.Options{Seed: seed + 1, Disk: func() sim.Disk {
			return &simDisk{pebbletest.New(), rand.New(rand.NewPCG(seed, 1))}
		}})
		if err != nil {
			t.Errorf("FAILING SEED %d: %v", seed+1, err)
			continue
		}
		if report.Restarts == 0 && seed == 0 {
			t.Error("the first seed held no crash: choose others")
		}
	}
}
