package bridgecmd

import (
	"bytes"
	"crypto/ed25519"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"filippo.io/age"
	"filippo.io/age/armor"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// pair is two nations with open corridors, a provider and a relayer.
type pair struct {
	*world
	a, b         *nation
	payer, payee string
	provider     string // URL
	providerPort int
}

const testRates = `from,to,numerator,denominator,spread_bp,minimum,maximum,hold_seconds,quote_seconds
aurelia/AUR,borealis/BOR,2,1,50,0.010,100000.000,45,20
`

func newPair(t testing.TB) *pair { return newPairOf(t, 1_000_000, 10_000_000) }

// newPairOf is newPair with other money for the payer and the provider.
func newPairOf(t testing.TB, payer, desk zk.Amount) *pair {
	w := newWorld(t)
	p := &pair{world: w, a: w.found("aurelia", "AUR", 2), b: w.found("borealis", "BOR", 3)}
	p.a.corridor(p.b)
	p.b.corridor(p.a)
	p.payer = p.a.wallet("payer", payer)
	p.a.wallet("desk-a")
	p.b.wallet("desk-b", desk)
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
	t.Run("by file", p.settlesByFile)
	t.Run("returns", p.returnsWhenItsTimeIsOver)
	t.Run("override", p.isDecidedByHand)
	if code := p.process("provider").stop(); code != 0 {
		t.Errorf("the provider ended with %d", code)
	}
	// A provider that is gone: nothing is locked.
	if code, _, errOut = p.run(p.pay("last", "1.000")...); code != 4 {
		t.Errorf("without a provider: exit %d: %s", code, errOut)
	}
	if code, _, _ := p.run("bridge", "inventory", "--data", p.path("desk")); code != 4 {
		t.Errorf("the inventory of a provider that is gone: exit %d", code)
	}
	// What was paid is where it belongs: two payments, none twice.
	if owned, held, _ := p.a.balance("payer"); owned != 1_000_000-10_000-5_000 || held != 0 {
		t.Errorf("the payer owns %d, holds %d", owned, held)
	}
	if owned, _, _ := p.a.balance("desk-a"); owned != 15_000 {
		t.Errorf("the provider owns %d on the payer's ledger", owned)
	}
	if owned, _, _ := p.b.balance("payee"); owned != 199_000+99_500 {
		t.Errorf("the payee owns %d", owned)
	}
}

func (p *pair) status(id string) (int, status) {
	p.t.Helper()
	code, out, errOut := p.run("bridge", "status", id, "--wallet", p.path("payer"), "--ledger", p.a.url(), "--json")
	var row status
	if err := json.Unmarshal([]byte(out), &row); err != nil {
		p.t.Fatalf("%v: %s%s", err, out, errOut)
	}
	return code, row
}

// settlesByFile cuts the line between the ledgers: the proofs travel as files.
func (p *pair) settlesByFile(t *testing.T) {
	p.process("relay").kill()
	p.ok(nil, p.pay("by-file", "99.500", "--no-wait")...)
	if code, row := p.status("by-file"); code != 4 || row.Status != "pending" || row.Stage != "placed" {
		t.Fatalf("exit %d: %+v", code, row)
	}
	seen := func(on, of *nation) string {
		c, err := (&ledger{Client: on.client, name: on.name}).corridor(t.Context(), of.genesis.Hash())
		if err != nil {
			t.Fatal(err)
		}
		return strconv.FormatUint(c.Size, 10)
	}
	p.ok(nil, "bridge", "export", "--ledger", p.a.url(), "--peer", "borealis", "--since", seen(p.b, p.a), "-o", p.path("a.bundle"))
	// A changed file, and one for another ledger, are refused.
	data, err := os.ReadFile(p.path("a.bundle"))
	if err != nil {
		t.Fatal(err)
	}
	data[len(data)/2] ^= 1
	p.write("changed.bundle", string(data))
	if code, _, errOut := p.run("bridge", "import", "--ledger", p.b.url(), p.path("changed.bundle")); code != 3 || !strings.Contains(errOut, "bundle_invalid") {
		t.Errorf("a changed bundle: exit %d: %s", code, errOut)
	}
	if code, _, errOut := p.run("bridge", "import", "--ledger", p.a.url(), p.path("a.bundle")); code != 3 || !strings.Contains(errOut, "bundle_of_another_ledger") {
		t.Errorf("a bundle for another ledger: exit %d: %s", code, errOut)
	}
	var done struct{ Done []did }
	p.ok(&done, "bridge", "import", "--ledger", p.b.url(), p.path("a.bundle"))
	if n := len(done.Done); n == 0 || done.Done[n-1].What != "posted" {
		t.Fatalf("%+v", done)
	}
	p.ok(&done, "bridge", "import", "--ledger", p.b.url(), p.path("a.bundle")) // twice does no harm
	p.ok(nil, "bridge", "export", "--ledger", p.b.url(), "--since", seen(p.a, p.b), "-o", p.path("b.bundle"))
	p.ok(nil, "bridge", "import", "--ledger", p.a.url(), p.path("b.bundle"))
	if code, row := p.status("by-file"); code != 0 || row.Status != "settled" {
		t.Errorf("exit %d: %+v", code, row)
	}
}

// returnsWhenItsTimeIsOver has nobody who relays in time.
func (p *pair) returnsWhenItsTimeIsOver(t *testing.T) {
	p.write("rates.csv", strings.Replace(testRates, ",45,20", ",30,20", 1))
	time.Sleep(500 * time.Millisecond) // the provider looks at its rates
	before, _, _ := p.a.balance("payer")
	p.ok(nil, p.pay("late", "50.000", "--no-wait")...)
	code, row := p.status("late")
	if code != 4 {
		t.Fatalf("exit %d: %+v", code, row)
	}
	until, err := time.Parse(time.RFC3339, row.Until)
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(time.Until(until) + 200*time.Millisecond)
	p.ok(nil, "bridge", "relay", "--once", "--ledger", p.a.url(), "--ledger", p.b.url())
	if code, row = p.status("late"); code != 3 || row.Status != "returned" {
		t.Errorf("exit %d: %+v", code, row)
	}
	if after, held, _ := p.a.balance("payer"); after != before || held != 0 {
		t.Errorf("the payer owned %d, owns %d, holds %d", before, after, held)
	}
	p.write("rates.csv", testRates)
	time.Sleep(500 * time.Millisecond)
}

// isDecidedByHand freezes the corridor while a payment waits: then three bodies decide.
func (p *pair) isDecidedByHand(t *testing.T) {
	p.ok(nil, p.pay("frozen", "20.000", "--no-wait")...)
	_, row := p.status("frozen")
	p.a.sign(&entry.Corridor{Header: p.a.header(), Peer: p.b.genesis.Hash(), Action: entry.CorridorFreezes}, nil)
	if code, _, _ := p.run("bridge", "override", "propose", row.Hold, "--ledger", p.b.url(), "--outcome", "voided", "--expires-in", "1m", "--out", p.path("wrong.json")); code != 3 {
		t.Errorf("a hold of another ledger: exit %d", code)
	}
	file := p.path("override.json")
	p.ok(nil, "bridge", "override", "propose", row.Hold, "--ledger", p.a.url(), "--outcome", "voided", "--expires-in", "1m", "--out", file)
	signers := map[string]ed25519.PrivateKey{"policy": p.a.signer, "treasury": p.b.signer}
	for i, as := range []string{"policy", "treasury", "oversight"} {
		if code, _, errOut := p.run("bridge", "override", "submit", file, "--ledger", p.a.url()); code != 3 {
			t.Errorf("with %d bodies: exit %d: %s", i, code, errOut)
		}
		key := p.path("aurelia-oversight.key")
		if k := signers[as]; k != nil {
			key = p.signerFile(as, k)
		}
		p.ok(nil, "bridge", "override", "sign", file, "--as", as, "--key", key, "--genesis-file", p.path("aurelia/genesis.json"), "--peer-genesis", p.path("borealis/genesis.json"), "--yes")
	}
	p.ok(nil, "bridge", "override", "submit", file, "--ledger", p.a.url())
	if code, row := p.status("frozen"); code != 3 || row.Status != "returned" {
		t.Errorf("exit %d: %+v", code, row)
	}
}

// signerFile writes a known key as comity ledger signer-keygen would.
func (p *pair) signerFile(name string, key ed25519.PrivateKey) string {
	p.t.Helper()
	recipient := must(age.NewScryptRecipient(passphrase))
	recipient.SetWorkFactor(10)
	var file bytes.Buffer
	armored := armor.NewWriter(&file)
	w := must(age.Encrypt(armored, recipient))
	fmt.Fprintf(w, "%s %x\n", signerPurpose, key.Seed())
	if err := errors.Join(w.Close(), armored.Close()); err != nil {
		p.t.Fatal(err)
	}
	return p.write(name+".key", file.String())
}
