// Package bridge owns what happens between ledgers before and beside their rules: requests, quotes and the messages between payer and
// providers, the rates and the desk of a provider, the state machine of a payer, the planner of a relayer, and settlement by file.
//
// Everything here is pure: clock, randomness, disk, network and wallets arrive as arguments. Decisions come out as journal records, which
// the caller makes durable before it acts on them. Rules of the ledgers (holds, corridors, peer proofs) live in settlement; nothing here is
// trusted by a ledger.
//
// Rules are numbered in SPEC.md beside this file; comments quote the numbers (B1.1).
package bridge
