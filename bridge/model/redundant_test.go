package model

import "testing"

// Rules that guard against what this model leaves out, or that a second rule backs up: without one of them the worlds still hold.
// They are listed so that nobody takes the model for a proof that they are needed.
func TestRuleThatAnotherBacksUp(t *testing.T) {
	lyingPayer := hop("", func(c *Config) { c.LyingPayer, c.Expiry, c.Until = true, [2]uint8{1, 1}, 1 })
	frozen := hop("", func(c *Config) {
		c.DeciderHolds, c.Expiry, c.Until = 1, [2]uint8{1}, 1
		c.LyingPayer, c.Staleness, c.Freezing = true, true, true
	})
	for _, c := range []struct {
		name    string
		without Rules
		world   Config
		idle    bool // with the other rule in place this one never has to refuse anything
	}{
		// The follower refuses what the decider does not list, so nothing else can be proven to the decider.
		{"the decider compares no commitments", DeciderComparesNothing, lyingPayer, true},
		// What the follower lets in, the decider does not post on: it is voided in the end.
		{"the follower compares no commitments", FollowerComparesNothing, lyingPayer, false},
		// A hold that comes too late is voided at once by the decider's voiding.
		{"the follower accepts after expiry", AcceptedAfterExpiry, lyingPayer, false},
		// Freezing guards against a peer that lies, and staleness bounds what is in flight meanwhile. No ledger lies here.
		{"a frozen decider posts", FrozenPosts, frozen, false},
		{"a stale corridor takes holds", StalePlaces, frozen, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			c.world.Without = c.without
			r, err := Search(&bridge{c.world}, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			if r.Violation != nil {
				t.Fatal(r.Violation)
			}
			with := c.world
			with.Without = 0
			all, err := Search(&bridge{with}, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			if forbids := r.Steps > all.Steps; forbids == c.idle {
				t.Errorf("without the rule %v, with it %v", r, all)
			}
		})
	}
}
