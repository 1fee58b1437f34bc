package rpc

import (
	"bytes"
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"connectrpc.com/connect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
)

// pathOf takes the hashes of an answer.
func pathOf(t *testing.T, hashes [][]byte) []proof.Hash {
	t.Helper()
	out := make([]proof.Hash, len(hashes))
	for i, h := range hashes {
		if len(h) != 32 {
			t.Fatalf("a hash of %d bytes", len(h))
		}
		out[i] = proof.Hash(h)
	}
	return out
}

func TestProofsAreForAnySizeUpToTheHead(t *testing.T) {
	h := start(t, Limits{})
	for i := range 20 {
		h.ledger.add(fmt.Appendf(nil, "entry %d", i), []byte("state"))
	}
	c := h.clients()["grpc"]
	size := h.ledger.size()
	head := func(size uint64) proof.Head {
		root, err := proof.RootAt(size, journal.HashReader(t.Context(), h.ledger))
		if err != nil {
			t.Fatal(err)
		}
		return proof.Head{Size: size, Root: root}
	}
	for at := uint64(1); at <= size; at++ {
		for _, index := range []uint64{0, at / 2, at - 1} {
			got, err := c.GetInclusion(t.Context(), &ledgerv1.GetInclusionRequest{EntryIndex: index, Size: at})
			if err != nil {
				t.Fatal(err)
			}
			leaf, err := c.GetEntry(t.Context(), &ledgerv1.GetEntryRequest{EntryIndex: index})
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyInclusion(head(at), index, proof.LeafHash(leaf.GetEntry()), pathOf(t, got.GetPath())); err != nil {
				t.Fatal(err)
			}
		}
		got, err := c.GetConsistency(t.Context(), &ledgerv1.GetConsistencyRequest{OldSize: at, NewSize: size})
		if err != nil {
			t.Fatal(err)
		}
		if err := proof.VerifyConsistency(head(at), head(size), pathOf(t, got.GetPath())); err != nil {
			t.Fatal(err)
		}
	}
}

func TestProofsOfNothingAreRefusedByName(t *testing.T) {
	h := start(t, Limits{})
	c := h.clients()["connect json"]
	const far = 1<<63 - 1 // what the schema lets pass
	for name, tc := range map[string]struct {
		err  func() error
		want string
	}{
		"entry past the head": {func() error { _, err := c.GetEntry(t.Context(), &ledgerv1.GetEntryRequest{EntryIndex: 2}); return err }, "not_found"},
		"entry far past the head": {func() error {
			_, err := c.GetEntry(t.Context(), &ledgerv1.GetEntryRequest{EntryIndex: far})
			return err
		}, "not_found"},
		"inclusion in an empty log": {func() error { _, err := c.GetInclusion(t.Context(), &ledgerv1.GetInclusionRequest{}); return err }, "malformed"},
		"inclusion at its own size": {func() error {
			_, err := c.GetInclusion(t.Context(), &ledgerv1.GetInclusionRequest{EntryIndex: 1, Size: 1})
			return err
		}, "malformed"},
		"inclusion past the head": {func() error {
			_, err := c.GetInclusion(t.Context(), &ledgerv1.GetInclusionRequest{EntryIndex: 1, Size: 3})
			return err
		}, "not_found"},
		"inclusion in more than a log can hold": {func() error {
			_, err := c.GetInclusion(t.Context(), &ledgerv1.GetInclusionRequest{EntryIndex: 1, Size: far})
			return err
		}, "not_found"},
		"consistency backwards": {func() error {
			_, err := c.GetConsistency(t.Context(), &ledgerv1.GetConsistencyRequest{OldSize: 2, NewSize: 1})
			return err
		}, "malformed"},
		"consistency past the head": {func() error {
			_, err := c.GetConsistency(t.Context(), &ledgerv1.GetConsistencyRequest{OldSize: 2, NewSize: far})
			return err
		}, "not_found"},
		"receipt of a key that is none": {func() error {
			_, err := c.GetReceipt(t.Context(), &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Key{Key: []byte{1}}})
			return err
		}, "malformed"},
		"receipt of a key that is no field element": {func() error {
			_, err := c.GetReceipt(t.Context(), &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Key{Key: bytes.Repeat([]byte{0xff}, 32)}})
			return err
		}, "non_canonical"},
		"a witness that genesis does not name": {func() error {
			_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{Names: []string{"w1"}}, {Names: []string{"w9"}}}})
			return err
		}, "malformed"},
		"nobody": {func() error {
			_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{}}})
			return err
		}, "malformed"},
		"one witness twice": {func() error {
			_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{Names: []string{"w1", "w1"}, AtLeast: 2}}})
			return err
		}, "malformed"},
		"more than there are": {func() error {
			_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{Names: []string{"w1"}, AtLeast: 1<<32 - 1}}})
			return err
		}, "malformed"},
		"too many witnesses": {func() error {
			_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{Names: slices.Repeat([]string{"w1"}, 33)}}})
			return err
		}, "batch_too_long"},
		"too many sets": {func() error {
			_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: slices.Repeat([]*ledgerv1.WitnessSet{{Names: []string{"w1"}}}, 9)})
			return err
		}, "batch_too_long"},
	} {
		if err := tc.err(); detail(err) != tc.want {
			t.Errorf("%s: %v, want %s", name, err, tc.want)
		}
	}
	if got, err := c.GetConsistency(t.Context(), &ledgerv1.GetConsistencyRequest{OldSize: 0, NewSize: 2}); err != nil || len(got.GetPath()) != 0 {
		t.Errorf("consistency with the empty log: %v, %v", got, err)
	}
}

func TestCheckpointIsWaitedForWithoutPolling(t *testing.T) {
	h := start(t, Limits{})
	h.ledger.finish(2)
	c := h.clients()["grpc"]
	if got, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{MinSize: 2, Witnesses: []*ledgerv1.WitnessSet{{Names: []string{"w9", "w1"}}}}); err != nil ||
		string(got.GetCheckpoint()) != "checkpoint 2 waited for" || got.GetSize() != 2 || string(got.GetLatest()) != "latest" {
		t.Fatalf("%v, %v", got, err)
	}
	if _, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{MinSize: 3, WaitMillis: 20}); detail(err) != "try_later" {
		t.Fatalf("a checkpoint that does not come: %v", err)
	}
	answer := make(chan error, 1)
	go func() {
		got, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{MinSize: 3})
		if err == nil && got.GetSize() != 4 {
			err = fmt.Errorf("%v", got)
		}
		answer <- err
	}()
	time.Sleep(20 * time.Millisecond)
	h.ledger.finish(4)
	if err := <-answer; err != nil {
		t.Fatal(err)
	}
	go func() {
		_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{MinSize: 5})
		answer <- err
	}()
	time.Sleep(20 * time.Millisecond)
	began := time.Now()
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; detail(err) != "try_later" || time.Since(began) > 5*time.Second {
		t.Fatalf("%v after the node stopped: %v", time.Since(began), err)
	}
}

// TestPeerSubmitsOnlyWhatRelays: the fake ledger accepts or refuses by its own lights, so role_not_allowed comes from the edge.
func TestPeerSubmitsOnlyWhatRelays(t *testing.T) {
	h := newHandlers(start(t, Limits{}).server, compiled(t))
	as := func(r optionsv1.Role) context.Context {
		return context.WithValue(t.Context(), callerKey{}, Caller{Name: "test", Roles: []optionsv1.Role{r}})
	}
	for kind := entry.KindGenesis; kind <= entry.KindOverride; kind++ {
		leaf := []byte{entry.Version, byte(kind)}
		_, err := h.Submit(as(optionsv1.Role_ROLE_PEER), &ledgerv1.SubmitRequest{Entry: leaf})
		relays := slices.Contains([]string{"resolve", "attest", "amend", "observe", "evidence"}, kind.String())
		if refused := detail(err) == "role_not_allowed"; refused == relays {
			t.Errorf("a peer submits %s: %v", kind, err)
		}
		batch, err := h.SubmitBatch(as(optionsv1.Role_ROLE_PEER), &ledgerv1.SubmitBatchRequest{Entries: []*ledgerv1.SubmitRequest{{Entry: leaf}}})
		if err != nil || (batch.GetResults()[0].GetRefused().GetCode() == "role_not_allowed") == relays {
			t.Errorf("a peer submits a batch of %s: %v, %v", kind, batch, err)
		}
		if _, err := h.Submit(as(optionsv1.Role_ROLE_BANK), &ledgerv1.SubmitRequest{Entry: leaf}); detail(err) == "role_not_allowed" {
			t.Errorf("a bank submits %s: %v", kind, err)
		}
	}
	if _, err := h.Submit(as(optionsv1.Role_ROLE_PEER), &ledgerv1.SubmitRequest{Entry: []byte("good")}); detail(err) != "unsupported_version" ||
		connect.CodeOf(err) != connect.CodeInvalidArgument || strings.Contains(err.Error(), "segments") {
		t.Errorf("garbage of a peer: %v", err)
	}
}

func TestWitnessesAskedForAreCounted(t *testing.T) {
	h := &handlers{genesis: &entry.Genesis{}}
	for _, name := range []string{"a", "b", "c"} {
		h.genesis.Witnesses.Members = append(h.genesis.Witnesses.Members, entry.Witness{Name: name})
	}
	enough, err := h.enough([]*ledgerv1.WitnessSet{{Names: []string{"a", "b", "c", "x"}, AtLeast: 2}, {Names: []string{"c", "x"}}})
	if err != nil {
		t.Fatal(err)
	}
	for by, want := range map[string]bool{"": false, "a b": false, "c": false, "b c": true, "a b c": true, "x c": true} {
		if got := enough(strings.Fields(by)); got != want {
			t.Errorf("cosigned by %q: enough %t", by, got)
		}
	}
}
