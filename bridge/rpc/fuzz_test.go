package rpc

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"buf.build/gen/go/bufbuild/protovalidate/protocolbuffers/go/buf/validate"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"

	"github.com/comity-ledger/comity/bridge"
	bridgev1 "github.com/comity-ledger/comity/proto/gen/comity/bridge/v1"
	"github.com/comity-ledger/comity/proto/schema"
	"github.com/comity-ledger/comity/settlement/entry"
)

// judged is a provider that parses what it is given as the desk does, and knows nothing else.
type judged struct{ fake }

func parsed[T any](parse func([]byte) (T, error), b []byte) ([]byte, error) {
	if _, err := parse(b); err != nil {
		return nil, err
	}
	return b, nil
}

func (*judged) Quote(_ context.Context, b []byte) ([]byte, error) {
	return parsed(bridge.ParseRequest, b)
}
func (*judged) Reserve(_ context.Context, b []byte) ([]byte, error) {
	return parsed(bridge.ParseAcceptance, b)
}
func (*judged) Accept(_ context.Context, b []byte) ([]byte, error) {
	return parsed(bridge.ParseAcceptance, b)
}
func (*judged) Proceed(_ context.Context, b []byte) ([]byte, error) {
	return parsed(bridge.ParseProceed, b)
}

// FuzzRequest sends arbitrary bodies to the whole surface: nothing panics, and no refusal is an internal error.
func FuzzRequest(f *testing.F) {
	const service = "/comity.bridge.v1.BridgeService/"
	f.Add(service+"GetOffers", "application/json", []byte("{}"))
	f.Add(service+"Quote", "application/proto", []byte("\x0a\x02\x01\x01"))
	f.Add(service+"Quote", "application/json", []byte(`{"request":"AQE="}`))
	f.Add(service+"Reserve", "application/grpc+proto", []byte("\x00\x00\x00\x00\x04\x0a\x02\x01\x03"))
	f.Add(service+"Accept", "application/grpc-web+proto", []byte("\x00\x00\x00\x00\x00"))
	f.Add(service+"Proceed", "application/proto", []byte("\x0a\x01\x01"))
	f.Add(service+"GetPayment", "application/json", []byte(`{"quote":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="}`))
	f.Add("/grpc.health.v1.Health/Check", "application/json", []byte(`{}`))
	server, err := New(Config{Provider: &judged{}, Limits: Limits{CallTimeout: time.Second, BodyTimeout: time.Second}})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, path, contentType string, body []byte) {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://provider", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.URL.Path, r.RemoteAddr, r.ProtoMajor, r.ProtoMinor = path, "127.0.0.1:9", 2, 0
		r.Header.Set("Content-Type", contentType)
		w := httptest.NewRecorder()
		server.Handler().ServeHTTP(w, r)
		if w.Code == http.StatusInternalServerError || strings.Contains(w.Body.String(), "internal error") {
			t.Fatalf("internal error for %s %q", path, body)
		}
	})
}

// FuzzSchemaAgreesWithTheCore: what the schema refuses of a message the core refuses too.
func FuzzSchemaAgreesWithTheCore(f *testing.F) {
	rules, err := schema.Compile(bridgev1.File_comity_bridge_v1_bridge_proto.Services().ByName("BridgeService"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add([]byte{}, uint16(0))
	f.Add([]byte{1}, uint16(0))
	f.Add([]byte{1, 1}, uint16(bridge.MaxMessage-2))
	f.Add([]byte{1, 3}, uint16(bridge.MaxMessage))
	f.Fuzz(func(t *testing.T, b []byte, zeros uint16) {
		b = append(bytes.Clone(b), make([]byte, zeros%(bridge.MaxMessage+8))...)
		_, request := bridge.ParseRequest(b)
		_, acceptance := bridge.ParseAcceptance(b)
		_, proceed := bridge.ParseProceed(b)
		for _, tc := range []struct {
			m    proto.Message
			core error
		}{
			{&bridgev1.QuoteRequest{Request: b}, request}, {&bridgev1.ReserveRequest{Acceptance: b}, acceptance}, {&bridgev1.AcceptRequest{Acceptance: b}, acceptance},
			{&bridgev1.ProceedRequest{Proceed: b}, proceed},
		} {
			if err := rules.Check(tc.m); err != nil && tc.core == nil {
				t.Errorf("%T of %d bytes: %v, and the core takes it", tc.m, len(b), err)
			}
		}
	})
}

// TestBoundsOfTheSchemaAreThoseOfTheCore: the numbers in the .proto file are those of the code that they stand for.
func TestBoundsOfTheSchemaAreThoseOfTheCore(t *testing.T) {
	rules := func(m proto.Message) *validate.BytesRules {
		r, _ := proto.GetExtension(m.ProtoReflect().Descriptor().Fields().ByNumber(protoreflect.FieldNumber(1)).Options(), validate.E_Field).(*validate.FieldRules)
		return r.GetBytes()
	}
	for _, m := range []proto.Message{&bridgev1.QuoteRequest{}, &bridgev1.ReserveRequest{}, &bridgev1.AcceptRequest{}, &bridgev1.ProceedRequest{}} {
		if r := rules(m); r.GetMaxLen() != bridge.MaxMessage || r.GetMinLen() != 2 {
			t.Errorf("%T: %v", m, r)
		}
	}
	if r := rules(&bridgev1.GetPaymentRequest{}); r.GetLen() != uint64(len(entry.GenesisHash{})) || r.GetLen() != uint64(len(bridge.ID{})) {
		t.Errorf("the id of a quote: %v", r)
	}
}
