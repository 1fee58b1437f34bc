package pebblestore

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

	"github.com/comity-ledger/comity/settlement/storetest"
)

// medium is a folder on a file system in memory that can crash and fail. Small
// memtables and partitions make flushes, compactions and rolls part of every
// test.
type medium struct {
	*Opener
	mem   *vfs.MemFS
	fault atomic.Int32
	hook  atomic.Pointer[func()]
}

const testDir = "data/ledger"

func newMedium(t testing.TB, mem *vfs.MemFS) *medium {
	t.Helper()
	m := &medium{mem: mem}
	opener, err := New(Config{
		Dir: testDir, FS: errorfs.Wrap(mem, errorfs.InjectorFunc(m.inject)),
		PartitionSize: 64, MemTableBytes: 256 << 10, CacheBytes: 1 << 20, Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	m.Opener = opener
	return m
}

func (m *medium) inject(op errorfs.Op) error {
	if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && op.Kind != errorfs.OpFileClose {
		if hook := m.hook.Load(); hook != nil {
			(*hook)()
		}
	}
	switch storetest.Fault(m.fault.Load()) {
	case storetest.FaultSync:
		switch op.Kind {
		case errorfs.OpFileSync, errorfs.OpFileSyncData, errorfs.OpFileSyncTo:
			return syscall.EIO
		}
	case storetest.FaultFull:
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate:
			return syscall.ENOSPC
		}
	case storetest.FaultWrite:
		switch op.Kind {
		case errorfs.OpFileWrite, errorfs.OpFileWriteAt:
			return syscall.EIO
		}
	}
	return nil
}

func (m *medium) Exclusive()               {}
func (m *medium) Inject(f storetest.Fault) { m.fault.Store(int32(f)) }
func (m *medium) OnWrite(f func())         { m.hook.Store(&f) }
func (m *medium) Crash(keep int, seed uint64) storetest.Medium {
	cfg := vfs.CrashCloneCfg{UnsyncedDataPercent: keep, RNG: rand.New(rand.NewPCG(seed, 0))}
	clone := &medium{mem: m.mem.CrashClone(cfg)}
	again := m.cfg
	again.FS = errorfs.Wrap(clone.mem, errorfs.InjectorFunc(clone.inject))
	clone.Opener, _ = New(again)
	return clone
}

func (m *medium) raw(t *testing.T, do func(*pebble.DB) error) {
	t.Helper()
	db, err := pebble.Open(testDir, &pebble.Options{FS: m.mem, FormatMajorVersion: pebble.FormatTableFormatV6, Logger: &logger{slog.New(slog.DiscardHandler)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(do(db), db.Close()); err != nil {
		t.Fatal(err)
	}
}

func (m *medium) MakeNewer(t *testing.T) {
	m.raw(t, func(db *pebble.DB) error {
		return db.Set(keyVersion, binary.BigEndian.AppendUint32(nil, layoutVersion+1), pebble.Sync)
	})
}

func (m *medium) MakeHalf(t *testing.T) {
	if err := m.mem.MkdirAll(testDir, 0o700); err != nil {
		t.Fatal(err)
	}
	m.raw(t, func(*pebble.DB) error { return nil })
}

var (
	_ storetest.Crasher   = (*medium)(nil)
	_ storetest.Faulter   = (*medium)(nil)
	_ storetest.Exclusive = (*medium)(nil)
	_ storetest.Spoiler   = (*medium)(nil)
)

func TestConformance(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Medium { return newMedium(t, vfs.NewCrashableMem()) })
}

// onDisk is the same suite on the real file system, without crashes.
type onDisk struct{ *Opener }

func (onDisk) Exclusive() {}

func TestConformanceOnDisk(t *testing.T) {
	storetest.Run(t, func(t *testing.T) storetest.Medium {
		opener, err := New(Config{Dir: t.TempDir() + "/ledger", PartitionSize: 64})
		if err != nil {
			t.Fatal(err)
		}
		return onDisk{opener}
	})
}

// corrupt cuts a row of the closed store short.
func (m *medium) corrupt(t *testing.T, key []byte) {
	m.raw(t, func(db *pebble.DB) error { return db.Set(key, []byte{1}, pebble.Sync) })
}
