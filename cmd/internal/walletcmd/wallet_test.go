package walletcmd

import (
	"bytes"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"filippo.io/age"
	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/cmd/internal/verifycmd"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/keystore"
)

// shell runs commands of the binary in this process.
type shell struct {
	t    *testing.T
	dir  string
	node *node
}

func newShell(t *testing.T) *shell {
	s := &shell{t: t, dir: t.TempDir(), node: startNode(t)}
	s.write("pass", "correct horse\n")
	t.Setenv(cli.PassphraseEnv, s.path("pass"))
	t.Setenv(ledgerEnv, s.node.address)
	s.write("aurelia.genesis", string(entry.Encode(s.node.genesis)))
	return s
}

func (s *shell) path(name string) string { return filepath.Join(s.dir, name) }

func (s *shell) write(name, text string) {
	if err := os.WriteFile(s.path(name), []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
}

func (s *shell) run(args ...string) (code int, out, errOut string) {
	s.t.Helper()
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command(), verifycmd.Command())
	var o, e bytes.Buffer
	code = cli.Run(s.t.Context(), root, args, &o, &e)
	return code, o.String(), e.String()
}

// ok runs a command that must succeed and decodes its JSON when it was asked for some.
func (s *shell) ok(args ...string) map[string]any {
	s.t.Helper()
	code, out, errOut := s.run(args...)
	if code != 0 {
		s.t.Fatalf("comity %s: exit %d: %s", strings.Join(args, " "), code, errOut)
	}
	var j map[string]any
	_ = json.Unmarshal([]byte(out), &j)
	return j
}

// refused runs a command that must fail with this exit code and name.
func (s *shell) refused(code int, name string, args ...string) {
	s.t.Helper()
	got, out, errOut := s.run(args...)
	if got != code || !strings.Contains(errOut, name) {
		s.t.Errorf("comity %s: exit %d, want %d with %q: %s%s", strings.Join(args, " "), got, code, name, out, errOut)
	}
}

// wallet makes a wallet with a cheap passphrase, as create does with a costly one, and returns its address.
func (s *shell) wallet(name string) string {
	s.t.Helper()
	a, err := Create(s.path(name), s.node.genesis, entry.Encode(s.node.genesis), []byte("correct horse"), keystore.Options{ScryptLogN: 8})
	if err != nil {
		s.t.Fatal(err)
	}
	return a.String()
}

func TestAWalletFromItsCreationToAProofOfPayment(t *testing.T) {
	s := newShell(t)
	hash := s.node.genesis.Hash().String()
	s.refused(3, "wrong_ledger", "wallet", "create", "--wallet", s.path("no"), "--genesis", strings.Repeat("0", 64))
	created := s.ok("wallet", "create", "--wallet", s.path("created"), "--genesis", hash, "--json")
	if a := s.ok("wallet", "address", "--wallet", s.path("created"), "--json"); a["address"] != created["address"] || a["ledger"] != hash {
		t.Fatalf("%v %v", created, a)
	}
	s.refused(3, "wallet_exists", "wallet", "create", "--wallet", s.path("created"))
	if b := s.ok("wallet", "balance", "--wallet", s.path("created"), "--json"); len(b["balances"].([]any)) != 0 {
		t.Fatalf("%v", b)
	}
	s.wallet("treasury") // with a cheap passphrase: it is opened forty times
	vendor := s.wallet("vendor")

	// Registration, checked as the registrar checks it.
	s.ok("wallet", "register-request", "--wallet", s.path("treasury"), "--out", s.path("treasury.json"))
	request := must(wallets.ParseRegisterRequest(must(os.ReadFile(s.path("treasury.json"))), s.node.genesis))
	s.refused(3, "owner_unknown", "wallet", "pay", "--wallet", s.path("treasury"), "--to", vendor, "--amount", "1")
	s.node.admin(&entry.Register{Owners: []entry.Registration{{Owner: request.Address.Owner, Limit: 100_000}}}, nil)

	// An issue as "comity ledger propose issue" makes it.
	w := must(OpenWallet(t.Context(), s.path("treasury"), s.node.address, []byte("correct horse")))
	s.refused(3, "wallet_in_use", "wallet", "balance", "--wallet", s.path("treasury"))
	if err := w.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	draft := must(w.Builder().BuildIssue(1, 0, 200_000, 0))
	if err := draft.Prove(t.Context(), w.Prover, nil); err != nil {
		t.Fatal(err)
	}
	s.node.admin(draft.Tx, draft.Segments)
	w.Close()
	b := s.ok("wallet", "balance", "--wallet", s.path("treasury"), "--json")
	if row := b["balances"].([]any)[0].(map[string]any); row["amount"] != "200000" || row["asset"] != "AUR" {
		t.Fatalf("%v", b)
	}

	// Refusals by name.
	pay := func(more ...string) []string {
		return append([]string{"wallet", "pay", "--wallet", s.path("treasury"), "--to", vendor}, more...)
	}
	s.refused(3, "amount_zero", pay("--amount", "0")...)
	s.refused(3, "amount_negative", pay("--amount=-1")...)
	s.refused(3, "amount_decimals", pay("--amount", "1.001")...)
	s.refused(3, "amount_too_large", pay("--amount", "999999999999999999999")...)
	s.refused(3, "over_limit", pay("--amount", "1000.01")...)
	s.refused(3, "unknown_asset", pay("--amount", "1", "--asset", "XYZ")...)
	s.refused(3, "unknown_programme", pay("--amount", "1", "--programme", "7")...)
	s.refused(3, "address_invalid", "wallet", "pay", "--wallet", s.path("treasury"), "--to", "aur1xx", "--amount", "1")
	s.refused(2, "--wait", pay("--amount", "1", "--wait", "soon")...)
	s.refused(3, "not_loopback", pay("--amount", "1", "--ledger", "http://192.0.2.1:7001")...)
	s.refused(4, "", pay("--amount", "1", "--ledger", "http://127.0.0.1:1")...)
	s.write("other", "wrong horse\n")
	s.refused(3, "wrong_passphrase", pay("--amount", "1", "--passphrase-file", s.path("other"))...)

	// A payment, twice with one id.
	paid := s.ok(pay("--amount", "12.50", "--payment-id", "invoice-7", "--reference", "seeds", "--wait", "final", "--json")...)
	if paid["status"] != "final" || paid["again"] != false || paid["amount"] != "1250" {
		t.Fatalf("%v", paid)
	}
	if again := s.ok(pay("--amount", "12.50", "--payment-id", "invoice-7", "--reference", "seeds", "--json")...); again["again"] != true || again["tx"] != paid["tx"] {
		t.Fatalf("%v", again)
	}
	s.refused(3, "payment_id_conflict", pay("--amount", "12.51", "--payment-id", "invoice-7", "--reference", "seeds")...)
	h := s.ok("wallet", "history", "--wallet", s.path("vendor"), "--json")["history"].([]any)
	if row := h[0].(map[string]any); len(h) != 1 || row["amount"] != "1250" || row["reference"] != "seeds" || row["direction"] != "in" {
		t.Fatalf("%v", h)
	}
	if _, out, _ := s.run("wallet", "history", "--wallet", s.path("treasury")); !strings.Contains(out, "12.50 AUR") || !strings.Contains(out, "invoice-7") {
		t.Fatalf("%s", out)
	}

	// Receipt and disclosure, checked offline.
	at := []string{"--wallet", s.path("treasury"), "--payment-id", "invoice-7"}
	s.ok(append([]string{"wallet", "receipt", "--out", s.path("r")}, at...)...)
	s.ok(append([]string{"wallet", "disclose", "--out", s.path("d")}, at...)...)
	me := must(age.GenerateX25519Identity())
	s.write("me.key", me.String()+"\n")
	s.ok(append([]string{"wallet", "disclose", "--out", s.path("d.age"), "--recipient", me.Recipient().String()}, at...)...)
	t.Setenv(ledgerEnv, "http://127.0.0.1:1")
	g := []string{"--genesis-file", s.path("aurelia.genesis"), "--genesis", hash}
	if v := s.ok(append([]string{"verify", "receipt", s.path("r"), "--json"}, g...)...); v["valid"] != true || v["id"] != paid["tx"] {
		t.Fatalf("%v", v)
	}
	if v := s.ok(append([]string{"verify", "disclosure", s.path("d.age"), "--identity", s.path("me.key"), "--json"}, g...)...); v["amount"] != "1250" || v["address"] != vendor {
		t.Fatalf("%v", v)
	}
	s.refused(2, "--identity", append([]string{"verify", "disclosure", s.path("d.age")}, g...)...)
	s.write("d2", strings.Replace(string(must(os.ReadFile(s.path("d")))), `"1250"`, `"1251"`, 1))
	s.refused(5, "disclosure_invalid", append([]string{"verify", "disclosure", s.path("d2")}, g...)...)
	s.refused(5, "", append([]string{"verify", "receipt", s.path("d")}, g...)...)
	s.refused(5, "wrong_ledger", "verify", "receipt", s.path("r"), "--genesis-file", s.path("aurelia.genesis"), "--genesis", strings.Repeat("0", 64))
	t.Setenv(ledgerEnv, s.node.address)

	// A file: refused as a whole, then dry, then paid, then paid no more.
	s.write("bad.csv", "line_id,address,amount,programme,reference\nA,"+vendor+",1.00,,\nB,nobody,1.00,,\nC,"+vendor+",0,,\n")
	s.refused(3, "line 4", "wallet", "disburse", s.path("bad.csv"), "--wallet", s.path("treasury"))
	s.refused(3, "line 3", "wallet", "disburse", s.path("bad.csv"), "--wallet", s.path("treasury"))
	var file strings.Builder
	file.WriteString("line_id,address,amount,programme,reference\n")
	for i := range 12 {
		fmt.Fprintf(&file, "L%d,%s,1.%02d,,wage\n", i, vendor, i)
	}
	s.write("wages.csv", file.String())
	disburse := []string{"wallet", "disburse", s.path("wages.csv"), "--wallet", s.path("treasury"), "--json"}
	if dry := s.ok(append(disburse, "--dry-run")...); dry["proofs"] != 1.0 || dry["lines"] != 12.0 || dry["total"] != "1266" {
		t.Fatalf("%v", dry)
	}
	for range 2 {
		if done := s.ok(disburse...); done["settled"] != 12.0 {
			t.Fatalf("%v", done)
		}
	}
	rows := must(csv.NewReader(bytes.NewReader(must(os.ReadFile(s.path("wages.csv.result.csv"))))).ReadAll())
	if len(rows) != 13 || rows[12][0] != "L11" || rows[12][1] != "settled" || len(rows[12][5]) != 64 {
		t.Fatalf("%v", rows)
	}
	b = s.ok("wallet", "balance", "--wallet", s.path("vendor"), "--json")
	if row := b["balances"].([]any)[0].(map[string]any); row["amount"] != "2516" || b["registered"] != false {
		t.Fatalf("%v", b)
	}

	// Export, and reading again from the start.
	s.ok("wallet", "export", "--wallet", s.path("treasury"), "--out", s.path("h.csv"))
	if got := string(must(os.ReadFile(s.path("h.csv")))); strings.Count(got, "\n") != 1+1+1+12 || !strings.Contains(got, "L7") {
		t.Fatalf("%s", got)
	}
	s.refused(2, "--out", "wallet", "export", "--wallet", s.path("treasury"), "--view")
	s.ok("wallet", "export", "--wallet", s.path("treasury"), "--view", "--out", s.path("view"))
	if view := string(must(os.ReadFile(s.path("view")))); !strings.HasPrefix(view, "aurfvk1") {
		t.Fatalf("%s", view)
	}
	if again := s.ok("wallet", "sync", "--wallet", s.path("treasury"), "--from-start", "--json"); again["blocks"] != again["read"] || again["pending"] != 0.0 {
		t.Fatalf("%v", again)
	}

	// Frozen.
	s.node.admin(&entry.Freeze{Owner: request.Address.Owner, Frozen: true}, nil)
	s.refused(3, "owner_frozen", pay("--amount", "1")...)

	// A patched wallet's best attempt is refused by the ledger, with a real proof for a registry that is not the ledger's.
	w = must(OpenWallet(t.Context(), s.path("treasury"), s.node.address, []byte("correct horse")))
	defer w.Close()
	if err := w.Sync(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	drafts, _, err := wallets.Unchecked(*w.Builder()).Next(w.Outbox(), &wallets.Order{ID: "patched", To: vendor, Asset: 1, Amount: 150_000})
	if err != nil {
		t.Fatal(err)
	}
	if err := drafts[0].Prove(t.Context(), w.Prover, nil); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Client.Submit(t.Context(), drafts[0].Tx.Encode(), drafts[0].Segments); entry.CodeOf(err) != entry.ProofInvalid {
		t.Fatalf("%v", err)
	}
}

func TestEveryCommandExplainsItself(t *testing.T) {
	for _, group := range []*cobra.Command{Command(), verifycmd.Command()} {
		for _, cmd := range group.Commands() {
			if cmd.Long == "" || cmd.Example == "" {
				t.Errorf("%s has no help or no example", cmd.Name())
			}
			for _, secret := range []string{"passphrase", "seed", "key"} {
				if cmd.Flags().Lookup(secret) != nil {
					t.Errorf("%s takes a secret on the command line", cmd.Name())
				}
			}
		}
	}
}

func TestRefusalsHaveTheirExitCodes(t *testing.T) {
	for code, want := range map[wallets.Code]cli.Code{wallets.LedgerLied: cli.Unverified, wallets.LedgerForked: cli.Unverified, wallets.LedgerRolledBack: cli.Unverified,
		wallets.NotFinal: cli.Unavailable, wallets.FundsInFlight: cli.Unavailable, wallets.OverLimit: cli.Refused, wallets.InsufficientFunds: cli.Refused} {
		err := sorted(fmt.Errorf("pay: %w", wallets.Refuse(code, "x")))
		if got, name := cli.CodeOf(err); got != want || name != string(code) {
			t.Errorf("%s: exit %d %q", code, got, name)
		}
	}
	if got, _ := cli.CodeOf(sorted(cli.Usagef("x"))); got != cli.Usage || sorted(nil) != nil {
		t.Error("sorted changes what is sorted already")
	}
}
