package keys

import (
	"errors"
	"fmt"
	"strings"
)

// Bech32m as BIP-350 defines it (https://github.com/bitcoin/bips/blob/master/bip-0350.mediawiki), for data of whole bytes. Our texts are
// longer than the 90 characters of segwit addresses: up to 1,023 the checksum still finds any three changed characters, and misses
// other errors once in 2^30 (Z3.4).
const (
	bech32Alphabet = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"
	bech32mFinal   = 0x2bc830a3
	bech32Checksum = 6
	maxBech32m     = 1023
)

// ErrBech32m refuses text that is not bech32m: a character, mixed case, the length or the checksum.
var ErrBech32m = errors.New("not a bech32m text")

var bech32Value = func() (v [128]int8) {
	for i := range v {
		v[i] = -1
	}
	for i, c := range bech32Alphabet {
		v[c] = int8(i)
	}
	return v
}()

func bech32Polymod(c uint32, v byte) uint32 {
	top := c >> 25
	c = c&0x1ffffff<<5 ^ uint32(v)
	for i, g := range [5]uint32{0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3} {
		if top>>i&1 == 1 {
			c ^= g
		}
	}
	return c
}

func bech32Start(hrp string) uint32 {
	c := uint32(1)
	for i := range len(hrp) {
		c = bech32Polymod(c, hrp[i]>>5)
	}
	c = bech32Polymod(c, 0)
	for i := range len(hrp) {
		c = bech32Polymod(c, hrp[i]&31)
	}
	return c
}

// encodeWords writes hrp, separator, five-bit words and checksum.
func encodeWords(hrp string, words []byte) string {
	var b strings.Builder
	b.WriteString(hrp)
	b.WriteByte('1')
	c := bech32Start(hrp)
	for _, w := range words {
		c = bech32Polymod(c, w)
		b.WriteByte(bech32Alphabet[w])
	}
	for range bech32Checksum {
		c = bech32Polymod(c, 0)
	}
	c ^= bech32mFinal
	for i := range bech32Checksum {
		b.WriteByte(bech32Alphabet[c>>(5*(bech32Checksum-1-i))&31])
	}
	return b.String()
}

// decodeWords checks everything that BIP-350 asks and returns the words without the checksum, the human-readable part in lower case.
func decodeWords(text string, limit int) (hrp string, words []byte, err error) {
	if len(text) > limit {
		return "", nil, fmt.Errorf("%w: %d characters", ErrBech32m, len(text))
	}
	lower, upper := false, false
	for i := range len(text) {
		c := text[i]
		if c < 33 || c > 126 {
			return "", nil, fmt.Errorf("%w: character %d", ErrBech32m, i+1)
		}
		lower = lower || c >= 'a' && c <= 'z'
		upper = upper || c >= 'A' && c <= 'Z'
	}
	if lower && upper {
		return "", nil, fmt.Errorf("%w: mixed case", ErrBech32m)
	}
	text = strings.ToLower(text)
	at := strings.LastIndexByte(text, '1')
	if at < 1 || len(text)-at-1 < bech32Checksum {
		return "", nil, fmt.Errorf("%w: no separator where it belongs", ErrBech32m)
	}
	hrp = text[:at]
	c := bech32Start(hrp)
	for i := at + 1; i < len(text); i++ {
		v := bech32Value[text[i]]
		if v < 0 {
			return "", nil, fmt.Errorf("%w: character %d", ErrBech32m, i+1)
		}
		c = bech32Polymod(c, byte(v))
		words = append(words, byte(v))
	}
	if c != bech32mFinal {
		return "", nil, fmt.Errorf("%w: the checksum does not fit", ErrBech32m)
	}
	return hrp, words[:len(words)-bech32Checksum], nil
}

// encodeBech32m writes whole bytes.
func encodeBech32m(hrp string, data []byte) string {
	words := make([]byte, 0, (len(data)*8+4)/5)
	acc, bits := uint32(0), 0
	for _, b := range data {
		acc, bits = acc<<8|uint32(b), bits+8
		for ; bits >= 5; bits -= 5 {
			words = append(words, byte(acc>>(bits-5)&31))
		}
	}
	if bits > 0 {
		words = append(words, byte(acc<<(5-bits)&31))
	}
	return encodeWords(hrp, words)
}

// decodeBech32m reads whole bytes and refuses padding that is not the shortest and zero, so that a text has one reading and a byte string
// one text (in lower case).
func decodeBech32m(text string) (hrp string, data []byte, err error) {
	hrp, words, err := decodeWords(text, maxBech32m)
	if err != nil {
		return "", nil, err
	}
	acc, bits := uint32(0), 0
	for _, w := range words {
		acc, bits = acc<<5|uint32(w), bits+5
		if bits >= 8 {
			bits -= 8
			data = append(data, byte(acc>>bits))
		}
		acc &= 1<<bits - 1
	}
	if bits >= 5 || acc != 0 {
		return "", nil, fmt.Errorf("%w: padding", ErrBech32m)
	}
	return hrp, data, nil
}
