// Package circuits joins the verifying keys of this binary to a ledger's genesis: which circuits a new ledger lists, and the
// settlement.Verifier of a ledger that exists. Node, validating witness and auditor all get theirs here, so they refuse the same
// genesis for the same reason.
package circuits

import (
	"crypto/rand"
	"fmt"

	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk/setup"
	"github.com/comity-ledger/comity/zk/verifier"
)

const (
	// CodeUnknownKey: genesis lists a circuit under a fingerprint that none of this binary's verifying keys has.
	CodeUnknownKey entry.Code = "circuit_key_unknown"
	// CodeDevelopmentKey: a production ledger lists a development key, whose trapdoor is public.
	CodeDevelopmentKey entry.Code = "development_key"
)

// Listed returns the circuits of this binary as a new genesis lists them, ascending by id. All keys of this release are
// development keys: a production ledger is refused.
func Listed(network entry.Network) ([]entry.Circuit, error) {
	keys, err := setup.VerifyingKeys()
	if err != nil {
		return nil, fmt.Errorf("load verifying keys: %w", err)
	}
	out := make([]entry.Circuit, 0, len(keys))
	for _, k := range keys {
		c := entry.Circuit{ID: k.Circuit(), Version: k.Version(), Fingerprint: k.Fingerprint()}
		if err := allowed(c, network); err != nil {
			return nil, err
		}
		out = append(out, c)
	}
	return out, nil
}

// Keys returns the verifying key of every circuit that genesis lists, or refuses by name.
func Keys(g *entry.Genesis) ([]*verifier.VerifyingKey, error) {
	all, err := setup.VerifyingKeys()
	if err != nil {
		return nil, fmt.Errorf("load verifying keys: %w", err)
	}
	var out []*verifier.VerifyingKey
	for _, c := range g.Circuits {
		if err := allowed(c, g.Network); err != nil {
			return nil, err
		}
		var found *verifier.VerifyingKey
		for _, k := range all {
			if k.Circuit() == c.ID && k.Version() == c.Version && [32]byte(k.Fingerprint()) == c.Fingerprint {
				found = k
			}
		}
		if found == nil {
			return nil, entry.Refuse(CodeUnknownKey, "genesis lists circuit %s version %d under fingerprint %x, which this binary does not have", c.ID, c.Version, c.Fingerprint)
		}
		out = append(out, found)
	}
	return out, nil
}

func allowed(c entry.Circuit, network entry.Network) error {
	if network != entry.Development && setup.IsDevelopment(c.Fingerprint) {
		return entry.Refuse(CodeDevelopmentKey, "circuit %s: fingerprint %x is a development key, and this is a %s network", c.ID, c.Fingerprint, network)
	}
	return nil
}

// Verifier returns the verifier of a ledger's proofs with this many workers, 0 for all processors.
func Verifier(g *entry.Genesis, workers int) (settlement.Verifier, error) {
	keys, err := Keys(g)
	if err != nil {
		return nil, err
	}
	set, err := verifier.NewSet(verifier.Config{Keys: keys, Workers: workers})
	if err != nil {
		return nil, fmt.Errorf("verifying keys: %w", err)
	}
	return batch{set}, nil
}

// batch is a verifier.Set as settlement sees it.
type batch struct{ set *verifier.Set }

// VerifyBatch implements settlement.Verifier. The randomness is the system's: whoever could predict it could cancel one false
// proof against another.
func (b batch) VerifyBatch(jobs []settlement.Job) []error {
	batch := make([]verifier.Job, len(jobs))
	for i, j := range jobs {
		batch[i] = verifier.Job(j)
	}
	return b.set.VerifyBatch(batch, rand.Reader)
}
