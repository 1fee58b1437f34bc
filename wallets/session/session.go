// Package session is an open wallet at work: it reads the ledger's stream, and takes orders from plan to proof to journal to ledger until
// they settle. It decides nothing that package wallets can decide, and touches disk, network, clock and prover through interfaces alone.
//
// The order of effects is what keeps a payment from being made twice: an order is journalled before it is planned, a transaction's exact
// bytes are journalled before they are sent, and after a restart the same bytes are sent again. A new transaction for an order shares an
// input with every earlier one that may still settle.
package session

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"runtime"
	"time"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/keystore"
	"github.com/comity-ledger/comity/zk/keys"
)

// Ledger is what a session needs of a node. A refusal comes back as an *entry.Refusal in the error's chain; any other error means that
// nothing is known and the same call may be repeated.
type Ledger interface {
	// Head tells how far the ledger is: height of the newest block and number of log entries. It is the node's word.
	Head(ctx context.Context) (height, size uint64, err error)
	// Checkpoint gives the newest cosigned checkpoint, or nothing.
	Checkpoint(ctx context.Context) ([]byte, error)
	// Blocks yields the blocks from a height up to the head at the time of the call.
	Blocks(ctx context.Context, from uint64) iter.Seq2[*wallets.Block, error]
	// Submit sends an entry. Sending the same bytes again is answered with the first acceptance.
	Submit(ctx context.Context, e []byte, segments [][]byte) (Accepted, error)
	// Receipt gives the receipt of an entry, waiting up to wait for a cosigned checkpoint.
	Receipt(ctx context.Context, index uint64, wait time.Duration) ([]byte, error)
}

// Accepted is where the ledger put an entry.
type Accepted struct {
	EntryIndex uint64
	Height     uint64
	Before     bool // an earlier submission put it there
}

// Folder is where the wallet keeps its journal and state; *keystore.Folder is the real one.
type Folder interface {
	// Append makes a record durable before it returns nil.
	Append(record []byte) error
	Records() [][]byte
	Rewrite(records [][]byte) error
	JournalSize() int64
	SaveState(state []byte) error
	LoadState() ([]byte, error)
}

var _ Folder = (*keystore.Folder)(nil)

// Config is what a session works with.
type Config struct {
	Genesis *entry.Genesis
	Keys    keys.Wallet
	Folder  Folder
	Ledger  Ledger         // nil for commands that only look at what is on disk
	Prover  wallets.Prover // nil for commands that do not pay
	Rand    io.Reader
	Now     func() time.Time
	Sleep   func(context.Context, time.Duration) error // nil sleeps
	Workers int                                        // goroutines that scan blocks; 0 means one per core
}

// Session is an open wallet. It is not safe for concurrent use.
type Session struct {
	Config
	state  *wallets.State
	outbox *wallets.Outbox
	saved  uint64 // height of the state on disk
	fresh  bool   // the state on disk is of an earlier reading
	synced time.Time
}

// Open reads a wallet's state and journal.
func Open(c Config) (*Session, error) {
	if c.Sleep == nil {
		c.Sleep = sleep
	}
	if c.Workers == 0 {
		c.Workers = runtime.GOMAXPROCS(0)
	}
	s := &Session{Config: c}
	raw, err := c.Folder.LoadState()
	if err != nil {
		return nil, err
	}
	view := c.Keys.FullView()
	if raw != nil {
		s.state, err = wallets.DecodeState(raw, c.Genesis, view)
	}
	if raw == nil || err != nil { // the stream rebuilds it
		s.state = wallets.NewState(c.Genesis, view)
	}
	s.saved = s.state.NextHeight()
	if s.outbox, err = wallets.NewOutbox(c.Folder.Records()); err != nil {
		return nil, err
	}
	return s, nil
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// State is what was read of the ledger. It is replaced by Sync when something went wrong; do not keep it.
func (s *Session) State() *wallets.State { return s.state }

// Outbox is the folded journal.
func (s *Session) Outbox() *wallets.Outbox { return s.outbox }

// Builder makes transactions of this wallet at the present state.
func (s *Session) Builder() *wallets.Builder {
	return &wallets.Builder{State: s.state, Keys: s.Keys, Rand: s.Rand, NowMillis: uint64(s.Now().UnixMilli())}
}

// record makes a journal record durable, and then acts on it.
func (s *Session) record(r any) error {
	b, err := wallets.Encode(r)
	if err != nil {
		return err
	}
	if err := s.Folder.Append(b); err != nil {
		return fmt.Errorf("write the journal: %w", err)
	}
	return s.outbox.Add(b)
}

// Progress is where a synchronisation stands.
type Progress struct {
	Height, Target uint64 // blocks read, and the ledger's height when it began
	Transactions   int    // read so far
	Final          uint64 // log entries that are final
}

// saveEvery bounds how many blocks a long synchronisation reads before it saves.
const saveEvery = 4096

// Sync reads the ledger up to its head. What was read is kept on disk by Close, and during a long synchronisation now and then: it is a
// cache. progress may be nil. Blocks are scanned by several goroutines and applied in order.
func (s *Session) Sync(ctx context.Context, progress func(Progress)) error {
	if s.Ledger == nil {
		return errors.New("session: no ledger to read")
	}
	height, size, err := s.Ledger.Head(ctx)
	if err != nil {
		return fmt.Errorf("ask the ledger for its head: %w", err)
	}
	if size < s.state.LogSize() {
		return wallets.Refuse(wallets.LedgerRolledBack, "the ledger has %d entries, it showed %d before", size, s.state.LogSize())
	}
	checkpoint, err := s.Ledger.Checkpoint(ctx)
	if err != nil {
		return fmt.Errorf("ask the ledger for its checkpoint: %w", err)
	}
	if err := s.state.CheckHead(checkpoint); err != nil {
		return err
	}
	if err := s.read(ctx, height, progress); err != nil {
		return err
	}
	// The stream may have shown a newer checkpoint than the one asked for before it.
	if checkpoint, err = s.Ledger.Checkpoint(ctx); err != nil {
		return fmt.Errorf("ask the ledger for its checkpoint: %w", err)
	}
	if err := s.state.CheckHead(checkpoint); err != nil {
		return err
	}
	s.synced = s.Now()
	return nil
}

// read runs the pipeline: stream, scan, apply.
func (s *Session) read(ctx context.Context, target uint64, progress func(Progress)) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	view := s.Keys.IncomingView()
	type scan struct {
		done chan *wallets.Scanned
		err  error
	}
	queue := make(chan scan, 4*s.Workers)
	slots := make(chan struct{}, s.Workers)
	finished := make(chan struct{})
	from := s.state.NextHeight()
	go func() {
		defer close(finished)
		defer close(queue)
		for b, err := range s.Ledger.Blocks(ctx, from) {
			if err != nil {
				select {
				case queue <- scan{err: err}:
				case <-ctx.Done():
				}
				return
			}
			next := scan{done: make(chan *wallets.Scanned, 1)}
			select {
			case slots <- struct{}{}:
			case <-ctx.Done():
				return
			}
			go func() {
				next.done <- wallets.Scan(view, b)
				<-slots
			}()
			select {
			case queue <- next:
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() {
		cancel()
		<-finished
	}()
	p := Progress{Target: target}
	for next := range queue {
		if next.err != nil {
			return fmt.Errorf("read the ledger from block %d: %w", s.state.NextHeight(), next.err)
		}
		scanned := <-next.done
		if err := s.state.Apply(scanned); err != nil {
			return s.reload(err)
		}
		p.Transactions += scanned.Transactions()
		p.Height, p.Final = scanned.Height(), s.state.FinalSize()
		if progress != nil {
			progress(p)
		}
		if s.state.NextHeight() >= s.saved+saveEvery {
			if err := s.save(); err != nil {
				return err
			}
		}
	}
	return ctx.Err()
}

// reload goes back to the state on disk after a block contradicted the one in memory, and returns the contradiction.
func (s *Session) reload(cause error) error {
	raw, err := s.Folder.LoadState()
	if err != nil {
		return errors.Join(cause, err)
	}
	state := wallets.NewState(s.Genesis, s.Keys.FullView())
	if raw != nil {
		if kept, err := wallets.DecodeState(raw, s.Genesis, s.Keys.FullView()); err == nil {
			state = kept
		}
	}
	s.state = state
	return cause
}

func (s *Session) save() error {
	if s.saved == s.state.NextHeight() && !s.fresh {
		return nil
	}
	raw, err := s.state.Encode()
	if err != nil {
		return err
	}
	if err := s.Folder.SaveState(raw); err != nil {
		return err
	}
	s.saved, s.fresh = s.state.NextHeight(), false
	return nil
}

// Rescan forgets what was read, but not what the ledger's witnesses cosigned, and reads everything again.
func (s *Session) Rescan(ctx context.Context, progress func(Progress)) error {
	s.state = s.state.Restart()
	s.saved, s.fresh = 0, true
	return s.Sync(ctx, progress)
}

// compactAbove is the journal size in bytes above which Compact rewrites it.
const compactAbove = 16 << 20

// Compact rewrites a large journal without the bytes of transactions that settled or died.
func (s *Session) Compact() error {
	if s.Folder.JournalSize() < compactAbove {
		return nil
	}
	records, err := s.outbox.Compact(s.state)
	if err != nil {
		return err
	}
	if err := s.Folder.Rewrite(records); err != nil {
		return fmt.Errorf("compact the journal: %w", err)
	}
	s.outbox, err = wallets.NewOutbox(records)
	return err
}

// Close saves what was read of the ledger, and compacts a journal that has grown large.
func (s *Session) Close() error {
	if err := s.save(); err != nil {
		return err
	}
	return s.Compact()
}
