package rpc

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"connectrpc.com/connect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// forwardedBy is the header by which a node knows what another node of its ledger forwarded: that is never forwarded again, so that two
// nodes which each believe the other to sequence do not send an entry to and fro.
const forwardedBy = "Comity-Forwarded-By"

// forwardedFor is the header that names the lane of the caller who sent a forwarded entry first. It is believed of other nodes alone.
const forwardedFor = "Comity-Forwarded-For"

type (
	forwardedKey    struct{}
	forwardedForKey struct{}
)

// Forwarded tells whether the request whose context ctx is was forwarded by another node.
func Forwarded(ctx context.Context) bool {
	by, _ := ctx.Value(forwardedKey{}).(string)
	return by != ""
}

// Forward makes a function that hands entries to other nodes of the ledger in the name of the node called name. Its errors are the
// *entry.Refusal of the node that sequences, or mean that nothing is known of the entry.
func Forward(h *http.Client, name string) func(ctx context.Context, url string, leaf []byte, segments [][]byte) (Accepted, error) {
	return func(ctx context.Context, url string, leaf []byte, segments [][]byte) (Accepted, error) {
		client := ledgerv1connect.NewLedgerServiceClient(h, strings.TrimSuffix(url, "/"), connect.WithReadMaxBytes(maxSmallBytes), connect.WithAcceptCompression("gzip", nil, nil))
		lane := Lane(ctx)
		ctx, call := connect.NewClientContext(ctx)
		call.RequestHeader().Set(forwardedBy, name)
		call.RequestHeader().Set(forwardedFor, lane)
		got, err := client.Submit(ctx, &ledgerv1.SubmitRequest{Entry: leaf, Segments: segments})
		if err != nil {
			return Accepted{}, fromConnect(err)
		}
		if len(got.GetId()) != len(entry.ID{}) {
			return Accepted{}, errors.New("rpc: an answer without the entry's id")
		}
		return Accepted{ID: entry.ID(got.GetId()), EntryIndex: got.GetEntryIndex(), Height: got.GetHeight(),
			Before: got.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE}, nil
	}
}

// edgeOnly are refusals about the call and not about the entry: of them the entry's owner must not hear, because they are between nodes.
var edgeOnly = map[entry.Code]bool{CodeRoleNotAllowed: true, CodeBodyTimeout: true, CodeNotFound: true}

// fromConnect gives a refusal of an entry back as it was.
func fromConnect(err error) error {
	var wire *connect.Error
	if !errors.As(err, &wire) {
		return err
	}
	for _, d := range wire.Details() {
		value, failed := d.Value()
		if failed != nil {
			continue
		}
		if detail, ok := value.(*ledgerv1.ErrorDetail); ok && detail.GetCode() != "" && !edgeOnly[entry.Code(detail.GetCode())] {
			return &entry.Refusal{Code: entry.Code(detail.GetCode()), Detail: detail.GetDetail()}
		}
	}
	return err
}
