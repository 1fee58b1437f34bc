package main

import (
	"strings"
	"testing"
	"time"
)

func TestRatiosAreOfTheFirstWayIn(t *testing.T) {
	spend := func(n int, leader, follower time.Duration) spent {
		return spent{transfers: n, leader: leader, follower: follower, elapsed: 2 * time.Second}
	}
	text := report(options{command: "go run ./bench/spread", transfers: 100, rounds: 2}, []*way{
		{name: "at the leader", spent: spend(200, 120*time.Millisecond, 20*time.Millisecond)},
		{name: "at the follower", spent: spend(200, 48*time.Millisecond, 140*time.Millisecond)},
		{name: "at both", spent: spend(200, 84*time.Millisecond, 80*time.Millisecond)},
		{name: "at the follower, verified by the leader", spent: spend(200, 96*time.Millisecond, 30*time.Millisecond)},
	})
	for _, want := range []string{
		"| at the leader | 600 | 1.00 | 100 | 100 |", "| at the follower | 240 | 0.40 | 700 | 100 |", "| at both | 420 | 0.70 | 400 | 100 |",
		"| at the follower, verified by the leader | 480 | 0.80 | 150 | 100 |", "the leader spends 0.50 of what",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
}
