package failovertest

import (
	"context"
	"encoding/json"
	"fmt"
	"math"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
)

// What is asked of a note: spend it by one of its rivals, or look it up.
type (
	question struct {
		note  int
		spend bool
		rival int // who spends
	}
	answered struct {
		known bool // an answer came; otherwise nothing is known
		won   bool // the spender's own transaction settled
		spent bool // a look-up found the note spent
		index uint64
		by    int // whose entry that is, filled in from the log afterwards
	}
)

// nobody has spent the note: the first state of a note in the model. Every other is the rival that did.
const nobody = -1

// spending is the model: a note is spent once, by one rival.
var spending = porcupine.NondeterministicModel{
	Partition: func(history []porcupine.Operation) [][]porcupine.Operation {
		by := map[int][]porcupine.Operation{}
		for _, o := range history {
			n := o.Input.(question).note
			by[n] = append(by[n], o)
		}
		var out [][]porcupine.Operation
		for _, h := range by {
			out = append(out, h)
		}
		return out
	},
	Init: func() []any { return []any{nobody} },
	Step: func(state, input, output any) []any {
		at, q, a := state.(int), input.(question), output.(answered)
		switch {
		case !a.known && at == nobody: // it may have settled, or not
			return []any{nobody, q.rival}
		case !a.known:
			return []any{at}
		case q.spend && a.won && (at == nobody || at == q.rival): // the first time, or a repeat
			return []any{q.rival}
		case q.spend && !a.won && at != nobody && at != q.rival: // refused as spent
			return []any{at}
		case !q.spend && a.spent && at == a.by, !q.spend && !a.spent && at == nobody:
			return []any{at}
		}
		return nil
	},
	Equal:             func(a, b any) bool { return a == b },
	DescribeOperation: func(input, output any) string { return fmt.Sprintf("%+v -> %+v", input, output) },
}

// TestHistoriesAreLinearizableUnderKill: clients spend a few notes against each other and look them up on both nodes while leaders are killed.
func TestHistoriesAreLinearizableUnderKill(t *testing.T) {
	r := newRig(t, "one", "two")
	names := []string{"one", "two"}
	const notes, clients = 60, 6
	var rivals [notes][3]*ledgertest.Tx
	for i := range rivals {
		rivals[i][0] = r.transfer(nil)
		for j := 1; j < len(rivals[i]); j++ {
			rivals[i][j] = r.transfer(rivals[i][0])
		}
	}
	start := time.Now()
	var mu sync.Mutex
	var history []porcupine.Operation
	unknown := 0
	var wait sync.WaitGroup
	for c := range clients {
		wait.Go(func() {
			for step := 0; step < notes*4; step++ {
				n := step/4 + (step*c)%3 - 1 // near one another
				if n < 0 || n >= notes {
					continue
				}
				q, p := question{n, (step+c)%2 == 0, c % 3}, r.nodes[names[(step/2+c)%2]]
				called := time.Since(start).Nanoseconds()
				a, ok := r.ask(t, p, q, rivals[n][q.rival])
				returned := time.Since(start).Nanoseconds()
				if !ok && !q.spend {
					time.Sleep(10 * time.Millisecond)
					continue // a look-up without an answer says nothing
				}
				if !a.known {
					returned = math.MaxInt64 // it may happen at any later time
				}
				mu.Lock()
				if !a.known {
					unknown++
				}
				history = append(history, porcupine.Operation{ClientId: len(history), Input: q, Call: called, Output: a, Return: returned})
				mu.Unlock()
				time.Sleep(25 * time.Millisecond)
			}
		})
	}
	for range 2 {
		time.Sleep(1500 * time.Millisecond)
		victim := r.leader()
		victim.signal(t, syscall.SIGKILL)
		r.start(victim)
		r.leader()
	}
	wait.Wait()
	whose := map[uint64]int{}
	log := r.audit(t)
	for i := range rivals {
		for j, tx := range rivals[i] {
			if index, settled := log[tx.ID()]; settled {
				whose[index] = j
			}
		}
	}
	for i, o := range history {
		a := o.Output.(answered)
		by, there := whose[a.index]
		if a.known && (a.spent || a.won) && (!there || a.won && by != o.Input.(question).rival) {
			t.Errorf("%+v was answered %+v: the log has another entry there", o.Input, a)
		}
		a.by = by
		history[i].Output = a
	}
	model := spending.ToModel()
	t.Logf("%d operations, %d of them with an unknown end", len(history), unknown)
	if got := porcupine.CheckOperationsTimeout(model, history, 60*time.Second); got != porcupine.Ok {
		t.Fatalf("the history is %v", got)
	}
	// The check bites: what cannot be answered after the end is found out.
	won := 0
	for _, o := range history {
		if q, a := o.Input.(question), o.Output.(answered); a.won {
			won++
			at := time.Since(start).Nanoseconds()
			for _, lie := range []porcupine.Operation{
				{Input: question{note: q.note}, Output: answered{known: true}},
				{Input: question{note: q.note, spend: true, rival: 9}, Output: answered{known: true, won: true}},
			} {
				lie.ClientId, lie.Call, lie.Return = len(history), at, at+1
				if got := porcupine.CheckOperationsTimeout(model, append(history[:len(history):len(history)], lie), 60*time.Second); got != porcupine.Illegal {
					t.Fatalf("with %+v -> %+v at the end the history is %v", lie.Input, lie.Output, got)
				}
			}
			break
		}
	}
	if won == 0 {
		t.Error("no spender won")
	}
}

// ask does one operation. ok is false where no answer came.
func (r *rig) ask(t *testing.T, p *process, q question, tx *ledgertest.Tx) (a answered, ok bool) {
	if q.spend {
		index, err := r.submit(p, tx)
		switch code := entry.CodeOf(err); {
		case err == nil:
			return answered{known: true, won: true, index: index}, true
		case code == entry.NullifierSpent:
			return answered{known: true}, true
		case code == "" || code == entry.TryLater:
			return answered{}, false
		default:
			t.Errorf("a spender was told %v", err)
			return answered{}, false
		}
	}
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Second)
	defer cancel()
	text, err := r.spent(ctx, p, tx.Legs[0].Nullifiers[0])
	if err != nil {
		return answered{}, false
	}
	var got struct {
		Results []struct {
			Spent      bool
			EntryIndex uint64 `json:"entryIndex,string"`
		}
	}
	if err := json.Unmarshal([]byte(text), &got); err != nil || len(got.Results) != 1 {
		t.Errorf("look-up: %s, %v", text, err)
		return answered{}, false
	}
	return answered{known: true, spent: got.Results[0].Spent, index: got.Results[0].EntryIndex}, true
}
