package setup

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	groth16 "github.com/consensys/gnark/backend/groth16/bls12-381"
	cs "github.com/consensys/gnark/constraint/bls12-381"
	"github.com/consensys/gnark/logger"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit"
	"github.com/comity-ledger/comity/zk/setup/internal/qap"
	"github.com/comity-ledger/comity/zk/verifier"
)

// DirEnv names the environment variable that overrides where proving keys are kept.
const DirEnv = "COMITY_KEYS"

// ErrChanged says that a circuit is not the recorded one: whoever changed it has to record the new keys, knowingly.
var ErrChanged = errors.New("circuit differs from the recorded one (go test ./zk/setup -run RecordedKeys -update records it)")

// Progress is told what a set-up is doing. total is 0 while it is unknown.
type Progress func(stage string, done, total int)

// ProvingKey is what proving needs: the compiled circuit, and the proving key in gnark's layout but without B in G1, which zk/prover
// does without and gnark's own prover would miss. It is only read.
type ProvingKey struct {
	Circuit zk.CircuitID
	System  *cs.R1CS
	Key     *groth16.ProvingKey
	// Swap says for which constraints the two factors have changed places in Key: the prover exchanges their values.
	Swap []bool
	// KZ is Key.G1.K and Key.G1.Z in one slice, whose memory they share: the prover adds both up in one sum.
	KZ []curve.G1Affine
}

// join moves K and Z side by side.
func (k *ProvingKey) join() *ProvingKey {
	g, n := &k.Key.G1, len(k.Key.G1.K)
	k.KZ = append(append(make([]curve.G1Affine, 0, n+len(g.Z)), g.K...), g.Z...)
	g.K, g.Z = k.KZ[:n:n], k.KZ[n:]
	return k
}

// Config says where proving keys are kept and who hears about it.
type Config struct {
	// Dir holds the key files. Empty means $COMITY_KEYS, or comity/keys in the user's cache folder.
	Dir string
	// Progress may be nil.
	Progress Progress
	// Warn hears of a damaged key file that is made again. Nil means the default slog logger.
	Warn func(error)
}

// Cache keeps proving keys on disk. It is safe for concurrent use, also by several processes.
type Cache struct {
	dir      string
	progress Progress
	warn     func(error)
}

// Open returns the cache. It creates nothing yet.
func Open(c Config) (*Cache, error) {
	cache := &Cache{dir: c.Dir, progress: c.Progress, warn: c.Warn}
	if cache.dir == "" {
		cache.dir = os.Getenv(DirEnv)
	}
	if cache.dir == "" {
		base, err := os.UserCacheDir()
		if err != nil {
			return nil, fmt.Errorf("find a folder for proving keys (set $%s): %w", DirEnv, err)
		}
		cache.dir = filepath.Join(base, "comity", "keys")
	}
	if cache.progress == nil {
		cache.progress = func(string, int, int) {}
	}
	if cache.warn == nil {
		cache.warn = func(err error) { slog.Warn("proving keys", "error", err) }
	}
	return cache, nil
}

// Keys returns the development proving key of a circuit from the default cache, making it when it is not there.
func Keys(ctx context.Context, id zk.CircuitID, progress Progress) (*ProvingKey, error) {
	c, err := Open(Config{Progress: progress})
	if err != nil {
		return nil, err
	}
	return c.Keys(ctx, id)
}

// Dir returns the folder of the key files.
func (c *Cache) Dir() string { return c.dir }

// Keys returns the development proving key of a circuit. The first call on a machine takes some seconds of both processors; later
// ones read a file of 15 to 40 MB.
func (c *Cache) Keys(ctx context.Context, id zk.CircuitID) (*ProvingKey, error) {
	record, err := RecordOf(id)
	if err != nil {
		return nil, err
	}
	return c.keys(ctx, id, record, func() (*cs.R1CS, error) { return Compile(id) })
}

// File returns the path of the circuit's key file, which may not exist yet; "" for an unknown circuit.
func (c *Cache) File(id zk.CircuitID) string {
	record, err := RecordOf(id)
	if err != nil {
		return ""
	}
	return c.path(id, record)
}

// Has reports whether the proving key of a circuit is on disk, without reading it.
func (c *Cache) Has(id zk.CircuitID) bool {
	_, err := os.Stat(c.File(id))
	return err == nil
}

// Quiet turns gnark's own logger off for the whole process: it writes to standard output, where a command prints its result. Only
// the first call does anything, because gnark's switch is a plain variable that everything of gnark reads.
var Quiet = sync.OnceFunc(logger.Disable)

// Compile compiles a circuit, quietly.
func Compile(id zk.CircuitID) (*cs.R1CS, error) {
	Quiet()
	system, err := circuit.Compile(id)
	if err != nil {
		return nil, fmt.Errorf("compile %v: %w", id, err)
	}
	r, ok := system.(*cs.R1CS)
	if !ok {
		return nil, fmt.Errorf("compile %v: a %T instead of an R1CS over BLS12-381", id, system)
	}
	return r, nil
}

// systemDigest is the SHA-256 of gnark's encoding of a compiled circuit. Unlike qap.Digest it changes when a hint does, so that a
// cached circuit never solves in an outdated way.
func systemDigest(r *cs.R1CS) ([]byte, [32]byte, error) {
	var b bytes.Buffer
	if _, err := r.WriteTo(&b); err != nil {
		return nil, [32]byte{}, fmt.Errorf("encode constraint system: %w", err)
	}
	return b.Bytes(), sha256.Sum256(b.Bytes()), nil
}

// describe returns the record of a compiled circuit and its verifying key.
func describe(id zk.CircuitID, r *cs.R1CS) (Record, *verifier.VerifyingKey, *qap.Program, error) {
	_, system, err := systemDigest(r)
	if err != nil {
		return Record{}, nil, nil, err
	}
	p, _, err := qap.Development(r, id)
	if err != nil {
		return Record{}, nil, nil, err
	}
	vk, err := p.VerifyingKey(id, zk.CircuitVersion)
	if err != nil {
		return Record{}, nil, nil, err
	}
	return Record{
		Circuit: id.String(), ID: uint8(id), Version: zk.CircuitVersion, Constraints: r.GetNbConstraints(), Inputs: vk.Inputs(),
		Digest: qap.Digest(r), System: system, Fingerprint: Hex(vk.Fingerprint()),
	}, vk, p, nil
}

func (c *Cache) keys(ctx context.Context, id zk.CircuitID, record Record, compile func() (*cs.R1CS, error)) (*ProvingKey, error) {
	path := c.path(id, record)
	k, err := c.read(path, id)
	if err == nil || !errors.Is(err, os.ErrNotExist) && !errors.Is(err, ErrCorrupt) {
		return k, err
	}
	if err := os.MkdirAll(c.dir, 0o700); err != nil {
		return nil, fmt.Errorf("create the folder of the proving keys: %w", err)
	}
	unlock, err := lock(ctx, path+".lock", func() { c.progress("waiting for another process that makes this key", 0, 0) })
	if err != nil {
		return nil, err
	}
	defer unlock()
	// Another process may have made it meanwhile.
	k, err = c.read(path, id)
	switch {
	case err == nil:
		return k, nil
	case errors.Is(err, ErrCorrupt):
		c.warn(fmt.Errorf("%w: it is made again", err))
	case !errors.Is(err, os.ErrNotExist):
		return nil, err
	}
	c.progress("compiling "+id.String(), 0, 0)
	r, err := compile()
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	got, _, p, err := describe(id, r)
	if err != nil {
		return nil, err
	}
	if got != record {
		return nil, fmt.Errorf("%v: %w", id, ErrChanged)
	}
	k = (&ProvingKey{Circuit: id, System: r, Key: p.ProvingKey(false, c.progress), Swap: p.Swap}).join()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	c.progress("writing "+filepath.Base(path), 0, 0)
	if err := write(path, k); err != nil {
		return nil, fmt.Errorf("keep the proving key of %v: %w", id, err)
	}
	return k, nil
}
