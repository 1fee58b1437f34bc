package wallets

import (
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// returnOutput is the place of the return note in the segment of a hold leg, behind its two outputs (W6.2).
const returnOutput = 2

// Hold is a hold that this wallet placed or is the payee of, as the log shows it.
type Hold struct {
	ID               entry.HoldID    `json:"id"`
	Mine             bool            `json:"mine,omitempty"`  // placed by this wallet: voided, the money comes back
	Payee            bool            `json:"payee,omitempty"` // posted, the money is this wallet's
	Note             zk.Note         `json:"note,omitzero"`   // the payee's output; known to the payee alone, and to the payer's Outbox
	Return           zk.Note         `json:"return,omitzero"` // what comes back when voided; known to the payer alone
	Commitment       zk.Commitment   `json:"commitment"`      // of the payee's output
	ReturnCommitment zk.Commitment   `json:"return_commitment"`
	Condition        entry.Condition `json:"condition"`
	SizeClass        uint64          `json:"size_class"`
	Until            uint64          `json:"until"` // expiry in ledger time, amendments included; of a decided-there hold its decider's
	Reference        string          `json:"reference,omitempty"`
	Entry            uint64          `json:"entry"` // log index of the transaction
	Height           uint64          `json:"height"`
	PlacedMillis     uint64          `json:"placed"`
	Outcome          entry.Outcome   `json:"outcome"` // 0 while it is open
	ResolvedBy       entry.ID        `json:"resolved_by,omitzero"`
	ResolvedEntry    uint64          `json:"resolved_entry,omitempty"`
	ResolvedMillis   uint64          `json:"resolved,omitempty"`
}

// Asset is the currency held.
func (h *Hold) Asset() zk.AssetID { return h.known().Asset }

// Amount is what is held, in minor units.
func (h *Hold) Amount() zk.Amount { return h.known().Value }

// Programme is the earmark of the money held.
func (h *Hold) Programme() zk.ProgrammeID { return h.known().Programme }

// known is the note that this wallet can open: value, asset and programme of both are the same.
func (h *Hold) known() *zk.Note {
	if h.Payee {
		return &h.Note
	}
	return &h.Return
}

// Holds lists the holds that this wallet placed or is the payee of, in the order in which they were placed; resolved ones stay.
func (s *State) Holds() []Hold { return append([]Hold(nil), s.held...) }

// HoldOf finds one of them.
func (s *State) HoldOf(id entry.HoldID) (Hold, bool) {
	i, ok := s.byHold[id]
	if !ok {
		return Hold{}, false
	}
	return s.held[i], true
}

// Held is the payee's output of a hold that this folder placed: its opening, address and reference.
func (o *Outbox) Held(id entry.HoldID) (Sent, bool) {
	if a, ok := o.attempts[id.Tx]; ok {
		for _, sent := range a.Outputs {
			if sent.Leg == int(id.Leg) && sent.Output == 0 {
				return sent, true
			}
		}
	}
	return Sent{}, false
}

// OpenHolds is the number of holds of the whole ledger that wait.
func (s *State) OpenHolds() uint32 { return s.holds }

// Held adds up what this wallet has in open holds: out is its own money that waits, in is what waits for it. Neither is in Balances.
func (s *State) Held() (out, in []Balance) {
	for i := range s.held {
		h := &s.held[i]
		switch {
		case h.Outcome != 0:
		case h.Mine:
			out = addNote(out, h.known())
		default:
			in = addNote(in, h.known())
		}
	}
	return out, in
}

// turn is a change of one of the wallet's holds in a block.
type turn struct {
	entry int // of the block
	hold  int // index into State.held
}

// followed is what a block means for this wallet: the notes that become spendable in the order of entries, and the holds that changed.
type followed struct {
	got   []received
	turns []turn
}

// follow reads the block's holds and resolutions in the order of entries. Outputs that wait are taken out of what was received, and what a
// resolution places is put in.
func (s *State) follow(scanned *Scanned, body []entry.Entry, ids []entry.ID, timeMillis uint64) (*followed, error) {
	f := new(followed)
	b := scanned.block
	next := 0
	for i, e := range body {
		index := b.FirstIndex + uint64(i)
		switch e := e.(type) {
		case *entry.Transaction:
			for l := range e.Legs {
				if e.Legs[l].Circuit.Shape().Held {
					s.holds++
				}
			}
			for ; next < len(scanned.received) && scanned.received[next].entry == i; next++ {
				r := scanned.received[next]
				leg := &e.Legs[r.leg]
				if !leg.Circuit.Shape().Held || r.output == 1 {
					f.got = append(f.got, r)
					continue
				}
				if r.note.Value == 0 {
					continue
				}
				if ids[i] == (entry.ID{}) {
					ids[i] = e.ID()
				}
				id := entry.HoldID{Tx: ids[i], Leg: uint8(r.leg)}
				n, known := s.byHold[id]
				if !known {
					n = len(s.held)
					s.byHold[id] = n
					s.held = append(s.held, Hold{ID: id, Commitment: leg.Commitments[0], ReturnCommitment: leg.ReturnCommitment, Condition: leg.Condition,
						SizeClass: leg.SizeClass, Until: expiryOf(leg.Condition), Entry: index, Height: b.Height, PlacedMillis: timeMillis})
					f.turns = append(f.turns, turn{i, n})
				}
				h := &s.held[n]
				if r.output == returnOutput { // the proof ties it to the notes spent: whoever can open it has placed the hold
					h.Mine, h.Return = true, r.note
				} else {
					h.Payee, h.Note, h.Reference = true, r.note, string(r.memo)
				}
			}
		case *entry.Amend:
			if n, ours := s.byHold[e.Hold]; ours && s.held[n].Outcome == 0 {
				s.held[n].Until = e.Until
			}
		case *entry.Resolve:
			if err := s.resolve(f, i, index, e, e.Hold, e.Outcome, e.Commitment, ids, timeMillis); err != nil {
				return nil, err
			}
		case *entry.Override:
			if err := s.resolve(f, i, index, e, e.Hold, e.Outcome, e.Commitment, ids, timeMillis); err != nil {
				return nil, err
			}
		}
	}
	return f, nil
}

// resolve books a resolution or an override.
func (s *State) resolve(f *followed, i int, index uint64, e entry.Entry, id entry.HoldID, outcome entry.Outcome, cm zk.Commitment, ids []entry.ID, timeMillis uint64) error {
	if s.holds == 0 {
		return Refuse(LedgerLied, "entry %d resolves hold %s while none is open", index, id)
	}
	s.holds--
	n, ours := s.byHold[id]
	if !ours {
		return nil
	}
	h := &s.held[n]
	if h.Outcome != 0 {
		return Refuse(LedgerLied, "entry %d resolves hold %s again: it was %s", index, id, h.Outcome)
	}
	want := h.Commitment
	if outcome == entry.Voided {
		want = h.ReturnCommitment
	}
	if cm != want {
		return Refuse(LedgerLied, "entry %d places another commitment than hold %s has for %s", index, id, outcome)
	}
	if ids[i] == (entry.ID{}) {
		ids[i] = entry.IDOf(e)
	}
	h.Outcome, h.ResolvedBy, h.ResolvedEntry, h.ResolvedMillis = outcome, ids[i], index, timeMillis
	f.turns = append(f.turns, turn{i, n})
	switch {
	case outcome == entry.Posted && h.Payee:
		f.got = append(f.got, received{entry: i, note: h.Note, memo: []byte(h.Reference), hold: id})
	case outcome == entry.Voided && h.Mine:
		f.got = append(f.got, received{entry: i, note: h.Return, hold: id})
	}
	return nil
}

// expiryOf is the ledger time that a condition names as its end, or 0 where it names none.
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

// movement is the line of the history for a hold that was placed or resolved.
func (h *Hold) movement(placed bool, id entry.ID, where Settled) Movement {
	m := Movement{Settled: where, TxID: id, Asset: h.Asset(), Programme: h.Programme(), Amount: h.Amount(), Reference: h.Reference, Hold: h.ID}
	switch {
	case placed && h.Mine:
		m.Direction = HeldOut
	case placed:
		m.Direction = HeldIn
	case h.Outcome == entry.Posted && h.Payee:
		m.Direction = PostedIn
	case h.Outcome == entry.Posted:
		m.Direction = PostedOut
	case h.Mine:
		m.Direction = Returned
	default:
		m.Direction = Lapsed
	}
	return m
}
