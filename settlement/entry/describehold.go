package entry

import "fmt"

// describeCondition says what a hold waits for.
func describeCondition(line func(string, ...any), leg *Leg) {
	c, err := leg.Condition.Decode()
	if err != nil {
		line("  held under a condition that cannot be read: %v", err)
		return
	}
	switch c := c.(type) {
	case *Attested:
		line("  held until %d of %d attestors log a %s of %s", c.Threshold, len(c.Attestors), c.Statement, describeDigest(c.Document))
		for i, k := range c.Attestors {
			line("    attestor %d, key %s", i, k)
		}
		if c.WindowMillis != 0 {
			line("  the payer may challenge within %d ms after that; then %d attestors are needed", c.WindowMillis, c.Contested)
			line("    payer's key %s", c.Payer)
		}
		if c.Payee != (SignerKey{}) {
			line("  the payee may give it up with key %s", c.Payee)
		}
		line("  returned to the payer from %s", formatMillis(c.Until))
	case *DecidedHere:
		line("  held until %d other ledger(s) log their holds; size class %d minor units", len(c.Followers), leg.SizeClass)
		for _, f := range c.Followers {
			line("    ledger %s, commitment %s", f.Ledger, f.Commitment)
		}
		line("  returned to the payer from %s", formatMillis(c.Until))
	case *DecidedThere:
		line("  held until ledger %s decides hold %s, which expires there at %s; size class %d minor units", c.Ledger, c.Hold, formatMillis(c.Until), leg.SizeClass)
	}
}

func describeDigest(d [32]byte) string {
	if d == ([32]byte{}) {
		return "a document that the attestors agree on"
	}
	return fmt.Sprintf("the document with SHA-256 %x", d)
}

// describeHoldEntry is for *Resolve, *Attest and *Amend.
func describeHoldEntry(line func(string, ...any), e Entry) {
	switch e := e.(type) {
	case *Resolve:
		who := "the payee is paid"
		if e.Outcome == Voided {
			who = "the payer has its money back"
		}
		line("Hold %s is %s (%s): %s.", e.Hold, e.Outcome, e.Reason, who)
		line("  commitment %s is placed", e.Commitment)
		for _, n := range e.Named {
			line("  with hold %s of ledger %s", n.Hold, n.Ledger)
		}
	case *Attest:
		switch e.Action {
		case Challenges:
			line("Challenge hold %s as its payer: more attestors are needed.", e.Hold)
		case Withdraws:
			line("Withdraw the %s that attestor %d logged for hold %s.", e.Statement, e.Attestor, e.Hold)
			line("  document with SHA-256 %x", e.Document)
		default:
			line("Attest a %s for hold %s, as attestor %d.", e.Statement, e.Hold, e.Attestor)
			line("  document with SHA-256 %x", e.Document)
		}
	case *Amend:
		line("Change the expiry of hold %s: returned to the payer from %s.", e.Hold, formatMillis(e.Until))
	}
}
