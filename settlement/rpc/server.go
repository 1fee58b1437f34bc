// Package rpc is the network edge of a settlement node: Connect, gRPC, gRPC-Web and JSON on one port, and the log as plain
// files over HTTP (C2SP tlog-tiles) for clients that are independent of this project.
//
// It owns the translation between messages and domain types, the limits on what a stranger can make the node do (bodies,
// time, streams), and who may call what. It decides nothing about the ledger: every rule and every refusal of an entry comes
// from settlement through the Ledger interface. Bytes that are hashed or signed pass through unchanged.
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
	"connectrpc.com/grpcreflect"
	"connectrpc.com/otelconnect"

	"github.com/comity-ledger/comity/proto/doors"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/proto/schema"
)

// Limits bound what callers can make the server hold or wait for. The zero value of a field means its default.
type Limits struct {
	// BodyBytes is how many bytes of request bodies may be in memory at once, over all callers. Past it callers are
	// answered try_later. Default 256 MiB.
	BodyBytes int64
	// BodyTimeout is how long a caller may take to send its request. Default 10 s.
	BodyTimeout time.Duration
	// SendTimeout is how long one write to a caller may block, so that a reader that stops reading does not hold a block
	// in memory for ever. Default 30 s.
	SendTimeout time.Duration
	// CallTimeout and StreamTimeout bound a call after its request was read, and a stream, where that is shorter than what its method states in the
	// schema. Default: what the method states.
	CallTimeout, StreamTimeout time.Duration
	// Streams is how many StreamBlocks calls may be open at once. Default 256.
	Streams int64
	// CallerRequests and CallerBytes are how many requests, and bytes of them, a caller with a certificate may send in a second on average, and twice
	// as many at once. Past it, it is answered try_later. Defaults 1000 and 64 MiB.
	CallerRequests, CallerBytes int
	// CallerCalls and CallerStreams are how many calls and how many StreamBlocks of one such caller may be under way at once. Past it, it is answered
	// try_later. Defaults 1024 and 16.
	CallerCalls, CallerStreams int64
}

func (l Limits) withDefaults() Limits {
	if l.BodyBytes == 0 {
		l.BodyBytes = 256 << 20
	}
	if l.BodyTimeout == 0 {
		l.BodyTimeout = 10 * time.Second
	}
	if l.SendTimeout == 0 {
		l.SendTimeout = 30 * time.Second
	}
	if l.Streams == 0 {
		l.Streams = 256
	}
	if l.CallerRequests == 0 {
		l.CallerRequests = 1000
	}
	if l.CallerBytes == 0 {
		l.CallerBytes = 64 << 20
	}
	if l.CallerCalls == 0 {
		l.CallerCalls = 1024
	}
	if l.CallerStreams == 0 {
		l.CallerStreams = 16
	}
	return l
}

// Config is what a Server is made of.
type Config struct {
	// Ledger answers the calls. Required.
	Ledger Ledger
	// Version is the node's software version, shown by GetStatus.
	Version string
	// Doors is the server's end of mutual TLS. Without it only loopback addresses are served, in the clear.
	Doors *doors.Server
	// Identify says who is calling. Default: by certificate where there are Doors, IdentifyLoopback where there are none.
	Identify func(r *http.Request) (Caller, error)
	// Limits bounds callers.
	Limits Limits
	// Log receives what is wrong with the server itself, never with a caller. Default: discard.
	Log *slog.Logger
}

// Server serves one ledger. Make it with New.
type Server struct {
	cfg     Config
	handler http.Handler
	health  *grpchealth.StaticChecker
	stop    context.Context // done when Serve is told to end: open streams end with it
	end     context.CancelFunc
}

// New checks the configuration and builds the server. It fails when a method of the service declares no roles, and when a rule of the schema does
// not compile.
func New(cfg Config) (*Server, error) {
	if cfg.Ledger == nil {
		return nil, errors.New("rpc: Config.Ledger is required")
	}
	if cfg.Identify == nil {
		cfg.Identify = IdentifyLoopback
		if cfg.Doors != nil {
			cfg.Identify = IdentifyCertificate(cfg.Doors)
		}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	cfg.Limits = cfg.Limits.withDefaults()

	service := ledgerv1.File_comity_ledger_v1_ledger_proto.Services().ByName("LedgerService")
	rules, err := proceduresOf(service)
	if err != nil {
		return nil, err
	}
	requests, err := schema.Compile(service)
	if err != nil {
		return nil, fmt.Errorf("rpc: %w", err)
	}
	// A caller's trace goes on here, so that a payment is one trace from wallet to receipt. Whether it is kept is for the process to say.
	telemetry, err := otelconnect.NewInterceptor(otelconnect.WithTrustRemote())
	if err != nil {
		return nil, fmt.Errorf("rpc: telemetry: %w", err)
	}
	s := &Server{cfg: cfg, health: grpchealth.NewStaticChecker(ledgerv1connect.LedgerServiceName)}
	s.stop, s.end = context.WithCancel(context.Background())

	options := []connect.HandlerOption{
		connect.WithInterceptors(telemetry),
		connect.WithReadMaxBytes(maxBatchBytes),
		// A request of 58 kB of gzip can burn 45 ms: no compression is accepted, and none is offered because proofs and
		// ciphertexts do not compress.
		connect.WithCompression("gzip", nil, nil),
		connect.WithRecover(func(_ context.Context, spec connect.Spec, _ http.Header, p any) error {
			cfg.Log.Error("handler panicked", "procedure", spec.Procedure, "panic", p)
			return connect.NewError(connect.CodeInternal, errors.New("internal error"))
		}),
	}
	mux := http.NewServeMux()
	h := newHandlers(s, requests)
	answer := func(ctx context.Context, err error) error { return h.fail(ctx, "check a request", err) }
	mux.Handle(ledgerv1connect.NewLedgerServiceHandler(h, append(slices.Clip(options), connect.WithInterceptors(requests.Interceptor(answer)))...))
	mux.Handle(grpchealth.NewHandler(s.health, options...))
	reflector := grpcreflect.NewStaticReflector(ledgerv1connect.LedgerServiceName, grpchealth.HealthV1ServiceName)
	mux.Handle(grpcreflect.NewHandlerV1(reflector, options...))
	mux.Handle(grpcreflect.NewHandlerV1Alpha(reflector, options...))
	(&tiles{ledger: cfg.Ledger, log: cfg.Log}).register(mux)

	s.handler = newGate(s, rules, mux)
	return s, nil
}

// Handler returns the whole HTTP surface. It expects HTTP/1.1 and unencrypted HTTP/2, as HTTPServer configures.
func (s *Server) Handler() http.Handler { return s.handler }

// HTTPServer returns an http.Server with this server's handler and limits.
func (s *Server) HTTPServer() *http.Server {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return &http.Server{
		Handler:           s.handler,
		Protocols:         protocols,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    32 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 256},
		ErrorLog:          slog.NewLogLogger(s.cfg.Log.Handler(), slog.LevelDebug),
	}
}

// ErrNotLoopback is the refusal to listen where other machines can connect without mutual TLS: a caller's role could not be told.
var ErrNotLoopback = errors.New("not_loopback: the address is not a loopback address")

// CheckListen refuses, for a server without TLS, a listen address that is not a loopback address. An empty host listens everywhere, so it is refused too.
func CheckListen(address string) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("listen address %q: %w", address, err)
	}
	if !isLoopback(host) {
		return fmt.Errorf("listen address %q: %w", address, ErrNotLoopback)
	}
	return nil
}

// Serve accepts connections until ctx ends, then shuts down in order: it answers health checks with "not serving", ends the open
// streams, and waits up to ten seconds for calls under way. It returns nil after an orderly end.
func (s *Server) Serve(ctx context.Context, listener net.Listener) error {
	if s.cfg.Doors == nil {
		if err := CheckListen(listener.Addr().String()); err != nil {
			return err
		}
	}
	server := s.HTTPServer()
	failed := make(chan error, 1)
	go func() { failed <- doors.Serve(server, listener, s.cfg.Doors) }()
	select {
	case err := <-failed:
		s.end()
		return fmt.Errorf("serve: %w", err)
	case <-ctx.Done():
	}
	s.Drain()
	grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	err := server.Shutdown(grace)
	if err != nil {
		_ = server.Close()
		err = fmt.Errorf("shut down: %w", err)
	}
	<-failed
	return err
}

// Drain marks the server as not serving and ends its open streams; calls under way go on.
func (s *Server) Drain() {
	s.health.SetStatus(ledgerv1connect.LedgerServiceName, grpchealth.StatusNotServing)
	s.end()
}
