package bridge

import (
	"bytes"
	"crypto/ed25519"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// mirrorOf reads a ledger's log, and its checkpoints of some sizes.
func mirrorOf(t testing.TB, l *toyLedger, sizes ...uint64) *Mirror {
	t.Helper()
	m := NewMirror(l.Hash, l.origin, l.key.Public().(ed25519.PublicKey))
	for _, leaf := range l.leaves {
		m.Add(leaf)
	}
	for _, size := range sizes {
		if _, err := m.Take(l.checkpoint(size)); err != nil {
			t.Fatal(err)
		}
	}
	return m
}

func TestAMirrorProvesWhatTheLogProves(t *testing.T) {
	w := newWorld("aurelia", "borealis")
	l := w.ledgers[0]
	for l.size() < 70 {
		w.now++
		l.tick()
	}
	m := mirrorOf(t, l, 30, l.size())
	head, signed := m.Final()
	if m.Size() != l.size() || head.Size != l.size() || !bytes.Equal(signed, l.checkpoint(l.size())) {
		t.Fatal("final", head)
	}
	for size := uint64(1); size <= l.size(); size++ {
		root := must(proof.RootAt(size, l))
		for index := uint64(0); index < size; index += 7 {
			p, err := m.Prove(PeerLeaf{l.Hash, index, size, l.leaves[index]})
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyInclusion(proof.Head{Size: size, Root: root}, index, proof.LeafHash(p.Leaf), hashes(p.Path)); err != nil {
				t.Fatal(size, index, err)
			}
		}
	}
	for _, last := range []uint64{0, 1, 29, 63} {
		e, err := m.Observation(entry.Header{Ledger: w.ledgers[1].Hash, ExpiryMillis: 1 << 50}, signed, last)
		if err != nil {
			t.Fatal(err)
		}
		if err := e.Validate(); err != nil {
			t.Fatal(err)
		}
		if last > 0 {
			if err := proof.VerifyConsistency(proof.Head{Size: last, Root: must(proof.RootAt(last, l))}, head, hashes(e.Consistency)); err != nil {
				t.Fatal(last, err)
			}
		}
	}
	other := NewMirror(l.Hash, l.origin, signer("another").Public().(ed25519.PublicKey))
	for name, err := range map[Code]error{
		EntryGap:         second(m.Prove(PeerLeaf{l.Hash, 3, l.size() + 1, nil})),
		SignatureInvalid: second(other.Take(signed)),
		LogMismatch:      second(m.Take(l.fork(20).checkpoint(40))),
		BeforeWindow:     second(m.Observation(entry.Header{}, l.checkpoint(2), 0)), // no state entry ends there
	} {
		if CodeOf(err) != name {
			t.Errorf("%v, want %s", err, name)
		}
	}
	if CodeOf(second(m.Observation(entry.Header{}, append(l.checkpoint(9), 'x'), 0))) != SignatureInvalid {
		t.Error("a damaged checkpoint was shown")
	}
}

// Checkpoints come before the leaves and after them, in any order: the newest whose leaves are there counts.
func TestACheckpointWaitsForItsLeaves(t *testing.T) {
	w := newWorld("aurelia", "borealis")
	l := w.ledgers[0]
	for l.size() < 200 {
		w.now++
		l.tick()
	}
	m := NewMirror(l.Hash, l.origin, l.key.Public().(ed25519.PublicKey))
	for _, size := range []uint64{50, 10, 120, 60} {
		if moved, err := m.Take(l.checkpoint(size)); moved || err != nil {
			t.Fatal(moved, err)
		}
	}
	for size := uint64(121); size < 200; size++ { // more than are kept: the earliest stay, and a later one follows anyway
		if moved, err := m.Take(l.checkpoint(size)); moved || err != nil {
			t.Fatal(moved, err)
		}
	}
	var at []uint64
	for _, leaf := range l.leaves[:125] {
		m.Add(leaf)
		moved, err := m.Settle()
		if err != nil {
			t.Fatal(err)
		}
		if head, _ := m.Final(); moved {
			at = append(at, head.Size)
		}
	}
	if want := []uint64{10, 50, 60, 120, 121, 122, 123, 124, 125}; !slices.Equal(at, want) {
		t.Errorf("counted at %v, want %v", at, want)
	}
	if len(m.early) > maxEarly {
		t.Errorf("%d checkpoints wait", len(m.early))
	}
	// One that the leaves belie is told, whatever came after it.
	m = NewMirror(l.Hash, l.origin, l.key.Public().(ed25519.PublicKey))
	for _, signed := range [][]byte{l.checkpoint(40), l.fork(20).checkpoint(30)} {
		if _, err := m.Take(signed); err != nil {
			t.Fatal(err)
		}
	}
	for _, leaf := range l.leaves[:40] {
		m.Add(leaf)
	}
	if moved, err := m.Settle(); !moved || CodeOf(err) != LogMismatch {
		t.Error(moved, err)
	}
}

// A mirror of a long log keeps few hashes, proves what is new, and says so where it cannot.
func TestAMirrorForgetsOldHashes(t *testing.T) {
	const size = 3<<windowBits + 5
	w := newWorld("aurelia", "borealis")
	l := w.ledgers[0]
	m := NewMirror(l.Hash, l.origin, l.key.Public().(ed25519.PublicKey))
	var log proof.Range
	leaf := make([]byte, 8)
	for i := range uint64(size) {
		binary.BigEndian.PutUint64(leaf, i)
		m.Add(leaf)
		log.Append(proof.LeafHash(leaf))
	}
	head := proof.Head{Size: size, Root: log.Root()}
	if root, err := proof.RootAt(size, m); err != nil || root != head.Root {
		t.Fatal(err)
	}
	kept := 0
	for _, levels := range m.window {
		for _, hashes := range levels {
			kept += len(hashes)
		}
	}
	if len(m.window) != 2 || kept > 4<<windowBits {
		t.Errorf("%d hashes in %d subtrees", kept, len(m.window))
	}
	for index, want := range map[uint64]Code{size - 1: "", 2<<windowBits + 9: "", 2 << windowBits: "", 7: BeforeWindow} {
		p, err := m.Prove(PeerLeaf{Index: index, Size: size})
		if CodeOf(err) != want || want == "" && err != nil {
			t.Errorf("entry %d: %v", index, err)
		}
		binary.BigEndian.PutUint64(leaf, index)
		if err == nil && proof.VerifyInclusion(head, index, proof.LeafHash(leaf), hashes(p.Path)) != nil {
			t.Errorf("entry %d is not proven", index)
		}
	}
	if e, err := m.Fork(l.checkpoint(3)); e != nil || err != nil {
		t.Errorf("a checkpoint from before the window: %v, %v", e, err)
	}
}
