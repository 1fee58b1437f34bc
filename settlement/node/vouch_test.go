package node

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
)

// shared is a store that the nodes of a test have in common.
type shared struct {
	settlement.Store
	mu    sync.Mutex // guards lease
	lease settlement.Lease
}

func (s *shared) Lease(context.Context) (settlement.Lease, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lease, nil
}

func (s *shared) ChangeLease(_ context.Context, serial uint64, to settlement.Lease) (bool, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.lease.Serial != serial {
		return false, nil
	}
	to.Serial = serial + 1
	s.lease = to
	return true, nil
}

// late is a store whose reader can be kept from seeing new blocks.
type late struct {
	*shared
	mu     sync.Mutex // guards what follows
	frozen *settlement.Head
}

func (l *late) freeze(t *testing.T, on bool) {
	t.Helper()
	head, err := l.shared.Head(t.Context())
	must(t, err)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.frozen = nil
	if on {
		l.frozen = &head
	}
}

func (l *late) Head(ctx context.Context) (settlement.Head, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.frozen != nil {
		return *l.frozen, nil
	}
	return l.shared.Head(ctx)
}

// counting is a verifier that counts proofs, and can be held up.
type counting struct {
	settlement.Verifier
	mu   *sync.Mutex // the bed's verifier counts too
	seen atomic.Int64
	gate atomic.Pointer[chan struct{}] // nil: open
	held atomic.Int64                  // proofs that wait at it
}

func (c *counting) VerifyBatch(jobs []settlement.Job) []error {
	if gate := c.gate.Load(); gate != nil {
		c.held.Store(int64(len(jobs)))
		<-*gate
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen.Add(int64(len(jobs)))
	return c.Verifier.VerifyBatch(jobs)
}

type forwardedMark struct{}

// pair is a ledger with a node that leads and one that follows, in one process. What the follower forwards is kept.
type pair struct {
	*rig
	leader, follower *Member
	atLeader, at     *counting // verifiers of the leader and of the follower
	view             *late     // what the follower sees of the store

	mu    sync.Mutex // guards what follows
	sent  []Forwarded
	calls int
	hold  func(e Forwarded) error // before an entry is handed over; may be nil
}

func newPair(t *testing.T, change func(leader, follower *MemberConfig)) *pair {
	t.Helper()
	p := &pair{rig: newRig(t)}
	store, err := p.disk.Open(t.Context(), p.Hash)
	must(t, err)
	both := &shared{Store: store}
	p.view = &late{shared: both}
	var verifying sync.Mutex
	p.atLeader, p.at = &counting{Verifier: p.verify, mu: &verifying}, &counting{Verifier: p.verify, mu: &verifying}
	member := func(name string, s settlement.Store, v settlement.Verifier) MemberConfig {
		return MemberConfig{Name: name, URL: "http://" + name, Lease: time.Minute,
			Node: Config{Store: s, Verifier: v, Signer: p.signer, Witnesses: p.endpoints(), HTTP: &http.Client{Transport: p.rig}, Limits: p.limits,
				Now: func() time.Time { return time.UnixMilli(int64(p.clock.Load())) }},
			Forward:   p.forward,
			Forwarded: func(ctx context.Context) bool { return ctx.Value(forwardedMark{}) != nil }}
	}
	leader, follower := member("one", both, p.atLeader), member("two", p.view, p.at)
	if change != nil {
		change(&leader, &follower)
	}
	p.leader, err = Join(t.Context(), leader)
	must(t, err)
	p.follower, err = Join(t.Context(), follower)
	must(t, err)
	if !p.leader.Role().Leads || p.follower.Role().Leads {
		t.Fatal("the roles are not as the test wants them")
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		must(t, errors.Join(p.follower.Stop(ctx), p.leader.Stop(ctx), store.Close()))
	})
	return p
}

// forward hands entries to the leader as the network edge does.
func (p *pair) forward(ctx context.Context, url string, entries []Forwarded) ([]Answer, error) {
	if url != "http://one" {
		return nil, fmt.Errorf("forwarded to %s", url)
	}
	p.mu.Lock()
	p.calls++
	p.sent = append(p.sent, entries...)
	hold := p.hold
	p.mu.Unlock()
	answers := make([]Answer, len(entries))
	var wait sync.WaitGroup
	for i, e := range entries {
		wait.Go(func() {
			if hold != nil {
				if answers[i].Err = hold(e); answers[i].Err != nil {
					return
				}
			}
			one := context.WithValue(WithVoucher(WithCaller(ctx, e.Lane), e.Voucher), forwardedMark{}, true)
			answers[i].Result, answers[i].Err = p.leader.Submit(one, e.Leaf, e.Segments)
		})
	}
	wait.Wait()
	return answers, nil
}

func (p *pair) forwarded() []Forwarded {
	p.mu.Lock()
	defer p.mu.Unlock()
	return append([]Forwarded(nil), p.sent...)
}

func (p *pair) holding(f func(Forwarded) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hold = f
}

func (p *pair) spreadOf(m *Member) *spread { return &m.node.Load().spread }

func at(m *Member, caller string, tx *ledgertest.Tx) (settlement.Result, error) {
	ctx, cancel := context.WithTimeout(WithCaller(context.Background(), caller), 20*time.Second)
	defer cancel()
	return m.Submit(ctx, tx.Encode(), tx.Segments)
}

func accepted(t *testing.T, m *Member, caller string, tx *ledgertest.Tx) {
	t.Helper()
	if r, err := at(m, caller, tx); err != nil || r.Status != settlement.Accepted || r.ID != tx.ID() {
		t.Errorf("%+v, %v", r, err)
	}
}

// TestAProofIsCheckedOnceAmongTheNodes: where it comes in. The node that sequences takes the other's word for it.
func TestAProofIsCheckedOnceAmongTheNodes(t *testing.T) {
	p := newPair(t, nil)
	const n = 60
	// The first proof is held, so that the rest waits and is checked, and forwarded, together.
	gate := make(chan struct{})
	p.at.gate.Store(&gate)
	var wait sync.WaitGroup
	for i := range n {
		tx, caller := p.transfer(), fmt.Sprintf("bank/%d", i%3)
		wait.Go(func() { accepted(t, p.follower, caller, tx) })
	}
	for p.follower.node.Load().lanes.length()+int(p.at.held.Load()) < n {
		time.Sleep(time.Millisecond)
	}
	p.at.gate.Store(nil)
	close(gate)
	wait.Wait()
	if here, there := p.at.seen.Load(), p.atLeader.seen.Load(); here != n || there != 0 {
		t.Errorf("%d proofs checked by the follower and %d by the leader", here, there)
	}
	lanes := map[string]int{}
	for _, e := range p.forwarded() {
		if len(e.Voucher) != settlement.VoucherSize {
			t.Errorf("a voucher of %d bytes", len(e.Voucher))
		}
		lanes[e.Lane]++
	}
	if len(lanes) != 3 || lanes["bank/0"] != n/3 {
		t.Errorf("the lanes of %d entries: %v", n, lanes)
	}
	f, l := p.spreadOf(p.follower), p.spreadOf(p.leader)
	if f.vouched.Load() != n || f.relayed.Load() != n || f.left.Load() != 0 || l.believed.Load() != n || l.refused.Load() != 0 {
		t.Errorf("vouched for %d, forwarded %d and %d, believed %d, refused %d", f.vouched.Load(), f.relayed.Load(), f.left.Load(), l.believed.Load(), l.refused.Load())
	}
	if calls := f.calls.Load(); calls == 0 || calls > n/2 {
		t.Errorf("%d entries in %d calls", n, calls)
	}
	// A repeat is answered from the store that both share, and forwarded to nobody.
	before := len(p.forwarded())
	tx := p.transfer()
	accepted(t, p.leader, "bank/0", tx)
	if r, err := at(p.follower, "bank/0", tx); err != nil || r.Status != settlement.SettledBefore {
		t.Errorf("a repeat: %+v, %v", r, err)
	}
	if got := len(p.forwarded()) - before; got != 0 {
		t.Errorf("a repeat was forwarded")
	}
}

// TestAFalseProofStaysWhereItCameIn: the node that follows refuses it by name, as the leader does.
func TestAFalseProofStaysWhereItCameIn(t *testing.T) {
	p := newPair(t, nil)
	if _, err := at(p.follower, "bank/evil", p.broken()); entry.CodeOf(err) != entry.ProofInvalid {
		t.Fatalf("a false proof: %v", err)
	}
	if _, err := at(p.follower, "bank/evil", &ledgertest.Tx{Transaction: p.transfer().Transaction, Segments: [][]byte{{1}}}); entry.CodeOf(err) != entry.SegmentMismatch {
		t.Fatalf("other segments: %v", err)
	}
	if _, err := p.follower.Submit(t.Context(), []byte("no entry"), nil); entry.CodeOf(err) == "" || entry.CodeOf(err) == entry.TryLater {
		t.Fatalf("bytes that are no entry: %v", err)
	}
	if got := p.forwarded(); len(got) != 0 || p.atLeader.seen.Load() != 0 {
		t.Fatalf("%d entries were forwarded, %d proofs checked by the leader", len(got), p.atLeader.seen.Load())
	}
}

// TestAFloodAtAFollowerIsNotTheLeadersBusiness: its caller is suspected there, and the leader never hears of it.
func TestAFloodAtAFollowerIsNotTheLeadersBusiness(t *testing.T) {
	p := newPair(t, nil)
	var wait sync.WaitGroup
	var refused atomic.Int64
	for range 8 {
		txs := []*ledgertest.Tx{p.broken(), p.broken(), p.broken()}
		wait.Go(func() {
			for _, tx := range txs {
				if _, err := at(p.follower, "bank/evil", tx); entry.CodeOf(err) == entry.ProofInvalid {
					refused.Add(1)
				} else if entry.CodeOf(err) != entry.TryLater {
					t.Errorf("a false proof: %v", err)
				}
			}
		})
	}
	const honest = 20
	for range honest {
		tx, other := p.transfer(), p.transfer()
		wait.Go(func() { accepted(t, p.leader, "bank/first", tx) })
		wait.Go(func() { accepted(t, p.follower, "bank/second", other) })
	}
	wait.Wait()
	if refused.Load() == 0 || p.atLeader.seen.Load() != honest {
		t.Errorf("%d false proofs refused, %d proofs checked by the leader, want %d", refused.Load(), p.atLeader.seen.Load(), honest)
	}
	for _, e := range p.forwarded() {
		if e.Lane == "bank/evil" {
			t.Fatal("an entry of the flood was forwarded")
		}
	}
	here, there := p.follower.node.Load().lanes, p.leader.node.Load().lanes
	here.mu.Lock()
	evil := here.byCaller["bank/evil"]
	if evil == nil || !here.suspect(evil) {
		t.Error("the flood's caller is trusted where it came in")
	}
	here.mu.Unlock()
	there.mu.Lock()
	if there.byCaller["bank/evil"] != nil {
		t.Error("the leader knows the flood's caller")
	}
	there.mu.Unlock()
	if n := p.leader.node.Load().measures.invalid.Load(); n != 0 {
		t.Errorf("the leader saw %d false proofs", n)
	}
}

// TestWithoutAGoodVoucherTheLeaderChecksTheProof, whatever was sent in its place and by whom.
func TestWithoutAGoodVoucherTheLeaderChecksTheProof(t *testing.T) {
	p := newPair(t, nil)
	accepted(t, p.follower, "", p.transfer())
	used := p.forwarded()[0].Voucher // a good one, for another entry
	checked := p.atLeader.seen.Load()
	for i, voucher := range [][]byte{used, used[:31], nil, make([]byte, settlement.VoucherSize), []byte("x")} {
		tx := p.transfer()
		if r, err := p.leader.Submit(WithVoucher(WithCaller(t.Context(), "bank/first"), voucher), tx.Encode(), tx.Segments); err != nil || r.Status != settlement.Accepted {
			t.Fatalf("%+v, %v", r, err)
		}
		if checked++; p.atLeader.seen.Load() != checked {
			t.Fatalf("voucher %d: the proof was not checked", i)
		}
		bad := p.broken()
		if _, err := p.leader.Submit(WithVoucher(WithCaller(t.Context(), fmt.Sprint("bank/", i)), voucher), bad.Encode(), bad.Segments); entry.CodeOf(err) != entry.ProofInvalid {
			t.Fatalf("voucher %d: a false proof: %v", i, err)
		}
		checked++
	}
	if n := p.spreadOf(p.leader).refused.Load(); n != 8 {
		t.Errorf("%d vouchers were refused, want 8", n)
	}
	// A good voucher is for one entry: with it, the same entry again is a repeat.
	e := p.forwarded()[0]
	if r, err := p.leader.Submit(WithVoucher(t.Context(), e.Voucher), e.Leaf, e.Segments); err != nil || r.Status != settlement.SettledBefore {
		t.Errorf("the same again: %+v, %v", r, err)
	}
	// A spent note stays spent.
	first := p.transfer()
	accepted(t, p.leader, "", first)
	rival := p.rival(first)
	if _, err := at(p.follower, "", rival); entry.CodeOf(err) != entry.NullifierSpent {
		t.Errorf("a rival: %v", err)
	}
}

// TestVouchersCanBeSwitchedOff, on the node that sequences or on the one that follows.
func TestVouchersCanBeSwitchedOff(t *testing.T) {
	t.Run("leader", func(t *testing.T) {
		p := newPair(t, func(leader, _ *MemberConfig) { leader.VerifyEverything = true })
		accepted(t, p.follower, "", p.transfer())
		if len(p.forwarded()[0].Voucher) == 0 || p.atLeader.seen.Load() != 1 || p.spreadOf(p.leader).believed.Load() != 0 {
			t.Errorf("%d proofs checked by the leader", p.atLeader.seen.Load())
		}
	})
	t.Run("follower", func(t *testing.T) {
		p := newPair(t, func(_, follower *MemberConfig) { follower.VerifyEverything = true })
		accepted(t, p.follower, "bank/first", p.transfer())
		if e := p.forwarded()[0]; len(e.Voucher) != 0 || e.Lane != "bank/first" || p.atLeader.seen.Load() != 1 || p.at.seen.Load() != 0 {
			t.Errorf("%d proofs checked by the leader, %d by the follower, a voucher of %d bytes", p.atLeader.seen.Load(), p.at.seen.Load(), len(e.Voucher))
		}
		if _, err := at(p.follower, "bank/evil", p.broken()); entry.CodeOf(err) != entry.ProofInvalid {
			t.Errorf("a false proof: %v", err)
		}
	})
}

// TestAFollowerThatIsBehindRefusesNothingForIt: what it does not know yet is for the leader to judge.
func TestAFollowerThatIsBehindRefusesNothingForIt(t *testing.T) {
	p := newPair(t, nil)
	p.view.freeze(t, true)
	accepted(t, p.leader, "", p.transfer())
	height := p.leader.Status().State.Height
	block, err := p.leader.Block(t.Context(), height)
	must(t, err)
	p.bed.Lock()
	for uint64(len(p.Blocks)) <= height { // the bed sees the blocks of the ledger
		b, err := p.leader.Block(t.Context(), uint64(len(p.Blocks)))
		must(t, err)
		p.Blocks = append(p.Blocks, b)
	}
	fresh := p.Tx(entry.KindTransfer, 1)
	fresh.Legs[0].Anchor = block.Height
	p.Prove(fresh)
	never := p.Tx(entry.KindTransfer, 1)
	never.Legs[0].Anchor = block.Height + 1000
	p.Prove(never)
	p.bed.Unlock()
	p.holding(func(e Forwarded) error {
		if len(e.Voucher) != 0 {
			t.Error("it vouches for what it cannot know")
		}
		p.view.freeze(t, false) // it must catch up to answer
		return nil
	})
	accepted(t, p.follower, "bank/first", fresh)
	if p.at.seen.Load() != 0 || p.atLeader.seen.Load() != 2 {
		t.Errorf("%d proofs checked by the follower, %d by the leader", p.at.seen.Load(), p.atLeader.seen.Load())
	}
	if _, err := at(p.follower, "", never); entry.CodeOf(err) != entry.AnchorUnknown {
		t.Errorf("an anchor that there never was: %v", err)
	}
	if n := p.spreadOf(p.follower).left.Load(); n != 2 {
		t.Errorf("%d entries were left to the leader, want 2", n)
	}
	// By its own clock it refuses nothing either; the leader's clock says what has expired.
	p.holding(nil)
	late := p.transfer()
	p.clock.Add(120_000)
	if _, err := at(p.follower, "", late); entry.CodeOf(err) != entry.Expired {
		t.Errorf("an expired entry: %v", err)
	}
	if n := p.spreadOf(p.follower).left.Load(); n != 3 {
		t.Errorf("%d entries were left to the leader, want 3", n)
	}
}

// TestOneCallersWaitIsNotAnothers: a call to the leader ends with its slowest entry, so what may rest there travels alone.
func TestOneCallersWaitIsNotAnothers(t *testing.T) {
	p := newPair(t, nil)
	p.bed.Lock()
	never := p.Tx(entry.KindTransfer, 1)
	never.Legs[0].Anchor = 1 << 30
	p.Prove(never)
	p.bed.Unlock()
	release := make(chan struct{})
	p.holding(func(e Forwarded) error {
		if e.Lane == "bank/slow" {
			<-release
		}
		return nil
	})
	slow := make(chan error, 1)
	go func() {
		_, err := at(p.follower, "bank/slow", never)
		slow <- err
	}()
	for len(p.forwarded()) == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 30 {
		accepted(t, p.follower, "bank/first", p.transfer())
	}
	close(release)
	if err := <-slow; entry.CodeOf(err) != entry.AnchorUnknown {
		t.Error(err)
	}
}

// TestOfWhatGetsNoAnswerNothingIsKnown: the caller is told to come back, and what was forwarded once goes no further.
func TestOfWhatGetsNoAnswerNothingIsKnown(t *testing.T) {
	p := newPair(t, nil)
	p.holding(func(Forwarded) error { return errors.New("connection refused") })
	tx := p.transfer()
	if _, err := at(p.follower, "", tx); entry.CodeOf(err) != entry.TryLater {
		t.Errorf("without an answer: %v", err)
	}
	p.holding(nil)
	accepted(t, p.follower, "", tx)
	once := context.WithValue(t.Context(), forwardedMark{}, true)
	other := p.transfer()
	if _, err := p.follower.Submit(once, other.Encode(), other.Segments); entry.CodeOf(err) != entry.TryLater {
		t.Errorf("forwarded once: %v", err)
	}
	if n := len(p.forwarded()); n != 2 {
		t.Errorf("%d entries were forwarded, want 2", n)
	}
	// The lease passes on in the middle of a call.
	calls := make(chan struct{})
	p.holding(func(Forwarded) error {
		close(calls)
		_, term, _ := p.follower.leader()
		<-term.Done()
		return context.Canceled
	})
	answer := make(chan error, 1)
	go func() { _, err := at(p.follower, "", other); answer <- err }()
	<-calls
	lease := p.follower.seen()
	lease.Holder, lease.URL = "three/x", "http://three"
	p.follower.note(func(w *settlement.LeaseWatch, now, late time.Duration) { w.Saw(lease, now, late) })
	if err := <-answer; entry.CodeOf(err) != entry.TryLater {
		t.Errorf("the lease has passed on: %v", err)
	}
}

// recording is the span of a call that is traced.
type recording struct {
	noop.Span
	of trace.SpanContext
}

func (r recording) IsRecording() bool              { return true }
func (r recording) SpanContext() trace.SpanContext { return r.of }

// TestATraceGoesOnAtTheLeader: each entry of a call carries its own.
func TestATraceGoesOnAtTheLeader(t *testing.T) {
	of := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	j := &journey{ctx: trace.ContextWithSpanContext(t.Context(), of)}
	if got, want := j.parent(), "00-01000000000000000000000000000000-0200000000000000-01"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	if got := (*journey)(nil).parent(); got != "" {
		t.Errorf("%q of a call that is not traced", got)
	}
	p := newPair(t, nil)
	tx, other := p.transfer(), p.transfer()
	traced := trace.ContextWithSpan(t.Context(), recording{of: of})
	if _, err := p.follower.Submit(traced, tx.Encode(), tx.Segments); err != nil {
		t.Fatal(err)
	}
	accepted(t, p.follower, "", other)
	if e := p.forwarded(); len(e) != 2 || !strings.HasPrefix(e[0].TraceParent, "00-01000000000000000000000000000000-") || e[1].TraceParent != "" {
		t.Errorf("forwarded in the traces %q and %q", e[0].TraceParent, e[1].TraceParent)
	}
}
