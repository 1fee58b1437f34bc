package replay

import (
	"errors"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// Witness replays a ledger from block 0 on for a validating witness
// (journal.Replayer). It is not safe for concurrent use.
type Witness struct {
	config Config
	r      *Replayer
}

var _ journal.Replayer = (*Witness)(nil)

// NewWitness begins before block 0. A witness must be given a Verifier that
// checks proofs, and the genesis hash of the ledger that it witnesses.
func NewWitness(config Config) *Witness { return &Witness{config: config} }

// Apply rechecks the next block. What speaks against the log wraps
// journal.ErrLogInvalid and is an *Error.
func (w *Witness) Apply(block *settlement.Block) error {
	var err error
	if w.r == nil {
		var r *Replayer
		if r, err = New(block, w.config); err == nil {
			w.r = r
		}
	} else {
		err = w.r.Apply(block)
	}
	var broken *Error
	if errors.As(err, &broken) {
		return fmt.Errorf("%w: %w", journal.ErrLogInvalid, err)
	}
	return err
}

// Head is the log after the last block applied.
func (w *Witness) Head() proof.Head {
	if w.r == nil {
		return proof.Head{Root: proof.EmptyRoot()}
	}
	return proof.Head{Size: w.r.state.LogSize(), Root: w.r.state.LogRoot()}
}

// State is that after the last block applied, nil before block 0.
func (w *Witness) State() *settlement.State {
	if w.r == nil {
		return nil
	}
	return w.r.state
}
