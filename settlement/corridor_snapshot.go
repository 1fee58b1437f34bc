package settlement

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// append appends the one encoding of the corridors (L9.9), for snapshots and
// for the hash in state entries. All integers are big-endian.
func (c *corridors) append(dst []byte) []byte {
	dst = append(dst, uint8(len(c.rows)))
	for _, row := range c.rows {
		dst = row.terms.Append(append(dst, row.peer[:]...))
		dst = put64(dst, row.version)
		dst = append(dst, uint8(len(row.keys)))
		for _, key := range row.keys {
			dst = append(dst, key[:]...)
		}
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(row.seen)))
		for _, head := range row.seen {
			dst = append(put64(dst, head.Size), head.Root[:]...)
		}
		dst = put64(dst, row.peerTime, row.observedAt, row.inFlight)
		dst = append(dst, byte(row.frozen))
		dst = binary.BigEndian.AppendUint32(dst, uint32(len(row.overridden)))
		for _, o := range row.overridden {
			dst = appendHold(appendHold(dst, o.hold), o.decider)
			dst = put64(append(dst, byte(o.outcome)), o.class)
			late := byte(0)
			if o.late {
				late = 1
			}
			dst = append(dst, late)
		}
	}
	return dst
}

func appendHold(dst []byte, h entry.HoldID) []byte { return append(append(dst, h.Tx[:]...), h.Leg) }

const overriddenSize = 33 + 33 + 1 + 8 + 1

// hash is the corridors' hash of state entries: SHA-256("comity/corridors/v1"
// || encoding). It is computed once per change, so that blocks without bridge
// traffic pay nothing.
func (c *corridors) hash() [32]byte {
	if h := c.cached.Load(); h != nil {
		return *h
	}
	h := sha256.Sum256(c.append([]byte("comity/corridors/v1")))
	c.cached.Store(&h)
	return h
}

// readCorridors reads what append wrote, and only that.
func readCorridors(r *snapshotReader) *corridors {
	c := newCorridors()
	n := int(r.bytes1())
	if r.err == nil && n > maxCorridors {
		r.err = fmt.Errorf("%d corridors", n)
	}
	for i := 0; i < n && r.err == nil; i++ {
		row := readCorridor(r)
		if r.err == nil && i > 0 && bytes.Compare(c.rows[i-1].peer[:], row.peer[:]) >= 0 {
			r.err = errors.New("corridors are not ascending by peer")
		}
		c.rows = append(c.rows, row)
	}
	if r.err != nil {
		return newCorridors()
	}
	return c
}

func readCorridor(r *snapshotReader) *corridor {
	row := &corridor{peer: r.hash()}
	if r.err == nil {
		row.terms, r.rest, r.err = entry.ParseCorridorTerms(r.rest)
	}
	row.version = r.u64()
	for range r.bytes1() {
		row.keys = append(row.keys, r.hash())
	}
	for range r.count(maxSeen, 40) {
		row.seen = append(row.seen, proof.Head{Size: r.u64(), Root: r.hash()})
	}
	row.peerTime, row.observedAt, row.inFlight = r.u64(), r.u64(), r.u64()
	row.frozen = freeze(r.bytes1())
	for range r.count(math.MaxInt32/overriddenSize, overriddenSize) {
		row.overridden = append(row.overridden, overridden{
			hold: r.holdID(), decider: r.holdID(), outcome: entry.Outcome(r.bytes1()), class: r.u64(), late: r.flag()})
	}
	if r.err == nil {
		r.err = row.validate()
	}
	return row
}

func (r *snapshotReader) holdID() entry.HoldID {
	h := entry.HoldID{Tx: r.hash(), Leg: r.bytes1()}
	if r.err == nil && h.Leg >= entry.MaxLegs {
		r.err = fmt.Errorf("leg %d of a hold", h.Leg)
	}
	return h
}

func (r *snapshotReader) flag() bool {
	b := r.bytes1()
	if r.err == nil && b > 1 {
		r.err = fmt.Errorf("flag %d", b)
	}
	return b == 1
}

// validate refuses a row that no history of entries leads to.
func (row *corridor) validate() error {
	if row.version == 0 || len(row.keys) < 1 || len(row.keys) > maxChain || row.frozen > frozenByDecisions {
		return fmt.Errorf("corridor %s: version %d, %d log keys, frozen %d", row.peer, row.version, len(row.keys), row.frozen)
	}
	known := make(map[entry.SignerKey]bool, len(row.keys))
	for _, key := range row.keys {
		if known[key] {
			return fmt.Errorf("corridor %s: log key %s twice", row.peer, key)
		}
		known[key] = true
	}
	if !known[row.terms.LogKey] {
		return fmt.Errorf("corridor %s: the log key of its terms is not in its chain", row.peer)
	}
	for i, head := range row.seen {
		if head.Size == 0 || head.Size > math.MaxInt64 || i > 0 && head.Size <= row.seen[i-1].Size {
			return fmt.Errorf("corridor %s: observed sizes are not ascending", row.peer)
		}
	}
	if len(row.seen) == 0 && (row.peerTime != 0 || row.observedAt != 0) {
		return fmt.Errorf("corridor %s: times without an observation", row.peer)
	}
	overrode := make(map[entry.HoldID]bool, len(row.overridden))
	for _, o := range row.overridden {
		if o.outcome != entry.Posted && o.outcome != entry.Voided || o.decider == o.hold || o.decider == (entry.HoldID{}) {
			return fmt.Errorf("corridor %s: overridden hold %s", row.peer, o.hold)
		}
		if overrode[o.hold] {
			return fmt.Errorf("corridor %s: hold %s was overridden twice", row.peer, o.hold)
		}
		overrode[o.hold] = true
	}
	return nil
}
