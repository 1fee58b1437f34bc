package entry

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
)

// MaxSigners is the most policy signers a ledger has.
const MaxSigners = 16

const policySignatureSize = 1 + ed25519.SignatureSize

// SignerKey is an Ed25519 public key of a policy signer, a log or a witness; comparable.
type SignerKey [ed25519.PublicKeySize]byte

// String gives lower-case hexadecimal.
func (k SignerKey) String() string { return hex.EncodeToString(k[:]) }

// Public gives the key as the standard library takes it.
func (k SignerKey) Public() ed25519.PublicKey { return ed25519.PublicKey(k[:]) }

// SignerKeyOf takes the public half of an Ed25519 key.
func SignerKeyOf(pub ed25519.PublicKey) (k SignerKey, err error) {
	if len(pub) != len(k) {
		return k, Refuse(Malformed, "an Ed25519 public key of %d bytes", len(pub))
	}
	copy(k[:], pub)
	return k, nil
}

// A Policy names who must sign a privileged entry: m of the keys.
type Policy struct {
	Threshold uint8       // m
	Signers   []SignerKey // n distinct keys; a signature names its signer by position
}

// A PolicySignature is one signature of a privileged entry's authorisation message.
type PolicySignature struct {
	Signer    uint8
	Signature [ed25519.SignatureSize]byte
}

// AuthorisationMessage is what a policy signer signs: "comity/authorise/v1" || id. The id covers genesis hash, kind, sequence
// number, expiry and all that happens, so a signature is worth nothing on a sister ledger or for another entry.
func AuthorisationMessage(id ID) []byte {
	return append([]byte("comity/authorise/v1"), id[:]...)
}

// Validate checks 1 <= m <= n, and that the keys are usable and distinct: one key listed twice would make one person two.
func (p *Policy) Validate() error {
	if p.Threshold < 1 || int(p.Threshold) > len(p.Signers) || len(p.Signers) > MaxSigners {
		return Refuse(GenesisInvalid, "policy of %d of %d signers, want 1 <= m <= n <= %d", p.Threshold, len(p.Signers), MaxSigners)
	}
	seen := make(map[SignerKey]bool, len(p.Signers))
	for _, k := range p.Signers {
		if err := k.check(); err != nil {
			return err
		}
		if seen[k] {
			return Refuse(GenesisInvalid, "policy key %s is listed twice", k)
		}
		seen[k] = true
	}
	return nil
}

// Hash is the policyHash of state entries: SHA-256("comity/policy/v1" || m || n || keys).
func (p *Policy) Hash() [32]byte { return sha256.Sum256(p.append([]byte("comity/policy/v1"))) }

func (p *Policy) append(dst []byte) []byte {
	dst = append(dst, p.Threshold, uint8(len(p.Signers)))
	for _, k := range p.Signers {
		dst = append(dst, k[:]...)
	}
	return dst
}

// Index finds a signer by its public key.
func (p *Policy) Index(pub ed25519.PublicKey) (uint8, error) {
	k, err := SignerKeyOf(pub)
	if err != nil {
		return 0, err
	}
	for i, s := range p.Signers {
		if s == k {
			return uint8(i), nil
		}
	}
	return 0, Refuse(SignerUnknown, "key %s is not among the %d policy signers", k, len(p.Signers))
}

// SignAuthorisation signs an entry's id with a key of the policy.
func (p *Policy) SignAuthorisation(priv ed25519.PrivateKey, id ID) (s PolicySignature, err error) {
	if len(priv) != ed25519.PrivateKeySize {
		return s, Refuse(Malformed, "an Ed25519 private key of %d bytes", len(priv))
	}
	if s.Signer, err = p.Index(priv.Public().(ed25519.PublicKey)); err != nil {
		return s, err
	}
	copy(s.Signature[:], ed25519.Sign(priv, AuthorisationMessage(id)))
	return s, nil
}

// Verify checks that at least m distinct signers of the policy signed the id, and that nothing else is among the signatures: an
// unknown signer, a repeated one or a bad signature is refused even when enough good ones stand beside it.
func (p *Policy) Verify(id ID, sigs []PolicySignature) error {
	return p.verify(AuthorisationMessage(id), sigs)
}

func (p *Policy) verify(msg []byte, sigs []PolicySignature) error {
	var seen [MaxSigners]bool
	for _, s := range sigs {
		if int(s.Signer) >= len(p.Signers) || int(s.Signer) >= MaxSigners {
			return Refuse(SignerUnknown, "signer %d of %d", s.Signer, len(p.Signers))
		}
		if seen[s.Signer] {
			return Refuse(SignerRepeated, "signer %d signed twice", s.Signer)
		}
		seen[s.Signer] = true
		if !ed25519.Verify(p.Signers[s.Signer].Public(), msg, s.Signature[:]) {
			return Refuse(SignatureInvalid, "the signature of signer %d does not verify", s.Signer)
		}
	}
	if len(sigs) < int(p.Threshold) {
		return Refuse(SignaturesMissing, "%d of %d signatures", len(sigs), p.Threshold)
	}
	return nil
}

func appendSignatures(dst []byte, sigs []PolicySignature) []byte {
	dst = append(dst, uint8(len(sigs)))
	for i := range sigs {
		dst = append(append(dst, sigs[i].Signer), sigs[i].Signature[:]...)
	}
	return dst
}

func readSignatures(r *reader) []PolicySignature {
	n := int(r.u8())
	if n > MaxSigners {
		r.fail(Refuse(Malformed, "%d policy signatures, at most %d", n, MaxSigners))
	}
	if n == 0 || !r.has(n*policySignatureSize) {
		return nil
	}
	sigs := make([]PolicySignature, n)
	for i := range sigs {
		sigs[i].Signer = r.u8()
		copy(sigs[i].Signature[:], r.take(ed25519.SignatureSize))
	}
	return sigs
}

// checkSignatureOrder keeps one encoding per set of signatures: signers ascend.
func checkSignatureOrder(sigs []PolicySignature) error {
	if len(sigs) > MaxSigners {
		return Refuse(Malformed, "%d policy signatures, at most %d", len(sigs), MaxSigners)
	}
	for i := 1; i < len(sigs); i++ {
		switch {
		case sigs[i].Signer == sigs[i-1].Signer:
			return Refuse(SignerRepeated, "signer %d signed twice", sigs[i].Signer)
		case sigs[i].Signer < sigs[i-1].Signer:
			return Refuse(NonCanonical, "policy signatures are not in the order of their signers")
		}
	}
	return nil
}

// lowOrder lists the y-coordinates (little-endian, sign bit cleared) of the eight points of small order on edwards25519 (RFC 7748
// and RFC 8032; also Cremers and Jackson, "Prime, Order Please!", 2019). Under such a key anybody can make signatures.
var lowOrder = [...][32]byte{
	{},     // order 4
	{0: 1}, // order 1
	lowOrderBytes("26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05"), // order 8
	lowOrderBytes("c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a"), // order 8
	lowOrderBytes("ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"), // order 2, p-1
}

func lowOrderBytes(s string) (out [32]byte) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		panic("entry: bad constant " + s)
	}
	copy(out[:], b)
	return out
}

// check refuses encodings of y >= p and points of small order.
func (k SignerKey) check() error {
	y := k
	y[31] &= 0x7f
	big := y[31] == 0x7f && y[0] >= 0xed // p = 2^255-19 is ed ff .. ff 7f
	for _, b := range y[1:31] {
		big = big && b == 0xff
	}
	if big {
		return Refuse(GenesisInvalid, "Ed25519 key %s is not canonical", k)
	}
	for _, low := range lowOrder {
		if y == low {
			return Refuse(GenesisInvalid, "Ed25519 key %s has small order", k)
		}
	}
	return nil
}
