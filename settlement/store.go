package settlement

import (
	"context"
	"errors"
	"iter"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Head is where a store's log ends, and who may extend it. Two heads are the
// same exactly when all four fields are (==).
type Head struct {
	// Epoch is the fencing epoch: the number of times Acquire has succeeded.
	Epoch uint64
	// Height is that of the last block; block 0 is made by Create.
	Height uint64
	// Size is the number of leaves (entries) in the log.
	Size uint64
	// Root is the RFC 6962 root of the log at Size.
	Root [32]byte
}

// Outcome says what became of an append.
type Outcome int

const (
	// Unknown: the block may or may not be durable (a connection lost at
	// COMMIT, a failed fsync). The caller must not answer anybody. It reads
	// Head back, from a store opened afresh if need be: Height == block.Height
	// with Root == block.Root means committed, the expected head means that
	// nothing was written, anything else means fenced. It is the zero value, so
	// that a forgotten assignment is read as doubt.
	Unknown Outcome = iota
	// Committed: every row of the block is durable and survives kill -9, loss
	// of power included, and every later read through any handle sees it.
	Committed
	// Fenced: the head or the epoch was not the expected one; nothing was
	// written, now or later. Another sequencer owns the ledger: stop.
	Fenced
)

// String returns the word of DESIGN for the outcome.
func (o Outcome) String() string {
	switch o {
	case Committed:
		return "committed"
	case Fenced:
		return "fenced"
	default:
		return "unknown"
	}
}

// Named errors of stores. A store wraps them with what it was doing.
var (
	// ErrStoreInUse: Open or Create found a live process (or handle) on the
	// store, where the store allows one only.
	ErrStoreInUse = errors.New("settlement: store is in use")
	// ErrStoreExists: Create found a ledger, complete and readable.
	ErrStoreExists = errors.New("settlement: store already holds a ledger")
	// ErrStoreHalfCreated: a Create was cut short before block 0 was durable.
	// Nothing was ever acknowledged from it; the operator removes it by hand.
	ErrStoreHalfCreated = errors.New("settlement: store was only half created")
	// ErrStoreNotFound: Open found nothing.
	ErrStoreNotFound = errors.New("settlement: no store here")
	// ErrOtherLedger: the store's genesis is not the one asked for.
	ErrOtherLedger = errors.New("settlement: store belongs to another ledger")
	// ErrNewerVersion: the store was written by a newer program.
	ErrNewerVersion = errors.New("settlement: store has a newer layout version")
	// ErrNotFound: no such block, entry, anchor, tile, checkpoint or snapshot.
	ErrNotFound = errors.New("settlement: not found")
	// ErrStoreCorrupt: what was read does not fit together. Never repaired in
	// silence.
	ErrStoreCorrupt = errors.New("settlement: store is corrupt")
	// ErrStoreClosed: a call after Close.
	ErrStoreClosed = errors.New("settlement: store is closed")
	// ErrStoreFull: the medium has no room. It comes with Unknown: the caller
	// reads the head back and, if nothing was written, may try again.
	ErrStoreFull = errors.New("settlement: store is full")
)

// Opener makes stores. Creating a ledger and opening one are different calls,
// so that a wrong path never makes an empty ledger (settlement/SPEC L6.1).
type Opener interface {
	// Create makes a store that holds block 0 (Genesis gives it) with epoch 0,
	// durable on return. It fails with ErrStoreInUse, ErrStoreExists or
	// ErrStoreHalfCreated and never overwrites.
	Create(ctx context.Context, genesis *Block) (Store, error)
	// Open opens the store of the ledger with this genesis hash. It fails with
	// ErrStoreInUse, ErrStoreNotFound, ErrStoreHalfCreated, ErrOtherLedger,
	// ErrNewerVersion or ErrStoreCorrupt.
	Open(ctx context.Context, genesis entry.GenesisHash) (Store, error)
}

// Store keeps one ledger. It holds no rules: State judged every block before
// it gets here. Duties of all methods:
//
//   - safe for concurrent use; Append is called by one goroutine at a time;
//   - reads see every committed block and never a part of one (L6.2);
//   - returned bytes may be shared: neither side changes them;
//   - block.Root, Anchor and leaf hashes are stored as given, not recomputed,
//     except that tiles of the log are built from the entries.
type Store interface {
	// Head returns the current head, from the durable medium and not from a
	// memory of the last append.
	Head(ctx context.Context) (Head, error)

	// Acquire takes the next fencing epoch, durably, and returns the head with
	// it. From then on every Append that expects an older epoch is Fenced.
	Acquire(ctx context.Context) (Head, error)

	// Append writes one block, all of it or nothing, if the store's head equals
	// expected (epoch, height, size and root): one atomic durable
	// compare-and-set (L6.3). On Committed the store's head is
	// Head{expected.Epoch, block.Height, block.Size(), block.Root}.
	// The error says why the outcome is Unknown and is nil otherwise. Every
	// failure that is not a lost compare-and-set is Unknown, even where the
	// store believes that nothing was written: the caller has one path, the
	// read-back. After Unknown a store must be able to answer Head truthfully,
	// or return an error from it until it is opened afresh.
	// Retries inside (a 40001 of PostgreSQL) retry the whole block.
	Append(ctx context.Context, expected Head, block *Block) (Outcome, error)

	// Block returns the block at height, as appended, or ErrNotFound.
	Block(ctx context.Context, height uint64) (*Block, error)

	// Blocks yields the blocks from height `from` to the head at the time of
	// the call, in order, without holding all of them in memory. A failing
	// read is yielded as the last element. Used by replay and copy.
	Blocks(ctx context.Context, from uint64) iter.Seq2[*Block, error]

	// Entry returns the leaf bytes at a log index and the height of its block,
	// or ErrNotFound.
	Entry(ctx context.Context, index uint64) (leaf []byte, height uint64, err error)

	// Spent looks nullifiers up; the answer is parallel to the argument. A
	// store may answer absent from a memory of all nullifiers, but only where
	// that is exact (L6.5).
	Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]Hit, error)

	// Sequence looks a policy sequence number up among privileged entries.
	Sequence(ctx context.Context, sequence uint64) (Hit, error)

	// Anchor returns the roots at the end of the block at height, or
	// ErrNotFound.
	Anchor(ctx context.Context, height uint64) (Anchor, error)

	// Tile returns the hashes of the C2SP tlog-tiles tile at (level, index) of
	// the log as far as they are filled at the head: a multiple of 32 bytes, at
	// most 256 hashes; ErrNotFound when empty. Level 0 holds leaf hashes.
	Tile(ctx context.Context, level uint8, index uint64) ([]byte, error)

	// SaveCheckpoint keeps a cosigned checkpoint (bytes of a signed note) for
	// the log at size, durably. An older or equal size than the one kept
	// changes nothing and is no error, except that equal sizes replace (more
	// cosignatures may have arrived).
	SaveCheckpoint(ctx context.Context, size uint64, checkpoint []byte) error
	// Checkpoint returns the newest one saved, or ErrNotFound.
	Checkpoint(ctx context.Context) (size uint64, checkpoint []byte, err error)

	// SaveSnapshot keeps the bytes of a State as of the block at height, so
	// that a start need not replay everything. It is a cache: State checks it
	// against the state entry in the log (L6.6), and any snapshot may be lost.
	SaveSnapshot(ctx context.Context, height uint64, state []byte) error
	// Snapshot returns the newest one saved, or ErrNotFound.
	Snapshot(ctx context.Context) (height uint64, state []byte, err error)

	// Close releases the store. It does not wait for running appends to
	// succeed; they end as Unknown.
	Close() error
}

// Hit is the answer to a look-up: where the log holds what was asked for.
type Hit struct {
	Found      bool
	EntryIndex uint64
	Height     uint64
}
