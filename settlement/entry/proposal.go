package entry

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/comity-ledger/comity/zk"
)

// A Proposal carries a privileged entry from signer to signer as a file. What is signed is always computed from the entry's bytes;
// the lines for people in the file are checked against them and never believed.
type Proposal struct {
	entry      Entry
	segments   [][]byte
	genesis    *Genesis
	signatures []PolicySignature
	others     othersSignatures // an override's alone
}

const proposalFormat = "comity/proposal/v1"

type proposalJSON struct {
	Format      string                  `json:"format"`
	ID          string                  `json:"id"`
	Description []string                `json:"description"`
	Entry       string                  `json:"entry"`    // base64, without signatures
	Segments    []string                `json:"segments"` // base64
	Signatures  []proposalSignatureJSON `json:"signatures"`
	Override    *proposalOthersJSON     `json:"override,omitempty"` // exactly when the entry is an override
}

type proposalSignatureJSON struct {
	Signer    uint8  `json:"signer"`
	Key       string `json:"key"` // for people; the position names the signer
	Signature string `json:"signature"`
}

// NewProposal begins a proposal from the bytes of a privileged entry and its ciphertext segments (none but for issue and redeem).
// The policy's signatures inside the entry are taken over, so a proposal can be continued from an entry; those of others inside an
// override are not, because nothing here says whose keys they are of.
func NewProposal(g *Genesis, b []byte, segments [][]byte) (*Proposal, error) {
	e, err := Decode(b)
	if err != nil {
		return nil, err
	}
	if !e.Kind().Privileged() {
		return nil, Refuse(ProposalInvalid, "a %s entry needs no policy signatures", e.Kind())
	}
	if e.Head().Ledger != g.Hash() {
		return nil, Refuse(WrongLedger, "the entry is for ledger %s, this is %s", e.Head().Ledger, g.Hash())
	}
	tx, isTransaction := e.(*Transaction)
	if !isTransaction && len(segments) != 0 {
		return nil, Refuse(SegmentMismatch, "a %s entry has no ciphertext segments", e.Kind())
	}
	if isTransaction {
		if err := tx.CheckSegments(segments); err != nil {
			return nil, err
		}
	}
	if o, ok := e.(*Override); ok && (len(o.Treasury) != 0 || o.Oversight != (zk.Signature{})) {
		return nil, Refuse(ProposalInvalid, "signatures of the peer's treasury or of oversight stand inside the entry")
	}
	p := &Proposal{entry: e, segments: segments, genesis: g}
	sigs := e.Head().Signatures
	e.Head().Signatures = nil
	for _, s := range sigs {
		if err := p.Add(s); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// ParseProposal reads a proposal file. Unknown, missing and repeated keys are refused, and so is a description or an id that the
// bytes do not give: somebody wanted a signer to read something else.
func ParseProposal(g *Genesis, b []byte) (*Proposal, error) {
	var j proposalJSON
	if err := strictJSON(b, &j); err != nil {
		return nil, Refuse(ProposalInvalid, "%v", err)
	}
	if j.Format != proposalFormat {
		return nil, Refuse(ProposalInvalid, "format %q, want %q", j.Format, proposalFormat)
	}
	raw, err := fromBase64(j.Entry)
	if err != nil {
		return nil, Refuse(ProposalInvalid, "entry: %v", err)
	}
	var segments [][]byte
	for i, s := range j.Segments {
		seg, err := fromBase64(s)
		if err != nil {
			return nil, Refuse(ProposalInvalid, "segment %d: %v", i, err)
		}
		segments = append(segments, seg)
	}
	p, err := NewProposal(g, raw, segments)
	if err != nil {
		return nil, err
	}
	if len(p.signatures) != 0 {
		return nil, Refuse(ProposalInvalid, "signatures stand inside the entry")
	}
	if j.ID != p.ID().String() {
		return nil, Refuse(ProposalInvalid, "the file says id %q, the entry's is %s", j.ID, p.ID())
	}
	if !slices.Equal(j.Description, p.Describe()) {
		return nil, Refuse(ProposalInvalid, "the description in the file is not what the entry does")
	}
	for i, s := range j.Signatures {
		sig, err := fromBase64(s.Signature)
		if err != nil || len(sig) != ed25519.SignatureSize {
			return nil, Refuse(ProposalInvalid, "signature %d: want 64 bytes in base64", i)
		}
		if err := p.Add(PolicySignature{s.Signer, [ed25519.SignatureSize]byte(sig)}); err != nil {
			return nil, err
		}
		if s.Key != g.Policy.Signers[s.Signer].String() {
			return nil, Refuse(ProposalInvalid, "signature %d names a key that is not signer %d's", i, s.Signer)
		}
	}
	if err := p.parseOthers(j.Override); err != nil {
		return nil, err
	}
	return p, nil
}

func fromBase64(s string) ([]byte, error) {
	b, err := base64.StdEncoding.Strict().DecodeString(s)
	if err == nil && base64.StdEncoding.EncodeToString(b) != s { // the decoder skips line ends
		err = errors.New("base64 with line ends")
	}
	return b, err
}

// JSON gives the file, indented, ending in a newline.
func (p *Proposal) JSON() ([]byte, error) {
	j := proposalJSON{Format: proposalFormat, ID: p.ID().String(), Description: p.Describe(),
		Entry: base64.StdEncoding.EncodeToString(Encode(p.entry)), Segments: []string{}, Signatures: []proposalSignatureJSON{}}
	for _, s := range p.segments {
		j.Segments = append(j.Segments, base64.StdEncoding.EncodeToString(s))
	}
	for _, s := range p.signatures {
		j.Signatures = append(j.Signatures, proposalSignatureJSON{s.Signer, p.genesis.Policy.Signers[s.Signer].String(),
			base64.StdEncoding.EncodeToString(s.Signature[:])})
	}
	j.Override = p.othersJSON()
	out, err := json.MarshalIndent(j, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write proposal: %w", err)
	}
	return append(out, '\n'), nil
}

// ID is the id of the proposed entry, which the signatures cover.
func (p *Proposal) ID() ID { return IDOf(p.entry) }

// Entry gives the proposed entry without signatures. It is shared: do not change it.
func (p *Proposal) Entry() Entry { return p.entry }

// Segments gives the ciphertext segments that travel beside the entry.
func (p *Proposal) Segments() [][]byte { return p.segments }

// Describe gives the lines a signer must read before signing.
func (p *Proposal) Describe() []string { return Describe(p.entry, p.genesis) }

// Signatures lists what was collected, ascending by signer.
func (p *Proposal) Signatures() []PolicySignature { return slices.Clone(p.signatures) }

// Sign adds the signature of a policy key. Signing twice changes nothing.
func (p *Proposal) Sign(priv ed25519.PrivateKey) error {
	s, err := p.genesis.Policy.SignAuthorisation(priv, p.ID())
	if err != nil {
		return err
	}
	if slices.Contains(p.signatures, s) { // Ed25519 signatures are deterministic
		return nil
	}
	return p.Add(s)
}

// Add takes over a signature after checking it.
func (p *Proposal) Add(s PolicySignature) error {
	one := Policy{Threshold: 1, Signers: p.genesis.Policy.Signers}
	if err := one.Verify(p.ID(), []PolicySignature{s}); err != nil {
		return err
	}
	at, found := slices.BinarySearchFunc(p.signatures, s, func(a, b PolicySignature) int { return int(a.Signer) - int(b.Signer) })
	if found {
		return Refuse(SignerRepeated, "signer %d signed twice", s.Signer)
	}
	p.signatures = slices.Insert(p.signatures, at, s)
	return nil
}

// Missing is how many signatures the policy still wants.
func (p *Proposal) Missing() int {
	return max(0, int(p.genesis.Policy.Threshold)-len(p.signatures))
}

// Assemble gives the bytes to submit once enough signatures are there. Whether enough of the peer's treasury signed an override, and
// the oversight key that is current, is for the ledger to say, which knows the corridor; that some did is asked for here.
func (p *Proposal) Assemble() ([]byte, error) {
	if err := p.genesis.Policy.Verify(p.ID(), p.signatures); err != nil {
		return nil, err
	}
	e, err := p.withOthers()
	if err != nil {
		return nil, err
	}
	b := Encode(e)
	return appendSignatures(b[:len(b)-1], p.signatures), nil // witness data ends in the signatures, none until here
}
