package setup

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	groth16 "github.com/consensys/gnark/backend/groth16/bls12-381"
	cs "github.com/consensys/gnark/constraint/bls12-381"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup/internal/trapdoor"
)

// ErrCorrupt says that a key file is not what was written: cut off, or changed. It is made again.
var ErrCorrupt = errors.New("key file is damaged")

// fileMagic begins every key file; the last byte is the version of the format.
const fileMagic = "comity-keys\x01"

// path names a key file by everything that its content follows from, so that a changed circuit, seed, format or processor type
// never meets an old file.
func (c *Cache) path(id zk.CircuitID, record Record) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%s\n%d %d\n%x\n%x\n%x\n", fileMagic, runtime.GOARCH, trapdoor.DevelopmentSeed, id, record.Version,
		record.Digest, record.System, record.Fingerprint)
	return filepath.Join(c.dir, id.String()+"-"+hex.EncodeToString(h.Sum(nil)[:12])+".keys")
}

// write stores a key file under a temporary name, syncs it, renames it and syncs the folder: after a crash there is the whole file
// or none.
//
// The file is magic, length (u64) and bytes of the compiled circuit, of the exchanged constraints (one byte each) and of the
// proving key, and the SHA-256 of all that. The proving key is gnark's raw memory dump, which loads without any check of its points: the hash comes first.
func write(path string, k *ProvingKey) (err error) {
	var system, key bytes.Buffer
	if _, err := k.System.WriteTo(&system); err != nil {
		return fmt.Errorf("encode constraint system: %w", err)
	}
	if err := k.Key.WriteDump(&key); err != nil {
		return fmt.Errorf("encode proving key: %w", err)
	}
	f, err := os.CreateTemp(filepath.Dir(path), filepath.Base(path)+".tmp*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close()
			_ = os.Remove(f.Name())
		}
	}()
	h := sha256.New()
	w := io.MultiWriter(f, h)
	swap := make([]byte, len(k.Swap))
	for i, s := range k.Swap {
		if s {
			swap[i] = 1
		}
	}
	for _, part := range [][]byte{
		[]byte(fileMagic), lengthOf(system.Bytes()), system.Bytes(), lengthOf(swap), swap, lengthOf(key.Bytes()), key.Bytes(),
	} {
		if _, err := w.Write(part); err != nil {
			return err
		}
	}
	if _, err := f.Write(h.Sum(nil)); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return err
	}
	if err := f.Close(); err != nil {
		return err
	}
	if err := os.Rename(f.Name(), path); err != nil {
		return err
	}
	dir, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	defer dir.Close()
	return dir.Sync()
}

func lengthOf(b []byte) []byte { return binary.BigEndian.AppendUint64(nil, uint64(len(b))) }

// read loads a key file: os.ErrNotExist when there is none, ErrCorrupt when it is damaged.
func (c *Cache) read(path string, id zk.CircuitID) (*ProvingKey, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("read the proving key of %v: %w", id, err)
	}
	c.progress("loading "+id.String(), 0, 0)
	corrupt := func(why string) error { return fmt.Errorf("%s: %s: %w", path, why, ErrCorrupt) }
	if len(b) < len(fileMagic)+sha256.Size || string(b[:len(fileMagic)]) != fileMagic {
		return nil, corrupt("it does not begin like one")
	}
	body, sum := b[:len(b)-sha256.Size], b[len(b)-sha256.Size:]
	if sha256.Sum256(body) != [32]byte(sum) {
		return nil, corrupt("its hash differs")
	}
	rest := body[len(fileMagic):]
	next := func() ([]byte, bool) {
		if len(rest) < 8 {
			return nil, false
		}
		n := binary.BigEndian.Uint64(rest)
		rest = rest[8:]
		if n > uint64(len(rest)) {
			return nil, false
		}
		part := rest[:n]
		rest = rest[n:]
		return part, true
	}
	system, ok1 := next()
	swap, ok2 := next()
	key, ok3 := next()
	if !ok1 || !ok2 || !ok3 || len(rest) != 0 {
		return nil, corrupt("its parts have the wrong lengths")
	}
	k := &ProvingKey{Circuit: id, System: new(cs.R1CS), Key: new(groth16.ProvingKey)}
	if _, err := k.System.ReadFrom(bytes.NewReader(system)); err != nil {
		return nil, corrupt(fmt.Sprintf("constraint system: %v", err))
	}
	if err := k.Key.ReadDump(bytes.NewReader(key)); err != nil {
		return nil, corrupt(fmt.Sprintf("proving key: %v", err))
	}
	if len(swap) != k.System.GetNbConstraints() {
		return nil, corrupt("it exchanges another number of constraints than there are")
	}
	k.Swap = make([]bool, len(swap))
	for i, s := range swap {
		k.Swap[i] = s == 1
	}
	return k.join(), nil
}
