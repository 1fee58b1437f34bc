package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement/entry"
)

// TestMain lets the test binary be the node's process.
func TestMain(m *testing.M) {
	if len(os.Args) > 1 && os.Args[1] == childFlag {
		if err := runNode(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, "load: node:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestLoadRunsEndToEnd is a small run: a node in its own process, honest and simulated payments, double spends and invalid proofs.
func TestLoadRunsEndToEnd(t *testing.T) {
	dir := t.TempDir()
	o := options{
		set: filepath.Join(dir, "set"), data: filepath.Join(dir, "data"), honest: 1, transfers: 20, disbursements: 2,
		doubles: 0.2, invalid: 0.2, workers: 3, batch: 4, disburseBatch: 2, quiet: true,
	}
	ctx := context.Background()
	set, err := obtain(ctx, &o)
	if err != nil {
		t.Fatal(err)
	}
	witness, stop, err := rig.Witness(set, filepath.Join(dir, "witness"))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	n, err := startNode(ctx, &o, set, witness)
	if err != nil {
		t.Fatal(err)
	}
	r := new(report)
	if err := drive(ctx, &o, set, n, r); err != nil {
		t.Error(err)
	}
	if err := n.stop(); err != nil {
		t.Error(err)
	}
	if len(r.Parts) != 2 {
		t.Fatalf("%d parts", len(r.Parts))
	}
	transfers := r.Parts[0].Outcome.Classes
	if honest := transfers[dataset.HonestTransfer]; honest == nil || honest.Accepted != 1 {
		t.Errorf("honest transfer: %+v", honest)
	}
	// Of two that spend the same notes one settles, whichever came first.
	doubles := transfers[dataset.DoubleSpend]
	if both := transfers[dataset.SimulatedTransfer].Accepted + doubles.Accepted; both != 20 || doubles.Sent != 4 {
		t.Errorf("%d accepted of 20 transfers and 4 double spends of some of them", both)
	}
	if bad := transfers[dataset.InvalidProof]; bad.Accepted != 0 || bad.Refused[entry.ProofInvalid] != 4 {
		t.Errorf("invalid proofs: %+v", bad)
	}
	if got := r.Parts[1].Outcome.Payments(); got != 2*64 {
		t.Errorf("%d payments in two disbursements", got)
	}
	var text strings.Builder
	r.print(&text)
	for _, want := range []string{"verification", "simulated disbursement", "p99"} {
		if !strings.Contains(text.String(), want) {
			t.Errorf("the report does not say %q", want)
		}
	}
	// The same data set serves another run.
	again, err := obtain(ctx, &o)
	if err != nil || again.Seed != set.Seed {
		t.Errorf("the data set was not kept: %v", err)
	}
}
