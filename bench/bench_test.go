package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// TestMain lets the test binary be the process that drops what it receives.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == dropFlag {
		if err := runDrop(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "bench: drop:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// tiny is so small that its figures mean nothing.
var tiny = scaleOf{
	spec:  dataset.Spec{SimulatedTransfers: 300, SimulatedDisburses: 24},
	stage: time.Millisecond, rounds: 1, transfers: 120, disburses: 24, step: 50 * time.Millisecond, shares: []float64{0.8, 2}, flood: 40, flooders: 1,
	nullifiers: []int{1000, 4000}, old: 10, round: 100,
}

// TestEverySectionRunsAndIsReported is the whole program at a tiny size, without PostgreSQL.
func TestEverySectionRunsAndIsReported(t *testing.T) {
	if testing.Short() {
		t.Skip("builds comity and runs ledgers")
	}
	dir := t.TempDir()
	t.Chdir("..") // where the program is built from
	o := options{set: filepath.Join(dir, "set"), work: dir, out: filepath.Join(dir, "results"), quietly: true, quick: true}
	var out bytes.Buffer
	if err := run(context.Background(), o, tiny, []string{"-quick"}, &out); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"## What fell short", "## The ceiling", "## The whole", "## Latency against throughput", "## A flood of invalid proofs", "## Size of the ledger", "## Memory",
		"receiving, mutual TLS", "| everything on |", "| 200 % |", "refused as proof_invalid", "| 4,000 |", "a quick run at small sizes", "commit ", "load average",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(out.String())
	}
	for _, name := range []string{"speed.md", "latency.svg", "sizes-cost.svg", "sizes-rate.svg"} {
		if text, err := os.ReadFile(filepath.Join(o.out, name)); err != nil || len(text) < 1000 {
			t.Errorf("%s: %d bytes, %v", name, len(text), err)
		}
	}
	left, err := filepath.Glob(filepath.Join(dir, "bench-*"))
	if err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

func TestFlagsAreChecked(t *testing.T) {
	o, err := parse([]string{"-quick", "-only", "load,sizes"})
	if err != nil || !o.quick || o.out != "" || filepath.Base(o.set) != "quick.set" {
		t.Errorf("%+v, %v", o, err)
	}
	if o, err := parse(nil); err != nil || o.out != filepath.Join("bench", "results") {
		t.Errorf("%+v, %v", o, err)
	}
	if _, err := parse([]string{"-only", "load,speed"}); err == nil || !strings.Contains(err.Error(), `"speed"`) {
		t.Errorf("an unknown section: %v", err)
	}
	if _, err := parse([]string{"-fast"}); err == nil || errors.Is(err, flag.ErrHelp) {
		t.Errorf("an unknown flag: %v", err)
	}
}

// TestAnEntryThatIsInTheLogTwiceIsFound: reading back counts.
func TestAnEntryThatIsInTheLogTwiceIsFound(t *testing.T) {
	set, err := dataset.Make(t.Context(), dataset.Spec{SimulatedTransfers: 2, Seed: [32]byte{5}, NowMillis: 1_790_000_000_000}, nil)
	if err != nil {
		t.Fatal(err)
	}
	at := map[entry.ID]uint64{}
	if err := index(at, &settlement.Block{FirstIndex: 7, Entries: [][]byte{set.Items[0].Entry, set.Items[1].Entry}}); err != nil || len(at) != 2 {
		t.Fatalf("%d entries, %v", len(at), err)
	}
	if err := index(at, &settlement.Block{FirstIndex: 9, Entries: [][]byte{set.Items[0].Entry}}); err == nil {
		t.Error("the same entry at two places was not found")
	}
}

func TestAGoalThatIsMissedIsSaidTwice(t *testing.T) {
	r := newReport("machine", "command", false)
	r.goal("fast", "slow", false)
	r.goal("small", "small", true)
	r.memory("a part", boundAll/2, 0)
	r.memory("another", boundAll+1, 0)
	r.memoryGoal()
	r.lacks("No %s.", "PostgreSQL")
	var text bytes.Buffer
	r.print(&text)
	for _, want := range []string{"| fast | slow | **not met** |", "- fast: measured slow.", "| small | small | met |", "(another) | **not met** |", "- No PostgreSQL."} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("%q is not in %s", want, text.String())
		}
	}
}

func TestADocumentQuotesTheGoals(t *testing.T) {
	path := filepath.Join(t.TempDir(), "doc.md")
	if err := os.WriteFile(path, []byte("before\n"+quoteBegin+"\nold\n"+quoteEnd+"\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	r := newReport("a machine", "command", false)
	r.goal("fast", "slow", false)
	for range 2 { // what was put there is replaced
		if err := r.quote(path); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := string(text); strings.Count(got, "| fast | slow |") != 1 || strings.Contains(got, "old") || !strings.HasPrefix(got, "before\n") || !strings.HasSuffix(got, "\nafter\n") ||
		!strings.Contains(got, "a machine") {
		t.Error(got)
	}
	if err := os.WriteFile(path, []byte("no marks"), 0o600); err != nil {
		t.Fatal(err)
	}
	if r.quote(path) == nil {
		t.Error("a document without marks was changed")
	}
}
