// Package settlement is the ledger: its state, open holds and corridors to peer
// ledgers among it, the rules that judge an entry, the names of its refusals,
// and what it asks of a store and of a checker of proofs.
//
// It is pure. A State is a value that never changes; Admit judges one
// submission against it, Sequence judges an ordered list of them and gives a
// Proposal: the block, one result per candidate and the State after the block.
// Whoever drives it makes the block durable and only then lets the proposal's
// State take the place of the old one, so a refused candidate, a failed write
// or a crash changes nothing. Clock, disk and network stay with the driver:
// the goroutines of settlement/node, the replay of settlement/replay and the
// simulation of settlement/sim drive the same calls. Sequencer does the one
// step that all drivers share, with a Store.
//
// The package leaves bytes to settlement/entry, hashes and trees to zk and
// zk/tree, checkpoints to settlement/journal, proofs to a Verifier. The
// numbered rules (L4.1 and on) are in settlement/SPEC.md.
package settlement
