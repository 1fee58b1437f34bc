package oversight_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"iter"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

// aidStory is money from a donor through a disbursement and a transfer to a last payee.
type aidStory struct {
	*world
	treasury, agency, clinic, supplier zk.Owner
	issued, aid, last                  zk.Note
}

func newAidStory(t testing.TB) *aidStory {
	s := &aidStory{world: newWorld(t, "aid")}
	s.treasury, s.agency, s.clinic, s.supplier = s.owner(), s.owner(), s.owner(), s.owner()
	s.programme(aid, "Field hospitals")
	s.issued = s.issue(s.treasury, aur, aid, 100_000)
	s.aid, _ = s.pay(s.issued, s.agency, 60_000)
	outputs := []zk.Note{{Value: 500, Owner: s.clinic, Programme: aid}, {Value: 59_500, Owner: s.agency, Programme: aid}}
	paid := s.now1(move{circuit: zk.Disburse16, sender: s.agency, asset: aur, programme: aid, inputs: []zk.Note{s.aid}, outputs: outputs})
	s.last, _ = s.pay(paid[0], s.supplier, 120)
	return s
}

func TestTotalsEqualAnIndependentSum(t *testing.T) {
	w := newWorld(t, "totals")
	w.programme(aid, "Field hospitals")
	w.programme(exr, "Exercise")
	rng := rand.New(rand.NewPCG(1, 2))
	people := []zk.Owner{w.owner(), w.owner(), w.owner(), w.owner()}
	type key struct{ key, asset string }
	type total struct{ issued, redeemed, paid, payments, received, receipts uint64 }
	want := map[oversight.By]map[key]total{}
	book := func(by oversight.By, k, asset string, change func(*total)) {
		if want[by] == nil {
			want[by] = map[key]total{}
		}
		row := want[by][key{k, asset}]
		change(&row)
		want[by][key{k, asset}] = row
	}
	code := map[zk.AssetID]string{aur: "AUR", aux: "AUX"}
	all := func(p zk.ProgrammeID, asset zk.AssetID, who zk.Owner, change func(*total)) {
		book(oversight.ByProgramme, fmt.Sprint(uint64(p)), code[asset], change)
		book(oversight.ByAsset, code[asset], code[asset], change)
		book(oversight.ByWallet, who.String(), code[asset], change)
		book(oversight.ByDay, day(w.now+1000), code[asset], change) // settle moves the clock first
	}
	var notes []zk.Note
	payments := 0
	for range 40 {
		switch rng.IntN(6) {
		case 0, 1:
			who, asset := people[rng.IntN(4)], zk.AssetID(1+rng.IntN(2))
			p := []zk.ProgrammeID{0, aid, exr}[rng.IntN(3)]
			v := zk.Amount(1 + rng.IntN(100_000))
			all(p, asset, who, func(x *total) { x.issued += uint64(v) })
			notes = append(notes, w.issue(who, asset, p, v))
		case 2:
			if len(notes) == 0 {
				continue
			}
			n := notes[len(notes)-1]
			notes = notes[:len(notes)-1]
			all(n.Programme, n.Asset, n.Owner, func(x *total) { x.redeemed += uint64(n.Value) })
			w.now1(move{circuit: zk.Transfer, sender: n.Owner, asset: n.Asset, programme: n.Programme, inputs: []zk.Note{n}, redeemed: n.Value})
		default:
			if len(notes) == 0 {
				continue
			}
			i := rng.IntN(len(notes))
			n := notes[i]
			notes = slices.Delete(notes, i, i+1)
			circuit := []zk.CircuitID{zk.Transfer, zk.Disburse16, zk.Consolidate}[rng.IntN(3)]
			count := 1 + rng.IntN(circuit.Shape().Outputs-1)
			left := n.Value
			var outputs []zk.Note
			for range count {
				v := zk.Amount(rng.IntN(int(left) + 1))
				left -= v
				to := people[rng.IntN(4)]
				released := n.Programme
				if rng.IntN(4) == 0 {
					released = 0
				}
				outputs = append(outputs, zk.Note{Value: v, Owner: to, Programme: released})
				if v == 0 || to == n.Owner {
					continue
				}
				payments++
				all(n.Programme, n.Asset, n.Owner, func(x *total) { x.paid += uint64(v); x.payments++ })
				received := func(x *total) { x.received += uint64(v); x.receipts++ }
				all(released, n.Asset, to, received)
			}
			outputs = append(outputs, zk.Note{Value: left, Owner: n.Owner, Programme: n.Programme})
			for _, o := range w.now1(move{circuit: circuit, sender: n.Owner, asset: n.Asset, programme: n.Programme, inputs: []zk.Note{n}, outputs: outputs}) {
				if o.Value > 0 {
					notes = append(notes, o)
				}
			}
		}
		if rng.IntN(5) == 0 {
			w.now += dayMillis / 3
		}
		if rng.IntN(12) == 0 {
			w.rotate()
		}
	}
	if payments < 20 {
		t.Fatalf("only %d payments", payments)
	}
	a := w.audit(w.oversight()...)
	if len(a.Mismatches) != 0 {
		t.Fatalf("an honest log has mismatches: %v", a.Mismatches)
	}
	for by, rows := range want {
		r := a.Report(by)
		if r.Payments != payments || r.Unreadable != 0 || r.Opened != r.Legs || r.Size != w.head().Size() || r.FinalSize != r.Size || r.Root != fmt.Sprintf("%x", w.head().Root) {
			t.Fatalf("%s: %+v", by, r)
		}
		got := map[key]total{}
		for _, row := range r.Rows {
			got[key{row.Key, row.Asset}] = total{num(t, row.Issued), num(t, row.Redeemed), num(t, row.Paid), uint64(row.Payments), num(t, row.Received), uint64(row.Receipts)}
		}
		if !reflect.DeepEqual(got, rows) {
			t.Errorf("by %s:\ngot  %v\nwant %v", by, got, rows)
		}
	}
	s, err := a.Supply()
	if err != nil || len(s.Mismatches) != 0 {
		t.Fatalf("supply: %v %v", s, err)
	}
	unspent := map[string]uint64{}
	for _, n := range notes {
		unspent[code[n.Asset]] += uint64(n.Value)
	}
	for _, row := range s.Assets {
		if num(t, row.Unspent) != unspent[row.Asset] {
			t.Errorf("%s: %s unspent, want %d", row.Asset, row.Unspent, unspent[row.Asset])
		}
	}
	// The same log gives the same bytes, whatever the workers did.
	one := must(json.Marshal(a.Report(oversight.ByWallet)))
	if two := must(json.Marshal(w.audit(w.oversight()...).Report(oversight.ByWallet))); string(one) != string(two) {
		t.Error("two scans of one log give different reports")
	}
}

func TestDonorKeyOpensItsProgrammeOnly(t *testing.T) {
	s := newAidStory(t)
	s.programme(exr, "Exercise")
	s.pay(s.issue(s.treasury, aur, 0, 900), s.clinic, 100)   // no programme
	s.pay(s.issue(s.treasury, aur, exr, 800), s.clinic, 100) // another one
	a := s.audit(s.readers[aid])
	if len(a.Mismatches) != 0 {
		t.Fatalf("legs that are not the reader's are no mismatches: %v", a.Mismatches)
	}
	r := a.Report(oversight.ByProgramme)
	if r.Opened != 4 || r.Unreadable != 4 || r.Payments != 3 {
		t.Fatalf("opened %d, unreadable %d, payments %d", r.Opened, r.Unreadable, r.Payments)
	}
	for _, l := range a.Legs() {
		if l.Opened == nil {
			continue
		}
		for _, n := range l.Opened.Outputs {
			if n.Programme != aid {
				t.Errorf("a note of programme %d was opened", n.Programme)
			}
		}
	}
	trace, err := a.TraceTo(s.supplier, nil)
	if err != nil || !trace.Complete {
		t.Fatalf("the donor follows its money to the last payee: %+v, %v", trace, err)
	}
	if _, err := a.Supply(); wallets.CodeOf(err) != oversight.KeysMissing {
		t.Fatalf("supply with a reader's key: %v", err)
	}
}

func TestEpochWithoutItsKeyIsUnreadable(t *testing.T) {
	s := newAidStory(t)
	before := s.audit(s.epochs[1]).Report(oversight.ByAsset)
	s.rotate()
	s.pay(s.last, s.clinic, 20)
	for name, tc := range map[string]struct {
		secrets          []zk.Scalar
		opened, unread   int
		supplyIsPossible bool
	}{
		"first":  {[]zk.Scalar{s.epochs[1]}, before.Opened, 1, false},
		"second": {[]zk.Scalar{s.epochs[2]}, 1, before.Opened, false},
		"both":   {s.oversight(), before.Opened + 1, 0, true},
	} {
		a := s.audit(tc.secrets...)
		r := a.Report(oversight.ByAsset)
		if r.Opened != tc.opened || r.Unreadable != tc.unread || len(r.Mismatches) != 0 {
			t.Errorf("%s: opened %d, unreadable %d, %v", name, r.Opened, r.Unreadable, r.Mismatches)
		}
		if _, err := a.Supply(); (err == nil) != tc.supplyIsPossible {
			t.Errorf("%s: supply: %v", name, err)
		}
	}
}

func TestForgedCiphertextIsReported(t *testing.T) {
	other := zk.Field{31: 9}
	for name, tc := range map[string]struct {
		circuit zk.CircuitID
		tamper  func(*entry.Leg)
		want    oversight.Problem
	}{
		"value":      {zk.Transfer, func(l *entry.Leg) { l.Cipher[0][0] = other }, oversight.CipherUnreadable},
		"owner":      {zk.Transfer, func(l *entry.Leg) { l.Cipher[1][1] = other }, oversight.CommitmentDiffers},
		"commitment": {zk.Transfer, func(l *entry.Leg) { l.Commitments[0] = zk.Commitment(other) }, oversight.CommitmentDiffers},
		"swapped":    {zk.Transfer, func(l *entry.Leg) { l.Cipher[0], l.Cipher[1] = l.Cipher[1], l.Cipher[0] }, oversight.CipherUnreadable},
		"sender":     {zk.Transfer, func(l *entry.Leg) { l.Sender[1] = other }, oversight.CipherUnreadable},
		"epk":        {zk.Transfer, func(l *entry.Leg) { l.Epk[0] = other }, oversight.CipherUnreadable},
		"subtree":    {zk.Disburse16, func(l *entry.Leg) { l.SubtreeRoot = zk.Root(other) }, oversight.SubtreeDiffers},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAidStory(t)
			index := s.head().Size()
			s.now1(move{circuit: tc.circuit, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: 100, Owner: s.clinic, Programme: aid}, {Value: 20, Owner: s.supplier, Programme: aid}}, tamper: tc.tamper})
			a := s.audit(s.epochs[1])
			if len(a.Mismatches) != 1 || a.Mismatches[0].Problem != tc.want || a.Mismatches[0].Entry != index || a.Mismatches[0].Leg != 0 {
				t.Fatalf("got %v, want %s at entry %d", a.Mismatches, tc.want, index)
			}
			if r := a.Report(oversight.ByAsset); r.Opened != r.Legs-1 || len(r.Mismatches) != 1 {
				t.Fatalf("one bad leg hides others: %+v", r)
			}
			e, err := a.OpenEntry(index)
			if err != nil || e.Legs[0].Access != "mismatch" || len(e.Mismatches) != 1 {
				t.Fatalf("%+v, %v", e, err)
			}
		})
	}
}

func TestIssueThatItsReaderCannotOpenIsReported(t *testing.T) {
	s := newAidStory(t)
	s.now1(move{circuit: zk.Transfer, sender: s.treasury, asset: aur, programme: aid, issued: 5, outputs: []zk.Note{{Value: 5, Owner: s.treasury, Programme: aid}},
		tamper: func(l *entry.Leg) { l.Wrap = zk.Field{31: 1} }})
	if a := s.audit(s.readers[aid]); len(a.Mismatches) != 1 || a.Mismatches[0].Problem != oversight.CipherUnreadable {
		t.Fatalf("got %v", a.Mismatches)
	}
}

func TestSupplyCatchesWhatABrokenCircuitLetsThrough(t *testing.T) {
	for name, tc := range map[string]struct {
		attack func(*aidStory)
		want   string
	}{
		"money out of nothing": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, outputs: []zk.Note{{Value: 1, Owner: s.supplier, Programme: aid}}})
		}, "[unbalanced supply_differs]"},
		"more out than in": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: s.last.Value + 1, Owner: s.supplier, Programme: aid}}})
		}, "[unbalanced supply_differs]"},
		"wrapped sum": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: 1<<64 - 1, Owner: s.supplier, Programme: aid}, {Value: s.last.Value + 1, Owner: s.supplier, Programme: aid}}})
		}, "[unbalanced supply_differs]"},
		"money lost": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last}})
		}, "[unbalanced supply_differs]"},
		"spent twice": {func(s *aidStory) {
			for range 2 {
				s.pay(s.last, s.clinic, 20)
			}
		}, "[input_spent_twice unbalanced supply_differs]"},
		"spent twice in one leg": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last, s.last},
				outputs: []zk.Note{{Value: 2 * s.last.Value, Owner: s.supplier, Programme: aid}}})
		}, "[input_spent_twice unbalanced supply_differs]"},
		"another's note": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.clinic, asset: aur, programme: aid, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: s.last.Value, Owner: s.clinic, Programme: aid}}})
		}, "[input_foreign unbalanced]"},
		"another asset": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aux, programme: aid, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: s.last.Value, Owner: s.supplier, Programme: aid}}})
		}, "[input_foreign unbalanced supply_differs supply_differs]"},
		"another programme": {func(s *aidStory) {
			s.programme(exr, "Exercise")
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: exr, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: s.last.Value, Owner: s.supplier, Programme: exr}}})
		}, "[programme_differs]"},
		"two programmes in one leg": {func(s *aidStory) {
			s.programme(exr, "Exercise")
			other := s.issue(s.supplier, aur, exr, 30)
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last, other},
				outputs: []zk.Note{{Value: s.last.Value + 30, Owner: s.supplier, Programme: aid}}})
		}, "[programme_differs]"},
		"a place without a note": {func(s *aidStory) {
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, slots: []uint32{5000}})
		}, "[input_unknown]"},
		"a padding leaf of a disbursement": {func(s *aidStory) {
			at := s.at[s.last.Commitment()]
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, slots: []uint32{at.Index - 3}}) // 27 leaves, 16 outputs
		}, "[input_unknown]"},
		"a note of its own block": {func(s *aidStory) {
			n := s.do(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last},
				outputs: []zk.Note{{Value: s.last.Value, Owner: s.supplier, Programme: aid}}})[0]
			next := s.at[s.last.Commitment()].Index + 2
			s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, slots: []uint32{next + 1}, outputs: []zk.Note{{Value: n.Value, Owner: s.supplier, Programme: aid}}})
		}, "[input_unknown unbalanced supply_differs]"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newAidStory(t)
			if clean := must(s.audit(s.epochs[1]).Supply()); len(clean.Mismatches) != 0 {
				t.Fatalf("before the attack: %v", clean.Mismatches)
			}
			index := s.head().Size()
			tc.attack(s)
			a := s.audit(s.epochs[1])
			if len(a.Mismatches) != 0 {
				t.Fatalf("the scan alone sees %v", a.Mismatches)
			}
			got := must(a.Supply())
			if problems(got.Mismatches) != tc.want {
				t.Fatalf("got %v, want %s", got.Mismatches, tc.want)
			}
			if got.Mismatches[0].Entry < index {
				t.Fatalf("the wrong entry is named: %v", got.Mismatches[0])
			}
		})
	}
}

func TestTraceReachesTheIssueThroughADisbursement(t *testing.T) {
	s := newAidStory(t)
	a := s.audit(s.epochs[1])
	only := aid
	byOwner, err := a.TraceTo(s.supplier, &only)
	if err != nil {
		t.Fatal(err)
	}
	byCommitment, err := a.TraceCommitment(s.last.Commitment())
	if err != nil || !reflect.DeepEqual(byOwner, byCommitment) {
		t.Fatalf("%+v differs from %+v, %v", byOwner, byCommitment, err)
	}
	var kinds []string
	for i, step := range byOwner.Chain {
		if step.Depth != i {
			t.Errorf("step %d has depth %d", i, step.Depth)
		}
		kinds = append(kinds, step.Kind+" "+step.Amount)
	}
	want := "[transfer 120 transfer 500 transfer 60000 issue 100000]"
	if fmt.Sprint(kinds) != want || !byOwner.Complete || len(byOwner.Issues) != 1 {
		t.Fatalf("got %v, complete %v, issues %v", kinds, byOwner.Complete, byOwner.Issues)
	}
	other := exr
	if _, err := a.TraceTo(s.supplier, &other); wallets.CodeOf(err) != oversight.NotInLog {
		t.Errorf("another programme: %v", err)
	}
	if _, err := a.TraceCommitment(zk.Commitment{31: 3}); wallets.CodeOf(err) != oversight.NotInLog {
		t.Errorf("an unknown commitment: %v", err)
	}
}

func TestSharedAncestorsAreListedOnce(t *testing.T) {
	s := newAidStory(t)
	second, _ := s.pay(s.issue(s.treasury, aur, aid, 50), s.supplier, 50)
	merged := s.now1(move{circuit: zk.Transfer, sender: s.supplier, asset: aur, programme: aid, inputs: []zk.Note{s.last, second},
		outputs: []zk.Note{{Value: 100, Owner: s.clinic, Programme: aid}, {Value: 70, Owner: s.clinic, Programme: aid}}})
	a := s.audit(s.epochs[1])
	trace, err := a.TraceTo(s.clinic, nil)
	if err != nil || !trace.Complete || len(trace.Issues) != 2 {
		t.Fatalf("%+v, %v", trace, err)
	}
	above := 0
	for _, step := range trace.Chain {
		if step.Above {
			above++
		}
	}
	// The clinic received 500 from the disbursement and both outputs of one leg.
	if above == 0 || trace.Steps > 12 {
		t.Fatalf("%d steps, %d above", trace.Steps, above)
	}
	_ = merged
}

func TestAMoneyTrailThatLeavesTheKeysIsIncomplete(t *testing.T) {
	s := newAidStory(t)
	s.rotate()
	paid, _ := s.pay(s.last, s.clinic, 20)
	trace, err := s.audit(s.epochs[2]).TraceCommitment(paid.Commitment())
	if err != nil || trace.Complete || trace.Steps != 2 || trace.Chain[1].Readable {
		t.Fatalf("%+v, %v", trace, err)
	}
}

func TestWrongKeyIsRefused(t *testing.T) {
	s := newAidStory(t)
	for name, secrets := range map[string][]zk.Scalar{"alone": {s.scalar()}, "beside a right one": {s.epochs[1], s.scalar()}} {
		if _, err := s.scan(secrets...); wallets.CodeOf(err) != oversight.KeyUnknown {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestLogThatContradictsItselfIsRefused(t *testing.T) {
	s := newAidStory(t)
	other := newWorld(t, "other")
	run := func(blocks iter.Seq2[*wallets.Block, error], c oversight.Config) error {
		c.Secrets = []zk.Scalar{s.epochs[1]}
		_, err := oversight.Scan(context.Background(), blocks, c)
		return err
	}
	changed := func(change func([]*settlement.Block) []*settlement.Block) iter.Seq2[*wallets.Block, error] {
		copies := make([]*settlement.Block, len(s.blocks))
		for i, b := range s.blocks {
			c := *b
			c.Entries = slices.Clone(b.Entries)
			copies[i] = &c
		}
		return stream(change(copies))
	}
	final := s.final(s.head())
	broken := errors.New("torn")
	for name, tc := range map[string]struct {
		err  error
		want wallets.Code
	}{
		"another ledger":  {run(s.sequence(), oversight.Config{Genesis: other.genesis.Hash()}), wallets.OtherLedger},
		"no block":        {run(stream(nil), oversight.Config{}), wallets.LedgerLied},
		"a block missing": {run(changed(func(b []*settlement.Block) []*settlement.Block { return slices.Delete(b, 2, 3) }), oversight.Config{}), wallets.LedgerLied},
		"cut short":       {run(stream(s.blocks[:len(s.blocks)-1]), oversight.Config{Checkpoint: final}), wallets.LedgerLied},
		"an entry changed": {run(changed(func(b []*settlement.Block) []*settlement.Block {
			e := slices.Clone(b[3].Entries[0])
			e[len(e)-100] ^= 1
			b[3].Entries[0] = e
			return b
		}), oversight.Config{Checkpoint: final}), wallets.LedgerLied},
		"an entry left out": {run(changed(func(b []*settlement.Block) []*settlement.Block { b[3].Entries = b[3].Entries[1:]; return b }), oversight.Config{Checkpoint: final}), wallets.LedgerLied},
		"garbage":           {run(changed(func(b []*settlement.Block) []*settlement.Block { b[3].Entries[0] = []byte{1, 99}; return b }), oversight.Config{}), wallets.LedgerLied},
		"without its state": {run(changed(func(b []*settlement.Block) []*settlement.Block { b[3].Entries = b[3].Entries[:1]; return b }), oversight.Config{}), wallets.LedgerLied},
	} {
		if wallets.CodeOf(tc.err) != tc.want {
			t.Errorf("%s: %v, want %s", name, tc.err, tc.want)
		}
	}
	torn := func(yield func(*wallets.Block, error) bool) { yield(nil, broken) }
	if err := run(torn, oversight.Config{}); !errors.Is(err, broken) {
		t.Errorf("an unreadable log: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := oversight.Scan(ctx, s.sequence(), oversight.Config{}); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}

func TestStateEntryThatLiesIsReported(t *testing.T) {
	for name, lie := range map[string]func(*entry.State){
		"supply":     func(s *entry.State) { s.Supply[0].Issued++ },
		"note root":  func(s *entry.State) { s.NoteRoot = zk.Root{31: 1} },
		"tree size":  func(s *entry.State) { s.TreeSize++ },
		"nullifiers": func(s *entry.State) { s.Nullifiers-- },
	} {
		s := newAidStory(t)
		b := *s.head()
		b.Entries = slices.Clone(b.Entries)
		state := must(entry.DecodeState(b.Entries[len(b.Entries)-1]))
		lie(state)
		b.Entries[len(b.Entries)-1] = entry.Encode(state)
		s.blocks[len(s.blocks)-1] = &b
		a, err := oversight.Scan(context.Background(), s.sequence(), oversight.Config{Secrets: s.oversight()})
		if err != nil || problems(a.Mismatches) != "[state_differs]" {
			t.Errorf("%s: %v, %v", name, a, err)
		}
	}
}

func TestIssueWithoutThePolicysSignaturesIsReported(t *testing.T) {
	s := newAidStory(t)
	i := slices.IndexFunc(s.blocks, func(b *settlement.Block) bool { k, _ := entry.KindOf(b.Entries[0]); return k == entry.KindIssue })
	tx := must(entry.DecodeTransaction(s.blocks[i].Entries[0]))
	tx.Signatures = tx.Signatures[:1]
	b := *s.blocks[i]
	b.Entries = [][]byte{entry.Encode(tx), b.Entries[1]}
	s.blocks[i] = &b
	a, err := oversight.Scan(context.Background(), s.sequence(), oversight.Config{Secrets: s.oversight()})
	if err != nil || problems(a.Mismatches) != "[signature_invalid]" {
		t.Fatalf("%v, %v", a, err)
	}
}

func TestEntriesAfterTheCheckpointAreReportedAsNotFinal(t *testing.T) {
	s := newAidStory(t)
	cut := s.blocks[len(s.blocks)-2]
	a, err := oversight.Scan(context.Background(), s.sequence(), oversight.Config{Secrets: s.oversight(), Checkpoint: s.final(cut)})
	if err != nil {
		t.Fatal(err)
	}
	r := a.Report(oversight.ByAsset)
	if r.FinalSize != cut.Size() || r.Size != s.head().Size() || r.Payments != 3 {
		t.Fatalf("%+v", r)
	}
	if e := must(a.OpenEntry(cut.Size())); e.Final {
		t.Error("an entry after the checkpoint is called final")
	}
}

func TestOpenShowsOneEntryWhole(t *testing.T) {
	s := newAidStory(t)
	a := s.audit(s.epochs[1])
	last := a.Legs()[len(a.Legs())-1]
	e := must(a.OpenEntry(last.Entry))
	if byID := must(a.OpenID(last.ID)); !reflect.DeepEqual(e, byID) {
		t.Fatalf("by id %+v", byID)
	}
	leg := e.Legs[0]
	if leg.Access != "oversight" || leg.Sender != s.clinic.String() || len(leg.Inputs) != 1 || leg.Inputs[0].Amount != "500" || leg.Outputs[0].Amount != "120" ||
		leg.Outputs[0].Owner != s.supplier.String() || leg.Outputs[0].Change || !leg.Outputs[1].Change || leg.Outputs[1].Amount != "380" || !e.Final {
		t.Fatalf("%+v", e)
	}
	if _, err := a.OpenEntry(0); wallets.CodeOf(err) != oversight.NotInLog {
		t.Errorf("the genesis entry: %v", err)
	}
}

func num(t *testing.T, s oversight.Sum) (n uint64) {
	t.Helper()
	if _, err := fmt.Sscan(s.String(), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

func day(millis uint64) string { l := oversight.Leg{TimeMillis: millis}; return l.Day() }

// BenchmarkScan asks how many payments a second an oversight body opens, with both cores: go test -bench Scan ./wallets/oversight. Each
// iteration reads the whole log.
func BenchmarkScan(b *testing.B) {
	for _, circuit := range []zk.CircuitID{zk.Transfer, zk.Disburse64} {
		w := newWorld(b, "bench")
		from := w.owner()
		payees := circuit.Shape().Outputs
		if circuit == zk.Transfer {
			payees = 1
		}
		note := w.issue(from, aur, 0, 1<<40)
		legs := 2048 / payees
		for i := range legs {
			outputs := make([]zk.Note, payees)
			for j := range outputs {
				outputs[j] = zk.Note{Value: 1, Owner: zk.Owner{30: byte(j), 31: byte(i)}}
			}
			w.do(move{circuit: circuit, sender: from, asset: aur, inputs: []zk.Note{note}, outputs: outputs})
		}
		w.settle()
		b.Run(circuit.String(), func(b *testing.B) {
			for b.Loop() {
				a := w.audit(w.epochs[1])
				if len(a.Mismatches) != 0 {
					b.Fatal(a.Mismatches)
				}
			}
			b.ReportMetric(float64(legs*payees)*float64(b.N)/b.Elapsed().Seconds(), "payments/s")
		})
	}
}
