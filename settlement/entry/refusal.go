package entry

import (
	"errors"
	"fmt"
)

// Code names a reason for refusing what a client sent. Codes travel in RPC errors, scripts and reports, so one is never renamed.
type Code string

// The refusals. Each has one line of meaning in [Codes] and in settlement/SPEC.md; a test holds the two lists together.
const (
	Malformed           Code = "malformed"
	Oversize            Code = "oversize"
	NonCanonical        Code = "non_canonical"
	UnsupportedVersion  Code = "unsupported_version"
	UnknownKind         Code = "unknown_kind"
	KindMismatch        Code = "kind_mismatch"
	WrongLedger         Code = "wrong_ledger"
	Expired             Code = "expired"
	ExpiryTooFar        Code = "expiry_too_far"
	UnknownAsset        Code = "unknown_asset"
	UnknownProgramme    Code = "unknown_programme"
	ProgrammeClosed     Code = "programme_closed"
	ProgrammesFull      Code = "programmes_full"
	AnchorUnknown       Code = "anchor_unknown"
	RegistryRootStale   Code = "registry_root_stale"
	OversightEpochStale Code = "oversight_epoch_stale"
	UnknownCircuit      Code = "unknown_circuit"
	NullifierSpent      Code = "nullifier_spent"
	NullifierRepeated   Code = "nullifier_repeated"
	ProofInvalid        Code = "proof_invalid"
	ConditionUnknown    Code = "condition_unknown"
	SegmentMismatch     Code = "segment_mismatch"
	SignaturesMissing   Code = "signatures_missing"
	SignatureInvalid    Code = "signature_invalid"
	SignerUnknown       Code = "signer_unknown"
	SignerRepeated      Code = "signer_repeated"
	SequenceStale       Code = "sequence_stale"
	SequenceGap         Code = "sequence_gap"
	SupplyOverflow      Code = "supply_overflow"
	SupplyNegative      Code = "supply_negative"
	OwnerUnknown        Code = "owner_unknown"
	OwnerRepeated       Code = "owner_repeated"
	OwnerFrozenAlready  Code = "owner_frozen_already"
	OwnerActiveAlready  Code = "owner_active_already"
	RightsInvalid       Code = "rights_invalid"
	RegistryFull        Code = "registry_full"
	TreeFull            Code = "tree_full"
	ReaderKeyInvalid    Code = "reader_key_invalid"
	OversightKeyInvalid Code = "oversight_key_invalid"
	AmountZero          Code = "amount_zero"
	IssueAndRedeem      Code = "issue_and_redeem"
	GenesisInvalid      Code = "genesis_invalid"
	ProposalInvalid     Code = "proposal_invalid"
	TryLater            Code = "try_later"
)

// A Meaning is one row of the refusal table.
type Meaning struct {
	Code Code
	Text string // one line, as printed in the SPEC
}

var meanings = []Meaning{
	{Malformed, "the bytes are not an entry: truncated, trailing bytes, a count or flag out of range, or a text that may not be printed"},
	{Oversize, "the entry or a ciphertext segment is longer than the limit"},
	{NonCanonical, "a value has another encoding than its one canonical encoding (a field element of r or more, a key off its curve or subgroup, a list out of order)"},
	{UnsupportedVersion, "the first byte names a version that this ledger does not speak"},
	{UnknownKind, "the second byte names no kind of entry that a client may send"},
	{KindMismatch, "what the legs show does not fit the kind: a transfer that issues, an issue that redeems, an asset shown without an amount"},
	{WrongLedger, "the genesis hash is not this ledger's"},
	{Expired, "ledger time has reached the entry's expiry"},
	{ExpiryTooFar, "the expiry lies further ahead than genesis allows"},
	{UnknownAsset, "the asset is not in the genesis table"},
	{UnknownProgramme, "no such programme was opened"},
	{ProgrammeClosed, "the programme is closed: nothing new is issued into it"},
	{ProgrammesFull, "the readers' tree has no free leaf for another programme"},
	{AnchorUnknown, "the anchor names a block or a note tree that does not exist yet"},
	{RegistryRootStale, "the registry root of the anchor left its window, or a freeze ended it: prove again"},
	{OversightEpochStale, "the leg is encrypted to the oversight key of another epoch: prove again"},
	{UnknownCircuit, "the circuit or its version is not in the genesis list"},
	{NullifierSpent, "a note spent by this entry was spent before by another"},
	{NullifierRepeated, "one nullifier appears twice in a leg, an entry or a block"},
	{ProofInvalid, "a proof does not verify against the roots of its anchor"},
	{ConditionUnknown, "the condition of a hold is of a type that this ledger does not decide"},
	{SegmentMismatch, "the ciphertext segments are not those whose hashes the entry names"},
	{SignaturesMissing, "fewer policy signatures than the policy asks for"},
	{SignatureInvalid, "a policy signature does not verify"},
	{SignerUnknown, "a signature names a signer that the policy does not have"},
	{SignerRepeated, "one signer signed twice"},
	{SequenceStale, "the policy sequence number was used before"},
	{SequenceGap, "the policy sequence number is not the next one"},
	{SupplyOverflow, "the total issued would pass 2^64-1 minor units"},
	{SupplyNegative, "more would be redeemed than was issued"},
	{OwnerUnknown, "the owner is not in the registry"},
	{OwnerRepeated, "one owner appears twice in a register entry"},
	{OwnerFrozenAlready, "the owner is frozen already"},
	{OwnerActiveAlready, "the owner is active already"},
	{RightsInvalid, "the rights of an owner repeat a programme, hold two wildcards, name programme 0 or grant nothing"},
	{RegistryFull, "the registry has no free leaf"},
	{TreeFull, "no room is left for the outputs, not even in a new note tree"},
	{ReaderKeyInvalid, "the reader key of a programme lacks its proof of possession"},
	{OversightKeyInvalid, "the oversight key lacks its proof of possession"},
	{AmountZero, "an issue that issues nothing, or a redemption that redeems nothing"},
	{IssueAndRedeem, "one leg issues and redeems"},
	{GenesisInvalid, "the genesis breaks a rule of chapter 1 (quorum, keys, names, tables)"},
	{ProposalInvalid, "a proposal file is not what it says: unknown keys, a description that its bytes do not give"},
	{TryLater, "the ledger is busy or has no quorum of witnesses: nothing was decided, send the same bytes again"},
}

// Codes lists every refusal with its meaning, in the order of the SPEC.
func Codes() []Meaning { return append([]Meaning(nil), meanings...) }

// A Refusal is a named reason for not accepting something a client sent. Detail helps a person and is never parsed; it holds no
// secret because everything an entry carries is public to holders of the log.
type Refusal struct {
	Code   Code
	Detail string
}

// Error gives "code: detail".
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return string(r.Code)
	}
	return string(r.Code) + ": " + r.Detail
}

// Is makes errors.Is(err, &Refusal{Code: c}) compare codes only.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code && (t.Detail == "" || t.Detail == r.Detail)
}

// Refuse makes a Refusal with a formatted detail.
func Refuse(code Code, format string, args ...any) error {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the refusal in err's chain, or "" when there is none.
func CodeOf(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
