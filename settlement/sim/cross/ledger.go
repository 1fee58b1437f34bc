package cross

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/ledgertest"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/replay"
	"github.com/comity-ledger/comity/settlement/sim"
	"github.com/comity-ledger/comity/zk"
)

var ctx = context.Background()

// ledger is one nation's: its node, its store, its log and its witnesses.
type ledger struct {
	w         *world
	name      string
	secrets   *ledgertest.Ledger
	hash      entry.GenesisHash
	oversight zk.Scalar
	signer    *proof.LogSigner
	witnesses []*proof.Cosigner
	verifier  *ledgertest.StampVerifier

	disk    sim.Disk
	raw     settlement.Store
	store   *sim.Injector
	seq     *settlement.Sequencer
	waiting []admitted
	wall    uint64 // milliseconds, this ledger's own clock
	audit   *replay.Replayer

	book     *book
	leaves   [][]byte
	hashes   []proof.Hash // of the log, by tlog.StoredHashIndex
	final    proof.Head   // newest head that the witnesses cosigned
	note     []byte       // its checkpoint
	blind    int          // witnesses are away until this tick
	censors  int          // the operator drops resolutions until this tick
	promised map[entry.ID]uint64

	wallets []*wallet
}

type admitted struct {
	candidate *settlement.Candidate
	from      *message
}

// newLedger founds one, with three validating witnesses, two of which are
// needed.
func (w *world) newLedger(name string, seed uint64) (*ledger, error) {
	l := &ledger{w: w, name: name, secrets: ledgertest.NewLedger(seed), verifier: &ledgertest.StampVerifier{Key: [32]byte{byte(seed), 7}},
		disk: sim.Medium(), wall: ledgertest.Start, promised: make(map[entry.ID]uint64)}
	r := ledgertest.NewRand(seed, "keys of "+name)
	key := func() (ed25519.PrivateKey, entry.SignerKey) {
		k := ed25519.NewKeyFromSeed(r.Bytes(ed25519.SeedSize))
		return k, entry.SignerKey(k.Public().(ed25519.PublicKey))
	}
	g := l.secrets.Genesis
	g.Name, g.Origin = "Ledger "+name, "log."+name+".example"
	logKey, public := key()
	g.LogKey = public
	g.Witnesses = entry.WitnessPolicy{Quorum: 2}
	for i := range 3 {
		k, public := key()
		witness := fmt.Sprintf("w%d.%s.example", i, name)
		c, err := proof.NewCosigner(witness, k)
		if err != nil {
			return nil, err
		}
		l.witnesses = append(l.witnesses, c)
		g.Witnesses.Members = append(g.Witnesses.Members, entry.Witness{Name: witness, Key: public, Kind: entry.ValidatingWitness})
	}
	var err error
	if l.oversight, err = zk.NewScalar(r); err != nil {
		return nil, err
	}
	g.OversightKey = l.oversight.Base()
	g.OversightPossession = entry.ProvePossession(l.oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), r)
	l.hash = g.Hash()
	l.secrets.Hash = l.hash
	if l.signer, err = proof.NewLogSigner(g.Origin, logKey); err != nil {
		return nil, err
	}
	_, genesis, err := settlement.Begin(g)
	if err != nil {
		return nil, err
	}
	store, err := l.disk.Create(ctx, genesis)
	if err != nil {
		return nil, err
	}
	if err := store.Close(); err != nil {
		return nil, err
	}
	l.book = newBook(l)
	// A bug in the rules must be caught by the model alone: a replay that knows
	// the rules without it would see it too easily.
	if w.bug.Rules == (planted.Set{}) {
		if l.audit, err = replay.New(genesis, replay.Config{Verifier: l.verifier}); err != nil {
			return nil, err
		}
	}
	return l, l.start()
}

// start opens the store and takes the ledger over, as after every crash.
func (l *ledger) start() error {
	raw, err := l.disk.Open(ctx, l.hash)
	if err != nil {
		return fmt.Errorf("open the store of %s: %w", l.name, err)
	}
	l.raw = raw
	l.store = sim.Inject(l.disk, raw, func(f sim.Fault) { l.w.report.Faults[f]++ }, l.rival, func(n int) int { return l.w.rand.IntN(n + 1) })
	l.waiting = nil
	if err := l.observe(); err != nil {
		return err
	}
	state, err := replay.Restore(ctx, raw, nil, nil)
	if err != nil {
		return sim.Violation("node of %s cannot start on what its store holds: %v", l.name, err)
	}
	if l.seq, err = settlement.NewSequencer(ctx, l.store, state.Planted(l.w.bug.Rules)); err != nil {
		return err
	}
	return l.compare()
}

// rival takes the ledger over from the running node, which does not know.
func (l *ledger) rival() {
	state, err := replay.Restore(ctx, l.raw, nil, nil)
	if err == nil {
		_, err = settlement.NewSequencer(ctx, l.raw, state.Planted(l.w.bug.Rules))
	}
	if err != nil {
		l.w.fail(sim.Violation("a second node of %s cannot take over: %v", l.name, err))
	}
}

func (l *ledger) anchors(height uint64) (settlement.Anchor, bool) {
	a, err := l.raw.Anchor(ctx, height)
	return a, err == nil
}

// receive does what happens to a submission before sequencing.
func (l *ledger) receive(m *message) {
	sub, err := settlement.Decode(m.leaf, m.segments)
	if err != nil {
		l.answer(m, settlement.Result{Refusal: err})
		return
	}
	state := l.seq.State()
	candidate, err := state.Admit(sub, state.LedgerTime(l.wall), l.anchors)
	if err == nil {
		err = settlement.Prove(l.verifier, []*settlement.Candidate{candidate})[0]
	}
	if err != nil {
		settled, lookErr := settlement.LookUp(ctx, l.store, []*settlement.Submission{sub})
		if lookErr == nil { // else no answer: the client asks again
			l.answer(m, settlement.Resolve(sub, err, settled))
		}
		return
	}
	l.waiting = append(l.waiting, admitted{candidate, m})
}

// advance writes one block of what waits, and starts the node again when it
// dies.
func (l *ledger) advance() {
	batch := l.waiting
	candidates := make([]*settlement.Candidate, len(batch))
	for i, a := range batch {
		candidates[i] = a.candidate
	}
	force := l.seq.State().MayExpire(l.wall, 0) && (l.w.calm || l.w.rand.Chance(0.5))
	results, _, err := l.seq.Step(ctx, candidates, l.wall, force)
	switch {
	case err == nil:
		l.waiting = nil
		l.w.fail(l.observe())
		if l.w.failure == nil {
			l.w.fail(l.compare())
		}
		for i, a := range batch {
			l.answer(a.from, results[i])
		}
	case sim.Crashed(err), errors.Is(err, settlement.ErrFenced), errors.Is(err, settlement.ErrInDoubt):
		l.crash()
	}
	if l.w.failure != nil {
		return
	}
	if l.w.rand.Chance(0.08) {
		s := l.seq.State()
		l.w.fail(l.raw.SaveSnapshot(ctx, s.Height(), s.Marshal()))
	}
	if !l.w.calm && l.w.rand.Chance(0.01) {
		l.w.report.Other["kill between steps"]++
		l.crash()
	}
	l.cosign()
}

func (l *ledger) crash() {
	l.w.report.Restarts++
	l.disk.Crash()
	_ = l.raw.Close() // a dead handle; what it says no longer matters
	l.w.fail(l.start())
}

// answer hears what the node says. It must be true at once.
func (l *ledger) answer(m *message, r settlement.Result) {
	word := r.Status.String()
	if r.Status == settlement.Refused {
		word = string(entry.CodeOf(r.Refusal))
		if word == "" {
			l.w.fail(sim.Violation("a refusal of %s without a name: %v", l.name, r.Refusal))
		}
	}
	l.w.report.Answers[word]++
	at, there := l.book.ids[r.ID]
	switch {
	case r.Status == settlement.Refused && there && r.ID != (entry.ID{}):
		l.w.fail(sim.Violation("%s refused %s (%s), which stands in its log at %d", l.name, r.ID, word, at))
	case r.Status != settlement.Refused && (!there || at != r.EntryIndex):
		l.w.fail(sim.Violation("%s answered %q for %s at %d, its log has %d (%t)", l.name, word, r.ID, r.EntryIndex, at, there))
	case r.Status != settlement.Refused:
		l.promised[r.ID] = r.EntryIndex
	}
	if m.allow != nil && l.w.failure == nil {
		if err := m.allow(word, r); err != nil {
			l.w.fail(err)
		}
	}
}

// observe shows the book and the auditor every block that became durable.
func (l *ledger) observe() error {
	if l.book.blocks > 0 {
		last, err := l.raw.Block(ctx, l.book.blocks-1)
		if err != nil || last.Root != l.book.root {
			return sim.Violation("block %d of %s is gone or another: %v", l.book.blocks-1, l.name, err)
		}
	}
	for b, err := range l.raw.Blocks(ctx, l.book.blocks) {
		if err != nil {
			return err
		}
		for _, leaf := range b.Entries {
			stored, err := tlog.StoredHashesForRecordHash(int64(len(l.leaves)), proof.LeafHash(leaf), l.reader())
			if err != nil {
				return err
			}
			l.hashes, l.leaves = append(l.hashes, stored...), append(l.leaves, leaf)
		}
		if err := l.book.follow(b); err != nil {
			return err
		}
		l.w.report.Blocks++
		if b.Height > 0 && l.audit != nil {
			if err := l.audit.Apply(b); err != nil {
				return sim.Violation("replay of %s: %v", l.name, err)
			}
		}
	}
	for id, at := range l.promised {
		if got, there := l.book.ids[id]; !there || got != at {
			return sim.Violation("%s acknowledged %s at %d and its log has it at %d (%t)", l.name, id, at, got, there)
		}
	}
	return nil
}

// compare holds the node's state against the auditor's and the book's.
func (l *ledger) compare() error {
	state := l.seq.State()
	if l.audit != nil && !bytes.Equal(l.audit.State().Marshal(), state.Marshal()) {
		return sim.Violation("replay of %s up to block %d gives another state than its node has", l.name, state.Height())
	}
	if n := len(state.Holds()); n != l.book.openHolds {
		return sim.Violation("%s has %d open holds, its log says %d", l.name, n, l.book.openHolds)
	}
	for _, c := range state.Corridors(state.Time()) {
		if want := l.book.inFlight[c.Peer]; c.InFlight != want {
			return sim.Violation("%s counts %d in flight to %s, its log says %d", l.name, c.InFlight, c.Name, want)
		}
	}
	return nil
}

func (l *ledger) reader() tlog.HashReader {
	return tlog.HashReaderFunc(func(at []int64) ([]tlog.Hash, error) {
		out := make([]tlog.Hash, len(at))
		for i, n := range at {
			if n >= int64(len(l.hashes)) {
				return nil, errors.New("no such hash")
			}
			out[i] = l.hashes[n]
		}
		return out, nil
	})
}

// cosign makes the head final, unless the witnesses are away.
func (l *ledger) cosign() {
	if l.w.failure != nil || l.w.tick < l.blind || l.final.Size == uint64(len(l.leaves)) {
		return
	}
	head := proof.Head{Size: uint64(len(l.leaves)), Root: l.book.root}
	note, err := l.checkpoint(head, l.witnesses)
	if err != nil {
		l.w.fail(err)
		return
	}
	l.final, l.note = head, note
}

// checkpoint signs and cosigns a head, true or not.
func (l *ledger) checkpoint(head proof.Head, witnesses []*proof.Cosigner) ([]byte, error) {
	note := l.signer.Sign(head)
	for _, c := range witnesses {
		line, err := c.Sign(proof.Checkpoint{Origin: l.signer.Origin(), Head: head}, l.wall/1000)
		if err != nil {
			return nil, err
		}
		note = append(note, line...)
	}
	return note, nil
}

// peerProof shows that an entry is in the log's tree of a size.
func (l *ledger) peerProof(index, size uint64) *entry.PeerProof {
	path, err := proof.ProveInclusion(size, index, l.reader())
	if err != nil {
		l.w.fail(fmt.Errorf("prove entry %d of %s in %d: %w", index, l.name, size, err))
		return &entry.PeerProof{Size: size, Index: index, Leaf: l.leaves[index]}
	}
	return &entry.PeerProof{Size: size, Index: index, Path: raw(path), Leaf: l.leaves[index]}
}

func raw(path []proof.Hash) [][32]byte {
	out := make([][32]byte, len(path))
	for i := range path {
		out[i] = path[i]
	}
	return out
}

// header begins an entry of this ledger that nobody needs to sign, now and then
// with an expiry at the very edge.
func (l *ledger) header() entry.Header {
	if !l.w.calm && l.w.rand.Chance(0.05) {
		l.w.report.Other["expiry at the edge"]++
		return l.secrets.Header(max(l.wall, l.book.time)+uint64(l.w.rand.IntN(3)), 0)
	}
	return l.secrets.Header(max(l.wall, l.book.time)+ledgertest.MaxExpiryMillis/2, 0)
}
