package relayer

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func signer(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func public(name string) entry.SignerKey {
	return must(entry.SignerKeyOf(signer(name).Public().(ed25519.PublicKey)))
}

// ledger is a small ledger in memory with the rules that a relayer meets: observations must grow, resolutions must prove what they say under
// observed heads, evidence must hold. Every call is a block.
type ledger struct {
	t       testing.TB
	name    string
	genesis *entry.Genesis
	hash    entry.GenesisHash
	peers   map[entry.GenesisHash]*ledger

	mu       sync.Mutex // guards what follows
	blocks   []Block
	leaves   [][]byte
	hashes   []tlog.Hash
	final    uint64 // leaves that are cosigned
	held     bool   // nothing becomes final
	down     bool
	behind   int  // this many of the last blocks are not shown
	away     bool // the witness of the other nations is away, unless a corridor asks for it
	heads    map[entry.GenesisHash]map[uint64]proof.Hash
	last     map[entry.GenesisHash]uint64
	outcomes map[entry.HoldID]entry.Outcome
	frozen   map[entry.GenesisHash]bool
	calls    int // calls with resolutions
	refused  int
}

func newWorld(t testing.TB, names ...string) []*ledger {
	var all []*ledger
	for _, name := range names {
		l := &ledger{t: t, name: name, genesis: &entry.Genesis{Name: name, Origin: name + ".example/log", LogKey: public("log " + name), MaxExpiryMillis: 3_600_000},
			heads: map[entry.GenesisHash]map[uint64]proof.Hash{}, last: map[entry.GenesisHash]uint64{}, peers: map[entry.GenesisHash]*ledger{},
			outcomes: map[entry.HoldID]entry.Outcome{}, frozen: map[entry.GenesisHash]bool{}}
		l.hash = l.genesis.Hash()
		all = append(all, l)
	}
	for _, l := range all {
		var corridors []entry.Entry
		for i, peer := range all {
			if peer == l {
				continue
			}
			l.peers[peer.hash], l.heads[peer.hash] = peer, map[uint64]proof.Hash{}
			corridors = append(corridors, &entry.Corridor{Header: entry.Header{Ledger: l.hash, ExpiryMillis: 1 << 50, Sequence: uint64(i + 1)}, Peer: peer.hash,
				Action: entry.CorridorSets, Terms: &entry.CorridorTerms{Name: peer.name, Origin: peer.genesis.Origin, LogKey: peer.genesis.LogKey, Quorum: 1,
					Witnesses: []entry.CorridorWitness{{Name: "w." + l.name + ".example", Key: public("witness of " + l.name), Own: true}},
					Treasury:  entry.Policy{Threshold: 1, Signers: []entry.SignerKey{public("treasury " + peer.name)}}, Cap: 1 << 50, SizeClasses: []uint64{1000}, StaleMillis: 60_000}})
		}
		l.log(corridors...)
	}
	return all
}

// log makes a block of entries, with its state entry.
func (l *ledger) log(entries ...entry.Entry) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.block(entries...)
}

func (l *ledger) block(entries ...entry.Entry) {
	b := Block{Height: uint64(len(l.blocks)), FirstIndex: uint64(len(l.leaves))}
	for _, e := range append(slices.Clip(entries), &entry.State{TimeMillis: uint64(time.Now().UnixMilli()), OversightEpoch: 1, NextSequence: 1}) {
		leaf := entry.Encode(e)
		l.hashes = append(l.hashes, must(tlog.StoredHashes(int64(len(l.leaves)), leaf, l))...)
		l.leaves, b.Entries = append(l.leaves, leaf), append(b.Entries, leaf)
	}
	l.blocks = append(l.blocks, b)
	if !l.held {
		l.final = uint64(len(l.leaves))
	}
}

// ReadHashes implements proof.HashReader. mu is held.
func (l *ledger) ReadHashes(at []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(at))
	for i, x := range at {
		out[i] = l.hashes[x]
	}
	return out, nil
}

// rewrite replaces the history after so many blocks by another one that is longer.
func (l *ledger) rewrite(blocks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	more := len(l.blocks) - blocks + 2
	l.cut(blocks)
	for range more {
		l.block(&entry.Amend{Header: entry.Header{Ledger: l.hash, ExpiryMillis: 1 << 50}})
	}
}

// cut drops the blocks after the first ones. mu is held.
func (l *ledger) cut(blocks int) {
	l.leaves = l.leaves[:l.blocks[blocks].FirstIndex:l.blocks[blocks].FirstIndex]
	l.hashes = l.hashes[:tlog.StoredHashCount(int64(len(l.leaves)))]
	l.blocks = l.blocks[:blocks:blocks]
}

var errDown = errors.New("connection refused")

func (l *ledger) Blocks(ctx context.Context, from uint64, follow bool) iter.Seq2[Block, error] {
	return func(yield func(Block, error) bool) {
		for h := from; ctx.Err() == nil; {
			l.mu.Lock()
			var b Block
			come := h+uint64(l.behind) < uint64(len(l.blocks))
			if come {
				b = l.blocks[h]
			}
			down := l.down
			l.mu.Unlock()
			switch {
			case down:
				yield(Block{}, errDown)
				return
			case come:
				if h++; !yield(b, nil) {
					return
				}
			case !follow:
				return
			default:
				_ = pause(ctx, 5*time.Millisecond)
			}
		}
	}
}

func (l *ledger) Checkpoint(ctx context.Context, size uint64, wait time.Duration, terms *entry.CorridorTerms) ([]byte, error) {
	for deadline := time.Now().Add(wait); ; {
		l.mu.Lock()
		final, down := l.final, l.down
		var signed []byte
		if final >= size && !down {
			head := proof.Head{Size: final, Root: must(proof.RootAt(final, l))}
			signed = must(proof.NewLogSigner(l.genesis.Origin, signer("log "+l.name))).Sign(head)
			if !l.away || terms != nil {
				for _, peer := range l.peers {
					c := must(proof.NewCosigner("w."+peer.name+".example", signer("witness of "+peer.name)))
					signed = append(signed, must(c.Sign(proof.Checkpoint{Origin: l.genesis.Origin, Head: head}, 1))...)
				}
			}
		}
		l.mu.Unlock()
		switch {
		case down:
			return nil, errDown
		case signed != nil:
			return signed, nil
		case !time.Now().Before(deadline):
			return nil, entry.Refuse(entry.TryLater, "no checkpoint")
		}
		if err := pause(ctx, 5*time.Millisecond); err != nil {
			return nil, err
		}
	}
}

func (l *ledger) Entry(context.Context, uint64) ([]byte, error) {
	return nil, errors.New("not asked for")
}

func (l *ledger) Inclusion(context.Context, uint64, uint64) ([][32]byte, error) {
	return nil, errors.New("not asked for")
}

func (l *ledger) Consistency(context.Context, uint64, uint64) ([][32]byte, error) {
	return nil, errors.New("not asked for")
}

func (l *ledger) Submit(_ context.Context, entries []entry.Entry) ([]Result, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.down {
		return nil, errDown
	}
	out := make([]Result, len(entries))
	var taken []entry.Entry
	resolves := false
	for i, e := range entries {
		if len(entries) > MaxCall {
			l.t.Errorf("a call of %d entries", len(entries))
		}
		if out[i].Err = l.judge(e); out[i].Err == nil {
			out[i].Index = uint64(len(l.leaves) + len(taken))
			taken = append(taken, e)
		} else {
			l.refused++
		}
		_, ok := e.(*entry.Resolve)
		resolves = resolves || ok
	}
	if resolves {
		l.calls++
	}
	if len(taken) > 0 {
		l.block(taken...)
	}
	return out, nil
}

func path(hashes [][32]byte) []proof.Hash {
	out := make([]proof.Hash, len(hashes))
	for i := range hashes {
		out[i] = hashes[i]
	}
	return out
}

func (l *ledger) judge(e entry.Entry) error {
	switch e := e.(type) {
	case *entry.Observe:
		peer, last := l.peers[e.Peer], l.last[e.Peer]
		c, err := proof.OpenLog(peer.genesis.Origin, peer.genesis.LogKey.Public(), e.Checkpoint)
		switch {
		case err != nil || c.Size != e.Size:
			return entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
		case !bytes.Contains(e.Checkpoint, []byte("— w."+l.name+".example ")):
			return entry.Refuse(entry.PeerCheckpointInvalid, "no own witness")
		case l.frozen[e.Peer]:
			return entry.Refuse(entry.CorridorFrozen, "")
		case e.Size <= last:
			return entry.Refuse(entry.PeerCheckpointOld, "")
		}
		if err := proof.VerifyConsistency(proof.Head{Size: last, Root: l.heads[e.Peer][last]}, c.Head, path(e.Consistency)); err != nil {
			return entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
		}
		if err := proof.VerifyInclusion(c.Head, c.Size-1, proof.LeafHash(e.State), path(e.StatePath)); err != nil {
			return entry.Refuse(entry.PeerCheckpointInvalid, "%v", err)
		}
		l.heads[e.Peer][c.Size], l.last[e.Peer] = c.Root, c.Size
	case *entry.Resolve:
		if l.outcomes[e.Hold] != 0 {
			return entry.Refuse(entry.HoldResolved, "")
		}
		for i, p := range e.Peers {
			peer := e.Named
			of := entry.GenesisHash{}
			if len(peer) > 0 {
				of = peer[i].Ledger
			} else {
				of = must(entry.Decode(p.Leaf)).Head().Ledger
			}
			if err := proof.VerifyInclusion(proof.Head{Size: p.Size, Root: l.heads[of][p.Size]}, p.Index, proof.LeafHash(p.Leaf), path(p.Path)); err != nil {
				return entry.Refuse(entry.PeerProofInvalid, "%v", err)
			}
		}
		l.outcomes[e.Hold] = e.Outcome
	case *entry.Evidence:
		fork, err := proof.ParseEvidence(e.Data)
		if err == nil {
			err = fork.Verify(l.peers[e.Peer].genesis.Origin, l.peers[e.Peer].genesis.LogKey.Public())
		}
		if err != nil {
			return entry.Refuse(entry.EvidenceInvalid, "%v", err)
		}
		l.frozen[e.Peer] = true
	}
	return nil
}

// hold makes a hold; proof and ciphertexts are zero, no one here reads them.
func (l *ledger) hold(c entry.Condition, salt int) (*entry.Transaction, entry.HoldID) {
	shape := zk.Hold.Shape()
	leg := entry.Leg{Circuit: zk.Hold, CircuitVersion: entry.CircuitVersion, OversightEpoch: 1, Sender: make([]zk.Field, shape.SenderFields()),
		Nullifiers: make([]zk.Nullifier, shape.Inputs), Commitments: make([]zk.Commitment, shape.Outputs), Cipher: make([][2]zk.Field, shape.Outputs),
		ReturnCommitment: zk.Commitment{31: 2}, SizeClass: 1000, Condition: c}
	for i := range leg.Nullifiers {
		leg.Nullifiers[i] = zk.Nullifier{29: byte(salt >> 8), 30: byte(salt), 31: byte(i + 1)}
	}
	leg.Commitments[0] = zk.Commitment{31: 1}
	if c.Type == entry.ConditionDecidedThere {
		leg.Peer = &entry.PeerProof{Size: 1, Leaf: []byte{1}}
	}
	tx := &entry.Transaction{Type: entry.KindTransfer, Header: entry.Header{Ledger: l.hash, ExpiryMillis: 1 << 40}, Legs: []entry.Leg{leg}}
	return tx, entry.HoldID{Tx: tx.ID()}
}

// place makes payments whose holds are logged on both ledgers: b decides, a follows.
func place(a, b *ledger, from, count int) (onA, onB []entry.HoldID) {
	until := uint64(time.Now().Add(time.Hour).UnixMilli())
	var txA, txB []entry.Entry
	for i := range count {
		tx, id := b.hold((&entry.DecidedHere{Until: until, Followers: []entry.Follower{{Ledger: a.hash, Commitment: zk.Commitment{31: 1}}}}).Condition(), from+i)
		txB, onB = append(txB, tx), append(onB, id)
		tx, id = a.hold((&entry.DecidedThere{Ledger: b.hash, Hold: id, Until: until}).Condition(), from+i)
		txA, onA = append(txA, tx), append(onA, id)
	}
	b.log(txB...)
	a.log(txA...)
	return onA, onB
}

// posted counts the holds that were posted.
func (l *ledger) posted(ids []entry.HoldID) (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, id := range ids {
		if l.outcomes[id] == entry.Posted {
			n++
		}
	}
	return n
}

// carrier is a relayer between ledgers and what it said.
type carrier struct {
	*Relayer
	mu   sync.Mutex // guards what follows
	did  map[string]int
	last map[string]error
}

func newCarrier(all []*ledger, pace time.Duration) *carrier {
	c := &carrier{did: map[string]int{}, last: map[string]error{}}
	cfg := Config{Fresh: true, Pace: pace, Did: func(d Did) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.did[fmt.Sprintf("%s: %s", d.On.Name, d.Entry.Kind())]++
	}, Failed: func(what string, on *Member, err error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if err != nil {
			c.last[on.Name+": "+what] = err
		} else {
			delete(c.last, on.Name+": "+what)
		}
	}}
	for _, l := range all {
		cfg.Members = append(cfg.Members, Member{l.name, l.genesis, l})
	}
	c.Relayer = New(cfg)
	return c
}

// evidence counts what was accused.
func (c *carrier) evidence() (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for what, count := range c.did {
		if bytes.HasSuffix([]byte(what), []byte(": evidence")) {
			n += count
		}
	}
	return n
}

// done counts what was done; problems are those that stand.
func (c *carrier) done() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.did)
}

func (c *carrier) problems() map[string]error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.last)
}
