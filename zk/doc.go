// Package zk is the vocabulary of the zero-knowledge side of Comity and its native arithmetic: hashes, notes, commitments,
// nullifiers, points, signatures, amounts, and the public inputs of a leg. Everything here has a twin inside the circuits
// (zk/circuit); the two are tested against each other.
//
// The package decides nothing about a ledger and does no I/O. It imports gnark-crypto for field and curve arithmetic and never
// gnark. Key derivation and encryption live in zk/keys, trees in zk/tree.
//
// Rules are numbered in SPEC.md beside this file; comments quote the numbers (Z1.1, Z2.3).
package zk
