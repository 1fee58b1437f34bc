package entry

import (
	"strconv"
	"strings"
)

func describeDocument(line func(string, ...any), e *Document) {
	switch e.Action {
	case Supersedes:
		line("Anchor document %q, %s, in place of another, which is void from then on.", e.Label, e.Type)
		line("  SHA-256 %x", e.Digest)
		line("  in place of SHA-256 %x", e.Former)
	case Revokes:
		line("Revoke document %q, %s: it is void from then on, and cannot be anchored again.", e.Label, e.Type)
		line("  SHA-256 %x", e.Digest)
	default:
		line("Anchor document %q, %s.", e.Label, e.Type)
		line("  SHA-256 %x", e.Digest)
	}
}

// describeCorridor prints every term: whoever signs them decides what their ledger believes about another nation's.
func describeCorridor(line func(string, ...any), e *Corridor) {
	switch e.Action {
	case CorridorFreezes:
		line("Freeze the corridor to ledger %s: no new payment crosses.", e.Peer)
		line("  what this ledger decides is returned when it expires; what follows that ledger waits for a thaw or an override")
		return
	case CorridorThaws:
		line("Thaw the corridor to ledger %s: payments cross again.", e.Peer)
		line("  evidence against that ledger stays booked; be sure that it has one history")
		return
	}
	t := e.Terms
	line("Open the corridor to ledger %s, or replace its terms by these:", e.Peer)
	line("  peer %q, log %s", t.Name, t.Origin)
	line("  log key %s", t.LogKey)
	n, k := len(t.Witnesses), int(t.Quorum)
	line("  believed when %d of %d witnesses cosigned, at least one of ours among them; at most %d may collude", k, n, t.Faulty)
	line("  smallest set of witnesses that could cosign two histories: %d", 2*k-n)
	for _, w := range t.Witnesses {
		whose := "not ours"
		if w.Own {
			whose = "OURS"
		}
		line("    witness %s, key %s, %s", w.Name, w.Key, whose)
	}
	line("  in flight at most %d minor units of any currency", t.Cap)
	classes := make([]string, len(t.SizeClasses))
	for i, c := range t.SizeClasses {
		classes[i] = strconv.FormatUint(c, 10)
	}
	line("  size classes, minor units: %s", strings.Join(classes, ", "))
	line("  stale, so that no new payment crosses, %d ms after the last observation", t.StaleMillis)
	line("  the peer's treasury, which joins an override with %d of these %d signers:", t.Treasury.Threshold, len(t.Treasury.Signers))
	for i, s := range t.Treasury.Signers {
		line("    signer %d, key %s", i, s)
	}
}

// describeOverride is plain about what can go wrong: nothing else in the protocol lets people decide in place of a ledger.
func describeOverride(line func(string, ...any), e *Override) {
	line("OVERRIDE: DECIDE A PAYMENT BY HAND, IN PLACE OF LEDGER %s.", e.Peer)
	line("  hold %s", e.Hold)
	if e.Outcome == Posted {
		line("  POSTED: the payee is paid, and the payer does not get the money back")
	} else {
		line("  VOIDED: the payer gets the money back, and the payee is not paid")
	}
	line("  commitment %s is placed", e.Commitment)
	line("  IT CANNOT BE UNDONE. IF THAT LEDGER DECIDED OTHERWISE, OR STILL DOES, ONE SIDE LOSES THE WHOLE AMOUNT:")
	line("  the difference is then a claim between the two treasuries, and no ledger pays it.")
	line("  Sign only if that ledger is dead for good or proven to lie, and both treasuries agree on what it decided.")
	line("  Needed: this ledger's policy, the treasury of the other ledger, and this ledger's oversight office.")
}
