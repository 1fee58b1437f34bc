package rpc

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"go.opentelemetry.io/otel/trace"

	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// heard keeps what a ledger was told of each entry.
type heard struct {
	*fakeLedger
	mu sync.Mutex // guards of
	of map[string]Sent
}

func (h *heard) Submit(ctx context.Context, leaf []byte, segments [][]byte) (Accepted, error) {
	s := Sent{Lane: Lane(ctx), Voucher: Voucher(ctx)}
	if c := trace.SpanContextFromContext(ctx); c.IsValid() {
		s.TraceParent = c.TraceID().String()
	}
	h.mu.Lock()
	h.of[string(leaf)] = s
	h.mu.Unlock()
	return h.fakeLedger.Submit(ctx, leaf, segments)
}

// TestABatchOfAnotherNodeKeepsWhoseEachEntryIs: lane, voucher and trace are of one entry, and the answers come back as they were given.
func TestABatchOfAnotherNodeKeepsWhoseEachEntryIs(t *testing.T) {
	caller := Caller{Name: "operator/two", Roles: []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR}}
	ledger := &heard{fakeLedger: newFake(t), of: map[string]Sent{}}
	server, err := New(Config{Ledger: ledger, Limits: Limits{CallerRequests: 20}, Identify: func(*http.Request) (Caller, error) { return caller, nil }})
	if err != nil {
		t.Fatal(err)
	}
	web := httptest.NewServer(server.Handler())
	defer web.Close()
	forward := Forward(web.Client(), "two")
	const one = "11111111111111111111111111111111"
	entries := []Sent{
		{Entry: []byte("good one"), Lane: "bank/first", Voucher: bytes.Repeat([]byte{7}, 32), TraceParent: "00-" + one + "-2222222222222222-01"},
		{Entry: []byte("good two"), Lane: "bank/second"},
		{Entry: []byte("good three"), Voucher: bytes.Repeat([]byte{8}, 32)},
		{Entry: []byte(entry.NullifierSpent), Lane: "bank/first", Segments: [][]byte{{1}, {2}}},
		{Entry: []byte(entry.TryLater)},
		{Entry: []byte("internal")},
	}
	answers, err := forward(t.Context(), web.URL, entries)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range entries {
		got := ledger.of[string(e.Entry)]
		if got.Lane != e.Lane || !bytes.Equal(got.Voucher, e.Voucher) || e.TraceParent != "" && got.TraceParent != one || e.TraceParent == "" && got.TraceParent == one {
			t.Errorf("entry %d arrived as %+v", i, got)
		}
	}
	for i, a := range answers[:3] {
		if want := ledger.accepted[string(entries[i].Entry)]; a.Err != nil || a.Accepted != want {
			t.Errorf("entry %d: %+v, want %+v", i, a, want)
		}
	}
	if r := answers[3].Err; entry.CodeOf(r) != entry.NullifierSpent || !strings.Contains(r.Error(), "with 2 segments") {
		t.Errorf("a refusal: %v", r)
	}
	if entry.CodeOf(answers[4].Err) != entry.TryLater || entry.CodeOf(answers[5].Err) != entry.TryLater {
		t.Errorf("put off: %v, %v", answers[4].Err, answers[5].Err)
	}
	again, err := forward(t.Context(), web.URL, entries[:1])
	if err != nil || !again[0].Before || again[0].EntryIndex != answers[0].EntryIndex {
		t.Errorf("a repeat: %+v, %v", again, err)
	}

	// A bank says the same, and nothing of it is believed.
	caller = Caller{Name: "bank/evil", Roles: []optionsv1.Role{optionsv1.Role_ROLE_BANK}}
	if _, err := forward(t.Context(), web.URL, entries[:3]); err != nil {
		t.Fatal(err)
	}
	for i, e := range entries[:3] {
		if got := ledger.of[string(e.Entry)]; got.Lane != "bank/evil" || got.Voucher != nil || got.TraceParent == one {
			t.Errorf("entry %d of a bank arrived as %+v", i, got)
		}
	}
	// Who may not submit learns so, and the owners of entries do not: nothing is known of them.
	caller = Caller{Name: "witness/w1", Roles: []optionsv1.Role{optionsv1.Role_ROLE_WITNESS}}
	if answers, err := forward(t.Context(), web.URL, entries[:1]); err == nil || entry.CodeOf(err) != "" || answers != nil {
		t.Errorf("a witness forwards: %+v, %v", answers, err)
	}
	caller = Caller{Name: "peer/relay", Roles: []optionsv1.Role{optionsv1.Role_ROLE_PEER}}
	if answers, err := forward(t.Context(), web.URL, entries[:1]); err != nil || answers[0].Err == nil || entry.CodeOf(answers[0].Err) == CodeRoleNotAllowed {
		t.Errorf("a peer forwards a transfer: %+v, %v", answers, err)
	}
	// A list that is too long is not an entry's fault.
	caller = Caller{Name: "operator/two", Roles: []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR}}
	long := make([]Sent, 1025)
	for i := range long {
		long[i] = entries[1]
	}
	if _, err := forward(t.Context(), web.URL, long); err == nil || entry.CodeOf(err) != "" {
		t.Errorf("a batch that is too long: %v", err)
	}
	// A caller's limits are kept where it came in: what a node forwards is not put off by the number of its calls, so that nobody's flood at
	// one node stands before others' payments at the next. A caller that is put off is told when to come back.
	for i := range 200 {
		if _, err := forward(t.Context(), web.URL, entries[:1]); err != nil {
			t.Fatalf("call %d of a node: %v", i, err)
		}
	}
	caller = Caller{Name: "bank/evil", Roles: []optionsv1.Role{optionsv1.Role_ROLE_BANK}}
	var put error
	for range 1000 {
		if _, put = forward(t.Context(), web.URL, entries[:1]); put != nil {
			break
		}
	}
	if entry.CodeOf(put) != entry.TryLater {
		t.Errorf("past its limit a caller is told %v", put)
	}
}
