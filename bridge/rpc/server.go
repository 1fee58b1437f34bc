// Package rpc is the network edge of a liquidity provider, and the client that a payer speaks to it with.
//
// It carries the exact bytes of the bridge's messages, which package bridge makes and judges. It owns the limits on what a stranger can make
// a provider do (bodies, time, calls at once, all of it for each caller) and who may call; the rules are those of settlement/rpc, without streams.
package rpc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"time"

	"connectrpc.com/connect"
	"connectrpc.com/grpchealth"
	"connectrpc.com/otelconnect"

	"github.com/comity-ledger/comity/proto/doors"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/bridge/v1/bridgev1connect"
	"github.com/comity-ledger/comity/proto/schema"
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
	// CallTimeout bounds a call after its request was read, where that is shorter than what its method states in the schema. Default: what the method
	// states.
	CallTimeout time.Duration
	// Calls is how many calls may be under way at once. Default 64.
	Calls int64
	// CallerCalls is how many of them may be those of one caller with a certificate. Default 16.
	CallerCalls int64
	// CallerRequests and CallerBytes are how many requests, and bytes of them, such a caller may send in a second on average, and twice as many at
	// once. Defaults 50 and 1 MiB.
	CallerRequests, CallerBytes int
	// CallerQuotes is how many quotes such a caller may ask for in a minute on average, and as many at once: each keeps some of the provider's money back until
	// it expires. Default 120.
	CallerQuotes int
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
	if l.Calls == 0 {
		l.Calls = 64
	}
	if l.CallerCalls == 0 {
		l.CallerCalls = 16
	}
	if l.CallerRequests == 0 {
		l.CallerRequests = 50
	}
	if l.CallerBytes == 0 {
		l.CallerBytes = 1 << 20
	}
	if l.CallerQuotes == 0 {
		l.CallerQuotes = 120
	}
	return l
}

// Config is what a Server is made of.
type Config struct {
	// Provider answers the calls. Required.
	Provider Provider
	// Doors is the server's end of mutual TLS. Without it only loopback addresses are served, in the clear.
	Doors *doors.Server
	// Identify says who is calling. Default: by certificate where there are Doors; else every role on a loopback address, none elsewhere.
	Identify func(r *http.Request) (Caller, error)
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

// New checks the configuration and builds the server. It fails when a method of the service declares no roles or no deadline, and when a rule of
// the schema does not compile.
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
	service := bridgev1.File_comity_bridge_v1_bridge_proto.Services().ByName("BridgeService")
	methods, err := methodsOf(service)
	if err != nil {
		return nil, err
	}
	requests, err := schema.Compile(service)
	if err != nil {
		return nil, fmt.Errorf("bridge rpc: %w", err)
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
	h := &handlers{provider: cfg.Provider, log: cfg.Log}
	answer := func(ctx context.Context, err error) error { return h.fail(ctx, "check a request", err) }
	mux.Handle(bridgev1connect.NewBridgeServiceHandler(h, append(slices.Clip(options), connect.WithInterceptors(requests.Interceptor(answer)))...))
	mux.Handle(grpchealth.NewHandler(s.health, options...))
	s.handler = newGate(cfg, methods, mux)
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
