package ledgercmd

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
)

// nodeStatus is what a node says of itself.
func nodeStatus(t *testing.T, url string) (out statusJSON) {
	t.Helper()
	if err := json.Unmarshal([]byte(must(t, "status", "--ledger", url, "--json")), &out); err != nil || out.Node == nil {
		t.Fatalf("%s: %+v, %v", url, out, err)
	}
	return out
}

// TestTwoNodesRunOneLedger: what the follower is given the leader writes, and when the leader is stopped the follower leads.
func TestTwoNodesRunOneLedger(t *testing.T) {
	server := pgtest.Start(t)
	p := newPlace(t)
	at := "@" + p.path("address")
	write(t, p.path("address"), server.URL("postgres")+"&search_path=aurelia\n")
	must(t, "init", "--data", p.path("aurelia"), "--possession", p.possession(t, p.begin(t, "aurelia")), "--store", at)

	refused(t, cli.Usage, "give --node-name", "run", "--data", p.path("aurelia"), "--store", at, "--lease", "2s")
	refused(t, cli.Usage, "give --node-name", "run", "--data", p.path("aurelia"), "--store", at, "--verify-everything")
	refused(t, cli.Usage, "--lease 1ms", "run", "--data", p.path("aurelia"), "--store", at, "--node-name", "one", "--lease", "1ms")
	refused(t, cli.Usage, "--node-name", "run", "--data", p.path("aurelia"), "--store", at, "--node-name", "One/2")

	run := func(name string) testLedger {
		return serve(t, p, "--data", p.path("aurelia"), "--store", at, "--node-name", name, "--lease", "2s", "--recheck")
	}
	one := run("one")
	two := run("two")
	if s := nodeStatus(t, one.url); s.Node.Role != "leader" || s.Node.Leader != "one" || s.Node.LeaderURL != one.url {
		t.Fatalf("one: %+v", s.Node)
	}
	if s := nodeStatus(t, two.url); s.Node.Role != "follower" || s.Node.Name != "two" || s.Node.Leader != "one" || s.Node.LeaderURL != one.url {
		t.Fatalf("two: %+v", s.Node)
	}
	if text := must(t, "status", "--ledger", two.url); !strings.Contains(text, "node two is a follower, the lease is with one at "+one.url) {
		t.Fatal(text)
	}
	p.register(t, two.url, "01")
	if a, b := nodeStatus(t, one.url), nodeStatus(t, two.url); a.Registered != 1 || b.Registered != 1 {
		t.Fatalf("registered: %d and %d", a.Registered, b.Registered)
	}
	log := one.stop()
	for deadline := time.Now().Add(5 * time.Second); nodeStatus(t, two.url).Node.Role != "leader"; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("two does not take over: %s", log)
		}
	}
	p.register(t, two.url, "02")
	if s := nodeStatus(t, two.url); s.Registered != 2 || s.Node.LeaseEpoch != 2 {
		t.Fatalf("%+v, %+v", s, s.Node)
	}
}

// TestSeveralNodesNeedADatabase: a folder has one writer.
func TestSeveralNodesNeedADatabase(t *testing.T) {
	p := newPlace(t)
	must(t, "init", "--data", p.path("aurelia"), "--possession", p.possession(t, p.begin(t, "aurelia")))
	refused(t, cli.Usage, "give --store", "run", "--data", p.path("aurelia"), "--listen", "127.0.0.1:0", "--node-name", "one")
}
