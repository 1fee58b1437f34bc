package rpc

import (
	"context"
	"errors"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/proto/doors"
	"github.com/comity-ledger/comity/proto/doors/callers"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/schema"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Refusals of the edge itself. Those about an entry are in settlement/entry.
const (
	// CodeRoleNotAllowed: the caller's connection gives it no role that may call the method.
	CodeRoleNotAllowed entry.Code = "role_not_allowed"
	// CodeBodyTimeout: the request did not arrive in the time allowed.
	CodeBodyTimeout entry.Code = "body_timeout"
	// CodeBatchTooLong: a list in the request has more members than the method takes.
	CodeBatchTooLong entry.Code = "batch_too_long"
	// CodeNotFound: the ledger holds no such entry.
	CodeNotFound entry.Code = "not_found"
)

// certificateRefusals are those of package doors that a request may meet, after the handshake.
var certificateRefusals = []entry.Code{
	entry.Code(doors.CertificateRequired), entry.Code(doors.CertificateExpired), entry.Code(doors.CertificateUnknownAuthority),
	entry.Code(doors.CertificateOtherLedger), entry.Code(doors.CertificateInvalid),
}

// toConnect is the one place where an error becomes an answer. A refusal keeps its name in an ErrorDetail; a cancelled or late
// call says so; anything else is our own fault, of which the caller learns nothing but that.
func toConnect(err error) *connect.Error {
	var wire *connect.Error
	if errors.As(err, &wire) {
		return wire
	}
	r := refusalOf(err)
	switch {
	case r != nil:
	case errors.Is(err, settlement.ErrNotFound):
		r = &entry.Refusal{Code: CodeNotFound, Detail: "the ledger holds no such entry or block"}
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the call was cancelled"))
	case errors.Is(err, context.DeadlineExceeded):
		return connect.NewError(connect.CodeDeadlineExceeded, errors.New("the call took too long"))
	default:
		return connect.NewError(connect.CodeInternal, errors.New("internal error"))
	}
	wire = connect.NewError(connectCode(r.Code), errors.New(r.Error()))
	if detail, err := connect.NewErrorDetail(errorDetail(r)); err == nil {
		wire.AddDetail(detail)
	}
	return wire
}

// refusalOf gives the refusal in err's chain, or nil.
func refusalOf(err error) *entry.Refusal {
	var r *entry.Refusal
	var broken *schema.Violation
	var busy *callers.Busy
	switch {
	case errors.As(err, &r):
		return r
	case errors.As(err, &broken):
		return &entry.Refusal{Code: entry.Code(broken.Code), Detail: broken.Detail()}
	case errors.As(err, &busy):
		return &entry.Refusal{Code: entry.TryLater, Detail: busy.Detail}
	}
	return nil
}

// errorDetail is valid UTF-8 whatever the refusal quotes: protobuf takes no other text, and one such detail would fail a whole batch.
func errorDetail(r *entry.Refusal) *ledgerv1.ErrorDetail {
	const unreadable = "\uFFFD"
	return &ledgerv1.ErrorDetail{Code: strings.ToValidUTF8(string(r.Code), unreadable), Detail: strings.ToValidUTF8(r.Detail, unreadable)}
}

// connectCode sorts refusals into what a generic client can act on: correct the bytes, ask somebody else, come back later, or
// look at the ledger's state first.
func connectCode(code entry.Code) connect.Code {
	if slices.Contains(certificateRefusals, code) {
		return connect.CodePermissionDenied
	}
	switch code {
	case entry.TryLater:
		return connect.CodeUnavailable
	case CodeNotFound:
		return connect.CodeNotFound
	case CodeBodyTimeout:
		return connect.CodeDeadlineExceeded
	case CodeRoleNotAllowed, entry.SignaturesMissing, entry.SignatureInvalid, entry.SignerUnknown, entry.SignerRepeated,
		entry.AttestorUnknown, entry.AttestationInvalid, entry.OverrideInvalid:
		return connect.CodePermissionDenied
	case entry.Malformed, entry.Oversize, CodeBatchTooLong, entry.NonCanonical, entry.UnsupportedVersion, entry.UnknownKind, entry.KindMismatch,
		entry.SegmentMismatch, entry.RightsInvalid, entry.OwnerRepeated, entry.AmountZero, entry.IssueAndRedeem,
		entry.ReaderKeyInvalid, entry.OversightKeyInvalid, entry.GenesisInvalid, entry.ProposalInvalid,
		entry.ConditionInvalid, entry.OutcomeInvalid, entry.CorridorInvalid, entry.PeerProofInvalid, entry.PeerCheckpointInvalid, entry.RotationInvalid,
		entry.EvidenceInvalid:
		return connect.CodeInvalidArgument
	}
	return connect.CodeFailedPrecondition
}
