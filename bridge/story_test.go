package bridge

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// stage is a world with a payment from its first ledger to its last, through all.
func stage(payment string, fixed Fixed, amount zk.Amount, names ...string) (*world, *payer, []*provider) {
	w := newWorld(names...)
	var providers []*provider
	for i := range len(names) - 1 {
		p := newProvider(w, fmt.Sprint("provider", i))
		for _, l := range w.ledgers {
			l.give(p.name, 1_000_000)
		}
		providers = append(providers, p)
	}
	w.ledgers[0].give(payment, 1_000_000)
	return w, newPayer(w, payment, fixed, amount, providers, w.ledgers...), providers
}

// play lets everybody act in turn until the payment is done.
func play(t *testing.T, w *world, p *payer, providers []*provider, r *relayer) {
	t.Helper()
	for range 300 {
		if err := p.step(false); errors.Is(err, errKilled) {
			p.restart()
		} else if err != nil {
			t.Fatal(err)
		}
		for _, x := range providers {
			if !x.dead && !x.killed {
				if err := x.work(); err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
			}
			if x.killed {
				x.killed = false
				x.restart()
			}
		}
		if err := r.run(); err != nil {
			t.Fatal(err)
		}
		if p.pay.Done() {
			return
		}
		w.now += 500
		for _, l := range w.ledgers {
			l.tick()
		}
	}
	t.Fatalf("the payment is still %s: %+v", p.pay.Stage, p.pay.Next(p.clock()))
}

func TestAPaymentSettlesOnEveryLedger(t *testing.T) {
	for hops := 1; hops <= MaxHops; hops++ {
		for _, fixed := range []Fixed{FixedPayee, FixedPayer} {
			names := []string{"aurelia", "borealis", "cordelia", "dorado", "elysia"}[:hops+1]
			w, p, providers := stage("payer", fixed, 20_000, names...)
			last := w.ledgers[hops]
			play(t, w, p, providers, newRelayer(w))
			if p.pay.Stage != PayPosted {
				t.Fatalf("%d hops: %s %s", hops, p.pay.Stage, p.pay.GaveUp)
			}
			paid, got := 1_000_000-w.ledgers[0].owns("payer"), last.owns("payee")
			if fixed == FixedPayee && got != 20_000 || fixed == FixedPayer && paid != 20_000 || paid != int64(p.pay.Quotes[0].PayerAmount) || got != int64(p.pay.last().PayeeAmount) {
				t.Fatalf("%d hops: %d paid, %d got", hops, paid, got)
			}
			for i, x := range providers {
				if err := x.work(); err != nil {
					t.Fatal(err)
				}
				if s := must(x.desk.Status(p.pay.Quotes[i].ID())); s.Stage != StagePosted {
					t.Fatalf("provider %d: %s", i, s.Stage)
				}
				if w.ledgers[i].owns(x.name) <= 1_000_000 || w.ledgers[i+1].owns(x.name) >= 1_000_000 {
					t.Fatalf("provider %d is not paid", i)
				}
			}
		}
	}
}

// TestKilledAfterEveryRecord kills whoever writes the n-th journal record, between the record and what it is for, for every n: the payment ends as
// it would have, with the same number of holds.
func TestKilledAfterEveryRecord(t *testing.T) {
	for hops := 1; hops <= 3; hops++ {
		names := []string{"aurelia", "borealis", "cordelia", "dorado"}[:hops+1]
		for n := 1; ; n++ {
			w, p, providers := stage("payer", FixedPayee, 20_000, names...)
			w.killAt = n
			play(t, w, p, providers, newRelayer(w))
			for _, x := range providers {
				if err := x.work(); err != nil && !errors.Is(err, errKilled) {
					t.Fatal(err)
				}
				if x.killed {
					x.restart()
				}
			}
			if p.pay.Stage != PayPosted {
				t.Fatalf("%d hops, killed at record %d: %s %s", hops, n, p.pay.Stage, p.pay.GaveUp)
			}
			checkSettled(t, w, []*payer{p}, fmt.Sprintf("killed at record %d", n))
			for _, l := range w.ledgers {
				if len(l.holds) != 1 {
					t.Fatalf("%d hops, killed at record %d: %d holds on %s", hops, n, len(l.holds), l.Name)
				}
			}
			for _, x := range providers {
				if len(x.desk.Unfinished()) != 0 {
					t.Fatalf("%d hops, killed at record %d: %s is not done", hops, n, x.name)
				}
			}
			if w.written < n {
				if n < 10 {
					t.Fatalf("only %d records", w.written)
				}
				break
			}
		}
	}
}

func TestAProviderThatDisappearsCostsNobodyMoney(t *testing.T) {
	for _, after := range []PaymentStage{PayOrdered, PayChosen, PayReserved, PayCovered, PayPlaced} {
		for gone := range 2 {
			w, p, providers := stage("payer", FixedPayee, 20_000, "aurelia", "cordelia", "borealis")
			r := newRelayer(w)
			for range 100 {
				if p.pay.Stage == after {
					providers[gone].dead = true
				}
				if p.pay.Done() {
					break
				}
				if err := p.step(false); err != nil {
					t.Fatal(err)
				}
				if err := r.run(); err != nil {
					t.Fatal(err)
				}
				w.now += 1000
				for _, l := range w.ledgers {
					l.tick()
				}
			}
			// Once everything is placed the providers are not needed.
			want := map[bool]PaymentStage{true: PayPosted, false: PayGivenUp}[after == PayPlaced || after == PayCovered && gone == 1]
			if p.pay.Stage != want {
				t.Errorf("provider %d gone after %s: %s", gone, after, p.pay.Stage)
			}
			w.now += 100_000
			for _, l := range w.ledgers {
				l.tick()
			}
			if err := r.run(); err != nil {
				t.Fatal(err)
			}
			checkSettled(t, w, []*payer{p}, fmt.Sprintf("provider %d gone after %s", gone, after))
		}
	}
}

// checkSettled holds the invariants of an ended world: no hold is open, nothing was made or lost, and each payment happened on every ledger or on none.
func checkSettled(t *testing.T, w *world, payers []*payer, what string) {
	t.Helper()
	for _, l := range w.ledgers {
		for id, h := range l.holds {
			if h.outcome == 0 {
				t.Fatalf("%s: hold %s on %s is open", what, id, l.Name)
			}
		}
	}
	for _, p := range payers {
		o := &p.pay.Order
		if p.pay.Cover == nil {
			continue
		}
		posted, voided := 0, 0
		for hop := 0; hop <= o.hops(); hop++ { // the output on every ledger of the route
			cm := p.pay.Cover.Opening.Commitment()
			if hop < o.hops() {
				cm = p.pay.opening(hop).Commitment()
			}
			found := false
			for _, h := range w.ledger(o.Route[hop].Ledger).holds {
				if h.leg.Commitments[0] != cm {
					continue
				}
				found = true
				if h.outcome == entry.Posted {
					posted++
				} else {
					voided++
				}
			}
			if !found {
				voided++
			}
		}
		if posted != 0 && voided != 0 {
			t.Fatalf("%s: payment %s posted on %d ledgers and not on %d", what, p.name, posted, voided)
		}
	}
}

// TestNobodyLosesWhateverHappens drives payments of one to three hops under crashes, lost answers, dead ledgers, late clocks and forgetful
// relayers, from seeds.
func TestNobodyLosesWhateverHappens(t *testing.T) {
	seeds := 100
	if testing.Short() {
		seeds = 20
	}
	outcomes := map[PaymentStage]int{}
	for seed := range seeds {
		for stage, n := range chaos(t, uint64(seed)) {
			outcomes[stage] += n
		}
	}
	t.Logf("%d seeds: %v", seeds, outcomes)
	if outcomes[PayPosted] == 0 || outcomes[PayVoided] == 0 || outcomes[PayGivenUp] == 0 {
		t.Errorf("an ending never occurs: %v", outcomes)
	}
}

func chaos(t *testing.T, seed uint64) map[PaymentStage]int {
	rnd := rand.New(rand.NewPCG(seed, 7))
	what := fmt.Sprintf("seed %d", seed)
	w := newWorld("aurelia", "borealis", "cordelia", "dorado")
	w.rand = &stream{name: what}
	hops := 1 + rnd.IntN(3)
	rnd.Shuffle(len(w.ledgers), func(i, j int) { w.ledgers[i], w.ledgers[j] = w.ledgers[j], w.ledgers[i] })
	route := append([]*toyLedger(nil), w.ledgers[:hops+1]...)
	for _, l := range w.ledgers {
		l.skew = int64(rnd.IntN(3000)) - 1500
	}
	var providers []*provider
	for i := range hops {
		x := newProvider(w, fmt.Sprint("provider", i))
		for _, l := range w.ledgers {
			l.give(x.name, 1_000_000)
		}
		providers = append(providers, x)
	}
	var payers []*payer
	for i := range 3 {
		name := fmt.Sprintf("payer%d", i)
		route[0].give(name, 100_000)
		payers = append(payers, newPayer(w, name, Fixed(1+rnd.IntN(2)), zk.Amount(1+rnd.IntN(30_000)), providers, route...))
	}
	total := map[*toyLedger]int64{}
	for _, l := range w.ledgers {
		total[l] = l.total()
	}
	relayers := []*relayer{newRelayer(w), newRelayer(w)}
	fail := func(err error) {
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for range 250 {
		switch rnd.IntN(12) {
		case 0, 1, 2, 3:
			if p := payers[rnd.IntN(3)]; !p.dead {
				fail(p.step(rnd.IntN(4) == 0))
			}
		case 4, 5:
			if x := providers[rnd.IntN(hops)]; !x.dead {
				fail(x.work())
			}
		case 6, 7:
			r := relayers[rnd.IntN(2)]
			if rnd.IntN(3) == 0 {
				r.relay = newRelayer(w).relay // wiped
			}
			if rnd.IntN(3) > 0 { // or it acts on what it read before
				r.read()
			}
			_, err := r.act(rnd.IntN(3))
			fail(err)
		case 8, 9:
			w.now += uint64(rnd.IntN(2000))
			w.ledgers[rnd.IntN(len(w.ledgers))].tick()
		case 10:
			switch rnd.IntN(6) {
			case 0:
				payers[rnd.IntN(3)].restart()
			case 1:
				providers[rnd.IntN(hops)].restart()
			case 2:
				providers[rnd.IntN(hops)].dead = rnd.IntN(3) == 0
			case 3:
				payers[rnd.IntN(3)].dead = rnd.IntN(3) == 0
			case 4, 5:
				w.ledgers[rnd.IntN(len(w.ledgers))].down = rnd.IntN(4) == 0
			}
		case 11:
			if rnd.IntN(20) == 0 {
				w.now += uint64(rnd.IntN(80_000)) // silence
			}
		}
		for _, l := range w.ledgers {
			if l.total() != total[l] {
				t.Fatalf("%s: %s has %d, had %d", what, l.Name, l.total(), total[l])
			}
		}
	}
	// In the end everything is up again, and one relayer that knows nothing finds it all in the logs.
	for _, l := range w.ledgers {
		l.down = false
	}
	w.now += 200_000
	last := newRelayer(w)
	for range 4 {
		w.now += 3000
		for _, l := range w.ledgers {
			l.tick()
		}
		fail(last.run())
		for _, x := range providers {
			fail(x.work())
		}
	}
	out := map[PaymentStage]int{}
	for _, p := range payers {
		for range 10 {
			fail(p.step(false))
		}
		out[p.pay.Stage]++
		if !p.pay.Done() {
			t.Fatalf("%s: %s ends as %s: %+v", what, p.name, p.pay.Stage, p.pay.Next(p.clock()))
		}
	}
	checkSettled(t, w, payers, what)
	for _, x := range providers {
		if n := len(x.desk.Unfinished()); n != 0 {
			t.Fatalf("%s: %s has %d unfinished deals", what, x.name, n)
		}
	}
	for _, l := range w.ledgers {
		if l.total() != total[l] {
			t.Fatalf("%s: %s has %d, had %d", what, l.Name, l.total(), total[l])
		}
	}
	return out
}
