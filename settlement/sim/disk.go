package sim

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// A Disk is a medium that a store lives on. Crash ends every handle and loses
// what was not durable; a store opened afterwards sees what is left.
type Disk interface {
	settlement.Opener
	Crash()
}

// errDead is what a handle answers after the crash of its machine.
var errDead = errors.New("sim: the machine is gone")

// memDisk is the model store: plain slices, scanned rather than indexed, and a
// commit record per block, whose checksum decides after a crash whether the
// block is whole. It takes part in the simulation as the store, not as the
// judge.
type memDisk struct {
	blocks     []*settlement.Block
	records    [][]byte // checksum of the block of the same position
	epoch      uint64
	checkpoint []byte
	size       uint64
	snapshot   []byte
	snapHeight uint64
	lease      settlement.Lease

	generation int // handles of an older one are dead
	// Planted bugs of a store.
	lazySync  bool // acknowledges before anything is durable
	noFencing bool // ignores epoch and head
	tornTail  bool // does not look at commit records
	// Of a store that several nodes share.
	ignoreEpoch bool // compares heads without their epoch
	ignoreHead  bool // compares the epoch alone
	synced      int  // blocks that a crash leaves, with lazySync
}

// Create implements settlement.Opener.
func (d *memDisk) Create(_ context.Context, genesis *settlement.Block) (settlement.Store, error) {
	if len(d.blocks) > 0 {
		return nil, settlement.ErrStoreExists
	}
	d.put(genesis)
	d.synced = 1
	return &memStore{d, d.generation}, nil
}

func (d *memDisk) put(b *settlement.Block) {
	d.blocks, d.records = append(d.blocks, b), append(d.records, record(b))
}

func (d *memDisk) cut(n int) { d.blocks, d.records = d.blocks[:n], d.records[:n] }

// record is the checksum that makes a block whole.
func record(b *settlement.Block) []byte {
	h := sha256.New()
	for _, leaf := range b.Entries {
		_, _ = fmt.Fprintf(h, "%d:", len(leaf))
		_, _ = h.Write(leaf)
	}
	return h.Sum(nil)
}

// tear leaves what a crash in the middle of an append leaves: some entries of
// the block, and no commit record or half of one.
func (d *memDisk) tear(b *settlement.Block, keep int) {
	part := *b
	part.Entries = part.Entries[:keep]
	d.blocks, d.records = append(d.blocks, &part), append(d.records, record(b)[:16])
}

// Open implements settlement.Opener. Two handles may live at once, as two
// nodes do on one database.
func (d *memDisk) Open(_ context.Context, genesis entry.GenesisHash) (settlement.Store, error) {
	if len(d.blocks) == 0 {
		return nil, settlement.ErrStoreNotFound
	}
	for i, b := range d.blocks {
		if !d.tornTail && !bytes.Equal(d.records[i], record(b)) {
			d.cut(i) // never acknowledged
			d.synced = min(d.synced, i)
			break
		}
	}
	g, err := entry.DecodeGenesis(d.blocks[0].Entries[0])
	if err != nil {
		return nil, fmt.Errorf("%w: %w", settlement.ErrStoreCorrupt, err)
	}
	if g.Hash() != genesis {
		return nil, settlement.ErrOtherLedger
	}
	return &memStore{d, d.generation}, nil
}

// Crash implements Disk.
func (d *memDisk) Crash() {
	d.generation++
	if d.lazySync {
		d.cut(d.synced)
	}
}

// memStore is a handle on a memDisk.
type memStore struct {
	d          *memDisk
	generation int
}

func (s *memStore) alive() error {
	if s.generation != s.d.generation {
		return errDead
	}
	return nil
}

func (s *memStore) Head(context.Context) (settlement.Head, error) {
	if err := s.alive(); err != nil {
		return settlement.Head{}, err
	}
	return s.d.blocks[len(s.d.blocks)-1].Head(s.d.epoch), nil
}

func (s *memStore) Acquire(ctx context.Context) (settlement.Head, error) {
	if err := s.alive(); err != nil {
		return settlement.Head{}, err
	}
	s.d.epoch++
	return s.Head(ctx)
}

func (s *memStore) Append(ctx context.Context, expected settlement.Head, block *settlement.Block) (settlement.Outcome, error) {
	head, err := s.Head(ctx)
	if err != nil {
		return settlement.Unknown, err
	}
	if s.d.ignoreEpoch {
		expected.Epoch = head.Epoch
	}
	if s.d.noFencing || s.d.ignoreHead && expected.Epoch == head.Epoch {
		if block.Height < uint64(len(s.d.blocks)) { // overwrites what is there
			s.d.cut(int(block.Height))
		}
	} else if head != expected {
		return settlement.Fenced, nil
	}
	if s.d.lazySync {
		s.d.synced = len(s.d.blocks) // the one before becomes durable at last
	} else {
		s.d.synced++
	}
	s.d.put(block)
	return settlement.Committed, nil
}

func (s *memStore) Block(_ context.Context, height uint64) (*settlement.Block, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	if height >= uint64(len(s.d.blocks)) {
		return nil, settlement.ErrNotFound
	}
	return s.d.blocks[height], nil
}

func (s *memStore) Blocks(_ context.Context, from uint64) iter.Seq2[*settlement.Block, error] {
	blocks := s.d.blocks
	return func(yield func(*settlement.Block, error) bool) {
		for h := from; h < uint64(len(blocks)); h++ {
			if err := s.alive(); err != nil {
				yield(nil, err)
				return
			}
			if !yield(blocks[h], nil) {
				return
			}
		}
	}
}

func (s *memStore) Entry(_ context.Context, index uint64) ([]byte, uint64, error) {
	if err := s.alive(); err != nil {
		return nil, 0, err
	}
	for _, b := range s.d.blocks {
		if index >= b.FirstIndex && index < b.Size() {
			return b.Entries[index-b.FirstIndex], b.Height, nil
		}
	}
	return nil, 0, settlement.ErrNotFound
}

func (s *memStore) Spent(_ context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	hits := make([]settlement.Hit, len(nullifiers))
	wanted := make(map[zk.Nullifier][]int, len(nullifiers))
	for i, nf := range nullifiers {
		wanted[nf] = append(wanted[nf], i)
	}
	for _, b := range s.d.blocks {
		for _, spent := range b.Nullifiers {
			for _, i := range wanted[spent.Nullifier] {
				hits[i] = settlement.Hit{Found: true, EntryIndex: spent.EntryIndex, Height: b.Height}
			}
		}
	}
	return hits, nil
}

func (s *memStore) Sequence(_ context.Context, sequence uint64) (settlement.Hit, error) {
	if err := s.alive(); err != nil {
		return settlement.Hit{}, err
	}
	for _, b := range s.d.blocks {
		for _, used := range b.Sequences {
			if used.Sequence == sequence {
				return settlement.Hit{Found: true, EntryIndex: used.EntryIndex, Height: b.Height}, nil
			}
		}
	}
	return settlement.Hit{}, nil
}

func (s *memStore) Anchor(ctx context.Context, height uint64) (settlement.Anchor, error) {
	b, err := s.Block(ctx, height)
	if err != nil {
		return settlement.Anchor{}, err
	}
	return b.Anchor, nil
}

func (s *memStore) Tile(_ context.Context, level uint8, index uint64) ([]byte, error) {
	if err := s.alive(); err != nil {
		return nil, err
	}
	if level != 0 {
		return nil, settlement.ErrNotFound // nobody in the simulation reads upper tiles
	}
	var tile []byte
	for _, b := range s.d.blocks {
		for i, h := range b.LeafHashes() {
			if (b.FirstIndex+uint64(i))/256 == index {
				tile = append(tile, h[:]...)
			}
		}
	}
	if len(tile) == 0 {
		return nil, settlement.ErrNotFound
	}
	return tile, nil
}

func (s *memStore) SaveCheckpoint(_ context.Context, size uint64, checkpoint []byte) error {
	if err := s.alive(); err != nil {
		return err
	}
	if size >= s.d.size {
		s.d.size, s.d.checkpoint = size, checkpoint
	}
	return nil
}

func (s *memStore) Checkpoint(context.Context) (uint64, []byte, error) {
	if err := s.alive(); err != nil {
		return 0, nil, err
	}
	if s.d.checkpoint == nil {
		return 0, nil, settlement.ErrNotFound
	}
	return s.d.size, s.d.checkpoint, nil
}

func (s *memStore) SaveSnapshot(_ context.Context, height uint64, state []byte) error {
	if err := s.alive(); err != nil {
		return err
	}
	s.d.snapHeight, s.d.snapshot = height, state
	return nil
}

func (s *memStore) Snapshot(context.Context) (uint64, []byte, error) {
	if err := s.alive(); err != nil {
		return 0, nil, err
	}
	if s.d.snapshot == nil {
		return 0, nil, settlement.ErrNotFound
	}
	return s.d.snapHeight, s.d.snapshot, nil
}

// Lease implements settlement.Leaser.
func (s *memStore) Lease(context.Context) (settlement.Lease, error) { return s.d.lease, s.alive() }

// ChangeLease implements settlement.Leaser.
func (s *memStore) ChangeLease(_ context.Context, serial uint64, to settlement.Lease) (bool, error) {
	if err := s.alive(); err != nil || s.d.lease.Serial != serial {
		return false, err
	}
	to.Serial = serial + 1
	s.d.lease = to
	return true, nil
}

func (s *memStore) Close() error {
	s.generation = -1
	return nil
}
