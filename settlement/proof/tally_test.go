package proof

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"testing"

	"golang.org/x/mod/sumdb/note"
)

// counting counts what is verified with a key.
type counting struct {
	note.Verifier
	calls *int
}

func (c counting) Verify(msg, sig []byte) bool {
	*c.calls++
	return c.Verifier.Verify(msg, sig)
}

// counted makes a policy whose cosignatures are counted when they are verified.
func counted(t testing.TB) (p *Policy, calls *int) {
	p, calls = policy(t), new(int)
	for i, v := range p.verifiers {
		p.verifiers[i] = counting{v, calls}
	}
	return p, calls
}

func TestTallySaysWhatCheckSaysAndVerifiesEachCosignatureOnce(t *testing.T) {
	m := logOf(t, 9, "", 9)
	bare := signer(t).Sign(m.head(t, 9))
	const at = 1800000000
	line := func(signed []byte, at uint64, names ...string) []byte {
		return bytes.TrimPrefix(cosign(t, signed, at, names...), signed)
	}
	broken := line(bare, at, "w3.example")
	broken[len(broken)-40] ^= 'A' ^ 'B'
	answers := []struct {
		lines    []byte
		added    []string
		verified int
	}{
		{[]byte("garbage\n— \n"), nil, 0},
		{line(bare, at, "w9.example"), nil, 0}, // of no key in the policy
		{line(bare, at, "w1.example"), []string{"w1.example"}, 1},
		{line(bare, at, "w1.example", "w1.example"), nil, 0},
		{broken, nil, 1},
		{line(signer(t).Sign(m.head(t, 8)), at, "w3.example"), nil, 1}, // over another head
		{line(bare, at+MaxSkewSeconds+1, "w2.example"), []string{"w2.example"}, 1},
		{line(bare, at, "w2.example", "w3.example"), []string{"w3.example"}, 1},
	}
	p, calls := counted(t)
	plain := policy(t)
	tally, err := p.Tally(bare)
	if err != nil {
		t.Fatal(err)
	}
	same := func() {
		t.Helper()
		for _, now := range []uint64{0, at - MaxSkewSeconds - 1, at, at + 1} {
			want, wanted := plain.Check(tally.Signed(), now)
			got, err := tally.Final(now)
			if fmt.Sprint(err) != fmt.Sprint(wanted) || errors.Is(err, ErrQuorum) != errors.Is(wanted, ErrQuorum) {
				t.Fatalf("at %d: %v, Check says %v", now, err, wanted)
			}
			if wanted == nil && (got.Checkpoint != want.Checkpoint || !slices.Equal(got.Cosignatures, want.Cosignatures)) {
				t.Fatalf("at %d: %+v, Check gives %+v", now, got, want)
			}
		}
	}
	same()
	for i, a := range answers {
		before, given := *calls, tally.Signed()
		was := bytes.Clone(given)
		added, err := tally.Add(a.lines)
		if err != nil || !slices.Equal(added, a.added) || *calls-before != a.verified {
			t.Fatalf("answer %d: added %v with %d verifications, %v; want %v with %d", i, added, *calls-before, err, a.added, a.verified)
		}
		if !bytes.Equal(given, was) {
			t.Fatalf("answer %d changed what was given away", i)
		}
		before = *calls
		same()
		if *calls != before {
			t.Fatalf("answer %d: counting verified again", i)
		}
	}
	if tally.Len() != 3 || !tally.Has("w2.example") || tally.Has("w9.example") {
		t.Fatalf("%d witnesses", tally.Len())
	}
	if _, err := tally.Add(make([]byte, MaxCheckpoint+1)); !errors.Is(err, ErrCosignature) {
		t.Fatalf("too many bytes: %v", err)
	}
}

func TestTallyBeginsOnlyWithSignaturesThatHold(t *testing.T) {
	m := logOf(t, 9, "", 9)
	p := policy(t)
	bare := signer(t).Sign(m.head(t, 9))
	broken := cosign(t, bare, 1800000000, "w1.example")
	broken[len(broken)-40] ^= 'A' ^ 'B'
	stranger, err := NewLogSigner(origin, edKey("thief"))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		signed []byte
		err    error
	}{
		"with a cosignature":                      {cosign(t, bare, 1800000000, "w1.example"), nil},
		"with a cosignature that does not hold":   {broken, ErrCosignature},
		"signed by another key":                   {stranger.Sign(m.head(t, 9)), ErrLogSignature},
		"with a log signature that does not hold": {bytes.Replace(bare, []byte("\n9\n"), []byte("\n8\n"), 1), ErrLogSignature},
		"of no form":                              {[]byte("hello"), ErrCheckpoint},
		"with cosignatures and without the log's": {cosign(t, append([]byte(Checkpoint{origin, m.head(t, 9)}.String()), '\n'), 1800000000, "w1.example"), ErrLogSignature},
	} {
		tally, err := p.Tally(c.signed)
		want(t, name, err, c.err)
		if c.err == nil && err == nil && tally.Len() != 1 {
			t.Errorf("%s: %d witnesses", name, tally.Len())
		}
	}
}
