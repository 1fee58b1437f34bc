package wallets

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// MaxPaymentID is the longest payment id in bytes.
const MaxPaymentID = 128

// Order is what the user asked for. Its id is the client's; its fields never change.
type Order struct {
	ID            string         `json:"id"`
	To            string         `json:"to,omitempty"` // address of a payee; empty for a group of a disbursement
	Asset         zk.AssetID     `json:"asset"`
	Amount        zk.Amount      `json:"amount"`
	Programme     zk.ProgrammeID `json:"programme"`
	Reference     string         `json:"reference,omitempty"`
	Disbursement  string         `json:"disbursement,omitempty"` // id of the disbursement that the order is a group of
	Group         int            `json:"group,omitempty"`
	Held          bool           `json:"held,omitempty"` // paid into a hold
	CreatedMillis uint64         `json:"created"`        // wall clock of the wallet
}

// same compares the fields that a payment id stands for.
func (o *Order) same(p *Order) bool {
	a, b := *o, *p
	a.CreatedMillis, b.CreatedMillis = 0, 0
	return a == b
}

// reserved begins the ids of orders that the wallet makes for itself, see GroupOrderID.
const reserved = "disburse/"

// CheckPaymentID refuses an id that does not print, is too long or could be one of the wallet's own.
func CheckPaymentID(id string) error {
	if strings.HasPrefix(id, reserved) {
		return Refuse(PaymentIDInvalid, "ids that begin with %q are the wallet's own", reserved)
	}
	if id == "" || len(id) > MaxPaymentID || !printable(id) || strings.TrimSpace(id) != id {
		return Refuse(PaymentIDInvalid, "a payment id is 1 to %d bytes of printable text without spaces at its ends", MaxPaymentID)
	}
	return nil
}

// Sent is one output of a transaction that the wallet built: everything that opens its commitment.
type Sent struct {
	Leg     int     `json:"leg"`
	Output  int     `json:"output"`
	Note    zk.Note `json:"note"`
	To      string  `json:"to,omitempty"` // address; empty for the wallet itself
	Memo    string  `json:"memo,omitempty"`
	Line    int     `json:"line,omitempty"` // of a disbursement, 1 and up; 0 for none
	Purpose Purpose `json:"purpose"`
}

// Attempt is one transaction built for an order, kept with its exact bytes before it is sent. Only attempts that pay settle the order;
// the others prepare notes for it.
type Attempt struct {
	Order        string         `json:"order"`
	Pays         bool           `json:"pays"`
	TxID         entry.ID       `json:"tx"`
	Entry        []byte         `json:"entry"`
	Segments     [][]byte       `json:"segments"`
	ExpiryMillis uint64         `json:"expiry"`
	Asset        zk.AssetID     `json:"asset"`
	Inputs       []zk.Nullifier `json:"inputs"` // of real notes
	Outputs      []Sent         `json:"outputs"`
	Recipes      []Recipe       `json:"recipes"` // what a proof against newer roots needs, per leg
}

// journalled is one record of the journal: exactly one field is set.
type journalled struct {
	Order        *Order             `json:"order,omitempty"`
	Attempt      *Attempt           `json:"attempt,omitempty"`
	Reproof      *Reproof           `json:"reproof,omitempty"`
	Refused      *RefusedAttempt    `json:"refused,omitempty"`
	Disbursement *DisbursementOrder `json:"disbursement,omitempty"`
	Reserved     *HoldDraft         `json:"reserved,omitempty"`
	Unreserved   *Unreserved        `json:"unreserved,omitempty"`
}

// Reproof replaces the bytes of an attempt: the same effecting data, proven against newer roots.
type Reproof struct {
	TxID  entry.ID `json:"tx"`
	Entry []byte   `json:"entry"`
}

// RefusedAttempt keeps what the ledger said of an attempt. It is a hint: only the ledger's log makes an attempt dead.
type RefusedAttempt struct {
	TxID   entry.ID `json:"tx"`
	Code   string   `json:"code"`
	Detail string   `json:"detail"`
}

// DisbursementOrder is a disbursement as it was begun: the file's content and its split into groups never change afterwards.
type DisbursementOrder struct {
	ID            string      `json:"id"`
	FileHash      string      `json:"file"`
	Asset         zk.AssetID  `json:"asset"`
	Lines         []OrderLine `json:"lines"`
	Groups        []Group     `json:"groups"`
	Total         zk.Amount   `json:"total"`
	CreatedMillis uint64      `json:"created"`
}

// OrderLine is one line of a disbursement.
type OrderLine struct {
	ID        string    `json:"id"`
	To        string    `json:"to"`
	Amount    zk.Amount `json:"amount"`
	Reference string    `json:"reference,omitempty"`
}

// GroupOrderID is the order id of one group of a disbursement.
func GroupOrderID(disbursement string, group int) string {
	return fmt.Sprintf("%s%s/%d", reserved, disbursement, group)
}

// Outbox is the folded journal: orders, their attempts, disbursements. Changes come from Encode'd records: the caller makes a record
// durable first and then adds it.
type Outbox struct {
	orders        map[string]*Order
	attempts      map[entry.ID]*Attempt
	refused       map[entry.ID]*RefusedAttempt
	byOrder       map[string][]entry.ID
	sequence      []string // order ids, oldest first
	disbursements map[string]*DisbursementOrder
	reserved      map[string]*HoldDraft // by order
}

// NewOutbox folds the records of a journal.
func NewOutbox(records [][]byte) (*Outbox, error) {
	o := &Outbox{orders: map[string]*Order{}, attempts: map[entry.ID]*Attempt{}, refused: map[entry.ID]*RefusedAttempt{},
		byOrder: map[string][]entry.ID{}, disbursements: map[string]*DisbursementOrder{}, reserved: map[string]*HoldDraft{}}
	for i, r := range records {
		if err := o.Add(r); err != nil {
			return nil, fmt.Errorf("journal record %d: %w", i, err)
		}
	}
	return o, nil
}

// Encode makes a journal record of an *Order, *Attempt, *Reproof, *RefusedAttempt, *DisbursementOrder, *HoldDraft or *Unreserved.
func Encode(record any) ([]byte, error) {
	var j journalled
	switch r := record.(type) {
	case *Order:
		j.Order = r
	case *Attempt:
		j.Attempt = r
	case *Reproof:
		j.Reproof = r
	case *RefusedAttempt:
		j.Refused = r
	case *DisbursementOrder:
		j.Disbursement = r
	case *HoldDraft:
		j.Reserved = r
	case *Unreserved:
		j.Unreserved = r
	default:
		panic(fmt.Sprintf("wallets: no journal record of %T", record))
	}
	b, err := json.Marshal(j)
	if err != nil {
		return nil, fmt.Errorf("encode journal record: %w", err)
	}
	return b, nil
}

// Add folds one more record in.
func (o *Outbox) Add(record []byte) error {
	var j journalled
	if err := json.Unmarshal(record, &j); err != nil {
		return fmt.Errorf("decode journal record: %w", err)
	}
	switch {
	case j.Order != nil:
		if o.orders[j.Order.ID] == nil && o.byOrder[j.Order.ID] == nil {
			o.sequence = append(o.sequence, j.Order.ID)
		}
		o.orders[j.Order.ID] = j.Order
	case j.Attempt != nil:
		if o.orders[j.Attempt.Order] == nil && o.byOrder[j.Attempt.Order] == nil {
			o.sequence = append(o.sequence, j.Attempt.Order) // prepares notes for a disbursement: an id without an order
		}
		if _, again := o.attempts[j.Attempt.TxID]; !again {
			o.byOrder[j.Attempt.Order] = append(o.byOrder[j.Attempt.Order], j.Attempt.TxID)
		}
		o.attempts[j.Attempt.TxID] = j.Attempt
	case j.Reproof != nil:
		if a := o.attempts[j.Reproof.TxID]; a != nil {
			a.Entry = j.Reproof.Entry
			delete(o.refused, a.TxID)
		}
	case j.Refused != nil:
		o.refused[j.Refused.TxID] = j.Refused
	case j.Disbursement != nil:
		o.disbursements[j.Disbursement.ID] = j.Disbursement
	case j.Reserved != nil:
		o.reserved[j.Reserved.r.Order] = j.Reserved
	case j.Unreserved != nil:
		delete(o.reserved, j.Unreserved.Order)
	default:
		return fmt.Errorf("a journal record of an unknown kind: it was written by a newer program")
	}
	return nil
}

// Order finds an order.
func (o *Outbox) Order(id string) (*Order, bool) {
	order, ok := o.orders[id]
	return order, ok
}

// Orders lists all orders, oldest first.
func (o *Outbox) Orders() []*Order {
	var out []*Order
	for _, id := range o.sequence {
		if order := o.orders[id]; order != nil {
			out = append(out, order)
		}
	}
	return out
}

// Attempts lists the attempts of an order, oldest first.
func (o *Outbox) Attempts(order string) []*Attempt {
	var out []*Attempt
	for _, id := range o.byOrder[order] {
		out = append(out, o.attempts[id])
	}
	return out
}

// Attempt finds an attempt by its transaction.
func (o *Outbox) Attempt(id entry.ID) (*Attempt, bool) {
	a, ok := o.attempts[id]
	return a, ok
}

// Refusal is what the ledger last said of an attempt, or nil.
func (o *Outbox) Refusal(id entry.ID) *RefusedAttempt { return o.refused[id] }

// Disbursement finds a disbursement.
func (o *Outbox) Disbursement(id string) (*DisbursementOrder, bool) {
	d, ok := o.disbursements[id]
	return d, ok
}

// Disbursements lists the ids of all disbursements.
func (o *Outbox) Disbursements() []string { return slices.Sorted(maps.Keys(o.disbursements)) }

// Stage is where an attempt stands, as the log shows it.
type Stage string

// The stages.
const (
	Pending Stage = "pending" // may still settle
	Done    Stage = "settled"
	Dead    Stage = "dead" // can never settle: expired, or an input was spent by another transaction
)

// StageOf judges an attempt by what was read of the log. A refusal by a node never makes it dead, because a node may be wrong, or lie.
// Nor does a block that no cosigned checkpoint covers: a node that showed one and took it back could settle the attempt after all, beside
// a second one from other inputs.
func (s *State) StageOf(a *Attempt) Stage {
	if _, ok := s.settled[a.TxID]; ok {
		return Done
	}
	for _, nf := range a.Inputs {
		if by, spent := s.Spender(nf); spent && by != a.TxID && s.settled[by].Entry < s.watch.finalSize {
			return Dead
		}
	}
	if s.watch.finalMillis >= a.ExpiryMillis { // settles only strictly before it, and ledger time never goes back
		return Dead
	}
	return Pending
}

// Doomed tells of a pending attempt that an input of it is spent by another transaction, which is not final yet.
func (s *State) Doomed(a *Attempt) bool {
	for _, nf := range a.Inputs {
		if by, spent := s.Spender(nf); spent && by != a.TxID {
			return true
		}
	}
	return false
}

// Payment is an order with where it stands.
type Payment struct {
	Order   *Order
	Stage   Stage    // Done, Pending, or Dead when no attempt can settle (any more, or yet)
	Attempt *Attempt // the settled one, else the last that may settle, else nil
	Settled Settled  // when Done
	Refusal *RefusedAttempt
	Expired bool // when Dead: there was an attempt, and it can never settle
}

// PaymentOf judges an order.
func (s *State) PaymentOf(o *Outbox, order *Order) Payment {
	p := Payment{Order: order, Stage: Dead}
	for _, a := range o.Attempts(order.ID) {
		if !a.Pays {
			continue
		}
		switch s.StageOf(a) {
		case Done:
			return Payment{Order: order, Stage: Done, Attempt: a, Settled: s.settled[a.TxID]}
		case Pending:
			p.Stage, p.Attempt, p.Refusal = Pending, a, o.refused[a.TxID]
		case Dead:
			if p.Attempt == nil {
				p.Refusal, p.Expired = o.refused[a.TxID], true
			}
		}
	}
	return p
}

// pending lists all attempts that may still settle.
func (s *State) pending(o *Outbox) (out []*Attempt) {
	for _, id := range o.sequence {
		for _, tx := range o.byOrder[id] {
			if a := o.attempts[tx]; s.StageOf(a) == Pending {
				out = append(out, a)
			}
		}
	}
	return out
}

// Unsettled lists the attempts that may still settle and that the ledger has not refused: those to send again after a restart.
func (s *State) Unsettled(o *Outbox) (out []*Attempt) {
	for _, a := range s.pending(o) {
		if o.refused[a.TxID] == nil {
			out = append(out, a)
		}
	}
	return out
}

// bound are the notes that another transaction must not use: inputs of attempts that may settle, and those reserved for holds. Inputs of
// attempts that the ledger refused are free: using them can only make the refused attempt dead.
func (s *State) bound(o *Outbox) map[zk.Nullifier]bool {
	bound := map[zk.Nullifier]bool{}
	for _, a := range s.Unsettled(o) {
		for _, nf := range a.Inputs {
			bound[nf] = true
		}
	}
	for _, h := range o.reserved {
		for _, nf := range h.r.Inputs {
			bound[nf] = true
		}
	}
	return bound
}

// purse gathers the money of one asset that is not bound.
func (s *State) purse(o *Outbox, asset zk.AssetID) *purse {
	p := &purse{rights: s.Rights(), free: map[zk.ProgrammeID][]coin{}, busy: map[zk.ProgrammeID]zk.Amount{}, tree: s.notes.number}
	p.asset, _ = s.genesis.Asset(asset)
	bound := s.bound(o)
	sent := map[string]bool{}
	for _, a := range s.Unsettled(o) {
		sent[a.Order] = true
		for _, out := range a.Outputs {
			if out.Purpose != ToPayee && out.Note.Asset == asset {
				p.busy[out.Note.Programme] = addCapped(p.busy[out.Note.Programme], out.Note.Value)
			}
		}
	}
	for i := range s.own {
		n := &s.own[i]
		_, known := p.rights.Opened[n.Note.Programme] // a note of no programme of this ledger has no reader and cannot be spent
		if !n.Spent && n.Note.Asset == asset && !bound[n.Nullifier] && (known || n.Note.Programme == 0) {
			p.free[n.Note.Programme] = append(p.free[n.Note.Programme], coin{ref: i, value: n.Note.Value, tree: n.Position.Tree})
		}
	}
	for id, h := range o.reserved {
		if sent[id] {
			continue // its change was counted with its attempt
		}
		for _, nf := range h.r.Inputs {
			if i, ok := s.byNullifier[nf]; ok && !s.own[i].Spent && s.own[i].Note.Asset == asset {
				n := &s.own[i].Note
				p.busy[n.Programme] = addCapped(p.busy[n.Programme], n.Value)
			}
		}
	}
	return p
}

// Balances adds up the unspent notes; free leaves out what pending transactions spend and what is reserved for holds.
func (s *State) Balances(o *Outbox) (all, free []Balance) {
	bound := s.bound(o)
	for i := range s.own {
		if s.own[i].Spent {
			continue
		}
		all = addNote(all, &s.own[i].Note)
		if !bound[s.own[i].Nullifier] {
			free = addNote(free, &s.own[i].Note)
		}
	}
	return all, free
}

// addNote adds a note to the balance of its asset and programme.
func addNote(list []Balance, n *zk.Note) []Balance {
	for i := range list {
		if list[i].Asset == n.Asset && list[i].Programme == n.Programme {
			list[i].Amount += n.Value
			list[i].Notes++
			return list
		}
	}
	return append(list, Balance{Asset: n.Asset, Programme: n.Programme, Amount: n.Value, Notes: 1})
}

// Compact gives the records of a journal that means the same: the bytes and recipes of transactions that settled or died are left out,
// what was ordered and what opens the outputs stays.
func (o *Outbox) Compact(s *State) ([][]byte, error) {
	var records [][]byte
	add := func(r any) error {
		b, err := Encode(r)
		records = append(records, b)
		return err
	}
	for _, id := range o.Disbursements() {
		if err := add(o.disbursements[id]); err != nil {
			return nil, err
		}
	}
	for _, h := range o.Reservations() {
		if order := o.orders[h.r.Order]; order != nil && s.PaymentOf(o, order).Stage == Done {
			continue // its notes are spent
		}
		if err := add(h); err != nil {
			return nil, err
		}
	}
	for _, id := range o.sequence {
		if order := o.orders[id]; order != nil {
			if err := add(order); err != nil {
				return nil, err
			}
		}
		for _, tx := range o.byOrder[id] {
			a := *o.attempts[tx]
			if s.StageOf(&a) != Pending {
				a.Entry, a.Segments, a.Recipes = nil, nil, nil
			}
			if err := add(&a); err != nil {
				return nil, err
			}
			if r := o.refused[tx]; r != nil {
				if err := add(r); err != nil {
					return nil, err
				}
			}
		}
	}
	return records, nil
}
