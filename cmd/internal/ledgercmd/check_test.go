package ledgercmd

import (
	"bytes"
	"errors"
	"iter"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/cmd/internal/cli"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/logdir"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
)

// log makes a log with a block for each entry, as a ledger would whose node checks no proof.
func (l *loaded) log(t testing.TB) []*settlement.Block {
	t.Helper()
	state, block, err := settlement.Begin(l.genesis)
	blocks := []*settlement.Block{block}
	for _, item := range append(l.set.Prefix, l.set.Items...) {
		var sub *settlement.Submission
		if err == nil {
			sub, err = settlement.Decode(item.Entry, item.Segments)
		}
		var candidate *settlement.Candidate
		if err == nil {
			candidate, err = state.Admit(sub, state.Time(), func(h uint64) (settlement.Anchor, bool) { return blocks[h].Anchor, true })
		}
		if err != nil {
			t.Fatal(err)
		}
		settlement.Prove(replay.Trusting{}, []*settlement.Candidate{candidate})
		next, err := state.Sequence([]*settlement.Candidate{candidate}, state.Time(), settlement.NewSettled(), nil)
		if err != nil || next.Results[0].Refusal != nil {
			t.Fatal(err, next)
		}
		state, blocks = next.Next(), append(blocks, next.Block)
	}
	return blocks
}

// calls counts how often a verifier is asked.
type calls struct {
	settlement.Verifier
	n int
}

func (c *calls) VerifyBatch(jobs []settlement.Job) []error {
	c.n++
	return c.Verifier.VerifyBatch(jobs)
}

func sequence(blocks []*settlement.Block, then error) iter.Seq2[*settlement.Block, error] {
	return func(yield func(*settlement.Block, error) bool) {
		for _, b := range blocks {
			if !yield(b, nil) {
				return
			}
		}
		if then != nil {
			yield(nil, then)
		}
	}
}

// TestVerifyChecksManyBlocksTogether: and still names the first entry that does not hold, whatever else is wrong after it.
func TestVerifyChecksManyBlocksTogether(t *testing.T) {
	l := newLoaded(t, 40)
	good := l.log(t)
	verifier, err := circuits.Verifier(l.genesis, 0)
	if err != nil {
		t.Fatal(err)
	}
	at := func(b *settlement.Block) *proof.Final {
		return &proof.Final{Checkpoint: proof.Checkpoint{Head: proof.Head{Size: b.Size(), Root: b.Root}}}
	}
	counted := &calls{Verifier: verifier}
	var steps []int
	v, state, err := verifyLog(t.Context(), l.genesis, at(good[30]), sequence(good, nil), true, counted, func(done, _ int) { steps = append(steps, done) })
	if err != nil || v.Proofs != 40 || v.Blocks != 31 || v.Entries != good[30].Size() || v.NewerBlocks != uint64(len(good)-31) || v.Segments != 40 || state.Height != 30 {
		t.Fatalf("%+v, %+v, %v", v, state, err)
	}
	if counted.n != 1 || len(steps) != len(good) || steps[29] >= steps[30] || steps[len(steps)-1] != int(good[30].Size()) {
		t.Errorf("%d batches for 40 blocks, progress %v", counted.n, steps)
	}

	// Two proofs change places: entries keep their ids, and both are wrong.
	l.set.Items[5].Entry, l.set.Items[6].Entry = exchangeProofs(t, l.set.Items[5].Entry, l.set.Items[6].Entry)
	bad := l.log(t)
	wrong := bad[len(l.set.Prefix)+1+5]
	named := "entry " + cli.MinorUnits(wrong.FirstIndex) + " "
	without := *good[20]
	without.Segments = nil
	lies := *at(good[30])
	lies.Root[0] ^= 1
	between := *at(good[30])
	between.Size--
	cut := errors.New("the connection is gone")
	for name, c := range map[string]struct {
		blocks []*settlement.Block
		then   error
		final  *proof.Final
		want   string
		code   cli.Code
	}{
		"proof":                      {bad, nil, at(bad[30]), named, cli.Unverified},
		"proof beyond the witnesses": {bad, nil, at(bad[3]), named, cli.Unverified},
		"proof, then the root":       {bad, nil, at(good[30]), named, cli.Unverified},
		"proof, then segments":       {append(bad[:20:20], &without), nil, at(bad[30]), named, cli.Unverified},
		"proof, then a rule":         {append(bad[:20:20], bad[21]), nil, at(bad[30]), named, cli.Unverified},
		"proof, then the line":       {bad[:20], cut, at(bad[30]), named, cli.Unverified},
		"root":                       {good, nil, &lies, "root_mismatch", cli.Unverified},
		"end":                        {good, nil, &between, "root_mismatch: no block ends", cli.Unverified},
		"short":                      {good[:20], nil, at(good[30]), "root_mismatch: no block ends", cli.Unverified},
		"segments":                   {append(good[:20:20], &without), nil, at(good[30]), "its segments are missing", cli.Unverified},
		"rule":                       {append(good[:20:20], good[21]), nil, at(good[30]), "block 21 at index", cli.Unverified},
		"file":                       {good[:20], logdir.ErrDamaged, at(good[30]), logdir.ErrDamaged.Error(), cli.Unverified},
		"line":                       {good[:20], cut, at(good[30]), cut.Error(), cli.Failure},
		"nothing":                    {nil, nil, at(good[30]), "an empty log", cli.Failure},
	} {
		v, _, err := verifyLog(t.Context(), l.genesis, c.final, sequence(c.blocks, c.then), true, verifier, func(int, int) {})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %+v, %v; want %q", name, v, err, c.want)
		} else if code, _ := cli.CodeOf(err); code != c.code {
			t.Errorf("%s: exit code %d, want %d: %v", name, code, c.code, err)
		}
	}
}

// exchangeProofs gives each of two payments the proof of the other.
func exchangeProofs(t *testing.T, a, b []byte) ([]byte, []byte) {
	t.Helper()
	x, err := entry.DecodeTransaction(a)
	if err != nil {
		t.Fatal(err)
	}
	y, err := entry.DecodeTransaction(b)
	if err != nil {
		t.Fatal(err)
	}
	x.Legs[0].Proof, y.Legs[0].Proof = y.Legs[0].Proof, x.Legs[0].Proof
	if bytes.Equal(x.Encode(), a) {
		t.Fatal("nothing changed")
	}
	return x.Encode(), y.Encode()
}

// BenchmarkVerify compares gathering proofs over blocks with checking block by block, on a log with one payment in a block.
func BenchmarkVerify(b *testing.B) {
	l := newLoaded(b, 1000)
	blocks := l.log(b)
	verifier, err := circuits.Verifier(l.genesis, 0)
	if err != nil {
		b.Fatal(err)
	}
	last := blocks[len(blocks)-1]
	var together, apart time.Duration
	for b.Loop() {
		began := time.Now()
		if _, _, err := verifyLog(b.Context(), l.genesis, &proof.Final{Checkpoint: proof.Checkpoint{Head: proof.Head{Size: last.Size(), Root: last.Root}}}, sequence(blocks, nil), true, verifier, func(int, int) {}); err != nil {
			b.Fatal(err)
		}
		together += time.Since(began)
		began = time.Now()
		var r *replay.Replayer
		for _, block := range blocks {
			bare := &settlement.Block{Height: block.Height, Time: block.Time, FirstIndex: block.FirstIndex, Entries: block.Entries}
			if r == nil {
				r, err = replay.New(bare, replay.Config{Verifier: verifier})
			} else {
				err = r.Apply(bare)
			}
			if err != nil {
				b.Fatal(err)
			}
		}
		apart += time.Since(began)
	}
	b.ReportMetric(float64(apart)/float64(together), "times-faster")
	b.ReportMetric(together.Seconds()*1000/float64(b.N*1000), "ms/payment")
}
