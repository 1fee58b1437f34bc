package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/callers"
)

// otherTimeout bounds a health check.
const otherTimeout = 30 * time.Second

// gate stands before every handler: who calls and may they, is there room for them, is the body within its limit, did it arrive in time and whole. Then a
// handler runs, for no longer than its method states.
type gate struct {
	cfg     Config
	methods map[string]method
	next    http.Handler
	errors  *connect.ErrorWriter
	calls   *semaphore.Weighted
	each    *callers.Callers
}

func newGate(cfg Config, methods map[string]method, next http.Handler) *gate {
	l := cfg.Limits
	each := callers.Limits{Requests: l.CallerRequests, Bytes: l.CallerBytes, LargestRequest: int(l.BodyBytes), Calls: l.CallerCalls, Special: l.CallerQuotes}
	return &gate{cfg: cfg, methods: methods, next: next, errors: connect.NewErrorWriter(), calls: semaphore.NewWeighted(l.Calls), each: callers.New(each, nil)}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	rule, isRPC := g.methods[r.URL.Path]
	if !isRPC {
		rule = method{roles: allRoles, deadline: otherTimeout} // health, which bounds how much it reads
	}
	if bound := g.cfg.Limits.CallTimeout; bound > 0 && bound < rule.deadline {
		rule.deadline = bound
	}
	_ = control.SetWriteDeadline(time.Now().Add(g.cfg.Limits.BodyTimeout + rule.deadline + g.cfg.Limits.SendTimeout))
	caller, err := g.cfg.Identify(r)
	if err != nil {
		if doors.CodeOf(err) == "" {
			err = refusef(RoleNotAllowed, "%v", err)
		}
		g.refuse(w, r, err)
		return
	}
	if !caller.has(rule.roles) {
		g.refuse(w, r, refusef(RoleNotAllowed, "this caller may not call %s", r.URL.Path))
		return
	}
	ended, err := g.each.Call(caller.Name)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	defer ended()
	promised := min(max(r.ContentLength, 0), g.cfg.Limits.BodyBytes)
	err = errors.Join(g.each.Request(caller.Name), g.each.Read(caller.Name, promised))
	if err == nil && rule.quotes {
		err = g.each.Special(caller.Name, "quotes")
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	if !g.calls.TryAcquire(1) {
		g.refuse(w, r, refusef(TryLater, "too many calls are under way"))
		return
	}
	defer g.calls.Release(1)
	body, err := g.readBody(control, r)
	if err == nil {
		err = g.each.Read(caller.Name, int64(len(body))-promised)
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), rule.deadline)
	defer cancel()
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.ContentLength < 0 && r.Method != http.MethodGet {
		r.ContentLength = int64(len(body))
	}
	g.next.ServeHTTP(w, r)
}

func (g *gate) readBody(control *http.ResponseController, r *http.Request) ([]byte, error) {
	limit := g.cfg.Limits.BodyBytes
	if r.ContentLength > limit {
		return nil, refusef(Oversize, "the request has %d bytes, at most %d are read", r.ContentLength, limit)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, nil
	}
	_ = control.SetReadDeadline(time.Now().Add(g.cfg.Limits.BodyTimeout))
	body, err := io.ReadAll(io.LimitReader(r.Body, limit+1))
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, refusef(BodyTimeout, "the request did not arrive within %v", g.cfg.Limits.BodyTimeout)
	case err != nil:
		return nil, refusef(Malformed, "the request ended early after %d bytes", len(body))
	case int64(len(body)) > limit:
		return nil, refusef(Oversize, "the request has more than %d bytes", limit)
	}
	_ = control.SetReadDeadline(time.Time{})
	return body, nil
}

// refuse answers in the caller's own protocol, or in plain HTTP where the request is none of ours.
func (g *gate) refuse(w http.ResponseWriter, r *http.Request, err error) {
	wire := toConnect(err)
	if g.errors.IsSupported(r) {
		_ = g.errors.Write(w, r, wire)
		return
	}
	status := http.StatusBadRequest
	if wire.Code() == connect.CodePermissionDenied {
		status = http.StatusForbidden
	}
	http.Error(w, wire.Message(), status)
}
