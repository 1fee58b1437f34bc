package model

import "fmt"

// Escrow is the world of one attested hold on one ledger (settlement/SPEC.md L8.6 to L8.9): a payer who may challenge, a payee who may
// release, attestors some of whom lie, and anybody, who posts and voids.
type Escrow struct {
	Name                            string
	Attestors, Threshold, Contested uint8 // at most 3; Contested 0 without a window
	Window                          uint8 // in ticks
	Expiry, Until                   uint8 // as placed; and where the clock stops, at most 7
	Lying                           uint8 // the set of attestors who say anything; the others attest document 1, once it is true
	Mistakes                        bool  // honest attestors may also attest what is not true, and withdraw
	Amends                          bool  // payer and payee each may sign other expiries
	Without                         EscrowRules
}

// EscrowRules is a set of rules, to be taken out of the world.
type EscrowRules uint16

const (
	AttestorCountsTwice  EscrowRules = 1 << iota // an attestor who attests again counts again
	WithdrawnCounts                              // who withdrew counts on
	DocumentsNotCompared                         // attestors of different documents agree
	WindowIgnored                                // it may be posted before the window ends
	WindowKept                                   // a window runs on although too few stood in between
	ChallengeIgnored                             // a challenged hold needs no more attestors than before
	ChallengeAfterWindow                         // the payer may challenge after the window
	AttestedAfterExpiry                          // it may be posted at its expiry and later
	ExpiredBefore                                // anybody may void it before its expiry
	ReleasedByAnybody                            // not the payee alone may release it
	AmendedByOne                                 // one signature moves the expiry
	EscrowResolvedTwice                          // it is resolved without a look at whether it was
	EscrowNeverExpires                           // nobody may void it by the clock
)

// Kinds of violation of an escrow, beside ValueLost, TwiceResolved, and Untimely.
const (
	Undelivered   = "it is posted for what was not delivered"
	TooFewStand   = "it is posted while too few attestors stand for one document"
	WindowCut     = "it is posted before the payer's window ended"
	LateChallenge = "it is challenged when the payee could have it"
	StaysOpen     = "the hold is resolved"
	NeverPaid     = "an attested hold whose window ends before its expiry is posted"
)

type escrowState struct {
	clock          uint8
	delivered      bool
	posted, voided uint8
	payer, payee   uint8 // wealth
	// What the ledger keeps.
	count      [3]uint8 // attestors counted for documents 1 and 2
	agreed     uint8    // the document that enough stand for
	agreedAt   uint8
	challenged bool
	until      uint8
	// What the log says, kept apart from what the ledger makes of it.
	stands      [3]uint8 // the document that each attestor stands for
	since       uint8    // when enough began to stand for one document, without a break; 7: they do not
	agreedUntil uint8    // the expiry that both signed last
	signed      [2]uint8 // expiries that payer and payee signed and that are not logged, as sets
	wrong       wrong    // what was wrong with the last step, 0: nothing
}

// wrong numbers the kinds that a step shows and not the state after it.
type wrong uint8

const (
	wrongDelivery wrong = 1 + iota
	wrongStand
	wrongWindow
	wrongChallenge
	wrongTime
)

var wrongs = [...]string{wrongDelivery: Undelivered, wrongStand: TooFewStand, wrongWindow: WindowCut, wrongChallenge: LateChallenge, wrongTime: Untimely}

const never = 7

const (
	doEscrowTick = iota
	doDeliver
	doAttest
	doWithdraw
	doChallenge
	doSignAmend
	doAmend
	doPostAttested
	doVoidExpired
	doRelease
)

func (e Escrow) Say(l Label) string {
	switch l.Do {
	case doEscrowTick:
		return "the clock ticks"
	case doDeliver:
		return "the goods are delivered"
	case doAttest:
		return fmt.Sprintf("attestor %d attests document %d", l.X+1, l.Y)
	case doWithdraw:
		return fmt.Sprintf("attestor %d withdraws", l.X+1)
	case doChallenge:
		return "the payer challenges"
	case doSignAmend:
		return fmt.Sprintf("the %s signs the expiry %d", [...]string{"payer", "payee"}[l.X], l.Y)
	case doAmend:
		return fmt.Sprintf("the expiry is amended to %d", l.Y)
	case doPostAttested:
		return "the hold is posted"
	case doVoidExpired:
		return "the hold is voided as expired"
	case doRelease:
		return "the hold is released"
	}
	return fmt.Sprintf("step %d", l.Do)
}

func (e Escrow) Start() escrowState {
	return escrowState{until: e.Expiry, agreedUntil: e.Expiry, since: never}
}

func (e Escrow) Encode(s escrowState, dst []byte) []byte {
	dst = append(dst, s.clock, bit(s.delivered), s.posted, s.voided, s.payer, s.payee, s.agreed, s.agreedAt, bit(s.challenged), s.until, s.since, s.agreedUntil, byte(s.wrong))
	dst = append(append(append(dst, s.count[:]...), s.stands[:]...), s.signed[:]...)
	return dst
}

func (e Escrow) Broken(s escrowState) string {
	switch {
	case s.posted+s.voided > 1:
		return TwiceResolved
	case s.posted+s.voided == 1 && s.payer+s.payee != 1:
		return ValueLost
	}
	return wrongs[s.wrong]
}

func (e Escrow) Promises() []Promise[escrowState] {
	return []Promise[escrowState]{
		{Name: StaysOpen, Goal: func(s escrowState) bool { return s.posted+s.voided > 0 }},
		{
			Name: NeverPaid,
			From: func(s escrowState) bool {
				return s.posted+s.voided == 0 && s.since != never && !s.challenged && max(s.clock, s.since+e.Window) < s.agreedUntil
			},
			Goal: func(s escrowState) bool { return s.posted > 0 },
		},
	}
}

// open: a resolution and an attestation need an open hold.
func (e Escrow) open(s *escrowState) bool {
	return s.posted+s.voided == 0 || e.Without&EscrowResolvedTwice != 0 && s.posted+s.voided == 1
}

func (e Escrow) Steps(s escrowState, yield func(Label, escrowState)) {
	if s.clock < e.Until {
		t := s
		t.clock++
		yield(Label{Do: doEscrowTick, Fair: true}, t)
	}
	if !e.open(&s) {
		return
	}
	if !s.delivered {
		t := s
		t.delivered = true
		yield(Label{Do: doDeliver}, t)
	}
	expired := s.clock >= s.until
	if !expired {
		e.attestations(s, yield)
		e.challenge(s, yield)
	}
	if e.Amends {
		e.amendments(s, yield)
	}
	if e.ready(&s) && (!expired || e.Without&AttestedAfterExpiry != 0) {
		t := s
		t.posted++
		t.payee++
		t.wrong = e.judgePosting(&s)
		yield(Label{Do: doPostAttested, Fair: true}, t)
	}
	if (expired || e.Without&ExpiredBefore != 0) && e.Without&EscrowNeverExpires == 0 {
		t := s
		t.voided++
		t.payer++
		if s.clock < s.agreedUntil {
			t.wrong = wrongTime
		}
		yield(Label{Do: doVoidExpired, Fair: true}, t)
	}
	// The payee's key releases: no promise rests on it. Anybody else may try.
	t := s
	t.voided++
	t.payer++
	yield(Label{Do: doRelease}, t)
	if e.Without&ReleasedByAnybody != 0 && s.clock < s.agreedUntil {
		t.wrong = wrongTime
		yield(Label{Do: doRelease, X: 1}, t)
	}
}

// attestations (L8.6, L8.8): each attestor stands for one document at a time.
func (e Escrow) attestations(s escrowState, yield func(Label, escrowState)) {
	for i := range e.Attestors {
		lies := e.Lying>>i&1 != 0
		if s.stands[i] == 0 || e.Without&AttestorCountsTwice != 0 {
			for document := uint8(1); document <= 2; document++ {
				if lies || document == 1 && (s.delivered || e.Mistakes) {
					t := s
					t.stands[i] = document
					t.count[document] = min(t.count[document]+1, e.Attestors)
					e.recount(&t)
					yield(Label{Do: doAttest, X: i, Y: document}, t)
				}
			}
		}
		if s.stands[i] != 0 && (lies || e.Mistakes) {
			t := s
			t.stands[i] = 0
			if e.Without&WithdrawnCounts == 0 {
				t.count[s.stands[i]]--
			}
			e.recount(&t)
			yield(Label{Do: doWithdraw, X: i}, t)
		}
	}
}

// challenge (L8.7): by the payer, once, while the window is open.
func (e Escrow) challenge(s escrowState, yield func(Label, escrowState)) {
	if e.Window == 0 || s.challenged || s.agreed == 0 || s.clock >= s.agreedAt+e.Window && e.Without&ChallengeAfterWindow == 0 {
		return
	}
	t := s
	t.challenged, t.agreed, t.agreedAt = true, 0, 0
	e.recount(&t)
	if s.since != never && s.clock >= s.since+e.Window {
		t.wrong = wrongChallenge
	}
	yield(Label{Do: doChallenge}, t)
}

// recount: while enough stand for the document agreed on its window runs on, the window of another begins anew.
func (e Escrow) recount(s *escrowState) {
	needed := e.Threshold
	if s.challenged && e.Without&ChallengeIgnored == 0 {
		needed = e.Contested
	}
	enough := func(document uint8) bool {
		n := s.count[document]
		if e.Without&DocumentsNotCompared != 0 {
			n = s.count[1] + s.count[2]
		}
		return n >= needed
	}
	if s.agreed == 0 || !enough(s.agreed) {
		s.agreed = 0
		if e.Without&WindowKept == 0 {
			s.agreedAt = 0
		}
		for document := uint8(1); document <= 2 && s.agreed == 0; document++ {
			if enough(document) {
				s.agreed = document
				if s.agreedAt == 0 {
					s.agreedAt = s.clock
				}
			}
		}
	}
	switch {
	case e.mostStand(s) < e.Threshold:
		s.since = never
	case s.since == never:
		s.since = s.clock
	}
}

// mostStand is how many attestors stand for one document, by the log.
func (e Escrow) mostStand(s *escrowState) uint8 {
	var n [3]uint8
	for i := range e.Attestors {
		n[s.stands[i]]++
	}
	return max(n[1], n[2])
}

func (e Escrow) ready(s *escrowState) bool {
	switch {
	case s.agreed == 0:
		return false
	case s.challenged || e.Without&WindowIgnored != 0:
		return true
	}
	return s.clock >= s.agreedAt+e.Window
}

// judgePosting says what is wrong with a posting, from what happened alone.
func (e Escrow) judgePosting(s *escrowState) wrong {
	liars := uint8(0)
	for i := range e.Attestors {
		liars += e.Lying >> i & 1
	}
	needed := e.Threshold
	if s.challenged {
		needed = e.Contested
	}
	switch {
	case !s.delivered && !e.Mistakes && liars < needed:
		return wrongDelivery
	case e.mostStand(s) < needed:
		return wrongStand
	case !s.challenged && s.clock < s.since+e.Window:
		return wrongWindow
	case s.clock >= s.agreedUntil:
		return wrongTime
	}
	return 0
}

// amendments (L8.9): payer and payee both sign the new expiry, which lies ahead.
func (e Escrow) amendments(s escrowState, yield func(Label, escrowState)) {
	for until := uint8(1); until <= e.Until; until++ {
		for who := range s.signed {
			if s.signed[who]&(1<<until) == 0 && until != s.until {
				t := s
				t.signed[who] |= 1 << until
				yield(Label{Do: doSignAmend, X: uint8(who), Y: until}, t)
			}
		}
		both := s.signed[0]&s.signed[1]&(1<<until) != 0
		one := (s.signed[0]|s.signed[1])&(1<<until) != 0
		if s.clock < s.until && s.clock < until && (both || one && e.Without&AmendedByOne != 0) {
			t := s
			t.until = until
			if both {
				t.agreedUntil = until
			}
			for who := range t.signed {
				t.signed[who] &^= 1 << until
			}
			yield(Label{Do: doAmend, Y: until}, t)
		}
	}
}
