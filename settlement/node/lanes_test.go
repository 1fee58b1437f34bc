package node

import (
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

var errFalse = errors.New("false proof")

// party is a caller of the simulation: it keeps some submissions inside, of which a part have false proofs.
type party struct {
	name     string
	inFlight int
	invalid  float64
	inside   int
	served   int // valid ones verified
	refused  int
	turned   int // refused as try_later
}

// simulate runs the lanes against a verifier whose time is reckoned, not measured: 1 ms a proof, and 12 ms more for each false one, which a
// search by halves costs in a batch of 512. It runs for a stretch of virtual time.
func simulate(t *testing.T, seed uint64, stretch time.Duration, parties ...*party) {
	t.Helper()
	const cost, search = time.Millisecond, 12 * time.Millisecond
	random := mathrand.New(mathrand.NewPCG(seed, 4))
	var now time.Duration
	l := newLanes(8192, 4096, func() time.Time { return time.Unix(0, int64(now)) })
	bad, owner := map[*task]bool{}, map[*task]*party{}
	fill := func(p *party) {
		for p.inside < p.inFlight {
			lane, err := l.enter(p.name, func() time.Duration { return time.Second })
			if err != nil {
				if entry.CodeOf(err) != entry.TryLater {
					t.Fatal(err)
				}
				p.turned++
				return
			}
			task := &task{candidate: &settlement.Candidate{Jobs: make([]settlement.Job, 1)}, lane: lane}
			bad[task], owner[task] = random.Float64() < p.invalid, p
			l.put(task)
			p.inside++
		}
	}
	for now < stretch {
		for _, i := range random.Perm(len(parties)) {
			fill(parties[i])
		}
		batch, legs, wait := l.take(512)
		if len(batch) == 0 && wait > 0 && wait <= maxRest {
			now += wait
			continue
		}
		if len(batch) == 0 || legs != len(batch) {
			t.Fatalf("a batch of %d with %d proofs", len(batch), legs)
		}
		took := time.Duration(legs) * cost
		refusals := make([]error, len(batch))
		for i, task := range batch {
			if bad[task] {
				refusals[i] = errFalse
				took += search
			}
		}
		now += took
		l.charge(batch, refusals, took)
		for i, task := range batch {
			if refusals[i] != nil {
				owner[task].refused++
			} else {
				owner[task].served++
			}
			l.leave(task.lane)
			owner[task].inside--
			delete(bad, task)
			delete(owner, task)
		}
	}
}

// TestAFloodCostsHonestCallersLittle: callers with false proofs take at most half of an honest caller's throughput, whatever the seed; in a
// lane shared with the flood they take far more, so the test can fail.
func TestAFloodCostsHonestCallersLittle(t *testing.T) {
	const stretch = 20 * time.Second
	for seed := range uint64(20) {
		alone := &party{name: "bank/first", inFlight: 256}
		simulate(t, seed, stretch, alone)
		honest, flood := &party{name: "bank/first", inFlight: 256}, &party{name: "bank/evil", inFlight: 4096, invalid: 0.9}
		simulate(t, seed, stretch, honest, flood)
		if ratio := float64(honest.served) / float64(alone.served); ratio < 0.75 {
			t.Errorf("seed %d: with a flood %.2f of the throughput", seed, ratio)
		}
		if flood.turned == 0 || flood.refused == 0 {
			t.Errorf("seed %d: the flood was turned away %d times and refused %d times", seed, flood.turned, flood.refused)
		}
		var many []*party
		honest = &party{name: "bank/first", inFlight: 256}
		for i := range 4 {
			many = append(many, &party{name: fmt.Sprint("bank/evil", i), inFlight: 1024, invalid: 0.9})
		}
		simulate(t, seed, stretch, append(many, honest)...)
		if ratio := float64(honest.served) / float64(alone.served); ratio < 0.5 {
			t.Errorf("seed %d: with four floods %.2f of the throughput", seed, ratio)
		}
		shared, same := &party{name: "", inFlight: 256}, &party{name: "", inFlight: 4096, invalid: 0.9}
		simulate(t, seed, stretch, same, shared)
		if ratio := float64(shared.served) / float64(alone.served); ratio > 0.4 {
			t.Errorf("seed %d: in one lane with the flood %.2f of the throughput: the test shows nothing", seed, ratio)
		}
	}
}

// TestHonestCallersShareFairly: a caller with much waiting does not starve one with little, and one that was idle saves up nothing.
func TestHonestCallersShareFairly(t *testing.T) {
	for seed := range uint64(5) {
		large, small := &party{name: "bank/large", inFlight: 4096}, &party{name: "bank/small", inFlight: 300}
		simulate(t, seed, 10*time.Second, large, small)
		if ratio := float64(small.served) / float64(large.served); ratio < 0.8 || ratio > 1.25 {
			t.Errorf("seed %d: %d of the small one, %d of the large", seed, small.served, large.served)
		}
	}
}

// TestSuspicionEnds: after a run of valid proofs, or a while, a caller is trusted again.
func TestSuspicionEnds(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLanes(100, 50, func() time.Time { return now })
	one := func(caller string, refusal error) (others bool) {
		c, err := l.enter(caller, func() time.Duration { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		task := &task{candidate: &settlement.Candidate{Jobs: make([]settlement.Job, 1)}, lane: c}
		l.put(task)
		batch, _, wait := l.take(10)
		if len(batch) == 0 {
			now = now.Add(wait)
			batch, _, _ = l.take(10)
		}
		l.charge(batch, []error{refusal}, time.Millisecond)
		l.leave(c)
		return l.suspect(c)
	}
	if one("bank/first", nil) || !one("bank/first", errFalse) {
		t.Fatal("a false proof is not noticed, or a valid one is held against its caller")
	}
	for range suspectFor - 1 {
		if !one("bank/first", nil) {
			t.Fatal("trusted too soon")
		}
	}
	if one("bank/first", nil) {
		t.Fatal("still not trusted")
	}
	if !one("bank/first", errFalse) {
		t.Fatal("a false proof is not noticed")
	}
	now = now.Add(suspectPause + time.Second)
	if one("bank/first", nil) {
		t.Fatal("not trusted after a while")
	}
	if one("", errFalse) {
		t.Fatal("this machine is under suspicion")
	}
}

// TestOneCallerDoesNotFillTheNode: what one caller may have inside is bounded, and it is told when to come back.
func TestOneCallerDoesNotFillTheNode(t *testing.T) {
	l := newLanes(10, 5, time.Now)
	enter := func(caller string) error {
		_, err := l.enter(caller, func() time.Duration { return 70 * time.Millisecond })
		return err
	}
	for range 5 {
		if err := enter("bank/first"); err != nil {
			t.Fatal(err)
		}
	}
	err := enter("bank/first")
	if r := (*entry.Refusal)(nil); !errors.As(err, &r) || r.Code != entry.TryLater || r.Detail != "5 entries of this caller are waiting; try again in 70ms" {
		t.Fatalf("%v", err)
	}
	if err := enter("bank/second"); err != nil {
		t.Fatal(err)
	}
	for range 100 { // this machine's bound is the node's, which Submit keeps
		if err := enter(""); err != nil {
			t.Fatal(err)
		}
	}
}

// TestForgottenCallersLeaveNothing: callers come and go, and memory stays bounded.
func TestForgottenCallersLeaveNothing(t *testing.T) {
	l := newLanes(10, 5, time.Now)
	for i := range 3 * maxLanes {
		c, err := l.enter(fmt.Sprint("bank/", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		l.leave(c)
	}
	if len(l.byCaller) > maxLanes {
		t.Fatalf("%d callers are remembered", len(l.byCaller))
	}
}

// TestALaneRestsUntilTheNodeStops: what a caller with false proofs has waiting is not served while it rests, and at once when the node stops.
func TestALaneRestsUntilTheNodeStops(t *testing.T) {
	var now time.Duration
	l := newLanes(100, 100, func() time.Time { return time.Unix(0, int64(now)) })
	put := func() *task {
		c, err := l.enter("bank", func() time.Duration { return 0 })
		if err != nil {
			t.Fatal(err)
		}
		waits := &task{candidate: &settlement.Candidate{Jobs: make([]settlement.Job, 1)}, lane: c}
		l.put(waits)
		return waits
	}
	first := put()
	if batch, _, _ := l.take(8); len(batch) != 1 {
		t.Fatal("the first was not served")
	}
	l.charge([]*task{first}, []error{errFalse}, 100*time.Millisecond)
	second := put()
	if batch, _, wait := l.take(8); len(batch) != 0 || wait < 100*time.Millisecond {
		t.Fatalf("%d were served of a lane that rests, the next in %v", len(batch), wait)
	}
	l.finish()
	if batch, _, _ := l.take(8); len(batch) != 1 || batch[0] != second {
		t.Fatal("a node that stops waits for a lane that rests")
	}
}
