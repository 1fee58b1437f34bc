package telemetry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/contrib/bridges/otelslog"
	runtimemetrics "go.opentelemetry.io/contrib/instrumentation/runtime"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/exporters/otlp/otlplog/otlploghttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlpmetric/otlpmetrichttp"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	promexporter "go.opentelemetry.io/otel/exporters/prometheus"
	"go.opentelemetry.io/otel/propagation"
	sdklog "go.opentelemetry.io/otel/sdk/log"
	sdkmetric "go.opentelemetry.io/otel/sdk/metric"
	"go.opentelemetry.io/otel/sdk/metric/exemplar"
	"go.opentelemetry.io/otel/sdk/resource"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// The environment variables that stand for flags which are not given.
const (
	EnvMetricsListen = "COMITY_METRICS_LISTEN"
	EnvOTLP          = "COMITY_OTLP"
	EnvTraceSample   = "COMITY_TRACE_SAMPLE"
	EnvLogLevel      = "COMITY_LOG_LEVEL"
)

// Options are the flags of a command that runs until it is stopped.
type Options struct {
	metricsListen, otlp, logLevel string
	sample                        float64
}

// AddFlags adds the flags to a command that runs until it is stopped. Commands that end by themselves have none: see Commands.
func (o *Options) AddFlags(cmd *cobra.Command) {
	if cmd.Annotations == nil {
		cmd.Annotations = map[string]string{}
	}
	cmd.Annotations[serverMark] = "own"
	f := cmd.Flags()
	f.StringVar(&o.metricsListen, "metrics-listen", "", "serve /metrics, /healthz and /readyz on this address, such as 127.0.0.1:9464 (default: $"+EnvMetricsListen+")")
	f.StringVar(&o.otlp, "otlp", "", "send traces, metrics and the log to the OpenTelemetry collector at this URL, such as http://127.0.0.1:4318 (default: $"+EnvOTLP+")")
	f.Float64Var(&o.sample, "trace-sample", 0.01, "share of traces that are kept, 0 to 1, with --otlp (default: $"+EnvTraceSample+", else 0.01)")
	f.StringVar(&o.logLevel, "log-level", "", "debug, info, warn or error (default: $"+EnvLogLevel+", else info)")
}

// Config says what a process is.
type Config struct {
	// Service is what the process does: "comity-ledger", "comity-witness", "comity-provider", "comity-relay".
	Service string
	// Version is the version of the software.
	Version string
	// Ledger is the origin of the ledger that it serves, "" for none.
	Ledger string
	// Stderr takes the log.
	Stderr io.Writer
	// Flags are those of the command, to tell a flag that was given from its default; nil takes the options as they are.
	Flags *cobra.Command
}

// serverMark is on commands that set themselves up.
const serverMark = "telemetry"

// Telemetry is what Start set up. Shutdown must be called, after everything that measures has ended.
type Telemetry struct {
	// Log writes to Config.Stderr, with the ids of the trace that a line belongs to; with --otlp the collector is sent the same lines.
	Log *slog.Logger
	// URL is where /metrics, /healthz and /readyz answer, "" without --metrics-listen.
	URL string

	here    *slog.Logger // Config.Stderr alone
	health  health
	closers []func(context.Context) error // in the order of the set-up
}

// exportTimeout bounds one request to the collector, and flushing at the end.
const exportTimeout = 5 * time.Second

// Start sets the process up as the flags and the environment say. Nothing is installed without them but the log.
func (o Options) Start(ctx context.Context, c Config) (t *Telemetry, err error) {
	if err := o.fromEnvironment(c.Flags); err != nil {
		return nil, err
	}
	level := slog.LevelInfo
	if o.logLevel != "" {
		if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
			return nil, cli.Usagef("--log-level %q: want debug, info, warn or error", o.logLevel)
		}
	}
	if o.sample < 0 || o.sample > 1 || o.sample != o.sample {
		return nil, cli.Usagef("--trace-sample %v: want 0 to 1", o.sample)
	}
	here := withTrace{slog.NewTextHandler(c.Stderr, &slog.HandlerOptions{Level: level})}
	t = &Telemetry{Log: slog.New(here), here: slog.New(here)}
	defer func() {
		if err != nil {
			t.Shutdown(ctx)
			t = nil
		}
	}()
	if o.metricsListen == "" && o.otlp == "" {
		return t, nil
	}
	// What the SDK has to say goes to the log, and never to a caller: a collector that is down must not disturb a ledger.
	otel.SetErrorHandler(&complaints{log: t.here})
	otel.SetLogger(logr.FromSlogHandler(warnings{here}))
	about, err := resource.New(ctx, resource.WithAttributes(
		attribute.String("service.name", c.Service), attribute.String("service.version", c.Version), attribute.String("ledger", c.Ledger)))
	if err != nil {
		return t, fmt.Errorf("describe this process: %w", err)
	}
	options := []sdkmetric.Option{sdkmetric.WithResource(about), sdkmetric.WithExemplarFilter(exemplar.AlwaysOffFilter)} // traces are found by ids
	var traced, logged sending
	if o.otlp != "" {
		endpoint, err := collector(o.otlp)
		if err != nil {
			return t, err
		}
		traces, err := otlptracehttp.New(ctx, otlptracehttp.WithEndpointURL(endpoint+"/v1/traces"), otlptracehttp.WithTimeout(exportTimeout))
		if err != nil {
			return t, fmt.Errorf("send traces to the collector: %w", err)
		}
		t.installTraces(sdktrace.WithSpanProcessor(batchSpans(traces, &traced)), about, o.sample)
		lines, err := otlploghttp.New(ctx, otlploghttp.WithEndpointURL(endpoint+"/v1/logs"), otlploghttp.WithTimeout(exportTimeout))
		if err != nil {
			return t, fmt.Errorf("send the log to the collector: %w", err)
		}
		t.installLog(here, batchLines(lines, &logged), about)
		metrics, err := otlpmetrichttp.New(ctx, otlpmetrichttp.WithEndpointURL(endpoint+"/v1/metrics"), otlpmetrichttp.WithTimeout(exportTimeout))
		if err != nil {
			return t, fmt.Errorf("send metrics to the collector: %w", err)
		}
		options = append(options, sdkmetric.WithReader(sdkmetric.NewPeriodicReader(metrics, sdkmetric.WithInterval(15*time.Second), sdkmetric.WithTimeout(exportTimeout))))
	}
	registry := prometheus.NewRegistry()
	if o.metricsListen != "" {
		registry.MustRegister(collectors.NewProcessCollector(collectors.ProcessCollectorOpts{})) // new registry: nothing of that name is there
		reader, err := prometheusReader(registry)
		if err != nil {
			return t, err
		}
		options = append(options, sdkmetric.WithReader(reader))
	}
	provider := sdkmetric.NewMeterProvider(options...)
	t.closers = append(t.closers, provider.Shutdown)
	otel.SetMeterProvider(provider)
	if err := runtimemetrics.Start(runtimemetrics.WithMeterProvider(provider)); err != nil {
		return t, fmt.Errorf("measure the runtime: %w", err)
	}
	if err := t.observeHealth(provider.Meter(scope)); err != nil {
		return t, err
	}
	if o.otlp != "" {
		if err := observeSending(provider.Meter(scope), &traced, &logged); err != nil {
			return t, err
		}
	}
	if o.metricsListen != "" {
		return t, t.serve(ctx, o.metricsListen, registry)
	}
	return t, nil
}

const scope = "github.com/comity-ledger/comity/cmd/internal/telemetry"

// prometheusReader gives metrics to a registry under stable names: METRICS.md has the table. Every series says of which ledger it is.
func prometheusReader(registry *prometheus.Registry) (*promexporter.Exporter, error) {
	reader, err := promexporter.New(promexporter.WithRegisterer(registry), promexporter.WithoutScopeInfo(),
		promexporter.WithResourceAsConstantLabels(attribute.NewAllowKeysFilter("ledger")))
	if err != nil {
		return nil, fmt.Errorf("offer metrics to Prometheus: %w", err)
	}
	return reader, nil
}

// installTraces keeps a share of the traces that begin here. Whether a trace that began elsewhere is kept follows from its id and the same
// share, never from what a caller asks: a stranger must not be able to make a ledger record everything.
func (t *Telemetry) installTraces(to sdktrace.TracerProviderOption, about *resource.Resource, share float64) {
	ratio := sdktrace.TraceIDRatioBased(share)
	sampler := sdktrace.ParentBased(ratio, sdktrace.WithRemoteParentSampled(ratio))
	provider := sdktrace.NewTracerProvider(to, sdktrace.WithResource(about), sdktrace.WithSampler(sampler))
	t.closers = append(t.closers, provider.Shutdown)
	otel.SetTracerProvider(provider)
	otel.SetTextMapPropagator(propagation.TraceContext{})
}

// installLog gives the log to the collector too, from now on and as this machine says it.
func (t *Telemetry) installLog(here slog.Handler, to sdklog.Processor, about *resource.Resource) {
	provider := sdklog.NewLoggerProvider(sdklog.WithProcessor(to), sdklog.WithResource(about))
	t.closers = append(t.closers, provider.Shutdown)
	t.Log = slog.New(both{here, otelslog.NewHandler(scope, otelslog.WithLoggerProvider(provider))})
}

// fromEnvironment fills in the flags that were not given.
func (o *Options) fromEnvironment(flags *cobra.Command) error {
	given := func(name string) bool { return flags != nil && flags.Flags().Changed(name) }
	for name, at := range map[string]*string{EnvMetricsListen: &o.metricsListen, EnvOTLP: &o.otlp, EnvLogLevel: &o.logLevel} {
		if *at == "" {
			*at = os.Getenv(name)
		}
	}
	if text := os.Getenv(EnvTraceSample); text != "" && !given("trace-sample") {
		share, err := strconv.ParseFloat(text, 64)
		if err != nil {
			return cli.Usagef("%s=%q: want a number from 0 to 1", EnvTraceSample, text)
		}
		o.sample = share
	}
	return nil
}

// collector checks the URL of a collector. Plain http is accepted anywhere, because nothing secret is ever sent; who could listen learns
// how busy the ledger is. User names and passwords are refused: they would stand in process lists and logs. A collector
// that wants them is reached through one on this machine.
func collector(text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "", cli.Usagef("--otlp: want http://HOST:4318 or https://HOST:4318, without a user name")
	}
	return strings.TrimRight(u.String(), "/"), nil
}

// serve answers Prometheus and whoever asks for health.
func (t *Telemetry) serve(ctx context.Context, address string, registry *prometheus.Registry) error {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", address)
	if err != nil {
		return fmt.Errorf("listen for Prometheus on %s: %w", address, err)
	}
	server := &http.Server{Handler: t.handler(registry), ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second,
		IdleTimeout: time.Minute, MaxHeaderBytes: 16 << 10, ErrorLog: slog.NewLogLogger(t.Log.Handler(), slog.LevelDebug)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
			t.Log.Error("metrics are served no more", "error", err)
		}
	}()
	t.URL = "http://" + listener.Addr().String()
	t.closers = append(t.closers, func(ctx context.Context) error {
		err := server.Shutdown(ctx)
		if err != nil {
			err = errors.Join(err, server.Close())
		}
		<-done
		return err
	})
	return nil
}

// Shutdown sends what is not sent yet and ends everything, the last thing first. It waits five seconds at most, also when ctx has ended. That
// a collector is down is no failure of the process: the log says it.
func (t *Telemetry) Shutdown(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), exportTimeout)
	defer cancel()
	var err error
	for i := len(t.closers) - 1; i >= 0; i-- {
		err = errors.Join(err, t.closers[i](ctx))
	}
	t.closers = nil
	if err != nil {
		t.here.Warn("telemetry was not sent to the end", "error", err.Error())
	}
}
