package telemetry

import (
	"context"
	"fmt"
	"sync/atomic"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// maxWaiting bounds the spans, and the lines of the log, that wait for the collector. Past it they are let go and counted: whoever measures
// never waits.
const maxWaiting = 2048

// sending counts what of one signal waits for the collector and what was lost.
type sending struct {
	waiting       atomic.Int64
	full, refused atomic.Int64 // lost: no place to wait; not taken by the collector
}

// take makes a place to wait, unless there is none.
func (s *sending) take() bool {
	if s.waiting.Add(1) <= maxWaiting {
		return true
	}
	s.waiting.Add(-1)
	s.full.Add(1)
	return false
}

// sent ends the waiting of n.
func (s *sending) sent(n int, err error) {
	s.waiting.Add(int64(-n))
	if err != nil {
		s.refused.Add(int64(n))
	}
}

// observeSending makes what was lost a metric. Metrics themselves are not in it: they add up, so that the next that arrives makes up for one that did not.
func observeSending(meter metric.Meter, traces, logs *sending) error {
	lost, err := meter.Int64ObservableCounter("comity.telemetry.lost", metric.WithUnit("{record}"), metric.WithDescription("spans and lines of the log that the collector never got"))
	if err != nil {
		return fmt.Errorf("make instruments: %w", err)
	}
	label := func(signal, reason string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String("signal", signal), attribute.String("reason", reason)))
	}
	rows := []struct {
		of *atomic.Int64
		as metric.ObserveOption
	}{
		{&traces.full, label("traces", "queue_full")}, {&traces.refused, label("traces", "not_taken")},
		{&logs.full, label("logs", "queue_full")}, {&logs.refused, label("logs", "not_taken")},
	}
	_, err = meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		for _, r := range rows {
			o.ObserveInt64(lost, r.of.Load(), r.as)
		}
		return nil
	}, lost)
	if err != nil {
		return fmt.Errorf("register instruments: %w", err)
	}
	return nil
}

// spanQueue admits spans to a batch that never fills.
type spanQueue struct {
	sdktrace.SpanProcessor
	count *sending
}

// OnEnd implements sdktrace.SpanProcessor.
func (q spanQueue) OnEnd(s sdktrace.ReadOnlySpan) {
	if s.SpanContext().IsSampled() && q.count.take() {
		q.SpanProcessor.OnEnd(s)
	}
}

// spanSender counts what became of spans.
type spanSender struct {
	sdktrace.SpanExporter
	count *sending
}

// ExportSpans implements sdktrace.SpanExporter.
func (s spanSender) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := s.SpanExporter.ExportSpans(ctx, spans)
	s.count.sent(len(spans), err)
	return err
}

// batchSpans sends spans in batches, and never makes anybody wait.
func batchSpans(to sdktrace.SpanExporter, count *sending) sdktrace.SpanProcessor {
	return spanQueue{sdktrace.NewBatchSpanProcessor(spanSender{to, count}, sdktrace.WithMaxQueueSize(maxWaiting), sdktrace.WithExportTimeout(exportTimeout)), count}
}

// lineQueue admits lines of the log to a batch that never fills.
type lineQueue struct {
	sdklog.Processor
	count *sending
}

// OnEmit implements sdklog.Processor.
func (q lineQueue) OnEmit(ctx context.Context, r *sdklog.Record) error {
	if !q.count.take() {
		return nil
	}
	return q.Processor.OnEmit(ctx, r)
}

// lineSender counts what became of lines.
type lineSender struct {
	sdklog.Exporter
	count *sending
}

// Export implements sdklog.Exporter.
func (s lineSender) Export(ctx context.Context, lines []sdklog.Record) error {
	err := s.Exporter.Export(ctx, lines)
	s.count.sent(len(lines), err)
	return err
}

// batchLines sends lines of the log in batches, and never makes anybody wait.
func batchLines(to sdklog.Exporter, count *sending) sdklog.Processor {
	return lineQueue{sdklog.NewBatchProcessor(lineSender{to, count}, sdklog.WithMaxQueueSize(maxWaiting), sdklog.WithExportTimeout(exportTimeout)), count}
}
