package sim

import "github.com/comity-ledger/comity/settlement/internal/planted"

// Bug is a fault in the ledger itself, built in to see whether the simulation
// would have found it.
type Bug struct {
	Name  string
	rules planted.Set
	// Bugs of the driver.
	answerBeforeWrite bool // clients hear "accepted" before the append
	unknownIsFailure  bool // an Unknown outcome is answered as a refusal
	unknownIsSuccess  bool // an Unknown outcome is answered as accepted
	lookUpAfterWrite  bool // nullifiers are looked up when the block is written already
	poisonedIDs       bool // refusals are remembered by id
	refuseBeforeKnown bool // a repeat is judged afresh instead of resolved
	// Bugs of the store.
	lazySync, noFencing, tornTail bool
	// Bugs of a ledger of several nodes.
	several          bool // runs with several nodes
	epochIgnored     bool // the store compares heads without their epoch
	leaseIsToken     bool // whoever takes the lease writes by the epoch that it finds
	noCatchUp        bool // ... writes on the state it has, and the store compares the epoch alone
	renewBlindly     bool // the lease is renewed without compare-and-set, and whoever did writes by the epoch that it finds
	answerFirst      bool // a leader answers before the append
	fencedIsAccepted bool // a leader answers its batch though it was fenced
	retryIsNew       bool // a leader looks up only what it has settled itself
	staleRefusals    bool // a follower judges what it is sent, without a look-up
	followUnchecked  bool // a follower takes blocks as they come
	toldIsSettled    bool // a follower passes every answer on as accepted
	relayEarly       bool // a follower passes answers on before it has the block
	refuseUnsure     bool // a leader refuses from its state without being sure of its lease
	leadUnsure       bool // a node leads though its lease had run out before it had its epoch
	leaseForEver     bool // a lease that is not renewed counts for ever
}

// Bugs is the table of planted bugs; each must be caught.
var Bugs = []Bug{
	{Name: "no dedupe", rules: planted.Of(planted.NoDedupe)},
	{Name: "nullifiers of the same block ignored", rules: planted.Of(planted.RepeatInBlock)},
	{Name: "stale registry root accepted for ever", rules: planted.Of(planted.StaleRootForever)},
	{Name: "freeze keeps the window open", rules: planted.Of(planted.FreezeKeepsWindow)},
	{Name: "expiry off by one", rules: planted.Of(planted.ExpiryOffByOne)},
	{Name: "expiry checked at admission only", rules: planted.Of(planted.ExpiryAtAdmissionOnly)},
	{Name: "policy sequence not strictly increasing", rules: planted.Of(planted.SequenceNotIncreasing)},
	{Name: "supply counted twice", rules: planted.Of(planted.SupplyTwice)},
	{Name: "pool counter below zero", rules: planted.Of(planted.SupplyUnbounded)},
	{Name: "signatures not checked", rules: planted.Of(planted.SignaturesUnchecked)},
	{Name: "ledger time goes back", rules: planted.Of(planted.TimeGoesBack)},
	{Name: "proofs not checked", rules: planted.Of(planted.ProofUnchecked)},
	{Name: "acknowledge before the write", answerBeforeWrite: true},
	{Name: "unknown outcome treated as failed", unknownIsFailure: true},
	{Name: "unknown outcome treated as committed", unknownIsSuccess: true},
	{Name: "nullifier check after the write", lookUpAfterWrite: true},
	{Name: "refusal remembered by id", poisonedIDs: true},
	{Name: "repeat judged afresh", refuseBeforeKnown: true},
	{Name: "acknowledge before sync", lazySync: true},
	{Name: "no fencing", noFencing: true},
	{Name: "torn tail taken for a block", tornTail: true},
	{Name: "epoch not compared at append", several: true, epochIgnored: true},
	{Name: "lease believed without a new epoch", several: true, leaseIsToken: true},
	{Name: "take-over without catching up", several: true, noCatchUp: true},
	{Name: "lease renewed without compare-and-set", several: true, renewBlindly: true},
	{Name: "leader acknowledges before the append", several: true, answerFirst: true},
	{Name: "fenced leader acknowledges", several: true, fencedIsAccepted: true},
	{Name: "retry at a new leader taken for new", several: true, retryIsNew: true},
	{Name: "follower refuses from its own state", several: true, staleRefusals: true},
	{Name: "follower applies without checking", several: true, followUnchecked: true},
	{Name: "try_later passed on as accepted", several: true, toldIsSettled: true},
	{Name: "answer passed on before its block", several: true, relayEarly: true},
	{Name: "leader refuses from a state of the past", several: true, refuseUnsure: true},
	{Name: "leader by an epoch that came after its lease", several: true, leadUnsure: true},
	{Name: "lease that never runs out", several: true, leaseForEver: true},
}

// driver tells whether the bug replaces the node's step.
func (b *Bug) driver() bool {
	return b.answerBeforeWrite || b.unknownIsFailure || b.unknownIsSuccess || b.lookUpAfterWrite || b.rules.Has(planted.TimeGoesBack)
}
