package bridgecmd

import (
	"strings"
	"testing"

	"github.com/comity-ledger/comity/zk"
)

// A payment over a vehicle currency: nobody sells AUR for BOR, but one provider sells COR for AUR and another BOR for COR. Borealis decides,
// Aurelia and Cordelia follow.
func TestAPaymentOverAVehicleCurrency(t *testing.T) {
	if testing.Short() {
		t.Skip("real proofs and processes")
	}
	w := newWorld(t)
	a, v, b := w.found("aurelia", "AUR", 2), w.found("cordelia", "COR", 0), w.found("borealis", "BOR", 3)
	for _, pair := range [][2]*nation{{a, b}, {v, b}, {b, a}, {b, v}} {
		pair[0].corridor(pair[1])
	}
	a.wallet("payer", 1_000_000)
	a.wallet("first-a")
	v.wallet("first-v", 1_000_000)
	v.wallet("second-v")
	b.wallet("second-b", 10_000_000)
	payee := b.wallet("payee")
	rates := "from,to,numerator,denominator,spread_bp,minimum,maximum,hold_seconds,quote_seconds\n"
	first := w.start("first", "bridge", "provider", "--ledger", "aurelia="+a.url()+",wallet="+w.path("first-a"), "--ledger", "cordelia="+v.url()+",wallet="+w.path("first-v"),
		"--ledger", "borealis="+b.url(), "--rates", w.write("first.csv", rates+"aurelia/AUR,cordelia/COR,150,1,100,1,100000,60,20\n"), "--name", "First", "--data", w.path("first-desk"), "--listen", "127.0.0.1:0")
	second := w.start("second", "bridge", "provider", "--ledger", "cordelia="+v.url()+",wallet="+w.path("second-v"), "--ledger", "borealis="+b.url()+",wallet="+w.path("second-b"),
		"--rates", w.write("second.csv", rates+"cordelia/COR,borealis/BOR,1,75,0,0.010,100000.000,60,20\n"), "--name", "Second", "--data", w.path("second-desk"), "--listen", "127.0.0.1:0")
	way := []string{"--ledger", a.url(), "--to-ledger", b.url(), "--via", v.url(), "--provider", first, "--provider", second, "--to", payee}

	// 20.000 BOR are 1,500 COR, and those 10.00 AUR and the spread of 1%.
	var offers struct {
		Offers []struct{ Provider, Problem, Spread string }
		Best   struct{ Pays, Gets string }
	}
	w.ok(&offers, append([]string{"bridge", "quote", "--amount", "20.000"}, way...)...)
	if offers.Best.Pays != "1011" || offers.Best.Gets != "20000" || len(offers.Offers) != 2 {
		t.Fatalf("%+v", offers)
	}
	pay := func(id string, more ...string) (int, string, string) {
		return w.run(append(append([]string{"bridge", "pay", "--wallet", w.path("payer"), "--payment-id", id, "--yes", "--json"}, more...), way...)...)
	}
	if code, out, errOut := pay("chain", "--amount", "20.000"); code != 0 || !strings.Contains(out, `"status": "settled"`) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	// The payer fixes what it pays: each provider is asked for what the one before gives.
	if code, out, errOut := pay("fixed", "--amount", "10.00", "--fixed", "payer"); code != 0 || !strings.Contains(out, `"gets": "19800"`) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	// Nobody serves the way back, and nothing is locked for it.
	if code, _, errOut := w.run("bridge", "quote", "--ledger", b.url(), "--to-ledger", a.url(), "--provider", first, "--to", must(addressOf(w, "payer")), "--amount", "1.00"); code != 3 ||
		!strings.Contains(errOut, "no_quote") {
		t.Errorf("the way back: exit %d: %s", code, errOut)
	}
	w.ok(nil, "bridge", "relay", "--once", "--ledger", a.url(), "--ledger", v.url(), "--ledger", b.url())
	for _, name := range []string{"first", "second"} {
		if code := w.process(name).stop(); code != 0 {
			t.Errorf("%s ended with %d", name, code)
		}
	}
	for _, x := range []struct {
		n      *nation
		wallet string
		want   zk.Amount
	}{
		{a, "payer", 1_000_000 - 1011 - 1000}, {a, "first-a", 2011}, {v, "first-v", 1_000_000 - 1500 - 1485}, {v, "second-v", 2985},
		{b, "second-b", 10_000_000 - 20_000 - 19_800}, {b, "payee", 39_800},
	} {
		if owned, held, _ := x.n.balance(x.wallet); owned != x.want || held != 0 {
			t.Errorf("%s owns %d, want %d; holds %d", x.wallet, owned, x.want, held)
		}
	}
}

func addressOf(w *world, wallet string) (string, error) {
	var out struct{ Address string }
	w.ok(&out, "wallet", "address", "--wallet", w.path(wallet))
	return out.Address, nil
}
