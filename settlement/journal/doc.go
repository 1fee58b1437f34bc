// Package journal makes a ledger's log public and binding: it signs checkpoints, asks witnesses to cosign them, and is a witness
// itself. It is an edge package: it talks HTTP and writes files. What a checkpoint, a proof or a policy is, package proof says.
//
//   - Journal is the ledger's side: sign a head, collect cosignatures from all witnesses at once, and say when a quorum stands
//     behind it. It keeps no hashes; it reads them from the store's tiles.
//   - Witness is the other side, the server of C2SP tlog-witness: it remembers, durably and before it answers, the largest tree of
//     each log it cosigned, and cosigns only what grew from that.
//   - Validator makes a witness validating: it replays every block before the checkpoint over it is cosigned.
//
// The numbered rules are in settlement/SPEC.md, chapter 2.
package journal
