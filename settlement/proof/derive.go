package proof

import (
	"crypto/ed25519"
	"crypto/hkdf"
	"crypto/sha256"
)

// Secret derives a secret that everybody who signs with the log's key has and nobody else: HKDF-SHA256 over the Ed25519 signature of
// "comity log secret v1 " || purpose || 0x00 || context, with purpose as info. The signature is never given out, so that it is as secret as
// the key, and a key in hardware can make it. What is signed is no checkpoint: those begin with an origin, which has no space, and have three
// lines. For one purpose and context it is always the same.
func (s *LogSigner) Secret(purpose string, context [32]byte) ([32]byte, error) {
	text := append([]byte("comity log secret v1 "+purpose+"\x00"), context[:]...)
	out, err := hkdf.Key(sha256.New, ed25519.Sign(s.key, text), nil, purpose, 32)
	if err != nil {
		return [32]byte{}, err
	}
	return [32]byte(out), nil
}
