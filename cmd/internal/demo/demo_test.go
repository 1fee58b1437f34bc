package demo

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/comity-ledger/comity/cmd/internal/cli"
)

// The story itself is a test of .ci/run (`comity demo --once`): these are the parts that could tell it wrongly.

func TestWrapFitsTheTerminal(t *testing.T) {
	hash := strings.Repeat("0123456789abcdef", 4)
	lines := wrap("genesis "+hash+" names the ledger for ever, on every machine that has a copy of it\n  indented "+hash+"\nas  set:  12.00\n", 40)
	want := []string{"genesis 0123456789ab…89abcdef names the", "ledger for ever, on every machine that", "has a copy of it", "  indented 0123456789ab…89abcdef", "as  set:  12.00"}
	if !slices.Equal(lines, want) {
		t.Fatalf("%q", lines)
	}
	for _, line := range wrap(strings.Repeat(hash+" x ", 9), columns-indent) {
		if n := len([]rune(line)); n > columns-indent {
			t.Errorf("%d columns: %q", n, line)
		}
	}
	if wrap("", 40) != nil {
		t.Error("nothing has lines")
	}
}

// A command's refusal keeps its name, in either form in which commands print it, and its answer is read beside it.
func TestAnswerKeepsNamesAndOutput(t *testing.T) {
	args := []string{"bridge", "pay", "--json"}
	var p payment
	err := answer(args, 3, []byte(`{"payment_id":"a","status":"returned"}`), []byte("a warning\n"+`Pay? [y/N] {"error":{"code":"payment_returned","detail":"it is back","exit":3}}`+"\n"), &p)
	if code, name := cli.CodeOf(err); code != cli.Refused || name != "payment_returned" || p.Status != "returned" {
		t.Fatalf("%v %q %+v", code, name, p)
	}
	if err := answer(args, 0, []byte("no JSON"), nil, &p); err == nil {
		t.Error("an answer that is no JSON was taken")
	}
	if err := answer(args, 5, nil, []byte("comity: the checkpoint does not hold\n"), nil); err == nil || !strings.Contains(err.Error(), "the checkpoint does not hold") {
		t.Error(err)
	}
	if err := answer(args, 0, nil, nil, nil); err != nil {
		t.Error(err)
	}
}

func TestRefusedWantsTheName(t *testing.T) {
	s := &story{out: io.Discard}
	refusal := cli.RefusedAs("hold_not_ready", errors.New("1 of 2 attestors agree"))
	if _, err := s.refused("an escrow", "command", nil, "hold_not_ready"); err == nil {
		t.Error("success was taken for a refusal")
	}
	if _, err := s.refused("an escrow", "command", refusal, "hold_expired"); err == nil || len(s.refusals) != 0 {
		t.Error("a refusal by another name was taken")
	}
	if words, err := s.refused("an escrow", "command", refusal, "hold_expired", "hold_not_ready"); err != nil || !strings.Contains(words, "hold_not_ready") || len(s.refusals) != 1 {
		t.Errorf("%q %v", words, err)
	}
}

// The price stands on the terminal before anything is answered, and is answered once.
func TestApprovalSeesTheQuestion(t *testing.T) {
	in, to := io.Pipe()
	asked := make(chan string, 2)
	a := &approval{to: to, answer: func(q string) error { asked <- q; return nil }}
	for _, part := range []string{"no answer from provider x\nPay 12.00 AUR, ", "so that the payee gets 24.000 BOR?", " [y/N] "} {
		if _, err := io.WriteString(a, part); err != nil {
			t.Fatal(err)
		}
	}
	answered, err := io.ReadAll(in)
	if err != nil || string(answered) != "y\n" || <-asked != "Pay 12.00 AUR, so that the payee gets 24.000 BOR?" {
		t.Fatalf("%q %v", answered, err)
	}
	if _, err := io.WriteString(a, "again? [y/N] "); err != nil || len(asked) != 0 {
		t.Error("answered twice")
	}
	// Whoever does not approve ends the command's input with the reason.
	in, to = io.Pipe()
	no := &approval{to: to, answer: func(string) error { return errors.New("too dear") }}
	if _, err := io.WriteString(no, "Pay? [y/N] "); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(in); err == nil || err.Error() != "too dear" {
		t.Error(err)
	}
}

// A tap passes everything on and acts before the answer to a batch of entries alone.
func TestTapActsBeforeAnswersToBatches(t *testing.T) {
	ledger := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.URL.Path) }))
	defer ledger.Close()
	tapped, err := newTap(ledger.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer tapped.close()
	get := func(path string) string {
		c := http.Client{Timeout: 10 * time.Second}
		r, err := c.Get(tapped.url + path)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Body.Close()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	acted := 0
	act := func() { acted++ }
	if got := get("/x/SubmitBatch"); got != "/x/SubmitBatch" || acted != 0 {
		t.Errorf("%q, acted %d times without a word", got, acted)
	}
	tapped.before.Store(&act)
	if get("/x/Submit"); acted != 0 {
		t.Error("acted on another call")
	}
	if got := get("/x/SubmitBatch"); got != "/x/SubmitBatch" || acted != 1 {
		t.Errorf("%q, acted %d times", got, acted)
	}
}

func TestNationsWatchOneAnother(t *testing.T) {
	s := &story{dir: t.TempDir()}
	a, b, c := newNations(s)
	names := map[string]bool{}
	for _, n := range []*nation{a, b, c} {
		if len(n.witnesses) != 2 {
			t.Fatalf("%s has %d witnesses", n.land, len(n.witnesses))
		}
		for _, w := range n.witnesses {
			if w.by == n || names[w.name] {
				t.Errorf("%s is watched by %s under %s", n.land, w.by.land, w.name)
			}
			names[w.name] = true
			if n.own(w.by) != w {
				t.Errorf("%s does not find its witness of %s", w.by.land, n.land)
			}
		}
	}
}
