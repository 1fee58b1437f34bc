package entry

import (
	"fmt"
	"strings"

	"github.com/comity-ledger/comity/zk"
)

// Describe says in plain lines what an entry does, for the person who signs it. It reads the entry and genesis alone, so that two
// signers on two machines see the same lines. What proofs hide is said to be hidden.
func Describe(e Entry, g *Genesis) []string {
	var out []string
	line := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	switch e := e.(type) {
	case *Transaction:
		for i := range e.Legs {
			describeLeg(line, &e.Legs[i], g)
		}
	case *Register:
		line("Register %d owner(s); known owners get the new limit and rights in place of the old:", len(e.Owners))
		for i := range e.Owners {
			o := &e.Owners[i]
			line("  owner %s, at most %d minor units per leg, %s", o.Owner, uint64(o.Limit), describeRights(o.Rights))
		}
	case *Freeze:
		if e.Frozen {
			line("Freeze owner %s: it cannot spend; payments under older registry roots must be proven again.", e.Owner)
		} else {
			line("Release owner %s from its freeze: it can spend again.", e.Owner)
		}
	case *Programme:
		state := "open"
		if e.Status == StatusClosed {
			state = "closed: nothing new is issued into it"
		}
		line("Programme %d %q, %s.", uint64(e.Programme), e.Name, state)
		line("  reader key %x can read every leg that spends this programme's money", e.Reader.Bytes())
	case *Oversight:
		line("Begin oversight epoch %d.", e.Epoch)
		line("  oversight key %x can read every payment of the epoch", e.Key.Bytes())
	case *Resolve, *Attest, *Amend:
		describeHoldEntry(line, e)
	case *Document:
		describeDocument(line, e)
	case *Corridor:
		describeCorridor(line, e)
	case *Override:
		describeOverride(line, e)
	case *Close:
		describeClose(line, e)
	case *Observe:
		line("Record that ledger %s had %d log entries with the root %x.", e.Peer, e.Size, e.Root)
		for _, n := range e.Rotations {
			line("  its log key is handed over to %s, number %d in the chain", n.Key, n.Number)
		}
	case *Evidence:
		line("Show misbehaviour of ledger %s: %s, %d bytes. If it holds, the corridor to it is frozen, or a claim is booked.", e.Peer, e.Type, len(e.Data))
	case *Genesis:
		line("Genesis of %q, network %s, created %s.", e.Name, e.Network, formatMillis(e.CreatedMillis))
	case *State:
		line("State at height %d, ledger time %s.", e.Height, formatMillis(e.TimeMillis))
	}
	if h := e.Head(); h != nil {
		ledger := "ANOTHER LEDGER"
		if g.Hash() == h.Ledger {
			ledger = fmt.Sprintf("%q, network %s", g.Name, g.Network)
		}
		line("Ledger %s, genesis %s", ledger, h.Ledger)
		if e.Kind().Privileged() {
			line("Policy sequence number %d", h.Sequence)
		}
		line("Void from %s", formatMillis(h.ExpiryMillis))
		line("Kind %s, entry id %s", e.Kind(), IDOf(e))
	}
	return out
}

func describeLeg(line func(string, ...any), leg *Leg, g *Genesis) {
	programme := "no programme"
	if leg.Programme != 0 {
		programme = fmt.Sprintf("programme %d", uint64(leg.Programme))
	}
	switch {
	case leg.Issued != 0:
		line("Issue %s into %s; who receives it is hidden (%s proof).", describeAmount(leg.Issued, leg.Asset, g), programme, leg.Circuit)
	case leg.Redeemed != 0:
		line("Redeem %s from %s; who redeems it is hidden (%s proof).", describeAmount(leg.Redeemed, leg.Asset, g), programme, leg.Circuit)
	default:
		line("Move a hidden amount (%s proof).", leg.Circuit)
	}
	if leg.Circuit == zk.Hold {
		describeCondition(line, leg)
	}
}

func describeAmount(v zk.Amount, id zk.AssetID, g *Genesis) string {
	a, ok := g.Asset(id)
	if !ok {
		return fmt.Sprintf("%d minor units of unknown asset %d", uint64(v), uint32(id))
	}
	return v.Format(int(a.Decimals)) + " " + a.Code
}

func describeRights(rights []zk.Right) string {
	if len(rights) == 0 {
		return "no right over programmes"
	}
	var parts []string
	for _, r := range rights {
		what := "set and release"
		if !r.MayRelease {
			what = "set"
		} else if !r.MaySet {
			what = "release"
		}
		which := fmt.Sprintf("programme %d", uint64(r.Programme))
		if r.Wildcard {
			which = "every programme"
		}
		parts = append(parts, "may "+what+" "+which)
	}
	return strings.Join(parts, ", ")
}
