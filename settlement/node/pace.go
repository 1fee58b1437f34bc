package node

import (
	"sync/atomic"
	"time"
)

// Batches adapt to load. Under full load whatever waits is taken at once, and since much waits, batches are large and cost little for each
// entry. On an idle ledger an entry is taken at once as well. In between, a stage that took one entry as soon as it was free would pay the
// fixed cost of a batch and of a block (a sync of the disk, a round of witnesses, followers) for each: there entries gather for a short time.

// spacing is how many times as long as the slowest stage took of late lies between the beginnings of two batches: at part load each stage works
// a quarter of the time at most, and what is left is for others on the machine.
const spacing = 4

// enough is how many proofs gain little from waiting for more: from 128 on, three times as many cost a sixth less each.
const enough = 128

// pace says when the next batch begins. It is a rule of values alone.
type pace struct {
	most    time.Duration // between two beginnings
	spacing time.Duration // as a multiple of what the slowest stage took
	enough  int           // with so many entries at hand nothing is waited for
}

// proofPace is that of batches of proofs.
func proofPace(l Limits) pace {
	return pace{most: l.Gather, spacing: spacing, enough: min(enough, l.Batch)}
}

// blockPace is that of blocks, for entries that no batch of proofs has held up: half as strict, so that the two do not add up.
func blockPace(l Limits) pace { return pace{most: l.Gather / 2, spacing: spacing / 2, enough: enough} }

// wait gives how long a batch should still gather: 0 or less when it begins now. begun is when the one before began, slowest what the slowest
// stage took for one batch or block of late, waiting how many entries are at hand.
func (p pace) wait(now, begun time.Time, slowest time.Duration, waiting int) time.Duration {
	if waiting >= p.enough {
		return 0
	}
	return min(p.most, p.spacing*slowest) - now.Sub(begun)
}

// early gives how long after the beginning of a write the next block is proposed on top of it: so late that it is ready when the write ends, for
// what comes until then is in it. Both are what the last ones took.
func early(write, sequence time.Duration) time.Duration { return max(0, write-sequence) }

// latest is what each stage took last, in nanoseconds.
type latest struct{ proving, sequencing, storing, cosigning atomic.Int64 }

// slowest is what the slowest stage took last. Sequencing overlaps with storing the block before.
func (l *latest) slowest() time.Duration {
	return time.Duration(max(l.proving.Load(), l.sequencing.Load(), l.storing.Load(), l.cosigning.Load()))
}
