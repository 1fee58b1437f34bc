package cli

import (
	"errors"

	"connectrpc.com/connect"
)

// coder is a refusal of the ledger or of the wallet: it names itself.
type coder interface{ RefusalCode() string }

// fromRefusal recognises a refusal made in this process.
func fromRefusal(err error) (Code, string, bool) {
	var c coder
	if !errors.As(err, &c) {
		return 0, "", false
	}
	if c.RefusalCode() == "try_later" {
		return Unavailable, c.RefusalCode(), true
	}
	return Refused, c.RefusalCode(), true
}

// fromConnect maps an error that came over the wire without our own refusal detail.
func fromConnect(err error) (Code, string, bool) {
	var c *connect.Error
	if !errors.As(err, &c) {
		return 0, "", false
	}
	switch c.Code() {
	case connect.CodeUnavailable, connect.CodeDeadlineExceeded, connect.CodeResourceExhausted:
		return Unavailable, "", true
	case connect.CodeInvalidArgument, connect.CodeFailedPrecondition, connect.CodeAlreadyExists, connect.CodePermissionDenied, connect.CodeOutOfRange:
		return Refused, "", true
	}
	return Failure, "", true
}
