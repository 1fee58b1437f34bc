// Package node runs one ledger: it takes entries in, checks them in batches, sequences them into blocks with a single writer, makes the blocks
// durable, has them cosigned, and answers readers (DESIGN section 6).
//
//	Submit ── decode, admit ──> prove (batches) ──> propose ──> commit, publish ──> answer
//	                                                                 └──> cosign ──> final, receipts ──> keep
//
// One goroutine proposes blocks and one commits them, so that the next block is hashed while one is being written: one at most is proposed ahead.
// What was proposed ahead is told to nobody, refusals included, before the block under it is durable; if that was not written, it is dropped and
// its entries are proposed again (L6.7). How long entries gather before a batch begins is a rule of the queue and the clock (pace.go): not at all
// on an idle ledger or under full load, and up to Limits.Gather in between, where small batches would cost several times as much for each entry.
//
// Every rule is settlement's: this package decides only when a step runs, and what waits for what. Queues are bounded and answer try_later
// early. An answer is given only after the block that it rests on is durable. Nobody polls: blocks, final checkpoints and late cosignatures
// ring a bell for whoever waits. A store that fences the node or leaves a block in doubt stops it: the next start reads what became of the
// block.
//
// Where several nodes share a store (Member), the one that holds the lease runs these stages. The others follow its blocks, answer what is
// read, check the proofs of what is submitted, forward it with a voucher that spares the first node the same (L12.8), and one of them takes over
// when the lease runs out.
package node
