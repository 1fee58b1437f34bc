package rpc

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/sync/semaphore"

	"github.com/comity-ledger/comity/proto/doors/callers"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Sizes of request bodies on the wire. JSON carries bytes as base64, a third longer, so the limits leave that room: the exact
// caps of entries and segments are rules of settlement/entry, checked there by name.
const (
	maxSmallBytes  = 64 << 10 // calls without entries; 1024 nullifiers in JSON are 46 kB
	maxSubmitBytes = 1 << 20  // one entry with its segments
	maxBatchBytes  = 32 << 20 // SubmitBatch
	bodyChunk      = 32 << 10 // a body is charged to the budget in steps of this, so a promise costs nothing

	otherTimeout = 30 * time.Second // a tile, a health check, a reflection: all of it
)

// errBound is why a call's context ends when the call has taken as long as its method states; a caller's own shorter time has another cause.
var errBound = errors.New("the call has taken as long as its method allows")

// gate stands before every handler. In this order, cheapest first: who calls and may they; is the body within the method's limit;
// is there memory for it; did it arrive in time and whole. Only then a handler runs, for no longer than its method states. It also bounds every write
// to a slow reader.
type gate struct {
	server *Server
	rules  map[string]procedure
	next   http.Handler
	errors *connect.ErrorWriter
	budget *semaphore.Weighted
	each   *callers.Callers
}

func newGate(s *Server, rules map[string]procedure, next http.Handler) *gate {
	return &gate{
		server: s, rules: rules, next: next,
		errors: connect.NewErrorWriter(), budget: semaphore.NewWeighted(s.cfg.Limits.BodyBytes),
		each: callers.New(eachCaller(s.cfg.Limits), nil),
	}
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	w = &boundedWriter{ResponseWriter: w, control: control, timeout: g.server.cfg.Limits.SendTimeout}

	caller, err := g.server.cfg.Identify(r)
	if err != nil {
		g.refuse(w, r, unidentified(err))
		return
	}
	ctx := context.WithValue(r.Context(), callerKey{}, caller)
	account := caller.account()
	if by := r.Header.Get(forwardedBy); by != "" {
		ctx = context.WithValue(ctx, forwardedKey{}, by)
		if caller.Has(nodes) {
			account = callers.Local // whom it forwards for was held to limits where the entries came in
		}
	}
	rule, isRPC := g.rules[r.URL.Path]
	if !isRPC {
		// Tiles, health and reflection: for any caller that has a role. Their handlers bound how much they read, and this for how long.
		if len(caller.Roles) == 0 {
			g.refuse(w, r, entry.Refuse(CodeRoleNotAllowed, "the caller has no role here"))
			return
		}
		ended, err := g.each.Call(account)
		if err == nil {
			defer ended()
			err = g.each.Request(account)
		}
		if err != nil {
			g.refuse(w, r, err)
			return
		}
		_ = control.SetReadDeadline(time.Now().Add(otherTimeout))
		defer func() { _ = control.SetReadDeadline(time.Time{}) }()
		ctx, cancel := context.WithTimeout(ctx, otherTimeout)
		defer cancel()
		g.next.ServeHTTP(w, r.WithContext(ctx))
		return
	}
	if !caller.Has(rule.roles) {
		g.refuse(w, r, entry.Refuse(CodeRoleNotAllowed, "%s may not call %s", caller.Name, r.URL.Path))
		return
	}
	if !g.errors.IsSupported(r) {
		g.next.ServeHTTP(w, r.WithContext(ctx)) // answers 415 without reading the body
		return
	}
	enter, bound := g.each.Call, g.server.cfg.Limits.CallTimeout
	if rule.streams {
		enter, bound = g.each.Stream, g.server.cfg.Limits.StreamTimeout
	}
	if bound == 0 || bound > rule.deadline {
		bound = rule.deadline
	}
	ended, err := enter(account)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	defer ended()
	promised := min(max(r.ContentLength, 0), rule.bodyBytes)
	if err := errors.Join(g.each.Request(account), g.each.Read(account, promised)); err != nil {
		g.refuse(w, r, err)
		return
	}
	body, release, err := g.readBody(control, r, rule.bodyBytes)
	defer release()
	if err == nil {
		err = g.each.Read(account, int64(len(body))-promised)
	}
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeoutCause(ctx, bound, errBound)
	defer cancel()
	if rule.streams {
		defer context.AfterFunc(g.server.stop, cancel)()
	}
	r = r.WithContext(ctx)
	r.Body = io.NopCloser(bytes.NewReader(body))
	if r.ContentLength < 0 && r.Method != http.MethodGet {
		r.ContentLength = int64(len(body))
	}
	g.next.ServeHTTP(w, r)
}

// readBody reads the whole request within its limit, the budget and the time allowed. release must be called in every case.
func (g *gate) readBody(control *http.ResponseController, r *http.Request, limit int64) (body []byte, release func(), err error) {
	var charged int64
	release = func() { g.budget.Release(charged) }
	if r.ContentLength > limit {
		return nil, release, entry.Refuse(entry.Oversize, "the request has %d bytes, at most %d are read", r.ContentLength, limit)
	}
	if r.Body == nil || r.Body == http.NoBody {
		return nil, release, nil
	}
	// Not every transport has deadlines; the budget bounds memory there too.
	_ = control.SetReadDeadline(time.Now().Add(g.server.cfg.Limits.BodyTimeout))
	for {
		if int64(len(body)) > limit {
			return nil, release, entry.Refuse(entry.Oversize, "the request has more than %d bytes", limit)
		}
		if len(body) == cap(body) {
			grow := max(bodyChunk, int64(cap(body))) // doubling, as append does, but charged first
			if !g.budget.TryAcquire(grow) {
				return nil, release, entry.Refuse(entry.TryLater, "too many requests are being read")
			}
			charged += grow
			larger := make([]byte, len(body), int64(cap(body))+grow)
			copy(larger, body)
			body = larger
		}
		n, err := r.Body.Read(body[len(body):cap(body)])
		body = body[:len(body)+n]
		switch {
		case errors.Is(err, io.EOF):
			if int64(len(body)) > limit {
				return nil, release, entry.Refuse(entry.Oversize, "the request has more than %d bytes", limit)
			}
			_ = control.SetReadDeadline(time.Time{})
			return body, release, nil
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil, release, entry.Refuse(CodeBodyTimeout, "the request did not arrive within %v", g.server.cfg.Limits.BodyTimeout)
		case err != nil:
			return nil, release, entry.Refuse(entry.Malformed, "the request ended early after %d bytes", len(body))
		}
	}
}

// refuse answers in the caller's own protocol, or in plain HTTP where the request is none of ours.
func (g *gate) refuse(w http.ResponseWriter, r *http.Request, err error) {
	wire := toConnect(err)
	if g.errors.IsSupported(r) {
		_ = g.errors.Write(w, r, wire)
		return
	}
	status := http.StatusBadRequest
	switch wire.Code() {
	case connect.CodePermissionDenied:
		status = http.StatusForbidden
	case connect.CodeUnavailable:
		status = http.StatusServiceUnavailable
	}
	http.Error(w, strings.TrimSpace(wire.Message()), status)
}

// boundedWriter gives every write its own deadline and none to the time between writes, so that a live stream may be silent for
// hours but a reader that stops reading is cut off.
type boundedWriter struct {
	http.ResponseWriter
	control *http.ResponseController
	timeout time.Duration
}

func (w *boundedWriter) Write(p []byte) (int, error) {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout))
	defer func() { _ = w.control.SetWriteDeadline(time.Time{}) }()
	return w.ResponseWriter.Write(p)
}

// Flush implements http.Flusher, which Connect needs for streams.
func (w *boundedWriter) Flush() {
	_ = w.control.SetWriteDeadline(time.Now().Add(w.timeout))
	defer func() { _ = w.control.SetWriteDeadline(time.Time{}) }()
	_ = w.control.Flush()
}

// Unwrap lets http.ResponseController reach the connection.
func (w *boundedWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }
