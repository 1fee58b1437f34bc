package prover

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"runtime"
	"sync"

	"github.com/consensys/gnark-crypto/ecc"
	"github.com/consensys/gnark/frontend"

	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/circuit"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

// ErrUnprovable says that the circuit refuses a leg that Check accepts, or that the proof made does not verify. Both are faults of
// this program or of its keys, never of the leg.
var ErrUnprovable = errors.New("leg that passed every check cannot be proven")

// Config describes a Prover.
type Config struct {
	// Keys holds the proving keys. Nil means the default cache.
	Keys *setup.Cache
	// AtOnce bounds how many proofs are made at the same time; each uses all processors and 100 to 300 MB. 0 means half of
	// GOMAXPROCS, at least one.
	AtOnce int
}

// Prover makes proofs. It loads the key of a circuit when it first needs it and keeps it: 15 to 40 MB each. It is safe for
// concurrent use.
type Prover struct {
	cache    *setup.Cache
	verifier *verifier.Set
	slots    chan struct{}

	mu   sync.Mutex // guards keys; held while a key is loaded, so that it is loaded once
	keys map[zk.CircuitID]*setup.ProvingKey
}

// New returns a prover over the development keys. It turns gnark's own logger off (setup.Quiet).
func New(c Config) (*Prover, error) {
	setup.Quiet()
	if c.Keys == nil {
		var err error
		if c.Keys, err = setup.Open(setup.Config{}); err != nil {
			return nil, err
		}
	}
	if c.AtOnce <= 0 {
		c.AtOnce = max(1, runtime.GOMAXPROCS(0)/2)
	}
	set, err := setup.Verifier(1)
	if err != nil {
		return nil, err
	}
	return &Prover{cache: c.Keys, verifier: set, slots: make(chan struct{}, c.AtOnce), keys: map[zk.CircuitID]*setup.ProvingKey{}}, nil
}

// Prepare loads the keys of these circuits, making them if need be, so that the first proof does not wait for them.
func (p *Prover) Prepare(ctx context.Context, ids ...zk.CircuitID) error {
	for _, id := range ids {
		if _, err := p.load(ctx, id); err != nil {
			return err
		}
	}
	return nil
}

func (p *Prover) load(ctx context.Context, id zk.CircuitID) (*setup.ProvingKey, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if k := p.keys[id]; k != nil {
		return k, nil
	}
	k, err := p.cache.Keys(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("load the proving key: %w", err)
	}
	p.keys[id] = k
	return k, nil
}

// Check is the function Check, so that a Prover is all that a wallet needs.
func (p *Prover) Check(w zk.LegWitness) error { return Check(w) }

// Prove checks the leg, as Check does, and makes its proof. The proof is verified before it is returned: a fault of memory or of
// a key file must not leave the machine, where it could say something about the witness.
//
// The context is looked at before each step; a proof that has begun is finished.
func (p *Prover) Prove(ctx context.Context, w zk.LegWitness) (zk.Proof, error) {
	if err := Check(w); err != nil {
		return zk.Proof{}, err
	}
	id := w.Public.Circuit
	key, err := p.load(ctx, id)
	if err != nil {
		return zk.Proof{}, err
	}
	assigned, err := circuit.Assign(&w)
	if err != nil {
		return zk.Proof{}, err
	}
	full, err := frontend.NewWitness(assigned, ecc.BLS12_381.ScalarField())
	if err != nil {
		return zk.Proof{}, fmt.Errorf("assign the witness: %w", err)
	}
	select {
	case p.slots <- struct{}{}:
		defer func() { <-p.slots }()
	case <-ctx.Done():
		return zk.Proof{}, ctx.Err()
	}
	if err := ctx.Err(); err != nil {
		return zk.Proof{}, err
	}
	points, err := prove(key, full, rand.Reader)
	if err != nil {
		// gnark's message names the constraint and may print values: it stays here.
		return zk.Proof{}, fmt.Errorf("prove %v: %w", id, ErrUnprovable)
	}
	proof := points.Encode()
	if err := p.verifier.Verify(verifier.Job{Circuit: id, Public: &w.Public, Proof: &proof}); err != nil {
		return zk.Proof{}, fmt.Errorf("prove %v: %w: %w", id, ErrUnprovable, err)
	}
	return proof, nil
}
