package rpc

import (
	"context"

	"github.com/comity-ledger/comity/proto/doors/callers"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
)

// nodes are the roles of a node of this ledger.
var nodes = []optionsv1.Role{optionsv1.Role_ROLE_OPERATOR}

// eachCaller are the limits of one caller with a certificate.
func eachCaller(l Limits) callers.Limits {
	return callers.Limits{Requests: l.CallerRequests, Bytes: l.CallerBytes, LargestRequest: maxBatchBytes, Calls: l.CallerCalls, Streams: l.CallerStreams}
}

// Lane names the queue that a request's submissions wait in: its caller's, by the name of the certificate. Callers on this machine without one share
// the lane "". What another node forwarded waits in the lane of whoever sent it there.
func Lane(ctx context.Context) string {
	if f := said(ctx); f != nil {
		return f.GetLane()
	}
	c, ok := CallerFrom(ctx)
	if !ok || c.Local {
		return ""
	}
	return c.Name
}
