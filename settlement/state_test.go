package settlement_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"runtime"
	"slices"
	"testing"
	"weak"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

// busy is a ledger in which a bit of everything has happened.
func busy(t testing.TB) *ledgertest.Bed {
	b := ledgertest.NewBed(3)
	own := b.Owner()
	peer := ledgertest.NewBed(4)
	attestor, key := b.Key()
	_, payer := b.Key()
	attested := &entry.Attested{Until: b.Now + 5000, Payer: payer, Statement: entry.StatementDelivery, Threshold: 1, Contested: 1, WindowMillis: 1000, Attestors: []entry.SignerKey{key}}
	for _, e := range []func() any{
		func() any { return b.Register(5, own, b.Owner(), b.Owner()) },
		func() any { return b.OpenProgramme(7, entry.StatusOpen) },
		func() any { return b.Issue(ledgertest.AUR, 7, 1000) },
		func() any { return b.Prove(b.Tx(entry.KindTransfer, zk.Transfer, zk.Disburse16, zk.Disburse64)) },
		func() any { return b.Freeze(own, true) },
		func() any { return b.Redeem(ledgertest.AUR, 0, 10) },
		func() any { return b.Register(6, b.Owner()) },
		func() any { return b.OpenProgramme(9, entry.StatusClosed) },
		func() any { return b.Rotate(2) },
		func() any { return b.Transfer() },
		func() any { return b.Recognise(peer, 1000, 100) },
		func() any { return b.Observe(peer) },
		func() any {
			return b.Prove(b.Holding(100, &entry.DecidedHere{Until: b.Now + 5000, Followers: []entry.Follower{{Ledger: peer.Hash}}}, attested))
		},
		func() any {
			return b.Attest(b.State.Holds()[attestedAt(b)].ID, entry.Attests, 0, attestor, entry.StatementDelivery, entry.Digest(nil))
		},
	} {
		b.Now += 7
		if r := b.Submit(e())[0]; r.Status != settlement.Accepted {
			t.Fatal(r.Refusal)
		}
	}
	return b
}

// attestedAt finds the hold that attestors decide.
func attestedAt(b *ledgertest.Bed) int {
	return slices.IndexFunc(b.State.Holds(), func(h settlement.Hold) bool { return h.Condition.Type == entry.ConditionAttested })
}

func TestLogRootIsThatOfRFC6962(t *testing.T) {
	b := busy(t)
	var hashes []tlog.Hash
	n := int64(0)
	read := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(indexes))
		for i, x := range indexes {
			out[i] = hashes[x]
		}
		return out, nil
	})
	for _, block := range b.Blocks {
		for _, leaf := range block.Entries {
			more, err := tlog.StoredHashes(n, leaf, read)
			if err != nil {
				t.Fatal(err)
			}
			hashes, n = append(hashes, more...), n+1
		}
		root, err := tlog.TreeHash(n, read)
		if err != nil || root != tlog.Hash(block.Root) {
			t.Fatalf("block %d: root %x, want %x (%v)", block.Height, block.Root, root, err)
		}
	}
	if b.State.LogSize() != uint64(n) || b.State.LogRoot() != b.Blocks[len(b.Blocks)-1].Root {
		t.Error("the state's log is not that of its last block")
	}
}

func TestStateEntryStatesTheRootsOfItsBlock(t *testing.T) {
	b := busy(t)
	for _, block := range b.Blocks {
		e, err := entry.DecodeState(block.Entries[len(block.Entries)-1])
		if err != nil {
			t.Fatal(err)
		}
		want := settlement.Anchor{Height: e.Height, Time: e.TimeMillis, Tree: e.Tree, TreeSize: e.TreeSize, NoteRoot: e.NoteRoot,
			RegistryRoot: e.RegistryRoot, ReadersRoot: e.ReadersRoot}
		if block.Anchor != want || block.Height != e.Height || block.Time != e.TimeMillis {
			t.Errorf("block %d: anchor %+v, state entry %+v", block.Height, block.Anchor, want)
		}
	}
}

func TestSequencingIsDeterministic(t *testing.T) {
	b := busy(t)
	var candidates []*settlement.Candidate
	for range 5 {
		c, err := b.Admit(b.Transfer())
		if err != nil {
			t.Fatal(err)
		}
		candidates = append(candidates, c)
	}
	before := b.State.Marshal()
	var digests [2][32]byte
	for i := range digests {
		p, err := b.State.Sequence(candidates, b.Now, settlement.NewSettled(), nil)
		if err != nil {
			t.Fatal(err)
		}
		digests[i] = sha256.Sum256(append(bytes.Join(p.Block.Entries, nil), p.Next().Marshal()...))
	}
	if digests[0] != digests[1] {
		t.Error("equal arguments gave different bytes")
	}
	if !bytes.Equal(before, b.State.Marshal()) {
		t.Error("sequencing changed the state that it started from")
	}
}

// TestOldStatesAreReleased guards against a chain of states that keeps all of
// a node's history in memory.
func TestOldStatesAreReleased(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Submit(b.Transfer())
	old := weak.Make(b.State)
	for range 3 {
		b.Submit(b.Transfer())
	}
	b.Blocks = b.Blocks[len(b.Blocks)-1:]
	runtime.GC()
	if old.Value() != nil {
		t.Error("a state three blocks old is still held")
	}
	runtime.KeepAlive(b)
}

func TestLedgerTimeNeverGoesBack(t *testing.T) {
	b := busy(t)
	if _, err := b.State.Sequence(nil, b.State.Time()-1, settlement.NewSettled(), nil); err == nil {
		t.Error("a block before its predecessor was made")
	}
	if got := b.State.LedgerTime(5); got != b.State.Time() {
		t.Errorf("ledger time %d with a clock that fell back, the last block has %d", got, b.State.Time())
	}
}

func TestUnprovenCandidateIsNeverSequenced(t *testing.T) {
	b := ledgertest.NewBed(1)
	sub, err := b.Decode(b.Transfer())
	if err != nil {
		t.Fatal(err)
	}
	c, err := b.State.Admit(sub, b.Now, b.Anchor)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a candidate without checked proofs was sequenced")
		}
	}()
	_, _ = b.State.Sequence([]*settlement.Candidate{c}, b.Now, settlement.NewSettled(), nil)
}

func TestCandidateWithABadProofIsNeverSequenced(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx := b.Transfer()
	tx.Legs[0].Proof[33] ^= 1
	c, err := b.Admit(tx)
	if entry.CodeOf(err) != entry.ProofInvalid {
		t.Fatal(err)
	}
	defer func() {
		if recover() == nil {
			t.Error("a candidate with a bad proof was sequenced")
		}
	}()
	b.Settle(c)
}

func TestOneBadProofAmongManyIsRefusedAlone(t *testing.T) {
	b := ledgertest.NewBed(1)
	var candidates []*settlement.Candidate
	for i := range 40 {
		tx := b.Prove(b.Tx(entry.KindTransfer, zk.Transfer, zk.Transfer))
		if i == 17 {
			tx.Legs[1].Proof[50] ^= 1
			tx.Legs[1].Proof[20] ^= 1
		}
		sub, err := b.Decode(tx)
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.State.Admit(sub, b.Now, b.Anchor)
		if err != nil {
			t.Fatal(err)
		}
		candidates = append(candidates, c)
	}
	for i, err := range settlement.Prove(b.Verifier, candidates) {
		if (entry.CodeOf(err) == entry.ProofInvalid) != (i == 17) {
			t.Errorf("candidate %d: %v", i, err)
		}
	}
}

func TestIdleLedgerGoesOnWhileAnythingCanExpire(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Submit(b.Transfer())
	active := b.State.Time()
	idle := func() {
		p, err := b.State.Sequence(nil, b.Now, settlement.NewSettled(), nil)
		if err != nil || len(p.Block.Entries) != 1 || p.Accepted != 0 {
			t.Fatalf("an idle block of %d entries: %v", len(p.Block.Entries), err)
		}
		b.Settle()
	}
	if b.State.MayExpire(active, 0) {
		t.Error("time has not moved, yet a state entry is wanted")
	}
	b.Now = active + ledgertest.MaxExpiryMillis - 1
	if !b.State.MayExpire(b.Now, 0) {
		t.Error("an entry of the last active block's time may still expire")
	}
	idle()
	b.Now++
	if !b.State.MayExpire(b.Now, 0) {
		t.Error("one millisecond is still to be logged")
	}
	idle()
	b.Now += 1000
	if b.State.MayExpire(b.Now, 0) {
		t.Error("nothing can expire any more")
	}
	if !b.State.MayExpire(b.Now, b.Now+1) {
		t.Error("an entry seen since may expire")
	}
}

func TestSnapshotIsReadBackBitForBit(t *testing.T) {
	b := busy(t)
	snapshot := b.State.Marshal()
	last := b.Blocks[len(b.Blocks)-1]
	got, err := settlement.Unmarshal(b.Genesis, snapshot, last)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Marshal(), snapshot) {
		t.Error("another encoding")
	}
	// The two go on alike.
	b2 := *b
	b2.State = got
	tx := b.Transfer()
	c, err := b.Admit(tx)
	if err != nil {
		t.Fatal(err)
	}
	p1, err1 := b.State.Sequence([]*settlement.Candidate{c}, b.Now, settlement.NewSettled(), nil)
	c2, err := b2.Admit(tx)
	if err != nil {
		t.Fatal(err)
	}
	p2, err2 := got.Sequence([]*settlement.Candidate{c2}, b.Now, settlement.NewSettled(), nil)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	if err := p1.Block.Equal(p2.Block); err != nil {
		t.Error(err)
	}
	if !bytes.Equal(p1.Next().Marshal(), p2.Next().Marshal()) {
		t.Error("the state after the next block differs")
	}
}

func TestSnapshotOfAnotherBlockOrLedgerIsRefused(t *testing.T) {
	b := busy(t)
	last := b.Blocks[len(b.Blocks)-1]
	for name, try := range map[string]func() error{
		"another block": func() error { _, err := settlement.Unmarshal(b.Genesis, b.State.Marshal(), b.Blocks[2]); return err },
		"another ledger": func() error {
			_, err := settlement.Unmarshal(ledgertest.NewLedger(8).Genesis, b.State.Marshal(), last)
			return err
		},
		"truncated": func() error {
			m := b.State.Marshal()
			_, err := settlement.Unmarshal(b.Genesis, m[:len(m)-1], last)
			return err
		},
		"trailing": func() error {
			_, err := settlement.Unmarshal(b.Genesis, append(b.State.Marshal(), 0), last)
			return err
		},
		"empty": func() error { _, err := settlement.Unmarshal(b.Genesis, nil, last); return err },
	} {
		if err := try(); !errors.Is(err, settlement.ErrSnapshot) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// FuzzUnmarshal holds that no bytes make Unmarshal panic or give a state with
// another encoding.
func FuzzUnmarshal(f *testing.F) {
	b := busy(f)
	last := b.Blocks[len(b.Blocks)-1]
	f.Add(b.State.Marshal())
	f.Add([]byte{})
	f.Add(b.State.Marshal()[:200])
	f.Fuzz(func(t *testing.T, data []byte) {
		if s, err := settlement.Unmarshal(b.Genesis, data, last); err == nil && !bytes.Equal(s.Marshal(), data) {
			t.Error("read bytes that are not the state's encoding")
		}
	})
}

func TestBlocksThatDifferAreToldApart(t *testing.T) {
	b := busy(t)
	block := b.Blocks[4]
	if err := block.Equal(block); err != nil {
		t.Error(err)
	}
	for name, change := range map[string]func(*settlement.Block){
		"height":    func(c *settlement.Block) { c.Height++ },
		"time":      func(c *settlement.Block) { c.Time++ },
		"index":     func(c *settlement.Block) { c.FirstIndex++ },
		"entry":     func(c *settlement.Block) { c.Entries = append([][]byte{{1}}, c.Entries[1:]...) },
		"missing":   func(c *settlement.Block) { c.Entries = c.Entries[:1] },
		"extra":     func(c *settlement.Block) { c.Entries = append(c.Entries[:len(c.Entries):len(c.Entries)], nil) },
		"nullifier": func(c *settlement.Block) { c.Nullifiers = c.Nullifiers[1:] },
		"sequence": func(c *settlement.Block) {
			c.Sequences = append(c.Sequences[:0:0], settlement.UsedSequence{Sequence: 99})
		},
		"commitment": func(c *settlement.Block) { c.Commitments = c.Commitments[1:] },
		"anchor":     func(c *settlement.Block) { c.Anchor.TreeSize++ },
		"root":       func(c *settlement.Block) { c.Root[0]++ },
	} {
		other := *block
		change(&other)
		if block.Equal(&other) == nil {
			t.Errorf("%s: no difference found", name)
		}
	}
}

func TestPendingBlocksCountAsSettled(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx, signed := b.Transfer(), b.Register(5, b.Owner())
	var subs []*settlement.Submission
	var candidates []*settlement.Candidate
	for _, e := range []any{tx, signed} {
		c, err := b.Admit(e)
		if err != nil {
			t.Fatal(err)
		}
		subs, candidates = append(subs, c.Submission), append(candidates, c)
	}
	p, err := b.State.Sequence(candidates, b.Now, settlement.NewSettled(), nil)
	if err != nil {
		t.Fatal(err)
	}
	settled, err := settlement.LookUp(t.Context(), emptyStore{}, subs, p.Block)
	if err != nil {
		t.Fatal(err)
	}
	after, err := p.Next().Sequence(candidates, b.Now, settled, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range after.Results {
		if r.Status != settlement.SettledBefore || r.EntryIndex != p.Results[i].EntryIndex || r.Height != p.Block.Height {
			t.Errorf("candidate %d: %+v", i, r)
		}
	}
}
