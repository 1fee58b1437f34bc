package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"text/template"

	"github.com/goccy/go-yaml"
)

// What is under deploy cannot all run where it is tested: there is no container runtime and no cluster. It is read as the tools read it,
// rendered, and held against this binary: every command and flag exists, and ports, names, files, secrets and networks agree.

const deployed = "../../deploy"

func deployFile(t *testing.T, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(deployed, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// invoked is a command of this binary as somebody wrote it, with the values of its flags.
type invoked struct {
	path  string // "comity ledger run"
	flags map[string][]string
}

func (c *invoked) one(t *testing.T, name string) string {
	t.Helper()
	if len(c.flags[name]) != 1 {
		t.Fatalf("%s: --%s is given %d times", c.path, name, len(c.flags[name]))
	}
	return c.flags[name][0]
}

// invoke reads arguments as the binary does, without running anything.
func invoke(args []string) (*invoked, error) {
	top := root()
	cmd, rest, err := top.Find(args)
	if err != nil || !cmd.Runnable() || cmd == top {
		return nil, fmt.Errorf("no such command: %v %v", args, err)
	}
	out := &invoked{path: cmd.CommandPath(), flags: map[string][]string{}}
	if err := cmd.ParseFlags(rest); err != nil {
		return nil, fmt.Errorf("%s: %w", out.path, err)
	}
	for i := 0; i < len(rest); i++ {
		name, dashed := strings.CutPrefix(rest[i], "--")
		if !dashed {
			continue
		}
		name, value, given := strings.Cut(name, "=")
		if flag := cmd.Flag(name); !given && flag.NoOptDefVal == "" {
			i++
			value = rest[i]
		}
		out.flags[name] = append(out.flags[name], value)
	}
	if cmd.Args != nil {
		if err := cmd.Args(cmd, cmd.Flags().Args()); err != nil {
			return nil, fmt.Errorf("%s: %w", out.path, err)
		}
	}
	return out, cmd.ValidateRequiredFlags()
}

// program checks that arguments are a command of this binary, and that what every server needs is there.
func program(t *testing.T, where string, args []string) *invoked {
	t.Helper()
	c, err := invoke(args)
	if err != nil {
		t.Errorf("%s: %v", where, err)
		return &invoked{}
	}
	return c
}

func port(t *testing.T, address string) string {
	t.Helper()
	at := strings.LastIndex(address, ":")
	if at < 0 {
		t.Fatalf("%q has no port", address)
	}
	return address[at+1:]
}

func TestDeployedCommandsAreChecked(t *testing.T) {
	for name, args := range map[string]string{
		"command":  "ledger walk --data x",
		"flag":     "ledger run --data x --speed 9",
		"required": "ledger run --listen 127.0.0.1:1",
		"value":    "ledger run --data x --workers many",
		"argument": "ledger run --data x y",
		"group":    "ledger",
	} {
		if c, err := invoke(strings.Fields(args)); err == nil {
			t.Errorf("%s: %q was taken as %s", name, args, c.path)
		}
	}
	c, err := invoke(strings.Fields("ledger run --data x --witness a=b --witness=c=d --tls-ca e"))
	if err != nil || !slices.Equal(c.flags["witness"], []string{"a=b", "c=d"}) || c.one(t, "tls-ca") != "e" {
		t.Errorf("%+v, %v", c, err)
	}
}

// compose is what of a compose file is used here; anything else is refused.
type compose struct {
	Name     string
	Comity   any `yaml:"x-comity"`
	Services map[string]*service
	Networks map[string]struct{ Internal bool }
	Volumes  map[string]struct{}
	Secrets  map[string]struct{ File string }
}

type service struct {
	Image       string
	User        string
	ReadOnly    bool     `yaml:"read_only"`
	CapDrop     []string `yaml:"cap_drop"`
	SecurityOpt []string `yaml:"security_opt"`
	Tmpfs       []string
	Restart     string
	Grace       string `yaml:"stop_grace_period"`
	Environment map[string]string
	Command     []string
	Volumes     []string
	Networks    attachments
	Secrets     []string
	Memory      string `yaml:"mem_limit"`
	Shared      string `yaml:"shm_size"`
	Pids        int    `yaml:"pids_limit"`
	Ports       []string
	DependsOn   map[string]struct{ Condition string } `yaml:"depends_on"`
	Health      *struct {
		Test              []string
		Interval, Timeout string
		Retries           int
	} `yaml:"healthcheck"`
}

// attachments are the networks of a service, with its other names on each.
type attachments map[string][]string

// UnmarshalYAML reads a list of names, or a map.
func (a *attachments) UnmarshalYAML(text []byte) error {
	*a = attachments{}
	var list []string
	if yaml.Unmarshal(text, &list) == nil {
		for _, n := range list {
			(*a)[n] = nil
		}
		return nil
	}
	var long map[string]struct{ Aliases []string }
	if err := yaml.UnmarshalWithOptions(text, &long, yaml.DisallowUnknownField()); err != nil {
		return err
	}
	for n, x := range long {
		(*a)[n] = x.Aliases
	}
	return nil
}

// bytesOf reads a size as compose, Go and Kubernetes write it.
func bytesOf(t *testing.T, size string) int64 {
	t.Helper()
	at := strings.IndexFunc(size, func(r rune) bool { return r < '0' || r > '9' })
	unit := map[string]int64{"m": 1 << 20, "g": 1 << 30, "MiB": 1 << 20, "GiB": 1 << 30, "Mi": 1 << 20, "Gi": 1 << 30, "M": 1 << 20, "G": 1 << 30}
	n, err := strconv.ParseInt(size[:max(at, 0)], 10, 64)
	if err != nil || unit[size[at:]] == 0 {
		t.Fatalf("%q is no size", size)
	}
	return n * unit[size[at:]]
}

// atMost: a process gives memory back before the system ends it.
func atMost(t *testing.T, where, goal, limit string) {
	t.Helper()
	if g, l := bytesOf(t, goal), bytesOf(t, limit); g > l*85/100 || g < l/2 {
		t.Errorf("%s: GOMEMLIMIT %s of %s", where, goal, limit)
	}
}

func strict(t *testing.T, name string, into any) {
	t.Helper()
	if err := yaml.NewDecoder(bytes.NewReader(deployFile(t, name)), yaml.DisallowUnknownField()).Decode(into); err != nil {
		t.Fatalf("%s: %v", name, err)
	}
}

func TestComposeFileFitsTheBinary(t *testing.T) {
	var c compose
	strict(t, "compose/two-nations.yaml", &c)
	targets := scraped(t)
	served := map[string]string{}  // service: port of its --listen
	named := map[string][]string{} // name on a network: services that answer to it
	commands := map[string]*invoked{}
	for name, s := range c.Services {
		for n, aliases := range s.Networks {
			if _, ok := c.Networks[n]; !ok {
				t.Errorf("%s: no network %s", name, n)
			}
			for _, alias := range append(aliases, name) {
				if c.Services[alias] != nil && alias != name {
					t.Errorf("%s answers to the name of %s", name, alias)
				}
				if !slices.Contains(named[alias], name) {
					named[alias] = append(named[alias], name)
				}
			}
		}
		if s.Memory == "" {
			t.Errorf("%s: no limit of memory", name)
		}
		for _, n := range s.Secrets {
			if _, ok := c.Secrets[n]; !ok {
				t.Errorf("%s: no secret %s", name, n)
			}
		}
		for dep := range s.DependsOn {
			if c.Services[dep] == nil {
				t.Errorf("%s depends on %s, which is none", name, dep)
			}
		}
		for _, v := range s.Volumes {
			from, _, _ := strings.Cut(v, ":")
			if !strings.HasPrefix(from, ".") {
				if _, ok := c.Volumes[from]; !ok {
					t.Errorf("%s: no volume %s", name, from)
				}
			} else if strings.HasSuffix(from, ".yaml") || strings.HasSuffix(from, ".json") {
				if _, err := os.Stat(filepath.Join(deployed, "compose", from)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s is open to everybody", name, p)
			}
		}
		if !strings.HasPrefix(s.Image, "comity:") {
			if tag := s.Image[strings.LastIndex(s.Image, ":")+1:]; tag == s.Image || tag == "latest" {
				t.Errorf("%s: image %s has no version", name, s.Image)
			}
			continue
		}
		if s.User != "65532:65532" || !s.ReadOnly || !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") || s.Grace != "40s" || len(s.Tmpfs) != 1 {
			t.Errorf("%s is not confined: %+v", name, s)
		}
		atMost(t, name, s.Environment["GOMEMLIMIT"], s.Memory)
		cmd := program(t, name, s.Command)
		commands[name] = cmd
		if l := cmd.flags["listen"]; len(l) > 0 {
			served[name] = port(t, l[0])
		}
		if want := name + ":" + port(t, cmd.one(t, "metrics-listen")); !slices.Contains(targets, want) {
			t.Errorf("Prometheus does not read %s", want)
		}
		// Every file that is named lies under a mount; keys come in twos.
		for flag, values := range cmd.flags {
			for _, v := range values {
				file := strings.TrimPrefix(v, "@")
				if flag == "ledger" {
					_, file, _ = strings.Cut(v, ",wallet=")
				}
				if strings.HasPrefix(file, "/") && !slices.ContainsFunc(s.Volumes, func(m string) bool { return strings.HasPrefix(file+"/", strings.Split(m, ":")[1]+"/") }) {
					t.Errorf("%s: --%s %s is under no mount", name, flag, v)
				}
			}
		}
		if len(cmd.flags["tls-cert"]) == 0 || len(cmd.flags["tls-cert"]) != len(cmd.flags["tls-key"]) || len(cmd.flags["tls-ca"]) == 0 || served[name] != "" && len(cmd.flags["tls-client-ca"]) == 0 {
			t.Errorf("%s: mutual TLS is not complete", name)
		}
	}
	if len(commands) != 10 || len(targets) != len(commands) {
		t.Errorf("%d processes, %d are read by Prometheus", len(commands), len(targets))
	}
	// Whoever calls meets a service on that port, on a network that both are on.
	calls := 0
	for name, cmd := range commands {
		for _, flag := range []string{"witness", "ledger"} {
			for _, v := range cmd.flags[flag] {
				address := v[strings.Index(v, "https://"):]
				address, _, _ = strings.Cut(address, ",")
				u, err := url.Parse(address)
				if err != nil {
					t.Fatal(err)
				}
				answer := named[u.Hostname()]
				if len(answer) == 0 {
					t.Errorf("%s: nobody is called %s", name, u.Hostname())
				}
				for _, other := range answer {
					if served[other] != u.Port() || !slices.ContainsFunc(slices.Collect(maps.Keys(c.Services[other].Networks)), func(n string) bool { _, ok := c.Services[name].Networks[n]; return ok }) {
						t.Errorf("%s: %s does not answer at %s", name, other, address)
					}
					if flag == "witness" && cmd.path == "comity ledger run" {
						watched, err := url.Parse(commands[other].one(t, "ledger"))
						if err != nil || !slices.Contains(named[watched.Hostname()], name) {
							t.Errorf("%s: witness %s watches another ledger", name, other)
						}
					}
				}
				calls++
			}
		}
		for k, v := range c.Services[name].Environment {
			if k == "COMITY_OTLP" {
				u, err := url.Parse(v)
				if err != nil || c.Services[u.Hostname()] == nil || !strings.Contains(string(deployFile(t, "compose/collector.yaml")), ":"+u.Port()) {
					t.Errorf("%s: no collector at %s", name, v)
				}
			}
		}
	}
	if calls != 8+4+2+2 {
		t.Errorf("%d calls", calls)
	}
	for _, nation := range []string{"aurelia", "borealis"} {
		if db := c.Services[nation+"-db"]; len(db.Networks) != 1 || len(named[nation+"-db"]) != 1 || !c.Networks[nation].Internal || len(db.Ports) > 0 {
			t.Errorf("the database of %s can be reached from outside", nation)
		}
		// Two nodes on that database, under one name and each under its own, with one log key.
		nodes := named[nation+"-ledger"]
		slices.Sort(nodes)
		if !slices.Equal(nodes, []string{nation + "-ledger-a", nation + "-ledger-b"}) {
			t.Fatalf("%s has the nodes %v", nation, nodes)
		}
		names := map[string]bool{}
		for _, n := range nodes {
			cmd, s := commands[n], c.Services[n]
			names[cmd.one(t, "node-name")] = true
			if cmd.one(t, "advertise") != "https://"+n+":"+served[n] || cmd.one(t, "lease") != commands[nodes[0]].one(t, "lease") || !slices.Equal(cmd.flags["witness"], commands[nodes[0]].flags["witness"]) {
				t.Errorf("%s: %v", n, cmd.flags)
			}
			if _, ok := s.Networks[nation]; !ok || s.DependsOn[nation+"-db"].Condition != "service_healthy" || !slices.Contains(s.Volumes, "./"+nation+"/data:/var/lib/comity/ledger:ro") {
				t.Errorf("%s: %+v", n, s)
			}
		}
		if len(names) != 2 {
			t.Errorf("%s: nodes called %v", nation, names)
		}
	}
}

// scraped lists what Prometheus reads in the compose file, under the job of the alert rules.
func scraped(t *testing.T) []string {
	t.Helper()
	var p struct {
		Global    map[string]string
		RuleFiles []string `yaml:"rule_files"`
		Scrape    []struct {
			Job    string                       `yaml:"job_name"`
			Static []struct{ Targets []string } `yaml:"static_configs"`
		} `yaml:"scrape_configs"`
	}
	strict(t, "compose/prometheus.yaml", &p)
	if len(p.Scrape) != 1 || !bytes.Contains(deployFile(t, "observability/alerts.yaml"), []byte(`up{job="`+p.Scrape[0].Job+`"}`)) || !slices.Equal(p.RuleFiles, []string{"alerts.yaml"}) {
		t.Errorf("%+v does not fit the alert rules", p)
	}
	return p.Scrape[0].Static[0].Targets
}

func TestContainerfileBuildsThisProgram(t *testing.T) {
	text := string(deployFile(t, "container/Containerfile"))
	gomod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^go (\S+)$`).FindSubmatch(gomod)
	for _, want := range []string{"FROM golang:" + string(version[1]) + "-", "./cmd/comity", "-X main.version=", "FROM scratch", "USER 65532:65532", "CGO_ENABLED=0", `ENTRYPOINT ["/usr/local/bin/comity"]`} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q", want)
		}
	}
	final := text[strings.LastIndex(text, "\nFROM "):]
	if strings.Contains(final, "\nRUN ") || strings.Contains(text, ":latest") {
		t.Error("the final stage runs something, or a base has no version")
	}
	var c compose
	strict(t, "compose/two-nations.yaml", &c)
	exposed := strings.Fields(regexp.MustCompile(`(?m)^EXPOSE (.*)$`).FindStringSubmatch(text)[1])
	for name, s := range c.Services {
		if strings.HasPrefix(s.Image, "comity:") {
			cmd := program(t, name, s.Command)
			for _, l := range append(slices.Clone(cmd.flags["listen"]), cmd.flags["metrics-listen"]...) {
				if !slices.Contains(exposed, port(t, l)) {
					t.Errorf("%s: port of %s is not exposed", name, l)
				}
			}
		}
	}
}

// unit reads a systemd unit: section, key and values in order.
func unit(t *testing.T, text string) map[string][]string {
	t.Helper()
	out := map[string][]string{}
	section := ""
	for n, line := range strings.Split(text, "\n") {
		switch {
		case line == "" || strings.HasPrefix(line, "#"):
		case strings.HasPrefix(line, "[") && strings.HasSuffix(line, "]"):
			section = strings.Trim(line, "[]")
		default:
			key, value, ok := strings.Cut(line, "=")
			if !ok || section == "" {
				t.Fatalf("line %d: %q", n+1, line)
			}
			out[section+"."+key] = append(out[section+"."+key], value)
		}
	}
	return out
}

// env reads an environment file.
func env(t *testing.T, name string) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, line := range strings.Split(string(deployFile(t, name)), "\n") {
		if key, value, ok := strings.Cut(line, "="); ok && !strings.HasPrefix(line, "#") {
			out[key] = value
		}
	}
	return out
}

func TestSystemdUnitsFitTheBinary(t *testing.T) {
	nodes := map[string]bool{}
	for _, c := range []struct {
		name, instance, env, place string
		paths                      []string
	}{
		{"comity-ledger@.service", "aurelia", "systemd/aurelia.env", "aurelia.env", []string{"comity ledger run"}},
		{"comity-ledger@.service", "aurelia", "systemd/aurelia-second.env", "aurelia.env", []string{"comity ledger run"}},
		{"comity-witness@.service", "borealis", "systemd/witness-borealis.env", "witness-borealis.env", []string{"comity witness run"}},
		{"comity-backup@.service", "aurelia", "systemd/aurelia.env", "aurelia.env", []string{"comity ledger backup", "comity ledger backup"}},
	} {
		name := c.name
		u := unit(t, string(deployFile(t, "systemd/"+name)))
		values := env(t, c.env)
		if got := u["Service.EnvironmentFile"]; len(got) != 1 || strings.ReplaceAll(got[0], "%i", c.instance) != "/etc/comity/"+c.place {
			t.Errorf("%s: settings from %v, the example is %s", name, got, c.env)
		}
		var paths []string
		for _, line := range u["Service.ExecStart"] {
			var args []string
			for _, word := range strings.Fields(line) {
				word = strings.ReplaceAll(word, "%i", c.instance)
				if key, list := strings.CutPrefix(word, "$"); list && !strings.HasPrefix(word, "${") && values[key] != "" {
					args = append(args, strings.Fields(values[key])...) // as systemd splits it
					continue
				}
				args = append(args, os.Expand(word, func(key string) string {
					if values[key] == "" && strings.HasPrefix(line, "/usr/local/bin/comity") {
						t.Errorf("%s: %s is not in %s", name, key, c.env)
					}
					return values[key]
				}))
			}
			if args[0] != "/usr/local/bin/comity" {
				continue
			}
			cmd := program(t, name, args[1:])
			paths = append(paths, cmd.path)
			if cmd.path != "comity ledger backup" && (port(t, cmd.one(t, "listen")) == "0" || !strings.HasPrefix(cmd.one(t, "metrics-listen"), "127.0.0.1:")) {
				t.Errorf("%s listens at %v and %v", name, cmd.flags["listen"], cmd.flags["metrics-listen"])
			}
			if cmd.path == "comity ledger run" {
				node := cmd.one(t, "node-name")
				nodes[node] = true
				if !strings.HasPrefix(cmd.one(t, "advertise"), "https://"+node+".") || values["COMITY_STORE"] == "" {
					t.Errorf("%s: %v", c.env, cmd.flags)
				}
			}
		}
		if strings.HasSuffix(c.paths[0], " run") {
			limit, _ := strings.CutPrefix(u["Service.Environment"][0], "GOMEMLIMIT=")
			atMost(t, name, limit, u["Service.MemoryMax"][0])
		}
		if !slices.Equal(paths, c.paths) {
			t.Errorf("%s runs %v", name, paths)
		}
		for key, want := range map[string]string{"User": "comity", "NoNewPrivileges": "yes", "ProtectSystem": "strict", "CapabilityBoundingSet": "", "PrivateDevices": "yes",
			"MemoryDenyWriteExecute": "yes", "UMask": "0077", "SystemCallArchitectures": "native", "RestrictAddressFamilies": "AF_INET AF_INET6 AF_UNIX"} {
			if got := u["Service."+key]; !slices.Equal(got, []string{want}) {
				t.Errorf("%s: %s=%v, want %q", name, key, got, want)
			}
		}
		// A node that was refused by name must not be started over and over; the longest orderly end fits.
		if strings.HasSuffix(c.paths[0], " run") && (!slices.Equal(u["Service.RestartPreventExitStatus"], []string{"2 3 5"}) || !slices.Equal(u["Service.TimeoutStopSec"], []string{"40"})) {
			t.Errorf("%s: %v", name, u)
		}
	}
	if len(nodes) != 2 {
		t.Errorf("nodes %v", nodes)
	}
	if analyze, err := exec.LookPath("systemd-analyze"); err == nil {
		dir := t.TempDir()
		files, err := filepath.Glob(filepath.Join(deployed, "systemd", "comity-*"))
		if err != nil || len(files) != 4 {
			t.Fatal(files, err)
		}
		for _, f := range files {
			b, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			b = bytes.ReplaceAll(b, []byte("/usr/local/bin/comity"), []byte("/bin/true"))
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(f)), b, 0o644); err != nil {
				t.Fatal(err)
			}
			if out, err := exec.Command(analyze, "verify", "--man=no", filepath.Join(dir, filepath.Base(f))).CombinedOutput(); err != nil {
				t.Errorf("%s: %v\n%s", f, err, out)
			}
		}
	} else {
		t.Log("systemd-analyze is not here: the units were only read")
	}
}

// chartFiles are .Files of Helm.
type chartFiles struct{ t *testing.T }

// Get reads a file of the chart.
func (f chartFiles) Get(name string) string {
	return string(deployFile(f.t, "helm/comity/"+name))
}

// chart renders the Helm chart with the functions of Helm that it uses and returns its objects.
func chart(t *testing.T, change func(values map[string]any)) []map[string]any {
	t.Helper()
	var about, values map[string]any
	strict(t, "helm/comity/Chart.yaml", &about)
	strict(t, "helm/comity/values.yaml", &values)
	if change != nil {
		change(values)
	}
	top := template.New("chart").Option("missingkey=error")
	top.Funcs(template.FuncMap{
		"include": func(name string, data any) (string, error) {
			var b strings.Builder
			err := top.ExecuteTemplate(&b, name, data)
			return b.String(), err
		},
		"nindent": func(n int, s string) string {
			pad := "\n" + strings.Repeat(" ", n)
			return pad + strings.ReplaceAll(strings.TrimRight(s, "\n"), "\n", pad)
		},
		"toYaml": func(v any) (string, error) {
			b, err := yaml.Marshal(v)
			return strings.TrimRight(string(b), "\n"), err
		},
		"quote": func(v any) string { return fmt.Sprintf("%q", fmt.Sprint(v)) },
		"default": func(d, v any) any {
			if v == nil || v == "" {
				return d
			}
			return v
		},
		"required": func(what string, v any) (any, error) {
			if v == nil || v == "" {
				return nil, errors.New(what + " is required")
			}
			return v, nil
		},
	})
	files, err := filepath.Glob(filepath.Join(deployed, "helm/comity/templates/*"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := top.ParseFiles(files...); err != nil {
		t.Fatal(err)
	}
	data := map[string]any{"Files": chartFiles{t}, "Values": values, "Release": map[string]any{"Name": "comity", "Namespace": "aurelia"},
		"Chart": map[string]any{"Name": about["name"], "AppVersion": about["appVersion"]}}
	var objects []map[string]any
	for _, f := range files {
		if strings.HasPrefix(filepath.Base(f), "_") {
			continue
		}
		var b bytes.Buffer
		if err := top.ExecuteTemplate(&b, filepath.Base(f), data); err != nil {
			t.Fatal(err)
		}
		d := yaml.NewDecoder(&b)
		for {
			var object map[string]any
			err := d.Decode(&object)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", f, err)
			}
			if object != nil {
				objects = append(objects, object)
			}
		}
	}
	return objects
}

// at walks into a decoded object.
func at(t *testing.T, v any, keys ...any) any {
	t.Helper()
	for _, k := range keys {
		switch k := k.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok || m[k] == nil {
				t.Fatalf("no %v in %v", k, v)
			}
			v = m[k]
		case int:
			l, ok := v.([]any)
			if !ok || len(l) <= k {
				t.Fatalf("no element %v in %v", k, v)
			}
			v = l[k]
		}
	}
	return v
}

func labels(t *testing.T, v any) map[string]string {
	t.Helper()
	out := map[string]string{}
	for k, x := range v.(map[string]any) {
		out[k] = fmt.Sprint(x)
	}
	return out
}

func covers(pod, selector map[string]string) bool {
	for k, v := range selector {
		if pod[k] != v {
			return false
		}
	}
	return len(selector) > 0
}

func TestHelmChartRendersAndFitsTheBinary(t *testing.T) {
	objects := chart(t, func(v map[string]any) {
		v["telemetry"].(map[string]any)["otlp"] = "http://collector.observability:4318"
		v["ledger"].(map[string]any)["allowTo"] = []any{map[string]any{"to": []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.0.0.0/24"}}}}}
		v["ledger"].(map[string]any)["allowFrom"] = []any{map[string]any{"ipBlock": map[string]any{"cidr": "10.1.0.0/16"}}}
	})
	count := map[string]int{}
	pods := map[string]map[string]string{}  // stateful set: labels of its pods
	ports := map[string]map[string]string{} // stateful set: container port by name
	listens := map[string]string{}          // service: port
	var calls []string
	for _, o := range objects {
		kind, name := o["kind"].(string), at(t, o, "metadata", "name").(string)
		count[kind]++
		if kind != "StatefulSet" {
			continue
		}
		spec := at(t, o, "spec", "template", "spec")
		pods[name] = labels(t, at(t, o, "spec", "template", "metadata", "labels"))
		if !covers(pods[name], labels(t, at(t, o, "spec", "selector", "matchLabels"))) {
			t.Errorf("%s does not select its pods", name)
		}
		if at(t, spec, "securityContext", "runAsNonRoot") != true || at(t, spec, "terminationGracePeriodSeconds").(uint64) < 30 {
			t.Errorf("%s: %v", name, spec)
		}
		mounted := map[string]bool{}
		for _, v := range at(t, spec, "volumes").([]any) {
			mounted[at(t, v, "name").(string)] = true
		}
		if claims, ok := o["spec"].(map[string]any)["volumeClaimTemplates"].([]any); ok {
			mounted[at(t, claims, 0, "metadata", "name").(string)] = true
		}
		for _, list := range []string{"initContainers", "containers"} {
			c := at(t, spec, list, 0)
			if at(t, c, "securityContext", "readOnlyRootFilesystem") != true || at(t, c, "securityContext", "allowPrivilegeEscalation") != false || at(t, c, "securityContext", "capabilities", "drop", 0) != "ALL" {
				t.Errorf("%s: %s may do too much", name, list)
			}
			for _, m := range at(t, c, "volumeMounts").([]any) {
				if !mounted[at(t, m, "name").(string)] {
					t.Errorf("%s mounts %v, which is no volume", name, at(t, m, "name"))
				}
			}
		}
		c := at(t, spec, "containers", 0)
		environment := map[string]string{}
		for _, e := range at(t, c, "env").([]any) {
			if value, plain := e.(map[string]any)["value"]; plain {
				environment[at(t, e, "name").(string)] = fmt.Sprint(value)
			} else if at(t, e, "valueFrom", "fieldRef", "fieldPath") == "metadata.name" {
				environment[at(t, e, "name").(string)] = name + "-1"
			}
		}
		atMost(t, name, environment["GOMEMLIMIT"], fmt.Sprint(at(t, c, "resources", "limits", "memory")))
		var args []string
		for _, a := range at(t, c, "args").([]any) {
			args = append(args, regexp.MustCompile(`\$\((\w+)\)`).ReplaceAllStringFunc(fmt.Sprint(a), func(ref string) string {
				if environment[ref[2:len(ref)-1]] == "" {
					t.Errorf("%s: nothing sets %s", name, ref)
				}
				return environment[ref[2:len(ref)-1]]
			}))
		}
		cmd := program(t, name, args)
		if cmd.path == "comity ledger run" {
			// Each node has a name of its own, at which the headless service makes it known, and a machine of its own.
			if cmd.one(t, "node-name") != name+"-1" || cmd.one(t, "advertise") != "https://"+name+"-1."+at(t, o, "spec", "serviceName").(string)+":"+port(t, cmd.one(t, "listen")) ||
				fmt.Sprint(at(t, o, "spec", "replicas")) != "2" || at(t, o, "spec", "updateStrategy", "type") != "RollingUpdate" || at(t, o, "spec", "podManagementPolicy") != "OrderedReady" {
				t.Errorf("%s: %v", name, cmd.flags)
			}
			apart := at(t, spec, "affinity", "podAntiAffinity", "requiredDuringSchedulingIgnoredDuringExecution", 0)
			if at(t, apart, "topologyKey") != "kubernetes.io/hostname" || !covers(pods[name], labels(t, at(t, apart, "labelSelector", "matchLabels"))) ||
				!covers(pods[name], labels(t, at(t, spec, "topologySpreadConstraints", 0, "labelSelector", "matchLabels"))) {
				t.Errorf("%s: %v", name, apart)
			}
		}
		ports[name] = map[string]string{}
		for _, p := range at(t, c, "ports").([]any) {
			ports[name][at(t, p, "name").(string)] = fmt.Sprint(at(t, p, "containerPort"))
		}
		if m := port(t, cmd.one(t, "metrics-listen")); ports[name]["metrics"] != m || at(t, o, "spec", "template", "metadata", "annotations", "prometheus.io/port") != m {
			t.Errorf("%s: metrics at %s, ports %v", name, m, ports[name])
		}
		if l := port(t, cmd.one(t, "listen")); ports[name]["ledger"] != l && ports[name]["witness"] != l {
			t.Errorf("%s listens at %s, ports %v", name, l, ports[name])
		}
		for _, probe := range []string{"startupProbe", "livenessProbe", "readinessProbe"} {
			if p := at(t, c, probe, "httpGet"); at(t, p, "port") != "metrics" || at(t, p, "path") != "/healthz" && at(t, p, "path") != "/readyz" {
				t.Errorf("%s: %s %v", name, probe, p)
			}
		}
		for flag, values := range cmd.flags {
			for _, v := range values {
				file := strings.TrimPrefix(v, "@")
				if strings.HasPrefix(file, "/") && !slices.ContainsFunc(at(t, c, "volumeMounts").([]any), func(m any) bool { return strings.HasPrefix(file+"/", at(t, m, "mountPath").(string)+"/") }) {
					t.Errorf("%s: --%s %s is under no mount", name, flag, v)
				}
			}
		}
		if cmd.one(t, "otlp") != "http://collector.observability:4318" || len(cmd.flags["tls-client-ca"]) != 1 {
			t.Errorf("%s: %v", name, cmd.flags)
		}
		for _, v := range append(slices.Clone(cmd.flags["witness"]), cmd.flags["ledger"]...) {
			calls = append(calls, v[strings.Index(v, "https://")+len("https://"):])
		}
	}
	if want := map[string]int{"StatefulSet": 3, "Service": 4, "NetworkPolicy": 2, "PodDisruptionBudget": 1, "ConfigMap": 2}; !maps.Equal(count, want) {
		t.Errorf("objects %v, want %v", count, want)
	}
	for _, o := range objects {
		name := at(t, o, "metadata", "name").(string)
		switch o["kind"] {
		case "Service":
			selector := labels(t, at(t, o, "spec", "selector"))
			behind := ""
			for set, pod := range pods {
				if covers(pod, selector) {
					behind += set
				}
			}
			if ports[behind] == nil {
				t.Fatalf("service %s selects %q", name, behind)
			}
			for _, p := range at(t, o, "spec", "ports").([]any) {
				if target := fmt.Sprint(at(t, p, "targetPort")); ports[behind][target] != fmt.Sprint(at(t, p, "port")) {
					t.Errorf("service %s: %v, the pods have %v", name, p, ports[behind])
				}
			}
			listens[name] = fmt.Sprint(at(t, o, "spec", "ports", 0, "port"))
		case "PodDisruptionBudget":
			if !covers(pods["comity-ledger"], labels(t, at(t, o, "spec", "selector", "matchLabels"))) || fmt.Sprint(at(t, o, "spec", "maxUnavailable")) != "1" {
				t.Errorf("%v", o)
			}
		case "ConfigMap":
			for file, text := range at(t, o, "data").(map[string]any) {
				if original := map[string]string{"alerts.yaml": "observability/alerts.yaml", "comity.json": "observability/dashboard.json"}[file]; text != string(deployFile(t, original)) {
					t.Errorf("%s is not %s", file, original)
				}
			}
		case "NetworkPolicy":
			selector := labels(t, at(t, o, "spec", "podSelector", "matchLabels"))
			found := 0
			for _, pod := range pods {
				if covers(pod, selector) {
					found++
				}
			}
			if len(at(t, o, "spec", "policyTypes").([]any)) != 2 || found != map[string]int{"comity-ledger": 1, "comity-witness": 2}[name] {
				t.Errorf("policy %s holds for %d sets", name, found)
			}
		}
	}
	// The nodes of the ledger may speak to each other.
	forwards := 0
	for _, o := range objects {
		if o["kind"] != "NetworkPolicy" || at(t, o, "metadata", "name") != "comity-ledger" {
			continue
		}
		for direction, peers := range map[string]string{"ingress": "from", "egress": "to"} {
			for _, rule := range at(t, o, "spec", direction).([]any) {
				list, _ := rule.(map[string]any)[peers].([]any)
				for _, peer := range list {
					if p, ok := peer.(map[string]any)["podSelector"]; ok && fmt.Sprint(at(t, rule, "ports", 0, "port")) == ports["comity-ledger"]["ledger"] && covers(pods["comity-ledger"], labels(t, at(t, p, "matchLabels"))) {
						forwards++
					}
				}
			}
		}
	}
	if forwards != 2 {
		t.Errorf("%d rules let a node reach another", forwards)
	}
	// What stays inside the release meets a service there.
	inside := 0
	for _, c := range calls {
		host, p, _ := strings.Cut(c, ":")
		if strings.Contains(host, ".") {
			continue
		}
		if inside++; listens[host] != p {
			t.Errorf("nothing answers at %s", c)
		}
	}
	if inside != 2 {
		t.Errorf("%d calls inside the release", inside)
	}
	// Without a ledger of its own a nation may still run witnesses.
	if n := len(chart(t, func(v map[string]any) { v["ledger"].(map[string]any)["enabled"] = false })); n != 5+2 {
		t.Errorf("%d objects without a ledger", n)
	}
	// On one machine, with the Prometheus operator.
	rules := 0
	for _, o := range chart(t, func(v map[string]any) {
		v["ledger"].(map[string]any)["sameMachine"] = true
		v["telemetry"].(map[string]any)["prometheusRule"] = true
		v["telemetry"].(map[string]any)["configMaps"] = false
	}) {
		switch {
		case o["kind"] == "PrometheusRule":
			rules = len(at(t, o, "spec", "groups", 0, "rules").([]any))
		case o["kind"] == "StatefulSet" && at(t, o, "metadata", "name") == "comity-ledger":
			apart := at(t, o, "spec", "template", "spec", "affinity", "podAntiAffinity", "preferredDuringSchedulingIgnoredDuringExecution", 0, "podAffinityTerm")
			if at(t, apart, "topologyKey") != "kubernetes.io/hostname" || !covers(pods["comity-ledger"], labels(t, at(t, apart, "labelSelector", "matchLabels"))) {
				t.Errorf("%v", apart)
			}
		case o["kind"] == "ConfigMap":
			t.Error("a config map that nobody wants")
		}
	}
	if rules < 10 {
		t.Errorf("%d alert rules", rules)
	}
}

// wordsOf splits a line as a shell would that has nothing to expand.
func wordsOf(line string) []string {
	var out []string
	for _, word := range regexp.MustCompile(`'[^']*'|"[^"]*"|\S+`).FindAllString(line, -1) {
		out = append(out, strings.Trim(word, `'"`))
	}
	return out
}

// documented are the commands of this program in a document: lines that are indented, or in a block of code.
func documented(text string) (out []string) {
	block := false
	for _, line := range strings.Split(strings.ReplaceAll(text, "\\\n", " "), "\n") {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			block = !block
			continue
		}
		if !block && !strings.HasPrefix(line, "    ") {
			continue
		}
		line, _, _ = strings.Cut(line, " > ")
		line, _, _ = strings.Cut(line, " | ")
		line, _, _ = strings.Cut(line, " # ")
		if line = strings.TrimSpace(line); strings.HasPrefix(line, "comity ") {
			out = append(out, line)
		}
	}
	return out
}

// TestCommandsInDocumentsExist: in every document under deploy and in the specifications of stores and ledgers, with their flags, values and
// all that is required.
func TestCommandsInDocumentsExist(t *testing.T) {
	if got := documented("x\n    comity a \\\n  --b > c\ncomity no\n```sh\ncomity d | e\n```\n"); !slices.Equal(got, []string{"comity a    --b", "comity d"}) {
		t.Fatalf("%q", got)
	}
	n := map[string]int{}
	err := filepath.WalkDir(deployed, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || filepath.Ext(name) != ".md" {
			return err
		}
		text, err := os.ReadFile(name)
		for _, line := range documented(string(text)) {
			program(t, name, wordsOf(line)[1:])
			n[filepath.Base(name)]++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	for _, k := range n {
		total += k
	}
	if n["README.md"] < 20 || n["several-nodes.md"] < 6 || total < 50 {
		t.Errorf("only so many commands were found: %v", n)
	}
}
