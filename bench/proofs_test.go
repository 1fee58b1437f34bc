package main

import (
	"context"
	"crypto/rand"
	"fmt"
	mrand "math/rand/v2"
	"sync"
	"testing"

	"github.com/comity-ledger/comity/bench/machine"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
	"github.com/comity-ledger/comity/zk/prover"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/setup/simulator"
	"github.com/comity-ledger/comity/zk/verifier"
)

// measure runs op in a benchmark's loop and reports processor milliseconds for each of the n things that one op does.
func measure(b *testing.B, n int, unit string, op func()) {
	b.Helper()
	start := machine.CPU()
	for b.Loop() {
		op()
	}
	b.ReportMetric((machine.CPU()-start).Seconds()*1000/float64(b.N)/float64(n), "cpu-ms/"+unit)
}

func leg(tb testing.TB, id zk.CircuitID) *circuittest.Leg {
	tb.Helper()
	l, err := circuittest.Build(mrand.NewChaCha8([32]byte{byte(id)}), circuittest.Options{Circuit: id})
	if err != nil {
		tb.Fatal(err)
	}
	return l
}

var forge = sync.OnceValues(func() (*simulator.Simulator, error) { return simulator.New(zk.Transfer, zk.Disburse64) })

// jobs returns n simulated proofs for n different legs. (Simulated ones cost the verifier exactly what honest ones do.)
func jobs(tb testing.TB, id zk.CircuitID, n int) []verifier.Job {
	tb.Helper()
	s, err := forge()
	if err != nil {
		tb.Fatal(err)
	}
	base := leg(tb, id).Witness.Public
	publics := make([]*zk.LegPublic, n)
	r := mrand.NewChaCha8([32]byte{7})
	for i := range publics {
		p := base
		p.Nullifiers = make([]zk.Nullifier, len(base.Nullifiers))
		for j := range p.Nullifiers {
			var wide [64]byte
			_, _ = r.Read(wide[:])
			p.Nullifiers[j] = zk.Nullifier(zk.FieldFromWide(wide))
		}
		publics[i] = &p
	}
	proofs, err := s.SimulateAll(publics, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	out := make([]verifier.Job, n)
	for i := range out {
		out[i] = verifier.Job{Circuit: id, Public: publics[i], Proof: &proofs[i]}
	}
	return out
}

func prove(tb testing.TB, id zk.CircuitID) (op func()) {
	tb.Helper()
	p, err := prover.New(prover.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	if err := p.Prepare(context.Background(), id); err != nil {
		tb.Fatal(err)
	}
	w := leg(tb, id).Witness
	return func() {
		if _, err := p.Prove(context.Background(), w); err != nil {
			tb.Fatal(err)
		}
	}
}

func verifyBatch(tb testing.TB, id zk.CircuitID, n int) (op func()) {
	tb.Helper()
	set, err := setup.Verifier(0)
	if err != nil {
		tb.Fatal(err)
	}
	all := jobs(tb, id, n)
	return func() {
		for i, err := range set.VerifyBatch(all, nil) {
			if err != nil {
				tb.Fatalf("proof %d: %v", i, err)
			}
		}
	}
}

func verifyOne(tb testing.TB, id zk.CircuitID) (op func()) {
	tb.Helper()
	set, err := setup.Verifier(0)
	if err != nil {
		tb.Fatal(err)
	}
	job := jobs(tb, id, 1)[0]
	return func() {
		if err := set.Verify(job); err != nil {
			tb.Fatal(err)
		}
	}
}

// BenchmarkProve: what does a wallet pay for the proof of each circuit?
func BenchmarkProve(b *testing.B) {
	for _, id := range zk.Circuits() {
		b.Run(id.String(), func(b *testing.B) { measure(b, 1, "proof", prove(b, id)) })
	}
}

// BenchmarkVerify: what does one proof cost alone?
func BenchmarkVerify(b *testing.B) {
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		b.Run(id.String(), func(b *testing.B) { measure(b, 1, "proof", verifyOne(b, id)) })
	}
}

// BenchmarkBatch: what does one proof cost in a batch of each size? The ratio to BenchmarkVerify is what batching gives.
func BenchmarkBatch(b *testing.B) {
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		for _, n := range []int{1, 16, 64, 256, 1024} {
			b.Run(fmt.Sprintf("%v/n=%d", id, n), func(b *testing.B) { measure(b, n, "proof", verifyBatch(b, id, n)) })
		}
	}
}

func TestProofBenchmarksRun(t *testing.T) {
	prove(t, zk.Transfer)()
	verifyOne(t, zk.Transfer)()
	verifyBatch(t, zk.Disburse64, 3)()
}
