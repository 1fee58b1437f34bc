package wallets

import (
	"bytes"
	"fmt"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// PolicyOf is what makes a checkpoint of the ledger final, as its genesis states it.
func PolicyOf(g *entry.Genesis) (*proof.Policy, error) {
	c := proof.Config{Origin: g.Origin, LogKey: g.LogKey, Quorum: int(g.Witnesses.Quorum), Faulty: int(g.Witnesses.Faulty)}
	for _, w := range g.Witnesses.Members {
		c.Witnesses = append(c.Witnesses, proof.Witness{Name: w.Name, Key: w.Key, Validating: w.Kind == entry.ValidatingWitness})
	}
	p, err := proof.NewPolicy(c)
	if err != nil {
		return nil, fmt.Errorf("read the witness policy of genesis: %w", err)
	}
	return p, nil
}

// watch remembers what witnesses cosigned. ahead holds heads that the stream has not reached yet.
type watch struct {
	policy      *proof.Policy
	finalSize   uint64
	finalRoot   proof.Hash
	finalMillis uint64 // ledger time of the last block that is final as a whole
	checkpoint  []byte // of finalSize
	seen        []byte // the last checkpoint looked at
	ahead       []aheadHead
}

type aheadHead struct {
	size       uint64
	root       proof.Hash
	checkpoint []byte
}

// maxAhead bounds how many heads are kept until the stream reaches them.
const maxAhead = 4

// note takes a checkpoint that covers a block ending at size end.
func (s *State) note(signed []byte, end uint64) error {
	w := &s.watch
	if len(signed) == 0 || bytes.Equal(signed, w.seen) {
		return nil
	}
	if w.policy == nil {
		p, err := PolicyOf(s.genesis)
		if err != nil {
			return err
		}
		w.policy = p
	}
	final, err := w.policy.Check(signed, 0)
	if err != nil {
		return Refuse(LedgerLied, "the checkpoint of block %d: %v", s.blocks, err)
	}
	if final.Size < end {
		return Refuse(LedgerLied, "the checkpoint of block %d covers %d entries, the block ends at %d", s.blocks, final.Size, end)
	}
	w.seen = bytes.Clone(signed)
	return w.expect(aheadHead{size: final.Size, root: final.Root, checkpoint: w.seen})
}

// expect keeps a head until the stream reaches it. Two roots for one size are a fork.
func (w *watch) expect(h aheadHead) error {
	for i, a := range w.ahead {
		if a.size == h.size {
			if a.root != h.root {
				return Refuse(LedgerForked, "two roots for %d entries", h.size)
			}
			if len(a.checkpoint) == 0 {
				w.ahead[i] = h
			}
			return nil
		}
	}
	if len(w.ahead) < maxAhead {
		w.ahead = append(w.ahead, h)
	}
	return nil
}

// extend appends a block to the log and compares its root wherever a checkpoint speaks of it.
func (s *State) extend(b *Block) error {
	if err := s.note(b.Checkpoint, b.FirstIndex+uint64(len(b.Entries))); err != nil {
		return err
	}
	w := &s.watch
	for n, leaf := range b.Entries {
		s.log.Append(proof.LeafHash(leaf))
		for i := 0; i < len(w.ahead); {
			h := w.ahead[i]
			if h.size > s.log.Size {
				i++
				continue
			}
			if h.size == s.log.Size {
				if s.log.Root() != h.root {
					return Refuse(LedgerForked, "the entries read up to %d have another root than the checkpoint", h.size)
				}
				if len(h.checkpoint) > 0 {
					w.finalSize, w.finalRoot, w.checkpoint = h.size, h.root, h.checkpoint
					if n == len(b.Entries)-1 {
						w.finalMillis = s.timeMillis
					}
				}
			}
			w.ahead = append(w.ahead[:i], w.ahead[i+1:]...)
		}
	}
	return nil
}

// CheckHead compares a checkpoint that the ledger shows as its newest with what was read: a smaller one is LedgerRolledBack, another root
// for a size that was read up to is LedgerForked. A larger one is kept until the stream reaches it.
func (s *State) CheckHead(signed []byte) error {
	if len(signed) == 0 {
		if s.watch.finalSize > 0 {
			return Refuse(LedgerRolledBack, "the ledger shows no cosigned checkpoint, it showed one of %d entries before", s.watch.finalSize)
		}
		return nil
	}
	policy, err := PolicyOf(s.genesis)
	if err != nil {
		return err
	}
	final, err := policy.Check(signed, 0)
	if err != nil {
		return Refuse(LedgerLied, "the newest checkpoint: %v", err)
	}
	w := &s.watch
	switch {
	case final.Size < w.finalSize:
		return Refuse(LedgerRolledBack, "the newest checkpoint covers %d entries, the ledger showed one of %d before", final.Size, w.finalSize)
	case final.Size == w.finalSize && final.Root != w.finalRoot,
		final.Size == s.log.Size && final.Root != s.log.Root():
		return Refuse(LedgerForked, "two roots for %d entries", final.Size)
	case final.Size == s.log.Size:
		w.finalSize, w.finalRoot, w.finalMillis, w.checkpoint = final.Size, final.Root, s.timeMillis, bytes.Clone(signed)
		return nil
	case final.Size > s.log.Size:
		return w.expect(aheadHead{size: final.Size, root: final.Root, checkpoint: bytes.Clone(signed)})
	}
	return nil
}

// Restart begins again from nothing but remembers what the ledger showed: a later read must pass the same cosigned head.
func (s *State) Restart() *State {
	fresh := NewState(s.genesis, s.view)
	if s.watch.finalSize > 0 {
		fresh.watch.ahead = []aheadHead{{size: s.watch.finalSize, root: s.watch.finalRoot, checkpoint: s.watch.checkpoint}}
	}
	return fresh
}
