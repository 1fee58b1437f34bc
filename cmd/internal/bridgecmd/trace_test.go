package bridgecmd

import (
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"
	"time"

	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/proto"

	"github.com/comity-ledger/comity/cmd/internal/telemetry"
)

// told is a span as a collector sees it.
type told struct {
	trace, id, parent, name string
	service, ledger         string
	attributes              map[string]string
}

// collector keeps what processes send over OTLP.
type collector struct {
	mu    sync.Mutex // guards spans
	spans []told
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil || r.URL.Path != "/v1/traces" {
		return // metrics are none of this test's
	}
	var req collectorv1.ExportTraceServiceRequest
	if err := proto.Unmarshal(b, &req); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, from := range req.GetResourceSpans() {
		about := values(from.GetResource().GetAttributes())
		for _, scoped := range from.GetScopeSpans() {
			for _, s := range scoped.GetSpans() {
				c.spans = append(c.spans, told{hex.EncodeToString(s.GetTraceId()), hex.EncodeToString(s.GetSpanId()), hex.EncodeToString(s.GetParentSpanId()), s.GetName(),
					about["service.name"], about["ledger"], values(s.GetAttributes())})
			}
		}
	}
}

func values(list []*commonv1.KeyValue) map[string]string {
	out := map[string]string{}
	for _, a := range list {
		out[a.GetKey()] = a.GetValue().GetStringValue()
	}
	return out
}

func (c *collector) find(is func(told) bool) (out []told) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.spans {
		if is(s) {
			out = append(out, s)
		}
	}
	return out
}

// above are the names of a span's ancestors, the nearest first.
func (c *collector) above(s told) (names []string) {
	for s.parent != "" {
		up := c.find(func(p told) bool { return p.trace == s.trace && p.id == s.parent })
		if len(up) != 1 {
			return append(names, "?")
		}
		s = up[0]
		names = append(names, s.name)
	}
	return names
}

// A payment between two real ledgers, by real processes: one trace goes from the payer's command over the provider to both ledgers, and what
// the relayer did is found by the ids of the holds.
func TestABridgePaymentIsOneTrace(t *testing.T) {
	if testing.Short() {
		t.Skip("real proofs and processes")
	}
	c := new(collector)
	server := httptest.NewServer(c)
	defer server.Close()
	t.Setenv(telemetry.EnvOTLP, server.URL)
	t.Setenv(telemetry.EnvTraceSample, "1")
	p := newPair(t)
	p.startProvider()
	p.startRelay("relay")
	if code, out, errOut := p.run(p.pay("traced", "199.000", "--no-wait")...); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if _, row := p.status("traced"); row.Status == "settled" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the payment was not settled")
		}
	}
	for _, name := range []string{"relay", "provider", "aurelia-ledger", "borealis-ledger"} {
		if code := p.process(name).stop(); code != 0 {
			t.Errorf("%s ended with %d", name, code)
		}
	}

	roots := c.find(func(s told) bool { return s.name == "comity bridge pay" })
	if len(roots) != 1 || roots[0].parent != "" {
		t.Fatalf("the command's spans: %+v", roots)
	}
	in := roots[0].trace
	// The provider was asked in this trace, and did its work in it.
	const accept = "comity.bridge.v1.BridgeService/Accept"
	hold := c.find(func(s told) bool { return s.trace == in && s.name == "bridge.hold" })
	if len(hold) != 1 || hold[0].service != "comity-provider" || hold[0].attributes["quote.id"] == "" || !slices.Equal(c.above(hold[0]), []string{accept, accept, "bridge.accept", "comity bridge pay"}) {
		t.Fatalf("the provider's work: %+v below %v", hold, c.above(hold[0]))
	}
	// Each ledger logged a hold in it.
	holds := map[string]string{}
	for _, s := range c.find(func(s told) bool {
		return s.trace == in && s.name == "ledger.entry" && s.attributes["entry.kind"] == "transfer"
	}) {
		if s.service != "comity-ledger" || s.attributes["hold.id"] == "" || s.attributes["outcome"] != "accepted" {
			t.Errorf("%+v", s)
		}
		holds[s.ledger] = s.attributes["hold.id"]
		above := c.above(s)
		if above[len(above)-1] != "comity bridge pay" || s.ledger == p.b.genesis.Origin && !slices.Contains(above, "bridge.hold") {
			t.Errorf("the hold on %s is below %v", s.ledger, above)
		}
		for _, stage := range []string{"ledger.admit", "ledger.prove", "ledger.sequence", "ledger.commit", "ledger.cosign"} {
			if got := c.find(func(o told) bool { return o.trace == in && o.parent == s.id && o.name == stage }); len(got) != 1 {
				t.Errorf("%d spans %s below the entry on %s", len(got), stage, s.ledger)
			}
		}
	}
	if len(holds) != 2 || holds[p.a.genesis.Origin] == holds[p.b.genesis.Origin] {
		t.Fatalf("holds: %v", holds)
	}
	// The relayer's spans are in traces of their own, and have the ids of the same holds; so have the ledgers' spans of its entries.
	for ledger, id := range holds {
		resolved := c.find(func(s told) bool {
			return s.service == "comity-relay" && s.name == "relay.resolve" && s.attributes["hold.id"] == id
		})
		logged := c.find(func(s told) bool {
			return s.name == "ledger.entry" && s.attributes["entry.kind"] == "resolve" && s.attributes["hold.id"] == id && s.attributes["outcome"] == "accepted"
		})
		if len(resolved) == 0 || resolved[0].trace == in || resolved[0].attributes["outcome"] != "posted" {
			t.Errorf("hold %s on %s, relayed: %+v", id, ledger, resolved)
		}
		if len(logged) != 1 || logged[0].ledger != ledger || !slices.ContainsFunc(resolved, func(s told) bool { return s.trace == logged[0].trace }) {
			t.Errorf("hold %s on %s, logged: %+v", id, ledger, logged)
		}
	}
}
