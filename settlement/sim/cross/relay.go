package cross

import (
	"bytes"
	"fmt"
	"slices"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
)

// sorted lists the holds of a book in the order of the log.
func (b *book) sorted() []*hold {
	out := make([]*hold, 0, len(b.holds))
	for _, h := range b.holds {
		out = append(out, h)
	}
	slices.SortFunc(out, func(x, y *hold) int {
		if x.index != y.index {
			return int(x.index) - int(y.index)
		}
		return int(x.id.Leg) - int(y.id.Leg)
	})
	return out
}

// Planner is a relayer that is under test here and lives in a package that this
// one may not import. It sees every entry of every log in order.
type Planner interface {
	Add(ledger entry.GenesisHash, index uint64, leaf []byte) error
	Next(ledger entry.GenesisHash) uint64
	Plan(nowMillis uint64) []Action
}

// Action is one thing that a Planner wants done: an observation of Peer on On
// that covers AtLeast leaves, or a resolution on On with proofs of Peers.
type Action struct {
	On, Peer entry.GenesisHash
	AtLeast  uint64
	Resolve  *entry.Resolve // nil for an observation; without header and proofs
	Peers    []PeerLeaf
}

// PeerLeaf is what a resolution must prove.
type PeerLeaf struct {
	Ledger      entry.GenesisHash
	Index, Size uint64
}

// planned lets the planner act, on what the logs say now. Now and then it is
// wiped and reads everything again.
func (w *world) planned() {
	if w.planner == nil || !w.calm && w.rand.Chance(0.04) {
		var hashes []entry.GenesisHash
		for _, l := range w.ledgers {
			hashes = append(hashes, l.hash)
		}
		w.report.Other["relayer wiped"]++
		w.planner = w.options.Planner(hashes)
	}
	clock := uint64(0)
	for _, l := range w.ledgers {
		clock = max(clock, l.wall)
		for at := w.planner.Next(l.hash); at < uint64(len(l.leaves)); at++ {
			if err := w.planner.Add(l.hash, at, l.leaves[at]); err != nil {
				w.fail(fmt.Errorf("relayer: entry %d of %s: %w", at, l.name, err))
				return
			}
		}
	}
	for _, a := range w.planner.Plan(clock) {
		l := w.byHash[a.On]
		if a.Resolve == nil {
			if peer := w.byHash[a.Peer]; peer.final.Size >= a.AtLeast && !w.cut(l, peer) {
				w.relayHead(l, peer)
			}
			continue
		}
		e, reach := *a.Resolve, true
		e.Header, e.Peers = l.header(), nil
		for _, p := range a.Peers {
			peer := w.byHash[p.Ledger]
			reach = reach && !w.cut(l, peer)
			e.Peers = append(e.Peers, *peer.peerProof(p.Index, p.Size))
		}
		if reach {
			w.submit(l, &e)
		}
	}
}

// relay lets two relayers race. They know nothing but the logs. In half of the
// worlds one of them is the planner, which in calm must finish alone.
func (w *world) relay() {
	relayers := 2
	if w.options.Planner != nil && w.options.Seed%2 == 0 {
		if relayers = 1; w.calm {
			relayers = 0
		}
		if w.calm || w.rand.Chance(0.55) {
			w.planned()
		}
	}
	for range relayers {
		if w.failure != nil || !w.calm && !w.rand.Chance(0.55) {
			continue
		}
		for _, l := range w.ledgers {
			for _, peer := range w.ledgers {
				if l != peer && !w.cut(l, peer) && (w.calm || w.rand.Chance(0.7)) {
					w.relayHead(l, peer)
				}
			}
			for _, h := range l.book.sorted() {
				if h.outcome == 0 && (w.calm || w.rand.Chance(0.6)) {
					if e := w.due(l, h); e != nil {
						w.submit(l, e)
					}
				}
			}
		}
	}
}

// relayHead shows l the newest final head of a peer.
func (w *world) relayHead(l, peer *ledger) {
	if peer.final.Size > l.book.sizeSeen(peer.hash) {
		if e := w.observation(l, peer, l.book.sizeSeen(peer.hash), peer.final, peer.note); e != nil {
			w.submit(l, e)
		}
	}
}

func (w *world) observation(l, peer *ledger, from uint64, head proof.Head, note []byte) *entry.Observe {
	e := &entry.Observe{Header: l.header(), Peer: peer.hash, Size: head.Size, Root: head.Root, Checkpoint: note, State: peer.leaves[head.Size-1]}
	state := peer.peerProof(head.Size-1, head.Size)
	e.StatePath = state.Path
	if from > 0 && from < head.Size {
		path, err := proof.ProveConsistency(from, head.Size, peer.reader())
		if err != nil {
			w.fail(err)
			return nil
		}
		e.Consistency = raw(path)
	}
	return e
}

// due is what can be done now for an open hold that waits for other ledgers or
// for the clock, nil for nothing.
func (w *world) due(l *ledger, h *hold) *entry.Resolve {
	switch c := h.cond.(type) {
	case *entry.DecidedHere:
		if max(l.book.time, l.wall) >= h.until {
			return w.voidExpired(l, h)
		}
		return w.post(l, h, c)
	case *entry.DecidedThere:
		return w.copyDecision(l, h, c)
	}
	return nil
}

func (w *world) voidExpired(l *ledger, h *hold) *entry.Resolve {
	return &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: entry.Voided, Reason: entry.ReasonExpired, Commitment: h.leg.ReturnCommitment}
}

// post proves that every follower's hold is logged.
func (w *world) post(l *ledger, h *hold, c *entry.DecidedHere) *entry.Resolve {
	e := &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: entry.Posted, Reason: entry.ReasonPeers, Commitment: h.leg.Commitments[0]}
	for _, f := range c.Followers {
		peer := w.byHash[f.Ledger]
		seen := l.book.sizeSeen(f.Ledger)
		var found *hold
		for _, p := range peer.book.sorted() {
			there, ok := p.cond.(*entry.DecidedThere)
			if ok && p.index < seen && there.Hold == h.id && there.Ledger == l.hash && (p.leg.Commitments[0] == f.Commitment || w.bug.careless) &&
				(found == nil || w.rand.Chance(0.5)) {
				found = p
			}
		}
		if found == nil || w.cut(l, peer) {
			return nil
		}
		e.Named = append(e.Named, entry.Named{Ledger: f.Ledger, Hold: found.id})
		e.Peers = append(e.Peers, *peer.peerProof(found.index, seen))
	}
	return e
}

// copyDecision carries the decider's decision to a follower.
func (w *world) copyDecision(l *ledger, h *hold, c *entry.DecidedThere) *entry.Resolve {
	peer := w.byHash[c.Ledger]
	decider := peer.book.holds[c.Hold]
	seen := l.book.sizeSeen(c.Ledger)
	if decider == nil || decider.outcome == 0 || decider.decidedAt >= seen || w.cut(l, peer) {
		return nil
	}
	e := &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: entry.Voided, Reason: entry.ReasonPeers, Commitment: h.leg.ReturnCommitment,
		Peers: []entry.PeerProof{*peer.peerProof(decider.decidedAt, seen)}}
	if decider.outcome == entry.Posted && slices.Contains(decider.named, entry.Named{Ledger: l.hash, Hold: h.id}) {
		e.Outcome, e.Commitment = entry.Posted, h.leg.Commitments[0]
	}
	return e
}

// lie is what a malicious relayer, a malicious log and a forger try. Nothing of
// it may settle that the book does not hold right; most of it must be refused.
func (w *world) lie() {
	if !w.rand.Chance(0.7) {
		return
	}
	l, peer := w.pair()
	if w.rand.Chance(0.3) && len(w.sent) > 0 {
		w.report.Other["replayed message"]++
		old := *w.sent[w.rand.IntN(len(w.sent))]
		if w.rand.Chance(0.2) {
			old.to = l // of another ledger, perhaps
		}
		w.send(&old, sending{old.leaf, old.segments})
		return
	}
	if w.rand.Chance(0.25) {
		w.lieAboutHead(l, peer)
		return
	}
	open := slices.DeleteFunc(l.book.sorted(), func(h *hold) bool { return h.outcome != 0 && !w.rand.Chance(0.1) })
	if len(open) == 0 {
		return
	}
	h := open[w.rand.IntN(len(open))]
	lie := func(name string, e *entry.Resolve) {
		w.report.Other["lie: "+name]++
		w.submit(l, e)
	}
	switch c := h.cond.(type) {
	case *entry.DecidedHere:
		switch e := w.post(l, h, c); {
		case w.rand.Chance(0.3):
			lie("expired too early, perhaps", w.voidExpired(l, h))
		case e == nil:
			lie("posted for nothing", &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: entry.Posted, Reason: entry.ReasonAttested, Commitment: h.leg.Commitments[0]})
		case w.rand.Chance(0.3):
			lie("posted late, perhaps", e)
		default:
			w.spoil(l, e)
			lie("spoilt decision", e)
		}
	case *entry.DecidedThere:
		decider := w.byHash[c.Ledger].book.holds[c.Hold]
		switch e := w.copyDecision(l, h, c); {
		case w.rand.Chance(0.3):
			lie("follower by the clock", w.voidExpired(l, h))
		case e != nil && w.rand.Chance(0.5):
			// The other outcome, with the true proof.
			if e.Outcome == entry.Posted {
				e.Outcome, e.Commitment = entry.Voided, h.leg.ReturnCommitment
			} else {
				e.Outcome, e.Commitment = entry.Posted, h.leg.Commitments[0]
			}
			lie("other outcome", e)
		case e != nil:
			w.spoil(l, e)
			lie("spoilt decision", e)
		default:
			w.misplace(l, h, c, decider)
		}
	}
}

// misplace claims the decision of some other hold.
func (w *world) misplace(l *ledger, h *hold, c *entry.DecidedThere, _ *hold) {
	peer := w.byHash[c.Ledger]
	seen := l.book.sizeSeen(c.Ledger)
	for _, other := range peer.book.sorted() {
		if other.outcome == 0 || other.decidedAt >= seen || w.rand.Chance(0.5) {
			continue
		}
		w.report.Other["lie: decision of another hold"]++
		e := &entry.Resolve{Header: l.header(), Hold: h.id, Outcome: entry.Voided, Reason: entry.ReasonPeers, Commitment: h.leg.ReturnCommitment,
			Peers: []entry.PeerProof{*peer.peerProof(other.decidedAt, seen)}}
		if w.rand.Chance(0.5) {
			e.Outcome, e.Commitment = entry.Posted, h.leg.Commitments[0]
		}
		w.submit(l, e)
		return
	}
}

// spoil changes one thing in a true resolution.
func (w *world) spoil(l *ledger, e *entry.Resolve) {
	p := &e.Peers[w.rand.IntN(len(e.Peers))]
	switch w.rand.IntN(7) {
	case 0:
		p.Index ^= 1 // a valid leaf at a wrong index
	case 1:
		p.Leaf = bytes.Clone(p.Leaf)
		p.Leaf[w.rand.IntN(len(p.Leaf))] ^= 1
	case 2:
		p.Size-- // an old checkpoint, or one that was never observed
	case 3:
		if len(p.Path) > 0 { // a node taken for a leaf
			p.Leaf = append(append([]byte{}, p.Path[0][:]...), p.Path[len(p.Path)-1][:]...)
		}
	case 4:
		e.Commitment[31] ^= 1
	case 5: // the ledger's own log, reflected
		size := uint64(len(l.leaves))
		*p = *l.peerProof(uint64(w.rand.IntN(int(size))), size)
	case 6:
		if len(e.Named) > 0 {
			e.Named[0].Hold.Leg ^= 1
		} else {
			e.Hold.Leg ^= 1
		}
	}
}

// lieAboutHead shows l a head of peer that it must not believe, or evidence that
// the log of peer signed two.
func (w *world) lieAboutHead(l, peer *ledger) {
	seen := l.book.sizeSeen(peer.hash)
	size := uint64(len(peer.leaves))
	if seen == 0 || size < 3 {
		return
	}
	head := proof.Head{Size: size, Root: peer.book.root}
	forged := head
	forged.Root[w.rand.IntN(32)] ^= 1
	switch w.rand.IntN(6) {
	case 5: // a true head, cosigned by all but the one of l's nation
		note, err := peer.checkpoint(head, peer.witnesses[1:])
		w.fail(err)
		w.report.Other["lie: own witness missing"]++
		if e := w.observation(l, peer, seen, head, note); e != nil {
			w.submit(l, e)
		}
	case 0: // cosigned by one witness
		i := w.rand.IntN(3)
		note, err := peer.checkpoint(head, peer.witnesses[i:i+1])
		w.fail(err)
		w.report.Other["lie: half a quorum"]++
		if e := w.observation(l, peer, seen, head, note); e != nil {
			w.submit(l, e)
		}
	case 1: // one witness counted twice
		note, err := peer.checkpoint(head, []*proof.Cosigner{peer.witnesses[1], peer.witnesses[1]})
		w.fail(err)
		w.report.Other["lie: one witness twice"]++
		if e := w.observation(l, peer, seen, head, note); e != nil {
			w.submit(l, e)
		}
	case 2: // a root that the log never had, all witnesses colluding
		if size <= seen {
			return
		}
		note, err := peer.checkpoint(forged, peer.witnesses)
		w.fail(err)
		w.report.Other["lie: forged head, everybody colludes"]++
		if e := w.observation(l, peer, seen, head, note); e != nil {
			e.Root = forged.Root
			w.submit(l, e)
		}
	case 3: // an older head
		w.report.Other["lie: old head"]++
		if seen > 1 && peer.note != nil {
			if e := w.observation(l, peer, 0, peer.final, peer.note); e != nil {
				w.submit(l, e)
			}
		}
	case 4:
		if !w.rand.Chance(0.1) || peer.note == nil {
			return
		}
		forged := peer.final
		forged.Root[0] ^= 1
		e, err := proof.NewEvidence(peer.signer.Origin(), peer.signer.Public(), peer.note, peer.signer.Sign(forged), nil)
		w.fail(err)
		w.report.Other["fork shown"]++
		if err == nil {
			w.submit(l, &entry.Evidence{Header: l.header(), Peer: peer.hash, Type: entry.EvidenceFork, Data: e.Marshal()})
		}
	}
}
