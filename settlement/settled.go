package settlement

import (
	"context"
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// Prior is an entry that the log holds already.
type Prior struct {
	ID         entry.ID
	EntryIndex uint64
	Height     uint64
}

// Settled is what the log says about the once-only keys (nullifiers, and those
// of 1.14) and the policy sequence numbers of some candidates: only what was found, so that the common case is
// empty. Sequence trusts it to cover every candidate up to its state's height.
type Settled struct {
	nullifiers map[zk.Nullifier]Prior
	sequences  map[uint64]Prior
}

// NewSettled makes an empty one, for drivers that look up by other means.
func NewSettled() *Settled {
	return &Settled{nullifiers: make(map[zk.Nullifier]Prior), sequences: make(map[uint64]Prior)}
}

// AddNullifier records who spent a nullifier, or used up another once-only key.
func (s *Settled) AddNullifier(nf zk.Nullifier, by Prior) { s.nullifiers[nf] = by }

// AddSequence records who used a policy sequence number.
func (s *Settled) AddSequence(sequence uint64, by Prior) { s.sequences[sequence] = by }

// LookUp asks the store about all candidates in one call. Blocks that are
// proposed but not yet in the store may be given as pending, so that a driver
// can sequence the next block while one is being written.
func LookUp(ctx context.Context, store Store, submissions []*Submission, pending ...*Block) (*Settled, error) {
	settled := NewSettled()
	var nullifiers []zk.Nullifier
	for _, sub := range submissions {
		nullifiers = append(append(nullifiers, sub.keys...), sub.needs...)
	}
	reader := priorReader{store: store}
	if len(nullifiers) > 0 {
		hits, err := store.Spent(ctx, nullifiers)
		if err != nil {
			return nil, fmt.Errorf("look up %d nullifiers: %w", len(nullifiers), err)
		}
		if len(hits) != len(nullifiers) {
			return nil, fmt.Errorf("look up %d nullifiers: %d answers: %w", len(nullifiers), len(hits), ErrStoreCorrupt)
		}
		for i, hit := range hits {
			if !hit.Found {
				continue
			}
			prior, err := reader.at(ctx, hit)
			if err != nil {
				return nil, err
			}
			settled.AddNullifier(nullifiers[i], prior)
		}
	}
	for _, sub := range submissions {
		sequence := sub.Entry.Head().Sequence
		if sequence == 0 {
			continue
		}
		hit, err := store.Sequence(ctx, sequence)
		if err != nil {
			return nil, fmt.Errorf("look up policy sequence %d: %w", sequence, err)
		}
		if !hit.Found {
			continue
		}
		prior, err := reader.at(ctx, hit)
		if err != nil {
			return nil, err
		}
		settled.AddSequence(sequence, prior)
	}
	for _, block := range pending {
		if err := settled.addBlock(block, submissions); err != nil {
			return nil, err
		}
	}
	return settled, nil
}

// addBlock adds what a block that is not in the store yet settles of the
// submissions.
func (s *Settled) addBlock(block *Block, submissions []*Submission) error {
	spent := make(map[zk.Nullifier]uint64, len(block.Nullifiers))
	for _, n := range block.Nullifiers {
		spent[n.Nullifier] = n.EntryIndex
	}
	used := make(map[uint64]uint64, len(block.Sequences))
	for _, u := range block.Sequences {
		used[u.Sequence] = u.EntryIndex
	}
	prior := func(index uint64) (Prior, error) {
		e, err := entry.Decode(block.Entries[index-block.FirstIndex])
		if err != nil {
			return Prior{}, fmt.Errorf("entry %d of the pending block %d: %w", index, block.Height, err)
		}
		return Prior{ID: entry.IDOf(e), EntryIndex: index, Height: block.Height}, nil
	}
	for _, sub := range submissions {
		for _, keys := range [2][]zk.Nullifier{sub.keys, sub.needs} {
			for _, key := range keys {
				index, found := spent[key]
				if !found {
					continue
				}
				p, err := prior(index)
				if err != nil {
					return err
				}
				s.AddNullifier(key, p)
			}
		}
		if index, found := used[sub.Entry.Head().Sequence]; found {
			p, err := prior(index)
			if err != nil {
				return err
			}
			s.AddSequence(sub.Entry.Head().Sequence, p)
		}
	}
	return nil
}

// priorReader reads entries that were hit, each once.
type priorReader struct {
	store Store
	last  Prior
	any   bool
}

func (r *priorReader) at(ctx context.Context, hit Hit) (Prior, error) {
	if r.any && r.last.EntryIndex == hit.EntryIndex {
		return r.last, nil
	}
	leaf, height, err := r.store.Entry(ctx, hit.EntryIndex)
	if err != nil {
		return Prior{}, fmt.Errorf("read settled entry %d: %w", hit.EntryIndex, err)
	}
	e, err := entry.Decode(leaf)
	if err != nil {
		return Prior{}, fmt.Errorf("read settled entry %d: %v: %w", hit.EntryIndex, err, ErrStoreCorrupt)
	}
	r.last, r.any = Prior{ID: entry.IDOf(e), EntryIndex: hit.EntryIndex, Height: height}, true
	return r.last, nil
}

// before says what the log and the block so far know of a submission (L4.14):
// its own prior settlement, or a refusal because another entry has used what it
// needs. Neither means that it is new.
func before(sub *Submission, used ...*Settled) (*Prior, error) {
	var stranger error
	for _, s := range used {
		if sequence := sub.Entry.Head().Sequence; sequence != 0 {
			if p, found := s.sequences[sequence]; found {
				if p.ID == sub.ID {
					return &p, nil
				}
				stranger = entry.Refuse(entry.SequenceStale, "policy sequence %d was used by entry %d", sequence, p.EntryIndex)
			}
		}
		for _, key := range sub.keys {
			if p, found := s.nullifiers[key]; found {
				if p.ID == sub.ID {
					return &p, nil
				}
				if stranger == nil {
					stranger = usedUp(sub.Entry, key, p.EntryIndex)
				}
			}
		}
	}
	return nil, stranger
}

// usedUp names the refusal of an entry whose once-only key another one used.
func usedUp(e entry.Entry, key zk.Nullifier, by uint64) error {
	switch e := e.(type) {
	case *entry.Resolve:
		return entry.Refuse(entry.HoldResolved, "hold %s was resolved by entry %d", e.Hold, by)
	case *entry.Override:
		return entry.Refuse(entry.HoldResolved, "hold %s was resolved by entry %d", e.Hold, by)
	case *entry.Document:
		if key == entry.DocumentKey(e.Digest) {
			return entry.Refuse(entry.DocumentKnown, "document %x was anchored by entry %d", e.Digest, by)
		}
		return entry.Refuse(entry.DocumentEnded, "the document was superseded or revoked by entry %d", by)
	}
	return entry.Refuse(entry.NullifierSpent, "nullifier %s was spent by entry %d", key, by)
}

// has tells whether a once-only key was used up.
func (s *Settled) has(key zk.Nullifier) bool {
	_, found := s.nullifiers[key]
	return found
}

// Resolve turns the refusal of a submission into the answer for its client: an
// entry that settled before is answered with its first place, whatever a
// repeat of it would be refused for now (expired, an old anchor, a bad proof
// under a good id). settled must cover the submission.
func Resolve(sub *Submission, refusal error, settled *Settled) Result {
	if p, _ := before(sub, settled); p != nil {
		return Result{Status: SettledBefore, ID: sub.ID, EntryIndex: p.EntryIndex, Height: p.Height}
	}
	return Result{Status: Refused, ID: sub.ID, Refusal: refusal}
}

// Known answers a submission from the log alone, before anybody pays for its
// proofs: a repeat with its first place, and one that needs what another entry
// has used with a refusal, which no later block can take back. False means that
// the log says nothing of it. settled must cover the submission.
func Known(sub *Submission, settled *Settled) (Result, bool) {
	prior, stranger := before(sub, settled)
	switch {
	case prior != nil:
		return Result{Status: SettledBefore, ID: sub.ID, EntryIndex: prior.EntryIndex, Height: prior.Height}, true
	case stranger != nil:
		return Result{Status: Refused, ID: sub.ID, Refusal: stranger}, true
	}
	return Result{}, false
}
