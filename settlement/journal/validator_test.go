package journal

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"testing"
	"testing/synctest"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/proof"
)

// played is a Replayer over blocks of three leaves; block number bad does not hold, block number sick cannot be read once.
type played struct {
	heads []proof.Head
	next  int
	bad   int
	sick  int
}

func (p *played) Apply(b *settlement.Block) error {
	switch {
	case int(b.Height) == p.bad:
		return fmt.Errorf("%w: entry 7", ErrLogInvalid)
	case int(b.Height) == p.sick:
		p.sick = -1
		return errors.New("out of memory")
	case int(b.Height) != p.next:
		return fmt.Errorf("block %d where %d belongs", b.Height, p.next)
	}
	p.next++
	return nil
}

func (p *played) Head() proof.Head { return p.heads[p.next-1] }

func plays(t *testing.T, n int) *played {
	m := &memory{}
	p := &played{bad: -1, sick: -1}
	for i := range n {
		p.heads = append(p.heads, m.grow(t, uint64(3*i+3), "", 1<<40))
	}
	return p
}

func blocks(from, to uint64) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for ; from < to; from++ {
			if !yield(&settlement.Block{Height: from}, nil) {
				return
			}
		}
	}
}

func TestValidatorKnowsTheRootsItReplayed(t *testing.T) {
	p := plays(t, 9)
	v := NewValidator(p)
	if err := v.Follow(t.Context(), blocks(0, 5)); err != nil {
		t.Fatal(err)
	}
	if v.Next() != 5 || v.Head() != p.heads[4] {
		t.Errorf("next %d", v.Next())
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, c := range []struct {
		name string
		head proof.Head
		err  error
	}{
		{"the newest", p.heads[4], nil},
		{"an older one", p.heads[1], nil},
		{"no leaves", proof.Head{Root: proof.EmptyRoot()}, nil},
		{"another root", proof.Head{Size: 6, Root: proof.Hash{1}}, ErrLogInvalid},
		{"inside a block", proof.Head{Size: 7}, ErrLogInvalid},
		{"one that comes later", p.heads[5], ErrNotReplayed},
	} {
		if err := v.Reach(ctx, c.head); !errors.Is(err, c.err) || c.err == nil && err != nil {
			t.Errorf("%s: %v, want %v", c.name, err, c.err)
		}
	}
}

func TestValidatorWaitsForTheBlocks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := plays(t, 9)
		v := NewValidator(p)
		done := make(chan error)
		go func() { done <- v.Reach(t.Context(), p.heads[7]) }()
		for i := range uint64(8) {
			time.Sleep(time.Second)
			if err := v.Follow(t.Context(), blocks(i, i+1)); err != nil {
				t.Fatal(err)
			}
		}
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestValidatorNeverPassesABlockThatDoesNotHold(t *testing.T) {
	p := plays(t, 9)
	p.bad = 3
	v := NewValidator(p)
	if err := v.Follow(t.Context(), blocks(0, 9)); !errors.Is(err, ErrLogInvalid) {
		t.Fatal(err)
	}
	if err := v.Reach(t.Context(), p.heads[5]); !errors.Is(err, ErrLogInvalid) {
		t.Errorf("past it: %v", err)
	}
	if err := v.Reach(t.Context(), p.heads[2]); err != nil {
		t.Errorf("before it: %v", err)
	}
	p.bad = -1 // a ledger that shows other blocks now does not get away with it
	if err := v.Follow(t.Context(), blocks(3, 9)); !errors.Is(err, ErrLogInvalid) {
		t.Errorf("went on: %v", err)
	}
}

func TestValidatorGoesOnAfterAFailureOfItsOwn(t *testing.T) {
	p := plays(t, 9)
	p.sick = 4
	v := NewValidator(p)
	if err := v.Follow(t.Context(), blocks(0, 9)); err == nil || errors.Is(err, ErrLogInvalid) {
		t.Fatal(err)
	}
	if v.Next() != 4 {
		t.Fatalf("next %d", v.Next())
	}
	if err := v.Follow(t.Context(), blocks(v.Next(), 9)); err != nil {
		t.Error(err)
	}
	if err := v.Reach(t.Context(), p.heads[8]); err != nil {
		t.Error(err)
	}
}
