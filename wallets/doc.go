// Package wallets is the core of a wallet: what it knows of its ledger, which notes it may spend, how a payment becomes legs, and
// how a leg becomes a transaction with its witness.
//
// Everything here takes values and returns values. The stream of blocks, the clock, randomness, the prover and the disk arrive as
// arguments; package session drives them, keystore keeps them on disk and client speaks to a ledger.
//
// What it holds to:
//   - Note tree, registry and readers' tree are computed from the stream and compared with every state entry (State.Apply), so a
//     node is never asked for a path, which would tell it which note is about to be spent.
//   - A payment is never refused for want of funds while funds exist: the planner merges notes, moves them out of sealed trees
//     and releases earmarked money where the registry allows it, in rounds, until one leg can pay (Plan).
//   - A payment never settles twice: its attempts share an input until every earlier attempt is dead, that is expired in ledger
//     time or spent against (Payment.Live).
//   - What waits in a hold is nobody's balance. A hold's commitments are fixed and journalled before its condition is known, and stay
//     (HoldDraft); what a resolution places is found at its place by payee or payer (State.Holds).
//   - What a proof would hide from the ledger is refused here by name first: limit, frozen owner, earmark, amounts.
package wallets
