package proof

import (
	"bytes"
	"crypto/ed25519"
	"fmt"
	"math/bits"
	"slices"
	"strings"
	"testing"
)

// logReceipt is a receipt under the log's signature alone, by the key of that name.
func logReceipt(t testing.TB, m *memory, index, size uint64, key string) *Receipt {
	t.Helper()
	path, err := ProveInclusion(size, index, m)
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewLogSigner(origin, edKey(key))
	if err != nil {
		t.Fatal(err)
	}
	return &Receipt{Index: index, Entry: m.leaves[index], Path: path, Checkpoint: s.Sign(m.head(t, size))}
}

func public(name string) ed25519.PublicKey { return edKey(name).Public().(ed25519.PublicKey) }

func TestTwoDecisionsArePortableEvidence(t *testing.T) {
	one, fork := logOf(t, 9, "", 9), logOf(t, 9, "x", 3)
	for name, pair := range map[string][2]*Receipt{
		"two places of one history":          {logReceipt(t, one, 2, 9, "log"), logReceipt(t, one, 5, 9, "log")},
		"under different sizes":              {logReceipt(t, one, 2, 4, "log"), logReceipt(t, one, 5, 9, "log")},
		"one place of two histories":         {logReceipt(t, one, 4, 9, "log"), logReceipt(t, fork, 4, 9, "log")},
		"before and after a key was rotated": {logReceipt(t, one, 2, 4, "log"), logReceipt(t, one, 5, 9, "log 2")},
		"with cosignatures":                  {receipt(t, one, 2, 9), logReceipt(t, one, 5, 9, "log")},
	} {
		a, b := pair[0].Marshal(), pair[1].Marshal()
		d, err := NewDecisions(origin, a, b, public("log"), public("log 2"))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		other, err := NewDecisions(origin, b, a, public("log"), public("log 2"))
		if err != nil || !bytes.Equal(other.Marshal(), d.Marshal()) {
			t.Errorf("%s: the order of the receipts changes the evidence: %v", name, err)
		}
		back, err := ParseDecisions(d.Marshal())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if !bytes.Equal(back.Marshal(), d.Marshal()) {
			t.Errorf("%s: reads back as other bytes", name)
		}
		want(t, name, back.Verify(origin, public("log"), public("log 2")), nil)
	}
}

func TestDecisionsThatShowNothingAreRefused(t *testing.T) {
	m := logOf(t, 9, "", 9)
	good := logReceipt(t, m, 2, 9, "log")
	moved := *logReceipt(t, m, 5, 9, "log")
	moved.Index = 4
	invented := *logReceipt(t, m, 5, 9, "log")
	invented.Entry = []byte("leaf that was never logged")
	for _, c := range []struct {
		name   string
		second *Receipt
		origin string
		keys   []ed25519.PublicKey
		want   error
	}{
		{"one entry twice", good, origin, []ed25519.PublicKey{public("log")}, ErrNoDecisions},
		{"one entry under two sizes", logReceipt(t, m, 2, 7, "log"), origin, []ed25519.PublicKey{public("log")}, ErrNoDecisions},
		{"an entry at another index", &moved, origin, []ed25519.PublicKey{public("log")}, ErrInclusion},
		{"an entry that is not logged", &invented, origin, []ed25519.PublicKey{public("log")}, ErrInclusion},
		{"signed by somebody else", logReceipt(t, m, 5, 9, "thief"), origin, []ed25519.PublicKey{public("log")}, ErrLogSignature},
		{"under a key nobody gave", logReceipt(t, m, 5, 9, "log"), origin, []ed25519.PublicKey{public("log 2")}, ErrLogSignature},
		{"with no key to check", logReceipt(t, m, 5, 9, "log"), origin, nil, ErrLogSignature},
		{"with a key that is none", logReceipt(t, m, 5, 9, "log"), origin, []ed25519.PublicKey{{1}}, ErrLogSignature},
		{"of another log", logReceipt(t, m, 5, 9, "log"), "ledger.borealis.example/log", []ed25519.PublicKey{public("log")}, ErrOrigin},
	} {
		d := &Decisions{First: good.Marshal(), Second: c.second.Marshal()}
		err := d.Verify(c.origin, c.keys...)
		want(t, c.name, err, ErrNoDecisions)
		want(t, c.name, err, c.want)
		if _, err := NewDecisions(c.origin, d.Second, d.First, c.keys...); err == nil {
			t.Errorf("%s: made evidence of it", c.name)
		}
	}
	d := &Decisions{First: good.Marshal(), Second: []byte("no receipt")}
	want(t, "no receipt", d.Verify(origin, public("log")), ErrReceipt)
}

func TestDecisionsHaveOneForm(t *testing.T) {
	m := logOf(t, 9, "", 9)
	d := &Decisions{First: logReceipt(t, m, 2, 9, "log").Marshal(), Second: logReceipt(t, m, 5, 9, "log").Marshal()}
	good := string(d.Marshal())
	first := fmt.Sprintf("first %d\n\n", len(d.First))
	for name, bad := range map[string]string{
		"empty":                        "",
		"another header":               strings.Replace(good, "v1", "v2", 1),
		"no length":                    strings.Replace(good, first, "first\n\n", 1),
		"a length with a zero ahead":   strings.Replace(good, "first ", "first 0", 1),
		"a length with a sign":         strings.Replace(good, "first ", "first +", 1),
		"a length past the end":        strings.Replace(good, first, "first 4000000\n\n", 1),
		"a length one short":           strings.Replace(good, first, fmt.Sprintf("first %d\n\n", len(d.First)-1), 1),
		"no empty line":                strings.Replace(good, first, strings.TrimSuffix(first, "\n"), 1),
		"a second receipt that is cut": strings.Replace(good, string(d.Second), string(d.Second[:100]), 1),
		"no second receipt":            strings.Replace(good, string(d.Second), "", 1),
		"too long":                     good + strings.Repeat("x", MaxDecisions),
	} {
		if bad == good {
			t.Fatalf("%s: nothing was changed", name)
		}
		if _, err := ParseDecisions([]byte(bad)); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			want(t, name, err, ErrDecisions)
		}
	}
}

// splits tells by trying everything whether the colluding witnesses of a set can cosign two histories of k each, the honest ones cosigning
// one history each.
func splits(n, k int, colluding uint) bool {
	honest := n - bits.OnesCount(colluding)
	for left := range honest + 1 {
		if left+n-honest >= k && honest-left+n-honest >= k {
			return true
		}
	}
	return false
}

func TestSmallestColludingSetIsTheSmallest(t *testing.T) {
	for n := 1; n <= 7; n++ {
		for k := 1; k <= n; k++ {
			least := n + 1
			for set := range uint(1) << n {
				if splits(n, k, set) {
					least = min(least, bits.OnesCount(set))
				}
			}
			if got := SmallestColludingSet(n, k); got != least {
				t.Errorf("quorum %d of %d: %d, trying all sets gives %d", k, n, got, least)
			}
			// A policy that names f faulty witnesses is accepted exactly when f of them do not suffice.
			for f := range n + 1 {
				c := Config{Origin: origin, LogKey: pub("log"), Quorum: k, Faulty: f}
				for i := range n {
					name := fmt.Sprint("w", i)
					c.Witnesses = append(c.Witnesses, Witness{Name: name, Key: pub(name)})
				}
				if _, err := NewPolicy(c); (err == nil) != (f < least) {
					t.Errorf("quorum %d of %d, %d faulty: %v, %d must collude", k, n, f, err, least)
				}
			}
		}
	}
}

func TestSmallestColludingOperators(t *testing.T) {
	for _, c := range []struct {
		operators string
		k         int
		want      string
	}{
		{"a b c", 2, "a"},               // any one
		{"c b a", 3, "a b c"},           // all three
		{"a b b", 2, "b"},               // whoever runs two does
		{"a a b c d", 4, "a b"},         // three witnesses, two people
		{"a b c d", 2, ""},              // two quorums need not meet
		{"b b a a c", 4, "a b"},         // equals by name
		{"a a a b b c c d d", 7, "a b"}, // five of nine
	} {
		operators := strings.Fields(c.operators)
		got := SmallestColludingOperators(operators, c.k)
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s, quorum %d: %v, want %s", c.operators, c.k, got, c.want)
		}
		// By trying every set of operators: none smaller can do it, and this one can.
		names := slices.Compact(slices.Sorted(slices.Values(operators)))
		least := len(names) + 1
		for set := range uint(1) << len(names) {
			var witnesses uint
			for i, o := range operators {
				if at, _ := slices.BinarySearch(names, o); set>>at&1 == 1 {
					witnesses |= 1 << i
				}
			}
			if splits(len(operators), c.k, witnesses) {
				least = min(least, bits.OnesCount(set))
			}
		}
		if len(got) != least {
			t.Errorf("%s, quorum %d: %d operators, trying all sets gives %d", c.operators, c.k, len(got), least)
		}
	}
}

func TestVerifierKeyOfALogReadsBack(t *testing.T) {
	plus := 0
	for i := range 64 { // some keys have a plus in base64
		key := public(fmt.Sprint("log ", i))
		text := LogVKey(origin, key)
		plus += strings.Count(text, "+") - 2
		o, k, err := ParseLogVKey(text)
		if err != nil || o != origin || !key.Equal(k) {
			t.Errorf("%s reads as %s %x, %v", text, o, k, err)
		}
	}
	if plus == 0 {
		t.Error("no key of the test has a plus")
	}
	good := LogVKey(origin, public("log"))
	for name, bad := range map[string]string{"empty": "", "an origin alone": origin, "another name": "x" + good, "another key id": strings.Replace(good, "+", "+0", 1), "cut": good[:len(good)-1],
		"a witness's key": WitnessVKey(origin, public("log")), "a space": good + " "} {
		if _, _, err := ParseLogVKey(bad); err == nil {
			t.Errorf("%s was accepted", name)
		} else {
			want(t, name, err, ErrPolicy)
		}
	}
}
