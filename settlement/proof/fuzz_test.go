package proof

import (
	"bytes"
	"testing"
)

func FuzzParseCheckpoint(f *testing.F) {
	f.Add(Checkpoint{origin, Head{5, Hash{1}}}.String())
	f.Add("a\n0\n")
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCheckpoint(s)
		if err == nil && c.String() != s {
			t.Fatalf("%q reads as %q", s, c)
		}
	})
}

func FuzzParseReceipt(f *testing.F) {
	m := logOf(f, 9, "", 9)
	f.Add(receipt(f, m, 3, 9).Marshal())
	f.Add(receipt(f, m, 0, 1).Marshal())
	p := policy(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := ParseReceipt(b)
		if err != nil {
			return
		}
		if !bytes.Equal(r.Marshal(), b) {
			t.Fatalf("%q writes as %q", b, r.Marshal())
		}
		if fin, err := VerifyReceipt(p, r, 0); err == nil && (fin.Size > 9 || !bytes.Equal(r.Entry, m.leaves[r.Index])) {
			t.Fatalf("accepted %q", b)
		}
	})
}

func FuzzPolicyCheck(f *testing.F) {
	m := logOf(f, 9, "", 9)
	bare := signer(f).Sign(m.head(f, 9))
	f.Add(bare)
	f.Add(cosign(f, bare, 1800000000, "w1.example", "w2.example", "w9.example"))
	p := policy(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		if fin, err := p.Check(b, 0); err == nil && fin.Head != m.head(t, 9) {
			t.Fatalf("accepted %q", b)
		}
		if out, _, err := p.AddCosignatures(bare, b); err != nil || !bytes.HasPrefix(out, bare) {
			t.Fatalf("added %q: %v", b, err)
		}
	})
}

func FuzzParseEvidence(f *testing.F) {
	a, b := logOf(f, 9, "", 9), logOf(f, 9, "x", 3)
	e, err := NewEvidence(origin, signer(f).Public(), signer(f).Sign(a.head(f, 7)), signer(f).Sign(b.head(f, 9)), b)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(e.Marshal())
	f.Fuzz(func(t *testing.T, b []byte) {
		if e, err := ParseEvidence(b); err == nil && !bytes.Equal(e.Marshal(), b) {
			t.Fatalf("%q writes as %q", b, e.Marshal())
		}
	})
}

func FuzzParseDecisions(f *testing.F) {
	m := logOf(f, 9, "", 9)
	d := &Decisions{First: logReceipt(f, m, 2, 9, "log").Marshal(), Second: logReceipt(f, m, 5, 9, "log").Marshal()}
	f.Add(d.Marshal())
	f.Add([]byte(decisionsHeader + "first 0\n\n"))
	key := signer(f).Public()
	f.Fuzz(func(t *testing.T, b []byte) {
		d, err := ParseDecisions(b)
		if err != nil {
			return
		}
		if !bytes.Equal(d.Marshal(), b) {
			t.Fatalf("%q writes as %q", b, d.Marshal())
		}
		if d.Verify(origin, key) != nil {
			return
		}
		first, second, err := d.Receipts()
		if err != nil || !bytes.Equal(first.Entry, m.leaves[first.Index]) || !bytes.Equal(second.Entry, m.leaves[second.Index]) || first.Index == second.Index {
			t.Fatalf("accepted %q", b)
		}
	})
}

func FuzzParseLogVKey(f *testing.F) {
	f.Add(LogVKey(origin, public("log")))
	f.Add(WitnessVKey(origin, public("log")))
	f.Add("a+b+c")
	f.Fuzz(func(t *testing.T, s string) {
		if o, key, err := ParseLogVKey(s); err == nil && LogVKey(o, key) != s {
			t.Fatalf("%q reads as %q %x", s, o, key)
		}
	})
}

func FuzzParseTilePath(f *testing.F) {
	f.Add("tile/0/x001/x234/067")
	f.Add("tile/entries/000.p/7")
	f.Fuzz(func(t *testing.T, s string) {
		if tile, err := ParseTilePath(s); err == nil && tile.Path() != s {
			t.Fatalf("%q reads as %q", s, tile.Path())
		}
	})
}

func FuzzParseBundle(f *testing.F) {
	f.Add([]byte{0, 1, 7, 0, 0}, 2)
	f.Fuzz(func(t *testing.T, b []byte, n int) {
		entries, err := ParseBundle(b, n)
		if err != nil {
			return
		}
		var again []byte
		for _, e := range entries {
			if again, err = AppendBundle(again, e); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(again, b) {
			t.Fatalf("%x writes as %x", b, again)
		}
	})
}
