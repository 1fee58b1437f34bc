package oversight_test

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

// border is a payment from ledger A to ledger B: H_B decides, H_A follows.
type border struct {
	a, b   *forge
	ha, hb entry.HoldID
	la, lb entry.Leg
}

func newBorder(t *testing.T) *border {
	wa, wb := newWorld(t, "A"), newWorld(t, "B")
	payer, provider, payee := wa.owner(), wb.owner(), wb.owner()
	na, nb := wa.issue(payer, aur, 0, 500), wb.issue(provider, aux, 0, 900)
	x := &border{a: newForge(wa), b: newForge(wb)}
	// The provider is told the commitment of H_A before it is placed: the same randomness gives it twice.
	draft := *x.a.rand
	there := func(hb entry.HoldID) entry.Condition {
		return (&entry.DecidedThere{Ledger: x.b.genesis.Hash(), Hold: hb, Until: x.b.now + 90_000}).Condition()
	}
	blocks, now, last, size, frontier := x.a.blocks, x.a.now, x.a.last, x.a.size, x.a.frontier.Clone()
	_, promised, _ := x.a.hold(na, wa.owner(), 100, there(entry.HoldID{}))
	x.a.blocks, x.a.now, x.a.last, x.a.size, x.a.frontier = blocks, now, last, size, frontier
	*x.a.rand = draft
	x.hb, x.lb, _ = x.b.hold(nb, payee, 180, (&entry.DecidedHere{Until: x.b.now + 90_000,
		Followers: []entry.Follower{{Ledger: x.a.genesis.Hash(), Commitment: promised.Commitments[0]}}}).Condition())
	x.ha, x.la, _ = x.a.hold(na, wa.owner(), 100, there(x.hb))
	if x.la.Commitments[0] != promised.Commitments[0] {
		t.Fatal("another commitment than promised")
	}
	return x
}

// decide posts or voids H_B.
func (x *border) decide(outcome entry.Outcome) {
	e := &entry.Resolve{Header: x.b.header(), Hold: x.hb, Outcome: outcome, Reason: entry.ReasonExpired, Commitment: x.lb.ReturnCommitment}
	if outcome == entry.Posted {
		e.Reason, e.Commitment = entry.ReasonPeers, x.lb.Commitments[0]
		e.Named = []entry.Named{{Ledger: x.a.genesis.Hash(), Hold: x.ha}}
		e.Peers = []entry.PeerProof{{Size: 1, Leaf: []byte("H_A")}}
	}
	x.b.block(e)
}

// follow posts or voids H_A.
func (x *border) follow(outcome entry.Outcome) {
	e := &entry.Resolve{Header: x.a.header(), Hold: x.ha, Outcome: outcome, Reason: entry.ReasonPeers, Commitment: x.la.Commitments[0],
		Peers: []entry.PeerProof{{Size: 1, Leaf: []byte("the decision")}}}
	if outcome == entry.Voided {
		e.Commitment = x.la.ReturnCommitment
	}
	x.a.block(e)
}

func discords(ds []oversight.Difference) string {
	var out []oversight.Discord
	for _, d := range ds {
		out = append(out, d.Discord)
	}
	return fmt.Sprint(out)
}

func TestTwoOfficesReconcileByHoldID(t *testing.T) {
	for name, tc := range map[string]struct {
		do   func(*border)
		want []oversight.Discord
	}{
		"both wait":                   {func(*border) {}, nil},
		"both posted":                 {func(x *border) { x.decide(entry.Posted); x.follow(entry.Posted) }, nil},
		"both voided":                 {func(x *border) { x.decide(entry.Voided); x.follow(entry.Voided) }, nil},
		"posted and waiting":          {func(x *border) { x.decide(entry.Posted) }, []oversight.Discord{oversight.StillPending}},
		"voided and waiting":          {func(x *border) { x.decide(entry.Voided) }, []oversight.Discord{oversight.StillPending}},
		"posted before the decision":  {func(x *border) { x.follow(entry.Posted) }, []oversight.Discord{oversight.OutcomesDiffer}},
		"voided before the decision":  {func(x *border) { x.follow(entry.Voided) }, []oversight.Discord{oversight.OutcomesDiffer}},
		"posted against the decision": {func(x *border) { x.decide(entry.Voided); x.follow(entry.Posted) }, []oversight.Discord{oversight.OutcomesDiffer}},
		"voided against the decision": {func(x *border) { x.decide(entry.Posted); x.follow(entry.Voided) }, []oversight.Discord{oversight.OutcomesDiffer}},
	} {
		t.Run(name, func(t *testing.T) {
			x := newBorder(t)
			tc.do(x)
			auditA, auditB := x.a.audit(), x.b.audit()
			if len(auditA.Mismatches)+len(auditB.Mismatches) != 0 {
				t.Fatal(auditA.Mismatches, auditB.Mismatches)
			}
			a, b := auditA.CrossLegs(), auditB.CrossLegs()
			for i, pair := range [][2]*oversight.CrossLegs{{a, b}, {b, a}, {a.Public(), b.Public()}} {
				if got := discords(pair[0].Reconcile(pair[1])); got != fmt.Sprint(tc.want) {
					t.Errorf("%d: %s, want %v", i, got, tc.want)
				}
			}
			if got := discords(oversight.Reconcile(a.Legs, b.Legs)); got != fmt.Sprint(tc.want) {
				t.Errorf("legs: %s", got)
			}
			if supply := must(auditA.Supply()); len(supply.Mismatches) != 0 {
				t.Error(supply.Mismatches)
			}
		})
	}
}

func TestACrossLegShowsThePeerAndTheHold(t *testing.T) {
	x := newBorder(t)
	a, b := x.a.audit().CrossLegs(), x.b.audit().CrossLegs()
	la, lb := a.Legs[0], b.Legs[0]
	ledgerA, ledgerB := x.a.genesis.Hash().String(), x.b.genesis.Hash().String()
	if la.Role != oversight.Follower || la.Hold != x.ha.String() || la.Decider != (oversight.PeerHold{Ledger: ledgerB, Hold: x.hb.String()}) || la.Amount != "100" ||
		la.Asset != "AUR" || la.SizeClass != "1000" || la.State != oversight.Pending {
		t.Errorf("%+v", la)
	}
	if lb.Role != oversight.Decider || lb.Decider.Hold != lb.Hold || len(lb.Followers) != 1 || lb.Followers[0].Ledger != ledgerA ||
		lb.Followers[0].Commitment != la.Commitment || lb.Amount != "180" {
		t.Errorf("%+v", lb)
	}
	text := must(a.Marshal())
	again := must(oversight.ParseCrossLegs(text))
	if !bytes.Equal(must(again.Marshal()), text) {
		t.Error("the export does not read back")
	}
	public := must(a.Public().Marshal())
	for _, secret := range []string{la.Amount, la.Sender, la.Payee, `"` + la.Asset + `"`} {
		if bytes.Contains(public, []byte(`"`+secret+`"`)) || len(secret) > 20 && bytes.Contains(public, []byte(secret)) {
			t.Errorf("the public export shows %s", secret)
		}
	}
	if _, err := oversight.ParseCrossLegs(public); err != nil {
		t.Error(err)
	}
	for name, bad := range map[string][]byte{
		"not JSON":             []byte("legs"),
		"another format":       bytes.Replace(text, []byte("cross-legs/v1"), []byte("cross-legs/v2"), 1),
		"unknown field":        bytes.Replace(text, []byte(`"size":`), []byte(`"more": 1, "size":`), 1),
		"something behind":     append(bytes.Clone(text), '{'),
		"a state of its own":   bytes.Replace(text, []byte(`"pending"`), []byte(`"perhaps"`), 1),
		"another role":         bytes.Replace(text, []byte(`"follower"`), []byte(`"decider"`), 1),
		"a hold id cut short":  bytes.Replace(text, []byte(la.Hold), []byte(la.Hold[1:]), 1),
		"a leg of another log": bytes.Replace(text, []byte(`"genesis": "`+ledgerA), []byte(`"genesis": "`+ledgerB), 1),
	} {
		if _, err := oversight.ParseCrossLegs(bad); wallets.CodeOf(err) != oversight.CrossInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLegsThatDoNotMatchAreNamed(t *testing.T) {
	x := newBorder(t)
	x.decide(entry.Posted)
	x.follow(entry.Posted)
	a, b := x.a.audit().CrossLegs(), x.b.audit().CrossLegs()
	missing := *b
	missing.Legs = nil
	if got := discords(a.Reconcile(&missing)); got != fmt.Sprint([]oversight.Discord{oversight.PeerHoldMissing}) {
		t.Errorf("the decider is missing: %s", got)
	}
	missing = *a
	missing.Legs = nil
	if got := discords(missing.Reconcile(b)); got != fmt.Sprint([]oversight.Discord{oversight.PeerHoldMissing}) {
		t.Errorf("the follower is missing: %s", got)
	}
	other := *a
	other.Legs = slices.Clone(a.Legs)
	other.Legs[0].Commitment = zk.Commitment{31: 9}.String()
	if got := discords(other.Reconcile(b)); got != fmt.Sprint([]oversight.Discord{oversight.PeerNotNamed}) {
		t.Errorf("another commitment: %s", got)
	}
	if got := a.Reconcile(a); len(got) != 0 {
		t.Errorf("one office with itself: %v", got)
	}
	if got := oversight.Reconcile(nil, nil); len(got) != 0 {
		t.Errorf("nothing: %v", got)
	}
	// Two ledgers that follow one decision on a third.
	v := *a
	v.Genesis, v.Ledger = entry.GenesisHash{5}.String(), "Vehicle"
	v.Legs = slices.Clone(a.Legs)
	v.Legs[0].Ledger, v.Legs[0].Hold = v.Genesis, entry.HoldID{Tx: entry.ID{7}}.String()
	if got := a.Reconcile(&v); len(got) != 0 {
		t.Errorf("both posted: %v", got)
	}
	v.Legs[0].State = oversight.Voided
	if got := discords(a.Reconcile(&v)); got != fmt.Sprint([]oversight.Discord{oversight.OutcomesDiffer}) {
		t.Errorf("one posted, one voided: %s", got)
	}
	v.Legs[0].State = oversight.Pending
	if got := a.Reconcile(&v); len(got) != 0 {
		t.Errorf("one waits: %v", got)
	}
	v.Legs[0].State = oversight.Voided
	if d := a.Reconcile(&v)[0]; d.Hold != x.ha.String() || d.There != v.Legs[0].Hold || !strings.Contains(d.String(), "outcomes_differ: hold "+d.Hold) {
		t.Errorf("%s", d)
	}
}
