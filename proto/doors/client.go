package doors

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// ClientConfig says by what a client is known and whom it believes. A client that speaks to several ledgers has a certificate of each; the
// server tells in the handshake by whose authority it wants one.
type ClientConfig struct {
	// Certs and Keys are the client's certificates and their keys, as PEM files in the same order.
	Certs, Keys []string
	// CAs are PEM files with the certificates of the authorities that sign servers' certificates.
	CAs []string
	// Log receives what happened to the files; nil discards it.
	Log *slog.Logger
	// Now is the wall clock; nil means time.Now.
	Now func() time.Time
}

// Client is the client's end of mutual TLS. It is safe for concurrent use. A nil *Client speaks to loopback addresses in the clear alone.
type Client struct {
	files *reloaded[clientFiles]
	now   func() time.Time
}

type clientFiles struct {
	pairs   []*tls.Certificate
	servers *x509.CertPool
}

// NewClient reads the files.
func NewClient(cfg ClientConfig) (*Client, error) {
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if len(cfg.CAs) == 0 {
		return nil, refuse(AuthorityMissing, "no authority is given by which servers are known")
	}
	if len(cfg.Certs) != len(cfg.Keys) {
		return nil, refuse(FilesInvalid, "%d certificates with %d keys", len(cfg.Certs), len(cfg.Keys))
	}
	paths := append(append(append([]string{}, cfg.Certs...), cfg.Keys...), cfg.CAs...)
	c := &Client{now: cfg.Now, files: &reloaded[clientFiles]{paths: paths, log: cfg.Log, now: cfg.Now, load: func() (f clientFiles, err error) {
		for i := range cfg.Certs {
			pair, err := readPair(cfg.Certs[i], cfg.Keys[i])
			if err != nil {
				return f, err
			}
			f.pairs = append(f.pairs, pair)
		}
		f.servers, err = readAuthorities(cfg.CAs)
		return f, err
	}}}
	return c, c.files.open()
}

// config is for one connection to a host, with the files of now.
func (c *Client) config(host string) *tls.Config {
	f, _ := c.files.get()
	return &tls.Config{
		MinVersion: tls.VersionTLS13, NextProtos: protocols, ServerName: host, RootCAs: f.servers, Time: c.now,
		GetClientCertificate: func(asked *tls.CertificateRequestInfo) (*tls.Certificate, error) {
			for _, pair := range f.pairs {
				if asked.SupportsCertificate(pair) == nil {
					return pair, nil
				}
			}
			return new(tls.Certificate), nil // the server says that it wants one
		},
		VerifyConnection: func(state tls.ConnectionState) error {
			_, err := verify(state.PeerCertificates[0], x509.VerifyOptions{Roots: f.servers, CurrentTime: c.now(), DNSName: host})
			return err
		},
	}
}

// CheckURL checks the address of a server and returns it without a trailing slash. Plain http is for this machine.
func CheckURL(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", fmt.Errorf("address %q: want https://HOST:PORT or http://127.0.0.1:PORT", text)
	}
	if u.Scheme == "http" && !IsLoopback(u.Hostname()) {
		return "", refuse(NotLoopback, "address %q is not a loopback address: without TLS only loopback is accepted", text)
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// HTTP makes an HTTP client for a server at an address: https with certificates, or http on this machine. The dialer checks again where the
// address leads, so that a name cannot lead elsewhere later. There is no proxy, no redirect and no compression.
func HTTP(address string, c *Client) (*http.Client, string, error) {
	base, err := CheckURL(address)
	if err != nil {
		return nil, "", err
	}
	if strings.HasPrefix(base, "https:") && c == nil {
		return nil, "", refuse(AuthorityMissing, "%s wants TLS: give --tls-ca, --tls-cert and --tls-key", base)
	}
	return &http.Client{Transport: Transport(c), CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}, base, nil
}

// Transport is what HTTP's client sends with, for callers that speak to several servers over one.
func Transport(c *Client) http.RoundTripper {
	dialer := &net.Dialer{Timeout: 5 * time.Second}
	dialTLS := func(ctx context.Context, network, addr string) (net.Conn, error) {
		if c == nil {
			return nil, refuse(AuthorityMissing, "%s wants TLS: give --tls-ca, --tls-cert and --tls-key", addr)
		}
		host, _, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		raw, err := dialer.DialContext(ctx, network, addr)
		if err != nil {
			return nil, err
		}
		ctx, cancel := context.WithTimeout(ctx, handshakeTimeout)
		defer cancel()
		conn := tls.Client(raw, c.config(host))
		if err := conn.HandshakeContext(ctx); err != nil {
			raw.Close()
			return nil, alert(fmt.Errorf("handshake with %s: %w", addr, explain(err)))
		}
		return conn, nil
	}
	t := &http.Transport{
		DialContext: func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dialer.DialContext(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			if tcp, ok := conn.RemoteAddr().(*net.TCPAddr); !ok || !tcp.IP.IsLoopback() {
				conn.Close()
				return nil, refuse(NotLoopback, "%s leads to %s", addr, conn.RemoteAddr())
			}
			return conn, nil
		},
		DialTLSContext:      dialTLS,
		MaxIdleConnsPerHost: 8, IdleConnTimeout: time.Minute, DisableCompression: true, ForceAttemptHTTP2: true,
		ResponseHeaderTimeout: 3 * time.Minute, // above the longest call: a provider's, which proves and logs a hold
	}
	return named{t, dialTLS}
}

const handshakeTimeout = 10 * time.Second

// named gives what a server says in a TLS alert its name. In TLS 1.3 the alert comes after the client's handshake is over, with the first
// answer.
type named struct {
	*http.Transport
	dial func(ctx context.Context, network, addr string) (net.Conn, error)
}

// RoundTrip implements http.RoundTripper.
func (n named) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := n.Transport.RoundTrip(r)
	if err = alert(err); err != nil && r.URL.Scheme == "https" && strings.Contains(err.Error(), lostCause) {
		err = n.why(r, err)
	}
	return resp, err
}

// lostCause is what HTTP/2 says of a connection that ended between its handshake and its first request; it does not keep the alert.
const lostCause = "http2: client conn could not be established"

// why connects once more and listens, to learn what the server has against this caller.
func (n named) why(r *http.Request, lost error) error {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	port := r.URL.Port()
	if port == "" {
		port = "443"
	}
	conn, err := n.dial(ctx, "tcp", net.JoinHostPort(r.URL.Hostname(), port))
	if err != nil {
		return err
	}
	defer conn.Close()
	deadline, _ := ctx.Deadline()
	_ = conn.SetReadDeadline(deadline)
	if _, err := conn.Read(make([]byte, 1)); CodeOf(alert(err)) != "" {
		return alert(err)
	}
	return lost
}

// alerts are the texts of crypto/tls for what a server may say of a certificate; the package has no values for them.
var alerts = []struct {
	text string
	code Code
}{
	{"tls: certificate required", CertificateRequired},
	{"tls: expired certificate", CertificateExpired},
	{"tls: unknown certificate authority", CertificateUnknownAuthority},
	{"tls: bad certificate", CertificateInvalid},
}

func alert(err error) error {
	if err == nil || CodeOf(err) != "" {
		return err
	}
	if _, said, ok := strings.Cut(err.Error(), "remote error: "); ok {
		for _, a := range alerts {
			if strings.HasPrefix(said, a.text) {
				return refuse(a.code, "the server refuses this caller's certificate: %s", said)
			}
		}
	}
	return err
}
