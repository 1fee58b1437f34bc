package setup

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark/backend/groth16"
	gnark "github.com/consensys/gnark/backend/groth16/bls12-381"
	cs "github.com/consensys/gnark/constraint/bls12-381"
	"github.com/consensys/gnark/frontend"
	"github.com/consensys/gnark/frontend/cs/r1cs"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup/internal/qap"
	"github.com/comity-ledger/comity/zk/setup/internal/trapdoor"
	"github.com/comity-ledger/comity/zk/verifier"
)

// toy has wires that appear only left, only right and only in products, so that the zero polynomials of A and B are exercised.
type toy struct {
	Y, Z frontend.Variable `gnark:",public"`
	X, W frontend.Variable
}

func (c *toy) Define(api frontend.API) error {
	api.AssertIsEqual(c.Y, api.Add(api.Mul(c.X, c.X, c.X), api.Mul(3, c.W), 5))
	api.AssertIsEqual(c.Z, api.Mul(api.Sub(c.X, c.W), c.W))
	for range 40 {
		c.X = api.Mul(c.X, c.W)
	}
	api.AssertIsDifferent(c.X, 0)
	return nil
}

func compileToy() (*cs.R1CS, error) {
	Quiet()
	system, err := frontend.Compile(ecc.BLS12_381.ScalarField(), r1cs.NewBuilder, new(toy))
	if err != nil {
		return nil, err
	}
	return system.(*cs.R1CS), nil
}

func mustToy(t testing.TB) *cs.R1CS {
	t.Helper()
	r, err := compileToy()
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func gnarkKey(vk *verifier.VerifyingKey) *gnark.VerifyingKey {
	k := vk.Points()
	out := new(gnark.VerifyingKey)
	out.G1.Alpha, out.G1.K = k.Alpha, k.K
	out.G2.Beta, out.G2.Gamma, out.G2.Delta = k.Beta, k.Gamma, k.Delta
	if err := out.Precompute(); err != nil {
		panic(err)
	}
	return out
}

func TestKeysOfOurSetUpServeGnark(t *testing.T) {
	r := mustToy(t)
	td := trapdoor.Derive(trapdoor.DevelopmentSeed, zk.Transfer, 1, qap.Digest(r))
	p, err := qap.New(r, &td, nil)
	if err != nil {
		t.Fatal(err)
	}
	vk, err := p.VerifyingKey(zk.Transfer, 1)
	if err != nil {
		t.Fatal(err)
	}
	var calls int
	pk := p.ProvingKey(true, func(_ string, done, total int) {
		calls++
		if done > total {
			t.Errorf("progress %d of %d", done, total)
		}
	})
	if calls == 0 {
		t.Error("no progress was reported")
	}

	// The layout is gnark's: same lengths, same zero wires.
	var theirs gnark.ProvingKey
	var theirVK gnark.VerifyingKey
	if err := gnark.Setup(r, &theirs, &theirVK); err != nil {
		t.Fatal(err)
	}
	if len(pk.G1.A) != len(theirs.G1.A) || len(pk.G1.B) != len(theirs.G1.B) || len(pk.G1.K) != len(theirs.G1.K) ||
		len(pk.G1.Z) != len(theirs.G1.Z) || len(pk.G2.B) != len(theirs.G2.B) || len(vk.Points().K) != len(theirVK.G1.K) {
		t.Error("lengths differ from gnark's set-up")
	}
	for i := range theirs.InfinityA {
		if pk.InfinityA[i] != theirs.InfinityA[i] || pk.InfinityB[i] != theirs.InfinityB[i] {
			t.Fatalf("wire %d: zero in one set-up and not in the other", i)
		}
	}
	if pk.NbInfinityA != theirs.NbInfinityA || pk.NbInfinityB != theirs.NbInfinityB {
		t.Error("numbers of zero wires differ")
	}

	w, err := frontend.NewWitness(&toy{X: 3, W: 2, Y: 27 + 6 + 5, Z: 2}, ecc.BLS12_381.ScalarField())
	if err != nil {
		t.Fatal(err)
	}
	proof, err := groth16.Prove(r, pk, w)
	if err != nil {
		t.Fatal(err)
	}
	public, err := w.Public()
	if err != nil {
		t.Fatal(err)
	}
	if err := groth16.Verify(proof, gnarkKey(vk), public); err != nil {
		t.Errorf("gnark refuses a proof under our key: %v", err)
	}
	bad := append(fr.Vector(nil), public.Vector().(fr.Vector)...)
	bad[0].SetOne()
	if err := gnark.Verify(proof.(*gnark.Proof), gnarkKey(vk), bad); err == nil {
		t.Error("gnark accepts a false proof under our key")
	}
}

func TestKeysDependOnTheCircuitAndItsDigest(t *testing.T) {
	r := mustToy(t)
	key := func(id zk.CircuitID) verifier.Fingerprint {
		p, _, err := qap.Development(r, id)
		if err != nil {
			t.Fatal(err)
		}
		vk, err := p.VerifyingKey(id, 1)
		if err != nil {
			t.Fatal(err)
		}
		k := vk.Points()
		if k.Gamma.Equal(&k.Delta) {
			t.Error("gamma equals delta")
		}
		return vk.Fingerprint()
	}
	if key(zk.Transfer) == key(zk.Hold) {
		t.Error("two circuits have one key")
	}
	if first, second := key(zk.Transfer), key(zk.Transfer); first != second {
		t.Error("one circuit has two keys")
	}
	before := qap.Digest(r)
	r.Coefficients[len(r.Coefficients)-1].SetUint64(987654321)
	if qap.Digest(r) == before {
		t.Error("a changed coefficient does not change the digest")
	}
}

type committed struct {
	Y frontend.Variable `gnark:",public"`
	X frontend.Variable
}

func (c *committed) Define(api frontend.API) error {
	h, err := api.(frontend.Committer).Commit(c.X)
	if err != nil {
		return err
	}
	api.AssertIsDifferent(h, 0)
	api.AssertIsEqual(c.X, c.Y)
	return nil
}

func TestCircuitWithACommitmentIsRefused(t *testing.T) {
	Quiet()
	system, err := frontend.Compile(ecc.BLS12_381.ScalarField(), r1cs.NewBuilder, new(committed))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := qap.Development(system.(*cs.R1CS), zk.Transfer); !errors.Is(err, qap.ErrCommitment) {
		t.Error(err)
	}
}

func toyCache(t *testing.T, dir string, warn func(error)) (*Cache, Record) {
	t.Helper()
	c, err := Open(Config{Dir: dir, Warn: warn})
	if err != nil {
		t.Fatal(err)
	}
	record, _, _, err := describe(zk.Transfer, mustToy(t))
	if err != nil {
		t.Fatal(err)
	}
	return c, record
}

func TestKeysAreMadeOnceAndThenRead(t *testing.T) {
	var compiled int
	compile := func() (*cs.R1CS, error) { compiled++; return compileToy() }
	c, record := toyCache(t, filepath.Join(t.TempDir(), "new", "folder"), nil)
	var first *ProvingKey
	for range 2 {
		k, err := c.keys(context.Background(), zk.Transfer, record, compile)
		if err != nil {
			t.Fatal(err)
		}
		if first == nil {
			first = k
			continue
		}
		if !k.Key.G1.Delta.Equal(&first.Key.G1.Delta) || len(k.Key.G1.K) != len(first.Key.G1.K) ||
			k.System.GetNbConstraints() != first.System.GetNbConstraints() {
			t.Error("the key that was read differs from the one that was made")
		}
		for i := range k.Key.G2.B {
			if !k.Key.G2.B[i].Equal(&first.Key.G2.B[i]) {
				t.Fatalf("G2.B[%d] differs", i)
			}
		}
	}
	if compiled != 1 {
		t.Errorf("compiled %d times", compiled)
	}
	left, err := filepath.Glob(filepath.Join(c.dir, "*.tmp*"))
	if err != nil || len(left) != 0 {
		t.Errorf("temporary files are left: %v %v", left, err)
	}
}

func TestDamagedKeyFileIsMadeAgainWithAWarning(t *testing.T) {
	for name, damage := range map[string]func([]byte) []byte{
		"a flipped bit": func(b []byte) []byte { b[len(b)/2] ^= 1; return b },
		"cut short":     func(b []byte) []byte { return b[:len(b)-5] },
		"empty":         func([]byte) []byte { return nil },
		"another file":  func([]byte) []byte { return bytes.Repeat([]byte("x"), 500) },
	} {
		t.Run(name, func(t *testing.T) {
			var warned error
			c, record := toyCache(t, t.TempDir(), func(err error) { warned = err })
			if _, err := c.keys(context.Background(), zk.Transfer, record, compileToy); err != nil {
				t.Fatal(err)
			}
			path := c.path(zk.Transfer, record)
			b, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, damage(bytes.Clone(b)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := c.keys(context.Background(), zk.Transfer, record, compileToy); err != nil {
				t.Fatal(err)
			}
			if !errors.Is(warned, ErrCorrupt) {
				t.Errorf("warning: %v", warned)
			}
			again, err := os.ReadFile(path)
			if err != nil || !bytes.Equal(again, b) {
				t.Error("the file made again differs from the first")
			}
		})
	}
}

func TestChangedCircuitIsRefusedUntilItIsRecorded(t *testing.T) {
	c, record := toyCache(t, t.TempDir(), nil)
	record.Digest[0] ^= 1
	if _, err := c.keys(context.Background(), zk.Transfer, record, compileToy); !errors.Is(err, ErrChanged) {
		t.Error(err)
	}
}

func TestProcessesThatWantTheSameKeyMakeItOnce(t *testing.T) {
	dir := t.TempDir()
	var mu sync.Mutex
	compiled, waited := 0, 0
	compile := func() (*cs.R1CS, error) {
		mu.Lock()
		compiled++
		mu.Unlock()
		time.Sleep(300 * time.Millisecond)
		return compileToy()
	}
	var wg sync.WaitGroup
	for range 3 {
		wg.Go(func() {
			c, record := toyCache(t, dir, nil)
			c.progress = func(stage string, _, _ int) {
				if stage == "waiting for another process that makes this key" {
					mu.Lock()
					waited++
					mu.Unlock()
				}
			}
			if _, err := c.keys(context.Background(), zk.Transfer, record, compile); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if compiled != 1 || waited == 0 {
		t.Errorf("compiled %d times, %d waited", compiled, waited)
	}
}

func TestWaitingForALockEndsWithTheContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(context.Background(), path, func() {})
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 150*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, path, func() {}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

func TestCacheFolderComesFromTheEnvironment(t *testing.T) {
	t.Setenv(DirEnv, "/somewhere")
	c, err := Open(Config{})
	if err != nil || c.Dir() != "/somewhere" {
		t.Errorf("%v %v", c, err)
	}
}
