package prover

import (
	"context"
	"errors"
	"math/rand/v2"
	"syscall"
	"testing"
	"time"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

func newProver(t testing.TB) *Prover {
	t.Helper()
	p, err := New(Config{})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestProofsOfEveryCircuitVerifyInOneBatch(t *testing.T) {
	p := newProver(t)
	set, err := setup.Verifier(0)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []verifier.Job
	for i, id := range zk.Circuits() {
		leg := build(t, byte(20+i), circuittest.Options{Circuit: id, Programme: 5})
		proof, err := p.Prove(context.Background(), leg.Witness)
		if err != nil {
			t.Fatalf("%v: %v", id, err)
		}
		jobs = append(jobs, verifier.Job{Circuit: id, Public: &leg.Witness.Public, Proof: &proof})
	}
	for i, err := range set.VerifyBatch(jobs, nil) {
		if err != nil {
			t.Errorf("%v: %v", jobs[i].Circuit, err)
		}
	}
	// The same proof for another public part.
	for _, job := range jobs {
		public := *job.Public
		public.Ctx = bump(public.Ctx)
		if err := set.Verify(verifier.Job{Circuit: job.Circuit, Public: &public, Proof: job.Proof}); !errors.Is(err, verifier.ErrPairing) {
			t.Errorf("%v under another ctx: %v", job.Circuit, err)
		}
	}
}

func TestTwoProofsOfOneLegDiffer(t *testing.T) {
	p := newProver(t)
	leg := build(t, 30, circuittest.Options{Circuit: zk.Transfer})
	a, err := p.Prove(context.Background(), leg.Witness)
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Prove(context.Background(), leg.Witness)
	if err != nil {
		t.Fatal(err)
	}
	if a == b {
		t.Error("a proof without randomness hides nothing")
	}
}

func TestFalseLegIsNotProven(t *testing.T) {
	p := newProver(t)
	leg := build(t, 31, circuittest.Options{Circuit: zk.Transfer, Status: zk.Frozen})
	if _, err := p.Prove(context.Background(), leg.Witness); !errors.Is(err, &Refusal{Code: OwnerFrozen}) {
		t.Error(err)
	}
}

func TestCancelledProofIsNotBegun(t *testing.T) {
	p := newProver(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	leg := build(t, 32, circuittest.Options{Circuit: zk.Transfer})
	if _, err := p.Prove(ctx, leg.Witness); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

func cpu() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkProve asks what a wallet waits for and pays, for each circuit.
func BenchmarkProve(b *testing.B) {
	p := newProver(b)
	for _, id := range zk.Circuits() {
		b.Run(id.String(), func(b *testing.B) {
			leg, err := circuittest.Build(rand.NewChaCha8([32]byte{1}), circuittest.Options{Circuit: id})
			if err != nil {
				b.Fatal(err)
			}
			if err := p.Prepare(b.Context(), id); err != nil {
				b.Fatal(err)
			}
			start := cpu()
			for b.Loop() {
				if _, err := p.Prove(b.Context(), leg.Witness); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric((cpu()-start).Seconds()/float64(b.N), "cpu-s/proof")
		})
	}
}

func BenchmarkCheck(b *testing.B) {
	for _, id := range zk.Circuits() {
		b.Run(id.String(), func(b *testing.B) {
			leg := build(b, 1, circuittest.Options{Circuit: id})
			for b.Loop() {
				if err := Check(leg.Witness); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
