// Package pebblestore keeps a ledger in a folder of its own, in an embedded
// Pebble database. It is the store of a single node: one process opens the
// folder at a time, and the fencing epoch counts how often that happened.
//
// One block is one batch and one fsync. Nothing is read back to write a block
// but the head, against which the compare-and-set goes. Entries are kept in
// chunks in log order, payee ciphertexts apart from them by block (so that they
// can be archived), nullifiers in partitions of bounded size below an
// in-memory set of fingerprints (package nullset), full tiles of the log once.
//
// A block becomes visible to readers only after its fsync: the engine itself
// would show it earlier.
//
// When a write or an fsync fails the outcome of that block is unknown and the
// handle is broken: every later call returns the error, until the folder is
// opened afresh and the truth read from the disk. An fsync that failed is never
// tried again on the same handle, because the kernel may have dropped the pages
// it could not write.
package pebblestore

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/nullset"
)

// DefaultPartitionSize is the number of nullifiers after which a new partition
// begins. At 40 bytes each a full one is 0.7 GB, which compaction never
// touches again.
const DefaultPartitionSize = 1 << 24

// Config says where a ledger is kept. Only Dir has no default.
type Config struct {
	// Dir is the data folder, used for nothing else.
	Dir string
	// PartitionSize is the number of nullifiers per partition, checked when a
	// block is appended; it may change between runs.
	PartitionSize uint64
	// CacheBytes is the memory for blocks that were read. Default 64 MB.
	CacheBytes int64
	// MemTableBytes is the memory for rows not yet in tables, of which up to
	// four fill at once. It bounds what a start after a crash reads again.
	// Default 64 MB.
	MemTableBytes int64
	// Progress is called now and then while Open reads all nullifiers back,
	// and once when it is done. It must return soon.
	Progress func(done, total uint64)
	// Log receives what the engine has to say. Default: nothing.
	Log *slog.Logger
	// FS is the file system; tests put faults there. Default: the disk.
	FS vfs.FS
	// Rand is where the key of the fingerprints comes from. Default:
	// crypto/rand.
	Rand io.Reader
}

// Opener creates and opens the store of one folder.
type Opener struct {
	cfg Config
	fs  vfs.FS
}

var _ settlement.Opener = (*Opener)(nil)

// New checks a configuration. It touches no disk.
func New(cfg Config) (*Opener, error) {
	if cfg.Dir == "" {
		return nil, errors.New("pebblestore: no data folder given")
	}
	if cfg.PartitionSize == 0 {
		cfg.PartitionSize = DefaultPartitionSize
	}
	if cfg.CacheBytes == 0 {
		cfg.CacheBytes = 64 << 20
	}
	if cfg.MemTableBytes == 0 {
		cfg.MemTableBytes = 64 << 20
	}
	if cfg.MemTableBytes < 256<<10 || cfg.MemTableBytes > 1<<30 {
		return nil, fmt.Errorf("pebblestore: memtable of %d bytes, want 256 kB to 1 GB", cfg.MemTableBytes)
	}
	if cfg.Progress == nil {
		cfg.Progress = func(uint64, uint64) {}
	}
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.FS == nil {
		cfg.FS = vfs.Default
		// Locks go by name within a process: one folder must have one name.
		dir, err := filepath.Abs(cfg.Dir)
		if err != nil {
			return nil, fmt.Errorf("pebblestore: data folder: %w", err)
		}
		if real, err := filepath.EvalSymlinks(dir); err == nil {
			dir = real
		}
		cfg.Dir = dir
	}
	if cfg.Rand == nil {
		cfg.Rand = rand.Reader
	}
	return &Opener{cfg: cfg, fs: cfg.FS}, nil
}

// Create makes the folder, or fills an empty one, with a ledger of one block.
func (o *Opener) Create(ctx context.Context, genesis *settlement.Block) (settlement.Store, error) {
	if genesis.Height != 0 || genesis.FirstIndex != 0 || len(genesis.Entries) == 0 {
		return nil, fmt.Errorf("pebblestore: block %d at index %d with %d entries founds no ledger", genesis.Height, genesis.FirstIndex, len(genesis.Entries))
	}
	if err := o.makeDir(o.cfg.Dir); err != nil {
		return nil, named("make data folder", err)
	}
	lock, err := lockFolder(o.cfg.Dir, o.fs)
	if err != nil {
		return nil, err
	}
	state, err := o.look()
	if err == nil {
		switch state {
		case folderLedger:
			err = fmt.Errorf("create ledger in %s: %w", o.cfg.Dir, o.existing(lock))
		case folderOther:
			err = fmt.Errorf("create ledger in %s: %w", o.cfg.Dir, settlement.ErrStoreHalfCreated)
		}
	}
	if err == nil {
		err = named("create ledger", o.mark())
	}
	if err != nil {
		return nil, errors.Join(err, lock.Close())
	}
	s, err := o.start(lock)
	if err != nil {
		return nil, errors.Join(named("create ledger", err), lock.Close())
	}
	ledger := genesis.GenesisHash()
	err = s.write(func() error {
		batch := s.db.NewBatch()
		defer batch.Close()
		row, next, err := s.fill(batch, headRow{}, genesis)
		if err != nil {
			return err
		}
		if err := errors.Join(
			batch.Set(keyVersion, binary.BigEndian.AppendUint32(nil, layoutVersion), nil),
			batch.Set(keyGenesis, ledger[:], nil),
			batch.Set(keyHead, row.encode(), nil),
			batch.Commit(pebble.Sync)); err != nil {
			return err
		}
		s.publish(row, next)
		return o.unmark()
	})
	if err != nil {
		return nil, errors.Join(named("create ledger", err), s.Close())
	}
	return s, nil
}

// Open opens what Create made, and reads back every nullifier for the set of
// fingerprints: about 20 seconds for 50 million.
func (o *Opener) Open(ctx context.Context, genesis entry.GenesisHash) (settlement.Store, error) {
	what := "open ledger in " + o.cfg.Dir
	if state, err := o.look(); err != nil || state == folderEmpty {
		if err == nil || errors.Is(err, os.ErrNotExist) {
			err = settlement.ErrStoreNotFound
		}
		return nil, named(what, err)
	}
	lock, err := lockFolder(o.cfg.Dir, o.fs)
	if err != nil {
		return nil, err
	}
	// Looked at again, because only now nobody else can be writing.
	state, err := o.look()
	if err == nil && state != folderLedger {
		err = settlement.ErrStoreHalfCreated
	}
	if err != nil {
		return nil, errors.Join(named(what, err), lock.Close())
	}
	creating, err := o.creating()
	if err != nil {
		return nil, errors.Join(named(what, err), lock.Close())
	}
	s, err := o.start(lock)
	if err != nil {
		if creating {
			err = fmt.Errorf("%w: %w", settlement.ErrStoreHalfCreated, err)
		}
		return nil, errors.Join(named(what, err), lock.Close())
	}
	if err := s.load(ctx, genesis); err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w", what, err), s.Close())
	}
	if creating { // block 0 is there: only the mark outlived its purpose
		if err := o.unmark(); err != nil {
			return nil, errors.Join(named(what, err), s.Close())
		}
	}
	return s, nil
}

// markName is a file that stands in the folder while a ledger is created, so
// that files the engine cannot open are told apart: those of a creation that
// was cut short, and those of a ledger that is damaged.
const markName = "CREATING"

func (o *Opener) mark() error {
	f, err := o.fs.Create(o.fs.PathJoin(o.cfg.Dir, markName), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close(), o.syncDir(o.cfg.Dir))
}

func (o *Opener) unmark() error {
	if err := o.fs.Remove(o.fs.PathJoin(o.cfg.Dir, markName)); err != nil {
		return err
	}
	return o.syncDir(o.cfg.Dir)
}

func (o *Opener) creating() (bool, error) {
	_, err := o.fs.Stat(o.fs.PathJoin(o.cfg.Dir, markName))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}

type folder int

const (
	folderEmpty folder = iota
	folderLedger
	folderOther // neither empty nor a whole database: a creation cut short
)

// look tells what is in the data folder.
func (o *Opener) look() (folder, error) {
	names, err := o.fs.List(o.cfg.Dir)
	if err != nil {
		return folderEmpty, err
	}
	rest := 0
	for _, name := range names {
		if name != "LOCK" && name != "lost+found" {
			rest++
		}
	}
	if rest == 0 {
		return folderEmpty, nil
	}
	desc, err := pebble.Peek(o.cfg.Dir, o.fs)
	if err != nil {
		if creating, _ := o.creating(); creating {
			return folderOther, nil
		}
		return folderOther, newerEngine(err)
	}
	if !desc.Exists {
		return folderOther, nil
	}
	return folderLedger, nil
}

// newerEngine names the engine's refusal of files of a later format, which it
// gives no error value for.
func newerEngine(err error) error {
	if isUnknownFormat(err) {
		return fmt.Errorf("%w: %w", settlement.ErrNewerVersion, err)
	}
	return err
}

// existing tells what kind of database is in the way of Create.
func (o *Opener) existing(lock *pebble.Lock) error {
	opts := o.options(lock, &logger{o.cfg.Log})
	opts.ReadOnly = true
	db, err := pebble.Open(o.cfg.Dir, opts)
	if err != nil {
		if creating, _ := o.creating(); creating {
			return fmt.Errorf("%w: %w", settlement.ErrStoreHalfCreated, err)
		}
		return named("look at what is there", err)
	}
	_, closer, err := db.Get(keyHead)
	if err == nil {
		err = errors.Join(settlement.ErrStoreExists, closer.Close())
	} else if errors.Is(err, pebble.ErrNotFound) {
		err = settlement.ErrStoreHalfCreated
	}
	return errors.Join(err, db.Close())
}

// makeDir makes a folder and those above it, each durable in the one above: a
// ledger whose folder a crash could forget is not created.
func (o *Opener) makeDir(dir string) error {
	above := o.fs.PathDir(dir)
	if _, err := o.fs.Stat(above); above != dir && errors.Is(err, os.ErrNotExist) {
		if err := o.makeDir(above); err != nil {
			return err
		}
	}
	if err := o.fs.MkdirAll(dir, 0o700); err != nil {
		return err
	}
	return o.syncDir(above)
}

func (o *Opener) syncDir(dir string) error {
	f, err := o.fs.OpenDir(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

// start opens the engine; the store owns the lock from then on.
func (o *Opener) start(lock *pebble.Lock) (s *Store, err error) {
	defer func() {
		if f, ok := recover().(fatal); ok {
			s, err = nil, f.err
		}
	}()
	set, err := nullset.New(o.cfg.Rand)
	if err != nil {
		return nil, fmt.Errorf("draw key of fingerprints: %w", err)
	}
	db, err := pebble.Open(o.cfg.Dir, o.options(lock, &logger{o.cfg.Log}))
	if err != nil {
		return nil, newerEngine(err)
	}
	return &Store{cfg: o.cfg, db: db, lock: lock, set: set}, nil
}

// Store is an open ledger.
type Store struct {
	cfg  Config
	db   *pebble.DB
	lock *pebble.Lock
	set  *nullset.Set

	// life is held for reading by every call and for writing by Close.
	life   sync.RWMutex
	closed bool // guarded by life

	// writing serialises what rewrites the head row, saving what replaces
	// checkpoint and snapshot: those share no row with a block, so neither
	// waits for the other's fsync.
	writing, saving sync.Mutex

	// broken holds the error after which nothing more is believed.
	broken atomic.Pointer[error]

	// visible is what readers may see: it moves after the fsync.
	visible atomic.Pointer[view]
}

type view struct {
	head headRow
	edge *edge
}

var _ settlement.Store = (*Store)(nil)

func (s *Store) publish(head headRow, e *edge) { s.visible.Store(&view{head, e}) }

// enter begins a call; the returned function ends it.
func (s *Store) enter(ctx context.Context) (func(), error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	s.life.RLock()
	if s.closed {
		s.life.RUnlock()
		return nil, settlement.ErrStoreClosed
	}
	if err := s.broken.Load(); err != nil {
		s.life.RUnlock()
		return nil, fmt.Errorf("store is broken until it is opened again: %w", *err)
	}
	return s.life.RUnlock, nil
}

// write runs a change of the database. Whatever goes wrong breaks the handle:
// only the disk knows what happened.
func (s *Store) write(change func() error) (err error) {
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(fatal)
			if !ok {
				panic(r)
			}
			err = f.err
		}
		if err != nil {
			s.broken.CompareAndSwap(nil, &err)
		}
	}()
	return change()
}

// load reads what Open needs to know.
func (s *Store) load(ctx context.Context, genesis entry.GenesisHash) error {
	version, err := s.get(keyVersion)
	if errors.Is(err, pebble.ErrNotFound) {
		return settlement.ErrStoreHalfCreated
	}
	if err != nil {
		return named("read version", err)
	}
	if len(version) != 4 {
		return corrupt("read version", errRow)
	}
	if v := binary.BigEndian.Uint32(version); v > layoutVersion {
		return fmt.Errorf("layout %d, this program reads up to %d: %w", v, layoutVersion, settlement.ErrNewerVersion)
	}
	ledger, err := s.get(keyGenesis)
	if err != nil {
		return named("read genesis hash", err)
	}
	if len(ledger) != len(genesis) {
		return corrupt("read genesis hash", errRow)
	}
	if entry.GenesisHash(ledger) != genesis {
		return fmt.Errorf("holds %x, asked for %s: %w", ledger, genesis, settlement.ErrOtherLedger)
	}
	head, err := s.readHead()
	if err != nil {
		return err
	}
	e, err := s.rebuildEdge(head.Size)
	if err != nil {
		return err
	}
	s.publish(head, e)
	return s.rebuildSet(ctx, head)
}

func (s *Store) get(key []byte) ([]byte, error) {
	value, closer, err := s.db.Get(key)
	if err != nil {
		return nil, err
	}
	out := append([]byte(nil), value...)
	return out, closer.Close()
}

func (s *Store) readHead() (headRow, error) {
	row, err := s.get(keyHead)
	if err != nil {
		return headRow{}, named("read head", err)
	}
	return decodeHead(row)
}

// rebuildEdge computes the hashes that fill no tile from the entries behind the
// last full tile and from the full tiles of the level below.
func (s *Store) rebuildEdge(size uint64) (*edge, error) {
	e := &edge{size: size}
	for l := 1; l < len(e.levels); l++ {
		// Tiles of level l-1 that belong to no full tile of level l.
		have := size >> (8 * l)
		for index := have &^ (tileWidth - 1); index < have; index++ {
			row, err := s.get(tileKey(uint8(l-1), index))
			if err != nil {
				return nil, named(fmt.Sprintf("read tile %d of level %d", index, l-1), err)
			}
			if len(row) != 32*tileWidth {
				return nil, corrupt("read tile", errRow)
			}
			hashes := make([][32]byte, tileWidth)
			for i := range hashes {
				hashes[i] = [32]byte(row[32*i:])
			}
			e.levels[l] = append(e.levels[l], subtreeRoot(hashes))
		}
	}
	for index := size &^ (tileWidth - 1); index < size; {
		first, _, items, err := s.chunkAt(index)
		if err != nil {
			return nil, err
		}
		for _, leaf := range items[index-first:] {
			if index < size {
				e.levels[0] = append(e.levels[0], leafHash(leaf))
				index++
			}
		}
	}
	return e, nil
}

// rebuildSet reads every nullifier back into the set of fingerprints.
func (s *Store) rebuildSet(ctx context.Context, head headRow) error {
	s.set.Reserve(int64(head.Spent))
	iter, err := s.db.NewIter(&pebble.IterOptions{LowerBound: []byte{famNullifiers}, UpperBound: []byte{famNullifiers + 1}})
	if err != nil {
		return named("read nullifiers", err)
	}
	defer iter.Close()
	done, last := uint64(0), time.Now()
	for valid := iter.First(); valid; valid = iter.Next() {
		key := iter.Key()
		if len(key) != 37 {
			return corrupt("read nullifiers", errRow)
		}
		s.set.Add((*[32]byte)(key[5:]))
		done++
		if done%65536 == 0 && time.Since(last) > 200*time.Millisecond {
			if err := ctx.Err(); err != nil {
				return err
			}
			s.cfg.Progress(done, head.Spent)
			last = time.Now()
		}
	}
	if err := iter.Error(); err != nil {
		return named("read nullifiers", err)
	}
	if done != head.Spent {
		return fmt.Errorf("found %d nullifiers, the head counts %d: %w", done, head.Spent, settlement.ErrStoreCorrupt)
	}
	s.cfg.Progress(done, head.Spent)
	return nil
}

// Close waits for running calls and releases the folder.
func (s *Store) Close() (err error) {
	s.life.Lock()
	defer s.life.Unlock()
	if s.closed {
		return nil
	}
	s.closed = true
	defer func() { err = errors.Join(err, s.lock.Close()) }()
	defer func() {
		// A broken engine may panic on its way out; the folder is let go all the
		// same.
		if r := recover(); r != nil && s.broken.Load() == nil {
			panic(r)
		}
	}()
	if err := s.db.Close(); err != nil && s.broken.Load() == nil {
		return named("close ledger", err)
	}
	return nil
}
