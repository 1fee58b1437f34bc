// Package rpc is the network edge of a liquidity provider, and the client that a payer speaks to it with.
//
// It carries the exact bytes of the bridge's messages, which package bridge makes and judges. It owns the limits on what a stranger can make
// a provider do (bodies, time, calls at once) and who may call; the rules are those of settlement/rpc, without streams.
package rpc

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"slices"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/otelconnect"
	"golang.org/x/sync/semaphore"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"

	"github.com/comity-ledger/comity/proto/doors"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/bridge/v1/bridgev1connect"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
)

// Provider answers the calls. Every method may be called from several goroutines at once. A refusal is an error with a method
// RefusalCode() string in its chain; whatever else is wrong is told to nobody.
type Provider interface {
	// Offers tells who the provider is and what it serves now.
	Offers(ctx context.Context) (Offers, error)
	// Quote answers a request with a signed quote.
	Quote(ctx context.Context, request []byte) ([]byte, error)
	// Reserve answers with the opening of the output that pays this provider on the next ledger.
	Reserve(ctx context.Context, acceptance []byte) ([]byte, error)
	// Accept places the deciding hold and answers with where it is. The same bytes get the same answer.
	Accept(ctx context.Context, acceptance []byte) ([]byte, error)
	// Proceed places a following hold and answers with where it is. The same bytes get the same answer.
	Proceed(ctx context.Context, proceed []byte) ([]byte, error)
	// Payment tells what became of a quote.
	Payment(ctx context.Context, quote [32]byte) ([]byte, error)
}

// Limits bound what callers can make the server hold or wait for. The zero value of a field means its default.
type Limits struct {
	// BodyBytes bounds one request. Default 256 kiB.
	BodyBytes int64
	// BodyTimeout is how long a caller may take to send its request. Default 10 s.
	BodyTimeout time.Duration
	// SendTimeout is how long one write to a caller may block. Default 30 s.
	SendTimeout time.Duration
	// CallTimeout bounds a call after its request was read: an acceptance is answered when a hold is proven and logged. Default 2 min.
	CallTimeout time.Duration
	// Calls is how many calls may be under way at once. Default 64.
	Calls int64
}

func (l Limits) withDefaults() Limits {
	if l.BodyBytes == 0 {
		l.BodyBytes = 256 << 10
	}
	if l.BodyTimeout == 0 {
		l.BodyTimeout = 10 * time.Second
	}
	if l.SendTimeout == 0 {
		l.SendTimeout = 30 * time.Second
	}
	if l.CallTimeout == 0 {
		l.CallTimeout = 2 * time.Minute
	}
	if l.Calls == 0 {
		l.Calls = 64
	}
	return l
}

// Config is what a Server is made of.
type Config struct {
	// Provider answers the calls. Required.
	Provider Provider
	// Doors is the server's end of mutual TLS. Without it only loopback addresses are served, in the clear.
	Doors *doors.Server
	// Identify gives the roles of a caller. Default: by certificate where there are Doors; else every role on a loopback address, none elsewhere.
	Identify func(r *http.Request) ([]optionsv1.Role, error)
	// Limits bounds callers.
	Limits Limits
	// Log receives what is wrong with the server itself, never with a caller. Default: discard.
	Log *slog.Logger
}

// Server serves one provider. Make it with New.
type Server struct {
	cfg     Config
	handler http.Handler
	health  *grpchealth.StaticChecker
}

// New checks the configuration and builds the server. It fails when a method of the service declares no roles.
func New(cfg Config) (*Server, error) {
	if cfg.Provider == nil {
		return nil, errors.New("bridge rpc: Config.Provider is required")
	}
	if cfg.Identify == nil {
		cfg.Identify = identifyLoopback
		if cfg.Doors != nil {
			cfg.Identify = identifyCertificate(cfg.Doors)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Limits = cfg.Limits.withDefaults()
	roles, err := rolesOf(bridgev1.File_comity_bridge_v1_bridge_proto.Services().ByName("BridgeService"))
	if err != nil {
		return nil, err
	}
	telemetry, err := otelconnect.NewInterceptor(otelconnect.WithTrustRemote()) // a payer's trace goes on here
	if err != nil {
		return nil, fmt.Errorf("bridge rpc: telemetry: %w", err)
	}
	s := &Server{cfg: cfg, health: grpchealth.NewStaticChecker(bridgev1connect.BridgeServiceName)}
	options := []connect.HandlerOption{
		connect.WithInterceptors(telemetry),
		connect.WithReadMaxBytes(int(cfg.Limits.BodyBytes)),
		connect.WithCompression("gzip", nil, nil), // none is accepted: a small request could burn much time
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			cfg.Log.Error("handler panicked", "procedure", spec.Procedure, "panic", p)
			return connect.NewError(connect.CodeInternal, errors.New("internal error"))
		}),
	}
	mux := http.NewServeMux()
	mux.Handle(bridgev1connect.NewBridgeServiceHandler(&handlers{provider: cfg.Provider, log: cfg.Log}, options...))
	mux.Handle(grpchealth.NewHandler(s.health, options...))
	s.handler = &gate{cfg: cfg, roles: roles, next: mux, errors: connect.NewErrorWriter(), calls: semaphore.NewWeighted(cfg.Limits.Calls)}
	return s, nil
}

// Handler returns the whole HTTP surface, for HTTP/1.1 and unencrypted HTTP/2.
func (s *Server) Handler() http.Handler { return s.handler }

// ErrNotLoopback is the refusal to listen where other machines can connect: without mutual TLS a caller's role cannot be told.
var ErrNotLoopback = errors.New("not_loopback: the address is not a loopback address")

// CheckListen refuses, for a server without TLS, a listen address that is not a loopback address. An empty host listens everywhere, so it is refused too.
func CheckListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", address, err)
	}
	if !doors.IsLoopback(host) {
		return fmt.Errorf("listen address %q: %w", address, ErrNotLoopback)
	}
	return nil
}

// Serve accepts connections until ctx ends, then answers health checks with "not serving" and waits up to grace for calls under way.
// It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, listener net.Listener, grace time.Duration) error {
	if s.cfg.Doors == nil {
		if err := CheckListen(listener.Addr().String()); err != nil {
			return err
		}
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := &http.Server{
		Handler: s.handler, Protocols: protocols, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 32 << 10,
		HTTP2:    &http.HTTP2Config{MaxConcurrentStreams: 256},
		ErrorLog: slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
	failed := make(chan error, 1)
	go func() { failed <- doors.Serve(server, listener, s.cfg.Doors) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.health.SetStatus(bridgev1connect.BridgeServiceName, grpchealth.StatusNotServing)
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	err := server.Shutdown(last)
	if err != nil {
		_ = server.Close()
		err = fmt.Errorf("shut down: %w", err)
	}
	<-failed
	return err
}

var allRoles = []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR, optionsv1.Role_ROLE_BANK, optionsv1.Role_ROLE_OVERSIGHT, optionsv1.Role_ROLE_WITNESS,
	optionsv1.Role_ROLE_PEER, optionsv1.Role_ROLE_REGISTRAR, optionsv1.Role_ROLE_PROVIDER, optionsv1.Role_ROLE_PUBLIC}

func identifyLoopback(r *http.Request) ([]optionsv1.Role, error) {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil || !doors.IsLoopback(host) {
		return nil, fmt.Errorf("caller %s is not on this machine", r.RemoteAddr)
	}
	return allRoles, nil
}

// roleOf is the role of a certificate as methods declare it.
var roleOf = map[doors.Role]optionsv1.Role{
	doors.Operator: optionsv1.Role_ROLE_OPERATOR, doors.Bank: optionsv1.Role_ROLE_BANK, doors.Oversight: optionsv1.Role_ROLE_OVERSIGHT,
	doors.Witness: optionsv1.Role_ROLE_WITNESS, doors.Peer: optionsv1.Role_ROLE_PEER, doors.Registrar: optionsv1.Role_ROLE_REGISTRAR,
	doors.Provider: optionsv1.Role_ROLE_PROVIDER, doors.Public: optionsv1.Role_ROLE_PUBLIC,
}

func identifyCertificate(d *doors.Server) func(*http.Request) ([]optionsv1.Role, error) {
	return func(r *http.Request) ([]optionsv1.Role, error) {
		id, err := d.Identify(r)
		if err != nil {
			return nil, err
		}
		return []optionsv1.Role{roleOf[id.Role]}, nil
	}
}

// rolesOf reads who may call each method. A method that names nobody keeps the server from starting.
func rolesOf(service protoreflect.ServiceDescriptor) (map[string][]optionsv1.Role, error) {
	out := make(map[string][]optionsv1.Role)
	methods := service.Methods()
	for i := range methods.Len() {
		m := methods.Get(i)
		options, _ := m.Options().(*descriptorpb.MethodOptions)
		roles, _ := proto.GetExtension(options, optionsv1.E_Roles).([]optionsv1.Role)
		if len(roles) == 0 || slices.Contains(roles, optionsv1.Role_ROLE_UNSPECIFIED) {
			return nil, fmt.Errorf("bridge rpc: method %s declares no roles", m.FullName())
		}
		if m.IsStreamingClient() || m.IsStreamingServer() {
			return nil, fmt.Errorf("bridge rpc: method %s streams, which the gate does not bound", m.FullName())
		}
		out["/"+string(service.FullName())+"/"+string(m.Name())] = roles
	}
	return out, nil
}

// gate stands before every handler: who calls and may they, is there room, is the body within its limit, did it arrive in time and whole.
type gate struct {
	cfg    Config
	roles  map[string][]optionsv1.Role
	next   http.Handler
	errors *connect.ErrorWriter
	calls  *semaphore.Weighted
}

func (g *gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(time.Now().Add(g.cfg.Limits.BodyTimeout + g.cfg.Limits.CallTimeout + g.cfg.Limits.SendTimeout))
	caller, err := g.cfg.Identify(r)
	if err != nil {
		if doors.CodeOf(err) == "" {
			err = refusef(RoleNotAllowed, "%v", err)
		}
		g.refuse(w, r, err)
		return
	}
	allowed, isRPC := g.roles[r.URL.Path]
	if !isRPC {
		allowed = allRoles // health, which bounds what it reads
	}
	if !slices.ContainsFunc(caller, func(role optionsv1.Role) bool {
		return role != optionsv1.Role_ROLE_UNSPECIFIED && slices.Contains(allowed, role)
	}) {
		g.refuse(w, r, refusef(RoleNotAllowed, "this caller may not call %s", r.URL.Path))
		return
	}
	if !g.calls.TryAcquire(1) {
		g.refuse(w, r, refusef(TryLater, "too many calls are under way"))
		return
	}
	defer g.calls.Release(1)
	body, err := g.readBody(control, r)
	if err != nil {
		g.refuse(w, r, err)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), g.cfg.Limits.CallTimeout)
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
