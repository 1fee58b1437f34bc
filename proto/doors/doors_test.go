package doors_test

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/authority"
)

var loopback = []net.IP{net.IPv4(127, 0, 0, 1)}

func ledger(n byte) doors.Ledger { return doors.Ledger{n, 1: 0xab, 31: n} }

func newAuthority(t *testing.T, l doors.Ledger) *authority.Authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(l, key, time.Now(), authority.AuthorityLifetime)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func write(t *testing.T, path string, data []byte) string {
	t.Helper()
	// As `pki renew` does: a rename, so that a reader sees the old or the new file.
	if err := os.WriteFile(path+".new", data, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	return path
}

// pair issues a certificate and writes it and its key into a new folder.
func pair(t *testing.T, a *authority.Authority, r authority.Request, now time.Time) (cert, key string) {
	t.Helper()
	return issue(t, a, r, now, t.TempDir())
}

func issue(t *testing.T, a *authority.Authority, r authority.Request, now time.Time, dir string) (cert, key string) {
	t.Helper()
	public, private, err := authority.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r.Key = public
	if r.Lifetime == 0 {
		r.Lifetime = time.Hour
	}
	text, err := a.Issue(r, now)
	if err != nil {
		t.Fatal(err)
	}
	return write(t, filepath.Join(dir, "cert.pem"), text), write(t, filepath.Join(dir, "key.pem"), private)
}

func caFile(t *testing.T, as ...*authority.Authority) string {
	t.Helper()
	var text []byte
	for _, a := range as {
		text = append(text, a.Certificate()...)
	}
	return write(t, filepath.Join(t.TempDir(), "ca.pem"), text)
}

// clock is a wall clock that tests move.
type clock struct {
	mu    sync.Mutex // guards ahead
	ahead time.Duration
}

func (c *clock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *clock) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead += d
}

// serve runs a server on loopback that answers who called, or why not.
func serve(t *testing.T, cfg doors.ServerConfig) (address string) {
	t.Helper()
	s, err := doors.NewServer(cfg)
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{ReadHeaderTimeout: 5 * time.Second, ErrorLog: log.New(io.Discard, "", 0), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		id, err := s.Identify(r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		fmt.Fprintf(w, "%s over %s", id, r.Proto)
	})}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() { defer close(done); _ = doors.Serve(server, listener, s) }()
	t.Cleanup(func() { server.Close(); <-done })
	return "https://" + listener.Addr().String()
}

func get(t *testing.T, address string, c *doors.Client) (string, error) {
	t.Helper()
	h, base, err := doors.HTTP(address, c)
	if err != nil {
		return "", err
	}
	defer h.CloseIdleConnections()
	return ask(h, base)
}

func ask(h *http.Client, base string) (string, error) {
	resp, err := h.Get(base)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	return strings.TrimSpace(string(text)), err
}

func client(t *testing.T, cfg doors.ClientConfig) *doors.Client {
	t.Helper()
	c, err := doors.NewClient(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func bank(name string) authority.Request { return authority.Request{Role: doors.Bank, Name: name} }

var node = authority.Request{Role: doors.Operator, Name: "node", IPs: loopback}

func TestCallerIsKnownByItsCertificate(t *testing.T) {
	a := newAuthority(t, ledger(1))
	serverCert, serverKey := pair(t, a, node, time.Now())
	ca := caFile(t, a)
	address := serve(t, doors.ServerConfig{Cert: serverCert, Key: serverKey, ClientCAs: []string{ca}, Ledgers: []doors.Ledger{ledger(1)}})
	for _, role := range doors.Roles {
		cert, key := pair(t, a, authority.Request{Role: role, Name: "first"}, time.Now())
		got, err := get(t, address, client(t, doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{ca}}))
		if err != nil || got != string(role)+"/first over HTTP/2.0" {
			t.Fatalf("%s: %q, %v", role, got, err)
		}
	}
}

// TestWhoIsNotLetIn: each is refused, and the caller learns why by name, whether TLS or the server's own check says it. It is repeated,
// because a handshake that is refused races with the caller's first bytes.
func TestWhoIsNotLetIn(t *testing.T) {
	mine, other, sameKeyless := newAuthority(t, ledger(1)), newAuthority(t, ledger(2)), newAuthority(t, ledger(1))
	serverCert, serverKey := pair(t, mine, node, time.Now())
	ca := caFile(t, mine, other) // the other ledger's authority is trusted to speak for its own ledger
	address := serve(t, doors.ServerConfig{Cert: serverCert, Key: serverKey, ClientCAs: []string{ca}, Ledgers: []doors.Ledger{ledger(1)}})
	tests := map[string]struct {
		by  *authority.Authority
		at  time.Time
		bad doors.Code
	}{
		"no certificate":           {nil, time.Time{}, doors.CertificateRequired},
		"expired":                  {mine, time.Now().Add(-2 * time.Hour), doors.CertificateExpired},
		"not yet good":             {mine, time.Now().Add(time.Hour), doors.CertificateExpired},
		"another ledger's":         {other, time.Now(), doors.CertificateOtherLedger},
		"an authority not trusted": {sameKeyless, time.Now(), doors.CertificateUnknownAuthority},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			for range 40 {
				cfg := doors.ClientConfig{CAs: []string{ca}}
				if test.by != nil {
					cert, key := pair(t, test.by, bank("first"), test.at)
					cfg.Certs, cfg.Keys = []string{cert}, []string{key}
				}
				got, err := get(t, address, client(t, cfg))
				if doors.CodeOf(err) != test.bad && !strings.HasPrefix(got, string(test.bad)+": ") {
					t.Fatalf("answer %q, error %v, want %s", got, err, test.bad)
				}
			}
		})
	}
}

// TestAuthorityOfOneLedgerMakesNoCallersOfAnother: a certificate that states a ledger whose authority did not sign it.
func TestAuthorityOfOneLedgerMakesNoCallersOfAnother(t *testing.T) {
	mine, other := newAuthority(t, ledger(1)), newAuthority(t, ledger(2))
	serverCert, serverKey := pair(t, mine, node, time.Now())
	ca := caFile(t, mine, other)
	address := serve(t, doors.ServerConfig{Cert: serverCert, Key: serverKey, ClientCAs: []string{ca}, Ledgers: []doors.Ledger{ledger(1), ledger(2)}})
	forger := forge(t, ledger(2), doors.Identity{Ledger: ledger(1), Role: doors.Operator, Name: "thief"}.URI())
	both := write(t, filepath.Join(t.TempDir(), "ca.pem"), append(mine.Certificate(), forger.ca...))
	forged := serve(t, doors.ServerConfig{Cert: serverCert, Key: serverKey, ClientCAs: []string{both}, Ledgers: []doors.Ledger{ledger(1), ledger(2)}})
	got, err := get(t, forged, client(t, doors.ClientConfig{Certs: []string{forger.cert}, Keys: []string{forger.key}, CAs: []string{ca}}))
	if err != nil || !strings.HasPrefix(got, string(doors.CertificateOtherLedger)) {
		t.Fatalf("answer %q, error %v", got, err)
	}
	cert, key := pair(t, other, bank("abroad"), time.Now())
	if got, err := get(t, address, client(t, doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{ca}})); err != nil || got != "bank/abroad over HTTP/2.0" {
		t.Fatalf("a ledger that is served: %q, %v", got, err)
	}
}

func TestCertificateNamesOneIdentity(t *testing.T) {
	good := doors.Identity{Ledger: ledger(1), Role: doors.Bank, Name: "first"}
	mail, _ := url.Parse("spiffe://elsewhere/x")
	bad := func(text string) *url.URL {
		u, err := url.Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	hash := ledger(1).String()
	if id, err := doors.IdentityOf(&x509.Certificate{URIs: []*url.URL{mail, good.URI()}}); err != nil || id != good {
		t.Fatalf("%v, %v", id, err)
	}
	for _, uris := range [][]*url.URL{
		nil, {mail}, {good.URI(), good.URI()}, {doors.AuthorityURI(ledger(1))},
		{bad("comity://ledger/" + hash + "/role/king/first")}, {bad("comity://ledger/" + hash + "/role/auditor/first")},
		{bad("comity://ledger/" + hash + "/role/bank/")}, {bad("comity://ledger/" + hash + "/role/bank/First")}, {bad("comity://ledger/" + hash + "/role/bank/a/b")},
		{bad("comity://ledger/" + strings.ToUpper(hash) + "/role/bank/first")}, {bad("comity://ledger/" + hash[:62] + "/role/bank/first")},
		{bad("comity://ledger/" + hash + "00/role/bank/first")}, {bad("comity://other/" + hash + "/role/bank/first")},
		{bad("comity://me@ledger/" + hash + "/role/bank/first")}, {bad("comity://ledger/" + hash + "/role/bank/first?x=1")},
		{bad("comity://ledger/" + hash + "/role/bank%2Ffirst/x")},
	} {
		if id, err := doors.IdentityOf(&x509.Certificate{URIs: uris}); doors.CodeOf(err) != doors.CertificateInvalid {
			t.Errorf("%v reads as %v, %v", uris, id, err)
		}
	}
	if role, err := doors.ParseRole("auditor"); err != nil || role != doors.Oversight {
		t.Errorf("auditor: %v, %v", role, err)
	}
}

// TestFilesAreRenewedWithoutRestart: the server takes up a renewed certificate, keeps the old one when the new cannot be used, and turns away
// connections that stand when their authority is no longer trusted.
func TestFilesAreRenewedWithoutRestart(t *testing.T) {
	old, next := newAuthority(t, ledger(1)), newAuthority(t, ledger(1))
	dir, c := t.TempDir(), new(clock)
	serverCert, serverKey := issue(t, old, node, time.Now(), dir)
	callers := caFile(t, old)
	both := caFile(t, old, next)
	var said strings.Builder
	address := serve(t, doors.ServerConfig{Cert: serverCert, Key: serverKey, ClientCAs: []string{callers}, Ledgers: []doors.Ledger{ledger(1)}, Now: c.now, Log: logTo(&said)})
	cert, key := pair(t, old, bank("first"), time.Now())
	cfg := doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{both}}
	standing, base, err := doors.HTTP(address, client(t, cfg))
	if err != nil {
		t.Fatal(err)
	}
	defer standing.CloseIdleConnections()
	want := func(what, prefix string, bad doors.Code, h *http.Client) {
		t.Helper()
		if got, err := ask(h, base); !strings.HasPrefix(got, prefix) || doors.CodeOf(err) != bad {
			t.Fatalf("%s: answer %q, error %v", what, got, err)
		}
	}
	want("before", "bank/first", "", standing)
	first := shown(t, address)

	// Renewed: a new connection sees the new certificate.
	issue(t, old, node, time.Now(), dir)
	c.pass(2 * time.Second)
	if second := shown(t, address); second == first {
		t.Fatal("the renewed certificate is not shown")
	} else {
		first = second
	}
	// Damaged: the old one stays, and the log says so.
	write(t, serverCert, []byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	c.pass(2 * time.Second)
	if shown(t, address) != first || !strings.Contains(said.String(), "cannot be used") {
		t.Fatalf("a damaged certificate is in use, or nobody was told: %s", said.String())
	}
	write(t, callers, []byte("nothing"))
	c.pass(2 * time.Second)
	want("with damaged files", "bank/first", "", standing)

	// Another authority from now on: the connection that stands is refused too.
	issue(t, next, node, time.Now(), dir)
	write(t, callers, next.Certificate())
	c.pass(2 * time.Second)
	want("after the authority changed", string(doors.CertificateUnknownAuthority), "", standing)
	fresh, _, _ := doors.HTTP(address, client(t, cfg))
	defer fresh.CloseIdleConnections()
	want("a new connection", "", doors.CertificateUnknownAuthority, fresh)
	// The caller's files are renewed in place.
	newCert, newKey := pair(t, next, bank("first"), time.Now())
	copyFile(t, newKey, key)
	copyFile(t, newCert, cert)
	if got, err := get(t, address, client(t, cfg)); err != nil || !strings.HasPrefix(got, "bank/first") {
		t.Fatalf("with a new certificate: %q, %v", got, err)
	}
}

// TestExpiryEndsAStandingConnection: a certificate that expires while its connection stands.
func TestExpiryEndsAStandingConnection(t *testing.T) {
	a, c := newAuthority(t, ledger(1)), new(clock)
	serverCert, serverKey := pair(t, a, node, time.Now())
	ca := caFile(t, a)
	address := serve(t, doors.ServerConfig{Cert: serverCert, Key: serverKey, ClientCAs: []string{ca}, Ledgers: []doors.Ledger{ledger(1)}, Now: c.now})
	cert, key := pair(t, a, authority.Request{Role: doors.Bank, Name: "first", Lifetime: time.Minute}, time.Now())
	h, base, err := doors.HTTP(address, client(t, doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{ca}}))
	if err != nil {
		t.Fatal(err)
	}
	defer h.CloseIdleConnections()
	if got, err := ask(h, base); err != nil || !strings.HasPrefix(got, "bank/first") {
		t.Fatalf("%q, %v", got, err)
	}
	c.pass(2 * time.Minute)
	if got, err := ask(h, base); err != nil || !strings.HasPrefix(got, string(doors.CertificateExpired)) {
		t.Fatalf("%q, %v", got, err)
	}
}

func TestServersAreChecked(t *testing.T) {
	mine, other := newAuthority(t, ledger(1)), newAuthority(t, ledger(2))
	ca := caFile(t, mine, other)
	serverOf := func(a *authority.Authority, ips []net.IP, names ...string) string {
		cert, key := pair(t, a, authority.Request{Role: doors.Operator, Name: "node", IPs: ips, DNSNames: names}, time.Now())
		return serve(t, doors.ServerConfig{Cert: cert, Key: key, ClientCAs: []string{ca}, Ledgers: []doors.Ledger{ledger(1), ledger(2)}})
	}
	cert, key := pair(t, mine, bank("first"), time.Now())
	trustOther := client(t, doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{caFile(t, other)}})
	trustMine := client(t, doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}, CAs: []string{caFile(t, mine)}})
	if _, err := get(t, serverOf(mine, loopback), trustOther); doors.CodeOf(err) != doors.CertificateUnknownAuthority {
		t.Errorf("a server of an authority that is not trusted: %v", err)
	}
	if _, err := get(t, serverOf(mine, nil, "elsewhere.example"), trustMine); doors.CodeOf(err) != doors.CertificateInvalid {
		t.Errorf("a server with another name: %v", err)
	}
	if got, err := get(t, strings.Replace(serverOf(mine, nil, "localhost"), "127.0.0.1", "localhost", 1), trustMine); err != nil || !strings.HasPrefix(got, "bank/first") {
		t.Errorf("a server by its host name: %q, %v", got, err)
	}
	// Two ledgers, two certificates: the client shows the one that the server wants.
	otherCert, otherKey := pair(t, other, authority.Request{Role: doors.Peer, Name: "relay"}, time.Now())
	two := client(t, doors.ClientConfig{Certs: []string{cert, otherCert}, Keys: []string{key, otherKey}, CAs: []string{ca}})
	onlyOther, onlyMine := pairServer(t, other), pairServer(t, mine)
	if got, err := get(t, onlyOther, two); err != nil || !strings.HasPrefix(got, "peer/relay") {
		t.Errorf("the other ledger: %q, %v", got, err)
	}
	if got, err := get(t, onlyMine, two); err != nil || !strings.HasPrefix(got, "bank/first") {
		t.Errorf("the own ledger: %q, %v", got, err)
	}
	// TLS 1.2 is not spoken.
	conn, err := tls.Dial("tcp", strings.TrimPrefix(onlyMine, "https://"), &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12})
	if err == nil {
		conn.Close()
		t.Error("TLS 1.2 is accepted")
	}
}

func pairServer(t *testing.T, a *authority.Authority) string {
	cert, key := pair(t, a, node, time.Now())
	return serve(t, doors.ServerConfig{Cert: cert, Key: key, ClientCAs: []string{caFile(t, a)}, Ledgers: []doors.Ledger{a.Ledger()}})
}

func TestAddressesAreJudgedBeforeAnythingIsSent(t *testing.T) {
	for address, want := range map[string]doors.Code{
		"http://192.0.2.1:7001": doors.NotLoopback, "http://ledger.example": doors.NotLoopback, "https://127.0.0.1:7001": doors.AuthorityMissing,
	} {
		if _, _, err := doors.HTTP(address, nil); doors.CodeOf(err) != want {
			t.Errorf("%s: %v, want %s", address, err, want)
		}
	}
	for _, address := range []string{"", "127.0.0.1:7001", "ftp://127.0.0.1", "http://", "https://user:pw@host", "http://127.0.0.1/?q=1"} {
		if _, _, err := doors.HTTP(address, nil); err == nil || doors.CodeOf(err) != "" {
			t.Errorf("%q: %v", address, err)
		}
	}
	plain := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "plain") }))
	defer plain.Close()
	if got, err := get(t, plain.URL, nil); err != nil || got != "plain" {
		t.Errorf("loopback in the clear: %q, %v", got, err)
	}
}

func TestFilesThatCannotBeUsed(t *testing.T) {
	a := newAuthority(t, ledger(1))
	cert, key := pair(t, a, node, time.Now())
	_, otherKey := pair(t, a, node, time.Now())
	bankCert, bankKey := pair(t, a, bank("first"), time.Now())
	ca, dir := caFile(t, a), t.TempDir()
	open := write(t, filepath.Join(dir, "open.pem"), mustRead(t, key))
	if err := os.Chmod(open, 0o644); err != nil {
		t.Fatal(err)
	}
	empty := write(t, filepath.Join(dir, "empty.pem"), nil)
	tests := map[string]struct {
		cert, key, ca string
		want          doors.Code
	}{
		"another key":                         {cert, otherKey, ca, doors.FilesInvalid},
		"a key that others read":              {cert, open, ca, doors.FilesInvalid},
		"no such file":                        {filepath.Join(dir, "none"), key, ca, doors.FilesInvalid},
		"an empty authority file":             {cert, key, empty, doors.FilesInvalid},
		"a caller's certificate as authority": {cert, key, bankCert, doors.CertificateInvalid},
		"a key as authority":                  {cert, key, key, doors.FilesInvalid},
		"a caller's as a server's":            {bankCert, bankKey, ca, doors.CertificateInvalid},
	}
	for name, f := range tests {
		_, err := doors.NewServer(doors.ServerConfig{Cert: f.cert, Key: f.key, ClientCAs: []string{f.ca}, Ledgers: []doors.Ledger{ledger(1)}})
		if doors.CodeOf(err) != f.want {
			t.Errorf("%s: %v, want %s", name, err, f.want)
		}
		if err != nil && strings.Contains(err.Error(), "PRIVATE") && name != "a key as authority" {
			t.Errorf("%s: the error quotes a file: %v", name, err)
		}
	}
	if _, err := doors.NewClient(doors.ClientConfig{Certs: []string{cert}, Keys: []string{key}}); doors.CodeOf(err) != doors.AuthorityMissing {
		t.Errorf("a client without authority: %v", err)
	}
	if _, err := doors.NewClient(doors.ClientConfig{Certs: []string{cert}, CAs: []string{ca}}); doors.CodeOf(err) != doors.FilesInvalid {
		t.Errorf("a certificate without key: %v", err)
	}
}

func TestDialIsBoundedByItsContext(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	a := newAuthority(t, ledger(1))
	h, base, err := doors.HTTP("https://"+listener.Addr().String(), client(t, doors.ClientConfig{CAs: []string{caFile(t, a)}}))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	r, _ := http.NewRequestWithContext(ctx, http.MethodGet, base, nil)
	if resp, err := h.Do(r); err == nil {
		resp.Body.Close()
		t.Fatal("a silent server answered")
	}
}
