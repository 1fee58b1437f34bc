package settlement_test

import (
	"testing"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

func day(b *ledgertest.Bed, date entry.BusinessDate, action entry.CloseAction) *entry.Close {
	e := &entry.Close{Header: b.Next(), Date: date, Action: action}
	if d := b.State.Day(); action == entry.DayCloses {
		e.Size, e.Root, e.Balance = d.Size, d.Root, d.Balance
		if e.Size == 0 {
			e.Size, e.Root, e.Balance = 2, [32]byte{1}, [32]byte{1}
		}
	}
	return e
}

func submitDay(b *ledgertest.Bed, date entry.BusinessDate, action entry.CloseAction) settlement.Result {
	return b.Submit(b.Signed(day(b, date, action)))[0]
}

func TestBusinessDayOpensIsCutOffAndCloses(t *testing.T) {
	b := ledgertest.NewBed(1)
	const monday, tuesday = entry.BusinessDate(20260202), entry.BusinessDate(20260203)
	wantCode(t, submitDay(b, monday, entry.DayCutOff), entry.DayNotOpen)
	wantCode(t, submitDay(b, monday, entry.DayCloses), entry.DayNotOpen)
	wantAccepted(t, submitDay(b, monday, entry.DayOpens))
	wantCode(t, submitDay(b, monday, entry.DayOpens), entry.DayOpenAlready)
	wantCode(t, submitDay(b, tuesday, entry.DayOpens), entry.DayOpenAlready)
	wantCode(t, submitDay(b, tuesday, entry.DayCutOff), entry.DayDateInvalid)
	wantCode(t, submitDay(b, monday, entry.DayCloses), entry.DayNotCutOff)

	// The cut-off closes over the block before it, whatever shares its block.
	wantAccepted(t, b.Submit(b.Issue(1, 0, 500))...)
	before, head := b.State.TrialBalance(), b.State.Head(0)
	cut := b.Signed(day(b, monday, entry.DayCutOff))
	wantAccepted(t, b.Submit(b.Transfer(), cut)...)
	d := b.State.Day()
	if d.Date != monday || d.Action != entry.DayCutOff || d.Size != head.Size || d.Root != head.Root || d.Balance != before.Hash() {
		t.Fatalf("cut off at %+v, the block before ends at %+v", d, head)
	}
	wantCode(t, submitDay(b, monday, entry.DayCutOff), entry.DayCutOffAlready)
	wantCode(t, submitDay(b, tuesday, entry.DayOpens), entry.DayOpenAlready)

	// Payments go on; the close still names the cut-off's totals, and no others.
	wantAccepted(t, b.Submit(b.Transfer())...)
	if b.State.TrialBalance().Hash() == d.Balance {
		t.Error("a transfer left the trial balance as it was")
	}
	for name, change := range map[string]func(*entry.Close){
		"size":    func(e *entry.Close) { e.Size++ },
		"root":    func(e *entry.Close) { e.Root[31] ^= 1 },
		"balance": func(e *entry.Close) { e.Balance[0] ^= 1 },
		"today's": func(e *entry.Close) { e.Balance = b.State.TrialBalance().Hash() },
	} {
		e := day(b, monday, entry.DayCloses)
		change(e)
		if r := b.Submit(b.Signed(e))[0]; entry.CodeOf(r.Refusal) != entry.TrialBalanceDiffers {
			t.Errorf("a close over another %s: %+v", name, r)
		}
	}
	closing := b.Signed(day(b, monday, entry.DayCloses))
	wantAccepted(t, b.Submit(closing)...)
	if got := b.State.Day(); got.Action != entry.DayCloses || got.Balance != d.Balance {
		t.Errorf("closed as %+v", got)
	}
	wantCode(t, submitDay(b, monday, entry.DayCloses), entry.DayNotOpen)
	wantCode(t, submitDay(b, monday, entry.DayCutOff), entry.DayNotOpen)
	wantCode(t, submitDay(b, monday, entry.DayOpens), entry.DayDateInvalid)
	wantCode(t, submitDay(b, monday-1, entry.DayOpens), entry.DayDateInvalid)
	if r := b.Submit(closing)[0]; r.Status != settlement.SettledBefore {
		t.Errorf("a repeated close: %+v", r)
	}
	wantAccepted(t, b.Submit(b.Transfer())...) // with no day open
	unsigned := b.Signed(day(b, tuesday, entry.DayOpens))
	unsigned.Head().Signatures = unsigned.Head().Signatures[:1]
	wantCode(t, b.Submit(unsigned)[0], entry.SignaturesMissing)
	wantAccepted(t, submitDay(b, tuesday, entry.DayOpens))
	if got := b.State.Day(); got != (settlement.Day{Date: tuesday, Action: entry.DayOpens}) {
		t.Errorf("a new day begins with %+v", got)
	}
	replayed(t, b)
}

// A whole day may stand in one block.
func TestDayOfOneBlock(t *testing.T) {
	b := ledgertest.NewBed(2)
	head := b.State.TrialBalance()
	open, cut, done := day(b, 20260202, entry.DayOpens), day(b, 20260202, entry.DayCutOff), day(b, 20260202, entry.DayCloses)
	cut.Sequence, done.Sequence = cut.Sequence+1, done.Sequence+2
	done.Size, done.Root, done.Balance = head.Size, head.Root, head.Hash()
	wantAccepted(t, b.Submit(b.Signed(open), b.Signed(cut), b.Signed(done))...)
	replayed(t, b)
}

// replayed rebuilds the state from the entries alone and from its snapshot.
func replayed(t *testing.T, b *ledgertest.Bed) {
	t.Helper()
	bare := func(yield func(*settlement.Block, error) bool) {
		for _, block := range b.Blocks {
			if !yield(&settlement.Block{Height: block.Height, Time: block.Time, FirstIndex: block.FirstIndex, Entries: block.Entries}, nil) {
				return
			}
		}
	}
	again, err := replay.All(t.Context(), bare, replay.Config{Verifier: b.Verifier}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if string(again.Marshal()) != string(b.State.Marshal()) || again.Day() != b.State.Day() || again.TrialBalance().Hash() != b.State.TrialBalance().Hash() {
		t.Error("the log rebuilds to another state")
	}
	back, err := settlement.Unmarshal(b.Genesis, b.State.Marshal(), b.Blocks[len(b.Blocks)-1])
	if err != nil {
		t.Fatal(err)
	}
	if back.Day() != b.State.Day() || back.TrialBalance().Hash() != b.State.TrialBalance().Hash() {
		t.Error("the snapshot holds another day")
	}
}

func TestTrialBalanceAddsUp(t *testing.T) {
	b := ledgertest.NewBed(3)
	peer := ledgertest.NewBed(4)
	wantAccepted(t, b.Submit(b.Issue(1, 0, 700))...)
	wantAccepted(t, b.Submit(b.Redeem(1, 0, 200), b.Transfer())...)
	wantAccepted(t, b.Submit(b.Recognise(peer, 5000, 1000))...)
	wantAccepted(t, b.Submit(b.Observe(peer))...)
	_, attestor := b.Key()
	attested := &entry.Attested{Until: b.Now + 40*24*3600*1000, Statement: entry.StatementDelivery, Threshold: 1, Attestors: []entry.SignerKey{attestor}}
	here := &entry.DecidedHere{Until: b.Now + 3_000_000, Followers: []entry.Follower{{Ledger: peer.Hash, Commitment: zk.Commitment(b.Rand.Field())}}}
	wantAccepted(t, b.Submit(b.Prove(b.Holding(entry.LocalSizeClass, attested)))...)
	wantAccepted(t, b.Submit(b.Prove(b.Holding(1000, here)))...)
	got := b.State.TrialBalance()
	if len(got.Supply) == 0 || got.Supply[0].Issued != 700 || got.Supply[0].Redeemed != 200 {
		t.Errorf("supply %+v", got.Supply)
	}
	counts := map[entry.Kind]uint64{}
	sum := uint64(0)
	for _, row := range got.Entries {
		counts[row.Kind] = row.Count
		sum += row.Count
	}
	if sum != b.State.LogSize() || counts[entry.KindGenesis] != 1 || counts[entry.KindState] != b.State.Height()+1 || counts[entry.KindTransfer] != 3 || counts[entry.KindIssue] != 1 {
		t.Errorf("entries %+v of %d", got.Entries, b.State.LogSize())
	}
	if got.Keys != b.State.Entry().Nullifiers {
		t.Errorf("%d once-only keys", got.Keys)
	}
	want := []settlement.HoldCount{{entry.ConditionAttested, entry.LocalSizeClass, settlement.AgeHour, 1}, {entry.ConditionDecidedHere, 1000, settlement.AgeHour, 1}}
	if len(got.Holds) != 2 || got.Holds[0] != want[0] || got.Holds[1] != want[1] {
		t.Errorf("holds %+v", got.Holds)
	}
	if len(got.Corridors) != 1 || got.Corridors[0].Here != 1000 || got.Corridors[0].There != 0 || got.Corridors[0].Cap != 5000 || got.Corridors[0].Peer != peer.Hash {
		t.Errorf("corridors %+v", got.Corridors)
	}
	hash := got.Hash()
	for _, step := range []struct {
		hours uint64
		age   settlement.Age
	}{{2, settlement.AgeDay}, {3 * 24, settlement.AgeWeek}, {10 * 24, settlement.AgeMonth}, {31 * 24, settlement.AgeOlder}} {
		b.Now = ledgertest.Start + 1000 + step.hours*3600*1000
		wantAccepted(t, b.Submit(b.Transfer())...)
		aged := b.State.TrialBalance()
		if aged.Holds[0].Age != step.age || aged.Hash() == hash {
			t.Errorf("after %d hours: %+v", step.hours, aged.Holds)
		}
	}
	replayed(t, b)
}

// A snapshot whose counters do not come to the log is thrown away.
func TestSnapshotWithOtherCountsIsRefused(t *testing.T) {
	b := ledgertest.NewBed(5)
	wantAccepted(t, b.Submit(b.Transfer())...)
	snapshot := b.State.Marshal()
	snapshot[len(snapshot)-1]++ // close entries
	if _, err := settlement.Unmarshal(b.Genesis, snapshot, b.Blocks[1]); err == nil {
		t.Error("accepted")
	}
}
