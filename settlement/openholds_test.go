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
