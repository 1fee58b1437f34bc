package circuit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

// Chapter 7 of zk/SPEC.md lists every assertion with the tests that show what it
// is for. Code, table and tests name the same things.
func TestSpecListsEveryAssertion(t *testing.T) {
	text, err := os.ReadFile("../SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	inCode := map[string]bool{}
	for _, id := range zk.Circuits() {
		for _, name := range assertionsOf(t, id) {
			inCode[name] = true
		}
	}
	tests := testsOfPackage(t)
	claims := map[string]string{}
	for _, f := range falsehoods {
		name := "TestEveryAssertionIsNeeded/" + testName(f.claim)
		if claims[name] != "" {
			t.Errorf("two falsehoods are named %s", name)
		}
		claims[name] = f.assertion
		if !inCode[f.assertion] {
			t.Errorf("%s tests %s, which is not in the code", name, f.assertion)
		}
	}

	row := regexp.MustCompile("(?m)^\\| `(S[0-9]\\.[A-Za-z0-9]+)` \\|[^|]+\\|([^|]+)\\|$")
	quoted := regexp.MustCompile("`([^`]+)`")
	inSpec, tested := map[string]bool{}, map[string]bool{}
	for _, m := range row.FindAllStringSubmatch(string(text), -1) {
		name := m[1]
		if inSpec[name] {
			t.Errorf("%s has two rows", name)
		}
		inSpec[name] = true
		if !inCode[name] {
			t.Errorf("%s is in the SPEC and not in the code", name)
		}
		named := quoted.FindAllStringSubmatch(m[2], -1)
		if len(named) == 0 {
			t.Errorf("%s has no test", name)
		}
		for _, q := range named {
			tested[q[1]] = true
			if strings.Contains(q[1], "/") {
				if claims[q[1]] != name {
					t.Errorf("%s: there is no test %s of it", name, q[1])
				}
			} else if !tests[q[1]] {
				t.Errorf("%s: there is no test %s", name, q[1])
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(inCode)) {
		if !inSpec[name] {
			t.Errorf("%s is in the code and not in the SPEC", name)
		}
	}
	for name := range claims {
		if !tested[name] {
			t.Errorf("the SPEC does not name %s", name)
		}
	}
}

func testsOfPackage(t *testing.T) map[string]bool {
	t.Helper()
	files, err := filepath.Glob("*_test.go")
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range parsed.Decls {
			if f, ok := d.(*ast.FuncDecl); ok && strings.HasPrefix(f.Name.Name, "Test") {
				names[f.Name.Name] = true
			}
		}
	}
	return names
}
