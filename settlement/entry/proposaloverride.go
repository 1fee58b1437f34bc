package entry

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/hex"
	"io"
	"slices"

	"github.com/comity-ledger/comity/zk"
)

// An override is signed by three bodies: this ledger's policy, the peer's treasury and this ledger's oversight office. The proposal
// file collects all three. The peer's policy is not known here: each of its signatures stands beside the key it verifies under, and
// whether that key is the peer's is for [Proposal.TreasuryMissing] and for the ledger to say.
type othersSignatures struct {
	treasury  []treasurySignature // ascending by signer
	key       zk.Point            // oversight's, when it signed
	oversight zk.Signature
}

type treasurySignature struct {
	PolicySignature
	key SignerKey
}

type proposalOthersJSON struct {
	Treasury  []proposalSignatureJSON `json:"treasury"`
	Oversight *proposalOversightJSON  `json:"oversight"` // null while it is missing
}

type proposalOversightJSON struct {
	Key       string `json:"key"`       // hexadecimal
	Signature string `json:"signature"` // base64
}

// override gives the proposed override, or refuses a proposal of another kind.
func (p *Proposal) override() (*Override, error) {
	o, ok := p.entry.(*Override)
	if !ok {
		return nil, Refuse(ProposalInvalid, "a %s entry is signed by this ledger's policy alone", p.entry.Kind())
	}
	return o, nil
}

// SignTreasury adds the signature of a signer of the peer's policy, which the peer's genesis states. Signing twice changes nothing.
func (p *Proposal) SignTreasury(peer *Genesis, priv ed25519.PrivateKey) error {
	o, err := p.override()
	if err != nil {
		return err
	}
	if o.Peer != peer.Hash() {
		return Refuse(WrongLedger, "the override is about ledger %s, this is the treasury of %s", o.Peer, peer.Hash())
	}
	if len(priv) != ed25519.PrivateKeySize {
		return Refuse(Malformed, "an Ed25519 private key of %d bytes", len(priv))
	}
	s := PolicySignature{}
	if s.Signer, err = peer.Policy.Index(priv.Public().(ed25519.PublicKey)); err != nil {
		return err
	}
	copy(s.Signature[:], ed25519.Sign(priv, OverrideMessage(p.ID())))
	for _, have := range p.others.treasury {
		if have.PolicySignature == s { // Ed25519 signatures are deterministic
			return nil
		}
	}
	return p.AddTreasury(&peer.Policy, s)
}

// AddTreasury takes over a signature of the peer's policy after checking it.
func (p *Proposal) AddTreasury(peer *Policy, s PolicySignature) error {
	if _, err := p.override(); err != nil {
		return err
	}
	one := Policy{Threshold: 1, Signers: peer.Signers}
	if err := one.verify(OverrideMessage(p.ID()), []PolicySignature{s}); err != nil {
		return err
	}
	return p.addTreasury(treasurySignature{s, peer.Signers[s.Signer]})
}

func (p *Proposal) addTreasury(s treasurySignature) error {
	at, found := slices.BinarySearchFunc(p.others.treasury, s, func(a, b treasurySignature) int { return int(a.Signer) - int(b.Signer) })
	if found {
		return Refuse(SignerRepeated, "signer %d of the peer's treasury signed twice", s.Signer)
	}
	p.others.treasury = slices.Insert(p.others.treasury, at, s)
	return nil
}

// SignOversight adds oversight's signature with the secret of its current key, which genesis or the last oversight entry names.
func (p *Proposal) SignOversight(secret zk.Scalar, rand io.Reader) error {
	if _, err := p.override(); err != nil {
		return err
	}
	return p.AddOversight(secret.Base(), zk.Sign(secret, OverrideField(p.ID()).Element(), rand))
}

// AddOversight takes over oversight's signature by this key after checking it. It replaces one that is there: a Schnorr signature is
// another each time, and the key may have been changed since.
func (p *Proposal) AddOversight(key zk.Point, s zk.Signature) error {
	if _, err := p.override(); err != nil {
		return err
	}
	if s == (zk.Signature{}) || !zk.VerifySignature(key, OverrideField(p.ID()).Element(), s) {
		return Refuse(OverrideInvalid, "the signature does not verify under oversight key %x", key.Bytes())
	}
	p.others.key, p.others.oversight = key, s
	return nil
}

// TreasurySignatures lists what was collected from the peer's treasury, ascending by signer.
func (p *Proposal) TreasurySignatures() []PolicySignature {
	var out []PolicySignature
	for _, s := range p.others.treasury {
		out = append(out, s.PolicySignature)
	}
	return out
}

// TreasuryMissing is how many signatures the peer's policy still wants, or why what was collected is not of that policy.
func (p *Proposal) TreasuryMissing(peer *Policy) (int, error) {
	if _, err := p.override(); err != nil {
		return 0, err
	}
	for _, s := range p.others.treasury {
		if int(s.Signer) >= len(peer.Signers) || peer.Signers[s.Signer] != s.key {
			return 0, Refuse(SignerUnknown, "key %s is not signer %d of the peer's treasury", s.key, s.Signer)
		}
	}
	return max(0, int(peer.Threshold)-len(p.others.treasury)), nil
}

// OversightKey gives the key that oversight signed with, and whether it signed.
func (p *Proposal) OversightKey() (zk.Point, bool) {
	return p.others.key, p.others.oversight != (zk.Signature{})
}

// withOthers gives the entry with what W has of others.
func (p *Proposal) withOthers() (Entry, error) {
	o, ok := p.entry.(*Override)
	if !ok {
		return p.entry, nil
	}
	if len(p.others.treasury) == 0 {
		return nil, Refuse(SignaturesMissing, "nobody of the peer's treasury signed")
	}
	if p.others.oversight == (zk.Signature{}) {
		return nil, Refuse(OverrideInvalid, "oversight has not signed")
	}
	full := *o
	full.Treasury, full.Oversight = p.TreasurySignatures(), p.others.oversight
	return &full, nil
}

func (p *Proposal) othersJSON() *proposalOthersJSON {
	if _, err := p.override(); err != nil {
		return nil
	}
	j := &proposalOthersJSON{Treasury: []proposalSignatureJSON{}}
	for _, s := range p.others.treasury {
		j.Treasury = append(j.Treasury, proposalSignatureJSON{s.Signer, s.key.String(), base64.StdEncoding.EncodeToString(s.Signature[:])})
	}
	if p.others.oversight != (zk.Signature{}) {
		j.Oversight = &proposalOversightJSON{hex.EncodeToString(putPoint(nil, p.others.key)),
			base64.StdEncoding.EncodeToString(putSchnorr(nil, p.others.oversight))}
	}
	return j
}

func (p *Proposal) parseOthers(j *proposalOthersJSON) error {
	_, err := p.override()
	if (err == nil) != (j != nil) {
		return Refuse(ProposalInvalid, "a %s entry, and signatures for an override: %t", p.entry.Kind(), j != nil)
	}
	if j == nil {
		return nil
	}
	msg := OverrideMessage(p.ID())
	for i, s := range j.Treasury {
		sig, err := fromBase64(s.Signature)
		if err != nil || len(sig) != ed25519.SignatureSize {
			return Refuse(ProposalInvalid, "treasury signature %d: want 64 bytes in base64", i)
		}
		key, err := parseHex[SignerKey]("treasury key", s.Key)
		if err == nil {
			err = key.check()
		}
		if err != nil || s.Signer >= MaxSigners {
			return Refuse(ProposalInvalid, "treasury signature %d: signer %d, key %q", i, s.Signer, s.Key)
		}
		if !ed25519.Verify(key.Public(), msg, sig) {
			return Refuse(SignatureInvalid, "treasury signature %d does not verify", i)
		}
		if err := p.addTreasury(treasurySignature{PolicySignature{s.Signer, [ed25519.SignatureSize]byte(sig)}, key}); err != nil {
			return err
		}
	}
	if j.Oversight == nil {
		return nil
	}
	raw, err := parseHex[[64]byte]("oversight key", j.Oversight.Key)
	if err != nil {
		return Refuse(ProposalInvalid, "%v", err)
	}
	key, err := zk.ParsePoint(raw[:])
	if err != nil {
		return Refuse(ProposalInvalid, "oversight key: %v", err)
	}
	sig, err := fromBase64(j.Oversight.Signature)
	if err != nil {
		return Refuse(ProposalInvalid, "oversight's signature: %v", err)
	}
	s, err := zk.ParseSignature(sig)
	if err != nil {
		return Refuse(ProposalInvalid, "oversight's signature: %v", err)
	}
	return p.AddOversight(key, s)
}
