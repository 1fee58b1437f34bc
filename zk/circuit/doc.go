// Package circuit holds the statements that a leg's proof makes, as gnark
// circuits over BLS12-381: transfer, hold, two disbursements and consolidate,
// which are one statement (Leg) in five sizes. zk/SPEC.md chapter 7 numbers the
// statements and lists every assertion with its test.
//
// The package owns the constraints and the way from a zk.LegWitness to values
// for them (Assign). It leaves to others: keys and proofs (zk/setup, zk/prover,
// zk/verifier), refusals with names (zk/prover.Check), and everything a circuit
// does not see, listed in the chapter: that public roots are the ledger's, that
// keys are in the subgroup, that nullifiers are distinct.
//
// Habits that keep it sound and small:
//   - no hints, no lookups, no gnark commitments. Bits are secret inputs proven
//     boolean, so that nothing but constraints decides a value;
//   - scalars are spelled in signed odd digits, any spelling being some scalar,
//     and Jubjub's complete formulas need no exceptions;
//   - every assertion goes through checks, under a name.
package circuit
