package settlement

import (
	"encoding/binary"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
)

func TestPagesOfHoldsAreTheWholeListInOrder(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 3))
	s := &State{time: 500}
	var want []entry.HoldID
	for i := range 3000 {
		var id entry.HoldID
		binary.BigEndian.PutUint64(id.Tx[:], random.Uint64()>>(random.IntN(2)*40)) // half of them share five bytes
		id.Tx[31], id.Leg = 1, uint8(i%4)
		s.holds = s.holds.put(&hold{id: id, until: uint64(i)})
		want = append(want, id)
	}
	slices.SortFunc(want, compareHolds)
	want = slices.Compact(want)
	for _, limit := range []int{1, 7, 1024, 5000} {
		var got []entry.HoldID
		var last entry.HoldID
		for {
			page, more := s.HoldsAfter(last, limit)
			for _, h := range page {
				got = append(got, h.ID)
			}
			if more != (len(got) < len(want)) || len(page) > limit {
				t.Fatalf("limit %d: a page of %d after %d of %d, more %t", limit, len(page), len(got), len(want), more)
			}
			if !more {
				break
			}
			last = got[len(got)-1]
		}
		if !slices.Equal(got, want) {
			t.Fatalf("limit %d: %d holds, want %d in order", limit, len(got), len(want))
		}
	}
	// The place that a page ended at need not be there any more.
	mid := want[len(want)/2]
	s.holds = s.holds.drop(mid)
	if page, _ := s.HoldsAfter(mid, 1); len(page) != 1 || page[0].ID != want[len(want)/2+1] {
		t.Fatalf("after a hold that was decided: %v", page)
	}
	if page, more := s.HoldsAfter(want[len(want)-1], 5); len(page) != 0 || more {
		t.Fatalf("after the last: %v", page)
	}
}

func TestNextHoldExpiryLiesAhead(t *testing.T) {
	s := &State{time: 500}
	for i, until := range []uint64{0, 400, 500, 900, 700, 800} {
		s.holds = s.holds.put(&hold{id: entry.HoldID{Tx: entry.ID{byte(i)}}, until: until})
	}
	if next := s.NextHoldExpiry(); next != 700 {
		t.Fatalf("next expiry %d", next)
	}
	s.time = 900
	if next := s.NextHoldExpiry(); next != 0 {
		t.Fatalf("next expiry %d though all are past", next)
	}
}

// TestNextHoldExpiryIsThatOfAPlainScan compares the times of the set with a look at every hold, under random placing, amending and deciding, with
// expiries that are equal, near one another, far apart, or none, and checks that older versions stand.
func TestNextHoldExpiryIsThatOfAPlainScan(t *testing.T) {
	random := rand.New(rand.NewPCG(5, 5))
	s := &State{}
	var ids []entry.HoldID
	until := func() uint64 {
		switch random.IntN(5) {
		case 0:
			return 0
		case 1:
			return random.Uint64()
		case 2:
			return ^uint64(0) - random.Uint64N(3)
		}
		return 1_700_000_000_000 + random.Uint64N(3000)
	}
	check := func(s *State) {
		t.Helper()
		var want uint64
		s.holds.each(func(h *hold) {
			if h.until > s.time && (want == 0 || h.until < want) {
				want = h.until
			}
		})
		if next := s.NextHoldExpiry(); next != want {
			t.Fatalf("%d holds at %d: the next expiry is %d, a scan gives %d", s.holds.len(), s.time, next, want)
		}
	}
	for step := range 20_000 {
		switch at := random.IntN(len(ids) + 1); {
		case at < len(ids) && random.IntN(2) == 0: // decided
			s.holds = s.holds.drop(ids[at])
			s.holds = s.holds.drop(ids[at]) // of one that is not open: nothing
			ids[at] = ids[len(ids)-1]
			ids = ids[:len(ids)-1]
		case at < len(ids) && random.IntN(3) == 0: // amended or attested
			h, _ := s.holds.get(ids[at])
			next := *h
			if random.IntN(2) == 0 {
				next.until = until()
			}
			s.holds = s.holds.put(&next)
		default:
			var id entry.HoldID
			binary.BigEndian.PutUint64(id.Tx[:], random.Uint64())
			s.holds = s.holds.put(&hold{id: id, until: until()})
			ids = append(ids, id)
		}
		s.time = until()
		if step%100 < 3 || len(ids) < 20 {
			check(s)
		}
		if step%4000 == 0 {
			old := *s
			defer check(&old) // when much has changed since
		}
	}
	for _, id := range ids {
		s.holds = s.holds.drop(id)
	}
	if s.holds.times.root != nil {
		t.Error("an emptied set keeps times")
	}
}

// TestTimesOfHoldsLieWithinSixteenLevels: a search visits two nodes on each level at most, so its cost is bounded whatever is open.
func TestTimesOfHoldsLieWithinSixteenLevels(t *testing.T) {
	var times holdTimes
	const begin = 1_700_000_000_000
	for i := range uint64(50_000) {
		times = times.add(begin+i*7, 1)
	}
	depth := func(n *timeNode) (deepest int) {
		var walk func(n *timeNode, at int)
		walk = func(n *timeNode, at int) {
			if n == nil {
				return
			}
			if len(n.rows) > timeBucket {
				t.Fatalf("a leaf of %d times", len(n.rows))
			}
			deepest = max(deepest, at)
			if n.kids != nil {
				for _, kid := range n.kids {
					walk(kid, at+1)
				}
			}
		}
		walk(n, 0)
		return deepest
	}(times.root)
	if depth > 16 {
		t.Fatalf("%d levels", depth)
	}
	for i := range uint64(1000) {
		if next := times.after(begin + i*341 - i*341%7); next != begin+i*341-i*341%7+7 {
			t.Fatalf("after %d comes %d", begin+i*341-i*341%7, next)
		}
	}
}
