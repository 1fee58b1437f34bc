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
	// SupplyDiffers: issued minus redeemed is not what is unspent.
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
	Base       zk.Position     // of output 0; the others follow it
	Opened     *keys.OpenedLeg // nil unless Access is ByOversight or ByReader
	reader     zk.ProgrammeID  // whose reader opened it
	anchor     uint64          // height of the state it was proven against
	commits    []zk.Commitment // in order of outputs
}

// Day is the UTC day of the leg's block.
func (l *Leg) Day() string { return time.UnixMilli(int64(l.TimeMillis)).UTC().Format(time.DateOnly) }

// At is the position of an output.
func (l *Leg) At(output int) zk.Position {
	return zk.Position{Tree: l.Base.Tree, Index: l.Base.Index + uint32(output)}
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

// pays reports whether an output is a payment: value for somebody else than the sender.
func (l *Leg) pays(output int) bool {
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
				if l.pays(o) {
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
	i, output, ok := a.notes.find(at)
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
