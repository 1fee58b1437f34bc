package sim

import (
	"flag"
	"fmt"
	"reflect"
	"slices"
	"testing"
	"time"
)

var (
	seeds     = flag.Int("sim.seeds", 500, "how many seeds TestSeeds runs")
	firstSeed = flag.Uint64("sim.seed", 1, "the first seed")
)

// nodesOf: half of the seeds have one node, the others two, three or four.
func nodesOf(seed uint64) int { return []int{1, 2, 1, 3, 1, 4}[seed%6] }

// TestSeeds runs whole ledgers through faults. A failing seed is printed and
// runs again with -sim.seed=N -sim.seeds=1.
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
				report, err := Run(Options{Seed: *firstSeed + uint64(i), Nodes: nodesOf(*firstSeed + uint64(i))})
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
	answers, others, leases, nodes := make(map[string]int), make(map[string]int), make(map[string]int), make(map[int]int)
	var stores [numFaults]int
	for i, o := range outcomes {
		if o.err != nil {
			t.Errorf("FAILING SEED %d: %v\nreproduce: go test ./settlement/sim -run TestSeeds -sim.seed=%d -sim.seeds=1", *firstSeed+uint64(i), o.err, *firstSeed+uint64(i))
			continue
		}
		r := o.report
		payments, faults = append(payments, r.Payments), append(faults, r.FaultCount())
		blocks, restarts = append(blocks, r.Blocks), append(restarts, r.Restarts)
		for k, n := range r.Answers {
			answers[k] += n
		}
		for k, n := range r.Other {
			others[k] += n
		}
		for k, n := range r.Lease {
			leases[k] += n
		}
		nodes[r.Nodes]++
		for f, n := range r.Faults {
			stores[f] += n
		}
		if r.Payments < 20 || r.FaultCount() < 5 {
			t.Errorf("seed %d held only %d payments and %d faults", r.Seed, r.Payments, r.FaultCount())
		}
	}
	if len(payments) == 0 {
		return
	}
	t.Logf("%d seeds in %v", *seeds, time.Since(start).Round(time.Millisecond))
	t.Logf("per seed: payments %s; faults %s; blocks %s; restarts %s", spread(payments), spread(faults), spread(blocks), spread(restarts))
	t.Logf("answers: %v", answers)
	for f, n := range stores {
		t.Logf("store: %-30s %d", Fault(f), n)
	}
	t.Logf("others: %v", others)
	t.Logf("seeds by number of nodes: %v; what several nodes did: %v", nodes, leases)
}

func spread(v []int) string {
	slices.Sort(v)
	return fmt.Sprintf("min %d, median %d, max %d", v[0], v[len(v)/2], v[len(v)-1])
}

func TestSameSeedGivesTheSameWorld(t *testing.T) {
	for seed := uint64(1); seed <= 8; seed++ {
		a, err1 := Run(Options{Seed: seed, Nodes: nodesOf(seed)})
		b, err2 := Run(Options{Seed: seed, Nodes: nodesOf(seed)})
		if err1 != nil || err2 != nil || !reflect.DeepEqual(a, b) {
			t.Errorf("seed %d: %+v (%v), then %+v (%v)", seed, a, err1, b, err2)
		}
	}
}

func TestLongerWorldsHold(t *testing.T) {
	for seed := uint64(1); seed <= 4; seed++ {
		r, err := Run(Options{Seed: seed, Payments: 200})
		if err != nil {
			t.Errorf("seed %d: %v", seed, err)
		} else if r.Payments < 200 {
			t.Errorf("seed %d settled %d payments", seed, r.Payments)
		}
	}
}
