package rpc

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"

	"connectrpc.com/connect"
	"go.opentelemetry.io/otel"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// forwardedBy is the header by which a node knows what another node of its ledger forwarded: that is never forwarded again, so that two
// nodes which each believe the other to sequence do not send an entry to and fro. What is said of each entry is in Forwarded messages.
const forwardedBy = "Comity-Forwarded-By"

type (
	forwardedKey struct{} // of the name in the header
	saidKey      struct{} // of the *ledgerv1.Forwarded of one entry, in a context of that entry
)

// Forwarded tells whether the request whose context ctx is was forwarded by another node.
func Forwarded(ctx context.Context) bool {
	by, _ := ctx.Value(forwardedKey{}).(string)
	return by != ""
}

// said is what another node of this ledger says of the entry whose context ctx is. It is nil for whoever is none, whatever it sent.
func said(ctx context.Context) *ledgerv1.Forwarded {
	if c, _ := CallerFrom(ctx); !Forwarded(ctx) || !c.Local && !c.Has(nodes) {
		return nil
	}
	f, _ := ctx.Value(saidKey{}).(*ledgerv1.Forwarded)
	return f
}

// Voucher is what came with the entry whose context ctx is, from another node of this ledger: a code that says that the proofs were checked
// there, for the node to judge. It is nil where nothing came, and for callers that are no nodes.
func Voucher(ctx context.Context) []byte { return said(ctx).GetVoucher() }

// scope names the spans of this package.
const scope = "github.com/comity-ledger/comity/settlement/rpc"

// one makes the context of one entry: of its sender's lane, with its voucher and, where the sender's call is traced, in its trace.
func (h *handlers) one(ctx context.Context, req *ledgerv1.SubmitRequest) (context.Context, func()) {
	f := req.GetForwarded()
	if f == nil {
		return ctx, func() {}
	}
	ctx = context.WithValue(ctx, saidKey{}, f)
	parent := said(ctx).GetTraceParent()
	if parent == "" {
		return ctx, func() {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{"traceparent": parent})
	ctx, span := otel.Tracer(scope).Start(ctx, "ledger.forwarded", trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func() { span.End() }
}

// Sent is an entry that a node forwards.
type Sent struct {
	Entry    []byte
	Segments [][]byte
	// Lane, Voucher and TraceParent are what is said of it, as the Forwarded message has them.
	Lane        string
	Voucher     []byte
	TraceParent string
}

// Judged is the answer to an entry: where it stands or, as Err, the *entry.Refusal of the node that sequences. Any other Err means that
// nothing is known of the entry.
type Judged struct {
	Accepted
	Err error
}

// maxAnswerBytes bounds what a node reads of another's answer to a batch.
const maxAnswerBytes = 4 << 20

// Forward makes a function that hands entries to other nodes of the ledger in the name of the node called name, at most 1024 in one call. The
// answers stand in the order of the entries. An error means that nothing is known of any of them: a refusal among errors is of the call.
func Forward(h *http.Client, name string) func(ctx context.Context, url string, entries []Sent) ([]Judged, error) {
	return func(ctx context.Context, url string, entries []Sent) ([]Judged, error) {
		client := ledgerv1connect.NewLedgerServiceClient(h, strings.TrimSuffix(url, "/"), connect.WithReadMaxBytes(maxAnswerBytes), connect.WithAcceptCompression("gzip", nil, nil))
		req := &ledgerv1.SubmitBatchRequest{Entries: make([]*ledgerv1.SubmitRequest, len(entries))}
		for i, e := range entries {
			req.Entries[i] = &ledgerv1.SubmitRequest{Entry: e.Entry, Segments: e.Segments,
				Forwarded: &ledgerv1.Forwarded{Lane: e.Lane, Voucher: e.Voucher, TraceParent: e.TraceParent}}
		}
		ctx, call := connect.NewClientContext(ctx)
		call.RequestHeader().Set(forwardedBy, name)
		got, err := client.SubmitBatch(ctx, req)
		if err != nil {
			return nil, fromConnect(err)
		}
		if len(got.GetResults()) != len(entries) {
			return nil, fmt.Errorf("rpc: %d answers to %d entries", len(got.GetResults()), len(entries))
		}
		out := make([]Judged, len(entries))
		for i, r := range got.GetResults() {
			out[i] = judged(r)
		}
		return out, nil
	}
}

func judged(r *ledgerv1.SubmitResult) Judged {
	if d := r.GetRefused(); d != nil {
		return Judged{Err: refusalFrom(d)}
	}
	a := r.GetAccepted()
	if len(a.GetId()) != len(entry.ID{}) {
		return Judged{Err: errors.New("rpc: an answer without the entry's id")}
	}
	return Judged{Accepted: Accepted{ID: entry.ID(a.GetId()), EntryIndex: a.GetEntryIndex(), Height: a.GetHeight(),
		Before: a.GetOutcome() == ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE}}
}

// edgeOnly are refusals about the call and not about the entry: of them the entry's owner must not hear, because they are between nodes.
var edgeOnly = map[entry.Code]bool{CodeRoleNotAllowed: true, CodeBodyTimeout: true, CodeNotFound: true}

// refusalFrom gives a refusal of an entry back as it was.
func refusalFrom(d *ledgerv1.ErrorDetail) error {
	if d.GetCode() == "" || edgeOnly[entry.Code(d.GetCode())] {
		return fmt.Errorf("rpc: the other node answers %q: %s", d.GetCode(), d.GetDetail())
	}
	return &entry.Refusal{Code: entry.Code(d.GetCode()), Detail: d.GetDetail()}
}

// fromConnect gives a refusal of a whole call back where it says to come back later, with the time it says; nothing else that a call is
// refused for is an entry's fault.
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
		if detail, ok := value.(*ledgerv1.ErrorDetail); ok && entry.Code(detail.GetCode()) == entry.TryLater {
			return &entry.Refusal{Code: entry.TryLater, Detail: detail.GetDetail()}
		}
	}
	return err
}
