// Package planted names bugs that a test builds into the ledger's rules, to
// show that the simulation would have found them. The zero Set plants nothing.
// Being internal, it cannot be named by programs; a ledger's state gets a set
// only through State.Planted.
package planted

// Bug is one rule left out or done wrong.
type Bug uint8

// The bugs that only the rules themselves can hold. Bugs of the driver and of
// the store (acknowledging too early, looking up too late) are wrappers in
// settlement/sim.
const (
	// NoDedupe: an entry settled before is not recognised by its id.
	NoDedupe Bug = iota
	// RepeatInBlock: nullifiers of earlier candidates of the block are ignored.
	RepeatInBlock
	// StaleRootForever: an older registry root never leaves its window.
	StaleRootForever
	// FreezeKeepsWindow: a freeze does not end the window of older roots.
	FreezeKeepsWindow
	// ExpiryOffByOne: an entry still settles at its expiry.
	ExpiryOffByOne
	// ExpiryAtAdmissionOnly: the expiry is not checked again when sequencing.
	ExpiryAtAdmissionOnly
	// SequenceNotIncreasing: a used policy sequence number is accepted again.
	SequenceNotIncreasing
	// SupplyTwice: an issue counts twice.
	SupplyTwice
	// SupplyUnbounded: a pool counter may go below zero.
	SupplyUnbounded
	// SignaturesUnchecked: privileged entries need no valid signatures.
	SignaturesUnchecked
	// TimeGoesBack: ledger time follows a clock that jumps back.
	TimeGoesBack
	// ProofUnchecked: proofs are taken on trust.
	ProofUnchecked
	// HoldPostedTwice: a resolved hold stays open, and its key does not count.
	HoldPostedTwice
	// PostAfterExpiry: a hold is posted at and after its expiry.
	PostAfterExpiry
	// VoidBeforeExpiry: anybody voids a hold whose expiry is ahead.
	VoidBeforeExpiry
	// CapAtAdmissionOnly: a corridor's cap is not checked again when sequencing.
	CapAtAdmissionOnly
	// PeerCommitmentNotCompared: a peer's hold may pay any commitment.
	PeerCommitmentNotCompared
	// NamingNotCompared: a follower posts on a decision that names another hold.
	NamingNotCompared
	// FollowerVoidsByClock: a hold that another ledger decides is voided by this
	// ledger's own time.
	FollowerVoidsByClock
	// PostsWhileFrozen: a decider posts although a follower's corridor is frozen.
	PostsWhileFrozen
	// AttestationCountedTwice: one attestor counts as often as it attests.
	AttestationCountedTwice
	// InFlightNotReleased: a resolved hold still counts as in flight.
	InFlightNotReleased
	// HoldPlacedEarly: a held output is placed when the hold is logged.
	HoldPlacedEarly
)

// Set is a set of bugs.
type Set struct{ bits uint64 }

// Of makes a set.
func Of(bugs ...Bug) (s Set) {
	for _, b := range bugs {
		s.bits |= 1 << b
	}
	return s
}

// Has tells whether the bug is planted.
func (s Set) Has(b Bug) bool { return s.bits>>b&1 == 1 }
