// Package node runs one ledger: it takes entries in, checks them in batches, sequences them into blocks with a single writer, makes the blocks
// durable, has them cosigned, and answers readers (DESIGN section 6).
//
//	Submit ── decode, admit ──> prove (batches) ──> sequence, commit (one goroutine) ──> answer
//	                                                      └──> cosign ──> final, receipts ──> keep
//
// Every rule is settlement's: this package decides only when a step runs, and what waits for what. Queues are bounded and answer try_later
// early. An answer is given only after the block that it rests on is durable. Nobody polls: blocks, final checkpoints and late cosignatures
// ring a bell for whoever waits. A store that fences the node or leaves a block in doubt stops it: the next start reads what became of the
// block.
//
// Where several nodes share a store (Member), the one that holds the lease runs these stages. The others follow its blocks, answer what is
// read and forward what is submitted, and one of them takes over when the lease runs out.
package node
