// Package sim drives one whole ledger through seeded random work with faults,
// in one goroutine, and lets an independent model check every step.
//
// One seed is one world: clients that pay, retry and change their minds; a
// network that loses, repeats, delays and reorders; a clock that jumps; a
// store that crashes, forgets and answers late; people who freeze, rotate and
// sign badly. The node in it is the real one as far as rules go
// (settlement.State and settlement.Sequencer, replay.Restore); only proofs are
// replaced, by an oracle that makes a keyed stamp for a statement that the
// model holds true, and for no other.
//
// In half of the worlds two to four nodes run the ledger over one store, under a
// lease, each on a clock of its own that is too fast or too slow. They decide by
// settlement.LeaseWatch, as node.Member does. A node stands still, for longer
// than its lease, or dies, before or after any call of the store; requests and
// answers are lost, or arrive after they were given up; nodes are cut off from
// the store, from clients, from witnesses and from each other; a follower reads
// blocks that were spoilt on the way. Clients send to any node, and again to
// another.
//
// The model shares no code with the rules. It reads the log as an auditor
// would and keeps its own plain tables, its own trees and its own idea of who
// may do what. Whatever it cannot explain is a failure of the seed:
//
//	no value created or lost      sum of unspent notes = issued - redeemed, per asset
//	no note spent twice           every input unspent, once
//	no acknowledged entry lost    what a client was told stands in the log for ever
//	no refused entry settled      a refusal that was answered stays true
//	no frozen owner pays          after its freeze in the order of the log
//	no late entry                 ledger time strictly before the expiry
//	no unsigned authority         m of n signatures, sequence without gaps
//	replay                        gives the same state, bit for bit
//	every payment ends            settled, once the faults stop
//	one writer                    blocks by the newest epoch, of one node each; epochs only grow
//	one root per size             whoever signs, cosigns or shows it
//	no state of its own           every node stands at a block of the store
//	answers that can be read      at the node that gave them, at once
//	one is sure                   of the lease, however clocks go
//	somebody leads                once the faults stop
package sim
