package oversight

import (
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// Step is one output on the way back to an issue.
type Step struct {
	Depth      int      `json:"depth"` // 0 for what was asked about; the steps below it follow with a greater depth
	Commitment string   `json:"commitment"`
	Entry      uint64   `json:"entry"`
	Leg        int      `json:"leg"`
	Output     int      `json:"output"`
	Kind       string   `json:"kind"` // of the entry: transfer, issue, redeem
	ID         string   `json:"id"`
	Day        string   `json:"day"`
	Readable   bool     `json:"readable"` // no key given opens it otherwise; what follows is then empty
	Asset      string   `json:"asset,omitempty"`
	Amount     string   `json:"amount,omitempty"` // minor units
	Decimals   int      `json:"decimals"`
	Programme  string   `json:"programme,omitempty"`
	Owner      string   `json:"owner,omitempty"`
	Sender     string   `json:"sender,omitempty"`
	Issued     string   `json:"issued,omitempty"`  // by the leg: the chain ends here
	Inputs     []string `json:"inputs"`            // commitments of the notes that the leg spent
	Above      bool     `json:"above,omitempty"`   // the inputs of this leg are listed above
	Missing    int      `json:"missing,omitempty"` // inputs of the leg that lie nowhere in the log
	Hold       string   `json:"hold,omitempty"`    // in which the output waited, or waits
	State      State    `json:"state,omitempty"`   // of that hold
	Resolved   uint64   `json:"resolved_entry,omitempty"`
	Return     bool     `json:"return,omitempty"` // the output is what came back from the hold
}

// Trace is the money behind some outputs, back to where it was issued.
type Trace struct {
	Ledger    string   `json:"ledger"`
	Genesis   string   `json:"genesis"`
	From      uint64   `json:"from"`
	Size      uint64   `json:"size"`
	Root      string   `json:"root"`
	FinalSize uint64   `json:"final_size"`
	Complete  bool     `json:"complete"` // every branch ends in an issue that was opened
	Issues    []uint64 `json:"issues"`   // entries that issued the money
	Steps     int      `json:"steps"`
	Chain     []Step   `json:"chain"`
}

// TraceTo follows what an owner received, of one programme or (with nil) of all, back to its issue.
func (a *Audit) TraceTo(owner zk.Owner, programme *zk.ProgrammeID) (*Trace, error) {
	var targets []at
	for i := range a.legs {
		l := &a.legs[i]
		if l.Opened == nil {
			continue
		}
		for o := range l.Opened.Outputs {
			n := &l.Opened.Outputs[o]
			if n.Owner == owner && n.Value > 0 && a.lies(l, o) && (n.Owner != l.Opened.Sender || l.Issued > 0) && (programme == nil || n.Programme == *programme) {
				targets = append(targets, at{leg: i, output: o})
			}
		}
	}
	if len(targets) == 0 {
		return nil, wallets.Refuse(NotInLog, "the keys given open no payment to %s", owner)
	}
	return a.trace(targets), nil
}

// TraceCommitment follows one output back to its issue.
func (a *Audit) TraceCommitment(cm zk.Commitment) (*Trace, error) {
	for i := range a.legs {
		for o, c := range a.legs[i].commits {
			if c == cm {
				return a.trace([]at{{leg: i, output: o}}), nil
			}
		}
	}
	return nil, wallets.Refuse(NotInLog, "no output has commitment %s", cm)
}

// at is an output still to be visited.
type at struct{ leg, output, depth int }

// trace walks depth first with a stack of its own, because a chain of change is as long as a wallet's history. The inputs of each leg are
// listed once, so the result has at most one step per target and per input of the log.
func (a *Audit) trace(targets []at) *Trace {
	t := &Trace{Ledger: a.Genesis.Name, Genesis: a.Genesis.Hash().String(), Size: a.Size, Root: hexRoot(a.Root), FinalSize: a.FinalSize, Complete: true, Issues: []uint64{}}
	seen := map[int]bool{}
	stack := make([]at, 0, len(targets))
	for i := len(targets) - 1; i >= 0; i-- {
		stack = append(stack, targets[i])
	}
	for len(stack) > 0 {
		x := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		l := &a.legs[x.leg]
		step := a.step(l, x)
		switch {
		case l.Opened == nil:
			t.Complete = false
		case seen[x.leg]:
			step.Above = true
		default:
			seen[x.leg] = true
			var next []at
			for _, p := range l.Opened.Spent {
				leg, output, height, ok := a.notes.find(p)
				if !ok || height > l.anchor {
					step.Missing++
					continue
				}
				next = append(next, at{leg, output, x.depth + 1})
				step.Inputs = append(step.Inputs, a.legs[leg].commits[output].String())
			}
			for i := len(next) - 1; i >= 0; i-- {
				stack = append(stack, next[i])
			}
			if l.Issued > 0 {
				t.Issues = append(t.Issues, l.Entry)
			} else if len(next) == 0 {
				t.Complete = false // value from nowhere, or an output of value 0
			}
			t.Complete = t.Complete && step.Missing == 0
		}
		t.Chain = append(t.Chain, step)
	}
	t.Steps = len(t.Chain)
	return t
}

func (a *Audit) step(l *Leg, x at) Step {
	s := Step{Depth: x.depth, Commitment: l.commits[x.output].String(), Entry: l.Entry, Leg: l.Number, Output: x.output, Kind: l.Kind.String(), ID: l.ID.String(),
		Day: l.Day(), Readable: l.Opened != nil, Inputs: []string{}}
	if h := a.holdOf(l); h != nil && x.output != 1 {
		s.Hold, s.State, s.Return = h.id.String(), h.state(), x.output == returnOutput
		s.Resolved = h.resolved
	}
	if l.Opened == nil {
		return s
	}
	n := l.note(x.output)
	s.Asset, s.Amount, s.Programme = a.assetCode(n.Asset), minor(n.Value), minor(n.Programme)
	s.Owner, s.Sender = n.Owner.String(), l.Opened.Sender.String()
	if known, ok := a.Genesis.Asset(n.Asset); ok {
		s.Decimals = int(known.Decimals)
	}
	if l.Issued > 0 {
		s.Issued = minor(l.Issued)
	}
	return s
}
