package proof

import (
	"errors"
	"fmt"
	"math"

	"golang.org/x/mod/sumdb/tlog"
)

// Hash is a SHA-256 hash of a leaf, a node or a whole tree.
type Hash = tlog.Hash

// HashReader reads stored hashes by their index (tlog.StoredHashIndex); a store gives one.
type HashReader = tlog.HashReader

// A Head is a tree: its number of leaves and its root.
type Head struct {
	Size uint64
	Root Hash
}

// What a proof can fail with.
var (
	// ErrInclusion: the leaf is not at that index of the tree, or the path is not the one path of that shape.
	ErrInclusion = errors.New("inclusion_invalid")
	// ErrConsistency: the newer tree does not begin with the older one, or the path is not the one path of that shape.
	ErrConsistency = errors.New("consistency_invalid")
)

// LeafHash is SHA-256(0x00 || entry), RFC 6962 section 2.1. The prefix keeps leaves and nodes apart: no entry hashes like a node.
func LeafHash(entry []byte) Hash { return tlog.RecordHash(entry) }

// NodeHash is SHA-256(0x01 || left || right).
func NodeHash(left, right Hash) Hash { return tlog.NodeHash(left, right) }

// EmptyRoot is the root of the tree without leaves: the SHA-256 of nothing.
func EmptyRoot() Hash {
	h, err := tlog.TreeHash(0, nil)
	if err != nil {
		panic(fmt.Sprintf("root of the empty tree: %v", err)) // reads nothing, so it cannot fail
	}
	return h
}

// VerifyInclusion checks that leaf is the leaf with that index, counted from 0, of the tree. The path goes from the leaf's sibling to the root's child.
func VerifyInclusion(tree Head, index uint64, leaf Hash, path []Hash) error {
	if tree.Size > math.MaxInt64 || index >= tree.Size {
		return fmt.Errorf("%w: index %d of a tree of %d leaves", ErrInclusion, index, tree.Size)
	}
	if err := tlog.CheckRecord(path, int64(tree.Size), tree.Root, int64(index), leaf); err != nil {
		return fmt.Errorf("%w: leaf %d of %d: %v", ErrInclusion, index, tree.Size, err)
	}
	return nil
}

// VerifyConsistency checks that newer begins with all leaves of older (RFC 6962 section 2.1.2). Everything begins with the empty
// tree, and a tree with itself; the path is empty then.
func VerifyConsistency(older, newer Head, path []Hash) error {
	switch {
	case newer.Size > math.MaxInt64 || older.Size > newer.Size:
		return fmt.Errorf("%w: from %d to %d leaves", ErrConsistency, older.Size, newer.Size)
	case older.Size == 0 || older.Size == newer.Size:
		if len(path) != 0 {
			return fmt.Errorf("%w: %d hashes where none belong", ErrConsistency, len(path))
		}
		if older.Size == 0 {
			older.Root = EmptyRoot() // whatever it was called, there is one
			if newer.Size != 0 {
				return nil
			}
		}
		if older.Root != newer.Root {
			return fmt.Errorf("%w: two roots for %d leaves", ErrConsistency, older.Size)
		}
		return nil
	}
	if err := tlog.CheckTree(path, int64(newer.Size), newer.Root, int64(older.Size), older.Root); err != nil {
		return fmt.Errorf("%w: from %d to %d leaves: %v", ErrConsistency, older.Size, newer.Size, err)
	}
	return nil
}

// ProveInclusion makes the path for VerifyInclusion.
func ProveInclusion(size, index uint64, r HashReader) ([]Hash, error) {
	if size > math.MaxInt64 || index >= size {
		return nil, fmt.Errorf("prove inclusion of leaf %d in a tree of %d", index, size)
	}
	path, err := tlog.ProveRecord(int64(size), int64(index), r)
	if err != nil {
		return nil, fmt.Errorf("prove inclusion of leaf %d in a tree of %d: %w", index, size, err)
	}
	return path, nil
}

// ProveConsistency makes the path for VerifyConsistency.
func ProveConsistency(older, newer uint64, r HashReader) ([]Hash, error) {
	if newer > math.MaxInt64 || older > newer {
		return nil, fmt.Errorf("prove consistency from %d to %d leaves", older, newer)
	}
	if older == 0 || older == newer {
		return nil, nil
	}
	path, err := tlog.ProveTree(int64(newer), int64(older), r)
	if err != nil {
		return nil, fmt.Errorf("prove consistency from %d to %d leaves: %w", older, newer, err)
	}
	return path, nil
}

// RootAt computes the root of the first size leaves.
func RootAt(size uint64, r HashReader) (Hash, error) {
	if size > math.MaxInt64 {
		return Hash{}, fmt.Errorf("root of %d leaves", size)
	}
	h, err := tlog.TreeHash(int64(size), r)
	if err != nil {
		return Hash{}, fmt.Errorf("root of %d leaves: %w", size, err)
	}
	return h, nil
}
