package settlement

import "github.com/comity-ledger/comity/zk"

// window is an older root that legs may still be proven under.
type window struct {
	root zk.Root
	// until is the ledger time in milliseconds at which the root goes stale:
	// it serves strictly before (L4.7).
	until uint64
}

// serves tells whether a root may be used at a ledger time: it is the current
// one, or its window is open.
func serves(root, current zk.Root, older []window, time uint64) bool {
	if root == current {
		return true
	}
	for _, w := range older {
		if w.root == root && time < w.until {
			return true
		}
	}
	return false
}

// supersede returns the windows after a block at a ledger time put `current`
// in the place of `old`. Closed windows are dropped, so that the state stays
// small and equal on every replica.
func supersede(older []window, old, current zk.Root, time, length uint64) []window {
	var open []window
	for _, w := range older {
		if time < w.until {
			open = append(open, w)
		}
	}
	if until := add(time, length); old != current && until > time {
		open = append(open, window{old, until})
	}
	return open
}
