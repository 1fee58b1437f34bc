package proof

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// What a checkpoint can fail with. The texts are stable names; SPEC 2.6 lists them.
var (
	// ErrOrigin: the checkpoint is of another log.
	ErrOrigin = errors.New("origin_wrong")
	// ErrLogSignature: the log's own signature is missing or does not verify.
	ErrLogSignature = errors.New("log_signature_invalid")
	// ErrCosignature: a witness of the policy is named by a signature that is not its own.
	ErrCosignature = errors.New("cosignature_invalid")
	// ErrQuorum: fewer witnesses cosigned than the policy asks for.
	ErrQuorum = errors.New("quorum_missing")
	// ErrFuture: the quorum is missing because cosignatures lie in the future.
	ErrFuture = errors.New("cosignature_from_future")
	// ErrPolicy: the policy itself breaks a rule.
	ErrPolicy = errors.New("policy_invalid")
)

// MaxSkewSeconds is how far a witness's clock may run ahead of ours.
const MaxSkewSeconds = 60

// Config is what a policy is made of. A ledger's genesis states all of it.
type Config struct {
	Origin    string
	LogKey    [ed25519.PublicKeySize]byte
	Quorum    int // k: this many distinct witnesses make a checkpoint final
	Faulty    int // f: this many may collude; 2k-n > f or refused
	Witnesses []Witness
}

// Witness is one member of a policy.
type Witness struct {
	Name       string
	Key        [ed25519.PublicKeySize]byte
	Validating bool // replays every proof, nullifier and root before it cosigns
}

// A Policy says which checkpoints are final. It is safe for concurrent use.
type Policy struct {
	origin     string
	log        *verifier
	quorum     int
	verifiers  []note.Verifier
	validating map[string]bool
	config     Config
}

// NewPolicy checks the rules of SPEC 2.5: 1 <= k <= n, 2k-n > f, and no key or name twice, or one witness would count as two.
func NewPolicy(c Config) (*Policy, error) {
	n := len(c.Witnesses)
	if !validName(c.Origin) {
		return nil, fmt.Errorf("%w: origin %q", ErrPolicy, c.Origin)
	}
	if c.Quorum < 1 || c.Quorum > n || c.Faulty < 0 || 2*c.Quorum-n <= c.Faulty {
		return nil, fmt.Errorf("%w: a quorum of %d of %d does not resist %d faulty witnesses: want 1 <= k <= n and 2k-n > f", ErrPolicy, c.Quorum, n, c.Faulty)
	}
	c.Witnesses = slices.Clone(c.Witnesses)
	p := &Policy{origin: c.Origin, log: newVerifier(c.Origin, algEd25519, slices.Clone(c.LogKey[:])), quorum: c.Quorum, validating: map[string]bool{}, config: c}
	keys := map[[ed25519.PublicKeySize]byte]bool{c.LogKey: true}
	names := map[string]bool{c.Origin: true}
	for _, w := range c.Witnesses {
		if !validName(w.Name) || names[w.Name] || keys[w.Key] {
			return nil, fmt.Errorf("%w: witness %q: a name without space and plus, no name or key twice", ErrPolicy, w.Name)
		}
		names[w.Name], keys[w.Key] = true, true
		p.verifiers = append(p.verifiers, newVerifier(w.Name, algCosignature, slices.Clone(w.Key[:])))
		p.validating[w.Name] = w.Validating
	}
	return p, nil
}

// Origin is the first line of the checkpoints the policy speaks of.
func (p *Policy) Origin() string { return p.origin }

// Quorum is how many witnesses make a checkpoint final.
func (p *Policy) Quorum() int { return p.quorum }

// Config gives back what the policy was made of.
func (p *Policy) Config() Config {
	c := p.config
	c.Witnesses = slices.Clone(c.Witnesses)
	return c
}

// Text gives the policy as C2SP tools take it: the Sigsum policy format with verifier keys.
func (p *Policy) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "log %s\n", LogVKey(p.origin, p.log.key))
	names := make([]string, 0, len(p.config.Witnesses))
	for i, w := range p.config.Witnesses {
		name := fmt.Sprintf("witness%d", i+1)
		fmt.Fprintf(&b, "witness %s %s\n", name, WitnessVKey(w.Name, w.Key[:]))
		names = append(names, name)
	}
	fmt.Fprintf(&b, "group witnesses %d %s\nquorum witnesses\n", p.quorum, strings.Join(names, " "))
	return b.String()
}

// A Cosignature of a witness of the policy, verified.
type Cosignature struct {
	Witness     string
	UnixSeconds uint64 // when the witness says it signed
	Validating  bool
}

// Final is a checkpoint that a policy accepted, and who stands behind it.
type Final struct {
	Checkpoint
	Cosignatures []Cosignature // one per witness, those that counted
}

// Validating counts the validating witnesses among the cosigners.
func (f *Final) Validating() int {
	n := 0
	for _, c := range f.Cosignatures {
		if c.Validating {
			n++
		}
	}
	return n
}

// Check accepts a checkpoint that the log signed and k distinct witnesses cosigned. nowUnixSeconds bounds the cosignatures' times
// from above; 0 means there is no clock to ask, as when a receipt is checked years later. A cosignature from further ahead than
// MaxSkewSeconds does not count. Unknown keys are ignored, and one key counts once however often it signed.
func (p *Policy) Check(signed []byte, nowUnixSeconds uint64) (*Final, error) {
	f, err := p.Inspect(signed)
	if err != nil {
		return nil, err
	}
	return p.count(f.Checkpoint, f.Cosignatures, nowUnixSeconds)
}

// Inspect verifies every signature as Check does and tells who cosigned, without asking for a quorum.
func (p *Policy) Inspect(signed []byte) (*Final, error) {
	c, sigs, err := open(p.origin, signed, p.log, p.verifiers)
	if err != nil {
		return nil, err
	}
	f := &Final{Checkpoint: c}
	seen := map[string]bool{}
	for _, s := range sigs {
		if seen[s.Name] { // names are unique in a policy, so a name is a key
			continue
		}
		seen[s.Name] = true
		at, err := cosignedAt(s)
		if err != nil {
			return nil, err
		}
		f.Cosignatures = append(f.Cosignatures, Cosignature{s.Name, at, p.validating[s.Name]})
	}
	return f, nil
}

// count asks for a quorum of verified cosignatures that do not lie in the future.
func (p *Policy) count(c Checkpoint, cosignatures []Cosignature, now uint64) (*Final, error) {
	f, ahead := &Final{Checkpoint: c}, 0
	for _, s := range cosignatures {
		if now != 0 && s.UnixSeconds > now+MaxSkewSeconds {
			ahead++
			continue
		}
		f.Cosignatures = append(f.Cosignatures, s)
	}
	if n := len(f.Cosignatures); n < p.quorum {
		if ahead > 0 {
			return nil, fmt.Errorf("%w: %w: %d of %d witnesses, %d more from the future", ErrQuorum, ErrFuture, n, p.quorum, ahead)
		}
		return nil, fmt.Errorf("%w: %d of %d witnesses", ErrQuorum, n, p.quorum)
	}
	return f, nil
}
