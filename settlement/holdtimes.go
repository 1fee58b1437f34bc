package settlement

// holdTimes counts the open holds by their expiry: a trie over the nibbles of
// the ledger time, whose versions share what they have in common as those of
// holdSet do. A least expiry in each node of that set would not do: holds that
// are expired and that nobody voided yet lie everywhere between the others, and
// the next expiry past them would be sought through all of them. The zero value
// is empty.
type holdTimes struct{ root *timeNode }

// timeBucket is how many times a leaf takes before it splits. 16 nibbles tell
// any two times apart.
const timeBucket = 8

// timeNode is a node of the trie: a leaf with rows, or an inner one with kids.
type timeNode struct {
	rows []heldUntil // ascending by time
	kids *[16]*timeNode
}

// heldUntil is how many holds expire at a ledger time in milliseconds.
type heldUntil struct {
	until uint64
	holds int
}

func timeNibble(t uint64, depth int) byte { return byte(t>>(60-4*depth)) & 15 }

// add gives the times with so many holds more, or fewer, that expire at until.
// 0 is no time: such a hold never expires by itself.
func (t holdTimes) add(until uint64, holds int) holdTimes {
	if until == 0 {
		return t
	}
	return holdTimes{t.root.add(heldUntil{until, holds}, 0)}
}

// after is the earliest time past t, 0 without one. It costs the same however
// many times there are, and however many of them are past.
func (t holdTimes) after(past uint64) uint64 { return t.root.after(past, 0) }

func (n *timeNode) add(row heldUntil, depth int) *timeNode {
	switch {
	case n == nil:
		return timeLeaf([]heldUntil{row})
	case n.kids != nil:
		kids := *n.kids
		at := timeNibble(row.until, depth)
		kids[at] = kids[at].add(row, depth+1)
		for _, kid := range kids {
			if kid != nil {
				return &timeNode{kids: &kids}
			}
		}
		return nil
	}
	rows := make([]heldUntil, 0, len(n.rows)+1)
	at := 0
	for at < len(n.rows) && n.rows[at].until < row.until {
		at++
	}
	rows = append(rows, n.rows[:at]...)
	if at < len(n.rows) && n.rows[at].until == row.until {
		row.holds += n.rows[at].holds
		at++
	}
	if row.holds != 0 {
		rows = append(rows, row)
	}
	rows = append(rows, n.rows[at:]...)
	if len(rows) <= timeBucket {
		return timeLeaf(rows)
	}
	var kids [16]*timeNode
	for _, row := range rows {
		at := timeNibble(row.until, depth)
		kids[at] = kids[at].add(row, depth+1)
	}
	return &timeNode{kids: &kids}
}

func timeLeaf(rows []heldUntil) *timeNode {
	if len(rows) == 0 {
		return nil
	}
	return &timeNode{rows: rows}
}

// after searches below n, which is at depth on the path of t.
func (n *timeNode) after(t uint64, depth int) uint64 {
	if n == nil {
		return 0
	}
	for _, row := range n.rows {
		if row.until > t {
			return row.until
		}
	}
	if n.kids == nil {
		return 0
	}
	at := timeNibble(t, depth)
	if next := n.kids[at].after(t, depth+1); next != 0 {
		return next
	}
	for _, kid := range n.kids[at+1:] {
		// Past the path of t everything is: 0, which no row has, stands for that.
		if next := kid.after(0, depth+1); next != 0 {
			return next
		}
	}
	return 0
}
