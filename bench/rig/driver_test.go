package rig

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"connectrpc.com/connect"

	"github.com/comity-ledger/comity/bench/dataset"
	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	"github.com/comity-ledger/comity/settlement/entry"
)

// scripted is a ledger that answers as a test says.
type scripted struct {
	ledgerv1connect.LedgerServiceClient
	answer func(leaf string) (*ledgerv1.SubmitResult, error)

	mu    sync.Mutex // guards seen
	seen  []string
	final uint64
}

func (s *scripted) SubmitBatch(_ context.Context, r *ledgerv1.SubmitBatchRequest) (*ledgerv1.SubmitBatchResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := &ledgerv1.SubmitBatchResponse{}
	for _, e := range r.GetEntries() {
		s.seen = append(s.seen, string(e.GetEntry()))
		a, err := s.answer(string(e.GetEntry()))
		if err != nil {
			return nil, err
		}
		out.Results = append(out.Results, a)
	}
	return out, nil
}

func (s *scripted) GetStatus(context.Context, *ledgerv1.GetStatusRequest) (*ledgerv1.GetStatusResponse, error) {
	return &ledgerv1.GetStatusResponse{FinalSize: s.final}, nil
}

func accepted(index uint64) *ledgerv1.SubmitResult {
	return &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Accepted{Accepted: &ledgerv1.SubmitResponse{EntryIndex: index}}}
}

func refused(code entry.Code, detail string) *ledgerv1.SubmitResult {
	return &ledgerv1.SubmitResult{Result: &ledgerv1.SubmitResult_Refused{Refused: &ledgerv1.ErrorDetail{Code: string(code), Detail: detail}}}
}

func items(n int) (out []dataset.Item) {
	for i := range n {
		out = append(out, dataset.Item{Class: dataset.SimulatedTransfer, Entry: []byte(fmt.Sprint(i))})
	}
	return out
}

func driverOf(s *scripted) *Driver {
	return &Driver{[]ledgerv1connect.LedgerServiceClient{s}, s}
}

func TestWhatIsPutOffIsSentAgainWhenItsHintSays(t *testing.T) {
	first := map[string]time.Time{}
	var waits []time.Duration
	s := &scripted{final: 100}
	s.answer = func(leaf string) (*ledgerv1.SubmitResult, error) {
		if began, again := first[leaf]; again {
			waits = append(waits, time.Since(began))
			return accepted(7), nil
		}
		first[leaf] = time.Now()
		return refused(entry.TryLater, "8192 entries of 9 bytes are waiting; try again in 70ms"), nil
	}
	o, err := driverOf(s).Run(t.Context(), items(5), Plan{Workers: 2, Batch: 2})
	if err != nil {
		t.Fatal(err)
	}
	if o.Accepted() != 5 || o.Again != 5 || len(o.Hints) != 5 || o.Hints[0] != 70*time.Millisecond || len(o.Settled) != 5 || len(o.Final) != 5 {
		t.Errorf("%+v", o)
	}
	if slices.Min(waits) < 70*time.Millisecond {
		t.Errorf("sent again after %v", waits)
	}
	if o.Durable[0] < 70*time.Millisecond || o.DurableFromGo[0] > o.Durable[0] {
		t.Errorf("durable after %v, %v from the sending that was accepted", o.Durable, o.DurableFromGo)
	}
}

func TestACallThatIsPutOffWholeIsSentAgain(t *testing.T) {
	calls := 0
	s := &scripted{final: 100, answer: func(string) (*ledgerv1.SubmitResult, error) {
		if calls++; calls == 1 {
			return nil, connect.NewError(connect.CodeUnavailable, fmt.Errorf("try_later: too many requests of this caller; try again in 10ms"))
		}
		return accepted(1), nil
	}}
	o, err := driverOf(s).Run(t.Context(), items(3), Plan{Workers: 1, Batch: 3})
	if err != nil || o.Accepted() != 3 || o.Again != 3 || o.Hints[2] != 10*time.Millisecond {
		t.Errorf("%+v, %v", o, err)
	}
}

func TestAnOpenLoopSendsWhenItIsDue(t *testing.T) {
	s := &scripted{final: 100, answer: func(string) (*ledgerv1.SubmitResult, error) { return accepted(1), nil }}
	o, err := driverOf(s).Run(t.Context(), items(20), Plan{Workers: 4, Batch: 8, Rate: 200})
	if err != nil || o.Accepted() != 20 {
		t.Fatalf("%+v, %v", o, err)
	}
	if o.Elapsed < 95*time.Millisecond { // the last of 20 is due 95 ms after the first
		t.Errorf("all sent in %v", o.Elapsed)
	}
	if want := []string{"0", "1", "2"}; !slices.Equal(s.seen[:3], want) {
		t.Errorf("sent %v", s.seen)
	}
}

func TestRefusalsAndFailuresAreTold(t *testing.T) {
	s := &scripted{final: 100, answer: func(leaf string) (*ledgerv1.SubmitResult, error) {
		if leaf == "1" {
			return refused(entry.ProofInvalid, "no"), nil
		}
		return accepted(2), nil
	}}
	o, err := driverOf(s).Run(t.Context(), items(3), Plan{Workers: 1, Batch: 1})
	if err != nil || o.Refused(entry.ProofInvalid) != 1 || o.Accepted() != 2 || o.Payments() != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	s.answer = func(string) (*ledgerv1.SubmitResult, error) {
		return nil, connect.NewError(connect.CodeInternal, fmt.Errorf("broken"))
	}
	if _, err := driverOf(s).Run(t.Context(), items(3), Plan{Workers: 1, Batch: 1}); err == nil {
		t.Error("a call that failed was not told")
	}
}
