package telemetry

import (
	"context"
	"io"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/node"
	"github.com/comity-ledger/comity/wallets/client"
)

var (
	typeLine   = regexp.MustCompile(`^# TYPE (\S+) (\S+)$`)
	sampleLine = regexp.MustCompile(`^([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{(.*)\})? (\S+)$`)
	labelPair  = regexp.MustCompile(`([a-zA-Z_]+)="([^"]*)"`)
)

// exposed is what /metrics says: kinds by family, labels by family, and values by series.
type exposed struct {
	kinds  map[string]string
	labels map[string][]string
	values map[string]string
}

func scrape(t *testing.T, url string) exposed {
	t.Helper()
	_, body := get(t, url+"/metrics")
	e := exposed{map[string]string{}, map[string][]string{}, map[string]string{}}
	for _, line := range strings.Split(body, "\n") {
		if m := typeLine.FindStringSubmatch(line); m != nil {
			e.kinds[m[1]] = m[2]
		} else if m := sampleLine.FindStringSubmatch(line); m != nil {
			e.values[m[1]+"{"+m[2]+"}"] = m[3]
			family := m[1]
			for _, suffix := range []string{"_bucket", "_sum", "_count"} {
				if cut, ok := strings.CutSuffix(m[1], suffix); ok && e.kinds[cut] == "histogram" {
					family = cut
				}
			}
			for _, p := range labelPair.FindAllStringSubmatch(m[2], -1) {
				if !slices.Contains(e.labels[family], p[1]) {
					e.labels[family] = append(e.labels[family], p[1])
				}
			}
		}
	}
	return e
}

// rarely are metrics of the ledger that appear only once there is something to tell, or with a collector.
var rarely = []string{"comity_check_failed", "comity_holds_oldest_seconds", "comity_corridor_state", "comity_corridor_observed_seconds", "comity_corridor_in_flight",
	"comity_corridor_cap", "comity_corridor_claims", "comity_telemetry_lost_total"}

func TestALedgerSaysWhatTheTableSays(t *testing.T) {
	set, err := makeSet()
	if err != nil {
		t.Fatal(err)
	}
	tel, err := Options{metricsListen: "127.0.0.1:0"}.Start(t.Context(), Config{Service: "test", Ledger: "load.example/log", Stderr: io.Discard})
	if err != nil {
		t.Fatal(err)
	}
	defer tel.Shutdown(context.Background())
	l := newLive(t, set, node.Limits{})
	defer l.stop()
	tel.Serving(l.node)
	c, err := client.New(l.url)
	if err != nil {
		t.Fatal(err)
	}
	for i := range set.Items[:3] {
		a, err := c.Submit(t.Context(), set.Items[i].Entry, set.Items[i].Segments)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Receipt(t.Context(), a.EntryIndex, 5e9); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.Submit(t.Context(), set.Items[0].Entry, set.Items[0].Segments); err != nil {
		t.Fatal(err)
	}
	spoiled, err := set.Spoil(1, 1)
	if err != nil {
		t.Fatal(err)
	}
	for i := range spoiled {
		if err := spoiled[i].AnchorAt(l.node.Status().State.Height); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Submit(t.Context(), spoiled[i].Entry, spoiled[i].Segments); entry.CodeOf(err) == "" {
			t.Fatalf("a spoiled entry: %v", err)
		}
	}
	if _, err := c.Submit(t.Context(), []byte("no entry"), nil); err == nil {
		t.Fatal("bytes that are no entry were taken")
	}
	e, rows := scrape(t, tel.URL), table(t)
	for family, kind := range e.kinds {
		r, listed := rows[family]
		if slices.ContainsFunc(append(families, "target_info"), func(f string) bool { return strings.HasPrefix(family, f) }) {
			continue
		}
		if !listed || r.kind != kind {
			t.Errorf("%s is a %s; the table says %+v", family, kind, r)
		}
		for _, label := range e.labels[family] {
			if !slices.Contains(r.labels, label) && !slices.Contains(everywhere, label) {
				t.Errorf("%s has the label %s, which the table does not list", family, label)
			}
		}
	}
	for name, r := range rows {
		if (r.from == "ledger" || r.from == "all") && e.kinds[name] == "" && !slices.Contains(rarely, name) {
			t.Errorf("a ledger does not say %s", name)
		}
	}
	const of = `ledger="load.example/log"`
	for series, want := range map[string]string{
		`comity_entries_total{code="",kind="transfer",` + of + `,outcome="accepted"}`:                  "3",
		`comity_entries_total{code="",kind="transfer",` + of + `,outcome="settled_before"}`:            "1",
		`comity_entries_total{code="proof_invalid",kind="transfer",` + of + `,outcome="refused"}`:      "1",
		`comity_entries_total{code="unsupported_version",kind="unknown",` + of + `,outcome="refused"}`: "1",
		`comity_verification_proofs_total{` + of + `,result="invalid"}`:                                "1",
		`comity_ready{` + of + `}`: "1",
		`comity_live{` + of + `}`:  "1",
		`comity_witness_answering{` + of + `,witness="load.example/witness"}`: "1",
		`comity_store_appends_total{` + of + `,outcome="fenced"}`:             "0",
		`comity_supply_mismatch{asset="LOD",` + of + `}`:                      "0",
	} {
		if e.values[series] != want {
			t.Errorf("%s is %q, want %s", series, e.values[series], want)
		}
	}

	// The witness falls silent: an operator sees it, and sees it pass.
	l.witness.silence(true)
	l.submit(&set.Items[5])
	l.until("the witness is seen not to answer", func() bool {
		return scrape(t, tel.URL).values[`comity_witness_answering{`+of+`,witness="load.example/witness"}`] == "0"
	})
	l.until("finality is seen to age", func() bool {
		v := scrape(t, tel.URL).values[`comity_finality_age_seconds{`+of+`}`]
		return v != "" && v != "0"
	})
	l.witness.silence(false)
	l.until("finality is seen to be back", func() bool { return scrape(t, tel.URL).values[`comity_finality_age_seconds{`+of+`}`] == "0" })
	tel.Serving(nil)
}

func TestANodeThatCannotGoOnIsNotReady(t *testing.T) {
	set, err := makeSet()
	if err != nil {
		t.Fatal(err)
	}
	l := newLive(t, set, node.Limits{NotFinal: 1})
	l.until("all is final", func() bool { return l.node.Status().FinalSize == l.node.Status().Size })
	if failed := append(l.node.Live(), l.node.Ready(t.Context())...); len(failed) > 0 {
		t.Fatalf("a healthy node fails %v", failed)
	}
	l.witness.silence(true)
	l.submit(&set.Items[6])
	if failed := l.node.Ready(t.Context()); !slices.Equal(failed, []string{node.CheckQuorum}) {
		t.Errorf("without a quorum, past the backlog: %v", failed)
	}
	if _, err := l.node.Submit(t.Context(), set.Items[7].Entry, set.Items[7].Segments); entry.CodeOf(err) != entry.TryLater {
		t.Errorf("and yet: %v", err)
	}
	l.witness.silence(false)
	l.until("ready again", func() bool { return len(l.node.Ready(t.Context())) == 0 })
	// Somebody else takes the ledger over.
	if _, err := l.store.Acquire(t.Context()); err != nil {
		t.Fatal(err)
	}
	if failed := l.node.Ready(t.Context()); !slices.Equal(failed, []string{node.CheckFenced}) {
		t.Errorf("fenced: %v", failed)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	_ = l.node.Stop(ended)
	if failed := l.node.Ready(t.Context()); !slices.Equal(failed, []string{node.CheckStopping}) {
		t.Errorf("stopped: %v", failed)
	}
	if failed := l.node.Live(); len(failed) > 0 {
		t.Errorf("a node that was stopped is not dead: %v", failed)
	}
}
