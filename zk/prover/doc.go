// Package prover makes the proof of a leg.
//
// It owns the native check of every statement of zk/SPEC.md chapter 7 with a name for each way to break it (Check), and the
// making of proofs from a witness (Prover). It leaves building the witness to wallets, keys to zk/setup and the statements
// themselves to zk/circuit, whose twin Check is: a test compares the two on thousands of changed witnesses.
//
// A proof hides which statement would have failed, so a node can only say proof_invalid. Here is where a refusal gets its name.
package prover
