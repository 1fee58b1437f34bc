package oversight

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// Role is a ledger's part in a payment across a border.
type Role string

// The parts.
const (
	Decider  Role = "decider"  // its hold decides
	Follower Role = "follower" // its hold follows
)

// CrossLeg is a hold whose payment crosses a border, as one audit office sees it. The hold's id and the decider's are public on both ledgers:
// by them two offices match their legs without showing one another anything that they opened.
type CrossLeg struct {
	Ledger         string     `json:"ledger"` // genesis hash
	Role           Role       `json:"role"`
	Hold           string     `json:"hold"`
	Decider        PeerHold   `json:"decider"`             // the hold that decides: of a decider this one
	Followers      []PeerHold `json:"followers,omitempty"` // of a decider: ledgers and the commitments that it waits for
	Named          []PeerHold `json:"named,omitempty"`     // of a decider: the followers' holds that its posting names
	Commitment     string     `json:"commitment"`          // of the payee's output
	SizeClass      string     `json:"size_class"`          // minor units
	State          State      `json:"state"`
	Override       bool       `json:"override,omitempty"` // the treasuries decided
	Entry          uint64     `json:"entry"`
	PlacedMillis   uint64     `json:"placed_millis"`
	ResolvedEntry  uint64     `json:"resolved_entry,omitempty"`
	ResolvedMillis uint64     `json:"resolved_millis,omitempty"`
	// What the keys given open. Public leaves it out.
	Amount    string `json:"amount,omitempty"` // minor units
	Asset     string `json:"asset,omitempty"`
	Decimals  int    `json:"decimals,omitempty"`
	Programme string `json:"programme,omitempty"`
	Sender    string `json:"sender,omitempty"`
	Payee     string `json:"payee,omitempty"`
}

// CrossLegs is the export of one office: every leg of one ledger that crosses a border.
type CrossLegs struct {
	Format    string     `json:"format"`
	Ledger    string     `json:"ledger"`
	Genesis   string     `json:"genesis"`
	Size      uint64     `json:"size"` // entries read
	Root      string     `json:"root"`
	FinalSize uint64     `json:"final_size"`
	Legs      []CrossLeg `json:"legs"`
}

const crossFormat = "comity/cross-legs/v1"

// CrossLegs lists the legs that cross a border, in the order of the log.
func (a *Audit) CrossLegs() *CrossLegs {
	x := &CrossLegs{Format: crossFormat, Ledger: a.Genesis.Name, Genesis: a.Genesis.Hash().String(), Size: a.Size, Root: hexRoot(a.Root), FinalSize: a.FinalSize,
		Legs: []CrossLeg{}}
	for i := range a.holds {
		h := &a.holds[i]
		if h.condition.Type != entry.ConditionDecidedHere && h.condition.Type != entry.ConditionDecidedThere {
			continue
		}
		o := a.openedHold(h)
		l := CrossLeg{Ledger: x.Genesis, Role: Decider, Hold: o.Hold, Decider: PeerHold{Ledger: x.Genesis, Hold: o.Hold}, Followers: o.Followers, Named: o.Named,
			Commitment: o.Commitment, SizeClass: o.SizeClass, State: o.State, Override: h.override, Entry: o.Entry, PlacedMillis: o.PlacedMillis,
			ResolvedEntry: o.ResolvedEntry, ResolvedMillis: o.ResolvedMillis, Amount: o.Amount, Asset: o.Asset, Decimals: o.Decimals, Programme: o.Programme,
			Sender: o.Sender, Payee: o.Payee}
		if o.Decider != nil {
			l.Role, l.Decider = Follower, *o.Decider
		}
		x.Legs = append(x.Legs, l)
	}
	return x
}

// Public is the export without amounts, currencies, programmes and owners: what both logs show to everybody.
func (x *CrossLegs) Public() *CrossLegs {
	y := *x
	y.Legs = make([]CrossLeg, len(x.Legs))
	for i, l := range x.Legs {
		l.Amount, l.Asset, l.Decimals, l.Programme, l.Sender, l.Payee = "", "", 0, "", "", ""
		y.Legs[i] = l
	}
	return &y
}

// Marshal gives the export as indented JSON, ending in a newline.
func (x *CrossLegs) Marshal() ([]byte, error) {
	b, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("encode cross-border legs: %w", err)
	}
	return append(b, '\n'), nil
}

// maxCrossLegs bounds an export in bytes.
const maxCrossLegs = 256 << 20

// ParseCrossLegs reads what Marshal wrote, of either office: cross_legs_invalid.
func ParseCrossLegs(b []byte) (*CrossLegs, error) {
	bad := func(format string, args ...any) (*CrossLegs, error) {
		return nil, wallets.Refuse(CrossInvalid, format, args...)
	}
	if len(b) > maxCrossLegs {
		return bad("%d bytes, the limit is %d", len(b), maxCrossLegs)
	}
	x := new(CrossLegs)
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(x); err != nil {
		return bad("%v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows the legs")
	}
	if x.Format != crossFormat {
		return bad("format %q, want %q", x.Format, crossFormat)
	}
	if _, err := entry.ParseID(x.Genesis); err != nil {
		return bad("genesis: %v", err)
	}
	seen := map[string]bool{}
	for i := range x.Legs {
		l := &x.Legs[i]
		if err := l.check(); err != nil {
			return bad("leg %d: %v", i, err)
		}
		if l.Ledger != x.Genesis {
			return bad("leg %d is of ledger %s, the export of %s", i, l.Ledger, x.Genesis)
		}
		if seen[l.Hold] {
			return bad("hold %s stands twice", l.Hold)
		}
		seen[l.Hold] = true
	}
	return x, nil
}

func (l *CrossLeg) check() error {
	if _, err := entry.ParseID(l.Ledger); err != nil {
		return err
	}
	for _, h := range append([]PeerHold{{Hold: l.Hold}, l.Decider}, l.Named...) {
		if _, err := entry.ParseHoldID(h.Hold); err != nil {
			return err
		}
	}
	own := l.Decider.Ledger == l.Ledger && l.Decider.Hold == l.Hold
	switch {
	case l.Role != Decider && l.Role != Follower, own != (l.Role == Decider), l.Role == Follower && l.Decider.Ledger == l.Ledger:
		return fmt.Errorf("hold %s as %q of hold %s", l.Hold, l.Role, l.Decider.Hold)
	case l.State != Pending && l.State != Posted && l.State != Voided:
		return fmt.Errorf("state %q", l.State)
	}
	return nil
}

// Discord is the name of a difference between two offices.
type Discord string

// What two offices' legs can differ in.
const (
	// PeerHoldMissing: a leg names a hold of the other ledger that the other office does not list.
	PeerHoldMissing Discord = "peer_hold_missing"
	// PeerNotNamed: a follower names a decider that does not wait for it: not its ledger, or not its commitment.
	PeerNotNamed Discord = "peer_not_named"
	// OutcomesDiffer: one side paid and the other gave back.
	OutcomesDiffer Discord = "outcomes_differ"
	// StillPending: the decider has decided and the follower still waits, or the log that was read ends before.
	StillPending Discord = "still_pending"
)

// Difference is one thing in which the legs of two offices do not agree.
type Difference struct {
	Discord Discord `json:"discord"`
	Ledger  string  `json:"ledger"` // genesis hash
	Hold    string  `json:"hold"`
	Peer    string  `json:"peer"` // the other ledger's
	There   string  `json:"there,omitempty"`
	Detail  string  `json:"detail"`
}

// String is one line for people.
func (d Difference) String() string {
	return fmt.Sprintf("%s: hold %s of ledger %.8s, ledger %.8s: %s", d.Discord, d.Hold, d.Ledger, d.Peer, d.Detail)
}

// Reconcile matches the legs of two ledgers by hold id. The ledgers are those that the legs name: with no leg on one side use
// CrossLegs.Reconcile, which knows both.
func Reconcile(a, b []CrossLeg) []Difference {
	ledger := func(legs []CrossLeg) string {
		if len(legs) == 0 {
			return ""
		}
		return legs[0].Ledger
	}
	return reconcile(ledger(a), a, ledger(b), b)
}

// Reconcile matches this office's legs with the other's, by hold id. Neither export needs amounts.
func (x *CrossLegs) Reconcile(other *CrossLegs) []Difference {
	return reconcile(x.Genesis, x.Legs, other.Genesis, other.Legs)
}

func reconcile(ledgerA string, a []CrossLeg, ledgerB string, b []CrossLeg) []Difference {
	out := []Difference{}
	if ledgerA == ledgerB {
		return out
	}
	out = append(out, against(a, b, ledgerB)...)
	out = append(out, against(b, a, ledgerA)...)
	return append(out, siblings(a, b)...)
}

// against holds the legs of one office against those of the other, whose ledger is peer.
func against(legs, there []CrossLeg, peer string) (out []Difference) {
	byHold := make(map[string]*CrossLeg, len(there))
	for i := range there {
		byHold[there[i].Hold] = &there[i]
	}
	for i := range legs {
		l := &legs[i]
		differ := func(d Discord, hold, format string, args ...any) {
			out = append(out, Difference{d, l.Ledger, l.Hold, peer, hold, fmt.Sprintf(format, args...)})
		}
		if l.Role == Decider {
			for _, n := range l.Named {
				if n.Ledger != peer {
					continue
				}
				f := byHold[n.Hold]
				switch {
				case f == nil || f.Role != Follower || f.Decider != l.Decider:
					differ(PeerHoldMissing, n.Hold, "the decision names a hold that does not follow it there")
				case f.State == Voided:
					differ(OutcomesDiffer, n.Hold, "posted here, and the hold that the decision names was voided there%s", overrode(f))
				case f.State == Pending:
					differ(StillPending, n.Hold, "posted here, and the hold that the decision names waits there")
				}
			}
			continue
		}
		if l.Decider.Ledger != peer {
			continue
		}
		d := byHold[l.Decider.Hold]
		switch {
		case d == nil || d.Role != Decider:
			differ(PeerHoldMissing, l.Decider.Hold, "%s here, and the hold that it follows is not listed there", l.State)
			continue
		case !d.waitsFor(l):
			differ(PeerNotNamed, l.Decider.Hold, "%s here, and the hold that it follows does not wait for it", l.State)
			continue
		}
		named := d.names(l)
		switch {
		case l.State == Posted && !named:
			differ(OutcomesDiffer, d.Hold, "posted here%s, and %s there without naming this hold%s", overrode(l), d.State, overrode(d))
		case l.State == Voided && d.State == Pending:
			differ(OutcomesDiffer, d.Hold, "voided here%s, and pending there", overrode(l))
		case l.State == Pending && d.State != Pending && !named: // a hold that is named was found above
			differ(StillPending, d.Hold, "pending here, and %s there without naming this hold", d.State)
		}
	}
	return out
}

func (l *CrossLeg) waitsFor(f *CrossLeg) bool {
	for _, x := range l.Followers {
		if x.Ledger == f.Ledger && x.Commitment == f.Commitment {
			return true
		}
	}
	return false
}

func (l *CrossLeg) names(f *CrossLeg) bool {
	for _, x := range l.Named {
		if x.Ledger == f.Ledger && x.Hold == f.Hold {
			return l.State == Posted
		}
	}
	return false
}

func overrode(l *CrossLeg) string {
	if l.Override {
		return " by an override"
	}
	return ""
}

// siblings compares the legs of two ledgers that follow one decider on a third: a decision pays on both or on neither.
func siblings(a, b []CrossLeg) (out []Difference) {
	type tally struct{ posted, voided, pending *CrossLeg }
	count := func(legs []CrossLeg) (map[PeerHold]*tally, []PeerHold) {
		m, order := map[PeerHold]*tally{}, []PeerHold(nil)
		for i := range legs {
			l := &legs[i]
			if l.Role != Follower {
				continue
			}
			t := m[l.Decider]
			if t == nil {
				t = new(tally)
				m[l.Decider] = t
				order = append(order, l.Decider)
			}
			switch l.State {
			case Posted:
				t.posted = l
			case Voided:
				t.voided = l
			default:
				t.pending = l
			}
		}
		return m, order
	}
	left, order := count(a)
	right, _ := count(b)
	for _, d := range order {
		x, y := left[d], right[d]
		if y == nil {
			continue
		}
		for _, pair := range [][2]*tally{{x, y}, {y, x}} {
			paid, back := pair[0], pair[1]
			if paid.posted != nil && back.posted == nil && back.pending == nil {
				out = append(out, Difference{OutcomesDiffer, paid.posted.Ledger, paid.posted.Hold, back.voided.Ledger, back.voided.Hold,
					fmt.Sprintf("posted here and voided there, though both follow hold %s", d.Hold)})
			}
		}
	}
	return out
}
