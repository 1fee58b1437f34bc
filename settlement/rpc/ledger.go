package rpc

import (
	"context"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Ledger is what the edge needs of a settlement node. All methods are safe for concurrent use and return when ctx ends.
// settlement.ErrNotFound means that the thing does not exist, yet or at all; an *entry.Refusal is answered to the caller by
// name; any other error is an internal one whose text no caller sees.
type Ledger interface {
	// Genesis returns the ledger's genesis, always the same.
	Genesis() *entry.Genesis
	// Status returns where the ledger stands.
	Status(ctx context.Context) (Status, error)
	// Submit settles one entry and returns once it is durable, or refuses it. An entry that the log holds already is answered
	// with its first place and Before set. When ctx ends first the entry may still become durable.
	Submit(ctx context.Context, leaf []byte, segments [][]byte) (Accepted, error)
	// WaitBlock returns once the block at height is durable.
	WaitBlock(ctx context.Context, height uint64) error
	// Block returns a durable block.
	Block(ctx context.Context, height uint64) (*settlement.Block, error)
	// Receipt returns the receipt (C2SP tlog-proof text) of the entry at index, waiting until a cosigned checkpoint covers it.
	Receipt(ctx context.Context, index uint64) ([]byte, error)
	// IndexOf returns the log index of the durable entry with this id.
	IndexOf(ctx context.Context, id entry.ID) (uint64, error)
	// Checkpoint returns the newest cosigned checkpoint and its size, with size 0 when there is none.
	Checkpoint(ctx context.Context) (size uint64, note []byte, err error)
	// WaitCheckpoint returns the newest cosigned checkpoint over at least size leaves whose cosigners are enough, and its size, once there
	// is one; nil lets any quorum do. A larger one may exist whose cosigners are not enough.
	WaitCheckpoint(ctx context.Context, size uint64, enough func(cosigners []string) bool) (uint64, []byte, error)
	// LatestCheckpoint returns the newest checkpoint signed by the log alone.
	LatestCheckpoint(ctx context.Context) ([]byte, error)
	// Spent looks nullifiers up among durable entries, in the order of the argument.
	Spent(ctx context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error)
	// Entry returns the leaf bytes at a log index and the height of its block.
	Entry(ctx context.Context, index uint64) ([]byte, uint64, error)
	// Inclusion returns the path from the leaf at index to the root of the first size leaves, index < size.
	Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error)
	// Consistency returns the proof that the first newer leaves begin with the first older ones, older <= newer.
	Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error)
	// Hold looks an open hold up.
	Hold(id entry.HoldID) (settlement.Hold, bool)
	// HoldsAfter returns the open holds with ids past `after`, ascending, at most limit of them; whether there are more; and the height
	// of the block after which that is so.
	HoldsAfter(after entry.HoldID, limit int) (holds []settlement.Hold, more bool, height uint64)
	// Corridors returns what the ledger keeps about its peers, ascending by genesis hash.
	Corridors() []settlement.Corridor
	// Tile returns the hashes of a C2SP tile as far as they are filled.
	Tile(ctx context.Context, level uint8, index uint64) ([]byte, error)
}

// Accepted is where a settled entry stands.
type Accepted struct {
	ID         entry.ID
	EntryIndex uint64
	Height     uint64
	Before     bool // an earlier submission put it there
}

// Status is the node's view of itself and of its ledger.
type Status struct {
	State         *entry.State // state entry of the newest durable block
	Size          uint64       // leaves of the log at that block
	FinalSize     uint64       // leaves under the newest cosigned checkpoint
	Pending       uint64       // entries inside the node, not yet durable
	Witnesses     []WitnessStatus
	UptimeSeconds uint64
	Node          *NodeStatus // nil where one node alone runs the ledger
}

// NodeStatus is what one of several nodes of a ledger knows about them.
type NodeStatus struct {
	Name       string
	Leads      bool   // it sequences; otherwise it follows
	Leader     string // name of the node that holds the lease, empty when none is known to
	LeaderURL  string
	LeaseEpoch uint64 // fencing epoch of that node, 0 until it has taken one
}

// WitnessStatus is how a witness is doing as the node sees it.
type WitnessStatus struct {
	Name      string
	Size      uint64 // leaves of the newest checkpoint it cosigned
	LastError string // empty when its last answer was good
}
