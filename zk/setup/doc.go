// Package setup makes and keeps the keys of the circuits.
//
// It owns the Groth16 set-up from an explicit trapdoor, the development keys that every machine derives from one public string,
// the cache of proving keys on disk, and the recorded verifying keys that come with the binary. A node, an auditor or a wallet
// that only verifies uses VerifyingKeys and needs neither a circuit nor a proving key. Who proves uses Keys.
//
// The trapdoor of a development key is public, so anyone can forge proofs under it: a node refuses such a key outside a
// development network (IsDevelopment). Keys of a production network come from a ceremony; this package only has to read their
// verifying keys (verifier.ParseKey).
package setup
