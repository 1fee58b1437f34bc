package settlement_test

import (
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
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
