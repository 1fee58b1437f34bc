package wallets

import (
	"errors"
	"fmt"
)

// Code names a reason for which the wallet itself refuses. Codes appear in --json output and scripts; one is never renamed.
type Code string

// The wallet's refusals. Codes lists them with their meaning.
const (
	AmountZero        Code = "amount_zero"
	AmountNegative    Code = "amount_negative"
	AmountTooLarge    Code = "amount_too_large"
	AmountDecimals    Code = "amount_decimals"
	AmountSyntax      Code = "amount_syntax"
	UnknownAsset      Code = "unknown_asset"
	UnknownProgramme  Code = "unknown_programme"
	ProgrammeClosed   Code = "programme_closed"
	AddressInvalid    Code = "address_invalid"
	AddressOther      Code = "address_of_another_ledger"
	ReferenceInvalid  Code = "reference_invalid"
	PaymentIDInvalid  Code = "payment_id_invalid"
	PaymentIDConflict Code = "payment_id_conflict"
	PaymentIDSettled  Code = "payment_id_settled_elsewhere"
	InsufficientFunds Code = "insufficient_funds"
	FundsInFlight     Code = "funds_in_flight"
	OverLimit         Code = "over_limit"
	OwnerFrozen       Code = "owner_frozen"
	OwnerUnknown      Code = "owner_unknown"
	ReleaseNotAllowed Code = "release_not_allowed"
	SetNotAllowed     Code = "set_not_allowed"
	BadFile           Code = "bad_disbursement_file"
	FileChanged       Code = "disbursement_file_changed"
	LedgerLied        Code = "ledger_lied"
	LedgerForked      Code = "ledger_forked"
	LedgerRolledBack  Code = "ledger_rolled_back"
	OtherLedger       Code = "wrong_ledger"
	BehindLedger      Code = "wallet_behind"
	NotFound          Code = "not_found"
	NotFinal          Code = "not_final"
	DisclosureInvalid Code = "disclosure_invalid"
	RequestInvalid    Code = "register_request_invalid"
	HoldDraftInvalid  Code = "hold_draft_invalid"
	HoldDraftStale    Code = "hold_draft_stale"
	SizeClassTooSmall Code = "size_class_too_small"
	HoldKeyUnknown    Code = "hold_key_unknown"
)

// Meaning is one row of the table of refusals.
type Meaning struct {
	Code Code
	Text string
}

var meanings = []Meaning{
	{AmountZero, "the amount is zero"},
	{AmountNegative, "the amount is negative"},
	{AmountTooLarge, "the amount, or the sum of a file, does not fit 64 bits of minor units"},
	{AmountDecimals, "the amount has more decimals than the currency"},
	{AmountSyntax, "the amount is not a plain decimal number"},
	{UnknownAsset, "the ledger's genesis lists no such currency"},
	{UnknownProgramme, "no such programme was opened on the ledger"},
	{ProgrammeClosed, "the programme is closed: no money may be earmarked for it any more"},
	{AddressInvalid, "the text is not an address, or was mistyped"},
	{AddressOther, "the address belongs to another ledger"},
	{ReferenceInvalid, "the reference is too long or holds characters that do not print"},
	{PaymentIDInvalid, "the payment id is empty, too long or holds characters that do not print"},
	{PaymentIDConflict, "a payment with this id exists with other fields"},
	{PaymentIDSettled, "the ledger holds a payment with this id that this folder does not know: it was restored from an older copy"},
	{InsufficientFunds, "all notes that may pay this together are worth less than the amount"},
	{FundsInFlight, "enough funds exist, but some are reserved for holds, or inputs or change of transactions that have not settled yet"},
	{OverLimit, "the leg would move more to others than the registry allows this owner per leg"},
	{OwnerFrozen, "the registry has frozen this owner"},
	{OwnerUnknown, "this owner is not in the registry yet: it can be paid, and cannot spend"},
	{ReleaseNotAllowed, "the money is earmarked for a programme and this owner may not release it"},
	{SetNotAllowed, "this owner may not earmark money for the programme"},
	{BadFile, "the disbursement file has bad lines: nothing was paid"},
	{FileChanged, "a disbursement with this name was begun from other content"},
	{LedgerLied, "a block of the ledger contradicts its own state entry or its genesis"},
	{LedgerForked, "the ledger showed two histories: a checkpoint does not match the entries it streamed"},
	{LedgerRolledBack, "the ledger is behind what it showed this wallet before"},
	{OtherLedger, "this wallet belongs to another ledger"},
	{BehindLedger, "the wallet has not read the ledger yet"},
	{NotFound, "the wallet knows no such payment or entry"},
	{NotFinal, "the entry has settled and no cosigned checkpoint covers it yet"},
	{DisclosureInvalid, "the disclosure does not open a commitment of its receipted entry"},
	{RequestInvalid, "the request to be registered is malformed, or lacks the proof of possession"},
	{HoldDraftInvalid, "the reserved hold does not give the commitments it promised: it is another wallet's or was changed"},
	{HoldDraftStale, "the reserved hold cannot be placed any more: its notes are spent or the oversight key changed; reserve it again"},
	{SizeClassTooSmall, "the held amount is above the size class"},
	{HoldKeyUnknown, "the key given is not the one that the hold names for this"},
}

// Codes lists every refusal of the wallet with its meaning.
func Codes() []Meaning { return append([]Meaning(nil), meanings...) }

// Refusal is a named reason for which the wallet does not do what it was asked. Detail is for people; it may hold the user's own
// amounts and never a key.
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

// RefusalCode names the refusal for callers that map errors to exit codes.
func (r *Refusal) RefusalCode() string { return string(r.Code) }

// Is makes errors.Is(err, &Refusal{Code: c}) compare codes.
func (r *Refusal) Is(target error) bool {
	t, ok := target.(*Refusal)
	return ok && t.Code == r.Code
}

// Refuse makes a Refusal with a formatted detail.
func Refuse(code Code, format string, args ...any) error {
	return &Refusal{Code: code, Detail: fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the wallet's refusal in err's chain, or "".
func CodeOf(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
