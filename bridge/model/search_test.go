package model

import (
	"errors"
	"strings"
	"testing"
)

// jugs is a world whose facts are known: two jugs of 3 and 5 litres, filled, emptied and poured over. 16 states can be reached,
// and the shortest way to 4 litres has 6 steps.
type jugs struct {
	forbidden uint8 // litres in the large jug that break the invariant; 0: none
	leaky     bool  // the small jug may break, and stays broken
}

type jugsState struct {
	small, large uint8
	broken       bool
}

func (jugs) Start() jugsState { return jugsState{} }

func (jugs) Encode(s jugsState, dst []byte) []byte {
	return append(dst, s.small, s.large, bit(s.broken))
}

func (j jugs) Steps(s jugsState, yield func(Label, jugsState)) {
	yield(Label{Do: 1, Fair: true}, jugsState{s.small, 5, s.broken})
	yield(Label{Do: 3, Fair: true}, jugsState{s.small, 0, s.broken})
	if !s.broken {
		yield(Label{Do: 0, Fair: true}, jugsState{3, s.large, false})
		yield(Label{Do: 2, Fair: true}, jugsState{0, s.large, false})
		n := min(s.small, 5-s.large)
		yield(Label{Do: 4, Fair: true}, jugsState{s.small - n, s.large + n, false})
		n = min(s.large, 3-s.small)
		yield(Label{Do: 5, Fair: true}, jugsState{s.small + n, s.large - n, false})
		if j.leaky {
			yield(Label{Do: 6}, jugsState{0, s.large, true})
		}
	}
}

func (jugs) Say(l Label) string {
	return [...]string{"fill 3", "fill 5", "empty 3", "empty 5", "pour 3 into 5", "pour 5 into 3", "break 3"}[l.Do]
}

func (j jugs) Broken(s jugsState) string {
	if j.forbidden != 0 && s.large == j.forbidden {
		return "forbidden"
	}
	return ""
}

func (jugs) Promises() []Promise[jugsState] {
	return []Promise[jugsState]{
		{Name: "the large jug can be filled", Goal: func(s jugsState) bool { return s.large == 5 }},
		{Name: "four litres can be had", Goal: func(s jugsState) bool { return s.large == 4 }},
	}
}

func TestSearchSeesEveryStateOnce(t *testing.T) {
	r, err := Search(jugs{}, 100)
	if err != nil || r.Violation != nil {
		t.Fatal(err, r.Violation)
	}
	if r.States != 16 || r.Steps != 16*6 || r.Depth != 7 {
		t.Errorf("%v, want 16 states, 96 steps, depth 7", r)
	}
}

func TestSearchFindsAShortestHistory(t *testing.T) {
	w := jugs{forbidden: 4}
	r, err := Search(w, 100)
	if err != nil {
		t.Fatal(err)
	}
	v := r.Violation
	if v == nil || v.Kind != "forbidden" || len(v.Trace) != 6 {
		t.Fatalf("found %v, want 4 litres after 6 steps", v)
	}
	if !strings.HasSuffix(v.String(), "\n  6. pour 5 into 3") || !strings.HasPrefix(v.String(), "forbidden, after 6 steps:\n  1. fill 5") {
		t.Errorf("the history reads %q", v)
	}
	states, err := Replay(w, v.Trace)
	if err != nil || states[6].large != 4 {
		t.Errorf("the replay ends at %v, %v", states, err)
	}
}

func TestSearchFindsABrokenPromise(t *testing.T) {
	r, err := Search(jugs{leaky: true}, 100)
	if err != nil {
		t.Fatal(err)
	}
	v := r.Violation
	if v == nil || v.Kind != "four litres can be had" || len(v.Trace) != 1 || v.Words[0] != "break 3" {
		t.Errorf("found %v, want a broken jug from which 4 litres cannot be had", v)
	}
}

// Breaking the jug is possible and never fair: a promise that only it could keep is not kept.
func TestPromisesAreKeptByFairStepsAlone(t *testing.T) {
	r, err := Search(breaks{jugs{leaky: true}}, 100)
	if err != nil {
		t.Fatal(err)
	}
	if r.Violation == nil || len(r.Violation.Trace) != 0 {
		t.Errorf("found %v, want the start", r.Violation)
	}
}

type breaks struct{ jugs }

func (breaks) Promises() []Promise[jugsState] {
	return []Promise[jugsState]{{Name: "the small jug breaks", Goal: func(s jugsState) bool { return s.broken }}}
}

func TestASearchThatIsTooLargeSaysNothing(t *testing.T) {
	var tooLarge *TooLargeError
	if r, err := Search(jugs{}, 15); !errors.As(err, &tooLarge) || tooLarge.Limit != 15 || r != (Report{}) {
		t.Errorf("got %v, %v", r, err)
	}
	if _, err := Search(jugs{}, 16); err != nil {
		t.Errorf("16 states are allowed and 16 there are: %v", err)
	}
}

func TestReplayRefusesAStepThatIsNotPossible(t *testing.T) {
	if _, err := Replay(jugs{}, []Label{{Do: 6}}); err == nil || !strings.Contains(err.Error(), `step 1, "break 3"`) {
		t.Errorf("got %v", err)
	}
}
