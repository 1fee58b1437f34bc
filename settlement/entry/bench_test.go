package entry

import (
	"testing"

	"github.com/comity-ledger/comity/zk"
)

// How long do the bytes of a payment take, beside the 400 us of its proof?
func BenchmarkDecode(b *testing.B) {
	g := genesisFixture(b)
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		tx := transferFixture(g, id)
		raw := tx.Encode()
		b.Run(id.String(), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(raw)))
			for b.Loop() {
				if _, err := DecodeTransaction(raw); err != nil {
					b.Fatal(err)
				}
			}
		})
		b.Run(id.String()+"/digests", func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tx.Digests()
			}
		})
	}
}

// A decoder in the hot path allocates the transaction, its legs and the slices of each leg, and nothing else.
func TestDecodingAllocatesLittle(t *testing.T) {
	g := genesisFixture(t)
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		tx := transferFixture(g, id)
		raw := tx.Encode()
		if n := testing.AllocsPerRun(100, func() {
			if _, err := DecodeTransaction(raw); err != nil {
				t.Fatal(err)
			}
		}); n > 7 {
			t.Errorf("decoding a %s entry allocates %v times, want at most 7", id, n)
		}
		if n := testing.AllocsPerRun(100, func() { tx.Digests() }); n > 8 {
			t.Errorf("digests of a %s entry allocate %v times, want at most 8", id, n)
		}
	}
}
