package telemetry

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	tracenoop "go.opentelemetry.io/otel/trace/noop"
	logsv1 "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	metricsv1 "go.opentelemetry.io/proto/otlp/collector/metrics/v1"
	tracesv1 "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonv1 "go.opentelemetry.io/proto/otlp/common/v1"
	resourcev1 "go.opentelemetry.io/proto/otlp/resource/v1"
	"google.golang.org/protobuf/proto"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/wallets/client"
)

// arrived is a collector that keeps what it is sent, in the form of the protocol.
type arrived struct {
	mu      sync.Mutex // guards what follows
	traces  []*tracesv1.ExportTraceServiceRequest
	metrics []*metricsv1.ExportMetricsServiceRequest
	logs    []*logsv1.ExportLogsServiceRequest
}

func (a *arrived) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	b, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	switch r.URL.Path {
	case "/v1/traces":
		m := new(tracesv1.ExportTraceServiceRequest)
		err = proto.Unmarshal(b, m)
		a.traces = append(a.traces, m)
	case "/v1/metrics":
		m := new(metricsv1.ExportMetricsServiceRequest)
		err = proto.Unmarshal(b, m)
		a.metrics = append(a.metrics, m)
	case "/v1/logs":
		m := new(logsv1.ExportLogsServiceRequest)
		err = proto.Unmarshal(b, m)
		a.logs = append(a.logs, m)
	default:
		err = fmt.Errorf("no such path")
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
	}
}

func attributesOf(list []*commonv1.KeyValue) map[string]string {
	out := map[string]string{}
	for _, kv := range list {
		if s, is := kv.GetValue().GetValue().(*commonv1.AnyValue_StringValue); is {
			out[kv.GetKey()] = s.StringValue
		} else {
			out[kv.GetKey()] = fmt.Sprint(kv.GetValue().GetIntValue())
		}
	}
	return out
}

// uninstall takes back what Start installed in the process.
func uninstall() {
	otel.SetMeterProvider(metricnoop.NewMeterProvider())
	otel.SetTracerProvider(tracenoop.NewTracerProvider())
}

// A payment over the network to a ledger with --otlp and --log-level debug: the line that the ledger wrote about the payment reaches the collector with
// the ids of the payment's trace, beside the spans and the metrics, all of one and the same resource; and stands on standard error too.
func TestTheCollectorGetsTheLogOfAPaymentInItsTrace(t *testing.T) {
	set, err := makeSet()
	if err != nil {
		t.Fatal(err)
	}
	a := new(arrived)
	server := httptest.NewServer(a)
	defer server.Close()
	var stderr syncBuffer
	tel, err := Options{otlp: server.URL, sample: 1, logLevel: "debug"}.Start(t.Context(), Config{Service: "comity-ledger", Version: "v0", Ledger: "load.example/log", Stderr: &stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(uninstall)
	l := newLiveWith(t, set, node.Limits{}, tel.Log)
	c, err := client.New(l.url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, root := otel.Tracer("test").Start(t.Context(), "comity wallet pay")
	if _, err := c.Submit(ctx, set.Items[2].Entry, set.Items[2].Segments); err != nil {
		t.Fatal(err)
	}
	root.End()
	l.stop()
	tel.Shutdown(t.Context())

	submitted, err := entry.Decode(set.Items[2].Entry)
	if err != nil {
		t.Fatal(err)
	}
	id, trace := entry.IDOf(submitted).String(), root.SpanContext().TraceID()
	a.mu.Lock()
	defer a.mu.Unlock()
	resources := map[string]string{}
	about := func(signal string, r *resourcev1.Resource) {
		has := attributesOf(r.GetAttributes())
		resources[signal] = fmt.Sprint(has["service.name"], " ", has["service.version"], " ", has["ledger"], " of ", len(has))
	}
	spans := map[string]string{} // name by id
	for _, m := range a.traces {
		for _, r := range m.GetResourceSpans() {
			about("traces", r.GetResource())
			for _, in := range r.GetScopeSpans() {
				for _, s := range in.GetSpans() {
					if bytes.Equal(s.GetTraceId(), trace[:]) {
						spans[hex.EncodeToString(s.GetSpanId())] = s.GetName()
					}
				}
			}
		}
	}
	for _, m := range a.metrics {
		for _, r := range m.GetResourceMetrics() {
			about("metrics", r.GetResource())
		}
	}
	var lines, strange int
	for _, m := range a.logs {
		for _, r := range m.GetResourceLogs() {
			about("logs", r.GetResource())
			for _, in := range r.GetScopeLogs() {
				for _, line := range in.GetLogRecords() {
					has := attributesOf(line.GetAttributes())
					if line.GetBody().GetStringValue() != "entry" || has["entry.id"] != id {
						if bytes.Equal(line.GetTraceId(), trace[:]) {
							strange++
						}
						continue
					}
					lines++
					if !bytes.Equal(line.GetTraceId(), trace[:]) || spans[hex.EncodeToString(line.GetSpanId())] != "ledger.entry" {
						t.Errorf("the line has trace %x and span %x, the payment %s: %v", line.GetTraceId(), line.GetSpanId(), trace, spans)
					}
					if line.GetSeverityText() != "DEBUG" || has["outcome"] != "accepted" || has["trace_id"] != "" {
						t.Errorf("%s: %v", line.GetSeverityText(), has)
					}
				}
			}
		}
	}
	if lines != 1 || strange != 0 {
		t.Errorf("%d lines about the payment, %d of its trace about others", lines, strange)
	}
	const want = "comity-ledger v0 load.example/log of 3"
	if resources["traces"] != want || resources["metrics"] != want || resources["logs"] != want {
		t.Errorf("%v, want %s", resources, want)
	}
	if text := stderr.String(); !strings.Contains(text, "entry.id="+id) || !strings.Contains(text, "trace_id="+trace.String()) {
		t.Errorf("standard error says\n%s", text)
	}
}

// syncBuffer is a buffer that goroutines share.
type syncBuffer struct {
	mu sync.Mutex // guards b
	b  bytes.Buffer
}

func (b *syncBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *syncBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// shy is silent about what it holds when it is printed.
type shy [4]byte

func (shy) String() string { return "(secret)" }

// weird cannot say itself.
type weird struct{}

func (*weird) MarshalText() ([]byte, error) { panic("never") }

func TestALineSaysTheSameToTheCollector(t *testing.T) {
	a := new(arrived)
	server := httptest.NewServer(a)
	defer server.Close()
	tel, err := Options{otlp: server.URL}.Start(t.Context(), Config{Service: "test", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(uninstall)
	tel.Log.With("of", shy{1, 2, 3, 4}).Info("said", "error", io.ErrUnexpectedEOF, "array", shy{115, 101, 99, 114}, "pointer", &shy{5, 6}, "took", 3*time.Second, "nothing", nil,
		"weird", (*weird)(nil), "bytes", []byte{'a', 0xff, 'b'}, "text", "a\xffb", slog.Group("g", "in", shy{}, "n", 7))
	tel.Log.Debug("too quiet")
	tel.Shutdown(t.Context())
	a.mu.Lock()
	defer a.mu.Unlock()
	if len(a.logs) != 1 {
		t.Fatalf("%d requests", len(a.logs))
	}
	records := a.logs[0].GetResourceLogs()[0].GetScopeLogs()[0].GetLogRecords()
	if len(records) != 1 || records[0].GetSeverityText() != "INFO" {
		t.Fatalf("%v", records)
	}
	has := attributesOf(records[0].GetAttributes())
	for key, want := range map[string]string{"of": "(secret)", "error": "unexpected EOF", "array": "(secret)", "pointer": "(secret)", "took": "3s", "nothing": "<nil>", "weird": "!PANIC",
		"bytes": "a\uFFFDb", "text": "a\uFFFDb"} {
		if has[key] != want {
			t.Errorf("%s is %q, want %q", key, has[key], want)
		}
	}
	if text := fmt.Sprint(records[0]); !strings.Contains(text, `string_value:"(secret)"`) || strings.Contains(text, "array_value") || strings.Contains(text, "bytes_value") {
		t.Error(text)
	}
}

// A collector that takes a request and never answers: whoever measures goes on at once, what finds no place is counted, and standard error says it.
func TestASlowCollectorHoldsNobodyUp(t *testing.T) {
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer slow.Close()
	defer close(hang)
	a := new(arrived)
	answers := httptest.NewServer(a)
	defer answers.Close()
	for name, url := range map[string]string{"slow": slow.URL, "down": "http://127.0.0.1:1"} {
		t.Run(name, func(t *testing.T) {
			var stderr syncBuffer
			tel, err := Options{metricsListen: "127.0.0.1:0", otlp: url, sample: 1}.Start(t.Context(), Config{Service: "test", Stderr: &stderr})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(uninstall)
			const many = 5 * maxWaiting
			done := make(chan struct{})
			go func() {
				defer close(done)
				for i := range many {
					ctx, span := otel.Tracer("test").Start(t.Context(), "work")
					tel.Log.InfoContext(ctx, "worked", "i", i)
					span.End()
				}
			}()
			select {
			case <-done:
			case <-time.After(2 * exportTimeout): // it would hang for ever, or take the time of every request
				t.Fatal("who measures waits for the collector")
			}
			if got := strings.Count(stderr.String(), "msg=worked"); got != many {
				t.Errorf("%d lines of %d stand on standard error", got, many)
			}
			said := scrape(t, tel.URL).values
			for _, signal := range []string{"traces", "logs"} {
				full, taken := said[`comity_telemetry_lost_total{ledger="",reason="queue_full",signal="`+signal+`"}`], said[`comity_telemetry_lost_total{ledger="",reason="not_taken",signal="`+signal+`"}`]
				var lost, refused int
				if _, err := fmt.Sscan(full+" "+taken, &lost, &refused); err != nil || lost+refused < many-maxWaiting || name == "slow" && lost == 0 || lost+refused > many {
					t.Errorf("%s: %s found no place, %s were not taken (%v), of %d", signal, full, taken, err, many)
				}
			}
			if name == "slow" {
				return // its end waits for the requests in hand
			}
			tel.Shutdown(context.Background())
			if text := stderr.String(); strings.Count(text, "msg=telemetry ") != 1 {
				t.Errorf("standard error complains %d times", strings.Count(text, "msg=telemetry "))
			}
		})
	}
}

// A node whose collector hangs settles payments as if there were none.
func TestANodeSettlesWhileTheCollectorHangs(t *testing.T) {
	set, err := makeSet()
	if err != nil {
		t.Fatal(err)
	}
	hang := make(chan struct{})
	slow := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { <-hang }))
	defer slow.Close()
	defer close(hang)
	tel, err := Options{otlp: slow.URL, sample: 1, logLevel: "debug"}.Start(t.Context(), Config{Service: "test", Ledger: "load.example/log", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(uninstall)
	l := newLiveWith(t, set, node.Limits{}, tel.Log)
	for i := range maxWaiting { // nothing has a place to wait any more
		tel.Log.InfoContext(t.Context(), "noise", "i", i)
	}
	for i := range set.Items[:4] {
		l.submit(&set.Items[i])
	}
	l.stop()
}
