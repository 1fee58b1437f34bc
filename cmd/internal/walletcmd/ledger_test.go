package walletcmd

import (
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"net"
	"sync"
	"testing"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/cmd/internal/circuits"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/settlement/rpc"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/zk"
)

// node is a settlement core in memory behind the real RPC server, with the real verifier and two witnesses in its own hands.
type node struct {
	rpc.Ledger // what wallets do not call
	t          testing.TB
	genesis    *entry.Genesis
	verifier   settlement.Verifier
	policy     *proof.Policy
	log        *proof.LogSigner
	address    string

	mu      sync.Mutex // guards what follows
	state   *settlement.State
	settled *settlement.Settled
	blocks  []*settlement.Block
	leaves  [][]byte
	hashes  memHashes
	changed chan struct{}
}

type memHashes []tlog.Hash

func (m memHashes) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, x := range indexes {
		out[i] = m[x]
	}
	return out, nil
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func edKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func signer(name string) entry.SignerKey {
	return must(entry.SignerKeyOf(edKey(name).Public().(ed25519.PublicKey)))
}

func startNode(t *testing.T) *node {
	oversight := must(zk.NewScalar(rand.Reader))
	g := &entry.Genesis{Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: uint64(time.Now().UnixMilli()), Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}, Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{signer("s0")}}, LogKey: signer("log"),
		Witnesses: entry.WitnessPolicy{Quorum: 2, Members: []entry.Witness{{Name: "w1.example", Key: signer("w1"), Kind: entry.ConsistencyWitness},
			{Name: "w2.example", Key: signer("w2"), Kind: entry.ValidatingWitness}}},
		RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000, OversightKey: oversight.Base(), Circuits: must(circuits.Listed(entry.Development))}
	g.OversightPossession = entry.ProvePossession(oversight, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), rand.Reader)
	state, block, err := settlement.Begin(g)
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, genesis: g, verifier: must(circuits.Verifier(g, 1)), policy: must(wallets.PolicyOf(g)), log: must(proof.NewLogSigner(g.Origin, edKey("log"))),
		state: state, settled: settlement.NewSettled(), changed: make(chan struct{})}
	n.append(block)
	server, err := rpc.New(rpc.Config{Ledger: n})
	if err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- server.Serve(ctx, listener) }()
	t.Cleanup(func() { stop(); <-done })
	n.address = "http://" + listener.Addr().String()
	return n
}

// append adds a block; the caller holds mu, or nobody else has the node yet.
func (n *node) append(b *settlement.Block) {
	n.blocks = append(n.blocks, b)
	for _, leaf := range b.Entries {
		n.hashes = append(n.hashes, must(tlog.StoredHashes(int64(len(n.leaves)), leaf, n.hashes))...)
		n.leaves = append(n.leaves, leaf)
	}
	close(n.changed)
	n.changed = make(chan struct{})
}

func (n *node) head() *settlement.Block { return n.blocks[len(n.blocks)-1] }

func (n *node) Genesis() *entry.Genesis { return n.genesis }

func (n *node) Status(context.Context) (rpc.Status, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return rpc.Status{State: n.state.Entry(), Size: n.head().Size(), FinalSize: n.head().Size()}, nil
}

func (n *node) Submit(_ context.Context, leaf []byte, segments [][]byte) (rpc.Accepted, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	sub, err := settlement.Decode(leaf, segments)
	if err != nil {
		return rpc.Accepted{}, err
	}
	now := n.state.LedgerTime(uint64(time.Now().UnixMilli()))
	answer := func(r settlement.Result) (rpc.Accepted, error) {
		return rpc.Accepted{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height, Before: r.Status == settlement.SettledBefore}, r.Refusal
	}
	c, err := n.state.Admit(sub, now, func(h uint64) (settlement.Anchor, bool) {
		if h >= uint64(len(n.blocks)) {
			return settlement.Anchor{}, false
		}
		return n.blocks[h].Anchor, true
	})
	if err == nil {
		err = settlement.Prove(n.verifier, []*settlement.Candidate{c})[0]
	}
	if err != nil {
		return answer(settlement.Resolve(sub, err, n.settled))
	}
	p, err := n.state.Sequence([]*settlement.Candidate{c}, now, n.settled, nil)
	if err != nil {
		return rpc.Accepted{}, err
	}
	r := p.Results[0]
	if r.Status == settlement.Accepted {
		prior := settlement.Prior{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height}
		for _, leg := range c.Legs() {
			for _, nf := range leg.Nullifiers {
				n.settled.AddNullifier(nf, prior)
			}
		}
		if seq := c.Entry.Head().Sequence; seq != 0 {
			n.settled.AddSequence(seq, prior)
		}
		n.state = p.Next()
		n.append(p.Block)
	}
	return answer(r)
}

func (n *node) WaitBlock(ctx context.Context, height uint64) error {
	for {
		n.mu.Lock()
		ready, changed := uint64(len(n.blocks)) > height, n.changed
		n.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (n *node) Block(_ context.Context, height uint64) (*settlement.Block, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if height >= uint64(len(n.blocks)) {
		return nil, settlement.ErrNotFound
	}
	return n.blocks[height], nil
}

func (n *node) checkpoint() []byte {
	head := proof.Head{Size: n.head().Size(), Root: n.head().Root}
	signed := n.log.Sign(head)
	for _, w := range []string{"w1", "w2"} {
		line := must(must(proof.NewCosigner(w+".example", edKey(w))).Sign(proof.Checkpoint{Origin: n.genesis.Origin, Head: head}, uint64(time.Now().Unix())))
		signed, _, _ = n.policy.AddCosignatures(signed, line)
	}
	return signed
}

func (n *node) Receipt(_ context.Context, index uint64) ([]byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	size := uint64(len(n.leaves))
	if index >= size {
		return nil, settlement.ErrNotFound
	}
	path, err := proof.ProveInclusion(size, index, n.hashes)
	if err != nil {
		return nil, err
	}
	r := proof.Receipt{Index: index, Entry: n.leaves[index], Path: path, Checkpoint: n.checkpoint()}
	return r.Marshal(), nil
}

func (n *node) Checkpoint(context.Context) (uint64, []byte, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.head().Size(), n.checkpoint(), nil
}

func (n *node) LatestCheckpoint(ctx context.Context) ([]byte, error) {
	_, c, err := n.Checkpoint(ctx)
	return c, err
}

func (n *node) IndexOf(context.Context, entry.ID) (uint64, error) { return 0, settlement.ErrNotFound }
func (n *node) Spent(_ context.Context, nfs []zk.Nullifier) ([]settlement.Hit, error) {
	return make([]settlement.Hit, len(nfs)), nil
}
func (n *node) Entry(context.Context, uint64) ([]byte, uint64, error) {
	return nil, 0, settlement.ErrNotFound
}
func (n *node) Corridors() []settlement.Corridor { return nil }
func (n *node) Tile(context.Context, uint8, uint64) ([]byte, error) {
	return nil, settlement.ErrNotFound
}

// admin signs and submits a privileged entry.
func (n *node) admin(e entry.Entry, segments [][]byte) {
	n.t.Helper()
	head := e.Head()
	if head.Sequence == 0 {
		n.mu.Lock()
		head.Ledger, head.ExpiryMillis, head.Sequence = n.genesis.Hash(), uint64(time.Now().UnixMilli())+600000, n.state.NextSequence()
		n.mu.Unlock()
	}
	head.Signatures = []entry.PolicySignature{must(n.genesis.Policy.SignAuthorisation(edKey("s0"), entry.IDOf(e)))}
	if _, err := n.Submit(context.Background(), entry.Encode(e), segments); err != nil {
		n.t.Fatalf("%s: %v", e.Kind(), err)
	}
}
