package journal

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// ErrFolderInUse: another process holds the folder. Two witnesses with one key could cosign two histories.
var ErrFolderInUse = errors.New("witness_folder_in_use")

// maxState is the longest state file that is read.
const maxState = 1 << 20

// A Folder is a Medium of plain files, one per log, held by one process.
type Folder struct {
	dir    string
	unlock func()
	step   func(name string) error // called before every step that touches the disk; tests stop there
}

// OpenFolder makes the folder if need be, takes it for this process, and removes what an earlier one left half written.
func OpenFolder(dir string) (*Folder, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("open witness folder: %w", err)
	}
	unlock, err := lockFile(filepath.Join(dir, "lock"))
	if err != nil {
		return nil, fmt.Errorf("open witness folder %s: %w", dir, err)
	}
	left, err := filepath.Glob(filepath.Join(dir, "*.tmp"))
	if err != nil {
		unlock()
		return nil, err
	}
	for _, path := range left {
		if err := os.Remove(path); err != nil {
			unlock()
			return nil, fmt.Errorf("remove a half-written state: %w", err)
		}
	}
	return &Folder{dir: dir, unlock: unlock, step: func(string) error { return nil }}, nil
}

// Close gives the folder free.
func (f *Folder) Close() error {
	f.unlock()
	return nil
}

// path names a log's file by the hash of its origin: origins hold slashes.
func (f *Folder) path(origin string) string {
	h := sha256.Sum256([]byte(origin))
	return filepath.Join(f.dir, hex.EncodeToString(h[:16])+".state")
}

// Load reads a log's state.
func (f *Folder) Load(origin string) ([]byte, error) {
	file, err := os.Open(f.path(origin))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, maxState+1))
	if err != nil {
		return nil, err
	}
	if len(b) > maxState {
		return nil, fmt.Errorf("%w: %s is longer than %d bytes", ErrStateDamaged, file.Name(), maxState)
	}
	if b == nil {
		b = []byte{} // an empty file is damage, not absence
	}
	return b, nil
}

// Save writes a temporary file, syncs it, renames it over the old one and syncs the folder: a kill at any point leaves the old state
// or the new one.
func (f *Folder) Save(origin string, state []byte) (err error) {
	path := f.path(origin)
	tmp := path + ".tmp"
	if err := f.step("create"); err != nil {
		return err
	}
	file, err := os.OpenFile(tmp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, file.Close())
		}
	}()
	if err := f.step("write"); err != nil {
		return err
	}
	if _, err := file.Write(state); err != nil {
		return err
	}
	if err := f.step("sync"); err != nil {
		return err
	}
	if err := file.Sync(); err != nil {
		return err
	}
	if err := f.step("rename"); err != nil {
		return err
	}
	if err := os.Rename(tmp, path); err != nil {
		return err
	}
	if err := f.step("sync folder"); err != nil {
		return err
	}
	dir, err := os.Open(f.dir)
	if err != nil {
		return err
	}
	if err := errors.Join(dir.Sync(), dir.Close()); err != nil {
		return err
	}
	return file.Close()
}
