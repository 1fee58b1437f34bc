package oversight

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// returnOutput is the number under which a hold's return note is listed, behind its two outputs.
const returnOutput = 2

// hold is what the log says of one hold.
type hold struct {
	leg       int // index into Audit.legs
	id        entry.HoldID
	condition entry.Condition
	sizeClass uint64
	until     uint64 // expiry in ledger time, amendments included
	outcome   entry.Outcome
	reason    entry.Reason // 0 with an override
	override  bool
	named     []entry.Named
	resolved  uint64 // log index of the entry that resolved it
	by        entry.ID
	height    uint64
	millis    uint64 // ledger time of its block
	at        zk.Position
}

// State says where a hold, or what waited in it, stands.
type State string

// The states of a hold.
const (
	Pending State = "pending"
	Posted  State = "posted"
	Voided  State = "voided"
)

func (h *hold) state() State {
	switch h.outcome {
	case entry.Posted:
		return Posted
	case entry.Voided:
		return Voided
	}
	return Pending
}

// placedOutput is the output that the resolution placed.
func (h *hold) placedOutput() int {
	if h.outcome == entry.Voided {
		return returnOutput
	}
	return 0
}

// note is an opened output of the leg; that with number returnOutput is a hold's return note.
func (l *Leg) note(output int) *zk.Note {
	if output == len(l.Opened.Outputs) && l.Opened.Return != nil {
		return l.Opened.Return
	}
	return &l.Opened.Outputs[output]
}

// holdOf is the hold that a leg placed, or nil.
func (a *Audit) holdOf(l *Leg) *hold {
	if l.hold == 0 {
		return nil
	}
	return &a.holds[l.hold-1]
}

// lies tells whether an output of a leg is a note that can be spent, now or once: what waits in a hold is none.
func (a *Audit) lies(l *Leg, output int) bool {
	h := a.holdOf(l)
	if h == nil || output == 1 {
		return true
	}
	return h.outcome != 0 && h.placedOutput() == output
}

// placed books a new hold. Its leg is the last of Audit.legs.
func (s *scanner) hold(leg *entry.Leg, id entry.HoldID) {
	s.a.holds = append(s.a.holds, hold{leg: len(s.a.legs) - 1, id: id, condition: leg.Condition, sizeClass: leg.SizeClass, until: expiryOf(leg.Condition)})
	s.a.byHold[id] = len(s.a.holds) - 1
	s.a.legs[len(s.a.legs)-1].hold = len(s.a.holds)
	s.open++
}

// resolution books an entry that posts or voids a hold, and gives what it places.
func (s *scanner) resolution(e entry.Entry, id entry.ID, height, index uint64) placing {
	var of entry.HoldID
	h := hold{resolved: index, by: id, height: height, millis: s.time}
	var cm zk.Commitment
	switch e := e.(type) {
	case *entry.Resolve:
		of, cm = e.Hold, e.Commitment
		h.outcome, h.reason, h.named = e.Outcome, e.Reason, e.Named
	case *entry.Override:
		of, cm = e.Hold, e.Commitment
		h.outcome, h.override = e.Outcome, true
		if err := e.VerifyOversight(s.ovk); err != nil {
			s.mismatch(SignatureInvalid, height, index, -1, "%v", err)
		}
	}
	p := placing{leaves: []zk.Commitment{cm}, leg: -1, hold: -1}
	if s.open > 0 {
		s.open--
	}
	i, known := s.a.byHold[of]
	if !known {
		s.mismatch(HoldUnknown, height, index, -1, "no leg of the log placed hold %s", of)
		return p
	}
	row := &s.a.holds[i]
	if row.outcome != 0 {
		s.mismatch(HoldResolvedTwice, height, index, -1, "hold %s was %s by entry %d", of, row.outcome, row.resolved)
		return p
	}
	row.outcome, row.reason, row.override, row.named = h.outcome, h.reason, h.override, h.named
	row.resolved, row.by, row.height, row.millis = h.resolved, h.by, h.height, h.millis
	if want := s.a.legs[row.leg].commits[row.placedOutput()]; cm != want {
		s.mismatch(ResolutionDiffers, height, index, -1, "hold %s is %s with another commitment than its own", of, h.outcome)
		return p
	}
	p.leg, p.first, p.hold = row.leg, row.placedOutput(), i
	return p
}

// amend books a new expiry.
func (s *scanner) amend(e *entry.Amend, height, index uint64) {
	i, known := s.a.byHold[e.Hold]
	if !known {
		s.mismatch(HoldUnknown, height, index, -1, "no leg of the log placed hold %s", e.Hold)
		return
	}
	s.a.holds[i].until = e.Until
}

// expiryOf is the ledger time that a condition names as its end.
func expiryOf(c entry.Condition) uint64 {
	decoded, err := c.Decode()
	if err != nil {
		return 0
	}
	switch c := decoded.(type) {
	case *entry.Attested:
		return c.Until
	case *entry.DecidedHere:
		return c.Until
	case *entry.DecidedThere:
		return c.Until
	}
	return 0
}

// OpenedHold is everything that the keys given show of a hold.
type OpenedHold struct {
	Hold           string     `json:"hold"` // its id on this ledger
	Entry          uint64     `json:"entry"`
	Leg            int        `json:"leg"`
	Day            string     `json:"day"`
	PlacedMillis   uint64     `json:"placed_millis"`
	Condition      string     `json:"condition"` // attested, decided here, decided there
	UntilMillis    uint64     `json:"until_millis"`
	SizeClass      string     `json:"size_class,omitempty"` // minor units; empty for a hold that crosses no border
	State          State      `json:"state"`
	Reason         string     `json:"reason,omitempty"` // of the resolution; "override" where the treasuries decided
	ResolvedEntry  uint64     `json:"resolved_entry,omitempty"`
	ResolvedID     string     `json:"resolved_id,omitempty"`
	ResolvedMillis uint64     `json:"resolved_millis,omitempty"`
	Readable       bool       `json:"readable"`
	Amount         string     `json:"amount,omitempty"` // minor units
	Asset          string     `json:"asset,omitempty"`
	Decimals       int        `json:"decimals"`
	Programme      string     `json:"programme,omitempty"`
	Sender         string     `json:"sender,omitempty"`
	Payee          string     `json:"payee,omitempty"`
	Commitment     string     `json:"commitment"`
	Return         string     `json:"return_commitment"`
	Decider        *PeerHold  `json:"decider,omitempty"`   // that it follows
	Followers      []PeerHold `json:"followers,omitempty"` // that follow it
	Named          []PeerHold `json:"named,omitempty"`     // followers' holds that its posting names
}

// PeerHold is a hold on another ledger, as far as an entry of this one names it.
type PeerHold struct {
	Ledger     string `json:"ledger"` // genesis hash
	Hold       string `json:"hold,omitempty"`
	Commitment string `json:"commitment,omitempty"`
}

// Holds lists every hold of the log in the order in which they were placed.
func (a *Audit) Holds() []OpenedHold {
	out := make([]OpenedHold, len(a.holds))
	for i := range a.holds {
		out[i] = a.openedHold(&a.holds[i])
	}
	return out
}

func (a *Audit) openedHold(h *hold) OpenedHold {
	l := &a.legs[h.leg]
	o := OpenedHold{Hold: h.id.String(), Entry: l.Entry, Leg: l.Number, Day: l.Day(), PlacedMillis: l.TimeMillis, UntilMillis: h.until, State: h.state(),
		Readable: l.Opened != nil, Commitment: l.commits[0].String(), Return: l.commits[returnOutput].String()}
	if h.sizeClass != zk.LocalHold {
		o.SizeClass = minor(h.sizeClass)
	}
	if h.outcome != 0 {
		o.ResolvedEntry, o.ResolvedID, o.ResolvedMillis, o.Reason = h.resolved, h.by.String(), h.millis, h.reason.String()
		if h.override {
			o.Reason = "override"
		}
	}
	switch c, _ := h.condition.Decode(); c := c.(type) {
	case *entry.Attested:
		o.Condition = "attested"
	case *entry.DecidedHere:
		o.Condition = "decided here"
		for _, f := range c.Followers {
			o.Followers = append(o.Followers, PeerHold{Ledger: f.Ledger.String(), Commitment: f.Commitment.String()})
		}
	case *entry.DecidedThere:
		o.Condition = "decided there"
		o.Decider = &PeerHold{Ledger: c.Ledger.String(), Hold: c.Hold.String()}
	}
	for _, n := range h.named {
		o.Named = append(o.Named, PeerHold{Ledger: n.Ledger.String(), Hold: n.Hold.String()})
	}
	if l.Opened == nil {
		return o
	}
	n := l.note(0)
	o.Amount, o.Asset, o.Programme, o.Sender, o.Payee = minor(n.Value), a.assetCode(n.Asset), minor(n.Programme), l.Opened.Sender.String(), n.Owner.String()
	if known, ok := a.Genesis.Asset(n.Asset); ok {
		o.Decimals = int(known.Decimals)
	}
	return o
}
