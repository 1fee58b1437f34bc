package rpc

import (
	"context"
	"sync"
	"time"

	"golang.org/x/time/rate"

	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// callers keeps what each caller with a certificate may still do now. Callers on this machine without one have no limits of their own: whoever can
// connect to a loopback port can also stop the node.
type callers struct {
	limits Limits
	now    func() time.Time

	mu     sync.Mutex // guards byName and what is in it
	byName map[string]*allowance
}

// allowance is what one caller may still do.
type allowance struct {
	requests, bytes *rate.Limiter
	streams         int64 // open
	used            time.Time
}

// nodes are the roles of a node of this ledger.
var nodes = []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR}

// maxCallers bounds the callers remembered; those whose allowance is full again are forgotten first.
const maxCallers = 4096

func newCallers(limits Limits) *callers {
	return &callers{limits: limits, now: time.Now, byName: map[string]*allowance{}}
}

func (c *callers) of(name string, now time.Time) *allowance {
	a := c.byName[name]
	if a == nil {
		if len(c.byName) >= maxCallers {
			for other, idle := range c.byName {
				if idle.streams == 0 && now.Sub(idle.used) > 2*time.Second { // both buckets fill within that
					delete(c.byName, other)
				}
			}
		}
		a = &allowance{
			requests: rate.NewLimiter(rate.Limit(c.limits.CallerRequests), 2*c.limits.CallerRequests),
			bytes:    rate.NewLimiter(rate.Limit(c.limits.CallerBytes), max(2*c.limits.CallerBytes, maxBatchBytes)),
		}
		c.byName[name] = a
	}
	a.used = now
	return a
}

// request charges one request to a caller.
func (c *callers) request(caller Caller) error {
	if caller.Local {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	return take(c.of(caller.Name, now).requests, now, 1, "requests")
}

// read charges bytes of a request to a caller.
func (c *callers) read(caller Caller, bytes int64) error {
	if caller.Local || bytes <= 0 {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	return take(c.of(caller.Name, now).bytes, now, int(min(bytes, maxBatchBytes)), "bytes")
}

// take takes n from a bucket, or refuses with the time after which it would hold them.
func take(l *rate.Limiter, now time.Time, n int, what string) error {
	r := l.ReserveN(now, n)
	if wait := r.DelayFrom(now); wait > 0 {
		r.CancelAt(now)
		return entry.Refuse(entry.TryLater, "too many %s of this caller; try again in %v", what, max(wait.Round(10*time.Millisecond), 10*time.Millisecond))
	}
	return nil
}

// stream counts a stream of a caller in; release counts it out.
func (c *callers) stream(caller Caller) (release func(), err error) {
	if caller.Local {
		return func() {}, nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	a := c.of(caller.Name, c.now())
	if a.streams >= c.limits.CallerStreams {
		return nil, entry.Refuse(entry.TryLater, "%d streams of this caller are open; try again when one has ended", a.streams)
	}
	a.streams++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		a.streams--
	}, nil
}

// Lane names the queue that a request's submissions wait in: its caller's, by the name of the certificate. Callers on this machine without one share
// the lane "". What another node forwarded waits in the lane of whoever sent it there.
func Lane(ctx context.Context) string {
	if f := said(ctx); f != nil {
		return f.GetLane()
	}
	c, ok := CallerFrom(ctx)
	if !ok || c.Local {
		return ""
	}
	return c.Name
}
