package bridge

import (
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// DefaultMarginMillis is how far ahead the expiry of the deciding hold must be for anybody to place a hold that follows it (B5.3).
const DefaultMarginMillis = 10_000

// Deciding is a hold that decides, as its ledger's log shows it.
type Deciding struct {
	Ledger     entry.GenesisHash
	Hold       entry.HoldID
	Commitment zk.Commitment // of the payee's output
	SizeClass  uint64
	Until      uint64 // in the ledger's time, milliseconds
	Followers  []entry.Follower
}

// ReadDeciding reads a deciding hold from the leaf that placed it. That the leaf is in the ledger's log, under a cosigned checkpoint, is for the
// caller to have checked. It refuses condition_mismatch for a leaf that is anything else.
func ReadDeciding(ledger entry.GenesisHash, id entry.HoldID, leaf []byte) (*Deciding, error) {
	tx, err := entry.DecodeTransaction(leaf)
	if err != nil {
		return nil, Refuse(ConditionMismatch, "the leaf is no transaction: %v", err)
	}
	if tx.Ledger != ledger || tx.ID() != id.Tx || int(id.Leg) >= len(tx.Legs) {
		return nil, Refuse(ConditionMismatch, "the leaf does not hold %s of ledger %s", id, ledger)
	}
	leg := &tx.Legs[id.Leg]
	if leg.Circuit != zk.Hold {
		return nil, Refuse(ConditionMismatch, "leg %d holds nothing", id.Leg)
	}
	c, err := leg.Condition.Decode()
	if err != nil {
		return nil, Refuse(ConditionMismatch, "%v", err)
	}
	here, ok := c.(*entry.DecidedHere)
	if !ok {
		return nil, Refuse(ConditionMismatch, "hold %s decides nothing for others", id)
	}
	return &Deciding{ledger, id, leg.Commitments[0], leg.SizeClass, here.Until, here.Followers}, nil
}

// lists tells whether the hold waits for that commitment on that ledger.
func (d *Deciding) lists(f entry.Follower) bool { return slices.Contains(d.Followers, f) }

// checkUntil holds the expiry against a clock: at least a margin ahead, and not further than most (B5.3).
func (d *Deciding) checkUntil(c Clock, marginMillis, mostMillis uint64) error {
	now := c.latest()
	if d.Until < marginMillis || now > d.Until-marginMillis {
		return Refuse(ExpiryTooNear, "it expires at %d, now is %d, the margin %d ms", d.Until, now, marginMillis)
	}
	if d.Until-now > mostMillis {
		return Refuse(ExpiryTooFar, "it expires at %d, now is %d, agreed were %d ms", d.Until, now, mostMillis)
	}
	return nil
}

// Clock is what time it is: the caller's own clock, and the deciding ledger's time as its log last showed it. Both are Unix milliseconds.
type Clock struct{ Now, Decider uint64 }

// latest is the later of the two: a ledger's time rests while it is idle, and a clock may be behind.
func (c Clock) latest() uint64 { return max(c.Now, c.Decider) }

// Placing is a hold to be placed by a wallet. Quote, or the payment's id, is the wallet's order id, so that a wallet asked twice places once.
type Placing struct {
	Ledger    entry.GenesisHash
	Money     Money
	Payee     Address
	Condition entry.Condition
	SizeClass uint64
	Until     uint64 // of the deciding hold; the transaction that places must expire no later
}

// ClassFor gives the smallest class of an ascending list that covers the amount, or size_class_missing (B2.5).
func ClassFor(classes []uint64, amount zk.Amount) (uint64, error) {
	for _, c := range classes {
		if c >= uint64(amount) {
			return c, nil
		}
	}
	return 0, Refuse(SizeClassMissing, "no class of %d covers %d", len(classes), amount)
}
