// Package cross drives two or three whole ledgers with a corridor between each
// pair through seeded random work with faults, in one goroutine, and lets an
// independent model check every step.
//
// Nodes are the real ones as far as rules and recovery go (settlement.State,
// settlement.Sequencer, replay.Restore); logs are signed and cosigned; proofs
// of legs are replaced by counted stamps, made for true statements only. In
// each world payers, providers and a middle provider make cross-ledger
// payments, attestors decide escrows, treasuries freeze and thaw, two relayers
// race. Stores crash, tear and forget; clocks of the ledgers drift, jump and
// fall back; messages are lost, repeated, delayed and reordered; ledgers and
// witnesses are cut off; an operator censors decisions; relayers lie; payers place two holds, or the wrong
// one, or none; providers place the wrong hold, or none; a log signs a fork.
//
// The model (book) reads the logs alone, with plain tables and its own idea of
// the rules, and knows all ledgers at once, which no ledger does:
//
//	no value created or lost    unspent notes + open holds = issued, per ledger
//	a hold is decided once      and places the very commitment that it should
//	nothing is placed early     a held output is in the tree only when posted
//	both or neither             a follower ends as its decider's decision says
//	a decision has its reason   expiry, attestations, or what the peers' logs hold
//	caps hold                   size classes in flight never pass a corridor's cap
//	frozen is frozen            no new hold, no posting by a decider
//	no acknowledged entry lost  what was answered stands in the log for ever
//	replay                      gives the same state, bit for bit
//	every payment ends          settled or returned, once the faults stop
package cross
