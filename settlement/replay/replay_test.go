package replay_test

import (
	"bytes"
	"context"
	"errors"
	"iter"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// history is a ledger with a bit of everything; block 4 holds three entries and
// begins at index 8.
func history(t testing.TB) *ledgertest.Bed {
	b := ledgertest.NewBed(5)
	own := b.Owner()
	step := func(e ...any) {
		t.Helper()
		b.Now += 100
		for _, r := range b.Submit(e...) {
			if r.Status != settlement.Accepted {
				t.Fatal(r.Refusal)
			}
		}
	}
	step(b.Register(5, own))
	step(b.OpenProgramme(7, entry.StatusOpen))
	step(b.Issue(ledgertest.AUR, 7, 1000))
	step(b.Transfer(), b.Prove(b.Tx(entry.KindTransfer, zk.Disburse64)))
	step(b.Freeze(own, true))
	step(b.Redeem(ledgertest.AUR, 7, 10))
	step(b.Transfer())
	step(b.Transfer())
	// Blocks 9 to 13: a hold is attested and posted, another is released.
	payee, payeeKey := b.Key()
	attestor, attestorKey := b.Key()
	rule := &entry.Attested{Until: b.Now + 100_000, Payee: payeeKey, Statement: entry.StatementDelivery, Threshold: 1, Attestors: []entry.SignerKey{attestorKey}}
	held := b.Prove(b.Holding(0, rule, rule))
	step(held)
	step(b.Attest(held.HoldID(0), entry.Attests, 0, attestor, entry.StatementDelivery, entry.Digest([]byte("waybill"))))
	step(b.Resolution(held.HoldID(0), entry.Posted, entry.ReasonAttested))
	step(b.Release(held.HoldID(1), payee))
	step(b.Document(entry.Anchors, entry.Digest([]byte("waybill")), [32]byte{}))
	return b
}

// bare keeps what the log holds of a block.
func bare(blocks []*settlement.Block) []*settlement.Block {
	out := make([]*settlement.Block, len(blocks))
	for i, b := range blocks {
		out[i] = &settlement.Block{Height: b.Height, FirstIndex: b.FirstIndex, Entries: append([][]byte(nil), b.Entries...)}
	}
	return out
}

func seq(blocks []*settlement.Block) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
	}
}

func TestReplayFromTheEntriesAloneGivesTheSameState(t *testing.T) {
	b := history(t)
	for name, blocks := range map[string][]*settlement.Block{"stored blocks": b.Blocks, "bare entries": bare(b.Blocks)} {
		var last uint64
		state, err := replay.All(t.Context(), seq(blocks), replay.Config{Verifier: b.Verifier, Genesis: b.Hash},
			func(height, entries uint64) { last = entries })
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if !bytes.Equal(state.Marshal(), b.State.Marshal()) || last != b.State.LogSize() {
			t.Errorf("%s: another state, or progress up to %d of %d entries", name, last, b.State.LogSize())
		}
	}
}

// change decodes an entry, changes it and encodes it again.
func change[E entry.Entry](t *testing.T, leaf []byte, f func(E)) []byte {
	t.Helper()
	e, err := entry.Decode(leaf)
	if err != nil {
		t.Fatal(err)
	}
	f(e.(E))
	return entry.Encode(e)
}

func TestTamperedLogIsNamedAtItsEntry(t *testing.T) {
	b := history(t)
	tx := func(f func(*entry.Transaction)) func(*testing.T, []*settlement.Block) {
		return func(t *testing.T, blocks []*settlement.Block) {
			blocks[4].Entries[1] = change(t, blocks[4].Entries[1], f)
		}
	}
	state := func(f func(*entry.State)) func(*testing.T, []*settlement.Block) {
		return func(t *testing.T, blocks []*settlement.Block) {
			blocks[4].Entries[2] = change(t, blocks[4].Entries[2], f)
		}
	}
	for name, c := range map[string]struct {
		tamper func(*testing.T, []*settlement.Block)
		index  uint64
		code   entry.Code // "" where the reason has no code
	}{
		"proof":           {tx(func(e *entry.Transaction) { e.Legs[0].Proof[40] ^= 1; e.Legs[0].Proof[20] ^= 1 }), 9, entry.ProofInvalid},
		"commitment":      {tx(func(e *entry.Transaction) { e.Legs[0].Commitments[3] = zk.Commitment(b.Rand.Field()) }), 9, entry.ProofInvalid},
		"expiry":          {tx(func(e *entry.Transaction) { e.ExpiryMillis = b.Blocks[4].Time }), 9, entry.Expired},
		"ledger":          {tx(func(e *entry.Transaction) { e.Ledger[0] ^= 1 }), 9, entry.WrongLedger},
		"anchor":          {tx(func(e *entry.Transaction) { e.Legs[0].Anchor = 4 }), 9, entry.AnchorUnknown},
		"time back":       {state(func(e *entry.State) { e.TimeMillis = b.Blocks[3].Time - 1 }), 10, ""},
		"note root":       {state(func(e *entry.State) { e.NoteRoot = zk.Root(b.Rand.Field()) }), 10, ""},
		"tree size":       {state(func(e *entry.State) { e.TreeSize++ }), 10, ""},
		"registry root":   {state(func(e *entry.State) { e.RegistryRoot = zk.Root(b.Rand.Field()) }), 10, ""},
		"readers' root":   {state(func(e *entry.State) { e.ReadersRoot = zk.Root(b.Rand.Field()) }), 10, ""},
		"nullifier count": {state(func(e *entry.State) { e.Nullifiers++ }), 10, ""},
		"next sequence":   {state(func(e *entry.State) { e.NextSequence++ }), 10, ""},
		"height":          {state(func(e *entry.State) { e.Height++ }), 10, ""},
		"supply":          {state(func(e *entry.State) { e.Supply[0].Issued++ }), 10, ""},
		"oversight epoch": {state(func(e *entry.State) { e.OversightEpoch++ }), 10, ""},
		"open holds":      {state(func(e *entry.State) { e.Holds++ }), 10, ""},
		"corridors":       {state(func(e *entry.State) { e.CorridorsHash[0] ^= 1 }), 10, ""},
		"policy":          {state(func(e *entry.State) { e.PolicyHash[0]++ }), 10, ""},
		"garbage":         {func(_ *testing.T, bs []*settlement.Block) { bs[4].Entries[1] = []byte{1, 3, 5} }, 9, entry.Malformed},
		"no state entry":  {func(_ *testing.T, bs []*settlement.Block) { bs[4].Entries = bs[4].Entries[:2] }, 9, entry.UnknownKind},
		"empty block":     {func(_ *testing.T, bs []*settlement.Block) { bs[4].Entries = nil }, 8, ""},
		"state entry inside": {func(_ *testing.T, bs []*settlement.Block) {
			bs[4].Entries = append([][]byte{bs[3].Entries[1]}, bs[4].Entries[1:]...)
		}, 8, entry.UnknownKind},
		"an entry left out": {func(_ *testing.T, bs []*settlement.Block) { bs[4].Entries = bs[4].Entries[1:] }, 9, ""},
		"an entry twice": {func(_ *testing.T, bs []*settlement.Block) {
			bs[4].Entries = append([][]byte{bs[4].Entries[0]}, bs[4].Entries...)
		}, 9, ""},
		"settled again":      {func(_ *testing.T, bs []*settlement.Block) { bs[8].Entries[0] = bs[7].Entries[0] }, 17, entry.NullifierSpent},
		"signature":          {func(t *testing.T, bs []*settlement.Block) { bs[5].Entries[0][len(bs[5].Entries[0])-1] ^= 1 }, 11, entry.SignatureInvalid},
		"signed entry again": {func(t *testing.T, bs []*settlement.Block) { bs[7].Entries[0] = bs[5].Entries[0] }, 15, entry.SequenceStale},
		"held twice":         {func(_ *testing.T, bs []*settlement.Block) { bs[10].Entries[0] = bs[9].Entries[0] }, 21, entry.NullifierSpent},
		"resolved again":     {func(_ *testing.T, bs []*settlement.Block) { bs[13].Entries[0] = bs[11].Entries[0] }, 27, entry.HoldResolved},
		"attested after all": {func(_ *testing.T, bs []*settlement.Block) { bs[10].Entries[0] = bs[11].Entries[0] }, 21, entry.HoldNotReady},
		"resolved by another commitment": {func(t *testing.T, bs []*settlement.Block) {
			bs[11].Entries[0] = change(t, bs[11].Entries[0], func(e *entry.Resolve) { e.Commitment = zk.Commitment(b.Rand.Field()) })
		}, 23, entry.OutcomeInvalid},
		"forged release": {func(t *testing.T, bs []*settlement.Block) {
			bs[12].Entries[0] = change(t, bs[12].Entries[0], func(e *entry.Resolve) { e.Release[0] ^= 1 })
		}, 25, entry.AttestationInvalid},
		"block left out": {func(_ *testing.T, bs []*settlement.Block) { *bs[4] = *bs[5] }, 11, ""},
	} {
		t.Run(name, func(t *testing.T) {
			blocks := bare(b.Blocks)
			for i := range blocks { // entries are changed in place
				for j := range blocks[i].Entries {
					blocks[i].Entries[j] = bytes.Clone(blocks[i].Entries[j])
				}
			}
			c.tamper(t, blocks)
			_, err := replay.All(t.Context(), seq(blocks), replay.Config{Verifier: b.Verifier}, nil)
			var broken *replay.Error
			if !errors.As(err, &broken) {
				t.Fatalf("not found: %v", err)
			}
			if broken.Index != c.index || entry.CodeOf(err) != c.code {
				t.Errorf("named at %d as %q: %v; want %d, %q", broken.Index, entry.CodeOf(err), err, c.index, c.code)
			}
		})
	}
}

func TestStoredEffectsMustFollowFromTheEntries(t *testing.T) {
	b := history(t)
	for name, tamper := range map[string]func(*settlement.Block){
		"nullifier":  func(c *settlement.Block) { c.Nullifiers = c.Nullifiers[1:] },
		"commitment": func(c *settlement.Block) { c.Commitments = append(c.Commitments[1:2:2], c.Commitments[1:]...) },
		"anchor":     func(c *settlement.Block) { c.Anchor.RegistryRoot = zk.Root(b.Rand.Field()) },
		"order": func(c *settlement.Block) { // the roots of the state entry are the same, the log is not
			c.Entries = [][]byte{c.Entries[1], c.Entries[0], c.Entries[2]}
		},
		"log root": func(c *settlement.Block) { c.Root[3] ^= 1 },
	} {
		blocks := append([]*settlement.Block(nil), b.Blocks...)
		bad := *blocks[4]
		tamper(&bad)
		blocks[4] = &bad
		var broken *replay.Error
		if _, err := replay.All(t.Context(), seq(blocks), replay.Config{Verifier: b.Verifier}, nil); !errors.As(err, &broken) || broken.Height != 4 {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestReplayOfAnotherLedgerIsRefused(t *testing.T) {
	b := history(t)
	if _, err := replay.All(t.Context(), seq(b.Blocks), replay.Config{Genesis: ledgertest.NewLedger(6).Hash}, nil); !errors.Is(err, settlement.ErrOtherLedger) {
		t.Errorf("another ledger's log: %v", err)
	}
	genesis := *b.Blocks[0]
	genesis.Entries = [][]byte{genesis.Entries[0], b.Blocks[1].Entries[1]}
	if _, err := replay.New(&genesis, replay.Config{}); err == nil {
		t.Error("a genesis block with a foreign state entry began a replay")
	}
}

func TestRefusedBlockLeavesTheReplayerWhereItWas(t *testing.T) {
	b := history(t)
	r, err := replay.New(b.Blocks[0], replay.Config{Verifier: b.Verifier})
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range b.Blocks[1:] {
		if r.Apply(b.Blocks[len(b.Blocks)-1]) == nil && block != b.Blocks[len(b.Blocks)-1] {
			t.Fatal("a block out of order was applied")
		}
		if block == b.Blocks[len(b.Blocks)-1] {
			break
		}
		bad := bare([]*settlement.Block{b.Blocks[0], block})[1]
		bad.Entries[len(bad.Entries)-1] = b.Blocks[0].Entries[1]
		if r.Apply(bad) == nil {
			t.Fatal("a block with another's state entry was applied")
		}
		if err := r.Apply(block); err != nil {
			t.Fatalf("block %d after refused ones: %v", block.Height, err)
		}
	}
	if !bytes.Equal(r.State().Marshal(), b.State.Marshal()) {
		t.Error("another state")
	}
}

// shelf is a store that only reads.
type shelf struct {
	settlement.Store
	blocks   []*settlement.Block
	height   uint64
	snapshot []byte
	served   int
}

func (s *shelf) Block(_ context.Context, height uint64) (*settlement.Block, error) {
	if height >= uint64(len(s.blocks)) {
		return nil, settlement.ErrNotFound
	}
	return s.blocks[height], nil
}

func (s *shelf) Blocks(_ context.Context, from uint64) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for _, b := range s.blocks[min(from, uint64(len(s.blocks))):] {
			s.served++
			if !yield(b, nil) {
				return
			}
		}
	}
}

func (s *shelf) Spent(_ context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	hits := make([]settlement.Hit, len(nullifiers))
	for i, nf := range nullifiers {
		for _, b := range s.blocks {
			for _, n := range b.Nullifiers {
				if n.Nullifier == nf && !hits[i].Found {
					hits[i] = settlement.Hit{Found: true, EntryIndex: n.EntryIndex, Height: b.Height}
				}
			}
		}
	}
	return hits, nil
}

func (s *shelf) Anchor(ctx context.Context, height uint64) (settlement.Anchor, error) {
	b, err := s.Block(ctx, height)
	if err != nil {
		return settlement.Anchor{}, err
	}
	return b.Anchor, nil
}

func (s *shelf) Snapshot(context.Context) (uint64, []byte, error) {
	if s.snapshot == nil {
		return 0, nil, settlement.ErrNotFound
	}
	return s.height, s.snapshot, nil
}

func TestRestoreUsesASnapshotOnlyWhenItHolds(t *testing.T) {
	b := history(t)
	middle, err := replay.All(t.Context(), seq(b.Blocks[:11]), replay.Config{Verifier: b.Verifier}, nil) // two holds are open
	if err != nil {
		t.Fatal(err)
	}
	good := middle.Marshal()
	bad := bytes.Clone(good)
	bad[60] ^= 1
	for name, c := range map[string]struct {
		height   uint64
		snapshot []byte
		served   int
	}{
		"none":          {0, nil, 13},
		"good":          {10, good, 3},
		"damaged":       {10, bad, 13},
		"wrong height":  {9, good, 13},
		"of the future": {400, good, 13},
	} {
		s := &shelf{blocks: b.Blocks, height: c.height, snapshot: c.snapshot}
		state, err := replay.Restore(t.Context(), s, nil, nil)
		if err != nil || !bytes.Equal(state.Marshal(), b.State.Marshal()) {
			t.Fatalf("%s: %v", name, err)
		}
		if s.served != c.served {
			t.Errorf("%s: replayed %d blocks, want %d", name, s.served, c.served)
		}
	}
}

func TestRestoreNamesACorruptStore(t *testing.T) {
	b := history(t)
	blocks := append([]*settlement.Block(nil), b.Blocks...)
	bad := *blocks[7]
	bad.Entries = [][]byte{blocks[4].Entries[0], bad.Entries[1]} // spends again what block 4 spent
	blocks[7] = &bad
	if _, err := replay.Restore(t.Context(), &shelf{blocks: blocks}, nil, nil); !errors.Is(err, settlement.ErrStoreCorrupt) {
		t.Errorf("a double spend in the store: %v", err)
	}
}

func TestWitnessFollowsTheLogAndSpeaksAgainstABadOne(t *testing.T) {
	b := history(t)
	w := replay.NewWitness(replay.Config{Verifier: b.Verifier, Genesis: b.Hash})
	if w.Head() != (proof.Head{Root: proof.EmptyRoot()}) || w.State() != nil {
		t.Errorf("before block 0: %+v", w.Head())
	}
	for i, block := range bare(b.Blocks) {
		if i == 4 {
			bad := *block
			bad.Entries = bad.Entries[1:]
			if err := w.Apply(&bad); !errors.Is(err, journal.ErrLogInvalid) {
				t.Errorf("a block with an entry left out: %v", err)
			}
		}
		if err := w.Apply(block); err != nil {
			t.Fatal(err)
		}
		if want := (proof.Head{Size: b.Blocks[i].Size(), Root: b.Blocks[i].Root}); w.Head() != want {
			t.Errorf("head %+v after block %d, want %+v", w.Head(), i, want)
		}
	}
	other := replay.NewWitness(replay.Config{Verifier: b.Verifier, Genesis: ledgertest.NewLedger(6).Hash})
	if err := other.Apply(b.Blocks[0]); !errors.Is(err, journal.ErrLogInvalid) {
		t.Errorf("another ledger's block 0: %v", err)
	}
}

func TestFailureOfTheIndexDoesNotSpeakAgainstTheLog(t *testing.T) {
	b := history(t)
	w := replay.NewWitness(replay.Config{Verifier: b.Verifier, Index: &failing{replay.NewMemory()}})
	var err error
	for _, block := range b.Blocks {
		if err = w.Apply(block); err != nil {
			break
		}
	}
	var broken *replay.Error
	if err == nil || errors.As(err, &broken) || errors.Is(err, journal.ErrLogInvalid) {
		t.Errorf("a failing disk was held against the log: %v", err)
	}
}

type failing struct{ *replay.Memory }

func (*failing) Anchor(height uint64) (settlement.Anchor, error) {
	return settlement.Anchor{}, errors.New("disk is gone")
}

// FuzzApply holds that no entry makes the replay of a hostile log panic, and
// that what is not the log's own entry never passes.
func FuzzApply(f *testing.F) {
	b := history(f)
	for _, block := range b.Blocks[1:] {
		for i, leaf := range block.Entries {
			f.Add(uint8(block.Height), uint8(i), leaf)
		}
	}
	state := make([]*settlement.State, len(b.Blocks))
	indexes := make([]*replay.Memory, len(b.Blocks))
	for upTo := range b.Blocks {
		indexes[upTo] = replay.NewMemory()
		for _, block := range b.Blocks[:upTo+1] {
			if err := indexes[upTo].Add(block); err != nil {
				f.Fatal(err)
			}
		}
		var err error
		if state[upTo], err = replay.All(f.Context(), seq(b.Blocks[:upTo+1]), replay.Config{Verifier: b.Verifier}, nil); err != nil {
			f.Fatal(err)
		}
	}
	f.Fuzz(func(t *testing.T, height, at uint8, leaf []byte) {
		h := 1 + int(height)%(len(b.Blocks)-1)
		block := bare(b.Blocks)[h]
		i := int(at) % len(block.Entries)
		same := bytes.Equal(block.Entries[i], leaf)
		block.Entries[i] = leaf
		err := replay.From(state[h-1], replay.Config{Verifier: b.Verifier, Index: readOnly{indexes[h-1]}}).Apply(block)
		if same != (err == nil) && !equivalent(b.Blocks[h].Entries[i], leaf) {
			t.Errorf("entry %d of block %d, the log's own: %v, answered %v", i, h, same, err)
		}
	})
}

// readOnly keeps the fuzzed blocks out of an index.
type readOnly struct{ *replay.Memory }

func (readOnly) Add(*settlement.Block) error { return nil }

// equivalent tells whether two leaves could stand for each other: they differ
// in witness data alone, which a log may hold in more than one form (a third
// signature, for one), or in the ledger time that a state entry states.
func equivalent(a, b []byte) bool {
	x, err1 := entry.Decode(a)
	y, err2 := entry.Decode(b)
	if s, ok := x.(*entry.State); ok && err2 == nil {
		if other, ok := y.(*entry.State); ok {
			other.TimeMillis = s.TimeMillis
			return bytes.Equal(a, entry.Encode(other))
		}
	}
	return err1 == nil && err2 == nil && x.Head() != nil && y.Head() != nil && entry.IDOf(x) == entry.IDOf(y)
}

func TestProofsGatheredAcrossBlocksAreAllCheckedAndNamed(t *testing.T) {
	b := history(t)
	jobs := 0
	for _, block := range b.Blocks[1:] {
		for _, leaf := range block.Entries {
			if tx, err := entry.DecodeTransaction(leaf); err == nil {
				jobs += len(tx.Legs)
			}
		}
	}
	for _, batch := range []int{1, 2, 3, jobs, 1000} {
		v := &ledgertest.StampVerifier{Key: b.Verifier.Key}
		if _, err := replay.All(t.Context(), seq(b.Blocks), replay.Config{Verifier: v, Batch: batch}, nil); err != nil || v.Count != jobs {
			t.Errorf("batches of %d: %d of %d proofs checked, %v", batch, v.Count, jobs, err)
		}
		spoil := func(blocks []*settlement.Block, at int) {
			blocks[at].Entries[0] = change(t, bytes.Clone(blocks[at].Entries[0]), func(tx *entry.Transaction) { tx.Legs[0].Proof[20] ^= 1 })
		}
		// Two bad proofs: the first is named, also when another fault follows.
		for _, also := range []bool{false, true} {
			blocks := bare(b.Blocks)
			spoil(blocks, 4)
			spoil(blocks, 7)
			if also {
				blocks[5].Entries = blocks[5].Entries[1:]
			}
			var broken *replay.Error
			_, err := replay.All(t.Context(), seq(blocks), replay.Config{Verifier: v, Batch: batch}, nil)
			if !errors.As(err, &broken) || broken.Index != 8 || entry.CodeOf(err) != entry.ProofInvalid {
				t.Errorf("batches of %d, another fault %v: %v", batch, also, err)
			}
		}
		// A fault before the bad proof comes first.
		blocks := bare(b.Blocks)
		spoil(blocks, 7)
		blocks[5].Entries = blocks[5].Entries[1:]
		var broken *replay.Error
		if _, err := replay.All(t.Context(), seq(blocks), replay.Config{Verifier: v, Batch: batch}, nil); !errors.As(err, &broken) || broken.Height != 5 {
			t.Errorf("batches of %d, an earlier fault: %v", batch, err)
		}
	}
}
