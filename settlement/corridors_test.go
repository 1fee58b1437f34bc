package settlement

import (
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/internal/planted"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

const toyNow = 1_800_000_000_000 // ledger time in milliseconds

func toyKey(name string) ed25519.PrivateKey {
	seed := sha256.Sum256([]byte(name))
	return ed25519.NewKeyFromSeed(seed[:])
}

func toyPublic(name string) entry.SignerKey {
	return entry.SignerKey(toyKey(name).Public().(ed25519.PublicKey))
}

// toyPeer is another ledger as far as a corridor sees it: a log of real
// entries, signed checkpoints and witnesses.
type toyPeer struct {
	t       testing.TB
	hash    entry.GenesisHash
	origin  string
	logKey  string // name of the key that signs now
	time    uint64
	height  uint64
	leaves  [][]byte
	stored  []proof.Hash
	witness []string // who cosigns
}

func (p *toyPeer) ReadHashes(indexes []int64) ([]tlog.Hash, error) {
	out := make([]tlog.Hash, len(indexes))
	for i, n := range indexes {
		if n >= int64(len(p.stored)) {
			return nil, fmt.Errorf("no hash %d", n)
		}
		out[i] = p.stored[n]
	}
	return out, nil
}

var toyWitnesses = []string{"own.example", "two.example", "three.example", "four.example"}

const toyStale = 60_000

func toyTerms() *entry.CorridorTerms {
	t := &entry.CorridorTerms{
		Name: "Borealis", Origin: "ledger.borealis.example/log", LogKey: toyPublic("log"), Quorum: 3, Faulty: 1,
		Treasury: entry.Policy{Threshold: 2, Signers: []entry.SignerKey{toyPublic("t1"), toyPublic("t2"), toyPublic("t3")}},
		Cap:      1000, SizeClasses: []uint64{10, 100, 1000}, StaleMillis: toyStale,
	}
	for i, name := range toyWitnesses {
		t.Witnesses = append(t.Witnesses, entry.CorridorWitness{Name: name, Key: toyPublic(name), Own: i == 0})
	}
	return t
}

var (
	toyHome = entry.GenesisHash{0xaa}
	toyAway = entry.GenesisHash{0xbb}
)

func newToyPeer(t testing.TB) *toyPeer {
	p := &toyPeer{t: t, hash: toyAway, origin: toyTerms().Origin, logKey: "log", time: toyNow - 5000, witness: []string{"own.example", "two.example", "four.example"}}
	p.block()
	return p
}

// fork gives a second history that shares the first leaves.
func (p *toyPeer) fork(size uint64) *toyPeer {
	f := *p
	f.leaves, f.stored = nil, nil
	for _, leaf := range p.leaves[:size] {
		f.add(leaf)
	}
	return &f
}

func (p *toyPeer) size() uint64 { return uint64(len(p.leaves)) }

func (p *toyPeer) add(leaf []byte) uint64 {
	hs, err := tlog.StoredHashes(int64(len(p.leaves)), leaf, p)
	if err != nil {
		p.t.Fatal(err)
	}
	p.stored, p.leaves = append(p.stored, hs...), append(p.leaves, leaf)
	return p.size() - 1
}

// block logs entries and a state entry, and gives the index of the first.
func (p *toyPeer) block(entries ...entry.Entry) uint64 {
	first := p.size()
	for _, e := range entries {
		p.add(entry.Encode(e))
	}
	p.add(entry.Encode(&entry.State{Height: p.height, TimeMillis: p.time, NextSequence: 1}))
	p.height, p.time = p.height+1, p.time+500
	return first
}

func (p *toyPeer) head(size uint64) proof.Head {
	root, err := proof.RootAt(size, p)
	if err != nil {
		p.t.Fatal(err)
	}
	return proof.Head{Size: size, Root: root}
}

func (p *toyPeer) signed(size uint64) []byte {
	signer, err := proof.NewLogSigner(p.origin, toyKey(p.logKey))
	if err != nil {
		p.t.Fatal(err)
	}
	return signer.Sign(p.head(size))
}

func (p *toyPeer) cosigned(size, unixSeconds uint64, witnesses ...string) []byte {
	out := p.signed(size)
	for _, name := range witnesses {
		cosigner, err := proof.NewCosigner(name, toyKey(name))
		if err != nil {
			p.t.Fatal(err)
		}
		line, err := cosigner.Sign(proof.Checkpoint{Origin: p.origin, Head: p.head(size)}, unixSeconds)
		if err != nil {
			p.t.Fatal(err)
		}
		out = append(out, line...)
	}
	return out
}

// observe makes the entry that reports the log's head to a corridor that saw
// the first `from` leaves.
func (p *toyPeer) observe(from uint64) *entry.Observe { return p.observeAt(from, p.size()) }

func (p *toyPeer) observeAt(from, size uint64) *entry.Observe {
	e := &entry.Observe{Header: entry.Header{Ledger: toyHome, ExpiryMillis: toyNow + 60_000}, Peer: p.hash, Size: size, Root: p.head(size).Root,
		Checkpoint: p.cosigned(size, toyNow/1000, p.witness...), State: p.leaves[size-1]}
	if from <= size {
		path, err := proof.ProveConsistency(from, size, p)
		if err != nil {
			p.t.Fatal(err)
		}
		e.Consistency = bare(path)
	}
	e.StatePath = p.path(size, size-1)
	return e
}

func (p *toyPeer) path(size, index uint64) [][32]byte {
	path, err := proof.ProveInclusion(size, index, p)
	if err != nil {
		p.t.Fatal(err)
	}
	return bare(path)
}

func (p *toyPeer) proof(size, index uint64) *entry.PeerProof {
	return &entry.PeerProof{Size: size, Index: index, Path: p.path(size, index), Leaf: p.leaves[index]}
}

func (p *toyPeer) receipt(size, index uint64) []byte {
	r := proof.Receipt{Index: index, Entry: p.leaves[index], Path: hashes(p.path(size, index)), Checkpoint: p.signed(size)}
	return r.Marshal()
}

func bare(path []proof.Hash) [][32]byte {
	var out [][32]byte
	for _, h := range path {
		out = append(out, h)
	}
	return out
}

// decide is a decision of the peer for one of its holds.
func (p *toyPeer) decide(hold entry.HoldID, outcome entry.Outcome, named ...entry.Named) *entry.Resolve {
	e := &entry.Resolve{Header: entry.Header{Ledger: p.hash, ExpiryMillis: toyNow + 60_000}, Hold: hold, Outcome: outcome, Reason: entry.ReasonPeers, Named: named,
		Commitment: zk.Commitment{31: byte(outcome)}}
	for range max(1, len(named)) {
		e.Peers = append(e.Peers, entry.PeerProof{Size: 2, Index: 0, Leaf: []byte{1}})
	}
	return e
}

func toyHold(n byte) entry.HoldID { return entry.HoldID{Tx: entry.ID{n, 7}, Leg: n % 2} }

func toySets(terms *entry.CorridorTerms) *entry.Corridor {
	return &entry.Corridor{Header: entry.Header{Ledger: toyHome, ExpiryMillis: toyNow + 60_000, Sequence: 1}, Peer: toyAway, Action: entry.CorridorSets, Terms: terms}
}

func toyDoes(action entry.CorridorAction) *entry.Corridor {
	return &entry.Corridor{Header: entry.Header{Ledger: toyHome, ExpiryMillis: toyNow + 60_000, Sequence: 1}, Peer: toyAway, Action: action}
}

// toyCorridor has the terms and has observed nothing.
func toyCorridor(t testing.TB) *corridors {
	c := newCorridors()
	toyApply(t, c, toySets(toyTerms()))
	return c
}

func toyApply(t testing.TB, c *corridors, e *entry.Corridor) {
	t.Helper()
	if err := e.Validate(); err != nil {
		t.Fatal(err)
	}
	if err := c.check(e, toyHome); err != nil {
		t.Fatal(err)
	}
	c.set(e)
}

// toySettle admits and records an observation, as one block after another
// would, through the entry's own bytes.
func toySettle(t testing.TB, c *corridors, e *entry.Observe, now uint64) error {
	t.Helper()
	decoded, err := entry.Decode(entry.Encode(e))
	if err != nil {
		t.Fatal(err)
	}
	o, err := c.admitObserve(decoded.(*entry.Observe))
	if err != nil {
		return err
	}
	return c.observe(decoded.(*entry.Observe), o, now)
}

func toyMust(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func toyRefused(t testing.TB, what string, err error, want entry.Code) {
	t.Helper()
	if entry.CodeOf(err) != want {
		t.Errorf("%s: %v, want refusal %q", what, err, want)
	}
}

// toyPair is a corridor that has observed its peer once.
func toyPair(t testing.TB) (*corridors, *toyPeer) {
	c, p := toyCorridor(t), newToyPeer(t)
	for range 4 {
		p.block()
	}
	toyMust(t, toySettle(t, c, p.observe(0), toyNow))
	return c, p
}

func (c *corridors) only() *corridor { return c.rows[0] }

func TestCorridorTermsThatBreakARuleAreRefused(t *testing.T) {
	for name, spoil := range map[string]func(*entry.CorridorTerms){
		"a quorum that f defeat":            func(x *entry.CorridorTerms) { x.Faulty = 2 },
		"a quorum of half":                  func(x *entry.CorridorTerms) { x.Quorum, x.Faulty = 2, 0 },
		"no quorum":                         func(x *entry.CorridorTerms) { x.Quorum, x.Faulty = 0, 0 },
		"a quorum of more than all":         func(x *entry.CorridorTerms) { x.Quorum = 5 },
		"no witness of its own":             func(x *entry.CorridorTerms) { x.Witnesses[0].Own = false },
		"no witness":                        func(x *entry.CorridorTerms) { x.Witnesses = nil },
		"one witness key twice":             func(x *entry.CorridorTerms) { x.Witnesses[1].Key = x.Witnesses[2].Key },
		"one witness name twice":            func(x *entry.CorridorTerms) { x.Witnesses[1].Name = x.Witnesses[2].Name },
		"a witness with the log's key":      func(x *entry.CorridorTerms) { x.Witnesses[3].Key = x.LogKey },
		"a witness with the log's name":     func(x *entry.CorridorTerms) { x.Witnesses[3].Name = x.Origin },
		"a log key of small order":          func(x *entry.CorridorTerms) { x.LogKey = entry.SignerKey{1} },
		"a witness key of small order":      func(x *entry.CorridorTerms) { x.Witnesses[1].Key = entry.SignerKey{} },
		"a treasury without signers":        func(x *entry.CorridorTerms) { x.Treasury.Signers = nil },
		"a treasury of 4 of 3":              func(x *entry.CorridorTerms) { x.Treasury.Threshold = 4 },
		"a signer of the treasury twice":    func(x *entry.CorridorTerms) { x.Treasury.Signers[0] = x.Treasury.Signers[1] },
		"a treasurer who is a witness":      func(x *entry.CorridorTerms) { x.Treasury.Signers[0] = x.Witnesses[1].Key },
		"no size class":                     func(x *entry.CorridorTerms) { x.SizeClasses = nil },
		"a size class of nothing":           func(x *entry.CorridorTerms) { x.SizeClasses[0] = 0 },
		"size classes out of order":         func(x *entry.CorridorTerms) { x.SizeClasses[0] = 100 },
		"the size class of local holds":     func(x *entry.CorridorTerms) { x.SizeClasses[2] = 1<<64 - 1 },
		"a cap below every class":           func(x *entry.CorridorTerms) { x.Cap = 9 },
		"stale after less than a second":    func(x *entry.CorridorTerms) { x.StaleMillis = 999 },
		"stale after more than thirty days": func(x *entry.CorridorTerms) { x.StaleMillis = 30*24*3600*1000 + 1 },
		"an origin with a space":            func(x *entry.CorridorTerms) { x.Origin = "a b" },
		"no name":                           func(x *entry.CorridorTerms) { x.Name = "" },
	} {
		terms := toyTerms()
		spoil(terms)
		toyRefused(t, name, newCorridors().check(toySets(terms), toyHome), entry.CorridorInvalid)
	}
	toyMust(t, newCorridors().check(toySets(toyTerms()), toyHome))
	toyRefused(t, "a corridor to itself", newCorridors().check(toySets(toyTerms()), toyAway), entry.CorridorInvalid)
	toyRefused(t, "a set without terms", newCorridors().check(toyDoes(entry.CorridorSets), toyHome), entry.CorridorInvalid)
	toyRefused(t, "an unknown action", newCorridors().check(toyDoes(4), toyHome), entry.CorridorInvalid)
}

func TestCorridorsHaveABound(t *testing.T) {
	c := newCorridors()
	for i := range maxCorridors {
		e := toySets(toyTerms())
		e.Peer = entry.GenesisHash{1, byte(i)}
		toyApply(t, c, e)
	}
	toyRefused(t, "one too many", c.check(toySets(toyTerms()), toyHome), entry.CorridorInvalid)
	again := toySets(toyTerms())
	again.Peer = entry.GenesisHash{1, 5}
	toyMust(t, c.check(again, toyHome))
}

func TestFreezeAndThawThatChangeNothingAreRefused(t *testing.T) {
	c := newCorridors()
	for _, action := range []entry.CorridorAction{entry.CorridorFreezes, entry.CorridorThaws} {
		toyRefused(t, "unknown, "+action.String(), c.check(toyDoes(action), toyHome), entry.CorridorUnknown)
	}
	c = toyCorridor(t)
	toyRefused(t, "thaw", c.check(toyDoes(entry.CorridorThaws), toyHome), entry.CorridorInvalid)
	toyApply(t, c, toyDoes(entry.CorridorFreezes))
	if !c.frozen(toyAway) || c.status(toyNow)[0].State != CorridorFrozen || c.status(toyNow)[0].Why != "treasury" {
		t.Errorf("after a freeze: %+v", c.status(toyNow)[0])
	}
	toyRefused(t, "freeze again", c.check(toyDoes(entry.CorridorFreezes), toyHome), entry.CorridorInvalid)
	toyApply(t, c, toyDoes(entry.CorridorThaws))
	if c.frozen(toyAway) {
		t.Error("thawed and frozen")
	}
}

func TestSettingTermsAgainKeepsWhatWasSeen(t *testing.T) {
	c, p := toyPair(t)
	c.place(toyAway, 100)
	c.overrode(toyAway, toyHold(1), toyHold(2), entry.Voided, 100)
	toyApply(t, c, toyDoes(entry.CorridorFreezes))
	before := *c.only()
	terms := toyTerms()
	terms.Cap, terms.Name = 5000, "Borealis again"
	toyApply(t, c, toySets(terms))
	after := c.only()
	if after.last() != before.last() || len(after.seen) != 1 || after.inFlight != 100 || len(after.overridden) != 1 || after.frozen != frozenByTreasury ||
		after.peerTime != before.peerTime || after.observedAt != before.observedAt || after.version != before.version+1 || after.terms.Cap != 5000 {
		t.Errorf("set again: %+v", after)
	}
	p.block()
	toyMust(t, toySettle(t, c, p.observe(before.last().Size), toyNow))
}

func TestCloneLeavesTheOriginalAlone(t *testing.T) {
	c, p := toyPair(t)
	from := p.size()
	at := p.block(p.decide(toyHold(4), entry.Voided))
	toyMust(t, toySettle(t, c, p.observe(from), toyNow))
	c.overrode(toyAway, toyHold(3), toyHold(4), entry.Posted, 100)
	bytes, hash := c.append(nil), c.hash()
	d := c.clone()
	if d.hash() != hash {
		t.Error("a clone has another hash")
	}
	size := p.size()
	p.block()
	toyMust(t, toySettle(t, d, p.observe(size), toyNow))
	d.place(toyAway, 100)
	toyMust(t, toyFile(t, d, toyEvidence(entry.EvidenceLate, p.proof(size, at).Marshal())))
	d.overrode(toyAway, toyHold(1), toyHold(2), entry.Posted, 100)
	toyApply(t, d, toyDoes(entry.CorridorFreezes))
	other := toySets(toyTerms())
	other.Peer = entry.GenesisHash{1}
	toyApply(t, d, other)
	if !slices.Equal(c.append(nil), bytes) || c.hash() != hash {
		t.Error("a change to a clone changed the original")
	}
	if d.hash() == hash {
		t.Error("the hash is not that of the changed corridors")
	}
}

func TestHoldIsPlacedOnlyInAnOpenCorridor(t *testing.T) {
	c, _ := toyPair(t)
	toyMust(t, c.mayPlace(toyAway, 100, toyNow))
	toyRefused(t, "unknown peer", c.mayPlace(toyHome, 100, toyNow), entry.CorridorUnknown)
	toyRefused(t, "never observed", toyCorridor(t).mayPlace(toyAway, 100, toyNow), entry.CorridorStale)
	for _, class := range []uint64{0, 1, 99, 101, 1<<64 - 1} {
		toyRefused(t, fmt.Sprint("class ", class), c.mayPlace(toyAway, class, toyNow), entry.SizeClassUnknown)
	}
	toyApply(t, c, toyDoes(entry.CorridorFreezes))
	toyRefused(t, "frozen", c.mayPlace(toyAway, 100, toyNow), entry.CorridorFrozen)
	toyApply(t, c, toyDoes(entry.CorridorThaws))
	toyMust(t, c.mayPlace(toyAway, 100, toyNow))
}

func TestCorridorIsStaleStrictlyAfterItsTime(t *testing.T) {
	c, _ := toyPair(t)
	for _, at := range []struct {
		now   uint64
		stale bool
	}{{toyNow - 1, false}, {toyNow, false}, {toyNow + toyStale - 1, false}, {toyNow + toyStale, false}, {toyNow + toyStale + 1, true}, {1<<64 - 1, true}} {
		err := c.mayPlace(toyAway, 100, at.now)
		state := c.status(at.now)[0].State
		if at.stale {
			toyRefused(t, "stale", err, entry.CorridorStale)
		}
		if at.stale != (err != nil) || at.stale != (state == CorridorStale) {
			t.Errorf("at %d: %v, %s", at.now, err, state)
		}
	}
	if view := toyCorridor(t).status(toyNow)[0]; view.State != CorridorStale || view.Why != "never observed" {
		t.Errorf("never observed: %+v", view)
	}
}

func TestCapCountsTheClassesInFlight(t *testing.T) {
	c, _ := toyPair(t) // cap 1000
	for range 9 {
		toyMust(t, c.mayPlace(toyAway, 100, toyNow))
		c.place(toyAway, 100)
	}
	toyRefused(t, "far over", c.mayPlace(toyAway, 1000, toyNow), entry.CorridorCap)
	toyMust(t, c.mayPlace(toyAway, 100, toyNow)) // exactly the cap
	c.place(toyAway, 100)
	toyRefused(t, "one class over", c.mayPlace(toyAway, 10, toyNow), entry.CorridorCap)
	c.release(toyAway, 100)
	toyMust(t, c.mayPlace(toyAway, 10, toyNow))
	terms := toyTerms()
	terms.Cap = 500 // lowered below what is in flight
	toyApply(t, c, toySets(terms))
	toyRefused(t, "over a lowered cap", c.mayPlace(toyAway, 10, toyNow), entry.CorridorCap)
	if view := c.status(toyNow)[0]; view.InFlight != 900 || view.Cap != 500 {
		t.Errorf("in flight %d of %d", view.InFlight, view.Cap)
	}
}

func TestInFlightNeverOverflows(t *testing.T) {
	c, _ := toyPair(t)
	terms := toyTerms()
	const big = 1<<64 - 2
	terms.Cap, terms.SizeClasses = 1<<64-1, []uint64{1, 2, big}
	toyApply(t, c, toySets(terms))
	toyMust(t, c.mayPlace(toyAway, big, toyNow))
	c.place(toyAway, big)
	toyRefused(t, "past 2^64", c.mayPlace(toyAway, 2, toyNow), entry.CorridorCap)
	toyRefused(t, "twice the largest class", c.mayPlace(toyAway, big, toyNow), entry.CorridorCap)
	toyMust(t, c.mayPlace(toyAway, 1, toyNow))
	c.place(toyAway, 1)
	for name, broken := range map[string]func(){
		"place past 2^64":     func() { c.clone().place(toyAway, 1) },
		"release too much":    func() { d := toyCorridor(t); d.release(toyAway, 1) },
		"place at a stranger": func() { c.clone().place(toyHome, 1) },
	} {
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s went unnoticed", name)
				}
			}()
			broken()
		}()
	}
}

func TestStatusShowsWhatIsKnown(t *testing.T) {
	c, p := toyPair(t)
	c.place(toyAway, 10)
	view := c.status(toyNow)[0]
	if view.Peer != toyAway || view.Name != "Borealis" || view.Origin != p.origin || view.State != CorridorActive || view.Why != "" ||
		view.Size != p.size() || view.Root != [32]byte(p.head(p.size()).Root) || view.PeerTime != p.time-500 || view.ObservedAt != toyNow ||
		view.InFlight != 10 || view.Cap != 1000 || !slices.Equal(view.SizeClasses, toyTerms().SizeClasses) || view.LogKey != toyPublic("log") || view.Rotations != 0 || view.Claims != 0 {
		t.Errorf("%+v", view)
	}
	if !c.known(toyAway) || c.known(toyHome) || c.peerTime(toyAway) != view.PeerTime || c.peerTime(toyHome) != 0 || c.frozen(toyHome) {
		t.Error("known, peerTime or frozen")
	}
	policy, err := c.treasury(toyAway)
	if err != nil || policy.Threshold != 2 {
		t.Errorf("treasury %v, %v", policy, err)
	}
	_, err = c.treasury(toyHome)
	toyRefused(t, "treasury of a stranger", err, entry.CorridorUnknown)
}

// Every planted bug of the corridors lets something through that is refused
// without it.
func TestPlantedBugsOfCorridorsMatter(t *testing.T) {
	c, p := toyPair(t)
	size := p.size()
	p.block()
	unwatched := p.observe(size)
	unwatched.Checkpoint = p.cosigned(p.size(), toyNow/1000, toyWitnesses[1:]...)
	fork := p.fork(size - 1)
	fork.time++
	fork.block()
	fork.block()
	grown := fork.observe(size)
	stranger := p.decide(toyHold(1), entry.Voided)
	stranger.Ledger = toyHome
	index := p.block(stranger)
	reflected := func(c *corridors) error {
		d := c.clone()
		toyMust(t, toySettle(t, d, p.observe(size), toyNow))
		_, err := d.prove(toyAway, p.proof(p.size(), index))
		return err
	}
	toyRefused(t, "no own witness", toySettle(t, c.clone(), unwatched, toyNow), entry.PeerCheckpointInvalid)
	toyMust(t, toySettle(t, c.planted(planted.Of(planted.CorridorOwnWitnessUnasked)), unwatched, toyNow))
	if err := toySettle(t, c.clone(), grown, toyNow); err == nil {
		t.Error("a fork was observed")
	}
	toyMust(t, toySettle(t, c.planted(planted.Of(planted.CorridorGrowthUnchecked)), grown, toyNow))
	toyRefused(t, "a reflected leaf", reflected(c), entry.PeerMismatch)
	toyMust(t, reflected(c.planted(planted.Of(planted.PeerLedgerUnchecked))))
}
