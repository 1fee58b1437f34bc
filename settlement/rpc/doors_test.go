package rpc

import (
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
	"github.com/comity-ledger/comity/proto/doors/callers"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// guarded is a server over mutual TLS with an authority that makes callers.
type guarded struct {
	t       *testing.T
	ledger  *fakeLedger
	by      *authority.Authority
	ca, url string
}

func newAuthority(t *testing.T, l doors.Ledger) *authority.Authority {
	t.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	a, err := authority.New(l, key, time.Now(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

func issue(t *testing.T, a *authority.Authority, r authority.Request) (cert, key string) {
	t.Helper()
	public, private, err := authority.NewKey()
	if err != nil {
		t.Fatal(err)
	}
	r.Key, r.Lifetime = public, time.Hour
	text, err := a.Issue(r, time.Now())
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

func guard(t *testing.T, limits Limits) *guarded {
	t.Helper()
	g := &guarded{t: t, ledger: newFake(t)}
	hash := doors.Ledger(g.ledger.genesis.Hash())
	g.by = newAuthority(t, hash)
	g.ca = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(g.ca, g.by.Certificate(), 0o600); err != nil {
		t.Fatal(err)
	}
	cert, key := issue(t, g.by, authority.Request{Role: doors.Operator, Name: "node", IPs: []net.IP{net.IPv4(127, 0, 0, 1)}})
	d, err := doors.NewServer(doors.ServerConfig{Cert: cert, Key: key, ClientCAs: []string{g.ca}, Ledgers: []doors.Ledger{hash}})
	if err != nil {
		t.Fatal(err)
	}
	server, err := New(Config{Ledger: g.ledger, Doors: d, Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g.url = "https://" + listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, listener) }()
	t.Cleanup(func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
	return g
}

// client makes a caller with certificates of an authority.
func (g *guarded) client(by *authority.Authority, role doors.Role, name string, options ...connect.ClientOption) ledgerv1connect.LedgerServiceClient {
	return ledgerv1connect.NewLedgerServiceClient(g.http(by, role, name), g.url, options...)
}

func (g *guarded) http(by *authority.Authority, role doors.Role, name string) *http.Client {
	g.t.Helper()
	cfg := doors.ClientConfig{CAs: []string{g.ca}}
	if by != nil {
		cert, key := issue(g.t, by, authority.Request{Role: role, Name: name})
		cfg.Certs, cfg.Keys = []string{cert}, []string{key}
	}
	c, err := doors.NewClient(cfg)
	if err != nil {
		g.t.Fatal(err)
	}
	h, _, err := doors.HTTP(g.url, c)
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(h.CloseIdleConnections)
	return h
}

func TestRolesComeFromCertificates(t *testing.T) {
	g := guard(t, Limits{})
	for _, option := range []connect.ClientOption{connect.WithProtoJSON(), connect.WithGRPC(), connect.WithGRPCWeb()} {
		bank := g.client(g.by, doors.Bank, "first", option)
		if _, err := bank.GetStatus(t.Context(), &ledgerv1.GetStatusRequest{}); err != nil {
			t.Fatal(err)
		}
		public := g.client(g.by, doors.Public, "reader", option)
		if _, err := public.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{}); err != nil {
			t.Fatal(err)
		}
		if _, err := public.GetStatus(t.Context(), &ledgerv1.GetStatusRequest{}); detail(err) != string(CodeRoleNotAllowed) {
			t.Fatalf("a public caller asked for the status: %v", err)
		}
		if _, err := public.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: []byte("good")}); detail(err) != string(CodeRoleNotAllowed) {
			t.Fatalf("a public caller submitted: %v", err)
		}
	}
	// Another ledger's authority is not trusted here; without a certificate the handshake says what is missing.
	stranger := g.client(newAuthority(t, doors.Ledger{9}), doors.Operator, "root")
	if _, err := stranger.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{}); doors.CodeOf(err) == "" {
		t.Fatalf("another ledger's operator: %v", err)
	}
	if _, err := g.client(nil, "", "").GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{}); doors.CodeOf(err) != doors.CertificateRequired {
		t.Fatalf("no certificate: %v", err)
	}
	// Tiles too.
	resp, err := g.http(g.by, doors.Public, "mirror").Get(g.url + "/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusForbidden {
		t.Fatalf("tiles for a public caller: %s", resp.Status)
	}
}

// TestPublicReadsNoCiphertexts: a certificate to read what anybody may read gives the log and not the segments.
func TestPublicReadsNoCiphertexts(t *testing.T) {
	g := guard(t, Limits{})
	read := func(role doors.Role, omit bool) error {
		s, err := g.client(g.by, role, "reader").StreamBlocks(t.Context(), &ledgerv1.StreamBlocksRequest{StopAtHead: true, OmitSegments: omit})
		if err != nil {
			return err
		}
		defer s.Close()
		blocks := 0
		for s.Receive() {
			blocks++
		}
		if s.Err() == nil && blocks == 0 {
			t.Fatal("no block came")
		}
		return s.Err()
	}
	if err := read(doors.Public, true); err != nil {
		t.Fatal(err)
	}
	if err := read(doors.Public, false); detail(err) != string(CodeRoleNotAllowed) {
		t.Fatalf("segments for a public caller: %v", err)
	}
	if err := read(doors.Oversight, false); err != nil {
		t.Fatal(err)
	}
}

// TestWhoMayCallWhat states the rights of every role, method by method: a method that is added, or a role that gets a right, changes it.
func TestWhoMayCallWhat(t *testing.T) {
	all := "operator registrar bank oversight witness peer provider public"
	want := map[string]string{
		"GetGenesis": all, "StreamBlocks": all, "GetCheckpoint": all, "GetEntry": all, "GetInclusion": all, "GetConsistency": all,
		"GetReceipt": "operator registrar bank oversight peer provider public",
		"GetHold":    "operator registrar bank oversight peer provider", "ListHolds": "operator registrar bank oversight peer provider",
		"ListCorridors": "operator registrar bank oversight peer provider",
		"GetStatus":     "operator registrar bank oversight provider", "LookupNullifier": "operator bank oversight provider",
		"Submit": "operator registrar bank peer provider", "SubmitBatch": "operator registrar bank peer provider",
	}
	rules, err := proceduresOf(ledgerv1.File_comity_ledger_v1_ledger_proto.Services().ByName("LedgerService"))
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != len(want) || len(roleOf) != len(doors.Roles) || len(allRoles) != len(doors.Roles) {
		t.Fatalf("%d methods for %d expected; %d roles of %d", len(rules), len(want), len(roleOf), len(doors.Roles))
	}
	for path, rule := range rules {
		var may []string
		for _, role := range doors.Roles {
			if slices.Contains(rule.roles, roleOf[role]) {
				may = append(may, string(role))
			}
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if got := strings.Join(may, " "); got != want[name] {
			t.Errorf("%s: %s, want %s", name, got, want[name])
		}
	}
	kinds := map[optionsv1.Role][]entry.Kind{
		optionsv1.Role_ROLE_REGISTRAR: {entry.KindIssue, entry.KindRedeem, entry.KindRegister, entry.KindFreeze, entry.KindProgramme, entry.KindOversight, entry.KindDocument,
			entry.KindCorridor, entry.KindOverride, entry.KindClose},
		optionsv1.Role_ROLE_PROVIDER: append([]entry.Kind{entry.KindTransfer}, relayed...),
		optionsv1.Role_ROLE_PEER:     relayed,
	}
	for _, role := range allRoles {
		for kind := entry.KindGenesis; kind <= entry.KindClose; kind++ {
			if got := (Caller{Roles: []optionsv1.Role{role}}).brings(kind); got != slices.Contains(kinds[role], kind) {
				t.Errorf("%v brings %v: %v", role, kind, got)
			}
		}
	}
}

// TestEachCallerHasLimitsOfItsOwn: requests, bytes and streams past a caller's own limits are answered try_later with a hint, and another caller
// notices nothing.
func TestEachCallerHasLimitsOfItsOwn(t *testing.T) {
	g := guard(t, Limits{CallerRequests: 5, CallerBytes: 1, CallerStreams: 2})
	first, second := g.client(g.by, doors.Bank, "first"), g.client(g.by, doors.Bank, "second")
	until := func(call func() error) (n int, err error) {
		for n = 0; n < 100 && err == nil; n++ {
			err = call()
		}
		return n, err
	}
	n, err := until(func() error {
		_, err := first.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{})
		return err
	})
	if detail(err) != string(entry.TryLater) || !strings.Contains(err.Error(), "too many requests of this caller; try again in ") || n < 10 || n > 30 {
		t.Fatalf("after %d requests: %v", n, err)
	}
	if _, err := second.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{}); err != nil {
		t.Fatalf("another caller: %v", err)
	}
	// A refused request does not count: a second later there is room again.
	time.Sleep(time.Second)
	if _, err := first.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{}); err != nil {
		t.Fatalf("a second later: %v", err)
	}
	// Streams that stay open.
	third := g.client(g.by, doors.Witness, "third")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	open := func() error {
		s, err := third.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{})
		if err == nil && !s.Receive() {
			err = s.Err()
		}
		return err
	}
	for range 2 {
		if err := open(); err != nil {
			t.Fatal(err)
		}
	}
	if err := open(); detail(err) != string(entry.TryLater) || !strings.Contains(err.Error(), "2 streams of this caller") {
		t.Fatalf("a third stream: %v", err)
	}
	// Bytes: the bucket holds one of the largest batches. The limits themselves are tested in package callers.
	if got := eachCaller(Limits{}.withDefaults()); got != (callers.Limits{Requests: 1000, Bytes: 64 << 20, LargestRequest: maxBatchBytes, Calls: 1024, Streams: 16}) {
		t.Errorf("by default %+v", got)
	}
	if (Caller{Local: true, Name: "loopback"}).account() != callers.Local || (Caller{Name: ""}).account() == callers.Local {
		t.Error("callers on this machine alone have no limits")
	}
}

// TestCallsOfOneCallerAtOnceAreBounded: calls that wait hold places of their caller's alone, and leave them when they end, however they end.
func TestCallsOfOneCallerAtOnceAreBounded(t *testing.T) {
	g := guard(t, Limits{CallerCalls: 2})
	first, second := g.client(g.by, doors.Bank, "first"), g.client(g.by, doors.Bank, "second")
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 2)
	for range 2 {
		go func() {
			for { // the question below holds a place too, while it is answered
				_, err := first.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: 1}})
				if detail(err) != string(entry.TryLater) {
					ended <- err
					return
				}
			}
		}()
	}
	ask := func(c ledgerv1connect.LedgerServiceClient) error {
		_, err := c.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{})
		return err
	}
	eventually(t, "a third call is refused", func() bool {
		err := ask(first)
		return detail(err) == string(entry.TryLater) && strings.Contains(err.Error(), "2 calls of this caller")
	})
	if err := ask(second); err != nil {
		t.Errorf("another caller: %v", err)
	}
	cancel() // the caller goes away
	for range 2 {
		if err := <-ended; connect.CodeOf(err) != connect.CodeCanceled {
			t.Errorf("a call that was given up: %v", err)
		}
	}
	eventually(t, "there is room again", func() bool { return ask(first) == nil })
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !holds(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so: %s", what)
		}
	}
}

// TestCallsEndByTheirDeadlines: the server's own bound, a caller's shorter one, and the end of a stream, from which a reader goes on.
func TestCallsEndByTheirDeadlines(t *testing.T) {
	g := guard(t, Limits{CallTimeout: 200 * time.Millisecond, StreamTimeout: 300 * time.Millisecond, CallerCalls: 1})
	c := g.client(g.by, doors.Bank, "first")
	wait := &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: 1}, WaitMillis: 30_000}
	if _, err := c.GetReceipt(t.Context(), wait); connect.CodeOf(err) != connect.CodeDeadlineExceeded || !strings.Contains(err.Error(), "the call took too long") {
		t.Errorf("a call past the server's bound: %v", err)
	}
	stream, err := c.StreamBlocks(t.Context(), &ledgerv1.StreamBlocksRequest{})
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Close()
	n := 0
	for stream.Receive() {
		n++
	}
	if err := stream.Err(); n == 0 || detail(err) != string(entry.TryLater) || !strings.Contains(err.Error(), "ask again from the next height") {
		t.Errorf("a stream past its bound, after %d blocks: %v", n, err)
	}

	g = guard(t, Limits{CallerCalls: 1})
	c = g.client(g.by, doors.Bank, "first")
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.GetReceipt(ctx, wait); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
		t.Errorf("a call past its caller's bound: %v", err)
	}
	// The server let go of it too, long before its own bound: the caller's one place is free.
	eventually(t, "the place of a call that its caller bounded is free", func() bool {
		_, err := c.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{})
		return err == nil
	})
}

// TestDeadlinesLeaveRoomForWaiting: what the schema states is more than a request may ask to wait.
func TestDeadlinesLeaveRoomForWaiting(t *testing.T) {
	rules, err := proceduresOf(ledgerv1.File_comity_ledger_v1_ledger_proto.Services().ByName("LedgerService"))
	if err != nil {
		t.Fatal(err)
	}
	for path, rule := range rules {
		waits := strings.HasSuffix(path, "/GetReceipt") || strings.HasSuffix(path, "/GetCheckpoint")
		if rule.deadline < time.Second || (waits && rule.deadline <= maxWait) || (!rule.streams && rule.deadline > time.Minute) {
			t.Errorf("%s may take %v", path, rule.deadline)
		}
	}
}

// TestForwardedEntriesWaitInTheirSendersLane: a node is believed about whose entry it forwards, and nobody else is; the same holds for a voucher.
func TestForwardedEntriesWaitInTheirSendersLane(t *testing.T) {
	ctx := func(c Caller, by, forName string) context.Context {
		ctx := context.WithValue(t.Context(), callerKey{}, c)
		if forName != "" {
			ctx = context.WithValue(ctx, saidKey{}, &ledgerv1.Forwarded{Lane: forName, Voucher: []byte("voucher")})
		}
		if by != "" {
			ctx = context.WithValue(ctx, forwardedKey{}, by)
		}
		return ctx
	}
	node := Caller{Name: "operator/node2", Roles: []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR}}
	bank := Caller{Name: "bank/first", Roles: []optionsv1.Role{optionsv1.Role_ROLE_BANK}}
	here := Caller{Name: "loopback", Roles: allRoles, Local: true}
	for i, test := range []struct {
		ctx     context.Context
		want    string
		voucher bool
	}{
		{ctx(bank, "", ""), "bank/first", false}, {ctx(here, "", ""), "", false}, {t.Context(), "", false}, {ctx(node, "", ""), "operator/node2", false},
		{ctx(node, "node2", "bank/first"), "bank/first", true}, {ctx(here, "node2", "bank/first"), "bank/first", true},
		{ctx(bank, "node2", "bank/second"), "bank/first", false}, {ctx(bank, "", "bank/second"), "bank/first", false},
		{ctx(node, "", "bank/first"), "operator/node2", false}, {ctx(node, "node2", ""), "operator/node2", false},
	} {
		if got := Lane(test.ctx); got != test.want {
			t.Errorf("%d: lane %q, want %q", i, got, test.want)
		}
		if got := Voucher(test.ctx) != nil; got != test.voucher {
			t.Errorf("%d: a voucher is handed on: %v", i, got)
		}
	}
}
