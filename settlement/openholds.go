package settlement

import "github.com/comity-ledger/comity/settlement/entry"

// HoldsAfter returns the open holds with ids past `after`, ascending, at most
// limit of them, and whether there are more. The zero id begins at the first.
func (s *State) HoldsAfter(after entry.HoldID, limit int) (holds []Hold, more bool) {
	s.holds.root.after(after, 0, func(h *hold) bool {
		if len(holds) == limit {
			more = true
			return false
		}
		holds = append(holds, h.view())
		return true
	})
	return holds, more
}

// NextHoldExpiry is the earliest expiry of an open hold past the ledger time of
// the last block, in milliseconds; 0 without one. It costs the same however
// many holds are open.
func (s *State) NextHoldExpiry() uint64 { return s.holds.times.after(s.time) }

// after calls f with the holds below n with ids past id, ascending, until f
// returns false, which it passes on. n is at depth, on the path of id.
func (n *holdNode) after(id entry.HoldID, depth int, f func(*hold) bool) bool {
	if n == nil {
		return true
	}
	for _, h := range n.rows {
		if compareHolds(h.id, id) > 0 && !f(h) {
			return false
		}
	}
	if n.kids == nil {
		return true
	}
	at := nibble(&id.Tx, depth)
	if !n.kids[at].after(id, depth+1, f) {
		return false
	}
	for _, kid := range n.kids[at+1:] {
		// Past the path of id everything is: the zero id stands for that.
		if !kid.after(entry.HoldID{}, depth+1, f) {
			return false
		}
	}
	return true
}
