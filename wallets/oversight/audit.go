package oversight

import (
	"errors"
	"fmt"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// Refusals of this package, beside wallets.OtherLedger and wallets.LedgerLied.
const (
	// KeyUnknown: a secret is that of no oversight epoch and of no programme's reader of this ledger.
	KeyUnknown wallets.Code = "key_unknown"
	// KeysMissing: the answer needs the oversight secrets of all epochs.
	KeysMissing wallets.Code = "oversight_keys_missing"
	// NotInLog: no such entry, commitment or owner is in the log, or no key given opens it.
	NotInLog wallets.Code = "not_in_log"
	// CrossInvalid: not an export of cross-border legs.
	CrossInvalid wallets.Code = "cross_legs_invalid"
)

// Problem is the name of a mismatch.
type Problem string

// What an audit can find wrong with a log whose order and checkpoint are right.
const (
	// CipherUnreadable: an output or the sender does not open under the epoch's key.
	CipherUnreadable Problem = "cipher_unreadable"
	// CommitmentDiffers: a commitment is not that of the note that was opened.
	CommitmentDiffers Problem = "commitment_differs"
	// SubtreeDiffers: a disbursement's subtree root is not that of its commitments.
	SubtreeDiffers Problem = "subtree_differs"
	// ReturnDiffers: the return commitment of a hold is not that of the held note.
	ReturnDiffers Problem = "return_differs"
	// AssetDiffers: a leg opens to another asset than it shows, or to several.
	AssetDiffers Problem = "asset_differs"
	// EpochUnknown: a leg names an oversight epoch that never began.
	EpochUnknown Problem = "epoch_unknown"
	// SignatureInvalid: a privileged entry is not signed as the ledger's policy asks.
	SignatureInvalid Problem = "signature_invalid"
	// StateDiffers: a state entry has another counter, supply or note root than the entries give.
	StateDiffers Problem = "state_differs"
	// NullifierRepeated: one nullifier stands in the log twice.
	NullifierRepeated Problem = "nullifier_repeated"
	// InputUnknown: a leg spends a position at which no output lay when it was made.
	InputUnknown Problem = "input_unknown"
	// ProgrammeDiffers: earmarked money changed its programme, or a leg spends money of several.
	ProgrammeDiffers Problem = "programme_differs"
	// InputForeign: a leg spends a note of another owner or asset than its own.
	InputForeign Problem = "input_foreign"
	// InputSpentTwice: a note is spent a second time.
	InputSpentTwice Problem = "input_spent_twice"
	// Unbalanced: inputs and issue differ from outputs and redemption.
	Unbalanced Problem = "unbalanced"
	// HoldUnknown: an entry resolves or amends a hold that no leg placed.
	HoldUnknown Problem = "hold_unknown"
	// HoldResolvedTwice: a hold is posted or voided again.
	HoldResolvedTwice Problem = "hold_resolved_twice"
	// ResolutionDiffers: a resolution places another commitment than the hold has for its outcome.
	ResolutionDiffers Problem = "resolution_differs"
	// SupplyDiffers: issued minus redeemed is not what is unspent and what waits in holds.
	SupplyDiffers Problem = "supply_differs"
)

// Mismatch is one thing in the log that is not as it must be. It is a finding, not a failure of the audit.
type Mismatch struct {
	Problem Problem `json:"problem"`
	Height  uint64  `json:"height"`
	Entry   uint64  `json:"entry"` // log index
	Leg     int     `json:"leg"`   // -1 where the entry as a whole is meant
	Detail  string  `json:"detail"`
}

// String is one line for people.
func (m Mismatch) String() string {
	if m.Leg < 0 {
		return fmt.Sprintf("%s: entry %d (block %d): %s", m.Problem, m.Entry, m.Height, m.Detail)
	}
	return fmt.Sprintf("%s: entry %d, leg %d (block %d): %s", m.Problem, m.Entry, m.Leg, m.Height, m.Detail)
}

// Access says what became of a leg.
type Access uint8

// How a leg was opened, or not.
const (
	// Unreadable: no key that was given is meant to open it.
	Unreadable Access = iota
	// ByOversight: with the secret of its epoch.
	ByOversight
	// ByReader: with the secret of its programme's reader.
	ByReader
	// Broken: a key that must open it does not. A Mismatch says why.
	Broken
)

// Leg is one leg of the log as the auditor sees it.
type Leg struct {
	Entry      uint64 // log index
	Number     int    // of the leg in its entry
	Height     uint64
	TimeMillis uint64 // ledger time of its block, milliseconds since the Unix epoch
	ID         entry.ID
	Kind       entry.Kind
	Circuit    zk.CircuitID
	Epoch      uint32
	Asset      zk.AssetID     // shown, where it issues or redeems
	Programme  zk.ProgrammeID // shown, where it issues or redeems
	Issued     zk.Amount
	Redeemed   zk.Amount
	Access     Access
	Base       zk.Position     // of output 0, of a hold of its change; the others follow it
	Opened     *keys.OpenedLeg // nil unless Access is ByOversight or ByReader
	reader     zk.ProgrammeID  // whose reader opened it
	anchor     uint64          // height of the state it was proven against
	commits    []zk.Commitment // in order of outputs; behind them the return commitment of a hold
	hold       int             // index into Audit.holds, plus 1; 0 for none
}

// Day is the UTC day of the leg's block.
func (l *Leg) Day() string { return dayOf(l.TimeMillis) }

func dayOf(millis uint64) string { return time.UnixMilli(int64(millis)).UTC().Format(time.DateOnly) }

// at is the position of an output. ok is false for what waits in a hold, or was not placed by its resolution.
func (a *Audit) at(l *Leg, output int) (at zk.Position, ok bool) {
	h := a.holdOf(l)
	switch {
	case h == nil:
		return zk.Position{Tree: l.Base.Tree, Index: l.Base.Index + uint32(output)}, true
	case output == 1:
		return l.Base, true
	case a.lies(l, output):
		return h.at, true
	}
	return at, false
}

// Commitment is that of an output, as the log has it.
func (l *Leg) Commitment(output int) zk.Commitment { return l.commits[output] }

// AssetOf is the one asset of an opened leg.
func (l *Leg) AssetOf() zk.AssetID {
	if l.Opened == nil || l.Asset != 0 {
		return l.Asset
	}
	return l.Opened.Outputs[0].Asset
}

// pays reports whether an output is a payment: value for somebody else than the sender. What is paid into a hold is one once it is posted.
func (a *Audit) pays(l *Leg, output int) bool {
	return l.foreign(output) && a.lies(l, output)
}

func (l *Leg) foreign(output int) bool {
	n := &l.Opened.Outputs[output]
	return n.Value > 0 && n.Owner != l.Opened.Sender
}

// Programme is a programme of the ledger.
type Programme struct {
	ID   zk.ProgrammeID
	Name string
}

// Audit is what a scan found. It does not change any more, and is safe for concurrent reading.
type Audit struct {
	Genesis      *entry.Genesis
	Size         uint64     // entries read, from entry 0
	Height       uint64     // of the last block
	Root         proof.Hash // log root at Size
	FinalSize    uint64     // entries that a cosigned checkpoint covers; later ones are accepted, not final
	Transactions int
	Mismatches   []Mismatch
	Programmes   []Programme // in the order of opening

	legs   []Leg
	holds  []hold
	byHold map[entry.HoldID]int
	notes  noteTrees
	supply []entry.Supply  // recomputed from the entries, in the order of genesis
	state  *entry.State    // the last one
	opened map[uint32]bool // oversight epochs whose secret was given
}

// Legs gives every leg in the order of the log. The slice is shared.
func (a *Audit) Legs() []Leg { return a.legs }

// Opened counts the legs that opened, Unread those that no given key is meant to open, and Payments the outputs with value for somebody else
// than their sender.
func (a *Audit) counts() (opened, unread, payments int) {
	for i := range a.legs {
		l := &a.legs[i]
		switch l.Access {
		case Unreadable:
			unread++
		case ByOversight, ByReader:
			opened++
			for o := range l.Opened.Outputs {
				if a.pays(l, o) {
					payments++
				}
			}
		}
	}
	return opened, unread, payments
}

// note is the opened note at a position, with the leg that made it. A nil leg means that no output lies there; a leg without Opened that it
// cannot be read.
func (a *Audit) note(at zk.Position) (*Leg, int) {
	i, output, _, ok := a.notes.find(at)
	if !ok {
		return nil, 0
	}
	return &a.legs[i], output
}

// problemOf names why a leg did not open.
func problemOf(err error) Problem {
	switch {
	case errors.Is(err, keys.ErrCommitment):
		return CommitmentDiffers
	case errors.Is(err, keys.ErrSubtree):
		return SubtreeDiffers
	case errors.Is(err, keys.ErrReturn):
		return ReturnDiffers
	}
	return CipherUnreadable
}
