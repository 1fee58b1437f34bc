package entry

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"testing"
)

func TestAHoldHasOneTrace(t *testing.T) {
	id, err := ParseHoldID(strings.Repeat("ab", 32) + "/1")
	if err != nil {
		t.Fatal(err)
	}
	trace, span := id.Trace()
	want := sha256.Sum256(append(append([]byte("comity/hold-trace/v1"), id.Tx[:]...), 1))
	if got := hex.EncodeToString(trace[:]) + hex.EncodeToString(span[:]); got != hex.EncodeToString(want[:24]) {
		t.Errorf("%s, want %x", got, want[:24])
	}
	id.Leg = 0
	if other, _ := id.Trace(); other == trace {
		t.Error("two holds of one transaction have one trace")
	}
}
