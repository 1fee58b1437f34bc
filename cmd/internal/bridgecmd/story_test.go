package bridgecmd

import (
	"strings"
	"testing"
)

// pair is two nations with open corridors, a provider and a relayer.
type pair struct {
	*world
	a, b         *nation
	payer, payee string
	provider     string // URL
}

const testRates = `from,to,numerator,denominator,spread_bp,minimum,maximum,hold_seconds,quote_seconds
aurelia/AUR,borealis/BOR,2,1,50,0.010,100000.000,45,20
`

func newPair(t testing.TB) *pair {
	w := newWorld(t)
	p := &pair{world: w, a: w.found("aurelia", "AUR", 2), b: w.found("borealis", "BOR", 3)}
	p.a.corridor(p.b)
	p.b.corridor(p.a)
	p.payer = p.a.wallet("payer", 1_000_000)
	p.a.wallet("desk-a")
	p.b.wallet("desk-b", 10_000_000)
	p.payee = p.b.wallet("payee")
	w.write("rates.csv", testRates)
	return p
}

func (p *pair) startProvider() {
	p.provider = p.start("provider", "bridge", "provider", "--ledger", "aurelia="+p.a.url()+",wallet="+p.path("desk-a"), "--ledger", "borealis="+p.b.url()+",wallet="+p.path("desk-b"),
		"--rates", p.path("rates.csv"), "--rates-every", "200ms", "--name", "Meridian", "--data", p.path("desk"), "--listen", "127.0.0.1:0")
}

func (p *pair) startRelay(name string) {
	p.start(name, "bridge", "relay", "--ledger", "aurelia="+p.a.url(), "--ledger", "borealis="+p.b.url())
}

func (p *pair) pay(id, amount string, more ...string) []string {
	return append([]string{"bridge", "pay", "--wallet", p.path("payer"), "--ledger", p.a.url(), "--to-ledger", p.b.url(), "--provider", p.provider, "--to", p.payee,
		"--amount", amount, "--payment-id", id, "--yes", "--json"}, more...)
}

// The whole path with real proofs and real processes: quote, pay, settle, report; then a payment whose provider is gone, and one that returns.
func TestAPaymentSettlesOnBothSides(t *testing.T) {
	if testing.Short() {
		t.Skip("real proofs and processes")
	}
	p := newPair(t)
	p.startProvider()
	p.startRelay("relay")

	var offers struct {
		Offers []struct{ Provider, Pays, Gets, Spread, Problem string }
		Best   struct{ Pays, Gets string }
	}
	p.ok(&offers, "bridge", "quote", "--ledger", p.a.url(), "--to-ledger", p.b.url(), "--provider", p.provider, "--to", p.payee, "--amount", "199.000")
	if len(offers.Offers) != 1 || offers.Best.Pays != "10000" || offers.Best.Gets != "199000" || offers.Offers[0].Spread != "50" {
		t.Fatalf("%+v", offers)
	}

	code, out, errOut := p.run(p.pay("first", "199.000")...)
	if code != 0 || !strings.Contains(out, `"status": "settled"`) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	// Again means once.
	if code, out, errOut = p.run(p.pay("first", "199.000")...); code != 0 {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	if code, _, errOut = p.run(p.pay("first", "199.001")...); code != 3 || !strings.Contains(errOut, "payment_conflict") {
		t.Fatalf("exit %d: %s", code, errOut)
	}
	var row status
	p.ok(&row, "bridge", "status", "first", "--wallet", p.path("payer"), "--ledger", p.a.url())
	if row.Status != "settled" || row.Pays != "10000" || row.Gets != "199000" {
		t.Fatalf("%+v", row)
	}
	if owned, held, _ := p.a.balance("payer"); owned != 990_000 || held != 0 {
		t.Errorf("the payer owns %d, holds %d", owned, held)
	}
	if owned, _, _ := p.b.balance("payee"); owned != 199_000 {
		t.Errorf("the payee owns %d", owned)
	}
	var report struct{ Inventory []position }
	p.ok(&report, "bridge", "inventory", "--data", p.path("desk"))
	if len(report.Inventory) != 2 {
		t.Errorf("%+v", report)
	}
	if code := p.process("provider").stop(); code != 0 {
		t.Errorf("the provider ended with %d", code)
	}
	if owned, _, _ := p.a.balance("desk-a"); owned != 10_000 {
		t.Errorf("the provider owns %d on the payer's ledger", owned)
	}
	// A provider that is gone: nothing is locked.
	if code, _, errOut = p.run(p.pay("second", "1.000")...); code != 4 {
		t.Errorf("without a provider: exit %d: %s", code, errOut)
	}
	if code, _, _ := p.run("bridge", "inventory", "--data", p.path("desk")); code != 4 {
		t.Errorf("the inventory of a provider that is gone: exit %d", code)
	}
}
