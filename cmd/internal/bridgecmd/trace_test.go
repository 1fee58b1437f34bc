package bridgecmd

import (
	"bytes"
	"encoding/hex"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	logsv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	collectorv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	"google.golang.org/protobuf/encoding/prototext"
	"google.golang.org/protobuf/proto"

	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/settlement/entry"
)

// told is a span as a collector sees it.
type told struct {
	trace, id, parent, name string
	service, ledger         string
	attributes              map[string]string
	links                   []string // trace ids
}

// collector keeps what processes send over OTLP.
type collector struct {
	mu    sync.Mutex // guards what follows
	spans []told
	lines []line
	texts map[string]*bytes.Buffer // by path: requests as bytes, and as text
}

// line is a line of the log as a collector sees it.
type line struct {
	trace, ledger, body string
	attributes          map[string]string
}

// newCollector serves a collector until the test ends.
func newCollector(t *testing.T) (*collector, string) {
	c := &collector{texts: map[string]*bytes.Buffer{}}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, server.URL
}

// heard is all that was sent, by path.
func (c *collector) heard() map[string][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[string][]byte{}
	for path, text := range c.texts {
		out[path] = bytes.Clone(text.Bytes())
	}
	return out
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	var req collectorv1.ExportTraceServiceRequest
	var logs logsv1.ExportLogsServiceRequest
	m, known := map[string]proto.Message{"/v1/traces": &req, "/v1/logs": &logs, "/v1/metrics": new(metricsv1.ExportMetricsServiceRequest)}[r.URL.Path]
	if !known {
		http.NotFound(w, r)
		return
	}
	if err := proto.Unmarshal(b, m); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.texts[r.URL.Path] == nil {
		c.texts[r.URL.Path] = new(bytes.Buffer)
	}
	c.texts[r.URL.Path].Write(b)
	c.texts[r.URL.Path].WriteString("\n" + prototext.Format(m) + "\n")
	for _, from := range logs.GetResourceLogs() {
		ledger := values(from.GetResource().GetAttributes())["ledger"]
		for _, scoped := range from.GetScopeLogs() {
			for _, l := range scoped.GetLogRecords() {
				c.lines = append(c.lines, line{hex.EncodeToString(l.GetTraceId()), ledger, l.GetBody().GetStringValue(), values(l.GetAttributes())})
			}
		}
	}
	for _, from := range req.GetResourceSpans() {
		about := values(from.GetResource().GetAttributes())
		for _, scoped := range from.GetScopeSpans() {
			for _, s := range scoped.GetSpans() {
				var links []string
				for _, l := range s.GetLinks() {
					links = append(links, hex.EncodeToString(l.GetTraceId()))
				}
				c.spans = append(c.spans, told{hex.EncodeToString(s.GetTraceId()), hex.EncodeToString(s.GetSpanId()), hex.EncodeToString(s.GetParentSpanId()), s.GetName(),
					about["service.name"], about["ledger"], values(s.GetAttributes()), links})
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

// findIn gives the spans of a name in a trace. It may be called from within find.
func (c *collector) findIn(trace, name string) (out []told) {
	for _, s := range c.spans {
		if s.trace == trace && s.name == name {
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

// A payment between two real ledgers, by real processes that log everything and send all three signals to a collector, among other payments and
// mistakes: one trace goes from the payer's command over the provider to both ledgers, what the relayer did is linked to it through
// the traces of the holds, and nothing secret is said anywhere.
func TestABridgePaymentIsOneTraceAndTellsNoSecret(t *testing.T) {
	if testing.Short() {
		t.Skip("real proofs and processes")
	}
	c, url := newCollector(t)
	t.Setenv(telemetry.EnvOTLP, url)
	t.Setenv(telemetry.EnvTraceSample, "1")
	t.Setenv(telemetry.EnvLogLevel, "debug")
	p := newPairOf(t, 900_000_000, 500_000_000)
	s := &script{pair: p, c: c, citizen: p.a.wallet("citizen")}
	p.startProvider()
	p.startRelay("relay")
	s.do(0, p.pay("traced", "71093.617", "--no-wait")...)
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		if _, row := p.status("traced"); row.Status == "settled" {
			s.pays = must(strconv.ParseUint(row.Pays, 10, 64))
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the payment was not settled")
		}
	}
	s.payments()
	s.mistakes()
	stop := func(names ...string) {
		for _, name := range names {
			if code := p.process(name).stop(); code != 0 {
				t.Errorf("%s ended with %d", name, code)
			}
		}
	}
	stop("relay", "provider")
	var f finder
	s.secrets(&f)
	stop("aurelia-ledger", "borealis-ledger", "aurelia-witness", "borealis-witness")
	t.Run("one trace", func(t *testing.T) { oneTrace(t, p, c) })
	t.Run("no secret", func(t *testing.T) { s.nothingIsSaid(t, f) })
}

// oneTrace follows the payment through the spans of all parties.
func oneTrace(t *testing.T, p *pair, c *collector) {
	roots := c.find(func(s told) bool {
		return s.name == "comity bridge pay" && len(c.findIn(s.trace, "bridge.place")) == 1 // the others were refused
	})
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
		if !slices.Equal(s.links, []string{traceText(s.attributes["hold.id"])}) {
			t.Errorf("the entry on %s is linked to %v, not to its hold", s.ledger, s.links)
		}
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
	// The payer's steps are linked to both holds, once there are holds.
	for ledger, id := range holds {
		if got := c.find(func(s told) bool {
			return s.trace == in && strings.HasPrefix(s.name, "bridge.") && s.service == "comity" && slices.Contains(s.links, traceText(id))
		}); len(got) == 0 {
			t.Errorf("no step of the payer is linked to the hold on %s", ledger)
		}
	}
	// The relayer's resolutions are in the traces of the holds; its calls and the ledgers' entries that came of them are linked there.
	for ledger, id := range holds {
		resolved := c.find(func(s told) bool {
			return s.service == "comity-relay" && s.name == "relay.resolve" && s.attributes["hold.id"] == id
		})
		logged := c.find(func(s told) bool {
			return s.name == "ledger.entry" && s.attributes["entry.kind"] == "resolve" && s.attributes["hold.id"] == id && s.attributes["outcome"] == "accepted"
		})
		if len(resolved) == 0 || resolved[0].trace != traceText(id) || resolved[0].attributes["outcome"] != "posted" {
			t.Errorf("hold %s on %s, relayed: %+v", id, ledger, resolved)
		}
		if len(logged) != 1 || logged[0].ledger != ledger || !slices.Equal(logged[0].links, []string{traceText(id)}) {
			t.Fatalf("hold %s on %s, logged: %+v", id, ledger, logged)
		}
		calls := c.find(func(s told) bool {
			return s.service == "comity-relay" && s.name == "relay.submit" && s.trace == logged[0].trace && slices.Contains(s.links, traceText(id))
		})
		if len(calls) != 1 || !slices.ContainsFunc(resolved, func(s told) bool { return slices.Equal(s.links, []string{calls[0].trace}) }) {
			t.Errorf("hold %s on %s, sent: %+v", id, ledger, calls)
		}
	}
	// Both ledgers wrote about the payment into their logs, in its trace. The payer saw both holds final in it: the provider's by its receipt, its
	// own by the checkpoints that its wallet reads.
	for ledger, id := range holds {
		tx, _, _ := strings.Cut(id, "/")
		c.mu.Lock()
		if !slices.ContainsFunc(c.lines, func(l line) bool {
			return l.trace == in && l.ledger == ledger && l.body == "entry" && l.attributes["entry.id"] == tx
		}) {
			t.Errorf("no line of the log of %s about %s is in the trace", ledger, id)
		}
		c.mu.Unlock()
		final := "ledger.receipt"
		if ledger == p.a.genesis.Origin {
			final = "comity.ledger.v1.LedgerService/GetCheckpoint"
		}
		if got := c.find(func(s told) bool { return s.trace == in && s.ledger == ledger && s.name == final }); len(got) == 0 {
			t.Errorf("no %s of %s is in the trace", final, ledger)
		}
	}
	// What spans have beside their names is listed.
	listed := string(must(os.ReadFile("../../../deploy/observability/METRICS.md")))
	for _, s := range c.find(func(told) bool { return true }) {
		for key, value := range s.attributes {
			family, _, _ := strings.Cut(key, ".")
			if !strings.Contains(listed, "`"+key+"`") && !slices.Contains([]string{"rpc", "server", "network", "error", "http"}, family) {
				t.Errorf("%s has the attribute %s, which METRICS.md does not list", s.name, key)
			}
			if len(value) > 120 {
				t.Errorf("%s says %s=%s", s.name, key, value)
			}
		}
	}
}

// traceText is the trace id of a hold.
func traceText(hold string) string {
	id, err := entry.ParseHoldID(hold)
	if err != nil {
		return err.Error()
	}
	trace, _ := id.Trace()
	return hex.EncodeToString(trace[:])
}
