package witnesscmd

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
)

const scope = "github.com/comity-ledger/comity/cmd/internal/witnesscmd"

// measured counts the witness's answers by their HTTP status, which tells cosigned (200) from "you are behind" (409) and from refusals, and
// offers the size of the tree that it last cosigned.
func measured(h http.Handler, size func() uint64) (http.Handler, error) {
	meter := otel.Meter(scope)
	answers, err := meter.Int64Counter("comity.witness.answers", metric.WithUnit("{request}"), metric.WithDescription("answers of this witness, by HTTP status"))
	if err != nil {
		return nil, err
	}
	if _, err := meter.Int64ObservableGauge("comity.witness.size", metric.WithUnit("{entry}"), metric.WithDescription("entries under the newest checkpoint that this witness cosigned"),
		metric.WithInt64Callback(func(_ context.Context, o metric.Int64Observer) error {
			o.Observe(int64(size()))
			return nil
		})); err != nil {
		return nil, err
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s := &status{ResponseWriter: w, code: http.StatusOK}
		h.ServeHTTP(s, r)
		answers.Add(r.Context(), 1, metric.WithAttributes(attribute.Int("status", s.code)))
	}), nil
}

// forks makes the counter of forks, from 0 on.
func forks() (seen func(), err error) {
	counter, err := otel.Meter(scope).Int64Counter("comity.witness.forks", metric.WithUnit("{fork}"), metric.WithDescription("times the log showed this witness a second history"))
	if err != nil {
		return nil, err
	}
	counter.Add(context.Background(), 0)
	return func() { counter.Add(context.Background(), 1) }, nil
}

// status remembers the status of an answer.
type status struct {
	http.ResponseWriter
	code int
}

// WriteHeader implements http.ResponseWriter.
func (s *status) WriteHeader(code int) {
	s.code = code
	s.ResponseWriter.WriteHeader(code)
}

// Unwrap lets http.ResponseController reach the connection.
func (s *status) Unwrap() http.ResponseWriter { return s.ResponseWriter }
