package settlement

import (
	"crypto/hmac"
	"crypto/sha256"

	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

// VoucherSize is the length of a voucher in bytes.
const VoucherSize = sha256.Size

// Vouchers lets the nodes of one ledger check a proof once among them: the node
// that has checked the proofs of an entry vouches for it, and the node that
// sequences believes that (L12.8). A voucher is a code by a secret that nobody
// but the nodes has, over everything that the proofs were checked against; each
// side works that out by itself, in its own admission.
type Vouchers struct {
	secret  []byte
	ledger  entry.GenesisHash
	circuit map[zk.CircuitID]entry.Circuit
}

// NewVouchers makes the vouchers of a ledger under a secret of its nodes.
func NewVouchers(genesis *entry.Genesis, secret [32]byte) *Vouchers {
	v := &Vouchers{secret: secret[:], ledger: genesis.Hash(), circuit: map[zk.CircuitID]entry.Circuit{}}
	for _, c := range genesis.Circuits {
		v.circuit[c.ID] = c
	}
	return v
}

// Vouch gives the voucher of a candidate whose proofs were checked; nil of any
// other.
func (v *Vouchers) Vouch(c *Candidate) []byte {
	if !c.proven {
		return nil
	}
	return v.code(c)
}

// Believe marks a candidate as proven if the voucher is the one that a node
// gave for it: for the same bytes under the same public inputs. Otherwise it
// changes nothing, and the proofs are to be checked (Prove).
func (v *Vouchers) Believe(c *Candidate, voucher []byte) bool {
	if !hmac.Equal(v.code(c), voucher) {
		return false
	}
	c.proven = true
	return true
}

// code is HMAC-SHA256 over "comity/voucher/v1" || genesis hash || SHA-256 of
// the leaf || u8 segments || their hashes || u8 proofs || for each its circuit,
// version, key fingerprint and all public inputs in the order of Z2.10, 32 bytes
// each.
func (v *Vouchers) code(c *Candidate) []byte {
	mac := hmac.New(sha256.New, v.secret)
	leaf := sha256.Sum256(c.Leaf)
	b := append([]byte("comity/voucher/v1"), v.ledger[:]...)
	b = append(b, leaf[:]...)
	legs := c.Legs()
	b = append(b, uint8(len(legs)))
	for i := range legs { // admission has compared the segments with these
		b = append(b, legs[i].SegmentHash[:]...)
	}
	b = append(b, uint8(len(c.Jobs)))
	for _, job := range c.Jobs {
		circuit := v.circuit[job.Circuit]
		b = append(append(b, byte(job.Circuit), circuit.Version), circuit.Fingerprint[:]...)
		b = job.Public.AppendInputBytes(b) // as many as the circuit has
	}
	mac.Write(b)
	return mac.Sum(nil)
}
