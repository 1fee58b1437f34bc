package rpc

import (
	"testing"

	"google.golang.org/protobuf/proto"

	"github.com/comity-ledger/comity/settlement/entry"
)

// A refusal that quotes a caller's bytes still reaches the caller, by its name.
func TestRefusalThatQuotesBytesIsSent(t *testing.T) {
	wire := toConnect(entry.Refuse(entry.Malformed, "label %s", "\xd3\x4d"))
	if len(wire.Details()) != 1 {
		t.Fatalf("%d details", len(wire.Details()))
	}
	raw, err := proto.Marshal(errorDetail(&entry.Refusal{Code: entry.Malformed, Detail: "label \xd3\x4d"}))
	if err != nil || len(raw) == 0 {
		t.Fatal(err)
	}
	if detail(wire) != string(entry.Malformed) {
		t.Fatalf("%v", wire)
	}
}
