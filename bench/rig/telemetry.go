package rig

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// scrapeEvery is how often the metrics are read: three times as often as deploy/observability/prometheus.yaml does.
const scrapeEvery = 5 * time.Second

// collector takes whatever telemetry a ledger sends, and throws it away.
func collector() (url string, end func(), err error) {
	return serve(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		w.Header().Set("Content-Type", "application/x-protobuf") // no bytes: everything was taken
	}))
}

// Metrics are the values of a ledger's /metrics by name and labels, as they are written there.
type Metrics map[string]float64

// Sum adds up the series of a name whose labels hold a text.
func (m Metrics) Sum(name, label string) (sum float64) {
	for series, v := range m {
		if n, labels, _ := strings.Cut(series, "{"); n == name && strings.Contains(labels, label) {
			sum += v
		}
	}
	return sum
}

func readMetrics(ctx context.Context, url string) (Metrics, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("metrics: %s", answer.Status)
	}
	m := Metrics{}
	for lines := bufio.NewScanner(answer.Body); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if at < 0 || line[0] == '#' {
			continue
		}
		if v, err := strconv.ParseFloat(line[at+1:], 64); err == nil {
			m[line[:at]] = v
		}
	}
	return m, nil
}

// scrape reads the metrics as Prometheus would, until end is called.
func scrape(url string) (end func()) {
	ctx, stop := context.WithCancel(context.Background())
	var wait sync.WaitGroup
	wait.Go(func() {
		tick := time.NewTicker(scrapeEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			_, _ = readMetrics(ctx, url) // one that fails is missed, as Prometheus would
		}
	})
	return func() { stop(); wait.Wait() }
}
