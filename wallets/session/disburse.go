package session

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// LineResult is where one line of a disbursement stands.
type LineResult struct {
	Line       string `json:"line"`
	Status     string `json:"status"` // "settled", "pending" or "open"
	Entry      uint64 `json:"entry,omitempty"`
	TxID       string `json:"tx,omitempty"`
	Output     int    `json:"output"`
	Commitment string `json:"commitment,omitempty"`
}

// sendsAtOnce bounds how many transactions of a disbursement are under way to the ledger while the next one is proven.
const sendsAtOnce = 4

// refreshAfter is how old the wallet's view of the ledger may be when a leg of a long round is built.
const refreshAfter = 15 * time.Second

// BeginDisbursement journals a disbursement, or finds the one that was begun with this id: then the file must be the same, and what is
// left of it is what will be paid.
func (s *Session) BeginDisbursement(id string, d *wallets.Disbursement) (order *wallets.DisbursementOrder, begun bool, err error) {
	if err := wallets.CheckPaymentID(id); err != nil {
		return nil, false, err
	}
	if before, ok := s.outbox.Disbursement(id); ok {
		if before.FileHash != hex.EncodeToString(d.Hash[:]) || before.Asset != d.Asset.ID {
			return nil, false, wallets.Refuse(wallets.FileChanged, "disbursement %q was begun with another file or currency", id)
		}
		return before, true, nil
	}
	order = d.Begin(id, s.state.Rights().Limit, uint64(s.Now().UnixMilli()))
	for g := range order.Groups {
		if tx, paid := s.state.TagSettled(wallets.TagOf(wallets.GroupOrderID(id, g))); paid {
			return nil, false, wallets.Refuse(wallets.PaymentIDSettled, "transaction %s of this wallet carries disbursement %q, and this folder does not know it", tx, id)
		}
	}
	// Refused before it is written down.
	if _, err := s.Builder().PlanDisbursement(s.outbox, order); err != nil && wallets.CodeOf(err) != wallets.FundsInFlight {
		return nil, false, err
	}
	if err := s.record(order); err != nil {
		return nil, false, err
	}
	order, _ = s.outbox.Disbursement(id)
	return order, false, nil
}

// Disburse pays what is left of a disbursement. done is told, after every round, how many groups have settled. It may be repeated after any
// error or kill; no line is paid twice, because a group with a transaction that may still settle is never planned again.
func (s *Session) Disburse(ctx context.Context, d *wallets.DisbursementOrder, event func(Event), done func(settled, groups int)) error {
	if err := s.Resume(ctx, event); err != nil {
		return err
	}
	if err := s.knowGroups(d); err != nil {
		return err
	}
	for range maxRounds {
		if err := s.finishGroups(ctx, d, event); err != nil {
			return err
		}
		settled := s.settledGroups(d)
		if done != nil {
			done(settled, len(d.Groups))
		}
		if settled == len(d.Groups) {
			return nil
		}
		steps, err := s.Builder().NextSteps(s.outbox, d)
		if wallets.CodeOf(err) == wallets.FundsInFlight {
			if err := s.settleOthers(ctx, err, event); err != nil {
				return err
			}
			continue
		}
		if err != nil {
			return err
		}
		if err := s.round(ctx, d, steps, event); err != nil {
			return err
		}
	}
	return fmt.Errorf("disbursement %q did not settle in %d rounds", d.ID, maxRounds)
}

// knowGroups journals the orders of the groups, so that history and receipts find them.
func (s *Session) knowGroups(d *wallets.DisbursementOrder) error {
	for g := range d.Groups {
		order := d.Order(g)
		known, err := s.outbox.SameOrder(order)
		if err != nil {
			return err
		}
		if !known {
			if err := s.record(order); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Session) settledGroups(d *wallets.DisbursementOrder) (n int) {
	for g := range d.Groups {
		if s.state.PaymentOf(s.outbox, d.Order(g)).Stage == wallets.Done {
			n++
		}
	}
	return n
}

// finishGroups brings every group with a transaction that may settle to an end, and with them the transactions that make notes.
func (s *Session) finishGroups(ctx context.Context, d *wallets.DisbursementOrder, event func(Event)) error {
	for g := range d.Groups {
		order := d.Order(g)
		if s.state.PaymentOf(s.outbox, order).Stage == wallets.Pending {
			if err := s.settlePending(ctx, order, event); err != nil {
				return err
			}
		}
	}
	for _, a := range s.outbox.Attempts(wallets.PreparationID(d.ID)) {
		if s.state.StageOf(a) == wallets.Pending && s.outbox.Refusal(a.TxID) == nil {
			if err := s.send(ctx, a, event); err != nil && !errors.Is(err, errDead) {
				return err
			}
		}
	}
	return nil
}

// settlePending sends, or builds again from the same inputs, until no attempt of the order may settle any more or one has.
func (s *Session) settlePending(ctx context.Context, order *wallets.Order, event func(Event)) error {
	for range maxRounds {
		p := s.state.PaymentOf(s.outbox, order)
		if p.Stage != wallets.Pending {
			return nil
		}
		a := p.Attempt
		if s.state.Doomed(a) {
			if err := s.WaitFinal(ctx, s.state.LogSize()-1, doomedWait); err != nil {
				return err
			}
			continue
		}
		if p.Refusal != nil {
			var err error
			if a, err = s.again(ctx, a, event); err != nil {
				return err
			}
		}
		if err := s.send(ctx, a, event); err != nil && !errors.Is(err, errDead) {
			return err
		}
	}
	return fmt.Errorf("payment %q did not settle in %d rounds", order.ID, maxRounds)
}

// round builds, proves, journals and sends the legs of one round. While one is on its way the next is proven; what the ledger answers is
// looked at afterwards in its log, so that a lost answer and a refusal are one case.
func (s *Session) round(ctx context.Context, d *wallets.DisbursementOrder, steps []wallets.Step, event func(Event)) error {
	slots := make(chan struct{}, sendsAtOnce)
	drain := func() {
		for range sendsAtOnce {
			slots <- struct{}{}
		}
	}
	for i, step := range steps {
		if err := s.refresh(ctx); err != nil {
			drain()
			return err
		}
		draft, err := s.Builder().Build(d, step)
		if err != nil {
			drain()
			return err
		}
		a, err := s.prove(ctx, draft, step.Order, step.Pays, func() { tell(event, "prove", i, len(steps)) })
		if err != nil {
			drain()
			return err
		}
		slots <- struct{}{}
		go func(e []byte, segments [][]byte) {
			defer func() { <-slots }()
			_, _ = s.Ledger.Submit(ctx, e, segments) // finishGroups sends again what the log does not hold
		}(a.Entry, a.Segments)
	}
	drain()
	return s.Sync(ctx, nil)
}

// refresh reads the ledger when what was read is old, so that legs are proven against roots that are still good.
func (s *Session) refresh(ctx context.Context) error {
	if s.Now().Sub(s.synced) < refreshAfter {
		return nil
	}
	return s.Sync(ctx, nil)
}

// Lines tells for every line of a disbursement where it stands.
func (s *Session) Lines(d *wallets.DisbursementOrder) []LineResult {
	out := make([]LineResult, len(d.Lines))
	for i, l := range d.Lines {
		out[i] = LineResult{Line: l.ID, Status: "open"}
	}
	for g := range d.Groups {
		p := s.state.PaymentOf(s.outbox, d.Order(g))
		if p.Attempt == nil || p.Stage == wallets.Dead {
			continue
		}
		for _, sent := range p.Attempt.Outputs {
			if sent.Line == 0 {
				continue
			}
			r := &out[sent.Line-1]
			r.Status, r.TxID, r.Output = string(p.Stage), p.Attempt.TxID.String(), sent.Output
			r.Commitment = sent.Note.Commitment().String()
			if p.Stage == wallets.Done {
				r.Entry = p.Settled.Entry
			}
		}
	}
	return out
}

// Estimate guesses how long a plan takes, from the seconds that one proof of each circuit took.
func Estimate(p *wallets.Plan, perProof map[zk.CircuitID]time.Duration, perRound time.Duration) time.Duration {
	d := time.Duration(p.Rounds) * perRound
	for id, n := range p.Legs {
		d += time.Duration(n) * perProof[id]
	}
	return d
}
