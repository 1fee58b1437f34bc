package model

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"strings"
)

// Label names one step out of a state. In one state no two steps have the same label, so labels alone replay a history.
// Do is the world's own number of the step; the other numbers say of what.
type Label struct {
	Do, On, X, Y, Z uint8
	// Fair steps happen in the end if they stay possible: clocks, relayers, what anybody may do. A promise is kept by fair
	// steps alone; people may stall for ever.
	Fair bool
}

// World is a transition system with finitely many states.
type World[S any] interface {
	Start() S
	// Encode appends the canonical bytes of a state: equal exactly for states with the same future. All have one length.
	Encode(s S, dst []byte) []byte
	// Steps calls yield for every step that is possible in s.
	Steps(s S, yield func(Label, S))
	// Say puts a step into words.
	Say(l Label) string
	// Broken names the invariant that s breaks, or is empty.
	Broken(s S) string
	// Promises are at most 8. Each is a claim about futures: see Promise.
	Promises() []Promise[S]
}

// Promise says: whatever has happened so far, in every reachable state that From accepts (nil: all), fair steps can lead to a
// state that Goal accepts. In temporal logic AG (From -> EF Goal), with EF over fair steps.
type Promise[S any] struct {
	Name string
	From func(S) bool
	Goal func(S) bool
}

// Report is what a search found. Without a violation it saw every reachable state.
type Report struct {
	States, Steps int
	Depth         int // steps of the shortest history to the farthest state
	Violation     *Violation
}

func (r Report) String() string {
	return fmt.Sprintf("%d states, %d steps, depth %d", r.States, r.Steps, r.Depth)
}

// Violation is a shortest history to a state that breaks an invariant, or from which a promise cannot be kept.
type Violation struct {
	Kind  string // what Broken said, or the name of the promise
	Trace []Label
	Words []string // the trace in words
}

func (v *Violation) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s, after %d steps:", v.Kind, len(v.Trace))
	for i, w := range v.Words {
		fmt.Fprintf(&b, "\n%3d. %s", i+1, w)
	}
	return b.String()
}

// TooLargeError says that a world has more states than the search was allowed. Nothing is known about it then.
type TooLargeError struct{ Limit int }

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("the world has more than %d states", e.Limit)
}

// Search walks through all states breadth first and stops at the first that breaks an invariant, so its history is as short
// as any. If there is none it computes backwards, for each promise, from where fair steps can keep it.
func Search[S any](w World[S], limit int) (Report, error) {
	promises := w.Promises()
	if len(promises) > 8 {
		panic("model: more than 8 promises")
	}
	x := &search[S]{world: w, limit: limit, promises: promises, seed: maphash.MakeSeed(), table: make([]uint32, 1<<12)}
	start := w.Start()
	x.add(start, none, Label{})
	var report Report
	level := []S{start}
	for from := 0; len(level) > 0 && x.bad == none; report.Depth++ {
		var next []S
		for _, s := range level {
			x.expand(s, uint32(from), &next)
			if x.bad != none || x.full {
				break
			}
			from++
		}
		if x.full {
			return Report{}, &TooLargeError{limit}
		}
		level = next
	}
	if x.bad == none {
		report.Depth-- // the last level added nothing
	}
	report.States, report.Steps = x.states, x.steps
	kind := x.kind
	if x.bad == none {
		for i, p := range promises {
			if at := x.unkept(uint8(1) << i); at != none {
				x.bad, kind = at, p.Name
				break
			}
		}
	}
	if x.bad != none {
		report.Violation = x.violation(kind)
	}
	return report, nil
}

const none = ^uint32(0)

type search[S any] struct {
	world    World[S]
	limit    int
	promises []Promise[S]

	// The set of states: their codes one after another, and an open-addressed table of state numbers plus one.
	seed   maphash.Seed
	table  []uint32
	codes  []byte
	width  int
	states int

	// Per state: how it was first reached, which promises start and are kept there, and where its fair steps end in fair.
	parent []uint32
	label  []Label
	starts []uint8
	goals  []uint8
	end    []uint32
	fair   []uint32

	code  []byte
	steps int
	full  bool
	bad   uint32 // the state that breaks an invariant, none if none does
	kind  string
}

// add gives the number of a state and whether it is new.
func (x *search[S]) add(s S, parent uint32, by Label) (uint32, bool) {
	x.code = x.world.Encode(s, x.code[:0])
	if x.states == 0 {
		x.width, x.bad = len(x.code), none
	}
	if len(x.code) != x.width {
		panic("model: two states have codes of different lengths")
	}
	slot := x.find(x.code)
	if n := x.table[slot]; n != 0 {
		return n - 1, false
	}
	if x.states == x.limit {
		x.full = true
		return none, false
	}
	n := uint32(x.states)
	x.states++
	x.table[slot] = n + 1
	x.codes = append(x.codes, x.code...)
	x.parent = append(x.parent, parent)
	x.label = append(x.label, by)
	var starts, goals uint8
	for i, p := range x.promises {
		if p.From == nil || p.From(s) {
			starts |= 1 << i
		}
		if p.Goal(s) {
			goals |= 1 << i
		}
	}
	x.starts, x.goals = append(x.starts, starts), append(x.goals, goals)
	if 2*x.states > len(x.table) {
		x.grow()
	}
	if kind := x.world.Broken(s); kind != "" && x.bad == none {
		x.bad, x.kind = n, kind
	}
	return n, true
}

func (x *search[S]) find(code []byte) int {
	mask := len(x.table) - 1
	slot := int(maphash.Bytes(x.seed, code)) & mask
	for {
		n := int(x.table[slot])
		if n == 0 || bytes.Equal(x.codes[(n-1)*x.width:n*x.width], code) {
			return slot
		}
		slot = (slot + 1) & mask
	}
}

func (x *search[S]) grow() {
	x.table = make([]uint32, 2*len(x.table))
	for n := range x.states {
		x.table[x.find(x.codes[n*x.width:(n+1)*x.width])] = uint32(n) + 1
	}
}

// expand takes every step out of state number n. States are expanded in the order of their numbers.
func (x *search[S]) expand(s S, n uint32, next *[]S) {
	x.world.Steps(s, func(by Label, to S) {
		if x.full || x.bad != none {
			return
		}
		x.steps++
		m, fresh := x.add(to, n, by)
		if fresh {
			*next = append(*next, to)
		}
		if by.Fair && m != n && m != none {
			x.fair = append(x.fair, m)
		}
	})
	x.end = append(x.end, uint32(len(x.fair)))
}

// unkept gives the first state from which a promise should be kept and cannot be, or none.
func (x *search[S]) unkept(promise uint8) uint32 {
	// The fair steps backwards: those into n come from into[begin[n]:begin[n+1]].
	begin := make([]uint32, x.states+1)
	for _, m := range x.fair {
		begin[m+1]++
	}
	for n := range x.states {
		begin[n+1] += begin[n]
	}
	into, at := make([]uint32, len(x.fair)), append([]uint32(nil), begin...)
	i := uint32(0)
	for n, end := range x.end {
		for ; i < end; i++ {
			m := x.fair[i]
			into[at[m]] = uint32(n)
			at[m]++
		}
	}
	kept := make([]bool, x.states)
	var queue []uint32
	for n, g := range x.goals {
		if g&promise != 0 {
			kept[n] = true
			queue = append(queue, uint32(n))
		}
	}
	for len(queue) > 0 {
		n := queue[len(queue)-1]
		queue = queue[:len(queue)-1]
		for _, m := range into[begin[n]:begin[n+1]] {
			if !kept[m] {
				kept[m] = true
				queue = append(queue, m)
			}
		}
	}
	for n, s := range x.starts {
		if s&promise != 0 && !kept[n] {
			return uint32(n)
		}
	}
	return none
}

func (x *search[S]) violation(kind string) *Violation {
	v := &Violation{Kind: kind}
	for n := x.bad; x.parent[n] != none; n = x.parent[n] {
		v.Trace = append(v.Trace, x.label[n])
	}
	for i, j := 0, len(v.Trace)-1; i < j; i, j = i+1, j-1 {
		v.Trace[i], v.Trace[j] = v.Trace[j], v.Trace[i]
	}
	for _, l := range v.Trace {
		v.Words = append(v.Words, x.world.Say(l))
	}
	return v
}

// Replay takes the steps of a trace from the start and gives every state on the way, the start included. It fails when a step
// is not possible where the trace takes it, or when two steps have its label.
func Replay[S any](w World[S], trace []Label) ([]S, error) {
	states := []S{w.Start()}
	for i, want := range trace {
		found := 0
		var to S
		w.Steps(states[i], func(l Label, s S) {
			if l == want {
				found++
				to = s
			}
		})
		if found != 1 {
			return states, fmt.Errorf("step %d, %q, is possible in %d ways", i+1, w.Say(want), found)
		}
		states = append(states, to)
	}
	return states, nil
}
