package node

import (
	"context"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// A journey is a submission whose call is traced, on its way through the node; nil stands for every other, and costs nothing. Its span
// ledger.entry has a child for each stage. Stages serve many entries at once: such work is a span of its own, ledger.prove_batch or
// ledger.block, in the trace of the first traced entry that it serves and linked with the others.
//
//	rpc ── ledger.entry ─┬─ ledger.admit
//	                     ├─ ledger.prove ····· ledger.prove_batch
//	                     ├─ ledger.sequence ·· ledger.block
//	                     ├─ ledger.commit ···· ledger.block
//	                     └─ ledger.cosign      (ends when the entry is final, after the call was answered)
type journey struct {
	ctx     context.Context // of the entry's span
	span    trace.Span
	index   uint64
	durable time.Time
}

// maxJourneys bounds the journeys that wait for witnesses.
const maxJourneys = 1024

// begin starts a journey where the call is traced, and returns the context to go on with.
func (n *Node) begin(ctx context.Context) (context.Context, *journey) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, nil
	}
	ctx, span := n.measures.tracer.Start(ctx, "ledger.entry")
	return ctx, &journey{ctx: ctx, span: span}
}

// stage records a stage that is over. with is the work that it shared with other entries, if any.
func (t *measures) stage(j *journey, name string, start, end time.Time, with trace.SpanContext) {
	if j == nil {
		return
	}
	options := []trace.SpanStartOption{trace.WithTimestamp(start)}
	if with.IsValid() {
		options = append(options, trace.WithLinks(trace.Link{SpanContext: with}))
	}
	_, span := t.tracer.Start(j.ctx, name, options...)
	span.End(trace.WithTimestamp(end))
}

// shared records work for several entries, in the trace of the first journey among them; without a journey it records nothing.
func (t *measures) shared(batch []*task, name string, start, end time.Time, attributes ...attribute.KeyValue) (of trace.SpanContext) {
	var first *journey
	var links []trace.Link
	for _, task := range batch {
		switch {
		case task.journey == nil:
		case first == nil:
			first = task.journey
		default:
			links = append(links, trace.Link{SpanContext: task.journey.span.SpanContext()})
		}
	}
	if first == nil {
		return of
	}
	_, span := t.tracer.Start(first.ctx, name, trace.WithTimestamp(start), trace.WithLinks(links...), trace.WithAttributes(attributes...))
	span.End(trace.WithTimestamp(end))
	return span.SpanContext()
}

// proved books a batch of proofs.
func (t *measures) proved(batch []*task, refusals []error, legs int, start time.Time) {
	end := time.Now()
	t.batch.Record(context.Background(), int64(legs))
	for i := range batch {
		if refusals[i] != nil {
			t.invalid.Add(1)
		}
	}
	with := t.shared(batch, "ledger.prove_batch", start, end, attribute.Int("batch.entries", len(batch)), attribute.Int("batch.proofs", legs))
	if !with.IsValid() {
		return
	}
	for _, task := range batch {
		t.stage(task.journey, "ledger.prove", task.admitted, end, with)
	}
}

// wrote records a durable block. Between proposing it and writing it, it may have waited for the block before.
func (t *measures) wrote(d *draft) {
	batch, p, start, sequenced, end := d.batch, d.proposal, d.start, d.sequenced, time.Now()
	t.block(p.Block, batch, p)
	with := t.shared(batch, "ledger.block", start, end, attribute.Int64("block.height", int64(p.Block.Height)), attribute.Int("block.entries", len(p.Block.Entries)))
	if !with.IsValid() {
		return
	}
	for i, task := range batch {
		if task.journey == nil {
			continue
		}
		t.stage(task.journey, "ledger.sequence", start, sequenced, with)
		if p.Results[i].Status == settlement.Accepted {
			t.stage(task.journey, "ledger.commit", d.writing, end, with)
			task.journey.index, task.journey.durable = p.Results[i].EntryIndex, end
		}
	}
}

// told ends the node's part of a submission: it books what became of it, and says it in the log of who asked for everything.
func (n *Node) told(t *task, r settlement.Result, err error) {
	sub := t.candidate.Submission
	kind := sub.Entry.Kind().String()
	n.measures.count(kind, r, err)
	ctx := n.ctx
	if err == nil && r.Status == settlement.Accepted {
		n.measures.settling.Record(ctx, time.Since(t.began).Seconds())
	}
	if j := t.journey; j != nil {
		ctx = j.ctx
		j.end(kind, r, err, sub)
		if !j.durable.IsZero() {
			n.measures.await(j)
		}
	}
	if n.cfg.Log.Enabled(ctx, slog.LevelDebug) {
		n.cfg.Log.DebugContext(ctx, "entry", "entry.id", sub.ID.String(), "entry.kind", kind, "outcome", outcomeOf(r, err), "code", string(entry.CodeOf(err)),
			"entry.index", r.EntryIndex, "block.height", r.Height)
	}
}

// dismissed ends the journey of a submission that got no further than admission.
func (n *Node) dismissed(j *journey, leaf []byte, r settlement.Result, err error) {
	kind := kindOf(leaf)
	n.measures.count(kind, r, err)
	if j != nil {
		j.end(kind, r, err, nil)
	}
}

func outcomeOf(r settlement.Result, err error) string {
	switch {
	case err == nil:
		return r.Status.String()
	case entry.CodeOf(err) == "":
		return "failed"
	}
	return "refused"
}

// end ends the entry's span. Its attributes are what the log publishes: ids, kinds, places and codes. A refusal's detail stays out of it.
func (j *journey) end(kind string, r settlement.Result, err error, sub *settlement.Submission) {
	j.span.SetAttributes(attribute.String("entry.kind", kind), attribute.String("outcome", outcomeOf(r, err)))
	if sub != nil {
		j.span.SetAttributes(attribute.String("entry.id", sub.ID.String()))
		if hold, about := holdOf(sub); about {
			j.span.SetAttributes(attribute.String("hold.id", hold.String()))
			j.span.AddLink(holdLink(hold))
		}
	}
	if err == nil {
		j.span.SetAttributes(attribute.Int64("entry.index", int64(r.EntryIndex)), attribute.Int64("block.height", int64(r.Height)))
	} else {
		code := string(entry.CodeOf(err))
		j.span.SetAttributes(attribute.String("code", code))
		j.span.SetStatus(codes.Error, code)
	}
	j.span.End()
}

// holdOf is the hold that an entry places or is about: the name under which both ledgers of a bridge payment speak of it.
func holdOf(sub *settlement.Submission) (hold entry.HoldID, about bool) {
	switch e := sub.Entry.(type) {
	case *entry.Resolve:
		return e.Hold, true
	case *entry.Attest:
		return e.Hold, true
	case *entry.Amend:
		return e.Hold, true
	case *entry.Override:
		return e.Hold, true
	}
	for i, leg := range sub.Legs() {
		if leg.Condition.Type != 0 {
			return entry.HoldID{Tx: sub.ID, Leg: uint8(i)}, true
		}
	}
	return entry.HoldID{}, false
}

// holdLink leads to the trace of a hold, whose ids follow from the hold's: there the traces of its placing and of its resolution meet.
func holdLink(hold entry.HoldID) trace.Link {
	t, s := hold.Trace()
	return trace.Link{SpanContext: trace.NewSpanContext(trace.SpanContextConfig{TraceID: t, SpanID: s, TraceFlags: trace.FlagsSampled, Remote: true})}
}

// await keeps a journey until its entry is final. Past the bound it is let go: that it was final is then not in its trace.
func (t *measures) await(j *journey) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.waiting) < maxJourneys {
		t.waiting = append(t.waiting, j)
	}
}

// finish records the journeys whose entries are final. Called with mu held.
func (t *measures) finish(now time.Time, size uint64) {
	kept := t.waiting[:0]
	for _, j := range t.waiting {
		if j.index >= size {
			kept = append(kept, j)
			continue
		}
		_, span := t.tracer.Start(j.ctx, "ledger.cosign", trace.WithTimestamp(j.durable), trace.WithAttributes(attribute.Int64("checkpoint.size", int64(size))))
		span.End(trace.WithTimestamp(now))
	}
	clear(t.waiting[len(kept):])
	t.waiting = kept
}

// span records something that a reader asked for, where the call is traced.
func (n *Node) span(ctx context.Context, name string, attributes ...attribute.KeyValue) (context.Context, func()) {
	if !trace.SpanFromContext(ctx).IsRecording() {
		return ctx, func() {}
	}
	ctx, span := n.measures.tracer.Start(ctx, name, trace.WithAttributes(attributes...))
	return ctx, func() { span.End() }
}
