package dataset

import (
	"crypto/rand"
	"errors"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
	"github.com/comity-ledger/comity/zk/setup/simulator"
)

// Spoil returns copies of simulated transfers that a ledger has to refuse: double spends, which spend what the originals spend under
// another id and with a proof that verifies, and transfers with the proof of another one.
func (s *Set) Spoil(doubles, invalid int) ([]Item, error) {
	if doubles+invalid == 0 {
		return nil, nil
	}
	var pool []Item
	for _, item := range s.Items {
		if item.Class == SimulatedTransfer {
			pool = append(pool, item)
		}
	}
	if len(pool) < 2 {
		return nil, errors.New("not enough simulated transfers to spoil")
	}
	genesis, err := entry.DecodeGenesis(s.Genesis)
	if err != nil {
		return nil, err
	}
	var forge *simulator.Simulator
	if doubles > 0 {
		if forge, err = simulator.New(zk.Transfer); err != nil {
			return nil, err
		}
	}
	var out []Item
	for i := range doubles + invalid {
		from := pool[i%len(pool)]
		tx, err := entry.DecodeTransaction(from.Entry)
		if err != nil {
			return nil, err
		}
		item := Item{Class: DoubleSpend, Segments: from.Segments}
		tx.ExpiryMillis -= uint64(1 + i) // another id
		if i < doubles {
			public := tx.Legs[0].Public(s.NoteRoot, s.RegistryRoot, s.ReadersRoot, genesis.OversightKey, tx.Ctx())
			if tx.Legs[0].Proof, err = forge.Simulate(&public, rand.Reader); err != nil {
				return nil, err
			}
		} else {
			item.Class = InvalidProof
			other, err := entry.DecodeTransaction(pool[(i+1)%len(pool)].Entry)
			if err != nil {
				return nil, err
			}
			tx.Legs[0].Proof = other.Legs[0].Proof
			// Notes of its own, so that nothing but the proof is wrong with it.
			for j := range tx.Legs[0].Nullifiers {
				var wide [64]byte
				if _, err := rand.Read(wide[:]); err != nil {
					return nil, err
				}
				tx.Legs[0].Nullifiers[j] = zk.Nullifier(zk.FieldFromWide(wide))
			}
		}
		item.Entry = tx.Encode()
		out = append(out, item)
	}
	return out, nil
}
