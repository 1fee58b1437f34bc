package session_test

import (
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"iter"
	"sync"
	"testing"
	"time"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/wallets"
	"github.com/comity-ledger/comity/wallets/session"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/keys"
	"github.com/comity-ledger/comity/zk/prover"
)

// stream is a deterministic source of randomness.
type stream struct {
	name string
	n    uint64
	left []byte
}

func (s *stream) Read(p []byte) (int, error) {
	for i := range p {
		if len(s.left) == 0 {
			h := sha256.Sum256(binary.BigEndian.AppendUint64([]byte(s.name), s.n))
			s.n++
			s.left = h[:]
		}
		p[i], s.left = s.left[0], s.left[1:]
	}
	return len(p), nil
}

func edKey(name string) ed25519.PrivateKey {
	h := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(h[:])
}

func must[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func scalar(name string) zk.Scalar { return must(zk.NewScalar(&stream{name: name})) }

func signer(name string) entry.SignerKey {
	return must(entry.SignerKeyOf(edKey(name).Public().(ed25519.PublicKey)))
}

// oracle stands in for the proof system: a proof is a hash of its public inputs, made only for witnesses that pass the native check.
type oracle struct {
	mu     sync.Mutex // guards proofs
	proofs int
	before func() // called before every proof
}

func oracleProof(l *zk.LegPublic) (p zk.Proof) {
	h := sha256.New()
	for _, e := range l.AppendInputs(nil) {
		b := e.Bytes()
		h.Write(b[:])
	}
	copy(p[:], h.Sum(nil))
	return p
}

func (o *oracle) Check(w zk.LegWitness) error { return prover.Check(w) }

func (o *oracle) Prove(_ context.Context, w zk.LegWitness) (zk.Proof, error) {
	if o.before != nil {
		o.before()
	}
	o.mu.Lock()
	o.proofs++
	o.mu.Unlock()
	return oracleProof(&w.Public), nil
}

func (o *oracle) VerifyBatch(jobs []settlement.Job) []error {
	out := make([]error, len(jobs))
	for i, j := range jobs {
		if *j.Proof != oracleProof(j.Public) {
			out[i] = errors.New("the oracle made no such proof")
		}
	}
	return out
}

// ledger is a settlement core in memory, which signs and cosigns its checkpoints.
type ledger struct {
	mu       sync.Mutex // guards everything below
	t        testing.TB
	oracle   *oracle
	genesis  *entry.Genesis
	state    *settlement.State
	settled  *settlement.Settled
	blocks   []*settlement.Block
	sizes    []uint64
	now      uint64
	log      *proof.LogSigner
	policy   *proof.Policy
	silent   bool   // witnesses do not cosign
	cosigned []byte // the last checkpoint they did cosign

	// after, if set, may turn the answer of a submission into an error; the entry has settled all the same.
	after func() error
	// reject, if set, refuses a submission before it is looked at.
	reject func(e []byte) error
}

const oversightEpochName = "oversight"

func newLedger(t testing.TB, assets ...entry.Asset) *ledger {
	if len(assets) == 0 {
		assets = []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}}
	}
	g := &entry.Genesis{Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example/log", CreatedMillis: 1767225600000, Network: entry.Development,
		Assets: assets, Policy: entry.Policy{Threshold: 2, Signers: []entry.SignerKey{signer("s0"), signer("s1"), signer("s2")}}, LogKey: signer("log"),
		Witnesses: entry.WitnessPolicy{Quorum: 2, Faulty: 0, Members: []entry.Witness{{Name: "w1.example", Key: signer("w1"), Kind: entry.ConsistencyWitness},
			{Name: "w2.example", Key: signer("w2"), Kind: entry.ValidatingWitness}}},
		RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000, OversightKey: scalar(oversightEpochName).Base()}
	for _, id := range []zk.CircuitID{zk.Transfer, zk.Hold, zk.Disburse16, zk.Disburse64, zk.Consolidate} {
		g.Circuits = append(g.Circuits, entry.Circuit{ID: id, Version: 1, Fingerprint: sha256.Sum256([]byte{byte(id)})})
	}
	g.OversightPossession = entry.ProvePossession(scalar(oversightEpochName), entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), &stream{name: "nonce"})
	state, block, err := settlement.Begin(g)
	if err != nil {
		t.Fatal(err)
	}
	l := &ledger{t: t, oracle: new(oracle), genesis: g, state: state, settled: settlement.NewSettled(), blocks: []*settlement.Block{block}, now: g.CreatedMillis,
		log: must(proof.NewLogSigner(g.Origin, edKey("log"))), policy: must(wallets.PolicyOf(g))}
	l.sizes = []uint64{block.Size()}
	return l
}

func (l *ledger) anchor(height uint64) (settlement.Anchor, bool) {
	if height >= uint64(len(l.blocks)) {
		return settlement.Anchor{}, false
	}
	return l.blocks[height].Anchor, true
}

// checkpoint signs and cosigns the head.
func (l *ledger) checkpointAt(size uint64, root [32]byte) []byte {
	if l.silent {
		return nil
	}
	head := proof.Head{Size: size, Root: root}
	signed := l.log.Sign(head)
	for _, w := range []string{"w1", "w2"} {
		line := must(must(proof.NewCosigner(w+".example", edKey(w))).Sign(proof.Checkpoint{Origin: l.genesis.Origin, Head: head}, l.now/1000))
		signed, _, _ = l.policy.AddCosignatures(signed, line)
	}
	return signed
}

func (l *ledger) Head(context.Context) (uint64, uint64, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return uint64(len(l.blocks) - 1), l.blocks[len(l.blocks)-1].Size(), nil
}

func (l *ledger) Checkpoint(context.Context) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.silent {
		last := l.blocks[len(l.blocks)-1]
		l.cosigned = l.checkpointAt(last.Size(), last.Root)
	}
	return l.cosigned, nil
}

func (l *ledger) Blocks(_ context.Context, from uint64) iter.Seq2[*wallets.Block, error] {
	l.mu.Lock()
	blocks := l.blocks[min(from, uint64(len(l.blocks))):]
	l.mu.Unlock()
	return func(yield func(*wallets.Block, error) bool) {
		for i, b := range blocks {
			out := &wallets.Block{Height: b.Height, TimeMillis: b.Time, FirstIndex: b.FirstIndex, Entries: b.Entries, Segments: b.Segments}
			if i%3 == 0 || i == len(blocks)-1 {
				l.mu.Lock()
				out.Checkpoint = l.checkpointAt(b.Size(), b.Root)
				l.mu.Unlock()
			}
			if !yield(out, nil) {
				return
			}
		}
	}
}

type submission struct {
	entry    []byte
	segments [][]byte
}

// settle judges submissions and puts the accepted ones into one block.
func (l *ledger) settle(subs ...submission) []settlement.Result {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += 100
	results := make([]settlement.Result, len(subs))
	var candidates []*settlement.Candidate
	var at []int
	for i, s := range subs {
		sub, err := settlement.Decode(s.entry, s.segments)
		if err != nil {
			results[i] = settlement.Result{Refusal: err}
			continue
		}
		c, err := l.state.Admit(sub, l.now, l.anchor)
		if err == nil {
			err = settlement.Prove(l.oracle, []*settlement.Candidate{c})[0]
		}
		if err != nil {
			results[i] = settlement.Resolve(sub, err, l.settled)
			continue
		}
		candidates, at = append(candidates, c), append(at, i)
	}
	p, err := l.state.Sequence(candidates, l.now, l.settled, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	for i, r := range p.Results {
		results[at[i]] = r
		if r.Status != settlement.Accepted {
			continue
		}
		prior := settlement.Prior{ID: r.ID, EntryIndex: r.EntryIndex, Height: r.Height}
		for _, key := range entry.Keys(candidates[i].Entry) {
			l.settled.AddNullifier(key, prior)
		}
		if seq := candidates[i].Entry.Head().Sequence; seq != 0 {
			l.settled.AddSequence(seq, prior)
		}
	}
	if p.Accepted > 0 {
		l.blocks = append(l.blocks, p.Block)
		l.sizes = append(l.sizes, p.Block.Size())
		l.state = p.Next()
	}
	return results
}

// idle logs a state entry alone at a later ledger time.
func (l *ledger) idle(millis uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.now += millis
	p, err := l.state.Sequence(nil, l.now, l.settled, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	l.blocks = append(l.blocks, p.Block)
	l.sizes = append(l.sizes, p.Block.Size())
	l.state = p.Next()
}

func (l *ledger) Submit(_ context.Context, e []byte, segments [][]byte) (session.Accepted, error) {
	if l.reject != nil {
		if err := l.reject(e); err != nil {
			return session.Accepted{}, err
		}
	}
	r := l.settle(submission{e, segments})[0]
	if l.after != nil {
		if err := l.after(); err != nil {
			return session.Accepted{}, err
		}
	}
	if r.Status == settlement.Refused {
		return session.Accepted{}, r.Refusal
	}
	return session.Accepted{EntryIndex: r.EntryIndex, Height: r.Height, Before: r.Status == settlement.SettledBefore}, nil
}

func (l *ledger) Receipt(_ context.Context, index uint64, _ time.Duration) ([]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var leaves [][]byte
	for _, b := range l.blocks {
		leaves = append(leaves, b.Entries...)
	}
	hashes := storedHashes(leaves)
	size := uint64(len(leaves))
	path, err := proof.ProveInclusion(size, index, hashes)
	if err != nil {
		return nil, err
	}
	root, err := proof.RootAt(size, hashes)
	if err != nil {
		return nil, err
	}
	r := proof.Receipt{Index: index, Entry: leaves[index], Path: path, Checkpoint: l.checkpointAt(size, root)}
	return r.Marshal(), nil
}

// admin signs and settles a privileged entry.
func (l *ledger) admin(e entry.Entry, segments ...[]byte) {
	l.t.Helper()
	head := e.Head()
	if head.Ledger == (entry.GenesisHash{}) {
		head.Ledger, head.ExpiryMillis, head.Sequence = l.genesis.Hash(), l.now+600000, l.state.NextSequence()
	}
	l.sign(e)
	if r := l.settle(submission{entry.Encode(e), segments})[0]; r.Status != settlement.Accepted {
		l.t.Fatalf("%s: %v", e.Kind(), r.Refusal)
	}
}

func (l *ledger) sign(e entry.Entry) {
	e.Head().Signatures = nil
	id := entry.IDOf(e)
	for _, s := range []string{"s0", "s1"} {
		e.Head().Signatures = append(e.Head().Signatures, must(l.genesis.Policy.SignAuthorisation(edKey(s), id)))
	}
}

func (l *ledger) register(k keys.Wallet, limit zk.Amount, rights ...zk.Right) {
	l.t.Helper()
	l.admin(&entry.Register{Owners: []entry.Registration{{Owner: k.Owner(), Limit: limit, Rights: rights}}})
}

func (l *ledger) programme(id zk.ProgrammeID, status entry.ProgrammeStatus) {
	l.t.Helper()
	reader := scalar("reader")
	e := &entry.Programme{Programme: id, Name: "Harvest", Status: status, Reader: reader.Base()}
	e.Possession = entry.ProvePossession(reader, entry.ReaderPossession(l.genesis.Hash(), id), &stream{name: "nonce"})
	l.admin(e)
}

// wallet makes keys that nothing but the name decides.
func (l *ledger) keys(name string) keys.Wallet {
	var seed [32]byte
	s := &stream{name: name}
	s.Read(seed[:])
	return must(keys.Derive(keys.SeedFromBytes(seed), scalar("ask "+name), l.genesis.Hash()))
}

// disk is a wallet folder in memory that can be killed: from the moment when countdown reaches zero every change fails.
type disk struct {
	mu        sync.Mutex // guards countdown and dead: a round sends from several goroutines
	records   [][]byte
	state     []byte
	countdown int // steps until the kill; negative for never
	dead      bool
}

var errKilled = errors.New("killed")

func newDisk() *disk { return &disk{countdown: -1} }

func (d *disk) step() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.dead {
		return errKilled
	}
	if d.countdown == 0 {
		d.dead = true
		return errKilled
	}
	if d.countdown > 0 {
		d.countdown--
	}
	return nil
}

func (d *disk) Append(r []byte) error {
	if err := d.step(); err != nil {
		return err
	}
	d.records = append(d.records, append([]byte(nil), r...))
	return d.step() // a kill after the write and before the caller goes on
}

func (d *disk) Records() [][]byte  { return d.records }
func (d *disk) JournalSize() int64 { return 0 }
func (d *disk) Rewrite(r [][]byte) error {
	if err := d.step(); err != nil {
		return err
	}
	d.records = r
	return nil
}

func (d *disk) SaveState(s []byte) error {
	if err := d.step(); err != nil {
		return err
	}
	d.state = append([]byte(nil), s...)
	return nil
}

func (d *disk) LoadState() ([]byte, error) { return d.state, nil }

// guarded is the ledger as a wallet that can be killed sees it: before and after every submission it may die.
type guarded struct {
	*ledger
	disk *disk
}

func (g guarded) Submit(ctx context.Context, e []byte, segments [][]byte) (session.Accepted, error) {
	if err := g.disk.step(); err != nil {
		return session.Accepted{}, err
	}
	a, err := g.ledger.Submit(ctx, e, segments)
	if kill := g.disk.step(); kill != nil {
		return session.Accepted{}, kill
	}
	return a, err
}

func (l *ledger) open(k keys.Wallet, d *disk, seed string) *session.Session {
	l.t.Helper()
	s, err := session.Open(session.Config{Genesis: l.genesis, Keys: k, Folder: d, Ledger: guarded{l, d}, Prover: l.oracle, Rand: &stream{name: seed},
		Now: func() time.Time { l.mu.Lock(); defer l.mu.Unlock(); return time.UnixMilli(int64(l.now)) },
		Sleep: func(ctx context.Context, t time.Duration) error {
			l.mu.Lock()
			l.now += uint64(t.Milliseconds())
			l.mu.Unlock()
			return ctx.Err()
		}})
	if err != nil {
		l.t.Fatal(err)
	}
	return s
}

// issue gives a wallet money, by an issue to a treasury wallet of the same keys: one note each.
func (l *ledger) issue(k keys.Wallet, asset zk.AssetID, programme zk.ProgrammeID, amounts ...zk.Amount) {
	l.t.Helper()
	s := l.open(k, newDisk(), "issue")
	for i, a := range amounts {
		if err := s.Sync(l.t.Context(), nil); err != nil {
			l.t.Fatal(err)
		}
		b := s.Builder()
		b.Rand = &stream{name: "issue", n: uint64(len(l.blocks))<<20 + uint64(i)<<8}
		d, err := b.BuildIssue(asset, programme, a, 0)
		if err != nil {
			l.t.Fatal(err)
		}
		if err := d.Prove(l.t.Context(), l.oracle, nil); err != nil {
			l.t.Fatal(err)
		}
		l.sign(d.Tx)
		if r := l.settle(submission{d.Tx.Encode(), d.Segments})[0]; r.Status != settlement.Accepted {
			l.t.Fatalf("issue: %v", r.Refusal)
		}
	}
}
