package bridgecmd

import (
	"context"
	"crypto/rand"
	"maps"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk"
)

// programme opens a programme.
func (n *nation) programme(id zk.ProgrammeID, name string) {
	n.t.Helper()
	reader := must(zk.NewScalar(rand.Reader))
	n.sign(&entry.Programme{Header: n.header(), Programme: id, Name: name, Status: entry.StatusOpen, Reader: reader.Base(),
		Possession: entry.ProvePossession(reader, entry.ReaderPossession(n.genesis.Hash(), id), rand.Reader)}, nil)
}

// earmarked makes a wallet with rights and issues it money of a programme.
func (n *nation) earmarked(name string, programme zk.ProgrammeID, amount zk.Amount, rights ...zk.Right) {
	n.t.Helper()
	ctx := context.Background()
	address, err := walletcmd.Create(n.path(name), n.genesis, entry.Encode(n.genesis), []byte(passphrase), keystore.Options{ScryptLogN: 10})
	if err != nil {
		n.t.Fatal(err)
	}
	n.sign(&entry.Register{Header: n.header(), Owners: []entry.Registration{{Owner: address.Owner, Limit: 1 << 50, Rights: rights}}}, nil)
	w, err := walletcmd.OpenWallet(ctx, n.path(name), n.url(), []byte(passphrase))
	if err != nil {
		n.t.Fatal(err)
	}
	defer w.Close()
	if err := w.Sync(ctx, nil); err != nil {
		n.t.Fatal(err)
	}
	d, err := w.Builder().BuildIssue(n.asset.ID, programme, amount, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	if err := d.Prove(ctx, w.Prover, nil); err != nil {
		n.t.Fatal(err)
	}
	n.sign(d.Tx, d.Segments)
}

// purse is what a wallet owns by programme, holds left out.
func (n *nation) purse(name string) map[zk.ProgrammeID]zk.Amount {
	n.t.Helper()
	w, err := walletcmd.OpenWallet(context.Background(), n.path(name), n.url(), []byte(passphrase))
	if err != nil {
		n.t.Fatal(err)
	}
	defer w.Close()
	if err := w.Sync(context.Background(), nil); err != nil {
		n.t.Fatal(err)
	}
	out := map[zk.ProgrammeID]zk.Amount{}
	all, _ := w.State().Balances(w.Outbox())
	for _, b := range all {
		if b.Amount > 0 {
			out[b.Programme] += b.Amount
		}
	}
	return out
}

// Money earmarked for aid in Aurelia pays an agency in Borealis, where it is earmarked for the programme that the provider carries it to. The
// provider has the right to earmark there; what it is paid in Aurelia stays earmarked in its own hands. Nothing else crosses: not another programme,
// and no earmark is lost or made on the way.
func TestAProviderCarriesEarmarkedMoney(t *testing.T) {
	if testing.Short() {
		t.Skip("real proofs and processes")
	}
	const aid, relief, other = 7, 9, 11
	w := newWorld(t)
	p := &pair{world: w, a: w.found("aurelia", "AUR", 2), b: w.found("borealis", "BOR", 3)}
	p.a.corridor(p.b)
	p.b.corridor(p.a)
	p.a.programme(aid, "Aid")
	p.b.programme(relief, "Relief")
	p.b.programme(other, "Roads")
	p.a.earmarked("payer", aid, 1_000_000)
	p.a.wallet("desk-a")
	p.b.earmarked("desk-b", 0, 10_000_000, zk.Right{Programme: relief, MaySet: true})
	p.payee = p.b.wallet("payee")
	w.write("rates.csv", testRates)
	p.provider = p.start("provider", "bridge", "provider", "--ledger", "aurelia="+p.a.url()+",wallet="+p.path("desk-a"), "--ledger", "borealis="+p.b.url()+",wallet="+p.path("desk-b"),
		"--carry", "aurelia/7=borealis/9", "--rates", p.path("rates.csv"), "--name", "Meridian", "--data", p.path("desk"), "--listen", "127.0.0.1:0")
	p.startRelay("relay")

	for name, more := range map[string][]string{
		"another programme there": {"--programme", "7", "--to-programme", "11"},
		"the earmark dropped":     {"--programme", "7"},
		"an earmark made":         {"--to-programme", "9"},
	} {
		if code, _, errOut := p.run(p.pay("refused", "1.000", more...)...); code != 3 || !strings.Contains(errOut, "unknown_programme") {
			t.Errorf("%s: exit %d: %s", name, code, errOut)
		}
	}
	code, out, errOut := p.run(p.pay("aid", "199.000", "--programme", "7", "--to-programme", "9")...)
	if code != 0 || !strings.Contains(out, `"status": "settled"`) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	// The payer has nothing that is not earmarked: what a provider would carry freely it cannot pay.
	if code, _, errOut = p.run(p.pay("free", "1.000")...); code != 3 {
		t.Errorf("free money: exit %d: %s", code, errOut)
	}
	if code := p.process("provider").stop(); code != 0 {
		t.Errorf("the provider ended with %d", code)
	}
	for _, x := range []struct {
		n      *nation
		wallet string
		want   map[zk.ProgrammeID]zk.Amount
	}{
		{p.a, "payer", map[zk.ProgrammeID]zk.Amount{aid: 990_000}}, {p.a, "desk-a", map[zk.ProgrammeID]zk.Amount{aid: 10_000}},
		{p.b, "desk-b", map[zk.ProgrammeID]zk.Amount{0: 9_801_000}}, {p.b, "payee", map[zk.ProgrammeID]zk.Amount{relief: 199_000}},
	} {
		if got := x.n.purse(x.wallet); !maps.Equal(got, x.want) {
			t.Errorf("%s has %v, want %v", x.wallet, got, x.want)
		}
	}
}
