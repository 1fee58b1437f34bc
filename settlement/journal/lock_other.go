//go:build !unix

package journal

import (
	"errors"
	"io/fs"
	"os"
)

// lockFile makes a file that must not exist. A kill leaves it behind; the operator removes it after making sure that no witness runs.
func lockFile(path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL, 0o600)
	if errors.Is(err, fs.ErrExist) {
		return nil, ErrFolderInUse
	}
	if err != nil {
		return nil, err
	}
	return func() { _ = f.Close(); _ = os.Remove(path) }, nil
}
