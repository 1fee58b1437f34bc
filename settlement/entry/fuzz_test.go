package entry

import (
	"bytes"
	"reflect"
	"testing"
)

// Whatever decodes encodes to the same bytes, and reads back as the same value: there is one encoding of everything.
func FuzzDecode(f *testing.F) {
	for _, e := range entriesFixture(f) {
		f.Add(Encode(e))
	}
	f.Add([]byte{})
	f.Add([]byte{Version, byte(KindTransfer)})
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := Decode(b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		again := Encode(e)
		if !bytes.Equal(again, b) {
			t.Fatalf("%x encodes as %x", b, again)
		}
		back, err := Decode(again)
		if err != nil || !reflect.DeepEqual(back, e) {
			t.Fatalf("read back as %+v, %v", back, err)
		}
	})
}

func FuzzGenesisJSON(f *testing.F) {
	b, err := genesisFixture(f).JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"name":"a","NAME":"b"}`))
	f.Add([]byte(`{`))
	f.Fuzz(func(t *testing.T, b []byte) {
		g, err := ParseGenesisJSON(b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		out, err := g.JSON()
		if err != nil {
			t.Fatal(err)
		}
		back, err := ParseGenesisJSON(out)
		if err != nil || back.Hash() != g.Hash() {
			t.Fatalf("read back as %+v, %v", back, err)
		}
		if bin, err := DecodeGenesis(Encode(g)); err != nil || bin.Hash() != g.Hash() {
			t.Fatalf("binary form: %v", err)
		}
	})
}

func FuzzProposal(f *testing.F) {
	g := genesisFixture(f)
	tx := issueFixture(f, g)
	p, err := NewProposal(g, tx.Encode(), [][]byte{[]byte("leg 0")})
	if err != nil {
		f.Fatal(err)
	}
	b, err := p.JSON()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"format":"comity/proposal/v1"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseProposal(g, b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		out, err := p.JSON()
		if err != nil {
			t.Fatal(err)
		}
		if back, err := ParseProposal(g, out); err != nil || back.ID() != p.ID() {
			t.Fatalf("read back: %v", err)
		}
	})
}
