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

// A condition stands inside a leg, but deciders, wallets and providers read it on its own.
func FuzzCondition(f *testing.F) {
	f.Add(ConditionAttested, attestedFixture().Condition().Bytes)
	f.Add(ConditionAttested, guaranteeFixture().Condition().Bytes)
	f.Add(ConditionDecidedHere, decidedHereFixture().Condition().Bytes)
	f.Add(ConditionDecidedThere, decidedThereFixture().Condition().Bytes)
	f.Add(uint8(4), []byte{})
	f.Fuzz(func(t *testing.T, kind uint8, b []byte) {
		c, err := Condition{kind, b}.Decode()
		if err != nil {
			if code := CodeOf(err); code != ConditionInvalid && code != ConditionUnknown {
				t.Fatalf("refused with %v", err)
			}
			return
		}
		again := c.(interface{ Condition() Condition }).Condition()
		if again.Type != kind || !bytes.Equal(again.Bytes, b) {
			t.Fatalf("type %d, %x encodes as %+v", kind, b, again)
		}
	})
}

func FuzzPeerProof(f *testing.F) {
	for _, hashes := range []int{0, 3, 63} {
		p := peerProofFixture("p", hashes)
		f.Add(p.Marshal())
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePeerProof(b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		if !bytes.Equal(p.Marshal(), b) {
			t.Fatalf("%x encodes as %x", b, p.Marshal())
		}
	})
}

func FuzzCorridorTerms(f *testing.F) {
	f.Add(termsFixture().Append(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		terms, rest, err := ParseCorridorTerms(b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		if again := append(terms.Append(nil), rest...); !bytes.Equal(again, b) {
			t.Fatalf("%x encodes as %x", b, again)
		}
		if 2*int(terms.Quorum)-len(terms.Witnesses) <= int(terms.Faulty) {
			t.Fatalf("accepted %+v", terms)
		}
	})
}

func FuzzCorridorJSON(f *testing.F) {
	b, err := termsFixture().JSON(peerLedger)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(`{"peer":"a","PEER":"b"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		peer, terms, err := ParseCorridorJSON(b)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		out, err := terms.JSON(peer)
		if err != nil {
			t.Fatal(err)
		}
		again, back, err := ParseCorridorJSON(out)
		if err != nil || again != peer || !reflect.DeepEqual(back, terms) {
			t.Fatalf("read back as %+v, %v", back, err)
		}
	})
}

func FuzzHoldID(f *testing.F) {
	f.Add(holdID.String())
	f.Add(holdID.Tx.String() + "/4")
	f.Fuzz(func(t *testing.T, s string) {
		h, err := ParseHoldID(s)
		if err != nil {
			if CodeOf(err) == "" {
				t.Fatalf("refused without a name: %v", err)
			}
			return
		}
		if h.String() != s {
			t.Fatalf("%q reads as %q", s, h)
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
	if b, err = overrideProposal(f, g).JSON(); err != nil {
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
