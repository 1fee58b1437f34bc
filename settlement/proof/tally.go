package proof

import (
	"encoding/binary"
	"fmt"
	"strings"
)

// A Tally gathers the cosignatures of one checkpoint. Each signature is verified once, when it comes in: a quorum is counted after every
// answer of a witness, and verifying all of them each time costs a round of n witnesses in the order of n² verifications. It is not safe for
// concurrent use.
type Tally struct {
	policy     *Policy
	checkpoint Checkpoint
	text       []byte
	signed     []byte
	have       []Cosignature // verified, in the order of their lines
}

// Tally begins with a checkpoint as the log signed it, and with the cosignatures that it has. All of them are verified, with the errors of
// Check.
func (p *Policy) Tally(signed []byte) (*Tally, error) {
	f, err := p.Inspect(signed)
	if err != nil {
		return nil, err
	}
	return &Tally{policy: p, checkpoint: f.Checkpoint, text: []byte(f.Checkpoint.String()), signed: signed, have: f.Cosignatures}, nil
}

// Signed is the checkpoint with the cosignatures so far. Callers must not change it.
func (t *Tally) Signed() []byte { return t.signed }

// Len is how many witnesses have cosigned, whatever time they say.
func (t *Tally) Len() int { return len(t.have) }

// Add takes those signature lines that a witness of the policy made for the checkpoint. It ignores unknown keys, keys that are there already
// and lines that do not verify, so that one broken witness spoils nothing, and tells which witnesses are new.
func (t *Tally) Add(lines []byte) (added []string, err error) {
	if len(lines) > MaxCheckpoint {
		return nil, fmt.Errorf("%w: %d bytes of signatures", ErrCosignature, len(lines))
	}
	for line := range strings.Lines(string(lines)) {
		name, raw, ok := parseSignatureLine(line)
		if !ok || t.Has(name) {
			continue
		}
		for _, v := range t.policy.verifiers {
			if v.Name() != name || binary.BigEndian.Uint32(raw) != v.KeyHash() || !v.Verify(t.text, raw[4:]) {
				continue
			}
			t.signed = append(t.signed[:len(t.signed):len(t.signed)], line...) // never into what Signed gave away
			t.have = append(t.have, Cosignature{name, binary.BigEndian.Uint64(raw[4:]), t.policy.validating[name]})
			added = append(added, name)
		}
	}
	return added, nil
}

// Has tells whether a witness has cosigned, whatever time it says.
func (t *Tally) Has(witness string) bool {
	for _, c := range t.have {
		if c.Witness == witness {
			return true
		}
	}
	return false
}

// Final is what Check says of Signed at this time.
func (t *Tally) Final(nowUnixSeconds uint64) (*Final, error) {
	return t.policy.count(t.checkpoint, t.have, nowUnixSeconds)
}
