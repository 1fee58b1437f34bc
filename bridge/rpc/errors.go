package rpc

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/proto/doors"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/schema"
	"github.com/comity-ledger/comity/settlement/entry"
)

// Refusals of the edge itself. Those about a message are in package bridge.
const (
	// RoleNotAllowed: the caller's connection gives it no role that may call the method.
	RoleNotAllowed = "role_not_allowed"
	// BodyTimeout: the request did not arrive in the time allowed.
	BodyTimeout = "body_timeout"
	// Oversize: the request, or a message in it, has more bytes than are read.
	Oversize = "oversize"
	// Malformed: the request ended early, or a field breaks a rule of the schema.
	Malformed = "malformed"
	// TryLater: not now; send the same bytes again.
	TryLater = "try_later"
	// NotLoopback: the address is not on this machine.
	NotLoopback = "not_loopback"
)

// certificateRefusals are those of package doors that a request may meet, after the handshake.
var certificateRefusals = []doors.Code{doors.CertificateRequired, doors.CertificateExpired, doors.CertificateUnknownAuthority, doors.CertificateInvalid,
	doors.CertificateOtherLedger}

// Refusal is a named reason for which a call was not answered, as the edge gives it and as the client receives it.
type Refusal struct {
	Code   string
	Detail string
}

// Error gives "code: detail".
func (r *Refusal) Error() string {
	if r.Detail == "" {
		return r.Code
	}
	return r.Code + ": " + r.Detail
}

// RefusalCode names the refusal for callers that map errors to exit codes.
func (r *Refusal) RefusalCode() string { return r.Code }

func refusef(code, format string, args ...any) error {
	return &Refusal{code, fmt.Sprintf(format, args...)}
}

// CodeOf returns the code of the refusal in err's chain, or "".
func CodeOf(err error) string {
	if n := named(nil); errors.As(err, &n) {
		return n.RefusalCode()
	}
	return string(entry.CodeOf(err))
}

// named is what a refusal of the bridge, of a wallet or of this package answers to.
type named interface {
	error
	RefusalCode() string
}

// toConnect is the one place where an error becomes an answer. A refusal keeps its name in an ErrorDetail; anything else is our own fault,
// of which the caller learns nothing but that.
func toConnect(err error) *connect.Error {
	var n named
	var ledgers *entry.Refusal // such as corridor_cap: the provider's hold was refused by its ledger
	switch {
	case errors.As(err, &n):
	case errors.As(err, &ledgers):
		n = &Refusal{string(ledgers.Code), ledgers.Detail}
	case errors.Is(err, context.Canceled):
		return connect.NewError(connect.CodeCanceled, errors.New("the call was cancelled"))
	case errors.Is(err, context.DeadlineExceeded):
		n = &Refusal{TryLater, "the call took too long; what it began goes on, send the same bytes again"}
	default:
		return connect.NewError(connect.CodeInternal, errors.New("internal error"))
	}
	code := connect.CodeFailedPrecondition
	switch n.RefusalCode() {
	case TryLater:
		code = connect.CodeUnavailable
	case BodyTimeout:
		code = connect.CodeDeadlineExceeded
	case RoleNotAllowed:
		code = connect.CodePermissionDenied
	case Malformed, Oversize, schema.BatchTooLong, "non_canonical":
		code = connect.CodeInvalidArgument
	}
	if slices.Contains(certificateRefusals, doors.Code(n.RefusalCode())) {
		code = connect.CodePermissionDenied
	}
	wire := connect.NewError(code, errors.New(n.Error()))
	if detail, err := connect.NewErrorDetail(&ledgerv1.ErrorDetail{Code: n.RefusalCode(), Detail: strings.ToValidUTF8(n.Error(), "\uFFFD")}); err == nil {
		wire.AddDetail(detail)
	}
	return wire
}
