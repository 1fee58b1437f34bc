package rpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/authority"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/bridge/v1/bridgev1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// guarded is a provider over mutual TLS that serves callers of two ledgers.
type guarded struct {
	t        *testing.T
	provider *fake
	from, to *authority.Authority // the ledgers' authorities
	ca, url  string
}

func newAuthority(t *testing.T, n byte) *authority.Authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(doors.Ledger{n, 31: n}, key, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// issue makes a certificate that is good from five minutes before a time until an hour after it.
func issue(t *testing.T, a *authority.Authority, r authority.Request, at time.Time) (cert, key string) {
	t.Helper()
	public, private, err := authority.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r.Key, r.Lifetime = public, time.Hour
	text, err := a.Issue(r, at)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := errors.Join(os.WriteFile(cert, text, 0o600), os.WriteFile(key, private, 0o600)); err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func guard(t *testing.T, limits Limits, trusted ...*authority.Authority) *guarded {
	t.Helper()
	g := &guarded{t: t, provider: &fake{leave: make(chan struct{}), receive: receiver(t)}, from: newAuthority(t, 1), to: newAuthority(t, 2)}
	var text []byte
	for _, a := range append(trusted, g.from, g.to) {
		text = append(text, a.Certificate()...)
	}
	g.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(g.ca, text, 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := issue(t, g.from, authority.Request{Role: doors.Provider, Name: "harbour", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}}, time.Now())
	d, err := doors.NewServer(doors.ServerConfig{Cert: cert, Key: key, ClientCAs: []string{g.ca}, Ledgers: []doors.Ledger{g.from.Ledger(), g.to.Ledger()}})
	if err != nil {
		t.Fatal(err)
	}
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if g.provider.key, err = entry.SignerKeyOf(public); err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Provider: g.provider, Doors: d, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "https://" + listener.Addr().String()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return g
}

func (g *guarded) certificates(by *authority.Authority, role doors.Role, name string, at time.Time) *doors.Client {
	g.t.Helper()
	cfg := doors.ClientConfig{CAs: []string{g.ca}}
	if by != nil {
		cert, key := issue(g.t, by, authority.Request{Role: role, Name: name}, at)
		cfg.Certs, cfg.Keys = []string{cert}, []string{key}
	}
	c, err := doors.NewClient(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

func (g *guarded) client(by *authority.Authority, role doors.Role, name string) *Client {
	g.t.Helper()
	c, err := NewClientTLS(g.url, g.certificates(by, role, name, time.Now()))
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

// TestCertificateSaysWhoMayCall, for every role and method, with certificates of either ledger.
func TestCertificateSaysWhoMayCall(t *testing.T) {
	g := guard(t, Limits{})
	for _, by := range []*authority.Authority{g.from, g.to} {
		for _, role := range doors.Roles {
			c := g.client(by, role, "first")
			ask := func(do func(context.Context, []byte) ([]byte, error)) error {
				_, err := do(t.Context(), []byte("any"))
				return err
			}
			_, offers := c.Offers(t.Context())
			_, payment := c.Payment(t.Context(), [32]byte{'q'})
			for method, err := range map[string]error{"offers": offers, "payment": payment, "quote": ask(c.Quote), "reserve": ask(c.Reserve), "accept": ask(c.Accept), "proceed": ask(c.Proceed)} {
				if slices.Contains([]doors.Role{doors.Operator, doors.Bank, doors.Peer}, role) {
					if err != nil {
						t.Errorf("%s asks for %s: %v", role, method, err)
					}
				} else if CodeOf(err) != RoleNotAllowed || !strings.Contains(err.Error(), "may not call") {
					t.Errorf("%s asks for %s: %v", role, method, err)
				}
			}
		}
	}
}

func TestWhoIsNotLetInIsToldWhyByName(t *testing.T) {
	other := newAuthority(t, 3)
	g := guard(t, Limits{}, other) // the authority of a ledger that is not served speaks for its own ledger alone
	for name, tc := range map[string]struct {
		by   *authority.Authority
		at   time.Time
		want doors.Code
	}{
		"no certificate":           {nil, time.Now(), doors.CertificateRequired},
		"expired":                  {g.from, time.Now().Add(-2 * time.Hour), doors.CertificateExpired},
		"another ledger's":         {other, time.Now(), doors.CertificateOtherLedger},
		"an authority not trusted": {newAuthority(t, 1), time.Now(), doors.CertificateUnknownAuthority},
	} {
		c, err := NewClientTLS(g.url, g.certificates(tc.by, doors.Bank, "first", tc.at))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Quote(t.Context(), []byte("any")); CodeOf(err) != string(tc.want) {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	// In the clear nobody is let in, whoever says what.
	h := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	plain := NewClientWith(h, "http://"+strings.TrimPrefix(g.url, "https://"))
	if _, err := plain.Quote(t.Context(), []byte("any")); err == nil {
		t.Error("a quote was given in the clear")
	}
}

// TestEachCallerHasLimitsOfItsOwn: by the name in its certificate and the ledger that it is of.
func TestEachCallerHasLimitsOfItsOwn(t *testing.T) {
	g := guard(t, Limits{CallerQuotes: 2, CallerCalls: 1})
	first := g.client(g.from, doors.Bank, "first")
	quote := func(c *Client) error {
		_, err := c.Quote(t.Context(), []byte("any"))
		return err
	}
	for range 2 {
		if err := quote(first); err != nil {
			t.Fatal(err)
		}
	}
	if err := quote(first); CodeOf(err) != TryLater || !strings.Contains(err.Error(), "too many quotes of this caller; try again in ") {
		t.Errorf("a third quote: %v", err)
	}
	if _, err := first.Offers(t.Context()); err != nil {
		t.Errorf("what is no quote: %v", err)
	}
	if err := quote(g.client(g.from, doors.Bank, "first")); CodeOf(err) != TryLater {
		t.Errorf("the same name in another certificate: %v", err)
	}
	for name, c := range map[string]*Client{"another bank": g.client(g.from, doors.Bank, "second"), "a namesake on the other ledger": g.client(g.to, doors.Bank, "first")} {
		if err := quote(c); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	g.provider.inside.Add(1)
	slow := make(chan error, 1)
	go func() {
		_, err := first.Accept(context.Background(), []byte("slow"))
		slow <- err
	}()
	g.provider.inside.Wait()
	if _, err := first.Offers(t.Context()); CodeOf(err) != TryLater || !strings.Contains(err.Error(), "1 calls of this caller") {
		t.Errorf("a call beside another: %v", err)
	}
	if _, err := g.client(g.to, doors.Bank, "first").Offers(t.Context()); err != nil {
		t.Errorf("a namesake meanwhile: %v", err)
	}
	close(g.provider.leave)
	if err := <-slow; err != nil {
		t.Error(err)
	}

	g = guard(t, Limits{CallerRequests: 1, CallerBytes: 100, BodyBytes: 4200})
	first = g.client(g.from, doors.Bank, "first")
	var err error
	for n := 0; n < 20 && err == nil; n++ {
		_, err = first.Offers(t.Context())
	}
	if CodeOf(err) != TryLater || !strings.Contains(err.Error(), "too many requests of this caller") {
		t.Errorf("requests: %v", err)
	}
	second := g.client(g.from, doors.Bank, "second")
	if _, err := second.Quote(t.Context(), make([]byte, 4000)); err != nil {
		t.Errorf("the longest request: %v", err)
	}
	if _, err := second.Accept(t.Context(), make([]byte, 4000)); CodeOf(err) != TryLater || !strings.Contains(err.Error(), "too many bytes of this caller") {
		t.Errorf("bytes: %v", err)
	}
}

// TestCallersShorterTimeHolds: the provider's work goes on, the call does not.
func TestCallersShorterTimeHolds(t *testing.T) {
	g := guard(t, Limits{CallerCalls: 1})
	h, base, err := doors.HTTP(g.url, g.certificates(g.from, doors.Bank, "first", time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	c := bridgev1connect.NewBridgeServiceClient(h, base)
	g.provider.inside.Add(1)
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	// The caller's own clock and the server's answer race, and either says that there was not time enough.
	_, err = c.Accept(ctx, &bridgev1.AcceptRequest{Acceptance: []byte("slow")})
	if code := connect.CodeOf(err); code != connect.CodeDeadlineExceeded && code != connect.CodeUnavailable {
		t.Errorf("got %v", err)
	}
	// The provider's part saw that time: it waits for nothing else, and the caller's one place is free long before the method's two minutes.
	deadline := time.Now().Add(20 * time.Second)
	for {
		_, err := c.GetOffers(t.Context(), &bridgev1.GetOffersRequest{})
		if err == nil {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("the place of a call that its caller bounded: %v", err)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// TestRequestsAreCheckedBySchema: each is refused before the provider sees it.
func TestRequestsAreCheckedBySchema(t *testing.T) {
	_, address := serve(t, Limits{}, nil)
	c := bridgev1connect.NewBridgeServiceClient(http.DefaultClient, address)
	long := bytes.Repeat([]byte("a"), 4097)
	for name, tc := range map[string]struct {
		call func(b []byte) error
		says string
	}{
		"Quote": {func(b []byte) error { _, err := c.Quote(t.Context(), &bridgev1.QuoteRequest{Request: b}); return err }, "request: "},
		"Reserve": {func(b []byte) error {
			_, err := c.Reserve(t.Context(), &bridgev1.ReserveRequest{Acceptance: b})
			return err
		}, "acceptance: "},
		"Accept": {func(b []byte) error {
			_, err := c.Accept(t.Context(), &bridgev1.AcceptRequest{Acceptance: b})
			return err
		}, "acceptance: "},
		"Proceed": {func(b []byte) error {
			_, err := c.Proceed(t.Context(), &bridgev1.ProceedRequest{Proceed: b})
			return err
		}, "proceed: "},
		"GetPayment": {func(b []byte) error {
			_, err := c.GetPayment(t.Context(), &bridgev1.GetPaymentRequest{Quote: b})
			return err
		}, "quote: "},
	} {
		for _, bad := range [][]byte{nil, {1}, long} {
			_, err := call(t.Context(), "call", time.Minute, func(context.Context) (struct{}, error) { return struct{}{}, tc.call(bad) })
			want := Malformed
			if len(bad) > 4096 && name != "GetPayment" {
				want = Oversize
			}
			if CodeOf(err) != want || !strings.Contains(err.Error(), tc.says) || strings.Contains(err.Error(), "aaa") {
				t.Errorf("%s of %d bytes: %v, want %s", name, len(bad), err, want)
			}
		}
	}
}
