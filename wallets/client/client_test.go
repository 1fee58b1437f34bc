package client

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/proto/doors"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// fake answers what a test puts into it.
type fake struct {
	ledgerv1connect.UnimplementedLedgerServiceHandler
	blocks   uint64
	breakAt  map[uint64]bool // break the stream once before these heights
	down     int             // answer "unavailable" so many times
	genesis  *ledgerv1.GetGenesisResponse
	asked    []uint64 // heights that streams began at
	receipts []*ledgerv1.GetReceiptRequest
}

func (f *fake) away() error {
	if f.down > 0 {
		f.down--
		return connect.NewError(connect.CodeUnavailable, errors.New("starting"))
	}
	return nil
}

func (f *fake) GetGenesis(context.Context, *ledgerv1.GetGenesisRequest) (*ledgerv1.GetGenesisResponse, error) {
	return f.genesis, nil
}

func (f *fake) GetStatus(context.Context, *ledgerv1.GetStatusRequest) (*ledgerv1.GetStatusResponse, error) {
	if err := f.away(); err != nil {
		return nil, err
	}
	return &ledgerv1.GetStatusResponse{Height: 7, Size: 20}, nil
}

func (f *fake) StreamBlocks(_ context.Context, r *ledgerv1.StreamBlocksRequest, s *connect.ServerStream[ledgerv1.StreamBlocksResponse]) error {
	f.asked = append(f.asked, r.GetFromHeight())
	if !r.GetStopAtHead() && !r.GetOmitSegments() {
		return connect.NewError(connect.CodeInvalidArgument, errors.New("would wait for ever"))
	}
	for h := r.GetFromHeight(); h < f.blocks; h++ {
		if f.breakAt[h] {
			delete(f.breakAt, h)
			return connect.NewError(connect.CodeUnavailable, errors.New("connection lost"))
		}
		block := &ledgerv1.Block{Height: h, TimeMillis: h, FirstIndex: 2 * h, Entries: [][]byte{{1}, {2}}}
		if !r.GetOmitSegments() {
			block.Segments = [][]byte{{3}}
		}
		if err := s.Send(&ledgerv1.StreamBlocksResponse{Block: block}); err != nil {
			return err
		}
	}
	return nil
}

func refusal(code entry.Code) *connect.Error {
	err := connect.NewError(connect.CodeFailedPrecondition, errors.New("refused"))
	d, _ := connect.NewErrorDetail(&ledgerv1.ErrorDetail{Code: string(code), Detail: "because"})
	err.AddDetail(d)
	return err
}

func (f *fake) Submit(_ context.Context, r *ledgerv1.SubmitRequest) (*ledgerv1.SubmitResponse, error) {
	switch string(r.GetEntry()) {
	case "again":
		return &ledgerv1.SubmitResponse{Outcome: ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE, EntryIndex: 5, Height: 2}, nil
	case "spent":
		return nil, refusal(entry.NullifierSpent)
	case "down":
		return nil, connect.NewError(connect.CodeUnavailable, errors.New("down"))
	}
	return &ledgerv1.SubmitResponse{Outcome: ledgerv1.Outcome_OUTCOME_ACCEPTED, EntryIndex: 9, Height: 3}, nil
}

func (f *fake) SubmitBatch(_ context.Context, r *ledgerv1.SubmitBatchRequest) (*ledgerv1.SubmitBatchResponse, error) {
	out := &ledgerv1.SubmitBatchResponse{}
	for _, e := range r.GetEntries() {
		if string(e.GetEntry()) == "spent" {
			out.Results = append(out.Results, &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Refused{Refused: &ledgerv1.ErrorDetail{Code: "nullifier_spent"}}})
			continue
		}
		out.Results = append(out.Results, &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Accepted{Accepted: &ledgerv1.SubmitResponse{EntryIndex: 1}}})
	}
	if len(r.GetEntries()) == 3 { // an answer that is too short
		out.Results = out.Results[:1]
	}
	return out, nil
}

func (f *fake) GetReceipt(_ context.Context, r *ledgerv1.GetReceiptRequest) (*ledgerv1.GetReceiptResponse, error) {
	f.receipts = append(f.receipts, r)
	return &ledgerv1.GetReceiptResponse{Receipt: []byte("receipt")}, nil
}

func serve(t *testing.T, f ledgerv1connect.LedgerServiceHandler) *Client {
	t.Helper()
	mux := http.NewServeMux()
	mux.Handle(ledgerv1connect.NewLedgerServiceHandler(f))
	s := httptest.NewServer(mux)
	t.Cleanup(s.Close)
	c, err := New(s.URL)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOnlyLoopbackIsDialled(t *testing.T) {
	for _, bad := range []string{"http://192.0.2.1:7001", "http://example.org:1", "http://0.0.0.0:1", "http://[2001:db8::1]:1"} {
		if _, err := New(bad); doors.CodeOf(err) != doors.NotLoopback {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{"https://127.0.0.1:1", "127.0.0.1:1", "http://a:b@127.0.0.1:1", "http://127.0.0.1:1/?x", ""} {
		if _, err := New(bad); err == nil {
			t.Errorf("%s is accepted", bad)
		}
	}
}

func TestABrokenStreamGoesOnWhereItStopped(t *testing.T) {
	f := &fake{blocks: 10, breakAt: map[uint64]bool{3: true, 4: true, 9: true}}
	c := serve(t, f)
	next := uint64(1)
	for b, err := range c.Blocks(t.Context(), 1) {
		if err != nil {
			t.Fatal(err)
		}
		if b.Height != next || b.FirstIndex != 2*next || len(b.Entries) != 2 || len(b.Segments) != 1 {
			t.Fatalf("%+v, want block %d", b, next)
		}
		next++
	}
	if next != 10 || len(f.asked) != 4 {
		t.Fatalf("read up to %d with streams from %v", next, f.asked)
	}
	f.breakAt[4] = true
	for b, err := range c.Entries(t.Context(), 3) {
		if err != nil || len(b.Entries) != 2 || len(b.Segments) != 0 {
			t.Fatalf("%+v, %v", b, err)
		}
	}
	for b := range c.Blocks(t.Context(), 0) {
		if b.Height == 2 {
			break // a consumer that has enough ends the stream
		}
	}
}

// Who wants leaves alone is not sent the segments, and hears of a broken stream at once.
func TestLeavesAreReadWithoutSegments(t *testing.T) {
	f := &fake{blocks: 5, breakAt: map[uint64]bool{4: true}}
	c := serve(t, f)
	for _, follow := range []bool{true, false} {
		next, broken := uint64(1), error(nil)
		for b, err := range c.Leaves(t.Context(), 1, follow) {
			if err != nil {
				broken = err
				break
			}
			if b.Height != next || len(b.Entries) != 2 || len(b.Segments) != 0 {
				t.Fatalf("%+v, want block %d", b, next)
			}
			next++
		}
		if follow && (next != 4 || connect.CodeOf(broken) != connect.CodeUnavailable) || !follow && (next != 5 || broken != nil) {
			t.Errorf("follow %t: up to block %d, %v", follow, next, broken)
		}
	}
}

func TestReadsAreRepeatedAndSubmissionsAreNot(t *testing.T) {
	f := &fake{down: 2}
	c := serve(t, f)
	if h, size, err := c.Head(t.Context()); err != nil || h != 7 || size != 20 {
		t.Fatalf("%d %d %v", h, size, err)
	}
	if _, err := c.Submit(t.Context(), []byte("down"), nil); err == nil || entry.CodeOf(err) != "" || connect.CodeOf(err) != connect.CodeUnavailable {
		t.Fatalf("%v", err)
	}
}

func TestRefusalsKeepTheirNames(t *testing.T) {
	c := serve(t, &fake{})
	if _, err := c.Submit(t.Context(), []byte("spent"), nil); entry.CodeOf(err) != entry.NullifierSpent {
		t.Fatalf("%v", err)
	}
	if a, err := c.Submit(t.Context(), []byte("again"), nil); err != nil || !a.Before || a.EntryIndex != 5 || a.Height != 2 {
		t.Fatalf("%+v %v", a, err)
	}
	if a, err := c.Submit(t.Context(), []byte("new"), nil); err != nil || a.Before {
		t.Fatalf("%+v %v", a, err)
	}
	got, err := c.SubmitBatch(t.Context(), []BatchItem{{Entry: []byte("new")}, {Entry: []byte("spent")}})
	if err != nil || got[0].Err != nil || got[0].Accepted.EntryIndex != 1 || entry.CodeOf(got[1].Err) != entry.NullifierSpent {
		t.Fatalf("%+v %v", got, err)
	}
	if _, err := c.SubmitBatch(t.Context(), make([]BatchItem, 3)); err == nil {
		t.Fatal("an answer that is too short was accepted")
	}
}

func TestAGenesisThatIsNotItsHashIsALie(t *testing.T) {
	for name, g := range map[string]*ledgerv1.GetGenesisResponse{"garbage": {Genesis: []byte{1, 1}, Hash: make([]byte, 32)}, "nothing": {}} {
		if _, _, err := serve(t, &fake{genesis: g}).Genesis(t.Context()); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func TestReceiptsWaitNoLongerThanTheLedgerAllows(t *testing.T) {
	f := &fake{}
	c := serve(t, f)
	for _, wait := range []time.Duration{0, time.Second, time.Hour} {
		if b, err := c.Receipt(t.Context(), 3, wait); err != nil || string(b) != "receipt" {
			t.Fatalf("%q %v", b, err)
		}
	}
	for i, want := range []uint32{1, 1000, 30000} {
		if got := f.receipts[i]; got.GetWaitMillis() != want || got.GetEntryIndex() != 3 {
			t.Errorf("%v", got)
		}
	}
}
