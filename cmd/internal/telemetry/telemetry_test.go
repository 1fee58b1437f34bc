package telemetry

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// checks is a process whose health a test sets.
type checks struct {
	mu          sync.Mutex // guards what follows
	live, ready []string
}

func (c *checks) Live() []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.live
}

func (c *checks) Ready(context.Context) []string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.ready
}

func (c *checks) set(live, ready []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live, c.ready = live, ready
}

func get(t *testing.T, url string) (int, string) {
	t.Helper()
	answer, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	b, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(b)
}

func TestHealthAndReadinessSayWhatIsWrong(t *testing.T) {
	tel, err := Options{metricsListen: "127.0.0.1:0"}.Start(t.Context(), Config{Service: "test", Ledger: "ledger.test/log", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(context.Background())
	var c checks
	for _, step := range []struct {
		do             func()
		live, ready    int
		failed, metric string
	}{
		{func() {}, 200, 503, `["serving"]`, `comity_ready{ledger="ledger.test/log"} 0`},
		{func() { tel.Serving(&c) }, 200, 200, `[]`, `comity_ready{ledger="ledger.test/log"} 1`},
		{func() { c.set(nil, []string{"store"}) }, 200, 503, `["store"]`, `comity_check_failed{check="store",ledger="ledger.test/log"} 1`},
		{func() { c.set([]string{"stage_prove"}, nil) }, 503, 503, `["stage_prove"]`, `comity_live{ledger="ledger.test/log"} 0`},
		{func() { tel.Serving(nil) }, 200, 503, `["serving"]`, `comity_live{ledger="ledger.test/log"} 1`},
	} {
		step.do()
		if code, body := get(t, tel.URL+"/healthz"); code != step.live {
			t.Errorf("live: %d %s, want %d", code, body, step.live)
		}
		code, body := get(t, tel.URL+"/readyz")
		var said struct{ Failed json.RawMessage }
		if err := json.Unmarshal([]byte(body), &said); err != nil || code != step.ready || string(said.Failed) != step.failed {
			t.Errorf("ready: %d %s %v, want %d %s", code, body, err, step.ready, step.failed)
		}
		if _, body := get(t, tel.URL+"/metrics"); !strings.Contains(body, step.metric+"\n") {
			t.Errorf("no %s in\n%s", step.metric, body)
		}
	}
}

func TestLogLinesCarryTheTrace(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(withTrace{slog.NewJSONHandler(&out, nil)}).With("ledger", "l").WithGroup("g")
	span := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}})
	log.InfoContext(trace.ContextWithSpanContext(t.Context(), span), "said")
	if got := out.String(); !strings.Contains(got, `"trace_id":"01000000000000000000000000000000","span_id":"0200000000000000"`) {
		t.Error(got)
	}
	out.Reset()
	log.InfoContext(t.Context(), "said")
	if got := out.String(); strings.Contains(got, "trace_id") {
		t.Error(got)
	}
}

// collectorDouble counts what it is sent.
type collectorDouble struct {
	mu    sync.Mutex // guards calls
	calls map[string]int
}

func (c *collectorDouble) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.calls[r.URL.Path]++
}

func TestShutdownSendsWhatIsLeft(t *testing.T) {
	double := &collectorDouble{calls: map[string]int{}}
	server := httptest.NewServer(double)
	defer server.Close()
	tel, err := Options{otlp: server.URL, sample: 1}.Start(t.Context(), Config{Service: "test", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "work")
	span.End()
	ended, cancel := context.WithCancel(t.Context())
	cancel() // as after SIGTERM
	tel.Shutdown(ended)
	if double.calls["/v1/traces"] == 0 || double.calls["/v1/metrics"] == 0 {
		t.Errorf("the collector was sent %v", double.calls)
	}
}

func TestADeadCollectorIsNoFailure(t *testing.T) {
	var out bytes.Buffer
	tel, err := Options{otlp: "http://127.0.0.1:1", sample: 1}.Start(t.Context(), Config{Service: "test", Stderr: &out})
	if err != nil {
		t.Fatal(err)
	}
	_, span := otel.Tracer("test").Start(t.Context(), "work")
	span.End()
	start := time.Now()
	tel.Shutdown(t.Context())
	if took := time.Since(start); took > exportTimeout+time.Second {
		t.Errorf("it took %v", took)
	}
	if !strings.Contains(out.String(), "telemetry") {
		t.Error("nothing was said of it")
	}
}

func TestBadOptionsAreRefused(t *testing.T) {
	for name, o := range map[string]Options{
		"no URL":     {otlp: "collector:4318"},
		"a password": {otlp: "http://user:secret@127.0.0.1:4318"},
		"share":      {sample: 1.5},
		"level":      {logLevel: "loud"},
	} {
		_, err := o.Start(t.Context(), Config{Stderr: io.Discard})
		if code, _ := cli.CodeOf(err); code != cli.Usage || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Options{metricsListen: "127.0.0.1:99999"}).Start(t.Context(), Config{Stderr: io.Discard}); err == nil {
		t.Error("a port that cannot be was taken")
	}
}

func TestFlagsComeBeforeTheEnvironment(t *testing.T) {
	t.Setenv(EnvOTLP, "http://127.0.0.1:1")
	t.Setenv(EnvTraceSample, "0.5")
	var o Options
	cmd := &cobra.Command{Use: "x", RunE: func(*cobra.Command, []string) error { return nil }}
	o.AddFlags(cmd)
	cmd.SetArgs([]string{"--trace-sample", "0.25"})
	if err := cmd.Execute(); err != nil {
		t.Fatal(err)
	}
	if err := o.fromEnvironment(cmd); err != nil || o.sample != 0.25 || o.otlp != "http://127.0.0.1:1" {
		t.Errorf("%+v, %v", o, err)
	}
	t.Setenv(EnvTraceSample, "all")
	if err := (&Options{}).fromEnvironment(nil); err == nil {
		t.Error("a share that is no number was taken")
	}
}
