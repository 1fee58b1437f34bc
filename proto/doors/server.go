package doors

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"sync"
	"time"
)

// ServerConfig says what a server shows and whom it lets in.
type ServerConfig struct {
	// Cert and Key are the server's own certificate and key, as PEM files.
	Cert, Key string
	// ClientCAs are PEM files with the certificates of the authorities that sign callers' certificates.
	ClientCAs []string
	// Ledgers are those whose certificates count here.
	Ledgers []Ledger
	// Log receives what happened to the files; nil discards it.
	Log *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Server is the server's end of mutual TLS: version 1.3 alone, a verified certificate from every caller, and no resumed sessions, so that
// every connection is judged by the files of the day. It is safe for concurrent use.
type Server struct {
	cfg   ServerConfig
	files *reloaded[serverFiles]

	mu    sync.Mutex // guards known
	known map[[32]byte]caller
}

type serverFiles struct {
	pair    *tls.Certificate
	callers *x509.CertPool
}

// caller is a certificate that was verified against the authorities of a generation.
type caller struct {
	generation uint64
	id         Identity
}

// maxKnown bounds the certificates remembered as verified.
const maxKnown = 4096

// NewServer reads the files.
func NewServer(cfg ServerConfig) (*Server, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.ClientCAs) == 0 || cfg.Cert == "" || cfg.Key == "" {
		return nil, refuse(FilesInvalid, "a server needs a certificate, its key, and the authorities of its callers")
	}
	s := &Server{cfg: cfg, known: map[[32]byte]caller{}}
	s.files = &reloaded[serverFiles]{
		paths: append([]string{cfg.Cert, cfg.Key}, cfg.ClientCAs...), log: cfg.Log, now: cfg.Now,
		load: func() (f serverFiles, err error) {
			if f.pair, err = readPair(cfg.Cert, cfg.Key); err != nil {
				return f, err
			}
			if !slices.Contains(f.pair.Leaf.ExtKeyUsage, x509.ExtKeyUsageServerAuth) {
				return f, refuse(CertificateInvalid, "%s is not for a server: issue one with --dns or --ip", cfg.Cert)
			}
			f.callers, err = readAuthorities(cfg.ClientCAs)
			return f, err
		},
	}
	return s, s.files.open()
}

// protocols are offered in the handshake.
var protocols = []string{"h2", "http/1.1"}

// TLS gives the configuration of a listener.
func (s *Server) TLS() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS13,
		NextProtos: protocols,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			f, _ := s.files.get()
			return &tls.Config{
				MinVersion: tls.VersionTLS13, NextProtos: protocols, Certificates: []tls.Certificate{*f.pair}, ClientAuth: tls.RequireAndVerifyClientCert,
				ClientCAs: f.callers, SessionTicketsDisabled: true, Time: s.cfg.Now,
			}, nil
		},
	}
}

// Identify says who made a request. It judges the certificate again, by the time and the authorities of now: a connection may live for long.
func (s *Server) Identify(r *http.Request) (Identity, error) {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return Identity{}, refuse(CertificateRequired, "the caller shows no certificate")
	}
	leaf, now := r.TLS.PeerCertificates[0], s.cfg.Now()
	if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
		return Identity{}, refuse(CertificateExpired, "the certificate is good from %s to %s", stamp(leaf.NotBefore), stamp(leaf.NotAfter))
	}
	f, generation := s.files.get()
	print := sha256.Sum256(leaf.Raw)
	s.mu.Lock()
	c, ok := s.known[print]
	s.mu.Unlock()
	if ok && c.generation == generation {
		return c.id, nil
	}
	id, err := verify(leaf, x509.VerifyOptions{Roots: f.callers, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return Identity{}, err
	}
	if !slices.Contains(s.cfg.Ledgers, id.Ledger) {
		return Identity{}, refuse(CertificateOtherLedger, "%s belongs to ledger %s", id, id.Ledger)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.known) >= maxKnown {
		clear(s.known)
	}
	s.known[print] = caller{generation, id}
	return id, nil
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// Serve serves on a listener as http.Server does: over TLS, or in the clear when doors is nil, which is for loopback listeners.
func Serve(server *http.Server, listener net.Listener, doors *Server) error {
	if doors == nil {
		return server.Serve(listener)
	}
	if server.Protocols != nil {
		p := *server.Protocols
		p.SetHTTP2(true)
		p.SetUnencryptedHTTP2(false)
		server.Protocols = &p
	}
	server.TLSConfig = doors.TLS()
	return server.ServeTLS(lingering{listener}, "", "")
}

// lingering closes connections so that what was written last arrives: when a close finds bytes unread the kernel resets the connection, and
// a caller that was refused in the handshake would read "connection reset" in place of why.
type lingering struct{ net.Listener }

// Accept implements net.Listener.
func (l lingering) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if tcp, ok := conn.(*net.TCPConn); ok {
		return &lingerer{TCPConn: tcp}, err
	}
	return conn, err
}

type lingerer struct {
	*net.TCPConn
	once sync.Once
}

const (
	lingerTime  = 500 * time.Millisecond
	lingerBytes = 64 << 10
)

// Close implements net.Conn. The other end has half a second to close too.
func (c *lingerer) Close() (err error) {
	c.once.Do(func() {
		if c.CloseWrite() != nil {
			err = c.TCPConn.Close()
			return
		}
		_ = c.SetReadDeadline(time.Now().Add(lingerTime))
		go func() {
			_, _ = io.CopyN(io.Discard, c.TCPConn, lingerBytes)
			_ = c.TCPConn.Close()
		}()
	})
	return err
}
