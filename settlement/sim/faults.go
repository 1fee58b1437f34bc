package sim

import (
	"context"
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/zk"
)

// Fault is one thing that goes wrong at the store during one step.
type Fault int

// The faults of a store. Each is armed for one append (or one read) and then
// done with.
const (
	// CrashBeforeWrite: the machine dies before anything is written.
	CrashBeforeWrite Fault = iota
	// CrashAfterWrite: the block is durable, the machine dies before it knows.
	CrashAfterWrite
	// TornWrite: a part of the block is on the medium when the machine dies. A
	// store that keeps its contract shows none of it after the restart.
	TornWrite
	// LostAnswer: the block is durable, the answer is Unknown.
	LostAnswer
	// LostRequest: nothing is written, the answer is Unknown.
	LostRequest
	// LostBoth: the block is durable, the answer is Unknown and reading back
	// fails as well.
	LostBoth
	// DiskFull: nothing is written, the answer is Unknown with ErrStoreFull.
	DiskFull
	// LookUpFails: reading nullifiers fails once.
	LookUpFails
	// TakenOver: another node acquires the ledger just before the write.
	TakenOver
	numFaults
)

// String names the fault.
func (f Fault) String() string {
	return [...]string{"crash before write", "crash after write", "torn write", "lost answer", "lost request", "lost answer and read-back",
		"disk full", "look-up fails", "taken over"}[f]
}

// errCrash ends the node's process: no line of its code runs after it.
var errCrash = errors.New("sim: crash")

// faulty passes everything to a store and fails once when armed.
type faulty struct {
	settlement.Store
	armed    *Fault
	readFail bool
	dead     bool // the process that holds this handle has crashed
	fired    func(Fault)
	rival    func()                        // acquires the ledger as another node
	tear     func(block *settlement.Block) // leaves a part of a block, where the disk can
}

func (f *faulty) take(which ...Fault) (Fault, bool) {
	if f.armed == nil {
		return 0, false
	}
	for _, w := range which {
		if *f.armed == w {
			f.armed = nil
			f.fired(w)
			return w, true
		}
	}
	return 0, false
}

func (f *faulty) Append(ctx context.Context, expected settlement.Head, block *settlement.Block) (settlement.Outcome, error) {
	fault, any := f.take(CrashBeforeWrite, CrashAfterWrite, TornWrite, LostAnswer, LostRequest, LostBoth, DiskFull, TakenOver)
	if !any {
		return f.Store.Append(ctx, expected, block)
	}
	switch fault {
	case CrashBeforeWrite, TornWrite:
		if fault == TornWrite && f.tear != nil {
			f.tear(block)
		}
		f.dead = true
		return settlement.Unknown, errCrash
	case LostRequest:
		return settlement.Unknown, errors.New("sim: connection lost")
	case DiskFull:
		return settlement.Unknown, fmt.Errorf("sim: %w", settlement.ErrStoreFull)
	case TakenOver:
		f.rival()
		return f.Store.Append(ctx, expected, block)
	}
	outcome, err := f.Store.Append(ctx, expected, block)
	if outcome != settlement.Committed {
		return outcome, err
	}
	switch fault {
	case CrashAfterWrite:
		f.dead = true
		return settlement.Unknown, errCrash
	case LostBoth:
		f.readFail = true
	}
	return settlement.Unknown, errors.New("sim: connection lost at commit")
}

func (f *faulty) Head(ctx context.Context) (settlement.Head, error) {
	if f.dead {
		return settlement.Head{}, errCrash
	}
	if f.readFail {
		f.readFail = false
		return settlement.Head{}, errors.New("sim: still no connection")
	}
	return f.Store.Head(ctx)
}

func (f *faulty) Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	if _, any := f.take(LookUpFails); any {
		return nil, errors.New("sim: read failed")
	}
	return f.Store.Spent(ctx, nullifiers)
}

func isCrash(err error) bool { return errors.Is(err, errCrash) }
