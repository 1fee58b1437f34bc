package pgstore

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/pgstore/pgtest"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/settlement/storetest"
)

var _ replay.UnfinishedOpener = (*Opener)(nil)

// TestAnUnfinishedLedgerIsNone: until it is finished it is opened by nobody and overwritten by nobody, and it can be removed.
func TestAnUnfinishedLedgerIsNone(t *testing.T) {
	m := newMedium(t, pgtest.Shared(t))
	c := storetest.NewChain(31)
	begin := func() (settlement.Store, func(context.Context) error, settlement.Head) {
		t.Helper()
		s, finish, err := m.CreateUnfinished(t.Context(), c.Genesis())
		if err != nil {
			t.Fatal(err)
		}
		head, err := s.Acquire(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return s, finish, head
	}
	s, _, head := begin()
	block := c.Next(storetest.Payments(3))
	appendBlock(t, s, head, block)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() error{
		"open":    func() error { _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); return err },
		"create":  func() error { _, err := m.Create(t.Context(), c.Genesis()); return err },
		"again":   func() error { _, _, err := m.CreateUnfinished(t.Context(), c.Genesis()); return err },
		"migrate": func() error { return m.Migrate(t.Context()) },
		"genesis": func() error { _, err := m.Genesis(t.Context()); return err },
	} {
		if err := call(); !errors.Is(err, settlement.ErrStoreHalfCreated) || !strings.Contains(err.Error(), "cut short") {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A table of somebody else's keeps all of them.
	m.exec(t, "CREATE TABLE @.diary (words text)")
	if err := m.Discard(t.Context()); !errors.Is(err, settlement.ErrStoreHalfCreated) || !strings.Contains(err.Error(), "diary") {
		t.Errorf("discard beside a diary: %v", err)
	}
	m.exec(t, "DROP TABLE @.diary")
	for range 2 {
		if err := m.Discard(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := m.Open(t.Context(), c.Genesis().GenesisHash()); !errors.Is(err, settlement.ErrStoreNotFound) {
		t.Errorf("open after all was removed: %v", err)
	}
	s, finish, head := begin()
	head = appendBlock(t, s, head, block)
	for range 2 { // as after a lost answer
		if err := finish(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if err := m.Discard(t.Context()); !errors.Is(err, settlement.ErrStoreExists) {
		t.Errorf("discard of a ledger: %v", err)
	}
	whole := reopen(t, m, c)
	c.Check(t, whole, head.Height)
	if err := whole.Close(); err != nil {
		t.Fatal(err)
	}
	m.MakeNewer(t)
	if err := m.Discard(t.Context()); !errors.Is(err, settlement.ErrStoreExists) {
		t.Errorf("discard of a later program's ledger: %v", err)
	}
}

// TestDiscardKnowsEveryTable of the migrations.
func TestDiscardKnowsEveryTable(t *testing.T) {
	want := []string{"layout"}
	for _, m := range migrations {
		for _, statement := range m.statements {
			if rest, ok := strings.CutPrefix(statement, "CREATE TABLE @."); ok {
				want = append(want, rest[:strings.IndexAny(rest, " (")])
			}
		}
	}
	got := ours()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) || len(got) < 12 {
		t.Errorf("discards %v, the layout has %v", got, want)
	}
}
