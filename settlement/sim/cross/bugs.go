package cross

import "github.com/comity-ledger/comity/settlement/internal/planted"

// Bug is a fault built into the ledgers, to see whether the simulation would
// have found it.
type Bug struct {
	Name  string
	Rules planted.Set
	// careless relayers show a follower's hold with another commitment too.
	careless bool
}

// Bugs is the table of planted bugs; each must be caught.
var Bugs = []Bug{
	{Name: "hold posted twice", Rules: planted.Of(planted.HoldPostedTwice)},
	{Name: "posted at or after expiry", Rules: planted.Of(planted.PostAfterExpiry)},
	{Name: "voided before expiry", Rules: planted.Of(planted.VoidBeforeExpiry)},
	{Name: "cap checked at admission only", Rules: planted.Of(planted.CapAtAdmissionOnly)},
	{Name: "peer's commitment not compared", Rules: planted.Of(planted.PeerCommitmentNotCompared), careless: true},
	{Name: "naming not compared", Rules: planted.Of(planted.NamingNotCompared)},
	{Name: "follower voids by its own clock", Rules: planted.Of(planted.FollowerVoidsByClock)},
	{Name: "decider posts while frozen", Rules: planted.Of(planted.PostsWhileFrozen)},
	{Name: "attestation counted twice", Rules: planted.Of(planted.AttestationCountedTwice)},
	{Name: "in flight not released", Rules: planted.Of(planted.InFlightNotReleased)},
	{Name: "held output placed early", Rules: planted.Of(planted.HoldPlacedEarly)},
	{Name: "checkpoint without an own witness", Rules: planted.Of(planted.CorridorOwnWitnessUnasked)},
	{Name: "growth of the peer's log not checked", Rules: planted.Of(planted.CorridorGrowthUnchecked)},
	{Name: "no dedupe", Rules: planted.Of(planted.NoDedupe)},
	{Name: "keys of the same block ignored", Rules: planted.Of(planted.RepeatInBlock)},
	{Name: "entry expiry off by one", Rules: planted.Of(planted.ExpiryOffByOne)},
	{Name: "policy sequence not strictly increasing", Rules: planted.Of(planted.SequenceNotIncreasing)},
	{Name: "signatures not checked", Rules: planted.Of(planted.SignaturesUnchecked)},
}
