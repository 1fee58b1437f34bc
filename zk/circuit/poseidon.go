package circuit

import (
	"math/big"
	"sync"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr/poseidon2"
	"github.com/consensys/gnark/frontend"

	"github.com/comity-ledger/comity/zk"
)

var roundKeys = sync.OnceValue(func() [][]*big.Int {
	p := poseidon2.NewParameters(zk.HashWidth, zk.HashFullRounds, zk.HashPartialRounds)
	keys := make([][]*big.Int, len(p.RoundKeys))
	for i, row := range p.RoundKeys {
		keys[i] = make([]*big.Int, len(row))
		for j := range row {
			keys[i][j] = row[j].BigInt(new(big.Int))
		}
	}
	return keys
})

// permute is the Poseidon2 permutation: 240 constraints, three for each of its
// 80 S-boxes. The linear layers are free in R1CS; round constants and matrices
// are merged into one addition per element, which keeps compilation quick.
//
// gnark's std/permutation/poseidon2 computes the same at the same cost; this one
// is written out because it compiles in half the time.
func (c *checks) permute(s [3]frontend.Variable) [3]frontend.Variable {
	keys := roundKeys()
	const half = zk.HashFullRounds / 2
	s = c.mixFull(s, keys[0])
	for r := range zk.HashFullRounds + zk.HashPartialRounds {
		full := r < half || r >= half+zk.HashPartialRounds
		var next []*big.Int
		if r+1 < len(keys) {
			next = keys[r+1]
		}
		s[0] = c.fifth(s[0])
		if full {
			s[1], s[2] = c.fifth(s[1]), c.fifth(s[2])
			s = c.mixFull(s, next)
		} else {
			s = c.mixPartial(s, next)
		}
	}
	return s
}

func (c *checks) fifth(x frontend.Variable) frontend.Variable {
	x2 := c.Mul(x, x)
	return c.Mul(c.Mul(x2, x2), x)
}

func key(keys []*big.Int, i int) frontend.Variable {
	if i < len(keys) {
		return keys[i]
	}
	return 0
}

// mixFull multiplies by circ(2,1,1) and adds the next round's constants.
func (c *checks) mixFull(s [3]frontend.Variable, next []*big.Int) [3]frontend.Variable {
	return [3]frontend.Variable{
		c.Add(c.Mul(s[0], 2), s[1], s[2], key(next, 0)),
		c.Add(s[0], c.Mul(s[1], 2), s[2], key(next, 1)),
		c.Add(s[0], s[1], c.Mul(s[2], 2), key(next, 2)),
	}
}

// mixPartial multiplies by [[2,1,1],[1,2,1],[1,1,3]] and adds the next round's constants.
func (c *checks) mixPartial(s [3]frontend.Variable, next []*big.Int) [3]frontend.Variable {
	return [3]frontend.Variable{
		c.Add(c.Mul(s[0], 2), s[1], s[2], key(next, 0)),
		c.Add(s[0], c.Mul(s[1], 2), s[2], key(next, 1)),
		c.Add(s[0], s[1], c.Mul(s[2], 3), key(next, 2)),
	}
}

// compress is C(x, y, z) = perm(x, y, z)[0] + x.
func (c *checks) compress(x, y, z frontend.Variable) frontend.Variable {
	out := c.permute([3]frontend.Variable{x, y, z})
	return c.Add(out[0], x)
}

// hash is P(name, xs...): the chain of C from tag(name, len(xs)), two elements
// at a time, an odd last one paired with zero.
func (c *checks) hash(name string, xs ...frontend.Variable) frontend.Variable {
	var h frontend.Variable = tag(name, len(xs))
	for i := 0; i < len(xs); i += 2 {
		var second frontend.Variable = 0
		if i+1 < len(xs) {
			second = xs[i+1]
		}
		h = c.compress(h, xs[i], second)
	}
	return h
}

// lanes is Lanes(k, index): three keystream elements out of one permutation
// with feed-forward on every lane, so that whoever learns all three cannot
// invert to k.
func (c *checks) lanes(k frontend.Variable, index int) [3]frontend.Variable {
	in := [3]frontend.Variable{k, index, tag("lane", 2)}
	out := c.permute(in)
	for j := range out {
		out[j] = c.Add(out[j], in[j])
	}
	return out
}

func tag(name string, n int) *big.Int { return bigOf(zk.TagElement(name, n)) }

func bigOf(e fr.Element) *big.Int { return e.BigInt(new(big.Int)) }
