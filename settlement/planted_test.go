package settlement_test

import (
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/zk"
)

// TestPlantedBugsOfHoldsAreReachable does what each bug lets through, on ledgers
// with and without it: the simulation must be able to meet it.
func TestPlantedBugsOfHoldsAreReachable(t *testing.T) {
	attested := func(t *testing.T, bugs planted.Set) *escrow {
		b := ledgertest.NewBed(1)
		b.State = b.State.Planted(bugs)
		e := newEscrow(t, b, nil)
		wantAccepted(t, e.Submit(e.attests(0), e.attests(1))...)
		return e
	}
	crossing := func(t *testing.T, bugs planted.Set) *crossing {
		w := newWorld(t, 1)
		w.A().State, w.B.State = w.A().State.Planted(bugs), w.B.State.Planted(bugs)
		return w.plan(largeClass)
	}
	for name, c := range map[string]struct {
		bug  planted.Bug
		code entry.Code // without the bug
		do   func(t *testing.T, bugs planted.Set) settlement.Result
	}{
		"posted twice": {planted.HoldPostedTwice, entry.HoldResolved, func(t *testing.T, bugs planted.Set) settlement.Result {
			e := attested(t, bugs)
			again := e.post()
			again.ExpiryMillis++
			wantAccepted(t, e.Submit(e.post())...)
			return e.Submit(again)[0]
		}},
		"posted at its expiry": {planted.PostAfterExpiry, entry.HoldExpired, func(t *testing.T, bugs planted.Set) settlement.Result {
			e := attested(t, bugs)
			e.Now = e.rule.Until
			return e.Submit(e.post())[0]
		}},
		"voided before its expiry": {planted.VoidBeforeExpiry, entry.HoldNotExpired, func(t *testing.T, bugs planted.Set) settlement.Result {
			e := attested(t, bugs)
			e.Now = e.rule.Until - 1
			return e.Submit(e.expire())[0]
		}},
		"one attestor counts twice": {planted.AttestationCountedTwice, entry.HoldNotReady, func(t *testing.T, bugs planted.Set) settlement.Result {
			b := ledgertest.NewBed(1)
			b.State = b.State.Planted(bugs)
			e := newEscrow(t, b, nil)
			again := e.attests(0)
			again.ExpiryMillis++
			e.Submit(e.attests(0), e.resign(again))
			return e.Submit(e.post())[0]
		}},
		"cap at admission only": {planted.CapAtAdmissionOnly, entry.CorridorCap, func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs)
			var all []any
			for range corridorCap/largeClass + 1 {
				all = append(all, c.plan(largeClass).onB)
			}
			return c.B.Submit(all...)[len(all)-1]
		}},
		"in flight for ever": {planted.InFlightNotReleased, "", func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs)
			var r settlement.Result
			for range corridorCap/largeClass + 1 {
				next := c.plan(largeClass)
				r = c.B.Submit(next.onB)[0]
				c.advance(crossMillis)
				if void := next.void(); r.Status == settlement.Accepted {
					wantAccepted(t, c.B.Submit(void)...)
				}
			}
			return r
		}},
		"follower pays another commitment": {planted.PeerCommitmentNotCompared, entry.PeerMismatch, func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs).lockB(t)
			c.on[0].Legs[0].Commitments[0] = zk.Commitment(c.B.Rand.Field())
			return c.A().Submit(c.ready(0))[0]
		}},
		"decider pays for another commitment": {planted.PeerCommitmentNotCompared, entry.PeerMismatch, func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs)
			c.A().State = c.A().State.Planted(planted.Of(planted.PeerCommitmentNotCompared)) // A's ledger lies in any case
			c.lockB(t)
			c.on[0].Legs[0].Commitments[0] = zk.Commitment(c.B.Rand.Field())
			c.accept(t, c.A(), c.ready(0))
			c.observe(t, c.B, c.A())
			return c.B.Submit(c.decision())[0]
		}},
		"posts though another is named": {planted.NamingNotCompared, entry.PeerMismatch, func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs).lockB(t)
			twin := c.A().Holding(largeClass, c.there)
			twin.Legs[0].Commitments[0] = c.here.Followers[0].Commitment
			twin.Legs[0].Peer = c.B.Proof(c.b.Tx)
			c.accept(t, c.A(), c.ready(0), c.A().Prove(twin))
			c.observe(t, c.B, c.A())
			id := c.decided(t, c.decision())
			c.ids[0] = twin.HoldID(0)
			return c.A().Submit(c.follow(0, entry.Posted, id))[0]
		}},
		"follower voids by its clock": {planted.FollowerVoidsByClock, entry.OutcomeInvalid, func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs).lock(t)
			c.advance(c.here.Until - c.A().Now)
			return c.A().Submit(c.A().Resolution(c.ids[0], entry.Voided, entry.ReasonExpired))[0]
		}},
		"posts while frozen": {planted.PostsWhileFrozen, entry.CorridorFrozen, func(t *testing.T, bugs planted.Set) settlement.Result {
			c := crossing(t, bugs).lock(t)
			c.accept(t, c.B, c.B.FreezeCorridor(c.A(), true))
			return c.B.Submit(c.decision())[0]
		}},
	} {
		t.Run(name, func(t *testing.T) {
			right, wrong := c.do(t, planted.Set{}), c.do(t, planted.Of(c.bug))
			if c.code == "" { // the bug refuses what is right
				right, wrong = wrong, right
				c.code = entry.CorridorCap
			}
			wantCode(t, right, c.code)
			wantAccepted(t, wrong)
		})
	}
	for _, early := range []bool{false, true} {
		b := ledgertest.NewBed(1)
		if early {
			b.State = b.State.Planted(planted.Of(planted.HoldPlacedEarly))
		}
		e := newEscrow(t, b, nil)
		if placed := placedIn(last(b)); (placed[0] == e.tx.Legs[0].Commitments[0]) != early {
			t.Errorf("planted %v, the hold placed %v", early, placed)
		}
	}
}
