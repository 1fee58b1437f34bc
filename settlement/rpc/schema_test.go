package rpc

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"connectrpc.com/connect"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	ledgerv1 "github.com/comity-ledger/comity/proto/gen/comity/ledger/v1"
	"github.com/comity-ledger/comity/proto/schema"
	"github.com/comity-ledger/comity/settlement/entry"
	"github.com/comity-ledger/comity/zk"
)

func compiled(t testing.TB) *schema.Rules {
	t.Helper()
	rules, err := schema.Compile(ledgerv1.File_comity_ledger_v1_ledger_proto.Services().ByName("LedgerService"))
	if err != nil {
		t.Fatal(err)
	}
	return rules
}

// TestRequestsAreCheckedBySchema: one request of every method that breaks a rule, over every protocol; the handler behind it is never reached.
func TestRequestsAreCheckedBySchema(t *testing.T) {
	h := start(t, Limits{})
	h.ledger.finish(2)
	short := make([]byte, 31)
	for protocol, c := range h.clients() {
		for name, tc := range map[string]struct {
			call func() error
			code string
			says string
		}{
			"Submit": {func() error {
				_, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Segments: [][]byte{[]byte("good")}})
				return err
			}, "malformed", "entry: "},
			"Submit, too long": {func() error {
				_, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: append([]byte("good"), make([]byte, entry.MaxEntry)...)})
				return err
			}, "oversize", "entry: "},
			"Submit, too many segments": {func() error {
				_, err := c.Submit(t.Context(), &ledgerv1.SubmitRequest{Entry: []byte("good"), Segments: make([][]byte, entry.MaxLegs+1)})
				return err
			}, "batch_too_long", "segments: "},
			"SubmitBatch": {func() error {
				_, err := c.SubmitBatch(t.Context(), &ledgerv1.SubmitBatchRequest{Entries: make([]*ledgerv1.SubmitRequest, 1025)})
				return err
			}, "batch_too_long", "entries: "},
			"StreamBlocks": {func() error {
				stream, err := c.StreamBlocks(t.Context(), &ledgerv1.StreamBlocksRequest{FromHeight: 1 << 63})
				if err != nil {
					return err
				}
				for stream.Receive() {
					t.Errorf("%s: a block came", protocol)
				}
				return errors.Join(stream.Err(), stream.Close())
			}, "malformed", "from_height: "},
			"GetReceipt": {func() error {
				_, err := c.GetReceipt(t.Context(), &ledgerv1.GetReceiptRequest{})
				return err
			}, "malformed", "entry: "},
			"GetReceipt, a short id": {func() error {
				_, err := c.GetReceipt(t.Context(), &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_Id{Id: short}})
				return err
			}, "malformed", "id: "},
			"GetReceipt, a long wait": {func() error {
				_, err := c.GetReceipt(t.Context(), &ledgerv1.GetReceiptRequest{Entry: &ledgerv1.GetReceiptRequest_EntryIndex{}, WaitMillis: 30_001})
				return err
			}, "malformed", "wait_millis: "},
			"GetCheckpoint": {func() error {
				_, err := c.GetCheckpoint(t.Context(), &ledgerv1.GetCheckpointRequest{Witnesses: []*ledgerv1.WitnessSet{{Names: []string{"w 1"}}}})
				return err
			}, "malformed", "witnesses[0].names[0]: "},
			"GetEntry": {func() error {
				_, err := c.GetEntry(t.Context(), &ledgerv1.GetEntryRequest{EntryIndex: 1<<64 - 1})
				return err
			}, "malformed", "entry_index: "},
			"GetInclusion": {func() error {
				_, err := c.GetInclusion(t.Context(), &ledgerv1.GetInclusionRequest{EntryIndex: 1, Size: 1})
				return err
			}, "malformed", "the request: "},
			"GetConsistency": {func() error {
				_, err := c.GetConsistency(t.Context(), &ledgerv1.GetConsistencyRequest{OldSize: 2, NewSize: 1})
				return err
			}, "malformed", "the request: "},
			"GetHold": {func() error {
				_, err := c.GetHold(t.Context(), &ledgerv1.GetHoldRequest{Id: &ledgerv1.HoldId{Transaction: short}})
				return err
			}, "malformed", "id.transaction: "},
			"ListHolds": {func() error {
				_, err := c.ListHolds(t.Context(), &ledgerv1.ListHoldsRequest{Limit: maxHolds + 1})
				return err
			}, "malformed", "limit: "},
			"LookupNullifier": {func() error {
				_, err := c.LookupNullifier(t.Context(), &ledgerv1.LookupNullifierRequest{Nullifiers: [][]byte{make([]byte, 32), short}})
				return err
			}, "malformed", "nullifiers[1]: "},
		} {
			err := tc.call()
			if detail(err) != tc.code || connect.CodeOf(err) != connect.CodeInvalidArgument || !strings.Contains(err.Error(), tc.says) {
				t.Errorf("%s, %s: %v, want %s %q", protocol, name, err, tc.code, tc.says)
			}
		}
	}
	if n := len(h.ledger.accepted); n != 0 {
		t.Errorf("%d entries went past the schema", n)
	}
}

// TestMemberOfABatchIsRefusedAlone: what one member breaks costs the others nothing.
func TestMemberOfABatchIsRefusedAlone(t *testing.T) {
	h := start(t, Limits{})
	for protocol, c := range h.clients() {
		got, err := c.SubmitBatch(t.Context(), &ledgerv1.SubmitBatchRequest{Entries: []*ledgerv1.SubmitRequest{
			{}, {Entry: []byte("good " + protocol)}, {Entry: make([]byte, entry.MaxEntry+1)}, {Entry: []byte("good"), Segments: make([][]byte, entry.MaxLegs+1)}}})
		if err != nil {
			t.Fatalf("%s: %v", protocol, err)
		}
		for i, want := range []string{"malformed", "", "oversize", "batch_too_long"} {
			if r := got.GetResults()[i]; r.GetRefused().GetCode() != want || (r.GetAccepted() != nil) != (want == "") {
				t.Errorf("%s: entry %d: %v, want %q", protocol, i, r, want)
			}
		}
	}
}

// TestBoundsOfTheSchemaAreThoseOfTheCore: the numbers in the .proto file are those of the code that they stand for.
func TestBoundsOfTheSchemaAreThoseOfTheCore(t *testing.T) {
	rules := func(m proto.Message, field protoreflect.Name) *validate.FieldRules {
		r, _ := proto.GetExtension(m.ProtoReflect().Descriptor().Fields().ByName(field).Options(), validate.E_Field).(*validate.FieldRules)
		if r == nil {
			t.Fatalf("%s has no rules", field)
		}
		return r
	}
	submit, segments, names := rules(&ledgerv1.SubmitRequest{}, "entry"), rules(&ledgerv1.SubmitRequest{}, "segments"), rules(&ledgerv1.WitnessSet{}, "names")
	for name, b := range map[string]struct{ schema, core uint64 }{
		"entry":             {submit.GetBytes().GetMaxLen(), entry.MaxEntry},
		"segments":          {segments.GetRepeated().GetMaxItems(), entry.MaxLegs},
		"segment":           {segments.GetRepeated().GetItems().GetBytes().GetMaxLen(), entry.MaxSegment},
		"witnesses":         {names.GetRepeated().GetMaxItems(), entry.MaxWitnesses},
		"witness":           {names.GetRepeated().GetItems().GetString().GetMaxLen(), entry.MaxOrigin},
		"at least":          {uint64(rules(&ledgerv1.WitnessSet{}, "at_least").GetUint32().GetLte()), entry.MaxWitnesses},
		"id":                {rules(&ledgerv1.GetReceiptRequest{}, "id").GetBytes().GetLen(), uint64(len(entry.ID{}))},
		"key":               {rules(&ledgerv1.GetReceiptRequest{}, "key").GetBytes().GetLen(), uint64(len(zk.Nullifier{}))},
		"hold":              {rules(&ledgerv1.HoldId{}, "transaction").GetBytes().GetLen(), uint64(len(entry.ID{}))},
		"leg":               {uint64(rules(&ledgerv1.HoldId{}, "leg").GetUint32().GetLt()), entry.MaxLegs},
		"nullifier":         {rules(&ledgerv1.LookupNullifierRequest{}, "nullifiers").GetRepeated().GetItems().GetBytes().GetLen(), uint64(len(zk.Nullifier{}))},
		"receipt, wait":     {uint64(rules(&ledgerv1.GetReceiptRequest{}, "wait_millis").GetUint32().GetLte()), uint64(maxWait.Milliseconds())},
		"checkpoint, wait":  {uint64(rules(&ledgerv1.GetCheckpointRequest{}, "wait_millis").GetUint32().GetLte()), uint64(maxWait.Milliseconds())},
		"holds of one page": {uint64(rules(&ledgerv1.ListHoldsRequest{}, "limit").GetUint32().GetLte()), maxHolds},
	} {
		if b.schema != b.core || b.core == 0 {
			t.Errorf("%s: %d in the schema, %d in the code", name, b.schema, b.core)
		}
	}
}

// FuzzSchemaAgreesWithTheCore: what the schema refuses of an entry, its segments, a key or a hold the core refuses too, so that nothing is lost to it.
func FuzzSchemaAgreesWithTheCore(f *testing.F) {
	f.Add([]byte{}, uint32(0), uint8(0), uint32(0))
	f.Add([]byte{1, 3}, uint32(entry.MaxEntry), uint8(1), uint32(entry.MaxSegment))
	f.Add([]byte{1, 3}, uint32(entry.MaxEntry-2), uint8(4), uint32(entry.MaxSegment+1))
	f.Add(bytes.Repeat([]byte{1}, 32), uint32(0), uint8(5), uint32(3))
	f.Add(bytes.Repeat([]byte{1}, 33), uint32(0), uint8(255), uint32(0))
	rules := compiled(f)
	tx := &entry.Transaction{Legs: make([]entry.Leg, entry.MaxLegs)}
	f.Fuzz(func(t *testing.T, data []byte, zeros uint32, count uint8, size uint32) {
		leaf := append(bytes.Clone(data), make([]byte, zeros%(entry.MaxEntry+8))...)
		if err := rules.Check(&ledgerv1.SubmitRequest{Entry: leaf}); err != nil {
			if _, core := entry.Decode(leaf); core == nil {
				t.Errorf("an entry of %d bytes: %v, and the core takes it", len(leaf), err)
			}
		}
		segments := make([][]byte, count)
		for i := range segments {
			segments[i] = make([]byte, size%(entry.MaxSegment+8)>>min(i, 4))
		}
		if err := rules.Check(&ledgerv1.SubmitRequest{Entry: []byte{1}, Segments: segments}); err != nil {
			legs := min(len(segments), entry.MaxLegs)
			for i := range legs {
				tx.Legs[i].SegmentHash = entry.SegmentHash(segments[i]) // nothing but sizes and counts is left to refuse
			}
			if core := (&entry.Transaction{Legs: tx.Legs[:legs]}).CheckSegments(segments); core == nil {
				t.Errorf("%d segments of up to %d bytes: %v, and the core takes them", count, size, err)
			}
		}
		if err := rules.Check(&ledgerv1.LookupNullifierRequest{Nullifiers: [][]byte{data}}); err != nil {
			if _, core := zk.ParseNullifier(data); core == nil {
				t.Errorf("a nullifier of %d bytes: %v, and the core takes it", len(data), err)
			}
		}
		if err := rules.Check(&ledgerv1.HoldId{Transaction: make([]byte, 32), Leg: uint32(count)}); err != nil {
			if _, core := entry.ParseHoldID(strings.Repeat("00", 32) + "/" + string('0'+rune(count))); core == nil {
				t.Errorf("leg %d: %v, and the core takes it", count, err)
			}
		}
	})
}

// A transfer of two legs' size: what the schema costs of the 350 us that a node spends on one, beside what the handler spends before the ledger.
func benchRequest() *ledgerv1.SubmitRequest {
	return &ledgerv1.SubmitRequest{Entry: append([]byte("good"), make([]byte, 1200)...), Segments: [][]byte{make([]byte, 700)}}
}

func BenchmarkSchemaSubmit(b *testing.B) {
	rules, m := compiled(b), benchRequest()
	b.ReportAllocs()
	for b.Loop() {
		if err := rules.Check(m); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSchemaSubmitBatch32(b *testing.B) {
	rules, m := compiled(b), &ledgerv1.SubmitBatchRequest{}
	for range 32 {
		m.Entries = append(m.Entries, benchRequest())
	}
	b.ReportAllocs()
	for b.Loop() {
		if err := rules.Check(m); err != nil {
			b.Fatal(err)
		}
		for _, e := range m.GetEntries() {
			if err := rules.Check(e); err != nil {
				b.Fatal(err)
			}
		}
	}
}

// BenchmarkHandlerSubmit is the handler with a ledger that does nothing but remember.
func BenchmarkHandlerSubmit(b *testing.B) {
	ledger := newFake(b)
	server, err := New(Config{Ledger: ledger})
	if err != nil {
		b.Fatal(err)
	}
	h, m := newHandlers(server, compiled(b)), benchRequest()
	ctx := context.WithValue(b.Context(), callerKey{}, Caller{Name: "loopback", Roles: allRoles, Local: true})
	b.ReportAllocs()
	for b.Loop() {
		if _, err := h.Submit(ctx, m); err != nil {
			b.Fatal(err)
		}
	}
}
