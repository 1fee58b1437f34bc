package node

import (
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"sync/atomic"
	"time"

	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/trace"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// scope names what this package measures. Names, units and attributes are in the table of deploy/observability/METRICS.md, which a test holds.
const scope = "github.com/comity-ledger/comity/settlement/node"

// meter is of whatever provider the process installed; none costs next to nothing.
func meter() metric.Meter { return otel.Meter(scope) }

// measures is what the node counts as it goes. What happens for every entry is a number in memory, read when somebody collects.
type measures struct {
	tracer trace.Tracer
	epoch  atomic.Uint64 // the fencing epoch that the node took; the newest it has seen, where it follows

	batch, blockEntries, blockBytes metric.Int64Histogram
	settling, final, store          metric.Float64Histogram
	appending                       []metric.RecordOption // attributes of store
	lookingUp                       atomic.Int64          // nanoseconds: every entry asks, so it is a sum and no histogram

	mu      sync.Mutex // guards what follows
	entries map[fate]uint64
	appends map[string]uint64 // by outcome
	rounds  map[bool]uint64   // of cosigning, by whether there was a quorum
	waiting []*journey        // accepted, sampled and not final yet
	oldest  time.Time         // when the oldest block that is not final was durable; zero when all are

	invalid atomic.Uint64 // proofs that did not hold

	supply   map[zk.AssetID]moved // of the state at the start and every block since; used by the goroutine that writes blocks alone
	mismatch sync.Map             // zk.AssetID -> uint64, minor units

	aged agedHolds
}

// fate is what became of an entry. Kind is "unknown" where the bytes are no entry.
type fate struct{ kind, outcome, code string }

// moved is what a currency's entries issued and redeemed.
type moved struct{ issued, redeemed uint64 }

func newMeasures(m metric.Meter, state *settlement.State, epoch uint64) (*measures, error) {
	t := &measures{tracer: otel.Tracer(scope), entries: map[fate]uint64{}, appends: map[string]uint64{}, rounds: map[bool]uint64{}, supply: map[zk.AssetID]moved{}}
	t.epoch.Store(epoch)
	for _, row := range state.Supply() {
		t.supply[row.Asset] = moved{uint64(row.Issued), uint64(row.Redeemed)}
	}
	var failed error
	counts := func(name, unit, what string, buckets ...float64) metric.Int64Histogram {
		h, err := m.Int64Histogram(name, metric.WithUnit(unit), metric.WithDescription(what), metric.WithExplicitBucketBoundaries(buckets...))
		failed = errors.Join(failed, err)
		return h
	}
	times := func(name, what string) metric.Float64Histogram {
		h, err := m.Float64Histogram(name, metric.WithUnit("s"), metric.WithDescription(what),
			metric.WithExplicitBucketBoundaries(0.0001, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30))
		failed = errors.Join(failed, err)
		return h
	}
	t.batch = counts("comity.verification.batch", "{proof}", "proofs checked at once", 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
	t.blockEntries = counts("comity.block.entries", "{entry}", "entries in a block, the state entry included", 1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192)
	t.blockBytes = counts("comity.block.size", "By", "bytes of the entries and segments of a block", 1<<10, 1<<12, 1<<14, 1<<16, 1<<18, 1<<20, 1<<22, 1<<24, 1<<26)
	t.settling = times("comity.entry.time", "from taking an accepted entry in to its durable block")
	t.final = times("comity.finality.time", "from a durable block to the cosigned checkpoint over it")
	t.store = times("comity.store.time", "how long the store took, by operation")
	with := func(operation string) []metric.RecordOption {
		return []metric.RecordOption{metric.WithAttributeSet(attribute.NewSet(attribute.String("operation", operation)))}
	}
	t.appending = with("append")
	if failed != nil {
		return nil, fmt.Errorf("make instruments: %w", failed)
	}
	return t, nil
}

// count books what became of an entry.
func (t *measures) count(kind string, r settlement.Result, err error) {
	f := fate{kind: kind}
	switch {
	case err != nil:
		f.outcome, f.code = "refused", string(entry.CodeOf(err))
		if f.code == "" {
			f.outcome = "failed" // our fault, not the entry's
		}
	case r.Status == settlement.SettledBefore:
		f.outcome = "settled_before"
	default:
		f.outcome = "accepted"
	}
	t.mu.Lock()
	t.entries[f]++
	t.mu.Unlock()
}

// kindOf names the kind of bytes that may be no entry.
func kindOf(leaf []byte) string {
	kind, err := entry.KindOf(leaf)
	if err != nil {
		return "unknown"
	}
	return kind.String()
}

// appended books a try to write a block.
func (t *measures) appended(took time.Duration, err error) {
	t.store.Record(context.Background(), took.Seconds(), t.appending...)
	outcome := "committed"
	switch {
	case errors.Is(err, settlement.ErrFenced):
		outcome = "fenced"
	case errors.Is(err, settlement.ErrInDoubt):
		outcome = "in_doubt"
	case err != nil:
		outcome = "failed"
	}
	t.mu.Lock()
	t.appends[outcome]++
	if outcome == "committed" && t.oldest.IsZero() {
		t.oldest = time.Now()
	}
	t.mu.Unlock()
}

// block books a durable block, and counts the supply again: what the entries issue and redeem must add up to what the new state says.
func (t *measures) block(b *settlement.Block, batch []*task, p *settlement.Proposal) {
	size := 0
	for _, leaf := range b.Entries {
		size += len(leaf)
	}
	for i, task := range batch {
		if p.Results[i].Status != settlement.Accepted {
			continue
		}
		for _, segment := range task.candidate.Segments {
			size += len(segment)
		}
		for _, leg := range task.candidate.Legs() {
			if leg.Issued != 0 || leg.Redeemed != 0 {
				m := t.supply[leg.Asset]
				t.supply[leg.Asset] = moved{m.issued + uint64(leg.Issued), m.redeemed + uint64(leg.Redeemed)}
			}
		}
	}
	t.blockEntries.Record(context.Background(), int64(len(b.Entries)))
	t.blockBytes.Record(context.Background(), int64(size))
	for _, row := range p.Next().Supply() {
		m := t.supply[row.Asset]
		off := max(m.issued, uint64(row.Issued)) - min(m.issued, uint64(row.Issued))
		off += max(m.redeemed, uint64(row.Redeemed)) - min(m.redeemed, uint64(row.Redeemed))
		if was, known := t.mismatch.Load(row.Asset); !known || was != off {
			t.mismatch.Store(row.Asset, off)
		}
	}
}

// cosigned books a round of cosigning: began is when it took its head, size what is final now (0 without a quorum), all whether nothing waits.
func (t *measures) cosigned(began time.Time, size uint64, all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rounds[size > 0]++
	if size == 0 {
		return
	}
	now := time.Now()
	if !t.oldest.IsZero() {
		t.final.Record(context.Background(), now.Sub(t.oldest).Seconds())
	}
	t.oldest = began // blocks since then wait for the next round
	if all {
		t.oldest = time.Time{}
	}
	t.finish(now, size)
}

// observe offers what the node knows to a meter, computed when somebody collects. The returned function ends that.
func (n *Node) observe(meter metric.Meter) (func() error, error) {
	var failed error
	var all []metric.Observable
	gauge := func(name, unit, what string) metric.Int64ObservableGauge {
		g, err := meter.Int64ObservableGauge(name, metric.WithUnit(unit), metric.WithDescription(what))
		failed = errors.Join(failed, err)
		all = append(all, g)
		return g
	}
	counter := func(name, unit, what string) metric.Int64ObservableCounter {
		c, err := meter.Int64ObservableCounter(name, metric.WithUnit(unit), metric.WithDescription(what))
		failed = errors.Join(failed, err)
		all = append(all, c)
		return c
	}
	size := gauge("comity.log.entries", "{entry}", "durable entries of the log")
	final := gauge("comity.log.final_entries", "{entry}", "entries under the newest cosigned checkpoint")
	height := gauge("comity.block.height", "{block}", "height of the last durable block")
	age := gauge("comity.block.age", "s", "wall clock since the ledger time of the last block; an idle ledger writes none")
	blocks := counter("comity.node.blocks", "{block}", "blocks that this node wrote")
	epoch := gauge("comity.node.epoch", "{epoch}", "fencing epoch that the node took when it began to write")
	depth := gauge("comity.queue.depth", "", "what a queue of the node holds: entries, bytes for queue=bytes")
	limit := gauge("comity.queue.limit", "", "what a queue may hold before callers are told to try later")
	entries := counter("comity.entries", "{entry}", "entries by kind, outcome and refusal code")
	proofs := counter("comity.verification.proofs", "{proof}", "proofs checked, by result")
	batches := counter("comity.verification.batches", "{batch}", "batches of proofs checked")
	appends := counter("comity.store.appends", "{block}", "tries to write a block, by outcome")
	rounds := counter("comity.cosign.rounds", "{round}", "rounds of cosigning, by result")
	notFinal := gauge("comity.finality.age", "s", "how long the oldest durable block waits for a quorum of witnesses; 0 when all is final")
	quorum := gauge("comity.witness.quorum", "{witness}", "witnesses that a final checkpoint needs")
	answering := gauge("comity.witness.answering", "", "1 while the witness's last answer was a cosignature")
	behind := gauge("comity.witness.behind", "{entry}", "durable entries that the witness is not known to have cosigned")
	holds := gauge("comity.holds.open", "{hold}", "holds that are not decided, by condition")
	oldest := gauge("comity.holds.oldest", "s", "age of the oldest open hold, by condition")
	overdue := gauge("comity.holds.overdue", "{hold}", "open holds past their expiry, by condition: nobody voided them")
	flight := gauge("comity.corridor.in_flight", "{minor_unit}", "size classes of the open holds of a corridor")
	capacity := gauge("comity.corridor.cap", "{minor_unit}", "the most that may be in flight over a corridor")
	condition := gauge("comity.corridor.state", "", "0 active, 1 stale, 2 frozen")
	observed := gauge("comity.corridor.observed", "s", "ledger time since the peer was observed; absent before the first time")
	claims := gauge("comity.corridor.claims", "{minor_unit}", "size classes of holds that a peer decided against an override")
	issued := gauge("comity.supply.issued", "{minor_unit}", "all that was issued of a currency")
	redeemed := gauge("comity.supply.redeemed", "{minor_unit}", "all that was redeemed of a currency")
	mismatch := gauge("comity.supply.mismatch", "{minor_unit}", "difference between the supply of the state and the entries counted again; anything but 0 is an emergency")
	stage, err := meter.Float64ObservableCounter("comity.stage.time", metric.WithUnit("s"), metric.WithDescription("time inside each stage"))
	failed = errors.Join(failed, err)
	if failed != nil {
		return nil, fmt.Errorf("make instruments: %w", failed)
	}
	label := func(key, value string) metric.ObserveOption {
		return metric.WithAttributeSet(attribute.NewSet(attribute.String(key, value)))
	}
	registration, err := meter.RegisterCallback(func(_ context.Context, o metric.Observer) error {
		state := n.state.Load()
		o.ObserveInt64(size, int64(state.LogSize()))
		o.ObserveInt64(final, int64(n.final.Load()))
		o.ObserveInt64(height, int64(state.Height()))
		o.ObserveInt64(age, capped((max(n.wall(), state.Time())-state.Time())/1000))
		o.ObserveInt64(blocks, int64(n.stages.blocks.Load()))
		o.ObserveInt64(epoch, capped(n.measures.epoch.Load()))
		for _, q := range n.queues() {
			o.ObserveInt64(depth, q.holds, label("queue", q.name))
			o.ObserveInt64(limit, q.limit, label("queue", q.name))
		}
		invalid := n.measures.invalid.Load()
		o.ObserveInt64(proofs, int64(invalid), label("result", "invalid"))
		o.ObserveInt64(proofs, int64(n.stages.proofs.Load()-invalid), label("result", "valid"))
		o.ObserveInt64(batches, int64(n.stages.batches.Load()))
		n.measures.tell(func(f fate, v uint64) {
			o.ObserveInt64(entries, int64(v), metric.WithAttributeSet(attribute.NewSet(
				attribute.String("kind", f.kind), attribute.String("outcome", f.outcome), attribute.String("code", f.code))))
		}, func(outcome string, v uint64) { o.ObserveInt64(appends, int64(v), label("outcome", outcome)) },
			func(result string, v uint64) { o.ObserveInt64(rounds, int64(v), label("result", result)) },
			func(waits time.Duration) { o.ObserveInt64(notFinal, int64(waits/time.Second)) }, state.LogSize() <= n.final.Load())
		o.ObserveInt64(quorum, int64(n.genesis.Witnesses.Quorum))
		for _, w := range n.journal.Witnesses() {
			if n.seq == nil {
				break // a node that follows asks no witness
			}
			is := int64(1)
			if w.LastError != "" {
				is = 0
			}
			o.ObserveInt64(answering, is, label("witness", w.Name))
			o.ObserveInt64(behind, capped(max(state.LogSize(), w.Size)-w.Size), label("witness", w.Name))
		}
		now := state.LedgerTime(n.wall())
		for name, a := range n.measures.aged.of(state, now) {
			o.ObserveInt64(holds, int64(a.open), label("condition", name))
			o.ObserveInt64(overdue, int64(a.overdue), label("condition", name))
			if a.open > 0 {
				o.ObserveInt64(oldest, capped((now-min(now, a.since))/1000), label("condition", name))
			}
		}
		for _, c := range state.Corridors(now) {
			peer := metric.WithAttributeSet(attribute.NewSet(attribute.String("peer", c.Peer.String()), attribute.String("name", c.Name)))
			o.ObserveInt64(flight, capped(c.InFlight), peer)
			o.ObserveInt64(capacity, capped(c.Cap), peer)
			o.ObserveInt64(condition, map[string]int64{settlement.CorridorStale: 1, settlement.CorridorFrozen: 2}[c.State], peer)
			if c.ObservedAt != 0 {
				o.ObserveInt64(observed, capped((now-min(now, c.ObservedAt))/1000), peer)
			}
			o.ObserveInt64(claims, capped(c.Claims), peer)
		}
		supply := map[zk.AssetID]entry.Supply{}
		for _, row := range state.Supply() {
			supply[row.Asset] = row
		}
		for _, asset := range n.genesis.Assets {
			row, code := supply[asset.ID], label("asset", asset.Code)
			o.ObserveInt64(issued, capped(uint64(row.Issued)), code)
			o.ObserveInt64(redeemed, capped(uint64(row.Redeemed)), code)
			off, _ := n.measures.mismatch.Load(asset.ID)
			v, _ := off.(uint64)
			o.ObserveInt64(mismatch, capped(v), code)
		}
		for name, nanos := range map[string]*atomic.Int64{"admit": &n.stages.admitting, "prove": &n.stages.proving, "sequence": &n.stages.sequencing,
			"look_up": &n.measures.lookingUp, "store": &n.stages.storing, "cosign": &n.stages.cosigned} {
			o.ObserveFloat64(stage, time.Duration(nanos.Load()).Seconds(), label("stage", name))
		}
		return nil
	}, append(all, stage)...)
	if err != nil {
		return nil, fmt.Errorf("register instruments: %w", err)
	}
	return registration.Unregister, nil
}

// tell reads the counters. Outcomes that did not happen yet are told as 0, so that the first one is seen as a rise. all says whether everything
// is final.
func (t *measures) tell(entries func(fate, uint64), appends, rounds func(string, uint64), notFinal func(time.Duration), all bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for f, v := range t.entries {
		entries(f, v)
	}
	for _, outcome := range []string{"committed", "fenced", "in_doubt", "failed"} {
		appends(outcome, t.appends[outcome])
	}
	rounds("quorum", t.rounds[true])
	rounds("none", t.rounds[false])
	switch {
	case all:
		notFinal(0)
		return
	case t.oldest.IsZero(): // not final since before the start, or durable while a round ended
		t.oldest = time.Now()
	}
	notFinal(time.Since(t.oldest))
}

// queue is something in the node that fills up.
type queue struct {
	name         string
	holds, limit int64
}

func (n *Node) queues() []queue {
	return []queue{
		{"entries", n.waiting.Load(), int64(n.cfg.Limits.Waiting)},
		{"bytes", n.bytes.Load(), n.cfg.Limits.WaitingBytes},
		{"verification", int64(n.lanes.length()), int64(n.cfg.Limits.Waiting)},
		{"sequencing", int64(len(n.proven)) + n.stages.queued.Load(), int64(cap(n.proven))},
		{"not_final", capped(n.state.Load().LogSize() - min(n.state.Load().LogSize(), n.final.Load())), capped(n.cfg.Limits.NotFinal)},
	}
}

// agedHolds looks at all open holds, of which there may be a million, and so not every time: never for more than a hundredth of the time.
type agedHolds struct {
	mu    sync.Mutex // guards what follows
	next  time.Time
	known map[string]holdAge
}

// holdAge is about the open holds with one condition.
type holdAge struct {
	open, overdue int
	since         uint64 // ledger time at which the oldest was placed
}

var conditionNames = map[uint8]string{entry.ConditionAttested: "attested", entry.ConditionDecidedHere: "decided_here", entry.ConditionDecidedThere: "decided_there"}

// holdPage is how many holds are read at a time.
const holdPage = 4096

func (a *agedHolds) of(state *settlement.State, now uint64) map[string]holdAge {
	a.mu.Lock()
	defer a.mu.Unlock()
	start := time.Now()
	if start.Before(a.next) {
		return a.known
	}
	known := map[string]holdAge{}
	for _, name := range conditionNames {
		known[name] = holdAge{}
	}
	var after entry.HoldID
	for more := true; more; {
		var page []settlement.Hold
		page, more = state.HoldsAfter(after, holdPage)
		for _, h := range page {
			name := conditionNames[h.Condition.Type]
			k := known[name]
			if k.open == 0 || h.PlacedAt < k.since {
				k.since = h.PlacedAt
			}
			k.open++
			if h.Until != 0 && now >= h.Until {
				k.overdue++
			}
			known[name] = k
			after = h.ID
		}
	}
	a.known, a.next = known, time.Now().Add(100*time.Since(start))
	return known
}

// capped fits an amount into what instruments take.
func capped(v uint64) int64 { return int64(min(v, math.MaxInt64)) }
