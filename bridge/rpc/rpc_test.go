package rpc

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/proto/doors/callers"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// fake answers "a:" and the bytes that it got; bytes that begin with "refuse " are refused by the name that follows.
type fake struct {
	key     entry.SignerKey
	receive bridge.Address
	inside  sync.WaitGroup // calls that wait in "slow"
	leave   chan struct{}
}

func (f *fake) Offers(context.Context) (Offers, error) {
	return Offers{Provider: f.key, Name: "Harbour", Pairs: []Pair{{FromLedger: entry.GenesisHash{1}, ToLedger: entry.GenesisHash{2}, FromAsset: 1, ToAsset: 3,
		Mid: bridge.Ratio{Num: 3, Den: 2}, SpreadBasisPoints: 25, Least: 10, Most: 1 << 60, Receive: f.receive}}}, nil
}

func (f *fake) answer(ctx context.Context, b []byte) ([]byte, error) {
	text := string(b)
	switch {
	case text == "internal":
		return nil, errors.New("the passphrase is hunter2")
	case text == "panic":
		panic("the passphrase is hunter2")
	case text == "ledger":
		return nil, fmt.Errorf("place: %w", entry.Refuse(entry.CorridorCap, "too much"))
	case text == "slow":
		f.inside.Done()
		select {
		case <-f.leave:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	case strings.HasPrefix(text, "refuse "):
		return nil, fmt.Errorf("desk: %w", refusef(strings.TrimPrefix(text, "refuse "), "so it is"))
	}
	return append([]byte("a:"), b...), nil
}

func (f *fake) Quote(ctx context.Context, b []byte) ([]byte, error)   { return f.answer(ctx, b) }
func (f *fake) Reserve(ctx context.Context, b []byte) ([]byte, error) { return f.answer(ctx, b) }
func (f *fake) Accept(ctx context.Context, b []byte) ([]byte, error)  { return f.answer(ctx, b) }
func (f *fake) Proceed(ctx context.Context, b []byte) ([]byte, error) { return f.answer(ctx, b) }
func (f *fake) Payment(ctx context.Context, q [32]byte) ([]byte, error) {
	return f.answer(ctx, q[:1])
}

// serve starts a server on loopback and gives its address.
func serve(t *testing.T, limits Limits, identify func(*http.Request) (Caller, error)) (*fake, string) {
	t.Helper()
	public, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	f := &fake{leave: make(chan struct{})}
	if f.key, err = entry.SignerKeyOf(public); err != nil {
		t.Fatal(err)
	}
	f.receive = receiver(t)
	s, err := New(Config{Provider: f, Limits: limits, Identify: identify})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, listener, 5*time.Second) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return f, "http://" + listener.Addr().String()
}

func receiver(t *testing.T) bridge.Address {
	ask, err := zk.NewScalar(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	k, err := keys.Derive(keys.SeedFromBytes([32]byte{1}), ask, entry.GenesisHash{1})
	if err != nil {
		t.Fatal(err)
	}
	a := k.Address("aur", entry.GenesisHash{1})
	return bridge.Address{Owner: a.Owner, ViewKey: a.ViewKey}
}

func client(t *testing.T, address string) *Client {
	t.Helper()
	c, err := NewClient(address)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestMessagesPassAsTheyAre(t *testing.T) {
	f, address := serve(t, Limits{}, nil)
	c := client(t, address)
	o, err := c.Offers(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, _ := f.Offers(t.Context())
	if o.Provider != want.Provider || o.Name != want.Name || len(o.Pairs) != 1 || o.Pairs[0] != want.Pairs[0] {
		t.Errorf("got %+v, want %+v", o, want)
	}
	message := []byte{0, 1, 2, 255}
	for name, call := range map[string]func(context.Context, []byte) ([]byte, error){"quote": c.Quote, "reserve": c.Reserve, "accept": c.Accept, "proceed": c.Proceed} {
		got, err := call(t.Context(), message)
		if err != nil || !bytes.Equal(got, append([]byte("a:"), message...)) {
			t.Errorf("%s: %x, %v", name, got, err)
		}
	}
	if got, err := c.Payment(t.Context(), [32]byte{'q'}); err != nil || string(got) != "a:q" {
		t.Errorf("payment: %x, %v", got, err)
	}
}

func TestRefusalsKeepTheirNames(t *testing.T) {
	_, address := serve(t, Limits{}, nil)
	c := client(t, address)
	for text, want := range map[string]string{"refuse quote_used": "quote_used", "refuse try_later": TryLater, "ledger": "corridor_cap"} {
		_, err := c.Accept(t.Context(), []byte(text))
		if CodeOf(err) != want {
			t.Errorf("%s: %v", text, err)
		}
		if strings.Count(err.Error(), want) != 1 {
			t.Errorf("%s: the name stands more than once in %q", text, err)
		}
	}
}

func TestInternalErrorsTellNothing(t *testing.T) {
	_, address := serve(t, Limits{}, nil)
	for _, text := range []string{"internal", "panic"} {
		_, err := client(t, address).Quote(t.Context(), []byte(text))
		if connect.CodeOf(err) != connect.CodeInternal || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestOversizeRequestIsRefused(t *testing.T) {
	_, address := serve(t, Limits{BodyBytes: 1000}, nil)
	c := client(t, address)
	if _, err := c.Quote(t.Context(), make([]byte, 900)); err != nil {
		t.Errorf("a request within the limit: %v", err)
	}
	if _, err := c.Quote(t.Context(), make([]byte, 1001)); CodeOf(err) != Oversize {
		t.Errorf("got %v", err)
	}
	// A promise without a length is cut off as well.
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/comity.bridge.v1.BridgeService/Quote", io.MultiReader(bytes.NewReader(make([]byte, 5000))))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !bytes.Contains(b, []byte(Oversize)) {
		t.Errorf("got %s: %s", resp.Status, b)
	}
}

func TestSlowSenderIsCutOff(t *testing.T) {
	_, address := serve(t, Limits{BodyTimeout: 50 * time.Millisecond}, nil)
	reader, writer := io.Pipe()
	defer writer.Close()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, address+"/comity.bridge.v1.BridgeService/Quote", reader)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	go func() { _, _ = writer.Write([]byte("{")) }()
	resp, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if b, _ := io.ReadAll(resp.Body); !bytes.Contains(b, []byte(BodyTimeout)) {
		t.Errorf("got %s: %s", resp.Status, b)
	}
}

func TestCallsAtOnceAreBounded(t *testing.T) {
	f, address := serve(t, Limits{Calls: 2}, nil)
	c := client(t, address)
	f.inside.Add(2)
	var done sync.WaitGroup
	for range 2 {
		done.Go(func() {
			if _, err := c.Accept(context.Background(), []byte("slow")); err != nil {
				t.Error(err)
			}
		})
	}
	f.inside.Wait()
	if _, err := c.Quote(t.Context(), []byte("any")); CodeOf(err) != TryLater {
		t.Errorf("a third call: %v", err)
	}
	close(f.leave)
	done.Wait()
	if _, err := c.Quote(t.Context(), []byte("any")); err != nil {
		t.Errorf("after the others left: %v", err)
	}
}

func TestLongCallIsAnsweredTryLater(t *testing.T) {
	f, address := serve(t, Limits{CallTimeout: 30 * time.Millisecond}, nil)
	f.inside.Add(1)
	if _, err := client(t, address).Accept(t.Context(), []byte("slow")); CodeOf(err) != TryLater {
		t.Errorf("got %v", err)
	}
}

func TestStrangersAreRefused(t *testing.T) {
	_, address := serve(t, Limits{}, func(*http.Request) (Caller, error) {
		return Caller{Name: "witness/w1", Roles: []optionsv1.Role{optionsv1.Role_ROLE_WITNESS, optionsv1.Role_ROLE_UNSPECIFIED}}, nil
	})
	if _, err := client(t, address).Offers(t.Context()); CodeOf(err) != RoleNotAllowed {
		t.Errorf("a witness asks for offers: %v", err)
	}
	if _, err := identifyLoopback(&http.Request{RemoteAddr: "10.0.0.7:99"}); err == nil {
		t.Error("a caller from another machine has a role")
	}
	if here, err := identifyLoopback(&http.Request{RemoteAddr: "127.0.0.1:99"}); err != nil || len(here.Roles) == 0 || here.Name != callers.Local {
		t.Errorf("a caller on this machine: %v, %v", here, err)
	}
}

func TestOnlyLoopbackIsServedAndCalled(t *testing.T) {
	for _, bad := range []string{"0.0.0.0:1", ":1", "10.1.2.3:1", "example.org:1"} {
		if err := CheckListen(bad); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("listen on %s: %v", bad, err)
		}
	}
	if err := CheckListen("nonsense"); err == nil || errors.Is(err, ErrNotLoopback) {
		t.Errorf("an address without a port: %v", err)
	}
	if err := CheckListen("127.0.0.1:0"); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"http://10.0.0.1:1", "https://127.0.0.1:1", "127.0.0.1:1", "http://127.0.0.1:1/?x"} {
		if _, err := NewClient(bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestMethodWithoutRolesOrDeadlineStopsTheServer(t *testing.T) {
	for missing, want := range map[protoreflect.ExtensionType]string{optionsv1.E_Roles: "declares no roles", optionsv1.E_DeadlineSeconds: "states no deadline"} {
		file := protodesc.ToFileDescriptorProto(bridgev1.File_comity_bridge_v1_bridge_proto)
		options := proto.CloneOf(file.Service[0].Method[2].Options)
		proto.ClearExtension(options, missing)
		file.Service[0].Method[2].Options = options
		d, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := methodsOf(d.Services().Get(0)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

func TestSpecListsEveryRefusalOfTheEdge(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	codes := []string{RoleNotAllowed, BodyTimeout, Oversize, Malformed, TryLater, NotLoopback}
	for _, code := range certificateRefusals {
		codes = append(codes, string(code))
	}
	for _, code := range codes {
		if !bytes.Contains(spec, []byte("| `"+code+"` |")) {
			t.Errorf("%s is not in the table", code)
		}
	}
	if n := bytes.Count(spec, []byte("\n| `")); n != len(codes) {
		t.Errorf("the table has %d rows, the code %d refusals", n, len(codes))
	}
}
