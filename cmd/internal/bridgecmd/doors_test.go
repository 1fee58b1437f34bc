package bridgecmd

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/bridge/rpc"
	"github.com/comity-ledger/comity/proto/doors"
)

// authority makes the nation's authority and a certificate for each holder, written "role/name"; those named after the comma are servers too.
func (n *nation) authority(holders, servers []string) {
	n.t.Helper()
	n.ok(nil, "ledger", "pki", "init", "--dir", n.path(n.name+"-pki"), "--genesis", n.path(n.name+"/genesis.json"))
	for i, holder := range append(holders, servers...) {
		role, name, _ := strings.Cut(holder, "/")
		args := []string{"ledger", "pki", "issue", "--dir", n.path(n.name + "-pki"), "--role", role, "--name", name}
		if i >= len(holders) {
			args = append(args, "--ip", "127.0.0.1")
		}
		if name == "brief" { // it has expired when it is used, after a payment
			args = append(args, "--for", "1s")
		}
		n.ok(nil, args...)
	}
}

// knownAs are the flags by which a process is "role/name" on these ledgers, and believes all servers of both.
func (p *pair) knownAs(holder string, on ...*nation) []string {
	out := []string{"--tls-ca", p.path(p.a.name + "-pki/authority.pem"), "--tls-ca", p.path(p.b.name + "-pki/authority.pem")}
	for _, n := range on {
		dir := n.path(n.name + "-pki/issued/" + strings.Replace(holder, "/", "-", 1))
		out = append(out, "--tls-cert", dir+"/cert.pem", "--tls-key", dir+"/key.pem")
	}
	return out
}

func (n *nation) secure() string { return fmt.Sprintf("https://127.0.0.1:%d", n.port) }

// behindTLS ends the nation's node and witness, and starts them again behind mutual TLS.
func (p *pair) behindTLS(n *nation) {
	n.t.Helper()
	for _, name := range []string{n.name + "-ledger", n.name + "-witness"} {
		if code := n.process(name).stop(); code != 0 {
			n.t.Fatalf("%s ended with %d", name, code)
		}
	}
	callers := []string{"--tls-client-ca", n.path(n.name + "-pki/authority.pem")}
	node := append(p.knownAs("operator/node", n), callers...)
	n.start(n.name+"-ledger", append([]string{"ledger", "run", "--data", n.path(n.name), "--listen", fmt.Sprintf("127.0.0.1:%d", n.port), "--workers", "1",
		"--witness", fmt.Sprintf("witness.%s.example=https://127.0.0.1:%d", n.name, n.witnessPort)}, node...)...)
	witness := append(p.knownAs("witness/w1", n), callers...)
	n.start(n.name+"-witness", append([]string{"witness", "run", "--data", n.path(n.name + "-witness"), "--listen", fmt.Sprintf("127.0.0.1:%d", n.witnessPort),
		"--genesis", n.path(n.name + "/genesis.json"), "--ledger", n.secure(), "--workers", "1"}, witness...)...)
}

// A payment whose every connection is mutual TLS: ledgers, witnesses, provider, relayer and payer each hold certificates of the two ledgers' authorities,
// in the role that they have there. Then everybody whom the provider turns away, and how each learns why.
func TestAPaymentOverMutualTLS(t *testing.T) {
	if testing.Short() {
		t.Skip("real proofs and processes")
	}
	p := newPair(t)
	for _, n := range []*nation{p.a, p.b} {
		n.authority([]string{"bank/first", "peer/relay", "oversight/court", "bank/brief"}, []string{"operator/node", "witness/w1", "provider/meridian"})
	}
	p.behindTLS(p.a)
	p.behindTLS(p.b)
	other := p.draft("cordelia")
	other.authority([]string{"bank/first"}, nil)
	ledgers := []string{"--ledger", "aurelia=" + p.a.secure(), "--ledger", "borealis=" + p.b.secure()}
	both := []*nation{p.a, p.b}
	p.provider = p.start("provider", append([]string{"bridge", "provider", "--ledger", "aurelia=" + p.a.secure() + ",wallet=" + p.path("desk-a"),
		"--ledger", "borealis=" + p.b.secure() + ",wallet=" + p.path("desk-b"), "--rates", p.path("rates.csv"), "--name", "Meridian", "--data", p.path("desk"), "--listen", "127.0.0.1:0",
		"--tls-client-ca", p.path("aurelia-pki/authority.pem"), "--tls-client-ca", p.path("borealis-pki/authority.pem"),
		"--tls-client-ca", p.path("cordelia-pki/authority.pem")}, p.knownAs("provider/meridian", both...)...)...)
	if !strings.HasPrefix(p.provider, "https://") {
		t.Fatalf("the provider serves at %s", p.provider)
	}
	p.start("relay", append(append([]string{"bridge", "relay"}, ledgers...), p.knownAs("peer/relay", both...)...)...)

	quote := []string{"bridge", "quote", "--ledger", p.a.secure(), "--to-ledger", p.b.secure(), "--provider", p.provider, "--to", p.payee, "--amount", "199.000"}
	bank := p.knownAs("bank/first", both...)
	var offers struct{ Best struct{ Pays, Gets string } }
	p.ok(&offers, append(quote, bank...)...)
	if offers.Best.Pays != "10000" || offers.Best.Gets != "199000" {
		t.Fatalf("%+v", offers)
	}
	code, out, errOut := p.run(append([]string{"bridge", "pay", "--wallet", p.path("payer"), "--ledger", p.a.secure(), "--to-ledger", p.b.secure(), "--provider", p.provider,
		"--to", p.payee, "--amount", "199.000", "--payment-id", "first", "--yes", "--json"}, bank...)...)
	if code != 0 || !strings.Contains(out, `"status": "settled"`) {
		t.Fatalf("exit %d: %s%s", code, out, errOut)
	}
	var row status
	p.ok(&row, append([]string{"bridge", "status", "first", "--wallet", p.path("payer"), "--ledger", p.a.secure()}, bank...)...)
	if row.Status != "settled" || row.Pays != "10000" || row.Gets != "199000" {
		t.Errorf("%+v", row)
	}
	var report struct{ Inventory []position }
	p.ok(&report, "bridge", "inventory", "--data", p.path("desk"))
	if len(report.Inventory) != 2 {
		t.Errorf("%+v", report)
	}

	// An auditor reads both ledgers and asks no provider.
	if code, out, errOut := p.run(append(quote, p.knownAs("oversight/court", both...)...)...); code == 0 || !strings.Contains(out+errOut, "role_not_allowed") {
		t.Errorf("an auditor asks for a quote: exit %d: %s%s", code, out, errOut)
	}
	for name, tc := range map[string]struct {
		flags []string
		says  string
	}{
		"a bank":                          {bank, ""},
		"a bank of the payee's ledger":    {p.knownAs("bank/first", p.b), ""},
		"no certificate":                  {p.knownAs("bank/first"), "certificate_required"},
		"a role that may not":             {p.knownAs("oversight/court", p.b), "role_not_allowed"},
		"an expired certificate":          {p.knownAs("bank/brief", p.a), "certificate_expired"},
		"a ledger that it does not serve": {p.knownAs("bank/first", other), "certificate_other_ledger"},
	} {
		cfg := doors.ClientConfig{}
		for i := 0; i < len(tc.flags); i += 2 {
			to := map[string]*[]string{"--tls-ca": &cfg.CAs, "--tls-cert": &cfg.Certs, "--tls-key": &cfg.Keys}[tc.flags[i]]
			*to = append(*to, tc.flags[i+1])
		}
		c, err := rpc.NewClientTLS(p.provider, must(doors.NewClient(cfg)))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := c.Offers(t.Context()); rpc.CodeOf(err) != tc.says || (err == nil) != (tc.says == "") {
			t.Errorf("%s: %v, want %q", name, err, tc.says)
		}
	}
}

// draft makes a nation's genesis and nothing else.
func (w *world) draft(name string) *nation {
	w.t.Helper()
	w.write(name+".json", `{"name": "`+name+`", "prefix": "oth", "origin": "ledger.`+name+`.example", "network": "development", "assets": [{"id": 1, "code": "OTH", "decimals": 2}],
		"policy": {"threshold": 1}, "witnesses": {"quorum": 1, "faulty": 0}, "registry_window_millis": 60000, "max_expiry_millis": 120000}`)
	var witness struct{ Name, Key string }
	w.ok(&witness, "witness", "keygen", "--data", w.path(name+"-witness"), "--name", "witness."+name+".example")
	var office struct{ Public string }
	w.ok(&office, "oversight", "keygen", "--out", w.path(name+"-oversight.key"))
	var draft struct{ Draft string }
	key := publicKey(testKey("signer of " + name))
	w.ok(&draft, "ledger", "init", "--data", w.path(name), "--config", w.path(name+".json"), "--signer", hex.EncodeToString(key[:]),
		"--witness", witness.Name+"="+witness.Key, "--oversight-key", office.Public)
	var possession struct{ Possession string }
	w.ok(&possession, "oversight", "possession", "--key", w.path(name+"-oversight.key"), "--genesis", draft.Draft, "--epoch", "1")
	w.ok(nil, "ledger", "init", "--data", w.path(name), "--possession", possession.Possession)
	return &nation{world: w, name: name}
}
