package bridgecmd

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/bridge"
	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// A desk without ledgers behind it: it quotes, and accepts nothing.
type quoting struct {
	provider
}

func (*quoting) Accept(context.Context, []byte) ([]byte, error) {
	return nil, bridge.Refuse(bridge.InventoryShort, "for a test")
}

var discard = slog.New(slog.DiscardHandler)

var (
	hashA, hashB = entry.GenesisHash{1}, entry.GenesisHash{2}
	known        = []bridge.Ledger{{Name: "aurelia", Hash: hashA, Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}},
		{Name: "borealis", Hash: hashB, Assets: []entry.Asset{{ID: 1, Code: "BOR", Decimals: 3}}}}
)

func someAddress(t *testing.T, ledger entry.GenesisHash) bridge.Address {
	t.Helper()
	k, err := keys.Derive(keys.SeedFromBytes([32]byte{7}), must(zk.NewScalar(rand.Reader)), ledger)
	if err != nil {
		t.Fatal(err)
	}
	a := k.Address("x", ledger)
	return bridge.Address{Owner: a.Owner, ViewKey: a.ViewKey}
}

// sellerOf serves a desk with one rates line on loopback.
func sellerOf(t *testing.T, name, rates string, stock zk.Amount) *seller {
	t.Helper()
	desk, err := bridge.NewDesk(bridge.DeskConfig{Name: name, Key: testKey(name), MaxQuotes: 10,
		Receive:  map[entry.GenesisHash]bridge.Address{hashA: someAddress(t, hashA), hashB: someAddress(t, hashB)},
		Exposure: map[bridge.Account]zk.Amount{{Ledger: hashB, Asset: 1}: 1 << 40}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	desk.SetRates(must(bridge.ParseRates([]byte(rates), known)))
	desk.SetStock(bridge.Account{Ledger: hashB, Asset: 1}, stock)
	for _, c := range []bridge.Corridor{{On: hashA, Peer: hashB}, {On: hashB, Peer: hashA}} {
		desk.SetCorridor(c, []uint64{1 << 40})
	}
	p := &quoting{provider{desk: desk, name: name, byHash: map[entry.GenesisHash]*account{}, log: discard}}
	server, err := rpc.New(rpc.Config{Provider: p})
	if err != nil {
		t.Fatal(err)
	}
	listener := must(net.Listen("tcp", "127.0.0.1:0"))
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener, time.Second) }()
	t.Cleanup(func() { stop(); <-done })
	sellers, problems, err := askSellers(t.Context(), []string{"http://" + listener.Addr().String(), "http://127.0.0.1:1"})
	if err != nil || len(sellers) != 1 || len(problems) != 1 {
		t.Fatalf("%d sellers, %v, %v", len(sellers), problems, err)
	}
	return sellers[0]
}

func orderOf(t *testing.T, fixed bridge.Fixed, amount zk.Amount) *bridge.Order {
	o := &bridge.Order{ID: "x", Route: []bridge.Stop{{Ledger: hashA, Asset: 1, Decimals: 2}, {Ledger: hashB, Asset: 1, Decimals: 3}}, Fixed: fixed, Amount: amount, Limit: 1,
		Payee: someAddress(t, hashB), DeadlineMillis: 1 << 60, Seed: make([]byte, 32)}
	_, _ = rand.Read(o.Seed)
	return o
}

func TestTheBestOfSeveralOffersStandsFirst(t *testing.T) {
	dear := sellerOf(t, "Dear", "aurelia/AUR,borealis/BOR,2,1,500,1,1000,60,30\n", 1<<30)
	cheap := sellerOf(t, "Cheap", "aurelia/AUR,borealis/BOR,2,1,20,1,1000,60,30\n", 1<<30)
	poor := sellerOf(t, "Poor", "aurelia/AUR,borealis/BOR,2,1,1,1,1000,60,30\n", 10)
	elsewhere := sellerOf(t, "Elsewhere", "borealis/BOR,aurelia/AUR,1,2,0,1,1000,60,30\n", 1<<30)
	for fixed, amount := range map[bridge.Fixed]zk.Amount{bridge.FixedPayee: 100_000, bridge.FixedPayer: 5_000} {
		q, err := ask(t.Context(), orderOf(t, fixed, amount), []*seller{dear, poor, elsewhere, cheap})
		if err != nil {
			t.Fatal(err)
		}
		var names []string
		for _, b := range q.bids[0] {
			names = append(names, b.seller.offers.Name)
		}
		if strings.Join(names, " ") != "Cheap Dear Poor" || q.quotes[0].Name != "Cheap" || rpc.CodeOf(q.bids[0][2].problem) != string(bridge.InventoryShort) {
			t.Errorf("%s fixed: %v, %v", fixed, names, q.bids[0][2].problem)
		}
		spread, err := price(q.quotes[0], known[0].Assets[0], known[1].Assets[0])
		if err != nil || fixed == bridge.FixedPayee && (q.quotes[0].PayerAmount != 5011 || spread != 11) {
			t.Errorf("%s fixed: pays %d, spread %d, %v", fixed, q.quotes[0].PayerAmount, spread, err)
		}
	}
	if _, err := ask(t.Context(), orderOf(t, bridge.FixedPayee, 100_000), []*seller{elsewhere}); bridge.CodeOf(err) != bridge.NoQuote {
		t.Errorf("nobody offers the pair: %v", err)
	}
	if _, err := ask(t.Context(), orderOf(t, bridge.FixedPayee, 100_000), []*seller{poor}); bridge.CodeOf(err) != bridge.NoQuote || !strings.Contains(err.Error(), string(bridge.InventoryShort)) {
		t.Errorf("nobody can pay: %v", err)
	}
	// A quote that another key signs than the offers name is no quote.
	liar := *cheap
	liar.offers.Provider = dear.offers.Provider
	if _, err := ask(t.Context(), orderOf(t, bridge.FixedPayee, 100_000), []*seller{&liar}); bridge.CodeOf(err) != bridge.NoQuote {
		t.Errorf("signed by another key: %v", err)
	}
}

func TestRatesAreShownExactly(t *testing.T) {
	for want, r := range map[string]bridge.Ratio{"2.000000": {Num: 2, Den: 1}, "0.125000": {Num: 1, Den: 8}, "about 0.333333": {Num: 1, Den: 3}} {
		if got := rateText(r); got != want {
			t.Errorf("%+v is %q, want %q", r, got, want)
		}
	}
}

func TestLedgersOfAProviderAreReadFromFlags(t *testing.T) {
	good := providerOptions{ledgers: []string{"a=http://127.0.0.1:1,wallet=x", "c=http://127.0.0.1:3"}, ledgerB: "http://127.0.0.1:2", walletB: "y"}
	got, err := good.parseLedgers()
	if err != nil || len(got) != 3 || got[0] != (ledgerFlag{"a", "http://127.0.0.1:1", "x"}) || got[1].wallet != "" || got[2] != (ledgerFlag{"", "http://127.0.0.1:2", "y"}) {
		t.Errorf("%+v, %v", got, err)
	}
	for _, bad := range []providerOptions{
		{}, {ledgers: []string{"a=http://127.0.0.1:1,wallet=x"}}, {ledgers: []string{"http://127.0.0.1:1,wallet=x"}}, {ledgers: []string{"a=u,purse=x", "b=u,wallet=y"}},
		{ledgers: []string{"a=u,wallet=", "b=u,wallet=y"}}, {ledgerA: "u", walletA: "x", ledgerB: "v"},
	} {
		if got, err := bad.parseLedgers(); err == nil {
			t.Errorf("%+v is read as %+v", bad, got)
		}
	}
}

func TestRatesThatCannotBeReadStopTheQuotes(t *testing.T) {
	desk, err := bridge.NewDesk(bridge.DeskConfig{Name: "n", Key: testKey("n"), MaxQuotes: 1,
		Receive: map[entry.GenesisHash]bridge.Address{hashA: someAddress(t, hashA), hashB: someAddress(t, hashB)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	p := &provider{desk: desk, log: discard, accounts: []*account{{ledger: ledgerOf(known[0])}, {ledger: ledgerOf(known[1])}}}
	path := filepath.Join(t.TempDir(), "rates.csv")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, o := range []*providerOptions{{rates: path}, {ratesCommand: "cat '" + path + "'"}} {
		for _, step := range []struct {
			text string
			want int
		}{{"aurelia/AUR,borealis/BOR,2,1,0,1,1000,60,30\n", 1}, {"nonsense\n", 0}, {"aurelia/AUR,borealis/BOR,3,1,0,1,1000,60,30\n", 1}} {
			write(step.text)
			o.refreshRates(t.Context(), p)
			if got := len(p.desk.Offers()); got != step.want {
				t.Errorf("%q: %d offers, want %d", step.text, got, step.want)
			}
		}
	}
	bad := &providerOptions{ratesCommand: "exit 1"}
	if err := bad.readRates(t.Context(), p); err == nil {
		t.Error("a rates command that fails is no error")
	}
}

func ledgerOf(l bridge.Ledger) *ledger {
	return &ledger{name: l.Name, hash: l.Hash, genesis: &entry.Genesis{Assets: l.Assets}}
}

func TestOnlyTheOwnerSeesTheInventory(t *testing.T) {
	desk, err := bridge.NewDesk(bridge.DeskConfig{Name: "n", Key: testKey("n"), MaxQuotes: 1,
		Receive: map[entry.GenesisHash]bridge.Address{hashA: someAddress(t, hashA), hashB: someAddress(t, hashB)}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	desk.SetStock(bridge.Account{Ledger: hashB, Asset: 1}, 12_345)
	a := &account{ledger: ledgerOf(known[1])}
	p := &provider{desk: desk, log: discard, byHash: map[entry.GenesisHash]*account{hashB: a}}
	dir := t.TempDir()
	stop, err := p.serveControl(dir)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := askInventory(t.Context(), dir)
	if err != nil || len(rows) != 1 || rows[0].Stock != "12345" || rows[0].money(rows[0].Stock) != "12.345 BOR" || !rows[0].Known {
		t.Errorf("%+v, %v", rows, err)
	}
	path := filepath.Join(dir, controlName)
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
	var c controlFile
	text, _ := os.ReadFile(path)
	_ = json.Unmarshal(text, &c)
	c.Token = strings.Repeat("0", len(c.Token))
	forged, _ := json.Marshal(c)
	if err := os.WriteFile(path, forged, 0o600); err != nil {
		t.Fatal(err)
	}
	if rows, err := askInventory(t.Context(), dir); err == nil {
		t.Errorf("another token shows %+v", rows)
	}
	stop()
	if _, err := askInventory(t.Context(), dir); err == nil {
		t.Error("a provider that is gone answers")
	}
}

func TestAPaymentGoesOnFromItsBook(t *testing.T) {
	dir := t.TempDir()
	folder, err := keystore.Create(dir, []byte("genesis"), [32]byte{1}, "x", keystore.Secrets{Seed: [32]byte{1}}, []byte("correct horse"), keystore.Options{ScryptLogN: 10})
	if err != nil {
		t.Fatal(err)
	}
	defer folder.Close()
	w := &walletcmd.Wallet{Folder: folder}
	b, err := openPayments(w, dir)
	if err != nil {
		t.Fatal(err)
	}
	o := orderOf(t, bridge.FixedPayee, 100_000)
	o.Limit = 1 << 40
	context := paymentContext{Ledgers: []string{"a=u"}, Providers: map[string]string{"k": "u"}, Codes: []string{"AUR", "BOR"}, Created: 7}
	pay, err := b.begin(*o, context)
	if err != nil || pay.Stage != bridge.PayOrdered {
		t.Fatalf("%+v, %v", pay, err)
	}
	record, err := pay.GiveUp(bridge.DeadlinePassed)
	if err := b.add(pay, record, err); err != nil {
		t.Fatal(err)
	}
	b.Close()
	if b, err = openPayments(w, dir); err != nil {
		t.Fatal(err)
	}
	defer b.Close()
	if pay, err = b.find("x"); err != nil || pay.Stage != bridge.PayGivenUp || b.context["x"].Created != 7 || len(b.order) != 1 {
		t.Fatalf("%+v, %v", pay, err)
	}
	if other, err := b.find("y"); other != nil || err != nil {
		t.Errorf("%+v, %v", other, err)
	}
	s := statusOf(pay, b.context["x"])
	if code, name := cli.CodeOf(s.outcome(false)); code != cli.Refused || name != string(bridge.DeadlinePassed) {
		t.Errorf("exit %d, %s", code, name)
	}
	// A payment id stands for one payment.
	other := *o
	other.Amount++
	if err := same(&pay.Order, &other); bridge.CodeOf(err) != bridge.PaymentConflict {
		t.Errorf("another amount: %v", err)
	}
	if err := same(&pay.Order, o); err != nil {
		t.Error(err)
	}
	// The wallet's own folder is no book, and the book is no wallet.
	if _, _, err := openBook(dir, providerKind, []byte("correct horse"), keystore.Options{ScryptLogN: 10}); err == nil {
		t.Error("a wallet was opened as a provider's folder")
	}
	raw, err := os.ReadFile(filepath.Join(dir, paymentsFolder, "journal"))
	if err != nil || bytes.Contains(raw, []byte("ordered")) {
		t.Errorf("the book is not encrypted: %v", err)
	}
}

func TestOutcomesHaveTheirExitCodes(t *testing.T) {
	for _, tc := range []struct {
		s      status
		locked bool
		code   cli.Code
		name   string
	}{
		{status{Status: "settled"}, false, cli.OK, ""},
		{status{Status: "returned"}, false, cli.Refused, paymentReturned},
		{status{Status: "given_up", Reason: "quote_expired"}, false, cli.Refused, "quote_expired"},
		{status{Status: "pending", Stage: "placed"}, false, cli.Unavailable, paymentPending},
		{status{Status: "pending", Stage: "placed"}, true, cli.OK, ""},
		{status{Status: "pending", Stage: "placing"}, true, cli.Unavailable, paymentPending},
	} {
		if code, name := cli.CodeOf(tc.s.outcome(tc.locked)); code != tc.code || name != tc.name {
			t.Errorf("%+v: exit %d, %q", tc.s, code, name)
		}
	}
}

func TestErrorsAreSortedByWhatHelps(t *testing.T) {
	for name, tc := range map[string]struct {
		err              error
		transient, local bool
	}{
		"nothing":          {nil, false, false},
		"later":            {&rpc.Refusal{Code: rpc.TryLater}, true, false},
		"funds in flight":  {wallets.Refuse(wallets.FundsInFlight, "x"), true, false},
		"refused":          {bridge.Refuse(bridge.QuoteUsed, "x"), false, false},
		"ledger refuses":   {entry.Refuse(entry.CorridorCap, "x"), false, false},
		"a full disk":      {errors.New("no space left"), false, true},
		"an ended command": {context.Canceled, false, true},
	} {
		if transient(tc.err) != tc.transient || tc.err != nil && local(tc.err) != tc.local {
			t.Errorf("%s: transient %t, local %t", name, transient(tc.err), local(tc.err))
		}
	}
}
