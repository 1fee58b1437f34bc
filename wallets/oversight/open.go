package oversight

import (
	"encoding/hex"
	"strconv"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
)

func minor[T ~uint64](v T) string { return strconv.FormatUint(uint64(v), 10) }

func hexRoot(h proof.Hash) string { return hex.EncodeToString(h[:]) }

// OpenedNote is one note of an opened entry.
type OpenedNote struct {
	Commitment string `json:"commitment"`
	Tree       uint16 `json:"tree"`
	Index      uint32 `json:"index"`
	Readable   bool   `json:"readable"`
	Amount     string `json:"amount,omitempty"` // minor units
	Asset      string `json:"asset,omitempty"`
	Decimals   int    `json:"decimals"`
	Programme  string `json:"programme,omitempty"`
	Owner      string `json:"owner,omitempty"`
	Change     bool   `json:"change,omitempty"` // an output to the sender
	Entry      uint64 `json:"entry"`            // that made it
	Leg        int    `json:"leg"`
	Output     int    `json:"output"`
	State      State  `json:"state,omitempty"`  // of what is held: pending, posted, voided
	Return     bool   `json:"return,omitempty"` // the note by which a hold comes back; a note of the log only once it is voided
}

// OpenedEntry is everything that the keys given show of one transaction.
type OpenedEntry struct {
	Entry      uint64      `json:"entry"`
	ID         string      `json:"id"`
	Kind       string      `json:"kind"`
	Height     uint64      `json:"height"`
	TimeMillis uint64      `json:"time_millis"`
	Final      bool        `json:"final"`
	Legs       []OpenedLeg `json:"legs"`
	Mismatches []Mismatch  `json:"mismatches"`
}

// OpenedLeg is one of its legs.
type OpenedLeg struct {
	Circuit  string       `json:"circuit"`
	Epoch    uint32       `json:"epoch"`
	Access   string       `json:"access"` // oversight, reader, unreadable, mismatch
	Issued   string       `json:"issued"`
	Redeemed string       `json:"redeemed"`
	Sender   string       `json:"sender,omitempty"`
	Inputs   []OpenedNote `json:"inputs"`  // spent, dummies left out
	Outputs  []OpenedNote `json:"outputs"` // with padding; of a hold the return note as well
	Hold     *OpenedHold  `json:"hold,omitempty"`
}

// String names the access for people and in JSON.
func (x Access) String() string {
	switch x {
	case ByOversight:
		return "oversight"
	case ByReader:
		return "reader"
	case Broken:
		return "mismatch"
	}
	return "unreadable"
}

// OpenEntry shows the transaction at a log index, or the hold that the entry there resolves.
func (a *Audit) OpenEntry(index uint64) (*OpenedEntry, error) {
	for i := range a.holds {
		if h := &a.holds[i]; h.outcome != 0 && h.resolved == index {
			return a.openResolution(h), nil
		}
	}
	return a.openWhere(func(l *Leg) bool { return l.Entry == index }, "entry "+strconv.FormatUint(index, 10))
}

// OpenID shows the transaction with an id, or the hold that the entry with that id resolves.
func (a *Audit) OpenID(id entry.ID) (*OpenedEntry, error) {
	for i := range a.holds {
		if h := &a.holds[i]; h.outcome != 0 && h.by == id {
			return a.openResolution(h), nil
		}
	}
	return a.openWhere(func(l *Leg) bool { return l.ID == id }, "id "+id.String())
}

// openResolution shows a resolution with the leg whose hold it decides.
func (a *Audit) openResolution(h *hold) *OpenedEntry {
	kind := entry.KindResolve
	if h.override {
		kind = entry.KindOverride
	}
	return a.withMismatches(&OpenedEntry{Entry: h.resolved, ID: h.by.String(), Kind: kind.String(), Height: h.height, TimeMillis: h.millis, Final: h.resolved < a.FinalSize,
		Legs: []OpenedLeg{a.openedLeg(&a.legs[h.leg])}})
}

func (a *Audit) withMismatches(e *OpenedEntry) *OpenedEntry {
	e.Mismatches = []Mismatch{}
	for _, m := range a.Mismatches {
		if m.Entry == e.Entry {
			e.Mismatches = append(e.Mismatches, m)
		}
	}
	return e
}

func (a *Audit) openWhere(wanted func(*Leg) bool, name string) (*OpenedEntry, error) {
	var e *OpenedEntry
	for i := range a.legs {
		l := &a.legs[i]
		if !wanted(l) {
			continue
		}
		if e == nil {
			e = &OpenedEntry{Entry: l.Entry, ID: l.ID.String(), Kind: l.Kind.String(), Height: l.Height, TimeMillis: l.TimeMillis, Final: l.Entry < a.FinalSize}
		}
		e.Legs = append(e.Legs, a.openedLeg(l))
	}
	if e == nil {
		return nil, wallets.Refuse(NotInLog, "no transaction of the log has %s", name)
	}
	return a.withMismatches(e), nil
}

func (a *Audit) openedLeg(l *Leg) OpenedLeg {
	out := OpenedLeg{Circuit: l.Circuit.String(), Epoch: l.Epoch, Access: l.Access.String(), Issued: minor(l.Issued), Redeemed: minor(l.Redeemed),
		Inputs: []OpenedNote{}, Outputs: []OpenedNote{}}
	if l.Opened != nil {
		out.Sender = l.Opened.Sender.String()
		for _, at := range l.Opened.Spent {
			if from, output := a.note(at); from != nil {
				out.Inputs = append(out.Inputs, a.openedNote(from, output))
			} else {
				out.Inputs = append(out.Inputs, OpenedNote{Tree: at.Tree, Index: at.Index})
			}
		}
	}
	for o := range l.commits {
		n := a.openedNote(l, o)
		n.Return = o == returnOutput && l.hold != 0
		n.Change = l.Opened != nil && !n.Return && l.Opened.Outputs[o].Owner == l.Opened.Sender
		out.Outputs = append(out.Outputs, n)
	}
	if h := a.holdOf(l); h != nil {
		shown := a.openedHold(h)
		out.Hold = &shown
	}
	return out
}

func (a *Audit) openedNote(l *Leg, output int) OpenedNote {
	at, _ := a.at(l, output)
	n := OpenedNote{Commitment: l.commits[output].String(), Tree: at.Tree, Index: at.Index, Readable: l.Opened != nil, Entry: l.Entry, Leg: l.Number, Output: output}
	if h := a.holdOf(l); h != nil && output != 1 {
		n.State = h.state()
	}
	if l.Opened == nil {
		return n
	}
	note := l.note(output)
	n.Amount, n.Asset, n.Programme, n.Owner = minor(note.Value), a.assetCode(note.Asset), minor(note.Programme), note.Owner.String()
	if known, ok := a.Genesis.Asset(note.Asset); ok {
		n.Decimals = int(known.Decimals)
	}
	return n
}
