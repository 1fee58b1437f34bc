package bridge

import (
	"crypto/ed25519"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
)

// forked is a world in which Aurelia observed one history of Cordelia, and Cordelia has another one to show.
type forked struct {
	*world
	a, b, c, other *toyLedger
	relay          *Relay
}

func newForked(t testing.TB) *forked {
	t.Helper()
	w := newWorld("aurelia", "borealis", "cordelia")
	f := &forked{world: w, a: w.ledgers[0], b: w.ledgers[1], c: w.ledgers[2]}
	for range 5 {
		w.now++
		f.c.tick()
	}
	if err := f.a.submit(f.a.observation(f.c)); err != nil {
		t.Fatal(err)
	}
	f.other = f.c.fork(3)
	f.relay = NewRelay(map[entry.GenesisHash]uint64{f.a.Hash: 0, f.b.Hash: 0, f.c.Hash: 0})
	f.read(t)
	return f
}

func (f *forked) read(t testing.TB) {
	t.Helper()
	for _, l := range []*toyLedger{f.a, f.b} {
		for n := f.relay.Next(l.Hash); n < l.size(); n++ {
			if err := f.relay.Add(l.Hash, n, l.leaves[n]); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (f *forked) accusations() []Accusation { return f.relay.Plan(Options{}).Accusations }

// Every ledger with a corridor to a log that forked hears of it, once.
func TestAForkIsShownToEveryLedger(t *testing.T) {
	for name, see := range map[string]func(f *forked) error{
		"the log itself says otherwise":           func(f *forked) error { return f.relay.Look(mirrorOf(t, f.other, f.other.size())) },
		"the log itself says otherwise, one size": func(f *forked) error { return f.relay.Look(mirrorOf(t, f.other, f.c.size())) },
		"two ledgers observed two roots": func(f *forked) error {
			f.other.leaves = f.other.leaves[:f.c.size()]
			return f.b.submit(f.b.observation(f.other))
		},
		"the relayer itself saw the other head": func(f *forked) error {
			e, err := mirrorOf(t, f.c, f.c.size()).Fork(f.other.checkpoint(5))
			f.relay.Forked(f.c.Hash, e)
			return err
		},
	} {
		f := newForked(t)
		if n := len(f.accusations()); n != 0 {
			t.Fatalf("%s: %d accusations before it was seen", name, n)
		}
		if err := see(f); err != nil {
			t.Fatal(name, err)
		}
		f.read(t)
		plan := f.accusations()
		if len(plan) != 2 || plan[0].On == plan[1].On {
			t.Fatalf("%s: %d accusations", name, len(plan))
		}
		for _, x := range plan {
			on := f.ledger(x.On)
			if err := on.submit(x.Entry(1 << 50)); err != nil || !on.frozen[f.c.Hash] {
				t.Fatalf("%s: %s: %v", name, on.Name, err)
			}
		}
		f.read(t)
		if n := len(f.accusations()); n != 0 {
			t.Errorf("%s: told, and still %d accusations", name, n)
		}
		for i, on := range []*toyLedger{f.a, f.b} { // a treasury that thaws a corridor knows what it does
			if err := on.submit(corridorEntry(on.Hash, f.c, uint64(20+i), entry.CorridorThaws)); err != nil {
				t.Fatal(err)
			}
		}
		f.read(t)
		if n := len(f.accusations()); n != 0 {
			t.Errorf("%s: thawed by people, and %d accusations", name, n)
		}
	}
}

func TestALagIsNoFork(t *testing.T) {
	for name, see := range map[string]func(f *forked) error{
		"one history":          func(f *forked) error { return f.relay.Look(mirrorOf(t, f.c, f.c.size())) },
		"the node is behind":   func(f *forked) error { return f.relay.Look(mirrorOf(t, f.c, 3)) },
		"nobody signed for it": func(f *forked) error { return f.relay.Look(mirrorOf(t, f.other)) },
		"not signed so far":    func(f *forked) error { return f.relay.Look(mirrorOf(t, f.other, 3)) },
		"another log": func(f *forked) error {
			m := NewMirror(f.c.Hash, f.c.origin, signer("another").Public().(ed25519.PublicKey))
			for _, leaf := range f.other.leaves {
				m.Add(leaf)
			}
			return f.relay.Look(m)
		},
		"another ledger": func(f *forked) error { return f.relay.Look(mirrorOf(t, f.b, f.b.size())) },
		"an older head":  func(f *forked) error { return second(mirrorOf(t, f.c, f.c.size()).Fork(f.c.checkpoint(2))) },
		"a later observation of the same log": func(f *forked) error {
			f.c.state()
			return f.b.submit(f.b.observation(f.c))
		},
	} {
		f := newForked(t)
		if err := see(f); err != nil {
			t.Fatal(name, err)
		}
		f.read(t)
		if n := len(f.accusations()); n != 0 {
			t.Errorf("%s: %d accusations", name, n)
		}
	}
	// Bytes that the log did not sign are refused.
	f := newForked(t)
	m := mirrorOf(t, f.c, f.c.size())
	signed := f.other.checkpoint(5)
	signed[len(signed)-8] ^= 1
	if e, err := m.Fork(signed); e != nil || CodeOf(err) != SignatureInvalid {
		t.Error(e, err)
	}
}

// A corridor that is frozen, or whose terms list another key, is not told what its ledger would refuse.
func TestOnlyOpenCorridorsOfThatLogAreTold(t *testing.T) {
	f := newForked(t)
	if err := f.a.submit(corridorEntry(f.a.Hash, f.c, 9, entry.CorridorFreezes)); err != nil {
		t.Fatal(err)
	}
	f.read(t)
	if err := f.relay.Look(mirrorOf(t, f.other, f.other.size())); err != nil {
		t.Fatal(err)
	}
	if got := f.accusations(); len(got) != 1 || got[0].On != f.b.Hash {
		t.Fatal(got)
	}
	e := corridorEntry(f.b.Hash, f.c, 30, entry.CorridorSets)
	e.Terms.LogKey = public("a new log key")
	if err := f.b.submit(e); err != nil {
		t.Fatal(err)
	}
	f.read(t)
	if got := f.accusations(); len(got) != 0 {
		t.Fatal(got)
	}
}
