package model

// Steps gives everything that can happen next. Ledgers judge what anybody submits: numbers L8 and L9 are rules of
// settlement/SPEC.md. A message, a proof or a checkpoint is never consumed: it may arrive twice, late, or never.
func (w *bridge) Steps(s state, yield func(Label, state)) {
	w.clocks(s, yield)
	w.observations(s, yield)
	if w.Variant == HashLock {
		w.hashLock(s, yield)
		return
	}
	if w.Freezing {
		w.freezes(s, yield)
	}
	w.providers(s, yield)
	for f := range w.Followers {
		w.senders(s, f, yield)
		w.follows(s, f, yield)
	}
	w.decides(s, yield)
	if w.Death {
		t := s
		t.dead = !s.dead
		do := uint8(doDie)
		if s.dead {
			do = doRevive
		}
		yield(Label{Do: do}, t)
	}
	if w.Freezing {
		w.overrides(s, yield)
	}
}

// clocks tick, each for itself. A clock that has stopped still makes observations old.
func (w *bridge) clocks(s state, yield func(Label, state)) {
	for l := range 1 + w.Followers {
		if l == ledgerB && s.dead {
			continue
		}
		t, changed := s, false
		for m := range 1 + w.Followers {
			if m != l && !w.Lockstep {
				continue
			}
			if t.clock[m] < w.Until {
				t.clock[m]++
				if m == ledgerB {
					t.log(tick)
				}
				changed = true
			}
			for f := range w.Followers {
				if !w.Staleness {
					continue
				}
				if m == ledgerB {
					changed = changed || !t.staleB[f]
					t.staleB[f] = true
				} else if m == 1+f {
					changed = changed || !t.staleF[f]
					t.staleF[f] = true
				}
			}
		}
		if changed {
			yield(Label{Do: doTick, On: uint8(l), Fair: true}, t)
		}
		if w.Lockstep {
			return
		}
	}
}

// observations (L9.4): any relayer brings any checkpoint that is not older than the last, of any age, frozen corridor or not. So a
// ledger may be arbitrarily slow to observe its peer, and an old checkpoint may look fresh. A size may be observed again, which stands
// for the state entries that the peer logs while nothing else happens.
func (w *bridge) observations(s state, yield func(Label, state)) {
	if s.dead {
		return
	}
	for f := range w.Followers {
		for n := s.posF[f]; n <= s.lenB; n++ {
			if n == s.posF[f] && !s.staleF[f] {
				continue
			}
			t := s
			t.posF[f], t.staleF[f] = n, false
			t.trim(w.Followers)
			yield(Label{Do: doObserveB, On: uint8(f), X: n - s.posF[f], Fair: true}, t)
		}
		for n := uint8(0); n <= s.lenF[f]; n++ {
			if n == 0 && !s.staleB[f] {
				continue
			}
			t := s
			t.staleB[f] = false
			t.lenF[f] = s.lenF[f] - n
			t.logF[f] = [2]uint8{}
			copy(t.logF[f][:], s.logF[f][n:s.lenF[f]])
			yield(Label{Do: doObserveF, On: uint8(f), X: n, Fair: true}, t)
		}
	}
}

// freezes: corridor entries (L9.2) and evidence (L9.8), at any time. Nobody is bound to thaw.
func (w *bridge) freezes(s state, yield func(Label, state)) {
	for f := range w.Followers {
		t := s
		t.frozenF[f] = !s.frozenF[f]
		do := uint8(doFreezeF)
		if s.frozenF[f] {
			do = doThawF
		}
		// An operator whose peer is dead freezes the corridor: an override needs it.
		yield(Label{Do: do, On: uint8(f), Fair: do == doFreezeF && s.dead}, t)
		if s.dead {
			continue
		}
		t = s
		t.frozenB[f] = !s.frozenB[f]
		do = doFreezeB
		if s.frozenB[f] {
			do = doThawB
		}
		yield(Label{Do: do, On: uint8(f)}, t)
	}
}

// providers: whoever pays the payee on B, and so places the deciding hold.
func (w *bridge) providers(s state, yield func(Label, state)) {
	if s.heardP != 0 {
		i := s.heardP - 1
		t := s
		t.heardP, t.signedP = 0, s.signedP|1<<i
		yield(Label{Do: doSignLast, X: i}, t)
		t = s
		t.heardP = 0
		yield(Label{Do: doCrashLast}, t)
	}
	for i := range w.DeciderHolds {
		d := &s.dec[i]
		if w.LyingLast {
			for _, form := range [...]uint8{right, wrongPayee, wrongListA, wrongListV} {
				if w.Followers == 2 || form != wrongListV {
					w.placeDecider(s, int(i), form, yield)
				}
			}
			continue
		}
		// A quote is used once: what is signed for it is journalled first, and signed again only as the same bytes.
		if s.heardP == 0 && s.signedP&(1<<i) == 0 {
			t := s
			t.heardP = i + 1
			yield(Label{Do: doHearLast, X: i}, t)
		}
		if s.signedP&(1<<i) != 0 && d.form == absent {
			w.placeDecider(s, int(i), right, yield)
		}
	}
}

// placeDecider: B logs a hold that is decided here, if its expiry is ahead (L8.2) and every corridor takes new holds (L9.6).
func (w *bridge) placeDecider(s state, i int, form uint8, yield func(Label, state)) {
	if s.dead || s.dec[i].form != absent || s.clock[ledgerB] >= w.Expiry[i] || s.wealth[ledgerB][from] == 0 {
		return
	}
	for f := range w.Followers {
		if s.frozenB[f] || s.staleB[f] && !w.Without.has(StalePlaces) {
			return
		}
	}
	s.dec[i].form = form
	s.wealth[ledgerB][from]--
	s.log(placedB + uint8(i))
	yield(Label{Do: doPlaceB, X: uint8(i), Y: form}, s)
}

// senders: the payer on A, the first provider on V.
func (w *bridge) senders(s state, f int, yield func(Label, state)) {
	j := s.slot(f, w.FollowerHolds[f])
	if w.lies(f) {
		if j >= 0 {
			for _, form := range [...]uint8{right, wrongPayee} {
				for names := range uint8(elsewhere + 1) {
					w.placeFollower(s, f, form, names, bySender, yield)
				}
			}
		}
	} else {
		w.honestSender(s, f, yield)
	}
	if j >= 0 && w.strangers() {
		for i := range w.DeciderHolds {
			w.placeFollower(s, f, right, i, byStranger, yield)
		}
	}
}

// honestSender pays once. It signs for a decider's hold that it has read in B's log and checked, and builds another transaction only
// from the same note, or after its hold was voided (wallets W3.3). What it signed is in the journal and may be logged at any time.
func (w *bridge) honestSender(s state, f int, yield func(Label, state)) {
	note := 0 // how many notes it has spent on this payment
	waiting := false
	for j := range s.fol[f] {
		if h := &s.fol[f][j]; h.form != absent && h.owner == bySender {
			note++
			waiting = waiting || h.voided == 0 && !w.Without.has(PaysFromAnotherNote)
		}
	}
	me := &s.send[f]
	if me.heard != 0 {
		i := me.heard - 1
		if !waiting && note < 2 {
			t := s
			t.send[f].heard = 0
			t.send[f].signed[note] |= 1 << i
			yield(Label{Do: doSign, On: uint8(f), X: i, Y: uint8(note)}, t)
		}
		t := s
		t.send[f].heard = 0
		yield(Label{Do: doCrash, On: uint8(f)}, t)
	}
	if waiting || note >= int(w.FollowerHolds[f]) {
		return
	}
	for i := range w.DeciderHolds {
		if me.heard == 0 && me.signed[note]&(1<<i) == 0 && w.acceptable(&s, f, int(i)) {
			t := s
			t.send[f].heard = i + 1
			yield(Label{Do: doHear, On: uint8(f), X: i}, t)
		}
		if me.signed[note]&(1<<i) != 0 {
			w.placeFollower(s, f, right, i, bySender, yield)
		}
	}
}

// acceptable: what a sender asks of a decider's hold before it signs: the hold is open in B's log, its opening is the quoted payee and
// amount (the payer asks that), and it lists the commitments whose openings the sender has.
func (w *bridge) acceptable(s *state, f, i int) bool {
	d := &s.dec[i]
	if f == 0 && w.Without.has(AcceptanceBelieved) || f == 1 && w.Without.has(ListBelieved) {
		return d.form != absent
	}
	if s.dead || !d.open() || s.clock[ledgerB] >= w.Expiry[i] {
		return false
	}
	if f == 0 {
		return d.form != wrongPayee && d.form != wrongListA
	}
	return d.form != wrongListA && d.form != wrongListV
}

// placeFollower: a follower logs a hold that is decided there (L8.3), if the corridor takes new holds (L9.6).
func (w *bridge) placeFollower(s state, f int, form, names, owner uint8, yield func(Label, state)) {
	j := s.slot(f, w.FollowerHolds[f])
	purse := [...]int{bySender: from, byStranger: nowhere}[owner]
	if j < 0 || s.wealth[1+f][purse] == 0 {
		return
	}
	if names != elsewhere {
		if names >= w.DeciderHolds || s.frozenF[f] || s.staleF[f] && !w.Without.has(StalePlaces) {
			return
		}
		d := &s.dec[names]
		// L8.3: the named hold is logged on the decider, under a size that this ledger has observed (L9.5),
		if !w.Without.has(AcceptedWithoutDecider) {
			if d.form == absent || !s.observedB(f, placedB+names) {
				return
			}
			// lists this ledger with this very commitment,
			if lists(d, f) != form && !w.Without.has(FollowerComparesNothing) {
				return
			}
		}
		// and is unexpired, by what is known of the decider's clock and by the own one.
		if e := w.Expiry[names]; (e <= s.peerTime(f) || e <= s.clock[1+f]) && !w.Without.has(AcceptedAfterExpiry) {
			return
		}
	}
	s.fol[f][j] = followed{form: form, names: names, owner: owner}
	s.wealth[1+f][purse]--
	s.logF[f][s.lenF[f]] = uint8(j)
	s.lenF[f]++
	yield(Label{Do: doPlaceF, On: uint8(f), X: form, Y: names, Z: owner}, s)
}

// decides: B posts on its followers' holds and voids by its own clock. Relayers bring any hold of any follower, or none.
func (w *bridge) decides(s state, yield func(Label, state)) {
	if s.dead {
		return
	}
	for i := range int(w.DeciderHolds) {
		second := uint8(0)
		if w.Followers == 2 {
			second = w.FollowerHolds[1]
		}
		for y := range w.FollowerHolds[0] + 1 {
			for z := range second + 1 {
				if named := [2]uint8{y, z}; w.mayPost(&s, i, named) {
					t := s
					d := &t.dec[i]
					d.named, d.untimely = named, d.untimely || s.clock[ledgerB] >= w.Expiry[i]
					t.postDecider(i)
					yield(Label{Do: doPostB, X: uint8(i), Y: y, Z: z, Fair: true}, t)
				}
			}
		}
		if w.mayVoid(&s, i) {
			t := s
			t.dec[i].untimely = t.dec[i].untimely || s.clock[ledgerB] < w.Expiry[i]
			t.voidDecider(i)
			yield(Label{Do: doVoidB, X: uint8(i), Fair: true}, t)
		}
	}
}

func (s *state) postDecider(i int) {
	d := &s.dec[i]
	d.posted++
	if d.form == wrongPayee {
		s.wealth[ledgerB][nowhere]++
	} else {
		s.wealth[ledgerB][to]++
	}
	s.log(postedB + uint8(i))
}

func (s *state) voidDecider(i int) {
	s.dec[i].voided++
	s.wealth[ledgerB][from]++
	s.log(voidedB + uint8(i))
}

// mayPost (L8.10): the decider posts hold i on proof of the holds named[f]-1 of its followers, before its expiry (L8.5), in corridors
// that are not frozen.
func (w *bridge) mayPost(s *state, i int, named [2]uint8) bool {
	d := &s.dec[i]
	if !w.unresolved(d.form, d.posted+d.voided) {
		return false
	}
	if s.clock[ledgerB] >= w.Expiry[i] && !w.Without.has(PostedAfterExpiry) {
		return false
	}
	for f := range w.Followers {
		if s.frozenB[f] && !w.Without.has(FrozenPosts) {
			return false
		}
		if named[f] == 0 {
			if !w.Without.has(PostsWithoutProof) {
				return false
			}
			continue
		}
		j := int(named[f]) - 1
		h := &s.fol[f][j]
		if h.form == absent || !s.observedF(f, j) {
			return false
		}
		if int(h.names) != i && !w.Without.has(ForeignHoldProves) {
			return false
		}
		if h.form != lists(d, f) && !w.Without.has(DeciderComparesNothing) {
			return false
		}
	}
	return true
}

// mayVoid (L8.5): at its expiry and later anybody voids the decider's hold, in a frozen corridor too.
func (w *bridge) mayVoid(s *state, i int) bool {
	d := &s.dec[i]
	if !w.unresolved(d.form, d.posted+d.voided) || w.Without.has(NeverExpires) {
		return false
	}
	if w.Without.has(FrozenNeverVoids) {
		for f := range w.Followers {
			if s.frozenB[f] {
				return false
			}
		}
	}
	return s.clock[ledgerB] >= w.Expiry[i] || w.Without.has(VoidedBeforeExpiry)
}

// unresolved: a hold is resolved once, by its key, as a note is spent once (L4.14).
func (w *bridge) unresolved(form, resolved uint8) bool {
	return form != absent && (resolved == 0 || resolved == 1 && w.Without.has(ResolvedTwice))
}

// follows: a follower posts and voids on its decider's decisions, never by its clock. Relayers bring any decision they have.
func (w *bridge) follows(s state, f int, yield func(Label, state)) {
	for j := range int(w.FollowerHolds[f]) {
		h := &s.fol[f][j]
		if !w.unresolved(h.form, h.posted+h.voided) {
			continue
		}
		if h.names == elsewhere {
			w.resolveFollower(s, f, j, posting, Label{Do: doOtherPosts, On: uint8(f), X: uint8(j)}, yield)
			w.resolveFollower(s, f, j, voiding, Label{Do: doOtherVoids, On: uint8(f), X: uint8(j)}, yield)
			continue
		}
		if w.Variant == SenderTimeout && s.clock[1+f] >= w.Expiry[h.names] {
			w.resolveFollower(s, f, j, voiding, Label{Do: doTimeout, On: uint8(f), X: uint8(j), Fair: true}, yield)
		}
		if s.frozenF[f] {
			continue // L8.11: it waits for thaw or override
		}
		for i := range int(w.DeciderHolds) {
			may := w.mayFollow(&s, f, j, i)
			if may&posting != 0 {
				w.resolveFollower(s, f, j, posting, Label{Do: doPostF, On: uint8(f), X: uint8(j), Y: uint8(i), Fair: true}, yield)
			}
			if may&voiding != 0 {
				w.resolveFollower(s, f, j, voiding, Label{Do: doVoidF, On: uint8(f), X: uint8(j), Y: uint8(i), Fair: true}, yield)
			}
		}
	}
}

// mayFollow (L8.11): what follower f may do with hold j on proof of the decision of decider hold i.
func (w *bridge) mayFollow(s *state, f, j, i int) (may uint8) {
	h, d := &s.fol[f][j], &s.dec[i]
	posted := d.posted != 0 && s.observedB(f, postedB+uint8(i))
	voided := d.voided != 0 && s.observedB(f, voidedB+uint8(i))
	if w.Without.has(DecisionUnproven) {
		return posting | voiding
	}
	own, names := int(h.names) == i, int(d.named[f]) == j+1
	if posted && (own && names || own && w.Without.has(NamedHoldIgnored) || !own && w.Without.has(OtherDecisionPosts)) {
		may |= posting
	}
	if posted && own && !names || voided && (own || w.Without.has(OtherDecisionVoids)) {
		may |= voiding
	}
	return may
}

func (w *bridge) resolveFollower(s state, f, j int, outcome uint8, by Label, yield func(Label, state)) {
	h := &s.fol[f][j]
	h.signed = 0
	switch {
	case outcome == posting:
		h.posted++
		if h.form == right {
			s.wealth[1+f][to]++
		} else {
			s.wealth[1+f][nowhere]++
		}
	default:
		h.voided++
		s.wealth[1+f][[...]int{bySender: from, byStranger: nowhere}[h.owner]]++
	}
	yield(by, s)
}

// overrides (L8.12) are what treasuries do. They sign one for a follower's hold when the decider is dead, or when it decided and only the
// frozen corridor is in the way: what is alive decides first, and they read it. What they signed may be logged in any later
// freeze: the sequence number of their policy need not have been used since. A late decision against it is booked (L9.8).
func (w *bridge) overrides(s state, yield func(Label, state)) {
	for i := range int(w.DeciderHolds) {
		for outcome := uint8(posting); outcome <= voiding; outcome++ {
			if w.mayOverrideDecider(&s, i, outcome) {
				t := s
				if outcome == posting {
					t.postDecider(i)
				} else {
					t.voidDecider(i)
				}
				yield(Label{Do: doOverrideB, X: uint8(i), Y: outcome}, t)
			}
		}
	}
	for f := range w.Followers {
		for j := range int(w.FollowerHolds[f]) {
			h := &s.fol[f][j]
			by := Label{On: uint8(f), X: uint8(j), Fair: true}
			if h.open() && h.names != elsewhere {
				says := decision(&s.dec[h.names], f, j)
				for outcome := uint8(posting); outcome <= voiding; outcome++ {
					known := says != 0 && s.observedB(f, [...]uint8{posting: postedB, voiding: voidedB}[outcomeOf(&s.dec[h.names])]+h.names)
					guess := s.dead && (!known || says == outcome)
					if h.signed == 0 && (guess || says == outcome || !s.dead && w.Without.has(DecisionUnread)) {
						t := s
						t.fol[f][j].signed = outcome
						if !guess && says != outcome {
							t.fol[f][j].signed |= improper
						}
						by.Do, by.Y = doSignOverride, outcome
						yield(by, t)
					}
				}
				if h.signed != 0 && (s.frozenF[f] || w.Without.has(OverrideWithoutFreeze)) {
					outcome := h.signed &^ improper
					by.Do, by.Y = doOverrideF, outcome
					t := s
					t.fol[f][j].overridden = h.signed
					if !s.frozenF[f] {
						t.fol[f][j].overridden |= improper
					}
					w.resolveFollower(t, f, j, outcome, by, yield)
				}
			}
			if w.contradicted(&s, f, j) && !h.claim && s.observedB(f, [...]uint8{posting: postedB, voiding: voidedB}[outcomeOf(&s.dec[h.names])]+h.names) {
				t := s
				t.fol[f][j].claim = true
				by.Do, by.Y = doClaim, 0
				yield(by, t)
			}
		}
	}
}

// outcomeOf a resolved hold of the decider.
func outcomeOf(d *decided) uint8 {
	if d.posted != 0 {
		return posting
	}
	return voiding
}

// mayOverrideDecider (L8.12): in a frozen corridor, and only to void. The treasuries do not sign it once a follower's override has posted.
func (w *bridge) mayOverrideDecider(s *state, i int, outcome uint8) bool {
	d := &s.dec[i]
	frozen := false
	for f := range w.Followers {
		frozen = frozen || s.frozenB[f]
		for j := range s.fol[f] {
			if h := &s.fol[f][j]; int(h.names) == i && h.overridden&posting != 0 {
				return false
			}
		}
	}
	if s.dead || !d.open() || !frozen {
		return false
	}
	return outcome == voiding || w.Without.has(OverridePostsDecider)
}
