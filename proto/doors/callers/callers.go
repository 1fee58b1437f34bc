// Package callers keeps what each caller of a server may still do: requests and bytes in a second, calls and streams at once, and what else a server
// counts. A caller is known by the name in its certificate.
//
// It owns the counting and no names of methods or roles: a server says what it counts, and answers a *Busy.
package callers

import (
	"fmt"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Local is the name of callers on this machine without a certificate. They have no limits: whoever can connect to a loopback port can also stop
// the server.
const Local = ""

// Limits are what one caller may do.
type Limits struct {
	// Requests and Bytes are how many requests, and bytes of them, it may send in a second on average, and twice as many at once.
	Requests, Bytes int
	// LargestRequest is the most bytes of one request: so many may always be sent at once.
	LargestRequest int
	// Calls and Streams are how many may be under way at once.
	Calls, Streams int64
	// Special is how many calls of a kind that the server names it may make in a minute on average, and as many at once.
	Special int
}

// Busy is a caller that is past one of its limits.
type Busy struct{ Detail string }

// Error gives "try_later: detail".
func (b *Busy) Error() string { return b.RefusalCode() + ": " + b.Detail }

// RefusalCode names the refusal.
func (b *Busy) RefusalCode() string { return "try_later" }

// Callers is safe for concurrent use. Make it with New.
type Callers struct {
	limits Limits
	now    func() time.Time

	mu     sync.Mutex // guards byName and what is in it
	byName map[string]*allowance
}

// allowance is what one caller may still do.
type allowance struct {
	requests, bytes, special *rate.Limiter
	calls, streams           int64 // under way
	used                     time.Time
}

// most bounds the callers remembered; those whose allowance is full again are forgotten first.
const most = 4096

// New makes an empty set. now is the wall clock; nil means time.Now.
func New(limits Limits, now func() time.Time) *Callers {
	if now == nil {
		now = time.Now
	}
	return &Callers{limits: limits, now: now, byName: map[string]*allowance{}}
}

func (c *Callers) of(name string, now time.Time) *allowance {
	a := c.byName[name]
	if a == nil {
		if len(c.byName) >= most {
			for other, idle := range c.byName {
				if idle.full(now) {
					delete(c.byName, other)
				}
			}
		}
		a = &allowance{
			requests: rate.NewLimiter(rate.Limit(c.limits.Requests), 2*c.limits.Requests),
			bytes:    rate.NewLimiter(rate.Limit(c.limits.Bytes), max(2*c.limits.Bytes, c.limits.LargestRequest)),
			special:  rate.NewLimiter(rate.Limit(float64(c.limits.Special)/60), c.limits.Special),
		}
		c.byName[name] = a
	}
	a.used = now
	return a
}

// full reports whether forgetting the caller would give it nothing: nothing of it is under way and its buckets are full.
func (a *allowance) full(now time.Time) bool {
	return a.calls == 0 && a.streams == 0 && now.Sub(a.used) > 2*time.Second && a.special.TokensAt(now) >= float64(a.special.Burst()) &&
		a.bytes.TokensAt(now) >= float64(a.bytes.Burst()) && a.requests.TokensAt(now) >= float64(a.requests.Burst())
}

// Request charges one request to a caller.
func (c *Callers) Request(name string) error {
	return c.take(name, 1, "requests", func(a *allowance) *rate.Limiter { return a.requests })
}

// Read charges bytes of a request to a caller.
func (c *Callers) Read(name string, bytes int64) error {
	if bytes <= 0 {
		return nil
	}
	n := int(min(bytes, int64(c.limits.LargestRequest)))
	return c.take(name, n, "bytes", func(a *allowance) *rate.Limiter { return a.bytes })
}

// Special charges one call of the kind that the server calls what, in the plural.
func (c *Callers) Special(name, what string) error {
	return c.take(name, 1, what, func(a *allowance) *rate.Limiter { return a.special })
}

// take takes n from a bucket, or refuses with the time after which it would hold them.
func (c *Callers) take(name string, n int, what string, bucket func(*allowance) *rate.Limiter) error {
	if name == Local {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	r := bucket(c.of(name, now)).ReserveN(now, n)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return &Busy{fmt.Sprintf("too many %s of this caller; try again in %v", what, max(wait.Round(10*time.Millisecond), 10*time.Millisecond))}
	}
	return nil
}

// Call counts a call of a caller in; release counts it out and must be called once.
func (c *Callers) Call(name string) (release func(), err error) {
	return c.enter(name, "calls", c.limits.Calls, func(a *allowance) *int64 { return &a.calls })
}

// Stream counts a stream of a caller in; release counts it out and must be called once.
func (c *Callers) Stream(name string) (release func(), err error) {
	return c.enter(name, "streams", c.limits.Streams, func(a *allowance) *int64 { return &a.streams })
}

func (c *Callers) enter(name, what string, limit int64, count func(*allowance) *int64) (func(), error) {
	if name == Local {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.of(name, c.now())
	n := count(a)
	if *n >= limit {
		return nil, &Busy{fmt.Sprintf("%d %s of this caller are open; try again when one has ended", *n, what)}
	}
	*n++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		*n--
		a.used = c.now()
	}, nil
}
