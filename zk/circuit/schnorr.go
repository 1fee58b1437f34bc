package circuit

import (
	"math/big"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark/frontend"
)

const (
	fieldBits     = 255
	challengeBits = 128
)

// canonical proves that bits are the little-endian binary form of x below r,
// and not that of x+r. The form is refused also for the 2^126 topmost values of
// the field, those of r>>128 and above in their upper half: comparing the upper
// half alone saves half of the check and loses a signature with probability
// 2^-128, which the signer would retry.
func (c *checks) canonical(name string, x frontend.Variable, bits []frontend.Variable) {
	c.equal(name+"Sum", x, c.number(name+"Bits", bits))
	if c.skip(name + "Canonical") {
		return
	}
	// upper < r>>128, written as upper <= r>>128 - 1, most significant bit
	// first; tied is 1 while the bits so far equal those of the bound.
	bound := new(big.Int).Rsh(fr.Modulus(), 128)
	bound.Sub(bound, big.NewInt(1))
	var tied frontend.Variable = 1
	for i := fieldBits - 1; i >= 128; i-- {
		if bound.Bit(i-128) == 1 {
			tied = c.Mul(tied, bits[i])
		} else {
			c.AssertIsBoolean(c.Add(tied, bits[i])) // not both
		}
	}
}

// verify asserts that (nonce, response) is a Schnorr signature of message under
// key: [s]G = R + [c]key with c the low bits of P("sig", R, key, message). The
// key must be on the curve; then R is too, being equal to a computed point.
func (c *checks) verify(key, nonce Point, response, challenge []frontend.Variable, message frontend.Variable, low int) {
	digest := c.hash("sig", nonce.X, nonce.Y, key.X, key.Y, message)
	c.canonical("S2.challenge", digest, challenge)
	c.booleans("S2.responseBits", response...)
	start := c.negate(c.mulShort(challenge[:low], key))
	computed := c.mulFixed(response, fixedWindow, &start)
	c.equal("S2.signatureX", nonce.X, computed.X)
	c.equal("S2.signatureY", nonce.Y, computed.Y)
}
