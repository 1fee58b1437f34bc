package cli

import (
	"errors"
	"fmt"

	"connectrpc.com/connect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/settlement/entry"
)

// named is an error that names itself as a refusal, such as a wallet's.
type named interface{ RefusalCode() string }

// fromRefusal recognises a refusal made in this process, by the ledger's rules or by a wallet's.
func fromRefusal(err error) (Code, string, bool) {
	name := string(entry.CodeOf(err))
	if n := named(nil); name == "" && errors.As(err, &n) {
		name = n.RefusalCode()
	}
	if name == "" {
		return 0, "", false
	}
	return codeOfName(name), name, true
}

func codeOfName(name string) Code {
	if name == string(entry.TryLater) {
		return Unavailable
	}
	return Refused
}

// fromConnect maps an error that came over the wire: a refusal has its name in an ErrorDetail, anything else is sorted by code.
func fromConnect(err error) (Code, string, bool) {
	var wire *connect.Error
	if !errors.As(err, &wire) {
		return 0, "", false
	}
	if detail := detailOf(wire); detail != nil {
		return codeOfName(detail.GetCode()), detail.GetCode(), true
	}
	if !connect.IsWireError(err) { // made here: the connection broke, perhaps because a process at the other end died
		switch wire.Code() {
		case connect.CodeCanceled, connect.CodeUnknown, connect.CodeInternal, connect.CodeAborted:
			return Unavailable, "", true
		}
	}
	switch wire.Code() {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
		return Unavailable, "", true
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeAlreadyExists, connect.CodePermissionDenied, connect.CodeOutOfRange, connect.CodeNotFound:
		return Refused, "", true
	}
	return Failure, "", true
}

func detailOf(wire *connect.Error) *ledgerv1.ErrorDetail {
	for _, d := range wire.Details() {
		if m, err := d.Value(); err == nil {
			if detail, ok := m.(*ledgerv1.ErrorDetail); ok && detail.GetCode() != "" {
				return detail
			}
		}
	}
	return nil
}

// Answer turns an error of a call into the refusal that it carries, and says what was attempted. A call that carries none keeps its error.
func Answer(doing string, err error) error {
	if err == nil {
		return nil
	}
	var wire *connect.Error
	if errors.As(err, &wire) {
		if detail := detailOf(wire); detail != nil {
			return fmt.Errorf("%s: %w", doing, &entry.Refusal{Code: entry.Code(detail.GetCode()), Detail: detail.GetDetail()})
		}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
