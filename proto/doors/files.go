package doors

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"slices"
	"sync"
	"time"
)

// maxFile bounds a file of certificates or a key.
const maxFile = 1 << 20

// lookEvery is how often files are looked at: at a handshake, when the last look is at least so long ago.
const lookEvery = time.Second

// reloaded is what files hold, read again when they change. When the new files cannot be used the old content stays in use, and why is
// logged: a slip of the pen in a renewal must not close a ledger.
type reloaded[T any] struct {
	paths []string
	load  func() (T, error)
	log   *slog.Logger
	now   func() time.Time

	mu         sync.Mutex // guards what follows
	current    T
	generation uint64 // grows with every new content
	seen       []os.FileInfo
	looked     time.Time
}

// open reads the files for the first time; then they must be good.
func (r *reloaded[T]) open() (err error) {
	if r.now == nil {
		r.now = time.Now
	}
	if r.log == nil {
		r.log = slog.New(slog.DiscardHandler)
	}
	r.seen, r.looked = stat(r.paths), r.now()
	r.current, err = r.load()
	return err
}

// get gives the content as of the files now.
func (r *reloaded[T]) get() (T, uint64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.now()
	if since := now.Sub(r.looked); since >= 0 && since < lookEvery {
		return r.current, r.generation
	}
	r.looked = now
	seen := stat(r.paths) // before reading: a change meanwhile is found by the next look
	if slices.EqualFunc(seen, r.seen, same) {
		return r.current, r.generation
	}
	r.seen = seen
	fresh, err := r.load()
	if err != nil {
		r.log.Error("changed TLS files cannot be used; the old ones stay", "files", r.paths, "error", err)
		return r.current, r.generation
	}
	r.current = fresh
	r.generation++
	r.log.Info("TLS files were read again", "files", r.paths)
	return r.current, r.generation
}

func stat(paths []string) []os.FileInfo {
	out := make([]os.FileInfo, len(paths))
	for i, p := range paths {
		out[i], _ = os.Stat(p)
	}
	return out
}

func same(a, b os.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func read(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, refuse(FilesInvalid, "%v", err)
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, refuse(FilesInvalid, "%v", err)
	}
	if len(data) > maxFile {
		return nil, refuse(FilesInvalid, "%s is longer than %d bytes", path, maxFile)
	}
	return data, nil
}

// readPair reads a certificate and its key. The key file must be readable by its owner alone. Errors never quote the files.
func readPair(certPath, keyPath string) (*tls.Certificate, error) {
	info, err := os.Stat(keyPath)
	if err != nil {
		return nil, refuse(FilesInvalid, "%v", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return nil, refuse(FilesInvalid, "key file %s has mode %04o: others may read it; want 0600", keyPath, info.Mode().Perm())
	}
	certText, err := read(certPath)
	if err != nil {
		return nil, err
	}
	keyText, err := read(keyPath)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair(certText, keyText)
	if err != nil {
		return nil, refuse(FilesInvalid, "certificate %s with key %s: %v", certPath, keyPath, err)
	}
	if _, err := IdentityOf(pair.Leaf); err != nil {
		return nil, fmt.Errorf("certificate %s: %w", certPath, err)
	}
	return &pair, nil
}

// readAuthorities reads the certificates of authorities.
func readAuthorities(paths []string) (*x509.CertPool, error) {
	pool := x509.NewCertPool()
	for _, path := range paths {
		text, err := read(path)
		if err != nil {
			return nil, err
		}
		count := 0
		for rest := text; ; count++ {
			var block *pem.Block
			if block, rest = pem.Decode(rest); block == nil {
				break
			}
			if block.Type != "CERTIFICATE" {
				return nil, refuse(FilesInvalid, "%s holds a PEM block %q, which is no certificate", path, block.Type)
			}
			c, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return nil, refuse(FilesInvalid, "%s: %v", path, err)
			}
			if _, err := AuthorityOf(c); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
			pool.AddCert(c)
		}
		if count == 0 {
			return nil, refuse(FilesInvalid, "%s holds no certificate", path)
		}
	}
	return pool, nil
}
