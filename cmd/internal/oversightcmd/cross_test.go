package oversightcmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/wallets/oversight"
)

// A log without payments across a border has no leg to list, and says so in a form that another office reads.
func TestCrossListsAndExports(t *testing.T) {
	b := newBench(t, "cross")
	out, log := b.path("aurelia.legs"), b.export("log", true)
	key := []string{"--log", log, "--key", b.oversightKey, "--passphrase-file", b.clear}
	var x oversight.CrossLegs
	parsed(t, ok(t, append([]string{"cross", "--out", out, "--json"}, key...)...), &x)
	if x.Genesis != b.genesis.Hash().String() || len(x.Legs) != 0 || x.Size == 0 {
		t.Fatalf("%+v", x)
	}
	if info, err := os.Stat(out); err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("what the key opened is readable by others: %v %v", info, err)
	}
	ends(t, cli.Usage, "exists", append([]string{"cross", "--out", out}, key...)...)
	ok(t, append([]string{"cross", "--public", "--out", b.path("public.legs")}, key...)...)
	if text, err := readLegs(b.path("public.legs")); err != nil || text.Root != x.Root {
		t.Fatalf("%+v %v", text, err)
	}
	ends(t, cli.Usage, "both files are of ledger", "reconcile", out, b.path("public.legs"))
}

// Two offices' files agree, or every difference is named.
func TestReconcileNamesDifferences(t *testing.T) {
	dir := t.TempDir()
	ledger := func(c string) string { return strings.Repeat(c, 64) }
	id := func(c string) string { return ledger(c) + "/0" }
	write := func(name string, x oversight.CrossLegs) string {
		x.Format, x.Size = "comity/cross-legs/v1", 9
		text, err := x.Marshal()
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, text, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	a, b := ledger("a"), ledger("b")
	decider := oversight.PeerHold{Ledger: b, Hold: id("2")}
	deciding := func(state oversight.State, named ...oversight.PeerHold) oversight.CrossLegs {
		return oversight.CrossLegs{Genesis: b, Ledger: "B", Legs: []oversight.CrossLeg{{Ledger: b, Role: oversight.Decider, Hold: id("2"), Decider: decider, State: state, Named: named,
			Followers: []oversight.PeerHold{{Ledger: a, Commitment: "c"}}}}}
	}
	following := func(state oversight.State) oversight.CrossLegs {
		return oversight.CrossLegs{Genesis: a, Ledger: "A", Legs: []oversight.CrossLeg{{Ledger: a, Role: oversight.Follower, Hold: id("1"), Decider: decider, State: state, Commitment: "c"}}}
	}
	named := oversight.PeerHold{Ledger: a, Hold: id("1")}
	posted, settled := write("b-posted", deciding(oversight.Posted, named)), write("a-posted", following(oversight.Posted))
	out := ok(t, "reconcile", settled, posted)
	if !strings.Contains(out, "1 legs follow a hold of the other, 0 differences") {
		t.Error(out)
	}
	for i, c := range []struct {
		ours, theirs string
		code         oversight.Discord
	}{
		{write("a-pending", following(oversight.Pending)), posted, oversight.StillPending},
		{write("a-voided", following(oversight.Voided)), posted, oversight.OutcomesDiffer},
		{settled, write("b-voided", deciding(oversight.Voided)), oversight.OutcomesDiffer},
		{settled, write("b-empty", oversight.CrossLegs{Genesis: b, Ledger: "B", Legs: []oversight.CrossLeg{}}), oversight.PeerHoldMissing},
	} {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			ends(t, cli.Unverified, string(c.code), "reconcile", c.ours, c.theirs)
			ends(t, cli.Unverified, string(c.code), "reconcile", c.theirs, c.ours)
		})
	}
	bad := filepath.Join(dir, "bad")
	if err := os.WriteFile(bad, []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	ends(t, cli.Refused, "cross_legs_invalid", "reconcile", bad, posted)
	ends(t, cli.Usage, "nowhere", "reconcile", filepath.Join(dir, "nowhere"), posted)
}
