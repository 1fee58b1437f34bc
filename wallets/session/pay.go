package session

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// Result is a settled payment.
type Result struct {
	Payment wallets.Payment
	Again   bool // the order had settled before this call
	Final   bool // a cosigned checkpoint covers it
}

// Event tells what a long operation is doing.
type Event struct {
	Doing       string // "prove", "send", "wait", "sync"
	Done, Total int    // legs of the present round
}

const (
	retryFirst = 200 * time.Millisecond
	retryMost  = 5 * time.Second
	// maxTries bounds sends of one transaction in one call; afterwards the error is returned and the transaction stays in the journal.
	maxTries = 8
	// doomedWait is how long a payment waits for the finality of what spent its input.
	doomedWait = 30 * time.Second
	// maxRounds bounds how often a payment is planned again in one call.
	maxRounds = 128
)

// errDead: the attempt can never settle; plan again.
var errDead = errors.New("session: the attempt is dead")

// Pay carries an order out, or finds that it was carried out before. On return with a nil error it has settled; with wait set it is final.
// After any error the same call may be repeated, also by another process after a kill: it never pays twice.
func (s *Session) Pay(ctx context.Context, order *wallets.Order, wait time.Duration, event func(Event)) (Result, error) {
	if order.Held {
		return Result{}, errors.New("session: an order that is paid into a hold is for Hold")
	}
	if err := s.Sync(ctx, nil); err != nil {
		return Result{}, err
	}
	known, err := s.outbox.SameOrder(order)
	if err != nil {
		return Result{}, err
	}
	if known {
		order, _ = s.outbox.Order(order.ID)
	} else {
		if err := s.Builder().CheckOrder(order); err != nil {
			return Result{}, err
		}
		if id, paid := s.state.TagSettled(wallets.TagOf(order.ID)); paid {
			return Result{}, wallets.Refuse(wallets.PaymentIDSettled, "transaction %s of this wallet carries payment id %q, and this folder does not know it", id, order.ID)
		}
		// Refused before it is written down: an order that cannot be paid leaves no trace.
		if _, err := s.Builder().PlanPayment(s.outbox, order); err != nil && wallets.CodeOf(err) != wallets.FundsInFlight {
			return Result{}, err
		}
		if err := s.record(order); err != nil {
			return Result{}, err
		}
	}
	again := s.state.PaymentOf(s.outbox, order).Stage == wallets.Done
	if err := s.settle(ctx, order, event); err != nil {
		return Result{}, err
	}
	r := Result{Payment: s.state.PaymentOf(s.outbox, order), Again: again}
	if wait > 0 {
		if err := s.WaitFinal(ctx, r.Payment.Settled.Entry, wait); err != nil {
			return r, err
		}
		r.Final = true
	}
	return r, nil
}

// settle plans, builds, proves, journals and sends until the order has settled.
func (s *Session) settle(ctx context.Context, order *wallets.Order, event func(Event)) error {
	for range maxRounds {
		p := s.state.PaymentOf(s.outbox, order)
		switch p.Stage {
		case wallets.Done:
			return nil
		case wallets.Pending:
			a := p.Attempt
			if s.state.Doomed(a) { // dead as soon as what spent its input is final
				if err := s.WaitFinal(ctx, s.state.LogSize()-1, doomedWait); err != nil {
					return err
				}
				continue
			}
			if p.Refusal != nil { // asked for again after a refusal: the same inputs, everything else new
				var err error
				if a, err = s.again(ctx, a, event); err != nil {
					return err
				}
			}
			if err := s.send(ctx, a, event); err != nil && !errors.Is(err, errDead) {
				return err
			}
			continue
		}
		if err := s.step(ctx, order, event); err != nil {
			return err
		}
	}
	return fmt.Errorf("payment %q did not settle in %d rounds", order.ID, maxRounds)
}

// step does one round for an order that has no attempt that may settle.
func (s *Session) step(ctx context.Context, order *wallets.Order, event func(Event)) error {
	drafts, pays, err := s.Builder().Next(s.outbox, order)
	if wallets.CodeOf(err) == wallets.FundsInFlight {
		return s.settleOthers(ctx, err, event)
	}
	if err != nil {
		return err
	}
	return s.sendAll(ctx, drafts, order.ID, pays, event)
}

// sendAll proves and journals transactions, and then sends them.
func (s *Session) sendAll(ctx context.Context, drafts []*wallets.Draft, order string, pays bool, event func(Event)) error {
	var sent []*wallets.Attempt
	for i, d := range drafts {
		a, err := s.prove(ctx, d, order, pays, func() { tell(event, "prove", i, len(drafts)) })
		if err != nil {
			return err
		}
		sent = append(sent, a)
	}
	for _, a := range sent {
		if err := s.send(ctx, a, event); err != nil && !errors.Is(err, errDead) {
			return err
		}
	}
	return nil
}

// prove proves a draft and makes it durable. Only then may it be sent.
func (s *Session) prove(ctx context.Context, d *wallets.Draft, order string, pays bool, started func()) (*wallets.Attempt, error) {
	started()
	if err := d.Prove(ctx, s.Prover, nil); err != nil {
		return nil, err
	}
	a := d.Attempt(order, pays)
	if err := s.record(a); err != nil {
		return nil, err
	}
	a, _ = s.outbox.Attempt(a.TxID)
	return a, nil
}

// again builds a pending attempt anew from the same inputs.
func (s *Session) again(ctx context.Context, a *wallets.Attempt, event func(Event)) (*wallets.Attempt, error) {
	d, err := s.Builder().Again(a)
	if err != nil {
		return nil, err
	}
	return s.prove(ctx, d, a.Order, a.Pays, func() { tell(event, "prove", 0, 1) })
}

// settleOthers sends everything that may still settle, because funds are bound in it: after a restart some of it may never have been sent.
func (s *Session) settleOthers(ctx context.Context, cause error, event func(Event)) error {
	others := s.state.Unsettled(s.outbox)
	if len(others) == 0 {
		return cause
	}
	for _, a := range others {
		if s.state.Doomed(a) {
			if err := s.WaitFinal(ctx, s.state.LogSize()-1, doomedWait); err != nil {
				return errors.Join(cause, err)
			}
			continue
		}
		if err := s.send(ctx, a, event); err != nil && !s.over(a, err) {
			return errors.Join(cause, err)
		}
	}
	return nil
}

// send sends an attempt until the log holds it. errDead means that it can never settle.
func (s *Session) send(ctx context.Context, a *wallets.Attempt, event func(Event)) error {
	return s.carry(ctx, a, nil, event)
}

// carry is send, for a hold with who sets its peer proof.
func (s *Session) carry(ctx context.Context, a *wallets.Attempt, attach Attach, event func(Event)) error {
	if len(a.Entry) == 0 {
		return fmt.Errorf("the journal no longer holds transaction %s, which settled or died before", a.TxID)
	}
	pause := retryFirst
	for try := 1; ; try++ {
		tell(event, "send", try, maxTries)
		at, err := s.Ledger.Submit(ctx, a.Entry, a.Segments)
		if err == nil {
			return s.find(ctx, a, at)
		}
		code := entry.CodeOf(err)
		switch code {
		case "", entry.TryLater:
			if ctx.Err() != nil || try == maxTries {
				return fmt.Errorf("send transaction %s (it is kept and can be sent again): %w", a.TxID, err)
			}
			if err := s.Sleep(ctx, pause); err != nil {
				return err
			}
			pause = min(2*pause, retryMost)
			continue
		}
		// The node refused. What it says is a hint; the log decides.
		if err := s.Sync(ctx, nil); err != nil {
			return err
		}
		switch s.state.StageOf(a) {
		case wallets.Done:
			return nil
		case wallets.Dead:
			return errDead
		}
		if s.state.Doomed(a) {
			return errDead // and settle waits until that is final
		}
		if try < maxTries {
			switch code {
			case entry.PeerSizeUnknown:
				if attach == nil {
					break
				}
				tx, rerr := entry.DecodeTransaction(a.Entry)
				if rerr != nil {
					return fmt.Errorf("decode transaction %s: %w", a.TxID, rerr)
				}
				if rerr := peerProof(tx, attach); rerr != nil {
					return rerr
				}
				if err := s.record(&wallets.Reproof{TxID: a.TxID, Entry: tx.Encode()}); err != nil {
					return err
				}
				a, _ = s.outbox.Attempt(a.TxID)
				continue
			case entry.RegistryRootStale, entry.AnchorUnknown:
				r, rerr := s.Builder().Reprove(ctx, s.Prover, a)
				if rerr == nil {
					if err := s.record(r); err != nil {
						return err
					}
					a, _ = s.outbox.Attempt(a.TxID)
					continue
				}
				if entry.CodeOf(rerr) != entry.OversightEpochStale {
					return rerr
				}
				fallthrough // the key was rotated as well
			case entry.OversightEpochStale, entry.Expired:
				next, rerr := s.again(ctx, a, event)
				if entry.CodeOf(rerr) == entry.OversightEpochStale { // a hold, which keeps its commitments: it has to be reserved again
					code, err = entry.OversightEpochStale, rerr
					break
				}
				if rerr != nil {
					return rerr
				}
				if err := s.record(&wallets.RefusedAttempt{TxID: a.TxID, Code: string(code), Detail: err.Error()}); err != nil {
					return err
				}
				a = next
				continue
			}
		}
		if rerr := s.record(&wallets.RefusedAttempt{TxID: a.TxID, Code: string(code), Detail: err.Error()}); rerr != nil {
			return rerr
		}
		return fmt.Errorf("transaction %s: %w", a.TxID, err)
	}
}

// find reads the ledger up to where it says that the attempt is.
func (s *Session) find(ctx context.Context, a *wallets.Attempt, at Accepted) error {
	for try := 0; ; try++ {
		if err := s.Sync(ctx, nil); err != nil {
			return err
		}
		if _, ok := s.state.SettledAt(a.TxID); ok {
			return nil
		}
		if s.state.NextHeight() > at.Height {
			return wallets.Refuse(wallets.LedgerLied, "the ledger says that block %d holds transaction %s, and it does not", at.Height, a.TxID)
		}
		if try == maxTries {
			return fmt.Errorf("block %d does not come", at.Height)
		}
		if err := s.Sleep(ctx, retryFirst); err != nil {
			return err
		}
	}
}

// WaitFinal waits until a cosigned checkpoint, checked against everything read, covers the entry.
func (s *Session) WaitFinal(ctx context.Context, index uint64, wait time.Duration) error {
	deadline := s.Now().Add(wait)
	for {
		if s.state.FinalSize() > index {
			return nil
		}
		if s.Now().After(deadline) {
			return wallets.Refuse(wallets.NotFinal, "entry %d has settled and is not under a cosigned checkpoint yet", index)
		}
		if err := s.Sleep(ctx, retryFirst); err != nil {
			return err
		}
		if err := s.Sync(ctx, nil); err != nil {
			return err
		}
	}
}

// Resume sends everything that may still settle, as after a restart.
func (s *Session) Resume(ctx context.Context, event func(Event)) error {
	if err := s.Sync(ctx, nil); err != nil {
		return err
	}
	for _, a := range s.state.Unsettled(s.outbox) {
		if err := s.send(ctx, a, event); err != nil && !s.over(a, err) {
			return err
		}
	}
	return nil
}

// over tells of an error of send that it concerns nobody else: the attempt is dead, or it is a hold that the ledger refuses as it stands. That
// is journalled, and for Hold to deal with, which knows the condition.
func (s *Session) over(a *wallets.Attempt, err error) bool {
	order, ok := s.outbox.Order(a.Order)
	return errors.Is(err, errDead) || ok && order.Held && a.Pays && entry.CodeOf(err) != ""
}

func tell(event func(Event), doing string, done, total int) {
	if event != nil {
		event(Event{Doing: doing, Done: done, Total: total})
	}
}
