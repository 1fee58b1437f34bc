package oversight_test

import (
	"os"
	"regexp"
	"strings"
	"testing"
)

func TestEveryProblemAndRefusalHasALineInTheSPEC(t *testing.T) {
	spec, source := string(must(os.ReadFile("SPEC.md"))), string(must(os.ReadFile("audit.go")))+string(must(os.ReadFile("saved.go")))
	names := regexp.MustCompile(`(?:Problem|wallets\.Code)\s+= "([a-z_]+)"`).FindAllStringSubmatch(source, -1)
	if len(names) < 21 {
		t.Fatalf("only %d names were found", len(names))
	}
	for _, n := range names {
		if !strings.Contains(spec, "| `"+n[1]+"` |") {
			t.Errorf("%s has no line in the SPEC", n[1])
		}
	}
}
