package nullset

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"sync"
	"testing"
	"time"
)

// seeded is a deterministic stream for keys and nullifiers.
func seeded(seed uint64) *rand.ChaCha8 {
	var s [32]byte
	binary.LittleEndian.PutUint64(s[:], seed)
	return rand.NewChaCha8(s)
}

func newSet(t testing.TB) *Set {
	t.Helper()
	s, err := New(seeded(1))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func nullifier(i uint64) *[32]byte {
	var n [32]byte
	binary.BigEndian.PutUint64(n[24:], i)
	return &n
}

func TestAddedNullifiersAreAlwaysFoundThroughGrowth(t *testing.T) {
	s := newSet(t)
	const n = 300_000
	for i := range uint64(n) {
		if !s.Add(nullifier(i)) {
			t.Fatalf("nullifier %d: reported as known before it was added", i)
		}
		if i%1009 == 0 && !s.MayContain(nullifier(i/2)) {
			t.Fatalf("nullifier %d lost after %d additions", i/2, i)
		}
	}
	for i := range uint64(n) {
		if !s.MayContain(nullifier(i)) {
			t.Fatalf("nullifier %d lost", i)
		}
		if s.Add(nullifier(i)) {
			t.Fatalf("nullifier %d added twice", i)
		}
	}
	if got := s.Len(); got != n {
		t.Fatalf("Len() = %d, want %d", got, n)
	}
}

func TestAbsentNullifiersAreNotFound(t *testing.T) {
	s := newSet(t)
	for i := range uint64(100_000) {
		s.Add(nullifier(i))
	}
	// Among 2^64 fingerprints a false hit here has probability 5e-10.
	for i := uint64(100_000); i < 200_000; i++ {
		if s.MayContain(nullifier(i)) {
			t.Fatalf("nullifier %d found but never added", i)
		}
	}
}

func TestEmptySetContainsNothing(t *testing.T) {
	s := newSet(t)
	if s.MayContain(nullifier(0)) || s.Len() != 0 || s.Bytes() != 0 {
		t.Fatal("an empty set is not empty")
	}
}

func TestTablesStaySortedAndComplete(t *testing.T) {
	// One shard driven directly, with fingerprints crowded at both ends, where
	// homes collide and the slack is used up.
	r := seeded(7)
	var sh shard
	want := map[uint64]bool{}
	for i := range 20_000 {
		fp := r.Uint64()
		switch i % 3 {
		case 1:
			fp |= 0xffffffff << 32
		case 2:
			fp = fp>>40 + 1
		}
		if sh.add(fp) == want[fp] {
			t.Fatalf("add(%x) disagrees with the model", fp)
		}
		want[fp] = true
	}
	last, used := uint64(0), 0
	for i, fp := range sh.slots {
		if fp == 0 {
			continue
		}
		used++
		if fp <= last {
			t.Fatalf("slot %d breaks the order", i)
		}
		if sh.home(fp) > uint64(i) {
			t.Fatalf("slot %d lies before its home", i)
		}
		last = fp
		if !want[fp] {
			t.Fatalf("slot %d holds a stranger", i)
		}
	}
	if used != len(want) || used != sh.used {
		t.Fatalf("table holds %d, counts %d, model %d", used, sh.used, len(want))
	}
	for fp := range want {
		if !sh.contains(fp) {
			t.Fatalf("%x lost", fp)
		}
	}
}

func TestKeysOfTwoSetsGiveDifferentFingerprints(t *testing.T) {
	a, _ := New(seeded(1))
	b, _ := New(seeded(2))
	same := 0
	for i := range uint64(1000) {
		_, fa := a.locate(nullifier(i))
		_, fb := b.locate(nullifier(i))
		if fa == fb {
			same++
		}
	}
	if same != 0 {
		t.Fatalf("%d of 1000 fingerprints do not depend on the key", same)
	}
}

func TestKeyMustBeReadInFull(t *testing.T) {
	if _, err := New(bytes.NewReader(make([]byte, 15))); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("err = %v, want unexpected EOF", err)
	}
}

func TestMemoryStaysNearElevenBytesPerNullifier(t *testing.T) {
	s := newSet(t)
	const n = 4_000_000
	var worst, sum float64
	var samples int
	for i := range uint64(n) {
		s.Add(nullifier(i))
		if i >= n/2 && i%50_000 == 0 {
			per := float64(s.Bytes()) / float64(s.Len())
			worst = max(worst, per)
			sum += per
			samples++
		}
	}
	mean := sum / float64(samples)
	t.Logf("bytes per nullifier from %d to %d: mean %.2f, worst %.2f", n/2, n, mean, worst)
	if mean > 11.5 || worst > 12.5 {
		t.Fatalf("mean %.2f, worst %.2f bytes per nullifier", mean, worst)
	}
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	if heap := float64(m.HeapAlloc) / n; heap > 14 {
		t.Fatalf("live heap is %.2f bytes per nullifier", heap)
	}
	runtime.KeepAlive(s)
}

func TestReservedSetDoesNotGrowAgain(t *testing.T) {
	s := newSet(t)
	const n = 1_000_000
	s.Reserve(n)
	before := s.Bytes()
	for i := range uint64(n) {
		s.Add(nullifier(i))
	}
	if after := s.Bytes(); float64(after) > 1.05*float64(before) {
		t.Fatalf("reserved %d bytes, ended with %d", before, after)
	}
	s.Reserve(10)
	if !s.MayContain(nullifier(5)) {
		t.Fatal("a smaller reservation lost entries")
	}
}

func TestReadersRunBesideTheWriter(t *testing.T) {
	s := newSet(t)
	const n = 50_000
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for i := range uint64(n) {
				s.MayContain(nullifier(i))
			}
		})
	}
	for i := range uint64(n) {
		s.Add(nullifier(i))
	}
	wg.Wait()
	if s.Len() != n {
		t.Fatalf("Len() = %d", s.Len())
	}
}

// referenceSip is SipHash-2-4 for any length, written from the paper's text
// and apart from sipHash32.
func referenceSip(k0, k1 uint64, in []byte) uint64 {
	v := [4]uint64{k0 ^ 0x736f6d6570736575, k1 ^ 0x646f72616e646f6d, k0 ^ 0x6c7967656e657261, k1 ^ 0x7465646279746573}
	rotl := func(x uint64, n int) uint64 { return x<<n | x>>(64-n) }
	round := func() {
		v[0] += v[1]
		v[2] += v[3]
		v[1] = rotl(v[1], 13)
		v[3] = rotl(v[3], 16)
		v[1] ^= v[0]
		v[3] ^= v[2]
		v[0] = rotl(v[0], 32)
		v[2] += v[1]
		v[0] += v[3]
		v[1] = rotl(v[1], 17)
		v[3] = rotl(v[3], 21)
		v[1] ^= v[2]
		v[3] ^= v[0]
		v[2] = rotl(v[2], 32)
	}
	padded := append([]byte{}, in...)
	for len(padded)%8 != 7 {
		padded = append(padded, 0)
	}
	padded = append(padded, byte(len(in)))
	for ; len(padded) > 0; padded = padded[8:] {
		m := binary.LittleEndian.Uint64(padded)
		v[3] ^= m
		round()
		round()
		v[0] ^= m
	}
	v[2] ^= 0xff
	for range 4 {
		round()
	}
	return v[0] ^ v[1] ^ v[2] ^ v[3]
}

func TestSipHashMatchesThePublishedVector(t *testing.T) {
	// Appendix A of the paper: key 00..0f, input 00..0e.
	var key, in [32]byte
	for i := range key {
		key[i], in[i] = byte(i), byte(i)
	}
	k0, k1 := binary.LittleEndian.Uint64(key[:]), binary.LittleEndian.Uint64(key[8:])
	if got := referenceSip(k0, k1, in[:15]); got != 0xa129ca6149be45e5 {
		t.Fatalf("reference: %x", got)
	}
	r := seeded(3)
	for range 1000 {
		r.Read(in[:])
		k0, k1 := r.Uint64(), r.Uint64()
		if got, want := sipHash32(k0, k1, &in), referenceSip(k0, k1, in[:]); got != want {
			t.Fatalf("sipHash32(%x) = %x, want %x", in, got, want)
		}
	}
}

// Question: what does one addition, and one look-up of an absent nullifier,
// cost at a million entries, and how long is the longest single addition?
// go test -bench . ./settlement/nullset
func BenchmarkAdd(b *testing.B) {
	s := newSet(b)
	var longest time.Duration
	i := uint64(0)
	for b.Loop() {
		if i%64 == 0 {
			start := time.Now()
			s.Add(nullifier(i))
			longest = max(longest, time.Since(start))
		} else {
			s.Add(nullifier(i))
		}
		i++
	}
	b.ReportMetric(float64(longest.Microseconds()), "max-us")
	b.ReportMetric(float64(s.Bytes())/float64(s.Len()), "B/nullifier")
}

func BenchmarkAbsent(b *testing.B) {
	s := newSet(b)
	for i := range uint64(1_000_000) {
		s.Add(nullifier(i))
	}
	i := uint64(1 << 40)
	for b.Loop() {
		if s.MayContain(nullifier(i)) {
			b.Fatal("found")
		}
		i++
	}
}

// BenchmarkRebuild is what a node pays at start, per nullifier, after the disk.
func BenchmarkRebuild(b *testing.B) {
	const n = 1_000_000
	for b.Loop() {
		s := newSet(b)
		s.Reserve(n)
		for i := range uint64(n) {
			s.Add(nullifier(i))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/n, "ns/nullifier")
}
