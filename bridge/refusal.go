package bridge

import (
	"errors"
	"fmt"
)

// Code names a reason for which the bridge refuses. Codes appear in RPC errors, --json output and scripts; one is never renamed.
type Code string

// The bridge's refusals. Codes lists them with their meaning.
const (
	Malformed          Code = "malformed"
	Oversize           Code = "oversize"
	NonCanonical       Code = "non_canonical"
	UnsupportedVersion Code = "unsupported_version"
	UnknownKind        Code = "unknown_kind"
	SignatureInvalid   Code = "signature_invalid"
	AddressInvalid     Code = "address_invalid"
	RatesInvalid       Code = "rates_invalid"
	RateOverflow       Code = "rate_overflow"
	RateUnknown        Code = "rate_unknown"
	LedgerUnknown      Code = "ledger_unknown"
	UnknownAsset       Code = "unknown_asset"
	UnknownProgramme   Code = "unknown_programme"
	AmountZero         Code = "amount_zero"
	AmountTooLarge     Code = "amount_too_large"
	AmountBelow        Code = "amount_below_minimum"
	AmountAbove        Code = "amount_above_maximum"
	SizeClassMissing   Code = "size_class_missing"
	InventoryShort     Code = "inventory_short"
	ExposureLimit      Code = "exposure_limit"
	QuoteOpen          Code = "quote_open"
	QuotesFull         Code = "quotes_full"
	QuoteExpired       Code = "quote_expired"
	QuoteUsed          Code = "quote_used"
	QuoteUnknown       Code = "quote_unknown"
	QuoteMismatch      Code = "quote_mismatch"
	NoQuote            Code = "no_quote"
	PriceTooHigh       Code = "price_too_high"
	ChainMismatch      Code = "chain_mismatch"
	OpeningMismatch    Code = "opening_mismatch"
	AmountMismatch     Code = "amount_mismatch"
	PayeeMismatch      Code = "payee_mismatch"
	ConditionMismatch  Code = "condition_mismatch"
	FollowerMismatch   Code = "follower_mismatch"
	ExpiryTooNear      Code = "expiry_too_near"
	ExpiryTooFar       Code = "expiry_too_far"
	DeadlinePassed     Code = "deadline_passed"
	Cancelled          Code = "cancelled"
	StepInvalid        Code = "step_invalid"
	PaymentConflict    Code = "payment_conflict"
	JournalInvalid     Code = "journal_invalid"
	EntryGap           Code = "entry_gap"
	BundleInvalid      Code = "bundle_invalid"
	BundleOther        Code = "bundle_of_another_ledger"
	LogMismatch        Code = "log_mismatch"
	BeforeWindow       Code = "before_window"
)

// Meaning is one row of the table of refusals.
type Meaning struct {
	Code Code
	Text string
}

var meanings = []Meaning{
	{Malformed, "the bytes are not a message of this kind: truncated, trailing bytes, or a field that cannot be"},
	{Oversize, "the message or file is longer than its limit"},
	{NonCanonical, "a field element or a list is not in its one form"},
	{UnsupportedVersion, "the message has a version that this program does not speak"},
	{UnknownKind, "the message is of another kind"},
	{SignatureInvalid, "a signature does not verify under the key that must have made it"},
	{AddressInvalid, "the owner or the view key of an address is not usable"},
	{RatesInvalid, "the rates file has bad lines: no rate of it is used"},
	{RateOverflow, "the rate between minor units does not fit 64 bits of numerator and denominator"},
	{RateUnknown, "the provider has no rate for this pair of currencies"},
	{LedgerUnknown, "the provider has no wallet on this ledger, or no corridor leads to the deciding ledger"},
	{UnknownAsset, "the ledger lists no such currency"},
	{UnknownProgramme, "the provider does not carry money between these programmes"},
	{AmountZero, "the amount, or the amount that it becomes, is zero"},
	{AmountTooLarge, "the amount, or the amount that it becomes, does not fit 64 bits of minor units"},
	{AmountBelow, "the payee would get less than the provider's minimum"},
	{AmountAbove, "the payee would get more than the provider's maximum"},
	{SizeClassMissing, "no size class of the corridor covers the amount"},
	{InventoryShort, "the provider does not own enough to pay the payee"},
	{ExposureLimit, "the quote would take the provider over its limit of what it has promised and placed"},
	{QuoteOpen, "the payer key has an open quote, or has used one"},
	{QuotesFull, "the provider has as many open quotes as it keeps"},
	{QuoteExpired, "the quote has expired"},
	{QuoteUsed, "the quote was accepted with other content"},
	{QuoteUnknown, "the provider knows no payment under this quote"},
	{QuoteMismatch, "the quote does not answer the request, is not signed by this provider, or its amounts do not follow from the rate it shows"},
	{NoQuote, "none of the quotes can be taken"},
	{PriceTooHigh, "the quote asks more, or gives less, than the payer approved"},
	{ChainMismatch, "the quotes of a chain do not fit one another"},
	{OpeningMismatch, "the opening does not hash to the commitment"},
	{AmountMismatch, "the opening holds another amount, currency or programme than was agreed"},
	{PayeeMismatch, "the opening pays another owner than was agreed"},
	{ConditionMismatch, "the logged hold waits for something else than was agreed"},
	{FollowerMismatch, "the acceptance names other ledgers, or names them in another order, than the quote allows"},
	{ExpiryTooNear, "the deciding hold expires too soon to go on safely"},
	{ExpiryTooFar, "the deciding hold would lock money for longer than was agreed"},
	{DeadlinePassed, "the payment's own deadline has passed: nothing is placed any more"},
	{Cancelled, "the payer gave the payment up before anything was placed"},
	{StepInvalid, "the message does not fit the step at which the payment stands"},
	{PaymentConflict, "a payment with this id exists with other fields"},
	{JournalInvalid, "a journal record is damaged, or does not follow from those before it"},
	{EntryGap, "the entry is not the next one of its log"},
	{BundleInvalid, "the bundle is damaged, or an entry in it is not in the log that its checkpoint speaks of"},
	{BundleOther, "the bundle is of another ledger, or was made for another one"},
	{LogMismatch, "the log signed another root than its entries give"},
	{BeforeWindow, "a relayer's copy of a log does not reach back that far"},
}

// Codes lists every refusal of the bridge with its meaning.
func Codes() []Meaning { return append([]Meaning(nil), meanings...) }

// Refusal is a named reason for which the bridge does not do what it was asked. Detail is for people and never holds a key.
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

// CodeOf returns the code of the bridge's refusal in err's chain, or "".
func CodeOf(err error) Code {
	var r *Refusal
	if errors.As(err, &r) {
		return r.Code
	}
	return ""
}
