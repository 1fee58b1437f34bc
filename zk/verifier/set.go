package verifier

import (
	"crypto/rand"
	"fmt"
	"io"
	"runtime"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// Job is one proof to check against the public part of its leg.
type Job struct {
	Circuit zk.CircuitID
	// Public is the statement. Its circuit must be Circuit. It is only read.
	Public *zk.LegPublic
	Proof  *zk.Proof
}

// Config describes a Set.
type Config struct {
	// Keys holds at most one verifying key for each circuit.
	Keys []*VerifyingKey
	// Workers bounds how many goroutines one batch uses; 0 means GOMAXPROCS.
	Workers int
}

// Set verifies proofs of several circuits. It is immutable and safe for concurrent use.
type Set struct {
	keys    map[zk.CircuitID]*VerifyingKey
	workers int
}

// NewSet checks the configuration: one key per circuit, each with the number of public inputs that its circuit has.
func NewSet(c Config) (*Set, error) {
	for _, k := range c.Keys {
		if k.Inputs() != zk.NumInputs(k.Circuit()) {
			return nil, fmt.Errorf("circuit %v: %w: %d instead of %d", k.Circuit(), ErrKeyInputs, k.Inputs(), zk.NumInputs(k.Circuit()))
		}
	}
	return newSet(c)
}

// newSet is NewSet for keys of any circuit: tests use it with toy circuits.
func newSet(c Config) (*Set, error) {
	s := &Set{keys: make(map[zk.CircuitID]*VerifyingKey, len(c.Keys)), workers: c.Workers}
	if s.workers <= 0 {
		s.workers = runtime.GOMAXPROCS(0)
	}
	for _, k := range c.Keys {
		if s.keys[k.Circuit()] != nil {
			return nil, fmt.Errorf("circuit %v has two verifying keys", k.Circuit())
		}
		s.keys[k.Circuit()] = k
	}
	return s, nil
}

// Key returns the verifying key of a circuit, or nil.
func (s *Set) Key(id zk.CircuitID) *VerifyingKey { return s.keys[id] }

// claim is a Job whose public part can be flattened: a leg, or in tests a list of field elements.
type claim struct {
	key    *VerifyingKey
	public *zk.LegPublic
	inputs []fr.Element // used when public is nil
	proof  *zk.Proof
}

// flatten appends the public inputs to dst. The caller has checked the shape.
func (c *claim) flatten(dst []fr.Element) []fr.Element {
	if c.public != nil {
		return c.public.AppendInputs(dst)
	}
	return append(dst, c.inputs...)
}

func (s *Set) claim(j *Job) (claim, error) {
	key := s.keys[j.Circuit]
	if key == nil {
		return claim{}, fmt.Errorf("circuit %d: %w", uint8(j.Circuit), ErrUnknownCircuit)
	}
	if j.Public == nil || j.Proof == nil {
		return claim{}, fmt.Errorf("public part or proof is missing: %w", ErrShape)
	}
	if j.Public.Circuit != j.Circuit {
		return claim{}, fmt.Errorf("public part of %v under the key of %v: %w", j.Public.Circuit, j.Circuit, ErrShape)
	}
	// Without this check two public parts of different shapes could flatten to the same inputs.
	if err := j.Public.CheckShape(); err != nil {
		return claim{}, err
	}
	return claim{key: key, public: j.Public, proof: j.Proof}, nil
}

// Verify checks one proof exactly, without randomness. It accepts the same proofs as VerifyBatch. The error is one of this
// package's named errors, wrapped.
func (s *Set) Verify(job Job) error {
	c, err := s.claim(&job)
	if err != nil {
		return err
	}
	return verifyOne(&c, new(sums))
}

func verifyOne(c *claim, s *sums) error {
	var p Points
	if err := p.Decode(c.proof); err != nil {
		return err
	}
	if !p.inSubgroups() {
		return ErrSubgroup
	}
	return c.check(&p, s)
}

// check decides e(A, B) = e(alpha, beta) * e(sum of inputs, gamma) * e(C, delta) for points in their subgroups.
func (c *claim) check(p *Points, s *sums) error {
	scalars := make([]fr.Element, 1, len(c.key.key.K))
	scalars[0].SetOne()
	scalars = c.flatten(scalars)
	if len(scalars) != len(c.key.key.K) {
		return fmt.Errorf("%d public inputs instead of %d: %w", len(scalars)-1, c.key.Inputs(), ErrShape)
	}
	var negC curve.G1Affine
	negC.Neg(&p.C)
	negPublic := c.key.publicSum(s, scalars)
	negPublic.Neg(&negPublic)
	f, err := curve.MillerLoop([]curve.G1Affine{p.A}, []curve.G2Affine{p.B})
	if err != nil {
		return fmt.Errorf("miller loop: %w", err)
	}
	g, err := millerFixed([]curve.G1Affine{negC, negPublic}, []*lines{&c.key.delta, &c.key.gamma})
	if err != nil {
		return err
	}
	e := curve.FinalExponentiation(&f, &g)
	if !e.Equal(&c.key.alphaBeta) {
		return ErrPairing
	}
	return nil
}

// millerFixed multiplies the Miller loops of pairs with fixed second arguments. Pairs whose point is infinity are left out.
func millerFixed(points []curve.G1Affine, fixed []*lines) (curve.GT, error) {
	ps := make([]curve.G1Affine, 0, len(points))
	ls := make([]lines, 0, len(points)) // copies: MillerLoopFixedQ overwrites its lines
	for i := range points {
		if points[i].IsInfinity() {
			continue
		}
		ps, ls = append(ps, points[i]), append(ls, *fixed[i])
	}
	var one curve.GT
	one.SetOne()
	if len(ps) == 0 {
		return one, nil
	}
	f, err := curve.MillerLoopFixedQ(ps, ls)
	if err != nil {
		return one, fmt.Errorf("miller loop: %w", err)
	}
	return f, nil
}

// VerifyBatch checks many proofs, of any mix of circuits, and returns one error for each job: nil where the proof is valid.
// It accepts the same proofs as Verify: a valid one always, a false one with probability at most 2^-124 (Z8.14).
//
// random must be unpredictable to whoever made the proofs: the system's source, which nil stands for. With coefficients known
// beforehand two false proofs can be made to cancel. If it fails, every undecided job gets ErrRandomness.
func (s *Set) VerifyBatch(jobs []Job, random io.Reader) []error {
	if random == nil {
		random = rand.Reader
	}
	errs := make([]error, len(jobs))
	claims := make([]claim, 0, len(jobs))
	index := make([]int, 0, len(jobs))
	for i := range jobs {
		c, err := s.claim(&jobs[i])
		if err != nil {
			errs[i] = err
			continue
		}
		claims, index = append(claims, c), append(index, i)
	}
	for k, err := range verifyClaims(claims, random, s.workers) {
		errs[index[k]] = err
	}
	return errs
}
