package model

import (
	"strings"
	"testing"
)

// caught searches a world with a flaw in it. The search must find it, and the history must replay: it ends in the violation and is
// clean before.
func caught(t *testing.T, c Config, kind string) []state {
	t.Helper()
	w := &bridge{c}
	r, err := Search(w, 8<<20)
	if err != nil {
		t.Fatal(err)
	}
	if r.Violation == nil {
		t.Fatalf("nothing is wrong in %v", r)
	}
	t.Logf("%v\n%v", r, r.Violation)
	if r.Violation.Kind != kind {
		t.Fatalf("found %q, want %q", r.Violation.Kind, kind)
	}
	states, err := Replay(w, r.Violation.Trace)
	if err != nil {
		t.Fatal(err)
	}
	last := len(states) - 1
	for i, s := range states[:last] {
		if broken := w.Broken(s); broken != "" {
			t.Errorf("the history breaks %q at step %d already", broken, i)
		}
	}
	if broken := w.Broken(states[last]); broken != kind && (broken != "" || kind != NeverResolved && kind != NeverPosted) {
		t.Errorf("the history ends in %q, want %q", broken, kind)
	}
	return states
}

// With hash locks and two time-outs nobody lies, clocks agree, and a provider that sleeps past its time-out has paid for nothing.
func TestHashLockIsCaught(t *testing.T) {
	c := hop("hash lock", func(c *Config) {
		c.DeciderHolds, c.FollowerHolds, c.Variant, c.Lockstep = 1, [2]uint8{1}, HashLock, true
	})
	states := caught(t, c, ProviderUnpaid)
	last := states[len(states)-1]
	if last.wealth[ledgerB][to] != 1 || last.wealth[ledgerB][from] != 0 || last.wealth[ledgerA][to] != 0 || last.wealth[ledgerA][from] != 1 {
		t.Errorf("in the end B has %v and A has %v", last.wealth[ledgerB], last.wealth[ledgerA])
	}
	// With clocks that drift it is enough that one of them is slow.
	c.Lockstep = false
	caught(t, c, ProviderUnpaid)
}

// With a time-out on the sender's ledger the payer has its money back although the payee is paid, however well the clocks agree.
func TestSenderTimeoutIsCaught(t *testing.T) {
	c := hop("sender-side time-out", func(c *Config) { c.Variant, c.Lockstep = SenderTimeout, true })
	states := caught(t, c, ProviderUnpaid)
	last := states[len(states)-1]
	if last.wealth[ledgerB][to] != 1 || last.wealth[ledgerA][from] != 1 {
		t.Errorf("in the end B has %v and A has %v", last.wealth[ledgerB], last.wealth[ledgerA])
	}
}

// There is worse to come in that world: one note pays the payee twice.
func TestSenderTimeoutPaysTwice(t *testing.T) {
	c := hop("sender-side time-out", func(c *Config) { c.Variant, c.Lockstep = SenderTimeout, true })
	const kind = "the payee is paid twice from one note"
	w := judged{&bridge{c}, func(s state) string {
		if s.wealth[ledgerB][to] == 2 {
			return kind
		}
		return ""
	}}
	r, err := Search(w, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	if r.Violation == nil || r.Violation.Kind != kind {
		t.Fatalf("found %v in %v", r.Violation, r)
	}
	t.Log(r.Violation)
	// In our protocol a payer with one note, and without lies, cannot.
	c.Variant = OneDecides
	w.World = &bridge{c}
	if r, err = Search(w, 1<<20); err != nil || r.Violation != nil {
		t.Fatal(err, r.Violation)
	}
}

// judged is a world with another judge.
type judged struct {
	World[state]
	broken func(state) string
}

func (w judged) Broken(s state) string { return w.broken(s) }

func TestMissingRuleIsCaught(t *testing.T) {
	lyingPayer := func(c *Config) { c.LyingPayer = true }
	lyingLast := func(c *Config) { c.LyingLast = true }
	honest := func(*Config) {}
	dead := func(c *Config) { c.DeciderHolds, c.Expiry, c.Freezing, c.Death = 1, [2]uint8{2}, true, true }
	for _, c := range []struct {
		name    string
		without Rules
		world   Config
		kind    string
	}{
		{"the decider posts without the follower's hold", PostsWithoutProof, hop("", honest), ProviderUnpaid},
		{"the decider takes a hold that names another", ForeignHoldProves, hop("", lyingPayer), OneSide},
		{"commitments are not compared", DeciderComparesNothing | FollowerComparesNothing, hop("", lyingPayer), ProviderUnpaid},
		{"a hold is accepted without the one it names", AcceptedWithoutDecider, hop("", func(c *Config) { c.LyingPayer, c.Expiry, c.Until = true, [2]uint8{1, 1}, 1 }), NeverResolved},
		{"the follower ignores which hold was named", NamedHoldIgnored, hop("", lyingPayer), OneSide},
		{"the follower voids on another hold's proof", OtherDecisionVoids, hop("", honest), ProviderUnpaid},
		{"the follower posts on another hold's proof", OtherDecisionPosts, hop("", lyingLast), OneSide},
		{"the follower takes a decision without proof", DecisionUnproven, hop("", honest), PayerUnserved},
		{"the decider voids before expiry", VoidedBeforeExpiry, hop("", honest), Untimely},
		{"the decider posts after expiry", PostedAfterExpiry, hop("", honest), Untimely},
		{"the decider posts after expiry, and voids as well", PostedAfterExpiry | ResolvedTwice, hop("", honest), TwiceResolved},
		{"the decider never expires", NeverExpires, hop("", honest), NeverResolved},
		{"a hold is resolved twice", ResolvedTwice, hop("", honest), TwiceResolved},
		{"an override without a freeze", OverrideWithoutFreeze, hop("", dead), OneSide},
		{"an override posts the decider's hold", OverridePostsDecider, hop("", dead), ProviderUnpaid},
		{"treasuries override a live decider unread", DecisionUnread, hop("", dead), OneSide},
		{"a frozen decider does not void", FrozenNeverVoids, hop("", dead), NeverResolved},
		{"the payer believes the acceptance", AcceptanceBelieved, hop("", lyingLast), PayerUnserved},
		{"the payer pays again from another note", PaysFromAnotherNote, hop("", honest), PayerTwice},
		{"the first provider believes the list", ListBelieved, vehicle("", func(c *Config) { c.LyingPayer, c.LyingLast = true, true }), FirstUnpaid},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.Without = c.without
			caught(t, c.world, c.kind)
		})
	}
}

// The hold that a provider loses to a time-out is told in words that name who did what.
func TestHistoryIsReadable(t *testing.T) {
	c := hop("", func(c *Config) {
		c.DeciderHolds, c.FollowerHolds, c.Variant, c.Lockstep = 1, [2]uint8{1}, HashLock, true
	})
	r, err := Search(&bridge{c}, 1<<20)
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"A logs a hold by the payer", "the payee reveals the secret", "all clocks tick", "its own time-out has passed"} {
		if !strings.Contains(r.Violation.String(), want) {
			t.Errorf("nothing says %q in\n%v", want, r.Violation)
		}
	}
}
