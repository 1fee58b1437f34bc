package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/comity-ledger/comity"

// The layers of the project, as rules about who may import what. They are read from the files with go/parser and not from
// `go list`, whose result the test cache would keep.

// source is one Go file, reduced to what the rules look at.
type source struct {
	file    string   // relative to the module root, with slashes
	pkg     string   // folder, "" for the root
	test    bool     // a _test.go file
	imports []string // import paths; ours without the module prefix and with a leading "./"
	clock   []string // calls of the time package that read or wait for the clock
}

// rule says what a file may not do; it returns a sentence, or "" when the file keeps it.
type rule func(s source) string

func within(pkg string, folders ...string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return pkg == f || strings.HasPrefix(pkg, f+"/") })
}

// only: the library with this prefix is imported in these folders alone, tests included.
func only(prefix string, folders ...string) rule {
	return func(s source) string {
		for _, imp := range s.imports {
			if within(imp, prefix) && !within(s.pkg, folders...) {
				return fmt.Sprintf("imports %s, which belongs in %s", imp, strings.Join(folders, ", "))
			}
		}
		return ""
	}
}

// ours: of this project, files in the folder import nothing but these folders. Tests may import more: they are where layers meet.
func ours(folder string, allowed ...string) rule {
	return func(s source) string {
		if !within(s.pkg, folder) || s.test {
			return ""
		}
		for _, imp := range s.imports {
			if own, ok := strings.CutPrefix(imp, "./"); ok && !within(own, allowed...) {
				return fmt.Sprintf("imports %s; %s may import only %s of this project", own, folder, strings.Join(allowed, ", "))
			}
		}
		return ""
	}
}

// importers: our package is imported by files in these folders alone. Tests may import it.
func importers(folder string, allowed ...string) rule {
	return func(s source) string {
		if s.test || within(s.pkg, append(allowed, folder)...) {
			return ""
		}
		for _, imp := range s.imports {
			if own, ok := strings.CutPrefix(imp, "./"); ok && within(own, folder) {
				return fmt.Sprintf("imports %s, which only %s may", own, strings.Join(allowed, ", "))
			}
		}
		return ""
	}
}

// pure: the package does no I/O, reads no clock and makes no randomness of its own. Sub-folders are not meant.
func pure(packages ...string) rule {
	forbidden := []string{"os", "os/exec", "os/signal", "net", "net/http", "net/rpc", "syscall", "io/ioutil", "crypto/rand", "math/rand", "math/rand/v2", "log", "database/sql"}
	return func(s source) string {
		if s.test || !slices.Contains(packages, s.pkg) {
			return ""
		}
		for _, imp := range s.imports {
			if slices.Contains(forbidden, imp) {
				return fmt.Sprintf("imports %s; this package is pure: it takes such things as arguments", imp)
			}
		}
		if len(s.clock) > 0 {
			return fmt.Sprintf("calls time.%s; this package is pure: time comes in as an argument", s.clock[0])
		}
		return ""
	}
}

var rules = map[string]rule{
	"zk stands alone":                   ours("zk", "zk"),
	"entry shares only zk":              ours("settlement/entry", "zk", "settlement/entry"),
	"proof shares only zk":              ours("settlement/proof", "zk", "settlement/proof"),
	"settlement never meets the others": ours("settlement", "zk", "settlement", "proto/gen", "proto/doors", "proto/schema"),
	"wallets never meets the others":    ours("wallets", "zk", "wallets", "settlement/entry", "settlement/proof", "proto/gen", "proto/doors"),
	"bridge never meets the others":     ours("bridge", "zk", "bridge", "settlement/entry", "settlement/proof", "proto/gen", "proto/doors", "proto/schema"),
	"doors stands alone":                ours("proto/doors", "proto/doors"),
	"doors open at the edges":           importers("proto/doors", "settlement/rpc", "wallets/client", "bridge/rpc", "cmd", "bench"),
	"schema stands alone":               ours("proto/schema", "proto/schema"),
	"schema is for the edges":           importers("proto/schema", "settlement/rpc", "bridge/rpc"),
	"cmd is imported by cmd alone":      importers("cmd", "cmd"),
	"bench is imported by cmd alone":    importers("bench", "cmd"),
	"messages stay at the edges":        importers("proto/gen", "settlement/rpc", "wallets/client", "bridge/rpc", "cmd", "bench"),
	"the trapdoor stays in tests":       importers("zk/setup/simulator", "bench"),
	"gnark stays in four packages":      only("github.com/consensys/gnark", "zk/circuit", "zk/prover", "zk/verifier", "zk/setup"),
	"gnark-crypto stays in zk":          only("github.com/consensys/gnark-crypto", "zk"),
	"Connect stays at the edges":        only("connectrpc.com", "settlement/rpc", "wallets/client", "bridge/rpc", "proto/gen", "proto/schema", "cmd", "bench"),
	"protobuf stays at the edges":       only("google.golang.org/protobuf", "settlement/rpc", "wallets/client", "bridge/rpc", "proto/gen", "proto/schema", "cmd", "bench"),
	"rules of messages are read there":  only("buf.build", "settlement/rpc", "bridge/rpc", "proto/gen", "proto/schema"),
	"Pebble has one user":               only("github.com/cockroachdb/pebble", "settlement/pebblestore"),
	"pgx has one user":                  only("github.com/jackc/pgx", "settlement/pgstore"),
	"the telemetry SDK stays in cmd":    only("go.opentelemetry.io/otel/sdk", "cmd"),
	"telemetry stays at the edges":      only("go.opentelemetry.io", "settlement/node", "settlement/rpc", "settlement/pebblestore", "settlement/pgstore", "cmd"),
	"the command line stays in cmd":     only("github.com/spf13/cobra", "cmd"),
	"cores are pure":                    pure("zk", "zk/tree", "zk/keys", "settlement", "settlement/entry", "settlement/proof", "wallets", "bridge"),
	"main only wires": func(s source) string {
		if s.pkg != "cmd/comity" || s.test {
			return ""
		}
		for _, imp := range s.imports {
			if own, ok := strings.CutPrefix(imp, "./"); ok && !within(own, "cmd/internal") {
				return fmt.Sprintf("imports %s; main only wires the commands", own)
			}
		}
		return ""
	},
}

func parse(file string, text any) (source, error) {
	tree, err := parser.ParseFile(token.NewFileSet(), file, text, parser.SkipObjectResolution)
	if err != nil {
		return source{}, err
	}
	s := source{file: file, pkg: strings.TrimPrefix(path.Dir(file), "."), test: strings.HasSuffix(file, "_test.go")}
	clockName := ""
	for _, spec := range tree.Imports {
		imp, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			return source{}, err
		}
		if imp == "time" {
			clockName = "time"
			if spec.Name != nil {
				clockName = spec.Name.Name
			}
		}
		if own, ok := strings.CutPrefix(imp, module); ok {
			imp = "./" + strings.TrimPrefix(own, "/")
		}
		s.imports = append(s.imports, imp)
	}
	ast.Inspect(tree, func(n ast.Node) bool {
		if sel, ok := n.(*ast.SelectorExpr); ok && clockName != "" {
			if x, ok := sel.X.(*ast.Ident); ok && x.Name == clockName &&
				slices.Contains([]string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}, sel.Sel.Name) {
				s.clock = append(s.clock, sel.Sel.Name)
			}
		}
		return true
	})
	return s, nil
}

func TestEveryPackageKeepsToItsLayer(t *testing.T) {
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root, "go.mod")); err != nil {
		t.Fatalf("the module root is not where this test expects it: %v", err)
	}
	files := 0
	err = filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); p != root && (strings.HasPrefix(name, ".") || name == "testdata" || name == "node_modules") {
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(p, ".go") {
			return nil
		}
		text, err := os.ReadFile(p)
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, p)
		if err != nil {
			return err
		}
		s, err := parse(filepath.ToSlash(rel), text)
		if err != nil {
			return err
		}
		files++
		for name, r := range rules {
			if complaint := r(s); complaint != "" {
				t.Errorf("%s %s (%s)", s.file, complaint, name)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if files < 10 {
		t.Fatalf("only %d files were read", files)
	}
}

// TestEveryRuleBites plants one violation per rule, and checks that it alone is found; and a few lawful files.
func TestEveryRuleBites(t *testing.T) {
	own := func(p string) string { return module + "/" + p }
	for name, tc := range map[string]struct{ file, imports, body string }{
		"zk stands alone":                   {"zk/tree/x.go", own("settlement/entry"), ""},
		"entry shares only zk":              {"settlement/entry/x.go", own("settlement"), ""},
		"proof shares only zk":              {"settlement/proof/x.go", own("settlement/entry"), ""},
		"settlement never meets the others": {"settlement/node/x.go", own("wallets"), ""},
		"wallets never meets the others":    {"wallets/x.go", own("settlement"), ""},
		"bridge never meets the others":     {"bridge/x.go", own("wallets"), ""},
		"doors stands alone":                {"proto/doors/x.go", own("settlement/entry"), ""},
		"doors open at the edges":           {"wallets/x.go", own("proto/doors"), ""},
		"schema stands alone":               {"proto/schema/x.go", own("zk"), ""},
		"schema is for the edges":           {"cmd/x.go", own("proto/schema"), ""},
		"rules of messages are read there":  {"settlement/node/x.go", "buf.build/go/protovalidate", ""},
		"cmd is imported by cmd alone":      {"bench/x.go", own("cmd/internal/cli"), ""},
		"bench is imported by cmd alone":    {"deploy/x.go", own("bench"), ""},
		"messages stay at the edges":        {"settlement/x.go", own("proto/gen/comity/ledger/v1"), ""},
		"the trapdoor stays in tests":       {"zk/prover/x.go", own("zk/setup/simulator"), ""},
		"gnark stays in four packages":      {"zk/keys/x_test.go", "github.com/consensys/gnark/frontend", ""},
		"gnark-crypto stays in zk":          {"wallets/x_test.go", "github.com/consensys/gnark-crypto/ecc/bls12-381/fr", ""},
		"Connect stays at the edges":        {"settlement/node/x.go", "connectrpc.com/connect", ""},
		"protobuf stays at the edges":       {"settlement/journal/x.go", "google.golang.org/protobuf/proto", ""},
		"Pebble has one user":               {"settlement/node/x.go", "github.com/cockroachdb/pebble/v2", ""},
		"pgx has one user":                  {"settlement/node/x.go", "github.com/jackc/pgx/v5", ""},
		"the telemetry SDK stays in cmd":    {"settlement/node/x.go", "go.opentelemetry.io/otel/sdk/metric", ""},
		"telemetry stays at the edges":      {"settlement/x.go", "go.opentelemetry.io/otel", ""},
		"the command line stays in cmd":     {"wallets/x.go", "github.com/spf13/cobra", ""},
		"cores are pure":                    {"settlement/x.go", "time", "var now = time.Now()"},
		"main only wires":                   {"cmd/comity/x.go", own("settlement/node"), ""},
	} {
		if rules[name] == nil {
			t.Errorf("%s: no such rule", name)
			continue
		}
		s, err := parse(tc.file, fmt.Sprintf("package x\nimport %q\n%s\n", tc.imports, tc.body))
		if err != nil {
			t.Fatal(err)
		}
		for other, r := range rules {
			if complaint := r(s); (complaint != "") != (other == name) {
				t.Errorf("planted for %q: rule %q says %q", name, other, complaint)
			}
		}
	}
	for _, lawful := range []struct{ file, imports string }{
		{"zk/keys/x.go", "github.com/consensys/gnark-crypto/ecc/bls12-381/fr"},
		{"zk/verifier/x_test.go", own("zk/setup/simulator")},
		{"bench/load/x.go", own("zk/setup/simulator")},
		{"settlement/rpc/x.go", "connectrpc.com/connect"},
		{"wallets/client/x.go", own("proto/gen/comity/ledger/v1")},
		{"wallets/x_test.go", own("settlement/node")},
		{"settlement/x.go", "time"},
		{"cmd/internal/demo/x.go", own("wallets/keystore")},
	} {
		s, err := parse(lawful.file, fmt.Sprintf("package x\nimport %q\n", lawful.imports))
		if err != nil {
			t.Fatal(err)
		}
		for name, r := range rules {
			if complaint := r(s); complaint != "" {
				t.Errorf("lawful %s importing %s: %s (%s)", lawful.file, lawful.imports, complaint, name)
			}
		}
	}
	if len(rules) != 26 {
		t.Errorf("%d rules, 26 planted violations", len(rules))
	}
}
