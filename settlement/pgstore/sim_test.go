package pgstore

import (
	"context"
	"flag"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/sim"
)

var simSeeds = flag.Int("sim.seeds", 4, "how many seeds of the simulation run on this store")

// simDisk is a schema whose sessions a crash cuts. With kill set the server
// dies too, and starts again.
type simDisk struct {
	*medium
	t      *testing.T
	kill   bool
	stores []*Store
}

func (d *simDisk) keep(s settlement.Store, err error) (settlement.Store, error) {
	if err == nil {
		d.stores = append(d.stores, s.(*Store))
	}
	return s, err
}

func (d *simDisk) Create(ctx context.Context, genesis *settlement.Block) (settlement.Store, error) {
	return d.keep(d.medium.Create(ctx, genesis))
}

func (d *simDisk) Open(ctx context.Context, genesis entry.GenesisHash) (settlement.Store, error) {
	return d.keep(d.medium.Open(ctx, genesis))
}

func (d *simDisk) Crash() {
	for _, s := range d.stores {
		_ = s.Close()
	}
	d.stores = nil
	if d.kill {
		d.server.Kill(d.t)
		d.server.Restart(d.t)
	}
}

// TestSimulatedLedgersLiveOnThisStore runs the simulation of settlement/sim,
// with its independent model, over this store: most seeds with sessions that
// are cut, one with a server that is killed at every crash.
func TestSimulatedLedgersLiveOnThisStore(t *testing.T) {
	run := func(seed uint64, server *pgtest.Server, kill bool) {
		report, err := sim.Run(sim.Options{Seed: seed, Disk: func() sim.Disk { return &simDisk{medium: newMedium(t, server), t: t, kill: kill} }})
		if err != nil {
			t.Errorf("FAILING SEED %d: %v", seed, err)
			return
		}
		if report.Restarts == 0 && seed == 1 {
			t.Error("the first seed held no crash: choose others")
		}
		t.Logf("seed %d: %d blocks, %d restarts, %d faults", seed, report.Blocks, report.Restarts, report.FaultCount())
	}
	for seed := range uint64(*simSeeds) {
		run(seed+1, pgtest.Shared(t), false)
	}
	run(1, pgtest.Start(t), true)
}
