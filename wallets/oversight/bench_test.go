package oversight_test

import (
	"syscall"
	"testing"
	"time"

	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

// disbursed is a ledger on which at least so many payments were made by the large disbursement, each in a block of its own, which is the dearest.
// Its entries are those of the real core, with ciphertexts that open; proofs are zeros, which an audit does not read.
func disbursed(tb testing.TB, payments int) *world {
	w := newWorld(tb, "disbursed")
	treasury := w.owner()
	n := w.issue(treasury, aur, 0, zk.Amount(payments)*1000)
	for done := 0; done < payments; done += zk.LargeDisburse - 1 {
		outputs := make([]zk.Note, 0, zk.LargeDisburse)
		for range zk.LargeDisburse - 1 {
			outputs = append(outputs, zk.Note{Value: 100, Owner: w.owner()})
		}
		rest := n.Value - zk.Amount(len(outputs))*100
		out := w.now1(move{circuit: zk.Disburse64, sender: treasury, asset: aur, inputs: []zk.Note{n}, outputs: append(outputs, zk.Note{Value: rest, Owner: treasury})})
		n = out[len(out)-1]
	}
	return w
}

// BenchmarkReport asks how long a report over 100,000 payments takes when the log is read from its beginning, and when a hundredth of it is new.
//
//	go test ./wallets/oversight -run '^$' -bench Report -benchtime 3x
func BenchmarkReport(b *testing.B) {
	const payments = 100_000
	w := disbursed(b, payments)
	secrets := w.oversight()
	cut := len(w.blocks) - max(1, len(w.blocks)/100)
	_, saved, err := w.upTo(cut, nil, secrets...)
	if err != nil {
		b.Fatal(err)
	}
	for name, from := range map[string][]byte{"whole": nil, "a hundredth is new": saved} {
		b.Run(name, func(b *testing.B) {
			before := processorTime(b)
			for b.Loop() {
				a, state, err := w.upTo(len(w.blocks), from, secrets...)
				if err != nil {
					b.Fatal(err)
				}
				r := a.Report(oversight.ByWallet)
				if r.Payments < payments || len(r.Mismatches) != 0 {
					b.Fatalf("%d payments, %v", r.Payments, r.Mismatches)
				}
				b.ReportMetric(float64(r.Payments), "payments")
				b.ReportMetric(float64(len(state))/1e6, "MB-of-state")
			}
			b.ReportMetric((processorTime(b)-before).Seconds()/float64(b.N), "processor-s/op")
		})
	}
}

// processorTime is what this process has used so far: on a machine with other jobs it says more than the clock.
func processorTime(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// The benchmark's ledger opens, whole and going on, small enough for every run of the tests.
func TestABenchmarkOfAReportIsOne(t *testing.T) {
	w := disbursed(t, 400)
	_, saved, err := w.upTo(len(w.blocks)-1, nil, w.oversight()...)
	if err != nil {
		t.Fatal(err)
	}
	for _, from := range [][]byte{nil, saved} {
		a, _, err := w.upTo(len(w.blocks), from, w.oversight()...)
		if err != nil {
			t.Fatal(err)
		}
		if r := a.Report(oversight.ByAsset); r.Payments < 400 || r.Opened != r.Legs || len(r.Mismatches) != 0 {
			t.Fatalf("%+v", r)
		}
	}
}
