package prover

import "fmt"

// Code names the statement that a leg breaks. Codes are stable: wallets show them and programs compare them.
type Code string

// Every reason why Check refuses a leg, with the statement of zk/SPEC.md chapter 7 that it breaks.
const (
	WitnessMalformed Code = "witness_malformed" // wrong sizes, missing keys, bytes that are not canonical

	InputForeign       Code = "input_foreign"        // Z7.1: an input of another owner, asset or programme
	MembershipInvalid  Code = "membership_invalid"   // Z7.1: an input with a value is not in the tree under the note root
	NullifierMismatch  Code = "nullifier_mismatch"   // Z7.1: a nullifier is not that of its input
	NullifierRepeated  Code = "nullifier_repeated"   // Z7.1: one input twice
	SignatureInvalid   Code = "signature_invalid"    // Z7.2: the owner did not sign ctx
	OwnerNotRegistered Code = "owner_not_registered" // Z7.3: no such leaf under the registry root
	OwnerFrozen        Code = "owner_frozen"         // Z7.3: the leaf is there and not active
	OverLimit          Code = "over_limit"           // Z7.3: more than the limit leaves the owner
	Unbalanced         Code = "unbalanced"           // Z7.4: inputs and issue differ from outputs and redemption
	OutputForeign      Code = "output_foreign"       // Z7.4: an output of another asset
	IssueAndRedeem     Code = "issue_and_redeem"     // Z7.4: both at once
	AssetMismatch      Code = "asset_mismatch"       // Z7.4: the public asset is not the leg's, or shown without need
	ProgrammeMismatch  Code = "programme_mismatch"   // Z7.4, Z7.5: the public programme is not the leg's, or outputs carry two others
	ReleaseNotAllowed  Code = "release_not_allowed"  // Z7.5: earmarked money would lose its programme
	SetNotAllowed      Code = "set_not_allowed"      // Z7.5: free money would take on a programme
	KeyMismatch        Code = "key_mismatch"         // Z7.6: epk is not e*G
	CommitmentMismatch Code = "commitment_mismatch"  // Z7.6: a commitment is not that of its output
	CipherMismatch     Code = "cipher_mismatch"      // Z7.6: oversight could not read an output or the sender
	ReaderMismatch     Code = "reader_mismatch"      // Z7.7: not the reader of the programme
	WrapMismatch       Code = "wrap_mismatch"        // Z7.7: the reader could not unwrap the key
	ReturnMismatch     Code = "return_mismatch"      // Z7.8: the return commitment is not that of the held output
	SizeClassExceeded  Code = "size_class_exceeded"  // Z7.8: the held output is above its size class
	SubtreeMismatch    Code = "subtree_mismatch"     // Z7.9: the subtree root is not that of the outputs
)

// Refusal says which statement a leg breaks.
type Refusal struct {
	Code   Code
	Detail string
}

// Error gives "code: detail".
func (r *Refusal) Error() string { return string(r.Code) + ": " + r.Detail }

// Is lets errors.Is compare refusals by code alone.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code
}

// refuse never puts an amount, a key or any other secret into the detail: refusals end up in logs.
func refuse(code Code, format string, args ...any) error {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}
