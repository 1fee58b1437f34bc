// Package oversight is a wallet that sees and cannot spend: it opens the payments of a log with the secret of an oversight epoch or of one
// programme's reader, recomputes every commitment, and totals, traces and checks supply (DESIGN section 8).
//
// [Scan] reads blocks in order and checks what an answer rests on: that the blocks follow one another, that their entries hash to the cosigned
// checkpoint, that outputs lie where the state entries' note roots say, and that every leg opens under the key of its epoch. What contradicts
// the log's own order ends the scan with an error; a payment that does not open, or a counter that is wrong, becomes a [Mismatch] and the scan
// goes on, so that one bad entry hides no other.
//
// It verifies no zero-knowledge proof and rebuilds no registry: that is replay, `comity ledger verify`. [Audit.Supply] needs neither and so
// holds even against a broken circuit. Nothing here does I/O, and no secret leaves it.
package oversight
