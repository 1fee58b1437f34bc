// Package pebbletest is a disk in memory for tests of what runs above
// pebblestore: it loses power and fails on demand. Only tests import it.
package pebbletest

import (
	"encoding/binary"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"

	"github.com/comity-ledger/comity/settlement/pebblestore"
	"github.com/comity-ledger/comity/settlement/storetest"
)

const dir = "data/ledger"

// Disk holds one ledger. Memtables and partitions of nullifiers are small, so
// that flushes, compactions and rolls are part of every test.
type Disk struct {
	*pebblestore.Opener
	mem   *vfs.MemFS
	fault atomic.Int32
	hook  atomic.Pointer[func()]
}

var (
	_ storetest.Crasher   = (*Disk)(nil)
	_ storetest.Faulter   = (*Disk)(nil)
	_ storetest.Exclusive = (*Disk)(nil)
	_ storetest.Spoiler   = (*Disk)(nil)
)

// New makes an empty disk.
func New() *Disk { return over(vfs.NewCrashableMem()) }

func over(mem *vfs.MemFS) *Disk {
	d := &Disk{mem: mem}
	opener, err := pebblestore.New(pebblestore.Config{
		Dir: dir, FS: errorfs.Wrap(mem, errorfs.InjectorFunc(d.inject)), PartitionSize: 64, MemTableBytes: 256 << 10, CacheBytes: 1 << 20,
	})
	if err != nil {
		panic(err) // the configuration above is fixed
	}
	d.Opener = opener
	return d
}

func (d *Disk) inject(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
		if hook := d.hook.Load(); hook != nil {
			(*hook)()
		}
	}
	fault := storetest.Fault(d.fault.Load())
	switch op.Kind {
	case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
		if fault == storetest.FaultSync {
			return syscall.EIO
		}
	case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
		if fault == storetest.FaultWrite {
			return syscall.EIO
		}
		if fault == storetest.FaultFull {
			return syscall.ENOSPC
		}
	case errorfs.OpCreate:
		if fault == storetest.FaultFull {
			return syscall.ENOSPC
		}
	}
	return nil
}

// Exclusive marks that one handle is admitted at a time.
func (d *Disk) Exclusive() {}

// Inject begins a fault, or ends it.
func (d *Disk) Inject(f storetest.Fault) { d.fault.Store(int32(f)) }

// OnWrite calls f before every write, fsync, creation and renaming; nil ends
// that.
func (d *Disk) OnWrite(f func()) {
	if f == nil {
		d.hook.Store(nil)
		return
	}
	d.hook.Store(&f)
}

// Crash gives the disk as a loss of power now would leave it.
func (d *Disk) Crash(keep int, seed uint64) storetest.Medium { return d.Lose(keep, seed) }

// Lose is Crash with the type kept.
func (d *Disk) Lose(keep int, seed uint64) *Disk {
	return over(d.mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(seed, 0))}))
}

// MakeNewer marks the closed store as one of a later layout.
func (d *Disk) MakeNewer(t *testing.T) {
	d.Set(t, "mversion", binary.BigEndian.AppendUint32(nil, 1<<31))
}

// MakeHalf leaves an engine's files without a ledger in them.
func (d *Disk) MakeHalf(t *testing.T) {
	t.Helper()
	if err := d.mem.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d.raw(t, func(*pebble.DB) error { return nil })
}

// Set replaces a row of the closed store.
func (d *Disk) Set(t *testing.T, key string, value []byte) {
	t.Helper()
	d.raw(t, func(db *pebble.DB) error { return db.Set([]byte(key), value, pebble.Sync) })
}

func (d *Disk) raw(t *testing.T, do func(*pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(dir, &pebble.Options{FS: d.mem, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: quiet{}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

type quiet struct{}

func (quiet) Infof(string, ...any)              {}
func (quiet) Errorf(format string, args ...any) { slog.Error(format, "args", args) }
func (quiet) Fatalf(format string, args ...any) { panic(format) }
