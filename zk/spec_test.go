package zk

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// Every rule that code quotes stands in the SPEC, and every rule of chapters 1 to 6 is quoted by code or a test.
func TestRulesAndCodeQuoteEachOther(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	stands := map[string]bool{}
	for _, m := range regexp.MustCompile(`\*\*(Z\d+\.\d+)`).FindAllStringSubmatch(string(spec), -1) {
		if stands[m[1]] {
			t.Errorf("%s stands twice in the SPEC", m[1])
		}
		stands[m[1]] = true
	}
	if len(stands) < 36 {
		t.Fatalf("only %d rules were found: chapters are missing", len(stands))
	}
	quoted := map[string]bool{}
	rule := regexp.MustCompile(`\bZ(\d+)\.(\d+)\b`)
	span := regexp.MustCompile(`\bZ(\d+)\.(\d+) to Z(\d+)\.(\d+)\b`)
	err = filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || path == "spec_test.go" {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for _, m := range rule.FindAllString(string(text), -1) {
			quoted[m] = true
			if !stands[m] {
				t.Errorf("%s quotes %s, which is not in the SPEC", path, m)
			}
		}
		for _, m := range span.FindAllStringSubmatch(string(text), -1) {
			if m[1] != m[3] {
				continue
			}
			for r := range stands {
				if parts := rule.FindStringSubmatch(r); parts[1] == m[1] && atLeast(parts[2], m[2]) && atLeast(m[4], parts[2]) {
					quoted[r] = true
				}
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for r := range stands {
		if r[1] <= '6' && !quoted[r] {
			t.Errorf("%s stands in the SPEC and no code quotes it", r)
		}
	}
}

func atLeast(a, b string) bool { return len(a) > len(b) || len(a) == len(b) && a >= b }
