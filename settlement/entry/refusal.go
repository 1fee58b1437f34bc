package entry

import (
	"errors"
	"fmt"
)

// Code names a reason for refusing what a client sent. Codes travel in RPC errors, scripts and reports, so one is never renamed.
type Code string

// The refusals. Each has one line of meaning in [Codes] and in settlement/SPEC.md; a test holds the two lists together.
const (
	Malformed             Code = "malformed"
	Oversize              Code = "oversize"
	NonCanonical          Code = "non_canonical"
	UnsupportedVersion    Code = "unsupported_version"
	UnknownKind           Code = "unknown_kind"
	KindMismatch          Code = "kind_mismatch"
	WrongLedger           Code = "wrong_ledger"
	Expired               Code = "expired"
	ExpiryTooFar          Code = "expiry_too_far"
	UnknownAsset          Code = "unknown_asset"
	UnknownProgramme      Code = "unknown_programme"
	ProgrammeClosed       Code = "programme_closed"
	ProgrammesFull        Code = "programmes_full"
	AnchorUnknown         Code = "anchor_unknown"
	RegistryRootStale     Code = "registry_root_stale"
	OversightEpochStale   Code = "oversight_epoch_stale"
	UnknownCircuit        Code = "unknown_circuit"
	NullifierSpent        Code = "nullifier_spent"
	NullifierRepeated     Code = "nullifier_repeated"
	ProofInvalid          Code = "proof_invalid"
	ConditionUnknown      Code = "condition_unknown"
	SegmentMismatch       Code = "segment_mismatch"
	SignaturesMissing     Code = "signatures_missing"
	SignatureInvalid      Code = "signature_invalid"
	SignerUnknown         Code = "signer_unknown"
	SignerRepeated        Code = "signer_repeated"
	SequenceStale         Code = "sequence_stale"
	SequenceGap           Code = "sequence_gap"
	SupplyOverflow        Code = "supply_overflow"
	SupplyNegative        Code = "supply_negative"
	OwnerUnknown          Code = "owner_unknown"
	OwnerRepeated         Code = "owner_repeated"
	OwnerFrozenAlready    Code = "owner_frozen_already"
	OwnerActiveAlready    Code = "owner_active_already"
	RightsInvalid         Code = "rights_invalid"
	RegistryFull          Code = "registry_full"
	TreeFull              Code = "tree_full"
	ReaderKeyInvalid      Code = "reader_key_invalid"
	OversightKeyInvalid   Code = "oversight_key_invalid"
	AmountZero            Code = "amount_zero"
	IssueAndRedeem        Code = "issue_and_redeem"
	GenesisInvalid        Code = "genesis_invalid"
	ProposalInvalid       Code = "proposal_invalid"
	ConditionInvalid      Code = "condition_invalid"
	HoldUnknown           Code = "hold_unknown"
	HoldResolved          Code = "hold_resolved"
	HoldExpired           Code = "hold_expired"
	HoldNotExpired        Code = "hold_not_expired"
	HoldNotReady          Code = "hold_not_ready"
	HoldsFull             Code = "holds_full"
	OutcomeInvalid        Code = "outcome_invalid"
	AttestorUnknown       Code = "attestor_unknown"
	AttestationInvalid    Code = "attestation_invalid"
	AttestationRepeated   Code = "attestation_repeated"
	ChallengeInvalid      Code = "challenge_invalid"
	DocumentKnown         Code = "document_known"
	DocumentUnknown       Code = "document_unknown"
	DocumentEnded         Code = "document_ended"
	CorridorUnknown       Code = "corridor_unknown"
	CorridorInvalid       Code = "corridor_invalid"
	CorridorStale         Code = "corridor_stale"
	CorridorFrozen        Code = "corridor_frozen"
	CorridorCap           Code = "corridor_cap"
	SizeClassUnknown      Code = "size_class_unknown"
	PeerProofInvalid      Code = "peer_proof_invalid"
	PeerSizeUnknown       Code = "peer_size_unknown"
	PeerMismatch          Code = "peer_mismatch"
	PeerCheckpointInvalid Code = "peer_checkpoint_invalid"
	PeerCheckpointOld     Code = "peer_checkpoint_old"
	PeerForked            Code = "peer_forked"
	RotationInvalid       Code = "rotation_invalid"
	EvidenceInvalid       Code = "evidence_invalid"
	OverrideInvalid       Code = "override_invalid"
	DayDateInvalid        Code = "day_date_invalid"
	DayOpenAlready        Code = "day_open_already"
	DayNotOpen            Code = "day_not_open"
	DayCutOffAlready      Code = "day_cut_off_already"
	DayNotCutOff          Code = "day_not_cut_off"
	TrialBalanceDiffers   Code = "trial_balance_differs"
	TryLater              Code = "try_later"
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
	{ConditionInvalid, "the condition of a hold breaks a rule of 1.10, or its size class does not fit it"},
	{HoldUnknown, "no such hold is open"},
	{HoldResolved, "the hold was posted or voided before by another entry"},
	{HoldExpired, "ledger time has reached the hold's expiry"},
	{HoldNotExpired, "ledger time has not reached the hold's expiry"},
	{HoldNotReady, "attestations are missing, or the challenge window is still open"},
	{HoldsFull, "the ledger holds as many open holds as it can"},
	{OutcomeInvalid, "outcome, reason, commitment or named holds do not fit the hold"},
	{AttestorUnknown, "the condition names no such attestor, payer or payee key"},
	{AttestationInvalid, "a signature about a hold does not verify, or the statement or document is not the one that the condition asks for"},
	{AttestationRepeated, "the attestor has attested already, or has no attestation to withdraw"},
	{ChallengeInvalid, "the hold has no challenge window, was challenged before, or its window is over"},
	{DocumentKnown, "the document was anchored before"},
	{DocumentUnknown, "the document was never anchored"},
	{DocumentEnded, "the document was superseded or revoked before"},
	{CorridorUnknown, "the ledger has no corridor to that peer"},
	{CorridorInvalid, "the terms of a corridor break a rule of 1.13 (quorum, keys, size classes), or it is in that state already"},
	{CorridorStale, "nothing of the peer was observed for too long: observe a checkpoint first"},
	{CorridorFrozen, "the corridor is frozen"},
	{CorridorCap, "the size classes in flight would pass the corridor's cap"},
	{SizeClassUnknown, "the size class is not in the corridor's list"},
	{PeerProofInvalid, "a peer proof is missing, or does not show that the peer's log holds the leaf"},
	{PeerSizeUnknown, "the peer proof leads to a size that was not observed, or too long ago: prove again"},
	{PeerMismatch, "the peer's leaf is in its log and is not what the hold asks for"},
	{PeerCheckpointInvalid, "the peer's checkpoint, its cosignatures or its state entry do not verify under the corridor's terms"},
	{PeerCheckpointOld, "as many leaves of the peer's log, or more, were observed before"},
	{PeerForked, "the peer's checkpoint contradicts what was observed: send the evidence"},
	{RotationInvalid, "a log key rotation is out of order, or not signed by the key before and the new one"},
	{EvidenceInvalid, "the evidence does not show what it says"},
	{OverrideInvalid, "the hold cannot be overridden so, or the peer's treasury or oversight did not sign"},
	{DayDateInvalid, "the business date is no day of the calendar, not later than the last day, or not that of the open day"},
	{DayOpenAlready, "the business day before is not closed"},
	{DayNotOpen, "no business day is open"},
	{DayCutOffAlready, "the business day had its cut-off before"},
	{DayNotCutOff, "the business day had no cut-off yet"},
	{TrialBalanceDiffers, "the close names another log size, root or trial balance than those of the block before the cut-off"},
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
