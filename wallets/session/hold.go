package session

import (
	"context"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
)

// Condition says what a reserved hold waits for, and its size class. It may show the draft's opening to others and wait for them: the draft
// is in the journal by then. It is called again with the same draft after a kill or a refusal, and with a draft of other commitments after
// a change of the oversight key; whoever has promised the former ones then returns an error.
type Condition func(*wallets.HoldDraft) (c entry.Condition, sizeClass uint64, err error)

// Attach sets the peer proof of a hold that another ledger decides: witness data, not covered by the transaction's id. It is called before
// the transaction is journalled, and again when the ledger has not observed, or no longer remembers, the size that the proof leads to.
type Attach func(tx *entry.Transaction) error

// Held is a hold that the log holds.
type Held struct {
	Result
	Hold entry.HoldID
}

// Reserve chooses the notes of a payment into a hold, makes one of many first, and journals the draft: what it commits to stays the same
// after a kill, and its notes pay nothing else until the hold is placed or Unreserve frees them. After that it gives the draft that was placed.
func (s *Session) Reserve(ctx context.Context, order *wallets.Order, event func(Event)) (*wallets.HoldDraft, error) {
	order, err := s.beginHold(ctx, order)
	if err != nil {
		return nil, err
	}
	for range maxRounds {
		if s.state.PaymentOf(s.outbox, order).Stage == wallets.Done {
			if h, kept := s.outbox.Reservation(order.ID); kept {
				return h, nil
			}
			return nil, wallets.Refuse(wallets.NotFound, "payment %q was placed, and the journal no longer holds its draft", order.ID)
		}
		h, err := s.reservation(ctx, order, event)
		if err != nil || h != nil {
			return h, err
		}
	}
	return nil, fmt.Errorf("payment %q was not reserved in %d rounds", order.ID, maxRounds)
}

// Unreserve frees the notes of a reserved hold. A transaction that was made of it and may settle keeps them bound.
func (s *Session) Unreserve(order string) error {
	if _, reserved := s.outbox.Reservation(order); !reserved {
		return nil
	}
	return s.record(&wallets.Unreserved{Order: order})
}

// Hold pays an order into a hold, or finds that it was placed before. On return with a nil error the hold is in the log; with wait set it is
// final. After any error the same call may be repeated, also by another process after a kill: the hold is placed at most once. attach may
// be nil for a hold that no other ledger decides.
func (s *Session) Hold(ctx context.Context, order *wallets.Order, condition Condition, attach Attach, wait time.Duration, event func(Event)) (Held, error) {
	return s.HoldBefore(ctx, order, condition, attach, math.MaxUint64, wait, event)
}

// HoldBefore is Hold for one that is placed before a ledger time, in milliseconds, or never: no transaction expires later than that, and none is
// made at or after it (entry.Expired). One that was sent may still be in the log.
func (s *Session) HoldBefore(ctx context.Context, order *wallets.Order, condition Condition, attach Attach, before uint64, wait time.Duration, event func(Event)) (Held, error) {
	order, err := s.beginHold(ctx, order)
	if err != nil {
		return Held{}, err
	}
	again := s.state.PaymentOf(s.outbox, order).Stage == wallets.Done
	if err := s.settleHold(ctx, order, condition, attach, before, event); err != nil {
		return Held{}, err
	}
	p := s.state.PaymentOf(s.outbox, order)
	h := Held{Result: Result{Payment: p, Again: again}, Hold: entry.HoldID{Tx: p.Attempt.TxID}}
	if wait > 0 {
		if err := s.WaitFinal(ctx, p.Settled.Entry, wait); err != nil {
			return h, err
		}
		h.Final = true
	}
	return h, nil
}

// beginHold reads the ledger and journals the order, unless it is there.
func (s *Session) beginHold(ctx context.Context, order *wallets.Order) (*wallets.Order, error) {
	if err := s.Sync(ctx, nil); err != nil {
		return nil, err
	}
	held := *order
	held.Held = true
	known, err := s.outbox.SameOrder(&held)
	if err != nil {
		return nil, err
	}
	if known {
		order, _ = s.outbox.Order(held.ID)
		return order, nil
	}
	if err := s.Builder().CheckOrder(&held); err != nil {
		return nil, err
	}
	if id, paid := s.state.TagSettled(wallets.TagOf(held.ID)); paid {
		return nil, wallets.Refuse(wallets.PaymentIDSettled, "transaction %s of this wallet carries payment id %q, and this folder does not know it", id, held.ID)
	}
	if _, err := s.Builder().PlanHold(s.outbox, &held); err != nil && wallets.CodeOf(err) != wallets.FundsInFlight {
		return nil, err
	}
	return &held, s.record(&held)
}

// settleHold reserves, builds, proves, journals and sends until the hold is in the log.
func (s *Session) settleHold(ctx context.Context, order *wallets.Order, condition Condition, attach Attach, before uint64, event func(Event)) error {
	for range maxRounds {
		p := s.state.PaymentOf(s.outbox, order)
		a := p.Attempt
		switch {
		case p.Stage == wallets.Done:
			return nil
		case p.Stage == wallets.Pending && s.state.Doomed(a): // dead as soon as what spent its input is final
			if err := s.WaitFinal(ctx, s.state.LogSize()-1, doomedWait); err != nil {
				return err
			}
			continue
		case p.Stage == wallets.Pending && p.Refusal == nil:
		default: // none that may settle, or asked for again after a refusal: the same notes, perhaps another condition
			h, err := s.reservation(ctx, order, event)
			if err != nil {
				return err
			}
			if h == nil {
				continue
			}
			if a, err = s.buildHold(ctx, h, condition, attach, before, event); err != nil {
				return err
			}
		}
		err := s.carry(ctx, a, attach, event)
		if err == nil || errors.Is(err, errDead) {
			continue
		}
		if h, reserved := s.outbox.Reservation(order.ID); entry.CodeOf(err) == entry.OversightEpochStale && reserved && h.Epoch() != s.state.OversightEpoch() {
			continue // the key was rotated: reserve again
		}
		return err
	}
	return fmt.Errorf("payment %q did not settle in %d rounds", order.ID, maxRounds)
}

// reservation gives the order's reserved hold as the present oversight key has it. It is nil after transactions that prepare notes for it.
func (s *Session) reservation(ctx context.Context, order *wallets.Order, event func(Event)) (*wallets.HoldDraft, error) {
	h, reserved := s.outbox.Reservation(order.ID)
	if reserved {
		next, err := s.Builder().Refresh(h)
		if wallets.CodeOf(err) == wallets.HoldDraftStale && s.state.PaymentOf(s.outbox, order).Stage == wallets.Dead {
			return nil, s.record(&wallets.Unreserved{Order: order.ID}) // its notes were spent by another folder of this wallet
		}
		if err != nil || next == h {
			return h, err
		}
		return next, s.record(next)
	}
	h, merge, err := s.Builder().ReserveHold(s.outbox, order)
	if wallets.CodeOf(err) == wallets.FundsInFlight {
		return nil, s.settleOthers(ctx, err, event)
	}
	if err != nil {
		return nil, err
	}
	if h != nil {
		return h, s.record(h)
	}
	return nil, s.sendAll(ctx, merge, order.ID, false, event)
}

// buildHold proves the transaction of a reserved hold and makes it durable. Only then may it be sent.
func (s *Session) buildHold(ctx context.Context, h *wallets.HoldDraft, condition Condition, attach Attach, before uint64, event func(Event)) (*wallets.Attempt, error) {
	c, class, err := condition(h)
	if err != nil {
		return nil, err
	}
	b := s.Builder()
	if now := b.TimeMillis(); now >= before {
		return nil, entry.Refuse(entry.Expired, "it is %d, the hold was to be placed before %d", now, before)
	}
	d, err := b.BuildHold(h, c, class, min(before, b.ExpiryMillis()))
	if err != nil {
		return nil, err
	}
	tell(event, "prove", 0, 1)
	if err := d.Prove(ctx, s.Prover, nil); err != nil {
		return nil, err
	}
	if c.Type == entry.ConditionDecidedThere {
		if err := peerProof(d.Tx, attach); err != nil {
			return nil, err
		}
	}
	a := d.Attempt(h.Order(), true)
	if err := s.record(a); err != nil {
		return nil, err
	}
	a, _ = s.outbox.Attempt(a.TxID)
	return a, nil
}

// peerProof lets the caller set the peer proof, and nothing else.
func peerProof(tx *entry.Transaction, attach Attach) error {
	if attach == nil {
		return errors.New("session: a hold that another ledger decides needs a peer proof")
	}
	id := tx.ID()
	if err := attach(tx); err != nil {
		return fmt.Errorf("attach the peer proof of hold %s: %w", id, err)
	}
	if tx.Legs[0].Peer == nil || tx.ID() != id {
		return errors.New("session: the peer proof is missing, or more than it was changed")
	}
	return tx.Validate()
}

// SubmitEntry sends an entry that spends no notes: one that attests, amends or resolves a hold, observes a peer, or is privileged and signed.
// Sending it again is safe: the ledger answers with where it settled.
func (s *Session) SubmitEntry(ctx context.Context, leaf []byte) (Accepted, error) {
	if s.Ledger == nil {
		return Accepted{}, errors.New("session: no ledger to send to")
	}
	e, err := entry.Decode(leaf)
	if err != nil {
		return Accepted{}, err
	}
	if _, moves := e.(*entry.Transaction); moves || e.Head() == nil {
		return Accepted{}, entry.Refuse(entry.KindMismatch, "a %s entry is not sent this way", e.Kind())
	}
	pause := retryFirst
	for try := 1; ; try++ {
		at, err := s.Ledger.Submit(ctx, leaf, nil)
		if err == nil {
			return at, nil
		}
		if code := entry.CodeOf(err); code != "" && code != entry.TryLater || ctx.Err() != nil || try == maxTries {
			return Accepted{}, fmt.Errorf("send %s entry %s: %w", e.Kind(), entry.IDOf(e), err)
		}
		if err := s.Sleep(ctx, pause); err != nil {
			return Accepted{}, err
		}
		pause = min(2*pause, retryMost)
	}
}
