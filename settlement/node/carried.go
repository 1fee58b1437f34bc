package node

import "time"

// adopted books that a node that follows found more to be final: what is not waits since now, as far as this node knows.
func (t *measures) adopted(all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.oldest = time.Now()
	if all {
		t.oldest = time.Time{}
	}
}

// carry takes over what the node of this member's former role has counted. The block that was fenced is the last thing that a node does in
// its role, so nobody would ever see it otherwise.
func (t *measures) carry(from *measures) {
	from.mu.Lock()
	defer from.mu.Unlock()
	t.mu.Lock()
	defer t.mu.Unlock()
	for f, n := range from.entries {
		t.entries[f] += n
	}
	for outcome, n := range from.appends {
		t.appends[outcome] += n
	}
	for quorum, n := range from.rounds {
		t.rounds[quorum] += n
	}
}
