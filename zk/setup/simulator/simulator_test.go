package simulator

import (
	"crypto/rand"
	"errors"
	mrand "math/rand/v2"
	"testing"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit/circuittest"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

func TestSimulatedProofsVerifyAndBindEveryPublicInput(t *testing.T) {
	s, err := New()
	if err != nil {
		t.Fatal(err)
	}
	set, err := setup.Verifier(0)
	if err != nil {
		t.Fatal(err)
	}
	var publics []*zk.LegPublic
	for _, id := range zk.Circuits() {
		leg, err := circuittest.Build(mrand.NewChaCha8([32]byte{byte(id)}), circuittest.Options{Circuit: id})
		if err != nil {
			t.Fatal(err)
		}
		// A leg that is false, but has the right shape: the simulator does not care.
		leg.Witness.Public.Issued++
		publics = append(publics, &leg.Witness.Public)
	}
	proofs, err := s.SimulateAll(publics, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	var jobs []verifier.Job
	for i, p := range publics {
		jobs = append(jobs, verifier.Job{Circuit: p.Circuit, Public: p, Proof: &proofs[i]})
	}
	for i, err := range set.VerifyBatch(jobs, nil) {
		if err != nil {
			t.Errorf("%v: %v", publics[i].Circuit, err)
		}
	}
	for i, job := range jobs {
		p := *job.Public
		p.Tree++
		if err := set.Verify(verifier.Job{Circuit: p.Circuit, Public: &p, Proof: job.Proof}); !errors.Is(err, verifier.ErrPairing) {
			t.Errorf("%v with another public part: %v", p.Circuit, err)
		}
		j := jobs[(i+1)%len(jobs)]
		if err := set.Verify(verifier.Job{Circuit: j.Circuit, Public: job.Public, Proof: job.Proof}); !errors.Is(err, verifier.ErrShape) {
			t.Errorf("%v under the key of %v: %v", p.Circuit, j.Circuit, err)
		}
	}
	bad := *publics[0]
	bad.Nullifiers = bad.Nullifiers[:1]
	if _, err := s.Simulate(&bad, rand.Reader); !errors.Is(err, zk.ErrShape) {
		t.Errorf("a leg of the wrong shape: %v", err)
	}
	if err := set.Verify(verifier.Job{Circuit: bad.Circuit, Public: &bad, Proof: &proofs[0]}); !errors.Is(err, verifier.ErrShape) {
		t.Errorf("a leg of the wrong shape: %v", err)
	}
	if err := set.Verify(verifier.Job{Circuit: 99, Public: &bad, Proof: &proofs[0]}); !errors.Is(err, verifier.ErrUnknownCircuit) {
		t.Errorf("an unknown circuit: %v", err)
	}
	if err := set.Verify(verifier.Job{Circuit: 1, Proof: &proofs[0]}); !errors.Is(err, verifier.ErrShape) {
		t.Errorf("no public part: %v", err)
	}
}
