package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"time"

	"github.com/comity-ledger/comity/bench/dataset"
	"github.com/comity-ledger/comity/bench/plot"
	"github.com/comity-ledger/comity/bench/rig"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// grown is a ledger with many spent notes.
type grown struct {
	n       int
	founded *rig.Founded
	ledger  *rig.Ledger
	seeding time.Duration
	disk    int64 // bytes that the spent notes take on disk
	rss     int64 // memory of the node when it has started
	quiet   time.Duration
	rounds  []*measured
}

// sizes sends the same load to ledgers with different numbers of spent notes, which take turns.
func (b *bench) sizes(ctx context.Context) error {
	p := b.report.section("Size of the ledger", "Do throughput and processor time for each payment stay within 20 % when the ledger holds 1, 10 and 50 million nullifiers?")
	p.say("Nullifiers are seeded through the store's own Append, 100,000 random ones in each block beside its state entry (in PostgreSQL 50,000), sorted within the block, and a snapshot of the state is saved at the end, so that a start reads the " +
		"nullifiers back and replays nothing. Their entries are not in the log: the ledgers are as large as real ones in nullifiers alone. Some of the seeded ones are those of transfers that are then " +
		"sent as double spends: they are found in the store and refused. All ledgers run at once and take turns, in both directions; those that wait are idle. Before that each is left alone until the store has tidied up.")
	if err := b.sizesOf(ctx, p, "Pebble", b.nullifiers, func() (string, func() (int64, error), error) { return "", nil, nil }); err != nil {
		return err
	}
	if b.postgres {
		if err := b.sizesInPostgres(ctx, p); err != nil {
			return errors.Join(err, b.plotSizes(p))
		}
	}
	return b.plotSizes(p)
}

func (b *bench) sizesInPostgres(ctx context.Context, p *part) error {
	d, err := startPostgres()
	if err != nil {
		b.report.lacks("The sizes of a ledger were not measured on PostgreSQL: %v.", err)
		return nil
	}
	defer d.harness.end()
	return b.sizesOf(ctx, p, "PostgreSQL", b.inPostgres, func() (string, func() (int64, error), error) {
		url, err := d.new()
		return url, func() (int64, error) { return d.diskBytes(url) }, err
	})
}

// sizesOf does so in one kind of store. store makes a new database and says how to look at its size; "" is the data folder.
func (b *bench) sizesOf(ctx context.Context, p *part, kind string, sizes []int, store func() (string, func() (int64, error), error)) (err error) {
	// The last of the transfers are those whose notes are spent already.
	old := b.transfers[len(b.transfers)-b.old:]
	var all []*grown
	defer func() {
		for _, g := range all {
			if g.ledger != nil {
				err = errors.Join(err, g.ledger.Stop())
			}
			err = errors.Join(err, os.RemoveAll(g.founded.Dir))
		}
	}()
	for _, n := range sizes {
		url, onDisk, err := store()
		if err != nil {
			return err
		}
		g := &grown{n: n}
		if g.founded, err = b.found(ctx, url); err != nil {
			return err
		}
		all = append(all, g)
		if onDisk == nil {
			onDisk = func() (int64, error) { return rig.DiskBytes(filepath.Join(g.founded.Dir, "store")), nil }
		}
		if err := b.grow(ctx, g, old, onDisk); err != nil {
			return fmt.Errorf("%s with %s nullifiers: %w", kind, count(n), err)
		}
		b.tell("  %s: %s nullifiers in %v, start in %v, %s", kind, count(n), g.seeding.Round(time.Second), g.ledger.StartUp.Round(time.Millisecond), mega(g.rss))
	}
	rounds := max(1, min(b.rounds, 3, (len(b.transfers)-b.old)/b.round))
	for round := range rounds {
		items := append(append([]dataItem{}, b.transfers[round*b.round:(round+1)*b.round]...), old...)
		rand.New(rand.NewPCG(uint64(round), 7)).Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
		for k := range all {
			g := all[k]
			if round%2 == 1 {
				g = all[len(all)-1-k]
			}
			m, err := b.drive(ctx, g.ledger, g.ledger.Driver(0, 8), items, peak(32))
			if err != nil {
				return err
			}
			if m.Accepted() != b.round || m.Refused(entry.NullifierSpent) != len(old) {
				return fmt.Errorf("%s with %s nullifiers: %d accepted and %d found spent, want %d and %d", kind, count(g.n), m.Accepted(), m.Refused(entry.NullifierSpent), b.round, len(old))
			}
			b.tell("  %s, %s nullifiers: %.0f/s, %s each", kind, count(g.n), m.rate(), micros(m.each()))
			g.rounds = append(g.rounds, m)
		}
	}
	b.tellSizes(p, kind, all, rounds)
	cost, rate := plot.Series{Name: kind}, plot.Series{Name: kind}
	for _, g := range all {
		cost.Points = append(cost.Points, plot.Point{X: float64(g.n), Y: 1e6 * medianOf(g.rounds, perPayment)})
		rate.Points = append(rate.Points, plot.Point{X: float64(g.n), Y: medianOf(g.rounds, (*measured).rate)})
	}
	b.costs, b.rates = append(b.costs, cost), append(b.rates, rate)
	return nil
}

// plotSizes draws what sizesOf found in each kind of store.
func (b *bench) plotSizes(p *part) error {
	x := plot.Axis{Label: "nullifiers in the ledger", Log: true}
	const how = "the same load on each; everything on; processor time of a database server is not in it"
	smallest := b.costs[0].Points[0]
	least := b.rates[0].Points[0]
	return errors.Join(
		b.report.plot(p, "sizes-cost.svg", &plot.Chart{Title: "Node's processor time for each transfer against size of the ledger", Subtitle: how, X: x, Y: plot.Axis{Label: "microseconds"}, Series: b.costs,
			Marks: []plot.Mark{{At: smallest.Y * 1.2, Label: "20 % more than " + b.costs[0].Name + " takes on the smallest"}}}),
		b.report.plot(p, "sizes-rate.svg", &plot.Chart{Title: "Throughput against size of the ledger", Subtitle: how, X: x, Y: plot.Axis{Label: "transfers durable a second"}, Series: b.rates,
			Marks: []plot.Mark{{At: least.Y * 0.8, Label: "20 % fewer than " + b.rates[0].Name + " does on the smallest"}}}))
}

func perPayment(m *measured) float64 { return m.each().Seconds() }

// tellSizes compares every size with the smallest, round by round.
func (b *bench) tellSizes(p *part, kind string, all []*grown, rounds int) {
	t := p.table(fmt.Sprintf("%s: %s transfers and %s double spends in a round, %d rounds, medians", kind, count(b.round), count(b.old), rounds), "nullifiers", "durable/s", "to the smallest", "node's processor time each", "to the smallest",
		"looking up, waits of all callers, each", "storing a block", "seeded in", "on disk, each", "node starts in", "store tidied up after", "memory after the start", "at most under load")
	var worstRate, worstTime float64 = 1, 1
	for _, g := range all {
		var rates, times []float64
		for r := range g.rounds {
			rates = append(rates, g.rounds[r].rate()/all[0].rounds[r].rate())
			times = append(times, g.rounds[r].each().Seconds()/all[0].rounds[r].each().Seconds())
		}
		worstRate, worstTime = min(worstRate, median(rates)), max(worstTime, median(times))
		lookUp := medianOf(g.rounds, func(m *measured) float64 { return m.Stages["look_up"].Seconds() / float64(m.Accepted()) })
		storing := medianOf(g.rounds, func(m *measured) float64 {
			return m.Stages["store"].Seconds() / max(1, float64(m.Accepted())/max(1, m.Block))
		})
		t.row(count(g.n), figure(medianOf(g.rounds, (*measured).rate)), ratio(median(rates)), micros(seconds(medianOf(g.rounds, perPayment))), ratio(median(times)), micros(seconds(lookUp)), millis(seconds(storing)),
			g.seeding.Round(100*time.Millisecond).String(), fmt.Sprintf("%.1f bytes", float64(g.disk)/float64(g.n)), g.ledger.StartUp.Round(10*time.Millisecond).String(), g.quiet.Round(100*time.Millisecond).String(), mega(g.rss), mega(most(g.rounds)))
		b.report.memory(kind+" with "+count(g.n)+" nullifiers", most(g.rounds), g.n)
	}
	smallest, largest := all[0], all[len(all)-1]
	if len(all) > 1 {
		p.say("From %s to %s nullifiers the node's memory after the start grows by %.1f bytes for each (what the runtime has not collected yet included), and the start by %.2f us for each.", count(smallest.n), count(largest.n),
			float64(largest.rss-smallest.rss)/float64(largest.n-smallest.n), 1e6*(largest.ledger.StartUp-smallest.ledger.StartUp).Seconds()/float64(largest.n-smallest.n))
		b.report.goal(fmt.Sprintf("%s: throughput and processor time for each payment at %s nullifiers within 20 %% of %s", kind, count(largest.n), count(smallest.n)),
			fmt.Sprintf("throughput %s, processor time %s at worst", ratio(worstRate), ratio(worstTime)), worstRate >= 0.8 && worstTime <= 1.2)
	}
}

// grow seeds a ledger, starts it, and waits until its store has tidied up.
func (b *bench) grow(ctx context.Context, g *grown, old []dataset.Item, onDisk func() (int64, error)) (err error) {
	before, err := onDisk()
	if err != nil {
		return err
	}
	start := time.Now()
	if err := b.seed(ctx, g, old); err != nil {
		return err
	}
	debug.FreeOSMemory() // the store's fingerprints were in this process
	g.seeding = time.Since(start)
	if g.ledger, err = g.founded.Start(ctx, b.everything()); err != nil {
		return err
	}
	if g.quiet, err = idle(ctx, g.ledger); err != nil {
		return err
	}
	used, err := g.ledger.Look()
	if err != nil {
		return err
	}
	after, err := onDisk()
	g.rss, g.disk = used.RSS, after-before
	return err
}

// seed writes blocks of random nullifiers, and those of old transfers in the first of them.
func (b *bench) seed(ctx context.Context, g *grown, old []dataset.Item) (err error) {
	store, err := g.founded.Open(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	head, err := store.Acquire(ctx)
	if err != nil {
		return err
	}
	each := 100_000
	if g.founded.Store != "" {
		each = 50_000 // a transaction of the database has a time limit
	}
	var spent []zk.Nullifier
	for _, item := range old {
		tx, err := entry.DecodeTransaction(item.Entry)
		if err != nil {
			return err
		}
		for i := range tx.Legs {
			spent = append(spent, tx.Legs[i].Nullifiers...)
		}
	}
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], uint64(g.n))
	random := rand.NewChaCha8(key)
	state, said := g.founded.State, time.Now()
	for done := 0; done < g.n; {
		proposal, err := state.Sequence(nil, state.LedgerTime(uint64(time.Now().UnixMilli())), settlement.NewSettled(), nil)
		if err != nil {
			return err
		}
		block := proposal.Block
		for range min(each, g.n-done) {
			var nullifier zk.Nullifier
			if len(spent) > 0 {
				nullifier, spent = spent[0], spent[1:]
			} else {
				_, _ = random.Read(nullifier[:]) // does not fail
			}
			block.Nullifiers = append(block.Nullifiers, settlement.SpentNullifier{Nullifier: nullifier, EntryIndex: block.FirstIndex})
		}
		// In the order of the index, which spares the store half of its work.
		slices.SortFunc(block.Nullifiers, func(x, y settlement.SpentNullifier) int { return bytes.Compare(x.Nullifier[:], y.Nullifier[:]) })
		done += len(block.Nullifiers)
		if outcome, err := store.Append(ctx, head, block); outcome != settlement.Committed {
			return fmt.Errorf("append block %d: %v: %w", block.Height, outcome, err)
		}
		head, state = block.Head(head.Epoch), proposal.Next()
		if time.Since(said) > 10*time.Second {
			b.tell("  %s of %s nullifiers", count(done), count(g.n))
			said = time.Now()
		}
	}
	if len(spent) > 0 {
		return fmt.Errorf("%d nullifiers of old transfers found no place", len(spent))
	}
	g.founded.State = state
	return store.SaveSnapshot(ctx, state.Height(), state.Marshal())
}

// Idle is a node that uses less than a tenth of a processor, for a second and a half.
const (
	idleShare = 0.10
	idleFor   = 1500 * time.Millisecond
	idleLimit = 2 * time.Minute
)

// idle waits until a node is idle, at most two minutes, and says how long that took.
func idle(ctx context.Context, l *rig.Ledger) (time.Duration, error) {
	start := time.Now()
	for {
		before, err := l.Look()
		if err != nil {
			return 0, err
		}
		select {
		case <-time.After(idleFor):
		case <-ctx.Done():
			return 0, ctx.Err()
		}
		after, err := l.Look()
		if err != nil {
			return 0, err
		}
		took := time.Since(start)
		if float64(after.CPU-before.CPU) < idleShare*float64(idleFor) || took > idleLimit {
			return took - idleFor, nil
		}
	}
}
