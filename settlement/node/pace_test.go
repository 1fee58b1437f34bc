package node

import (
	"fmt"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
)

func TestPaceIsOneRuleOfQueueAndClock(t *testing.T) {
	const ms = time.Millisecond
	limits := Limits{Gather: 50 * ms}.withDefaults()
	now := time.Unix(1000, 0)
	for _, c := range []struct {
		name    string
		pace    pace
		since   time.Duration // the beginning of the batch before
		slowest time.Duration
		waiting int
		want    time.Duration
	}{
		{"an idle ledger", proofPace(limits), time.Hour, 100 * ms, 1, 0},
		{"just after a short batch", proofPace(limits), 1 * ms, 2 * ms, 1, 7 * ms},
		{"just after a long one", proofPace(limits), 1 * ms, 40 * ms, 1, 49 * ms},
		{"a stage that hung", proofPace(limits), 1 * ms, time.Hour, 127, 49 * ms},
		{"the batch took longer than entries may gather", proofPace(limits), 90 * ms, 90 * ms, 1, 0},
		{"enough wait", proofPace(limits), 0, 40 * ms, 128, 0},
		{"more than enough wait", proofPace(limits), 0, 40 * ms, 5000, 0},
		{"a node that has measured nothing", proofPace(limits), 0, 0, 1, 0},
		{"small batches are full early", proofPace(Limits{Gather: 50 * ms, Batch: 16}), 0, 40 * ms, 16, 0},
		{"a block, after a short one", blockPace(limits), 1 * ms, 2 * ms, 1, 3 * ms},
		{"a block, after a long one", blockPace(limits), 1 * ms, 40 * ms, 1, 24 * ms},
	} {
		if got := max(0, c.pace.wait(now, now.Add(-c.since), c.slowest, c.waiting)); got != c.want {
			t.Errorf("%s: %v, want %v", c.name, got, c.want)
		}
	}
	if early(10*ms, 4*ms) != 6*ms || early(4*ms, 10*ms) != 0 {
		t.Error("the next block is not ready when the write ends")
	}
}

// offered is what a simulated stage did with so many entries a second.
type offered struct {
	batches, entries int
	busy             time.Duration // the stage's own time
	worst            time.Duration // from coming to the end of the batch
}

// offer runs lanes with a pace in virtual time: entries come at random at a rate, a batch costs 1 ms and 0.34 ms for each proof. 0 keeps 1,024
// entries inside, as many callers do who wait for their answers.
func offer(t *testing.T, gather time.Duration, rate float64, stretch time.Duration) (o offered) {
	t.Helper()
	random := mathrand.New(mathrand.NewPCG(3, 3))
	limits := Limits{Gather: gather, Batch: 512}.withDefaults()
	var now, took time.Duration
	l := newLanes(1<<20, 1<<20, func() time.Time { return time.Unix(0, int64(now)) })
	if gather > 0 {
		l.adapt(proofPace(limits), func() time.Duration { return took })
	}
	came := map[*task]time.Duration{}
	put := func(at time.Duration) {
		c, err := l.enter("", nil)
		if err != nil {
			t.Fatal(err)
		}
		task := &task{candidate: &settlement.Candidate{Jobs: make([]settlement.Job, 1)}, lane: c}
		came[task] = at
		l.put(task)
	}
	var due time.Duration
	arrive := func(until time.Duration) (next time.Duration) {
		if rate == 0 {
			for len(came) < 1024 {
				put(now)
			}
			return time.Hour
		}
		for due <= until {
			put(due)
			due += time.Duration(random.ExpFloat64() / rate * float64(time.Second))
		}
		return due
	}
	for now < stretch {
		next := arrive(now)
		batch, legs, wait := l.take(limits.Batch)
		if len(batch) == 0 {
			if l.gathering { // an entry that comes meanwhile may make enough
				wait = min(wait, max(next-now, time.Microsecond))
			} else {
				wait = next - now
			}
			if wait <= 0 {
				t.Fatalf("nothing is taken and nothing waited for at %v", now)
			}
			now += wait
			continue
		}
		took = time.Millisecond + time.Duration(legs)*340*time.Microsecond
		now += took
		o.busy += took
		o.batches++
		o.entries += len(batch)
		for _, task := range batch {
			o.worst = max(o.worst, now-came[task])
			delete(came, task)
			l.leave(task.lane)
		}
	}
	return o
}

// TestBatchesGatherAtPartLoadAndNeverUnderFullLoad compares a paced stage with one that takes what waits as soon as it is free.
func TestBatchesGatherAtPartLoadAndNeverUnderFullLoad(t *testing.T) {
	const gather, stretch = 50 * time.Millisecond, 20 * time.Second
	for _, rate := range []float64{20, 100, 500, 1000} {
		t.Run(fmt.Sprint(rate, " a second"), func(t *testing.T) {
			greedy, paced := offer(t, 0, rate, stretch), offer(t, gather, rate, stretch)
			each := func(o offered) time.Duration { return o.busy / time.Duration(o.entries) }
			t.Logf("%d batches, %v an entry, worst %v; greedy %d, %v, %v", paced.batches, each(paced), paced.worst, greedy.batches, each(greedy), greedy.worst)
			if paced.entries < greedy.entries*95/100 {
				t.Errorf("%d entries, without a pace %d", paced.entries, greedy.entries)
			}
			if each(paced) > each(greedy) {
				t.Errorf("an entry costs %v, without a pace %v", each(paced), each(greedy))
			}
			if rate >= 500 && each(paced) > each(greedy)*8/10 {
				t.Errorf("an entry costs %v, without a pace %v: nothing gathers", each(paced), each(greedy))
			}
			if paced.worst > greedy.worst+2*gather {
				t.Errorf("an entry took %v, without a pace %v", paced.worst, greedy.worst)
			}
		})
	}
	greedy, paced := offer(t, 0, 0, stretch), offer(t, gather, 0, stretch)
	if greedy.busy < stretch || paced.busy < stretch {
		t.Errorf("under full load the stage worked %v of %v, without a pace %v", paced.busy, stretch, greedy.busy)
	}
	if paced.entries != greedy.entries || paced.batches != greedy.batches {
		t.Errorf("under full load %d entries in %d batches, without a pace %d in %d", paced.entries, paced.batches, greedy.entries, greedy.batches)
	}
}

func TestEntryOnAnIdleLedgerGathersNothing(t *testing.T) {
	now := time.Unix(0, 0)
	l := newLanes(100, 100, func() time.Time { return now })
	l.adapt(proofPace(Limits{Gather: 50 * time.Millisecond}.withDefaults()), func() time.Duration { return time.Second })
	put := func(caller string, legs int) {
		c, err := l.enter(caller, nil)
		if err != nil {
			t.Fatal(err)
		}
		l.put(&task{candidate: &settlement.Candidate{Jobs: make([]settlement.Job, legs)}, lane: c})
	}
	bell := func() bool {
		select {
		case <-l.bell:
			return true
		default:
			return false
		}
	}
	put("", 1)
	if batch, _, _ := l.take(512); len(batch) != 1 || !bell() {
		t.Fatal("the first entry waits")
	}
	put("", 1)
	if batch, _, wait := l.take(512); batch != nil || wait != 50*time.Millisecond || !bell() {
		t.Fatalf("the second waits %v", wait)
	}
	put("", 0) // entries without proofs gather as well
	if bell() {
		t.Fatal("whoever gathers is woken for an entry that changes nothing")
	}
	now = now.Add(50 * time.Millisecond)
	if batch, legs, _ := l.take(512); len(batch) != 2 || legs != 1 {
		t.Fatalf("%d entries after the wait", len(batch))
	}
	put("", 1)
	if batch, _, _ := l.take(512); batch != nil || !bell() {
		t.Fatal("no wait")
	}
	for range 127 {
		l.put(&task{candidate: &settlement.Candidate{Jobs: make([]settlement.Job, 1)}, lane: l.byCaller[""]})
	}
	if !bell() {
		t.Fatal("nobody is woken when enough wait")
	}
	if batch, _, _ := l.take(512); len(batch) != 128 {
		t.Fatalf("%d entries of 128", len(batch))
	}
	// The batch of a caller under suspicion is not one that others wait after.
	now = now.Add(time.Hour)
	put("bank/evil", 1)
	batch, _, _ := l.take(512)
	l.charge(batch, []error{errFalse}, time.Millisecond)
	now = now.Add(time.Minute / 2)
	put("bank/evil", 1)
	if batch, _, _ := l.take(512); len(batch) != 1 || !l.suspect(batch[0].lane) {
		t.Fatal("not verified apart")
	}
	put("bank/first", 1)
	if batch, _, wait := l.take(512); len(batch) != 1 {
		t.Fatalf("an honest caller waits %v after another's batch", wait)
	}
}
