package demo

import (
	"bytes"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
)

// A ledger that breaks off, and a relayer that goes away, in the middle of an answer: the wire between them prints nothing into the story.
func TestTheTapSaysNothingOfABrokenWire(t *testing.T) {
	var said bytes.Buffer
	log.SetOutput(&said)
	t.Cleanup(func() { log.SetOutput(io.Discard) })
	ledger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Length", "100")
		_, _ = io.WriteString(w, "half")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	defer ledger.Close()
	wire, err := newTap(ledger.URL)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := http.Get(wire.url + "/x")
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(answer.Body); err == nil || string(b) != "half" {
		t.Errorf("the wire did not break: %q, %v", b, err)
	}
	answer.Body.Close()
	ledger.Close()
	answer, err = http.Get(wire.url + "/x") // nobody answers behind it
	if err != nil || answer.StatusCode != http.StatusBadGateway {
		t.Errorf("%v, %v", answer, err)
	}
	answer.Body.Close()
	wire.close()
	if said.Len() > 0 {
		t.Errorf("the wire prints %s", said.String())
	}
}
