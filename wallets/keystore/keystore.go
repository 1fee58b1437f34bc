// Package keystore keeps one wallet in one folder: the key file under a passphrase, and everything the wallet learns encrypted under
// a key derived from its seed.
//
//	wallet.json   which ledger and address; public; written last, so its absence means a half-created folder
//	key.age       seed and spending key, encrypted to a passphrase (age, scrypt)
//	genesis       the ledger's genesis entry
//	state         what was read from the ledger; replaced as a whole; a cache that the stream rebuilds
//	journal       payments with the exact bytes sent; append-only, each record durable before Append returns
//	lock          held by the process that has the wallet open
//
// It knows nothing of what states and records mean. All files have mode 0600, the folder 0700.
package keystore

import (
	"crypto/hkdf"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"golang.org/x/crypto/chacha20poly1305"
)

// Version is the layout version of folders written by this program.
const Version = 1

const (
	headerName  = "wallet.json"
	keyName     = "key.age"
	genesisName = "genesis"
	stateName   = "state"
	journalName = "journal"
	lockName    = "lock"

	format = "comity wallet"
)

// Error is a named reason for which a folder cannot be used.
type Error struct {
	Code   string
	Detail string
}

// The errors of a folder; compare with errors.Is.
var (
	ErrNotFound    = &Error{Code: "wallet_not_found"}
	ErrExists      = &Error{Code: "wallet_exists"}
	ErrHalfCreated = &Error{Code: "wallet_half_created"}
	ErrInUse       = &Error{Code: "wallet_in_use"}
	ErrOtherLedger = &Error{Code: "wallet_of_another_ledger"}
	ErrNewer       = &Error{Code: "wallet_newer_version"}
	ErrPassphrase  = &Error{Code: "wrong_passphrase"}
	ErrCorrupt     = &Error{Code: "wallet_corrupt"}
)

// Error gives "code: detail".
func (e *Error) Error() string {
	if e.Detail == "" {
		return e.Code
	}
	return e.Code + ": " + e.Detail
}

// RefusalCode names the error for callers that map errors to exit codes.
func (e *Error) RefusalCode() string { return e.Code }

// Is compares codes.
func (e *Error) Is(target error) bool {
	t, ok := target.(*Error)
	return ok && t.Code == e.Code
}

func (e *Error) with(detail string, args ...any) error {
	return &Error{Code: e.Code, Detail: fmt.Sprintf(detail, args...)}
}

// Header is what a folder tells without its passphrase.
type Header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Genesis string `json:"genesis"` // genesis hash, hexadecimal
	Address string `json:"address"`
}

// Options tune Create.
type Options struct {
	// ScryptLogN is the work factor of the passphrase, as a power of two; 0 means 18, about one second. Lower it for throw-away
	// wallets only.
	ScryptLogN int
}

// Folder is an open wallet folder. It is not safe for concurrent use.
type Folder struct {
	dir     string
	header  Header
	genesis []byte
	secrets Secrets
	lock    *os.File
	journal *journal
	key     [32]byte // of state and journal

	// step is called with a name before every change of the disk; tests make it fail, which stops there as a kill would.
	step func(string) error
}

// Create makes a new wallet folder; dir must not exist or be empty. genesis is the ledger's genesis entry and hash its hash; address is
// the wallet's address. On an error the folder may be left half-created, which Open and a second Create name.
func Create(dir string, genesis []byte, hash [32]byte, address string, secrets Secrets, passphrase []byte, o Options) (*Folder, error) {
	return create(dir, genesis, hash, address, secrets, passphrase, o, nil)
}

func create(dir string, genesis []byte, hash [32]byte, address string, secrets Secrets, passphrase []byte, o Options,
	step func(string) error) (*Folder, error) {
	switch err := inspect(dir); {
	case err == nil:
		return nil, ErrExists.with("%s holds a wallet already", dir)
	case !errors.Is(err, ErrNotFound):
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make wallet folder: %w", err)
	}
	if others, err := os.ReadDir(dir); err != nil {
		return nil, fmt.Errorf("read wallet folder: %w", err)
	} else if len(others) > 0 {
		return nil, ErrExists.with("%s is not empty", dir)
	}
	f := &Folder{dir: dir, genesis: genesis, secrets: secrets, step: step}
	f.header = Header{Format: format, Version: Version, Genesis: hex.EncodeToString(hash[:]), Address: address}
	if err := f.deriveKey(hash); err != nil {
		return nil, err
	}
	if err := f.takeLock(); err != nil {
		return nil, err
	}
	fail := func(err error) (*Folder, error) {
		f.Close()
		return nil, err
	}
	sealed, err := SealKeys(secrets, hash, passphrase, o.ScryptLogN)
	if err != nil {
		return fail(err)
	}
	if err := f.replace(keyName, sealed); err != nil {
		return fail(err)
	}
	if err := f.replace(genesisName, genesis); err != nil {
		return fail(err)
	}
	if f.journal, err = f.newJournal(nil); err != nil {
		return fail(err)
	}
	header, err := json.MarshalIndent(f.header, "", "  ")
	if err != nil {
		return fail(fmt.Errorf("encode wallet header: %w", err))
	}
	if err := f.replace(headerName, append(header, '\n')); err != nil {
		return fail(err)
	}
	return f, nil
}

// inspect tells whether dir holds a complete wallet of a version that this program reads.
func inspect(dir string) error {
	_, err := ReadHeader(dir)
	return err
}

// ReadHeader reads what a folder tells without its passphrase.
func ReadHeader(dir string) (Header, error) {
	var h Header
	b, err := readSmall(filepath.Join(dir, headerName), 4096)
	if errors.Is(err, os.ErrNotExist) {
		for _, name := range []string{keyName, genesisName, journalName, lockName} {
			if _, err := os.Stat(filepath.Join(dir, name)); err == nil {
				return h, ErrHalfCreated.with("creating %s was cut short before its address was shown: remove the folder and create it again", dir)
			}
		}
		return h, ErrNotFound.with("%s holds no wallet", dir)
	}
	if err != nil {
		return h, fmt.Errorf("read wallet header: %w", err)
	}
	if err := json.Unmarshal(b, &h); err != nil || h.Format != format || h.Version < 1 {
		return h, ErrCorrupt.with("%s is not a wallet header", headerName)
	}
	if h.Version > Version {
		return h, ErrNewer.with("the folder has version %d, this program reads up to %d", h.Version, Version)
	}
	if b, err := hex.DecodeString(h.Genesis); err != nil || len(b) != 32 {
		return h, ErrCorrupt.with("%s names no ledger", headerName)
	}
	return h, nil
}

// ReadGenesis reads the genesis entry kept in a folder; it is public and needs no passphrase.
func ReadGenesis(dir string) ([]byte, error) {
	b, err := readSmall(filepath.Join(dir, genesisName), 1<<17)
	if err != nil {
		return nil, ErrCorrupt.with("read genesis: %v", err)
	}
	return b, nil
}

// Open opens a wallet folder with its passphrase and locks it.
func Open(dir string, passphrase []byte) (*Folder, error) {
	header, err := ReadHeader(dir)
	if err != nil {
		return nil, err
	}
	f := &Folder{dir: dir, header: header}
	if err := f.takeLock(); err != nil {
		return nil, err
	}
	if err := f.load(passphrase); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

func (f *Folder) load(passphrase []byte) (err error) {
	if f.genesis, err = ReadGenesis(f.dir); err != nil {
		return err
	}
	sealed, err := readSmall(filepath.Join(f.dir, keyName), maxKeyFile)
	if err != nil {
		return ErrCorrupt.with("read key file: %v", err)
	}
	secrets, hash, err := OpenKeys(sealed, passphrase)
	if err != nil {
		return err
	}
	if hex.EncodeToString(hash[:]) != f.header.Genesis {
		return ErrOtherLedger.with("the key file belongs to ledger %x, the folder to %s", hash[:8], f.header.Genesis[:16])
	}
	f.secrets = secrets
	if err := f.deriveKey(hash); err != nil {
		return err
	}
	f.journal, err = f.openJournal()
	return err
}

// Genesis is the ledger's genesis entry.
func (f *Folder) Genesis() []byte { return f.genesis }

// Header is the folder's public header.
func (f *Folder) Header() Header { return f.header }

// Secrets are the wallet's keys.
func (f *Folder) Secrets() Secrets { return f.secrets }

// Close gives the folder back. It is safe to call twice.
func (f *Folder) Close() error {
	var err error
	if f.journal != nil {
		err = f.journal.file.Close()
		f.journal = nil
	}
	if f.lock != nil {
		f.lock.Close() // the lock goes with the descriptor
		f.lock = nil
	}
	return err
}

func (f *Folder) takeLock() error {
	lock, err := os.OpenFile(filepath.Join(f.dir, lockName), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("open wallet lock: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		lock.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return ErrInUse.with("another process has %s open", f.dir)
		}
		return fmt.Errorf("lock wallet folder: %w", err)
	}
	f.lock = lock
	return nil
}

// deriveKey makes the key of state and journal from the seed: HKDF-SHA256, the genesis hash in its info.
func (f *Folder) deriveKey(hash [32]byte) error {
	k, err := hkdf.Key(sha256.New, f.secrets.Seed[:], []byte("comity/keystore/v1"), "folder\x00"+string(hash[:]), len(f.key))
	if err != nil {
		return fmt.Errorf("derive folder key: %w", err)
	}
	copy(f.key[:], k)
	return nil
}

// SaveState replaces the kept state.
func (f *Folder) SaveState(state []byte) error {
	sealed, err := f.seal(state, []byte("comity wallet state v1"))
	if err != nil {
		return err
	}
	return f.replace(stateName, sealed)
}

// LoadState returns the kept state, or nil when there is none. A damaged one is no error, because the stream rebuilds it: it counts as
// absent.
func (f *Folder) LoadState() ([]byte, error) {
	sealed, err := os.ReadFile(filepath.Join(f.dir, stateName))
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read wallet state: %w", err)
	}
	state, err := f.open(sealed, []byte("comity wallet state v1"))
	if err != nil {
		return nil, nil
	}
	return state, nil
}

// Append adds a record to the journal. It is durable when Append returns nil; after an error nobody may act on it.
func (f *Folder) Append(record []byte) error {
	if f.journal == nil {
		return errors.New("keystore: the folder is closed")
	}
	return f.journal.append(record)
}

// Records returns the journal's records in order.
func (f *Folder) Records() [][]byte { return f.journal.records }

// JournalSize is the journal's length in bytes.
func (f *Folder) JournalSize() int64 { return f.journal.size }

// Rewrite replaces the journal by these records, all or none.
func (f *Folder) Rewrite(records [][]byte) error {
	j, err := f.newJournal(records)
	if err != nil {
		return err
	}
	f.journal.file.Close()
	f.journal = j
	return nil
}

// seal encrypts with a fresh random nonce (XChaCha20-Poly1305), which stands in front.
func (f *Folder) seal(plain, additional []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(f.key[:])
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	out := make([]byte, chacha20poly1305.NonceSizeX, chacha20poly1305.NonceSizeX+len(plain)+aead.Overhead())
	if _, err := rand.Read(out); err != nil {
		return nil, fmt.Errorf("read randomness: %w", err)
	}
	return aead.Seal(out, out, plain, additional), nil
}

func (f *Folder) open(sealed, additional []byte) ([]byte, error) {
	aead, err := chacha20poly1305.NewX(f.key[:])
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	if len(sealed) < chacha20poly1305.NonceSizeX {
		return nil, ErrCorrupt.with("too short")
	}
	plain, err := aead.Open(nil, sealed[:chacha20poly1305.NonceSizeX], sealed[chacha20poly1305.NonceSizeX:], additional)
	if err != nil {
		return nil, ErrCorrupt.with("does not decrypt")
	}
	return plain, nil
}

func (f *Folder) at(name string) error {
	if f.step == nil {
		return nil
	}
	return f.step(name)
}

// replace writes a file of the folder so that a kill at any point leaves the old or the new content: temporary file, fsync, rename,
// fsync of the folder.
func (f *Folder) replace(name string, data []byte) error {
	if err := f.at("create " + name); err != nil {
		return err
	}
	temp := filepath.Join(f.dir, "."+name+".new")
	file, err := os.OpenFile(temp, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return fmt.Errorf("create %s: %w", name, err)
	}
	err = f.at("write " + name)
	if err == nil {
		_, err = file.Write(data)
	}
	if err == nil {
		err = f.at("sync " + name)
	}
	if err == nil {
		err = file.Sync()
	}
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = f.at("rename " + name)
	}
	if err == nil {
		err = os.Rename(temp, filepath.Join(f.dir, name))
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	return f.syncDir(name)
}

func (f *Folder) syncDir(name string) error {
	if err := f.at("sync folder after " + name); err != nil {
		return err
	}
	d, err := os.Open(f.dir)
	if err != nil {
		return fmt.Errorf("open wallet folder: %w", err)
	}
	defer d.Close()
	if err := d.Sync(); err != nil {
		return fmt.Errorf("sync wallet folder: %w", err)
	}
	return nil
}

// readSmall reads a file that may not be longer than limit bytes.
func readSmall(path string, limit int64) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	b, err := io.ReadAll(io.LimitReader(file, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(b)) > limit {
		return nil, fmt.Errorf("longer than %d bytes", limit)
	}
	return b, nil
}
