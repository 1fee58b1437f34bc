package entry

import "crypto/sha256"

// Trace gives the ids under which telemetry speaks of a hold, as W3C Trace Context has them: the first sixteen and the next eight bytes of
// SHA-256("comity/hold-trace/v1" || id || leg). Whoever has the hold's id derives them, so that a relayer, which keeps nothing and
// whom nobody calls, meets the payer, the provider and both ledgers there. They say no more than the id, which the log publishes.
func (h HoldID) Trace() (trace [16]byte, span [8]byte) {
	sum := sha256.Sum256(putHold([]byte("comity/hold-trace/v1"), h))
	return [16]byte(sum[:16]), [8]byte(sum[16:24])
}
