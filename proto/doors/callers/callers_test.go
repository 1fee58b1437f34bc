package callers

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"
)

// clock is a wall clock that tests move.
type clock struct{ time.Time }

func (c *clock) now() time.Time { return c.Time }

func limited(l Limits) (*Callers, *clock) {
	at := &clock{time.Unix(0, 0)}
	return New(l, at.now), at
}

func busy(err error, says string) bool {
	var b *Busy
	return errors.As(err, &b) && b.RefusalCode() == "try_later" && strings.Contains(err.Error(), says)
}

func TestRequestsOfOneCallerAreBounded(t *testing.T) {
	c, at := limited(Limits{Requests: 5, Bytes: 1, LargestRequest: 1})
	for i := range 10 {
		if err := c.Request("bank/first"); err != nil {
			t.Fatalf("request %d: %v", i, err)
		}
	}
	if err := c.Request("bank/first"); !busy(err, "too many requests of this caller; try again in 200ms") {
		t.Fatalf("an eleventh at once: %v", err)
	}
	if err := c.Request("bank/second"); err != nil {
		t.Errorf("another caller: %v", err)
	}
	at.Time = at.Add(200 * time.Millisecond) // a refused request does not count
	if err := c.Request("bank/first"); err != nil {
		t.Errorf("after the time named: %v", err)
	}
}

func TestBytesOfOneCallerAreBounded(t *testing.T) {
	c, at := limited(Limits{Requests: 1, Bytes: 1 << 20, LargestRequest: 32 << 20})
	if err := c.Read("bank/first", 1<<40); err != nil {
		t.Fatalf("the largest request: %v", err)
	}
	if err := c.Read("bank/first", 1<<20); !busy(err, "too many bytes of this caller; try again in 1s") {
		t.Fatalf("%v", err)
	}
	if err := errors.Join(c.Read("bank/first", 0), c.Read("bank/first", -1)); err != nil {
		t.Errorf("nothing: %v", err)
	}
	at.Time = at.Add(time.Second)
	if err := c.Read("bank/first", 1<<20); err != nil {
		t.Fatal(err)
	}
}

func TestSpecialCallsAreBoundedByTheMinute(t *testing.T) {
	c, at := limited(Limits{Special: 2})
	for range 2 {
		if err := c.Special("bank/first", "quotes"); err != nil {
			t.Fatal(err)
		}
	}
	if err := c.Special("bank/first", "quotes"); !busy(err, "too many quotes of this caller; try again in 30s") {
		t.Fatalf("%v", err)
	}
	at.Time = at.Add(30 * time.Second)
	if err := c.Special("bank/first", "quotes"); err != nil {
		t.Fatal(err)
	}
}

func TestCallsAndStreamsAtOnceAreBounded(t *testing.T) {
	c, _ := limited(Limits{Calls: 2, Streams: 1})
	for what, tc := range map[string]struct {
		enter func(string) (func(), error)
		limit int
	}{"calls": {c.Call, 2}, "streams": {c.Stream, 1}} {
		var leave func()
		for range tc.limit {
			var err error
			if leave, err = tc.enter("bank/first"); err != nil {
				t.Fatalf("%s: %v", what, err)
			}
		}
		if _, err := tc.enter("bank/first"); !busy(err, fmt.Sprintf("%d %s of this caller are open", tc.limit, what)) {
			t.Errorf("%s, one more: %v", what, err)
		}
		if _, err := tc.enter("bank/second"); err != nil {
			t.Errorf("%s of another caller: %v", what, err)
		}
		leave()
		if _, err := tc.enter("bank/first"); err != nil {
			t.Errorf("%s, after one left: %v", what, err)
		}
	}
}

func TestCallersOnThisMachineHaveNoLimits(t *testing.T) {
	c, _ := limited(Limits{})
	for range 10 {
		_, call := c.Call(Local)
		_, stream := c.Stream(Local)
		if err := errors.Join(c.Request(Local), c.Read(Local, 1<<30), c.Special(Local, "quotes"), call, stream); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Call("bank/first"); err == nil {
		t.Error("a caller with a certificate has none either")
	}
}

// TestCallersAreForgotten, but not what they have used up.
func TestCallersAreForgotten(t *testing.T) {
	c, at := limited(Limits{Requests: 10, Bytes: 1, LargestRequest: 1, Calls: 1, Streams: 1, Special: 1})
	if err := c.Special("bank/greedy", "quotes"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Call("bank/working"); err != nil {
		t.Fatal(err)
	}
	for i := range 3 * most {
		at.Time = at.Add(time.Millisecond)
		if err := c.Request(fmt.Sprint("bank/", i)); err != nil {
			t.Fatal(err)
		}
	}
	if len(c.byName) > 2*most {
		t.Fatalf("%d callers are remembered", len(c.byName))
	}
	if err := c.Special("bank/greedy", "quotes"); !busy(err, "quotes") {
		t.Errorf("a caller whose bucket is empty was forgotten: %v", err)
	}
	if _, err := c.Call("bank/working"); !busy(err, "calls") {
		t.Errorf("a caller with a call under way was forgotten: %v", err)
	}
}
