package bridgecmd

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"filippo.io/age"
	"filippo.io/age/armor"
	"github.com/spf13/cobra"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	metricnoop "go.opentelemetry.io/otel/metric/noop"
	"go.opentelemetry.io/otel/trace"
	tracenoop "go.opentelemetry.io/otel/trace/noop"

	"github.com/comity-ledger/comity/cmd/internal/telemetry"
	"github.com/comity-ledger/comity/cmd/internal/walletcmd"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// What only those may know who pay and are paid. Issued amounts are public, and are others.
const (
	wrongPassphrase  = "a donkey that opens nothing"
	databasePassword = "s3cret-of-the-database"
	hiddenReference  = "three crates for the harbour master"
	hiddenID         = "harbour-7-confidential"
	hiddenPaid       = 2_718_281
	hiddenFirst      = 3_141_592
	hiddenSecond     = 1_618_033
	hiddenEscrow     = 5_772_156
	hiddenGets       = 71_093_617 // three decimals
)

// script is what the collector, the processes and the commands said in a story.
type script struct {
	*pair
	c       *collector
	printed bytes.Buffer // by commands, to their owners
	pays    uint64       // what the bridge payment costs on the payer's ledger, minor units
	citizen string
}

// do runs a command that must end with an exit code, and keeps what it prints.
func (s *script) do(want int, args ...string) string {
	s.t.Helper()
	code, out, errOut := s.run(args...)
	s.printed.WriteString(out + errOut)
	if code != want {
		s.t.Fatalf("comity %s: exit %d, want %d: %s", strings.Join(args, " "), code, want, errOut)
	}
	return out + errOut
}

// payments pays, disburses and places an escrow on one ledger.
func (s *script) payments() {
	on := func(args ...string) []string {
		return append(args, "--wallet", s.path("payer"), "--ledger", s.a.url(), "--json")
	}
	s.do(0, on("wallet", "pay", "--to", s.citizen, "--amount", "27182.81", "--reference", hiddenReference, "--payment-id", hiddenID, "--wait", "final")...)
	s.do(0, on("wallet", "disburse", s.write("salaries.csv", "line_id,address,amount,programme,reference\ns-1,"+s.citizen+",31415.92,,"+hiddenReference+"\ns-2,"+s.citizen+",16180.33,,\n"))...)
	s.do(0, "escrow", "keygen", "--out", s.path("inspector.key"))
	inspector := strings.TrimSpace(s.do(0, "escrow", "keygen", "--out", s.path("customs.key")))
	s.do(0, on("escrow", "place", "--to", s.citizen, "--amount", "57721.56", "--statement", "delivery", "--attestor", inspector, "--until", "1h", "--reference", hiddenReference)...)
}

// mistakes does what is refused: by commands, by ledgers, by a provider and by TLS.
func (s *script) mistakes() {
	wrong := s.write("wrong", wrongPassphrase+"\n")
	look := []string{"wallet", "balance", "--wallet", s.path("payer"), "--ledger", s.a.url()}
	for _, m := range []struct {
		code int
		want string
		args []string
	}{
		{3, "wrong_passphrase", append(look, "--passphrase-file", wrong)},
		{3, "passphrase_wrong", []string{"witness", "run", "--data", s.path("aurelia-witness"), "--listen", "127.0.0.1:0", "--genesis", s.path("aurelia/genesis.json"), "--ledger", s.a.url(), "--passphrase-file", wrong}},
		{3, "passphrase_wrong", []string{"ledger", "run", "--data", s.path("aurelia"), "--listen", "127.0.0.1:0", "--passphrase-file", wrong}},
		{1, "", []string{"ledger", "run", "--data", s.path("aurelia"), "--listen", "127.0.0.1:0", "--store", "postgres://comity:" + databasePassword + "@127.0.0.1:1/ledger"}},
		{1, "", []string{"ledger", "run", "--data", s.path("aurelia"), "--listen", "127.0.0.1:0", "--store", "@" + s.write("store.address", "postgres://comity:"+databasePassword+"@127.0.0.1:1/ledger?sslmode=require\n")}},
		{3, "", append(s.pay("nowhere", "1.000"), "--to", s.payee[:len(s.payee)-4]+"qqqq")},
		{3, "", []string{"wallet", "pay", "--wallet", s.path("payer"), "--ledger", s.a.url(), "--to", s.citizen, "--amount", "99999999.00"}},
		{0, "", []string{"ledger", "pki", "init", "--dir", s.path("pki"), "--genesis", s.path("aurelia/genesis.json"), "--json"}},
		{0, "", []string{"ledger", "pki", "issue", "--dir", s.path("pki"), "--role", "bank", "--name", "first", "--json"}},
		{3, "tls_files_invalid", []string{"ledger", "status", "--ledger", s.a.url(), "--tls-ca", s.path("pki/issued/bank-first/key.pem")}},
		{4, "", []string{"ledger", "status", "--ledger", strings.Replace(s.a.url(), "http:", "https:", 1), "--tls-ca", s.path("pki/authority.pem"),
			"--tls-cert", s.path("pki/issued/bank-first/cert.pem"), "--tls-key", s.path("pki/issued/bank-first/key.pem")}},
	} {
		code, out, errOut := s.run(m.args...)
		s.printed.WriteString(out + errOut)
		if (code == 0) != (m.code == 0) || !strings.Contains(errOut, m.want) {
			s.t.Errorf("comity %s: exit %d, want %d and %s: %s", strings.Join(m.args[:2], " "), code, m.code, m.want, errOut)
		}
	}
	if _, err := s.a.client.Submit(context.Background(), []byte("no entry"), nil); err == nil {
		s.t.Error("a ledger takes what is no entry")
	}
	for _, url := range []string{s.a.url() + "/comity.ledger.v1.LedgerService/Submit", s.provider + "/comity.bridge.v1.BridgeService/Accept"} {
		answer, err := http.Post(url, "application/json", strings.NewReader(`{"quote": 7, "entry": "!`))
		if err != nil {
			s.t.Fatal(err)
		}
		_, _ = io.Copy(&s.printed, answer.Body)
		answer.Body.Close()
	}
}

// secrets gathers what nobody may say: keys, seeds, passphrases and what opens notes, read from the wallets and key files themselves. The ledgers
// still run, and nobody has the wallets open.
func (s *script) secrets(f *finder) {
	t := s.t
	f.text("the passphrase", passphrase)
	f.text("the wrong passphrase", wrongPassphrase)
	f.text("the database's password", databasePassword)
	for _, n := range []*nation{s.a, s.b} {
		f.bytes("the signer of "+n.name, n.signer.Seed())
	}
	for name, n := range map[string]*nation{"payer": s.a, "citizen": s.a, "desk-a": s.a, "desk-b": s.b, "payee": s.b} {
		w := must(walletcmd.OpenWallet(context.Background(), s.path(name), n.url(), []byte(passphrase)))
		if err := w.Sync(context.Background(), nil); err != nil {
			t.Fatal(err)
		}
		kept := w.Folder.Secrets()
		f.bytes("the seed of "+name, kept.Seed[:])
		f.bytes("the spending key of "+name, kept.Spending[:])
		k := must(keys.Derive(keys.SeedFromBytes(kept.Seed), must(zk.ParseScalar(kept.Spending[:])), n.genesis.Hash()))
		nk, hedge := k.NK().Bytes(), k.Hedge()
		f.bytes("the nullifier key of "+name, nk[:])
		f.bytes("the hedge of "+name, hedge[:])
		for what, text := range map[string]string{"full": k.FullView().Export(n.genesis.Prefix), "incoming": k.IncomingView().Export(n.genesis.Prefix)} {
			f.text("the "+what+" view key of "+name, text)
		}
		opened := map[zk.Rho]bool{}
		for _, own := range w.State().Notes() {
			opened[own.Note.Rho] = true
		}
		for _, h := range w.State().Holds() {
			opened[h.Note.Rho], opened[h.Return.Rho] = true, true
		}
		for _, o := range w.Outbox().Orders() {
			for _, a := range w.Outbox().Attempts(o.ID) {
				for _, out := range a.Outputs {
					opened[out.Note.Rho] = true
				}
			}
		}
		delete(opened, zk.Rho{})
		if len(opened) == 0 {
			t.Errorf("%s opened no note", name)
		}
		for rho := range opened {
			f.bytes(fmt.Sprintf("an opening of %s, %x", name, rho[:4]), rho[:])
		}
		if name == "payer" {
			b := must(openPayments(w, s.path(name)))
			seed := b.Secrets().Seed
			f.bytes("the payer's book", seed[:])
			b.Close()
		}
		w.Close()
	}
	desk := must(keystore.Open(s.path("desk"), []byte(passphrase)))
	seed := desk.Secrets().Seed
	f.bytes("the provider's quoting key", seed[:])
	desk.Close()
	var files int
	hexSecret := regexp.MustCompile(`\b[0-9a-f]{64}\b`)
	s.walk(func(path string, text []byte) {
		switch {
		case bytes.HasPrefix(text, []byte(armor.Header)):
			r, err := age.Decrypt(armor.NewReader(bytes.NewReader(text)), must(age.NewScryptIdentity(passphrase)))
			if err != nil {
				t.Fatalf("%s: %v", path, err)
			}
			for i, found := range hexSecret.FindAllString(string(must(io.ReadAll(r))), -1) {
				f.bytes(fmt.Sprint("key ", i, " of ", path), must(hex.DecodeString(found)))
				files++
			}
		case filepath.Base(path) == "key.pem":
			block, _ := pem.Decode(text)
			f.bytes(path, block.Bytes[len(block.Bytes)-32:]) // the seed ends an Ed25519 key in PKCS #8
			files++
		}
	})
	if files < 10 { // two each of logs, witnesses, offices; attestors; authority; certificate
		t.Errorf("only %d keys were found in files", files)
	}
}

// hidden adds what a payment hides, which its owners' commands do print.
func (s *script) hidden(f *finder) {
	f.text("the reference", hiddenReference)
	f.text("the payment's id", hiddenID)
	f.text("the payee's address", s.payee)
	f.text("the citizen's address", s.citizen)
	f.amount("the payment", hiddenPaid, 2)
	f.amount("the first salary", hiddenFirst, 2)
	f.amount("the second salary", hiddenSecond, 2)
	f.amount("the salaries", hiddenFirst+hiddenSecond, 2)
	f.amount("the escrow", hiddenEscrow, 2)
	f.amount("what the payee gets", hiddenGets, 3)
	f.amount("what the payer pays", s.pays, 2)
}

// walk reads every file of the story.
func (s *script) walk(do func(path string, text []byte)) {
	err := filepath.WalkDir(s.dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil {
			do(strings.TrimPrefix(path, s.dir+"/"), text)
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
}

// nothingIsSaid looks for every secret in all that was printed, logged, traced, measured or written, and for what payments hide in all of it that
// is not printed to the owner. Then a leak is planted and must be found.
func (s *script) nothingIsSaid(t *testing.T, f finder) {
	f.bites(t)
	said := s.printed.Bytes()
	for _, want := range []string{"wrong_passphrase", "passphrase_wrong", "tls_files_invalid"} {
		if !bytes.Contains(said, []byte(want)) {
			t.Errorf("the story did not come to %s", want)
		}
	}
	if got := f.find(said); len(got) > 0 {
		t.Errorf("commands print %q", got)
	}
	var both finder
	s.hidden(&both)
	for key, forms := range f.forms {
		both.forms[key] = append(both.forms[key], forms...)
	}
	both.count += f.count
	both.bites(t)
	heard := s.c.heard()
	for _, want := range []string{"/v1/traces", "/v1/metrics", "/v1/logs"} {
		if len(heard[want]) == 0 {
			t.Errorf("the collector heard nothing on %s", want)
		}
		if got := both.find(heard[want]); len(got) > 0 {
			t.Errorf("the collector heard on %s %q", want, got)
		}
	}
	if !bytes.Contains(heard["/v1/logs"], []byte(`"entry.id"`)) {
		t.Error("no line about an entry reached the collector")
	}
	logs := 0
	s.walk(func(path string, text []byte) {
		look := &both
		switch base := filepath.Base(path); {
		case base == "wallet.json": // tells whose wallet it is
			look = &f
		case base == "passphrase", base == "wrong", base == "store.address", base == "key.pem", strings.HasSuffix(base, ".csv"): // what people wrote, or keep for themselves
			return
		case strings.HasSuffix(path, ".log") && path == base:
			logs++
			if !bytes.Contains(text, []byte("level=DEBUG")) && strings.HasSuffix(base, "-ledger.log") {
				t.Errorf("%s is not at the level debug", path)
			}
		}
		if got := look.find(text); len(got) > 0 {
			t.Errorf("%s holds %q", path, got)
		}
	})
	if logs != 6 {
		t.Errorf("%d logs of processes, want 6", logs)
	}
	t.Logf("%d forms of secrets; %d bytes printed, %d traced, %d measured, %d logged to the collector", both.count, len(said), len(heard["/v1/traces"]), len(heard["/v1/metrics"]), len(heard["/v1/logs"]))
	planted(t, f)
}

// planted says a secret through each signal of OTLP, as a careless line of code would, and requires that it is found at the collector.
func planted(t *testing.T, f finder) {
	c, url := newCollector(t)
	secret := []byte{7, 1, 8, 2, 8, 4, 5, 9, 0, 4, 5, 2, 3, 5, 3, 6}
	f.bytes("planted", secret)
	var o telemetry.Options
	cmd := &cobra.Command{}
	o.AddFlags(cmd)
	if err := cmd.ParseFlags([]string{"--otlp", url, "--trace-sample", "1"}); err != nil {
		t.Fatal(err)
	}
	tel, err := o.Start(t.Context(), telemetry.Config{Service: "planted", Stderr: io.Discard, Flags: cmd})
	if err != nil {
		t.Fatal(err)
	}
	tel.Log.Info("all is well", "key", secret)
	tel.Log.Info("all is well", "key", fmt.Sprintf("%x", secret))
	_, span := otel.Tracer("planted").Start(t.Context(), "work", trace.WithAttributes(attribute.String("key", base64.StdEncoding.EncodeToString(secret))))
	span.End()
	counter := must(otel.Meter("planted").Int64Counter("planted"))
	counter.Add(t.Context(), 1, metric.WithAttributes(attribute.String("key", fmt.Sprint(secret))))
	tel.Shutdown(t.Context())
	otel.SetTracerProvider(tracenoop.NewTracerProvider())
	otel.SetMeterProvider(metricnoop.NewMeterProvider())
	heard := c.heard()
	for path, how := range map[string][]string{"/v1/logs": {"as it is", "in hexadecimal"}, "/v1/traces": {"in base64"}, "/v1/metrics": {"as a list of bytes"}} {
		found := f.find(heard[path])
		for _, h := range how {
			if !slices.Contains(found, "planted "+h) {
				t.Errorf("planted %s on %s and not found: %q", h, path, found)
			}
		}
	}
}
