package telemetry

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml"
)

const root = "../../.."

func read(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// row is one metric of METRICS.md.
type row struct {
	otlp, kind string
	labels     []string
	from       string
}

var ticked = regexp.MustCompile("`([^`]+)`")

func names(cell string) (out []string) {
	for _, m := range ticked.FindAllStringSubmatch(cell, -1) {
		out = append(out, m[1])
	}
	return out
}

// table reads the metrics of METRICS.md, by their Prometheus names.
func table(t *testing.T) map[string]row {
	t.Helper()
	rows := map[string]row{}
	for _, line := range strings.Split(string(read(t, "deploy/observability/METRICS.md")), "\n") {
		cells := strings.Split(strings.Trim(line, "|"), "|")
		if len(cells) != 6 || !strings.HasPrefix(line, "| `") {
			continue
		}
		name := names(cells[0])
		if len(name) != 1 || len(names(cells[1])) != 1 || strings.TrimSpace(cells[5]) == "" {
			t.Fatalf("a row of the table that is none: %s", line)
		}
		if _, twice := rows[name[0]]; twice {
			t.Errorf("%s is in the table twice", name[0])
		}
		rows[name[0]] = row{names(cells[1])[0], strings.TrimSpace(cells[2]), names(cells[3]), strings.TrimSpace(cells[4])}
	}
	if len(rows) < 30 {
		t.Fatalf("only %d rows were read", len(rows))
	}
	return rows
}

var instrument = regexp.MustCompile(`"(comity(?:\.[a-z_]+)+)"`)

func TestTheTableListsWhatTheSourceMeasures(t *testing.T) {
	source := map[string]string{}
	for _, dir := range []string{"cmd", "settlement", "bridge", "wallets"} {
		err := filepath.WalkDir(filepath.Join(root, dir), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			b, err := os.ReadFile(path)
			for _, m := range instrument.FindAllSubmatch(b, -1) {
				source[string(m[1])] = path
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	listed := map[string]bool{}
	for name, r := range table(t) {
		listed[r.otlp] = true
		if strings.HasPrefix(r.otlp, "comity.") && source[r.otlp] == "" {
			t.Errorf("%s is in the table and measured nowhere", name)
		}
		if want := prometheusName(r.otlp); !strings.HasPrefix(name, want) {
			t.Errorf("%s is called %s in Prometheus, not %s", r.otlp, want, name)
		}
	}
	for name, path := range source {
		if !listed[name] {
			t.Errorf("%s measures %s, which the table does not list", path, name)
		}
	}
}

func prometheusName(otlp string) string { return strings.ReplaceAll(otlp, ".", "_") }

// Labels that every series may have: of the scrape, of the exporter, and of histograms.
var everywhere = []string{"job", "instance", "ledger", "le"}

// families are those that Prometheus's own libraries and OpenTelemetry's conventions name; METRICS.md says so in words.
var families = []string{"process_", "go_", "promhttp_"}

var (
	stringLiteral = regexp.MustCompile(`"[^"]*"`)
	duration      = regexp.MustCompile(`\[[0-9a-z]+\]|\boffset [0-9a-z]+`)
	grouping      = regexp.MustCompile(`\b(?:by|without|on|ignoring|group_left|group_right) ?\(([^)]*)\)`)
	selector      = regexp.MustCompile(`([a-zA-Z_:][a-zA-Z0-9_:]*)?\{([^}]*)\}`)
	identifier    = regexp.MustCompile(`[a-zA-Z_:][a-zA-Z0-9_:]*`)
)

var (
	functions = []string{"rate", "increase", "histogram_quantile", "sum", "min", "max", "count", "avg", "label_values", "deriv"}
	keywords  = []string{"by", "on", "and", "or", "unless", "offset"}
)

// uses is judge for a test.
func uses(t *testing.T, rows map[string]row, where, expr string) []string {
	t.Helper()
	metrics, wrong := judge(rows, expr)
	for _, w := range wrong {
		t.Errorf("%s: %s", where, w)
	}
	return metrics
}

// judge finds the metrics of an expression of PromQL, and what is wrong with it: it must use no metric and no label that the table does not
// list, and each as what it is.
func judge(rows map[string]row, expr string) (metrics, wrong []string) {
	complain := func(format string, args ...any) { wrong = append(wrong, fmt.Sprintf(format, args...)) }
	if strings.Count(expr, "(") != strings.Count(expr, ")") || strings.Count(expr, "{") != strings.Count(expr, "}") {
		complain("unbalanced: %s", expr)
	}
	text := stringLiteral.ReplaceAllString(expr, `""`)
	text = duration.ReplaceAllString(text, "")
	var labels []string
	text = grouping.ReplaceAllStringFunc(text, func(g string) string {
		labels = append(labels, identifier.FindAllString(grouping.FindStringSubmatch(g)[1], -1)...)
		return ""
	})
	text = selector.ReplaceAllStringFunc(text, func(s string) string {
		m := selector.FindStringSubmatch(s)
		labels = append(labels, identifier.FindAllString(m[2], -1)...)
		return m[1]
	})
	for _, at := range identifier.FindAllStringIndex(text, -1) {
		word := text[at[0]:at[1]]
		call := strings.HasPrefix(strings.TrimSpace(text[at[1]:]), "(")
		switch {
		case call && slices.Contains(functions, word), slices.Contains(keywords, word), regexp.MustCompile(`^e[0-9]+$`).MatchString(word):
		case slices.ContainsFunc(functions, func(f string) bool { return f == word }): // an aggregation whose grouping was taken out
		default:
			metrics = append(metrics, word)
		}
	}
	if len(metrics) == 0 {
		complain("it names no metric: %s", expr)
	}
	known := slices.Clone(everywhere)
	for _, m := range metrics {
		base := m
		r, ok := rows[m]
		for _, suffix := range []string{"_bucket", "_sum", "_count"} {
			if cut, has := strings.CutSuffix(m, suffix); has && !ok {
				base = cut
				r, ok = rows[base]
				if ok && r.kind != "histogram" {
					complain("%s is no histogram", base)
				}
			}
		}
		switch {
		case m == "up", slices.ContainsFunc(families, func(f string) bool { return strings.HasPrefix(m, f) }):
			continue
		case !ok:
			complain("no metric %s", m)
		case r.kind == "histogram" && base == m:
			complain("%s is a histogram and has no value of its own", m)
		case r.kind == "gauge" && regexp.MustCompile(`\b(?:rate|increase)\(`+m).MatchString(expr):
			complain("the rate of a gauge, %s", m)
		}
		known = append(known, r.labels...)
	}
	for _, label := range labels {
		if !slices.Contains(known, label) {
			complain("no label %s in %s", label, expr)
		}
	}
	return metrics, wrong
}

type alert struct {
	Alert, Expr, For    string
	Labels, Annotations map[string]string
}

// alerts reads the rules by the syntax of Prometheus; keys that it does not know are errors.
func alerts(t *testing.T) (out []alert) {
	t.Helper()
	var file struct {
		Groups []struct {
			Name  string
			Rules []alert
		}
	}
	if err := yaml.NewDecoder(bytes.NewReader(read(t, "deploy/observability/alerts.yaml")), yaml.DisallowUnknownField()).Decode(&file); err != nil {
		t.Fatal(err)
	}
	for _, g := range file.Groups {
		if g.Name == "" || len(g.Rules) == 0 {
			t.Errorf("an empty group %q", g.Name)
		}
		out = append(out, g.Rules...)
	}
	return out
}

var templateLabel = regexp.MustCompile(`\$labels\.([a-z_]+)`)

func TestEveryAlertNamesWhatIsMeasuredAndHasItsRunbook(t *testing.T) {
	rows, seen := table(t), map[string]bool{}
	books := map[string][]string{} // alerts that each runbook says it is for
	files, err := filepath.Glob(filepath.Join(root, "deploy/runbooks/*.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := "deploy/runbooks/" + filepath.Base(file)
		text := string(read(t, name))
		if filepath.Base(file) == "README.md" {
			continue
		}
		for _, section := range []string{"## What it means", "## Look at", "## Do", "## Escalate"} {
			if !strings.Contains(text, section+"\n\n") {
				t.Errorf("%s has no section %q", name, section)
			}
		}
		_, line, _ := strings.Cut(text, "\nAlerts: ")
		line, _, _ = strings.Cut(line, "\n")
		books[name] = names(line)
		for _, m := range ticked.FindAllStringSubmatch(text, -1) {
			metric, _, _ := strings.Cut(m[1], "{")
			if _, listed := rows[metric]; strings.HasPrefix(metric, "comity_") && !listed {
				t.Errorf("%s names %s, which the table does not list", name, metric)
			}
		}
		for _, link := range regexp.MustCompile(`\]\(([a-z-]+\.md)\)`).FindAllStringSubmatch(text, -1) {
			if _, err := os.Stat(filepath.Join(root, "deploy/runbooks", link[1])); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for _, a := range alerts(t) {
		if a.Alert == "" || seen[a.Alert] {
			t.Errorf("alert %q has no name of its own", a.Alert)
		}
		seen[a.Alert] = true
		if s := a.Labels["severity"]; s != "page" && s != "ticket" {
			t.Errorf("%s: severity %q", a.Alert, s)
		}
		if a.For != "" {
			if d, err := time.ParseDuration(a.For); err != nil || d <= 0 {
				t.Errorf("%s: for %q", a.Alert, a.For)
			}
		}
		known := slices.Clone(everywhere)
		for _, m := range uses(t, rows, a.Alert, a.Expr) {
			known = append(known, rows[m].labels...)
		}
		for _, m := range templateLabel.FindAllStringSubmatch(a.Annotations["summary"], -1) {
			if !slices.Contains(known, m[1]) {
				t.Errorf("%s: its summary uses the label %s", a.Alert, m[1])
			}
			// What an aggregation drops is not there to be told.
			if g := grouping.FindStringSubmatch(a.Expr); g != nil && strings.Contains(a.Expr, "by (") && !slices.Contains(identifier.FindAllString(g[1], -1), m[1]) {
				t.Errorf("%s: its summary uses the label %s, which its expression aggregates away", a.Alert, m[1])
			}
		}
		if a.Annotations["summary"] == "" {
			t.Errorf("%s has no summary", a.Alert)
		}
		if book := a.Annotations["runbook_url"]; !slices.Contains(books[book], a.Alert) {
			t.Errorf("%s: its runbook %q does not say that it is for it", a.Alert, book)
		}
	}
	for book, of := range books {
		if len(of) == 0 {
			t.Errorf("%s is for no alert", book)
		}
		for _, a := range of {
			if !seen[a] {
				t.Errorf("%s is for the alert %s, which does not exist", book, a)
			}
		}
	}
	for _, must := range []string{"ComityNoBlocks", "ComityWitnessQuorumLost", "ComityCorridorStale", "ComityLeaseFlapping", "ComityVerificationBacklog",
		"ComitySupplyMismatch", "ComityNotReady", "ComityBacklogNotFinal"} {
		if !seen[must] {
			t.Errorf("no alert %s", must)
		}
	}
}

func TestTheDashboardShowsWhatIsMeasured(t *testing.T) {
	rows := table(t)
	var board struct {
		Title  string
		Panels []struct {
			ID      int
			Type    string
			Title   string
			GridPos struct{ H, W, X, Y int }
			Targets []struct{ Expr, LegendFormat string }
		}
	}
	if err := json.Unmarshal(read(t, "deploy/observability/dashboard.json"), &board); err != nil {
		t.Fatal(err)
	}
	ids, shown := map[int]bool{}, map[string]bool{}
	for _, p := range board.Panels {
		if ids[p.ID] {
			t.Errorf("panel %d twice", p.ID)
		}
		ids[p.ID] = true
		if p.GridPos.X+p.GridPos.W > 24 || p.GridPos.H == 0 {
			t.Errorf("panel %q is off the board", p.Title)
		}
		if p.Type == "row" {
			continue
		}
		if len(p.Targets) == 0 {
			t.Errorf("panel %q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, m := range uses(t, rows, "panel "+p.Title, target.Expr) {
				shown[m] = true
			}
		}
	}
	// What somebody is woken for can be seen.
	for _, m := range []string{"comity_ready", "comity_supply_mismatch", "comity_finality_age_seconds", "comity_corridor_state", "comity_node_epoch", "comity_queue_depth", "comity_block_age_seconds"} {
		if !shown[m] {
			t.Errorf("the dashboard does not show %s", m)
		}
	}
}

// TestEveryCheckIsExplained: the words that /readyz answers stand in METRICS.md and in the runbook.
func TestEveryCheckIsExplained(t *testing.T) {
	metrics, book := string(read(t, "deploy/observability/METRICS.md")), string(read(t, "deploy/runbooks/not-ready.md"))
	found := regexp.MustCompile(`(?m)^\tCheck[A-Z][a-z]+ += "([a-z_]+)"$`).FindAllStringSubmatch(string(read(t, "settlement/node/health.go")), -1)
	if len(found) < 10 {
		t.Fatalf("only %d checks were read", len(found))
	}
	for _, m := range append(found, []string{"", notServing}) {
		for name, text := range map[string]string{"METRICS.md": metrics, "not-ready.md": book} {
			if !strings.Contains(text, "`"+m[1]+"`") {
				t.Errorf("%s does not explain the check %s", name, m[1])
			}
		}
	}
}

func TestTheCollectorsPipelinesAreWhole(t *testing.T) {
	var c struct {
		Receivers, Processors, Exporters map[string]any
		Service                          struct {
			Pipelines map[string]struct{ Receivers, Processors, Exporters []string }
		}
	}
	for _, file := range []string{"deploy/observability/collector.yaml", "deploy/compose/collector.yaml"} {
		c.Service.Pipelines, c.Receivers, c.Processors, c.Exporters = nil, nil, nil, nil
		if err := yaml.NewDecoder(bytes.NewReader(read(t, file)), yaml.DisallowUnknownField()).Decode(&c); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(slices.Sorted(maps.Keys(c.Service.Pipelines)), []string{"logs", "metrics", "traces"}) {
			t.Errorf("%s: %v", file, c.Service.Pipelines)
		}
		for name, p := range c.Service.Pipelines {
			for _, part := range []struct {
				listed []string
				known  map[string]any
			}{{p.Receivers, c.Receivers}, {p.Processors, c.Processors}, {p.Exporters, c.Exporters}} {
				for _, n := range part.listed {
					if part.known[n] == nil {
						t.Errorf("%s: the pipeline of %s uses %s, which is not configured", file, name, n)
					}
				}
			}
		}
	}
	var p struct {
		RuleFiles []string `yaml:"rule_files"`
	}
	if err := yaml.Unmarshal(read(t, "deploy/observability/prometheus.yaml"), &p); err != nil {
		t.Fatal(err)
	}
	for _, f := range p.RuleFiles {
		read(t, "deploy/observability/"+f)
	}
}

// TestTheReaderOfExpressionsBites: what the tests above rely on finds what is wrong.
func TestTheReaderOfExpressionsBites(t *testing.T) {
	rows := map[string]row{"comity_a_total": {"comity.a", "counter", []string{"kind"}, "ledger"}, "comity_h_seconds": {"comity.h", "histogram", nil, "ledger"},
		"comity_g": {"comity.g", "gauge", nil, "ledger"}}
	for expr, bad := range map[string]bool{
		`rate(comity_a_total{kind="x"}[5m]) > 1e3`:                                         false,
		`sum by (le) (rate(comity_h_seconds_bucket[5m])) > 1 and on (ledger) comity_g > 0`: false,
		`sum by (kind) (rate(comity_h_seconds_bucket[5m])) > 1`:                            true,
		`max by (ledger) (comity_g) - max by (ledger) (comity_g offset 15m) > 3`:           false,
		`comity_b > 0`:                 true,
		`comity_a_total{colour="red"}`: true,
		`comity_h_seconds > 1`:         true,
		`comity_g_sum`:                 true,
		`rate(comity_g[1m])`:           true,
		`sum(comity_g`:                 true,
		`1 > 0`:                        true,
	} {
		if _, wrong := judge(rows, expr); (len(wrong) > 0) != bad {
			t.Errorf("%s: %v, want something wrong: %t", expr, wrong, bad)
		}
	}
}
