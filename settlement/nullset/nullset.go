// Package nullset keeps 8-byte keyed fingerprints of every nullifier of a
// ledger in memory, so that the common question, "was this note spent?", is
// answered without touching the disk.
//
// The answer "absent" is exact. The answer "present" means that the store has
// to be asked, because two nullifiers can share a fingerprint: with 50 million
// entries about one absent nullifier in 3.7e11 does. A node that settles 3,000
// transfers a second meets one such false hit every couple of years, and it
// costs one look-up.
//
// Fingerprints are SipHash-2-4 under a key drawn for each Set. Nullifiers are
// chosen by wallets, and an attacker who could predict fingerprints could aim
// nullifiers at one bucket (long probes) or at the fingerprints of others
// (look-ups on every transfer). The key never leaves the process.
//
// The package knows nothing of stores: whoever owns the nullifiers rebuilds the
// set at start and adds to it before it publishes a block.
package nullset

import (
	"encoding/binary"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"
)

const (
	// shardBits splits the set into 4,096 tables that grow one at a time. With
	// 50 million entries one table holds about 12,000: growing it moves 100 kB,
	// some 20 microseconds, which is the longest pause an Add ever takes.
	shardBits = 12
	numShards = 1 << shardBits

	// A table grows by a quarter when it is 7/8 full, so it spends its life
	// between 9.1 and 11.4 bytes per entry. Ordered probing keeps a search for
	// an absent fingerprint short even then: it stops at the first larger one.
	loadNum, loadDen = 7, 8

	// slack is the room behind the last home slot, so that probes never wrap
	// and a table stays in ascending order from its first slot to its last.
	// Where it does not suffice the tail is extended by as much again.
	slack = 24

	minSlots = 16
)

// Set is a set of fingerprints. It is safe for concurrent use: each of its
// tables has a lock of its own, and the lock is held for one probe or for the
// growth of one table.
type Set struct {
	k0, k1 uint64
	count  atomic.Int64
	shards [numShards]shard
}

// shard is one table: ascending fingerprints (their bits after the shard's) at
// or behind their home slots, 0 for an empty slot.
type shard struct {
	mu    sync.RWMutex
	slots []uint64 // guarded by mu; homes + slack long
	homes uint64   // guarded by mu; number of home slots
	used  int      // guarded by mu
}

// New returns an empty set with a key read from rand, which should be
// crypto/rand.Reader outside tests.
func New(rand io.Reader) (*Set, error) {
	var key [16]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return nil, err
	}
	return &Set{
		k0: binary.LittleEndian.Uint64(key[:8]),
		k1: binary.LittleEndian.Uint64(key[8:]),
	}, nil
}

// Add puts a nullifier into the set. It reports whether the fingerprint was
// new; false says only that this nullifier, or one that shares its
// fingerprint, was added before.
func (s *Set) Add(nullifier *[32]byte) bool {
	sh, fp := s.locate(nullifier)
	sh.mu.Lock()
	added := sh.add(fp)
	sh.mu.Unlock()
	if added {
		s.count.Add(1)
	}
	return added
}

// MayContain reports false only if the nullifier was never added. On true the
// store must be asked.
func (s *Set) MayContain(nullifier *[32]byte) bool {
	sh, fp := s.locate(nullifier)
	sh.mu.RLock()
	found := sh.contains(fp)
	sh.mu.RUnlock()
	return found
}

// Len returns the number of distinct fingerprints.
func (s *Set) Len() int64 { return s.count.Load() }

// Bytes returns the memory that the tables take, in bytes.
func (s *Set) Bytes() int64 {
	var total int64
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.RLock()
		total += int64(cap(sh.slots)) * 8
		sh.mu.RUnlock()
	}
	return total
}

// Reserve makes room for n nullifiers in advance, which spares a rebuild all
// growth. It never shrinks the set.
func (s *Set) Reserve(n int64) {
	if n <= 0 {
		return
	}
	// Shards fill unevenly (a binomial distribution): 4 % covers three standard
	// deviations from 6,000 entries per shard on, and a shard that needs more
	// grows by itself.
	per := uint64(n)/numShards + uint64(n)/numShards/25 + 8
	homes := per * loadDen / loadNum
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		if homes > sh.homes {
			sh.resize(homes)
		}
		sh.mu.Unlock()
	}
}

func (s *Set) locate(nullifier *[32]byte) (*shard, uint64) {
	h := sipHash32(s.k0, s.k1, nullifier)
	// The top bits choose the shard, the bits below them the home. Zero marks an
	// empty slot, so the one hash that would be zero shares the fingerprint 1.
	fp := max(bits.RotateLeft64(h, shardBits), 1)
	return &s.shards[h>>(64-shardBits)], fp
}

// home is where fp would sit in an empty table. It is monotonic in fp, which
// is what keeps the table sorted.
func (sh *shard) home(fp uint64) uint64 {
	hi, _ := bits.Mul64(fp, sh.homes)
	return hi
}

func (sh *shard) contains(fp uint64) bool {
	if sh.homes == 0 {
		return false
	}
	for _, v := range sh.slots[sh.home(fp):] {
		if v == 0 || v > fp {
			return false
		}
		if v == fp {
			return true
		}
	}
	return false
}

func (sh *shard) add(fp uint64) bool {
	if sh.homes == 0 {
		sh.resize(minSlots)
	}
	for {
		i := sh.home(fp)
		for i < uint64(len(sh.slots)) && sh.slots[i] != 0 && sh.slots[i] < fp {
			i++
		}
		if i < uint64(len(sh.slots)) && sh.slots[i] == fp {
			return false
		}
		end := i
		for end < uint64(len(sh.slots)) && sh.slots[end] != 0 {
			end++
		}
		if uint64(sh.used)*loadDen >= sh.homes*loadNum {
			sh.resize(sh.homes + sh.homes/4 + 8)
			continue
		}
		if end == uint64(len(sh.slots)) {
			sh.slots = append(sh.slots, make([]uint64, slack)...)
			continue
		}
		copy(sh.slots[i+1:end+1], sh.slots[i:end])
		sh.slots[i] = fp
		sh.used++
		return true
	}
}

// resize moves the entries, in order, into a table with the given number of
// home slots. One pass: each goes to its home or behind its predecessor.
func (sh *shard) resize(homes uint64) {
	next := make([]uint64, homes+slack)
	free := uint64(0)
	for _, fp := range sh.slots {
		if fp == 0 {
			continue
		}
		hi, _ := bits.Mul64(fp, homes)
		free = max(free, hi)
		if free == uint64(len(next)) {
			next = append(next, make([]uint64, slack)...)
		}
		next[free] = fp
		free++
	}
	sh.slots, sh.homes = next, homes
}
