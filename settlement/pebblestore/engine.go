package pebblestore

import (
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/bloom"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/comity-ledger/comity/settlement"
)

// options tunes the engine for what it holds. Nearly all bytes are hashes,
// proofs and ciphertexts: they do not compress, so nothing tries. All rows but
// nullifiers arrive in order: large tables and a large memtable let compaction
// move them instead of rewriting them, and chunked rows make large blocks
// right. Bloom filters serve the look-up of nullifiers in older partitions.
func (o *Opener) options(lock *pebble.Lock, sink *logger) *pebble.Options {
	opts := &pebble.Options{
		FS:                          o.fs,
		Lock:                        lock,
		Logger:                      sink,
		CacheSize:                   o.cfg.CacheBytes,
		MemTableSize:                uint64(o.cfg.MemTableBytes),
		MemTableStopWritesThreshold: 4,
		L0CompactionThreshold:       4,
		L0StopWritesThreshold:       40,
		LBaseMaxBytes:               256 << 20,
		MaxOpenFiles:                1024,
		BytesPerSync:                1 << 20,
		// Pinned: a newer library must not rewrite a ledger into a format that
		// the program before it cannot read.
		FormatMajorVersion:         pebble.FormatTableFormatV6,
		CompactionConcurrencyRange: func() (int, int) { return 1, 2 },
	}
	opts.TargetFileSizes[0] = 8 << 20
	opts.FlushSplitBytes = 16 << 20
	opts.ApplyCompressionSettings(func() pebble.DBCompressionSettings { return pebble.DBCompressionNone })
	for i := range opts.Levels {
		opts.Levels[i].BlockSize = 32 << 10
		opts.Levels[i].IndexBlockSize = 256 << 10
		opts.Levels[i].FilterPolicy = bloom.FilterPolicy(10)
	}
	return opts
}

// fatal is what the engine's Fatalf panics with. Append recovers it; in a
// background goroutine of the engine (a manifest that cannot be written) it
// ends the process, which is right: nothing acknowledged depends on memory.
type fatal struct{ err error }

func (f fatal) Error() string { return f.err.Error() }

// logger passes the engine's words on.
type logger struct{ log *slog.Logger }

func (l *logger) Infof(format string, args ...any) {
	l.log.Debug("pebble: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

func (l *logger) Errorf(format string, args ...any) {
	l.log.Error("pebble: " + strings.TrimSpace(fmt.Sprintf(format, args...)))
}

// Fatalf must not return.
func (l *logger) Fatalf(format string, args ...any) {
	err := fmt.Errorf(format, args...)
	for _, a := range args {
		if cause, ok := a.(error); ok {
			err = fmt.Errorf("%s: %w", strings.TrimSuffix(err.Error(), ": "+cause.Error()), cause)
		}
	}
	l.log.Error("pebble: fatal", "error", err)
	panic(fatal{err})
}

// named gives an error of the engine or the disk its name from the Store
// interface.
func named(what string, err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, pebble.ErrNotFound):
		return fmt.Errorf("%s: %w", what, settlement.ErrNotFound)
	case errors.Is(err, syscall.ENOSPC), errors.Is(err, syscall.EDQUOT):
		return fmt.Errorf("%s: %w: %w", what, settlement.ErrStoreFull, err)
	case pebble.IsCorruptionError(err):
		return fmt.Errorf("%s: %w: %w", what, settlement.ErrStoreCorrupt, err)
	}
	return fmt.Errorf("%s: %w", what, err)
}

func corrupt(what string, err error) error {
	return fmt.Errorf("%s: %w: %w", what, settlement.ErrStoreCorrupt, err)
}

// lockFolder takes the folder for this process. Two handles exclude each other
// in one process too.
func lockFolder(dir string, fs vfs.FS) (*pebble.Lock, error) {
	lock, err := pebble.LockDirectory(dir, fs)
	if err == nil {
		return lock, nil
	}
	// fcntl(2) on Linux answers EAGAIN; the engine has no named error for its own
	// table of locks.
	if errors.Is(err, syscall.EAGAIN) || strings.Contains(err.Error(), "lock held by current process") {
		return nil, fmt.Errorf("lock %s: %w: %w", dir, settlement.ErrStoreInUse, err)
	}
	return nil, named("lock "+dir, err)
}
