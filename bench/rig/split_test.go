package rig

import "testing"

func TestStacksAreSplitByWhatTheyDo(t *testing.T) {
	const (
		c    = "github.com/comity-ledger/comity/"
		fp   = "github.com/consensys/gnark-crypto/ecc/bls12-381/fp.mul"
		rpc  = c + "settlement/rpc.(*handlers).Submit"
		http = "net/http.(*conn).serve"
	)
	for _, s := range []struct {
		want  string
		stack []string // leaf first
	}{
		{verification, []string{fp, c + "zk/verifier.(*batch).slab", c + "settlement/node.(*Node).verify"}},
		{storage, []string{"syscall.Syscall", "github.com/cockroachdb/pebble/v2.(*DB).Apply", c + "settlement/pebblestore.(*store).Append", c + "settlement.(*Sequencer).Commit"}},
		{hashing, []string{fp, c + "zk.permute", c + "zk/tree.(*Frontier).add", c + "settlement.noteTree.place"}},
		{rules, []string{c + "settlement/entry.Decode", c + "settlement/node.(*Node).Submit", rpc, http}},
		{network, []string{"runtime.memmove", "google.golang.org/protobuf/proto.Unmarshal", rpc, http}},
		{network, []string{"syscall.Syscall", "internal/poll.(*FD).Write", http}},
		{encryption, []string{"crypto/internal/fips140/aes/gcm.gcmAesEnc", "crypto/tls.(*Conn).Write", http}},
		{telemetry, []string{"go.opentelemetry.io/otel/sdk/metric.(*int64Inst).Record", c + "settlement/node.(*measures).proved", c + "settlement/node.(*Node).prove"}},
		{network, []string{"runtime.memmove", "google.golang.org/protobuf/proto.Unmarshal", rpc, "connectrpc.com/otelconnect.(*Interceptor).WrapUnary.func1", http}},
		{telling, []string{"runtime.gcBgMarkWorker"}},
	} {
		if got := classify(s.stack); got != s.want {
			t.Errorf("%s: %s, want %s", s.stack[0], got, s.want)
		}
	}
}
