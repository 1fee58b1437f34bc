package model

import "testing"

func escrow(name string, change func(*Escrow)) Escrow {
	e := Escrow{Name: name, Attestors: 3, Threshold: 2, Contested: 3, Window: 1, Expiry: 4, Until: 5}
	change(&e)
	return e
}

var escrows = []Escrow{
	escrow("one of three attestors lies", func(e *Escrow) { e.Lying = 1 }),
	escrow("two lie and the payer may challenge", func(e *Escrow) { e.Lying = 3 }),
	escrow("all lie", func(e *Escrow) { e.Lying = 7 }),
	escrow("honest attestors err and withdraw", func(e *Escrow) { e.Lying, e.Mistakes = 1, true }),
	escrow("the expiry is amended", func(e *Escrow) { e.Lying, e.Amends, e.Expiry, e.Until = 1, true, 2, 3 }),
	escrow("a guarantee on demand", func(e *Escrow) {
		e.Attestors, e.Threshold, e.Contested, e.Window, e.Lying, e.Amends = 1, 1, 0, 0, 1, true
	}),
}

func TestEscrowHolds(t *testing.T) {
	for _, e := range escrows {
		t.Run(e.Name, func(t *testing.T) {
			r, err := Search(e, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			if r.Violation != nil {
				t.Fatal(r.Violation)
			}
			t.Log(r)
		})
	}
}

func TestMissingEscrowRuleIsCaught(t *testing.T) {
	oneLies := escrow("", func(e *Escrow) { e.Lying = 1 })
	twoLie := escrow("", func(e *Escrow) { e.Lying = 3 })
	amended := escrow("", func(e *Escrow) { e.Lying, e.Amends, e.Expiry, e.Until = 1, true, 2, 3 })
	for _, c := range []struct {
		name    string
		without EscrowRules
		world   Escrow
		kind    string
	}{
		{"an attestor counts twice", AttestorCountsTwice, oneLies, Undelivered},
		{"a withdrawn attestation counts", WithdrawnCounts, escrow("", func(e *Escrow) { e.Lying, e.Mistakes = 1, true }), TooFewStand},
		{"documents are not compared", DocumentsNotCompared, oneLies, TooFewStand},
		{"the window is ignored", WindowIgnored, oneLies, WindowCut},
		{"an interrupted window runs on", WindowKept, twoLie, WindowCut},
		{"a challenge is ignored", ChallengeIgnored, twoLie, Undelivered},
		{"a challenge after the window", ChallengeAfterWindow, oneLies, LateChallenge},
		{"it is posted after expiry", AttestedAfterExpiry, oneLies, Untimely},
		{"it is voided before expiry", ExpiredBefore, oneLies, Untimely},
		{"anybody releases it", ReleasedByAnybody, oneLies, Untimely},
		{"one signature amends", AmendedByOne, amended, Untimely},
		{"it is resolved twice", EscrowResolvedTwice, oneLies, TwiceResolved},
		{"it never expires", EscrowNeverExpires, oneLies, StaysOpen},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.world.Without = c.without
			r, err := Search(c.world, 4<<20)
			if err != nil {
				t.Fatal(err)
			}
			v := r.Violation
			if v == nil || v.Kind != c.kind {
				t.Fatalf("found %v, want %q", v, c.kind)
			}
			t.Log(v)
			states, err := Replay(c.world, v.Trace)
			if err != nil {
				t.Fatal(err)
			}
			for i, s := range states {
				broken := c.world.Broken(s)
				if last := i == len(states)-1; last && broken != c.kind && c.kind != StaysOpen || !last && broken != "" {
					t.Errorf("step %d of the history breaks %q", i, broken)
				}
			}
		})
	}
}
