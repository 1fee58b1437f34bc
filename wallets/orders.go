package wallets

import (
	"encoding/hex"
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
)

// LedgerPrefix is the part of a genesis hash that addresses carry.
func LedgerPrefix(hash entry.GenesisHash) (p [8]byte) {
	copy(p[:], hash[:])
	return p
}

// CheckOrder refuses, by name, an order that could never be paid: its id, address, asset, programme, reference, amount and limit.
func (b *Builder) CheckOrder(o *Order) error {
	g := b.State.genesis
	if err := CheckPaymentID(o.ID); err != nil {
		return err
	}
	asset, ok := g.Asset(o.Asset)
	if !ok {
		return Refuse(UnknownAsset, "asset %d is not in the genesis table", o.Asset)
	}
	if o.Disbursement == "" {
		if _, err := ParseAddress(o.To, g.Prefix, LedgerPrefix(b.State.hash)); err != nil {
			return err
		}
	}
	if err := CheckReference(o.Reference); err != nil {
		return err
	}
	rights := b.rights()
	if err := checkProgramme(rights, o.Programme); err != nil {
		return err
	}
	return (&purse{rights: rights, asset: asset}).mayPay(o.Amount)
}

func checkProgramme(rights Rights, p zk.ProgrammeID) error {
	if _, known := rights.Opened[p]; p != 0 && !known {
		return Refuse(UnknownProgramme, "programme %d was not opened on this ledger", p)
	}
	return nil
}

// unpaid refuses to plan an order that the log shows as paid although the journal holds no attempt that settled.
func (s *State) unpaid(order string) error {
	if tx, paid := s.tags[TagOf(order)]; paid {
		return Refuse(PaymentIDSettled, "transaction %s of this wallet carries payment id %q, and this folder does not know it", tx, order)
	}
	return nil
}

// SameOrder refuses an order whose id stands for another one already. known is true when it is the same order.
func (o *Outbox) SameOrder(order *Order) (known bool, err error) {
	before, ok := o.orders[order.ID]
	if !ok {
		return false, nil
	}
	if !before.same(order) {
		return false, Refuse(PaymentIDConflict, "payment id %q was used for another payment", order.ID)
	}
	return true, nil
}

// Next builds the next transactions of a payment that has no attempt that may settle. pays tells that it is the one that pays; otherwise
// they prepare notes, and Next is called again when they have settled.
func (b *Builder) Next(o *Outbox, order *Order) (drafts []*Draft, pays bool, err error) {
	if err := b.State.unpaid(order.ID); err != nil {
		return nil, false, err
	}
	round, pays, err := b.purse(o, order.Asset).pay(order.Amount, order.Programme)
	if err != nil {
		return nil, false, err
	}
	to, err := ParseAddress(order.To, b.State.genesis.Prefix, LedgerPrefix(b.State.hash))
	if err != nil {
		return nil, false, err
	}
	tag := TagOf(order.ID)
	for _, l := range round {
		planned := plannedTx{kind: entry.KindTransfer, legs: []plannedLeg{{leg: l, asset: order.Asset}}}
		if pays {
			planned.tag = &tag
			planned.legs[0].payees = []Payee{{To: to, Memo: order.Reference}}
		}
		d, err := b.build(planned)
		if err != nil {
			return nil, false, err
		}
		drafts = append(drafts, d)
	}
	return drafts, pays, nil
}

func (b *Builder) purse(o *Outbox, asset zk.AssetID) *purse {
	p := b.State.purse(o, asset)
	p.rights = b.rights()
	return p
}

// Again builds an attempt anew from the same inputs to the same outputs, with the newest oversight key and a new expiry. Both share every
// real input, so at most one of them settles.
//
// A hold keeps its commitments, because others may wait for them by name: it is refused as oversight_epoch_stale where a new key changes
// them, and has to be reserved again.
func (b *Builder) Again(a *Attempt) (*Draft, error) {
	if len(a.Recipes) == 1 && a.Recipes[0].Circuit == zk.Hold {
		return b.holdAgain(a)
	}
	order := plannedTx{kind: entry.KindTransfer}
	if a.Pays {
		tag := TagOf(a.Order)
		order.tag = &tag
	}
	for i := range a.Recipes {
		l, err := b.replan(i, &a.Recipes[i], a.Outputs)
		if err != nil {
			return nil, err
		}
		order.legs = append(order.legs, l)
	}
	return b.build(order)
}

// replan plans the leg of a recipe once more: the same notes, the same outputs.
func (b *Builder) replan(number int, r *Recipe, outputs []Sent) (plannedLeg, error) {
	l := plannedLeg{asset: r.Asset, leg: leg{circuit: r.Circuit, from: r.From, group: -1}}
	for _, in := range r.Inputs {
		if in.Note.Value == 0 {
			continue
		}
		nf := b.Keys.Nullify(in.Note.Commitment(), zk.Position{Tree: r.Tree, Index: in.Index})
		at, ok := b.State.byNullifier[nf]
		if !ok {
			return l, Refuse(BehindLedger, "the wallet has not read the ledger up to the notes of this payment")
		}
		l.inputs = append(l.inputs, coin{ref: at, value: in.Note.Value, tree: r.Tree})
	}
	for _, out := range outputs {
		if out.Leg != number {
			continue
		}
		o := output{purpose: out.Purpose, value: out.Note.Value, programme: out.Note.Programme}
		if out.Purpose == ToPayee {
			to, err := keys.ParseAddress(out.To)
			if err != nil {
				return l, fmt.Errorf("read the payee of an earlier attempt: %w", err)
			}
			o.line = len(l.payees)
			l.payees = append(l.payees, Payee{To: to, Memo: out.Memo, Line: out.Line})
		}
		l.outputs = append(l.outputs, o)
	}
	return l, nil
}

// Begin makes the order of a disbursement from a checked file.
func (d *Disbursement) Begin(id string, limit zk.Amount, nowMillis uint64) *DisbursementOrder {
	o := &DisbursementOrder{ID: id, FileHash: hex.EncodeToString(d.Hash[:]), Asset: d.Asset.ID, Groups: d.Groups(limit), Total: d.Total, CreatedMillis: nowMillis}
	for _, l := range d.Lines {
		o.Lines = append(o.Lines, OrderLine{ID: l.ID, To: l.To.String(), Amount: l.Amount, Reference: l.Reference})
	}
	return o
}

// Order is the order of one group.
func (d *DisbursementOrder) Order(group int) *Order {
	g := d.Groups[group]
	return &Order{ID: GroupOrderID(d.ID, group), Asset: d.Asset, Amount: g.Sum, Programme: g.Programme, Disbursement: d.ID, Group: group,
		CreatedMillis: d.CreatedMillis}
}

// needs lists the groups that have no attempt that settled or may settle.
func (s *State) needs(o *Outbox, d *DisbursementOrder) (open []need) {
	for i, g := range d.Groups {
		if s.PaymentOf(o, d.Order(i)).Stage != Dead {
			continue
		}
		n := need{group: i, programme: g.Programme, sum: g.Sum}
		for _, line := range g.Lines {
			n.amounts = append(n.amounts, d.Lines[line].Amount)
		}
		open = append(open, n)
	}
	return open
}

// GroupDraft is a draft of a disbursement and the order it belongs to.
type GroupDraft struct {
	*Draft
	Order string // order id of the group that it pays, or of the disbursement's preparation
	Pays  bool
}

// Step is one leg of a disbursement's next round, to be built when its turn comes: building all 64-payee legs at once would hold
// thousands of ciphertexts.
type Step struct {
	leg   leg
	Order string
	Pays  bool
}

// PreparationID is the order id of the transactions that make notes for a disbursement.
func PreparationID(disbursement string) string { return reserved + disbursement + "/notes" }

// NextSteps plans the next round of a disbursement. It is empty when every group settled or may settle.
func (b *Builder) NextSteps(o *Outbox, d *DisbursementOrder) ([]Step, error) {
	open := b.State.needs(o, d)
	if len(open) == 0 {
		return nil, nil
	}
	for _, n := range open {
		if err := checkProgramme(b.rights(), n.programme); err != nil {
			return nil, err
		}
		if err := b.State.unpaid(GroupOrderID(d.ID, n.group)); err != nil {
			return nil, err
		}
	}
	round, err := b.purse(o, d.Asset).disburse(open)
	if err != nil {
		return nil, err
	}
	steps := make([]Step, len(round))
	for i, l := range round {
		steps[i] = Step{leg: l, Order: PreparationID(d.ID)}
		if l.group >= 0 {
			steps[i].Order, steps[i].Pays = GroupOrderID(d.ID, l.group), true
		}
	}
	return steps, nil
}

// Build builds one step.
func (b *Builder) Build(d *DisbursementOrder, step Step) (*Draft, error) {
	planned := plannedTx{kind: entry.KindTransfer, legs: []plannedLeg{{leg: step.leg, asset: d.Asset}}}
	if step.Pays {
		tag := TagOf(step.Order)
		planned.tag = &tag
		for _, line := range d.Groups[step.leg.group].Lines {
			l := d.Lines[line]
			to, err := keys.ParseAddress(l.To)
			if err != nil {
				return nil, fmt.Errorf("read the payee of line %s: %w", l.ID, err)
			}
			planned.legs[0].payees = append(planned.legs[0].payees, Payee{To: to, Memo: l.Reference, Line: line + 1})
		}
	}
	return b.build(planned)
}

// Plan is what a payment or a disbursement will take.
type Plan struct {
	Rounds   int                  `json:"rounds"` // each waits for the one before to settle
	Circuits map[string]int       `json:"circuits"`
	Proofs   int                  `json:"proofs"`
	Legs     map[zk.CircuitID]int `json:"-"`
}

func planOf(rounds [][]leg) *Plan {
	p := &Plan{Rounds: len(rounds), Circuits: map[string]int{}, Legs: map[zk.CircuitID]int{}}
	for _, round := range rounds {
		for _, l := range round {
			p.Circuits[l.circuit.String()]++
			p.Legs[l.circuit]++
			p.Proofs++
		}
	}
	return p
}

// PlanPayment plans a whole payment without building anything.
func (b *Builder) PlanPayment(o *Outbox, order *Order) (*Plan, error) {
	rounds, err := b.purse(o, order.Asset).playPayment(order.Amount, order.Programme)
	if err != nil {
		return nil, err
	}
	return planOf(rounds), nil
}

// PlanHold plans a whole payment into a hold without building anything.
func (b *Builder) PlanHold(o *Outbox, order *Order) (*Plan, error) {
	rounds, err := b.purse(o, order.Asset).play(func(p *purse) ([]leg, bool, error) { return p.hold(order.Amount, order.Programme) })
	if err != nil {
		return nil, err
	}
	return planOf(rounds), nil
}

// PlanDisbursement plans what is left of a disbursement without building anything.
func (b *Builder) PlanDisbursement(o *Outbox, d *DisbursementOrder) (*Plan, error) {
	rounds, err := b.purse(o, d.Asset).playDisbursement(b.State.needs(o, d))
	if err != nil {
		return nil, err
	}
	return planOf(rounds), nil
}

// BuildIssue builds the transaction by which the treasury issues money to its own wallet, which owns the leg. It is proven like any other
// and then carried from policy signer to policy signer; signatures do not change its id. sequence 0 stands for the next one.
func (b *Builder) BuildIssue(asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount, sequence uint64) (*Draft, error) {
	if err := b.checkMove(asset, programme, amount); err != nil {
		return nil, err
	}
	if programme != 0 && !b.rights().Opened[programme] {
		return nil, Refuse(ProgrammeClosed, "programme %d is closed", programme)
	}
	if sequence == 0 {
		sequence = b.State.sequence
	}
	l := leg{circuit: zk.Transfer, from: programme, group: -1, outputs: []output{{purpose: ToChange, value: amount, programme: programme}}}
	return b.build(plannedTx{kind: entry.KindIssue, sequence: sequence, legs: []plannedLeg{{leg: l, asset: asset, issued: amount}}})
}

// BuildRedeem builds the transaction by which the treasury takes money of its own wallet out of the ledger. If too many notes are needed,
// merge holds the transactions that must settle first, and redeem is nil.
func (b *Builder) BuildRedeem(o *Outbox, asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount, sequence uint64) (redeem *Draft, merge []*Draft, err error) {
	if err := b.checkMove(asset, programme, amount); err != nil {
		return nil, nil, err
	}
	round, done, err := b.purse(o, asset).redeem(amount, programme)
	if err != nil {
		return nil, nil, err
	}
	if sequence == 0 {
		sequence = b.State.sequence
	}
	if done {
		redeem, err = b.build(plannedTx{kind: entry.KindRedeem, sequence: sequence, legs: []plannedLeg{{leg: round[0], asset: asset, redeemed: amount}}})
		return redeem, nil, err
	}
	for _, l := range round {
		d, err := b.build(plannedTx{kind: entry.KindTransfer, legs: []plannedLeg{{leg: l, asset: asset}}})
		if err != nil {
			return nil, nil, err
		}
		merge = append(merge, d)
	}
	return nil, merge, nil
}

func (b *Builder) checkMove(asset zk.AssetID, programme zk.ProgrammeID, amount zk.Amount) error {
	if _, ok := b.State.genesis.Asset(asset); !ok {
		return Refuse(UnknownAsset, "asset %d is not in the genesis table", asset)
	}
	rights := b.rights()
	switch {
	case amount == 0:
		return Refuse(AmountZero, "nothing to issue or redeem")
	case !rights.Registered:
		return Refuse(OwnerUnknown, "this wallet is not registered yet")
	case rights.Frozen:
		return Refuse(OwnerFrozen, "the registry has frozen this wallet")
	}
	return checkProgramme(rights, programme)
}
