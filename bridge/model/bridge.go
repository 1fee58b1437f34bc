package model

import "fmt"

// Config is a bridge world: who takes part, who lies, and what may happen.
type Config struct {
	Name          string
	Followers     int      // 1: A pays B. 2: A pays V pays B
	DeciderHolds  uint8    // how many holds are ever placed on B: 1 or 2
	FollowerHolds [2]uint8 // and on each follower: 1 or 2
	Expiry        [2]uint8 // of the decider's holds, in ticks of B's clock
	Until         uint8    // every clock goes from 0 to here, at most 3, and stops

	LyingPayer, LyingFirst, LyingLast bool // the payer; the first provider, of two; the one that pays the payee

	Staleness bool // corridors become stale
	Freezing  bool // corridors are frozen and thawed, at any time; treasuries override
	Death     bool // the decider may fall silent, for ever or not; needs Freezing
	Lockstep  bool // all clocks tick together
	Variant   Variant
	Without   Rules
}

// Variant is the protocol that the ledgers and people of a world follow.
type Variant uint8

const (
	OneDecides    Variant = iota // ours: one ledger decides, the others follow its log
	SenderTimeout                // as ours, but A also voids by its own clock
	HashLock                     // a hash lock and a time-out on either side, A's a tick later than B's
)

// Rules is a set of rules, to be taken out of a world.
type Rules uint32

const (
	PostsWithoutProof       Rules = 1 << iota // the decider posts without a follower's hold
	ForeignHoldProves                         // the decider takes a follower's hold that waits for another decision
	DeciderComparesNothing                    // the decider does not compare the follower's commitment with its list
	FollowerComparesNothing                   // nor does the follower when it accepts the hold
	AcceptedWithoutDecider                    // the follower accepts a hold without proof of the one it names
	AcceptedAfterExpiry                       // the follower accepts a hold whose decision has expired
	NamedHoldIgnored                          // the follower posts on any posting of its decider, whichever hold that names
	OtherDecisionVoids                        // the follower voids on the voiding of another hold
	OtherDecisionPosts                        // the follower posts on the posting of another hold
	VoidedBeforeExpiry                        // the decider voids at any time
	PostedAfterExpiry                         // the decider posts at any time
	NeverExpires                              // the decider does not void by its clock
	ResolvedTwice                             // a hold is resolved without a look at whether it was
	OverrideWithoutFreeze                     // an override is accepted in an active corridor
	OverridePostsDecider                      // an override may post a hold of the decider
	FrozenNeverVoids                          // a decider in a frozen corridor does not void either
	FrozenPosts                               // a decider in a frozen corridor posts
	StalePlaces                               // a stale corridor takes new holds
	AcceptanceBelieved                        // the payer signs before it has checked the payee's commitment
	ListBelieved                              // the first provider signs before it has checked what the decider's hold lists
	PaysFromAnotherNote                       // the payer builds another transaction from another note while one may settle
	DecisionUnproven                          // the follower takes anybody's word for a decision
	DecisionUnread                            // treasuries override a live decider without reading what it decided
)

// has tells whether a rule is left out.
func (r Rules) has(x Rules) bool { return r&x != 0 }

// Kinds of violation, beside the names of promises.
const (
	ValueLost      = "value is not conserved"
	TwiceResolved  = "a hold is resolved twice"
	PayerUnserved  = "the payer pays and the payee is not paid"
	PayerTwice     = "the payer pays twice"
	FirstUnpaid    = "the first provider pays and is not paid"
	ProviderUnpaid = "the provider pays and is not paid"
	OneSide        = "one ledger posts, the other does not"
	Untimely       = "a decision comes out of its time"
	Poorer         = "an honest party ends poorer"
	NeverResolved  = "every hold is resolved, on both sides or on neither"
	NeverPosted    = "a payment that waits for nothing but relaying is posted"
)

// bridge is a Config with its steps.
type bridge struct{ Config }

// Steps of a bridge world.
const (
	doTick = iota
	doDie
	doRevive
	doObserveB // follower On observes X events of the decider
	doObserveF // the decider observes X placements of follower On
	doFreezeF  // the follower's corridor
	doFreezeB  // the decider's corridor to follower On
	doThawF
	doThawB
	doHearLast  // the provider receives the request for its quote X
	doSignLast  // it signs the transaction and journals it
	doPlaceB    // the hold is logged on B: hold X, form Y
	doHear      // sender On receives the acceptance of hold X and checks it
	doSign      // it signs a transaction that names hold X, for its note Y
	doPlaceF    // the hold is logged on the follower: form X, naming Y, placed by Z
	doCrash     // sender On forgets what was not journalled
	doCrashLast // so does the provider
	doPostB     // hold X, naming Y-1 of the first follower and Z-1 of the second
	doVoidB
	doPostF // hold X of follower On, on the decision of Y
	doVoidF
	doOtherPosts // another ledger's decision of hold X of follower On
	doOtherVoids
	doOverrideB // hold X; Y: outcome
	doSignOverride
	doOverrideF // hold X of follower On, outcome Y
	doClaim
	doTimeout // variants: hold X of follower On
	doReveal  // variant: hold X
	doRedeem
)

func (w *bridge) Say(l Label) string {
	f := [...]string{"A", "V"}[l.On&1]
	sender := [...]string{"the payer", "the first provider"}[l.On&1]
	hold := func(ledger string, n uint8) string { return fmt.Sprintf("%s%d", ledger, n+1) }
	outcome := func(o uint8) string { return map[uint8]string{posting: "posts", voiding: "voids"}[o] }
	switch l.Do {
	case doTick:
		if w.Lockstep {
			return "all clocks tick"
		}
		return [...]string{"B", "A", "V"}[l.On] + "'s clock ticks"
	case doDie:
		return "B falls silent"
	case doRevive:
		return "B comes back"
	case doObserveB:
		return fmt.Sprintf("%s observes B, %d entries further", f, l.X)
	case doObserveF:
		return fmt.Sprintf("B observes %s, %d holds further", f, l.X)
	case doFreezeF:
		return f + " freezes its corridor to B"
	case doFreezeB:
		return "B freezes its corridor to " + f
	case doThawF:
		return f + " thaws its corridor to B"
	case doThawB:
		return "B thaws its corridor to " + f
	case doHearLast:
		return "the provider hears the request for " + hold("B", l.X)
	case doSignLast:
		return "the provider journals and signs " + hold("B", l.X)
	case doPlaceB:
		return fmt.Sprintf("B logs hold %s, which %s", hold("B", l.X), [...]string{"", "is as agreed", "pays somebody else",
			"lists a wrong commitment on A", "lists a wrong commitment on V"}[l.Y])
	case doHear:
		return fmt.Sprintf("%s checks the acceptance of %s against B's log", sender, hold("B", l.X))
	case doSign:
		return fmt.Sprintf("%s journals and signs a hold that names %s", sender, hold("B", l.X))
	case doPlaceF:
		return fmt.Sprintf("%s logs a hold by %s with the %s commitment, naming %s", f, [...]string{sender, "a stranger"}[l.Z],
			[...]string{"", "agreed", "wrong"}[l.X], [...]string{"B1", "B2", "a hold of another ledger"}[l.Y])
	case doCrash:
		return sender + " crashes"
	case doCrashLast:
		return "the provider crashes"
	case doPostB:
		s := fmt.Sprintf("B posts %s", hold("B", l.X))
		for i, n := range []uint8{l.Y, l.Z} {
			if n != 0 {
				s += ", naming " + hold([...]string{"A", "V"}[i], n-1)
			}
		}
		return s
	case doVoidB:
		return "B voids " + hold("B", l.X)
	case doPostF:
		return fmt.Sprintf("%s posts %s on the decision of %s", f, hold(f, l.X), hold("B", l.Y))
	case doVoidF:
		return fmt.Sprintf("%s voids %s on the decision of %s", f, hold(f, l.X), hold("B", l.Y))
	case doOtherPosts:
		return fmt.Sprintf("%s posts %s: the other ledger decided so", f, hold(f, l.X))
	case doOtherVoids:
		return fmt.Sprintf("%s voids %s: the other ledger decided so", f, hold(f, l.X))
	case doOverrideB:
		return fmt.Sprintf("an override %s %s", outcome(l.Y), hold("B", l.X))
	case doSignOverride:
		return fmt.Sprintf("the treasuries sign an override that %s %s", outcome(l.Y), hold(f, l.X))
	case doOverrideF:
		return fmt.Sprintf("an override %s %s", outcome(l.Y), hold(f, l.X))
	case doClaim:
		return fmt.Sprintf("%s books a claim: B's late decision contradicts the override of %s", f, hold(f, l.X))
	case doTimeout:
		return fmt.Sprintf("%s voids %s: its own time-out has passed", f, hold(f, l.X))
	case doReveal:
		return fmt.Sprintf("the payee reveals the secret, B posts %s", hold("B", l.X))
	case doRedeem:
		return fmt.Sprintf("the provider uses the secret, %s posts %s", f, hold(f, l.X))
	}
	return fmt.Sprintf("step %d", l.Do)
}

func (w *bridge) Start() state {
	var s state
	s.wealth[ledgerB][from] = w.DeciderHolds
	for f := range w.Followers {
		s.wealth[1+f][from] = 1
		if w.lies(f) || w.Without.has(PaysFromAnotherNote) {
			s.wealth[1+f][from] = w.FollowerHolds[f]
		}
		if w.strangers() {
			s.wealth[1+f][nowhere] = 1
		}
		s.staleF[f], s.staleB[f] = w.Staleness, w.Staleness
	}
	return s
}

func (w *bridge) Encode(s state, dst []byte) []byte { return s.encode(dst, w.Followers) }

// lies: the sender of follower f.
func (w *bridge) lies(f int) bool { return [...]bool{w.LyingPayer, w.LyingFirst}[f] }

// strangers place holds on a follower when the last provider lies: it may be their accomplice.
func (w *bridge) strangers() bool { return w.LyingLast }

// reachesLast is the follower whose holds pay the provider that pays the payee.
func (w *bridge) reachesLast() int { return w.Followers - 1 }

// lists gives the form of the commitment that a decider's hold lists for follower f.
func lists(d *decided, f int) uint8 {
	if d.form == wrongListA && f == 0 || d.form == wrongListV && f == 1 {
		return wrongPayee
	}
	return right
}

func (w *bridge) Broken(s state) string {
	return w.broken(&s)
}

func (w *bridge) broken(s *state) string {
	start := w.Start()
	var held, had, have [3]uint8
	settled, overridden := true, false
	for i := range s.dec {
		d := &s.dec[i]
		if d.open() {
			held[ledgerB]++
			settled = false
		}
		if d.posted+d.voided > 1 {
			return TwiceResolved
		}
	}
	for f := range w.Followers {
		for j := range s.fol[f] {
			h := &s.fol[f][j]
			if h.open() {
				held[1+f]++
				settled = false
			}
			if h.posted+h.voided > 1 {
				return TwiceResolved
			}
			overridden = overridden || h.overridden != 0
		}
	}
	for l := range s.wealth {
		for p := range s.wealth[l] {
			had[l] += start.wealth[l][p]
			have[l] += s.wealth[l][p]
		}
		if had[l] != have[l]+held[l] {
			return ValueLost
		}
	}
	for f := range w.Followers {
		if kind := w.senderWronged(s, f); kind != "" {
			return kind
		}
	}
	if !w.LyingLast {
		f := w.reachesLast()
		for i := range s.dec {
			if d := &s.dec[i]; d.posted == 1 && !w.paid(s, f, d) {
				return ProviderUnpaid
			}
		}
	}
	if w.Variant != HashLock {
		if kind := w.sidesDiffer(s); kind != "" {
			return kind
		}
	}
	for i := range s.dec {
		if s.dec[i].untimely {
			return Untimely
		}
	}
	if settled && !overridden {
		if !w.LyingPayer && s.wealth[ledgerA][from]+s.wealth[ledgerB][to] < start.wealth[ledgerA][from] {
			return Poorer
		}
		if w.Followers == 2 && !w.LyingFirst && s.wealth[ledgerA][to]+s.wealth[ledgerV][from] < start.wealth[ledgerV][from] {
			return Poorer
		}
		if !w.LyingLast && s.wealth[1+w.reachesLast()][to]+s.wealth[ledgerB][from] < start.wealth[ledgerB][from] {
			return Poorer
		}
	}
	return ""
}

// senderWronged: an honest payer that paid has its payee paid, once; an honest first provider that paid is paid.
func (w *bridge) senderWronged(s *state, f int) string {
	if w.lies(f) {
		return ""
	}
	paid := 0
	for j := range s.fol[f] {
		h := &s.fol[f][j]
		if h.owner != bySender || h.posted == 0 || h.overridden != 0 {
			continue
		}
		d := &s.dec[h.names]
		if f == 0 {
			if paid++; paid > 1 {
				return PayerTwice
			}
			if d.posted == 0 || d.form == wrongPayee {
				return PayerUnserved
			}
		} else if d.posted == 0 || !w.paid(s, 0, d) {
			return FirstUnpaid
		}
	}
	return ""
}

// paid: the follower's hold that a posted decision names pays the agreed commitment, now or whenever somebody relays. A hold that
// an override resolved in a frozen corridor is the one exception, for which a claim is booked.
func (w *bridge) paid(s *state, f int, d *decided) bool {
	if d.named[f] == 0 {
		return false
	}
	h := &s.fol[f][d.named[f]-1]
	return h.form == right && (h.voided == 0 || overrode(h))
}

// overrode: resolved by an override, as the rules want it.
func overrode(h *followed) bool { return h.overridden != 0 && h.overridden&improper == 0 }

// sidesDiffer: whoever lies, a posted decision and exactly the holds that it names are posted, and no others.
func (w *bridge) sidesDiffer(s *state) string {
	for i := range s.dec {
		d := &s.dec[i]
		if d.posted == 0 {
			continue
		}
		for f := range w.Followers {
			if d.named[f] == 0 {
				return OneSide
			}
			h := &s.fol[f][d.named[f]-1]
			if int(h.names) != i || h.form != lists(d, f) || h.voided != 0 && !overrode(h) {
				return OneSide
			}
		}
	}
	for f := range w.Followers {
		for j := range s.fol[f] {
			h := &s.fol[f][j]
			if h.posted == 0 || h.names == elsewhere || overrode(h) {
				continue
			}
			if d := &s.dec[h.names]; d.posted == 0 || int(d.named[f]) != j+1 {
				return OneSide
			}
		}
	}
	return ""
}

func (w *bridge) Promises() []Promise[state] {
	promises := []Promise[state]{{Name: NeverResolved, Goal: func(s state) bool { return w.resolved(&s) }}}
	if w.Variant != OneDecides {
		return nil // they are planted for what they lose, and never get so far
	}
	for i := range int(w.DeciderHolds) {
		promises = append(promises, Promise[state]{
			Name: NeverPosted,
			From: func(s state) bool { return w.ready(&s, i) },
			Goal: func(s state) bool { return w.through(&s, i) },
		})
	}
	return promises
}

// resolved: nothing waits any more, and each contradiction of an override is a booked claim. What waits on a ledger that is dead
// waits with it.
func (w *bridge) resolved(s *state) bool {
	for i := range s.dec {
		if s.dec[i].open() && !s.dead {
			return false
		}
	}
	for f := range w.Followers {
		for j := range s.fol[f] {
			h := &s.fol[f][j]
			if h.open() && h.names != elsewhere {
				return false
			}
			if w.contradicted(s, f, j) && !h.claim && !s.dead {
				return false
			}
		}
	}
	return true
}

// ready: the decider's hold i and a hold for each of its followers are logged, and nothing forbids the posting.
func (w *bridge) ready(s *state, i int) bool {
	d := &s.dec[i]
	if !d.open() || s.dead || s.clock[ledgerB] >= w.Expiry[i] {
		return false
	}
	for f := range w.Followers {
		if s.frozenF[f] || s.frozenB[f] {
			return false
		}
		found := false
		for j := range s.fol[f] {
			h := &s.fol[f][j]
			found = found || h.open() && int(h.names) == i && h.form == lists(d, f)
		}
		if !found {
			return false
		}
	}
	return true
}

// through: hold i is posted, and so are the holds that it names.
func (w *bridge) through(s *state, i int) bool {
	d := &s.dec[i]
	if d.posted == 0 {
		return false
	}
	for f := range w.Followers {
		if d.named[f] == 0 || s.fol[f][d.named[f]-1].posted == 0 {
			return false
		}
	}
	return true
}

// contradicted: the decider's log says otherwise than the override of follower f's hold j.
func (w *bridge) contradicted(s *state, f, j int) bool {
	h := &s.fol[f][j]
	if h.overridden == 0 || h.names == elsewhere {
		return false
	}
	says := decision(&s.dec[h.names], f, j)
	return says != 0 && says != h.overridden&^improper
}

// decision is what a decider's hold says about hold j of follower f: posting, voiding, or 0 as long as it is open.
func decision(d *decided, f, j int) uint8 {
	switch {
	case d.posted != 0 && int(d.named[f]) == j+1:
		return posting
	case d.posted != 0 || d.voided != 0:
		return voiding
	}
	return 0
}
