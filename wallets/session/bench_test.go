package session_test

import (
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// busyLedger has blocks of 63 foreign transfers each.
func busyLedger(b testing.TB, blocks int) *ledger {
	l := newLedger(b)
	payer, payee := l.keys("payer"), l.keys("payee")
	l.register(payer, unlimited)
	l.issue(payer, 1, 0, 63*1000)
	d := newDisk()
	s := l.open(payer, d, "busy")
	to := payee.Address(l.genesis.Prefix, l.genesis.Hash()).String()
	var lines []wallets.OrderLine
	group := wallets.Group{}
	self := payer.Address(l.genesis.Prefix, l.genesis.Hash()).String()
	for i := range 63 {
		lines = append(lines, wallets.OrderLine{ID: string(rune('a' + i)), To: self, Amount: 1000})
		group.Lines = append(group.Lines, i)
		group.Sum += 1000
	}
	order := &wallets.DisbursementOrder{ID: "split", Asset: 1, Lines: lines, Groups: []wallets.Group{group}, Total: group.Sum}
	if err := s.Disburse(b.Context(), order, nil, nil); err != nil {
		b.Fatal(err)
	}
	for n := range blocks {
		if err := s.Sync(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		outbox := must(wallets.NewOutbox(nil))
		var subs []submission
		for i := range 63 {
			o := &wallets.Order{ID: string(rune('a'+n)) + string(rune('a'+i)), To: to, Asset: 1, Amount: zk.Amount(1)}
			drafts, pays, err := s.Builder().Next(outbox, o)
			if err != nil || !pays {
				b.Fatal(err)
			}
			if err := drafts[0].Prove(b.Context(), l.oracle, nil); err != nil {
				b.Fatal(err)
			}
			if err := outbox.Add(must(wallets.Encode(o))); err != nil {
				b.Fatal(err)
			}
			if err := outbox.Add(must(wallets.Encode(drafts[0].Attempt(o.ID, true)))); err != nil {
				b.Fatal(err)
			}
			subs = append(subs, submission{drafts[0].Tx.Encode(), drafts[0].Segments})
		}
		for _, r := range l.settle(subs...) {
			if r.Status != settlement.Accepted {
				b.Fatal(r.Refusal)
			}
		}
	}
	return l
}

// BenchmarkSync: how many foreign transfers per second does a wallet read, checks included? One X25519 agreement per transfer, two leaves.
func BenchmarkSync(b *testing.B) {
	l := busyLedger(b, 8)
	watcher := l.keys("watcher")
	read := 0
	for b.Loop() {
		s := l.open(watcher, newDisk(), "w")
		n := 0
		for blk := range l.Blocks(b.Context(), 0) {
			n += len(blk.Entries)
		}
		if err := s.Sync(b.Context(), nil); err != nil {
			b.Fatal(err)
		}
		read += 8 * 63
	}
	b.ReportMetric(float64(read)/b.Elapsed().Seconds(), "tx/s")
}

// TestTheBenchmarkLedgerReads keeps the benchmark from rotting.
func TestTheBenchmarkLedgerReads(t *testing.T) {
	l := busyLedger(t, 1)
	s := l.open(l.keys("payee"), newDisk(), "p")
	if err := s.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if n := len(s.State().Notes()); n != 63 {
		t.Fatalf("%d notes", n)
	}
}
