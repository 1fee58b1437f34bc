package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/proof"
)

// TestMain lets the test binary be the other processes.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childFlag {
		if err := runChild(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "cross:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestCrossRunsEndToEnd is a small run on three ledgers: twelve processes, one honest payment and some simulated ones, all parts.
func TestCrossRunsEndToEnd(t *testing.T) {
	dir := t.TempDir()
	o := options{ledgers: 3, payments: 40, honest: 1, flying: 6, rate: 20, duration: 20 * time.Second, set: filepath.Join(dir, "set"), data: filepath.Join(dir, "data"),
		out: filepath.Join(dir, "out.md"), json: filepath.Join(dir, "out.json"), quiet: true}
	var text bytes.Buffer
	if err := measure(context.Background(), o, &text); err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(o.json)
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Parts []struct {
			Began, Honest, Counted int // how many are counted is a matter of time
			Machine                shares
			Refused                map[string]int
			Stages                 []struct {
				Name string
				P50  float64
			}
			Processes []struct {
				Name    string
				Node    *stages
				Relayer *relayed
			}
		}
	}
	if err := json.Unmarshal(raw, &got); err != nil {
		t.Fatal(err)
	}
	if len(got.Parts) != 4 {
		t.Fatalf("%d parts", len(got.Parts))
	}
	honest := 0
	for i, p := range got.Parts {
		if p.Began == 0 || p.Counted > p.Began || len(p.Refused) != 0 || len(p.Stages) != int(steps) {
			t.Errorf("part %d: %+v", i, p)
		}
		honest += p.Honest
		for _, s := range p.Stages {
			if s.P50 < 0 || s.P50 > 60_000 {
				t.Errorf("part %d: %s took %v ms", i, s.Name, s.P50)
			}
		}
		if p.Machine.Ours <= 0 || p.Machine.Ours > float64(runtime.NumCPU()) {
			t.Errorf("part %d: we used %v processors", i, p.Machine.Ours)
		}
		var accepted uint64
		resolved := 0
		for _, c := range p.Processes {
			if c.Node != nil {
				accepted += c.Node.Accepted
			}
			if c.Relayer != nil {
				resolved = c.Relayer.Resolves
			}
		}
		// Two holds and two resolutions of each payment, and at least one observation for every step between the ledgers.
		if len(p.Processes) != 3+6+2 || resolved != 2*p.Began || accepted < uint64(4*p.Began+3) {
			t.Errorf("part %d: %d processes, %d resolutions sent and %d entries accepted for %d payments", i, len(p.Processes), resolved, accepted, p.Began)
		}
	}
	if honest != 1 {
		t.Errorf("%d honest payments", honest)
	}
	for _, want := range []string{"three times in all", "B: decision final", "witness2-cordelia", "relayer"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	if file, err := os.ReadFile(o.out); err != nil || !strings.Contains(string(file), "Payments across 3 ledgers") {
		t.Errorf("the report's file: %v", err)
	}
	// Notes in it outlive another report.
	if err := os.WriteFile(o.out, []byte("replaced\n"+notes+"\nkept\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := (&report{Ledgers: 2}).write(&o, &text); err != nil {
		t.Fatal(err)
	}
	if file, err := os.ReadFile(o.out); err != nil || !strings.HasSuffix(string(file), notes+"\nkept\n") || strings.Contains(string(file), "replaced") {
		t.Errorf("notes: %q, %v", file, err)
	}
	// The same data set serves another run, and no run of another size.
	first, err := load(o.set)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := obtain(context.Background(), &o); err != nil || again.Seed != first.Seed {
		t.Errorf("the data set was not kept: %v", err)
	}
	first.Version++
	if err := first.save(o.set); err != nil {
		t.Fatal(err)
	}
	if _, err := load(o.set); !errors.Is(err, errVersion) {
		t.Errorf("a data set of another version: %v", err)
	}
}

func TestRoutesAreEven(t *testing.T) {
	for ledgers, pairs := range map[int]int{2: 2, 3: 6} {
		count := map[[2]int]int{}
		for i := range 60 {
			from, to := route(i, ledgers)
			if from == to || from < 0 || to < 0 || from >= ledgers || to >= ledgers {
				t.Fatalf("route %d of %d ledgers: %d to %d", i, ledgers, from, to)
			}
			count[[2]int{from, to}]++
		}
		for pair, n := range count {
			if len(count) != pairs || n != 60/pairs {
				t.Errorf("%d ledgers: %d of 60 payments go %v", ledgers, n, pair)
			}
		}
	}
}

func TestEveryCorridorHasAWitnessOfItsOwnNation(t *testing.T) {
	for _, count := range []int{2, 3} {
		nations, err := nationsOf([32]byte{1}, count, 1_700_000_000_000)
		if err != nil {
			t.Fatal(err)
		}
		for on := range nations {
			for of, n := range nations {
				if on == of {
					continue
				}
				if err := n.terms(on).Validate(); err != nil {
					t.Errorf("%d ledgers: %s on %s: %v", count, n.name, nations[on].name, err)
				}
			}
		}
	}
	if _, err := nationsOf([32]byte{1}, 4, 1); err == nil {
		t.Error("four ledgers were made")
	}
}

// A ledger that shows blocks other than those that its witnesses cosigned must not go unnoticed: latencies would be of nothing.
func TestMirrorComparesBlocksWithCheckpoints(t *testing.T) {
	leaves := [][]byte{{1}, {2}, {3}}
	full := &mirror{}
	if err := full.add(&ledgerv1.Block{Entries: leaves}); err != nil {
		t.Fatal(err)
	}
	if err := full.add(&ledgerv1.Block{FirstIndex: 7, Entries: leaves}); err == nil {
		t.Error("a gap was taken")
	}
	log := proof.Range{}.With(leaves...)
	for name, root := range map[string]proof.Hash{"true": log.Root(), "false": {1}} {
		m := &mirror{leaves: full.leaves, hashes: full.hashes, early: &proof.Final{Checkpoint: proof.Checkpoint{Head: proof.Head{Size: 3, Root: root}}}}
		moved, err := m.settle()
		if moved != (name == "true") || (err == nil) != (name == "true") {
			t.Errorf("a %s checkpoint: %t, %v", name, moved, err)
		}
	}
	m := &mirror{early: &proof.Final{Checkpoint: proof.Checkpoint{Head: proof.Head{Size: 3}}}}
	if moved, err := m.settle(); moved || err != nil || m.early == nil {
		t.Errorf("a checkpoint ahead of the blocks: %t, %v", moved, err)
	}
	if _, err := m.prove(0, 1); err == nil {
		t.Error("an entry that has not come was proven")
	}
}

// A payment whose next wait begins inside the answer to the last one must not be forgotten.
func TestWaitersMayAddWaiters(t *testing.T) {
	s := &side{mirror: &mirror{}}
	var heard []uint64
	for _, index := range []uint64{4, 2, 9} {
		s.whenFinal(index, func(size uint64, _ time.Time) {
			heard = append(heard, index)
			s.whenFinal(index+3, func(uint64, time.Time) { heard = append(heard, index+3) })
		})
	}
	for _, size := range []uint64{3, 8, 20} {
		s.final.Size = size
		pass(s.finals, size, func(later []waiter) { s.finals = later }, time.Now())
	}
	if want := []uint64{2, 4, 5, 7, 9, 12}; !slices.Equal(slices.Sorted(slices.Values(heard)), want) || len(s.finals) != 0 {
		t.Errorf("heard %v with %d left, want %v", heard, len(s.finals), want)
	}
}
