package model

// hashLock is the planted protocol: everybody is honest. The payer locks on A, the provider locks on B when it sees that, the payee
// opens B with the secret, which anybody can then read there, and the provider opens A with it. Each side voids by its own clock, A
// one tick after B.
func (w *bridge) hashLock(s state, yield func(Label, state)) {
	const f = 0
	a, b := &s.fol[f][0], &s.dec[0]
	expiryB, expiryA := w.Expiry[0], w.Expiry[0]+1
	if a.form == absent && s.clock[ledgerA] < expiryA {
		t := s
		t.fol[f][0] = followed{form: right}
		t.wealth[ledgerA][from]--
		yield(Label{Do: doPlaceF, X: right}, t)
	}
	if a.open() && b.form == absent && s.clock[ledgerB] < expiryB {
		t := s
		t.dec[0] = decided{form: right}
		t.wealth[ledgerB][from]--
		yield(Label{Do: doPlaceB, Y: right}, t)
	}
	if b.open() {
		if s.clock[ledgerB] < expiryB {
			t := s
			t.dec[0].named[f] = 1 // the same hash is the link
			t.postDecider(0)
			yield(Label{Do: doReveal}, t)
		} else {
			t := s
			t.voidDecider(0)
			yield(Label{Do: doVoidB, Fair: true}, t)
		}
	}
	if a.open() {
		if s.clock[ledgerA] >= expiryA {
			w.resolveFollower(s, f, 0, voiding, Label{Do: doTimeout, Fair: true}, yield)
		} else if b.posted != 0 {
			w.resolveFollower(s, f, 0, posting, Label{Do: doRedeem}, yield)
		}
	}
}
