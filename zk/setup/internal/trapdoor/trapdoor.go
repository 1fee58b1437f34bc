// Package trapdoor derives the secret behind a development key from a public string.
//
// Whoever knows a trapdoor forges proofs. For a development key everybody knows it: that is what makes the key the same on
// every machine, and what forbids it outside a development network. Only zk/setup, which makes the keys, and its simulator,
// which forges proofs for load tests, can import this package.
package trapdoor

import (
	"crypto/hkdf"
	"crypto/sha512"
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"

	"github.com/comity-ledger/comity/zk"
)

// DevelopmentSeed is the public string behind every development key.
const DevelopmentSeed = "comity development set-up v1"

// Trapdoor is the secret of a Groth16 set-up, in the notation of ePrint 2016/260; Tau is the point at which the polynomials are
// evaluated.
type Trapdoor struct {
	Tau, Alpha, Beta, Gamma, Delta fr.Element
}

// Derive expands the seed for one circuit: HKDF-SHA-512 with the seed as secret, the circuit's digest as salt and
// "comity/setup/" name "/v" version "/" element as info gives 64 bytes for each element, read big-endian and reduced. (A bias
// of 2^-257; a zero has the same probability and would panic.)
func Derive(seed string, id zk.CircuitID, version uint8, digest [32]byte) Trapdoor {
	element := func(name string) fr.Element {
		info := fmt.Sprintf("comity/setup/%v/v%d/%s", id, version, name)
		b, err := hkdf.Key(sha512.New, []byte(seed), digest[:], info, 64)
		if err != nil {
			panic(fmt.Sprintf("hkdf of a fixed length: %v", err))
		}
		var e fr.Element
		e.SetBytes(b)
		if e.IsZero() {
			panic("trapdoor element is zero")
		}
		return e
	}
	return Trapdoor{
		Tau: element("tau"), Alpha: element("alpha"), Beta: element("beta"), Gamma: element("gamma"), Delta: element("delta"),
	}
}
