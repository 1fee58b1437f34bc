package cross

import (
	"flag"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement/sim"
)

var (
	seeds     = flag.Int("sim.seeds", 200, "how many seeds TestSeeds runs")
	firstSeed = flag.Uint64("sim.seed", 1, "the first seed")
)

// TestSeeds runs worlds of two and three ledgers through faults. A failing seed
// is printed and runs again with -sim.seed=N -sim.seeds=1.
func TestSeeds(t *testing.T) {
	start := time.Now()
	type outcome struct {
		report *Report
		err    error
	}
	outcomes := make([]outcome, *seeds)
	next := make(chan int)
	done := make(chan bool)
	for range 2 {
		go func() {
			for i := range next {
				report, err := Run(Options{Seed: *firstSeed + uint64(i), Planner: newPlanner})
				outcomes[i] = outcome{report, err}
			}
			done <- true
		}()
	}
	for i := range outcomes {
		next <- i
	}
	close(next)
	<-done
	<-done
	var payments, faults, blocks, restarts []int
	answers, others, holds := make(map[string]int), make(map[string]int), make(map[string]int)
	var stores [sim.Faults]int
	three := 0
	for i, o := range outcomes {
		if o.err != nil {
			t.Errorf("FAILING SEED %d: %v\nreproduce: go test ./settlement/sim/cross -run TestSeeds -sim.seed=%d -sim.seeds=1", *firstSeed+uint64(i), o.err, *firstSeed+uint64(i))
			continue
		}
		r := o.report
		payments, faults = append(payments, r.Payments), append(faults, r.FaultCount())
		blocks, restarts = append(blocks, r.Blocks), append(restarts, r.Restarts)
		add(answers, r.Answers)
		add(others, r.Other)
		add(holds, r.Outcomes)
		for f, n := range r.Faults {
			stores[f] += n
		}
		if r.Ledgers == 3 {
			three++
		}
		if r.Payments < 20 || r.FaultCount() < 5 {
			t.Errorf("seed %d held only %d payments and %d faults", r.Seed, r.Payments, r.FaultCount())
		}
	}
	if len(payments) == 0 {
		return
	}
	t.Logf("%d seeds in %v, %d of them with three ledgers", *seeds, time.Since(start).Round(time.Millisecond), three)
	t.Logf("per seed: payments and escrows %s; faults %s; blocks %s; restarts %s", spread(payments), spread(faults), spread(blocks), spread(restarts))
	t.Logf("holds: %v", holds)
	t.Logf("answers: %v", answers)
	for f, n := range stores {
		t.Logf("store: %-30s %d", sim.Fault(f), n)
	}
	t.Logf("others: %v", others)
}

func add(to, from map[string]int) {
	for k, n := range from {
		to[k] += n
	}
}

func spread(v []int) string {
	slices.Sort(v)
	return fmt.Sprintf("min %d, median %d, max %d", v[0], v[len(v)/2], v[len(v)-1])
}

func TestSameSeedGivesTheSameWorld(t *testing.T) {
	for seed := uint64(1); seed <= 6; seed++ {
		a, err1 := Run(Options{Seed: seed, Planner: newPlanner})
		b, err2 := Run(Options{Seed: seed, Planner: newPlanner})
		if err1 != nil || err2 != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("seed %d: %+v (%v), then %+v (%v)", seed, a, err1, b, err2)
		}
	}
}
