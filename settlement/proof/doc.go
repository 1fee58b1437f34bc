// Package proof owns what can be shown about a ledger's log to somebody who does not trust the ledger: leaf and node hashes,
// inclusion and consistency, checkpoints and cosignatures, the policy that makes a checkpoint final, tiles, receipts, and evidence
// of a fork or of two decisions. It is a leaf package of pure functions: hashes arrive through a small reader, time as an argument.
//
// The formats are public ones: RFC 6962 trees, C2SP tlog-checkpoint, signed-note, tlog-cosignature (Ed25519, cosignature/v1),
// tlog-tiles and tlog-proof. Trees and notes come from golang.org/x/mod/sumdb; independent clients check them in the tests.
// The numbered rules are in settlement/SPEC.md, chapters 2 and 3.
package proof
