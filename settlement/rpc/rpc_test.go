package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	mathrand "math/rand/v2"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"connectrpc.com/connect"
	"golang.org/x/mod/sumdb/tlog"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/gen/comity/ledger/v1/ledgerv1connect"
	optionsv1 "github.com/comity-ledger/comity/proto/gen/comity/options/v1"
	"github.com/comity-ledger/comity/settlement"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/settlement/journal"
	"github.com/comity-ledger/comity/settlement/proof"
	"github.com/comity-ledger/comity/zk"
)

// fakeLedger is a ledger of blocks that somebody else made: it accepts whatever begins with "good" and refuses the rest by the
// name that it finds in the bytes.
type fakeLedger struct {
	genesis *entry.Genesis

	mu       sync.Mutex // guards what follows
	blocks   []*settlement.Block
	changed  chan struct{} // closed and replaced when a block is added
	accepted map[string]Accepted
	final    uint64
	reads    int

	holds     []settlement.Hold // ascending by id; set before the start, as what follows
	corridors []settlement.Corridor
	used      map[zk.Nullifier]uint64
}

func newFake(t testing.TB) *fakeLedger {
	f := &fakeLedger{genesis: testGenesis(t), changed: make(chan struct{}), accepted: map[string]Accepted{}}
	f.add(entry.Encode(f.genesis), []byte("state 0"))
	return f
}

func testGenesis(t testing.TB) *entry.Genesis {
	rand := mathrand.NewChaCha8([32]byte{7})
	key := func() entry.SignerKey {
		public, _, err := ed25519.GenerateKey(rand)
		if err != nil {
			t.Fatal(err)
		}
		k, err := entry.SignerKeyOf(public)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	secret, err := zk.NewScalar(rand)
	if err != nil {
		t.Fatal(err)
	}
	g := &entry.Genesis{
		Name: "Aurelia", Prefix: "aur", Origin: "ledger.aurelia.example", CreatedMillis: 1, Network: entry.Development,
		Assets: []entry.Asset{{ID: 1, Code: "AUR", Decimals: 2}},
		Policy: entry.Policy{Threshold: 1, Signers: []entry.SignerKey{key()}}, LogKey: key(),
		Witnesses:            entry.WitnessPolicy{Quorum: 1, Members: []entry.Witness{{Name: "w1", Key: key(), Kind: entry.ValidatingWitness}}},
		RegistryWindowMillis: 60000, MaxExpiryMillis: 3600000,
		OversightKey: secret.Base(),
		Circuits:     []entry.Circuit{{ID: zk.Transfer, Version: entry.CircuitVersion, Fingerprint: [32]byte{1}}},
	}
	g.OversightPossession = entry.ProvePossession(secret, entry.OversightPossession(g.DraftHash(), entry.GenesisOversightEpoch), rand)
	if err := g.Validate(); err != nil {
		t.Fatal(err)
	}
	return g
}

func (f *fakeLedger) add(entries ...[]byte) {
	f.mu.Lock()
	defer f.mu.Unlock()
	b := &settlement.Block{Height: uint64(len(f.blocks)), Time: 1000 + uint64(len(f.blocks)), Entries: entries, Segments: [][]byte{[]byte("segment")}}
	if n := len(f.blocks); n > 0 {
		b.FirstIndex = f.blocks[n-1].Size()
	}
	f.blocks = append(f.blocks, b)
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeLedger) size() uint64 { return f.blocks[len(f.blocks)-1].Size() }

func (f *fakeLedger) Genesis() *entry.Genesis { return f.genesis }

func (f *fakeLedger) Status(context.Context) (Status, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	state := &entry.State{Height: uint64(len(f.blocks) - 1), TimeMillis: 77, NextSequence: 5, Holds: 12, Supply: []entry.Supply{{Asset: 1, Issued: 900, Redeemed: 100}}}
	return Status{State: state, Size: f.size(), FinalSize: f.final, Witnesses: []WitnessStatus{{Name: "w1", Size: f.final}}}, nil
}

func (f *fakeLedger) Submit(ctx context.Context, leaf []byte, segments [][]byte) (Accepted, error) {
	text := string(leaf)
	switch {
	case strings.HasPrefix(text, "good"):
	case text == "internal":
		return Accepted{}, errors.New("the password of the database is hunter2")
	case text == "slow":
		<-ctx.Done()
		return Accepted{}, ctx.Err()
	case text == "panic":
		panic("the password is hunter2")
	default:
		return Accepted{}, entry.Refuse(entry.Code(text), "with %d segments", len(segments))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if a, ok := f.accepted[text]; ok {
		a.Before = true
		return a, nil
	}
	a := Accepted{EntryIndex: f.size() + uint64(len(f.accepted)), Height: uint64(len(f.blocks)), ID: entry.ID{byte(len(f.accepted) + 1)}}
	f.accepted[text] = a
	return a, nil
}

func (f *fakeLedger) WaitBlock(ctx context.Context, height uint64) error {
	for {
		f.mu.Lock()
		ready, changed := uint64(len(f.blocks)) > height, f.changed
		f.mu.Unlock()
		if ready {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (f *fakeLedger) Block(_ context.Context, height uint64) (*settlement.Block, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads++
	if height >= uint64(len(f.blocks)) {
		return nil, settlement.ErrNotFound
	}
	return f.blocks[height], nil
}

func (f *fakeLedger) Receipt(ctx context.Context, index uint64) ([]byte, error) {
	f.mu.Lock()
	size, final := f.size(), f.final
	f.mu.Unlock()
	switch {
	case index >= size:
		return nil, settlement.ErrNotFound
	case index >= final:
		<-ctx.Done()
		return nil, ctx.Err()
	}
	return fmt.Appendf(nil, "receipt %d", index), nil
}

func (f *fakeLedger) IndexOf(_ context.Context, id entry.ID) (uint64, error) {
	if id == (entry.ID{1}) {
		return 1, nil
	}
	return 0, settlement.ErrNotFound
}

func (f *fakeLedger) Checkpoint(context.Context) (uint64, []byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.final == 0 {
		return 0, nil, nil
	}
	return f.final, fmt.Appendf(nil, "checkpoint %d", f.final), nil
}

// WaitCheckpoint: its one witness cosigns everything.
func (f *fakeLedger) WaitCheckpoint(ctx context.Context, size uint64, enough func([]string) bool) (uint64, []byte, error) {
	for {
		f.mu.Lock()
		final, changed := f.final, f.changed
		f.mu.Unlock()
		if final >= size && (enough == nil || enough([]string{"w1"})) {
			return final, fmt.Appendf(nil, "checkpoint %d waited for", final), nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return 0, nil, ctx.Err()
		}
	}
}

// finish makes the first size entries final.
func (f *fakeLedger) finish(size uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.final = size
	close(f.changed)
	f.changed = make(chan struct{})
}

func (f *fakeLedger) Inclusion(ctx context.Context, index, size uint64) ([][32]byte, error) {
	return f.path(size, func(r proof.HashReader) ([]proof.Hash, error) { return proof.ProveInclusion(size, index, r) }, ctx)
}

func (f *fakeLedger) Consistency(ctx context.Context, older, newer uint64) ([][32]byte, error) {
	return f.path(newer, func(r proof.HashReader) ([]proof.Hash, error) { return proof.ProveConsistency(older, newer, r) }, ctx)
}

func (f *fakeLedger) path(size uint64, prove func(proof.HashReader) ([]proof.Hash, error), ctx context.Context) ([][32]byte, error) {
	f.mu.Lock()
	have := f.size()
	f.mu.Unlock()
	if size > have {
		return nil, settlement.ErrNotFound
	}
	path, err := prove(journal.HashReader(ctx, f))
	out := make([][32]byte, len(path))
	for i := range path {
		out[i] = path[i]
	}
	return out, err
}

func (f *fakeLedger) Hold(id entry.HoldID) (settlement.Hold, bool) {
	for _, h := range f.holds {
		if h.ID == id {
			return h, true
		}
	}
	return settlement.Hold{}, false
}

func (f *fakeLedger) HoldsAfter(after entry.HoldID, limit int) (holds []settlement.Hold, more bool, height uint64) {
	for _, h := range f.holds {
		if c := bytes.Compare(h.ID.Tx[:], after.Tx[:]); c < 0 || c == 0 && h.ID.Leg <= after.Leg {
			continue
		}
		if len(holds) == limit {
			return holds, true, 7
		}
		holds = append(holds, h)
	}
	return holds, false, 7
}

func (f *fakeLedger) Corridors() []settlement.Corridor { return f.corridors }

func (f *fakeLedger) LatestCheckpoint(context.Context) ([]byte, error) {
	return []byte("latest"), nil
}

func (f *fakeLedger) Spent(_ context.Context, nullifiers []zk.Nullifier) ([]settlement.Hit, error) {
	hits := make([]settlement.Hit, len(nullifiers))
	for i, n := range nullifiers {
		if index, ok := f.used[n]; ok {
			hits[i] = settlement.Hit{Found: true, EntryIndex: index}
		} else if n[31] == 1 && n[0] == 0 {
			hits[i] = settlement.Hit{Found: true, EntryIndex: 42}
		}
	}
	return hits, nil
}

func (f *fakeLedger) Entry(_ context.Context, index uint64) ([]byte, uint64, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, b := range f.blocks {
		if index >= b.FirstIndex && index < b.Size() {
			return b.Entries[index-b.FirstIndex], b.Height, nil
		}
	}
	return nil, 0, settlement.ErrNotFound
}

func (f *fakeLedger) Tile(ctx context.Context, level uint8, index uint64) ([]byte, error) {
	if level != 0 || index != 0 {
		return nil, settlement.ErrNotFound
	}
	var out []byte
	for i := uint64(0); i < proof.TileWidth; i++ {
		leaf, _, err := f.Entry(ctx, i)
		if err != nil {
			break
		}
		h := tlog.RecordHash(leaf)
		out = append(out, h[:]...)
	}
	return out, nil
}

// memory is a network inside the process; its callers appear to come from the given address.
type memory struct {
	from  string
	conns chan net.Conn
	done  chan struct{}
	once  sync.Once
}

type pipeEnd struct {
	net.Conn
	from string
}

func (p pipeEnd) RemoteAddr() net.Addr { a, _ := net.ResolveTCPAddr("tcp", p.from); return a }

func (m *memory) Accept() (net.Conn, error) {
	select {
	case c := <-m.conns:
		return c, nil
	case <-m.done:
		return nil, net.ErrClosed
	}
}
func (m *memory) Close() error { m.once.Do(func() { close(m.done) }); return nil }
func (m *memory) Addr() net.Addr {
	return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 7001}
}

func (m *memory) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	server, client := net.Pipe()
	select {
	case m.conns <- pipeEnd{server, m.from}:
		return client, nil
	case <-m.done:
		return nil, net.ErrClosed
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

type harness struct {
	ledger *fakeLedger
	server *Server
	net    *memory
	http1  *http.Client
	http2  *http.Client
	stop   func() error
}

func start(t *testing.T, limits Limits) *harness {
	t.Helper()
	ledger := newFake(t)
	server, err := New(Config{Ledger: ledger, Version: "test", Limits: limits})
	if err != nil {
		t.Fatal(err)
	}
	network := &memory{from: "127.0.0.1:9", conns: make(chan net.Conn), done: make(chan struct{})}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- server.Serve(ctx, network) }()
	only2 := new(http.Protocols)
	only2.SetUnencryptedHTTP2(true)
	h := &harness{
		ledger: ledger, server: server, net: network,
		http1: &http.Client{Transport: &http.Transport{DialContext: network.dial}},
		http2: &http.Client{Transport: &http.Transport{DialContext: network.dial, Protocols: only2}},
	}
	var once sync.Once
	h.stop = func() (err error) {
		once.Do(func() {
			h.http1.CloseIdleConnections()
			h.http2.CloseIdleConnections()
			cancel()
			err = <-served
		})
		return err
	}
	t.Cleanup(func() { _ = h.stop() })
	return h
}

func (h *harness) clients() map[string]ledgerv1connect.LedgerServiceClient {
	return map[string]ledgerv1connect.LedgerServiceClient{
		"connect":      ledgerv1connect.NewLedgerServiceClient(h.http1, "http://ledger"),
		"connect json": ledgerv1connect.NewLedgerServiceClient(h.http1, "http://ledger", connect.WithProtoJSON()),
		"connect get":  ledgerv1connect.NewLedgerServiceClient(h.http1, "http://ledger", connect.WithHTTPGet()),
		"grpc":         ledgerv1connect.NewLedgerServiceClient(h.http2, "http://ledger", connect.WithGRPC()),
		"grpc-web":     ledgerv1connect.NewLedgerServiceClient(h.http1, "http://ledger", connect.WithGRPCWeb()),
	}
}

// detail returns the refusal's name that an error carries.
func detail(err error) string {
	var wire *connect.Error
	if !errors.As(err, &wire) {
		return ""
	}
	for _, d := range wire.Details() {
		if m, err := d.Value(); err == nil {
			if e, ok := m.(*ledgerv1.ErrorDetail); ok {
				return e.GetCode()
			}
		}
	}
	return ""
}

func TestEveryProtocolReachesEveryMethod(t *testing.T) {
	h := start(t, Limits{})
	h.ledger.add([]byte("entry a"), []byte("state 1"))
	h.ledger.final = 3
	for name, c := range h.clients() {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			genesis, err := c.GetGenesis(ctx, &ledgerv1.GetGenesisRequest{})
			if err != nil {
				t.Fatal(err)
			}
			if g, err := entry.DecodeGenesis(genesis.GetGenesis()); err != nil || g.Hash() != entry.GenesisHash(genesis.GetHash()) {
				t.Fatalf("genesis: %v", err)
			}
			status, err := c.GetStatus(ctx, &ledgerv1.GetStatusRequest{})
			if err != nil || status.GetHeight() != 1 || status.GetSize() != 4 || status.GetNextSequence() != 5 || status.GetSupply()[0].GetIssued() != 900 ||
				status.GetSupply()[0].GetCode() != "AUR" || status.GetWitnesses()[0].GetName() != "w1" || status.GetVersion() != "test" {
				t.Fatalf("status %v, %v", status, err)
			}
			first, err := c.Submit(ctx, &ledgerv1.SubmitRequest{Entry: []byte("good " + name), Segments: [][]byte{{1}}})
			if err != nil || first.GetOutcome() != ledgerv1.Outcome_OUTCOME_ACCEPTED || len(first.GetId()) != 32 {
				t.Fatalf("submit %v, %v", first, err)
			}
			again, err := c.Submit(ctx, &ledgerv1.SubmitRequest{Entry: []byte("good " + name)})
			if err != nil || again.GetOutcome() != ledgerv1.Outcome_OUTCOME_SETTLED_BEFORE || !bytes.Equal(again.GetId(), first.GetId()) {
				t.Fatalf("submit again %v, %v", again, err)
			}
			_, err = c.Submit(ctx, &ledgerv1.SubmitRequest{Entry: []byte("nullifier_spent"), Segments: [][]byte{{1}, {2}}})
			if detail(err) != "nullifier_spent" || connect.CodeOf(err) != connect.CodeFailedPrecondition || !strings.Contains(err.Error(), "2 segments") {
				t.Fatalf("refusal: %v (%s)", err, detail(err))
			}
			batch, err := c.SubmitBatch(ctx, &ledgerv1.SubmitBatchRequest{Entries: []*ledgerv1.SubmitRequest{
				{Entry: []byte("proof_invalid")}, {Entry: []byte("good " + name)}, {Entry: []byte("internal")},
			}})
			if err != nil || len(batch.GetResults()) != 3 || batch.GetResults()[0].GetRefused().GetCode() != "proof_invalid" ||
				batch.GetResults()[1].GetAccepted() == nil || batch.GetResults()[2].GetRefused().GetCode() != "try_later" {
				t.Fatalf("batch %v, %v", batch, err)
			}
			receipt, err := c.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: 2}})
			if err != nil || string(receipt.GetReceipt()) != "receipt 2" {
				t.Fatalf("receipt %v, %v", receipt, err)
			}
			receipt, err = c.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Id{Id: append([]byte{1}, make([]byte, 31)...)}})
			if err != nil || receipt.GetEntryIndex() != 1 {
				t.Fatalf("receipt by id %v, %v", receipt, err)
			}
			_, err = c.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: 3}, WaitMillis: 20})
			if detail(err) != "try_later" || connect.CodeOf(err) != connect.CodeUnavailable {
				t.Fatalf("receipt before final: %v", err)
			}
			_, err = c.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: 99}})
			if detail(err) != "not_found" {
				t.Fatalf("receipt of nothing: %v", err)
			}
			_, err = c.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Key{Key: append(make([]byte, 31), 1)}})
			if detail(err) != "not_found" || !strings.Contains(err.Error(), "no such entry") { // of entry 42, past the head
				t.Fatalf("receipt by a used key: %v", err)
			}
			_, err = c.GetReceipt(ctx, &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Key{Key: make([]byte, 32)}})
			if detail(err) != "not_found" {
				t.Fatalf("receipt by an unused key: %v", err)
			}
			checkpoint, err := c.GetCheckpoint(ctx, &ledgerv1.GetCheckpointRequest{})
			if err != nil || string(checkpoint.GetCheckpoint()) != "checkpoint 3" || string(checkpoint.GetLatest()) != "latest" || checkpoint.GetSize() != 3 {
				t.Fatalf("checkpoint %v, %v", checkpoint, err)
			}
			leaf, err := c.GetEntry(ctx, &ledgerv1.GetEntryRequest{EntryIndex: 2})
			if err != nil || string(leaf.GetEntry()) != "entry a" || leaf.GetHeight() != 1 {
				t.Fatalf("entry %v, %v", leaf, err)
			}
			inclusion, err := c.GetInclusion(ctx, &ledgerv1.GetInclusionRequest{EntryIndex: 2, Size: 3})
			if err != nil || len(inclusion.GetPath()) != 1 {
				t.Fatalf("inclusion %v, %v", inclusion, err)
			}
			consistency, err := c.GetConsistency(ctx, &ledgerv1.GetConsistencyRequest{OldSize: 2, NewSize: 4})
			if err != nil || len(consistency.GetPath()) != 1 {
				t.Fatalf("consistency %v, %v", consistency, err)
			}
			spent, err := c.LookupNullifier(ctx, &ledgerv1.LookupNullifierRequest{Nullifiers: [][]byte{append(make([]byte, 31), 1), make([]byte, 32)}})
			if err != nil || !spent.GetResults()[0].GetSpent() || spent.GetResults()[0].GetEntryIndex() != 42 || spent.GetResults()[1].GetSpent() {
				t.Fatalf("nullifiers %v, %v", spent, err)
			}
			_, err = c.LookupNullifier(ctx, &ledgerv1.LookupNullifierRequest{Nullifiers: [][]byte{bytes.Repeat([]byte{0xff}, 32)}})
			if detail(err) != "non_canonical" {
				t.Fatalf("nullifier above the modulus: %v", err)
			}
			_, err = c.LookupNullifier(ctx, &ledgerv1.LookupNullifierRequest{Nullifiers: make([][]byte, 1025)})
			if detail(err) != "batch_too_long" {
				t.Fatalf("too many nullifiers: %v", err)
			}

			stream, err := c.StreamBlocks(ctx, &ledgerv1.StreamBlocksRequest{StopAtHead: true})
			if err != nil {
				t.Fatal(err)
			}
			var heights []uint64
			for stream.Receive() {
				b := stream.Msg().GetBlock()
				heights = append(heights, b.GetHeight())
				// Only block 0 lies wholly under the cosigned checkpoint of size 3.
				if (len(b.GetCheckpoint()) != 0) != (b.GetHeight() == 0) || len(b.GetSegments()) != 1 || len(b.GetEntries()) != 2 {
					t.Fatalf("block %v", b)
				}
			}
			if stream.Err() != nil || !slices.Equal(heights, []uint64{0, 1}) {
				t.Fatalf("stream %v, %v", heights, stream.Err())
			}
			_ = stream.Close()
		})
	}
}

func TestLiveStreamFollowsNewBlocksAndEndsWithTheNode(t *testing.T) {
	for _, name := range []string{"connect", "grpc", "grpc-web"} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Limits{})
			stream, err := h.clients()[name].StreamBlocks(t.Context(), &ledgerv1.StreamBlocksRequest{FromHeight: 1, OmitSegments: true})
			if err != nil {
				t.Fatal(err)
			}
			for want := uint64(1); want <= 3; want++ {
				h.ledger.add([]byte("x"), []byte("state"))
				if !stream.Receive() || stream.Msg().GetBlock().GetHeight() != want || len(stream.Msg().GetBlock().GetSegments()) != 0 {
					t.Fatalf("want block %d, got %v, %v", want, stream.Msg(), stream.Err())
				}
			}
			stopped := make(chan error, 1)
			go func() { stopped <- h.stop() }()
			if stream.Receive() || detail(stream.Err()) != "try_later" {
				t.Fatalf("end of stream: %v", stream.Err())
			}
			_ = stream.Close()
			if err := <-stopped; err != nil {
				t.Fatalf("stop: %v", err)
			}
		})
	}
}

func TestCallThatWaitsForWitnessesEndsWithTheNode(t *testing.T) {
	h := start(t, Limits{})
	answer := make(chan error, 1)
	go func() {
		_, err := h.clients()["grpc"].GetReceipt(t.Context(), &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{EntryIndex: 1}})
		answer <- err
	}()
	time.Sleep(50 * time.Millisecond)
	began := time.Now()
	if err := h.stop(); err != nil {
		t.Fatal(err)
	}
	if err := <-answer; detail(err) != "try_later" || time.Since(began) > 5*time.Second {
		t.Fatalf("after %v: %v", time.Since(began), err)
	}
}

func TestPlainJSONOverCurl(t *testing.T) {
	h := start(t, Limits{})
	post := func(method, body string) (int, map[string]any) {
		t.Helper()
		resp, err := h.http1.Post("http://ledger/comity.ledger.v1.LedgerService/"+method, "application/json", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var out map[string]any
		if err := json.NewDecoder(resp.Body).Decode(&out); err != nil {
			t.Fatal(err)
		}
		return resp.StatusCode, out
	}
	if code, out := post("GetStatus", "{}"); code != 200 || out["nextSequence"] != "5" {
		t.Fatalf("%d %v", code, out)
	}
	good := base64.StdEncoding.EncodeToString([]byte("good json"))
	if code, out := post("Submit", `{"entry": "`+good+`"}`); code != 200 || out["outcome"] != "OUTCOME_ACCEPTED" {
		t.Fatalf("%d %v", code, out)
	}
	spent := base64.StdEncoding.EncodeToString([]byte("nullifier_spent"))
	code, out := post("Submit", `{"entry": "`+spent+`"}`)
	text, _ := json.Marshal(out)
	if code != http.StatusBadRequest || out["code"] != "failed_precondition" || !strings.Contains(string(text), `"debug":{"code":"nullifier_spent"`) {
		t.Fatalf("%d %s", code, text)
	}
	for _, bad := range []string{"", "{", `{"entry": 5}`, `{"unknown": 1}`, "[]", "null garbage"} {
		if code, out := post("Submit", bad); code == 200 {
			t.Errorf("%q was accepted: %v", bad, out)
		}
	}
}

func TestInternalErrorsStayInside(t *testing.T) {
	h := start(t, Limits{CallTimeout: 100 * time.Millisecond})
	for name, c := range h.clients() {
		for entryText, want := range map[string]connect.Code{"internal": connect.CodeInternal, "panic": connect.CodeInternal, "slow": connect.CodeDeadlineExceeded} {
			_, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: []byte(entryText)})
			if connect.CodeOf(err) != want || strings.Contains(fmt.Sprint(err), "hunter2") {
				t.Errorf("%s %s: %v", name, entryText, err)
			}
		}
	}
}

func TestBodiesBeyondTheLimitsAreRefusedByName(t *testing.T) {
	h := start(t, Limits{BodyBytes: 3 << 20})
	for name, c := range h.clients() {
		_, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: make([]byte, maxSubmitBytes+1)})
		if detail(err) != "oversize" {
			t.Errorf("%s: %v", name, err)
		}
		_, err = c.LookupNullifier(t.Context(), &ledgerv1.LookupNullifierRequest{Nullifiers: [][]byte{make([]byte, maxSmallBytes+1)}})
		if name != "connect get" && detail(err) != "oversize" { // a long GET is refused as a long header
			t.Errorf("%s: %v", name, err)
		}
		// Within the method's limit, but more than the server holds for all callers.
		_, err = c.SubmitBatch(t.Context(), &ledgerv1.SubmitBatchRequest{Entries: []*ledgerv1.SubmitRequest{{Entry: make([]byte, 4<<20)}}})
		if detail(err) != "try_later" {
			t.Errorf("%s: %v", name, err)
		}
		// And the budget is given back.
		if _, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: []byte("good after")}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCompressedRequestsAreRefused(t *testing.T) {
	h := start(t, Limits{})
	c := ledgerv1connect.NewLedgerServiceClient(h.http1, "http://ledger", connect.WithSendGzip())
	if _, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: []byte("good gzip")}); connect.CodeOf(err) != connect.CodeUnimplemented {
		t.Fatalf("%v", err)
	}
}

// raw sends bytes over a connection of its own and returns the answer.
func (h *harness) raw(t *testing.T, request string) (*http.Response, string) {
	t.Helper()
	conn, err := h.net.dial(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	go func() { _, _ = io.WriteString(conn, request) }()
	_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, _ := io.ReadAll(resp.Body)
	return resp, string(body)
}

func TestBrokenAndSlowBodiesAreRefusedByName(t *testing.T) {
	h := start(t, Limits{BodyTimeout: 100 * time.Millisecond})
	const head = "POST /comity.ledger.v1.LedgerService/Submit HTTP/1.1\r\nHost: ledger\r\nContent-Type: application/json\r\n"
	for name, tc := range map[string]struct{ request, want string }{
		"slow":       {head + "Content-Length: 100\r\n\r\n{", "body_timeout"},
		"bad chunk":  {head + "Transfer-Encoding: chunked\r\n\r\n5\r\n{\"ent\r\nzz\r\n", "malformed"},
		"announced":  {head + "Content-Length: 99999999\r\n\r\n{", "oversize"},
		"large slow": {head + "Transfer-Encoding: chunked\r\n\r\nfffffff\r\n{", "body_timeout"},
	} {
		t.Run(name, func(t *testing.T) {
			if resp, body := h.raw(t, tc.request); resp.StatusCode < 400 || !strings.Contains(body, `"code":"`+tc.want+`"`) {
				t.Fatalf("%s %s", resp.Status, body)
			}
		})
	}
	// Envelopes of gRPC-Web and of Connect streams that lie about their length, and messages that are no protobuf.
	frame := func(size uint32, data string) string {
		return string(binary.BigEndian.AppendUint32([]byte{0}, size)) + data
	}
	for name, tc := range map[string]struct{ contentType, body string }{
		"grpc-web short":  {"application/grpc-web+proto", frame(100, "abc")},
		"grpc-web huge":   {"application/grpc-web+proto", frame(1<<31, "abc")},
		"grpc-web half":   {"application/grpc-web+proto", "\x00\x00"},
		"grpc-web flags":  {"application/grpc-web+proto", "\x7f\x00\x00\x00\x01a"},
		"proto truncated": {"application/proto", "\x0a\xff"},
		"proto garbage":   {"application/proto", "\xff\xff\xff"},
		"unknown type":    {"text/plain", "hello"},
	} {
		t.Run(name, func(t *testing.T) {
			resp, err := h.http1.Post("http://ledger/comity.ledger.v1.LedgerService/Submit", tc.contentType, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, _ := io.ReadAll(resp.Body)
			if strings.HasPrefix(tc.contentType, "application/grpc-web") {
				status := resp.Header.Get("Grpc-Status") + string(body)
				if status == "" || strings.Contains(status, "grpc-status: 0") {
					t.Fatalf("%v %q", resp.Header, body)
				}
			} else if resp.StatusCode < 400 {
				t.Fatalf("%s %q", resp.Status, body)
			}
		})
	}
	if len(h.ledger.accepted) != 0 {
		t.Fatalf("something was accepted: %v", h.ledger.accepted)
	}
}

func TestReaderThatStopsReadingIsCutOff(t *testing.T) {
	for name, open := range map[string]func(*testing.T, *harness){
		"HTTP/1.1": func(t *testing.T, h *harness) {
			conn, err := h.net.dial(t.Context(), "", "")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { conn.Close() })
			body := "\x00\x00\x00\x00\x00"
			fmt.Fprintf(conn, "POST /comity.ledger.v1.LedgerService/StreamBlocks HTTP/1.1\r\nHost: l\r\nContent-Type: application/connect+proto\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil { // the answer has begun: the stream is open
				t.Fatal(err)
			}
		},
		"HTTP/2": func(t *testing.T, h *harness) {
			stream, err := h.clients()["grpc"].StreamBlocks(t.Context(), &ledgerv1.StreamBlocksRequest{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = stream.Close() })
			if !stream.Receive() {
				t.Fatal(stream.Err())
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			h := start(t, Limits{SendTimeout: 500 * time.Millisecond, Streams: 1})
			const blocks = 400 // 24 MB, several times the flow-control window of HTTP/2
			for range blocks {
				h.ledger.add(bytes.Repeat([]byte("x"), 60000), []byte("state"))
			}
			open(t, h)
			// The one stream allowed is taken until the server gives up on this reader; then another gets through.
			client := h.clients()["connect"]
			deadline := time.Now().Add(10 * time.Second)
			refused := 0
			for {
				stream, err := client.StreamBlocks(t.Context(), &ledgerv1.StreamBlocksRequest{StopAtHead: true, FromHeight: blocks})
				if err == nil && stream.Receive() {
					_ = stream.Close()
					break
				}
				if err == nil {
					err = stream.Err()
					_ = stream.Close()
				}
				if detail(err) != "try_later" || time.Now().After(deadline) {
					t.Fatalf("second reader: %v", err)
				}
				refused++
				time.Sleep(10 * time.Millisecond)
			}
			h.ledger.mu.Lock()
			defer h.ledger.mu.Unlock()
			if h.ledger.reads > blocks/2 || refused == 0 {
				t.Fatalf("%d blocks were read for a reader that took none, the second was refused %d times", h.ledger.reads, refused)
			}
		})
	}
}

func TestLogIsServedAsTiles(t *testing.T) {
	h := start(t, Limits{})
	for i := range 150 {
		h.ledger.add(fmt.Appendf(nil, "entry %d", i), []byte("state"))
	}
	get := func(path string) (int, []byte) {
		resp, err := h.http1.Get("http://ledger/" + path)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, body
	}
	if code, body := get("checkpoint"); code != 200 || string(body) != "latest" {
		t.Fatalf("%d %s", code, body)
	}
	h.ledger.final = 302
	if code, body := get("checkpoint"); code != 200 || string(body) != "checkpoint 302" {
		t.Fatalf("%d %s", code, body)
	}
	code, hashes := get("tile/0/000")
	_, bundle := get("tile/entries/000")
	if code != 200 || len(hashes) != 256*32 {
		t.Fatalf("%d, %d bytes", code, len(hashes))
	}
	for i := range 256 {
		size := binary.BigEndian.Uint16(bundle)
		leaf := bundle[2 : 2+size]
		bundle = bundle[2+size:]
		if tlog.RecordHash(leaf) != tlog.Hash(hashes[32*i:32*i+32]) {
			t.Fatalf("entry %d does not hash to its tile", i)
		}
	}
	if len(bundle) != 0 {
		t.Fatal("trailing bytes")
	}
	if code, body := get("tile/entries/001.p/46"); code != 200 || len(body) == 0 {
		t.Fatalf("%d %s", code, body)
	}
	for _, bad := range []string{"tile/0/001", "tile/entries/001", "tile/entries/001.p/47", "tile/0/0", "tile/8/0/000", "tile/data/000", "tile/0/000.p/0", "tile/0/000.p/256",
		"tile/0/-01", "tile/0/x000/000", "tile/9/000", "tile/0/00/0", "tile/", "tile/entries/", "tile/0/000/", "tile/99999999999999999999/000"} {
		if code, _ := get(bad); code != http.StatusNotFound && code/100 != 3 {
			t.Errorf("%s: %d", bad, code)
		}
	}
}

func TestOnlyCallersWithARoleAreServed(t *testing.T) {
	h := start(t, Limits{})
	h.net.from = "192.0.2.1:9"
	for name, c := range h.clients() {
		if _, err := c.GetGenesis(t.Context(), &ledgerv1.GetGenesisRequest{}); detail(err) != "role_not_allowed" || connect.CodeOf(err) != connect.CodePermissionDenied {
			t.Errorf("%s: %v", name, err)
		}
	}
	resp, err := h.http1.Get("http://ledger/checkpoint")
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Errorf("checkpoint: %s", resp.Status)
	}
}

// TestEveryMethodDeclaresItsRoles enumerates the methods: each has roles, and the server lets in exactly those.
func TestEveryMethodDeclaresItsRoles(t *testing.T) {
	ledger := newFake(t)
	var roles atomic.Pointer[Caller]
	server, err := New(Config{Ledger: ledger, Identify: func(*http.Request) (Caller, error) { return *roles.Load(), nil }})
	if err != nil {
		t.Fatal(err)
	}
	service := ledgerv1.File_comity_ledger_v1_ledger_proto.Services().ByName("LedgerService")
	rules, err := proceduresOf(service)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) != service.Methods().Len() {
		t.Fatalf("%d rules for %d methods", len(rules), service.Methods().Len())
	}
	for path, rule := range rules {
		for _, role := range allRoles {
			roles.Store(&Caller{Name: "test", Roles: allRoles[role-1 : role]})
			r, _ := http.NewRequestWithContext(t.Context(), http.MethodPost, path, strings.NewReader(`{"stopAtHead":true}`))
			r.Header.Set("Content-Type", "application/json")
			w := &recorder{header: http.Header{}}
			server.Handler().ServeHTTP(w, r)
			if denied, want := w.status == http.StatusForbidden, !slices.Contains(rule.roles, role); denied != want {
				t.Errorf("%s as %v: denied %v, want %v", path, role, denied, want)
			}
		}
	}
}

type recorder struct {
	header http.Header
	status int
}

func (r *recorder) Header() http.Header { return r.header }
func (r *recorder) Write(p []byte) (int, error) {
	if r.status == 0 {
		r.status = 200
	}
	return len(p), nil
}
func (r *recorder) WriteHeader(code int) {
	if r.status == 0 {
		r.status = code
	}
}

func TestMethodWithoutRolesOrDeadlineIsRefusedAtStart(t *testing.T) {
	for missing, want := range map[protoreflect.ExtensionType]string{optionsv1.E_Roles: "declares no roles", optionsv1.E_DeadlineSeconds: "states no deadline"} {
		file := protodesc.ToFileDescriptorProto(ledgerv1.File_comity_ledger_v1_ledger_proto)
		options := proto.CloneOf(file.Service[0].Method[2].Options)
		proto.ClearExtension(options, missing)
		file.Service[0].Method[2].Options = options
		bare, err := protodesc.NewFile(file, protoregistry.GlobalFiles)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := proceduresOf(bare.Services().Get(0)); err == nil || !strings.Contains(err.Error(), want) {
			t.Fatalf("%v, want %s", err, want)
		}
	}
}

func TestOnlyLoopbackIsListenedOn(t *testing.T) {
	for _, good := range []string{"127.0.0.1:0", "localhost:7001", "[::1]:7001"} {
		if err := CheckListen(good); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
	for _, bad := range []string{":7001", "0.0.0.0:7001", "192.0.2.1:7001", "[::]:7001", "example.org:7001"} {
		if err := CheckListen(bad); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestEveryRefusalMapsToACode keeps connectCode in step with the list of refusals: none becomes an internal error, and each keeps
// its name.
func TestEveryRefusalMapsToACode(t *testing.T) {
	codes := append([]entry.Code{CodeRoleNotAllowed, CodeBodyTimeout, CodeBatchTooLong, CodeNotFound}, certificateRefusals...)
	for _, m := range entry.Codes() {
		codes = append(codes, m.Code)
	}
	for _, code := range codes {
		wire := toConnect(fmt.Errorf("wrapped: %w", entry.Refuse(code, "because")))
		if detail(wire) != string(code) || wire.Code() == connect.CodeInternal || wire.Code() == connect.CodeUnknown {
			t.Errorf("%s: %v", code, wire)
		}
	}
	if len(codes) < 40 {
		t.Fatalf("only %d codes", len(codes))
	}
}

func TestEveryRefusalOfTheEdgeIsInTheSpec(t *testing.T) {
	spec, err := os.ReadFile("SPEC.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, code := range append([]entry.Code{CodeRoleNotAllowed, CodeBodyTimeout, CodeBatchTooLong, CodeNotFound, entry.Oversize, entry.Malformed, entry.NonCanonical, entry.TryLater},
		certificateRefusals...) {
		if !bytes.Contains(spec, []byte("| `"+string(code)+"` |")) {
			t.Errorf("%s is not in the SPEC", code)
		}
	}
}

// FuzzRequest sends arbitrary bodies and paths to the whole surface: nothing panics, nothing but "good" entries is accepted, and
// a refusal is never an internal error.
func FuzzRequest(f *testing.F) {
	f.Add("/comity.ledger.v1.LedgerService/Submit", "application/proto", []byte("\x0a\x04good"))
	f.Add("/comity.ledger.v1.LedgerService/SubmitBatch", "application/json", []byte(`{"entries":[{"entry":"AA=="}]}`))
	f.Add("/comity.ledger.v1.LedgerService/StreamBlocks", "application/grpc-web+proto", []byte("\x00\x00\x00\x00\x02\x10\x01"))
	f.Add("/comity.ledger.v1.LedgerService/LookupNullifier", "application/grpc+proto", []byte("\x00\x00\x00\x00\x00"))
	f.Add("/comity.ledger.v1.LedgerService/GetCheckpoint", "application/json", []byte(`{"minSize":"3","witnesses":[{"names":["w1"],"atLeast":1}],"waitMillis":1}`))
	f.Add("/comity.ledger.v1.LedgerService/GetInclusion", "application/json", []byte(`{"entryIndex":"1","size":"2"}`))
	f.Add("/comity.ledger.v1.LedgerService/GetConsistency", "application/proto", []byte("\x08\x01\x10\x02"))
	f.Add("/comity.ledger.v1.LedgerService/GetHold", "application/json", []byte(`{"id":{"transaction":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=","leg":1}}`))
	f.Add("/comity.ledger.v1.LedgerService/ListHolds", "application/grpc-web+proto", []byte("\x00\x00\x00\x00\x02\x10\x01"))
	f.Add("/tile/entries/000.p/2", "", []byte(nil))
	f.Add("/tile/0/x001/000", "", []byte(nil))
	ledger := newFake(f)
	server, err := New(Config{Ledger: ledger, Limits: Limits{CallTimeout: 50 * time.Millisecond}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, contentType string, body []byte) {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		method := http.MethodPost
		if strings.HasPrefix(path, "/tile/") {
			method = http.MethodGet
		}
		r, err := http.NewRequestWithContext(ctx, method, "http://ledger", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.RemoteAddr, r.ProtoMajor, r.ProtoMinor = path, "127.0.0.1:9", 2, 0
		r.Header.Set("Content-Type", contentType)
		w := &recorder{header: http.Header{}}
		server.Handler().ServeHTTP(w, r)
		if w.status == http.StatusInternalServerError && !bytes.Contains(body, []byte("internal")) && !bytes.Contains(body, []byte("panic")) {
			t.Fatalf("internal error for %s %q", path, body)
		}
	})
}
