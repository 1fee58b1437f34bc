package bridge

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// A world of small ledgers with the rules of holds and corridors, written apart from the settlement core: payers, desks and relays meet here, with
// real entries, trees and proofs of inclusion, and no zero-knowledge proofs.

type toyHold struct {
	index   uint64
	leg     *entry.Leg
	cond    any
	owner   zk.Owner // who placed it
	amount  zk.Amount
	outcome entry.Outcome
	named   []entry.Named
}

type toyLedger struct {
	Ledger
	world   *world
	origin  string
	key     ed25519.PrivateKey
	leaves  [][]byte
	hashes  []tlog.Hash
	time    uint64
	skew    int64
	holds   map[entry.HoldID]*toyHold
	settled map[entry.ID]bool
	heads   map[entry.GenesisHash]map[uint64][32]byte
	last    map[entry.GenesisHash]uint64
	frozen  map[entry.GenesisHash]bool
	balance map[zk.Owner]int64
	down    bool
}

func (l *toyLedger) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = l.hashes[x]
	}
	return out, nil
}

func (l *toyLedger) append(leaf []byte) uint64 {
	n := int64(len(l.leaves))
	l.hashes = append(l.hashes, must(tlog.StoredHashes(n, leaf, l))...)
	l.leaves = append(l.leaves, leaf)
	return uint64(n)
}

func (l *toyLedger) size() uint64 { return uint64(len(l.leaves)) }

func (l *toyLedger) state() {
	l.append(entry.Encode(&entry.State{TimeMillis: l.time, OversightEpoch: 1, NextSequence: 1}))
}

// tick lets time pass; a ledger with open holds logs it.
func (l *toyLedger) tick() {
	if now := uint64(int64(l.world.now) + l.skew); now > l.time && !l.down {
		l.time = now
		l.state()
	}
}

func (l *toyLedger) checkpoint(size uint64) []byte {
	root := must(proof.RootAt(size, l))
	return must(proof.NewLogSigner(l.origin, l.key)).Sign(proof.Head{Size: size, Root: root})
}

func paths(hs []proof.Hash) [][32]byte {
	out := make([][32]byte, len(hs))
	for i, h := range hs {
		out[i] = h
	}
	return out
}

func (l *toyLedger) prove(index, size uint64) entry.PeerProof {
	return entry.PeerProof{Size: size, Index: index, Path: paths(must(proof.ProveInclusion(size, index, l))), Leaf: l.leaves[index]}
}

func (l *toyLedger) observation(peer *toyLedger) *entry.Observe {
	size, last := peer.size(), l.last[peer.Hash]
	return &entry.Observe{Header: entry.Header{Ledger: l.Hash, ExpiryMillis: 1 << 50}, Peer: peer.Hash, Size: size, Root: must(proof.RootAt(size, peer)),
		Checkpoint: peer.checkpoint(size), Consistency: paths(must(proof.ProveConsistency(last, size, peer))), State: peer.leaves[size-1],
		StatePath: paths(must(proof.ProveInclusion(size, size-1, peer)))}
}

var errDown = errors.New("down")

// submit judges an entry by the bytes and logs it in a block of its own.
func (l *toyLedger) submit(e entry.Entry) error {
	if l.down {
		return errDown
	}
	leaf := entry.Encode(e)
	e, err := entry.Decode(leaf)
	if err != nil {
		return err
	}
	id := entry.IDOf(e)
	if l.settled[id] {
		return nil
	}
	if e.Head().Ledger != l.Hash {
		return entry.Refuse(entry.WrongLedger, "")
	}
	l.time = max(l.time, uint64(int64(l.world.now)+l.skew))
	if l.time >= e.Head().ExpiryMillis {
		return entry.Refuse(entry.Expired, "at %d", l.time)
	}
	switch e := e.(type) {
	case *entry.Transaction:
		err = l.place(e)
	case *entry.Observe:
		err = l.observe(e)
	case *entry.Resolve:
		err = l.resolve(e)
	case *entry.Corridor:
		if e.Action != entry.CorridorSets {
			l.frozen[e.Peer] = e.Action == entry.CorridorFreezes
		}
	case *entry.Override:
		err = l.decide(e.Hold, e.Outcome, nil)
	case *entry.Evidence:
		err = l.evidence(e)
	}
	if err != nil {
		return err
	}
	l.settled[id] = true
	l.append(leaf)
	l.state()
	return nil
}

func (l *toyLedger) peerLeaf(peer entry.GenesisHash, p *entry.PeerProof) (entry.Entry, error) {
	root, ok := l.heads[peer][p.Size]
	if !ok {
		return nil, entry.Refuse(entry.PeerSizeUnknown, "%d", p.Size)
	}
	if err := proof.VerifyInclusion(proof.Head{Size: p.Size, Root: root}, p.Index, proof.LeafHash(p.Leaf), hashes(p.Path)); err != nil {
		return nil, entry.Refuse(entry.PeerProofInvalid, "%v", err)
	}
	e, err := entry.Decode(p.Leaf)
	if err == nil && (e.Head() == nil || e.Head().Ledger != peer) {
		err = entry.Refuse(entry.PeerProofInvalid, "a leaf of another ledger")
	}
	return e, err
}

func (l *toyLedger) place(tx *entry.Transaction) error {
	id := entry.HoldID{Tx: tx.ID()}
	leg := &tx.Legs[0]
	h := &toyHold{index: l.size(), leg: leg, cond: must(leg.Condition.Decode())}
	switch c := h.cond.(type) {
	case *entry.DecidedHere:
		if c.Until <= l.time {
			return entry.Refuse(entry.HoldExpired, "")
		}
		for _, f := range c.Followers {
			if l.frozen[f.Ledger] {
				return entry.Refuse(entry.CorridorFrozen, "")
			}
		}
	case *entry.DecidedThere:
		if l.frozen[c.Ledger] {
			return entry.Refuse(entry.CorridorFrozen, "")
		}
		if leg.Peer == nil {
			return entry.Refuse(entry.PeerProofInvalid, "missing")
		}
		e, err := l.peerLeaf(c.Ledger, leg.Peer)
		if err != nil {
			return err
		}
		d, err := ReadDeciding(c.Ledger, c.Hold, entry.Encode(e))
		if err != nil || !d.lists(entry.Follower{Ledger: l.Hash, Commitment: leg.Commitments[0]}) || d.Until != c.Until {
			return entry.Refuse(entry.PeerMismatch, "%v", err)
		}
		if c.Until <= l.time {
			return entry.Refuse(entry.HoldExpired, "")
		}
	}
	n := l.world.openings[leg.Commitments[0]]
	h.owner, h.amount = l.world.openings[leg.ReturnCommitment].Owner, n.Value
	if l.balance[h.owner] < int64(n.Value) {
		return entry.Refuse(entry.ProofInvalid, "no such money")
	}
	l.balance[h.owner] -= int64(n.Value)
	l.holds[id] = h
	return nil
}

func (l *toyLedger) observe(e *entry.Observe) error {
	peer := l.world.ledger(e.Peer)
	c, err := proof.OpenLog(peer.origin, peer.key.Public().(ed25519.PublicKey), e.Checkpoint)
	last := l.last[e.Peer]
	switch {
	case err != nil || c.Size != e.Size || c.Root != e.Root:
		return entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
	case e.Size <= last:
		return entry.Refuse(entry.PeerCheckpointOld, "")
	}
	if err := proof.VerifyConsistency(proof.Head{Size: last, Root: l.heads[e.Peer][last]}, c.Head, hashes(e.Consistency)); err != nil {
		return entry.Refuse(entry.PeerForked, "%v", err)
	}
	if _, err := entry.DecodeState(e.State); err != nil {
		return err
	}
	if err := proof.VerifyInclusion(c.Head, c.Size-1, proof.LeafHash(e.State), hashes(e.StatePath)); err != nil {
		return entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
	}
	if l.heads[e.Peer] == nil {
		l.heads[e.Peer] = map[uint64][32]byte{}
	}
	l.heads[e.Peer][c.Size], l.last[e.Peer] = c.Root, c.Size
	return nil
}

// evidence judges that of a fork; a late decision is taken as it is.
func (l *toyLedger) evidence(e *entry.Evidence) error {
	if e.Type != entry.EvidenceFork {
		return nil
	}
	if l.frozen[e.Peer] {
		return entry.Refuse(entry.CorridorFrozen, "")
	}
	peer := l.world.ledger(e.Peer)
	fork, err := proof.ParseEvidence(e.Data)
	if err == nil {
		err = fork.Verify(peer.origin, peer.key.Public().(ed25519.PublicKey))
	}
	if err != nil {
		return entry.Refuse(entry.EvidenceInvalid, "%v", err)
	}
	l.frozen[e.Peer] = true
	return nil
}

// fork is another history of the ledger, from a size on.
func (l *toyLedger) fork(size uint64) *toyLedger {
	other := *l
	other.leaves, other.hashes = nil, nil
	for _, leaf := range l.leaves[:size] {
		other.append(leaf)
	}
	other.time++
	for other.size() <= l.size() {
		other.state()
	}
	return &other
}

func (l *toyLedger) resolve(e *entry.Resolve) error {
	h := l.holds[e.Hold]
	switch {
	case h == nil:
		return entry.Refuse(entry.HoldUnknown, "")
	case h.outcome != 0:
		return entry.Refuse(entry.HoldResolved, "")
	case e.Outcome == entry.Posted && e.Commitment != h.leg.Commitments[0], e.Outcome == entry.Voided && e.Commitment != h.leg.ReturnCommitment:
		return entry.Refuse(entry.OutcomeInvalid, "")
	}
	switch c := h.cond.(type) {
	case *entry.DecidedHere:
		if e.Reason == entry.ReasonExpired {
			if l.time < c.Until {
				return entry.Refuse(entry.HoldNotExpired, "")
			}
			break
		}
		if l.time >= c.Until {
			return entry.Refuse(entry.HoldExpired, "")
		}
		if e.Reason != entry.ReasonPeers || e.Outcome != entry.Posted || len(e.Named) != len(c.Followers) {
			return entry.Refuse(entry.OutcomeInvalid, "")
		}
		for i, f := range c.Followers {
			if l.frozen[f.Ledger] {
				return entry.Refuse(entry.CorridorFrozen, "")
			}
			leaf, err := l.peerLeaf(f.Ledger, &e.Peers[i])
			if err != nil {
				return err
			}
			tx, ok := leaf.(*entry.Transaction)
			n := e.Named[i]
			if !ok || n.Ledger != f.Ledger || tx.ID() != n.Hold.Tx || tx.Legs[n.Hold.Leg].Commitments[0] != f.Commitment {
				return entry.Refuse(entry.PeerMismatch, "")
			}
			if there, ok := must(tx.Legs[n.Hold.Leg].Condition.Decode()).(*entry.DecidedThere); !ok || there.Ledger != l.Hash || there.Hold != e.Hold {
				return entry.Refuse(entry.PeerMismatch, "")
			}
		}
	case *entry.DecidedThere:
		if l.frozen[c.Ledger] {
			return entry.Refuse(entry.CorridorFrozen, "")
		}
		if e.Reason != entry.ReasonPeers || len(e.Peers) != 1 {
			return entry.Refuse(entry.OutcomeInvalid, "")
		}
		leaf, err := l.peerLeaf(c.Ledger, &e.Peers[0])
		if err != nil {
			return err
		}
		want := entry.Voided
		switch d := leaf.(type) {
		case *entry.Resolve:
			if d.Hold != c.Hold {
				return entry.Refuse(entry.PeerMismatch, "")
			}
			if d.Outcome == entry.Posted && slices.Contains(d.Named, entry.Named{Ledger: l.Hash, Hold: e.Hold}) {
				want = entry.Posted
			}
		case *entry.Override:
			if d.Hold != c.Hold {
				return entry.Refuse(entry.PeerMismatch, "")
			}
		default:
			return entry.Refuse(entry.PeerMismatch, "")
		}
		if e.Outcome != want {
			return entry.Refuse(entry.OutcomeInvalid, "")
		}
	}
	return l.decide(e.Hold, e.Outcome, e.Named)
}

func (l *toyLedger) decide(id entry.HoldID, o entry.Outcome, named []entry.Named) error {
	h := l.holds[id]
	if h.outcome != 0 {
		return entry.Refuse(entry.HoldResolved, "")
	}
	h.outcome, h.named = o, named
	to := h.owner
	if o == entry.Posted {
		to = l.world.openings[h.leg.Commitments[0]].Owner
	}
	l.balance[to] += int64(h.amount)
	return nil
}

type world struct {
	now      uint64
	ledgers  []*toyLedger
	openings map[zk.Commitment]zk.Note
	rand     *stream
	salt     uint64
	written  int // journal records, of everybody
	killAt   int // whoever writes that one is killed before it acts on it; 0 for nobody
}

var errKilled = errors.New("killed")

// journal makes a record durable, and kills its writer there if it is the one.
func (w *world) journal(records *[][]byte, record []byte) error {
	*records = append(*records, record)
	if w.written++; w.written == w.killAt {
		return errKilled
	}
	return nil
}

func (w *world) ledger(h entry.GenesisHash) *toyLedger {
	for _, l := range w.ledgers {
		if l.Hash == h {
			return l
		}
	}
	return nil
}

func newWorld(names ...string) *world {
	w := &world{now: 1_000_000, openings: map[zk.Commitment]zk.Note{}, rand: &stream{name: "world"}}
	for _, n := range names {
		l := Ledger{n, ledgerHash(n), []entry.Asset{{ID: 1, Code: "ONE", Decimals: 2}}}
		w.ledgers = append(w.ledgers, &toyLedger{Ledger: l, world: w, origin: n + ".example/log", key: signer("log " + n), time: w.now,
			holds: map[entry.HoldID]*toyHold{}, settled: map[entry.ID]bool{}, heads: map[entry.GenesisHash]map[uint64][32]byte{},
			last: map[entry.GenesisHash]uint64{}, frozen: map[entry.GenesisHash]bool{}, balance: map[zk.Owner]int64{}})
	}
	for _, l := range w.ledgers {
		l.state()
		for i, peer := range w.ledgers {
			if peer != l {
				if err := l.submit(corridorEntry(l.Hash, peer, uint64(i+1), entry.CorridorSets)); err != nil {
					panic(err)
				}
			}
		}
	}
	return w
}

func corridorEntry(on entry.GenesisHash, peer *toyLedger, sequence uint64, action entry.CorridorAction) *entry.Corridor {
	e := &entry.Corridor{Header: entry.Header{Ledger: on, ExpiryMillis: 1 << 50, Sequence: sequence}, Peer: peer.Hash, Action: action}
	if action == entry.CorridorSets {
		e.Terms = &entry.CorridorTerms{Name: peer.Name, Origin: peer.origin, LogKey: must(entry.SignerKeyOf(peer.key.Public().(ed25519.PublicKey))),
			Quorum: 1, Witnesses: []entry.CorridorWitness{{Name: "w.example", Key: public("witness"), Own: true}},
			Treasury: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{public("treasury " + peer.Name)}}, Cap: 1 << 50,
			SizeClasses: []uint64{1000, 1 << 40}, StaleMillis: 60_000}
	}
	return e
}

// reserve is a wallet's half of a hold: the payee's output, once per order.
type toyWallet struct {
	name  string
	world *world
	notes map[string]zk.Note
	txs   map[string]*entry.Transaction
}

func newWallet(w *world, name string) *toyWallet {
	return &toyWallet{name, w, map[string]zk.Note{}, map[string]*entry.Transaction{}}
}

func (t *toyWallet) reserve(order string, p *Placing) zk.Note {
	n, ok := t.notes[order]
	if !ok {
		n = zk.Note{Value: p.Money.Amount, Asset: p.Money.Asset, Programme: p.Money.Programme, Owner: p.Payee.Owner, Rho: must(zk.NewRho(t.world.rand))}
		t.notes[order] = n
		t.world.openings[n.Commitment()] = n
	}
	return n
}

// place submits the hold; the same order gives the same transaction.
func (t *toyWallet) place(order string, p *Placing, expiry uint64) (entry.HoldID, error) {
	l := t.world.ledger(p.Ledger)
	tx := t.txs[order]
	if tx == nil {
		n := t.reserve(order, p)
		back := zk.Note{Value: n.Value, Asset: n.Asset, Owner: addressOf(t.name, p.Ledger).Owner, Rho: must(zk.NewRho(t.world.rand))}
		t.world.openings[back.Commitment()] = back
		t.world.salt++
		tx, _ = holdLeaf(p.Ledger, n.Commitment(), back.Commitment(), p.Condition, p.SizeClass, 0)
		tx.Legs[0].Nullifiers[0] = entry.OnceKey(entry.ID(ledgerHash(fmt.Sprint("nf", t.world.salt))))
		tx.ExpiryMillis = expiry
		t.txs[order] = tx
	}
	if there, ok := must(p.Condition.Decode()).(*entry.DecidedThere); ok {
		peer := t.world.ledger(there.Ledger)
		h, size := peer.holds[there.Hold], l.last[there.Ledger]
		if h == nil || size <= h.index {
			return entry.HoldID{}, entry.Refuse(entry.PeerSizeUnknown, "not observed yet")
		}
		pp := peer.prove(h.index, size)
		tx.Legs[0].Peer = &pp
	}
	id := entry.HoldID{Tx: tx.ID()}
	if l.holds[id] != nil {
		return id, nil
	}
	return id, l.submit(tx)
}

// relayer runs a relay against the world: one round reads every log and does what the plan says.
type relayer struct {
	world *world
	relay *Relay
}

func newRelayer(w *world) *relayer {
	from := map[entry.GenesisHash]uint64{}
	for _, l := range w.ledgers {
		from[l.Hash] = 0
	}
	return &relayer{w, NewRelay(from)}
}

func (r *relayer) read() {
	for _, l := range r.world.ledgers {
		for n := r.relay.Next(l.Hash); n < l.size(); n++ {
			if err := r.relay.Add(l.Hash, n, l.leaves[n]); err != nil {
				panic(err)
			}
		}
	}
}

// harmless are the refusals that a relayer meets when another was quicker, or its own plan is from a moment ago.
var harmless = []entry.Code{entry.HoldResolved, entry.PeerCheckpointOld, entry.HoldNotExpired, entry.HoldExpired, entry.PeerSizeUnknown, entry.CorridorFrozen}

// act does at most n things of the plan, -1 for all, and tells how many were accepted. A refusal that is not harmless is an error.
func (r *relayer) act(n int) (done int, err error) {
	p := r.relay.Plan(Options{NowMillis: r.world.now})
	submit := func(on *toyLedger, e entry.Entry) {
		if n == 0 || err != nil {
			return
		}
		n--
		switch e := on.submit(e); {
		case e == nil:
			done++
		case !slices.Contains(harmless, entry.CodeOf(e)) && !errors.Is(e, errDown):
			err = e
		}
	}
	for _, o := range p.Observes {
		on, peer := r.world.ledger(o.On), r.world.ledger(o.Peer)
		if peer.size() < o.AtLeast {
			return done, fmt.Errorf("asked to observe %d leaves of %d", o.AtLeast, peer.size())
		}
		submit(on, on.observation(peer))
	}
	for i := range p.Resolves {
		a := &p.Resolves[i]
		var peers []entry.PeerProof
		for _, leaf := range a.Peers {
			peers = append(peers, r.world.ledger(leaf.Ledger).prove(leaf.Index, leaf.Size))
		}
		submit(r.world.ledger(a.On), a.Entry(1<<50, peers))
	}
	return done, err
}

// run relays until nothing is left to do.
func (r *relayer) run() error {
	for {
		r.read()
		n, err := r.act(-1)
		if err != nil || n == 0 {
			return err
		}
	}
}

// total is all money of a ledger, held or not.
func (l *toyLedger) total() (sum int64) {
	for _, b := range l.balance {
		sum += b
	}
	for _, h := range l.holds {
		if h.outcome == 0 {
			sum += int64(h.amount)
		}
	}
	return sum
}

func (l *toyLedger) owns(name string) int64 { return l.balance[addressOf(name, l.Hash).Owner] }

func (l *toyLedger) give(name string, amount int64) {
	l.balance[addressOf(name, l.Hash).Owner] += amount
}

// deciding reads a hold back from a log, as payer and provider do.
func (w *world) deciding(ledger entry.GenesisHash, id entry.HoldID) (*Deciding, error) {
	l := w.ledger(ledger)
	h := l.holds[id]
	if h == nil {
		return nil, errors.New("not logged")
	}
	return ReadDeciding(ledger, id, bytes.Clone(l.leaves[h.index]))
}
