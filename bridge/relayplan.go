package bridge

import (
	"bytes"
	"cmp"
	"maps"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// PeerLeaf names a leaf of another ledger that a resolution must prove, under a size that its ledger has observed.
type PeerLeaf struct {
	Ledger      entry.GenesisHash
	Index, Size uint64
	Leaf        []byte
}

// Resolve is a resolution that its ledger would accept.
type Resolve struct {
	On         entry.GenesisHash
	Hold       entry.HoldID
	Outcome    entry.Outcome
	Reason     entry.Reason // ReasonPeers or ReasonExpired
	Commitment zk.Commitment
	Named      []entry.Named
	Peers      []PeerLeaf // to be proven in this order
}

// Entry makes the entry from the proofs of Peers, in their order.
func (a *Resolve) Entry(expiryMillis uint64, peers []entry.PeerProof) *entry.Resolve {
	return &entry.Resolve{Header: entry.Header{Ledger: a.On, ExpiryMillis: expiryMillis}, Hold: a.Hold, Outcome: a.Outcome, Reason: a.Reason,
		Commitment: a.Commitment, Named: a.Named, Peers: peers}
}

// Observe asks for an observation of a peer's log.
type Observe struct {
	On, Peer entry.GenesisHash
	AtLeast  uint64 // leaves that the checkpoint must cover
	Last     uint64 // size observed before: where the consistency proof begins
}

// Claim is evidence that a peer decided otherwise than an override: its ledger books a claim.
type Claim struct {
	On   entry.GenesisHash
	Leaf PeerLeaf // the decision
}

// Entry makes the entry from the proof of Leaf.
func (c *Claim) Entry(expiryMillis uint64, p *entry.PeerProof) *entry.Evidence {
	return &entry.Evidence{Header: entry.Header{Ledger: c.On, ExpiryMillis: expiryMillis}, Peer: c.Leaf.Ledger, Type: entry.EvidenceLate, Data: p.Marshal()}
}

// Plan is what a relayer may do now. All of it may be done at once: nothing else in it needs anything in Observes.
type Plan struct {
	Observes    []Observe
	Resolves    []Resolve
	Claims      []Claim
	Accusations []Accusation
}

// Options steer a plan.
type Options struct {
	// NowMillis is the relayer's clock: a deciding hold whose expiry it has passed is proposed to be voided though the ledger is idle and its
	// log shows an earlier time. 0 for the logs' own time alone.
	NowMillis uint64
	// Fresh also keeps corridors from becoming stale: it asks for an observation when half of the time has gone and the peer's log has grown.
	Fresh bool
}

// Plan says what to do, sorted: the same logs give the same plan.
func (r *Relay) Plan(o Options) Plan {
	p := &planner{relay: r, observe: map[Corridor]uint64{}}
	for name, l := range r.logs {
		for _, h := range l.holds {
			switch {
			case h.here != nil:
				p.decider(name, l, h, o.NowMillis)
			case h.there != nil:
				p.follower(name, l, h)
			}
		}
		for id, x := range l.overrides {
			p.late(name, id, x)
		}
		if o.Fresh {
			for peer, c := range l.corridors {
				if other := r.logs[peer]; c.known && !c.frozen && other != nil && other.next > c.size && (c.size == 0 || max(l.time, o.NowMillis) >= c.observedAt+c.stale/2) {
					p.want(name, peer, c.size+1)
				}
			}
		}
		r.sweep(name, l)
	}
	var out Plan
	for c, size := range p.observe {
		out.Observes = append(out.Observes, Observe{On: c.On, Peer: c.Peer, AtLeast: size, Last: r.logs[c.On].corridor(c.Peer).size})
	}
	slices.SortFunc(out.Observes, func(a, b Observe) int {
		return cmp.Or(bytes.Compare(a.On[:], b.On[:]), bytes.Compare(a.Peer[:], b.Peer[:]))
	})
	out.Resolves = p.resolves
	slices.SortFunc(out.Resolves, func(a, b Resolve) int {
		return cmp.Or(bytes.Compare(a.On[:], b.On[:]), bytes.Compare(a.Hold.Tx[:], b.Hold.Tx[:]), cmp.Compare(a.Hold.Leg, b.Hold.Leg))
	})
	out.Claims = p.claims
	slices.SortFunc(out.Claims, func(a, b Claim) int {
		return cmp.Or(bytes.Compare(a.On[:], b.On[:]), bytes.Compare(a.Leaf.Ledger[:], b.Leaf.Ledger[:]), cmp.Compare(a.Leaf.Index, b.Leaf.Index))
	})
	out.Claims = slices.CompactFunc(out.Claims, func(a, b Claim) bool {
		return a.On == b.On && a.Leaf.Ledger == b.Leaf.Ledger && a.Leaf.Index == b.Leaf.Index
	})
	out.Accusations = r.accuse()
	return out
}

type planner struct {
	relay    *Relay
	observe  map[Corridor]uint64
	resolves []Resolve
	claims   []Claim
}

// want asks for an observation, unless the corridor is not there or frozen.
func (p *planner) want(on, peer entry.GenesisHash, size uint64) {
	if l := p.relay.logs[on]; l != nil && l.corridors[peer] != nil && !l.corridors[peer].frozen {
		p.ask(on, peer, size)
	}
}

func (p *planner) ask(on, peer entry.GenesisHash, size uint64) {
	if c := p.relay.logs[on].corridors[peer]; c != nil && c.known && c.size < size {
		k := Corridor{on, peer}
		p.observe[k] = max(p.observe[k], size)
	}
}

// proves tells whether a leaf of the peer lies under an observed size, and asks for an observation otherwise.
func (p *planner) proves(on, peer entry.GenesisHash, index uint64, leaf []byte) (PeerLeaf, bool) {
	c := p.relay.logs[on].corridors[peer]
	if c == nil || c.size <= index {
		p.want(on, peer, index+1)
		return PeerLeaf{}, false
	}
	return PeerLeaf{peer, index, c.size, leaf}, true
}

// decider plans for a deciding hold: voided once its expiry has come, posted once every follower is logged and observed. Until a follower is
// logged, its ledger is shown the deciding hold, without which it cannot be placed.
func (p *planner) decider(name entry.GenesisHash, l *relayLog, h *relayHold, now uint64) {
	if max(l.time, now) >= h.here.Until {
		p.resolves = append(p.resolves, Resolve{On: name, Hold: h.id, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: h.back})
		return
	}
	out := Resolve{On: name, Hold: h.id, Outcome: entry.Posted, Reason: entry.ReasonPeers, Commitment: h.payee}
	ready := true
	for _, f := range h.here.Followers {
		placed := p.find(name, h, f)
		switch c := l.corridors[f.Ledger]; {
		case placed == nil:
			p.want(f.Ledger, name, h.index+1)
			ready = false
		case placed.settled, c == nil, !c.known, c.frozen: // settled without us: by an override. A frozen corridor never posts
			ready = false
		default:
			leaf, ok := p.proves(name, f.Ledger, placed.index, placed.leaf)
			ready = ready && ok
			out.Named = append(out.Named, entry.Named{Ledger: f.Ledger, Hold: placed.id})
			out.Peers = append(out.Peers, leaf)
		}
	}
	if ready {
		p.resolves = append(p.resolves, out)
	}
}

// find gives the hold that follows h for one follower: with the commitment that h names, and waiting for h alone; the first of several.
func (p *planner) find(name entry.GenesisHash, h *relayHold, f entry.Follower) *relayHold {
	l := p.relay.logs[f.Ledger]
	if l == nil {
		return nil
	}
	var first *relayHold
	for _, c := range l.following[entry.Named{Ledger: name, Hold: h.id}] {
		if c.payee == f.Commitment && c.there.Until == h.here.Until && (first == nil || c.index < first.index || c.index == first.index && c.id.Leg < first.id.Leg) {
			first = c
		}
	}
	return first
}

// follower plans for a hold that follows: as soon as its decider's decision is observed. While the corridor is frozen it waits.
func (p *planner) follower(name entry.GenesisHash, l *relayLog, h *relayHold) {
	other := p.relay.logs[h.there.Ledger]
	if other == nil {
		return
	}
	d := other.decisions[h.there.Hold]
	if c := l.corridors[h.there.Ledger]; d == nil || c == nil || !c.known || c.frozen {
		return
	}
	leaf, ok := p.proves(name, h.there.Ledger, d.index, d.leaf)
	if !ok {
		return
	}
	out := Resolve{On: name, Hold: h.id, Outcome: d.says(name, h.id), Reason: entry.ReasonPeers, Commitment: h.back, Peers: []PeerLeaf{leaf}}
	if out.Outcome == entry.Posted {
		out.Commitment = h.payee
	}
	p.resolves = append(p.resolves, out)
}

// says is what a decision means for a hold that follows: posted if it names that very hold.
func (d *relayDecision) says(on entry.GenesisHash, id entry.HoldID) entry.Outcome {
	if d.outcome == entry.Posted && slices.Contains(d.named, entry.Named{Ledger: on, Hold: id}) {
		return entry.Posted
	}
	return entry.Voided
}

// late plans for a hold that an override settled: a decision that says otherwise is evidence. The corridor may be frozen.
func (p *planner) late(name entry.GenesisHash, id entry.HoldID, o *relayOverride) {
	peer := o.hold.there.Ledger
	other := p.relay.logs[peer]
	if other == nil {
		return
	}
	d := other.decisions[o.hold.there.Hold]
	if d == nil || d.says(name, id) == o.outcome {
		return
	}
	if c := p.relay.logs[name].corridors[peer]; c != nil && c.size > d.index {
		p.claims = append(p.claims, Claim{name, PeerLeaf{peer, d.index, c.size, d.leaf}})
	} else {
		p.ask(name, peer, d.index+1)
	}
}

// Export lists the entries of one ledger's log that another needs, from an index on, ascending: holds that name the other or are named by it, and
// decisions that holds there wait for. An entry before it is listed too while what it says is not used up.
func (r *Relay) Export(of, forLedger entry.GenesisHash, since uint64) []uint64 {
	l := r.logs[of]
	if l == nil {
		return nil
	}
	found := map[uint64]bool{}
	concerns := func(h *relayHold) bool {
		return h.here != nil && slices.ContainsFunc(h.here.Followers, func(f entry.Follower) bool { return f.Ledger == forLedger }) ||
			h.there != nil && h.there.Ledger == forLedger
	}
	for _, h := range l.holds {
		if concerns(h) {
			found[h.index] = true
		}
	}
	for _, d := range l.decisions {
		if concerns(d.hold) && (d.index >= since || r.awaited(of, forLedger, d.hold.id)) {
			found[d.hold.index], found[d.index] = true, true
		}
	}
	return slices.Sorted(maps.Keys(found))
}

// awaited tells whether an open hold of a ledger that is read waits for the decision.
func (r *Relay) awaited(of, forLedger entry.GenesisHash, id entry.HoldID) bool {
	if other := r.logs[forLedger]; other != nil {
		for _, h := range other.following[entry.Named{Ledger: of, Hold: id}] {
			if !h.settled {
				return true
			}
		}
	}
	return false
}
