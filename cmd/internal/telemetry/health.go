package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

// Checks is what a process says of its own health. An empty answer is good; otherwise it names what is wrong, one word each, such as
// "store" or "stage_prove". The words are values of the attribute "check" and stand in METRICS.md.
type Checks interface {
	// Live names what has stopped moving and will not move again by itself: whoever runs the process should restart it. It must not wait.
	Live() []string
	// Ready names why the process should be sent no work now.
	Ready(ctx context.Context) []string
}

// Serves is a process whose health is that it serves.
type Serves struct{}

// Live implements Checks.
func (Serves) Live() []string { return nil }

// Ready implements Checks.
func (Serves) Ready(context.Context) []string { return nil }

// health keeps the checks of the process, none before it has begun.
type health struct {
	mu     sync.Mutex // guards checks
	checks Checks
}

// Serving says whose health is told from now on; nil ends that. A process that has not said it yet is live and not ready.
func (t *Telemetry) Serving(c Checks) {
	t.health.mu.Lock()
	defer t.health.mu.Unlock()
	t.health.checks = c
}

// checkTimeout bounds the checks of readiness.
const checkTimeout = 2 * time.Second

func (h *health) live() []string {
	h.mu.Lock()
	c := h.checks
	h.mu.Unlock()
	if c == nil {
		return nil
	}
	return c.Live()
}

// notServing is why a process is not ready that has not begun, or is about to end.
const notServing = "serving"

func (h *health) ready(ctx context.Context) []string {
	h.mu.Lock()
	c := h.checks
	h.mu.Unlock()
	if c == nil {
		return []string{notServing}
	}
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	return append(c.Live(), c.Ready(ctx)...)
}

func (t *Telemetry) handler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{MaxRequestsInFlight: 4, Timeout: 25 * time.Second}))
	answer := func(w http.ResponseWriter, failed []string) {
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if len(failed) > 0 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_ = json.NewEncoder(w).Encode(map[string]any{"ok": len(failed) == 0, "failed": append([]string{}, failed...)})
	}
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { answer(w, t.health.live()) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) { answer(w, t.health.ready(r.Context())) })
	return mux
}

// observeHealth makes the checks metrics, so that an alert can say what is wrong: 1 is good, and a check that failed has a series of its own.
func (t *Telemetry) observeHealth(meter metric.Meter) error {
	live, err := meter.Int64ObservableGauge("comity.live", metric.WithDescription("1 while every stage of the process moves"))
	if err != nil {
		return fmt.Errorf("make instruments: %w", err)
	}
	ready, err := meter.Int64ObservableGauge("comity.ready", metric.WithDescription("1 while the process should be sent work"))
	if err != nil {
		return fmt.Errorf("make instruments: %w", err)
	}
	failed, err := meter.Int64ObservableGauge("comity.check.failed", metric.WithDescription("1 for each check of health or readiness that fails now"))
	if err != nil {
		return fmt.Errorf("make instruments: %w", err)
	}
	_, err = meter.RegisterCallback(func(ctx context.Context, o metric.Observer) error {
		dead, unready := t.health.live(), t.health.ready(ctx)
		o.ObserveInt64(live, one(len(dead) == 0))
		o.ObserveInt64(ready, one(len(unready) == 0))
		slices.Sort(unready)
		for _, name := range slices.Compact(unready) {
			o.ObserveInt64(failed, 1, metric.WithAttributeSet(attribute.NewSet(attribute.String("check", name))))
		}
		return nil
	}, live, ready, failed)
	if err != nil {
		return fmt.Errorf("register instruments: %w", err)
	}
	return nil
}

func one(is bool) int64 {
	if is {
		return 1
	}
	return 0
}
