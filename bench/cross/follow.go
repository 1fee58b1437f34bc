package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"connectrpc.com/connect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// mirror is a ledger's log as somebody follows it over the RPC: blocks are pushed by a stream, checkpoints by a call that waits for the next.
// A checkpoint counts once the witnesses' signatures hold and its root is that of the blocks. Its user guards it with a lock of its own.
type mirror struct {
	client ledgerv1connect.LedgerServiceClient
	hash   entry.GenesisHash
	policy *proof.Policy

	leaves [][]byte
	hashes []tlog.Hash  // stored hashes of the log, in tlog's order
	final  proof.Head   // newest checkpoint that counts
	early  *proof.Final // a checkpoint whose blocks have not come yet
}

func newMirror(n *nation, url string) (*mirror, error) {
	policy, err := journal.PolicyOf(n.genesis)
	return &mirror{client: dial(url), hash: n.hash, policy: policy}, err
}

// ReadHashes implements proof.HashReader.
func (m *mirror) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, n := range at {
		if n >= int64(len(m.hashes)) {
			return nil, errors.New("no such hash")
		}
		out[i] = m.hashes[n]
	}
	return out, nil
}

// add takes the next block.
func (m *mirror) add(b *ledgerv1.Block) error {
	if b.GetFirstIndex() != uint64(len(m.leaves)) {
		return fmt.Errorf("block %d begins at entry %d, want %d", b.GetHeight(), b.GetFirstIndex(), len(m.leaves))
	}
	for _, leaf := range b.GetEntries() {
		more, err := tlog.StoredHashesForRecordHash(int64(len(m.leaves)), proof.LeafHash(leaf), m)
		if err != nil {
			return err
		}
		m.hashes, m.leaves = append(m.hashes, more...), append(m.leaves, leaf)
	}
	return nil
}

// settle moves the final head to the newest checkpoint that the blocks reach, and tells whether it moved.
func (m *mirror) settle() (bool, error) {
	if m.early == nil || m.early.Size > uint64(len(m.leaves)) {
		return false, nil
	}
	head := m.early.Head
	m.early = nil
	if head.Size <= m.final.Size {
		return false, nil
	}
	root, err := proof.RootAt(head.Size, m)
	if err != nil {
		return false, err
	}
	if root != head.Root {
		return false, fmt.Errorf("the checkpoint over %d entries has another root than the blocks", head.Size)
	}
	m.final = head
	return true, nil
}

// prove shows an entry under a size.
func (m *mirror) prove(index, size uint64) (*entry.PeerProof, error) {
	if index >= size || size > uint64(len(m.leaves)) {
		return nil, fmt.Errorf("entry %d under %d entries, %d are known", index, size, len(m.leaves))
	}
	path, err := proof.ProveInclusion(size, index, m)
	if err != nil {
		return nil, err
	}
	return &entry.PeerProof{Size: size, Index: index, Path: plain(path), Leaf: m.leaves[index]}, nil
}

// plain takes the name off hashes.
func plain(path []proof.Hash) [][32]byte {
	out := make([][32]byte, len(path))
	for i := range path {
		out[i] = path[i]
	}
	return out
}

// follow keeps a mirror up to date until ctx ends. It locks mu around every change and then, still with the lock, calls moved: with the block
// that was added, or with none when the final head moved. failed is told what cannot be mended.
func (m *mirror) follow(ctx context.Context, wait *sync.WaitGroup, mu *sync.Mutex, moved func(m *mirror, b *ledgerv1.Block), failed func(error)) {
	fail := func(err error) {
		if ctx.Err() == nil {
			failed(err)
		}
	}
	settle := func() bool {
		done, err := m.settle()
		if err != nil {
			fail(err)
		}
		if done {
			moved(m, nil)
		}
		return err == nil
	}
	wait.Go(func() {
		stream, err := m.client.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{OmitSegments: true})
		if err != nil {
			fail(err)
			return
		}
		defer stream.Close()
		for stream.Receive() {
			mu.Lock()
			err := m.add(stream.Msg().GetBlock())
			if err == nil {
				moved(m, stream.Msg().GetBlock())
			}
			ok := err == nil && settle()
			mu.Unlock()
			if err != nil {
				fail(err)
			}
			if !ok {
				return
			}
		}
		fail(stream.Err())
	})
	wait.Go(func() {
		for size := uint64(0); ctx.Err() == nil; {
			got, err := m.client.GetCheckpoint(ctx, &ledgerv1.GetCheckpointRequest{MinSize: size + 1, WaitMillis: 20_000})
			if err != nil && connect.CodeOf(err) == connect.CodeUnavailable { // nothing new meanwhile
				continue
			}
			var final *proof.Final
			if err == nil {
				final, err = m.policy.Check(got.GetCheckpoint(), uint64(time.Now().Unix()))
			}
			if err != nil {
				fail(err)
				return
			}
			size = final.Size
			mu.Lock()
			m.early = final
			ok := settle()
			mu.Unlock()
			if !ok {
				return
			}
		}
	})
}
