package zk

import (
	"fmt"

	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr"
	"github.com/consensys/gnark-crypto/ecc/bls12-381/fr/poseidon2"
)

// Parameters of the one permutation in use: Poseidon2 over the scalar field of BLS12-381 (https://eprint.iacr.org/2023/323),
// S-box x^5, width 3. gnark's default has 50 partial rounds; 56 is the number for 128 bits with the usual margin. Z1.1
const (
	HashWidth         = 3
	HashFullRounds    = 8
	HashPartialRounds = 56
)

// roundKeys are derived by gnark-crypto from the string "Poseidon2-BLS12_381[t=3,rF=8,rP=56,d=5]" (Z1.2); a test derives them
// again with math/big. They are read only after start, so that hashing is safe for concurrent use.
var (
	fullKeys    [HashFullRounds][HashWidth]fr.Element
	partialKeys [HashPartialRounds]fr.Element
)

func init() {
	keys := poseidon2.NewParameters(HashWidth, HashFullRounds, HashPartialRounds).RoundKeys
	for i := range HashFullRounds {
		at := i
		if i >= HashFullRounds/2 {
			at += HashPartialRounds
		}
		copy(fullKeys[i][:], keys[at])
	}
	for i := range HashPartialRounds {
		partialKeys[i] = keys[HashFullRounds/2+i][0]
	}
}

// permute is the Poseidon2 permutation in place. It is written out here because gnark-crypto's goes through slices; it
// allocates nothing and is a tenth faster. The tests hold it equal to gnark-crypto's and to an implementation with math/big.
func permute(v *[3]fr.Element) {
	external(v)
	for i := range HashFullRounds / 2 {
		fullRound(v, &fullKeys[i])
	}
	for i := range partialKeys {
		v[0].Add(&v[0], &partialKeys[i])
		sbox(&v[0])
		// Internal matrix [[2,1,1],[1,2,1],[1,1,3]]: the sum is added to each lane, and the last lane doubled.
		var sum fr.Element
		sum.Add(&v[1], &v[2])
		v[2].Double(&v[2])
		sum.Add(&sum, &v[0])
		v[0].Add(&v[0], &sum)
		v[1].Add(&v[1], &sum)
		v[2].Add(&v[2], &sum)
	}
	for i := HashFullRounds / 2; i < HashFullRounds; i++ {
		fullRound(v, &fullKeys[i])
	}
}

func fullRound(v, keys *[3]fr.Element) {
	for j := range v {
		v[j].Add(&v[j], &keys[j])
		sbox(&v[j])
	}
	external(v)
}

// external multiplies by the circulant matrix (2,1,1).
func external(v *[3]fr.Element) {
	var sum fr.Element
	sum.Add(&v[0], &v[1])
	sum.Add(&sum, &v[2])
	v[0].Add(&v[0], &sum)
	v[1].Add(&v[1], &sum)
	v[2].Add(&v[2], &sum)
}

func sbox(x *fr.Element) {
	var y fr.Element
	y.Square(x)
	y.Square(&y)
	x.Mul(x, &y)
}

// Hash3 is C(x, y, z) = perm(x, y, z)[0] + x: the one compression function of the project (Z1.3). It hashes tree nodes, note
// commitments and nullifiers; Hash chains it.
func Hash3(x, y, z fr.Element) fr.Element {
	v := [3]fr.Element{x, y, z}
	permute(&v)
	v[0].Add(&v[0], &x)
	return v[0]
}

// TagElement is tag(name, n): the integer of the 26 bytes 0x01, name padded with zeros to 24, n (Z1.4). It panics on a name that does
// not fit or a count above 255: names are constants of the program.
func TagElement(name string, n int) fr.Element {
	if name == "" || len(name) > 24 || n < 1 || n > 255 {
		panic(fmt.Sprintf("zk: bad hash tag %q/%d", name, n))
	}
	var b [32]byte
	b[6] = 1
	copy(b[7:31], name)
	b[31] = byte(n)
	var e fr.Element
	e.SetBytes(b[:])
	return e
}

// Hash is P(name, xs...): h starts as the tag and absorbs two elements at a time through Hash3; an odd last one is paired with
// zero, which the count in the tag keeps apart (Z1.5).
func Hash(name string, xs ...fr.Element) fr.Element {
	h := TagElement(name, len(xs))
	for len(xs) > 1 {
		h = Hash3(h, xs[0], xs[1])
		xs = xs[2:]
	}
	if len(xs) == 1 {
		h = Hash3(h, xs[0], fr.Element{})
	}
	return h
}

var laneTag = TagElement("lane", 2)

// Lanes is the keystream of the oversight ciphertext: three lanes from one permutation of (key, index, tag) with feed-forward
// (Z1.6), so that a payee who learns all three lanes of its output cannot invert to the key.
func Lanes(key fr.Element, index uint64) [3]fr.Element {
	in := [3]fr.Element{key, fr.NewElement(index), laneTag}
	v := in
	permute(&v)
	for j := range v {
		v[j].Add(&v[j], &in[j])
	}
	return v
}
