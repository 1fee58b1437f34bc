// Package verifier checks Groth16 proofs over BLS12-381, many at a time.
//
// It owns the decoding of proofs into points (Decode, Encode), the verifying keys with their canonical encoding and
// fingerprint (VerifyingKey), the check of one proof (Set.Verify) and of a batch (Set.VerifyBatch). It leaves to others how a
// leg becomes public inputs (zk.LegPublic), where keys come from (zk/setup) and what a refusal means to a client (settlement).
//
// A batch costs about a fifth of what its proofs cost one by one: one random linear combination turns n pairing equations
// into one, with n Miller loops that share their squarings, and one final exponentiation. Chapter 8 of zk/SPEC.md numbers
// the rules and gives the argument why a batch accepts exactly the proofs that single verification accepts.
//
// Nothing here is secret, so nothing here runs in constant time.
package verifier
