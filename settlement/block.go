package settlement

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// Block is the unit of commitment: entries that become durable together, and
// every effect that a store indexes. All fields but Entries, Segments, Height
// and FirstIndex follow from the entries and the state before; replay
// recomputes and compares them.
type Block struct {
	// Height is one more than the previous block's; block 0 holds the genesis
	// entry and the first state entry.
	Height uint64
	// Time is the ledger time in milliseconds since the Unix epoch; it never
	// goes back.
	Time uint64
	// FirstIndex is the log index of Entries[0].
	FirstIndex uint64
	// Entries are the leaf bytes in order; the last is the state entry.
	Entries [][]byte
	// Segments are the payee ciphertexts, one per leg, in the order of entries
	// and legs. They are no part of the log: entries hold their SHA-256.
	Segments [][]byte
	// Nullifiers are those spent here, in order of entries, legs and inputs, and
	// the other once-only keys that entries use up (1.14), which a store keeps
	// and looks up like nullifiers.
	Nullifiers []SpentNullifier
	// Sequences are the policy sequence numbers used here, in order.
	Sequences []UsedSequence
	// Commitments are the outputs in order of entries, legs and outputs, each
	// with the position at which it was placed in the note tree. A held output is
	// not among them; the entry that resolves its hold has one.
	Commitments []PlacedCommitment
	// Anchor holds the roots at the end of the block, those of the state entry.
	Anchor Anchor
	// Root is the RFC 6962 root of the log with this block.
	Root [32]byte
}

// SpentNullifier names the entry that spent a nullifier, or used another
// once-only key up.
type SpentNullifier struct {
	Nullifier  zk.Nullifier
	EntryIndex uint64
}

// UsedSequence names the privileged entry that used a policy sequence number.
type UsedSequence struct {
	Sequence   uint64
	EntryIndex uint64
}

// PlacedCommitment is an output and where it went.
type PlacedCommitment struct {
	Commitment zk.Commitment
	Position   zk.Position
	EntryIndex uint64
}

// Anchor is what a leg may be proven against: the roots at the end of a block.
type Anchor struct {
	Height uint64
	Time   uint64
	// Tree is the number of the note tree that the block ended in, TreeSize the
	// leaves in it (padding included) and NoteRoot its root. Trees before it
	// are sealed.
	Tree         uint16
	TreeSize     uint32
	NoteRoot     zk.Root
	RegistryRoot zk.Root
	ReadersRoot  zk.Root
}

// Size returns the number of leaves in the log with this block.
func (b *Block) Size() uint64 { return b.FirstIndex + uint64(len(b.Entries)) }

// Head returns the head of a store that holds the block last.
func (b *Block) Head(epoch uint64) Head {
	return Head{Epoch: epoch, Height: b.Height, Size: b.Size(), Root: b.Root}
}

// GenesisHash names the ledger that this block, block 0, founds: the hash of
// the genesis entry's bytes, as entry.Genesis.Hash computes it.
func (b *Block) GenesisHash() entry.GenesisHash {
	return entry.GenesisHash(sha256.Sum256(append([]byte("comity/genesis/v1"), b.Entries[0]...)))
}

// LeafHashes returns the RFC 6962 leaf hashes of the entries, for stores that
// build tiles.
func (b *Block) LeafHashes() [][32]byte {
	hashes := make([][32]byte, len(b.Entries))
	for i, leaf := range b.Entries {
		hashes[i] = proof.LeafHash(leaf)
	}
	return hashes
}

// Equal names the first thing in which another block differs from b, at the
// entry index where there is one; nil means none. Segments are not compared:
// entries hold their hashes.
func (b *Block) Equal(other *Block) error {
	differ := func(what string) error {
		return fmt.Errorf("settlement: block %d at entry %d: %s", b.Height, b.FirstIndex, what)
	}
	switch {
	case b.Height != other.Height:
		return differ(fmt.Sprintf("height %d", other.Height))
	case b.FirstIndex != other.FirstIndex:
		return differ(fmt.Sprintf("first index %d", other.FirstIndex))
	}
	for i := range max(len(b.Entries), len(other.Entries)) {
		switch {
		case i >= len(b.Entries):
			return fmt.Errorf("settlement: entry %d is one too many in block %d", b.FirstIndex+uint64(i), b.Height)
		case i >= len(other.Entries):
			return fmt.Errorf("settlement: entry %d is missing from block %d", b.FirstIndex+uint64(i), b.Height)
		case !bytes.Equal(b.Entries[i], other.Entries[i]):
			return fmt.Errorf("settlement: entry %d of block %d is not what the log gives", b.FirstIndex+uint64(i), b.Height)
		}
	}
	switch {
	case b.Time != other.Time:
		return differ(fmt.Sprintf("ledger time %d, want %d", other.Time, b.Time))
	case b.Root != other.Root:
		return differ(fmt.Sprintf("log root %x, want %x", other.Root, b.Root))
	case b.Anchor != other.Anchor:
		return differ("roots of the anchor")
	case !slices.Equal(b.Nullifiers, other.Nullifiers):
		return differ("nullifiers")
	case !slices.Equal(b.Sequences, other.Sequences):
		return differ("policy sequence numbers")
	case !slices.Equal(b.Commitments, other.Commitments):
		return differ("commitments or their positions")
	}
	return nil
}

// Matches is Equal for a block that may be bare: one that came from the log
// itself has height, index and entries only, and no effects to compare.
func (b *Block) Matches(other *Block) error {
	if other.Root != ([32]byte{}) || other.Anchor != (Anchor{}) {
		return b.Equal(other)
	}
	bare := *b
	bare.Height, bare.FirstIndex, bare.Entries = other.Height, other.FirstIndex, other.Entries
	return b.Equal(&bare)
}
