package node

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/metric"
	"go.opentelemetry.io/otel/metric/noop"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/zk"
)

// crossing is a payment from the node's ledger to a peer, made by hand as a relayer would: what the node says, and nothing else, is used.
type crossing struct {
	*rig
	t    testing.TB
	n    *running
	peer *ledgertest.Bed
	seq  uint64
	tx   *ledgertest.Tx // places the node's hold
	hold entry.HoldID
	b    entry.HoldID // the peer's, which decides
}

const (
	classSmall = 100
	corridorAt = 1000
)

func newCrossing(t testing.TB) *crossing {
	r := newRig(t)
	return &crossing{rig: r, t: t, peer: ledgertest.NewBed(2), n: r.start(t, r.disk)}
}

// accept submits an entry to the node and gives its result.
func (c *crossing) accept(e entry.Entry) settlement.Result {
	c.t.Helper()
	r, err := c.n.Submit(c.t.Context(), entry.Encode(e), nil)
	if err != nil || r.Status != settlement.Accepted {
		c.t.Fatalf("%s: %+v, %v", e.Kind(), r, err)
	}
	return r
}

// privileged signs an entry of the node's treasury with the next sequence number: the rig's bed stays at block 0 and knows none.
func (c *crossing) privileged(e entry.Entry) entry.Entry {
	c.seq++
	e.Head().Sequence = c.seq
	return c.Signed(e)
}

func (c *crossing) peerAccepts(what any) {
	c.t.Helper()
	if r := c.peer.Submit(what)[0]; r.Status != settlement.Accepted {
		c.t.Fatalf("the peer: %v", r.Refusal)
	}
}

// observedByPeer brings the node's newest final checkpoint to the peer.
func (c *crossing) observedByPeer() (size uint64) {
	c.t.Helper()
	size, note, err := c.n.WaitCheckpoint(c.t.Context(), c.n.Status().Size, nil)
	must(c.t, err)
	e := &entry.Observe{Header: c.peer.Plain(), Peer: c.Hash, Size: size, Checkpoint: note}
	f, err := c.policy.Check(note, 0)
	must(c.t, err)
	e.Root = f.Root
	e.State, _, err = c.n.Entry(c.t.Context(), size-1)
	must(c.t, err)
	e.StatePath, err = c.n.Inclusion(c.t.Context(), size-1, size)
	must(c.t, err)
	for _, known := range c.peer.State.Corridors(c.peer.Now) {
		if known.Size != 0 {
			e.Consistency, err = c.n.Consistency(c.t.Context(), known.Size, size)
			must(c.t, err)
		}
	}
	c.peerAccepts(e)
	return size
}

// observePeer brings the peer's log to the node.
func (c *crossing) observePeer() {
	c.t.Helper()
	e := c.Observe(c.peer)
	if known := c.n.Corridors()[0]; known.Size != 0 {
		var err error
		e.Consistency, err = plain(proof.ProveConsistency(known.Size, e.Size, c.peer))
		must(c.t, err)
	}
	c.accept(e)
}

// place opens corridors both ways and places the hold on each ledger.
func (c *crossing) place() {
	c.t.Helper()
	c.accept(c.privileged(c.Recognise(c.peer, corridorAt, classSmall)))
	c.peerAccepts(c.peer.Recognise(c.Bed, corridorAt, classSmall))
	c.observedByPeer()
	there := &entry.DecidedThere{Ledger: c.peer.Hash, Until: c.peer.Now + 50_000}
	c.tx = c.Holding(classSmall, there)
	onPeer := c.peer.Prove(c.peer.Holding(classSmall, &entry.DecidedHere{Until: there.Until,
		Followers: []entry.Follower{{Ledger: c.Hash, Commitment: c.tx.Legs[0].Commitments[0]}}}))
	c.peerAccepts(onPeer)
	c.b = onPeer.HoldID(0)
	c.observePeer()
	there.Hold = c.b
	c.tx.Legs[0].Condition = there.Condition()
	c.tx.Legs[0].Peer = c.peer.Proof(c.b.Tx)
	c.Prove(c.tx)
	c.hold = c.tx.HoldID(0)
	if r, err := send(c.n, c.tx); err != nil || r.Status != settlement.Accepted {
		c.t.Fatalf("the hold: %+v, %v", r, err)
	}
}

// decide lets the peer post its hold, and gives the entry by which the node's follows.
func (c *crossing) decide() *entry.Resolve {
	c.t.Helper()
	size := c.observedByPeer()
	hits, err := c.n.Spent(c.t.Context(), []zk.Nullifier{c.tx.Legs[0].Nullifiers[0]})
	must(c.t, err)
	p := entry.PeerProof{Size: size, Index: hits[0].EntryIndex, Leaf: c.tx.Encode()}
	p.Path, err = c.n.Inclusion(c.t.Context(), p.Index, size)
	must(c.t, err)
	decision := c.peer.Resolution(c.b, entry.Posted, entry.ReasonPeers)
	decision.Named, decision.Peers = []entry.Named{{Ledger: c.Hash, Hold: c.hold}}, []entry.PeerProof{p}
	c.peerAccepts(decision)
	c.observePeer()
	e := c.Resolution(c.hold, entry.Posted, entry.ReasonPeers)
	e.Commitment, e.Peers = c.tx.Legs[0].Commitments[0], []entry.PeerProof{*c.peer.Proof(entry.IDOf(decision))}
	return e
}

// cut takes the power away at once: what was not synced is lost. The node starts again from what is left.
func (c *crossing) cut() {
	c.t.Helper()
	left := c.disk.Lose(0, 1)
	must(c.t, c.n.stop(c.t))
	c.disk = left
	c.n = c.start(c.t, left)
}

// escrow places a hold that its payee can release.
func (c *crossing) escrow(until uint64) (*ledgertest.Tx, entry.HoldID, ed25519.PrivateKey) {
	c.t.Helper()
	rule := &entry.Attested{Until: until, Statement: entry.StatementDelivery, Threshold: 1}
	var payee ed25519.PrivateKey
	payee, rule.Payee = c.Key()
	_, attestor := c.Key()
	rule.Attestors = []entry.SignerKey{attestor}
	tx := c.Prove(c.Holding(0, rule))
	if r, err := send(c.n, tx); err != nil || r.Status != settlement.Accepted {
		c.t.Fatalf("the escrow: %+v, %v", r, err)
	}
	return tx, tx.HoldID(0), payee
}

func (c *crossing) view() string {
	holds, more, _ := c.n.HoldsAfter(entry.HoldID{}, 10)
	text, err := json.Marshal([]any{c.n.Holds(), holds, more, c.n.Corridors()})
	must(c.t, err)
	return string(text)
}

func TestHoldsAndCorridorsSurviveKillsAndAreResolved(t *testing.T) {
	for name, snapshot := range map[string]uint64{"from the log": 1 << 40, "from a snapshot": 1} {
		t.Run(name, func(t *testing.T) {
			c := newCrossing(t)
			must(t, c.n.stop(t))
			c.limits.Snapshot = snapshot
			c.n = c.start(t, c.disk)
			c.place()
			placed, held, payee := c.escrow(c.Now + 100_000)
			before := c.view()
			if k := c.n.Corridors()[0]; len(c.n.Holds()) != 2 || k.InFlight != classSmall || k.State != settlement.CorridorActive {
				t.Fatalf("after placing: %s", before)
			}
			c.cut()
			if after := c.view(); after != before {
				t.Fatalf("after a kill\n%s\nbefore\n%s", after, before)
			}
			resolve := c.decide()
			c.cut()
			res := c.accept(resolve)
			release := &entry.Resolve{Header: c.Plain(), Hold: held, Outcome: entry.Voided, Reason: entry.ReasonReleased, Commitment: placed.Legs[0].ReturnCommitment}
			copy(release.Release[:], ed25519.Sign(payee, entry.ReleaseMessage(entry.IDOf(release))))
			c.accept(release)
			if k := c.n.Corridors()[0]; len(c.n.Holds()) != 0 || k.InFlight != 0 {
				t.Fatalf("after resolving: %s", c.view())
			}
			c.cut()
			if _, open := c.n.Hold(c.hold); open || c.n.Status().State.Holds != 0 {
				t.Fatal("a resolved hold is open after a kill")
			}
			hits, err := c.n.Spent(t.Context(), []zk.Nullifier{c.hold.Key()})
			if err != nil || !hits[0].Found || hits[0].EntryIndex != res.EntryIndex {
				t.Fatalf("what decided the hold: %+v, %v", hits, err)
			}
			again, err := c.n.Submit(t.Context(), entry.Encode(resolve), nil)
			if err != nil || again.Status != settlement.SettledBefore || again.EntryIndex != res.EntryIndex {
				t.Fatalf("sent again: %+v, %v", again, err)
			}
			other := *resolve
			other.ExpiryMillis++
			if _, err := c.n.Submit(t.Context(), entry.Encode(&other), nil); entry.CodeOf(err) != entry.HoldResolved {
				t.Fatalf("another resolution: %v", err)
			}
			if _, err := c.n.Receipt(t.Context(), res.EntryIndex); err != nil {
				t.Fatal(err)
			}
			c.replays()
			must(t, c.n.stop(t))
		})
	}
}

// replays reads the log as a validating witness does, and ends where the node stands.
func (c *crossing) replays() {
	c.t.Helper()
	var w *replay.Replayer
	for block, err := range c.n.store.Blocks(c.t.Context(), 0) {
		must(c.t, err)
		if w == nil {
			w, err = replay.New(block, replay.Config{Verifier: c.verify, Genesis: c.Hash})
			must(c.t, err)
			continue
		}
		must(c.t, w.Apply(&settlement.Block{Height: block.Height, FirstIndex: block.FirstIndex, Entries: block.Entries}))
	}
	if !bytes.Equal(w.State().Marshal(), c.n.state.Load().Marshal()) {
		c.t.Fatal("a witness that replays the log holds another state than the node")
	}
}

func TestEntriesWithoutNullifiersAreFoundByTheirIDs(t *testing.T) {
	c := newCrossing(t)
	c.accept(c.privileged(c.Recognise(c.peer, corridorAt, classSmall)))
	e := c.Observe(c.peer)
	r := c.accept(e)
	c.cut() // so that the node remembers no ids
	c.n.recent.searching.Lock()
	defer c.n.recent.searching.Unlock() // whoever searches the log waits for ever
	brief, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if index, err := c.n.IndexOf(brief, entry.IDOf(e)); err != nil || index != r.EntryIndex {
		t.Fatalf("index %d, %v; want %d", index, err, r.EntryIndex)
	}
	must(t, c.n.stop(t))
}

func TestIdleLedgerLogsSoonThatAHoldHasExpired(t *testing.T) {
	c := newCrossing(t)
	began := c.clock.Load()
	tx, held, _ := c.escrow(began + 21_000)
	height := c.n.Status().State.Height
	c.clock.Store(began + 20_000)
	must(t, c.n.WaitBlock(t.Context(), height+1))
	// By its cadence an idle ledger would not write before 21,280: 64 ticks of 20 ms.
	c.clock.Store(began + 20_990)
	time.Sleep(200 * time.Millisecond)
	if h := c.n.Status().State.Height; h != height+1 {
		t.Fatalf("height %d, want %d: the cadence is not what this test believes", h, height+1)
	}
	c.clock.Store(began + 21_000)
	soon, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	must(t, c.n.WaitBlock(soon, height+2))
	if at := c.n.Status().State.TimeMillis; at != began+21_000 {
		t.Fatalf("logged %d", at)
	}
	time.Sleep(200 * time.Millisecond) // an expired hold does not keep the ledger awake
	if h := c.n.Status().State.Height; h != height+2 {
		t.Fatalf("height %d, want %d", h, height+2)
	}
	c.accept(&entry.Resolve{Header: c.Ledger.Header(began+60_000, 0), Hold: held, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: tx.Legs[0].ReturnCommitment})
	must(t, c.n.stop(t))
}

// gauges is a meter that keeps what was observed last, by instrument and peer.
type gauges struct {
	noop.Meter
	callback metric.Callback
}

type gauge struct {
	noop.Int64ObservableGauge
	name string
}

type collected struct {
	noop.Observer
	got map[string]int64
}

func (g *gauges) Int64ObservableGauge(name string, _ ...metric.Int64ObservableGaugeOption) (metric.Int64ObservableGauge, error) {
	return gauge{name: name}, nil
}

func (g *gauges) RegisterCallback(f metric.Callback, _ ...metric.Observable) (metric.Registration, error) {
	g.callback = f
	return noop.Registration{}, nil
}

func (c collected) ObserveInt64(i metric.Int64Observable, v int64, options ...metric.ObserveOption) {
	if g, ok := i.(gauge); ok {
		set := metric.NewObserveConfig(options).Attributes()
		which, ok := set.Value("name")
		for _, key := range []attribute.Key{"condition", "asset"} {
			if !ok {
				which, ok = set.Value(key)
			}
		}
		c.got[g.name+" "+which.AsString()] = v
	}
}

func TestHoldsAndCorridorsAreMeasured(t *testing.T) {
	c := newCrossing(t)
	c.place()
	g := &gauges{}
	_, err := c.n.observe(g)
	must(t, err)
	measure := func() map[string]int64 {
		o := collected{got: map[string]int64{}}
		must(t, g.callback(t.Context(), o))
		return o.got
	}
	peer := " " + c.peer.Genesis.Name
	got := measure()
	for name, want := range map[string]int64{"comity.holds.open decided_there": 1, "comity.holds.open attested": 0, "comity.corridor.in_flight" + peer: classSmall, "comity.corridor.cap" + peer: corridorAt, "comity.corridor.state" + peer: 0,
		"comity.corridor.observed" + peer: 0, "comity.corridor.claims" + peer: 0} {
		if v, ok := got[name]; !ok || v != want {
			t.Errorf("%s is %d (%t), want %d", name, v, ok, want)
		}
	}
	c.clock.Add(601_000)
	if got := measure(); got["comity.corridor.state"+peer] != 1 || got["comity.corridor.observed"+peer] != 601 {
		t.Errorf("a corridor that was not observed for ten minutes: %v", got)
	}
	freeze := c.privileged(&entry.Corridor{Header: c.Ledger.Header(c.clock.Load()+60_000, 0), Peer: c.peer.Hash, Action: entry.CorridorFreezes})
	c.accept(freeze)
	if got := measure(); got["comity.corridor.state"+peer] != 2 {
		t.Errorf("a frozen corridor: %v", got)
	}
	must(t, c.n.stop(t))
}
