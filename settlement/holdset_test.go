package settlement

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
)

// TestHoldSetIsAMap compares the set with a plain map under random work, ids
// that share long prefixes included, and checks that older versions stand.
func TestHoldSetIsAMap(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	id := func() entry.HoldID {
		var h entry.HoldID
		h.Leg = uint8(r.IntN(entry.MaxLegs))
		at := r.IntN(len(h.Tx))
		if r.IntN(2) == 0 {
			at = 0
		}
		for ; at < len(h.Tx); at++ {
			h.Tx[at] = byte(r.IntN(3)) << (4 * r.IntN(2))
		}
		return h
	}
	var set holdSet
	plain := make(map[entry.HoldID]*hold)
	var ids []entry.HoldID
	check := func(set holdSet, plain map[entry.HoldID]*hold) {
		t.Helper()
		var seen []*hold
		latest := uint64(0)
		set.each(func(h *hold) { seen = append(seen, h) })
		for _, h := range plain {
			latest = max(latest, h.until)
			if got, open := set.get(h.id); !open || got != h {
				t.Fatalf("hold %s: %v, %v", h.id, got, open)
			}
		}
		if len(seen) != len(plain) || set.len() != len(plain) || set.latest() != latest {
			t.Fatalf("%d holds in order, %d counted, latest %d; want %d and %d", len(seen), set.len(), set.latest(), len(plain), latest)
		}
		if !slices.IsSortedFunc(seen, func(a, b *hold) int { return compareHolds(a.id, b.id) }) {
			t.Fatal("not ascending by id")
		}
	}
	for step := range 4000 {
		if len(ids) == 0 || r.IntN(1500) > len(ids) {
			h := &hold{id: id(), until: r.Uint64N(1000)}
			if _, known := plain[h.id]; !known {
				ids = append(ids, h.id)
			}
			plain[h.id] = h
			set = set.put(h)
		} else {
			at := r.IntN(len(ids))
			delete(plain, ids[at])
			set = set.drop(ids[at])
			set = set.drop(ids[at]) // of one that is not there: nothing
			ids = append(ids[:at], ids[at+1:]...)
		}
		if step%500 == 0 {
			old, was := set, make(map[entry.HoldID]*hold)
			for k, v := range plain {
				was[k] = v
			}
			defer check(old, was) // when much has changed since
			check(set, plain)
			if _, open := set.get(id()); open && len(plain) == 0 {
				t.Fatal("an empty set holds something")
			}
		}
	}
	for _, id := range ids {
		set = set.drop(id)
	}
	if set.root != nil {
		t.Error("an emptied set keeps nodes")
	}
}

func TestLedgerWithAsManyHoldsAsItCanTakeRefusesMore(t *testing.T) {
	s := &State{rules: &rulebook{}}
	h := &hold{rule: &entry.Attested{Until: 10}}
	if err := s.mayHold(h, nil, maxHolds-1, 1); err != nil {
		t.Errorf("the last hold: %v", err)
	}
	if err := s.mayHold(h, nil, maxHolds, 1); entry.CodeOf(err) != entry.HoldsFull {
		t.Errorf("one hold too many: %v", err)
	}
}

func TestFullBlockTakesNoResolution(t *testing.T) {
	s := &State{rules: &rulebook{}, notes: newNoteTree(), corridors: newCorridors()}
	d := newDraft(s, 0, NewSettled())
	d.demand.singles = maxBlockLeaves - 1
	for i, code := range []entry.Code{"", entry.TryLater} {
		h := &hold{id: holdNumber(i), rule: &entry.Attested{}}
		d.next.holds = d.next.holds.put(h)
		if err := d.resolve(h, entry.Voided); entry.CodeOf(err) != code {
			t.Errorf("resolution %d: %v", i, err)
		}
	}
	if d.next.holds.len() != 1 || len(d.outputs) != 1 {
		t.Errorf("%d holds open, %d outputs", d.next.holds.len(), len(d.outputs))
	}
}

func TestFollowerWithoutAProofIsRefused(t *testing.T) {
	s := &State{rules: &rulebook{}, corridors: newCorridors()}
	if _, _, err := s.peerHold(entry.GenesisHash{1}, entry.HoldID{}, nil); entry.CodeOf(err) != entry.PeerProofInvalid {
		t.Errorf("no proof: %v", err)
	}
}

func TestSnapshotWhoseCorridorsMiscountItsHoldsIsRefused(t *testing.T) {
	peer := entry.GenesisHash{1}
	s := &State{corridors: newCorridors()}
	s.holds = s.holds.put(&hold{class: 5, rule: &entry.DecidedThere{Ledger: peer}})
	if s.checkInFlight() == nil {
		t.Error("a hold in flight to an unknown ledger")
	}
	s.corridors.set(&entry.Corridor{Peer: peer, Action: entry.CorridorSets, Terms: &entry.CorridorTerms{}})
	if s.checkInFlight() == nil {
		t.Error("a hold that its corridor does not count")
	}
	s.corridors.place(peer, 5)
	if err := s.checkInFlight(); err != nil {
		t.Error(err)
	}
	s.corridors.place(peer, 1)
	if s.checkInFlight() == nil {
		t.Error("a corridor that counts more than its holds")
	}
}

// TestBlockCostsWhatItChangesAndNotWhatIsOpen compares what a block allocates
// beside few and beside many open holds.
func TestBlockCostsWhatItChangesAndNotWhatIsOpen(t *testing.T) {
	work := func(open int) float64 {
		var set holdSet
		for i := range open {
			set = set.put(&hold{id: holdNumber(i)})
		}
		fresh, old := holdNumber(open), holdNumber(0)
		return testing.AllocsPerRun(10, func() { set.put(&hold{id: fresh}).drop(old) })
	}
	if few, many := work(1000), work(50_000); many > 2*few {
		t.Errorf("a hold placed and one resolved take %v allocations beside 1,000 open ones and %v beside 50,000", few, many)
	}
}

func holdNumber(n int) entry.HoldID {
	return entry.HoldID{Tx: entry.IDOf(&entry.Amend{Until: uint64(n)})}
}

// BenchmarkHolds asks what one hold placed and one resolved cost beside so many
// open ones: go test ./settlement -run none -bench Holds
func BenchmarkHolds(b *testing.B) {
	for _, open := range []int{1_000, 100_000} {
		b.Run(fmt.Sprint(open), func(b *testing.B) {
			var set holdSet
			ids := make([]entry.HoldID, 2*open)
			for i := range ids {
				ids[i] = holdNumber(i)
			}
			for _, id := range ids[:open] {
				set = set.put(&hold{id: id})
			}
			i := 0
			for b.Loop() {
				set = set.put(&hold{id: ids[(open+i)%len(ids)]}).drop(ids[i%len(ids)])
				i++
			}
		})
	}
}

// TestEveryPlantedBugIsNamedOnce guards the numbering of the set.
func TestEveryPlantedBugIsNamedOnce(t *testing.T) {
	for bug := planted.NoDedupe; bug <= planted.HoldPlacedEarly; bug++ {
		for other := planted.NoDedupe; other <= planted.PeerLedgerUnchecked; other++ {
			if planted.Of(bug).Has(other) != (bug == other) {
				t.Errorf("bug %d is bug %d", bug, other)
			}
		}
	}
}
