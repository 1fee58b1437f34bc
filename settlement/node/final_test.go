package node

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// by names the witnesses behind a checkpoint.
func (r *rig) by(t testing.TB, checkpoint []byte) (names []string) {
	t.Helper()
	f, err := r.policy.Check(checkpoint, r.clock.Load()/1000)
	must(t, err)
	for _, s := range f.Cosignatures {
		names = append(names, s.Witness)
	}
	slices.Sort(names)
	return names
}

func TestPublishedAndSavedCheckpointGainSlowerWitnesses(t *testing.T) {
	r := newRigWith(t, 2, 3)
	const slow = "w3.example"
	withSlow := func(by []string) bool { return slices.Contains(by, slow) }
	r.others[1].down.Store(true)
	n := r.start(t, r.disk)
	res, err := send(n, r.transfer())
	must(t, err)
	size, raw, err := n.WaitCheckpoint(t.Context(), res.EntryIndex+1, nil)
	if err != nil || size != 4 || len(r.by(t, raw)) != 2 {
		t.Fatalf("%d leaves, %v", size, err)
	}
	n.saved(t, size)
	brief, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
	defer cancel()
	if _, _, err := n.WaitCheckpoint(brief, 1, withSlow); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("a witness that is down: %v", err)
	}
	r.others[1].down.Store(false)
	size, raw, err = n.WaitCheckpoint(t.Context(), res.EntryIndex+1, withSlow)
	if err != nil || size != 4 || !slices.Contains(r.by(t, raw), slow) {
		t.Fatalf("%d leaves, %v", size, err)
	}
	for len(r.by(t, n.saved(t, size))) != 3 { // the same size, with one cosignature more
		time.Sleep(5 * time.Millisecond)
	}
	must(t, n.stop(t))
	// A start with that witness away still has what it cosigned.
	r.others[1].down.Store(true)
	n = r.start(t, r.disk)
	if size, raw, err := n.WaitCheckpoint(t.Context(), 4, withSlow); err != nil || size != 4 || len(r.by(t, raw)) != 3 {
		t.Fatalf("after a restart: %d leaves, %v", size, err)
	}
	must(t, n.stop(t))
}

func TestWaitForCheckpointEndsWithTheNode(t *testing.T) {
	r := newRig(t)
	n := r.start(t, r.disk)
	answer := make(chan error, 1)
	go func() {
		_, _, err := n.WaitCheckpoint(context.Background(), 100, nil)
		answer <- err
	}()
	time.Sleep(10 * time.Millisecond)
	must(t, n.stop(t))
	if err := <-answer; !errors.Is(err, ErrStopped) {
		t.Fatal(err)
	}
}

func TestProofsHoldForEverySizeUpToTheDurableHead(t *testing.T) {
	r := newRig(t)
	r.witness.down.Store(true) // none of these sizes is ever cosigned
	r.limits.StartWait = time.Millisecond
	n := r.start(t, r.disk)
	for range 150 {
		_, err := send(n, r.transfer())
		must(t, err)
	}
	size := n.Status().Size
	if size < 257 {
		t.Fatalf("%d leaves do not fill a tile", size)
	}
	head := func(size uint64) proof.Head {
		root, err := proof.RootAt(size, journal.HashReader(t.Context(), n.store))
		must(t, err)
		return proof.Head{Size: size, Root: root}
	}
	named := func(path [][32]byte) (out []proof.Hash) {
		for _, h := range path {
			out = append(out, h)
		}
		return out
	}
	last := head(size)
	for at := uint64(1); at <= size; at++ {
		then := head(at)
		index := 7919 % at
		path, err := n.Inclusion(t.Context(), index, at)
		must(t, err)
		leaf, _, err := n.Entry(t.Context(), index)
		must(t, err)
		must(t, proof.VerifyInclusion(then, index, proof.LeafHash(leaf), named(path)))
		path, err = n.Consistency(t.Context(), at, size)
		must(t, err)
		must(t, proof.VerifyConsistency(then, last, named(path)))
	}
	if _, err := n.Inclusion(t.Context(), 0, size+1); !errors.Is(err, settlement.ErrNotFound) {
		t.Fatalf("inclusion past the head: %v", err)
	}
	if _, err := n.Consistency(t.Context(), 1, size+1); !errors.Is(err, settlement.ErrNotFound) {
		t.Fatalf("consistency past the head: %v", err)
	}
	must(t, n.stop(t))
}
