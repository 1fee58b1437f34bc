package settlement

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/binary"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
)

// kinds is one more than the greatest kind of entry.
const kinds = entry.KindClose + 1

// TrialBalance is what an operator adds up at the end of a day (L11.4). It
// follows from the log up to Size, so everybody with a copy computes the same.
type TrialBalance struct {
	Ledger     entry.GenesisHash
	Height     uint64 // of the block after which it was taken
	TimeMillis uint64 // that block's ledger time
	Size       uint64 // of the log there
	Root       [32]byte
	Supply     []entry.Supply // every asset of genesis, ascending by id
	Entries    []KindCount    // kinds that the log holds, ascending
	Keys       uint64         // once-only keys used up, nullifiers among them
	Holds      []HoldCount    // open holds, ascending by condition, class and age
	Corridors  []Position     // ascending by peer
}

// KindCount counts the entries of a kind.
type KindCount struct {
	Kind  entry.Kind
	Count uint64
}

// Age is how long a hold has been open.
type Age uint8

// The ages, each below its bound.
const (
	AgeHour  Age = iota // less than an hour
	AgeDay              // less than 24 hours
	AgeWeek             // less than 7 days
	AgeMonth            // less than 30 days
	AgeOlder
)

// String names the age for people and tables.
func (a Age) String() string {
	return [...]string{"under 1 hour", "under 1 day", "under 7 days", "under 30 days", "30 days or more"}[min(a, AgeOlder)]
}

func ageOf(millis uint64) Age {
	const hour = 3600 * 1000
	for a, bound := range [...]uint64{hour, 24 * hour, 7 * 24 * hour, 30 * 24 * hour} {
		if millis < bound {
			return Age(a)
		}
	}
	return AgeOlder
}

// HoldCount counts open holds that are alike.
type HoldCount struct {
	Condition uint8  // 1 attested, 2 decided here, 3 decided there
	SizeClass uint64 // minor units; 2^64-1 for an attested hold, whose amount has no bound
	Age       Age
	Count     uint64
}

// Position is where the ledger stands with a peer: sums of size classes in
// minor units, since amounts and assets are hidden.
type Position struct {
	Peer   entry.GenesisHash
	Name   string
	Frozen bool
	Here   uint64 // open holds decided here, for which the peer's ledger pays
	There  uint64 // open holds decided on the peer's ledger
	Cap    uint64
	Claims uint64
	Size   uint64 // entries of the peer's log that were observed
}

// TrialBalance adds the state up. It looks at every open hold.
func (s *State) TrialBalance() *TrialBalance {
	b := &TrialBalance{Ledger: s.rules.hash, Height: s.height, TimeMillis: s.time, Size: s.log.Size, Root: s.log.Root(), Supply: s.Supply(), Keys: s.nulls}
	for kind, count := range s.entries {
		if count > 0 {
			b.Entries = append(b.Entries, KindCount{entry.Kind(kind), count})
		}
	}
	rows := make(map[HoldCount]uint64)
	here, there := make(map[entry.GenesisHash]uint64), make(map[entry.GenesisHash]uint64)
	s.holds.each(func(h *hold) {
		rows[HoldCount{Condition: h.coded.Type, SizeClass: h.class, Age: ageOf(s.time - h.placedAt)}]++
		side := here
		if h.coded.Type == entry.ConditionDecidedThere {
			side = there
		}
		for _, peer := range h.peers() {
			side[peer] = add(side[peer], h.class)
		}
	})
	for row, count := range rows {
		row.Count = count
		b.Holds = append(b.Holds, row)
	}
	slices.SortFunc(b.Holds, func(x, y HoldCount) int {
		return cmp.Or(cmp.Compare(x.Condition, y.Condition), cmp.Compare(x.SizeClass, y.SizeClass), cmp.Compare(x.Age, y.Age))
	})
	for _, c := range s.Corridors(s.time) {
		b.Corridors = append(b.Corridors, Position{Peer: c.Peer, Name: c.Name, Frozen: c.State == CorridorFrozen, Here: here[c.Peer], There: there[c.Peer],
			Cap: c.Cap, Claims: c.Claims, Size: c.Size})
	}
	slices.SortFunc(b.Corridors, func(x, y Position) int { return bytes.Compare(x.Peer[:], y.Peer[:]) })
	return b
}

// Marshal gives the balance's one encoding (L11.4), integers big-endian.
func (b *TrialBalance) Marshal() []byte {
	out := put64(append([]byte(nil), b.Ledger[:]...), b.Height, b.TimeMillis, b.Size)
	out = binary.BigEndian.AppendUint16(append(out, b.Root[:]...), uint16(len(b.Supply)))
	for _, row := range b.Supply {
		out = put64(binary.BigEndian.AppendUint32(out, uint32(row.Asset)), uint64(row.Issued), uint64(row.Redeemed))
	}
	out = append(out, byte(len(b.Entries)))
	for _, row := range b.Entries {
		out = put64(append(out, byte(row.Kind)), row.Count)
	}
	out = binary.BigEndian.AppendUint32(put64(out, b.Keys), uint32(len(b.Holds)))
	for _, row := range b.Holds {
		out = put64(append(put64(append(out, row.Condition), row.SizeClass), byte(row.Age)), row.Count)
	}
	out = binary.BigEndian.AppendUint32(out, uint32(len(b.Corridors)))
	for _, row := range b.Corridors {
		frozen := byte(0)
		if row.Frozen {
			frozen = 1
		}
		out = put64(append(append(out, row.Peer[:]...), frozen), row.Here, row.There, row.Cap, row.Claims, row.Size)
	}
	return out
}

// Hash is what a close entry names: SHA-256("comity/trial-balance/v1" || bytes).
func (b *TrialBalance) Hash() [32]byte {
	return sha256.Sum256(append([]byte("comity/trial-balance/v1"), b.Marshal()...))
}
