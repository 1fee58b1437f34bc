// Package entry owns the bytes of a ledger: what an entry is, its one encoding, its id, what is signed, and the names of the
// reasons for which one is refused. It is a leaf package: wallets, witnesses, auditors and the ledger all speak it, and none of
// them needs another to do so.
//
// An entry is one leaf of the ledger's log. Its bytes are the effecting data E followed by the witness data W. E says what
// happens and is what ids, signatures and the circuit's ctx cover; W says why it may happen (proofs, anchors, signatures) and can
// be replaced without changing the id: a re-proof needs no new signature, and a bad proof under a good id cannot poison it.
//
// Every decoder accepts exactly one encoding of a value: for any b that decodes, encoding the result gives b again. Anything else
// (truncated, trailing, oversize, not canonical, of an unknown kind or version) is a Refusal with a name.
//
// The package does no I/O and reads no clock; randomness arrives as an io.Reader. Whether an entry may be settled (spent
// nullifiers, registry windows, supply, sequence) is decided by package settlement, which uses the codes listed here.
// The numbered rules are in settlement/SPEC.md, chapter 1.
package entry
