package node

import (
	"context"
	"sync"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
)

// Submissions wait for verification in lanes, one for each caller, so that nobody's flood stands before another's payment. The lane that has
// cost the least so far is served next; what it cost is measured time, of which an invalid proof bears the search for it and then several
// times that. A caller with invalid proofs is verified in small batches of its own, so that the search spoils no honest batch, few of its
// submissions are taken in, and after each batch with an invalid one it rests for a multiple of what that took, also when nobody else waits:
// verification is not interrupted, and an honest payment that comes a moment later must not find it busy with a flood.

const (
	// blame is how many valid proofs one invalid proof weighs when the time of a batch is shared out: the batch fails, and halves of it are
	// checked again until the culprit is found.
	blame = 16
	// penalty is how many times its share an invalid proof is charged, and how many times the time of its batch its caller rests: a flood has
	// a ninth of the time at most.
	penalty = 8
	// suspectLegs is the largest batch of a caller under suspicion: how long others wait for it at most.
	suspectLegs = 8
	// suspectWaiting is how many submissions of a caller under suspicion may be inside the node.
	suspectWaiting = 128
	// suspectFor is how many valid proofs, or how long without an invalid one, end a suspicion.
	suspectFor   = 256
	suspectPause = time.Minute
	// maxRest bounds a rest: the first invalid proof of a caller may have spoilt a large batch.
	maxRest = 5 * time.Second
	// maxLanes bounds the callers that are remembered while nothing of theirs is inside.
	maxLanes = 4096
)

type laneKey struct{}

// WithCaller marks submissions under ctx as those of a caller, by the name of its certificate. Submissions without a name share a lane that is
// never under suspicion: they come from this machine.
func WithCaller(ctx context.Context, name string) context.Context {
	return context.WithValue(ctx, laneKey{}, name)
}

func callerOf(ctx context.Context) string {
	name, _ := ctx.Value(laneKey{}).(string)
	return name
}

// lanes are the queues before verification.
type lanes struct {
	waiting, perCaller int // how many submissions may be inside: of all callers, of one with a name
	now                func() time.Time
	bell               chan struct{} // holds one: something was put that may let a batch begin

	mu       sync.Mutex // guards what follows
	byCaller map[string]*lane
	active   []*lane // with something queued, in no order
	queued   int
	clock    time.Duration // what the lane served last had spent: who comes anew begins here
	each     time.Duration // a valid proof, on average of late

	pace      pace
	slowest   func() time.Duration // what the slowest stage took of late
	begun     time.Time            // when the last batch began of callers above suspicion
	gathering bool                 // what waits is left to gather
	ending    bool                 // nothing new is coming: no lane rests any more
}

// lane is one caller's queue.
type lane struct {
	caller  string
	inside  int // taken in and not answered
	tasks   []*task
	spent   time.Duration // charged so far
	doubt   int           // valid proofs still to come before it is trusted again
	invalid time.Time     // the last invalid proof
	rests   time.Time     // it is not served before
}

func newLanes(waiting, perCaller int, now func() time.Time) *lanes {
	return &lanes{waiting: waiting, perCaller: perCaller, now: now, bell: make(chan struct{}, 1), byCaller: map[string]*lane{}, each: time.Millisecond}
}

// adapt gives batches their pace. Without it each begins as soon as it is asked for.
func (l *lanes) adapt(p pace, slowest func() time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.pace, l.slowest = p, slowest
}

// suspect reports whether the caller's proofs are verified apart.
func (l *lanes) suspect(c *lane) bool {
	if c.doubt > 0 && l.now().Sub(c.invalid) > suspectPause {
		c.doubt = 0
	}
	return c.doubt > 0
}

// enter counts a submission into its caller's lane, or refuses it.
func (l *lanes) enter(caller string, hint func() time.Duration) (*lane, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.byCaller[caller]
	if c == nil {
		if len(l.byCaller) >= maxLanes {
			for name, idle := range l.byCaller {
				if idle.inside == 0 {
					delete(l.byCaller, name)
				}
			}
		}
		c = &lane{caller: caller}
		l.byCaller[caller] = c
	}
	if caller != "" {
		most := l.perCaller
		if l.suspect(c) {
			most = min(most, suspectWaiting)
		}
		if c.inside >= most {
			return nil, entry.Refuse(entry.TryLater, "%d entries of this caller are waiting; try again in %v", c.inside, hint())
		}
	}
	c.inside++
	return c, nil
}

// leave counts a submission out.
func (l *lanes) leave(c *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	c.inside--
}

// put queues a task.
func (l *lanes) put(t *task) {
	l.mu.Lock()
	c := t.lane
	if len(c.tasks) == 0 {
		l.active = append(l.active, c)
		c.spent = max(c.spent, l.clock) // time in which it wanted nothing is not saved up
	}
	c.tasks = append(c.tasks, t)
	l.queued++
	quiet := l.gathering && l.queued < l.pace.enough // whoever takes looks again when its wait is over
	l.mu.Unlock()
	if quiet {
		return
	}
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

// length is how many tasks are queued.
func (l *lanes) length() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.queued
}

// finish lets every lane be served at once, for a node that stops: a rest keeps a flood from those who come, and nobody comes any more.
func (l *lanes) finish() {
	l.mu.Lock()
	l.ending = true
	l.mu.Unlock()
	select {
	case l.bell <- struct{}{}:
	default:
	}
}

func (l *lanes) resting(c *lane, now time.Time) bool { return !l.ending && c.rests.After(now) }

// cheapest gives the queued lane that has cost the least and does not rest, of all or of those above suspicion.
func (l *lanes) cheapest(trusted bool) *lane {
	var best *lane
	now := l.now()
	for _, c := range l.active {
		if l.resting(c, now) {
			continue
		}
		if (best == nil || c.spent < best.spent) && !(trusted && l.suspect(c)) {
			best = c
		}
	}
	return best
}

// awake is how many tasks are queued in lanes that do not rest.
func (l *lanes) awake() (tasks int) {
	now := l.now()
	for _, c := range l.active {
		if !l.resting(c, now) {
			tasks += len(c.tasks)
		}
	}
	return tasks
}

// take gives the next batch, of about limit proofs, and their number. When there is none, because nothing waits, or all that waits rests or
// should gather, it gives how long to wait, at most a minute.
func (l *lanes) take(limit int) (batch []*task, legs int, wait time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.gathering = false
	next := l.cheapest(false)
	if next == nil {
		wait = time.Minute
		for _, c := range l.active {
			wait = min(wait, max(c.rests.Sub(l.now()), time.Millisecond))
		}
		return nil, 0, wait
	}
	if l.slowest != nil {
		if wait = l.pace.wait(l.now(), l.begun, l.slowest(), l.awake()); wait > 0 {
			l.gathering = true
			return nil, 0, wait
		}
	}
	l.clock = max(l.clock, next.spent)
	alone := l.suspect(next)
	if alone {
		limit = min(limit, suspectLegs)
	} else {
		l.begun = l.now()
	}
	for next != nil && legs < limit {
		t := l.pop(next)
		t.prepaid = l.each * time.Duration(max(1, t.legs()))
		next.spent += t.prepaid
		batch, legs = append(batch, t), legs+t.legs()
		switch {
		case !alone:
			next = l.cheapest(true)
		case len(next.tasks) == 0:
			next = nil
		}
	}
	return batch, legs, 0
}

func (l *lanes) pop(c *lane) *task {
	t := c.tasks[0]
	c.tasks[0] = nil
	c.tasks = c.tasks[1:]
	l.queued--
	if len(c.tasks) == 0 {
		c.tasks = nil
		for i, other := range l.active {
			if other == c {
				last := len(l.active) - 1
				l.active[i], l.active[last] = l.active[last], nil
				l.active = l.active[:last]
				break
			}
		}
	}
	return t
}

// charge books what a batch took to its callers, and doubts those whose proofs were invalid.
func (l *lanes) charge(batch []*task, refusals []error, took time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	weights, legs, bad := 0, 0, false
	weigh := func(i int) int {
		w := max(1, batch[i].legs())
		if refusals[i] != nil {
			w *= blame
		}
		return w
	}
	for i, t := range batch {
		weights += weigh(i)
		legs += t.legs()
		bad = bad || refusals[i] != nil
	}
	rest := map[*lane]time.Duration{}
	for i, t := range batch {
		c := t.lane
		share := took * time.Duration(weigh(i)) / time.Duration(weights)
		switch {
		case c.caller == "":
		case refusals[i] != nil:
			share *= penalty
			c.doubt, c.invalid = suspectFor, l.now()
			rest[c] += share
		default:
			c.doubt = max(0, c.doubt-t.legs())
		}
		c.spent += share - t.prepaid
	}
	for c, d := range rest {
		c.rests = l.now().Add(min(d, maxRest))
	}
	if !bad && legs > 0 {
		l.each = (7*l.each + took/time.Duration(legs)) / 8
	}
}

// legs is how many proofs a task has.
func (t *task) legs() int { return len(t.candidate.Jobs) }
