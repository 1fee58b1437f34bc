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
}

// driver tells whether the bug replaces the node's step.
func (b *Bug) driver() bool {
	return b.answerBeforeWrite || b.unknownIsFailure || b.unknownIsSuccess || b.lookUpAfterWrite || b.rules.Has(planted.TimeGoesBack)
}
