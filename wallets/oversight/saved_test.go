package oversight_test

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/oversight"
	"github.com/comity-ledger/comity/zk"
)

// busy is a ledger with every kind of thing that an audit remembers, and a mismatch.
func busy(t testing.TB, seed string) *world {
	w := newWorld(t, seed)
	w.programme(aid, "Aid")
	a, b, c := w.owner(), w.owner(), w.owner()
	n, f := w.issue(a, aur, 0, 1_000_000), w.issue(a, aur, aid, 50_000)
	_, n = w.pay(n, b, 700)
	w.rotate()
	var many []zk.Note
	for i := range 40 {
		many = append(many, zk.Note{Value: zk.Amount(100 + i), Owner: c})
	}
	rest := n.Value
	for i := range many {
		rest -= many[i].Value
	}
	many = append(many, zk.Note{Value: rest, Owner: a})
	out := w.now1(move{circuit: zk.Disburse64, sender: a, asset: aur, inputs: []zk.Note{n}, outputs: many})
	w.pay(f, c, 123)
	w.programme(exr, "Exercise")
	w.rotate()
	// Three holds: open, posted, voided.
	open := w.hold(out[40], b, 500)
	posted := w.hold(open.change, b, 600)
	voided := w.hold(posted.change, b, 700)
	w.post(posted)
	w.release(voided)
	n = voided.change
	w.now1(move{circuit: zk.Transfer, sender: a, asset: aur, inputs: []zk.Note{n}, outputs: []zk.Note{{Value: n.Value, Owner: b}},
		tamper: func(l *entry.Leg) { l.Commitments[0][31] ^= 1 }}) // an output that opens to something else
	w.pay(out[0], b, 1)
	w.now1(move{circuit: zk.Transfer, sender: b, asset: aur, redeemed: 200, inputs: []zk.Note{{Value: 700, Owner: b, Asset: aur}}, slots: []uint32{1}, outputs: []zk.Note{{Value: 500, Owner: b}}})
	return w
}

// answers is everything that an audit can say.
func answers(t testing.TB, a *oversight.Audit) string {
	t.Helper()
	var all []any
	for _, by := range []oversight.By{oversight.ByProgramme, oversight.ByAsset, oversight.ByWallet, oversight.ByDay} {
		all = append(all, a.Report(by))
	}
	supply, err := a.Supply()
	all = append(all, supply, fmt.Sprint(err), a.Holds(), a.Programmes)
	owners := map[string]bool{}
	for i := range a.Legs() {
		l := &a.Legs()[i]
		e, err := a.OpenEntry(l.Entry)
		all = append(all, e, fmt.Sprint(err))
		if l.Opened == nil {
			continue
		}
		for o := range l.Opened.Outputs {
			owner := l.Opened.Outputs[o].Owner
			if l.Opened.Outputs[o].Value == 0 || owners[owner.String()] {
				continue
			}
			owners[owner.String()] = true
			trace, err := a.TraceTo(owner, nil)
			all = append(all, trace, fmt.Sprint(err))
		}
	}
	return string(must(json.Marshal(all)))
}

// upTo scans the log up to a block under a checkpoint there, going on from a state, and gives the state at the end.
func (w *world) upTo(blocks int, from []byte, secrets ...zk.Scalar) (*oversight.Audit, []byte, error) {
	c := oversight.Config{Genesis: w.genesis.Hash(), Secrets: secrets, Checkpoint: w.final(w.blocks[blocks-1]), Workers: 2}
	var saved []byte
	c.Save = func(b []byte) { saved = b }
	next := 0
	if from != nil {
		var err error
		if c.From, err = oversight.ParseSaved(from); err != nil {
			return nil, nil, err
		}
		next = int(c.From.Next())
	}
	a, err := oversight.Scan(context.Background(), stream(w.blocks[min(next, blocks):blocks]), c)
	return a, saved, err
}

// Wherever the log is cut, going on gives what one reading gives: with all keys, with a reader's alone, and with some epochs.
func TestGoingOnGivesWhatOneReadingGives(t *testing.T) {
	w := busy(t, "saved")
	for name, secrets := range map[string][]zk.Scalar{"all": w.oversight(), "a reader": {w.readers[aid]}, "one epoch": w.oversight()[:1], "none": nil} {
		whole, _, err := w.upTo(len(w.blocks), nil, secrets...)
		if err != nil {
			t.Fatal(name, err)
		}
		want := answers(t, whole)
		if name == "all" && len(whole.Mismatches) == 0 {
			t.Fatal("the ledger has no mismatch to remember")
		}
		cuts := 0
		for cut := 1; cut < len(w.blocks); cut++ {
			_, saved, err := w.upTo(cut, nil, secrets...)
			if wallets.CodeOf(err) == oversight.KeyUnknown {
				continue // the key is registered later
			}
			if err != nil || saved == nil {
				t.Fatal(name, cut, err)
			}
			cuts++
			a, again, err := w.upTo(len(w.blocks), saved, secrets...)
			if err != nil {
				t.Fatal(name, cut, err)
			}
			if got := answers(t, a); got != want {
				t.Fatalf("%s: cut at block %d:\n%s\nwhole:\n%s", name, cut, got, want)
			}
			// Once more, with nothing new: the same answers, and nothing to save.
			a, none, err := w.upTo(len(w.blocks), again, secrets...)
			if err != nil || none != nil || answers(t, a) != want {
				t.Fatal(name, cut, err, none != nil)
			}
		}
		if cuts < 8 {
			t.Errorf("%s: %d cuts", name, cuts)
		}
	}
}

// Many short readings are one reading.
func TestReadingBlockByBlock(t *testing.T) {
	w := busy(t, "block by block")
	secrets := w.oversight()
	var saved []byte
	var a *oversight.Audit
	for n := 1; n <= len(w.blocks); n++ {
		var next []byte
		var err error
		if a, next, err = w.upTo(n, saved, secrets...); wallets.CodeOf(err) == oversight.KeyUnknown && saved == nil {
			continue // until the last epoch begins
		}
		if err != nil {
			t.Fatal(n, err)
		}
		saved = next
	}
	whole, _, err := w.upTo(len(w.blocks), nil, secrets...)
	if err != nil || answers(t, a) != answers(t, whole) {
		t.Fatal("block by block differs", err)
	}
}

func TestAnotherHistoryIsRefused(t *testing.T) {
	w := busy(t, "history")
	secrets := w.oversight()[:1]
	cut := len(w.blocks) - 3
	_, saved, err := w.upTo(cut, nil, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	// The same ledger, with another history from a block on.
	fork := func(size int) *world {
		f := *w
		f.blocks = slices.Clone(w.blocks)
		b := *f.blocks[size]
		b.Entries = slices.Clone(b.Entries)
		s := must(entry.DecodeState(b.Entries[len(b.Entries)-1]))
		s.TimeMillis++
		b.Entries[len(b.Entries)-1] = entry.Encode(s)
		f.blocks[size] = &b
		f.rehash()
		return &f
	}
	for name, tc := range map[string]struct {
		w      *world
		blocks int
		code   wallets.Code
	}{
		"grown":                              {w, len(w.blocks), ""},
		"as it was":                          {w, cut, ""},
		"shorter":                            {w, cut - 1, oversight.LogRolledBack},
		"another root of the same size":      {fork(cut - 2), cut, oversight.HistoryDiffers},
		"another history, longer":            {fork(cut - 2), len(w.blocks), oversight.HistoryDiffers},
		"another history from the beginning": {fork(1), len(w.blocks), oversight.HistoryDiffers},
		"forked after what was read: no one": {fork(cut), len(w.blocks), ""}, // who was not there cannot know
	} {
		_, _, err := tc.w.upTo(tc.blocks, saved, secrets...)
		if wallets.CodeOf(err) != tc.code || (err != nil) != (tc.code != "") {
			t.Errorf("%s: %v, want %q", name, err, tc.code)
		}
	}
	// Blocks that begin elsewhere, and no checkpoint at all.
	from := must(oversight.ParseSaved(saved))
	if _, err := oversight.Scan(context.Background(), stream(w.blocks[cut+1:]), oversight.Config{Secrets: secrets, From: from, Checkpoint: w.final(w.head())}); wallets.CodeOf(err) != oversight.HistoryDiffers {
		t.Error(err)
	}
	if _, err := oversight.Scan(context.Background(), stream(w.blocks[cut:]), oversight.Config{Secrets: secrets, From: from}); wallets.CodeOf(err) != oversight.LogRolledBack {
		t.Error(err)
	}
}

func TestAStateOfSomethingElseIsRefused(t *testing.T) {
	w := busy(t, "else")
	secrets := w.oversight()
	_, saved, err := w.upTo(len(w.blocks), nil, secrets...)
	if err != nil {
		t.Fatal(err)
	}
	if from := must(oversight.ParseSaved(saved)); from.Head().Size != w.head().Size() || from.Next() != uint64(len(w.blocks)) || from.Genesis().Hash() != w.genesis.Hash() {
		t.Error("what was read", from.Head(), from.Next())
	}
	for name, try := range map[string]func() error{
		"other keys": func() error { _, _, err := w.upTo(len(w.blocks), saved, secrets[0]); return err },
		"another ledger": func() error {
			_, _, err := busy(t, "other").upTo(len(w.blocks), saved, secrets...)
			return err
		},
		"nothing": func() error { _, err := oversight.ParseSaved(nil); return err },
		"another version": func() error {
			b := slices.Clone(saved)
			b[24] = '2'
			_, err := oversight.ParseSaved(b)
			return err
		},
		"trailing bytes": func() error {
			_, _, err := w.upTo(len(w.blocks), append(slices.Clone(saved), 0), secrets...)
			return err
		},
	} {
		if err := try(); wallets.CodeOf(err) != oversight.StateInvalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Cut anywhere it is refused, and does not take the program down.
	for n := 0; n < len(saved); n += 1 + len(saved)/700 {
		if _, _, err := w.upTo(len(w.blocks), saved[:n:n], secrets...); wallets.CodeOf(err) != oversight.StateInvalid {
			t.Fatalf("cut to %d of %d bytes: %v", n, len(saved), err)
		}
	}
}

// rehash gives the blocks the roots of their entries.
func (w *world) rehash() {
	var log proof.Range
	for i, b := range w.blocks {
		c := *b
		for _, e := range c.Entries {
			log.Append(proof.LeafHash(e))
		}
		c.Root = log.Root()
		w.blocks[i] = &c
	}
}
