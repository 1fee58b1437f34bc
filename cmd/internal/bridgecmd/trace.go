package bridgecmd

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/relayer"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/client"
)

// A payment between ledgers is one trace from the payer's command over the providers to the ledgers, because the trace's id travels with the
// calls. A relayer keeps nothing and is called by nobody, so each hold has a trace of its own, whose ids follow from the hold's
// (entry.HoldID.Trace): the relayer's resolutions are spans of it, and the steps of the payer, the provider's work, the relayer's
// calls and the ledgers' entries about the hold are linked to it.
//
//	payer   ── bridge.accept ── Accept ── bridge.hold ── Submit ── ledger.entry (B) ┄┄┐
//	        ├─ bridge.place  ── Submit ── ledger.entry (A) ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┤
//	        └─ bridge.await  ── ... receipts                                          ├┄ trace of the hold ── relay.resolve
//	relayer ── relay.submit  ── SubmitBatch ── ledger.entry (resolve) ┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┄┘
const scope = "github.com/comity-ledger/comity/cmd/internal/bridgecmd"

// span does something under a span. An error is told by its name alone.
func span(ctx context.Context, name string, do func(context.Context) error, attributes ...attribute.KeyValue) error {
	ctx, s := otel.Tracer(scope).Start(ctx, name, trace.WithAttributes(attributes...))
	defer s.End()
	err := do(ctx)
	if err != nil {
		s.SetStatus(codes.Error, codeOf(err))
	}
	return err
}

// codeOf names a refusal of a provider or of a ledger; anything else is "failed".
func codeOf(err error) string {
	if code := rpc.CodeOf(err); code != "" {
		return code
	}
	if code := entry.CodeOf(err); code != "" {
		return string(code)
	}
	return "failed"
}

// traced is step under a span, with the ids of the payment: the quote's and that of the hold that decides it.
func (x *payer) traced(ctx context.Context, todo bridge.Todo, c bridge.Clock) error {
	return span(ctx, "bridge."+string(todo.Step), func(ctx context.Context) error {
		err := x.step(ctx, todo, c)
		s := trace.SpanFromContext(ctx)
		if x.pay.Cover != nil {
			s.SetAttributes(attribute.String("hold.id", x.pay.Cover.Hold.String()))
			s.AddLink(trace.Link{SpanContext: traceOf(x.pay.Cover.Hold)})
		}
		if x.pay.Hold != (entry.HoldID{}) {
			s.AddLink(trace.Link{SpanContext: traceOf(x.pay.Hold)})
		}
		return err
	})
}

// traceOf is the trace of a hold. Whether it is kept follows from its ids, as for every trace that began elsewhere.
func traceOf(hold entry.HoldID) trace.SpanContext {
	t, s := hold.Trace()
	return trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, SpanID: s, TraceFlags: trace.FlagsSampled, Remote: true})
}

// callers remembers in which trace the work of a deal was asked for: it goes on when the call has ended.
type callers struct{ of sync.Map } // bridge.ID -> trace.SpanContext

func (c *callers) asks(ctx context.Context, id bridge.ID) {
	if caller := trace.SpanContextFromContext(ctx); caller.IsSampled() {
		c.of.Store(id, caller)
	}
}

// work does the work of a deal in the trace of whoever asked for it.
func (c *callers) work(ctx context.Context, deal *bridge.Deal, do func(context.Context) error) error {
	if caller, known := c.of.LoadAndDelete(deal.ID); known {
		ctx = trace.ContextWithSpanContext(ctx, caller.(trace.SpanContext))
	}
	return span(ctx, "bridge.hold", do, attribute.String("quote.id", deal.ID.String()))
}

// Submit implements relayer.Ledger. The call is a trace of the relayer's own, linked to the holds that it is about; each resolution is a span in the
// trace of its hold, linked back.
func (l relayed) Submit(ctx context.Context, entries []entry.Entry) ([]relayer.Result, error) {
	tracer := otel.Tracer(scope)
	items := make([]client.BatchItem, len(entries))
	var holds []trace.Link
	for i, e := range entries {
		items[i].Entry = entry.Encode(e)
		if r, ok := e.(*entry.Resolve); ok {
			holds = append(holds, trace.Link{SpanContext: traceOf(r.Hold)})
		}
	}
	ctx, batch := tracer.Start(ctx, "relay.submit", trace.WithNewRoot(), trace.WithLinks(holds...),
		trace.WithAttributes(attribute.String("on", l.name), attribute.Int("relay.resolutions", len(holds))))
	defer batch.End()
	start := time.Now()
	results, err := l.SubmitBatch(ctx, items)
	if err != nil {
		batch.SetStatus(codes.Error, codeOf(err))
		return nil, err
	}
	out := make([]relayer.Result, len(results))
	for i, got := range results {
		out[i] = relayer.Result{Index: got.Accepted.EntryIndex, Err: got.Err}
		e, ok := entries[i].(*entry.Resolve)
		if !ok {
			continue
		}
		_, s := tracer.Start(trace.ContextWithRemoteSpanContext(ctx, traceOf(e.Hold)), "relay.resolve", trace.WithTimestamp(start), trace.WithLinks(trace.Link{SpanContext: batch.SpanContext()}),
			trace.WithAttributes(attribute.String("hold.id", e.Hold.String()), attribute.String("outcome", e.Outcome.String())))
		if got.Err != nil {
			s.SetStatus(codes.Error, codeOf(got.Err))
		} else {
			s.SetAttributes(attribute.Int64("entry.index", int64(got.Accepted.EntryIndex)))
		}
		s.End()
	}
	return out, nil
}

// measure offers what a relayer does and fails to do.
func (r *relaying) measure() error {
	meter := otel.Meter(scope)
	_, err := meter.Int64ObservableGauge("comity.relay.failing", metric.WithUnit("{task}"), metric.WithDescription("things that a relayer tries and that fail now"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			r.mu.Lock()
			defer r.mu.Unlock()
			o.Observe(int64(len(r.faced)))
			return nil
		}))
	if err != nil {
		return err
	}
	done, err := meter.Int64Counter("comity.relay.done", metric.WithUnit("{entry}"), metric.WithDescription("what a relayer brought to a ledger"))
	if err != nil {
		return err
	}
	say := r.say
	r.say = func(d did) {
		if d.Problem == "" {
			done.Add(context.Background(), 1, metric.WithAttributes(attribute.String("on", d.Ledger), attribute.String("what", d.What)))
		}
		say(d)
	}
	return nil
}

// measure offers what a provider has in hand.
func (p *provider) measure() error {
	meter := otel.Meter(scope)
	deals, err := meter.Int64ObservableGauge("comity.provider.deals", metric.WithUnit("{deal}"), metric.WithDescription("accepted quotes that are not settled"))
	if err != nil {
		return err
	}
	jobs, err := meter.Int64ObservableGauge("comity.provider.jobs", metric.WithUnit("{hold}"), metric.WithDescription("holds in the making"))
	if err != nil {
		return err
	}
	offers, err := meter.Int64ObservableGauge("comity.provider.offers", metric.WithUnit("{pair}"), metric.WithDescription("pairs of currencies that are quoted now; 0 without readable rates"))
	if err != nil {
		return err
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		o.ObserveInt64(deals, int64(p.unfinished()))
		p.mu.Lock()
		defer p.mu.Unlock()
		o.ObserveInt64(jobs, int64(len(p.jobs)))
		o.ObserveInt64(offers, int64(len(p.desk.Offers())))
		return nil
	}, deals, jobs, offers)
	return err
}
