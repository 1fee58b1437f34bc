package settlement_test

import (
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// BenchmarkSequence asks what the one sequencing goroutine spends on a block of
// 4,096 transfers, all hashing included. The ceiling it gives is that of
// settlement without proofs: go test ./settlement -run none -bench Sequence
func BenchmarkSequence(b *testing.B) {
	bed := ledgertest.NewBed(1)
	candidates := make([]*settlement.Candidate, 4096)
	for i := range candidates {
		c, err := bed.Admit(bed.Transfer())
		if err != nil {
			b.Fatal(err)
		}
		candidates[i] = c
	}
	b.ResetTimer()
	for b.Loop() {
		if _, err := bed.State.Sequence(candidates, bed.Now, settlement.NewSettled(), nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/4096, "ns/transfer")
}

// BenchmarkAdmit asks what decoding and admission of one transfer cost before
// its proof is checked.
func BenchmarkAdmit(b *testing.B) {
	bed := ledgertest.NewBed(1)
	tx := bed.Transfer()
	leaf := tx.Encode()
	for b.Loop() {
		sub, err := settlement.Decode(leaf, tx.Segments)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bed.State.Admit(sub, bed.Now, bed.Anchor); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkStranger asks what an unsigned register entry of full size costs,
// decoding included: it must stay far below what hashing its rights would.
func BenchmarkStranger(b *testing.B) {
	bed := ledgertest.NewBed(1)
	leaf := entry.Encode(unsignedRegister(bed))
	for b.Loop() {
		sub, err := settlement.Decode(leaf, nil)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := bed.State.Admit(sub, bed.Now, bed.Anchor); entry.CodeOf(err) != entry.SignaturesMissing {
			b.Fatal(err)
		}
	}
}

// unsignedRegister is as large as a register entry gets.
func unsignedRegister(bed *ledgertest.Bed) *entry.Register {
	e := &entry.Register{Header: bed.Next()}
	for range entry.MaxRegistrations {
		o := entry.Registration{Owner: bed.Owner(), Limit: 1}
		for i := range entry.MaxRights {
			o.Rights = append(o.Rights, zk.Right{Programme: zk.ProgrammeID(1 + i), MaySet: true})
		}
		e.Owners = append(e.Owners, o)
	}
	return e
}

func TestStrangersRegisterEntryIsRefusedBeforeItsRightsAreHashed(t *testing.T) {
	bed := ledgertest.NewBed(1)
	e := unsignedRegister(bed)
	admit := func() time.Duration {
		sub, err := bed.Decode(entry.Entry(e))
		if err != nil {
			t.Fatal(err)
		}
		start := time.Now()
		_, _ = bed.State.Admit(sub, bed.Now, bed.Anchor)
		return time.Since(start)
	}
	unsigned := admit()
	bed.Sign(e, 0, 1)
	if signed := admit(); unsigned > signed/4 {
		t.Errorf("an unsigned entry costs %v, a signed one %v", unsigned, signed)
	}
}

// BenchmarkDecisions asks what the sequencing goroutine spends on a block of
// decisions to post, each with the proof of one follower's hold: the part of a
// cross-border payment that no other goroutine can take over.
func BenchmarkDecisions(b *testing.B) {
	const n = 256
	w := newWorld(b, 1)
	A := w.A()
	w.accept(b, A, A.Recognise(w.B, n*largeClass, smallClass, largeClass))
	w.accept(b, w.B, w.B.Recognise(A, n*largeClass, smallClass, largeClass))
	plans := make([]*crossing, n)
	var onA, onB []any
	for i := range plans {
		plans[i] = w.plan(largeClass)
		onB = append(onB, plans[i].onB)
	}
	settle := func(bed *ledgertest.Bed, all []any) {
		for _, r := range bed.Submit(all...) {
			if r.Status != settlement.Accepted {
				b.Fatal(r.Refusal)
			}
		}
	}
	settle(w.B, onB)
	w.observe(b, A, w.B)
	for _, p := range plans {
		onA = append(onA, p.ready(0))
	}
	settle(A, onA)
	w.observe(b, w.B, A)
	candidates := make([]*settlement.Candidate, n)
	for i, p := range plans {
		c, err := w.B.Admit(p.decision())
		if err != nil {
			b.Fatal(err)
		}
		candidates[i] = c
	}
	for b.Loop() {
		if _, err := w.B.State.Sequence(candidates, w.B.Now, settlement.NewSettled(), nil); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/decision")
}
