package settlement

import "github.com/comity-ledger/comity/zk"

// Job is one proof to be checked: that of one leg, under the public inputs
// that the leg's bytes and its anchor's roots give.
type Job struct {
	Circuit zk.CircuitID
	Public  *zk.LegPublic
	Proof   *zk.Proof
}

// Verifier checks proofs. The ledger runs it over zk/verifier.Set; the
// simulation runs it over an oracle.
type Verifier interface {
	// VerifyBatch returns one error per job, nil where the proof is valid. It
	// must accept exactly the proofs that a single verification accepts,
	// whatever else is in the batch, or replicas fork (settlement/SPEC L4.4).
	// Safe for concurrent use.
	VerifyBatch(jobs []Job) []error
}
