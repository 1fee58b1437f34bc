// Package replay rebuilds a ledger's state from its log alone and rechecks
// everything on the way: every proof, nullifier, signature, root and state
// entry. `comity ledger verify`, a node's start and the validating witness all
// use it. It drives the same rules as the live ledger (settlement.Admit and
// Sequence) with the ledger time that the log states, and then requires the
// block that they give to be the one in the log, byte for byte.
//
// It needs entries only: ciphertext segments are covered by hashes in them.
package replay

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"iter"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Error names the first entry of a log that does not hold. It is evidence
// about the log, not a failure of the machine that replays.
type Error struct {
	Height uint64
	Index  uint64 // log index of the entry
	Err    error  // why: often an *entry.Refusal
}

// Error gives the index first, which is what an auditor looks up.
func (e *Error) Error() string {
	return fmt.Sprintf("entry %d (block %d) does not hold: %v", e.Index, e.Height, e.Err)
}

// Unwrap gives the reason.
func (e *Error) Unwrap() error { return e.Err }

// DefaultBatch is large enough that what a batch costs once hardly counts, and
// small enough that a bad proof is reported soon.
const DefaultBatch = 2048

// Replayer rebuilds a ledger block by block. It is not safe for concurrent use.
type Replayer struct {
	state    *settlement.State
	index    Index
	verifier settlement.Verifier
	parallel settlement.Parallel
	batch    int        // proofs to gather before any is checked; 0 gathers none
	gathered []gathered // not checked yet
}

// gathered is a leg whose proof is still to be checked.
type gathered struct {
	job           settlement.Job
	height, index uint64
	leg           int
}

// Config says how to replay.
type Config struct {
	// Verifier checks proofs; nil takes proofs on trust, which is right only
	// for a log that this very node checked before.
	Verifier settlement.Verifier
	// Index remembers nullifiers and anchors; nil keeps them in memory.
	Index Index
	// Parallel hashes note subtrees; nil hashes in turn.
	Parallel settlement.Parallel
	// Batch is how many proofs All checks together, across blocks: a batch of
	// 1,024 costs a fifth of what as many small ones do. 0 stands for
	// DefaultBatch. Apply on its own always checks a block's proofs at once.
	Batch int
	// Genesis, when not zero, is the ledger that the log must be of.
	Genesis entry.GenesisHash
}

// New begins at the genesis block.
func New(genesis *settlement.Block, config Config) (*Replayer, error) {
	state, err := settlement.Load(genesis)
	if err != nil {
		return nil, &Error{Err: err}
	}
	if config.Genesis != (entry.GenesisHash{}) && config.Genesis != state.GenesisHash() {
		return nil, &Error{Err: fmt.Errorf("genesis %s, want %s: %w", state.GenesisHash(), config.Genesis, settlement.ErrOtherLedger)}
	}
	r := From(state, config)
	whole := *genesis
	whole.Anchor, whole.Root, whole.Time = state.Anchor(), state.LogRoot(), state.Time()
	return r, r.index.Add(&whole)
}

// From continues after a state that was rebuilt before. The index must cover
// every block up to the state's height.
func From(state *settlement.State, config Config) *Replayer {
	r := &Replayer{state: state, index: config.Index, verifier: config.Verifier, parallel: config.Parallel}
	if r.index == nil {
		r.index = NewMemory()
	}
	if r.verifier == nil {
		r.verifier = Trusting{}
	}
	return r
}

// State is that after the last block applied.
func (r *Replayer) State() *settlement.State { return r.state }

// Apply rechecks the next block and advances, or returns an *Error that names
// the first entry that does not hold; the replayer then stays where it was.
// Other errors come from the index and say nothing about the log.
func (r *Replayer) Apply(block *settlement.Block) error {
	if len(block.Entries) == 0 {
		return &Error{block.Height, block.FirstIndex, errors.New("a block without a state entry")}
	}
	if block.Height != r.state.Height()+1 || block.FirstIndex != r.state.LogSize() {
		return &Error{block.Height, block.FirstIndex, fmt.Errorf("block %d at index %d where block %d at index %d belongs",
			block.Height, block.FirstIndex, r.state.Height()+1, r.state.LogSize())}
	}
	last := len(block.Entries) - 1
	fail := func(i int, err error) error { return &Error{block.Height, block.FirstIndex + uint64(i), err} }
	claimed, err := entry.DecodeState(block.Entries[last])
	if err != nil {
		return fail(last, err)
	}
	if claimed.TimeMillis < r.state.Time() {
		return fail(last, fmt.Errorf("ledger time %d lies before %d", claimed.TimeMillis, r.state.Time()))
	}
	candidates, err := r.admit(block, claimed.TimeMillis, fail)
	if err != nil {
		return err
	}
	if err := r.prove(block, candidates, fail); err != nil {
		return err
	}
	settled, err := r.settled(candidates, block.FirstIndex)
	if err != nil {
		return err
	}
	proposal, err := r.state.Sequence(candidates, claimed.TimeMillis, settled, r.parallel)
	if err != nil {
		return fail(last, err)
	}
	for i, result := range proposal.Results {
		if result.Status != settlement.Accepted {
			return fail(i, whyNot(result))
		}
	}
	if err := sameEntry(proposal, claimed); err != nil {
		return fail(last, err)
	}
	if err := proposal.Block.Matches(block); err != nil {
		return fail(last, err)
	}
	if err := r.index.Add(proposal.Block); err != nil {
		return fmt.Errorf("replay: index block %d: %w", block.Height, err)
	}
	r.state = proposal.Next()
	return nil
}

// prove checks a block's proofs, or puts them by for a larger batch.
func (r *Replayer) prove(block *settlement.Block, candidates []*settlement.Candidate, fail func(int, error) error) error {
	if r.batch == 0 {
		for i, err := range settlement.Prove(r.verifier, candidates) {
			if err != nil {
				return fail(i, err)
			}
		}
		return nil
	}
	settlement.Prove(Trusting{}, candidates) // on trust until flush checks what is gathered here
	for i, c := range candidates {
		for leg, job := range c.Jobs {
			r.gathered = append(r.gathered, gathered{job, block.Height, block.FirstIndex + uint64(i), leg})
		}
	}
	return nil
}

// flush checks what was put by. The first proof that does not hold is named.
func (r *Replayer) flush() error {
	jobs := make([]settlement.Job, len(r.gathered))
	for i := range r.gathered {
		jobs[i] = r.gathered[i].job
	}
	if len(jobs) == 0 {
		return nil
	}
	for i, err := range r.verifier.VerifyBatch(jobs) {
		if err != nil {
			g := r.gathered[i]
			return &Error{g.height, g.index, entry.Refuse(entry.ProofInvalid, "leg %d: %v", g.leg, err)}
		}
	}
	r.gathered = r.gathered[:0]
	return nil
}

// admit decodes and admits every entry but the last.
func (r *Replayer) admit(block *settlement.Block, time uint64, fail func(int, error) error) ([]*settlement.Candidate, error) {
	var broken error
	anchors := func(height uint64) (settlement.Anchor, bool) {
		anchor, err := r.index.Anchor(height)
		if err != nil && !errors.Is(err, settlement.ErrNotFound) {
			broken = fmt.Errorf("replay: anchor %d: %w", height, err)
		}
		return anchor, err == nil
	}
	candidates := make([]*settlement.Candidate, len(block.Entries)-1)
	for i := range candidates {
		sub, err := settlement.DecodeLogged(block.Entries[i])
		if err != nil {
			return nil, fail(i, err)
		}
		candidates[i], err = r.state.Admit(sub, time, anchors)
		if broken != nil {
			return nil, broken
		}
		if err != nil {
			return nil, fail(i, err)
		}
	}
	return candidates, nil
}

// settled asks the index about the candidates. Hits at or after the block
// itself are none: an index over a store already holds what is being replayed.
func (r *Replayer) settled(candidates []*settlement.Candidate, first uint64) (*settlement.Settled, error) {
	settled := settlement.NewSettled()
	var nullifiers []zk.Nullifier
	for _, c := range candidates {
		nullifiers = append(append(nullifiers, entry.Keys(c.Entry)...), entry.Needs(c.Entry)...)
	}
	if len(nullifiers) == 0 {
		return settled, nil
	}
	hits, err := r.index.Spent(nullifiers)
	if err != nil || len(hits) != len(nullifiers) {
		return nil, fmt.Errorf("replay: look up %d nullifiers: %d answers: %w", len(nullifiers), len(hits), err)
	}
	for i, hit := range hits {
		if hit.Found && hit.EntryIndex < first {
			settled.AddNullifier(nullifiers[i], settlement.Prior{EntryIndex: hit.EntryIndex})
		}
	}
	return settled, nil
}

func whyNot(result settlement.Result) error {
	if result.Refusal != nil {
		return result.Refusal
	}
	return fmt.Errorf("the same entry stands at index %d already", result.EntryIndex)
}

// sameEntry names the field in which the claimed state entry is wrong.
func sameEntry(p *settlement.Proposal, claimed *entry.State) error {
	want := p.Next().Entry()
	differ := func(field string, got, want any) error {
		return fmt.Errorf("state entry: %s %v, want %v", field, got, want)
	}
	switch {
	case claimed.Height != want.Height:
		return differ("height", claimed.Height, want.Height)
	case claimed.Tree != want.Tree || claimed.TreeSize != want.TreeSize:
		return differ("tree size", claimed.TreeSize, want.TreeSize)
	case claimed.NoteRoot != want.NoteRoot:
		return differ("note root", claimed.NoteRoot, want.NoteRoot)
	case claimed.RegistryRoot != want.RegistryRoot:
		return differ("registry root", claimed.RegistryRoot, want.RegistryRoot)
	case claimed.ReadersRoot != want.ReadersRoot:
		return differ("readers' root", claimed.ReadersRoot, want.ReadersRoot)
	case claimed.Nullifiers != want.Nullifiers:
		return differ("nullifiers", claimed.Nullifiers, want.Nullifiers)
	case claimed.NextSequence != want.NextSequence:
		return differ("next sequence", claimed.NextSequence, want.NextSequence)
	case claimed.Holds != want.Holds:
		return differ("open holds", claimed.Holds, want.Holds)
	case claimed.CorridorsHash != want.CorridorsHash:
		return differ("corridors hash", hex.EncodeToString(claimed.CorridorsHash[:]), hex.EncodeToString(want.CorridorsHash[:]))
	}
	return nil
}

// Trusting is a Verifier that takes every proof on trust.
type Trusting struct{}

// VerifyBatch accepts all.
func (Trusting) VerifyBatch(jobs []settlement.Job) []error { return make([]error, len(jobs)) }

// Progress tells how far a replay has come.
type Progress func(height, entries uint64)

// All replays blocks from the genesis block on and returns the final state.
// progress, if not nil, is called after every block; proofs may be checked a
// batch later than that. The error names the first entry that does not hold.
func All(ctx context.Context, blocks iter.Seq2[*settlement.Block, error], config Config, progress Progress) (*settlement.State, error) {
	var r *Replayer
	for block, err := range blocks {
		if err != nil {
			return nil, fmt.Errorf("replay: read the log: %w", err)
		}
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if r == nil {
			if r, err = New(block, config); err != nil {
				return nil, err
			}
			if r.batch = config.Batch; r.batch <= 0 {
				r.batch = DefaultBatch
			}
		} else if err = r.Apply(block); err != nil {
			// A proof before this entry may be bad as well, and comes first.
			if earlier := r.flush(); earlier != nil && before(earlier, err) {
				return nil, earlier
			}
			return nil, err
		}
		if len(r.gathered) >= r.batch {
			if err := r.flush(); err != nil {
				return nil, err
			}
		}
		if progress != nil {
			progress(block.Height, block.Size())
		}
	}
	if r == nil {
		return nil, fmt.Errorf("replay: an empty log: %w", settlement.ErrNotFound)
	}
	if err := r.flush(); err != nil {
		return nil, err
	}
	return r.state, nil
}

// before tells whether error a names an earlier entry than b.
func before(a, b error) bool {
	var x, y *Error
	return errors.As(a, &x) && errors.As(b, &y) && x.Index < y.Index
}
