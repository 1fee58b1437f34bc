package telemetry

import (
	"context"
	"encoding"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"
)

// withTrace puts the ids of the trace and span that a line of the log belongs to on it.
type withTrace struct{ slog.Handler }

// Handle implements slog.Handler.
func (h withTrace) Handle(ctx context.Context, r slog.Record) error {
	if span := trace.SpanContextFromContext(ctx); span.IsValid() {
		r = r.Clone()
		r.AddAttrs(slog.String("trace_id", span.TraceID().String()), slog.String("span_id", span.SpanID().String()))
	}
	return h.Handler.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h withTrace) WithAttrs(attrs []slog.Attr) slog.Handler {
	return withTrace{h.Handler.WithAttrs(attrs)}
}

// WithGroup implements slog.Handler.
func (h withTrace) WithGroup(name string) slog.Handler { return withTrace{h.Handler.WithGroup(name)} }

// both gives every line to the log of this machine, which decides what level is said, and the same line to the collector.
type both struct{ here, there slog.Handler }

// Enabled implements slog.Handler.
func (h both) Enabled(ctx context.Context, l slog.Level) bool { return h.here.Enabled(ctx, l) }

// Handle implements slog.Handler. What the collector is given waits in memory: this does not wait for it.
func (h both) Handle(ctx context.Context, r slog.Record) error {
	if err := h.here.Handle(ctx, r); err != nil {
		return err
	}
	same := slog.NewRecord(r.Time, r.Level, valid(r.Message), r.PC)
	r.Attrs(func(a slog.Attr) bool {
		same.AddAttrs(asText(a))
		return true
	})
	return h.there.Handle(ctx, same)
}

// WithAttrs implements slog.Handler.
func (h both) WithAttrs(attrs []slog.Attr) slog.Handler {
	same := make([]slog.Attr, len(attrs))
	for i, a := range attrs {
		same[i] = asText(a)
	}
	return both{h.here.WithAttrs(attrs), h.there.WithAttrs(same)}
}

// WithGroup implements slog.Handler.
func (h both) WithGroup(name string) slog.Handler {
	return both{h.here.WithGroup(name), h.there.WithGroup(name)}
}

// asText makes values what the text of the log says of them. The bridge to OpenTelemetry looks into arrays and structs past their String
// methods, and a type that is silent about itself must stay so.
func asText(a slog.Attr) slog.Attr {
	v := a.Value.Resolve()
	switch v.Kind() {
	case slog.KindGroup:
		group := make([]slog.Attr, 0, len(v.Group()))
		for _, in := range v.Group() {
			group = append(group, asText(in))
		}
		v = slog.GroupValue(group...)
	case slog.KindAny:
		v = slog.StringValue(valid(textOf(v.Any())))
	case slog.KindString, slog.KindDuration, slog.KindTime:
		v = slog.StringValue(valid(v.String()))
	}
	return slog.Attr{Key: valid(a.Key), Value: v}
}

// valid is a text that the protocol can carry: one line with bytes that are no UTF-8 would take its whole batch with it.
func valid(text string) string { return strings.ToValidUTF8(text, "\uFFFD") }

// textOf is slog.TextHandler's form of a value. A value that cannot say itself brings nothing down.
func textOf(v any) (text string) {
	defer func() {
		if r := recover(); r != nil {
			text = "!PANIC"
		}
	}()
	if m, ok := v.(encoding.TextMarshaler); ok {
		text, err := m.MarshalText()
		if err != nil {
			return "!ERROR:" + err.Error()
		}
		return string(text)
	}
	if b, ok := v.([]byte); ok {
		return string(b)
	}
	return fmt.Sprintf("%+v", v)
}

// warnings takes the SDK's own errors and warnings, which it logs as levels 0 and -1, and not what it says of every instrument.
type warnings struct{ slog.Handler }

// Enabled implements slog.Handler.
func (h warnings) Enabled(ctx context.Context, l slog.Level) bool {
	return l >= -1 && h.Handler.Enabled(ctx, l)
}

// complaints says on this machine what the SDK could not do, once a minute at most: a collector that is down is one piece of news. It
// does not reach the collector's own queue, where each complaint would cause the next.
type complaints struct {
	log *slog.Logger

	mu      sync.Mutex // guards what follows
	last    time.Time
	skipped int
}

// Handle implements otel.ErrorHandler.
func (c *complaints) Handle(err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if now := time.Now(); c.last.IsZero() || now.Sub(c.last) >= time.Minute {
		c.log.Warn("telemetry", "error", err.Error(), "unsaid", c.skipped)
		c.last, c.skipped = now, 0
		return
	}
	c.skipped++
}
