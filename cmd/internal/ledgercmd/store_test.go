package ledgercmd

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
)

// testLedger is a ledger that `comity ledger run` serves in this process.
type testLedger struct {
	url  string
	stop func() (log string)
}

func serve(t *testing.T, p *place, args ...string) testLedger {
	t.Helper()
	ready := p.path(fmt.Sprintf("ready-%d", time.Now().UnixNano()))
	ctx, cancel := context.WithCancel(t.Context())
	root := &cobra.Command{Use: "comity"}
	root.AddCommand(Command("test"))
	var out, log bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		ended <- cli.Run(ctx, root, append([]string{"ledger", "run", "--listen", "127.0.0.1:0", "--ready-file", ready}, args...), &out, &log)
	}()
	var once sync.Once
	stop := func() string {
		once.Do(func() {
			cancel()
			<-ended
		})
		return log.String()
	}
	t.Cleanup(func() { stop() })
	for range 600 {
		if text, err := os.ReadFile(ready); err == nil {
			return testLedger{strings.TrimSpace(string(text)), stop}
		}
		select {
		case code := <-ended:
			ended <- code
			t.Fatalf("comity ledger run: exit %d: %s", code, log.String())
		case <-time.After(50 * time.Millisecond):
		}
	}
	t.Fatalf("comity ledger run is not ready: %s", stop())
	return testLedger{}
}

// register makes the ledger log one entry.
func (p *place) register(t *testing.T, url, owner string) {
	t.Helper()
	file := p.path("register-" + owner + ".json")
	must(t, "propose", "register", "--ledger", url, "--owner", strings.Repeat("00", 31)+owner, "--limit", "10.00", "--out", file)
	for _, signer := range []string{"minister.key", "governor.key"} {
		must(t, "sign", file, "--key", p.path(signer), "--genesis-file", p.path("aurelia/genesis.json"), "--yes")
	}
	must(t, "submit", file, "--ledger", url)
}

type ended struct {
	Genesis string
	Height  uint64
	Entries uint64
	Root    string
}

func ends(t *testing.T, args ...string) ended {
	t.Helper()
	var e ended
	if err := json.Unmarshal([]byte(must(t, append(args, "--json")...)), &e); err != nil || e.Root == "" {
		t.Fatalf("%s: %+v, %v", strings.Join(args, " "), e, err)
	}
	return e
}

// TestLedgerLivesInPostgreSQL creates a ledger there, runs it, stops it, and
// moves it to a folder and back; entries are logged at every place.
func TestLedgerLivesInPostgreSQL(t *testing.T) {
	server := pgtest.Start(t)
	p := newPlace(t)
	address := server.TCP("postgres", server.Address()) + "&search_path=aurelia"
	at := "@" + p.path("address")
	write(t, p.path("address"), address+"\n")
	proof := p.possession(t, p.begin(t, "aurelia"))

	// An argument with a password is refused before anything is made.
	refused(t, cli.Usage, "argument shows the password", "init", "--data", p.path("aurelia"), "--possession", proof, "--store", address)
	refused(t, cli.Usage, "postgres://", "init", "--data", p.path("aurelia"), "--possession", proof, "--store", "mysql://x")
	refused(t, cli.Usage, "no such file", "init", "--data", p.path("aurelia"), "--possession", proof, "--store", "@"+p.path("nowhere"))
	must(t, "init", "--data", p.path("aurelia"), "--possession", proof, "--store", at)
	if exists(p.path("aurelia/store")) {
		t.Fatal("a store was made in the data folder")
	}
	// Without --store the folder has none, and none is made.
	refused(t, cli.Refused, "no_ledger", "replay", "--data", p.path("aurelia"))

	r := serve(t, p, "--data", p.path("aurelia"), "--store", at)
	p.register(t, r.url, "01")
	p.register(t, r.url, "02")
	log := r.stop()
	t.Setenv(StoreEnv, address)
	first := ends(t, "replay", "--data", p.path("aurelia"))
	if first.Height < 2 {
		t.Fatalf("%+v", first)
	}
	t.Setenv(StoreEnv, "")

	// To a folder that has genesis and key already; then on from there.
	if got := ends(t, "copy", "--from", at, "--to", p.path("aurelia")); got != first {
		t.Fatalf("copied %+v, want %+v", got, first)
	}
	refused(t, cli.Refused, "already_exists", "copy", "--from", at, "--to", p.path("aurelia"))
	if got := ends(t, "replay", "--data", p.path("aurelia")); got != first {
		t.Fatalf("folder %+v, want %+v", got, first)
	}
	r = serve(t, p, "--data", p.path("aurelia"))
	p.register(t, r.url, "03")
	log += r.stop()
	second := ends(t, "replay", "--data", p.path("aurelia"))
	if second.Height <= first.Height {
		t.Fatalf("%+v after %+v", second, first)
	}

	// Back into a database: the old schema is refused, a new one is filled.
	refused(t, cli.Refused, "already_exists", "copy", "--from", p.path("aurelia"), "--to", at)
	again := "@" + p.path("again")
	write(t, p.path("again"), server.URL("postgres")+"&search_path=again")
	if got := ends(t, "copy", "--from", p.path("aurelia"), "--to", again); got != second {
		t.Fatalf("copied %+v, want %+v", got, second)
	}
	r = serve(t, p, "--data", p.path("aurelia"), "--store", again)
	p.register(t, r.url, "04")
	log += r.stop()

	// To an empty place, which gets genesis but no key.
	out := must(t, "copy", "--from", again, "--to", p.path("else"))
	if !strings.Contains(out, "Put the key") || !exists(p.path("else/genesis.json")) || exists(p.path("else/log.key")) {
		t.Fatal(out)
	}
	if third := ends(t, "replay", "--data", p.path("else")); third.Height <= second.Height || third.Genesis != first.Genesis {
		t.Fatalf("%+v after %+v", third, second)
	}
	if strings.Contains(log+out, pgtest.Password) {
		t.Fatal("the password is in what was printed")
	}
}

// TestCopyTakesItsSourceOver: a node that runs on the source writes nothing
// more, so that the copy is the whole ledger.
func TestCopyTakesItsSourceOver(t *testing.T) {
	server := pgtest.Start(t)
	p := newPlace(t)
	write(t, p.path("address"), server.URL("postgres"))
	at := "@" + p.path("address")
	must(t, "init", "--data", p.path("aurelia"), "--possession", p.possession(t, p.begin(t, "aurelia")), "--store", at)
	r := serve(t, p, "--data", p.path("aurelia"), "--store", at)
	p.register(t, r.url, "01")
	copied := ends(t, "copy", "--from", at, "--to", p.path("copy"))
	file := p.path("late.json")
	if _, _, code := run(t, "propose", "register", "--ledger", r.url, "--owner", strings.Repeat("00", 31)+"02", "--limit", "10.00", "--out", file); code == cli.OK {
		for _, signer := range []string{"minister.key", "governor.key"} {
			must(t, "sign", file, "--key", p.path(signer), "--genesis-file", p.path("aurelia/genesis.json"), "--yes")
		}
		if out, _, code := run(t, "submit", file, "--ledger", r.url); code == cli.OK {
			t.Fatalf("the node on the source still settles: %s", out)
		}
	}
	r.stop()
	if got := ends(t, "replay", "--data", p.path("aurelia"), "--store", at); got != copied {
		t.Fatalf("the source went on to %+v, the copy ends at %+v", got, copied)
	}
}

func TestCopyRefusesByName(t *testing.T) {
	server := pgtest.Shared(t)
	p := newPlace(t)
	for _, name := range []string{"one", "two"} {
		must(t, "init", "--data", p.path(name), "--possession", p.possession(t, p.begin(t, name)))
	}
	if err := os.Mkdir(p.path("filled"), 0o700); err != nil {
		t.Fatal(err)
	}
	write(t, p.path("filled/diary"), "mine")
	free := "postgres://" + pgtest.User + "@/postgres?host=" + hostOf(server) + "&search_path=free"
	for _, tc := range []struct {
		name     string
		code     cli.Code
		from, to string
	}{
		{"no_ledger", cli.Refused, p.path("nowhere"), p.path("x")},
		{"no_ledger", cli.Refused, free, p.path("x")},
		{"folder_not_empty", cli.Refused, p.path("one"), p.path("filled")},
		{"other_ledger", cli.Refused, p.path("one"), p.path("two")},
		{"already_exists", cli.Refused, p.path("one"), p.path("one")},
		{"store_unencrypted", cli.Refused, p.path("one"), "postgres://u@db.example/x"},
		{"schema", cli.Usage, p.path("one"), "postgres://u@127.0.0.1/x?search_path=A"},
		{"argument shows the password", cli.Usage, p.path("one"), "postgres://u:p@127.0.0.1/x"},
		{"cannot be reached", cli.Unavailable, p.path("one"), "postgres://u@127.0.0.1:1/x"},
	} {
		refused(t, tc.code, tc.name, "copy", "--from", tc.from, "--to", tc.to)
	}
	for _, path := range []string{"x", "two/store.old"} {
		if exists(p.path(path)) {
			t.Errorf("%s was made", path)
		}
	}
	// Tables without a ledger, as a creation that was cut short leaves them.
	server.Exec(t, "postgres", "CREATE SCHEMA free")
	server.Exec(t, "postgres", "CREATE TABLE free.layout (version int4)")
	refused(t, cli.Refused, "half_created", "copy", "--from", p.path("one"), "--to", free)
	server.Exec(t, "postgres", "DROP SCHEMA free CASCADE")
	must(t, "copy", "--from", p.path("one"), "--to", free)
	server.Exec(t, "postgres", "UPDATE free.layout SET version = 99")
	refused(t, cli.Refused, "newer_version", "replay", "--data", p.path("one"), "--store", free)
	server.Exec(t, "postgres", "UPDATE free.layout SET version = 1")
	refused(t, cli.Refused, "other_ledger", "replay", "--data", p.path("two"), "--store", free)
}

// hostOf is host and port of the server's socket, as parameters of an address.
func hostOf(s *pgtest.Server) string {
	_, rest, _ := strings.Cut(s.URL("postgres"), "host=")
	return rest
}
