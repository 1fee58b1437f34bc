package telemetry

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/wallets/client"
)

// record sets this process up as --otlp does, with spans kept in memory.
func record(t *testing.T, share float64) *tracetest.InMemoryExporter {
	t.Helper()
	kept := tracetest.NewInMemoryExporter()
	tel := &Telemetry{Log: slog.New(slog.DiscardHandler), here: slog.New(slog.DiscardHandler)}
	tel.installTraces(sdktrace.WithSyncer(kept), resource.Empty(), share)
	t.Cleanup(func() {
		tel.Shutdown(context.Background())
		otel.SetTracerProvider(tracenoop.NewTracerProvider())
	})
	return kept
}

// tree prints the spans of a trace as a tree, names only, children in alphabetical order; work that several entries share stands under the
// first of them.
func tree(spans tracetest.SpanStubs) string {
	var out strings.Builder
	var walk func(parent string, depth int)
	walk = func(parent string, depth int) {
		var level tracetest.SpanStubs
		for _, s := range spans {
			id := ""
			if s.Parent.IsValid() {
				id = s.Parent.SpanID().String()
			}
			if id == parent {
				level = append(level, s)
			}
		}
		slices.SortFunc(level, func(a, b tracetest.SpanStub) int { return strings.Compare(a.Name, b.Name) })
		for _, s := range level {
			fmt.Fprintf(&out, "%s%s %s\n", strings.Repeat("  ", depth), s.Name, s.SpanKind)
			walk(s.SpanContext.SpanID().String(), depth+1)
		}
	}
	walk("", 0)
	return out.String()
}

const wantTree = `comity wallet pay internal
  comity.ledger.v1.LedgerService/GetReceipt client
    comity.ledger.v1.LedgerService/GetReceipt server
      ledger.receipt internal
  comity.ledger.v1.LedgerService/Submit client
    comity.ledger.v1.LedgerService/Submit server
      ledger.entry internal
        ledger.admit internal
        ledger.block internal
        ledger.commit internal
        ledger.cosign internal
        ledger.prove internal
        ledger.prove_batch internal
        ledger.sequence internal
`

func TestAPaymentIsOneTraceFromWalletToReceipt(t *testing.T) {
	set, err := makeSet()
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(t, set, node.Limits{})
	spans := record(t, 1)
	l.restart() // so that the node's tracer is the one that records
	item := &set.Items[0]
	c, err := client.New(l.url)
	if err != nil {
		t.Fatal(err)
	}
	ctx, root := otel.Tracer("test").Start(t.Context(), "comity wallet pay")
	accepted, err := c.Submit(ctx, item.Entry, item.Segments)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Receipt(ctx, accepted.EntryIndex, 10*time.Second); err != nil {
		t.Fatal(err)
	}
	root.End()
	find := func(name string) *tracetest.SpanStub {
		for _, s := range spans.GetSpans() {
			if s.Name == name {
				return &s
			}
		}
		return nil
	}
	l.until("the entry's span of cosigning", func() bool { return find("ledger.cosign") != nil })
	if got := tree(spans.GetSpans()); got != wantTree {
		t.Errorf("the trace is\n%s\nwant\n%s", got, wantTree)
	}
	for stage, work := range map[string]string{"ledger.prove": "ledger.prove_batch", "ledger.sequence": "ledger.block", "ledger.commit": "ledger.block"} {
		if links := find(stage).Links; len(links) != 1 || links[0].SpanContext.SpanID() != find(work).SpanContext.SpanID() {
			t.Errorf("%s is not linked with %s: %v", stage, work, links)
		}
	}
	// The ids on the entry's span are those of the log.
	submitted, err := entry.Decode(item.Entry)
	if err != nil {
		t.Fatal(err)
	}
	attributes := map[string]string{}
	for _, a := range find("ledger.entry").Attributes {
		attributes[string(a.Key)] = a.Value.String()
	}
	for key, want := range map[string]string{"entry.id": entry.IDOf(submitted).String(), "entry.kind": "transfer", "outcome": "accepted",
		"entry.index": fmt.Sprint(accepted.EntryIndex), "block.height": fmt.Sprint(accepted.Height)} {
		if attributes[key] != want {
			t.Errorf("%s is %q, want %q", key, attributes[key], want)
		}
	}
	nothingSecret(t, set, spans.GetSpans())
}

// nothingSecret greps all that spans say for what only payer and payee may know, and for bytes that are too long for any id.
func nothingSecret(t *testing.T, set *dataset.Set, spans tracetest.SpanStubs) {
	t.Helper()
	secrets, err := dataset.SecretsOf(set.Seed)
	if err != nil {
		t.Fatal(err)
	}
	forbidden := []string{hex.EncodeToString(set.Seed[:]), hex.EncodeToString(secrets.Log.Seed()), hex.EncodeToString(secrets.Witness.Seed())}
	for _, item := range set.Items[:1] {
		e, err := entry.Decode(item.Entry)
		if err != nil {
			t.Fatal(err)
		}
		for _, leg := range e.(*entry.Transaction).Legs {
			for _, n := range leg.Nullifiers {
				forbidden = append(forbidden, n.String())
			}
		}
	}
	var said bytes.Buffer
	for _, s := range spans {
		fmt.Fprintln(&said, s.Name, s.Status.Description, s.Attributes, s.Events)
		for _, a := range s.Attributes {
			if !slices.Contains(allowed, string(a.Key)) {
				t.Errorf("%s has the attribute %s, which METRICS.md does not list", s.Name, a.Key)
			}
			if len(a.Value.String()) > 80 {
				t.Errorf("%s says %s=%s", s.Name, a.Key, a.Value.String())
			}
		}
	}
	for _, f := range forbidden {
		if strings.Contains(said.String(), f) {
			t.Errorf("a span says %s", f)
		}
	}
}

func TestATraceIsKeptByItsIdAndNotByWhatACallerAsks(t *testing.T) {
	set, err := makeSet()
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(t, set, node.Limits{})
	spans := record(t, 1)
	ctx, root := otel.Tracer("test").Start(t.Context(), "a caller that samples all") // the flag travels in the header
	header := root.SpanContext()
	none := record(t, 0) // the ledger's own share is none
	l.restart()
	c, err := client.New(l.url)
	if err != nil {
		t.Fatal(err)
	}
	if !header.IsSampled() {
		t.Fatal("the caller samples nothing")
	}
	if _, err := c.Submit(ctx, set.Items[1].Entry, set.Items[1].Segments); err != nil {
		t.Fatal(err)
	}
	root.End()
	for _, s := range append(spans.GetSpans(), none.GetSpans()...) {
		if strings.HasPrefix(s.Name, "ledger.") || s.SpanKind.String() == "server" {
			t.Errorf("kept %s", s.Name)
		}
	}
}
