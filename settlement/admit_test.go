package settlement_test

import (
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/zk"
)

func TestLegOfASealedTreeIsProvenUnderItsLastRoot(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Submit(b.Transfer())
	last := b.State.Anchor().NoteRoot
	b.State = b.State.InLaterTree()
	b.Settle() // the block whose state entry names tree 1
	tx := b.Tx(entry.KindTransfer, zk.Transfer)
	for tree, want := range map[uint16]zk.Root{0: last, 1: b.State.Anchor().NoteRoot} {
		tx.Legs[0].Tree = tree
		sub, err := b.Decode(tx)
		if err != nil {
			t.Fatal(err)
		}
		c, err := b.State.Admit(sub, b.Now, b.Anchor)
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Jobs[0].Public; got.NoteRoot != want || got.Tree != tree {
			t.Errorf("tree %d is proven under %s, want %s", tree, got.NoteRoot, want)
		}
	}
	tx.Legs[0].Tree = 2
	if _, err := b.Admit(tx); entry.CodeOf(err) != entry.AnchorUnknown {
		t.Errorf("a tree that was never begun: %v", err)
	}
}

func TestAnchorBeyondTheStateIsRefusedWhateverTheStoreSays(t *testing.T) {
	b := ledgertest.NewBed(1)
	old := b.State
	b.Submit(b.Transfer())
	sub, err := b.Decode(b.Transfer()) // proven under block 1
	if err != nil {
		t.Fatal(err)
	}
	if _, err := old.Admit(sub, b.Now, b.Anchor); entry.CodeOf(err) != entry.AnchorUnknown {
		t.Errorf("a state at block 0 admitted an anchor of block 1: %v", err)
	}
}

func TestWhatIsShownIsJudgedBeforeTheProof(t *testing.T) {
	b := ledgertest.NewBed(1)
	for code, tx := range map[entry.Code]*ledgertest.Tx{
		entry.UnknownAsset: b.Issue(99, 0, 5), entry.UnknownProgramme: b.Issue(ledgertest.AUR, 7, 5),
	} {
		sub, err := b.Decode(tx)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := b.State.Admit(sub, b.Now, b.Anchor); entry.CodeOf(err) != code {
			t.Errorf("admitted or refused by another name: %v, want %s", err, code)
		}
	}
}

func TestReleaseIsAnOrdinaryChange(t *testing.T) {
	b := ledgertest.NewBed(1)
	own := b.Owner()
	b.Submit(b.Register(5, own))
	b.Submit(b.Freeze(own, true))
	frozen := b.State.Height()
	r := b.Submit(b.Freeze(own, false), b.Transfer())
	wantAccepted(t, r...)                            // a release stops nothing in its block
	wantAccepted(t, b.Submit(proveAt(b, frozen))...) // and leaves the window of the root before it open
	b.Now += ledgertest.WindowMillis                 // which then closes
	wantCode(t, b.Submit(proveAt(b, frozen))[0], entry.RegistryRootStale)
}

func TestStateDoesNotGrowWithTime(t *testing.T) {
	b := ledgertest.NewBed(1)
	b.Submit(b.Register(5, b.Owner()))
	opened := len(b.State.Marshal())
	b.Submit(b.Transfer())
	b.Now += ledgertest.WindowMillis - 1
	b.Settle()
	grown := len(b.State.Marshal())
	b.Now++
	b.Settle() // the window ends at this very millisecond
	const windowBytes, nodeBytes = 40, 32
	if got, limit := len(b.State.Marshal()), grown-windowBytes+2*nodeBytes; got > limit || opened == 0 {
		t.Errorf("the state has %d bytes, want at most %d when its window has closed", got, limit)
	}
	var sizes []int
	for range 64 {
		b.Now += 10
		b.Settle()
		sizes = append(sizes, len(b.State.Marshal()))
	}
	for _, n := range sizes {
		if n > sizes[0]+8*nodeBytes {
			t.Fatalf("idle blocks grow the state: %v", sizes)
		}
	}
}

func TestBlockHoldsSegmentsAndEffectsInOrder(t *testing.T) {
	b := ledgertest.NewBed(1)
	one := b.Prove(b.Tx(entry.KindTransfer, zk.Transfer, zk.Disburse16))
	two := b.Prove(b.Tx(entry.KindTransfer, zk.Consolidate))
	wantAccepted(t, b.Submit(one, b.Register(5, b.Owner()), two)...)
	block := b.Blocks[1]
	var segments [][]byte
	var spent []settlement.SpentNullifier
	var placed []settlement.PlacedCommitment
	for _, x := range []struct {
		index uint64
		tx    *ledgertest.Tx
	}{{2, one}, {4, two}} {
		segments = append(segments, x.tx.Segments...)
		for _, leg := range x.tx.Legs {
			for _, nf := range leg.Nullifiers {
				spent = append(spent, settlement.SpentNullifier{Nullifier: nf, EntryIndex: x.index})
			}
			for _, cm := range leg.Commitments {
				placed = append(placed, settlement.PlacedCommitment{Commitment: cm, EntryIndex: x.index})
			}
		}
	}
	if len(block.Segments) != len(segments) {
		t.Fatalf("%d segments, want %d", len(block.Segments), len(segments))
	}
	for i := range segments {
		if &block.Segments[i][0] != &segments[i][0] {
			t.Errorf("segment %d is not in its place", i)
		}
	}
	for i := range spent {
		if block.Nullifiers[i] != spent[i] {
			t.Errorf("nullifier %d is %+v", i, block.Nullifiers[i])
		}
	}
	for i := range placed {
		if got := block.Commitments[i]; got.Commitment != placed[i].Commitment || got.EntryIndex != placed[i].EntryIndex {
			t.Errorf("commitment %d is %+v", i, got)
		}
	}
	if n := b.State.Entry().Nullifiers; n != uint64(len(spent)) || len(block.Nullifiers) != len(spent) || len(block.Commitments) != len(placed) {
		t.Errorf("%d nullifiers counted, %d listed, %d expected", n, len(block.Nullifiers), len(spent))
	}
	if len(block.Sequences) != 1 || block.Sequences[0] != (settlement.UsedSequence{Sequence: 1, EntryIndex: 3}) {
		t.Errorf("sequences %+v", block.Sequences)
	}
}

func TestPathsLeadToTheRootsInForce(t *testing.T) {
	b := ledgertest.NewBed(1)
	owners := []zk.Owner{b.Owner(), b.Owner(), b.Owner(), b.Owner()}
	b.Submit(b.Register(5, owners...))
	b.Submit(b.OpenProgramme(7, entry.StatusOpen))
	b.Submit(b.OpenProgramme(8, entry.StatusClosed))
	for i, own := range owners {
		row, known := b.State.Registered(own)
		path, err := b.State.RegistryPath(row.Index)
		if err != nil || !known || row.Index != uint32(i) || zk.RootFromElement(path.Root(row.Leaf.Hash())) != b.State.Anchor().RegistryRoot {
			t.Errorf("owner %d at %d: %v", i, row.Index, err)
		}
	}
	if _, known := b.State.Registered(b.Owner()); known {
		t.Error("a stranger is registered")
	}
	for i, p := range b.State.Programmes() {
		path, err := b.State.ReaderPath(uint32(i))
		if err != nil || p.ID != zk.ProgrammeID(7+i) || zk.RootFromElement(path.Root(zk.ReaderLeaf(p.ID, p.Reader))) != b.State.Anchor().ReadersRoot {
			t.Errorf("programme %d at %d: %v", p.ID, i, err)
		}
	}
}

func TestTheLogAloneAnswersRepeatsAndSpentNotes(t *testing.T) {
	b := ledgertest.NewBed(1)
	tx, signed := b.Transfer(), b.Register(5, b.Owner())
	rival := b.Tx(entry.KindTransfer, zk.Transfer)
	rival.Legs[0].Nullifiers[0] = tx.Legs[0].Nullifiers[1]
	used := b.Register(6, b.Owner()) // the same number
	first := b.Submit(tx, signed)
	for name, c := range map[string]struct {
		what  any
		known bool
		at    uint64
		code  entry.Code
	}{
		"repeat": {tx, true, first[0].EntryIndex, ""}, "signed repeat": {signed, true, first[1].EntryIndex, ""},
		"spent note": {b.Prove(rival), true, 0, entry.NullifierSpent}, "used number": {used, true, 0, entry.SequenceStale},
		"new": {b.Transfer(), false, 0, ""},
	} {
		sub, err := b.Decode(c.what)
		if err != nil {
			t.Fatal(err)
		}
		r, known := settlement.Known(sub, b.Settled())
		if known != c.known || r.EntryIndex != c.at || entry.CodeOf(r.Refusal) != c.code {
			t.Errorf("%s: %+v, %v", name, r, known)
		}
	}
}
