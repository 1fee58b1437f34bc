package sim

import (
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

const theProgramme zk.ProgrammeID = 77

// found registers the first wallets, opens a programme and issues money, all
// through the network, with no faults yet.
func (w *world) found() {
	for i := range 6 {
		w.newWallet(fmt.Sprint("wallet ", i))
	}
	w.tick = 0
	w.settleNow(w.registering(w.wallets))
	w.settleNow(w.programming(entry.StatusOpen))
	for _, x := range w.wallets {
		w.settleNow(w.issuing(ledgertest.AUR, 0, 1_000+zk.Amount(w.rand.IntN(100_000)), x))
		programme := zk.ProgrammeID(0)
		if w.rand.Chance(0.5) {
			programme = theProgramme
		}
		w.settleNow(w.issuing(ledgertest.AUX, programme, 1_000+zk.Amount(w.rand.IntN(100_000)), x))
	}
}

// settleNow carries one intent through in calm.
func (w *world) settleNow(in *intent) {
	in.calm = true
	w.begin(in)
	for range 3 {
		if w.failure != nil || in.state != open {
			return
		}
		w.wall += 5
		in.nextTick = w.tick
		w.clients(true)
		w.deliver(true)
		w.host.founding()
	}
	if in.state == open {
		w.fail(wrong("the founding is stuck at %s: %s", in.what, in.last))
	}
}

// people begin payments and do what the ledger's operators do.
func (w *world) people() {
	for range 1 + w.rand.IntN(2) {
		w.paying()
	}
	if w.adminBusy() || !w.rand.Chance(0.35) {
		return
	}
	x := w.wallets[1+w.rand.IntN(len(w.wallets)-1)]
	switch w.rand.IntN(9) {
	case 0:
		w.begin(w.registering([]*wallet{w.newWallet(fmt.Sprint("wallet ", len(w.wallets))), x}))
	case 1, 2, 3:
		w.report.Other["freeze or release"]++
		w.begin(w.freezing(x, !x.frozen))
		if !x.frozen { // it tries to be faster
			if plans := w.plansFor(x); plans != nil {
				w.begin(&intent{what: "race with a freeze", payment: true, kind: entry.KindTransfer, plans: plans})
			}
		}
	case 4:
		status := entry.StatusOpen
		if w.rand.Chance(0.5) {
			status = entry.StatusClosed
		}
		w.begin(w.programming(status))
	case 5:
		w.report.Other["oversight rotation"]++
		w.begin(&intent{what: "oversight", admin: true, build: func(sequence, expiry uint64) (entry.Entry, error) {
			return w.ledger.Oversight(w.ledger.Header(expiry, sequence), w.model.epoch+1), nil
		}})
	case 6, 7:
		w.begin(w.issuing(ledgertest.AUR, []zk.ProgrammeID{0, theProgramme}[w.rand.IntN(2)], 1+zk.Amount(w.rand.IntN(5000)), x))
	case 8:
		if in := w.pick(x, 2); in != nil {
			amount := 1 + zk.Amount(w.rand.Uint64N(max(1, uint64(sum(in)))))
			if amount > sum(in) {
				return
			}
			w.begin(&intent{what: "redeem", admin: true, kind: entry.KindRedeem,
				plans: []plan{{payer: x, circuit: zk.Transfer, asset: in[0].note.Asset, programme: in[0].note.Programme, inputs: in, redeemed: amount}}})
		}
	}
}

// adminBusy tells whether a privileged entry is under way: officers sign one
// after the other. One that waits for its frozen payer keeps nobody waiting.
func (w *world) adminBusy() bool {
	for _, in := range w.intents {
		if in.admin && in.state == open && !(len(in.plans) > 0 && in.plans[0].payer.frozen) {
			return true
		}
	}
	return false
}

func (w *world) registering(wallets []*wallet) *intent {
	limit := zk.Amount(1) << 40
	return &intent{what: "register", admin: true, build: func(sequence, expiry uint64) (entry.Entry, error) {
		e := &entry.Register{Header: w.ledger.Header(expiry, sequence)}
		for _, x := range wallets {
			e.Owners = append(e.Owners, entry.Registration{Owner: x.own, Limit: limit + zk.Amount(w.rand.IntN(1000)),
				Rights: []zk.Right{{Wildcard: true, MaySet: true}}})
		}
		return e, nil
	}}
}

func (w *world) freezing(x *wallet, frozen bool) *intent {
	return &intent{what: "freeze", admin: true, build: func(sequence, expiry uint64) (entry.Entry, error) {
		return &entry.Freeze{Header: w.ledger.Header(expiry, sequence), Owner: x.own, Frozen: frozen}, nil
	}}
}

func (w *world) programming(status entry.ProgrammeStatus) *intent {
	return &intent{what: "programme", admin: true, build: func(sequence, expiry uint64) (entry.Entry, error) {
		return w.ledger.Programme(w.ledger.Header(expiry, sequence), theProgramme, status), nil
	}}
}
