package verifier

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	curve "github.com/consensys/gnark-crypto/ecc/bls12-381"

	"github.com/comity-ledger/comity/zk"
)

func TestKeySurvivesItsEncoding(t *testing.T) {
	y := newToy(t, 2, 5, 20)
	b := y.key.Encode()
	k, err := ParseKey(b)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(k.Encode(), b) || k.Circuit() != 2 || k.Version() != 1 || k.Inputs() != 5 {
		t.Error("the parsed key differs")
	}
	if k.Fingerprint() != sha256.Sum256(b) || k.Fingerprint() != y.key.Fingerprint() {
		t.Error("the fingerprint is not the SHA-256 of the encoding")
	}
	claims := y.claims(1)
	claims[0].key = k
	if err := verifyOne(&claims[0], new(sums)); err != nil {
		t.Errorf("proof under the parsed key: %v", err)
	}
}

func TestFingerprintBindsCircuitAndVersion(t *testing.T) {
	y := newToy(t, 1, 2, 21)
	seen := map[Fingerprint]bool{}
	for _, c := range []struct{ circuit, version uint8 }{{1, 1}, {2, 1}, {1, 2}} {
		p := y.points(zk.CircuitID(c.circuit))
		p.Version = c.version
		k, err := New(p)
		if err != nil {
			t.Fatal(err)
		}
		seen[k.Fingerprint()] = true
	}
	if len(seen) != 3 {
		t.Errorf("%d fingerprints for three keys", len(seen))
	}
}

func TestBadKeysAreRefusedByName(t *testing.T) {
	_, _, g1, g2 := curve.Generators()
	var negG2 curve.G2Affine
	negG2.Neg(&g2)
	for _, c := range []struct {
		name  string
		want  error
		spoil func(k *Key)
	}{
		{"delta equal to gamma", ErrKeyTrivial, func(k *Key) { k.Delta = k.Gamma }},
		{"delta equal to minus gamma", ErrKeyTrivial, func(k *Key) { k.Delta.Neg(&k.Gamma) }},
		{"delta the generator", ErrKeyTrivial, func(k *Key) { k.Delta = g2 }},
		{"delta minus the generator", ErrKeyTrivial, func(k *Key) { k.Delta = negG2 }},
		{"beta the generator", ErrKeyTrivial, func(k *Key) { k.Beta = g2 }},
		{"beta equal to delta", ErrKeyTrivial, func(k *Key) { k.Beta = k.Delta }},
		{"alpha the generator", ErrKeyTrivial, func(k *Key) { k.Alpha = g1 }},
		{"alpha infinity", ErrKeyTrivial, func(k *Key) { k.Alpha = curve.G1Affine{} }},
		{"beta infinity", ErrKeyTrivial, func(k *Key) { k.Beta = curve.G2Affine{} }},
		{"gamma infinity", ErrKeyTrivial, func(k *Key) { k.Gamma = curve.G2Affine{} }},
		{"delta infinity", ErrKeyTrivial, func(k *Key) { k.Delta = curve.G2Affine{} }},
		{"an input without weight", ErrKeyUnbound, func(k *Key) { k.K[2] = curve.G1Affine{} }},
		{"the constant without weight", ErrKeyUnbound, func(k *Key) { k.K[0] = curve.G1Affine{} }},
		{"alpha outside the subgroup", ErrKeySubgroup, func(k *Key) { q := torsionG1(3); k.Alpha.Add(&k.Alpha, &q) }},
		{"an input outside the subgroup", ErrKeySubgroup, func(k *Key) { q := torsionG1(11); k.K[1].Add(&k.K[1], &q) }},
		{"beta outside the subgroup", ErrKeySubgroup, func(k *Key) { q := torsionG2(13); k.Beta.Add(&k.Beta, &q) }},
		{"gamma outside the subgroup", ErrKeySubgroup, func(k *Key) { q := torsionG2(23); k.Gamma.Add(&k.Gamma, &q) }},
		{"delta outside the subgroup", ErrKeySubgroup, func(k *Key) { q := torsionG2(13); k.Delta.Add(&k.Delta, &q) }},
		{"no K at all", ErrKeyInputs, func(k *Key) { k.K = nil }},
		{"too many inputs", ErrKeyInputs, func(k *Key) { k.K = make([]curve.G1Affine, maxKeyInputs+2) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := newToy(t, 1, 3, 22).points(1)
			c.spoil(&k)
			if _, err := New(k); !errors.Is(err, c.want) {
				t.Errorf("New: %v, want %v", err, c.want)
			}
			if len(k.K) == 0 || len(k.K) > maxKeyInputs {
				return // has no encoding
			}
			_, err := ParseKey(k.Encode())
			// Infinity of a point other than K has no canonical encoding.
			if !errors.Is(err, c.want) && !errors.Is(err, ErrKeyEncoding) {
				t.Errorf("ParseKey: %v, want %v", err, c.want)
			}
		})
	}
}

func TestGammaMayBeTheGenerator(t *testing.T) {
	// A ceremony leaves gamma at the generator. It hides nothing.
	_, _, _, g2 := curve.Generators()
	k := newToy(t, 1, 3, 23).points(1)
	k.Gamma = g2
	if _, err := New(k); err != nil {
		t.Error(err)
	}
}

func TestMalformedKeysAreRefused(t *testing.T) {
	good := newToy(t, 1, 3, 24).key.Encode()
	for _, c := range []struct {
		name  string
		spoil func(b []byte) []byte
	}{
		{"empty", func([]byte) []byte { return nil }},
		{"cut short", func(b []byte) []byte { return b[:len(b)-1] }},
		{"a trailing byte", func(b []byte) []byte { return append(b, 0) }},
		{"another magic", func(b []byte) []byte { b[0] ^= 1; return b }},
		{"another encoding version", func(b []byte) []byte { b[len(keyMagic)-1] ^= 1; return b }},
		{"one input more than it holds", func(b []byte) []byte { b[len(keyMagic)+3]++; return b }},
		{"65535 inputs", func(b []byte) []byte { b[len(keyMagic)+2], b[len(keyMagic)+3] = 255, 255; return b }},
		{"a flag bit", func(b []byte) []byte { b[len(keyMagic)+4] |= 0x80; return b }},
		{"a point off the curve", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }},
	} {
		if _, err := ParseKey(c.spoil(bytes.Clone(good))); !errors.Is(err, ErrKeyEncoding) {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

func TestSetRefusesAKeyWithTheWrongNumberOfInputs(t *testing.T) {
	k := newToy(t, zk.Transfer, zk.NumInputs(zk.Transfer)+1, 25).key
	if _, err := NewSet(Config{Keys: []*VerifyingKey{k}}); !errors.Is(err, ErrKeyInputs) {
		t.Error(err)
	}
}

func TestSetRefusesTwoKeysForOneCircuit(t *testing.T) {
	k := newToy(t, zk.Transfer, zk.NumInputs(zk.Transfer), 26).key
	if _, err := NewSet(Config{Keys: []*VerifyingKey{k, k}}); err == nil {
		t.Error("accepted")
	}
}

func FuzzParseKey(f *testing.F) {
	good := newToy(f, 1, 1, 27).key.Encode()
	f.Add(good)
	f.Add(good[:50])
	f.Add(append([]byte(keyMagic), 1, 1, 255, 255))
	f.Fuzz(func(t *testing.T, b []byte) {
		k, err := ParseKey(b)
		if err == nil && !bytes.Equal(k.Encode(), b) {
			t.Error("two encodings of one key")
		}
	})
}

func FuzzDecodeProof(f *testing.F) {
	good := *newToy(f, 1, 1, 28).claims(1)[0].proof
	f.Add(good[:])
	flagged := good
	flagged[0] |= 0xc0
	f.Add(flagged[:])
	f.Add(make([]byte, len(good)))
	f.Fuzz(func(t *testing.T, b []byte) {
		if len(b) != len(good) {
			return
		}
		var p Points
		proof := zk.Proof(b)
		if err := p.Decode(&proof); err != nil {
			if !errors.Is(err, ErrEncoding) {
				t.Errorf("unnamed refusal: %v", err)
			}
			return
		}
		if p.Encode() != proof {
			t.Error("two encodings of one proof")
		}
	})
}
