package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// rawServers names what in a file makes an HTTP server or proxy that would print to the process's standard error by itself, past its log: a literal
// without ErrorLog, a value that is no literal, and the short forms of net/http that have no place for one.
func rawServers(f *ast.File) (wrong []string) {
	is := func(n ast.Node, pkg, name string) bool {
		s, ok := n.(*ast.SelectorExpr)
		if !ok || s.Sel.Name != name {
			return false
		}
		x, ok := s.X.(*ast.Ident)
		return ok && x.Name == pkg
	}
	made := func(n ast.Node) bool { return is(n, "http", "Server") || is(n, "httputil", "ReverseProxy") }
	var fine []ast.Node // uses of the types that are judged, or make nothing
	ast.Inspect(f, func(n ast.Node) bool {
		switch n := n.(type) {
		case *ast.StarExpr:
			fine = append(fine, n.X)
		case *ast.CompositeLit:
			if !made(n.Type) {
				return true
			}
			fine = append(fine, n.Type)
			if !slices.ContainsFunc(n.Elts, func(e ast.Expr) bool {
				kv, ok := e.(*ast.KeyValueExpr)
				if !ok {
					return false
				}
				key, ok := kv.Key.(*ast.Ident)
				value, named := kv.Value.(*ast.Ident)
				return ok && key.Name == "ErrorLog" && (!named || value.Name != "nil")
			}) {
				wrong = append(wrong, "a literal without ErrorLog")
			}
		case *ast.SelectorExpr:
			if made(n) && !slices.Contains(fine, ast.Node(n)) {
				wrong = append(wrong, "a server or proxy that is no literal")
			}
			for _, short := range []string{"ListenAndServe", "ListenAndServeTLS", "Serve", "ServeTLS"} {
				if is(n, "http", short) {
					wrong = append(wrong, "http."+short)
				}
			}
			if is(n, "httputil", "NewSingleHostReverseProxy") {
				wrong = append(wrong, "httputil.NewSingleHostReverseProxy")
			}
		}
		return true
	})
	return wrong
}

func TestNoServerPrintsPastTheLog(t *testing.T) {
	seen := 0
	err := filepath.WalkDir(filepath.Join(testDir, "../.."), func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (strings.HasPrefix(d.Name(), ".") && d.Name() != ".." || d.Name() == "testdata" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
		if err != nil {
			return err
		}
		seen++
		for _, w := range rawServers(f) {
			t.Errorf("%s: %s", path, w)
		}
		return nil
	})
	if err != nil || seen < 100 {
		t.Fatalf("%d files: %v", seen, err)
	}
}

func TestTheReaderOfServersBites(t *testing.T) {
	for body, want := range map[string]int{
		`s := &http.Server{Handler: h, ErrorLog: l}`: 0,
		`var s *http.Server; _ = s`:                  0,
		`s := &http.Server{Handler: h}`:              1,
		`s := http.Server{ErrorLog: nil}`:            1,
		`s := new(http.Server)`:                      1,
		`var s http.Server; _ = s`:                   1,
		`p := httputil.ReverseProxy{}`:               1,
		`p := httputil.NewSingleHostReverseProxy(u)`: 1,
		`_ = http.ListenAndServe("", nil)`:           1,
	} {
		f, err := parser.ParseFile(token.NewFileSet(), "", "package p\nfunc f() {\n"+body+"\n}", 0)
		if err != nil {
			t.Fatal(err)
		}
		if got := rawServers(f); len(got) != want {
			t.Errorf("%s: %s", body, fmt.Sprint(got))
		}
	}
}
