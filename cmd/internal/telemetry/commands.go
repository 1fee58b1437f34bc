package telemetry

import (
	"context"

	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// Commands makes every command below root that ends by itself the root of a trace, where the environment names a collector: a payment can
// then be followed from the wallet's command to the receipt. Such a command keeps every trace of its own unless the environment says
// otherwise. The span has the command's name, its exit code and the name of a refusal; arguments and messages stay out of it.
func Commands(root *cobra.Command, version string) {
	for _, cmd := range root.Commands() {
		Commands(cmd, version)
		run := cmd.RunE
		if run == nil || cmd.Annotations[serverMark] != "" {
			continue
		}
		cmd.RunE = func(cmd *cobra.Command, args []string) (err error) {
			o := Options{sample: 1, logLevel: "error"}
			if err := o.fromEnvironment(nil); err != nil {
				return err
			}
			o.metricsListen = "" // a port belongs to processes that stay
			if o.otlp == "" {
				return run(cmd, args)
			}
			t, err := o.Start(cmd.Context(), Config{Service: "comity", Version: version, Stderr: cmd.ErrOrStderr()})
			if err != nil {
				return err
			}
			ctx, span := otel.Tracer(scope).Start(cmd.Context(), cmd.CommandPath())
			cmd.SetContext(ctx)
			defer func() {
				code, name := cli.CodeOf(err)
				span.SetAttributes(attribute.Int("exit.code", int(code)))
				if err != nil {
					span.SetStatus(codes.Error, name)
				}
				span.End()
				t.Shutdown(ctx)
			}()
			return run(cmd, args)
		}
	}
}

// Note puts an id on the running span, where there is one that is kept. What may be noted is in the package comment.
func Note(ctx context.Context, key, value string) {
	trace.SpanFromContext(ctx).SetAttributes(attribute.String(key, value))
}
