package planted

// The bugs of corridors, numbered apart from the others.
const (
	// CorridorOwnWitnessUnasked: a peer's checkpoint needs no witness of this
	// ledger's nation.
	CorridorOwnWitnessUnasked Bug = 48 + iota
	// CorridorGrowthUnchecked: a peer's checkpoint need not grow from the last.
	CorridorGrowthUnchecked
	// PeerLedgerUnchecked: a peer's leaf may be an entry of any ledger.
	PeerLedgerUnchecked
)
